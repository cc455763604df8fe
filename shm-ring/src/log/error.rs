//! Error: why records were not appended, and, inside, what was met in a log's directory.
//!
//! (I1) [`LogError`] is `Copy` and allocates nothing; (I2) a [`Trouble`] names a file of the directory, and becomes an [`Error`] with the
//! path where the directory is known.
//! Describes; performs nothing.

use crate::error::{Error, FileKind};
use crate::layout::header::Malformed;
use std::io;
use std::path::Path;

/// Why a record was not appended, or not brought to the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The next segment can't be made: the file system is full. The log is as it was; the same call may work when there is room, or when
    /// retention has made some.
    #[error("no space: the log's next segment needs {needed_bytes} bytes, {free_bytes} are free")]
    NoSpace {
        /// The size of a segment's file.
        needed_bytes: u64,
        /// What the file system has left.
        free_bytes: u64,
    },
    /// The record is longer than a quarter of a segment, or than 2^32 - 1 bytes.
    #[error(
        "the record has {len_bytes} bytes, this log takes at most {max_bytes}: create it with larger segments"
    )]
    TooLong {
        /// Bytes of the record.
        len_bytes: u64,
        /// The longest that fits.
        max_bytes: u64,
    },
    /// Records could not be brought to the medium, now or before. Which of them are there nobody knows, so this is final: the appender takes
    /// no more. Who opens the log next goes on in a new segment, behind what still holds.
    #[error("the log could not be synced: {}; open it again to go on", io::Error::from_raw_os_error(*.errno))]
    SyncFailed {
        /// What the system said.
        errno: i32,
    },
    /// The appender was dropped or closed before the record was known to be on the medium, and could not bring it there: nobody can by this
    /// receipt any more. Whether the record is there, whoever opens the log next finds out.
    #[error(
        "the appender is gone, and did not bring the record to the medium: open the log to see what is there"
    )]
    Gone,
    /// The appender was made before a `fork`, on the other side of it.
    #[error("this appender belongs to the process on the other side of a fork, which has the log open")]
    Forked,
    /// A segment was truncated while it was mapped. Only with the feature `guard`; the process ends with SIGBUS otherwise.
    #[error("a segment of the log was truncated while it was mapped: drop the appender, verify the log")]
    Truncated,
    /// All positions are used up, after 2^63 bytes.
    #[error("the log has used up its positions: create a new one")]
    Exhausted,
    /// The operating system refused something that may be tried again.
    #[error("{operation}: {}", io::Error::from_raw_os_error(*.errno))]
    System {
        /// What was attempted.
        operation: &'static str,
        /// What it said.
        errno: i32,
    },
}

impl LogError {
    /// As the cause of an error that names a file.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::SyncFailed { errno } | Self::System { errno, .. } => io::Error::from_raw_os_error(errno),
            other => io::Error::other(other),
        }
    }
}

/// A number for what the system said.
pub(crate) fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// What was met in a log's directory.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The system refused.
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which file.
        name: String,
        /// What it said.
        source: io::Error,
    },
    /// The medium is full.
    NoSpace {
        /// The file that was not made.
        name: String,
        /// Its size.
        needed_bytes: u64,
        /// What is left.
        free_bytes: u64,
    },
    /// There is no log here.
    NotFound,
    /// Something is not what it must be.
    Corrupt {
        /// The file.
        name: String,
        /// What of it.
        what: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A file of another layout.
    Version {
        /// The file.
        name: String,
        /// The version that is known.
        expected: u32,
        /// The version in the file.
        found: u32,
    },
    /// A file is shorter than it says.
    Truncated {
        /// The file.
        name: String,
        /// What it says.
        expected_bytes: u64,
        /// What is there.
        found_bytes: u64,
    },
}

impl Trouble {
    /// With the directory that it was met in.
    pub(crate) fn at(self, directory: &Path) -> Error {
        let path =
            |name: String| if name.is_empty() { directory.to_path_buf() } else { directory.join(name) };
        match self {
            Self::Io { operation, name, source } => Error::Io { operation, path: path(name), source },
            Self::NoSpace { name, needed_bytes, free_bytes } => {
                Error::NoSpace { kind: FileKind::Segment, path: path(name), needed_bytes, free_bytes }
            }
            Self::NotFound => Error::NotFound { kind: FileKind::Log, path: directory.to_path_buf() },
            Self::Corrupt { name, what, expected, found } => {
                Error::Corrupt { path: path(name), what, expected, found }
            }
            Self::Version { name, expected, found } => {
                Error::VersionMismatch { path: path(name), expected, found }
            }
            Self::Truncated { name, expected_bytes, found_bytes } => {
                Error::Truncated { kind: FileKind::Segment, path: path(name), expected_bytes, found_bytes }
            }
        }
    }

    /// As a caller hears of it who appends.
    pub(crate) fn as_append(&self) -> LogError {
        match self {
            Self::Io { operation, source, .. } => LogError::System { operation, errno: errno_of(source) },
            Self::NoSpace { needed_bytes, free_bytes, .. } => {
                LogError::NoSpace { needed_bytes: *needed_bytes, free_bytes: *free_bytes }
            }
            _ => LogError::System { operation: "use the log", errno: libc::EIO },
        }
    }

    /// A header that does not decode.
    pub(crate) fn malformed(name: String, why: Malformed, expected: u32) -> Self {
        match why {
            Malformed::Version { found } => Self::Version { name, expected, found },
            Malformed::Field { what, expected, found } => Self::Corrupt { name, what, expected, found },
            Malformed::Magic { found } => {
                let found = format!("{:?}", String::from_utf8_lossy(&found));
                Self::Corrupt { name, what: "first bytes", expected: "those of a segment".into(), found }
            }
        }
    }
}

/// A [`Trouble::Io`] in the making.
pub(crate) fn trouble<'a>(operation: &'static str, name: &'a str) -> impl Fn(io::Error) -> Trouble + 'a {
    move |source| Trouble::Io { operation, name: name.to_owned(), source }
}

/// The same for what needs room on the medium.
pub(crate) fn no_room<'a>(
    operation: &'static str,
    name: &'a str,
    needed_bytes: u64,
    free_bytes: u64,
) -> impl Fn(io::Error) -> Trouble + 'a {
    move |source| match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => {
            Trouble::NoSpace { name: name.to_owned(), needed_bytes, free_bytes }
        }
        _ => Trouble::Io { operation, name: name.to_owned(), source },
    }
}
