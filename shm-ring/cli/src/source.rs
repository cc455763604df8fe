//! Source: records out of the ring, and when they are released.
//!
//! | source | reads with | space is given back |
//! |--------|------------|---------------------|
//! | watching | an observer | it holds none |
//! | reliable | a consumer | by hand, when everything that was read has been written |
//! | shared | a member of a group | by the next look |
//! | logged | a log's reader | it holds none; its cursor's place is saved instead (`logs/source.rs`) |
//! | merged | many of them, in one order | they hold none (`replay/merged.rs`) |
//!
//! A member gets one record at a time, and the next look releases the last one: who reads from a
//! [shared](Source::is_shared) source writes each record before it asks for the next, or [abandons](Source::abandon) the source.
//!
//! (I1) nothing is released that [`release`](Source::release) was not called for, or, shared, that was not followed by another look;
//! (I2) every record is handed out once, in order; again only if a member of the group died with it.

use crate::failure::Failure;
use crate::logs::LogSource;
use crate::replay::MergedSource;
use crate::show::{Info, Seen};
use regex::bytes::Regex;
use shm_ring::{
    Consumer, ConsumerOptions, ConsumerStats, Delivery, Frame, LogGap, Loss, Member, Observer, PollError,
    Position, RecordInfo, Ring, RingOptions, Start, Wait,
};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A place that is about to become a record can be refused for an instant.
const SEEK_ATTEMPTS: u32 = 100;
/// How long to look for the end behind an open claim: enough to find out that its producer is dead.
const CLAIM_PATIENCE: Duration = Duration::from_millis(20);

/// Where to begin.
#[derive(Clone, Debug)]
pub(crate) enum Begin {
    /// With the oldest record.
    Oldest,
    /// With the last so many that match.
    Last(usize, Option<Regex>),
    /// With the first record at this time or later, ns since the Unix epoch.
    Since(u64),
}

/// A record, whose payload was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What it says about itself.
    pub(crate) info: Info,
    /// Whether a member of the group died that may have written it already; `None` outside of groups.
    pub(crate) redelivered: Option<bool>,
    /// The number of its source, where there are many.
    pub(crate) origin: Option<usize>,
    /// Whether the payload is a JSON object, made of a table's row.
    pub(crate) is_row: bool,
}

impl Found {
    /// Of a ring or log of its own, and of no group.
    pub(crate) fn alone(info: impl Into<Info>) -> Self {
        Self { info: info.into(), redelivered: None, origin: None, is_row: false }
    }
}

/// Why there is no record.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Some were overwritten: the next look goes on behind them.
    Lapped(PollError),
    /// There will be none.
    Failed(Failure),
}

/// Records, one after the other.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    reader: Reader,
    /// What the name had missed when it came back.
    missed_bytes: u64,
    /// The tail when it began.
    end: Position,
    capacity_bytes: u64,
}

/// Who reads.
#[derive(Debug)]
enum Reader {
    Watching(Observer),
    /// Takes nothing at or above the position, if there is one.
    Alone(Consumer, Option<Position>),
    Shared(Member),
    Logged(Box<LogSource>),
    Merged(Box<MergedSource>),
    /// Nobody any more.
    Gone(Position),
}

impl Source {
    /// A reader that nobody notices.
    pub(crate) fn watch(path: &Path, begin: Begin) -> Result<Self, Failure> {
        let failed = |error| Failure::poll(path, error);
        let start = start_of(Ring::open_observer(path)?, begin).map_err(failed)?;
        // A fresh one, for what was lost in front of the start is not missing.
        let mut observer = Ring::open_observer(path)?;
        seek(start, |start| observer.seek(start)).map_err(failed)?;
        let (end, capacity_bytes) = (observer.tail(), observer.stats()?.capacity_bytes);
        Ok(Self {
            path: path.into(),
            reader: Reader::Watching(observer),
            missed_bytes: 0,
            end,
            capacity_bytes,
        })
    }

    /// A reader that producers wait for; without `follow` it takes what is there now.
    pub(crate) fn consume(
        path: &Path,
        name: &str,
        durable: bool,
        begin: Begin,
        follow: bool,
    ) -> Result<Self, Failure> {
        let (ring, options) = prepare(path, durable, begin)?;
        let missed_before = missed(&ring, |known| known.name == name && known.member_of.is_none())?;
        let consumer = ring.consumer_with(name, options.release_by_hand())?;
        let missed_bytes = consumer.missed_bytes().saturating_sub(missed_before);
        let (end, capacity_bytes) =
            (consumer.position() + consumer.lag_bytes(), ring.stats()?.capacity_bytes);
        let reader = Reader::Alone(consumer, (!follow).then_some(end));
        Ok(Self { path: path.into(), reader, missed_bytes, end, capacity_bytes })
    }

    /// A reader that shares the records of its group with the group's other members.
    pub(crate) fn share(path: &Path, name: &str, durable: bool, begin: Begin) -> Result<Self, Failure> {
        let (ring, options) = prepare(path, durable, begin)?;
        let is_it = |known: &ConsumerStats| known.name == name && known.members.is_some();
        let missed_before = missed(&ring, is_it)?;
        let member = ring.group_with(name, options)?;
        let missed_bytes = missed(&ring, is_it)?.saturating_sub(missed_before);
        let (end, capacity_bytes) = (member.position() + member.lag_bytes(), ring.stats()?.capacity_bytes);
        Ok(Self { path: path.into(), reader: Reader::Shared(member), missed_bytes, end, capacity_bytes })
    }

    /// A reader of a log, which goes on at that cursor, if there is one.
    pub(crate) fn log(path: &Path, cursor: Option<&str>, begin: Begin) -> Result<Self, Failure> {
        let log = LogSource::open(path, cursor, begin)?;
        let end = log.end();
        let reader = Reader::Logged(Box::new(log));
        Ok(Self { path: path.into(), reader, missed_bytes: 0, end, capacity_bytes: u64::MAX })
    }

    /// Many sources in one order.
    pub(crate) fn merged(merged: MergedSource) -> Self {
        let reader = Reader::Merged(Box::new(merged));
        // Without following, it is over when all sources are.
        Self { path: PathBuf::new(), reader, missed_bytes: 0, end: Position::MAX, capacity_bytes: u64::MAX }
    }

    /// The next record, if it is there.
    pub(crate) fn try_next(&mut self, payload: &mut Vec<u8>) -> Result<Option<Found>, Trouble> {
        match &mut self.reader {
            Reader::Logged(log) => return log.next(payload, Duration::ZERO).map_err(Trouble::Failed),
            Reader::Merged(merged) => return Ok(merged.try_next(payload)),
            _ => {}
        }
        self.try_next_of_ring(payload).map_err(|error| self.trouble(error))
    }

    fn trouble(&self, error: PollError) -> Trouble {
        match error {
            PollError::Lapped { .. } => Trouble::Lapped(error),
            error => Trouble::Failed(Failure::poll(&self.path, error)),
        }
    }

    fn try_next_of_ring(&mut self, payload: &mut Vec<u8>) -> Result<Option<Found>, PollError> {
        match &mut self.reader {
            Reader::Watching(observer) => Ok(observer.try_next(payload)?.map(seen)),
            Reader::Alone(consumer, end) => {
                Ok(consumer.try_poll()?.and_then(|frame| take(frame, *end, payload)))
            }
            Reader::Shared(member) => Ok(member.try_poll()?.map(|delivery| keep(delivery, payload))),
            Reader::Logged(_) | Reader::Merged(_) | Reader::Gone(_) => Ok(None),
        }
    }

    /// The next record; waits for it at most `timeout`.
    pub(crate) fn next_timeout(
        &mut self,
        payload: &mut Vec<u8>,
        timeout: Duration,
    ) -> Result<Option<Found>, Trouble> {
        match &mut self.reader {
            Reader::Logged(log) => return log.next(payload, timeout).map_err(Trouble::Failed),
            Reader::Merged(merged) => return Ok(merged.next_timeout(payload, timeout)),
            _ => {}
        }
        self.next_of_ring(payload, timeout).map_err(|error| self.trouble(error))
    }

    fn next_of_ring(&mut self, payload: &mut Vec<u8>, timeout: Duration) -> Result<Option<Found>, PollError> {
        match &mut self.reader {
            Reader::Watching(observer) => Ok(observer.next_timeout(payload, timeout)?.map(seen)),
            Reader::Alone(consumer, end) => {
                Ok(consumer.poll_timeout(timeout)?.and_then(|frame| take(frame, *end, payload)))
            }
            Reader::Shared(member) => {
                Ok(member.poll_timeout(timeout)?.map(|delivery| keep(delivery, payload)))
            }
            Reader::Logged(_) | Reader::Merged(_) | Reader::Gone(_) => Ok(None),
        }
    }

    /// Gives back the space of everything that was read; of a log, saves the cursor once in a while.
    pub(crate) fn release(&mut self) -> Result<(), Failure> {
        match &mut self.reader {
            Reader::Alone(consumer, _) => consumer.release(),
            Reader::Logged(log) => log.release()?,
            Reader::Merged(merged) => merged.tell(),
            Reader::Watching(_) | Reader::Shared(_) | Reader::Gone(_) => {}
        }
        Ok(())
    }

    /// It is over, and everything that was read was written: of a log, saves the cursor.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        match &mut self.reader {
            Reader::Logged(log) => log.finish(),
            Reader::Merged(merged) => merged.finish(),
            _ => Ok(()),
        }
    }

    /// What a log says is missing, each once.
    pub(crate) fn take_gaps(&mut self) -> Vec<LogGap> {
        if let Reader::Logged(log) = &mut self.reader { log.take_gaps() } else { Vec::new() }
    }

    /// Whether something is missing that is told in sums, by the source itself.
    pub(crate) fn is_lossy(&self) -> bool {
        matches!(&self.reader, Reader::Merged(merged) if merged.is_lossy())
    }

    /// The name of one of many.
    pub(crate) fn name_of(&self, origin: Option<usize>) -> Option<&str> {
        match (&self.reader, origin) {
            (Reader::Merged(merged), Some(number)) => Some(merged.name(number)),
            _ => None,
        }
    }

    /// Whether each look releases what the last one found.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.reader, Reader::Shared(_))
    }

    /// Gives nothing back any more: what was not released comes again, a group's last record to another member when this process is gone.
    pub(crate) fn abandon(&mut self) {
        if let Reader::Logged(log) = &mut self.reader {
            // What was written before is not to come again; that it could not be written is what the caller says.
            let _ = log.save();
        }
        let gone = Reader::Gone(self.position());
        let reader = std::mem::replace(&mut self.reader, gone);
        if matches!(reader, Reader::Shared(_)) {
            std::mem::forget(reader);
        }
    }

    /// The next record's position, if there is one.
    pub(crate) fn position(&self) -> Position {
        match &self.reader {
            Reader::Watching(observer) => observer.position(),
            Reader::Alone(consumer, _) => consumer.position(),
            Reader::Shared(member) => member.position(),
            Reader::Logged(log) => log.position(),
            Reader::Merged(merged) if merged.is_over() => Position::MAX,
            Reader::Merged(_) => 0,
            Reader::Gone(position) => *position,
        }
    }

    /// The next position to be claimed when this source began.
    pub(crate) fn end(&self) -> Position {
        self.end
    }

    /// Held space after which it is time to [`release`](Self::release).
    pub(crate) fn release_every_bytes(&self) -> u64 {
        self.capacity_bytes / 16
    }

    /// Whose records were not found since it began, and how many.
    pub(crate) fn lost(&self) -> Vec<Loss> {
        match &self.reader {
            Reader::Watching(observer) => observer.lost(),
            Reader::Alone(consumer, _) => consumer.lost(),
            Reader::Shared(member) => member.lost(),
            Reader::Logged(_) | Reader::Merged(_) | Reader::Gone(_) => Vec::new(),
        }
    }

    /// What the name missed while nobody read under it.
    pub(crate) fn missed_bytes(&self) -> u64 {
        self.missed_bytes
    }
}

/// The ring, and where and how a new name begins.
fn prepare(path: &Path, durable: bool, begin: Begin) -> Result<(Ring, ConsumerOptions), Failure> {
    let ring = RingOptions::new().wait(Wait::Block).open(path)?;
    let start = start_of(ring.observer()?, begin).map_err(|error| Failure::poll(path, error))?;
    let options = ConsumerOptions::new().start(start);
    Ok((ring, if durable { options.durable() } else { options }))
}

/// What the name that it is has missed so far; 0 if the ring does not know it.
fn missed(ring: &Ring, is_it: impl Fn(&ConsumerStats) -> bool) -> Result<u64, Failure> {
    let known = ring.stats()?.consumers.into_iter().find(is_it);
    Ok(known.map_or(0, |known| known.missed_bytes))
}

/// What an observer has copied.
fn seen(info: RecordInfo) -> Found {
    Found::alone(info)
}

/// Copies a record, unless it is for the next reader under the name.
fn take(frame: Frame<'_>, end: Option<Position>, payload: &mut Vec<u8>) -> Option<Found> {
    if end.is_some_and(|end| frame.position() >= end) {
        // A frame that is forgotten was not read.
        std::mem::forget(frame);
        return None;
    }
    payload.clear();
    payload.extend_from_slice(&frame);
    Some(seen(frame.info()))
}

/// Copies a record and keeps it: it is released by the next look, and not before.
fn keep(delivery: Delivery<'_>, payload: &mut Vec<u8>) -> Found {
    payload.clear();
    payload.extend_from_slice(&delivery);
    let found = Found { redelivered: Some(delivery.is_redelivered()), ..Found::alone(delivery.info()) };
    std::mem::forget(delivery);
    found
}

fn seek(start: Start, mut to: impl FnMut(Start) -> Result<(), PollError>) -> Result<(), PollError> {
    let mut result = to(start);
    for _ in 1..SEEK_ATTEMPTS {
        match result {
            Err(PollError::NoSuchPosition { .. }) => result = to(start),
            other => return other,
        }
    }
    result
}

/// Where to start; looks through the ring when that is what it takes.
fn start_of(mut observer: Observer, begin: Begin) -> Result<Start, PollError> {
    let (wanted, grep) = match begin {
        Begin::Oldest => return Ok(Start::Oldest),
        Begin::Since(timestamp_ns) => return Ok(Start::Since(timestamp_ns)),
        Begin::Last(0, _) => return Ok(Start::Now),
        Begin::Last(wanted, grep) => (wanted, grep),
    };
    observer.seek(Start::Oldest)?;
    let end = observer.tail();
    let mut last = VecDeque::new();
    let mut newest = None;
    let mut payload = Vec::new();
    while observer.position() < end {
        match observer.next_timeout(&mut payload, CLAIM_PATIENCE) {
            Ok(Some(info)) => {
                newest = Some(info.position);
                if grep.as_ref().is_none_or(|grep| grep.is_match(Seen::new(info, &payload).message)) {
                    last.push_back(info.position);
                    if last.len() > wanted {
                        last.pop_front();
                    }
                }
            }
            Ok(None) => break,
            // The last ones are further on, anyway.
            Err(PollError::Lapped { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // None that matches: from the newest on, which won't match again. None at all: whatever comes.
    Ok(last.front().copied().or(newest).map_or(Start::Oldest, Start::At))
}
