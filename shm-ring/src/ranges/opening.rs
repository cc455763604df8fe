//! Opening: one process's mapping of a ranged file, its share of the lock byte that says that writers live, and being alone.
//!
//! ```text
//!   byte 0   held for a moment by who takes byte 1, alone or shared
//!   byte 1   shared by every opening, for as long as a handle, a range or a receipt of it lives; had alone by whoever makes the file fit,
//!            adopts or seals: then nobody else has a range, and who opens waits
//!   byte 3   had alone by whoever syncs the whole file
//! ```
//!
//! | found under byte 0              | done, with byte 1 alone |
//! |---------------------------------|-------------------------|
//! | somebody else has byte 1        | nothing: what the dead had stays out until somebody is alone; of another boot: waited for |
//! | nobody has, the same boot id    | what was handed out and neither written nor durable comes back |
//! | nobody has, another boot id     | what is not marked durable is forgotten first; the boot id is stored last |
//!
//! (I1) under one hold of byte 0 an opening shares byte 1 and asks whether it is alone, so that of many that open at once the first one is,
//! and byte 1 is shared by who has made the file fit, or found it so: who fails in it lets go of the byte without sharing it;
//! (I2) ranges and receipts keep their opening, so who has the only reference to it has none of them; (I3) on the other side of a fork
//! nothing is touched, neither tables nor locks; (I4) byte 0, and with it the process lock, is not held while anything is synced.

use super::allocator::{Medium, Refusal, Table};
use super::bits::{Bits, Marks, Run, bits_words, marks_words};
use super::reading::Reading;
use super::refusal::RangeError;
use super::unit::Unit;
use crate::error::{Error, FileKind};
use crate::layout::mapped::{FREE_UNITS, Header, Kind, SYNC_FAILED, WRITER_BYTE};
use crate::map::file::{self, MappedFile, NotAllocated, Trust, Unpublished, io_error};
use crate::map::growable::Growable;
use crate::map::lock::{Locks, Repair, SlotLock};
use crate::map::mirror::Access;
use crate::map::{clock, holes, seal};
use crate::sync::{AtomicU64, Ordering};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long an opening waits for byte 0, and for who has byte 1 alone: as long as it takes to look through the tables.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Opening {
    map: Arc<Growable>,
    header: Header,
    path: PathBuf,
    unit: Unit,
    size_bytes: u64,
    n_units: u64,
    /// Bytes of the last unit that the data has.
    last_bytes: u64,
    /// Where this process found or freed units last.
    hint: AtomicU64,
    /// Syncs of the whole file come one after the other.
    syncing: Mutex<()>,
    /// All syncs do: the mapping's description hears of a failure once.
    one_sync: Mutex<()>,
    /// 1 after a sync of marks has failed here: what stands in memory may not be on the medium.
    doubts_marks: AtomicU64,
    locks: Locks,
    /// Asked for its length.
    #[cfg(feature = "guard")]
    file: File,
    /// Last: given back when nothing can be touched any more.
    life: SlotLock,
}

/// Nobody else has a range, a receipt or a handle, or gets one. Of a file that was made fit when it was opened.
#[derive(Debug)]
pub(crate) struct Alone<'a> {
    opening: &'a Opening,
}

impl Opening {
    /// A new file with this header.
    pub(crate) fn create(path: &Path, header: Header, mode: u32) -> Result<Arc<Self>, Error> {
        let new = Unpublished::new(path, FileKind::Ranged, header.extent.file_bytes, mode)?;
        file::write_header(new.file(), &header.encode(), path)?;
        let (this, is_alone) = Self::new(new.file(), header, path)?;
        if !is_alone {
            // Somebody has found the name that it has until then, where a file system has no nameless files.
            return Err(busy(path));
        }
        this.store_boot(clock::boot_id());
        this.note_writer();
        this.life.share_again().map_err(io_error("lock", path))?;
        // What is flushed later is worth nothing without them.
        file::sync_file(new.file(), path)?;
        new.publish()?;
        file::sync_name(path)?;
        Ok(Arc::new(this))
    }

    /// The file at `path`, made fit if nobody has it.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>, Error> {
        let found = file::open(path, &MappedFile(FileKind::Ranged), true, Trust::Owner)?;
        let opened = patiently(PATIENCE, || {
            let (this, is_alone) = Self::new(&found.file, found.header, path)?;
            Ok(this.make_fit(&found.file, is_alone)?.then_some(this))
        })?;
        Ok(Arc::new(opened.ok_or_else(|| busy(path))?))
    }

    /// False: somebody has byte 1 who has not made the file fit in this boot. On an error, byte 1 stays as it is until the opening ends: who
    /// came in between would take the tables for fit.
    fn make_fit(&self, file: &File, is_alone: bool) -> Result<bool, Error> {
        self.refuse_sealed()?;
        let boot = clock::boot_id();
        if !is_alone && !self.is_of(boot) {
            return Ok(false);
        }
        self.checked(self.table().used())?;
        if is_alone {
            self.fill_holes(file)?;
            self.make_tables_fit(!self.is_of(boot))?;
            // Also where only one side knows the boot.
            self.store_boot(boot);
            self.life.share_again().map_err(io_error("lock", &self.path))?;
        }
        self.note_writer();
        Ok(true)
    }

    /// A copy may have holes, and writing there is SIGBUS when the disk is full.
    fn fill_holes(&self, file: &File) -> Result<(), Error> {
        let (path, needed_bytes) = (self.path.clone(), self.header.extent.file_bytes);
        holes::fill(file, needed_bytes).map_err(|why| match why {
            NotAllocated::NoSpace { free_bytes } => {
                Error::NoSpace { kind: FileKind::Ranged, path, needed_bytes, free_bytes }
            }
            NotAllocated::Other(error) => io_error("allocate", &path)(error.into()),
        })
    }

    /// Takes back what was handed out and not written; how many units.
    fn make_tables_fit(&self, rebooted: bool) -> Result<u64, Error> {
        let made = self.checked(self.table().make_fit(rebooted, self, &self.hint))?;
        made.map_err(io_error("sync the tables of", &self.path))
    }

    /// Maps the file and shares byte 1, or has it alone: which of them.
    fn new(file: &File, header: Header, path: &Path) -> Result<(Self, bool), Error> {
        let Kind::Ranged { unit_bytes, size_bytes } = header.kind else {
            unreachable!("the file was recognised as a ranged one")
        };
        let unit = Unit::new(unit_bytes.into());
        let n_units = unit.ceil(size_bytes);
        let extent = header.extent;
        let map = Growable::new(file, extent, extent.file_bytes, 0, Access::ReadWrite)
            .map_err(io_error("map", path))?;
        let locks = Locks::new(file, true).map_err(io_error("open the locks of", path))?;
        let (life, is_alone) = live(&locks, path)?;
        let this = Self {
            map,
            header,
            path: path.to_path_buf(),
            unit,
            size_bytes,
            n_units,
            last_bytes: size_bytes - (n_units - 1) * unit.bytes(),
            hint: AtomicU64::new(0),
            syncing: Mutex::new(()),
            one_sync: Mutex::new(()),
            doubts_marks: AtomicU64::new(0),
            locks,
            #[cfg(feature = "guard")]
            file: file.try_clone().map_err(io_error("duplicate", path))?,
            life,
        };
        Ok((this, is_alone))
    }

    fn note_writer(&self) {
        // ORDER none (Relaxed): display only.
        self.map.live().era.0.writer_pid.store(std::process::id().into(), Ordering::Relaxed);
    }

    /// An error if the file is sealed, or its seal is none.
    pub(crate) fn refuse_sealed(&self) -> Result<(), Error> {
        match seal::load(self.map.live(), &self.header.uuid) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Error::Sealed { path: self.path.clone() }),
            Err(malformed) => Err(file::corrupt(&self.path, malformed)),
        }
    }

    /// Whether nobody else has the file, and gets it, until this is dropped. The caller has the only reference to the opening.
    pub(crate) fn alone(&self) -> Result<Option<Alone<'_>>, Error> {
        let _repair = repair(&self.locks, &self.path)?;
        let is_alone = self.life.try_alone().map_err(io_error("lock", &self.path))?;
        Ok(is_alone.then(|| Alone { opening: self }))
    }

    /// Byte 3, once nobody else syncs the whole file.
    pub(crate) fn sync_lock(&self) -> Result<SyncLock<'_>, Error> {
        let process = self.syncing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let taken = patiently(SYNC_PATIENCE, || {
            repair(&self.locks, &self.path)?.take_slot(SYNC_BYTE).map_err(io_error("lock", &self.path))
        })?;
        let busy = || Error::Busy { what: format!("the sync of {:?}", self.path), pid: 0 };
        Ok(SyncLock { _lock: taken.ok_or_else(busy)?, _process: process })
    }

    fn is_of(&self, boot: [u64; 2]) -> bool {
        // ORDER none (Relaxed): with byte 1, which carries what its last holder did, and is had alone by who stores them.
        let stored = [0, 1].map(|half: usize| self.map.live().era.0.boot_id[half].load(Ordering::Relaxed));
        clock::is_one_boot(stored, boot)
    }

    fn store_boot(&self, boot: [u64; 2]) {
        for (word, id) in self.map.live().era.0.boot_id.iter().zip(boot) {
            // ORDER none (Relaxed): with byte 1 alone, or before anybody sees the file. What it stands for was stored before: who is killed in
            // between has stored that, and not this.
            word.store(id, Ordering::Relaxed);
        }
    }

    /// The tables. On this side of a fork only.
    #[inline(always)]
    pub(crate) fn table(&self) -> Table<'_> {
        let live = self.map.live();
        table(&self.map, live, self.unit, self.n_units)
    }

    /// Where this process found or freed units last.
    pub(crate) fn hint(&self) -> &AtomicU64 {
        &self.hint
    }

    /// Its lock bytes.
    pub(super) fn locks(&self) -> &Locks {
        &self.locks
    }

    /// The mapping.
    pub(crate) fn map(&self) -> &Growable {
        &self.map
    }

    /// What page 0 says.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The name that it was opened by.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What one bit stands for.
    pub(crate) fn unit(&self) -> Unit {
        self.unit
    }

    /// Bytes of data.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Units of the data; the last one may be cut off.
    pub(crate) fn n_units(&self) -> u64 {
        self.n_units
    }

    /// Whether the marks of these units are set, and no sync of marks has failed here. Of other openings nothing is known: a mark is not
    /// taken back when its sync fails, as somebody else's may have succeeded meanwhile.
    pub(crate) fn is_durable(&self, run: Run) -> bool {
        // ORDER none (Relaxed): carries nothing.
        self.doubts_marks.load(Ordering::Relaxed) == 0 && self.table().durable.all(run)
    }

    /// The units of these bytes, which begin with one.
    #[inline]
    pub(crate) fn run(&self, start: u64, len: u64) -> Run {
        debug_assert!(self.unit.rest(start) == 0 && len > 0);
        Run { first: self.unit.floor(start), n: self.unit.ceil(len) }
    }

    /// In front of which unit so many bytes have to end: the file's last unit may be cut off, and too short for the last of them.
    #[inline]
    pub(crate) fn end_for(&self, len: u64, or_less: bool) -> u64 {
        let in_last = self.unit.rest(len - 1) + 1;
        if or_less || in_last <= self.last_bytes { self.n_units } else { self.n_units - 1 }
    }

    /// The bytes of these units that the data has.
    #[inline]
    pub(crate) fn bytes(&self, run: Run) -> std::ops::Range<u64> {
        run.first * self.unit.bytes()..(run.end() * self.unit.bytes()).min(self.size_bytes)
    }

    /// What is written, to be read. On this side of a fork only.
    pub(super) fn reading(&self) -> Reading<'_> {
        Reading { map: &self.map, table: self.table(), size_bytes: self.size_bytes, after_reboot: false }
    }

    /// Whether the file can be used: on this side of a fork, and not cut where somebody has noticed it.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), RangeError> {
        match () {
            () if !self.map.is_here() => Err(RangeError::Forked),
            () if self.map.was_hit() => Err(RangeError::Truncated),
            () => Ok(()),
        }
    }

    /// The same, looking at the last page of the file: a cut in pages that this process has left alone is seen there. Somebody else's
    /// range may be in it, so the byte that is loaded and thrown away may be one that its owner is storing: formally a data race, as in
    /// `Growable::copy_out`; nothing is made of it.
    #[inline]
    pub(crate) fn check_whole(&self) -> Result<(), RangeError> {
        #[cfg(feature = "guard")]
        {
            self.check()?;
            let mut last = [0];
            self.map.copy_out(self.size_bytes - 1, &mut last);
            std::hint::black_box(last);
        }
        self.check()
    }

    /// The same, asking for the file's length, too, for what is not done often: nothing in memory shows a cut inside the last page.
    pub(crate) fn check_slowly(&self) -> Result<(), Error> {
        #[cfg(feature = "guard")]
        if self.map.is_here() && self.found_bytes() < self.header.extent.file_bytes {
            return Err(self.explain(RangeError::Truncated));
        }
        self.check_whole().map_err(|refused| self.explain(refused))
    }

    /// A refusal as that of a call that is not made often.
    pub(crate) fn explain(&self, refused: RangeError) -> Error {
        match refused {
            RangeError::Truncated => Error::Truncated {
                kind: FileKind::Ranged,
                path: self.path.clone(),
                expected_bytes: self.header.extent.file_bytes,
                found_bytes: self.found_bytes(),
            },
            RangeError::OtherFile => Error::Invalid {
                option: "receipt",
                expected: format!("one of this opening of {:?}, or of a clone of it", self.path),
                found: "one of another file, or of another opening".into(),
            },
            _ => Error::Forked,
        }
    }

    fn found_bytes(&self) -> u64 {
        #[cfg(feature = "guard")]
        return self.file.metadata().map_or(self.header.extent.file_bytes, |found| found.len());
        #[cfg(not(feature = "guard"))]
        self.header.extent.file_bytes
    }

    /// An answer of the tables, or the words that can't be a sound process's.
    pub(crate) fn checked<T>(&self, answer: Result<T, Refusal>) -> Result<T, Error> {
        answer.map_err(|refused| Error::Corrupt {
            path: self.path.clone(),
            what: "position of what was never handed out",
            expected: format!(
                "a multiple of {} up to {}",
                self.unit.bytes(),
                self.n_units * self.unit.bytes()
            ),
            found: match refused {
                Refusal::Corrupt { next } => next.to_string(),
                Refusal::Full => "more than that".into(),
            },
        })
    }
}

/// The lock byte of who syncs the whole file; after those that all mapped files have.
const SYNC_BYTE: u64 = 3;
/// How long one waits for another sync, which may have terabytes to write.
const SYNC_PATIENCE: Duration = Duration::from_secs(3600);

/// Nobody else syncs the whole file.
#[derive(Debug)]
pub(crate) struct SyncLock<'a> {
    _lock: SlotLock,
    _process: std::sync::MutexGuard<'a, ()>,
}

/// Shares byte 1, or has it alone, once nobody else has it alone: which of them.
fn live(locks: &Locks, path: &Path) -> Result<(SlotLock, bool), Error> {
    let taken = patiently(PATIENCE, || {
        let _repair = repair(locks, path)?;
        let Some(life) = locks.share(WRITER_BYTE).map_err(io_error("lock", path))? else {
            return Ok(None);
        };
        let is_alone = life.try_alone().map_err(io_error("lock", path))?;
        Ok(Some((life, is_alone)))
    })?;
    taken.ok_or_else(|| busy(path))
}

fn busy(path: &Path) -> Error {
    Error::Busy { what: format!("{path:?}"), pid: 0 }
}

/// Tries until there is something, or so much time has passed.
fn patiently<T>(
    patience: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<Option<T>, Error> {
    let start = std::time::Instant::now();
    let mut pause = PAUSE_MIN;
    loop {
        let found = attempt()?;
        if found.is_some() || start.elapsed() >= patience {
            return Ok(found);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Byte 0.
fn repair<'a>(locks: &'a Locks, path: &Path) -> Result<Repair<'a>, Error> {
    let repair = locks.repair(PATIENCE).map_err(io_error("lock", path))?;
    repair.ok_or_else(|| Error::Busy { what: format!("the repair lock of {path:?}"), pid: 0 })
}

/// The tables of a mapped file.
#[inline(always)]
pub(crate) fn table<'a>(
    map: &'a Growable,
    live: &'a crate::layout::mapped::Live,
    unit: Unit,
    n_units: u64,
) -> Table<'a> {
    let words = |n: u64| usize::try_from(n).expect("a mapped length fits");
    let (n_bits, n_marks) = (words(bits_words(n_units)), words(marks_words(n_units)));
    let (free, rest) = map.tables().split_at(words(map.extent().table_bytes / 8));
    let (written, durable) = rest.split_at(free.len());
    Table {
        next: &live.len.0,
        free_units: &live.more.0[FREE_UNITS],
        generation: &live.era.0.generation,
        failed: &live.more.0[SYNC_FAILED],
        free: Bits::new(&free[..n_bits]),
        written: Bits::new(&written[..n_bits]),
        durable: Marks::new(&durable[..n_marks]),
        unit,
        n_units,
    }
}

impl Alone<'_> {
    /// Takes back what was handed out and not written; how many units.
    pub(crate) fn make_fit(&self) -> Result<u64, Error> {
        self.opening.make_tables_fit(false)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // Can't be refused: nobody else can have got it meanwhile.
        let _ = self.opening.life.share_again();
    }
}

impl Medium for Opening {
    fn one_at_a_time<T>(&self, sync: impl FnOnce() -> T) -> T {
        let _one = self.one_sync.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sync()
    }

    fn sync_data(&self, run: Run) -> io::Result<()> {
        let bytes = self.bytes(run);
        self.map.sync_data(bytes.start, bytes.end - bytes.start)
    }

    fn sync_marks(&self, run: Run) -> io::Result<()> {
        let extent = self.map.extent();
        let marks = extent.table_offset + 2 * extent.table_bytes;
        let (first, last) = (run.first / 32 * 8, (run.end() - 1) / 32 * 8);
        // ORDER none (Relaxed): carries nothing.
        let doubt = |_: &io::Error| self.doubts_marks.store(1, Ordering::Relaxed);
        self.map.sync(marks + first, last + 8 - first).inspect_err(doubt)
    }
}

#[cfg(not(any(loom, shuttle)))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::options::RangedOptions;
    use std::os::unix::fs::FileExt;

    fn file(directory: &tempfile::TempDir) -> (PathBuf, File, Header) {
        let path = directory.path().join("file");
        let made = RangedOptions::new().create(&path, 4096).unwrap();
        // Not flushed.
        drop(made.write(made.allocate(64).unwrap(), &[1; 64]).unwrap());
        drop(made);
        let found = file::open(&path, &MappedFile(FileKind::Ranged), true, Trust::Owner).unwrap();
        (path, found.file, found.header)
    }

    fn put(file: &File, at: u64, words: &[u64]) {
        for (at, word) in (at..).step_by(8).zip(words) {
            file.write_all_at(&word.to_le_bytes(), at).unwrap();
        }
    }

    const PAGE: u64 = 4096;
    const BOOT: u64 = PAGE + 128 + 24;

    // Goal: who was alone and could not make the file fit leaves nobody a moment in which the file looks as if somebody had. Method: an
    // opening that finds `next` where it can't be, and is not dropped yet.
    #[test]
    fn who_fails_to_make_a_file_fit_shares_it_with_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let (path, file, header) = file(&directory);
        put(&file, PAGE, &[1]);
        let (first, is_alone) = Opening::new(&file, header, &path).unwrap();
        assert!(is_alone && first.make_fit(&file, is_alone).is_err());
        let locks = Locks::new(&file, true).unwrap();
        assert!(locks.share(WRITER_BYTE).unwrap().is_none(), "somebody may open the file as it is");
        put(&file, PAGE, &[64]);
        drop(first);
        let (second, is_alone) = Opening::new(&file, header, &path).unwrap();
        assert!(is_alone && second.make_fit(&file, is_alone).unwrap());
        assert!(locks.share(WRITER_BYTE).unwrap().is_some());
    }

    // Goal: after the marks could not be brought to the medium, none of them is taken for a promise here. Method: the word that says so.
    #[test]
    fn after_a_failed_sync_of_marks_nothing_is_called_durable_here() {
        let directory = tempfile::tempdir().unwrap();
        let made = RangedOptions::new().create(directory.path().join("file"), 4096).unwrap();
        let receipt = made.write(made.allocate(64).unwrap(), &[1; 64]).unwrap();
        made.flush(&receipt).unwrap();
        assert!(receipt.is_durable());
        receipt.span().opening.doubts_marks.store(1, Ordering::Relaxed);
        assert!(!receipt.is_durable());
    }

    // Goal: that somebody has the lock byte is no sign that a file of another boot was made fit: who opens it waits, and does it. Method:
    // a lock that belongs to no opening, given back after a while.
    #[test]
    fn a_file_of_another_boot_is_made_fit_whoever_holds_its_byte() {
        let directory = tempfile::tempdir().unwrap();
        let (path, file, _) = file(&directory);
        put(&file, BOOT, &[1, 2]);
        let held = Locks::new(&file, false).unwrap().share(WRITER_BYTE).unwrap().unwrap();
        std::thread::scope(|scope| {
            let opening = scope.spawn(|| Opening::open(&path).unwrap());
            std::thread::sleep(Duration::from_millis(300));
            assert!(!opening.is_finished());
            drop(held);
            let opened = opening.join().unwrap();
            assert_eq!(opened.table().written.count(opened.n_units()), 0, "it was not flushed");
        });
    }
}
