//! Ring: a bounded ring of frames between processes.
//!
//! ```text
//!   Ring (one mapping) --+-- Producer   a slot, its lock byte, a Claimer
//!                        +-- Consumer   a slot, its lock byte, a position that holds space
//!                        +-- Observer   nothing: a read-only mapping of its own
//! ```
//!
//! | state of a slot | lock byte | `attached` / `pid` | left by |
//! |-----------------|-----------|--------------------|---------|
//! | free            | free      | 0                  | detach, reap, creation |
//! | owned           | held      | set                | attach, under byte 0 |
//! | dead            | free      | set                | the kernel; next: reaped, by whoever is in its way or wants the slot |
//!
//! (I1) attaching and reaping happen under byte 0; (I2) whoever gets a slot's byte reaps the slot before anything else; (I3) a handle
//! works only on the side of a fork where it was made.

pub(crate) mod batch;
pub(crate) mod claim;
pub(crate) mod consumer;
mod cursor;
mod era;
pub(crate) mod group;
mod join;
pub(crate) mod loss;
pub(crate) mod names;
pub(crate) mod observer;
pub(crate) mod options;
pub(crate) mod producer;
mod reap;
pub(crate) mod record;
mod share;
pub(crate) mod stall;
pub(crate) mod stats;
pub(crate) mod wait;

use crate::error::{Error, FileKind};
use crate::frame::table::Table;
use crate::frame::view::Frames;
use crate::layout::header::Header;
use crate::layout::slots::producer_byte;
use crate::map::file::{self, RingFile, Trust, io_error};
use crate::map::fork::Side;
use crate::map::lock::{Locks, Repair};
use crate::map::mirror::Access;
use crate::map::region::Region;
use crate::sync::{Ordering, Point, kill_point};
use consumer::Consumer;
use group::Member;
use names::ConsumerOptions;
use observer::Observer;
use options::RingOptions;
use producer::Producer;
use stats::Stats;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wait::Wait;

/// How long attaching waits for byte 0: its holder is at work for microseconds, or stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// A mapped ring, from which producers, consumers and observers are taken.
///
/// Clones share one mapping. For a ring in a file every process opens it; for an [anonymous](RingOptions::anonymous) one,
/// children inherit it by `fork`.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// let ring = shm_ring::RingOptions::new().create(directory.path().join("app.ring"))?;
/// let mut producer = ring.producer()?;
/// let mut consumer = ring.consumer("collector")?;
/// producer.push(b"hello")?;
/// assert_eq!(&*consumer.poll()?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ring {
    core: Arc<Core>,
    wait: Wait,
}

/// What all handles of one mapping share.
#[derive(Debug)]
pub(crate) struct Core {
    file: File,
    region: Arc<Region>,
    pub(crate) locks: Locks,
    header: Header,
    path: Option<PathBuf>,
    side: Side,
    created: bool,
}

impl Core {
    /// Maps a recognised file.
    fn new(
        file: File,
        region: Arc<Region>,
        header: Header,
        path: Option<PathBuf>,
        writable: bool,
        created: bool,
    ) -> Result<Arc<Self>, Error> {
        let shown = path.clone().unwrap_or_else(|| PathBuf::from("(anonymous ring)"));
        let failed = io_error("open the locks of", &shown);
        let locks = Locks::new(&file, writable).map_err(&failed)?;
        let side = Side::current().map_err(&failed)?;
        Ok(Arc::new(Self { file, region, locks, header, path, side, created }))
    }

    /// The protocol's view of the mapping.
    pub(crate) fn table(&self) -> Table {
        self.table_and_epoch().0
    }

    /// The same, and the epoch whose seals it knows.
    fn table_and_epoch(&self) -> (Table, u64) {
        let live = self.region.live();
        // ORDER none (Relaxed): changes only after a reboot, before anybody is attached.
        let epoch = live.era.0.epoch.load(Ordering::Relaxed);
        let frames = Frames::new(self.region.data(), &self.header.geometry, self.header.nonce ^ epoch);
        (Table::new(live, self.region.producers(), self.region.consumers(), frames), epoch)
    }

    /// Whether children inherit the ring and its end is told.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.path.is_none()
    }

    /// The path, or what is shown instead of it.
    fn shown(&self) -> PathBuf {
        self.path.clone().unwrap_or_else(|| PathBuf::from("(anonymous ring)"))
    }

    fn check_side(&self) -> Result<(), Error> {
        if self.is_anonymous() || self.side.is_here() { Ok(()) } else { Err(Error::Forked) }
    }

    /// What was made of a ring counts if the file had all its pages while it was made; if it failed, a cut is the reason to be told.
    fn whole<T>(&self, made: Result<T, Error>) -> Result<T, Error> {
        self.measure();
        let expected_bytes = self.header.geometry.file_bytes;
        let found_bytes = match made {
            // Without the feature `guard` nothing more is asked: had it met the cut, it would not be here.
            Ok(_) if !self.region.is_truncated() => return made,
            _ => self.file.metadata().map_or(expected_bytes, |found| found.len()),
        };
        if self.region.is_truncated() || found_bytes < expected_bytes {
            return Err(Error::Truncated {
                kind: FileKind::Ring,
                path: self.shown(),
                expected_bytes,
                found_bytes,
            });
        }
        made
    }

    /// Asks for the file's length, where a cut may have left no trace in memory. A system call; nothing without the feature `guard`.
    #[inline]
    pub(crate) fn measure(&self) {
        #[cfg(feature = "guard")]
        if self.file.metadata().is_ok_and(|found| found.len() < self.header.geometry.file_bytes) {
            self.region.mark_hit();
        }
    }

    /// The page size that the ring was made for.
    #[inline]
    pub(crate) fn page_bytes(&self) -> u64 {
        self.header.geometry.page_bytes
    }

    /// Byte 0, or who has it.
    fn repair(&self) -> Result<Repair<'_>, Error> {
        let shown = self.shown();
        let era = self.region.live();
        let repair =
            self.locks.repair(PATIENCE).map_err(io_error("lock", &shown))?.ok_or_else(|| Error::Busy {
                what: format!("the repair lock of {shown:?}"),
                // ORDER none (Relaxed): display only.
                pid: pid_of(era.era.0.repair_pid.load(Ordering::Relaxed)),
            })?;
        // ORDER none (Relaxed): display only.
        era.era.0.repair_pid.store(std::process::id().into(), Ordering::Relaxed);
        kill_point(Point::ReapRepair);
        Ok(repair)
    }
}

/// A pid as it stands in a table, whatever is there.
fn pid_of(word: u64) -> u32 {
    u32::try_from(word).unwrap_or(0)
}

impl Ring {
    /// Opens the ring at `path`, which only this user can write.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], or one of the refusals of [`Error`], each naming what was expected and what was found; the file is left as it
    /// was. A file that others can write is refused: see [`Ring::open_shared`] and [`Ring::open_observer`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        RingOptions::new().open(path)
    }

    /// Opens the ring at `path`, whoever can write it: for programs of several users that trust each other with their memory.
    ///
    /// The creator gives the ring to a group: [`mode(0o660)`](RingOptions::mode), then `chgrp`, or a directory with the group's set-group-ID
    /// bit (`chmod g+s`), where new files have the directory's group. From then on [`Ring::open`] refuses the file, for its owner too, and
    /// every member opens it with this. A member who only watches needs no more than read permission and
    /// [`Ring::open_observer`], which promises nothing and needs no `unsafe`: mode 0640 is enough for that.
    ///
    /// # Errors
    ///
    /// As [`Ring::open`], but for owner and mode; [`Error::NotWritable`] without write permission.
    ///
    /// # Safety
    ///
    /// The caller answers for every process that can write the file, as long as the ring is open here:
    ///
    /// - it writes the file only with this library, or by [`format`](mod@crate::format): other bytes may become a record's length, or change
    ///   under a slice that is being read;
    /// - it does not truncate the file, or this process has the feature `guard`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("app.ring");
    /// use shm_ring::{Error, Ring, RingOptions};
    /// use std::os::unix::fs::chown;
    ///
    /// // One member of the group `app` (here: this process's own group).
    /// RingOptions::new().mode(0o660).create(&path)?;
    /// # let app = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(&path)?);
    /// chown(&path, None, Some(app))?;
    ///
    /// // Another one.
    /// assert!(matches!(Ring::open(&path), Err(Error::WrongMode { .. })));
    /// // SAFETY:
    /// // - the members of `app` write the file with this library only;
    /// // - none of them truncates it.
    /// let ring = unsafe { Ring::open_shared(&path) }?;
    /// ring.producer()?.push(b"from all of us")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub unsafe fn open_shared(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_trusting(path.as_ref(), Trust::Anybody, Wait::default())
    }

    pub(crate) fn open_trusting(path: &Path, trust: Trust, wait: Wait) -> Result<Self, Error> {
        let found = file::open(path, &RingFile, true, trust)?;
        let region = Region::new(&found.file, found.header.geometry, Access::ReadWrite, false)
            .map_err(io_error("map", path))?;
        let populated = region.populate(false).map_err(io_error("populate the tables of", path));
        let core = Core::new(found.file, region, found.header, Some(path.to_path_buf()), true, false)?;
        core.whole(populated.and_then(|()| era::make_fit(&core)))?;
        Ok(Self { core, wait })
    }

    pub(crate) fn from_core(core: Arc<Core>, wait: Wait) -> Self {
        Self { core, wait }
    }

    /// Opens the ring at `path` for watching only: a read-only mapping that disturbs nobody, safe on files of other users.
    ///
    /// # Errors
    ///
    /// As [`Ring::open`], but for owner and mode.
    pub fn open_observer(path: impl AsRef<Path>) -> Result<Observer, Error> {
        let path = path.as_ref();
        let found = file::open(path, &RingFile, false, Trust::Anybody)?;
        Observer::new(found.file, found.header, Some(path.to_path_buf()), Wait::default())
    }

    /// Takes a producer slot.
    ///
    /// # Errors
    ///
    /// [`Error::NoSlot`] when all are taken; [`Error::Busy`] when the ring is for a [single producer](RingOptions::single_producer)
    /// who is alive; [`Error::Forked`] in a child of the process that opened a file.
    pub fn producer(&self) -> Result<Producer, Error> {
        self.core.check_side()?;
        self.core.whole(self.take_producer())
    }

    fn take_producer(&self) -> Result<Producer, Error> {
        let core = &self.core;
        let shown = core.shown();
        let failed = io_error("lock a producer slot of", &shown);
        let repair = core.repair()?;
        let shape = core.header.geometry.shape;
        let slots = if shape.single_producer { 1 } else { shape.producers_max };
        let table = core.table();
        let mut stalls = reap::Stalls::default();
        for index in 0..slots {
            let Some(lock) = repair.take_slot(producer_byte(index)).map_err(&failed)? else { continue };
            kill_point(Point::AttachLocked);
            let mut proofs = reap::Proofs::new(repair.probe());
            if stalls.reap(&table, index, &mut proofs).map_err(&failed)? == reap::Outcome::Stalled {
                continue;
            }
            // Whoever waited for what a dead owner left.
            kill_point(Point::AttachReaped);
            wait::wake_everybody(&table.live.waits.0);
            let slot = core.region.producer(index);
            slot.pid.store(std::process::id().into(), Ordering::Relaxed);
            // ORDER A1 (Release, pairs with A2): the slot's words before "somebody is here".
            slot.attached.store(1, Ordering::Release);
            kill_point(Point::AttachMarked);
            // ORDER H1 (Release, pairs with H2): the slot's words before the mark that makes others look at them, and the mark before the
            // first intent.
            table.live.grants.0.producers_high.fetch_max(u32::from(index) + 1, Ordering::Release);
            kill_point(Point::AttachHigh);
            // ORDER A1 (Release, pairs with A2): last, for whoever sees that one came must find it among the slots, or gone.
            table.live.era.0.producers_ever.fetch_add(1, Ordering::Release);
            return Producer::new(Arc::clone(core), table, slot, index, lock, self.wait);
        }
        // ORDER none (Relaxed): display only.
        let pid = pid_of(table.all_producers()[0].pid.load(Ordering::Relaxed));
        Err(if shape.single_producer {
            Error::Busy { what: format!("the only producer slot of {shown:?}"), pid }
        } else {
            Error::NoSlot { table: "producer", slots }
        })
    }

    /// Takes the consumer of that name: a new one starts at the oldest record, a known one where it stopped.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when a live process has the name; [`Error::NoSlot`]; [`Error::Invalid`] for a name that is empty, longer than 64
    /// bytes or has a zero byte; [`Error::Forked`].
    pub fn consumer(&self, name: &str) -> Result<Consumer, Error> {
        self.consumer_with(name, ConsumerOptions::new())
    }

    /// The same with a choice of where a new name starts, and whether it holds its space while away.
    ///
    /// # Errors
    ///
    /// As [`Ring::consumer`]; [`Error::Invalid`] for a start that this ring can't offer.
    pub fn consumer_with(&self, name: &str, options: ConsumerOptions) -> Result<Consumer, Error> {
        self.core.check_side()?;
        self.core.whole(Consumer::attach(&self.core, name, options, self.wait))
    }

    /// Joins the group of that name: its members share one cursor, and each record goes to one of them.
    ///
    /// A new group starts at the oldest record; one that had lost all its members goes on where it stopped.
    ///
    /// # Errors
    ///
    /// [`Error::NoSlot`]: a group needs a consumer slot, and each member one; [`Error::Invalid`] for a name that a single consumer has, or
    /// that can't be one; [`Error::Busy`]; [`Error::Forked`].
    pub fn group(&self, name: &str) -> Result<Member, Error> {
        self.group_with(name, ConsumerOptions::new())
    }

    /// The same with a choice of where a new group starts, and whether it holds its space without members.
    ///
    /// # Errors
    ///
    /// As [`Ring::group`]; [`Error::Invalid`] for a start that this ring can't offer.
    pub fn group_with(&self, name: &str, options: ConsumerOptions) -> Result<Member, Error> {
        self.core.check_side()?;
        self.core.whole(Member::attach(&self.core, name, options, self.wait))
    }

    /// A lossy reader on a read-only mapping of its own. Starts with the next record.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the file can't be mapped once more; [`Error::Forked`].
    pub fn observer(&self) -> Result<Observer, Error> {
        self.core.check_side()?;
        let path = self.core.shown();
        let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.core.file));
        let file = File::open(again).map_err(io_error("open once more", &path))?;
        Observer::new(file, self.core.header, self.core.path.clone(), self.wait)
    }

    /// Repairs what the dead left, now: their unfinished claims, the space that they held. True when there was something.
    ///
    /// Nobody needs to call it: opening does it, and whoever is held up by the dead does it.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when somebody else attaches or repairs for longer than five seconds; [`Error::Io`]; [`Error::Forked`].
    pub fn repair(&self) -> Result<bool, Error> {
        self.core.check_side()?;
        let repair = self.core.repair()?;
        let swept = reap::sweep_under(&self.core.table(), repair.probe());
        self.core.whole(swept.map_err(io_error("examine the locks of", &self.core.shown())))
    }

    /// What the tables say now; takes no slot and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the locks can't be examined; [`Error::Forked`].
    pub fn stats(&self) -> Result<Stats, Error> {
        self.core.check_side()?;
        self.core.whole(stats::read(&self.core))
    }

    /// Where the ring is; `None` for an anonymous one.
    pub fn path(&self) -> Option<&Path> {
        self.core.path.as_deref()
    }

    /// Bytes of data that the ring holds, headers of frames included.
    pub fn capacity_bytes(&self) -> u64 {
        self.core.header.geometry.shape.capacity_bytes
    }

    /// The longest record: a quarter of the capacity.
    pub fn payload_max_bytes(&self) -> usize {
        usize::try_from(self.core.header.geometry.payload_max_bytes()).unwrap_or(usize::MAX)
    }

    /// Whether records carry timestamp, sequence, level and kind.
    pub fn has_metadata(&self) -> bool {
        self.core.header.geometry.shape.metadata
    }

    /// Whether this handle created the ring, for `open_or_create`.
    pub fn was_created(&self) -> bool {
        self.core.created
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: attaching where a slot is taken neither hangs nor disturbs. Method: two producers, the same name twice.
    #[test]
    fn taken_slots_are_passed_over() {
        let ring = RingOptions::new().anonymous().unwrap();
        let (first, second) = (ring.producer().unwrap(), ring.producer().unwrap());
        assert_eq!((first.slot(), second.slot()), (0, 1));
        let _one = ring.consumer("c").unwrap();
        assert!(matches!(ring.consumer("c"), Err(Error::Busy { .. })));
        let at = ConsumerOptions::new().start(names::Start::At(3));
        assert!(matches!(ring.consumer_with("d", at), Err(Error::Invalid { .. })));
        drop(first);
        assert_eq!(ring.producer().unwrap().slot(), 0);
    }

    // Goal: a seek to where a consumer stands, inside a batch, skips nothing that it holds. Method: a full ring of batches, a few records in.
    #[test]
    fn what_is_held_can_be_sought() {
        let ring = RingOptions::new().capacity(64 << 10).anonymous().unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
        while let Ok(mut batch) = producer.try_batch(10, 1000) {
            while batch.push(&[1; 100]).is_ok() {}
            batch.commit();
        }
        for _ in 0..3 {
            consumer.poll().unwrap();
        }
        consumer.release();
        while producer.try_push(&[2; 16]).is_ok() {}
        let here = consumer.position();
        consumer.seek(names::Start::At(here)).unwrap();
        assert_eq!((consumer.position(), consumer.missed_bytes()), (here, 0));
        assert_eq!(consumer.poll().unwrap().position(), here);
    }
}
