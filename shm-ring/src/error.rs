//! Error: what can go wrong outside the hot paths, and the small enums of the hot paths.
//!
//! (I1) every [`Error`] that concerns a file names its path; (I2) a refusal says what was expected, what was found and what to do;
//! (I3) [`ClaimError`] and [`PollError`] are `Copy` and allocate nothing.
//! Describes; performs nothing.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What a file is, or should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A ring.
    Ring,
    /// Bytes that grow at the end.
    Append,
    /// Ranges of a fixed size.
    Ranged,
    /// One of the last two.
    Mapped,
    /// Bytes that grow at the end, as an older program wrote them.
    Legacy,
    /// Any file.
    Plain,
    /// A directory of segments.
    Log,
    /// One file of a log's records.
    Segment,
    /// Columns: an Arrow IPC file.
    Table,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ring => "ring",
            Self::Append => "append file",
            Self::Ranged => "ranged file",
            Self::Mapped => "append file or ranged file",
            Self::Legacy => "legacy append file (magic 0xdeadbeef)",
            Self::Plain => "file",
            Self::Log => "log",
            Self::Segment => "segment",
            Self::Table => "table (Arrow IPC file)",
        })
    }
}

/// Why a ring, or a file of another kind, could not be created, opened or attached to.
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
    #[error("{path:?} does not exist: create the {kind} first", path = path.as_os_str())]
    NotFound {
        /// What was wanted.
        kind: FileKind,
        /// The name that is free.
        path: PathBuf,
    },
    /// The file system can't hold the whole file, which is allocated before anybody sees it.
    #[error("no space for {path:?}: the {kind} needs {needed_bytes} bytes, {free_bytes} are free (a container's /dev/shm has 64 MiB unless --shm-size says otherwise)", path = path.as_os_str())]
    NoSpace {
        /// What it would have been.
        kind: FileKind,
        /// The file that was not created.
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
    /// Not a file of the kind that was asked for.
    #[error("{path:?} is no {expected}: found {found}; nothing was changed", path = path.as_os_str())]
    OtherKind {
        /// The file that was refused.
        path: PathBuf,
        /// What was asked for.
        expected: FileKind,
        /// What it is, or its first bytes.
        found: String,
    },
    /// The file is shorter than it says, or, with the feature `guard`, became so while it was mapped.
    #[error("{path:?} is truncated: expected {expected_bytes} bytes, found {found_bytes}; {}", truncated_text(*.kind), path = path.as_os_str())]
    Truncated {
        /// What it was.
        kind: FileKind,
        /// The file that was refused.
        path: PathBuf,
        /// What it says itself.
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
    /// The file is finished: its bytes have a checksum, and nobody writes it any more.
    #[error("{path:?} is sealed and can't be written any more: open it as a snapshot", path = path.as_os_str())]
    Sealed {
        /// The file that was refused.
        path: PathBuf,
    },
    /// The file is not finished: its bytes may still change.
    #[error("{path:?} is not sealed, so its bytes may still change: seal it first, or follow it as what it is", path = path.as_os_str())]
    NotSealed {
        /// The file that was refused.
        path: PathBuf,
    },
    /// A ring or a mapped file, to be mapped as a plain one: whoever has it open writes it, in safe code.
    #[error("{path:?} begins as a {found}, whose bytes change while it is in use: seal it and open it with `Snapshot::open`, or read it with a `FileSnapshot`, which copies", path = path.as_os_str())]
    NotPlain {
        /// The file that was refused.
        path: PathBuf,
        /// What it begins as.
        found: FileKind,
    },
    /// A ranged file that is to be sealed, and of which not every byte was written.
    #[error("{path:?} can't be sealed: {missing_bytes} bytes of it are missing; write them, or ask which they are", path = path.as_os_str())]
    Unfinished {
        /// The file that was not sealed.
        path: PathBuf,
        /// How many bytes were never written, or were freed again; in whole units.
        missing_bytes: u64,
    },
    /// A file of another layout.
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
    #[error("{path:?} belongs to uid {found_uid}, expected {expected_uid}: {}", wrong_owner_text(*.kind), path = path.as_os_str())]
    WrongOwner {
        /// What it is.
        kind: FileKind,
        /// The file that was refused.
        path: PathBuf,
        /// This process's effective uid.
        expected_uid: u32,
        /// The file's owner.
        found_uid: u32,
    },
    /// Others may write the file.
    #[error("{path:?} has mode {found_mode:04o}, expected no write permission for group and others: `chmod go-w` it{}", wrong_mode_text(*.kind), path = path.as_os_str())]
    WrongMode {
        /// What it is.
        kind: FileKind,
        /// The file that was refused.
        path: PathBuf,
        /// Its permission bits.
        found_mode: u32,
    },
    /// This process may read the file and not write it, which all but observers do.
    #[error("{path:?} can be read but not written here ({source}): {}get write permission", not_writable_text(*.kind), path = path.as_os_str())]
    NotWritable {
        /// What was wanted.
        kind: FileKind,
        /// The file that was refused.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// On a file system that other machines, or a process in between, may have a share in: there two mappings need not be the same memory,
    /// nor two locks the same lock.
    #[error("{path:?} is on {found}, where processes do not reliably share memory and locks: put the {kind} on a local file system, such as /dev/shm{}", network_text(*.kind), path = path.as_os_str())]
    NetworkFileSystem {
        /// What was wanted.
        kind: FileKind,
        /// The file that was refused, or not created.
        path: PathBuf,
        /// What it is on.
        found: &'static str,
    },
    /// A budget has neither a map nor a descriptor left.
    #[error("the budget has no map and none of its {descriptors} descriptors left for {path:?}: drop what is open, or allow more", path = path.as_os_str())]
    OverBudget {
        /// The file that was not opened.
        path: PathBuf,
        /// How many the budget has.
        descriptors: u16,
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
            | Self::NotFound { path, .. }
            | Self::NoSpace { path, .. }
            | Self::NotRegular { path, .. }
            | Self::NotARing { path, .. }
            | Self::OtherKind { path, .. }
            | Self::Sealed { path }
            | Self::NotSealed { path }
            | Self::OverBudget { path, .. }
            | Self::NotPlain { path, .. }
            | Self::Unfinished { path, .. }
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

fn truncated_text(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Ring => "the ring can't be used any more, its producers may still have the old file open",
        _ => "what is missing is lost, and nothing was changed",
    }
}

fn network_text(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Plain | FileKind::Mapped => ", or read it with a `FileSnapshot`, which maps nothing",
        _ => "",
    }
}

fn wrong_owner_text(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Ring => "read it with an observer, or use the unsafe `open_shared` if you trust its owner",
        FileKind::Plain | FileKind::Mapped => {
            "its owner could change it while it is mapped: read it with a `FileSnapshot`, which copies"
        }
        _ => "its owner could change it under a slice that is being read; copy it",
    }
}

fn wrong_mode_text(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Ring => ", read it with an observer, or use the unsafe `open_shared` if you trust them",
        FileKind::Plain | FileKind::Mapped => ", or read it with a `FileSnapshot`, which copies",
        _ => ", or copy it",
    }
}

fn not_writable_text(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Ring => "read it with an observer, or ",
        FileKind::Append => "follow it, or ",
        _ => "",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn about(kind: FileKind) -> Vec<String> {
        let (path, source) = (PathBuf::from("a file"), || io::Error::from_raw_os_error(13));
        [
            Error::NotFound { kind, path: path.clone() },
            Error::NoSpace { kind, path: path.clone(), needed_bytes: 2, free_bytes: 1 },
            Error::Truncated { kind, path: path.clone(), expected_bytes: 2, found_bytes: 1 },
            Error::WrongOwner { kind, path: path.clone(), expected_uid: 0, found_uid: 1 },
            Error::WrongMode { kind, path: path.clone(), found_mode: 0o666 },
            Error::NotWritable { kind, path: path.clone(), source: source() },
            Error::NetworkFileSystem { kind, path, found: "NFS" },
        ]
        .map(|error| error.to_string())
        .to_vec()
    }

    // Goal: a refusal says what the file is, and gives no advice for rings where there is none. Method: the texts of both.
    #[test]
    fn texts_speak_of_the_file_that_was_wanted() {
        for text in [FileKind::Append, FileKind::Ranged, FileKind::Mapped].into_iter().flat_map(about) {
            assert!(!text.contains(" ring") && !text.contains("observer"), "{text}");
        }
        let ring = about(FileKind::Ring);
        assert_eq!(ring[0], "\"a file\" does not exist: create the ring first");
        assert_eq!(
            ring[2],
            "\"a file\" is truncated: expected 2 bytes, found 1; the ring can't be used any more, its producers may still have the old \
             file open"
        );
        assert_eq!(
            ring[4],
            "\"a file\" has mode 0666, expected no write permission for group and others: `chmod go-w` it, read it with an observer, or \
             use the unsafe `open_shared` if you trust them"
        );
    }
}
