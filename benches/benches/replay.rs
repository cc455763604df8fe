//! Replay: thousands of sources in one order, beside what the machine allows and what one would take instead.
//!
//! ```text
//! cargo bench -p benches --bench replay                                       # all of it: some four minutes, 4 GiB of disk
//! cargo bench -p benches --bench replay -- --only merge/3000/ --reps 15       # contestants whose name contains this
//! SHM_RING_DRIFT_S=60 cargo bench -p benches --bench replay -- --only pace/   # drift over a minute
//! SHM_RING_CAPPED_GIB=20 cargo bench -p benches --bench replay -- --only capped/   # more than memory, through 512 MiB
//! SHM_RING_TICKS=quotes.csv:trades.csv cargo bench -p benches --bench replay  # with real ticks
//! ```
//!
//! Files are made in a directory for temporary files that is no tmpfs, if there is one, or below `--dir`, and removed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use benches::command::{fail, print};
use benches::replay::{self, Plan, capped};
use benches::turns::options::{Mode, Options, USAGE};

/// The largest cap; of fewer bytes, an eighth of them.
const CAP_BYTES: u64 = 512 << 20;

fn plan(options: &Options, directory: &Path) -> Plan {
    let mib = |n: u64| n << 20;
    let (n_repetitions, n_records, files, capped_bytes, paced_ms) = match options.mode {
        Mode::Full => ([7, 3], [3_000_000, 100_000], [3_000, 2_667], mib(1024), [1_000, 5_000]),
        Mode::Quick => ([3, 1], [3_000_000, 100_000], [3_000, 600], mib(512), [1_000, 2_000]),
        Mode::Test => ([1, 1], [30_000, 300], [30, 100], mib(8), [30, 30]),
    };
    let capped_bytes = number_in("SHM_RING_CAPPED_GIB").map_or(capped_bytes, |gib| mib(gib * 1024));
    let ticks = std::env::var_os("SHM_RING_TICKS").unwrap_or_default();
    Plan {
        directory: directory.to_path_buf(),
        n_repetitions: options.n_repetitions.map_or(n_repetitions, |n| [n, n]),
        n_records,
        n_files: files[0],
        n_file_records: files[1],
        // With the small files of a test there must be enough for all of them.
        capped_bytes: [capped_bytes, (capped_bytes / 8).clamp(mib(64), CAP_BYTES)],
        paced_ms: paced_ms[0],
        drift_ms: number_in("SHM_RING_DRIFT_S").map_or(paced_ms[1], |seconds| seconds * 1_000),
        ticks: std::env::split_paths(&ticks).filter(|path| !path.as_os_str().is_empty()).collect(),
        only: options.only.clone(),
    }
}

fn number_in(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|number| number.parse().ok())
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if(|arg| arg == capped::ARGUMENT).is_some() {
        let directory = PathBuf::from(args.next().unwrap_or_default());
        let cap = args.next().and_then(|cap| cap.parse().ok()).unwrap_or(0);
        return capped::child(&directory, cap).map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS);
    }
    let options = match Options::parse(args) {
        Ok(Some(options)) => options,
        Ok(None) => return print(&format!("usage: replay [options]\n{USAGE}\n")),
        Err(error) => return fail(&format!("{error}\nusage: replay [options]\n{USAGE}"), 2),
    };
    let measured = options.run(|directory| {
        let plan = plan(&options, directory);
        Ok((replay::measure(&plan, |what| eprintln!("{what}"))?, plan.n_repetitions[0]))
    });
    measured.unwrap_or_else(|error| fail(&error, 1))
}
