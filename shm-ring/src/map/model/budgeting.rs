//! Budgeting: requests that race for the last permits, some of which can never be granted.
//!
//! Promise: no more are granted than there is room for; who asks for what must be free gets it; and what a permit was spent on is over
//! before its successor begins.

use super::budget::{MapBudget, MapUsage};
use crate::sync::model::{Bounds, KernelWord, Ordering, explore, spawn, yield_now};
use std::sync::Arc;

const ONE: MapUsage = MapUsage { maps: 1, descriptors: 1, bytes: 1 };

/// What permits are spent on: as many places as there are permits, each used by one at a time.
struct Spent {
    open: KernelWord,
}

impl Spent {
    /// Opens, looks, and closes, by plain steps that nothing but the permit orders.
    fn use_up(&self, limit: u64) {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        assert!(before < limit, "{} in use, {limit} allowed", before + 1);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `workers` ask for one each, again until they had `rounds`; `greedy` ask for more than there can ever be, and are refused.
fn run(limit: u16, workers: usize, rounds: usize, greedy: usize) {
    let budget = MapBudget::new().maps(limit);
    let spent = Arc::new(Spent { open: KernelWord::new(0) });
    let mut threads = vec![];
    for _ in 0..workers {
        let (budget, spent) = (budget.clone(), Arc::clone(&spent));
        threads.push(spawn(move || {
            for _ in 0..rounds {
                let permit = loop {
                    match budget.try_acquire(ONE) {
                        Some(permit) => break permit,
                        // With a permit for everybody, one is free for whoever has none.
                        None => assert!(usize::from(limit) < workers, "refused while one was free"),
                    }
                    yield_now();
                };
                spent.use_up(limit.into());
                drop(permit);
            }
        }));
    }
    for _ in 0..greedy {
        let budget = budget.clone();
        let more = MapUsage { maps: limit + 1, ..ONE };
        threads.push(spawn(move || assert!(budget.try_acquire(more).is_none())));
    }
    for thread in threads {
        thread.join().expect("it ends");
    }
    assert_eq!(budget.in_use(), MapUsage::default());
}

/// One permit: what its holders do without any order of their own is seen whole by the next.
fn hand_over(workers: usize) {
    let budget = MapBudget::new().maps(1);
    let words = Arc::new([KernelWord::new(0), KernelWord::new(0)]);
    let threads: Vec<_> = (0..workers)
        .map(|_| {
            let (budget, words) = (budget.clone(), Arc::clone(&words));
            spawn(move || {
                if let Some(_permit) = budget.try_acquire(ONE) {
                    let seen = [0, 1].map(|i| words[i].load(Ordering::Relaxed));
                    assert_eq!(seen[0], seen[1], "half of what the permit's last holder did");
                    for word in words.iter() {
                        word.store(seen[0] + 1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("it ends");
    }
}

#[cfg(loom)]
mod orders {
    use super::*;

    // Goal, method: the file's header; as many permits as workers, so that nobody may ever be refused but the greedy.
    #[test]
    fn nobody_is_refused_while_one_is_free() {
        explore(Bounds::preemptions(3, 6), || run(2, 2, 1, 1)).tell("budgeting, one is free");
    }

    // Goal: n permits are exactly n. Method: two workers for one.
    #[test]
    fn no_more_are_granted_than_there_are() {
        explore(Bounds::preemptions(3, 6), || run(1, 2, 1, 1)).tell("budgeting, none is free");
    }

    // Goal: what a permit was spent on is over before its successor begins. Method: two words, stored and loaded without an order.
    #[test]
    fn what_was_closed_is_closed_for_the_next() {
        explore(Bounds::preemptions(3, 6), || hand_over(3)).tell("budgeting, handed over");
    }
}

#[cfg(shuttle)]
mod depth {
    use super::*;

    #[test]
    fn permits_are_exactly_as_many_as_there_are() {
        explore(Bounds::schedules(10_000), || {
            run(3, 3, 3, 2);
            run(2, 4, 2, 1);
        })
        .tell("budgeting");
    }
}
