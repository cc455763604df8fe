//! Mapped: append files, ranged files and snapshots, each beside what the machine allows and beside what it replaces. One process.
//!
//! | file | what |
//! |------|------|
//! | `resident` | bytes appended into pages that are there |
//! | `growth` | bytes appended to a file that grows |
//! | `page_wise` | the seed of append files, as it grew |
//! | `chunks` | a file written in chunks by many threads; how much of a file is payload |
//! | `reads` | parts of a snapshot |
//! | `calls` | system calls of what must make none |

pub mod calls;
mod chunks;
mod growth;
mod page_wise;
mod reads;
mod resident;

use std::path::PathBuf;

pub(crate) use growth::{allocated, map};
pub(crate) use resident::{copy_all, record};

use crate::turns::{Fact, Planned, Results, Section, Turns, failed};

/// How often `work` allocates, by the program's own allocator.
pub type Allocations = fn(&mut dyn FnMut()) -> u64;

/// What is measured how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where files are made.
    pub directory: PathBuf,
    /// How often each contestant has its turn.
    pub n_repetitions: usize,
    /// Bytes that are appended in one repetition, and bytes of a snapshot.
    pub file_bytes: usize,
    /// Bytes of a file that is written in chunks, and of a chunk.
    pub chunked_bytes: [usize; 2],
    /// Reads of a snapshot in one repetition, at least.
    pub n_reads: usize,
    /// Only contestants whose name contains this.
    pub only: String,
    /// Counts allocations.
    pub allocations: Allocations,
}

/// Measures everything that is asked for. `tell` hears what is next.
pub fn measure(plan: &Plan, mut tell: impl FnMut(&str)) -> Result<Results, String> {
    let mut results = Results::new("Mapped files");
    let turns = Turns { n_repetitions: plan.n_repetitions, only: &plan.only };
    for set_up in [resident::cells, growth::cells, chunks::cells, reads::cells] {
        for planned in set_up(plan) {
            results.take_turns(&turns, planned, &mut tell);
        }
    }
    for facts in [chunks::facts, reads::facts, calls::facts] {
        tell("counts");
        results.add_facts(&turns, facts(plan)?);
    }
    let targets = [resident::targets, growth::targets, chunks::targets, reads::targets, calls::targets];
    Ok(results.finish(|results| targets.iter().flat_map(|of| of(results)).collect()))
}
