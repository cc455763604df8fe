//! Report: which repetitions count, medians with their spread, ratios to the floor, and what was to be reached.
//!
//! | file | what |
//! |------|------|
//! | `spread` | medians, ratios |
//! | `targets` | what is to be reached between processes |
//! | `verdict` | whether it was |
//! | `tables`, `sections` | Markdown: the whole, and one section per workload |
//! | `json` | everything, machine-readable |
//!
//! - Repetitions whose two brackets disagree are "mixed" and dropped.
//! - Repetitions of two processes that spin in which one stood in its processor's queue for more than 5 % of its time are
//!   "crowded" and dropped: that is the scheduler's own account, not a look at the result. Aeron's are not: what stands in the way
//!   there is its own driver.
//! - Placements are not comparable with each other: every figure and every ratio is of one placement (a `View`). The tables are
//!   about the one that occurred most; the others come below.
//! - A repetition belongs to the placement with whose median L1 it agrees, the most frequent one first. (By limits alone, an L1
//!   that hovers about one would split a placement in two.) What agrees with none is dropped like the mixed ones.
//! - Wake-ups have their floor interleaved, CPU time and memory have none: these use all repetitions, in the first placement.

mod json;
mod sections;
pub(crate) mod spread;
pub(crate) mod tables;
mod targets;
pub(crate) mod verdict;

use crate::cells::{Cell, Group, Workload};
use crate::floor::{Placement, agree};
use crate::workload::blocked::{Idle, Wakes};
use crate::workload::memory::Memory;
use crate::workload::stream::Rate;
use crate::workload::trips::Trips;
use crate::workload::{Figures, Repetition};
use spread::{Series, Spread};

pub use json::json;
pub use tables::markdown;

/// A side that spins stood in a queue for no longer than this part of its time, else somebody else was there.
pub const QUEUED_PART_MAX: f64 = 0.05;

/// What was measured, and what of it counts.
#[derive(Debug)]
pub struct Results<'a> {
    cells: &'a [Cell],
    queued_part_max: f64,
    /// The placements that occurred, the most frequent one first; one at least.
    places: Vec<Place>,
}

/// A placement with its L1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    placement: Placement,
    /// The median over the repetitions; 0: there are none.
    l1_ns: f64,
}

/// Where a repetition belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belongs {
    /// To this placement, by its place in the list.
    To(usize),
    /// To none: L1 changed, or is like no other.
    Mixed,
    /// To none: somebody else had the processor.
    Crowded,
}

impl<'a> Results<'a> {
    /// Finds the placements. `queued_part_max` is [`QUEUED_PART_MAX`], or more where figures mean nothing anyway.
    pub fn new(cells: &'a [Cell], queued_part_max: f64) -> Self {
        let mut results = Self { cells, queued_part_max, places: Vec::new() };
        let l1s = |label: Placement| {
            let all = results.done().filter(|(cell, repetition)| !results.is_crowded(cell, repetition));
            let placed = all.filter(move |(_, repetition)| repetition.brackets.placement() == label);
            Spread::of(placed.map(|(_, repetition)| repetition.brackets.mean_ns()).collect())
        };
        let labels = [Placement::Near, Placement::Far, Placement::Smt];
        let mut found: Vec<_> = labels.into_iter().filter_map(|label| Some((label, l1s(label)?))).collect();
        found.sort_by_key(|(_, spread)| std::cmp::Reverse(spread.n));
        results.places =
            found.iter().map(|&(placement, spread)| Place { placement, l1_ns: spread.median }).collect();
        // One whose repetitions all agree with another's L1 only lies across a limit.
        let n_that = |place| results.n_that(Belongs::To(place));
        let kept = (0..results.places.len()).filter(|&place| n_that(place) > 0);
        results.places = kept.map(|place| results.places[place]).collect();
        if results.places.is_empty() {
            results.places.push(Place { placement: Placement::Mixed, l1_ns: 0.0 });
        }
        results
    }

    fn belongs(&self, cell: &Cell, repetition: &Repetition) -> Belongs {
        if cell.workload.is_anywhere_the_same() {
            return Belongs::To(0);
        }
        if self.is_crowded(cell, repetition) {
            return Belongs::Crowded;
        }
        let l1_ns = repetition.brackets.mean_ns();
        let place = self.places.iter().position(|place| agree(place.l1_ns, l1_ns));
        match place {
            Some(place) if repetition.brackets.placement() != Placement::Mixed => Belongs::To(place),
            _ => Belongs::Mixed,
        }
    }

    fn is_crowded(&self, cell: &Cell, repetition: &Repetition) -> bool {
        let has_driver = cell.contestant.starts_with("aeron");
        cell.workload.spins_undisturbed() && !has_driver && repetition.queued_part > self.queued_part_max
    }

    /// How many repetitions belong so.
    fn n_that(&self, belong: Belongs) -> usize {
        self.done().filter(|(cell, repetition)| self.belongs(cell, repetition) == belong).count()
    }

    /// The results of each placement, the most frequent one first.
    fn views(&self) -> impl Iterator<Item = View<'_>> {
        (0..self.places.len()).map(|place| View { results: self, place })
    }

    /// The cells that failed at least once, each with its first error.
    pub fn errors(&self) -> Vec<(String, &'a str)> {
        let errors = self.cells.iter().filter_map(|cell| {
            let error = cell.repetitions.iter().find_map(|repetition| repetition.as_ref().err())?;
            Some((cell.name(), error.as_str()))
        });
        errors.collect()
    }

    /// Whether one of these is not a rival's: some of those can't run everywhere.
    pub fn failed(&self) -> bool {
        let failed = |cell: &Cell| cell.group != Group::Rival && cell.repetitions.iter().any(Result::is_err);
        self.cells.iter().any(failed)
    }

    fn done(&self) -> impl Iterator<Item = (&'a Cell, &'a Repetition)> {
        self.cells.iter().flat_map(|cell| cell.repetitions.iter().flatten().map(move |done| (cell, done)))
    }

    fn find(&self, workload: Workload, record_bytes: usize, contestant: &str) -> Option<&'a Cell> {
        self.cells.iter().find(|cell| {
            (cell.workload, cell.record_bytes, cell.contestant) == (workload, record_bytes, contestant)
        })
    }
}

/// The results of one placement.
#[derive(Clone, Copy, Debug)]
struct View<'a> {
    results: &'a Results<'a>,
    place: usize,
}

impl<'a> View<'a> {
    fn place(&self) -> Place {
        self.results.places[self.place]
    }

    fn is_first(&self) -> bool {
        self.place == 0
    }

    fn of(&self, workload: Workload) -> impl Iterator<Item = &'a Cell> + use<'a> {
        self.results.cells.iter().filter(move |cell| cell.workload == workload)
    }

    /// `figure` of each repetition of a cell that belongs here.
    fn series(&self, cell: &Cell, figure: impl Fn(&Repetition) -> Option<f64>) -> Series {
        let numbered = cell.repetitions.iter().enumerate();
        let done = numbered.filter_map(|(number, result)| Some((number, result.as_ref().ok()?)));
        done.filter(|(_, repetition)| self.results.belongs(cell, repetition) == Belongs::To(self.place))
            .filter_map(|(number, repetition)| Some((number, figure(repetition)?)))
            .collect()
    }

    fn spread(&self, cell: &Cell, figure: impl Fn(&Repetition) -> Option<f64>) -> Option<Spread> {
        Spread::of_series(&self.series(cell, figure))
    }

    /// Records per second.
    fn rates(&self, cell: &Cell) -> Series {
        self.series(cell, |repetition| rate(repetition).map(Rate::per_second))
    }

    /// The fastest of the cells that `eligible` admits.
    fn fastest(&self, cells: impl Iterator<Item = &'a Cell>) -> Option<&'a Cell> {
        let rated = cells.filter_map(|cell| Some((cell, Spread::of_series(&self.rates(cell))?.median)));
        rated.max_by(|a, b| f64::total_cmp(&a.1, &b.1)).map(|(cell, _)| cell)
    }

    /// The best hand-written ring for one to one.
    fn best_minimal(&self, record_bytes: usize) -> Option<&'a Cell> {
        let minimal = |cell: &&Cell| cell.group == Group::Minimal && cell.record_bytes == record_bytes;
        self.fastest(self.of(Workload::Stream).filter(minimal))
    }

    /// A cell's rate as a part of another's.
    fn rate_ratio(&self, cell: &Cell, to: &Cell) -> Option<Spread> {
        Spread::of_ratio(&self.rates(cell), &self.rates(to))
    }

    /// Median round trip to that of the raw line of the same repetition, both with the timer.
    fn p50_ratio(&self, cell: &Cell) -> Option<Spread> {
        let p50 = self.series(cell, |repetition| Some(trips(repetition)?.p50_ns));
        Spread::of_ratio(&p50, &self.series(cell, |repetition| Some(repetition.brackets.p50_ns())))
    }

    /// Mean round trip to that of the raw line of the same repetition, both without the timer.
    fn mean_ratio(&self, cell: &Cell) -> Option<Spread> {
        let mean = self.series(cell, |repetition| Some(trips(repetition)?.mean_ns));
        Spread::of_ratio(&mean, &self.series(cell, |repetition| Some(repetition.brackets.mean_ns())))
    }

    /// What a tail of 1 in 1,000 takes, to the median.
    fn tail_ratio(&self, cell: &Cell) -> Option<Spread> {
        let tail = self.series(cell, |repetition| Some(trips(repetition)?.p999_ns));
        Spread::of_ratio(&tail, &self.series(cell, |repetition| Some(trips(repetition)?.p50_ns)))
    }

    /// Median wake-up to that of the bare futex.
    fn wake_ratio(&self, cell: &Cell) -> Option<Spread> {
        let woken = self.series(cell, |repetition| Some(wakes(repetition)?.p50_ns));
        Spread::of_ratio(&woken, &self.series(cell, |repetition| Some(wakes(repetition)?.bare_p50_ns)))
    }

    /// Time per record with metadata, less `n_clock_reads`, to the time without.
    fn metadata_ratio(&self, with: &Cell, without: &Cell, n_clock_reads: f64) -> Option<Spread> {
        let with = self.series(with, |repetition| {
            Some(ns_per_record(repetition)? - n_clock_reads * repetition.clock_read_ns)
        });
        Spread::of_ratio(&with, &self.series(without, ns_per_record))
    }

    /// Pss that a ring adds, to what it holds and a MiB.
    fn memory_ratio(&self, cell: &Cell) -> Option<Spread> {
        let pss = self.series(cell, |repetition| Some(memory(repetition)?.added_bytes() as f64));
        let allowed =
            self.series(cell, |repetition| Some((memory(repetition)?.ring_bytes + (1 << 20)) as f64));
        Spread::of_ratio(&pss, &allowed)
    }

    /// CPU time of a consumer that was blocked for five seconds; what a shorter wait costs says nothing about them.
    fn cpu_in_5_s(&self, cell: &Cell) -> Option<Spread> {
        self.spread(cell, |repetition| {
            idle(repetition).filter(|idle| idle.wall_s > 4.9).map(|idle| idle.cpu_s)
        })
    }
}

fn trips(repetition: &Repetition) -> Option<&Trips> {
    match &repetition.figures {
        Figures::Trips(trips) => Some(trips),
        _ => None,
    }
}

fn rate(repetition: &Repetition) -> Option<&Rate> {
    match &repetition.figures {
        Figures::Rate(rate) => Some(rate),
        _ => None,
    }
}

fn ns_per_record(repetition: &Repetition) -> Option<f64> {
    Some(1e9 / rate(repetition)?.per_second())
}

fn wakes(repetition: &Repetition) -> Option<&Wakes> {
    match &repetition.figures {
        Figures::Wakes(wakes) => Some(wakes),
        _ => None,
    }
}

fn idle(repetition: &Repetition) -> Option<&Idle> {
    match &repetition.figures {
        Figures::Idle(idle) => Some(idle),
        _ => None,
    }
}

fn memory(repetition: &Repetition) -> Option<&Memory> {
    match &repetition.figures {
        Figures::Memory(memory) => Some(memory),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
