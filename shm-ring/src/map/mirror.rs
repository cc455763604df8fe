//! Mirror: one address range that holds the whole file and then its data once more.
//!
//! ```text
//!  base                 data                     data + capacity            data + 2 x capacity
//!   | header, tables     | data                   | the same data again      |
//!   +--------------------+------------------------+--------------------------+
//!   file 0                file data_offset         file data_offset
//! ```
//!
//! (I1) a frame that starts anywhere in the data is contiguous, so none ever wraps; (I2) the range is reserved first and mapped
//! over, so no address outside it is ever touched; (I3) unmapped as one, by the reservation's owner.

use crate::layout::geometry::Geometry;
use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::fs::File;
use std::io;
use std::ptr::NonNull;

/// What the mapping allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Loads only.
    ReadOnly,
    /// Everything.
    ReadWrite,
}

/// The mapped range.
#[derive(Debug)]
pub(crate) struct Mirror {
    range: MmapRaw,
}

impl Mirror {
    /// Maps a file that was recognised and has the geometry's length.
    pub(crate) fn new(file: &File, geometry: &Geometry, access: Access) -> io::Result<Self> {
        let too_large = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let file_bytes = usize::try_from(geometry.file_bytes).map_err(too_large)?;
        let capacity = usize::try_from(geometry.shape.capacity_bytes).map_err(too_large)?;
        let reserved = MmapOptions::new().len(file_bytes + capacity).no_reserve_swap().map_anon()?;
        let range = MmapRaw::from(reserved);
        let protection = match access {
            Access::ReadOnly => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        for (at, length, offset) in [(0, file_bytes, 0), (file_bytes, capacity, geometry.data_offset)] {
            let address = range.as_mut_ptr().wrapping_add(at);
            // SAFETY:
            // - `at + length` is inside the range that `range` owns, so FIXED replaces our own reservation and nothing else;
            // - page-aligned: the geometry's parts are multiples of the page size;
            // - nobody has a reference into the range yet.
            unsafe {
                mmap(address.cast(), length, protection, MapFlags::SHARED | MapFlags::FIXED, file, offset)
            }?;
        }
        Ok(Self { range })
    }

    /// The first byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        NonNull::new(self.range.as_mut_ptr()).expect("mmap never returns null")
    }

    /// The addresses of the whole range.
    #[cfg(feature = "guard")]
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        let start = self.range.as_ptr().addr();
        start..start + self.range.len()
    }

    /// Makes every page of `length` bytes present and writable now, rather than at first touch.
    pub(crate) fn populate(&self, offset: usize, length: usize) -> io::Result<()> {
        match self.range.advise_range(Advice::PopulateWrite, offset, length) {
            // Linux before 5.14: pages are allocated all the same, only their first touch costs.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            other => other,
        }
    }

    /// Keeps the mapping out of forked children.
    pub(crate) fn keep_from_children(&self) -> io::Result<()> {
        self.range.advise(Advice::DontFork)
    }

    /// Gives the range up without unmapping it: in a child that does not have it.
    pub(crate) fn forget(self) {
        std::mem::forget(self.range);
    }
}
