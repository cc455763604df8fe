//! Faulty: a real directory in which the n-th operation of a kind fails.
//!
//! (I1) an operation that fails does nothing; but a sync that fails may, and nobody says so.

use crate::map::disk::{Disk, DiskFile, DiskMap};
use crate::map::medium::{Medium, MediumFile, MediumMap};
use crate::sync::{AtomicU64, Ordering};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Create,
    /// Of an open file, or a list of names.
    Open,
    Write,
    Rename,
    SyncNames,
    Sync,
}

/// Which one fails next.
#[derive(Debug)]
pub(crate) struct Script {
    fault: Fault,
    errno: i32,
    /// So many more go well, and so many behind them fail.
    left: AtomicU64,
    fails: AtomicU64,
    /// How many there were.
    seen: AtomicU64,
}

impl Script {
    /// Instead of an error's number: panics.
    pub(crate) const PANIC: i32 = -1;

    pub(crate) fn new(fault: Fault, errno: i32) -> Arc<Self> {
        let (left, fails, seen) = (AtomicU64::new(u64::MAX), AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { fault, errno, left, fails, seen })
    }

    /// So many go well from now on, and then so many fail.
    pub(crate) fn fail_after(&self, left: u64, fails: u64) {
        self.left.store(left, Ordering::Relaxed);
        self.fails.store(fails, Ordering::Relaxed);
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.fails.load(Ordering::Relaxed) == 0
    }

    fn pass(&self, fault: Fault) -> io::Result<()> {
        if fault != self.fault {
            return Ok(());
        }
        self.seen.store(self.seen.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            return Ok(());
        }
        let fails = self.fails.load(Ordering::Relaxed);
        if fails == 0 {
            return Ok(());
        }
        self.fails.store(fails - 1, Ordering::Relaxed);
        assert_ne!(self.errno, Self::PANIC, "as the script says");
        Err(io::Error::from_raw_os_error(self.errno))
    }
}

/// The directory.
#[derive(Debug)]
pub(crate) struct Faulty {
    disk: Disk,
    script: Arc<Script>,
}

impl Faulty {
    pub(crate) fn new(path: &Path, script: &Arc<Script>) -> Arc<Self> {
        Arc::new(Self { disk: Disk::new(path, 0o600), script: script.clone() })
    }
}

/// A file of it.
#[derive(Debug)]
pub(crate) struct FaultyFile {
    file: DiskFile,
    script: Arc<Script>,
}

/// A map of it.
#[derive(Debug)]
pub(crate) struct FaultyMap {
    map: DiskMap,
    script: Arc<Script>,
}

impl Medium for Faulty {
    type File = FaultyFile;

    fn create(&self, name: &str, bytes: u64) -> io::Result<FaultyFile> {
        self.script.pass(Fault::Create)?;
        Ok(FaultyFile { file: self.disk.create(name, bytes)?, script: self.script.clone() })
    }

    fn open(&self, name: &str, writable: bool) -> io::Result<FaultyFile> {
        self.script.pass(Fault::Open)?;
        Ok(FaultyFile { file: self.disk.open(name, writable)?, script: self.script.clone() })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.script.pass(Fault::Rename)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.script.pass(Fault::Open)?;
        self.disk.names()
    }

    fn sync_names(&self) -> io::Result<()> {
        self.script.pass(Fault::SyncNames)?;
        self.disk.sync_names()
    }
}

impl MediumFile for FaultyFile {
    type Map = FaultyMap;

    fn len_bytes(&self) -> io::Result<u64> {
        self.file.len_bytes()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.script.pass(Fault::Write)?;
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.script.pass(Fault::Sync)?;
        self.file.sync()
    }

    fn map(&self, bytes: u64, writable: bool) -> io::Result<FaultyMap> {
        Ok(FaultyMap { map: self.file.map(bytes, writable)?, script: self.script.clone() })
    }
}

impl MediumMap for FaultyMap {
    fn words(&self, offset: u64, n: usize) -> &[AtomicU64] {
        self.map.words(offset, n)
    }

    unsafe fn bytes(&self, offset: u64, length: usize) -> &[u8] {
        // SAFETY: the caller's obligation is passed on as it is.
        unsafe { self.map.bytes(offset, length) }
    }

    unsafe fn bytes_mut(&self, offset: u64, length: usize) -> &mut [u8] {
        // SAFETY: the caller's obligation is passed on as it is.
        unsafe { self.map.bytes_mut(offset, length) }
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        self.map.populate(range)
    }

    fn sync(&self, range: Range<u64>) -> io::Result<()> {
        self.script.pass(Fault::Sync)?;
        self.map.sync(range)
    }
}
