//! Processes exchange records through one memory-mapped file: many producers in one total order, reliable and lossy readers side by
//! side, no daemon.
//!
//! ```
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("app.ring");
//! use shm_ring::{Ring, RingOptions};
//!
//! let ring = RingOptions::new().create(&path)?; // one process
//! let mut producer = ring.producer()?;
//! producer.push(b"hello")?;
//!
//! let ring = Ring::open(&path)?; // another one
//! let mut consumer = ring.consumer("collector")?;
//! let frame = consumer.poll()?; // in place, no copy
//! assert_eq!(&*frame, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which reader
//!
//! A [`Consumer`] has a name and gets every record, in place; producers wait for the slowest one. An [`Observer`] has nothing, copies, is
//! never waited for, and is told exactly what it missed. Both can read the same ring at once.
//!
//! # What stays
//!
//! A log is a directory of segments: an [`Appender`] writes it, any number of [`LogReader`]s follow it, from any place, and are told what is
//! missing. How sure a record is of staying is the log's [`Durability`]. [`Log`] is for who neither appends nor reads: how it stands, whether all
//! of it is what was written, and what to do if not. A [`Recorder`] puts a ring's records into a log, each once.
//!
//! # Bytes without records
//!
//! An [`AppendFile`] is a file of plain bytes that grows at the end: one process writes it, any number [follow](AppendFile::follow) it while
//! it grows. A [`RangedFile`] has a fixed size, and any number of processes write it at once, each its own [ranges](Range). What a file is, and
//! how it stands, [`FileKind::of`], [`AppendFile::inspect`] and [`RangedFile::inspect`] say; they change nothing and disturb nobody.
//!
//! # What must survive
//!
//! A ring forgets; a log keeps. [`LogOptions`] makes one, in a directory of segments, for which one [`Appender`] writes records without a
//! system call each; [`Durability`] says what they survive: the process, the machine but for the last of it, or the machine, by a
//! [`LogReceipt`] that can wait for its record, with one sync for all who wait at the same time. An appender that was killed is followed by one
//! that goes on at the end of what was published; after a power cut the next one keeps the longest part that holds, and says what is
//! [lost](Recovery).
//!
//! # Files that do not change
//!
//! A [`Snapshot`] is a file's bytes in place, with the length that they had when it was opened, and, for a file that was sealed, with the
//! checksum of all of them compared. [`ReadAt`] reads it like a [`FileSnapshot`], which makes a system call for each read, and like a
//! [`MemorySnapshot`]. Who opens many of them gives each a part of a [`MapBudget`]: what it has no map for is read by system calls.
//!
//! # Trust
//!
//! [`Ring::open`] is safe because it takes only files that nobody but this user can write, and other programs of this user are trusted to
//! write a ring only through this library (or by [`format`](mod@format)). Whoever can write the file can also write nonsense into it: a
//! `Consumer` hands out slices of shared memory and relies on producers to leave them alone until they are released. Use an `Observer` for
//! files of people you don't trust; it copies, checks everything and never misbehaves. The same goes for an `AppendFile`, a [`Pinned`], a
//! `RangedFile` and what it hands out on the one hand, and for what a [`Follower`] and a [`RangedObserver`] copy on the other. A file that
//! somebody *truncates* while it is mapped ends the process with SIGBUS; this library never truncates one.
//!
//! With the feature `guard`, such a file ends in [`PollError::Truncated`], [`ClaimError::Truncated`] or [`Error::Truncated`] instead, an
//! append file in [`AppendError::Truncated`] or [`FollowError::Truncated`], a ranged one in [`AllocateError::Truncated`] or
//! [`RangeError::Truncated`]. It installs a handler for SIGBUS, for the whole process, when
//! the first file is mapped; faults that are not of a file of ours go on to the handler that was there before, and a handler that is
//! installed later must pass on what is not its own. The [`Frame`] in hand when the file is cut, and the one that the cut goes through, show
//! zeros from there on; the call after that says so. An observer never hands out such a record. A producer whose [`Claim::commit`] met the
//! cut hears of it at its next claim. What is left to do is to drop all handles of that file. A file that is cut and made as long again
//! before anybody looks is not noticed: its records are gone without a word.
//!
//! A [`Snapshot`] hands out slices of a file that nobody may write: it takes only files that nobody but this user and root can write, and
//! trusts these to leave them alone. A [`FileSnapshot`] copies, and takes any.
//!
//! # Limits
//!
//! Linux, 64-bit, little-endian; local file systems. Records up to a quarter of the capacity, or of a log's segment. A ring is memory: what
//! must survive a power cut belongs into a log.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    any(loom, shuttle),
    allow(
        dead_code,
        unused_imports,
        unreachable_pub,
        reason = "the models leave out what is above the protocol"
    )
)]

// The model checkers run `frame/` and the protocol of `ring/` over a modelled kernel, and nothing above them: docs/models.md.
#[cfg_attr(any(loom, shuttle), path = "append/model/mod.rs")]
mod append;
#[cfg(not(any(loom, shuttle)))]
mod codec;
mod error;
mod frame;
mod layout;
#[cfg(not(any(loom, shuttle)))]
#[allow(dead_code, reason = "staging is for the recorder, looking for readers")]
mod log;
#[cfg_attr(any(loom, shuttle), path = "map/model/mod.rs")]
mod map;
#[cfg_attr(any(loom, shuttle), path = "ranges/model/mod.rs")]
mod ranges;
#[cfg(not(any(loom, shuttle)))]
mod record;
#[cfg(not(any(loom, shuttle)))]
pub mod replay;
#[cfg_attr(any(loom, shuttle), path = "ring/model/mod.rs")]
mod ring;
#[cfg(not(any(loom, shuttle)))]
mod snapshot;
mod sync;
#[cfg(not(any(loom, shuttle)))]
mod typed;

#[cfg(not(any(loom, shuttle)))]
pub use append::{
    AppendFile,
    error::{AppendError, FollowError},
    follow::{Follower, Pinned},
    options::{AppendOptions, SyncPolicy},
    stats::AppendStats,
};
#[cfg(not(any(loom, shuttle)))]
pub use codec::log::{LEVEL_NONE, LOG_KIND, LogRecord, Stream};
pub use error::{ClaimError, Error, FileKind, PollError};
pub use layout::frame::Position;
#[cfg(not(any(loom, shuttle)))]
pub use log::{
    appender::{Appender, AppenderStats},
    error::LogError,
    inspect::{CursorStats, DryRun, Log, LogSegment, LogStats},
    item::{LogGap, LogGapReason, LogItem, LogReadError, Logged, LoggedInfo},
    options::LogOptions,
    reader::{LogReader, LogReaderStats},
    receipt::LogReceipt,
    recover::Recovery,
    repair::{Mended, Mending, RepairReport},
    retention::Collected,
    seek::LogStart,
    shared::Durability,
    verify::{LogDamage, LogReport, VerifyProgress},
};
pub use map::budget::{MapBudget, MapUsage, Permit};
#[cfg(not(any(loom, shuttle)))]
pub use ranges::{
    RangedFile,
    observer::RangedObserver,
    options::{Alignment, RangedOptions},
    range::{Range, Split},
    receipt::Receipt,
    refusal::{AllocateError, RangeError, Refused},
    stats::RangedStats,
};
#[cfg(not(any(loom, shuttle)))]
pub use record::{
    error::RecordError,
    recorder::{Recorder, RecorderStats},
};
#[cfg(not(any(loom, shuttle)))]
pub use ring::{
    Ring,
    batch::{Batch, BatchFull},
    claim::Claim,
    consumer::Consumer,
    group::{Delivery, Member},
    loss::Loss,
    names::{ConsumerOptions, Start},
    observer::Observer,
    options::RingOptions,
    producer::Producer,
    record::{Frame, RecordInfo},
    stall::Stalled,
    stats::{ConsumerStats, OpenClaim, ProducerStats, Stats},
    wait::Wait,
};
#[cfg(not(any(loom, shuttle)))]
pub use snapshot::{Advice, FileSnapshot, MemorySnapshot, ReadAt, ReadError, Snapshot};

#[cfg(all(feature = "bincode", not(any(loom, shuttle))))]
pub use codec::bincode::CodecError;
#[cfg(all(feature = "bincode", not(any(loom, shuttle))))]
pub use typed::{RecvError, SendError};

/// For tests of recovery: processes that kill themselves at a named place of the protocol.
#[cfg(all(feature = "killpoints", not(any(loom, shuttle))))]
#[doc(hidden)]
pub mod killpoints {
    pub use crate::sync::killpoint::{Point, Signal, arm, disarm, reach};
}

#[doc = include_str!("../docs/format.md")]
pub mod format {}

/// The README's code, compiled and run with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
