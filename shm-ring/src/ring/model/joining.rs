//! Joining: a consumer that joins at the oldest record while producers hold limits from before it existed.
//!
//! Promise: from where it joins on, every record is there, whole and in order, until it is released.

use super::join;
use super::world::{Fate, How, Plans, World, entry};
use crate::sync::model::{Bounds, explore, spawn, yield_now};

fn run(plans: Plans, records: usize) {
    let world = World::new(64, plans, 1);
    let mut writers: Vec<_> = (0u16..).take(plans.len()).map(|slot| world.writer(slot)).collect();
    // Something to join at.
    let position = writers[0].claim(0).expect("the ring is empty");
    writers[0].finish(0, position);
    let threads: Vec<_> =
        writers.into_iter().map(|writer| spawn(move || writer.live_from(1, Fate::default()))).collect();
    let joiner = world.clone();
    let reading = spawn(move || {
        let mut reader = joiner.reader(0, join::oldest);
        for _ in 0..records {
            if !reader.look() {
                yield_now();
            }
        }
        reader.leave();
    });
    for thread in threads.into_iter().chain([reading]) {
        thread.join().expect("it ends");
    }
    world.check();
}

#[cfg(loom)]
mod orders {
    use super::*;

    static ONE: Plans =
        &[&[entry(How::Push, 1), entry(How::Push, 1), entry(How::Push, 1), entry(How::Claim, 1)]];
    static TWO: Plans =
        &[&[entry(How::Push, 1), entry(How::Push, 1)], &[entry(How::Push, 1), entry(How::Push, 1)]];

    // Goal, method: the file's header; one producer that laps the joiner.
    #[test]
    fn one_producer_leaves_what_a_joiner_found() {
        explore(Bounds::preemptions(2, 3), || run(ONE, 2)).tell("joining, one producer");
    }

    // The same with two.
    #[test]
    fn two_producers_leave_what_a_joiner_found() {
        explore(Bounds::preemptions(0, 1), || run(TWO, 2)).tell("joining, two producers");
    }
}

#[cfg(shuttle)]
mod depth {
    use super::*;

    static THREE: Plans = &[
        &[entry(How::Push, 1), entry(How::Claim, 1), entry(How::Push, 1), entry(How::Push, 1)],
        &[entry(How::Push, 1), entry(How::Push, 1), entry(How::Push, 1)],
        &[entry(How::Claim, 1), entry(How::Push, 1)],
    ];

    #[test]
    fn what_a_joiner_found_stays_until_it_is_released() {
        let bounds = Bounds::schedules(15_000);
        explore(bounds, || run(THREE, 4)).tell("joining, three producers");
    }
}
