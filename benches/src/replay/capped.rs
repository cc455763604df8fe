//! Capped: a replay in a process of its own under a cap of memory, watched from this one.
//!
//! Resident: `Rss` of `smaps_rollup`, every 10 ms. Cached: pages of all files that `mincore` finds, through maps of this process that nobody
//! touches, every 200 ms. Files are of rows, and real.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use memmap2::Mmap;
use shm_ring::replay::{Body, Merge, Order, PoolOptions, RowLayout, TimeUnit};

use super::{Fact, Plan, Results, failed};
use crate::report::verdict::{Limit, Target};

/// The argument by which this program is told that it is the one who replays.
pub const ARGUMENT: &str = "--replays-under-a-cap";

const RESIDENT_TO_CAP: &str = "capped/resident_to_cap";
const CACHED_TO_CAP: &str = "capped/cached_to_cap";
const SLOWER: &str = "capped/slower";
const NAMES: [&str; 9] = [
    "capped/files",
    "capped/cap",
    "capped/resident",
    RESIDENT_TO_CAP,
    "capped/cached",
    CACHED_TO_CAP,
    "capped/cached_without",
    "capped/seconds",
    SLOWER,
];

/// What may be in the page cache beyond the cap.
const CACHED_MORE_BYTES: u64 = 64 << 20;
const N_FILES: u64 = 320;
const ROW_BYTES: u64 = 64;

pub(super) fn facts(plan: &Plan) -> Result<Vec<Fact>, String> {
    if !NAMES.iter().any(|name| name.contains(&plan.only)) {
        return Ok(vec![]);
    }
    let [bytes, cap] = plan.capped_bytes;
    let directory = plan.directory.join("capped");
    std::fs::create_dir_all(&directory).map_err(failed("make a directory"))?;
    let paths = make(&directory, bytes)?;
    // From the disk, both.
    super::files::forget_cached(&paths)?;
    let free = watch(&directory, &paths, 0)?;
    super::files::forget_cached(&paths)?;
    let capped = watch(&directory, &paths, cap)?;
    super::files::forget_cached(&paths)?;
    std::fs::remove_dir_all(&directory).map_err(failed("remove"))?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let figures = [
        ("MiB of files", mib(bytes)),
        ("MiB of cap", mib(cap)),
        ("MiB resident at most", mib(capped.resident_bytes)),
        ("resident, to the cap", capped.resident_bytes as f64 / cap as f64),
        ("MiB of its files in the page cache at most", mib(capped.cached_bytes)),
        ("cached, to the cap and 64 MiB", capped.cached_bytes as f64 / (cap + CACHED_MORE_BYTES) as f64),
        ("MiB of its files in the page cache at most, without a cap", mib(free.cached_bytes)),
        ("seconds", capped.seconds),
        ("times as long as without a cap", capped.seconds / free.seconds),
    ];
    Ok(NAMES
        .into_iter()
        .zip(figures)
        .map(|(name, (what, figure))| Fact::exact(name, what, Ok(figure)))
        .collect())
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    vec![
        results.count(RESIDENT_TO_CAP, "-", Limit::AtMost(1.0)),
        results.count(CACHED_TO_CAP, "-", Limit::AtMost(1.0)),
        results.count(SLOWER, "-", Limit::AtMost(1.25)),
    ]
}

/// Replays the files of a directory in so much memory; 0: as it likes.
pub fn child(directory: &Path, cap: u64) -> Result<(), String> {
    let mut options = PoolOptions::new().order(Order::Error);
    if cap > 0 {
        options = options.memory_bytes(cap);
    }
    let pool = options.build().map_err(failed("build a pool"))?;
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).map_err(failed("list"))?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let row_bytes = u32::try_from(ROW_BYTES).map_err(failed("lay out"))?;
    let layout = RowLayout { row_bytes, timestamp_at: 0, unit: TimeUnit::Nanos };
    let mut merge = Merge::new();
    for path in &paths {
        merge.add(pool.open_rows(path, layout).map_err(failed("open"))?);
    }
    let mut n = 0_u64;
    while let Some(event) = merge.next().map_err(failed("replay"))? {
        let Body::Bytes(bytes) = event.record.body else { continue };
        n += u64::from(bytes[63]) + 1;
    }
    eprintln!("{n} rows, {:?}", pool.stats());
    Ok(())
}

struct Watched {
    resident_bytes: u64,
    cached_bytes: u64,
    seconds: f64,
}

fn watch(directory: &Path, paths: &[PathBuf], cap: u64) -> Result<Watched, String> {
    let program = std::env::current_exe().map_err(failed("find this program"))?;
    let maps = paths.iter().map(|path| {
        let file = File::open(path).map_err(failed("open"))?;
        // SAFETY: files of this program alone, which nobody writes or cuts any more.
        unsafe { Mmap::map(&file) }.map_err(failed("map"))
    });
    let maps: Vec<Mmap> = maps.collect::<Result<_, _>>()?;
    let began = Instant::now();
    let child = Command::new(program).arg(ARGUMENT).arg(directory).arg(cap.to_string()).spawn();
    let mut child = child.map_err(failed("start a replay"))?;
    let (mut resident_bytes, mut cached_bytes, mut turn) = (0, 0, 0);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed("wait for the replay"))? {
            break status;
        }
        resident_bytes = resident_bytes.max(resident(child.id()));
        if turn % 20 == 0 {
            cached_bytes = cached_bytes.max(maps.iter().map(cached).sum());
        }
        turn += 1;
        std::thread::sleep(Duration::from_millis(10));
    };
    if !status.success() {
        return Err(format!("the replay: {status}"));
    }
    Ok(Watched { resident_bytes, cached_bytes, seconds: began.elapsed().as_secs_f64() })
}

fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

fn cached(map: &Mmap) -> u64 {
    let mut pages = vec![0_u8; map.len().div_ceil(4096)];
    // SAFETY: the range is a map of this process, and there is a byte for each of its pages.
    let code = unsafe { nix::libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) };
    if code != 0 {
        return 0;
    }
    pages.iter().filter(|page| **page & 1 == 1).count() as u64 * 4096
}

fn make(directory: &Path, bytes: u64) -> Result<Vec<PathBuf>, String> {
    let n_rows = bytes / N_FILES / ROW_BYTES;
    let mut paths = vec![];
    for file in 0..N_FILES {
        let path = directory.join(format!("{file:06}"));
        let mut made =
            std::io::BufWriter::with_capacity(1 << 20, File::create(&path).map_err(failed("create"))?);
        let mut row = [0; 64];
        for at in 0..n_rows {
            row[..8].copy_from_slice(&(at * N_FILES + file).to_le_bytes());
            made.write_all(&row).map_err(failed("write"))?;
        }
        made.flush().map_err(failed("write"))?;
        paths.push(path);
    }
    Ok(paths)
}
