//! Replay: thousands of sources in one order, beside what the machine allows and what one would take instead.
//!
//! ```text
//! cargo bench -p benches --bench replay                                       # all of it
//! cargo bench -p benches --bench replay -- --only merge/3000/ --reps 15       # contestants whose name contains this
//! SHM_RING_DRIFT_S=60 cargo bench -p benches --bench replay -- --only pace/   # drift over a minute
//! SHM_RING_TICKS=quotes.csv:trades.csv cargo bench -p benches --bench replay  # with real ticks
//! ```
//!
//! Files are made in a directory for temporary files that is no tmpfs, if there is one, or below `--dir`, and removed.

use std::path::Path;
use std::process::ExitCode;

use benches::command::{fail, print};
use benches::replay::{self, Plan};
use benches::turns::options::{Mode, Options, USAGE};

fn plan(options: &Options, directory: &Path) -> Plan {
    let (n_repetitions, n_records, paced_ms, drift_ms) = match options.mode {
        Mode::Full => (9, [3_000_000, 100_000], 1_000, 5_000),
        Mode::Quick => (3, [3_000_000, 100_000], 1_000, 2_000),
        Mode::Test => (1, [30_000, 300], 30, 30),
    };
    let drift_s = std::env::var("SHM_RING_DRIFT_S").ok().and_then(|seconds| seconds.parse::<u64>().ok());
    let ticks = std::env::var_os("SHM_RING_TICKS").unwrap_or_default();
    Plan {
        directory: directory.to_path_buf(),
        n_repetitions: options.n_repetitions.unwrap_or(n_repetitions),
        n_records,
        paced_ms,
        drift_ms: drift_s.map_or(drift_ms, |seconds| seconds * 1_000),
        ticks: std::env::split_paths(&ticks).filter(|path| !path.as_os_str().is_empty()).collect(),
        only: options.only.clone(),
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return print(&format!("usage: replay [options]\n{USAGE}\n")),
        Err(error) => return fail(&format!("{error}\nusage: replay [options]\n{USAGE}"), 2),
    };
    let measured = options.run(|directory| {
        let plan = plan(&options, directory);
        Ok((replay::measure(&plan, |what| eprintln!("{what}"))?, plan.n_repetitions))
    });
    measured.unwrap_or_else(|error| fail(&error, 1))
}
