//! Lossy: one look at a frame by somebody who holds nothing, while producers may be overwriting it.
//!
//! ```text
//!   header -> metadata, payload copied -> fence Acquire -> tail
//!                                                           |
//!                 position + capacity >= tail: it was there |  else: bytes of two laps, perhaps
//! ```
//!
//! (I1) the tail is loaded last, behind the fence, whatever was found; (I2) who looks decides nothing from what was copied before
//! [`Copied::is_intact`] says so; (I3) loads only: the mapping may be read-only.
//! Knows no place to go on at: that is the observer's.

use super::copy::copy_out;
use super::table::Table;
use super::view::{Gap, Metadata, Sealed};
use crate::layout::frame::State;
use crate::sync::{Ordering, fence};

/// What one look has copied.
#[derive(Debug)]
pub(crate) struct Copied {
    /// The frame, if one is sealed there; `Err`: a header that no sound producer writes, if it is intact.
    pub(crate) found: Result<Option<Sealed>, &'static str>,
    /// A record's, in a ring that has it.
    pub(crate) metadata: Option<Metadata>,
    /// A GAP's payload.
    pub(crate) gap: Option<Gap>,
    /// The tail, after all of it.
    pub(crate) tail: u64,
}

impl Copied {
    /// Whether what was copied from `position` is all of one lap.
    #[inline(always)]
    pub(crate) fn is_intact(&self, position: u64, capacity_bytes: u64) -> bool {
        position.saturating_add(capacity_bytes) >= self.tail
    }
}

/// Looks at `position`; a record's payload is appended to `payload`.
#[inline]
pub(crate) fn look(table: &Table, position: u64, payload: &mut Vec<u8>) -> Copied {
    let frames = &table.frames;
    let found = frames.checked(position);
    let (mut metadata, mut gap) = (None, None);
    if let Ok(Some(sealed)) = found {
        match sealed.head.state {
            State::Data | State::Inner => {
                metadata = frames.metadata(position);
                let at = position + frames.payload_offset();
                copy_out(frames.data(), at, sealed.head.len_bytes as usize, payload);
            }
            State::Gap => gap = frames.gap(position, sealed.head),
            State::Claimed | State::Pad | State::Lost => {}
        }
    }
    // ORDER L2 (Acquire fence, pairs with L1): if any byte above came from a newer claim, the tail below shows it.
    fence(Ordering::Acquire);
    // ORDER none (Relaxed): behind the fence.
    let tail = table.live.tail.0.load(Ordering::Relaxed);
    Copied { found, metadata, gap, tail }
}
