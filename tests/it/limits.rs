//! Limits: the longest and the shortest record, full rings, and what a claim may not do.

use crate::harness::{Next, alone};
use crate::records::{HEAD_BYTES, check_bytes, fill, record, span};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use shm_ring::{ClaimError, Error, Ring, RingOptions};

#[test]
fn records_of_every_length_up_to_a_quarter_are_taken() {
    // Goal: zero bytes and exactly a quarter of the capacity are records like others, at every place of a lap; one byte more is
    // `TooLong`, says the maximum, and changes nothing. Method: both kinds of call, with and without metadata, over several laps.
    for metadata in [true, false] {
        for exclusive in [true, false] {
            let options = RingOptions::new().capacity(4096).metadata(metadata);
            let options = if exclusive { options.single_producer() } else { options };
            let ring = options.anonymous().unwrap();
            let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
            let mut observer = ring.observer().unwrap();
            let max = producer.payload_max_bytes();
            assert_eq!((max, ring.payload_max_bytes()), (1024, 1024));
            for n in 0..200 {
                let len = [0, max, 1, max - 1, 15, 16, 17][n % 7];
                let tail = observer.tail();
                let too_long = ClaimError::TooLong { len_bytes: max + 1, max_bytes: max };
                assert_eq!(producer.try_push(&vec![0; max + 1]), Err(too_long));
                assert_eq!(producer.claim(max + 1).unwrap_err(), too_long);
                assert!(matches!(producer.claim(usize::MAX), Err(ClaimError::TooLong { .. })));
                assert_eq!(observer.tail(), tail);
                producer.push(&record(0, n as u64, len)).unwrap();
                check_bytes(&consumer.soon(), 0, n as u64);
                assert_eq!(observer.soon().1, record(0, n as u64, len));
            }
            let stats = ring.stats().unwrap();
            assert_eq!((stats.producers[0].refused, stats.producers[0].waited), (0, 0));
        }
    }
}

#[test]
fn batches_hold_what_fits_and_nothing_longer_than_a_record() {
    // Goal: a batch takes as many records and bytes as it was claimed for, refuses the rest and stays usable; none of its records is
    // longer than a record can be. Method: batches of one up to many, filled beyond their ends, in rings with and without metadata.
    for metadata in [true, false] {
        let ring = RingOptions::new().capacity(4096).metadata(metadata).anonymous().unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
        let max = producer.payload_max_bytes();
        for (n_records, bytes) in [(1, 0), (1, 100), (2, 100), (7, 500), (10, 300)] {
            let mut batch = producer.batch(n_records, bytes).unwrap();
            for n in 0..n_records {
                batch.push(&record(0, n as u64, bytes / n_records)).unwrap();
            }
            let full = batch.push(b"one more").unwrap_err();
            assert!(full.needed_bytes >= 16, "{full}");
            assert_eq!(batch.n_records(), n_records);
            let position = batch.commit();
            for n in 0..n_records {
                let frame = consumer.soon();
                assert!(n > 0 || frame.position() == position);
                check_bytes(&frame, 0, n as u64);
            }
        }
        assert!(matches!(producer.batch(1000, 0), Err(ClaimError::TooLong { .. })));
        assert!(matches!(producer.batch(usize::MAX, usize::MAX), Err(ClaimError::TooLong { .. })));
        // Committed empty, or dropped: no record, and not in the way.
        producer.batch(3, 100).unwrap().commit();
        producer.batch(0, 0).unwrap().commit();
        drop(producer.try_batch(3, 100).unwrap());
        producer.push(b"next").unwrap();
        assert_eq!(&*consumer.soon(), b"next");
        for too_long in 1..=16 {
            assert!(consumer.try_poll().unwrap().is_none(), "nothing but pads, which give their space back");
            if let Ok(mut batch) = producer.batch(1, max + 1) {
                let taken = batch.push(&vec![0; max + too_long]).is_ok();
                assert!(!taken, "a batch took a record of {} bytes, the longest is {max}", max + too_long);
            }
        }
    }
}

#[test]
fn a_batch_appears_as_a_whole() {
    // Goal: no reader sees a part of a batch. Method: look with both readers at each step.
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let mut observer = ring.observer().unwrap();
    let mut nothing_yet = || {
        assert!(consumer.try_poll().unwrap().is_none());
        assert!(observer.try_next(&mut Vec::new()).unwrap().is_none());
    };
    let mut batch = producer.batch(4, 200).unwrap();
    nothing_yet();
    batch.set_level(3);
    for n in 0..4 {
        batch.push(&record(0, n, 50)).unwrap();
        batch.set_kind(9);
        nothing_yet();
    }
    batch.commit();
    let mut timestamps = vec![];
    for n in 0..4 {
        let frame = consumer.soon();
        check_bytes(&frame, 0, n);
        assert_eq!((frame.sequence(), frame.level()), (Some(n), 3));
        assert_eq!(frame.kind(), if n == 0 { 0 } else { 9 });
        timestamps.push(frame.timestamp_ns());
        check_bytes(&observer.soon().1, 0, n);
    }
    timestamps.dedup();
    assert_eq!(timestamps.len(), 1, "a batch is claimed at one time");
}

#[test]
fn what_is_not_committed_is_no_record() {
    // Goal: claims that are dropped, shortened or leaked leave nothing but what was committed, and no hole in the sequence.
    // Method: each kind between records; a producer that is dropped with a leaked claim.
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    let mut producer = ring.producer().unwrap();
    for n in 0..40 {
        let mut claim = producer.claim(300).unwrap();
        claim.fill(0xff);
        drop(claim);
        let mut claim = producer.claim(200).unwrap();
        claim.fill(0xff);
        std::mem::forget(claim);
        let mut claim = producer.try_claim(100).unwrap();
        let at = claim.position();
        let len = (n % 100) as usize;
        fill(&mut claim[..len], 0, n);
        assert_eq!(claim.commit_len(len), at);
        assert!(consumer.lag_bytes() >= 2 * HEAD_BYTES + span(100));
        let frame = consumer.soon();
        assert_eq!((frame.position(), frame.sequence(), frame.len()), (at, Some(n), len));
        check_bytes(&frame, 0, n);
    }
    std::mem::forget(producer.claim(100).unwrap());
    drop(producer);
    let mut another = ring.producer().unwrap();
    another.push(b"next").unwrap();
    assert_eq!(&*consumer.soon(), b"next");
    let stats = ring.stats().unwrap();
    assert_eq!((stats.lost_records, stats.producers[0].records), (0, 41));
}

#[test]
#[should_panic(expected = "commit_len(101) of a claim of 100 bytes")]
fn no_more_is_committed_than_was_claimed() {
    // Goal: `commit_len` can't reach beyond its claim. Method: one byte more.
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    ring.producer().unwrap().claim(100).unwrap().commit_len(101);
}

#[test]
fn a_panic_while_writing_is_an_abort() {
    // Goal: a claim that is unwound leaves no record and no obstacle. Method: panic in the middle, go on.
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut claim = producer.claim(100).unwrap();
        claim[0] = 1;
        std::panic::resume_unwind(Box::new("serializing failed"));
    }));
    assert!(caught.is_err());
    producer.push(b"next").unwrap();
    assert_eq!(&*consumer.soon(), b"next");
}

#[test]
fn a_full_ring_says_how_full_and_takes_nothing() {
    // Goal: `Full` tells what is needed and what is free, to the byte; what is smaller still fits; nothing that was not read is lost.
    // Method: fill a ring record by record with a consumer that holds everything, then with smaller ones to the last byte.
    for exclusive in [false, true] {
        let options = RingOptions::new().capacity(4096);
        let options = if exclusive { options.single_producer() } else { options };
        let ring = options.anonymous().unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
        let mut free = 4096;
        let mut n = 0;
        for len in [1000, 500, 64, 16, 0] {
            while free >= span(len) {
                producer.try_push(&record(0, n, len)).unwrap();
                free -= span(len);
                n += 1;
            }
            let full = ClaimError::Full { needed_bytes: span(len), free_bytes: free };
            assert_eq!(producer.try_push(&record(0, n, len)), Err(full));
            assert_eq!(producer.try_claim(len).unwrap_err(), full);
        }
        assert!(free < HEAD_BYTES);
        assert_eq!(consumer.lag_bytes(), 4096 - free);
        for n in 0..n {
            check_bytes(&consumer.soon(), 0, n);
        }
        consumer.release();
        producer.try_push(&record(0, n, 1000)).unwrap();
    }
}

#[test]
fn a_frame_in_hand_is_never_overwritten() {
    // Goal: what a consumer looks at stays as it is until it lets go. Method: hold the oldest frame of a full ring while a producer
    // tries everything; compare.
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let mut n = 0;
    for _ in 0..30 {
        while producer.try_push(&record(0, n, 700)).is_ok() {
            n += 1;
        }
        let frame = consumer.soon();
        let first = frame.sequence().unwrap();
        for len in [1024, 700, 100, 0] {
            while producer.try_push(&record(0, n, len)).is_ok() {
                n += 1;
            }
        }
        check_bytes(&frame, 0, first);
        drop(frame);
        while consumer.lag_bytes() > 0 {
            let frame = consumer.soon();
            check_bytes(&frame, 0, frame.sequence().unwrap());
        }
        consumer.release();
    }
}

#[test]
fn consumers_release_in_time() {
    // Goal: a producer gets room at the latest when a sixteenth of the capacity was read, or nothing is left, or the consumer says so.
    // Method: count how many records must be read before there is room again.
    let fill_up = |ring: &Ring| {
        let mut producer = ring.producer().unwrap();
        while producer.try_push(&[0; 32]).is_ok() {}
        producer
    };
    let ring = RingOptions::new().capacity(16 << 10).anonymous().unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    let mut producer = fill_up(&ring);
    let mut read = 0;
    while producer.try_push(&[0; 32]).is_err() {
        drop(consumer.soon());
        read += 1;
    }
    assert!(read * span(32) <= 1024, "{read} records were read before a producer was told");
    drop(consumer.soon());
    consumer.release();
    assert_eq!(ring.stats().unwrap().consumers[0].position, consumer.position());
    while consumer.try_poll().unwrap().is_some() {}
    assert_eq!(ring.stats().unwrap().consumers[0].lag_bytes, 0);
}

#[test]
fn without_descriptors_attaching_fails_and_takes_nothing() {
    // Goal: a process that has no descriptors left gets an error from everything that needs one, and its ring is as before.
    // Method: a process that lowers its limit, asks for everything, and raises it again.
    alone("limits::no_descriptors", &[]);
}

pub(crate) fn no_descriptors() {
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let mut producer = ring.producer().unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    for error in [
        ring.producer().unwrap_err(),
        ring.consumer("c").unwrap_err(),
        ring.observer().unwrap_err(),
        RingOptions::new().anonymous().unwrap_err(),
    ] {
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
    }
    // What is there works on.
    producer.push(b"x").unwrap();
    assert_eq!(ring.stats().unwrap().producers.len(), 1);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(ring.producer().unwrap().slot(), 1);
    assert_eq!(&*ring.consumer("c").unwrap().soon(), b"x");
    assert_eq!(ring.stats().unwrap().consumers.len(), 1);
}
