//! Workload: what is sent, how it is checked, and the two sides of every measurement.
//!
//! ```text
//!             producer                                consumer
//!   attach    sender                                  receiver
//!   L1        Line::ping   <───── a raw line ─────>   Line::echo
//!   work      pool ──copy──> ring under test ──────>  check: sequence of each record, XOR of every word
//!   L1        Line::ping   <──────────────────────>   Line::echo
//!   compare   count and XOR of what was sent   ==     count and XOR of what was seen, else the cell is an ERROR
//! ```
//!
//! (I1) both sides are attached before the first bracket ends, so nothing is sent before somebody listens;
//! (I2) a record is written in full, from private memory, and read in full; (I3) the window is told in band: every record
//! carries its phase, and the side that receives takes the time.

pub mod blocked;
pub mod stream;
pub mod trips;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, monotonic_ns};
use crate::floor::{Alarm, Brackets, Line};
use crate::process::{Padded, Plain, Shared, Zeroed, pair};
use blocked::{Idle, Wakes};
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
    /// The producer's and the consumer's processor.
    pub cpus: [usize; 2],
    /// For [`crate::clock::ticks`].
    pub clock: Clock,
    /// Not measured.
    pub warm_up: Duration,
    /// Measured.
    pub window: Duration,
    /// Bare wake-ups, and as many of the contestant, alternating.
    pub n_wakes: u32,
    /// How long a consumer is left blocked for its CPU time.
    pub idle: Duration,
    /// After this, a repetition is killed.
    pub timeout: Duration,
}

impl Plan {
    /// Runs both sides in processes of their own and joins what they bring home.
    fn run(
        &self,
        producer: impl FnOnce() -> Side,
        consumer: impl FnOnce() -> Side,
    ) -> Result<Repetition, String> {
        let timeout = self.timeout + self.idle;
        let [producer, consumer] = pair(self.cpus, timeout, || watched(producer), || watched(consumer))?;
        Ok(Repetition {
            brackets: producer.brackets.ok_or("the producer took no brackets")?,
            figures: producer.figures.or(consumer.figures).ok_or("nobody measured anything")?,
            queued_part: producer.queued_part.max(consumer.queued_part),
        })
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
fn queued_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What one side brings home.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    brackets: Option<Brackets>,
    figures: Option<Figures>,
    queued_part: f64,
}

impl Side {
    fn with_brackets(before: Trips, after: Trips) -> Self {
        Self { brackets: Some(Brackets { before, after }), ..Self::default() }
    }

    fn with_figures(self, figures: Figures) -> Self {
        Self { figures: Some(figures), ..self }
    }
}

// SAFETY: numbers, and tags of enums that both sides compiled alike: a child is a fork of this very program.
unsafe impl Plain for Side {}

/// One repetition of one cell.
#[derive(Clone, Copy, Debug)]
pub struct Repetition {
    /// The floor right before and after.
    pub brackets: Brackets,
    /// What was measured.
    pub figures: Figures,
    /// Of its time, the part that a side waited for its processor because somebody else had it.
    pub queued_part: f64,
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
}

/// What both sides share besides the ring under test.
#[derive(Debug)]
#[repr(C)]
struct Desk {
    line: Line,
    alarm: Alarm,
    sent: Padded<[AtomicU64; 2]>,
}

// SAFETY: atomics; zero is valid.
unsafe impl Zeroed for Desk {}

impl Desk {
    fn new() -> Shared<Self> {
        Shared::new()
    }

    /// The producer's sums, for the consumer to compare; a bracket follows, which orders the two.
    fn leave(&self, sums: Sums) {
        // ORDER none (Relaxed): L1a and L1b of the second bracket carry them.
        self.sent.0[0].store(sums.n_records, Ordering::Relaxed);
        self.sent.0[1].store(sums.xor, Ordering::Relaxed);
    }

    /// What the producer left, after the second bracket.
    fn left(&self) -> Sums {
        // ORDER none (Relaxed): as above.
        Sums {
            n_records: self.sent.0[0].load(Ordering::Relaxed),
            xor: self.sent.0[1].load(Ordering::Relaxed),
        }
    }
}

/// Count of the records and XOR of all their words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many records.
    pub n_records: u64,
    /// XOR of every word of every record.
    pub xor: u64,
}

/// What a record says about the time it was sent in: the two highest bits of its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not measured.
    WarmUp = 0,
    /// Measured.
    Window = 1,
    /// The last record.
    End = 2,
}

const PHASE_SHIFT: u32 = 62;
const SEQUENCE_MASK: u64 = (1 << PHASE_SHIFT) - 1;

/// Private memory that records are sent from, in turn: 256 KiB of noise, with the first word of each record set ahead of
/// its time. (Set right before, a copy in wider words than ours would have to wait until that store has left the store
/// buffer, behind all stores to the ring: a stall that no ring is to blame for.)
///
/// ```text
///   word 0: phase (2 bits) | sequence (62 bits)      words 1..: noise, never zero
/// ```
#[derive(Debug)]
pub struct Pool {
    bytes: Vec<u8>,
    /// Where the first record starts: at a page, so that all contestants copy from equally aligned memory.
    base: usize,
    record_bytes: usize,
    n_records: usize,
    /// Number of the next record within the pool, and of the one to prepare, `n_ahead` records later.
    at: usize,
    ahead: usize,
    n_ahead: usize,
    next_word: u64,
    /// XOR of the first words sent.
    words_xor: u64,
}

const POOL_BYTES: usize = 256 << 10;
const PAGE_BYTES: usize = 4096;
/// So many records are prepared, or half of the pool.
const N_AHEAD: usize = 128;

impl Pool {
    /// A pool of records of `record_bytes`: a power of two from 16 B to 64 KiB. Equal for everybody.
    pub fn new(record_bytes: usize) -> Self {
        assert!(
            record_bytes.is_power_of_two() && (16..=POOL_BYTES / 4).contains(&record_bytes),
            "{record_bytes} B"
        );
        let mut bytes = vec![0; POOL_BYTES + PAGE_BYTES];
        let base = bytes.as_ptr().align_offset(PAGE_BYTES);
        // xorshift64: never zero, period 2^64 - 1.
        let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
        for word in bytes[base..base + POOL_BYTES].chunks_exact_mut(8) {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            word.copy_from_slice(&noise.to_ne_bytes());
        }
        let n_records = POOL_BYTES / record_bytes;
        let n_ahead = N_AHEAD.min(n_records / 2);
        let mut pool = Self {
            bytes,
            base,
            record_bytes,
            n_records,
            at: 0,
            ahead: n_ahead,
            n_ahead,
            next_word: 0,
            words_xor: 0,
        };
        pool.enter(Phase::WarmUp);
        pool
    }

    /// Gives this phase to the records from here on, those already prepared included.
    fn enter(&mut self, phase: Phase) {
        self.next_word = (self.next_word & SEQUENCE_MASK) | ((phase as u64) << PHASE_SHIFT);
        for n in 0..self.n_ahead {
            self.prepare((self.at + n) % self.n_records, self.next_word + n as u64);
        }
    }

    #[inline(always)]
    fn prepare(&mut self, number: usize, word: u64) {
        let from = self.base + number * self.record_bytes;
        self.bytes[from..from + 8].copy_from_slice(&word.to_ne_bytes());
    }

    #[inline(always)]
    fn after(&self, number: usize) -> usize {
        if number + 1 == self.n_records { 0 } else { number + 1 }
    }

    /// What was sent so far.
    fn sums(&self) -> Sums {
        let n_records = self.next_word & SEQUENCE_MASK;
        // Whole turns of the pool cancel out in pairs; the last turn is as far as `at`.
        let whole_turns = n_records / self.n_records as u64;
        let mut xor = self.words_xor;
        for (number, noise) in self.noise_xors().enumerate() {
            if (whole_turns % 2 == 1) != (number < self.at) {
                xor ^= noise;
            }
        }
        Sums { n_records, xor }
    }

    /// The XOR of words 1.. of each record of the pool.
    fn noise_xors(&self) -> impl Iterator<Item = u64> {
        let records = self.bytes[self.base..self.base + POOL_BYTES].chunks_exact(self.record_bytes);
        records.map(|record| xor_of(&record[8..]))
    }
}

impl Records for Pool {
    #[inline(always)]
    fn next_record(&mut self) -> &[u8] {
        self.prepare(self.ahead, self.next_word + self.n_ahead as u64);
        self.words_xor ^= self.next_word;
        self.next_word += 1;
        let from = self.base + self.at * self.record_bytes;
        (self.at, self.ahead) = (self.after(self.at), self.after(self.ahead));
        &self.bytes[from..from + self.record_bytes]
    }
}

/// XOR of the words of `bytes`.
#[inline(always)]
fn xor_of(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(8).fold(0, |xor, word| xor ^ word_of(word))
}

/// The first word of `bytes`.
#[inline(always)]
fn word_of(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// Reads every record in full and holds it against what must have been sent.
#[derive(Debug)]
pub struct Check {
    record_bytes: usize,
    /// The first word of the next record, if the phase does not change.
    next_word: u64,
    sums: Sums,
    n_lost: u64,
    /// For lossy readers, whose total can't be compared: the XOR of words 1.. of each record of the pool.
    noise: Option<Vec<u64>>,
}

impl Check {
    /// For records of a [`Pool`] of the same size.
    fn new(record_bytes: usize, lossy: bool) -> Self {
        let noise = lossy.then(|| Pool::new(record_bytes).noise_xors().collect());
        Self { record_bytes, next_word: 0, sums: Sums::default(), n_lost: 0, noise }
    }

    /// Takes one record; returns its phase when a phase begins.
    #[inline(always)]
    fn take(&mut self, record: &[u8]) -> Option<Phase> {
        assert_eq!(record.len(), self.record_bytes, "a record of another length");
        let word = word_of(record);
        let begins = if word == self.next_word { None } else { self.unexpected(word) };
        let xor = xor_of(record);
        if let Some(noise) = &self.noise {
            assert_eq!(
                xor ^ word,
                noise[number_in(noise.len(), word)],
                "a torn record at {}",
                word & SEQUENCE_MASK
            );
        }
        self.sums.xor ^= xor;
        self.sums.n_records += 1;
        self.next_word = word + 1;
        begins
    }

    /// A first word that differs: a new phase, a gap, or a mistake.
    #[cold]
    fn unexpected(&mut self, word: u64) -> Option<Phase> {
        let (found, expected) = (word & SEQUENCE_MASK, self.next_word & SEQUENCE_MASK);
        let lossless = self.noise.is_none();
        assert!(
            found == expected || !(lossless || found < expected),
            "record {found} where {expected} was expected"
        );
        self.n_lost += found - expected;
        let phase = match word >> PHASE_SHIFT {
            0 => Phase::WarmUp,
            1 => Phase::Window,
            2 => Phase::End,
            other => panic!("record {found} is of phase {other}"),
        };
        (phase as u64 != self.next_word >> PHASE_SHIFT).then_some(phase)
    }
}

/// Which record of a pool of `n_records` a first word belongs to.
#[inline(always)]
fn number_in(n_records: usize, word: u64) -> usize {
    usize::try_from((word & SEQUENCE_MASK) % n_records as u64).expect("below n_records")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a pool says it sent is what a check sees, whole turns and parts of a turn alike.
    #[test]
    fn a_check_sees_what_a_pool_sent() {
        for (record_bytes, n_records) in
            [(65536, 3), (65536, 4), (65536, 9), (4096, 64 * 3 + 5), (16, 16384 + 1)]
        {
            let (mut pool, mut check) = (Pool::new(record_bytes), Check::new(record_bytes, false));
            for _ in 0..n_records {
                assert_eq!(check.take(pool.next_record()), None);
            }
            assert_eq!(check.sums, pool.sums(), "{n_records} records of {record_bytes} B");
            pool.enter(Phase::End);
            assert_eq!(check.take(pool.next_record()), Some(Phase::End));
            assert_eq!(check.sums, pool.sums());
        }
    }

    /// A gap is an error, unless the reader may lose records: then it is counted.
    #[test]
    fn a_gap_is_an_error_or_counted() {
        let (mut pool, mut lossy) = (Pool::new(64), Check::new(64, true));
        lossy.take(pool.next_record());
        pool.next_record();
        lossy.take(pool.next_record());
        assert_eq!((lossy.sums.n_records, lossy.n_lost), (2, 1));
        let strict = std::panic::catch_unwind(move || Check::new(64, false).take(pool.next_record()));
        assert!(strict.is_err());
    }

    /// One wrong bit of a record shows in the sums, and at once where records are compared one by one.
    #[test]
    fn a_torn_record_shows() {
        let (mut pool, mut strict, mut lossy) = (Pool::new(64), Check::new(64, false), Check::new(64, true));
        let mut record = pool.next_record().to_vec();
        record[63] ^= 1;
        strict.take(&record);
        assert_ne!(strict.sums, pool.sums());
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lossy.take(&record)));
        assert!(seen.is_err());
    }
}
