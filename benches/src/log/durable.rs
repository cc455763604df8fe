//! Durable: records that are on the medium when it is said that they are.
//!
//! | contestant | does |
//! |------------|------|
//! | `append` | appends with `EachRecord`, and waits for the receipt |
//! | `append_by_16` | sixteen threads do so; they share the appender in a mutex and wait outside of it |
//! | `raw` | `pwrite` of as many bytes as the frame has, and `fdatasync`, into a file all of which was written before: the floor |

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use shm_ring::{Appender, Durability, LogOptions};

use super::{Plan, Planned, Results, Section, TIME_NS, failed, settle};
use crate::mapped::{allocated, record};
use crate::report::spread::size;
use crate::report::verdict::Target;
use crate::turns::{Cell, timed, timed_threads};

const RECORD_BYTES: [usize; 2] = [100, 1 << 10];
const LIMIT: f64 = 1.15;
pub(super) const N_THREADS: usize = 16;
const TIMES_LIMIT: f64 = 8.0;
const FILE_BYTES: usize = 16 << 20;

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    let mut cells = vec![];
    for record_bytes in RECORD_BYTES {
        let (record, n) = (record(record_bytes), plan.n_synced);
        let path = |of: &str| plan.directory.join(format!("durable-{record_bytes}-{of}"));
        let (log_path, mut log) = (path("append"), None);
        cells.push(Cell::new(name(record_bytes, "append"), move || {
            let log = made(&mut log, &log_path)?;
            let (sample, appended) = timed(n, || append_each(log, record, n));
            appended.map(|()| sample)
        }));
        let (log_path, mut log) = (path("append_by_16"), None);
        cells.push(Cell::new(name(record_bytes, "append_by_16"), move || {
            let log = Mutex::new(made(&mut log, &log_path)?);
            let (sample, appended) = timed_threads(|| append_by_all(&log, record, n));
            appended?;
            Ok(crate::turns::Sample { ns: sample.ns / (N_THREADS * n) as f64, ..sample })
        }));
        let (raw_path, mut raw) = (path("raw"), None);
        let mut at = 0;
        cells.push(Cell::new(name(record_bytes, "raw"), move || {
            let raw = match &mut raw {
                Some(raw) => raw,
                none => none.insert(written(&raw_path)?),
            };
            let (frame, record) = (frame_bytes(record.len()), record);
            let mut bytes = vec![0; frame];
            let (sample, done) = timed(n, || {
                for _ in 0..n {
                    bytes[..record.len()].copy_from_slice(record);
                    if at + frame > FILE_BYTES {
                        at = 0;
                    }
                    raw.write_all_at(&bytes, at as u64).map_err(failed("pwrite"))?;
                    raw.sync_data().map_err(failed("fdatasync"))?;
                    at += frame;
                }
                Ok::<_, String>(())
            });
            done.map(|()| sample)
        }));
    }
    let section = Section {
        title: "Durable append",
        caption: "`EachRecord`, each receipt waited for; sixteen threads share an appender in a mutex. `raw`: `pwrite` and `fdatasync` of as many bytes into a file that was written before.",
        unit: ("us per record", 1e3),
        floor: "raw",
        cells: vec![],
    };
    vec![(section, cells)]
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let of_size = |record_bytes| {
        let [one, many, raw] =
            ["append", "append_by_16", "raw"].map(|contestant| name(record_bytes, contestant));
        let what = format!("durable append of {}", size(record_bytes));
        [
            results.slower(&what, &one, &raw, LIMIT),
            results.faster(&format!("{what}: 16 threads, times as many as one"), &many, &one, TIMES_LIMIT),
        ]
    };
    RECORD_BYTES.into_iter().flat_map(of_size).collect()
}

fn name(record_bytes: usize, contestant: &str) -> String {
    format!("durable/{record_bytes}/{contestant}")
}

/// A frame's, as the log has it: 32 bytes and the record, in units of 16.
fn frame_bytes(record_bytes: usize) -> usize {
    (32 + record_bytes).next_multiple_of(16)
}

/// A log for durable records, ready.
pub(super) fn create(path: &Path) -> Result<Appender, String> {
    let options = LogOptions::new()
        .segment_bytes(FILE_BYTES as u64)
        .keep_bytes(FILE_BYTES as u64)
        .durability(Durability::EachRecord);
    let log = options.create(path).map_err(failed("create a log"))?;
    settle(&log)?;
    Ok(log)
}

fn made<'a>(log: &'a mut Option<Appender>, path: &Path) -> Result<&'a mut Appender, String> {
    let log = match log {
        Some(log) => log,
        none => none.insert(create(path)?),
    };
    settle(log)?;
    Ok(log)
}

fn written(path: &Path) -> Result<std::fs::File, String> {
    let file = allocated(path, FILE_BYTES)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    Ok(file)
}

pub(super) fn append_each(log: &mut Appender, record: &[u8], n: usize) -> Result<(), String> {
    for _ in 0..n {
        let receipt = log.append_at(TIME_NS, record).map_err(failed("append"))?;
        receipt.wait().map_err(failed("wait"))?;
    }
    Ok(())
}

/// `n` records by each thread.
pub(super) fn append_by_all(log: &Mutex<&mut Appender>, record: &[u8], n: usize) -> Result<(), String> {
    let append = || {
        for _ in 0..n {
            let appended = log.lock().unwrap_or_else(PoisonError::into_inner).append_at(TIME_NS, record);
            appended.map_err(failed("append"))?.wait().map_err(failed("wait"))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..N_THREADS).map(|_| scope.spawn(append)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("threads don't panic"))
    })
}
