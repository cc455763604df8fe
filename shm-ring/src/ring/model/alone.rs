//! Alone: the single producer, killed at any step, and whoever takes its slot over, killed too, while a consumer reads and reaps.
//!
//! Promise: the consumer reads what was committed, once and in order, by the first as by the next; the ring goes on without a hole.

use super::world::{How, Plans, World, entry};
use crate::sync::model::{Bounds, explore, spawn, yield_now};

/// A producer that is killed or exits, an heir that is killed or not while it takes over, and then one that lives. `last`: how many
/// records the one that lives has, which the consumer waits for.
fn run(plans: Plans, last: usize, producer: Option<u64>, heir: Option<u64>) {
    let world = World::one_at_a_time(64, plans, 1);
    let mut reader = world.reader(0, |_| 0);
    let first = world.writer(0);
    let heirs = world.clone();
    let producing = spawn(move || {
        first.live_unburied(0, producer);
        let heir = heirs.heir(1, heir).or_else(|| heirs.heir(1, None)).expect("this one lives");
        heir.live_unburied(0, None);
    });
    while reader.seen_of(1) < last {
        if !reader.look() {
            reader.sweep();
            yield_now();
        }
    }
    producing.join().expect("it ends");
    assert!(!reader.look(), "there is no more than was put in");
    reader.leave();
    world.check();
}

#[cfg(loom)]
mod orders {
    use super::*;
    use crate::sync::model::Explored;

    static PLANS: Plans = &[&[entry(How::Push, 1), entry(How::Claim, 1)], &[entry(How::Push, 1)]];

    // Goal, method: the file's header; every place of death of the producer, and of the heir for each of them.
    #[test]
    fn a_single_producer_is_replaceable() {
        let mut all = Explored::default();
        for steps in 0.. {
            let explored = explore(Bounds::preemptions(1, 3), move || run(PLANS, 1, Some(steps), None));
            all.add(explored);
            for heir in 0.. {
                let both = explore(Bounds::preemptions(1, 2), move || run(PLANS, 1, Some(steps), Some(heir)));
                all.add(both);
                if both.deaths[1] == 0 {
                    break;
                }
            }
            if explored.deaths[0] == 0 {
                all.tell(&format!("alone: a producer killed at {steps} places, its heir too"));
                break;
            }
        }
    }
}

#[cfg(shuttle)]
mod depth {
    use super::*;
    use crate::sync::model::draw;

    static PLANS: Plans = &[
        &[entry(How::Push, 1), entry(How::Claim, 1), entry(How::Abort, 1)],
        &[entry(How::Claim, 1), entry(How::Push, 1), entry(How::Push, 1)],
    ];

    // As under loom, with more records.
    #[test]
    fn a_single_producer_is_replaceable() {
        let bounds = Bounds::schedules(15_000);
        explore(bounds, || run(PLANS, 3, Some(draw(120)), (draw(2) > 0).then(|| draw(40))))
            .tell("alone, a producer and its heirs");
    }
}
