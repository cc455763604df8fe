//! Ledger: what a consumer name has to receive, and whether it did.
//!
//! | a record that is handed out | must |
//! |---|---|
//! | at a position that was not handled | be the next number of its life, and begun |
//! | at a position that was handled before a death | be the same record as then |
//! | anywhere | have all its bytes right, and stand where every other consumer saw it |
//!
//! The state is stored as a whole, before the frame is released; `next` of a life follows it, and is redone after a death. So a kill
//! between any two stores changes nothing in what is expected.
//!
//! (I1) only the process that has the name calls it, and the driver when nobody does.
//! Reads no ring by itself: [`Ledger::take`] is given the records.

use crate::kinds::Role;
use crate::losses::Losses;
use crate::oracle::{Oracle, State};
use crate::payload::{check, fingerprint};
use shm_ring::{Consumer, ConsumerOptions, Error, Frame, PollError, Ring};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One name's records, since this process has the name.
#[derive(Debug)]
pub(crate) struct Ledger {
    oracle: &'static Oracle,
    role: Role,
    capacity_bytes: u64,
    state: State,
    /// The ring's count of LOST frames that are accounted for.
    lost_seen: u64,
    /// Redelivered records came, and no new one yet.
    is_behind: bool,
    losses: Losses,
}

/// In a state: the last record's life needs nothing to be redone.
const NO_LIFE: u32 = u32::MAX;

/// What came of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Record,
    Nothing,
    /// An anonymous ring without a producer.
    Closed,
}

/// Attaches under the role's name and compares with what it had handled.
pub(crate) fn attach(oracle: &'static Oracle, ring: &Ring, role: Role) -> Result<(Consumer, Ledger), Error> {
    let options = ConsumerOptions::new();
    let options = if role == Role::C0 { options.durable() } else { options };
    let consumer = ring.consumer_with(role.name(), options)?;
    let mut state = oracle.reader(role).load();
    if state.handled != 0 && state.life != NO_LIFE {
        // The last process may have died before this.
        set_next(oracle, role, state);
    }
    let missed = consumer.missed_bytes();
    if missed != state.missed {
        assert!(role != Role::C0, "a durable name missed {missed} bytes, after {} before", state.missed);
        state = State { missed, gaps: state.gaps + 1, life: NO_LIFE, ..state };
        assert!(state.gaps < 1 << 16, "too many gaps for one world");
        oracle.reader(role).store(state);
    }
    let (lost_seen, capacity_bytes) = (consumer.lost_records(), ring.capacity_bytes());
    Ok((
        consumer,
        Ledger { oracle, role, capacity_bytes, state, lost_seen, is_behind: true, losses: Losses::default() },
    ))
}

fn set_next(oracle: &Oracle, role: Role, state: State) {
    let life = oracle.life(state.life).expect("a life that was handled");
    life.next[role.reader()].store(state.gaps << 16 | (state.n + 1), Ordering::SeqCst);
}

impl Ledger {
    /// Waits a moment for the next record and handles it.
    pub(crate) fn look(&mut self, consumer: &mut Consumer, wait: Duration) -> Look {
        let mut is_new = false;
        let look = match if wait.is_zero() { consumer.try_poll() } else { consumer.poll_timeout(wait) } {
            Ok(Some(frame)) => {
                is_new = self.take(&frame);
                Look::Record
            }
            Ok(None) => Look::Nothing,
            Err(PollError::Closed) => Look::Closed,
            Err(error) => panic!("{error}"),
        };
        if is_new {
            self.losses.see(self.oracle, self.state.life, &consumer.lost());
        }
        let lost = consumer.lost_records();
        if !self.is_behind && lost != self.lost_seen {
            self.state.lost += lost - self.lost_seen;
            self.oracle.reader(self.role).store(self.state);
        }
        self.lost_seen = lost;
        look
    }

    /// Judges a record, and counts it as handled; whether it is a new one. The frame is still held.
    fn take(&mut self, frame: &Frame<'_>) -> bool {
        let position = frame.position();
        let (life, n) = check(frame).unwrap_or_else(|wrong| panic!("{wrong}, at {position}"));
        let what = || format!("record {n} of life {life} at {position}");
        let (noted, mine) = self.oracle.note(position, self.capacity_bytes, fingerprint(position, life, n));
        assert!(noted == mine, "{}: another record was delivered there before", what());
        let reader = self.oracle.reader(self.role);
        if position < self.state.handled {
            assert!(self.is_behind, "{}: delivered after {}", what(), self.state.handled - 1);
            reader.redelivered.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let Some(words) = self.oracle.life(life) else { panic!("{}: a life that never was", what()) };
        let begun = words.begun.load(Ordering::SeqCst);
        assert!(n < begun, "{}: its producer has begun {begun} only", what());
        let next = words.next[self.role.reader()].load(Ordering::SeqCst);
        let (gaps, next) = (next >> 16, next & 0xffff);
        assert!(n >= next, "{}: delivered twice, {next} was to be the next of that life", what());
        assert!(
            n == next || gaps < self.state.gaps,
            "{}: records {next} to {} of that life are missing; {:?}",
            what(),
            n - 1,
            self.state
        );
        if self.role == Role::C0 {
            words.stood_at[n as usize].store((position / 16) as u32, Ordering::SeqCst);
        }
        self.state = State { handled: position + 1, life, n, ..self.state };
        reader.store(self.state);
        set_next(self.oracle, self.role, self.state);
        self.is_behind = false;
        reader.delivered.fetch_add(1, Ordering::Relaxed);
        self.oracle.watch.see(self.role.reader(), life, n);
        true
    }
}

/// Compares what all lives committed with what the consumers received, when everything was read; records committed, and in flight at a
/// death and delivered.
pub(crate) fn balance(oracle: &Oracle) -> Result<(u64, u64), String> {
    let (mut records, mut in_flight) = (0, 0);
    for life in 0..oracle.n_lives() as u32 {
        let words = oracle.life(life).expect("below the count");
        let (begun, committed) = (words.begun.load(Ordering::SeqCst), words.committed.load(Ordering::SeqCst));
        let complete = words.next[0].load(Ordering::SeqCst);
        for role in Role::CONSUMERS {
            let state = oracle.reader(role).load();
            let word = words.next[role.reader()].load(Ordering::SeqCst);
            let (gaps, next) = (word >> 16, word & 0xffff);
            if gaps < state.gaps {
                // Not seen since the last gap.
                continue;
            }
            if next != committed && next != begun {
                return Err(format!(
                    "life {life} committed {committed} and began {begun}; {:?} was delivered {next}",
                    role.name()
                ));
            }
            if next != complete & 0xffff {
                return Err(format!(
                    "life {life}: {next} records for {:?}, {complete} for the other",
                    role.name()
                ));
            }
        }
        records += u64::from(committed);
        in_flight += u64::from((complete & 0xffff).saturating_sub(committed));
    }
    Ok((records, in_flight))
}
