//! Reader: the records of a log in order, from any process, without being waited for.
//!
//! (I1) nothing is written but lock byte 2 of the segment that is mapped, and cursors when they are saved; (I2) a record is handed out only
//! after its checksum was compared, in place, out of files that nobody but this user and root can write; (I3) a record borrows the reader,
//! which keeps its segment mapped and from being used again; (I4) whoever waits looks, in growing pauses: an appender does not know of its
//! readers.
//! The walk is in `walk.rs`, the starts in `seek.rs`.

use super::cursor;
use super::error::Trouble;
use super::item::{LogGap, LogItem, LogReadError, Logged};
use super::manifest;
use super::names::{self, Name};
use super::seek::LogStart;
use super::view::Framed;
use super::walk::{Step, Walk};
use crate::error::{Error, FileKind};
use crate::layout::cursor::LogCursor;
use crate::layout::frame::Position;
use crate::map::clock;
use crate::map::disk::Disk;
use crate::map::file::{self, io_error};
use crate::map::fork::Side;
use crate::map::medium::Medium;
use crate::map::network::refuse_network;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks of somebody who waits.
const PAUSE_MIN: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(2);

/// Reads a log, while it is appended to or not, in this process or in another.
///
/// Takes no lock that an appender wants, needs no write permission, and keeps one segment mapped, which is not used again before the reader
/// has left it, even if retention has removed it. What is missing is told as a [`LogGap`] where it is missing.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("log");
/// # let mut appender = shm_ring::LogOptions::new().segment_bytes(64 << 10).create(&path)?;
/// # appender.append(b"hello")?;
/// use shm_ring::{LogItem, LogReader, LogStart};
/// use std::time::Duration;
///
/// let mut reader = LogReader::open(&path)?;
/// reader.seek(LogStart::Oldest)?;
/// while let Some(item) = reader.next_timeout(Duration::from_millis(1))? {
///     match item {
///         LogItem::Record(record) => println!("{}: {} bytes", record.position(), record.len()),
///         LogItem::Gap(gap) => eprintln!("{:?}: {:?} bytes are missing", gap.reason, gap.n_bytes),
///     }
/// }
/// # assert!(reader.position() > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LogReader {
    walk: Walk<Disk>,
    log_uuid: [u8; 16],
    path: PathBuf,
    side: Side,
    stats: LogReaderStats,
}

/// What a reader has read since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogReaderStats {
    /// Records that were handed out.
    pub n_records: u64,
    /// Gaps that were handed out.
    pub n_gaps: u64,
    /// Bytes of payload that were handed out.
    pub payload_bytes: u64,
}

/// A log's manifest, and the directory that it is in.
pub(super) fn open_directory(path: &Path) -> Result<(Disk, manifest::Found), Error> {
    let disk = Disk::new(path, 0o600);
    let found = manifest::read(&disk).map_err(|trouble| trouble.at(path))?;
    Ok((disk, found))
}

impl LogReader {
    /// Opens a log, at its oldest record.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Corrupt`] when its manifest can't be read, which `shm-ring repair` mends; [`Error::WrongOwner`] and
    /// [`Error::WrongMode`] for files that others than this user and root can write, who could change a record while it is looked at;
    /// [`Error::NetworkFileSystem`]; [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = &file::absolute(path.as_ref());
        let side = Side::current().map_err(io_error("prepare for forks for", path))?;
        let opened = open_directory(path);
        // What is refused when it is opened is refused here by name.
        check_writers(path)?;
        let (disk, found) = opened?;
        let log_uuid = found.reading.state.log_uuid;
        let mut walk = Walk::new(Arc::new(disk), log_uuid, clock::boot_id());
        // What can't be read is told by the first step.
        let _ = walk.seek(LogStart::Oldest);
        Ok(Self { walk, log_uuid, path: path.clone(), side, stats: LogReaderStats::default() })
    }

    /// Goes to another place.
    ///
    /// # Errors
    ///
    /// [`LogReadError::NoSuchPosition`] for a position behind the end, and the reader stays where it is; [`LogReadError::Damaged`] when the
    /// newest segment can't be read at all; [`LogReadError::Forked`], [`LogReadError::System`].
    pub fn seek(&mut self, start: LogStart) -> Result<(), LogReadError> {
        self.here()?;
        self.walk.seek(start)
    }

    /// Goes to where a cursor was saved, and says where that is. What retention has removed since is the first item, a gap.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when there is no such cursor (with [`NotFound`](std::io::ErrorKind::NotFound)), or it can't be read; [`Error::Corrupt`]
    /// for what is no cursor of this log; [`Error::Invalid`] for a name that is none, and for a position that the log does not have;
    /// [`Error::Forked`].
    pub fn seek_cursor(&mut self, name: &str) -> Result<Position, Error> {
        self.here().map_err(|_| Error::Forked)?;
        let cursor = cursor::load(&*self.walk.medium, &self.log_uuid, check_name(name)?);
        let position = cursor.map_err(|trouble| trouble.at(&self.path))?.position;
        self.walk.seek_left(position).map_err(|error| not_there(error, &self.path))?;
        Ok(position)
    }

    /// The next record or gap; `None`: there is none yet. Returns at once.
    ///
    /// # Errors
    ///
    /// [`LogReadError::Damaged`] for what is not what was written, again and again until [`skip_damage`](Self::skip_damage);
    /// [`LogReadError::Truncated`], [`LogReadError::Forked`], [`LogReadError::System`].
    #[expect(clippy::should_implement_trait, reason = "an item borrows the reader, which no iterator's does")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<LogItem<'_>>, LogReadError> {
        let step = self.advance()?;
        Ok(step.map(|step| self.item(step)))
    }

    /// The next record or gap; waits for one at most so long.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<LogItem<'_>>, LogReadError> {
        let mut step = self.advance()?;
        if step.is_none() {
            let start = Instant::now();
            let mut pause = PAUSE_MIN;
            loop {
                let left = timeout.saturating_sub(start.elapsed());
                if left.is_zero() {
                    break;
                }
                std::thread::sleep(pause.min(left));
                pause = (pause * 2).min(PAUSE_MAX);
                step = self.advance()?;
                if step.is_some() {
                    break;
                }
            }
        }
        Ok(step.map(|step| self.item(step)))
    }

    /// Goes on behind the damage that [`next`](Self::next) has met, at the next frame that checks, and says what was skipped.
    ///
    /// # Errors
    ///
    /// [`LogReadError::Forked`], [`LogReadError::System`].
    pub fn skip_damage(&mut self) -> Result<LogGap, LogReadError> {
        self.here()?;
        let gap = self.walk.skip_damage()?;
        self.stats.n_gaps += 1;
        Ok(gap)
    }

    /// Where the next item is, or will be: behind the last one. A cursor that is saved here goes on with the next.
    pub fn position(&self) -> Position {
        self.walk.position
    }

    /// Puts the position under a name, on the medium, where [`seek_cursor`](Self::seek_cursor) finds it. Needs write permission for the
    /// directory; syncs a small file and the directory.
    ///
    /// Who saves *behind* its work does it again after a death (at least once); who saves in front of it may not do it at all.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that is not 1 to 64 letters, digits, `.`, `_` and `-`, or ends in `.tmp`; [`Error::NoSpace`],
    /// [`Error::Io`], [`Error::Forked`].
    pub fn save_cursor(&self, name: &str) -> Result<(), Error> {
        self.here().map_err(|_| Error::Forked)?;
        let cursor =
            LogCursor { log_uuid: self.log_uuid, position: self.position(), saved_ns: clock::realtime_ns() };
        cursor::save(&*self.walk.medium, check_name(name)?, &cursor).map_err(|trouble| trouble.at(&self.path))
    }

    /// What this reader has read so far.
    pub fn stats(&self) -> LogReaderStats {
        self.stats
    }

    /// The log's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next thing, whatever it is, for who looks for marks, too; `None`: there is none yet.
    pub(crate) fn step(&mut self) -> Result<Option<Step>, LogReadError> {
        self.here()?;
        self.walk.step()
    }

    /// Where it is.
    pub(crate) fn walk(&self) -> &Walk<Disk> {
        &self.walk
    }

    /// The payload of the frame of the last step.
    pub(crate) fn payload(&self, framed: &Framed) -> &[u8] {
        self.walk.payload(framed)
    }

    #[inline(always)]
    fn advance(&mut self) -> Result<Option<Step>, LogReadError> {
        self.here()?;
        loop {
            let step = self.walk.step()?;
            match step {
                Some(Step::Record(framed)) => {
                    self.stats.n_records += 1;
                    self.stats.payload_bytes += u64::from(framed.head.len_bytes);
                }
                Some(Step::Gap(_)) => self.stats.n_gaps += 1,
                Some(Step::Mark(_)) => continue,
                None => {}
            }
            return Ok(step);
        }
    }

    #[inline(always)]
    fn item(&self, step: Step) -> LogItem<'_> {
        match step {
            Step::Record(framed) | Step::Mark(framed) => {
                LogItem::Record(Logged::new(framed, self.walk.payload(&framed)))
            }
            Step::Gap(gap) => LogItem::Gap(gap),
        }
    }

    #[inline(always)]
    fn here(&self) -> Result<(), LogReadError> {
        if self.side.is_here() { Ok(()) } else { Err(LogReadError::Forked) }
    }
}

/// A name that a cursor can have.
pub(super) fn check_name(name: &str) -> Result<&str, Error> {
    if cursor::is_name(name) {
        return Ok(name);
    }
    Err(Error::Invalid {
        option: "the name of a cursor",
        expected: "1 to 64 letters, digits, '.', '_' and '-', and no '.tmp' at its end".into(),
        found: format!("{name:?}"),
    })
}

/// A position that can't be gone to.
pub(super) fn not_there(error: LogReadError, path: &Path) -> Error {
    match error {
        LogReadError::NoSuchPosition { position, end } => Error::Invalid {
            option: "position",
            expected: format!("at most {end}, where the log ends"),
            found: position.to_string(),
        },
        LogReadError::System { operation, errno } => {
            let source = std::io::Error::from_raw_os_error(errno);
            Error::Io { operation, path: path.to_path_buf(), source }
        }
        LogReadError::Damaged { segment, position, what } => Trouble::Corrupt {
            name: names::segment(segment),
            what,
            expected: "what was written: `shm-ring verify` lists all damage, `shm-ring repair` marks it"
                .into(),
            found: format!("something else at position {position}"),
        }
        .at(path),
        LogReadError::Truncated { .. } | LogReadError::Forked => Error::Forked,
    }
}

/// Refuses a log of files that others could change while they are mapped, or that is not on this machine.
pub(crate) fn check_writers(path: &Path) -> Result<(), Error> {
    let disk = Disk::new(path, 0o600);
    // That there is no log was found out already.
    let Ok(names) = disk.names() else { return Ok(()) };
    let least = |is_wanted: fn(Name) -> bool| names.iter().filter(|name| is_wanted(Name::of(name))).min();
    // All are made by whom made the first; each is asked again when it is opened.
    let wanted = [
        (least(|name| matches!(name, Name::Current | Name::Manifest(_))), FileKind::Log),
        (least(|name| matches!(name, Name::Segment(_))), FileKind::Segment),
    ];
    for (name, kind) in wanted {
        let Some(path) = name.map(|name| path.join(name)) else { continue };
        let flags = libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK;
        match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => {
                file::check_reader(&file, &path, kind)?;
                refuse_network(&file, &path, kind)?;
            }
            // Retired just now.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("open", &path)(error)),
        }
    }
    Ok(())
}
