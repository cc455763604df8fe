//! Rings that were restarted, that say no times, or end; and what is put into one: what `replay_live` tells of sound ones, at their edges.

use crate::harness::directory;
use crate::replay_live::{half_recorded, missed, numbers, over, payload, recorder, small, some_time};
use shm_ring::replay::{Merge, Next, Order, PoolOptions, RingWriter, Source};
use shm_ring::{LogOptions, Ring, RingOptions};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// The machine is restarted, as far as a ring can tell, which nobody has open.
fn restart(ring: &Path) {
    // In the live page: the boot that has written it.
    const BOOT: u64 = 4096 + 392;
    File::options().write(true).open(ring).unwrap().write_all_at(b"no boot has this", BOOT).unwrap();
}

#[test]
fn a_ring_that_was_restarted_goes_on_with_a_gap() {
    // Goal: what was not recorded before the machine was restarted is one gap, and what came since is there, whether it is recorded or not.
    // Method: a ring that was recorded in part, of another boot; more records in it; recorded then, or not, and in part.
    for n_recorded in [0, 40, 80] {
        let directory = directory();
        let [path, log] = ["ring", "log"].map(|name| directory.path().join(name));
        drop(half_recorded(directory.path(), &small(), 100, 30));
        restart(&path);
        let ring = Ring::open(&path).unwrap();
        assert_eq!(ring.stats().unwrap().epoch, 1);
        let mut recorder = (n_recorded > 0).then(|| recorder(&ring, &log, &small()));
        let mut producer = ring.producer().unwrap();
        for n in 0..80 {
            producer.push(&payload(0, 200 + n)).unwrap();
            if n + 1 == n_recorded {
                recorder.as_mut().unwrap().drain().unwrap();
            }
        }
        drop(recorder);
        let mut source = over(directory.path());
        let found: Vec<_> = some_time(&mut source, 180).into_iter().map(|(_, number)| number).collect();
        assert!(found.iter().copied().eq((0..100).chain(200..280)), "{n_recorded}: {found:?}");
        assert_eq!(missed(&source)[0], 1, "{n_recorded}: {:?}", source.stats());
        producer.push(&payload(0, 280)).unwrap();
        assert_eq!(numbers(&mut source), [280]);
    }
}

#[test]
fn a_ring_without_times_is_read_from_its_beginning_or_not() {
    // Goal: records without a time have that of reading, so that a seek finds all of them, or, behind now, none. Method: both, and back.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(64 << 10).metadata(false).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    (0..50).for_each(|n| _ = producer.push(&payload(0, n)).unwrap());
    let mut source = PoolOptions::new().order(Order::Pass).build().unwrap().open(&path).unwrap();
    for (since, n) in [(1, 50), (u64::MAX, 0), (0, 50), (0, 50)] {
        source.seek(since).unwrap();
        assert_eq!(numbers(&mut source).len(), n, "since {since}");
        assert_eq!(source.step().unwrap(), Next::End);
    }
}

#[test]
fn a_log_is_found_by_what_it_is_and_not_by_its_name() {
    // Goal: a directory is opened as a log, whatever extension it has. Method: names of other kinds.
    let directory = directory();
    for name in ["log", "log.d", "log.seg", "log.arrow", "log.ring"] {
        let path = directory.path().join(name);
        let mut appender = LogOptions::new().segment_bytes(64 << 10).create(&path).unwrap();
        let _ = appender.append_at(7, &payload(0, 1)).unwrap();
        let mut source = PoolOptions::new().build().unwrap().open(&path).unwrap();
        assert_eq!(numbers(&mut source), [1], "{name}");
    }
}

#[test]
fn a_ring_that_is_written_has_level_and_kind_and_one_slot_at_least() {
    // Goal: what is put into a ring says of itself what it did in its log; a writer with no slot to take takes one. Method: tags of all sorts.
    let directory = directory();
    let log = directory.path().join("log");
    let mut appender = LogOptions::new().segment_bytes(64 << 10).create(&log).unwrap();
    for n in 0..20u8 {
        let _ = appender.append_tagged(u64::from(n) + 1, n % 8, n, &payload(0, n.into())).unwrap();
    }
    let ring = RingOptions::new().capacity(64 << 10).anonymous().unwrap();
    let mut consumer = ring.consumer("reader").unwrap();
    let mut merge = Merge::new();
    merge.add(PoolOptions::new().build().unwrap().open(&log).unwrap());
    let mut writer = RingWriter::new(&ring).slots_max(0);
    while let Some(event) = merge.next().unwrap() {
        let _ = writer.push_timeout(&event, Duration::from_secs(5)).unwrap();
    }
    assert_eq!(writer.n_slots(), 1);
    for n in 0..20u8 {
        let frame = consumer.poll().unwrap();
        let found = (frame.timestamp_ns(), frame.level(), frame.kind(), frame.sequence());
        assert_eq!(found, (Some(u64::from(n) + 1), n % 8, n, Some(n.into())));
        assert_eq!(frame[..], payload(0, n.into()));
    }
}
