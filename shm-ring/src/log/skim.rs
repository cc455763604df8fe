//! Skim: to the first record of a time, over thousands of logs, in microseconds each.
//!
//! ```text
//!   manifest, as it was read once: last_ns of each sealed segment --> the segment --> its index --> heads of frames --> the record
//! ```
//!
//! What is skipped is believed by its length, its stamp and its time: a payload that is damaged there is not noticed, and a time that is
//! damaged there may hide the record that was looked for, as one that was never read hides. Where a head can't be one, the exact search of
//! `seek.rs` takes over. What is handed out from there on is checked as ever.
//!
//! (I1) the record that is found has that time or a later one, and none that is skipped says so of itself; (I2) no directory is listed, and no
//! manifest read, unless the record is behind all segments that were known to be sealed, and not in the one that is mapped.

use super::chart::Chart;
use super::item::LogReadError;
use super::run::Run;
use super::seek::LogStart;
use super::view::{Look, SegmentView, Standing};
use super::walk::Walk;
use crate::layout::segment::LogState;
use crate::map::medium::Medium;

/// What is remembered of a log's segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// Number and greatest time of those that are sealed, up to the first one that is not, or has a hole.
    sealed: Box<[(u64, u64)]>,
    /// The number of that one.
    open: u64,
}

impl Remembered {
    /// What a manifest says.
    pub(crate) fn of(chart: &Chart) -> Self {
        let entries = &chart.state().entries;
        let sealed: Box<[_]> = entries
            .iter()
            .map_while(|entry| {
                let sealed = entry.sealed.filter(|_| entry.holes.is_empty())?;
                Some((entry.number, sealed.last_ns))
            })
            .collect();
        let behind = sealed.last().map_or(0, |(number, _)| number + 1);
        Self { open: entries.get(sealed.len()).map_or(behind, |entry| entry.number), sealed }
    }

    /// The segment that has the first record of that time or later, for sure, or if any has.
    fn segment_of(&self, timestamp_ns: u64) -> (u64, bool) {
        match self.sealed.iter().find(|(_, last_ns)| *last_ns >= timestamp_ns) {
            Some((number, _)) => (*number, true),
            None => (self.open, false),
        }
    }
}

impl<M: Medium> Walk<M> {
    /// Goes to the first record of that time or later, as [`LogStart::Since`], but for damage in what is skipped.
    pub(crate) fn skim_to(&mut self, timestamp_ns: u64, remembered: &Remembered) -> Result<(), LogReadError> {
        let (mut wanted, mut is_sure) = remembered.segment_of(timestamp_ns);
        if self.alone.is_some() {
            self.attach()?;
            (wanted, is_sure) = (self.number().unwrap_or(0), true);
        }
        let opened = match self.segment.take() {
            Some(segment) if segment.header().number == wanted => {
                let look = self.look(&segment);
                // Kept, should the look fail.
                self.segment = Some(segment);
                look.map(|look| self.segment.take().map(|segment| (segment, look)))?
            }
            _ => self.open_sound(wanted)?,
        };
        if let Some((segment, look)) = opened {
            if is_simple(&look, timestamp_ns, is_sure) {
                if let Some(position) = first_head(&segment, &look, timestamp_ns) {
                    self.settle(segment, &look, position);
                    return Ok(());
                }
            }
            // For the exact search, if it is alone.
            self.settle(segment, &look, look.base);
        }
        self.seek_exactly(timestamp_ns)
    }

    /// Goes to a place from which the last record at or before that time is met, if there is one: exactly as far in front as the index
    /// says, whatever order times have; the oldest record where it says nothing.
    pub(crate) fn skim_before(&mut self, until_ns: u64, remembered: &Remembered) -> Result<(), LogReadError> {
        if self.alone.is_some() {
            self.attach()?;
            let (segment, look) = self.take_only()?;
            let position = match latest_before(&segment, &look, until_ns) {
                Some(latest_ns) => segment.start_by_index(&look, |entry| entry.last_ns < latest_ns),
                None => look.base,
            };
            self.settle(segment, &look, position);
            return Ok(());
        }
        match self.segment_before(until_ns, remembered)? {
            Some((number, latest_ns)) => {
                if let Some((segment, look)) = self.open_sound(number)? {
                    let position = segment.start_by_index(&look, |entry| entry.last_ns < latest_ns);
                    self.settle(segment, &look, position);
                    return Ok(());
                }
                self.seek(LogStart::Oldest)
            }
            None => self.seek(LogStart::Oldest),
        }
    }

    /// The segment in which the latest time at or before that one was met first, as far as segments and indices say so, and that time.
    fn segment_before(
        &self,
        until_ns: u64,
        remembered: &Remembered,
    ) -> Result<Option<(u64, u64)>, LogReadError> {
        let mut latest: Option<(u64, u64)> = None;
        let mut note = |number: u64, ns: u64| {
            if ns > 0 && latest.is_none_or(|(_, latest_ns)| ns > latest_ns) {
                latest = Some((number, ns));
            }
        };
        let all_before = remembered.sealed.iter().take_while(|(_, last_ns)| *last_ns <= until_ns);
        let n = all_before.inspect(|(number, last_ns)| note(*number, *last_ns)).count();
        // The first one that is not wholly in front: of those that were not known to be sealed, it is looked for.
        let mut number = remembered.sealed.get(n).map_or(remembered.open, |(number, _)| *number);
        while let Some((segment, look)) = self.open_sound(number)? {
            match look.standing {
                Standing::Sealed(sealed) if sealed.last_ns <= until_ns => note(number, sealed.last_ns),
                _ => {
                    if is_simple(&look, until_ns, true) {
                        if let Some(ns) = latest_before(&segment, &look, until_ns) {
                            note(number, ns);
                        }
                    }
                    break;
                }
            }
            number += 1;
        }
        Ok(latest)
    }

    /// A segment; what is gone or damaged is for the exact search.
    fn open_sound(&self, number: u64) -> Result<Option<(SegmentView<M>, Look)>, LogReadError> {
        match self.open(number) {
            Err(error @ LogReadError::System { .. }) => Err(error),
            opened => Ok(opened.ok().flatten()),
        }
    }

    fn seek_exactly(&mut self, timestamp_ns: u64) -> Result<(), LogReadError> {
        if self.alone.is_none() {
            return self.seek(LogStart::Since(timestamp_ns));
        }
        let (segment, look) = self.take_only()?;
        let found = self.first_since(&segment, &look, timestamp_ns)?.unwrap_or(look.end);
        self.settle(segment, &look, found);
        Ok(())
    }

    /// The only segment there is.
    fn take_only(&mut self) -> Result<(SegmentView<M>, Look), LogReadError> {
        let number = self.number().unwrap_or(0);
        match self.segment.take() {
            Some(segment) => {
                let look = self.look(&segment)?;
                Ok((segment, look))
            }
            None => self.open(number)?.ok_or_else(|| missing(number, self.position)),
        }
    }
}

fn missing(segment: u64, position: u64) -> LogReadError {
    LogReadError::Damaged { segment, position, what: "its file is missing" }
}

/// The latest time at or before that one of which the segment, or its index, knows that nothing in front of its place is later.
fn latest_before<M: Medium>(segment: &SegmentView<M>, look: &Look, until_ns: u64) -> Option<u64> {
    match look.standing {
        Standing::Sealed(sealed) if sealed.last_ns <= until_ns => Some(sealed.last_ns),
        _ => {
            let entry = segment.entry_by_index(look, |entry| entry.last_ns <= until_ns)?;
            (entry.last_ns > 0).then_some(entry.last_ns)
        }
    }
}

/// Whether such a segment can be skimmed: one that has the record, or that nobody has to recover first.
fn is_simple(look: &Look, timestamp_ns: u64, is_sure: bool) -> bool {
    match look.standing {
        Standing::Sealed(sealed) => is_sure || sealed.last_ns >= timestamp_ns,
        Standing::Active { firm } => firm == u64::MAX,
        Standing::Prepared | Standing::Claimed { .. } => false,
    }
}

/// The first record of that time or later, by heads alone; `None`: there is none, or what is in front of it is no row of frames.
fn first_head<M: Medium>(segment: &SegmentView<M>, look: &Look, timestamp_ns: u64) -> Option<u64> {
    let start = segment.start_by_index(look, |entry| entry.last_ns < timestamp_ns);
    let mut run = Run::new(segment.key(), look.base, segment.frames(look.base, look.end), start);
    loop {
        let at = run.position();
        let (state, time) = run.skim()?;
        if state == LogState::Data && time >= timestamp_ns {
            return Some(at);
        }
    }
}
