//! Claims: producers that claim against each other, killed at any step, and those who reap them, killed too.
//!
//! The ring has room for everything, so every frame stays where it is and is looked at in the end.
//! Promise: every record that was committed is there once, in order and whole; frames follow each other without a hole; only the claim
//! that the dead had open is lost, with its true length.

use super::world::{Entry, Fate, How, Plans, World, entry};
use crate::sync::model::{Bounds, explore, spawn};

/// Producers with these plans and fates, each a process of its own; the first one in this thread.
fn run(capacity_bytes: u64, plans: Plans, fates: &[Fate]) -> World {
    let world = World::new(capacity_bytes, plans, 1);
    let mut writers: Vec<_> = (0u16..).take(plans.len()).map(|slot| world.writer(slot)).collect();
    let first = writers.remove(0);
    let threads: Vec<_> = writers
        .into_iter()
        .zip(&fates[1..])
        .map(|(writer, fate)| {
            let fate = *fate;
            spawn(move || writer.live(fate))
        })
        .collect();
    first.live(fates[0]);
    for thread in threads {
        thread.join().expect("it ends");
    }
    world
}

#[cfg(loom)]
mod orders {
    use super::*;
    use crate::sync::model::{Explored, is_full};

    /// A run for each step at which the victim can be killed, and with `reapers` for each at which its first reaper can.
    fn every_death(bounds: Bounds, plans: Plans, victim: usize, reapers: Reapers) {
        let mut all = Explored::default();
        let mut places = 0;
        for steps in 0.. {
            let explored = every_reaper(bounds, plans, victim, steps, reapers);
            all.add(explored);
            if explored.deaths == 0 {
                break;
            }
            places += 1;
        }
        all.tell(&format!("claims {reapers:?}, producer {victim} killed at each of {places} steps"), bounds);
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Reapers {
        One,
        Two,
        OneThatDies,
        TwoOfWhichOneDies,
    }

    fn every_reaper(bounds: Bounds, plans: Plans, victim: usize, steps: u64, reapers: Reapers) -> Explored {
        let rivalled = matches!(reapers, Reapers::Two | Reapers::TwoOfWhichOneDies);
        let run_with = move |reaper| {
            explore(bounds, move || {
                let mut fates = [Fate::default(); 2];
                fates[victim] = Fate { producer: Some(steps), reaper, rivalled };
                run(256, plans, &fates).check();
            })
        };
        if matches!(reapers, Reapers::One | Reapers::Two) {
            return run_with(None);
        }
        let mut all = Explored::default();
        for reaper in 0.. {
            let explored = run_with(Some(reaper));
            all.add(explored);
            // One death an execution is the producer's.
            if explored.deaths <= explored.executions {
                return all;
            }
        }
        all
    }

    const QUICK: Bounds = Bounds { preemptions: 2, schedules: 0 };
    const DEEP: Bounds = Bounds { preemptions: 3, schedules: 0 };

    static PUSH_CLAIM: Plans = &[&[entry(How::Push, 1)], &[entry(How::Claim, 3)]];
    static TWICE: Plans =
        &[&[entry(How::Claim, 1), entry(How::Push, 3)], &[entry(How::Push, 3), entry(How::Claim, 1)]];
    static INNER: Plans =
        &[&[entry(How::Batch, 1), entry(How::Push, 1)], &[entry(How::Shorten, 1), entry(How::Abort, 1)]];

    // Goal, method: the file's header; two producers, each killed at each step, one reaper.
    #[test]
    fn a_killed_producer_loses_its_open_claim_and_nothing_else() {
        for victim in [0, 1] {
            every_death(Bounds::choose(QUICK, DEEP), PUSH_CLAIM, victim, Reapers::One);
            every_death(QUICK, TWICE, victim, Reapers::One);
            every_death(QUICK, INNER, victim, Reapers::One);
        }
    }

    // Goal: reapers neither disturb each other nor, killed, leave what the next one can't repair. Method: the same with two of them, with
    // one that is killed at each step, and with both.
    #[test]
    fn killed_reapers_leave_work_that_the_next_one_finishes() {
        for victim in [0, 1] {
            every_death(QUICK, PUSH_CLAIM, victim, Reapers::OneThatDies);
            every_death(Bounds { preemptions: 1, ..QUICK }, PUSH_CLAIM, victim, Reapers::Two);
            if is_full() {
                every_death(QUICK, PUSH_CLAIM, victim, Reapers::Two);
                every_death(QUICK, PUSH_CLAIM, victim, Reapers::TwoOfWhichOneDies);
                every_death(QUICK, TWICE, victim, Reapers::OneThatDies);
            }
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
    pub(super) fn draw_fate() -> Fate {
        Fate {
            producer: (draw(3) > 0).then(|| draw(120)),
            reaper: (draw(2) > 0).then(|| draw(60)),
            rivalled: draw(2) > 0,
        }
    }

    // Goal, method: the file's header; three producers, any of them killed at any step, reapers of each, killed too.
    #[test]
    fn three_producers_and_their_reapers_die_anywhere() {
        let bounds =
            Bounds::choose(Bounds { preemptions: 0, schedules: 40_000 }, Bounds { preemptions: 0, schedules: 2_000_000 });
        explore(bounds, || run(1024, MIXED, &[draw_fate(), draw_fate(), draw_fate()]).check())
            .tell("claims, three producers", bounds);
    }
}
