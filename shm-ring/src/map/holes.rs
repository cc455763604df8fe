//! Holes: parts of a file that have no place on the medium, found and filled.
//!
//! ```text
//!   file   | data | hole | data ... | hole |  |  allocated behind the end: counted as blocks, and none of a hole's
//! ```
//!
//! A copy has holes where a tool has left out zeros. A store there finds no place when the disk is full, and is SIGBUS then.
//!
//! (I1) what is allocated stays, with its bytes; (I2) a part that is reserved and was never written looks like a hole, and is asked for
//! again: in pieces where a file system wants room for all of it that it then does not need.

use super::file::{NotAllocated, allocate_range};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

/// What is asked for at a time where there was no room for more.
const PIECE_BYTES: u64 = 1 << 20;

/// Gives every hole below `end`, where the file ends or further in, its place on the medium. Moves the position of the description, which
/// nobody uses.
pub(crate) fn fill(file: &File, end: u64) -> Result<(), NotAllocated> {
    // Where it is not, what could be had in pieces would only be taken from others.
    let may_be_reserved = file.metadata().is_ok_and(|found| found.blocks().saturating_mul(512) >= end);
    let mut from = 0;
    while let Some(hole) = next(file, from, end)? {
        allocate_range(file, hole.clone()).or_else(|why| {
            if !may_be_reserved {
                return Err(why);
            }
            let mut starts = (hole.start..hole.end).step_by(PIECE_BYTES.try_into().expect("64-bit only"));
            starts.try_for_each(|start| allocate_range(file, start..hole.end.min(start + PIECE_BYTES)))
        })?;
        from = hole.end;
    }
    Ok(())
}

/// The first hole from there on.
fn next(file: &File, from: u64, end: u64) -> Result<Option<Range<u64>>, NotAllocated> {
    let seek = |at: u64, whence| {
        let at = i64::try_from(at).map_err(|_| NotAllocated::Other(Errno::EFBIG))?;
        match lseek(file, at, whence) {
            Ok(found) => Ok(u64::try_from(found).unwrap_or(end)),
            // No data from there on; and a file system that can't tell has no holes to show.
            Err(Errno::ENXIO | Errno::EINVAL) => Ok(end),
            Err(error) => Err(NotAllocated::Other(error)),
        }
    };
    if from >= end {
        return Ok(None);
    }
    let start = seek(from, Whence::SeekHole)?;
    if start >= end {
        return Ok(None);
    }
    Ok(Some(start..seek(start, Whence::SeekData)?.min(end)))
}
