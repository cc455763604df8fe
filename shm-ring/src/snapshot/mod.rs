//! Snapshot: bytes that do not change, and ways to read them.
//!
//! ```text
//!                     ReadAt: len, read_exact_at, read_at
//!                    /                |                  \
//!   Snapshot: mmap, in place   FileSnapshot: pread   MemorySnapshot
//!            \                       /
//!   open: a sealed file (header, seal, length, checksum), or a plain one (its length), within a budget
//! ```
//!
//! | file   | what it has |
//! |--------|-------------|
//! | error  | why a read failed |
//! | open   | what is checked before anything is read |
//! | mmap   | bytes of a file where they lie |
//! | file   | bytes of a file, copied by the system |
//! | memory | bytes of this process |
//!
//! (I1) the length is what it was at opening; (I2) no sum of an offset and a length is made that could wrap around; (I3) a read that
//! succeeds has all of its bytes, and a cut that could have made them zero is told, by the system's word for a copied file, and for a mapped
//! one with the feature `guard`.
//! Writes nothing, locks nothing, and does not notice when somebody writes what must not change.

mod error;
mod file;
mod memory;
pub(crate) mod mmap;
pub(crate) mod open;

pub use error::ReadError;
pub use file::FileSnapshot;
pub use memory::MemorySnapshot;
#[cfg(feature = "arrow")]
pub(crate) use mmap::OpenedPlain;
pub use mmap::{Advice, Snapshot};

#[cfg(feature = "bytes")]
use bytes::Bytes;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that do not change, read at any place, by any number of threads at once.
///
/// Implemented by [`Snapshot`] (a mapped file), [`FileSnapshot`] (a file that is read by system calls) and [`MemorySnapshot`], which differ
/// in what a read costs and in nothing else:
///
/// | | `read_exact_at` | `read_at` (feature `bytes`) |
/// |---|---|---|
/// | `Snapshot` | one copy, no system call | no copy, no system call, no allocation |
/// | `FileSnapshot` | one copy, one `pread` | one copy, one `pread`, one allocation |
/// | `MemorySnapshot` | one copy | no copy, no allocation |
///
/// ```
/// use shm_ring::{MemorySnapshot, ReadAt, ReadError};
///
/// fn last_four(bytes: &dyn ReadAt) -> Result<[u8; 4], ReadError> {
///     let mut four = [0; 4];
///     bytes.read_exact_at(bytes.len().saturating_sub(4), &mut four)?;
///     Ok(four)
/// }
///
/// assert_eq!(last_four(&MemorySnapshot::new("a few bytes")), Ok(*b"ytes"));
/// assert!(matches!(last_four(&MemorySnapshot::new("few")), Err(ReadError::OutOfBounds { .. })));
/// ```
pub trait ReadAt: Send + Sync + Debug {
    /// How many bytes there are: what it was at opening, whatever became of the file.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// Not all of them are there: [`ReadError::OutOfBounds`], before anything is read, or [`ReadError::Truncated`]. `buf` may then hold
    /// anything.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError>;

    /// `len` bytes from `offset` on, which outlive this.
    ///
    /// Without an implementation of its own, a copy.
    ///
    /// # Errors
    /// As [`ReadAt::read_exact_at`]; and [`ReadError::Io`] when there is no memory for a copy.
    #[cfg(feature = "bytes")]
    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, ReadError> {
        // First, so that a length out of nowhere allocates nothing.
        bounds(offset, len, self.len())?;
        let mut buf = vec![];
        // A file without blocks may be longer than all memory.
        buf.try_reserve_exact(len).map_err(|_| ReadError::Io { offset, errno: libc::ENOMEM })?;
        buf.resize(len, 0);
        self.read_exact_at(offset, &mut buf)?;
        Ok(buf.into())
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<T: ReadAt + ?Sized> ReadAt for $pointer {
            fn len(&self) -> u64 {
                (**self).len()
            }

            fn is_empty(&self) -> bool {
                (**self).is_empty()
            }

            fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
                (**self).read_exact_at(offset, buf)
            }

            #[cfg(feature = "bytes")]
            fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, ReadError> {
                (**self).read_at(offset, len)
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);

/// Where `len_bytes` from `offset` on are, if all of them are there.
fn bounds(offset: u64, len_bytes: usize, snapshot_bytes: u64) -> Result<Range<u64>, ReadError> {
    match offset.checked_add(len_bytes as u64) {
        Some(end) if end <= snapshot_bytes => Ok(offset..end),
        _ => Err(ReadError::OutOfBounds { offset, len_bytes, snapshot_bytes }),
    }
}

/// The same in a slice, which has these bytes.
fn bounds_in(offset: u64, len_bytes: usize, slice: &[u8]) -> Result<Range<usize>, ReadError> {
    let range = bounds(offset, len_bytes, slice.len() as u64)?;
    let index = |at| usize::try_from(at).expect("at most a slice's length");
    Ok(index(range.start)..index(range.end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Goal: what is inside is exactly what is inside. Method: any numbers, and such as lie at the ends, beside wider arithmetic.
        #[test]
        fn bounds_are_those_of_arithmetic_that_cannot_wrap(
            offset in prop_oneof![any::<u64>(), 0u64..20, (u64::MAX - 20)..=u64::MAX],
            len in prop_oneof![any::<usize>(), 0usize..20, (usize::MAX - 20)..=usize::MAX],
            total in prop_oneof![any::<u64>(), 0u64..20, (u64::MAX - 20)..=u64::MAX],
        ) {
            let end = u128::from(offset) + len as u128;
            let found = bounds(offset, len, total);
            if end <= u128::from(total) {
                prop_assert_eq!(found, Ok(offset..u64::try_from(end).unwrap()));
            } else {
                let expected = ReadError::OutOfBounds { offset, len_bytes: len, snapshot_bytes: total };
                prop_assert_eq!(found, Err(expected));
            }
        }
    }
}
