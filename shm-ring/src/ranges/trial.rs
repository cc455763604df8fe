//! Trial: the tables against a vector of states, which can't be wrong.
//!
//! (I1) one thread, so every answer has to be the right one: `Full` only where no run is long enough.
//! Orders and deaths are the models': `model/`.

use super::allocator::{Medium, Refusal};
use super::bits::{Bits, Run};
use super::heap::Heap;
use crate::sync::AtomicU64;
use proptest::prelude::*;
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Never,
    Taken,
    Written(u64),
    Durable(u64),
    Free,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Allocate { least: u64, more: u64, short: u64 },
    Commit(usize),
    GiveBack(usize),
    Split(usize),
    Flush(usize),
    FlushAndFail(usize),
    Release(usize),
    ReleaseAndFail(usize),
    SyncAll,
    AllDie,
    PowerCut,
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..1000usize;
    prop_oneof![
        6 => (1..140u64, 0..3u64, 0..2u64)
            .prop_map(|(least, more, short)| Step::Allocate { least, more: more * 40, short }),
        4 => (1..9u64).prop_map(|least| Step::Allocate { least, more: 0, short: 0 }),
        6 => any.clone().prop_map(Step::Commit),
        3 => any.clone().prop_map(Step::GiveBack),
        2 => any.clone().prop_map(Step::Split),
        3 => any.clone().prop_map(Step::Flush),
        1 => any.clone().prop_map(Step::FlushAndFail),
        4 => any.clone().prop_map(Step::Release),
        1 => any.prop_map(Step::ReleaseAndFail),
        1 => Just(Step::SyncAll),
        1 => Just(Step::AllDie),
        1 => Just(Step::PowerCut),
    ]
}

struct Trial {
    heap: Arc<Heap>,
    hint: AtomicU64,
    units: Vec<Unit>,
    /// Taken, and written, each with its owner: this.
    ranges: Vec<Run>,
    receipts: Vec<Run>,
    stamp: u64,
    has_failed: bool,
}

impl Trial {
    fn new(n_units: u64) -> Self {
        Self {
            heap: Heap::new(n_units),
            hint: AtomicU64::new(0),
            units: vec![Unit::Never; usize::try_from(n_units).unwrap()],
            ranges: vec![],
            receipts: vec![],
            stamp: 0,
            has_failed: false,
        }
    }

    fn is_open(&self, unit: usize) -> bool {
        matches!(self.units[unit], Unit::Never | Unit::Free)
    }

    /// The longest run in front of `end` that can be handed out.
    fn longest(&self, end: u64) -> u64 {
        let open: Vec<bool> = (0..usize::try_from(end).unwrap()).map(|unit| self.is_open(unit)).collect();
        open.split(|open| !open).map(|run| run.len() as u64).max().unwrap_or(0)
    }

    fn each(&mut self, run: Run, change: impl Fn(Unit) -> Unit) {
        for unit in &mut self.units[usize::try_from(run.first).unwrap()..usize::try_from(run.end()).unwrap()]
        {
            *unit = change(*unit);
        }
    }

    fn take(runs: &mut Vec<Run>, which: usize) -> Option<Run> {
        if runs.is_empty() { None } else { Some(runs.swap_remove(which % runs.len())) }
    }

    fn allocate(&mut self, least: u64, most: u64, end: u64) {
        match self.heap.table().allocate(least, most, end, &self.hint) {
            Ok(run) => {
                assert!(run.n >= least && run.n <= most && run.end() <= end, "{run:?}");
                assert!((run.first..run.end()).all(|unit| self.is_open(usize::try_from(unit).unwrap())));
                self.each(run, |_| Unit::Taken);
                self.ranges.push(run);
            }
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Full);
                let longest = self.longest(end);
                assert!(longest < least, "{longest} in a row were there, {least} were asked for");
            }
        }
        // What was never handed out may have become free.
        let used = usize::try_from(self.heap.table().used().unwrap()).unwrap();
        for unit in &mut self.units[..used] {
            if *unit == Unit::Never {
                *unit = Unit::Free;
            }
        }
    }

    fn play(&mut self, step: Step) {
        let table = self.heap.table();
        match step {
            Step::Allocate { least, more, short } => {
                self.allocate(least, least + more, self.units.len() as u64 - short);
            }
            Step::Commit(which) => {
                let Some(run) = Self::take(&mut self.ranges, which) else { return };
                self.stamp += 1;
                self.heap.stamp(run, self.stamp);
                table.commit(run);
                let stamp = self.stamp;
                self.each(run, |_| Unit::Written(stamp));
                self.receipts.push(run);
            }
            Step::GiveBack(which) => {
                let Some(run) = Self::take(&mut self.ranges, which) else { return };
                table.give_back(run, &self.hint);
                self.each(run, |_| Unit::Free);
            }
            Step::Split(which) => {
                let Some(run) = Self::take(&mut self.ranges, which) else { return };
                let middle = run.first + run.n / 2;
                self.ranges.extend(Run::between(run.first, middle));
                self.ranges.extend(Run::between(middle, run.end()));
            }
            Step::Flush(which) | Step::FlushAndFail(which) => {
                let Some(run) = Self::take(&mut self.receipts, which) else { return };
                let fails = matches!(step, Step::FlushAndFail(_));
                if fails {
                    self.heap.fail_after(0);
                }
                let outcome = table.flush(run, &*self.heap);
                assert_eq!(outcome.is_ok(), !fails && !self.has_failed, "{outcome:?}");
                if outcome.is_ok() {
                    self.each(run, Unit::made_durable);
                } else if fails && !self.has_failed {
                    self.has_failed = true;
                } else {
                    self.heap.mend();
                }
                self.receipts.push(run);
            }
            Step::Release(which) | Step::ReleaseAndFail(which) => {
                let Some(run) = Self::take(&mut self.receipts, which) else { return };
                let is_durable =
                    (run.first..run.end()).any(|unit| matches!(self.state(unit), Unit::Durable(_)));
                let fails = is_durable && matches!(step, Step::ReleaseAndFail(_));
                if fails {
                    self.heap.fail_after(0);
                }
                let outcome = table.release(run, &*self.heap, &self.hint);
                assert_eq!(outcome.is_err(), fails);
                if fails {
                    self.has_failed = true;
                    self.receipts.push(run);
                } else {
                    self.each(run, |_| Unit::Free);
                }
            }
            Step::SyncAll => {
                let outcome = table.sync_all(&*self.heap);
                assert_eq!(outcome.is_err(), self.has_failed);
                if outcome.is_ok() {
                    let all = Run { first: 0, n: self.units.len() as u64 };
                    self.each(all, Unit::made_durable);
                }
            }
            Step::AllDie => {
                let taken = self.units.iter().filter(|unit| **unit == Unit::Taken).count() as u64;
                assert_eq!(self.heap.make_fit(false), taken);
                self.ranges.clear();
                let all = Run { first: 0, n: self.units.len() as u64 };
                self.each(all, |unit| if unit == Unit::Taken { Unit::Free } else { unit });
            }
            Step::PowerCut => {
                self.heap = Heap::after_power_cut(self.units.len() as u64, &self.heap.stored());
                self.heap.make_fit(true);
                self.ranges.clear();
                self.receipts.clear();
                self.has_failed = false;
                let durable = self.units.iter().rposition(|unit| matches!(unit, Unit::Durable(_)));
                let used = durable.map_or(0, |last| last + 1);
                assert_eq!(self.heap.table().used(), Ok(used as u64));
                for (at, unit) in self.units.iter_mut().enumerate() {
                    if matches!(*unit, Unit::Durable(_)) {
                        self.receipts.push(Run { first: at as u64, n: 1 });
                    } else {
                        *unit = if at < used { Unit::Free } else { Unit::Never };
                    }
                }
            }
        }
    }

    fn state(&self, unit: u64) -> Unit {
        self.units[usize::try_from(unit).unwrap()]
    }

    fn check(&self) {
        let table = self.heap.table();
        let open = (0..self.units.len()).filter(|unit| self.is_open(*unit)).count() as u64;
        assert_eq!(table.remaining(), Ok(open));
        for (at, unit) in (0..).zip(&self.units) {
            let run = Run { first: at, n: 1 };
            let found = (
                at < table.used().unwrap(),
                table.free.all(run),
                table.written.all(run),
                table.durable.all(run),
            );
            let expected = match unit {
                Unit::Never => (false, false, false, false),
                Unit::Taken => (true, false, false, false),
                Unit::Written(_) => (true, false, true, false),
                Unit::Durable(_) => (true, false, true, true),
                Unit::Free => (true, true, false, false),
            };
            assert_eq!(found, expected, "unit {at}: {unit:?}");
            if let Unit::Written(stamp) | Unit::Durable(stamp) = unit {
                assert_eq!(self.heap.stamps(run), [*stamp]);
            }
        }
    }
}

impl Unit {
    fn made_durable(self) -> Self {
        if let Self::Written(stamp) = self { Self::Durable(stamp) } else { self }
    }
}

/// The runs of a vector of bits.
fn runs_of(bits: &[bool], set: bool) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![];
    for (at, _) in (0..).zip(bits).filter(|(_, bit)| **bit == set) {
        match runs.last_mut() {
            Some(run) if run.end() == at => run.n += 1,
            _ => runs.push(Run { first: at, n: 1 }),
        }
    }
    runs
}

proptest! {
    // Goal: every unit is in the state that the steps so far have brought it to, and what is asked for is found if it is there.
    // Method: random steps, deaths and power cuts among them, on the tables and on a vector.
    #[test]
    fn tables_agree_with_a_vector(n_units in 1..260u64, steps in proptest::collection::vec(step(), 1..80)) {
        let mut trial = Trial::new(n_units);
        for step in steps {
            trial.play(step);
            trial.check();
        }
    }

    // Goal: runs of bits are found where they are, at every place of a word. Method: random bits against a vector.
    #[test]
    fn runs_are_where_a_vector_has_them(
        pattern in proptest::collection::vec((any::<bool>(), 1..90usize), 1..12),
        from in 0..100u64,
        least in 1..100u64,
        more in 0..70u64,
    ) {
        let bits: Vec<bool> = pattern.iter().flat_map(|(bit, n)| vec![*bit; *n]).collect();
        let n_bits = bits.len() as u64;
        let words: Vec<AtomicU64> = (0..bits.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let table = Bits::new(&words);
        let runs = runs_of(&bits, true);
        runs.iter().for_each(|run| table.give(*run));
        prop_assert_eq!(table.count(n_bits), bits.iter().filter(|bit| **bit).count() as u64);
        let from = from.min(n_bits);
        let behind = |run: &Run| Run::between(run.first.max(from), run.end());
        for (set, runs) in [(true, &runs), (false, &runs_of(&bits, false))] {
            prop_assert_eq!(table.next_run(from, n_bits, set), runs.iter().find_map(behind));
        }
        let fit = runs.iter().filter_map(behind).find(|run| run.n >= least);
        let most = least + more;
        prop_assert_eq!(table.find(from, n_bits, least, most), fit.map(|run| Run { n: run.n.min(most), ..run }));
        let end = bits[..usize::try_from(from).unwrap()].iter().rev().take_while(|bit| **bit).count() as u64;
        prop_assert_eq!(table.trailing(from), end);
        if let Some(run) = fit {
            prop_assert!(table.all(run));
            table.claim(run).unwrap();
            prop_assert_eq!(table.count(n_bits), bits.iter().filter(|bit| **bit).count() as u64 - run.n);
            prop_assert!(table.claim(run).is_err());
            table.set(run);
            table.clear(Run { n: 1, ..run });
            // Not all of it is there: what was taken is back.
            let further = table.claim(run).unwrap_err();
            prop_assert_eq!(further, run.first + 1);
            prop_assert_eq!(table.count(n_bits), bits.iter().filter(|bit| **bit).count() as u64 - 1);
        }
    }

    // Goal: no value of a word that anybody can read from a file makes the tables panic, turn for ever or hand out what is not there, and
    // nothing is handed out twice. Method: random words and the worst ones, made fit, then drained.
    #[test]
    fn hostile_tables_hand_out_nothing_that_is_not_there(
        n_units in 1..300u64,
        seed in proptest::collection::vec(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()], 40),
        next in prop_oneof![0..300u64, Just(u64::MAX / super::heap::UNIT)],
        rebooted in any::<bool>(),
    ) {
        let heap = Heap::new(n_units);
        let mut seed = seed.into_iter().cycle();
        let all = heap.free.iter().chain(&heap.written).chain(&heap.durable);
        all.for_each(|word| word.store(seed.next().unwrap(), crate::sync::Ordering::Relaxed));
        heap.free_units.store(seed.next().unwrap(), crate::sync::Ordering::Relaxed);
        heap.next.store(next * super::heap::UNIT, crate::sync::Ordering::Relaxed);
        let hint = AtomicU64::new(seed.next().unwrap());
        // Before it is made fit, as one finds it who is not alone.
        for (least, most) in [(1, 1), (1, u64::MAX), (3, 70), (n_units, n_units)] {
            if let Ok(run) = heap.allocate(least, most, &hint) {
                prop_assert!(run.n >= least && run.n <= most && run.end() <= n_units);
            }
        }
        match heap.table().make_fit(rebooted, &*heap, &hint) {
            Err(Refusal::Corrupt { next: found }) => prop_assert_eq!(found, next * super::heap::UNIT),
            Err(refusal) => prop_assert!(false, "{:?}", refusal),
            Ok(outcome) => {
                outcome.unwrap();
                prop_assert!(next <= n_units);
                let kept = (0..n_units).filter(|unit| heap.is_kept(*unit).0).count() as u64;
                prop_assert_eq!(heap.table().remaining(), Ok(n_units - kept));
                let drained = heap.drain();
                prop_assert_eq!(drained.len() as u64 + kept, n_units);
                prop_assert!(drained.iter().all(|unit| !heap.is_kept(*unit).0 && !heap.is_kept(*unit).1));
            }
        }
    }
}

/// The kernel, as one description of a file sees it: the first sync is told that pages are lost, the others that they are clean.
#[derive(Default)]
struct Lossy {
    one_sync: Mutex<()>,
    n_syncs: Mutex<u32>,
    was_told: Condvar,
}

impl Lossy {
    fn sync(&self) -> io::Result<()> {
        let mut n_syncs = self.n_syncs.lock().unwrap();
        *n_syncs += 1;
        if *n_syncs > 1 {
            return Ok(());
        }
        self.was_told.notify_all();
        drop(n_syncs);
        // As long as the others would need to get by, did nobody hold them up.
        std::thread::sleep(Duration::from_millis(300));
        Err(io::Error::other("lost"))
    }
}

impl Medium for Lossy {
    fn one_at_a_time<T>(&self, sync: impl FnOnce() -> T) -> T {
        let _one = self.one_sync.lock().unwrap();
        sync()
    }

    fn sync_data(&self, _: Run) -> io::Result<()> {
        self.sync()
    }

    fn sync_marks(&self, _: Run) -> io::Result<()> {
        self.sync()
    }
}

// Goal: of many syncs through one description, to one of which the kernel reports what it has lost, none succeeds. Method: a medium that
// fails once and calls everything clean then; a flush that fails, and beside it, begun before it is back, a flush of other units, a sync of
// the whole file.
#[test]
fn no_sync_succeeds_beside_one_that_has_failed() {
    for syncs_all in [false, true] {
        let (heap, medium) = (Heap::new(200), Lossy::default());
        let table = heap.table();
        let runs = [0, 1].map(|_| {
            let run = heap.allocate(70, 70, &AtomicU64::new(0)).unwrap();
            table.commit(run);
            run
        });
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| table.flush(runs[0], &medium));
            let n_syncs = medium.n_syncs.lock().unwrap();
            drop(medium.was_told.wait_while(n_syncs, |n| *n == 0).unwrap());
            let second = if syncs_all { table.sync_all(&medium) } else { table.flush(runs[1], &medium) };
            (first.join().unwrap(), second)
        });
        assert!(first.is_err() && second.is_err(), "{syncs_all}: {first:?}, {second:?}");
        assert!(runs.iter().all(|run| !table.durable.all(*run)));
        assert!(table.release(runs[1], &medium, &AtomicU64::new(0)).is_ok(), "nothing of it was marked");
    }
}

// Goal: what is called durable after somebody had the file alone is so, though the flush that said it first was cut short, or failed.
// Method: a flush whose data reaches the medium and whose marks don't, the page clean or not; made fit; a power cut.
#[test]
fn a_mark_that_is_found_is_on_the_medium_once_the_file_is_fit() {
    let heap = Heap::new(40);
    let run = heap.allocate(40, 40, &AtomicU64::new(0)).unwrap();
    heap.stamp(run, 7);
    heap.table().commit(run);
    heap.fail_after(1);
    heap.table().flush(run, &*heap).unwrap_err();
    assert!(heap.table().durable.all(run) && heap.stored().marks == [0, 0]);
    assert_eq!(heap.make_fit(false), 0);
    assert!(heap.table().durable.all(run));
    let after = Heap::after_power_cut(40, &heap.stored());
    after.make_fit(true);
    assert!(after.table().written.all(run));
    assert_eq!(after.stamps(run), [7; 40]);
}
