//! Promises: what a log has said that it will keep, and whether it has.
//!
//! | said | by | kept, if |
//! |------|----|----------|
//! | appended | append has returned | it is there when only the process died |
//! | a batch | publish has returned | all of it is there or nothing when only the process died |
//! | durable | the watermark, a receipt, a sync | it is there after every crash |
//! | saved | a cursor's save | it is that position, or one whose save was under way |
//! | retired | retention | nothing that is to be kept is gone: what is missing is the oldest, and more than `keep_bytes` was behind it |
//!
//! And without a word: what is there was appended, is where it was appended, once, in order, with nothing left out in between; positions
//! never go back.
//! Does not know how a log works.

use super::walk::Found;
use std::sync::Arc;

/// A record that is being appended is no longer.
const UNDER_WAY_BYTES: u64 = 20 << 10;

/// What was said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Promises {
    /// In which boot.
    pub(super) boot: u64,
    /// Power was lost, and nobody has said yet what is left: only what was durable is promised.
    pub(super) is_cut: bool,
    /// Whether somebody has taken away what only a repair brings back.
    pub(super) is_broken: bool,
    /// Whether there is a log.
    pub(super) is_created: bool,
    /// All records that may be there: survivors of earlier crashes, and what was appended since, the latest perhaps not yet at its place.
    pub(super) appended: Arc<Vec<Arc<Appended>>>,
    /// So many of these have a returned append.
    pub(super) n_returned: usize,
    /// So many of these survive everything.
    pub(super) n_durable: usize,
    /// So many of these may be gone by age.
    pub(super) n_retired_most: usize,
    /// How much retention leaves, if there is any.
    pub(super) keep_bytes: Option<u64>,
    /// Positions of which one is under the cursor's name.
    pub(super) cursors: Vec<u64>,
    /// Whether one was acknowledged.
    pub(super) is_cursor_saved: bool,
}

/// A record, as it was given to the log.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) payload: Vec<u8>,
    pub(super) timestamp_ns: u64,
    /// Where it is and where it ends; `None` while its append has not returned.
    pub(super) place: Option<(u64, u64)>,
}

/// How the log was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The process was killed: memory and files are as they were.
    Kill,
    /// The machine lost power.
    Power,
}

impl Promises {
    /// An append begins, or goes on with one more record of a batch.
    pub(super) fn begin(&mut self, payload: Vec<u8>, timestamp_ns: u64) {
        let record = Appended { payload, timestamp_ns, place: None };
        Arc::make_mut(&mut self.appended).push(Arc::new(record));
        self.retire();
    }

    /// It has worked; the records that were begun are at these places.
    pub(super) fn end(&mut self, places: &[(u64, u64)]) {
        let appended = Arc::make_mut(&mut self.appended);
        assert_eq!(appended.len() - self.n_returned, places.len(), "a place for each");
        for (record, place) in appended[self.n_returned..].iter_mut().zip(places) {
            let (payload, timestamp_ns) = (record.payload.clone(), record.timestamp_ns);
            *record = Arc::new(Appended { payload, timestamp_ns, place: Some(*place) });
        }
        self.n_returned = appended.len();
        self.retire();
    }

    /// It has failed, so nothing was appended.
    pub(super) fn give_up(&mut self) {
        Arc::make_mut(&mut self.appended).truncate(self.n_returned);
    }

    /// Everything below that position is durable.
    pub(super) fn reach(&mut self, durable: u64) {
        let is_below = |record: &&Arc<Appended>| record.place.is_some_and(|(_, behind)| behind <= durable);
        self.n_durable = self.n_durable.max(self.appended.iter().take_while(is_below).count());
    }

    /// What was found is all that there is, from now on.
    pub(super) fn keep(&mut self, found: &[Found]) -> Result<(), String> {
        let n_skipped = self.n_skipped(found)?;
        let kept = self.appended[n_skipped..].iter().zip(found).map(|(appended, found)| {
            let (payload, timestamp_ns) = (appended.payload.clone(), appended.timestamp_ns);
            Arc::new(Appended { payload, timestamp_ns, place: Some((found.position, found.behind)) })
        });
        self.appended = Arc::new(kept.collect());
        self.n_returned = found.len();
        self.n_durable = self.n_durable.saturating_sub(n_skipped);
        self.n_retired_most = self.n_retired_most.saturating_sub(n_skipped);
        (self.is_created, self.is_cut) = (true, false);
        Ok(())
    }

    /// The same, and it was on the medium: no crash takes it any more.
    pub(super) fn keep_for_good(&mut self, found: &[Found]) -> Result<(), String> {
        self.keep(found)?;
        self.n_durable = found.len();
        Ok(())
    }

    /// What may be gone by now, when as many bytes are kept as always.
    fn retire(&mut self) {
        if let Some(keep_bytes) = self.keep_bytes {
            self.retire_to(keep_bytes);
        }
    }

    /// What may be gone by now, when so many bytes are kept.
    pub(super) fn retire_to(&mut self, keep_bytes: u64) {
        let end = self.appended.iter().rev().find_map(|record| record.place).map_or(0, |(_, behind)| behind);
        let is_old = |record: &&Arc<Appended>| {
            record.place.is_some_and(|(_, behind)| behind + keep_bytes <= end + UNDER_WAY_BYTES)
        };
        self.n_retired_most = self.n_retired_most.max(self.appended.iter().take_while(is_old).count());
    }

    /// Whether what is there behind a crash is what was promised; an error says what is not.
    pub(super) fn check(&self, found: &[Found], cut: Cut) -> Result<(), String> {
        let cut = if self.is_cut { Cut::Power } else { cut };
        let n_skipped = self.n_skipped(found)?;
        if n_skipped > self.n_retired_most {
            return Err(format!("{n_skipped} of the oldest are gone, {} may be", self.n_retired_most));
        }
        let rest = &self.appended[n_skipped..];
        for (n, (found, appended)) in found.iter().zip(rest).enumerate() {
            let is_same = found.payload == appended.payload && found.timestamp_ns == appended.timestamp_ns;
            let is_there = appended.place.is_none_or(|place| place == (found.position, found.behind));
            if !is_same || !is_there {
                let n = n + n_skipped;
                return Err(format!(
                    "record {n} is at {}, and not what was appended at {:?}",
                    found.position, appended.place
                ));
            }
        }
        let n_found = n_skipped + found.len();
        let n_least = if cut == Cut::Kill { self.n_returned } else { self.n_durable };
        if n_found > self.appended.len() {
            return Err(format!("{n_found} records, {} were appended", self.appended.len()));
        }
        if n_found < n_least {
            let (n_returned, n_begun) = (self.n_returned, self.appended.len());
            return Err(format!(
                "{n_found} records; {n_least} are promised, {n_returned} returned, {n_begun} begun"
            ));
        }
        let n_begun = self.appended.len();
        if cut == Cut::Kill && n_found > self.n_returned && n_found < n_begun {
            return Err(format!("{n_found} records; a batch of {}..{n_begun} is torn", self.n_returned));
        }
        let is_ascending = found.windows(2).all(|pair| pair[0].behind <= pair[1].position);
        if is_ascending { Ok(()) } else { Err("positions go back".to_owned()) }
    }

    /// Whether a cursor is what was saved; from now on it is that one.
    pub(super) fn check_cursor(&mut self, found: Option<u64>) -> Result<(), String> {
        let is_one = found.map_or(!self.is_cursor_saved, |found| self.cursors.contains(&found));
        if !is_one {
            return Err(format!("the cursor is {found:?}, saved were {:?}", self.cursors));
        }
        (self.cursors, self.is_cursor_saved) = (found.into_iter().collect(), found.is_some());
        Ok(())
    }

    /// Whether what is there before anybody has recovered it is the beginning of what was appended, where it was, with nothing left out but
    /// what may be gone by age.
    pub(super) fn check_unrecovered(&self, found: &[Found]) -> Result<(), String> {
        let mut n_passed = 0;
        for found in found {
            let is_it = |appended: &Arc<Appended>| {
                (appended.timestamp_ns, &appended.payload) == (found.timestamp_ns, &found.payload)
                    && appended.place.is_none_or(|place| place == (found.position, found.behind))
            };
            let position = found.position;
            let Some(n_skipped) = self.appended[n_passed..].iter().position(is_it) else {
                return Err(format!("the record at {position} was not appended there, or not in this order"));
            };
            if n_skipped > 0 && n_passed + n_skipped > self.n_retired_most {
                return Err(format!("the record at {position} is there, and not {n_skipped} in front of it"));
            }
            n_passed += n_skipped + 1;
        }
        Ok(())
    }

    /// How many of the oldest are not there.
    fn n_skipped(&self, found: &[Found]) -> Result<usize, String> {
        // All that was there may be old enough to go.
        let Some(first) = found.first() else { return Ok(self.n_retired_most.min(self.appended.len())) };
        let is_it = |record: &Arc<Appended>| {
            (record.timestamp_ns, &record.payload) == (first.timestamp_ns, &first.payload)
        };
        let place = self.appended.iter().position(is_it);
        place.ok_or_else(|| format!("the record at {} was never appended", first.position))
    }
}
