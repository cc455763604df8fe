//! Medium: the one door through which a log makes, maps, writes, syncs, names and removes files.
//!
//! ```text
//!   log/   --> Medium ----> Disk (disk.rs): a directory, real files, real maps
//!                     \---> the crash tests' file system, which keeps what each sync would have left on the medium
//! ```
//!
//! The log is generic over it, so that what the crash tests cut short is what users run. A name is one directory entry, without a slash.
//!
//! (I1) whatever is not synced may be on the medium in any part and any order: pages of a file one by one, a name without the file's bytes,
//! a new name with the old one; (I2) bytes of a map are reached as a mapped file's are: words through atomics, plain bytes by whom the
//! protocol lets; (I3) an error leaves what it was about as it was, or unknown, never as if it had worked.
//! Decides nothing.

use crate::sync::AtomicU64;
use std::fmt::Debug;
use std::io;
use std::ops::Range;

/// Where a log lives.
pub(crate) trait Medium: Debug + Send + Sync + 'static {
    /// One of its files.
    type File: MediumFile;

    /// A new file of so many zeros, each with its place on the medium, under a name that nobody has. Not synced, the name neither.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Self::File>;
    /// The file of that name.
    fn open(&self, name: &str, writable: bool) -> io::Result<Self::File>;
    /// Gives a file another name, at once; who had that name loses it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a file's name from it; who has it mapped or open keeps it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// All names.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Brings all names, as they are now, to the medium.
    fn sync_names(&self) -> io::Result<()>;
    /// How many bytes new files may have, as far as that is known; for messages.
    fn free_bytes(&self) -> u64 {
        0
    }
}

/// A file of a medium.
pub(crate) trait MediumFile: Debug + Send + Sync + 'static {
    /// A map of it.
    type Map: MediumMap;

    /// How long it is.
    fn len_bytes(&self) -> io::Result<u64>;
    /// How long it was when it was opened, where that is known.
    fn opened_bytes(&self) -> io::Result<u64> {
        self.len_bytes()
    }
    /// Reads from there on until `bytes` are full or the file ends; says how many were read.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of them, and makes the file longer if need be.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Brings all of the file's bytes and its length to the medium, those stored through maps as well.
    fn sync(&self) -> io::Result<()>;
    /// Keeps readers out of the file, which is to be used for something else, until what is returned is dropped; `None`: somebody reads it.
    fn keep_readers_out(&self) -> io::Result<Option<Box<dyn Send>>> {
        Ok(Some(Box::new(())))
    }
    /// The same file, which is kept from being used for something else as long as this lives; `None`: it is being used so. Maps of it are
    /// dropped first. For a file that was opened to be read only.
    fn join_readers(self) -> io::Result<Option<Self>>
    where
        Self: Sized,
    {
        Ok(Some(self))
    }
    /// Maps its first `bytes`, which it has.
    fn map(&self, bytes: u64, writable: bool) -> io::Result<Self::Map>;
}

/// A map of a file.
pub(crate) trait MediumMap: Debug + Send + Sync + 'static {
    /// `n` words from there on. Panics beyond the map, and where words are not aligned.
    fn words(&self, offset: u64, n: usize) -> &[AtomicU64];

    /// Bytes from there on, to be read in place. Panics beyond the map.
    ///
    /// # Safety
    /// - nobody writes these bytes while the slice lives (trusts peers: crate docs, Trust).
    unsafe fn bytes(&self, offset: u64, length: usize) -> &[u8];

    /// Bytes from there on, to be written in place. Panics beyond the map.
    ///
    /// # Safety
    /// - the map is writable;
    /// - nobody else reads or writes these bytes while the slice lives, and no other slice of them lives (trusts peers: crate docs, Trust).
    #[expect(clippy::mut_from_ref, reason = "exclusive by the caller's obligation, not by the borrow")]
    unsafe fn bytes_mut(&self, offset: u64, length: usize) -> &mut [u8];

    /// Makes these pages present and writable now, rather than at first touch.
    fn populate(&self, range: Range<u64>) -> io::Result<()>;
    /// Brings these bytes, in whole pages, to the medium, and returns when they are there.
    fn sync(&self, range: Range<u64>) -> io::Result<()>;
    /// All stores so far come before all that follow, in the order of a program: nothing on a disk, which has its own order anyway. Between
    /// two of these the crash tests take stores for one.
    #[inline(always)]
    fn step(&self) {}
    /// Whether an access met a page that the file has lost; with the feature `guard` only, since nobody survives it without.
    #[inline(always)]
    fn was_hit(&self) -> bool {
        false
    }
}
