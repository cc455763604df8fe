//! A queue of jobs that several workers share: each job goes to one of them, and the job of a worker that dies goes to another.
//!
//! `cargo run -p examples --example work_queue`. The workers are this program again.
#![allow(clippy::print_stdout)]

use shm_ring::{ConsumerOptions, PollError, Ring, RingOptions};
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const JOBS: u64 = 40;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(path), Some(name)) => work(Path::new(&path), &name.to_string_lossy()),
        _ => hand_out(),
    }
}

/// A worker: joins the group and does what it is given, until nothing has come for a while.
fn work(path: &Path, name: &str) -> Result<(), Box<dyn Error>> {
    let ring = Ring::open(path)?;
    let mut member = ring.group("workers")?;
    while let Some(job) = member.poll_timeout(Duration::from_millis(500))? {
        let n = u64::from_le_bytes(job[..8].try_into()?);
        if name == "unlucky" {
            // Killed in the middle of a job, which nobody has done yet.
            std::process::abort();
        }
        std::thread::sleep(Duration::from_millis(1));
        let again = if job.is_redelivered() { ", which another had and did not finish" } else { "" };
        println!("{name}: job {n}{again}");
        // Dropped, the job is done. At least once: a worker that dies right here leaves it to another.
        drop(job);
    }
    Ok(())
}

/// Hands jobs out to three workers, one of which dies.
fn hand_out() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("jobs.ring");
    let ring = RingOptions::new().capacity(64 << 10).create(&path)?;
    // The group holds its place from here on, also before the first worker has come.
    drop(ring.group_with("workers", ConsumerOptions::new().durable())?);
    let mut producer = ring.producer()?;
    for n in 0..JOBS {
        producer.push(&n.to_le_bytes())?;
    }
    let this = std::env::current_exe()?;
    let workers = ["unlucky", "ann", "bob"].map(|name| Command::new(&this).arg(&path).arg(name).spawn());
    for worker in workers {
        let status = worker?.wait()?;
        println!("a worker ended: {status}");
    }
    // Nothing is left, and nobody has anything in hand.
    let mut last = ring.group("workers")?;
    match last.try_poll() {
        Ok(None) | Err(PollError::Closed) => println!("all {JOBS} jobs are done"),
        Ok(Some(job)) => return Err(format!("a job is left at {}", job.position()).into()),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
