//! Sleeping: consumers that sleep for records, producers that sleep for space, and those who wake them.
//!
//! No sleep of the model has a bound, so a wake-up that is lost is a deadlock. Promise: there is none.

use super::world::{Fate, How, Plans, World, entry};
use crate::sync::model::{Bounds, explore, spawn};

/// Two sleepers for data, one producer that never waits.
fn run_for_data(plans: Plans, records: usize) {
    // So large that a reader does not publish its position at once, for that would wake the other one by the way.
    let world = World::new(1024, plans, 2);
    let readers = [world.reader(0, |_| 0), world.reader(1, |_| 0)];
    let writer = world.writer(0);
    let threads = readers.map(|mut reader| {
        let live = world.region.live();
        spawn(move || reader.read_asleep(&live, records))
    });
    let writing = spawn(move || writer.live(Fate::default()));
    for thread in threads.into_iter().chain([writing]) {
        thread.join().expect("it is woken");
    }
}

/// A consumer and producers that all sleep: for records, and for space in a ring of two.
fn run_for_both(plans: Plans, records: usize) {
    let world = World::new(64, plans, 1);
    let mut reader = world.reader(0, |_| 0);
    let writers: Vec<_> = (0u16..).take(plans.len()).map(|slot| world.writer(slot)).collect();
    let threads: Vec<_> = writers.into_iter().map(|writer| spawn(move || writer.live_asleep())).collect();
    let live = world.region.live();
    let reading = spawn(move || {
        reader.read_asleep(&live, records);
        reader.leave();
    });
    for thread in threads.into_iter().chain([reading]) {
        thread.join().expect("it is woken");
    }
    world.check();
}

#[cfg(loom)]
mod orders {
    use super::*;

    static PUSH: Plans = &[&[entry(How::Push, 1)]];
    static CLAIM: Plans = &[&[entry(How::Claim, 1)]];
    static THREE: Plans = &[&[entry(How::Push, 1), entry(How::Push, 1), entry(How::Claim, 1)]];

    // Goal, method: the file's header; the bit that two sleepers share, and both words at once.
    #[test]
    fn no_wake_up_is_lost() {
        let bounds = Bounds::preemptions(2, 3);
        explore(bounds, || run_for_data(PUSH, 1)).tell("sleeping, two consumers, a push");
        explore(bounds, || run_for_data(CLAIM, 1)).tell("sleeping, two consumers, a claim");
        explore(bounds, || run_for_both(THREE, 3)).tell("sleeping, a consumer and a producer");
    }
}

#[cfg(shuttle)]
mod depth {
    use super::*;

    static ONE: Plans = &[&[entry(How::Push, 1)]];
    static FIVE: Plans = &[&[
        entry(How::Push, 1),
        entry(How::Push, 1),
        entry(How::Claim, 1),
        entry(How::Push, 1),
        entry(How::Claim, 1),
    ]];
    static THREE: Plans = &[
        &[entry(How::Push, 1), entry(How::Claim, 1)],
        &[entry(How::Push, 1), entry(How::Push, 1)],
        &[entry(How::Claim, 1), entry(How::Push, 1)],
    ];

    #[test]
    fn no_wake_up_is_lost() {
        let bounds = Bounds::schedules(15_000);
        explore(bounds, || run_for_data(ONE, 1)).tell("sleeping, two consumers, one record");
        explore(bounds, || run_for_data(FIVE, 5)).tell("sleeping, two consumers");
        explore(bounds, || run_for_both(THREE, 6)).tell("sleeping, a consumer and three producers");
    }
}
