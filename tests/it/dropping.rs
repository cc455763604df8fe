//! Dropping: producers that drop rather than wait, and what readers are told of it.

use crate::harness::Next;
use shm_ring::{Loss, PollError, Ring, RingOptions, Start};

fn dropped(losses: &[Loss]) -> u64 {
    losses.iter().map(|loss| loss.dropped_records).sum()
}

#[test]
fn notices_leave_room_for_records() {
    // Goal: a producer that offers far more than its reader takes still gets records through, however large; all are accounted for.
    // Method: a dozen offers for each frame that the reader takes, of records that are large beside what the reader gives back at a time.
    for (len, metadata) in [(100, true), (1000, true), (5000, true), (16 << 10, true), (5000, false)] {
        let ring = RingOptions::new().capacity(64 << 10).metadata(metadata).anonymous().unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
        let payload = vec![7; len];
        let (mut offered, mut accepted, mut late, mut read) = (0, 0, 0, 0);
        for round in 0..600 {
            for _ in 0..12 {
                offered += 1;
                let taken = u64::from(producer.offer(&payload).unwrap().is_some());
                accepted += taken;
                late += if round >= 300 { taken } else { 0 };
            }
            read += u64::from(consumer.try_poll().unwrap().is_some());
        }
        assert!(late >= 200, "{len}: {late} of 300");
        while consumer.try_poll().unwrap().is_some() {
            read += 1;
        }
        drop(producer);
        assert_eq!(consumer.try_poll().unwrap_err(), PollError::Closed);
        assert_eq!((read, read + dropped(&consumer.lost())), (accepted, offered), "{len}");
    }
}

#[test]
fn a_notice_that_is_read_twice_counts_once() {
    // Goal: who seeks back over a notice is told of the same loss once. Method: two notices, read forwards, twice, by both readers.
    let ring = RingOptions::new().capacity(64 << 10).anonymous().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let mut observer = ring.observer().unwrap();
    let _holder = ring.consumer("holder").unwrap();
    for n in [5, 3] {
        producer.push(b"before").unwrap();
        producer.count_dropped(n);
        producer.push(b"after").unwrap();
    }
    let mut payload = Vec::new();
    for _ in 0..3 {
        while consumer.try_poll().unwrap().is_some() {}
        while observer.try_next(&mut payload).unwrap().is_some() {}
        assert_eq!((dropped(&consumer.lost()), dropped(&observer.lost())), (8, 8));
        consumer.seek(Start::Oldest).unwrap();
        observer.seek(Start::Oldest).unwrap();
    }
}

#[test]
fn what_was_lapped_is_not_guessed() {
    // Goal: `lapped_records` is exact with metadata and 0 without, also when notices are all that has a sequence. Method: a notice, records
    // that are read, a lap, a notice.
    for metadata in [true, false] {
        let ring: Ring = RingOptions::new().capacity(4096).metadata(metadata).anonymous().unwrap();
        let (mut producer, mut observer) = (ring.producer().unwrap(), ring.observer().unwrap());
        let mut expected = 0;
        producer.count_dropped(1);
        for _ in 0..10 {
            producer.push(b"read").unwrap();
            drop(observer.soon());
        }
        for _ in 0..500 {
            producer.push(b"lapped").unwrap();
            expected += 1;
        }
        producer.count_dropped(2);
        producer.push(b"last").unwrap();
        let mut payload = Vec::new();
        assert!(matches!(observer.try_next(&mut payload), Err(PollError::Lapped { .. })));
        while observer.try_next(&mut payload).unwrap().is_some() {
            expected -= u64::from(payload == b"lapped");
        }
        let loss = observer.lost()[0];
        let lapped = if metadata { expected } else { 0 };
        assert_eq!((loss.dropped_records, loss.lapped_records), (3, lapped), "{metadata}");
    }
}
