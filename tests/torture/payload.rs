//! Payload: bytes that are a function of who wrote them and when, so that a torn, mixed or invented one is found.
//!
//! ```text
//!   life u64 | n u64 | words: seed(life, n) + i * ODD          length: a function of (life, n), too
//! ```
//!
//! (I1) no two records of a world have the same bytes; (I2) every byte is checked, the length included.
//! Knows no ring and no oracle.

use crate::kinds::Kind;

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
/// In front of every payload: life and number.
const IDENTITY_BYTES: usize = 16;
/// Records of at most this many bytes may be part of a batch: three fit a quarter of the smallest ring.
const IN_BATCH_BYTES: usize = 816;
/// Records of a batch.
pub(crate) const BATCH: u32 = 3;
/// The longest record; with room to claim more than it needs.
const LONGEST: usize = 3000;

/// A number that looks random (splitmix64).
pub(crate) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(ODD);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

fn seed(life: u32, n: u32) -> u64 {
    mix(u64::from(life) << 32 | u64::from(n))
}

/// How long that record is.
pub(crate) fn length(life: u32, n: u32) -> usize {
    let random = mix(seed(life, n));
    let below = match random % 16 {
        0 => 1,
        1..=11 => 200,
        12..=14 => IN_BATCH_BYTES - IDENTITY_BYTES,
        _ => LONGEST - IDENTITY_BYTES,
    };
    IDENTITY_BYTES + (random >> 32) as usize % below
}

/// How that record is appended, when nobody wants it otherwise.
pub(crate) fn kind(life: u32, n: u32) -> Kind {
    Kind::ALL[(mix(seed(life, n) ^ 1) % Kind::ALL.len() as u64) as usize]
}

/// Whether the records from `n` on can be a batch.
pub(crate) fn fits_batch(life: u32, n: u32) -> bool {
    (n..n + BATCH).all(|n| length(life, n) <= IN_BATCH_BYTES)
}

/// Writes that record over the first `length` bytes; `half` is called in the middle.
pub(crate) fn fill(out: &mut [u8], life: u32, n: u32, half: impl FnOnce()) {
    let out = &mut out[..length(life, n)];
    out[..8].copy_from_slice(&u64::from(life).to_le_bytes());
    out[8..16].copy_from_slice(&u64::from(n).to_le_bytes());
    let body = &mut out[IDENTITY_BYTES..];
    let middle = body.len() / 16 * 8;
    let (first, second) = body.split_at_mut(middle);
    words(first, seed(life, n));
    half();
    words(second, seed(life, n).wrapping_add((middle as u64 / 8).wrapping_mul(ODD)));
}

fn words(out: &mut [u8], mut word: u64) {
    for chunk in out.chunks_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        word = word.wrapping_add(ODD);
    }
}

/// Whose record this is; `Err`: what is wrong with its bytes.
pub(crate) fn check(found: &[u8]) -> Result<(u32, u32), String> {
    let word = |at: usize| found.get(at..at + 8).map(|b| u64::from_le_bytes(b.try_into().unwrap()));
    let (Some(life), Some(n)) = (word(0), word(8)) else {
        return Err(format!("a record of {} bytes, which nobody wrote: {found:?}", found.len()));
    };
    let (Ok(life), Ok(n)) = (u32::try_from(life), u32::try_from(n)) else {
        return Err(format!("record {n} of life {life}, which nobody wrote"));
    };
    if found.len() != length(life, n) {
        return Err(format!("record {n} of life {life} has {} bytes, not {}", found.len(), length(life, n)));
    }
    let mut expected = seed(life, n);
    for (at, chunk) in found[IDENTITY_BYTES..].chunks(8).enumerate() {
        if *chunk != expected.to_le_bytes()[..chunk.len()] {
            let at = IDENTITY_BYTES + at * 8;
            return Err(format!(
                "byte {at} of the {} of record {n} of life {life} is torn or invented",
                found.len()
            ));
        }
        expected = expected.wrapping_add(ODD);
    }
    Ok((life, n))
}

/// What stands at a position, for those who compare.
pub(crate) fn fingerprint(position: u64, life: u32, n: u32) -> u64 {
    mix(position ^ seed(life, n).rotate_left(17))
}
