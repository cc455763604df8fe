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
    let mut writers = writers.into_iter().zip(fates.to_vec());
    let (first, fate) = writers.next().expect("a producer");
    let threads: Vec<_> = writers.map(|(writer, fate)| spawn(move || writer.live(fate))).collect();
    first.live(fate);
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
        let quick = Bounds { preemptions: 1, schedules: 0 };
        let bounds = Bounds::choose(quick, Bounds { preemptions: 2, ..quick });
        for plans in [FOUR_ONE, TWO_TWO] {
            explore(Bounds { preemptions: bounds.preemptions + 1, ..bounds }, move || run(plans, &[Fate::default(); 2]))
                .tell("laps, nobody killed", bounds);
            for victim in [0, 1] {
                let mut all = Explored::default();
                for steps in 0.. {
                    let explored = explore(bounds, move || {
                        let mut fates = [Fate::default(); 2];
                        fates[victim].producer = Some(steps);
                        run(plans, &fates);
                    });
                    all.add(explored);
                    if explored.deaths == 0 {
                        break;
                    }
                }
                all.tell(&format!("laps, producer {victim} killed at each step"), bounds);
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

    // Goal, method: the file's header; three producers.
    #[test]
    fn three_producers_lap_each_other() {
        let bounds =
            Bounds::choose(Bounds { preemptions: 0, schedules: 40_000 }, Bounds { preemptions: 0, schedules: 2_000_000 });
        explore(bounds, || {
            let fate = || Fate {
                producer: (draw(2) > 0).then(|| draw(150)),
                reaper: (draw(3) == 0).then(|| draw(60)),
                rivalled: draw(3) == 0,
            };
            run(THREE, &[fate(), fate(), fate()]);
        })
        .tell("laps, three producers", bounds);
    }
}
