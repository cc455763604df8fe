//! Points: where the machine is made to crash, with what it had promised by then.
//!
//! (I1) every call is a point as long as there is room, of the steps one in so many; (I2) a promise is noted after the call that gave it has
//! returned, and what a call may leave is noted before it begins: a crash in between may leave either.
//! Knows nobody's promises.

use super::medium::{Call, Witness};
use super::random::Random;
use super::remains::Remains;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Points of one run, and the promises as they stand.
#[derive(Debug)]
pub(super) struct Points<P> {
    promises: Mutex<P>,
    chosen: Mutex<Chosen<P>>,
}

#[derive(Debug)]
struct Chosen<P> {
    random: Random,
    steps_one_in: usize,
    calls_one_in: usize,
    n_seen: usize,
    points: Vec<Point<P>>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Point<P> {
    pub(super) call: Call,
    pub(super) remains: Remains,
    pub(super) promises: P,
}

impl<P: Clone + Send + 'static> Points<P> {
    pub(super) fn new(promises: P, seed: u64, calls_one_in: usize, steps_one_in: usize) -> Arc<Self> {
        let random = Random::new(seed);
        let chosen = Chosen { random, steps_one_in, calls_one_in, n_seen: 0, points: vec![] };
        Arc::new(Self { promises: Mutex::new(promises), chosen: Mutex::new(chosen) })
    }

    pub(super) fn witness(self: &Arc<Self>) -> Witness {
        let points = self.clone();
        Arc::new(move |remains, call| points.look(remains, call))
    }

    /// What is promised; to be noted down in.
    pub(super) fn promises(&self) -> MutexGuard<'_, P> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The points so far, which are forgotten here.
    pub(super) fn take(&self) -> Vec<Point<P>> {
        std::mem::take(&mut self.chosen().points)
    }

    /// How many there could have been.
    pub(super) fn n_seen(&self) -> usize {
        self.chosen().n_seen
    }

    fn look(&self, remains: &Remains, call: Call) {
        let mut chosen = self.chosen();
        chosen.n_seen += 1;
        let one_in = if call == Call::Step { chosen.steps_one_in } else { chosen.calls_one_in };
        if chosen.random.one_in(one_in) {
            let promises = self.promises().clone();
            chosen.points.push(Point { call, remains: remains.clone(), promises });
        }
    }

    fn chosen(&self) -> MutexGuard<'_, Chosen<P>> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
