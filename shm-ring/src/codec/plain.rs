//! Plain: values whose every bit pattern is valid, read where they lie.
//!
//! (I1) only types without padding are written, only types that any bytes may be are read: the bytes come from other processes.

use bytemuck::{AnyBitPattern, NoUninit};

/// The bytes of a value.
pub(crate) fn bytes_of<T: NoUninit>(value: &T) -> &[u8] {
    bytemuck::bytes_of(value)
}

/// The value that lies in `payload`, if length and alignment are the type's.
pub(crate) fn value_of<T: AnyBitPattern>(payload: &[u8]) -> Option<&T> {
    bytemuck::try_from_bytes(payload).ok()
}
