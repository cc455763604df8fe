//! Reading: a consumer that was there from the beginning, against producers that lap it.
//!
//! Promise: it reads every record once, in order, whole, and nothing that is not committed; producers take no space that it holds.

use super::world::{Fate, How, Plans, World, entry};
use crate::layout::frame::{Head, State};
use crate::sync::Ordering;
use crate::sync::model::{Bounds, explore, spawn};

/// One consumer, and producers.
fn run(capacity_bytes: u64, plans: Plans, records: usize) {
    let world = World::new(capacity_bytes, plans, 1);
    let mut reader = world.reader(0, |_| 0);
    let writers: Vec<_> = (0u16..).take(plans.len()).map(|slot| world.writer(slot)).collect();
    let threads: Vec<_> =
        writers.into_iter().map(|writer| spawn(move || writer.live(Fate::default()))).collect();
    let reading = spawn(move || {
        reader.read(records);
        reader
    });
    for thread in threads {
        thread.join().expect("it ends");
    }
    let mut reader = reading.join().expect("it ends");
    assert!(!reader.look(), "there is no more than was put in");
    reader.leave();
    world.check();
}

/// Old payload that would pass for a committed header stands where the next header goes.
fn run_over_a_forged_header(how: How) {
    // Offset 0: a long record; then two that fill the lap; then a short one; the last one goes where the long one's payload was.
    static PUSH: Plans = &[&[
        entry(How::Push, 2),
        entry(How::Push, 0),
        entry(How::Push, 0),
        entry(How::Push, 0),
        entry(How::Push, 1),
    ]];
    static CLAIM: Plans = &[&[
        entry(How::Push, 2),
        entry(How::Push, 0),
        entry(How::Push, 0),
        entry(How::Push, 0),
        entry(How::Claim, 1),
    ]];
    let world = World::new(64, if how == How::Push { PUSH } else { CLAIM }, 1);
    let mut writer = world.writer(0);
    let mut reader = world.reader(0, |_| 0);
    for entry in 0..4 {
        let position = writer.claim(entry).expect("nobody is in the way");
        if entry == 0 {
            writer.finish(entry, position);
            let forged = Head { len_bytes: 8, state: State::Data, slot: 0 }.encode(80, 6);
            writer.payload(position, 0).store(forged, Ordering::Relaxed);
        } else {
            writer.finish(entry, position);
        }
        reader.pass();
    }
    let thread = spawn(move || {
        let position = writer.claim(4).expect("nobody is in the way");
        assert_eq!(position, 80);
        writer.finish(4, position);
    });
    reader.read(1);
    thread.join().expect("it ends");
    reader.leave();
}

#[cfg(loom)]
mod orders {
    use super::*;

    static LAPPED: Plans = &[&[entry(How::Push, 1), entry(How::Claim, 1), entry(How::Push, 1)]];
    static BATCHES: Plans =
        &[&[entry(How::Batch, 1), entry(How::Shorten, 1), entry(How::Abort, 1), entry(How::Push, 1)]];
    static TWO: Plans = &[&[entry(How::Push, 1), entry(How::Push, 1)], &[entry(How::Claim, 1)]];

    // Goal, method: the file's header; each way to publish, one producer and two.
    #[test]
    fn a_consumer_reads_every_record_once_and_whole() {
        let bounds = Bounds::preemptions(2, 3);
        explore(bounds, || run(64, LAPPED, 3)).tell("reading, one producer that laps");
        explore(Bounds::preemptions(1, 3), || run(128, BATCHES, 4)).tell("reading, batches and leftovers");
        let bounds = Bounds::preemptions(1, 2);
        explore(bounds, || run(64, TWO, 3)).tell("reading, two producers that lap");
    }

    // Goal: bytes of an older lap never pass for a frame. Method: forge them, and read where the next frame is about to appear.
    #[test]
    fn old_payload_never_passes_for_a_header() {
        let bounds = Bounds::preemptions(3, 4);
        for how in [How::Push, How::Claim] {
            explore(bounds, move || run_over_a_forged_header(how)).tell("reading, a forged header");
        }
    }
}

#[cfg(shuttle)]
mod depth {
    use super::*;
    use crate::sync::model::{Who, draw, mortal};

    static THREE: Plans = &[
        &[entry(How::Push, 1), entry(How::Claim, 3), entry(How::Push, 2), entry(How::Batch, 1)],
        &[entry(How::Claim, 2), entry(How::Shorten, 1), entry(How::Push, 1)],
        &[entry(How::Push, 3), entry(How::Abort, 1), entry(How::Claim, 1)],
    ];

    // Goal: a consumer that is killed holds nobody up, and one that lives misses nothing, whoever else is killed. Method: two consumers,
    // one of them killed somewhere, three producers that lap, killed too; reaping is up to whoever finds the ring full.
    #[test]
    fn dead_consumers_and_producers_hold_nobody_up() {
        let bounds = Bounds::schedules(15_000);
        explore(bounds, || {
            let world = World::new(128, THREE, 2);
            let (mut reader, mut victim) = (world.reader(0, |_| 0), world.reader(1, |_| 0));
            let writers: Vec<_> = (0u16..3).map(|slot| world.writer(slot)).collect();
            let mut threads: Vec<_> = writers
                .into_iter()
                .map(|writer| {
                    let fate = Fate { producer: (draw(3) == 0).then(|| draw(150)), ..Fate::default() };
                    spawn(move || writer.live(fate))
                })
                .collect();
            let steps = draw(120);
            threads.push(spawn(move || {
                if mortal(Who::Worker, Some(steps), || victim.read_to_the_end()).is_none() {
                    victim.killed();
                } else {
                    victim.leave();
                }
            }));
            reader.read_to_the_end();
            for thread in threads {
                thread.join().expect("it ends");
            }
            reader.leave();
            world.check();
        })
        .tell("reading, deaths on both sides");
    }

    #[test]
    fn old_payload_never_passes_for_a_header() {
        let bounds = Bounds::schedules(2_000);
        for how in [How::Push, How::Claim] {
            explore(bounds, move || run_over_a_forged_header(how)).tell("reading, a forged header");
        }
    }

    #[test]
    fn a_consumer_reads_every_record_once_and_whole() {
        let bounds = Bounds::schedules(10_000);
        explore(bounds, || run(128, THREE, 10)).tell("reading, three producers that lap");
    }
}
