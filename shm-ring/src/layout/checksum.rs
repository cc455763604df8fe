//! Checksum: crc32c of a frame, most of which are short.
//!
//! ```text
//!   seed (the segment's uuid) -> four words -> payload, below 768 bytes: here, 8 bytes an instruction
//!                                         \--> longer, or a processor without the instruction: the crate, three streams at once
//! ```
//!
//! The crate divides whatever it is given into streams, which costs more than the checksum itself as long as there is one stream only:
//! an append of 100 bytes took 506 instructions with the crate alone, and takes 268 (`bash benches/counts/run`).
//!
//! (I1) the same checksum, however it is computed.
//! Works on bytes and numbers.

/// From here on the crate has three streams.
const SHORT_BYTES: usize = 768;

/// The crc32c of what had `crc` so far and goes on with four words and a payload.
#[inline(always)]
pub(crate) fn append_frame(crc: u32, words: &[u64; 4], payload: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if payload.len() < SHORT_BYTES && std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the feature, as just asked.
        return unsafe { short(crc, words, payload) };
    }
    crc32c::crc32c_append(append_words(crc, words), payload)
}

/// The same without a payload.
#[inline(always)]
pub(crate) fn append_words(crc: u32, words: &[u64; 4]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the feature, as just asked.
        return unsafe { short(crc, words, &[]) };
    }
    words.iter().fold(crc, |crc, word| crc32c::crc32c_append(crc, &word.to_le_bytes()))
}

/// # Safety
/// - the processor has SSE 4.2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the instruction leaves the upper half zero")]
#[allow(unused_unsafe, reason = "before Rust 1.87 these intrinsics are unsafe here, too")]
unsafe fn short(crc: u32, words: &[u64; 4], payload: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64};
    let mut crc = u64::from(!crc);
    for word in words {
        // SAFETY: the caller's obligation.
        crc = unsafe { _mm_crc32_u64(crc, *word) };
    }
    let eights = payload.chunks_exact(8);
    let mut rest = eights.remainder();
    for eight in eights {
        let word = u64::from_le_bytes(eight.try_into().expect("the chunk has 8 bytes"));
        // SAFETY: the caller's obligation.
        crc = unsafe { _mm_crc32_u64(crc, word) };
    }
    let mut crc = crc as u32;
    if let Some((four, behind)) = rest.split_first_chunk::<4>() {
        // SAFETY: the caller's obligation.
        crc = unsafe { _mm_crc32_u32(crc, u32::from_le_bytes(*four)) };
        rest = behind;
    }
    for byte in rest {
        // SAFETY: the caller's obligation.
        crc = unsafe { _mm_crc32_u8(crc, *byte) };
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the same checksum whatever the length, where the payload stands, and what was before. Method: all short lengths and some around
    // the edge, at every alignment, beside the crate's of one string.
    #[test]
    fn a_frame_has_the_checksum_of_its_bytes() {
        let all: Vec<u8> = (0..2000u32).map(|n| ((n * 7 + n / 256) % 256).try_into().unwrap()).collect();
        let words = [1, u64::MAX, 0x0123_4567_89ab_cdef, 1 << 63];
        let head: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        for length in (0..70).chain([SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 1900]) {
            for start in 0..9 {
                let payload = &all[start..start + length];
                for seed in [0, 0xe306_9283] {
                    let whole = crc32c::crc32c_append(seed, &[&head[..], payload].concat());
                    assert_eq!(append_frame(seed, &words, payload), whole, "{length} bytes from {start} on");
                }
            }
        }
        assert_eq!(append_words(5, &words), crc32c::crc32c_append(5, &head));
    }
}
