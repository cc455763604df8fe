//! Lossy: one look at a frame by somebody who holds nothing, while producers may be overwriting it.
//!
//! ```text
//!   header -> metadata, payload copied -> fence Acquire -> granted ------> tail
//!                                                            |               |
//!                             position + capacity >= granted |  or >= tail: it was there |  else: bytes of two laps, perhaps
//! ```
//! Nobody claims above what was granted, which changes a few times a lap; the tail's line changes with every claim, and whoever looks at it
//! takes it away from the producers. So it is asked only where the first answer is no.
//!
//! (I1) both are loaded behind the fence, whatever was found; (I2) who looks decides nothing from what was copied before it knows that
//! nobody has [`overtaken`](Copied::overtaken) it; (I3) loads only: the mapping may be read-only.
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
    /// Not all of it is of one lap, perhaps: the tail, which is more than a capacity further on.
    pub(crate) overtaken: Option<u64>,
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
    // ORDER L2 (Acquire fence, pairs with L1): if any byte above came from a newer claim, the words below show it.
    fence(Ordering::Acquire);
    let end = position.saturating_add(frames.capacity_bytes());
    // ORDER none (Relaxed), for both: behind the fence.
    let overtaken = match table.live.grants.0.granted.load(Ordering::Relaxed) {
        granted if granted <= end => None,
        _ => Some(table.live.tail.0.load(Ordering::Relaxed)).filter(|tail| *tail > end),
    };
    Copied { found, metadata, gap, overtaken }
}
