//! Pool: thousands of files opened and replayed, beside what the machine allows. One process.
//!
//! | file | what |
//! |------|------|
//! | `files` | the files: segments of a log, rows, logs |
//! | `opening` | a pool is opened, beside the bare system calls |
//! | `replaying` | every record in the order of times: from memory, from the disk beside `cat` |
//! | `seeking` | all sources to one time |
//! | `capped` | a cap of memory: what is resident, what is cached, how fast |

pub mod capped;
mod files;
mod opening;
mod replaying;
mod seeking;

use std::path::PathBuf;

use crate::turns::{Fact, Planned, Results, Section, Turns, failed};

/// What is measured how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where files are made.
    pub directory: PathBuf,
    /// How often each contestant has its turn.
    pub n_repetitions: usize,
    /// Files, and records in each.
    pub n_files: usize,
    /// Records of a file.
    pub n_records: usize,
    /// Bytes that are replayed under a cap, and the cap.
    pub capped_bytes: [u64; 2],
    /// Only contestants whose name contains this.
    pub only: String,
}

/// Measures everything that is asked for. `tell` hears what is next.
pub fn measure(plan: &Plan, mut tell: impl FnMut(&str)) -> Result<Results, String> {
    let mut results = Results::new("Pool");
    let turns = Turns { n_repetitions: plan.n_repetitions, only: &plan.only };
    for set_up in [opening::cells, replaying::cells, seeking::cells] {
        for planned in set_up(plan) {
            results.take_turns(&turns, planned, &mut tell);
        }
    }
    if "capped".contains(&plan.only) || plan.only.contains("capped") {
        tell("capped");
        results.add_facts(&turns, capped::facts(plan)?);
    }
    let targets = [opening::targets, replaying::targets, seeking::targets, capped::targets];
    Ok(results.finish(|results| targets.iter().flat_map(|of| of(results)).collect()))
}
