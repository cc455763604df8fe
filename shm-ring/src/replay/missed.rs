//! Missed: what a source found to be missing, each place once, however often it is read.
//!
//! ```text
//!   read:       ---- gap 1 ---- gap 2 ---->  seek
//!   read again:   -- gap 1 ---- gap 2 ---- gap 3 ---->      gap 3 is counted; those in front of it were
//!                    \---- a run -----/
//! ```
//!
//! (I1) between the first and the last gap of a run all was read in one go, so that every gap there was counted; (I2) as many runs are
//! remembered as are apart, [`N_RANGES_MAX`] at most: then the shortest is forgotten, and what is in it counted again if it is read again.
//! Counts; reads nothing.

use crate::log::item::LogGap;
use std::ops::Range;

/// So many places that are apart are remembered.
const N_RANGES_MAX: usize = 256;

/// What a source has met that was no record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) n_gaps: u64,
    pub(crate) n_records: u64,
    pub(crate) n_bytes: u64,
}

impl Missed {
    /// One more.
    pub(crate) fn note(&mut self, gap: &LogGap) {
        self.n_gaps += 1;
        self.n_records += gap.n_records.unwrap_or(0);
        self.n_bytes += gap.n_bytes.unwrap_or(0);
    }

    /// What somebody else has counted.
    pub(crate) fn add(&mut self, more: Self) {
        self.n_gaps += more.n_gaps;
        self.n_records += more.n_records;
        self.n_bytes += more.n_bytes;
    }
}

/// Which gaps were counted, by their positions.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Since the last seek.
    run: Option<Range<u64>>,
    /// In front of it.
    runs: Ranges,
}

impl Told {
    /// A gap was met there; whether that is the first time.
    pub(crate) fn is_new(&mut self, position: u64) -> bool {
        let end = position.saturating_add(1);
        self.run.get_or_insert(position..end).end = end;
        !self.runs.contains(position)
    }

    /// What is read next is at another place.
    pub(crate) fn leave(&mut self) {
        if let Some(run) = self.run.take() {
            self.runs.insert(run);
        }
    }
}

/// Positions; no two ranges touch.
#[derive(Debug, Default)]
pub(crate) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Whether that one is among them.
    pub(crate) fn contains(&self, position: u64) -> bool {
        let at = self.0.partition_point(|range| range.end <= position);
        self.0.get(at).is_some_and(|range| range.contains(&position))
    }

    /// Adds these.
    pub(crate) fn insert(&mut self, mut range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|other| other.end < range.start);
        let to = self.0.partition_point(|other| other.start <= range.end);
        for other in &self.0[from..to] {
            range = range.start.min(other.start)..range.end.max(other.end);
        }
        self.0.splice(from..to, [range]);
        if self.0.len() > N_RANGES_MAX {
            let lengths = self.0.iter().map(|range| range.end - range.start).enumerate();
            let shortest = lengths.min_by_key(|(_, length)| *length);
            self.0.remove(shortest.expect("there are some").0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    // Goal: a place is new once, whatever was sought in between. Method: gaps at every seventh position, runs from all over, against a set.
    #[test]
    fn a_place_is_new_once() {
        let (mut told, mut known) = (Told::default(), BTreeSet::new());
        let mut seed = 1u64;
        for _ in 0..3_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let from = (seed >> 33) % 1_000;
            for gap in (from..from + (seed >> 50) % 60).filter(|position| position % 7 == 0) {
                assert_eq!(told.is_new(gap), known.insert(gap), "{gap}, {told:?}");
            }
            told.leave();
        }
        let n: u64 = told.runs.0.iter().map(|run| (run.end - run.start).div_ceil(7)).sum();
        assert_eq!(known.len() as u64, n);
    }

    // Goal: memory is bounded, and nothing passes for counted that was not. Method: more runs than are remembered, all apart.
    #[test]
    fn the_shortest_run_is_forgotten() {
        let mut told = Told::default();
        for n in 0..2 * N_RANGES_MAX as u64 {
            assert!(told.is_new(n * 100) && told.is_new(n * 100 + 1 + n % 50));
            told.leave();
        }
        assert_eq!(told.runs.0.len(), N_RANGES_MAX);
        assert!(!told.is_new(49 * 100) && told.is_new(50 * 100));
    }
}
