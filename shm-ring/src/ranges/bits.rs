//! Bits: one bit per unit, in words that processes share.
//!
//! ```text
//!   Bits    word i:  units 64 i .. 64 i + 63, a bit each, the lowest first
//!   Marks   word i:  units 32 i .. 32 i + 31: bits 0..32 durable | bits 32..64 freed since a sync of the whole file began
//! ```
//!
//! (I1) whoever changes a unit's bit owns the unit, or is about to by this very change, and leaves the neighbours alone: so a word is changed
//! by a read-modify-write, or stored where all its units have one owner and nobody tries to take them; (I2) no loop goes round because of what others store;
//! (I3) a [`Run`] is checked against the table before any word is touched.
//! Knows no meaning of a bit: that is `allocator.rs`.

use crate::sync::{AtomicU64, Ordering};

/// Units of a word of [`Bits`].
const WORD_UNITS: u64 = 64;
/// Units of a word of [`Marks`].
const MARK_UNITS: u64 = 32;
/// The durable bits of a word of [`Marks`].
const MARKS: u64 = u32::MAX as u64;

/// Some units in a row; never none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first one.
    pub(crate) first: u64,
    /// How many.
    pub(crate) n: u64,
}

impl Run {
    /// Units from `first` up to `end`, if there are any.
    pub(crate) fn between(first: u64, end: u64) -> Option<Self> {
        (first < end).then(|| Self { first, n: end - first })
    }

    /// The unit behind the last one.
    pub(crate) fn end(self) -> u64 {
        self.first + self.n
    }

    /// The words of so many units that the run touches, and which bits of each.
    fn words(self, units: u64) -> impl Iterator<Item = (usize, u64)> {
        let (first, end) = (self.first, self.end());
        (first / units..(end - 1) / units + 1).map(move |index| {
            let from = first.max(index * units) - index * units;
            let to = end.min((index + 1) * units) - index * units;
            (to_index(index), ones(to - from) << from)
        })
    }
}

/// So many bits, at most 64.
fn ones(n: u64) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

fn to_index(index: u64) -> usize {
    usize::try_from(index).expect("64-bit only")
}

/// How many words of [`Bits`] so many units need.
pub(crate) const fn bits_words(n_units: u64) -> u64 {
    n_units.div_ceil(WORD_UNITS)
}

/// How many words of [`Marks`] so many units need.
pub(crate) const fn marks_words(n_units: u64) -> u64 {
    n_units.div_ceil(MARK_UNITS)
}

/// A bit for each unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bits<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Bits<'a> {
    /// Over a table of that many words.
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self { words }
    }

    /// Sets the bits of a run that the caller owns, in a table that only owners write; with them, everything that it did before is handed on.
    pub(crate) fn set(self, run: Run) {
        for (word, mask) in self.each(run) {
            // ORDER U3 (Release, pairs with U4), for both: the bytes of these units.
            if mask == u64::MAX {
                word.store(mask, Ordering::Release);
            } else {
                word.fetch_or(mask, Ordering::Release);
            }
        }
    }

    /// Clears them.
    pub(crate) fn clear(self, run: Run) {
        for (word, mask) in self.each(run) {
            // ORDER none (Relaxed): what follows in `Table::release` carries it.
            if mask == u64::MAX {
                word.store(0, Ordering::Relaxed);
            } else {
                word.fetch_and(!mask, Ordering::Relaxed);
            }
        }
    }

    /// Sets the bits of a run that the caller owns, and owns no more, in a table where everybody may [`claim`](Self::claim).
    pub(crate) fn give(self, run: Run) {
        for (word, mask) in self.each(run) {
            // ORDER U1 (Release, pairs with U2): what the caller did to these units is before the bits.
            word.fetch_or(mask, Ordering::Release);
        }
    }

    /// Clears the bits of a run that nobody owns, word by word, and so becomes its owner; `Err`: somebody was quicker, and what was taken
    /// until then is back. The unit where to look on.
    pub(crate) fn claim(self, run: Run) -> Result<(), u64> {
        for (index, mask) in run.words(WORD_UNITS) {
            let word = &self.words[index];
            // ORDER none (Relaxed): a look that spares a store; what counts is read below.
            let mut got = word.load(Ordering::Relaxed) & mask;
            if got == mask {
                // ORDER U2 (Acquire, pairs with U1): what the last owner did to these units is over.
                got = word.fetch_and(!mask, Ordering::Acquire) & mask;
                if got == mask {
                    continue;
                }
                // ORDER U1 (Release, pairs with U2): what was acquired with them is handed on.
                word.fetch_or(got, Ordering::Release);
            }
            let here = index as u64 * WORD_UNITS;
            if let Some(taken) = Run::between(run.first, here) {
                self.give(taken);
            }
            // The first bit of this word that was missed.
            return Err(here + u64::from((mask & !got).trailing_zeros()) + 1);
        }
        Ok(())
    }

    /// The first run of set bits in `from..to` that has at least so many units; at most so many of it. Others may take it meanwhile.
    pub(crate) fn find(self, from: u64, to: u64, least: u64, most: u64) -> Option<Run> {
        let mut run = Run { first: from, n: 0 };
        let mut at = from;
        while at < to {
            let mut room = (WORD_UNITS - at % WORD_UNITS).min(to - at);
            // ORDER none (Relaxed): a hint; `claim` decides.
            let mut bits = self.words[to_index(at / WORD_UNITS)].load(Ordering::Relaxed) >> (at % WORD_UNITS);
            if run.n == 0 {
                let skipped = u64::from(bits.trailing_zeros()).min(room);
                at += skipped;
                if skipped == room {
                    continue;
                }
                (room, bits) = (room - skipped, bits >> skipped);
                run.first = at;
            }
            let more = u64::from(bits.trailing_ones()).min(room);
            (run.n, at) = (run.n + more, at + more);
            if run.n >= most {
                return Some(Run { n: most, ..run });
            }
            if more < room {
                if run.n >= least {
                    return Some(run);
                }
                run.n = 0;
            }
        }
        (run.n > 0 && run.n >= least).then_some(run)
    }

    /// The first run in `from..to` whose bits are all set, or all clear, as long as it is; with everything that was handed on with set bits.
    pub(crate) fn next_run(self, from: u64, to: u64, set: bool) -> Option<Run> {
        let mut first = None;
        let mut at = from;
        while at < to {
            let room = (WORD_UNITS - at % WORD_UNITS).min(to - at);
            // ORDER U4 (Acquire, pairs with U3): the bytes of units that are found written.
            let word = self.words[to_index(at / WORD_UNITS)].load(Ordering::Acquire);
            let bits = (if set { word } else { !word }) >> (at % WORD_UNITS);
            let skipped = if first.is_some() { 0 } else { u64::from(bits.trailing_zeros()).min(room) };
            if skipped < room {
                let more = u64::from((bits >> skipped).trailing_ones()).min(room - skipped);
                let first = *first.get_or_insert(at + skipped);
                if skipped + more < room {
                    return Run::between(first, at + skipped + more);
                }
            }
            at += room;
        }
        first.and_then(|first| Run::between(first, to))
    }

    /// Whether every bit of the run is set; with everything that was handed on with them.
    pub(crate) fn all(self, run: Run) -> bool {
        // ORDER U4 (Acquire, pairs with U3): the bytes of these units.
        self.each(run).all(|(word, mask)| word.load(Ordering::Acquire) & mask == mask)
    }

    /// How many bits of units below `end` are set.
    pub(crate) fn count(self, end: u64) -> u64 {
        let Some(run) = Run::between(0, end) else { return 0 };
        // ORDER none (Relaxed): a number that is old when it is returned.
        self.each(run).map(|(word, mask)| u64::from((word.load(Ordering::Relaxed) & mask).count_ones())).sum()
    }

    /// How many set bits in a row end in front of `end`.
    pub(crate) fn trailing(self, end: u64) -> u64 {
        let mut at = end;
        while at > 0 {
            let index = (at - 1) / WORD_UNITS;
            let room = at - index * WORD_UNITS;
            // ORDER none (Relaxed): a hint; `claim` decides.
            let bits = self.words[to_index(index)].load(Ordering::Relaxed) << (WORD_UNITS - room);
            let more = u64::from(bits.leading_ones()).min(room);
            at -= more;
            if more < room {
                break;
            }
        }
        end - at
    }

    /// The units of word `index` of [`Marks`].
    fn half(self, index: usize) -> u64 {
        // ORDER U4 (Acquire, pairs with U3): the bytes of units that are found written.
        let word = self.words[index / 2].load(Ordering::Acquire);
        (word >> (index % 2 * 32)) & MARKS
    }

    /// Every word, by its number; for who is alone.
    pub(crate) fn words(self) -> &'a [AtomicU64] {
        self.words
    }

    fn each(self, run: Run) -> impl Iterator<Item = (&'a AtomicU64, u64)> {
        assert!(run.n > 0 && run.end() <= self.words.len() as u64 * WORD_UNITS);
        run.words(WORD_UNITS).map(move |(index, mask)| (&self.words[index], mask))
    }
}

/// A durable bit for each unit, and one that says that it was freed while the whole file was being synced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks<'a> {
    words: &'a [AtomicU64],
}

/// What [`Marks::retire`] took back: bits of words.
pub(crate) type Retired = Vec<(usize, u64)>;

impl<'a> Marks<'a> {
    /// Over a table of that many words.
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self { words }
    }

    /// Marks a run whose owner knows that it is on the medium.
    pub(crate) fn set(self, run: Run) {
        for (index, mask) in self.each(run) {
            // ORDER none (Relaxed): nothing is read behind it; the sync before it was a system call.
            self.words[index].fetch_or(mask, Ordering::Relaxed);
        }
    }

    /// Whether the whole run is marked.
    pub(crate) fn all(self, run: Run) -> bool {
        // ORDER none (Relaxed): nothing is read behind it.
        self.each(run).all(|(index, mask)| self.words[index].load(Ordering::Relaxed) & mask == mask)
    }

    /// Takes the marks of a run back whose owner has taken back that it is written, and tells who is syncing the whole file; which they were.
    pub(crate) fn retire(self, run: Run) -> Retired {
        let mut retired = vec![];
        for (index, mask) in self.each(run) {
            let word = &self.words[index];
            // ORDER U5 (Release, pairs with U6): written no more, before this is seen.
            word.fetch_or(mask << 32, Ordering::Release);
            // After it: a mark that comes in between is taken back here, and later there comes none.
            let marked = word.fetch_and(!mask, Ordering::Relaxed) & mask;
            if marked != 0 {
                retired.push((index, marked));
            }
        }
        retired
    }

    /// Puts back what [`Marks::retire`] took, because the medium could not be told.
    pub(crate) fn restore(self, retired: &Retired) {
        for (index, marked) in retired {
            // ORDER none (Relaxed): as in `set`.
            self.words[*index].fetch_or(*marked, Ordering::Relaxed);
        }
    }

    /// Begins to sync the units of a word, as the only one who syncs the whole file: those that are written and not marked.
    pub(crate) fn begin(self, index: usize, written: Bits<'_>) -> u64 {
        // ORDER U6 (Acquire, pairs with U5), for both: of a unit that was freed by now, it is seen that it is not written. A word in which
        // nothing is to be cleared is left alone, so that its page stays clean; what is freed later shows in `finish`, as it would.
        let mut marked = self.words[index].load(Ordering::Acquire);
        if marked & !MARKS != 0 {
            marked = self.words[index].fetch_and(MARKS, Ordering::Acquire);
        }
        written.half(index) & !marked
    }

    /// Marks those of them that were not freed meanwhile. False: the word never stood still.
    pub(crate) fn finish(self, index: usize, begun: u64) -> bool {
        let word = &self.words[index];
        // ORDER none (Relaxed), for all of it: what was freed shows here, in this word, and nothing else is decided.
        let mut seen = word.load(Ordering::Relaxed);
        for _ in 0..MARK_ATTEMPTS {
            let marked = seen | begun & !(seen >> 32);
            match word.compare_exchange(seen, marked, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Every word, by its number; for who is alone, or syncs.
    pub(crate) fn words(self) -> &'a [AtomicU64] {
        self.words
    }

    /// The marks of word `index`.
    pub(crate) fn marks(self, index: usize) -> u64 {
        // ORDER none (Relaxed): for who is alone, or shows them.
        self.words[index].load(Ordering::Relaxed) & MARKS
    }

    /// The marks of the units of word `index` of [`Bits`].
    pub(crate) fn bits(self, index: usize) -> u64 {
        let half = |index| if index < self.words.len() { self.marks(index) } else { 0 };
        half(index * 2) | half(index * 2 + 1) << 32
    }

    fn each(self, run: Run) -> impl Iterator<Item = (usize, u64)> {
        assert!(run.n > 0 && run.end() <= self.words.len() as u64 * MARK_UNITS);
        run.words(MARK_UNITS)
    }
}

/// The run of units that words `first..=last` of [`Marks`] stand for.
pub(crate) fn units_of_marks(first: usize, last: usize) -> Run {
    let n = (last - first) as u64 + 1;
    Run { first: first as u64 * MARK_UNITS, n: n * MARK_UNITS }
}

/// Each failed attempt is somebody else's success, of which a word has few at a time.
const MARK_ATTEMPTS: u32 = 10_000;
