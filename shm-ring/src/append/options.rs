//! Options: how an append file is made, mapped and synced; creating it and opening it.
//!
//! (I1) an append file appears complete or not at all; (I2) who opens one for writing has lock byte 1 before it believes a word of the
//! live page, and checks what it believes against the length of the file.

use super::durable::{is_cut_by_restart, store_boot};
use super::error::AppendError;
use super::follow::Follower;
use super::grow::STEP_BYTES_MAX;
use super::import::Legacy;
use super::{AppendFile, PATIENCE, Rest, publish};
use crate::error::{Error, FileKind};
use crate::layout::mapped::{Extent, Header, Kind, WRITER_BYTE};
use crate::map::file::{self, MappedFile, NotAllocated, Trust, Unpublished, io_error};
use crate::map::growable::Growable;
use crate::map::lock::{Locks, SlotLock};
use crate::map::mirror::Access;
use crate::map::{clock, seal};
use crate::sync::Ordering;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What of a new file is made resident before it gets its name; more than that by the pushes that come to it.
const RESIDENT_BYTES_MAX: u64 = 64 << 20;

/// No file is longer, and no length that says so is believed.
const FILE_BYTES_MAX: u64 = 1 << 62;

/// When a push brings what it wrote to the medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// Never: [`AppendFile::sync`] does, when the caller wants it. Safe against the death of every process, not against that of the machine.
    #[default]
    Never,
    /// Before it returns, and before followers see it. When that fails, they may have seen it all the same.
    EachPush,
    /// Whenever so long has passed since the last time, and when the file is closed. No thread does it: who pushes no more has to
    /// [sync](AppendFile::sync).
    Interval(Duration),
}

/// Creates, opens and follows append files.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("app.bytes");
/// use shm_ring::{AppendOptions, SyncPolicy};
///
/// let options = AppendOptions::new().capacity(1 << 20).sync(SyncPolicy::EachPush);
/// let file = options.open_or_create(&path)?;
/// assert_eq!((file.capacity_bytes(), file.len()), (1 << 20, 0));
/// file.push(b"on the medium when this returns")?;
/// assert_eq!(file.durable_len(), file.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct AppendOptions {
    capacity_bytes: u64,
    reserve_bytes: u64,
    mode: u32,
    policy: SyncPolicy,
}

impl Default for AppendOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl AppendOptions {
    /// 512 KiB of capacity, 64 GiB of reserve, mode 0600, never synced.
    pub fn new() -> Self {
        Self { capacity_bytes: 512 << 10, reserve_bytes: 64 << 30, mode: 0o600, policy: SyncPolicy::Never }
    }

    /// Bytes of data that a new file has room for at once, rounded up to whole pages. It grows when they are used up.
    ///
    /// They are allocated, here and whenever it grows, so that a full disk is an error and not a signal. On file systems that copy on
    /// write (btrfs, ZFS, XFS with shared extents) that is no promise: a store into allocated bytes, too, needs new space there, and ends in
    /// SIGBUS when there is none.
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity_bytes = bytes;
        self
    }

    /// Bytes of data that the file can grow to while it is open here: addresses, not memory. Each handle chooses for itself.
    pub fn reserve(mut self, bytes: u64) -> Self {
        self.reserve_bytes = bytes;
        self
    }

    /// Permission bits of a new file, whatever the umask. Others can be allowed to follow it; such as let them write it are refused.
    /// Whoever may read the file can lock its bytes: keep it from being cleared, as a pin does, or from being opened.
    pub fn mode(mut self, bits: u32) -> Self {
        self.mode = bits;
        self
    }

    /// When pushes of this handle reach the medium.
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Creates the append file at `path`, which must be free.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`], [`Error::NoSpace`], [`Error::NetworkFileSystem`], [`Error::Invalid`], [`Error::Io`]. Nothing is left behind,
    /// unless a policy that syncs could not sync the name, which it does last.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<AppendFile, Error> {
        self.create_with(path.as_ref(), self.capacity_bytes, |_| Ok(()))
    }

    /// Opens the append file at `path` for writing; [`capacity`](Self::capacity) and [`mode`](Self::mode) stay what they are.
    ///
    /// # Errors
    ///
    /// As [`AppendFile::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<AppendFile, Error> {
        let path = path.as_ref();
        let found = file::open(path, &MappedFile(FileKind::Append), true, Trust::Owner)?;
        let extent = found.header.extent;
        let mapped = |file_bytes| {
            let reserve_bytes = self.reserve_for(&extent, file_bytes);
            map(&found.file, &extent, file_bytes, reserve_bytes, Access::ReadWrite, path)
        };
        let mut map = mapped(found.file_bytes)?;
        let lock = take_writer(&found.file, &map, path)?;
        // Until now, another writer may have made it longer.
        let found_bytes = found.file.metadata().map_err(io_error("examine", path))?.len();
        if found_bytes > map.reserve_bytes() {
            map = mapped(found_bytes)?;
        }
        map.note_bytes(found_bytes);
        // A file that somebody cut inside a page is made whole again.
        let file_bytes = found_bytes.checked_next_multiple_of(extent.page_bytes).unwrap_or(found_bytes);
        if is_sealed(&map, &found.header, path)? {
            return Err(Error::Sealed { path: path.to_path_buf() });
        }
        let data_offset = extent.data_offset;
        let len = match check_len(&map, &found.header, &found.file, path) {
            // The length was on the medium before that of the file was.
            Err(Error::Truncated { .. }) if is_cut_by_restart(map.live(), found_bytes - data_offset) => {
                found_bytes - data_offset
            }
            other => other?,
        };
        // What was copied from elsewhere may have holes, and a hole may be where the disk is full. Far behind the length nobody needs them
        // filled, and below it nobody does before bytes are given up.
        let page_of_len = len / extent.page_bytes * extent.page_bytes;
        let allocated = file_bytes.min((data_offset + page_of_len).saturating_add(STEP_BYTES_MAX));
        for range in [0..data_offset, data_offset + page_of_len..allocated] {
            file::fill_holes(&found.file, range).map_err(|why| not_allocated(why, path, file_bytes))?;
        }
        map.note_bytes(file_bytes);
        let capacity = allocated - data_offset;
        let this = self.attach(map, found.file, lock, found.header, path, capacity);
        publish::finish(this.map.live(), len);
        if publish::look(this.map.live()).len_bytes != len {
            publish::give_up(this.map.live(), len);
        }
        this.len.set(len);
        // Whatever a writer left that was killed, or that gave it up.
        this.touched.set(file_bytes - data_offset);
        this.holes_end.set(page_of_len);
        this.find_durable().map_err(|error| not_synced(error, path))?;
        Ok(this)
    }

    /// Opens the append file at `path`, or creates it when there is none.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open`](Self::open).
    pub fn open_or_create(&self, path: impl AsRef<Path>) -> Result<AppendFile, Error> {
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

    /// Follows the append file at `path`; of the options only [`reserve`](Self::reserve) counts.
    ///
    /// # Errors
    ///
    /// As [`AppendFile::follow`].
    pub fn follow(&self, path: impl AsRef<Path>) -> Result<Follower, Error> {
        let path = path.as_ref();
        let found = file::open(path, &MappedFile(FileKind::Append), false, Trust::Anybody)?;
        let reserve_bytes = self.reserve_for(&found.header.extent, found.file_bytes);
        let map =
            map(&found.file, &found.header.extent, found.file_bytes, reserve_bytes, Access::ReadOnly, path)?;
        is_sealed(&map, &found.header, path)?;
        check_len(&map, &found.header, &found.file, path)?;
        Follower::new(map, found.file, found.header, path)
    }

    /// Creates an append file with the bytes of a legacy one, and these options.
    ///
    /// # Errors
    ///
    /// As [`AppendFile::import`].
    pub fn import(&self, legacy: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<AppendFile, Error> {
        let legacy = Legacy::open(legacy.as_ref())?;
        let capacity_bytes = self.capacity_bytes.max(legacy.len_bytes());
        self.create_with(path.as_ref(), capacity_bytes, |file| legacy.copy_into(file))
    }

    fn create_with(
        &self,
        path: &Path,
        capacity_bytes: u64,
        fill: impl FnOnce(&AppendFile) -> Result<(), Error>,
    ) -> Result<AppendFile, Error> {
        let page_bytes = file::page_bytes();
        let invalid = |(option, expected, found): (_, &str, u64)| Error::Invalid {
            option,
            expected: expected.into(),
            found: found.to_string(),
        };
        let extent = Extent::new(Kind::Append, page_bytes).map_err(invalid)?;
        let capacity = capacity_bytes.max(1).checked_next_multiple_of(page_bytes);
        let (capacity, file_bytes) = capacity
            .and_then(|capacity| Some((capacity, capacity.checked_add(extent.data_offset)?)))
            .filter(|(_, file_bytes)| *file_bytes <= FILE_BYTES_MAX)
            .ok_or_else(|| invalid(("capacity", "less than 2^62 bytes", capacity_bytes)))?;
        let (uuid, _) = clock::uuid().map_err(io_error("read", Path::new("/dev/urandom")))?;
        let header = Header { uuid, created_ns: clock::realtime_ns(), kind: Kind::Append, extent };
        let unpublished = Unpublished::new(path, FileKind::Append, file_bytes, file::check_mode(self.mode)?)?;
        file::write_header(unpublished.file(), &header.encode(), path)?;
        let file = unpublished.file().try_clone().map_err(io_error("duplicate", path))?;
        let reserve_bytes = self.reserve_for(&extent, file_bytes);
        let map = map(&file, &extent, file_bytes, reserve_bytes, Access::ReadWrite, path)?;
        let lock = take_writer(&file, &map, path)?;
        store_boot(map.live());
        let resident = capacity.min(RESIDENT_BYTES_MAX);
        map.populate(0, extent.data_offset + resident).map_err(io_error("populate", path))?;
        let this = self.attach(map, file, lock, header, path, capacity);
        this.ready.set(resident);
        this.rest.set(Rest::Made);
        this.is_word_known.set(true);
        fill(&this)?;
        if self.policy == SyncPolicy::Never {
            // A name without a header would be in the way of everybody.
            this.map.sync(0, page_bytes).map_err(io_error("sync", path))?;
            unpublished.publish()?;
            return Ok(this);
        }
        // Complete on the medium before its name is, and then the name.
        unpublished.file().sync_all().map_err(io_error("sync", path))?;
        unpublished.publish()?;
        this.sync().map_err(|error| not_synced(error, path))?;
        Ok(this)
    }

    /// A handle of a file in which nothing is published.
    fn attach(
        &self,
        map: Arc<Growable>,
        file: File,
        (locks, alive): (Locks, SlotLock),
        header: Header,
        path: &Path,
        capacity: u64,
    ) -> AppendFile {
        // ORDER none (Relaxed): display only.
        map.live().era.0.writer_pid.store(std::process::id().into(), Ordering::Relaxed);
        AppendFile {
            map,
            file,
            locks,
            _alive: alive,
            header,
            path: path.to_path_buf(),
            directory: file::absolute(file::directory_of(path)),
            policy: self.policy,
            len: Cell::new(0),
            ready: Cell::new(0),
            capacity: Cell::new(capacity),
            touched: Cell::new(0),
            holes_end: Cell::new(0),
            durable: Cell::new(0),
            doubtful: Cell::new((0, 0)),
            rest: Cell::new(Rest::Found),
            is_word_known: Cell::new(false),
            synced_at_ns: Cell::new(clock::monotonic_ns()),
            failed: Cell::new(None),
        }
    }

    /// The length of a mapping: at least the file, in whole pages.
    fn reserve_for(&self, extent: &Extent, file_bytes: u64) -> u64 {
        let wanted = self.reserve_bytes.saturating_add(extent.data_offset).max(file_bytes);
        wanted.checked_next_multiple_of(extent.page_bytes).unwrap_or(wanted)
    }
}

pub(super) fn map(
    file: &File,
    extent: &Extent,
    file_bytes: u64,
    reserve_bytes: u64,
    access: Access,
    path: &Path,
) -> Result<Arc<Growable>, Error> {
    Growable::new(file, *extent, file_bytes, reserve_bytes, access).map_err(|error| {
        use io::ErrorKind::{InvalidData, InvalidInput, OutOfMemory};
        if !matches!(error.kind(), OutOfMemory | InvalidInput | InvalidData) {
            return io_error("map", path)(error);
        }
        Error::Invalid {
            option: "reserve",
            expected: "an address range that this process may still map (`ulimit -v` shows its limit)".into(),
            found: format!("{reserve_bytes} bytes"),
        }
    })
}

/// Byte 1, under byte 0.
fn take_writer(file: &File, map: &Growable, path: &Path) -> Result<(Locks, SlotLock), Error> {
    let failed = io_error("lock", path);
    let writer_pid = &map.live().era.0.writer_pid;
    let busy = |what: &str| Error::Busy {
        what: format!("the {what} of {path:?}"),
        // ORDER none (Relaxed): display only.
        pid: u32::try_from(writer_pid.load(Ordering::Relaxed)).unwrap_or(0),
    };
    let locks = Locks::new(file, true).map_err(&failed)?;
    let alive = {
        let repair = locks.repair(PATIENCE).map_err(&failed)?.ok_or_else(|| busy("repair lock"))?;
        repair.take_slot(WRITER_BYTE).map_err(&failed)?.ok_or_else(|| busy("writer's place"))?
    };
    Ok((locks, alive))
}

/// Whether the file is finished, if what the live page says of that can be.
fn is_sealed(map: &Growable, header: &Header, path: &Path) -> Result<bool, Error> {
    match seal::load(map.live(), &header.uuid) {
        Ok(seal) => Ok(seal.is_some()),
        Err(malformed) => Err(file::corrupt(path, malformed)),
    }
}

/// The published length, if it can be.
pub(super) fn check_len(map: &Growable, header: &Header, file: &File, path: &Path) -> Result<u64, Error> {
    let len_bytes = publish::look(map.live()).len_bytes;
    let (path, expected_bytes) = (path.to_path_buf(), header.extent.data_offset.saturating_add(len_bytes));
    if expected_bytes > FILE_BYTES_MAX {
        let (expected, found) = (format!("at most {FILE_BYTES_MAX}"), len_bytes.to_string());
        return Err(Error::Corrupt { path, what: "length", expected, found });
    }
    // Behind the look: a writer makes the file longer before it publishes what is there.
    let found_bytes = file.metadata().map_err(io_error("examine", &path))?.len();
    map.note_bytes(found_bytes);
    if expected_bytes > found_bytes {
        return Err(Error::Truncated { kind: FileKind::Append, path, expected_bytes, found_bytes });
    }
    Ok(len_bytes)
}

fn not_synced(why: AppendError, path: &Path) -> Error {
    let source = match why {
        AppendError::SyncFailed { errno } | AppendError::System { errno, .. } => {
            io::Error::from_raw_os_error(errno)
        }
        other => io::Error::other(other),
    };
    io_error("sync", path)(source)
}

fn not_allocated(why: NotAllocated, path: &Path, needed_bytes: u64) -> Error {
    match why {
        NotAllocated::NoSpace { free_bytes } => {
            Error::NoSpace { kind: FileKind::Append, path: path.to_path_buf(), needed_bytes, free_bytes }
        }
        NotAllocated::Other(errno) => io_error("allocate", path)(errno.into()),
    }
}
