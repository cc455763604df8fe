//! Cursor: a consumer's place in the ring, without the process around it.
//!
//! ```text
//!   published position        position            next
//!        v                       v                  v
//!   -----+-----------------------+------------------+-----------
//!        | released, not yet told | the frame in hand |  to come
//!        +-- told at the latest every capacity / 16 --+      by hand: told when the user says so
//! ```
//!
//! (I1) the published position never passes a frame that is in the user's hands; (I2) it is published at the latest every sixteenth of the
//! capacity, or by hand alone, and who sleeps until there is space is woken at the latest every fourth; (I3) after a corrupt header, or a
//! missing page, nothing more is read.
//! Waits for nothing, and knows no clock and no lock.

use super::join;
use super::loss::Ledger;
use super::wait::wake_sleepers;
use crate::error::PollError;
use crate::frame::table::Table;
use crate::layout::frame::{FRAME_ALIGN, IDLE, POSITION_END, State, is_boundary};
use crate::layout::slots::{ConsumerSlot, DURABLE, ProducerSlot};
use crate::map::region::View;
use crate::sync::{self, Ordering, Point, kill_point};

/// So many frames are skipped in one look before the tail, which is the producers' line, is asked whether there can be more.
pub(crate) const SKIPS_UNASKED: u64 = 64;

/// Positions are published so often.
fn sixteenth(table: &Table) -> u64 {
    table.frames.capacity_bytes() / 16
}

/// What is further below the tail than this is asked for ahead; nearer, lines are still their producer's.
const FAR_BEHIND_BYTES: u64 = 32 << 10;
/// So far ahead of its position a reader asks for lines.
const READ_AHEAD_BYTES: u64 = 2048;
/// At most so much is asked for at once: more would not stay in the caches until it is read.
const READ_AHEAD_MAX: u64 = 128 << 10;

/// An interval of bytes that never passes.
const BY_HAND: u64 = u64::MAX;

/// A place below the tail that is nobody's claim, and no frame.
pub(crate) const DESTROYED: &str = "no frame stands there, and nobody claims the place: it was overwritten";

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Cursor {
    table: Table,
    slot: View<ConsumerSlot>,
    /// The next frame to look at.
    position: u64,
    published: u64,
    /// Below it producers had been done for long at the last look at the tail.
    old_below: u64,
    /// Who slept when the position was published there was woken.
    woken: u64,
    /// All ones: what was handed out is released by hand.
    publish_every: u64,
    by_hand: bool,
    /// By hand also what is no record: it is somebody's to tell.
    holds_notices: bool,
    registered: bool,
    /// Older records are passed over until one is not; 0: none are.
    since_ns: u64,
    poisoned: Option<PollError>,
    pub(crate) ledger: Ledger,
    /// One of these is set, or it is by hand, or positions are about to end, so that a glance is not enough.
    is_special: bool,
}

/// A record that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Where.
    pub(crate) position: u64,
    /// Its first word.
    pub(crate) word: u64,
    /// Bytes to the next frame.
    pub(crate) span_bytes: u64,
}

impl Cursor {
    /// A cursor for a slot whose byte the caller holds; nowhere until it joins.
    pub(crate) fn new(table: Table, slot: View<ConsumerSlot>, registered: bool) -> Self {
        Self {
            slot,
            position: 0,
            published: 0,
            old_below: 0,
            woken: 0,
            publish_every: sixteenth(&table),
            by_hand: false,
            holds_notices: false,
            registered,
            since_ns: 0,
            poisoned: None,
            ledger: Ledger::default(),
            is_special: false,
            table,
        }
    }

    /// From now on only [`Cursor::publish_all`] releases what was handed out; what is skipped before that is nobody's.
    pub(crate) fn hold(&mut self) {
        (self.by_hand, self.is_special) = (true, true);
    }

    /// From now on only [`Cursor::publish_to`] releases anything, and what is skipped is noted in the [ledger](Self::ledger).
    pub(crate) fn hold_notices(&mut self) {
        self.hold();
        (self.holds_notices, self.publish_every) = (true, BY_HAND);
        self.ledger.keep_notices();
    }

    /// What all processes share.
    #[inline(always)]
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The slot that this cursor owns.
    #[inline(always)]
    pub(crate) fn slot(&self) -> &ConsumerSlot {
        &self.slot
    }

    /// The next frame to look at.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// From where on this cursor keeps producers out; all ones before it has joined.
    pub(crate) fn held(&self) -> u64 {
        // ORDER none (Relaxed): only this process writes it.
        self.slot.position.load(Ordering::Relaxed)
    }

    /// Why nothing more is read.
    #[inline(always)]
    pub(crate) fn poisoned(&self) -> Option<PollError> {
        self.poisoned
    }

    /// The record at the position, if there is nothing else to see to.
    #[inline(always)]
    pub(crate) fn glance(&self) -> Option<Found> {
        if self.is_special {
            return None;
        }
        let position = self.position;
        let (word, span_bytes) = self.table.frames.record(position)?;
        if position < self.old_below {
            // It finds its lines in a producer's outer caches or in none, and each costs it a wait: as long as that makes it slower than its
            // producers it stays behind.
            let ahead = position + READ_AHEAD_BYTES;
            let end = (ahead + span_bytes.min(READ_AHEAD_MAX)).min(self.old_below);
            self.table.frames.data().prefetch_for_read(ahead, end);
        }
        Some(Found { position, word, span_bytes })
    }

    /// Passes over everything before the first record of this time or later, also what is still to be committed.
    pub(crate) fn skip_until(&mut self, since_ns: u64) {
        self.since_ns = since_ns;
        self.is_special = since_ns != 0 || self.poisoned.is_some() || self.by_hand || self.is_near_the_end();
    }

    /// Whether a walk can leave the positions before it publishes, which is where this is asked again.
    fn is_near_the_end(&self) -> bool {
        self.position > POSITION_END - self.table.frames.capacity_bytes()
    }

    /// The record at the position, after skipping what is not one.
    #[inline(never)]
    pub(crate) fn look(&mut self) -> Result<Option<Found>, PollError> {
        if let Some(error) = self.poisoned {
            return Err(error);
        }
        // Seals are of one position, so one lap of frames is all that can stand there, unless more come meanwhile.
        let frames_max = self.table.frames.capacity_bytes() / FRAME_ALIGN + SKIPS_UNASKED;
        let mut tail = 0;
        for skipped in 0..frames_max {
            let record = self.table.frames.record(self.position);
            if let Some((word, span_bytes)) = record.filter(|_| self.position < POSITION_END) {
                if self.is_wanted() {
                    if self.by_hand {
                        self.publish_every = BY_HAND;
                    }
                    return Ok(Some(Found { position: self.position, word, span_bytes }));
                }
            }
            let sealed = match self.table.frames.checked(self.position) {
                Ok(Some(sealed)) => sealed,
                Ok(None) => return self.nothing(),
                Err(what) => {
                    self.check_truncated()?;
                    return Err(self.corrupt(what));
                }
            };
            if self.position >= POSITION_END {
                return Err(self.corrupt("a frame stands beyond the end of all positions"));
            }
            match sealed.head.state {
                // Older than wanted, or committed since the look above: that one again.
                State::Data | State::Inner if self.since_ns == 0 => continue,
                State::Data | State::Inner => {}
                State::Claimed => return self.nothing(),
                State::Pad => {}
                State::Gap => {
                    if let Some(gap) = self.table.frames.gap(self.position, sealed.head) {
                        self.ledger.gap_at(sealed.head.slot, self.position, gap);
                    }
                }
                State::Lost => {
                    sync::add_alone(&self.slot.lost_records, 1);
                    self.ledger.lost_at(sealed.head.slot, self.position, sealed.span_bytes);
                }
            }
            let next = self.position + sealed.span_bytes;
            if skipped >= SKIPS_UNASKED && next > tail {
                tail = self.table.tail();
                if next > tail {
                    return Err(self.corrupt("a frame ends beyond the tail"));
                }
            }
            self.advance(next);
        }
        Ok(None)
    }

    /// For a reader that waits behind a claim: whether a frame can still come here. Whoever claims a place says so first, and says nothing
    /// else before its frame is finished; so a place that is claimed by nobody, and not finished, was destroyed.
    #[cold]
    pub(crate) fn look_for_hole(&mut self) -> Result<(), PollError> {
        let position = self.position;
        // The tail, then intents, then the header: what is missed by one is seen by the next.
        if self.table.tail() <= position || cfg!(shm_ring_without_intents) {
            return Ok(());
        }
        // ORDER I2 (Acquire, pairs with I1): who is done with this place has finished its frame.
        let is_intended = |slot: &ProducerSlot| slot.intent.load(Ordering::Acquire) == position;
        if self.table.producers().iter().any(is_intended) || self.table.frames.sealed(position).is_some() {
            return Ok(());
        }
        self.check_truncated()?;
        Err(self.corrupt(DESTROYED))
    }

    /// Nothing stands here; or the page is gone, and with it the ring.
    #[inline(always)]
    fn nothing(&mut self) -> Result<Option<Found>, PollError> {
        self.check_truncated()?;
        Ok(None)
    }

    /// Whether the file still has all its pages; once and for all.
    #[inline(always)]
    pub(crate) fn check_truncated(&mut self) -> Result<(), PollError> {
        if self.table.frames.data().is_truncated() { Err(self.poison(PollError::Truncated)) } else { Ok(()) }
    }

    #[cold]
    fn corrupt(&mut self, what: &'static str) -> PollError {
        self.poison(PollError::Corrupt { position: self.position, what })
    }

    #[cold]
    fn poison(&mut self, error: PollError) -> PollError {
        (self.poisoned, self.is_special) = (Some(error), true);
        error
    }

    fn is_wanted(&mut self) -> bool {
        let metadata = self.table.frames.metadata(self.position).unwrap_or_default();
        let wanted = metadata.timestamp_ns >= self.since_ns;
        if wanted {
            self.skip_until(0);
        }
        wanted
    }

    /// Releases everything below `next`.
    #[inline(always)]
    pub(crate) fn advance(&mut self, next: u64) {
        self.position = next;
        kill_point(Point::ReleaseKept);
        if next - self.published >= self.publish_every {
            self.publish_part();
        }
    }

    /// Tells producers what was released, if there is anything to tell, and that is not the user's to do.
    #[inline(always)]
    pub(crate) fn publish_news(&mut self) {
        if self.publish_every != BY_HAND {
            self.publish_all();
        }
    }

    /// Tells producers that everything below the position was released, whoever has to say so.
    #[inline(always)]
    pub(crate) fn publish_all(&mut self) {
        if self.woken != self.position {
            self.publish();
        }
    }

    /// The regular way, of a reader that has much to read. Looks at the same time how far it is behind, and wakes sleepers a little later
    /// than it could: one that wakes for every sixteenth has hardly started when it sleeps again, and interrupts this processor for that.
    #[inline(never)]
    fn publish_part(&mut self) {
        self.tell();
        self.old_below = self.table.tail().saturating_sub(FAR_BEHIND_BYTES);
        if self.position - self.woken >= self.table.frames.capacity_bytes() / 4 {
            self.wake();
        }
    }

    #[inline(never)]
    fn publish(&mut self) {
        self.tell();
        self.wake();
    }

    /// Tells producers that everything below `position` was released, which is at most where this cursor is, and wakes them.
    pub(crate) fn publish_to(&mut self, position: u64) {
        if (self.published + 1..=self.position).contains(&position) {
            self.tell_of(position);
            self.wake();
        }
    }

    fn tell(&mut self) {
        self.tell_of(self.position);
    }

    fn tell_of(&mut self, position: u64) {
        self.told(position);
        self.is_special |= self.is_near_the_end();
        // ORDER P1 (Release, pairs with P2): the reads below it are over.
        self.slot.position.store(position, Ordering::Release);
        kill_point(Point::ReleasePublished);
    }

    /// Nothing that was handed out is below `position` and not released.
    fn told(&mut self, position: u64) {
        self.published = position;
        self.publish_every = if self.holds_notices { BY_HAND } else { sixteenth(&self.table) };
    }

    /// Goes to `wanted`, a frame boundary, or as soon behind it as is safe.
    pub(crate) fn join(&mut self, wanted: u64) {
        let position = self.going_back(wanted, |_| ());
        self.joined(position);
    }

    /// The same for a reader that wants what it has to pass over, and is told how much that was.
    pub(crate) fn join_counting(&mut self, wanted: u64) {
        let missed = &self.slot.missed_bytes;
        let position = self.going_back(wanted, |bytes| sync::add_alone(missed, bytes));
        self.joined(position);
    }

    fn going_back(&self, wanted: u64, passes: impl FnMut(u64)) -> u64 {
        let held = self.held();
        if held != IDLE && wanted < held {
            // Back, to where something may have been overwritten: who dies before that is known goes on here, above its position.
            // ORDER none (Relaxed): a reaper reads it when this process is dead.
            self.slot.resume.store(held, Ordering::Relaxed);
        }
        join::join(&self.table, &self.slot, wanted, passes)
    }

    fn joined(&mut self, position: u64) {
        self.position = position;
        self.slot.resume.store(self.position, Ordering::Relaxed);
        self.told(position);
        self.skip_until(0);
        if !is_boundary(self.position) {
            self.corrupt("no frame can stand where this reader is to begin");
        }
        // Whoever waited for the space in front of an older position may have it now.
        self.wake();
    }

    /// Stops reading: the name goes on here when it comes back, or where it was last told by hand.
    pub(crate) fn leave(&mut self) {
        if self.publish_every == BY_HAND {
            self.position = self.published;
        }
        let slot = &*self.slot;
        slot.resume.store(self.position, Ordering::Relaxed);
        kill_point(Point::LeaveResume);
        let durable = slot.flags.load(Ordering::Relaxed) & DURABLE != 0;
        // ORDER P1 (Release, pairs with P2): the reads are over, and `resume` is stored.
        slot.position.store(if durable { self.position } else { IDLE }, Ordering::Release);
        kill_point(Point::LeavePosition);
        slot.pid.store(0, Ordering::Relaxed);
    }

    /// Wakes whoever waits for what this cursor has released.
    pub(crate) fn wake(&mut self) {
        self.woken = self.published;
        sync::light(self.registered);
        wake_sleepers(&self.table.live.waits.0);
    }
}
