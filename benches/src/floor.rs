//! Floor: what the hardware and the kernel allow, measured beside everything else and by the same code.
//!
//! | floor | what | compared with it |
//! |-------|------|------------------|
//! | L1 | a raw cache line there and back: two words on lines of their own, one written by each side | ping-pong |
//! | L2 | 64 KiB chunks copied into a 4 MiB ring, every word read by the other side, a credit per chunk | 64 KiB records |
//! | L4 | a bare shared futex: from just before the wake to running on the other processor | a blocked consumer |
//!
//! Virtual processors move between the host's: two threads of one core, two cores of one cache, two caches. L1 tells which,
//! so it is taken right before and right after every repetition, by the same two processes ([`Brackets`]).
//! (L3, atomics on one processor, needs no pair and is not here.)

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::thread::futex;

use crate::clock::{Clock, monotonic_ns};
use crate::process::{Padded, Region, Shared, Zeroed};
use crate::workload::trips::{Trips, time_trips};
use crate::workload::{Contestant, Receiver, Records, Sender};

/// L1: one word each way.
///
/// Both words are 0 to begin with and equal whenever nobody measures.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Line {
    there: Padded<AtomicU64>,
    back: Padded<AtomicU64>,
}

// SAFETY: two atomics; zero is valid.
unsafe impl Zeroed for Line {}

/// Trips nobody times, which wait for the other side to arrive.
const LINE_WARM_UP: u64 = 1_000;
/// A bracket is 4,000 trips: 8 rounds of a block timed trip by trip and a block timed as a whole.
const LINE_BLOCK: usize = 250;
const LINE_ROUNDS: u64 = 8;

impl Line {
    /// The producer's side of a bracket.
    pub fn ping(&self, clock: &Clock) -> Trips {
        // ORDER none (Relaxed): only this side writes it.
        let mut n = self.there.0.load(Ordering::Relaxed);
        let mut trip = || {
            n += 1;
            // ORDER L1a (Release, pairs with L1b): what this side did before a bracket is visible to the other after it.
            self.there.0.store(n, Ordering::Release);
            // ORDER L1c (Acquire, pairs with L1d): as above, the other way.
            while self.back.0.load(Ordering::Acquire) != n {}
        };
        (0..LINE_WARM_UP).for_each(|_| trip());
        let mut rounds = 1..LINE_ROUNDS;
        time_trips(clock, LINE_BLOCK, || rounds.next().is_some(), trip)
    }

    /// The consumer's side of a bracket.
    pub fn echo(&self) {
        // ORDER none (Relaxed): only this side writes it.
        let first = self.back.0.load(Ordering::Relaxed) + 1;
        let n_trips = LINE_WARM_UP + LINE_ROUNDS * 2 * LINE_BLOCK as u64;
        for n in first..first + n_trips {
            // ORDER L1b (Acquire, pairs with L1a).
            while self.there.0.load(Ordering::Acquire) != n {}
            // ORDER L1d (Release, pairs with L1c).
            self.back.0.store(n, Ordering::Release);
        }
    }
}

/// L1 before and after one repetition.
#[derive(Clone, Copy, Debug, Default)]
pub struct Brackets {
    /// Before.
    pub before: Trips,
    /// After.
    pub after: Trips,
}

impl Brackets {
    /// The mean of both brackets' bare trips, no timer inside.
    pub fn mean_ns(&self) -> f64 {
        f64::midpoint(self.before.mean_ns, self.after.mean_ns)
    }

    /// The mean of both brackets' medians of trips that were timed one by one.
    pub fn p50_ns(&self) -> f64 {
        f64::midpoint(self.before.p50_ns, self.after.p50_ns)
    }

    /// Where the two processors were.
    pub fn placement(&self) -> Placement {
        if agree(self.before.mean_ns, self.after.mean_ns) {
            Placement::of(self.mean_ns())
        } else {
            Placement::Mixed
        }
    }
}

/// Whether two values of L1 may belong to one placement.
pub fn agree(a_ns: f64, b_ns: f64) -> bool {
    a_ns.max(b_ns) <= 1.3 * a_ns.min(b_ns)
}

/// Where two processors are, as L1 tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// L1 below 100 ns: two hardware threads of one core.
    Smt,
    /// 100 to 400 ns: two cores that share a cache.
    Near,
    /// More than 400 ns: no cache in common.
    Far,
    /// The brackets disagree: not comparable with anything, dropped.
    Mixed,
}

impl Placement {
    /// What a steady L1 says.
    pub fn of(l1_ns: f64) -> Self {
        match l1_ns {
            ns if ns < 100.0 => Self::Smt,
            ns if ns <= 400.0 => Self::Near,
            _ => Self::Far,
        }
    }

    /// In lower case.
    pub fn label(self) -> &'static str {
        match self {
            Self::Smt => "smt",
            Self::Near => "near",
            Self::Far => "far",
            Self::Mixed => "mixed",
        }
    }
}

/// L4: one word to sleep on.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Alarm {
    n_wakes: AtomicU32,
    stamp_ns: AtomicU64,
}

// SAFETY: two atomics; zero is valid.
unsafe impl Zeroed for Alarm {}

impl Alarm {
    /// Wakes the sleeper; its time starts right before this.
    pub fn ring(&self) {
        // ORDER none (Relaxed): published by L4a.
        self.stamp_ns.store(monotonic_ns(), Ordering::Relaxed);
        // ORDER L4a (Release, pairs with L4b): the stamp.
        self.n_wakes.fetch_add(1, Ordering::Release);
        futex::wake(&self.n_wakes, futex::Flags::empty(), 1).expect("the word is mapped and aligned");
    }

    /// Sleeps until wake-up number `n` and returns its latency in ns.
    pub fn sleep(&self, n: u32) -> u64 {
        loop {
            // ORDER L4b (Acquire, pairs with L4a).
            let seen = self.n_wakes.load(Ordering::Acquire);
            if seen >= n {
                break;
            }
            match futex::wait(&self.n_wakes, futex::Flags::empty(), seen, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => panic!("futex wait: {error}"),
            }
        }
        let now_ns = monotonic_ns();
        // ORDER none (Relaxed): L4b covers it, and the next stamp comes a pause later.
        now_ns - self.stamp_ns.load(Ordering::Relaxed)
    }
}

/// L2: chunks of one size, no headers.
#[derive(Debug)]
pub struct Chunks {
    counters: Shared<Counters>,
    data: Region,
    chunk_bytes: usize,
    n_chunks: usize,
}

#[derive(Debug)]
#[repr(C)]
struct Counters {
    written: Padded<AtomicUsize>,
    read: Padded<AtomicUsize>,
}

// SAFETY: two atomics; zero is valid.
unsafe impl Zeroed for Counters {}

impl Chunks {
    /// A ring of `capacity_bytes / chunk_bytes` chunks.
    pub fn new(capacity_bytes: usize, chunk_bytes: usize) -> Self {
        let n_chunks = capacity_bytes / chunk_bytes;
        assert!(n_chunks > 1, "two chunks at least");
        Self { counters: Shared::new(), data: Region::new(n_chunks * chunk_bytes), chunk_bytes, n_chunks }
    }
}

impl Contestant for Chunks {
    fn sender(&self) -> impl Sender {
        ChunkSender { chunks: self, n_written: 0 }
    }

    fn receiver(&self) -> impl Receiver {
        ChunkReceiver { chunks: self, n_read: 0 }
    }
}

struct ChunkSender<'a> {
    chunks: &'a Chunks,
    n_written: usize,
}

impl Sender for ChunkSender<'_> {
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        let Chunks { counters, data, chunk_bytes, n_chunks } = self.chunks;
        for _ in 0..n_records {
            let record = records.next_record();
            assert_eq!(record.len(), *chunk_bytes, "all chunks have one size");
            // ORDER L2c (Acquire, pairs with L2d): the reader is done with the chunk before it is overwritten.
            while self.n_written - counters.read.0.load(Ordering::Acquire) == *n_chunks {}
            // SAFETY:
            // - in bounds: the chunk's number is below `n_chunks`;
            // - exclusive: the reader gave it back (L2c) and looks at it after L2a.
            unsafe { data.write(self.n_written % n_chunks * chunk_bytes, record) };
            self.n_written += 1;
            // ORDER L2a (Release, pairs with L2b): the chunk.
            counters.written.0.store(self.n_written, Ordering::Release);
        }
    }
}

struct ChunkReceiver<'a> {
    chunks: &'a Chunks,
    n_read: usize,
}

impl Receiver for ChunkReceiver<'_> {
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        let Chunks { counters, data, chunk_bytes, n_chunks } = self.chunks;
        // ORDER L2b (Acquire, pairs with L2a): no byte of the chunk is read before.
        if counters.written.0.load(Ordering::Acquire) == self.n_read {
            return;
        }
        // SAFETY:
        // - in bounds: as in `send`;
        // - not written to: the writer waits for L2d, and the slice is gone by then.
        each(unsafe { data.bytes(self.n_read % n_chunks * chunk_bytes, *chunk_bytes) });
        self.n_read += 1;
        // ORDER L2d (Release, pairs with L2c): the reads above.
        counters.read.0.store(self.n_read, Ordering::Release);
    }
}
