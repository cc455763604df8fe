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
//!
//! Positions are bytes over the whole log, multiples of 16, never used twice. A segment's base is the end of the one before, or higher, where
//! something was lost.
//!
//! (I1) files are reached through `map::medium::Medium` alone, so that the crash tests run this code on a medium of theirs; locks are not:
//! they are for processes, of which a crash leaves none; (I2) one appender (lock byte 1 of LOCK); readers take no lock of the log's.

pub(crate) mod appender;
mod durable;
pub(crate) mod error;
mod helper;
pub(crate) mod manifest;
pub(crate) mod names;
pub(crate) mod options;
pub(crate) mod receipt;
pub(crate) mod recover;
mod retention;
pub(crate) mod segment;
pub(crate) mod shared;
mod tally;
#[cfg(test)]
mod trial;
