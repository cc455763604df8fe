//! Source: what a merge takes, records in order of time, one after the other.
//!
//! (I1) the record of a step is there until the next step; (I2) who has said `End` or failed is not asked again.
//! Describes; reads nothing.

use crate::error::{Error, PollError};
use crate::log::item::LogReadError;

/// When a record was, and its place among its source's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: u64,
    /// Its position in a log or ring, its row in a table: grows within a source, and orders its records of one time.
    pub sequence: u64,
}

/// What a step of a source has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A record, which [`Source::record`] has until the next step.
    Record(Stamp),
    /// There is none yet; whatever comes will not be older than that, as far as the source knows (0: it knows nothing).
    NotYet {
        /// Nanoseconds since the Unix epoch.
        not_before_ns: u64,
    },
    /// There will be none.
    End,
}

/// Records in order of time, of which a [`Merge`](super::merge::Merge) takes many.
///
/// Records should come in the order of their [`Stamp`]s. One that does not is handed out as soon as it is met, and counted.
pub trait Source {
    /// A record in place.
    type Record<'a>
    where
        Self: 'a;

    /// Goes on to the next record; `NotYet` leaves everything as it was but the record of the step before.
    ///
    /// # Errors
    ///
    /// [`SourceError`]; the source has ended then, as far as a merge is concerned.
    fn step(&mut self) -> Result<Next, SourceError>;

    /// The record of the last step, which was one. Behind one that was none, or a [`seek`](Self::seek), nothing is promised of what it is.
    fn record(&self) -> Self::Record<'_>;

    /// Goes to where the next step finds the first record of that time or later, and is followed by none that is older, in whatever order they
    /// are; from 0 on, all there are.
    ///
    /// # Errors
    ///
    /// [`SourceError`].
    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError>;

    /// Goes to a place from which the last record at or before that time, if there is one, is still met: the nearest in front of it that
    /// is cheaply found. As it is, the start.
    ///
    /// # Errors
    ///
    /// [`SourceError`].
    fn seek_before(&mut self, until_ns: u64) -> Result<(), SourceError> {
        let _ = until_ns;
        self.seek(0)
    }

    /// The record of the last step will probably be asked for soon, and then the next step be taken: a chance to have the processor fetch
    /// both, without waiting for them. Nothing is done by default.
    fn prefetch(&self) {}

    /// What it is called in messages.
    fn name(&self) -> &str;
}

/// Why a source can't go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A log can't be read on.
    #[error(transparent)]
    Log(#[from] LogReadError),
    /// A ring can't be read on.
    #[error(transparent)]
    Ring(#[from] PollError),
    /// A file can't be opened, or is not what it was.
    #[error(transparent)]
    Open(#[from] Error),
    /// A record is older than one in front of it, and that was not to be ([`Order::Error`](super::stage::Order::Error)).
    #[error(
        "record {sequence} has the time {timestamp_ns} ns, which is before {previous_ns} ns of a record in front of it; \
         allow a re-order window, or to pass it on as it is"
    )]
    Disorder {
        /// Its place in the source.
        sequence: u64,
        /// Its time.
        timestamp_ns: u64,
        /// The latest time in front of it.
        previous_ns: u64,
    },
    /// A row's time is none that can be told in ns since the Unix epoch, in 64 bits: null, before 1970, or after 2554.
    #[error(
        "row {row} has the time {found} in {column}, expected one from 1970 to 2554: choose another column or unit, or mend the file"
    )]
    NoTime {
        /// Its number in the file, from 0.
        row: u64,
        /// The column of times, or where in a row it is.
        column: String,
        /// What is there, in its own unit.
        found: String,
    },
    /// A value of a table can't be read.
    #[cfg(feature = "arrow")]
    #[error(transparent)]
    Column(#[from] super::table::ColumnError),
    /// A source of the user's can't go on.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}
