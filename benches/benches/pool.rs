//! Pool: thousands of files opened and replayed, beside what the machine allows.
//!
//! ```text
//! cargo bench -p benches --bench pool                          # all of it; 1 GiB under a cap
//! cargo bench -p benches --bench pool -- --gib 20 --only capped
//! cargo bench -p benches --bench pool -- --only open/ --reps 15
//! ```
//!
//! Files are made in a directory for temporary files that is no tmpfs, if there is one, or below `--dir`, and removed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use benches::command::{fail, number, print};
use benches::pool::{self, Plan, capped};
use benches::turns::options::{Mode, Options, USAGE};

const CAP_BYTES: u64 = 512 << 20;

fn plan(options: &Options, directory: &Path, gib: Option<u64>) -> Plan {
    let (n_repetitions, n_files, n_records, bytes, cap) = match options.mode {
        Mode::Full => (5, 3000, 2667, 4 << 30, CAP_BYTES),
        Mode::Quick => (3, 3000, 2667, 1 << 30, CAP_BYTES / 4),
        Mode::Test => (1, 30, 100, 8 << 20, 64 << 20),
    };
    Plan {
        directory: directory.to_path_buf(),
        n_repetitions: options.n_repetitions.unwrap_or(n_repetitions),
        n_files,
        n_records,
        capped_bytes: [gib.map_or(bytes, |gib| gib << 30), cap],
        only: options.only.clone(),
    }
}

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == capped::ARGUMENT) {
        let directory = PathBuf::from(args.get(1).cloned().unwrap_or_default());
        let cap = args.get(2).and_then(|cap| cap.parse().ok()).unwrap_or(0);
        return capped::child(&directory, cap).map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS);
    }
    let mut gib = None;
    if let Some(at) = args.iter().position(|arg| arg == "--gib") {
        let value = args.drain(at..(at + 2).min(args.len())).nth(1).unwrap_or_default();
        match number(&value) {
            Ok(n) => gib = Some(n as u64),
            Err(error) => return fail(&error, 2),
        }
    }
    let usage = "usage: pool [options]\n  --gib N          bytes that are replayed under a cap\n";
    let options = match Options::parse(args.into_iter()) {
        Ok(Some(options)) => options,
        Ok(None) => return print(&format!("{usage}{USAGE}\n")),
        Err(error) => return fail(&format!("{error}\n{usage}{USAGE}"), 2),
    };
    let measured = options.run(|directory| {
        let plan = plan(&options, directory, gib);
        Ok((pool::measure(&plan, |what| eprintln!("{what}"))?, plan.n_repetitions))
    });
    measured.unwrap_or_else(|error| fail(&error, 1))
}
