//! Replay: files that a pool's thread begins to read.
//!
//! Each role is a process of its own: threads and forks are the process's.

use crate::harness::{alone, directory, eventually, fork};
use crate::replay_pool::cached;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::stat::Mode;
use shm_ring::replay::{Body, MapPool, Next, Order, PoolOptions, RowLayout, Source, TimeUnit};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const LAYOUT: RowLayout = RowLayout { row_bytes: 64, timestamp_at: 0, unit: TimeUnit::Nanos };
const N_ROWS: u64 = 64 << 10;

/// Rows that are on the disk and, where the file system can do that, in no memory.
fn rows(path: &Path) {
    let row = |n: u64| [n, !n, 0, 0, 0, 0, 0, n].map(u64::to_le_bytes).concat();
    fs::write(path, (0..N_ROWS).flat_map(row).collect::<Vec<u8>>()).unwrap();
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
}

/// All rows, each looked at.
fn read_all(pool: &MapPool, path: &Path) {
    let mut source = pool.open_rows(path, LAYOUT).unwrap();
    for n in 0..N_ROWS {
        let Ok(Next::Record(stamp)) = source.step() else { panic!("row {n} is missing") };
        let Body::Bytes(bytes) = source.record().body else { panic!("rows are bytes") };
        assert_eq!((stamp.timestamp_ns, &bytes[56..]), (n, &n.to_le_bytes()[..]));
    }
    assert_eq!(source.step().unwrap(), Next::End);
}

fn n_threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn what_is_expected_is_in_memory_before_it_is_opened() {
    // Goal: a file that is expected begins to be read; what is expected and can't be read changes nothing and keeps nothing waiting; the thread ends with its
    // pool. Method: a file whose pages were let go of, behind a FIFO, a directory and a name without a file.
    alone("replay_expect::expecting", &[]);
}

pub(crate) fn expecting() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = directory.path().join("rows");
    rows(&path);
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let before = n_threads();
    let pool = PoolOptions::new().order(Order::Error).build().unwrap();
    let nothing: [PathBuf; 3] = [fifo, directory.path().into(), directory.path().join("none")];
    pool.expect(nothing.iter().chain([&path]));
    assert!(n_threads() > before);
    eventually("its first pages are there", || cached(&path) >= 16 << 10);
    assert!(cached(&path) < 64 * N_ROWS, "not all of it");
    read_all(&pool, &path);
    drop(pool);
    eventually("the thread is gone", || n_threads() == before);
}

#[test]
fn a_forked_child_reads_without_the_thread() {
    // Goal: rows that were opened before a fork are read on in the child, which has no thread, and its pool can be used and dropped there. Method: twenty
    // children read to the end, open the file again, and drop everything; wishes are on their way when they are made.
    alone("replay_expect::forked", &[]);
}

pub(crate) fn forked() {
    let directory = directory();
    let path = directory.path().join("rows");
    rows(&path);
    for _ in 0..20 {
        let pool = PoolOptions::new().order(Order::Error).build().unwrap();
        pool.expect((0..100).map(|_| &path));
        let mut source = pool.open_rows(&path, LAYOUT).unwrap();
        for _ in 0..1000 {
            source.step().unwrap();
        }
        let in_the_child = || {
            pool.expect([&path]);
            for n in 1000..N_ROWS {
                assert!(matches!(source.step(), Ok(Next::Record(stamp)) if stamp.timestamp_ns == n));
            }
            read_all(&pool, &path);
            drop((source, pool));
        };
        fork(in_the_child).finish();
    }
}
