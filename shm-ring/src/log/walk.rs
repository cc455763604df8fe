//! Walk: through a log, frame by frame and segment by segment, over whatever holds its files.
//!
//! ```text
//!              enter: open the segment that has the position, or the first one behind it
//!   Nowhere ---------------------------------------------------------------------------> In a segment --frame--> Step
//!      ^                                                                                     |
//!      +------ sealed, and its end is reached: the next segment, `behind` that number <------+
//! ```
//!
//! | what is met | what is told |
//! |-------------|--------------|
//! | the next segment begins behind this one's end | a gap, PowerCut |
//! | the next segments are gone, and the manifest does not know them any more | a gap, Retired |
//! | a frame that does not check, in a hole of the manifest | a gap, Damaged |
//! | any other, or a segment that can't be read | an error, until [`Walk::skip_damage`] |
//! | a frame that does not check where an appender was cut short by a power cut | the end, for now |
//! | a segment that was appended to behind such a place, or seems to be | the same: recovery sets it aside |
//!
//! (I1) the position only grows, but for a seek; what is between two frames that are told of is told of, too; (I2) at most one segment is
//! mapped; (I3) inside a segment a step makes no system call and no allocation, and looks at the live page only where what it saw last ends;
//! (I4) the manifest is read only by seeks, when something is missing, and for segments that were sealed in another boot, once for all of
//! them.
//! Writes nothing; waits for nobody.

use super::chart::Chart;
use super::error::Trouble;
use super::item::{LogGap, LogGapReason, LogReadError};
use super::view::{self, Framed, Look, SegmentView, Standing, Unseen};
use crate::layout::segment::{GapNote, LogState, SegmentHeader};
use crate::map::medium::Medium;
use crate::map::reserve::is_short;
use crate::sync::{AtomicU64, Ordering};
use std::io;
use std::sync::Arc;

/// How often a segment may vanish between being listed and being opened.
const N_TRIES: usize = 16;

/// After so many looks at an end that does not move, one is at whether the segment still has its name.
const IDLE_LOOKS: u32 = 64;

/// A place in a log, and what is mapped there.
#[derive(Debug)]
pub(crate) struct Walk<M: Medium> {
    pub(super) medium: Arc<M>,
    pub(super) log_uuid: [u8; 16],
    pub(super) boot_id: [u64; 2],
    pub(super) segment: Option<SegmentView<M>>,
    /// Of the mapped segment, as it was seen last.
    pub(super) base: u64,
    pub(super) end: u64,
    /// Nothing comes any more in it.
    pub(super) is_final: bool,
    /// Where the next frame is, or will be.
    pub(super) position: u64,
    /// While none is mapped: the next segment is the first one behind this number.
    pub(super) behind: u64,
    /// Wherever the next segment begins, what is missing in front of it has been told, or was not wanted.
    pub(super) is_jump_told: bool,
    /// Looks at the end of what there is, one behind the other.
    n_idle: u32,
    /// Segments up to that number are sealed by the manifest.
    pub(super) sealed_to: AtomicU64,
    /// The number and the uuid of a segment that is not mapped, and in which the walk goes on all the same: see `park.rs`.
    pub(super) parked: Option<(u64, [u8; 16])>,
    /// Of a walk through one sealed segment only: its file's name.
    pub(super) alone: Option<Box<str>>,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A record, whose payload [`Walk::payload`] has until the next step.
    Record(Framed),
    /// Something is missing.
    Gap(LogGap),
    /// How far a source was recorded.
    Mark(Framed),
}

/// What came of a look beyond the frames that were seen.
enum Turned {
    Again,
    Gap(LogGap),
    NotYet,
}

impl<M: Medium> Walk<M> {
    /// From the oldest frame on.
    pub(crate) fn new(medium: Arc<M>, log_uuid: [u8; 16], boot_id: [u64; 2]) -> Self {
        Self {
            medium,
            log_uuid,
            boot_id,
            segment: None,
            base: 0,
            end: 0,
            is_final: false,
            position: 0,
            behind: 0,
            is_jump_told: true,
            n_idle: 0,
            sealed_to: AtomicU64::new(0),
            parked: None,
            alone: None,
        }
    }

    /// The next thing; `None`: there is none yet.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> Result<Option<Step>, LogReadError> {
        loop {
            let turned = match &self.segment {
                Some(segment) if self.position < self.end => {
                    match segment.frame(self.base, self.position, self.end) {
                        Ok(framed) if segment.was_hit() => return Err(self.truncated(framed)),
                        Ok(framed) => {
                            self.position = framed.next();
                            if framed.head.state == LogState::Data {
                                return Ok(Some(Step::Record(framed)));
                            }
                            return Ok(Some(self.notice(framed)));
                        }
                        Err(_) => self.unsound()?,
                    }
                }
                Some(_) => self.look_again()?,
                None => self.enter()?,
            };
            match turned {
                Turned::Again => {}
                Turned::Gap(gap) => return Ok(Some(Step::Gap(gap))),
                Turned::NotYet => return Ok(None),
            }
        }
    }

    /// The payload of the frame of the last step.
    #[inline(always)]
    pub(crate) fn payload(&self, framed: &Framed) -> &[u8] {
        let Some(segment) = &self.segment else { return &[] };
        segment.payload(self.base, framed)
    }

    /// Goes on behind the damage that the last step met, and says what was skipped.
    pub(crate) fn skip_damage(&mut self) -> Result<LogGap, LogReadError> {
        let from = self.position;
        let gap = |to: Option<u64>| LogGap::of_bytes(from, to.map(|to| to - from), LogGapReason::Damaged);
        if let Some(segment) = &self.segment {
            let next = segment.next_sound(self.base, from, self.end);
            self.position = next.map_or(self.end.max(from), |framed| framed.position);
            return Ok(gap(Some(self.position)));
        }
        // A segment that can't be read: the first one behind that can.
        for number in self.numbers_behind(self.behind)? {
            match self.open(number) {
                Ok(Some((_, look))) if look.standing == Standing::Prepared => break,
                Ok(Some((_, look))) if look.base >= from => {
                    (self.behind, self.is_jump_told) = (number - 1, true);
                    self.position = look.base;
                    return Ok(gap(Some(look.base)));
                }
                Ok(_) | Err(LogReadError::Damaged { .. }) => {}
                Err(other) => return Err(other),
            }
            self.behind = number;
        }
        self.is_jump_told = true;
        Ok(gap(None))
    }

    /// What a frame that is no record says.
    #[cold]
    fn notice(&self, framed: Framed) -> Step {
        if framed.head.state == LogState::Mark {
            return Step::Mark(framed);
        }
        match GapNote::decode(self.payload(&framed)) {
            Some(note) => Step::Gap(LogGap::of_note(&framed, &note)),
            // Of a newer version; whole, or it would not be here.
            None => Step::Gap(LogGap::of_bytes(framed.position, None, LogGapReason::Unknown)),
        }
    }

    #[cold]
    fn truncated(&self, _: Framed) -> LogReadError {
        LogReadError::Truncated {
            segment: self.segment.as_ref().map_or(0, |segment| segment.header().number),
        }
    }

    /// Looks where the mapped segment's frames end now.
    #[cold]
    fn look_again(&mut self) -> Result<Turned, LogReadError> {
        let Some(segment) = &self.segment else { return Ok(Turned::Again) };
        let number = segment.header().number;
        if self.is_final && self.alone.is_some() {
            return Ok(Turned::NotYet);
        }
        if self.is_final {
            (self.segment, self.behind) = (None, number);
            return Ok(Turned::Again);
        }
        let look = self.look(segment)?;
        if look.standing == Standing::Prepared {
            let is_of_boot = segment.is_of_boot(self.boot_id);
            return if is_of_boot {
                Err(damaged(number, self.position, "its state"))
            } else {
                Ok(Turned::NotYet)
            };
        }
        self.end = look.end;
        if self.position < self.end {
            return Ok(Turned::Again);
        }
        if matches!(look.standing, Standing::Sealed(_)) {
            (self.segment, self.behind) = (None, number);
            return Ok(Turned::Again);
        }
        self.n_idle = self.n_idle.wrapping_add(1);
        let is_doubtful = look.standing.may_be_torn() || self.n_idle % IDLE_LOOKS == 0;
        if is_doubtful && self.is_replaced(segment)? {
            (self.segment, self.behind) = (None, number - 1);
            return Ok(Turned::Again);
        }
        if matches!(look.standing, Standing::Claimed { .. }) && self.is_followed(number, look.end)? {
            (self.segment, self.behind) = (None, number);
            return Ok(Turned::Again);
        }
        Ok(Turned::NotYet)
    }

    /// Whether the segment behind that one begins where that one ends, whose frames all check: then recovery will go on there, too.
    pub(super) fn is_followed(&self, number: u64, end: u64) -> Result<bool, LogReadError> {
        match self.open(number + 1) {
            Ok(Some((_, look))) => Ok(look.standing != Standing::Prepared && look.base == end),
            Ok(None) | Err(LogReadError::Damaged { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Whether it was appended to behind frames that a power cut took: it begins where it should not, and nobody has recovered it.
    pub(super) fn is_detached(&self, number: u64, look: &Look) -> Result<bool, LogReadError> {
        if !look.standing.may_be_torn() {
            return Ok(false);
        }
        let base = self.chart()?.and_then(|chart| chart.base_of(number));
        Ok(base.is_some_and(|base| base != look.base))
    }

    /// What the manifest says, if there is one that can be read; an error: the system lacks what reading it takes.
    pub(super) fn chart(&self) -> Result<Option<Chart>, LogReadError> {
        match Chart::read(&*self.medium) {
            // A lone segment may lie in the directory of another log.
            Ok(chart) if self.alone.is_some() && chart.state().log_uuid != self.log_uuid => Ok(None),
            Ok(chart) => Ok(Some(chart)),
            Err(Trouble::Io { operation, source, .. }) if is_short(&source) => {
                Err(system(operation, &source))
            }
            Err(_) => Ok(None),
        }
    }

    /// Whether another segment has the number: after a sync that failed, what followed it is set aside.
    fn is_replaced(&self, segment: &SegmentView<M>) -> Result<bool, LogReadError> {
        match SegmentView::open(&*self.medium, segment.header().number) {
            Ok(found) => Ok(found.header().uuid != segment.header().uuid),
            Err(Unseen::Gone | Unseen::Taken) => Ok(true),
            Err(Unseen::Bad(_)) => Ok(false),
            Err(Unseen::System { operation, source }) => Err(system(operation, &source)),
        }
    }

    /// What a frame that does not check is: the end, a hole, or damage.
    #[cold]
    fn unsound(&mut self) -> Result<Turned, LogReadError> {
        let Some(segment) = &self.segment else { return Ok(Turned::Again) };
        let number = segment.header().number;
        if segment.was_hit() {
            return Err(LogReadError::Truncated { segment: number });
        }
        let look = self.look(segment)?;
        if look.end < self.end {
            // It was sealed meanwhile, in front of what never reached the medium.
            self.end = look.end;
            return Ok(Turned::Again);
        }
        if self.position >= look.standing.firm() {
            if !self.is_replaced(segment)? {
                return Ok(Turned::NotYet);
            }
            (self.segment, self.behind) = (None, number - 1);
            return Ok(Turned::Again);
        }
        let Err(what) = segment.frame(self.base, self.position, self.end) else { return Ok(Turned::Again) };
        let hole = self.chart()?.and_then(|chart| chart.hole_at(number, self.position));
        let Some(to) = hole.map(|to| to.min(self.end)).filter(|to| *to > self.position) else {
            return Err(damaged(number, self.position, what));
        };
        let gap = LogGap::of_bytes(self.position, Some(to - self.position), LogGapReason::Damaged);
        self.position = to;
        Ok(Turned::Gap(gap))
    }

    /// Goes to the first segment behind the one that was read. Where retention is faster than the looks, none is found, for now.
    #[cold]
    fn enter(&mut self) -> Result<Turned, LogReadError> {
        if self.parked.is_some() {
            self.attach()?;
            return Ok(Turned::Again);
        }
        let number = self.behind + 1;
        let mut missed = None;
        for _ in 0..N_TRIES {
            let is_residue = self.behind == 0 && self.first_listed()?.is_some_and(|first| number < first);
            let opened = if is_residue { Ok(None) } else { self.open(number) };
            match opened {
                Ok(Some((_, look))) if self.is_detached(number, &look)? => return Ok(Turned::NotYet),
                Ok(Some((segment, look))) => return Ok(self.begin(segment, look, LogGapReason::PowerCut)),
                Ok(None) => {}
                Err(error) => return self.known_hole(number, error),
            }
            let numbers = self.numbers_behind(self.behind)?;
            // Behind the list: what retention takes is no more in the chart before its file goes.
            let chart = self.chart()?;
            let oldest = chart.as_ref().and_then(|chart| chart.state().entries.first());
            let oldest = oldest.map_or(0, |oldest| oldest.number);
            let Some(found) = numbers.into_iter().find(|number| *number >= oldest) else {
                return Ok(Turned::NotYet);
            };
            if found == number {
                continue;
            }
            if let Some(missing) = chart.as_ref().and_then(|chart| chart.first_listed(number..found)) {
                let is_aside = chart.map_or(Ok(false), |chart| chart.is_set_aside(&*self.medium, missing));
                if is_aside.map_err(|error| system("open a segment that was set aside", &error))? {
                    return Ok(Turned::NotYet);
                }
                // A list that was begun before a file was made may lack it, and have one that was made later.
                if missed.replace(missing) == Some(missing) {
                    return self.known_hole(missing, damaged(missing, self.position, "its file is missing"));
                }
                continue;
            }
            let is_retired = chart.is_none_or(|chart| chart.begins_behind(number));
            match self.open(found) {
                Ok(Some((_, look))) if self.is_detached(found, &look)? => return Ok(Turned::NotYet),
                Ok(Some((segment, look))) => {
                    let reason = if is_retired { LogGapReason::Retired } else { LogGapReason::PowerCut };
                    return Ok(self.begin(segment, look, reason));
                }
                Ok(None) => {}
                Err(error) => return self.known_hole(found, error),
            }
        }
        // It is listed behind its making, and not any more in front of its end.
        let is_listed = || Ok(self.chart()?.is_some_and(|chart| chart.entry(number).is_some()));
        let is_gone = || match SegmentView::open(&*self.medium, number) {
            Err(Unseen::System { operation, source }) => Err(system(operation, &source)),
            opened => Ok(matches!(opened, Err(Unseen::Gone))),
        };
        if is_listed()? && is_gone()? && is_listed()? {
            return self
                .known_hole(number, damaged(number, self.position, "its file has another number in it"));
        }
        // It will be a prepared one, or is no more: the next look finds out.
        Ok(Turned::NotYet)
    }

    /// A segment that can't be read at all is a gap, if the manifest says so.
    fn known_hole(&mut self, number: u64, error: LogReadError) -> Result<Turned, LogReadError> {
        let chart = self.chart()?;
        let Some((from, to)) = chart.and_then(|chart| chart.whole_hole(number)) else { return Err(error) };
        let from = if self.is_jump_told { from } else { self.position };
        let gap = LogGap::of_bytes(from, to.checked_sub(from), LogGapReason::Damaged);
        (self.behind, self.position, self.is_jump_told) = (number, to.max(self.position), false);
        Ok(Turned::Gap(gap))
    }

    /// Begins to read a segment, with a gap in front of it if something is missing there.
    fn begin(&mut self, segment: SegmentView<M>, look: Look, reason: LogGapReason) -> Turned {
        if look.standing == Standing::Prepared {
            return Turned::NotYet;
        }
        (self.segment, self.base, self.end) = (Some(segment), look.base, look.end);
        self.is_final = matches!(look.standing, Standing::Sealed(_));
        let from = self.position;
        self.position = from.max(look.base);
        if look.base <= from || std::mem::take(&mut self.is_jump_told) {
            self.is_jump_told = false;
            return Turned::Again;
        }
        Turned::Gap(LogGap::of_bytes(from, Some(look.base - from), reason))
    }

    /// Maps a segment, and looks at it; `None`: there is none of that number, or not any more.
    pub(super) fn open(&self, number: u64) -> Result<Option<(SegmentView<M>, Look)>, LogReadError> {
        let opened = match &self.alone {
            None => SegmentView::open(&*self.medium, number),
            Some(name) => SegmentView::open_named(&*self.medium, name, None),
        };
        match opened {
            Ok(segment) if segment.header().log_uuid != self.log_uuid => {
                Err(damaged(number, self.position, "it is of another log"))
            }
            Ok(segment) => {
                let look = match self.is_known_sealed(number) {
                    true => segment.look(self.boot_id).map(Look::vouched).or_else(|_| self.look(&segment))?,
                    false => self.look(&segment)?,
                };
                Ok(Some((segment, look)))
            }
            Err(Unseen::Gone | Unseen::Taken) => Ok(None),
            Err(Unseen::Bad(what)) => Err(damaged(number, self.position, what)),
            Err(Unseen::System { operation, source }) => Err(system(operation, &source)),
        }
    }

    /// Where a segment stands: by its live page, or, when that is damaged, by the manifest.
    pub(super) fn look(&self, segment: &SegmentView<M>) -> Result<Look, LogReadError> {
        match segment.look(self.boot_id) {
            Ok(look) if matches!(look.standing, Standing::Claimed { .. }) => {
                Ok(if self.is_vouched(segment.header())? { look.vouched() } else { look })
            }
            Ok(look) => Ok(look),
            Err(what) => {
                let number = segment.header().number;
                let chart = self.chart()?.ok_or_else(|| damaged(number, self.position, what))?;
                let sealed = chart.sealed(number).and_then(|sealed| segment.as_sealed(sealed).ok());
                if let Some(look) = sealed {
                    return Ok(look);
                }
                // A recovery that is at it, or was cut short: it does not ask the live page, and nobody knows before it is done.
                let is_open = !segment.is_of_boot(self.boot_id) && chart.leaves_open(segment.header());
                let nothing = Look { standing: Standing::Prepared, base: 0, end: 0 };
                if is_open { Ok(nothing) } else { Err(damaged(number, self.position, what)) }
            }
        }
    }

    /// Whether the segment that has that number now was sealed by the manifest when it was read last.
    fn is_known_sealed(&self, number: u64) -> bool {
        // ORDER none (Relaxed): of this walk only; what was sealed stays so.
        number <= self.sealed_to.load(Ordering::Relaxed)
    }

    /// Whether the manifest calls that segment sealed. One that can't be read denies nothing.
    fn is_vouched(&self, header: &SegmentHeader) -> Result<bool, LogReadError> {
        let Some(chart) = self.chart()? else { return Ok(true) };
        // ORDER none (Relaxed): of this walk only; what was sealed stays so.
        self.sealed_to.fetch_max(chart.sealed_to(), Ordering::Relaxed);
        Ok(chart.vouches_for(header))
    }

    /// The oldest segment of the manifest: from there on a log begins, though the names of older ones may still be there.
    fn first_listed(&self) -> Result<Option<u64>, LogReadError> {
        Ok(self.chart()?.and_then(|chart| chart.state().entries.first().map(|first| first.number)))
    }

    /// The numbers of the segments behind that one, in order; behind 0: of all.
    pub(super) fn numbers_behind(&self, behind: u64) -> Result<Vec<u64>, LogReadError> {
        let mut numbers =
            view::numbers(&*self.medium).map_err(|error| system("list the segments", &error))?;
        let first = if behind == 0 { self.first_listed()?.unwrap_or(0) } else { 0 };
        numbers.retain(|number| *number > behind && *number >= first);
        Ok(numbers)
    }
}

pub(super) fn damaged(segment: u64, position: u64, what: &'static str) -> LogReadError {
    LogReadError::Damaged { segment, position, what }
}

pub(super) fn system(operation: &'static str, error: &io::Error) -> LogReadError {
    LogReadError::System { operation, errno: error.raw_os_error().unwrap_or(libc::EIO) }
}
