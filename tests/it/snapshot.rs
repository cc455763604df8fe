//! Snapshot: bytes that do not change, read from a map, from a file and from memory.
//!
//! What the promises of one backend are is in here; what a file must be to be opened is in `snapshot_opening` and `snapshot_sealed`, and
//! what becomes of a reader whose file is cut in `snapshot_cut`.

use crate::allocations::allocations;
use crate::harness::{Actor, PREFIX, Script, alone, directory, fork, listen, say};
use crate::records::mix;
use shm_ring::{Advice, FileSnapshot, MemorySnapshot, ReadAt, ReadError, Snapshot};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};

const PAGE: usize = 4096;

/// Bytes that say where they stand.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len.div_ceil(8) as u64).flat_map(|n| mix(n).to_le_bytes()).take(len).collect()
}

/// The same bytes behind every backend.
fn backends(directory: &Path, bytes: &[u8]) -> [(&'static str, Box<dyn ReadAt>); 3] {
    let path = file(directory, bytes);
    [
        ("mmap", Box::new(Snapshot::open_plain(&path).unwrap())),
        ("pread", Box::new(FileSnapshot::open_plain(&path).unwrap())),
        ("memory", Box::new(MemorySnapshot::new(bytes))),
    ]
}

/// A plain file with these bytes.
pub(crate) fn file(directory: &Path, bytes: &[u8]) -> PathBuf {
    let path = directory.join("plain");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// What there is to be read at `offset`, by both ways to read it.
fn read(from: &dyn ReadAt, offset: u64, len: usize) -> Result<Vec<u8>, ReadError> {
    let mut buf = vec![0xee; len];
    let copied = from.read_exact_at(offset, &mut buf).map(|()| buf);
    let shared = from.read_at(offset, len).map(|bytes| bytes.to_vec());
    assert_eq!(copied, shared, "{len} bytes from {offset} of {from:?}");
    copied
}

fn reads(from: &dyn ReadAt, bytes: &[u8], offset: usize, len: usize) {
    assert_eq!(read(from, offset as u64, len).unwrap(), bytes[offset..offset + len], "{len} from {offset}");
}

fn refuses(from: &dyn ReadAt, offset: u64, len: usize) {
    let expected = ReadError::OutOfBounds { offset, len_bytes: len, snapshot_bytes: from.len() };
    assert_eq!(from.read_at(offset, len).unwrap_err(), expected);
    // There is no slice of the others.
    if len < 1 << 30 {
        assert_eq!(read(from, offset, len), Err(expected));
    }
}

type Case = (&'static str, fn(&dyn ReadAt, &[u8]));

/// What any backend must do with any bytes.
const CASES: &[Case] = &[
    ("a new one has all bytes and no other", |from, bytes| {
        assert_eq!((from.len(), from.is_empty()), (bytes.len() as u64, bytes.is_empty()));
    }),
    ("all at once", |from, bytes| reads(from, bytes, 0, bytes.len())),
    ("from an offset on", |from, bytes| {
        for offset in [1, 7, 10, PAGE - 1, PAGE, PAGE + 1].into_iter().filter(|at| *at <= bytes.len()) {
            reads(from, bytes, offset, (bytes.len() - offset).min(100));
        }
    }),
    ("in sequence", |from, bytes| {
        let mut found = vec![];
        while found.len() < bytes.len() {
            found.extend(read(from, found.len() as u64, 100.min(bytes.len() - found.len())).unwrap());
        }
        assert_eq!(found, bytes);
    }),
    ("no bytes, wherever there could be some", |from, bytes| {
        for offset in [0, bytes.len() / 2, bytes.len()] {
            reads(from, bytes, offset, 0);
        }
    }),
    ("one byte, each", |from, bytes| {
        for offset in (0..bytes.len()).step_by(1 + bytes.len() / 1000) {
            reads(from, bytes, offset, 1);
        }
    }),
    ("at the start", |from, bytes| reads(from, bytes, 0, bytes.len().min(10))),
    ("at the end", |from, bytes| {
        let len = bytes.len().min(10);
        reads(from, bytes, bytes.len() - len, len);
    }),
    ("exactly to the end, and no byte further", |from, bytes| {
        for offset in [0, bytes.len() / 2, bytes.len().saturating_sub(1), bytes.len()] {
            let left = bytes.len() - offset;
            reads(from, bytes, offset, left);
            refuses(from, offset as u64, left + 1);
        }
    }),
    ("beyond the end", |from, bytes| {
        let end = bytes.len() as u64;
        refuses(from, end, 1);
        refuses(from, end.saturating_sub(5), 10);
        refuses(from, 0, bytes.len() + PAGE);
        refuses(from, 0, usize::MAX);
    }),
    ("an offset beyond the end", |from, bytes| {
        let end = bytes.len() as u64;
        for offset in [end + 1, end + PAGE as u64, end * 2 + 1, 1 << 40, u64::MAX / 2] {
            refuses(from, offset, 0);
            refuses(from, offset, 1);
        }
    }),
    ("sums that wrap around", |from, bytes| {
        for (offset, len) in [
            (u64::MAX, 2),
            (u64::MAX, 1),
            (u64::MAX, 0),
            (u64::MAX - 1, 2),
            (u64::MAX - 9, bytes.len() + 10),
            (1, usize::MAX),
            (2, usize::MAX),
            (u64::MAX, usize::MAX),
            (1 << 63, 1 << 63),
        ] {
            refuses(from, offset, len);
        }
    }),
    ("many small ones, here and there", |from, bytes| {
        for n in 0..1000 {
            let len = (mix(n) % 17) as usize % (bytes.len() + 1);
            let offset = mix(!n) as usize % (bytes.len() - len + 1);
            reads(from, bytes, offset, len);
        }
    }),
    ("every size", |from, bytes| {
        for len in (0..18).map(|power| 1 << power).filter(|len| *len <= bytes.len()) {
            reads(from, bytes, 0, len);
            reads(from, bytes, bytes.len() - len, len);
        }
    }),
    ("whole pages", |from, bytes| {
        for page in 0..bytes.len() / PAGE {
            reads(from, bytes, page * PAGE, PAGE);
        }
    }),
    ("across pages, unaligned", |from, bytes| {
        for edge in (PAGE..bytes.len()).step_by(PAGE) {
            for before in [1, 3, 13] {
                reads(from, bytes, edge - before, (before + 13).min(bytes.len() - edge + before));
            }
        }
    }),
    ("by threads at once", |from, bytes| {
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    let quarter = bytes.len() / 4;
                    for _ in 0..50 {
                        reads(from, bytes, thread * quarter, quarter);
                    }
                });
            }
        });
    }),
    ("by threads at once, the same bytes", |from, bytes| {
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    for n in 0..200 {
                        let offset = (n * 7 + thread) % (bytes.len() / 2 + 1);
                        reads(from, bytes, offset, bytes.len() / 2);
                    }
                });
            }
        });
    }),
];

#[test]
fn every_backend_reads_what_was_written() {
    // Goal: a map, a file and memory differ in nothing that a reader sees: right bytes, all of them, or an error before any.
    // Method: every case above over every backend, with no bytes, one, the edges of a page, several pages and many.
    for len in [0, 1, 100, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE, 5 * PAGE + 1234, 1 << 20] {
        let (directory, bytes) = (directory(), pattern(len));
        for (backend, from) in backends(directory.path(), &bytes) {
            check_all(backend, &*from, &bytes);
        }
    }
}

/// Every case, over one backend.
pub(crate) fn check_all(backend: &str, from: &dyn ReadAt, bytes: &[u8]) {
    for (case, check) in CASES {
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(from, bytes)));
        assert!(checked.is_ok(), "{backend}, {} bytes: {case}; the message is above", bytes.len());
    }
}

#[test]
fn pointers_to_a_backend_are_backends() {
    // Goal: a reader behind `Arc`, `Box` or a reference is the same reader, in-place reads included. Method: where the bytes lie.
    let (directory, bytes) = (directory(), pattern(100));
    let snapshot = Snapshot::open_plain(file(directory.path(), &bytes)).unwrap();
    let (shared, owned) = (Arc::new(snapshot.clone()), Box::new(snapshot.clone()));
    let borrowed = &snapshot;
    for from in [&shared as &dyn ReadAt, &owned, &borrowed] {
        reads(from, &bytes, 3, 40);
        assert_eq!((from.len(), from.is_empty()), (100, false));
        assert_eq!(from.read_at(3, 40).unwrap().as_ptr(), snapshot.as_slice()[3..].as_ptr());
        refuses(from, 99, 2);
    }
}

/// A backend of somebody else's, which has nothing but what it must.
#[derive(Debug)]
struct Zeros;

impl ReadAt for Zeros {
    fn len(&self) -> u64 {
        1 << 60
    }

    fn read_exact_at(&self, _: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        buf.fill(0);
        Ok(())
    }
}

#[test]
fn a_backend_of_ones_own_needs_two_functions() {
    // Goal: what is not implemented is made of what is, and a length out of nowhere is refused before it is allocated.
    // Method: a backend that has the two, and is large.
    assert_eq!(&Zeros.read_at(1 << 59, 3).unwrap()[..], [0; 3]);
    assert!(!Zeros.is_empty());
    assert_eq!(allocations(|| assert!(Zeros.read_at(1, 1 << 60).is_err())), 0);
}

#[test]
fn reading_in_place_copies_and_allocates_nothing() {
    // Goal: `as_slice` and `read_at` of a map hand out its own bytes, without an allocation, `read_exact_at` copies into what it was given;
    // and memory's `read_at` as well. Method: addresses; the allocator counts.
    let (directory, bytes) = (directory(), pattern(1 << 20));
    let snapshot = Snapshot::open_plain(file(directory.path(), &bytes)).unwrap();
    let memory = MemorySnapshot::new(bytes.clone());
    let mut buf = vec![0; 64 << 10];
    for (from, whole) in [(&snapshot as &dyn ReadAt, snapshot.as_slice()), (&memory, memory.as_slice())] {
        let inside = whole.as_ptr_range();
        for (offset, len) in [(0, 1), (4096, 4096), (12_345, 64 << 10), (0, 1 << 20), ((1 << 20) - 1, 1)] {
            let n = allocations(|| {
                let part = from.read_at(offset as u64, len).unwrap();
                assert!(inside.contains(&part.as_ptr()) && part.as_ptr() == whole[offset..].as_ptr());
                assert_eq!(part.len(), len);
                // Shared once more, and taken apart.
                drop((part.clone(), part.slice(len / 2..)));
                drop(part);
            });
            assert_eq!(n, 0, "{len} bytes from {offset} of {from:?}");
        }
        assert_eq!(allocations(|| from.read_exact_at(77, &mut buf).unwrap()), 0);
        assert_eq!(buf, bytes[77..77 + buf.len()]);
        assert_eq!(allocations(|| assert!(from.read_at(u64::MAX, 2).is_err())), 0);
        assert_eq!(allocations(|| assert!(from.read_at(1 << 20, 0).unwrap().is_empty())), 0);
    }
    assert_eq!(allocations(|| assert_eq!(snapshot.as_slice()[5..10], bytes[5..10])), 0);
    assert_eq!(allocations(|| drop(snapshot.clone())), 0);
    let copied = FileSnapshot::open_plain(directory.path().join("plain")).unwrap();
    assert_eq!(allocations(|| copied.read_exact_at(77, &mut buf).unwrap()), 0);
    assert_eq!(allocations(|| drop(copied.read_at(77, 1000).unwrap())), 1);
}

#[test]
fn a_mapped_snapshot_is_aligned_to_its_pages() {
    // Goal: byte 0 is aligned for any type, so a table in a file can be looked at as what it is. Method: the address; words in place.
    let directory = directory();
    let words: Vec<u8> = (0..1000u64).flat_map(|n| (n * n).to_le_bytes()).collect();
    let snapshot = Snapshot::open_plain(file(directory.path(), &words)).unwrap();
    assert_eq!(snapshot.as_slice().as_ptr().addr() % PAGE, 0);
    let found: &[u64] = bytemuck::try_cast_slice(snapshot.as_slice()).unwrap();
    assert!(found.iter().enumerate().all(|(n, word)| *word == (n * n) as u64));
    let nothing = Snapshot::open_plain(file(directory.path(), b"")).unwrap();
    assert_eq!(bytemuck::try_cast_slice::<u8, u64>(nothing.as_slice()), Ok(&[][..]));
}

#[test]
fn opening_a_plain_file_reads_none_of_it() {
    // Goal: what is not read is not brought into memory: opening is as quick for a large file as for a small one.
    // Method: the kernel's count of this mapping's pages, after opening, and after a byte was read.
    let (directory, bytes) = (directory(), vec![1; 64 << 20]);
    let snapshot = Snapshot::open_plain(file(directory.path(), &bytes)).unwrap();
    // With the feature `guard` a read asks for the last page, opening does not.
    assert_eq!(resident_bytes(&snapshot), 0);
    assert_eq!(snapshot.as_slice()[20 << 20], 1);
    let after = resident_bytes(&snapshot);
    assert!(after > 0 && after <= 4 << 20, "{after} bytes are there after one was read");
}

/// How much of a snapshot's mapping is in this process's memory.
fn resident_bytes(snapshot: &Snapshot) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let begins = format!("{:x}-", snapshot.as_slice().as_ptr().addr());
    let mut lines = maps.lines().skip_while(|line| !line.starts_with(&begins));
    let rss = lines.find_map(|line| line.strip_prefix("Rss:")).expect("the mapping is listed");
    rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn reading_what_is_there_makes_no_system_call() {
    // Goal: a warm read is loads. Method: strace a process that reads in every way, and look at what it calls between its first word and
    // its last. (With the feature `guard`, only a read from the last page asks for the file's length: this one stays away from it.)
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let directory = directory();
    let (path, trace) = (file(directory.path(), &pattern(1 << 20)), directory.path().join("trace"));
    let status = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["child::entry", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(format!("{PREFIX}ROLE"), "snapshot::reader")
        .env(format!("{PREFIX}path"), &path)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let trace = std::fs::read_to_string(trace).unwrap();
    let lines = trace.lines().skip_while(|line| !line.contains("@begin")).skip(1);
    let between: Vec<_> = lines.take_while(|line| !line.contains("@end")).collect();
    assert!(trace.contains("@begin") && trace.contains("@end"), "{trace}");
    assert!(between.is_empty(), "warm reads made these calls: {between:#?}");
}

pub(crate) fn reader() {
    let snapshot = Snapshot::open_plain(Script::path()).unwrap();
    let expected = pattern(1 << 20);
    assert_eq!(snapshot.as_slice(), expected);
    let mut buf = vec![0; 4096];
    say("begin");
    for n in 0..10_000 {
        let offset = mix(n) % ((1 << 20) - 3 * 4096);
        let expected = &expected[offset as usize..][..4096];
        snapshot.read_exact_at(offset, &mut buf).unwrap();
        assert_eq!(buf, expected);
        assert_eq!(&snapshot.read_at(offset, 4096).unwrap()[..], expected);
    }
    say("end");
}

#[test]
fn what_is_appended_later_is_not_part_of_it() {
    // Goal: the length is that of opening, and nothing behind it is handed out, not even of the same page.
    // Method: a file that ends inside a page and goes on in it, and in others, after it was opened.
    let (directory, bytes) = (directory(), pattern(5000));
    let path = file(directory.path(), &bytes);
    let (mapped, copied) = (Snapshot::open_plain(&path).unwrap(), FileSnapshot::open_plain(&path).unwrap());
    let empty = file(
        &{
            let below = directory.path().join("below");
            std::fs::create_dir(&below).unwrap();
            below
        },
        b"",
    );
    let nothing = Snapshot::open_plain(&empty).unwrap();
    for path in [&path, &empty] {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(&[7; 9000]).unwrap();
    }
    for from in [&mapped as &dyn ReadAt, &copied] {
        assert_eq!(from.len(), 5000);
        reads(from, &bytes, 0, 5000);
        refuses(from, 4999, 2);
        refuses(from, 5000, 1);
    }
    assert_eq!(mapped.as_slice(), bytes);
    assert!(nothing.is_empty() && nothing.as_slice().is_empty());
    refuses(&nothing, 0, 1);
    assert_eq!(Snapshot::open_plain(&path).unwrap().len(), 14_000);
}

#[test]
fn a_removed_or_replaced_file_is_read_on() {
    // Goal: who has a snapshot keeps its bytes when the name goes to another file or to none; a new opening gets the new file.
    // Method: another process reads while this one replaces the file and removes it; `Bytes` that outlive their snapshot.
    let (directory, bytes) = (directory(), pattern(100_000));
    let path = file(directory.path(), &bytes);
    let mut actor = Actor::start("snapshot::keeper", &[("path", &path.display())]);
    let (mapped, copied) = (Snapshot::open_plain(&path).unwrap(), FileSnapshot::open_plain(&path).unwrap());
    let kept = mapped.read_at(50_000, 10_000).unwrap();
    actor.expect("ready");
    let replacement = directory.path().join("new");
    std::fs::write(&replacement, b"another").unwrap();
    std::fs::rename(&replacement, &path).unwrap();
    let new = Snapshot::open_plain(&path).unwrap();
    assert_eq!(new.as_slice(), b"another");
    std::fs::remove_file(&path).unwrap();
    actor.tell("gone");
    for from in [&mapped as &dyn ReadAt, &copied] {
        reads(from, &bytes, 0, bytes.len());
    }
    assert_eq!(new.as_slice(), b"another");
    drop((mapped, copied, new));
    assert_eq!(&kept[..], &bytes[50_000..60_000]);
    actor.expect("whole");
    actor.finish();
}

pub(crate) fn keeper() {
    let path = Script::path();
    let (mapped, copied) = (Snapshot::open_plain(&path).unwrap(), FileSnapshot::open_plain(&path).unwrap());
    say("ready");
    assert_eq!(listen(), "gone");
    assert!(!path.exists());
    let expected = pattern(100_000);
    assert_eq!(mapped.as_slice(), expected);
    reads(&copied, &expected, 0, expected.len());
    say("whole");
}

#[test]
fn a_map_keeps_no_descriptor() {
    // Goal: maps are not bounded by descriptors: the file is closed when it is mapped, and the map works on; a file that is read by
    // system calls keeps one. (With the feature `guard` a map keeps one, for the file's length.)
    // Method: this process's descriptors of that file, before and after.
    let (directory, bytes) = (directory(), pattern(10_000));
    let path = file(directory.path(), &bytes);
    let open = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        links.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == path)).count()
    };
    assert_eq!(open(), 0);
    let mapped = Snapshot::open_plain(&path).unwrap();
    assert_eq!(open(), usize::from(cfg!(feature = "guard")));
    let copied = FileSnapshot::open_plain(&path).unwrap();
    let clones = (mapped.clone(), copied.clone());
    assert_eq!(open(), 1 + usize::from(cfg!(feature = "guard")));
    reads(&mapped, &bytes, 0, bytes.len());
    drop((mapped, copied));
    reads(&clones.0, &bytes, 0, bytes.len());
    reads(&clones.1, &bytes, 0, bytes.len());
    drop(clones);
    assert_eq!(open(), 0);
}

#[test]
fn forked_children_have_their_parents_snapshots() {
    // Goal: a snapshot holds no lock and writes nothing, so a child reads on, and dropping it there disturbs nobody.
    // Method: a child reads both kinds, drops them, and ends; the parent reads on.
    let directory = directory();
    alone("snapshot::parent", &[("path", &directory.path().display())]);
}

pub(crate) fn parent() {
    let bytes = pattern(100_000);
    let path = file(&Script::path(), &bytes);
    let (mapped, copied) = (Snapshot::open_plain(&path).unwrap(), FileSnapshot::open_plain(&path).unwrap());
    let part = mapped.read_at(10, 1000).unwrap();
    let child = fork(|| {
        reads(&mapped, &bytes, 0, bytes.len());
        reads(&copied, &bytes, 0, bytes.len());
        assert_eq!(&part[..], &bytes[10..1010]);
        // A child's own copies of the handles.
        let (mapped, copied) = (mapped.clone(), copied.clone());
        drop((mapped, copied));
    });
    child.finish();
    let child = fork(|| {
        // Given up for good, as a destructor of the child's would.
        let mapped = std::mem::ManuallyDrop::new(Snapshot::open_plain(&path).unwrap());
        reads(&*mapped, &bytes, 0, bytes.len());
    });
    child.finish();
    reads(&mapped, &bytes, 0, bytes.len());
    reads(&copied, &bytes, 0, bytes.len());
    assert_eq!(&part[..], &bytes[10..1010]);
}

#[test]
fn advice_is_for_bytes_that_are_there() {
    // Goal: hints change nothing, and none reaches beyond the snapshot, where something else may be mapped.
    // Method: every hint at every edge; what is outside is refused.
    let (directory, bytes) = (directory(), pattern(5 * PAGE + 1));
    let snapshot = Snapshot::open_plain(file(directory.path(), &bytes)).unwrap();
    for advice in [Advice::Normal, Advice::Sequential, Advice::Random, Advice::WillNeed] {
        for (offset, len) in
            [(0, bytes.len()), (1, 1), (PAGE - 1, 2), (bytes.len() - 1, 1), (bytes.len(), 0), (0, 0)]
        {
            assert_eq!(snapshot.advise(offset as u64, len, advice), Ok(()), "{advice:?} {offset} {len}");
        }
        for (offset, len) in [(0, bytes.len() + 1), (bytes.len() as u64, 1), (u64::MAX, 2), (1, usize::MAX)] {
            let refused = snapshot.advise(offset, len, advice);
            assert!(
                matches!(refused, Err(ReadError::OutOfBounds { .. })),
                "{advice:?} {offset} {len}: {refused:?}"
            );
        }
    }
    assert_eq!(snapshot.as_slice(), bytes);
    let nothing = directory.path().join("empty");
    std::fs::write(&nothing, b"").unwrap();
    assert_eq!(Snapshot::open_plain(nothing).unwrap().advise(0, 0, Advice::WillNeed), Ok(()));
}

#[test]
fn a_refusal_says_what_was_asked_and_what_there_is() {
    // Goal: an error of a read can be understood, and passed on as the standard library's. Method: its words, its kind.
    let error = MemorySnapshot::new("123").read_at(u64::MAX, 2).unwrap_err();
    let message = error.to_string();
    assert!(
        ["18446744073709551615", "2 bytes", "3 bytes"].iter().all(|part| message.contains(part)),
        "{message}"
    );
    let error = std::io::Error::from(error);
    assert_eq!((error.kind(), error.to_string()), (std::io::ErrorKind::UnexpectedEof, message));
    assert!(!format!("{:?}", MemorySnapshot::new("secret")).contains("secret"), "bytes are not for messages");
}

#[test]
fn a_copy_that_no_memory_holds_is_an_error() {
    // Goal: a length that the file has and memory has not ends in an error, and not in the end of the process. Method: a file without
    // blocks, longer than any address space.
    let directory = directory();
    let path = directory.path().join("long");
    let len = 1 << 50;
    if let Err(error) = std::fs::File::create(&path).unwrap().set_len(len) {
        println!("SKIPPED: no such file here: {error}");
        return;
    }
    let snapshot = FileSnapshot::open_plain(&path).unwrap();
    let whole = usize::try_from(len).unwrap();
    assert_eq!(snapshot.read_at(0, whole), Err(ReadError::Io { offset: 0, errno: nix::libc::ENOMEM }));
    assert_eq!(snapshot.read_at(len - 3, 3).unwrap(), [0; 3][..]);
}
