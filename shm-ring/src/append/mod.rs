//! Append: plain bytes that grow at the end, of one writer, in a file that any number of processes read while it grows.
//!
//! ```text
//!   AppendFile (one writer)                              Follower (any process, read-only)
//!   ----------------------                               --------------------------------
//!   push: bytes behind len, then len        (L1/L2)      len, then copy, then is it still that era?
//!   data: &[u8], valid while pushes go on                pin: byte 2 shared, then &[u8] in place
//!   clear, shrink: byte 2 alone for the moment
//! ```
//!
//! | lock byte | held by | for |
//! |-----------|---------|-----|
//! | 0 | whoever opens for writing | the time in which it takes byte 1 |
//! | 1 | the writer, alone | its life: a second one hears `Busy`, who gets it after a kill goes on at the length |
//! | 2 | each `Pinned`, shared; the writer, alone | the life of the slices; the moment in which bytes are given up |
//!
//! The race between a pin and a loss: the follower has byte 2 before it looks at the length, the writer before it changes anything. So
//! either the pin is first, and the writer hears `Pinned` and changes nothing, or the loss is over (or its writer is dead, and everybody
//! goes by the target) when the follower looks. A pin that is there keeps every byte below the length that it saw, because pushes write
//! behind the length and nothing else lowers it.
//!
//! Every pair of orderings, by label (all of them in `publish.rs`):
//!
//! | label | store side | load side | what is carried |
//! |-------|------------|-----------|-----------------|
//! | L1/L2 | `len`, Release | `len`, Acquire | the bytes below; the odd generation that it fell in |
//! | T1/T2 | `target`, Release | `target`, Acquire | the bytes below |
//! | G1/G2 | `generation`, Release | `generation`, Acquire | odd: the target; even: the length that it begins with |
//! | F1/F2 | fence Release behind the even generation | fence Acquire, then `generation` | who saw a byte of a later push sees the generation |
//!
//! (I1) a byte is written once between two losses, before the length that covers it; (I2) whoever hands out a slice has what keeps its
//! bytes from being given up: the writer a borrow of the handle, a follower lock byte 2; (I3) a byte that is written has its place on the
//! medium (`grow.rs`); (I4) words of the file are checked against its length before they are used, when it is opened and by followers.
//! Has no frames and no checksums of its own: who wants records puts them in, who wants proof seals the file.

mod durable;
pub(crate) mod error;
pub(crate) mod follow;
mod grow;
mod import;
pub(crate) mod options;
mod publish;
pub(crate) mod stats;

use crate::error::Error;
use crate::frame::copy::copy_in;
use crate::layout::mapped::{Header, MAGIC_APPEND, PIN_BYTE};
use crate::map::growable::Growable;
use crate::map::lock::{Locks, Probe, SlotLock};
use error::{AppendError, errno_of};
use follow::Follower;
use options::{AppendOptions, SyncPolicy};
use stats::AppendStats;
use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long opening waits for byte 0, and pinning for byte 2: their holder is at work for microseconds, or stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that grow at the end, in a mapped file of which this is the only writer.
///
/// A push copies the bytes and publishes them; into pages that are there already it makes no system call. Other processes
/// [follow](Self::follow) the file, and see bytes only after they are whole. The file grows in place, inside addresses that were reserved
/// when it was opened: a slice that was taken before stays where it is, and no reader maps again.
///
/// Can be sent to another thread, but not shared with one.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("app.bytes");
/// use shm_ring::{AppendFile, AppendOptions};
///
/// let file = AppendOptions::new().create(&path)?;
/// file.push(b"hello, ")?;
/// let hello = file.data();
/// file.push(b"world")?; // the slice from before stays valid
/// assert_eq!((hello, file.data()), (&b"hello, "[..], &b"hello, world"[..]));
///
/// // Another process, or this one.
/// let mut follower = AppendFile::follow(&path)?;
/// let mut bytes = [0; 5];
/// follower.read_at(7, &mut bytes)?;
/// assert_eq!(&bytes, b"world");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Bytes that are borrowed can't be given up:
///
/// ```compile_fail,E0502
/// # fn f(mut file: shm_ring::AppendFile) {
/// let data = file.data();
/// file.clear().unwrap();
/// println!("{data:?}");
/// # }
/// ```
///
/// One thread at a time:
///
/// ```compile_fail,E0277
/// # fn f(file: shm_ring::AppendFile) {
/// fn shared<T: Sync>(_: &T) {}
/// shared(&file);
/// # }
/// ```
#[derive(Debug)]
pub struct AppendFile {
    map: Arc<Growable>,
    /// For its length: mapping it does not need it.
    file: File,
    locks: Locks,
    _alive: SlotLock,
    header: Header,
    path: PathBuf,
    /// Where the name is, wherever the process goes.
    directory: PathBuf,
    policy: SyncPolicy,
    /// Published.
    len: Cell<u64>,
    /// Below it a push needs no system call; 0: the next one has to look why.
    ready: Cell<u64>,
    /// Allocated.
    capacity: Cell<u64>,
    /// Behind it, every byte of the file is zero.
    touched: Cell<u64>,
    /// Below it, the file may have holes that somebody else made; whole pages.
    holes_end: Cell<u64>,
    durable: Cell<u64>,
    /// Written before a restart of the machine, and not known to be on the medium since.
    doubtful: Cell<(u64, u64)>,
    /// What was brought to the medium besides the bytes of pushes.
    rest: Cell<Rest>,
    /// Whether the durable word on the medium is known to be no more than this handle's.
    is_word_known: Cell<bool>,
    synced_at_ns: Cell<u64>,
    failed: Cell<Option<AppendError>>,
}

impl AppendFile {
    /// Opens the append file at `path`, which only this user can write, to go on at its end.
    ///
    /// After a writer was killed, the bytes that it had published are there, and nothing of what it had not. After a restart of the machine,
    /// see [`doubtful`](Self::doubtful). Holes that a copy has below its length are filled when bytes are given up; on a tmpfs that is full,
    /// reading them is like reading a file that was truncated.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Busy`] while another writer lives; [`Error::Sealed`]; [`Error::OtherKind`] for any other file, which is
    /// left byte for byte as it was; or one of the other refusals of [`Error`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        AppendOptions::new().open(path)
    }

    /// Follows the append file at `path` while it grows, from this or another process. Needs permission to read it, and no more.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), but for a living writer, a seal and the file's owner.
    pub fn follow(path: impl AsRef<Path>) -> Result<Follower, Error> {
        AppendOptions::new().follow(path)
    }

    /// What the file at `path` says of itself, whoever has it open, sealed or not. Changes nothing, disturbs nobody, and needs permission to
    /// read it, and no more.
    ///
    /// # Errors
    ///
    /// As [`follow`](Self::follow); [`Error::Corrupt`] also for a seal that can't be.
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("app.bytes");
    /// # let writer = shm_ring::AppendOptions::new().create(&path)?;
    /// # writer.push(b"hello")?;
    /// let stats = shm_ring::AppendFile::inspect(&path)?;
    /// assert_eq!((stats.len_bytes, stats.durable_bytes), (5, 0));
    /// assert!(stats.has_writer && !stats.is_sealed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn inspect(path: impl AsRef<Path>) -> Result<AppendStats, Error> {
        stats::of_path(path.as_ref())
    }

    /// Creates an append file at `path` with the bytes of a legacy one: a header of `0xdeadbeef` and a `u32` length, then the data.
    ///
    /// # Errors
    ///
    /// [`Error::OtherKind`] when `legacy` has another magic; [`Error::Truncated`] when it is shorter than its length says; what
    /// [`AppendOptions::create`] refuses. `legacy` is only read, and nothing is left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let (legacy, path) = (directory.path().join("old"), directory.path().join("new"));
    /// std::fs::write(&legacy, b"\xef\xbe\xad\xde\x05\0\0\0hello, and what was never used")?;
    /// let file = shm_ring::AppendFile::import(&legacy, &path)?;
    /// assert_eq!(file.data(), b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn import(legacy: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<Self, Error> {
        AppendOptions::new().import(legacy, path)
    }

    /// Appends bytes, and says at which offset they stand. Followers see all of them or none.
    ///
    /// # Errors
    ///
    /// [`AppendError::NoSpace`] and [`AppendError::ReserveFull`], with nothing changed; [`AppendError::SyncFailed`], if the
    /// [`SyncPolicy`] wanted a sync: the bytes may have been published, and the handle takes no more; [`AppendError::Forked`];
    /// [`AppendError::Truncated`].
    #[inline]
    pub fn push(&self, bytes: &[u8]) -> Result<u64, AppendError> {
        let offset = self.len.get();
        let end = offset.saturating_add(bytes.len() as u64);
        // At the edge too: it is 0 for a handle that takes no more, not even no bytes.
        if end >= self.ready.get() || !self.map.is_here() {
            self.make_ready(end)?;
        }
        // SAFETY:
        // - writable: mapped so;
        // - nobody else writes: this is the only writer (lock byte 1), and `self` is of one thread; nobody reads behind the length but
        //   followers that copy and throw away what they copied (`publish.rs`); slices of `data` and of pins end at a length; trusts
        //   peers (crate docs, Trust).
        let room = unsafe { self.map.bytes_mut(offset, bytes.len()) };
        copy_in(room, bytes);
        self.publish(end)?;
        Ok(offset)
    }

    /// All published bytes, in place. The slice stays valid while [`push`](Self::push) goes on.
    ///
    /// Empty on the other side of a fork; a slice that was taken before the fork is not there in the child, where reading it is a fault.
    #[inline]
    pub fn data(&self) -> &[u8] {
        if !self.map.is_here() {
            return &[];
        }
        let length = usize::try_from(self.len.get()).expect("below the mapped length, which fits");
        // SAFETY: not written: pushes write behind the length, what lowers it borrows `self` mutably, and there is no other writer (lock
        // byte 1; trusts peers: crate docs, Trust).
        unsafe { self.map.bytes(0, length) }
    }

    /// Published bytes. 0 on the other side of a fork.
    #[inline]
    pub fn len(&self) -> u64 {
        if self.map.is_here() { self.len.get() } else { 0 }
    }

    /// Whether nothing was published, or everything given up.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of data that the file holds without growing: whole pages.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity.get()
    }

    /// Which part of the capacity is used, 0 to 1. Programs that swap two files do so at 0.8.
    #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
    pub fn usage_ratio(&self) -> f64 {
        self.len() as f64 / self.capacity.get().max(1) as f64
    }

    /// Gives up all bytes. Capacity and memory stay. Followers hear of it.
    ///
    /// # Errors
    ///
    /// [`AppendError::Pinned`] while a follower reads in place, with nothing changed; otherwise as [`resize`](Self::resize).
    pub fn clear(&mut self) -> Result<(), AppendError> {
        self.resize(0)
    }

    /// Makes the length `len_bytes`: gives up what is behind, or appends zeros.
    ///
    /// # Errors
    ///
    /// [`AppendError::Pinned`] when the length would fall while a follower reads in place, with nothing changed; otherwise as
    /// [`push`](Self::push).
    pub fn resize(&mut self, len_bytes: u64) -> Result<(), AppendError> {
        self.check()?;
        let old = self.len.get();
        if len_bytes > old {
            self.append_zeros(len_bytes)
        } else if len_bytes < old {
            self.give_up(len_bytes)
        } else {
            Ok(())
        }
    }

    /// Whether the handle can be used: mapped on this side of a fork, the file as long as it was and its first word intact, no sync failed.
    pub fn is_valid(&self) -> bool {
        self.check().is_ok()
            && self.file.metadata().is_ok_and(|found| found.len() >= self.map.known_bytes())
            && self.map.magic() == MAGIC_APPEND
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that were written before the machine was restarted and never [synced](Self::sync) before that: they may be others, or zeros.
    /// Empty while the machine runs on and no sync fails, and once the caller has called [`sync`](Self::sync), which takes what is there for
    /// good, or [resized](Self::resize) the file to where this begins; what a [`SyncPolicy`] syncs by itself does not end the doubt. A disk
    /// that was taken away and came back while the machine ran on can't be told from one that was there all the time.
    pub fn doubtful(&self) -> Range<u64> {
        self.doubtful.get().0..self.doubtful.get().1
    }

    fn append_zeros(&self, end: u64) -> Result<(), AppendError> {
        self.extend_to(end)?;
        let from = self.len.get();
        let stale = end.min(self.touched.get()).saturating_sub(from);
        let stale = usize::try_from(stale).expect("below the mapped length, which fits");
        // SAFETY: as in `push`.
        unsafe { self.map.bytes_mut(from, stale) }.fill(0);
        self.publish(end)
    }

    fn give_up(&self, target: u64) -> Result<(), AppendError> {
        self.fill_holes(target)?;
        let durable = self.durable.get();
        let is_claimed = durable > target || !self.is_word_known.get();
        if is_claimed {
            // On the medium before anything else is: it must never call bytes durable that are written anew.
            drop(self.without_pins()?);
            self.lower_durable(durable.min(target))?;
        }
        let moment = self.without_pins().inspect_err(|_| {
            if durable > target {
                // Somebody pinned in between, and the bytes are where they were.
                self.note_durable(durable);
            }
        })?;
        self.touched.set(self.touched.get().max(self.len.get()));
        self.len.set(target);
        publish::give_up(self.map.live(), target);
        drop(moment);
        self.settle(target)
    }

    /// Lock byte 2, which nobody else has.
    fn without_pins(&self) -> Result<Moment<'_>, AppendError> {
        let system =
            |error: std::io::Error| AppendError::System { operation: "lock", errno: errno_of(&error) };
        let probe = self.locks.probe().map_err(system)?;
        if probe.acquire(PIN_BYTE).map_err(system)? { Ok(Moment(probe)) } else { Err(AppendError::Pinned) }
    }

    /// Publishes what was written below `end`, as the policy says.
    #[inline]
    fn publish(&self, end: u64) -> Result<(), AppendError> {
        if self.map.was_hit() {
            return Err(self.fail(AppendError::Truncated));
        }
        if matches!(self.policy, SyncPolicy::Never) {
            publish::publish(self.map.live(), end);
            self.len.set(end);
            return Ok(());
        }
        self.publish_and_sync(end)
    }

    /// Why nothing can be done, if nothing can.
    fn check(&self) -> Result<(), AppendError> {
        if !self.map.is_here() {
            return Err(AppendError::Forked);
        }
        if self.map.was_hit() {
            self.fail(AppendError::Truncated);
        }
        self.failed.get().map_or(Ok(()), Err)
    }

    /// The end of this handle: every later call says why.
    fn fail(&self, why: AppendError) -> AppendError {
        let why = self.failed.get().unwrap_or(why);
        self.failed.set(Some(why));
        self.ready.set(0);
        why
    }

    /// What a refused system call means: a file that was cut under it, or what the system said.
    fn refused(&self, operation: &'static str, errno: i32) -> AppendError {
        if self.file.metadata().is_ok_and(|found| found.len() < self.map.known_bytes()) {
            return self.fail(AppendError::Truncated);
        }
        AppendError::System { operation, errno }
    }
}

/// What of the file, besides the bytes that this handle pushed, is on the medium: the header, bytes of others, its length, its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Nobody knows, and a sync of somebody else may have failed.
    Found,
    /// Nobody knows, and all of it is of this handle.
    Made,
    /// All of it.
    Synced,
}

/// The moment in which nobody pins.
#[derive(Debug)]
struct Moment<'a>(Probe<'a>);

impl Drop for Moment<'_> {
    fn drop(&mut self) {
        self.0.release(PIN_BYTE);
    }
}
