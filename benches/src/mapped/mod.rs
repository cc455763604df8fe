//! Mapped: append files, ranged files and snapshots, each beside what the machine allows and beside what it replaces. One process.
//!
//! | file | what |
//! |------|------|
//! | `cell` | one contestant, timed; what counts as undisturbed |
//! | `resident` | bytes appended into pages that are there |
//! | `growth` | bytes appended to a file that grows |
//! | `page_wise` | the seed of append files, as it grew |
//! | `chunks` | a file written in chunks by many threads; how much of a file is payload |
//! | `reads` | parts of a snapshot |
//! | `calls` | system calls of what must make none |
//! | `report` | Markdown, JSON |
//!
//! Contestants of one section take turns, in another order each time, and a ratio is of figures of one section. Of the time of one
//! thread, what it stood in its processor's queue does not count: that is the scheduler's own account, and others' doing. A repetition in
//! which that is more than 5 % is done again, a few times; where that does not help it counts, and is called crowded, because who had the
//! processor had its caches, too.

pub mod calls;
mod cell;
mod chunks;
mod growth;
mod page_wise;
mod reads;
mod report;
mod resident;

use std::path::PathBuf;

use crate::report::spread::{Series, Spread};
use crate::report::verdict::{Limit, NOT_IN_THIS_RUN, NOTHING_COUNTS, Target};
use cell::{Cell, Sample};

pub use report::{json, markdown};

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

/// One table.
#[derive(Debug)]
struct Section {
    title: &'static str,
    caption: &'static str,
    /// What a figure is, and how many ns that is.
    unit: (&'static str, f64),
    /// The contestant beside which all others are shown.
    floor: &'static str,
    cells: Vec<Measured>,
}

/// What a contestant did.
#[derive(Debug)]
struct Measured {
    name: String,
    /// Each repetition, or why there is none.
    samples: Vec<Result<Sample, String>>,
}

impl Measured {
    /// Every figure, in ns per operation.
    fn series(&self) -> Series {
        let numbered = self.samples.iter().enumerate();
        numbered.filter_map(|(number, sample)| Some((number, sample.as_ref().ok()?.ns))).collect()
    }

    fn n_crowded(&self) -> usize {
        self.samples.iter().flatten().filter(|sample| sample.is_crowded()).count()
    }
}

/// A count, which needs no repetition.
#[derive(Debug)]
struct Fact {
    name: &'static str,
    what: &'static str,
    figure: Result<f64, &'static str>,
}

/// What was measured.
#[derive(Debug)]
pub struct Results {
    sections: Vec<Section>,
    facts: Vec<Fact>,
}

/// Measures everything that is asked for. `tell` hears what is next.
pub fn measure(plan: &Plan, mut tell: impl FnMut(&str)) -> Result<Results, String> {
    let mut results = Results { sections: vec![], facts: vec![] };
    for set_up in [resident::cells, growth::cells, chunks::cells, reads::cells] {
        for (mut section, cells) in set_up(plan) {
            section.cells = turns(cells, plan, &mut tell);
            if !section.cells.is_empty() {
                results.sections.push(section);
            }
        }
    }
    for facts in [chunks::facts, reads::facts, calls::facts] {
        tell("counts");
        results.facts.extend(facts(plan)?);
    }
    results.facts.retain(|fact| fact.name.contains(&plan.only));
    Ok(results)
}

/// A section that is to be measured.
type Planned<'a> = (Section, Vec<Cell<'a>>);

fn turns(mut cells: Vec<Cell<'_>>, plan: &Plan, tell: &mut impl FnMut(&str)) -> Vec<Measured> {
    cells.retain(|cell| cell.name.contains(&plan.only));
    let measured = |cell: &Cell<'_>| Measured { name: cell.name.clone(), samples: vec![] };
    let mut all: Vec<Measured> = cells.iter().map(measured).collect();
    let n = cells.len();
    // The first one shows the kernel and the allocator what is wanted.
    for repetition in 0..=plan.n_repetitions {
        for turn in 0..n {
            let at = (turn + repetition) % n;
            tell(&format!("repetition {repetition} of {}: {}", plan.n_repetitions, cells[at].name));
            let sample = cells[at].sample();
            if repetition > 0 || sample.is_err() {
                all[at].samples.push(sample);
            }
        }
    }
    all
}

impl Results {
    /// Contestants that failed at least once, each with its first error.
    pub fn errors(&self) -> Vec<(&str, &str)> {
        let cells = self.sections.iter().flat_map(|section| &section.cells);
        let failed = cells.filter_map(|cell| {
            let error = cell.samples.iter().find_map(|sample| sample.as_ref().err())?;
            Some((cell.name.as_str(), error.as_str()))
        });
        failed.collect()
    }

    fn find(&self, name: &str) -> Option<&Measured> {
        self.sections.iter().flat_map(|section| &section.cells).find(|cell| cell.name == name)
    }

    /// How often one takes as long as the other.
    fn ratio(&self, of: &str, to: &str) -> Result<Spread, &'static str> {
        let [of, to] = [of, to].map(|name| self.find(name).map(Measured::series));
        let (of, to) = of.zip(to).ok_or(NOT_IN_THIS_RUN)?;
        Spread::of_ratio(&of, &to).ok_or(NOTHING_COUNTS)
    }

    /// Time to another's time, at most so much.
    fn slower(&self, what: &str, of: &str, to: &str, limit: f64) -> Target {
        let (cell, against) = (of.to_owned(), to.to_owned());
        let measured = self.ratio(of, to);
        Target { what: what.to_owned(), cell, against, limit: Limit::AtMost(limit), measured }
    }

    /// Another's time to this one's, at least so much.
    fn faster(&self, what: &str, of: &str, than: &str, limit: f64) -> Target {
        let (cell, against) = (of.to_owned(), than.to_owned());
        let measured = self.ratio(than, of);
        Target { what: what.to_owned(), cell, against, limit: Limit::AtLeast(limit, None), measured }
    }

    /// A count.
    fn count(&self, name: &str, against: &str, limit: Limit) -> Target {
        let found = self.facts.iter().find(|fact| fact.name == name);
        let figure = found.map_or(Err(NOT_IN_THIS_RUN), |fact| fact.figure);
        Target {
            what: found.map_or(name, |fact| fact.what).to_owned(),
            cell: name.to_owned(),
            against: against.to_owned(),
            limit,
            measured: figure.map(|figure| Spread { median: figure, min: figure, max: figure, n: 1 }),
        }
    }

    /// What is to be reached: missed, met, not measured.
    fn targets(&self) -> Vec<Target> {
        let targets = [resident::targets, growth::targets, chunks::targets, reads::targets, calls::targets];
        let mut all: Vec<Target> = targets.iter().flat_map(|of| of(self)).collect();
        all.sort_by_key(Target::verdict);
        all
    }
}

/// Says what was being done when something failed.
fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> String + use<'_, E> {
    move |error| format!("{what}: {error}")
}
