//! Feed: from where a stage is filled: a log, a segment, a file of rows, a table, a ring.
//!
//! (I1) what was staged in place stays readable until the feed is filled again; when records are held back over that, the feed copies them
//! into the stage before it lets go of their bytes.

use super::source::SourceError;
use super::stage::{Stage, Staged};

/// What came of filling a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Something was staged.
    Some,
    /// There is nothing yet, and what comes will not be older than that; 0: who knows.
    NotYet { not_before_ns: u64 },
    /// Nothing more will come.
    End,
}

/// What a feed has met that was no record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) n_gaps: u64,
    pub(crate) n_records: u64,
    pub(crate) n_bytes: u64,
}

/// From where a stage is filled.
pub(crate) trait Feed {
    /// Stages the next records, at most [`Stage::room`].
    fn fill(&mut self, stage: &mut Stage) -> Result<Filled, SourceError>;

    /// The next record to be staged is the first of that time or later.
    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError>;

    /// The bytes of a record that was staged in place.
    fn bytes(&self, _: &Staged, _: u64) -> &[u8] {
        &[]
    }

    /// What was missing so far.
    fn missed(&self) -> Missed {
        Missed::default()
    }
}
