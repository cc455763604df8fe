//! Trips: a record there and a record back, and the code that times round trips, L1's included.
//!
//! Rounds of two blocks: in the first, each trip is timed (one read of the clock per trip, whose end is the next one's
//! start, so the timer's cost is inside); the second is timed as a whole, so there is no timer in it. Percentiles come
//! from the first kind, the mean from the second: it is the median of the blocks' means, which one interrupt can't move.
//!
//! Paced trips have a time at which they are to begin, 100 us after the one before. Their latency counts from then on, whenever
//! they really began: a trip that takes long makes those behind it late, and all of them show it.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::records::{Check, Phase, Pool, Sums, Take};
use super::{Contestant, Desk, Figures, Plan, Receiver, Repetition, Sender, Side};
use crate::clock::{Clock, ticks};

/// Round trips, each with the timer's cost in it, and blocks of them without.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trips {
    /// Median of the trips timed one by one.
    pub p50_ns: f64,
    /// 99 of 100 of these were quicker.
    pub p99_ns: f64,
    /// 999 of 1,000 were quicker.
    pub p999_ns: f64,
    /// The longest.
    pub max_ns: f64,
    /// Median of the means of blocks that were timed as a whole; of paced trips, which have no blocks, the mean.
    pub mean_ns: f64,
    /// Trips of both kinds.
    pub n_trips: u64,
}

/// Times `trip` in blocks of `block` trips, one round at least, until `go_on` says no after a round.
#[inline(always)]
pub fn time_trips(
    clock: &Clock,
    block: usize,
    mut go_on: impl FnMut() -> bool,
    mut trip: impl FnMut(),
) -> Trips {
    let mut singles = Histogram::<u64>::new(3).expect("3 digits are allowed");
    let mut samples = vec![0; block];
    let mut means = Vec::new();
    loop {
        let mut last = ticks();
        for sample in &mut samples {
            trip();
            let now = ticks();
            *sample = now - last;
            last = now;
        }
        let began = ticks();
        for _ in 0..block {
            trip();
        }
        means.push(clock.ns(ticks() - began) / block as f64);
        for &sample in &samples {
            singles.record(sample).expect("an automatic histogram grows");
        }
        if !go_on() {
            break;
        }
    }
    means.sort_by(f64::total_cmp);
    let n_trips = 2 * (means.len() * block) as u64;
    Trips { mean_ns: median_of_sorted(&means), n_trips, ..Trips::of(&singles, |n_ticks| clock.ns(n_ticks)) }
}

impl Trips {
    fn of(singles: &Histogram<u64>, ns: impl Fn(u64) -> f64) -> Self {
        let quantile = |q| ns(singles.value_at_quantile(q));
        Self {
            p50_ns: quantile(0.5),
            p99_ns: quantile(0.99),
            p999_ns: quantile(0.999),
            max_ns: ns(singles.max()),
            mean_ns: singles.mean() * ns(1 << 20) / f64::from(1 << 20),
            n_trips: singles.len(),
        }
    }
}

fn median_of_sorted(values: &[f64]) -> f64 {
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

/// Trips between two looks at the window's end, and in a block; fewer where a trip takes a wake-up or two.
const BLOCK: usize = 1_000;
const BLOCK_ASLEEP: usize = 100;

/// Whether the contestant's sides may be asleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// They spin.
    Never,
    /// They sleep at once, or after a while.
    Allowed,
}

/// One record there through one ring, one back through another; the next one at once.
///
/// # Errors
///
/// What went wrong in a child, as for all workloads.
pub fn pingpong<C: Contestant>(
    there: &C,
    back: &C,
    record_bytes: usize,
    sleep: Sleep,
    plan: &Plan,
) -> Result<Repetition, String> {
    let block = if sleep == Sleep::Never { BLOCK } else { BLOCK_ASLEEP };
    both_ways(there, back, record_bytes, Course::Blocks(block), plan)
}

/// A trip is to begin so often.
pub const PACE_NS: u64 = 100_000;

/// The same, a trip each [`PACE_NS`]; the side that asks spins until it is time.
///
/// # Errors
///
/// What went wrong in a child.
pub fn paced<C: Contestant>(
    there: &C,
    back: &C,
    record_bytes: usize,
    plan: &Plan,
) -> Result<Repetition, String> {
    both_ways(there, back, record_bytes, Course::Paced, plan)
}

/// When the next trip begins.
#[derive(Clone, Copy)]
enum Course {
    /// At once; timed in blocks of so many.
    Blocks(usize),
    /// When it is time.
    Paced,
}

/// Latencies of trips that are to begin every `pace`, from then on; `now` starts at 0.
fn pace_trips(n_trips: u32, pace: u64, now: impl Fn() -> u64, mut trip: impl FnMut()) -> Histogram<u64> {
    let mut latencies = Histogram::new(3).expect("3 digits are allowed");
    for n in 1..=u64::from(n_trips) {
        let intended = n * pace;
        while now() < intended {
            std::hint::spin_loop();
        }
        trip();
        latencies.record(now() - intended).expect("an automatic histogram grows");
    }
    latencies
}

fn both_ways<C: Contestant>(
    there: &C,
    back: &C,
    record_bytes: usize,
    course: Course,
    plan: &Plan,
) -> Result<Repetition, String> {
    let desk = Desk::new();
    let client = || {
        let (mut sender, mut receiver) = (there.sender(), back.receiver());
        let before = desk.line.ping(&plan.clock);
        let (trips, sums) = ask(&mut sender, &mut receiver, record_bytes, course, plan);
        let after = desk.line.ping(&plan.clock);
        Side::with_brackets(before, after).with_figures(Figures::Trips(trips), sums)
    };
    let server = || {
        let (mut receiver, mut sender) = (there.receiver(), back.sender());
        desk.line.echo();
        answer(&mut sender, &mut receiver, record_bytes);
        desk.line.echo();
        Side::default()
    };
    plan.run(vec![plan.producer(client), plan.consumer(server)], C::IN_PROCESS)
}

/// Trips for the warm-up, those that are measured, and a last one; all answers are checked.
fn ask(
    sender: &mut impl Sender,
    receiver: &mut impl Receiver,
    record_bytes: usize,
    course: Course,
    plan: &Plan,
) -> (Trips, Sums) {
    let (mut pool, mut check) = (Pool::new(record_bytes), Check::new(record_bytes, false));
    let mut trip = |phase: Option<Phase>| {
        if let Some(phase) = phase {
            pool.enter(phase);
        }
        sender.send(&mut pool, 1);
        let n_seen = check.sums.n_records;
        while check.sums.n_records == n_seen {
            receiver.receive(|record| {
                check.take(record);
            });
        }
    };
    let warm = ticks() + plan.clock.ticks_in(plan.warm_up);
    while ticks() < warm {
        trip(None);
    }
    let clock = &plan.clock;
    let trips = match course {
        Course::Blocks(block) => {
            let end = ticks() + clock.ticks_in(plan.window);
            time_trips(clock, block, || ticks() < end, || trip(None))
        }
        Course::Paced => {
            let began = ticks();
            let pace = clock.ticks_in(Duration::from_nanos(PACE_NS));
            let latencies = pace_trips(plan.n_paced, pace, || ticks() - began, || trip(None));
            Trips::of(&latencies, |n_ticks| clock.ns(n_ticks))
        }
    };
    trip(Some(Phase::End));
    // The answers are the questions, from a pool of the server's own.
    assert_eq!(check.sums, pool.sums(), "count or XOR of the answers differ from the questions");
    (trips, check.sums)
}

fn answer(sender: &mut impl Sender, receiver: &mut impl Receiver, record_bytes: usize) {
    let (mut pool, mut check) = (Pool::new(record_bytes), Check::new(record_bytes, false));
    let mut end = false;
    while !end {
        let n_seen = check.sums.n_records;
        receiver.receive(|record| end |= check.take(record) == Some(Phase::End));
        if check.sums.n_records > n_seen {
            if end {
                pool.enter(Phase::End);
            }
            sender.send(&mut pool, 1);
        }
    }
    assert_eq!(check.sums, pool.sums(), "count or XOR of the questions differ from the answers");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Goal: a server that stops for 100 ms is seen in p99.9, though all trips but one are quick. Method: a clock that only moves when
    /// somebody looks (10 ns) or makes a trip (1 us; once 100 ms); of 20,000 trips the 1,000 behind the stop are late.
    #[test]
    fn a_stop_shows_in_the_latency_from_the_intended_time() {
        let (time, n) = (Cell::new(0_u64), Cell::new(0_u32));
        let now = || {
            time.set(time.get() + 10);
            time.get()
        };
        let latencies = |stop_at| {
            time.set(0);
            n.set(0);
            pace_trips(20_000, PACE_NS, now, || {
                n.set(n.get() + 1);
                time.set(time.get() + if n.get() == stop_at { 100_000_000 } else { 1_000 });
            })
        };
        let undisturbed = latencies(0);
        assert!(undisturbed.value_at_quantile(0.999) < 1_100, "{}", undisturbed.value_at_quantile(0.999));
        let disturbed = latencies(5_000);
        assert!(disturbed.value_at_quantile(0.5) < 1_100);
        assert!(disturbed.value_at_quantile(0.999) > 90_000_000, "{}", disturbed.value_at_quantile(0.999));
        assert_eq!(disturbed.len(), 20_000);
    }
}
