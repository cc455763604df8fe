//! A log, written by one process and followed by another, from segment to segment, with a cursor from which it goes on.
//!
//! `cargo run -p examples --example log_follow`. The writer is this program again.
#![allow(clippy::print_stdout)]

use shm_ring::{Durability, Log, LogItem, LogOptions, LogReader, LogStart};
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const RECORDS: u64 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        Some(logs) => write(Path::new(&logs)),
        None => follow(),
    }
}

/// The writer: nothing of what it appends makes a system call; a helper thread makes the next segments and syncs the log.
fn write(logs: &Path) -> Result<(), Box<dyn Error>> {
    let options = LogOptions::new()
        .segment_bytes(256 << 10)
        .durability(Durability::Interval(Duration::from_millis(50)));
    let mut log = options.open(logs)?;
    let mut receipt = None;
    for n in 0..RECORDS {
        receipt = Some(log.append(format!("{n}: something happened, and is written down").as_bytes())?);
        if n % 1000 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    if let Some(receipt) = receipt {
        // Not before this returns would the last record survive a power cut.
        receipt.wait()?;
    }
    Ok(())
}

fn follow() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let logs = directory.path().join("logs");
    drop(LogOptions::new().segment_bytes(256 << 10).create(&logs)?);
    let mut writer = Command::new(std::env::current_exe()?).arg(&logs).spawn()?;

    // The first half, by one reader, which says how far it came.
    let mut reader = LogReader::open(&logs)?;
    reader.seek(LogStart::Oldest)?;
    let first = read(&mut reader, RECORDS / 2)?;
    reader.save_cursor("follower")?;
    drop(reader);

    // The rest, by another one, which goes on there.
    let mut reader = LogReader::open(&logs)?;
    reader.seek_cursor("follower")?;
    let second = read(&mut reader, RECORDS - first)?;
    if !writer.wait()?.success() || first + second != RECORDS {
        return Err(format!("{first} and {second} records").into());
    }
    let segments = Log::inspect(&logs)?.segments.len();
    println!("{first} and {second} records, followed through {segments} segments");
    Ok(())
}

/// So many records, or fewer if none comes for seconds.
fn read(reader: &mut LogReader, wanted: u64) -> Result<u64, Box<dyn Error>> {
    let mut n = 0;
    while n < wanted {
        match reader.next_timeout(Duration::from_secs(10))? {
            Some(LogItem::Record(record)) => {
                n += 1;
                if n % 2500 == 0 {
                    println!("at {}: {}", record.position(), String::from_utf8_lossy(&record));
                }
            }
            Some(LogItem::Gap(gap)) => return Err(format!("{gap:?}").into()),
            None => break,
        }
    }
    Ok(n)
}
