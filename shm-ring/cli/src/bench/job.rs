//! Job: what the command and its processes tell each other, a line of JSON each, over stdin and stdout.
//!
//! ```text
//!   command                                process
//!      | -- Job ------------------------------> |  pin, attach
//!      | <------------------------------ Ready -- |
//!      | -- Floor -----------------------------> |  the first producer and the first consumer only
//!      | <------------------------------ Floor -- |
//!      | -- Run { start_ns } ------------------> |  the workload, to its end
//!      | <------------------------------- Done -- |
//!      | -- Floor, as above ---> ... <-- Floor -- |
//!      | (end of stdin) -----------------------> |  ends
//! ```
//!
//! (I1) nobody sends before everybody has attached; (I2) a process that fails says `Failed` and ends; one that says nothing and ends was
//! killed.

use super::floor::Reading;
use super::payload::Sums;
use super::plan::Plan;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Side {
    Producer,
    Consumer,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        })
    }
}

/// What a process is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) plan: Plan,
    pub(super) side: Side,
    pub(super) index: u16,
    /// Who started it.
    pub(super) parent: u32,
    /// Where the rings and the desk are.
    pub(super) directory: PathBuf,
    /// Where it may run.
    pub(super) cpus: Vec<usize>,
    /// Where it runs while the floor is measured.
    pub(super) floor_cpu: usize,
    /// Nobody else of us runs on its CPU.
    pub(super) has_own_cpu: bool,
}

/// What a process is to do next.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Measure the machine.
    Floor,
    /// Run the workload; its warm-up begins at this moment of `CLOCK_MONOTONIC`.
    Run { start_ns: u64 },
}

/// What a process answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It has attached.
    Ready,
    /// What the machine can do; from the producer.
    Floor(Option<Reading>),
    /// The workload is over.
    Done(Box<Report>),
    /// It can't go on.
    Failed(String),
}

/// What a process did and saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    /// What it sent, if it is one that sends.
    pub(super) sent: Option<Sums>,
    /// What it received, by producer.
    pub(super) received: Vec<Sums>,
    /// Records of the measured time.
    pub(super) records: u64,
    /// Records of the measured time that it had no time to send.
    pub(super) unsent: u64,
    /// From the first record of the measured time, or the moment at which it was due, to the last.
    pub(super) window_ns: u64,
    /// Processor time, warm-up included.
    pub(super) cpu_ns: u64,
    /// Time for which it could have run, and others had its CPU.
    pub(super) queued_ns: u64,
    /// Latencies in ns, and how often they occurred; of who measures it.
    pub(super) latencies: Vec<(u64, u64)>,
    /// From the beginning of the measured time on; of who measures latency.
    pub(super) intervals: Vec<Interval>,
}

/// Some 100 ms of the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interval {
    /// Records that came.
    pub(super) records: u64,
    /// The slowest of them.
    pub(super) latency_max_ns: u64,
}
