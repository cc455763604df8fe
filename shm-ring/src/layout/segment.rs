//! Segment: one file of a log, and the frames in it.
//!
//! ```text
//!  page 0    page 1    index_offset              data_offset                       end of the file
//! +---------+---------+-------------------------+----------------------------------+
//! | header  | live    | index: 16 bytes for each | frames, one behind the other    |
//! |         |         | 64 KiB of data           |                                 |
//! +---------+---------+-------------------------+----------------------------------+
//!
//!  byte 0         4                 8           12          16          24          32
//!       +---------+----+------+-----+-----------+-----------+-----------+-----------+---------+-----+
//!  w0:  | len u32 |stat| slot | pos | w1: crc32c| stamp u32 | timestamp | tags u64  | payload | pad |
//!       +---------+----+------+-----+-----------+-----------+-----------+-----------+---------+-----+
//!       ^ 16-byte aligned, little-endian                                                 next frame ^
//! ```
//!
//! | state | what it is | payload |
//! |-------|------------|---------|
//! | DATA  | a record | the user's |
//! | GAP   | a notice that records are missing here | [`GapNote`] |
//! | MARK  | how far a source has been recorded, behind the records that it is about | [`MarkNote`] |
//!
//! (I1) frames start on 16-byte boundaries and never cross the end of a segment; (I2) both words are only reached through atomics; (I3) the
//! checksum is seeded with the segment's uuid and the position, and covers everything but itself, the stamp and the pad, so that no frame of
//! another segment, nor one of what this file was before it was used again, can pass for one of this; (I4) the stamp says the same in four
//! bytes without a look at the payload: cheap to refuse by, never enough to believe; (I5) a header that decodes is one that
//! [`SegmentHeader::encode`] can have made.
//! Works on bytes and numbers; reads and writes no file.

use super::checksum::{append_frame, append_words};
use super::frame::{FRAME_ALIGN, POSITION_END, span_of_record};
use super::header::{HEADER_BYTES, Malformed, Reader, Writer, checksum, field};
use super::slots::Line;
use crate::sync::AtomicU64;

#[allow(unused_imports, reason = "notices are for the recorder and for readers")]
pub(crate) use super::note::*;

/// The first eight bytes of a segment.
pub(crate) const MAGIC_SEGMENT: [u8; 8] = *b"SHMLOGS\0";
/// Grows when a reader of the old layout would misread the new one.
pub(crate) const SEGMENT_VERSION: u32 = 1;
/// The index has an entry for each so many bytes of data.
pub(crate) const INDEX_STEP_BYTES: u64 = 64 << 10;
/// Bytes of an index entry.
pub(crate) const INDEX_ENTRY_BYTES: u64 = 16;
/// Every frame of a log has the two metadata words.
pub(crate) const LOG_METADATA_BYTES: u64 = 16;
/// Header, metadata: where a frame's payload begins.
pub(crate) const LOG_PAYLOAD_OFFSET: u64 = 32;
/// Bytes of data of the smallest segment.
pub(crate) const SEGMENT_BYTES_MIN: u64 = INDEX_STEP_BYTES;
/// Bytes of data of the largest.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 16 << 30;

const PAGE_BYTES_MIN: u64 = 4096;
const PAGE_BYTES_MAX: u64 = 2 << 20;

/// Everything that page 0 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Names this use of the file: a file that is used again gets another one.
    pub(crate) uuid: [u8; 16],
    /// When it was made, ns since the Unix epoch.
    pub(crate) created_ns: u64,
    /// The log that it is of.
    pub(crate) log_uuid: [u8; 16],
    /// Which of its segments, from 1 on.
    pub(crate) number: u64,
    /// Where everything lies.
    pub(crate) extent: SegmentExtent,
}

/// Where the parts of a segment lie; offsets are whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentExtent {
    /// The page size that the file was made for.
    pub(crate) page_bytes: u64,
    /// Page 1.
    pub(crate) live_offset: u64,
    /// The first index entry.
    pub(crate) index_offset: u64,
    /// The first frame.
    pub(crate) data_offset: u64,
    /// Room for frames.
    pub(crate) data_bytes: u64,
    /// The whole file.
    pub(crate) file_bytes: u64,
}

impl SegmentExtent {
    /// Where the parts lie in a segment with room for so many bytes of frames; an error names what can't be, with what is expected and found.
    pub(crate) fn new(data_bytes: u64, page_bytes: u64) -> Result<Self, (&'static str, &'static str, u64)> {
        if !page_bytes.is_power_of_two() || !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes) {
            return Err(("page size", "a power of two, 4096 to 2^21", page_bytes));
        }
        let is_whole = data_bytes % INDEX_STEP_BYTES.max(page_bytes) == 0;
        if !is_whole || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&data_bytes) {
            return Err((
                "segment size",
                "a multiple of 64 KiB and of the page size, 64 KiB to 16 GiB",
                data_bytes,
            ));
        }
        let (live_offset, index_offset) = (page_bytes, 2 * page_bytes);
        let index_bytes = data_bytes / INDEX_STEP_BYTES * INDEX_ENTRY_BYTES;
        let data_offset = index_offset + index_bytes.next_multiple_of(page_bytes);
        let file_bytes = data_offset + data_bytes;
        Ok(Self { page_bytes, live_offset, index_offset, data_offset, data_bytes, file_bytes })
    }

    /// How many entries the index has room for.
    pub(crate) fn n_index_max(&self) -> u64 {
        self.data_bytes / INDEX_STEP_BYTES
    }

    /// The longest payload.
    pub(crate) fn record_bytes_max(&self) -> u64 {
        self.data_bytes / 4
    }
}

impl SegmentHeader {
    /// The first [`HEADER_BYTES`] of the file.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let extent = &self.extent;
        let mut out = Writer::new();
        out.put(&MAGIC_SEGMENT);
        out.put(&SEGMENT_VERSION.to_le_bytes());
        out.put(&[0; 4]);
        out.put(&self.uuid);
        out.put(&self.created_ns.to_le_bytes());
        out.put(&u32::try_from(extent.page_bytes).expect("pages have at most 2 MiB").to_le_bytes());
        out.put(&u32::try_from(INDEX_STEP_BYTES).expect("64 KiB").to_le_bytes());
        out.put(&self.log_uuid);
        for word in [self.number, extent.index_offset, extent.data_offset, extent.data_bytes] {
            out.put(&word.to_le_bytes());
        }
        out.finish()
    }

    /// Reads a header, believing nothing.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        let magic: [u8; 8] = input.take();
        if magic != MAGIC_SEGMENT {
            return Err(Malformed::Magic { found: magic });
        }
        let version = input.u32();
        if version != SEGMENT_VERSION {
            return Err(Malformed::Version { found: version });
        }
        let (stored, computed) = (input.u32(), checksum(bytes));
        if stored != computed {
            return Err(field("header checksum", format!("{computed:#010x}"), format!("{stored:#010x}")));
        }
        let (uuid, created_ns, page_bytes, _step) = (input.take(), input.u64(), input.u32(), input.u32());
        let (log_uuid, number) = (input.take(), input.u64());
        let (_index_offset, _data_offset, data_bytes) = (input.u64(), input.u64(), input.u64());
        if number == 0 {
            return Err(field("segment number", "1 or more".into(), "0".into()));
        }
        let extent = SegmentExtent::new(data_bytes, page_bytes.into())
            .map_err(|(what, expected, found)| field(what, expected.into(), found.to_string()))?;
        let header = Self { uuid, created_ns, log_uuid, number, extent };
        // The rest follows from what was read.
        if header.encode() != *bytes {
            return Err(field(
                "offsets and unused fields",
                "what follows from the size".into(),
                "others".into(),
            ));
        }
        Ok(header)
    }
}

/// Page 1: what all processes share. All zeros are a prepared segment, without frames.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SegmentLive {
    /// The position behind the last published frame; counts from ACTIVE on.
    pub(crate) end: Line<AtomicU64>,
    /// What is written seldom.
    pub(crate) era: Line<SegmentEra>,
    /// Where the segment stands in its log.
    pub(crate) place: Line<SegmentPlace>,
    /// Nothing.
    pub(crate) spare: Line<[AtomicU64; 16]>,
}

/// The second line of [`SegmentLive`].
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SegmentEra {
    /// The position below which everything is known to be on the medium.
    pub(crate) durable: AtomicU64,
    /// The boot in which the frames up to `end` are what was written; zeros or all ones: nobody knows of which.
    pub(crate) boot_id: [AtomicU64; 2],
    /// The last who appended; display only.
    pub(crate) writer_pid: AtomicU64,
    /// Not 0: a sync of it has failed, and what the medium has of it nobody knows.
    pub(crate) suspect: AtomicU64,
}

/// The third line of [`SegmentLive`].
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SegmentPlace {
    /// [`PREPARED`], [`ACTIVE`] or [`SEALED`](super::mapped::SEALED); stored behind what it vouches for.
    pub(crate) state: AtomicU64,
    /// The position of the first frame; good from ACTIVE on.
    pub(crate) base: AtomicU64,
    /// Entries of the index that are whole.
    pub(crate) n_index: AtomicU64,
    /// Behind SEALED: the position behind the last frame, which is also where the next segment begins, unless something was lost.
    pub(crate) sealed_end: AtomicU64,
    /// DATA frames.
    pub(crate) n_records: AtomicU64,
    /// The least timestamp of a DATA frame; all ones without one.
    pub(crate) first_ns: AtomicU64,
    /// The greatest timestamp of a DATA frame; 0 without one.
    pub(crate) last_ns: AtomicU64,
    /// crc32c of the index's entries.
    pub(crate) index_crc: AtomicU64,
    /// crc32c of the uuid and the other words but the state, as [`Sealed::crc`] makes it.
    pub(crate) seal_crc: AtomicU64,
}

/// Nobody has appended to it; the next one, or one after that.
pub(crate) const PREPARED: u64 = 0;
/// The one that is appended to.
pub(crate) const ACTIVE: u64 = u64::from_le_bytes(*b"ACTIVE\0\0");
/// The boot id of a segment that nobody may go on in as if memory were what was written.
pub(crate) const SUSPECT: [u64; 2] = [u64::MAX; 2];
/// Bytes of [`SegmentLive`] in the file.
pub(crate) const SEGMENT_LIVE_BYTES: usize = 512;

#[cfg(not(any(loom, shuttle)))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<SegmentLive>() == SEGMENT_LIVE_BYTES);
    assert!(offset_of!(SegmentLive, end) == 0);
    assert!(offset_of!(SegmentLive, era) == 128);
    assert!(offset_of!(SegmentLive, place) == 256);
    assert!(offset_of!(SegmentLive, spare) == 384);
    assert!(offset_of!(SegmentEra, durable) == 0);
    assert!(offset_of!(SegmentEra, boot_id) == 8);
    assert!(offset_of!(SegmentEra, writer_pid) == 24);
    assert!(offset_of!(SegmentEra, suspect) == 32);
    assert!(offset_of!(SegmentPlace, state) == 0);
    assert!(offset_of!(SegmentPlace, base) == 8);
    assert!(offset_of!(SegmentPlace, n_index) == 16);
    assert!(offset_of!(SegmentPlace, sealed_end) == 24);
    assert!(offset_of!(SegmentPlace, n_records) == 32);
    assert!(offset_of!(SegmentPlace, first_ns) == 40);
    assert!(offset_of!(SegmentPlace, last_ns) == 48);
    assert!(offset_of!(SegmentPlace, index_crc) == 56);
    assert!(offset_of!(SegmentPlace, seal_crc) == 64);
};

/// What a sealed segment says of itself; the manifest says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The position of the first frame.
    pub(crate) base: u64,
    /// The position behind the last.
    pub(crate) end: u64,
    /// Entries of the index.
    pub(crate) n_index: u64,
    /// DATA frames.
    pub(crate) n_records: u64,
    /// The least timestamp of one; all ones without any.
    pub(crate) first_ns: u64,
    /// The greatest; 0 without any.
    pub(crate) last_ns: u64,
    /// crc32c of the index's entries.
    pub(crate) index_crc: u32,
}

impl Sealed {
    /// The checksum behind these words.
    pub(crate) fn crc(&self, uuid: &[u8; 16]) -> u32 {
        let words = [self.base, self.end, self.n_index, self.n_records, self.first_ns, self.last_ns];
        let named = crc32c::crc32c(uuid);
        let crc = words.iter().fold(named, |crc, word| crc32c::crc32c_append(crc, &word.to_le_bytes()));
        crc32c::crc32c_append(crc, &self.index_crc.to_le_bytes())
    }
}

/// An entry of the index: where a search by time may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// The greatest timestamp of all DATA frames of this segment in front of the frame; 0 without one.
    pub(crate) last_ns: u64,
    /// The position of the first frame that begins in its 64 KiB.
    pub(crate) position: u64,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum LogState {
    /// A record.
    Data = 2,
    /// A notice that records are missing.
    Gap = 5,
    /// How far a source has been recorded.
    Mark = 7,
}

/// The fields of a frame's first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogHead {
    /// Bytes of payload.
    pub(crate) len_bytes: u32,
    /// What it is.
    pub(crate) state: LogState,
    /// The slot of the producer in the ring that it comes from; 0 without one.
    pub(crate) slot: u16,
}

impl LogHead {
    /// The word for a frame at `position`.
    #[inline(always)]
    pub(crate) fn encode(self, position: u64) -> u64 {
        u64::from(self.len_bytes)
            | (self.state as u64) << 32
            | (u64::from(self.slot) & 0xfff) << 36
            | place(position) << 48
    }

    /// What `word` says, if it can stand at `position` at all.
    #[inline(always)]
    pub(crate) fn decode(word: u64, position: u64) -> Option<Self> {
        if word >> 48 != place(position) {
            return None;
        }
        let state = match (word >> 32) & 0xf {
            2 => LogState::Data,
            5 => LogState::Gap,
            7 => LogState::Mark,
            _ => return None,
        };
        #[expect(clippy::cast_possible_truncation, reason = "masked to 32 and 12 bits")]
        Some(Self { len_bytes: word as u32, state, slot: (word >> 36) as u16 & 0xfff })
    }

    /// Bytes from this frame's start to the next one's.
    #[inline(always)]
    pub(crate) fn span_bytes(self) -> u64 {
        span_of_log_record(self.len_bytes.into())
    }
}

/// Bytes that a frame with so long a payload takes in a segment.
#[inline(always)]
pub(crate) fn span_of_log_record(len_bytes: u64) -> u64 {
    span_of_record(len_bytes, LOG_METADATA_BYTES)
}

/// Whether a frame can stand at `position`.
#[inline(always)]
pub(crate) fn is_log_boundary(position: u64) -> bool {
    position % FRAME_ALIGN == 0 && position < POSITION_END
}

#[inline(always)]
fn place(position: u64) -> u64 {
    (position / FRAME_ALIGN) & 0xffff
}

/// What makes the checksums and stamps of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    crc: u32,
    stamp: u32,
}

/// Everything of a frame that its checksum covers, but the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    /// Where the frame is.
    pub(crate) position: u64,
    /// Its first word.
    pub(crate) w0: u64,
    /// Its timestamp, ns since the Unix epoch.
    pub(crate) timestamp_ns: u64,
    /// Sequence, level and kind, as in a ring.
    pub(crate) tags: u64,
}

impl Covered {
    /// In the order in which they are covered.
    #[inline(always)]
    fn words(&self) -> [u64; 4] {
        [self.position, self.w0, self.timestamp_ns, self.tags]
    }
}

impl Key {
    /// The segment's, by its uuid.
    pub(crate) fn of(uuid: &[u8; 16]) -> Self {
        let [a, b, c, d, ..] = *uuid;
        Self { crc: crc32c::crc32c(uuid), stamp: u32::from_le_bytes([a, b, c, d]) }
    }

    /// The second word of a frame.
    #[inline(always)]
    pub(crate) fn seal(self, covered: &Covered, payload: &[u8]) -> u64 {
        self.finish(covered.position, self.crc_of(covered, payload))
    }

    /// Whether that second word may be of a frame at `position`: to be refused without a look at the payload, not to be believed by.
    #[inline(always)]
    pub(crate) fn is_stamped(self, position: u64, w1: u64) -> bool {
        w1 >> 32 == u64::from(self.stamp_at(position))
    }

    /// Whether that second word is the frame's.
    #[inline(always)]
    pub(crate) fn is_sealed(self, w1: u64, covered: &Covered, payload: &[u8]) -> bool {
        self.is_stamped(covered.position, w1) && self.seal(covered, payload) == w1
    }

    /// The checksum of everything that is covered but the payload, which a caller that copies it piece by piece adds itself.
    #[inline(always)]
    pub(crate) fn begin(self, covered: &Covered) -> u32 {
        append_words(self.crc, &covered.words())
    }

    /// The checksum of everything that is covered.
    #[inline(always)]
    pub(crate) fn crc_of(self, covered: &Covered, payload: &[u8]) -> u32 {
        append_frame(self.crc, &covered.words(), payload)
    }

    /// The second word of the frame at `position`, of which all was added to that checksum.
    #[inline(always)]
    pub(crate) fn finish(self, position: u64, crc: u32) -> u64 {
        u64::from(crc) | u64::from(self.stamp_at(position)) << 32
    }

    #[inline(always)]
    fn stamp_at(self, position: u64) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "32 bits are what is wanted")]
        let low = (position / FRAME_ALIGN) as u32;
        self.stamp ^ low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: [u8; 16] = *b"0123456789abcdef";

    fn sample() -> SegmentHeader {
        SegmentHeader {
            uuid: UUID,
            created_ns: 42,
            log_uuid: *b"fedcba9876543210",
            number: 7,
            extent: SegmentExtent::new(64 << 20, 4096).unwrap(),
        }
    }

    // Goal: what is written is read, and no flipped bit goes unnoticed. Method: one header, every bit of it.
    #[test]
    fn a_segment_header_survives_and_every_flipped_bit_is_noticed() {
        let bytes = sample().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(sample()));
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    // Goal: the parts of a segment don't overlap, and sizes that can't be are refused. Method: the smallest, the default, the largest.
    #[test]
    fn the_parts_of_a_segment_lie_behind_each_other() {
        for data_bytes in [SEGMENT_BYTES_MIN, 64 << 20, SEGMENT_BYTES_MAX] {
            let extent = SegmentExtent::new(data_bytes, 4096).unwrap();
            assert_eq!((extent.live_offset, extent.index_offset), (4096, 8192));
            assert!(extent.data_offset - extent.index_offset >= extent.n_index_max() * INDEX_ENTRY_BYTES);
            assert_eq!((extent.data_offset % 4096, extent.file_bytes), (0, extent.data_offset + data_bytes));
        }
        for data_bytes in [0, 4096, SEGMENT_BYTES_MIN + 16, SEGMENT_BYTES_MAX + INDEX_STEP_BYTES, u64::MAX] {
            assert_eq!(SegmentExtent::new(data_bytes, 4096).unwrap_err().0, "segment size");
        }
    }

    proptest! {
        // Goal: forged fields under a right checksum are still checked. Method: random bytes, checksum made right.
        #[test]
        fn forged_fields_never_pass_as_another_segment(at in (0usize..8).prop_union(16usize..256), value in any::<u8>()) {
            let mut bytes = sample().encode();
            bytes[at] = value;
            let crc = checksum(&bytes);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            if let Ok(header) = SegmentHeader::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        // Goal: a frame's words say what was put in, and nowhere else. Method: random heads, at random places.
        #[test]
        fn a_log_head_survives_its_word(len in any::<u32>(), slot in 0u16..0x1000, which in 0usize..3, position in 0u64..POSITION_END) {
            let position = position & !(FRAME_ALIGN - 1);
            let state = [LogState::Data, LogState::Gap, LogState::Mark][which];
            let head = LogHead { len_bytes: len, state, slot };
            let word = head.encode(position);
            prop_assert_eq!(LogHead::decode(word, position), Some(head));
            prop_assert_eq!(LogHead::decode(word, position ^ 16), None);
            prop_assert_eq!(head.span_bytes() % FRAME_ALIGN, 0);
        }

        #[test]
        fn any_word_decodes_to_something_sound_or_nothing(word in any::<u64>(), position in any::<u64>()) {
            if let Some(head) = LogHead::decode(word, position) {
                prop_assert_eq!(head.encode(position), word);
            }
        }

        // Goal: a frame is believed where and as it was written only. Method: another place, another file, and every flipped bit.
        #[test]
        fn a_seal_covers_place_head_metadata_and_payload(payload in proptest::collection::vec(any::<u8>(), 0..100), position in 0u64..1 << 40, flip in any::<usize>()) {
            let position = position & !(FRAME_ALIGN - 1);
            let key = Key::of(&UUID);
            let head = LogHead { len_bytes: u32::try_from(payload.len()).unwrap(), state: LogState::Data, slot: 3 };
            let covered = Covered { position, w0: head.encode(position), timestamp_ns: 5, tags: 6 };
            let w1 = key.seal(&covered, &payload);
            prop_assert!(key.is_sealed(w1, &covered, &payload));
            prop_assert!(!Key::of(b"0123456789abcdeF").is_sealed(w1, &covered, &payload));
            prop_assert!(!key.is_stamped(position + 16, w1));
            let bit = flip % 64;
            prop_assert!(!key.is_sealed(w1 ^ 1 << bit, &covered, &payload));
            for other in [
                Covered { w0: covered.w0 ^ 1 << bit, ..covered },
                Covered { timestamp_ns: 5 ^ 1 << bit, ..covered },
                Covered { tags: 6 ^ 1 << bit, ..covered },
            ] {
                prop_assert!(!key.is_sealed(w1, &other, &payload));
            }
            if !payload.is_empty() {
                let mut other = payload.clone();
                let at = flip % other.len();
                other[at] ^= 1 << (bit % 8);
                prop_assert!(!key.is_sealed(w1, &covered, &other));
            }
        }
    }

    // Goal: a seal is of all its words. Method: each changed.
    #[test]
    fn a_changed_word_is_another_seal() {
        let sealed =
            Sealed { base: 0, end: 96, n_index: 1, n_records: 2, first_ns: 3, last_ns: 4, index_crc: 5 };
        let crc = sealed.crc(&UUID);
        for other in [
            Sealed { base: 16, ..sealed },
            Sealed { end: 112, ..sealed },
            Sealed { n_index: 2, ..sealed },
            Sealed { n_records: 3, ..sealed },
            Sealed { first_ns: 4, ..sealed },
            Sealed { last_ns: 5, ..sealed },
            Sealed { index_crc: 6, ..sealed },
        ] {
            assert_ne!(other.crc(&UUID), crc);
        }
        assert_ne!(sealed.crc(b"0123456789abcdeF"), crc);
    }
}
