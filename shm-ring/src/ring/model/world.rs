//! World: a small ring, processes that are threads, and what must hold when they have ended.
//!
//! Every payload word says whose it is: producer, entry of its plan, record of the entry, word of the record. So a record that is torn,
//! repeated, out of order or another's shows, wherever it is read.
//!
//! (I1) payload is written and read as relaxed words, so that only the protocol's own orderings make it visible; (I2) what a process did
//! is noted in ordinary memory, after the fact, so that the notes add no ordering.

use super::cursor::Cursor;
use super::wait::{For, Wait, Waiting, wake_sleepers};
use super::{join, reap};
use crate::error::ClaimError;
use crate::frame::claim::Claimer;
use crate::frame::table::Table;
use crate::frame::view::{Frames, Sealed};
use crate::layout::frame::{Head, State, span_of_record};
use crate::layout::geometry::{Geometry, Shape};
use crate::layout::slots::{Live, consumer_byte, producer_byte};
use crate::map::lock::Locks;
use crate::map::region::Region;
use crate::sync::model::{KernelWord, Who, mortal, rest, spawn, yield_now};
use crate::sync::{self, Ordering};
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
    fn record_span(self) -> u64 {
        span_of_record(self.words * 8, 0)
    }

    fn claim_span(self) -> u64 {
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
struct Life {
    /// Entries whose commit returned.
    returned: usize,
    dead: bool,
    /// It has ended; if dead, it was reaped.
    ended: bool,
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
    fn bury(&self, slot: u16, fate: Fate) {
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

    fn note(&self, who: u16, change: impl FnOnce(&mut Life)) {
        change(&mut self.lives.lock().expect("nobody dies while noting")[usize::from(who)]);
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
struct Seen {
    plans: Plans,
    exclusive: bool,
    /// By producer, the next entry that may come.
    next: Vec<Option<usize>>,
    /// The second record of a batch has to come now.
    second: Option<(u16, usize)>,
}

impl Seen {
    fn new(world: &World) -> Self {
        let World { plans, exclusive, .. } = *world;
        Self { plans, exclusive, next: vec![None; plans.len()], second: None }
    }

    fn record(&mut self, frames: &Frames, position: u64, sealed: Sealed) {
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
fn read(frames: &Frames, position: u64, sealed: Sealed) -> (u16, usize, u64) {
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

/// A producer's process.
#[derive(Debug)]
pub(super) struct Writer {
    world: World,
    plan: &'static [Entry],
    pub(super) claimer: Claimer,
    locks: Locks,
    who: u16,
    slot: u16,
}

impl Writer {
    /// Follows the plan to its end, or to death; then others reap it.
    pub(super) fn live(self, fate: Fate) {
        self.live_from(0, fate);
    }

    /// The same from an entry on.
    pub(super) fn live_from(self, first: usize, fate: Fate) {
        let (world, who, slot) = (self.world.clone(), self.who, self.slot);
        if !self.live_unburied(first, fate.producer) {
            world.bury(slot, fate);
        }
        world.note(who, |life| life.ended = true);
    }

    /// The same, without reapers; false: it was killed. A single producer ends without a word also where it is not.
    pub(super) fn live_unburied(mut self, first: usize, steps: Option<u64>) -> bool {
        let world = self.world.clone();
        let end = mortal(Who::Worker, steps, || {
            for entry in first..self.plan.len() {
                let position = loop {
                    match self.claim(entry) {
                        Ok(position) => break position,
                        Err(error) => self.full(error),
                    }
                };
                self.finish(entry, position);
            }
        });
        if end.is_none() {
            world.note(self.who, |life| life.dead = true);
        }
        if end.is_none() || world.exclusive {
            self.locks.end();
        }
        end.is_some()
    }

    /// As a producer that waits for room: somebody dead may be in the way.
    fn full(&mut self, error: ClaimError) {
        assert!(matches!(error, ClaimError::Full { .. }), "{error}");
        if !reap::sweep(self.claimer.table(), &self.locks).expect("modelled locks do not fail") {
            yield_now();
        }
    }

    /// Follows the plan, asleep while there is no room: as `Producer::push` with `Wait::Block`.
    pub(super) fn live_asleep(mut self) {
        let live = self.world.region.live();
        for entry in 0..self.plan.len() {
            let mut taken = self.claim(entry);
            let mut waiting = Waiting::new(&live.waits.0, For::Space, Wait::Block, None);
            while taken.is_err() {
                waiting.step(
                    || true,
                    || {
                        taken = self.claim(entry);
                        taken.is_ok()
                    },
                );
                if taken.is_err() {
                    taken = self.claim(entry);
                }
            }
            self.finish(entry, taken.expect("the loop's end"));
        }
    }

    /// Takes space for an entry of the plan.
    pub(super) fn claim(&mut self, entry: usize) -> Result<u64, ClaimError> {
        let entry = self.plan[entry];
        match entry.how {
            How::Push => self.claimer.try_claim::<false>(entry.claim_span(), 1),
            How::Batch => self.claimer.try_claim::<true>(entry.claim_span(), 2),
            _ => self.claimer.try_claim::<true>(entry.claim_span(), 1),
        }
    }

    /// Writes and publishes it.
    pub(super) fn finish(&mut self, entry: usize, position: u64) {
        let Entry { how, words } = self.plan[entry];
        let (span, record_span) = (self.plan[entry].claim_span(), self.plan[entry].record_span());
        let head = |state| Head {
            len_bytes: u32::try_from(words * 8).expect("a small record"),
            state,
            slot: self.slot,
        };
        let (data, inner) = (head(State::Data), head(State::Inner));
        let records = match how {
            How::Abort => 0,
            How::Batch => 2,
            _ => 1,
        };
        for record in 0..records {
            self.write(position + record * record_span, entry, record, words);
        }
        let frames = &self.claimer.table().frames;
        match how {
            How::Batch => frames.write_inside(position + record_span, inner),
            How::Shorten => frames.pad_inside(position + record_span, self.slot, span - record_span),
            How::Push | How::Claim | How::Abort => {}
        }
        // Nobody else writes into an open claim.
        for (record, word) in (0..records).flat_map(|record| (0..words).map(move |word| (record, word))) {
            let found = self.payload(position + record * record_span, word).load(Ordering::Relaxed);
            assert_eq!(found, word_of(self.who, entry, record, word), "an open claim was overwritten");
        }
        if how != How::Push {
            let head = self.claimer.table().frames.sealed(position);
            let mine = head.is_some_and(|head| head.state == State::Claimed && head.slot == self.slot);
            assert!(mine, "an open claim was taken away: {head:?}");
        }
        match how {
            How::Push => self.claimer.publish(position, data),
            How::Abort => self.claimer.abort(position, span, 1),
            _ => self.claimer.commit(position, data, records, records, words * 8),
        }
        sync::light(true);
        wake_sleepers(&self.claimer.table().live.waits.0);
        self.world.note(self.who, |life| life.returned = entry + 1);
        rest();
    }

    fn write(&self, position: u64, entry: usize, record: u64, words: u64) {
        for word in 0..words {
            // ORDER none (Relaxed): carried by C1.
            self.payload(position, word).store(word_of(self.who, entry, record, word), Ordering::Relaxed);
        }
    }

    pub(super) fn payload(&self, position: u64, word: u64) -> &sync::AtomicU64 {
        let frames = &self.claimer.table().frames;
        frames.data().word(position + frames.payload_offset() + word * 8, 0)
    }
}

/// A consumer's process.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) cursor: Cursor,
    world: World,
    seen: Seen,
    locks: Locks,
}

impl Reader {
    /// Reads a record, if one is there, and releases it.
    pub(super) fn look(&mut self) -> bool {
        let Some(found) = self.cursor.look().expect("nothing is corrupt") else {
            self.cursor.publish_news();
            return false;
        };
        let frames = &self.cursor.table().frames;
        let sealed = frames.checked(found.position).expect("nothing is corrupt").expect("it was just found");
        self.seen.record(frames, found.position, sealed);
        self.cursor.advance(found.position + found.span_bytes);
        true
    }

    /// Up to which entry of its plan somebody was read.
    pub(super) fn seen_of(&self, who: usize) -> usize {
        self.seen.next[who].unwrap_or(0)
    }

    /// Steps over what is there, unread.
    pub(super) fn pass(&mut self) {
        if let Some(found) = self.cursor.look().expect("nothing is corrupt") {
            self.cursor.advance(found.position + found.span_bytes);
        }
    }

    /// Reaps whoever is dead, if nobody else is about to.
    pub(super) fn sweep(&self) {
        reap::sweep(self.cursor.table(), &self.locks).expect("modelled locks do not fail");
    }

    /// Reads until every producer has ended and nothing is left.
    pub(super) fn read_to_the_end(&mut self) {
        let all_ended = |world: &World| {
            world.lives.lock().expect("nobody dies while noting").iter().all(|life| life.ended)
        };
        loop {
            let ended = all_ended(&self.world);
            if !self.look() {
                if ended {
                    return;
                }
                yield_now();
            }
        }
    }

    /// Reads records until there were so many, looking again and again.
    pub(super) fn read(&mut self, records: usize) {
        for _ in 0..records {
            while !self.look() {
                yield_now();
            }
        }
    }

    /// Reads so many records, asleep while there is none: as `Consumer::poll` with `Wait::Block`.
    pub(super) fn read_asleep(&mut self, live: &Live, records: usize) {
        for _ in 0..records {
            let mut waiting = Waiting::new(&live.waits.0, For::Data, Wait::Block, None);
            while !self.look() {
                let (table, position) = (self.cursor.table(), self.cursor.position());
                waiting.step(|| false, || table.frames.is_finished(position));
            }
        }
    }

    /// As a dropped `Consumer`.
    pub(super) fn leave(mut self) {
        self.cursor.leave();
        self.locks.end();
        self.cursor.wake();
    }

    /// The process is killed: the kernel gives its byte back, and that is all.
    pub(super) fn killed(&self) {
        self.locks.end();
    }
}
