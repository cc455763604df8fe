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
use crate::map::budget::MapBudget;
use crate::map::file::absolute;
use crate::snapshot::{Advice, FileSnapshot, OpenedPlain, ReadAt, ReadError, Snapshot};
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) enum Reader {
    Mapped(Snapshot),
    Copied(FileSnapshot),
    Parked(Parked),
}

/// A file that is not open.
#[derive(Debug)]
pub(super) struct Parked {
    /// From the root on: the process may change its directory.
    path: PathBuf,
    identity: Identity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    len_bytes: u64,
    changed: (i64, i64),
}

/// Bytes, for as long as a batch is read.
pub(super) enum Lent<'a> {
    Kept(&'a dyn ReadAt),
    Opened(FileSnapshot),
}

impl<'a> Deref for Lent<'a> {
    type Target = dyn ReadAt + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Kept(bytes) => *bytes,
            Self::Opened(file) => file,
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

    /// One that holds nothing, and the file that it was opened by.
    pub(super) fn parked(path: &Path) -> Result<(Self, FileSnapshot), Error> {
        let file = FileSnapshot::open_plain(path)?;
        let identity = Identity::of(&file, path)?;
        Ok((Self::Parked(Parked { path: absolute(path), identity }), file))
    }

    /// Has these bytes of a mapped file read, if they are not there: a hint.
    pub(super) fn read_ahead(&self, place: &Range<u64>) {
        if let (Self::Mapped(snapshot), Ok(len)) = (self, usize::try_from(place.end - place.start)) {
            // Without it, they are read when they are looked at.
            let _ = snapshot.advise(place.start, len, Advice::WillNeed);
        }
    }

    /// Whether slices of it are the file's own pages.
    pub(super) fn is_mapped(&self) -> bool {
        matches!(self, Self::Mapped(_))
    }

    pub(super) fn lend(&self) -> Result<Lent<'_>, Error> {
        match self {
            Self::Mapped(snapshot) => Ok(Lent::Kept(snapshot)),
            Self::Copied(file) => Ok(Lent::Kept(file)),
            Self::Parked(parked) => {
                let file = FileSnapshot::open_plain(&parked.path)?;
                let found = Identity::of(&file, &parked.path)?;
                if found != parked.identity {
                    return Err(Error::Corrupt {
                        path: parked.path.clone(),
                        what: "the table, which was closed meanwhile to save maps and descriptors",
                        expected: "the file that was opened, unchanged".into(),
                        found: "another one, or changed bytes".into(),
                    });
                }
                Ok(Lent::Opened(file))
            }
        }
    }
}

impl Identity {
    fn of(file: &FileSnapshot, path: &Path) -> Result<Self, Error> {
        let error = |source| Error::Io { operation: "examine", path: path.into(), source };
        let found = file.file().metadata().map_err(error)?;
        let changed = (found.mtime(), found.mtime_nsec());
        Ok(Self { device: found.dev(), inode: found.ino(), len_bytes: found.len(), changed })
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
