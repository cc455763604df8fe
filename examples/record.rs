//! Records a ring into a log, each record once, though the recorder is killed in the middle of its work.
//!
//! `cargo run -p examples --example record`. The producers and the recorder are this program again.
#![allow(clippy::print_stdout)]

use shm_ring::{Log, LogItem, LogOptions, LogReader, LogStart, Recorder, Ring, RingOptions};
use std::error::Error;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

const PRODUCERS: u64 = 3;
const RECORDS: u64 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["record", directory] => record(Path::new(directory)),
        ["push", directory, producer] => push(Path::new(directory), producer.parse()?),
        _ => watch(),
    }
}

/// Takes what comes, and goes on where the log ends.
fn record(directory: &Path) -> Result<(), Box<dyn Error>> {
    let ring = Ring::open(directory.join("app.ring"))?;
    let log = LogOptions::new().segment_bytes(1 << 20).open_or_create(directory.join("logs"))?;
    let mut recorder = Recorder::open(&ring, "recorder", log)?;
    loop {
        recorder.step(Duration::from_secs(1))?;
    }
}

fn push(directory: &Path, producer: u64) -> Result<(), Box<dyn Error>> {
    let mut ring = Ring::open(directory.join("app.ring"))?.producer()?;
    for n in 0..RECORDS {
        // Waits while the ring is full, also while nobody records: the name keeps its place.
        ring.push(&[producer.to_le_bytes(), n.to_le_bytes()].concat())?;
    }
    Ok(())
}

fn watch() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let (ring, logs) = (directory.path().join("app.ring"), directory.path().join("logs"));
    let ring = RingOptions::new().capacity(256 << 10).create(ring)?;
    let open_log = || LogOptions::new().segment_bytes(1 << 20).open_or_create(&logs);
    // From here on producers wait for this name.
    drop(Recorder::open(&ring, "recorder", open_log()?)?);

    let this = |role: &[&str]| -> Result<Child, Box<dyn Error>> {
        Ok(Command::new(std::env::current_exe()?)
            .arg(role[0])
            .arg(directory.path())
            .args(&role[1..])
            .spawn()?)
    };
    let producers = [this(&["push", "0"])?, this(&["push", "1"])?, this(&["push", "2"])?];
    for _ in 0..5 {
        let mut recorder = this(&["record"])?;
        std::thread::sleep(Duration::from_millis(30));
        recorder.kill()?; // SIGKILL, wherever it is
        recorder.wait()?;
    }
    // The last one takes what is left.
    let mut recorder = Recorder::open(&ring, "recorder", open_log()?)?;
    for mut producer in producers {
        while producer.try_wait()?.is_none() {
            recorder.step(Duration::from_millis(10))?;
        }
    }
    recorder.drain()?;
    drop(recorder);

    let report = Log::verify(&logs, |_| ())?;
    let mut next = [0; PRODUCERS as usize];
    let mut reader = LogReader::open(&logs)?;
    reader.seek(LogStart::Oldest)?;
    while let Some(item) = reader.next()? {
        let LogItem::Record(record) = item else { return Err(format!("{item:?}").into()) };
        let producer = usize::from(record[0]);
        let n = u64::from_le_bytes(record[8..16].try_into()?);
        if n != next[producer] {
            return Err(format!("producer {producer}: {n} where {} was expected", next[producer]).into());
        }
        next[producer] += 1;
    }
    if next != [RECORDS; PRODUCERS as usize] || !report.is_clean() {
        return Err(format!("{next:?}, {report:?}").into());
    }
    println!("{} records of {PRODUCERS} producers, each once and in its order", report.n_records);
    Ok(())
}
