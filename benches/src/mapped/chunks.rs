//! Chunks: a new file written in large chunks by many threads, each its own; and how much of a file is payload when records are small.
//!
//! The shape is that of ranged-mmap's own bench (512 MiB, chunks of 12 MiB, 12 workers), made fair: files, data and directories are made
//! before the time begins, and either all contestants sync once, at the end, or none does. Allocating the ranges is part of it.
//!
//! | contestant | writes |
//! |------------|--------|
//! | `ours` | ranges of a ranged file |
//! | `ranged_mmap` | ranges of that crate's file, with the feature `rivals` |
//! | `pwrite` | by system calls: the floor |

use std::cell::OnceCell;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use shm_ring::{AllocateError, RangedFile, RangedOptions};

use super::{Fact, Plan, Planned, Results, Section, failed};
use crate::report::verdict::{Limit, NEEDS_RIVALS, Target};
use crate::turns::{Cell, Sample, timed_threads};

const N_WORKERS: usize = 12;
const SMALL: [u8; 64] = [7; 64];
const SMALL_BYTES: u64 = SMALL.len() as u64;
const SMALL_FILE_BYTES: u64 = 16 << 20;

/// Whether the bytes have to be on the medium at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Written,
    Synced,
}

/// What is written.
#[derive(Debug)]
struct Work {
    file_bytes: usize,
    chunk_bytes: usize,
    /// Of each worker, a chunk.
    data: Vec<Vec<u8>>,
}

type Contestant = fn(&Path, &Work, Ends) -> Result<Sample, String>;

const CONTESTANTS: &[(&str, Contestant)] = &[
    ("ours", ours),
    #[cfg(feature = "rivals")]
    ("ranged_mmap", ranged_mmap),
    ("pwrite", pwrite),
];

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    let work = Rc::new(OnceCell::new());
    let cell = |ends, (contestant, write): &(&str, Contestant)| {
        let (path, work, write) = (plan.directory.join("chunks"), Rc::clone(&work), *write);
        Cell::new(name(ends, contestant), move || {
            let work = work.get_or_init(|| Work::new(plan.chunked_bytes));
            let sample = write(&path, work, ends)?;
            work.check(&path)?;
            std::fs::remove_file(&path).map_err(failed("remove"))?;
            Ok(sample)
        })
    };
    let planned = |(ends, title)| {
        let caption =
            "All of the file, by 12 threads, a new file each time. `pwrite`: the same by system calls.";
        let section = Section { title, caption, unit: ("ms", 1e6), floor: "pwrite", cells: vec![] };
        (section, CONTESTANTS.iter().map(|contestant| cell(ends, contestant)).collect())
    };
    let both = [
        (Ends::Written, "Chunks by many threads, no sync"),
        (Ends::Synced, "Chunks by many threads, one sync"),
    ];
    both.map(planned).into()
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let against = |(ends, what): (Ends, &str)| {
        let mut target = results.slower(what, &name(ends, "ours"), &name(ends, "ranged_mmap"), 1.05);
        if cfg!(not(feature = "rivals")) {
            target.measured = Err(NEEDS_RIVALS);
        }
        target
    };
    let times = [
        (Ends::Written, "ranges of 12 MiB, 12 threads, no sync"),
        (Ends::Synced, "the same, one sync at the end"),
    ];
    let mut targets: Vec<Target> = times.map(against).into();
    targets.push(results.count("space/64/ours", "the file's length", Limit::AtLeast(95.0, None)));
    targets
}

fn name(ends: Ends, contestant: &str) -> String {
    let how = if ends == Ends::Synced { "synced" } else { "written" };
    format!("chunks/{how}/{contestant}")
}

impl Work {
    fn new([file_bytes, chunk_bytes]: [usize; 2]) -> Self {
        let data = (1..=N_WORKERS).map(|worker| vec![u8::try_from(worker).expect("twelve"); chunk_bytes]);
        Self { file_bytes, chunk_bytes, data: data.collect() }
    }

    /// How long each chunk is; the last one may be shorter.
    fn chunks(&self) -> impl Iterator<Item = usize> {
        let (all, chunk) = (self.file_bytes, self.chunk_bytes);
        (0..all.div_ceil(chunk)).map(move |number| chunk.min(all - number * chunk))
    }

    /// Lets the workers write the ranges in turn.
    fn write<R: Send>(
        &self,
        ranges: Vec<R>,
        write: impl Fn(R, &[u8]) -> Result<(), String> + Sync,
    ) -> Result<(), String> {
        let mut shares: Vec<Vec<(R, usize)>> = (0..N_WORKERS).map(|_| vec![]).collect();
        for (number, of) in ranges.into_iter().zip(self.chunks()).enumerate() {
            shares[number % N_WORKERS].push(of);
        }
        std::thread::scope(|scope| {
            let write = &write;
            let workers = shares.into_iter().zip(&self.data).map(|(share, data)| {
                scope.spawn(move || share.into_iter().try_for_each(|(range, len)| write(range, &data[..len])))
            });
            let workers: Vec<_> = workers.collect();
            workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
        })
    }

    /// Whether every chunk is where it belongs, as the file says it; what is in front of the data is none of it.
    fn check(&self, path: &Path) -> Result<(), String> {
        let file = std::fs::File::open(path).map_err(failed("open"))?;
        let file_bytes = file.metadata().map_err(failed("examine"))?.len();
        let mut at = file_bytes - self.file_bytes as u64;
        for (number, len) in self.chunks().enumerate() {
            let mut ends = [0; 2];
            for (place, end) in [at, at + len as u64 - 1].into_iter().zip(&mut ends) {
                file.read_exact_at(std::slice::from_mut(end), place).map_err(failed("read"))?;
            }
            if ends != [self.data[number % N_WORKERS][0]; 2] {
                return Err(format!("chunk {number} is not what was written: {ends:?}"));
            }
            at += len as u64;
        }
        Ok(())
    }
}

fn ours(path: &Path, work: &Work, ends: Ends) -> Result<Sample, String> {
    let file = create(path, work.file_bytes as u64)?;
    let (sample, written) = timed_threads(|| {
        let ranges = work.chunks().map(|len| file.allocate(len as u64));
        let ranges: Result<Vec<_>, _> = ranges.collect();
        work.write(ranges.map_err(failed("allocate"))?, |range, data| {
            file.write(range, data).map(drop).map_err(|refused| refused.error.to_string())
        })?;
        if ends == Ends::Synced { file.sync_all().map_err(failed("sync")) } else { Ok(()) }
    });
    written.map(|()| sample)
}

fn create(path: &Path, bytes: u64) -> Result<RangedFile, String> {
    RangedOptions::new().create(path, bytes).map_err(failed("create a ranged file"))
}

#[cfg(feature = "rivals")]
fn ranged_mmap(path: &Path, work: &Work, ends: Ends) -> Result<Sample, String> {
    let (file, mut allocator) =
        ranged_mmap::MmapFile::create_default(path, non_zero(work.file_bytes as u64)?)
            .map_err(failed("create its file"))?;
    let (sample, written) = timed_threads(|| {
        let ranges =
            work.chunks().map(|len| allocator.allocate(non_zero(len as u64)?).ok_or("it is full".to_owned()));
        let ranges: Result<Vec<_>, _> = ranges.collect();
        work.write(ranges?, |range, data| {
            file.write_range(range, data);
            Ok(())
        })?;
        if ends == Ends::Synced {
            // SAFETY: nobody writes any more.
            unsafe { file.sync_all() }.map_err(failed("sync"))?;
        }
        Ok(())
    });
    written.map(|()| sample)
}

#[cfg(feature = "rivals")]
fn non_zero(bytes: u64) -> Result<std::num::NonZeroU64, String> {
    bytes.try_into().map_err(failed("a length"))
}

fn pwrite(path: &Path, work: &Work, ends: Ends) -> Result<Sample, String> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).open(path);
    let file = file.map_err(failed("create a file"))?;
    file.set_len(work.file_bytes as u64).map_err(failed("make it longer"))?;
    let (sample, written) = timed_threads(|| {
        let starts = (0..).step_by(work.chunk_bytes).take(work.chunks().count());
        work.write(starts.collect(), |start: u64, data| {
            file.write_all_at(data, start).map_err(failed("pwrite"))
        })?;
        if ends == Ends::Synced { file.sync_data().map_err(failed("sync")) } else { Ok(()) }
    });
    written.map(|()| sample)
}

pub(super) fn facts(plan: &Plan) -> Result<Vec<Fact>, String> {
    let path = plan.directory.join("space");
    let what = "records of 64 B in a ranged file: % of the file that is payload";
    let facts = vec![
        Fact::exact("space/64/ours", what, Ok(space(&path)?)),
        #[cfg(feature = "rivals")]
        Fact::exact("space/64/ranged_mmap", "the same in ranged-mmap's", Ok(space_of_ranged_mmap(&path)?)),
    ];
    Ok(facts)
}

/// Payload in a full file, in %.
fn space(path: &Path) -> Result<f64, String> {
    let file = create(path, SMALL_FILE_BYTES)?;
    let mut n = 0;
    loop {
        let range = match file.allocate(SMALL_BYTES) {
            Ok(range) => range,
            Err(AllocateError::Full { .. }) => break,
            Err(error) => return Err(error.to_string()),
        };
        drop(file.write(range, &SMALL).map_err(failed("write"))?);
        n += 1;
    }
    payload(path, n)
}

#[cfg(feature = "rivals")]
fn space_of_ranged_mmap(path: &Path) -> Result<f64, String> {
    let (file, mut allocator) = ranged_mmap::MmapFile::create_default(path, non_zero(SMALL_FILE_BYTES)?)
        .map_err(failed("create its file"))?;
    let mut n = 0;
    while let Some(range) = allocator.allocate(non_zero(SMALL_BYTES)?) {
        // Its ranges are longer than what was asked for, and all of one has to be written.
        let len = usize::try_from(range.len()).map_err(failed("a length"))?;
        file.write_range(range, &vec![7; len]);
        n += 1;
    }
    payload(path, n)
}

fn payload(path: &Path, n: u64) -> Result<f64, String> {
    let file_bytes = path.metadata().map_err(failed("examine"))?.len();
    std::fs::remove_file(path).map_err(failed("remove"))?;
    Ok(100.0 * (n * SMALL_BYTES) as f64 / file_bytes as f64)
}
