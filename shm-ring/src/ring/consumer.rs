//! Consumer: a reliable, named reader that reads in place and holds back producers from what it has not released.
//!
//! ```text
//!   published position        position            next
//!        v                       v                  v
//!   -----+-----------------------+------------------+-----------
//!        | released, not yet told | the frame in hand |  to come
//!        +-- told at the latest every capacity / 16 --+
//! ```
//!
//! (I1) the published position never passes a frame that is in the user's hands; (I2) it is published when a look finds nothing, before
//! sleeping, at the latest every sixteenth of the capacity, and when the user says so; (I3) after a corrupt header nothing more is read.

use super::wait::{Edge, For, Next, Wait, Waiting, wake_sleepers};
use super::{Core, join, pid_of, reap};
use crate::Position;
use crate::error::{Error, PollError};
use crate::frame::table::Table;
use crate::frame::view::Sealed;
use crate::layout::frame::{FRAME_ALIGN, IDLE, State};
use crate::layout::slots::{ConsumerSlot, DURABLE, NAME_BYTES_MAX, consumer_byte, decode_name, encode_name};
use crate::map::file::io_error;
use crate::map::fork::Side;
use crate::map::lock::{Repair, SlotLock};
use crate::map::region::View;
use crate::sync::{self, Ordering};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where reading begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the oldest record that is still there.
    #[default]
    Oldest,
    /// With the next record.
    Now,
    /// At the record at this position, or the oldest if that was overwritten.
    At(Position),
    /// At the first record with this timestamp (ns since the Unix epoch) or a later one.
    Since(u64),
}

/// How a consumer attaches.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct ConsumerOptions {
    start: Start,
    durable: bool,
}

impl ConsumerOptions {
    /// A new name starts at the oldest record and holds no space while away.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where a new name starts; a known one goes on where it stopped.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// The name holds its space also while nobody has it: producers wait for its return. Nothing is missed, and the ring can fill up.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }
}

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
    table: Table,
    slot: View<ConsumerSlot>,
    /// The next frame to look at.
    position: u64,
    published: u64,
    publish_every: u64,
    edge: Edge,
    poisoned: Option<PollError>,
    registered: bool,
    anonymous: bool,
    fruitless: u32,
    wait: Wait,
    side: Side,
    generation: u64,
    index: u16,
    name: String,
    core: Arc<Core>,
    lock: Option<SlotLock>,
}

/// A record that was found.
#[derive(Clone, Copy)]
struct Found {
    position: u64,
    sealed: Sealed,
}

impl Consumer {
    pub(crate) fn attach(
        core: &Arc<Core>,
        name: &str,
        options: ConsumerOptions,
        wait: Wait,
    ) -> Result<Self, Error> {
        let words = encode_name(name).ok_or_else(|| Error::Invalid {
            option: "consumer name",
            expected: format!("1 to {NAME_BYTES_MAX} bytes without a zero byte"),
            found: format!("{name:?}"),
        })?;
        let shown = core.shown();
        let side = Side::current().map_err(io_error("examine the process of", &shown))?;
        let repair = core.repair()?;
        let table = core.table();
        let (index, lock, known) = take_slot(core, &table, &repair, name, words)?;
        let slot = core.region.consumer(index);
        let held_at = slot.position.load(Ordering::Relaxed);
        reap::reap_consumer(&slot);
        slot.pid.store(std::process::id().into(), Ordering::Relaxed);
        slot.flags.store(if options.durable { DURABLE } else { 0 }, Ordering::Relaxed);
        // ORDER H1 (Release, pairs with H2): the slot's words before the mark that makes producers look at them.
        table.live.grants.0.consumers_high.fetch_max(u32::from(index) + 1, Ordering::Release);
        let mut this = Self {
            position: 0,
            published: 0,
            publish_every: table.frames.capacity_bytes() / 16,
            edge: Edge::new(),
            poisoned: None,
            registered: sync::register(),
            anonymous: core.is_anonymous(),
            fruitless: 0,
            wait,
            side,
            generation: slot.generation.load(Ordering::Relaxed),
            index,
            name: name.to_owned(),
            core: Arc::clone(core),
            lock: Some(lock),
            table,
            slot,
        };
        let resume = if held_at == IDLE { this.slot.resume.load(Ordering::Relaxed) } else { held_at };
        if known && resume != IDLE {
            this.join(resume.min(this.table.tail()));
            this.count_missed(resume);
        } else {
            this.slot.missed_bytes.store(0, Ordering::Relaxed);
            this.slot.lost_records.store(0, Ordering::Relaxed);
            this.start(options.start).map_err(|refused| Error::Invalid {
                option: "start",
                expected: "a place that this ring has".into(),
                found: refused.to_string(),
            })?;
        }
        Ok(this)
    }

    /// The next record, in place; waits for it.
    ///
    /// # Errors
    ///
    /// [`PollError::Closed`] at the end of an anonymous ring; [`PollError::Corrupt`], once and for all; [`PollError::Forked`].
    #[inline]
    pub fn poll(&mut self) -> Result<Frame<'_>, PollError> {
        self.check()?;
        let found = match self.look()? {
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
    #[inline]
    pub fn try_poll(&mut self) -> Result<Option<Frame<'_>>, PollError> {
        self.check()?;
        match self.look()? {
            Some(found) => Ok(Some(self.hand_out(found))),
            None => match self.look_after_nothing()? {
                Some(found) => Ok(Some(self.hand_out(found))),
                None => Ok(None),
            },
        }
    }

    /// The next record; `None` when none came within `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Consumer::poll`].
    pub fn poll_timeout(&mut self, timeout: Duration) -> Result<Option<Frame<'_>>, PollError> {
        self.check()?;
        let found = match self.look()? {
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
        self.check()?;
        let mut n = 0;
        while n < max {
            let found = match self.look()? {
                Some(found) => found,
                None if n > 0 => break,
                None => match self.look_after_nothing()? {
                    Some(found) => found,
                    None => break,
                },
            };
            each(self.hand_out(found));
            n += 1;
        }
        Ok(n)
    }

    /// Tells producers now how far this consumer is, rather than at the latest every sixteenth of the capacity.
    pub fn release(&mut self) {
        if self.side.is_here() && self.published != self.position {
            self.publish();
        }
    }

    /// Goes elsewhere. Going back is possible as far as the records are still there.
    ///
    /// # Errors
    ///
    /// [`PollError::NoSuchPosition`], [`PollError::NoMetadata`] for a time in a ring without metadata; the consumer stays where it is.
    pub fn seek(&mut self, start: Start) -> Result<(), PollError> {
        self.check()?;
        self.start(start)
    }

    /// The next record's position, if there is one.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Bytes that were claimed by producers and not yet read here, headers included.
    pub fn lag_bytes(&self) -> u64 {
        self.table.tail().saturating_sub(self.position)
    }

    /// Bytes that this name could not read, because they were overwritten while it was away, or before it could join.
    pub fn missed_bytes(&self) -> u64 {
        self.slot.missed_bytes.load(Ordering::Relaxed)
    }

    /// Claims of producers that died in the middle of one, which this name skipped.
    pub fn lost_records(&self) -> u64 {
        self.slot.lost_records.load(Ordering::Relaxed)
    }

    /// The name under which it attached.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The slot that it owns.
    pub fn slot(&self) -> u16 {
        self.index
    }

    /// Switches the adaptive back-off at the ring's edge, for measurements.
    #[doc(hidden)]
    pub fn set_edge_backoff(&mut self, on: bool) {
        self.edge.set(on);
    }

    #[inline(always)]
    fn check(&self) -> Result<(), PollError> {
        if !self.side.is_here() {
            return Err(PollError::Forked);
        }
        if let Some(error) = self.poisoned {
            return Err(error);
        }
        // ORDER none (Relaxed): a reaper writes it, which can't happen while this process holds the slot's byte.
        if self.slot.generation.load(Ordering::Relaxed) != self.generation {
            return Err(PollError::Revoked);
        }
        Ok(())
    }

    /// The record at the position, after skipping what is not one.
    #[inline(always)]
    fn look(&mut self) -> Result<Option<Found>, PollError> {
        loop {
            let sealed = match self.table.frames.checked(self.position) {
                Ok(Some(sealed)) => sealed,
                Ok(None) => return Ok(None),
                Err(what) => return Err(self.poison(what)),
            };
            match sealed.head.state {
                State::Data | State::Inner => {
                    return Ok(Some(Found { position: self.position, sealed }));
                }
                State::Claimed => return Ok(None),
                State::Pad | State::Gap => {}
                State::Lost => count(&self.slot.lost_records, 1),
            }
            self.advance(self.position + sealed.span_bytes);
        }
    }

    #[cold]
    fn poison(&mut self, what: &'static str) -> PollError {
        let error = PollError::Corrupt { position: self.position, what };
        self.poisoned = Some(error);
        error
    }

    #[inline(always)]
    fn hand_out(&mut self, found: Found) -> Frame<'_> {
        self.edge.found();
        let frames = &self.table.frames;
        let len = found.sealed.head.len_bytes as usize;
        // SAFETY:
        // - committed: `look` saw DATA or INNER behind a matching seal (R1), so the payload is complete and nobody writes it;
        // - held: this consumer's published position is at or below the frame until `advance`, which only runs when the frame is gone;
        // - bounded: `checked` compared the span with the longest claim (trusts peers for the rest: crate docs, Trust).
        let payload = unsafe { frames.data().bytes(found.position + frames.payload_offset(), len) };
        Frame { consumer: self, payload, found }
    }

    #[inline(always)]
    fn advance(&mut self, next: u64) {
        self.position = next;
        if next - self.published >= self.publish_every {
            self.publish();
        }
    }

    #[inline(never)]
    fn publish(&mut self) {
        self.published = self.position;
        // ORDER P1 (Release, pairs with P2): the reads below it are over.
        self.slot.position.store(self.position, Ordering::Release);
        sync::light(self.registered);
        wake_sleepers(&self.table.live.waits.0);
    }

    /// A look found nothing: publish, and see whether this is the end.
    #[inline]
    fn look_after_nothing(&mut self) -> Result<Option<Found>, PollError> {
        if self.published != self.position {
            self.publish();
        }
        if !self.anonymous {
            return Ok(None);
        }
        self.fruitless = self.fruitless.wrapping_add(1);
        if self.fruitless % 1024 == 0 {
            self.sweep();
        }
        self.closed_or_record()
    }

    /// In an anonymous ring: nothing, a record that came after all, or the end.
    fn closed_or_record(&mut self) -> Result<Option<Found>, PollError> {
        if !self.anonymous || self.table.live.era.0.producers_ever.load(Ordering::Relaxed) == 0 {
            return Ok(None);
        }
        // ORDER A2 (Acquire, pairs with A1): the last commits of those who are gone are visible to the look below.
        if self.table.producers().iter().any(|slot| slot.attached.load(Ordering::Acquire) != 0) {
            return Ok(None);
        }
        self.look()?.map_or(Err(PollError::Closed), |found| Ok(Some(found)))
    }

    fn sweep(&self) {
        // A lock that can't be examined now is examined at the next look.
        let _ = reap::sweep(&self.table, &self.core.locks);
    }

    #[cold]
    #[inline(never)]
    fn wait_for_record(&mut self, deadline: Option<Instant>) -> Result<Option<Found>, PollError> {
        if let Some(found) = self.look_after_nothing()? {
            return Ok(Some(found));
        }
        self.edge.fruitless();
        if let Some(found) = self.look()? {
            return Ok(Some(found));
        }
        let live = self.core.region.live();
        let mut waiting = Waiting::new(&live.waits.0, For::Data, self.wait, deadline);
        loop {
            // Somebody's claim is in the way, or the end may have come without a word.
            let held_up = self.anonymous || self.table.tail() > self.position;
            let (frames, position) = (&self.table.frames, self.position);
            let next = waiting.step(held_up, || frames.is_finished(position));
            if let Some(found) = self.look()? {
                return Ok(Some(found));
            }
            match next {
                Next::Expired => return Ok(None),
                Next::Probe if held_up => {
                    self.sweep();
                    if let Some(found) = self.closed_or_record()? {
                        return Ok(Some(found));
                    }
                }
                Next::Probe | Next::Look => {}
            }
        }
    }

    fn start(&mut self, start: Start) -> Result<(), PollError> {
        match start {
            Start::Oldest => self.join(join::oldest(&self.table)),
            Start::Now => self.join(self.table.tail()),
            Start::At(position) => {
                let tail = self.table.tail();
                let refused = Err(PollError::NoSuchPosition { position, tail });
                if position % FRAME_ALIGN != 0 || position > tail {
                    return refused;
                }
                let oldest = join::oldest(&self.table);
                if position >= oldest && !join::can_start_at(&self.table, position) {
                    return refused;
                }
                self.join(position.max(oldest));
                self.count_missed(position);
            }
            Start::Since(timestamp_ns) => {
                if self.table.frames.metadata_bytes() == 0 {
                    return Err(PollError::NoMetadata);
                }
                self.join(join::oldest(&self.table));
                while let Some(found) = self.look()? {
                    let metadata = self.table.frames.metadata(found.position).unwrap_or_default();
                    if metadata.timestamp_ns >= timestamp_ns {
                        break;
                    }
                    self.advance(found.position + found.sealed.span_bytes);
                }
            }
        }
        Ok(())
    }

    fn join(&mut self, wanted: u64) {
        self.position = join::join(&self.table, &self.slot, wanted);
        self.published = self.position;
        // Whoever waited for the space in front of an older position may have it now.
        sync::light(self.registered);
        wake_sleepers(&self.table.live.waits.0);
    }

    fn count_missed(&self, wanted: u64) {
        count(&self.slot.missed_bytes, self.position.saturating_sub(wanted));
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if !self.side.is_here() {
            return;
        }
        let slot = &*self.slot;
        slot.resume.store(self.position, Ordering::Relaxed);
        let durable = slot.flags.load(Ordering::Relaxed) & DURABLE != 0;
        // ORDER P1 (Release, pairs with P2): the reads are over, and `resume` is stored.
        slot.position.store(if durable { self.position } else { IDLE }, Ordering::Release);
        slot.pid.store(0, Ordering::Relaxed);
        drop(self.lock.take());
        sync::light(self.registered);
        wake_sleepers(&self.table.live.waits.0);
    }
}

fn count(counter: &sync::AtomicU64, by: u64) {
    // ORDER none (Relaxed): only the slot's owner writes it.
    counter.store(counter.load(Ordering::Relaxed) + by, Ordering::Relaxed);
}

/// The slot of that name, or a free one for it; whether the name was known.
fn take_slot(
    core: &Core,
    table: &Table,
    repair: &Repair<'_>,
    name: &str,
    words: [u64; 8],
) -> Result<(u16, SlotLock, bool), Error> {
    let shown = core.shown();
    let shape = core.header.geometry.shape;
    let take = |index| {
        repair
            .take_slot(consumer_byte(shape.producers_max, index))
            .map_err(io_error("lock a consumer slot of", &shown))
    };
    let slots = table.all_consumers();
    if let Some((index, slot)) = (0u16..).zip(slots).find(|(_, slot)| load_name(slot) == words) {
        let lock = take(index)?.ok_or_else(|| Error::Busy {
            what: format!("consumer {name:?} of {shown:?}"),
            // ORDER none (Relaxed): display only.
            pid: pid_of(slot.pid.load(Ordering::Relaxed)),
        })?;
        return Ok((index, lock, true));
    }
    // Free slots first; then names that are away and were overwritten anyway, the one that missed most first.
    let lapped_below = table.tail().saturating_sub(table.frames.capacity_bytes());
    let mut candidates: Vec<(u64, u16)> = (0u16..)
        .zip(slots)
        .filter_map(|(index, slot)| {
            if slot.name[0].load(Ordering::Relaxed) == 0 {
                return Some((0, index));
            }
            let away = slot.pid.load(Ordering::Relaxed) == 0 && slot.position.load(Ordering::Relaxed) == IDLE;
            match slot.resume.load(Ordering::Relaxed) {
                IDLE if away => Some((0, index)),
                resume if away && resume < lapped_below => Some((resume + 1, index)),
                _ => None,
            }
        })
        .collect();
    candidates.sort_unstable();
    for (_, index) in candidates {
        let Some(lock) = take(index)? else { continue };
        store_name(&slots[usize::from(index)], words);
        return Ok((index, lock, false));
    }
    Err(Error::NoSlot { table: "consumer", slots: shape.consumers_max })
}

/// The words of a slot's name; under byte 0.
fn load_name(slot: &ConsumerSlot) -> [u64; 8] {
    // ORDER none (Relaxed): names change under byte 0 only.
    std::array::from_fn(|i| slot.name[i].load(Ordering::Relaxed))
}

/// A slot's name for display, without byte 0.
pub(crate) fn shown_name(slot: &ConsumerSlot) -> String {
    decode_name(load_name(slot))
}

fn store_name(slot: &ConsumerSlot, words: [u64; 8]) {
    // The first word says whether there is a name at all: none while the others change.
    // ORDER none (Relaxed): names change under byte 0; readers without it only display them.
    slot.name[0].store(0, Ordering::Relaxed);
    // The new name has read nothing yet; the old one's place means nothing to it.
    slot.resume.store(IDLE, Ordering::Relaxed);
    for (word, value) in slot.name.iter().zip(words).skip(1) {
        word.store(value, Ordering::Relaxed);
    }
    slot.name[0].store(words[0], Ordering::Relaxed);
}

/// A record in place. Dropped, it is released: producers may overwrite it once the consumer's position is published.
#[derive(Debug)]
pub struct Frame<'a> {
    consumer: &'a mut Consumer,
    payload: &'a [u8],
    found: Found,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}", self.sealed.head, self.position)
    }
}

/// What a record says about itself besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordInfo {
    /// Where it is.
    pub position: Position,
    /// When it was claimed, ns since the Unix epoch; `None` without metadata.
    pub timestamp_ns: Option<u64>,
    /// Its number among its producer slot's records, modulo 2^48; `None` without metadata.
    pub sequence: Option<u64>,
    /// The slot of its producer.
    pub producer: u16,
    /// The user's; 0 without metadata.
    pub level: u8,
    /// The user's; 0 without metadata.
    pub kind: u8,
    /// Bytes of payload.
    pub len_bytes: usize,
}

impl RecordInfo {
    /// What the header at `position` and the metadata behind it say.
    pub(crate) fn new(position: u64, sealed: Sealed, metadata: Option<crate::frame::view::Metadata>) -> Self {
        Self {
            position,
            timestamp_ns: metadata.map(|m| m.timestamp_ns),
            sequence: metadata.map(|m| m.sequence),
            producer: sealed.head.slot,
            level: metadata.map_or(0, |m| m.level),
            kind: metadata.map_or(0, |m| m.kind),
            len_bytes: sealed.head.len_bytes as usize,
        }
    }
}

impl Frame<'_> {
    /// Where the record is.
    pub fn position(&self) -> Position {
        self.found.position
    }

    /// The slot of its producer.
    pub fn producer(&self) -> u16 {
        self.found.sealed.head.slot
    }

    /// When it was claimed, ns since the Unix epoch; `None` without metadata.
    pub fn timestamp_ns(&self) -> Option<u64> {
        self.info().timestamp_ns
    }

    /// Its number among its producer slot's records, modulo 2^48; `None` without metadata.
    pub fn sequence(&self) -> Option<u64> {
        self.info().sequence
    }

    /// The user's level; 0 without metadata.
    pub fn level(&self) -> u8 {
        self.info().level
    }

    /// The user's kind; 0 without metadata.
    pub fn kind(&self) -> u8 {
        self.info().kind
    }

    /// All of that at once.
    pub fn info(&self) -> RecordInfo {
        let metadata = self.consumer.table.frames.metadata(self.found.position);
        RecordInfo::new(self.found.position, self.found.sealed, metadata)
    }
}

impl Deref for Frame<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.payload
    }
}

impl Drop for Frame<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.consumer.advance(self.found.position + self.found.sealed.span_bytes);
    }
}
