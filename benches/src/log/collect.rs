//! Collect: what eight processes have to say, in one place.
//!
//! | contestant | does |
//! |------------|------|
//! | `record` | each pushes into one ring; this process records it into a log |
//! | `append_file` | each writes every record into one file that is opened with `O_APPEND` |
//! | `bulk_write` | one process writes as many bytes, 1 MiB at a time: the floor |
//! | `record_synced`, `bulk_write_synced` | the same, until all of it is on the medium |
//!
//! ```text
//!   this process: starts them -> hears "ready" of all -> says "go" -> has all records, or all are gone
//! ```
//!
//! `_synced`: until all of it is on the medium; else nobody syncs, but for the log's helper, which brings full segments there meanwhile. Every record says who wrote it and its number;
//! behind the time, each is looked for, once, in its writer's order.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shm_ring::{LogItem, LogOptions, LogReader, LogStart, Recorder, RingOptions, Wait};

use super::{PATIENCE, Plan, Planned, Results, Section, child, failed, removed};
use crate::report::verdict::Target;
use crate::turns::{Cell, Sample, timed, timed_threads};

const N_PROCESSES: usize = 8;
const RECORD_BYTES: usize = 96;
const RING_BYTES: usize = 8 << 20;
const BULK_BYTES: usize = 1 << 20;
const APPEND_LIMIT: f64 = 10.0;
const BULK_LIMIT: f64 = 0.5;

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    let n = plan.n_collected;
    let path = |of: &str| plan.directory.join(format!("collected-{of}"));
    let appended = path("append");
    let mut cells = vec![Cell::new("collect/append_file".to_owned(), move || append(&appended, n))];
    for (ends, is_synced) in [("", false), ("_synced", true)] {
        let (recorded, bulk) = (path("record"), path("bulk"));
        cells.push(Cell::new(format!("collect/record{ends}"), move || record(&recorded, n, is_synced)));
        cells.push(Cell::new(format!("collect/bulk_write{ends}"), move || bulk_write(&bulk, n, is_synced)));
    }
    let section = Section {
        title: "Eight processes, one place",
        caption: "Records of 96 B. `record`: through a ring into a log; `append_file`: `write` of each into one `O_APPEND` file; `bulk_write`: one process, 1 MiB at a time.",
        unit: ("ns per record", 1.0),
        floor: "bulk_write",
        cells: vec![],
    };
    vec![(section, cells)]
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let [ours, append, bulk, synced, bulk_synced] =
        ["record", "append_file", "bulk_write", "record_synced", "bulk_write_synced"]
            .map(|contestant| format!("collect/{contestant}"));
    vec![
        results.faster(
            "8 processes -> ring -> recorder -> log: times as fast as appending",
            &ours,
            &append,
            APPEND_LIMIT,
        ),
        results.faster("the same, to one process's bulk write", &ours, &bulk, BULK_LIMIT),
        results.faster("the same, both until all is on the medium", &synced, &bulk_synced, BULK_LIMIT),
    ]
}

fn record(path: &Path, n: usize, is_synced: bool) -> Result<Sample, String> {
    removed(path)?;
    std::fs::create_dir(path).map_err(failed("create a directory"))?;
    let (ring_path, log_path) = (path.join("ring"), path.join("log"));
    let options = RingOptions::new().capacity(RING_BYTES as u64).metadata(true).wait(Wait::Block);
    let ring = options.create(&ring_path).map_err(failed("create a ring"))?;
    let log = LogOptions::new().create(&log_path).map_err(failed("create a log"))?;
    let mut recorder = Recorder::open(&ring, "recorder", log).map_err(failed("open a recorder"))?;
    let mut crew = Crew::start(child::PUSH, &ring_path, n)?;
    let all = (N_PROCESSES * n) as u64;
    let until = Instant::now() + PATIENCE;
    let (sample, recorded) = timed_threads(|| {
        crew.go()?;
        while recorder.stats().records < all && Instant::now() < until {
            recorder.step(Duration::from_millis(100)).map_err(failed("record"))?;
        }
        let mut log = recorder.into_log();
        if is_synced {
            log.sync().map_err(failed("sync"))?;
        }
        // Its helpers end when nobody looks at the time any more.
        Ok::<_, String>(log)
    });
    drop(recorded?);
    crew.end()?;
    check(&log_path, n)?;
    removed(path)?;
    Ok(Sample { ns: sample.ns / all as f64, ..sample })
}

fn append(path: &Path, n: usize) -> Result<Sample, String> {
    drop(File::create(path).map_err(failed("create a file"))?);
    let mut crew = Crew::start(child::APPEND, path, n)?;
    let (sample, done) = timed_threads(|| {
        crew.go()?;
        crew.end()
    });
    done?;
    let bytes = std::fs::metadata(path).map_err(failed("examine"))?.len();
    std::fs::remove_file(path).map_err(failed("remove"))?;
    if bytes != (N_PROCESSES * n * RECORD_BYTES) as u64 {
        return Err(format!("{bytes} bytes: not all of the records"));
    }
    Ok(Sample { ns: sample.ns / (N_PROCESSES * n) as f64, ..sample })
}

fn bulk_write(path: &Path, n: usize, is_synced: bool) -> Result<Sample, String> {
    let bytes = vec![7; BULK_BYTES];
    let (sample, written) = timed(N_PROCESSES * n, || {
        let mut file = File::create(path)?;
        let mut left = N_PROCESSES * n * RECORD_BYTES;
        while left > 0 {
            let part = left.min(BULK_BYTES);
            file.write_all(&bytes[..part])?;
            left -= part;
        }
        if is_synced { file.sync_data() } else { Ok(()) }
    });
    written.map_err(failed("write"))?;
    std::fs::remove_file(path).map_err(failed("remove"))?;
    Ok(sample)
}

/// Those who write, each in a process of its own.
struct Crew(Vec<Child>);

impl Crew {
    fn start(role: &str, path: &Path, n: usize) -> Result<Self, String> {
        let this = std::env::current_exe().map_err(failed("find this program"))?;
        let mut crew = Self(vec![]);
        for seat in 0..N_PROCESSES {
            let mut command = Command::new(&this);
            command.args([child::ARGUMENT, role]).arg(path).args([seat.to_string(), n.to_string()]);
            let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            crew.0.push(started.map_err(failed("run this program"))?);
        }
        for child in &mut crew.0 {
            let mut said = String::new();
            BufReader::new(child.stdout.take().expect("piped"))
                .read_line(&mut said)
                .map_err(failed("listen"))?;
            if said != "ready\n" {
                return Err(format!("{role}: not ready"));
            }
        }
        Ok(crew)
    }

    fn go(&mut self) -> Result<(), String> {
        self.0.iter_mut().try_for_each(|child| {
            child.stdin.take().expect("said once").write_all(b"\n").map_err(failed("say go"))
        })
    }

    fn end(&mut self) -> Result<(), String> {
        self.0.iter_mut().try_for_each(|child| {
            let status = child.wait().map_err(failed("wait"))?;
            if status.success() { Ok(()) } else { Err(format!("one of the eight: {status}")) }
        })
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Those that have ended are gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One of the eight: pushes.
pub(super) fn push(path: &Path, seat: usize, n: usize) -> Result<(), String> {
    let ring = RingOptions::new().wait(Wait::Block).open(path).map_err(failed("open the ring"))?;
    let mut producer = ring.producer().map_err(failed("a producer"))?;
    ready()?;
    for number in 0..n {
        producer.push(&bytes(seat, number)).map(drop).map_err(failed("push"))?;
    }
    Ok(())
}

/// One of the eight: appends to a file.
pub(super) fn append_all(path: &Path, seat: usize, n: usize) -> Result<(), String> {
    let mut file = OpenOptions::new().append(true).open(path).map_err(failed("open"))?;
    ready()?;
    (0..n).try_for_each(|number| file.write_all(&bytes(seat, number)).map_err(failed("write")))
}

/// Says so, and waits until it may begin.
fn ready() -> Result<(), String> {
    let mut out = io::stdout();
    writeln!(out, "ready").and_then(|()| out.flush()).map_err(failed("say ready"))?;
    io::stdin().read_exact(&mut [0]).map_err(failed("hear go"))
}

fn bytes(seat: usize, number: usize) -> [u8; RECORD_BYTES] {
    let mut bytes = [7; RECORD_BYTES];
    bytes[..8].copy_from_slice(&(seat as u64).to_le_bytes());
    bytes[8..16].copy_from_slice(&(number as u64).to_le_bytes());
    bytes
}

/// Whether each record is there, once, in its writer's order.
fn check(path: &Path, n: usize) -> Result<(), String> {
    let mut reader = LogReader::open(path).map_err(failed("open for reading"))?;
    reader.seek(LogStart::Oldest).map_err(failed("seek"))?;
    let mut next = [0; N_PROCESSES];
    loop {
        match reader.next().map_err(failed("read"))? {
            Some(LogItem::Record(found)) => {
                let seat = usize::from(found.first().copied().unwrap_or(u8::MAX));
                let number = next.get_mut(seat).ok_or("a record of nobody")?;
                if *found != bytes(seat, *number) {
                    return Err(format!("{seat} has no record {number} where it should be"));
                }
                *number += 1;
            }
            Some(other) => return Err(format!("not a record: {other:?}")),
            None if next == [n; N_PROCESSES] => return Ok(()),
            None => return Err(format!("records of each: {next:?}, not {n}")),
        }
    }
}
