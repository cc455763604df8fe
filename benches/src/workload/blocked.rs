//! Blocked: how soon a consumer that sleeps runs again, and what sleeping costs it.
//!
//! Wake-ups alternate: one of a bare futex (L4), one of the ring, and so on, so that each has its floor right beside it.
//! Both stamps are taken just before the call that wakes, both latencies end when the sleeper is back in its own code.
//! The producer spins between two wake-ups, for about a millisecond: the waker is awake, the sleeper is asleep.

use std::time::Duration;

use hdrhistogram::Histogram;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::records::{Sums, word_of, xor_of};
use super::{Contestant, Desk, Figures, Plan, Receiver, Records, Repetition, Sender, Side};
use crate::clock::monotonic_ns;

/// Latencies of wake-ups.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wakes {
    /// Median of the contestant's.
    pub p50_ns: f64,
    /// 99 of 100 were quicker.
    pub p99_ns: f64,
    /// L4: median of the bare futex's, one before each of the contestant's.
    pub bare_p50_ns: f64,
    /// L4: 99 of 100 were quicker.
    pub bare_p99_ns: f64,
    /// How often the consumer really went to sleep, of all wake-ups (1.0: always), by its voluntary context switches.
    pub slept_part: f64,
}

/// CPU time of a consumer to which nothing was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Idle {
    /// User and system time.
    pub cpu_s: f64,
    /// The time that passed.
    pub wall_s: f64,
}

/// Records with the time they were made in them.
///
/// ```text
///   word 0: sequence      word 1: CLOCK_MONOTONIC, ns
/// ```
struct Stamps {
    record: [u8; RECORD_BYTES],
    sums: Sums,
}

const RECORD_BYTES: usize = 64;

impl Stamps {
    fn new() -> Self {
        Self { record: [0; RECORD_BYTES], sums: Sums::default() }
    }
}

impl Records for Stamps {
    fn next_record(&mut self) -> &[u8] {
        self.record[..8].copy_from_slice(&self.sums.n_records.to_ne_bytes());
        self.record[8..16].copy_from_slice(&monotonic_ns().to_ne_bytes());
        self.sums.add(xor_of(&self.record));
        &self.record
    }
}

/// Spins for a millisecond and a bit that differs, so that no timer of the kernel keeps step.
fn pause(n: u32) {
    let end = monotonic_ns() + 1_000_000 + u64::from(n % 8) * 31_000;
    while monotonic_ns() < end {
        std::hint::spin_loop();
    }
}

/// Wake-up latency. The contestant's receiver must block.
///
/// # Errors
///
/// What went wrong in a child.
pub fn wakeup<C: Contestant>(ring: &C, plan: &Plan) -> Result<Repetition, String> {
    let desk = Desk::new();
    let producer = || {
        let (mut sender, mut stamps) = (ring.sender(), Stamps::new());
        let before = desk.line.ping(&plan.clock);
        for n in 0..plan.n_wakes {
            pause(n);
            desk.alarm.ring();
            pause(n);
            sender.send(&mut stamps, 1);
        }
        desk.leave(0, stamps.sums);
        let after = desk.line.ping(&plan.clock);
        Side::with_brackets(before, after)
    };
    let consumer = || {
        let mut receiver = ring.receiver();
        let (mut bare, mut woken, mut seen) = (histogram(), histogram(), Sums::default());
        desk.line.echo();
        let usage = usage();
        for n in 0..plan.n_wakes {
            bare.record(desk.alarm.sleep(n + 1)).expect("an automatic histogram grows");
            woken.record(take_one(&mut receiver, &mut seen)).expect("an automatic histogram grows");
        }
        let wakes = wakes(&woken, &bare, sleeps_since(&usage));
        desk.line.echo();
        assert_eq!(desk.left(0), seen, "count or XOR of what was sent and of what arrived");
        Side::default().with_figures(Figures::Wakes(wakes), seen)
    };
    plan.run(vec![plan.producer(producer), plan.consumer(consumer)], C::IN_PROCESS)
}

/// Waits for one record and returns its age.
fn take_one(receiver: &mut impl Receiver, seen: &mut Sums) -> u64 {
    let mut age_ns = None;
    while age_ns.is_none() {
        receiver.receive(|record| {
            let now_ns = monotonic_ns();
            assert_eq!((record.len(), word_of(record)), (RECORD_BYTES, seen.n_records), "another record");
            seen.add(xor_of(record));
            age_ns = Some(now_ns - word_of(&record[8..]));
        });
    }
    age_ns.expect("the loop ends when there is one")
}

fn wakes(woken: &Histogram<u64>, bare: &Histogram<u64>, n_sleeps: i64) -> Wakes {
    let quantile = |of: &Histogram<u64>, q| of.value_at_quantile(q) as f64;
    Wakes {
        p50_ns: quantile(woken, 0.5),
        p99_ns: quantile(woken, 0.99),
        bare_p50_ns: quantile(bare, 0.5),
        bare_p99_ns: quantile(bare, 0.99),
        slept_part: (n_sleeps as f64 / (woken.len() + bare.len()) as f64).min(1.0),
    }
}

/// CPU time of a consumer that waits for `plan.idle`.
///
/// # Errors
///
/// What went wrong in a child.
pub fn idle<C: Contestant>(ring: &C, plan: &Plan) -> Result<Repetition, String> {
    let desk = Desk::new();
    let producer = || {
        let (mut sender, mut stamps) = (ring.sender(), Stamps::new());
        let before = desk.line.ping(&plan.clock);
        std::thread::sleep(plan.idle);
        sender.send(&mut stamps, 1);
        desk.leave(0, stamps.sums);
        let after = desk.line.ping(&plan.clock);
        Side::with_brackets(before, after)
    };
    let consumer = || {
        let mut receiver = ring.receiver();
        desk.line.echo();
        let (began, cpu) = (monotonic_ns(), cpu(&usage()));
        let mut seen = Sums::default();
        take_one(&mut receiver, &mut seen);
        let cpu_s = (self::cpu(&usage()) - cpu).as_secs_f64();
        let wall_s = Duration::from_nanos(monotonic_ns() - began).as_secs_f64();
        desk.line.echo();
        assert_eq!(desk.left(0), seen, "count or XOR of what was sent and of what arrived");
        Side::default().with_figures(Figures::Idle(Idle { cpu_s, wall_s }), seen)
    };
    plan.run(vec![plan.producer(producer), plan.consumer(consumer)], C::IN_PROCESS)
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("3 digits are allowed")
}

fn usage() -> Usage {
    getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage")
}

fn cpu(usage: &Usage) -> Duration {
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(micros).expect("time spent is not negative"))
}

fn sleeps_since(before: &Usage) -> i64 {
    usage().voluntary_context_switches() - before.voluntary_context_switches()
}
