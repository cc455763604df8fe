//! Seek: where a walk through a log begins.
//!
//! | start | where |
//! |-------|-------|
//! | Oldest | the first frame that there is |
//! | Now | where the newest segment's frames end |
//! | At(p) | the first frame at or behind p; in front of what is left: at p, and the walk tells what is gone |
//! | Since(t) | the first record, in the log's order, with a timestamp of t or more; without one: Now |
//!
//! (I1) Since is exact whatever order timestamps have: index and seals have the greatest timestamp of all that is in front, so nothing that
//! is skipped by them has a timestamp of t or more; (I2) a start never skips damage on its way in silence: where the damage may have
//! been what was looked for, the walk begins at the damage; (I3) behind what a power cut took no start looks for anything, before somebody has
//! recovered the log.
//! Reads only; an index that does not check is not used.

use super::item::LogReadError;
use super::view::{Framed, Look, SegmentView, Standing};
use super::walk::Walk;
use crate::layout::frame::{FRAME_ALIGN, Position};
use crate::layout::segment::LogState;
use crate::map::medium::Medium;

/// Where a [`LogReader`](crate::LogReader) begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogStart {
    /// At the oldest record that is left.
    Oldest,
    /// Behind the newest one.
    Now,
    /// At the first frame at or behind this position. If retention has removed it, the first item is a gap that says how much.
    At(Position),
    /// At the first record, in the order of the log, with this timestamp or a later one, in ns since the Unix epoch; behind the newest record
    /// if there is none. Records behind it may be older where their appender did not give them growing timestamps; no record in front of it
    /// is as new.
    Since(u64),
}

impl<M: Medium> Walk<M> {
    /// Goes there.
    pub(crate) fn seek(&mut self, start: LogStart) -> Result<(), LogReadError> {
        match start {
            LogStart::Oldest => self.seek_oldest(),
            LogStart::Now => self.seek_now(),
            LogStart::At(position) => self.seek_at(position, false),
            LogStart::Since(timestamp_ns) => self.seek_since(timestamp_ns),
        }
    }

    /// Goes to where somebody left off: as `At`, but behind the end of a log that a power cut has shortened, too.
    pub(crate) fn seek_left(&mut self, position: u64) -> Result<(), LogReadError> {
        self.seek_at(position, true)
    }

    fn seek_oldest(&mut self) -> Result<(), LogReadError> {
        self.leave(0, 0);
        let Some(first) = self.numbers_behind(0)?.first().copied() else { return Ok(()) };
        match self.open(first) {
            Ok(Some((segment, look))) if look.standing != Standing::Prepared => {
                self.settle(segment, &look, look.base);
            }
            // Told by the first step, or gone just now; then what is the oldest is found there.
            _ => self.is_jump_told = first != 1,
        }
        Ok(())
    }

    fn seek_now(&mut self) -> Result<(), LogReadError> {
        match self.newest()? {
            Some((segment, look)) => {
                let end = self.first_frame(&segment, &look, look.end);
                self.settle(segment, &look, end);
            }
            None => self.leave(0, 0),
        }
        Ok(())
    }

    fn seek_at(&mut self, position: u64, may_be_lost: bool) -> Result<(), LogReadError> {
        let newest = self.newest()?.map(|(_, look)| look);
        let end = newest.map_or(0, |look| look.end);
        // What a power cut took may have been seen before it.
        let was_cut = |look: Look| look.standing.may_be_torn();
        if position > end && !(may_be_lost && newest.is_none_or(was_cut)) {
            return Err(LogReadError::NoSuchPosition { position, end });
        }
        let position = position.next_multiple_of(FRAME_ALIGN);
        let Some(number) = self.segment_of(position)? else {
            self.leave(0, position);
            return Ok(());
        };
        let Ok(Some((segment, look))) = self.open(number) else {
            // Gone meanwhile, or damaged: told by the first step.
            self.leave(number - 1, position);
            return Ok(());
        };
        let found = self.first_frame(&segment, &look, position);
        self.settle(segment, &look, found);
        Ok(())
    }

    /// The first frame at or behind `position`; `position` itself if that is damaged, or behind the segment; in front of it, where a power cut
    /// has made an end.
    fn first_frame(&self, segment: &SegmentView<M>, look: &Look, position: u64) -> u64 {
        let firm = look.standing.firm();
        if position >= look.end && firm == u64::MAX {
            return position;
        }
        let mut at = segment.start_by_index(look, |entry| entry.position <= position);
        while at < position.min(look.end) {
            at = match segment.frame(look.base, at, look.end) {
                Ok(framed) => framed.next(),
                Err(_) if at >= firm => return at,
                Err(_) => match segment.next_sound(look.base, at, look.end) {
                    Some(framed) if framed.position <= position => framed.position,
                    _ => return position,
                },
            };
        }
        at.max(position)
    }

    fn seek_since(&mut self, timestamp_ns: u64) -> Result<(), LogReadError> {
        let mut end = 0;
        for number in self.reachable()? {
            let (segment, look) = match self.open(number) {
                Ok(Some(opened)) => opened,
                Ok(None) => continue,
                Err(LogReadError::Damaged { .. }) => {
                    // What is looked for may be there.
                    self.leave(number - 1, end);
                    return Ok(());
                }
                Err(other) => return Err(other),
            };
            match look.standing {
                Standing::Prepared => break,
                Standing::Sealed(sealed) if sealed.last_ns < timestamp_ns => {}
                _ => {
                    if let Some(found) = self.first_since(&segment, &look, timestamp_ns)? {
                        self.settle(segment, &look, found);
                        return Ok(());
                    }
                }
            }
            end = look.end;
        }
        self.seek_now()
    }

    /// The first record of that time or later, or the first damage in front of it.
    pub(super) fn first_since(
        &self,
        segment: &SegmentView<M>,
        look: &Look,
        timestamp_ns: u64,
    ) -> Result<Option<u64>, LogReadError> {
        let is_it =
            |framed: &Framed| framed.head.state == LogState::Data && framed.timestamp_ns >= timestamp_ns;
        let mut at = segment.start_by_index(look, |entry| entry.last_ns < timestamp_ns);
        while at < look.end {
            match segment.frame(look.base, at, look.end) {
                Ok(framed) if is_it(&framed) => return Ok(Some(at)),
                Ok(framed) => at = framed.next(),
                Err(_) if at >= look.standing.firm() => return Ok(None),
                Err(_) => match self.chart()?.and_then(|chart| chart.hole_at(segment.header().number, at)) {
                    Some(to) if to > at => at = to,
                    _ => return Ok(Some(at)),
                },
            }
        }
        Ok(None)
    }

    /// The newest segment that has been appended to.
    fn newest(&self) -> Result<Option<(SegmentView<M>, Look)>, LogReadError> {
        for number in self.reachable()?.into_iter().rev() {
            match self.open(number)? {
                Some((_, look)) if look.standing == Standing::Prepared => {}
                None => {}
                found => return Ok(found),
            }
        }
        Ok(None)
    }

    /// The numbers of all segments but those behind frames that a power cut took, and nobody has recovered.
    fn reachable(&self) -> Result<Vec<u64>, LogReadError> {
        let mut numbers = self.numbers_behind(0)?;
        let Some(chart) = self.chart()? else { return Ok(numbers) };
        let sealed_to = chart.sealed_to();
        let from = numbers.partition_point(|number| *number <= sealed_to);
        for at in from..numbers.len() {
            let (segment, look) = match self.open(numbers[at]) {
                Ok(Some(opened)) => opened,
                Ok(None) | Err(LogReadError::Damaged { .. }) => continue,
                Err(other) => return Err(other),
            };
            if look.standing == Standing::Prepared || self.is_detached(numbers[at], &look)? {
                numbers.truncate(at);
                break;
            }
            let is_end = match look.standing {
                Standing::Prepared | Standing::Sealed(_) => false,
                Standing::Active { firm } => firm != u64::MAX,
                Standing::Claimed { .. } => {
                    self.first_frame(&segment, &look, look.end) < look.end
                        || !self.is_followed(numbers[at], look.end)?
                }
            };
            if is_end {
                numbers.truncate(at + 1);
                break;
            }
        }
        Ok(numbers)
    }

    /// The last segment that begins at or in front of that position; `None`: all that are left begin behind it.
    fn segment_of(&self, position: u64) -> Result<Option<u64>, LogReadError> {
        let numbers = self.reachable()?;
        let (mut low, mut high) = (0, numbers.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.open(numbers[middle]) {
                // The oldest ones are removed first.
                Ok(None) => low = middle + 1,
                Ok(Some((_, look))) if look.standing == Standing::Prepared || look.base > position => {
                    high = middle;
                }
                Ok(Some(_)) => low = middle + 1,
                Err(LogReadError::Damaged { .. }) => return self.segment_of_one_by_one(position, &numbers),
                Err(other) => return Err(other),
            }
        }
        Ok(low.checked_sub(1).map(|at| numbers[at]))
    }

    fn segment_of_one_by_one(&self, position: u64, numbers: &[u64]) -> Result<Option<u64>, LogReadError> {
        let mut last = None;
        for number in numbers {
            match self.open(*number) {
                Ok(Some((_, look))) if look.standing != Standing::Prepared && look.base <= position => {
                    last = Some(*number);
                }
                Ok(_) | Err(LogReadError::Damaged { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(last)
    }

    /// Maps nothing; the next segment is the first behind that number, and something is missing if it begins behind the position.
    pub(super) fn leave(&mut self, behind: u64, position: u64) {
        (self.segment, self.behind, self.position, self.is_jump_told) = (None, behind, position, false);
        self.parked = None;
    }

    pub(super) fn settle(&mut self, segment: SegmentView<M>, look: &Look, position: u64) {
        (self.is_jump_told, self.parked) = (false, None);
        self.is_final = matches!(look.standing, Standing::Sealed(_));
        (self.base, self.end, self.position) = (look.base, look.end, position);
        self.segment = Some(segment);
    }
}
