//! Futex: sleeping on a word that another process changes.
//!
//! The shared kind (no PRIVATE flag): the kernel keys it by the file's page, not by an address of this process. The private kind, of a
//! word of this process alone, is what a paced replay sleeps on.
//! (I1) every sleep has a bound; (I2) errors mean "look again", for that is what all callers do anyway.

use crate::sync::AtomicU32;
use rustix::thread::futex::{Flags, Timespec, wait, wait_bitset, wake};
use std::num::NonZeroU32;
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

/// Sleeps until the monotonic clock shows that time, or another thread of this process wakes the word, unless it is no longer `expected`.
pub(crate) fn sleep_until(word: &AtomicU32, expected: u32, until_ns: u64) {
    // The one futex operation that takes an absolute time, of the monotonic clock.
    let until = Timespec {
        tv_sec: i64::try_from(until_ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(until_ns % 1_000_000_000).unwrap_or(0),
    };
    // Changed word, signal, time-out: the caller looks again in every case.
    let _ = wait_bitset(word, Flags::PRIVATE, expected, Some(&until), NonZeroU32::MAX);
}

/// Wakes all threads of this process that are in [`sleep_until`] of the word.
pub(crate) fn wake_here(word: &AtomicU32) {
    // Fails only for an address that is not mapped, and a reference is.
    let _ = wake(word, Flags::PRIVATE, i32::MAX.unsigned_abs());
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
