//! Durable: what of an append file is on the medium, and how it gets there.
//!
//! | policy     | a push syncs | after a power cut |
//! |------------|--------------|-------------------|
//! | `Never`    | nothing      | what the caller synced, and what the system wrote by itself |
//! | `EachPush` | the bytes, publishes them, then the length | every push that returned |
//! | `Interval` | all of it, when so long has passed | all but the last of it |
//!
//! (I1) the durable word is raised after the data below it was synced, and lowered, on the medium, before the length is: whoever writes
//! those bytes anew, be it the next writer after a kill, finds the medium saying that they are not durable;
//! (I2) a sync that failed is final: the system may have dropped the pages, and the next sync would not say so; (I3) the boot id in the
//! file is the one for which all of its bytes are what was written.

use super::error::{AppendError, errno_of};
use super::options::SyncPolicy;
use super::{AppendFile, publish};
use crate::error::{Error, FileKind};
use crate::layout::mapped::Live;
use crate::map::file::{self, io_error};
use crate::map::{clock, seal};
use crate::sync::Ordering;
use std::io;
use std::path::Path;

impl AppendFile {
    /// Brings everything that is published to the medium, and returns when it is there.
    ///
    /// # Errors
    ///
    /// [`AppendError::SyncFailed`], which is final; [`AppendError::Forked`]; [`AppendError::Truncated`].
    pub fn sync(&self) -> Result<(), AppendError> {
        self.check()?;
        let (from, to) = (self.durable.get(), self.len.get());
        self.synced(self.map.sync_data(from, to - from))?;
        self.note_durable(to);
        self.end_doubt();
        self.synced(self.map.sync_live())?;
        if !self.is_named.get() {
            self.synced(sync_name(&self.path))?;
            self.is_named.set(true);
        }
        self.synced_at_ns.set(clock::monotonic_ns());
        Ok(())
    }

    /// Published bytes that are known to be on the medium.
    pub fn durable_len(&self) -> u64 {
        if self.map.is_here() { self.durable.get() } else { 0 }
    }

    /// Finishes the file: nobody writes it any more, and a checksum covers its length and its bytes. From then on it can be opened as a
    /// snapshot, and followed, but not for writing. Space that was allocated ahead is given back where the file system can do that.
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
    pub(super) fn find_durable(&self) {
        let live = self.map.live();
        // ORDER none (Relaxed): stored by an earlier writer, whose lock byte this one has now.
        let (durable, len) = (live.era.0.durable.load(Ordering::Relaxed), self.len.get());
        self.durable.set(durable.min(len));
        if !is_of_this_boot(live) && durable < len {
            self.doubtful.set((durable, len));
        } else {
            store_boot(live);
        }
    }

    /// Publishes what was written below `end` with the policy's sync.
    pub(super) fn publish_and_sync(&self, end: u64) -> Result<(), AppendError> {
        if matches!(self.policy, SyncPolicy::EachPush) {
            let from = self.durable.get();
            self.synced(self.map.sync_data(from, end - from))?;
        }
        publish::publish(self.map.live(), end);
        self.len.set(end);
        match self.policy {
            SyncPolicy::EachPush => {
                self.note_durable(end);
                self.end_doubt();
                self.synced(self.map.sync_live())
            }
            SyncPolicy::Interval(time) if !is_over(self.synced_at_ns.get(), time) => Ok(()),
            SyncPolicy::Interval(_) => self.sync(),
            SyncPolicy::Never => Ok(()),
        }
    }

    /// Lets the durable length fall to `target`, on the medium.
    pub(super) fn lower_durable(&self, target: u64) -> Result<(), AppendError> {
        self.note_durable(target);
        self.synced(self.map.sync_live())
    }

    /// What follows when the length has fallen to `target`.
    pub(super) fn settle(&self, target: u64) -> Result<(), AppendError> {
        match self.doubtful.get() {
            (from, to) if from < target => self.doubtful.set((from, to.min(target))),
            _ => self.end_doubt(),
        }
        if matches!(self.policy, SyncPolicy::EachPush) { self.synced(self.map.sync_live()) } else { Ok(()) }
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
        // ORDER none (Relaxed): who reads it has the file after this writer, or only shows it.
        self.map.live().era.0.durable.store(durable, Ordering::Relaxed);
    }

    fn synced(&self, result: io::Result<()>) -> Result<(), AppendError> {
        let failed = |error: io::Error| self.fail(AppendError::SyncFailed { errno: errno_of(&error) });
        result.map_err(failed)?;
        if self.map.was_hit() { Err(self.fail(AppendError::Truncated)) } else { Ok(()) }
    }
}

impl Drop for AppendFile {
    fn drop(&mut self) {
        if matches!(self.policy, SyncPolicy::Interval(_)) && self.durable.get() < self.len.get() {
            // Best effort: there is nobody left to hear of it.
            let _ = self.sync();
        }
    }
}

fn is_over(since_ns: u64, time: std::time::Duration) -> bool {
    u128::from(clock::monotonic_ns().saturating_sub(since_ns)) >= time.as_nanos()
}

/// Whether the file was last made fit in this boot, as far as that is known.
fn is_of_this_boot(live: &Live) -> bool {
    let boot = clock::boot_id();
    // ORDER none (Relaxed): stored by an earlier writer, whose lock byte this one has now.
    let stored = [0, 1].map(|half: usize| live.era.0.boot_id[half].load(Ordering::Relaxed));
    // Zeros: /proc could not be read, then or now. That is no sign of a restart.
    stored == boot || stored == [0, 0] || boot == [0, 0]
}

/// Notes that all bytes of the file are good in this boot.
pub(super) fn store_boot(live: &Live) {
    for (word, id) in live.era.0.boot_id.iter().zip(clock::boot_id()) {
        // ORDER none (Relaxed): as above.
        word.store(id, Ordering::Relaxed);
    }
}

/// Brings the file's name to the medium.
fn sync_name(path: &Path) -> io::Result<()> {
    match std::fs::File::open(file::directory_of(path)) {
        Ok(directory) => directory.sync_all(),
        // Who may write a directory need not be allowed to read it: then nothing can be said, and nothing more be done.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
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
    }
}
