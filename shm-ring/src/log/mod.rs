//! Log: records without end, in a directory of segments, of one appender and any number of readers.
//!
//! ```text
//!   LOCK  CURRENT --> MANIFEST-00000003          00000000000000000007.seg  sealed    [base, end)
//!                     what segments there are    00000000000000000008.seg  active    [base, end ...
//!                                                00000000000000000009.seg  prepared
//! ```
//!
//! | file | what it does |
//! |------|--------------|
//! | names | what files are called |
//! | segment | one file, mapped: frames, live page, index; the table of orderings |
//! | manifest | what is said of the segments, on the medium before anything rests on it |
//! | tally | what a segment will say of itself |
//! | shared | what an appender, its helpers and its receipts have in common |
//! | appender | staging, publishing, rolling |
//! | helper | preparing ahead, pages ahead |
//! | durable | group commit |
//! | retention | the oldest go |
//! | recover | from a directory to an appender |
//! | options | creating and opening |
//! | receipt, error | what an append returns |
//! | view | one file, mapped to be read: believes nothing |
//! | walk, seek | from frame to frame and segment to segment, and where to begin |
//! | chart | the manifest, as who only reads sees it |
//! | reader, item | walking in public, and what is met |
//! | cursor | where somebody left off |
//! | verify, repair, remake | looking at everything, and mending it |
//! | inspect | how a log stands; the doors to the last three |
//!
//! Positions are bytes over the whole log, multiples of 16, never used twice. A segment's base is the end of the one before, or higher, where
//! something was lost.
//!
//! (I1) files are reached through `map::medium::Medium` alone, so that the crash tests run this code on a medium of theirs; locks are not:
//! they are for processes, of which a crash leaves none; (I2) one appender (lock byte 1 of LOCK); readers take no lock of the log's.

pub(crate) mod appender;
mod chart;
pub(crate) mod collect;
#[cfg(test)]
mod crash;
mod cursor;
mod durable;
pub(crate) mod error;
mod helper;
pub(crate) mod inspect;
pub(crate) mod item;
pub(crate) mod manifest;
pub(crate) mod marks;
pub(crate) mod names;
pub(crate) mod options;
pub(crate) mod reader;
pub(crate) mod receipt;
pub(crate) mod recover;
mod remake;
pub(crate) mod repair;

#[cfg(test)]
mod repair_trial;
pub(crate) mod retention;
pub(crate) mod seek;
pub(crate) mod segment;
pub(crate) mod shared;
mod tally;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "bytes of payloads are any")]
mod trial;
pub(crate) mod verify;
mod view;
pub(crate) mod walk;
#[cfg(test)]
mod walk_trial;
