//! Feeds: what rows and logs have in place outlives the bytes that it was in, and what befalls a file is told, once, where it is met.

use crate::harness::directory;
use crate::log_read::append;
use shm_ring::replay::{
    AsOf, Batches, Keep, MapPool, Merge, Next, Order, PoolOptions, PoolSource, RowLayout, Source,
    SourceError, Stamp, TimeUnit,
};
use shm_ring::{LogOptions, MapBudget, Recorder, RingOptions};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Rows that are too long to be copied when they are staged.
const ROW_BYTES: usize = 400;
const LAYOUT: RowLayout = RowLayout { row_bytes: 400, timestamp_at: 0, unit: TimeUnit::Nanos };

/// A file of such rows, each of which says its time over and over.
fn rows(path: &Path, times: impl IntoIterator<Item = i64>) {
    let rows: Vec<u8> = times.into_iter().flat_map(|time| time.to_le_bytes().repeat(ROW_BYTES / 8)).collect();
    fs::write(path, rows).unwrap();
}

fn with_maps(n: u16, order: Order) -> MapPool {
    PoolOptions::new().budget(MapBudget::new().maps(n)).order(order).build().unwrap()
}

/// The time of the next record, whose bytes are its own.
fn next(source: &mut PoolSource) -> Result<Option<u64>, SourceError> {
    let Next::Record(stamp) = source.step()? else { return Ok(None) };
    let mut scratch = vec![];
    let bytes = source.record().payload(&mut scratch)?;
    assert_eq!(bytes, stamp.timestamp_ns.to_le_bytes().repeat(ROW_BYTES / 8));
    Ok(Some(stamp.timestamp_ns))
}

/// The segments of a log, in order.
fn segments(log: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<_> = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|it| it == "seg"));
    segments.sort();
    segments
}

/// Numbers in order but for blocks of five that have changed places.
fn displaced(n: i64) -> impl Iterator<Item = i64> {
    (0..n).map(|n| n / 10 * 10 + (n % 10 + 5) % 10)
}

const REORDER: Order = Order::Reorder { n_records: 5 };

#[test]
fn rows_that_are_held_back_outlive_their_block() {
    // Goal: a row that is held back has its own bytes when the next block is read, and when the file is mapped instead. Method: rows that
    // lie in place, out of order, without a map; then with one that another source gives back in the midst of them.
    let directory = directory();
    let [path, other] = ["rows", "other"].map(|name| directory.path().join(name));
    rows(&path, displaced(3_000));
    rows(&other, [0]);
    let mut source = with_maps(0, REORDER).open_rows(&path, LAYOUT).unwrap();
    for n in 0..3_000 {
        assert_eq!(next(&mut source).unwrap(), Some(n));
    }
    assert_eq!(next(&mut source).unwrap(), None);
    for given_back in [1, 100, 161, 163, 165, 170, 330] {
        let pool = with_maps(1, REORDER);
        let mut other = Some(pool.open_rows(&other, LAYOUT).unwrap());
        let mut source = pool.open_rows(&path, LAYOUT).unwrap();
        for n in 0..3_000 {
            if n == given_back {
                assert_eq!(pool.stats().n_hits, 0);
                other = None;
            }
            assert_eq!(next(&mut source).unwrap(), Some(n));
        }
        assert!(other.is_none() && pool.stats().n_hits > 0);
    }
}

#[test]
fn a_row_without_a_time_is_told_once_more_and_nothing_else() {
    // Goal: what is in front of a row that can't be read comes once, whoever goes on behind the failure. Method: a time before 1970 in the
    // midst of a stage; steps behind the error.
    let directory = directory();
    let path = directory.path().join("rows");
    rows(&path, [1, 2, 3, -1, 5]);
    for maps in [0, 1] {
        let mut source = with_maps(maps, Order::Error).open_rows(&path, LAYOUT).unwrap();
        for n in 1..=3 {
            assert_eq!(next(&mut source).unwrap(), Some(n));
        }
        for _ in 0..3 {
            let error = next(&mut source).unwrap_err();
            assert!(matches!(error, SourceError::NoTime { row: 3, .. }), "{error}");
        }
    }
}

#[test]
fn the_last_row_is_found_though_rows_are_displaced() {
    // Goal: as of a time, the last row at or before it is kept, where rows are put in order. Method: blocks that have changed places, and
    // each time that there is, mapped and not.
    let directory = directory();
    let path = directory.path().join("rows");
    rows(&path, displaced(200));
    for maps in [0, 1] {
        let mut merge = Merge::new();
        merge.add(with_maps(maps, REORDER).open_rows(&path, LAYOUT).unwrap());
        let mut as_of = AsOf::new(merge);
        for until in (0..200).rev() {
            as_of.seek(until).unwrap();
            assert_eq!(as_of.last(0).map(|last| last.stamp.timestamp_ns), Some(until));
        }
    }
}

#[test]
fn a_file_that_was_cut_is_not_read_on() {
    // Goal: the number of rows is what it was at opening, or there is an error, wherever it was cut. Method: cut the last row of a parked
    // file away while its first block is read.
    let directory = directory();
    let path = directory.path().join("rows");
    rows(&path, 0..3_000);
    let mut source = with_maps(0, Order::Error).open_rows(&path, LAYOUT).unwrap();
    assert_eq!(next(&mut source).unwrap(), Some(0));
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(2_999 * ROW_BYTES as u64).unwrap();
    let mut n = 1;
    let error = loop {
        match next(&mut source) {
            Ok(found) => assert_eq!(found, Some(n)),
            Err(error) => break error.to_string(),
        }
        n += 1;
    };
    assert!(error.contains("truncated") && n < 1_000, "{n}: {error}");
}

#[test]
#[cfg(feature = "guard")]
fn a_search_believes_no_zeros_of_a_cut() {
    // Goal: nobody goes to a place that was found among zeros. Method: a mapped file is cut, and then a time is sought.
    let directory = directory();
    let path = directory.path().join("rows");
    rows(&path, 1..3_000);
    let mut source = with_maps(1, Order::Error).open_rows(&path, LAYOUT).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
    let error = source.seek(5).unwrap_err().to_string();
    assert!(error.contains("truncated"), "{error}");
}

#[test]
#[cfg(feature = "guard")]
fn zeros_of_a_cut_are_no_end_of_a_log() {
    // Goal: a log whose segment was cut while it is mapped does not end there as if that were all. Method: cut it behind what was read.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = LogOptions::new().segment_bytes(4 << 20).create(&path).unwrap();
    append(&mut appender, 0..2_000);
    let mut source = with_maps(1, Order::Error).open(&path).unwrap();
    assert!(matches!(source.step().unwrap(), Next::Record(_)));
    File::options().write(true).open(&segments(&path)[0]).unwrap().set_len(256 << 10).unwrap();
    let error = loop {
        match source.step() {
            Ok(next) => assert!(matches!(next, Next::Record(_)), "{next:?}"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("cut") || error.contains("truncated"), "{error}");
}

#[test]
fn a_lone_segment_ends_though_logs_are_followed() {
    // Goal: nothing comes behind a sealed segment that is read alone. Method: a pool that follows; beside the log.
    let directory = directory();
    let [log, lone] = ["log", "one.seg"].map(|name| directory.path().join(name));
    let mut appender = LogOptions::new().segment_bytes(64 << 10).create(&log).unwrap();
    append(&mut appender, 0..5_000);
    fs::copy(&segments(&log)[0], &lone).unwrap();
    let pool = PoolOptions::new().follow(Duration::from_millis(1)).build().unwrap();
    for (path, is_followed) in [(&lone, false), (&log, true)] {
        let mut source = pool.open(path).unwrap();
        let mut n = 0;
        let behind = loop {
            match source.step().unwrap() {
                Next::Record(_) => n += 1,
                behind => break behind,
            }
        };
        assert!(n > 10 && matches!(behind, Next::NotYet { .. }) == is_followed, "{n}, {behind:?}");
    }
}

#[test]
fn what_a_ring_had_no_room_for_is_counted_in_its_log() {
    // Goal: a source's figures say how many records a log knows to be missing. Method: offers to a full ring, recorded.
    let directory = directory();
    let (path, log) = (directory.path().join("ring"), directory.path().join("log"));
    let ring = RingOptions::new().capacity(4096).create(&path).unwrap();
    let record = || {
        let appender = LogOptions::new().segment_bytes(64 << 10).open_or_create(&log).unwrap();
        Recorder::open(&ring, "recorder", appender).unwrap()
    };
    drop(record());
    let mut producer = ring.producer().unwrap();
    let mut n = 0;
    while producer.offer(&[7; 100]).unwrap().is_some() {
        n += 1;
    }
    assert!(producer.offer(&[7; 100]).unwrap().is_none());
    record().drain().unwrap();
    producer.push(b"behind").unwrap();
    record().drain().unwrap();
    for maps in [0, 1] {
        let mut source = with_maps(maps, Order::Error).open(&log).unwrap();
        let mut found = 0;
        while let Next::Record(_) = source.step().unwrap() {
            found += 1;
        }
        let stats = source.stats();
        assert_eq!((found, stats.n_records), (n + 1, n + 1));
        assert_eq!((stats.n_gaps, stats.n_missing_records), (2, 2), "{stats:?}");
    }
}

#[test]
fn nothing_is_let_go_of_without_a_cap() {
    // Goal: who has memory keeps what was read in the page cache. Method: a file that is many windows long, mapped, without a cap.
    let directory = directory();
    let path = directory.path().join("rows");
    rows(&path, 0..60_000);
    let pool = with_maps(1, Order::Error);
    let mut source = pool.open_rows(&path, LAYOUT).unwrap();
    while next(&mut source).unwrap().is_some() {}
    let stats = pool.stats();
    assert!(stats.dropped_bytes == 0 && stats.ahead_bytes > 20_000_000, "{stats:?}");
}

/// Times, of which one can't be kept.
struct Times(Vec<u64>, usize);

impl Source for Times {
    type Record<'a> = ();

    fn step(&mut self) -> Result<Next, SourceError> {
        self.1 += 1;
        let time = self.0.get(self.1 - 1);
        Ok(time.map_or(Next::End, |ns| Next::Record(Stamp { timestamp_ns: *ns, sequence: self.1 as u64 })))
    }

    fn record(&self) {}

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.1 = self.0.partition_point(|time| *time < since_ns);
        Ok(())
    }

    fn name(&self) -> &str {
        "times"
    }
}

impl Keep for Times {
    type Kept = u64;

    fn keep(&self, kept: &mut u64) -> Result<(), SourceError> {
        *kept = self.0[self.1 - 1];
        if *kept == 13 { Err(SourceError::Other("it can't be kept".into())) } else { Ok(()) }
    }
}

#[test]
fn what_could_not_be_kept_is_not_there() {
    // Goal: as of a time, a source has its last record, or none, and never half of one. Method: one in the middle that can't be kept.
    let mut merge = Merge::new();
    merge.add(Times(vec![11, 13, 17], 0));
    let mut as_of = AsOf::new(merge);
    let last = |as_of: &AsOf<Times>| as_of.last(0).map(|last| last.kept);
    assert!(as_of.advance_to(11).unwrap() && last(&as_of) == Some(11));
    let error = as_of.advance_to(15).unwrap_err().to_string();
    assert_eq!((error.as_str(), last(&as_of)), ("times: it can't be kept", None));
    assert!(as_of.advance_to(15).unwrap() && last(&as_of).is_none());
    assert!(as_of.advance_to(20).unwrap() && last(&as_of) == Some(17));
}

#[test]
fn a_moment_that_was_sought_goes_on_from_none() {
    // Goal: behind a seek, the first moment is a new one, also of the same time. Method: to the moment that was left in its middle.
    let mut merge = Merge::new();
    merge.add(Times(vec![5, 7, 7, 9], 0));
    let mut batches = Batches::new(merge);
    for _ in 0..3 {
        batches.seek(7).unwrap();
        let mut moment = batches.next().unwrap().unwrap();
        assert_eq!((moment.timestamp_ns(), moment.goes_on()), (7, false));
        assert!(moment.next().unwrap().is_some());
    }
}
