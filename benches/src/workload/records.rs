//! Records: what is sent, and how it is checked.
//!
//! A producer sends from a [`Pool`]; whoever receives holds every record against what must have been sent (`Take`): its length, its
//! place in its producer's order, and the XOR of all its words, of which both sides keep the sum.

use super::Records;

/// Count of the records and XOR of all their words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many records.
    pub n_records: u64,
    /// XOR of every word of every record.
    pub xor: u64,
}

impl Sums {
    /// One more record, with this XOR.
    #[inline(always)]
    pub(super) fn add(&mut self, xor: u64) {
        self.n_records += 1;
        self.xor ^= xor;
    }

    /// Several producers' sums.
    pub(super) fn and(self, other: Self) -> Self {
        Self { n_records: self.n_records + other.n_records, xor: self.xor ^ other.xor }
    }
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
const PRODUCER_SHIFT: u32 = 56;
const PRODUCER_MASK: u64 = (1 << (PHASE_SHIFT - PRODUCER_SHIFT)) - 1;
const SEQUENCE_MASK: u64 = (1 << PRODUCER_SHIFT) - 1;

/// Who sent a record with this first word.
#[inline(always)]
fn producer_of(word: u64) -> usize {
    usize::try_from((word >> PRODUCER_SHIFT) & PRODUCER_MASK).expect("6 bits")
}

/// Private memory that records are sent from, in turn: 256 KiB of noise, with the first word of each record set ahead of
/// its time. (Set right before, a copy in wider words than ours would have to wait until that store has left the store
/// buffer, behind all stores to the ring: a stall that no ring is to blame for.)
///
/// ```text
///   word 0: phase (2 bits) | producer (6 bits) | sequence (56 bits)      words 1..: noise, never zero
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
        Self::of(0, record_bytes)
    }

    /// The same for one of several producers.
    pub fn of(producer: usize, record_bytes: usize) -> Self {
        assert!(producer as u64 <= PRODUCER_MASK, "producer {producer}");
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
            next_word: (producer as u64) << PRODUCER_SHIFT,
            words_xor: 0,
        };
        pool.enter(Phase::WarmUp);
        pool
    }

    /// Gives this phase to the records from here on, those already prepared included.
    pub(super) fn enter(&mut self, phase: Phase) {
        let unphased = self.next_word & !(u64::MAX << PHASE_SHIFT);
        self.next_word = unphased | ((phase as u64) << PHASE_SHIFT);
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
    pub(super) fn sums(&self) -> Sums {
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
pub(super) fn xor_of(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(8).fold(0, |xor, word| xor ^ word_of(word))
}

/// The first word of `bytes`.
#[inline(always)]
pub(super) fn word_of(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// Reads every record in full and holds it against what must have been sent.
pub(super) trait Take {
    /// Takes one record; returns its phase when a phase of its producer begins.
    fn take(&mut self, record: &[u8]) -> Option<Phase>;

    /// What was seen so far, by producer.
    fn sums(&self) -> Vec<Sums>;

    /// How many records were seen so far.
    fn n_records(&self) -> u64;

    /// How many were missed so far.
    fn n_lost(&self) -> u64;
}

/// Checks the records of one producer.
#[derive(Debug)]
pub struct Check {
    record_bytes: usize,
    /// The first word of the next record, if the phase does not change.
    next_word: u64,
    pub(super) sums: Sums,
    pub(super) n_lost: u64,
    /// For lossy readers, whose total can't be compared: the XOR of words 1.. of each record of the pool.
    noise: Option<Vec<u64>>,
}

impl Check {
    /// For records of a [`Pool`] of the same size.
    pub(super) fn new(record_bytes: usize, lossy: bool) -> Self {
        Self::of(0, record_bytes, lossy)
    }

    /// For one of several producers.
    pub(super) fn of(producer: usize, record_bytes: usize, lossy: bool) -> Self {
        let noise = lossy.then(|| Pool::new(record_bytes).noise_xors().collect());
        let next_word = (producer as u64) << PRODUCER_SHIFT;
        Self { record_bytes, next_word, sums: Sums::default(), n_lost: 0, noise }
    }

    /// A first word that differs: a new phase, a gap, or a mistake.
    #[cold]
    fn unexpected(&mut self, word: u64) -> Option<Phase> {
        let (found, expected) = (word & SEQUENCE_MASK, self.next_word & SEQUENCE_MASK);
        assert_eq!(producer_of(word), producer_of(self.next_word), "record {found} is somebody else's");
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

impl Take for Check {
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
        self.sums.add(xor);
        self.next_word = word + 1;
        begins
    }

    fn sums(&self) -> Vec<Sums> {
        vec![self.sums]
    }

    #[inline(always)]
    fn n_records(&self) -> u64 {
        self.sums.n_records
    }

    fn n_lost(&self) -> u64 {
        self.n_lost
    }
}

/// Checks the records of several producers, each in its own order.
#[derive(Debug)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// For the pools of `n_producers`.
    pub(super) fn new(n_producers: usize, record_bytes: usize, lossy: bool) -> Self {
        Self((0..n_producers).map(|producer| Check::of(producer, record_bytes, lossy)).collect())
    }
}

impl Take for Checks {
    #[inline(always)]
    fn take(&mut self, record: &[u8]) -> Option<Phase> {
        assert!(record.len() >= 8, "a record of {} bytes", record.len());
        let producer = producer_of(word_of(record));
        let check = self.0.get_mut(producer);
        check.unwrap_or_else(|| panic!("a record of producer {producer}, who does not exist")).take(record)
    }

    fn sums(&self) -> Vec<Sums> {
        self.0.iter().map(|check| check.sums).collect()
    }

    #[inline(always)]
    fn n_records(&self) -> u64 {
        self.0.iter().map(|check| check.sums.n_records).sum()
    }

    fn n_lost(&self) -> u64 {
        self.0.iter().map(|check| check.n_lost).sum()
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

    /// Producers' records are told apart, and each one's gap is found among the others' records.
    #[test]
    fn several_producers_are_checked_one_by_one() {
        let mut pools = [Pool::of(0, 64), Pool::of(1, 64)];
        let mut checks = Checks::new(2, 64, false);
        for turn in [0, 1, 1, 0, 1] {
            assert_eq!(checks.take(pools[turn].next_record()), None);
        }
        pools[1].enter(Phase::Window);
        assert_eq!(checks.take(pools[1].next_record()), Some(Phase::Window));
        assert_eq!(checks.sums(), [pools[0].sums(), pools[1].sums()]);
        pools[1].next_record();
        checks.take(pools[0].next_record());
        let gap =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| checks.take(pools[1].next_record())));
        assert!(gap.is_err());
    }
}
