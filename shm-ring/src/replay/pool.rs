//! Pool: thousands of files, opened in a budget.
//!
//! (I1) opening looks at headers only.

use super::feed::{Feed, Filled};
use super::hand_over::HandOver;
use super::pool_source::PoolSource;
use super::ring_feed::RingFeed;
use super::source::{SourceError, Stamp};
use super::stage::{Order, Stage, Staged, Tags};
use crate::error::{Error, FileKind, PollError};
use crate::log::item::LogItem;
use crate::log::reader::LogReader;
use crate::log::seek::LogStart;
use crate::map::budget::MapBudget;
use crate::ring::Ring;
use std::path::Path;
use std::time::Duration;

/// How a pool opens, and what it may use.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    budget: MapBudget,
    memory_bytes: Option<u64>,
    order: Order,
    lateness: Option<Duration>,
}

/// How late a record comes out of a ring, if nothing was said.
const LATENESS: Duration = Duration::from_millis(10);

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

    /// Sources that others still write do not end; a record is seen at most so long after its time, or late.
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
        if path.is_file() && FileKind::of(path)? == FileKind::Ring {
            let feed = RingFeed::new(Ring::open_observer(path)?, self.options.lateness);
            let feed = feed.map_err(|why| unreadable(path, &why))?;
            let name = path.display().to_string();
            return Ok(PoolSource::ring(name, Stage::new(self.options.order), feed));
        }
        let mut reader = LogReader::open(path)?;
        // What can't be read is told by the first step.
        let _ = reader.seek(LogStart::Oldest);
        let stage = Stage::new(self.options.order);
        Ok(PoolSource::log(path.display().to_string(), stage, LogFeed { reader }))
    }

    /// Opens a log, and behind it the ring that is recorded in it: goes over into the ring where the log ends, without a gap or a repeat, and
    /// follows it. It does so whether somebody records at the time or not; should the ring overwrite what comes next before it is read, the
    /// log has it, and it goes back there. What neither of them has any more is [counted](PoolSource::stats).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a ring that is not the one in the log, or is behind what the log has of it, as a ring that was restored from a
    /// copy is. A ring that has survived a restart of the machine since is taken, from its oldest record on, with a gap. What can't be opened.
    pub fn open_with_ring(&self, log: impl AsRef<Path>, ring: impl AsRef<Path>) -> Result<PoolSource, Error> {
        let (log, ring) = (log.as_ref(), ring.as_ref());
        let lateness = self.options.lateness.unwrap_or(LATENESS);
        let feed = HandOver::open(LogReader::open(log)?, Ring::open_observer(ring)?, lateness)?;
        Ok(PoolSource::hand_over(log.display().to_string(), Stage::new(self.options.order), feed))
    }

    /// What it has done.
    pub fn stats(&self) -> PoolStats {
        PoolStats::default()
    }
}

/// A ring that can't be gone to the beginning of.
fn unreadable(path: &Path, why: &PollError) -> Error {
    let source = std::io::Error::other(why.to_string());
    Error::Io { operation: "read", path: path.to_path_buf(), source }
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
