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
//! (I1) nothing is released that [`release`](Source::release) was not called for; (I2) every record is handed out once, in order.

use crate::failure::Failure;
use crate::output::Messages;
use crate::show::Seen;
use regex::bytes::Regex;
use shm_ring::{
    Consumer, ConsumerOptions, Observer, PollError, Position, RecordInfo, Ring, RingOptions, Start, Wait,
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

/// Records, one after the other.
#[derive(Debug)]
pub(crate) struct Source {
    observer: Observer,
    consumer: Option<Consumer>,
    /// What the consumer's name had missed when it came back.
    missed_bytes: u64,
}

impl Source {
    /// A reader that nobody notices.
    pub(crate) fn watch(path: &Path, begin: Begin) -> Result<Self, Failure> {
        let mut observer = Ring::open_observer(path)?;
        let failed = |error| Failure::poll(path, error);
        let start = start_of(&mut observer, begin).map_err(failed)?;
        seek(start, |start| observer.seek(start)).map_err(failed)?;
        Ok(Self { observer, consumer: None, missed_bytes: 0 })
    }

    /// A reader that producers wait for.
    pub(crate) fn consume(path: &Path, name: &str, durable: bool, begin: Begin) -> Result<Self, Failure> {
        let ring = RingOptions::new().wait(Wait::Block).open(path)?;
        let failed = |error| Failure::poll(path, error);
        let mut observer = ring.observer()?;
        let start = start_of(&mut observer, begin).map_err(failed)?;
        let known = ring.stats()?.consumers.into_iter().find(|consumer| consumer.name == name);
        let missed_before = known.map_or(0, |consumer| consumer.missed_bytes);
        let options = ConsumerOptions::new().start(start);
        let consumer = ring.consumer_with(name, if durable { options.durable() } else { options })?;
        let missed_bytes = consumer.missed_bytes().saturating_sub(missed_before);
        let at = Start::At(consumer.position());
        seek(at, |start| observer.seek(start)).map_err(failed)?;
        Ok(Self { observer, consumer: Some(consumer), missed_bytes })
    }

    /// The next record, if it is there.
    pub(crate) fn try_next(&mut self, payload: &mut Vec<u8>) -> Result<Option<RecordInfo>, PollError> {
        self.observer.try_next(payload)
    }

    /// The next record; waits for it at most `timeout`.
    pub(crate) fn next_timeout(
        &mut self,
        payload: &mut Vec<u8>,
        timeout: Duration,
    ) -> Result<Option<RecordInfo>, PollError> {
        let Some(consumer) = &mut self.consumer else { return self.observer.next_timeout(payload, timeout) };
        if let Some(frame) = consumer.poll_timeout(timeout)? {
            // Not taken: a frame that is forgotten is not released, and the observer reads it.
            std::mem::forget(frame);
        }
        self.observer.try_next(payload)
    }

    /// Gives back the space below `position`, which was this source's.
    pub(crate) fn release(&mut self, position: Position) -> Result<(), PollError> {
        let Some(consumer) = &mut self.consumer else { return Ok(()) };
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

    /// The next record's position, if there is one.
    pub(crate) fn position(&self) -> Position {
        self.observer.position()
    }

    /// The next position that a producer will claim.
    pub(crate) fn tail(&self) -> Position {
        self.observer.tail()
    }

    /// Claims of dead producers that were skipped.
    pub(crate) fn lost_records(&self) -> u64 {
        self.observer.lost_records()
    }

    /// What the consumer's name missed while nobody read under it.
    pub(crate) fn missed_bytes(&self) -> u64 {
        self.missed_bytes
    }

    /// Held space after which it is time to [`release`](Self::release).
    pub(crate) fn release_every_bytes(&self) -> Result<u64, Failure> {
        Ok(self.observer.stats()?.capacity_bytes / 16)
    }
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

/// Where to start; looks through the ring when that is what it takes, and leaves the observer anywhere.
fn start_of(observer: &mut Observer, begin: Begin) -> Result<Start, PollError> {
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

/// What was lost so far, each loss told once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Losses {
    lost_records: u64,
    /// Whether anything was lost at all.
    pub(crate) any: bool,
}

impl Losses {
    /// None yet; tells what the source missed before it began.
    pub(crate) fn new(path: &Path, source: &Source, messages: Messages) -> Self {
        let missed = source.missed_bytes();
        if missed > 0 {
            messages.note(&format!("{path:?}: {missed} bytes were overwritten while this consumer was away"));
        }
        Self { lost_records: 0, any: missed > 0 }
    }

    /// An observer was too slow.
    pub(crate) fn lapped(&mut self, path: &Path, lapped: PollError, messages: Messages) {
        self.any = true;
        messages.note(&format!("{path:?}: {lapped}"));
    }

    /// Looks whether records were lost with their producers.
    pub(crate) fn look(&mut self, path: &Path, source: &Source, messages: Messages) {
        let lost = source.lost_records() - self.lost_records;
        if lost > 0 {
            self.any = true;
            self.lost_records += lost;
            messages.note(&format!("{path:?}: {lost} records were lost with producers that died"));
        }
    }
}
