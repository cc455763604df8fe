//! As of: the last record of each source at a time.
//!
//! ```text
//!   a: ----x-------x---|--x---       last(a): the second x
//!   b: x---------------|----x-       last(b): the x, however far in front it is
//!   c: ----------------|-x----       last(c): none
//!                    now_ns
//! ```
//!
//! (I1) what is kept of a source is that of its records at or before now that is the latest, of several of one time the last one.

use super::merge::{Merge, MergeError};
use super::pool_source::{Body, PoolSource};
use super::source::{Source, SourceError, Stamp};
use super::stage::Tags;

/// A source of whose records copies can be kept.
pub trait Keep: Source {
    /// A copy of a record.
    type Kept: Default;

    /// Makes that the copy of the [record](Source::record) of the last step, in the memory that it has.
    ///
    /// # Errors
    ///
    /// [`SourceError`]: it can't be read.
    fn keep(&self, kept: &mut Self::Kept) -> Result<(), SourceError>;
}

/// A copy of a pool's record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// What it says of itself besides its time.
    pub tags: Tags,
    /// What was recorded; a row of a table as JSON, as [`Replayed::payload`](super::pool_source::Replayed::payload) has it.
    pub bytes: Vec<u8>,
}

impl Keep for PoolSource {
    type Kept = Kept;

    fn keep(&self, kept: &mut Kept) -> Result<(), SourceError> {
        let record = self.record();
        kept.tags = record.tags;
        kept.bytes.clear();
        match record.body {
            Body::Bytes(bytes) => kept.bytes.extend_from_slice(bytes),
            #[cfg(feature = "arrow")]
            Body::Row(row) => row.write_json(&mut kept.bytes)?,
        }
        Ok(())
    }
}

/// The last record of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last<K> {
    /// When it was.
    pub stamp: Stamp,
    /// Its copy.
    pub kept: K,
}

/// A merge of which the last record of each source is kept.
///
/// # Examples
///
/// ```no_run
/// use shm_ring::replay::{AsOf, MapPool, Merge, PoolOptions};
///
/// let pool = PoolOptions::new().build()?;
/// let mut merge = Merge::new();
/// let quotes = merge.add(pool.open("logs/quotes")?);
/// let mut as_of = AsOf::new(merge);
/// as_of.advance_to(1_700_000_000_000_000_000)?;
/// if let Some(last) = as_of.last(quotes) {
///     println!("{} ns: {:?}", last.stamp.timestamp_ns, last.kept.bytes);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsOf<S: Keep> {
    merge: Merge<S>,
    lasts: Vec<Slot<S::Kept>>,
    now_ns: u64,
}

#[derive(Debug, Default)]
struct Slot<K> {
    is_there: bool,
    last: Last<K>,
}

impl<S: Keep> AsOf<S> {
    /// Of that merge; what it has handed out already is not known.
    pub fn new(merge: Merge<S>) -> Self {
        Self { merge, lasts: vec![], now_ns: 0 }
    }

    /// Now is that time, all records at or before which have been read then; `false`: as far as they are there, some source
    /// [has none yet](super::source::Next::NotYet) and has not promised to have none from before, or the merge
    /// [has stopped](Merge::stop_on_error).
    ///
    /// Forward, everything in between is read, and back is a [`seek`](Self::seek).
    ///
    /// # Errors
    ///
    /// [`MergeError`]: a source has failed, of which what it had is kept; the same call again goes on.
    pub fn advance_to(&mut self, until_ns: u64) -> Result<bool, MergeError> {
        if until_ns < self.now_ns {
            return self.seek(until_ns);
        }
        self.now_ns = until_ns;
        while let Some((_, stamp)) = self.merge.peek()? {
            if stamp.timestamp_ns > until_ns {
                return Ok(true);
            }
            self.keep()?;
        }
        Ok(self.merge.is_past(until_ns))
    }

    /// As [`advance_to`](Self::advance_to), but what lies in between is not read, as far as the sources can find what
    /// [they had last](Source::seek_before) at that time.
    ///
    /// # Errors
    ///
    /// As [`advance_to`](Self::advance_to), which is also what goes on then.
    pub fn seek(&mut self, until_ns: u64) -> Result<bool, MergeError> {
        // What a source had last is still right if it was at or before that time already; else it will be met.
        for slot in self.lasts.iter_mut().filter(|slot| slot.last.stamp.timestamp_ns > until_ns) {
            slot.is_there = false;
        }
        self.now_ns = until_ns;
        self.merge.seek_before(until_ns)?;
        self.advance_to(until_ns)
    }

    /// The last record of that source, by its number.
    pub fn last(&self, source: usize) -> Option<&Last<S::Kept>> {
        self.lasts.get(source).filter(|slot| slot.is_there).map(|slot| &slot.last)
    }

    /// The time that was asked for last, ns since the Unix epoch.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// One more source, as by [`Merge::add`].
    pub fn add(&mut self, source: S) -> usize {
        self.merge.add(source)
    }

    /// What is being merged.
    pub fn merge(&self) -> &Merge<S> {
        &self.merge
    }

    /// Takes the next record, and keeps it unless a later one of its source is kept.
    fn keep(&mut self) -> Result<(), MergeError> {
        let next = self.merge.next()?.map(|event| (event.source, event.stamp));
        let Some((source, stamp)) = next else { return Ok(()) };
        if source >= self.lasts.len() {
            self.lasts.resize_with(source + 1, Slot::default);
        }
        let slot = &mut self.lasts[source];
        if !slot.is_there || slot.last.stamp.timestamp_ns <= stamp.timestamp_ns {
            let from = &self.merge.sources()[source];
            let kept = from.keep(&mut slot.last.kept);
            (slot.is_there, slot.last.stamp) = (kept.is_ok(), stamp);
            kept.map_err(|error| MergeError::of(source, from, error))?;
        }
        Ok(())
    }
}
