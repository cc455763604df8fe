//! Producer: puts records into the ring, in place or by copy, one at a time or in batches.
//!
//! ```text
//!   try_claim / claim / claim_timeout -> Claim -> commit | commit_len | drop = abort
//!   push = claim + copy + commit          batch = one claim for many records
//! ```
//!
//! (I1) at most one claim is open; one that was leaked is aborted before the next; (I2) what is published is counted before the slot is
//! idle; (I3) after every commit and abort the sleepers are looked for.

use super::batch::Batch;
use super::claim::{Claim, record_head};
use super::wait::{For, HeldUp, Next, Wait, Waiting, wake_sleepers};
use super::{Core, reap};
use crate::error::{ClaimError, Error};
use crate::frame::claim::Claimer;
use crate::frame::copy::copy_in;
use crate::frame::table::Table;
use crate::frame::view::Metadata;
use crate::layout::frame::{FRAME_ALIGN, GAP_BYTES, Head, Position, State, span_of_record};
use crate::layout::slots::ProducerSlot;
use crate::map::clock;
use crate::map::fork::Side;
use crate::map::lock::SlotLock;
use crate::map::region::View;
use crate::sync::{self, Ordering, Point, kill_point};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Appends records to a ring. Owns one producer slot; dropped, it gives the slot back.
///
/// # Examples
///
/// ```
/// # let ring = shm_ring::RingOptions::new().anonymous()?;
/// let mut producer = ring.producer()?;
/// producer.push(b"copied")?;
/// let mut claim = producer.claim(64)?;
/// claim[..8].copy_from_slice(b"in place");
/// claim.commit_len(8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Producer {
    pub(crate) claimer: Claimer,
    /// The open claim, if there is one.
    open: Open,
    /// Records that were dropped and not told of yet.
    untold: u64,
    pub(crate) metadata: bool,
    payload_max_bytes: usize,
    registered: bool,
    wait: Wait,
    side: Side,
    last_sweep: Option<Instant>,
    /// Where values are encoded before they are pushed.
    #[cfg(feature = "bincode")]
    pub(crate) scratch: Vec<u8>,
    core: Arc<Core>,
    lock: Option<SlotLock>,
}

/// How long to wait for room.
#[derive(Clone, Copy, Debug)]
enum Patience {
    None,
    Until(Option<Instant>),
}

/// A marked claim in the user's hands.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    position: u64,
    /// 0: there is none.
    span_bytes: u64,
    /// Sequences that it took.
    records: u64,
}

impl Producer {
    pub(crate) fn new(
        core: Arc<Core>,
        table: Table,
        slot: View<ProducerSlot>,
        index: u16,
        lock: SlotLock,
        wait: Wait,
    ) -> Result<Self, Error> {
        let shape = core.header.geometry.shape;
        let payload_max = core.header.geometry.payload_max_bytes();
        let side =
            Side::current().map_err(crate::map::file::io_error("examine the process of", &core.shown()))?;
        let claimer = Claimer::new(table, slot, index, shape.single_producer);
        Ok(Self {
            untold: claimer.untold().map_or(0, |gap| gap.records),
            claimer,
            open: Open::default(),
            metadata: shape.metadata,
            payload_max_bytes: usize::try_from(payload_max).unwrap_or(usize::MAX),
            registered: sync::register(),
            wait,
            side,
            last_sweep: None,
            #[cfg(feature = "bincode")]
            scratch: Vec::new(),
            core,
            lock: Some(lock),
        })
    }

    /// Claims room for a record of `len` bytes, now or not at all.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Full`] when there is no room, [`ClaimError::TooLong`] above a quarter of the capacity, and the rest of [`ClaimError`].
    #[inline]
    pub fn try_claim(&mut self, len: usize) -> Result<Claim<'_>, ClaimError> {
        let span_bytes = self.span(len)?;
        let position = self.try_take::<true>(span_bytes, 1)?;
        Ok(Claim::new(self, position, len, span_bytes))
    }

    /// Claims room for a record of `len` bytes, waiting for it as long as it takes.
    ///
    /// # Errors
    ///
    /// All of [`ClaimError`] but [`ClaimError::Full`].
    #[inline]
    pub fn claim(&mut self, len: usize) -> Result<Claim<'_>, ClaimError> {
        let span_bytes = self.span(len)?;
        let position = self.take::<true>(span_bytes, 1, None)?;
        Ok(Claim::new(self, position, len, span_bytes))
    }

    /// Claims room for a record of `len` bytes, waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Full`] when the time is over, and the rest of [`ClaimError`].
    pub fn claim_timeout(&mut self, len: usize, timeout: Duration) -> Result<Claim<'_>, ClaimError> {
        let span_bytes = self.span(len)?;
        let position = self.take::<true>(span_bytes, 1, deadline(timeout))?;
        Ok(Claim::new(self, position, len, span_bytes))
    }

    /// Appends a copy of `payload`, now or not at all; where it went.
    ///
    /// # Errors
    ///
    /// As [`Producer::try_claim`].
    #[inline(always)]
    pub fn try_push(&mut self, payload: &[u8]) -> Result<Position, ClaimError> {
        let span_bytes = self.span(payload.len())?;
        let position = self.try_take::<false>(span_bytes, 1)?;
        let timestamp_ns = self.now();
        self.put(position, timestamp_ns, payload)
    }

    /// Appends a copy of `payload`, waiting for room as long as it takes; where it went.
    ///
    /// # Errors
    ///
    /// As [`Producer::claim`].
    #[inline(always)]
    pub fn push(&mut self, payload: &[u8]) -> Result<Position, ClaimError> {
        let span_bytes = self.span(payload.len())?;
        let position = self.take::<false>(span_bytes, 1, None)?;
        let timestamp_ns = self.now();
        self.put(position, timestamp_ns, payload)
    }

    /// Appends a copy of `payload`, waiting for room at most `timeout`; where it went.
    ///
    /// # Errors
    ///
    /// As [`Producer::claim_timeout`].
    pub fn push_timeout(&mut self, payload: &[u8], timeout: Duration) -> Result<Position, ClaimError> {
        let span_bytes = self.span(payload.len())?;
        let position = self.take::<false>(span_bytes, 1, deadline(timeout))?;
        let timestamp_ns = self.now();
        self.put(position, timestamp_ns, payload)
    }

    /// Appends a copy of `payload`, or drops it when there is no room: `None`. For those who must never wait, as loggers.
    ///
    /// What was dropped is counted, and readers are told: the next record that fits comes with a notice of whose and how many are
    /// missing before it, which [`Consumer::lost`](crate::Consumer::lost) adds up.
    ///
    /// # Errors
    ///
    /// As [`Producer::claim`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let ring = shm_ring::RingOptions::new().capacity(4096).anonymous()?;
    /// # let mut producer = ring.producer()?;
    /// let mut consumer = ring.consumer("slow")?;
    /// let dropped = (0..100).filter(|_| producer.offer(&[7; 100]).is_ok_and(|at| at.is_none())).count();
    /// while consumer.try_poll()?.is_some() {}
    /// producer.push(b"after them")?;
    /// assert_eq!(&*consumer.poll()?, b"after them");
    /// assert_eq!(consumer.lost()[0].dropped_records, dropped as u64);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn offer(&mut self, payload: &[u8]) -> Result<Option<Position>, ClaimError> {
        match self.try_push(payload) {
            Ok(position) => Ok(Some(position)),
            Err(ClaimError::Full { .. }) => {
                self.count_dropped(1);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Says that `records` were dropped that were to come next; for those who do so with [`Producer::try_claim`] or
    /// [`Producer::try_batch`]. Readers are told as with [`Producer::offer`].
    #[cold]
    pub fn count_dropped(&mut self, records: u64) {
        if self.side.is_here() && !self.claimer.is_revoked() {
            self.claimer.count_dropped(records);
            self.untold = self.untold.saturating_add(records);
        }
    }

    /// Appends a copy of `payload` with the caller's own timestamp, in ns since the Unix epoch; waits for room.
    ///
    /// # Errors
    ///
    /// As [`Producer::claim`].
    pub fn push_at(&mut self, timestamp_ns: u64, payload: &[u8]) -> Result<Position, ClaimError> {
        let span_bytes = self.span(payload.len())?;
        let position = self.take::<false>(span_bytes, 1, None)?;
        self.put(position, timestamp_ns, payload)
    }

    /// Claims room for up to `n_records` with `payload_bytes` in all, waiting for it as long as it takes.
    ///
    /// One claim: the records appear together, or are lost together with their producer, and cost one compare-exchange.
    ///
    /// # Errors
    ///
    /// As [`Producer::claim`]; [`ClaimError::TooLong`] when records and headers exceed a quarter of the capacity.
    ///
    /// # Examples
    ///
    /// ```
    /// # let ring = shm_ring::RingOptions::new().anonymous()?;
    /// # let mut producer = ring.producer()?;
    /// let lines = ["one", "two", "three"];
    /// let mut batch = producer.batch(lines.len(), lines.iter().map(|l| l.len()).sum())?;
    /// for line in lines {
    ///     batch.push(line.as_bytes())?;
    /// }
    /// batch.commit();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batch(&mut self, n_records: usize, payload_bytes: usize) -> Result<Batch<'_>, ClaimError> {
        let span_bytes = self.batch_span(n_records, payload_bytes)?;
        let position = self.take::<true>(span_bytes, n_records.max(1) as u64, None)?;
        Ok(Batch::new(self, position, span_bytes, n_records))
    }

    /// The same, now or not at all.
    ///
    /// # Errors
    ///
    /// As [`Producer::batch`], and [`ClaimError::Full`].
    pub fn try_batch(&mut self, n_records: usize, payload_bytes: usize) -> Result<Batch<'_>, ClaimError> {
        let span_bytes = self.batch_span(n_records, payload_bytes)?;
        let position = self.try_take::<true>(span_bytes, n_records.max(1) as u64)?;
        Ok(Batch::new(self, position, span_bytes, n_records))
    }

    /// The slot that this producer owns; its records carry it.
    pub fn slot(&self) -> u16 {
        self.claimer.index()
    }

    /// The longest record: a quarter of the capacity.
    pub fn payload_max_bytes(&self) -> usize {
        self.payload_max_bytes
    }

    #[inline(always)]
    fn span(&self, len: usize) -> Result<u64, ClaimError> {
        if len > self.payload_max_bytes {
            return Err(ClaimError::TooLong { len_bytes: len, max_bytes: self.payload_max_bytes });
        }
        Ok(span_of_record(len as u64, self.claimer.table().frames.metadata_bytes()))
    }

    fn batch_span(&self, n_records: usize, payload_bytes: usize) -> Result<u64, ClaimError> {
        let frames = &self.claimer.table().frames;
        // Each record wastes at most 15 bytes.
        let each = frames.payload_offset() + FRAME_ALIGN - 1;
        let span = (n_records.max(1) as u64)
            .checked_mul(each)
            .and_then(|heads| heads.checked_add(payload_bytes as u64))
            .and_then(|span| span.checked_next_multiple_of(FRAME_ALIGN));
        match span {
            Some(span) if span <= frames.span_max_bytes() => Ok(span),
            _ => Err(ClaimError::TooLong { len_bytes: payload_bytes, max_bytes: self.payload_max_bytes }),
        }
    }

    #[inline(always)]
    fn prepare(&mut self, patience: Patience) -> Result<(), ClaimError> {
        if !self.side.is_here() {
            return Err(ClaimError::Forked);
        }
        if self.open.span_bytes | self.untold != 0 { self.settle(patience) } else { Ok(()) }
    }

    /// Ends a claim that was leaked, and tells readers of what was dropped, before anything new.
    #[cold]
    #[inline(never)]
    fn settle(&mut self, patience: Patience) -> Result<(), ClaimError> {
        if self.open.span_bytes != 0 {
            self.abort_open();
        }
        let Some(gap) = self.claimer.untold() else {
            self.untold = 0;
            return Ok(());
        };
        let span_bytes = span_of_record(GAP_BYTES, self.claimer.table().frames.metadata_bytes());
        let taken = match (self.claimer.try_claim::<false>(span_bytes, 0), patience) {
            (Err(ClaimError::Full { .. }), Patience::None) => self.try_take_again::<false>(span_bytes, 0),
            (Err(ClaimError::Full { .. }), Patience::Until(deadline)) => {
                self.wait_for_room::<false>(span_bytes, 0, deadline)
            }
            (taken, _) => taken,
        };
        let position = taken?;
        if self.metadata {
            let (timestamp_ns, sequence) = (self.now(), gap.first_sequence);
            let metadata = Metadata { timestamp_ns, sequence, level: 0, kind: 0 };
            self.claimer.table().frames.write_metadata(position, metadata);
        }
        self.claimer.tell(position, gap);
        self.untold = 0;
        self.committed();
        Ok(())
    }

    #[inline(always)]
    fn try_take<const MARKED: bool>(&mut self, span_bytes: u64, records: u64) -> Result<u64, ClaimError> {
        self.prepare(Patience::None)?;
        match self.claimer.try_claim::<MARKED>(span_bytes, records) {
            Err(ClaimError::Full { .. }) => self.try_take_again::<MARKED>(span_bytes, records),
            other => self.opened::<MARKED>(other, span_bytes, records),
        }
    }

    /// Full: a dead consumer may be in the way. Looks for one at most once a millisecond.
    #[cold]
    fn try_take_again<const MARKED: bool>(
        &mut self,
        span_bytes: u64,
        records: u64,
    ) -> Result<u64, ClaimError> {
        let due = self.last_sweep.is_none_or(|last| last.elapsed() >= Duration::from_millis(1));
        if due {
            self.last_sweep = Some(Instant::now());
            self.core.measure();
            // A lock that can't be examined now is examined next time.
            let _ = reap::sweep(self.claimer.table(), &self.core.locks);
        }
        let result = self.claimer.try_claim::<MARKED>(span_bytes, records);
        if matches!(result, Err(ClaimError::Full { .. })) {
            sync::add_alone(&self.claimer.slot().refused, 1);
        }
        self.opened::<MARKED>(result, span_bytes, records)
    }

    #[inline(always)]
    fn take<const MARKED: bool>(
        &mut self,
        span_bytes: u64,
        records: u64,
        deadline: Option<Instant>,
    ) -> Result<u64, ClaimError> {
        self.prepare(Patience::Until(deadline))?;
        match self.claimer.try_claim::<MARKED>(span_bytes, records) {
            Err(ClaimError::Full { .. }) => self.wait_for_room::<MARKED>(span_bytes, records, deadline),
            other => self.opened::<MARKED>(other, span_bytes, records),
        }
    }

    #[cold]
    fn wait_for_room<const MARKED: bool>(
        &mut self,
        span_bytes: u64,
        records: u64,
        deadline: Option<Instant>,
    ) -> Result<u64, ClaimError> {
        sync::add_alone(&self.claimer.slot().waited, 1);
        let live = self.core.region.live();
        let mut waiting = Waiting::new(&live.waits.0, For::Space, self.wait, deadline);
        loop {
            let claimer = &mut self.claimer;
            let mut result = Err(ClaimError::Full { needed_bytes: 0, free_bytes: 0 });
            let mut look = || {
                result = claimer.try_claim::<MARKED>(span_bytes, records);
                !matches!(result, Err(ClaimError::Full { .. }))
            };
            let next = waiting.step(|| HeldUp::Space, &mut look);
            if matches!(result, Err(ClaimError::Full { .. })) {
                if next == Next::Probe {
                    self.core.measure();
                    // A lock that can't be examined now is examined at the next look.
                    let _ = reap::sweep(self.claimer.table(), &self.core.locks);
                }
                result = self.claimer.try_claim::<MARKED>(span_bytes, records);
            }
            match result {
                Err(ClaimError::Full { .. }) if next == Next::Expired => {
                    sync::add_alone(&self.claimer.slot().refused, 1);
                    return result;
                }
                Err(ClaimError::Full { .. }) => {}
                other => return self.opened::<MARKED>(other, span_bytes, records),
            }
        }
    }

    #[inline(always)]
    fn opened<const MARKED: bool>(
        &mut self,
        taken: Result<u64, ClaimError>,
        span_bytes: u64,
        records: u64,
    ) -> Result<u64, ClaimError> {
        if let (true, Ok(position)) = (MARKED, taken) {
            self.open = Open { position, span_bytes, records };
        }
        taken
    }

    /// Copies and publishes a record into an unmarked claim. What met a missing page on the way was not published.
    #[inline(always)]
    fn put(&mut self, position: u64, timestamp_ns: u64, payload: &[u8]) -> Result<Position, ClaimError> {
        copy_in(self.bytes_mut(position, payload.len()), payload);
        kill_point(Point::PayloadDone);
        if self.metadata {
            let sequence = self.claimer.sequence();
            let metadata = Metadata { timestamp_ns, sequence, level: 0, kind: 0 };
            self.claimer.table().frames.write_metadata(position, metadata);
        }
        let head = record_head(payload.len(), State::Data, self.claimer.index());
        self.claimer.publish(position, head);
        self.committed();
        if self.claimer.table().frames.data().was_hit() { Err(ClaimError::Truncated) } else { Ok(position) }
    }

    /// Publishes the open claim, whose first frame is `head`, as `records` with `bytes` of payload.
    #[inline(always)]
    pub(crate) fn commit_open(&mut self, head: Head, records: u64, bytes: u64) {
        let open = std::mem::take(&mut self.open);
        if !self.side.is_here() {
            return;
        }
        self.claimer.commit(open.position, head, records, open.records, bytes);
        self.committed();
    }

    #[inline(always)]
    fn committed(&self) {
        sync::light(self.registered);
        wake_sleepers(&self.claimer.table().live.waits.0);
    }

    #[cold]
    pub(crate) fn abort_open(&mut self) {
        let Open { position, span_bytes, records } = std::mem::take(&mut self.open);
        if !self.side.is_here() {
            return;
        }
        self.claimer.abort(position, span_bytes, records);
        self.committed();
    }

    #[inline(always)]
    pub(crate) fn now(&self) -> u64 {
        if self.metadata { clock::realtime_ns() } else { 0 }
    }

    #[inline(always)]
    pub(crate) fn bytes(&self, position: u64, len: usize) -> *const [u8] {
        let frames = &self.claimer.table().frames;
        // SAFETY:
        // - the claim at `position` is open (its guard borrows this producer), and `len` bytes of payload lie inside it;
        // - readers stop at CLAIMED, producers at the intent: nobody else writes them (trusts peers: crate docs, Trust).
        unsafe { frames.data().bytes(position + frames.payload_offset(), len) }
    }

    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the guards that call it borrow the producer mutably")]
    pub(crate) fn bytes_mut(&self, position: u64, len: usize) -> &mut [u8] {
        let frames = &self.claimer.table().frames;
        // SAFETY:
        // - the claim at `position` is open (its guard borrows this producer mutably), and `len` bytes of payload lie inside it;
        // - readers stop at CLAIMED, producers at the intent: nobody else has a reference to them (trusts peers: crate docs, Trust).
        unsafe { frames.data().bytes_mut(position + frames.payload_offset(), len) }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if !self.side.is_here() {
            return;
        }
        if self.open.span_bytes | self.untold != 0 {
            // What can't be told for want of room is told by the slot's next owner.
            let _ = self.settle(Patience::None);
        }
        if self.claimer.is_revoked() {
            return;
        }
        self.claimer.retire();
        let slot = self.claimer.slot();
        // ORDER none (Relaxed): display only.
        slot.pid.store(0, Ordering::Relaxed);
        // ORDER A1 (Release, pairs with A2): the last commits before "this producer is gone".
        slot.attached.store(0, Ordering::Release);
        kill_point(Point::LeaveMarked);
        // ORDER A1 (Release, pairs with A2): "this one is gone" before the hint that somebody left.
        self.claimer.table().live.era.0.producers_left.fetch_add(1, Ordering::Release);
        drop(self.lock.take());
        kill_point(Point::LeaveUnlocked);
        sync::light(self.registered);
        wake_sleepers(&self.claimer.table().live.waits.0);
    }
}

fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
