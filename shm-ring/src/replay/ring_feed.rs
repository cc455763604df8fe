//! Ring feed: a ring as a source, read by an observer, which copies and disturbs nobody.
//!
//! | | ends | promises |
//! |-|------|----------|
//! | as it stood | where the tail was when it was opened | nothing: it waits for what is claimed in front of that |
//! | followed    | never; an anonymous one with its producers | nothing older than now, less what it was told that records may be late by |
//!
//! (I1) the clock is read in front of the looks: what they did not find was claimed later, or is late by the time from its claim to its commit;
//! (I2) what was overwritten before it was read is counted. Nothing is in place: all is copied into the stage.

use super::feed::{Feed, Filled};
use super::missed::Missed;
use super::seat::Seat;
use super::source::{SourceError, Stamp};
use super::stage::{Stage, Tags};
use crate::error::PollError;
use crate::map::clock;
use crate::ring::names::Start;
use crate::ring::observer::Observer;
use crate::ring::record::RecordInfo;

/// How long a claim in front of the end may be open: then its producer is taken to be stuck, and the end to be there.
const OPEN_MAX_NS: u64 = 1_000_000_000;

/// A ring.
#[derive(Debug)]
pub(crate) struct RingFeed {
    observer: Observer,
    until: Until,
    is_over: bool,
    /// Since when nothing came in front of the end.
    stuck_ns: Option<u64>,
    payload: Vec<u8>,
    lapped_bytes: u64,
    n_laps: u64,
    /// Its place in the pool; what a window would take is there for copies.
    _seat: Seat,
}

#[derive(Clone, Copy, Debug)]
enum Until {
    Tail(u64),
    /// Records come late by that at most.
    Follow(u64),
}

impl RingFeed {
    /// From the oldest record on. In a pool that follows, a record is seen at most as long after its time as that says.
    pub(crate) fn new(mut observer: Observer, seat: Seat) -> Result<Self, PollError> {
        let until = match seat.shared.lateness {
            None => Until::Tail(observer.tail()),
            Some(lateness) => Until::Follow(u64::try_from(lateness.as_nanos()).unwrap_or(u64::MAX)),
        };
        observer.seek(Start::Oldest)?;
        let (lapped_bytes, n_laps) = (0, 0);
        Ok(Self {
            observer,
            until,
            is_over: false,
            stuck_ns: None,
            payload: vec![],
            lapped_bytes,
            n_laps,
            _seat: seat,
        })
    }

    fn is_behind(&self, position: u64) -> bool {
        matches!(self.until, Until::Tail(end) if position >= end)
    }

    /// Nothing is there.
    fn nothing(&mut self, now_ns: u64) -> Filled {
        if self.is_over {
            return Filled::End;
        }
        match self.until {
            Until::Follow(lateness_ns) => {
                Filled::NotYet { not_before_ns: now_ns.saturating_sub(lateness_ns) }
            }
            Until::Tail(_) => {
                let clock_ns = clock::monotonic_ns();
                if clock_ns - *self.stuck_ns.get_or_insert(clock_ns) < OPEN_MAX_NS {
                    return Filled::NotYet { not_before_ns: 0 };
                }
                self.is_over = true;
                Filled::End
            }
        }
    }
}

impl Feed for RingFeed {
    fn fill(&mut self, stage: &mut Stage) -> Result<Filled, SourceError> {
        let now_ns = clock::realtime_ns();
        let mut n = 0;
        while stage.room() > 0 && !self.is_over {
            if self.is_behind(self.observer.position()) {
                self.is_over = true;
                break;
            }
            match self.observer.try_next(&mut self.payload) {
                Ok(Some(info)) if self.is_behind(info.position) => self.is_over = true,
                Ok(Some(info)) => {
                    stage_record(stage, &info, info.position, now_ns, &self.payload);
                    n += 1;
                }
                Ok(None) => break,
                Err(PollError::Lapped { lost_bytes, .. }) => {
                    self.n_laps += 1;
                    self.lapped_bytes += lost_bytes;
                }
                Err(PollError::Closed) => self.is_over = true,
                // It is told again when what is staged is gone.
                Err(_) if n > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        if n > 0 {
            self.stuck_ns = None;
            return Ok(Filled::Some);
        }
        Ok(self.nothing(now_ns))
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        let start = match self.observer.has_metadata() {
            true => Start::Since(since_ns),
            // Their time is that of reading.
            false if since_ns > clock::realtime_ns() => Start::Now,
            false => Start::Oldest,
        };
        (self.is_over, self.stuck_ns) = (false, None);
        Ok(self.observer.seek(start)?)
    }

    fn missed(&self) -> Missed {
        let lost = self.observer.lost();
        let n_records = lost.iter().map(|loss| loss.dropped_records + loss.lapped_records).sum();
        Missed { n_gaps: self.n_laps + self.observer.n_gaps(), n_records, n_bytes: self.lapped_bytes }
    }
}

/// Stages a record of a ring. Without metadata, its time is that of reading.
pub(super) fn stage_record(stage: &mut Stage, info: &RecordInfo, sequence: u64, now_ns: u64, payload: &[u8]) {
    let stamp = Stamp { timestamp_ns: info.timestamp_ns.unwrap_or(now_ns), sequence };
    let tags = Tags { producer: info.producer, level: info.level, kind: info.kind };
    stage.push_copy(stamp, payload, tags);
}
