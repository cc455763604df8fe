//! Pushes ten records into a ring file, which it creates when it is missing.
//!
//! `cargo run -p examples --example producer [PATH]`, and beside it `consumer` or `observe` with the same path.
#![allow(clippy::print_stdout)]

use shm_ring::RingOptions;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map_or_else(default_path, Into::into);
    let ring = RingOptions::new().capacity(1 << 20).open_or_create(&path)?;
    let mut producer = ring.producer()?;

    for i in 0..8 {
        // The short way: a copy, and the wait for room if readers are behind.
        producer.push(format!("record {i} of process {}", std::process::id()).as_bytes())?;
    }

    // In place: claim the most that it can be, write, commit what it became.
    let mut claim = producer.claim(100)?;
    let text = b"written in place";
    claim[..text.len()].copy_from_slice(text);
    let position = claim.commit_len(text.len());

    // A claim that is dropped never happened.
    drop(producer.claim(100)?);

    // Now or not at all.
    producer.try_push(b"the last one")?;
    println!("pushed 10 records into {}, the ninth at position {position}", path.display());
    Ok(())
}

fn default_path() -> std::path::PathBuf {
    std::env::temp_dir().join("shm-ring-example.ring")
}
