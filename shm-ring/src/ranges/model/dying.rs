//! Dying: a process that is killed at any step of anything it does, and whoever makes the file fit again, killed too; power cuts there.
//!
//! ```text
//!   work: allocate, write, commit, flush, sync, free, fold ...   killed in front of step n, for every n
//!      |-- made fit, killed at step m, for every m; made fit again; then used up, with worthless bytes, and then a power cut
//!      +-- a power cut: of the marks what was synced, or a word more; of the rest what was there, or nothing; made fit
//! ```
//! Promise: what was committed is there, whole; what was not comes back, all of it, and nothing is handed out twice; after a power cut the
//! same holds of what was flushed.
//!
//! (I1) what a process did is noted in ordinary memory, before and after each call, so that the notes add no order and no step.

use super::bits::Run;
use super::heap::{Heap, Stored};
use crate::sync::model::{Bounds, Who, explore, mortal, spawn};
use crate::sync::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Taken,
    Committing,
    Committed,
    Flushed,
    /// Back at its end, and perhaps already on the way.
    Freeing,
    Freed,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    run: Run,
    stamp: u64,
    stage: Stage,
    /// Whether it was on the medium when it began to be freed.
    was_flushed: bool,
}

/// A process, and what it knows that it did.
#[derive(Clone, Debug)]
struct Worker {
    heap: Arc<Heap>,
    notes: Arc<Mutex<Vec<Note>>>,
    stamp: u64,
}

const WORTHLESS: u64 = 999;

impl Worker {
    fn new(heap: &Arc<Heap>, stamp: u64) -> Self {
        Self { heap: Arc::clone(heap), notes: Arc::default(), stamp }
    }

    fn note(&self, run: Run, stage: Stage) {
        let mut notes = self.notes.lock().unwrap();
        let note = notes.iter_mut().rfind(|note| note.run == run).expect("it was taken");
        note.was_flushed |= note.stage == Stage::Flushed;
        note.stage = stage;
    }

    fn take(&mut self, least: u64, most: u64, hint: &AtomicU64) -> Run {
        self.try_take(least, most, hint).expect("there is room")
    }

    fn try_take(&mut self, least: u64, most: u64, hint: &AtomicU64) -> Option<Run> {
        let run = self.heap.allocate(least, most, hint).ok()?;
        self.stamp += 1;
        self.notes.lock().unwrap().push(Note {
            run,
            stamp: self.stamp,
            stage: Stage::Taken,
            was_flushed: false,
        });
        Some(run)
    }

    fn commit(&self, run: Run) {
        self.heap.stamp(run, self.stamp);
        self.note(run, Stage::Committing);
        self.heap.table().commit(run);
        self.note(run, Stage::Committed);
    }

    fn flush(&self, run: Run) {
        self.heap.table().flush(run, &*self.heap).expect("a medium that works");
        self.note(run, Stage::Flushed);
    }

    fn release(&self, run: Run, hint: &AtomicU64) {
        self.note(run, Stage::Freeing);
        self.heap.table().release(run, &*self.heap, hint).expect("a medium that works");
        self.note(run, Stage::Freed);
    }

    fn give_back(&self, run: Run, hint: &AtomicU64) {
        self.note(run, Stage::Freeing);
        self.heap.table().give_back(run, hint);
        self.note(run, Stage::Freed);
    }

    fn sync_all(&self) {
        let before: Vec<Run> = self.notes.lock().unwrap().iter().map(|note| note.run).collect();
        self.heap.table().sync_all(&*self.heap).expect("a medium that works");
        for run in before {
            self.note(run, Stage::Flushed);
        }
    }

    /// Everything there is, across borders of words, in a file of 71 units.
    fn work(mut self) {
        let hint = &AtomicU64::new(0);
        let first = self.take(3, 3, hint);
        self.commit(first);
        self.flush(first);
        let long = self.take(64, 64, hint);
        self.commit(long);
        self.sync_all();
        self.release(first, hint);
        let behind = self.take(2, 2, hint);
        self.commit(behind);
        let last = self.take(1, 1, hint);
        // One is left there, so these are of the first.
        let reused = self.take(2, 2, hint);
        self.commit(reused);
        self.flush(reused);
        self.give_back(last, hint);
        self.release(behind, hint);
        // Two, one and the one that is left: folded.
        let folded = self.take(4, 4, hint);
        self.commit(folded);
        self.release(long, hint);
        let again = self.take(30, 60, hint);
        self.commit(again);
        self.flush(again);
    }

    /// A little of it, as far as there is room beside others.
    fn work_a_little(mut self) {
        let hint = &AtomicU64::new(0);
        for (least, most) in [(1, 2), (1, 1), (2, 2)] {
            let Some(run) = self.try_take(least, most, hint) else { continue };
            self.commit(run);
            if most == 2 {
                self.release(run, hint);
            }
        }
    }

    /// What became of a unit last.
    fn last_of(&self, unit: u64) -> Option<Note> {
        let notes = self.notes.lock().unwrap();
        notes.iter().rfind(|note| (note.run.first..note.run.end()).contains(&unit)).copied()
    }
}

/// In the same boot: every unit is what its process had made of it.
fn check_same_boot(workers: &[Worker], heap: &Heap) {
    let stored = heap.stored();
    let n_units = heap.table().n_units;
    let is_kept: Vec<bool> = (0..n_units).map(|unit| heap.is_kept(unit).0).collect();
    for unit in 0..n_units {
        let last = workers.iter().filter_map(|worker| worker.last_of(unit)).collect::<Vec<_>>();
        let kept = is_kept[usize::try_from(unit).unwrap()];
        // The last note of each who ever had it; whoever is alive or has not freed it says what it is.
        let stages: Vec<Stage> = last.iter().map(|note| note.stage).collect();
        let must = stages.iter().any(|stage| matches!(stage, Stage::Committed | Stage::Flushed));
        let may = must || stages.iter().any(|stage| matches!(stage, Stage::Committing | Stage::Freeing));
        assert!(kept || !must, "unit {unit} is lost: {last:?}");
        assert!(!kept || may, "unit {unit} is kept: {last:?}");
        if kept {
            let found = heap.stamps(Run { first: unit, n: 1 })[0];
            let is_its =
                |note: &Note| note.stamp == found && !matches!(note.stage, Stage::Taken | Stage::Freed);
            assert!(last.iter().any(is_its), "unit {unit} is {found}: {last:?}");
        } else {
            assert_eq!(mark(&stored, unit), 0, "unit {unit} is free, and durable on the medium: {last:?}");
        }
    }
    let drained = heap.drain();
    let free: Vec<u64> = (0..n_units).filter(|unit| !is_kept[usize::try_from(*unit).unwrap()]).collect();
    assert_eq!(drained, free, "leaked, or handed out though written");
}

fn mark(stored: &Stored, unit: u64) -> u64 {
    stored.marks[usize::try_from(unit / 32).unwrap()] >> (unit % 32) & 1
}

/// After a power cut: every unit is what was known of it on the medium.
fn check_other_boot(worker: &Worker, heap: &Heap) {
    for unit in 0..heap.table().n_units {
        let (kept, is_durable) = heap.is_kept(unit);
        assert_eq!(kept, is_durable);
        let last = worker.last_of(unit);
        let stage = last.map(|note| note.stage);
        assert!(kept || stage != Some(Stage::Flushed), "unit {unit} is lost: {last:?}");
        if kept {
            let note = last.expect("nobody has ever had it");
            let was_there = match note.stage {
                Stage::Committed | Stage::Flushed => true,
                Stage::Freeing => note.was_flushed,
                Stage::Taken | Stage::Committing | Stage::Freed => false,
            };
            assert!(was_there, "unit {unit} is kept: {last:?}");
            assert_eq!(heap.stamps(Run { first: unit, n: 1 }), [note.stamp], "unit {unit}: {last:?}");
        }
    }
    let kept = (0..heap.table().n_units).filter(|unit| heap.is_kept(*unit).0).count();
    assert_eq!(heap.table().remaining(), Ok(heap.table().n_units - kept as u64), "leaked");
}

/// What is there after a power cut at this moment: all that was synced; of the other words those that `also` says.
fn power_cut(heap: &Heap, also: u32) -> Arc<Heap> {
    let mut stored = heap.stored();
    let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
    for (n, word) in heap.durable.iter().enumerate().filter(|(n, _)| also >> n & 1 != 0) {
        stored.marks[n] = load(word);
    }
    let has_the_rest = also >> heap.durable.len() != 0;
    if has_the_rest {
        stored.data = heap.data.iter().map(load).collect();
    }
    let after = Heap::after_power_cut(heap.table().n_units, &stored);
    if has_the_rest {
        let copy = |from: &AtomicU64, to: &AtomicU64| to.store(load(from), Ordering::Relaxed);
        copy(&heap.next, &after.next);
        copy(&heap.free_units, &after.free_units);
        heap.free.iter().zip(&after.free).for_each(|(from, to)| copy(from, to));
        heap.written.iter().zip(&after.written).for_each(|(from, to)| copy(from, to));
    }
    after
}

/// Uses up whatever is free, with worthless bytes that reach the medium at once.
fn use_up(heap: &Heap) {
    let hint = AtomicU64::new(0);
    while let Ok(run) = heap.allocate(1, heap.table().n_units, &hint) {
        heap.stamp(run, WORTHLESS);
        (run.first..run.end()).for_each(|unit| heap.write_back_data(usize::try_from(unit).unwrap()));
    }
}

/// One process, killed in front of that step; then whoever makes the file fit, killed in front of that one. What the power cuts keep.
fn die_alone(steps: u64, repair_steps: u64, also: u32) {
    let heap = Heap::new(71);
    let worker = Worker::new(&heap, 0);
    let working = worker.clone();
    mortal(Who::Worker, Some(steps), || working.work());
    check_count(&heap);
    let cut = || {
        let after = power_cut(&heap, also);
        after.make_fit(true);
        check_other_boot(&worker, &after);
    };
    if repair_steps == 0 {
        cut();
    }
    mortal(Who::Reaper, Some(repair_steps), || heap.make_fit(false));
    heap.make_fit(false);
    // What comes of a later power cut, where the free units were used meanwhile.
    use_up(&heap);
    cut();
    heap.make_fit(false);
    check_same_boot(&[worker], &heap);
}

/// (I4) of the allocator, which no death may break: what is free is found.
fn check_count(heap: &Heap) {
    let table = heap.table();
    // ORDER none (Relaxed): nobody else is there.
    let counted = table.free_units.load(Ordering::Relaxed);
    assert!(
        counted >= table.free.count(table.used().expect("sound")),
        "free units that nobody will look for"
    );
}

/// All that a power cut may keep, of a file of 71 units.
const KEPT: u32 = 1 << 4;

/// Two at once, of which one is killed in front of that step.
fn die_in_company(n_units: u64, steps: u64) {
    let heap = Heap::new(n_units);
    let workers = [Worker::new(&heap, 100), Worker::new(&heap, 200)];
    let threads: Vec<_> = workers
        .iter()
        .cloned()
        .zip([Some(steps), None])
        .map(|(worker, steps)| {
            spawn(move || {
                mortal(Who::Worker, steps, || worker.work_a_little());
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("it ends");
    }
    check_count(&heap);
    heap.make_fit(false);
    check_same_boot(&workers, &heap);
}

#[cfg(loom)]
mod orders {
    use super::*;
    use crate::sync::model::{Explored, is_full};

    // Goal, method: the file's header.
    #[test]
    fn a_death_at_any_step_loses_and_repeats_nothing() {
        let mut all = Explored::default();
        for steps in 0.. {
            let mut deaths = 0;
            for repair_steps in 0.. {
                // Each kind of power cut where nobody has repaired anything; later on one after the other.
                let one = u32::try_from(steps + repair_steps).expect("few") % KEPT;
                let kept = if repair_steps == 0 || is_full() { 0..KEPT } else { one..one + 1 };
                let mut repairs = 0;
                for also in kept {
                    let explored = explore(Bounds::preemptions(0, 0), move || {
                        die_alone(steps, repair_steps, also);
                    });
                    all.add(explored);
                    deaths = explored.deaths[0];
                    repairs = explored.deaths[1];
                }
                if repairs == 0 {
                    break;
                }
            }
            if deaths == 0 {
                all.tell(&format!("ranges: killed at {steps} places"));
                break;
            }
        }
    }

    // Goal: the same beside somebody who goes on. Method: two that allocate, write and free; one is killed at each step.
    #[test]
    fn a_death_disturbs_nobody_else() {
        let mut all = Explored::default();
        for steps in 0.. {
            let explored = explore(Bounds::preemptions(1, 2), move || die_in_company(5, steps));
            all.add(explored);
            if explored.deaths[0] == 0 {
                all.tell(&format!("ranges: killed in company at {steps} places"));
                break;
            }
        }
    }
}

#[cfg(shuttle)]
mod depth {
    use super::*;
    use crate::sync::model::draw;

    // Goal: as under loom. Method: deaths drawn, loads included.
    #[test]
    fn a_death_disturbs_nobody_else() {
        explore(Bounds::schedules(15_000), || die_in_company(5, draw(80))).tell("ranges: killed in company");
    }
}
