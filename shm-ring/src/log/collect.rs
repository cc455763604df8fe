//! Collect: the oldest segments go, of a log to which nobody appends; or it is said which would.
//!
//! (I1) a dry run takes no lock and changes nothing.
//! Which segments may go is decided in `retention.rs`; who removes them is `options.rs`, as an appender that never appends.

use super::inspect::{DryRun, Log};
use super::names;
use super::options::LogOptions;
use super::reader::open_directory;
use super::retention::{Collected, n_to_retire};
use crate::error::Error;
use crate::map::clock;
use crate::map::file;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

impl Log {
    /// Lets go of the oldest segments of a log to which nobody appends: for as long as `keep_bytes` are left without them, and those whose
    /// newest record is older than `keep_for`; and of files that were kept to be used again. Readers keep what they have mapped. With
    /// [`DryRun::Yes`], says what would go.
    ///
    /// # Errors
    ///
    /// As [`LogOptions::open`]: [`Error::Busy`] while an appender lives, which lets go of its segments itself; [`Error::Invalid`] when
    /// neither limit was given. A dry run fails with [`Error::NotFound`], [`Error::Corrupt`] and [`Error::Io`] only.
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("log");
    /// use shm_ring::{DryRun, Log, LogOptions};
    ///
    /// let mut log = LogOptions::new().segment_bytes(64 << 10).create(&path)?;
    /// for _ in 0..100 {
    ///     log.append(&[0; 4000])?;
    /// }
    /// drop(log);
    /// let collected = Log::gc(&path, Some(100_000), None, DryRun::No)?;
    /// assert!(collected.n_segments >= 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gc(
        path: impl AsRef<Path>,
        keep_bytes: Option<u64>,
        keep_for: Option<Duration>,
        dry_run: DryRun,
    ) -> Result<Collected, Error> {
        let path = &file::absolute(path.as_ref());
        let stats = Self::inspect(path)?;
        if dry_run == DryRun::No {
            let mut options = LogOptions::new();
            if let Some(newest) = stats.segments.last() {
                options = options.segment_bytes(newest.data_bytes);
                // Who may read the log may read the segment that is made here.
                if let Ok(found) = std::fs::metadata(path.join(names::segment(newest.number))) {
                    options = options.mode(found.mode() & 0o777);
                }
            }
            if let Some(bytes) = keep_bytes {
                options = options.keep_bytes(bytes);
            }
            if let Some(time) = keep_for {
                options = options.keep_for(time);
            }
            return options.gc(path);
        }
        let (_, found) = open_directory(path)?;
        let state = &found.reading.state;
        let sealed: Vec<_> = state.entries.iter().map_while(|entry| entry.sealed).collect();
        let active_bytes = stats.end_position.saturating_sub(sealed.last().map_or(0, |sealed| sealed.end));
        let n = n_to_retire(state, active_bytes, keep_bytes, keep_for, clock::realtime_ns());
        let n_bytes = sealed[..n].iter().map(|sealed| sealed.end - sealed.base).sum();
        Ok(Collected { n_segments: n as u64, n_bytes })
    }
}
