//! Futex of the models: what FUTEX_WAIT and FUTEX_WAKE promise, and not a wake-up more.
//!
//! The kernel compares the word and queues the sleeper under one lock, which FUTEX_WAKE takes too.
//! (I1) no sleep has a bound and none ends by itself, so that a wake-up that is lost is a deadlock, which the checkers report.

use crate::sync::{AtomicU32, Ordering};
use std::time::Duration;

/// Sleeps until somebody wakes the word, unless it is no longer `expected`.
pub(crate) fn sleep(word: &AtomicU32, expected: u32, _bound: Duration) {
    let queue = word.queue.lock().expect("nobody dies in the kernel");
    // ORDER none (Relaxed): under the queue's lock.
    if word.load(Ordering::Relaxed) == expected {
        drop(word.woken.wait(queue).expect("nobody dies in the kernel"));
    }
}

/// Wakes everybody who sleeps on the word.
pub(crate) fn wake_all(word: &AtomicU32) {
    let _queue = word.queue.lock().expect("nobody dies in the kernel");
    word.woken.notify_all();
}

/// A typical value: no model spins.
pub(crate) fn wake_up_ns() -> u64 {
    60_000
}

/// Learns nothing: time stands still.
pub(crate) fn learn_wake_up(_took_ns: u64) {}
