//! Consumer: a reliable, named reader that reads in place and holds back producers from what it has not released.
//!
//! ```text
//!   try_poll / poll / poll_timeout -> Frame -> dropped: released        drain = many of them
//! ```
//!
//! (I1) a [`Frame`] borrows the consumer, so there is one at a time; (I2) its position is published when a look finds nothing, before
//! sleeping, when the user says so, and as often as the [`Cursor`] wants; (I3) it works only on the side of a fork where it was made.

use super::cursor::{Cursor, Found};
use super::loss::{Loss, Notice};
use super::names::{ConsumerOptions, Start, take_slot, words_of};
use super::record::Frame;
use super::stall::{self, Stalled, Stuck};
use super::wait::{Edge, For, HeldUp, Next, Wait, Waiting};
use super::{Core, join, reap};
use crate::error::{Error, PollError};
use crate::layout::frame::{IDLE, Position};
use crate::layout::slots::{ConsumerSlot, DURABLE};
use crate::map::file::io_error;
use crate::map::fork::Side;
use crate::map::lock::SlotLock;
use crate::sync::{self, Ordering, Point, kill_point};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A consumer that only looks, and never waits, looks for the dead at most this often.
const SWEEP_EVERY: Duration = Duration::from_millis(1);

/// Reads every record, in order, in place. Owns a named slot; producers wait for the slowest consumer.
///
/// # Examples
///
/// ```
/// # let ring = shm_ring::RingOptions::new().anonymous()?;
/// # let mut producer = ring.producer()?;
/// # producer.push(b"a")?;
/// let mut consumer = ring.consumer("collector")?;
/// while let Some(frame) = consumer.try_poll()? {
///     println!("{} bytes at {}", frame.len(), frame.position());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Consumer {
    pub(crate) cursor: Cursor,
    edge: Edge,
    anonymous: bool,
    fruitless: u32,
    last_sweep: Option<Instant>,
    stuck: Stuck,
    wait: Wait,
    side: Side,
    generation: u64,
    index: u16,
    name: String,
    core: Arc<Core>,
    lock: Option<SlotLock>,
}

/// A ring, as its readers know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// Its name for ever.
    pub(crate) uuid: [u8; 16],
    /// Reboots that it survived; the same for as long as a consumer is attached.
    pub(crate) epoch: u64,
    /// The next position to claim, now.
    pub(crate) tail: u64,
    /// Bytes of data.
    pub(crate) capacity_bytes: u64,
    /// The longest payload.
    pub(crate) payload_max_bytes: u64,
}

impl Consumer {
    pub(crate) fn attach(
        core: &Arc<Core>,
        name: &str,
        options: ConsumerOptions,
        wait: Wait,
    ) -> Result<Self, Error> {
        let words = words_of(name)?;
        let shown = core.shown();
        let side = Side::current().map_err(io_error("examine the process of", &shown))?;
        let repair = core.repair()?;
        let table = core.table();
        let (index, lock, known) = take_slot(core, &table, &repair, name, words)?;
        let slot = core.region.consumer(index);
        reap::reap_consumer(&table, &slot);
        // ORDER none (Relaxed): changed under byte 0.
        slot.pid.store(std::process::id().into(), Ordering::Relaxed);
        if slot.position.load(Ordering::Relaxed) == IDLE || !options.durable {
            // Durable it is when it has joined: a position that it dies at before must not be held for ever.
            slot.flags.store(0, Ordering::Relaxed);
        }
        kill_point(Point::NameHigh);
        let mut this = Self {
            edge: Edge::new(),
            anonymous: core.is_anonymous(),
            fruitless: 0,
            last_sweep: None,
            stuck: Stuck::default(),
            wait,
            side,
            generation: slot.generation.load(Ordering::Relaxed),
            index,
            name: name.to_owned(),
            core: Arc::clone(core),
            lock: Some(lock),
            cursor: Cursor::new(table, slot, sync::register()),
        };
        let resume = this.cursor.slot().resume.load(Ordering::Relaxed);
        if known && resume != IDLE {
            this.cursor.join_counting(resume.min(this.cursor.table().tail()));
        } else {
            this.cursor.slot().missed_bytes.store(0, Ordering::Relaxed);
            this.cursor.slot().lost_records.store(0, Ordering::Relaxed);
            // What an earlier name may have left here means nothing to this one.
            this.cursor.slot().position.store(IDLE, Ordering::Relaxed);
            if let Err(refused) = this.start(options.start) {
                // The name never began: it is free again, and holds nothing.
                this.cursor.slot().name[0].store(0, Ordering::Relaxed);
                this.cursor.slot().flags.store(0, Ordering::Relaxed);
                return Err(Error::Invalid {
                    option: "start",
                    expected: "a place that this ring has".into(),
                    found: refused.to_string(),
                });
            }
        }
        if options.durable {
            this.cursor.slot().flags.store(DURABLE, Ordering::Relaxed);
        }
        if options.by_hand {
            this.cursor.hold();
        }
        Ok(this)
    }

    /// The next record, in place; waits for it.
    ///
    /// # Errors
    ///
    /// [`PollError::Closed`] at the end of an anonymous ring; [`PollError::Corrupt`] and [`PollError::Truncated`], once and for all;
    /// [`PollError::Forked`].
    #[inline(always)]
    pub fn poll(&mut self) -> Result<Frame<'_>, PollError> {
        let found = match self.glance() {
            Some(found) => found,
            None => self.wait_for_record(None)?.expect("without a deadline a wait ends with a record"),
        };
        Ok(self.hand_out(found))
    }

    /// The next record, if it is there.
    ///
    /// # Errors
    ///
    /// As [`Consumer::poll`].
    #[inline(always)]
    pub fn try_poll(&mut self) -> Result<Option<Frame<'_>>, PollError> {
        let found = match self.glance() {
            Some(found) => Some(found),
            None => self.look_once()?,
        };
        Ok(found.map(|found| self.hand_out(found)))
    }

    /// The next record; `None` when none came within `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Consumer::poll`].
    pub fn poll_timeout(&mut self, timeout: Duration) -> Result<Option<Frame<'_>>, PollError> {
        let found = match self.glance() {
            Some(found) => Some(found),
            None => self.wait_for_record(Instant::now().checked_add(timeout))?,
        };
        Ok(found.map(|found| self.hand_out(found)))
    }

    /// Hands out what is there, at most `max` records; how many there were. Returns at once.
    ///
    /// # Errors
    ///
    /// As [`Consumer::poll`]; what was handed out before the error is released.
    #[inline]
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(Frame<'_>)) -> Result<usize, PollError> {
        let mut n = 0;
        while n < max {
            let found = match self.glance() {
                Some(found) => found,
                None => match self.look_at_the_edge(n > 0)? {
                    Some(found) => found,
                    None => break,
                },
            };
            each(self.hand_out(found));
            n += 1;
        }
        Ok(n)
    }

    /// Tells producers now how far this consumer is, rather than at the latest every sixteenth of the capacity; the only way to tell them
    /// [by hand](ConsumerOptions::release_by_hand).
    pub fn release(&mut self) {
        if self.check().is_ok() {
            // What is no record goes with the one before it. What is wrong with the next one is the next call's to say.
            let _ = self.cursor.look();
            self.cursor.publish_all();
        }
    }

    /// Goes elsewhere. Going back is possible as far as the records are still there.
    ///
    /// # Errors
    ///
    /// [`PollError::NoSuchPosition`], [`PollError::NoMetadata`] for a time in a ring without metadata; the consumer stays where it is.
    pub fn seek(&mut self, start: Start) -> Result<(), PollError> {
        self.check()?;
        if let Some(error) = self.cursor.poisoned() {
            return Err(error);
        }
        let started = self.start(start);
        self.cursor.check_truncated()?;
        started
    }

    /// The next record's position, if there is one.
    pub fn position(&self) -> Position {
        self.cursor.position()
    }

    /// Bytes that were claimed by producers and not yet read here, headers included; 0 on the wrong side of a fork.
    pub fn lag_bytes(&self) -> u64 {
        if !self.side.is_here() {
            return 0;
        }
        self.cursor.table().tail().saturating_sub(self.cursor.position())
    }

    /// Bytes that this name could not read, because they were overwritten while it was away, or before it could join.
    /// A process that is killed while it joins may leave its last gap counted twice, never uncounted.
    pub fn missed_bytes(&self) -> u64 {
        self.counter(|slot| &slot.missed_bytes)
    }

    /// Claims of producers that died in the middle of one, which this name skipped.
    pub fn lost_records(&self) -> u64 {
        self.counter(|slot| &slot.lost_records)
    }

    /// Whose records this consumer did not get since it attached, and how many: what producers dropped, and what they had not committed
    /// when they died. What was overwritten while the name was away is in [`missed_bytes`](Self::missed_bytes), and nobody's.
    pub fn lost(&self) -> Vec<Loss> {
        self.cursor.ledger.losses()
    }

    /// The living producer whose unfinished claim this consumer waits for, if it waits for one. It may be stopped, or slow; nothing is
    /// taken from it. Examines a lock: not for hot loops.
    pub fn stalled(&self) -> Option<Stalled> {
        if !self.side.is_here() {
            return None;
        }
        stall::stalled(self.cursor.table(), &self.core.locks, self.cursor.position(), &self.stuck)
    }

    /// The name under which it attached.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The slot that it owns.
    pub fn slot(&self) -> u16 {
        self.index
    }

    /// Which ring this is, for who notes elsewhere how far it was read.
    pub(crate) fn origin(&self) -> Origin {
        let header = &self.core.header;
        let (table, epoch) = self.core.table_and_epoch();
        Origin {
            uuid: header.uuid,
            epoch,
            tail: table.tail(),
            capacity_bytes: header.geometry.shape.capacity_bytes,
            payload_max_bytes: header.geometry.payload_max_bytes(),
        }
    }

    /// From now on only [`release_to`](Self::release_to) releases anything, and every loss is noted until it is [taken](Self::take_notice).
    pub(crate) fn hold_notices(&mut self) {
        self.cursor.hold_notices();
    }

    /// Whether there is one to take.
    #[inline]
    pub(crate) fn has_notices(&self) -> bool {
        self.cursor.ledger.has_notices()
    }

    /// The oldest loss that was passed over.
    pub(crate) fn take_notice(&mut self) -> Option<Notice> {
        self.cursor.ledger.take_notice()
    }

    /// Gives back the space below `position`, which was read.
    pub(crate) fn release_to(&mut self, position: Position) {
        if self.check().is_ok() {
            self.cursor.publish_to(position);
        }
    }

    /// Switches the adaptive back-off at the ring's edge, for measurements.
    #[doc(hidden)]
    pub fn set_edge_backoff(&mut self, on: bool) {
        self.edge.set(on);
    }

    /// Whether this process is the one that attached.
    #[inline(always)]
    pub(crate) fn is_here(&self) -> bool {
        self.side.is_here()
    }

    fn counter(&self, which: impl Fn(&ConsumerSlot) -> &sync::AtomicU64) -> u64 {
        // ORDER none (Relaxed): only this process writes it.
        if self.side.is_here() { which(self.cursor.slot()).load(Ordering::Relaxed) } else { 0 }
    }

    fn check(&self) -> Result<(), PollError> {
        match () {
            () if !self.side.is_here() => Err(PollError::Forked),
            () if self.is_revoked() => Err(self.revoked()),
            () => Ok(()),
        }
    }

    /// Another's slot, or zeros where it was.
    #[cold]
    fn revoked(&self) -> PollError {
        let truncated = self.cursor.table().frames.data().is_truncated();
        if truncated { PollError::Truncated } else { PollError::Revoked }
    }

    /// The next record, if nothing stands in the way.
    #[inline(always)]
    fn glance(&self) -> Option<Found> {
        if self.side.is_here() && !self.is_revoked() { self.cursor.glance() } else { None }
    }

    /// One look, and what is due after a fruitless one.
    #[inline(never)]
    fn look_once(&mut self) -> Result<Option<Found>, PollError> {
        self.check()?;
        match self.cursor.look()? {
            Some(found) => Ok(Some(found)),
            None => self.look_after_nothing(),
        }
    }

    /// One look, after leaving the line to the producer for a moment, if that has paid so far. `some`: there was something before.
    #[inline(never)]
    fn look_at_the_edge(&mut self, some: bool) -> Result<Option<Found>, PollError> {
        self.check()?;
        if let Some(found) = self.cursor.look()? {
            return Ok(Some(found));
        }
        self.edge.fruitless();
        match self.cursor.look()? {
            None if !some => self.look_after_nothing(),
            found => Ok(found),
        }
    }

    #[inline(always)]
    fn is_revoked(&self) -> bool {
        // ORDER none (Relaxed): a reaper writes it, which can't happen while this process holds the slot's byte.
        self.cursor.slot().generation.load(Ordering::Relaxed) != self.generation
    }

    #[inline(always)]
    fn hand_out(&mut self, found: Found) -> Frame<'_> {
        self.edge.found();
        Frame { consumer: self, found }
    }

    /// A look found nothing: publish, and see whether the dead are in the way, or this is the end.
    #[inline]
    fn look_after_nothing(&mut self) -> Result<Option<Found>, PollError> {
        self.cursor.publish_news();
        self.fruitless = self.fruitless.wrapping_add(1);
        // Looking at tail and slots would take the producers' lines away from them, so it is done once in a while, and in an anonymous ring
        // when all that came have left, by the count that they keep.
        if self.fruitless % 64 == 0 && self.last_sweep.is_none_or(|last| last.elapsed() >= SWEEP_EVERY) {
            return self.look_behind_the_dead();
        }
        if self.anonymous && self.cursor.table().may_be_left() { self.closed_or_record() } else { Ok(None) }
    }

    #[cold]
    fn look_behind_the_dead(&mut self) -> Result<Option<Found>, PollError> {
        self.last_sweep = Some(Instant::now());
        if self.anonymous || self.cursor.table().tail() > self.cursor.position() {
            self.sweep();
            self.cursor.look_for_hole()?;
        } else {
            self.core.measure();
        }
        match self.cursor.look()? {
            Some(found) => Ok(Some(found)),
            None => self.closed_or_record(),
        }
    }

    /// In an anonymous ring: nothing, a record that came after all, or the end.
    fn closed_or_record(&mut self) -> Result<Option<Found>, PollError> {
        let table = self.cursor.table();
        let came = table.producers_ever();
        if !self.anonymous || !table.had_producers() || table.attached().next().is_some() {
            return Ok(None);
        }
        match self.cursor.look()? {
            Some(found) => Ok(Some(found)),
            // One that came while the others left may have been passed over.
            None if self.cursor.table().producers_ever() != came => Ok(None),
            None => Err(PollError::Closed),
        }
    }

    fn sweep(&mut self) {
        self.stuck.note(self.cursor.position());
        self.core.measure();
        // A lock that can't be examined now is examined at the next look.
        let _ = reap::sweep(self.cursor.table(), &self.core.locks);
    }

    #[cold]
    #[inline(never)]
    fn wait_for_record(&mut self, deadline: Option<Instant>) -> Result<Option<Found>, PollError> {
        if let Some(found) = self.look_once()? {
            return Ok(Some(found));
        }
        self.edge.fruitless();
        if let Some(found) = self.cursor.look()? {
            return Ok(Some(found));
        }
        let live = self.core.region.live();
        let mut waiting = Waiting::new(&live.waits.0, For::Data, self.wait, deadline);
        loop {
            let (table, position) = (self.cursor.table(), self.cursor.position());
            // Somebody's claim is in the way. Asked seldom: the tail is the producers' line.
            let held_up = || if table.tail() > position { HeldUp::Claim } else { HeldUp::No };
            let next = waiting.step(held_up, || table.frames.is_finished(position));
            if let Some(found) = self.cursor.look()? {
                return Ok(Some(found));
            }
            match next {
                Next::Expired => return Ok(None),
                // In an anonymous ring the end may have come without a word.
                Next::Probe if self.anonymous || self.cursor.table().tail() > self.cursor.position() => {
                    self.sweep();
                    self.cursor.look_for_hole()?;
                    if let Some(found) = self.closed_or_record()? {
                        return Ok(Some(found));
                    }
                }
                Next::Probe => self.core.measure(),
                Next::Look => {}
            }
        }
    }

    fn start(&mut self, start: Start) -> Result<(), PollError> {
        match start {
            Start::Oldest => self.cursor.join(join::oldest(self.cursor.table())),
            Start::Now => self.cursor.join(self.cursor.table().tail()),
            Start::At(position) => {
                let first = join::start_at(self.cursor.table(), position, self.cursor.held())?;
                sync::add_alone(&self.cursor.slot().missed_bytes, first.saturating_sub(position));
                self.cursor.join_counting(first);
            }
            Start::Since(timestamp_ns) => {
                if self.cursor.table().frames.metadata_bytes() == 0 {
                    return Err(PollError::NoMetadata);
                }
                self.cursor.join(join::oldest(self.cursor.table()));
                self.cursor.skip_until(timestamp_ns);
            }
        }
        Ok(())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if !self.side.is_here() || self.is_revoked() {
            return;
        }
        self.cursor.leave();
        drop(self.lock.take());
        self.cursor.wake();
    }
}
