//! Grouping: members that take records from one cursor, one of them killed, against producers that lap them.
//!
//! Promise: every committed record is delivered, whole; once, or once more for each member that died; nobody overwrites what a member has in
//! hand, and nobody waits for the dead.

use super::reap;
use super::share::{self, Share};
use super::world::{Fate, How, Plans, World, entry, read, word_of};
#[cfg(loom)]
use crate::layout::frame::Head;
use crate::layout::frame::{IDLE, State};
use crate::map::lock::Locks;
use crate::sync::Ordering;
use crate::sync::model::{Bounds, Who, explore, mortal, spawn, yield_now};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Two members, then the group.
const GROUP_SLOT: u16 = 2;

/// By producer, entry and record: how often it was delivered.
type Delivered = Arc<Mutex<BTreeMap<(u16, usize, u64), u32>>>;

/// A member's process.
struct Hand {
    world: World,
    share: Share,
    locks: Locks,
    slot: u16,
    delivered: Delivered,
}

impl Hand {
    fn new(world: &World, slot: u16, delivered: &Delivered) -> Self {
        let (share, locks) = world.member(slot);
        Self { world: world.clone(), share, locks, slot, delivered: Arc::clone(delivered) }
    }

    /// Takes a frame, if one is there, and releases it unread.
    #[cfg(loom)]
    fn pass(&mut self) {
        let table = self.world.table();
        let _ = self.share.take(&table).expect("nothing is corrupt");
        self.share.release();
    }

    /// Takes a record, if one is there.
    #[cfg(loom)]
    fn take_one(&mut self) {
        let table = self.world.table();
        if let Some((position, sealed)) = self.share.take(&table).expect("nothing is corrupt") {
            self.deliver(read(&table.frames, position, sealed));
            self.share.release();
        }
    }

    /// Works until nothing is left: as `Member::poll` and a dropped `Delivery`, again and again.
    fn work(&mut self) {
        let table = self.world.table();
        loop {
            let ended = self.world.all_ended();
            if self.share.has_orphans() && self.adopt() {
                continue;
            }
            if let Some((position, sealed)) = self.share.take(&table).expect("nothing is corrupt") {
                if matches!(sealed.head.state, State::Data | State::Inner) {
                    self.deliver(read(&table.frames, position, sealed));
                }
                self.share.release();
                continue;
            }
            let idle =
                |slot: &crate::layout::slots::ConsumerSlot| slot.position.load(Ordering::Relaxed) == IDLE;
            let others_idle = share::members(&table, GROUP_SLOT.into()).all(idle);
            let at_tail = self.share.position() >= table.tail();
            if ended && at_tail && others_idle && !self.share.has_orphans() {
                return;
            }
            if others_idle || !reap::sweep(&table, &self.locks).expect("modelled locks do not fail") {
                yield_now();
            }
        }
    }

    fn adopt(&mut self) -> bool {
        self.share.release();
        let table = self.world.table();
        let Some(repair) = self.locks.try_repair().expect("modelled locks do not fail") else {
            yield_now();
            return false;
        };
        let probe = repair.probe();
        let lock =
            |slot| probe.acquire(self.world.byte(slot)).expect("modelled locks do not fail").then_some(());
        let Some((index, (), rescued)) = share::adopt(&table, GROUP_SLOT, 1, lock) else { return false };
        drop(repair);
        let words = rescued.payload.chunks_exact(8);
        let words: Vec<u64> = words.map(|word| u64::from_le_bytes(word.try_into().expect("eight"))).collect();
        let slot = u16::try_from((words[0] >> 40) - 1).expect("a producer");
        let entry = usize::try_from((words[0] >> 16) & 0xff_ffff).expect("24 bits") - 1;
        let record = words[0] >> 8 & 0xff;
        for (n, word) in (0u64..).zip(&words) {
            assert_eq!(*word, word_of(slot, entry, record, n), "a rescued record is torn");
        }
        self.deliver((slot, entry, record));
        let orphan = self.world.region.consumer(index);
        share::free(&orphan);
        self.locks.probe().expect("modelled locks do not fail").release(self.world.byte(index));
        true
    }

    fn deliver(&self, record: (u16, usize, u64)) {
        *self.delivered.lock().expect("nobody dies while noting").entry(record).or_default() += 1;
    }

    /// Works until it is killed, or nothing is left; true: it was killed.
    fn live(mut self, steps: Option<u64>) -> bool {
        let end = mortal(Who::Worker, steps, || self.work());
        if end.is_none() {
            self.locks.end();
            return true;
        }
        // As a dropped `Member`.
        let orphan = self.world.region.consumer(self.slot);
        share::free(&orphan);
        self.locks.end();
        false
    }
}

/// Two members, the first of which is killed in front of its step number `steps`, and producers.
fn run(capacity_bytes: u64, plans: Plans, steps: Option<u64>, fates: Vec<Fate>) {
    let world = World::new(capacity_bytes, plans, 3);
    world.group();
    let delivered = Delivered::default();
    let hands = [0, 1].map(|slot| Hand::new(&world, slot, &delivered));
    let writers: Vec<_> = (0u16..).take(plans.len()).map(|slot| world.writer(slot)).collect();
    let writing: Vec<_> =
        writers.into_iter().zip(fates).map(|(writer, fate)| spawn(move || writer.live(fate))).collect();
    let working: Vec<_> =
        hands.into_iter().zip([steps, None]).map(|(hand, steps)| spawn(move || hand.live(steps))).collect();
    for thread in writing {
        thread.join().expect("it ends");
    }
    let dead: u32 = working.into_iter().map(|thread| u32::from(thread.join().expect("it ends"))).sum();
    world.check_committed(|record| delivered.lock().expect("all have ended").contains_key(&record));
    let twice: u32 = delivered.lock().expect("all have ended").values().map(|times| times - 1).sum();
    assert!(twice <= dead, "{twice} records came twice, {dead} members died");
}

/// Two members that take a record each, the first of which is killed in front of its step number `steps`, against a producer that goes on
/// over them; then somebody adopts. Without loops that wait, for loom.
#[cfg(loom)]
fn run_once(steps: Option<u64>) {
    static PLAN: Plans = &[&[entry(How::Push, 1); 4]];
    const SPAN: u64 = 32;
    let world = World::new(2 * SPAN, PLAN, 3);
    world.group();
    let delivered = Delivered::default();
    let [mut victim, mut other] = [0, 1].map(|slot| Hand::new(&world, slot, &delivered));
    let mut writer = world.writer(0);
    for entry in 0..2 {
        let position = writer.claim(entry).expect("the ring is empty");
        writer.finish(entry, position);
    }
    let writing = spawn(move || {
        let mut entry = 2;
        for _ in 0..3 {
            match writer.claim(entry) {
                Ok(position) => {
                    writer.finish(entry, position);
                    entry += 1;
                }
                Err(_) => yield_now(),
            }
            if entry == 4 {
                return;
            }
        }
    });
    let working = spawn(move || {
        if mortal(Who::Worker, steps, || victim.take_one()).is_none() {
            victim.locks.end();
        }
    });
    other.take_one();
    working.join().expect("it ends");
    writing.join().expect("it ends");
    let table = world.table();
    let mut heir = other;
    while reap::sweep(&table, &heir.locks).expect("modelled locks do not fail") {}
    while heir.share.has_orphans() {
        heir.adopt();
    }
    let delivered = delivered.lock().expect("all have ended");
    for n in 0..heir.share.position() / SPAN {
        let entry = usize::try_from(n).expect("four at most");
        assert!(delivered.contains_key(&(0, entry, 0)), "record {n} was taken and not delivered");
    }
    assert!(delivered.values().sum::<u32>() <= 2 + u32::from(steps.is_some()), "{delivered:?}");
}

/// A member looks where another takes a record, and a producer then writes payload that would pass for a header of that place.
#[cfg(loom)]
fn run_over_a_forged_header() {
    static PLAN: Plans = &[&[
        entry(How::Push, 0),
        entry(How::Push, 0),
        entry(How::Push, 0),
        entry(How::Push, 0),
        entry(How::Push, 2),
    ]];
    let world = World::new(64, PLAN, 3);
    world.group();
    let delivered = Delivered::default();
    let [mut late, mut early] = [0, 1].map(|slot| Hand::new(&world, slot, &delivered));
    let mut writer = world.writer(0);
    for entry in 0..4 {
        let position = writer.claim(entry).expect("the ring is empty");
        writer.finish(entry, position);
    }
    early.pass();
    let taking = spawn(move || {
        early.pass();
        early.pass();
    });
    let writing = spawn(move || {
        for _ in 0..2 {
            if let Ok(position) = writer.claim(4) {
                // Its first payload word is where the header of position 16 was.
                let forged = Head { len_bytes: u32::MAX, state: State::Data, slot: 0 }.encode(16, 6);
                writer.payload(position, 0).store(forged, Ordering::Relaxed);
                return;
            }
            yield_now();
        }
    });
    late.pass();
    taking.join().expect("it ends");
    writing.join().expect("it ends");
}

#[cfg(loom)]
mod orders {
    use super::*;
    use crate::sync::model::Explored;

    // Goal: what a member has in hand is not overwritten, and what it has in hand when it dies is there for another. Method: the file's
    // header; nobody killed, then one member at each of its places.
    #[test]
    fn what_a_member_has_in_hand_stays() {
        explore(Bounds::preemptions(1, 3), || run_once(None)).tell("grouping, nobody killed");
        let mut all = Explored::default();
        for steps in 0..PLACES {
            all.add(explore(Bounds::preemptions(1, 3), move || run_once(Some(steps))));
        }
        all.tell("grouping, a member killed at each place");
    }

    // Goal: who comes too late takes no payload for a header, and does not call the ring corrupt. Method: forge one, where a member looks.
    #[test]
    fn payload_never_passes_for_a_header() {
        explore(Bounds::preemptions(1, 2), run_over_a_forged_header).tell("grouping, a forged header");
    }

    /// Steps of a member that takes a record, and some more.
    const PLACES: u64 = 6;
}

#[cfg(shuttle)]
mod depth {
    use super::*;
    use crate::sync::model::draw;

    static THREE: Plans = &[
        &[entry(How::Push, 1), entry(How::Claim, 3), entry(How::Push, 2), entry(How::Batch, 1)],
        &[entry(How::Claim, 2), entry(How::Shorten, 1), entry(How::Push, 1)],
        &[entry(How::Push, 3), entry(How::Abort, 1), entry(How::Claim, 1)],
    ];

    // Goal, method: the file's header; three producers, killed or not, and a member killed somewhere.
    #[test]
    fn every_record_goes_to_a_member() {
        let bounds = Bounds::schedules(15_000);
        explore(bounds, || {
            let fate = || Fate { producer: (draw(3) == 0).then(|| draw(150)), ..Fate::default() };
            let fates = (0..3).map(|_| fate()).collect();
            run(128, THREE, Some(draw(100)), fates);
        })
        .tell("grouping, deaths on both sides");
    }
}
