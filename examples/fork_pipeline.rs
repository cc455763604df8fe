//! Three processes in a row, joined by two anonymous rings: parent makes numbers, one child squares them, another adds them up.
//!
//! `cargo run -p examples --example fork_pipeline`
#![allow(clippy::print_stdout)]

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use shm_ring::{ConsumerOptions, PollError, Ring, RingOptions};
use std::error::Error;

const NUMBERS: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    // Before the forks: both rings, so that children inherit them. After: each process takes its own ends.
    let numbers = RingOptions::new().single_producer().metadata(false).anonymous()?;
    let squares = RingOptions::new().single_producer().metadata(false).anonymous()?;

    // A producer waits for the consumers that it knows. These names hold their places until the children take them, so that nothing is
    // missed, whoever is first.
    for (ring, name) in [(&numbers, "squarer"), (&squares, "adder")] {
        drop(ring.consumer_with(name, ConsumerOptions::new().durable())?);
    }

    let squarer = child(|| square(&numbers, &squares))?;
    let adder = child(|| add(&squares))?;

    let mut producer = numbers.producer()?;
    for i in 0..NUMBERS {
        producer.push_value(&i)?;
    }
    // The end of the last producer is the end of the stream, as with a pipe.
    drop(producer);
    for pid in [squarer, adder] {
        let status = waitpid(pid, None)?;
        if !matches!(status, WaitStatus::Exited(_, 0)) {
            return Err(format!("a stage failed: {status:?}").into());
        }
    }
    Ok(())
}

fn square(from: &Ring, to: &Ring) -> Result<(), Box<dyn Error>> {
    let mut consumer = from.consumer("squarer")?;
    let mut producer = to.producer()?;
    loop {
        match consumer.poll() {
            Ok(frame) => {
                let number = *frame.value::<u64>().ok_or("not a number")?;
                producer.push_value(&number.wrapping_mul(number))?;
            }
            Err(PollError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn add(from: &Ring) -> Result<(), Box<dyn Error>> {
    let mut consumer = from.consumer("adder")?;
    let (mut n, mut sum) = (0u64, 0u64);
    loop {
        match consumer.poll() {
            Ok(frame) => {
                sum = sum.wrapping_add(*frame.value::<u64>().ok_or("not a number")?);
                n += 1;
            }
            Err(PollError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    println!("the sum of {n} squares is {sum}");
    let expected = (0..NUMBERS).fold(0u64, |sum, i| sum.wrapping_add(i * i));
    if (n, sum) == (NUMBERS, expected) { Ok(()) } else { Err(format!("expected {expected}").into()) }
}

fn child(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<nix::unistd::Pid, Box<dyn Error>> {
    // SAFETY: this process has one thread, so the child may do anything.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = match work() {
                Ok(()) => 0,
                Err(error) => {
                    println!("child: {error}");
                    1
                }
            };
            std::process::exit(code)
        }
    }
}
