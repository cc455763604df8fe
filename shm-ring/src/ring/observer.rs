//! Observer: a lossy reader that nobody notices. Read-only mapping, no slot, no store, copies only.
//!
//! ```text
//!   header -> copy the payload -> fence Acquire -> tail once more
//!                                                   |
//!              position + capacity >= tail: good    |    else: Lapped, go on at the oldest frame
//! ```
//!
//! (I1) nothing that was copied is used before the second look at the tail; (I2) no reference into the data is ever handed out; (I3) no
//! read-modify-write, which would fault on read-only memory; (I4) every loop ends whatever the bytes are.

use super::consumer::Origin;
use super::cursor::DESTROYED;
use super::loss::{Ledger, Loss};
use super::names::Start;
use super::record::RecordInfo;
use super::stall::{self, Stalled, Stuck};
use super::stats::{self, Stats};
use super::wait::Wait;
use super::{Core, join};
use crate::error::{Error, PollError};
use crate::frame::lossy::{self, Copied};
use crate::frame::scan::first_frame;
use crate::frame::table::Table;
use crate::frame::view::{Metadata, Sealed};
use crate::layout::frame::{FRAME_ALIGN, IDLE, POSITION_END, Position, State, is_boundary};
use crate::layout::header::Header;
use crate::layout::slots::producer_byte;
use crate::map::file::io_error;
use crate::map::mirror::Access;
use crate::map::region::Region;
use crate::sync::{self, Ordering};
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sleeps of an observer that waits: it can't ask to be woken, so it looks again after this, doubling.
const SLEEP_MIN: Duration = Duration::from_micros(50);
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// Copies records out of a ring without taking part in it: never slows anybody, and is told exactly what it missed.
///
/// A file that nobody has opened for writing since a reboot is shown as the disk has it: after a power cut, records in it may be damaged.
///
/// # Examples
///
/// ```
/// # let ring = shm_ring::RingOptions::new().anonymous()?;
/// # let mut producer = ring.producer()?;
/// let mut observer = ring.observer()?;
/// producer.push(b"seen")?;
/// let mut payload = Vec::new();
/// let info = observer.try_next(&mut payload)?.expect("there is one");
/// assert_eq!((&payload[..], info.len_bytes), (&b"seen"[..], 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Observer {
    table: Table,
    core: Arc<Core>,
    position: u64,
    /// A tail that was there.
    tail_seen: u64,
    lost_records: u64,
    /// What was LOST there is counted, and all in between was read.
    counted: Range<u64>,
    ledger: Ledger,
    stuck: Stuck,
    fruitless: u32,
    /// Older records are passed over until one is not; 0: none are.
    since_ns: u64,
    /// What a seek has found to be gone, to be told by the next call.
    lapped: Option<PollError>,
    poisoned: Option<PollError>,
    /// The one that the table's seals are of.
    epoch: u64,
    wait: Wait,
}

const TAIL_TOO_FAR: &str = "the tail is beyond the end of all positions";

/// What one look brought.
enum Look {
    Record(RecordInfo),
    Skipped,
    Nothing,
}

impl Observer {
    pub(crate) fn new(file: File, header: Header, path: Option<PathBuf>, wait: Wait) -> Result<Self, Error> {
        let shown = path.clone().unwrap_or_default();
        let region = Region::new(&file, header.geometry, Access::ReadOnly, path.is_none())
            .map_err(io_error("map", &shown))?;
        let core = Core::new(file, region, header, path, false, false)?;
        let (table, epoch) = core.table_and_epoch();
        let position = table.tail().min(POSITION_END) & !(FRAME_ALIGN - 1);
        core.whole(Ok(()))?;
        Ok(Self {
            table,
            core,
            position,
            tail_seen: 0,
            lost_records: 0,
            counted: position..position,
            ledger: Ledger::default(),
            stuck: Stuck::default(),
            fruitless: 0,
            since_ns: 0,
            lapped: None,
            poisoned: None,
            epoch,
            wait,
        })
    }

    /// Copies the next record into `payload`, which is cleared first; `None`: there is none yet.
    ///
    /// # Errors
    ///
    /// [`PollError::Lapped`] when records were overwritten before they could be read: once, the next call goes on behind them;
    /// [`PollError::Corrupt`] and [`PollError::Truncated`], once and for all; [`PollError::Closed`] at the end of an anonymous ring; [`PollError::Forked`].
    pub fn try_next(&mut self, payload: &mut Vec<u8>) -> Result<Option<RecordInfo>, PollError> {
        if self.core.check_side().is_err() {
            return Err(PollError::Forked);
        }
        // Seals are of one position, so one lap of frames is all that can be skipped, unless more come meanwhile.
        for _ in 0..=self.table.frames.capacity_bytes() / FRAME_ALIGN {
            payload.clear();
            if let Some(error) = self.poisoned.or(self.lapped.take()) {
                return Err(error);
            }
            let from = self.position;
            let looked = self.look(payload);
            if self.is_truncated(from) {
                payload.clear();
                self.poisoned = Some(PollError::Truncated);
                return Err(PollError::Truncated);
            }
            match looked? {
                Look::Record(info) => return Ok(Some(info)),
                Look::Skipped => {}
                Look::Nothing => break,
            }
        }
        payload.clear();
        Ok(None)
    }

    /// Copies the next record into `payload`; waits for it, on a timer.
    ///
    /// # Errors
    ///
    /// As [`Observer::try_next`].
    pub fn next(&mut self, payload: &mut Vec<u8>) -> Result<RecordInfo, PollError> {
        self.wait_for(payload, None)?.ok_or(PollError::Closed)
    }

    /// Copies the next record into `payload`; `None` when none came within `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Observer::try_next`].
    pub fn next_timeout(
        &mut self,
        payload: &mut Vec<u8>,
        timeout: Duration,
    ) -> Result<Option<RecordInfo>, PollError> {
        self.wait_for(payload, Instant::now().checked_add(timeout))
    }

    /// Goes elsewhere.
    ///
    /// # Errors
    ///
    /// [`PollError::NoSuchPosition`], [`PollError::NoMetadata`]; the observer stays where it is.
    pub fn seek(&mut self, start: Start) -> Result<(), PollError> {
        if self.core.check_side().is_err() {
            return Err(PollError::Forked);
        }
        // Aligned and in bounds, whatever a forged header makes of them.
        let oldest = join::oldest(&self.table) & !(FRAME_ALIGN - 1);
        let tail = self.table.tail().min(POSITION_END) & !(FRAME_ALIGN - 1);
        let mut lapped = None;
        let (position, since_ns) = match start {
            Start::Oldest => (oldest, 0),
            Start::Now => (tail, 0),
            Start::At(position) => {
                let first = join::start_at(&self.table, position, IDLE)? & !(FRAME_ALIGN - 1);
                // It is gone: the next call says so, and how much.
                lapped = (first > position)
                    .then(|| PollError::Lapped { lost_bytes: first - position, resumed_at: first });
                (first, 0)
            }
            Start::Since(_) if !self.has_metadata() => return Err(PollError::NoMetadata),
            Start::Since(timestamp_ns) => (oldest, timestamp_ns),
        };
        if self.table.frames.data().is_truncated() {
            return Err(PollError::Truncated);
        }
        (self.position, self.since_ns, self.lapped) = (position, since_ns, lapped);
        self.go_on_counting();
        Ok(())
    }

    /// The next record's position, if there is one.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next position that a producer will claim; the observer's own on the wrong side of a fork.
    pub fn tail(&self) -> Position {
        if self.core.check_side().is_err() { self.position } else { self.table.tail() }
    }

    /// Which ring this is, for who compares it with what was noted elsewhere.
    pub(crate) fn origin(&self) -> Origin {
        let header = &self.core.header;
        Origin {
            uuid: header.uuid,
            epoch: self.epoch,
            tail: self.table.tail(),
            capacity_bytes: header.geometry.shape.capacity_bytes,
            payload_max_bytes: header.geometry.payload_max_bytes(),
        }
    }

    /// Whether records carry timestamp, sequence, level and kind.
    pub fn has_metadata(&self) -> bool {
        self.table.frames.metadata_bytes() != 0
    }

    /// Claims of producers that died in the middle of one, which this observer skipped; what it has gone back over counts once.
    pub fn lost_records(&self) -> u64 {
        self.lost_records
    }

    /// Places where it was told that something is missing, but for laps.
    pub(crate) fn n_gaps(&self) -> u64 {
        self.lost_records + self.ledger.n_gaps()
    }

    /// Whose records this observer did not get since it was made, and how many.
    pub fn lost(&self) -> Vec<Loss> {
        self.ledger.losses()
    }

    /// The living producer whose unfinished claim this observer waits for, if it waits for one. Examines a lock: not for hot loops.
    pub fn stalled(&self) -> Option<Stalled> {
        self.core.check_side().ok()?;
        stall::stalled(&self.table, &self.core.locks, self.position, &self.stuck)
    }

    /// What the tables say now; takes no slot and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the locks can't be examined; [`Error::Forked`].
    pub fn stats(&self) -> Result<Stats, Error> {
        self.core.check_side()?;
        self.core.whole(stats::read(&self.core))
    }

    /// Whether what was looked at from `from` on may be zeros of a file that has become shorter. Behind the look: a cut takes whole pages
    /// away before it makes zeros of the rest of one, and (L2) orders the look before this.
    #[inline]
    fn is_truncated(&self, from: u64) -> bool {
        let frames = &self.table.frames;
        let capacity = frames.capacity_bytes();
        let span = self.position.abs_diff(from);
        if cfg!(feature = "guard") && (from & (capacity - 1)) + span > capacity - self.core.page_bytes() {
            // In the last page nothing but the file's length tells.
            self.core.measure();
        }
        frames.data().is_truncated()
    }

    fn look(&mut self, payload: &mut Vec<u8>) -> Result<Look, PollError> {
        let copied = lossy::look(&self.table, self.position, payload);
        self.check_lapped(&copied)?;
        let sealed = match copied.found {
            Ok(Some(sealed)) if sealed.head.state != State::Claimed => sealed,
            Ok(open) => return self.nothing(open),
            Err(what) => return Err(self.poison(what)),
        };
        if let Some(gap) = copied.gap {
            self.ledger.gap(sealed.head.slot, gap);
        }
        Ok(self.pass(sealed, copied.metadata))
    }

    #[cold]
    fn poison(&mut self, what: &'static str) -> PollError {
        let error = PollError::Corrupt { position: self.position, what };
        self.poisoned = Some(error);
        error
    }

    fn pass(&mut self, sealed: Sealed, metadata: Option<Metadata>) -> Look {
        let position = self.position;
        self.position += sealed.span_bytes;
        self.fruitless = 0;
        match sealed.head.state {
            State::Data | State::Inner => {
                if let Some(metadata) = metadata {
                    self.ledger.record(sealed.head.slot, metadata.sequence);
                }
                if metadata.unwrap_or_default().timestamp_ns < self.since_ns {
                    return Look::Skipped;
                }
                self.since_ns = 0;
                let len_bytes = sealed.head.len_bytes as usize;
                Look::Record(RecordInfo::new(position, len_bytes, sealed.head.slot, metadata))
            }
            State::Lost => {
                self.note_lost(position, Some(sealed.head.slot));
                Look::Skipped
            }
            State::Pad | State::Gap | State::Claimed => Look::Skipped,
        }
    }

    /// Whether what was copied from the position may be used.
    fn check_lapped(&mut self, copied: &Copied) -> Result<(), PollError> {
        let span_bytes = copied.found.ok().flatten().map_or(0, |sealed| sealed.span_bytes);
        let Some(tail) = copied.overtaken else {
            return if self.position + span_bytes <= self.tail_seen {
                Ok(())
            } else {
                self.check_tail(span_bytes)
            };
        };
        if tail > POSITION_END {
            return Err(self.poison(TAIL_TOO_FAR));
        }
        let capacity = self.table.frames.capacity_bytes();
        // A little behind the very oldest, which would be overwritten before it is read.
        let tail = tail & !(FRAME_ALIGN - 1);
        let from = tail - (capacity - capacity / 8);
        let resumed_at = first_frame(&self.table.frames, from, tail);
        let lost_bytes = resumed_at - self.position;
        self.position = resumed_at;
        self.note_lapped();
        Err(PollError::Lapped { lost_bytes, resumed_at })
    }

    /// Whether the tail has gone past the frame that was found. Asked once for all frames below it.
    #[cold]
    fn check_tail(&mut self, span_bytes: u64) -> Result<(), PollError> {
        let tail = self.table.tail();
        if tail > POSITION_END {
            return Err(self.poison(TAIL_TOO_FAR));
        }
        self.tail_seen = tail;
        if span_bytes == 0 || self.position + span_bytes <= tail {
            return Ok(());
        }
        Err(self.poison("a frame ends beyond the tail"))
    }

    fn note_lapped(&mut self) {
        if self.has_metadata() {
            self.ledger.lapped();
        }
    }

    /// Whether the ring was begun anew after a reboot: then no seal that this observer knows comes any more.
    fn check_epoch(&mut self) -> Result<(), PollError> {
        // ORDER none (Relaxed): changes only when nobody is attached, and what is read then is validated like everything else.
        if self.table.live.era.0.epoch.load(Ordering::Relaxed) == self.epoch {
            return Ok(());
        }
        (self.table, self.epoch) = self.core.table_and_epoch();
        self.tail_seen = 0;
        let resumed_at = join::oldest(&self.table) & !(FRAME_ALIGN - 1);
        let lost_bytes = resumed_at.saturating_sub(self.position);
        self.position = resumed_at;
        self.counted = resumed_at..resumed_at;
        self.note_lapped();
        Err(PollError::Lapped { lost_bytes, resumed_at })
    }

    /// Nothing finished stands here: not yet, overwritten, a dead producer's claim, or the end.
    fn nothing(&mut self, open: Option<Sealed>) -> Result<Look, PollError> {
        self.check_epoch()?;
        self.fruitless = self.fruitless.wrapping_add(1);
        // The tail is the producers' line, and a claim's owner is alive as a rule: asked seldom.
        if self.fruitless % 64 == 0 {
            self.core.measure();
            if self.table.tail() > self.position {
                self.stuck.note(self.position);
                return self.pass_dead(open);
            }
        }
        // Nobody counts those who were killed.
        let is_due = self.fruitless % 64 == 0 || self.table.may_be_left();
        if self.core.is_anonymous() && is_due { self.closed_or_nothing() } else { Ok(Look::Nothing) }
    }

    /// Steps over a claim whose producer is dead; changes nothing in the ring.
    fn pass_dead(&mut self, open: Option<Sealed>) -> Result<Look, PollError> {
        let Ok(probe) = self.core.locks.probe() else { return Ok(Look::Nothing) };
        let alive = |slot: u16| probe.is_held(producer_byte(slot)).unwrap_or(true);
        let from = self.position;
        let owners = stall::owners(&self.table, from, open);
        if owners.iter().any(|slot| alive(*slot)) {
            return Ok(Look::Nothing);
        }
        // The header again: a frame that was finished before its producer ended counts.
        let again = self.table.frames.checked(self.position).ok().flatten();
        match (open, again) {
            (Some(open), Some(again)) if again.head == open.head => self.position += open.span_bytes,
            (None, None) if !owners.is_empty() => {
                // To the next boundary that anybody knows of: a live claim behind the hole is not stepped over.
                let tail = self.table.tail().min(POSITION_END) & !(FRAME_ALIGN - 1);
                // ORDER I2 (Acquire, pairs with I1): an intent above it is a boundary.
                let intents = self.table.producers().iter().map(|slot| slot.intent.load(Ordering::Acquire));
                let next = intents
                    .filter(|intent| *intent > self.position && is_boundary(*intent))
                    .fold(tail, u64::min);
                self.position = first_frame(&self.table.frames, self.position + FRAME_ALIGN, next);
            }
            (None, None) => {
                // Behind the looks at tail, intents and header, in this order: see `Cursor::look_for_hole`.
                let last = lossy::look(&self.table, self.position, &mut Vec::new());
                self.check_lapped(&last)?;
                return if matches!(last.found, Ok(None)) {
                    Err(self.poison(DESTROYED))
                } else {
                    Ok(Look::Nothing)
                };
            }
            _ => return Ok(Look::Nothing),
        }
        self.note_lost(from, owners.first().copied());
        Ok(Look::Skipped)
    }

    /// A claim that nobody finished was there.
    fn note_lost(&mut self, position: u64, owner: Option<u16>) {
        if self.counted.contains(&position) {
            return;
        }
        self.counted.end = position + 1;
        self.lost_records += 1;
        if let Some(owner) = owner {
            self.ledger.lost(owner);
        }
    }

    /// The position is another one. What is in front of where all was read from on, or behind where it was read to, was not.
    fn go_on_counting(&mut self) {
        if self.position < self.counted.start || self.position > self.counted.end {
            self.counted = self.position..self.position;
        }
    }

    fn closed_or_nothing(&mut self) -> Result<Look, PollError> {
        let came = self.table.producers_ever();
        if !self.table.had_producers() {
            return Ok(Look::Nothing);
        }
        let owned: Vec<u16> = self.table.attached().collect();
        if !owned.is_empty() {
            // Gone without a word, perhaps: its lock tells.
            if self.fruitless % 64 != 0 {
                return Ok(Look::Nothing);
            }
            let Ok(probe) = self.core.locks.probe() else { return Ok(Look::Nothing) };
            if owned.iter().any(|slot| probe.is_held(producer_byte(*slot)).unwrap_or(true)) {
                return Ok(Look::Nothing);
            }
        }
        if self.table.tail() > self.position || self.table.frames.is_finished(self.position) {
            return Ok(Look::Skipped);
        }
        // One that came while the others left may have been passed over.
        if self.table.producers_ever() == came { Err(PollError::Closed) } else { Ok(Look::Nothing) }
    }

    fn wait_for(
        &mut self,
        payload: &mut Vec<u8>,
        deadline: Option<Instant>,
    ) -> Result<Option<RecordInfo>, PollError> {
        let mut looks = 0u32;
        let mut sleep = SLEEP_MIN;
        loop {
            if let Some(info) = self.try_next(payload)? {
                return Ok(Some(info));
            }
            looks = looks.wrapping_add(1);
            match self.wait {
                Wait::Spin if looks % 4096 != 0 => sync::spin_hint(),
                Wait::Adaptive if looks < 256 => sync::spin_hint(),
                Wait::Spin | Wait::Yield => std::thread::yield_now(),
                Wait::Block | Wait::Adaptive => {
                    // Behind an open claim, each look counts towards asking for its owner.
                    self.fruitless |= 63;
                    let rest = deadline.map_or(sleep, |d| d.saturating_duration_since(Instant::now()));
                    std::thread::sleep(sleep.min(rest));
                    sleep = (sleep * 2).min(SLEEP_MAX);
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return self.try_next(payload);
            }
        }
    }
}

const _: () = assert!(IDLE > POSITION_END);
