//! Reap: proving a death and repairing what it left.
//!
//! ```text
//!   byte 0 held -> slot's byte acquired (the proof) -> repair -> IDLE, generation + 1 -> byte released -> wake everybody
//! ```
//!
//! What a producer `s` can have left at `p = s.intent`:
//!
//! | died                         | seen as                           | repaired to |
//! |------------------------------|-----------------------------------|-------------|
//! | before the tail moved        | IDLE, or tail <= p                | nothing |
//! | between tail and header      | p < tail, nothing sealed at p     | LOST, as long as its `intent_len` says |
//! | while writing                | CLAIMED by s                      | LOST |
//! | after the commit             | DATA, or PAD                      | nothing |
//! | a lap after it lost a race   | another's frame, or granted again | nothing |
//!
//! (I1) every step is an idempotent store or a CAS, so that a reaper that dies leaves the rest to the next one; (I2) only the holder of
//! byte 0 and of the slot's byte repairs it; (I3) a live process is never taken anything from.

use crate::frame::table::Table;
use crate::layout::frame::{FRAME_ALIGN, IDLE, POSITION_END, State};
use crate::layout::slots::{ConsumerSlot, DURABLE, MEMBER, consumer_byte, producer_byte};
use crate::map::lock::{Locks, Probe};
use crate::ring::{share, wait};
use crate::sync::{Ordering, Point, add_alone, fence, kill_point, yield_now};
use std::collections::BTreeSet;
use std::io;

/// How often a reaper looks again when a live slot stands where the dead one does.
const LOOKS: u32 = 64;

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is fit for a new owner.
    Reaped,
    /// A live process stands between intent and claim at the very same place: it may be the owner.
    Stalled,
}

/// Which other slots are dead; each that is said to be stays locked until the reaper is done.
pub(crate) trait Deaths {
    /// Acquires the slot's byte: true is the proof.
    fn prove(&mut self, slot: u16) -> io::Result<bool>;
}

/// Bytes that a reaper acquired through the probe, given back at the end.
#[derive(Debug)]
pub(crate) struct Proofs<'a, 'b> {
    probe: &'a Probe<'b>,
    acquired: BTreeSet<u64>,
}

impl<'a, 'b> Proofs<'a, 'b> {
    /// None yet.
    pub(crate) fn new(probe: &'a Probe<'b>) -> Self {
        Self { probe, acquired: BTreeSet::new() }
    }

    fn acquire(&mut self, byte: u64) -> io::Result<bool> {
        if self.acquired.contains(&byte) {
            return Ok(true);
        }
        let dead = self.probe.acquire(byte)?;
        if dead {
            self.acquired.insert(byte);
            kill_point(Point::ReapProved);
        }
        Ok(dead)
    }

    fn release(&mut self) {
        for byte in std::mem::take(&mut self.acquired) {
            self.probe.release(byte);
        }
    }
}

impl Drop for Proofs<'_, '_> {
    fn drop(&mut self) {
        self.release();
    }
}

impl Deaths for Proofs<'_, '_> {
    fn prove(&mut self, slot: u16) -> io::Result<bool> {
        self.acquire(producer_byte(slot))
    }
}

/// Where slots stalled in this sweep; others at the same place would stall for the same reason. Without it, a table that says that all
/// its owners died at one place costs looks at all of them for each of them.
#[derive(Debug, Default)]
pub(crate) struct Stalls(BTreeSet<u64>);

impl Stalls {
    /// [`reap_producer`], unless another slot stalled at the same place.
    pub(crate) fn reap(&mut self, table: &Table, index: u16, deaths: &mut dyn Deaths) -> io::Result<Outcome> {
        // ORDER none (Relaxed): only compared, and looked at again by whoever reaps.
        let intent = table.all_producers()[usize::from(index)].intent.load(Ordering::Relaxed);
        if self.0.contains(&intent) {
            return Ok(Outcome::Stalled);
        }
        let outcome = reap_producer(table, index, deaths)?;
        if outcome == Outcome::Stalled {
            self.0.insert(intent);
        }
        Ok(outcome)
    }
}

/// Reaps every dead slot of the ring, if nobody else is about to; true when something was reaped.
pub(crate) fn sweep(table: &Table, locks: &Locks) -> io::Result<bool> {
    // Asking first: byte 0 is for those who have something to do, and those who attach.
    if all_alive(table, &locks.probe()?)? {
        return Ok(false);
    }
    let Some(repair) = locks.try_repair()? else { return Ok(false) };
    kill_point(Point::ReapRepair);
    sweep_under(table, repair.probe())
}

/// Whether every slot that is owned has a living owner.
fn all_alive(table: &Table, probe: &Probe<'_>) -> io::Result<bool> {
    for byte in owned_bytes(table) {
        if !probe.is_held(byte)? {
            return Ok(false);
        }
    }
    Ok(!share::is_disbandable(table))
}

/// Whether anybody holds a slot, whatever the tables say.
pub(crate) fn any_alive(table: &Table, probe: &Probe<'_>) -> io::Result<bool> {
    let slots = table.all_producers().len() + table.all_consumers().len();
    for byte in 1..=slots as u64 {
        if probe.is_held(byte)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn owned_bytes(table: &Table) -> impl Iterator<Item = u64> + '_ {
    table.attached().map(producer_byte).chain(owned_consumers(table).map(|(byte, _)| byte))
}

fn owned_consumers(table: &Table) -> impl Iterator<Item = (u64, &ConsumerSlot)> {
    let producers_max = u16::try_from(table.all_producers().len()).expect("at most 4096 slots");
    let slots = (0u16..).zip(table.consumers());
    // ORDER none (Relaxed): whether to ask; the byte decides.
    let owned = slots.filter(|(_, slot)| slot.pid.load(Ordering::Relaxed) != 0);
    owned.map(move |(index, slot)| (consumer_byte(producers_max, index), slot))
}

/// The same for a caller that holds byte 0.
pub(crate) fn sweep_under(table: &Table, probe: &Probe<'_>) -> io::Result<bool> {
    let mut any = false;
    let mut stalls = Stalls::default();
    for index in table.attached() {
        let mut proofs = Proofs::new(probe);
        if proofs.acquire(producer_byte(index))? {
            any |= stalls.reap(table, index, &mut proofs)? == Outcome::Reaped;
        }
    }
    for (byte, slot) in owned_consumers(table) {
        let mut proofs = Proofs::new(probe);
        if proofs.acquire(byte)? {
            reap_consumer(table, slot);
            any = true;
        }
    }
    any |= share::disband(table);
    if any {
        kill_point(Point::ReapDone);
        wait::wake_everybody(&table.live.waits.0);
    }
    Ok(any)
}

/// Repairs what a dead producer left. The caller holds byte 0 and the slot's byte.
pub(crate) fn reap_producer(table: &Table, index: u16, deaths: &mut dyn Deaths) -> io::Result<Outcome> {
    let slot = &table.all_producers()[usize::from(index)];
    // ORDER I2 (Acquire, pairs with I1): its length, and what it finished before.
    let intent = slot.intent.load(Ordering::Acquire);
    // At or beyond the end, and between boundaries, no sound producer ever stood.
    if intent < POSITION_END && table.tail() > intent && intent % FRAME_ALIGN == 0 {
        match settle(table, index, intent, deaths)? {
            Settled::Nothing => {}
            Settled::Lost(span_bytes) => {
                let era = &table.live.era.0;
                // ORDER none (Relaxed): only the holder of byte 0 writes them.
                add_alone(&era.lost_records, 1);
                add_alone(&slot.lost, 1);
                add_alone(&era.lost_bytes, span_bytes);
                kill_point(Point::ReapCounted);
            }
            Settled::Stalled => return Ok(Outcome::Stalled),
        }
    }
    // ORDER I1 (Release, pairs with I2): LOST before the slot is idle.
    slot.intent.store(IDLE, Ordering::Release);
    kill_point(Point::ReapIdle);
    // ORDER none (Relaxed): only the holder of the slot's byte writes these, and 'attached' carries them.
    add_alone(&slot.generation, 1);
    kill_point(Point::ReapGeneration);
    slot.pid.store(0, Ordering::Relaxed);
    // ORDER A1 (Release, pairs with A2): the repair before "this producer is gone".
    if slot.attached.swap(0, Ordering::Release) != 0 {
        // ORDER A1 (Release, pairs with A2): the repair before the hint that somebody left.
        kill_point(Point::ReapMarked);
        table.live.era.0.producers_left.fetch_add(1, Ordering::Release);
    }
    Ok(Outcome::Reaped)
}

enum Settled {
    Nothing,
    Lost(u64),
    Stalled,
}

fn settle(table: &Table, index: u16, position: u64, deaths: &mut dyn Deaths) -> io::Result<Settled> {
    let frames = &table.frames;
    let granted_again = || position + frames.capacity_bytes() < table.granted();
    for _ in 0..LOOKS {
        // Every intent first, then the header: a claimer that committed meanwhile is seen by its header.
        let intents = load_intents(table);
        let head = frames.sealed(position);
        // ORDER R1' (Acquire fence, pairs with S1): the header above, then the grant.
        fence(Ordering::Acquire);
        if granted_again() {
            return Ok(Settled::Nothing);
        }
        match head {
            Some(head) if head.state == State::Claimed && head.slot == index => {
                let span_bytes = head.span_bytes(0);
                return Ok(if frames.lose(position, head) {
                    Settled::Lost(span_bytes)
                } else {
                    Settled::Nothing
                });
            }
            Some(_) => return Ok(Settled::Nothing),
            None => {}
        }
        kill_point(Point::ReapLooked);
        // Nothing is sealed: whoever intends this place may be its owner.
        let mut dead = vec![index];
        let mut live = false;
        for (other, intent) in intents.iter().zip(0u16..).map(|(intent, other)| (other, *intent)) {
            if intent == position && other != index {
                if deaths.prove(other)? {
                    dead.push(other);
                } else {
                    live = true;
                }
            }
        }
        if live {
            yield_now();
            continue;
        }
        // Only if nothing has changed since is the owner among the dead.
        if frames.sealed(position).is_some() {
            continue;
        }
        // ORDER R1' (Acquire fence, pairs with S1): as above.
        fence(Ordering::Acquire);
        if granted_again() {
            return Ok(Settled::Nothing);
        }
        let Some((owner, span_bytes)) = hole(table, position, &dead) else { return Ok(Settled::Stalled) };
        frames.lose_unmarked(position, owner, span_bytes);
        return Ok(Settled::Lost(span_bytes));
    }
    Ok(Settled::Stalled)
}

/// How long the unmarked claim at `position` is, and whose: the shortest one of the dead that ends at a boundary.
fn hole(table: &Table, position: u64, dead: &[u16]) -> Option<(u16, u64)> {
    // The tail, then every intent, then headers: a boundary that is missed by one is seen by the next.
    let tail = table.tail();
    let intents = load_intents(table);
    let is_boundary = |end: u64| {
        end == tail
            || intents.contains(&end)
            || table.frames.sealed(end).is_some_and(|head| head.state != State::Inner)
    };
    dead.iter()
        // ORDER none (Relaxed): carried by the intent's load (I2), and its owner is dead.
        .map(|index| (*index, table.all_producers()[usize::from(*index)].intent_len.load(Ordering::Relaxed)))
        .filter(|(_, span)| *span >= 16 && span % 16 == 0 && *span <= table.frames.span_max_bytes())
        .filter(|(_, span)| is_boundary(position + span))
        .min_by_key(|(_, span)| *span)
}

fn load_intents(table: &Table) -> Vec<u64> {
    // ORDER I2 (Acquire, pairs with I1): each with what its owner finished before.
    table.producers().iter().map(|slot| slot.intent.load(Ordering::Acquire)).collect()
}

/// Takes a dead consumer's hold away, unless its name is to keep it. The caller holds byte 0 and the slot's byte.
pub(crate) fn reap_consumer(table: &Table, slot: &ConsumerSlot) {
    if slot.flags.load(Ordering::Relaxed) & MEMBER != 0 {
        return share::bury(table, slot);
    }
    // ORDER none (Relaxed): only the holder of the slot's byte writes these.
    let position = slot.position.load(Ordering::Relaxed);
    if position != IDLE {
        // Above the position: it died on its way back there, before it knew whether that was still safe.
        let resume = Some(slot.resume.load(Ordering::Relaxed)).filter(|resume| *resume != IDLE);
        let resume = resume.map_or(position, |resume| resume.max(position));
        slot.resume.store(resume, Ordering::Relaxed);
        kill_point(Point::ReapResume);
        let is_durable = slot.flags.load(Ordering::Relaxed) & DURABLE != 0;
        // ORDER P1 (Release, pairs with P2): its reads are over, for it is dead.
        slot.position.store(if is_durable { resume } else { IDLE }, Ordering::Release);
        kill_point(Point::ReapPosition);
    }
    add_alone(&slot.generation, 1);
    slot.pid.store(0, Ordering::Relaxed);
}
