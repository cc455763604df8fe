//! Targets: what the library has to reach, as ratios to the floor or to others of the same run and placement.
//!
//! A target that names a rival is not measured where the rival is not in the run.

use super::spread::{Spread, size};
use super::verdict::{Limit, NEEDS_RIVALS, NOT_IN_THIS_RUN, NOTHING_COUNTS, Target};
use super::{View, rate};
use crate::cells::{Cell, Group, Neighbour, SMALL, Waits, Workload};

const NEEDS_5_S: &str = "needs a full run, which waits so long";

/// What a target would be held against, and why it is not.
#[derive(Clone, Copy, Debug)]
struct Absent {
    who: &'static str,
    why: &'static str,
}

const AERON: Absent = Absent { who: "Aeron", why: "needs --features aeron" };
const BATCHES: Absent = Absent { who: "the best rival's batch interface", why: NEEDS_RIVALS };
const SHAQ: Absent = Absent { who: "shaq's batch interface", why: NEEDS_RIVALS };

/// All of them: missed, met, not measured.
pub(super) fn targets(view: &View<'_>) -> Vec<Target> {
    let mut list = List { view, targets: Vec::new() };
    list.trips();
    list.one_to_one();
    list.many();
    list.rest();
    list.targets.sort_by_key(Target::verdict);
    list.targets
}

struct List<'a> {
    view: &'a View<'a>,
    targets: Vec<Target>,
}

type Place<'a> = (Workload, usize, &'a str);

impl<'a> List<'a> {
    /// One that is held against its own floor, or against nothing.
    fn own(
        &mut self,
        what: &str,
        against: &str,
        (workload, record_bytes, contestant): Place<'_>,
        limit: Limit,
        measure: impl Fn(&View<'_>, &Cell) -> Option<Spread>,
    ) {
        let cell = self.view.results.find(workload, record_bytes, contestant).ok_or(NOT_IN_THIS_RUN);
        self.targets.push(Target {
            what: what.to_owned(),
            cell: format!("{}/{record_bytes}/{contestant}", workload.label()),
            against: against.to_owned(),
            limit,
            measured: cell.and_then(|cell| measure(self.view, cell).ok_or(NOTHING_COUNTS)),
        });
    }

    /// One that is held against another cell.
    fn against(
        &mut self,
        what: String,
        place: Place<'_>,
        limit: Limit,
        reference: Result<&'a Cell, Absent>,
        measure: impl Fn(&View<'_>, &Cell, &Cell) -> Option<Spread>,
    ) {
        match reference {
            Ok(reference) => {
                let measure = |view: &View<'_>, cell: &Cell| measure(view, cell, reference);
                self.own(&what, &reference.name(), place, limit, measure);
            }
            Err(absent) => {
                self.own(&what, absent.who, place, limit, |_, _| None);
                self.targets.last_mut().expect("it was just pushed").measured = Err(absent.why);
            }
        }
    }

    fn reference(&self, (workload, record_bytes, contestant): Place<'_>) -> Result<&'a Cell, Absent> {
        let absent = Absent { who: "ours", why: NOT_IN_THIS_RUN };
        self.view.results.find(workload, record_bytes, contestant).ok_or(absent)
    }

    fn best_minimal(&self, record_bytes: usize) -> Result<&'a Cell, Absent> {
        let is_there = |cell: &Cell| cell.group == Group::Minimal && cell.record_bytes == record_bytes;
        let any = self.view.results.cells.iter().any(is_there);
        let why = if any { NOTHING_COUNTS } else { NOT_IN_THIS_RUN };
        self.view.best_minimal(record_bytes).ok_or(Absent { who: "the best hand-written ring", why })
    }

    /// The fastest rival that is meant.
    fn rival(
        &self,
        workload: Workload,
        record_bytes: usize,
        is_meant: impl Fn(&str) -> bool,
        absent: Absent,
    ) -> Result<&'a Cell, Absent> {
        let rivals = self.view.of(workload).filter(|cell| cell.group == Group::Rival);
        let rivals = rivals.filter(|cell| cell.record_bytes == record_bytes && is_meant(cell.contestant));
        // Threads of one process are no alternative to processes.
        let rivals = rivals.filter(|cell| !cell.in_process);
        let any = self.view.results.cells.iter().any(|cell| is_meant(cell.contestant));
        let why = if any { NOTHING_COUNTS } else { absent.why };
        self.view.fastest(rivals).ok_or(Absent { why, ..absent })
    }

    fn trips(&mut self) {
        let pingpong = |waits| Workload::PingPong(waits);
        for (contestant, limit) in [("ours_exclusive", 1.1), ("ours_shared", 1.2)] {
            self.own(
                &format!("ping-pong 64 B, spinning, {}: mean", mode(contestant)),
                "L1 mean",
                (pingpong(Waits::Spin), SMALL, contestant),
                Limit::AtMost(limit),
                |view, cell| view.mean_ratio(cell),
            );
        }
        self.own(
            "ping-pong 64 B, spinning, exclusive: p99.9",
            "its p50",
            (pingpong(Waits::Spin), SMALL, "ours_exclusive"),
            Limit::AtMost(3.0),
            |view, cell| view.tail_ratio(cell),
        );
        let spinning = self.reference((pingpong(Waits::Spin), SMALL, "ours_exclusive"));
        self.against(
            "ping-pong 64 B, adaptive wait, exclusive: p50".to_owned(),
            (pingpong(Waits::Adaptive), SMALL, "ours_exclusive"),
            Limit::AtMost(1.2),
            spinning,
            |view, cell, reference| {
                let p50 = |cell| view.series(cell, |repetition| Some(super::trips(repetition)?.p50_ns));
                Spread::of_ratio(&p50(cell), &p50(reference))
            },
        );
        for contestant in ["ours_adaptive", "ours_block"] {
            self.own(
                &format!("CPU time of a consumer that waits for 5 s, {}: s", mode(contestant)),
                "-",
                (Workload::IdleCpu, SMALL, contestant),
                Limit::AtMost(0.01),
                |view, cell| view.cpu_in_5_s(cell),
            );
            let target = self.targets.last_mut().expect("it was just pushed");
            target.measured =
                target.measured.map_err(|why| if why == NOTHING_COUNTS { NEEDS_5_S } else { why });
        }
        self.own(
            "wake-up of a blocked consumer: p50",
            "L4 p50",
            (Workload::WakeUp, SMALL, "ours_block"),
            Limit::AtMost(1.25),
            |view, cell| view.wake_ratio(cell),
        );
    }

    fn one_to_one(&mut self) {
        let single = [(16, 0.6), (64, 0.6), (256, 0.8), (1024, 0.85), (4096, 0.85), (65536, 0.95)];
        for (record_bytes, limit) in single {
            let limit = Limit::AtLeast(limit, (record_bytes == 64).then_some(0.8));
            let best = self.best_minimal(record_bytes);
            self.rates(
                format!("one to one, exclusive, push and poll, {}", size(record_bytes)),
                (Workload::Stream, record_bytes, "ours_exclusive"),
                limit,
                best,
            );
        }
        let batch = [(64, 0.8), (256, 0.85), (1024, 0.95), (4096, 1.0), (65536, 1.0)];
        for (record_bytes, limit) in batch {
            let is_batch = |name: &str| name.ends_with("_batch") && !is_own(name);
            let best = self.rival(Workload::Stream, record_bytes, is_batch, BATCHES);
            self.rates(
                format!("one to one, exclusive, batch and drain, {}", size(record_bytes)),
                (Workload::Stream, record_bytes, "ours_exclusive_batch"),
                Limit::AtLeast(limit, (limit < 1.0).then_some(1.0)),
                best,
            );
        }
        for record_bytes in crate::cells::STREAM_SIZES {
            let aeron = self.rival(Workload::Stream, record_bytes, is_aeron, AERON);
            self.rates(
                format!("one to one, shared claim, push and poll, {}", size(record_bytes)),
                (Workload::Stream, record_bytes, "ours_shared"),
                Limit::AtLeast(2.5, None),
                aeron,
            );
        }
    }

    fn many(&mut self) {
        for (record_bytes, limit) in [(64, 0.7), (1024, 1.0), (65536, 1.0)] {
            let shaq = self.rival(Workload::FanOut, record_bytes, is_shaq_batch, SHAQ);
            self.rates(
                format!("one to two, exclusive, batch and drain, {}", size(record_bytes)),
                (Workload::FanOut, record_bytes, "ours_exclusive_batch"),
                Limit::AtLeast(limit, None),
                shaq,
            );
        }
        let aeron = self.rival(Workload::FanIn, SMALL, is_aeron, AERON);
        self.rates(
            "two to one, shared, push and poll, 64 B".to_owned(),
            (Workload::FanIn, SMALL, "ours_shared"),
            Limit::AtLeast(4.0, None),
            aeron,
        );
        let shaq = self.rival(Workload::FanIn, SMALL, is_shaq_batch, SHAQ);
        self.rates(
            "two to one, shared, batch and drain, 64 B".to_owned(),
            (Workload::FanIn, SMALL, "ours_shared_batch"),
            Limit::AtLeast(1.5, None),
            shaq,
        );
        let two = self.reference((Workload::FanIn, SMALL, "ours_shared"));
        self.rates(
            "eight to one on two processors, shared, adaptive, 64 B".to_owned(),
            (Workload::Crowd, SMALL, "ours_shared"),
            Limit::AtLeast(0.5, None),
            two,
        );
        self.own(
            "eight to one, shared, adaptive, 64 B: longest time without a record, ms",
            "-",
            (Workload::Crowd, SMALL, "ours_shared"),
            Limit::AtMost(50.0),
            |view, cell| {
                let stalls = view.spread(cell, |repetition| rate(repetition)?.stall_s);
                stalls.map(|stalls| stalls.worst().scaled(1e3))
            },
        );
    }

    fn rest(&mut self) {
        let without = self.reference((Workload::Stream, SMALL, "ours_exclusive"));
        self.against(
            "metadata on, less one clock read: ns per record, 64 B".to_owned(),
            (Workload::Stream, SMALL, "ours_exclusive_meta"),
            Limit::AtMost(1.1),
            without,
            |view, with, without| view.metadata_ratio(with, without, 1.0),
        );
        for contestant in ["ours_exclusive", "ours_shared"] {
            let stranger = self.reference((Workload::Beside(Neighbour::Stranger), SMALL, contestant));
            self.rates(
                format!("a consumer beside an observer, {}, 64 B", mode(contestant)),
                (Workload::Beside(Neighbour::Observer), SMALL, contestant),
                Limit::AtLeast(0.9, None),
                stranger,
            );
        }
        self.own(
            "memory of a process that uses all of a ring: Pss that the ring adds",
            "ring + 1 MiB",
            (Workload::Memory, SMALL, "ours_exclusive"),
            Limit::AtMost(1.0),
            |view, cell| view.memory_ratio(cell),
        );
    }

    fn rates(&mut self, what: String, place: Place<'_>, limit: Limit, reference: Result<&'a Cell, Absent>) {
        self.against(what, place, limit, reference, |view, cell, reference| view.rate_ratio(cell, reference));
    }
}

/// Which of ours it is.
fn mode(contestant: &str) -> &str {
    contestant.trim_start_matches("ours_")
}

fn is_own(contestant: &str) -> bool {
    contestant.starts_with("ours_") || contestant.starts_with("raw_")
}

fn is_aeron(contestant: &str) -> bool {
    contestant.starts_with("aeron")
}

fn is_shaq_batch(contestant: &str) -> bool {
    contestant.starts_with("shaq") && contestant.ends_with("_batch")
}
