//! Growth: bytes appended to a new file of 512 KiB until it has them all.
//!
//! | contestant | grows |
//! |------------|-------|
//! | `ours` | as an append file does: space in few steps, pages made present 256 KiB ahead |
//! | `first_touch` | at once, by `fallocate`; the pages by being written, one after the other: the floor |
//! | `page_wise` | as the seed did: opened, made longer and mapped again for each page that is needed |
//!
//! The file is new in each repetition. The first 512 KiB are present before the time begins, everywhere.

use std::fs::{File, OpenOptions};
use std::path::Path;

use memmap2::{MmapMut, MmapOptions};
use rustix::fs::{FallocateFlags, fallocate};
use shm_ring::AppendOptions;

use super::page_wise::PageWise;
use super::resident::{check, copy_all, push_all, record};
use super::{Plan, Planned, Results, Section, failed};
use crate::report::spread::size;
use crate::report::verdict::Target;
use crate::turns::{Cell, Sample, timed};

const RECORD_BYTES: [usize; 2] = [100, 16 << 10];
/// What a file has before it grows.
pub(super) const START_BYTES: usize = 512 << 10;

/// Pushes a record so many times into a new file.
type Grow = fn(&Path, &[u8], usize) -> Result<Sample, String>;

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    let (path, bytes) = (plan.directory.join("growth"), plan.file_bytes);
    let contestants: [(&str, Grow); 3] =
        [("ours", ours), ("first_touch", first_touch), ("page_wise", page_wise)];
    let mut cells = vec![];
    for record_bytes in RECORD_BYTES {
        for (contestant, grow) in contestants {
            let (path, record) = (path.clone(), record(record_bytes));
            cells.push(Cell::new(name(record_bytes, contestant), move || {
                let sample = grow(&path, record, bytes / record.len())?;
                std::fs::remove_file(&path).map_err(failed("remove"))?;
                // Per pass.
                Ok(Sample { ns: sample.ns * (bytes / record.len()) as f64, ..sample })
            }));
        }
    }
    let section = Section {
        title: "Growth from 512 KiB",
        caption: "The whole of it, a new file each time. `first_touch`: `fallocate`, then every page by being written.",
        unit: ("ms", 1e6),
        floor: "first_touch",
        cells: vec![],
    };
    vec![(section, cells)]
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let of_size = |record_bytes| {
        let [ours, floor, seed] =
            ["ours", "first_touch", "page_wise"].map(|contestant| name(record_bytes, contestant));
        let what = format!("growth by {}", size(record_bytes));
        [
            results.slower(&what, &ours, &floor, 1.15),
            results.faster(&format!("{what}: times as fast"), &ours, &seed, 8.0),
        ]
    };
    RECORD_BYTES.into_iter().flat_map(of_size).collect()
}

fn name(record_bytes: usize, contestant: &str) -> String {
    format!("growth/{record_bytes}/{contestant}")
}

fn ours(path: &Path, record: &[u8], n: usize) -> Result<Sample, String> {
    let options = AppendOptions::new().capacity(START_BYTES as u64);
    let file = options.create(path).map_err(failed("create an append file"))?;
    let (sample, pushed) = timed(n, || push_all(&file, record, n));
    pushed.map_err(failed("push"))?;
    check(file.data(), record, n)?;
    Ok(sample)
}

fn first_touch(path: &Path, record: &[u8], n: usize) -> Result<Sample, String> {
    let file = allocated(path, START_BYTES)?;
    let mut mapped = map(&file, n * record.len())?;
    mapped[..START_BYTES].fill(0);
    let (sample, allocated) = timed(n, || {
        allocate(&file, mapped.len())?;
        copy_all(&mut mapped, record, n);
        Ok::<_, String>(())
    });
    allocated?;
    check(&mapped, record, n)?;
    Ok(sample)
}

fn page_wise(path: &Path, record: &[u8], n: usize) -> Result<Sample, String> {
    let mut file = PageWise::new(path, START_BYTES).map_err(failed("create the seed's file"))?;
    let (sample, pushed) = timed(n, || (0..n).try_for_each(|_| file.push(record)));
    pushed.map_err(failed("push"))?;
    check(file.data(), record, n)?;
    Ok(sample)
}

/// A new file of that length, all of it allocated.
pub(crate) fn allocated(path: &Path, bytes: usize) -> Result<File, String> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).open(path);
    let file = file.map_err(failed("create a file"))?;
    allocate(&file, bytes)?;
    Ok(file)
}

fn allocate(file: &File, bytes: usize) -> Result<(), String> {
    fallocate(file, FallocateFlags::empty(), 0, bytes as u64).map_err(failed("fallocate"))
}

/// So much of a file, or of what it will become.
pub(crate) fn map(file: &File, bytes: usize) -> Result<MmapMut, String> {
    let mut options = MmapOptions::new();
    options.len(bytes);
    // SAFETY: a file of this process alone, in a directory that it made; it is long enough before it is written, and never cut.
    unsafe { options.map_mut(file) }.map_err(failed("map"))
}
