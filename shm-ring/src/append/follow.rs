//! Follow: reading an append file while it grows, from any process, without being waited for.
//!
//! | how      | bytes | the writer |
//! |----------|-------|------------|
//! | `read_at`| copied, and thrown away if they were given up meanwhile | never notices |
//! | `pin`    | in place, as long as the `Pinned` lives | hears `Pinned` when it wants to give bytes up |
//!
//! (I1) the mapping is read-only, and nothing is written but lock byte 2; (I2) no byte is touched before the file was seen to be that
//! long: the length word of somebody else's file may say anything; (I3) a slice is handed out of a file only that nobody but this user can
//! write.

use super::error::{FollowError, errno_of};
use super::{PATIENCE, publish};
use crate::error::{Error, FileKind};
use crate::layout::mapped::{Header, PIN_BYTE, WRITER_BYTE};
use crate::map::file::{self, io_error};
use crate::map::growable::Growable;
use crate::map::lock::{Locks, SlotLock};
use crate::map::seal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks of somebody who waits.
const PAUSE_MIN: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// Reads an append file while another handle, here or in another process, writes it.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("app.bytes");
/// # let writer = shm_ring::AppendOptions::new().create(&path)?;
/// # writer.push(b"hello")?;
/// use std::time::Duration;
///
/// let mut follower = shm_ring::AppendFile::follow(&path)?;
/// let mut seen = 0;
/// # for _ in 0..1 {
/// // One turn of a loop that shows what comes.
/// let len = follower.wait(seen, Duration::from_secs(1))?;
/// let mut news = vec![0; usize::try_from(len - seen)?];
/// follower.read_at(seen, &mut news)?;
/// seen = len;
/// # assert_eq!(news, b"hello");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Follower {
    map: Arc<Growable>,
    file: File,
    locks: Locks,
    header: Header,
    path: PathBuf,
    /// The last one that the caller was told of.
    era: u64,
}

impl Follower {
    /// Follows from now on.
    pub(super) fn new(map: Arc<Growable>, file: File, header: Header, path: &Path) -> Result<Self, Error> {
        let locks = Locks::new(&file, false).map_err(io_error("open the locks of", path))?;
        let era = publish::look(map.live()).era;
        Ok(Self { map, file, locks, header, path: path.to_path_buf(), era })
    }

    /// Bytes that are whole and published now. 0 on the other side of a fork.
    pub fn len(&self) -> u64 {
        if self.map.is_here() { publish::look(self.map.live()).len_bytes } else { 0 }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the bytes from `offset` on into the whole of `bytes`.
    ///
    /// # Errors
    ///
    /// [`FollowError::Cleared`], once for what was given up since the last call, with nothing that could be used in `bytes`;
    /// [`FollowError::OutOfBounds`] for bytes that are not published; [`FollowError::Truncated`], [`FollowError::ReserveFull`],
    /// [`FollowError::Forked`], [`FollowError::System`].
    pub fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), FollowError> {
        let look = self.look()?;
        let end_bytes = offset.saturating_add(bytes.len() as u64);
        if end_bytes > look.len_bytes {
            return Err(FollowError::OutOfBounds { end_bytes, len_bytes: look.len_bytes });
        }
        self.reach(end_bytes, look.len_bytes)?;
        self.map.copy_out(offset, bytes);
        if self.map.was_hit() {
            return Err(FollowError::Truncated { len_bytes: look.len_bytes });
        }
        if publish::is_still(self.map.live(), look) {
            return Ok(());
        }
        let now = publish::look(self.map.live());
        self.era = now.era;
        Err(FollowError::Cleared { len_bytes: now.len_bytes })
    }

    /// Waits until more than `beyond` bytes are published, or until `timeout` is over; says how many are. Looks every few milliseconds: a
    /// writer does not know of its followers. Returns at once when the file is sealed.
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at).
    pub fn wait(&mut self, beyond: u64, timeout: Duration) -> Result<u64, FollowError> {
        let start = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            // The seal first: what is published before it is seen below.
            let is_sealed = self.is_sealed();
            let len_bytes = self.look()?.len_bytes;
            let left = timeout.saturating_sub(start.elapsed());
            if len_bytes > beyond || left.is_zero() || is_sealed {
                return Ok(len_bytes);
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Keeps all that is published now from being given up, and hands it out in place.
    ///
    /// While it lives, [`clear`](crate::AppendFile::clear) and a [`resize`](crate::AppendFile::resize) to less are refused; pushes go on.
    ///
    /// # Errors
    ///
    /// [`Error::WrongOwner`] and [`Error::WrongMode`] for a file that others can write, who could change the bytes under the slice;
    /// [`Error::Truncated`]; [`Error::Invalid`] when the file has outgrown its reserve; [`Error::Forked`]; [`Error::Io`]; [`Error::Busy`] when
    /// bytes are being given up for longer than five seconds.
    pub fn pin(&self) -> Result<Pinned, Error> {
        if !self.map.is_here() {
            return Err(Error::Forked);
        }
        file::check_owner(&self.file, &self.path, FileKind::Append)?;
        let lock = self.share_pins()?;
        // Behind the lock: nobody lowers it from here on.
        let len_bytes = publish::look(self.map.live()).len_bytes;
        let found_bytes = self.file.metadata().map_err(io_error("examine", &self.path))?.len();
        let expected_bytes = self.header.extent.data_offset.saturating_add(len_bytes);
        if self.map.was_hit() || expected_bytes > found_bytes {
            let (kind, path) = (FileKind::Append, self.path.clone());
            return Err(Error::Truncated { kind, path, expected_bytes, found_bytes });
        }
        self.map.note_bytes(found_bytes);
        if expected_bytes > self.map.known_bytes() {
            return Err(Error::Invalid {
                option: "reserve",
                expected: format!("at least the {len_bytes} bytes of the file"),
                found: (self.map.reserve_bytes() - self.header.extent.data_offset).to_string(),
            });
        }
        let length = usize::try_from(len_bytes).expect("below the mapped length, which fits");
        Ok(Pinned { map: Arc::clone(&self.map), length, _lock: lock })
    }

    /// Whether a writer has the file open and lives.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the locks can't be examined; [`Error::Forked`].
    pub fn has_writer(&self) -> Result<bool, Error> {
        if !self.map.is_here() {
            return Err(Error::Forked);
        }
        let probe = self.locks.probe().and_then(|probe| probe.is_held(WRITER_BYTE));
        probe.map_err(io_error("examine the locks of", &self.path))
    }

    /// Whether the file is finished, and nothing more will come.
    pub fn is_sealed(&self) -> bool {
        self.map.is_here() && matches!(seal::load(self.map.live(), &self.header.uuid), Ok(Some(_)))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What may be read, in the era that the caller knows of; tells it of a new one.
    fn look(&mut self) -> Result<publish::Look, FollowError> {
        if !self.map.is_here() {
            return Err(FollowError::Forked);
        }
        let look = publish::look(self.map.live());
        if self.map.was_hit() {
            return Err(FollowError::Truncated { len_bytes: look.len_bytes });
        }
        // The length may be of a later era than the generation in front of it.
        if look.era != self.era || !publish::is_still(self.map.live(), look) {
            let now = publish::look(self.map.live());
            self.era = now.era;
            return Err(FollowError::Cleared { len_bytes: now.len_bytes });
        }
        Ok(look)
    }

    /// Makes sure that the first `end_bytes` of the data, of `len_bytes`, are in the file and in the mapping.
    fn reach(&self, end_bytes: u64, len_bytes: u64) -> Result<(), FollowError> {
        let data_offset = self.header.extent.data_offset;
        let end = data_offset.saturating_add(end_bytes);
        if end <= self.map.known_bytes() {
            return Ok(());
        }
        let found = self.file.metadata();
        let found =
            found.map_err(|error| FollowError::System { operation: "fstat", errno: errno_of(&error) })?;
        if end > found.len() {
            return Err(FollowError::Truncated { len_bytes });
        }
        self.map.note_bytes(found.len());
        if end > self.map.known_bytes() {
            let reserve_bytes = self.map.reserve_bytes() - data_offset;
            return Err(FollowError::ReserveFull { needed_bytes: end_bytes, reserve_bytes });
        }
        Ok(())
    }

    fn share_pins(&self) -> Result<SlotLock, Error> {
        let start = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(lock) = self.locks.share(PIN_BYTE).map_err(io_error("pin", &self.path))? {
                return Ok(lock);
            }
            if start.elapsed() >= PATIENCE {
                return Err(Error::Busy { what: format!("the pins of {:?}", self.path), pid: 0 });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Bytes of an append file that can't be given up while this lives.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("app.bytes");
/// # let mut writer = shm_ring::AppendOptions::new().create(&path)?;
/// writer.push(b"hello")?;
/// let pinned = shm_ring::AppendFile::follow(&path)?.pin()?;
/// writer.push(b", world")?;
/// assert_eq!(writer.clear(), Err(shm_ring::AppendError::Pinned));
/// assert_eq!(pinned.data(), b"hello");
/// drop(pinned);
/// writer.clear()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Pinned {
    map: Arc<Growable>,
    length: usize,
    _lock: SlotLock,
}

impl Pinned {
    /// What was published when it was pinned, in place. Empty on the other side of a fork; a slice that was taken before the fork is not there
    /// in the child, where reading it is a fault.
    pub fn data(&self) -> &[u8] {
        if !self.map.is_here() {
            return &[];
        }
        // SAFETY: not written: they were published, pushes write behind them, and who would give them up needs lock byte 2 alone, which
        // this value shares (trusts peers: crate docs, Trust).
        unsafe { self.map.bytes(0, self.length) }
    }
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        self.data()
    }
}
