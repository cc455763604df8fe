//! Record: a ring drained into a log, each record once.
//!
//! ```text
//!   ring --> consumer --> stage, stage, ... --> MARK --> publish --> (sync) --> release in the ring
//!                            one batch, all of it or none             |
//!   death anywhere up to here: the batch comes again, into its place -+- behind it: the next recorder skips what the MARK covers
//! ```
//!
//! | file     | what |
//! |----------|------|
//! | recorder | batches, marks, and where the next recorder goes on |
//! | error    | why a step did not work |
//!
//! (I1) the ring gives space back only for what the log holds; (I2) the log's last MARK of a ring says how far that ring is in it, and is
//! believed before what the ring says of its reader; (I3) what the ring reports as lost is told in the log once, in front of the record that
//! follows it.

pub(crate) mod error;
pub(crate) mod recorder;
