//! Workload: who takes part in a measurement, what everybody brings home, and what makes a repetition valid.
//!
//! ```text
//!             producers                               consumers
//!   attach    sender                                  receiver
//!   L1        Line::ping   <───── a raw line ─────>   Line::echo            (the first of each side; all others sleep)
//!   work      pool ──copy──> ring under test ──────>  check: sequence of each record, XOR of every word
//!   L1        Line::ping   <──────────────────────>   Line::echo
//!   compare   count and XOR of what was sent   ==     count and XOR of what was seen, else the cell is an ERROR
//! ```
//!
//! | file | workload |
//! |------|----------|
//! | `trips` | ping-pong: one trip after the other, and a trip each 100 us |
//! | `stream` | producers that send as fast as they can: one to one, one to two, two to one, eight to one |
//! | `slow` | the same with a consumer that works or stops, and with an observer beside the consumer |
//! | `blocked` | a consumer that sleeps: when it runs again, what sleeping costs |
//! | `memory` | what a ring that is fully used costs the process that maps it |
//! | `records` | what is sent, and how it is checked |
//!
//! (I1) all are attached before the first record is sent; (I2) a record is written in full, from private memory, and read in
//! full; (I3) the window is told in band: every record carries its phase, and the side that receives takes the time; (I4) there
//! is no [`Repetition`] without records, checksum and both brackets.

pub mod blocked;
pub mod memory;
pub mod records;
pub mod slow;
pub mod stream;
pub mod trips;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex;

use crate::cells::N_CROWD;
use crate::clock::{Clock, clock_read_ns, monotonic_ns};
use crate::floor::{Alarm, Brackets, Line};
use crate::process::{Padded, Plain, Role, Shared, Zeroed, crew, threads};
use blocked::{Idle, Wakes};
use memory::Memory;
use records::Sums;
use stream::Rate;
use trips::Trips;

/// Something that carries records from one process to another. Made before the fork; each side then attaches, in its own
/// process, once.
pub trait Contestant: Sync {
    /// Whether the receiver may miss records, as an observer may: then they are counted instead of being an error.
    const LOSSY: bool = false;

    /// Whether it works within one process only: then both sides are threads of one child, pinned as processes are.
    const IN_PROCESS: bool = false;

    /// Attaches the side that sends.
    fn sender(&self) -> impl Sender;

    /// Attaches the side that receives.
    fn receiver(&self) -> impl Receiver;

    /// Attaches one of several that send; `seat` counts from 0.
    fn sender_at(&self, seat: usize) -> impl Sender {
        let _ = seat;
        self.sender()
    }

    /// Attaches one of several that receive; `seat` counts from 0.
    fn receiver_at(&self, seat: usize) -> impl Receiver {
        let _ = seat;
        self.receiver()
    }
}

/// The side that sends. Failures panic: a child's panic is the cell's error.
pub trait Sender {
    /// Sends the next `n_records`, one by one or in groups, and waits while the ring is full.
    fn send(&mut self, records: &mut impl Records, n_records: usize);

    /// Publishes what is held back.
    fn flush(&mut self) {}
}

/// The side that receives.
pub trait Receiver {
    /// Looks once, or waits, as the contestant does it; hands over what it finds, which may be nothing.
    fn receive(&mut self, each: impl FnMut(&[u8]));
}

/// Where records come from.
pub trait Records {
    /// The next one.
    fn next_record(&mut self) -> &[u8];
}

/// How long everything takes, and where.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The producers' and the consumers' processor.
    pub cpus: [usize; 2],
    /// For [`crate::clock::ticks`].
    pub clock: Clock,
    /// Not measured.
    pub warm_up: Duration,
    /// Measured.
    pub window: Duration,
    /// Measured, where processes share a processor: many of the scheduler's slices.
    pub crowded_window: Duration,
    /// Trips that begin when it is their time.
    pub n_paced: u32,
    /// Bare wake-ups, and as many of the contestant, alternating.
    pub n_wakes: u32,
    /// How long a consumer is left blocked for its CPU time.
    pub idle: Duration,
    /// After this, a repetition is killed.
    pub timeout: Duration,
}

impl Plan {
    /// Runs all roles, in processes of their own or as threads of one, and joins what they bring home.
    fn run(&self, roles: Vec<Role<'_, Side>>, in_process: bool) -> Result<Repetition, String> {
        let timeout = self.timeout + self.idle;
        let sides = if in_process {
            let roles = roles.try_into().map_err(|_| "threads come in pairs".to_owned())?;
            threads(roles, timeout)?
        } else {
            crew(roles, timeout)?
        };
        Repetition::joined(&sides)
    }

    /// The first producer's role.
    fn producer<'a>(&self, body: impl FnOnce() -> Side + Send + 'a) -> Role<'a, Side> {
        Role::new("producer", self.cpus[0], || watched(body))
    }

    /// The first consumer's role.
    fn consumer<'a>(&self, body: impl FnOnce() -> Side + Send + 'a) -> Role<'a, Side> {
        Role::new("consumer", self.cpus[1], || watched(body))
    }
}

/// Runs one side and adds how long it could have run but stood in its processor's queue, which is others' doing.
fn watched(side: impl FnOnce() -> Side) -> Side {
    let (began_ns, queued_ns) = (monotonic_ns(), queued_ns());
    let side = side();
    let queued_ns = self::queued_ns() - queued_ns;
    Side { queued_part: queued_ns as f64 / (monotonic_ns() - began_ns) as f64, ..side }
}

/// The second number of `schedstat`; 0 where the kernel doesn't keep it.
pub(crate) fn queued_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What one side brings home.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Side {
    brackets: Option<Brackets>,
    sums: Option<Sums>,
    figures: Option<Figures>,
    queued_part: f64,
    clock_read_ns: f64,
}

impl Side {
    fn with_brackets(before: Trips, after: Trips) -> Self {
        Self { brackets: Some(Brackets { before, after }), clock_read_ns: clock_read_ns(), ..Self::default() }
    }

    /// `sums` are of what was seen, after it was compared with what was sent.
    fn with_figures(self, figures: Figures, sums: Sums) -> Self {
        Self { figures: Some(figures), sums: Some(sums), ..self }
    }
}

// SAFETY: numbers, and tags of enums that both sides compiled alike: a child is a fork of this very program.
unsafe impl Plain for Side {}

/// One repetition of one cell.
#[derive(Clone, Copy, Debug)]
pub struct Repetition {
    /// The floor right before and after.
    pub brackets: Brackets,
    /// Of the records that were checked: how many, and XOR of every word.
    pub sums: Sums,
    /// What was measured.
    pub figures: Figures,
    /// Of its time, the part that a side waited for its processor because somebody else had it.
    pub queued_part: f64,
    /// What one read of the wall clock took, right after.
    pub clock_read_ns: f64,
}

impl Repetition {
    /// One repetition of what all sides measured. Where several consumers took a rate, it is the slowest one's.
    pub(crate) fn joined(sides: &[Side]) -> Result<Self, String> {
        let bracketed = sides.iter().find(|side| side.brackets.is_some());
        let bracketed = bracketed.ok_or("no floor was taken before and after")?;
        let measured = sides.iter().filter(|side| side.figures.is_some()).min_by(|a, b| {
            let rate = |side: &Side| match side.figures {
                Some(Figures::Rate(rate)) => rate.per_second(),
                _ => 0.0,
            };
            rate(a).total_cmp(&rate(b))
        });
        let measured = measured.ok_or("nobody measured anything")?;
        let sums = measured.sums.filter(|sums| sums.n_records > 0).ok_or("no records were checked")?;
        Ok(Self {
            brackets: bracketed.brackets.expect("it was looked for"),
            sums,
            figures: measured.figures.expect("it was looked for"),
            queued_part: sides.iter().map(|side| side.queued_part).fold(0.0, f64::max),
            clock_read_ns: bracketed.clock_read_ns,
        })
    }
}

/// What a workload measures.
#[derive(Clone, Copy, Debug)]
pub enum Figures {
    /// Ping-pong.
    Trips(Trips),
    /// Stream.
    Rate(Rate),
    /// Wake-up.
    Wakes(Wakes),
    /// CPU time while blocked.
    Idle(Idle),
    /// Memory of a process.
    Memory(Memory),
}

/// What all sides share besides the ring under test.
#[derive(Debug)]
#[repr(C)]
struct Desk {
    line: Line,
    alarm: Alarm,
    gate: Gate,
    /// When the producers began, by the monotonic clock; 0: not yet.
    began_ns: Padded<AtomicU64>,
    /// By producer: count and XOR of what was sent.
    sent: [Padded<[AtomicU64; 2]>; N_CROWD],
    /// The consumer is done: whoever is beside it may go.
    done: Padded<AtomicBool>,
    /// Records that were seen beside the consumer.
    n_beside: Padded<AtomicU64>,
}

// SAFETY: atomics; zero is valid.
unsafe impl Zeroed for Desk {}

impl Desk {
    fn new() -> Shared<Self> {
        Shared::new()
    }

    /// When the first producer asked this: the same moment for all.
    fn began_ns(&self) -> u64 {
        let now_ns = monotonic_ns();
        // ORDER none (Relaxed): the stamp is all there is to it.
        let first = self.began_ns.0.compare_exchange(0, now_ns, Ordering::Relaxed, Ordering::Relaxed);
        first.map_or_else(|began_ns| began_ns, |_| now_ns)
    }

    /// A producer's sums, for the consumers to compare; a bracket or the gate follows, which orders the two.
    fn leave(&self, producer: usize, sums: Sums) {
        // ORDER none (Relaxed): L1a and L1b of the second bracket, or G of the gate, carry them.
        self.sent[producer].0[0].store(sums.n_records, Ordering::Relaxed);
        self.sent[producer].0[1].store(sums.xor, Ordering::Relaxed);
    }

    /// What a producer left, after the second bracket or behind the gate.
    fn left(&self, producer: usize) -> Sums {
        // ORDER none (Relaxed): as above.
        Sums {
            n_records: self.sent[producer].0[0].load(Ordering::Relaxed),
            xor: self.sent[producer].0[1].load(Ordering::Relaxed),
        }
    }
}

/// Where all wait for the last one; asleep, so that nobody is in the way of those who measure the floor.
#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Gate {
    n_arrived: AtomicU32,
}

impl Gate {
    /// Waits until all `n_parties` are here, each time anew.
    fn pass(&self, n_parties: u32) {
        // ORDER G (AcqRel, pairs with itself and the load below): what each did before the gate is visible to all behind it.
        let n_arrived = self.n_arrived.fetch_add(1, Ordering::AcqRel) + 1;
        let all = n_arrived.next_multiple_of(n_parties);
        if n_arrived == all {
            futex::wake(&self.n_arrived, futex::Flags::empty(), n_parties)
                .expect("the word is mapped and aligned");
        }
        loop {
            // ORDER G (Acquire).
            let seen = self.n_arrived.load(Ordering::Acquire);
            if seen >= all {
                break;
            }
            match futex::wait(&self.n_arrived, futex::Flags::empty(), seen, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => panic!("futex wait: {error}"),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a side brings home that measured a rate, with its floor and without anything else.
    pub(crate) fn bracketed_rate(l1_ns: f64, rate: Rate) -> Side {
        let trips = Trips { mean_ns: l1_ns, p50_ns: l1_ns, ..Trips::default() };
        Side { figures: Some(Figures::Rate(rate)), ..Side::with_brackets(trips, trips) }
    }

    /// Records, checksum, floor: what lacks one of them is an error and never a figure.
    #[test]
    fn there_is_no_repetition_without_records_checksum_and_floor() {
        let rate = Rate { n_records: 10, seconds: 1.0, ..Rate::default() };
        let sums = Sums { n_records: 10, xor: 1 };
        let whole = Side { sums: Some(sums), ..bracketed_rate(130.0, rate) };
        assert_eq!(Repetition::joined(&[whole]).map(|repetition| repetition.sums), Ok(sums));
        let error = |side| {
            Repetition::joined(&[side]).map(|repetition| repetition.sums).expect_err("something is missing")
        };
        assert_eq!(error(Side { sums: None, ..whole }), "no records were checked");
        assert_eq!(error(Side { sums: Some(Sums::default()), ..whole }), "no records were checked");
        assert_eq!(error(Side { brackets: None, ..whole }), "no floor was taken before and after");
        assert_eq!(error(Side { figures: None, ..whole }), "nobody measured anything");
    }

    /// Of several consumers the slowest one counts.
    #[test]
    fn the_slowest_consumer_counts() {
        let side = |n_records| {
            let rate = Rate { n_records, seconds: 1.0, ..Rate::default() };
            Side { sums: Some(Sums { n_records, xor: 0 }), ..bracketed_rate(130.0, rate) }
        };
        let joined = Repetition::joined(&[side(30), side(10), side(20)]).expect("nothing is missing");
        assert_eq!(joined.sums.n_records, 10);
    }
}
