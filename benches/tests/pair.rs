//! Pair: what the benches rely on when they fork. One thread, hence no test harness.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::process::{Plain, Shared, allowed_cpus, pair};

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Number(u64);

// SAFETY: a number.
unsafe impl Plain for Number {}

const LONG: Duration = Duration::from_secs(20);

fn sleep_for_ever() -> Number {
    loop {
        std::thread::sleep(LONG);
    }
}

/// A pair shares memory, and the value of each side arrives.
fn a_pair_shares_memory_and_returns_values(cpus: [usize; 2]) {
    let word = Shared::<AtomicU64>::new();
    let store = || {
        // ORDER (Release, pairs with the Acquire below): nothing else is carried.
        word.store(7, Ordering::Release);
        Number(1)
    };
    let wait = || {
        // ORDER (Acquire, pairs with the Release above).
        while word.load(Ordering::Acquire) != 7 {
            std::thread::yield_now();
        }
        Number(2)
    };
    assert_eq!(pair(cpus, LONG, store, wait), Ok([Number(1), Number(2)]));
}

/// A child's panic is the error of the pair, and the other side is not waited for.
fn a_panic_is_the_error_of_the_pair(cpus: [usize; 2]) {
    let result = pair(cpus, LONG, || panic!("record {} is bad", 3), sleep_for_ever);
    assert_eq!(result, Err("producer: record 3 is bad".to_owned()));
}

/// A pair that hangs is killed when its time is up.
fn a_pair_that_hangs_is_killed(cpus: [usize; 2]) {
    let result = pair(cpus, Duration::from_millis(50), || Number(1), sleep_for_ever);
    assert_eq!(result, Err("not done after 50ms".to_owned()));
}

fn main() {
    let all = allowed_cpus();
    let cpus = [all[0], all[all.len() - 1]];
    let began = Instant::now();
    a_pair_shares_memory_and_returns_values(cpus);
    a_panic_is_the_error_of_the_pair(cpus);
    a_pair_that_hangs_is_killed(cpus);
    assert!(began.elapsed() < LONG, "somebody was waited for");
}
