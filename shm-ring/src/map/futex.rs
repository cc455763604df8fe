//! Futex: sleeping on a word that another process changes.
//!
//! The shared kind (no PRIVATE flag): the kernel keys it by the file's page, not by an address of this process.
//! (I1) every sleep has a bound; (I2) errors mean "look again", for that is what all callers do anyway.

use crate::sync::AtomicU32;
use rustix::thread::futex::{Flags, Timespec, wait, wake};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sleeps until somebody wakes the word, unless it is no longer `expected`; at most `bound`.
pub(crate) fn sleep(word: &AtomicU32, expected: u32, bound: Duration) {
    let timeout = Timespec {
        tv_sec: i64::try_from(bound.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: bound.subsec_nanos().into(),
    };
    // Changed word, signal, time-out: the caller looks again in every case.
    let _ = wait(word, Flags::empty(), expected, Some(&timeout));
}

/// Wakes everybody who sleeps on the word.
pub(crate) fn wake_all(word: &AtomicU32) {
    // Fails only for an address that is not mapped, and a reference is.
    let _ = wake(word, Flags::empty(), i32::MAX.unsigned_abs());
}

/// How long a wake-up takes on this machine, as this process has seen it; a typical value to begin with.
static WAKE_UP_NS: AtomicU64 = AtomicU64::new(60_000);

/// The running mean of what sleepers saw.
pub(crate) fn wake_up_ns() -> u64 {
    WAKE_UP_NS.load(Ordering::Relaxed)
}

/// Adds one more, at an eighth.
pub(crate) fn learn_wake_up(took_ns: u64) {
    let old = wake_up_ns();
    WAKE_UP_NS.store(old - old / 8 + took_ns / 8, Ordering::Relaxed);
}
