//! Log: appending, rolling, syncing, recovering, collecting, each beside what the machine allows.
//!
//! | file | what |
//! |------|------|
//! | `resident` | records appended into pages that are there |
//! | `recycled` | records appended into segments that were used before, one after the other |
//! | `stall` | what a record waits that comes at its time, over many rolls |
//! | `durable` | records that are on the medium, one by one and by sixteen threads |
//! | `recovery` | opening what a killed appender left |
//! | `collect` | eight processes, a ring, a recorder |
//! | `calls` | system calls, by strace |
//! | `child` | what this program does when it runs itself |

mod calls;
pub mod child;
mod collect;
mod durable;
mod recovery;
mod recycled;
mod resident;
mod stall;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use shm_ring::Appender;

use crate::turns::{Fact, Planned, Results, Section, Turns, failed};

/// What is measured how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where logs are made.
    pub directory: PathBuf,
    /// How often each contestant has its turn.
    pub n_repetitions: usize,
    /// Bytes of records that are appended in one repetition.
    pub appended_bytes: usize,
    /// Room in a segment that is to be used again.
    pub recycled_bytes: usize,
    /// Records that come at their time.
    pub n_paced: u64,
    /// Records that are brought to the medium in one repetition, by one thread.
    pub n_synced: usize,
    /// What a killed appender leaves unsealed.
    pub tail_bytes: usize,
    /// Segments of a long log.
    pub n_segments: usize,
    /// Records that each of eight processes has.
    pub n_collected: usize,
    /// Only contestants whose name contains this.
    pub only: String,
}

/// Measures everything that is asked for. `tell` hears what is next.
pub fn measure(plan: &Plan, mut tell: impl FnMut(&str)) -> Result<Results, String> {
    let mut results = Results::new("The log");
    let turns = Turns { n_repetitions: plan.n_repetitions, only: &plan.only };
    for set_up in [resident::cells, recycled::cells, durable::cells, recovery::cells] {
        for planned in set_up(plan) {
            results.take_turns(&turns, planned, &mut tell);
        }
    }
    // Seconds for each repetition.
    let few = Turns { n_repetitions: plan.n_repetitions.min(N_COLLECTED_MAX), ..turns };
    for planned in collect::cells(plan) {
        results.take_turns(&few, planned, &mut tell);
    }
    for (prefixes, facts) in FACTS {
        if prefixes.iter().any(|prefix| prefix.contains(&*plan.only) || plan.only.contains(prefix)) {
            tell(&format!("counts: {}", prefixes.join(", ")));
            results.add_facts(&turns, facts(plan)?);
        }
    }
    let targets = [
        resident::targets,
        recycled::targets,
        stall::targets,
        durable::targets,
        recovery::targets,
        collect::targets,
        calls::targets,
    ];
    Ok(results.finish(|results| targets.iter().flat_map(|of| of(results)).collect()))
}

/// Repetitions of what takes long.
const N_COLLECTED_MAX: usize = 3;

type Facts = fn(&Plan) -> Result<Vec<Fact>, String>;
/// What their names begin with, for they take their time.
const FACTS: [(&[&str], Facts); 3] =
    [(&["stall/"], stall::facts), (&["faults/"], recycled::facts), (&["calls/", "syncs/"], calls::facts)];

/// A time in a record whose time is given.
const TIME_NS: u64 = 1_700_000_000_000_000_000;
/// Helpers that take longer are stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the helpers have nothing left to do.
fn settle(log: &Appender) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let stats = log.stats();
        if stats.n_prepared > 0 && stats.n_unsettled == 0 {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("the log's helpers did not finish: {stats:?}"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Removes a directory that may not be there.
fn removed(path: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove")(error)),
        _ => Ok(()),
    }
}

/// Page faults of this thread so far that needed no medium.
fn n_faults() -> Result<f64, String> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).map_err(failed("getrusage"))?;
    Ok((usage.minor_page_faults() + usage.major_page_faults()) as f64)
}
