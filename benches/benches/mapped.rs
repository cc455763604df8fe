//! Mapped: append files, ranged files and snapshots, beside what the machine allows and what they replace.
//!
//! ```text
//! cargo bench -p benches --bench mapped                               # without rivals: about three minutes
//! cargo bench -p benches --features rivals,hexz --bench mapped        # with them
//! cargo bench -p benches --bench mapped -- --only growth/ --reps 15   # contestants whose name contains this
//! ```
//!
//! Files are made in a directory for temporary files that is no tmpfs, if there is one, or below `--dir`, and removed.

#[path = "../../tests/it/allocations.rs"]
mod allocations;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use allocations::allocations;
use benches::command::{fail, number, print, write};
use benches::machine::{file_system, first_line, load, processor};
use benches::mapped::{self, Plan, calls, json, markdown};

const USAGE: &str = "\
usage: mapped [options]
  --quick          three repetitions, smaller files where they are large
  --test           one repetition with small files: does everything work? The figures mean nothing
  --reps N         repetitions (9)
  --only TEXT      only contestants whose name contains TEXT, as in growth/100/, resident/ or /ours
  --dir PATH       where files are made (the first of TMPDIR or /tmp, and /var/tmp, that is no tmpfs)
  --json FILE      every repetition, machine-readable
  --markdown FILE  the report as on stdout
  --bench          ignored: cargo passes it";

#[derive(Clone, Copy, Debug)]
enum Mode {
    Full,
    Quick,
    Test,
}

#[derive(Debug)]
struct Args {
    mode: Mode,
    n_repetitions: Option<usize>,
    only: String,
    directory: Option<PathBuf>,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
}

impl Args {
    /// `None`: help was asked for.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mode, only) = (Mode::Full, String::new());
        let mut parsed =
            Self { mode, n_repetitions: None, only, directory: None, json: None, markdown: None };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--bench" => {}
                "--quick" => parsed.mode = Mode::Quick,
                "--test" => parsed.mode = Mode::Test,
                "--reps" => parsed.n_repetitions = Some(number(&value()?)?),
                "--only" => parsed.only = value()?,
                "--dir" => parsed.directory = Some(value()?.into()),
                "--json" => parsed.json = Some(value()?.into()),
                "--markdown" => parsed.markdown = Some(value()?.into()),
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("{arg} is no option")),
            }
        }
        Ok(Some(parsed))
    }

    fn plan(&self, directory: &Path) -> Plan {
        let mib = |n: usize| n << 20;
        let (n_repetitions, file_bytes, chunked_bytes, n_reads) = match self.mode {
            Mode::Full => (9, mib(64), [mib(512), mib(12)], 200_000),
            Mode::Quick => (3, mib(64), [mib(64), mib(3) / 2], 200_000),
            Mode::Test => (1, mib(1), [mib(3), 64 << 10], 1_000),
        };
        Plan {
            directory: directory.to_path_buf(),
            n_repetitions: self.n_repetitions.unwrap_or(n_repetitions),
            file_bytes,
            chunked_bytes,
            n_reads,
            only: self.only.clone(),
            allocations: |work| allocations(work),
        }
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if(|arg| arg == calls::ARGUMENT).is_some() {
        let directory = PathBuf::from(args.next().unwrap_or_default());
        return calls::child(&directory).map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS);
    }
    let args = match Args::parse(args) {
        Ok(Some(args)) => args,
        Ok(None) => return print(&format!("{USAGE}\n")),
        Err(error) => return fail(&format!("{error}\n{USAGE}"), 2),
    };
    measure(&args).unwrap_or_else(|error| fail(&error, 1))
}

fn measure(args: &Args) -> Result<ExitCode, String> {
    let parent = args.directory.clone().unwrap_or_else(default_directory);
    let directory = tempfile::Builder::new().prefix("shm-ring-bench-").tempdir_in(&parent);
    let directory = directory.map_err(|error| format!("a directory in {}: {error}", parent.display()))?;
    let plan = args.plan(directory.path());
    let (load_before, began) = (load(), Instant::now());
    let results = mapped::measure(&plan, |what| eprintln!("{what}"))?;
    let about = [
        ("processor", processor()),
        ("kernel", first_line("/proc/sys/kernel/osrelease")),
        ("files", format!("{}, {}", file_system(&parent), parent.display())),
        ("load before, after", format!("{load_before}, {}", load())),
        (
            "repetitions",
            format!("{}, {:?}; took {:.0} s", plan.n_repetitions, args.mode, began.elapsed().as_secs_f64()),
        ),
    ];
    let text = markdown(&results, &about);
    print(&text);
    write(args.markdown.as_ref(), || text)?;
    write(args.json.as_ref(), || json(&results, &about))?;
    Ok(if results.errors().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A directory for temporary files that are on a medium, if there is one.
fn default_directory() -> PathBuf {
    let directories = [std::env::temp_dir(), PathBuf::from("/var/tmp")];
    let on_medium =
        directories.iter().find(|directory| directory.is_dir() && file_system(directory) != "tmpfs");
    on_medium.unwrap_or(&directories[0]).clone()
}
