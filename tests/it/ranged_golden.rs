//! Ranged, golden: files of layout version 1, made once, which every later version must read, byte by byte as the format document says.
//!
//! `golden/ranged_v1.bin`, and `golden/ranged_sealed_v1.bin`, which was filled and sealed, were made by the role `ranged_golden::make` below:
//! `SHM_RING_TEST_ROLE=ranged_golden::make SHM_RING_TEST_path=ranged_v1.bin cargo test -p tests child::entry -- --ignored`
//!
//! The decoder here knows the document only, not the library.

#![allow(clippy::single_range_in_vec_init, reason = "runs are compared with lists of runs")]

use crate::harness::{Script, alone, directory};
use crate::records::{crc32c, record};
use shm_ring::{Alignment, Error, RangedFile, RangedOptions};
use std::fs;
use std::path::{Path, PathBuf};

const OPEN: &[u8] = include_bytes!("golden/ranged_v1.bin");
const SEALED: &[u8] = include_bytes!("golden/ranged_sealed_v1.bin");
const PAGE: usize = 4096;
const SIZE: u64 = 4500;
/// Where the tables and the data begin.
const FREE: usize = 2 * PAGE;
const WRITTEN: usize = 3 * PAGE;
const DURABLE: usize = 4 * PAGE;
const DATA: usize = 6 * PAGE;
/// No machine's.
const BOOT: [u8; 16] = *b"no boot has this";

/// What was handed out, in order: first unit, units, record's length, and how it ended.
const RANGES: [(u64, u64, usize, End); 6] = [
    (0, 2, 100, End::Durable),
    (2, 31, 1984, End::Written),
    (33, 1, 1, End::Freed),
    (34, 3, 192, End::Leaked),
    (37, 28, 1750, End::Durable),
    (65, 1, 64, End::Freed),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Written,
    Durable,
    Freed,
    Leaked,
}

/// The bits of units that ended so.
fn units(of: impl Fn(End) -> bool) -> u128 {
    let ones = |first: u64, n: u64| ((1u128 << n) - 1) << first;
    RANGES.iter().filter(|(.., end)| of(*end)).map(|(first, n, ..)| ones(*first, *n)).sum()
}

pub(crate) fn make() {
    let path = Script::path();
    let file = RangedOptions::new().alignment(Alignment::Line).create(&path, SIZE).unwrap();
    for (n, (first, units, len, end)) in (0..).zip(RANGES) {
        let range = file.allocate(len as u64).unwrap();
        assert_eq!((range.start(), range.len().div_ceil(64)), (first * 64, units));
        if end == End::Leaked {
            std::mem::forget(range);
            continue;
        }
        let receipt = file.write(range, &record(5, n, len)).unwrap();
        match end {
            End::Durable => file.flush(&receipt).unwrap(),
            End::Freed => file.free(receipt).unwrap(),
            End::Written | End::Leaked => {}
        }
    }
    let foreign = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[PAGE + 152..PAGE + 168].copy_from_slice(&BOOT);
        bytes[PAGE + 168..PAGE + 176].copy_from_slice(&u64::to_le_bytes(4711));
        fs::write(path, bytes).unwrap();
    };
    let sealed = path.with_file_name("ranged_sealed_v1.bin");
    fs::copy(&path, &sealed).unwrap();
    foreign(&path);
    let file = RangedFile::open(&sealed).unwrap();
    while let Ok(mut range) = file.allocate_up_to(SIZE) {
        range.as_mut_slice().fill(b'.');
        drop(file.commit(range).unwrap());
    }
    file.seal().unwrap();
    foreign(&sealed);
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The first 128 bits of a table of bits.
fn bits(table: &[u8]) -> u128 {
    u128::from_le_bytes(table[..16].try_into().unwrap())
}

/// The same of the marks: the lower halves of the first four words.
fn marks(table: &[u8]) -> u128 {
    (0..4).map(|word| u128::from(u32_at(table, word * 8)) << (word * 32)).sum()
}

#[test]
fn every_byte_of_a_ranged_file_is_where_the_document_says() {
    // Goal: the format does not change without its version. Method: decode the golden files by hand, by the document's tables.
    for (golden, is_sealed) in [(OPEN, false), (SEALED, true)] {
        let header = &golden[..256];
        assert_eq!(&header[..8], b"SHMRANG\0");
        assert_eq!(u32_at(header, 8), 1);
        let zeroed = [&header[..12], &[0; 4], &header[16..]].concat();
        assert_eq!(u32_at(header, 12), crc32c(&zeroed));
        assert_eq!((header[22] >> 4, header[24] >> 6), (4, 2), "a random uuid");
        assert!(u64_at(header, 32) > 1_700_000_000_000_000_000);
        assert_eq!([40, 44].map(|at| u32_at(header, at)), [4096, 64]);
        let [live, table, tables, data, size] = [48, 56, 64, 72, 80].map(|at| u64_at(header, at) as usize);
        assert_eq!((live, table, tables, data, size), (PAGE, FREE, 4 * PAGE, DATA, SIZE as usize));
        assert!(golden[88..PAGE].iter().all(|byte| *byte == 0), "reserved, and the rest of the page");
        assert_eq!(golden.len(), DATA + 2 * PAGE);

        let live = &golden[PAGE..2 * PAGE];
        let n_units = SIZE.div_ceil(64);
        let all = (1u128 << n_units) - 1;
        assert_eq!(u64_at(live, 0), if is_sealed { n_units * 64 } else { 66 * 64 }, "next");
        assert_eq!([128, 144].map(|at| u64_at(live, at)), [0, 0]);
        assert!(u64_at(live, 136) >= 2, "a generation for each free");
        assert_eq!((&live[152..168], u64_at(live, 168)), (&BOOT[..], 4711));
        assert!(live[176..256].iter().all(|byte| *byte == 0));
        let [state, sealed_len, data_crc, seal_crc] = [256, 264, 272, 280].map(|at| u64_at(live, at));
        if is_sealed {
            assert_eq!((state, sealed_len), (u64::from_le_bytes(*b"SEALED\0\0"), SIZE));
            assert_eq!(data_crc, u64::from(crc32c(&golden[DATA..DATA + SIZE as usize])));
            assert_eq!(seal_crc, u64::from(crc32c(&[&header[16..32], &live[264..280]].concat())));
        } else {
            assert_eq!([state, sealed_len, data_crc, seal_crc], [0; 4]);
        }
        assert_eq!(
            (u64_at(live, 384), u64_at(live, 392)),
            (if is_sealed { 0 } else { 2 }, 0),
            "free units, failed"
        );
        assert!(live[288..384].iter().chain(&live[400..]).all(|byte| *byte == 0));

        let [free, written, durable] = [FREE, WRITTEN, DURABLE].map(|at| &golden[at..]);
        if is_sealed {
            assert_eq!((bits(free), bits(written), marks(durable)), (0, all, all));
        } else {
            assert_eq!(bits(free), units(|end| end == End::Freed));
            assert_eq!(bits(written), units(|end| matches!(end, End::Written | End::Durable)));
            assert_eq!(marks(durable), units(|end| end == End::Durable));
        }
        for (table, bytes) in [(FREE, 16), (WRITTEN, 16), (DURABLE, 32)] {
            assert!(
                golden[table + bytes..table + PAGE].iter().all(|byte| *byte == 0),
                "behind the last unit"
            );
        }
        assert!(golden[DURABLE + PAGE..DATA].iter().all(|byte| *byte == 0), "the marks' second page");
        for (n, (first, _, len, end)) in (0..).zip(RANGES) {
            if matches!(end, End::Written | End::Durable) {
                assert_eq!(golden[DATA + first as usize * 64..][..len], record(5, n, len));
            }
        }
        assert!(golden[DATA + SIZE as usize..].iter().all(|byte| *byte == 0), "behind the data");
    }
}

#[test]
fn a_ranged_file_that_is_made_now_has_the_golden_bytes() {
    // Goal: the library writes what the document says, in the same places as ever. Method: make the golden files again, compare all but
    // name, time and the checksums over them.
    let directory = directory();
    let path = directory.path().join("ranged_v1.bin");
    alone("ranged_golden::make", &[("path", &path.display())]);
    for (name, golden) in [("ranged_v1.bin", OPEN), ("ranged_sealed_v1.bin", SEALED)] {
        let made = fs::read(directory.path().join(name)).unwrap();
        if u32_at(&made, 40) != u32_at(golden, 40) {
            println!("SKIPPED: this machine has other pages");
            return;
        }
        let differ: Vec<usize> = (0..golden.len()).filter(|at| made.get(*at) != golden.get(*at)).collect();
        let may = |at: &usize| (12..40).contains(at) || (PAGE + 280..PAGE + 288).contains(at);
        assert!(made.len() == golden.len() && differ.iter().all(may), "{name} differs at {differ:?}");
    }
}

/// A copy of a golden file, and what opening it brings; none on a machine with other pages.
fn open(bytes: &[u8]) -> Option<(tempfile::TempDir, PathBuf, Result<RangedFile, Error>)> {
    let directory = directory();
    let path = directory.path().join("file");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    match RangedFile::open(&path) {
        Err(Error::Unsupported { reason, .. }) => {
            println!("SKIPPED: {reason}");
            None
        }
        other => Some((directory, path, other)),
    }
}

#[test]
fn a_golden_ranged_file_is_what_it_was() {
    // Goal: files of version 1 stay readable; this one is of another boot, so that what is durable is there, and the rest is free.
    // Method: open both golden files.
    let Some((_directory, _, file)) = open(OPEN) else { return };
    let file = file.unwrap();
    assert_eq!((file.size(), file.alignment(), file.next_position()), (SIZE, Alignment::Line, 66 * 64));
    assert_eq!(file.written().unwrap().collect::<Vec<_>>(), [0..128, 37 * 64..65 * 64]);
    assert_eq!(file.remaining(), SIZE - 30 * 64);
    for (n, (first, _, len, end)) in (0..).zip(RANGES) {
        let mut bytes = vec![0; len];
        let found = file.read_at(first * 64, &mut bytes);
        assert_eq!(found.is_ok(), end == End::Durable);
        assert!(found.is_err() || bytes == record(5, n, len));
    }
    let Some((_directory, path, file)) = open(SEALED) else { return };
    assert!(matches!(file, Err(Error::Sealed { .. })));
    let stats = RangedFile::inspect(&path).unwrap();
    assert_eq!((stats.is_sealed, stats.written_bytes, stats.durable_bytes), (true, SIZE, SIZE));
    assert_eq!((stats.uuid[..] == SEALED[16..32], stats.writer_pid, stats.has_writers), (true, 4711, false));
}
