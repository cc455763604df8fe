//! Names: consumers by name, where they begin, and which slot they get.
//!
//! | slot                       | given to a new name |
//! |----------------------------|---------------------|
//! | without a name             | first |
//! | away, and lapped meanwhile | when no other is free, the one that missed most first |
//! | away, with records to read | never |
//! | owned                      | never |
//!
//! (I1) names change under byte 0 only, by the one who holds the slot's byte.

use super::{Core, pid_of};
use crate::error::Error;
use crate::frame::table::Table;
use crate::layout::frame::{IDLE, Position};
use crate::layout::slots::{ConsumerSlot, consumer_byte, decode_name};
use crate::map::file::io_error;
use crate::map::lock::{Repair, SlotLock};
use crate::sync::{Ordering, Point, kill_point};

/// Where reading begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the oldest record that is still there.
    #[default]
    Oldest,
    /// With the next record.
    Now,
    /// At the record at this position, or the oldest if that was overwritten.
    At(Position),
    /// At the first record with this timestamp (ns since the Unix epoch) or a later one.
    Since(u64),
}

/// How a consumer attaches.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct ConsumerOptions {
    pub(crate) start: Start,
    pub(crate) durable: bool,
}

impl ConsumerOptions {
    /// A new name starts at the oldest record and holds no space while away.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where a new name starts; a known one goes on where it stopped.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// The name holds its space also while nobody has it: producers wait for its return. Nothing is missed, and the ring can fill up.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }
}

/// The slot of that name, or a free one for it; whether the name was known.
pub(crate) fn take_slot(
    core: &Core,
    table: &Table,
    repair: &Repair<'_>,
    name: &str,
    words: [u64; 8],
) -> Result<(u16, SlotLock, bool), Error> {
    let shown = core.shown();
    let shape = core.header.geometry.shape;
    let take = |index| {
        repair
            .take_slot(consumer_byte(shape.producers_max, index))
            .map_err(io_error("lock a consumer slot of", &shown))
    };
    let slots = table.all_consumers();
    if let Some((index, slot)) = (0u16..).zip(slots).find(|(_, slot)| load_name(slot) == words) {
        let lock = take(index)?.ok_or_else(|| Error::Busy {
            what: format!("consumer {name:?} of {shown:?}"),
            // ORDER none (Relaxed): display only.
            pid: pid_of(slot.pid.load(Ordering::Relaxed)),
        })?;
        return Ok((index, lock, true));
    }
    // Free slots first; then names that are away and were overwritten anyway, the one that missed most first.
    let lapped_below = table.tail().saturating_sub(table.frames.capacity_bytes());
    let mut candidates: Vec<(u64, u16)> = (0u16..)
        .zip(slots)
        .filter_map(|(index, slot)| {
            if slot.name[0].load(Ordering::Relaxed) == 0 {
                return Some((0, index));
            }
            let away = slot.pid.load(Ordering::Relaxed) == 0 && slot.position.load(Ordering::Relaxed) == IDLE;
            match slot.resume.load(Ordering::Relaxed) {
                IDLE if away => Some((0, index)),
                resume if away && resume < lapped_below => Some((resume + 1, index)),
                _ => None,
            }
        })
        .collect();
    candidates.sort_unstable();
    for (_, index) in candidates {
        let Some(lock) = take(index)? else { continue };
        store_name(&slots[usize::from(index)], words);
        return Ok((index, lock, false));
    }
    Err(Error::NoSlot { table: "consumer", slots: shape.consumers_max })
}

/// The words of a slot's name; under byte 0.
fn load_name(slot: &ConsumerSlot) -> [u64; 8] {
    // ORDER none (Relaxed): names change under byte 0 only.
    std::array::from_fn(|i| slot.name[i].load(Ordering::Relaxed))
}

/// A slot's name for display, without byte 0.
pub(crate) fn shown_name(slot: &ConsumerSlot) -> String {
    decode_name(load_name(slot))
}

fn store_name(slot: &ConsumerSlot, words: [u64; 8]) {
    // The first word says whether there is a name at all: none while the others change.
    // ORDER none (Relaxed): names change under byte 0; readers without it only display them.
    slot.name[0].store(0, Ordering::Relaxed);
    // The new name has read nothing yet; the old one's place means nothing to it.
    slot.resume.store(IDLE, Ordering::Relaxed);
    for (word, value) in slot.name.iter().zip(words).skip(1) {
        word.store(value, Ordering::Relaxed);
    }
    kill_point(Point::NameHalf);
    slot.name[0].store(words[0], Ordering::Relaxed);
    kill_point(Point::NameStored);
}
