//! Laps: producers that overwrite old records in a ring of two frames, while others hold stale intents or were killed.
//!
//! Nobody reads, so nothing but intents and the tail holds a producer back: the hardest case for the limit.
//! Promise: nobody writes into an open claim, nobody is stuck, and in the end every frame inside the window has its header.

use super::world::{Fate, How, Plans, World, entry};
use crate::sync::model::{Bounds, explore, spawn};

/// Two frames of 32 bytes.
const CAPACITY: u64 = 64;

fn run(plans: Plans, fates: &[Fate]) {
    let world = World::new(CAPACITY, plans, 1);
    let writers: Vec<_> = (0u16..).take(plans.len()).map(|slot| world.writer(slot)).collect();
    let writers = writers.into_iter().zip(fates.to_vec());
    let threads: Vec<_> = writers.map(|(writer, fate)| spawn(move || writer.live(fate))).collect();
    for thread in threads {
        thread.join().expect("it ends");
    }
    world.check();
}

#[cfg(loom)]
mod orders {
    use super::*;
    use crate::sync::model::Explored;

    static FOUR_ONE: Plans = &[
        &[entry(How::Push, 1), entry(How::Claim, 1), entry(How::Push, 1), entry(How::Claim, 1)],
        &[entry(How::Push, 1)],
    ];
    static TWO_TWO: Plans =
        &[&[entry(How::Claim, 1), entry(How::Push, 1)], &[entry(How::Push, 1), entry(How::Claim, 1)]];

    // Goal, method: the file's header; the one who laps and the one who is lapped, each killed at each step, or none.
    #[test]
    fn nobody_writes_into_an_open_claim() {
        for plans in [FOUR_ONE, TWO_TWO] {
            let bounds = Bounds::preemptions(1, 2);
            explore(bounds, move || run(plans, &[Fate::default(); 2])).tell("laps: nobody killed");
            for victim in [0, 1] {
                let mut all = Explored::default();
                for steps in 0.. {
                    let explored = explore(Bounds::preemptions(0, 1), move || {
                        let mut fates = [Fate::default(); 2];
                        fates[victim].producer = Some(steps);
                        run(plans, &fates);
                    });
                    all.add(explored);
                    if explored.deaths[0] == 0 {
                        all.tell(&format!("laps: producer {victim} killed at {steps} places"));
                        break;
                    }
                }
            }
        }
    }
}

#[cfg(shuttle)]
mod depth {
    use super::*;
    use crate::sync::model::draw;

    static THREE: Plans = &[
        &[entry(How::Push, 1), entry(How::Claim, 1), entry(How::Push, 1), entry(How::Push, 1)],
        &[entry(How::Claim, 1), entry(How::Push, 1), entry(How::Claim, 1)],
        &[entry(How::Push, 1), entry(How::Claim, 1)],
    ];

    static ONE_EACH: Plans =
        &[&[entry(How::Claim, 1)], &[entry(How::Claim, 1)], &[entry(How::Claim, 1), entry(How::Claim, 1)]];

    // Goal: a limit that was computed from an old tail reaches into nobody's claim. Method: three producers with hardly a record each, so
    // that a schedule has few places to go wrong, and most are tried.
    #[test]
    fn an_old_tail_still_counts() {
        explore(Bounds::schedules(60_000), || run(ONE_EACH, &[Fate::default(); 3])).tell("laps: an old tail");
    }

    // Goal, method: the file's header; three producers.
    #[test]
    fn three_producers_lap_each_other() {
        let bounds = Bounds::schedules(15_000);
        explore(bounds, || {
            let fate = || Fate {
                producer: (draw(2) > 0).then(|| draw(150)),
                reaper: (draw(3) == 0).then(|| draw(60)),
                rivalled: draw(3) == 0,
            };
            run(THREE, &[fate(), fate(), fate()]);
        })
        .tell("laps, three producers");
    }
}
