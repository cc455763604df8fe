//! Collect: the oldest segments go, of a log to which nobody appends; or it is said which would.
//!
//! (I1) a dry run takes no lock and changes nothing.
//! Which segments may go is decided in `retention.rs`; who removes them is `options.rs`, as an appender that never appends.

use super::inspect::{DryRun, Log};
use super::options::LogOptions;
use super::reader::open_directory;
use super::retention::{Collected, n_to_retire};
use crate::error::Error;
use crate::map::clock;
use crate::map::file;
use std::path::Path;
use std::time::Duration;

impl Log {
    /// Removes the oldest segments of a log to which nobody appends: for as long as `keep_bytes` are left without them, and those whose
    /// newest record is older than `keep_for`. With [`DryRun::Yes`], says what it would remove. Otherwise as [`LogOptions::gc`].
    ///
    /// # Errors
    ///
    /// As [`LogOptions::gc`]; a dry run fails with [`Error::NotFound`], [`Error::Corrupt`] and [`Error::Io`] only.
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
