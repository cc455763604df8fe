//! Replay, ahead: a pool without a cap reads files ahead, by a thread, which is in nobody's way.

use crate::harness::{alone, directory, eventually, fork};
use crate::log_read::small;
use nix::sys::signal::Signal;
use shm_ring::replay::{MapPool, Next, PoolOptions, PoolSource, RowLayout, Source, TimeUnit};
use shm_ring::{LogOptions, MapBudget};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Reads to the end, or to where nothing is there yet; says how many records there were.
fn n_left(source: &mut PoolSource) -> u64 {
    let mut n_records = 0;
    loop {
        match source.step().unwrap() {
            Next::Record(_) => n_records += 1,
            Next::End | Next::NotYet { .. } => return n_records,
        }
    }
}

/// A file of so many rows of that length, each with its number as its time.
fn rows(path: &Path, n: u64, row_bytes: u32) -> RowLayout {
    let mut bytes = vec![7; usize::try_from(n).unwrap() * row_bytes as usize];
    for (number, row) in (0..n).zip(bytes.chunks_mut(row_bytes as usize)) {
        row[..8].copy_from_slice(&number.to_le_bytes());
    }
    fs::write(path, bytes).unwrap();
    RowLayout { row_bytes, timestamp_at: 0, unit: TimeUnit::Nanos }
}

/// What the system says of the thread that reads ahead, in `/proc/self/task`.
fn thread() -> Option<PathBuf> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    tasks.into_iter().find(|task| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim().starts_with("shm-ring-ahead"))
    })
}

/// A line of its status.
fn status(thread: &Path, name: &str) -> String {
    let status = fs::read_to_string(thread.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

#[test]
fn long_records_are_read_ahead_as_short_ones_are() {
    // Goal: what is read in one go is asked for in front of it, in large pieces, however long its records are. Method: a file of rows of each
    // length, mapped, whole; how much was asked for, and how often.
    let directory = directory();
    let path = directory.path().join("rows");
    let n_bytes = 24 << 20;
    for row_bytes in [64, 1 << 10, 4 << 10, 16 << 10] {
        let layout = rows(&path, n_bytes / u64::from(row_bytes), row_bytes);
        let pool = PoolOptions::new().build().unwrap();
        assert_eq!(n_left(&mut pool.open_rows(&path, layout).unwrap()), n_bytes / u64::from(row_bytes));
        let stats = pool.stats();
        assert!(stats.ahead_bytes >= n_bytes / 4 * 3, "{row_bytes}: {stats:?}");
        assert!(stats.n_advice <= 60, "{row_bytes}: {stats:?}");
    }
}

#[cfg(feature = "arrow")]
#[test]
fn a_table_of_many_columns_is_read_ahead_in_large_pieces() {
    // Goal: columns of a large batch are asked for in pieces that are worth an order, and no few rows at a time. Method: a table of many columns
    // in one batch; pieces of advice for what was asked for.
    use shm_ring::replay::{CellValue, ColumnType, TableWriter};
    let directory = directory();
    let path = directory.path().join("table.arrow");
    let names: Vec<_> = (0..12).map(|n| format!("c{n}")).collect();
    let mut columns = vec![("t", ColumnType::TimestampNanos)];
    columns.extend(names.iter().map(|name| (name.as_str(), ColumnType::U64)));
    let n_rows = 200_000;
    let mut writer = TableWriter::create(&path, &columns).unwrap().batch_rows(n_rows);
    for n in 0..n_rows as u64 {
        let mut row = vec![n.cast_signed().into()];
        row.extend((0..12).map(|at| CellValue::from(n + at)));
        writer.push(&row).unwrap();
    }
    writer.finish().unwrap();
    let pool = PoolOptions::new().build().unwrap();
    assert_eq!(n_left(&mut pool.open(&path).unwrap()), n_rows as u64);
    let stats = pool.stats();
    assert!(stats.ahead_bytes >= 13 * 8 * n_rows as u64 / 2, "{stats:?}");
    // Thirteen columns, a piece of each for half of a MiB of all.
    assert!(stats.n_advice <= 13 * 60, "{stats:?}");
}

#[test]
fn a_budget_of_one_descriptor_maps_one_segment() {
    // Goal: the thread takes nothing of what a budget has for maps. Method: a budget for one segment, of which the pool has been told.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = LogOptions::new().segment_bytes(64 << 10).create(&path).unwrap();
    let _ = appender.append_at(1, b"one").unwrap();
    drop(appender);
    let budget = MapBudget::new().descriptors(1);
    let pool = PoolOptions::new().budget(budget.clone()).build().unwrap();
    pool.expect([&path]);
    let source = pool.open(&path).unwrap();
    assert_eq!(pool.stats().n_mapped, 1);
    assert_eq!(budget.in_use().descriptors, 1);
    drop(source);
}

#[test]
fn a_child_is_not_held_up_by_a_thread_that_it_does_not_have() {
    // Goal: a forked child goes on with a pool that it has inherited, whatever other threads of its parent did with it at the fork. Method: a
    // process forks while another thread tells a new pool what to expect; the child does the same, and reads rows.
    alone("replay_ahead::forks_beside", &[]);
}

pub(crate) fn forks_beside() {
    let directory = directory();
    let path = directory.path().join("rows");
    let layout = rows(&path, 1000, 64);
    for n in 0..300 {
        let pool = PoolOptions::new().build().unwrap();
        let mut source = Some(pool.open_rows(&path, layout).unwrap());
        let barrier = Barrier::new(2);
        let child = std::thread::scope(|scope| {
            let _ = scope.spawn(|| {
                barrier.wait();
                pool.expect([&path]);
            });
            barrier.wait();
            let until = Instant::now() + Duration::from_micros(n % 100);
            while Instant::now() < until {}
            fork(|| {
                pool.expect([&path]);
                assert_eq!(n_left(source.as_mut().unwrap()), 1000);
                drop(source.take());
            })
        });
        child.finish();
    }
}

#[test]
fn the_thread_is_quiet_and_handles_no_signal() {
    // Goal: who follows a log that grows by a record at a time wakes no thread for each; signals that a process gets are none of that thread's.
    // Method: a process of its own with such a log; how often the thread has waited, and what it blocks.
    alone("replay_ahead::quiet", &[]);
}

pub(crate) fn quiet() {
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = small().create(&path).unwrap();
    for n in 0..100 {
        let _ = appender.append_at(n, &[7; 64]).unwrap();
    }
    let pool = PoolOptions::new().follow(Duration::from_millis(1)).build().unwrap();
    pool.expect([&path]);
    let mut source = pool.open(&path).unwrap();
    assert_eq!(n_left(&mut source), 100);
    // It gives itself its name.
    eventually("it runs", || thread().is_some());
    let thread = thread().unwrap();
    let blocked = u64::from_str_radix(&status(&thread, "SigBlk"), 16).unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGUSR1] {
        assert!(blocked >> (signal as i32 - 1) & 1 == 1, "{signal} may come to it");
    }
    // It waits for more to come, for a while.
    std::thread::sleep(Duration::from_millis(200));
    let n_waits = || status(&thread, "voluntary_ctxt_switches").parse::<u64>().unwrap();
    let before = n_waits();
    for n in 100..300 {
        let _ = appender.append_at(n, &[7; 64]).unwrap();
        assert_eq!(n_left(&mut source), 1);
        std::thread::sleep(Duration::from_millis(1));
    }
    let waits = n_waits() - before;
    assert!(waits < 50, "{waits} for 200 records");
}

#[test]
fn a_pool_with_a_cap_has_no_thread() {
    // Goal: what has a cap is read as it was. Method: a process of its own, with such a pool and then another.
    alone("replay_ahead::capped", &[]);
}

pub(crate) fn capped() {
    let directory = directory();
    let path = directory.path().join("rows");
    let layout = rows(&path, 100_000, 64);
    let read = |pool: &MapPool| {
        pool.expect([&path]);
        assert_eq!(n_left(&mut pool.open_rows(&path, layout).unwrap()), 100_000);
    };
    let n_threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let before = n_threads();
    let capped = PoolOptions::new().memory_bytes(64 << 20).build().unwrap();
    read(&capped);
    assert_eq!(n_threads(), before);
    let uncapped = PoolOptions::new().build().unwrap();
    read(&uncapped);
    assert_eq!(n_threads(), before + 1);
    drop(uncapped);
    eventually("it ends with its pool", || n_threads() == before);
}
