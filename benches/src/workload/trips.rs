//! Trips: a record there and a record back, and the code that times round trips, L1's included.
//!
//! Rounds of two blocks: in the first, each trip is timed (one read of the clock per trip, whose end is the next one's
//! start, so the timer's cost is inside); the second is timed as a whole, so there is no timer in it. Percentiles come
//! from the first kind, the mean from the second: it is the median of the blocks' means, which one interrupt can't move.

use hdrhistogram::Histogram;

use super::{Check, Contestant, Desk, Figures, Phase, Plan, Pool, Receiver, Repetition, Sender, Side};
use crate::clock::{Clock, ticks};

/// Round trips, each with the timer's cost in it, and blocks of them without.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trips {
    /// Median of the trips timed one by one.
    pub p50_ns: f64,
    /// 99 of 100 of these were quicker.
    pub p99_ns: f64,
    /// Median of the means of blocks that were timed as a whole.
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
    let quantile = |q| clock.ns(singles.value_at_quantile(q));
    Trips { p50_ns: quantile(0.5), p99_ns: quantile(0.99), mean_ns: median_of_sorted(&means), n_trips }
}

fn median_of_sorted(values: &[f64]) -> f64 {
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

/// Trips between two looks at the window's end, and in a block.
const BLOCK: usize = 1_000;

/// One record there through one ring, one back through another.
///
/// # Errors
///
/// What went wrong in a child, as for all workloads.
pub fn pingpong<C: Contestant>(
    there: &C,
    back: &C,
    record_bytes: usize,
    plan: &Plan,
) -> Result<Repetition, String> {
    let desk = Desk::new();
    let client = || {
        let (mut sender, mut receiver) = (there.sender(), back.receiver());
        let before = desk.line.ping(&plan.clock);
        let trips = ask(&mut sender, &mut receiver, record_bytes, plan);
        let after = desk.line.ping(&plan.clock);
        Side::with_brackets(before, after).with_figures(Figures::Trips(trips))
    };
    let server = || {
        let (mut receiver, mut sender) = (there.receiver(), back.sender());
        desk.line.echo();
        answer(&mut sender, &mut receiver, record_bytes);
        desk.line.echo();
        Side::default()
    };
    plan.run(client, server)
}

fn ask(sender: &mut impl Sender, receiver: &mut impl Receiver, record_bytes: usize, plan: &Plan) -> Trips {
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
    let end = ticks() + plan.clock.ticks_in(plan.window);
    let trips = time_trips(&plan.clock, BLOCK, || ticks() < end, || trip(None));
    trip(Some(Phase::End));
    // The answers are the questions, from a pool of the server's own.
    assert_eq!(check.sums, pool.sums(), "count or XOR of the answers differ from the questions");
    trips
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
