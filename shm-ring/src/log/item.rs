//! Item: what a reader of a log hands out, and what it says instead.
//!
//! (I1) a [`Logged`] borrows its reader, so there is one, and its bytes stay mapped; (I2) what is missing is told, with as much as is known
//! of it, at the place where it is missing; (I3) [`LogReadError`] is `Copy` and allocates nothing.
//! Describes; reads nothing.

use super::view::Framed;
use crate::layout::frame::{Position, decode_tags};
use crate::layout::segment::{GapNote, GapReason};
use std::ops::Deref;

/// The next thing in a log.
#[derive(Clone, Copy, Debug)]
pub enum LogItem<'a> {
    /// A record.
    Record(Logged<'a>),
    /// Something is missing here.
    Gap(LogGap),
}

/// A record of a log, in place; its checksum was compared when it was found.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a> {
    framed: Framed,
    payload: &'a [u8],
}

/// What a record of a log says about itself besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggedInfo {
    /// Where it is, in bytes of the log.
    pub position: Position,
    /// When it was appended, or what its appender said; ns since the Unix epoch.
    pub timestamp_ns: u64,
    /// Its number among its producer's records, modulo 2^48.
    pub sequence: u64,
    /// The slot of its producer in the ring that it comes from; 0 without one.
    pub producer: u16,
    /// The user's.
    pub level: u8,
    /// The user's.
    pub kind: u8,
    /// Bytes of payload.
    pub len_bytes: usize,
}

/// Records, or bytes, that are missing in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogGap {
    /// Where what is missing was, or would have been.
    pub position: Position,
    /// Why.
    pub reason: LogGapReason,
    /// The slot of the producer whose records they were; `None`: of no certain one.
    pub producer: Option<u16>,
    /// How many records; `None`: nobody knows.
    pub n_records: Option<u64>,
    /// How many bytes, with headers: of the ring for the first four reasons, of the log for the others; `None`: nobody knows.
    pub n_bytes: Option<u64>,
}

/// Why records are missing in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogGapReason {
    /// Their producer dropped them, because the ring was full.
    Dropped,
    /// Their producer died while it wrote them.
    Lost,
    /// The recorder was away, and producers went on without it.
    Lapped,
    /// The machine was restarted, or the ring made anew: what it held then is gone.
    Restarted,
    /// Retention removed their segments.
    Retired,
    /// The machine went down before they were on the medium. Some of the bytes may never have been written at all.
    PowerCut,
    /// They can't be read: the medium or somebody else changed them.
    Damaged,
    /// A newer version of this library, which recorded the log, knows.
    Unknown,
}

/// Why a log can't be read on. `Copy`, and made without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogReadError {
    /// What is there is not what was written. [`skip_damage`](crate::LogReader::skip_damage) goes on behind it.
    #[error(
        "segment {segment} of the log is damaged at position {position}: {what}; `shm-ring verify` lists all damage, `shm-ring repair` \
         marks it as a gap, `LogReader::skip_damage` goes on behind it"
    )]
    Damaged {
        /// The number of the segment, which its file's name begins with.
        segment: u64,
        /// Where.
        position: Position,
        /// What is wrong.
        what: &'static str,
    },
    /// A start by position that the log has not reached.
    #[error("position {position} is not in the log, which ends at {end}")]
    NoSuchPosition {
        /// What was asked for.
        position: Position,
        /// Where the log ends.
        end: Position,
    },
    /// The segment's file was truncated while it was mapped. Only with the feature `guard`; without it, the process ends with SIGBUS.
    #[error(
        "segment {segment} of the log was truncated while it was mapped: what it lost is gone; open the log anew to read the rest"
    )]
    Truncated {
        /// The number of the segment.
        segment: u64,
    },
    /// The reader was made on the other side of a `fork`.
    #[error("this reader belongs to the process on the other side of a fork: open the log again")]
    Forked,
    /// The operating system refused.
    #[error("{operation}: {}{}", std::io::Error::from_raw_os_error(*.errno), advice(*.errno))]
    System {
        /// What was attempted.
        operation: &'static str,
        /// What the system said.
        errno: i32,
    },
}

/// What the system does not say.
fn advice(errno: i32) -> &'static str {
    if errno == libc::EAGAIN {
        "; this process locks the memory that it maps (`mlockall`), and may not lock so much: raise `ulimit -l`"
    } else {
        ""
    }
}

impl<'a> Logged<'a> {
    #[inline(always)]
    pub(super) fn new(framed: Framed, payload: &'a [u8]) -> Self {
        Self { framed, payload }
    }

    /// The payload, for as long as the reader is borrowed.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Where the record is, in bytes of the log.
    pub fn position(&self) -> Position {
        self.framed.position
    }

    /// When it was appended, or what its appender said; ns since the Unix epoch.
    pub fn timestamp_ns(&self) -> u64 {
        self.framed.timestamp_ns
    }

    /// The slot of its producer in the ring that it comes from; 0 without one.
    pub fn producer(&self) -> u16 {
        self.framed.head.slot
    }

    /// Its number among its producer's records, modulo 2^48.
    pub fn sequence(&self) -> u64 {
        self.info().sequence
    }

    /// The user's level.
    pub fn level(&self) -> u8 {
        self.info().level
    }

    /// The user's kind.
    pub fn kind(&self) -> u8 {
        self.info().kind
    }

    /// All of that at once.
    pub fn info(&self) -> LoggedInfo {
        let (sequence, level, kind) = decode_tags(self.framed.tags);
        LoggedInfo {
            position: self.framed.position,
            timestamp_ns: self.framed.timestamp_ns,
            sequence,
            producer: self.framed.head.slot,
            level,
            kind,
            len_bytes: self.payload.len(),
        }
    }
}

impl Deref for Logged<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.payload
    }
}

impl LogGap {
    /// Bytes of the log that are not there.
    pub(super) fn of_bytes(position: u64, n_bytes: Option<u64>, reason: LogGapReason) -> Self {
        Self { position, reason, producer: None, n_records: None, n_bytes }
    }

    /// What a GAP frame says.
    pub(super) fn of_note(framed: &Framed, note: &GapNote) -> Self {
        let reason = match note.reason {
            GapReason::Dropped => LogGapReason::Dropped,
            GapReason::Lost => LogGapReason::Lost,
            GapReason::Lapped => LogGapReason::Lapped,
            GapReason::Restarted => LogGapReason::Restarted,
        };
        let has_producer = matches!(note.reason, GapReason::Dropped | GapReason::Lost);
        Self {
            position: framed.position,
            reason,
            producer: has_producer.then_some(framed.head.slot),
            n_records: note.n_records,
            n_bytes: note.n_bytes,
        }
    }
}
