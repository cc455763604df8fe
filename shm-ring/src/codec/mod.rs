//! Codec: records as values, and back. Bytes in, bytes out; knows no ring.
//!
//! | file    | what |
//! |---------|------|
//! | plain   | plain values, read in place (`bytemuck`) |
//! | bincode | serde values, feature `bincode` |
//! | log     | the head of log records, which the tool writes and shows |

#[cfg(feature = "bincode")]
pub(crate) mod bincode;
pub(crate) mod log;
pub(crate) mod plain;
