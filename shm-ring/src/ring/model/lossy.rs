//! Lossy: an observer that holds nothing, against producers that lap it.
//!
//! Promise: what its look calls intact is one record, whole, and the one that stands there; no record comes twice or out of order.

use super::join;
use super::world::{Fate, How, Plans, World, entry, whose};
use crate::frame::lossy;
use crate::layout::frame::State;
use crate::sync::model::{Bounds, explore, spawn, yield_now};

/// So many looks from the beginning of a ring of two frames on.
fn watch(world: &World, looks: usize) {
    let table = world.table();
    let mut last = vec![None; world.plans.len()];
    let (mut position, mut payload) = (0, vec![]);
    for _ in 0..looks {
        payload.clear();
        let copied = lossy::look(&table, position, &mut payload);
        if copied.overtaken.is_some() {
            position = join::oldest(&table);
            continue;
        }
        match copied.found.expect("nothing is corrupt") {
            Some(sealed) if sealed.head.state != State::Claimed => {
                if matches!(sealed.head.state, State::Data | State::Inner) {
                    assert_eq!(payload.len(), sealed.head.len_bytes as usize);
                    let words = payload
                        .chunks(8)
                        .map(|word| u64::from_le_bytes(word.try_into().expect("records are of whole words")));
                    let (who, entry, record) = whose(position, words);
                    let last = &mut last[usize::from(who)];
                    assert!(*last < Some((entry, record)), "{entry} of {who} after {last:?}");
                    *last = Some((entry, record));
                }
                position += sealed.span_bytes;
            }
            _ => yield_now(),
        }
    }
}

fn run(world: &World, looks: usize) {
    let slots = if world.is_exclusive() { 1 } else { world.plans.len() };
    let writers: Vec<_> = (0u16..).take(slots).map(|slot| world.writer(slot)).collect();
    let mut threads: Vec<_> =
        writers.into_iter().map(|writer| spawn(move || writer.live(Fate::default()))).collect();
    let watcher = world.clone();
    threads.push(spawn(move || watch(&watcher, looks)));
    for thread in threads {
        thread.join().expect("it ends");
    }
    world.check();
}

#[cfg(loom)]
mod orders {
    use super::*;

    static LAPS: Plans = &[&[entry(How::Push, 1), entry(How::Push, 1), entry(How::Push, 1)]];
    static CLAIMS: Plans = &[&[entry(How::Claim, 1), entry(How::Claim, 1), entry(How::Claim, 1)]];
    static TWO: Plans = &[&[entry(How::Push, 1), entry(How::Push, 1)], &[entry(How::Claim, 1)]];

    // Goal, method: the file's header; each way to take space, and to publish.
    #[test]
    fn what_an_observer_takes_for_intact_is() {
        let bounds = Bounds::preemptions(2, 3);
        explore(bounds, || run(&World::new(64, LAPS, 1), 2)).tell("lossy, pushes");
        explore(bounds, || run(&World::new(64, CLAIMS, 1), 2)).tell("lossy, claims");
        explore(bounds, || run(&World::one_at_a_time(64, LAPS, 1), 2)).tell("lossy, a single producer");
        explore(Bounds::preemptions(1, 2), || run(&World::new(64, TWO, 1), 2)).tell("lossy, two producers");
    }
}

#[cfg(shuttle)]
mod depth {
    use super::*;

    static THREE: Plans = &[
        &[entry(How::Push, 1), entry(How::Claim, 3), entry(How::Push, 2), entry(How::Batch, 1)],
        &[entry(How::Claim, 2), entry(How::Shorten, 1), entry(How::Push, 1)],
        &[entry(How::Push, 3), entry(How::Abort, 1), entry(How::Claim, 1)],
    ];

    // As under loom, with three producers and records of every length.
    #[test]
    fn what_an_observer_takes_for_intact_is() {
        explore(Bounds::schedules(15_000), || run(&World::new(128, THREE, 1), 16))
            .tell("lossy, three producers");
    }
}
