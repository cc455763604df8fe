//! Disk: a directory of real files, as a log has it.
//!
//! ```text
//!   DiskFile --map--> DiskMap: one mmap, MAP_SHARED, of a file's first bytes; never moves, never grows
//! ```
//!
//! Who shares the lock byte of readers has it locked through the descriptor by which it reads, from then on, and as long as it has the file:
//! see `lock.rs`. A map does not keep the description that was mapped: overlayfs puts one of the file below in its place, and the lock goes with
//! the last descriptor.
//!
//! (I1) files are regular, nobody but this user and root can write them, and no symbolic link is followed; (I2) every byte of a new file has its place on the medium; (I3) a
//! map stays on its side of a fork; (I4) no access is beyond the map: asserted at each.
//! Knows no log.

use super::file;
use super::fork::{Moment, ProcessLock, Side};
#[cfg(feature = "guard")]
use super::guard::Guarded;
use super::lock::{self, Locks, SlotLock};
use super::medium::{Medium, MediumFile, MediumMap};
use crate::layout::mapped::PIN_BYTE;
use crate::sync::AtomicU64;
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// A directory.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    path: PathBuf,
    mode: u32,
    /// Of maps, nothing is read but what is touched or asked for.
    is_sparing: bool,
    /// A file whose name is no text, and what it is called instead.
    alias: Option<(Box<str>, OsString)>,
}

/// A file in it.
#[derive(Debug)]
pub(crate) struct DiskFile {
    opened: Opened,
    /// What it was when it was opened.
    found: Option<Found>,
    is_sparing: bool,
}

/// A file, and whether its descriptor has a lock.
#[derive(Debug)]
enum Opened {
    /// It has none.
    Bare(File),
    /// It shares the byte of readers.
    Reading(SlotLock),
}

/// Which file it is, how long it was, and a moment before it was opened.
#[derive(Clone, Copy, Debug)]
struct Found {
    identity: Identity,
    len_bytes: u64,
    opened_behind: Moment,
}

/// A file, whatever it is called: its device and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl Identity {
    /// The one that these are of.
    pub(crate) fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// A map of it.
#[derive(Debug)]
pub(crate) struct DiskMap {
    /// None only while it is dropped.
    range: Option<MmapRaw>,
    base: NonNull<u8>,
    length: usize,
    side: Side,
    identity: Option<Identity>,
    /// Gone before the range is.
    #[cfg(feature = "guard")]
    guarded: Option<Guarded>,
}

// SAFETY: the range belongs to no thread, and everything in it is reached through atomics or by the protocol's rules.
unsafe impl Send for DiskMap {}
// SAFETY: the same.
unsafe impl Sync for DiskMap {}

impl Disk {
    /// A directory that exists; files that are made in it get that mode.
    pub(crate) fn new(path: &Path, mode: u32) -> Self {
        Self { path: file::absolute(path), mode, is_sparing: false, alias: None }
    }

    /// The same, and what to call the file of that name in it, whatever bytes the name has.
    pub(crate) fn calling(mut self, name: &OsStr) -> (Self, Box<str>) {
        let called: Box<str> = name.to_string_lossy().into();
        self.alias = name.to_str().is_none().then(|| (called.clone(), name.to_owned()));
        (self, called)
    }

    /// The same, of whose maps nothing is read but what is touched or asked for.
    pub(crate) fn sparing(mut self) -> Self {
        self.is_sparing = true;
        self
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file of that name is.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        match &self.alias {
            Some((called, bytes)) if **called == *name => self.path.join(bytes),
            _ => self.path.join(name),
        }
    }
}

impl Medium for Disk {
    type File = DiskFile;

    fn create(&self, name: &str, bytes: u64) -> io::Result<DiskFile> {
        let path = self.at(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(self.mode).open(&path)?;
        file::allocate_range(&file, 0..bytes).map_err(|why| {
            // Nobody has seen it; best effort.
            let _ = std::fs::remove_file(&path);
            match why {
                file::NotAllocated::NoSpace { .. } => io::Error::from_raw_os_error(libc::ENOSPC),
                file::NotAllocated::Other(errno) => errno.into(),
            }
        })?;
        Ok(DiskFile { opened: Opened::Bare(file), found: None, is_sparing: self.is_sparing })
    }

    fn open(&self, name: &str, writable: bool) -> io::Result<DiskFile> {
        let flags = libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK;
        let opened_behind = Moment::now()?;
        let file = OpenOptions::new().read(true).write(writable).custom_flags(flags).open(self.at(name))?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let is_ours = || found.uid() == 0 || found.uid() == nix::unistd::geteuid().as_raw();
        if found.mode() & 0o022 != 0 || !is_ours() {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let found = Found { identity: Identity::of(&found), len_bytes: found.len(), opened_behind };
        Ok(DiskFile { opened: Opened::Bare(file), found: Some(found), is_sparing: self.is_sparing })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.at(name))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name()));
        // A name that is no UTF-8 is none of a log's.
        Ok(names
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> u64 {
        nix::sys::statvfs::statvfs(&self.path).map_or(0, |s| s.blocks_available() * s.fragment_size())
    }
}

impl DiskFile {
    /// The file itself, for its locks and its owner.
    pub(crate) fn file(&self) -> &File {
        match &self.opened {
            Opened::Bare(file) => file,
            Opened::Reading(share) => share.file(),
        }
    }

    /// Which one it is, if it was opened and not made.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.found.map(|found| found.identity)
    }
}

impl MediumFile for DiskFile {
    type Map = DiskMap;

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.file().metadata()?.len())
    }

    fn opened_bytes(&self) -> io::Result<u64> {
        self.found.map_or_else(|| self.len_bytes(), |found| Ok(found.len_bytes))
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        file::read_at_most(self.file(), bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file().write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file().sync_data()
    }

    fn keep_readers_out(&self) -> io::Result<Option<Box<dyn Send>>> {
        let Some(shared) = Locks::new(self.file(), true)?.share(PIN_BYTE)? else { return Ok(None) };
        Ok(if shared.try_alone()? { Some(Box::new(shared)) } else { None })
    }

    fn join_readers(self) -> io::Result<Option<Self>> {
        let Self { opened, found, is_sparing } = self;
        let file = match opened {
            Opened::Bare(file) => file,
            reading @ Opened::Reading(_) => return Ok(Some(Self { opened: reading, found, is_sparing })),
        };
        let opened_behind = found.map(|found| found.opened_behind);
        let share = lock::share_through(file, opened_behind, PIN_BYTE)?;
        Ok(share.map(|share| Self { opened: Opened::Reading(share), found, is_sparing }))
    }

    fn map(&self, bytes: u64, writable: bool) -> io::Result<DiskMap> {
        let side = Side::current()?;
        let length = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let had_bytes = self.found.map_or(0, |found| found.len_bytes);
        if had_bytes < bytes && self.len_bytes()? < bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let mut options = MmapOptions::new();
        options.len(length);
        // No fork between the two calls: a child that got the map might keep the lock with it.
        let held = matches!(self.opened, Opened::Reading(_)).then(ProcessLock::take);
        let file = self.file();
        let range = if writable { options.map_raw(file) } else { options.map_raw_read_only(file) }?;
        range.advise(Advice::DontFork)?;
        drop(held);
        if self.is_sparing {
            // A hint.
            let _ = range.advise(Advice::Random);
        }
        let base = NonNull::new(range.as_mut_ptr()).expect("mmap never returns null");
        #[cfg(feature = "guard")]
        let start = base.as_ptr().addr();
        Ok(DiskMap {
            base,
            length,
            side,
            identity: self.identity(),
            #[cfg(feature = "guard")]
            guarded: Some(Guarded::new(start..start + length, side)?),
            range: Some(range),
        })
    }
}

impl DiskMap {
    pub(super) fn range(&self) -> &MmapRaw {
        self.range.as_ref().expect("taken when it is dropped only")
    }

    /// Which file it is of, if that one was opened and not made.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    #[inline(always)]
    fn at(&self, offset: u64, length: usize) -> NonNull<u8> {
        debug_assert!(self.side.is_here(), "callers look first on which side of a fork they are");
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        assert!(start.checked_add(length).is_some_and(|end| end <= self.length), "beyond the map");
        // SAFETY: inside the range, as just asserted.
        unsafe { self.base.add(start) }
    }

    fn part(&self, range: &Range<u64>) -> (usize, usize) {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        self.at(range.start, length);
        (usize::try_from(range.start).expect("below the mapped length, which fits"), length)
    }
}

impl MediumMap for DiskMap {
    #[inline(always)]
    fn words(&self, offset: u64, n: usize) -> &[AtomicU64] {
        let first = self.at(offset, n * 8).cast::<AtomicU64>();
        assert!(first.is_aligned());
        // SAFETY:
        // - in bounds: asserted by `at`; aligned: asserted, and what follows the first is, too;
        // - no plain access: words of the live page, of the index, and of frame headers are reached through atomics only;
        // - alive: the reference borrows `self`, which keeps the range.
        unsafe { NonNull::slice_from_raw_parts(first, n).as_ref() }
    }

    #[inline(always)]
    unsafe fn bytes(&self, offset: u64, length: usize) -> &[u8] {
        let start = self.at(offset, length);
        // SAFETY:
        // - in bounds: asserted by `at`; initialised by the file; alive: borrows `self`, which keeps the range;
        // - not written: the caller's obligation.
        unsafe { NonNull::slice_from_raw_parts(start, length).as_ref() }
    }

    #[inline(always)]
    unsafe fn bytes_mut(&self, offset: u64, length: usize) -> &mut [u8] {
        let start = self.at(offset, length);
        // SAFETY:
        // - in bounds: asserted by `at`; initialised by the file; alive: borrows `self`, which keeps the range;
        // - exclusive and writable: the caller's obligation.
        unsafe { NonNull::slice_from_raw_parts(start, length).as_mut() }
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        let (at, length) = self.part(&range);
        match self.range().advise_range(Advice::PopulateWrite, at, length) {
            // Linux before 5.14: only the first touch costs.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            other => other,
        }
    }

    fn sync(&self, range: Range<u64>) -> io::Result<()> {
        let (at, length) = self.part(&range);
        if length == 0 { Ok(()) } else { self.range().flush_range(at, length) }
    }

    #[cfg(feature = "guard")]
    #[inline(always)]
    fn was_hit(&self) -> bool {
        // ORDER B8 (Acquire, pairs with B7): zeros that another thread's handler put there come with its mark.
        self.guarded.as_ref().is_some_and(|guarded| guarded.hit().load(crate::sync::Ordering::Acquire))
    }
}

impl Drop for DiskMap {
    fn drop(&mut self) {
        #[cfg(feature = "guard")]
        drop(self.guarded.take());
        if !self.side.is_here() {
            // A child does not have the range; something else may stand at its addresses.
            std::mem::forget(self.range.take());
        }
    }
}
