//! Replay: thousands of sources in one order, beside what the machine allows and what one would take instead. One process.
//!
//! | file | what |
//! |------|------|
//! | `merging` | keys in memory, merged: scan, heaps, ours; comparisons |
//! | `seeking` | a merge goes to another time |
//! | `shapes` | the times that are merged |
//!
//! A part is a module with some of `cells`, `facts` and `targets`, named in [`measure`].

mod merging;
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
    tell("counts");
    results.add_facts(&turns, merging::facts(plan)?);
    Ok(results.finish(merging::targets))
}
