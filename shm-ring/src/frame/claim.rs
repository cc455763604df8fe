//! Claim: how a producer takes space, alone or against others.
//!
//! ```text
//!              +-- lost the race, or the next claim --+
//!              v                                      |
//!   IDLE -> intent = p -> tail p -> p + span -> [CLAIMED] -> DATA | PAD
//!           nothing is owned yet  |  owned: only the owner or its reaper goes on
//! ```
//! A claim that the user writes is *marked* CLAIMED first, so that everybody knows whose it is. One that is copied at once is not: the
//! intent says enough for a reaper, and each store that is saved is room in the processor's store buffer, which is what limits a stream.
//! For the same reason the intent stays where it was after a commit: an intent at a finished frame holds nothing.
//!
//! The limit is `min(tail, consumers' positions, intents in flight) + capacity`. Loads go in this order: tail, high-water marks,
//! intents; `granted` is raised; SeqCst fence; consumers once more. Each was earned by a counterexample in the protocol's model.
//!
//! (I1) a claimer never writes at or above `limit`; (I2) one claim at a time; (I3) the intent is stored before the tail moves and
//! changed after the commit, so that at every instant the space belongs to a frame or to an intent.
//! Takes space and gives it away; touches no payload.

use super::table::Table;
use super::view::Gap;
use crate::error::ClaimError;
use crate::layout::frame::{
    GAP_BYTES, Head, IDLE, POSITION_END, SEQUENCE_MASK, State, is_boundary, is_claimable,
};
use crate::layout::slots::ProducerSlot;
use crate::map::region::{LINE_BYTES, View};
use crate::sync::{Ordering, Point, add_alone, fence, kill_point};

/// A claimer that loses more races in a row calls the ring full: its caller looks at the clock, and tries again.
const RACES_MAX: u32 = 1 << 20;
/// From here on a copy may go around the caches; glibc's own threshold is larger.
const LARGE_BYTES: u64 = 256 << 10;
/// So far ahead of a claim its producer asks for lines: about ten small records.
const FETCH_AHEAD_BYTES: u64 = 768;
/// Longer frames are written by `memcpy`, which asks for its own.
const FETCHED_SPAN_MAX: u64 = 512;

/// One producer's side of the protocol.
#[derive(Debug)]
pub(crate) struct Claimer {
    table: Table,
    slot: View<ProducerSlot>,
    index: u16,
    exclusive: bool,
    generation: u64,
    /// Exclusive: nobody else moves it.
    tail: u64,
    /// Nothing at or above it may be written.
    limit: u64,
    /// Lines below it were asked for.
    fetched: u64,
    /// The next record's.
    sequence: u64,
    /// What `intent_len` holds: stored again only when it changes.
    announced_bytes: u64,
    /// Without metadata nobody sees a sequence.
    counts: bool,
    /// The tail that no sound producer can have left: nothing more is claimed, and the limit stays 0.
    corrupt: Option<u64>,
}

impl Claimer {
    /// A claimer for a slot whose byte the caller holds and which was reaped.
    pub(crate) fn new(table: Table, slot: View<ProducerSlot>, index: u16, exclusive: bool) -> Self {
        // ORDER none (Relaxed): only the holder of the slot's byte writes it.
        let generation = slot.generation.load(Ordering::Relaxed);
        let sequence = slot.sequence.load(Ordering::Relaxed);
        // A forged one is told by the first refresh; until then no sum with it may overflow.
        let tail = Some(table.tail()).filter(|tail| is_boundary(*tail)).unwrap_or(POSITION_END);
        let announced_bytes = slot.intent_len.load(Ordering::Relaxed);
        let counts = table.frames.metadata_bytes() != 0;
        Self {
            table,
            slot,
            index,
            exclusive,
            generation,
            tail,
            limit: 0,
            fetched: 0,
            sequence,
            announced_bytes,
            counts,
            corrupt: None,
        }
    }

    /// The slot that this claimer owns.
    #[inline(always)]
    pub(crate) fn slot(&self) -> &ProducerSlot {
        &self.slot
    }

    /// Its number.
    #[inline(always)]
    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// What all processes share.
    #[inline(always)]
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The next record's sequence.
    #[inline(always)]
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Takes `span_bytes`, a multiple of 16 and at most the longest frame, for up to `records`; the claim's position. `MARKED`: it may
    /// stay open for long, so its header says CLAIMED.
    #[inline(always)]
    pub(crate) fn try_claim<const MARKED: bool>(
        &mut self,
        span_bytes: u64,
        records: u64,
    ) -> Result<u64, ClaimError> {
        debug_assert!(span_bytes % 16 == 0 && span_bytes <= self.table.frames.span_max_bytes());
        let taken = match () {
            () if self.is_revoked() => Err(ClaimError::Revoked),
            () if self.exclusive => self.take_alone(span_bytes),
            () => self.take_shared(span_bytes),
        };
        // Afterwards: whatever a missing page made of it is no claim, and no other refusal either.
        if self.table.frames.data().was_hit() {
            return Err(ClaimError::Truncated);
        }
        let position = taken?;
        self.fetch_ahead(position, span_bytes);
        if self.counts {
            // Before the header: a death leaves a gap in the sequence, never a repeat.
            // ORDER none (Relaxed): carried by S1.
            self.slot.sequence.store(self.sequence.wrapping_add(records), Ordering::Relaxed);
            kill_point(Point::ClaimSequence);
        }
        if cfg!(target_arch = "x86_64") && span_bytes >= LARGE_BYTES {
            // A large `memcpy` uses non-temporal stores, which may pass the plain store of the tail.
            // ORDER L1 (SeqCst, pairs with L2): the tail before the payload.
            fence(Ordering::SeqCst);
        }
        // ORDER L1 (Release, pairs with L2): whoever reads a byte that is written from here on sees the tail above it.
        fence(Ordering::Release);
        if MARKED {
            self.table.frames.open(position, self.index, span_bytes);
        }
        Ok(position)
    }

    /// Asks for lines that this producer will write soon, if the frame at `position` is a small one. Readers of the last lap still have them,
    /// and stores leave the processor in order: without this each line costs a transfer while all stores behind it wait, and a shared
    /// claim's locked instruction with them. Nothing above the limit is asked for: readers are at it.
    #[inline(always)]
    pub(crate) fn fetch_ahead(&mut self, position: u64, span_bytes: u64) {
        if span_bytes > FETCHED_SPAN_MAX {
            return;
        }
        let end = (position + FETCH_AHEAD_BYTES + span_bytes).min(self.limit) & !(LINE_BYTES - 1);
        let mut line = self.fetched.max((position + FETCH_AHEAD_BYTES) & !(LINE_BYTES - 1));
        while line < end {
            self.table.frames.data().prefetch_for_write(line);
            line += LINE_BYTES;
        }
        self.fetched = line;
    }

    /// Whether the slot was given to another.
    #[inline(always)]
    pub(crate) fn is_revoked(&self) -> bool {
        // ORDER none (Relaxed): a reaper writes it, which can't happen while this process holds the slot's byte.
        self.slot.generation.load(Ordering::Relaxed) != self.generation
    }

    #[inline(always)]
    fn take_alone(&mut self, span_bytes: u64) -> Result<u64, ClaimError> {
        let position = self.tail;
        if position + span_bytes > self.limit {
            self.refresh(span_bytes)?;
        }
        self.announce(position, span_bytes);
        self.tail = position + span_bytes;
        // ORDER T1 (Release, pairs with T2): the intent is visible to whoever sees the tail above it.
        self.table.live.tail.0.store(self.tail, Ordering::Release);
        kill_point(Point::ClaimTail);
        Ok(position)
    }

    #[inline(always)]
    fn take_shared(&mut self, span_bytes: u64) -> Result<u64, ClaimError> {
        let mut position = self.table.tail();
        for _ in 0..RACES_MAX {
            if !is_claimable(position) || position + span_bytes > self.limit {
                // Others move the tail meanwhile: look at it again, for the claim goes there.
                position = self.refresh(span_bytes)?;
            }
            self.announce(position, span_bytes);
            // ORDER T1 (AcqRel, pairs with T2): the intent is visible to whoever sees the new tail, and the earlier claimers' intents
            // are visible here. Failure (Acquire): the same for the tail that won.
            let moved = self.table.live.tail.0.compare_exchange(
                position,
                position + span_bytes,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match moved {
                Ok(_) => {
                    kill_point(Point::ClaimTail);
                    return Ok(position);
                }
                Err(newer) if newer < position => return Err(self.poison(newer)),
                Err(newer) => position = newer,
            }
        }
        Err(ClaimError::Full { needed_bytes: span_bytes, free_bytes: 0 })
    }

    #[inline(always)]
    fn announce(&mut self, position: u64, span_bytes: u64) {
        if cfg!(shm_ring_without_intents) {
            // To measure what the stores below cost: `benches/intents/run`.
            return;
        }
        if span_bytes != self.announced_bytes {
            self.announced_bytes = span_bytes;
            // While the old intent still stands: it is at a finished frame, or at another's, and its length means nothing.
            // ORDER none (Relaxed): carried by I1.
            self.slot.intent_len.store(span_bytes, Ordering::Relaxed);
            kill_point(Point::ClaimLength);
        }
        // ORDER I1 (Release, pairs with I2): the length, and that the claim before this one is finished.
        self.slot.intent.store(position, Ordering::Release);
        kill_point(Point::ClaimIntent);
    }

    /// Recomputes the limit; the tail it is good for, or why there is no space.
    #[cold]
    #[inline(never)]
    fn refresh(&mut self, span_bytes: u64) -> Result<u64, ClaimError> {
        // ORDER I1 (Release, pairs with I2): an intent that lost its race must not hold the others back while this one waits.
        self.slot.intent.store(IDLE, Ordering::Release);
        kill_point(Point::LimitIntent);
        if self.table.frames.data().is_truncated() {
            return Err(ClaimError::Truncated);
        }
        let capacity = self.table.frames.capacity_bytes();
        // The tail first: a slot that claims after this load claims at or above it.
        let tail = self.table.tail();
        if self.corrupt.is_some() || !is_boundary(tail) || (self.exclusive && tail != self.tail) {
            return Err(self.poison(tail));
        }
        if tail + span_bytes > POSITION_END {
            return Err(ClaimError::Exhausted);
        }
        let (floor, any_consumer) = self.consumers_floor(self.intents_floor(tail));
        let mut limit = floor + capacity;
        if !any_consumer {
            // In steps, so that history stays readable for whoever joins.
            limit = limit.min(tail + span_bytes.max(capacity / 8));
        }
        limit = limit.min(POSITION_END);
        // ORDER G1 (AcqRel and the fence, pairs with G2): a consumer that joins either sees this grant, or is seen by the second scan.
        // The read-modify-write counts also when the word was high enough already.
        self.table.live.grants.0.granted.fetch_max(limit, Ordering::AcqRel);
        kill_point(Point::LimitGranted);
        // ORDER G1 (SeqCst, pairs with G2): `granted` before this, the consumers' positions after it.
        fence(Ordering::SeqCst);
        let (floor, _) = self.consumers_floor(IDLE);
        self.limit = self.limit.max(limit.min(floor.saturating_add(capacity)));
        kill_point(Point::LimitChecked);
        if tail + span_bytes > self.limit {
            let free_bytes = self.limit.saturating_sub(tail);
            return Err(ClaimError::Full { needed_bytes: span_bytes, free_bytes });
        }
        Ok(tail)
    }

    /// This tail can't be: nothing more is claimed.
    #[cold]
    fn poison(&mut self, tail: u64) -> ClaimError {
        // Every claim comes by `refresh` from now on.
        self.limit = 0;
        ClaimError::Corrupt { tail: *self.corrupt.get_or_insert(tail) }
    }

    fn consumers_floor(&self, mut floor: u64) -> (u64, bool) {
        let mut any = false;
        for consumer in self.table.consumers() {
            // ORDER P2 (Acquire, pairs with P1): its reads below this position are over.
            let position = consumer.position.load(Ordering::Acquire);
            if position != IDLE {
                any = true;
                floor = floor.min(position);
            }
        }
        (floor, any)
    }

    fn intents_floor(&self, tail: u64) -> u64 {
        let mut floor = tail;
        for (other, slot) in self.table.producers().iter().enumerate() {
            if other == usize::from(self.index) {
                continue;
            }
            // ORDER I2 (Acquire, pairs with I1): a claim that its owner is done with is done for us too.
            let intent = slot.intent.load(Ordering::Acquire);
            if intent < floor && holds(&self.table, intent, other) {
                floor = intent;
            }
        }
        floor
    }

    /// Publishes a marked claim, whose first frame is `head`, as `records` of the `claimed` with `bytes` of payload.
    #[inline(always)]
    pub(crate) fn commit(&mut self, position: u64, head: Head, records: u64, claimed: u64, bytes: u64) {
        self.table.frames.commit(position, head);
        self.sequence = self.sequence.wrapping_add(records);
        if self.counts && records != claimed {
            // ORDER none (Relaxed): carried by the next claim's S1; what was not used was never seen.
            self.slot.sequence.store(self.sequence, Ordering::Relaxed);
        }
        self.count(records, bytes);
    }

    /// Publishes an unmarked claim as one record.
    #[inline(always)]
    pub(crate) fn publish(&mut self, position: u64, head: Head) {
        self.table.frames.publish(position, head);
        self.sequence = self.sequence.wrapping_add(1);
        self.count(1, u64::from(head.len_bytes));
    }

    /// Notes that so many records were dropped; they take sequences, so that readers see whose place is empty.
    pub(crate) fn count_dropped(&mut self, records: u64) {
        self.sequence = self.sequence.wrapping_add(records);
        if self.counts {
            // ORDER none (Relaxed), for both words: only the owner writes them.
            self.slot.sequence.store(self.sequence, Ordering::Relaxed);
        }
        add_alone(&self.slot.dropped, records);
    }

    /// What readers have not been told of, by this owner of the slot or an earlier one.
    pub(crate) fn untold(&self) -> Option<Gap> {
        // ORDER none (Relaxed): only the owner writes them.
        let dropped_in_all = self.slot.dropped.load(Ordering::Relaxed);
        let records = dropped_in_all.wrapping_sub(self.slot.told.load(Ordering::Relaxed));
        let first_sequence = self.sequence.wrapping_sub(records) & SEQUENCE_MASK;
        (records != 0).then_some(Gap { records, first_sequence, dropped_in_all })
    }

    /// Publishes an unmarked claim as the notice of it. Dying before it is noted, it is told twice, with the same number in all.
    pub(crate) fn tell(&mut self, position: u64, gap: Gap) {
        self.table.frames.write_gap(position, gap);
        #[expect(clippy::cast_possible_truncation, reason = "24")]
        let head = Head { len_bytes: GAP_BYTES as u32, state: State::Gap, slot: self.index };
        self.table.frames.publish(position, head);
        kill_point(Point::GapTold);
        // ORDER none (Relaxed): only the owner writes it.
        self.slot.told.store(gap.dropped_in_all, Ordering::Relaxed);
    }

    /// Gives a marked claim of `claimed` records up: readers skip it.
    pub(crate) fn abort(&mut self, position: u64, span_bytes: u64, claimed: u64) {
        kill_point(Point::Abort);
        let head = Head {
            len_bytes: crate::layout::frame::filler_len(span_bytes),
            state: State::Pad,
            slot: self.index,
        };
        self.commit(position, head, 0, claimed, 0);
    }

    /// Says that this slot has no claim, and will have none: for a producer that leaves.
    pub(crate) fn retire(&self) {
        // ORDER I1 (Release, pairs with I2): the last commit before the slot is idle.
        self.slot.intent.store(IDLE, Ordering::Release);
        kill_point(Point::LeaveIdle);
    }

    #[inline(always)]
    fn count(&self, records: u64, bytes: u64) {
        let slot = &*self.slot;
        // ORDER none (Relaxed), for both counters: only the owner writes them; others read them for display.
        add_alone(&slot.records, records);
        add_alone(&slot.bytes, bytes);
        kill_point(Point::CommitCounted);
    }
}

/// Whether the slot `index` may still have an unfinished frame at its intent.
pub(crate) fn holds(table: &Table, intent: u64, index: usize) -> bool {
    let is_open = match table.frames.sealed(intent) {
        // Somebody's frame stands there. Only while it is this slot's own, and open, is it unfinished.
        Some(head) => head.state == State::Claimed && usize::from(head.slot) == index,
        None => true,
    };
    // Or the place was granted again: a stale intent, of a race that was lost a lap ago, or of a frame that was finished then, whose header
    // is payload by now. Its seal may be left, for what a frame does not fill is not written.
    is_open && intent.saturating_add(table.frames.capacity_bytes()) >= table.granted()
}
