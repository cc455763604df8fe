//! Options: how a log is made and opened for appending.
//!
//! | lock byte of LOCK | held by | for |
//! |-------------------|---------|-----|
//! | 0 | who opens, collects or repairs | the moment in which it takes byte 1 |
//! | 1 | the appender, or who collects or repairs, alone | its life: a second one hears `Busy`, who comes after a kill goes on at the end |
//!
//! ```text
//!   create: directory, LOCK, bytes 0 and 1, byte 0 free again, MANIFEST-00000001, CURRENT, then as open
//!   open:   LOCK, bytes 0 and 1, byte 0 free again, CURRENT, manifest, recovery, helpers
//! ```
//!
//! What a death in `create` leaves: a directory without CURRENT, which is no log yet; the next `create` goes on in it.
//!
//! (I1) nothing is read that another appender could be writing; (I2) a directory that others could write is refused; (I3) a directory with
//! somebody else's files is never made a log.

use super::appender::{Appender, Core};
use super::error::Trouble;
use super::manifest::{self, Found, Manifest};
use super::names::{self, Name};
use super::recover::{Recovery, recover};
use super::retention::Collected;
use super::shared::{Durability, Settings};
use crate::error::{Error, FileKind};
use crate::layout::manifest::State;
use crate::layout::mapped::WRITER_BYTE;
use crate::layout::segment::SegmentExtent;
use crate::map::clock;
use crate::map::disk::Disk;
use crate::map::file::{self, io_error};
use crate::map::lock::{Locks, SlotLock};
use crate::map::medium::Medium;
use crate::map::network::refuse_network;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long opening waits for byte 0: its holder recovers, or stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Creates logs, and opens them for appending.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("log");
/// use shm_ring::{Durability, LogOptions};
/// use std::time::Duration;
///
/// let options = LogOptions::new()
///     .segment_bytes(1 << 20)
///     .durability(Durability::Interval(Duration::from_millis(100)))
///     .keep_bytes(64 << 20);
/// let mut log = options.open_or_create(&path)?;
/// log.append(b"hello")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct LogOptions {
    segment_bytes: u64,
    durability: Durability,
    keep_bytes: Option<u64>,
    keep_for: Option<Duration>,
    mode: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl LogOptions {
    /// Segments of 64 MiB, [`Durability::Process`], everything kept, mode 0600.
    pub fn new() -> Self {
        Self {
            segment_bytes: 64 << 20,
            durability: Durability::Process,
            keep_bytes: None,
            keep_for: None,
            mode: 0o600,
        }
    }

    /// Room for records in each new segment: a multiple of 64 KiB, 64 KiB to 16 GiB. A record can have a quarter of it. Segments that are there
    /// stay as they are.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// How safe a record is, and when.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Lets go of the oldest segments when at least so many bytes are left without them. Counts with [`keep_for`](Self::keep_for): a segment
    /// goes when either lets it.
    pub fn keep_bytes(mut self, bytes: u64) -> Self {
        self.keep_bytes = Some(bytes);
        self
    }

    /// Lets go of the oldest segments when their newest record is older than that, by the records' own times.
    pub fn keep_for(mut self, time: Duration) -> Self {
        self.keep_for = Some(time);
        self
    }

    /// Permission bits of new files; others can be allowed to read. A directory that is made gets them too, with search where there is read.
    pub fn mode(mut self, bits: u32) -> Self {
        self.mode = bits;
        self
    }

    /// Creates a log in the directory `path`, which must not exist, or be empty.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] when there is a log, or anything else; [`Error::NoSpace`], [`Error::NetworkFileSystem`], [`Error::Invalid`],
    /// [`Error::Busy`] while somebody else creates it, [`Error::Io`].
    pub fn create(&self, path: impl AsRef<Path>) -> Result<Appender, Error> {
        let path = path.as_ref();
        let settings = self.settings()?;
        let mode = file::check_mode(self.mode)?;
        let directory_mode = mode | (mode & 0o444) >> 2;
        match DirBuilder::new().mode(directory_mode).create(path) {
            Ok(()) => file::sync_name(&file::absolute(path))?,
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
            Err(why) => return Err(io_error("create", path)(why)),
        }
        check_directory(path)?;
        let disk = Arc::new(Disk::new(path, mode));
        let is_free =
            |name: &String| matches!(Name::of(name), Name::Lock | Name::Manifest(_) | Name::Temporary);
        let exists = || Error::AlreadyExists { path: path.to_path_buf() };
        let names = disk.names().map_err(io_error("list", path))?;
        if !names.iter().all(is_free) {
            return Err(exists());
        }
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(mode)
            .custom_flags(libc::O_NOFOLLOW)
            .open(disk.path().join(names::LOCK))
            .map_err(io_error("create the lock of", path))?;
        self.append(path, &lock, disk, settings, |disk| {
            // Somebody may have been first, and be gone again.
            match manifest::read(&**disk) {
                Err(Trouble::NotFound) => {}
                Err(why) => return Err(why.at(path)),
                Ok(_) => return Err(exists()),
            }
            let (log_uuid, _) = clock::uuid().map_err(io_error("read", Path::new("/dev/urandom")))?;
            let state = State::new(log_uuid, clock::realtime_ns());
            Manifest::create(disk.clone(), state).map_err(|why| why.at(path))?;
            manifest::read(&**disk).map_err(|why| why.at(path))
        })
    }

    /// Opens the log in the directory `path` for appending, and recovers what the last appender left: see [`Appender::recovery`]. It goes on at
    /// the end of what was published; after a restart of the machine behind what still holds.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Busy`] while another appender lives; [`Error::WrongOwner`] and [`Error::WrongMode`] for a directory that
    /// others can write; [`Error::Corrupt`] and [`Error::Truncated`], with nothing changed in any segment: `shm-ring repair` says what can be
    /// done; [`Error::NoSpace`]; [`Error::Io`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Appender, Error> {
        let path = path.as_ref();
        let (lock, disk) = self.find(path)?;
        self.append(path, &lock, disk, self.settings()?, |disk| {
            manifest::read(&**disk).map_err(|why| why.at(path))
        })
    }

    /// Opens the log, or creates it when there is none.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open`](Self::open).
    pub fn open_or_create(&self, path: impl AsRef<Path>) -> Result<Appender, Error> {
        let path = path.as_ref();
        // More than once only when somebody creates or removes the log between our two looks.
        for _ in 0..100 {
            match self.open(path) {
                Err(Error::NotFound { .. }) => {}
                other => return other,
            }
            match self.create(path) {
                Err(Error::AlreadyExists { .. }) if self.has_log(path) => {}
                other => return other,
            }
        }
        self.open(path)
    }

    /// Lets go of what the limits allow, as an appender that never appends: see [`Log::gc`](super::inspect::Log::gc).
    pub(super) fn gc(&self, path: &Path) -> Result<Collected, Error> {
        if self.keep_bytes.is_none() && self.keep_for.is_none() {
            let (expected, found) = ("bytes or a time".into(), "neither".into());
            return Err(Error::Invalid { option: "keep", expected, found });
        }
        let (lock, disk) = self.find(path)?;
        let find = |disk: &Arc<Disk>| manifest::read(&**disk).map_err(|why| why.at(path));
        let (mut core, _, _held) = attach(path, &lock, &disk, self.settings()?, find)?;
        core.collect().map_err(|why| why.at(path))
    }

    fn has_log(&self, path: &Path) -> bool {
        !matches!(manifest::read(&Disk::new(path, 0o600)), Err(Trouble::NotFound))
    }

    fn find(&self, path: &Path) -> Result<(File, Arc<Disk>), Error> {
        check_directory(path)?;
        let disk = Arc::new(Disk::new(path, file::check_mode(self.mode)?));
        match file::open_regular(&disk.path().join(names::LOCK), FileKind::Log, true) {
            // Not made anew in passing: whoever holds bytes of the old one, which has no name any more, would not be seen.
            Err(Error::NotFound { .. }) if self.has_log(path) => {
                let expected =
                    "the log's lock file: `shm-ring repair` makes it anew, once nobody appends".into();
                let (path, found) = (disk.path().join(names::LOCK), "none".into());
                Err(Error::Corrupt { path, what: "file", expected, found })
            }
            Err(Error::NotFound { kind, .. }) => Err(Error::NotFound { kind, path: path.to_path_buf() }),
            other => Ok((other?.0, disk)),
        }
    }

    fn append(
        &self,
        path: &Path,
        lock: &File,
        disk: Arc<Disk>,
        settings: Settings,
        find: impl FnOnce(&Arc<Disk>) -> Result<Found, Error>,
    ) -> Result<Appender, Error> {
        let (core, report, held) = attach(path, lock, &disk, settings, find)?;
        Appender::new(core, report, disk.path(), held).map_err(|why| why.at(path))
    }

    fn settings(&self) -> Result<Settings, Error> {
        let invalid = |(option, expected, found): (_, &str, u64)| Error::Invalid {
            option,
            expected: expected.into(),
            found: found.to_string(),
        };
        let extent = SegmentExtent::new(self.segment_bytes, file::page_bytes()).map_err(invalid)?;
        if let Durability::Interval(every) = self.durability {
            if every.is_zero() {
                let (expected, found) = ("a time above 0, or `EachRecord`".into(), "0".into());
                return Err(Error::Invalid { option: "durability", expected, found });
            }
        }
        Ok(Settings {
            extent,
            durability: self.durability,
            keep_bytes: self.keep_bytes,
            keep_for: self.keep_for,
            boot: clock::boot_id(),
        })
    }
}

/// The appending half of a log, and the locks under which it may be one.
type Attached = (Core<Disk>, Recovery, (Locks, SlotLock));

/// Takes the locks, and recovers what is found under them.
fn attach(
    path: &Path,
    lock: &File,
    disk: &Arc<Disk>,
    settings: Settings,
    find: impl FnOnce(&Arc<Disk>) -> Result<Found, Error>,
) -> Result<Attached, Error> {
    let failed = io_error("lock", path);
    let busy = |what: &str| Error::Busy { what: format!("the {what} of {path:?}"), pid: 0 };
    let locks = Locks::new(lock, true).map_err(&failed)?;
    let alive = {
        // Not longer than that: byte 0 is held under the process lock, for which every ring of this process would wait while this log recovers.
        let repair = locks.repair(PATIENCE).map_err(&failed)?.ok_or_else(|| busy("set-up lock"))?;
        repair.take_slot(WRITER_BYTE).map_err(&failed)?.ok_or_else(|| busy("appender's place"))?
    };
    let found = find(disk)?;
    let (core, report) = recover(disk.clone(), settings, found).map_err(|why| why.at(path))?;
    Ok((core, report, (locks, alive)))
}

/// Refuses a directory in which others could put files of their own, or on a file system that other machines have a share in.
fn check_directory(path: &Path) -> Result<(), Error> {
    let directory = match OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NotFound { kind: FileKind::Log, path: path.to_path_buf() });
        }
        other => other.map_err(io_error("open", path))?,
    };
    refuse_network(&directory, path, FileKind::Log)?;
    file::check_owner(&directory, path, FileKind::Log)
}
