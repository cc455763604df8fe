//! Joining: a consumer that joins while producers hold limits from before it existed, or are about to compute one.
//!
//! Promise: from where it joins on, every record is there, whole and in order, until it is released; and a claim that is still open below
//! it, where it joins at the tail, is left alone.

use super::join;
use super::world::{Fate, How, Plans, World, entry};
use crate::frame::table::Table;
use crate::sync::model::{Bounds, explore, spawn, yield_now};

fn run(plans: Plans, from: fn(&Table) -> u64, looks: usize) {
    let world = World::new(64, plans, 1);
    let mut writers: Vec<_> = (0u16..).take(plans.len()).map(|slot| world.writer(slot)).collect();
    // Something to join at.
    let position = writers[0].claim(0).expect("the ring is empty");
    writers[0].finish(0, position);
    // The first one goes on behind it.
    let firsts = [1].into_iter().chain(std::iter::repeat(0));
    let threads: Vec<_> = writers
        .into_iter()
        .zip(firsts)
        .map(|(writer, first)| spawn(move || writer.live_from(first, Fate::default())))
        .collect();
    let joiner = world.clone();
    let reading = spawn(move || {
        let mut reader = joiner.reader(0, from);
        for _ in 0..looks {
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
    static TWO: Plans = &[&[entry(How::Push, 1), entry(How::Push, 1)], &[entry(How::Push, 1)]];

    // Goal, method: the file's header; one producer that laps the joiner.
    #[test]
    fn one_producer_leaves_what_a_joiner_found() {
        explore(Bounds::preemptions(3, 4), || run(ONE, join::oldest, 2)).tell("joining, one producer");
    }

    // The same with two.
    #[test]
    fn two_producers_leave_what_a_joiner_found() {
        explore(Bounds::preemptions(1, 2), || run(TWO, join::oldest, 2)).tell("joining, two producers");
    }

    // Goal: a consumer at the tail says nothing about claims that are open below it: the tail that a limit began with does. Method: one
    // producer computes its limit while another one claims and a consumer joins behind that claim.
    #[test]
    fn an_open_claim_below_a_joiner_is_left_alone() {
        static AROUND: Plans =
            &[&[entry(How::Push, 1), entry(How::Push, 1), entry(How::Push, 1)], &[entry(How::Claim, 1)]];
        explore(Bounds::preemptions(1, 2), || run(AROUND, Table::tail, 1)).tell("joining at the tail");
    }
}

#[cfg(shuttle)]
mod depth {
    use super::*;

    static THREE: Plans = &[
        &[entry(How::Push, 1), entry(How::Claim, 1), entry(How::Push, 1), entry(How::Push, 1)],
        &[entry(How::Push, 1), entry(How::Push, 1)],
        &[entry(How::Claim, 1)],
    ];

    #[test]
    fn what_a_joiner_found_stays_until_it_is_released() {
        let bounds = Bounds::schedules(15_000);
        explore(bounds, || run(THREE, join::oldest, 4)).tell("joining, three producers");
    }

    // Goal: as the same model under loom. Method: three producers.
    #[test]
    fn an_open_claim_below_a_joiner_is_left_alone() {
        let bounds = Bounds::schedules(15_000);
        explore(bounds, || run(THREE, Table::tail, 4)).tell("joining at the tail, three producers");
    }
}
