//! Region: typed views into a mapped ring, which keep the mapping alive.
//!
//! (I1) a view is in bounds and aligned by construction, whatever a position says: offsets are masked, and the mirror has slack of
//! one capacity behind the data; (I2) words are handed out as atomics only; (I3) plain bytes are handed out by two unsafe
//! functions, whose callers argue from the protocol that nobody else touches them; (I4) with the feature `guard`, whoever has seen the
//! zeros of a missing page, and asks afterwards whether the file was truncated, hears that it was.

use super::fork::Side;
#[cfg(feature = "guard")]
use super::guard::Guarded;
use super::mirror::{Access, Mirror};
use crate::layout::geometry::Geometry;
use crate::layout::slots::{ConsumerSlot, Live, ProducerSlot};
use crate::sync::AtomicU64;
#[cfg(feature = "guard")]
use crate::sync::Ordering;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
#[cfg(feature = "guard")]
use std::sync::atomic::AtomicBool;

/// A cache line of the processors that matter.
pub(crate) const LINE_BYTES: u64 = 64;

/// A mapped ring.
#[derive(Debug)]
pub(crate) struct Region {
    mirror: Option<Mirror>,
    base: NonNull<u8>,
    geometry: Geometry,
    side: Side,
    crosses_fork: bool,
    /// Gone before the range is. None for a memfd, which is sealed against shrinking.
    #[cfg(feature = "guard")]
    guarded: Option<Guarded>,
    /// Set when a page of the file was missing.
    #[cfg(feature = "guard")]
    hit: &'static AtomicBool,
}

/// Of mappings that can't be truncated.
#[cfg(feature = "guard")]
static NEVER_HIT: AtomicBool = AtomicBool::new(false);

// SAFETY: the range belongs to no thread, and everything in it is reached through atomics or by the protocol's rules.
unsafe impl Send for Region {}
// SAFETY: the same.
unsafe impl Sync for Region {}

impl Region {
    /// Maps the file. `crosses_fork`: children inherit the mapping.
    pub(crate) fn new(
        file: &File,
        geometry: Geometry,
        access: Access,
        crosses_fork: bool,
    ) -> io::Result<Arc<Self>> {
        let side = Side::current()?;
        let mirror = Mirror::new(file, &geometry, access)?;
        if !crosses_fork {
            mirror.keep_from_children()?;
        }
        let base = mirror.base();
        #[cfg(feature = "guard")]
        let guarded = if crosses_fork { None } else { Some(Guarded::new(mirror.range(), side)?) };
        Ok(Arc::new(Self {
            mirror: Some(mirror),
            base,
            geometry,
            side,
            crosses_fork,
            #[cfg(feature = "guard")]
            hit: guarded.as_ref().map_or(&NEVER_HIT, Guarded::hit),
            #[cfg(feature = "guard")]
            guarded,
        }))
    }

    /// Whether the file has lost a page by now.
    pub(crate) fn is_truncated(self: &Arc<Self>) -> bool {
        self.data().is_truncated()
    }

    /// Notes that the file was found to be shorter than it must be.
    #[cfg(feature = "guard")]
    pub(crate) fn mark_hit(&self) {
        if self.guarded.is_some() {
            // ORDER none (Relaxed): carries nothing; this thread sees it.
            self.hit.store(true, Ordering::Relaxed);
        }
    }

    /// Populates everything (`whole`), or all but the data.
    pub(crate) fn populate(&self, whole: bool) -> io::Result<()> {
        let end = if whole { self.geometry.file_bytes } else { self.geometry.data_offset };
        let end = usize::try_from(end).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.mirror.as_ref().map_or(Ok(()), |mirror| mirror.populate(0, end))
    }

    /// The page of atomics.
    pub(crate) fn live(self: &Arc<Self>) -> View<Live> {
        self.view(self.geometry.live_offset)
    }

    /// A producer's slot.
    pub(crate) fn producer(self: &Arc<Self>, slot: u16) -> View<ProducerSlot> {
        assert!(slot < self.geometry.shape.producers_max);
        self.view(self.geometry.producers_offset + u64::from(slot) * size_of::<ProducerSlot>() as u64)
    }

    /// A consumer's slot.
    pub(crate) fn consumer(self: &Arc<Self>, slot: u16) -> View<ConsumerSlot> {
        assert!(slot < self.geometry.shape.consumers_max);
        self.view(self.geometry.consumers_offset + u64::from(slot) * size_of::<ConsumerSlot>() as u64)
    }

    /// All producer slots.
    pub(crate) fn producers(self: &Arc<Self>) -> View<[ProducerSlot]> {
        let first = self.producer(0).item;
        let all = NonNull::slice_from_raw_parts(first, self.geometry.shape.producers_max.into());
        View { item: all, _region: Arc::clone(self) }
    }

    /// All consumer slots.
    pub(crate) fn consumers(self: &Arc<Self>) -> View<[ConsumerSlot]> {
        let first = self.consumer(0).item;
        let all = NonNull::slice_from_raw_parts(first, self.geometry.shape.consumers_max.into());
        View { item: all, _region: Arc::clone(self) }
    }

    /// The data.
    pub(crate) fn data(self: &Arc<Self>) -> Data {
        Data {
            base: self.at(self.geometry.data_offset).cast(),
            mask: self.geometry.shape.capacity_bytes - 1,
            #[cfg(feature = "guard")]
            hit: self.hit,
            _region: Arc::clone(self),
        }
    }

    fn view<T>(self: &Arc<Self>, offset: u64) -> View<T> {
        assert!(offset + size_of::<T>() as u64 <= self.geometry.data_offset);
        let item = self.at(offset).cast::<T>();
        assert!(item.is_aligned());
        View { item, _region: Arc::clone(self) }
    }

    fn at(&self, offset: u64) -> NonNull<u8> {
        let offset = usize::try_from(offset).expect("the whole file is mapped, so its offsets fit");
        // SAFETY: callers pass offsets inside the file, and the range holds the whole file.
        unsafe { self.base.add(offset) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        #[cfg(feature = "guard")]
        drop(self.guarded.take());
        if let Some(mirror) = self.mirror.take() {
            if !self.crosses_fork && !self.side.is_here() {
                // A child does not have the range; something else may stand at its addresses.
                mirror.forget();
            }
        }
    }
}

/// Something in a region, which it keeps mapped.
#[derive(Debug)]
pub(crate) struct View<T: ?Sized> {
    item: NonNull<T>,
    _region: Arc<Region>,
}

impl<T: ?Sized> Deref for View<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY:
        // - in bounds, aligned: asserted in `Region::view`;
        // - no plain access: slots and the live page consist of atomics, and every process reaches them through atomics only;
        // - alive: `_region` keeps the range mapped as long as `self`.
        unsafe { self.item.as_ref() }
    }
}

// SAFETY: a reference to atomics that lives as long as the value; it belongs to no thread.
unsafe impl<T: ?Sized + Sync> Send for View<T> {}
// SAFETY: the same.
unsafe impl<T: ?Sized + Sync> Sync for View<T> {}

/// The data of a ring: frames, found by position.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    base: NonNull<AtomicU64>,
    mask: u64,
    #[cfg(feature = "guard")]
    hit: &'static AtomicBool,
    _region: Arc<Region>,
}

// SAFETY: hands out atomics, and bytes under the protocol's rules; belongs to no thread.
unsafe impl Send for Data {}
// SAFETY: the same.
unsafe impl Sync for Data {}

impl Data {
    /// Whether an access of this process met a page that the file has lost. Without the feature `guard` it would not have survived that.
    #[inline(always)]
    pub(crate) fn was_hit(&self) -> bool {
        #[cfg(feature = "guard")]
        // ORDER none (Relaxed): set by this thread's own accesses, or before what `is_truncated` acquires.
        return self.hit.load(Ordering::Relaxed);
        #[cfg(not(feature = "guard"))]
        false
    }

    /// Whether the file has lost a page by now, looking at the last one: a cut elsewhere shows as zeros up to the end of its page, without
    /// a signal.
    #[inline]
    pub(crate) fn is_truncated(&self) -> bool {
        #[cfg(feature = "guard")]
        // ORDER B8 (Acquire, pairs with B7): zeros that another thread's handler put there come with its mark.
        std::hint::black_box(self.word(self.mask, 0).load(Ordering::Acquire));
        self.was_hit()
    }

    /// The word `index` words after `position`, which is a multiple of 8; `index` is below eight.
    #[inline(always)]
    pub(crate) fn word(&self, position: u64, index: usize) -> &AtomicU64 {
        // Masking with the capacity and dropping the low bits keeps any position inside and aligned.
        let first = ((position & self.mask) >> 3) as usize;
        debug_assert!(index < 8);
        // SAFETY:
        // - in bounds: `first` is below capacity / 8, and the mirror continues for another capacity, more than eight words.
        let word = unsafe { self.base.add(first + index) };
        // SAFETY:
        // - aligned: the base is page-aligned and `add` counts in words;
        // - no plain access: words of frame headers are reached through atomics only; where payload may stand, see `frame/copy.rs`;
        // - alive: the reference borrows `self`, which keeps the region.
        unsafe { word.as_ref() }
    }

    /// Asks for the cache line at `position`, to be written soon: a hint that changes nothing.
    #[inline(always)]
    pub(crate) fn prefetch_for_write(&self, position: u64) {
        let _line = self.word(position, 0).as_ptr();
        // SAFETY: a prefetch reads and writes nothing that a program could see, and no address makes it fault; 64-bit processors without
        // it, but for those of 2004, take it for a no-op.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) _line, options(readonly, nostack, preserves_flags));
        }
        // SAFETY: as above.
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        unsafe {
            std::arch::asm!("prfm pstl1keep, [{}]", in(reg) _line, options(readonly, nostack, preserves_flags));
        }
    }

    /// Asks for the cache lines between two positions, to be read soon: a hint that changes nothing.
    #[inline(always)]
    pub(crate) fn prefetch_for_read(&self, from: u64, to: u64) {
        let mut line = from & !(LINE_BYTES - 1);
        while line < to {
            self.prefetch_line_for_read(line);
            line += LINE_BYTES;
        }
    }

    #[inline(always)]
    fn prefetch_line_for_read(&self, position: u64) {
        let _line = self.word(position, 0).as_ptr();
        // SAFETY: a prefetch reads and writes nothing that a program could see, and no address makes it fault.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        unsafe {
            std::arch::asm!("prefetcht1 [{}]", in(reg) _line, options(readonly, nostack, preserves_flags));
        }
        // SAFETY: as above.
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        unsafe {
            std::arch::asm!("prfm pldl2keep, [{}]", in(reg) _line, options(readonly, nostack, preserves_flags));
        }
    }

    /// The payload of a frame, to be read.
    ///
    /// # Safety
    /// - `position + length` bytes are a committed record's payload, and whoever reads holds that space, so that no producer may write
    ///   it while the slice lives (trusts peers: crate docs, Trust);
    /// - `length` is at most the capacity.
    #[inline(always)]
    pub(crate) unsafe fn bytes<'a>(&self, position: u64, length: usize) -> &'a [u8] {
        let start = self.start(position, length);
        // SAFETY: in bounds by the assertion in `start`; initialised by the file; not written: the caller's obligation.
        unsafe { std::slice::from_raw_parts(start, length) }
    }

    /// The payload of an open claim, to be written.
    ///
    /// # Safety
    /// - `position + length` bytes lie inside a claim of the caller that is neither committed nor aborted while the slice lives, and
    ///   no other slice of it lives;
    /// - `length` is at most the capacity.
    #[inline(always)]
    pub(crate) unsafe fn bytes_mut<'a>(&self, position: u64, length: usize) -> &'a mut [u8] {
        let start = self.start(position, length);
        // SAFETY: in bounds by the assertion in `start`; initialised by the file; exclusive: the caller's obligation.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }

    #[inline(always)]
    fn start(&self, position: u64, length: usize) -> *mut u8 {
        assert!(length as u64 <= self.mask + 1);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "masked below the mapped capacity, which is a usize"
        )]
        let offset = (position & self.mask) as usize;
        // SAFETY: below the capacity; the range holds twice that.
        unsafe { self.base.cast::<u8>().add(offset) }.as_ptr()
    }
}
