//! Merging: times in memory, in one order. Nothing is read but the times.
//!
//! | contestant | takes the least by |
//! |------------|--------------------|
//! | `ours` | `Merge`: a loser tree that gallops |
//! | `peek_mut` | `BinaryHeap`: changing its greatest in place |
//! | `pop_push` | `BinaryHeap`: popping and pushing |
//! | `scan` | looking at all; fewer records |
//!
//! Each repetition's order is checked: by a sum in which each record's place counts, against a stable sort's.

use std::cell::{OnceCell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::rc::Rc;
use std::slice::Iter;

use shm_ring::replay::{Merge, MergeStats, Next, Source, SourceError, Stamp};

use super::shapes::Shape;
use super::{Fact, Plan, Planned, Results, Section, failed};
use crate::report::verdict::{Limit, Target};
use crate::turns::{Cell, Sample, timed};

const N_SOURCES: [usize; 2] = [3_000, 300];
const COMPARISONS: [[&str; 4]; 2] = [
    ["comparisons/3000/grid", "comparisons/3000/random", "comparisons/3000/bursts", "comparisons/3000/ticks"],
    ["comparisons/300/grid", "comparisons/300/random", "comparisons/300/bursts", "comparisons/300/ticks"],
];

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    N_SOURCES.iter().map(|&k| section(plan, k)).collect()
}

fn section(plan: &Plan, k: usize) -> Planned<'_> {
    let mut cells = vec![];
    for shape in Shape::ALL {
        let data = Rc::new(OnceCell::new());
        let [n, n_scanned] = plan.n_records;
        for contestant in Contestant::ALL {
            let data = Rc::clone(&data);
            cells.push(Cell::new(name(k, shape, contestant), move || {
                let data = data.get_or_init(|| Data::new(shape.times(k, n, &plan.ticks)?)).as_ref();
                let data = data.map_err(String::clone)?;
                data.repetition(contestant, if contestant == Contestant::Scan { n_scanned } else { n })
            }));
        }
    }
    let title = if k == N_SOURCES[0] { "Merge of 3,000 sources" } else { "Merge of 300 sources" };
    let section = Section {
        title,
        caption: "Times in memory, by time and source. `peek_mut`, `pop_push`: `std::collections::BinaryHeap`.",
        unit: ("ns per record", 1.0),
        floor: "peek_mut",
        cells: vec![],
    };
    (section, cells)
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let mut targets = vec![];
    for (k, comparisons) in N_SOURCES.into_iter().zip(COMPARISONS) {
        for (shape, comparisons) in Shape::ALL.into_iter().zip(comparisons) {
            let mut faster = |than: Contestant, limit| {
                let what = format!("merge of {k}, {}: times as fast as {}", shape.name(), than.name());
                let [ours, than] = [Contestant::Ours, than].map(|contestant| name(k, shape, contestant));
                targets.push(results.faster(&what, &ours, &than, limit));
            };
            if k == N_SOURCES[0] {
                faster(Contestant::Scan, 40.0);
            }
            faster(Contestant::PopPush, 1.5);
            faster(Contestant::PeekMut, 0.9);
            let limit = f64::from(k.next_power_of_two().ilog2() + 1);
            targets.push(results.count(comparisons, "-", Limit::AtMost(limit)));
        }
    }
    targets
}

pub(super) fn facts(plan: &Plan) -> Result<Vec<Fact>, String> {
    let mut facts = vec![];
    for (k, names) in N_SOURCES.into_iter().zip(COMPARISONS) {
        for (shape, name) in Shape::ALL.into_iter().zip(names) {
            if !name.contains(&plan.only) {
                continue;
            }
            let times = shape.times(k, plan.n_records[0], &plan.ticks)?;
            let stats = merge(&times, usize::MAX, |_, _| {})?;
            let a_record = stats.n_comparisons as f64 / stats.n_records as f64;
            facts.push(Fact::exact(name, "comparisons a record, starting included", Ok(a_record)));
        }
    }
    Ok(facts)
}

fn name(k: usize, shape: Shape, contestant: Contestant) -> String {
    format!("merge/{k}/{}/{}", shape.name(), contestant.name())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    Ours,
    PeekMut,
    PopPush,
    Scan,
}

/// What is merged, and what must come of it.
#[derive(Debug)]
struct Data {
    times: Vec<Vec<u64>>,
    /// Of so many records in order.
    sums: RefCell<Vec<(usize, u64)>>,
    sorted: Vec<(u64, usize)>,
}

impl Data {
    fn new(times: Vec<Vec<u64>>) -> Result<Self, String> {
        let all = times.iter().enumerate();
        let mut sorted: Vec<_> =
            all.flat_map(|(source, times)| times.iter().map(move |&time| (time, source))).collect();
        sorted.sort();
        Ok(Self { times, sums: RefCell::default(), sorted })
    }

    fn repetition(&self, contestant: Contestant, n: usize) -> Result<Sample, String> {
        let n = n.min(self.sorted.len());
        let mut sum = 0;
        let (sample, merged) =
            timed(n, || contestant.merge(&self.times, n, |time, source| add(&mut sum, time, source)));
        merged?;
        if sum == self.sum(n) { Ok(sample) } else { Err("the order is wrong".to_owned()) }
    }

    fn sum(&self, n: usize) -> u64 {
        if let Some((_, sum)) = self.sums.borrow().iter().find(|(of, _)| *of == n) {
            return *sum;
        }
        let mut sum = 0;
        self.sorted[..n].iter().for_each(|&(time, source)| add(&mut sum, time, source));
        self.sums.borrow_mut().push((n, sum));
        sum
    }
}

#[inline(always)]
fn add(sum: &mut u64, time: u64, source: usize) {
    *sum = (sum.rotate_left(5) ^ time ^ (source as u64) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
}

impl Contestant {
    const ALL: [Self; 4] = [Self::Ours, Self::PeekMut, Self::PopPush, Self::Scan];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::PeekMut => "peek_mut",
            Self::PopPush => "pop_push",
            Self::Scan => "scan",
        }
    }

    fn merge(self, times: &[Vec<u64>], n: usize, take: impl FnMut(u64, usize)) -> Result<(), String> {
        match self {
            Self::Ours => merge(times, n, take).map(drop),
            Self::PeekMut => Ok(peek_mut(times, n, take)),
            Self::PopPush => Ok(pop_push(times, n, take)),
            Self::Scan => Ok(scan(times, n, take)),
        }
    }
}

fn merge(times: &[Vec<u64>], n: usize, mut take: impl FnMut(u64, usize)) -> Result<MergeStats, String> {
    let mut merge = Merge::new();
    for times in times {
        merge.add(Times(times.iter()));
    }
    for _ in 0..n {
        let Some(event) = merge.next().map_err(failed("merge"))? else { break };
        take(event.stamp.timestamp_ns, event.source);
    }
    Ok(merge.stats())
}

/// Heads of all sources, and what is behind them.
fn heads(times: &[Vec<u64>]) -> (BinaryHeap<Reverse<(u64, usize)>>, Vec<Iter<'_, u64>>) {
    let mut rest: Vec<_> = times.iter().map(|times| times.iter()).collect();
    let firsts = rest.iter_mut().enumerate();
    let heap = firsts.filter_map(|(source, rest)| Some(Reverse((*rest.next()?, source)))).collect();
    (heap, rest)
}

fn peek_mut(times: &[Vec<u64>], n: usize, mut take: impl FnMut(u64, usize)) {
    let (mut heap, mut rest) = heads(times);
    for _ in 0..n {
        let Some(mut first) = heap.peek_mut() else { break };
        let Reverse((time, source)) = *first;
        take(time, source);
        match rest[source].next() {
            Some(&time) => *first = Reverse((time, source)),
            None => drop(PeekMut::pop(first)),
        }
    }
}

fn pop_push(times: &[Vec<u64>], n: usize, mut take: impl FnMut(u64, usize)) {
    let (mut heap, mut rest) = heads(times);
    for _ in 0..n {
        let Some(Reverse((time, source))) = heap.pop() else { break };
        take(time, source);
        if let Some(&time) = rest[source].next() {
            heap.push(Reverse((time, source)));
        }
    }
}

fn scan(times: &[Vec<u64>], n: usize, mut take: impl FnMut(u64, usize)) {
    let mut rest: Vec<_> = times.iter().map(|times| times.iter()).collect();
    let mut heads: Vec<_> = rest.iter_mut().map(|rest| rest.next().copied()).collect();
    for _ in 0..n {
        let there = heads.iter().enumerate().filter_map(|(source, time)| Some(((*time)?, source)));
        let Some((time, source)) = there.min() else { break };
        take(time, source);
        heads[source] = rest[source].next().copied();
    }
}

/// A source: times in memory.
struct Times<'a>(Iter<'a, u64>);

impl Source for Times<'_> {
    type Record<'a>
        = ()
    where
        Self: 'a;

    #[inline(always)]
    fn step(&mut self) -> Result<Next, SourceError> {
        match self.0.next() {
            Some(&timestamp_ns) => Ok(Next::Record(Stamp { timestamp_ns, sequence: 0 })),
            None => Ok(Next::End),
        }
    }

    #[inline(always)]
    fn record(&self) {}

    fn seek(&mut self, _: u64) -> Result<(), SourceError> {
        Err(SourceError::Other("times are read once".into()))
    }

    fn name(&self) -> &'static str {
        "times"
    }
}
