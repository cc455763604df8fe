//! Claims: producers that claim against each other, killed at any step, and those who reap them, killed too.
//!
//! The ring has room for everything, so every frame stays where it is and is looked at in the end.
//! Promise: every record that was committed is there once, in order and whole; frames follow each other without a hole; only the claim
//! that the dead had open is lost, with its true length.

use super::world::{Fate, How, Plans, World, entry};
use crate::sync::model::{Bounds, explore, spawn};

/// Producers with these plans and fates, each a process of its own.
fn run(capacity_bytes: u64, plans: Plans, fates: &[Fate]) {
    let world = World::new(capacity_bytes, plans, 1);
    let writers: Vec<_> = (0u16..).take(plans.len()).map(|slot| world.writer(slot)).collect();
    // This thread does nothing but wait, so that who begins costs loom no preemption.
    let threads: Vec<_> = writers
        .into_iter()
        .zip(fates.to_vec())
        .map(|(writer, fate)| spawn(move || writer.live(fate)))
        .collect();
    for thread in threads {
        thread.join().expect("it ends");
    }
    world.check();
}

#[cfg(loom)]
mod orders {
    use super::*;
    use crate::layout::frame::IDLE;
    use crate::sync::Ordering;
    use crate::sync::model::{Explored, is_full};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Reapers {
        One,
        Two,
        OneThatDies,
        TwoOfWhichOneDies,
    }

    /// A run for each step at which the victim can be killed, and for each at which its first reaper can.
    fn every_death(what: &str, bounds: Bounds, plans: Plans, reapers: Reapers) {
        for victim in [0, 1] {
            let mut all = Explored::default();
            for steps in 0.. {
                let explored = every_reaper(bounds, plans, victim, steps, reapers);
                all.add(explored);
                if explored.deaths[0] == 0 {
                    all.tell(&format!(
                        "claims: {what}, producer {victim} killed at {steps} places, {reapers:?}"
                    ));
                    break;
                }
            }
        }
    }

    fn every_reaper(bounds: Bounds, plans: Plans, victim: usize, steps: u64, reapers: Reapers) -> Explored {
        let rivalled = matches!(reapers, Reapers::Two | Reapers::TwoOfWhichOneDies);
        let run_with = move |reaper| {
            explore(bounds, move || {
                let mut fates = [Fate::default(); 2];
                fates[victim] = Fate { producer: Some(steps), reaper, rivalled };
                run(256, plans, &fates);
            })
        };
        if matches!(reapers, Reapers::One | Reapers::Two) {
            return run_with(None);
        }
        let mut all = Explored::default();
        for steps in 0.. {
            let explored = run_with(Some(steps));
            all.add(explored);
            if explored.deaths[1] == 0 {
                break;
            }
        }
        all
    }

    static PUSH_CLAIM: Plans = &[&[entry(How::Push, 1)], &[entry(How::Claim, 3)]];
    static TWICE: Plans =
        &[&[entry(How::Claim, 1), entry(How::Push, 3)], &[entry(How::Push, 3), entry(How::Claim, 1)]];
    static LEFTOVERS: Plans = &[&[entry(How::Batch, 1)], &[entry(How::Shorten, 1), entry(How::Abort, 1)]];

    // Goal, method: the file's header; two producers, each killed at each step, one reaper.
    #[test]
    fn a_killed_producer_loses_its_open_claim_and_nothing_else() {
        every_death("a push and a claim", Bounds::preemptions(2, 3), PUSH_CLAIM, Reapers::One);
        every_death("two each", Bounds::preemptions(0, 2), TWICE, Reapers::One);
        every_death("batch, leftover, abort", Bounds::preemptions(1, 2), LEFTOVERS, Reapers::One);
    }

    /// The first producer dies before the second one begins; its reaper and the second one go on together.
    fn run_beside_the_dead(plans: Plans, first: u64, second: Option<u64>) {
        let world = World::new(256, plans, 1);
        let [dead, writer] = [world.writer(0), world.writer(1)];
        let lived = dead.live_unburied(0, Some(first));
        // ORDER none (Relaxed): this thread was the process.
        if !lived && world.region.producer(0).intent.load(Ordering::Relaxed) == IDLE {
            // It stands nowhere: nobody is misled.
            return;
        }
        let fate = Fate { producer: second, ..Fate::default() };
        let mut threads = vec![spawn(move || writer.live(fate))];
        if !lived {
            let world = world.clone();
            threads.push(spawn(move || world.reap(0, None)));
        }
        for thread in threads {
            thread.join().expect("it ends");
        }
        world.check();
    }

    // Goal: a reaper that looks for an owner is not misled by one who commits and dies meanwhile. Method: one producer killed at each
    // step, then its reaper beside another one, which claims at the same place or behind it and is killed at each step too.
    #[test]
    fn an_owner_that_commits_and_dies_keeps_its_record() {
        static PUSHES: Plans = &[&[entry(How::Push, 3)], &[entry(How::Push, 1)]];
        let bounds = Bounds::preemptions(1, 3);
        let mut all = Explored::default();
        for first in 0.. {
            let alone = explore(bounds, move || run_beside_the_dead(PUSHES, first, None));
            all.add(alone);
            if alone.deaths[0] == 0 {
                all.tell(&format!(
                    "claims: a reaper and a producer beside the dead, killed at {first} places"
                ));
                break;
            }
            for second in 0.. {
                let both = explore(bounds, move || run_beside_the_dead(PUSHES, first, Some(second)));
                all.add(both);
                // The first one dies in every execution.
                if both.deaths[0] == both.executions {
                    break;
                }
            }
        }
    }

    // Goal: a hole gets the length of the claim that left it, though another dead producer meant to claim more there. Method: two are
    // killed at each step, one after the other; a third one claims behind them while they are reaped.
    #[test]
    fn a_hole_is_as_long_as_the_claim_that_left_it() {
        static LONG_AND_SHORT: Plans =
            &[&[entry(How::Push, 5)], &[entry(How::Push, 1)], &[entry(How::Push, 1)]];
        let run = |first, second| {
            let world = World::new(256, LONG_AND_SHORT, 1);
            let [one, other, last] = [0, 1, 2].map(|slot| world.writer(slot));
            let lived = [one.live_unburied(0, Some(first)), other.live_unburied(0, Some(second))];
            let reapers = world.clone();
            let threads = [
                spawn(move || last.live(Fate::default())),
                spawn(move || {
                    for (slot, lived) in (0..).zip(lived) {
                        if !lived {
                            reapers.reap(slot, None);
                        }
                    }
                }),
            ];
            for thread in threads {
                thread.join().expect("it ends");
            }
            world.check();
        };
        let mut all = Explored::default();
        // More places than either has; beyond its end it lives.
        for first in 0..30 {
            for second in 0..30 {
                all.add(explore(Bounds::preemptions(0, 2), move || run(first, second)));
            }
        }
        all.tell("claims: two dead at one place");
    }

    // Goal: reapers neither disturb each other nor, killed, leave what the next one can't repair. Method: the same with two of them, with
    // one that is killed at each step, and with both.
    #[test]
    fn killed_reapers_leave_work_that_the_next_one_finishes() {
        every_death("a push and a claim", Bounds::preemptions(1, 2), PUSH_CLAIM, Reapers::OneThatDies);
        every_death("a push and a claim", Bounds::preemptions(0, 2), PUSH_CLAIM, Reapers::Two);
        every_death("a push and a claim", Bounds::preemptions(0, 1), PUSH_CLAIM, Reapers::TwoOfWhichOneDies);
        if is_full() {
            every_death("two each", Bounds::preemptions(1, 1), TWICE, Reapers::OneThatDies);
        }
    }
}

#[cfg(shuttle)]
mod depth {
    use super::*;
    use crate::sync::model::draw;

    static MIXED: Plans = &[
        &[entry(How::Push, 1), entry(How::Claim, 3), entry(How::Batch, 1)],
        &[entry(How::Claim, 2), entry(How::Push, 3), entry(How::Push, 1)],
        &[entry(How::Shorten, 1), entry(How::Push, 1), entry(How::Abort, 2)],
    ];

    /// Two of three are killed somewhere, or live if that is beyond their end; so are their reapers.
    fn draw_fate() -> Fate {
        Fate {
            producer: (draw(3) > 0).then(|| draw(120)),
            reaper: (draw(2) > 0).then(|| draw(60)),
            rivalled: draw(2) > 0,
        }
    }

    // Goal, method: the file's header; three producers, any of them killed at any step, reapers of each, killed too.
    #[test]
    fn three_producers_and_their_reapers_die_anywhere() {
        let bounds = Bounds::schedules(15_000);
        explore(bounds, || run(1024, MIXED, &[draw_fate(), draw_fate(), draw_fate()]))
            .tell("claims, three producers");
    }
}
