//! Batch: all records of one instant, over all sources, those that one source has of it included.
//!
//! ```text
//!   merge: | 10 a | 10 a | 10 c | 20 b | 30 a | 30 b | ...
//!          |---- Moment 10 -----| - 20 |--- Moment 30 ...
//! ```
//!
//! (I1) nothing is copied or collected: a moment is the merge, until its time changes; (I2) each record is in one moment.

use super::merge::{Event, Merge, MergeError};
use super::source::{Source, Stamp};

/// A merge, an instant at a time.
///
/// # Examples
///
/// ```no_run
/// use shm_ring::replay::{Batches, MapPool, Merge, PoolOptions};
///
/// let pool = PoolOptions::new().build()?;
/// let mut merge = Merge::new();
/// merge.add(pool.open("logs/a")?);
/// merge.add(pool.open("logs/b")?);
/// let mut batches = Batches::new(merge);
/// while let Some(mut moment) = batches.next()? {
///     println!("at {} ns", moment.timestamp_ns());
///     while let Some(event) = moment.next()? {
///         println!("  {}: {:?}", event.source, event.record);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Batches<S> {
    merge: Merge<S>,
    now_ns: Option<u64>,
    /// Whether there may be records of that time that the last moment has not handed out.
    is_open: bool,
}

/// All records of one instant, in the order of the merge's; those that are not taken are skipped.
#[derive(Debug)]
pub struct Moment<'a, S> {
    batches: &'a mut Batches<S>,
    timestamp_ns: u64,
    goes_on: bool,
}

impl<S: Source> Batches<S> {
    /// Of that merge, from its next record on.
    pub fn new(merge: Merge<S>) -> Self {
        Self { merge, now_ns: None, is_open: false }
    }

    /// The next instant of which there are records; `None`: there is none yet that is known to be the next, or all sources
    /// [have ended](Merge::is_over).
    ///
    /// Records that are out of order in a source that [passes](super::stage::Order::Pass) them are moments of their own.
    ///
    /// # Errors
    ///
    /// As [`Merge::next`].
    #[expect(clippy::should_implement_trait, reason = "a moment borrows the batches")]
    pub fn next(&mut self) -> Result<Option<Moment<'_, S>>, MergeError> {
        let mut next = self.merge.peek()?;
        while let (true, Some((_, stamp))) = (self.is_open, next) {
            if self.now_ns == Some(stamp.timestamp_ns) {
                self.merge.next()?;
                next = self.merge.peek()?;
            } else {
                self.is_open = false;
            }
        }
        let Some((_, stamp)) = next else { return Ok(None) };
        let goes_on = self.now_ns == Some(stamp.timestamp_ns);
        (self.now_ns, self.is_open) = (Some(stamp.timestamp_ns), true);
        Ok(Some(Moment { batches: self, timestamp_ns: stamp.timestamp_ns, goes_on }))
    }

    /// Goes to the first instant at that time or later.
    ///
    /// # Errors
    ///
    /// As [`Merge::seek`].
    pub fn seek(&mut self, since_ns: u64) -> Result<(), MergeError> {
        (self.now_ns, self.is_open) = (None, false);
        self.merge.seek(since_ns)
    }

    /// One more source, as by [`Merge::add`].
    pub fn add(&mut self, source: S) -> usize {
        self.merge.add(source)
    }

    /// What is being merged.
    pub fn merge(&self) -> &Merge<S> {
        &self.merge
    }

    /// The merge, which goes on behind the last record that was handed out.
    pub fn into_merge(self) -> Merge<S> {
        self.merge
    }
}

impl<S: Source> Moment<'_, S> {
    /// The time of all of its records, ns since the Unix epoch.
    pub fn timestamp_ns(&self) -> u64 {
        self.timestamp_ns
    }

    /// Whether the moment in front of this one had this time, too: a source that had [nothing yet](super::source::Next::NotYet) has more
    /// of it now.
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// The next record; `None`: there is no other of that time, or none yet.
    ///
    /// # Errors
    ///
    /// As [`Merge::next`]; the next call goes on with the same moment, the rest of which comes as another one if this one is let go of now.
    #[expect(clippy::should_implement_trait, reason = "an event borrows the merge")]
    pub fn next(&mut self) -> Result<Option<Event<S::Record<'_>>>, MergeError> {
        let found = self.batches.merge.peek();
        let is_of_it = |&(_, stamp): &(usize, Stamp)| stamp.timestamp_ns == self.timestamp_ns;
        // Who leaves because of an error skips nothing by that.
        self.batches.is_open = found.as_ref().is_ok_and(|next| next.as_ref().is_some_and(is_of_it));
        if self.batches.is_open { self.batches.merge.next() } else { found.map(|_| None) }
    }
}
