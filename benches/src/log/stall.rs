//! Stall: what a record waits that comes at its time, 1,000,000 of them a second, over many rolls.
//!
//! A record's wait is from the time at which it was to be appended until it is, whatever kept the one before: nothing is left out because
//! the loop itself stood still. The floor is the same loop without the append: what the machine takes away by itself.

use std::path::Path;

use hdrhistogram::Histogram;
use shm_ring::LogOptions;

use super::{Fact, Plan, Results, TIME_NS, failed, n_faults, removed, settle};
use crate::clock::{Clock, ticks};
use crate::mapped::record;
use crate::report::spread::Spread;
use crate::report::verdict::{Limit, Target};

const INTERVAL_NS: f64 = 1_000.0;
const RECORD_BYTES: usize = 100;
const SEGMENT_BYTES: u64 = 8 << 20;
const TEXTS: [(&str, &str); 8] = [
    (
        "stall/p99.99/append_at",
        "1 M appends/s of 100 B, segments of 8 MiB: us from its time until it is appended, p99.99",
    ),
    ("stall/max/append_at", "the same, the longest"),
    ("stall/p99.99/floor", "the same loop that appends nothing, p99.99"),
    ("stall/max/floor", "the same, the longest"),
    ("stall/p50/append_at", "p50 of the appends"),
    ("stall/p50/floor", "p50 of the loop that appends nothing"),
    ("stall/faults", "page faults of the appending thread"),
    ("stall/rolls", "segments that were begun"),
];
const LIMITS: [(usize, f64); 2] = [(0, 50.0), (1, 1_000.0)];

pub(super) fn facts(plan: &Plan) -> Result<Vec<Fact>, String> {
    let clock = Clock::calibrate();
    let mut figures: [Vec<f64>; 8] = Default::default();
    let path = plan.directory.join("stall");
    for _ in 0..plan.n_repetitions {
        let (floor, _) = paced(&clock, plan.n_paced, || Ok(()))?;
        let (appended, n_faults, n_rolls) = appended(&clock, &path, plan.n_paced)?;
        let us = |ns: u64| ns as f64 / 1e3;
        let [p50, tail] = [50.0, 99.99].map(|percentile| {
            [&appended, &floor].map(|histogram| us(histogram.value_at_percentile(percentile)))
        });
        let max = [us(appended.max()), us(floor.max())];
        let all = [tail[0], max[0], tail[1], max[1], p50[0], p50[1], n_faults, n_rolls];
        figures.iter_mut().zip(all).for_each(|(figures, figure)| figures.push(figure));
    }
    let fact =
        |((name, what), figures)| Fact { name, what, figure: Spread::of(figures).ok_or("no repetition") };
    Ok(TEXTS.into_iter().zip(figures).map(fact).collect())
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let target = |(at, limit): (usize, f64)| {
        let (name, floor) = (TEXTS[at].0, TEXTS[at + 2].0);
        results.count(name, floor, Limit::AtMost(limit))
    };
    LIMITS.map(target).into()
}

fn appended(clock: &Clock, path: &Path, n: u64) -> Result<(Histogram<u64>, f64, f64), String> {
    removed(path)?;
    let options = LogOptions::new().segment_bytes(SEGMENT_BYTES).keep_bytes(2 * SEGMENT_BYTES);
    let mut log = options.create(path).map_err(failed("create a log"))?;
    settle(&log)?;
    let record = record(RECORD_BYTES);
    let (waited, faults) = paced(clock, n, || {
        log.append_at(TIME_NS, std::hint::black_box(record)).map(drop).map_err(failed("append"))
    })?;
    let n_rolls = (log.end() / SEGMENT_BYTES) as f64;
    drop(log);
    removed(path)?;
    Ok((waited, faults, n_rolls))
}

/// How long each of `n` waited, in ns, and page faults meanwhile.
fn paced(
    clock: &Clock,
    n: u64,
    mut work: impl FnMut() -> Result<(), String>,
) -> Result<(Histogram<u64>, f64), String> {
    let mut waited = Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(failed("a histogram"))?;
    let faults = n_faults()?;
    let ticks_apart = INTERVAL_NS / clock.ns(1);
    let began = ticks();
    for number in 0..n {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds, in ticks")]
        let due = began + (number as f64 * ticks_apart) as u64;
        while ticks() < due {
            std::hint::spin_loop();
        }
        work()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time that went by, in ns"
        )]
        let ns = clock.ns(ticks().saturating_sub(due)) as u64;
        waited.saturating_record(ns.max(1));
    }
    Ok((waited, n_faults()? - faults))
}
