//! Recycled: records appended into segments that were used before, as fast as they go, with the helpers beside; one roll in each repetition.
//!
//! | contestant | does |
//! |------------|------|
//! | `append_at` | appends a segment's worth, begun somewhere in a segment |
//! | `memcpy` | copies the same records into a mapped file whose pages are there: the floor |
//!
//! The log keeps one segment beside the active one. Before a repetition, what was appended before is on the medium, and the next segment is
//! ready: made of a file that was used.

use std::path::Path;

use shm_ring::{Appender, LogOptions};

use super::{Fact, Plan, Planned, Results, Section, TIME_NS, failed, n_faults, removed, settle};
use crate::mapped::{allocated, copy_all, map, record};
use crate::report::spread::{Spread, size};
use crate::report::verdict::{Limit, Target};
use crate::turns::{Cell, timed};

const RECORD_BYTES: [usize; 2] = [1 << 10, 16 << 10];
const LIMIT: f64 = 2.0;

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    let mut cells = vec![];
    for record_bytes in RECORD_BYTES {
        let (record, bytes) = (record(record_bytes), plan.recycled_bytes);
        let n = bytes / (record_bytes + 32);
        let path = plan.directory.join(format!("recycled-{record_bytes}"));
        let mut log = None;
        cells.push(Cell::new(name(record_bytes, "append_at"), move || {
            let log = match &mut log {
                Some(log) => log,
                none => none.insert(used(&path, bytes, record)?),
            };
            settle(log)?;
            let (sample, appended) = timed(n, || append_all(log, record, n));
            appended.map(|()| sample)
        }));
        let (path, mut mapped) = (plan.directory.join(format!("recycled-{record_bytes}-memcpy")), None);
        cells.push(Cell::new(name(record_bytes, "memcpy"), move || {
            let mapped = match &mut mapped {
                Some(mapped) => mapped,
                none => none.insert(map(&allocated(&path, bytes)?, bytes)?),
            };
            mapped.fill(0);
            Ok(timed(n, || copy_all(mapped, record, n)).0)
        }));
    }
    let section = Section {
        title: "Append into segments that were used before",
        caption: "As fast as it goes, a roll in each repetition, beside `memcpy` into pages that are there.",
        unit: ("ns per record", 1.0),
        floor: "memcpy",
        cells: vec![],
    };
    vec![(section, cells)]
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let of_size = |record_bytes| {
        let what = format!("append {} into a recycled segment", size(record_bytes));
        results.slower(&what, &name(record_bytes, "append_at"), &name(record_bytes, "memcpy"), LIMIT)
    };
    let mut targets: Vec<Target> = RECORD_BYTES.map(of_size).into();
    targets.push(results.count("faults/recycled", "-", Limit::AtMost(0.0)));
    targets
}

/// Page faults of the appending thread.
pub(super) fn facts(plan: &Plan) -> Result<Vec<Fact>, String> {
    let (record, bytes) = (record(16 << 10), plan.recycled_bytes);
    let path = plan.directory.join("faults");
    let mut log = used(&path, bytes, record)?;
    let n = bytes / (record.len() + 32);
    let mut counted = vec![];
    for _ in 0..plan.n_repetitions {
        settle(&log)?;
        let faults = n_faults()?;
        append_all(&mut log, record, n)?;
        counted.push(n_faults()? - faults);
    }
    drop(log);
    removed(&path)?;
    let what = "page faults of the appending thread in a recycled segment's worth of 16 KiB records, as fast as it goes";
    Ok(vec![Fact { name: "faults/recycled", what, figure: Spread::of(counted).ok_or("no repetition") }])
}

fn name(record_bytes: usize, contestant: &str) -> String {
    format!("recycled/{record_bytes}/{contestant}")
}

/// A log whose segments have been used.
fn used(path: &Path, segment_bytes: usize, record: &[u8]) -> Result<Appender, String> {
    let options = LogOptions::new().segment_bytes(segment_bytes as u64).keep_bytes(segment_bytes as u64);
    let mut log = options.create(path).map_err(failed("create a log"))?;
    let n = segment_bytes / (record.len() + 32);
    for _ in 0..32 {
        if log.stats().n_recycled >= 2 {
            return Ok(log);
        }
        append_all(&mut log, record, n)?;
        settle(&log)?;
    }
    Err(format!("no segment was used again: {:?}", log.stats()))
}

fn append_all(log: &mut Appender, record: &[u8], n: usize) -> Result<(), String> {
    for _ in 0..n {
        log.append_at(TIME_NS, std::hint::black_box(record)).map(drop).map_err(failed("append"))?;
    }
    Ok(())
}
