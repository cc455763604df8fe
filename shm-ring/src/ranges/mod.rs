//! Ranges: a file whose parts many threads and processes write at once, each its own, without a lock.
//!
//! | file      | what |
//! |-----------|------|
//! | bits      | a bit for each unit, in words that processes share |
//! | allocator | who owns which units, what is written, what is on the medium; the table of orders |
//!
//! (I1) nobody else touches the bytes of a range; (I2) what is written is never handed out.

pub(crate) mod allocator;
pub(crate) mod bits;

#[cfg(test)]
#[path = "model/heap.rs"]
mod heap;
#[cfg(test)]
mod trial;
