//! Values: plain and serde types through a ring, and bytes that are neither.

use crate::harness::Next;
use bytemuck::{AnyBitPattern, NoUninit};
use serde::{Deserialize, Serialize};
use shm_ring::{ClaimError, LOG_KIND, LogRecord, PollError, RecvError, RingOptions, SendError, Stream};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, AnyBitPattern, NoUninit)]
#[repr(C)]
struct Plain {
    price: f64,
    size: u32,
    side: [u8; 4],
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Started { name: String, pid: u32 },
    Values(BTreeMap<String, Vec<i64>>),
    Nothing,
}

#[test]
fn plain_values_are_read_where_they_lie() {
    // Goal: a plain value arrives bit by bit and is read in place, aligned; other lengths are no such value.
    // Method: values between records of odd lengths, laps of them, with and without metadata.
    for metadata in [true, false] {
        let ring = RingOptions::new().capacity(4096).metadata(metadata).anonymous().unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
        for n in 0..300u32 {
            let plain = Plain { price: f64::from(n) / 3.0, size: n, side: n.to_be_bytes() };
            producer.push(&vec![0; n as usize % 40]).unwrap();
            producer.push_value(&plain).unwrap();
            producer.push_value(&[n; 16]).unwrap();
            assert_eq!(consumer.soon().value::<[u8; 96]>(), None);
            let frame = consumer.soon();
            assert_eq!(frame.value::<Plain>(), Some(&plain));
            assert_eq!(frame.value::<[u64; 3]>(), None);
            assert_eq!(frame.as_ptr() as usize % 16, 0);
            drop(frame);
            assert_eq!(consumer.soon().value::<[u32; 16]>(), Some(&[n; 16]));
        }
    }
}

#[test]
fn serde_values_arrive_as_they_were_sent() {
    // Goal: what is sent is received, whatever serde can describe. Method: enums, maps, strings, nothing, over laps.
    let ring = RingOptions::new().capacity(16 << 10).anonymous().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    for n in 0..200u32 {
        let values = (0..n % 7).map(|k| (format!("key {k}"), vec![i64::from(n); k as usize])).collect();
        for event in
            [Event::Started { name: "ü".repeat(n as usize), pid: n }, Event::Values(values), Event::Nothing]
        {
            producer.send(&event).unwrap();
            assert_eq!(consumer.recv::<Event>().unwrap(), event);
        }
        producer.send("a str").unwrap();
        assert_eq!(consumer.recv::<String>().unwrap(), "a str");
        producer.send(&()).unwrap();
        consumer.recv::<()>().unwrap();
    }
}

#[test]
fn a_value_that_is_too_long_is_not_sent() {
    // Goal: a value beyond the longest record is an error, and the producer works on. Method: just too long, then one that fits.
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let error = producer.send(&vec![0u8; 1024]).unwrap_err();
    assert!(matches!(error, SendError::Claim(ClaimError::TooLong { len_bytes: 1032, max_bytes: 1024 })));
    producer.send(&vec![7u8; 1016]).unwrap();
    assert_eq!(consumer.recv::<Vec<u8>>().unwrap(), vec![7; 1016]);
}

#[test]
fn garbage_is_an_error_and_consumed() {
    // Goal: bytes that are no such value are an error with their position, are consumed, allocate nothing large, and what follows is
    // received. Method: too short, too long, lengths beyond all memory, invalid UTF-8 and variants, each before a good value.
    let ring = RingOptions::new().capacity(16 << 10).anonymous().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let huge = [&u64::MAX.to_le_bytes()[..], b"abc"].concat();
    let large = [&(1u64 << 40).to_le_bytes()[..], b"abc"].concat();
    let not_utf8 = [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat();
    let trailing = [&1u64.to_le_bytes()[..], b"ab"].concat();
    let garbage: [&[u8]; 6] = [b"", b"abc", &huge, &large, &not_utf8, &trailing];
    for (n, bytes) in garbage.into_iter().enumerate() {
        let at = producer.push(bytes).unwrap();
        producer.send("good").unwrap();
        match consumer.recv::<String>() {
            Err(RecvError::Codec { position, source }) => {
                assert_eq!(position, at);
                assert!(!source.to_string().is_empty());
            }
            other => panic!("{n}: {other:?}"),
        }
        assert_eq!(consumer.recv::<String>().unwrap(), "good");
    }
    producer.push(&u32::MAX.to_le_bytes()).unwrap();
    assert!(matches!(consumer.recv::<Event>(), Err(RecvError::Codec { .. })));
    drop(producer);
    assert!(matches!(consumer.recv::<Event>(), Err(RecvError::Poll(PollError::Closed))));
}

#[test]
fn log_records_go_through_a_ring() {
    // Goal: the log record's head is written and read in place, under its own kind. Method: there and back, one with the longest tag.
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let tag = "t".repeat(255);
    for tag in ["", "db", &tag] {
        let log = LogRecord {
            pid: 7,
            tid: 8,
            stream: Stream::Stderr,
            level: 3,
            partial: true,
            tag,
            message: b"disk full\n",
        };
        let mut claim = producer.claim(log.encoded_len()).unwrap();
        log.encode(&mut claim);
        claim.set_kind(LOG_KIND);
        claim.set_level(log.level);
        claim.commit();
        let frame = consumer.soon();
        assert_eq!((frame.kind(), frame.level()), (LOG_KIND, 3));
        assert_eq!(LogRecord::decode(&frame), Some(log));
    }
}
