//! Copy: bytes into a claim, and bytes out of the ring that a producer may be overwriting at this moment.
//!
//! Payload is copied so in no other place; single words that may be payload are also looked at for seals, by scans and reapers. Loads are relaxed atomics of eight bytes; a claimer's plain payload stores race with
//! them, formally, because Rust has no atomic copy yet (RFC 3301). The words that come back are then bytes of the old record, of the new
//! one, or of both; the caller learns from the tail, behind an acquire fence, whether they may be used, and throws them away if not.
//!
//! (I1) no reference to racing bytes is ever made, only to atomics; (I2) nothing is decided from the words before they are validated.

use crate::map::region::Data;
use crate::sync::Ordering;

/// Copies a payload into a claim of the same length. A call of `memcpy` costs as much as a small record.
#[inline(always)]
pub(crate) fn copy_in(claim: &mut [u8], payload: &[u8]) {
    match payload.len() {
        257.. => claim.copy_from_slice(payload),
        129.. => copy_halves::<128>(claim, payload),
        65.. => copy_halves::<64>(claim, payload),
        33.. => copy_halves::<32>(claim, payload),
        17.. => copy_halves::<16>(claim, payload),
        8.. => copy_halves::<8>(claim, payload),
        4.. => copy_halves::<4>(claim, payload),
        _ => claim.iter_mut().zip(payload).for_each(|(to, from)| *to = *from),
    }
}

/// The last and the first `HALF` bytes, which overlap unless there are twice as many. The first ones last: they share a cache line with the
/// header, which is stored next, and a reader that waits there takes the line away at any pause.
#[inline(always)]
fn copy_halves<const HALF: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<HALF>(), from.last_chunk::<HALF>()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<HALF>(), from.first_chunk::<HALF>()) {
        *to = *from;
    }
}

/// Words that are copied out in one step of the loop: a cache line's.
const STEP_WORDS: usize = 8;

/// Appends `length` bytes at `position` (a multiple of 8) to `out`.
#[inline]
pub(crate) fn copy_out(data: &Data, position: u64, length: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + length, 0);
    let mut at = position;
    let mut lines = out[start..].chunks_exact_mut(STEP_WORDS * 8);
    for line in &mut lines {
        for (index, to) in line.chunks_exact_mut(8).enumerate() {
            // ORDER none (Relaxed): the caller's acquire fence (L2) orders these loads before its look at the tail.
            to.copy_from_slice(&data.word(at, index).load(Ordering::Relaxed).to_le_bytes());
        }
        at += 8 * STEP_WORDS as u64;
    }
    for to in lines.into_remainder().chunks_mut(8) {
        // ORDER none (Relaxed): as above.
        let word = data.word(at, 0).load(Ordering::Relaxed).to_le_bytes();
        to.copy_from_slice(&word[..to.len()]);
        at += 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: every byte arrives and none beside it. Method: all lengths around the classes' edges, a guard behind.
    #[test]
    fn small_copies_are_exact() {
        let payload: Vec<u8> = (0..600usize).map(|i| u8::try_from(i % 251).unwrap()).collect();
        for length in 0..=600 {
            let mut claim = vec![0xee; 604];
            copy_in(&mut claim[..length], &payload[..length]);
            assert_eq!(claim[..length], payload[..length]);
            assert!(claim[length..].iter().all(|byte| *byte == 0xee));
        }
    }
}
