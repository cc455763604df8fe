//! Stream: producers that send as fast as they can, consumers that read everything.
//!
//! Each producer sends for the warm-up, then for the window, then one last record, all by the same clock. A consumer takes the
//! time from the first record of the window to the first last record: what is left in the ring counts for nobody, and all
//! producers were at it all the time.
//!
//! ```text
//!                    cpus[0]                    cpus[1]
//!   one to one       producer                   consumer
//!   fan-out          producer                   consumer, consumer                        each gets every record
//!   fan-in           producer, producer         consumer
//!   crowd            producers 0, 2, 4, 6       producers 1, 3, 5, 7, consumer
//! ```
//!
//! Where there are more processes than processors, a consumer that found nothing 64 times in a row yields ([`Looks`]).

use std::time::Duration;

use rustix::thread::sched_yield;

use super::records::{Check, Checks, Phase, Pool, Sums, Take};
use super::{Contestant, Desk, Figures, Plan, Receiver, Repetition, Sender, Side};
use crate::clock::{Clock, monotonic_ns, ticks};
use crate::process::{Role, Shared};

/// Records that arrived within the window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// How many.
    pub n_records: u64,
    /// How many a lossy reader missed meanwhile; 0 for everybody else.
    pub n_lost: u64,
    /// The window, at the consumer.
    pub seconds: f64,
    /// Of that, the time that the consumer slept on purpose.
    pub stopped_s: f64,
    /// The longest time without any record, where it was taken: to within [`N_BETWEEN_STAMPS`] records.
    pub stall_s: Option<f64>,
    /// Records that somebody beside the consumer saw, warm-up included.
    pub n_beside: u64,
}

impl Rate {
    /// Records that arrived, per second in which the consumer did not sleep on purpose.
    pub fn per_second(&self) -> f64 {
        self.n_records as f64 / (self.seconds - self.stopped_s)
    }

    /// Of all records sent within the window, the part that was missed.
    pub fn lost_part(&self) -> f64 {
        self.n_lost as f64 / (self.n_lost + self.n_records).max(1) as f64
    }
}

/// Fruitless looks of somebody who shares a processor with whom it waits for: 64 of them, then it yields.
#[derive(Debug, Default)]
pub struct Looks(u32);

impl Looks {
    /// Looked, and found nothing.
    #[inline]
    pub fn fruitless(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(64) {
            sched_yield();
        } else {
            std::hint::spin_loop();
        }
    }
}

/// A producer looks at the clock after so many bytes, or so many records if these are more bytes.
const BYTES_BETWEEN_LOOKS: usize = 16 << 10;
const RECORDS_BETWEEN_LOOKS_MIN: usize = 32;

/// A look at the clock after so many records finds stalls at next to no cost.
pub const N_BETWEEN_STAMPS: u64 = 16;

/// One to one.
///
/// # Errors
///
/// What went wrong in a child; a count or an XOR that differs.
pub fn stream<C: Contestant>(ring: &C, record_bytes: usize, plan: &Plan) -> Result<Repetition, String> {
    let crew = Crew::new(ring, record_bytes, plan, 2);
    plan.run(vec![crew.producer(), crew.consumer(Habit::EAGER)], C::IN_PROCESS)
}

/// One to `n_consumers`, which share a processor.
///
/// # Errors
///
/// As for [`stream`].
pub fn fan_out<C: Contestant>(
    ring: &C,
    n_consumers: usize,
    record_bytes: usize,
    plan: &Plan,
) -> Result<Repetition, String> {
    let plan = &Plan { window: plan.crowded_window, ..*plan };
    let crew = Crew::new(ring, record_bytes, plan, 1 + n_consumers);
    let mut roles = vec![crew.producer(), crew.consumer(Habit::POLITE)];
    roles.extend((1..n_consumers).map(|seat| crew.another_consumer(seat)));
    plan.run(roles, C::IN_PROCESS)
}

/// `n_producers`, which share a processor, to one.
///
/// # Errors
///
/// As for [`stream`].
pub fn fan_in<C: Contestant>(
    ring: &C,
    n_producers: usize,
    record_bytes: usize,
    plan: &Plan,
) -> Result<Repetition, String> {
    many_to_one(ring, n_producers, |_| 0, record_bytes, plan)
}

/// `n_producers` on both processors, to one on the second.
///
/// # Errors
///
/// As for [`stream`].
pub fn crowd<C: Contestant>(
    ring: &C,
    n_producers: usize,
    record_bytes: usize,
    plan: &Plan,
) -> Result<Repetition, String> {
    many_to_one(ring, n_producers, |seat| seat % 2, record_bytes, plan)
}

fn many_to_one<C: Contestant>(
    ring: &C,
    n_producers: usize,
    side_of: impl Fn(usize) -> usize,
    record_bytes: usize,
    plan: &Plan,
) -> Result<Repetition, String> {
    let plan = &Plan { window: plan.crowded_window, ..*plan };
    let crew = Crew { n_producers, ..Crew::new(ring, record_bytes, plan, n_producers + 1) };
    let mut roles = vec![crew.producer(), crew.consumer(Habit::POLITE)];
    roles.extend((1..n_producers).map(|seat| crew.another_producer(seat, plan.cpus[side_of(seat)])));
    plan.run(roles, C::IN_PROCESS)
}

/// What a consumer does besides reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habit {
    /// It yields when it finds nothing.
    pub(super) polite: bool,
    /// It spins for so long after each record.
    pub(super) work_ns: u64,
    /// It sleeps for so long at the window's first record.
    pub(super) stop_ns: u64,
}

impl Habit {
    pub(super) const EAGER: Self = Self { polite: false, work_ns: 0, stop_ns: 0 };
    pub(super) const POLITE: Self = Self { polite: true, ..Self::EAGER };
}

/// Those who take part in one repetition, and what they share.
pub(super) struct Crew<'a, C> {
    ring: &'a C,
    record_bytes: usize,
    plan: &'a Plan,
    pub(super) desk: Shared<Desk>,
    n_producers: usize,
    n_parties: u32,
}

impl<'a, C: Contestant> Crew<'a, C> {
    /// One producer, and `n_parties` processes in all.
    pub(super) fn new(ring: &'a C, record_bytes: usize, plan: &'a Plan, n_parties: usize) -> Self {
        let n_parties = u32::try_from(n_parties).expect("a handful");
        Self { ring, record_bytes, plan, desk: Desk::new(), n_producers: 1, n_parties }
    }

    /// The first producer: it also takes the floor.
    pub(super) fn producer(&self) -> Role<'_, Side> {
        self.plan.producer(|| {
            let sender = self.ring.sender_at(0);
            self.gather();
            let before = self.desk.line.ping(&self.plan.clock);
            self.produce(0, sender);
            let after = self.desk.line.ping(&self.plan.clock);
            Side::with_brackets(before, after)
        })
    }

    fn another_producer(&self, seat: usize, cpu: usize) -> Role<'_, Side> {
        Role::new("another producer", cpu, move || {
            let sender = self.ring.sender_at(seat);
            self.gather();
            self.produce(seat, sender);
            Side::default()
        })
    }

    /// The first consumer: it also answers when the floor is taken.
    pub(super) fn consumer(&self, habit: Habit) -> Role<'_, Side> {
        self.plan.consumer(move || {
            let receiver = self.ring.receiver_at(0);
            self.gather();
            self.desk.line.echo();
            let side = self.consume(receiver, habit);
            self.desk.line.echo();
            side
        })
    }

    fn another_consumer(&self, seat: usize) -> Role<'_, Side> {
        Role::new("another consumer", self.plan.cpus[1], move || {
            let receiver = self.ring.receiver_at(seat);
            self.gather();
            self.consume(receiver, Habit::POLITE)
        })
    }

    /// All are attached.
    pub(super) fn gather(&self) {
        self.desk.gate.pass(self.n_parties);
    }

    fn produce(&self, seat: usize, mut sender: impl Sender) {
        let mut pool = Pool::of(seat, self.record_bytes);
        self.gather();
        // Where processes share a processor, some that are compared with collapse to a few hundred records per second.
        let n_between_looks = if self.n_parties > 2 { 0 } else { BYTES_BETWEEN_LOOKS / self.record_bytes };
        let n_between_looks = n_between_looks.max(RECORDS_BETWEEN_LOOKS_MIN);
        produce(&mut sender, &mut pool, n_between_looks, self.desk.began_ns(), self.plan);
        self.desk.leave(seat, pool.sums());
        self.gather();
    }

    fn consume(&self, receiver: impl Receiver, habit: Habit) -> Side {
        match self.n_producers {
            1 => self.consume_from(receiver, Check::new(self.record_bytes, C::LOSSY), habit),
            n => self.consume_from(receiver, Checks::new(n, self.record_bytes, C::LOSSY), habit),
        }
    }

    fn consume_from(&self, mut receiver: impl Receiver, mut check: impl Take, habit: Habit) -> Side {
        let clock = &self.plan.clock;
        self.gather();
        let mut rate = match habit {
            Habit { polite: false, work_ns: 0, stop_ns: 0 } => {
                consume(&mut receiver, &mut check, self.n_producers, clock, false, |_| {})
            }
            Habit { polite: true, .. } => {
                let mut stalls = Stalls::default();
                let each = |phase| stalls.record(phase);
                let rate = consume(&mut receiver, &mut check, self.n_producers, clock, true, each);
                Rate { stall_s: Some(clock.ns(stalls.longest) / 1e9), ..rate }
            }
            Habit { work_ns, stop_ns, .. } => {
                let mut chores = Chores {
                    work_ticks: clock.ticks_in(Duration::from_nanos(work_ns)),
                    stop_ns,
                    stopped_ns: 0,
                };
                let each = |phase| chores.record(phase);
                let rate = consume(&mut receiver, &mut check, self.n_producers, clock, false, each);
                Rate { stopped_s: chores.stopped_ns as f64 / 1e9, ..rate }
            }
        };
        self.desk.finish();
        self.gather();
        rate.n_beside = self.desk.n_beside();
        let seen = check.sums();
        let mut all = Sums::default();
        for (producer, &seen) in seen.iter().enumerate() {
            let sent = self.desk.left(producer);
            assert!(
                if C::LOSSY { seen.n_records <= sent.n_records } else { seen == sent },
                "producer {producer}: {sent:x?} was sent, {seen:x?} arrived"
            );
            all = all.and(seen);
        }
        let n_sent: u64 = (0..self.n_producers).map(|producer| self.desk.left(producer).n_records).sum();
        assert_eq!(all.n_records + check.n_lost(), n_sent, "records that were neither seen nor missed");
        Side::default().with_figures(Figures::Rate(rate), all)
    }
}

fn produce(sender: &mut impl Sender, pool: &mut Pool, n_between_looks: usize, began_ns: u64, plan: &Plan) {
    let mut end_ns = began_ns;
    for (phase, duration) in [(Phase::WarmUp, plan.warm_up), (Phase::Window, plan.window)] {
        pool.enter(phase);
        end_ns += u64::try_from(duration.as_nanos()).expect("some seconds");
        // Once at least: one that got no processor meanwhile was in the window all the same.
        loop {
            sender.send(pool, n_between_looks);
            if monotonic_ns() >= end_ns {
                break;
            }
        }
    }
    pool.enter(Phase::End);
    sender.send(pool, 1);
    sender.flush();
}

/// Reads until every producer's last record; `each` hears the phase after each record.
fn consume(
    receiver: &mut impl Receiver,
    check: &mut impl Take,
    n_producers: usize,
    clock: &Clock,
    polite: bool,
    mut each: impl FnMut(Phase),
) -> Rate {
    let mut phase = Phase::WarmUp;
    let (mut began, mut ended) = (None, None);
    let (mut n_ended, mut looks) = (0, Looks::default());
    while n_ended < n_producers {
        let mut some = false;
        receiver.receive(|record| {
            some = true;
            match check.take(record) {
                Some(Phase::Window) if began.is_none() => {
                    phase = Phase::Window;
                    began = Some((ticks(), check.n_records(), check.n_lost()));
                }
                Some(Phase::End) => {
                    phase = Phase::End;
                    n_ended += 1;
                    ended = ended.or_else(|| Some((ticks(), check.n_records(), check.n_lost())));
                }
                _ => {}
            }
            each(phase);
        });
        if polite && !some {
            looks.fruitless();
        }
    }
    let (began, n_before, n_lost_before) = began.expect("no record of the window arrived");
    let (ended, n_after, n_lost_after) = ended.expect("the loop ends behind a last record");
    Rate {
        n_records: n_after - n_before,
        n_lost: n_lost_after - n_lost_before,
        seconds: clock.ns(ended - began) / 1e9,
        ..Rate::default()
    }
}

/// The longest time without any record within the window, in ticks.
#[derive(Debug, Default)]
struct Stalls {
    n: u64,
    last: Option<u64>,
    longest: u64,
}

impl Stalls {
    #[inline(always)]
    fn record(&mut self, phase: Phase) {
        self.n += 1;
        if self.n.is_multiple_of(N_BETWEEN_STAMPS) && phase == Phase::Window {
            let now = ticks();
            self.longest = self.longest.max(now - self.last.unwrap_or(now));
            self.last = Some(now);
        }
    }
}

/// What a slow consumer does after each record.
struct Chores {
    work_ticks: u64,
    /// 0: it has stopped before, or never does.
    stop_ns: u64,
    stopped_ns: u64,
}

impl Chores {
    #[inline(always)]
    fn record(&mut self, phase: Phase) {
        if self.work_ticks > 0 {
            let end = ticks() + self.work_ticks;
            while ticks() < end {
                std::hint::spin_loop();
            }
        }
        if self.stop_ns > 0 && phase == Phase::Window {
            let began_ns = monotonic_ns();
            std::thread::sleep(Duration::from_nanos(std::mem::take(&mut self.stop_ns)));
            self.stopped_ns = monotonic_ns() - began_ns;
        }
    }
}
