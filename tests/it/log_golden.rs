//! Log, golden: a log of version 1, made once, which every later version must read, byte by byte as the format document says.
//!
//! `golden/log_v1/` was made by the role `log_golden::make` below, in an empty folder:
//! `SHM_RING_TEST_ROLE=log_golden::make SHM_RING_TEST_path=log_v1 cargo test -p tests child::entry -- --ignored`
//! The zeros at the end of a segment are left out.
//!
//! The decoder here knows the document only, not the library.

use crate::harness::{Script, directory};
use crate::records::crc32c;
use shm_ring::{DryRun, Log, LogItem, LogOptions, LogReader, LogStart};
use std::fs;
use std::path::Path;

const CURRENT: &[u8] = include_bytes!("golden/log_v1/CURRENT");
const MANIFEST: &[u8] = include_bytes!("golden/log_v1/MANIFEST-00000001");
const FULL: &[u8] = include_bytes!("golden/log_v1/00000000000000000001.seg");
const LAST: &[u8] = include_bytes!("golden/log_v1/00000000000000000002.seg");
const PREPARED: &[u8] = include_bytes!("golden/log_v1/00000000000000000003.seg");
const CURSOR: &[u8] = include_bytes!("golden/log_v1/cursor-reader");
const PAGE: usize = 4096;
const DATA: usize = 3 * PAGE;
const SEGMENT_BYTES: u64 = 64 << 10;
/// No machine's.
const BOOT: [u8; 16] = *b"no boot has this";
/// Timestamp, level, kind, payload: what is in the log.
type Expected = (u64, u8, u8, Vec<u8>);

fn expected() -> Vec<Expected> {
    let mut records = vec![(1000, 255, 0, b"hello".to_vec()), (3000, 3, 7, b"an error, of kind 7".to_vec())];
    records.extend((0..5).map(|n| (2000 + n, 255, 0, vec![0; 16_000])));
    records.push((5000, 255, 0, b"last".to_vec()));
    records
}

pub(crate) fn make() {
    let path = Script::path();
    let mut log = LogOptions::new().segment_bytes(SEGMENT_BYTES).create(&path).unwrap();
    for (timestamp_ns, level, kind, payload) in expected() {
        let _ = log.append_tagged(timestamp_ns, level, kind, &payload).unwrap();
    }
    let mut reader = LogReader::open(&path).unwrap();
    reader.seek(LogStart::Oldest).unwrap();
    assert!(matches!(reader.next(), Ok(Some(LogItem::Record(_)))));
    reader.save_cursor("reader").unwrap();
    drop(reader);
    log.close().unwrap();
    for entry in fs::read_dir(&path).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "seg") {
            let mut bytes = fs::read(&path).unwrap();
            bytes[PAGE + 136..PAGE + 152].copy_from_slice(&BOOT);
            if u64_at(&bytes, PAGE + 256) != 0 {
                bytes[PAGE + 152..PAGE + 160].copy_from_slice(&u64::to_le_bytes(4711));
            }
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            fs::write(&path, &bytes[..end]).unwrap();
        }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A segment with the zeros that were left out.
fn whole(golden: &[u8]) -> Vec<u8> {
    let mut bytes = golden.to_vec();
    bytes.resize(DATA + SEGMENT_BYTES as usize, 0);
    bytes
}

/// The log as it was made.
fn unpack(path: &Path) {
    fs::create_dir(path).unwrap();
    let files: [(&str, &[u8]); 7] = [
        ("LOCK", &[]),
        ("CURRENT", CURRENT),
        ("MANIFEST-00000001", MANIFEST),
        ("00000000000000000001.seg", &whole(FULL)),
        ("00000000000000000002.seg", &whole(LAST)),
        ("00000000000000000003.seg", &whole(PREPARED)),
        ("cursor-reader", CURSOR),
    ];
    for (name, bytes) in files {
        fs::write(path.join(name), bytes).unwrap();
        let mut permissions = fs::metadata(path.join(name)).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        fs::set_permissions(path.join(name), permissions).unwrap();
    }
}

fn records(path: &Path) -> Vec<Expected> {
    let mut reader = LogReader::open(path).unwrap();
    reader.seek(LogStart::Oldest).unwrap();
    let mut records = vec![];
    while let Some(item) = reader.next().unwrap() {
        let LogItem::Record(record) = item else { panic!("{item:?}") };
        records.push((record.timestamp_ns(), record.level(), record.kind(), record.to_vec()));
    }
    records
}

/// The crc32c of what begins with `seed` and goes on with `bytes`: of one string, since the checksums are those of strings.
fn seeded(seed: &[u8], bytes: &[u8]) -> u32 {
    crc32c(&[seed, bytes].concat())
}

#[test]
fn every_byte_of_a_segment_is_where_the_document_says() {
    // Goal: the format does not change without its version. Method: decode the golden segments by hand, by the document's tables.
    let mut found = vec![];
    let mut position = 0;
    for (number, golden, is_sealed) in [(1, whole(FULL), true), (2, whole(LAST), false)] {
        let header = &golden[..256];
        assert_eq!(&header[..8], b"SHMLOGS\0");
        assert_eq!(u32_at(header, 8), 1);
        let zeroed = [&header[..12], &[0; 4], &header[16..]].concat();
        assert_eq!(u32_at(header, 12), crc32c(&zeroed));
        let uuid: [u8; 16] = header[16..32].try_into().unwrap();
        assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (4, 2), "a random uuid");
        assert_eq!((u32_at(header, 40), u32_at(header, 44)), (PAGE as u32, 65536));
        assert_eq!(header[48..64], CURSOR[16..32], "the log's uuid");
        let words = [64, 72, 80, 88].map(|at| u64_at(header, at));
        assert_eq!(words, [number, 2 * PAGE as u64, DATA as u64, SEGMENT_BYTES]);
        assert!(golden[96..PAGE].iter().all(|byte| *byte == 0));

        let live = &golden[PAGE..2 * PAGE];
        let (base, end) = (position, u64_at(live, 0));
        assert_eq!(live[136..152], BOOT);
        assert_eq!((u64_at(live, 152), u64_at(live, 264)), (4711, base));
        assert_eq!(u64_at(live, 272), 1, "entries of the index");
        let entry = [u64_at(&golden, 2 * PAGE), u64_at(&golden, 2 * PAGE + 8)];
        assert_eq!(entry, [0, base]);
        while position < end {
            let at = DATA + (position - base) as usize;
            let (w0, w1) = (u64_at(&golden, at), u64_at(&golden, at + 8));
            let length = (w0 & 0xffff_ffff) as usize;
            assert_eq!(((w0 >> 32) & 0xf, (w0 >> 36) & 0xfff, w0 >> 48), (2, 0, (position / 16) & 0xffff));
            let (timestamp_ns, tags) = (u64_at(&golden, at + 16), u64_at(&golden, at + 24));
            let payload = &golden[at + 32..at + 32 + length];
            let covered =
                [&position.to_le_bytes(), &golden[at..at + 8], &golden[at + 16..at + 32], payload].concat();
            assert_eq!(w1 as u32, seeded(&uuid, &covered));
            assert_eq!((w1 >> 32) as u32, u32_at(&uuid, 0) ^ (position / 16) as u32);
            assert_eq!(tags & 0xffff_ffff_ffff, found.len() as u64, "the sequence");
            found.push((timestamp_ns, (tags >> 48) as u8, (tags >> 56) as u8, payload.to_vec()));
            position += (32 + length).next_multiple_of(16) as u64;
        }
        assert_eq!(position, end);
        let state = if is_sealed { b"SEALED\0\0" } else { b"ACTIVE\0\0" };
        assert_eq!(&live[256..264], state);
        if is_sealed {
            assert_eq!([280, 288, 296, 304].map(|at| u64_at(live, at)), [end, 6, 1000, 3000]);
            let index_crc = crc32c(&golden[2 * PAGE..2 * PAGE + 16]);
            assert_eq!(u64_at(live, 312), u64::from(index_crc));
            let words = [264, 280, 272, 288, 296, 304].map(|at| &live[at..at + 8]).concat();
            let covered = [&words[..], &index_crc.to_le_bytes()].concat();
            assert_eq!(u64_at(live, 320), u64::from(seeded(&uuid, &covered)));
        }
    }
    assert_eq!(found, expected());
}

#[test]
fn every_record_of_a_manifest_is_where_the_document_says() {
    // Goal and method as above, for the manifest, the name that it goes by, and a cursor.
    assert_eq!(CURRENT, b"MANIFEST-00000001\n");
    let (mut at, mut kinds) = (0, vec![]);
    while at < MANIFEST.len() {
        let length = u32_at(MANIFEST, at) as usize;
        let body = &MANIFEST[at + 8..at + 8 + length];
        let seed = [1, at as u64, length as u64].map(u64::to_le_bytes).concat();
        assert_eq!(u32_at(MANIFEST, at + 4), seeded(&seed, body));
        assert!(length.is_multiple_of(8));
        kinds.push(u64_at(body, 0));
        match u64_at(body, 0) {
            1 => {
                assert_eq!((u64_at(body, 8), &body[16..32]), (1, &CURSOR[16..32]));
                // Closed end: none; floor; entries.
                assert_eq!((u64_at(body, 40), u64_at(body, 48)), (u64::MAX, 0));
            }
            2 => {
                let golden = [FULL, LAST, PREPARED][u64_at(body, 8) as usize - 1];
                assert_eq!((&golden[16..32], u64_at(golden, 64)), (&body[16..32], u64_at(body, 8)));
                if u64_at(body, 8) == 3 {
                    let live = &whole(golden)[PAGE..];
                    assert!(
                        live[..136].iter().chain(&live[152..]).all(|byte| *byte == 0)
                            && live[136..152] == BOOT
                    );
                }
                assert_eq!(u64_at(body, 32), SEGMENT_BYTES);
            }
            3 => {
                let live = &FULL[PAGE..];
                let words = [264, 280, 272, 288, 296, 304, 312].map(|at| u64_at(live, at));
                assert_eq!(
                    (u64_at(body, 8), [16, 24, 32, 40, 48, 56, 64].map(|at| u64_at(body, at))),
                    (1, words)
                );
                assert_eq!(u64_at(body, 72), 0, "nothing was lost");
            }
            7 => assert_eq!(u64_at(body, 8), u64_at(LAST, PAGE)),
            kind => panic!("{kind}"),
        }
        at += 8 + length;
    }
    assert_eq!((kinds[0], kinds.last()), (1, Some(&7)));
    assert!(kinds.contains(&2) && kinds.contains(&3));

    assert_eq!((CURSOR.len(), &CURSOR[..8], u32_at(CURSOR, 8)), (48, &b"SHMLOGC\0"[..], 1));
    assert_eq!(u32_at(CURSOR, 12), crc32c(&[&CURSOR[..12], &CURSOR[16..]].concat()));
    assert_eq!(u64_at(CURSOR, 32), 48, "behind the first record");
}

#[test]
fn a_log_of_version_1_is_read_and_gone_on_with() {
    // Goal: what was recorded with any version stays readable, and can be gone on with. Method: the golden log, of another boot.
    let directory = directory();
    let path = directory.path().join("log");
    unpack(&path);
    assert_eq!(records(&path), expected());
    assert!(Log::verify(&path, |_| {}).unwrap().is_clean());
    let mut reader = LogReader::open(&path).unwrap();
    assert_eq!(reader.seek_cursor("reader").unwrap(), 48);
    assert_eq!(Log::repair(&path, DryRun::Yes).unwrap().mended, []);
    let mut log = LogOptions::new().segment_bytes(SEGMENT_BYTES).open(&path).unwrap();
    assert_eq!((log.recovery().lost_bytes, log.recovery().was_cut_short), (0, false));
    let _ = log.append_at(6000, b"more").unwrap();
    drop(log);
    let mut all = expected();
    all.push((6000, 255, 0, b"more".to_vec()));
    assert_eq!(records(&path), all);
}
