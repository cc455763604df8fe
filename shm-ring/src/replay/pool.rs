//! Pool: thousands of files, opened in a budget.
//!
//! (I1) opening looks at headers only.

use super::feed::{Feed, Filled};
use super::pool_source::PoolSource;
use super::source::{SourceError, Stamp};
use super::stage::{Order, Stage, Staged, Tags};
use crate::error::Error;
use crate::log::item::LogItem;
use crate::log::reader::LogReader;
use crate::log::seek::LogStart;
use crate::map::budget::MapBudget;
use crate::ring::Ring;
use crate::ring::names::Start;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a pool opens, and what it may use.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    budget: MapBudget,
    memory_bytes: Option<u64>,
    order: Order,
    lateness: Option<Duration>,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl PoolOptions {
    /// Half of the maps and descriptors that the process may have, as much memory as is useful, a re-order window of 1,024 records.
    pub fn new() -> Self {
        Self {
            budget: MapBudget::new(),
            memory_bytes: None,
            order: Order::Reorder { n_records: 1024 },
            lateness: None,
        }
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

    /// Sources that grow are followed; a record may come so long after its time.
    #[must_use]
    pub fn follow(mut self, lateness: Duration) -> Self {
        self.lateness = Some(lateness);
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
        if path.is_file() {
            return self.open_ring(path);
        }
        let mut reader = LogReader::open(path)?;
        // What can't be read is told by the first step.
        let _ = reader.seek(LogStart::Oldest);
        let stage = Stage::new(self.options.order);
        Ok(PoolSource::log(
            path.display().to_string(),
            stage,
            LogFeed { reader, lateness: self.options.lateness, n_gaps: 0 },
        ))
    }

    fn open_ring(&self, path: &Path) -> Result<PoolSource, Error> {
        let mut observer = Ring::open_observer(path)?;
        let _ = observer.seek(Start::Oldest);
        let mut loaded = Loaded::default();
        let mut payload = vec![];
        while let Ok(Some(info)) = observer.try_next(&mut payload) {
            let stamp =
                Stamp { timestamp_ns: info.timestamp_ns.unwrap_or_default(), sequence: info.position };
            let tags = Tags { producer: info.producer, level: info.level, kind: info.kind };
            loaded.records.push((stamp, payload.clone(), tags));
        }
        let stage = Stage::new(self.options.order);
        Ok(PoolSource::loaded(path.display().to_string(), stage, loaded))
    }

    /// Opens a file of rows.
    ///
    /// # Errors
    ///
    /// What can't be read.
    pub fn open_rows(&self, path: impl AsRef<Path>, layout: RowLayout) -> Result<PoolSource, Error> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::Io {
            operation: "read",
            path: path.into(),
            source,
        })?;
        let mut loaded = Loaded::default();
        for (sequence, row) in (0..).zip(bytes.chunks_exact(layout.row_bytes as usize)) {
            let time = &row[layout.timestamp_at as usize..][..8];
            let ns = u64::from_le_bytes(time.try_into().expect("eight bytes")) * layout.unit.ns();
            loaded.records.push((Stamp { timestamp_ns: ns, sequence }, row.to_vec(), Tags::default()));
        }
        let stage = Stage::new(self.options.order);
        Ok(PoolSource::loaded(path.display().to_string(), stage, loaded))
    }

    /// Opens a log that is gone on with in its ring.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with_ring(
        &self,
        log: impl AsRef<Path>,
        _ring: impl AsRef<Path>,
    ) -> Result<PoolSource, Error> {
        self.open(log)
    }

    /// What there is to open in a directory, by name.
    ///
    /// # Errors
    ///
    /// What can't be listed.
    pub fn find(directory: impl AsRef<Path>) -> Result<Vec<PathBuf>, Error> {
        let path = directory.as_ref();
        let failed = |source| Error::Io { operation: "list", path: path.into(), source };
        let mut found = vec![];
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let is_ring = path.is_file() && Ring::open_observer(&path).is_ok();
            if is_ring || path.is_dir() && LogReader::open(&path).is_ok() {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
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
    lateness: Option<Duration>,
    pub(crate) n_gaps: u64,
}

/// Rows of a fixed size.
#[derive(Clone, Copy, Debug)]
pub struct RowLayout {
    /// Bytes of a row.
    pub row_bytes: u32,
    /// Where in it its time is, an integer of 64 bits.
    pub timestamp_at: u32,
    /// Of the time.
    pub unit: TimeUnit,
}

/// Of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// 1 s
    Seconds,
    /// 1e-3 s
    Millis,
    /// 1e-6 s
    Micros,
    /// 1e-9 s
    Nanos,
}

impl TimeUnit {
    fn ns(self) -> u64 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }
}

/// Everything in memory.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    records: Vec<(Stamp, Vec<u8>, Tags)>,
    at: usize,
}

impl Feed for Loaded {
    fn fill(&mut self, stage: &mut Stage) -> Result<Filled, SourceError> {
        let from = self.at;
        while let (1.., Some((stamp, payload, tags))) = (stage.room(), self.records.get(self.at)) {
            stage.push_copy(*stamp, payload, *tags);
            self.at += 1;
        }
        Ok(if self.at > from { Filled::Some } else { Filled::End })
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        let later = |record: &(Stamp, Vec<u8>, Tags)| record.0.timestamp_ns >= since_ns;
        self.at = self.records.iter().position(later).unwrap_or(self.records.len());
        Ok(())
    }

    fn bytes(&self, _: &Staged, _: u64) -> &[u8] {
        &[]
    }
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
                Some(LogItem::Gap(_)) => self.n_gaps += 1,
                None => break,
            }
        }
        Ok(match self.lateness {
            _ if n > 0 => Filled::Some,
            None => Filled::End,
            Some(lateness) => {
                let late = u64::try_from(lateness.as_nanos()).unwrap_or(u64::MAX);
                let not_before_ns = crate::map::clock::realtime_ns().saturating_sub(late);
                Filled::NotYet { not_before_ns }
            }
        })
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        Ok(self.reader.seek(LogStart::Since(since_ns))?)
    }

    fn bytes(&self, _: &Staged, _: u64) -> &[u8] {
        &[]
    }
}
