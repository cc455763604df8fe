//! Replay: thousands of sources in one order, beside what the machine allows and what one would take instead. One process.
//!
//! | file | what |
//! |------|------|
//! | `merging` | keys in memory, merged: scan, heaps, ours; comparisons |
//! | `seeking` | a merge in memory goes to another time |
//! | `shapes` | the times that are merged |
//! | `opening` | files are opened, beside the bare system calls |
//! | `replaying` | every record of all files in the order of times: from memory, from the disk beside `cat` |
//! | `decoder` | the same times through the `dbn` crate's merge decoder, with the feature `rivals` |
//! | `file_seeking` | all files to one time |
//! | `capped` | files under a cap of memory: what is resident, what is cached, how fast |
//! | `files` | the files: segments of a log, rows, logs |
//! | `pacing` | errors of due times; what it costs to have no pace |
//!
//! A part is a module with some of `cells`, `facts` and `targets`, named in [`measure`].

pub mod capped;
#[cfg(feature = "rivals")]
mod decoder;
mod file_seeking;
mod files;
mod merging;
mod opening;
mod pacing;
mod replaying;
mod seeking;
mod shapes;

use std::path::PathBuf;

use crate::turns::{Fact, Planned, Results, Section, Turns, failed};

/// What is measured how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where files are made.
    pub directory: PathBuf,
    /// How often each contestant in memory has its turn, and each with files or a pace.
    pub n_repetitions: [usize; 2],
    /// Records that are merged in one repetition, and by a linear scan.
    pub n_records: [usize; 2],
    /// Files that are opened and replayed.
    pub n_files: usize,
    /// Records of each.
    pub n_file_records: usize,
    /// Bytes that are replayed under a cap, and the cap: the environment variable `SHM_RING_CAPPED_GIB`.
    pub capped_bytes: [u64; 2],
    /// How long a paced replay is, and one whose drift is measured: the environment variable `SHM_RING_DRIFT_S`, in s.
    pub paced_ms: u64,
    /// See there.
    pub drift_ms: u64,
    /// CSV files of real ticks: the environment variable `SHM_RING_TICKS`.
    pub ticks: Vec<PathBuf>,
    /// Only contestants whose name contains this.
    pub only: String,
}

/// Measures everything that is asked for. `tell` hears what is next.
pub fn measure(plan: &Plan, mut tell: impl FnMut(&str)) -> Result<Results, String> {
    let mut results = Results::new("Replay");
    let [in_memory, of_files] =
        plan.n_repetitions.map(|n_repetitions| Turns { n_repetitions, only: &plan.only });
    for (set_up, turns) in [
        (merging::cells as fn(&Plan) -> Vec<Planned<'_>>, &in_memory),
        (seeking::cells, &in_memory),
        (opening::cells, &of_files),
        (replaying::cells, &of_files),
        (file_seeking::cells, &of_files),
    ] {
        for planned in set_up(plan) {
            results.take_turns(turns, planned, &mut tell);
        }
    }
    for facts in [merging::facts, capped::facts, pacing::facts] {
        tell("counts");
        results.add_facts(&of_files, facts(plan)?);
    }
    let targets = [merging::targets, opening::targets, replaying::targets, capped::targets, pacing::targets];
    Ok(results.finish(|results| targets.iter().flat_map(|of| of(results)).collect()))
}
