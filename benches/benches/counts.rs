//! Counts: loops of single steps, for callgrind, whose instruction counts hardly change from run to run: `bash benches/counts/run`.
//!
//! `counts STEP N` does one step for N records, in one process, so that no instruction depends on another processor. Without
//! arguments every step runs once, to see that it can.
#![allow(clippy::print_stdout)]

use benches::ours::Setup;
use shm_ring::{
    AppendOptions, Appender, Consumer, LogItem, LogOptions, LogReader, LogStart, Producer, RangedOptions,
    Ring,
};
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;

const RING_BYTES: usize = 256 << 10;
const N_BATCH: usize = 32;
const RECORD: [u8; 1024] = [7; 1024];

/// What is done with records.
enum Step {
    /// In an anonymous ring.
    InRing(Setup, fn(Ends, &[u8], usize)),
    /// In a file of that name.
    InFile(fn(&Path, &[u8], usize)),
}

use Step::{InFile, InRing};

/// Name, bytes of a record, what is done.
const STEPS: [(&str, usize, Step); 15] = [
    ("push_poll_exclusive_64", 64, InRing(Setup::EXCLUSIVE, push_poll)),
    ("push_poll_shared_64", 64, InRing(Setup::SHARED, push_poll)),
    ("push_poll_exclusive_16", 16, InRing(Setup::EXCLUSIVE, push_poll)),
    ("push_poll_shared_1024", 1024, InRing(Setup::SHARED, push_poll)),
    ("claim_commit_poll_exclusive_64", 64, InRing(Setup::EXCLUSIVE, claim_commit_poll)),
    ("claim_commit_poll_shared_64", 64, InRing(Setup::SHARED, claim_commit_poll)),
    ("batch_drain_exclusive_64", 64, InRing(Setup::EXCLUSIVE, batch_drain)),
    ("batch_drain_shared_64", 64, InRing(Setup::SHARED, batch_drain)),
    ("push_drain_shared_64", 64, InRing(Setup::SHARED, push_drain)),
    ("push_observe_shared_64", 64, InRing(Setup::SHARED, push_observe)),
    ("push_observe_shared_1024", 1024, InRing(Setup::SHARED, push_observe)),
    ("append_push_100", 100, InFile(append_push)),
    ("ranged_write_64", 64, InFile(ranged_write)),
    ("log_append_100", 100, InFile(log_append)),
    ("log_read_100", 100, InFile(log_read)),
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

/// Into pages that are there.
fn append_push(path: &Path, record: &[u8], n: usize) {
    // As many addresses as valgrind has.
    let options = AppendOptions::new().capacity((n * record.len()) as u64).reserve(1 << 30);
    let file = options.create(path).expect("a file");
    for _ in 0..n {
        file.push(black_box(record)).expect("there is room");
    }
}

/// Allocated, copied, published.
fn ranged_write(path: &Path, record: &[u8], n: usize) {
    let file = RangedOptions::new().create(path, (n * record.len()) as u64).expect("a file");
    for _ in 0..n {
        let range = file.allocate(record.len() as u64).expect("there is room");
        drop(black_box(file.write(range, black_box(record)).expect("a range of this file")));
    }
}

/// As many records as anybody counts, at 144 bytes each, are in the first segment.
const LOG_RECORDS_MAX: usize = 40_000;

fn log(path: &Path) -> Appender {
    LogOptions::new().segment_bytes(8 << 20).create(path).expect("a log")
}

/// Copied, checksummed, published.
fn log_append(path: &Path, record: &[u8], n: usize) {
    assert!(n <= LOG_RECORDS_MAX, "the segment has room for {LOG_RECORDS_MAX}");
    let mut log = log(path);
    append_all(&mut log, record, n);
}

fn append_all(log: &mut Appender, record: &[u8], n: usize) {
    for _ in 0..n {
        drop(black_box(log.append_at(1, black_box(record)).expect("there is room")));
    }
}

/// Checked, in place; all logs are alike, whatever is read of them.
fn log_read(path: &Path, record: &[u8], n: usize) {
    append_all(&mut log(path), record, LOG_RECORDS_MAX);
    let mut reader = LogReader::open(path).expect("a log");
    reader.seek(LogStart::Oldest).expect("there is one");
    for _ in 0..n {
        match reader.next().expect("a sound log") {
            Some(LogItem::Record(found)) => {
                black_box(found[0]);
            }
            other => panic!("not a record: {other:?}"),
        }
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
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    for (_, record_bytes, step) in STEPS.iter().filter(|(name, ..)| wanted.is_empty() || *name == wanted) {
        let record = &RECORD[..*record_bytes];
        match step {
            InRing(setup, step) => step(Ends::new(*setup), record, n),
            InFile(step) => step(&directory.path().join(done.to_string()), record, n),
        }
        done += 1;
    }
    if done == 0 {
        eprintln!("counts: there is no step {wanted}; `counts list` shows them");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}
