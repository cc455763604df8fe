//! View: one frame's header words, stored and loaded in the only order that is right.
//!
//! ```text
//!  store: w0 (CLAIMED)  then  w1 (seal, Release)      load: w1 (Acquire), matches?  then  w0 (Acquire)
//! ```
//! The other way round, old payload bytes that stand where `w0` goes could be taken for a committed header.
//!
//! (I1) `w0` is looked at only behind a matching seal; (I2) each word is loaded once, and what was loaded is what is checked and used.

use crate::layout::frame::{
    GAP_BYTES, Head, METADATA_BYTES, State, decode_tags, encode_tags, filler_len, record_of, seal,
};
use crate::layout::geometry::Geometry;
use crate::map::region::Data;
use crate::sync::{Ordering, Point, fence, kill_point};

/// The frames of one ring.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    data: Data,
    /// nonce ^ epoch.
    key: u64,
    capacity_bits: u32,
    /// 16 or 0.
    metadata_bytes: u64,
    record_max_bytes: u64,
    span_max_bytes: u64,
}

/// A frame that is sealed, at its position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    /// Its first word.
    pub(crate) head: Head,
    /// Bytes to the next frame.
    pub(crate) span_bytes: u64,
}

/// What a record's metadata says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Metadata {
    /// ns since the Unix epoch.
    pub(crate) timestamp_ns: u64,
    /// Per producer slot.
    pub(crate) sequence: u64,
    /// The user's.
    pub(crate) level: u8,
    /// The user's.
    pub(crate) kind: u8,
}

/// What a GAP frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// How many records were dropped.
    pub(crate) records: u64,
    /// The sequence of the first of them.
    pub(crate) first_sequence: u64,
    /// How many its producer slot has dropped in all, these included.
    pub(crate) dropped_in_all: u64,
}

impl Frames {
    /// The frames in `data`, sealed with `key`.
    pub(crate) fn new(data: Data, geometry: &Geometry, key: u64) -> Self {
        Self {
            data,
            key,
            capacity_bits: geometry.capacity_bits(),
            metadata_bytes: geometry.metadata_bytes(),
            record_max_bytes: geometry.record_max_bytes(),
            span_max_bytes: geometry.span_max_bytes(),
        }
    }

    /// Bytes of data.
    #[inline(always)]
    pub(crate) fn capacity_bytes(&self) -> u64 {
        1 << self.capacity_bits
    }

    /// 16 with metadata, else 0.
    #[inline(always)]
    pub(crate) fn metadata_bytes(&self) -> u64 {
        self.metadata_bytes
    }

    /// The longest frame.
    pub(crate) fn span_max_bytes(&self) -> u64 {
        self.span_max_bytes
    }

    /// Where a record's payload begins, from the start of its frame.
    #[inline(always)]
    pub(crate) fn payload_offset(&self) -> u64 {
        16 + self.metadata_bytes
    }

    /// The bytes of the frames.
    #[inline(always)]
    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    /// The frame at `position`, if one stands there.
    #[inline(always)]
    pub(crate) fn sealed(&self, position: u64) -> Option<Head> {
        // ORDER R0 (Acquire, pairs with S1): `w0` is of the same frame or newer.
        let found = self.data.word(position, 1).load(Ordering::Acquire);
        if found != seal(position, self.key) {
            return None;
        }
        // ORDER R1 (Acquire, pairs with C1): no payload byte is read before the state that covers it.
        let word = self.data.word(position, 0).load(Ordering::Acquire);
        Head::decode(word, position, self.capacity_bits)
    }

    /// The same with its length checked: `Err` is a header that no sound producer writes.
    #[inline(always)]
    pub(crate) fn checked(&self, position: u64) -> Result<Option<Sealed>, &'static str> {
        let Some(head) = self.sealed(position) else { return Ok(None) };
        let span_bytes = head.span_bytes(self.metadata_bytes);
        let longest = match head.state {
            State::Data | State::Inner | State::Gap => self.record_max_bytes,
            State::Claimed | State::Pad | State::Lost => self.span_max_bytes,
        };
        if span_bytes > longest {
            return Err("a frame is longer than any claim can be");
        }
        Ok(Some(Sealed { head, span_bytes }))
    }

    /// First word and span of the record at `position`, if one is committed there: the quick way for a reader that expects one.
    #[inline(always)]
    pub(crate) fn record(&self, position: u64) -> Option<(u64, u64)> {
        // ORDER R0 (Acquire, pairs with S1 and C1): as in `sealed`.
        if self.data.word(position, 1).load(Ordering::Acquire) != seal(position, self.key) {
            return None;
        }
        // ORDER R1 (Acquire, pairs with C1): as in `sealed`.
        let word = self.data.word(position, 0).load(Ordering::Acquire);
        let span_bytes = record_of(word, position, self.capacity_bits, self.metadata_bytes)?;
        (span_bytes <= self.record_max_bytes).then_some((word, span_bytes))
    }

    /// Whether a walker that stands at `position` has something to do: a frame that is not open, or a corrupt one.
    pub(crate) fn is_finished(&self, position: u64) -> bool {
        self.sealed(position).is_some_and(|head| head.state != State::Claimed)
    }

    /// Marks the claim of `span_bytes` at `position` as its claimer's.
    #[inline(always)]
    pub(crate) fn open(&self, position: u64, slot: u16, span_bytes: u64) {
        // The length counts all bytes behind the seal, as in LOST, so that a reaper changes nothing but the state.
        let head = Head { len_bytes: filler_len(span_bytes), state: State::Claimed, slot };
        // ORDER none (Relaxed): nobody looks before the seal matches.
        self.data.word(position, 0).store(head.encode(position, self.capacity_bits), Ordering::Relaxed);
        kill_point(Point::MarkWord);
        self.seal(position);
        kill_point(Point::MarkSealed);
    }

    /// Writes a whole header inside an open claim: readers get there only after the claim's own commit.
    #[inline(always)]
    pub(crate) fn write_inside(&self, position: u64, head: Head) {
        // ORDER none (Relaxed): nobody looks before the seal matches.
        self.data.word(position, 0).store(head.encode(position, self.capacity_bits), Ordering::Relaxed);
        kill_point(if head.state == State::Lost { Point::ReapHoleWord } else { Point::InsideWord });
        self.seal(position);
        kill_point(if head.state == State::Lost { Point::ReapHoleSealed } else { Point::InsideSealed });
    }

    /// A PAD over `span_bytes`, inside an open claim.
    #[inline(always)]
    pub(crate) fn pad_inside(&self, position: u64, slot: u16, span_bytes: u64) {
        self.write_inside(position, Head { len_bytes: filler_len(span_bytes), state: State::Pad, slot });
    }

    #[inline(always)]
    fn seal(&self, position: u64) {
        // ORDER S1 (Release, pairs with R0): `w0` before the seal that covers it.
        self.data.word(position, 1).store(seal(position, self.key), Ordering::Release);
    }

    /// Publishes the claim at `position` as what `head` says.
    #[inline(always)]
    pub(crate) fn commit(&self, position: u64, head: Head) {
        // ORDER C1 (Release, pairs with R1): payload, metadata, inner frames and pads are visible to whoever sees this state.
        self.data.word(position, 0).store(head.encode(position, self.capacity_bits), Ordering::Release);
        kill_point(Point::CommitStored);
    }

    /// Publishes a record whose claim was not marked: the whole header at once.
    #[inline(always)]
    pub(crate) fn publish(&self, position: u64, head: Head) {
        // ORDER none (Relaxed): nobody looks before the seal matches.
        self.data.word(position, 0).store(head.encode(position, self.capacity_bits), Ordering::Relaxed);
        kill_point(Point::PublishWord);
        // ORDER C1 (Release, pairs with R0): payload, metadata and `w0` are visible to whoever sees the seal.
        self.data.word(position, 1).store(seal(position, self.key), Ordering::Release);
        kill_point(Point::PublishSealed);
    }

    /// Turns a dead producer's claim into LOST; false when it was not as `claimed` says any more.
    pub(crate) fn lose(&self, position: u64, claimed: Head) -> bool {
        let lost = Head { state: State::Lost, ..claimed };
        let (old, new) =
            (claimed.encode(position, self.capacity_bits), lost.encode(position, self.capacity_bits));
        // ORDER C1 (Release, pairs with R1): readers that skip it go on behind it; on failure nothing is used (Relaxed).
        let is_lost = self
            .data
            .word(position, 0)
            .compare_exchange(old, new, Ordering::Release, Ordering::Relaxed)
            .is_ok();
        kill_point(Point::ReapLost);
        is_lost
    }

    /// Writes LOST where a dead producer had not even marked its claim.
    pub(crate) fn lose_unmarked(&self, position: u64, slot: u16, span_bytes: u64) {
        // ORDER L1 (Release, pairs with L2): whoever reads a byte of this header sees the tail that the reaper saw.
        fence(Ordering::Release);
        self.write_inside(position, Head { len_bytes: filler_len(span_bytes), state: State::Lost, slot });
    }

    /// Stores a record's metadata; before its commit.
    #[inline(always)]
    pub(crate) fn write_metadata(&self, position: u64, metadata: Metadata) {
        debug_assert_eq!(self.metadata_bytes, METADATA_BYTES);
        // ORDER none (Relaxed): carried by C1.
        self.data.word(position, 2).store(metadata.timestamp_ns, Ordering::Relaxed);
        let tags = encode_tags(metadata.sequence, metadata.level, metadata.kind);
        self.data.word(position, 3).store(tags, Ordering::Relaxed);
    }

    /// Stores a GAP's payload; before its commit.
    pub(crate) fn write_gap(&self, position: u64, gap: Gap) {
        let at = position + self.payload_offset();
        for (index, word) in [gap.records, gap.first_sequence, gap.dropped_in_all].into_iter().enumerate() {
            // ORDER none (Relaxed): carried by C1.
            self.data.word(at, index).store(word, Ordering::Relaxed);
        }
    }

    /// A committed GAP's payload, if it is as long as one.
    pub(crate) fn gap(&self, position: u64, head: Head) -> Option<Gap> {
        if u64::from(head.len_bytes) != GAP_BYTES {
            return None;
        }
        let at = position + self.payload_offset();
        // ORDER none (Relaxed): behind R1.
        let [records, first_sequence, dropped_in_all] =
            [0, 1, 2].map(|index| self.data.word(at, index).load(Ordering::Relaxed));
        Some(Gap { records, first_sequence, dropped_in_all })
    }

    /// A committed record's metadata, in a ring that has it.
    #[inline(always)]
    pub(crate) fn metadata(&self, position: u64) -> Option<Metadata> {
        if self.metadata_bytes == 0 {
            return None;
        }
        // ORDER none (Relaxed): behind R1.
        let timestamp_ns = self.data.word(position, 2).load(Ordering::Relaxed);
        let (sequence, level, kind) = decode_tags(self.data.word(position, 3).load(Ordering::Relaxed));
        Some(Metadata { timestamp_ns, sequence, level, kind })
    }
}
