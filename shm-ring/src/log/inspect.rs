//! Inspect: how a log stands, without disturbing anybody.
//!
//! (I1) nothing is written, no lock is taken that anybody wants, no record is read; (I2) what is said may be of different moments, while an
//! appender is at work.
//! The doors to `verify.rs`, `repair.rs` and `cursor.rs` are here, too.

use super::cursor;
use super::names::{self, Name};
use super::reader::{check_name, not_there, open_directory};
use super::repair::{self, RepairReport};
use super::seek::LogStart;
use super::verify::{self, LogReport, VerifyProgress};
use super::view::Standing;
use super::walk::Walk;
use crate::error::{Error, FileKind};
use crate::layout::cursor::LogCursor;
use crate::layout::frame::{FRAME_ALIGN, Position};
use crate::layout::header::uuid_text;
use crate::layout::mapped::WRITER_BYTE;
use crate::layout::segment::Sealed;
use crate::map::clock;
use crate::map::disk::Disk;
use crate::map::file::{self, io_error};
use crate::map::lock::Locks;
use crate::map::medium::Medium;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a repair waits for lock byte 0.
const PATIENCE: Duration = Duration::from_secs(5);

/// A log that is neither appended to nor read here: how it stands, its cursors, and its mending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Log {}

/// How a log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// Names the log.
    pub uuid: String,
    /// When it was created, ns since the Unix epoch.
    pub created_ns: u64,
    /// Segments that have been appended to, oldest first.
    pub segments: Vec<LogSegment>,
    /// Segments that are ready to be appended to.
    pub n_prepared: u64,
    /// Where the oldest segment begins.
    pub first_position: Position,
    /// Where the newest one ends.
    pub end_position: Position,
    /// Everything below it is known to be on the medium.
    pub durable: Position,
    /// Records of sealed segments; those of the newest are not counted.
    pub n_records: u64,
    /// Whether an appender lives.
    pub has_appender: bool,
    /// Its process, or the last one's; display only, 0: unknown.
    pub appender_pid: u32,
    /// What is saved under names, in their order.
    pub cursors: Vec<CursorStats>,
}

/// One segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogSegment {
    /// Its number, which its file's name begins with.
    pub number: u64,
    /// Where it begins.
    pub base: Position,
    /// Where it ends, so far.
    pub end: Position,
    /// Bytes that records can have in it.
    pub data_bytes: u64,
    /// Whether nothing comes any more.
    pub is_sealed: bool,
    /// Whether a sync of it has failed, or the machine was restarted since it was appended to: its end may not be there.
    pub is_suspect: bool,
    /// Records, when it is sealed.
    pub n_records: Option<u64>,
    /// The least timestamp of one, when it is sealed and has any; ns since the Unix epoch.
    pub first_ns: Option<u64>,
    /// The greatest.
    pub last_ns: Option<u64>,
    /// Bytes that are marked as damaged.
    pub hole_bytes: u64,
}

/// A cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CursorStats {
    /// Its name.
    pub name: String,
    /// Where reading goes on; `None`: the file is damaged, or of another log.
    pub position: Option<Position>,
    /// When it was saved, ns since the Unix epoch.
    pub saved_ns: Option<u64>,
}

impl Log {
    /// How the log in that directory stands. Disturbs nobody, and needs no write permission.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`], [`Error::Io`].
    pub fn inspect(path: impl AsRef<Path>) -> Result<LogStats, Error> {
        let path = &file::absolute(path.as_ref());
        let (disk, found) = open_directory(path)?;
        let state = &found.reading.state;
        let has_appender = has_appender(&disk)?;
        let walk = Walk::new(Arc::new(disk), found.reading.state.log_uuid, clock::boot_id());
        let mut stats = LogStats {
            uuid: uuid_text(&state.log_uuid),
            created_ns: state.created_ns,
            segments: vec![],
            n_prepared: 0,
            first_position: 0,
            end_position: 0,
            durable: 0,
            n_records: 0,
            has_appender,
            appender_pid: 0,
            cursors: cursors(&*walk.medium, &state.log_uuid).map_err(|trouble| trouble.at(path))?,
        };
        let first = state.entries.first().map_or(0, |first| first.number);
        for number in walk.numbers_behind(first.saturating_sub(1)).map_err(|error| not_there(error, path))? {
            let Ok(Some((segment, look))) = walk.open(number) else {
                // Gone meanwhile, or damaged, which `verify` tells.
                continue;
            };
            let sealed: Option<Sealed> = match look.standing {
                Standing::Prepared => {
                    stats.n_prepared += 1;
                    continue;
                }
                Standing::Active { .. } | Standing::Claimed { .. } => None,
                Standing::Sealed(sealed) => Some(sealed),
            };
            let holes = state.place_of(number).map_or(&[][..], |place| &state.entries[place].holes);
            let timed = sealed.filter(|sealed| sealed.n_records > 0);
            stats.appender_pid = segment.writer_pid();
            stats.durable =
                if sealed.is_some() { look.end } else { segment.durable().clamp(look.base, look.end) };
            stats.n_records += sealed.map_or(0, |sealed| sealed.n_records);
            stats.segments.push(LogSegment {
                number,
                base: look.base,
                end: look.end,
                data_bytes: segment.header().extent.data_bytes,
                is_sealed: sealed.is_some(),
                is_suspect: look.standing.may_be_torn(),
                n_records: sealed.map(|sealed| sealed.n_records),
                first_ns: timed.map(|sealed| sealed.first_ns),
                last_ns: timed.map(|sealed| sealed.last_ns),
                hole_bytes: holes.iter().map(|(from, to)| to - from).sum(),
            });
        }
        stats.first_position = stats.segments.first().map_or(0, |segment| segment.base);
        stats.end_position = stats.segments.last().map_or(0, |segment| segment.end);
        Ok(stats)
    }

    /// Looks at every byte of the log's records and notices, and at what surrounds them, whether an appender is at work or not. Goes on behind
    /// damage. `progress` is called in front of each segment.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Corrupt`] for a manifest that can't be read at all, which [`Log::repair`] makes anew; [`Error::Io`].
    /// Damage is no error but in the report.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("log");
    /// # shm_ring::LogOptions::new().segment_bytes(64 << 10).create(&path)?.append(b"hello")?;
    /// let report = shm_ring::Log::verify(&path, |progress| eprintln!("segment {}", progress.segment))?;
    /// assert!(report.is_clean());
    /// assert_eq!(report.n_records, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(path: impl AsRef<Path>, progress: impl FnMut(VerifyProgress)) -> Result<LogReport, Error> {
        let path = &file::absolute(path.as_ref());
        let disk = Arc::new(Disk::new(path, 0o600));
        verify::verify(&disk, clock::boot_id(), progress).map_err(|trouble| trouble.at(path))
    }

    /// Mends a damaged log: marks what is gone, so that readers are told of a [gap](crate::LogGapReason::Damaged) and go on, and makes anew
    /// what can be made from the rest. Removes nothing, cuts nothing, and writes into no segment: what takes the place of a file is a new one,
    /// and what was there before is kept in files that begin with `aside-`. With `dry_run` it only says what it would do.
    ///
    /// A log that has lost its `LOCK` gets a new one: an appender that still lives by the old one, which has no name any more, is not seen then.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while an appender lives; [`Error::NotFound`]; [`Error::NotWritable`], [`Error::NoSpace`], [`Error::Io`].
    pub fn repair(path: impl AsRef<Path>, dry_run: DryRun) -> Result<RepairReport, Error> {
        let path = &file::absolute(path.as_ref());
        let disk = Arc::new(Disk::new(path, 0o600));
        let busy = || Error::Busy { what: format!("the appender's place of {path:?}"), pid: 0 };
        let mend =
            |is_dry| repair::repair(&disk, clock::boot_id(), is_dry).map_err(|trouble| trouble.at(path));
        if dry_run == DryRun::Yes {
            if has_appender(&disk)? {
                return Err(busy());
            }
            return mend(true);
        }
        let failed = io_error("lock", path);
        let lock = match lock_file(&disk, true) {
            Err(Error::NotFound { .. }) if is_log(&disk).map_err(io_error("list", path))? => {
                lock_anew(&disk)?
            }
            other => other?,
        };
        let locks = Locks::new(&lock, true).map_err(&failed)?;
        let repair = locks.repair(PATIENCE).map_err(&failed)?.ok_or_else(busy)?;
        let _alone = repair.take_slot(WRITER_BYTE).map_err(&failed)?.ok_or_else(busy)?;
        // Byte 0 is held under the process lock, for which every ring of this process would wait.
        drop(repair);
        mend(false)
    }

    /// What is saved under names, in their order.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`], [`Error::Io`].
    pub fn cursors(path: impl AsRef<Path>) -> Result<Vec<CursorStats>, Error> {
        let path = &file::absolute(path.as_ref());
        let (disk, found) = open_directory(path)?;
        cursors(&disk, &found.reading.state.log_uuid).map_err(|trouble| trouble.at(path))
    }

    /// Saves a cursor for somebody else.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that can't be, and for a position that is no multiple of 16 or that the log has not reached; otherwise as
    /// [`LogReader::save_cursor`](crate::LogReader::save_cursor).
    pub fn set_cursor(path: impl AsRef<Path>, name: &str, position: Position) -> Result<(), Error> {
        let path = &file::absolute(path.as_ref());
        let name = check_name(name)?;
        let (disk, found) = open_directory(path)?;
        if position % FRAME_ALIGN != 0 {
            let (expected, found) = (format!("a multiple of {FRAME_ALIGN}"), position.to_string());
            return Err(Error::Invalid { option: "position", expected, found });
        }
        let mut walk = Walk::new(Arc::new(disk), found.reading.state.log_uuid, clock::boot_id());
        walk.seek(LogStart::At(position)).map_err(|error| not_there(error, path))?;
        let log_uuid = found.reading.state.log_uuid;
        let cursor = LogCursor { log_uuid, position, saved_ns: clock::realtime_ns() };
        cursor::save(&*walk.medium, name, &cursor).map_err(|trouble| trouble.at(path))
    }

    /// Removes a cursor.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when there is none (with [`NotFound`](std::io::ErrorKind::NotFound)), or it can't be removed; [`Error::Invalid`].
    pub fn remove_cursor(path: impl AsRef<Path>, name: &str) -> Result<(), Error> {
        let path = &file::absolute(path.as_ref());
        let (disk, _) = open_directory(path)?;
        cursor::remove(&disk, check_name(name)?).map_err(|trouble| trouble.at(path))
    }
}

/// Whether [`Log::repair`] only says what it would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    /// Nothing is changed.
    Yes,
    /// What is damaged is mended.
    No,
}

fn cursors<M: Medium>(medium: &M, log_uuid: &[u8; 16]) -> Result<Vec<CursorStats>, super::error::Trouble> {
    let names = cursor::list(medium)?;
    let stats = names.into_iter().map(|name| {
        let cursor = cursor::load(medium, log_uuid, &name).ok();
        CursorStats {
            position: cursor.map(|cursor| cursor.position),
            saved_ns: cursor.map(|c| c.saved_ns),
            name,
        }
    });
    Ok(stats.collect())
}

fn lock_file(disk: &Disk, writable: bool) -> Result<std::fs::File, Error> {
    let path = disk.path().join(names::LOCK);
    file::open_regular(&path, FileKind::Log, writable).map(|(file, _)| file)
}

/// Whether anything of a log is there but the lock file.
fn is_log(disk: &Disk) -> std::io::Result<bool> {
    let is_ours =
        |name: &String| matches!(Name::of(name), Name::Current | Name::Manifest(_) | Name::Segment(_));
    Ok(disk.names()?.iter().any(is_ours))
}

/// Makes the lock file of a log that has lost it; read by those who read the rest.
fn lock_anew(disk: &Disk) -> Result<std::fs::File, Error> {
    let path = disk.path().join(names::LOCK);
    let mode =
        std::fs::metadata(disk.path().join(names::CURRENT)).map_or(0o600, |found| found.mode() & 0o644);
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode);
    options.open(&path).map_err(io_error("create the lock of", disk.path()))
}

/// Whether an appender holds its lock byte.
fn has_appender(disk: &Disk) -> Result<bool, Error> {
    let lock = match lock_file(disk, false) {
        // Nobody appends without one.
        Err(Error::NotFound { .. }) => return Ok(false),
        other => other?,
    };
    let failed = io_error("examine the locks of", disk.path());
    let locks = Locks::new(&lock, false).map_err(&failed)?;
    let probe = locks.probe().map_err(&failed)?;
    probe.is_held(WRITER_BYTE).map_err(&failed)
}
