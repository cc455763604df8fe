//! Claim guard: room for one record, in the user's hands.
//!
//! (I1) while it lives, its producer is borrowed, so there is one; (I2) it ends in a commit or, dropped, in an abort; (I3) leaked, it is
//! aborted by its producer.

use super::producer::Producer;
use crate::frame::view::Metadata;
use crate::layout::frame::{Head, Position, State, span_of_record};
use std::ops::{Deref, DerefMut};

/// Claimed room for one record, to be written in place. Dropped, it is aborted: readers skip it.
#[derive(Debug)]
#[must_use = "a claim that is dropped is aborted"]
pub struct Claim<'a> {
    producer: &'a mut Producer,
    position: u64,
    len: usize,
    span_bytes: u64,
    metadata: Metadata,
}

impl<'a> Claim<'a> {
    #[inline(always)]
    pub(crate) fn new(producer: &'a mut Producer, position: u64, len: usize, span_bytes: u64) -> Self {
        let metadata = Metadata {
            timestamp_ns: producer.now(),
            sequence: producer.claimer.sequence(),
            level: 0,
            kind: 0,
        };
        Self { producer, position, len, span_bytes, metadata }
    }

    /// Where the record will be.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Sets the record's level, in a ring with metadata.
    pub fn set_level(&mut self, level: u8) {
        self.metadata.level = level;
    }

    /// Sets the record's kind, in a ring with metadata.
    pub fn set_kind(&mut self, kind: u8) {
        self.metadata.kind = kind;
    }

    /// Replaces the time of the claim, in ns since the Unix epoch, in a ring with metadata.
    pub fn set_timestamp_ns(&mut self, timestamp_ns: u64) {
        self.metadata.timestamp_ns = timestamp_ns;
    }

    /// Publishes the record; where it is.
    #[inline]
    pub fn commit(self) -> Position {
        let len = self.len;
        self.publish(len)
    }

    /// Publishes the first `len` bytes and gives the rest back.
    ///
    /// # Panics
    ///
    /// When `len` exceeds what was claimed.
    pub fn commit_len(self, len: usize) -> Position {
        assert!(len <= self.len, "commit_len({len}) of a claim of {} bytes", self.len);
        let frames = &self.producer.claimer.table().frames;
        let used = span_of_record(len as u64, frames.metadata_bytes());
        if used < self.span_bytes {
            // Inside the claim, and before the commit that lets readers come here.
            frames.pad_inside(self.position + used, self.producer.claimer.index(), self.span_bytes - used);
        }
        self.publish(len)
    }

    #[inline(always)]
    fn publish(self, len: usize) -> Position {
        let mut this = std::mem::ManuallyDrop::new(self);
        let position = this.position;
        if this.producer.metadata {
            this.producer.claimer.table().frames.write_metadata(position, this.metadata);
        }
        let head = record_head(len, State::Data, this.producer.claimer.index());
        this.producer.commit_open(head, 1, len as u64);
        position
    }
}

/// The header of a record.
#[inline(always)]
pub(crate) fn record_head(len: usize, state: State, slot: u16) -> Head {
    #[expect(clippy::cast_possible_truncation, reason = "a record is at most a quarter of 2^33 bytes")]
    Head { len_bytes: len as u32, state, slot }
}

impl Deref for Claim<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the pointer was made from a slice that is good as long as the claim is open.
        unsafe { &*self.producer.bytes(self.position, self.len) }
    }
}

impl DerefMut for Claim<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.producer.bytes_mut(self.position, self.len)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.producer.abort_open();
    }
}
