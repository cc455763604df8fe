//! Golden: a file of layout version 1, made once, which every later version must read, byte by byte as the format document says.
//!
//! `golden/ring_v1.bin` was made by the role `golden::make` below:
//! `SHM_RING_TEST_ROLE=golden::make SHM_RING_TEST_path=ring_v1.bin cargo test -p tests child::entry -- --ignored`
//!
//! The decoder here knows the document only, not the library.

use crate::harness::{Next, Script, directory, fork, leave};
use crate::records::crc32c;
use shm_ring::{Error, Observer, PollError, Ring, RingOptions, Start};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const GOLDEN: &[u8] = include_bytes!("golden/ring_v1.bin");
const PAGE: usize = 4096;
/// No machine's.
const BOOT: [u8; 16] = *b"no boot has this";
const TIME: u64 = 1_700_000_000_000_000_000;
const NAME: &str = "golden reader";

/// Every record of the file: producer, sequence, level, kind, payload.
const RECORDS: [(u16, u64, u8, u8, &[u8]); 9] = [
    (0, 0, 0, 0, b"first"),
    (0, 1, 4, 7, b"in place, committed shorter than claimed"),
    (1, 0, 0, 0, b""),
    (0, 2, 0, 0, b"behind an aborted claim"),
    (0, 3, 1, 2, b"batch: one"),
    (0, 4, 1, 2, b"batch: two, sixteen and some more bytes"),
    (0, 5, 1, 2, b""),
    (1, 1, 0, 0, b"behind a lost claim"),
    (0, 6, 0, 0, b"0123456789abcdef"),
];

pub(crate) fn make() {
    let path = Script::path();
    let ring = RingOptions::new().capacity(4096).producers_max(3).consumers_max(2).create(&path).unwrap();
    let (mut zero, mut one) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer(NAME).unwrap();
    let payload = |n: usize| RECORDS[n].4;
    zero.push_at(TIME, payload(0)).unwrap();
    let mut claim = zero.claim(100).unwrap();
    claim[..payload(1).len()].copy_from_slice(payload(1));
    claim.set_level(4);
    claim.set_kind(7);
    claim.set_timestamp_ns(TIME + 1);
    claim.commit_len(payload(1).len());
    one.push_at(TIME + 2, payload(2)).unwrap();
    drop(zero.claim(33).unwrap());
    zero.push_at(TIME + 3, payload(3)).unwrap();
    let mut batch = zero.batch(3, 80).unwrap();
    batch.set_level(1);
    batch.set_kind(2);
    for n in 4..7 {
        batch.push(payload(n)).unwrap();
    }
    batch.commit();
    // A child that ends in the middle of a claim of the third slot.
    fork(|| {
        let mut two = Ring::open(&path).unwrap().producer().unwrap();
        std::mem::forget(two.claim(200).unwrap());
        leave(0);
    })
    .finish();
    drop(Ring::open(&path).unwrap());
    one.push_at(TIME + 7, payload(7)).unwrap();
    zero.push_at(TIME + 8, payload(8)).unwrap();
    for _ in 0..2 {
        drop(consumer.soon());
    }
    drop((zero, one, consumer, ring));
    let mut bytes = fs::read(&path).unwrap();
    bytes[PAGE + 392..PAGE + 408].copy_from_slice(&BOOT);
    fs::write(&path, bytes).unwrap();
}

#[test]
fn every_byte_of_version_one_is_where_the_document_says() {
    // Goal: the format does not change without its version. Method: decode the golden file by hand, by the document's tables.
    let header = &GOLDEN[..256];
    assert_eq!(&header[..8], b"SHMRING\0");
    assert_eq!(u32_at(header, 8), 1);
    let zeroed = [&header[..12], &[0; 4], &header[16..]].concat();
    assert_eq!(u32_at(header, 12), crc32c(&zeroed));
    assert_eq!((header[22] >> 4, header[24] >> 6), (4, 2), "a random uuid");
    let nonce = u64_at(header, 32);
    assert_eq!(nonce % 2, 1);
    assert!(u64_at(header, 40) > TIME);
    assert_eq!([48, 56].map(|at| u64_at(header, at)), [4096, 5 * 4096]);
    assert_eq!([64, 68].map(|at| u32_at(header, at)), [4096, 1]);
    assert_eq!([72, 80, 96, 112].map(|at| u64_at(header, at)), [4096, 2 * 4096, 3 * 4096, 4 * 4096]);
    assert_eq!([88, 92, 104, 108].map(|at| u32_at(header, at)), [3, 128, 2, 128]);
    assert!(GOLDEN[120..PAGE].iter().all(|byte| *byte == 0), "reserved, and the rest of the page");
    assert_eq!(GOLDEN.len(), 5 * 4096);

    let live = &GOLDEN[PAGE..2 * PAGE];
    let (tail, epoch) = (u64_at(live, 0), u64_at(live, 384));
    assert_eq!((epoch, u64_at(live, 136)), (0, 0));
    assert!(u64_at(live, 128) >= tail, "granted");
    assert_eq!([144, 148].map(|at| u32_at(live, at)), [3, 1], "high-water marks");
    assert_eq!([256, 260].map(|at| u32_at(live, at) & 1), [0, 0], "nobody sleeps");
    assert_eq!(&live[392..408], BOOT);
    assert_eq!([416, 424].map(|at| u64_at(live, at)), [1, 240], "lost: 16 + 16 + 200, rounded up");
    assert_eq!(u64_at(live, 432), 3, "producers ever");

    let producers = &GOLDEN[2 * PAGE..3 * PAGE];
    for (slot, sequence, records) in [(0, 7, 7), (1, 2, 2), (2, 1, 0)] {
        let words = &producers[slot * 128..][..128];
        assert_eq!(u64_at(words, 0), u64::MAX, "intent");
        assert_eq!([24, 32].map(|at| u64_at(words, at)), [sequence, records]);
        let of_slot = RECORDS.iter().filter(|record| usize::from(record.0) == slot);
        assert_eq!(u64_at(words, 40), of_slot.map(|record| record.4.len() as u64).sum::<u64>());
        assert_eq!([48, 56, 64, 72].map(|at| u64_at(words, at)), [0; 4], "refused, waited, pid, attached");
        assert!(words[80..].iter().all(|byte| *byte == 0));
    }
    let consumer = &GOLDEN[3 * PAGE..][..128];
    let second = 32 + 16;
    let third = second + 32 + 112;
    assert_eq!([0, 8].map(|at| u64_at(consumer, at)), [u64::MAX, second + 32 + 48], "position, resume");
    assert_eq!([24, 32, 40, 48].map(|at| u64_at(consumer, at)), [0; 4], "missed, lost, flags, pid");
    assert_eq!(&consumer[64..64 + NAME.len()], NAME.as_bytes());
    assert!(consumer[64 + NAME.len()..].iter().all(|byte| *byte == 0));

    let frames = walk(&GOLDEN[4 * PAGE..], tail, nonce ^ epoch);
    let states: Vec<_> = frames.iter().map(|frame| frame.state).collect();
    assert_eq!(states, [DATA, DATA, PAD, DATA, PAD, DATA, DATA, INNER, INNER, PAD, LOST, DATA, DATA]);
    assert_eq!(frames[3].position, third);
    assert_eq!(frames[10].slot, 2);
    let records = frames.iter().filter(|frame| matches!(frame.state, DATA | INNER));
    for (n, (frame, expected)) in records.zip(RECORDS).enumerate() {
        let (slot, sequence, level, kind, payload) = expected;
        assert_eq!((frame.slot, frame.sequence, frame.level, frame.kind), (slot, sequence, level, kind));
        assert_eq!(frame.payload, payload);
        assert!(frame.timestamp_ns == TIME + n as u64 || (4..7).contains(&n));
    }
}

const DATA: u64 = 2;
const PAD: u64 = 3;
const LOST: u64 = 4;
const INNER: u64 = 6;

struct Decoded<'a> {
    position: u64,
    state: u64,
    slot: u16,
    timestamp_ns: u64,
    sequence: u64,
    level: u8,
    kind: u8,
    payload: &'a [u8],
}

/// All frames below the tail, in a ring with metadata that was never lapped.
fn walk(data: &[u8], tail: u64, key: u64) -> Vec<Decoded<'_>> {
    let mut frames = vec![];
    let mut position = 0;
    while position < tail {
        let at = position as usize;
        let (word, tags) = (u64_at(data, at), u64_at(data, at + 24));
        assert_eq!(u64_at(data, at + 8), position ^ key, "seal at {position}");
        assert_eq!(word >> 48, 0, "lap");
        let (len, state) = (word & 0xffff_ffff, word >> 32 & 0xf);
        let head = if matches!(state, PAD | LOST) { 16 } else { 32 };
        frames.push(Decoded {
            position,
            state,
            slot: (word >> 36 & 0xfff) as u16,
            timestamp_ns: u64_at(data, at + 16),
            sequence: tags & 0xffff_ffff_ffff,
            level: (tags >> 48) as u8,
            kind: (tags >> 56) as u8,
            payload: &data[at + head..][..len as usize],
        });
        position += head as u64 + len.next_multiple_of(16);
    }
    assert_eq!(position, tail);
    frames
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn an_observer_reads_version_one_as_it_is() {
    // Goal: a file of an earlier version's processes, of another boot, is readable without changing it.
    // Method: observe a copy that is write-protected; compare every record; compare the file.
    let directory = directory();
    let path = copy(directory.path(), GOLDEN);
    let Some(mut observer) = for_this_page_size(Ring::open_observer(&path)) else { return };
    let stats = observer.stats().unwrap();
    assert_eq!((stats.layout_version, stats.epoch, stats.lost_records), (1, 0, 1));
    assert!(stats.producers.iter().all(|producer| !producer.alive));
    assert_eq!(stats.consumers[0].name, NAME);
    observer.seek(Start::Oldest).unwrap();
    read_all(&mut observer);
    assert_eq!(observer.lost_records(), 1);
    assert_eq!(observer.position(), stats.tail);
    assert_eq!(fs::read(&path).unwrap(), GOLDEN);
}

fn read_all(observer: &mut Observer) {
    for (n, (slot, sequence, level, kind, payload)) in RECORDS.into_iter().enumerate() {
        let (info, found) = observer.soon();
        assert_eq!(
            (info.producer, info.sequence, info.level, info.kind),
            (slot, Some(sequence), level, kind)
        );
        assert_eq!(found, payload);
        assert!(info.timestamp_ns == Some(TIME + n as u64) || (4..7).contains(&n));
    }
    assert!(observer.try_next(&mut Vec::new()).unwrap().is_none());
}

#[test]
fn in_the_same_boot_everything_is_there() {
    // Goal: without a reboot, whoever opens the file has its records, and its names go on where they stopped.
    // Method: give a copy this boot's id; read with the name that it knows, with a new one, and write on.
    let directory = directory();
    let mut bytes = GOLDEN.to_vec();
    bytes[PAGE + 392..PAGE + 408].copy_from_slice(&this_boot());
    let path = copy(directory.path(), &bytes);
    let Some(ring) = for_this_page_size(Ring::open(&path)) else { return };
    assert_eq!(ring.stats().unwrap().epoch, 0);
    let (mut known, mut new) = (ring.consumer(NAME).unwrap(), ring.consumer("new").unwrap());
    for (n, (_, sequence, _, _, payload)) in RECORDS.into_iter().enumerate() {
        let frame = new.soon();
        assert_eq!((&frame[..], frame.sequence()), (payload, Some(sequence)));
        if n >= 2 {
            assert_eq!(&known.soon()[..], payload);
        }
    }
    assert_eq!((known.missed_bytes(), known.lost_records()), (0, 1));
    let mut producer = ring.producer().unwrap();
    producer.push(b"written on").unwrap();
    let frame = known.soon();
    assert_eq!((&frame[..], frame.sequence()), (&b"written on"[..], Some(7)));
}

#[test]
fn after_a_reboot_nothing_of_before_is_trusted() {
    // Goal: pages reach a disk in any order, so the first who opens the ring after a reboot drops its records and keeps its positions.
    // Method: open a copy of the file, which is of another boot; look for its records; write and read on.
    let Some((_directory, path, ring)) = rebooted() else { return };
    let tail = u64_at(GOLDEN, PAGE);
    let stats = ring.stats().unwrap();
    assert_eq!((stats.epoch, stats.tail, stats.oldest), (1, tail, tail));
    assert_eq!(stats.uuid[..], GOLDEN[16..32]);
    assert_eq!(fs::read(&path).unwrap()[PAGE + 392..PAGE + 408], this_boot());
    let (mut consumer, mut observer) = (ring.consumer("new").unwrap(), ring.observer().unwrap());
    observer.seek(Start::Oldest).unwrap();
    assert!(consumer.try_poll().unwrap().is_none());
    assert!(observer.try_next(&mut Vec::new()).unwrap().is_none());
    assert_eq!(ring.producer().unwrap().push(b"of this boot").unwrap(), tail);
    assert_eq!(&consumer.soon()[..], b"of this boot");
    assert_eq!(observer.soon().1, b"of this boot");
    assert_eq!(consumer.missed_bytes(), 0);
    // Whoever opens it next in this boot changes nothing.
    drop(Ring::open(&path).unwrap());
    assert_eq!(ring.stats().unwrap().epoch, 1);
}

#[test]
fn after_a_reboot_names_go_on_and_know_what_they_missed() {
    // Goal: a name of before the reboot gets every record of after it, and counts what it had not read.
    // Method: the name in the golden file, which had read two records; its room is given back, so that producers lap.
    let Some((_directory, _, ring)) = rebooted() else { return };
    let mut producer = ring.producer().unwrap();
    producer.push(b"of this boot").unwrap();
    let mut consumer = ring.consumer(NAME).unwrap();
    let first = consumer.poll_timeout(Duration::from_secs(2)).unwrap().map(|frame| frame.to_vec());
    assert_eq!(first.as_deref(), Some(&b"of this boot"[..]), "it stays at {}", consumer.position());
    assert_eq!(consumer.missed_bytes(), u64_at(GOLDEN, PAGE) - u64_at(GOLDEN, 3 * PAGE + 8));
    for n in 0..100u8 {
        producer.try_push(&[n; 100]).unwrap();
        assert_eq!(&consumer.soon()[..], [n; 100]);
    }
}

#[test]
fn after_a_reboot_places_of_before_are_gone_for_every_reader() {
    // Goal: a position of before the reboot leads to the oldest record of after it. Method: seek there with both kinds of reader.
    let Some((_directory, _, ring)) = rebooted() else { return };
    let tail = u64_at(GOLDEN, PAGE);
    let (mut consumer, mut observer) = (ring.consumer("new").unwrap(), ring.observer().unwrap());
    ring.producer().unwrap().push(b"of this boot").unwrap();
    for place in [0, u64_at(GOLDEN, 3 * PAGE + 8)] {
        consumer.seek(Start::At(place)).unwrap();
        assert_eq!(&consumer.soon()[..], b"of this boot");
        observer.seek(Start::At(place)).unwrap();
        let mut payload = vec![];
        match observer.next_timeout(&mut payload, Duration::from_secs(2)) {
            Err(PollError::Lapped { resumed_at, .. }) => assert_eq!(resumed_at, tail),
            Ok(Some(_)) => assert_eq!(payload, b"of this boot"),
            other => panic!("{other:?}: the observer stays at {}", observer.position()),
        }
    }
}

/// A copy of the file, opened in this boot, which is not the one that it is of.
fn rebooted() -> Option<(TempDir, PathBuf, Ring)> {
    let directory = directory();
    let path = copy(directory.path(), GOLDEN);
    let ring = for_this_page_size(Ring::open(&path))?;
    Some((directory, path, ring))
}

/// A copy of a golden file.
fn copy(directory: &Path, bytes: &[u8]) -> PathBuf {
    let path = directory.join("ring");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// The file was made for pages of 4 KiB; machines with larger ones refuse it.
fn for_this_page_size<T>(opened: Result<T, Error>) -> Option<T> {
    match opened {
        Err(Error::Unsupported { reason, .. }) => {
            println!("SKIPPED: {reason}");
            None
        }
        other => Some(other.unwrap()),
    }
}

/// As two words stand in the file: the first eight bytes of the id, read as a number, in little-endian.
fn this_boot() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let id = u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap();
    let halves = [(id >> 64) as u64, id as u64].map(u64::to_le_bytes);
    halves.concat().try_into().unwrap()
}
