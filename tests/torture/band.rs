//! Band: the members of the group, as they play.
//!
//! ```text
//!   [gate] -> [order] -> look -> note that it is in hand -> work -> note that it is done -> release ...
//! ```
//!
//! (I1) who pauses has nothing in hand.
//! Decides nothing: the plan does. Judges nothing: `hands.rs` does.

use crate::cast::{Base, LOOK};
use crate::hands::{Hand, join};
use crate::kinds::{Deed, Task};
use crate::ledger::Look;
use crate::oracle::{CONSUMERS_PAUSE, MEMBERS_PAUSE, PRODUCERS_PAUSE, nap};
use shm_ring::Member;
use shm_ring::killpoints::disarm;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// More than two of the longest records and what may stand between them.
const ENOUGH_BYTES: u64 = 8 << 10;

#[derive(Debug)]
pub(crate) struct Sharing<'a> {
    base: Base<'a>,
    member: Option<Member>,
    hand: Hand,
    beat: u64,
}

impl<'a> Sharing<'a> {
    pub(crate) fn new(base: Base<'a>) -> Self {
        let (member, hand) = join(base.oracle, base.ring, base.role, base.stage.durable).unwrap();
        Self { base, member: Some(member), hand, beat: 0 }
    }

    pub(crate) fn run(mut self) {
        let (oracle, member) = (self.base.oracle, self.base.member());
        member.attached.store(1, Ordering::SeqCst);
        let mut pauses = false;
        loop {
            let heard = oracle.bell();
            if let Some(deed) = member.ordered(self.base.role) {
                member.set_pause(None);
                if deed.task == Task::Finish {
                    self.hand.leave();
                    return;
                }
                self.perform(deed);
                member.finish();
                continue;
            }
            let gates = oracle.gates();
            pauses = gates & MEMBERS_PAUSE != 0 && (pauses || self.has_enough_left())
                || gates & CONSUMERS_PAUSE != 0
                    && (pauses || gates & PRODUCERS_PAUSE == 0 || self.has_read_all());
            member.set_pause(pauses.then_some(gates));
            if pauses {
                oracle.wait_for_bell(heard);
                continue;
            }
            if self.look(if self.beat.is_multiple_of(5) { Duration::ZERO } else { LOOK }) == Look::Closed {
                nap(100);
            }
        }
    }

    fn look(&mut self, wait: Duration) -> Look {
        self.beat += 1;
        // Something in hand, should it die soon; the two are not always at the same beat.
        let work_us = if self.beat % 32 == 9 { 60 } else { 0 };
        self.hand.look(self.member.as_mut().unwrap(), wait, work_us)
    }

    /// Whether there is something to take for both, soon. Between two looks others have time to make it; each look frees what the dead hold.
    fn has_enough_left(&self) -> bool {
        let is_enough = || self.member.as_ref().unwrap().lag_bytes() >= ENOUGH_BYTES;
        (0..10).any(|_| {
            is_enough() || {
                nap(100);
                false
            }
        })
    }

    fn has_read_all(&mut self) -> bool {
        let is_at_the_end = self.member.as_ref().unwrap().lag_bytes() == 0;
        is_at_the_end && self.look(Duration::ZERO) != Look::Record
    }

    fn perform(&mut self, deed: Deed) {
        let base = self.base;
        if deed.task != Task::Return {
            base.arm(deed);
        }
        match deed.task {
            Task::Read | Task::Wait => base.until_hit(|| {
                self.look(LOOK);
            }),
            Task::Return | Task::Leave => {
                self.hand.leave();
                drop(self.member.take());
                if deed.task == Task::Return {
                    base.arm(deed);
                }
                let (member, hand) = join(base.oracle, base.ring, base.role, base.stage.durable).unwrap();
                (self.member, self.hand) = (Some(member), hand);
            }
            _ => assert!(base.does(deed), "no task of a member: {deed:?}"),
        }
        disarm();
    }
}
