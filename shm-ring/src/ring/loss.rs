//! Loss: whose records a reader did not get, and how many.
//!
//! | what happened                                  | seen as                              | counted as |
//! |------------------------------------------------|--------------------------------------|------------|
//! | a producer dropped records of a full ring      | a GAP frame, which says how many     | dropped |
//! | a producer died in the middle of a claim       | a LOST frame                         | lost, per claim |
//! | an observer was lapped                         | a jump in the producer's sequence    | lapped, with metadata |
//!
//! (I1) a GAP that is told twice, because its producer died between telling and noting it, or read twice, because its reader went back, is
//! counted once; (I2) a jump counts as lapped
//! only after a lap: the dead leave jumps too, and what was dropped is one; (I3) what is counted is also noted, in order and with its place,
//! for the one reader that asked for it.
//! Counts; reads nothing.

use crate::frame::view::Gap;
use crate::layout::frame::SEQUENCE_MASK;
use std::collections::VecDeque;

/// What a reader did not get of one producer slot, over all its owners, since the reader began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The producer's slot.
    pub producer: u16,
    /// Records that the producer dropped because the ring was full, as [`Producer::offer`](crate::Producer::offer) does.
    pub dropped_records: u64,
    /// Claims that were open when their producer died; a batch is one claim.
    pub lost_claims: u64,
    /// Records that were overwritten before an observer could copy them, the dropped and the lost among them included. Known from the
    /// producer's first record that was read on; 0 in a ring without metadata.
    pub lapped_records: u64,
}

/// One loss, where it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Where its frame is.
    pub(crate) position: u64,
    /// The slot of the producer.
    pub(crate) producer: u16,
    /// What happened.
    pub(crate) cause: Cause,
}

/// What happened, with what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The producer dropped records, of which the first had this sequence.
    Dropped { records: u64, first_sequence: u64 },
    /// The producer died in a claim of so many bytes, headers included.
    Died { bytes: u64 },
}

/// What one reader knows of all producers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    rows: Vec<Row>,
    /// GAPs that were counted.
    n_gaps: u64,
    /// What was not taken yet; `None`: nobody wants it.
    notices: Option<VecDeque<Notice>>,
}

#[derive(Clone, Debug)]
struct Row {
    loss: Loss,
    /// What the last GAP said.
    dropped_in_all: Option<u64>,
    /// The sequence that comes next, when it is known.
    next: Option<u64>,
    /// Records were overwritten since the last one of this producer.
    is_lapped: bool,
}

impl Ledger {
    /// The producers of which something is missing.
    pub(crate) fn losses(&self) -> Vec<Loss> {
        let is_loss = |loss: &Loss| *loss != Loss { producer: loss.producer, ..Loss::default() };
        self.rows.iter().map(|row| row.loss).filter(is_loss).collect()
    }

    /// Places where a producer said that it dropped records.
    pub(crate) fn n_gaps(&self) -> u64 {
        self.n_gaps
    }

    /// From now on, every loss is noted until it is [taken](Self::take_notice).
    pub(crate) fn keep_notices(&mut self) {
        self.notices.get_or_insert_default();
    }

    /// Whether there is one to take.
    #[inline]
    pub(crate) fn has_notices(&self) -> bool {
        self.notices.as_ref().is_some_and(|notices| !notices.is_empty())
    }

    /// The oldest one.
    pub(crate) fn take_notice(&mut self) -> Option<Notice> {
        self.notices.as_mut()?.pop_front()
    }

    /// A claim of that producer is LOST, at a place where the frames say so.
    pub(crate) fn lost_at(&mut self, producer: u16, position: u64, bytes: u64) {
        self.lost(producer);
        self.note(Notice { position, producer, cause: Cause::Died { bytes } });
    }

    /// That producer says at a place that it dropped records.
    pub(crate) fn gap_at(&mut self, producer: u16, position: u64, gap: Gap) {
        let records = self.gap(producer, gap);
        if records > 0 {
            let cause = Cause::Dropped { records, first_sequence: gap.first_sequence };
            self.note(Notice { position, producer, cause });
        }
    }

    fn note(&mut self, notice: Notice) {
        if let Some(notices) = &mut self.notices {
            notices.push_back(notice);
        }
    }

    /// A claim of that producer is LOST.
    pub(crate) fn lost(&mut self, producer: u16) {
        let row = self.row(producer);
        row.loss.lost_claims += 1;
        // Its sequences are gone with it.
        row.next = None;
    }

    /// That producer says that it dropped records; how many of them were not counted before.
    pub(crate) fn gap(&mut self, producer: u16, gap: Gap) -> u64 {
        let row = self.row(producer);
        let mut counted = 0;
        let untold = match row.dropped_in_all {
            Some(known) => gap.dropped_in_all.wrapping_sub(known),
            None => gap.records,
        };
        // A step back: the reader sought, and passed this one before.
        if untold <= u64::MAX / 2 || row.dropped_in_all.is_none() {
            // Whatever the words say, it is a count.
            counted = gap.records.min(untold);
            row.loss.dropped_records = row.loss.dropped_records.saturating_add(counted);
            row.dropped_in_all = Some(gap.dropped_in_all);
        }
        if row.is_lapped {
            row.jump_to(gap.first_sequence);
        }
        row.next = Some(gap.first_sequence.wrapping_add(gap.records) & SEQUENCE_MASK);
        self.n_gaps += u64::from(counted > 0);
        counted
    }

    /// A record of that producer was read; for readers that can be lapped.
    #[inline]
    pub(crate) fn record(&mut self, producer: u16, sequence: u64) {
        let row = self.row(producer);
        if row.is_lapped {
            row.jump_to(sequence);
        }
        row.next = Some(sequence.wrapping_add(1) & SEQUENCE_MASK);
    }

    /// Records of anybody may have been overwritten. For rings with metadata: the sequences of notices alone say nothing.
    pub(crate) fn lapped(&mut self) {
        self.rows.iter_mut().for_each(|row| row.is_lapped = true);
    }

    fn row(&mut self, producer: u16) -> &mut Row {
        let at = match self.rows.binary_search_by_key(&producer, |row| row.loss.producer) {
            Ok(at) => at,
            Err(at) => {
                let loss = Loss { producer, ..Loss::default() };
                self.rows.insert(at, Row { loss, dropped_in_all: None, next: None, is_lapped: false });
                at
            }
        };
        &mut self.rows[at]
    }
}

impl Row {
    fn jump_to(&mut self, sequence: u64) {
        self.is_lapped = false;
        if let Some(next) = self.next {
            let missed = sequence.wrapping_sub(next) & SEQUENCE_MASK;
            // A step back is no loss: the slot's counter was begun anew, or forged.
            if missed <= SEQUENCE_MASK / 2 {
                self.loss.lapped_records = self.loss.lapped_records.saturating_add(missed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(records: u64, first_sequence: u64, dropped_in_all: u64) -> Gap {
        Gap { records, first_sequence, dropped_in_all }
    }

    // Goal: each kind of loss is counted once, under its producer. Method: one of each, and a GAP that is told twice.
    #[test]
    fn every_loss_is_counted_once() {
        let mut ledger = Ledger::default();
        assert!(ledger.losses().is_empty());
        for n in 0..3 {
            ledger.record(7, n);
        }
        ledger.gap(7, gap(5, 3, 5));
        ledger.gap(7, gap(5, 3, 5));
        ledger.gap(7, gap(7, 3, 7));
        ledger.record(7, 10);
        ledger.lost(2);
        ledger.record(2, 9);
        ledger.lapped();
        ledger.record(7, 14);
        ledger.record(7, 15);
        let all = [
            Loss { producer: 2, lost_claims: 1, ..Loss::default() },
            Loss { producer: 7, dropped_records: 7, lapped_records: 3, ..Loss::default() },
        ];
        assert_eq!(ledger.losses(), all);
    }

    // Goal: what is counted is noted, once, in order; nobody who did not ask pays for it. Method: a GAP that is told twice between two deaths.
    #[test]
    fn every_loss_is_noted_once_with_its_place() {
        let mut ledger = Ledger::default();
        ledger.lost_at(1, 16, 64);
        assert!(!ledger.has_notices());
        ledger.keep_notices();
        ledger.lost_at(1, 80, 64);
        ledger.gap_at(7, 144, gap(5, 3, 5));
        ledger.gap_at(7, 208, gap(5, 3, 5));
        ledger.gap_at(7, 272, gap(7, 3, 7));
        ledger.lost_at(2, 336, 32);
        let noted: Vec<_> = std::iter::from_fn(|| ledger.take_notice()).collect();
        let dropped = |records| Cause::Dropped { records, first_sequence: 3 };
        let at = |position, producer, cause| Notice { position, producer, cause };
        assert_eq!(
            noted,
            [
                at(80, 1, Cause::Died { bytes: 64 }),
                at(144, 7, dropped(5)),
                at(272, 7, dropped(2)),
                at(336, 2, Cause::Died { bytes: 32 })
            ]
        );
        assert!(!ledger.has_notices());
    }

    // Goal: nonsense in a GAP or a sequence neither panics nor counts backwards. Method: the ends of the numbers.
    #[test]
    fn nonsense_is_survived() {
        let mut ledger = Ledger::default();
        for words in [u64::MAX, 0, 1 << 63] {
            ledger.gap(0, gap(words, words, words));
            ledger.lapped();
            ledger.record(0, words & SEQUENCE_MASK);
            ledger.lapped();
            ledger.record(0, 1);
        }
        assert_eq!(ledger.losses().len(), 1);
    }
}
