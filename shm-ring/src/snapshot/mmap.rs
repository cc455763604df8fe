//! Mmap: bytes of a file where they lie.
//!
//! (I1) clones, slices and `Bytes` share one mapping, which lives as long as any of them; (I2) a read allocates nothing; (I3) only files
//! that nobody but this user and root can write are mapped, and none that this library writes in safe code, or a slice could change while it
//! is looked at.
//! Keeps no descriptor, but with the feature `guard`.

use super::open::{self, Checked};
use super::{FileSnapshot, ReadAt, ReadError, bounds_in};
use crate::error::Error;
use crate::map::budget::{MapBudget, MapUsage, Permit};
use crate::map::file::io_error;
use crate::map::readonly::ReadOnly;
#[cfg(feature = "bytes")]
use bytes::Bytes;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file's bytes, mapped and read in place. Clones share the mapping; forked children have it, too.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("data");
/// use shm_ring::{ReadAt, Snapshot};
///
/// std::fs::write(&path, "some bytes")?;
/// let snapshot = Snapshot::open_plain(&path)?;
/// assert_eq!(&snapshot.as_slice()[5..], b"bytes"); // no copy
/// let mut word = [0; 4];
/// snapshot.read_exact_at(0, &mut word)?; // a copy, of what is checked to be there
/// assert_eq!(&word, b"some");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Trust
///
/// Nobody may write the file while it is mapped: a plain file that anybody changes meanwhile, be it by `std::fs::write` in this very
/// program, is *undefined behaviour*, because a slice changes under its reader. What others can write, what lies on a network file
/// system, and rings, append files and ranged files that are opened as plain ones are refused: read those with a [`FileSnapshot`]. Programs
/// of this user, and root, are trusted to leave the file alone; a sealed one can't be opened for writing by this library. Replacing the file under its name, or removing it, is no writing: who has the old one keeps it. The map is shared with the
/// page cache (`MAP_SHARED`); a private one would show another's writes just the same, until this process writes itself.
///
/// A file that is *truncated* while it is mapped ends the process with SIGBUS, where a page is gone; a cut inside the last page is no
/// signal, and the bytes behind it are zeros. With the feature `guard`, reads end in [`ReadError::Truncated`] instead, and slices show zeros
/// where the file lost its bytes; `Snapshot::check` says whether that has happened. It costs a descriptor, a load from the last page in each
/// read, and the file's length in a read from the last page. The guard puts a page where one is gone: a process that has as many maps as
/// the system allows it (`vm.max_map_count`) ends with SIGBUS all the same. It takes for granted that a file system takes pages away
/// before it makes zeros of the rest of the last one, as those of Linux do now.
///
/// Who may write the file is asked when it is opened, by its owner and its mode: neither lists of more rights, nor a `chmod` later, nor who
/// has it open for writing already is seen.
#[derive(Clone)]
pub struct Snapshot {
    mapped: Arc<Mapped>,
    /// Made once, because each owner of `Bytes` is an allocation.
    #[cfg(feature = "bytes")]
    shared: Bytes,
}

/// Given back in this order.
#[derive(Debug)]
pub(crate) struct Mapped {
    map: ReadOnly,
    _permit: Option<Permit>,
}

/// What a file was opened as, within a budget.
#[derive(Debug)]
pub(crate) enum OpenedPlain {
    Mapped(Snapshot),
    Copied(FileSnapshot),
}

impl OpenedPlain {
    fn boxed(self) -> Box<dyn ReadAt> {
        match self {
            Self::Mapped(snapshot) => Box::new(snapshot),
            Self::Copied(file) => Box::new(file),
        }
    }
}

/// How bytes will be read: hints to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// In no known way.
    Normal,
    /// In order: more is read ahead.
    Sequential,
    /// Here and there: nothing is read ahead.
    Random,
    /// Soon: reading begins now.
    WillNeed,
}

impl Snapshot {
    /// Opens and maps a sealed file, after its header, its seal, its length and the checksum of all its bytes have been checked.
    ///
    /// # Errors
    /// It does not exist, is no regular file or none that can be sealed, is [not sealed](Error::NotSealed), has a wrong seal
    /// ([`Error::Corrupt`]), is [truncated](Error::Truncated), does not have the checksum of its seal ([`Error::Corrupt`]), or can be
    /// written by others.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let checked = open::sealed(path)?;
        checked.may_be_mapped(path)?;
        Self::new(&checked, path, None)
    }

    /// Opens and maps any regular file, as long as it is now. Reads no more than its first bytes; an empty file is a snapshot of no bytes.
    ///
    /// Nobody may change the file while it is mapped: see [Trust](Self#trust).
    ///
    /// # Errors
    /// It does not exist, is no regular file, may not be read, can be written by others, is on a network file system, is a ring, an append
    /// file or a ranged file ([`Error::NotPlain`]; [`Snapshot::open`] takes a sealed one), or there is no room for the map.
    pub fn open_plain(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let checked = open::plain(path)?;
        checked.may_be_mapped(path)?;
        Self::new(&checked, path, None)
    }

    /// [`Snapshot::open`] as far as the budget allows a map, and [`FileSnapshot::open`] otherwise.
    ///
    /// The file is opened before the budget is asked, and closed again unless it is read by system calls: for that moment, each call has a
    /// descriptor beside the budget.
    ///
    /// A file that may not be mapped, because of who can write it, of where it is or of what it is, is read by system calls, too, and so is one for which
    /// the system has no map left, or whose file system has none.
    ///
    /// # Errors
    /// As of those two; and [`Error::OverBudget`] when the budget has neither a map nor a descriptor left.
    pub fn open_within(path: impl AsRef<Path>, budget: &MapBudget) -> Result<Box<dyn ReadAt>, Error> {
        let path = path.as_ref();
        Ok(Self::within(open::sealed(path)?, path, budget)?.boxed())
    }

    /// [`Snapshot::open_plain`] as far as the budget allows a map, and [`FileSnapshot::open_plain`] otherwise, as
    /// [`Snapshot::open_within`].
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("data");
    /// use shm_ring::{MapBudget, MapUsage, Snapshot};
    ///
    /// std::fs::write(&path, "some bytes")?;
    /// let budget = MapBudget::new().maps(1);
    /// let mapped = Snapshot::open_plain_within(&path, &budget)?;
    /// assert_eq!(budget.in_use().maps, 1);
    /// let copied = Snapshot::open_plain_within(&path, &budget)?; // as good, only slower
    /// assert_eq!((mapped.len(), copied.len()), (10, 10));
    /// drop((mapped, copied));
    /// assert_eq!(budget.in_use(), MapUsage::default());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn open_plain_within(path: impl AsRef<Path>, budget: &MapBudget) -> Result<Box<dyn ReadAt>, Error> {
        let path = path.as_ref();
        Ok(Self::within(open::plain(path)?, path, budget)?.boxed())
    }

    /// The same, for who must know which of them it is.
    #[cfg(feature = "arrow")]
    pub(crate) fn plain_within(path: &Path, budget: &MapBudget) -> Result<OpenedPlain, Error> {
        Self::within(open::plain(path)?, path, budget)
    }

    fn within(checked: Checked, path: &Path, budget: &MapBudget) -> Result<OpenedPlain, Error> {
        if checked.may_be_mapped(path).is_ok() {
            if let Some(permit) = budget.try_acquire(usage(checked.len)) {
                match Self::new(&checked, path, Some(permit)) {
                    Ok(snapshot) => return Ok(OpenedPlain::Mapped(snapshot)),
                    // As many maps, as much address space or as much locked memory as the system allows: its own budget. Or the file
                    // system maps nothing.
                    Err(Error::Io { source, .. })
                        if matches!(
                            source.raw_os_error(),
                            Some(libc::ENOMEM | libc::EAGAIN | libc::ENODEV)
                        ) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(OpenedPlain::Copied(FileSnapshot::within(checked, path, budget)?))
    }

    /// Maps what may be mapped, and has no checksum to be compared with; there is no permit in it.
    #[cfg(feature = "arrow")]
    pub(crate) fn of(checked: &Checked) -> io::Result<Self> {
        Ok(Self::with(Mapped::of(checked)?))
    }

    /// The map, for its advice.
    #[cfg(feature = "arrow")]
    pub(crate) fn map(&self) -> &ReadOnly {
        &self.mapped.map
    }

    fn with(mapped: Mapped) -> Self {
        let mapped = Arc::new(mapped);
        Self {
            #[cfg(feature = "bytes")]
            shared: Bytes::from_owner(Owner(Arc::clone(&mapped))),
            mapped,
        }
    }

    fn new(checked: &Checked, path: &Path, permit: Option<Permit>) -> Result<Self, Error> {
        let map = ReadOnly::new(&checked.file, checked.start, checked.len).map_err(io_error("map", path))?;
        let this = Self::with(Mapped { map, _permit: permit });
        checked.compare(path, || {
            let crc = crc32c::crc32c(this.as_slice());
            this.whole(this.as_slice().len()).map(|()| crc)
        })?;
        Ok(this)
    }

    /// All bytes, where they lie.
    pub fn as_slice(&self) -> &[u8] {
        self.mapped.bytes()
    }

    /// Whether all that was read so far, from slices and `Bytes`, too, was the file's, and no zeros of a cut. Feature `guard`.
    ///
    /// A cut that is mended before anybody looks, by making the file as long again, is not noticed.
    ///
    /// # Errors
    /// [`ReadError::Truncated`]: it may not have been.
    #[cfg(feature = "guard")]
    pub fn check(&self) -> Result<(), ReadError> {
        self.whole(self.as_slice().len())
    }

    /// Tells the kernel how `len` bytes from `offset` on will be read.
    ///
    /// # Errors
    /// They are not all inside, or the kernel does not take it.
    pub fn advise(&self, offset: u64, len: usize, advice: Advice) -> Result<(), ReadError> {
        let range = bounds_in(offset, len, self.as_slice())?;
        let advice = match advice {
            Advice::Normal => memmap2::Advice::Normal,
            Advice::Sequential => memmap2::Advice::Sequential,
            Advice::Random => memmap2::Advice::Random,
            Advice::WillNeed => memmap2::Advice::WillNeed,
        };
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        let advised = self.mapped.map.advise(advice, range.start, len);
        advised.map_err(|error| ReadError::Io { offset, errno: errno(error) })
    }

    /// Whether bytes below `end` that were read are the file's.
    #[inline]
    fn whole(&self, end: usize) -> Result<(), ReadError> {
        if self.mapped.map.is_cut(end) {
            return Err(ReadError::Truncated { snapshot_bytes: self.len() });
        }
        Ok(())
    }
}

/// What a map of so many bytes takes of a budget.
fn usage(len: u64) -> MapUsage {
    let n = u16::from(len > 0);
    MapUsage { maps: n, descriptors: n * ReadOnly::DESCRIPTORS, bytes: len }
}

impl Mapped {
    /// Maps what was checked, and may be mapped; its checksum is not compared, and there is no permit in it.
    pub(crate) fn of(checked: &Checked) -> io::Result<Self> {
        Ok(Self { map: ReadOnly::new(&checked.file, checked.start, checked.len)?, _permit: None })
    }

    /// The map, for its advice and its cuts.
    pub(crate) fn map(&self) -> &ReadOnly {
        &self.map
    }

    /// The bytes, in place.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: not written while the slice lives: `may_be_mapped` refused what others can write, and this user's programs and root are
        // trusted to leave the file of a snapshot alone (trusts peers: crate docs, Trust).
        unsafe { self.map.bytes() }
    }
}

impl ReadAt for Snapshot {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    #[inline]
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let bytes = self.as_slice();
        let range = bounds_in(offset, buf.len(), bytes)?;
        let end = range.end;
        buf.copy_from_slice(&bytes[range]);
        self.whole(end)
    }

    /// With the feature `guard` it fails when the file was cut by now; what is cut later shows as zeros, and the next call says so.
    #[cfg(feature = "bytes")]
    #[inline]
    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, ReadError> {
        let range = bounds_in(offset, len, &self.shared)?;
        self.whole(range.end)?;
        Ok(self.shared.slice(range))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// What `Bytes` keep alive.
#[cfg(feature = "bytes")]
#[derive(Debug)]
struct Owner(Arc<Mapped>);

#[cfg(feature = "bytes")]
impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}
