//! Pool: thousands of files, opened in a budget.
//!
//! ```text
//!   open: recognise --> headers --> a permit? -- yes --> mapped: read ahead, and dropped behind where there is a cap
//!                                            \-- no ---> parked: a block at a time, copied
//! ```
//!
//! (I1) opening looks at headers only; (I2) a source that is parked gives the same records as one that is mapped; (I3) what can't be opened is
//! refused by name.

use super::find;
use super::hand_over::HandOver;
use super::log_feed::LogFeed;
use super::pool_source::{Kind, PoolSource};
use super::ring_feed::RingFeed;
use super::row_feed::RowFeed;
use super::rows::RowLayout;
use super::seat::Seat;
use super::shared::{Shared, load};
use super::stage::Order;
#[cfg(feature = "arrow")]
use super::{rows::TimeUnit, table::feed::TableFeed};
use crate::error::{Error, FileKind, PollError};
use crate::log::reader::LogReader;
use crate::map::budget::MapBudget;
use crate::map::file::{self, io_error};
use crate::map::limits;
use crate::ring::Ring;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How late a record comes out of a ring, if nothing was said.
const LATENESS: Duration = Duration::from_millis(10);
/// What is read of a file when it is opened, and of most files first: the system itself reads as much.
const EXPECTED_BYTES: u64 = 16 << 10;

/// How a pool opens, and what it may use.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    budget: Option<MapBudget>,
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
    /// Half of the maps and descriptors that the process may have, as much memory as is useful, a re-order window of 16 records, logs as
    /// far as they go now.
    pub fn new() -> Self {
        Self { budget: None, memory_bytes: None, order: Order::Reorder { n_records: 16 }, lateness: None }
    }

    /// Maps and descriptors at most: a mapped segment of a log takes one of each. What has no map is copied, a block at a time, for which one
    /// map and up to three descriptors more are used for a moment, as one is by the thread that reads ahead where the memory has no
    /// [cap](Self::memory_bytes). Without a budget: half of what `vm.max_map_count` and the limit of
    /// descriptors (`ulimit -n`) allow; who replays more logs at once than that without copies sets a higher limit.
    ///
    /// What a ring takes, and a log that is read with its ring, is not counted here.
    #[must_use]
    pub fn budget(mut self, budget: MapBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Bytes of memory at most, in this process and in the page cache, for all sources together.
    ///
    /// They are divided into windows, in front of and behind where each source is read: equal ones at first, then by how much of all that is
    /// read is read there. What is behind a window is dropped from the page cache, too, as far as no other process has it mapped. Records that
    /// are longer than their window, batches of tables that are compressed, dictionaries, and what a re-order window holds back, come on top. Without it, nothing is dropped.
    ///
    /// Sources that are added while others are read take their windows from those: each of them gives back when it is read on.
    ///
    /// A ring counts as any source does, with a window's worth of copies; its own bytes, which are in memory for all who use it, do not.
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

    /// Logs grow: where one ends for now, more is waited for, none of it older than `lateness` ago. Without this, a log ends at the end that it
    /// has when it is met.
    #[must_use]
    pub fn follow(mut self, lateness: Duration) -> Self {
        self.lateness = Some(lateness);
        self
    }

    /// A pool without sources.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a memory in which there is no room for a source.
    pub fn build(self) -> Result<MapPool, Error> {
        let budget = self.budget.unwrap_or_else(limits::half);
        let shared = Shared::new(budget, self.order, self.lateness, self.memory_bytes);
        shared.check(1)?;
        shared.reserve.fill();
        Ok(MapPool { shared: Arc::new(shared) })
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
    /// Refills that had no map.
    pub n_faults: u64,
    /// Maps that were given up for others.
    pub n_evictions: u64,
    /// Pieces of advice to the kernel.
    pub n_advice: u64,
    /// Bytes that were asked for ahead.
    pub ahead_bytes: u64,
    /// Bytes that were dropped behind.
    pub dropped_bytes: u64,
}

/// Thousands of sources, in the memory that is allowed.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # for symbol in ["a", "b"] {
/// #     let options = shm_ring::LogOptions::new().segment_bytes(64 << 10);
/// #     let mut appender = options.create(directory.path().join(symbol))?;
/// #     appender.append_at(7, symbol.as_bytes())?;
/// # }
/// use shm_ring::replay::{MapPool, Merge, PoolOptions};
///
/// let pool = PoolOptions::new().build()?;
/// let mut merge = Merge::new();
/// for path in MapPool::find(directory.path())? {
///     merge.add(pool.open(path)?);
/// }
/// let mut n_records = 0;
/// while let Some(event) = merge.next()? {
///     assert_eq!(event.stamp.timestamp_ns, 7);
///     n_records += 1;
/// }
/// assert_eq!((n_records, pool.stats().n_sources), (2, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MapPool {
    shared: Arc<Shared>,
}

impl MapPool {
    /// Opens a log (its directory) or a sealed segment of one (its file), and looks at headers only.
    ///
    /// # Errors
    ///
    /// What can't be opened, or is none of these; [`Error::NotSealed`] for a segment that may be appended to; [`Error::WrongMode`] and
    /// [`Error::WrongOwner`] for what others than this user and root can write; [`Error::Invalid`] when there is no memory for one more.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<PoolSource, Error> {
        let path = path.as_ref();
        // Most files are told by their names.
        let is_segment = path.extension().is_some_and(|extension| extension == "seg");
        let feed = if is_segment {
            match LogFeed::open_segment(path, &self.shared) {
                // A log may be called so, too.
                Err(_) if path.is_dir() => self.open_by_kind(path)?,
                opened => Kind::Log(opened?),
            }
        } else {
            self.open_by_kind(path)?
        };
        Ok(PoolSource::new(path, feed, &self.shared))
    }

    /// Opens a file of rows of one length; plain, or sealed by this library. One that others than this user and root can write, or on a network
    /// file system, is copied from and not mapped. The checksum of a sealed file's data is not compared: [`Snapshot::open`](crate::Snapshot)
    /// does that.
    ///
    /// Rows are expected in the order of their times, up to the re-order window, as everywhere; [`Source::seek`](super::source::Source::seek)
    /// searches by halves, and finds, where rows are out of order, one of that time or later behind one that is older.
    ///
    /// # Errors
    ///
    /// What can't be opened; [`Error::Invalid`] for a layout that can't be, or a file that is no whole number of rows.
    pub fn open_rows(&self, path: impl AsRef<Path>, layout: RowLayout) -> Result<PoolSource, Error> {
        let path = path.as_ref();
        let feed = RowFeed::open(path, layout, &self.shared)?;
        Ok(PoolSource::new(path, Kind::Rows(feed), &self.shared))
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
        let lateness = self.shared.lateness.unwrap_or(LATENESS);
        let reader = LogReader::open(log)?;
        let feed = HandOver::open(reader, Ring::open_observer(ring)?, lateness, &self.shared)?;
        Ok(PoolSource::new(log, Kind::Other(Box::new(feed)), &self.shared))
    }

    /// Opens a table, mapped as far as the budget allows it, which replays by another column than the one that is
    /// [usual](super::table::Table::time_column); the unit is for integers.
    ///
    /// # Errors
    ///
    /// As of [`Table::open`](super::table::Table::open), and [`Error::Invalid`]: the column can't be one of times.
    #[cfg(feature = "arrow")]
    pub fn open_table(
        &self,
        path: impl AsRef<Path>,
        time: Option<(&str, TimeUnit)>,
    ) -> Result<PoolSource, Error> {
        let path = path.as_ref();
        let looked = self.look(path, FileKind::Table)?;
        let feed = TableFeed::open(path, looked, time, &self.shared)?;
        Ok(PoolSource::new(path, Kind::Table(feed), &self.shared))
    }

    /// What there is to open below a directory, in the order of names: logs (their directories), segments outside of logs, tables, rings.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for a directory that can't be listed.
    pub fn find(directory: impl AsRef<Path>) -> Result<Vec<PathBuf>, Error> {
        find::find(directory.as_ref())
    }

    /// Tells which files are opened next, so that they begin to be read meanwhile: by a thread, without a wait. A hint, of any number of
    /// files, and for the first pages of each only. Does nothing where the memory has a [cap](PoolOptions::memory_bytes).
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// use shm_ring::replay::{MapPool, Merge, PoolOptions};
    ///
    /// let pool = PoolOptions::new().build()?;
    /// let paths = MapPool::find(directory.path())?;
    /// pool.expect(&paths);
    /// let mut merge = Merge::new();
    /// for path in paths {
    ///     merge.add(pool.open(path)?);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expect(&self, paths: impl IntoIterator<Item = impl AsRef<Path>>) {
        let Some(helper) = self.shared.helper() else { return };
        for path in paths {
            helper.wish(path.as_ref().to_path_buf(), 0..EXPECTED_BYTES);
        }
    }

    /// What it has done.
    pub fn stats(&self) -> PoolStats {
        let counts = &self.shared.counts;
        PoolStats {
            n_sources: load(&counts.n_sources),
            n_mapped: load(&counts.n_mapped),
            n_hits: load(&counts.n_hits),
            n_faults: load(&counts.n_faults),
            n_evictions: load(&counts.n_evictions),
            n_advice: load(&counts.n_advice),
            ahead_bytes: load(&counts.ahead_bytes),
            dropped_bytes: load(&counts.dropped_bytes),
        }
    }

    fn look(&self, path: &Path, kind: FileKind) -> Result<Looked, Error> {
        self.shared.open(|| Looked::at(path, kind))
    }

    /// Opens what has not been told by its name.
    fn open_by_kind(&self, path: &Path) -> Result<Kind, Error> {
        // Directories seldom have an extension.
        if path.extension().is_none() {
            if let Some(device) = device_of_directory(path)? {
                return Ok(Kind::Log(LogFeed::open(path, device, &self.shared)?));
            }
        }
        let looked = match self.look(path, FileKind::Segment) {
            Err(error @ Error::NotRegular { .. }) => match device_of_directory(path)? {
                Some(device) => return Ok(Kind::Log(LogFeed::open(path, device, &self.shared)?)),
                None => return Err(error),
            },
            looked => looked?,
        };
        if looked.magic == crate::layout::segment::MAGIC_SEGMENT {
            return Ok(Kind::Log(LogFeed::open_segment(path, &self.shared)?));
        }
        if looked.magic == crate::layout::header::MAGIC {
            let feed = RingFeed::new(Ring::open_observer(path)?, Seat::aside(&self.shared)?);
            let feed = feed.map_err(|why| unreadable(path, &why))?;
            return Ok(Kind::Other(Box::new(feed)));
        }
        if looked.is_table() {
            #[cfg(feature = "arrow")]
            return Ok(Kind::Table(TableFeed::open(path, looked, None, &self.shared)?));
            #[cfg(not(feature = "arrow"))]
            return Err(Error::Unsupported {
                what: "a table (Arrow IPC file)",
                reason: format!("{}: build with feature `arrow`", path.display()),
            });
        }
        let found = format!("{:?}", String::from_utf8_lossy(&looked.magic[..looked.n_magic]));
        Err(Error::OtherKind { path: path.to_path_buf(), expected: FileKind::Segment, found })
    }
}

/// A file that was opened, and how it begins.
#[derive(Debug)]
pub(crate) struct Looked {
    #[cfg_attr(not(feature = "arrow"), expect(dead_code, reason = "only tables are read through it"))]
    pub(crate) file: File,
    #[cfg_attr(not(feature = "arrow"), expect(dead_code, reason = "only tables are read through it"))]
    pub(crate) found: Metadata,
    magic: [u8; 8],
    n_magic: usize,
}

impl Looked {
    fn at(path: &Path, kind: FileKind) -> Result<Self, Error> {
        let (file, found) = file::open_found(path, kind, false)?;
        let mut magic = [0; 8];
        let n_magic = file::read_at_most(&file, &mut magic, 0).map_err(io_error("read", path))?;
        Ok(Self { file, found, magic, n_magic })
    }

    /// Whether it begins as a table.
    pub(crate) fn is_table(&self) -> bool {
        self.magic.starts_with(&crate::layout::table::MAGIC)
    }
}

/// Where a directory is; `None`: it is none.
fn device_of_directory(path: &Path) -> Result<Option<u64>, Error> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.is_dir().then(|| found.dev())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::NotFound { kind: FileKind::Log, path: path.to_path_buf() })
        }
        Err(error) => Err(io_error("examine", path)(error)),
    }
}

/// A ring that can't be gone to the beginning of.
fn unreadable(path: &Path, why: &PollError) -> Error {
    let source = std::io::Error::other(why.to_string());
    Error::Io { operation: "read", path: path.to_path_buf(), source }
}
