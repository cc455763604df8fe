//! Readonly: a part of a file, mapped to be read where it lies.
//!
//! ```text
//!   file   |          | offset             offset + len |      |
//!   map               | base         ...      base + len | 0s |   MAP_SHARED, loads only; zeros up to the end of the last page
//! ```
//!
//! Forked children keep it: nothing in it says whose it is, and nothing is ever written.
//!
//! (I1) no byte beyond `len` is handed out, however long the file becomes; (I2) unmapped as one, by its owner, in each process that has a
//! copy of the owner; (I3) with the feature `guard`, whoever has seen bytes that a cut made zero, and asks afterwards whether they are lost,
//! hears that they are.
//! Without that feature a page that the file has lost is SIGBUS. Whether somebody writes the file is its caller's business.

#[cfg(feature = "guard")]
use super::guard::Guarded;
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::ptr::NonNull;
#[cfg(feature = "guard")]
use std::sync::atomic::{AtomicU8, Ordering, fence};

/// The mapped part of a file.
#[derive(Debug)]
pub(crate) struct ReadOnly {
    /// Gone before the range is.
    #[cfg(feature = "guard")]
    watch: Option<Watch>,
    /// None: there is nothing to map.
    range: Option<MmapRaw>,
    len: usize,
}

/// For its alignment.
#[repr(align(4096))]
struct Page;

/// What tells of a cut.
#[cfg(feature = "guard")]
#[derive(Debug)]
struct Watch {
    guarded: Guarded,
    /// For its length: a cut inside the last page takes no page away.
    file: File,
    /// Where the mapped part ends in the file.
    end: u64,
    /// Where the last mapped page begins, from the base.
    last_page: usize,
}

// SAFETY: the range belongs to no thread, and nobody writes into it.
unsafe impl Send for ReadOnly {}
// SAFETY: the same.
unsafe impl Sync for ReadOnly {}

impl ReadOnly {
    /// How many descriptors a mapping keeps.
    pub(crate) const DESCRIPTORS: u16 = if cfg!(feature = "guard") { 1 } else { 0 };

    /// Maps `len` bytes from `offset` on, a multiple of the page size; the file was seen to have them.
    pub(crate) fn new(file: &File, offset: u64, len: u64) -> io::Result<Self> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        // A slice has at most that many bytes.
        let len = isize::try_from(len).map_err(|_| too_large())?.unsigned_abs();
        if len == 0 {
            return Ok(Self {
                #[cfg(feature = "guard")]
                watch: None,
                range: None,
                len,
            });
        }
        let range = MmapOptions::new().offset(offset).len(len).map_raw_read_only(file)?;
        #[cfg(feature = "guard")]
        let watch = Some(Watch::new(&range, file, offset, len)?);
        Ok(Self {
            #[cfg(feature = "guard")]
            watch,
            range: Some(range),
            len,
        })
    }

    /// The bytes.
    ///
    /// # Safety
    /// - nobody writes these bytes of the file while the slice lives (trusts peers: crate docs, Trust). A cut may still change them to zeros.
    pub(crate) unsafe fn bytes(&self) -> &[u8] {
        let base = match &self.range {
            Some(range) => NonNull::new(range.as_mut_ptr()).expect("mmap never returns null"),
            // As aligned as any: an empty table can be looked at as one.
            None => NonNull::<Page>::dangling().cast(),
        };
        // SAFETY:
        // - in bounds, one mapping: it has `len` bytes, which `new` saw to fit a slice; or there are none;
        // - initialised by the file; not written: the caller's obligation;
        // - alive: the slice borrows `self`, which owns the range.
        unsafe { std::slice::from_raw_parts(base.as_ptr().cast_const(), self.len) }
    }

    /// What is mapped, if anything is.
    pub(super) fn range(&self) -> Option<&MmapRaw> {
        self.range.as_ref()
    }

    /// Whether bytes below `end`, which this thread has read by now, may be zeros of a cut.
    #[inline]
    pub(crate) fn is_cut(&self, end: usize) -> bool {
        #[cfg(feature = "guard")]
        return self.watch.as_ref().is_some_and(|watch| watch.has_cut(self.range.as_ref(), self.len, end));
        #[cfg(not(feature = "guard"))]
        {
            let _ = end;
            false
        }
    }

    /// Tells the kernel how bytes that are there will be read: a hint.
    pub(crate) fn advise(&self, advice: Advice, offset: usize, len: usize) -> io::Result<()> {
        assert!(offset <= self.len && len <= self.len - offset, "the caller has checked the bounds");
        match &self.range {
            Some(range) if len > 0 => range.advise_range(advice, offset, len),
            _ => Ok(()),
        }
    }
}

#[cfg(feature = "guard")]
impl Watch {
    fn new(range: &MmapRaw, file: &File, offset: u64, len: usize) -> io::Result<Self> {
        let page_bytes = usize::try_from(super::file::page_bytes()).map_err(io::Error::other)?;
        let start = range.as_ptr().addr();
        let end = offset.checked_add(len as u64).expect("the file has these bytes");
        let last_page = (len - 1) / page_bytes * page_bytes;
        let guarded = Guarded::everywhere(start..start + range.len())?;
        Ok(Self { guarded, file: file.try_clone()?, end, last_page })
    }

    fn has_cut(&self, range: Option<&MmapRaw>, len: usize, end: usize) -> bool {
        // ORDER B9 (Acquire fence, pairs with B7, and with the cut's stores in the kernel): the bytes that were read come before the looks
        // below. Whole pages are taken away before the rest of one becomes zeros, so who has read such a zero finds the last page gone.
        fence(Ordering::Acquire);
        if let Some(range) = range {
            let last = range.as_mut_ptr().wrapping_add(len - 1);
            // SAFETY:
            // - in bounds, aligned: the last mapped byte;
            // - alive: the caller borrows the range; a page that is gone is replaced by the handler, for which it is registered;
            // - no plain access beside it but loads: nobody writes the range.
            let last = unsafe { AtomicU8::from_ptr(last) };
            // ORDER none (Relaxed): whether the page is there is what is asked, not what it holds.
            std::hint::black_box(last.load(Ordering::Relaxed));
        }
        // ORDER none (Relaxed): set by this thread's own accesses, or before the zeros that the fence above came after.
        if self.guarded.hit().load(Ordering::Relaxed) {
            return true;
        }
        // What the cut left of the last page is still there, with zeros behind it, and no signal. Who can't ask can't say that it is whole.
        end > self.last_page && self.file.metadata().map_or(true, |found| found.len() < self.end)
    }
}
