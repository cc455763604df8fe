//! Hand-over: out of a log into the ring that is recorded in it, without a gap or a repeat.
//!
//! ```text
//!   log:   ... record record MARK record record MARK |        each MARK says how far that is in the ring, and how many records that were
//!                              p1                  p2 \ end: join the ring at p2
//!   ring:      (overwritten)  p1 ............... p2 ...... tail
//! ```
//!
//! | at the end of the log, p2 in the ring is | done |
//! |------------------------------------------|------|
//! | there                | the ring is read on from it |
//! | overwritten          | the log has more by now, for a recorder gives space back only behind its MARK: it is read on |
//! | the same, and for a while nothing comes in the log | nobody has recorded it: a counted loss, and the ring is read on from its oldest record |
//!
//! | in the ring, the next record is overwritten | done |
//! |---------------------------------------------|------|
//! | it was recorded        | back into the log: to the newest MARK in front of it, and over what came since: to the record that was read last, or, if that was not recorded, to the gap that says so; without metadata, by the MARKs' counts |
//! | retention has taken it | the same, from the oldest batch that is left; what is missing is counted |
//! | it was not recorded    | a counted loss |
//!
//! (I1) a batch and its MARK are published as one, so that the end of a log that was read is a MARK's place; (I2) the ring is never joined in
//! front of what was handed out of it; (I3) how many of the ring's records came is known from the MARKs, and counted in the ring from there
//! on; it says how many of the log's came only as long as the recorder has missed nothing.
//! Expects that from the last MARK on the log has records of that ring only; waits for nobody.

use super::feed::{Feed, Filled};
use super::log_feed::{drop_window, is_short_read, move_window};
use super::missed::{Missed, Ranges, Told};
use super::ring_feed::stage_record;
use super::seat::Seat;
use super::shared::Shared;
use super::source::{SourceError, Stamp};
use super::stage::{Stage, Tags};
use crate::error::{Error, PollError};
use crate::layout::frame::decode_tags;
use crate::layout::header::uuid_text;
use crate::layout::note::MarkNote;
use crate::log::item::{LogGap, LogGapReason, LogReadError};
use crate::log::marks::{self, Mark};
use crate::log::reader::LogReader;
use crate::log::seek::LogStart;
use crate::log::walk::Step;
use crate::map::clock;
use crate::map::disk::Disk;
use crate::map::file::io_error;
use crate::map::reserve;
use crate::ring::consumer::Origin;
use crate::ring::names::Start;
use crate::ring::observer::Observer;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long nothing comes in the log before what the ring has overwritten is given up.
const PATIENCE_NS: u64 = 100_000_000;
/// How often retention may take the oldest segment while it is counted.
const ATTEMPTS: u32 = 8;

/// A log, and behind it a ring.
#[derive(Debug)]
pub(crate) struct HandOver {
    reader: LogReader,
    observer: Observer,
    ring: Origin,
    lateness_ns: u64,
    place: Place,
    /// The last MARK of this ring and epoch in front of where the log is read.
    mark: Option<MarkNote>,
    /// The log has an earlier epoch of the ring, and that is not told yet.
    is_restarted: bool,
    /// In the ring: how many of its records came, as MARKs count them; `None`: nobody knows.
    n_came: Option<u64>,
    /// Where in the log that count began.
    counted_from: u64,
    /// So many of the next records in the log came out of the ring.
    n_repeats: u64,
    /// The last record that came out of the ring: producer, sequence, time.
    last: Option<(u16, u64, u64)>,
    /// Everything in front of that came out of the ring, or is counted as missing.
    next: u64,
    /// Since when the log has nothing of what the ring has overwritten.
    stuck_ns: Option<u64>,
    /// What a position in the ring is more than that in the log, modulo 2^64.
    offset: u64,
    sequence: u64,
    payload: Vec<u8>,
    /// The ring has overwritten so many bytes of what comes next, and goes on there; until the place in the log is found.
    lapse: Option<(u64, u64)>,
    seat: Seat,
    /// The segment that the window is of, and where the log was when it was moved last.
    windowed: Option<u64>,
    windowed_at: u64,
    missed: Missed,
    told: Told,
    /// What came out of the ring, and where that began last: losses in there were counted in the ring.
    from_ring: Ranges,
    joined_at: u64,
    /// In the batch that is read in the log.
    in_batch: Missed,
    /// What is missing in the ring is counted up to there.
    missed_to: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Log,
    Ring,
}

/// What came out of the ring, of records that are in the log from some place on.
#[derive(Clone, Copy, Debug)]
enum Came {
    /// The first so many.
    All(u64),
    /// None, nor so many in front of them.
    AllBut(u64),
    /// Nobody knows.
    Unknown,
}

/// What came of an attempt to join the ring.
enum Joined {
    Yes,
    /// The log has more, or will have.
    Later,
}

impl HandOver {
    /// From the oldest record of the log on. A record is seen in the ring at most `lateness` after its time.
    ///
    /// A log that was recorded from other rings only, or from a later state of this one, is refused. In one that has this ring as it was before
    /// the machine was restarted, what was not recorded then is a counted loss.
    pub(crate) fn open(
        mut reader: LogReader,
        observer: Observer,
        lateness: Duration,
        shared: &Arc<Shared>,
    ) -> Result<Self, Error> {
        let ring = observer.origin();
        let path = reader.path();
        let last = || marks::last(&Disk::new(path, 0o600), &ring.uuid);
        let marks = shared.open(|| last().map_err(io_error("read the marks of", path)))?;
        // Behind the marks: a recorder may be at work.
        let tail = observer.tail();
        let refused = |expected: String, found: String| Error::Invalid { option: "ring", expected, found };
        let is_older = |mark: MarkNote| mark.epoch < ring.epoch;
        match (marks.own, marks.other) {
            (Some(mark), _) if (mark.epoch, mark.position) > (ring.epoch, tail) => {
                return Err(refused(
                    format!(
                        "one that has come at least to {} in epoch {}, as {path:?} has recorded",
                        mark.position, mark.epoch
                    ),
                    format!("one at {tail} in epoch {}: a copy of an older state?", ring.epoch),
                ));
            }
            (None, Some(other)) => {
                return Err(refused(
                    format!("the one that is recorded in {path:?}, {}", uuid_text(&other.source_uuid)),
                    format!("the ring {}", uuid_text(&ring.uuid)),
                ));
            }
            _ => {}
        }
        let mut seat = Seat::aside(shared)?;
        if shared.memory_bytes.is_some() {
            // Its window is of the log; what comes out of the ring is copied.
            seat.charge(Shared::window_bytes_min())?;
        }
        // What can't be read is told by the first step.
        let _ = shared.reserve.with(is_short_read, || reader.seek(LogStart::Oldest));
        Ok(Self {
            reader,
            observer,
            ring,
            lateness_ns: u64::try_from(lateness.as_nanos()).unwrap_or(u64::MAX),
            place: Place::Log,
            mark: None,
            is_restarted: marks.own.is_some_and(is_older),
            n_came: None,
            counted_from: 0,
            n_repeats: 0,
            last: None,
            next: 0,
            stuck_ns: None,
            offset: 0,
            sequence: 0,
            payload: vec![],
            lapse: None,
            seat,
            windowed: None,
            windowed_at: u64::MAX,
            missed: Missed::default(),
            told: Told::default(),
            from_ring: Ranges::default(),
            joined_at: 0,
            in_batch: Missed::default(),
            missed_to: 0,
        })
    }

    fn is_of_this_ring(&self, note: &MarkNote) -> bool {
        note.source_uuid == self.ring.uuid && note.epoch == self.ring.epoch
    }

    /// The window goes along in the log.
    fn move_window(&mut self) {
        let position = self.reader.position();
        self.seat.note_aside(position.saturating_sub(self.windowed_at));
        self.windowed_at = position;
        move_window(&mut self.seat, &mut self.windowed, self.reader.walk(), || None);
    }

    /// Stages what is next; whether there was something.
    fn read(&mut self, stage: &mut Stage, now_ns: u64) -> Result<bool, SourceError> {
        if let Some((lost_bytes, resumed_at)) = self.lapse {
            self.go_back(lost_bytes, resumed_at)?;
            self.lapse = None;
            return Ok(true);
        }
        match self.place {
            Place::Log => Ok(self.read_log(stage)?),
            Place::Ring => self.read_ring(stage, now_ns),
        }
    }

    /// Stages the log's next; whether there was something.
    fn read_log(&mut self, stage: &mut Stage) -> Result<bool, LogReadError> {
        let (walk, position) = (self.reader.walk(), self.reader.position());
        if self.seat.shared.memory_bytes.is_some() && position >= walk.end() {
            // The segment may be left.
            drop_window(&mut self.seat, walk);
        }
        let Some(step) = self.reader.step()? else { return Ok(false) };
        self.stuck_ns = None;
        match step {
            Step::Record(_) if self.n_repeats > 0 => self.n_repeats -= 1,
            Step::Record(framed) => {
                self.sequence = framed.position.max(self.sequence + 1);
                let (_, level, kind) = decode_tags(framed.tags);
                let stamp = Stamp { timestamp_ns: framed.timestamp_ns, sequence: self.sequence };
                let tags = Tags { producer: framed.head.slot, level, kind };
                stage.push_copy(stamp, self.reader.payload(&framed), tags);
            }
            Step::Mark(framed) => {
                let note = MarkNote::decode(self.reader.payload(&framed));
                let note = note.filter(|note| self.is_of_this_ring(note));
                // It is of what is in front of its place.
                let came = note.and_then(|note| note.position.checked_sub(1));
                let in_batch = std::mem::take(&mut self.in_batch);
                if !came.is_some_and(|position| self.from_ring.contains(position)) {
                    self.missed.add(in_batch);
                }
                self.mark = note.or(self.mark);
            }
            Step::Gap(_) if self.n_repeats > 0 => {}
            Step::Gap(gap) => self.miss(&gap),
        }
        Ok(true)
    }

    fn miss(&mut self, gap: &LogGap) {
        if !self.told.is_new(gap.position) {
            return;
        }
        match gap.reason {
            // Of the ring, and perhaps counted there before it was recorded: its batch's MARK tells.
            LogGapReason::Dropped | LogGapReason::Lost => self.in_batch.note(gap),
            _ => self.missed.note(gap),
        }
    }

    /// Bytes of the ring that nobody has any more; those that were counted are not counted again.
    fn miss_in_ring(&mut self, place: Range<u64>) {
        let from = place.start.max(self.missed_to);
        if from < place.end {
            self.missed.n_gaps += u64::from(from == place.start);
            self.missed.n_bytes += place.end - from;
            self.missed_to = place.end;
        }
    }

    /// The ring is not read any more: what came out of it is known.
    fn leave_ring(&mut self) {
        if self.place == Place::Ring {
            self.from_ring.insert(self.joined_at..self.next);
        }
    }

    /// Stages the ring's next; whether there was something.
    fn read_ring(&mut self, stage: &mut Stage, now_ns: u64) -> Result<bool, SourceError> {
        match self.observer.try_next(&mut self.payload) {
            Ok(Some(info)) => {
                self.next = self.observer.position();
                self.n_came = self.n_came.map(|n| n + 1);
                self.last = info.timestamp_ns.zip(info.sequence).map(|(time, n)| (info.producer, n, time));
                self.sequence = info.position.wrapping_sub(self.offset).max(self.sequence + 1);
                stage_record(stage, &info, self.sequence, now_ns, &self.payload);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(PollError::Lapped { lost_bytes, resumed_at }) => {
                self.lapse = Some((lost_bytes, resumed_at));
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// At the end of the log: goes on in the ring, if what comes next is still there.
    fn join(&mut self) -> Result<Joined, SourceError> {
        if self.mark.is_none() {
            // None was met: it was sought behind it, or there is none.
            self.mark = self.last_mark(self.reader.position(), u64::MAX)?.map(|mark| mark.note);
        }
        let marked = self.mark.map_or(0, |mark| mark.position);
        let start = Some(marked.max(self.next)).filter(|start| *start > 0 || self.mark.is_some());
        match self.observer.seek(start.map_or(Start::Oldest, Start::At)) {
            Ok(()) => {}
            // A place that is about to become a record can be refused for an instant.
            Err(PollError::NoSuchPosition { .. }) if self.is_patient() => return Ok(Joined::Later),
            Err(error) => return Err(error.into()),
        }
        if self.mark.is_none() && self.last_mark(u64::MAX, u64::MAX)?.is_some() {
            // Recorded just now, and perhaps overwritten, in front of where the ring begins: the log has it.
            return Ok(Joined::Later);
        }
        let found = self.observer.position();
        let missed_bytes = found - start.unwrap_or(found);
        if missed_bytes > 0 && self.is_patient() {
            return Ok(Joined::Later);
        }
        if missed_bytes > 0 {
            // It is counted: not to be told as something that happened in the ring.
            self.observer.seek(Start::At(found))?;
            self.miss_in_ring(found - missed_bytes..found);
        }
        if self.mark.is_none() && std::mem::take(&mut self.is_restarted) {
            self.missed.n_gaps += 1;
        }
        let is_counted = missed_bytes == 0 && self.n_repeats == 0;
        self.n_came = match self.mark {
            Some(mark) if is_counted && Some(mark.position) == start => {
                self.counted_from = self.reader.position();
                Some(mark.n_records)
            }
            _ if is_counted => self.n_came,
            _ => None,
        };
        (self.place, self.n_repeats, self.stuck_ns) = (Place::Ring, 0, None);
        self.next = self.observer.position();
        self.joined_at = self.next;
        self.missed.add(std::mem::take(&mut self.in_batch));
        if self.seat.shared.memory_bytes.is_some() {
            drop_window(&mut self.seat, self.reader.walk());
        }
        self.offset = self.next.wrapping_sub(self.reader.position());
        Ok(Joined::Yes)
    }

    /// Whether what the log lacks may still come. It was recorded before the ring overwrote it, so that one more look finds it, as a rule.
    fn is_patient(&mut self) -> bool {
        let now_ns = clock::monotonic_ns();
        now_ns - *self.stuck_ns.get_or_insert(now_ns) < PATIENCE_NS
    }

    /// What comes next was overwritten: it is in the log, unless nobody has recorded it.
    fn go_back(&mut self, lost_bytes: u64, resumed_at: u64) -> Result<(), SourceError> {
        let ring = self.observer.origin();
        if ring.epoch != self.ring.epoch {
            // Begun anew after a restart: nothing of it is recorded.
            (self.ring, self.n_came, self.mark, self.last) = (ring, None, None, None);
            (self.from_ring, self.joined_at, self.missed_to) = (Ranges::default(), self.next, 0);
        }
        let mark = self.last_mark(u64::MAX, self.next)?;
        let batch = match mark {
            Some(mark) => Some((mark.next, mark.note.n_records)),
            None => self.oldest_batch()?,
        };
        let end = self.reader.position();
        let (from, came) = match batch {
            None => (end, Came::All(0)),
            Some((from, n_before)) => (from, self.came_from(from, n_before, mark.map(|mark| mark.note))?),
        };
        let n_repeats = match came {
            Came::All(n_repeats) => n_repeats,
            Came::AllBut(_) => 0,
            Came::Unknown => {
                self.miss_in_ring(resumed_at.saturating_sub(lost_bytes)..resumed_at);
                self.leave_ring();
                (self.next, self.joined_at) = (resumed_at, resumed_at);
                return Ok(());
            }
        };
        self.reader.seek(LogStart::At(from))?;
        // Behind all that may be tried again.
        if let Came::AllBut(n_records) = came {
            self.missed.add(Missed { n_gaps: 1, n_records, n_bytes: 0 });
        }
        self.leave_ring();
        self.told.leave();
        self.windowed_at = u64::MAX;
        self.mark = mark.map(|mark| mark.note).or(self.mark);
        (self.place, self.n_repeats) = (Place::Log, n_repeats);
        Ok(())
    }

    /// What came of the log from that place on, which is behind `mark` and `n_before` records of the ring; without a MARK it is where the log
    /// begins.
    fn came_from(&mut self, from: u64, n_before: u64, mark: Option<MarkNote>) -> Result<Came, SourceError> {
        if self.n_came.is_none() || self.observer.has_metadata() {
            let n_repeats = self.n_to_last(from, mark.map(|mark| mark.position))?;
            if n_repeats.is_some() || mark.is_some() {
                return Ok(n_repeats.map_or(Came::Unknown, Came::All));
            }
        }
        let Some(n_came) = self.n_came else { return Ok(Came::Unknown) };
        if n_before > n_came {
            return Ok(Came::AllBut(n_before - n_came));
        }
        if self.observer.has_metadata() {
            // Neither the last record nor what came in front of it is there.
            return Ok(Came::Unknown);
        }
        if mark.is_some_and(|mark| mark.position == self.next) {
            return Ok(Came::All(0));
        }
        Ok(if self.has_recorded_all()? { Came::All(n_came - n_before) } else { Came::Unknown })
    }

    /// Whether the log has all that came since its records are counted, as far as it goes up to the MARK behind the last one.
    fn has_recorded_all(&mut self) -> Result<bool, SourceError> {
        match self.reader.seek(LogStart::At(self.counted_from)) {
            Err(error @ LogReadError::System { .. }) => return Err(error.into()),
            Err(_) => return Ok(false),
            Ok(()) => {}
        }
        loop {
            match self.reader.step() {
                Ok(Some(Step::Record(_))) => {}
                // The ring's reader has not got these either.
                Ok(Some(Step::Gap(gap)))
                    if matches!(gap.reason, LogGapReason::Dropped | LogGapReason::Lost) => {}
                Ok(Some(Step::Mark(framed))) => {
                    let note = MarkNote::decode(self.reader.payload(&framed));
                    if note.is_some_and(|note| self.is_of_this_ring(&note) && note.position >= self.next) {
                        return Ok(true);
                    }
                }
                Err(error @ LogReadError::System { .. }) => return Err(error.into()),
                Ok(Some(Step::Gap(_)) | None) | Err(_) => return Ok(false),
            }
        }
    }

    /// How many records there are in the log from that place on, where the ring was at `position`, to the last one that came out of the ring,
    /// or, if the recorder has missed that one, to where it says so; `None`: neither is found in the batch where it should be. Only
    /// records with metadata can be told from each other.
    fn n_to_last(&mut self, from: u64, position: Option<u64>) -> Result<Option<u64>, SourceError> {
        let Some(last) = self.last.filter(|_| position != Some(self.next)) else {
            return Ok(Some(0).filter(|_| self.observer.has_metadata() || position == Some(self.next)));
        };
        self.reader.seek(LogStart::At(from))?;
        let (mut n_records, mut lapses) = (0, (0, 0));
        while let Some(step) = self.reader.step()? {
            match step {
                Step::Record(framed) => {
                    n_records += 1;
                    let (sequence, ..) = decode_tags(framed.tags);
                    if last == (framed.head.slot, sequence, framed.timestamp_ns) {
                        return Ok(Some(n_records));
                    }
                }
                Step::Gap(gap) if gap.reason == LogGapReason::Lapped => lapses = (lapses.0 + 1, n_records),
                Step::Gap(_) => {}
                Step::Mark(framed) => {
                    let note = MarkNote::decode(self.reader.payload(&framed));
                    if note.is_some_and(|note| self.is_of_this_ring(&note) && note.position >= self.next) {
                        // In front of the one gap all came, and behind it nothing.
                        let is_told = position.is_some() && lapses.0 == 1;
                        return Ok(Some(lapses.1).filter(|_| is_told));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The last MARK of this ring that ends in front of that place in the log, and is of a place in the ring that is not behind that one.
    fn last_mark(&self, below: u64, position: u64) -> Result<Option<Mark>, SourceError> {
        let is_it = |note: &MarkNote| self.is_of_this_ring(note) && note.position <= position;
        let path = self.reader.path();
        let found = marks::last_that(&Disk::new(path, 0o600), below, is_it);
        Ok(found.map_err(io_error("read the marks of", path))?)
    }

    /// Where the oldest batch of this ring is that is left, and how many of its records are in front of that.
    fn oldest_batch(&mut self) -> Result<Option<(u64, u64)>, SourceError> {
        for _ in 0..ATTEMPTS {
            self.reader.seek(LogStart::Oldest)?;
            let oldest = self.reader.position();
            let (mut from, mut n_records) = (oldest, 0);
            while let Some(step) = self.reader.step()? {
                match step {
                    Step::Record(_) => n_records += 1,
                    Step::Gap(_) => {}
                    Step::Mark(framed) => {
                        let note = MarkNote::decode(self.reader.payload(&framed));
                        if let Some(note) = note.filter(|note| self.is_of_this_ring(note)) {
                            // Where it begins may have gone meanwhile: then it is not where the log will be read.
                            self.reader.seek(LogStart::Oldest)?;
                            if self.reader.position() == oldest {
                                return Ok(Some((from, note.n_records.saturating_sub(n_records))));
                            }
                            break;
                        }
                        (from, n_records) = (framed.next(), 0);
                    }
                }
            }
        }
        Ok(None)
    }
}

impl Feed for HandOver {
    fn fill(&mut self, stage: &mut Stage) -> Result<Filled, SourceError> {
        // In front of the looks: what they do not find is not older, but for what it is late by.
        let now_ns = clock::realtime_ns();
        let (room, shared) = (stage.room(), Arc::clone(&self.seat.shared));
        if self.place == Place::Log {
            self.move_window();
        }
        while stage.room() > 0 {
            match shared.reserve.with(is_short, || self.read(stage, now_ns)) {
                Ok(true) => {}
                // It is told again when what is staged is gone.
                Ok(false) | Err(_) if stage.room() < room => break,
                Ok(false) if self.place == Place::Log => {
                    match shared.reserve.with(is_short, || self.join())? {
                        Joined::Yes => {}
                        // The ring's next record is as old as it likes.
                        Joined::Later => return Ok(Filled::NotYet { not_before_ns: 0 }),
                    }
                }
                Ok(false) => break,
                Err(SourceError::Ring(PollError::Closed)) => return Ok(Filled::End),
                Err(error) => return Err(error),
            }
        }
        if stage.room() < room {
            return Ok(Filled::Some);
        }
        Ok(Filled::NotYet { not_before_ns: now_ns.saturating_sub(self.lateness_ns) })
    }

    fn end(&mut self, _: &mut Stage) {
        self.seat.end();
        self.windowed = None;
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        if self.seat.shared.memory_bytes.is_some() {
            drop_window(&mut self.seat, self.reader.walk());
        }
        let shared = Arc::clone(&self.seat.shared);
        shared.reserve.with(is_short_read, || self.reader.seek(LogStart::Since(since_ns)))?;
        self.leave_ring();
        self.told.leave();
        self.missed.add(std::mem::take(&mut self.in_batch));
        (self.place, self.mark, self.n_came, self.n_repeats) = (Place::Log, None, None, 0);
        (self.last, self.next, self.stuck_ns, self.lapse) = (None, 0, None, None);
        (self.sequence, self.windowed, self.windowed_at) = (0, None, u64::MAX);
        Ok(())
    }

    fn missed(&self) -> Missed {
        let lost = self.observer.lost();
        let n_records: u64 = lost.iter().map(|loss| loss.dropped_records).sum();
        let mut missed = self.missed;
        missed.add(self.in_batch);
        missed.add(Missed { n_gaps: self.observer.n_gaps(), n_records, n_bytes: 0 });
        missed
    }
}

/// Whether the system lacks what it takes, for a while perhaps.
fn is_short(error: &SourceError) -> bool {
    match error {
        SourceError::Log(error) => is_short_read(error),
        SourceError::Open(Error::Io { source, .. }) => reserve::is_short(source),
        _ => false,
    }
}
