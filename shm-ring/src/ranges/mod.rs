//! Ranges: a file whose parts many threads and processes write at once, each its own, without a lock.
//!
//! | file      | what |
//! |-----------|------|
//! | bits      | a bit for each unit, in words that processes share |
//! | allocator | who owns which units, what is written, what is on the medium; the table of orders, and of deaths |
//! | opening   | one process's mapping of a file, its locks, and being alone |
//! | range     | bytes that are nobody else's |
//! | receipt   | bytes that are written |
//! | reading   | copies of bytes that are written, without a receipt |
//! | observer  | a file, for who only looks |
//! | options   | what a new file looks like |
//! | stats     | what the tables say, for who only looks |
//! | refusal   | why something was not done |
//! | unit      | the smallest part, which a bit stands for |
//!
//! (I1) nobody else touches the bytes of a range; (I2) what is written is never handed out; (I3) allocating, writing and committing make no
//! system call.

pub(crate) mod allocator;
pub(crate) mod bits;
pub(crate) mod observer;
mod opening;
pub(crate) mod options;
pub(crate) mod range;
mod reading;
pub(crate) mod receipt;
pub(crate) mod refusal;
pub(crate) mod stats;
mod unit;

#[cfg(test)]
#[path = "model/heap.rs"]
mod heap;
#[cfg(test)]
mod trial;

use crate::error::Error;
use crate::frame::copy::copy_in;
use crate::map::file::io_error;
use crate::map::seal;
use allocator::Refusal;
use bits::Run;
use observer::RangedObserver;
use opening::{Alone, Opening};
use options::Alignment;
use range::Range;
use receipt::Receipt;
use refusal::{AllocateError, RangeError, Refused};
use stats::RangedStats;
use std::ops;
use std::path::Path;
use std::sync::Arc;

/// A file of fixed size whose ranges many threads and processes write at once, each its own.
///
/// Who owns what is in the file: it survives its processes, and what is written is never handed out again. What a process had and did not
/// write before it died comes back when the file is next opened by somebody who has it alone, or [reclaimed](Self::reclaim); until then it
/// stays out. A process that dies in [`commit`](Self::commit) may leave a part of the range written, in whole
/// [units](crate::Alignment).
///
/// Clones share one mapping, and may be used by any number of threads. A handle works on the side of a `fork` where it was made.
///
/// # Units
///
/// The file knows no smaller part than a unit, as large as its [alignment](Alignment). A range has its units whole: if its length is no
/// multiple of the alignment, nobody else gets the rest of its last unit, which counts as written when the range is. What stands in that
/// rest is whatever stood there before, zeros or an earlier owner's bytes, and so it is read [by place](Self::read_at) and in a
/// [`Snapshot`](crate::Snapshot) of the sealed file. Who wants every byte to be its own chooses [`Alignment::Byte`], or fills the rest.
///
/// # Durability
///
/// What is written is in the page cache, and survives every death of a process. After a power cut, only what was
/// [flushed](Self::flush) is there; the rest is missing. Only a flush that has returned `Ok` counts.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("parts");
/// use shm_ring::{RangedFile, RangedOptions};
///
/// let file = RangedOptions::new().create(&path, 1 << 20)?; // one process
/// let range = file.allocate(5)?;
/// let receipt = file.write(range, b"hello")?;
/// file.flush(&receipt)?; // on the disk now
///
/// let other = RangedFile::open(&path)?; // another one, at the same time
/// let mut range = other.allocate(100)?;
/// range.as_mut_slice().fill(7); // in place
/// let hundred = other.commit(range)?;
///
/// assert_eq!(receipt.bytes(), b"hello");
/// assert!(hundred.start() >= receipt.end());
/// assert_eq!(file.written()?.collect::<Vec<_>>(), [0..192]); // in units of 64
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A download of several processes, each of which runs this until nothing is left. One that is killed leaves what it had not written to the
/// next run.
///
/// ```
/// # fn fetch(_: std::ops::Range<u64>) -> Vec<u8> { vec![1; 1000] }
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("download");
/// let file = shm_ring::RangedOptions::new().open_or_create(&path, 10_000)?;
/// while let Ok(range) = file.allocate_up_to(1000) {
///     let part = fetch(range.as_range());
///     file.write(range, &part[..])?;
/// #   break;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A range of another file is refused, and comes back:
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let options = shm_ring::RangedOptions::new();
/// let [one, other] = [options.create(directory.path().join("1"), 100)?, options.create(directory.path().join("2"), 100)?];
/// let refused = other.write(one.allocate(3)?, b"abc").unwrap_err();
/// assert_eq!(refused.error, shm_ring::RangeError::OtherFile);
/// one.write(refused.item, b"abc")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RangedFile {
    opening: Arc<Opening>,
}

impl RangedFile {
    pub(crate) fn new(opening: Arc<Opening>) -> Self {
        Self { opening }
    }

    /// Opens the file at `path`, which only this user can write.
    ///
    /// If nobody else has it open, what dead processes had and did not write is free again. After a reboot everything is that was not
    /// flushed; and so it is on another machine, in a container that has a boot id of its own, and in a copy of the file that is opened
    /// there: for what is to be moved, call [`sync_all`](Self::sync_all) first. Dropping the last handle syncs nothing, as it could not say
    /// that it has failed.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while somebody else seals the file, adopts, reclaims or opens it first, if that takes longer than a few seconds: it
    /// does for a large file, of which a seal reads and syncs everything; try again. [`Error::NotFound`], [`Error::Sealed`], or another refusal of [`Error`], each naming what was expected and what was found; the file
    /// is left as it was.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self::new(Opening::open(path.as_ref())?))
    }

    /// Takes `len` bytes in a row that nobody has.
    ///
    /// The first ones that were never handed out, or else the first ones that were freed. Another allocation that is under way may hold
    /// some that it will put back.
    ///
    /// # Errors
    ///
    /// [`AllocateError::Full`], [`AllocateError::Empty`], [`AllocateError::TooLong`]; [`AllocateError::Forked`],
    /// [`AllocateError::Truncated`], [`AllocateError::Corrupt`].
    #[inline]
    pub fn allocate(&self, len: u64) -> Result<Range, AllocateError> {
        if len > self.size() {
            return Err(AllocateError::TooLong { len_bytes: len, size_bytes: self.size() });
        }
        self.take(len, false)
    }

    /// Takes as many bytes in a row as there are in the first place where there are any, `len` at most.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate), without [`AllocateError::TooLong`]: [`AllocateError::Full`] says that nothing is left.
    #[inline]
    pub fn allocate_up_to(&self, len: u64) -> Result<Range, AllocateError> {
        self.take(len.min(self.size()), true)
    }

    fn take(&self, len: u64, or_less: bool) -> Result<Range, AllocateError> {
        let opening = &self.opening;
        let refused = |refused| match refused {
            RangeError::Truncated => AllocateError::Truncated,
            _ => AllocateError::Forked,
        };
        opening.check().map_err(refused)?;
        if len == 0 {
            return Err(AllocateError::Empty);
        }
        let most = opening.unit().ceil(len);
        let least = if or_less { 1 } else { most };
        let taken = opening.table().allocate(least, most, opening.end_for(len, or_less), opening.hint());
        // Tables that were cut off are zeros, by which everything is free.
        opening.check().map_err(refused)?;
        let run = taken.map_err(|refusal| match refusal {
            Refusal::Full => AllocateError::Full {
                needed_bytes: if or_less { 1 } else { len },
                free_bytes: self.remaining(),
            },
            Refusal::Corrupt { next } => AllocateError::Corrupt { next },
        })?;
        let bytes = opening.bytes(run);
        let found = (bytes.end - bytes.start).min(len);
        Ok(Range::new(opening, bytes.start, found))
    }

    /// Writes a range by copy.
    ///
    /// # Errors
    ///
    /// With the range: [`RangeError::WrongLength`] unless `data` has its length, [`RangeError::OtherFile`], [`RangeError::Forked`],
    /// [`RangeError::Truncated`].
    #[inline]
    pub fn write(&self, mut range: Range, data: &[u8]) -> Result<Receipt, Refused<Range>> {
        if let Err(error) = range.span().check(&self.opening) {
            return Err(Refused { item: range, error });
        }
        let (expected_bytes, found_bytes) = (range.len(), data.len() as u64);
        if expected_bytes != found_bytes {
            let error = RangeError::WrongLength { expected_bytes, found_bytes };
            return Err(Refused { item: range, error });
        }
        copy_in(range.as_mut_slice(), data);
        self.commit(range)
    }

    /// Publishes a range that was written [in place](Range::as_mut_slice): from now on everybody may read it, and nobody writes it.
    ///
    /// # Errors
    ///
    /// With the range: [`RangeError::OtherFile`], [`RangeError::Forked`], [`RangeError::Truncated`].
    #[inline]
    pub fn commit(&self, range: Range) -> Result<Receipt, Refused<Range>> {
        match range.span().check(&self.opening).and_then(|()| self.opening.check_whole()) {
            Ok(()) => Ok(range.into_receipt()),
            Err(error) => Err(Refused { item: range, error }),
        }
    }

    /// Copies what was written to the beginning of `buffer`; how many bytes. [`Receipt::bytes`] reads it in place.
    ///
    /// # Errors
    ///
    /// [`RangeError::ShortBuffer`], [`RangeError::OtherFile`], [`RangeError::Forked`], [`RangeError::Truncated`].
    pub fn read(&self, receipt: &Receipt, buffer: &mut [u8]) -> Result<usize, RangeError> {
        receipt.span().check(&self.opening)?;
        let len = receipt.span().usize_len();
        let found_bytes = buffer.len() as u64;
        let short = RangeError::ShortBuffer { needed_bytes: receipt.len(), found_bytes };
        buffer.get_mut(..len).ok_or(short)?.copy_from_slice(receipt.bytes());
        self.opening.check_whole()?;
        Ok(len)
    }

    /// Copies bytes that are written, by whomever.
    ///
    /// # Errors
    ///
    /// [`RangeError::OutOfBounds`], [`RangeError::NotWritten`], [`RangeError::Unsettled`]; [`RangeError::Forked`],
    /// [`RangeError::Truncated`]. On an error the buffer holds whatever it was.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), RangeError> {
        let opening = &self.opening;
        opening.check()?;
        opening.reading().read_at(offset, buffer)?;
        opening.check_whole()
    }

    /// Frees what was written: its bytes may be handed out again, and written by others.
    ///
    /// Makes a system call only if it was flushed: the medium is told first.
    ///
    /// # Errors
    ///
    /// With the receipt, as it was: [`Error::Invalid`] for one of another file, [`Error::Io`], [`Error::Forked`], [`Error::Truncated`].
    pub fn free(&self, receipt: Receipt) -> Result<(), Refused<Receipt, Error>> {
        let opening = &*self.opening;
        let checked = receipt.span().check(&self.opening).and_then(|()| opening.check_whole());
        let freed = checked.map_err(|refused| opening.explain(refused)).and_then(|()| {
            let freed = opening.table().release(receipt.span().run(), opening, opening.hint());
            freed.map_err(io_error("sync the tables of", opening.path()))
        });
        freed.map_err(|error| Refused { item: receipt, error })
    }

    /// Brings what was written to the medium, and returns when it is there.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; after that every flush of this file fails until the next boot, because what the kernel could not write it counts as
    /// written. [`Error::Invalid`] for a receipt of another file, [`Error::Forked`], [`Error::Truncated`].
    pub fn flush(&self, receipt: &Receipt) -> Result<(), Error> {
        let opening = &*self.opening;
        receipt.span().check(&self.opening).map_err(|refused| opening.explain(refused))?;
        opening.table().flush(receipt.span().run(), opening).map_err(io_error("sync", opening.path()))?;
        opening.check_slowly()
    }

    /// Brings everything to the medium that is written by now, by whomever, and returns when it is there. Waits for others who do the same.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub fn sync_all(&self) -> Result<(), Error> {
        let opening = &*self.opening;
        opening.check_slowly()?;
        let _lock = opening.sync_lock()?;
        opening.table().sync_all(opening).map_err(io_error("sync", opening.path()))?;
        opening.check_slowly()
    }

    /// Which bytes are written, in order, in runs as long as they are, in whole units: where a download stands.
    ///
    /// # Errors
    ///
    /// [`RangeError::Forked`], [`RangeError::Truncated`].
    pub fn written(&self) -> Result<impl Iterator<Item = ops::Range<u64>> + '_, RangeError> {
        runs(&self.opening, true)
    }

    /// Which bytes are not written: free, or somebody's who has not written them yet. As [`written`](Self::written).
    ///
    /// # Errors
    ///
    /// [`RangeError::Forked`], [`RangeError::Truncated`].
    pub fn missing(&self) -> Result<impl Iterator<Item = ops::Range<u64>> + '_, RangeError> {
        runs(&self.opening, false)
    }

    /// Bytes that nobody has, in whole units but for the end of the file. 0 on the other side of a `fork`.
    pub fn remaining(&self) -> u64 {
        let opening = &self.opening;
        if opening.check().is_err() {
            return 0;
        }
        let units = opening.table().remaining().unwrap_or(0);
        let cut_off = opening.n_units() * opening.unit().bytes() - self.size();
        let last = Run { first: opening.n_units() - 1, n: 1 };
        let has_last =
            opening.table().used().is_ok_and(|used| used <= last.first) || opening.table().free.all(last);
        units * opening.unit().bytes() - if has_last && units > 0 { cut_off } else { 0 }
    }

    /// Bytes of data.
    pub fn size(&self) -> u64 {
        self.opening.size_bytes()
    }

    /// Bytes below were handed out at least once. 0 on the other side of a `fork`.
    pub fn next_position(&self) -> u64 {
        let opening = &self.opening;
        if opening.check().is_err() {
            return 0;
        }
        (opening.table().used().unwrap_or(0) * opening.unit().bytes()).min(self.size())
    }

    /// Where its ranges begin.
    pub fn alignment(&self) -> Alignment {
        Alignment::of(self.opening.unit().bytes())
    }

    /// The name that it was opened by.
    pub fn path(&self) -> &Path {
        self.opening.path()
    }

    /// What the tables say.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::Forked`], [`Error::Truncated`].
    pub fn stats(&self) -> Result<RangedStats, Error> {
        let opening = &self.opening;
        opening.check_slowly()?;
        stats::read(&opening.reading(), opening.locks(), opening.header(), opening.path())
    }

    /// Opens the file at `path` to look at it, whoever has it open, sealed or not. Changes nothing, disturbs nobody, and needs permission to
    /// read it, and no more.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), but for a seal and the file's owner.
    pub fn observe(path: impl AsRef<Path>) -> Result<RangedObserver, Error> {
        RangedObserver::open(path.as_ref())
    }

    /// What the tables of the file at `path` say: an [`observe`](Self::observe) and its [`stats`](RangedObserver::stats).
    ///
    /// # Errors
    ///
    /// As [`observe`](Self::observe); [`Error::Corrupt`] also for words that can't be.
    pub fn inspect(path: impl AsRef<Path>) -> Result<RangedStats, Error> {
        Self::observe(path)?.stats()
    }

    /// Frees what dead processes had and did not write; how many bytes, in whole units.
    ///
    /// [`open`](Self::open) does it too. This is for a process that stays while others come and go. A range that this process has leaked
    /// (`std::mem::forget`) counts as one that it has, until its end.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while another process has the file open, or this one a clone of this handle, another opening, a range or a receipt;
    /// [`Error::Io`], [`Error::Forked`], [`Error::Truncated`].
    pub fn reclaim(&mut self) -> Result<u64, Error> {
        self.only()?;
        let opening = &self.opening;
        let units = alone(opening)?.make_fit()?;
        Ok(units * opening.unit().bytes())
    }

    /// Receipts for everything that is written: to free or to flush what earlier processes wrote. A receipt for each run, whose parts
    /// [`Receipt::split_at`] tells apart.
    ///
    /// # Errors
    ///
    /// As [`reclaim`](Self::reclaim).
    pub fn adopt(&mut self) -> Result<Vec<Receipt>, Error> {
        self.only()?;
        let opening = &self.opening;
        let alone = alone(opening)?;
        // Or what is written, and free or beyond `next` all the same, would have two owners.
        alone.make_fit()?;
        let runs: Vec<_> = runs(opening, true).map_err(|_| Error::Forked)?.collect();
        drop(alone);
        // From here on there is more than one reference to their opening, so they are made once.
        let receipt = |bytes: ops::Range<u64>| {
            let (start, len) = (bytes.start, bytes.end - bytes.start);
            Receipt::new(range::Span { opening: Arc::clone(opening), start, len })
        };
        Ok(runs.into_iter().map(receipt).collect())
    }

    /// Finishes a file of which every [unit](Self#units) is written: it gets a checksum, is brought to the medium, and can't be opened for
    /// writing any more.
    ///
    /// # Errors
    ///
    /// With the file: [`Error::Unfinished`], [`Error::Busy`] as for [`reclaim`](Self::reclaim), [`Error::Io`], [`Error::Forked`],
    /// [`Error::Truncated`]. Without it: [`Error::Io`], if the file is sealed, and only that could not be brought to the medium; after a
    /// power cut it may be open again.
    pub fn seal(mut self) -> Result<(), Refused<Option<Self>, Error>> {
        self.try_seal().map_err(|error| {
            // Somebody may be reading it as a snapshot already.
            let is_sealed = self.opening.check().is_ok() && self.opening.refuse_sealed().is_err();
            Refused { item: (!is_sealed).then_some(self), error }
        })
    }

    fn try_seal(&mut self) -> Result<(), Error> {
        self.only()?;
        let opening = &*self.opening;
        let alone = alone(opening)?;
        alone.make_fit()?;
        let missing = runs(opening, false).map_err(|_| Error::Forked)?;
        let missing_bytes = missing.map(|bytes| bytes.end - bytes.start).sum();
        if missing_bytes > 0 {
            return Err(Error::Unfinished { path: opening.path().to_path_buf(), missing_bytes });
        }
        let failed = io_error("sync", opening.path());
        opening.table().sync_all(opening).map_err(&failed)?;
        // SAFETY:
        // - writable: an opening maps for writing;
        // - the only writer: alone, and this process has neither a range nor another handle;
        // - nobody writes: the same.
        let sealed = unsafe { seal::store(opening.map(), &opening.header().uuid, opening.size_bytes()) };
        sealed.map_err(|error| {
            opening.table().fail();
            failed(error)
        })?;
        opening.check_slowly()
    }

    /// Whether nothing else of this process refers to the opening: no clone, no range, no receipt. Nothing will, as long as `self` is
    /// borrowed.
    fn only(&mut self) -> Result<(), Error> {
        self.opening.check_slowly()?;
        if Arc::get_mut(&mut self.opening).is_some() {
            return Ok(());
        }
        let what = format!("a range, a receipt or another handle of {:?}", self.opening.path());
        Err(Error::Busy { what, pid: std::process::id() })
    }
}

fn alone(opening: &Opening) -> Result<Alone<'_>, Error> {
    opening.alone()?.ok_or_else(|| Error::Busy { what: format!("{:?}", opening.path()), pid: 0 })
}

fn runs(opening: &Opening, written: bool) -> Result<impl Iterator<Item = ops::Range<u64>> + '_, RangeError> {
    opening.check()?;
    Ok(opening.reading().runs(written))
}
