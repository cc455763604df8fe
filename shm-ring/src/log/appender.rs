//! Appender: the one who writes a log.
//!
//! ```text
//!   append: stage (frame into the active segment, plain variables) -> publish (`end`)          no system call, no lock
//!             |
//!             no room: roll  = publish, seal the active one, activate the prepared one         stores only, if there is one
//!             a MiB used up: ring for pages
//! ```
//!
//! What a death leaves, between any two stores: in `stage`, bytes behind `end`, which the next appender takes away before it goes on; between
//! `publish` and the index, an index that is short by an entry, which the next appender adds; in a roll, an ACTIVE segment, or a sealed one
//! with a prepared one behind it, which becomes active. After a power cut: see `recover.rs`.
//!
//! (I1) lock byte 1 of the log is held as long as one lives, and it alone stores frames; (I2) a batch that was staged is published at once, in
//! one segment: after a death all of it is there or none; (I3) every frame below `end` is whole; (I4) what was staged and can't be completed is
//! taken away, by this appender or by the next, and never published.
//! Prepares and syncs nothing itself, as long as its helpers keep up.

use super::error::{LogError, Trouble};
use super::helper::{Helpers, STEP_BYTES};
use super::receipt::LogReceipt;
use super::recover::{Recovery, scan};
use super::retention::Collected;
use super::segment::{Segment, Staged};
use super::shared::{Durability, Shared};
use super::tally::Tally;
use crate::layout::frame::{POSITION_END, encode_tags};
use crate::layout::manifest::Record;
use crate::layout::segment::{LogHead, LogState, span_of_log_record};
use crate::map::clock;
use crate::map::disk::Disk;
use crate::map::lock::{Locks, SlotLock};
use crate::map::medium::{Medium, MediumMap};
use std::cell::Cell;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The level of a record that has none, as in a ring.
const LEVEL_NONE: u8 = 255;

/// The appending half of a log, wherever it lives.
#[derive(Debug)]
pub(crate) struct Core<M: Medium> {
    pub(super) shared: Arc<Shared<M>>,
    segment: Arc<Segment<M::File>>,
    tally: Tally,
    /// Where the next frame goes.
    at: u64,
    /// Published up to here.
    end: u64,
    /// Where the segment ends.
    limit: u64,
    /// A frame that ends behind this needs a look: at the limit, or where pages are to be asked for.
    edge: u64,
    /// Entries of the index that are published.
    n_index: u64,
    /// The longest payload.
    len_max: usize,
    /// Everything is on the medium, and the manifest says so.
    is_closed: bool,
}

impl<M: Medium> Core<M> {
    /// Goes on at `end` in the active segment of what is shared, of which all was counted.
    pub(super) fn new(shared: Arc<Shared<M>>, tally: Tally, end: u64) -> Self {
        let segment = shared.hands().active.clone();
        let n_index = tally.n_index;
        let mut this = Self {
            shared,
            segment,
            tally,
            at: end,
            end,
            limit: 0,
            edge: 0,
            n_index,
            len_max: 0,
            is_closed: false,
        };
        this.set_bounds();
        this
    }

    /// Appends a frame and publishes it; where it begins.
    #[inline]
    pub(crate) fn append(&mut self, staged: &Staged<'_>) -> Result<u64, LogError> {
        let position = self.stage(staged)?;
        self.publish();
        Ok(position)
    }

    /// Appends a frame that nobody sees before [`publish`](Self::publish); where it begins. Rolls when there is no room, which publishes: who
    /// stages a batch that is to be seen as one looks for [`room_bytes`](Self::room_bytes) first.
    #[inline]
    pub(crate) fn stage(&mut self, staged: &Staged<'_>) -> Result<u64, LogError> {
        let span = staged.head.span_bytes();
        let is_plain = self.at + span <= self.edge
            && staged.payload.len() <= self.len_max
            && !self.segment.map().was_hit();
        if !is_plain || self.shared.failure().is_some() || !self.shared.side.is_here() {
            self.make_room(staged.payload.len() as u64, span)?;
        }
        let position = self.at;
        if position >= self.tally.index_at {
            let (n, entry) = self.tally.index(position);
            self.segment.put_index(n, entry);
        }
        self.segment.put(self.tally.base, position, staged);
        self.tally.count(staged.head.state, staged.timestamp_ns);
        self.at = position + span;
        Ok(position)
    }

    /// Shows readers everything that was staged.
    #[inline]
    pub(crate) fn publish(&mut self) {
        if self.at == self.end {
            return;
        }
        self.segment.publish(self.at);
        self.end = self.at;
        if self.n_index != self.tally.n_index {
            self.n_index = self.tally.n_index;
            self.segment.publish_index(self.n_index);
        }
    }

    /// Takes back what was staged and not published: of a batch that is not to be seen, now that the rest of it can't be staged.
    pub(crate) fn forget_staged(&mut self) {
        if self.at == self.end || !self.shared.side.is_here() {
            return;
        }
        let (base, staged) = (self.tally.base, self.at);
        self.segment.take_away(base, self.end, staged);
        self.at = self.end;
        // Counted again from the base: this happens seldom, and appending is not to count twice for it.
        let entry = {
            let manifest = self.shared.manifest();
            let state = manifest.state();
            state.place_of(self.segment.number()).map(|place| state.entries[place].clone())
        };
        let counted = entry.map(|entry| scan(&self.segment, &entry, base, self.end, self.end, |_, _| {}));
        match counted.filter(|counted| counted.end == self.end) {
            Some(counted) => self.tally = counted.tally,
            // What was published does not hold any more: nothing can be sealed over it.
            None => self.shared.fail(libc::EIO),
        }
        self.n_index = self.tally.n_index;
        self.set_bounds();
    }

    /// Whether the segment has no frame, published or staged.
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.tally.base
    }

    /// Bytes of frames that can be staged before the segment is full.
    pub(crate) fn room_bytes(&self) -> u64 {
        self.limit - self.at
    }

    /// The longest payload.
    pub(crate) fn record_bytes_max(&self) -> u64 {
        self.segment.header().extent.record_bytes_max().min(u32::MAX.into())
    }

    /// The longest payload of segments that are still to be made.
    pub(crate) fn next_record_bytes_max(&self) -> u64 {
        self.shared.settings.extent.record_bytes_max().min(u32::MAX.into())
    }

    /// How safe what is published is to be.
    pub(crate) fn durability(&self) -> Durability {
        self.shared.settings.durability
    }

    /// Behind the last record that was published.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Goes on in the next segment, and publishes what was staged in this one; stays in one that is empty.
    pub(crate) fn roll(&mut self) -> Result<(), LogError> {
        self.check()?;
        self.publish();
        let base = self.at;
        if base == self.tally.base {
            // No segment but the last is empty, so that the next one's first frame shows that it follows.
            return Ok(());
        }
        let next = self.take_prepared(base)?;
        let sealed = self.tally.sealed(base);
        self.segment.seal(&sealed);
        next.activate(base, self.shared.settings.boot);
        let full = std::mem::replace(&mut self.segment, next.clone());
        {
            let mut hands = self.shared.hands();
            hands.sealed.push_back((full, sealed));
            hands.active = next;
        }
        self.tally = Tally::new(base);
        self.n_index = 0;
        self.set_bounds();
        self.shared.pages.ring();
        self.shared.ahead.ring();
        self.shared.behind.ring();
        Ok(())
    }

    /// Brings everything that is published to the medium.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        self.check()?;
        self.publish();
        self.shared.bring(self.end, None).map(drop)
    }

    /// Brings everything to the medium, and says in the manifest that the log ends here in order.
    pub(crate) fn close(&mut self) -> Result<(), LogError> {
        if self.is_closed {
            return Ok(());
        }
        self.sync()?;
        self.shared.settle()?;
        let mut manifest = self.shared.manifest();
        manifest.add(&Record::Closed { end: self.end }).map_err(|why| why.as_append())?;
        self.is_closed = true;
        Ok(())
    }

    /// Lets go of what need not be kept, and of spares, and ends in order.
    pub(super) fn collect(&mut self) -> Result<Collected, Trouble> {
        let failed =
            |why: LogError| Trouble::Io { operation: "sync", name: String::new(), source: why.into_io() };
        self.sync().and_then(|()| self.shared.settle()).map_err(failed)?;
        let settings = self.shared.settings;
        let collected = self.shared.retire_to(settings.keep_bytes, settings.keep_for)?;
        self.shared.remove_spares();
        self.close().map_err(failed)?;
        Ok(collected)
    }

    /// Does the helpers' work, where there are none.
    #[cfg(test)]
    pub(crate) fn turn(&self) -> Result<(), LogError> {
        self.shared.turn()
    }

    fn check(&self) -> Result<(), LogError> {
        if !self.shared.side.is_here() {
            return Err(LogError::Forked);
        }
        if self.segment.map().was_hit() {
            return Err(LogError::Truncated);
        }
        self.shared.failure().map_or(Ok(()), Err)
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self, len_bytes: u64, span: u64) -> Result<(), LogError> {
        self.check()?;
        let max_bytes = self.record_bytes_max().max(self.next_record_bytes_max());
        if len_bytes > max_bytes {
            return Err(LogError::TooLong { len_bytes, max_bytes });
        }
        if self.at + span > self.limit || len_bytes > self.record_bytes_max() {
            self.roll()?;
            // Segments are not all of one size: the log was opened with another one before.
            let max_bytes = self.record_bytes_max();
            if len_bytes > max_bytes {
                return Err(LogError::TooLong { len_bytes, max_bytes });
            }
        }
        if self.at + span > self.edge {
            self.edge = self.limit.min(self.at + span + STEP_BYTES);
            self.shared.pages.ring();
        }
        Ok(())
    }

    fn set_bounds(&mut self) {
        self.limit = self.tally.base + self.segment.data_bytes();
        self.len_max = usize::try_from(self.record_bytes_max()).unwrap_or(0);
        self.edge = self.limit.min(self.at + STEP_BYTES);
    }

    /// A segment to go on in, from `base` on; made here when the helpers were too slow, or could not.
    fn take_prepared(&self, base: u64) -> Result<Arc<Segment<M::File>>, LogError> {
        if base > POSITION_END - 2 * self.shared.settings.extent.data_bytes {
            return Err(LogError::Exhausted);
        }
        // More than once only when nothing is prepared; nobody else takes one.
        for _ in 0..2 {
            if let Some(segment) = self.shared.hands().prepared.pop_front() {
                return Ok(segment);
            }
            self.shared.prepare().map_err(|why| why.as_append())?;
        }
        Err(LogError::System { operation: "prepare a segment", errno: libc::EIO })
    }
}

impl<M: Medium> Drop for Core<M> {
    fn drop(&mut self) {
        // On the other side of a fork, a thread that is not here may have had the locks.
        if self.shared.side.is_here() {
            self.shared.leave();
        }
    }
}

/// Appends records to a log, of which it is the only writer.
///
/// An append copies the record into a mapped file and publishes it; it makes no system call. Other processes read along. Helper threads make the
/// next segments and bring full ones to the medium. How safe a record is when `append` has returned, the log's
/// [`Durability`](crate::Durability) says.
///
/// Dropped, it ends its helpers; with `Interval` and `EachRecord` it first brings everything to the medium, as [`close`](Self::close) does.
///
/// Can be sent to another thread, but not shared with one; a `Mutex` around it shares it.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("log");
/// use shm_ring::LogOptions;
///
/// let mut log = LogOptions::new().segment_bytes(1 << 20).open_or_create(&path)?;
/// let first = log.append(b"hello")?;
/// let second = log.append_at(1_700_000_000_000_000_000, b"world")?;
/// assert!(first.position() < second.position() && second.position() < log.end());
/// log.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// One thread at a time:
///
/// ```compile_fail,E0277
/// # fn f(log: shm_ring::Appender) {
/// fn shared<T: Sync>(_: &T) {}
/// shared(&log);
/// # }
/// ```
#[derive(Debug)]
pub struct Appender {
    core: Core<Disk>,
    helpers: Helpers,
    recovery: Recovery,
    path: PathBuf,
    sequence: u64,
    /// Let go of last: until then nobody else opens the log.
    _alive: SlotLock,
    _locks: Locks,
    _not_sync: PhantomData<Cell<()>>,
}

/// What an appender has done since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppenderStats {
    /// Segments that were retired.
    pub n_retired: u64,
    /// Files that were used again for a new segment.
    pub n_recycled: u64,
    /// Syncs of segments, of all threads together.
    pub n_syncs: u64,
    /// Segments that are full, and not yet known to be on the medium.
    pub n_unsettled: usize,
    /// Segments that are ready to be appended to.
    pub n_prepared: usize,
}

impl Appender {
    pub(super) fn new(
        core: Core<Disk>,
        recovery: Recovery,
        path: &Path,
        (locks, alive): (Locks, SlotLock),
    ) -> Result<Self, Trouble> {
        let helpers = Helpers::start(&core.shared)?;
        let path = path.to_path_buf();
        Ok(Self {
            core,
            helpers,
            recovery,
            path,
            sequence: 0,
            _alive: alive,
            _locks: locks,
            _not_sync: PhantomData,
        })
    }

    /// Appends a record with the time of now.
    ///
    /// # Errors
    ///
    /// [`LogError::TooLong`] beyond a quarter of a segment; [`LogError::NoSpace`] when the segment is full and the next one does not fit on the
    /// file system; both with nothing changed. [`LogError::SyncFailed`], final; [`LogError::Forked`]; [`LogError::Truncated`];
    /// [`LogError::Exhausted`]; [`LogError::System`].
    #[inline]
    pub fn append(&mut self, payload: &[u8]) -> Result<LogReceipt, LogError> {
        self.append_at(clock::realtime_ns(), payload)
    }

    /// Appends a record with a time of the caller's, ns since the Unix epoch. Times need not ascend; a search by time finds the first record
    /// behind which there is one that is not older.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    #[inline]
    pub fn append_at(&mut self, timestamp_ns: u64, payload: &[u8]) -> Result<LogReceipt, LogError> {
        self.append_tagged(timestamp_ns, LEVEL_NONE, 0, payload)
    }

    /// Appends a record with a level and a kind, as records of a ring have them.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    #[inline]
    pub fn append_tagged(
        &mut self,
        timestamp_ns: u64,
        level: u8,
        kind: u8,
        payload: &[u8],
    ) -> Result<LogReceipt, LogError> {
        let len_bytes = payload.len() as u64;
        let position = self.append_of(0, timestamp_ns, encode_tags(self.sequence, level, kind), payload)?;
        self.sequence += 1;
        let shared = match self.core.shared.settings.durability {
            Durability::Process => None,
            _ => Some(self.core.shared.clone()),
        };
        Ok(LogReceipt::new(position, position + span_of_log_record(len_bytes), shared))
    }

    /// Appends a record of a producer, with the tags that it has in a ring; where it is.
    #[inline]
    pub(crate) fn append_of(
        &mut self,
        producer: u16,
        timestamp_ns: u64,
        tags: u64,
        payload: &[u8],
    ) -> Result<u64, LogError> {
        let len_bytes = payload.len() as u64;
        let Ok(len) = u32::try_from(len_bytes) else {
            return Err(LogError::TooLong { len_bytes, max_bytes: self.core.record_bytes_max() });
        };
        let head = LogHead { len_bytes: len, state: LogState::Data, slot: producer };
        self.core.append(&Staged { head, timestamp_ns, tags, payload })
    }

    /// Brings everything that was appended to the medium, and returns when it is there.
    ///
    /// # Errors
    ///
    /// [`LogError::SyncFailed`], which is final; [`LogError::System`] and [`LogError::NoSpace`] when the manifest could not be written, which
    /// may be tried again; [`LogError::Forked`]; [`LogError::Truncated`].
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.core.sync()
    }

    /// Brings everything to the medium and ends in order: who opens the log after a restart of the machine finds that nothing was lost, and
    /// goes on where this ends.
    ///
    /// # Errors
    ///
    /// As [`sync`](Self::sync).
    pub fn close(mut self) -> Result<(), LogError> {
        if !self.core.shared.side.is_here() {
            return Err(LogError::Forked);
        }
        self.helpers.stop(&self.core.shared);
        self.core.forget_staged();
        self.core.close()
    }

    /// The position behind the last record, where the next one goes, unless its segment is full.
    pub fn end(&self) -> u64 {
        self.core.end
    }

    /// The position below which everything is known to be on the medium.
    pub fn durable(&self) -> u64 {
        self.core.shared.durable()
    }

    /// The longest record that this log takes, in bytes: a quarter of a segment of the size that it was opened with.
    pub fn record_bytes_max(&self) -> u64 {
        self.core.next_record_bytes_max()
    }

    /// What was found when the log was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// What this appender and its helpers have done.
    pub fn stats(&self) -> AppenderStats {
        if !self.core.shared.side.is_here() {
            return AppenderStats { n_retired: 0, n_recycled: 0, n_syncs: 0, n_unsettled: 0, n_prepared: 0 };
        }
        let hands = self.core.shared.hands();
        AppenderStats {
            n_retired: hands.n_retired,
            n_recycled: hands.n_recycled,
            n_syncs: hands.n_syncs,
            n_unsettled: hands.sealed.len(),
            n_prepared: hands.prepared.len(),
        }
    }

    /// The log's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The appending half, for who stages frames of a ring.
    pub(crate) fn core(&mut self) -> &mut Core<Disk> {
        &mut self.core
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        if !self.core.shared.side.is_here() {
            // The threads, and whoever held the locks, are on the other side.
            self.helpers.forget();
            return;
        }
        self.helpers.stop(&self.core.shared);
        // A batch that was to be published has been; this one its recorder could not finish.
        self.core.forget_staged();
        if self.core.shared.settings.durability != Durability::Process {
            // Who wants to hear of it calls `close`.
            let _ = self.core.close();
        }
    }
}
