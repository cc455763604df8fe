//! Corrupt: bytes that no sound producer writes are told, once and for all, and never followed.

use crate::harness::{Next, directory};
use crate::records::mix;
use shm_ring::{Observer, PollError, Ring, RingOptions, Start};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

const DATA: u64 = 2;
const INNER: u64 = 6;

/// Where a part of the ring's file begins, from its header.
fn offset(file: &File, at: u64) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, at).unwrap();
    u64::from_le_bytes(word)
}

/// Writes a frame's header where the document says, over whatever is there.
fn forge(path: &Path, position: u64, state: u64, len_bytes: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (nonce, capacity, data) = (offset(&file, 32), offset(&file, 48), offset(&file, 112));
    let word = len_bytes | state << 32 | ((position / capacity) & 0xffff) << 48;
    let words = [word.to_le_bytes(), (position ^ nonce).to_le_bytes()].concat();
    file.write_all_at(&words, data + position % capacity).unwrap();
}

#[test]
fn a_frame_that_is_too_long_ends_its_readers() {
    // Goal: a length beyond any claim is `Corrupt` with its position, for good, and no byte of it is handed out.
    // Method: forge headers under a right seal behind good records; every call of both readers; what came before is read.
    let directory = directory();
    for (n, (state, len)) in
        [(DATA, 1025 + 16), (INNER, 4096), (DATA, u64::from(u32::MAX)), (3, 1 << 20)].into_iter().enumerate()
    {
        let path = directory.path().join(n.to_string());
        let ring = RingOptions::new().capacity(4096).create(&path).unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
        let mut observer = ring.observer().unwrap();
        producer.push(b"good").unwrap();
        let position = producer.push(b"will be forged").unwrap();
        forge(&path, position, state, len);
        assert_eq!(&*consumer.soon(), b"good");
        assert_eq!(observer.soon().1, b"good");
        for _ in 0..2 {
            let error = consumer.try_poll().unwrap_err();
            let PollError::Corrupt { position: at, .. } = error else { panic!("{error:?}") };
            assert_eq!(at, position);
            assert_eq!(consumer.poll().unwrap_err(), error);
            assert_eq!(consumer.drain(9, |_| panic!("a record")).unwrap_err(), error);
            assert_eq!(consumer.seek(Start::Oldest).unwrap_err(), error);
            let error = observer.try_next(&mut Vec::new()).unwrap_err();
            assert!(matches!(error, PollError::Corrupt { position: at, .. } if at == position), "{error:?}");
            assert_eq!(observer.next(&mut Vec::new()).unwrap_err(), error);
        }
    }
}

#[test]
fn bytes_without_a_seal_are_no_frame() {
    // Goal: nothing that lies in the data passes for a frame: not an older lap's, not a payload that looks like a header, not a frame
    // of another position. Method: payloads full of headers, made for other positions and another ring; walk and scan.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(4096).create(&path).unwrap();
    let file = File::open(&path).unwrap();
    let nonce = offset(&file, 32);
    let (mut producer, mut observer) = (ring.producer().unwrap(), ring.observer().unwrap());
    let mut expected = vec![];
    for n in 0..400u64 {
        let start = observer.tail();
        let mut payload = vec![];
        for at in (start + 32..start + 32 + 512).step_by(16) {
            // As it would stand a lap earlier, one unit beside, or here, in another ring.
            let (position, nonce) =
                [(at.wrapping_sub(4096), nonce), (at ^ 16, nonce), (at, !nonce)][(n % 3) as usize];
            payload.extend((100 | DATA << 32 | ((position / 4096) & 0xffff) << 48).to_le_bytes());
            payload.extend((position ^ nonce).to_le_bytes());
        }
        producer.push(&payload).unwrap();
        expected.push((start, payload));
        let mut consumer = ring.consumer("c").unwrap();
        consumer.seek(Start::Oldest).unwrap();
        let from = expected.iter().position(|(at, _)| *at == consumer.position()).unwrap();
        for (at, payload) in &expected[from..] {
            let frame = consumer.soon();
            assert_eq!((frame.position(), &frame[..]), (*at, &payload[..]));
        }
        assert!(consumer.try_poll().unwrap().is_none());
        let (info, seen) = observer.soon();
        assert_eq!((info.position, &seen), (start, &expected.last().unwrap().1));
    }
}

#[test]
fn observers_survive_anything() {
    // Goal: an observer of a file full of nonsense returns: records, losses or an error, but no panic, no endless loop, no crash.
    // Method: rings with noise over their tables and data, everywhere or in one place, observed from every kind of start.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(4096).producers_max(4).consumers_max(4).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    ring.consumer("c").unwrap();
    for n in 0..60u8 {
        producer.push(&vec![n; usize::from(n) * 3]).unwrap();
    }
    drop(producer);
    drop(ring);
    let sound = fs::read(&path).unwrap();
    for seed in 0..400 {
        fs::write(&path, noisy(&sound, seed)).unwrap();
        let mut observer = Ring::open_observer(&path).unwrap();
        let stats = observer.stats().unwrap();
        assert_eq!(stats.capacity_bytes, 4096);
        let starts = [Start::Now, Start::Oldest, Start::At(stats.tail & !15), Start::At(0), Start::Since(5)];
        for start in starts {
            // Refused or not: what counts is that it returns.
            let _ = observer.seek(start);
            look_around(&mut observer);
        }
    }
}

fn look_around(observer: &mut Observer) {
    let mut payload = Vec::new();
    for _ in 0..500 {
        match observer.try_next(&mut payload) {
            Ok(Some(info)) => assert!(info.len_bytes == payload.len() && payload.len() <= 1024 + 16),
            Ok(None) => break,
            Err(PollError::Lapped { .. }) => {}
            Err(PollError::Corrupt { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A ring with noise behind its header.
fn noisy(sound: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    let mut random = mix(seed);
    let mut next = || {
        random = mix(random);
        random
    };
    match seed % 4 {
        0 => bytes[4096..].chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&next().to_le_bytes())),
        // Whole words in the tables: the tail, grants, marks, intents, positions.
        1 => {
            for _ in 0..10 {
                let at = 4096 + (next() % 1536 * 8) as usize;
                let word = [next(), u64::MAX, 1 << 63, 0, next() % 8192][(next() % 5) as usize];
                bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        // The live page's words, which everything follows from.
        2 => {
            for at in [0, 128, 136, 144, 384] {
                let word = [next(), u64::MAX, 1 << 63, 15, next() % 8192][(next() % 5) as usize];
                bytes[4096 + at..4096 + at + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        _ => {
            for _ in 0..20 {
                let at = 4096 + (next() as usize) % (bytes.len() - 4096);
                bytes[at] ^= 1 << (next() % 8);
            }
        }
    }
    bytes
}
