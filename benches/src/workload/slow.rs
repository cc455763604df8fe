//! Slow: a consumer that is slower than its producer, and one that is not alone.
//!
//! - *works*: a microsecond of work after each record: the producer is held back all the time;
//! - *stops*: at the window's first record it sleeps for half of the window: the producer has to wait, and nothing may be lost;
//! - *beside*: on the consumer's processor, somebody else is at work. Either an observer that reads along in the same ring, or
//!   somebody who reads private memory: the difference is what the observer does to the ring, not what it takes of the processor.

use std::hint::black_box;
use std::sync::atomic::Ordering;

use super::records::{Check, Sums, Take, xor_of};
use super::stream::{Crew, Habit};
use super::{Contestant, Desk, Plan, Receiver, Repetition, Side};
use crate::process::Role;

/// A consumer that works for so long after each record.
pub const WORK_NS: u64 = 1_000;

/// A consumer that works.
///
/// # Errors
///
/// As for [`super::stream::stream`].
pub fn works<C: Contestant>(ring: &C, record_bytes: usize, plan: &Plan) -> Result<Repetition, String> {
    slow(ring, record_bytes, Habit { work_ns: WORK_NS, ..Habit::EAGER }, plan)
}

/// A consumer that stops.
///
/// # Errors
///
/// As for [`super::stream::stream`].
pub fn stops<C: Contestant>(ring: &C, record_bytes: usize, plan: &Plan) -> Result<Repetition, String> {
    let stop_ns = u64::try_from(plan.window.as_nanos()).expect("some seconds") / 2;
    slow(ring, record_bytes, Habit { stop_ns, ..Habit::EAGER }, plan)
}

fn slow<C: Contestant>(
    ring: &C,
    record_bytes: usize,
    habit: Habit,
    plan: &Plan,
) -> Result<Repetition, String> {
    let crew = Crew::new(ring, record_bytes, plan, 2);
    plan.run(vec![crew.producer(), crew.consumer(habit)], C::IN_PROCESS)
}

/// Somebody at work beside the consumer, until `go_on` says no; how many records it saw.
pub type Beside<'a> = &'a (dyn Fn(&dyn Fn() -> bool) -> u64 + Sync);

/// A stream whose consumer shares its processor.
///
/// # Errors
///
/// As for [`super::stream::stream`].
pub fn beside<C: Contestant>(
    ring: &C,
    record_bytes: usize,
    somebody: Beside<'_>,
    plan: &Plan,
) -> Result<Repetition, String> {
    let plan = &Plan { window: plan.crowded_window, ..*plan };
    let crew = Crew::new(ring, record_bytes, plan, 3);
    let another = Role::new("beside the consumer", plan.cpus[1], || {
        crew.gather();
        crew.gather();
        let n_records = somebody(&|| !crew.desk.is_done());
        crew.desk.leave_beside(n_records);
        crew.gather();
        Side::default()
    });
    plan.run(vec![crew.producer(), crew.consumer(Habit::POLITE), another], C::IN_PROCESS)
}

/// Reads what an observer can get; each record is checked, gaps are allowed.
pub fn read_along(mut observer: impl Receiver, record_bytes: usize, go_on: &dyn Fn() -> bool) -> u64 {
    let mut check = Check::new(record_bytes, true);
    while go_on() {
        for _ in 0..256 {
            observer.receive(|record| {
                check.take(record);
            });
        }
    }
    check.n_records()
}

/// Reads private memory, at the pace at which records are read.
pub fn read_private_memory(go_on: &dyn Fn() -> bool) -> u64 {
    let memory = vec![1_u8; 256 << 10];
    while go_on() {
        let mut sums = Sums::default();
        for record in memory.chunks_exact(64) {
            sums.add(xor_of(black_box(record)));
        }
        black_box(sums);
    }
    0
}

impl Desk {
    /// The consumer has read everything.
    pub(super) fn finish(&self) {
        // ORDER none (Relaxed): a sign to stop, nothing else.
        self.done.0.store(true, Ordering::Relaxed);
    }

    fn is_done(&self) -> bool {
        // ORDER none (Relaxed): as above.
        self.done.0.load(Ordering::Relaxed)
    }

    fn leave_beside(&self, n_records: u64) {
        // ORDER none (Relaxed): G carries it.
        self.n_beside.0.store(n_records, Ordering::Relaxed);
    }

    /// What was seen beside the consumer; behind the gate.
    pub(super) fn n_beside(&self) -> u64 {
        // ORDER none (Relaxed): as above.
        self.n_beside.0.load(Ordering::Relaxed)
    }
}
