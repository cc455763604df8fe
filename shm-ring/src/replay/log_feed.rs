//! Log feed: a log, or one sealed segment of one, into a stage.
//!
//! ```text
//!   mapped   Walk: the segment is mapped ---- frames, where they lie ----------> stage
//!   parked   Walk: parked --attach, copy a block, park--> frames of the block -> stage
//! ```
//!
//! Frames one behind the other are a run (`log/run.rs`); what a run stops at, and where a segment ends, the walk knows.
//!
//! (I1) a record is staged behind the comparison of its checksum; (I2) mapped or parked, the same records, gaps and errors come; (I3) while it
//! is parked it has neither a map nor a descriptor, but for the moment in which it copies.

use super::feed::{Feed, Filled, keep_copies, pinned, stage_record};
use super::missed::{Missed, Told};
use super::seat::Seat;
use super::shared::Shared;
use super::source::{SourceError, Stamp};
use super::stage::{Stage, Tags};
use super::window::Windowed;
use crate::error::{Error, FileKind};
use crate::layout::frame::decode_tags;
use crate::layout::segment::{Key, span_of_log_record};
use crate::log::chart::Chart;
use crate::log::item::LogReadError;
use crate::log::names;
use crate::log::park::NotAlone;
use crate::log::reader;
use crate::log::run::{Found, Run, Stop};
use crate::log::skim::Remembered;
use crate::log::view::{Framed, Unseen};
use crate::log::walk::{Step, Walk};
use crate::map::advice::{self, Advised};
use crate::map::budget::MapUsage;
use crate::map::clock;
use crate::map::disk::{Disk, DiskMap};
use crate::map::fork::Side;
use crate::map::medium::Medium;
use crate::map::network::refuse_network;
use crate::map::reserve::{is_short, is_short_errno};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log, or one segment.
#[derive(Debug)]
pub(crate) struct LogFeed {
    walk: Walk<Disk>,
    /// What is read while no segment is mapped.
    block: Option<Block>,
    seat: Seat,
    remembered: Remembered,
    missed: Missed,
    told: Told,
    side: Side,
    /// The segment that the window is of.
    windowed: Option<u64>,
}

/// Frames of a segment, copied.
#[derive(Debug)]
struct Block {
    key: Key,
    /// The position of the first byte.
    base: u64,
    bytes: Vec<u8>,
}

impl LogFeed {
    /// Opens a log's directory, which is on that device.
    pub(crate) fn open(path: &Path, device: u64, shared: &Arc<Shared>) -> Result<Self, Error> {
        let side = side(path)?;
        let disk = disk_of(path, shared);
        let read = || Chart::read(&disk);
        let is_short_now = |trouble: &crate::log::error::Trouble| matches!(trouble, crate::log::error::Trouble::Io { source, .. } if is_short(source));
        let chart = match shared.reserve.with(is_short_now, read) {
            Ok(chart) => chart,
            Err(trouble) => {
                // A file that others can write is refused by name.
                reader::check_writers(path)?;
                return Err(trouble.at(path));
            }
        };
        shared.is_local(device, || reader::check_writers(path))?;
        let seat = Seat::new(shared)?;
        let remembered = Remembered::of(&chart);
        let mut walk = Walk::new(Arc::new(disk), chart.state().log_uuid, shared.boot_id);
        // What can't be read is told by the first step; but not that others can write it.
        let begun = shared.reserve.with(is_short_read, || walk.begin_at_oldest(&chart));
        if let Err(LogReadError::System { errno: libc::EPERM, .. }) = begun {
            reader::check_writers(path)?;
        }
        Ok(Self::new(walk, seat, remembered, side))
    }

    /// Opens one sealed segment.
    pub(crate) fn open_segment(path: &Path, shared: &Arc<Shared>) -> Result<Self, Error> {
        let side = side(path)?;
        let kind = FileKind::Segment;
        let (disk, name) = disk_of(crate::map::file::directory_of(path), shared)
            .calling(path.file_name().unwrap_or(path.as_os_str()));
        let disk = Arc::new(disk);
        let not_opened = |error: io::Error| match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::NotFound, _) => Error::NotFound { kind, path: path.to_path_buf() },
            (_, Some(libc::EPERM)) => {
                writable(path, kind).err().unwrap_or_else(|| io_at("open", path, error))
            }
            _ => io_at("open", path, error),
        };
        let walk = shared.open(|| {
            let file = disk.open(&name, false).map_err(not_opened)?;
            if let Some(identity) = file.identity() {
                shared.is_local(identity.device, || refuse_network(file.file(), path, kind))?;
            }
            let alone = Walk::alone(Arc::clone(&disk), file, &name, shared.boot_id);
            alone.map_err(|why| not_alone(why, path))
        })?;
        let seat = Seat::new(shared)?;
        Ok(Self::new(walk, seat, Remembered::default(), side))
    }

    fn new(walk: Walk<Disk>, seat: Seat, remembered: Remembered, side: Side) -> Self {
        let mut this = Self {
            walk,
            block: None,
            seat,
            remembered,
            missed: Missed::default(),
            told: Told::default(),
            side,
            windowed: None,
        };
        if !this.sit() {
            this.walk.park();
        }
        this
    }

    /// The side of a fork that has its maps.
    pub(crate) fn side(&self) -> Side {
        self.side
    }

    /// Asks for leave to keep the segment mapped.
    fn sit(&mut self) -> bool {
        let bytes = self.walk.segment().map_or(0, |segment| segment.header().extent.file_bytes);
        self.seat.sit(usage(bytes))
    }

    /// Stages what is at hand.
    #[inline]
    fn stage_run(&mut self, stage: &mut Stage) -> Stop {
        let mut run = match &self.block {
            Some(block) => Run::new(block.key, block.base, &block.bytes, self.walk.position()),
            // A map that is only for a moment is copied from.
            None if !self.seat.is_mapped() => return Stop::End,
            None => match self.walk.run() {
                Some(run) => run,
                None => return Stop::End,
            },
        };
        if run.position() < self.walk.position() {
            // The segment ends in front of it, for now.
            return Stop::End;
        }
        let mut stop = Stop::End;
        for _ in 0..stage.room() {
            match run.next() {
                Ok(Found { framed, payload_at }) => {
                    let (stamp, tags) = (stamp_of(&framed), tags_of(&framed));
                    stage_record(stage, run.bytes(), payload_at, framed.head.len_bytes, stamp, tags);
                }
                Err(why) => {
                    stop = why;
                    break;
                }
            }
        }
        let position = run.position();
        self.walk.go_on_at(position);
        stop
    }

    /// Looks where the walk is, before a refill: may it have a map, must it give one up?
    fn settle(&mut self, stage: &mut Stage) -> Result<(), SourceError> {
        if self.seat.yields() {
            self.seat.evict();
            self.leave_map(stage);
        } else if !self.seat.is_mapped() && self.block_is_read() && self.seat.may_ask() && self.sit_parked() {
            self.drop_block(stage);
            match self.attach() {
                // The system's own budget is used up.
                Err(error) if is_short_read(&error) => self.seat.stand(),
                other => other?,
            }
        }
        Ok(())
    }

    fn block_is_read(&self) -> bool {
        self.block.as_ref().is_none_or(|block| self.walk.position() >= block.base + block.bytes.len() as u64)
    }

    /// A guess of the size: a segment's, as the last one had it.
    fn sit_parked(&mut self) -> bool {
        let bytes = self.walk.end().saturating_sub(self.walk.position());
        self.seat.sit(usage(bytes))
    }

    /// Lets go of the map; what is held back is copied.
    fn leave_map(&mut self, stage: &mut Stage) {
        self.drop_block(stage);
        self.drop_all();
        self.walk.park();
    }

    /// Before places count from other bytes than now, those of a block, a segment, or another segment: what is held back is copied.
    fn drop_block(&mut self, stage: &mut Stage) -> Option<Block> {
        keep_copies(stage, self.base());
        self.block.take()
    }

    fn attach(&mut self) -> Result<(), LogReadError> {
        let shared = Arc::clone(&self.seat.shared);
        shared.reserve.with(is_short_read, || self.walk.attach())
    }

    /// The next block of the segment that the walk is in; false: there is none at hand.
    fn copy_block(&mut self, stage: &mut Stage) -> Result<bool, LogReadError> {
        let old = self.drop_block(stage);
        self.attach()?;
        let (Some((key, base)), Some((offset, end))) = (self.walk.key(), self.walk.offsets()) else {
            return Ok(false);
        };
        if offset >= end {
            return Ok(false);
        }
        let from = self.walk.position() - base;
        let frames = self.walk.frames();
        let at = usize::try_from(from).map_or(frames.len(), |at| at.min(frames.len()));
        let rest = &frames[at..];
        // At least one frame, whatever its length says, as far as there are bytes.
        let first = rest.first_chunk().map_or(0, |len| span_of_log_record(u32::from_le_bytes(*len).into()));
        let wanted = self.seat.block_bytes().max(first);
        let rest = &rest[..usize::try_from(wanted).map_or(rest.len(), |wanted| wanted.min(rest.len()))];
        if rest.is_empty() {
            return Ok(false);
        }
        let view = View(&self.walk);
        if let Some(map) = view.map() {
            if self.seat.shared.memory_bytes.is_some() {
                map.read_nothing_ahead();
            }
            map.read_ahead(offset..offset + rest.len() as u64);
        }
        let mut bytes = old.map_or_else(Vec::new, |block| block.bytes);
        bytes.clear();
        bytes.extend_from_slice(rest);
        let read_to = offset + bytes.len() as u64;
        self.block = Some(Block { key, base: base + from, bytes });
        if self.seat.shared.memory_bytes.is_some() {
            if self.windowed != self.walk.number() {
                self.windowed = self.walk.number();
                self.seat.window.begin(&self.seat.shared, &View(&self.walk), offset);
            }
            self.seat.window.drop_all(&self.seat.shared, &View(&self.walk), read_to);
        }
        Ok(true)
    }

    /// Whether what the run stopped at may be the end of a block only.
    fn wants_block(&self, stop: Stop) -> bool {
        let is_read = |block: &Block| stop != Stop::Notice && self.walk.position() > block.base;
        !self.seat.is_mapped() && self.block.as_ref().is_none_or(is_read)
    }

    /// What was read through the map is read no further for now.
    fn drop_all(&mut self) {
        drop_window(&mut self.seat, &self.walk);
    }

    /// The window of the mapped segment goes along.
    #[inline]
    fn move_window(&mut self, stage: &Stage) {
        move_window(&mut self.seat, &mut self.windowed, &self.walk, || pinned(stage));
    }

    /// What a run stopped at; true: it may go on.
    #[cold]
    fn step(&mut self, stage: &mut Stage, stop: Stop) -> Result<Option<Filled>, SourceError> {
        // The segment may be left; but not for a frame in it that checks.
        if (stop != Stop::Notice || self.block.is_some()) && self.drop_block(stage).is_some() {
            self.attach()?;
        }
        let before = self.walk.number();
        let shared = Arc::clone(&self.seat.shared);
        if shared.memory_bytes.is_some()
            && self.walk.segment().is_some()
            && self.walk.position() >= self.walk.end()
        {
            self.drop_all();
        }
        let step = shared.reserve.with(is_short_read, || self.walk.step())?;
        if self.walk.number() != before {
            self.windowed = None;
        }
        match step {
            Some(Step::Record(framed)) => {
                stage.push_copy(stamp_of(&framed), self.walk.payload(&framed), tags_of(&framed));
            }
            Some(Step::Gap(gap)) => {
                if self.told.is_new(gap.position) {
                    self.missed.note(&gap);
                }
            }
            Some(Step::Mark(_)) => {}
            None => return Ok(Some(self.nothing())),
        }
        Ok(None)
    }

    /// Nothing is there any more, or not yet.
    fn nothing(&self) -> Filled {
        match self.seat.shared.lateness {
            Some(lateness) if self.walk.name_alone().is_none() => {
                let lateness_ns = u64::try_from(lateness.as_nanos()).unwrap_or(u64::MAX);
                Filled::NotYet { not_before_ns: clock::realtime_ns().saturating_sub(lateness_ns) }
            }
            _ => Filled::End,
        }
    }
}

impl Feed for LogFeed {
    fn fill(&mut self, stage: &mut Stage) -> Result<Filled, SourceError> {
        if !self.side.is_here() {
            return Err(LogReadError::Forked.into());
        }
        self.settle(stage)?;
        if self.seat.is_mapped() {
            // In front of the first touch.
            self.move_window(stage);
        }
        let (was_mapped, before) = (self.seat.is_mapped(), stage.room());
        let from = self.walk.position();
        let filled = loop {
            let stop = self.stage_run(stage);
            if stage.room() < before {
                break Filled::Some;
            }
            if self.wants_block(stop) && self.copy_block(stage)? {
                self.walk.park();
                continue;
            }
            if let Some(filled) = self.step(stage, stop)? {
                break filled;
            }
        };
        if self.walk.segment().is_some_and(|segment| segment.was_hit()) {
            let segment = self.walk.number().unwrap_or(0);
            return Err(LogReadError::Truncated { segment }.into());
        }
        self.seat.note(self.walk.position().saturating_sub(from), was_mapped);
        if !self.seat.is_mapped() && self.block.is_none() {
            self.walk.park();
        }
        Ok(filled)
    }

    fn end(&mut self, stage: &mut Stage) {
        if self.side.is_here() {
            self.leave_map(stage);
        }
        self.windowed = None;
        self.seat.end();
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.go(|walk, remembered| walk.skim_to(since_ns, remembered))
    }

    fn seek_before(&mut self, until_ns: u64) -> Result<(), SourceError> {
        self.go(|walk, remembered| walk.skim_before(until_ns, remembered))
    }

    #[inline(always)]
    fn base(&self) -> &[u8] {
        match &self.block {
            None => self.walk.frames(),
            Some(block) => &block.bytes,
        }
    }

    fn missed(&self) -> Missed {
        self.missed
    }
}

impl LogFeed {
    /// Goes to another place.
    fn go(
        &mut self,
        mut skim: impl FnMut(&mut Walk<Disk>, &Remembered) -> Result<(), LogReadError>,
    ) -> Result<(), SourceError> {
        if !self.side.is_here() {
            return Err(LogReadError::Forked.into());
        }
        self.block = None;
        self.told.leave();
        if self.seat.shared.memory_bytes.is_some() {
            self.drop_all();
        }
        let shared = Arc::clone(&self.seat.shared);
        shared.reserve.with(is_short_read, || skim(&mut self.walk, &self.remembered))?;
        self.windowed = None;
        if !self.seat.is_mapped() && !self.sit() {
            self.walk.park();
        }
        Ok(())
    }
}

/// The window of a walk's mapped segment goes along; of its frames, those from `pinned` on are still wanted, if there are any.
#[inline]
pub(super) fn move_window(
    seat: &mut Seat,
    windowed: &mut Option<u64>,
    walk: &Walk<Disk>,
    pinned: impl FnOnce() -> Option<u64>,
) {
    let Some(segment) = walk.segment() else { return };
    let (number, data_offset) = (segment.header().number, segment.header().extent.data_offset);
    let Some((offset, end)) = walk.offsets() else { return };
    let Seat { shared, window, .. } = seat;
    if *windowed != Some(number) {
        *windowed = Some(number);
        window.begin(shared, &View(walk), offset);
    }
    let pinned = || pinned().map_or(offset, |place| data_offset + place);
    window.moved(shared, &View(walk), (offset, end), pinned);
}

/// What was read of it is read no further for now.
pub(super) fn drop_window(seat: &mut Seat, walk: &Walk<Disk>) {
    if let Some((offset, _)) = walk.offsets() {
        seat.window.drop_all(&seat.shared, &View(walk), offset);
    }
}

/// The mapped segment of a walk, for its window.
struct View<'a>(&'a Walk<Disk>);

impl Windowed for View<'_> {
    type Map = DiskMap;

    fn map(&self) -> Option<&DiskMap> {
        self.0.segment().map(|segment| segment.map())
    }

    fn place(&self) -> (PathBuf, u64) {
        let medium = self.0.medium();
        let path = match self.0.name_alone() {
            Some(name) => medium.at(name),
            None => medium.at(&names::segment(self.0.number().unwrap_or(0))),
        };
        (path, 0)
    }

    fn forget_cached(&self, range: Range<u64>) {
        let Some(identity) = self.map().and_then(DiskMap::identity) else { return };
        advice::forget_cached(&self.place().0, identity, range);
    }
}

#[inline(always)]
fn stamp_of(framed: &Framed) -> Stamp {
    Stamp { timestamp_ns: framed.timestamp_ns, sequence: framed.position }
}

#[inline(always)]
fn tags_of(framed: &Framed) -> Tags {
    let (_, level, kind) = decode_tags(framed.tags);
    Tags { producer: framed.head.slot, level, kind }
}

/// What a mapped segment takes: its lock byte is shared through a descriptor that stays open.
fn usage(bytes: u64) -> MapUsage {
    MapUsage { descriptors: 1, ..MapUsage::map(bytes) }
}

/// Under a cap, no more is read than is asked for.
fn disk_of(path: &Path, shared: &Shared) -> Disk {
    let disk = Disk::new(path, 0o600);
    if shared.memory_bytes.is_some() { disk.sparing() } else { disk }
}

pub(super) fn is_short_read(error: &LogReadError) -> bool {
    matches!(error, LogReadError::System { errno, .. } if is_short_errno(*errno))
}

fn side(path: &Path) -> Result<Side, Error> {
    Side::current().map_err(crate::map::file::io_error("prepare for forks for", path))
}

fn io_at(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { operation, path: path.to_path_buf(), source }
}

/// Refuses, by name, a file that others can write.
fn writable(path: &Path, kind: FileKind) -> Result<(), Error> {
    let (file, _) = crate::map::file::open_regular(path, kind, false)?;
    crate::map::file::check_reader(&file, path, kind)
}

fn not_alone(why: NotAlone, path: &Path) -> Error {
    let corrupt = |what: &'static str, found: &'static str| Error::Corrupt {
        path: path.to_path_buf(),
        what,
        expected: "a sealed segment of a log".into(),
        found: found.into(),
    };
    match why {
        NotAlone::NotSealed => Error::NotSealed { path: path.to_path_buf() },
        NotAlone::Unseen(Unseen::Bad(what)) => corrupt(what, "something else"),
        NotAlone::Unseen(Unseen::Gone | Unseen::Taken) => {
            corrupt("file", "one that is just being used again")
        }
        NotAlone::Unseen(Unseen::System { operation, source }) => io_at(operation, path, source),
    }
}
