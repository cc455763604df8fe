//! Resident: bytes appended into pages that are in memory already, beside `memcpy` of the same records.
//!
//! Before each repetition both sides write all of the bytes once, so that pages are present, writable and equally warm. Both copy from the
//! same place to pages that begin alike, because a copy's speed depends on that, and neither knows the record's length when it is compiled.

use std::hint::black_box;
use std::path::Path;

use memmap2::MmapMut;
use shm_ring::{AppendFile, AppendOptions};

use super::growth::{allocated, map};
use super::{Plan, Planned, Results, Section, failed};
use crate::report::spread::size;
use crate::report::verdict::Target;
use crate::turns::{Cell, Sample, timed};

const LIMITS: [(usize, f64); 3] = [(100, 4.0), (1 << 10, 1.5), (RECORD_BYTES_MAX, 1.15)];

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    let mut cells = vec![];
    for (record_bytes, _) in LIMITS {
        let (record, bytes) = (record(record_bytes), plan.file_bytes);
        let path = |of: &str| plan.directory.join(format!("resident-{record_bytes}-{of}"));
        let (file_path, mut file) = (path("ours"), None);
        cells.push(Cell::new(name(record_bytes, "ours"), move || {
            repetition(made(&mut file, || create(&file_path, bytes))?, bytes, record)
        }));
        let mut memory = None;
        cells.push(Cell::new(name(record_bytes, "memcpy"), move || {
            copy(made(&mut memory, || MmapMut::map_anon(bytes).map_err(failed("map memory")))?, record)
        }));
        let (map_path, mut mapped) = (path("memcpy"), None);
        cells.push(Cell::new(name(record_bytes, "memcpy_mapped"), move || {
            copy(made(&mut mapped, || map(&allocated(&map_path, bytes)?, bytes))?, record)
        }));
    }
    let section = Section {
        title: "Append into resident pages",
        caption: "`memcpy` writes to a buffer, `memcpy_mapped` to a mapped file of this directory.",
        unit: ("ns per record", 1.0),
        floor: "memcpy",
        cells: vec![],
    };
    vec![(section, cells)]
}

/// What is there, or is made at first use.
fn made<T>(place: &mut Option<T>, make: impl FnOnce() -> Result<T, String>) -> Result<&mut T, String> {
    if place.is_none() {
        *place = Some(make()?);
    }
    Ok(place.as_mut().expect("it was just made"))
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let target = |(record_bytes, limit)| {
        let what = format!("append {} into resident pages", size(record_bytes));
        results.slower(&what, &name(record_bytes, "ours"), &name(record_bytes, "memcpy"), limit)
    };
    LIMITS.map(target).into()
}

/// The largest one.
const RECORD_BYTES_MAX: usize = 16 << 10;

#[repr(align(4096))]
struct Record([u8; RECORD_BYTES_MAX]);

/// A record of that length, in one place for all.
pub(crate) fn record(record_bytes: usize) -> &'static [u8] {
    static RECORD: Record = Record([7; RECORD_BYTES_MAX]);
    &RECORD.0[..record_bytes]
}

fn name(record_bytes: usize, contestant: &str) -> String {
    format!("resident/{record_bytes}/{contestant}")
}

fn create(path: &Path, bytes: usize) -> Result<AppendFile, String> {
    AppendOptions::new().capacity(bytes as u64).create(path).map_err(failed("create an append file"))
}

fn repetition(file: &mut AppendFile, bytes: usize, record: &[u8]) -> Result<Sample, String> {
    file.resize(bytes as u64).map_err(failed("resize"))?;
    file.clear().map_err(failed("clear"))?;
    let n = bytes / record.len();
    let (sample, pushed) = timed(n, || push_all(file, record, n));
    pushed.map_err(failed("push"))?;
    check(file.data(), record, n)?;
    Ok(sample)
}

/// What a user would write.
pub(super) fn push_all(file: &AppendFile, record: &[u8], n: usize) -> Result<(), shm_ring::AppendError> {
    for _ in 0..n {
        file.push(black_box(record))?;
    }
    Ok(())
}

fn copy(buffer: &mut [u8], record: &[u8]) -> Result<Sample, String> {
    buffer.fill(0);
    let n = buffer.len() / record.len();
    let (sample, ()) = timed(n, || copy_all(buffer, record, n));
    check(&buffer[..n * record.len()], record, n)?;
    Ok(sample)
}

/// The floor: the same records, one behind the other.
pub(crate) fn copy_all(buffer: &mut [u8], record: &[u8], n: usize) {
    let mut at = 0;
    for _ in 0..n {
        let record = black_box(record);
        buffer[at..at + record.len()].copy_from_slice(record);
        at += record.len();
    }
    black_box(buffer);
}

/// Whether there are so many of the record, and nothing else.
pub(super) fn check(bytes: &[u8], record: &[u8], n: usize) -> Result<(), String> {
    let is_right = bytes.len() == n * record.len() && bytes.chunks(record.len()).all(|found| found == record);
    if is_right { Ok(()) } else { Err("not what was written".to_owned()) }
}
