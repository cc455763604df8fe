//! Floor: what the machine can do between the same two processors without a ring.
//!
//! | floor | what | compared with it |
//! |-------|------|------------------|
//! | line  | a bare cache line there and back: a word each way, on lines of their own | round trips; half of it: one-way latency |
//! | copy  | chunks of 64 KiB copied into 4 MiB of shared memory, every word read by the other side | bytes per second of a full stream |
//!
//! Virtual processors move between those of the host: two threads of one core, two cores of one cache, two caches. So both are taken
//! right before and right after each run, by the two processes that run it.
//!
//! (I1) the producer measures, the consumer answers; both know from what they read when it is over.

use super::clock::now_ns;
use super::desk::{CHUNK_BYTES, Chunks, Desk, N_CHUNKS};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Trips that nobody times, which wait for the other side to arrive.
const WARM_UP_TRIPS: u64 = 1_000;
/// Trips timed as one, between as many that are timed one by one: few, so that who is interrupted has most blocks without that.
const BLOCK_TRIPS: u64 = 50;
const ROUNDS: u64 = 64;
/// Where the processors are shared, trips take long.
const LINE_NS_MAX: u64 = 100_000_000;
const COPY_NS: u64 = 40_000_000;
/// Marks the last trip, and the last chunk.
const LAST: u64 = 1 << 63;

/// One look at the floor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Reading {
    /// A trip in a block that was timed as a whole: the median of the blocks.
    pub(super) line_mean_ns: f64,
    /// The median of trips that were timed one by one, as those of the workload are.
    pub(super) line_p50_ns: f64,
    /// Bytes per second: the median of laps around the memory.
    pub(super) copy_rate: f64,
}

/// The producer's part.
pub(super) fn measure(desk: &mut Desk) -> Reading {
    let (line_mean_ns, line_p50_ns) = ping(desk);
    Reading { line_mean_ns, line_p50_ns, copy_rate: send(desk) }
}

/// The consumer's part.
pub(super) fn answer(desk: &mut Desk) {
    let line = desk.line(false);
    let mut last = line.last();
    loop {
        last = line.see(|value| value != last);
        line.put(last);
        if last & LAST != 0 {
            break;
        }
    }
    while desk.chunks().receive(sum_and_mark) & LAST == 0 {}
}

/// Mean and median of a trip.
fn ping(desk: &Desk) -> (f64, f64) {
    let line = desk.line(true);
    let mut n = line.last() & !LAST;
    let mut trip = |mark: u64| {
        n += 1;
        line.put(n | mark);
        line.see(|value| value == n | mark);
    };
    (0..WARM_UP_TRIPS).for_each(|_| trip(0));
    let mut singles = Histogram::<u64>::new(3).expect("3 digits are allowed");
    let mut means = Vec::new();
    let began_ns = now_ns();
    for _ in 0..ROUNDS {
        let mut last_ns = now_ns();
        for _ in 0..BLOCK_TRIPS {
            trip(0);
            let now_ns = now_ns();
            singles.record(now_ns - last_ns).expect("it grows");
            last_ns = now_ns;
        }
        (0..BLOCK_TRIPS).for_each(|_| trip(0));
        let now_ns = now_ns();
        means.push((now_ns - last_ns) as f64 / BLOCK_TRIPS as f64);
        if now_ns - began_ns > LINE_NS_MAX {
            break;
        }
    }
    trip(LAST);
    means.sort_by(f64::total_cmp);
    (means[means.len() / 2], singles.value_at_quantile(0.5) as f64)
}

/// Bytes per second, the median of laps.
fn send(desk: &mut Desk) -> f64 {
    let mut chunks = desk.chunks();
    let mut bytes = Box::new([7; CHUNK_BYTES]);
    let lap = |chunks: &mut Chunks<'_>| {
        let began_ns = now_ns();
        (0..N_CHUNKS).for_each(|_| chunks.send(&bytes));
        now_ns() - began_ns
    };
    // Once around, so that no page is new to anybody.
    lap(&mut chunks);
    let (began_ns, mut laps_ns) = (now_ns(), Vec::new());
    while laps_ns.is_empty() || now_ns() - began_ns < COPY_NS {
        laps_ns.push(lap(&mut chunks));
    }
    bytes[CHUNK_BYTES - 8..].copy_from_slice(&LAST.to_le_bytes());
    chunks.send(&bytes);
    chunks.flush();
    laps_ns.sort_unstable();
    (N_CHUNKS * CHUNK_BYTES as u64) as f64 * 1e9 / laps_ns[laps_ns.len() / 2] as f64
}

/// Reads every word; the last one says whether it is the last chunk.
fn sum_and_mark(chunk: &[u8]) -> u64 {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let sum = chunk.chunks_exact(8).fold(0_u64, |sum, bytes| sum.wrapping_add(word(bytes)));
    std::hint::black_box(sum);
    word(&chunk[CHUNK_BYTES - 8..])
}
