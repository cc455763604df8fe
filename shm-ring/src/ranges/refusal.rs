//! Refusal: why a range was not handed out, or something was not done with one, and what was handed in, handed back.
//!
//! (I1) the enums are `Copy` and allocate nothing; (I2) whatever owns bytes comes back with the refusal.

use std::fmt;

/// Why no range was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocateError {
    /// Nobody has as many bytes in a row.
    #[error(
        "no {needed_bytes} bytes in a row are free, {free_bytes} are in all: free some, or ask for less with `allocate_up_to`"
    )]
    Full {
        /// What was asked for, at least.
        needed_bytes: u64,
        /// What is free, here and there.
        free_bytes: u64,
    },
    /// A range has at least one byte.
    #[error("a range of no bytes: ask for one at least")]
    Empty,
    /// More than the file has.
    #[error("{len_bytes} bytes were asked for, the file has {size_bytes}")]
    TooLong {
        /// What was asked for.
        len_bytes: u64,
        /// Bytes of data.
        size_bytes: u64,
    },
    /// The file was opened on the other side of a `fork`.
    #[error("this file was opened on the other side of a fork: open it again")]
    Forked,
    /// The file was truncated while it was mapped. Only with the feature `guard`; without it, the process ends with SIGBUS.
    #[error("the file was truncated while it was mapped: drop all that belongs to it")]
    Truncated,
    /// `next` is where no sound process can have left it.
    #[error(
        "the file is corrupt: {next} bytes of it were handed out, expected whole units, and not more than it has"
    )]
    Corrupt {
        /// What was found.
        next: u64,
    },
}

/// Why something was not done with a range or a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeError {
    /// It is of another file, or of another opening of this one.
    #[error(
        "the range is of another file, or of another opening of this one: use the handle that allocated it, or a clone"
    )]
    OtherFile,
    /// As many bytes as the range has, and neither more nor fewer.
    #[error(
        "{found_bytes} bytes for a range of {expected_bytes}: expected as many, split the range if there are fewer"
    )]
    WrongLength {
        /// Bytes of the range.
        expected_bytes: u64,
        /// Bytes of the data.
        found_bytes: u64,
    },
    /// The buffer is shorter than what is to be read.
    #[error("a buffer of {found_bytes} bytes for a range of {needed_bytes}")]
    ShortBuffer {
        /// Bytes of the range.
        needed_bytes: u64,
        /// Bytes of the buffer.
        found_bytes: u64,
    },
    /// Ranges are split between units, and neither part is empty.
    #[error("can't split {len_bytes} bytes at {offset}: expected a multiple of {unit_bytes} inside")]
    BadSplit {
        /// Where.
        offset: u64,
        /// Bytes of the range.
        len_bytes: u64,
        /// Bytes of a unit.
        unit_bytes: u64,
    },
    /// Some of the bytes are not in the file.
    #[error("bytes {start}..{end} are not all in the file, which has {size_bytes}")]
    OutOfBounds {
        /// The first one.
        start: u64,
        /// Behind the last one; saturated.
        end: u64,
        /// Bytes of data.
        size_bytes: u64,
    },
    /// Some of the bytes are not written, or were freed.
    #[error("not all of the bytes are written")]
    NotWritten,
    /// While the bytes were read, others were freed, every time; it may be tried again.
    #[error("ranges were freed each time the bytes were read, so they may be of two owners: try again")]
    Unsettled,
    /// The file was opened on the other side of a `fork`.
    #[error("this file was opened on the other side of a fork: open it again")]
    Forked,
    /// The file was truncated while it was mapped. Only with the feature `guard`; without it, the process ends with SIGBUS.
    #[error("the file was truncated while it was mapped: drop all that belongs to it")]
    Truncated,
}

/// What was handed in, handed back, and why.
///
/// As an error it is its [`error`](Self::error). A [`Range`](crate::Range) in it that is dropped with it is freed.
#[derive(Debug)]
pub struct Refused<T, E = RangeError> {
    /// What was handed in.
    pub item: T,
    /// Why it was refused.
    pub error: E,
}

impl<T, E: fmt::Display> fmt::Display for Refused<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: fmt::Debug, E: std::error::Error> std::error::Error for Refused<T, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
