//! Pacing: how far from its due time a record comes, beside a loop of bare absolute sleeps; what the pace costs that is none.
//!
//! | contestant | waits |
//! |------------|-------|
//! | `spin`, `sleep` | in `Replayer::next`, with that `Waiting` |
//! | `bare` | in `clock_nanosleep` to the same times, and does nothing else |
//!
//! Errors are of the moment in which `next` has returned, against a clock that was read before the replay began: what that takes counts against
//! it. All have the same times, a second or so with gaps of 20 us to 5 ms, and take turns.

use std::hint::black_box;

use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::Timespec;
use shm_ring::replay::{Merge, Next, Pace, Replayer, Source, SourceError, Stamp, Waiting};

use super::{Fact, Plan, Results, failed};
use crate::clock::monotonic_ns;
use crate::report::spread::Spread;
use crate::report::verdict::{Limit, NOTHING_COUNTS, Target};
use crate::turns::timed;

/// Facts of one speed: of errors, p50, p99 and max of each contestant; p99 beside that of the bare one.
const AT_1X: Names = Names {
    speed: 1,
    spin: ["pace/1x/spin/p50", "pace/1x/spin/p99", "pace/1x/spin/max"],
    sleep: ["pace/1x/sleep/p50", "pace/1x/sleep/p99", "pace/1x/sleep/max"],
    bare: ["pace/1x/bare/p50", "pace/1x/bare/p99", "pace/1x/bare/max"],
    ratio: "pace/1x/sleep_to_bare",
};
const AT_10X: Names = Names {
    speed: 10,
    spin: ["pace/10x/spin/p50", "pace/10x/spin/p99", "pace/10x/spin/max"],
    sleep: ["pace/10x/sleep/p50", "pace/10x/sleep/p99", "pace/10x/sleep/max"],
    bare: ["pace/10x/bare/p50", "pace/10x/bare/p99", "pace/10x/bare/max"],
    ratio: "pace/10x/sleep_to_bare",
};
const FIGURES: [&str; 3] = ["error p50, us", "error p99, us", "error max, us"];
const RATIO: &str = "p99 sleeping to p99 of bare sleeps";
const DRIFT: &str = "pace/drift";
const MAX: [&str; 3] = ["pace/max/replayer", "pace/max/merge", "pace/max/over_merge"];

/// Times between two records.
const GAPS_NS: std::ops::Range<u64> = 20_000..2_000_000;
/// A gap in sixteen is a long one.
const LONG_GAP_NS: u64 = 5_000_000;

struct Names {
    speed: u64,
    spin: [&'static str; 3],
    sleep: [&'static str; 3],
    bare: [&'static str; 3],
    ratio: &'static str,
}

pub(super) fn facts(plan: &Plan) -> Result<Vec<Fact>, String> {
    let mut facts = vec![];
    for names in [AT_1X, AT_10X] {
        let all = [names.spin, names.sleep, names.bare].concat();
        if all.iter().chain([&names.ratio]).any(|name| name.contains(&plan.only)) {
            facts.extend(errors(plan, &names)?);
        }
    }
    if DRIFT.contains(&plan.only) {
        facts.push(drift(plan)?);
    }
    if MAX.iter().any(|name| name.contains(&plan.only)) {
        facts.extend(without_pace(plan)?);
    }
    Ok(facts)
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let mut targets = vec![];
    for names in [AT_1X, AT_10X] {
        targets.push(results.count(names.spin[0], "-", Limit::AtMost(5.0)));
        targets.push(results.count(names.spin[1], "-", Limit::AtMost(50.0)));
        targets.push(results.count(names.ratio, names.bare[1], Limit::AtMost(1.1)));
    }
    targets.push(results.count(DRIFT, "-", Limit::AtMost(100.0)));
    targets.push(results.count(MAX[2], MAX[1], Limit::AtMost(2.0)));
    targets
}

fn errors(plan: &Plan, names: &Names) -> Result<Vec<Fact>, String> {
    let times = times(plan.paced_ms * 1_000_000);
    let mut all: [[Vec<f64>; 3]; 3] = Default::default();
    let mut ratios = vec![];
    // The first one shows the kernel what is wanted.
    for repetition in 0..=plan.n_repetitions[1] {
        let mut found = [[0.0; 3]; 3];
        for turn in 0..3 {
            let at = (turn + repetition) % 3;
            let mut errors = match at {
                0 => replayed(&times, names.speed, Waiting::Spin)?,
                1 => replayed(&times, names.speed, Waiting::Sleep)?,
                _ => slept(&times)?,
            };
            errors.sort_unstable();
            let part = |per_cent: usize| errors[(errors.len() - 1) * per_cent / 100] as f64 / 1_000.0;
            found[at] = [part(50), part(99), part(100)];
        }
        if repetition > 0 {
            let figures = all.iter_mut().flatten().zip(found.as_flattened());
            figures.for_each(|(series, figure)| series.push(*figure));
            ratios.push(found[1][1] / found[2][1]);
        }
    }
    let names_of = [names.spin, names.sleep, names.bare];
    let named = names_of.as_flattened().iter().zip(FIGURES.into_iter().cycle());
    let mut facts: Vec<_> =
        named.zip(all.into_iter().flatten()).map(|((name, what), series)| fact(name, what, series)).collect();
    facts.push(fact(names.ratio, RATIO, ratios));
    Ok(facts)
}

/// How much later a replay is in the end than in the beginning.
fn drift(plan: &Plan) -> Result<Fact, String> {
    const GAP_NS: u64 = 5_000_000;
    let times: Vec<_> = (0..plan.drift_ms * 1_000_000 / GAP_NS).map(|n| n * GAP_NS).collect();
    let errors = replayed(&times, 1, Waiting::Spin)?;
    // What one is late by is the machine's doing; the least of many is the replay's.
    let part = (errors.len() / 10).max(1);
    let least = |errors: &[u64]| errors.iter().min().copied().unwrap_or(0);
    let drift_ns = least(&errors[..part]).abs_diff(least(&errors[errors.len() - part..]));
    Ok(fact(DRIFT, "drift from the first to the last tenth, us", vec![drift_ns as f64 / 1_000.0]))
}

/// What a record costs without a pace, and without a replayer.
fn without_pace(plan: &Plan) -> Result<Vec<Fact>, String> {
    let [n_records, _] = plan.n_records;
    let mut all: [Vec<f64>; 3] = Default::default();
    for repetition in 0..=plan.n_repetitions[1] {
        let mut merge = counting(n_records as u64);
        let mut replayer = Replayer::new(counting(n_records as u64));
        let mut by_merge = || {
            let (sample, n) = timed(n_records, || {
                let mut sum = 0;
                while let Ok(Some(event)) = merge.next() {
                    sum += black_box(event).record;
                }
                sum
            });
            (sample.ns, n)
        };
        let mut by_replayer = || {
            let (sample, n) = timed(n_records, || {
                let mut sum = 0;
                while let Ok(Some(event)) = replayer.next() {
                    sum += black_box(event).record;
                }
                sum
            });
            (sample.ns, n)
        };
        let ((with_ns, one), (without_ns, other)) = match repetition % 2 {
            0 => (by_replayer(), by_merge()),
            _ => {
                let other = by_merge();
                (by_replayer(), other)
            }
        };
        if one != other {
            return Err("the replayer has lost records".to_owned());
        }
        if repetition > 0 {
            let found = [with_ns, without_ns, with_ns - without_ns];
            all.iter_mut().zip(found).for_each(|(series, figure)| series.push(figure));
        }
    }
    let what =
        ["ns per record, without a pace", "ns per record, merged only", "ns per record, the difference"];
    Ok(MAX.into_iter().zip(what).zip(all).map(|((name, what), series)| fact(name, what, series)).collect())
}

fn fact(name: &'static str, what: &'static str, series: Vec<f64>) -> Fact {
    Fact { name, what, figure: Spread::of(series).ok_or(NOTHING_COUNTS) }
}

/// Pseudo-random times, always the same, from 0 to that one.
fn times(to_ns: u64) -> Vec<u64> {
    let (mut state, mut time) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let is_long = state % 16 == 0;
        time +=
            if is_long { LONG_GAP_NS } else { GAPS_NS.start + (state >> 8) % (GAPS_NS.end - GAPS_NS.start) };
        Some(time).filter(|time| *time < to_ns)
    };
    std::iter::once(0).chain(std::iter::from_fn(&mut next)).collect()
}

/// By how much records come late that are due at those times, recorded at that speed.
fn replayed(times: &[u64], speed: u64, waiting: Waiting) -> Result<Vec<u64>, String> {
    let mut merge = Merge::new();
    merge.add(Times { times: times.iter().map(|time| time * speed).collect(), at: 0 });
    let pace = Pace::speed(speed as f64).map_err(failed("choose a speed"))?;
    let mut replayer = Replayer::new(merge).pace(pace).waiting(waiting);
    let began_ns = monotonic_ns();
    let mut errors = Vec::with_capacity(times.len());
    while let Some(event) = replayer.next().map_err(failed("replay"))? {
        let due_ns = began_ns + times[event.record];
        let late_ns = monotonic_ns().checked_sub(due_ns);
        errors.push(late_ns.ok_or("a record has come before it was due")?);
    }
    Ok(errors)
}

/// By how much who sleeps until those times wakes up late.
fn slept(times: &[u64]) -> Result<Vec<u64>, String> {
    let began_ns = monotonic_ns();
    let mut errors = Vec::with_capacity(times.len());
    for time in times {
        let due_ns = began_ns + time;
        let due = Timespec {
            tv_sec: i64::try_from(due_ns / 1_000_000_000).map_err(failed("say a time"))?,
            tv_nsec: i64::try_from(due_ns % 1_000_000_000).map_err(failed("say a time"))?,
        };
        clock_nanosleep_absolute(ClockId::Monotonic, &due).map_err(failed("sleep"))?;
        errors.push(monotonic_ns() - due_ns);
    }
    Ok(errors)
}

/// So many records, each of which is its number.
fn counting(n_records: u64) -> Merge<Counting> {
    let mut merge = Merge::new();
    merge.add(Counting { at: 0, end: n_records });
    merge
}

#[derive(Debug)]
struct Counting {
    at: u64,
    end: u64,
}

impl Source for Counting {
    type Record<'a> = u64;

    #[inline(always)]
    fn step(&mut self) -> Result<Next, SourceError> {
        if self.at == self.end {
            return Ok(Next::End);
        }
        self.at += 1;
        Ok(Next::Record(Stamp { timestamp_ns: self.at, sequence: self.at }))
    }

    #[inline(always)]
    fn record(&self) -> u64 {
        self.at
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.at = since_ns.saturating_sub(1).min(self.end);
        Ok(())
    }

    fn name(&self) -> &str {
        "counting"
    }
}

/// Records of those times, each of which is its number.
#[derive(Debug)]
struct Times {
    times: Vec<u64>,
    at: usize,
}

impl Source for Times {
    type Record<'a> = usize;

    fn step(&mut self) -> Result<Next, SourceError> {
        let Some(time) = self.times.get(self.at) else { return Ok(Next::End) };
        self.at += 1;
        Ok(Next::Record(Stamp { timestamp_ns: *time, sequence: self.at as u64 }))
    }

    fn record(&self) -> usize {
        self.at - 1
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.at = self.times.partition_point(|time| *time < since_ns);
        Ok(())
    }

    fn name(&self) -> &str {
        "times"
    }
}
