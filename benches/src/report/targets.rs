//! Targets: what the library has to reach on any machine, as ratios to the floor of the same run.

use super::{Digits, Results, Spread};
use crate::cells::{Cell, SMALL, Waits, Workload};

/// One promise and how it turned out.
pub(super) struct Target {
    pub(super) what: &'static str,
    pub(super) cell: String,
    pub(super) limit: Limit,
    pub(super) measured: Option<Spread>,
}

/// What is to be reached.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Missed,
    NotMeasured,
    Hit,
}

impl Target {
    /// The median decides.
    pub(super) fn verdict(&self) -> Verdict {
        match (self.measured, self.limit) {
            (None, _) => Verdict::NotMeasured,
            (Some(spread), Limit::AtMost(limit)) if spread.median <= limit => Verdict::Hit,
            (Some(spread), Limit::AtLeast(limit)) if spread.median >= limit => Verdict::Hit,
            _ => Verdict::Missed,
        }
    }
}

impl Limit {
    pub(super) fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("<= {}", Digits(limit)),
            Self::AtLeast(limit) => format!(">= {}", Digits(limit)),
        }
    }
}

impl Verdict {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Missed => "MISSED",
            Self::NotMeasured => "not measured",
            Self::Hit => "hit",
        }
    }
}

/// All of them, misses first.
pub(super) fn targets(results: &Results<'_>) -> Vec<Target> {
    let target =
        |what, (workload, record_bytes, contestant), limit, measure: &dyn Fn(&Cell) -> Option<Spread>| {
            let cell = results.find(workload, record_bytes, contestant);
            Target {
                what,
                cell: format!("{}/{record_bytes}/{contestant}", workload.label()),
                limit,
                measured: cell.and_then(measure),
            }
        };
    let rate = |cell: &Cell| results.rate_ratio(cell);
    let mut targets = vec![
        target(
            "ping-pong 64 B, spinning, exclusive: p50 / L1",
            (Workload::PingPong(Waits::Spin), SMALL, "ours_exclusive"),
            Limit::AtMost(1.25),
            &|cell| results.p50_ratio(cell),
        ),
        target(
            "one to one, exclusive, 64 B: rate / best minimal ring",
            (Workload::Stream, 64, "ours_exclusive"),
            Limit::AtLeast(0.6),
            &rate,
        ),
        target(
            "one to one, exclusive, 1 KiB: rate / best minimal ring",
            (Workload::Stream, 1024, "ours_exclusive"),
            Limit::AtLeast(0.6),
            &rate,
        ),
        target(
            "shared claim, one producer, 64 B: rate / best minimal ring",
            (Workload::Stream, 64, "ours_shared"),
            Limit::AtLeast(0.1),
            &rate,
        ),
        target(
            "one to one, exclusive, 64 KiB: rate / L2",
            (Workload::Stream, 65536, "ours_exclusive"),
            Limit::AtLeast(0.7),
            &rate,
        ),
        target(
            "wake-up of a blocked consumer: p50 / L4",
            (Workload::WakeUp, SMALL, "ours_block"),
            Limit::AtMost(1.25),
            &|cell| results.wake_ratio(cell),
        ),
        target(
            "CPU time of a consumer blocked for 5 s, in s",
            (Workload::IdleCpu, SMALL, "ours_block"),
            Limit::AtMost(0.01),
            &|cell| results.cpu_in_5_s(cell),
        ),
    ];
    targets.sort_by_key(Target::verdict);
    targets
}
