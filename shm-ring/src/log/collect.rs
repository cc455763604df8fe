//! Collect: the oldest segments go, of a log to which nobody appends.
//!
//! ```text
//!   lock bytes 0 and 1 --> per segment: manifest RETIRED, synced --> the file loses its name
//! ```
//!
//! What a death between the two leaves: a file below the first segment that the manifest has, which the next who opens the log removes.
//!
//! (I1) as retention by an appender: sealed segments only, the oldest first, and what is to be kept is kept at least; (I2) needs no room but
//! for some bytes of the manifest, because a full disk is when it is wanted.
//! Which segments may go is decided in `retention.rs`.

use super::inspect::{DryRun, Log, lock_file};
use super::manifest::{self, Manifest};
use super::names;
use super::retention::n_to_retire;
use crate::error::Error;
use crate::layout::frame::Position;
use crate::layout::manifest::{Record, State};
use crate::layout::mapped::WRITER_BYTE;
use crate::map::clock;
use crate::map::disk::Disk;
use crate::map::file::{self, io_error};
use crate::map::lock::Locks;
use crate::map::medium::Medium;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long it waits for lock byte 0.
const PATIENCE: Duration = Duration::from_secs(5);

/// What [`Log::gc`] has removed, or would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// Segments.
    pub n_segments: u64,
    /// Bytes of records in them, with headers.
    pub n_bytes: u64,
    /// Where the log begins then.
    pub first_position: Position,
}

impl Log {
    /// Removes the oldest segments of a log to which nobody appends: for as long as `keep_bytes` are left without them, and those whose
    /// newest record is older than `keep_for`. An appender does the same by [`LogOptions::keep_bytes`](crate::LogOptions::keep_bytes) and
    /// [`keep_for`](crate::LogOptions::keep_for). Readers keep what they have mapped.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while an appender lives; [`Error::NotFound`], [`Error::Corrupt`], [`Error::NoSpace`] for the manifest's next bytes,
    /// [`Error::NotWritable`], [`Error::Io`].
    pub fn gc(
        path: impl AsRef<Path>,
        keep_bytes: Option<u64>,
        keep_for: Option<Duration>,
        dry_run: DryRun,
    ) -> Result<GcReport, Error> {
        let path = &file::absolute(path.as_ref());
        let newest_end = Self::inspect(path)?.end_position;
        let disk = Arc::new(Disk::new(path, 0o600));
        let chosen = |state: &State| {
            let sealed: Vec<_> = state.entries.iter().map_while(|entry| entry.sealed).collect();
            let active_bytes = newest_end.saturating_sub(sealed.last().map_or(0, |sealed| sealed.end));
            let n = n_to_retire(state, active_bytes, keep_bytes, keep_for, clock::realtime_ns());
            let n_bytes = sealed[..n].iter().map(|sealed| sealed.end - sealed.base).sum();
            let kept = sealed.get(n).map(|sealed| sealed.base);
            let first_position = kept.or(sealed.last().map(|last| last.end)).unwrap_or(0);
            let numbers: Vec<_> = state.entries[..n].iter().map(|entry| entry.number).collect();
            (numbers, GcReport { n_segments: n as u64, n_bytes, first_position })
        };
        let read = || manifest::read(&*disk).map_err(|trouble| trouble.at(path));
        if dry_run == DryRun::Yes {
            return Ok(chosen(&read()?.reading.state).1);
        }
        let failed = io_error("lock", path);
        let busy = || Error::Busy { what: format!("the appender's place of {path:?}"), pid: 0 };
        let lock = lock_file(&disk, true)?;
        let locks = Locks::new(&lock, true).map_err(&failed)?;
        let repair = locks.repair(PATIENCE).map_err(&failed)?.ok_or_else(busy)?;
        let _alone = repair.take_slot(WRITER_BYTE).map_err(&failed)?.ok_or_else(busy)?;
        let found = read()?;
        let (numbers, report) = chosen(&found.reading.state);
        let mut manifest = Manifest::go_on(disk.clone(), found).map_err(|trouble| trouble.at(path))?;
        for number in numbers {
            manifest.add(&Record::Retired { number }).map_err(|trouble| trouble.at(path))?;
            // Best effort: the next who opens the log removes what the manifest does not have.
            let _ = disk.remove(&names::segment(number));
        }
        Ok(report)
    }
}
