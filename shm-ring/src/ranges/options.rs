//! Options: what a new ranged file looks like.
//!
//! (I1) options describe a new file; one that is there has its own.

use super::RangedFile;
use super::opening::Opening;
use crate::error::Error;
use crate::layout::mapped::{Extent, Header, Kind};
use crate::map::clock;
use crate::map::file::{self, io_error};
use std::path::Path;

/// Where the ranges of a file begin, and what of them one bit stands for: the file's [unit](RangedFile#units).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alignment {
    /// Anywhere. The tables take half a byte for each byte of data.
    Byte,
    /// Multiples of 64 bytes, a cache line: neighbours don't slow each other down. The tables take less than 1 %.
    #[default]
    Line,
    /// Multiples of 4096 bytes: for large ranges.
    Page,
}

impl Alignment {
    /// In bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Line => 64,
            Self::Page => 4096,
        }
    }

    pub(super) fn of(unit_bytes: u64) -> Self {
        match unit_bytes {
            1 => Self::Byte,
            64 => Self::Line,
            _ => Self::Page,
        }
    }
}

/// Creates a [`RangedFile`].
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("pages");
/// let options = shm_ring::RangedOptions::new().alignment(shm_ring::Alignment::Page);
/// let file = options.create(&path, 1 << 20)?;
/// assert_eq!((file.size(), file.remaining()), (1 << 20, 1 << 20));
/// assert!(matches!(options.create(&path, 1 << 20), Err(shm_ring::Error::AlreadyExists { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RangedOptions {
    alignment: Alignment,
    mode: u32,
}

impl Default for RangedOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RangedOptions {
    /// Ranges begin at multiples of 64 bytes; mode 0600.
    pub fn new() -> Self {
        Self { alignment: Alignment::default(), mode: 0o600 }
    }

    /// Where ranges begin.
    pub fn alignment(mut self, alignment: Alignment) -> Self {
        self.alignment = alignment;
        self
    }

    /// Permission bits of the file, whatever the umask. Such as let others write it are refused, here and when a file is opened.
    pub fn mode(mut self, bits: u32) -> Self {
        self.mode = bits;
        self
    }

    /// Creates a file of `size_bytes` of data at `path`, which must be free.
    ///
    /// All of it is allocated before it gets its name: a full disk is [`Error::NoSpace`] here, and not a signal later. On file systems that copy on
    /// write (btrfs, ZFS, XFS with shared extents) that is no promise: a store into allocated bytes, too, needs new space there, and ends in
    /// SIGBUS when there is none. The file and
    /// its name are on the medium when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`], [`Error::NoSpace`], [`Error::NetworkFileSystem`], [`Error::Invalid`], [`Error::Io`]. Nothing is left behind,
    /// but for one case: when the directory can't be synced, the file is there and whole, and can be opened; whether its name would outlive
    /// a power cut is not known.
    pub fn create(&self, path: impl AsRef<Path>, size_bytes: u64) -> Result<RangedFile, Error> {
        let path = path.as_ref();
        let unit_bytes = u32::try_from(self.alignment.bytes()).expect("at most 4096");
        let kind = Kind::Ranged { unit_bytes, size_bytes };
        let extent = Extent::new(kind, file::page_bytes()).map_err(|(option, expected, found)| {
            Error::Invalid { option, expected: expected.into(), found: found.to_string() }
        })?;
        let (uuid, _) = clock::uuid().map_err(io_error("read", Path::new("/dev/urandom")))?;
        let header = Header { uuid, created_ns: clock::realtime_ns(), kind, extent };
        Ok(RangedFile::new(Opening::create(path, header, file::check_mode(self.mode)?)?))
    }

    /// Opens the file at `path`, or creates one of `size_bytes` when there is none. Any number of processes may race: one creates, all get
    /// the same. What is there has the size and the alignment that it has.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`RangedFile::open`].
    pub fn open_or_create(&self, path: impl AsRef<Path>, size_bytes: u64) -> Result<RangedFile, Error> {
        let path = path.as_ref();
        // More than once only when somebody removes the file between our two looks.
        for _ in 0..100 {
            match RangedFile::open(path) {
                Err(Error::NotFound { .. }) => {}
                other => return other,
            }
            match self.create(path, size_bytes) {
                Err(Error::AlreadyExists { .. }) => {}
                other => return other,
            }
        }
        RangedFile::open(path)
    }
}
