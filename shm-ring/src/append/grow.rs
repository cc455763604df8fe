//! Grow: how an append file gets room, ahead of the bytes.
//!
//! ```text
//!   0              len          ready                      capacity                          reserve
//!   | published    | free,      | free, allocated: the     | nothing: the file ends here     |
//!   |              | resident   | first touch costs        |                                 |
//!   +--------------+------------+--------------------------+---------------------------------+
//!                  push: no system call    make_ready: populate      extend: fallocate
//! ```
//!
//! The capacity doubles up to 512 KiB; from there it grows sixteenfold, by at most 64 MiB at a time, because each `fallocate` costs what
//! hundreds of pages do. Pages are made resident 256 KiB ahead: what was zeroed is still in the cache when it is written, no push waits for
//! long, and no page is dirtied long before it is used (`cargo bench -p benches --bench mapped -- --only growth`).
//!
//! (I1) every byte below the capacity has its place on the medium before it is written, so that a full disk is an error, except where the
//! file system writes to a new place each time (copy-on-write: btrfs, zfs, bcachefs, reflinked files of xfs); (I2) the capacity
//! counts whole pages and never falls; (I3) a failure changes nothing.

use super::AppendFile;
use super::error::{AppendError, errno_of};
use crate::map::file::{self, NotAllocated};

/// The capacity grows by no more at a time, unless a single push needs it.
pub(super) const STEP_BYTES_MAX: u64 = 64 << 20;
/// From here on steps are large.
const SMALL_BYTES: u64 = 512 << 10;
/// How far ahead of the bytes pages are made resident.
const AHEAD_BYTES: u64 = 256 << 10;

impl AppendFile {
    /// Makes room for bytes up to `end`, and makes them resident: what a push does when it can't go on without a system call.
    #[cold]
    pub(super) fn make_ready(&self, end: u64) -> Result<(), AppendError> {
        self.check()?;
        self.extend_to(end)?;
        let page_bytes = self.header.extent.page_bytes;
        let from = self.len.get() / page_bytes * page_bytes;
        let to = end.next_multiple_of(page_bytes).saturating_add(AHEAD_BYTES).min(self.capacity.get());
        self.populate(from, to)?;
        self.ready.set(to);
        Ok(())
    }

    /// Makes pages of data resident.
    pub(super) fn populate(&self, from: u64, to: u64) -> Result<(), AppendError> {
        let offset = self.header.extent.data_offset + from;
        self.map.populate(offset, to - from).map_err(|error| self.refused("populate", errno_of(&error)))
    }

    /// Makes the capacity at least `end`.
    pub(super) fn extend_to(&self, end: u64) -> Result<(), AppendError> {
        let (capacity, reserve_bytes) = (self.capacity.get(), self.reserve_bytes());
        if end <= capacity {
            return Ok(());
        }
        let page_bytes = self.header.extent.page_bytes;
        let full = AppendError::ReserveFull { needed_bytes: end, reserve_bytes };
        let least =
            end.checked_next_multiple_of(page_bytes).filter(|least| *least <= reserve_bytes).ok_or(full)?;
        let wanted =
            next_capacity(capacity, page_bytes).min(reserve_bytes / page_bytes * page_bytes).max(least);
        // A disk that is nearly full may have room for what is needed, if not for what would be good.
        self.extend(wanted).or_else(|why| if wanted > least { self.extend(least) } else { Err(why) })
    }

    /// Gives the bytes behind `target` their place, which are about to be written again: whoever made the file may have left holes there.
    pub(super) fn fill_holes(&self, target: u64) -> Result<(), AppendError> {
        let page_bytes = self.header.extent.page_bytes;
        let (from, to) = (target / page_bytes * page_bytes, self.holes_end.get());
        if from < to {
            let data_offset = self.header.extent.data_offset;
            file::fill_holes(&self.file, data_offset + from..data_offset + to)
                .map_err(|why| self.not_allocated(why, to - from))?;
            self.holes_end.set(from);
        }
        Ok(())
    }

    fn not_allocated(&self, why: NotAllocated, needed_bytes: u64) -> AppendError {
        match why {
            NotAllocated::NoSpace { free_bytes } => AppendError::NoSpace { needed_bytes, free_bytes },
            NotAllocated::Other(errno) => self.refused("allocate", errno as i32),
        }
    }

    fn extend(&self, capacity: u64) -> Result<(), AppendError> {
        let old = self.capacity.get();
        let data_offset = self.header.extent.data_offset;
        file::extend(&self.file, data_offset + old..data_offset + capacity)
            .map_err(|why| self.not_allocated(why, capacity - old))?;
        self.map.note_bytes(data_offset + capacity);
        self.capacity.set(capacity);
        Ok(())
    }

    /// Bytes of data that fit into the mapping.
    pub(super) fn reserve_bytes(&self) -> u64 {
        self.map.reserve_bytes() - self.header.extent.data_offset
    }
}

/// The capacity that follows when nothing more is needed than one byte.
fn next_capacity(capacity: u64, page_bytes: u64) -> u64 {
    let step = if capacity < SMALL_BYTES { capacity } else { capacity.saturating_mul(15) };
    capacity.saturating_add(step.clamp(page_bytes, STEP_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: growth costs little however far it goes: few steps, small at first, never by leaps. Method: every step to 6 GiB.
    #[test]
    fn the_capacity_grows_in_bounded_steps() {
        let (mut capacity, mut steps) = (4096, 0);
        while capacity < 6 << 30 {
            let next = next_capacity(capacity, 4096);
            let factor = if capacity < SMALL_BYTES { 2 } else { 16 };
            assert!(next > capacity && next <= factor * capacity && next - capacity <= STEP_BYTES_MAX);
            assert_eq!(next % 4096, 0);
            (capacity, steps) = (next, steps + 1);
        }
        assert!(steps <= 105, "{steps}");
        assert_eq!(next_capacity(0, 4096), 4096);
        assert_eq!(next_capacity(u64::MAX, 4096), u64::MAX);
    }
}
