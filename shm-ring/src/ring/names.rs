//! Names: consumers by name, where they begin, and which slot they get.
//!
//! | slot                       | given to a new name |
//! |----------------------------|---------------------|
//! | without a name             | first |
//! | away, and lapped meanwhile | when no other is free, the one that missed most first |
//! | away, with records to read | never |
//! | owned                      | never |
//!
//! (I1) names change under byte 0 only, by the one who holds the slot's byte, but that a member who leaves takes its name away without byte
//! 0; (I2) a slot says whose it is, and what kind of name it has, before it has the name.

use super::{Core, pid_of, reap, share};
use crate::error::Error;
use crate::frame::table::Table;
use crate::layout::frame::{IDLE, Position};
use crate::layout::slots::{
    ConsumerSlot, GROUP, MEMBER, NAME_BYTES_MAX, consumer_byte, decode_name, encode_name,
};
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
    pub(crate) by_hand: bool,
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

    /// Space is given back by [`Consumer::release`](crate::Consumer::release) alone: everything that was read since then comes again when
    /// the name comes back, however its owner ended. For readers that put records elsewhere, many at a time, and must not lose any on
    /// the way. Whoever never releases stops the producers, and then itself. [`Consumer::seek`](crate::Consumer::seek) releases, too, and
    /// claims of the dead that come again are counted again. A group's members release each record by itself: there it changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use shm_ring::ConsumerOptions;
    /// # let ring = shm_ring::RingOptions::new().anonymous()?;
    /// # let mut producer = ring.producer()?;
    /// # producer.push(b"a record")?;
    /// let mut consumer = ring.consumer_with("writer", ConsumerOptions::new().release_by_hand())?;
    /// let mut page = Vec::new();
    /// while let Some(frame) = consumer.try_poll()? {
    ///     page.extend_from_slice(&frame);
    /// }
    /// // ... the page is written, and then:
    /// consumer.release();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn release_by_hand(mut self) -> Self {
        self.by_hand = true;
        self
    }
}

/// A name as the words of a slot.
pub(crate) fn words_of(name: &str) -> Result<[u64; 8], Error> {
    encode_name(name).ok_or_else(|| Error::Invalid {
        option: "consumer name",
        expected: format!("1 to {NAME_BYTES_MAX} bytes without a zero byte"),
        found: format!("{name:?}"),
    })
}

/// Refuses a group's name that a single consumer has.
pub(crate) fn check_group(table: &Table, name: &str, words: [u64; 8]) -> Result<(), Error> {
    match find(table, words) {
        Some((_, slot)) if !is_group(slot) && (began(slot) || slot.pid.load(Ordering::Relaxed) != 0) => {
            Err(Error::Invalid {
                option: "group name",
                expected: "the name of a group, or a new one".into(),
                found: format!("{name:?}, which a single consumer has"),
            })
        }
        _ => Ok(()),
    }
}

/// The slot of the group of that name, which was checked, or a free one for it; whether it is new. Nobody owns it.
pub(crate) fn take_group(
    core: &Core,
    table: &Table,
    repair: &Repair<'_>,
    words: [u64; 8],
) -> Result<(u16, bool), Error> {
    if let Some((index, slot)) = find(table, words) {
        // ORDER none (Relaxed): changed under byte 0.
        slot.flags.fetch_or(GROUP, Ordering::Relaxed);
        return Ok((index, !began(slot)));
    }
    let (index, _lock) = take_free(core, table, repair, words, Kind::Group)?;
    Ok((index, true))
}

/// A slot for a member of the group of that name, which is not the group's own.
pub(crate) fn take_member(
    core: &Core,
    table: &Table,
    repair: &Repair<'_>,
    words: [u64; 8],
) -> Result<(u16, SlotLock), Error> {
    let group = find(table, words).map(|(index, _)| index);
    take_free(core, table, repair, words, Kind::Member { group })
}

/// Whether somebody has read under the name. Under byte 0, as everything here.
fn began(slot: &ConsumerSlot) -> bool {
    [&slot.position, &slot.resume].iter().any(|word| word.load(Ordering::Relaxed) != IDLE)
}

fn is_group(slot: &ConsumerSlot) -> bool {
    slot.flags.load(Ordering::Relaxed) & GROUP != 0
}

/// The slot of that name, if it has one, and is no member's.
fn find(table: &Table, words: [u64; 8]) -> Option<(u16, &ConsumerSlot)> {
    // The flags first: a member that leaves at this moment has no name before it is no member.
    // ORDER N1 (Acquire, pairs with N1 in `share::free`).
    let is_it =
        |slot: &ConsumerSlot| slot.flags.load(Ordering::Acquire) & MEMBER == 0 && load_name(slot) == words;
    (0u16..).zip(table.all_consumers()).find(|(_, slot)| is_it(slot))
}

/// What a free slot is taken for.
#[derive(Clone, Copy)]
enum Kind {
    Consumer,
    Group,
    /// Of the group in that slot, which is no free one, even if it is away and lapped.
    Member {
        group: Option<u16>,
    },
}

impl Kind {
    fn flags(self) -> u64 {
        match self {
            Self::Consumer => 0,
            Self::Group => GROUP,
            Self::Member { .. } => MEMBER,
        }
    }

    fn owner(self) -> u64 {
        if matches!(self, Self::Group) { 0 } else { std::process::id().into() }
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
    if let Some((index, slot)) = find(table, words) {
        // A group that never began is nobody's: its first member died too early.
        if is_group(slot) && began(slot) {
            return Err(Error::Invalid {
                option: "consumer name",
                expected: "a name of its own".into(),
                found: format!("{name:?}, which a group has: join it, or choose another"),
            });
        }
        let lock = take(index)?.ok_or_else(|| Error::Busy {
            what: format!("consumer {name:?} of {shown:?}"),
            // ORDER none (Relaxed): display only.
            pid: pid_of(slot.pid.load(Ordering::Relaxed)),
        })?;
        kill_point(Point::AttachLocked);
        return Ok((index, lock, true));
    }
    let (index, lock) = take_free(core, table, repair, words, Kind::Consumer)?;
    Ok((index, lock, false))
}

/// A slot that no name needs any more, with this one.
fn take_free(
    core: &Core,
    table: &Table,
    repair: &Repair<'_>,
    words: [u64; 8],
    kind: Kind,
) -> Result<(u16, SlotLock), Error> {
    if let Some(taken) = try_take_free(core, table, repair, words, kind)? {
        return Ok(taken);
    }
    // What the dead have is free when they are buried.
    let swept = reap::sweep_under(table, repair.probe());
    swept.map_err(io_error("examine the locks of", &core.shown()))?;
    try_take_free(core, table, repair, words, kind)?
        .ok_or(Error::NoSlot { table: "consumer", slots: core.header.geometry.shape.consumers_max })
}

fn try_take_free(
    core: &Core,
    table: &Table,
    repair: &Repair<'_>,
    words: [u64; 8],
    kind: Kind,
) -> Result<Option<(u16, SlotLock)>, Error> {
    let shown = core.shown();
    let shape = core.header.geometry.shape;
    let kept = if let Kind::Member { group } = kind { group } else { None };
    let slots = table.all_consumers();
    // Free slots first; then names that are away and were overwritten anyway, the one that missed most first.
    let lapped_below = table.tail().saturating_sub(table.frames.capacity_bytes());
    let mut candidates: Vec<(u64, u16)> = (0u16..)
        .zip(slots)
        .filter(|(index, _)| Some(*index) != kept)
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
        let taken = repair.take_slot(consumer_byte(shape.producers_max, index));
        let Some(lock) = taken.map_err(io_error("lock a consumer slot of", &shown))? else { continue };
        kill_point(Point::AttachLocked);
        let slot = &slots[usize::from(index)];
        // Whatever an earlier name, or somebody who died on the way here, has left means nothing to this one.
        share::free(slot);
        // ORDER H1 (Release, pairs with H2): the slot's words before the mark that makes producers and reapers look at them; and the mark
        // before there is anything to reap.
        table.live.grants.0.consumers_high.fetch_max(u32::from(index) + 1, Ordering::Release);
        store_name(slot, words, kind);
        return Ok(Some((index, lock)));
    }
    Ok(None)
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

/// Gives a slot that was freed to its new owner.
fn store_name(slot: &ConsumerSlot, words: [u64; 8], kind: Kind) {
    // The first word says whether there is a name at all: none while the others change. Before it, who can be reaped, and as what: with the
    // name alone, a dead member would pass for a consumer, or for a second group.
    // ORDER none (Relaxed): names change under byte 0; readers without it only display them.
    slot.pid.store(kind.owner(), Ordering::Relaxed);
    slot.missed_bytes.store(0, Ordering::Relaxed);
    slot.lost_records.store(0, Ordering::Relaxed);
    if let Kind::Member { .. } = kind {
        // No group's yet.
        slot.group.store(IDLE, Ordering::Relaxed);
    }
    slot.flags.store(kind.flags(), Ordering::Relaxed);
    for (word, value) in slot.name.iter().zip(words).skip(1) {
        word.store(value, Ordering::Relaxed);
    }
    kill_point(Point::NameHalf);
    slot.name[0].store(words[0], Ordering::Relaxed);
    kill_point(Point::NameStored);
}

#[cfg(test)]
mod tests {
    use crate::layout::slots::MEMBER;
    use crate::ring::options::RingOptions;
    use crate::sync::Ordering;

    // Goal: a slot that was marked as a member's by one that died before it was more takes nobody's name away: a nameless slot would be
    // given to others with all that it holds. Method: such a slot, for a consumer and for a member.
    #[test]
    fn a_slot_of_a_half_attached_member_keeps_its_next_name() {
        for group in [false, true] {
            let ring = RingOptions::new().anonymous().expect("a ring");
            drop(ring.group("first").expect("a slot"));
            ring.core.region.consumer(0).flags.store(MEMBER, Ordering::Relaxed);
            let names = || {
                let rows = ring.stats().expect("stats").consumers;
                rows.into_iter().map(|row| (row.slot, row.name)).collect::<Vec<_>>()
            };
            if group {
                let _member = ring.group("second").expect("a slot");
                assert!(names().contains(&(0, "second".into())), "{:?}", names());
            } else {
                let _consumer = ring.consumer("second").expect("a slot");
                assert!(names().contains(&(0, "second".into())), "{:?}", names());
            }
        }
    }
}
