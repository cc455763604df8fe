//! Ranged files: what opening makes of files of yesterday, of another boot, without room, cut short, and of bytes that nobody sound wrote.

#![allow(clippy::single_range_in_vec_init, reason = "runs are compared with lists of runs")]

use crate::disks::{alone_on_a_disk, fill_up, on_each_disk, room};
use crate::harness::{Actor, PATIENCE, Script, directory, listen, say};
use crate::records::{check_bytes, mix, record};
use nix::fcntl::{FallocateFlags, FcntlArg, fallocate, fcntl};
use nix::libc;
use shm_ring::{
    Alignment, AllocateError, AppendOptions, Error, RangeError, RangedFile, RangedOptions, Receipt,
};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;
/// Where the words of the live page lie, by the document.
const NEXT: u64 = PAGE;
const BOOT: u64 = PAGE + 128 + 24;
const SEAL: u64 = PAGE + 256;
const FREE_UNITS: u64 = PAGE + 384;
const SYNC_FAILED: u64 = PAGE + 384 + 8;
const TABLES: u64 = 2 * PAGE;
const WRITTEN: u64 = 3 * PAGE;

fn writable(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn put(path: &Path, at: u64, word: u64) {
    writable(path).write_all_at(&word.to_le_bytes(), at).unwrap();
}

/// As after a reboot: the file is of another one.
fn reboot(path: &Path) {
    put(path, BOOT, 1);
    put(path, BOOT + 8, 2);
}

fn written(file: &RangedFile) -> Vec<Range<u64>> {
    file.written().unwrap().collect()
}

/// Takes everything that is left; none of it twice, none of it written, all of it inside.
fn drain(file: &RangedFile) -> u64 {
    let mut taken = BTreeMap::new();
    let kept = written(file);
    let mut ranges = vec![];
    while let Ok(mut range) = file.allocate_up_to(192) {
        range.as_mut_slice().fill(0xee);
        assert!(range.end() <= file.size());
        assert!(kept.iter().all(|kept| range.end() <= kept.start || range.start() >= kept.end), "{range:?}");
        assert!(taken.insert(range.start(), range.end()).is_none(), "{range:?}");
        ranges.push(range);
    }
    assert!(taken.values().zip(taken.keys().skip(1)).all(|(end, next)| end <= next), "they overlap");
    ranges.iter().map(|range| range.len()).sum()
}

#[test]
fn what_the_dead_had_not_written_comes_back_when_somebody_is_alone() {
    // Goal: a range that was leaked, or whose process is gone, stays out while anybody has the file, and is there for who opens it alone,
    // or reclaims. Method: a process that takes ranges and is killed, another one that stays.
    let directory = directory();
    let path = directory.path().join("file");
    let mut file = RangedOptions::new().create(&path, 1024).unwrap();
    let shown = path.display();
    let dies = |expected: &str| {
        let mut actor = Actor::start("ranged_files::taker", &[("path", &shown)]);
        assert_eq!(actor.hear(), expected);
        actor.kill();
    };
    dies("0..128, 128..256");
    assert_eq!((file.remaining(), written(&file)), (768, vec![0..128]));
    let other = RangedFile::open(&path).unwrap();
    assert_eq!(other.remaining(), 768, "somebody else is alive");
    drop(other);
    assert_eq!(file.reclaim().unwrap(), 128);
    assert_eq!((file.remaining(), written(&file)), (896, vec![0..128]));
    dies("256..384, 384..512");
    drop(file);
    let file = RangedFile::open(&path).unwrap();
    assert_eq!((file.remaining(), written(&file)), (768, vec![0..128, 256..384]));
    assert_eq!(drain(&file), 768);
}

pub(crate) fn taker() {
    let file = RangedFile::open(Script::path()).unwrap();
    let [first, second] = [128, 128].map(|len| file.allocate(len).unwrap());
    let receipt = file.write(first, &[1; 128]).unwrap();
    say(&format!("{:?}, {:?}", receipt.as_range(), second.as_range()));
    listen();
}

#[test]
fn after_a_reboot_only_what_was_flushed_is_there() {
    // Goal: what was not flushed is not believed after a reboot, whatever the tables say of it; what was, is, even if `next` and the free
    // bits of before have reached the disk and nothing else. Method: another boot id, with the other words as they were, zeros or ones.
    let directory = directory();
    for (n, word) in [None, Some(0), Some(u64::MAX)].into_iter().enumerate() {
        let path = directory.path().join(n.to_string());
        let file = RangedOptions::new().create(&path, 4000).unwrap();
        let receipts: Vec<Receipt> =
            (0..10).map(|n| file.write(file.allocate(300).unwrap(), &record(1, n, 300)).unwrap()).collect();
        let is_flushed = |n: usize| matches!(n, 0 | 3 | 4 | 8);
        for (n, receipt) in receipts.into_iter().enumerate() {
            match n {
                5 => {
                    file.flush(&receipt).unwrap();
                    file.free(receipt).unwrap();
                }
                _ if is_flushed(n) => file.flush(&receipt).unwrap(),
                _ => drop(receipt),
            }
        }
        drop(file);
        // In this boot, all but the one that was freed.
        let file = RangedFile::open(&path).unwrap();
        assert_eq!(written(&file), [0..1600, 1920..3200]);
        drop(file);
        reboot(&path);
        if let Some(word) = word {
            // Free and written; what is durable follows.
            for at in [TABLES, TABLES + PAGE, FREE_UNITS] {
                put(&path, at, word);
            }
            put(&path, NEXT, if word == 0 { 0 } else { 4032 });
        }
        for _ in 0..2 {
            // The second time it is of this boot.
            let file = RangedFile::open(&path).unwrap();
            assert_eq!(written(&file), [0..320, 960..1600, 2560..2880]);
            for n in [0, 3, 4, 8] {
                let mut bytes = [0; 300];
                file.read_at(n * 320, &mut bytes).unwrap();
                check_bytes(&bytes, 1, n);
            }
            assert_eq!(drain(&file), 4000 - 4 * 320);
            let stats = file.stats().unwrap();
            assert_eq!((stats.durable_bytes, stats.written_bytes), (1280, 1280));
        }
    }
}

#[test]
fn what_is_durable_is_never_handed_out_though_its_written_bits_are_lost() {
    // Goal: what was flushed stays what it is, in the same boot too, when the pages of the other tables and of the live page are older
    // than the marks, as after a disk that went away and came back under a host that went on. Method: such pages; opened, reclaimed.
    let directory = directory();
    let path = directory.path().join("file");
    for zeros in [&[WRITTEN][..], &[WRITTEN, NEXT], &[TABLES, WRITTEN, NEXT, FREE_UNITS]] {
        let _ = fs::remove_file(&path);
        let file = RangedOptions::new().create(&path, 1000).unwrap();
        let receipt = file.write(file.allocate(100).unwrap(), &record(4, 1, 100)).unwrap();
        file.flush(&receipt).unwrap();
        drop((receipt, file));
        zeros.iter().for_each(|at| put(&path, *at, 0));
        let mut file = RangedFile::open(&path).unwrap();
        for _ in 0..2 {
            assert_eq!(written(&file), [0..128]);
            let mut bytes = [0; 100];
            file.read_at(0, &mut bytes).unwrap();
            check_bytes(&bytes, 4, 1);
            assert_eq!(file.stats().unwrap().durable_bytes, 128);
            assert_eq!(drain(&file), 1000 - 128);
            put(&path, WRITTEN, 0);
            file.reclaim().unwrap();
        }
    }
}

#[test]
fn what_is_adopted_is_handed_out_to_nobody_else() {
    // Goal: a unit that the tables call written, and free or never handed out as well, has one owner: the receipt. Method: such words in a
    // file that is open; adopted, and the rest taken.
    let directory = directory();
    let path = directory.path().join("file");
    let mut file = RangedOptions::new().create(&path, 1024).unwrap();
    drop(file.write(file.allocate(128).unwrap(), &[1; 128]).unwrap());
    put(&path, TABLES, 1);
    put(&path, FREE_UNITS, 1);
    put(&path, WRITTEN, 0b1011);
    let receipts = file.adopt().unwrap();
    assert_eq!(receipts.iter().map(Receipt::as_range).collect::<Vec<_>>(), [0..128, 192..256]);
    assert_eq!(drain(&file), 1024 - 192);
    assert!(receipts[0].bytes() == [1; 128] && receipts[1].bytes() == [0; 64]);
}

#[test]
fn a_short_last_unit_hides_nobody_elses_room() {
    // Goal: bytes that are there in a row are found, though the units that come first are too short by the end of the file. Method: a last
    // unit of one byte, and a freed one in front of what was never handed out.
    let directory = directory();
    let options = RangedOptions::new().alignment(Alignment::Page);
    let file = options.create(directory.path().join("file"), 2 * PAGE + 1).unwrap();
    drop(file.allocate(1).unwrap());
    let range = file.allocate(PAGE + 2).unwrap();
    assert_eq!(range.as_range(), 0..PAGE + 2);
    assert_eq!(file.allocate(2).unwrap_err(), AllocateError::Full { needed_bytes: 2, free_bytes: 1 });
    assert_eq!(file.allocate(1).unwrap().as_range(), 2 * PAGE..2 * PAGE + 1);
}

#[test]
fn holes_are_filled_though_as_many_blocks_lie_behind_the_end() {
    // Goal: whoever opens a file can write all of it, whatever number of blocks it has. Method: a hole in the data, and as much allocated
    // behind the end of the file, as some tools and file systems do; opened, counted.
    let directory = directory();
    let path = directory.path().join("file");
    drop(RangedOptions::new().create(&path, 64 * PAGE).unwrap());
    let (file, hole) = (writable(&path), 32 * PAGE as i64);
    let (len, before) = (file.metadata().unwrap().len(), file.metadata().unwrap().blocks());
    let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, keep, len as i64, hole).unwrap();
    let more = file.metadata().unwrap().blocks();
    fallocate(&file, keep | FallocateFlags::FALLOC_FL_PUNCH_HOLE, len as i64 - hole, hole).unwrap();
    assert!(more > before && file.metadata().unwrap().blocks() == before, "it would be noticed by counting");
    let opened = RangedFile::open(&path).unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), more, "the hole is there");
    assert_eq!(drain(&opened), 64 * PAGE);
}

#[test]
fn modes_by_which_others_could_write_are_no_modes() {
    // Goal: no handle of a file that others can write under its slices, and no file. Method: such bits, append files' too.
    let directory = directory();
    let path = directory.path().join("file");
    for mode in [0o620, 0o602, 0o666, 0o777] {
        let tried = [
            RangedOptions::new().mode(mode).create(&path, 64).map(drop),
            RangedOptions::new().mode(mode).open_or_create(&path, 64).map(drop),
            AppendOptions::new().mode(mode).create(&path).map(drop),
        ];
        for error in tried.map(Result::unwrap_err) {
            assert!(matches!(&error, Error::Invalid { option: "mode", .. }), "{error}");
            assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
        }
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    drop(RangedOptions::new().mode(0o644).create(&path, 64).unwrap());
    RangedFile::open(&path).unwrap();
}

#[test]
fn of_many_that_open_at_once_one_makes_the_file_fit() {
    // Goal: after a reboot, and where only dead processes had the file, everybody who opens it finds it fit, though all come at once and
    // none of them stays the only one. Method: threads, whose openings are as strange to each other as processes', race; many times.
    let directory = directory();
    let path = directory.path().join("file");
    for round in 0..100 {
        let _ = fs::remove_file(&path);
        let file = RangedOptions::new().create(&path, 1000).unwrap();
        let receipt = file.write(file.allocate(64).unwrap(), &[1; 64]).unwrap();
        file.flush(&receipt).unwrap();
        drop(file.write(file.allocate(64).unwrap(), &[2; 64]).unwrap());
        drop((receipt, file));
        // Handed out to somebody who is dead.
        put(&path, NEXT, 192);
        let is_rebooted = round % 2 == 0;
        if is_rebooted {
            reboot(&path);
        }
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let file = RangedFile::open(&path).unwrap();
                    assert_eq!(written(&file), [0..if is_rebooted { 64 } else { 128 }], "round {round}");
                    assert_eq!(file.remaining(), if is_rebooted { 936 } else { 872 }, "round {round}");
                    start.wait();
                });
            }
        });
    }
}

#[test]
fn who_opens_beside_somebody_that_never_ends_hears_busy_after_five_seconds() {
    // Goal: a process that is stuck while it opens, seals or reclaims a file keeps others waiting for the five seconds that it may need, and
    // no longer; they leave the file as it was, and open it when the stuck one is gone. Method: processes that hold byte 0 alone, byte 1
    // alone, and byte 1 shared of a file of another boot that they have not made fit; all three at once.
    let directory = directory();
    let hold = |byte: u64, alone: bool, rebooted: bool| {
        let path = directory.path().join(format!("{byte} {alone}"));
        let file = RangedOptions::new().create(&path, 1024).unwrap();
        let receipt = file.write(file.allocate(128).unwrap(), &record(5, byte, 128)).unwrap();
        file.flush(&receipt).unwrap();
        drop((receipt, file));
        if rebooted {
            reboot(&path);
        }
        let before = fs::read(&path).unwrap();
        let params: [(&str, &dyn std::fmt::Display); 3] =
            [("path", &path.display()), ("byte", &byte), ("alone", &u8::from(alone))];
        let mut holder = Actor::start("ranged_files::holder", &params);
        holder.expect("held");
        let start = Instant::now();
        let error = RangedFile::open(&path).unwrap_err();
        let waited = start.elapsed();
        assert!(matches!(error, Error::Busy { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!((Duration::from_secs(5)..PATIENCE).contains(&waited), "{waited:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
        holder.kill();
        let file = RangedFile::open(&path).unwrap();
        assert_eq!(written(&file), [0..128]);
    };
    std::thread::scope(|scope| {
        for (byte, alone, rebooted) in [(0, true, false), (1, true, false), (1, false, true)] {
            let hold = &hold;
            scope.spawn(move || hold(byte, alone, rebooted));
        }
    });
}

pub(crate) fn holder() {
    let file = writable(&Script::path());
    let kind = if Script::number("alone") == 1 { libc::F_WRLCK } else { libc::F_RDLCK };
    let lock = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: Script::number("byte") as i64,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    say("held");
    listen();
}

#[test]
fn sync_all_covers_everything_that_was_written_before_it() {
    // Goal: R10: after a reboot everything is there that was written when `sync_all` began, by any process, and nothing that was freed.
    // Method: two openings, frees between two syncs, another boot id.
    let directory = directory();
    let path = directory.path().join("file");
    let one = RangedOptions::new().create(&path, 1 << 20).unwrap();
    let other = RangedFile::open(&path).unwrap();
    let mut kept = BTreeMap::new();
    for n in 0..200 {
        let file = if n % 2 == 0 { &one } else { &other };
        let len = mix(n) % 3000 + 1;
        let receipt = file.write(file.allocate(len).unwrap(), &record(2, n, len as usize)).unwrap();
        if n % 50 == 49 {
            one.sync_all().unwrap();
            assert!(receipt.is_durable());
        }
        if n % 3 == 0 {
            file.free(receipt).unwrap();
        } else {
            kept.insert(receipt.start(), (n, len));
        }
    }
    other.sync_all().unwrap();
    let late = one.write(one.allocate(64).unwrap(), &[1; 64]).unwrap();
    assert!(!late.is_durable());
    let place = late.start();
    drop((late, one, other));
    reboot(&path);
    let file = RangedFile::open(&path).unwrap();
    assert_eq!(file.read_at(place, &mut [0; 64]), Err(RangeError::NotWritten));
    for (start, (n, len)) in &kept {
        let mut bytes = vec![0; *len as usize];
        file.read_at(*start, &mut bytes).unwrap();
        check_bytes(&bytes, 2, *n);
    }
    let units: u64 = kept.values().map(|(_, len)| len.next_multiple_of(64)).sum();
    assert_eq!(file.stats().unwrap().written_bytes, units);
}

#[test]
fn after_a_failed_sync_nothing_is_called_durable() {
    // Goal: what the kernel could not write it calls clean, so no later flush may say that it is there; until the next boot. Method: the
    // word that a failed sync leaves.
    let directory = directory();
    let path = directory.path().join("file");
    let file = RangedOptions::new().create(&path, 4096).unwrap();
    let early = file.write(file.allocate(64).unwrap(), &[1; 64]).unwrap();
    file.flush(&early).unwrap();
    let late = file.write(file.allocate(64).unwrap(), &[2; 64]).unwrap();
    put(&path, SYNC_FAILED, 1);
    for outcome in [file.flush(&late), file.flush(&early), file.sync_all()] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("copy it"), "{error}");
    }
    assert!(early.is_durable() && !late.is_durable());
    assert!(file.stats().unwrap().sync_failed);
    drop((early, late, file));
    let file = RangedFile::open(&path).unwrap();
    assert_eq!((file.sync_all().is_err(), written(&file)), (true, vec![0..128]));
    drop(file);
    reboot(&path);
    let file = RangedFile::open(&path).unwrap();
    assert_eq!(written(&file), [0..64]);
    file.sync_all().unwrap();
}

#[test]
fn a_ranged_file_that_does_not_fit_is_refused_and_leaves_nothing() {
    // Goal: no space is `NoSpace` with the sizes when the file is created, and when a copy of one has holes; no name stays, nobody gets
    // SIGBUS; what fits can be written to the last byte on a full disk. Method: a process on a small disk of its own, in memory and ext4.
    on_each_disk("a_ranged_file_that_does_not_fit_is_refused_and_leaves_nothing", "ranged_files::alone");
}

pub(crate) fn alone() {
    alone_on_a_disk(refused_and_used);
}

fn refused_and_used(directory: &Path) {
    let all = room(directory);
    let path = directory.join("large");
    for needed in [all, 4 << 30] {
        let error = RangedOptions::new().create(&path, needed).unwrap_err();
        let Error::NoSpace { needed_bytes, free_bytes, .. } = &error else { panic!("{error:?}") };
        assert!(*needed_bytes > needed && *free_bytes <= all, "{error}");
        assert!(error.to_string().contains("the ranged file needs"), "{error}");
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0, "something was left");
    }
    let path = directory.join("small");
    let file = RangedOptions::new().create(&path, 100_000).unwrap();
    // A copy that a tool has made thin.
    let thin = directory.join("thin");
    let copy = File::create(&thin).unwrap();
    fs::set_permissions(&thin, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let bytes = fs::read(&path).unwrap();
    copy.write_all_at(&bytes[..2 * PAGE as usize], 0).unwrap();
    copy.set_len(bytes.len() as u64).unwrap();
    fill_up(&directory.join("rest"));
    let error = RangedFile::open(&thin).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    let range = file.allocate(100_000).unwrap();
    let receipt = file.write(range, &record(1, 1, 100_000)).unwrap();
    file.flush(&receipt).unwrap();
    drop((receipt, file));
    let file = RangedFile::open(&path).unwrap();
    let mut bytes = vec![0; 100_000];
    file.read_at(0, &mut bytes).unwrap();
    check_bytes(&bytes, 1, 1);
    drop(file);
    fs::remove_file(directory.join("rest")).unwrap();
    let file = RangedFile::open(&thin).unwrap();
    assert_eq!(drain(&file), 100_000);
    assert!(fs::metadata(&thin).unwrap().blocks() * 512 >= bytes.len() as u64);
}

/// A small file in use, with every kind of unit; its bytes.
fn sample(directory: &Path) -> (PathBuf, Vec<u8>) {
    let path = directory.join("sample");
    let file = RangedOptions::new().alignment(Alignment::Line).create(&path, 5000).unwrap();
    let [durable, plain, freed] =
        [1, 2, 3].map(|n| file.write(file.allocate(700).unwrap(), &record(3, n, 700)).unwrap());
    file.flush(&durable).unwrap();
    file.free(freed).unwrap();
    drop(plain);
    drop(file);
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

#[test]
fn a_file_of_any_other_length_is_refused() {
    // Goal: cut at any byte, or longer than it says, a file is a clear error, and stays as it is; never a panic, never a signal.
    // Method: every length below the right one, some above.
    let directory = directory();
    let (path, bytes) = sample(directory.path());
    let file = writable(&path);
    for len in (0..bytes.len() as u64).rev() {
        file.set_len(len).unwrap();
        let error = RangedFile::open(&path).unwrap_err();
        match error {
            Error::Truncated { expected_bytes, found_bytes, .. } => {
                assert!(len >= 7 && found_bytes == len && expected_bytes > len, "{len}: {error}");
            }
            Error::OtherKind { .. } => assert!(len < 7, "{len}: {error}"),
            error => panic!("{len}: {error}"),
        }
        assert!(RangedFile::inspect(&path).is_err());
    }
    for more in [1, 4096, 1 << 20] {
        fs::write(&path, &bytes).unwrap();
        file.set_len(bytes.len() as u64 + more).unwrap();
        let error = RangedFile::open(&path).unwrap_err();
        assert!(matches!(error, Error::Corrupt { what: "length of the file", .. }), "{error}");
    }
    file.set_len(bytes.len() as u64).unwrap();
    assert_eq!(written(&RangedFile::open(&path).unwrap()), [0..1408]);
}

#[test]
fn every_flipped_bit_of_the_header_is_refused() {
    // Goal: no damage to page 0 goes unnoticed, and nothing is changed. Method: each of its bits that mean something.
    let directory = directory();
    let (path, bytes) = sample(directory.path());
    for bit in 0..256 * 8u64 {
        let mut damaged = bytes.clone();
        damaged[bit as usize / 8] ^= 1 << (bit % 8);
        fs::write(&path, &damaged).unwrap();
        let error = RangedFile::open(&path).unwrap_err();
        let is_known =
            matches!(error, Error::OtherKind { .. } | Error::VersionMismatch { .. } | Error::Corrupt { .. });
        assert!(is_known, "bit {bit}: {error}");
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
}

#[test]
fn nonsense_in_the_tables_hands_out_nothing_that_is_not_there() {
    // Goal: whatever stands in the live page and the tables, opening is a clear error or leads to a file whose ranges are inside it, each
    // once, and which can be written, read, freed and flushed; without a panic. Method: each word of the live page and the first ones of
    // each table, with the worst values; all of them at once, random; in a file that is opened, and in one that is open.
    let directory = directory();
    let (path, bytes) = sample(directory.path());
    let words: Vec<u64> = (PAGE..PAGE + 512)
        .step_by(8)
        .chain((0..5).flat_map(|table| [0, 8].map(|at| TABLES + table * PAGE + at)))
        .collect();
    let values = [0, 1, 63, 64, 4992, 5000, 5056, 5120, 1 << 32, 1 << 63, u64::MAX - 63, u64::MAX];
    let forge = |n: u64| -> Vec<(u64, u64)> {
        let (one, all) = ((words.len() * values.len()) as u64, words.iter().copied());
        match n.checked_sub(one) {
            None => vec![(words[n as usize / values.len()], values[n as usize % values.len()])],
            // The seal stays open, and `next` in its place, or little of interest would be reached.
            Some(n) => all
                .filter(|at| !(SEAL..SEAL + 32).contains(at))
                .map(|at| match mix(n << 16 | at) {
                    random if at == NEXT => (at, random % 80 * 64),
                    random => (at, [0, u64::MAX, random][random as usize % 3]),
                })
                .collect(),
        }
    };
    let mut opened = 0;
    for n in 0..(words.len() * values.len()) as u64 + 300 {
        fs::write(&path, &bytes).unwrap();
        forge(n).into_iter().for_each(|(at, word)| put(&path, at, word));
        match RangedFile::open(&path) {
            Ok(file) => {
                opened += 1;
                use_all(&file);
            }
            Err(error) => assert!(
                matches!(error, Error::Corrupt { .. } | Error::Sealed { .. }),
                "{:?}: {error}",
                forge(n)
            ),
        }
        let _ = RangedFile::inspect(&path);
        // Another one is alive, so nobody makes it fit.
        fs::write(&path, &bytes).unwrap();
        let living = RangedFile::open(&path).unwrap();
        forge(n).into_iter().for_each(|(at, word)| put(&path, at, word));
        for len in [1, 64, 100, 5000, u64::MAX] {
            for taken in [living.allocate(len), living.allocate_up_to(len)] {
                match taken {
                    Ok(mut range) => range.as_mut_slice().fill(1),
                    Err(AllocateError::Full { .. } | AllocateError::Corrupt { .. }) => {}
                    Err(AllocateError::TooLong { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        let _ = (living.remaining(), living.next_position(), living.stats());
        assert!(living.written().unwrap().all(|run| run.end <= 5000));
        assert!(living.missing().unwrap().all(|run| run.end <= 5000));
        let _ = living.read_at(0, &mut [0; 5000]);
    }
    assert!(opened > 500, "{opened}");
}

/// Everything that one does with a file, in whatever state it is.
fn use_all(file: &RangedFile) {
    let kept = written(file);
    let mut before = 0;
    for run in &kept {
        assert!(run.start >= before && run.start < run.end && run.end <= file.size(), "{kept:?}");
        before = run.end;
        file.read_at(run.start, &mut vec![0; (run.end - run.start) as usize]).unwrap();
    }
    let missing: u64 = file.missing().unwrap().map(|run| run.end - run.start).sum();
    assert_eq!(kept.iter().map(|run| run.end - run.start).sum::<u64>() + missing, file.size());
    assert_eq!(file.remaining(), missing, "it was made fit");
    assert_eq!(drain(file), missing);
    if let Ok(range) = file.allocate_up_to(100) {
        let len = range.len() as usize;
        let receipt = file.write(range, &record(9, 9, len)).unwrap();
        let _ = file.flush(&receipt);
        check_bytes(receipt.bytes(), 9, 9);
        file.free(receipt).unwrap();
    }
    let _ = file.sync_all();
    assert_eq!(written(file), kept);
}
