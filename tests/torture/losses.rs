//! Losses: whether a reader is told of all that producers dropped, and of nothing else.
//!
//! ```text
//!   a life begins:    it notes what was dropped in its slot up to then; all of that is told before its first record
//!   a reader:         first record of a slot: lost() = a      a later life's record: lost() = b      b - a = what was dropped in between
//! ```
//!
//! A producer that is killed between dropping and noting makes the oracle's count one too small; no other death changes anything.
//!
//! (I1) from a reader's first record of a slot on, every notice of that slot comes by it.

use crate::oracle::Oracle;
use shm_ring::Loss;
use std::sync::atomic::Ordering;

/// One attachment's account, by producer slots.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses([Option<First>; 2]);

/// When the first record of a slot came.
#[derive(Clone, Copy, Debug)]
struct First {
    /// What the reader was told up to then.
    told: u64,
    /// What had been told at least, and how many producers had died then.
    dropped_min: u64,
    deaths: u64,
    /// What can have been dropped.
    dropped_max: u64,
}

impl Losses {
    /// A record of that life was handed out for the first time, and `lost` is what the reader says now.
    pub(crate) fn see(&mut self, oracle: &Oracle, life: u32, lost: &[Loss]) {
        let words = oracle.life(life).expect("a life that was handled");
        let slot = words.slot.load(Ordering::SeqCst) as u16;
        let told = lost.iter().find(|loss| loss.producer == slot).map_or(0, |loss| loss.dropped_records);
        let began = words.dropped.load(Ordering::SeqCst);
        let deaths = words.deaths.load(Ordering::SeqCst);
        // Deaths before drops, as a life notes them; the other way about something could be missed.
        let dropped = oracle.dropped(slot).load(Ordering::SeqCst);
        let deaths_now = oracle.producer_deaths.load(Ordering::SeqCst);
        let Some(first) = self.0[usize::from(slot)] else {
            let first =
                First { told, dropped_min: began, deaths, dropped_max: dropped + deaths_now - deaths };
            self.0[usize::from(slot)] = Some(first);
            return;
        };
        let told_here = told - first.told;
        let min = began.saturating_sub(first.dropped_max);
        let max = dropped + deaths_now - first.deaths - first.dropped_min;
        assert!(
            (min..=max).contains(&told_here),
            "{told_here} dropped records of slot {slot} were told, not {min} to {max}; {first:?}, life {life}"
        );
    }
}
