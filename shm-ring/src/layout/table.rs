//! Table: how files of other programs begin that hold tables.
//!
//! | begins with | is |
//! |-------------|----|
//! | `ARROW1` | an Arrow IPC file (Feather, version 2): what is read here |
//! | `PAR1` | Parquet |
//! | `FEA1` | Feather, version 1 |
//! | `ffffffff`, or a length | an Arrow IPC stream |
//!
//! Computes; reads nothing.

/// In front, and at the end.
pub(crate) const MAGIC: [u8; 6] = *b"ARROW1";

/// What a file is that begins otherwise, and what to do with it.
#[cfg(feature = "arrow")]
pub(crate) fn what_else(begins: &[u8], len_bytes: u64) -> Option<&'static str> {
    Some(match begins {
        [b'P', b'A', b'R', b'1', ..] => {
            "a Parquet file, which can't be read in place: convert it, by `pyarrow.feather.write_feather(pyarrow.parquet.read_table(p), q, \
             compression=\"uncompressed\")` or polars' `read_parquet(p).write_ipc(q)`"
        }
        [b'F', b'E', b'A', b'1', ..] => {
            "Feather of version 1: write it again, by `pyarrow.feather.write_feather(pyarrow.feather.read_table(p), q, \
             compression=\"uncompressed\")`"
        }
        [0xff, 0xff, 0xff, 0xff, a, b, c, d]
            if u64::from(u32::from_le_bytes([*a, *b, *c, *d])) < len_bytes =>
        {
            "an Arrow IPC stream, which does not say where its batches are: convert it, by \
             `pyarrow.feather.write_feather(pyarrow.ipc.open_stream(p).read_all(), q, compression=\"uncompressed\")`, or write it with \
             `pyarrow.ipc.new_file` in the first place"
        }
        _ => return None,
    })
}
