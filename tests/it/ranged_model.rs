//! Ranged, model: random steps on a file, through two openings of it, and on a vector of units, which can't be wrong.

use crate::harness::directory;
use crate::records::{check_bytes, record};
use proptest::prelude::*;
use shm_ring::{Alignment, AllocateError, Range, RangeError, RangedFile, RangedOptions, Receipt};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Free,
    Taken,
    /// Part of the record of that number.
    Written {
        n: u64,
        is_durable: bool,
    },
}

/// What was written.
#[derive(Clone, Copy, Debug)]
struct Record {
    start: u64,
    len: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Allocate { by: usize, len: u64, or_less: bool },
    Write { which: usize, in_place: bool },
    WriteWrong { which: usize, by: usize },
    Drop(usize),
    Split { which: usize, at: u64 },
    Free(usize),
    Flush(usize),
    SyncAll(usize),
    ReadAt { by: usize, at: u64, len: usize },
    Reopen(usize),
    Adopt,
    Reboot,
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..1000usize;
    let by = 0..2usize;
    let len = prop_oneof![1..200u64, 1..9000u64];
    prop_oneof![
        8 => (by.clone(), len, any::<bool>()).prop_map(|(by, len, or_less)| Step::Allocate { by, len, or_less }),
        8 => (which.clone(), any::<bool>()).prop_map(|(which, in_place)| Step::Write { which, in_place }),
        1 => (which.clone(), by.clone()).prop_map(|(which, by)| Step::WriteWrong { which, by }),
        3 => which.clone().prop_map(Step::Drop),
        3 => (which.clone(), 0..9000u64).prop_map(|(which, at)| Step::Split { which, at }),
        5 => which.clone().prop_map(Step::Free),
        3 => which.prop_map(Step::Flush),
        1 => by.clone().prop_map(Step::SyncAll),
        3 => (by.clone(), 0..21_000u64, 0..300usize).prop_map(|(by, at, len)| Step::ReadAt { by, at, len }),
        1 => by.prop_map(Step::Reopen),
        1 => Just(Step::Adopt),
        1 => Just(Step::Reboot),
    ]
}

struct Model {
    _directory: tempfile::TempDir,
    path: PathBuf,
    unit: u64,
    size: u64,
    units: Vec<Unit>,
    records: Vec<Record>,
    files: [Option<RangedFile>; 2],
    /// With the opening that they are of.
    ranges: Vec<(usize, Range)>,
    receipts: Vec<(usize, Receipt)>,
}

fn pick<T>(all: &mut Vec<T>, which: usize) -> Option<T> {
    if all.is_empty() { None } else { Some(all.swap_remove(which % all.len())) }
}

impl Model {
    fn new(alignment: Alignment, size: u64) -> Self {
        let directory = directory();
        let path = directory.path().join("file");
        let file = RangedOptions::new().alignment(alignment).create(&path, size).unwrap();
        let other = RangedFile::open(&path).unwrap();
        let unit = alignment.bytes();
        Self {
            _directory: directory,
            path,
            unit,
            size,
            units: vec![Unit::Free; size.div_ceil(unit) as usize],
            records: vec![],
            files: [Some(file), Some(other)],
            ranges: vec![],
            receipts: vec![],
        }
    }

    fn file(&self, by: usize) -> &RangedFile {
        self.files[by].as_ref().unwrap()
    }

    fn put(&mut self, bytes: std::ops::Range<u64>, change: impl Fn(Unit) -> Unit) {
        let units = (bytes.start / self.unit) as usize..bytes.end.div_ceil(self.unit) as usize;
        self.units[units].iter_mut().for_each(|unit| *unit = change(*unit));
    }

    /// Bytes of units for which that holds, in runs.
    fn runs(&self, holds: impl Fn(Unit) -> bool) -> Vec<std::ops::Range<u64>> {
        let mut runs: Vec<std::ops::Range<u64>> = vec![];
        for (n, _) in (0..).zip(&self.units).filter(|(_, unit)| holds(**unit)) {
            let bytes = n * self.unit..((n + 1) * self.unit).min(self.size);
            match runs.last_mut() {
                Some(last) if last.end == bytes.start => last.end = bytes.end,
                _ => runs.push(bytes),
            }
        }
        runs
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Allocate { by, len, or_less } => self.allocate(by, len, or_less),
            Step::Write { which, in_place } => {
                let Some((by, mut range)) = pick(&mut self.ranges, which) else { return };
                let (n, bytes) = (self.records.len() as u64, range.as_range());
                let data = record(0, n, range.len() as usize);
                let receipt = if in_place {
                    range.as_mut_slice().copy_from_slice(&data);
                    self.file(by).commit(range).unwrap()
                } else {
                    self.file(by).write(range, &data).unwrap()
                };
                assert_eq!(receipt.as_range(), bytes);
                self.records.push(Record { start: bytes.start, len: receipt.len() });
                self.put(bytes, |_| Unit::Written { n, is_durable: false });
                self.receipts.push((by, receipt));
            }
            Step::WriteWrong { which, by } => {
                let Some((owner, range)) = pick(&mut self.ranges, which) else { return };
                let data = vec![0xee; range.len() as usize + usize::from(owner == by)];
                let refused = self.file(by).write(range, &data).unwrap_err();
                let is_foreign = matches!(refused.error, RangeError::OtherFile);
                assert!(is_foreign == (owner != by), "{refused}");
                self.ranges.push((owner, refused.item));
            }
            Step::Drop(which) => {
                let Some((_, range)) = pick(&mut self.ranges, which) else { return };
                self.put(range.as_range(), |_| Unit::Free);
            }
            Step::Split { which, at } => {
                let Some((by, range)) = pick(&mut self.ranges, which) else { return };
                let at = at % (range.len() + 1);
                let is_fit = at > 0 && at < range.len() && at % self.unit == 0;
                match range.split_at(at) {
                    Ok((low, high)) => {
                        assert!(is_fit && low.end() == high.start());
                        self.ranges.extend([(by, low), (by, high)]);
                    }
                    Err(refused) => {
                        assert!(!is_fit);
                        self.ranges.push((by, refused.item));
                    }
                }
            }
            Step::Free(which) => {
                let Some((by, receipt)) = pick(&mut self.receipts, which) else { return };
                let bytes = receipt.as_range();
                self.file(by).free(receipt).unwrap();
                self.put(bytes, |_| Unit::Free);
            }
            Step::Flush(which) => {
                let Some((by, receipt)) = pick(&mut self.receipts, which) else { return };
                self.file(by).flush(&receipt).unwrap();
                assert!(receipt.is_durable());
                self.put(receipt.as_range(), Unit::made_durable);
                self.receipts.push((by, receipt));
            }
            Step::SyncAll(by) => {
                self.file(by).sync_all().unwrap();
                self.put(0..self.size, Unit::made_durable);
            }
            Step::ReadAt { by, at, len } => {
                let mut buffer = vec![0; len];
                let found = self.file(by).read_at(at, &mut buffer);
                let end = at + len as u64;
                let is_written = |run: &std::ops::Range<u64>| run.start <= at && end <= run.end;
                match found {
                    Err(RangeError::OutOfBounds { .. }) => assert!(end > self.size),
                    found => {
                        let written = self.runs(|unit| matches!(unit, Unit::Written { .. }));
                        assert_eq!(found.is_ok(), len == 0 || written.iter().any(is_written), "{at} {len}");
                    }
                }
            }
            Step::Reopen(by) => self.reopen(&[by]),
            Step::Adopt => self.adopt(),
            Step::Reboot => {
                self.close(&[0, 1]);
                let file = std::fs::OpenOptions::new().write(true).open(&self.path).unwrap();
                file.write_all_at(&[1; 16], 4096 + 128 + 24).unwrap();
                self.put(0..self.size, |unit| match unit {
                    Unit::Written { is_durable: false, .. } => Unit::Free,
                    other => other,
                });
                self.reopen(&[0, 1]);
            }
        }
    }

    fn allocate(&mut self, by: usize, len: u64, or_less: bool) {
        let file = self.file(by);
        let taken = if or_less { file.allocate_up_to(len) } else { file.allocate(len) };
        let longest = self.runs(|unit| unit == Unit::Free).iter().map(|run| run.end - run.start).max();
        match taken {
            Ok(range) => {
                assert!(range.start() % self.unit == 0 && range.end() <= self.size);
                assert!(range.len() == len || or_less && range.len() < len);
                let bytes = range.as_range();
                self.put(bytes, |unit| {
                    assert_eq!(unit, Unit::Free, "handed out, and not free");
                    Unit::Taken
                });
                self.ranges.push((by, range));
            }
            Err(AllocateError::Full { needed_bytes, .. }) => {
                assert!(
                    longest.unwrap_or(0) < needed_bytes,
                    "{longest:?} in a row were there for {needed_bytes}"
                );
            }
            Err(AllocateError::TooLong { .. }) => assert!(len > self.size),
            Err(error) => panic!("{error}"),
        }
    }

    /// Drops all that an opening has; what was not written is free by that.
    fn close(&mut self, which: &[usize]) {
        for by in which {
            let (theirs, others) =
                std::mem::take(&mut self.ranges).into_iter().partition(|(owner, _)| owner == by);
            self.ranges = others;
            let theirs: Vec<(usize, Range)> = theirs;
            for (_, range) in theirs {
                self.put(range.as_range(), |_| Unit::Free);
            }
            self.receipts.retain(|(owner, _)| owner != by);
            self.files[*by] = None;
        }
    }

    fn reopen(&mut self, which: &[usize]) {
        self.close(which);
        for by in which {
            self.files[*by] = Some(RangedFile::open(&self.path).unwrap());
        }
    }

    /// One opening leaves, the other one, which has nothing in hand, takes over what is written.
    fn adopt(&mut self) {
        self.close(&[0, 1]);
        let mut file = RangedFile::open(&self.path).unwrap();
        let receipts = file.adopt().unwrap();
        let written = self.runs(|unit| matches!(unit, Unit::Written { .. }));
        assert_eq!(receipts.iter().map(Receipt::as_range).collect::<Vec<_>>(), written);
        self.receipts.extend(receipts.into_iter().map(|receipt| (0, receipt)));
        self.files = [Some(file), Some(RangedFile::open(&self.path).unwrap())];
    }

    fn check(&self) {
        for file in self.files.iter().flatten() {
            let written = self.runs(|unit| matches!(unit, Unit::Written { .. }));
            assert_eq!(file.written().unwrap().collect::<Vec<_>>(), written);
            let missing = self.runs(|unit| !matches!(unit, Unit::Written { .. }));
            assert_eq!(file.missing().unwrap().collect::<Vec<_>>(), missing);
            let bytes =
                |runs: &[std::ops::Range<u64>]| runs.iter().map(|run| run.end - run.start).sum::<u64>();
            let free = bytes(&self.runs(|unit| unit == Unit::Free));
            assert_eq!(file.remaining(), free);
            let durable = self.runs(|unit| matches!(unit, Unit::Written { is_durable: true, .. }));
            let stats = file.stats().unwrap();
            assert_eq!((stats.durable_bytes, stats.free_bytes), (bytes(&durable), free));
            assert_eq!((stats.written_bytes, stats.missing_bytes), (bytes(&written), bytes(&missing)));
            assert_eq!(stats.taken_bytes, bytes(&missing) - free);
        }
        // Every record that is whole is read as it was written.
        for (n, record) in (0..).zip(&self.records) {
            let is_its = |unit: &Unit| matches!(unit, Unit::Written { n: of, .. } if *of == n);
            let first = (record.start / self.unit) as usize;
            let units = &self.units[first..(record.start + record.len).div_ceil(self.unit) as usize];
            if units.iter().all(is_its) {
                let mut bytes = vec![0; record.len as usize];
                self.file(0).read_at(record.start, &mut bytes).unwrap();
                check_bytes(&bytes, 0, n);
            }
        }
    }
}

impl Unit {
    fn made_durable(self) -> Self {
        match self {
            Self::Written { n, .. } => Self::Written { n, is_durable: true },
            other => other,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_file_agrees_with_a_vector_of_units(
        alignment in prop_oneof![Just(Alignment::Byte), Just(Alignment::Line), Just(Alignment::Page)],
        size in prop_oneof![1..300u64, 1..20_000u64],
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        // Goal: ranges are disjoint and found where there are any, what is written stays, byte by byte, until it is freed, over openings,
        // adoptions and reboots; and the numbers are right. Method: the file's header; everything is looked at after each step.
        let mut model = Model::new(alignment, size);
        for step in steps {
            model.play(step);
            model.check();
        }
    }
}
