//! Replay: thousands of sources in one order, beside what the machine allows and what one would take instead. One process.
//!
//! | file | what |
//! |------|------|
//! | `merging` | keys in memory, merged: scan, heaps, ours; comparisons |
//! | `pacing` | errors of due times; what it costs to have no pace |
//! | `seeking` | a merge goes to another time |
//! | `shapes` | the times that are merged |
//!
//! A part is a module with some of `cells`, `facts` and `targets`, named in [`measure`].

mod merging;
mod pacing;
mod seeking;
mod shapes;

use std::path::PathBuf;

use crate::turns::{Fact, Planned, Results, Section, Turns, failed};

/// What is measured how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where files are made.
    pub directory: PathBuf,
    /// How often each contestant has its turn.
    pub n_repetitions: usize,
    /// Records that are merged in one repetition, and by a linear scan.
    pub n_records: [usize; 2],
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
    let turns = Turns { n_repetitions: plan.n_repetitions, only: &plan.only };
    for set_up in [merging::cells, seeking::cells] {
        for planned in set_up(plan) {
            results.take_turns(&turns, planned, &mut tell);
        }
    }
    for facts in [merging::facts, pacing::facts] {
        tell("counts");
        results.add_facts(&turns, facts(plan)?);
    }
    let targets = [merging::targets, pacing::targets];
    Ok(results.finish(|results| targets.iter().flat_map(|of| of(results)).collect()))
}
