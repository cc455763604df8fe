//! Inspecting: what a file is, and how it stands, for who only looks.

#![allow(clippy::single_range_in_vec_init, reason = "runs are compared with lists of runs")]

use crate::harness::{Script, alone, directory, fork};
use crate::records::{mix, record};
use shm_ring::{
    Alignment, AppendFile, AppendOptions, AppendStats, Error, FileKind, RangeError, RangedFile,
    RangedOptions, RingOptions, Snapshot,
};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

const PAGE: u64 = 4096;
/// Where the words of the live page lie, by the document.
const LEN: u64 = PAGE;
const GENERATION: u64 = PAGE + 136;
const TARGET: u64 = PAGE + 144;
const BOOT: u64 = PAGE + 152;
const SEAL: u64 = PAGE + 256;

fn put(path: &Path, at: u64, word: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&word.to_le_bytes(), at).unwrap();
}

fn word(path: &Path, at: u64) -> u64 {
    let mut bytes = [0; 8];
    File::open(path).unwrap().read_exact_at(&mut bytes, at).unwrap();
    u64::from_le_bytes(bytes)
}

/// As if the machine had been restarted.
fn restart(path: &Path) {
    put(path, BOOT, 1);
    put(path, BOOT + 8, 2);
}

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, Permissions::from_mode(bits)).unwrap();
}

#[test]
fn a_file_is_told_by_how_it_begins() {
    // Goal: who has a path learns what to open it as, and nothing is changed or followed. Method: one of each, and what begins almost so.
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    drop(RingOptions::new().create(at("ring")).unwrap());
    drop(AppendOptions::new().create(at("append")).unwrap());
    drop(RangedOptions::new().create(at("ranged"), 100).unwrap());
    let texts: [(&str, &[u8]); 7] = [
        ("legacy", b"\xef\xbe\xad\xde\0\0\0\0"),
        ("short legacy", b"\xef\xbe\xad\xde"),
        ("shorter", b"\xef\xbe\xad"),
        ("empty", b""),
        ("text", b"some text"),
        ("short magic", b"SHMAPND"),
        ("other magic", b"SHMRONG\0 and more"),
    ];
    for (name, bytes) in texts {
        fs::write(at(name), bytes).unwrap();
    }
    let kinds = [
        ("ring", FileKind::Ring),
        ("append", FileKind::Append),
        ("ranged", FileKind::Ranged),
        ("legacy", FileKind::Legacy),
        ("short legacy", FileKind::Legacy),
        ("shorter", FileKind::Plain),
        ("empty", FileKind::Plain),
        ("text", FileKind::Plain),
        ("short magic", FileKind::Plain),
        ("other magic", FileKind::Plain),
    ];
    for (name, kind) in kinds {
        assert_eq!(FileKind::of(at(name)).unwrap(), kind, "{name}");
    }
    symlink(at("ring"), at("link")).unwrap();
    for name in [".", "link"] {
        let error = FileKind::of(at(name)).unwrap_err();
        assert!(matches!(error, Error::NotRegular { .. }), "{error:?}");
    }
    let error = FileKind::of(at("missing")).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
}

#[test]
fn an_append_file_says_how_it_stands() {
    // Goal: `inspect` has the numbers of the file, tells who has it, and changes nothing. Method: a file in use, synced, pinned, closed, of
    // others, sealed; the bytes of the file before and after.
    let directory = directory();
    let path = directory.path().join("a");
    let file = AppendOptions::new().capacity(3 * PAGE).mode(0o640).create(&path).unwrap();
    file.push(&record(0, 0, 5000)).unwrap();
    file.sync().unwrap();
    file.push(&record(0, 1, 1000)).unwrap();
    let before = fs::read(&path).unwrap();
    let looked = AppendFile::inspect(&path).unwrap();
    assert_eq!((looked.len_bytes, looked.durable_bytes, looked.capacity_bytes), (6000, 5000, 3 * PAGE));
    assert_eq!((looked.file_bytes, looked.mode, looked.layout_version), (5 * PAGE, 0o640, 1));
    assert!((looked.usage_ratio() - file.usage_ratio()).abs() < 1e-9);
    assert_eq!((looked.has_writer, looked.writer_pid), (true, std::process::id()));
    let no = |s: &AppendStats| (s.is_sealed, s.data_crc, s.seal_begun, s.loss_begun, s.is_being_opened);
    assert_eq!((no(&looked), looked.doubtful.clone()), ((false, None, false, false, false), 0..0));
    assert!(looked.created_ns > 1_700_000_000_000_000_000);
    assert_eq!(looked.uuid_string().replace('-', "").len(), 32);
    assert!(!looked.is_pinned);
    let pinned = AppendFile::follow(&path).unwrap().pin().unwrap();
    assert!(AppendFile::inspect(&path).unwrap().is_pinned);
    drop((pinned, file));
    // Whoever may read it may look, and nothing more is asked of it.
    mode(&path, 0o466);
    let closed = AppendFile::inspect(&path).unwrap();
    let mut expected = looked;
    (expected.has_writer, expected.mode) = (false, 0o466);
    assert_eq!(closed, expected);
    assert!(fs::read(&path).unwrap() == before);
    mode(&path, 0o600);
    AppendFile::open(&path).unwrap().seal().unwrap();
    let sealed = AppendFile::inspect(&path).unwrap();
    let all = [record(0, 0, 5000), record(0, 1, 1000)].concat();
    assert_eq!((sealed.is_sealed, sealed.data_crc), (true, Some(crc32c(&all))));
    assert_eq!((sealed.len_bytes, sealed.durable_bytes), (6000, 6000));
}

/// The crc32c, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 },
        )
    })
}

#[test]
fn what_was_left_of_an_append_file_is_told() {
    // Goal: a seal that was begun, a loss that was, bytes in doubt after a restart; and what can't be is an error. Method: the words of the
    // live page, as who dies in between leaves them.
    let directory = directory();
    let path = directory.path().join("a");
    let file = AppendOptions::new().create(&path).unwrap();
    file.push(&[1; 100]).unwrap();
    file.sync().unwrap();
    file.push(&[2; 100]).unwrap();
    drop(file);
    restart(&path);
    let looked = AppendFile::inspect(&path).unwrap();
    assert_eq!((looked.doubtful, looked.durable_bytes, looked.len_bytes), (100..200, 100, 200));
    let opened = AppendFile::open(&path).unwrap();
    assert_eq!(opened.doubtful(), 100..200);
    opened.sync().unwrap();
    assert_eq!(AppendFile::inspect(&path).unwrap().doubtful, 0..0);
    drop(opened);
    // Length and checksum are there, the state is not.
    put(&path, SEAL + 8, 200);
    let looked = AppendFile::inspect(&path).unwrap();
    assert_eq!((looked.seal_begun, looked.is_sealed, looked.data_crc), (true, false, None));
    assert!(matches!(Snapshot::open(&path), Err(Error::NotSealed { .. })));
    // The target and the odd generation are there, the length is not.
    put(&path, TARGET, 50);
    put(&path, GENERATION, word(&path, GENERATION) + 1);
    let looked = AppendFile::inspect(&path).unwrap();
    assert_eq!((looked.loss_begun, looked.len_bytes, word(&path, LEN)), (true, 50, 200));
    assert_eq!(AppendFile::open(&path).unwrap().data(), [1; 50]);
    assert!(!AppendFile::inspect(&path).unwrap().loss_begun);
    // A seal that covers something else.
    AppendFile::open(&path).unwrap().seal().unwrap();
    let sealed = fs::read(&path).unwrap();
    assert!(!AppendFile::inspect(&path).unwrap().seal_begun);
    for (at, value, what) in [(SEAL, 7, "seal"), (SEAL + 8, 51, "seal"), (LEN, 49, "length in the seal")] {
        fs::write(&path, &sealed).unwrap();
        put(&path, at, value);
        let error = AppendFile::inspect(&path).unwrap_err();
        assert!(matches!(&error, Error::Corrupt { what: found, .. } if found.contains(what)), "{error:?}");
    }
    fs::write(&path, &sealed[..2 * PAGE as usize + 49]).unwrap();
    let error = AppendFile::inspect(&path).unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }), "{error:?}");
}

#[test]
fn the_numbers_of_a_ranged_file_add_up() {
    // Goal: what is written, taken and free is all there is, also with a last unit that is cut off; and after a restart of the machine the
    // numbers are those that opening makes of it. Method: random use of files of every alignment; look, open, look again.
    let directory = directory();
    for (n, alignment) in
        [Alignment::Byte, Alignment::Line, Alignment::Page].into_iter().cycle().take(60).enumerate()
    {
        let path = directory.path().join(n.to_string());
        let size = 1 + mix(n as u64) % (20 * alignment.bytes());
        let file = RangedOptions::new().alignment(alignment).create(&path, size).unwrap();
        let (mut held, mut exact) = (vec![], [0; 3]);
        for step in 0..12 {
            let random = mix(n as u64 * 100 + step);
            let Ok(range) = file.allocate_up_to(1 + random % (4 * alignment.bytes())) else { break };
            // In whole units, but for the end of the file.
            let bytes = range.end().next_multiple_of(alignment.bytes()).min(size) - range.start();
            match random % 5 {
                0 => drop(range),
                1 => {
                    exact[1] += bytes;
                    held.push(range);
                }
                kind => {
                    let receipt = file.commit(range).unwrap();
                    exact[0] += bytes;
                    if kind == 2 {
                        file.flush(&receipt).unwrap();
                        exact[2] += bytes;
                    }
                }
            }
        }
        let looked = RangedFile::inspect(&path).unwrap();
        assert_eq!([looked.written_bytes, looked.taken_bytes, looked.durable_bytes], exact, "{looked:?}");
        assert_eq!(looked.written_bytes + looked.taken_bytes + looked.free_bytes, size, "{looked:?}");
        assert_eq!(looked.missing_bytes, size - looked.written_bytes);
        assert_eq!(looked.free_bytes, file.remaining());
        assert_eq!(looked.free_bytes, size - looked.next_position + looked.freed_bytes);
        let missing: u64 = file.missing().unwrap().map(|bytes| bytes.end - bytes.start).sum();
        assert_eq!(looked.missing_bytes, missing);
        assert_eq!((looked.doubtful_bytes, looked.rebooted), (0, false));
        held.into_iter().for_each(std::mem::forget);
        // The leaked ranges hold their opening: another process has to be imagined, whose locks are gone.
        let copy = directory.path().join(format!("{n} copied"));
        fs::copy(&path, &copy).unwrap();
        restart(&copy);
        let before = RangedFile::inspect(&copy).unwrap();
        assert_eq!((before.rebooted, before.taken_bytes, before.written_bytes), (true, 0, exact[2]));
        assert_eq!(before.doubtful_bytes, exact[0] - exact[2]);
        drop(RangedFile::open(&copy).unwrap());
        let after = RangedFile::inspect(&copy).unwrap();
        let numbers = |s: &shm_ring::RangedStats| {
            [s.written_bytes, s.missing_bytes, s.taken_bytes, s.free_bytes, s.durable_bytes]
        };
        assert_eq!(numbers(&before), numbers(&after), "{before:?}\n{after:?}");
        assert_eq!((after.rebooted, after.doubtful_bytes), (false, 0));
    }
}

#[test]
fn a_ranged_file_says_how_it_stands() {
    // Goal: `inspect` needs to read and no more, tells a seal with its checksum, one that was begun, and one that can't be. Method: a file
    // of others, sealed; its words.
    let directory = directory();
    let path = directory.path().join("r");
    let file = RangedOptions::new().mode(0o640).create(&path, 1000).unwrap();
    drop(file.write(file.allocate(1000).unwrap(), &record(0, 0, 1000)).unwrap());
    put(&path, SEAL + 16, 5);
    mode(&path, 0o466);
    let looked = RangedFile::inspect(&path).unwrap();
    assert_eq!((looked.mode, looked.layout_version, looked.is_being_opened), (0o466, 1, false));
    assert_eq!((looked.seal_begun, looked.is_sealed, looked.data_crc), (true, false, None));
    assert!((looked.written_ratio() - 1.0).abs() < 1e-9);
    assert_eq!(looked.uuid_string().replace('-', "").len(), 32);
    mode(&path, 0o600);
    file.seal().unwrap();
    let sealed = RangedFile::inspect(&path).unwrap();
    assert_eq!((sealed.seal_begun, sealed.is_sealed), (false, true));
    assert_eq!(sealed.data_crc, Some(crc32c(&record(0, 0, 1000))));
    put(&path, SEAL + 16, 5);
    let error = RangedFile::inspect(&path).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { what, .. } if what.contains("seal")), "{error:?}");
}

#[test]
fn who_observes_a_ranged_file_reads_what_is_written_and_nothing_else() {
    // Goal: an observer sees what others commit and free, copies it, and is refused the rest; the file stays as it is. Method: beside the
    // writer; after a restart, when only what was flushed counts.
    let directory = directory();
    let path = directory.path().join("r");
    let file = RangedOptions::new().create(&path, 1000).unwrap();
    let observer = RangedFile::observe(&path).unwrap();
    let list = || -> (Vec<_>, Vec<_>) {
        (observer.written().unwrap().collect(), observer.missing().unwrap().collect())
    };
    assert_eq!(list(), (vec![], vec![0..1000]));
    let flushed = file.write(file.allocate(128).unwrap(), &record(0, 0, 128)).unwrap();
    let freed = file.write(file.allocate(64).unwrap(), &[1; 64]).unwrap();
    let plain = file.write(file.allocate(64).unwrap(), &[2; 64]).unwrap();
    let _held = file.allocate(64).unwrap();
    file.flush(&flushed).unwrap();
    assert_eq!(list(), (vec![0..256], vec![256..1000]));
    file.free(freed).unwrap();
    assert_eq!(list(), (vec![0..128, 192..256], vec![128..192, 256..1000]));
    let mut bytes = [0; 128];
    observer.read_at(0, &mut bytes).unwrap();
    assert!(bytes[..] == record(0, 0, 128));
    observer.read_at(plain.start() + 3, &mut bytes[..60]).unwrap();
    assert_eq!(bytes[..60], [2; 60]);
    for (offset, len) in [(100, 100), (150, 1), (256, 1), (999, 1)] {
        assert_eq!(observer.read_at(offset, &mut bytes[..len]), Err(RangeError::NotWritten), "{offset}");
    }
    let out = RangeError::OutOfBounds { start: 999, end: 1001, size_bytes: 1000 };
    assert_eq!(observer.read_at(999, &mut bytes[..2]), Err(out));
    assert_eq!((observer.size(), observer.path()), (1000, &*path));
    assert_eq!(observer.stats().unwrap(), file.stats().unwrap());
    let before = fs::read(&path).unwrap();
    let copy = directory.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    restart(&copy);
    let other = RangedFile::observe(&copy).unwrap();
    assert_eq!(other.written().unwrap().collect::<Vec<_>>(), [0..128]);
    assert_eq!(other.missing().unwrap().collect::<Vec<_>>(), [128..1000]);
    assert_eq!(other.read_at(192, &mut bytes[..1]), Err(RangeError::NotWritten));
    other.read_at(1, &mut bytes[..127]).unwrap();
    assert!(bytes[..127] == record(0, 0, 128)[1..]);
    // In use it is fit, whatever the boot id: containers have their own.
    restart(&path);
    assert_eq!(list().0, [0..128, 192..256]);
    put(&path, BOOT, u64::from_le_bytes(before[BOOT as usize..][..8].try_into().unwrap()));
    put(&path, BOOT + 8, u64::from_le_bytes(before[BOOT as usize + 8..][..8].try_into().unwrap()));
    assert!(fs::read(&path).unwrap() == before, "who looks changes nothing");
}

#[test]
fn the_rest_of_a_unit_goes_with_its_range() {
    // Goal: what the documents say: a range that is shorter than its units has them whole; their rest counts as written, and is what stood
    // there: zeros, or an earlier owner's bytes; in a snapshot too. Method: three short ranges, one of them where another was before.
    let directory = directory();
    let path = directory.path().join("r");
    let file = RangedOptions::new().create(&path, 192).unwrap();
    let earlier = file.write(file.allocate(64).unwrap(), &[1; 64]).unwrap();
    file.free(earlier).unwrap();
    for start in [64, 128, 0] {
        let range = file.allocate(10).unwrap();
        assert_eq!(range.start(), start);
        drop(file.write(range, &[2; 10]).unwrap());
    }
    let mut expected = [0; 192];
    expected[10..64].fill(1);
    for start in [0, 64, 128] {
        expected[start..start + 10].fill(2);
    }
    assert_eq!(file.missing().unwrap().next(), None);
    let mut bytes = [9; 192];
    RangedFile::observe(&path).unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, expected);
    file.seal().unwrap();
    assert_eq!(Snapshot::open(&path).unwrap().as_slice(), expected);
}

#[test]
fn an_observer_is_of_one_side_of_a_fork() {
    // Goal: a child has no observer of its parent's, and opens its own. Method: every call in a child.
    let directory = directory();
    alone("inspecting::forks", &[("path", &directory.path().join("r").display())]);
}

pub(crate) fn forks() {
    let path = Script::path();
    let file = RangedOptions::new().create(&path, 1000).unwrap();
    drop(file.write(file.allocate(64).unwrap(), &[1; 64]).unwrap());
    let observer = RangedFile::observe(&path).unwrap();
    let mut runs = observer.written().unwrap();
    fork(|| {
        assert_eq!(observer.read_at(0, &mut [0; 64]), Err(RangeError::Forked));
        assert!(matches!(observer.written().map(drop), Err(RangeError::Forked)));
        assert!(matches!(observer.missing().map(drop), Err(RangeError::Forked)));
        assert!(matches!(observer.stats(), Err(Error::Forked)));
        assert_eq!(runs.next(), None);
        assert_eq!(RangedFile::observe(&path).unwrap().written().unwrap().next(), Some(0..64));
    })
    .finish();
    assert_eq!(observer.written().unwrap().next(), Some(0..64));
}
