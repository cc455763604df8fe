//! Share: how the members of a group take records from one cursor, each record one member.
//!
//! ```text
//!   the group's slot     position = p: the next record to be taken; it holds space like any consumer's
//!   a member's slot      position = p (M1) -> the group's position p -> p + span (M2) -> works on it -> IDLE
//!                        nothing is owned yet |  owned: only this member, or who adopts its slot, goes on
//! ```
//!
//! | a member died                | its slot says                          | becomes |
//! |------------------------------|----------------------------------------|---------|
//! | with nothing in hand         | IDLE, or at or above the group         | free |
//! | after it lost a race         | below the group, by somebody else taken | an orphan, too: its record comes a second time, or is overwritten |
//! | with a record in hand        | below the group                        | an orphan, which holds its space until a living member adopts it |
//!
//! An adopter takes over the dead one's slot and leaves the position there, so that at every instant a record that was taken and not released
//! is held by one and the same slot. A producer looks at all positions twice before it uses a limit: if the first look saw the group behind a
//! record, the second one sees who took it. What an orphan holds may be a place that it never owned, so it is copied, and the copy is used
//! only if the tail had not passed over it, which it can't where a record was taken.
//!
//! (I1) a record is taken once, and again only from a dead member; (I2) from the take to the release nobody overwrites it; (I3) slots change
//! between free, member and orphan under byte 0 only.

use crate::error::PollError;
use crate::frame::lossy;
use crate::frame::table::Table;
use crate::frame::view::{Metadata, Sealed};
use crate::layout::frame::{IDLE, POSITION_END, State, is_claimable};
use crate::layout::slots::{ConsumerSlot, DURABLE, GROUP, MEMBER};
use crate::map::region::View;
use crate::sync::{Ordering, Point, add_alone, fence, kill_point};

/// Members that took a record just before this one, in one call.
const RACES_MAX: u32 = 1 << 20;

/// A member's hands.
#[derive(Debug)]
pub(crate) struct Share {
    group: View<ConsumerSlot>,
    slot: View<ConsumerSlot>,
    /// Whether the slot's position is not IDLE.
    holds: bool,
}

impl Share {
    /// For a member whose slot's byte the caller holds.
    pub(crate) fn new(group: View<ConsumerSlot>, slot: View<ConsumerSlot>) -> Self {
        Self { group, slot, holds: false }
    }

    /// The group's slot.
    pub(crate) fn group(&self) -> &ConsumerSlot {
        &self.group
    }

    /// The member's own.
    pub(crate) fn slot(&self) -> &ConsumerSlot {
        &self.slot
    }

    /// The next record to be taken by anybody.
    pub(crate) fn position(&self) -> u64 {
        // ORDER M2 (Acquire, pairs with M2): who took what lies below it is seen.
        self.group.position.load(Ordering::Acquire)
    }

    /// Whether a dead member's record waits for somebody.
    #[inline]
    pub(crate) fn has_orphans(&self) -> bool {
        // ORDER none (Relaxed): a hint; byte 0 carries what it is about.
        self.group.group.load(Ordering::Relaxed) != 0
    }

    /// Takes the next finished frame, whatever it is; where it is.
    pub(crate) fn take(&mut self, table: &Table) -> Result<Option<(u64, Sealed)>, PollError> {
        // Each further round means that another member took what this one looked at; so many in a row are forged.
        for _ in 0..RACES_MAX {
            let position = self.position();
            if !is_claimable(position) {
                self.release();
                return Err(match position {
                    // The group was taken apart: only who closes descriptors that are not its own can get here.
                    IDLE => PollError::Revoked,
                    POSITION_END => return Ok(None),
                    _ => PollError::Corrupt { position, what: "no frame can stand where its group stands" },
                });
            }
            let sealed = match table.frames.checked(position) {
                Ok(Some(sealed)) if sealed.head.state != State::Claimed => sealed,
                found => {
                    // Nobody holds this place for us: it may have been taken, and be payload by now. As long as the group stands here it is not.
                    // ORDER L2 (Acquire fence, pairs with L1): what was written over it comes with the position that allowed it.
                    fence(Ordering::Acquire);
                    if self.position() != position {
                        continue;
                    }
                    self.release();
                    return found.map(|_| None).map_err(|what| PollError::Corrupt { position, what });
                }
            };
            // ORDER M1 (Release, carried by M2): where, before the record is anybody's.
            self.slot.position.store(position, Ordering::Release);
            self.holds = true;
            kill_point(Point::GroupIntent);
            // ORDER M2 (AcqRel, pairs with M2 and P2): whoever sees the group behind this record sees the store above. Failure (Relaxed):
            // loaded anew.
            let taken = self.group.position.compare_exchange(
                position,
                position + sealed.span_bytes,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if taken.is_ok() {
                kill_point(Point::GroupTaken);
                return Ok(Some((position, sealed)));
            }
        }
        self.release();
        Ok(None)
    }

    /// Whether nothing can ever be taken here: see `Cursor::look_for_hole`.
    #[cold]
    pub(crate) fn is_destroyed(&self, table: &Table) -> bool {
        let position = self.position();
        // The tail, then intents, then the header; and the group's position once more, for another member may have moved it.
        position < table.tail()
            && !table.producers().iter().any(|slot| {
                // ORDER I2 (Acquire, pairs with I1): who is done with this place has finished its frame.
                slot.intent.load(Ordering::Acquire) == position
            })
            && table.frames.sealed(position).is_none()
            && self.position() == position
    }

    /// Gives back what was taken last; true when there was something.
    #[inline]
    pub(crate) fn release(&mut self) -> bool {
        if self.holds {
            self.holds = false;
            // ORDER P1 (Release, pairs with P2): the reads are over.
            self.slot.position.store(IDLE, Ordering::Release);
            kill_point(Point::GroupReleased);
            return true;
        }
        false
    }
}

/// The record that an orphan holds, if it holds one. The caller has byte 0 and the orphan's byte.
fn rescue(table: &Table, orphan: &ConsumerSlot) -> Option<Record> {
    // ORDER none (Relaxed): its owner is dead, which the lock carried.
    let position = orphan.position.load(Ordering::Relaxed);
    if !is_claimable(position) {
        return None;
    }
    let mut payload = Vec::new();
    let copied = lossy::look(table, position, &mut payload);
    let sealed = copied.found.ok()??;
    let is_record = matches!(sealed.head.state, State::Data | State::Inner);
    (is_record && copied.overtaken.is_none()).then_some(Record {
        position,
        sealed,
        metadata: copied.metadata,
        payload,
    })
}

/// A copy of a record that a dead member had.
#[derive(Debug)]
pub(crate) struct Record {
    /// Where it is.
    pub(crate) position: u64,
    /// Its header.
    pub(crate) sealed: Sealed,
    /// In a ring that has it.
    pub(crate) metadata: Option<Metadata>,
    /// Its bytes.
    pub(crate) payload: Vec<u8>,
}

/// Takes over an orphan of the group, with its record: its slot, its byte, the record. Frees those that have none. The caller has byte 0;
/// `lock` acquires a slot's byte, and `pid` says who adopts.
pub(crate) fn adopt<L>(
    table: &Table,
    group: u16,
    pid: u64,
    mut lock: impl FnMut(u16) -> Option<L>,
) -> Option<(u16, L, Record)> {
    let mut some_left = false;
    // ORDER none (Relaxed), for all words: changed under byte 0.
    for (index, slot) in (0u16..).zip(table.consumers()) {
        if !is_member(slot, group.into()) || slot.pid.load(Ordering::Relaxed) != 0 {
            continue;
        }
        let position = slot.position.load(Ordering::Relaxed);
        let has_it = |other: &ConsumerSlot| {
            other.pid.load(Ordering::Relaxed) != 0 && other.position.load(Ordering::Relaxed) == position
        };
        if members(table, group.into()).any(has_it) {
            // Somebody who lives won the race for it, and works on it.
            some_left = true;
            continue;
        }
        let Some(lock) = lock(index) else {
            // No descriptor to be had, or its last owner is just leaving: it still waits for somebody.
            some_left = true;
            continue;
        };
        if let Some(record) = rescue(table, slot) {
            slot.pid.store(pid, Ordering::Relaxed);
            kill_point(Point::GroupAdopted);
            return Some((index, lock, record));
        }
        free(slot);
    }
    if let Some(group) = table.all_consumers().get(usize::from(group)) {
        group.group.store(u64::from(some_left), Ordering::Relaxed);
    }
    None
}

/// Whether the place was not claimed again, as no place is that somebody holds.
fn is_intact(table: &Table, position: u64) -> bool {
    position.saturating_add(table.frames.capacity_bytes()) >= table.tail()
}

/// Makes an orphan of a dead member, or a free slot. The caller has byte 0 and its byte.
pub(crate) fn bury(table: &Table, member: &ConsumerSlot) {
    // ORDER none (Relaxed): its owner is dead, which the lock carried.
    let position = member.position.load(Ordering::Relaxed);
    let group = group_of(table, member);
    // ORDER M2 (Acquire, pairs with M2): as it was when the member died, or later.
    let holds = group.filter(|group| position < group.position.load(Ordering::Acquire));
    let Some(group) = holds else { return free(member) };
    // ORDER none (Relaxed), for the rest: changed under byte 0. The hint first: dying after it costs somebody a look.
    group.group.store(1, Ordering::Relaxed);
    kill_point(Point::GroupOrphan);
    add_alone(&member.generation, 1);
    member.pid.store(0, Ordering::Relaxed);
}

/// Makes a slot nobody's. The caller has byte 0, or the slot's byte.
pub(crate) fn free(slot: &ConsumerSlot) {
    // ORDER P1 (Release, pairs with P2): its owner's reads are over.
    slot.position.store(IDLE, Ordering::Release);
    kill_point(Point::GroupFreed);
    // ORDER none (Relaxed), for the rest: changed under byte 0, or by the owner.
    add_alone(&slot.generation, 1);
    slot.resume.store(IDLE, Ordering::Relaxed);
    // The name first: without the flag it would be a consumer's.
    slot.name[0].store(0, Ordering::Relaxed);
    kill_point(Point::GroupNameless);
    // ORDER N1 (Release, pairs with N1 in `names::find`): who sees that this is no member sees that it has no name.
    slot.flags.store(0, Ordering::Release);
    slot.group.store(0, Ordering::Relaxed);
    kill_point(Point::GroupUnmarked);
    slot.pid.store(0, Ordering::Relaxed);
}

/// Lets go of what groups hold that have no living member and are not to hold it. The caller has byte 0 and has reaped the dead.
pub(crate) fn disband(table: &Table) -> bool {
    let mut any = false;
    for (index, group) in (0u64..).zip(table.consumers()) {
        // ORDER none (Relaxed), here and below: changed under byte 0.
        if group.flags.load(Ordering::Relaxed) & (GROUP | DURABLE) != GROUP || has_owner(table, index) {
            continue;
        }
        let position = group.position.load(Ordering::Relaxed);
        if position != IDLE {
            // From the oldest record on that is not done: everything behind it is delivered again.
            let held = members(table, index).map(|member| member.position.load(Ordering::Relaxed));
            let oldest = held.filter(|held| is_intact(table, *held)).fold(position, u64::min);
            group.resume.store(oldest, Ordering::Relaxed);
            kill_point(Point::GroupResume);
            // ORDER P1 (Release, pairs with P2): the reads of all members are over.
            group.position.store(IDLE, Ordering::Release);
            kill_point(Point::GroupDisbanded);
            any = true;
        }
        for orphan in members(table, index) {
            free(orphan);
            any = true;
        }
        group.group.store(0, Ordering::Relaxed);
    }
    any
}

/// Whether [`disband`] has something to do.
pub(crate) fn is_disbandable(table: &Table) -> bool {
    (0u64..).zip(table.consumers()).any(|(index, group)| {
        // ORDER none (Relaxed): whether to ask.
        group.flags.load(Ordering::Relaxed) & (GROUP | DURABLE) == GROUP
            && !has_owner(table, index)
            && (group.position.load(Ordering::Relaxed) != IDLE || members(table, index).next().is_some())
    })
}

/// The slots that belong to the group in slot `index`: living members, dead ones, orphans.
pub(crate) fn members(table: &Table, index: u64) -> impl Iterator<Item = &ConsumerSlot> {
    table.consumers().iter().filter(move |slot| is_member(slot, index))
}

/// Whether a slot belongs to the group in slot `index`.
pub(crate) fn is_member(slot: &ConsumerSlot, index: u64) -> bool {
    // ORDER none (Relaxed): changed under byte 0; others only count.
    slot.flags.load(Ordering::Relaxed) & MEMBER != 0 && slot.group.load(Ordering::Relaxed) == index
}

/// Whether some slot of the group is owned, by somebody who lives or was not reaped yet.
fn has_owner(table: &Table, index: u64) -> bool {
    members(table, index).any(|member| member.pid.load(Ordering::Relaxed) != 0)
}

fn group_of<'a>(table: &'a Table, member: &ConsumerSlot) -> Option<&'a ConsumerSlot> {
    let index = usize::try_from(member.group.load(Ordering::Relaxed)).ok()?;
    table.all_consumers().get(index).filter(|group| group.flags.load(Ordering::Relaxed) & GROUP != 0)
}
