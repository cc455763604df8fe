//! Options: what a program of turns is asked, and where its report goes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use super::{Results, json, markdown};
use crate::command::{number, print, write};
use crate::machine::{file_system, first_line, load, processor};

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// All of it.
    Full,
    /// Less, soon.
    Quick,
    /// Once, small: does everything work?
    Test,
}

/// What was asked for.
#[derive(Debug)]
pub struct Options {
    /// How much.
    pub mode: Mode,
    /// How often each contestant has its turn, if that was said.
    pub n_repetitions: Option<usize>,
    /// Only contestants whose name contains this.
    pub only: String,
    directory: Option<PathBuf>,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
}

/// What all such programs understand.
pub const USAGE: &str = "\
  --quick          three repetitions, smaller files where they are large
  --test           one repetition with small files: does everything work? The figures mean nothing
  --reps N         repetitions
  --only TEXT      only contestants whose name contains TEXT
  --dir PATH       where files are made (the first of TMPDIR or /tmp, and /var/tmp, that is no tmpfs)
  --json FILE      every repetition, machine-readable
  --markdown FILE  the report as on stdout
  --bench          ignored: cargo passes it";

impl Options {
    /// `None`: help was asked for.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
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

    /// Measures with files in a directory of its own, which is removed, and says what came of it. `measure` also says how often everybody had
    /// its turn.
    pub fn run(
        &self,
        measure: impl FnOnce(&Path) -> Result<(Results, usize), String>,
    ) -> Result<ExitCode, String> {
        let parent = self.directory.clone().unwrap_or_else(default_directory);
        let directory = tempfile::Builder::new().prefix("shm-ring-bench-").tempdir_in(&parent);
        let directory = directory.map_err(|error| format!("a directory in {}: {error}", parent.display()))?;
        let (load_before, began) = (load(), Instant::now());
        let (results, n_repetitions) = measure(directory.path())?;
        let took_s = began.elapsed().as_secs_f64();
        let about = [
            ("processor", processor()),
            ("kernel", first_line("/proc/sys/kernel/osrelease")),
            ("files", format!("{}, {}", file_system(&parent), parent.display())),
            ("load before, after", format!("{load_before}, {}", load())),
            ("repetitions", format!("{n_repetitions}, {:?}; took {took_s:.0} s", self.mode)),
        ];
        let text = markdown(&results, &about);
        print(&text);
        write(self.markdown.as_ref(), || text)?;
        write(self.json.as_ref(), || json(&results, &about))?;
        Ok(if results.errors().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// A directory for temporary files that are on a medium, if there is one.
fn default_directory() -> PathBuf {
    let directories = [std::env::temp_dir(), PathBuf::from("/var/tmp")];
    let on_medium =
        directories.iter().find(|directory| directory.is_dir() && file_system(directory) != "tmpfs");
    on_medium.unwrap_or(&directories[0]).clone()
}
