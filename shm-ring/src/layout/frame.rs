//! Frame: the header in front of every record, and the meaning of its state.
//!
//! ```text
//!  byte 0         4                 8                    16                     32
//!       +---------+----+------+-----+--------------------+- - - - - - - - - - - +---------+-----+
//!  w0:  | len u32 |stat| slot | lap | w1: seal u64       | metadata, if switched | payload | pad |
//!       +---------+----+------+-----+--------------------+- - - - - - - - - - - +---------+-----+
//!       ^ 16-byte aligned, little-endian                                                next frame ^
//!  metadata:  timestamp u64 (ns since the Unix epoch) | sequence u48, level u8, kind u8
//! ```
//!
//! | state   | may write the payload | may read it | a reader that walks | a scan may start here |
//! |---------|-----------------------|-------------|---------------------|-----------------------|
//! | CLAIMED | the claimer           | nobody      | stops: not yet      | yes                   |
//! | DATA    | nobody                | everybody   | takes it            | yes                   |
//! | PAD     | nobody                | nobody      | skips it            | yes                   |
//! | LOST    | nobody                | nobody      | skips and counts it | yes                   |
//! | GAP     | nobody                | everybody   | skips and counts it | yes                   |
//! | INNER   | nobody                | everybody   | takes it            | no                    |
//!
//! (I1) frames start on 16-byte boundaries; (I2) both words are only reached through atomics; (I3) the seal says at which position
//! of which epoch of which ring the frame stands, so that nothing else can pass for it.
//! Computes and checks; performs no loads and no stores.

/// Bytes ever written before a frame: grows only, is never folded.
pub type Position = u64;

/// Frames start at multiples of this many bytes.
pub(crate) const FRAME_ALIGN: u64 = 16;
/// Bytes of `w0` and `w1`.
pub(crate) const FRAME_HEADER_BYTES: u64 = 16;
/// Bytes of the metadata of a ring that has it switched on.
pub(crate) const METADATA_BYTES: u64 = 16;
/// Bytes of a GAP's payload: records, first sequence, dropped in all.
pub(crate) const GAP_BYTES: u64 = 24;
/// No position; also a free intent.
pub(crate) const IDLE: u64 = u64::MAX;
/// Positions end here: a claim that would pass it fails.
pub(crate) const POSITION_END: u64 = 1 << 63;

/// What a frame is, bits 32..36 of its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Its producer is writing it.
    Claimed = 1,
    /// A committed record.
    Data = 2,
    /// Space that was given up.
    Pad = 3,
    /// A claim whose producer died.
    Lost = 4,
    /// A producer's notice that it dropped records.
    Gap = 5,
    /// A record inside a batch, not its first.
    Inner = 6,
}

impl State {
    fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits & 0xf {
            1 => Self::Claimed,
            2 => Self::Data,
            3 => Self::Pad,
            4 => Self::Lost,
            5 => Self::Gap,
            6 => Self::Inner,
            _ => return None,
        })
    }
}

/// The fields of a frame's first word, without its lap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Payload bytes; for CLAIMED, PAD and LOST every byte after the seal.
    pub(crate) len_bytes: u32,
    /// What the frame is.
    pub(crate) state: State,
    /// The producer's slot, 12 bits.
    pub(crate) slot: u16,
}

impl Head {
    /// The word for a frame at `position` of a ring with `1 << capacity_bits` bytes.
    #[inline(always)]
    pub(crate) fn encode(self, position: u64, capacity_bits: u32) -> u64 {
        u64::from(self.len_bytes)
            | (self.state as u64) << 32
            | (u64::from(self.slot) & 0xfff) << 36
            | lap(position, capacity_bits) << 48
    }

    /// What `word` says, if it can stand at `position` at all.
    #[inline(always)]
    pub(crate) fn decode(word: u64, position: u64, capacity_bits: u32) -> Option<Self> {
        if word >> 48 != lap(position, capacity_bits) {
            return None;
        }
        let state = State::from_bits(word >> 32)?;
        #[expect(clippy::cast_possible_truncation, reason = "masked to 32 and 12 bits")]
        Some(Self { len_bytes: word as u32, state, slot: (word >> 36) as u16 & 0xfff })
    }

    /// Bytes from this frame's start to the next one's.
    #[inline(always)]
    pub(crate) fn span_bytes(self, metadata_bytes: u64) -> u64 {
        match self.state {
            State::Claimed | State::Pad | State::Lost => span_of_filler(self.len_bytes),
            _ => span_of_record(u64::from(self.len_bytes), metadata_bytes),
        }
    }
}

/// The span of the record that `word` at `position` is the first word of, if it is one: DATA or INNER, of the right lap.
///
/// Numbers only, for the readers' quick path: a [`Head`] would go through memory.
#[inline(always)]
pub(crate) fn record_of(word: u64, position: u64, capacity_bits: u32, metadata_bytes: u64) -> Option<u64> {
    // One comparison for the lap and both states.
    let expected = (position >> capacity_bits) << 48 | (State::Data as u64) << 32;
    ((word ^ expected) & RECORD_MASK == 0).then(|| span_of_record(word & 0xffff_ffff, metadata_bytes))
}

/// Lap and state, but for the bit in which DATA and INNER differ.
const RECORD_MASK: u64 = 0xffff << 48 | (0xf & !(State::Data as u64 ^ State::Inner as u64)) << 32;
const _: () = assert!((State::Data as u64 ^ State::Inner as u64).is_power_of_two());

/// The length in a frame's first word.
#[inline(always)]
pub(crate) fn len_of(word: u64) -> usize {
    (word & 0xffff_ffff) as usize
}

/// The producer's slot in a frame's first word.
#[inline(always)]
pub(crate) fn slot_of(word: u64) -> u16 {
    ((word >> 36) & 0xfff) as u16
}

/// Whether a frame can stand at `position`, or positions end there.
#[inline(always)]
pub(crate) fn is_boundary(position: u64) -> bool {
    position % FRAME_ALIGN == 0 && position <= POSITION_END
}

/// The same in one test, for the claimers' quick path: also false at the very end, where nothing can be claimed.
#[inline(always)]
pub(crate) fn is_claimable(position: u64) -> bool {
    // Bit 63 and the low four bits side by side.
    position.rotate_left(1) & (2 * FRAME_ALIGN - 1) == 0
}

#[inline(always)]
fn lap(position: u64, capacity_bits: u32) -> u64 {
    (position >> capacity_bits) & 0xffff
}

/// The seal of a frame at `position`; `key` is nonce ^ epoch.
#[inline(always)]
pub(crate) fn seal(position: u64, key: u64) -> u64 {
    position ^ key
}

/// Bytes that a record of `len_bytes` takes in the ring.
#[inline(always)]
pub(crate) fn span_of_record(len_bytes: u64, metadata_bytes: u64) -> u64 {
    FRAME_HEADER_BYTES + metadata_bytes + round_up(len_bytes)
}

/// Bytes that a CLAIMED, PAD or LOST frame of this length takes.
#[inline(always)]
pub(crate) fn span_of_filler(len_bytes: u32) -> u64 {
    FRAME_HEADER_BYTES + round_up(u64::from(len_bytes))
}

/// The length that makes a CLAIMED, PAD or LOST frame take `span_bytes`.
#[inline(always)]
pub(crate) fn filler_len(span_bytes: u64) -> u32 {
    debug_assert!(span_bytes >= FRAME_HEADER_BYTES && span_bytes % FRAME_ALIGN == 0);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "no span exceeds a quarter of the largest capacity plus two headers, below 2^32"
    )]
    {
        (span_bytes - FRAME_HEADER_BYTES) as u32
    }
}

#[inline(always)]
fn round_up(len_bytes: u64) -> u64 {
    (len_bytes + (FRAME_ALIGN - 1)) & !(FRAME_ALIGN - 1)
}

/// The second metadata word: 48 bits of sequence, level, kind.
#[inline(always)]
pub(crate) fn encode_tags(sequence: u64, level: u8, kind: u8) -> u64 {
    (sequence & SEQUENCE_MASK) | u64::from(level) << 48 | u64::from(kind) << 56
}

/// Sequences are counted modulo this mask + 1.
pub(crate) const SEQUENCE_MASK: u64 = (1 << 48) - 1;

/// Sequence, level and kind of a second metadata word.
#[inline(always)]
pub(crate) fn decode_tags(word: u64) -> (u64, u8, u8) {
    #[expect(clippy::cast_possible_truncation, reason = "one byte is what is wanted")]
    (word & SEQUENCE_MASK, (word >> 48) as u8, (word >> 56) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Goal: a head survives its word, and a word of another lap is not taken. Method: every state, random fields.
    proptest! {
        #[test]
        fn a_head_survives_its_word(len in any::<u32>(), slot in 0u16..0x1000, state in 1u64..7, position in 0u64..POSITION_END, bits in 12u32..34) {
            let position = position & !(FRAME_ALIGN - 1);
            let head = Head { len_bytes: len, state: State::from_bits(state).unwrap(), slot };
            let word = head.encode(position, bits);
            prop_assert_eq!(Head::decode(word, position, bits), Some(head));
            prop_assert_eq!(Head::decode(word, position ^ (1 << bits), bits), None);
        }

        #[test]
        fn the_quick_way_says_what_the_head_says(word in any::<u64>(), state in 0u64..8, position in 0u64..POSITION_END) {
            let position = position & !(FRAME_ALIGN - 1);
            let word = word & !(0xf << 32) | state << 32;
            for word in [word, word & !(0xffff << 48) | lap(position, 22) << 48] {
                let head = Head::decode(word, position, 22).filter(|h| matches!(h.state, State::Data | State::Inner));
                prop_assert_eq!(record_of(word, position, 22, 16), head.map(|h| h.span_bytes(16)));
                if let Some(head) = head {
                    prop_assert_eq!((len_of(word), slot_of(word)), (head.len_bytes as usize, head.slot));
                }
            }
        }

        #[test]
        fn any_word_decodes_to_something_sound_or_nothing(word in any::<u64>(), position in any::<u64>()) {
            if let Some(head) = Head::decode(word, position, 22) {
                prop_assert!(head.span_bytes(METADATA_BYTES) >= FRAME_HEADER_BYTES);
                prop_assert_eq!(head.span_bytes(METADATA_BYTES) % FRAME_ALIGN, 0);
                prop_assert_eq!(head.encode(position, 22), word);
            }
        }

        #[test]
        fn tags_survive(sequence in 0..=SEQUENCE_MASK, level in any::<u8>(), kind in any::<u8>()) {
            prop_assert_eq!(decode_tags(encode_tags(sequence, level, kind)), (sequence, level, kind));
        }

        #[test]
        fn fillers_take_what_they_are_told(units in 1u64..(1 << 27)) {
            prop_assert_eq!(span_of_filler(filler_len(units * FRAME_ALIGN)), units * FRAME_ALIGN);
        }
    }

    // Goal: the quick test says what the plain one says, but for the very end. Method: the edges, and every small distance from them.
    #[test]
    fn what_can_be_claimed_is_a_boundary_below_the_end() {
        for edge in [0, 4096, POSITION_END, 1 << 62, u64::MAX, u64::MAX / 3] {
            for position in (0..64).flat_map(|by| [edge.wrapping_add(by), edge.wrapping_sub(by)]) {
                assert_eq!(is_claimable(position), is_boundary(position) && position != POSITION_END);
            }
        }
    }

    // Goal: the record's span covers it and wastes less than one unit. Method: all small lengths.
    #[test]
    fn a_span_covers_its_record() {
        for len in 0..1000 {
            for meta in [0, METADATA_BYTES] {
                let span = span_of_record(len, meta);
                assert!(span >= 16 + meta + len && span < 32 + meta + len && span % 16 == 0);
            }
        }
    }

    // Goal: no seal of an earlier epoch fits at the same offset. Method: neighbouring epochs, all laps nearby.
    #[test]
    fn seals_of_other_epochs_do_not_match() {
        for epoch in 1..64u64 {
            for old in 0..epoch {
                for laps in 0..64u64 {
                    assert_ne!(seal(4096 * laps, 77 ^ old), seal(4096 * 64, 77 ^ epoch));
                }
            }
        }
    }
}
