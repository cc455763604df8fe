//! Merge: one order out of many sources.
//!
//! (I1) what is handed out has the least (timestamp, source, sequence) of all that is there and may still come.

use super::source::{Next, Source, SourceError, Stamp};

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
#[derive(Debug, thiserror::Error)]
#[error("{name}: {error}")]
pub struct MergeError {
    /// Its number.
    pub source_number: usize,
    /// Its name.
    pub name: String,
    /// Why.
    #[source]
    pub error: SourceError,
}

/// What a merge has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeStats {
    /// Records that were handed out.
    pub n_records: u64,
    /// Comparisons of keys.
    pub n_comparisons: u64,
    /// Records that were older than one that was handed out before them.
    pub n_late: u64,
    /// Sources that failed.
    pub n_failed: u64,
}

/// Sources in one order: by timestamp, then by the number of the source, then as they are in the source.
#[derive(Debug)]
pub struct Merge<S> {
    sources: Vec<S>,
    heads: Vec<Head>,
    last: Option<usize>,
    stats: MergeStats,
    latest_ns: u64,
    stops: bool,
}

#[derive(Clone, Copy, Debug)]
enum Head {
    Unknown,
    Is(Stamp),
    NotBefore(u64),
    Over,
}

impl<S: Source> Default for Merge<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Source> Merge<S> {
    /// Of no source yet.
    pub fn new() -> Self {
        Self { sources: vec![], heads: vec![], last: None, stats: MergeStats::default(), latest_ns: 0, stops: false }
    }

    /// After a source has failed, no other one is read either.
    #[must_use]
    pub fn stop_on_error(mut self) -> Self {
        self.stops = true;
        self
    }

    /// One more source, whose number is returned; at any time.
    pub fn add(&mut self, source: S) -> usize {
        self.sources.push(source);
        self.heads.push(Head::Unknown);
        self.sources.len() - 1
    }

    /// The next record; `None`: none is there yet that is known to be the next, or [all have ended](Self::is_over).
    ///
    /// # Errors
    ///
    /// [`MergeError`]: a source has failed, and counts as ended; the next call goes on with the others, unless
    /// [`stop_on_error`](Self::stop_on_error) was asked for.
    #[expect(clippy::should_implement_trait, reason = "an event borrows the merge")]
    pub fn next(&mut self) -> Result<Option<Event<S::Record<'_>>>, MergeError> {
        if let Some(last) = self.last.take() {
            self.heads[last] = Head::Unknown;
        }
        for at in 0..self.sources.len() {
            if matches!(self.heads[at], Head::Unknown | Head::NotBefore(_)) {
                match self.sources[at].step() {
                    Ok(Next::Record(stamp)) => self.heads[at] = Head::Is(stamp),
                    Ok(Next::NotYet { not_before_ns }) => self.heads[at] = Head::NotBefore(not_before_ns),
                    Ok(Next::End) => self.heads[at] = Head::Over,
                    Err(error) => {
                        self.heads[at] = Head::Over;
                        if self.stops {
                            self.heads.fill(Head::Over);
                        }
                        self.stats.n_failed += 1;
                        let name = self.sources[at].name().to_owned();
                        return Err(MergeError { source_number: at, name, error });
                    }
                }
            }
        }
        let key = |(at, head): (usize, &Head)| match head {
            Head::Is(stamp) => Some((stamp.timestamp_ns, at, Some(*stamp))),
            Head::NotBefore(ns) => Some((*ns, at, None)),
            _ => None,
        };
        let least = self.heads.iter().enumerate().filter_map(key).min_by_key(|key| (key.0, key.1));
        let Some((_, source, Some(stamp))) = least else { return Ok(None) };
        self.last = Some(source);
        self.stats.n_records += 1;
        self.stats.n_late += u64::from(stamp.timestamp_ns < self.latest_ns);
        self.latest_ns = self.latest_ns.max(stamp.timestamp_ns);
        Ok(Some(Event { source, stamp, record: self.sources[source].record() }))
    }

    /// Whether all sources have ended.
    pub fn is_over(&self) -> bool {
        self.heads.iter().all(|head| matches!(head, Head::Over))
    }

    /// Goes to the first record of that time or later, in all sources but those that have failed.
    ///
    /// # Errors
    ///
    /// [`MergeError`] of the first source that could not; the others are where they should be.
    pub fn seek(&mut self, since_ns: u64) -> Result<(), MergeError> {
        (self.last, self.latest_ns) = (None, 0);
        for (at, source) in self.sources.iter_mut().enumerate() {
            self.heads[at] = Head::Unknown;
            if let Err(error) = source.seek(since_ns) {
                return Err(MergeError { source_number: at, name: source.name().to_owned(), error });
            }
        }
        Ok(())
    }

    /// The sources, by their numbers.
    pub fn sources(&self) -> &[S] {
        &self.sources
    }

    /// What it has done.
    pub fn stats(&self) -> MergeStats {
        self.stats
    }
}
