//! Durable: what of an append file is on the medium, and how it gets there.
//!
//! | policy     | a push syncs | after a power cut |
//! |------------|--------------|-------------------|
//! | `Never`    | nothing      | what the caller synced, and what the system wrote by itself |
//! | `EachPush` | the bytes, publishes them, then the length | every push that returned |
//! | `Interval` | all of it, when so long has passed | all but the last of it |
//!
//! (I1) the durable word is raised after the data below it was synced, and lowered, on the medium, before the length is: whoever writes
//! those bytes anew, be it the next writer after a kill, finds the medium saying that they are not durable, or makes it say so;
//! (I2) a sync that failed is final: the system may have dropped the pages, and the next sync would not say so; the file has no boot's id
//! then, and the next writer writes all that is not durable again; (I3) the boot id in the file is the one for which all of its bytes are
//! what was written, and only the caller ends a doubt; (I4) a handle calls nothing durable before it has itself synced the header, the
//! length of the file and its name.

use super::error::{AppendError, errno_of};
use super::options::SyncPolicy;
use super::{AppendFile, Rest, publish};
use crate::error::{Error, FileKind};
use crate::layout::mapped::Live;
use crate::map::file::{self, io_error};
use crate::map::{clock, seal};
use crate::sync::Ordering;
use std::io;

/// The boot id that no boot has: a sync has failed.
const NO_BOOT: [u64; 2] = [u64::MAX; 2];

impl AppendFile {
    /// Brings everything that is published to the medium, and returns when it is there.
    ///
    /// # Errors
    ///
    /// [`AppendError::SyncFailed`], which is final; [`AppendError::Forked`]; [`AppendError::Truncated`].
    pub fn sync(&self) -> Result<(), AppendError> {
        self.check()?;
        self.bring(self.len.get())?;
        let doubtful = self.doubtful.get();
        self.end_doubt();
        self.claim(self.len.get()).inspect_err(|_| self.doubtful.set(doubtful))
    }

    /// Published bytes that are known to be on the medium. While some are [doubtful](Self::doubtful), none of those behind them count.
    pub fn durable_len(&self) -> u64 {
        if self.map.is_here() { self.claimable(self.durable.get()) } else { 0 }
    }

    /// Finishes the file: nobody writes it any more, and a checksum covers its length and its bytes. From then on it can be opened as a
    /// snapshot, and followed, but not for writing. What is [doubtful](Self::doubtful) is sealed as it is: look first. Space that was allocated ahead is given back where the file system can do that.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the bytes can't be brought to the medium, [`Error::Truncated`] when they are not there any more; the file is not
    /// sealed then. But [`Error::Io`] also when it is sealed, and only that could not be brought to the medium: nobody writes it any more, and
    /// after a power cut it may be open again. [`Error::Forked`].
    pub fn seal(self) -> Result<(), Error> {
        let expected_bytes = self.map.known_bytes();
        let failed = |source: io::Error| match self.file.metadata() {
            Ok(found) if found.len() < expected_bytes => Error::Truncated {
                kind: FileKind::Append,
                path: self.path.clone(),
                expected_bytes,
                found_bytes: found.len(),
            },
            _ => io_error("seal", &self.path)(source),
        };
        self.sync().map_err(|error| match error {
            AppendError::Forked => Error::Forked,
            AppendError::SyncFailed { errno } => failed(io::Error::from_raw_os_error(errno)),
            _ => failed(io::Error::from(io::ErrorKind::UnexpectedEof)),
        })?;
        // SAFETY:
        // - writable, and the only writer: lock byte 1;
        // - nobody writes below the length: this is the one who could.
        unsafe { seal::store(&self.map, &self.header.uuid, self.len.get()) }.map_err(failed)?;
        let used = self.header.extent.data_offset + self.len.get();
        file::give_back(
            &self.file,
            used.next_multiple_of(self.header.extent.page_bytes)..self.map.known_bytes(),
        );
        Ok(())
    }

    /// What of the published bytes is on the medium, and what is in doubt, as an earlier writer left it.
    ///
    /// What is called durable is brought to the medium, by a policy that syncs each push all of it: an earlier writer may have died before it
    /// was there, or somebody copied the file.
    pub(super) fn find_durable(&self) -> Result<(), AppendError> {
        let live = self.map.live();
        // ORDER none (Relaxed): stored by an earlier writer, whose lock byte this one has now.
        let (word, len) = (live.era.0.durable.load(Ordering::Relaxed), self.len.get());
        let durable = word.min(len);
        self.note_durable(durable);
        if !is_of_this_boot(live) && durable < len {
            self.doubtful.set((durable, len));
        } else {
            store_boot(live);
        }
        match self.policy {
            SyncPolicy::EachPush => self.bring_rest(),
            _ if durable == 0 => Ok(()),
            _ => {
                let data_offset = self.map.extent().data_offset;
                self.synced(self.map.sync(0, data_offset + self.durable.get()))?;
                self.is_word_known.set(true);
                self.synced(file::sync_directory(&self.file, &self.directory))
            }
        }
    }

    /// Brings the bytes below `end` to the medium, and what they need to be found there.
    fn bring(&self, end: u64) -> Result<(), AppendError> {
        if self.rest.get() == Rest::Synced {
            let from = self.durable.get();
            return self.synced(self.map.sync_data(from, end - from));
        }
        self.bring_rest()
    }

    /// Brings everything to the medium: the header, the length, the name, and all bytes, whoever wrote them.
    fn bring_rest(&self) -> Result<(), AppendError> {
        if self.rest.get() == Rest::Found {
            // A sync that failed leaves pages that the system takes for clean: they have to be written again.
            let page_bytes = self.map.extent().page_bytes;
            let from = self.durable.get() / page_bytes * page_bytes;
            self.populate(from, self.len.get().next_multiple_of(page_bytes).max(from))?;
        }
        self.synced(self.file.sync_all())?;
        self.is_word_known.set(true);
        self.synced(file::sync_directory(&self.file, &self.directory))?;
        self.rest.set(Rest::Synced);
        Ok(())
    }

    /// Publishes what was written below `end` with the policy's sync.
    pub(super) fn publish_and_sync(&self, end: u64) -> Result<(), AppendError> {
        if matches!(self.policy, SyncPolicy::EachPush) {
            self.bring(end)?;
        }
        publish::publish(self.map.live(), end);
        self.len.set(end);
        match self.policy {
            SyncPolicy::EachPush => self.claim(end),
            SyncPolicy::Interval(time) if is_over(self.synced_at_ns.get(), time) => self.sync_quietly(),
            SyncPolicy::Interval(_) | SyncPolicy::Never => Ok(()),
        }
    }

    /// The sync that nobody has asked for: what is in doubt stays so.
    fn sync_quietly(&self) -> Result<(), AppendError> {
        self.check()?;
        self.bring(self.len.get())?;
        self.claim(self.len.get())
    }

    /// Says on the medium that the bytes below `end`, which were brought there, are durable.
    fn claim(&self, end: u64) -> Result<(), AppendError> {
        self.store_durable(self.claimable(end));
        self.sync_live()?;
        self.durable.set(end);
        self.synced_at_ns.set(clock::monotonic_ns());
        Ok(())
    }

    /// How much of the bytes below `end`, which are on the medium, may be called durable.
    fn claimable(&self, end: u64) -> u64 {
        match self.doubtful.get() {
            (from, to) if from < to => end.min(from),
            _ => end,
        }
    }

    /// Lets the durable length fall to `target`, on the medium.
    pub(super) fn lower_durable(&self, target: u64) -> Result<(), AppendError> {
        self.note_durable(target);
        self.sync_live()
    }

    /// What follows when the length has fallen to `target`.
    pub(super) fn settle(&self, target: u64) -> Result<(), AppendError> {
        match self.doubtful.get() {
            (from, to) if from < target => self.doubtful.set((from, to.min(target))),
            _ => self.end_doubt(),
        }
        if matches!(self.policy, SyncPolicy::EachPush) { self.sync_live() } else { Ok(()) }
    }

    /// What is there was brought to the medium now, whatever it is.
    fn end_doubt(&self) {
        if self.doubtful.get() != (0, 0) {
            self.doubtful.set((0, 0));
            store_boot(self.map.live());
        }
    }

    pub(super) fn note_durable(&self, durable: u64) {
        self.durable.set(durable);
        self.store_durable(self.claimable(durable));
    }

    fn store_durable(&self, durable: u64) {
        // ORDER none (Relaxed): who reads it has the file after this writer, or only shows it.
        self.map.live().era.0.durable.store(durable, Ordering::Relaxed);
    }

    fn sync_live(&self) -> Result<(), AppendError> {
        self.synced(self.map.sync_live())?;
        self.is_word_known.set(true);
        Ok(())
    }

    fn synced(&self, result: io::Result<()>) -> Result<(), AppendError> {
        if let Err(error) = result {
            self.leave_doubt();
            return Err(self.fail(AppendError::SyncFailed { errno: errno_of(&error) }));
        }
        if self.map.was_hit() { Err(self.fail(AppendError::Truncated)) } else { Ok(()) }
    }
}

impl AppendFile {
    /// After a sync that failed: the system may have dropped pages, the next sync would not say so, and the next writer may be of this boot.
    fn leave_doubt(&self) {
        if self.file.metadata().is_ok_and(|found| found.len() >= self.map.known_bytes()) {
            self.note_durable(self.durable.get());
            store_words(self.map.live(), NO_BOOT);
        }
    }
}

impl Drop for AppendFile {
    fn drop(&mut self) {
        if matches!(self.policy, SyncPolicy::Interval(_)) && self.durable.get() < self.len.get() {
            // Best effort: there is nobody left to hear of it.
            let _ = self.sync_quietly();
        }
    }
}

fn is_over(since_ns: u64, time: std::time::Duration) -> bool {
    u128::from(clock::monotonic_ns().saturating_sub(since_ns)) >= time.as_nanos()
}

/// Whether the file was last made fit in this boot, as far as that is known.
pub(super) fn is_of_this_boot(live: &Live) -> bool {
    // ORDER none (Relaxed): stored by an earlier writer, whose lock byte this one has now.
    let stored = [0, 1].map(|half: usize| live.era.0.boot_id[half].load(Ordering::Relaxed));
    stored != NO_BOOT && clock::is_one_boot(stored, clock::boot_id())
}

/// Whether a file that has `held_bytes` of data, less than its length says, lost the rest in a restart: the system may write the length
/// before it writes how long the file is, but not so what was synced.
pub(super) fn is_cut_by_restart(live: &Live, held_bytes: u64) -> bool {
    // ORDER none (Relaxed): as above.
    !is_of_this_boot(live) && live.era.0.durable.load(Ordering::Relaxed) <= held_bytes
}

/// Notes that all bytes of the file are good in this boot.
pub(super) fn store_boot(live: &Live) {
    store_words(live, clock::boot_id());
}

fn store_words(live: &Live, boot: [u64; 2]) {
    for (word, id) in live.era.0.boot_id.iter().zip(boot) {
        // ORDER none (Relaxed): as above.
        word.store(id, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::options::AppendOptions;

    // Goal: after a sync that failed nothing is taken any more, and every call says why; what was published stays readable. Method: a
    // failure as the kernel reports it.
    #[test]
    fn a_failed_sync_is_final() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = AppendOptions::new().create(directory.path().join("a")).unwrap();
        file.push(b"before").unwrap();
        let failed = AppendError::SyncFailed { errno: libc::EIO };
        assert_eq!(file.synced(Err(io::Error::from_raw_os_error(libc::EIO))), Err(failed));
        assert_eq!(file.push(b"after"), Err(failed));
        assert_eq!(file.sync(), Err(failed));
        assert_eq!((file.clear(), file.resize(3)), (Err(failed), Err(failed)));
        assert!(!file.is_valid() && file.durable_len() == 0);
        assert_eq!(file.data(), b"before");
        assert!(failed.to_string().contains("no more"), "{failed}");
        assert!(matches!(file.seal(), Err(Error::Io { operation: "seal", .. })));
        // Not even nothing.
        let file = AppendOptions::new().create(directory.path().join("b")).unwrap();
        file.push(b"").unwrap();
        assert_eq!(file.synced(Err(io::Error::from_raw_os_error(libc::EIO))), Err(failed));
        assert_eq!(file.push(b""), Err(failed));
    }
}
