//! Payload: what records hold, and what must come out at the other end.
//!
//! ```text
//!   byte 0              8                                                 16
//!        +--------------+----------+---------+--------------+-------------+------------------+
//!        | sent at (ns) | end :1   | mine :1 | producer :14 | sequence :48 | noise, never 0   |
//!        +--------------+----------+---------+--------------+-------------+------------------+
//!          0: not told    the last   measured
//! ```
//!
//! Records come from private memory, in turn, with their second word set ahead of its time: set right before, the copy into the ring would
//! wait until that store has left the store buffer, a stall that no ring is to blame for.
//!
//! (I1) every byte of a record is written by its producer and read by its consumer; (I2) both add up all words of all records, each from
//! its own memory, so that equal sums say that what was read is what was sent; (I3) a record in the wrong place ends the run at once.

use serde::{Deserialize, Serialize};

/// The shortest record.
pub(super) const HEAD_BYTES: usize = 16;

const END: u64 = 1 << 63;
const MEASURED: u64 = 1 << 62;
const PRODUCER_SHIFT: u32 = 48;
const PRODUCER_MASK: u64 = (1 << 14) - 1;
const SEQUENCE_MASK: u64 = (1 << PRODUCER_SHIFT) - 1;

/// Private memory that records are sent from: enough to look fresh, small enough for the cache.
const POOL_BYTES: usize = 256 << 10;
/// So many records are prepared ahead, or half of the pool.
const AHEAD_MAX: usize = 128;

/// How many records, and the sum of all their words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) records: u64,
    pub(super) sum: u64,
}

/// Where a producer's records come from.
#[derive(Debug)]
pub(super) struct Pool {
    bytes: Vec<u8>,
    size: usize,
    /// The sum of each record's noise.
    noise: Vec<u64>,
    /// Which record is next, and which is to be prepared.
    at: usize,
    prepared: usize,
    n_ahead: usize,
    /// The second word of the next record.
    next: u64,
    sums: Sums,
}

impl Pool {
    /// Records of `size` bytes of this producer.
    pub(super) fn new(size: usize, producer: u16) -> Self {
        let n = (POOL_BYTES / size).clamp(4, 4096);
        let mut bytes = vec![0; n * size];
        // xorshift64: never zero, and different for each producer.
        let mut noise = 0x9E37_79B9_7F4A_7C15_u64 ^ u64::from(producer);
        for word in bytes.chunks_mut(8) {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            word.copy_from_slice(&noise.to_le_bytes()[..word.len()]);
        }
        let noise = bytes.chunks_exact(size).map(|record| sum_of(&record[HEAD_BYTES..])).collect();
        let n_ahead = AHEAD_MAX.min(n / 2);
        let next = u64::from(producer) << PRODUCER_SHIFT;
        let mut pool =
            Self { bytes, size, noise, at: 0, prepared: n_ahead, n_ahead, next, sums: Sums::default() };
        pool.prepare_all();
        pool
    }

    /// The next record, with the time at which it is sent; 0 tells none.
    #[inline(always)]
    pub(super) fn next(&mut self, sent_ns: u64) -> &[u8] {
        self.prepare(self.prepared, self.next + self.n_ahead as u64);
        let from = self.at * self.size;
        if sent_ns != 0 {
            self.bytes[from..from + 8].copy_from_slice(&sent_ns.to_le_bytes());
        }
        let sum = self.noise[self.at].wrapping_add(sent_ns).wrapping_add(self.next);
        self.sums = Sums { records: self.sums.records + 1, sum: self.sums.sum.wrapping_add(sum) };
        self.next += 1;
        (self.at, self.prepared) = (self.after(self.at), self.after(self.prepared));
        &self.bytes[from..from + self.size]
    }

    /// From here on, records are measured.
    pub(super) fn measure(&mut self) {
        self.next |= MEASURED;
        self.prepare_all();
    }

    /// The last record of all comes next, and is not measured.
    pub(super) fn end(&mut self) {
        self.next = self.next & !MEASURED | END;
        self.prepare_all();
    }

    /// What was sent so far.
    pub(super) fn sums(&self) -> Sums {
        self.sums
    }

    fn prepare_all(&mut self) {
        for n in 0..self.n_ahead {
            self.prepare((self.at + n) % self.noise.len(), self.next + n as u64);
        }
    }

    #[inline(always)]
    fn prepare(&mut self, number: usize, word: u64) {
        let head = &mut self.bytes[number * self.size..][..HEAD_BYTES];
        head[..8].fill(0);
        head[8..].copy_from_slice(&word.to_le_bytes());
    }

    #[inline(always)]
    fn after(&self, number: usize) -> usize {
        if number + 1 == self.noise.len() { 0 } else { number + 1 }
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// 0: not told.
    pub(super) sent_ns: u64,
    pub(super) is_measured: bool,
}

/// Reads every record in full, and holds it against what must have been sent.
#[derive(Debug)]
pub(super) struct Check {
    size: usize,
    /// Of each producer.
    sums: Vec<Sums>,
    ended: usize,
}

impl Check {
    /// For records of `size` bytes from so many producers.
    pub(super) fn new(size: usize, producers: u16) -> Self {
        Self { size, sums: vec![Sums::default(); producers.into()], ended: 0 }
    }

    /// Reads a record; what is wrong with it.
    #[inline(always)]
    pub(super) fn take(&mut self, record: &[u8]) -> Result<Head, String> {
        if record.len() != self.size {
            return Err(format!("a record of {} bytes came, expected {}", record.len(), self.size));
        }
        let (sent_ns, word) = (word_of(record), word_of(&record[8..]));
        let producer = word >> PRODUCER_SHIFT & PRODUCER_MASK;
        let sequence = word & SEQUENCE_MASK;
        let of = usize::try_from(producer).ok().and_then(|producer| self.sums.get_mut(producer));
        let Some(of) = of else {
            return Err(format!("a record of producer {producer} came, who does not exist"));
        };
        if sequence != of.records {
            let expected = of.records;
            return Err(format!("record {sequence} of producer {producer} came, expected {expected}"));
        }
        *of = Sums { records: sequence + 1, sum: of.sum.wrapping_add(sum_of(record)) };
        self.ended += usize::from(word & END != 0);
        Ok(Head { sent_ns, is_measured: word & MEASURED != 0 })
    }

    /// Whether the last record of every producer has come.
    #[inline(always)]
    pub(super) fn is_ended(&self) -> bool {
        self.ended == self.sums.len()
    }

    /// What came, by producer.
    pub(super) fn into_sums(self) -> Vec<Sums> {
        self.sums
    }
}

/// The sum of all words, the last one filled up with zeros.
#[inline(always)]
fn sum_of(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let mut last = [0; 8];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    words.fold(u64::from_le_bytes(last), |sum, word| sum.wrapping_add(word_of(word)))
}

/// The first word of `bytes`.
#[inline(always)]
fn word_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what a pool says it sent is what a check sees. Method: sizes with and without a rest, around several turns of the pool, with
    // and without times, through all phases.
    #[test]
    fn a_check_sees_what_a_pool_sent() {
        for size in [16, 17, 64, 100, 4096, 300_000] {
            let (mut pool, mut check) = (Pool::new(size, 1), Check::new(size, 2));
            let (mut other, n) = (Pool::new(size, 0), 2 * (POOL_BYTES / size).clamp(4, 4096) as u64 + 3);
            for i in 0..n {
                if i == 2 {
                    pool.measure();
                }
                let sent_ns = if i % 3 == 0 { 1000 + i } else { 0 };
                let head = check.take(pool.next(sent_ns)).unwrap();
                assert_eq!(head, Head { sent_ns, is_measured: i >= 2 }, "{size} bytes, record {i}");
            }
            pool.end();
            other.end();
            assert!(!check.take(pool.next(0)).unwrap().is_measured && !check.is_ended());
            check.take(other.next(0)).unwrap();
            assert!(check.is_ended());
            assert_eq!(check.into_sums(), [other.sums(), pool.sums()], "{size} bytes");
        }
    }

    // Goal: no record can be missing, doubled, of another length or somebody else's. Method: one of each.
    #[test]
    fn a_record_in_the_wrong_place_is_an_error() {
        let mut pool = Pool::new(64, 0);
        let (first, second) = (pool.next(0).to_vec(), pool.next(0).to_vec());
        let mut check = Check::new(64, 1);
        assert_eq!(check.take(&second).unwrap_err(), "record 1 of producer 0 came, expected 0");
        check.take(&first).unwrap();
        assert_eq!(check.take(&first).unwrap_err(), "record 0 of producer 0 came, expected 1");
        assert!(check.take(&second[..63]).unwrap_err().contains("63 bytes"));
        assert!(check.take(Pool::new(64, 5).next(0)).unwrap_err().contains("producer 5"));
    }

    // Goal: a damaged byte anywhere behind the head is noticed. Method: one bit of each byte.
    #[test]
    fn a_damaged_byte_shows_in_the_sums() {
        for at in HEAD_BYTES..67 {
            let (mut pool, mut check) = (Pool::new(67, 0), Check::new(67, 1));
            let mut record = pool.next(7).to_vec();
            record[at] ^= 1;
            check.take(&record).unwrap();
            assert_ne!(check.into_sums(), [pool.sums()], "byte {at}");
        }
    }
}
