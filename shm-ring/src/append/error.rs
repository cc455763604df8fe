//! Error: why bytes could not be appended, and why they could not be read.
//!
//! (I1) both are `Copy` and allocate nothing; (I2) they say how much, and what to do.
//! Describes; performs nothing.

use std::io;

/// Why an append file was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The file system can't hold more. The file is as it was; the same call may work when there is room.
    #[error("no space: the append file needs {needed_bytes} bytes more, {free_bytes} are free")]
    NoSpace {
        /// By how much the file would have had to grow.
        needed_bytes: u64,
        /// What the file system has left.
        free_bytes: u64,
    },
    /// The file would not fit into the addresses that were reserved for it. Open it again with a larger
    /// [`reserve`](crate::AppendOptions::reserve).
    #[error(
        "{needed_bytes} bytes don't fit into the {reserve_bytes} bytes of address space that were reserved: open the file with a larger `reserve`"
    )]
    ReserveFull {
        /// How many bytes of data there would have been.
        needed_bytes: u64,
        /// How many fit.
        reserve_bytes: u64,
    },
    /// A follower reads bytes in place that would have been given up. Try again when it has let go.
    #[error("a follower has the bytes pinned: try again when it has dropped them")]
    Pinned,
    /// The handle was made before a `fork`, on the other side of it.
    #[error(
        "this append file belongs to the process on the other side of a fork, which has it open for writing"
    )]
    Forked,
    /// Bytes could not be brought to the medium, now or before. Which of them are there nobody knows, so this is final: the handle takes no
    /// more. Those of the push that failed may have been published. Who opens the file next hears what is
    /// [doubtful](crate::AppendFile::doubtful).
    #[error("the append file could not be synced: {}; this handle takes no more bytes", io::Error::from_raw_os_error(*.errno))]
    SyncFailed {
        /// What the system said.
        errno: i32,
    },
    /// The file was truncated while it was mapped. Only with the feature `guard`, or when a system call met it first; the process may end with
    /// SIGBUS otherwise.
    #[error("the append file was truncated while it was mapped: drop it")]
    Truncated,
    /// The operating system refused.
    #[error("{operation}: {}", io::Error::from_raw_os_error(*.errno))]
    System {
        /// What was attempted.
        operation: &'static str,
        /// What it said.
        errno: i32,
    },
}

/// Why a follower has no bytes to hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// Bytes were given up since the last call, by `clear` or `resize`: what was read from behind `len_bytes` counts no more, and other bytes
    /// may stand there. Told once; the next call goes on with the file as it is now.
    #[error(
        "the append file was cut to {len_bytes} bytes, and may have grown since: read again what lies behind them"
    )]
    Cleared {
        /// How long the file is now, or was in the middle of it.
        len_bytes: u64,
    },
    /// Bytes that are not published yet.
    #[error("bytes up to {end_bytes} were asked for, {len_bytes} are published")]
    OutOfBounds {
        /// Where the read would have ended.
        end_bytes: u64,
        /// How many there are.
        len_bytes: u64,
    },
    /// The file has outgrown the addresses that were reserved for it. Follow it again with a larger [`reserve`](crate::AppendOptions::reserve).
    #[error(
        "{needed_bytes} bytes don't fit into the {reserve_bytes} bytes of address space that were reserved: follow the file with a larger `reserve`"
    )]
    ReserveFull {
        /// How many bytes of data there are.
        needed_bytes: u64,
        /// How many fit.
        reserve_bytes: u64,
    },
    /// The handle was made before a `fork`, on the other side of it.
    #[error("this follower belongs to the process on the other side of a fork: follow the file again")]
    Forked,
    /// The file is shorter than its length word says, or was truncated while it was mapped: what is missing is lost.
    #[error(
        "the append file is truncated: it says that it holds {len_bytes} bytes, and they are not all there"
    )]
    Truncated {
        /// How many bytes there should be.
        len_bytes: u64,
    },
    /// The operating system refused.
    #[error("{operation}: {}", io::Error::from_raw_os_error(*.errno))]
    System {
        /// What was attempted.
        operation: &'static str,
        /// What it said.
        errno: i32,
    },
}

/// A number for what the system said.
pub(crate) fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
