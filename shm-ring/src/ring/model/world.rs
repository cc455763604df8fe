//! World: a small ring, processes that are threads, and what must hold when they have ended.
//!
//! Every payload word says whose it is: producer, entry of its plan, record of the entry, word of the record. So a record that is torn,
//! repeated, out of order or another's shows, wherever it is read.
//!
//! (I1) payload is written and read as relaxed words, so that only the protocol's own orderings make it visible; (I2) what a process did
//! is noted in ordinary memory, after the fact, so that the notes add no ordering.

use super::actors::{Reader, Writer};
use super::cursor::Cursor;
use super::share::Share;
use super::{join, reap};
use crate::frame::claim::Claimer;
use crate::frame::table::Table;
use crate::frame::view::{Frames, Sealed};
use crate::layout::frame::{State, span_of_record};
use crate::layout::geometry::{Geometry, Shape};
use crate::layout::slots::{GROUP, MEMBER, consumer_byte, producer_byte};
use crate::map::lock::Locks;
use crate::map::region::Region;
use crate::sync::Ordering;
use crate::sync::model::{KernelWord, Who, mortal, spawn, yield_now};
use std::sync::{Arc, Mutex};

/// What a producer does with a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// As `Producer::push`: not marked, copied at once.
    Push,
    /// As `Producer::claim` and `Claim::commit`.
    Claim,
    /// As `Claim::commit_len`, with 16 bytes left over.
    Shorten,
    /// As `Producer::batch`, of two records.
    Batch,
    /// As a dropped `Claim`.
    Abort,
}

/// What each producer does, in order.
pub(super) type Plans = &'static [&'static [Entry]];

/// One entry of a producer's plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) how: How,
    /// Payload of each record, in words.
    pub(super) words: u64,
}

/// Short for a plan's entry.
pub(super) const fn entry(how: How, words: u64) -> Entry {
    Entry { how, words }
}

impl Entry {
    pub(super) fn record_span(self) -> u64 {
        span_of_record(self.words * 8, 0)
    }

    pub(super) fn claim_span(self) -> u64 {
        match self.how {
            How::Push | How::Claim | How::Abort => self.record_span(),
            How::Shorten => self.record_span() + 16,
            How::Batch => self.record_span() * 2,
        }
    }
}

/// When the processes around a producer are killed, in steps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    pub(super) producer: Option<u64>,
    /// The first one that finds the producer dead.
    pub(super) reaper: Option<u64>,
    /// Whether a second one starts at the same time.
    pub(super) rivalled: bool,
}

/// What became of a producer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Life {
    /// Entries whose commit returned.
    pub(super) returned: usize,
    pub(super) dead: bool,
    /// It has ended; if dead, it was reaped.
    pub(super) ended: bool,
}

/// See the file's header.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) region: Arc<Region>,
    geometry: Geometry,
    kernel: Arc<KernelWord>,
    pub(super) plans: Plans,
    /// One producer at a time, all in slot 0, a plan each.
    exclusive: bool,
    lives: Arc<Mutex<Vec<Life>>>,
}

impl World {
    /// With a producer's slot for each plan.
    pub(super) fn new(capacity_bytes: u64, plans: Plans, consumers_max: u16) -> Self {
        Self::with(capacity_bytes, plans, consumers_max, false)
    }

    /// For a single producer: whoever has the next plan takes the slot over.
    pub(super) fn one_at_a_time(capacity_bytes: u64, plans: Plans, consumers_max: u16) -> Self {
        Self::with(capacity_bytes, plans, consumers_max, true)
    }

    fn with(capacity_bytes: u64, plans: Plans, consumers_max: u16, exclusive: bool) -> Self {
        let producers_max = if exclusive { 1 } else { u16::try_from(plans.len()).expect("a few producers") };
        // Far below what `Geometry::new` allows, for it would be many laps until anything of interest happens.
        let shape = Shape {
            capacity_bytes,
            producers_max,
            consumers_max,
            metadata: false,
            single_producer: exclusive,
        };
        let geometry = Geometry {
            shape,
            page_bytes: 0,
            live_offset: 0,
            producers_offset: 0,
            consumers_offset: 0,
            data_offset: 0,
            file_bytes: 0,
        };
        Self {
            region: Region::new(&geometry),
            geometry,
            kernel: Arc::new(KernelWord::new(0)),
            plans,
            exclusive,
            lives: Arc::new(Mutex::new(vec![Life::default(); plans.len()])),
        }
    }

    pub(super) fn table(&self) -> Table {
        let frames = Frames::new(self.region.data(), &self.geometry, KEY);
        Table::new(self.region.live(), self.region.producers(), self.region.consumers(), frames)
    }

    /// A producer's process, which has its slot's byte.
    pub(super) fn writer(&self, who: u16) -> Writer {
        let locks = Locks::new(&self.kernel);
        locks.own(producer_byte(self.slot_of(who)));
        self.writer_with(who, locks)
    }

    fn writer_with(&self, who: u16, locks: Locks) -> Writer {
        let slot = self.slot_of(who);
        let claimer = Claimer::new(self.table(), self.region.producer(slot), slot, self.exclusive);
        Writer { world: self.clone(), plan: self.plans[usize::from(who)], claimer, locks, who, slot }
    }

    /// The same, after the only slot's owner has ended without a word: as `Ring::producer`. `None`: it was killed meanwhile.
    pub(super) fn heir(&self, who: u16, steps: Option<u64>) -> Option<Writer> {
        let (locks, table) = (Locks::new(&self.kernel), self.table());
        let end = mortal(Who::Reaper, steps, || {
            let repair = loop {
                match locks.try_repair().expect("modelled locks do not fail") {
                    Some(repair) => break repair,
                    None => yield_now(),
                }
            };
            let slot = &table.all_producers()[0];
            assert!(repair.probe().acquire(producer_byte(0)).expect("modelled locks do not fail"));
            let outcome = reap::reap_producer(&table, 0, &mut reap::Proofs::new(repair.probe()));
            assert_eq!(outcome.expect("modelled locks do not fail"), reap::Outcome::Reaped);
            slot.pid.store(1, Ordering::Relaxed);
            // ORDER A1 (Release, pairs with A2): as `Ring::producer` does it.
            slot.attached.store(1, Ordering::Release);
        });
        if end.is_none() {
            locks.end();
            return None;
        }
        Some(self.writer_with(who, locks))
    }

    /// Whether there is one producer at a time.
    pub(super) fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    fn slot_of(&self, who: u16) -> u16 {
        if self.exclusive { 0 } else { who }
    }

    /// A consumer's process, which has its slot's byte and joins where `from` says.
    pub(super) fn reader(&self, slot: u16, from: impl FnOnce(&Table) -> u64) -> Reader {
        let locks = Locks::new(&self.kernel);
        locks.own(consumer_byte(self.geometry.shape.producers_max, slot));
        let table = self.table();
        table.all_consumers()[usize::from(slot)].pid.store(1, Ordering::Relaxed);
        // ORDER H1 (Release, pairs with H2): as `Consumer::attach` does it.
        table.live.grants.0.consumers_high.fetch_max(u32::from(slot) + 1, Ordering::Release);
        let from = from(&table);
        let mut cursor = Cursor::new(table, self.region.consumer(slot), true);
        cursor.join(from);
        Reader { cursor, world: self.clone(), seen: Seen::new(self), locks }
    }

    /// Makes the last slot a group's that begins at 0, and the others its members'. In this order, so that whoever looks at all slots sees
    /// members before the group.
    pub(super) fn group(&self) {
        let table = self.table();
        let (group, members) = table.all_consumers().split_last().expect("slots");
        for member in members {
            member.flags.store(MEMBER, Ordering::Relaxed);
            member.group.store(members.len() as u64, Ordering::Relaxed);
            member.pid.store(1, Ordering::Relaxed);
        }
        group.flags.store(GROUP, Ordering::Relaxed);
        group.position.store(0, Ordering::Relaxed);
        let high = u32::from(self.geometry.shape.consumers_max);
        table.live.grants.0.consumers_high.store(high, Ordering::Relaxed);
    }

    /// A member's process, which has its slot's byte.
    pub(super) fn member(&self, slot: u16) -> (Share, Locks) {
        let locks = Locks::new(&self.kernel);
        locks.own(self.byte(slot));
        let group = self.geometry.shape.consumers_max - 1;
        (Share::new(self.region.consumer(group), self.region.consumer(slot)), locks)
    }

    /// A consumer slot's lock byte.
    pub(super) fn byte(&self, slot: u16) -> u64 {
        consumer_byte(self.geometry.shape.producers_max, slot)
    }

    /// Whether every producer has ended.
    pub(super) fn all_ended(&self) -> bool {
        self.lives.lock().expect("nobody dies while noting").iter().all(|life| life.ended)
    }

    /// Reaps until the slot has no owner.
    pub(super) fn reap(&self, slot: u16, steps: Option<u64>) {
        let locks = Locks::new(&self.kernel);
        let table = self.table();
        let end = mortal(Who::Reaper, steps, || {
            // ORDER A2 (Acquire, pairs with A1): the repair.
            while table.all_producers()[usize::from(slot)].attached.load(Ordering::Acquire) != 0 {
                if !reap::sweep(&table, &locks).expect("modelled locks do not fail") {
                    yield_now();
                }
            }
        });
        if end.is_none() {
            locks.end();
        }
    }

    /// A producer is dead: its reapers come, and die or not, as its fate says.
    pub(super) fn bury(&self, slot: u16, fate: Fate) {
        // What they see of the dead is what the kernel's locks carry.
        let rival = fate.rivalled.then(|| {
            let world = self.clone();
            spawn(move || world.reap(slot, None))
        });
        self.reap(slot, fate.reaper);
        match rival {
            Some(rival) => rival.join().expect("the rival ends"),
            None if fate.reaper.is_some() => self.reap(slot, None),
            None => {}
        }
    }

    pub(super) fn note(&self, who: u16, change: impl FnOnce(&mut Life)) {
        change(&mut self.lives.lock().expect("nobody dies while noting")[usize::from(who)]);
    }

    /// Every record of every entry whose commit returned is as `is_there` wants it.
    pub(super) fn check_committed(&self, is_there: impl Fn((u16, usize, u64)) -> bool) {
        let lives = self.lives.lock().expect("nobody dies while noting");
        for ((slot, life), plan) in (0u16..).zip(lives.iter()).zip(self.plans) {
            assert!(life.dead || life.returned == plan.len(), "a live producer did not end");
            for (entry, planned) in plan.iter().enumerate().take(life.returned) {
                let records = match planned.how {
                    How::Abort => 0,
                    How::Batch => 2,
                    _ => 1,
                };
                for record in 0..records {
                    assert!(is_there((slot, entry, record)), "{slot}, {entry}, {record} is missing");
                }
            }
        }
    }

    /// After everybody has ended: frames follow each other from the oldest to the tail; every record that was committed is there once,
    /// whole and in order; only claims of the dead are lost, and no more of them than they were.
    pub(super) fn check(&self) {
        let table = self.table();
        let start = join::oldest(&table);
        let lives = self.lives.lock().expect("nobody dies while noting").clone();
        let mut seen = Seen::new(self);
        let mut lost = vec![];
        let mut position = start;
        while position < table.tail() {
            let sealed = table.frames.checked(position).expect("no frame is longer than a claim");
            let Some(sealed) = sealed else { panic!("a hole at {position}") };
            match sealed.head.state {
                State::Data | State::Inner => seen.record(&table.frames, position, sealed),
                State::Pad => {}
                State::Lost => lost.push(sealed.span_bytes),
                State::Claimed | State::Gap => panic!("{sealed:?} at {position}"),
            }
            position += sealed.span_bytes;
        }
        assert_eq!(position, table.tail(), "the last frame ends at the tail");
        assert_eq!(seen.second, None, "a batch is there as a whole");
        let mut may_be_lost = vec![];
        for ((life, plan), next) in lives.iter().zip(self.plans).zip(&seen.next) {
            let is_abort = |entry: &Entry| entry.how == How::Abort;
            // What was aborted leaves no record.
            let mut done = next.unwrap_or(0);
            while done < life.returned && (next.is_none() && start > 0 || is_abort(&plan[done])) {
                done += 1;
            }
            assert!(done >= life.returned, "of {} committed entries {done} are there", life.returned);
            assert!(life.dead || life.returned == plan.len(), "a live producer did not end");
            if life.dead {
                may_be_lost.extend(plan.get(done).map(|entry| entry.claim_span()));
            }
        }
        for span in lost {
            let Some(at) = may_be_lost.iter().position(|known| *known == span) else {
                panic!("{span} bytes are lost, {may_be_lost:?} may be")
            };
            may_be_lost.remove(at);
        }
    }
}

/// nonce ^ epoch: anything odd.
pub(super) const KEY: u64 = 0x5eed_5eed_5eed_5eed;

/// The word that says whose it is.
pub(super) fn word_of(who: u16, entry: usize, record: u64, word: u64) -> u64 {
    (u64::from(who) + 1) << 40 | (entry as u64 + 1) << 16 | record << 8 | word
}

/// What a walk has met so far.
#[derive(Debug)]
pub(super) struct Seen {
    plans: Plans,
    exclusive: bool,
    /// By producer, the next entry that may come.
    pub(super) next: Vec<Option<usize>>,
    /// The second record of a batch has to come now.
    second: Option<(u16, usize)>,
}

impl Seen {
    fn new(world: &World) -> Self {
        let World { plans, exclusive, .. } = *world;
        Self { plans, exclusive, next: vec![None; plans.len()], second: None }
    }

    pub(super) fn record(&mut self, frames: &Frames, position: u64, sealed: Sealed) {
        let (who, entry, record) = read(frames, position, sealed);
        let producer = usize::from(who);
        let planned = self.plans[producer][entry];
        assert_eq!(u64::from(sealed.head.len_bytes), planned.words * 8);
        assert_eq!(if self.exclusive { 0 } else { who }, sealed.head.slot, "another's record");
        if record == 1 {
            assert_eq!(sealed.head.state, State::Inner);
            assert_eq!(self.second.take(), Some((who, entry)), "half a batch");
            return;
        }
        assert_eq!((sealed.head.state, self.second), (State::Data, None));
        let from = self.next[producer].unwrap_or(entry);
        let between = &self.plans[producer].get(from..entry);
        let Some(between) = between else { panic!("entry {entry} again, after {from}") };
        assert!(between.iter().all(|entry| entry.how == How::Abort), "entry {entry} before {from}");
        self.next[producer] = Some(entry + 1);
        self.second = (planned.how == How::Batch).then_some((who, entry));
    }
}

/// Whose record it is, as every word of it says.
pub(super) fn read(frames: &Frames, position: u64, sealed: Sealed) -> (u16, usize, u64) {
    let words = (0..u64::from(sealed.head.len_bytes) / 8).map(|word| {
        // ORDER none (Relaxed): behind R1 or R0, and only that.
        frames.data().word(position + frames.payload_offset() + word * 8, 0).load(Ordering::Relaxed)
    });
    whose(position, words)
}

/// The same of words that were loaded already.
pub(super) fn whose(position: u64, mut words: impl Iterator<Item = u64>) -> (u16, usize, u64) {
    let Some(first) = words.next() else { panic!("a record without words at {position}") };
    let who = u16::try_from((first >> 40).wrapping_sub(1)).unwrap_or(u16::MAX);
    let entry = usize::try_from(first >> 16 & 0xff_ffff).expect("24 bits").wrapping_sub(1);
    let record = first >> 8 & 0xff;
    for (word, found) in (0..).zip([first].into_iter().chain(words)) {
        assert_eq!(found, word_of(who, entry, record, word), "word {word} at {position} is torn");
    }
    (who, entry, record)
}
