//! Feed: from where a stage is filled: a log, a segment, a file of rows, a table, a ring.
//!
//! (I1) what was staged in place stays readable, from the start of [`Feed::base`], until the feed is filled again; before a feed lets go of
//! these bytes, or has others there, it has the stage copy what is held back ([`Stage::keep_copies`]).

use super::missed::Missed;
use super::source::{SourceError, Stamp};
use super::stage::{Place, Stage, Tags};
use std::fmt::Debug;

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

/// From where a stage is filled.
pub(crate) trait Feed: Debug + Send {
    /// Stages the next records, at most [`Stage::room`].
    fn fill(&mut self, stage: &mut Stage) -> Result<Filled, SourceError>;

    /// It has ended or failed, and will not be filled again but behind a [`seek`](Self::seek), or by who asks all the same: gives back what
    /// others wait for, a map and its window.
    fn end(&mut self, stage: &mut Stage) {
        let _ = stage;
    }

    /// The next record to be staged is the first of that time or later.
    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError>;

    /// The next record to be staged is the last one at or before that time, or one in front of it.
    fn seek_before(&mut self, until_ns: u64) -> Result<(), SourceError> {
        let _ = until_ns;
        self.seek(0)
    }

    /// The bytes that places of what was staged in place count from.
    fn base(&self) -> &[u8] {
        &[]
    }

    /// What was missing so far, each place once.
    fn missed(&self) -> Missed {
        Missed::default()
    }
}

/// Records up to this length are copied when they are staged, while their bytes are in the processor's cache: in memory of the stage they lie
/// close together, and thousands of maps don't take turns in the processor's table of pages. (3,000 files, 64 bytes: half the time.)
const COPIED_BYTES_MAX: usize = 256;

/// Stages a record that begins there in the bytes from whose start places count.
#[inline(always)]
pub(crate) fn stage_record(
    stage: &mut Stage,
    base: &[u8],
    at: usize,
    len_bytes: u32,
    stamp: Stamp,
    tags: Tags,
) {
    let length = len_bytes as usize;
    if length <= COPIED_BYTES_MAX {
        stage.push_copy(stamp, &base[at..at + length], tags);
    } else {
        stage.push(stamp, at as u64, len_bytes, tags);
    }
}

/// Before a feed lets go of bytes, from whose start places count: what has not been handed out is copied.
pub(crate) fn keep_copies(stage: &mut Stage, base: &[u8]) {
    stage.keep_copies(|staged, place| {
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        &base[at..at + staged.len_bytes as usize]
    });
}

/// The least place of what has not been handed out, if any of it is in place.
pub(crate) fn pinned(stage: &Stage) -> Option<u64> {
    let place = |place| match place {
        Place::There(place) => Some(place),
        Place::Copied(_) => None,
    };
    stage.waiting().filter_map(|staged| place(staged.place())).min()
}
