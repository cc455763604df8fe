//! Page-wise: the growable buffer that append files replace, as it grew.
//!
//! ```text
//!   | magic u32 | size u32 | data ...        |   capacity: whole pages
//! ```
//!
//! When bytes don't fit, the file is opened, made longer by as many pages as they need, unmapped, mapped anew and closed. Nothing is
//! allocated, and nobody checks whether there is room; that is kept as it was.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use memmap2::{MmapMut, MmapOptions};

const PAGE_BYTES: usize = 4096;
const HEADER_BYTES: usize = 8;
const MAGIC: u32 = 0xdead_beef;

#[derive(Debug)]
pub(super) struct PageWise {
    path: PathBuf,
    /// None only while it is mapped anew.
    map: Option<MmapMut>,
    capacity: usize,
    size: usize,
}

impl PageWise {
    /// A file of that capacity, present in memory.
    pub(super) fn new(path: &Path, capacity: usize) -> io::Result<Self> {
        let mut this = Self { path: path.to_path_buf(), map: None, capacity: 0, size: 0 };
        this.reserve(capacity)?;
        this.mapped().fill(0);
        this.mapped()[..4].copy_from_slice(&MAGIC.to_le_bytes());
        Ok(this)
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (from, to) = (HEADER_BYTES + self.size, HEADER_BYTES + self.size + bytes.len());
        if to > self.capacity {
            self.reserve(to.next_multiple_of(PAGE_BYTES))?;
        }
        self.size += bytes.len();
        let size = u32::try_from(self.size).map_err(io::Error::other)?;
        let map = self.mapped();
        map[from..to].copy_from_slice(bytes);
        map[4..HEADER_BYTES].copy_from_slice(&size.to_le_bytes());
        Ok(())
    }

    pub(super) fn data(&mut self) -> &[u8] {
        let to = HEADER_BYTES + self.size;
        &self.mapped()[HEADER_BYTES..to]
    }

    fn mapped(&mut self) -> &mut MmapMut {
        self.map.as_mut().expect("taken in `reserve` only")
    }

    fn reserve(&mut self, capacity: usize) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&self.path)?;
        file.set_len(capacity as u64)?;
        drop(self.map.take());
        // SAFETY: a file of this process alone, in a directory that it made; it only becomes longer.
        self.map = Some(unsafe { MmapOptions::new().map_mut(&file) }?);
        self.capacity = capacity;
        Ok(())
    }
}
