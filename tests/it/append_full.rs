//! Append, full: a disk without room is an error at each growth, and never a signal; and sizes that don't fit 32 bits.

use crate::append::{DATA_OFFSET, file_bytes};
use crate::disks::{alone_on_a_disk, fill_up, on_each_disk};
use crate::harness::{Actor, Script, directory, say};
use crate::records::record;
use shm_ring::{AppendError, AppendFile, AppendOptions, Error, FileKind};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

const PAGE: u64 = 4096;

#[test]
fn every_growth_on_a_full_disk_is_an_error_and_changes_nothing() {
    // Goal: no space is `NoSpace` with the sizes, wherever growth meets it; the file is as before, bytes into what it has are taken, and it
    // grows when there is room again. Method: processes mount small file systems (memory, and ext4 in a file) for themselves alone, fill
    // them before each growth of a file, and empty them.
    on_each_disk("every_growth_on_a_full_disk_is_an_error_and_changes_nothing", "append_full::alone");
}

pub(crate) fn alone() {
    alone_on_a_disk(grows);
}

fn grows(directory: &Path) {
    let (path, rest) = (directory.join("a"), directory.join("rest"));
    let mut file = AppendOptions::new().capacity(PAGE).create(&path).unwrap();
    let mut model = vec![];
    for n in 0..5 {
        fill_up(&rest);
        // What it has it can use, though nothing is left.
        let edge = record(0, n, (file.capacity_bytes() - file.len()) as usize);
        file.push(&edge).unwrap();
        model.extend(edge);
        let before = (file.len(), file.capacity_bytes(), file_bytes(&path));
        for needed in [1, 5000, 20 << 20] {
            for refused in [file.push(&vec![1; needed]).map(drop), file.resize(before.0 + needed as u64)] {
                let Err(AppendError::NoSpace { needed_bytes, free_bytes }) = refused else {
                    panic!("{refused:?}")
                };
                assert!(needed_bytes >= needed as u64 && free_bytes < 1 << 20, "{refused:?}");
            }
            assert_eq!((file.len(), file.capacity_bytes(), file_bytes(&path)), before);
            assert!(file.data() == model && file.is_valid());
        }
        fs::remove_file(&rest).unwrap();
        file.push(b"!").unwrap();
        model.push(b'!');
        assert!(file.capacity_bytes() > before.1);
    }
    assert!(file.data() == model);
    drop(file);
    // Room for what is needed, and not for what would be good.
    let file = AppendFile::open(&path).unwrap();
    file.push(&vec![1; (file.capacity_bytes() - file.len()) as usize]).unwrap();
    fill_up(&rest);
    let (room, capacity) = (16 << 10, file.capacity_bytes());
    let length = file_bytes(&rest);
    File::options().write(true).open(&rest).unwrap().set_len(length - room).unwrap();
    // Not enough for this, and none of it is kept.
    let before = file_bytes(&path);
    let refused = file.push(&vec![1; 4 * room as usize]);
    assert!(matches!(refused, Err(AppendError::NoSpace { .. })), "{refused:?}");
    assert_eq!(file_bytes(&path), before);
    file.push(&[1]).unwrap();
    assert_eq!(file.capacity_bytes(), capacity + PAGE);
    drop(file);
    fs::remove_file(&rest).unwrap();
    others(directory, &rest);
}

/// What is made or opened on a full disk.
fn others(directory: &Path, rest: &Path) {
    // A copy with holes: opening it fills them, or says that it can't.
    let (whole, holes) = (directory.join("whole"), directory.join("holes"));
    let file = AppendOptions::new().capacity(256 << 10).create(&whole).unwrap();
    file.push(b"hello").unwrap();
    drop(file);
    let bytes = fs::read(&whole).unwrap();
    fs::remove_file(&whole).unwrap();
    fs::write(&holes, &bytes[..DATA_OFFSET as usize + 5]).unwrap();
    File::options().write(true).open(&holes).unwrap().set_len(bytes.len() as u64).unwrap();
    let legacy = directory.join("legacy");
    fs::write(&legacy, [&0xdead_beef_u32.to_le_bytes()[..], &[0; 4]].concat()).unwrap();
    fill_up(rest);
    let names = fs::read_dir(directory).unwrap().count();
    let no_space = |error: Error| matches!(error, Error::NoSpace { kind: FileKind::Append, .. });
    assert!(no_space(AppendFile::open(&holes).unwrap_err()));
    assert!(no_space(AppendOptions::new().create(&whole).unwrap_err()));
    assert!(no_space(AppendFile::import(&legacy, &whole).unwrap_err()));
    assert_eq!(fs::read_dir(directory).unwrap().count(), names, "something was left");
    assert_eq!(fs::read(&holes).unwrap(), bytes);
    fs::remove_file(rest).unwrap();
    let file = AppendFile::open(&holes).unwrap();
    fill_up(rest);
    file.push(&vec![1; (file.capacity_bytes() - file.len()) as usize]).unwrap();
    assert!(file.data().starts_with(b"hello"));
    drop(file);
    // Holes below the length are filled before somebody writes there. (Reading them takes room too, in memory.)
    fs::remove_file(rest).unwrap();
    fs::remove_file(&holes).unwrap();
    far(&holes, 200 << 10, 200 << 10);
    let mut file = AppendFile::open(&holes).unwrap();
    fill_up(rest);
    let (refused, before) = (file.clear(), fs::metadata(&holes).unwrap().blocks());
    assert!(matches!(refused, Err(AppendError::NoSpace { .. })), "{refused:?}");
    assert_eq!((file.len(), fs::metadata(&holes).unwrap().blocks()), (200 << 10, before));
    fs::remove_file(rest).unwrap();
    file.clear().unwrap();
    fill_up(rest);
    file.push(&vec![1; 200 << 10]).unwrap();
}

#[test]
fn opening_a_file_with_holes_takes_no_more_than_it_may_need() {
    // Goal: a hole far behind the length is filled when it is needed, not by opening the file; what stood there is never shown. Method: a
    // file that somebody made longer, with old bytes at its end.
    let directory = directory();
    let path = directory.path().join("a");
    drop(AppendOptions::new().create(&path).unwrap());
    let other = File::options().write(true).open(&path).unwrap();
    let (far, whole) = (200 << 20, 1 << 30);
    other.set_len(whole).unwrap();
    other.write_all_at(b"old", DATA_OFFSET + far - 100).unwrap();
    let mut file = AppendFile::open(&path).unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 80 << 20);
    assert!(file.capacity_bytes() < 80 << 20 && file_bytes(&path) == whole);
    file.resize(far).unwrap();
    assert!(file.data().iter().all(|byte| *byte == 0));
    assert_eq!(file_bytes(&path), whole);
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error() {
    // Goal: who may not make files longer hears `NoSpace`, and is not killed by SIGXFSZ; what fits is taken. Method: a process that limits
    // itself to 1 MiB.
    let directory = directory();
    crate::harness::alone("append_full::limited", &[("path", &directory.path().join("a").display())]);
}

pub(crate) fn limited() {
    use nix::sys::resource::{Resource, setrlimit};
    let path = Script::path();
    let longer = path.with_extension("longer");
    drop(AppendOptions::new().capacity(2 << 20).create(&longer).unwrap());
    setrlimit(Resource::RLIMIT_FSIZE, 1 << 20, 1 << 20).unwrap();
    let error = AppendOptions::new().capacity(1 << 20).create(&path).unwrap_err();
    assert!(matches!(error, Error::NoSpace { kind: FileKind::Append, .. }), "{error:?}");
    let file = AppendOptions::new().create(&path).unwrap();
    while file.push(&[1; 1000]).is_ok() {}
    assert_eq!(file_bytes(&path), 1 << 20);
    assert!(matches!(file.push(&[1; 1000]), Err(AppendError::NoSpace { needed_bytes: PAGE, free_bytes: 0 })));
    assert!(file.capacity_bytes() - file.len() < 1000 && file.is_valid());
    // What is longer already is no longer for being opened.
    let file = AppendFile::open(&longer).unwrap();
    assert_eq!(file.capacity_bytes(), 2 << 20);
}

#[test]
fn files_go_on_beyond_four_gibibytes() {
    // Goal: no length or offset is cut to 32 bits: in pushes, slices, copies, pins, after reopening. Method: a file with a hole up to just
    // below 2^32, which takes no room, then pushes across it.
    let directory = directory();
    let path = directory.path().join("a");
    let begin = (4u64 << 30) - 1000;
    far(&path, begin, 4 << 30);
    let file = AppendFile::open(&path).unwrap();
    assert_eq!((file.len(), file.data().len() as u64), (begin, begin));
    let early = file.data();
    let mut follower = AppendFile::follow(&path).unwrap();
    for n in 0..100 {
        assert_eq!(file.push(&record(0, n, 3000)).unwrap(), begin + n * 3000);
    }
    let end = begin + 300_000;
    assert_eq!((file.len(), early.len() as u64), (end, begin));
    assert!(file.capacity_bytes() > 4 << 30);
    for n in 0..100 {
        let expected = record(0, n, 3000);
        let at = begin + n * 3000;
        let mut seen = vec![0; 3000];
        follower.read_at(at, &mut seen).unwrap();
        assert!(seen == expected && file.data()[at as usize..][..3000] == expected, "record {n}");
    }
    assert!(follower.pin().unwrap().data()[begin as usize..] == file.data()[begin as usize..]);
    drop(file);
    let mut file = AppendFile::open(&path).unwrap();
    assert_eq!(file.len(), end);
    file.resize((4 << 30) + 5).unwrap();
    file.resize((4 << 30) + 10).unwrap();
    assert!(file.data()[(4 << 30) + 5..] == [0; 5] && file.data()[(4 << 30) + 4] != 0);
}

/// Makes a file that says it has `len` bytes, all of them in a hole.
fn far(path: &Path, len: u64, capacity: u64) {
    drop(AppendOptions::new().capacity(1).create(path).unwrap());
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(DATA_OFFSET + capacity).unwrap();
    file.write_all_at(&len.to_le_bytes(), PAGE).unwrap();
}

#[test]
fn five_gibibytes_of_a_real_file_are_followed() {
    // Goal: growth of gibibytes in one go moves nothing: a slice from before stays, and a follower in another process goes on. Method: with
    // SHM_RING_LARGE set only, because it takes 5 GiB of disk: `resize`, then pushes, a tail in another process.
    if std::env::var_os("SHM_RING_LARGE").is_none() {
        println!(
            "SKIPPED five_gibibytes_of_a_real_file_are_followed: takes 5 GiB of disk; SHM_RING_LARGE=1 runs it"
        );
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().create(&path).unwrap();
    file.push(b"before").unwrap();
    let mut reader = Actor::start("append_full::far_reader", &[("path", &path.display())]);
    reader.expect("ready");
    let before = file.data().as_ptr();
    file.resize(5 << 30).unwrap();
    let early = file.data();
    file.push(b"behind").unwrap();
    assert_eq!((file.data().as_ptr(), early.len(), early.as_ptr()), (before, 5 << 30, before));
    assert!(early.starts_with(b"before\0\0") && file.data().ends_with(b"\0\0behind"));
    reader.expect("behind");
    reader.finish();
}

pub(crate) fn far_reader() {
    let mut follower = AppendFile::follow(Script::path()).unwrap();
    say("ready");
    assert_eq!(follower.wait(5 << 30, crate::harness::PATIENCE), Ok((5 << 30) + 6));
    let mut seen = [0; 10];
    follower.read_at((5 << 30) - 4, &mut seen).unwrap();
    assert_eq!(&seen, b"\0\0\0\0behind");
    say("behind");
}
