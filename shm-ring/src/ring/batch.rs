//! Batch: one claim for many records.
//!
//! ```text
//!   CLAIMED over all -> INNER, INNER, ... -> PAD over the rest -> DATA for the first record (Release): all appear at once
//! ```
//!
//! (I1) the first record's header is the claim's and is stored last, so a death before it loses the batch as a whole; (I2) no reader walks to
//! an INNER before that, and no scan starts at one.

use super::claim::record_head;
use super::producer::Producer;
use crate::frame::copy::copy_in;
use crate::frame::view::Metadata;
use crate::layout::frame::{Position, State, span_of_record};

/// Claimed room for several records. Dropped, it is aborted as a whole.
#[derive(Debug)]
#[must_use = "a batch that is dropped is aborted"]
pub struct Batch<'a> {
    producer: &'a mut Producer,
    position: u64,
    end: u64,
    /// Where the next record goes.
    next: u64,
    records_max: usize,
    records: usize,
    payload_bytes: u64,
    first_len: usize,
    timestamp_ns: u64,
    level: u8,
    kind: u8,
}

/// A batch has no room for one more record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch is full: the record needs {needed_bytes} bytes, {free_bytes} are left in the claim")]
#[non_exhaustive]
pub struct BatchFull {
    /// The record with its header.
    pub needed_bytes: u64,
    /// What is left.
    pub free_bytes: u64,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(
        producer: &'a mut Producer,
        position: u64,
        span_bytes: u64,
        records_max: usize,
    ) -> Self {
        let timestamp_ns = producer.now();
        Self {
            producer,
            position,
            end: position + span_bytes,
            next: position,
            records_max: records_max.max(1),
            records: 0,
            payload_bytes: 0,
            first_len: 0,
            timestamp_ns,
            level: 0,
            kind: 0,
        }
    }

    /// Adds a copy of `payload`.
    ///
    /// # Errors
    ///
    /// [`BatchFull`] when the claim has no room for it; what is in the batch stays.
    #[inline(always)]
    pub fn push(&mut self, payload: &[u8]) -> Result<(), BatchFull> {
        let metadata_bytes = self.producer.claimer.table().frames.metadata_bytes();
        let needed_bytes = span_of_record(payload.len() as u64, metadata_bytes);
        // No record is longer than any other record can be, however large the batch.
        if needed_bytes > self.end - self.next
            || self.records == self.records_max
            || payload.len() > self.producer.payload_max_bytes()
        {
            return Err(self.full(needed_bytes));
        }
        self.producer.claimer.fetch_ahead(self.next, needed_bytes);
        let frames = &self.producer.claimer.table().frames;
        copy_in(self.producer.bytes_mut(self.next, payload.len()), payload);
        if self.producer.metadata {
            let metadata = Metadata {
                timestamp_ns: self.timestamp_ns,
                sequence: self.producer.claimer.sequence().wrapping_add(self.records as u64),
                level: self.level,
                kind: self.kind,
            };
            frames.write_metadata(self.next, metadata);
        }
        if self.records == 0 {
            // Its header is the claim's, and is stored last.
            self.first_len = payload.len();
        } else {
            let head = record_head(payload.len(), State::Inner, self.producer.claimer.index());
            frames.write_inside(self.next, head);
        }
        self.next += needed_bytes;
        self.records += 1;
        self.payload_bytes += payload.len() as u64;
        Ok(())
    }

    #[cold]
    fn full(&self, needed_bytes: u64) -> BatchFull {
        let longest = span_of_record(
            self.producer.payload_max_bytes() as u64,
            self.producer.claimer.table().frames.metadata_bytes(),
        );
        BatchFull { needed_bytes, free_bytes: (self.end - self.next).min(longest) }
    }

    /// Sets the level of the records that follow.
    pub fn set_level(&mut self, level: u8) {
        self.level = level;
    }

    /// Sets the kind of the records that follow.
    pub fn set_kind(&mut self, kind: u8) {
        self.kind = kind;
    }

    /// Records in it so far.
    pub fn n_records(&self) -> usize {
        self.records
    }

    /// Publishes all its records at once; where the first one is. Without records it is aborted.
    #[inline]
    pub fn commit(self) -> Position {
        let position = self.position;
        if self.records == 0 {
            return position;
        }
        let mut this = std::mem::ManuallyDrop::new(self);
        let index = this.producer.claimer.index();
        if this.next < this.end {
            this.producer.claimer.table().frames.pad_inside(this.next, index, this.end - this.next);
        }
        let head = record_head(this.first_len, State::Data, index);
        let (records, bytes) = (this.records as u64, this.payload_bytes);
        this.producer.commit_open(head, records, bytes);
        position
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.producer.abort_open();
    }
}
