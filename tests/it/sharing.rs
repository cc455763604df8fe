//! Sharing: groups, in which each record goes to one member, and a dead member's record to another.

use crate::harness::{Actor, PATIENCE, Script, alone, directory, eventually, fork, leave, listen, say};
use crate::records::{check_bytes, length, record};
use shm_ring::{ConsumerOptions, Delivery, Error, Member, PollError, Ring, RingOptions, Start, Wait};
use std::collections::BTreeMap;
use std::time::Duration;

const LONGEST: usize = 900;

fn soon(member: &mut Member) -> Delivery<'_> {
    member.poll_timeout(PATIENCE).unwrap().expect("a record, within the watchdog's time")
}

#[test]
fn each_record_goes_to_one_member_in_order() {
    // Goal: members in several processes get every record of several producers once; each gets its own in the ring's order.
    // Method: three processes that report what they got, two producers, laps of a small ring.
    const N: u64 = 3000;
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let mut members: Vec<_> = (0..3)
        .map(|_| Actor::start("sharing::member", &[("path", &path.display()), ("count", &u64::MAX)]))
        .collect();
    members.iter_mut().for_each(|member| drop(member.expect("here")));
    let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
    for n in 0..N {
        for (id, producer) in (0u64..).zip(&mut producers) {
            producer.push(&record(id, n, length(id, n, LONGEST))).unwrap();
        }
    }
    let mut seen = BTreeMap::new();
    let mut last = [None; 3];
    while seen.len() < 2 * N as usize {
        for (member, last) in members.iter_mut().zip(&mut last) {
            while let Some(line) = member.hear_within(Duration::from_millis(1)) {
                let position = line.parse::<u64>().unwrap();
                assert!(seen.insert(position, ()).is_none(), "{position} came twice");
                assert!(last.is_none_or(|last| last < position), "{position} behind {last:?}");
                *last = Some(position);
            }
        }
    }
    let stats = ring.stats().unwrap();
    let group = stats.consumers.iter().find(|consumer| consumer.members == Some(3)).unwrap();
    assert_eq!((group.name.as_str(), group.alive, group.lag_bytes), ("workers", true, 0));
    assert!(last.iter().all(Option::is_some), "somebody got nothing: {last:?}");
}

pub(crate) fn member() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut member = ring.group("workers").unwrap();
    say("here");
    let mut n = 0;
    while n < Script::number("count") {
        let delivery = member.poll().unwrap();
        let info = delivery.info();
        check_bytes(&delivery, u64::from(info.producer), info.sequence.unwrap());
        say(&info.position.to_string());
        n += 1;
    }
    let _held = member.poll().unwrap();
    say("held");
    listen();
}

#[test]
fn what_a_dead_member_held_is_delivered_again() {
    // Goal: exactly the record that a killed member had in hand comes again, marked, to a member that waits; its space was not given away
    // meanwhile; what it had finished does not come again. Method: a process that finishes three and dies with the fourth; a full ring.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut actor = Actor::start("sharing::member", &[("path", &path.display()), ("count", &3)]);
    actor.expect("here");
    let mut member = ring.group("workers").unwrap();
    for n in 0..4 {
        producer.push(&record(0, n, 500)).unwrap();
    }
    while actor.hear() != "held" {}
    let mut pushed = 4;
    while producer.try_push(&record(0, pushed, 500)).is_ok() {
        pushed += 1;
    }
    for n in 4..pushed {
        let delivery = soon(&mut member);
        assert!(!delivery.is_redelivered());
        check_bytes(&delivery, 0, n);
    }
    assert!(member.try_poll().unwrap().is_none());
    assert!(producer.try_push(&record(0, pushed, 500)).is_err(), "what a member holds is held");
    actor.kill();
    let delivery = soon(&mut member);
    assert!(delivery.is_redelivered());
    check_bytes(&delivery, 0, 3);
    assert_eq!(delivery.info().sequence, Some(3));
    drop(delivery);
    producer.push(&record(0, pushed, 500)).unwrap();
    let delivery = soon(&mut member);
    assert!(!delivery.is_redelivered());
    check_bytes(&delivery, 0, pushed);
    drop(delivery);
    assert_eq!(ring.stats().unwrap().consumers.len(), 2, "the dead member's slot is free again");
}

#[test]
fn a_member_that_waits_is_woken_for_the_dead_ones_record() {
    // Goal: a member that sleeps gets a dead member's record without anything else happening in the ring. Method: kill while it polls.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
    let mut actor = Actor::start("sharing::member", &[("path", &path.display()), ("count", &0)]);
    actor.expect("here");
    let mut producer = ring.producer().unwrap();
    producer.push(&record(0, 0, 100)).unwrap();
    actor.expect("held");
    let mut member = ring.group("workers").unwrap();
    let waiter = std::thread::spawn(move || {
        let delivery = soon(&mut member);
        assert!(delivery.is_redelivered());
        check_bytes(&delivery, 0, 0);
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waiter.is_finished());
    actor.kill();
    waiter.join().unwrap();
}

#[test]
fn the_last_member_takes_the_hold_along_unless_it_is_durable() {
    // Goal: a group without members holds nothing, and goes on where it stopped as far as that is still there; a durable one holds.
    // Method: leave, fill the ring, come back; both kinds; killed rather than left as well.
    for durable in [false, true] {
        let ring = RingOptions::new().capacity(16 << 10).anonymous().unwrap();
        let mut producer = ring.producer().unwrap();
        let options = if durable { ConsumerOptions::new().durable() } else { ConsumerOptions::new() };
        let mut member = ring.group_with("g", options).unwrap();
        for n in 0..3 {
            producer.push(&record(0, n, 100)).unwrap();
        }
        check_bytes(&soon(&mut member), 0, 0);
        drop(member);
        let mut pushed = 3;
        while pushed < 500 && producer.try_push(&record(0, pushed, 100)).is_ok() {
            pushed += 1;
        }
        assert_eq!(pushed == 500, !durable, "{pushed}");
        let mut member = ring.group("g").unwrap();
        let delivery = soon(&mut member);
        let first = delivery.info().sequence.unwrap();
        check_bytes(&delivery, 0, first);
        drop(delivery);
        assert_eq!(first == 1, durable, "{first}");
        let missed =
            ring.stats().unwrap().consumers.iter().find(|c| c.members.is_some()).unwrap().missed_bytes;
        assert_eq!(missed == 0, durable, "{missed}");
    }
}

#[test]
fn groups_and_consumers_have_names_of_their_own() {
    // Goal: one name is a group or a consumer, never both; slots are counted; starts that can't be are refused and leave nothing.
    // Method: try each.
    let ring = RingOptions::new().capacity(16 << 10).consumers_max(3).metadata(false).anonymous().unwrap();
    let _member = ring.group("a").unwrap();
    assert!(matches!(ring.consumer("a"), Err(Error::Invalid { .. })));
    let other = ring.group("b");
    assert!(matches!(other, Err(Error::NoSlot { .. })), "{other:?}");
    let consumer = ring.consumer("c").unwrap();
    assert!(matches!(ring.group("c"), Err(Error::Invalid { .. })));
    drop(consumer);
    let ring = RingOptions::new().capacity(16 << 10).metadata(false).anonymous().unwrap();
    for start in [Start::At(16), Start::Since(1)] {
        let refused = ring.group_with("g", ConsumerOptions::new().start(start));
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
        assert!(ring.stats().unwrap().consumers.is_empty());
    }
    assert!(matches!(ring.group(""), Err(Error::Invalid { .. })));
}

#[test]
fn a_pipeline_of_members_ends_when_everything_is_done() {
    // Goal: in an anonymous ring every member gets `Closed` when all producers are gone and nothing is in anybody's hands; a record that a
    // killed child held is done by another before. Method: forked workers, one dies with a record.
    alone("sharing::pipeline", &[]);
}

pub(crate) fn pipeline() {
    let ring = RingOptions::new().capacity(64 << 10).anonymous().unwrap();
    drop(ring.group_with("g", ConsumerOptions::new().durable()).unwrap());
    let mut producer = ring.producer().unwrap();
    for n in 0..100 {
        producer.push(&record(0, n, 100)).unwrap();
    }
    fork(|| {
        let mut member = ring.group("g").unwrap();
        for _ in 0..10 {
            drop(soon(&mut member));
        }
        let held = soon(&mut member);
        assert_eq!(held.info().sequence, Some(10));
        std::mem::forget(held);
        leave(0);
    })
    .finish();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            fork(|| {
                let mut member = ring.group("g").unwrap();
                loop {
                    match member.poll() {
                        Ok(delivery) => check_bytes(&delivery, 0, delivery.info().sequence.unwrap()),
                        Err(PollError::Closed) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    drop(producer);
    workers.into_iter().for_each(crate::harness::Forked::finish);
    let stats = ring.stats().unwrap();
    assert_eq!(stats.consumers.iter().map(|consumer| consumer.lag_bytes).sum::<u64>(), 0, "{stats:?}");
    eventually("the members' slots are free", || ring.stats().unwrap().consumers.len() == 1);
}

#[test]
fn a_stopped_members_record_is_not_given_away() {
    // Goal: a member that is stopped is alive: its record waits for it. Method: SIGSTOP with a record in hand; then kill.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
    let mut actor = Actor::start("sharing::member", &[("path", &path.display()), ("count", &0)]);
    actor.expect("here");
    let mut producer = ring.producer().unwrap();
    producer.push(&record(0, 0, 100)).unwrap();
    actor.expect("held");
    actor.stop();
    let mut member = ring.group("workers").unwrap();
    assert!(member.poll_timeout(Duration::from_millis(200)).unwrap().is_none());
    actor.kill();
    assert!(soon(&mut member).is_redelivered());
}

#[test]
fn a_member_that_comes_too_late_takes_no_payload_for_a_header() {
    // Goal: a member that looks where another has just taken a record, and producers have written since, neither takes what stands there
    // for a frame nor calls the ring corrupt. Method: payload full of headers of the lap before, far too long; members that race.
    const CAPACITY: u64 = 4096;
    let ring = RingOptions::new().capacity(CAPACITY).wait(Wait::Spin).anonymous().unwrap();
    drop(ring.group_with("g", ConsumerOptions::new().durable()).unwrap());
    let members: Vec<_> = (0..3)
        .map(|_| {
            let ring = ring.clone();
            std::thread::spawn(move || {
                let mut member = ring.group("g").unwrap();
                let mut n = 0u64;
                loop {
                    match member.try_poll() {
                        Ok(Some(delivery)) => {
                            assert_eq!(delivery.len(), PAYLOAD);
                            n += 1;
                        }
                        Ok(None) => std::hint::spin_loop(),
                        Err(PollError::Closed) => return n,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    const PAYLOAD: usize = 480;
    let mut producer = ring.producer().unwrap();
    let start = std::time::Instant::now();
    let (mut next, mut pushed) = (0, 0u64);
    while start.elapsed() < Duration::from_secs(2) {
        let mut payload = [0u8; PAYLOAD];
        for (at, words) in (0u64..).step_by(16).zip(payload.chunks_exact_mut(16)) {
            // Behind the frame's header and metadata; DATA of the lap before, as long as can be said.
            let lap = ((next + 32 + at) / CAPACITY).wrapping_sub(1) & 0xffff;
            let forged = u64::from(u32::MAX) | 2 << 32 | lap << 48;
            words[..8].copy_from_slice(&forged.to_le_bytes());
        }
        next = producer.push(&payload).unwrap() + 32 + PAYLOAD as u64;
        pushed += 1;
    }
    drop(producer);
    let delivered: u64 = members.into_iter().map(|member| member.join().unwrap()).sum();
    assert_eq!(delivered, pushed);
}
