//! Intents: what the two stores cost that make a claim recoverable. `bash benches/intents/run` builds this twice and compares.
//!
//! Prints two figures, ns per record of 64 bytes in a shared ring, without metadata:
//!
//! - alone: one process pushes a thousand records and drains them, again and again, the best push of many; so that nothing but
//!   instructions and stores counts;
//! - stream: one process pushes, another one reads, each on its processor, the ring never empty for long.
//!
//! An argument is the number of rounds, for callgrind, and then only the first is measured.
#![allow(clippy::print_stdout)]

use benches::clock::monotonic_ns;
use benches::process::{Plain, allowed_cpus, pair};
use shm_ring::{ConsumerOptions, RingOptions};
use std::time::{Duration, Instant};

const RECORDS: u64 = 1000;
const STREAM: u64 = 4_000_000;
const RECORD: [u8; 64] = [7; 64];

fn main() {
    // Cargo passes flags of its own.
    let rounds = std::env::args().skip(1).find_map(|arg| arg.parse::<u64>().ok());
    let is_test = std::env::args().any(|arg| arg == "--test");
    let alone = alone(rounds.unwrap_or(if is_test { 10 } else { 5000 }));
    if rounds.is_some() {
        return println!("{alone:.3}");
    }
    println!("{alone:.3} {:.3}", stream(if is_test { 1000 } else { STREAM }));
}

fn alone(rounds: u64) -> f64 {
    let ring = RingOptions::new().capacity(1 << 20).metadata(false).anonymous().expect("an anonymous ring");
    let (mut producer, mut consumer) =
        (ring.producer().expect("a slot"), ring.consumer("c").expect("a slot"));
    let mut best = Duration::MAX;
    for _ in 0..rounds {
        // Not the crate's clock, whose look for the vDSO valgrind does not survive.
        let start = Instant::now();
        for _ in 0..RECORDS {
            producer.push(&RECORD).expect("the ring is empty");
        }
        best = best.min(start.elapsed());
        let mut sum = 0;
        let read = consumer.drain(usize::MAX, |frame| sum += u64::from(frame[63])).expect("a healthy ring");
        assert_eq!((read as u64, sum), (RECORDS, RECORDS * 7));
    }
    best.as_nanos() as f64 / RECORDS as f64
}

#[derive(Clone, Copy, Default)]
struct Ns(u64);

// SAFETY: a number.
unsafe impl Plain for Ns {}

fn stream(records: u64) -> f64 {
    let ring = RingOptions::new().capacity(1 << 20).metadata(false).anonymous().expect("an anonymous ring");
    // The name holds its place before the forks.
    drop(ring.consumer_with("c", ConsumerOptions::new().durable()).expect("a slot"));
    let cpus = allowed_cpus();
    let cpus = [cpus[0], *cpus.last().expect("a processor")];
    let producer = || {
        let mut producer = ring.producer().expect("a slot");
        for _ in 0..records {
            producer.push(&RECORD).expect("the ring is sound");
        }
        Ns(0)
    };
    let consumer = || {
        let mut consumer = ring.consumer("c").expect("its place is there");
        drop(consumer.poll().expect("the first"));
        let (start, mut read, mut sum) = (monotonic_ns(), 1, 7);
        while read < records {
            read += consumer.drain(1024, |frame| sum += u64::from(frame[63])).expect("a sound ring") as u64;
        }
        assert_eq!(sum, records * 7);
        Ns(monotonic_ns() - start)
    };
    let [_, Ns(ns)] = pair(cpus, Duration::from_secs(60), producer, consumer).expect("both end");
    ns as f64 / records as f64
}
