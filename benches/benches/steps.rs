//! Steps: what single calls cost within one process, where no cache line has to travel.

use std::time::Duration;

use benches::ours::Setup;
use criterion::{Criterion, Throughput};
use shm_ring::{Consumer, Observer, Producer};

const RING_BYTES: usize = 256 << 10;
const RECORD_BYTES: usize = 64;
const N_BATCH: usize = 32;

const SETUPS: [(&str, Setup); 4] = [
    ("exclusive", Setup::EXCLUSIVE),
    ("shared", Setup::SHARED),
    ("exclusive_meta", Setup::EXCLUSIVE.with_metadata()),
    ("shared_meta", Setup::SHARED.with_metadata()),
];

fn ends(setup: Setup) -> (Producer, Consumer) {
    let ring = setup.ring(RING_BYTES).expect("an anonymous ring");
    (ring.producer().expect("a producer"), ring.consumer("steps").expect("a consumer"))
}

/// A claim, filled and committed, then polled.
fn claim_commit_poll(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("claim_commit_poll");
    group.throughput(Throughput::Elements(1));
    for (name, setup) in SETUPS {
        let (mut producer, mut consumer) = ends(setup);
        let record = [7; RECORD_BYTES];
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut claim = producer.try_claim(RECORD_BYTES).expect("space");
                claim.copy_from_slice(&record);
                claim.commit();
                consumer.poll().expect("a record")[0]
            });
        });
    }
    group.finish();
}

/// The same through `push` and `try_poll`.
fn push_try_poll(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("push_try_poll");
    group.throughput(Throughput::Elements(1));
    for (name, setup) in SETUPS {
        let (mut producer, mut consumer) = ends(setup);
        let record = [7; RECORD_BYTES];
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                producer.push(&record).expect("space");
                consumer.try_poll().expect("a healthy ring").expect("a record")[0]
            });
        });
    }
    group.finish();
}

/// A batch of 32, then drained; the figure per element is per record.
fn batch_drain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch_drain");
    group.throughput(Throughput::Elements(N_BATCH as u64));
    for (name, setup) in SETUPS {
        let (mut producer, mut consumer) = ends(setup);
        let record = [7; RECORD_BYTES];
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut batch = producer.batch(N_BATCH, N_BATCH * RECORD_BYTES).expect("space");
                for _ in 0..N_BATCH {
                    batch.push(&record).expect("the batch has room for it");
                }
                batch.commit();
                let mut sum = 0_u64;
                let n = consumer.drain(N_BATCH, |frame| sum += u64::from(frame[0])).expect("a healthy ring");
                assert_eq!(n, N_BATCH, "all of the batch");
                sum
            });
        });
    }
    group.finish();
}

/// A push that nobody waits for, then the observer's copy of it.
fn push_observe(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("push_observe");
    group.throughput(Throughput::Elements(1));
    for (name, setup) in SETUPS {
        let ring = setup.ring(RING_BYTES).expect("an anonymous ring");
        let mut producer = ring.producer().expect("a producer");
        let mut observer: Observer = ring.observer().expect("an observer");
        let (record, mut seen) = ([7; RECORD_BYTES], Vec::new());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                producer.push(&record).expect("space");
                observer.try_next(&mut seen).expect("not lapped").expect("a record");
                seen[0]
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    claim_commit_poll(&mut criterion);
    push_try_poll(&mut criterion);
    batch_drain(&mut criterion);
    push_observe(&mut criterion);
    criterion.final_summary();
}
