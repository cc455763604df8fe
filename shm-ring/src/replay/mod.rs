//! Replay: thousands of sources, one order, at any speed, in bounded memory.
//!
//! ```text
//!   log, segment, rows, table, ring          MapPool: who may have a map, how far ahead is read, what is dropped behind
//!        |  Feed: fills ...                     |
//!        v                                      |
//!      Stage: the next records, in order  <-----+
//!        |  = PoolSource: Source
//!        v
//!      Merge: a loser tree over (timestamp, source, sequence)  -->  Batches, AsOf
//!        |
//!        v
//!      Replayer: Pace, Control, Progress  -->  callback, ring, log
//! ```
//!
//! | file | what it does |
//! |------|--------------|
//! | source | what a merge takes: records in order of time |
//! | merge, tree | one order out of many |
//! | batch, as_of | all of an instant; the last of each |
//! | stage | the next records of a source, put in order |
//! | feed | from where a stage is filled |
//! | pool, pool_source | opening thousands, in a budget |
//! | replayer, pace, control | when |
//!
//! (I1) nothing is read before it is wanted but the window in front of each cursor; (I2) time is an integer, in ns since the Unix epoch.

mod feed;
mod into;
mod merge;
mod pace;
mod pool;
mod pool_source;
mod replayer;
mod source;
mod stage;

pub use into::{LogWriter, RingWriteError, RingWriter};
pub use merge::{Event, Merge, MergeError, MergeStats};
pub use pace::{Lag, Pace, Waiting};
pub use pool::{MapPool, PoolOptions, PoolStats, RowLayout, TimeUnit};
pub use pool_source::{Body, PoolSource, Replayed, SourceStats};
pub use replayer::{Control, Progress, Replayer};
pub use source::{Next, Source, SourceError, Stamp};
pub use stage::{Order, Tags};
