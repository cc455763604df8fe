//! Four processes log into one ring file while a fifth reads their lines live, in one order, and one of the four dies in the middle.
//!
//! `cargo run -p examples --example multi_process_logging`. The processes are this program again; the tool's `tail` reads the same file.
#![allow(clippy::print_stdout)]

use shm_ring::{LOG_KIND, LogRecord, Ring, RingOptions, Stream};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::{Command, id};
use std::time::Duration;

const LINES: u32 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(path), Some(tag)) => log(Path::new(&path), &tag.to_string_lossy()),
        _ => collect(),
    }
}

/// A program that logs: opens the ring by its path and pushes a line at a time.
fn log(path: &Path, tag: &str) -> Result<(), Box<dyn Error>> {
    let mut producer = Ring::open(path)?.producer()?;
    for i in 0..LINES {
        if tag == "unlucky" && i == LINES / 2 {
            // Killed while it holds a claim. Nobody waits for it, nobody else's line is lost.
            let _claim = producer.claim(100)?;
            std::process::abort();
        }
        let message = format!("line {i}");
        let (pid, level) = (id(), 6);
        let record = LogRecord {
            pid,
            tid: pid,
            stream: Stream::None,
            level,
            partial: false,
            tag,
            message: message.as_bytes(),
        };
        let mut claim = producer.claim(record.encoded_len())?;
        claim.set_kind(LOG_KIND);
        claim.set_level(level);
        record.encode(&mut claim);
        claim.commit();
    }
    Ok(())
}

/// The collector: starts the others, and reads until all are done.
fn collect() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("app.ring");
    let ring = RingOptions::new().capacity(1 << 20).create(&path)?;
    let mut consumer = ring.consumer("collector")?;

    let mut children = Vec::new();
    for tag in ["web", "db", "mail", "unlucky"] {
        children.push(Command::new(std::env::current_exe()?).arg(&path).arg(tag).spawn()?);
    }
    let mut lines: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        while let Some(frame) = consumer.poll_timeout(Duration::from_millis(100))? {
            let record = LogRecord::decode(&frame).ok_or("not a log record")?;
            let n = lines.entry(record.tag.to_owned()).or_default();
            assert_eq!(
                record.message,
                format!("line {n}").as_bytes(),
                "each writer's lines come in its order"
            );
            *n += 1;
        }
        let mut running = 0;
        for child in &mut children {
            running += u32::from(child.try_wait()?.is_none());
        }
        if running == 0 && consumer.lag_bytes() == 0 {
            break;
        }
    }
    println!("{lines:?}, and {} claim was lost with its process", consumer.lost_records());
    for tag in ["web", "db", "mail"] {
        assert_eq!(lines[tag], LINES);
    }
    assert_eq!((lines["unlucky"], consumer.lost_records()), (LINES / 2, 1));
    Ok(())
}
