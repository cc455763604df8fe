//! Pool: thousands of files, opened in a budget.
//!
//! (I1) opening looks at headers only.

use super::feed::{Feed, Filled};
use super::pool_source::PoolSource;
use super::source::{SourceError, Stamp};
use super::stage::{Order, Stage, Staged, Tags};
#[cfg(feature = "arrow")]
use super::table::{Table, TimeUnit, feed::TableFeed};
use crate::error::{Error, FileKind};
use crate::log::item::LogItem;
use crate::log::reader::LogReader;
use crate::log::seek::LogStart;
use crate::map::budget::MapBudget;
use std::path::Path;

/// What is read at once of a table that is not mapped.
#[cfg(feature = "arrow")]
const TABLE_WINDOW_BYTES: u64 = 128 << 10;

/// How a pool opens, and what it may use.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    budget: MapBudget,
    memory_bytes: Option<u64>,
    order: Order,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl PoolOptions {
    /// Half of the maps and descriptors that the process may have, as much memory as is useful, a re-order window of 1,024 records.
    pub fn new() -> Self {
        Self { budget: MapBudget::new(), memory_bytes: None, order: Order::Reorder { n_records: 1024 } }
    }

    /// Maps and descriptors at most; what has none is read by system calls.
    #[must_use]
    pub fn budget(mut self, budget: MapBudget) -> Self {
        self.budget = budget;
        self
    }

    /// Bytes of memory at most, in this process and in the page cache, for all sources together.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = Some(bytes);
        self
    }

    /// What becomes of records that are older than one in front of them.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// A pool without sources.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`].
    pub fn build(self) -> Result<MapPool, Error> {
        Ok(MapPool { options: self })
    }
}

/// What a pool has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Sources that are open.
    pub n_sources: u64,
    /// Of these, how many have a map.
    pub n_mapped: u64,
    /// Refills that found their bytes mapped.
    pub n_hits: u64,
    /// Refills that had to map them.
    pub n_faults: u64,
    /// Maps that were given up for others.
    pub n_evictions: u64,
    /// Pieces of advice to the kernel.
    pub n_advice: u64,
    /// Bytes that were read ahead.
    pub ahead_bytes: u64,
    /// Bytes that were dropped behind.
    pub dropped_bytes: u64,
}

/// Thousands of sources, in the memory that is allowed.
#[derive(Debug)]
pub struct MapPool {
    options: PoolOptions,
}

impl MapPool {
    /// Opens a log (its directory), a segment of one, or a table, and looks at headers only.
    ///
    /// # Errors
    ///
    /// What can't be opened, or is none of these.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<PoolSource, Error> {
        let path = path.as_ref();
        if std::fs::metadata(path).is_ok_and(|found| found.is_file())
            && FileKind::of(path)? == FileKind::Table
        {
            #[cfg(feature = "arrow")]
            return self.open_table(path, None);
            #[cfg(not(feature = "arrow"))]
            return Err(Error::Unsupported {
                what: "a table (Arrow IPC file)",
                reason: format!("{path:?}: build with feature `arrow`", path = path.as_os_str()),
            });
        }
        let mut reader = LogReader::open(path)?;
        // What can't be read is told by the first step.
        let _ = reader.seek(LogStart::Oldest);
        let stage = Stage::new(self.options.order);
        Ok(PoolSource::log(path.display().to_string(), stage, LogFeed { reader }))
    }

    /// Opens a table, mapped as far as the budget allows it, which replays by another column than the one that is
    /// [usual](Table::time_column); the unit is for integers.
    ///
    /// # Errors
    ///
    /// As of [`Table::open`], and [`Error::Invalid`]: the column can't be one of times.
    #[cfg(feature = "arrow")]
    pub fn open_table(
        &self,
        path: impl AsRef<Path>,
        time: Option<(&str, TimeUnit)>,
    ) -> Result<PoolSource, Error> {
        let path = path.as_ref();
        let table = match Table::open_within(path, &self.options.budget) {
            Err(Error::OverBudget { .. }) => Table::open_parked(path)?,
            opened => opened?,
        };
        let table = match time {
            Some((name, unit)) => table.time_column(name, unit)?,
            None => table,
        };
        let feed = TableFeed::new(table, self.options.order, TABLE_WINDOW_BYTES)?;
        Ok(PoolSource::table(path.display().to_string(), Stage::new(self.options.order), feed))
    }

    /// What it has done.
    pub fn stats(&self) -> PoolStats {
        PoolStats::default()
    }
}

/// A log.
#[derive(Debug)]
pub(crate) struct LogFeed {
    reader: LogReader,
}

impl Feed for LogFeed {
    fn fill(&mut self, stage: &mut Stage) -> Result<Filled, SourceError> {
        let mut n = 0;
        while stage.room() > 0 {
            match self.reader.next()? {
                Some(LogItem::Record(record)) => {
                    let stamp = Stamp { timestamp_ns: record.timestamp_ns(), sequence: record.position() };
                    let tags =
                        Tags { producer: record.producer(), level: record.level(), kind: record.kind() };
                    stage.push_copy(stamp, &record, tags);
                    n += 1;
                }
                Some(LogItem::Gap(_)) => {}
                None => break,
            }
        }
        Ok(if n > 0 { Filled::Some } else { Filled::End })
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        Ok(self.reader.seek(LogStart::Since(since_ns))?)
    }

    fn bytes(&self, _: &Staged, _: u64) -> &[u8] {
        &[]
    }
}
