//! Recovery: from the SIGKILL of a producer in the middle of a claim to the next record in its consumer's hands.
//!
//! ```text
//!   victim    claims, and stops there            holds a lock, and stops there
//!   parent    pushes a record behind the claim
//!             polls ...                          waits for the lock (F_OFD_SETLKW) ...
//!   killer    notes the time, SIGKILL            notes the time, SIGKILL
//!   parent    ... has the record                 ... has the lock
//!             that is the ring's time            that is the kernel's: it releases locks when the process is gone
//! ```
//! The two alternate, so that each figure has its floor beside it. All processes are this one, forked: small. `-- --test` runs a few.

#![allow(clippy::print_stdout)]

use benches::clock::monotonic_ns;
use benches::process::Shared;
use hdrhistogram::Histogram;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use shm_ring::{Ring, RingOptions, Wait};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long the victim lives after it is ready: soon, and after its consumer has fallen asleep.
const LIVES: [Duration; 2] = [Duration::from_micros(300), Duration::from_millis(15)];

fn main() {
    let is_test = std::env::args().any(|arg| arg == "--test");
    let repetitions = if is_test { 3 } else { 1000 };
    let directory = PathBuf::from(format!("/dev/shm/shm-ring-recovery-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a directory in /dev/shm");
    let waits = [Wait::Adaptive, Wait::Block, Wait::Spin];
    for (life, wait) in LIVES.into_iter().flat_map(|life| waits.map(|wait| (life, wait))) {
        let (mut ring, mut kernel) = (histogram(), histogram());
        for repetition in 0..repetitions {
            ring.record(through_ring(&directory.join("ring"), wait, life, repetition)).expect("grows");
            kernel.record(through_lock(&directory.join("lock"), life, repetition)).expect("grows");
        }
        let us = |h: &Histogram<u64>, q| h.value_at_quantile(q) as f64 / 1000.0;
        println!("{wait:?}, killed after {life:?}, {repetitions} deaths, us from SIGKILL:");
        for (what, of) in [("next record", &ring), ("kernel's lock", &kernel)] {
            let max = of.max() as f64 / 1000.0;
            println!("  {what:13}  p50 {:8.1}  p99 {:8.1}  max {max:8.1}", us(of, 0.5), us(of, 0.99));
        }
        let ratio = |q| us(&ring, q) / us(&kernel, q);
        println!("  ratio          p50 {:8.2}  p99 {:8.2}  (target: p99 <= 2)", ratio(0.5), ratio(0.99));
    }
    std::fs::remove_dir_all(&directory).expect("it is ours");
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("3 digits are allowed")
}

/// ns from the kill to the record behind the dead producer's claim.
fn through_ring(path: &Path, wait: Wait, life: Duration, repetition: u64) -> u64 {
    let ring = RingOptions::new().capacity(64 << 10).wait(wait).create(path).expect("room for 64 KiB");
    let mut consumer = ring.consumer("c").expect("the ring is new");
    let mut producer = ring.producer().expect("the ring is new");
    let is_ready: Shared<AtomicU64> = Shared::new();
    let victim = child(|| {
        let ring = Ring::open(path).expect("it is there");
        let mut producer = ring.producer().expect("a slot is free");
        let _claim = producer.claim(64).expect("there is room");
        is_ready.store(1, Ordering::Release);
        forever();
    });
    wait_for(&is_ready);
    producer.push(b"next").expect("there is room");
    let killed_at: Shared<AtomicU64> = Shared::new();
    let killer = child(|| kill_later(victim, life, repetition, &killed_at));
    assert_eq!(&*consumer.poll().expect("a record"), b"next");
    let now = monotonic_ns();
    finish([victim, killer]);
    std::fs::remove_file(path).expect("it is ours");
    now - killed_at.load(Ordering::Acquire)
}

/// ns from the kill to the dead process's lock.
fn through_lock(path: &Path, life: Duration, repetition: u64) -> u64 {
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).open(path).expect("a file")
    };
    let file = open();
    let is_ready: Shared<AtomicU64> = Shared::new();
    let victim = child(|| {
        let file = open();
        lock(&file, libc::F_OFD_SETLK);
        is_ready.store(1, Ordering::Release);
        forever();
    });
    wait_for(&is_ready);
    let killed_at: Shared<AtomicU64> = Shared::new();
    let killer = child(|| kill_later(victim, life, repetition, &killed_at));
    lock(&file, libc::F_OFD_SETLKW);
    let now = monotonic_ns();
    finish([victim, killer]);
    now - killed_at.load(Ordering::Acquire)
}

fn kill_later(victim: Pid, life: Duration, repetition: u64, killed_at: &AtomicU64) {
    // Differently long, so that no timer keeps step.
    std::thread::sleep(life + life * u32::try_from(repetition * 37 % 100).expect("below 100") / 300);
    killed_at.store(monotonic_ns(), Ordering::Release);
    kill(victim, Signal::SIGKILL).expect("it is alive");
}

fn lock(file: &File, command: i32) {
    let range = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).expect("small"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("small"),
        l_start: 1,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: an open descriptor, and a structure that lives as long as the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, &range) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

fn wait_for(word: &AtomicU64) {
    while word.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
}

fn forever() -> ! {
    loop {
        nix::unistd::pause();
    }
}

fn child(body: impl FnOnce()) -> Pid {
    // SAFETY: this process has one thread.
    match unsafe { fork() }.expect("a process more") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            prctl::set_pdeathsig(Signal::SIGKILL).expect("SIGKILL is a signal");
            body();
            // SAFETY: ends this process at once; nothing of the parent's is to be flushed or dropped here.
            unsafe { libc::_exit(0) }
        }
    }
}

fn finish(children: [Pid; 2]) {
    for child in children {
        waitpid(child, None).expect("it was ours, and has ended");
    }
}
