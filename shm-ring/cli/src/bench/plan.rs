//! Plan: what is measured, checked before anything runs.
//!
//! | workload | producers | consumers | rings | latency |
//! |----------|-----------|-----------|-------|---------|
//! | pingpong | 1         | 1         | 2     | of the round trip, seen by the producer |
//! | stream   | 1         | 1         | 1     | one-way, seen by the consumer |
//! | fanout   | 1         | N         | 1     | one-way, seen by each consumer |
//! | fanin    | N         | 1         | 1     | one-way, seen by the consumer |
//!
//! (I1) a [`Plan`] that exists can be carried out, but for what the ring itself refuses when it is created.

use super::payload::HEAD_BYTES;
use crate::args::{Bench, Mode, Waiting, Workload};
use crate::failure::{Code, Failure};
use crate::size::show_size;
use serde::{Deserialize, Serialize};
use shm_ring::{ClaimError, Ring, RingOptions, Wait};
use std::path::Path;
use std::time::Duration;

/// Throughput is told for intervals of this length.
pub(super) const INTERVAL_NS: u64 = 100_000_000;

/// What is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) workload: Workload,
    pub(super) size_bytes: usize,
    pub(super) producers: u16,
    pub(super) consumers: u16,
    pub(super) mode: Mode,
    pub(super) wait: Waiting,
    /// Records per second of each producer; `None`: as many as go through.
    pub(super) rate: Option<u64>,
    pub(super) batch: u16,
    pub(super) capacity_bytes: u64,
    pub(super) metadata: bool,
    pub(super) window_ns: u64,
    pub(super) warm_up_ns: u64,
}

impl Plan {
    /// What the arguments ask for.
    pub(super) fn new(args: &Bench) -> Result<Self, Failure> {
        let (producers, consumers) = sides(args)?;
        let mode = args.mode.unwrap_or(match args.workload {
            Workload::Fanin => Mode::Shared,
            _ => Mode::Exclusive,
        });
        if mode == Mode::Exclusive && producers > 1 {
            return Err(usage(&format!(
                "--mode exclusive is for one producer, found {producers}: use --mode shared"
            )));
        }
        if args.batch == 0 {
            return Err(usage("--batch 0: expected 1 or more records"));
        }
        if args.batch > 1 && args.workload == Workload::Pingpong {
            return Err(usage("--batch is for stream, fanout and fanin: a round trip is one record"));
        }
        if args.size < HEAD_BYTES as u64 {
            return Err(usage(&format!(
                "--size {}: expected {HEAD_BYTES} bytes or more, which hold the time and the sequence of each record",
                args.size
            )));
        }
        let too_long = |_| usage(&format!("--size {}: longer than any record", args.size));
        let window_ns = nanoseconds(args.seconds);
        let warm_up_ns = nanoseconds((args.seconds / 4).min(Duration::from_millis(500)));
        if args.rate.is_some_and(|rate| rate * window_ns.div_ceil(1_000_000_000) > 1 << 34) {
            return Err(usage("--rate for so many --seconds: more than 2^34 records"));
        }
        Ok(Self {
            workload: args.workload,
            size_bytes: usize::try_from(args.size).map_err(too_long)?,
            producers,
            consumers,
            mode,
            wait: args.wait,
            rate: args.rate,
            batch: args.batch,
            // As the ring will round it, where it can.
            capacity_bytes: args.capacity.max(4096).checked_next_power_of_two().unwrap_or(args.capacity),
            metadata: args.metadata,
            window_ns,
            warm_up_ns,
        })
    }

    /// How many rings there are.
    pub(super) fn n_rings(&self) -> u8 {
        if self.workload == Workload::Pingpong { 2 } else { 1 }
    }

    /// How handles wait.
    pub(super) fn ring_wait(&self) -> Wait {
        match self.wait {
            Waiting::Spin => Wait::Spin,
            Waiting::Yield => Wait::Yield,
            Waiting::Adaptive => Wait::Adaptive,
            Waiting::Block => Wait::Block,
        }
    }

    /// Creates a ring for it, and refuses one that can't hold its records.
    pub(super) fn create_ring(&self, path: &Path) -> Result<Ring, Failure> {
        let mut options = RingOptions::new()
            .capacity(self.capacity_bytes)
            .producers_max(self.producers)
            .consumers_max(self.consumers)
            .metadata(self.metadata);
        if self.mode == Mode::Exclusive {
            options = options.single_producer();
        }
        let ring = options.create(path)?;
        let (size, batch) = (self.size_bytes, usize::from(self.batch));
        let max = ring.payload_max_bytes();
        if size > max {
            return Err(usage(&format!(
                "--size {size}: a ring of {} takes records of {max} bytes at most, a quarter of it: use --capacity {} or more",
                show_size(ring.capacity_bytes()),
                size.saturating_mul(4).checked_next_power_of_two().unwrap_or(usize::MAX)
            )));
        }
        // The claim is given back at once, and leaves nothing that a reader sees.
        match ring.producer()?.try_batch(batch, batch.saturating_mul(size)) {
            Err(ClaimError::TooLong { .. }) if batch > 1 => Err(usage(&format!(
                "--batch {batch} of {size} bytes, headers included, is more than a quarter of a ring of {}: use a smaller batch or a \
                 larger --capacity",
                show_size(ring.capacity_bytes())
            ))),
            _ => Ok(()),
        }?;
        Ok(ring)
    }
}

/// The numbers of producers and consumers.
fn sides(args: &Bench) -> Result<(u16, u16), Failure> {
    let (producers_default, consumers_default) = match args.workload {
        Workload::Pingpong | Workload::Stream => (1, 1),
        Workload::Fanout => (1, 2),
        Workload::Fanin => (2, 1),
    };
    let producers = args.producers.unwrap_or(producers_default);
    let consumers = args.consumers.unwrap_or(consumers_default);
    if producers == 0 || consumers == 0 {
        return Err(usage("--producers and --consumers: expected one or more of each"));
    }
    let (name, hint) = match args.workload {
        Workload::Pingpong => ("pingpong", "stream, fanout and fanin measure more"),
        Workload::Stream => ("stream", "fanout is for more consumers, fanin for more producers"),
        Workload::Fanout => ("fanout", "fanin is for more producers"),
        Workload::Fanin => ("fanin", "fanout is for more consumers"),
    };
    let refused = |found: u16, what: &str| {
        Err(usage(&format!("--workload {name} has one {what}, found --{what}s {found}: {hint}")))
    };
    match args.workload {
        Workload::Fanin => {}
        _ if producers > 1 => return refused(producers, "producer"),
        _ => {}
    }
    match args.workload {
        Workload::Fanout => {}
        _ if consumers > 1 => return refused(consumers, "consumer"),
        _ => {}
    }
    Ok((producers, consumers))
}

fn usage(message: &str) -> Failure {
    Failure::new(Code::Usage, message)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
