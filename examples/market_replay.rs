//! A day of a whole market, replayed: thousands of tables as one stream, in bounded memory, at full speed, by instants, and in time.
//!
//! `cargo run --release -p examples --example market_replay -- [--symbols N] [--rows N] [--mem MIB] [--seconds S]`. The day is made up, the
//! same with each run: prices walk at random, trades come in bursts, many at one instant, within a symbol and across all of them. Shown for
//! each step: what it took, and how much memory this process and its files in the page cache have.
#![allow(clippy::print_stdout)]

use memmap2::Mmap;
use shm_ring::replay::{
    AsOf, Batches, Body, CellValue, ColumnType, MapPool, Merge, Pace, PoolOptions, PoolSource, Replayer,
    TableWriter,
};
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// 2026-03-02T14:30:00Z, when New York opens, and how long it is open.
const OPEN_NS: u64 = 1_772_461_800_000_000_000;
const DAY_NS: u64 = 23_400 * SECOND_NS;
const NOON_NS: u64 = OPEN_NS + 9_000 * SECOND_NS;
const SECOND_NS: u64 = 1_000_000_000;

struct Options {
    n_symbols: u64,
    n_rows: u64,
    mem_bytes: u64,
    /// Of each paced stretch.
    seconds: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let directory = tempfile::tempdir()?;
    let began = Instant::now();
    make(directory.path(), &options)?;
    let paths = MapPool::find(directory.path())?;
    let bytes: u64 = paths.iter().map(|path| path.metadata().map_or(0, |file| file.len())).sum();
    let n_expected = options.n_symbols * options.n_rows;
    println!(
        "{} sources, tables of {} rows: {n_expected} events, {} MiB; made in {:.1} s",
        paths.len(),
        options.n_rows,
        bytes >> 20,
        began.elapsed().as_secs_f64()
    );
    let (cap_mib, own_mib) = (options.mem_bytes >> 20, memory_kib("VmRSS:")? >> 10);
    println!("the cap is {cap_mib} MiB; this process had {own_mib} MiB resident before\n");
    let mut shown = Shown { paths: &paths, peak_kib: 0, cached_bytes: 0 };
    shown.title();

    let began = Instant::now();
    let merge = shown.step("open", || Ok((0, open(&paths, &options)?)))?;
    let n_events = shown.step("every event", || at_full_speed(merge))?;
    let all = began.elapsed();
    assert_eq!(n_events, n_expected);
    let merge = open(&paths, &options)?;
    let batches = shown.step("every instant", || by_instant(merge))?;
    let merge = open(&paths, &options)?;
    let lasts = shown.step("last prices at noon", || at_noon(merge))?;
    let [slow, fast] = [10.0, 100.0].map(|speed| {
        let replayer = in_time(&paths, &options, speed)?;
        shown.step(&format!("from noon on, {speed}x"), || keep_time(replayer, speed))
    });

    let million_a_second = n_events as f64 / all.as_secs_f64() / 1e6;
    println!("\nall events: {million_a_second:.1} million/s, with opening all sources");
    println!(
        "memory:     at most {} MiB resident, and {} MiB of the {} MiB of tables in the page cache, of a cap of {cap_mib} MiB",
        shown.peak_kib >> 10,
        shown.cached_bytes >> 20,
        bytes >> 20
    );
    println!("instants:   {batches}\nas of noon: {lasts}\nin time:    {}; {}", slow?, fast?);
    Ok(())
}

fn options() -> Result<Options, Box<dyn Error>> {
    let is_quick = cfg!(debug_assertions);
    let (n_symbols, n_rows) = if is_quick { (50, 200) } else { (3_000, 5_000) };
    let mut options =
        Options { n_symbols, n_rows, mem_bytes: 384 << 20, seconds: if is_quick { 1 } else { 2 } };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value: u64 = args.next().ok_or(format!("{name}: a number is missing"))?.parse()?;
        match name.as_str() {
            "--symbols" => options.n_symbols = value,
            "--rows" => options.n_rows = value,
            "--mem" => options.mem_bytes = value << 20,
            "--seconds" => options.seconds = value,
            _ => return Err(format!("{name}: --symbols, --rows, --mem or --seconds is expected").into()),
        }
    }
    Ok(options)
}

/// Numbers that look like chance, the same with each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n.max(1)
    }
}

/// A table for each symbol; by several threads, as most of it is waiting for the disk.
fn make(directory: &Path, options: &Options) -> Result<(), Box<dyn Error>> {
    const N_THREADS: u64 = 8;
    let makers: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let make_some = |first: u64| {
            let mut of_thread = (first..options.n_symbols).step_by(8);
            of_thread.try_for_each(|symbol| {
                let path = directory.join(format!("S{symbol:04}.arrow"));
                make_one(&path, symbol, options.n_rows).map_err(|error| error.to_string())
            })
        };
        let threads: Vec<_> = (0..N_THREADS).map(|first| scope.spawn(move || make_some(first))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a maker panicked")).collect()
    });
    Ok(makers.into_iter().collect::<Result<(), String>>()?)
}

fn make_one(path: &Path, symbol: u64, n_rows: u64) -> Result<(), shm_ring::Error> {
    let columns =
        [("timestamp", ColumnType::TimestampNanos), ("price", ColumnType::F64), ("volume", ColumnType::I64)];
    let mut table = TableWriter::create(path, &columns)?;
    let mut chance = Chance((symbol + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut cents = 1_000 + chance.below(50_000);
    // One in three comes at the instant of the one before; so the others have more time between them.
    let gap_ns = DAY_NS / n_rows.max(1) * 3 / 2;
    let mut at_ns = OPEN_NS;
    for _ in 0..n_rows {
        if chance.below(3) > 0 {
            at_ns += chance.below(2 * gap_ns);
            // Milliseconds, as exchanges write them; now and then the whole market moves with a second.
            at_ns -= at_ns % if chance.below(10) == 0 { SECOND_NS } else { SECOND_NS / 1_000 };
        }
        cents = (cents + chance.below(11)).saturating_sub(5).max(1);
        let price = u32::try_from(cents).map_or(f64::MAX, f64::from) / 100.0;
        table.push(&[
            CellValue::Unsigned(at_ns),
            price.into(),
            CellValue::Unsigned(100 * (1 + chance.below(20))),
        ])?;
    }
    table.finish()
}

/// Looks at headers only.
fn open(paths: &[PathBuf], options: &Options) -> Result<Merge<PoolSource>, Box<dyn Error>> {
    let pool = PoolOptions::new().memory_bytes(options.mem_bytes).build()?;
    let mut merge = Merge::new();
    for path in paths {
        merge.add(pool.open(path)?);
    }
    Ok(merge)
}

/// The price of each row is read, in place.
fn at_full_speed(merge: Merge<PoolSource>) -> Counted<u64> {
    let mut replayer = Replayer::new(merge);
    let (mut n_events, mut highest) = (0, 0.0_f64);
    while let Some(event) = replayer.next()? {
        if let Body::Row(row) = event.record.body {
            highest = highest.max(row.get::<f64>(1)?);
        }
        n_events += 1;
    }
    assert!(highest > 0.0);
    Ok((n_events, n_events))
}

/// All that happened at one instant, in all symbols.
fn by_instant(merge: Merge<PoolSource>) -> Counted<String> {
    let mut batches = Batches::new(merge);
    let (mut n_events, mut n_instants, mut largest) = (0, 0, (0, 0));
    while let Some(mut moment) = batches.next()? {
        let mut n_here = 0;
        while moment.next()?.is_some() {
            n_here += 1;
        }
        n_events += n_here;
        n_instants += 1;
        largest = largest.max((n_here, moment.timestamp_ns()));
    }
    let second = (largest.1 - OPEN_NS) / SECOND_NS;
    let most = largest.0;
    Ok((n_events, format!("{n_instants}; the busiest one has {most} events, {second} s after the opening")))
}

/// What each symbol cost last at noon.
fn at_noon(merge: Merge<PoolSource>) -> Counted<String> {
    let mut as_of = AsOf::new(merge);
    // From the nearest place in front of it that each table finds, not from the morning on.
    as_of.seek(NOON_NS)?;
    let n_sources = as_of.merge().sources().len();
    let known = (0..n_sources).filter(|symbol| as_of.last(*symbol).is_some()).count();
    let first = as_of.last(0).ok_or("nothing was traded before noon")?;
    let row = String::from_utf8_lossy(&first.kept.bytes);
    Ok((0, format!("{known} of {n_sources} symbols had been traded; the first one last at {row}")))
}

/// A stretch behind noon, so many times as fast as it was.
fn in_time(paths: &[PathBuf], options: &Options, speed: f64) -> Result<Replayer<PoolSource>, Box<dyn Error>> {
    let stretch = Duration::from_secs(options.seconds).mul_f64(speed);
    let end_ns = NOON_NS + u64::try_from(stretch.as_nanos())?;
    Ok(Replayer::new(open(paths, options)?).pace(Pace::Speed(speed)).from_ns(NOON_NS).to_ns(end_ns))
}

/// How far from its due time each event comes, by the first one.
fn keep_time(mut replayer: Replayer<PoolSource>, speed: f64) -> Counted<String> {
    let (mut errors_ns, mut course) = (Vec::new(), None);
    while let Some(event) = replayer.next()? {
        let now = Instant::now();
        let (start, start_ns) = *course.get_or_insert((now, event.stamp.timestamp_ns));
        let due = Duration::from_nanos(event.stamp.timestamp_ns - start_ns).div_f64(speed);
        errors_ns.push((now - start).abs_diff(due).as_nanos());
    }
    errors_ns.sort_unstable();
    let at = |percent: usize| {
        errors_ns.get(errors_ns.len() * percent / 100).map_or(0.0, |ns| *ns as f64 / 1_000.0)
    };
    let (half, most) = (at(50), at(99));
    Ok((errors_ns.len() as u64, format!("at {speed}x off by {half:.1} us (p50), {most:.1} us (p99)")))
}

/// So many events, if that is what matters, and what came of them.
type Counted<T> = Result<(u64, T), Box<dyn Error>>;

/// A table of steps.
struct Shown<'a> {
    paths: &'a [PathBuf],
    /// The most so far of any step.
    peak_kib: u64,
    cached_bytes: u64,
}

impl Shown<'_> {
    fn title(&self) {
        println!("{:<22}{:>10}{:>10}{:>12}{:>18}{:>16}", "", "", "", "", "MiB resident,", "in page cache,");
        println!(
            "{:<22}{:>10}{:>10}{:>12}{:>18}{:>16}",
            "step", "events", "seconds", "events/s", "at most", "in the end"
        );
    }

    /// Does something, and shows what it took.
    fn step<T>(&mut self, what: &str, work: impl FnOnce() -> Counted<T>) -> Result<T, Box<dyn Error>> {
        // The kernel's mark of the most that was resident begins anew.
        std::fs::write("/proc/self/clear_refs", "5")?;
        let began = Instant::now();
        let (n_events, done) = work()?;
        let seconds = began.elapsed().as_secs_f64();
        let (peak_kib, cached_bytes) = (memory_kib("VmHWM:")?, cached_bytes(self.paths)?);
        self.peak_kib = self.peak_kib.max(peak_kib);
        self.cached_bytes = self.cached_bytes.max(cached_bytes);
        let [events, rate] = match n_events {
            0 => Default::default(),
            n => [n.to_string(), format!("{:.0}", n as f64 / seconds)],
        };
        let (resident, cached) = (peak_kib >> 10, cached_bytes >> 20);
        println!("{what:<22}{events:>10}{seconds:>10.3}{rate:>12}{resident:>18}{cached:>16}");
        Ok(done)
    }
}

/// Of this process, as the kernel counts it.
fn memory_kib(name: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or(format!("no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// How much of the files is in the page cache.
fn cached_bytes(paths: &[PathBuf]) -> Result<u64, Box<dyn Error>> {
    const PAGE: usize = 4096;
    let mut n_pages = 0;
    for path in paths {
        // SAFETY: the file is ours alone, nobody changes it, and nothing is read through the map.
        let map = unsafe { Mmap::map(&File::open(path)?) }?;
        let mut pages = vec![0u8; map.len().div_ceil(PAGE)];
        // SAFETY:
        // - the range is the map, which is alive;
        // - `pages` has a byte for each of its pages.
        let code = unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) };
        if code != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        n_pages += pages.iter().filter(|page| **page & 1 != 0).count();
    }
    Ok((n_pages * PAGE) as u64)
}
