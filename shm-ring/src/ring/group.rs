//! Group: one named cursor shared by several processes, each record to one of them.
//!
//! ```text
//!   Ring::group("workers") -> Member     try_poll / poll / poll_timeout -> Delivery -> dropped: done
//!                                        a member dies with one in hand -> delivered again, to another
//! ```
//!
//! (I1) a [`Delivery`] borrows its member, so there is one at a time; (I2) a record is delivered once, or again after the death of a member
//! that had it; (I3) records are handed out in the ring's order, those of the dead as soon as their death is known; (I4) it works only on
//! the side of a fork where it was made.

use super::cursor::{DESTROYED, SKIPS_UNASKED};
use super::loss::{Ledger, Loss};
use super::names::{self, ConsumerOptions, Start};
use super::record::RecordInfo;
use super::share::{self, Record, Share};
use super::stall::{self, Stalled, Stuck};
use super::wait::{For, HeldUp, Next, Wait, Waiting, wake_sleepers};
use super::{Core, join, reap};
use crate::error::{Error, PollError};
use crate::frame::table::Table;
use crate::frame::view::Sealed;
use crate::layout::frame::{FRAME_ALIGN, IDLE, Position, State};
use crate::layout::slots::{ConsumerSlot, DURABLE, GROUP, consumer_byte};
use crate::map::file::io_error;
use crate::map::fork::Side;
use crate::map::lock::SlotLock;
use crate::map::region::View;
use crate::sync::{self, Ordering, Point, add_alone, kill_point};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A member that only looks, and never waits, looks for the dead at most this often.
const SWEEP_EVERY: Duration = Duration::from_millis(1);

/// A member of a group: gets records that no other member gets, in place.
///
/// The group's cursor holds producers back like any consumer's, and so does the record that each member works on. When a member dies, the
/// record that it had is delivered again to another: at least once. With the last member the group lets go of its space, unless it is
/// [durable](ConsumerOptions::durable); then it goes on where it stopped. One that is not goes on with the oldest record that was not done:
/// if the last member died with one in hand, what others had done behind it comes again, too, and is not marked.
///
/// # Examples
///
/// ```
/// # let ring = shm_ring::RingOptions::new().anonymous()?;
/// # let mut producer = ring.producer()?;
/// let (mut one, mut two) = (ring.group("workers")?, ring.group("workers")?);
/// producer.push(b"a")?;
/// producer.push(b"b")?;
/// let first = one.poll()?;
/// assert_eq!(&*first, b"a");
/// assert_eq!(&*two.poll()?, b"b");
/// assert!(two.try_poll()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Member {
    table: Table,
    share: Share,
    /// A dead member's slot, while this one works on its record.
    adopted: Option<Adopted>,
    /// The last look for a dead member's record was in vain: a sleep is due before the next.
    is_refused: bool,
    ledger: Ledger,
    poisoned: Option<PollError>,
    anonymous: bool,
    fruitless: u32,
    last_sweep: Option<Instant>,
    stuck: Stuck,
    registered: bool,
    wait: Wait,
    side: Side,
    generation: u64,
    index: u16,
    group: u16,
    name: String,
    core: Arc<Core>,
    lock: Option<SlotLock>,
}

#[derive(Debug)]
struct Adopted {
    slot: View<ConsumerSlot>,
    _lock: SlotLock,
}

/// A record in a member's hands. Dropped, it is done, and nobody gets it again.
#[derive(Debug)]
pub struct Delivery<'a> {
    member: &'a mut Member,
    taken: Taken,
}

#[derive(Debug)]
struct Taken {
    position: Position,
    sealed: Sealed,
    /// A dead member's record: a copy.
    rescued: Option<Record>,
}

impl Member {
    pub(crate) fn attach(
        core: &Arc<Core>,
        name: &str,
        options: ConsumerOptions,
        wait: Wait,
    ) -> Result<Self, Error> {
        let words = names::words_of(name)?;
        let shown = core.shown();
        let side = Side::current().map_err(io_error("examine the process of", &shown))?;
        let repair = core.repair()?;
        let table = core.table();
        // What dead members held waits for whoever comes, and their slots are free.
        reap::sweep_under(&table, repair.probe()).map_err(io_error("examine the locks of", &shown))?;
        names::check_group(&table, name, words)?;
        let (index, lock) = names::take_member(core, &table, &repair, words)?;
        let slot = core.region.consumer(index);
        kill_point(Point::GroupMember);
        let (group, is_new) =
            names::take_group(core, &table, &repair, words).inspect_err(|_| share::free(&slot))?;
        let shared = core.region.consumer(group);
        // ORDER none (Relaxed): changed under byte 0; the positions carry it.
        slot.group.store(group.into(), Ordering::Relaxed);
        let this = Self {
            share: Share::new(core.region.consumer(group), core.region.consumer(index)),
            adopted: None,
            is_refused: false,
            ledger: Ledger::default(),
            poisoned: None,
            anonymous: core.is_anonymous(),
            fruitless: 0,
            last_sweep: None,
            stuck: Stuck::default(),
            registered: sync::register(),
            wait,
            side,
            generation: slot.generation.load(Ordering::Relaxed),
            index,
            group,
            name: name.to_owned(),
            core: Arc::clone(core),
            lock: Some(lock),
            table,
        };
        this.begin(is_new, options)?;
        if options.durable {
            // Only now: a position that its member had not finished to join at must not be held for ever.
            shared.flags.store(GROUP | DURABLE, Ordering::Relaxed);
        }
        Ok(this)
    }

    /// Gives the group its position, if it has none.
    fn begin(&self, is_new: bool, options: ConsumerOptions) -> Result<(), Error> {
        let (table, shared) = (&self.table, self.share.group());
        if shared.position.load(Ordering::Relaxed) != IDLE {
            return Ok(());
        }
        let resume = shared.resume.load(Ordering::Relaxed);
        if resume != IDLE {
            join::join(table, shared, resume.min(table.tail()), |bytes| {
                add_alone(&shared.missed_bytes, bytes)
            });
            kill_point(Point::GroupJoined);
            return Ok(());
        }
        let refused = |error: PollError| {
            if is_new {
                share::free(shared);
            }
            Error::Invalid {
                option: "start",
                expected: "a place that this ring has".into(),
                found: error.to_string(),
            }
        };
        let wanted = match options.start {
            Start::Now => table.tail(),
            Start::Oldest => join::oldest(table),
            Start::At(position) => join::start_at(table, position, IDLE).map_err(refused)?,
            Start::Since(_) if table.frames.metadata_bytes() == 0 => {
                return Err(refused(PollError::NoMetadata));
            }
            Start::Since(_) => join::oldest(table),
        };
        let is_at = matches!(options.start, Start::At(_));
        if let Start::At(position) = options.start {
            add_alone(&shared.missed_bytes, wanted.saturating_sub(position));
        }
        let joined = join::join(table, shared, wanted, |bytes| {
            if is_at {
                add_alone(&shared.missed_bytes, bytes);
            }
        });
        kill_point(Point::GroupJoined);
        if let Start::Since(timestamp_ns) = options.start {
            pass_older(table, shared, joined, timestamp_ns);
        }
        Ok(())
    }

    /// The next record that no other member has; waits for it.
    ///
    /// # Errors
    ///
    /// [`PollError::Closed`] when every producer of an anonymous ring is gone and no member has a record any more;
    /// [`PollError::Corrupt`] and [`PollError::Truncated`], once and for all; [`PollError::Forked`].
    pub fn poll(&mut self) -> Result<Delivery<'_>, PollError> {
        let taken = self.wait_for(None)?.expect("without a deadline a wait ends with a record");
        Ok(Delivery { member: self, taken })
    }

    /// The next record that no other member has, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Member::poll`].
    pub fn try_poll(&mut self) -> Result<Option<Delivery<'_>>, PollError> {
        self.check()?;
        let taken = match self.next()? {
            Some(taken) => Some(taken),
            None => self.look_after_nothing()?,
        };
        Ok(taken.map(|taken| Delivery { member: self, taken }))
    }

    /// The next record that no other member has; `None` when none came within `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Member::poll`].
    pub fn poll_timeout(&mut self, timeout: Duration) -> Result<Option<Delivery<'_>>, PollError> {
        let taken = self.wait_for(Instant::now().checked_add(timeout))?;
        Ok(taken.map(|taken| Delivery { member: self, taken }))
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The slot that this member owns.
    pub fn slot(&self) -> u16 {
        self.index
    }

    /// The next position that the group takes.
    pub fn position(&self) -> Position {
        self.share.position()
    }

    /// Bytes that were claimed by producers and not yet taken by the group, headers included; 0 on the wrong side of a fork.
    pub fn lag_bytes(&self) -> u64 {
        if !self.side.is_here() {
            return 0;
        }
        self.table.tail().saturating_sub(self.share.position())
    }

    /// Whose records the group did not get, as far as this member came by.
    pub fn lost(&self) -> Vec<Loss> {
        self.ledger.losses()
    }

    /// The living producer whose unfinished claim the group waits for, if it waits for one. Examines a lock: not for hot loops.
    pub fn stalled(&self) -> Option<Stalled> {
        if !self.side.is_here() {
            return None;
        }
        stall::stalled(&self.table, &self.core.locks, self.share.position(), &self.stuck)
    }

    fn check(&mut self) -> Result<(), PollError> {
        if !self.side.is_here() {
            return Err(PollError::Forked);
        }
        if self.is_revoked() {
            return Err(if self.is_truncated() { PollError::Truncated } else { PollError::Revoked });
        }
        // A delivery that was leaked.
        self.release();
        self.poisoned.map_or(Ok(()), Err)
    }

    #[inline]
    fn next(&mut self) -> Result<Option<Taken>, PollError> {
        // As in `Cursor::look`: one lap is all that can stand there, and what goes beyond the tail is forged.
        let frames_max = self.table.frames.capacity_bytes() / FRAME_ALIGN;
        for skipped in 0..frames_max {
            if self.share.has_orphans() {
                let adopted = self.adopt();
                if self.is_truncated() {
                    return Err(self.poison(PollError::Truncated));
                }
                if adopted.is_some() {
                    return Ok(adopted);
                }
            }
            let (position, sealed) = match self.share.take(&self.table) {
                Ok(Some(taken)) => taken,
                Ok(None) if !self.is_truncated() => return Ok(None),
                Ok(None) => return Err(self.poison(PollError::Truncated)),
                Err(_) if self.is_truncated() => return Err(self.poison(PollError::Truncated)),
                Err(error) => return Err(self.poison(error)),
            };
            match sealed.head.state {
                State::Data | State::Inner => return Ok(Some(Taken { position, sealed, rescued: None })),
                State::Gap => {
                    if let Some(gap) = self.table.frames.gap(position, sealed.head) {
                        self.ledger.gap(sealed.head.slot, gap);
                    }
                }
                State::Lost => {
                    // ORDER none (Relaxed): members count together; others only show it.
                    self.share.group().lost_records.fetch_add(1, Ordering::Relaxed);
                    self.ledger.lost(sealed.head.slot);
                }
                State::Pad | State::Claimed => {}
            }
            // Its space may be what a producer sleeps for.
            self.release();
            if skipped % SKIPS_UNASKED == SKIPS_UNASKED - 1
                && position + sealed.span_bytes > self.table.tail()
            {
                let what = "a frame ends beyond the tail";
                return Err(self.poison(PollError::Corrupt { position, what }));
            }
        }
        Ok(None)
    }

    fn is_revoked(&self) -> bool {
        // ORDER none (Relaxed): a reaper writes it, which can't happen while this process holds the slot's byte.
        self.share.slot().generation.load(Ordering::Relaxed) != self.generation
    }

    fn is_truncated(&self) -> bool {
        self.table.frames.data().is_truncated()
    }

    #[cold]
    fn poison(&mut self, error: PollError) -> PollError {
        self.poisoned = Some(error);
        error
    }

    /// Takes over what a dead member had.
    #[cold]
    fn adopt(&mut self) -> Option<Taken> {
        self.share.release();
        // Somebody attaches or repairs: a later look will do.
        self.is_refused = true;
        let repair = self.core.locks.try_repair().ok()??;
        let producers_max = self.core.header.geometry.shape.producers_max;
        let adopted = share::adopt(&self.table, self.group, std::process::id().into(), |index| {
            repair.take_slot(consumer_byte(producers_max, index)).ok().flatten()
        });
        // Still there: its byte could not be had.
        self.is_refused = self.share.has_orphans();
        let (index, lock, record) = adopted?;
        self.adopted = Some(Adopted { slot: self.core.region.consumer(index), _lock: lock });
        Some(Taken { position: record.position, sealed: record.sealed, rescued: Some(record) })
    }

    /// Ends what was delivered last.
    fn release(&mut self) {
        let mut released = self.share.release();
        if let Some(adopted) = self.adopted.take() {
            share::free(&adopted.slot);
            released = true;
        }
        if released {
            self.wake();
        }
    }

    fn wake(&self) {
        sync::light(self.registered);
        wake_sleepers(&self.table.live.waits.0);
    }

    fn look_after_nothing(&mut self) -> Result<Option<Taken>, PollError> {
        self.fruitless = self.fruitless.wrapping_add(1);
        let due =
            self.fruitless % 64 == 0 && self.last_sweep.is_none_or(|last| last.elapsed() >= SWEEP_EVERY);
        if due {
            self.last_sweep = Some(Instant::now());
            self.sweep();
            if let Some(taken) = self.next()? {
                return Ok(Some(taken));
            }
        }
        if self.anonymous && (due || self.table.may_be_left()) { self.closed_or_record() } else { Ok(None) }
    }

    fn sweep(&mut self) {
        self.stuck.note(self.share.position());
        self.core.measure();
        // A lock that can't be examined now is examined at the next look.
        let _ = reap::sweep(&self.table, &self.core.locks);
    }

    /// Whether another member works on something, or died doing so.
    fn others_work(&self) -> bool {
        // ORDER none (Relaxed): whether to look again soon.
        (0u16..)
            .zip(self.table.consumers())
            .filter(|(index, slot)| *index != self.index && share::is_member(slot, self.group.into()))
            .any(|(_, slot)| slot.position.load(Ordering::Relaxed) != IDLE)
    }

    /// In an anonymous ring: nothing, a record that came after all, or the end.
    fn closed_or_record(&mut self) -> Result<Option<Taken>, PollError> {
        let came = self.table.producers_ever();
        if !self.anonymous || !self.table.had_producers() || self.table.attached().next().is_some() {
            return Ok(None);
        }
        if let Some(taken) = self.next()? {
            return Ok(Some(taken));
        }
        // What another has in hand may come back. One that came while the producers left may have been passed over.
        if self.others_work() || self.share.has_orphans() || self.table.producers_ever() != came {
            return Ok(None);
        }
        Err(PollError::Closed)
    }

    fn wait_for(&mut self, deadline: Option<Instant>) -> Result<Option<Taken>, PollError> {
        self.check()?;
        if let Some(taken) = self.next()? {
            return Ok(Some(taken));
        }
        let live = self.core.region.live();
        let mut waiting = Waiting::new(&live.waits.0, For::Data, self.wait, deadline);
        loop {
            // Somebody's claim is in the way, or a record in hands that may be dead.
            let held_up = || match () {
                () if self.table.tail() > self.share.position() => HeldUp::Claim,
                () if self.others_work() => HeldUp::Work,
                () => HeldUp::No,
            };
            // An orphan that can't be had now does not keep it from sleeping: `held_up` sees that it is there.
            let has_orphans = || !self.is_refused && self.share.has_orphans();
            let look = || has_orphans() || self.table.frames.is_finished(self.share.position());
            let next = waiting.step(held_up, look);
            if let Some(taken) = self.next()? {
                return Ok(Some(taken));
            }
            match next {
                Next::Expired => return Ok(None),
                Next::Probe => {
                    if self.anonymous || self.table.tail() > self.share.position() || self.others_work() {
                        self.sweep();
                        if self.share.is_destroyed(&self.table) {
                            return Err(self.poison(PollError::Corrupt {
                                position: self.share.position(),
                                what: DESTROYED,
                            }));
                        }
                    } else {
                        self.core.measure();
                    }
                    if let Some(taken) = self.closed_or_record()? {
                        return Ok(Some(taken));
                    }
                }
                Next::Look => {}
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Poisoned, it leaves as others do; but not from a forked child, nor from a slot that is another's.
        if !self.side.is_here() || self.is_revoked() {
            return;
        }
        self.release();
        share::free(self.share.slot());
        drop(self.lock.take());
        // The last one takes the group's hold away. If somebody else is at it, whoever is held up by it will do it.
        let _ = reap::sweep(&self.table, &self.core.locks);
        self.wake();
    }
}

/// Moves a group that was just joined behind everything older.
fn pass_older(table: &Table, group: &ConsumerSlot, from: Position, timestamp_ns: u64) {
    let (mut position, tail) = (from, table.tail());
    while position < tail {
        match table.frames.checked(position) {
            Ok(Some(sealed)) if sealed.head.state != State::Claimed => {
                let is_record = matches!(sealed.head.state, State::Data | State::Inner);
                let metadata = table.frames.metadata(position).unwrap_or_default();
                if is_record && metadata.timestamp_ns >= timestamp_ns {
                    break;
                }
                position += sealed.span_bytes;
            }
            _ => break,
        }
    }
    // ORDER P1 (Release, pairs with P2): the reads below it are over.
    group.position.store(position, Ordering::Release);
}

impl Delivery<'_> {
    /// Where the record is.
    pub fn position(&self) -> Position {
        self.taken.position
    }

    /// Whether another member had it, and died before it was done; it may have been worked on already.
    pub fn is_redelivered(&self) -> bool {
        self.taken.rescued.is_some()
    }

    /// What it says about itself.
    pub fn info(&self) -> RecordInfo {
        let position = self.taken.position;
        let metadata = match &self.taken.rescued {
            Some(record) => record.metadata,
            None => self.member.table.frames.metadata(position),
        };
        RecordInfo::new(position, self.len(), self.taken.sealed.head.slot, metadata)
    }
}

impl Deref for Delivery<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        if let Some(record) = &self.taken.rescued {
            return &record.payload;
        }
        let frames = &self.member.table.frames;
        let len = self.taken.sealed.head.len_bytes as usize;
        // SAFETY:
        // - committed: `take` saw DATA or INNER behind a matching seal (R1), so the payload is complete and nobody writes it;
        // - held: the member's position is the record's until this is dropped, and the slice borrows it;
        // - bounded: `take` compared the span with the longest claim (trusts peers for the rest: crate docs, Trust).
        unsafe { frames.data().bytes(self.taken.position + frames.payload_offset(), len) }
    }
}

impl Drop for Delivery<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.member.side.is_here() {
            self.member.release();
        }
    }
}
