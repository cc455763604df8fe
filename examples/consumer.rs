//! Reads every record of a ring file, in place, under a name: started again, it goes on where it stopped.
//!
//! `cargo run -p examples --example consumer [PATH]`; ends when nothing has come for a second.
#![allow(clippy::print_stdout)]

use shm_ring::RingOptions;
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map_or_else(default_path, Into::into);
    let ring = RingOptions::new().capacity(1 << 20).open_or_create(&path)?;
    let mut consumer = ring.consumer("example")?;
    println!(
        "consumer {:?} of {} begins at position {}",
        consumer.name(),
        path.display(),
        consumer.position()
    );
    if consumer.missed_bytes() > 0 {
        println!("{} bytes were overwritten while it was away", consumer.missed_bytes());
    }

    let mut n = 0;
    while let Some(frame) = consumer.poll_timeout(Duration::from_secs(1))? {
        // The frame is the ring's own memory; producers leave it alone until it is dropped.
        println!("{:>8}  {}", frame.position(), String::from_utf8_lossy(&frame));
        n += 1;
    }
    println!("{n} records");
    Ok(())
}

fn default_path() -> std::path::PathBuf {
    std::env::temp_dir().join("shm-ring-example.ring")
}
