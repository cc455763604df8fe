//! Counting: what the ring says of itself, and what a record says besides its payload.

use crate::harness::Next;
use crate::records::{own_timestamp, span};
use shm_ring::{ClaimError, ConsumerOptions, Error, PollError, Ring, RingOptions};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[test]
fn refused_and_waiting_claims_are_counted() {
    // Goal: `records` and `bytes` count what was committed, `refused` each claim that gave up, `waited` each that had to wait.
    // Method: known numbers of each on a full ring; counters go on over owners of the slot.
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    let mut records = 0;
    for owner in 1..=3 {
        let mut producer = ring.producer().unwrap();
        while producer.try_push(&[0; 200]).is_ok() {
            records += 1;
        }
        for _ in 0..4 {
            assert!(matches!(producer.try_claim(200), Err(ClaimError::Full { .. })));
        }
        for _ in 0..2 {
            let refused = producer.push_timeout(&[0; 200], Duration::from_millis(1));
            assert!(matches!(refused, Err(ClaimError::Full { .. })));
        }
        assert!(matches!(producer.try_claim(5000), Err(ClaimError::TooLong { .. })));
        let stats = &ring.stats().unwrap().producers[0];
        assert_eq!((stats.slot, stats.pid, stats.alive), (0, std::process::id(), true));
        assert_eq!((stats.records, stats.bytes), (records, records * 200));
        assert_eq!((stats.refused, stats.waited), (owner * 7, owner * 2));
        consumer.drain(100, |_| ()).unwrap();
        consumer.release();
    }
    let stats = &ring.stats().unwrap().producers[0];
    assert_eq!((stats.pid, stats.alive, stats.records), (0, false, records));
}

#[test]
fn lag_is_what_is_left_to_read() {
    // Goal: a consumer's lag is the bytes between its position and the tail, in its own words and in everybody's.
    // Method: push and read known spans; two consumers, unlike each other.
    let ring = RingOptions::new().capacity(16 << 10).anonymous().unwrap();
    let mut producer = ring.producer().unwrap();
    let (mut fast, slow) = (ring.consumer("fast").unwrap(), ring.consumer("slow").unwrap());
    let mut tail = 0;
    for n in 0..50usize {
        producer.push(&vec![0; n]).unwrap();
        tail += span(n);
        drop(fast.soon());
        assert_eq!((fast.lag_bytes(), fast.position()), (0, tail));
        assert_eq!((slow.lag_bytes(), slow.position()), (tail, 0));
    }
    fast.release();
    let stats = ring.stats().unwrap();
    assert_eq!((stats.tail, stats.oldest), (tail, 0));
    let shown: Vec<_> = stats
        .consumers
        .iter()
        .map(|c| (c.name.as_str(), c.slot, c.position, c.lag_bytes, c.alive, c.holds_space, c.durable))
        .collect();
    assert_eq!(shown, [("fast", 0, tail, 0, true, true, false), ("slow", 1, 0, tail, true, true, false)]);
    drop(slow);
    let slow = &ring.stats().unwrap().consumers[1];
    assert_eq!((slow.position, slow.alive, slow.holds_space, slow.pid), (0, false, false, 0));
}

#[test]
fn drain_takes_what_is_there_and_no_more_than_it_may() {
    // Goal: `drain` hands out at most `max` records, in order, says how many, and never waits. Method: around the number there are.
    let ring = RingOptions::new().capacity(16 << 10).anonymous().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let mut next = 0u8;
    for max in [0, 1, 3, 10, 11, usize::MAX] {
        for n in 0..10 {
            producer.push(&[n]).unwrap();
        }
        next = 0;
        let mut left = 10;
        while left > 0 && max > 0 {
            let n = consumer
                .drain(max, |frame| {
                    assert_eq!(frame[0], next);
                    next += 1;
                })
                .unwrap();
            assert_eq!(n, max.min(left));
            left -= n;
        }
        if max == 0 {
            assert_eq!(consumer.drain(0, |_| panic!("a record")).unwrap(), 0);
            assert_eq!(consumer.drain(usize::MAX, |_| ()).unwrap(), 10);
        }
        assert_eq!(consumer.drain(5, |_| panic!("a record")).unwrap(), 0);
    }
    assert_eq!(next, 10);
    drop(producer);
    assert_eq!(consumer.drain(5, |_| panic!("a record")), Err(PollError::Closed));
}

#[test]
fn sequences_and_times_grow() {
    // Goal: a slot's sequence counts its records over all its owners; times are the wall clock's and grow with the position, unless
    // the caller gave them. Method: owners in turn, two slots at once, compared with the clock before and after.
    let ring = RingOptions::new().capacity(64 << 10).anonymous().unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let start = now();
    for owner in 0..5u64 {
        let (mut first, mut second) = (ring.producer().unwrap(), ring.producer().unwrap());
        for n in 0..10 {
            first.push(b"first").unwrap();
            if n % 2 == 0 {
                drop(first.claim(10).unwrap());
            }
            second.push(b"second").unwrap();
        }
        first.push_at(own_timestamp(owner), b"own").unwrap();
        let mut last = start;
        for n in 0..10 {
            for slot in [0, 1] {
                let frame = consumer.soon();
                let expected = owner * if slot == 0 { 11 } else { 10 } + n;
                assert_eq!((frame.producer(), frame.sequence()), (slot, Some(expected)));
                let time = frame.timestamp_ns().unwrap();
                assert!(time >= last && time <= now(), "{time} after {last}");
                last = time;
                assert_eq!(frame.info().timestamp_ns, Some(time));
            }
        }
        assert_eq!(consumer.soon().timestamp_ns(), Some(own_timestamp(owner)));
    }
}

#[test]
fn levels_and_kinds_are_the_users() {
    // Goal: every level and kind arrives as it was set, and neither touches the sequence or the payload; without metadata there is none.
    // Method: all bytes, both readers.
    for metadata in [true, false] {
        let ring = RingOptions::new().capacity(64 << 10).metadata(metadata).anonymous().unwrap();
        assert_eq!(ring.has_metadata(), metadata);
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
        let mut observer = ring.observer().unwrap();
        assert_eq!(observer.has_metadata(), metadata);
        for n in 0..=255u8 {
            let mut claim = producer.claim(1).unwrap();
            claim[0] = n;
            claim.set_level(n);
            claim.set_kind(!n);
            claim.set_timestamp_ns(u64::MAX - u64::from(n));
            claim.commit();
            let (info, payload) = observer.soon();
            let frame = consumer.soon();
            assert_eq!((frame.info(), &frame[..], &payload[..]), (info, &[n][..], &[n][..]));
            if metadata {
                assert_eq!((info.level, info.kind, info.sequence), (n, !n, Some(n.into())));
                assert_eq!(info.timestamp_ns, Some(u64::MAX - u64::from(n)));
            } else {
                assert_eq!((info.level, info.kind), (0, 0));
                assert_eq!((info.sequence, info.timestamp_ns), (None, None));
            }
            assert_eq!((info.producer, info.len_bytes), (0, 1));
        }
    }
}

#[test]
fn stats_say_what_the_ring_is() {
    // Goal: the ring's own facts are right, and the same in every look. Method: compare with what was asked for.
    let options = RingOptions::new().capacity(8192).single_producer().metadata(false);
    let ring = options.anonymous().unwrap();
    let stats = ring.stats().unwrap();
    assert_eq!((stats.path.as_ref(), stats.capacity_bytes), (None, 8192));
    assert!(stats.single_producer && !stats.metadata);
    assert_eq!((stats.tail, stats.oldest, stats.lost_records), (0, 0, 0));
    assert!(stats.producers.is_empty() && stats.consumers.is_empty());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    assert!(stats.created_ns <= now && stats.created_ns > now - 60_000_000_000);
    let text = stats.uuid_string();
    assert!(text.len() == 36 && text.as_bytes()[14] == b'4', "{text}");
    assert_eq!(ring.observer().unwrap().stats().unwrap().uuid, stats.uuid);
    assert_ne!(options.anonymous().unwrap().stats().unwrap().uuid, stats.uuid);
    let durable = ring.consumer_with("c", ConsumerOptions::new().durable()).unwrap();
    assert!(ring.stats().unwrap().consumers[0].durable);
    drop(durable);
    let _producer = ring.producer().unwrap();
    assert!(matches!(ring.producer(), Err(Error::Busy { pid, .. }) if pid == std::process::id()));
}

#[test]
fn a_ring_with_one_shared_slot_is_full_not_exclusive() {
    // Goal: `NoSlot` is for tables that are full, `Busy` for exclusive rings. Method: a shared ring with a single slot.
    let ring: Ring = RingOptions::new().capacity(4096).producers_max(1).anonymous().unwrap();
    let _producer = ring.producer().unwrap();
    let error = ring.producer().unwrap_err();
    assert!(matches!(error, Error::NoSlot { table: "producer", slots: 1 }), "{error:?}");
}
