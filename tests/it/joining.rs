//! Joining: a consumer joins a ring that producers lap without pause.

use crate::harness::{Actor, Next, Script, directory, eventually, say};
use crate::records::{check, length, mix, record, span};
use shm_ring::{Consumer, ConsumerOptions, Ring, RingOptions, Start};

/// How often a consumer joins.
const JOINS: u64 = 1000;
const LONGEST: usize = 4096;
const CAPACITY: u64 = 64 << 10;

#[test]
fn whoever_joins_a_lapping_ring_misses_nothing_from_its_start_on() {
    // Goal: from the position at which a consumer begins, it gets every byte, whatever limits producers hold from before it came.
    // Method: two producers never stop; 1,000 joins, as a new name at the oldest, at a position that may be gone by then, and by going
    // back. Nothing is given up, so the next position follows from each record's length; every byte is compared.
    let (_directory, ring, _producers) = lapping();
    let mut last_start = 0;
    for n in 0..JOINS {
        let (tail, gap) = (ring.stats().unwrap().tail, mix(n) % (2 * CAPACITY));
        eventually("producers go on without a consumer", || ring.stats().unwrap().tail >= tail + gap);
        let mut consumer = join(&ring, n);
        let mut walk = Walk::new(&consumer);
        assert!(walk.position >= last_start, "the oldest record got older");
        last_start = walk.position;
        // Now and then more than a lap: what was granted before the join would show in the middle of it.
        let enough = walk.position + if n % 4 == 0 { CAPACITY + CAPACITY / 2 } else { CAPACITY / 8 };
        while walk.position < enough {
            walk.step(&mut consumer);
        }
        if n % 3 == 2 {
            // What was released may be gone, but from the new start on everything is there.
            consumer.seek(Start::Oldest).unwrap();
            walk = Walk::new(&consumer);
            for _ in 0..20 {
                walk.step(&mut consumer);
            }
        }
    }
}

/// The n-th way to join.
fn join(ring: &Ring, n: u64) -> Consumer {
    let name = format!("join {n}");
    if n % 3 != 1 {
        let consumer = ring.consumer(&name).unwrap();
        assert_eq!(consumer.missed_bytes(), 0, "a new name misses nothing");
        return consumer;
    }
    let wanted = ring.stats().unwrap().oldest;
    let consumer = ring.consumer_with(&name, ConsumerOptions::new().start(Start::At(wanted))).unwrap();
    assert!(consumer.position() >= wanted);
    assert_eq!(consumer.missed_bytes(), consumer.position() - wanted);
    consumer
}

struct Walk {
    position: u64,
    next: Vec<Option<u64>>,
}

impl Walk {
    fn new(consumer: &Consumer) -> Self {
        Self { position: consumer.position(), next: vec![None; 2] }
    }

    fn step(&mut self, consumer: &mut Consumer) {
        let frame = consumer.soon();
        assert_eq!(frame.position(), self.position, "{frame:?}");
        let (slot, sequence) = (frame.producer(), frame.sequence().unwrap());
        check(&frame, slot.into(), sequence, LONGEST);
        let next = &mut self.next[usize::from(slot)];
        assert!(next.is_none_or(|next| next == sequence), "{frame:?}, expected {next:?}");
        *next = Some(sequence + 1);
        self.position += span(frame.len());
    }
}

/// A ring and two producers at work.
fn lapping() -> (tempfile::TempDir, Ring, [Actor; 2]) {
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(CAPACITY).create(&path).unwrap();
    let shown = path.display();
    let mut producers = [(); 2].map(|()| Actor::start("joining::producer", &[("path", &shown)]));
    for producer in &mut producers {
        producer.expect("ready");
    }
    eventually("the ring is lapped", || ring.stats().unwrap().tail > 2 * CAPACITY);
    (directory, ring, producers)
}

pub(crate) fn producer() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut producer = ring.producer().unwrap();
    let slot = u64::from(producer.slot());
    say("ready");
    for sequence in 0.. {
        producer.push(&record(slot, sequence, length(slot, sequence, LONGEST))).unwrap();
    }
}

#[test]
fn several_join_a_lapping_ring_at_once() {
    // Goal: the same when consumers come and go at the same time and hold the producers in turn.
    // Method: four threads with rings of their own join the same lapping ring; each walks a little and leaves.
    let (_directory, ring, _producers) = lapping();
    let path = ring.path().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let ring = Ring::open(path).unwrap();
                let name = format!("thread {thread}");
                for _ in 0..50 {
                    let mut consumer = ring.consumer(&name).unwrap();
                    consumer.seek(Start::Oldest).unwrap();
                    let mut walk = Walk::new(&consumer);
                    for _ in 0..20 {
                        walk.step(&mut consumer);
                    }
                }
            });
        }
    });
}
