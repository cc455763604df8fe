//! Heap: the tables of a small ranged file in ordinary memory, a word of data for each unit, and a medium that keeps what was synced.
//!
//! (I1) data is written and read as relaxed words, so that only the tables' own orderings carry it; (I2) the medium changes by a sync, or
//! when somebody says that the kernel wrote a page back on its own.

use super::allocator::{Medium, Refusal, Table};
use super::bits::{Bits, Marks, Run, bits_words, marks_words};
use super::unit::Unit;
#[cfg(any(loom, shuttle))]
use crate::sync::model::Plain;
use crate::sync::{AtomicU64, Ordering};
use std::io;
use std::sync::{Arc, Mutex};

/// Bytes of a unit; any will do.
pub(crate) const UNIT: u64 = 64;

/// A small ranged file.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(crate) next: AtomicU64,
    pub(crate) free_units: AtomicU64,
    pub(crate) generation: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) free: Vec<AtomicU64>,
    pub(crate) written: Vec<AtomicU64>,
    pub(crate) durable: Vec<AtomicU64>,
    pub(crate) data: Vec<AtomicU64>,
    /// Beside each word of data, what loom watches.
    #[cfg(any(loom, shuttle))]
    plain: Vec<Plain>,
    n_units: u64,
    medium: Mutex<Stored>,
    /// How many syncs succeed until one fails, if one does.
    good_syncs: Mutex<Option<u32>>,
}

/// What would be there after a power cut: of the marks and of the data. The rest may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) marks: Vec<u64>,
    pub(crate) data: Vec<u64>,
}

fn zeros(n: u64) -> Vec<AtomicU64> {
    (0..n).map(|_| AtomicU64::new(0)).collect()
}

impl Heap {
    /// A new file.
    pub(crate) fn new(n_units: u64) -> Arc<Self> {
        let stored = Stored {
            marks: vec![0; usize::try_from(marks_words(n_units)).unwrap()],
            data: vec![0; usize::try_from(n_units).unwrap()],
        };
        Self::after_power_cut(n_units, &stored)
    }

    /// What is there after a power cut, where nothing but marks and data reached the medium.
    pub(crate) fn after_power_cut(n_units: u64, stored: &Stored) -> Arc<Self> {
        let words = |values: &[u64]| values.iter().map(|value| AtomicU64::new(*value)).collect();
        Arc::new(Self {
            next: AtomicU64::new(0),
            free_units: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            free: zeros(bits_words(n_units)),
            written: zeros(bits_words(n_units)),
            durable: words(&stored.marks),
            data: words(&stored.data),
            #[cfg(any(loom, shuttle))]
            plain: stored.data.iter().map(|_| Plain::default()).collect(),
            n_units,
            medium: Mutex::new(stored.clone()),
            good_syncs: Mutex::new(None),
        })
    }

    pub(crate) fn table(&self) -> Table<'_> {
        Table {
            next: &self.next,
            free_units: &self.free_units,
            generation: &self.generation,
            failed: &self.failed,
            free: Bits::new(&self.free),
            written: Bits::new(&self.written),
            durable: Marks::new(&self.durable),
            unit: Unit::new(UNIT),
            n_units: self.n_units,
        }
    }

    /// An allocation anywhere.
    pub(crate) fn allocate(&self, least: u64, most: u64, hint: &AtomicU64) -> Result<Run, Refusal> {
        self.table().allocate(least, most, self.n_units, hint)
    }

    /// Writes a stamp to every unit of a run.
    pub(crate) fn stamp(&self, run: Run, stamp: u64) {
        for word in self.units(run) {
            // ORDER none (Relaxed): payload.
            word.store(stamp, Ordering::Relaxed);
        }
    }

    /// The same by somebody who has the run to himself, in plain bytes.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn write(&self, run: Run, stamp: u64) {
        for unit in run.first..run.end() {
            self.plain[usize::try_from(unit).unwrap()].write();
        }
        self.stamp(run, stamp);
    }

    /// The stamps of a run that is written, as its reader sees them.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn read(&self, run: Run) -> Vec<u64> {
        for unit in run.first..run.end() {
            self.plain[usize::try_from(unit).unwrap()].read();
        }
        self.stamps(run)
    }

    /// The stamps of a run.
    pub(crate) fn stamps(&self, run: Run) -> Vec<u64> {
        // ORDER none (Relaxed): payload.
        self.units(run).iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn units(&self, run: Run) -> &[AtomicU64] {
        let [first, end] = [run.first, run.end()].map(|unit| usize::try_from(unit).unwrap());
        &self.data[first..end]
    }

    /// What a power cut would leave now.
    pub(crate) fn stored(&self) -> Stored {
        self.medium.lock().unwrap().clone()
    }

    /// So many syncs succeed, and then one fails.
    pub(crate) fn fail_after(&self, good_syncs: u32) {
        *self.good_syncs.lock().unwrap() = Some(good_syncs);
    }

    /// None fails any more.
    pub(crate) fn mend(&self) {
        *self.good_syncs.lock().unwrap() = None;
    }

    fn may_sync(&self) -> io::Result<()> {
        let mut left = self.good_syncs.lock().unwrap();
        *left = match *left {
            None => None,
            Some(0) => {
                *left = None;
                return Err(io::Error::other("the medium is broken"));
            }
            Some(n) => Some(n - 1),
        };
        Ok(())
    }

    /// The kernel writes a page of marks back, because it likes to.
    pub(crate) fn write_back_marks(&self, index: usize) {
        // Not a load: the kernel reads what is there. ORDER none (Relaxed): it acts on nothing.
        let marks = self.durable[index].fetch_or(0, Ordering::Relaxed);
        self.medium.lock().unwrap().marks[index] = marks;
    }

    /// The same for a unit's page of data.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn write_back_data(&self, unit: usize) {
        let data = self.data[unit].fetch_or(0, Ordering::Relaxed);
        self.medium.lock().unwrap().data[unit] = data;
    }

    /// As `make_fit` of a table that is no sound process's doing: it must be one.
    pub(crate) fn make_fit(&self, rebooted: bool) -> u64 {
        let hint = AtomicU64::new(0);
        self.table().make_fit(rebooted, self, &hint).expect("sound").expect("a medium that works")
    }

    /// Everything that can be handed out, one unit at a time; which they were.
    pub(crate) fn drain(&self) -> Vec<u64> {
        let hint = AtomicU64::new(0);
        let mut units = vec![];
        loop {
            match self.allocate(1, 1, &hint) {
                Ok(run) => units.push(run.first),
                Err(Refusal::Full) => break,
                Err(refusal) => panic!("{refusal:?}"),
            }
            assert!(units.len() as u64 <= self.n_units, "handed out twice: {units:?}");
        }
        units.sort_unstable();
        let n = units.len();
        units.dedup();
        assert_eq!(n, units.len(), "handed out twice");
        units
    }

    /// Whether a unit is written, and whether it is durable.
    pub(crate) fn is_kept(&self, unit: u64) -> (bool, bool) {
        let run = Run { first: unit, n: 1 };
        (self.table().written.all(run), self.table().durable.all(run))
    }
}

/// Whoever syncs is a process, with a description of its own.
impl Medium for Heap {
    fn one_at_a_time<T>(&self, sync: impl FnOnce() -> T) -> T {
        sync()
    }

    fn sync_data(&self, run: Run) -> io::Result<()> {
        self.may_sync()?;
        for unit in run.first..run.end() {
            // A load: no more than what this process has seen is certain to be there.
            let stamp = self.stamps(Run { first: unit, n: 1 })[0];
            self.medium.lock().unwrap().data[usize::try_from(unit).unwrap()] = stamp;
        }
        Ok(())
    }

    fn sync_marks(&self, run: Run) -> io::Result<()> {
        self.may_sync()?;
        for index in run.first / 32..=(run.end() - 1) / 32 {
            self.write_back_marks(usize::try_from(index).unwrap());
        }
        Ok(())
    }
}
