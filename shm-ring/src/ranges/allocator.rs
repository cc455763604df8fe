//! Allocator: who owns which units of a ranged file, what of it is written, and what is on the medium.
//!
//! ```text
//!   never handed out --bump--> taken --commit--> written --flush--> durable
//!                               ^  |                |                  |
//!                        claim  |  | give_back      +---- release -----+
//!                               |  v                         |
//!                              free  <-----------------------+
//! ```
//!
//! | state            | below `next` | F free | W written | D durable | who may touch its bytes |
//! |------------------|--------------|--------|-----------|-----------|-------------------------|
//! | never handed out | no           | 0      | 0         | 0         | nobody; they are zeros |
//! | taken            | yes          | 0      | 0         | 0         | the owner of its `Range`, or nobody if that one is dead |
//! | written          | yes          | 0      | 1         | 0         | everybody reads; the owner of its `Receipt` may release it |
//! | durable          | yes          | 0      | 1         | 1         | the same |
//! | free             | yes          | 1      | 0         | 0         | nobody |
//!
//! (I1) a unit's bits are changed by its owner only, but for a claim, which makes one; (I2) F = 1, or never handed out: D = 0, in memory
//! *and on the medium*; (I3) D = 1 on the medium: the unit's bytes there are those of its commit, and stay; (I4) `free_units` is never less
//! than the number of free bits, so a small one means that a search is in vain.
//!
//! # Orders
//!
//! Argued for processors that reorder what they can, such as ARM's.
//!
//! | label | store side | load side | what is carried |
//! |-------|------------|-----------|-----------------|
//! | U1/U2 | F set, Release (`Bits::give`; a claim that is taken back) | F cleared, Acquire (`Bits::claim`) | all accesses of the last owner; W, D cleared; `free_units` raised |
//! | U3/U4 | W set, Release (`Bits::set`) | W, Acquire (`Bits::{all, next_run}`, `Marks::begin`) | the bytes |
//! | U5/U6 | freed-since bit set, Release (`Marks::retire`) | that bit cleared, Acquire (`Marks::begin`) | W cleared: what was freed before a sync began is not taken for written |
//! | U7/U8 | `generation` raised, Release (`Table::release`) | `generation`, Acquire (`Table::begin_reading`) | W cleared |
//! | U9/U10 | fence Release behind a claim (`Table::reuse`) | fence Acquire, then `generation` (`Table::end_reading`) | who saw a byte of a new owner sees that the old one released it |
//!
//! The compare-exchange of `next` is Relaxed: the units that it hands out had no owner, and their zeros were there before anybody mapped the
//! file. One word decides, so its modification order is all the order that is needed.
//!
//! # Death at any line
//!
//! What a process had stored when it was killed is there, and what it had not is not; its locks tell that it is dead, and carry what it did.
//! Who opens the file alone computes F from W for everything below `next`:
//!
//! - in `allocate`: between the bump, or the claim, and the return, units are taken and nobody has them: F = W = 0. They come back. The
//!   same in `fold`, and in a claim that is being taken back.
//! - in the user's hands: the same, whatever bytes were written.
//! - in `commit`: a word's bits are set one word after the other, each after all bytes of the range. Units that have their bit are written,
//!   and kept; the others come back. So a range that spans words may stay in part: who must know has the receipt, or asks what is missing.
//! - in `flush`: W alone, or W and D; the data was on the medium before D was set, and D is there when `make_fit` has synced the marks.
//! - in `release`: W is cleared word by word, and D behind it. Units that have lost both come back, the others stay written. D that was
//!   cleared in memory may still be set on the medium, and F is not set before it is not: here by a sync of the marks, or else by that of
//!   `make_fit`, which syncs them whenever something comes back (I2).
//! - in `give_back`: F for some words, F = W = 0 for others, which come back. `free_units` was raised before; nothing but time is lost.
//! - in `make_fit`: every word is computed from W, D and `next`, which it changes only upwards and to what the next one would; it is simply
//!   done again, as the boot id is stored behind it.
//!
//! # Failed syncs
//!
//! The kernel reports that it could not write a page once to each description of the file, to whichever sync comes first, and calls the
//! page clean. An opening has one description, so its syncs come one at a time, each looks first whether one has failed, and whoever fails
//! says so before the next: no sync succeeds for bytes of which another one was told that they are lost. A mark that is taken back for a
//! release needs no such look, as its page is made dirty again. A process that is killed between the kernel's report and its note leaves
//! none.
//!
//! # After a reboot
//!
//! Pages reached the medium in any order, or not at all, so that W, F and `next` say nothing; D does (I3). What is durable is written, `next`
//! covers it, and everything else below `next` is free. In the same boot, D is believed too, beside W, whose pages may be older under a
//! host that lives: those of a disk that went away and came back. A page that is torn between sectors has single bits of two times, each
//! of which was right.
//!
//! Works on words and runs of units; knows no file. The bytes are the caller's.

use super::bits::{Bits, Marks, Run, units_of_marks};
use super::unit::Unit;
use crate::sync::{AtomicU64, Ordering, fence};
use std::io;

/// The words of a ranged file that say what is whose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a> {
    /// Bytes below were handed out at least once; a multiple of the unit.
    pub(crate) next: &'a AtomicU64,
    /// How many units are free, or a few more.
    pub(crate) free_units: &'a AtomicU64,
    /// Grows whenever something written is freed.
    pub(crate) generation: &'a AtomicU64,
    /// 1 after a sync has failed, until the next boot.
    pub(crate) failed: &'a AtomicU64,
    /// F.
    pub(crate) free: Bits<'a>,
    /// W.
    pub(crate) written: Bits<'a>,
    /// D.
    pub(crate) durable: Marks<'a>,
    /// What a bit stands for.
    pub(crate) unit: Unit,
    /// How many there are.
    pub(crate) n_units: u64,
}

/// What brings pages to the medium.
pub(crate) trait Medium {
    /// Runs one sync at a time of all those whose failure the system reports to one of them only: what it could not write it calls clean
    /// from then on, so the others succeed. Whoever is next looks first whether one has failed.
    fn one_at_a_time<T>(&self, sync: impl FnOnce() -> T) -> T;
    /// The bytes of these units.
    fn sync_data(&self, run: Run) -> io::Result<()>;
    /// The durable marks of these units.
    fn sync_marks(&self, run: Run) -> io::Result<()>;
}

/// Why nothing was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No run is long enough.
    Full,
    /// `next` is where no sound process can have left it.
    Corrupt { next: u64 },
}

/// What a look at the part that was never handed out brought.
enum Bumped {
    Run(Run),
    /// Not enough is left beyond this unit.
    Short {
        used: u64,
    },
}

/// How often an allocation starts over because somebody else's was quicker.
const ATTEMPTS: u32 = 1000;
/// Words of marks that are synced in one go.
const SYNC_WORDS: usize = 1 << 17;

impl Table<'_> {
    /// Takes at least so many units in a row in front of `end`, and as many as there are up to `most`. `hint`: where this process found or
    /// freed some.
    #[inline]
    pub(crate) fn allocate(self, least: u64, most: u64, end: u64, hint: &AtomicU64) -> Result<Run, Refusal> {
        debug_assert!(0 < least && least <= most && end <= self.n_units);
        match self.bump(least, most, end)? {
            Bumped::Run(run) => Ok(run),
            Bumped::Short { used } => self.search(used, least, most, end, hint),
        }
    }

    /// Where the part that was never handed out, which begins with `used`, is too short.
    #[inline(never)]
    fn search(
        self,
        mut used: u64,
        least: u64,
        most: u64,
        end: u64,
        hint: &AtomicU64,
    ) -> Result<Run, Refusal> {
        for _ in 0..ATTEMPTS {
            if let Some(run) = self.reuse(used.min(end), least, most, hint) {
                return Ok(run);
            }
            if !self.fold(used, least, end, hint) {
                break;
            }
            used = match self.bump(least, most, end)? {
                Bumped::Run(run) => return Ok(run),
                Bumped::Short { used } => used,
            };
        }
        Err(Refusal::Full)
    }

    /// Units that were handed out at least once.
    #[inline]
    pub(crate) fn used(&self) -> Result<u64, Refusal> {
        // ORDER none (Relaxed): see the file's header.
        self.checked(self.next.load(Ordering::Relaxed))
    }

    /// Units that nobody has.
    pub(crate) fn remaining(&self) -> Result<u64, Refusal> {
        let used = self.used()?;
        // ORDER none (Relaxed): never less than there are.
        let none = self.free_units.load(Ordering::Relaxed) == 0;
        Ok(self.n_units - used + if none { 0 } else { self.free.count(used) })
    }

    #[inline]
    fn checked(&self, next: u64) -> Result<u64, Refusal> {
        let used = self.unit.floor(next);
        if self.unit.rest(next) != 0 || used > self.n_units {
            return Err(Refusal::Corrupt { next });
        }
        Ok(used)
    }

    #[inline]
    fn bump(&self, least: u64, most: u64, end: u64) -> Result<Bumped, Refusal> {
        let mut used = self.used()?;
        loop {
            let n = most.min(end.saturating_sub(used));
            if n < least {
                return Ok(Bumped::Short { used });
            }
            match self.move_next(used, used + n) {
                Ok(()) => return Ok(Bumped::Run(Run { first: used, n })),
                Err(now) => {
                    let (before, now_used) = (used, self.checked(now)?);
                    // It only grows, so this ends.
                    if now_used <= before {
                        return Err(Refusal::Corrupt { next: now });
                    }
                    used = now_used;
                }
            }
        }
    }

    #[inline]
    fn move_next(&self, from: u64, to: u64) -> Result<(), u64> {
        let [old, new] = [from, to].map(|unit| unit * self.unit.bytes());
        // ORDER none (Relaxed): see the file's header.
        self.next.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).map(drop)
    }

    fn reuse(&self, end: u64, least: u64, most: u64, hint: &AtomicU64) -> Option<Run> {
        // ORDER none (Relaxed), here and for the hint: never less than there are; where to begin.
        if self.free_units.load(Ordering::Relaxed) < least {
            return None;
        }
        let start = hint.load(Ordering::Relaxed).min(end);
        for from in [start, 0] {
            let mut at = from;
            while let Some(run) = self.free.find(at, end, least, most) {
                match self.free.claim(run) {
                    Ok(()) => {
                        // ORDER U9 (Release fence, pairs with U10): the generation, which came with the free bits, before any new byte.
                        fence(Ordering::Release);
                        self.free_units.fetch_add(run.n.wrapping_neg(), Ordering::Relaxed);
                        hint.store(run.end(), Ordering::Relaxed);
                        return Some(run);
                    }
                    Err(further) => at = further,
                }
            }
            if start == 0 {
                break;
            }
        }
        None
    }

    /// Where free units end at the part that was never handed out, and the two together would do: makes the latter free as well. Whether
    /// it is worth another attempt.
    fn fold(&self, used: u64, least: u64, end: u64, hint: &AtomicU64) -> bool {
        let Some(rest) = Run::between(used, self.n_units) else { return false };
        if self.free.trailing(used) + end.saturating_sub(used) < least {
            return false;
        }
        if self.move_next(used, self.n_units).is_ok() {
            self.give_back(rest, hint);
        }
        true
    }

    /// Frees a run that its owner has not committed.
    pub(crate) fn give_back(&self, run: Run, hint: &AtomicU64) {
        // ORDER none (Relaxed), for both: handed on by the bits below; where to begin.
        self.free_units.fetch_add(run.n, Ordering::Relaxed);
        if run.first < hint.load(Ordering::Relaxed) {
            hint.store(run.first, Ordering::Relaxed);
        }
        self.free.give(run);
    }

    /// Publishes a run whose bytes its owner has written.
    #[inline]
    pub(crate) fn commit(&self, run: Run) {
        self.written.set(run);
    }

    /// Frees a run that is written; on an error it is written still.
    pub(crate) fn release(&self, run: Run, medium: &impl Medium, hint: &AtomicU64) -> io::Result<()> {
        self.written.clear(run);
        // ORDER U7 (Release, pairs with U8): written no more, before this is seen.
        self.generation.fetch_add(1, Ordering::Release);
        let retired = self.durable.retire(run);
        if !retired.is_empty() {
            let synced = medium.one_at_a_time(|| {
                // Once more: the page is to be written now, whatever became of it in a sync that failed meanwhile.
                self.durable.retire(run);
                medium.sync_marks(run).inspect_err(|_| self.fail())
            });
            if let Err(error) = synced {
                self.durable.restore(&retired);
                self.written.set(run);
                return Err(error);
            }
        }
        self.give_back(run, hint);
        Ok(())
    }

    /// Brings a written run, whose receipt the caller has, to the medium.
    pub(crate) fn flush(&self, run: Run, medium: &impl Medium) -> io::Result<()> {
        self.attempt(medium, || {
            medium.sync_data(run)?;
            self.durable.set(run);
            medium.sync_marks(run)
        })
    }

    /// A sync, unless one has failed; if it fails itself, everybody hears of it before the next one begins.
    fn attempt(&self, medium: &impl Medium, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        medium.one_at_a_time(|| {
            self.refuse_failed()?;
            sync().inspect_err(|_| self.fail())
        })
    }

    /// Brings everything that is written by now to the medium. One process at a time, and one thread of it.
    pub(crate) fn sync_all(&self, medium: &impl Medium) -> io::Result<()> {
        self.refuse_failed()?;
        let n_words = self.durable.words().len();
        let mut first = 0;
        while first < n_words {
            let end = n_words.min(first + SYNC_WORDS);
            let begun: Vec<u64> = (first..end).map(|index| self.durable.begin(index, self.written)).collect();
            let is_some = |units: &u64| *units != 0;
            if let (Some(from), Some(to)) = (begun.iter().position(is_some), begun.iter().rposition(is_some))
            {
                let units = units_of_marks(first + from, first + to);
                let end = units.end().min(self.n_units);
                let units = Run { n: end - units.first, ..units };
                self.attempt(medium, || medium.sync_data(units))?;
            }
            for (index, begun) in (first..).zip(begun) {
                if begun != 0 && !self.durable.finish(index, begun) {
                    return Err(io::Error::other("the marks of what is durable never stand still"));
                }
            }
            first = end;
        }
        self.attempt(medium, || medium.sync_marks(Run { first: 0, n: self.n_units }))
    }

    fn refuse_failed(&self) -> io::Result<()> {
        // ORDER none (Relaxed): carries nothing.
        if self.failed.load(Ordering::Relaxed) != 0 {
            // What the kernel could not write it calls clean, and the next sync of it succeeds.
            return Err(io::Error::other(
                "an earlier sync of this file failed: what was not durable by then can't be made so any more; copy it to another file",
            ));
        }
        Ok(())
    }

    /// Notes that a sync has failed.
    pub(crate) fn fail(&self) {
        // ORDER none (Relaxed): carries nothing.
        self.failed.store(1, Ordering::Relaxed);
    }

    /// Before a copy of bytes that somebody may release: the generation, if all of them are written.
    pub(crate) fn begin_reading(&self, run: Run) -> Option<u64> {
        // ORDER U8 (Acquire, pairs with U7): of what was released by then, it is seen that it is not written.
        let generation = self.generation.load(Ordering::Acquire);
        self.written.all(run).then_some(generation)
    }

    /// The same after a reboot, when only what is marked durable counts.
    pub(crate) fn begin_reading_durable(&self, run: Run) -> Option<u64> {
        // ORDER U8 (Acquire, pairs with U7): as above; who makes the file fit, and then frees, raises it as well.
        let generation = self.generation.load(Ordering::Acquire);
        self.durable.all(run).then_some(generation)
    }

    /// After it: whether nothing was released meanwhile.
    pub(crate) fn end_reading(&self, generation: u64) -> bool {
        // ORDER U10 (Acquire fence, pairs with U9): if any byte was a new owner's, the generation is a newer one.
        fence(Ordering::Acquire);
        self.generation.load(Ordering::Relaxed) == generation
    }

    /// Makes the tables fit for use; alone, and nobody of this process has a range either. How many units came back.
    ///
    /// `Err` of the outer kind: they can't come from a sound process, and nothing was changed.
    pub(crate) fn make_fit(
        &self,
        rebooted: bool,
        medium: &impl Medium,
        hint: &AtomicU64,
    ) -> Result<io::Result<u64>, Refusal> {
        let used = self.used()?;
        // ORDER none (Relaxed), for all of it: nobody else is alive, and the lock that says so carries what they did.
        self.believe_the_marks(rebooted);
        if rebooted {
            self.failed.store(0, Ordering::Relaxed);
        }
        let used = used.max(self.last_written());
        // The pages of the marks may be called clean, and not be there.
        let is_doubtful = self.failed.load(Ordering::Relaxed) != 0;
        let (mut came_back, mut is_dirty) = (0, false);
        for index in 0..self.free.words().len() {
            let [written, free, valid] = self.word(index, used);
            let back = valid & !written & !free;
            came_back += u64::from(back.count_ones());
            for half in 0..2 {
                let Some(word) = self.durable.words().get(index * 2 + half) else { continue };
                let marks = self.durable.marks(index * 2 + half);
                // Who set them may have died before they were on the medium.
                is_dirty |= marks != 0;
                let kept = marks & (written >> (half * 32));
                if is_doubtful || kept != marks || (back >> (half * 32)) & u64::from(u32::MAX) != 0 {
                    // Even where it is the same: its page is to be written, whatever became of the last attempt.
                    word.store(kept, Ordering::Relaxed);
                    is_dirty = true;
                }
            }
        }
        if is_dirty {
            // (I2): no mark of what is free stays behind on the medium; and one that stays is there from now on.
            if let Err(error) = medium.sync_marks(Run { first: 0, n: self.n_units }) {
                self.fail();
                return Ok(Err(error));
            }
        }
        for index in 0..self.free.words().len() {
            let [written, _, valid] = self.word(index, used);
            self.written.words()[index].store(written, Ordering::Relaxed);
            self.free.words()[index].store(valid & !written, Ordering::Relaxed);
        }
        self.next.store(used * self.unit.bytes(), Ordering::Relaxed);
        self.free_units.store(self.free.count(used), Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Relaxed);
        hint.store(0, Ordering::Relaxed);
        Ok(Ok(came_back))
    }

    /// W and F of a word, without bits that stand for no unit; and which of its units lie below `used`.
    fn word(&self, index: usize, used: u64) -> [u64; 3] {
        let below = |end: u64| {
            let n = end.saturating_sub(index as u64 * 64).min(64);
            if n == 64 { u64::MAX } else { (1 << n) - 1 }
        };
        let load = |words: &[AtomicU64]| words[index].load(Ordering::Relaxed);
        [load(self.written.words()) & below(self.n_units), load(self.free.words()), below(used)]
    }

    /// What is durable is written. After a reboot that is all there is; in the same boot it holds all the same, as the pages of W may be
    /// older: those of a disk that went away and came back.
    fn believe_the_marks(&self, rebooted: bool) {
        for (index, word) in self.written.words().iter().enumerate() {
            let half = |half: usize| {
                let index = index * 2 + half;
                if index < self.durable.words().len() { self.durable.marks(index) } else { 0 }
            };
            // ORDER none (Relaxed), for both: alone.
            let kept = if rebooted { 0 } else { word.load(Ordering::Relaxed) };
            word.store(kept | half(0) | half(1) << 32, Ordering::Relaxed);
        }
    }

    /// The unit behind the last one that is written.
    fn last_written(&self) -> u64 {
        let words = self.written.words();
        let found = (0..words.len()).rev().find_map(|index| {
            let [written, ..] = self.word(index, 0);
            (written != 0).then(|| index as u64 * 64 + 64 - u64::from(written.leading_zeros()))
        });
        found.unwrap_or(0)
    }
}
