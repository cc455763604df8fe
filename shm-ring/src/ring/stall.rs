//! Stall: who stands in the way of a reader, if he is alive.
//!
//! A process that was stopped (SIGSTOP, a debugger, a core dump in progress) is alive: nothing is taken from it, and whoever waits for it can
//! say so. The dead are not stalled, they are reaped.
//!
//! (I1) looks only; (I2) whoever is reported held its lock byte at that moment.

use super::pid_of;
use crate::frame::table::Table;
use crate::frame::view::Sealed;
use crate::layout::frame::Position;
use crate::layout::slots::producer_byte;
use crate::map::lock::Locks;
use crate::sync::Ordering;
use std::time::{Duration, Instant};

/// A living producer's unfinished claim, behind which a reader waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stalled {
    /// Where its claim is.
    pub position: Position,
    /// Its slot.
    pub producer: u16,
    /// Its process, as seen in its own pid namespace; 0: unknown.
    pub pid: u32,
    /// How long this reader has been waiting there, as far as it noticed.
    pub waited: Duration,
}

/// Where a reader found itself waiting, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stuck {
    at: Option<(Position, Instant)>,
}

impl Stuck {
    /// The reader waits at `position`.
    pub(crate) fn note(&mut self, position: Position) {
        if self.at.is_none_or(|(at, _)| at != position) {
            self.at = Some((position, Instant::now()));
        }
    }

    fn waited(&self, position: Position) -> Duration {
        self.at.filter(|(at, _)| *at == position).map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}

/// Who may own the claim at `position`: the one whose header stands there, or those who intend that place.
pub(crate) fn owners(table: &Table, position: Position, open: Option<Sealed>) -> Vec<u16> {
    match open {
        Some(open) => vec![open.head.slot],
        // ORDER I2 (Acquire, pairs with I1): an intent at this place may be its owner's.
        None => (0u16..)
            .zip(table.producers())
            .filter(|(_, slot)| slot.intent.load(Ordering::Acquire) == position)
            .map(|(index, _)| index)
            .collect(),
    }
}

/// The living owner of an unfinished claim at `position`.
pub(crate) fn stalled(table: &Table, locks: &Locks, position: Position, stuck: &Stuck) -> Option<Stalled> {
    if table.tail() <= position {
        return None;
    }
    let open = table.frames.checked(position).ok()?;
    if table.frames.is_finished(position) {
        return None;
    }
    let probe = locks.probe().ok()?;
    let alive = |slot: &u16| probe.is_held(producer_byte(*slot)).unwrap_or(false);
    let producer = owners(table, position, open).into_iter().find(alive)?;
    let words = table.producers().get(usize::from(producer))?;
    // ORDER none (Relaxed): display only.
    let pid = pid_of(words.pid.load(Ordering::Relaxed));
    Some(Stalled { position, producer, pid, waited: stuck.waited(position) })
}
