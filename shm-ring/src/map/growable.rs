//! Growable: one mapping of a mapped file, larger than the file, in which the file grows without ever moving.
//!
//! ```text
//!  base                                                                          base + reserve
//!   | header | live | tables | data ...                | nothing yet              |   one mmap, MAP_SHARED
//!   +--------+------+--------+-------------------------+--------------------------+
//!   file 0                                              ^ end of the file: known_bytes grows with it
//! ```
//!
//! Linux maps a file beyond its end; a page there can be accessed as soon as the file is long enough, in every process that had it mapped
//! before. So who grows the file makes it longer, and nobody maps again.
//!
//! (I1) the base never moves, and the range is unmapped as one, by its owner, on its side of a fork; (I2) no byte is accessed beyond
//! `known_bytes`, which was allocated by this process or seen as the file's length: every access asserts it; (I3) words of the live page
//! and of tables are handed out as atomics only; (I4) plain bytes are handed out by unsafe functions, whose callers argue from the
//! protocol that nobody else touches them; (I5) with the feature `guard`, whoever has seen the zeros of a missing page, and asks
//! afterwards whether the file was truncated, hears that it was.
//! Decides nothing about locks, or about when to grow.

use super::fork::Side;
#[cfg(feature = "guard")]
use super::guard::Guarded;
use super::mirror::Access;
use crate::layout::mapped::{Extent, Live};
use crate::sync::{AtomicU64, Ordering};
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

/// A mapped file with room to grow.
#[derive(Debug)]
pub(crate) struct Growable {
    /// None only while it is dropped.
    range: Option<MmapRaw>,
    base: NonNull<u8>,
    extent: Extent,
    /// All of them, behind each other.
    tables: NonNull<[AtomicU64]>,
    known_bytes: AtomicU64,
    side: Side,
    /// Gone before the range is.
    #[cfg(feature = "guard")]
    guarded: Option<Guarded>,
}

// SAFETY: the range belongs to no thread, and everything in it is reached through atomics or by the protocol's rules.
unsafe impl Send for Growable {}
// SAFETY: the same.
unsafe impl Sync for Growable {}

impl Growable {
    /// Maps a file that was recognised, has `file_bytes` now, and may grow to `reserve_bytes`, of which the address space must have room.
    pub(crate) fn new(
        file: &File,
        extent: Extent,
        file_bytes: u64,
        reserve_bytes: u64,
        access: Access,
    ) -> io::Result<Arc<Self>> {
        assert!(file_bytes >= extent.file_bytes, "the header was checked against the file's length");
        let side = Side::current()?;
        let length = usize::try_from(reserve_bytes.max(file_bytes))
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mut options = MmapOptions::new();
        options.len(length);
        let range = match access {
            Access::ReadOnly => options.map_raw_read_only(file),
            Access::ReadWrite => options.map_raw(file),
        }?;
        range.advise(Advice::DontFork)?;
        let base = NonNull::new(range.as_mut_ptr()).expect("mmap never returns null");
        let fits = |bytes| usize::try_from(bytes).expect("below the mapped length, which fits");
        let Extent { table_offset, data_offset, .. } = extent;
        assert!(table_offset <= data_offset && data_offset <= file_bytes);
        // SAFETY: inside the range, which holds the whole file.
        let tables = unsafe { base.add(fits(table_offset)) }.cast::<AtomicU64>();
        assert!(tables.is_aligned());
        let tables = NonNull::slice_from_raw_parts(tables, fits((data_offset - table_offset) / 8));
        #[cfg(feature = "guard")]
        let start = base.as_ptr().addr();
        Ok(Arc::new(Self {
            base,
            extent,
            tables,
            known_bytes: AtomicU64::new(file_bytes),
            side,
            #[cfg(feature = "guard")]
            guarded: Some(Guarded::new(start..start + range.len(), side)?),
            range: Some(range),
        }))
    }

    /// How long the file may become before it has to be mapped again.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.range().len() as u64
    }

    /// How far the file was seen to reach.
    pub(crate) fn known_bytes(&self) -> u64 {
        // ORDER none (Relaxed): pages of the file that was so long exist for whoever learns of it, by whatever way.
        self.known_bytes.load(Ordering::Relaxed)
    }

    /// The file is that long now: it was just allocated, or `fstat` said so.
    pub(crate) fn note_bytes(&self, file_bytes: u64) {
        // ORDER none (Relaxed): as above.
        self.known_bytes.fetch_max(file_bytes.min(self.reserve_bytes()), Ordering::Relaxed);
    }

    /// Whether this is the process that mapped it. On the other side of a fork nothing may be accessed.
    #[inline(always)]
    pub(crate) fn is_here(&self) -> bool {
        self.side.is_here()
    }

    /// Whether an access of this process met a page that the file has lost. Without the feature `guard` it would not have survived that.
    #[inline(always)]
    pub(crate) fn was_hit(&self) -> bool {
        #[cfg(feature = "guard")]
        // ORDER B8 (Acquire, pairs with B7): zeros that another thread's handler put there come with its mark.
        return self.guarded.as_ref().is_some_and(|guarded| guarded.hit().load(Ordering::Acquire));
        #[cfg(not(feature = "guard"))]
        false
    }

    /// The first eight bytes of the file, as they are in memory.
    pub(crate) fn magic(&self) -> [u8; 8] {
        // ORDER none (Relaxed): nobody writes them.
        self.words(0, 1)[0].load(Ordering::Relaxed).to_le_bytes()
    }

    /// The page of atomics.
    #[inline(always)]
    pub(crate) fn live(&self) -> &Live {
        debug_assert!(self.is_here());
        #[expect(clippy::cast_possible_truncation, reason = "a page's size, which fits")]
        let at = self.extent.live_offset as usize;
        // SAFETY: page 1 is inside the range, which holds the whole of the least file.
        let live = unsafe { self.base.add(at) }.cast::<Live>();
        // SAFETY:
        // - in bounds: a file that was recognised has page 1, and `Live` is smaller than a page;
        // - aligned: pages are, and the base is;
        // - no plain access: every process reaches the live page through atomics only;
        // - alive: the reference borrows `self`, which keeps the range.
        unsafe { live.as_ref() }
    }

    /// The tables of a ranged file, all of them behind each other: `table_bytes / 8` words each.
    #[inline(always)]
    pub(crate) fn tables(&self) -> &[AtomicU64] {
        assert!(self.is_here(), "callers look first on which side of a fork they are");
        // SAFETY:
        // - in bounds, aligned: asserted once, by `new`;
        // - no plain access: tables are reached through atomics only;
        // - alive: the reference borrows `self`, which keeps the range.
        unsafe { self.tables.as_ref() }
    }

    fn words(&self, file_offset: u64, n_words: usize) -> &[AtomicU64] {
        let first = self.at(file_offset, n_words * 8).cast::<AtomicU64>();
        assert!(first.is_aligned());
        // SAFETY:
        // - in bounds: asserted by `at`;
        // - aligned: asserted; what follows the first word is, too;
        // - no plain access: the header is not written while anybody sees it, and tables are reached through atomics only;
        // - alive: the reference borrows `self`, which keeps the range.
        unsafe { NonNull::slice_from_raw_parts(first, n_words).as_ref() }
    }

    /// Bytes of data, to be read in place.
    ///
    /// # Safety
    /// - nobody writes these bytes while the slice lives (trusts peers: crate docs, Trust).
    ///
    /// Panics beyond `known_bytes`.
    #[inline]
    pub(crate) unsafe fn bytes(&self, offset: u64, length: usize) -> &[u8] {
        let start = self.at_data(offset, length);
        // SAFETY:
        // - in bounds: asserted by `at_data`; initialised by the file; alive: borrows `self`, which keeps the range;
        // - not written: the caller's obligation.
        unsafe { NonNull::slice_from_raw_parts(start, length).as_ref() }
    }

    /// Bytes of data, to be written in place.
    ///
    /// # Safety
    /// - the mapping is writable;
    /// - nobody else reads or writes these bytes while the slice lives, and no other slice of them lives (trusts peers: crate docs, Trust).
    ///
    /// Panics beyond `known_bytes`.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "exclusive by the caller's obligation, not by the borrow")]
    pub(crate) unsafe fn bytes_mut(&self, offset: u64, length: usize) -> &mut [u8] {
        let start = self.at_data(offset, length);
        // SAFETY:
        // - in bounds: asserted by `at_data`; initialised by the file; alive: borrows `self`, which keeps the range;
        // - exclusive and writable: the caller's obligation.
        unsafe { NonNull::slice_from_raw_parts(start, length).as_mut() }
    }

    /// Copies bytes of data out that somebody may be writing at this moment: the caller validates afterwards, behind an acquire fence,
    /// that nobody was, or throws them away. No reference to them is made.
    ///
    /// Panics beyond `known_bytes`.
    pub(crate) fn copy_out(&self, offset: u64, out: &mut [u8]) {
        let start = self.at_data(offset, out.len());
        let to_word = start.as_ptr().align_offset(8).min(out.len());
        let (head, rest) = out.split_at_mut(to_word);
        self.copy_bytes(start, head);
        let n_words = rest.len() / 8;
        let (middle, tail) = rest.split_at_mut(n_words * 8);
        // SAFETY: `to_word` is at most the length that `at_data` found in bounds.
        let first = unsafe { start.add(to_word) };
        for (index, to) in middle.chunks_exact_mut(8).enumerate() {
            // SAFETY: below `n_words` words behind `first`, so below the length.
            let word = unsafe { first.add(index * 8) }.cast::<AtomicU64>();
            // SAFETY:
            // - in bounds, aligned: `first` is, and so is what lies a multiple of 8 behind it;
            // - racing stores of the writer are plain, formally a data race, because Rust has no atomic copy yet (RFC 3301); the words are
            //   used only when the caller has found that there was none;
            // - alive: used at once, and `self` keeps the range.
            let word = unsafe { word.as_ref() };
            // ORDER none (Relaxed): the caller's acquire fence orders these loads before its second look.
            to.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        // SAFETY: `to_word + middle` is at most the length that `at_data` found in bounds.
        let last = unsafe { first.add(middle.len()) };
        self.copy_bytes(last, tail);
    }

    fn copy_bytes(&self, from: NonNull<u8>, to: &mut [u8]) {
        for (index, to) in to.iter_mut().enumerate() {
            // SAFETY: the callers pass a part of what `at_data` found in bounds, as long as `to`.
            let byte = unsafe { from.add(index) }.cast::<AtomicU8>();
            // SAFETY: as for the words in `copy_out`; bytes are always aligned.
            *to = unsafe { byte.as_ref() }.load(Ordering::Relaxed);
        }
    }

    /// Makes these pages of the file present and writable now, rather than at first touch.
    pub(crate) fn populate(&self, file_offset: u64, length: u64) -> io::Result<()> {
        let (at, length) = self.part(file_offset, length);
        match self.range().advise_range(Advice::PopulateWrite, at, length) {
            // Linux before 5.14: pages are allocated all the same, only their first touch costs.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            other => other,
        }
    }

    /// Brings these bytes of the file to the medium, and returns when they are there. Of whole pages, whatever is asked for.
    pub(crate) fn sync(&self, file_offset: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let (at, length) = self.part(file_offset, length);
        self.range().flush_range(at, length)
    }

    /// The same for bytes of data.
    pub(crate) fn sync_data(&self, offset: u64, length: u64) -> io::Result<()> {
        self.sync(self.extent.data_offset + offset, length)
    }

    /// The same for the live page.
    pub(crate) fn sync_live(&self) -> io::Result<()> {
        self.sync(self.extent.live_offset, self.extent.page_bytes)
    }

    /// Where everything lies.
    pub(crate) fn extent(&self) -> &Extent {
        &self.extent
    }

    fn range(&self) -> &MmapRaw {
        self.range.as_ref().expect("taken when it is dropped only")
    }

    /// Asserts that a part of the file is known to exist; as offset and length in the mapping.
    fn part(&self, file_offset: u64, length: u64) -> (usize, usize) {
        assert!(self.is_here(), "callers look first on which side of a fork they are");
        let end = file_offset.checked_add(length);
        assert!(end.is_some_and(|end| end <= self.known_bytes()), "beyond what is known of the file");
        let fits = |bytes| usize::try_from(bytes).expect("below the mapped length, which fits");
        (fits(file_offset), fits(length))
    }

    #[inline(always)]
    fn at(&self, file_offset: u64, length: usize) -> NonNull<u8> {
        let (at, _) = self.part(file_offset, length as u64);
        // SAFETY: at most `known_bytes`, which is never more than the range.
        unsafe { self.base.add(at) }
    }

    #[inline(always)]
    fn at_data(&self, offset: u64, length: usize) -> NonNull<u8> {
        let file_offset = offset.checked_add(self.extent.data_offset).expect("offsets of data are small");
        self.at(file_offset, length)
    }
}

impl Drop for Growable {
    fn drop(&mut self) {
        #[cfg(feature = "guard")]
        drop(self.guarded.take());
        if !self.side.is_here() {
            // A child does not have the range; something else may stand at its addresses.
            std::mem::forget(self.range.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::mapped::Kind;

    fn mapped(pages: u64, reserve_bytes: u64) -> (File, Arc<Growable>) {
        let file = tempfile::tempfile().unwrap();
        let extent = Extent::new(Kind::Append, 4096).unwrap();
        let file_bytes = extent.file_bytes + pages * 4096;
        file.set_len(file_bytes).unwrap();
        let map = Growable::new(&file, extent, file_bytes, reserve_bytes, Access::ReadWrite).unwrap();
        (file, map)
    }

    // Goal: bytes behind the old end can be used where they are, and no byte behind the known end. Method: a file that grows under its map.
    #[test]
    fn a_file_grows_where_it_is_mapped() {
        let (file, map) = mapped(1, 1 << 30);
        assert_eq!((map.known_bytes(), map.reserve_bytes()), (3 * 4096, 1 << 30));
        // SAFETY: nobody else has the file.
        unsafe { map.bytes_mut(0, 4096) }.fill(1);
        // SAFETY: the bytes are not written again.
        let before = unsafe { map.bytes(0, 4096) };
        let refused = std::panic::catch_unwind(|| {
            // SAFETY: never made.
            let _ = unsafe { map.bytes(4096, 1) };
        });
        assert!(refused.is_err());
        file.set_len(64 * 4096).unwrap();
        map.note_bytes(64 * 4096);
        // SAFETY: nobody else has the file, and the slice above ends where this one begins.
        unsafe { map.bytes_mut(4096, 61 * 4096) }.fill(2);
        map.populate(0, 64 * 4096).unwrap();
        map.sync_data(5000, 3).unwrap();
        assert!(before.iter().all(|byte| *byte == 1));
        assert!(!map.was_hit());
        map.note_bytes(4096);
        map.note_bytes(u64::MAX);
        assert_eq!(map.known_bytes(), 1 << 30);
    }

    // Goal: a copy is exact at every alignment. Method: all starts and lengths around the words' edges, a guard behind.
    #[test]
    fn copies_are_exact_at_every_alignment() {
        let (_file, map) = mapped(1, 0);
        let all: Vec<u8> = (0..=255).collect();
        // SAFETY: nobody else has the file.
        unsafe { map.bytes_mut(0, 256) }.copy_from_slice(&all);
        for start in 0..20 {
            for length in 0..60 {
                let mut out = vec![0xee; length + 1];
                map.copy_out(start as u64, &mut out[..length]);
                assert_eq!(out[..length], all[start..start + length]);
                assert_eq!(out[length], 0xee);
            }
        }
    }
}
