//! Stage: the next records of a source, put in order.
//!
//! ```text
//!   feed --push--> | held back | ... | next | -> current
//! ```
//!
//! (I1) a record that is staged in place is where its feed has its bytes, one that is staged as a copy in the stage's own.

use super::source::{SourceError, Stamp};

/// What becomes of records that are older than one in front of them in their source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// The source ends with [`SourceError::Disorder`].
    Error,
    /// They are put where they belong, if no more than so many records are between; else the source ends as with `Error`.
    Reorder {
        /// Records that are held back.
        n_records: usize,
    },
    /// They are handed out where they stand.
    Pass,
}

/// A record on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Staged {
    pub(crate) stamp: Stamp,
    pub(crate) place: Place,
    pub(crate) len_bytes: u32,
    pub(crate) tags: Tags,
}

impl Staged {
    #[inline(always)]
    pub(crate) fn place(&self) -> Place {
        self.place
    }
}

/// What a record of a ring or log says of itself besides its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tags {
    /// The slot of its producer; 0 without one.
    pub producer: u16,
    /// The user's.
    pub level: u8,
    /// The user's.
    pub kind: u8,
}

/// Where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where the feed knows.
    There(u64),
    /// In the stage, from there on.
    Copied(usize),
}

/// The next records of one source.
#[derive(Debug)]
pub(crate) struct Stage {
    order: Order,
    heads: Vec<Staged>,
    /// The next one to be handed out.
    at: usize,
    copies: Vec<u8>,
    latest_ns: u64,
    n_disordered: u64,
}

impl Stage {
    /// So many records are staged at once.
    pub(crate) const ROOM: usize = 32;

    pub(crate) fn new(order: Order) -> Self {
        Self { order, heads: vec![], at: 0, copies: vec![], latest_ns: 0, n_disordered: 0 }
    }

    /// The next record becomes the current one.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> Option<Stamp> {
        let next = self.heads.get(self.at)?;
        self.at += 1;
        Some(next.stamp)
    }

    /// The record of the last step.
    #[inline(always)]
    pub(crate) fn current(&self) -> &Staged {
        &self.heads[self.at - 1]
    }

    /// The bytes of a copy.
    #[inline(always)]
    pub(crate) fn copy(&self, at: usize, len_bytes: u32) -> &[u8] {
        &self.copies[at..at + len_bytes as usize]
    }

    /// Before the feed stages more: all that was staged has been handed out.
    pub(crate) fn begin(&mut self) {
        self.heads.clear();
        self.copies.clear();
        self.at = 0;
    }

    /// How many more records can be staged.
    pub(crate) fn room(&self) -> usize {
        Self::ROOM - self.heads.len()
    }

    /// Stages a record that the feed has in place.
    pub(crate) fn push(&mut self, stamp: Stamp, place: u64, len_bytes: u32, tags: Tags) {
        self.heads.push(Staged { stamp, place: Place::There(place), len_bytes, tags });
    }

    /// Stages a record with its bytes.
    pub(crate) fn push_copy(&mut self, stamp: Stamp, payload: &[u8], tags: Tags) {
        let place = Place::Copied(self.copies.len());
        self.copies.extend_from_slice(payload);
        let len_bytes = u32::try_from(payload.len()).expect("a record has less than 2^32 bytes");
        self.heads.push(Staged { stamp, place, len_bytes, tags });
    }

    /// Behind what the feed has staged; `is_last`: nothing more will come, so nothing is held back.
    pub(crate) fn finish(&mut self, _is_last: bool) -> Result<(), SourceError> {
        let _ = (self.order, self.latest_ns);
        Ok(())
    }

    /// What has not been handed out, in no order.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Staged> {
        self.heads[self.at..].iter()
    }

    /// Before the feed goes to another place: nothing of what was staged is wanted any more.
    pub(crate) fn forget(&mut self) {
        self.begin();
        self.latest_ns = 0;
    }

    /// Records that were older than one in front of them.
    pub(crate) fn n_disordered(&self) -> u64 {
        self.n_disordered
    }
}
