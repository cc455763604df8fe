//! Replay without maps: what befalls a source between two blocks, or between a block and a map, is neither lost nor taken for something else.

use crate::harness::directory;
use shm_ring::replay::{Body, MapPool, Next, Order, PoolOptions, PoolSource, Source, SourceError};
use shm_ring::{LogOptions, MapBudget, Recorder, RingOptions};
use std::fs;
use std::path::Path;

/// Time, sequence and bytes of the next record; `None`: there is none.
fn next(source: &mut PoolSource) -> Result<Option<(u64, u64, Vec<u8>)>, SourceError> {
    let Next::Record(stamp) = source.step()? else { return Ok(None) };
    let Body::Bytes(bytes) = source.record().body else { panic!("it has bytes") };
    Ok(Some((stamp.timestamp_ns, stamp.sequence, bytes.to_vec())))
}

fn with_maps(n: u16) -> PoolOptions {
    PoolOptions::new().budget(MapBudget::new().maps(n))
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn what_is_held_back_of_a_block_survives_a_gap_in_the_segment() {
    // Goal: a record that is held back has its own bytes, whatever comes behind it. Method: a log that was restored from a copy and recorded
    // on has a gap in the midst of a segment; records too long to be copied when they are staged; windows of several lengths; beside a map.
    let directory = directory();
    let [path, log, old] = ["ring", "log", "old"].map(|name| directory.path().join(name));
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut n = 0u64;
    let mut record = |many: u64| {
        let appender = LogOptions::new().segment_bytes(1 << 20).open_or_create(&log).unwrap();
        let mut recorder = Recorder::open(&ring, "recorder", appender).unwrap();
        for _ in 0..many {
            producer.push(&n.to_le_bytes().repeat(100)).unwrap();
            n += 1;
            recorder.drain().unwrap();
        }
    };
    record(200);
    copy_directory(&log, &old);
    record(200);
    fs::remove_dir_all(&log).unwrap();
    copy_directory(&old, &log);
    record(50);
    let all = |pool: MapPool| {
        let mut source = pool.open(&log).unwrap();
        let mut found = vec![];
        while let Some((_, _, bytes)) = next(&mut source).unwrap() {
            let first = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert_eq!(bytes, first.to_le_bytes().repeat(100), "record {}", found.len());
            found.push(first);
        }
        (found, source.stats().n_gaps)
    };
    for n_records in [0, 16, 64, 200] {
        let order = Order::Reorder { n_records };
        let mapped = all(PoolOptions::new().order(order).build().unwrap());
        let parked = all(with_maps(0).order(order).build().unwrap());
        assert!(mapped.0.len() > 250 && mapped.1 == 1);
        assert_eq!(mapped, parked);
    }
}
