//! Log, pinning: who has a segment mapped keeps it from being used again; nobody else does, whatever becomes of the process.
//!
//! The lock byte is asked for as an appender asks for it, alone, through a description of its own.

use crate::harness::{Actor, Script, alone, directory, eventually, fork, leave, listen, say};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::{ForkResult, alarm};
use shm_ring::replay::{MapPool, PoolOptions, PoolSource};
use shm_ring::{Log, LogOptions, LogReader, MapBudget};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// Of the lock bytes of a segment, the one of its readers.
const READERS: i64 = 2;
/// Nobody else lives that long.
const LIFE_SECONDS: u32 = 60;

/// Whether somebody keeps the segment.
fn is_kept(segment: &Path) -> bool {
    let file = File::options().read(true).write(true).open(segment).unwrap();
    let (l_type, l_whence) = (libc::F_WRLCK as i16, libc::SEEK_SET as i16);
    let lock = libc::flock { l_type, l_whence, l_start: READERS, l_len: 1, l_pid: 0 };
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => false,
        Err(Errno::EAGAIN | Errno::EACCES) => true,
        Err(error) => panic!("{error}"),
    }
}

/// A log of many sealed segments, and their paths.
fn log() -> (TempDir, Vec<PathBuf>) {
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = LogOptions::new().segment_bytes(64 << 10).create(&path).unwrap();
    for n in 0..700 {
        let _ = appender.append_at(n, &[7; 3000]).unwrap();
    }
    drop(appender);
    let n_segments = Log::inspect(&path).unwrap().segments.len();
    // The last one is not sealed.
    let paths: Vec<_> = (1..n_segments).map(|number| path.join(format!("{number:020}.seg"))).collect();
    assert!(paths.len() > 20 && paths.iter().all(|path| !is_kept(path)));
    (directory, paths)
}

fn pool() -> MapPool {
    PoolOptions::new().budget(MapBudget::new()).build().unwrap()
}

/// Somebody who has the segment mapped.
trait Holder {}
impl Holder for LogReader {}
impl Holder for PoolSource {}

#[test]
fn a_segment_is_kept_exactly_as_long_as_somebody_has_it_mapped() {
    // Goal: every kind of reader keeps its segment from the first look to its drop, whatever children do that live longer, or drop what they
    // inherited. Method: a process opens readers in front of and behind a fork, and asks for the lock byte before and after each drop.
    alone("log_pinning::holds", &[]);
}

pub(crate) fn holds() {
    let (_directory, paths) = log();
    let segment = &paths[0];
    let pool = pool();
    let open: [&dyn Fn() -> Box<dyn Holder>; 3] = [
        &|| Box::new(LogReader::open(segment.parent().unwrap()).unwrap()),
        &|| Box::new(pool.open(segment).unwrap()),
        &|| Box::new(pool.open(segment.parent().unwrap()).unwrap()),
    ];
    for open in open {
        let (first, second) = (open(), open());
        drop(first);
        assert!(is_kept(segment), "the second reader has it");
        let (mut reader, writer) = std::io::pipe().unwrap();
        let (mut looked, has_looked) = std::io::pipe().unwrap();
        let (mut writer, mut has_looked) = (Some(writer), Some(has_looked));
        let mut inherited = Some(second);
        let child = fork(|| {
            drop(writer.take());
            // It is not the child's to unlock.
            drop(inherited.take());
            assert!(is_kept(segment), "the parent has it");
            drop(has_looked.take());
            // Until the parent has done what is to be seen.
            std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
            let own = open();
            assert!(is_kept(segment));
            drop(own);
            assert!(!is_kept(segment));
        });
        drop(has_looked);
        std::io::copy(&mut looked, &mut std::io::sink()).unwrap();
        drop(inherited);
        assert!(!is_kept(segment), "nobody has it any more but by inheritance");
        drop(open());
        assert!(!is_kept(segment));
        drop(writer);
        child.finish();
    }
}

#[test]
fn a_dead_reader_keeps_nothing_whatever_its_children_inherited() {
    // Goal: a death frees the segments though children live that were forked, or started as commands, at any moment of their opening
    // and mapping. Method: one thread opens readers and keeps them, another forks and spawns all the time; then SIGKILL, and a look at all.
    let (_directory, paths) = log();
    let names: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let names = names.join(":");
    for _ in 0..3 {
        let mut parent = Actor::start("log_pinning::forks_beside", &[("paths", &names)]);
        let n_children = parent.expect_number("children");
        assert!(paths.iter().all(|path| is_kept(path)), "the readers are there");
        parent.kill();
        assert!(n_children > 5, "{n_children}");
        // A command closes what it inherited a moment after it seems to have begun. The forked live longer than this is waited for.
        eventually("nobody keeps a segment", || !paths.iter().any(|path| is_kept(path)));
    }
}

#[test]
fn a_child_closes_what_is_its_parents_and_nothing_else() {
    // Goal: while threads open and drop readers, and numbers of descriptors are used again at once, a forked child closes all that have a lock,
    // and no file of somebody else. Method: two such threads, a third that forks with files of its own open, new ones each time, which the child
    // looks at and lives on; then SIGKILL in the middle of it all.
    let (_directory, paths) = log();
    let names: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    for _ in 0..3 {
        let mut parent = Actor::start("log_pinning::forks_among", &[("paths", &names.join(":"))]);
        assert_eq!(parent.expect_number("foreign"), 0, "files of somebody else were closed");
        parent.kill();
        eventually("nobody keeps a segment", || !paths.iter().any(|path| is_kept(path)));
    }
}

pub(crate) fn forks_among() {
    let paths = Script::text("paths");
    let paths: Vec<_> = paths.split(':').map(PathBuf::from).collect();
    let pool = pool();
    std::thread::scope(|scope| {
        for at in 0..2 {
            let (paths, pool) = (&paths, &pool);
            let _ = scope.spawn(move || {
                let mut sources = std::collections::VecDeque::new();
                for path in paths.iter().cycle().skip(at) {
                    sources.push_back(pool.open(path).unwrap());
                    if sources.len() > 5 {
                        drop(sources.pop_front());
                    }
                }
            });
        }
        let mut n_foreign = 0;
        for _ in 0..150 {
            let files: Vec<_> = (0..4).map(|_| File::open("/dev/null").unwrap()).collect();
            let numbers: Vec<_> = files.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
            let (mut told, teller) = std::io::pipe().unwrap();
            let teller = std::os::fd::OwnedFd::from(teller);
            let teller_number = std::os::fd::AsRawFd::as_raw_fd(&teller);
            outlive(|| {
                // SAFETY: descriptors are only looked at.
                let n_closed =
                    numbers.iter().filter(|&&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0).count();
                let n_closed = n_closed as u8;
                // SAFETY: a byte that is this function's, and a descriptor that the child has for itself.
                unsafe { libc::write(teller_number, (&raw const n_closed).cast(), 1) };
                // SAFETY: the same; whoever reads is to see the end.
                unsafe { libc::close(teller_number) };
            });
            drop(teller);
            let mut found = vec![];
            let _ = std::io::Read::read_to_end(&mut told, &mut found).unwrap();
            n_foreign += usize::from(found != [0]);
        }
        say(&format!("foreign {n_foreign}"));
        // Killed while the threads go on.
        listen();
    });
}

pub(crate) fn forks_beside() {
    let paths = Script::text("paths");
    let paths: Vec<_> = paths.split(':').map(PathBuf::from).collect();
    let (pool, is_over) = (pool(), AtomicBool::new(false));
    let mut sources = vec![];
    let n_children = std::thread::scope(|scope| {
        let children = scope.spawn(|| {
            let mut n = 0;
            while !is_over.load(Ordering::Relaxed) && n < 100 {
                outlive(|| {});
                if n % 10 == 0 {
                    // Lives until the test lets go of our stdin.
                    drop(Command::new("cat").stdout(Stdio::null()).spawn().unwrap());
                }
                n += 1;
            }
            n
        });
        while !children.is_finished() && sources.len() < 700 {
            sources.extend(paths.iter().map(|path| pool.open(path).unwrap()));
        }
        is_over.store(true, Ordering::Relaxed);
        children.join().unwrap()
    });
    say(&format!("children {n_children}"));
    listen();
    drop(sources);
}

/// A forked child that does that first, and lives until its stdin ends, which is the test's.
fn outlive(first: impl FnOnce()) {
    // SAFETY: other threads run, so the child does nothing but system calls, and leaves by `_exit` only.
    if let ForkResult::Child = unsafe { nix::unistd::fork() }.unwrap() {
        alarm::set(LIFE_SECONDS);
        first();
        let mut byte = 0u8;
        // SAFETY: a byte that is this function's.
        unsafe { libc::read(0, (&raw mut byte).cast(), 1) };
        leave(0);
    }
}
