//! Dying: group members, consumers and producers that end at a named place of the protocol, and what those find who come next.
//!
//! The library's feature `killpoints` has the places; a role arms one and goes on until it is killed.

use crate::harness::{Actor, Next, PATIENCE, Script, alone, directory, eventually, fork, listen, say};
use crate::records::{check_bytes, record};
use shm_ring::killpoints::{Point, Signal, arm};
use shm_ring::{ConsumerOptions, Error, Member, PollError, Ring, RingOptions, Start};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

static TALLY: AtomicU64 = AtomicU64::new(0);

/// Plays `role` with `point` armed for its `nth` time, and waits for its end; whether it came so far.
fn dies(role: &'static str, path: &Path, name: &str, point: Point, nth: u64) -> bool {
    let number = point as u16;
    let mut actor =
        Actor::start(role, &[("path", &path.display()), ("name", &name), ("point", &number), ("nth", &nth)]);
    let said: Vec<_> = actor.last_words().collect();
    actor.kill();
    said != ["survived"]
}

fn arm_as_told() {
    let point = Point::ALL[Script::number("point") as usize];
    arm(point, Script::number("nth"), Signal::Kill, &TALLY);
}

pub(crate) fn joins_a_group() {
    let ring = Ring::open(Script::path()).unwrap();
    arm_as_told();
    let _member = ring.group(&Script::text("name")).unwrap();
    say("survived");
}

pub(crate) fn takes_a_name() {
    let ring = Ring::open(Script::path()).unwrap();
    arm_as_told();
    let _consumer = ring.consumer(&Script::text("name")).unwrap();
    say("survived");
}

pub(crate) fn works() {
    let ring = Ring::open(Script::path()).unwrap();
    arm_as_told();
    let mut member = ring.group(&Script::text("name")).unwrap();
    for _ in 0..3 {
        let delivery = member.poll_timeout(Duration::from_millis(20)).unwrap();
        drop(delivery);
    }
    drop(member);
    say("survived");
}

pub(crate) fn holds() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut member = ring.group(&Script::text("name")).unwrap();
    let _held = member.poll().unwrap();
    say("held");
    listen();
}

pub(crate) fn seeks() {
    let ring = Ring::open(Script::path()).unwrap();
    let durable = ConsumerOptions::new().durable();
    let mut consumer = ring.consumer_with("c", durable).unwrap();
    while consumer.try_poll().unwrap().is_some() {}
    consumer.release();
    say(&consumer.position().to_string());
    let back = listen().parse().unwrap();
    arm_as_told();
    consumer.seek(Start::At(back)).unwrap();
    say("survived");
}

/// Attaches by a thread of the test, which waits for nobody for ever.
fn soon(member: &mut Member) -> (u64, bool) {
    let delivery = member.poll_timeout(PATIENCE).unwrap().expect("a record, within the watchdog's time");
    let n = delivery.info().sequence.unwrap();
    check_bytes(&delivery, 0, n);
    (n, delivery.is_redelivered())
}

#[test]
fn a_member_that_dies_before_it_is_one_makes_no_second_group() {
    // Goal: a name stays a group's, and one group's, when somebody dies with that name half way into a slot. Method: kill behind the name,
    // in front of the group's slot; free a slot before that one; come as a consumer and as a member.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    let first = ring.group("other").unwrap();
    let gone = ring.group("g").unwrap();
    let mut member = ring.group("g").unwrap();
    drop(gone);
    assert!(dies("dying::joins_a_group", &path, "g", Point::NameStored, 1));
    drop(first);
    let refused = ring.consumer("g");
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    let mut second = ring.group("g").unwrap();
    producer.push(&record(0, 0, 100)).unwrap();
    assert_eq!(soon(&mut second), (0, false));
    assert!(member.try_poll().unwrap().is_none(), "it came twice");
}

#[test]
fn a_slot_of_a_member_that_died_while_it_joined_is_as_good_as_new() {
    // Goal: who gets that slot next has a name, and what it holds when it dies is delivered. Method: kill where the slot is marked as a
    // member's; a consumer and a member come after it.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    assert!(dies("dying::joins_a_group", &path, "g", Point::GroupMember, 1));
    let consumer = ring.consumer("c").unwrap();
    assert!(ring.stats().unwrap().consumers.iter().any(|c| c.name == "c"));
    assert!(matches!(ring.consumer("c"), Err(Error::Busy { .. })));
    drop(consumer);

    assert!(dies("dying::joins_a_group", &path, "g", Point::GroupMember, 1));
    let mut actor = Actor::start("dying::holds", &[("path", &path.display()), ("name", &"g")]);
    producer.push(&record(0, 0, 100)).unwrap();
    actor.expect("held");
    let mut member = ring.group("g").unwrap();
    actor.kill();
    assert!(ring.repair().unwrap());
    let other = ring.consumer("other").unwrap();
    assert_eq!(soon(&mut member), (0, true));
    drop(other);
}

#[test]
fn a_slot_that_was_a_groups_is_a_consumers_also_if_that_dies() {
    // Goal: a consumer that died when it had just got a group's old slot can come back. Method: a group that is away and lapped, no other
    // slot; kill behind the name.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(4096).consumers_max(2).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    drop(ring.group("g").unwrap());
    let mut other = ring.consumer_with("other", ConsumerOptions::new().start(Start::Now)).unwrap();
    for _ in 0..200 {
        producer.push(&[1; 100]).unwrap();
        drop(other.soon());
        other.release();
    }
    assert!(dies("dying::takes_a_name", &path, "c", Point::NameStored, 1));
    drop(ring.consumer("c").unwrap());
}

#[test]
fn dead_members_slots_are_there_for_consumers() {
    // Goal: no slot that only the dead have is missing to who attaches. Method: a member in the last free slot is killed; a consumer comes.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(4096).consumers_max(2).create(&path).unwrap();
    assert!(dies("dying::works", &path, "g", Point::GroupJoined, 1));
    drop(ring.consumer("c").unwrap());
}

#[test]
fn a_durable_name_that_dies_while_it_seeks_back_goes_on_where_it_can() {
    // Goal: a name that was killed between its older position and the look whether that is still there gets every record from there, or
    // from where it stood, and nobody is stuck. Method: kill at both places; write over the older position; come back.
    for point in [Point::JoinStored, Point::JoinMoves] {
        let directory = directory();
        let path = directory.path().join("ring");
        let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
        let mut producer = ring.producer().unwrap();
        let back = producer.push(&record(0, 0, 100)).unwrap();
        let mut pushed = 1;
        let mut actor = Actor::start(
            "dying::seeks",
            &[("path", &path.display()), ("point", &(point as u16)), ("nth", &1)],
        );
        let mut stands = actor.hear().parse::<u64>().unwrap();
        while stands < 15 << 10 {
            // Another reader of the name's place: it follows until the ring is nearly full once.
            stands = producer.push(&record(0, pushed, 100)).unwrap();
            pushed += 1;
        }
        actor.tell(&back.to_string());
        let words: Vec<_> = actor.last_words().collect();
        assert!(words.is_empty() || point == Point::JoinMoves, "{words:?}");
        actor.kill();
        while pushed < 400 && producer.try_push(&record(0, pushed, 100)).is_ok() {
            pushed += 1;
        }
        let mut consumer = ring.consumer_with("c", ConsumerOptions::new().durable()).unwrap();
        let mut next = None;
        while let Some(frame) = consumer.poll_timeout(Duration::from_millis(100)).unwrap() {
            let n = frame.sequence().unwrap();
            assert!(next.is_none_or(|next| next == n), "{n} behind {next:?}");
            check_bytes(&frame, 0, n);
            next = Some(n + 1);
        }
        assert_eq!(next, Some(pushed), "{point:?}");
        producer.try_push(&record(0, pushed, 100)).unwrap();
    }
}

#[test]
fn members_die_anywhere() {
    // Goal: wherever a member dies, others get every record, once more at most what it had; no slot is lost; the group stays a group.
    // Method: kill one that joins, adopts a dead one's record, works and leaves, at every place, first and second time that it comes by.
    let mut deaths = 0;
    for (point, nth) in Point::ALL.iter().flat_map(|point| [(*point, 1), (*point, 2)]) {
        for lonely in [false, true] {
            let directory = directory();
            let path = directory.path().join("ring");
            let ring = RingOptions::new().capacity(16 << 10).consumers_max(4).create(&path).unwrap();
            let mut producer = ring.producer().unwrap();
            let mut actor = Actor::start("dying::holds", &[("path", &path.display()), ("name", &"g")]);
            for n in 0..3 {
                producer.push(&record(0, n, 100)).unwrap();
            }
            drop(producer.claim(100).unwrap());
            producer.push(&record(0, 3, 100)).unwrap();
            actor.expect("held");
            let survivor = (!lonely).then(|| ring.group("g").unwrap());
            actor.kill();
            if !dies("dying::works", &path, "g", point, nth) {
                break;
            }
            deaths += 1;
            let what = format!("{point:?} {nth} {lonely}");
            let mut member = survivor.unwrap_or_else(|| ring.group("g").expect(&what));
            let mut seen = BTreeMap::new();
            producer.push(&record(0, 4, 100)).unwrap();
            while !seen.contains_key(&4) {
                *seen.entry(soon(&mut member).0).or_insert(0) += 1;
            }
            // A dead member's slot is taken over by a living one that looks, which may take longer than one poll on a busy machine.
            eventually(&what, || {
                while let Some(late) = member.poll_timeout(Duration::from_millis(5)).unwrap() {
                    *seen.entry(late.info().sequence.unwrap()).or_insert(0) += 1;
                }
                ring.repair().unwrap();
                ring.stats().unwrap().consumers.len() == 2
            });
            assert!(seen.values().all(|times| *times <= 2), "{what}: {seen:?}");
            let oldest = *seen.keys().next().unwrap();
            assert_eq!(seen.len() as u64, 5 - oldest, "{what}: {seen:?}");
            assert!(matches!(ring.consumer("g"), Err(Error::Invalid { .. })), "{what}");
            let others = [ring.consumer("a").expect(&what), ring.consumer("b").expect(&what)];
            drop((others, member));
            for n in 5..500 {
                producer.try_push(&record(0, n, 100)).expect(&what);
            }
        }
    }
    assert!(deaths > 30, "{deaths}");
}

pub(crate) fn drops() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut producer = ring.producer().unwrap();
    producer.count_dropped(5);
    arm_as_told();
    producer.push(b"after").unwrap();
    say("survived");
}

pub(crate) fn drops_a_poisoned_member() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut member = ring.group("g").unwrap();
    assert!(matches!(member.try_poll(), Err(PollError::Corrupt { .. })));
    fork(|| drop(member)).finish();
    say("survived");
}

pub(crate) fn stops() {
    let ring = Ring::open(Script::path()).unwrap();
    arm(Point::ReapRepair, 1, Signal::Stop, &TALLY);
    ring.repair().unwrap();
}

pub(crate) fn waits() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut member = ring.group("g").unwrap();
    say("here");
    listen();
    let before = cpu_time();
    assert!(member.poll_timeout(Duration::from_secs(1)).unwrap().is_none());
    say(&(cpu_time() - before).as_millis().to_string());
    assert!(member.poll_timeout(PATIENCE).unwrap().unwrap().is_redelivered());
    say("done");
}

fn cpu_time() -> Duration {
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let time =
        |value: nix::sys::time::TimeVal| Duration::new(value.tv_sec() as u64, value.tv_usec() as u32 * 1000);
    time(used.user_time()) + time(used.system_time())
}

#[test]
fn what_was_dropped_is_told_once_wherever_the_producer_dies() {
    // Goal: five records that a producer dropped are counted, once, whoever tells of them. Method: kill the one that tells, at every place;
    // another takes over its slot and pushes.
    let mut deaths = 0;
    for point in Point::ALL {
        let directory = directory();
        let path = directory.path().join("ring");
        let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
        let mut consumer = ring.consumer("c").unwrap();
        let mut observer = ring.observer().unwrap();
        if !dies("dying::drops", &path, "", *point, 1) {
            continue;
        }
        deaths += 1;
        ring.producer().unwrap().push(b"end").unwrap();
        while &*consumer.soon() != b"end" {}
        while observer.soon().1 != b"end" {}
        for losses in [consumer.lost(), observer.lost()] {
            assert_eq!(losses.iter().map(|loss| loss.dropped_records).sum::<u64>(), 5, "{point:?}");
        }
    }
    assert!(deaths > 8, "{deaths}");
}

#[test]
fn a_poisoned_member_may_be_dropped_in_a_forked_child() {
    // Goal: the child, which does not have the mapping, ends well. Method: a header of garbage, so that the member reads no more; fork.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
    ring.producer().unwrap().push(&[0; 10]).unwrap();
    let data_offset = std::fs::metadata(&path).unwrap().len() - (16 << 10);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4], data_offset).unwrap();
    alone("dying::drops_a_poisoned_member", &[("path", &path.display())]);
}

#[test]
fn who_waits_for_a_dead_ones_record_sleeps_while_it_can_not_be_had() {
    // Goal: a member that sees a dead one's record, while somebody who is stopped has byte 0, uses no processor time, and gets it when that
    // one goes on. Method: bury a member; stop a process that repairs; processor time of one that waits.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
    ring.producer().unwrap().push(&record(0, 0, 100)).unwrap();
    let mut holder = Actor::start("dying::holds", &[("path", &path.display()), ("name", &"g")]);
    holder.expect("held");
    let mut waiter = Actor::start("dying::waits", &[("path", &path.display())]);
    waiter.expect("here");
    holder.kill();
    assert!(ring.repair().unwrap());
    let stopped = Actor::start("dying::stops", &[("path", &path.display())]);
    eventually("it has byte 0", || ring.stats().unwrap().repairing.is_some());
    waiter.tell("go");
    let used_ms = waiter.expect_number("");
    assert!(used_ms < 300, "{used_ms} ms of processor time in a second");
    stopped.go_on();
    waiter.expect("done");
}

pub(crate) fn starves() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let ring = Ring::open(Script::path()).unwrap();
    let mut member = ring.group("g").unwrap();
    say("here");
    listen();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    assert!(member.poll_timeout(Duration::from_millis(50)).unwrap().is_none());
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert!(member.poll_timeout(PATIENCE).unwrap().expect("the dead one's").is_redelivered());
    say("done");
}

#[test]
fn a_dead_ones_record_waits_for_descriptors() {
    // Goal: a member that has no descriptor left for a dead one's slot gets the record as soon as it has. Method: bury a member; a limit of
    // no descriptors, for a while.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
    ring.producer().unwrap().push(&record(0, 0, 100)).unwrap();
    let mut holder = Actor::start("dying::holds", &[("path", &path.display()), ("name", &"g")]);
    holder.expect("held");
    let mut heir = Actor::start("dying::starves", &[("path", &path.display())]);
    heir.expect("here");
    holder.kill();
    assert!(ring.repair().unwrap());
    heir.tell("go");
    heir.expect("done");
}

pub(crate) fn stops_while_it_leaves() {
    let ring = Ring::open(Script::path()).unwrap();
    let member = ring.group("g").unwrap();
    say("here");
    listen();
    arm(Point::ALL[Script::number("point") as usize], 1, Signal::Stop, &TALLY);
    drop(member);
    say("left");
}

#[test]
fn a_member_may_join_while_another_leaves() {
    // Goal: whoever joins finds the group, wherever somebody who leaves it is, in a slot before the group's. Method: stop one at each place.
    for point in [Point::GroupFreed, Point::GroupNameless, Point::GroupUnmarked] {
        let directory = directory();
        let path = directory.path().join("ring");
        let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
        let number = point as u16;
        let mut leaver =
            Actor::start("dying::stops_while_it_leaves", &[("path", &path.display()), ("point", &number)]);
        leaver.expect("here");
        let mut stays = ring.group("g").unwrap();
        leaver.tell("go");
        eventually("it has stopped", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", leaver.pid())).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T')
        });
        let mut joins = ring.group("g").unwrap();
        ring.producer().unwrap().push(&record(0, 0, 10)).unwrap();
        assert_eq!(soon(&mut joins), (0, false));
        assert!(stays.try_poll().unwrap().is_none());
        leaver.go_on();
        leaver.expect("left");
        assert_eq!(ring.stats().unwrap().consumers.len(), 3, "{point:?}");
    }
}
