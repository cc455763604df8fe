//! Clock: `CLOCK_MONOTONIC`, which is the same for all processes, waiting for a moment of it, and what a process got of the processor.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// A sleep ends so long before the moment, because it may end that late.
const SLEEP_EARLY_NS: u64 = 150_000;

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub(super) fn now_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds of processor time that this process has used.
pub(super) fn cpu_ns() -> u64 {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

/// Nanoseconds for which this process could have run, and others had its CPU; 0 where the kernel doesn't count them.
pub(super) fn queued_ns() -> u64 {
    let counts = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    counts.split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Waits for a moment, precisely if this process has its CPU for itself; when that is over.
#[inline(always)]
pub(super) fn wait_until(due_ns: u64, has_own_cpu: bool) -> u64 {
    loop {
        let now_ns = now_ns();
        if now_ns >= due_ns {
            return now_ns;
        }
        match due_ns - now_ns {
            left if left > 2 * SLEEP_EARLY_NS => {
                std::thread::sleep(Duration::from_nanos(left - SLEEP_EARLY_NS));
            }
            _ if has_own_cpu => std::hint::spin_loop(),
            _ => std::thread::yield_now(),
        }
    }
}

#[inline(always)]
fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux has these clocks");
    let part = |number: i64| u64::try_from(number).expect("these clocks start at 0");
    part(time.tv_sec()) * 1_000_000_000 + part(time.tv_nsec())
}
