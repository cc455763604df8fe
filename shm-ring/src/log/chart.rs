//! Chart: the manifest, as who only reads sees it.
//!
//! (I1) read anew each time, and only when something is missing: an appender may write it at any moment, and replace it; (I2) what is torn
//! at its end is not there.
//! Writes nothing.

use super::error::Trouble;
use super::manifest::{self, Found};
use super::names;
use crate::layout::manifest::{Entry, State};
use crate::layout::segment::{Sealed, SegmentHeader};
use crate::map::medium::Medium;
use crate::map::reserve::is_short;
use std::io;
use std::ops::Range;

/// What the manifest said when it was read.
#[derive(Debug)]
pub(crate) struct Chart(pub(crate) Found);

impl Chart {
    /// Reads it.
    pub(crate) fn read<M: Medium>(medium: &M) -> Result<Self, Trouble> {
        manifest::read(medium).map(Self)
    }

    pub(crate) fn state(&self) -> &State {
        &self.0.reading.state
    }

    /// The segment of that number.
    pub(crate) fn entry(&self, number: u64) -> Option<&Entry> {
        self.state().place_of(number).map(|place| &self.state().entries[place])
    }

    /// What a sealed segment is.
    pub(crate) fn sealed(&self, number: u64) -> Option<Sealed> {
        self.entry(number)?.sealed
    }

    /// The number of the last segment that is sealed; 0: none is.
    pub(crate) fn sealed_to(&self) -> u64 {
        self.state().entries.iter().take_while(|entry| entry.sealed.is_some()).last().map_or(0, |e| e.number)
    }

    /// Whether all of that segment is on the medium.
    pub(crate) fn vouches_for(&self, header: &SegmentHeader) -> bool {
        // One that is retired was sealed.
        let is_sealed = |entry: &Entry| entry.uuid == header.uuid && entry.sealed.is_some();
        self.begins_behind(header.number) || self.entry(header.number).is_some_and(is_sealed)
    }

    /// Whether recovery has set that segment aside, and was cut short before it could say so; an error: the system lacks what looking takes.
    pub(crate) fn is_set_aside<M: Medium>(&self, medium: &M, number: u64) -> io::Result<bool> {
        let last = self.state().entries.last().filter(|last| last.number == number && last.sealed.is_none());
        let Some(last) = last else { return Ok(false) };
        match medium.open(&names::aside(number, &last.uuid), false) {
            Err(error) if is_short(&error) => Err(error),
            opened => Ok(opened.is_ok()),
        }
    }

    /// Whether it knows that segment, and leaves it to recovery what is in it.
    pub(crate) fn leaves_open(&self, header: &SegmentHeader) -> bool {
        self.entry(header.number).is_some_and(|entry| entry.uuid == header.uuid && entry.sealed.is_none())
    }

    /// Where that segment begins, if what is in front of it is known.
    pub(crate) fn base_of(&self, number: u64) -> Option<u64> {
        let before = || self.sealed(number.checked_sub(1)?).map(|sealed| sealed.end);
        self.entry(number)?.base.or_else(before)
    }

    /// The end of the hole that has that position.
    pub(crate) fn hole_at(&self, number: u64, position: u64) -> Option<u64> {
        let holes = &self.entry(number)?.holes;
        holes.iter().find(|(from, to)| (*from..*to).contains(&position)).map(|(_, to)| *to)
    }

    /// The hole that all of that segment is.
    pub(crate) fn whole_hole(&self, number: u64) -> Option<(u64, u64)> {
        let entry = self.entry(number)?;
        let sealed = entry.sealed?;
        let is_whole = sealed.base == sealed.end || entry.holes.contains(&(sealed.base, sealed.end));
        is_whole.then_some((sealed.base, sealed.end))
    }

    /// The first of these segments that should be there.
    pub(crate) fn first_listed(&self, numbers: Range<u64>) -> Option<u64> {
        self.state().entries.iter().map(|entry| entry.number).find(|number| numbers.contains(number))
    }

    /// Whether the oldest segment that is left is behind that one.
    pub(crate) fn begins_behind(&self, number: u64) -> bool {
        self.state().entries.first().is_none_or(|first| first.number > number)
    }
}
