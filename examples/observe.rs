//! Watches a ring that is far too fast for it, disturbs nobody, and says exactly what it missed.
//!
//! `cargo run -p examples --example observe`
#![allow(clippy::print_stdout)]

use shm_ring::{PollError, Ring, RingOptions};
use std::error::Error;
use std::time::Duration;

const RECORDS: u64 = 200_000;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("fast.ring");
    let ring = RingOptions::new().capacity(64 << 10).create(&path)?;
    // Another process would do the same; its mapping is read-only.
    let mut observer = Ring::open_observer(&path)?;

    let mut producer = ring.producer()?;
    let pushing = std::thread::spawn(move || -> Result<(), shm_ring::ClaimError> {
        for i in 0..RECORDS {
            producer.push(&i.to_le_bytes())?;
        }
        Ok(())
    });

    let (mut seen, mut lapped, mut lost_bytes) = (0u64, 0u64, 0u64);
    let mut payload = Vec::new();
    let end = loop {
        match observer.next_timeout(&mut payload, Duration::from_millis(200)) {
            Ok(Some(info)) => {
                seen += 1;
                // A record is whole, or it is not handed out.
                let value = u64::from_le_bytes(payload.as_slice().try_into()?);
                assert_eq!(Some(value), info.sequence);
            }
            Ok(None) => break observer.position(),
            Err(PollError::Lapped { lost_bytes: bytes, .. }) => {
                lapped += 1;
                lost_bytes += bytes;
            }
            Err(error) => return Err(error.into()),
        }
    };
    pushing.join().map_err(|_| "the producer panicked")??;
    let each = end / RECORDS;
    println!("{RECORDS} records were pushed, {seen} seen, {} missed in {lapped} gaps", lost_bytes / each);
    assert_eq!(seen + lost_bytes / each, RECORDS);
    Ok(())
}
