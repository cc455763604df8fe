//! Table: columns of one file, in place: Arrow IPC files, which are also called Feather, version 2.
//!
//! ```text
//!   "ARROW1\0\0" | schema | dictionary batches | record batches ...                        | footer | length | "ARROW1"
//!                                                metadata | body: buffers, 8 or 64 bytes aligned
//!   open: magic, footer, schema       batch: its metadata, where its buffers are       row, column: bounds, then the value
//! ```
//!
//! | file | what it does |
//! |------|--------------|
//! | open | what is checked before a file counts as a table |
//! | schema | columns, their types, and which type a buffer's bytes have |
//! | reader | where bytes come from: a map, or system calls |
//! | message | what the metadata of a batch says, checked |
//! | buffers | bytes of a batch's buffers: in place, copied, or unpacked |
//! | column | the values of one column, each checked when it is looked at |
//! | dictionary | values that columns name by number |
//! | batch, row | rows that lie together; one of them |
//! | json | a row as text |
//! | time | from a column's integers to ns since the Unix epoch |
//! | feed | rows into a stage |
//! | ahead | what of a mapped table is read ahead, and let go of behind |
//! | writer | for who has none |
//!
//! (I1) whatever bytes a file has, what comes of it is an error or what those bytes say: the library of the format checks its metadata, and
//! this module every offset, length, bit and text behind it, when it is looked at and not before; (I2) no type of another crate is in a
//! signature; (I3) time is never a float.
//! Nested columns (lists, structs, maps, unions) are not read.

mod ahead;
mod batch;
mod buffers;
mod column;
mod dictionary;
pub(super) mod feed;
mod json;
mod message;
mod open;
mod reader;
mod row;
mod schema;
mod time;
mod writer;

pub use batch::TableBatch;
pub use column::{ColumnError, ColumnValue, Validity, Which};
pub use open::Table;
pub use row::Row;
pub use schema::{ColumnType, TableColumn};
pub use writer::{CellValue, TableWriter};
