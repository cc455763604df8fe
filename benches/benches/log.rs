//! Log: appending, rolling, syncing, recovering and collecting, beside what the machine allows.
//!
//! ```text
//! cargo bench -p benches --bench log                                  # a few minutes
//! cargo bench -p benches --bench log -- --only resident/ --reps 15    # contestants whose name contains this
//! cargo bench -p benches --bench log -- --quick --only durable/ --dir /var/tmp
//! ```
//!
//! Logs are made in a directory for temporary files that is no tmpfs, if there is one, or below `--dir`, and removed.

use std::path::Path;
use std::process::ExitCode;

use benches::command::{fail, print};
use benches::log::{self, Plan, child};
use benches::turns::options::{Mode, Options, USAGE};

fn plan(options: &Options, directory: &Path) -> Plan {
    let mib = |n: usize| n << 20;
    let directory = directory.to_path_buf();
    let only = options.only.clone();
    let mut plan = match options.mode {
        Mode::Full => Plan {
            directory,
            n_repetitions: 9,
            appended_bytes: mib(64),
            recycled_bytes: mib(64),
            n_paced: 3_000_000,
            n_synced: 100,
            tail_bytes: mib(64),
            n_segments: 100,
            n_collected: 1_000_000,
            only,
        },
        Mode::Quick => Plan {
            directory,
            n_repetitions: 3,
            appended_bytes: mib(64),
            recycled_bytes: mib(32),
            n_paced: 1_000_000,
            n_synced: 30,
            tail_bytes: mib(64),
            n_segments: 20,
            n_collected: 100_000,
            only,
        },
        Mode::Test => Plan {
            directory,
            n_repetitions: 1,
            appended_bytes: mib(1),
            recycled_bytes: mib(1),
            n_paced: 100_000,
            n_synced: 2,
            tail_bytes: mib(1),
            n_segments: 4,
            n_collected: 2_000,
            only,
        },
    };
    plan.n_repetitions = options.n_repetitions.unwrap_or(plan.n_repetitions);
    plan
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if(|arg| arg == child::ARGUMENT).is_some() {
        return child::play(args).map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS);
    }
    let options = match Options::parse(args) {
        Ok(Some(options)) => options,
        Ok(None) => return print(&format!("usage: log [options]\n{USAGE}\n")),
        Err(error) => return fail(&format!("{error}\nusage: log [options]\n{USAGE}"), 2),
    };
    let measured = options.run(|directory| {
        let plan = plan(&options, directory);
        Ok((log::measure(&plan, |what| eprintln!("{what}"))?, plan.n_repetitions))
    });
    measured.unwrap_or_else(|error| fail(&error, 1))
}
