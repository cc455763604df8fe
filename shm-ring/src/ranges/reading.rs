//! Reading: what of a ranged file is written, and the bytes of it, without a receipt.
//!
//! | the boot id in the file is | what counts as written |
//! |----------------------------|------------------------|
//! | this boot's, or the file is in use | what the tables say |
//! | another one                | what is marked durable: nothing else is believed by whoever opens the file next |
//!
//! (I1) bytes are copied, and thrown away if any were freed meanwhile (U7 to U10: `allocator.rs`); (I2) loads only: the mapping may be
//! read-only.

use super::allocator::Table;
use super::bits::{Bits, Run};
use super::refusal::RangeError;
use crate::map::growable::Growable;
use crate::sync::AtomicU64;
use std::ops;

/// How often bytes are read again because something was freed meanwhile.
const READ_ATTEMPTS: u32 = 100;

/// A file, and which of its tables is believed.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) map: &'a Growable,
    pub(super) table: Table<'a>,
    /// Bytes of data.
    pub(super) size_bytes: u64,
    /// Whether only what is marked durable counts.
    pub(super) after_reboot: bool,
}

impl<'a> Reading<'a> {
    /// Copies written bytes; a file that was cut is for the caller to notice.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), RangeError> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.size_bytes {
            return Err(RangeError::OutOfBounds { start: offset, end, size_bytes: self.size_bytes });
        }
        if buffer.is_empty() {
            return Ok(());
        }
        let unit = self.table.unit;
        let first = unit.floor(offset);
        let run = Run { first, n: unit.ceil(end) - first };
        for _ in 0..READ_ATTEMPTS {
            let generation = if self.after_reboot {
                self.table.begin_reading_durable(run)
            } else {
                self.table.begin_reading(run)
            };
            let generation = generation.ok_or(RangeError::NotWritten)?;
            self.map.copy_out(offset, buffer);
            if self.table.end_reading(generation) {
                return Ok(());
            }
        }
        Err(RangeError::Unsettled)
    }

    /// The runs of units that are written, or that are not, as bytes of the data; they end where the file turns out to be cut, or is another
    /// process's.
    pub(super) fn runs(self, written: bool) -> impl Iterator<Item = ops::Range<u64>> + 'a {
        let believed = self.after_reboot.then(|| self.marks());
        let mut from = 0;
        std::iter::from_fn(move || {
            // A child that goes on with its parent's iterator finds its end, and so does who meets the zeros of a file that was cut.
            self.check().ok()?;
            let table = believed.as_deref().map_or(self.table.written, Bits::new);
            let run = table.next_run(from, self.table.n_units, written)?;
            self.check().ok()?;
            from = run.end();
            Some(self.bytes(run))
        })
    }

    /// The bytes of these units that the data has.
    pub(super) fn bytes(&self, run: Run) -> ops::Range<u64> {
        let unit_bytes = self.table.unit.bytes();
        run.first * unit_bytes..(run.end() * unit_bytes).min(self.size_bytes)
    }

    /// What is marked durable, as bits.
    pub(super) fn marks(&self) -> Vec<AtomicU64> {
        let n_words = self.table.written.words().len();
        (0..n_words).map(|index| AtomicU64::new(self.table.durable.bits(index))).collect()
    }

    fn check(&self) -> Result<(), RangeError> {
        match () {
            () if !self.map.is_here() => Err(RangeError::Forked),
            () if self.map.was_hit() => Err(RangeError::Truncated),
            () => Ok(()),
        }
    }
}
