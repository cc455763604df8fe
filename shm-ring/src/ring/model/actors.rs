//! Actors: a producer's process that follows its plan, and a consumer's that reads, each a thread of a [`World`].
//!
//! They use the library as `Producer` and `Consumer` do, whose own stores are repeated here.
//!
//! (I1) what an actor holds of the kernel is given back by [`Locks::end`] alone, as when a process ends.

use super::cursor::Cursor;
use super::reap;
use super::wait::{For, HeldUp, Wait, Waiting, wake_sleepers};
use super::world::{Entry, Fate, How, Seen, World, word_of};
use crate::error::ClaimError;
use crate::frame::claim::Claimer;
use crate::layout::frame::{Head, State};
use crate::layout::slots::Live;
use crate::map::lock::Locks;
use crate::sync::model::{Who, mortal, rest, yield_now};
use crate::sync::{self, Ordering};

/// A producer's process.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) world: World,
    pub(super) plan: &'static [Entry],
    pub(super) claimer: Claimer,
    pub(super) locks: Locks,
    pub(super) who: u16,
    pub(super) slot: u16,
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
        if end.is_none() || world.is_exclusive() {
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
                    || HeldUp::Space,
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
    pub(super) world: World,
    pub(super) seen: Seen,
    pub(super) locks: Locks,
}

impl Reader {
    /// Reads a record, if one is there, and releases it.
    pub(super) fn look(&mut self) -> bool {
        let Some(found) = self.cursor.look().expect("nothing is corrupt") else {
            self.cursor.publish_news();
            self.cursor.look_for_hole().expect("whoever claimed this place says so");
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
        loop {
            let ended = self.world.all_ended();
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
                waiting.step(|| HeldUp::No, || table.frames.is_finished(position));
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
