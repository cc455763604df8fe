//! Resident: records appended into a segment whose pages are in memory already, beside `memcpy` and crc32c of the same bytes.
//!
//! | contestant | does |
//! |------------|------|
//! | `append_at` | appends with a time that is given: this is what is held against the floor |
//! | `append` | asks the clock as well |
//! | `memcpy_crc` | copies the record into a mapped file of the same directory and takes its crc32c: the floor |
//! | `memcpy` | copies only |
//!
//! Pages ahead are the helpers' work, a few MiB at a time, and no processor makes pages as fast as another copies bytes. Here every page is
//! made present before the time begins, on both sides, so that the append alone is seen; `recycled` and `stall` are with the helpers.

use std::hint::black_box;
use std::path::Path;

use memmap2::MmapMut;
use rustix::mm::{Advice, madvise};
use shm_ring::{Appender, LogItem, LogOptions, LogReader, LogStart};

use super::{Plan, Planned, Results, Section, TIME_NS, failed, n_faults, removed, settle};
use crate::mapped::{allocated, map, record};
use crate::report::spread::size;
use crate::report::verdict::Target;
use crate::turns::{Cell, Sample, timed};

const LIMITS: [(usize, f64); 3] = [(100, 4.0), (1 << 10, 1.5), (16 << 10, 1.15)];
const CONTESTANTS: [(&str, Append); 2] = [("append_at", append_at), ("append", append)];

/// Appends a record so often.
type Append = fn(&mut Appender, &[u8], usize) -> Result<(), shm_ring::LogError>;

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    let mut cells = vec![];
    for (record_bytes, _) in LIMITS {
        let (record, bytes) = (record(record_bytes), plan.appended_bytes);
        for (contestant, append) in CONTESTANTS {
            let path = plan.directory.join("resident");
            cells.push(Cell::new(name(record_bytes, contestant), move || {
                repetition(&path, record, bytes, append)
            }));
        }
        for (contestant, copy) in
            [("memcpy_crc", copy_and_sum as fn(&mut [u8], &[u8], usize)), ("memcpy", copy)]
        {
            let (path, mut mapped) =
                (plan.directory.join(format!("resident-{record_bytes}-{contestant}")), None);
            cells.push(Cell::new(name(record_bytes, contestant), move || {
                let mapped: &mut MmapMut = match &mut mapped {
                    Some(mapped) => mapped,
                    none => none.insert(map(&allocated(&path, bytes)?, bytes)?),
                };
                mapped.fill(0);
                let n = bytes / record.len();
                let (sample, ()) = timed(n, || copy(mapped, record, n));
                let is_right = mapped[..n * record.len()].chunks(record.len()).all(|found| found == record);
                if is_right { Ok(sample) } else { Err("not what was written".to_owned()) }
            }));
        }
    }
    let section = Section {
        title: "Append into resident pages",
        caption: "With checksum and metadata. `append` reads the clock, too; `memcpy_crc`: `memcpy` into a mapped file and crc32c of the same bytes.",
        unit: ("ns per record", 1.0),
        floor: "memcpy_crc",
        cells: vec![],
    };
    vec![(section, cells)]
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let target = |(record_bytes, limit)| {
        let what = format!("append {} into resident pages, the time given", size(record_bytes));
        results.slower(&what, &name(record_bytes, "append_at"), &name(record_bytes, "memcpy_crc"), limit)
    };
    LIMITS.map(target).into()
}

fn name(record_bytes: usize, contestant: &str) -> String {
    format!("resident/{record_bytes}/{contestant}")
}

fn repetition(path: &Path, record: &[u8], bytes: usize, append: Append) -> Result<Sample, String> {
    removed(path)?;
    let n = bytes / record.len();
    // A frame has less than 64 bytes of its own, and a record may have a quarter of a segment.
    let segment_bytes = (n * (record.len() + 64)).max(4 * record.len()).next_multiple_of(64 << 10);
    let mut log =
        LogOptions::new().segment_bytes(segment_bytes as u64).create(path).map_err(failed("create a log"))?;
    settle(&log)?;
    make_present(path)?;
    let faults = n_faults()?;
    let (sample, appended) = timed(n, || append(&mut log, record, n));
    appended.map_err(failed("append"))?;
    let faults = n_faults()? - faults;
    check(path, record, n)?;
    drop(log);
    removed(path)?;
    // What reads the scheduler's account faults a little.
    if faults > 16.0 {
        Err(format!("{faults} page faults: the segment was not resident"))
    } else {
        Ok(sample)
    }
}

/// What a user would write.
fn append_at(log: &mut Appender, record: &[u8], n: usize) -> Result<(), shm_ring::LogError> {
    for _ in 0..n {
        let _ = black_box(log.append_at(TIME_NS, black_box(record))?);
    }
    Ok(())
}

fn append(log: &mut Appender, record: &[u8], n: usize) -> Result<(), shm_ring::LogError> {
    for _ in 0..n {
        let _ = black_box(log.append(black_box(record))?);
    }
    Ok(())
}

fn copy_and_sum(to: &mut [u8], record: &[u8], n: usize) {
    for room in to.chunks_exact_mut(record.len()).take(n) {
        let record = black_box(record);
        room.copy_from_slice(record);
        black_box(crc32c::crc32c(record));
    }
}

fn copy(to: &mut [u8], record: &[u8], n: usize) {
    for room in to.chunks_exact_mut(record.len()).take(n) {
        room.copy_from_slice(black_box(record));
    }
    black_box(to);
}

/// More than what is in front of a segment's frames.
const FRONT_BYTES: usize = 1 << 20;

/// Makes every page of the first segment present that this process has mapped of the log in `path`, which is new, and as warm as pages are
/// that a loop has written.
pub(super) fn make_present(path: &Path) -> Result<(), String> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(failed("/proc/self/maps"))?;
    let path = std::fs::canonicalize(path).map_err(failed("find the log"))?;
    let segments = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let file = Path::new(&rest[rest.find('/')?..]);
        let is_segment = file.parent() == Some(&*path) && file.extension().is_some_and(|e| e == "seg");
        (is_segment && rest.starts_with("rw")).then_some((file, range))
    });
    let (_, range) = segments.min().ok_or("no segment is mapped")?;
    let number = |text: &str| usize::from_str_radix(text, 16).map_err(failed("/proc/self/maps"));
    let (start, end) = range.split_once('-').ok_or("/proc/self/maps: a range")?;
    let (start, end) = (number(start)?, number(end)?);
    let at = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: changes no byte and takes no page away, whoever's map that is.
    unsafe { madvise(at, end - start, Advice::LinuxPopulateWrite) }.map_err(failed("make pages present"))?;
    if end - start > FRONT_BYTES {
        let rest = at.cast::<u8>().wrapping_add(FRONT_BYTES);
        // SAFETY: in a map that the log keeps, behind everything that it has stored: a new segment's bytes are zeros there, and nobody looks.
        unsafe { rest.write_bytes(0, end - start - FRONT_BYTES) };
    }
    Ok(())
}

/// Whether the log has so many of the record, and nothing else.
pub(super) fn check(path: &Path, record: &[u8], n: usize) -> Result<(), String> {
    let mut reader = LogReader::open(path).map_err(failed("open for reading"))?;
    reader.seek(LogStart::Oldest).map_err(failed("seek"))?;
    let mut n_found = 0;
    loop {
        match reader.next().map_err(failed("read"))? {
            Some(LogItem::Record(found)) if *found == *record => n_found += 1,
            Some(other) => return Err(format!("not what was appended: {other:?}")),
            None if n_found == n => return Ok(()),
            None => return Err(format!("{n_found} records of {n}")),
        }
    }
}
