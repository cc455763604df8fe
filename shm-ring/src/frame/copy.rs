//! Copy: taking bytes out of the ring that a producer may be overwriting at this moment.
//!
//! The one place of the library that does this. Loads are relaxed atomics of eight bytes; a claimer's plain payload stores race with
//! them, formally, because Rust has no atomic copy yet (RFC 3301). The words that come back are then bytes of the old record, of the new
//! one, or of both; the caller learns from the tail, behind an acquire fence, whether they may be used, and throws them away if not.
//!
//! (I1) no reference to racing bytes is ever made, only to atomics; (I2) nothing is decided from the words before they are validated.

use crate::map::region::Data;
use crate::sync::Ordering;

/// Appends `length` bytes at `position` (a multiple of 8) to `out`.
pub(crate) fn copy_out(data: &Data, position: u64, length: usize, out: &mut Vec<u8>) {
    out.reserve(length.next_multiple_of(8));
    let end = out.len() + length;
    for at in (0..length as u64).step_by(8) {
        // ORDER none (Relaxed): the caller's acquire fence (L2) orders these loads before its look at the tail.
        let word = data.word(position + at, 0).load(Ordering::Relaxed);
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.truncate(end);
}
