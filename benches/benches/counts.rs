//! Counts: loops of single steps, for callgrind, whose instruction counts hardly change from run to run: `bash benches/counts/run`.
//!
//! `counts STEP N` does one step for N records, in one process, so that no instruction depends on another processor. Without
//! arguments every step runs once, to see that it can.
#![allow(clippy::print_stdout)]

use benches::ours::Setup;
use shm_ring::{Consumer, Producer, Ring};
use std::hint::black_box;
use std::process::ExitCode;

const RING_BYTES: usize = 256 << 10;
const N_BATCH: usize = 32;
const RECORD: [u8; 1024] = [7; 1024];

type Step = fn(Ends, &[u8], usize);

/// Name, set-up, bytes of a record, what is done.
const STEPS: [(&str, Setup, usize, Step); 11] = [
    ("push_poll_exclusive_64", Setup::EXCLUSIVE, 64, push_poll),
    ("push_poll_shared_64", Setup::SHARED, 64, push_poll),
    ("push_poll_exclusive_16", Setup::EXCLUSIVE, 16, push_poll),
    ("push_poll_shared_1024", Setup::SHARED, 1024, push_poll),
    ("claim_commit_poll_exclusive_64", Setup::EXCLUSIVE, 64, claim_commit_poll),
    ("claim_commit_poll_shared_64", Setup::SHARED, 64, claim_commit_poll),
    ("batch_drain_exclusive_64", Setup::EXCLUSIVE, 64, batch_drain),
    ("batch_drain_shared_64", Setup::SHARED, 64, batch_drain),
    ("push_drain_shared_64", Setup::SHARED, 64, push_drain),
    ("push_observe_shared_64", Setup::SHARED, 64, push_observe),
    ("push_observe_shared_1024", Setup::SHARED, 1024, push_observe),
];

struct Ends {
    ring: Ring,
    producer: Producer,
    consumer: Consumer,
}

impl Ends {
    fn new(setup: Setup) -> Self {
        let ring = setup.ring(RING_BYTES).expect("an anonymous ring");
        let (producer, consumer) =
            (ring.producer().expect("a producer"), ring.consumer("c").expect("a consumer"));
        Self { ring, producer, consumer }
    }
}

fn push_poll(mut ends: Ends, record: &[u8], n: usize) {
    for _ in 0..n {
        ends.producer.push(record).expect("the ring is empty");
        black_box(ends.consumer.poll().expect("a record")[0]);
    }
}

fn claim_commit_poll(mut ends: Ends, record: &[u8], n: usize) {
    for _ in 0..n {
        let mut claim = ends.producer.claim(record.len()).expect("the ring is empty");
        claim.copy_from_slice(record);
        claim.commit();
        black_box(ends.consumer.poll().expect("a record")[0]);
    }
}

fn batch_drain(mut ends: Ends, record: &[u8], n: usize) {
    for _ in 0..n / N_BATCH {
        let mut batch = ends.producer.batch(N_BATCH, N_BATCH * record.len()).expect("the ring is empty");
        for _ in 0..N_BATCH {
            batch.push(record).expect("a batch of the size that was asked for");
        }
        batch.commit();
        drain(&mut ends.consumer, N_BATCH);
    }
}

fn push_drain(mut ends: Ends, record: &[u8], n: usize) {
    for _ in 0..n / N_BATCH {
        for _ in 0..N_BATCH {
            ends.producer.push(record).expect("the ring is empty");
        }
        drain(&mut ends.consumer, N_BATCH);
    }
}

fn drain(consumer: &mut Consumer, n: usize) {
    let read = consumer.drain(n, |frame| {
        black_box(frame[0]);
    });
    assert_eq!(read.expect("a sound ring"), n);
}

fn push_observe(ends: Ends, record: &[u8], n: usize) {
    let Ends { ring, mut producer, consumer } = ends;
    drop(consumer);
    let (mut observer, mut seen) = (ring.observer().expect("an observer"), Vec::new());
    for _ in 0..n {
        producer.push(record).expect("nobody holds the space");
        observer.try_next(&mut seen).expect("not lapped").expect("a record");
        black_box(seen[0]);
    }
}

fn main() -> ExitCode {
    // Cargo passes flags of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let (wanted, n) = match args.as_slice() {
        [] => ("", 320),
        [list] if list == "list" => {
            STEPS.iter().for_each(|(name, ..)| println!("{name}"));
            return ExitCode::SUCCESS;
        }
        [step, n] if n.parse::<usize>().is_ok() => (step.as_str(), n.parse().expect("it was parsed before")),
        _ => {
            eprintln!("usage: counts [list | STEP RECORDS]");
            return ExitCode::from(2);
        }
    };
    let mut done = 0;
    for (_, setup, record_bytes, step) in
        STEPS.iter().filter(|(name, ..)| wanted.is_empty() || *name == wanted)
    {
        step(Ends::new(*setup), &RECORD[..*record_bytes], n);
        done += 1;
    }
    if done == 0 {
        eprintln!("counts: there is no step {wanted}; `counts list` shows them");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}
