//! Rows: where in a row its time is, and in what unit.
//!
//! (I1) a time is an integer from the file to the record, and what does not fit 64 bits of nanoseconds is an error.
//! Works on bytes and numbers.

use super::source::SourceError;
use crate::error::Error;

/// How a file of rows is laid out, for [`MapPool::open_rows`](super::pool::MapPool::open_rows).
///
/// ```
/// use shm_ring::replay::{RowLayout, TimeUnit};
///
/// // struct Tick { symbol: u32, price: u32, time_ms: i64 }
/// let layout = RowLayout { row_bytes: 16, timestamp_at: 8, unit: TimeUnit::Millis };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLayout {
    /// Bytes of a row.
    pub row_bytes: u32,
    /// Where in a row its time is: a little-endian integer of 8 bytes, since the Unix epoch. It may be signed; none may be before the epoch.
    pub timestamp_at: u32,
    /// What the integer counts.
    pub unit: TimeUnit,
}

/// What an integer of time counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Thousandths.
    Millis,
    /// Millionths.
    Micros,
    /// Billionths.
    #[default]
    Nanos,
}

impl TimeUnit {
    /// Nanoseconds of one.
    #[inline(always)]
    pub(super) fn ns(self) -> u64 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }
}

impl RowLayout {
    /// Whether a row has its time.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.row_bytes < 8 || self.timestamp_at > self.row_bytes - 8 {
            return Err(Error::Invalid {
                option: "timestamp_at",
                expected: "the place of 8 bytes inside a row".into(),
                found: format!("{} of a row of {} bytes", self.timestamp_at, self.row_bytes),
            });
        }
        Ok(())
    }

    /// The time of a row, ns since the Unix epoch.
    #[inline(always)]
    pub(crate) fn time(&self, word: [u8; 8], row: u64) -> Result<u64, SourceError> {
        let value = i64::from_le_bytes(word);
        let time = u64::try_from(value).ok().and_then(|value| value.checked_mul(self.unit.ns()));
        time.ok_or_else(|| self.no_time(row, value))
    }

    #[cold]
    fn no_time(&self, row: u64, value: i64) -> SourceError {
        let column = format!("its bytes from {} on", self.timestamp_at);
        SourceError::NoTime { row, column, found: value.to_string() }
    }
}
