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
//! | log_feed, row_feed | logs and segments; files of rows |
//! | missed | what is not there |
//! | pool, pool_source, find | opening thousands, in a budget |
//! | shared, seat, window, helper | who has a map, and how much memory |
//! | table | columns of one file, with the feature `arrow` |
//! | replayer, pace, control | when |
//!
//! (I1) nothing is read before it is wanted but the window in front of each cursor; (I2) time is an integer, in ns since the Unix epoch.

mod as_of;
mod batch;
mod control;
mod feed;
mod find;
mod hand_over;
mod helper;
mod into;
mod log_feed;
mod merge;
mod missed;
mod pace;
mod pool;
mod pool_source;
mod replayer;
mod ring_feed;
mod row_feed;
mod rows;
mod seat;
#[cfg(test)]
mod seat_trial;
mod shared;
mod source;
mod stage;
#[cfg(test)]
mod stage_trial;
#[cfg(feature = "arrow")]
mod table;
mod tree;
#[cfg(test)]
mod tree_trial;
mod window;

pub use as_of::{AsOf, Keep, Kept, Last};
pub use batch::{Batches, Moment};
pub use control::{Control, Progress, ReplayState};
pub use into::{LogWriter, RingWriter, WriteError};
pub use merge::{Event, Merge, MergeError, MergeStats};
pub use pace::{Lag, Pace, Waiting};
pub use pool::{MapPool, PoolOptions, PoolStats};
pub use pool_source::{Body, PoolSource, Replayed, SourceStats};
pub use replayer::Replayer;
pub use rows::{RowLayout, TimeUnit};
pub use source::{Next, Source, SourceError, Stamp};
pub use stage::{Order, Tags};
#[cfg(feature = "arrow")]
pub use table::{
    CellValue, ColumnError, ColumnType, ColumnValue, Row, Table, TableBatch, TableColumn, TableWriter,
    Validity, Which,
};
