//! Options: what a new ring looks like, and creating it.
//!
//! (I1) options that describe the file are used when it is created and ignored when it is there; (I2) a ring appears complete or not
//! at all.

use super::wait::Wait;
use super::{Core, Ring, era};
use crate::error::{Error, FileKind};
use crate::layout::frame::{FRAME_ALIGN, POSITION_END};
use crate::layout::geometry::{Geometry, Shape, capacity_for};
use crate::layout::header::Header;
use crate::map::file::{self, Trust, Unpublished, io_error};
use crate::map::mirror::Access;
use crate::map::region::Region;
use crate::map::{clock, memfd};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Builds or opens a [`Ring`].
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("app.ring");
/// let ring = shm_ring::RingOptions::new().capacity(1 << 20).producers_max(8).create(&path)?;
/// assert_eq!(ring.capacity_bytes(), 1 << 20);
/// assert!(matches!(
///     shm_ring::RingOptions::new().create(&path),
///     Err(shm_ring::Error::AlreadyExists { .. })
/// ));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RingOptions {
    capacity_bytes: u64,
    producers_max: u16,
    consumers_max: u16,
    metadata: bool,
    single_producer: bool,
    mode: u32,
    wait: Wait,
    start: u64,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RingOptions {
    /// 4 MiB, 64 producers, 64 consumers, metadata, mode 0600, adaptive waiting.
    ///
    /// 4 MiB because a ring that stays in the shared cache is several times faster than one that does not.
    pub fn new() -> Self {
        Self {
            capacity_bytes: 4 << 20,
            producers_max: 64,
            consumers_max: 64,
            metadata: true,
            single_producer: false,
            mode: 0o600,
            wait: Wait::default(),
            start: 0,
        }
    }

    /// Bytes of data, frame headers included; rounded up to a power of two of at least a page. The longest record is a quarter of it.
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity_bytes = bytes;
        self
    }

    /// One producer at a time, which then claims without an atomic read-modify-write: the fastest mode.
    pub fn single_producer(mut self) -> Self {
        self.single_producer = true;
        self
    }

    /// How many producers can be attached at once, 1 to 4096.
    pub fn producers_max(mut self, slots: u16) -> Self {
        self.producers_max = slots;
        self
    }

    /// How many consumer names the ring knows at once, 1 to 4096.
    pub fn consumers_max(mut self, slots: u16) -> Self {
        self.consumers_max = slots;
        self
    }

    /// Whether each record carries a timestamp, its producer's sequence, a level and a kind: 16 bytes and one clock read.
    pub fn metadata(mut self, on: bool) -> Self {
        self.metadata = on;
        self
    }

    /// Permission bits of the file, whatever the umask. Processes of others that may write it need [`Ring::open_shared`].
    pub fn mode(mut self, bits: u32) -> Self {
        self.mode = bits;
        self
    }

    /// How handles that are taken from this `Ring` wait. Each process chooses for itself; it is not in the file.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Where positions begin; for tests of the far end.
    #[doc(hidden)]
    pub fn start_position(mut self, position: u64) -> Self {
        self.start = position;
        self
    }

    /// Creates the ring at `path`, which must be free.
    ///
    /// The whole file is allocated before it gets its name: a full disk is [`Error::NoSpace`] here, and not a signal later. On file systems that copy on
    /// write (btrfs, ZFS, XFS with shared extents) that is no promise: a store into allocated bytes, too, needs new space there, and ends in
    /// SIGBUS when there is none.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`], [`Error::NoSpace`], [`Error::NetworkFileSystem`], [`Error::Invalid`], [`Error::Io`]. Nothing is left behind.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<Ring, Error> {
        let path = path.as_ref();
        let header = self.header()?;
        let unpublished =
            Unpublished::new(path, FileKind::Ring, header.geometry.file_bytes, self.mode & 0o7777)?;
        file::write_header(unpublished.file(), &header.encode(), path)?;
        let region = Region::new(unpublished.file(), header.geometry, Access::ReadWrite, false)
            .map_err(io_error("map", path))?;
        region.populate(true).map_err(io_error("populate", path))?;
        let duplicate = unpublished.file().try_clone().map_err(io_error("duplicate", path))?;
        let ring = self.finish(duplicate, region, header, Some(path.to_path_buf()))?;
        unpublished.publish()?;
        Ok(ring)
    }

    /// Opens the ring at `path`; of the other options only [`wait`](Self::wait) counts.
    ///
    /// # Errors
    ///
    /// As [`Ring::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Ring, Error> {
        Ring::open_trusting(path.as_ref(), Trust::Owner, self.wait)
    }

    /// Opens the ring at `path`, or creates it when there is none. Any number of processes may race: one creates, all get the same.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open`](Self::open).
    pub fn open_or_create(&self, path: impl AsRef<Path>) -> Result<Ring, Error> {
        let path = path.as_ref();
        // More than once only when somebody removes the file between our two looks.
        for _ in 0..100 {
            match self.open(path) {
                Err(Error::NotFound { .. }) => {}
                other => return other,
            }
            match self.create(path) {
                Err(Error::AlreadyExists { .. }) => {}
                other => return other,
            }
        }
        self.open(path)
    }

    /// Creates a ring without a name, for this process and the children that it forks.
    ///
    /// It is a sealed memfd: the same bytes and the same code as a file. Each side of a fork takes its own producers and consumers.
    /// A producer waits only for consumers that have attached: give each name its place before the first producer begins, with a
    /// [durable](crate::ConsumerOptions::durable) consumer that is dropped again, if a child is to miss nothing.
    /// When every producer is gone and everything was read, consumers get [`PollError::Closed`](crate::PollError::Closed).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], [`Error::NoSpace`], [`Error::Io`].
    pub fn anonymous(&self) -> Result<Ring, Error> {
        let header = self.header()?;
        let file = memfd::create(header.geometry.file_bytes)?;
        let shown = Path::new("(anonymous ring)");
        file::write_header(&file, &header.encode(), shown)?;
        let region =
            Region::new(&file, header.geometry, Access::ReadWrite, true).map_err(io_error("map", shown))?;
        region.populate(true).map_err(io_error("populate", shown))?;
        self.finish(file, region, header, None)
    }

    fn header(&self) -> Result<Header, Error> {
        let page_bytes = file::page_bytes();
        let invalid = |option, expected: String, found: String| Error::Invalid { option, expected, found };
        let capacity_bytes = capacity_for(self.capacity_bytes, page_bytes).unwrap_or(self.capacity_bytes);
        let shape = Shape {
            capacity_bytes,
            producers_max: self.producers_max,
            consumers_max: self.consumers_max,
            metadata: self.metadata,
            single_producer: self.single_producer,
        };
        let geometry = Geometry::new(shape, page_bytes)
            .map_err(|u| invalid(u.option, u.expected, u.found.to_string()))?;
        if self.start % FRAME_ALIGN != 0 || self.start > POSITION_END {
            return Err(invalid(
                "start position",
                "a multiple of 16 up to 2^63".into(),
                self.start.to_string(),
            ));
        }
        let (uuid, secret) = clock::uuid().map_err(io_error("read", Path::new("/dev/urandom")))?;
        let nonce = secret | 1;
        Ok(Header { uuid, nonce, created_ns: clock::realtime_ns(), geometry })
    }

    fn finish(
        &self,
        file: File,
        region: std::sync::Arc<Region>,
        header: Header,
        path: Option<PathBuf>,
    ) -> Result<Ring, Error> {
        let core = Core::new(file, region, header, path, true, true)?;
        era::initialise(&core.table(), self.start);
        Ok(Ring::from_core(core, self.wait))
    }
}
