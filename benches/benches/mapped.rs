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

use allocations::allocations;
use benches::command::{fail, print};
use benches::mapped::{self, Plan, calls};
use benches::turns::options::{Mode, Options, USAGE};

fn plan(options: &Options, directory: &Path) -> Plan {
    let mib = |n: usize| n << 20;
    let (n_repetitions, file_bytes, chunked_bytes, n_reads) = match options.mode {
        Mode::Full => (9, mib(64), [mib(512), mib(12)], 200_000),
        Mode::Quick => (3, mib(64), [mib(64), mib(3) / 2], 200_000),
        Mode::Test => (1, mib(1), [mib(3), 64 << 10], 1_000),
    };
    Plan {
        directory: directory.to_path_buf(),
        n_repetitions: options.n_repetitions.unwrap_or(n_repetitions),
        file_bytes,
        chunked_bytes,
        n_reads,
        only: options.only.clone(),
        allocations: |work| allocations(work),
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if(|arg| arg == calls::ARGUMENT).is_some() {
        let directory = PathBuf::from(args.next().unwrap_or_default());
        return calls::child(&directory).map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS);
    }
    let options = match Options::parse(args) {
        Ok(Some(options)) => options,
        Ok(None) => return print(&format!("usage: mapped [options]\n{USAGE}\n")),
        Err(error) => return fail(&format!("{error}\nusage: mapped [options]\n{USAGE}"), 2),
    };
    let measured = options.run(|directory| {
        let plan = plan(&options, directory);
        Ok((mapped::measure(&plan, |what| eprintln!("{what}"))?, plan.n_repetitions))
    });
    measured.unwrap_or_else(|error| fail(&error, 1))
}
