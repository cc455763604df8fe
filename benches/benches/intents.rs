//! Intents: what the two stores cost that make a claim recoverable. `bash benches/intents/run` builds this twice and compares.
//!
//! One process pushes a thousand records of 64 bytes into a shared ring and drains them, again and again, so that nothing but instructions
//! and stores counts. Prints ns per push, the best of many rounds. An argument is the number of rounds, for callgrind.
#![allow(clippy::print_stdout)]

use benches::clock::monotonic_ns;
use shm_ring::RingOptions;

const RECORDS: u64 = 1000;

fn main() {
    // Cargo passes flags of its own.
    let rounds = std::env::args().skip(1).find_map(|arg| arg.parse::<u64>().ok());
    let is_test = std::env::args().any(|arg| arg == "--test");
    let rounds = rounds.unwrap_or(if is_test { 10 } else { 5000 });
    let ring = RingOptions::new().capacity(1 << 20).metadata(false).anonymous().expect("an anonymous ring");
    let (mut producer, mut consumer) =
        (ring.producer().expect("a slot"), ring.consumer("c").expect("a slot"));
    let record = [7; 64];
    let mut best = u64::MAX;
    for _ in 0..rounds {
        let start = monotonic_ns();
        for _ in 0..RECORDS {
            producer.push(&record).expect("the ring is empty");
        }
        best = best.min(monotonic_ns() - start);
        let mut sum = 0;
        let read = consumer.drain(usize::MAX, |frame| sum += u64::from(frame[63])).expect("a healthy ring");
        assert_eq!((read as u64, sum), (RECORDS, RECORDS * 7));
    }
    println!("{:.3}", best as f64 / RECORDS as f64);
}
