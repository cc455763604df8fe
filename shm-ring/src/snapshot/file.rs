//! File: bytes of a file, copied by `pread`.
//!
//! (I1) a read that returns has all of its bytes from the file: where the file ends before the snapshot does, it was cut; (I2) nothing is
//! mapped, so there is neither a signal nor a slice under which somebody could write.
//! Keeps one descriptor open, and moves no position of it.

use super::open::{self, Checked};
use super::{ReadAt, ReadError, bounds};
use crate::error::Error;
use crate::map::budget::{MapBudget, MapUsage, Permit};
use std::fmt;
#[cfg(feature = "arrow")]
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// A file's bytes, read by system calls, without a mapping. Clones share the descriptor.
///
/// For files that others can write or that lie on a network file system, which a [`Snapshot`](super::Snapshot) refuses; for so many files
/// that maps run out; and where a truncated file must be an error without a handler for SIGBUS. Each read is a system call and a copy. What
/// somebody writes into the file after it was opened is read as it is.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("data");
/// use shm_ring::{FileSnapshot, ReadAt};
///
/// std::fs::write(&path, "some bytes")?;
/// let snapshot = FileSnapshot::open_plain(&path)?;
/// let mut word = [0; 5];
/// snapshot.read_exact_at(5, &mut word)?;
/// assert_eq!(&word, b"bytes");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FileSnapshot {
    opened: Arc<Opened>,
}

/// Given back in this order.
#[derive(Debug)]
struct Opened {
    checked: Checked,
    _permit: Option<Permit>,
}

impl FileSnapshot {
    /// Opens a sealed file, after its header, its seal, its length and the checksum of all its bytes have been checked.
    ///
    /// # Errors
    /// It does not exist, is no regular file or none that can be sealed, is [not sealed](Error::NotSealed), has a wrong seal
    /// ([`Error::Corrupt`]), is [truncated](Error::Truncated), or does not have the checksum of its seal ([`Error::Corrupt`]).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::new(open::sealed(path)?, path, None)
    }

    /// Opens any regular file, as long as it is now. Reads nothing; an empty file is a snapshot of no bytes.
    ///
    /// # Errors
    /// It does not exist, is no regular file, or may not be read.
    pub fn open_plain(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::new(open::plain(path)?, path, None)
    }

    /// The same with one descriptor of a budget.
    pub(super) fn within(checked: Checked, path: &Path, budget: &MapBudget) -> Result<Self, Error> {
        let Some(permit) = budget.try_acquire(MapUsage::descriptor()) else {
            let descriptors = budget.limits().descriptors;
            return Err(Error::OverBudget { path: path.into(), descriptors });
        };
        Self::new(checked, path, Some(permit))
    }

    /// One that is open, and has no checksum to be compared with.
    #[cfg(feature = "arrow")]
    pub(crate) fn of(checked: Checked) -> Self {
        Self { opened: Arc::new(Opened { checked, _permit: None }) }
    }

    /// The file itself, for who gives advice on it.
    #[cfg(feature = "arrow")]
    pub(crate) fn file(&self) -> &File {
        &self.opened.checked.file
    }

    fn new(checked: Checked, path: &Path, permit: Option<Permit>) -> Result<Self, Error> {
        let this = Self { opened: Arc::new(Opened { checked, _permit: permit }) };
        this.opened.checked.compare(path, || open::checksum(&this))?;
        Ok(this)
    }
}

impl ReadAt for FileSnapshot {
    fn len(&self) -> u64 {
        self.opened.checked.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let Checked { file, start, len, .. } = &self.opened.checked;
        let range = bounds(offset, buf.len(), *len)?;
        let mut n = 0;
        while n < buf.len() {
            // At most what the file had at opening, whose length is no more than 2^63.
            match file.read_at(&mut buf[n..], start + range.start + n as u64) {
                Ok(0) => return Err(ReadError::Truncated { snapshot_bytes: *len }),
                Ok(more) => n += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(ReadError::Io { offset, errno: error.raw_os_error().unwrap_or(libc::EIO) });
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FileSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checked { file, len, .. } = &self.opened.checked;
        f.debug_struct("FileSnapshot").field("file", file).field("len", len).finish_non_exhaustive()
    }
}
