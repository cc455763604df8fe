//! Lossy: observers are lapped, and never read a torn byte.

use crate::harness::{Actor, Next, PATIENCE, Script, directory, listen, say};
use crate::records::{append_mixed, check, length, mixed_max, record};
use shm_ring::{PollError, RecordInfo, Ring, RingOptions, Start};
use std::time::Duration;

/// What an observer must have seen before it has seen enough.
const RECORDS: u64 = 10_000;
const LAPS: u64 = 5;

#[test]
fn observers_of_a_fast_producer_never_see_a_torn_record() {
    // Goal: each record that an observer returns is one that was pushed; between two of them nothing is missing but what it was told.
    // Method: a producer laps slow observers, which are stopped in the middle now and then. Nothing is given up, so that positions
    // follow from lengths: every loss is accounted for to the byte.
    race("lossy::pushing", 1);
}

#[test]
fn observers_of_shared_producers_never_see_a_torn_record() {
    // Goal: the same with batches, pads, aborted and leaked claims of two producers.
    // Method: the same; sequences only grow, and by more than one only after a loss.
    race("lossy::mixing", 2);
}

fn race(producer: &'static str, n_producers: usize) {
    let directory = directory();
    let path = directory.path().join("ring");
    let _ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let shown = path.display();
    let mut producers: Vec<_> =
        (0..n_producers).map(|_| Actor::start(producer, &[("path", &shown)])).collect();
    let exact = u64::from(n_producers == 1);
    let mut observers: Vec<_> = [0u64, 40]
        .into_iter()
        .map(|pause| {
            Actor::start("lossy::observer", &[("path", &shown), ("pause", &pause), ("exact", &exact)])
        })
        .collect();
    for actor in producers.iter_mut().chain(&mut observers) {
        actor.expect("ready");
    }
    for producer in &mut producers {
        producer.tell("go");
    }
    for observer in &mut observers {
        // Stopped in the middle of whatever it is doing.
        while observer.hear_within(Duration::from_millis(2)).is_none() {
            observer.stop();
            std::thread::sleep(Duration::from_millis(1));
            observer.go_on();
        }
    }
    observers.into_iter().for_each(Actor::finish);
}

pub(crate) fn pushing() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut producer = ring.producer().unwrap();
    say("ready");
    listen();
    for sequence in 0.. {
        let len = length(0, sequence, producer.payload_max_bytes());
        producer.push(&record(0, sequence, len)).unwrap();
        breathe(sequence);
    }
}

/// Lets observers catch up now and then: one that is slower than the producer for good sees next to nothing.
fn breathe(sequence: u64) {
    if sequence.is_multiple_of(200) {
        std::thread::sleep(Duration::from_micros(300));
    }
}

pub(crate) fn mixing() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut producer = ring.producer().unwrap();
    say("ready");
    listen();
    append_mixed(&mut producer, u64::MAX, breathe);
}

pub(crate) fn observer() {
    let mut observer = Ring::open_observer(Script::path()).unwrap();
    let (pause, exact) = (Script::number("pause"), Script::number("exact") == 1);
    let max = usize::try_from(observer.stats().unwrap().capacity_bytes / 4).unwrap();
    let mut next: Vec<Option<u64>> = vec![None; 8];
    let (mut laps, mut seen) = (0u64, 0u64);
    let mut payload = Vec::new();
    say("ready");
    while seen < RECORDS || laps < LAPS {
        let before = observer.position();
        match observer.next_timeout(&mut payload, PATIENCE) {
            Ok(info) => {
                let info = info.expect("a record, within the watchdog's time");
                check_record(info, &payload, max, exact);
                assert!(if exact { info.position == before } else { info.position >= before });
                let expected = &mut next[usize::from(info.producer)];
                let found = info.sequence.unwrap();
                assert!(expected.is_none_or(|expected| found == expected), "{info:?}, expected {expected:?}");
                *expected = Some(found + 1);
                seen += 1;
                if pause > 0 && seen % pause == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            Err(PollError::Lapped { lost_bytes, resumed_at }) => {
                assert_eq!(observer.position(), resumed_at);
                let lost_from = resumed_at - lost_bytes;
                assert!(if exact { lost_from == before } else { lost_from >= before });
                assert!(lost_bytes > 0);
                next.fill(None);
                laps += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    say("enough");
}

fn check_record(info: RecordInfo, payload: &[u8], max: usize, exact: bool) {
    let (slot, sequence) = (u64::from(info.producer), info.sequence.unwrap());
    assert_eq!(info.len_bytes, payload.len());
    check(payload, slot, sequence, if exact { max } else { mixed_max(slot, sequence, max) });
}

#[test]
fn a_loss_is_told_once_and_to_the_byte() {
    // Goal: `lost_bytes` is what lies between the last record that was read and the next one; no record is lost that could be read.
    // Method: one process, so that everything is known: read one, lap, read on to the end; the sum is the tail.
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let mut producer = ring.producer().unwrap();
    let mut observer = ring.observer().unwrap();
    let mut position = 0;
    for round in 0..50u64 {
        let mut positions = vec![];
        for n in 0..round * 3 {
            positions.push(producer.push(&record(0, n, (n * 7 % 300) as usize)).unwrap());
        }
        let mut payload = Vec::new();
        let mut lapped = 0;
        loop {
            match observer.try_next(&mut payload) {
                Ok(Some(info)) => {
                    assert_eq!(info.position, position);
                    assert!(positions.contains(&position));
                    position += crate::records::span(payload.len());
                }
                Ok(None) => break,
                Err(PollError::Lapped { lost_bytes, resumed_at }) => {
                    lapped += 1;
                    position += lost_bytes;
                    assert_eq!(position, resumed_at);
                    assert!(observer.tail() - position >= 4096 / 2, "it gave up more than it had to");
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(payload.is_empty(), "without a record there are no bytes");
        assert_eq!((position, observer.position()), (observer.tail(), observer.tail()));
        assert!(lapped <= 1, "told {lapped} times");
    }
}

#[test]
fn observers_disturb_nobody_and_need_no_slot() {
    // Goal: an observer holds no space and takes no slot, however many there are and however slow they are.
    // Method: 50 observers of a ring with one consumer slot, which read nothing while the ring is lapped, then all do.
    let ring = RingOptions::new().capacity(4096).consumers_max(1).anonymous().unwrap();
    let mut observers: Vec<_> = (0..50).map(|_| ring.observer().unwrap()).collect();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    for n in 0..100 {
        producer.try_push(&record(0, n, 200)).unwrap();
        crate::records::check_bytes(&consumer.soon(), 0, n);
    }
    assert_eq!(ring.stats().unwrap().consumers.len(), 1);
    for observer in &mut observers {
        let mut payload = Vec::new();
        assert!(matches!(observer.try_next(&mut payload), Err(PollError::Lapped { .. })));
        observer.seek(Start::Oldest).unwrap();
        let (info, payload) = observer.soon();
        crate::records::check_bytes(&payload, 0, info.sequence.unwrap());
    }
}
