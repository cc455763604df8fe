//! Memory: bytes of this process behind the same trait as those of files.
//!
//! (I1) clones share the bytes; (I2) a read can't fail but by its bounds.
//! Knows no file.

use super::{ReadAt, ReadError, bounds_in};
#[cfg(feature = "bytes")]
use bytes::Bytes;
use std::fmt;

#[cfg(feature = "bytes")]
type Shared = Bytes;
#[cfg(not(feature = "bytes"))]
type Shared = std::sync::Arc<Vec<u8>>;

/// Bytes in memory, for tests and for what never was a file. Clones share them.
///
/// ```
/// use shm_ring::{MemorySnapshot, ReadAt};
///
/// let snapshot = MemorySnapshot::new(vec![1, 2, 3, 4]);
/// let mut two = [0; 2];
/// snapshot.read_exact_at(1, &mut two)?;
/// assert_eq!((snapshot.len(), two), (4, [2, 3]));
/// # Ok::<(), shm_ring::ReadError>(())
/// ```
#[derive(Clone, Default)]
pub struct MemorySnapshot {
    bytes: Shared,
}

impl MemorySnapshot {
    /// Takes the bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        // An owner, because `Bytes` made of a vector allocate when they are shared first.
        #[cfg(feature = "bytes")]
        let shared = if bytes.is_empty() { Bytes::new() } else { Bytes::from_owner(bytes) };
        #[cfg(not(feature = "bytes"))]
        let shared = bytes.into();
        Self { bytes: shared }
    }

    /// All of them.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

impl ReadAt for MemorySnapshot {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let range = bounds_in(offset, buf.len(), &self.bytes)?;
        buf.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    #[cfg(feature = "bytes")]
    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, ReadError> {
        Ok(self.bytes.slice(bounds_in(offset, len, &self.bytes)?))
    }
}

impl fmt::Debug for MemorySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySnapshot").field("len", &self.len()).finish_non_exhaustive()
    }
}
