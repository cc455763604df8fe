//! Report: which repetitions count, medians with their spread, and ratios to the floor.
//!
//! - Repetitions whose two brackets disagree are "mixed" and dropped.
//! - Repetitions in which a side stood in its processor's queue for more than 2 % of its time are "crowded" and dropped:
//!   that is the scheduler's own account, not a look at the result.
//! - Placements are not comparable with each other: the tables are about the repetitions whose L1 agrees with the median L1
//!   of the run. (By the label alone, an L1 that hovers about a limit would split one placement in two.)
//! - A ratio of round trips is taken within each repetition, to the mean of its own two brackets: percentile to
//!   percentile (timer in both), mean to mean (timer in neither).
//! - A ratio of rates is taken to the median of the best minimal ring of the same size, at 64 KiB to that of L2.
//! - Wake-ups have their floor interleaved, and CPU time has none: these use all repetitions.

mod json;
mod tables;
mod targets;

use std::fmt::{self, Display};

use crate::cells::{Cell, Group, STREAM_LIMIT, Workload};
use crate::floor::{Placement, agree};
use crate::workload::blocked::{Idle, Wakes};
use crate::workload::stream::Rate;
use crate::workload::trips::Trips;
use crate::workload::{Figures, Repetition};

pub use json::json;
pub use tables::markdown;

/// What was measured, and what of it counts.
#[derive(Debug)]
pub struct Results<'a> {
    cells: &'a [Cell],
    /// The median L1 of the repetitions that are neither mixed nor crowded.
    l1_ns: Option<f64>,
}

impl<'a> Results<'a> {
    /// Finds the placement that most repetitions had.
    pub fn new(cells: &'a [Cell]) -> Self {
        let mut results = Self { cells, l1_ns: None };
        let steady = results.done().filter(|repetition| is_steady(repetition));
        let l1_ns = Spread::of(steady.map(|repetition| repetition.brackets.mean_ns()).collect());
        results.l1_ns = l1_ns.map(|spread| spread.median);
        results
    }

    /// Whether the tables may use a repetition.
    fn counts(&self, repetition: &Repetition) -> bool {
        let l1_ns = repetition.brackets.mean_ns();
        is_steady(repetition) && self.l1_ns.is_some_and(|median_ns| agree(median_ns, l1_ns))
    }

    fn placement(&self) -> Option<Placement> {
        self.l1_ns.map(Placement::of)
    }

    /// The cells that failed at least once, each with its first error.
    pub fn errors(&self) -> Vec<(String, &'a str)> {
        let errors = self.cells.iter().filter_map(|cell| {
            let error = cell.repetitions.iter().find_map(|repetition| repetition.as_ref().err())?;
            Some((cell.name(), error.as_str()))
        });
        errors.collect()
    }

    fn done(&self) -> impl Iterator<Item = &'a Repetition> {
        self.cells.iter().flat_map(|cell| cell.repetitions.iter().flatten())
    }

    fn of(&self, workload: Workload) -> impl Iterator<Item = &'a Cell> {
        self.cells.iter().filter(move |cell| cell.workload == workload)
    }

    fn find(&self, workload: Workload, record_bytes: usize, contestant: &str) -> Option<&'a Cell> {
        self.of(workload).find(|cell| cell.record_bytes == record_bytes && cell.contestant == contestant)
    }

    /// The spread of `figure` over the repetitions of a cell that count.
    fn spread(&self, cell: &Cell, figure: impl Fn(&Repetition) -> Option<f64>) -> Option<Spread> {
        let any = matches!(cell.workload, Workload::WakeUp | Workload::IdleCpu);
        let counts = |repetition: &&Repetition| any || self.counts(repetition);
        Spread::of(cell.repetitions.iter().flatten().filter(counts).filter_map(figure).collect())
    }

    /// Records per second.
    fn rate(&self, cell: &Cell) -> Option<Spread> {
        self.spread(cell, |repetition| rate(repetition).map(Rate::per_second))
    }

    /// What rates of this size are compared with, and the name of it.
    fn best_rate(&self, record_bytes: usize) -> Option<(f64, &'a str)> {
        let streams = self.of(Workload::Stream).filter(|cell| cell.record_bytes == record_bytes);
        let limit = self.find(Workload::Stream, record_bytes, STREAM_LIMIT);
        let rated = |cell: &'a Cell| Some((self.rate(cell)?.median, cell.contestant));
        match limit {
            Some(limit) => rated(limit),
            None => streams
                .filter(|cell| cell.group == Group::Minimal)
                .filter_map(rated)
                .max_by(|a, b| f64::total_cmp(&a.0, &b.0)),
        }
    }

    /// A cell's rate as a part of the best.
    fn rate_ratio(&self, cell: &Cell) -> Option<Spread> {
        let (best, _) = self.best_rate(cell.record_bytes)?;
        self.spread(cell, |repetition| Some(rate(repetition)?.per_second() / best))
    }

    /// Median round trip to that of the raw line, both with the timer.
    fn p50_ratio(&self, cell: &Cell) -> Option<Spread> {
        self.spread(cell, |repetition| Some(trips(repetition)?.p50_ns / repetition.brackets.p50_ns()))
    }

    /// Mean round trip to that of the raw line, both without the timer.
    fn mean_ratio(&self, cell: &Cell) -> Option<Spread> {
        self.spread(cell, |repetition| Some(trips(repetition)?.mean_ns / repetition.brackets.mean_ns()))
    }

    /// Median wake-up to that of the bare futex.
    fn wake_ratio(&self, cell: &Cell) -> Option<Spread> {
        self.spread(cell, |repetition| wakes(repetition).map(|wakes| wakes.p50_ns / wakes.bare_p50_ns))
    }

    /// CPU time of a consumer that was blocked for five seconds; what a shorter wait costs says nothing about them.
    fn cpu_in_5_s(&self, cell: &Cell) -> Option<Spread> {
        self.spread(cell, |repetition| {
            idle(repetition).filter(|idle| idle.wall_s > 4.9).map(|idle| idle.cpu_s)
        })
    }
}

fn is_steady(repetition: &Repetition) -> bool {
    repetition.brackets.placement() != Placement::Mixed && !is_crowded(repetition)
}

/// Only where both sides spin: one that is woken stands in the queue until its processor is awake.
fn is_crowded(repetition: &Repetition) -> bool {
    let spins = matches!(repetition.figures, Figures::Trips(_) | Figures::Rate(_));
    spins && repetition.queued_part > 0.02
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

/// A median and what lies around it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
    n: usize,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max, n) = (*values.first()?, *values.last()?, values.len());
        let median = f64::midpoint(values[(n - 1) / 2], values[n / 2]);
        Some(Self { median, min, max, n })
    }

    fn scaled(self, by: f64) -> Self {
        Self { median: self.median * by, min: self.min * by, max: self.max * by, n: self.n }
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}..{}]", Digits(self.median), Digits(self.min), Digits(self.max))
    }
}

/// A number with three digits that matter.
struct Digits(f64);

impl Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = match self.0.abs() {
            x if x >= 99.95 => 0,
            x if x >= 9.995 => 1,
            x if x >= 0.9995 => 2,
            x if x >= 0.09995 => 3,
            _ => 4,
        };
        write!(f, "{:.decimals$}", self.0)
    }
}

/// What stands in a table where nothing was measured.
fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Medians of even and odd counts, and no spread of nothing.
    #[test]
    fn spreads_have_the_median_in_the_middle() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0, n: 3 }));
        assert_eq!(Spread::of(vec![4.0, 1.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of(vec![]), None);
    }

    /// Three digits that matter, whatever the size.
    #[test]
    fn numbers_have_three_digits() {
        let text = [1234.5, 99.96, 12.34, 1.234, 0.1234, 0.01234].map(|x| Digits(x).to_string());
        assert_eq!(text, ["1234", "100", "12.3", "1.23", "0.123", "0.0123"]);
    }
}
