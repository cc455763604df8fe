//! Recovery: opening a log whose appender was killed, with nothing of its last segment known to be on the medium.
//!
//! | contestant | does |
//! |------------|------|
//! | `tail/open` | opens a log with one segment, the records of which were appended and never synced |
//! | `tail/crc_scan` | maps the same file and takes the crc32c of all of these bytes, frame by frame: the floor |
//! | `short/open`, `long/open` | opens logs whose tails are alike, one with 2 segments, one with many |
//!
//! Who opens it is in the same boot: the published end is known, and every frame up to it is looked at whole. What is closed again is not
//! timed.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use memmap2::MmapOptions;
use shm_ring::{Appender, LogOptions};

use super::{Plan, Planned, Results, Section, child, failed};
use crate::report::verdict::Target;
use crate::turns::{Cell, Sample, timed};

pub(super) const RECORD_BYTES: usize = 100;
const SCAN_LIMIT: f64 = 1.3;
const LENGTH_LIMIT: f64 = 1.1;
/// Header, live page and index: less than that of a segment's file.
const FRAME_BYTES: usize = 144;

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    let mut cells = vec![];
    let path = plan.directory.join("tail");
    let tail_bytes = plan.tail_bytes;
    let of = move |path: &Path| killed(path, 1, tail_bytes * 2, tail_bytes);
    let log_path = path.clone();
    cells.push(Cell::new("recovery/tail/open".to_owned(), move || {
        of(&log_path)?;
        open(&log_path, tail_bytes)
    }));
    cells.push(Cell::new("recovery/tail/crc_scan".to_owned(), move || {
        of(&path)?;
        crc_scan(&path.join("00000000000000000001.seg"), tail_bytes)
    }));
    let segment_bytes = (tail_bytes / 8).next_multiple_of(64 << 10);
    let tail_bytes = segment_bytes / 4 * 3;
    for (contestant, n_segments) in [("short", 2), ("long", plan.n_segments)] {
        let path = plan.directory.join(contestant);
        cells.push(Cell::new(format!("recovery/{contestant}/open"), move || {
            killed(&path, n_segments, segment_bytes, tail_bytes)?;
            open(&path, tail_bytes)
        }));
    }
    let section = Section {
        title: "Opening after a kill",
        caption: "A tail of which nothing is known to be on the medium; `crc_scan`: the checksums of the same bytes, by hand. `long` has many segments, `short` two.",
        unit: ("ms", 1e6),
        floor: "crc_scan",
        cells: vec![],
    };
    vec![(section, cells)]
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let [tail, scan, short, long] =
        ["tail/open", "tail/crc_scan", "short/open", "long/open"].map(|name| format!("recovery/{name}"));
    vec![
        results.slower("opening after a kill", &tail, &scan, SCAN_LIMIT),
        results.slower("opening a log of many segments", &long, &short, LENGTH_LIMIT),
    ]
}

/// Makes such a log, unless it is there.
fn killed(path: &Path, n_segments: usize, segment_bytes: usize, tail_bytes: usize) -> Result<(), String> {
    if path.exists() {
        return Ok(());
    }
    let numbers = [n_segments, segment_bytes, tail_bytes].map(|number| number.to_string());
    child::run(child::KILLED, path, &numbers)
}

/// What is to be killed: appends, and is gone.
pub(super) fn live(path: &Path, numbers: [usize; 3]) -> Result<(), String> {
    let [n_segments, segment_bytes, tail_bytes] = numbers;
    let options = LogOptions::new().segment_bytes(segment_bytes as u64);
    let mut log = options.create(path).map_err(failed("create a log"))?;
    let end = ((n_segments - 1) * segment_bytes + tail_bytes) as u64;
    while log.end() < end {
        log.append(&[7; RECORD_BYTES]).map(drop).map_err(failed("append"))?;
    }
    super::settle(&log)?;
    nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL)
        .map_err(failed("kill"))
}

fn open(path: &Path, tail_bytes: usize) -> Result<Sample, String> {
    let options = LogOptions::new();
    let (sample, opened) = timed(1, || options.open(path));
    let log: Appender = opened.map_err(failed("open"))?;
    let scanned = log.recovery().scanned_bytes;
    let at_least = (tail_bytes as u64).saturating_sub(1 << 10);
    if scanned >= at_least { Ok(sample) } else { Err(format!("{scanned} bytes were looked at: not all")) }
}

fn crc_scan(file: &PathBuf, tail_bytes: usize) -> Result<Sample, String> {
    let (sample, scanned) = timed(1, || {
        let file = std::fs::File::open(file).map_err(failed("open"))?;
        // SAFETY: nobody writes to the file, whose appender is dead, and nobody cuts it.
        let mapped = unsafe { MmapOptions::new().map(&file) }.map_err(failed("map"))?;
        let from = mapped.len() - tail_bytes * 2;
        for frame in mapped[from..from + tail_bytes].chunks(FRAME_BYTES) {
            black_box(crc32c::crc32c(frame));
        }
        Ok::<_, String>(())
    });
    scanned.map(|()| sample)
}
