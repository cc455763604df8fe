//! Error: what can go wrong outside the hot paths, and the small enums of the hot paths.
//!
//! (I1) every [`Error`] that concerns a file names its path; (I2) a refusal says what was expected, what was found and what to do;
//! (I3) [`ClaimError`] and [`PollError`] are `Copy` and allocate nothing.
//! Describes; performs nothing.

use std::io;
use std::path::{Path, PathBuf};

/// Why a ring could not be created, opened or attached to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{operation} {path:?}: {source}", path = path.as_os_str())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `create` found a file of that name, and left it alone.
    #[error("{path:?} exists already: open it, or choose another name", path = path.as_os_str())]
    AlreadyExists {
        /// The name that is taken.
        path: PathBuf,
    },
    /// `open` found nothing of that name.
    #[error("{path:?} does not exist: create the ring first", path = path.as_os_str())]
    NotFound {
        /// The name that is free.
        path: PathBuf,
    },
    /// The file system can't hold the whole ring, which is allocated before anybody sees it.
    #[error("no space for {path:?}: the ring needs {needed_bytes} bytes, {free_bytes} are free (a container's /dev/shm has 64 MiB unless --shm-size says otherwise)", path = path.as_os_str())]
    NoSpace {
        /// The ring that was not created.
        path: PathBuf,
        /// Its whole size.
        needed_bytes: u64,
        /// What the file system has left.
        free_bytes: u64,
    },
    /// Not a regular file.
    #[error("{path:?} is a {found}, expected a regular file", path = path.as_os_str())]
    NotRegular {
        /// The file that was refused.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Some other program's file.
    #[error("{path:?} is not a ring: expected it to begin with \"SHMRING\\0\", found {found}", path = path.as_os_str())]
    NotARing {
        /// The file that was refused.
        path: PathBuf,
        /// Its first bytes, or that there are none.
        found: String,
    },
    /// The file is shorter than its header says, or, with the feature `guard`, became so while it was mapped.
    #[error("{path:?} is truncated: expected {expected_bytes} bytes, found {found_bytes}; the ring can't be used any more, its producers may still have the old file open", path = path.as_os_str())]
    Truncated {
        /// The file that was refused.
        path: PathBuf,
        /// What its header says.
        expected_bytes: u64,
        /// What the file system says.
        found_bytes: u64,
    },
    /// A field does not hold what it must.
    #[error("{path:?} is corrupt: {what}: expected {expected}, found {found}; nothing was changed", path = path.as_os_str())]
    Corrupt {
        /// The file that was refused.
        path: PathBuf,
        /// Which field.
        what: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A ring of another layout.
    #[error("{path:?} has layout version {found}, this program knows version {expected}: use the program version that made it", path = path.as_os_str())]
    VersionMismatch {
        /// The file that was refused.
        path: PathBuf,
        /// The version that this library writes.
        expected: u32,
        /// The version in the file.
        found: u32,
    },
    /// Somebody else's file, who could change it at any moment.
    #[error("{path:?} belongs to uid {found_uid}, expected {expected_uid}: read it with an observer, or use the unsafe `open_shared` if you trust its owner", path = path.as_os_str())]
    WrongOwner {
        /// The file that was refused.
        path: PathBuf,
        /// This process's effective uid.
        expected_uid: u32,
        /// The file's owner.
        found_uid: u32,
    },
    /// Others may write the file.
    #[error("{path:?} has mode {found_mode:04o}, expected no write permission for group and others: `chmod go-w` it, read it with an observer, or use the unsafe `open_shared` if you trust them", path = path.as_os_str())]
    WrongMode {
        /// The file that was refused.
        path: PathBuf,
        /// Its permission bits.
        found_mode: u32,
    },
    /// This process may read the file and not write it, which all but observers do.
    #[error("{path:?} can be read but not written here ({source}): read it with an observer, or get write permission", path = path.as_os_str())]
    NotWritable {
        /// The file that was refused.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// On a file system that other machines, or a process in between, may have a share in: there two mappings need not be the same memory,
    /// nor two locks the same lock.
    #[error("{path:?} is on {found}, where processes do not reliably share memory and locks: put the ring on a local file system, such as /dev/shm", path = path.as_os_str())]
    NetworkFileSystem {
        /// The file that was refused, or not created.
        path: PathBuf,
        /// What it is on.
        found: &'static str,
    },
    /// Somebody else has it, and is alive.
    #[error("{what} is in use by a live process{}", pid_text(*.pid))]
    Busy {
        /// What is taken.
        what: String,
        /// Who says so in the table; 0: unknown.
        pid: u32,
    },
    /// Every slot of that table is taken.
    #[error("all {slots} {table} slots are taken: close one, or create the ring with more")]
    NoSlot {
        /// `producer` or `consumer`.
        table: &'static str,
        /// How many there are.
        slots: u16,
    },
    /// An option or argument that can't be.
    #[error("{option}: expected {expected}, found {found}")]
    Invalid {
        /// The option or argument.
        option: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The handle was made before a `fork`, on the other side of it.
    #[error(
        "this handle belongs to the process on the other side of a fork: take a new producer or consumer from an anonymous ring, or open the file again"
    )]
    Forked,
    /// This machine or kernel lacks something.
    #[error("{what} is not supported here: {reason}")]
    Unsupported {
        /// What is missing.
        what: &'static str,
        /// Why, or since when it exists.
        reason: String,
    },
}

impl Error {
    /// The file that the error is about, if it is about one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::AlreadyExists { path }
            | Self::NotFound { path }
            | Self::NoSpace { path, .. }
            | Self::NotRegular { path, .. }
            | Self::NotARing { path, .. }
            | Self::Truncated { path, .. }
            | Self::Corrupt { path, .. }
            | Self::VersionMismatch { path, .. }
            | Self::WrongOwner { path, .. }
            | Self::NotWritable { path, .. }
            | Self::NetworkFileSystem { path, .. }
            | Self::WrongMode { path, .. } => Some(path),
            _ => None,
        }
    }
}

fn pid_text(pid: u32) -> String {
    if pid == 0 { String::new() } else { format!(" (pid {pid})") }
}

/// Why a claim was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Readers or other producers still hold the space.
    #[error("ring is full: the frame needs {needed_bytes} bytes, {free_bytes} are free")]
    Full {
        /// The frame with its header.
        needed_bytes: u64,
        /// What could be claimed now.
        free_bytes: u64,
    },
    /// Longer than a record can be.
    #[error(
        "a record of {len_bytes} bytes is too long: this ring takes {max_bytes} at most, a quarter of its capacity"
    )]
    TooLong {
        /// What was asked for.
        len_bytes: usize,
        /// What is possible.
        max_bytes: usize,
    },
    /// 2^63 bytes were written, which takes years.
    #[error("the ring's positions are exhausted: create a new ring")]
    Exhausted,
    /// The producer was made on the other side of a `fork`.
    #[error("this producer belongs to the process on the other side of a fork: take a new one")]
    Forked,
    /// The slot was taken away, which means that this process closed a descriptor that is not its own.
    #[error(
        "this producer's slot was given to another: its lock descriptor must have been closed by this process"
    )]
    Revoked,
    /// The ring's file was truncated while it was mapped. Only with the feature `guard`; without it, the process ends with SIGBUS.
    #[error(
        "the ring's file was truncated while this producer had it mapped, and what it writes reaches nobody: drop it, create the ring anew and open that"
    )]
    Truncated,
    /// The tail is where no sound producer can have left it. The producer is poisoned and claims nothing more.
    #[error(
        "the ring is corrupt: its tail is {tail}, expected a multiple of 16 up to 2^63 that is never moved back"
    )]
    Corrupt {
        /// What was found.
        tail: u64,
    },
}

/// Why there is no record to hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// Every producer of an anonymous ring is gone, and all their records were read.
    #[error("every producer is gone and all records were read")]
    Closed,
    /// The reader was made on the other side of a `fork`.
    #[error("this reader belongs to the process on the other side of a fork: take a new one")]
    Forked,
    /// The slot was taken away, which means that this process closed a descriptor that is not its own.
    #[error(
        "this consumer's slot was given to another: its lock descriptor must have been closed by this process"
    )]
    Revoked,
    /// The ring's file was truncated while it was mapped; the reader reads nothing more. Only with the feature `guard`; without it, the
    /// process ends with SIGBUS.
    #[error(
        "the ring's file was truncated while this reader had it mapped, and the rest of its records is gone: drop the reader, create the ring anew and open that"
    )]
    Truncated,
    /// An observer was too slow: producers overwrote what it had not read. The next call goes on at `resumed_at`.
    #[error(
        "{lost_bytes} bytes were overwritten before they could be read; going on at position {resumed_at}"
    )]
    Lapped {
        /// Bytes between the last frame that was read and the next one that can be, headers included.
        lost_bytes: u64,
        /// Where reading goes on.
        resumed_at: u64,
    },
    /// The bytes at `position` can't come from a sound producer. The reader is poisoned and reads nothing more.
    #[error("the ring is corrupt at position {position}: {what}")]
    Corrupt {
        /// Where.
        position: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A start by time needs timestamps, and this ring has none.
    #[error("this ring was created without metadata, so its records have no time")]
    NoMetadata,
    /// A start by position that the ring has not reached, or that is no multiple of 16.
    #[error("position {position} is not in the ring: expected a multiple of 16 up to {tail}")]
    NoSuchPosition {
        /// What was asked for.
        position: u64,
        /// The newest position.
        tail: u64,
    },
}
