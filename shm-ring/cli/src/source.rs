//! Source: records out of the ring, and when they are released.
//!
//! ```text
//!   watching:   observer ------------------> records
//!   reliable:   observer ------------------> records --> written to stdout --> release
//!               consumer, which holds the space <------ walks up to there -------'
//! ```
//! A consumer that reads tells producers its position by itself, for instance when it has caught up, and then what it read may be gone
//! before it was written anywhere. So an observer reads ahead, and the consumer takes the same records when they have been written. It
//! also does what an observer can't: sleep until it is woken, and repair what dead producers left.
//!
//! Members of a group get other records than an observer sees, one at a time, and the next look releases the last one: who reads from a
//! [shared](Source::is_shared) source writes each record before it asks for the next, or [abandons](Source::abandon) the source.
//!
//! (I1) nothing is released that [`release`](Source::release) was not called for, or, shared, that was not followed by another look;
//! (I2) every record is handed out once, in order; again only if a member of the group died with it.

use crate::failure::Failure;
use crate::show::Seen;
use regex::bytes::Regex;
use shm_ring::{
    Consumer, ConsumerOptions, ConsumerStats, Delivery, Loss, Member, Observer, PollError, Position,
    RecordInfo, Ring, RingOptions, Start, Wait,
};
use std::collections::VecDeque;
use std::path::Path;
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
    pub(crate) info: RecordInfo,
    /// Whether a member of the group died that may have written it already; `None` outside of groups.
    pub(crate) redelivered: Option<bool>,
}

/// Records, one after the other.
#[derive(Debug)]
pub(crate) struct Source {
    observer: Observer,
    reader: Reader,
    /// What the name had missed when it came back.
    missed_bytes: u64,
}

/// Who holds the space.
#[derive(Debug)]
enum Reader {
    Nobody,
    Alone(Consumer),
    Shared(Member),
}

impl Source {
    /// A reader that nobody notices.
    pub(crate) fn watch(path: &Path, begin: Begin) -> Result<Self, Failure> {
        let failed = |error| Failure::poll(path, error);
        let start = start_of(Ring::open_observer(path)?, begin).map_err(failed)?;
        // A fresh one, for what was lost in front of the start is not missing.
        let mut observer = Ring::open_observer(path)?;
        seek(start, |start| observer.seek(start)).map_err(failed)?;
        Ok(Self { observer, reader: Reader::Nobody, missed_bytes: 0 })
    }

    /// A reader that producers wait for.
    pub(crate) fn consume(path: &Path, name: &str, durable: bool, begin: Begin) -> Result<Self, Failure> {
        let (ring, options) = prepare(path, durable, begin)?;
        let missed_before = missed(&ring, |known| known.name == name && known.member_of.is_none())?;
        let consumer = ring.consumer_with(name, options)?;
        let missed_bytes = consumer.missed_bytes().saturating_sub(missed_before);
        let at = Start::At(consumer.position());
        let mut observer = ring.observer()?;
        seek(at, |start| observer.seek(start)).map_err(|error| Failure::poll(path, error))?;
        Ok(Self { observer, reader: Reader::Alone(consumer), missed_bytes })
    }

    /// A reader that shares the records of its group with the group's other members.
    pub(crate) fn share(path: &Path, name: &str, durable: bool, begin: Begin) -> Result<Self, Failure> {
        let (ring, options) = prepare(path, durable, begin)?;
        let is_it = |known: &ConsumerStats| known.name == name && known.members.is_some();
        let missed_before = missed(&ring, is_it)?;
        let member = ring.group_with(name, options)?;
        let missed_bytes = missed(&ring, is_it)?.saturating_sub(missed_before);
        Ok(Self { observer: ring.observer()?, reader: Reader::Shared(member), missed_bytes })
    }

    /// The next record, if it is there.
    pub(crate) fn try_next(&mut self, payload: &mut Vec<u8>) -> Result<Option<Found>, PollError> {
        match &mut self.reader {
            Reader::Shared(member) => Ok(member.try_poll()?.map(|delivery| keep(delivery, payload))),
            _ => Ok(self.observer.try_next(payload)?.map(|info| Found { info, redelivered: None })),
        }
    }

    /// The next record; waits for it at most `timeout`.
    pub(crate) fn next_timeout(
        &mut self,
        payload: &mut Vec<u8>,
        timeout: Duration,
    ) -> Result<Option<Found>, PollError> {
        match &mut self.reader {
            Reader::Shared(member) => {
                return Ok(member.poll_timeout(timeout)?.map(|delivery| keep(delivery, payload)));
            }
            Reader::Nobody => {
                let next = self.observer.next_timeout(payload, timeout)?;
                return Ok(next.map(|info| Found { info, redelivered: None }));
            }
            Reader::Alone(consumer) => {
                if let Some(frame) = consumer.poll_timeout(timeout)? {
                    // Not taken: a frame that is forgotten is not released, and the observer reads it.
                    std::mem::forget(frame);
                }
            }
        }
        self.try_next(payload)
    }

    /// Gives back the space below `position`, which was this source's alone.
    pub(crate) fn release(&mut self, position: Position) -> Result<(), PollError> {
        let Reader::Alone(consumer) = &mut self.reader else { return Ok(()) };
        loop {
            match consumer.try_poll()? {
                // Dropped, and so taken.
                Some(frame) if frame.position() < position => {}
                // Fillers in front of it were taken, it was not.
                Some(frame) => {
                    std::mem::forget(frame);
                    break;
                }
                None => break,
            }
        }
        consumer.release();
        Ok(())
    }

    /// Whether each look releases what the last one found.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.reader, Reader::Shared(_))
    }

    /// Gives nothing back any more: what was found last goes to another member when this process is gone.
    pub(crate) fn abandon(&mut self) {
        if self.is_shared() {
            std::mem::forget(std::mem::replace(&mut self.reader, Reader::Nobody));
        }
    }

    /// The next record's position, if there is one.
    pub(crate) fn position(&self) -> Position {
        match &self.reader {
            Reader::Shared(member) => member.position(),
            _ => self.observer.position(),
        }
    }

    /// The next position that a producer will claim.
    pub(crate) fn tail(&self) -> Position {
        self.observer.tail()
    }

    /// Whose records were not found since it began, and how many.
    pub(crate) fn lost(&self) -> Vec<Loss> {
        match &self.reader {
            Reader::Shared(member) => member.lost(),
            _ => self.observer.lost(),
        }
    }

    /// What the name missed while nobody read under it.
    pub(crate) fn missed_bytes(&self) -> u64 {
        self.missed_bytes
    }

    /// Held space after which it is time to [`release`](Self::release).
    pub(crate) fn release_every_bytes(&self) -> Result<u64, Failure> {
        Ok(self.observer.stats()?.capacity_bytes / 16)
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

/// Copies a record and keeps it: it is released by the next look, and not before.
fn keep(delivery: Delivery<'_>, payload: &mut Vec<u8>) -> Found {
    payload.clear();
    payload.extend_from_slice(&delivery);
    let found = Found { info: delivery.info(), redelivered: Some(delivery.is_redelivered()) };
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
