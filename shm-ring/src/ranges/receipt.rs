//! Receipt: bytes of a file that are written, and that nobody writes while it lives.
//!
//! (I1) a receipt is made of a range whose bytes were written, or by who is alone; no two share a unit; (I2) only its owner can free them.

use super::range::Span;
use super::refusal::{RangeError, Refused};
use std::ops;

/// Bytes of a [`RangedFile`](crate::RangedFile) that are written. Dropped, they stay so.
///
/// It is what [`flush`](crate::RangedFile::flush) and [`free`](crate::RangedFile::free) want, and what reading in place borrows from.
///
/// # What does not compile
///
/// There is no receipt for what was not written.
///
/// ```compile_fail,E0308
/// # fn f(file: shm_ring::RangedFile) -> Result<(), Box<dyn std::error::Error>> {
/// let range = file.allocate(64)?;
/// file.flush(&range)?;
/// # Ok(()) }
/// ```
///
/// ```compile_fail,E0277
/// fn from_bytes<T: for<'de> serde::Deserialize<'de>>() {}
/// from_bytes::<shm_ring::Receipt>();
/// ```
///
/// Nobody reads what was freed.
///
/// ```compile_fail,E0505
/// # fn f(file: shm_ring::RangedFile, receipt: shm_ring::Receipt) -> Result<(), Box<dyn std::error::Error>> {
/// let bytes = receipt.bytes();
/// file.free(receipt)?;
/// assert_eq!(bytes, b"whatever the next owner writes");
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "without its receipt, a range can be neither flushed nor freed until somebody has the file alone"]
pub struct Receipt {
    span: Span,
}

impl Receipt {
    pub(super) fn new(span: Span) -> Self {
        Self { span }
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// The offset of its first byte in the file's data.
    pub fn start(&self) -> u64 {
        self.span.start
    }

    /// The offset behind its last byte.
    pub fn end(&self) -> u64 {
        self.span.end()
    }

    /// Its bytes; at least one.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> u64 {
        self.span.len
    }

    /// Its offsets, as numbers, which give no right to anything.
    pub fn as_range(&self) -> ops::Range<u64> {
        self.start()..self.end()
    }

    /// What was written, in place.
    ///
    /// # Panics
    ///
    /// On the other side of a `fork` from where the file was opened.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.span.assert_here();
        // SAFETY: nobody writes what is written before it is freed (`allocator.rs`), which takes this receipt, and the slice borrows it
        // (trusts peers: crate docs, Trust).
        unsafe { self.span.opening.map().bytes(self.span.start, self.span.usize_len()) }
    }

    /// Whether it was flushed, as far as the tables say. False on the other side of a `fork`.
    ///
    /// Only a [`flush`](crate::RangedFile::flush) or [`sync_all`](crate::RangedFile::sync_all) that has returned `Ok` promises that the bytes
    /// would be there after a power cut: while another thread or process flushes them, and after that has failed there, this may say so a
    /// moment too early. After a sync of the tables has failed in this opening, it is false for everything.
    pub fn is_durable(&self) -> bool {
        self.span.opening.map().is_here() && self.span.opening.is_durable(self.span.run())
    }

    /// The part in front of `offset`, counted from the first byte, and the rest; to free a part.
    ///
    /// # Errors
    ///
    /// [`RangeError::BadSplit`], with the receipt, unless the offset is inside and a multiple of the file's [alignment](crate::Alignment).
    pub fn split_at(self, offset: u64) -> Result<(Self, Self), Refused<Self, RangeError>> {
        match self.span.cut(offset) {
            Ok((low, high)) => Ok((Self { span: low }, Self { span: high })),
            Err(error) => Err(Refused { item: self, error }),
        }
    }
}

impl From<&Receipt> for ops::Range<u64> {
    fn from(receipt: &Receipt) -> Self {
        receipt.as_range()
    }
}
