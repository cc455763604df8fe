//! Scan: finding a frame without having walked there, by its seal.
//!
//! (I1) what is found is a frame boundary: a seal can't be guessed, stale ones don't match, and INNER is passed over; (I2) the scan
//! ends, at the latest at the limit that its caller gives. Words of payload are looked at on the way, as atomics: see `copy.rs`.

use super::view::Frames;
use crate::layout::frame::{FRAME_ALIGN, POSITION_END, State};

/// The first frame boundary in `from..to`; `to` itself, which must be one, when nothing is sealed before it.
pub(crate) fn first_frame(frames: &Frames, from: u64, to: u64) -> u64 {
    // A forged tail must not make the arithmetic below overflow, nor be taken for a boundary.
    let to = to.min(POSITION_END) & !(FRAME_ALIGN - 1);
    let mut position = from.min(to).next_multiple_of(FRAME_ALIGN);
    // At most one lap: older positions hold nothing that could match.
    position = position.max(to.saturating_sub(frames.capacity_bytes()));
    while position < to {
        match frames.sealed(position) {
            Some(head) if head.state != State::Inner => return position,
            _ => position += FRAME_ALIGN,
        }
    }
    to
}
