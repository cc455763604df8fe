//! Bytes that are finished: sealed once, then read by any number of processes and threads, in place, within a budget of maps.
//!
//! `cargo run -p examples --example snapshot`. The other readers are this program again.
#![allow(clippy::print_stdout)]

use shm_ring::{AppendOptions, FileSnapshot, MapBudget, ReadAt, Snapshot};
use std::error::Error;
use std::path::Path;
use std::process::Command;

const RECORD: usize = 64;
const RECORDS: usize = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        Some(path) => read(Path::new(&path)),
        None => write(),
    }
}

/// Another process: nothing is copied but what it prints.
fn read(path: &Path) -> Result<(), Box<dyn Error>> {
    // Header, seal, length and checksum are right, or this is an error.
    let snapshot = Snapshot::open(path)?;
    let n_sevens = snapshot.as_slice().chunks(RECORD).filter(|record| record[0] == 7).count();
    println!("process {}: {} bytes, {n_sevens} records of kind 7", std::process::id(), snapshot.len());
    Ok(())
}

fn write() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("records");
    let file = AppendOptions::new().create(&path)?;
    for kind in (0..10).cycle().take(RECORDS) {
        file.push(&[kind; RECORD])?;
    }
    // Not before it is finished.
    println!("open: {}", Snapshot::open(&path).expect_err("it may still change"));
    file.seal()?;

    let this = std::env::current_exe()?;
    let readers = [1, 2].map(|_| Command::new(&this).arg(&path).spawn());
    for reader in readers {
        assert!(reader?.wait()?.success());
    }

    // Threads share one map. `Bytes` keep it for as long as they are needed, also when the snapshot is gone.
    let snapshot = Snapshot::open(&path)?;
    let quarter = RECORDS / 4 * RECORD;
    let parts: Vec<_> = std::thread::scope(|scope| {
        let read = |n: usize| {
            let snapshot = &snapshot;
            scope.spawn(move || snapshot.read_at((n * quarter) as u64, quarter))
        };
        let threads: Vec<_> = (0..4).map(read).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect::<Result<_, _>>()
    })?;
    drop(snapshot);
    println!(
        "threads: {} bytes in {} parts, none copied",
        parts.iter().map(|part| part.len()).sum::<usize>(),
        4
    );

    // Many files, few maps: what the budget has no map for is read by system calls, and reads the same.
    let budget = MapBudget::new().maps(2).bytes(64 << 20);
    let opened: Vec<Box<dyn ReadAt>> =
        (0..4).map(|_| Snapshot::open_within(&path, &budget)).collect::<Result<_, _>>()?;
    let mut record = [0; RECORD];
    for (n, from) in opened.iter().enumerate() {
        from.read_exact_at((17 * RECORD) as u64, &mut record)?;
        println!("within the budget, {n}: {from:?}: record 17 is of kind {}", record[0]);
    }
    println!("in use: {:?}", budget.in_use());
    drop(opened);
    assert_eq!(budget.in_use().maps, 0);

    // Any file can be read so, without a seal: then its length is all that is known of it.
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "some bytes")?;
    println!("plain: {:?}", std::str::from_utf8(Snapshot::open_plain(&plain)?.as_slice())?);
    println!(
        "beyond: {}",
        FileSnapshot::open_plain(&plain)?.read_exact_at(u64::MAX, &mut record).expect_err("it ends")
    );
    Ok(())
}
