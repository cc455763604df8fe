//! Stage: the next records of a source, put in order.
//!
//! ```text
//!   feed --push--> | held back, in order: at most n_records | --> | heads: to be handed out | --step--> current
//!                    ^ a record that is out of order                                                      ^
//!                      goes where it belongs                      `gone` ---------------------------------+
//! ```
//!
//! | a record is older than one in front of it | by as many records in between as are held back | by more |
//! |------|------|------|
//! | `Error` | the source ends | the source ends |
//! | `Reorder` | it is put where it belongs | it is handed out where it is met, in front of what is held back |
//! | `Pass` | it is handed out where it stands | it is handed out where it stands |
//!
//! A source ends behind all that was in front of the record that ended it. Where a feed has nothing yet, nothing is held back: live records
//! don't wait for others that may never come. What was handed out too early by that is `gone`, and of it the times are known for as long
//! as it would have been held back: a record that is older than such a one is late, too, and handed out at once. What is older than the time
//! that was sought is passed over.
//!
//! (I1) a record that is staged in place is where its feed has its bytes, one that is staged as a copy in the stage's own; (I2) `gone` and
//! then `held` are in order, together not more than `n_records`, and not older than `floor_ns`; (I3) nothing but what is late or passed on
//! is older than what was handed out in front of it, and nothing at all than what was sought; (I4) whether a record is put right, late or
//! refused depends on the records in front of it, and on where there was nothing yet, and not on how many were staged at once.

use super::feed::Filled;
use super::source::{SourceError, Stamp};
use crate::map::prefetch;
use std::collections::VecDeque;

/// What becomes of records that are older than one in front of them in their source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// The source ends with [`SourceError::Disorder`].
    Error,
    /// They are put where they belong, if no more than so many records in front of them are later; others are late: they are handed out where
    /// they are met, and [counted](super::merge::MergeStats::n_late). Nothing is lost, and no source ends by it: a producer can be held up
    /// between its look at the clock and its commit for as long as its machine likes.
    ///
    /// So many records are read ahead of what is handed out, of each source. Of a source that grows, what is there is handed out when there
    /// is no more: what comes then and is older, but by no more records than that, is handed out at once, and the merge counts it as late.
    Reorder {
        /// Records that are held back.
        n_records: usize,
    },
    /// They are handed out where they stand.
    Pass,
}

impl Order {
    /// Records that are held back.
    pub(crate) fn n_held(self) -> usize {
        if let Self::Reorder { n_records } = self { n_records } else { 0 }
    }
}

/// A record on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Staged {
    pub(crate) stamp: Stamp,
    place: u64,
    pub(crate) len_bytes: u32,
    pub(crate) tags: Tags,
}

const _: () = assert!(size_of::<Staged>() == 32);

/// What a record of a ring or log says of itself besides its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tags {
    /// The slot of its producer; 0 without one.
    pub producer: u16,
    /// The user's.
    pub level: u8,
    /// The user's.
    pub kind: u8,
}

/// Where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where the feed knows; less than 2^63.
    There(u64),
    /// In the stage, from there on.
    Copied(usize),
}

impl Staged {
    const COPIED: u64 = 1 << 63;
    /// Has no bytes.
    const NONE: Self = Self {
        stamp: Stamp { timestamp_ns: 0, sequence: 0 },
        place: Self::COPIED,
        len_bytes: 0,
        tags: Tags { producer: 0, level: 0, kind: 0 },
    };

    #[inline(always)]
    pub(crate) fn place(&self) -> Place {
        if self.place & Self::COPIED == 0 {
            return Place::There(self.place);
        }
        Place::Copied(usize::try_from(self.place & !Self::COPIED).expect("an offset in memory"))
    }

    /// What its copy counts: one more than its length, so that an empty one counts, too.
    #[inline(always)]
    fn copied(&self) -> usize {
        if self.place & Self::COPIED == 0 { 0 } else { self.len_bytes as usize + 1 }
    }
}

/// The next records of one source.
///
/// What a step and a look at its record need lies together, and nothing else: of thousands of stages, that stays near the processor.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Stage {
    /// The record of the last step.
    current: Staged,
    heads: Vec<Staged>,
    /// The next one to be handed out.
    at: usize,
    copies: Vec<u8>,
    filling: Box<Filling>,
}

/// What filling needs.
#[derive(Debug)]
struct Filling {
    order: Order,
    /// Records that are held back.
    n_held: usize,
    held: VecDeque<Staged>,
    /// Times of records that were handed out although they should have been held back.
    gone: VecDeque<u64>,
    /// Copies that are held back are moved together into this, and then the two are exchanged.
    moved: Vec<u8>,
    /// Of what is held back, the bytes that are copies, and how many these are.
    held_copies: usize,
    /// The latest time so far; of nothing yet, the one that was sought.
    latest_ns: u64,
    /// The latest time of what is no longer held back.
    floor_ns: u64,
    /// What is older is passed over.
    since_ns: u64,
    /// Records that were pushed since the feed began.
    n_pushed: usize,
    /// Of these, how many will not be handed out.
    n_refused: usize,
    disorder: Option<(Stamp, u64)>,
    n_disordered: u64,
}

impl Stage {
    /// So many records are staged at once.
    pub(crate) const ROOM: usize = 32;
    /// Memory for copies that is kept without being used.
    const SPARE_BYTES: usize = 2 << 10;

    pub(crate) fn new(order: Order) -> Self {
        let filling = Filling {
            order,
            n_held: order.n_held(),
            held: VecDeque::new(),
            gone: VecDeque::new(),
            moved: vec![],
            held_copies: 0,
            latest_ns: 0,
            floor_ns: 0,
            since_ns: 0,
            n_pushed: 0,
            n_refused: 0,
            disorder: None,
            n_disordered: 0,
        };
        Self { current: Staged::NONE, heads: vec![], at: 0, copies: vec![], filling: Box::new(filling) }
    }

    /// The next record becomes the current one.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> Option<Stamp> {
        self.current = *self.heads.get(self.at)?;
        self.at += 1;
        Some(self.current.stamp)
    }

    /// The next step is about to be taken.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        if let Some(next) = self.heads.get(self.at) {
            prefetch::line_of(next);
        }
    }

    /// The record of the last step.
    #[inline(always)]
    pub(crate) fn current(&self) -> &Staged {
        &self.current
    }

    /// The bytes of a copy.
    #[inline(always)]
    pub(crate) fn copy(&self, at: usize, len_bytes: u32) -> &[u8] {
        &self.copies[at..at + len_bytes as usize]
    }

    /// Before the feed stages more: all that was to be handed out has been.
    ///
    /// # Errors
    ///
    /// [`SourceError::Disorder`]: nothing more will be staged, because the next record is not where it belongs.
    pub(crate) fn begin(&mut self) -> Result<(), SourceError> {
        debug_assert_eq!(self.at, self.heads.len());
        self.heads.clear();
        // Its bytes go, and whoever merges may look at where they are.
        self.current = Staged::NONE;
        (self.at, self.filling.n_pushed, self.filling.n_refused) = (0, 0, 0);
        self.forget_copies();
        match self.filling.disorder {
            None => Ok(()),
            Some((Stamp { timestamp_ns, sequence }, previous_ns)) => {
                Err(SourceError::Disorder { sequence, timestamp_ns, previous_ns })
            }
        }
    }

    /// How many more records can be staged.
    #[inline(always)]
    pub(crate) fn room(&self) -> usize {
        if self.filling.disorder.is_some() { 0 } else { Self::ROOM - self.filling.n_pushed }
    }

    /// Of the records that were pushed since the feed began, how many will be handed out, or have been.
    pub(crate) fn n_staged(&self) -> usize {
        self.filling.n_pushed - self.filling.n_refused
    }

    /// Stages a record that the feed has in place; nothing, once there was one that ends the source.
    #[inline]
    pub(crate) fn push(&mut self, stamp: Stamp, place: u64, len_bytes: u32, tags: Tags) {
        debug_assert!(place < Staged::COPIED);
        self.take(Staged { stamp, place, len_bytes, tags });
    }

    /// Stages a record with its bytes.
    #[inline]
    pub(crate) fn push_copy(&mut self, stamp: Stamp, payload: &[u8], tags: Tags) {
        let place = Staged::COPIED | self.copies.len() as u64;
        self.copies.extend_from_slice(payload);
        let len_bytes = u32::try_from(payload.len()).expect("a record has less than 2^32 bytes");
        self.take(Staged { stamp, place, len_bytes, tags });
    }

    /// Behind what the feed has staged. Where it has come to an end, or has nothing yet, nothing is held back; else there may be nothing to
    /// hand out as long as all is, and it is to be asked again.
    pub(crate) fn finish(&mut self, filled: Filled) {
        // Where disorder ends a source, nothing is ever held back.
        if filled == Filled::Some {
            return;
        }
        while let Some(first) = self.filling.held.pop_front() {
            self.filling.gone.push_back(first.stamp.timestamp_ns);
            self.heads.push(first);
        }
        self.filling.held_copies = 0;
    }

    /// Before the feed lets go of the bytes of what it has staged in place: copies those that have not been handed out.
    pub(crate) fn keep_copies<'a>(&mut self, mut bytes: impl FnMut(&Staged, u64) -> &'a [u8]) {
        for staged in self.heads[self.at..].iter_mut().chain(&mut self.filling.held) {
            let Place::There(place) = staged.place() else { continue };
            let payload = bytes(staged, place);
            staged.place = Staged::COPIED | self.copies.len() as u64;
            staged.len_bytes = u32::try_from(payload.len()).expect("a record has less than 2^32 bytes");
            self.copies.extend_from_slice(payload);
        }
        self.filling.held_copies = self.filling.held.iter().map(Staged::copied).sum();
    }

    /// What has not been handed out, in no order.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Staged> {
        self.heads[self.at..].iter().chain(&self.filling.held)
    }

    /// Before the feed goes to another place: nothing of what was staged is wanted any more, nor anything older than that.
    pub(crate) fn forget(&mut self, since_ns: u64) {
        self.heads.clear();
        self.current = Staged::NONE;
        self.filling.held.clear();
        self.filling.gone.clear();
        self.filling.held_copies = 0;
        (self.at, self.filling.n_pushed, self.filling.n_refused) = (0, 0, 0);
        (self.filling.since_ns, self.filling.latest_ns, self.filling.floor_ns) = (since_ns, since_ns, 0);
        self.filling.disorder = None;
        self.forget_copies();
    }

    /// Records that were older than one in front of them.
    pub(crate) fn n_disordered(&self) -> u64 {
        self.filling.n_disordered
    }

    /// Memory that is used for copies.
    #[cfg(test)]
    pub(crate) fn copies_bytes(&self) -> usize {
        self.copies.capacity() + self.filling.moved.capacity()
    }

    /// Puts a record where it belongs: behind all others, where it mostly does.
    #[inline(always)]
    fn take(&mut self, staged: Staged) {
        if self.filling.disorder.is_some() {
            return;
        }
        self.filling.n_pushed += 1;
        let timestamp_ns = staged.stamp.timestamp_ns;
        if timestamp_ns < self.filling.latest_ns {
            return self.take_disordered(staged);
        }
        self.filling.latest_ns = timestamp_ns;
        if self.filling.n_held == 0 {
            return self.heads.push(staged);
        }
        self.filling.held_copies += staged.copied();
        self.filling.held.push_back(staged);
        self.release();
    }

    #[cold]
    #[inline(never)]
    fn take_disordered(&mut self, staged: Staged) {
        let timestamp_ns = staged.stamp.timestamp_ns;
        if timestamp_ns < self.filling.since_ns {
            self.filling.n_refused += 1;
            if let Place::Copied(at) = staged.place() {
                self.copies.truncate(at);
            }
            return;
        }
        self.filling.n_disordered += 1;
        if self.filling.order == Order::Error {
            self.filling.n_refused += 1;
            self.filling.disorder = Some((staged.stamp, self.filling.latest_ns));
            return;
        }
        if self.filling.n_held == 0 || timestamp_ns < self.filling.floor_ns {
            return self.heads.push(staged);
        }
        if self.filling.gone.back().is_some_and(|&gone_ns| timestamp_ns < gone_ns) {
            let at = self.filling.gone.partition_point(|&gone_ns| gone_ns <= timestamp_ns);
            self.filling.gone.insert(at, timestamp_ns);
            self.heads.push(staged);
        } else {
            let at = self.filling.held.partition_point(|other| other.stamp.timestamp_ns <= timestamp_ns);
            self.filling.held_copies += staged.copied();
            self.filling.held.insert(at, staged);
        }
        self.release();
    }

    /// The first one is no longer held back if there is one too many.
    #[inline(always)]
    fn release(&mut self) {
        if self.filling.gone.len() + self.filling.held.len() <= self.filling.n_held {
            return;
        }
        if let Some(gone_ns) = self.filling.gone.pop_front() {
            self.filling.floor_ns = gone_ns;
        } else if let Some(first) = self.filling.held.pop_front() {
            self.filling.floor_ns = first.stamp.timestamp_ns;
            self.filling.held_copies -= first.copied();
            self.heads.push(first);
        }
    }

    /// Gives back the memory of copies that have been handed out, once it is more than that of the others.
    fn forget_copies(&mut self) {
        let used_bytes = self.copies.len();
        if self.filling.held_copies == 0 {
            self.copies.clear();
        } else if used_bytes > 2 * self.filling.held_copies + Self::SPARE_BYTES {
            self.filling.moved.clear();
            for staged in &mut self.filling.held {
                let Place::Copied(at) = staged.place() else { continue };
                staged.place = Staged::COPIED | self.filling.moved.len() as u64;
                self.filling.moved.extend_from_slice(&self.copies[at..at + staged.len_bytes as usize]);
            }
            std::mem::swap(&mut self.copies, &mut self.filling.moved);
        }
        for copies in [&mut self.copies, &mut self.filling.moved] {
            if copies.capacity() > Self::SPARE_BYTES.max(4 * used_bytes) {
                copies.shrink_to(2 * used_bytes);
            }
        }
    }
}
