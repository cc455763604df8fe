//! Clock: time stamps inside one process, and time stamps that two processes compare.
//!
//! [`ticks`] is the processor's counter where there is a cheap one; only differences taken in one process are used.
//! [`monotonic_ns`] is `CLOCK_MONOTONIC`, the same for all processes. Nothing is ever subtracted for the cost of reading:
//! the floor is measured with the same reads.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// The processor's time stamp, after every load before it is done.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: the fence is part of SSE2, which every x86-64 processor has.
    unsafe { std::arch::x86_64::_mm_lfence() };
    // SAFETY: every x86-64 processor has the counter, and Linux lets programs read it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// The monotonic clock, where there is no cheaper counter.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn ticks() -> u64 {
    monotonic_ns()
}

/// `CLOCK_MONOTONIC` in ns.
#[inline]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("the clock starts at 0");
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).expect("a part of a second")
}

/// What a read of `CLOCK_REALTIME` takes, in ns: the mean of a thousand.
pub fn clock_read_ns() -> f64 {
    const N_READS: u32 = 1_000;
    let began_ns = monotonic_ns();
    for _ in 0..N_READS {
        std::hint::black_box(SystemTime::now());
    }
    (monotonic_ns() - began_ns) as f64 / f64::from(N_READS)
}

/// How long a tick is.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    ns_per_tick: f64,
}

impl Clock {
    /// Compares [`ticks`] with the monotonic clock for 50 ms.
    pub fn calibrate() -> Self {
        let (ns, tick) = (monotonic_ns(), ticks());
        while monotonic_ns() - ns < 50_000_000 {
            std::hint::spin_loop();
        }
        let (ns, tick) = (monotonic_ns() - ns, ticks() - tick);
        Self { ns_per_tick: ns as f64 / tick as f64 }
    }

    /// A difference of [`ticks`] in ns.
    pub fn ns(&self, n_ticks: u64) -> f64 {
        n_ticks as f64 * self.ns_per_tick
    }

    /// The ticks in `duration`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "windows of seconds; fractions don't matter"
    )]
    pub fn ticks_in(&self, duration: Duration) -> u64 {
        (duration.as_nanos() as f64 / self.ns_per_tick) as u64
    }
}
