//! Range: bytes of a file that are nobody else's, until they are written, or given back.
//!
//! (I1) a range begins with a unit, and no two share one; (I2) it is made by an allocation or by splitting another one, and by nothing else;
//! (I3) it ends as a [`Receipt`], or in its destructor, which frees it; leaked, it stays out until somebody opens the file alone.

use super::opening::Opening;
use super::receipt::Receipt;
use super::refusal::{RangeError, Refused};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops;
use std::sync::Arc;

/// Some bytes of an opening of a file, as ranges and receipts have them.
#[derive(Clone)]
pub(crate) struct Span {
    pub(super) opening: Arc<Opening>,
    pub(super) start: u64,
    pub(super) len: u64,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{} of {:?}", self.start, self.end(), self.opening.path())
    }
}

impl Span {
    /// Whether it was handed out by this opening.
    #[inline]
    pub(super) fn check(&self, opening: &Arc<Opening>) -> Result<(), RangeError> {
        if !Arc::ptr_eq(&self.opening, opening) {
            return Err(RangeError::OtherFile);
        }
        self.opening.check()
    }

    #[inline]
    pub(super) fn run(&self) -> super::bits::Run {
        self.opening.run(self.start, self.len)
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }

    /// The part in front of `offset`, and the rest.
    pub(super) fn cut(&self, offset: u64) -> Result<(Self, Self), RangeError> {
        let unit_bytes = self.opening.unit().bytes();
        if offset == 0 || offset >= self.len || offset % unit_bytes != 0 {
            return Err(RangeError::BadSplit { offset, len_bytes: self.len, unit_bytes });
        }
        let low = Self { len: offset, ..self.clone() };
        let high = Self { start: self.start + offset, len: self.len - offset, ..self.clone() };
        Ok((low, high))
    }

    pub(super) fn usize_len(&self) -> usize {
        usize::try_from(self.len).expect("a part of a mapped file fits")
    }

    /// Where slices of it can't be made.
    #[track_caller]
    pub(super) fn assert_here(&self) {
        assert!(
            self.opening.map().is_here(),
            "bytes of a file that was opened on the other side of a fork: open it again"
        );
    }
}

/// Bytes of a [`RangedFile`](crate::RangedFile) that nobody else has. Dropped, they are free again.
///
/// Written in place, with [`as_mut_slice`](Self::as_mut_slice) and [`commit`](crate::RangedFile::commit), or by copy, with
/// [`write`](crate::RangedFile::write); both make a [`Receipt`] of it. What stands in it is not zeroed: bytes of an earlier owner, perhaps.
///
/// # What does not compile
///
/// A range can't be used twice: it is neither `Copy` nor `Clone`.
///
/// ```compile_fail,E0382
/// # fn f(file: shm_ring::RangedFile) -> Result<(), Box<dyn std::error::Error>> {
/// let range = file.allocate(64)?;
/// let thread = std::thread::spawn({
///     let file = file.clone();
///     move || file.write(range, &[1; 64]).map(drop)
/// });
/// file.write(range, &[2; 64])?; // the thread has it
/// # Ok(()) }
/// ```
///
/// ```compile_fail,E0599
/// # fn f(range: shm_ring::Range) {
/// let twice = (range.clone(), range);
/// # }
/// ```
///
/// It can't be forged: not from its parts,
///
/// ```compile_fail,E0451
/// let range = shm_ring::Range { span: unreachable!() };
/// ```
///
/// and not from bytes, however they came.
///
/// ```compile_fail,E0277
/// fn from_bytes<T: for<'de> serde::Deserialize<'de>>() {}
/// from_bytes::<shm_ring::Range>();
/// ```
///
/// No slice of it outlives it or what was made of it,
///
/// ```compile_fail,E0505
/// # fn f(file: shm_ring::RangedFile) -> Result<(), Box<dyn std::error::Error>> {
/// let mut range = file.allocate(64)?;
/// let slice = range.as_mut_slice();
/// let receipt = file.commit(range)?;
/// slice.fill(1); // others may be reading
/// # Ok(()) }
/// ```
///
/// and there are no two at a time.
///
/// ```compile_fail,E0499
/// # fn f(mut range: shm_ring::Range) {
/// let (one, other) = (range.as_mut_slice(), range.as_mut_slice());
/// one.copy_from_slice(other);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a range that is dropped is free again"]
pub struct Range {
    span: Span,
}

impl Range {
    pub(super) fn new(opening: &Arc<Opening>, start: u64, len: u64) -> Self {
        Self { span: Span { opening: Arc::clone(opening), start, len } }
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

    /// Its bytes, to be written in place.
    ///
    /// # Panics
    ///
    /// On the other side of a `fork` from where the file was opened.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.span.assert_here();
        // SAFETY:
        // - writable: an opening maps for writing;
        // - nobody else: the units are this range's (`allocator.rs`), and it is neither `Copy` nor `Clone` (I2); others read nothing that is
        //   not written (trusts peers: crate docs, Trust);
        // - no other slice: it borrows `self`.
        unsafe { self.span.opening.map().bytes_mut(self.span.start, self.span.usize_len()) }
    }

    /// The part in front of `offset`, counted from the range's first byte, and the rest.
    ///
    /// # Errors
    ///
    /// [`RangeError::BadSplit`], with the range, unless the offset is inside and a multiple of the file's [alignment](crate::Alignment).
    pub fn split_at(self, offset: u64) -> Result<(Self, Self), Refused<Self>> {
        match self.span.cut(offset) {
            Ok((low, high)) => {
                drop(self.into_span());
                Ok((Self { span: low }, Self { span: high }))
            }
            Err(error) => Err(Refused { item: self, error }),
        }
    }

    /// Splits at `offset`, moved up to the next multiple of the file's alignment.
    pub fn split_at_align_up(self, offset: u64) -> Split {
        let unit_bytes = self.span.opening.unit().bytes();
        self.split_aligned(offset, offset.checked_next_multiple_of(unit_bytes))
    }

    /// Splits at `offset`, moved down to a multiple of the file's alignment.
    pub fn split_at_align_down(self, offset: u64) -> Split {
        let unit_bytes = self.span.opening.unit().bytes();
        self.split_aligned(offset, Some(offset - offset % unit_bytes))
    }

    fn split_aligned(self, asked: u64, offset: Option<u64>) -> Split {
        match offset {
            _ if asked > self.len() => Split::OutOfBounds(self),
            None => Split::Low(self),
            Some(0) => Split::High(self),
            Some(offset) => match self.split_at(offset) {
                Ok((low, high)) => Split::Both { low, high },
                // At its end, or behind it: the last unit may be cut off.
                Err(whole) => Split::Low(whole.item),
            },
        }
    }

    /// The receipt that it becomes; everything in it was written.
    #[inline]
    pub(super) fn into_receipt(self) -> Receipt {
        let span = self.into_span();
        span.opening.table().commit(span.run());
        Receipt::new(span)
    }

    /// Without freeing anything.
    fn into_span(self) -> Span {
        let this = ManuallyDrop::new(self);
        // SAFETY: read once, and never dropped there.
        unsafe { std::ptr::read(&this.span) }
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        if self.span.opening.map().is_here() {
            self.span.opening.table().give_back(self.span.run(), self.span.opening.hint());
        }
    }
}

impl From<&Range> for ops::Range<u64> {
    fn from(range: &Range) -> Self {
        range.as_range()
    }
}

/// What splitting a [`Range`] at an aligned place makes of it.
#[derive(Debug)]
#[must_use = "a range that is dropped is free again"]
pub enum Split {
    /// Two ranges.
    Both {
        /// The part in front.
        low: Range,
        /// The rest.
        high: Range,
    },
    /// All of it lies in front of the place.
    Low(Range),
    /// All of it lies behind the place.
    High(Range),
    /// The offset was beyond its end; the range as it was.
    OutOfBounds(Range),
}
