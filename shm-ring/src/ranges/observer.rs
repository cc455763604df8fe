//! Observer: a ranged file for who only looks: what is written, what is missing, and the bytes, by copy.
//!
//! (I1) the mapping is read-only, and no lock is taken: nobody notices, and any file that may be read can be looked at; (I2) words of
//! others are checked before they are used, and bytes are copied, so a hostile file shows nonsense and no more; (I3) after a restart of the
//! machine only that counts as written which whoever opens the file next will find written.

use super::opening::table;
use super::reading::Reading;
use super::refusal::RangeError;
use super::stats::{self, RangedStats};
use super::unit::Unit;
use crate::error::{Error, FileKind};
use crate::layout::mapped::{Header, Kind, WRITER_BYTE};
use crate::map::clock;
use crate::map::file::{self, MappedFile, Trust, io_error};
use crate::map::growable::Growable;
use crate::map::lock::Locks;
use crate::map::mirror::Access;
use crate::sync::Ordering;
use std::fs::File;
use std::ops;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A [`RangedFile`](crate::RangedFile) for who only looks, while others write it, or nobody.
///
/// # Examples
///
/// How far is the download, and what has come?
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("download");
/// # let file = shm_ring::RangedOptions::new().create(&path, 1000)?;
/// # let _ = file.write(file.allocate(128)?, &[7; 128])?;
/// let download = shm_ring::RangedFile::observe(&path)?;
/// assert_eq!(download.missing()?.collect::<Vec<_>>(), [128..1000]);
/// for bytes in download.written()? {
///     let mut part = vec![0; usize::try_from(bytes.end - bytes.start)?];
///     download.read_at(bytes.start, &mut part)?;
///     assert!(part.iter().all(|byte| *byte == 7));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RangedObserver {
    map: Arc<Growable>,
    file: File,
    locks: Locks,
    header: Header,
    path: PathBuf,
    boot_id: [u64; 2],
    unit: Unit,
    size_bytes: u64,
}

impl RangedObserver {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let found = file::open(path, &MappedFile(FileKind::Ranged), false, Trust::Anybody)?;
        let Kind::Ranged { unit_bytes, size_bytes } = found.header.kind else {
            unreachable!("the file was recognised as a ranged one")
        };
        let locks = Locks::new(&found.file, false).map_err(io_error("open the locks of", path))?;
        let map = Growable::new(&found.file, found.header.extent, found.file_bytes, 0, Access::ReadOnly)
            .map_err(io_error("map", path))?;
        Ok(Self {
            map,
            file: found.file,
            locks,
            header: found.header,
            path: path.to_path_buf(),
            boot_id: clock::boot_id(),
            unit: Unit::new(unit_bytes.into()),
            size_bytes,
        })
    }

    /// What the tables say.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for words that can't be, [`Error::Io`] when the locks can't be examined, [`Error::Forked`], [`Error::Truncated`].
    pub fn stats(&self) -> Result<RangedStats, Error> {
        self.check().map_err(|refused| self.explain(refused))?;
        let stats = stats::read(&self.reading(), &self.locks, &self.header, &self.path)?;
        self.check().map_err(|refused| self.explain(refused))?;
        Ok(stats)
    }

    /// Copies bytes that are written, by whomever.
    ///
    /// # Errors
    ///
    /// [`RangeError::OutOfBounds`], [`RangeError::NotWritten`], [`RangeError::Unsettled`]; [`RangeError::Forked`],
    /// [`RangeError::Truncated`]. On an error the buffer holds whatever it was.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), RangeError> {
        self.check()?;
        self.reading().read_at(offset, buffer)?;
        self.check()
    }

    /// Which bytes are written, in order, in runs as long as they are, in whole units.
    ///
    /// # Errors
    ///
    /// [`RangeError::Forked`], [`RangeError::Truncated`].
    pub fn written(&self) -> Result<impl Iterator<Item = ops::Range<u64>> + '_, RangeError> {
        self.check()?;
        Ok(self.reading().runs(true))
    }

    /// Which bytes are not written: free, or somebody's who has not written them yet. As [`written`](Self::written).
    ///
    /// # Errors
    ///
    /// [`RangeError::Forked`], [`RangeError::Truncated`].
    pub fn missing(&self) -> Result<impl Iterator<Item = ops::Range<u64>> + '_, RangeError> {
        self.check()?;
        Ok(self.reading().runs(false))
    }

    /// Bytes of data.
    pub fn size(&self) -> u64 {
        self.size_bytes
    }

    /// The name that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// On this side of a fork only.
    fn reading(&self) -> Reading<'_> {
        let n_units = self.unit.ceil(self.size_bytes);
        let table = table(&self.map, self.map.live(), self.unit, n_units);
        let after_reboot = self.is_after_reboot();
        Reading { map: &self.map, table, size_bytes: self.size_bytes, after_reboot }
    }

    /// Whether nobody has made the file fit since the machine was restarted.
    fn is_after_reboot(&self) -> bool {
        // ORDER none (Relaxed): it is stored when the tables are right, which are right for both answers then.
        let stored = [0, 1].map(|half: usize| self.map.live().era.0.boot_id[half].load(Ordering::Relaxed));
        if clock::is_one_boot(stored, self.boot_id) {
            return false;
        }
        // Containers may have boot ids of their own: a file that is in use is fit, whatever the id.
        let in_use = self.locks.probe().and_then(|probe| probe.is_held(WRITER_BYTE));
        !in_use.unwrap_or(false)
    }

    fn check(&self) -> Result<(), RangeError> {
        match () {
            () if !self.map.is_here() => Err(RangeError::Forked),
            () if self.map.was_hit() => Err(RangeError::Truncated),
            () => Ok(()),
        }
    }

    fn explain(&self, refused: RangeError) -> Error {
        if refused != RangeError::Truncated {
            return Error::Forked;
        }
        Error::Truncated {
            kind: FileKind::Ranged,
            path: self.path.clone(),
            expected_bytes: self.header.extent.file_bytes,
            found_bytes: self.file.metadata().map_or(0, |found| found.len()),
        }
    }
}
