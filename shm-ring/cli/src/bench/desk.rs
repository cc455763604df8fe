//! Desk: memory that two processes share without a ring, on which the machine's floor is measured.
//!
//! ```text
//!   line 0: there   line 2: back   line 4: written   line 6: read   ...   page 1: 64 chunks of 64 KiB
//!   producer -----> <---- consumer
//!   chunk n: written <= n: the producer's        read <= n < written: the consumer's        n < read: the producer's again
//! ```
//!
//! | pair | store | load | carries |
//! |------|-------|------|---------|
//! | D1   | `Line::put` | `Line::see` | whatever the sides did before |
//! | D2   | `Chunks::send`: written | `Chunks::receive` | the chunk's bytes |
//! | D3   | `Chunks::receive`: read | `Chunks::send` | that the chunk was read |
//!
//! (I1) all words are reached through atomics only; (I2) a chunk is touched by the side that the words say; (I3) one process is the producer
//! and one the consumer, which who starts them sees to. The only unsafe code of the tool.
#![expect(unsafe_code, reason = "references into memory that another process maps, too")]

use memmap2::{MmapOptions, MmapRaw};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is copied at once.
pub(super) const CHUNK_BYTES: usize = 64 << 10;
/// As much as a ring holds by default.
pub(super) const N_CHUNKS: u64 = 64;
const DATA_OFFSET: usize = 4096;
const DESK_BYTES: usize = DATA_OFFSET + CHUNK_BYTES * 64;
/// Looks before the processor is given away: more than a trip takes, unless the other side is not running.
const LOOKS: u32 = 20_000;

/// A word on cache lines of its own; two, because prefetchers fetch them in pairs.
#[derive(Debug)]
#[repr(C, align(128))]
struct Word(AtomicU64);

#[derive(Debug)]
#[repr(C)]
struct Words {
    there: Word,
    back: Word,
    written: Word,
    read: Word,
}

const _: () = {
    assert!(size_of::<Words>() <= DATA_OFFSET && align_of::<Words>() <= DATA_OFFSET);
    assert!(DESK_BYTES as u64 == DATA_OFFSET as u64 + N_CHUNKS * CHUNK_BYTES as u64);
};

/// The memory.
#[derive(Debug)]
pub(super) struct Desk {
    map: MmapRaw,
}

impl Desk {
    /// Makes the file, all of it allocated.
    pub(super) fn create(path: &Path) -> io::Result<()> {
        io::copy(&mut io::Read::take(io::repeat(0), DESK_BYTES as u64), &mut File::create_new(path)?)?;
        Ok(())
    }

    /// Maps it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { map: MmapOptions::new().len(DESK_BYTES).populate().map_raw(&file)? })
    }

    /// This side's word, and the other's.
    pub(super) fn line(&self, is_producer: bool) -> Line<'_> {
        let Words { there, back, .. } = self.words();
        let (ours, theirs) = if is_producer { (there, back) } else { (back, there) };
        Line { ours: &ours.0, theirs: &theirs.0 }
    }

    /// The way for bytes, whichever side this is.
    pub(super) fn chunks(&mut self) -> Chunks<'_> {
        Chunks { desk: self }
    }

    fn words(&self) -> &Words {
        // SAFETY:
        // - in bounds, aligned: the map is `DESK_BYTES` long and starts at a page, asserted above; the file was that long when it was
        //   made, and nobody but us knows its name;
        // - no plain access: every process reaches these bytes through atomics only (I1);
        // - alive: the reference borrows `self`, which owns the map.
        unsafe { &*self.map.as_ptr().cast::<Words>() }
    }

    fn chunk(&self, n: u64) -> *mut u8 {
        let number = usize::try_from(n % N_CHUNKS).expect("less than 64");
        self.map.as_mut_ptr().wrapping_add(DATA_OFFSET + number * CHUNK_BYTES)
    }
}

/// A word each way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    ours: &'a AtomicU64,
    theirs: &'a AtomicU64,
}

impl Line<'_> {
    /// What was put last.
    pub(super) fn last(self) -> u64 {
        // ORDER none (Relaxed): only this side writes it.
        self.ours.load(Ordering::Relaxed)
    }

    /// Shows the other side a value.
    #[inline(always)]
    pub(super) fn put(self, value: u64) {
        // ORDER D1 (Release, pairs with `see`): what this side did before.
        self.ours.store(value, Ordering::Release);
    }

    /// What the other side shows, once it fits.
    #[inline(always)]
    pub(super) fn see(self, fits: impl Fn(u64) -> bool) -> u64 {
        // ORDER D1 (Acquire, pairs with `put`): as above, the other way.
        wait_for(|| Some(self.theirs.load(Ordering::Acquire)).filter(|value| fits(*value)))
    }
}

/// Chunks of bytes, in order, from the producer to the consumer.
#[derive(Debug)]
pub(super) struct Chunks<'a> {
    desk: &'a mut Desk,
}

impl Chunks<'_> {
    /// Copies a chunk in, when there is room. The producer's.
    pub(super) fn send(&mut self, bytes: &[u8; CHUNK_BYTES]) {
        let Words { written, read, .. } = self.desk.words();
        // ORDER none (Relaxed): only this side writes it.
        let n = written.0.load(Ordering::Relaxed);
        // ORDER D3 (Acquire, pairs with `receive`): the consumer is done with the chunk before it is overwritten.
        wait_for(|| Some(read.0.load(Ordering::Acquire)).filter(|read| n - read < N_CHUNKS));
        // SAFETY:
        // - in bounds: a chunk's number is below `N_CHUNKS`, asserted above; any address is aligned for bytes;
        // - exclusive: the consumer gave the chunk back (D3) and looks at it again after D2;
        // - no overlap: `bytes` is a shared reference, and nothing shared points into the chunk.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.desk.chunk(n), CHUNK_BYTES) };
        // ORDER D2 (Release, pairs with `receive`): the chunk.
        written.0.store(n + 1, Ordering::Release);
    }

    /// Waits until all that was sent has been received. The producer's.
    pub(super) fn flush(&mut self) {
        let Words { written, read, .. } = self.desk.words();
        // ORDER none (Relaxed): only this side writes it, and nothing is read after it.
        let n = written.0.load(Ordering::Relaxed);
        wait_for(|| Some(read.0.load(Ordering::Relaxed)).filter(|read| *read == n));
    }

    /// Hands over the next chunk, in place, when it is there. The consumer's.
    pub(super) fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        let Words { written, read, .. } = self.desk.words();
        // ORDER none (Relaxed): only this side writes it.
        let n = read.0.load(Ordering::Relaxed);
        // ORDER D2 (Acquire, pairs with `send`): no byte of the chunk is read before.
        wait_for(|| Some(written.0.load(Ordering::Acquire)).filter(|written| *written > n));
        // SAFETY:
        // - in bounds, aligned: as in `send`; initialised: the file was written when it was made;
        // - not written to: the producer waits for D3, and the slice is gone by then.
        let seen = look(unsafe { std::slice::from_raw_parts(self.desk.chunk(n), CHUNK_BYTES) });
        // ORDER D3 (Release, pairs with `send`): the reads above.
        read.0.store(n + 1, Ordering::Release);
        seen
    }
}

/// Looks until there is something; lets others run if that takes long, for the other side may need this processor.
#[inline(always)]
fn wait_for(mut look: impl FnMut() -> Option<u64>) -> u64 {
    loop {
        for _ in 0..LOOKS {
            if let Some(found) = look() {
                return found;
            }
        }
        std::thread::yield_now();
    }
}
