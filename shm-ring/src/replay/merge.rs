//! Merge: one order out of many sources.
//!
//! ```text
//!             add, seek                 the winner is a record            handed out
//!   (start) -----------> | Unsettled | ------------------------> | Found | ----------> | HandedOut |
//!                              ^  ask whoever would be next,         ^                      |
//!                              |  until it has a record              +---- step, replay ----+
//!                              +------------ it has none, has ended, has failed ------------+
//! ```
//!
//! (I1) what is handed out has the least (timestamp, source) of all that is there and, as far as the sources have promised, may still come;
//! (I2) a source is stepped when all that it had has been handed out and the next record is asked for, not before.

use super::source::{Next, Source, SourceError, Stamp};
use super::tree::{Key, Tree};
use crate::map::prefetch;
use std::collections::VecDeque;
use std::{error, fmt};

/// A record, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Event<R> {
    /// The number of its source, in the order in which they were added, from 0.
    pub source: usize,
    /// When it was.
    pub stamp: Stamp,
    /// The record.
    pub record: R,
}

/// A source that could not go on.
#[derive(Debug)]
pub struct MergeError {
    /// Its number.
    pub source_number: usize,
    /// Its name.
    pub name: String,
    /// Why.
    pub error: Box<SourceError>,
}

impl MergeError {
    /// Of that source.
    #[cold]
    pub(super) fn of(source_number: usize, source: &impl Source, error: SourceError) -> Self {
        Self { source_number, name: source.name().to_owned(), error: Box::new(error) }
    }
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.error)
    }
}

impl error::Error for MergeError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&*self.error)
    }
}

/// What a merge has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeStats {
    /// Records that were handed out.
    pub n_records: u64,
    /// Comparisons of keys: for k sources at most ceil(log2 k) + 1 a record, from the first one on, the same for each answer of a source that
    /// it has [none yet](Next::NotYet), and less than 2 k for starting or [seeking](Merge::seek).
    pub n_comparisons: u64,
    /// Runs of one source that cost one comparison a record.
    pub n_gallops: u64,
    /// Records that were older than one that was handed out before them.
    pub n_late: u64,
    /// Sources that failed.
    pub n_failed: u64,
}

/// Sources in one order: by timestamp, then by the number of the source, then as they are in the source.
///
/// # Examples
///
/// ```
/// use shm_ring::replay::{Merge, Next, Source, SourceError, Stamp};
///
/// /// Times, in ns.
/// struct Times(std::vec::IntoIter<u64>);
///
/// impl Source for Times {
///     type Record<'a> = ();
///
///     fn step(&mut self) -> Result<Next, SourceError> {
///         let next = self.0.next();
///         Ok(next.map_or(Next::End, |timestamp_ns| Next::Record(Stamp { timestamp_ns, sequence: 0 })))
///     }
///     fn record(&self) {}
///     fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
///         Err(SourceError::Other(format!("can't go to {since_ns} ns").into()))
///     }
///     fn name(&self) -> &str {
///         "times"
///     }
/// }
///
/// let mut merge = Merge::new();
/// merge.add(Times(vec![10, 30].into_iter()));
/// merge.add(Times(vec![10, 20].into_iter()));
/// let mut order = vec![];
/// while let Some(event) = merge.next()? {
///     order.push((event.stamp.timestamp_ns, event.source));
/// }
/// assert_eq!(order, [(10, 0), (10, 1), (20, 1), (30, 0)]);
/// # Ok::<(), shm_ring::replay::MergeError>(())
/// ```
#[derive(Debug)]
pub struct Merge<S> {
    sources: Vec<S>,
    /// Of each source's last record.
    sequences: Vec<u64>,
    seats: Vec<Seat>,
    tree: Tree,
    /// Sources from here on are not in the tree yet.
    n_seated: usize,
    at: At,
    latest_ns: u64,
    n_records: u64,
    n_late: u64,
    n_failed: u64,
    round: u64,
    stops: bool,
    untold: VecDeque<MergeError>,
}

/// How far the merge has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The tree's winner has been handed out, and is to be stepped.
    HandedOut,
    /// The tree's winner is a record that is to be handed out.
    Found,
    /// The tree's winner has been handed out, and is to be stepped; sources have been added, which are not in the tree yet.
    Left,
    /// None of these; sources may not be in the tree yet.
    Unsettled,
    /// All have ended.
    Over,
}

/// What is seldom asked of a source.
#[derive(Debug, Default)]
struct Seat {
    /// The last round in which it was asked whether it has something by now.
    asked: u64,
    has_failed: bool,
}

impl<S: Source> Default for Merge<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Source> Merge<S> {
    /// Of no source yet.
    pub fn new() -> Self {
        Self {
            sources: vec![],
            sequences: vec![],
            seats: vec![],
            tree: Tree::new(),
            n_seated: 0,
            at: At::Unsettled,
            latest_ns: 0,
            n_records: 0,
            n_late: 0,
            n_failed: 0,
            round: 0,
            stops: false,
            untold: VecDeque::new(),
        }
    }

    /// After a source has failed, no other one is read either.
    #[must_use]
    pub fn stop_on_error(mut self) -> Self {
        self.stops = true;
        self
    }

    /// One more source, whose number is returned; at any time. Of what it has that is older than what has been handed out, all comes
    /// next, and counts as late.
    ///
    /// # Panics
    ///
    /// There are 2^31 sources.
    pub fn add(&mut self, source: S) -> usize {
        assert!(self.sources.len() < Key::N_SOURCES_MAX, "there are 2^31 sources");
        self.at = match self.at {
            At::HandedOut | At::Left => At::Left,
            At::Found | At::Unsettled | At::Over => At::Unsettled,
        };
        self.sources.push(source);
        self.sequences.push(0);
        self.seats.push(Seat::default());
        self.sources.len() - 1
    }

    /// The next record; `None`: none is there yet that is known to be the next, or [all have ended](Self::is_over).
    ///
    /// A source that [has none yet](Next::NotYet) holds up what is later than it promised, and is asked in each call in which it
    /// does. What it has later on that is older than its promise, and older than what was handed out, comes at once, and counts as late.
    ///
    /// # Errors
    ///
    /// [`MergeError`]: a source has failed, and counts as ended; the next call goes on with the others, unless
    /// [`stop_on_error`](Self::stop_on_error) was asked for.
    #[expect(clippy::should_implement_trait, reason = "an event borrows the merge")]
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<Event<S::Record<'_>>>, MergeError> {
        let Some((source, stamp)) = self.find()? else { return Ok(None) };
        self.at = At::HandedOut;
        self.n_records += 1;
        if stamp.timestamp_ns < self.latest_ns {
            self.n_late += 1;
        } else {
            self.latest_ns = stamp.timestamp_ns;
        }
        Ok(Some(Event { source, stamp, record: self.sources[source].record() }))
    }

    /// The source and the stamp of the record that is [next](Self::next), if nothing is added before it is taken.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    #[inline]
    pub fn peek(&mut self) -> Result<Option<(usize, Stamp)>, MergeError> {
        let found = self.find()?;
        if found.is_some() {
            self.at = At::Found;
        }
        Ok(found)
    }

    /// Whether all sources have ended, and all failures been told.
    pub fn is_over(&self) -> bool {
        let is_end = self.sources.is_empty() || self.at == At::Over;
        self.untold.is_empty() && (self.has_stopped() || is_end)
    }

    /// Goes to the first record of that time or later, in all sources but those that have failed; those that have ended are asked again.
    ///
    /// # Errors
    ///
    /// [`MergeError`] of the first source that could not; the others are where they should be. If more than one could not, the next calls
    /// of [`next`](Self::next) tell of them.
    pub fn seek(&mut self, since_ns: u64) -> Result<(), MergeError> {
        self.go(|source| source.seek(since_ns))
    }

    /// Goes to a place from which the last record at or before that time is still met in each source but those that have failed; where
    /// that is not cheaply found, to the source's start.
    ///
    /// # Errors
    ///
    /// As [`seek`](Self::seek).
    pub fn seek_before(&mut self, until_ns: u64) -> Result<(), MergeError> {
        self.go(|source| source.seek_before(until_ns))
    }

    /// The sources, by their numbers.
    pub fn sources(&self) -> &[S] {
        &self.sources
    }

    /// What it has done.
    pub fn stats(&self) -> MergeStats {
        MergeStats {
            n_records: self.n_records,
            n_comparisons: self.tree.n_comparisons(),
            n_gallops: self.tree.n_gallops(),
            n_late: self.n_late,
            n_failed: self.n_failed,
        }
    }

    /// The latest time of what was handed out since the last seek; 0 of nothing.
    pub(super) fn latest_ns(&self) -> u64 {
        self.latest_ns
    }

    /// Behind a look that has found nothing: whether no source can have anything of that time or before any more, unless it breaks a promise.
    /// What a merge that has stopped has not read is not known.
    pub(super) fn is_past(&self, until_ns: u64) -> bool {
        !self.has_stopped() && (self.is_over() || self.tree.winner().timestamp_ns() > until_ns)
    }

    /// The tree's winner is the record to be handed out next, and this is it.
    #[inline(always)]
    fn find(&mut self) -> Result<Option<(usize, Stamp)>, MergeError> {
        match self.at {
            At::HandedOut => {}
            At::Found => return Ok(Some(self.stamp(self.tree.winner()))),
            _ => return self.settle(),
        }
        let source = self.tree.winner().source();
        let winner = match self.sources[source].step() {
            Ok(Next::Record(stamp)) => {
                let key = Key::record(stamp.timestamp_ns, source);
                self.sequences[source] = stamp.sequence;
                if self.tree.goes_on(key) {
                    return Ok(Some((source, stamp)));
                }
                let winner = self.tree.replace(key);
                self.prefetch();
                winner
            }
            Ok(next) => self.turn(source, Ok(next))?,
            Err(error) => self.turn(source, Err(error))?,
        };
        if winner.is_record() {
            return Ok(Some(self.stamp(winner)));
        }
        self.at = At::Unsettled;
        self.settle()
    }

    /// Thousands of others had their turn since one was looked at, so that nothing of it is near the processor.
    #[inline(always)]
    fn prefetch(&self) {
        let Some([next, others @ ..]) = self.tree.finalists() else { return };
        if let Some(next) = self.sources.get(next) {
            next.prefetch();
        }
        for other in others.into_iter().filter_map(|other| self.sources.get(other)) {
            prefetch::lines_of(other);
        }
    }

    #[inline(always)]
    fn stamp(&self, winner: Key) -> (usize, Stamp) {
        let source = winner.source();
        (source, Stamp { timestamp_ns: winner.timestamp_ns(), sequence: self.sequences[source] })
    }

    /// Seats who has none, and asks whoever would be next, until that is a record.
    #[cold]
    #[inline(never)]
    fn settle(&mut self) -> Result<Option<(usize, Stamp)>, MergeError> {
        if let Some(error) = self.untold.pop_front() {
            return Err(error);
        }
        if self.has_stopped() {
            return Ok(None);
        }
        if self.at == At::Left {
            self.step(self.tree.winner().source())?;
        }
        self.at = At::Unsettled;
        while self.n_seated < self.sources.len() {
            let source = self.n_seated;
            self.n_seated += 1;
            if self.seats[source].has_failed {
                self.tree.push(Key::over(source));
                continue;
            }
            let next = self.sources[source].step();
            let (key, failed) = self.key(source, next);
            self.tree.push(key);
            failed.map_or(Ok(()), Err)?;
        }
        self.tree.place();
        self.round += 1;
        loop {
            let winner = self.tree.winner();
            if winner.is_record() {
                return Ok(Some(self.stamp(winner)));
            }
            if winner.is_over() {
                self.at = At::Over;
                return Ok(None);
            }
            if self.seats[winner.source()].asked == self.round {
                return Ok(None);
            }
            self.seats[winner.source()].asked = self.round;
            self.step(winner.source())?;
        }
    }

    /// The source of the tree's winner goes on; the new winner is returned.
    fn step(&mut self, source: usize) -> Result<Key, MergeError> {
        let next = self.sources[source].step();
        self.turn(source, next)
    }

    #[cold]
    #[inline(never)]
    fn turn(&mut self, source: usize, next: Result<Next, SourceError>) -> Result<Key, MergeError> {
        self.at = At::Unsettled;
        let (key, failed) = self.key(source, next);
        let winner = if self.tree.goes_on(key) { key } else { self.tree.replace(key) };
        failed.map_or(Ok(winner), Err)
    }

    /// Where a source belongs after a step.
    fn key(&mut self, source: usize, next: Result<Next, SourceError>) -> (Key, Option<MergeError>) {
        match next {
            Ok(Next::Record(stamp)) => {
                self.sequences[source] = stamp.sequence;
                (Key::record(stamp.timestamp_ns, source), None)
            }
            Ok(Next::NotYet { not_before_ns }) => (Key::not_before(not_before_ns, source), None),
            Ok(Next::End) => (Key::over(source), None),
            Err(error) => (Key::over(source), Some(self.failed(source, error))),
        }
    }

    fn go(&mut self, mut seek: impl FnMut(&mut S) -> Result<(), SourceError>) -> Result<(), MergeError> {
        self.tree.clear();
        (self.n_seated, self.at, self.latest_ns) = (0, At::Unsettled, 0);
        for source in 0..self.sources.len() {
            if self.seats[source].has_failed {
                continue;
            }
            if let Err(error) = seek(&mut self.sources[source]) {
                let failed = self.failed(source, error);
                self.untold.push_back(failed);
            }
        }
        self.untold.pop_front().map_or(Ok(()), Err)
    }

    #[cold]
    fn failed(&mut self, source: usize, error: SourceError) -> MergeError {
        self.seats[source].has_failed = true;
        self.n_failed += 1;
        MergeError::of(source, &self.sources[source], error)
    }

    fn has_stopped(&self) -> bool {
        self.stops && self.n_failed > 0
    }
}
