//! Error: why bytes could not be read.
//!
//! (I1) `Copy`, without an allocation; (I2) says what was asked for and what there is.
//! Describes; performs nothing.

use std::io;

/// Why bytes of a snapshot could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not all of the bytes are inside.
    #[error(
        "{len_bytes} bytes from offset {offset} on reach beyond the end: the snapshot has {snapshot_bytes} bytes"
    )]
    OutOfBounds {
        /// Where reading was to begin.
        offset: u64,
        /// How much was to be read.
        len_bytes: usize,
        /// How much there is.
        snapshot_bytes: u64,
    },
    /// The file was truncated after it was opened. A mapped one says so with the feature `guard`; without it, the process ends with SIGBUS
    /// at a page that is gone, and reads zeros, unnoticed, behind a cut inside the last one.
    #[error(
        "the file was truncated while it was open as a snapshot of {snapshot_bytes} bytes: what it lost is gone, make the file anew and open that"
    )]
    Truncated {
        /// How much there was.
        snapshot_bytes: u64,
    },
    /// The system could not read.
    #[error("reading at offset {offset}: {}", io::Error::from_raw_os_error(*.errno))]
    Io {
        /// Where reading began.
        offset: u64,
        /// The system's number for what is wrong.
        errno: i32,
    },
}

impl ReadError {
    /// The nearest kind of the standard library's.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::OutOfBounds { .. } | Self::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            Self::Io { errno, .. } => io::Error::from_raw_os_error(*errno).kind(),
        }
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        Self::new(error.kind(), error)
    }
}
