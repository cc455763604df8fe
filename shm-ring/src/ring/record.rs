//! Record: what a reader hands out.
//!
//! (I1) a [`Frame`] borrows its consumer, so there is one, and the space is held until it is dropped; (I2) a [`RecordInfo`] is a copy.

use super::consumer::Consumer;
use super::cursor::Found;
use crate::frame::view::Metadata;
use crate::layout::frame::{Position, len_of, slot_of};
use std::ops::Deref;

/// A record in place. Dropped, it is released: producers may overwrite it once the consumer's position is published.
#[derive(Debug)]
pub struct Frame<'a> {
    pub(crate) consumer: &'a mut Consumer,
    pub(crate) found: Found,
}

/// What a record says about itself besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordInfo {
    /// Where it is.
    pub position: Position,
    /// When it was claimed, ns since the Unix epoch; `None` without metadata.
    pub timestamp_ns: Option<u64>,
    /// Its number among its producer slot's records, modulo 2^48; `None` without metadata.
    pub sequence: Option<u64>,
    /// The slot of its producer.
    pub producer: u16,
    /// The user's; 0 without metadata.
    pub level: u8,
    /// The user's; 0 without metadata.
    pub kind: u8,
    /// Bytes of payload.
    pub len_bytes: usize,
}

impl RecordInfo {
    /// What the header at `position` and the metadata behind it say.
    pub(crate) fn new(position: u64, len_bytes: usize, producer: u16, metadata: Option<Metadata>) -> Self {
        Self {
            position,
            timestamp_ns: metadata.map(|m| m.timestamp_ns),
            sequence: metadata.map(|m| m.sequence),
            producer,
            level: metadata.map_or(0, |m| m.level),
            kind: metadata.map_or(0, |m| m.kind),
            len_bytes,
        }
    }
}

impl Frame<'_> {
    /// Where the record is.
    pub fn position(&self) -> Position {
        self.found.position
    }

    /// The slot of its producer.
    pub fn producer(&self) -> u16 {
        slot_of(self.found.word)
    }

    /// When it was claimed, ns since the Unix epoch; `None` without metadata.
    pub fn timestamp_ns(&self) -> Option<u64> {
        self.info().timestamp_ns
    }

    /// Its number among its producer slot's records, modulo 2^48; `None` without metadata.
    pub fn sequence(&self) -> Option<u64> {
        self.info().sequence
    }

    /// The user's level; 0 without metadata.
    pub fn level(&self) -> u8 {
        self.info().level
    }

    /// The user's kind; 0 without metadata.
    pub fn kind(&self) -> u8 {
        self.info().kind
    }

    /// All of that at once.
    pub fn info(&self) -> RecordInfo {
        let metadata = self.consumer.cursor.table().frames.metadata(self.found.position);
        RecordInfo::new(self.found.position, self.len(), self.producer(), metadata)
    }
}

impl Deref for Frame<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        let frames = &self.consumer.cursor.table().frames;
        let len = len_of(self.found.word);
        // SAFETY:
        // - committed: `look` saw DATA or INNER behind a matching seal (R1), so the payload is complete and nobody writes it;
        // - held: the published position is at or below the frame until it is dropped, and the slice borrows the frame;
        // - bounded: `look` compared the span with the longest claim (trusts peers for the rest: crate docs, Trust).
        unsafe { frames.data().bytes(self.found.position + frames.payload_offset(), len) }
    }
}

impl Drop for Frame<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.consumer.is_here() {
            return;
        }
        self.consumer.cursor.advance(self.found.position + self.found.span_bytes);
    }
}
