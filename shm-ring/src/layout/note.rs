//! Note: what the frames of a log say that are no records.
//!
//! | state | payload, words of 8 bytes, little-endian |
//! |-------|------------------------------------------|
//! | GAP   | reason, records, bytes, first sequence; all ones: nobody knows |
//! | MARK  | the ring's uuid (2), its epoch, position, records |
//!
//! (I1) a payload that decodes is one that `encode` can have made; another one is none.
//! Works on bytes; what a note is about, others know.

use super::segment::LOG_PAYLOAD_OFFSET;

/// Why records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum GapReason {
    /// Their producer dropped them, because the ring was full.
    Dropped = 1,
    /// Their producer died in the middle of a claim.
    Lost = 2,
    /// The recorder was away, and producers went on without it.
    Lapped = 3,
    /// The machine was restarted, or the ring made anew: what it held then is gone.
    Restarted = 4,
}

/// The payload of a GAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GapNote {
    /// Why.
    pub(crate) reason: GapReason,
    /// How many; `None`: nobody knows.
    pub(crate) n_records: Option<u64>,
    /// How many bytes of the ring, frame headers included; `None`: nobody knows.
    pub(crate) n_bytes: Option<u64>,
    /// The sequence of the first, of that producer; `None`: nobody knows.
    pub(crate) first_sequence: Option<u64>,
}

/// Bytes of a GAP's payload in a log.
pub(crate) const GAP_NOTE_BYTES: usize = 32;

impl GapNote {
    /// The payload.
    pub(crate) fn encode(&self) -> [u8; GAP_NOTE_BYTES] {
        let mut out = [0; GAP_NOTE_BYTES];
        let words = [Some(self.reason as u64), self.n_records, self.n_bytes, self.first_sequence];
        for (to, word) in out.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.unwrap_or(u64::MAX).to_le_bytes());
        }
        out
    }

    /// What a payload says; `None`: it is none of a GAP.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let [reason, n_records, n_bytes, first_sequence] = words_of::<4>(payload)?;
        let reason = match reason {
            1 => GapReason::Dropped,
            2 => GapReason::Lost,
            3 => GapReason::Lapped,
            4 => GapReason::Restarted,
            _ => return None,
        };
        let known = |word| (word != u64::MAX).then_some(word);
        Some(Self {
            reason,
            n_records: known(n_records),
            n_bytes: known(n_bytes),
            first_sequence: known(first_sequence),
        })
    }
}

/// The payload of a MARK: everything of that source below that position is in the log, or told as a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MarkNote {
    /// The ring's.
    pub(crate) source_uuid: [u8; 16],
    /// The ring's, which grows with each restart of the machine.
    pub(crate) epoch: u64,
    /// Where recording goes on.
    pub(crate) position: u64,
    /// Records of that source that are in the log.
    pub(crate) n_records: u64,
}

/// Bytes of a MARK's payload.
pub(crate) const MARK_NOTE_BYTES: usize = 40;
/// Bytes that a MARK takes in a segment.
pub(crate) const MARK_SPAN_BYTES: u64 = 32 + 48;

const _: () = assert!(MARK_NOTE_BYTES as u64 <= MARK_SPAN_BYTES - LOG_PAYLOAD_OFFSET);

impl MarkNote {
    /// The payload.
    pub(crate) fn encode(&self) -> [u8; MARK_NOTE_BYTES] {
        let mut out = [0; MARK_NOTE_BYTES];
        let (uuid, rest) = out.split_at_mut(16);
        uuid.copy_from_slice(&self.source_uuid);
        for (to, word) in rest.chunks_exact_mut(8).zip([self.epoch, self.position, self.n_records]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// What a payload says; `None`: it is none of a MARK.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let (uuid, rest) = payload.split_first_chunk::<16>()?;
        let [epoch, position, n_records] = words_of::<3>(rest)?;
        Some(Self { source_uuid: *uuid, epoch, position, n_records })
    }
}

fn words_of<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    if bytes.len() != 8 * N {
        return None;
    }
    let mut words = [0; N];
    for (word, from) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(from.try_into().expect("the chunk has 8 bytes"));
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::super::segment::span_of_log_record;
    use super::*;

    const UUID: [u8; 16] = *b"0123456789abcdef";

    // Goal: notices survive their bytes, and other bytes are none. Method: there and back; wrong lengths and reasons.
    #[test]
    fn notices_survive_their_bytes() {
        for reason in [GapReason::Dropped, GapReason::Lost, GapReason::Lapped, GapReason::Restarted] {
            let note = GapNote { reason, n_records: Some(3), n_bytes: None, first_sequence: Some(0) };
            assert_eq!(GapNote::decode(&note.encode()), Some(note));
            assert_eq!(GapNote::decode(&note.encode()[1..]), None);
        }
        assert_eq!(GapNote::decode(&[9; GAP_NOTE_BYTES]), None);
        let mark = MarkNote { source_uuid: UUID, epoch: 2, position: 4096, n_records: 9 };
        assert_eq!(MarkNote::decode(&mark.encode()), Some(mark));
        assert_eq!(MarkNote::decode(&[0; MARK_NOTE_BYTES - 1]), None);
        assert_eq!(span_of_log_record(MARK_NOTE_BYTES as u64), MARK_SPAN_BYTES);
    }
}
