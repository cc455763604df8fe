//! Ranged: ranges of a file are one owner's each, become receipts when they are written, and come back when they are dropped or freed.

#![allow(clippy::single_range_in_vec_init, reason = "runs are compared with lists of runs")]

use crate::harness::{PREFIX, Script, alone, directory, fork, leave, say};
use crate::records::{check_bytes, fill, mix, record};
use shm_ring::{
    Alignment, AllocateError, Error, Range, RangeError, RangedFile, RangedOptions, Receipt, Refused, Split,
};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const ALIGNMENTS: [Alignment; 3] = [Alignment::Byte, Alignment::Line, Alignment::Page];

fn new_file(alignment: Alignment, size_bytes: u64) -> (TempDir, RangedFile) {
    let directory = directory();
    let options = RangedOptions::new().alignment(alignment);
    let file = options.create(directory.path().join("file"), size_bytes).unwrap();
    (directory, file)
}

/// Everything that nobody has, in ranges of at most so many bytes.
fn drain(file: &RangedFile, len: u64) -> Vec<Range> {
    let mut ranges = vec![];
    loop {
        match file.allocate_up_to(len) {
            Ok(range) => ranges.push(range),
            Err(AllocateError::Full { .. }) => return ranges,
            Err(error) => panic!("{error}"),
        }
    }
}

fn written(file: &RangedFile) -> Vec<std::ops::Range<u64>> {
    file.written().unwrap().collect()
}

fn missing(file: &RangedFile) -> Vec<std::ops::Range<u64>> {
    file.missing().unwrap().collect()
}

#[test]
fn a_new_file_has_the_size_that_was_asked_for_and_replaces_nothing() {
    // Goal: R01: exact sizes, all of it allocated; no bytes at all and more than any file are `Invalid`; a file that is there stays as it
    // is, where the seed truncates it under its users. Method: sizes at the edges, with every alignment.
    let directory = directory();
    for alignment in ALIGNMENTS {
        let options = RangedOptions::new().alignment(alignment).mode(0o640);
        for size in [1, 63, 64, 65, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1] {
            let path = directory.path().join(format!("{alignment:?} {size}"));
            let file = options.create(&path, size).unwrap();
            assert_eq!((file.size(), file.remaining(), file.next_position()), (size, size, 0));
            assert_eq!((file.alignment(), file.path()), (alignment, path.as_path()));
            assert_eq!(missing(&file), [0..size]);
            let found = std::fs::metadata(&path).unwrap();
            assert!(found.blocks() * 512 >= found.len(), "it has holes");
            assert_eq!((found.len() % 4096, found.mode() & 0o7777), (0, 0o640));
            let whole = drain(&file, u64::MAX);
            assert_eq!(whole.iter().map(Range::as_range).collect::<Vec<_>>(), [0..size]);
        }
        for size in [0, u64::MAX, i64::MAX as u64] {
            let path = directory.path().join("impossible");
            let error = options.create(&path, size).unwrap_err();
            assert!(matches!(error, Error::Invalid { option: "size", .. }), "{size}: {error}");
            assert!(!path.exists());
        }
    }
    let path = directory.path().join("somebody's");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(RangedOptions::new().create(&path, 100), Err(Error::AlreadyExists { .. })));
    let error = RangedFile::open(&path).unwrap_err();
    assert!(matches!(error, Error::OtherKind { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert!(matches!(RangedFile::open(directory.path().join("none")), Err(Error::NotFound { .. })));
}

#[test]
fn an_opened_file_goes_on_where_it_was() {
    // Goal: R02, and defect 3: what was written is never handed out again, neither by another opening of a file that is in use nor by one
    // of tomorrow; a second opening sees what the first one does. Method: two openings at once, then a third one alone.
    let (_directory, one) = new_file(Alignment::Line, 10_000);
    let receipt = one.write(one.allocate(100).unwrap(), &[1; 100]).unwrap();
    let held = one.allocate(100).unwrap();
    let other = RangedFile::open(one.path()).unwrap();
    assert_eq!((other.size(), other.alignment(), other.next_position()), (10_000, Alignment::Line, 256));
    assert_eq!(other.remaining(), 10_000 - 256);
    let second = other.write(other.allocate(64).unwrap(), &[2; 64]).unwrap();
    assert_eq!((receipt.as_range(), held.as_range(), second.as_range()), (0..100, 128..228, 256..320));
    assert_eq!([written(&one), written(&other)], [[0..128, 256..320], [0..128, 256..320]]);
    let mut bytes = [0; 64];
    one.read_at(256, &mut bytes).unwrap();
    assert_eq!(bytes, [2; 64]);
    let path = one.path().to_path_buf();
    // Both are gone, and one of them forgot a range.
    std::mem::forget(held);
    drop((receipt, second));
    let leaked = one;
    drop(other);
    drop(leaked);
    let third = RangedFile::open(&path).unwrap();
    assert_eq!(written(&third), [0..128, 256..320]);
    // The leak of this process keeps its opening, and with it the file's byte: nothing comes back before it is over.
    let ranges = drain(&third, 64);
    assert_eq!(ranges[0].start(), 320);
    assert!(ranges.iter().all(|range| range.start() >= 320));
}

#[test]
fn remaining_size_and_next_position_add_up() {
    // Goal: R04: the numbers are what is there, also where the last unit is cut off. Method: random sizes and requests, by hand.
    for (n, alignment) in (0..60).flat_map(|n| ALIGNMENTS.map(|alignment| (n, alignment))) {
        let size = mix(n) % 20_000 + 1;
        let (_directory, file) = new_file(alignment, size);
        let unit = alignment.bytes();
        let mut position = 0;
        let mut ranges = vec![];
        for request in 0.. {
            let len = mix(n << 8 | request) % 3000 + 1;
            assert_eq!((file.next_position(), file.remaining()), (position, size - position));
            match file.allocate(len) {
                Ok(range) => {
                    assert_eq!(range.as_range(), position..position + len);
                    position = (range.end().next_multiple_of(unit)).min(size);
                    ranges.push(range);
                }
                Err(AllocateError::Full { needed_bytes, free_bytes }) => {
                    assert_eq!(needed_bytes, len);
                    assert!(size - position < len && free_bytes == size - position, "{free_bytes}");
                    break;
                }
                Err(AllocateError::TooLong { len_bytes, size_bytes }) => {
                    assert_eq!((len_bytes, size_bytes), (len, size));
                    assert!(len > size);
                }
                Err(error) => panic!("{error}"),
            }
        }
        // What an attempt took because the file ends in its middle is free.
        assert_eq!(file.remaining(), size - position);
        drop(ranges);
        assert_eq!(file.remaining(), size);
        assert_eq!(file.allocate(size).unwrap().as_range(), 0..size, "all of it is one run again");
    }
}

#[test]
fn impossible_requests_are_refused_and_change_nothing() {
    // Goal: defect 6: no arithmetic wraps. Method: lengths around the size and around 2^64.
    let (_directory, file) = new_file(Alignment::Byte, 1000);
    let first = file.allocate(10).unwrap();
    for len in [u64::MAX, u64::MAX - 5, 1 << 63, 1001] {
        assert_eq!(
            file.allocate(len).unwrap_err(),
            AllocateError::TooLong { len_bytes: len, size_bytes: 1000 }
        );
    }
    assert_eq!(file.allocate(1000).unwrap_err(), AllocateError::Full { needed_bytes: 1000, free_bytes: 990 });
    assert_eq!(file.allocate(0).unwrap_err(), AllocateError::Empty);
    assert_eq!(file.allocate_up_to(0).unwrap_err(), AllocateError::Empty);
    assert_eq!(file.allocate(5).unwrap().as_range(), 10..15);
    assert_eq!(first.as_range(), 0..10);
}

#[test]
fn a_range_is_its_offsets_and_nothing_more() {
    // Goal: R05: what a range says of itself; the numbers that come out give no way back. Method: each of the calls, of both kinds.
    let (_directory, file) = new_file(Alignment::Line, 1000);
    let mut range = file.allocate(100).unwrap();
    assert_eq!((range.start(), range.end(), range.len()), (0, 100, 100));
    assert_eq!(std::ops::Range::from(&range), 0..100);
    assert_eq!(range.as_mut_slice().len(), 100);
    let receipt = file.commit(range).unwrap();
    assert_eq!((receipt.start(), receipt.end(), receipt.len()), (0, 100, 100));
    assert_eq!(std::ops::Range::from(&receipt), 0..100);
    assert_eq!(receipt.bytes().len(), 100);
}

#[test]
fn a_write_of_another_length_is_refused_and_the_range_comes_back() {
    // Goal: R06, R07, and defect 1: shorter and longer data is `WrongLength` in every build, no neighbour's byte changes, the range can be
    // used still. Method: lengths around the range's, neighbours on both sides.
    let (_directory, file) = new_file(Alignment::Byte, 3 * 4096);
    let below = file.write(file.allocate(4096).unwrap(), &[1; 4096]).unwrap();
    let mut range = file.allocate(4096).unwrap();
    let above = file.write(file.allocate(4096).unwrap(), &[3; 4096]).unwrap();
    for len in [0, 1, 4095, 4097, 6000, 9000] {
        let refused = file.write(range, &vec![9; len]).unwrap_err();
        let expected = RangeError::WrongLength { expected_bytes: 4096, found_bytes: len as u64 };
        assert_eq!(refused.error, expected);
        assert_eq!(refused.to_string(), expected.to_string());
        range = refused.item;
    }
    assert_eq!(written(&file), [0..4096, 8192..12_288]);
    let receipt = file.write(range, &[2; 4096]).unwrap();
    for (receipt, byte) in [(&below, 1), (&receipt, 2), (&above, 3)] {
        assert!(receipt.bytes().iter().all(|found| *found == byte));
    }
}

#[test]
fn reading_needs_a_buffer_that_is_long_enough() {
    // Goal: R08: shorter is an error, longer is left alone behind the end. Method: both, and in place.
    let (_directory, file) = new_file(Alignment::Line, 1000);
    let receipt = file.write(file.allocate(100).unwrap(), &record(1, 2, 100)).unwrap();
    for len in [0, 99] {
        let short = RangeError::ShortBuffer { needed_bytes: 100, found_bytes: len };
        assert_eq!(file.read(&receipt, &mut vec![0; len as usize]), Err(short));
    }
    for len in [100, 101, 300] {
        let mut buffer = vec![0xee; len];
        assert_eq!(file.read(&receipt, &mut buffer), Ok(100));
        check_bytes(&buffer[..100], 1, 2);
        assert!(buffer[100..].iter().all(|byte| *byte == 0xee));
    }
    check_bytes(receipt.bytes(), 1, 2);
}

#[test]
fn only_what_is_written_is_read_by_its_place() {
    // Goal: bytes of others are read where they are written, and nowhere else; bounds don't wrap. Method: places around a written range.
    let (_directory, file) = new_file(Alignment::Line, 1000);
    let held = file.allocate(64).unwrap();
    let receipt = file.write(file.allocate(128).unwrap(), &record(1, 2, 128)).unwrap();
    let whole = record(1, 2, 128);
    for (start, len) in [(64, 128), (64, 1), (191, 1), (100, 50), (192, 0), (0, 0), (1000, 0)] {
        let mut buffer = vec![0; len];
        assert_eq!(file.read_at(start, &mut buffer), Ok(()));
        assert_eq!(buffer, if len == 0 { &[] } else { &whole[start as usize - 64..][..len] });
    }
    for (start, len) in [(0, 64), (63, 2), (191, 2), (64, 129), (999, 1)] {
        assert_eq!(file.read_at(start, &mut vec![0; len]), Err(RangeError::NotWritten), "{start} {len}");
    }
    for (start, len) in [(1000, 1), (0, 1001), (u64::MAX, 2), (u64::MAX - 1, 0)] {
        let found = file.read_at(start, &mut vec![0; len]).unwrap_err();
        assert!(matches!(found, RangeError::OutOfBounds { size_bytes: 1000, .. }), "{start} {len}: {found}");
    }
    file.free(receipt).unwrap();
    assert_eq!(file.read_at(64, &mut [0; 1]), Err(RangeError::NotWritten));
    drop(held);
}

#[test]
fn clones_and_threads_share_a_file() {
    // Goal: R11, R13, R14, R15: handles, ranges and receipts go to any thread, with or without a runtime; nobody's bytes are another's.
    // Method: four threads on clones fill the file, in place and by copy, and free a third; all is checked by the others.
    fn can_be_sent<T: Send + Sync + 'static>() {}
    can_be_sent::<RangedFile>();
    can_be_sent::<Range>();
    can_be_sent::<Receipt>();
    can_be_sent::<Refused<Range>>();
    let (_directory, file) = new_file(Alignment::Line, 1 << 20);
    let threads = [0, 1, 2, 3].map(|thread| {
        let file = file.clone();
        std::thread::spawn(move || fill_up(&file, thread))
    });
    let all = threads.map(|thread| thread.join().unwrap());
    let mut seen = BTreeMap::new();
    for (thread, receipts) in (0..).zip(&all) {
        for (n, receipt) in receipts {
            check_bytes(receipt.bytes(), thread, *n);
            assert!(seen.insert(receipt.start(), receipt.end()).is_none());
        }
    }
    assert!(seen.values().zip(seen.keys().skip(1)).all(|(end, next)| end <= next), "they overlap");
    assert!(all.iter().all(|receipts| receipts.len() > 10), "one did it all");
    assert_eq!(file.remaining(), missing(&file).iter().map(|gap| gap.end - gap.start).sum::<u64>());
}

/// Writes what this thread gets until nothing is left; what it kept, by number.
fn fill_up(file: &RangedFile, thread: u64) -> Vec<(u64, Receipt)> {
    let mut receipts = vec![];
    for n in 0.. {
        let len = mix(thread << 32 | n) % 700 + 1;
        let receipt = match file.allocate(len) {
            Ok(mut range) if n % 2 == 0 => {
                fill(range.as_mut_slice(), thread, n);
                file.commit(range).unwrap()
            }
            Ok(range) => file.write(range, &record(thread, n, len as usize)).unwrap(),
            Err(AllocateError::Full { .. }) if n > 50_000 || len < 64 => return receipts,
            Err(AllocateError::Full { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        check_bytes(receipt.bytes(), thread, n);
        if n % 3 == 2 {
            file.free(receipt).unwrap();
        } else {
            receipts.push((n, receipt));
        }
    }
    unreachable!("it has an end")
}

#[test]
fn every_call_of_the_seed_on_its_bytes_has_a_safe_one() {
    // Goal: R12: fill, zero, reading and writing at a place, slices and pointers, by whoever has the bytes. Method: each of them.
    let (_directory, file) = new_file(Alignment::Line, 4096);
    let mut range = file.allocate(100).unwrap();
    range.as_mut_slice().fill(7);
    range.as_mut_slice()[10..20].fill(0);
    range.as_mut_slice()[30..34].copy_from_slice(b"here");
    assert_eq!(&range.as_mut_slice()[28..36], b"\x07\x07here\x07\x07");
    let receipt = file.commit(range).unwrap();
    assert_eq!(receipt.bytes()[5..25], [[7; 5], [0; 5], [0; 5], [7; 5]].concat());
    assert_eq!(receipt.bytes().as_ptr() as usize % 64, 0);
    let mut four = [0; 4];
    file.read_at(receipt.start() + 30, &mut four).unwrap();
    assert_eq!(&four, b"here");
    file.flush(&receipt).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_range_of_another_file_is_refused_and_comes_back() {
    // Goal: defect 4: neither write nor commit nor read nor flush nor free takes what another file, or another opening, or a copy of the
    // file with the same name inside, has handed out. Method: all calls on all three.
    let directory = directory();
    let path = directory.path().join("one");
    let options = RangedOptions::new();
    let file = options.create(&path, 4096).unwrap();
    let copy = directory.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    let others = [
        options.create(directory.path().join("other"), 4096).unwrap(),
        RangedFile::open(&path).unwrap(),
        RangedFile::open(&copy).unwrap(),
    ];
    for other in others {
        let range = other.allocate(100).unwrap();
        let refused = file.write(range, &[1; 100]).unwrap_err();
        assert_eq!(refused.error, RangeError::OtherFile);
        let refused = file.commit(refused.item).unwrap_err();
        assert_eq!(refused.error, RangeError::OtherFile);
        let receipt = other.write(refused.item, &[2; 100]).unwrap();
        assert_eq!(file.read(&receipt, &mut [0; 100]), Err(RangeError::OtherFile));
        assert!(matches!(file.flush(&receipt), Err(Error::Invalid { option: "receipt", .. })));
        let refused = file.free(receipt).unwrap_err();
        assert!(matches!(refused.error, Error::Invalid { option: "receipt", .. }), "{refused}");
        assert_eq!(refused.item.bytes(), [2; 100]);
        other.free(refused.item).unwrap();
    }
}

#[test]
fn what_is_dropped_or_freed_is_handed_out_again() {
    // Goal: a dropped range, a refused one and a freed receipt come back, the first ones first; nothing else does. Method: holes of several
    // lengths, requests that fit them, exactly and in part.
    let (_directory, file) = new_file(Alignment::Line, 10 * 64);
    let mut receipts: Vec<_> =
        (0..10).map(|n| Some(file.write(file.allocate(64).unwrap(), &[n; 64]).unwrap())).collect();
    assert_eq!(file.remaining(), 0);
    assert_eq!(file.allocate(1).unwrap_err(), AllocateError::Full { needed_bytes: 1, free_bytes: 0 });
    for n in [1, 4, 5, 7, 8, 9] {
        file.free(receipts[n].take().unwrap()).unwrap();
    }
    assert_eq!(missing(&file), [64..128, 256..384, 448..640]);
    assert_eq!(file.remaining(), 6 * 64);
    let full = AllocateError::Full { needed_bytes: 4 * 64, free_bytes: 6 * 64 };
    assert_eq!(file.allocate(4 * 64).unwrap_err(), full);
    let three = file.allocate(3 * 64).unwrap();
    assert_eq!(three.as_range(), 448..640);
    let two = file.allocate(65).unwrap();
    assert_eq!(two.as_range(), 256..321);
    let one = file.allocate_up_to(1000).unwrap();
    assert_eq!(one.as_range(), 64..128);
    assert_eq!(file.remaining(), 0);
    drop(two);
    drop(file.write(three, &[]).unwrap_err());
    drop(one);
    assert_eq!(file.remaining(), 6 * 64);
    assert!(receipts.iter().flatten().all(|receipt| receipt.bytes()[0] as u64 == receipt.start() / 64));
}

#[test]
fn the_last_range_is_as_long_as_what_is_left() {
    // Goal: R18: `allocate_up_to` is clamped at the end, and fills holes from their beginning. Method: a file that is no multiple.
    for alignment in ALIGNMENTS {
        let (_directory, file) = new_file(alignment, 3 * 4096 + 1000);
        let ranges = drain(&file, 8192);
        assert_eq!(ranges.iter().map(Range::as_range).collect::<Vec<_>>(), [0..8192, 8192..3 * 4096 + 1000]);
        assert!(ranges.iter().all(|range| range.start() % alignment.bytes() == 0));
    }
}

#[test]
fn the_end_of_the_file_and_what_was_freed_before_it_are_one_run() {
    // Goal: what is free is found, whether it was ever handed out or not. Method: a hole in front of the part that never was.
    let (_directory, file) = new_file(Alignment::Line, 1024);
    let [one, two] = [512, 256].map(|len| file.allocate(len).unwrap());
    drop(two);
    assert_eq!(file.allocate(512).unwrap().as_range(), 512..1024);
    drop(one);
    assert_eq!(file.allocate(1024).unwrap().as_range(), 0..1024);
}

#[test]
fn a_last_unit_that_is_cut_off_hides_no_other() {
    // Goal: where only the cut-off unit was never handed out, a request of a whole unit gets one that is free elsewhere.
    // Method: two units, of which the second one has 36 bytes; then four.
    let (_directory, file) = new_file(Alignment::Line, 100);
    drop(file.allocate(64).unwrap());
    let whole = file.allocate(64).unwrap();
    assert_eq!(whole.as_range(), 0..64);
    assert_eq!(file.allocate(64).unwrap_err(), AllocateError::Full { needed_bytes: 64, free_bytes: 36 });
    assert_eq!((file.remaining(), file.allocate(36).unwrap().as_range()), (36, 64..100));
    // Nor does it end a run that could begin earlier.
    let (_directory, file) = new_file(Alignment::Line, 228);
    drop(file.allocate(64).unwrap());
    assert_eq!(file.allocate(192).unwrap().as_range(), 0..192);
    assert_eq!(file.allocate_up_to(192).unwrap().as_range(), 0..192);
}

#[test]
fn ranges_are_split_between_units() {
    // Goal: R19: as the table says, and the parts are as good as the whole. Method: offsets around the units and the ends.
    let (_directory, file) = new_file(Alignment::Line, 1000);
    let mut range = file.allocate(200).unwrap();
    for offset in [0, 1, 63, 65, 200, 256, u64::MAX] {
        let refused = range.split_at(offset).unwrap_err();
        assert_eq!(refused.error, RangeError::BadSplit { offset, len_bytes: 200, unit_bytes: 64 });
        range = refused.item;
    }
    #[derive(Debug, PartialEq)]
    enum Found {
        Both(std::ops::Range<u64>, std::ops::Range<u64>),
        Low,
        High,
        OutOfBounds,
    }
    let shape = |split: Split| match split {
        Split::Both { low, high } => {
            let found = Found::Both(low.as_range(), high.as_range());
            (found, vec![low, high])
        }
        Split::Low(range) => (Found::Low, vec![range]),
        Split::High(range) => (Found::High, vec![range]),
        Split::OutOfBounds(range) => (Found::OutOfBounds, vec![range]),
    };
    drop(range);
    for (offset, down, up) in [
        (0, Found::High, Found::High),
        (1, Found::High, Found::Both(0..64, 64..200)),
        (64, Found::Both(0..64, 64..200), Found::Both(0..64, 64..200)),
        (100, Found::Both(0..64, 64..200), Found::Both(0..128, 128..200)),
        (192, Found::Both(0..192, 192..200), Found::Both(0..192, 192..200)),
        (199, Found::Both(0..192, 192..200), Found::Low),
        (200, Found::Both(0..192, 192..200), Found::Low),
        (201, Found::OutOfBounds, Found::OutOfBounds),
        (u64::MAX, Found::OutOfBounds, Found::OutOfBounds),
    ] {
        let (found, ranges) = shape(file.allocate(200).unwrap().split_at_align_down(offset));
        assert_eq!(found, down, "{offset} down");
        drop(ranges);
        let (found, ranges) = shape(file.allocate(200).unwrap().split_at_align_up(offset));
        assert_eq!(found, up, "{offset} up");
        assert_eq!(file.remaining(), 1000 - 256, "{ranges:?}");
    }
    assert_eq!(file.remaining(), 1000);
    let (low, mut high) = file.allocate(200).unwrap().split_at(128).unwrap();
    drop(low);
    high.as_mut_slice().fill(9);
    let receipt = file.commit(high).unwrap();
    assert_eq!(written(&file), [128..256]);
    assert_eq!(receipt.split_at(64).unwrap().0.bytes(), [9; 64]);
}

#[test]
fn parts_of_a_receipt_are_freed_one_by_one() {
    // Goal: what is written in one piece can be freed in parts. Method: the middle one of three.
    let (_directory, file) = new_file(Alignment::Page, 5 * 4096);
    let receipt = file.write(file.allocate(3 * 4096).unwrap(), &[5; 3 * 4096]).unwrap();
    file.flush(&receipt).unwrap();
    let (low, rest) = receipt.split_at(4096).unwrap();
    let (middle, high) = rest.split_at(4096).unwrap();
    file.free(middle).unwrap();
    assert_eq!(written(&file), [0..4096, 8192..12_288]);
    assert!(low.is_durable() && high.is_durable());
    let stats = file.stats().unwrap();
    assert_eq!((stats.written_bytes, stats.durable_bytes, stats.freed_bytes), (8192, 8192, 4096));
    assert_eq!(high.bytes(), [5; 4096]);
}

#[test]
fn small_records_waste_little() {
    // Goal: 64-byte records with an alignment of 64 are at least 95 % of the file's bytes. Method: fill files of 1 MiB and more.
    for size in [1 << 20, 16 << 20] {
        let (_directory, file) = new_file(Alignment::Line, size);
        let mut payload = 0;
        while let Ok(range) = file.allocate(64) {
            drop(file.write(range, &[1; 64]).unwrap());
            payload += 64;
        }
        assert_eq!(payload, size);
        let whole = std::fs::metadata(file.path()).unwrap().len();
        assert!(payload * 100 >= whole * 95, "{payload} of {whole}");
    }
}

#[test]
fn who_is_alone_takes_over_what_others_wrote() {
    // Goal: receipts for the written bytes of the dead, once; nobody gets them while somebody else, or another handle of this process, may
    // have them. Method: `adopt` and `reclaim` in every company, then alone.
    let (_directory, one) = new_file(Alignment::Line, 1000);
    let path = one.path().to_path_buf();
    for n in [1, 2] {
        drop(one.write(one.allocate(64).unwrap(), &[n; 64]).unwrap());
    }
    drop(one);
    let mut file = RangedFile::open(&path).unwrap();
    let busy = |error: Error| assert!(matches!(error, Error::Busy { .. }), "{error}");
    let clone = file.clone();
    busy(file.adopt().unwrap_err());
    drop(clone);
    let range = file.allocate(100).unwrap();
    busy(file.reclaim().unwrap_err());
    std::mem::forget(range);
    busy(file.reclaim().unwrap_err());
    // The leak is this process's; another opening is as good as another process.
    let mut other = RangedFile::open(&path).unwrap();
    busy(other.adopt().unwrap_err());
    drop(file);
    busy(other.adopt().unwrap_err());
    let copy = path.with_extension("copy");
    std::fs::copy(&path, &copy).unwrap();
    let mut file = RangedFile::open(&copy).unwrap();
    assert_eq!(written(&file), [0..128]);
    assert_eq!((file.remaining(), file.reclaim().unwrap()), (1000 - 128, 0));
    let mut receipts = file.adopt().unwrap();
    assert_eq!(receipts.iter().map(Receipt::as_range).collect::<Vec<_>>(), [0..128]);
    busy(file.adopt().unwrap_err());
    let (first, second) = receipts.pop().unwrap().split_at(64).unwrap();
    assert_eq!(second.bytes(), [2; 64]);
    file.free(first).unwrap();
    assert_eq!(file.allocate_up_to(1000).unwrap().start(), 256);
    assert_eq!(missing(&file), [0..64, 128..1000]);
    drop(second);
    assert_eq!(file.adopt().unwrap().len(), 1, "nobody has it any more");
}

#[test]
fn writing_makes_no_system_call() {
    // Goal: R13: allocating, writing, committing and dropping are loads and stores. Method: strace a process that does it often, in pages
    // that it has touched, and look at what it calls between its first word and its last.
    let Some(between) = trace("writer") else { return };
    assert!(between.is_empty(), "{between:#?}");
}

#[test]
fn a_flush_waits_for_the_medium() {
    // Goal: R09, R10: `flush` syncs the pages of its receipt, then those of its marks, and nothing else; `sync_all` all of it; each with
    // MS_SYNC, for MS_ASYNC does nothing. Freeing tells the medium only if it knew. Method: strace.
    let Some(between) = trace("flusher") else { return };
    let calls: Vec<(u64, bool)> = between
        .iter()
        .filter(|line| line.contains("msync("))
        .map(|line| {
            let args: Vec<_> = line.split_once("msync(").unwrap().1.split(',').map(str::trim).collect();
            (args[1].parse().unwrap(), args[2].starts_with("MS_SYNC)"))
        })
        .collect();
    assert!(calls.iter().all(|(_, waits)| *waits), "{between:#?}");
    let lengths: Vec<u64> = calls.iter().map(|(length, _)| length.div_ceil(4096)).collect();
    // flush: two pages, then a page of marks; free: the marks; sync_all: what is written, then all marks.
    assert_eq!(lengths, [2, 1, 1, 4, 1], "{between:#?}");
}

/// The calls of a role between its first word and its last.
fn trace(what: &str) -> Option<Vec<String>> {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("skipped: strace is not installed");
        return None;
    }
    let (directory, file) = new_file(Alignment::Line, 1 << 20);
    let trace = directory.path().join("trace");
    let status = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["child::entry", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(format!("{PREFIX}ROLE"), "ranged::traced")
        .env(format!("{PREFIX}path"), file.path())
        .env(format!("{PREFIX}what"), what)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(trace.contains("@begin") && trace.contains("@end"), "{trace}");
    let lines = trace.lines().skip_while(|line| !line.contains("@begin")).skip(1);
    Some(lines.take_while(|line| !line.contains("@end")).map(str::to_owned).collect())
}

pub(crate) fn traced() {
    let file = RangedFile::open(Script::path()).unwrap();
    if Script::text("what") == "writer" {
        drop(
            drain(&file, 4096).into_iter().map(|mut range| range.as_mut_slice().fill(0)).collect::<Vec<_>>(),
        );
        say("begin");
        for n in 0..10_000 {
            let mut range = file.allocate(mix(n) % 500 + 1).unwrap();
            range.as_mut_slice()[0] = 1;
            if n % 2 == 0 {
                let receipt = file.commit(range).unwrap();
                file.free(receipt).unwrap();
            }
        }
        say("end");
        return;
    }
    let write = |len: usize| file.write(file.allocate(len as u64).unwrap(), &vec![1; len]).unwrap();
    let pages = write(4096 + 64);
    let more = write(8192);
    say("begin");
    file.flush(&pages).unwrap();
    assert!(pages.is_durable() && !more.is_durable());
    file.free(pages).unwrap();
    let again = write(4096);
    file.sync_all().unwrap();
    assert!(again.is_durable() && more.is_durable());
    say("end");
}

#[test]
fn a_forked_child_can_do_nothing_with_its_parents_handles() {
    // Goal: on the other side of a fork everything is `Forked`, what owns bytes comes back, and dropping it there frees nothing; the parent
    // goes on. The child opens the file for itself. Method: all calls in a forked child.
    let (_directory, file) = new_file(Alignment::Line, 4096);
    alone("ranged::forks", &[("path", &file.path().display())]);
    assert_eq!(written(&file), [0..128]);
}

pub(crate) fn forks() {
    let mut file = RangedFile::open(Script::path()).unwrap();
    let mut receipt = Some(file.write(file.allocate(64).unwrap(), &[1; 64]).unwrap());
    let mut range = Some(file.allocate(64).unwrap());
    fork(|| {
        let (mut range, receipt) = (range.take().unwrap(), receipt.take().unwrap());
        assert_eq!(file.allocate(1).unwrap_err(), AllocateError::Forked);
        assert_eq!(file.read(&receipt, &mut [0; 64]), Err(RangeError::Forked));
        assert_eq!(file.read_at(0, &mut [0; 64]), Err(RangeError::Forked));
        assert!(matches!(file.written().map(drop), Err(RangeError::Forked)));
        assert_eq!((file.remaining(), file.next_position(), receipt.is_durable()), (0, 0, false));
        for outcome in
            [file.flush(&receipt), file.sync_all(), file.stats().map(drop), file.reclaim().map(drop)]
        {
            assert!(matches!(outcome, Err(Error::Forked)), "{outcome:?}");
        }
        std::panic::set_hook(Box::new(|_| {}));
        let slices = [
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| range.as_mut_slice().len())),
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| receipt.bytes().len())),
        ];
        assert!(slices.iter().all(Result::is_err));
        let refused = file.write(range, &[2; 64]).unwrap_err();
        assert_eq!(refused.error, RangeError::Forked);
        let refused = file.commit(refused.item).unwrap_err();
        let freed = file.free(receipt).unwrap_err();
        assert!(matches!(freed.error, Error::Forked));
        drop((refused, freed));
        // Its own opening is another one.
        let own = RangedFile::open(file.path()).unwrap();
        let own_range = own.allocate(64).unwrap();
        assert_eq!(own_range.start(), 128);
        drop((own, own_range));
        leave(0);
    })
    .finish();
    assert_eq!(written(&file), [0..64]);
    assert_eq!(file.write(range.unwrap(), &[2; 64]).unwrap().bytes(), [2; 64]);
    assert_eq!(receipt.unwrap().bytes(), [1; 64]);
}

#[test]
fn a_finished_file_is_sealed_and_nobody_writes_it_again() {
    // Goal: a file of which every byte is written can be sealed by who is alone; until then the file comes back with what is missing; a
    // sealed one is refused, and stays as it is. Method: with a hole, with a clone, with another opening, and then.
    let (_directory, file) = new_file(Alignment::Line, 1000);
    let path = file.path().to_path_buf();
    let first = file.write(file.allocate(640).unwrap(), &[1; 640]).unwrap();
    let file = file.seal().unwrap_err();
    assert!(matches!(file.error, Error::Busy { .. }), "{file}");
    drop(first);
    let refused = file.item.unwrap().seal().unwrap_err();
    let Error::Unfinished { missing_bytes, .. } = refused.error else { panic!("{refused}") };
    assert_eq!(missing_bytes, 360);
    assert!(refused.to_string().contains("360 bytes of it are missing"), "{refused}");
    let file = refused.item.unwrap();
    drop(file.write(file.allocate(360).unwrap(), &[2; 360]).unwrap());
    let other = RangedFile::open(&path).unwrap();
    let refused = file.seal().unwrap_err();
    assert!(matches!(refused.error, Error::Busy { .. }), "{refused}");
    drop(other);
    refused.item.unwrap().seal().unwrap();
    let before = std::fs::read(&path).unwrap();
    for _ in 0..2 {
        assert!(matches!(RangedFile::open(&path), Err(Error::Sealed { .. })));
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let stats = RangedFile::inspect(&path).unwrap();
    assert_eq!((stats.is_sealed, stats.has_writers), (true, false));
    assert_eq!((stats.written_bytes, stats.durable_bytes, stats.size_bytes), (1000, 1000, 1000));
}

#[test]
fn who_only_looks_sees_what_the_tables_say() {
    // Goal: `inspect` needs no write permission, disturbs nobody and tells whether somebody writes. Method: a file in use, a closed one.
    let (_directory, file) = new_file(Alignment::Line, 1000);
    let receipt = file.write(file.allocate(100).unwrap(), &[1; 100]).unwrap();
    file.flush(&receipt).unwrap();
    drop(file.write(file.allocate(64).unwrap(), &[1; 64]).unwrap());
    let _held = file.allocate(64).unwrap();
    drop(file.allocate(64).unwrap());
    let path = file.path().to_path_buf();
    let looked = RangedFile::inspect(&path).unwrap();
    assert_eq!(looked, file.stats().unwrap());
    assert_eq!((looked.next_position, looked.written_bytes, looked.durable_bytes), (320, 192, 128));
    assert_eq!((looked.freed_bytes, looked.has_writers, looked.is_sealed), (64, true, false));
    assert_eq!((looked.writer_pid, looked.sync_failed), (std::process::id(), false));
    assert_eq!(looked.file_bytes, std::fs::metadata(&path).unwrap().len());
    assert!(looked.created_ns > 1_700_000_000_000_000_000);
    assert!(matches!(RangedFile::inspect(Path::new("/dev/null")), Err(Error::NotRegular { .. })));
}
