//! Remake: the files that a repair makes: copies of what is damaged, and segments that take the place of others.
//!
//! (I1) a file has its name when all of it is on the medium, and what had the name before is kept by whoever calls; (I2) a death leaves a
//! temporary file, which the next one who makes it removes.
//! Decides nothing: `repair.rs` does.

use super::error::{Trouble, no_room};
use super::names;
use super::segment::index_bytes;
use super::view::{Look, live_words};
use crate::layout::segment::{IndexEntry, SegmentHeader};
use crate::map::medium::{Medium, MediumFile};
use std::io;

/// Bytes are copied in parts of that size.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes of a file that are kept under another name.
pub(super) struct Aside {
    pub(super) of: String,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) name: String,
}

/// A segment that gets a new file.
pub(super) struct Remake {
    pub(super) header: SegmentHeader,
    pub(super) look: Look,
    pub(super) index: Vec<IndexEntry>,
    /// The live page is the old file's.
    pub(super) keeps_live: bool,
    /// How much of the old file there is; 0: its frames are all gone.
    pub(super) there_bytes: u64,
}

impl Aside {
    /// Copies the bytes to where nobody changes them.
    pub(super) fn copy<M: Medium>(&self, medium: &M) -> Result<(), Trouble> {
        let temporary = names::temporary(&self.name);
        // What a death left.
        let _ = medium.remove(&temporary);
        let write = || {
            let from = medium.open(&self.of, false)?;
            let made = medium.create(&temporary, 0)?;
            copy(&from, self.from, self.to, &made, 0)?;
            made.sync()?;
            medium.rename(&temporary, &self.name)
        };
        write().map_err(|why| {
            let _ = medium.remove(&temporary);
            no_room("copy to", &self.name, self.to - self.from, medium.free_bytes())(why)
        })
    }
}

impl Remake {
    /// Makes the segment anew, and gives it the name.
    pub(super) fn make<M: Medium>(&self, medium: &M) -> Result<(), Trouble> {
        let (name, extent) = (names::segment(self.header.number), self.header.extent);
        let temporary = names::temporary(&name);
        // What a death left.
        let _ = medium.remove(&temporary);
        let write = || {
            // A file that only stands for one has no frames, and needs no place for them.
            let allocated = if self.there_bytes == 0 { 0 } else { extent.file_bytes };
            let made = medium.create(&temporary, allocated)?;
            if allocated == 0 {
                made.write_at(&[0], extent.file_bytes - 1)?;
            }
            made.write_at(&self.header.encode(), 0)?;
            if self.keeps_live {
                let to = extent.index_offset.min(self.there_bytes);
                copy(&medium.open(&name, false)?, extent.live_offset, to, &made, extent.live_offset)?;
            } else {
                let words = live_words(&self.look, &self.header.uuid);
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                made.write_at(&bytes, extent.live_offset)?;
            }
            let index: Vec<u8> = self.index.iter().flat_map(index_bytes).collect();
            made.write_at(&index, extent.index_offset)?;
            if self.there_bytes > 0 {
                let from = medium.open(&name, false)?;
                copy(&from, extent.data_offset, self.there_bytes, &made, extent.data_offset)?;
            }
            made.sync()?;
            medium.rename(&temporary, &name)
        };
        write().map_err(|why| {
            let _ = medium.remove(&temporary);
            no_room("make anew", &name, extent.file_bytes, medium.free_bytes())(why)
        })
    }
}

/// Copies bytes `from..to`, as far as there are any.
fn copy<F: MediumFile>(source: &F, from: u64, to: u64, target: &F, at: u64) -> io::Result<()> {
    let mut bytes = vec![0; PIECE_BYTES];
    let mut done = from;
    while done < to {
        let length = usize::try_from(to - done).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let n = source.read_at(&mut bytes[..length], done)?;
        if n == 0 {
            break;
        }
        target.write_at(&bytes[..n], at + (done - from))?;
        done += n as u64;
    }
    Ok(())
}
