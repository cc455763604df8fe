//! Turns: contestants of one process that take turns, each beside what the machine allows and beside what it replaces.
//!
//! | file | what |
//! |------|------|
//! | `cell` | one contestant, timed; what counts as undisturbed |
//! | `report` | Markdown, JSON |
//! | `options` | what a program is asked |
//! | `trace` | system calls, counted |
//!
//! Contestants of one section take turns, in another order each time, and a ratio is of figures of one section. Of the time of one
//! thread, what it stood in its processor's queue does not count: that is the scheduler's own account, and others' doing. A repetition in
//! which that is more than 5 % is done again, a few times; where that does not help it counts, and is called crowded, because who had the
//! processor had its caches, too.

mod cell;
pub mod options;
mod report;
pub(crate) mod trace;

use crate::report::spread::{Series, Spread};
use crate::report::verdict::{Limit, NOT_IN_THIS_RUN, NOTHING_COUNTS, Target};

pub(crate) use cell::{Cell, Sample, timed, timed_threads};
pub use report::{json, markdown};

/// One table.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) caption: &'static str,
    /// What a figure is, and how many ns that is.
    pub(crate) unit: (&'static str, f64),
    /// The contestant beside which all others are shown.
    pub(crate) floor: &'static str,
    pub(crate) cells: Vec<Measured>,
}

/// What a contestant did.
#[derive(Debug)]
pub(crate) struct Measured {
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

/// What is no time of one operation: a count, or a figure of a whole run.
#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) figure: Result<Spread, &'static str>,
}

impl Fact {
    /// A count, which needs no repetition.
    pub(crate) fn exact(name: &'static str, what: &'static str, figure: Result<f64, &'static str>) -> Self {
        let once = |figure| Spread { median: figure, min: figure, max: figure, n: 1 };
        Self { name, what, figure: figure.map(once) }
    }
}

/// What was measured.
#[derive(Debug)]
pub struct Results {
    title: &'static str,
    sections: Vec<Section>,
    facts: Vec<Fact>,
    targets: Vec<Target>,
}

/// A section that is to be measured.
pub(crate) type Planned<'a> = (Section, Vec<Cell<'a>>);

fn turns(mut cells: Vec<Cell<'_>>, plan: &Turns<'_>, tell: &mut impl FnMut(&str)) -> Vec<Measured> {
    cells.retain(|cell| cell.name.contains(plan.only));
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

/// How often everybody has its turn, and who has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns<'a> {
    pub(crate) n_repetitions: usize,
    /// Only contestants whose name contains this.
    pub(crate) only: &'a str,
}

impl Results {
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, sections: vec![], facts: vec![], targets: vec![] }
    }

    /// Lets the contestants of a section take turns. `tell` hears who is next.
    pub(crate) fn take_turns(
        &mut self,
        plan: &Turns<'_>,
        (mut section, cells): Planned<'_>,
        tell: &mut impl FnMut(&str),
    ) {
        section.cells = turns(cells, plan, tell);
        if !section.cells.is_empty() {
            self.sections.push(section);
        }
    }

    pub(crate) fn add_facts(&mut self, plan: &Turns<'_>, facts: Vec<Fact>) {
        self.facts.extend(facts.into_iter().filter(|fact| fact.name.contains(plan.only)));
    }

    /// What is to be reached: missed, met, not measured.
    pub(crate) fn finish(mut self, targets: impl FnOnce(&Self) -> Vec<Target>) -> Self {
        self.targets = targets(&self);
        self.targets.sort_by_key(Target::verdict);
        self
    }

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
    pub(crate) fn ratio(&self, of: &str, to: &str) -> Result<Spread, &'static str> {
        let [of, to] = [of, to].map(|name| self.find(name).map(Measured::series));
        let (of, to) = of.zip(to).ok_or(NOT_IN_THIS_RUN)?;
        Spread::of_ratio(&of, &to).ok_or(NOTHING_COUNTS)
    }

    /// Time to another's time, at most so much.
    pub(crate) fn slower(&self, what: &str, of: &str, to: &str, limit: f64) -> Target {
        let (cell, against) = (of.to_owned(), to.to_owned());
        let measured = self.ratio(of, to);
        Target { what: what.to_owned(), cell, against, limit: Limit::AtMost(limit), measured }
    }

    /// A time, in ns, at most so much.
    pub(crate) fn time(&self, what: &str, of: &str, limit: f64) -> Target {
        let series = self.find(of).map(Measured::series).ok_or(NOT_IN_THIS_RUN);
        let measured = series.and_then(|series| Spread::of_series(&series).ok_or(NOTHING_COUNTS));
        let against = "-".to_owned();
        Target { what: what.to_owned(), cell: of.to_owned(), against, limit: Limit::AtMost(limit), measured }
    }

    /// Another's time to this one's, at least so much.
    pub(crate) fn faster(&self, what: &str, of: &str, than: &str, limit: f64) -> Target {
        let (cell, against) = (of.to_owned(), than.to_owned());
        let measured = self.ratio(than, of);
        Target { what: what.to_owned(), cell, against, limit: Limit::AtLeast(limit, None), measured }
    }

    /// A count.
    pub(crate) fn count(&self, name: &str, against: &str, limit: Limit) -> Target {
        let found = self.facts.iter().find(|fact| fact.name == name);
        let figure = found.map_or(Err(NOT_IN_THIS_RUN), |fact| fact.figure);
        Target {
            what: found.map_or(name, |fact| fact.what).to_owned(),
            cell: name.to_owned(),
            against: against.to_owned(),
            limit,
            measured: figure,
        }
    }
}

/// Says what was being done when something failed.
pub(crate) fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> String + use<'_, E> {
    move |error| format!("{what}: {error}")
}
