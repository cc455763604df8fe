//! Advice: what the kernel is told about pages of mapped files: to read ahead, and to let go.
//!
//! ```text
//!   file    | dropped              | kept         | read ahead      | not there
//!                                  ^ pinned       ^ cursor
//!   ahead   MADV_WILLNEED in pieces: one call reads no more than the device's read-ahead, and does not wait
//!   behind  MADV_DONTNEED, for the resident set, then posix_fadvise(DONTNEED), for the page cache: the second leaves pages that are mapped
//! ```
//!
//! (I1) advice changes no byte: what was let go is read again by whoever touches it; (I2) only whole pages are let go of; (I3) a
//! descriptor that is opened again by its name is used only if it is of the same file.
//! All of it is a hint: what the system refuses is left as it is.

use super::disk::{DiskMap, Identity};
use super::file::open_found;
use super::readonly::ReadOnly;
use crate::error::FileKind;
use memmap2::{Advice, MmapRaw, UncheckedAdvice};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// What one call reads ahead for sure.
const PIECE_BYTES: u64 = 128 << 10;

/// A map that takes advice; offsets are from where the map begins.
pub(crate) trait Advised {
    /// Its range; `None`: there is nothing to advise.
    fn mapped(&self) -> Option<&MmapRaw>;

    /// Nothing is read but what is touched or [asked for](Self::read_ahead); nor is more mapped than is near, though the page cache may have
    /// it in folios of 2 MiB, as files that were just written are.
    fn read_nothing_ahead(&self) {
        if let Some(range) = self.mapped() {
            // Hints.
            let _ = range.advise(Advice::Random);
            let _ = range.advise(Advice::NoHugePage);
        }
    }

    /// The range of bytes is begun to be read; the number of calls.
    fn read_ahead(&self, wanted: Range<u64>) -> u64 {
        let Some(range) = self.mapped() else { return 0 };
        let end = wanted.end.min(range.len() as u64);
        let (mut at, mut n) = (wanted.start, 0);
        while at < end {
            let piece = PIECE_BYTES.min(end - at);
            let (Ok(start), Ok(length)) = (usize::try_from(at), usize::try_from(piece)) else { break };
            // A hint.
            let _ = range.advise_range(Advice::WillNeed, start, length);
            (at, n) = (at + piece, n + 1);
        }
        n
    }

    /// Takes these bytes, in whole pages, out of the resident set.
    fn let_go(&self, unwanted: Range<u64>) {
        let Some(range) = self.mapped() else { return };
        let end = unwanted.end.min(range.len() as u64);
        let (Ok(start), Ok(end)) = (usize::try_from(unwanted.start), usize::try_from(end)) else { return };
        if start < end {
            // SAFETY:
            // - a map of a file that is shared with it, and that nobody writes through this map: what is let go of is read again from the
            //   file, the same bytes, so that no slice changes under anybody;
            // - in bounds: asserted by `unchecked_advise_range`.
            let _ = unsafe { range.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
        }
    }
}

impl Advised for DiskMap {
    fn mapped(&self) -> Option<&MmapRaw> {
        Some(self.range())
    }
}

impl Advised for ReadOnly {
    fn mapped(&self) -> Option<&MmapRaw> {
        self.range()
    }
}

/// Takes these bytes of a file out of the page cache, as far as nobody else has them mapped; whether that was asked for.
pub(crate) fn forget_cached(path: &Path, identity: Identity, unwanted: Range<u64>) -> bool {
    forget_cached_parts(path, identity, std::iter::once(unwanted))
}

/// Of several parts.
pub(crate) fn forget_cached_parts(
    path: &Path,
    identity: Identity,
    mut unwanted: impl Iterator<Item = Range<u64>>,
) -> bool {
    let Ok((file, found)) = open_found(path, FileKind::Plain, false) else { return false };
    Identity::of(&found) == identity && unwanted.all(|part| forget_cached_of(&file, part))
}

/// Of what is read through that description, nothing is read ahead.
pub(crate) fn read_nothing_ahead_of(file: &File) {
    // A hint.
    let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM);
}

/// The part begins to be read into the page cache; does not wait until it is there.
pub(crate) fn read_ahead_of(file: &File, wanted: Range<u64>) {
    // A hint.
    let _ = advise_part(file, wanted, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
}

/// [`forget_cached`] by a descriptor.
pub(crate) fn forget_cached_of(file: &File, unwanted: Range<u64>) -> bool {
    advise_part(file, unwanted, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
}

/// Whether the system took it; of no bytes there is nothing to tell, for to the system that is the whole file.
fn advise_part(file: &File, part: Range<u64>, advice: PosixFadviseAdvice) -> bool {
    let (Ok(start), Ok(length)) =
        (i64::try_from(part.start), i64::try_from(part.end.saturating_sub(part.start)))
    else {
        return false;
    };
    length > 0 && posix_fadvise(file, start, length, advice).is_ok()
}
