//! Tally: what a segment will say of itself when it is sealed, counted frame by frame, by who appends and by who recovers.
//!
//! (I1) who counts the same frames from the base on gets the same tally, and the same index.
//! Counts; stores nothing.

use super::segment::index_bytes;
use crate::layout::segment::{INDEX_STEP_BYTES, IndexEntry, LogState, Sealed};

/// See the head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The position of the first frame.
    pub(crate) base: u64,
    /// DATA frames.
    pub(crate) n_records: u64,
    /// The least timestamp of one; all ones without any.
    pub(crate) first_ns: u64,
    /// The greatest; 0 without any.
    pub(crate) last_ns: u64,
    /// Entries of the index.
    pub(crate) n_index: u64,
    /// The next frame at or behind this position gets an entry.
    pub(crate) index_at: u64,
    index_crc: u32,
}

impl Tally {
    /// Of a segment that begins at `base`, without frames.
    pub(crate) fn new(base: u64) -> Self {
        Self {
            base,
            n_records: 0,
            first_ns: u64::MAX,
            last_ns: 0,
            n_index: 0,
            index_at: base,
            index_crc: crc32c::crc32c(&[]),
        }
    }

    /// Counts a frame; before it, where its index entry is wanted, comes [`index`](Self::index).
    #[inline(always)]
    pub(crate) fn count(&mut self, state: LogState, timestamp_ns: u64) {
        if state == LogState::Data {
            self.n_records += 1;
            self.first_ns = self.first_ns.min(timestamp_ns);
            self.last_ns = self.last_ns.max(timestamp_ns);
        }
    }

    /// The entry for the frame at `position`, and its number.
    pub(crate) fn index(&mut self, position: u64) -> (u64, IndexEntry) {
        let entry = IndexEntry { last_ns: self.last_ns, position };
        self.index_crc = crc32c::crc32c_append(self.index_crc, &index_bytes(&entry));
        self.index_at = self.base + ((position - self.base) / INDEX_STEP_BYTES + 1) * INDEX_STEP_BYTES;
        self.n_index += 1;
        (self.n_index - 1, entry)
    }

    /// What a segment says that ends here.
    pub(crate) fn sealed(&self, end: u64) -> Sealed {
        Sealed {
            base: self.base,
            end,
            n_index: self.n_index,
            n_records: self.n_records,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            index_crc: self.index_crc,
        }
    }
}
