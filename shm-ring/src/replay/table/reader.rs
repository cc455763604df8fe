//! Reader: where a table's bytes come from.
//!
//! | kind | costs | reads |
//! |------|-------|-------|
//! | Mapped | a map | in place |
//! | Copied | a descriptor | by system calls |
//! | Parked | nothing | by system calls, from a file that is opened for it, by its name, and must be the one that it was |
//!
//! (I1) only what nobody but this user and root can write is mapped: the rules of a [`Snapshot`]; (I2) a parked file that was replaced or
//! changed is an error, not other rows.

use crate::error::{Error, FileKind};
use crate::map::advice;
use crate::map::budget::MapBudget;
use crate::map::disk;
use crate::map::file::{absolute, open_found};
use crate::map::readonly::ReadOnly;
use crate::replay::shared::Shared;
use crate::replay::window::Windowed;
use crate::snapshot::open::{Checked, plain_of};
use crate::snapshot::{FileSnapshot, OpenedPlain, ReadAt, ReadError, Snapshot};
use std::fs::Metadata;
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
pub(super) enum Reader {
    Mapped(Snapshot),
    Copied(FileSnapshot),
    Parked(Arc<Home>),
}

/// Where a pool finds a file again that it does not keep open.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    identity: Identity,
    pool: Arc<Shared>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    file: disk::Identity,
    len_bytes: u64,
    changed: (i64, i64),
}

/// Bytes, for as long as a batch is read.
pub(super) enum Lent<'a> {
    Kept(&'a dyn ReadAt),
    Opened(Opened),
}

/// A file that is open for a moment. Under a cap, nothing of it stays in the page cache.
pub(super) struct Opened {
    file: FileSnapshot,
    is_capped: bool,
}

/// A mapped table, for its window.
pub(super) struct View<'a> {
    pub(super) home: &'a Home,
    pub(super) snapshot: &'a Snapshot,
}

impl<'a> Deref for Lent<'a> {
    type Target = dyn ReadAt + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Kept(bytes) => *bytes,
            Self::Opened(opened) => &opened.file,
        }
    }
}

impl Reader {
    pub(super) fn within(path: &Path, budget: &MapBudget) -> Result<Self, Error> {
        Ok(match Snapshot::plain_within(path, budget)? {
            OpenedPlain::Mapped(snapshot) => Self::Mapped(snapshot),
            OpenedPlain::Copied(file) => Self::Copied(file),
        })
    }

    /// Whether slices of it are the file's own pages.
    pub(super) fn is_mapped(&self) -> bool {
        matches!(self, Self::Mapped(_))
    }

    pub(super) fn lend(&self) -> Result<Lent<'_>, Error> {
        match self {
            Self::Mapped(snapshot) => Ok(Lent::Kept(snapshot)),
            Self::Copied(file) => Ok(Lent::Kept(file)),
            Self::Parked(home) => Ok(Lent::Opened(home.lend(home.open()?))),
        }
    }
}

impl Home {
    /// Of a file that is open.
    pub(super) fn new(path: &Path, found: &Metadata, pool: &Arc<Shared>) -> Self {
        Self { path: absolute(path), identity: Identity::of(found), pool: Arc::clone(pool) }
    }

    pub(super) fn device(&self) -> u64 {
        self.identity.file.device
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.identity.len_bytes
    }

    /// Opens it again.
    pub(super) fn open(&self) -> Result<Checked, Error> {
        let (file, found) = self.pool.open(|| open_found(&self.path, FileKind::Table, false))?;
        if Identity::of(&found) != self.identity {
            return Err(Error::Corrupt {
                path: self.path.clone(),
                what: "the table, which was closed meanwhile to save maps and descriptors",
                expected: "the file that was opened, unchanged".into(),
                found: "another one, or changed bytes".into(),
            });
        }
        Ok(plain_of(file, found.len()))
    }

    /// One that is open, for a moment.
    pub(super) fn lend(&self, checked: Checked) -> Opened {
        let is_capped = self.pool.memory_bytes.is_some();
        if is_capped {
            advice::read_nothing_ahead_of(&checked.file);
        }
        Opened { file: FileSnapshot::of(checked), is_capped }
    }
}

impl Opened {
    pub(super) fn bytes(&self) -> &FileSnapshot {
        &self.file
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if self.is_capped {
            advice::forget_cached_of(self.file.file(), 0..self.file.len());
        }
    }
}

impl View<'_> {
    /// Takes these bytes out of the page cache.
    pub(super) fn forget_parts(&self, parts: impl Iterator<Item = Range<u64>>) {
        advice::forget_cached_parts(&self.home.path, self.home.identity.file, parts);
    }
}

impl Windowed for View<'_> {
    type Map = ReadOnly;

    fn map(&self) -> Option<&ReadOnly> {
        Some(self.snapshot.map())
    }

    fn place(&self) -> (PathBuf, u64) {
        (self.home.path.clone(), 0)
    }

    fn forget_cached(&self, range: Range<u64>) {
        self.forget_parts(std::iter::once(range));
    }
}

impl Identity {
    fn of(found: &Metadata) -> Self {
        let changed = (found.mtime(), found.mtime_nsec());
        Self { file: disk::Identity::of(found), len_bytes: found.len(), changed }
    }
}

/// Bytes of metadata, which nobody else can change between two looks at them.
pub(super) fn copy(bytes: &dyn ReadAt, offset: u64, len: usize) -> Result<Vec<u8>, ReadError> {
    // Nothing is allocated for a length that is not there.
    if offset.checked_add(len as u64).is_none_or(|end| end > bytes.len()) {
        let snapshot_bytes = bytes.len();
        return Err(ReadError::OutOfBounds { offset, len_bytes: len, snapshot_bytes });
    }
    let mut copy = vec![];
    copy.try_reserve_exact(len).map_err(|_| ReadError::Io { offset, errno: libc::ENOMEM })?;
    copy.resize(len, 0);
    bytes.read_exact_at(offset, &mut copy)?;
    Ok(copy)
}

/// What a failed read means for a table of so many bytes.
pub(super) fn read_error(path: &Path, error: ReadError) -> Error {
    let path = path.to_path_buf();
    match error {
        ReadError::OutOfBounds { offset, len_bytes, snapshot_bytes } => Error::Corrupt {
            path,
            what: "place of a part",
            expected: format!("inside of {snapshot_bytes} bytes"),
            found: format!("{len_bytes} bytes from offset {offset} on"),
        },
        ReadError::Truncated { snapshot_bytes } => {
            let found_bytes = std::fs::metadata(&path).map_or(0, |found| found.len());
            Error::Truncated { kind: FileKind::Table, path, expected_bytes: snapshot_bytes, found_bytes }
        }
        ReadError::Io { errno, .. } => {
            Error::Io { operation: "read", path, source: io::Error::from_raw_os_error(errno) }
        }
    }
}
