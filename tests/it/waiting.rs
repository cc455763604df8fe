//! Waiting: who waits is woken, in time, and costs nothing meanwhile.

use crate::harness::{Actor, Next, PATIENCE, Script, WAITS, directory, listen, say};
use crate::records::{check_bytes, record};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use shm_ring::{ClaimError, Ring, RingOptions, Start, Wait};
use std::time::{Duration, Instant};

/// Longer than any scheduling delay that is not a failure.
const LATE: Duration = Duration::from_secs(5);

#[test]
fn a_blocked_consumer_wakes_up() {
    // Goal: whoever waits for a record gets it, whichever way it waits. Method: a process polls an empty ring; a record comes later.
    for wait in WAITS {
        let (_directory, ring) = file_ring(64 << 10);
        let mut actor = start("waiting::consumer", &ring, wait);
        actor.expect("polling");
        settle(&actor, wait);
        let mut producer = ring.producer().unwrap();
        for n in 0..10 {
            producer.push(&record(0, n, 100)).unwrap();
            assert_eq!(actor.expect_number("got"), n, "{wait:?}");
        }
        actor.finish();
    }
}

pub(crate) fn consumer() {
    let ring = RingOptions::new().wait(Script::wait()).open(Script::path()).unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    say("polling");
    for n in 0..10 {
        let frame = consumer.poll().unwrap();
        check_bytes(&frame, 0, n);
        say(&format!("got {n}"));
    }
}

#[test]
fn a_blocked_producer_wakes_up() {
    // Goal: whoever waits for room gets it when a consumer makes some, and not before. Method: a process pushes into a full ring.
    for wait in WAITS {
        let (_directory, ring) = file_ring(4096);
        let mut consumer = ring.consumer("c").unwrap();
        let mut producer = ring.producer().unwrap();
        let mut n = 0;
        while producer.try_push(&record(0, n, 500)).is_ok() {
            n += 1;
        }
        let mut actor = start("waiting::producer", &ring, wait);
        actor.expect("pushing");
        settle(&actor, wait);
        assert_eq!(actor.hear_within(Duration::from_millis(20)), None, "{wait:?}: there was no room");
        for n in 0..n {
            check_bytes(&consumer.soon(), 0, n);
        }
        consumer.release();
        actor.expect("pushed");
        check_bytes(&consumer.soon(), 9, 9);
        actor.finish();
        let stats = ring.stats().unwrap();
        assert_eq!(stats.producers.iter().map(|p| p.waited).collect::<Vec<_>>(), [0, 1]);
    }
}

pub(crate) fn producer() {
    let ring = RingOptions::new().wait(Script::wait()).open(Script::path()).unwrap();
    let mut producer = ring.producer().unwrap();
    say("pushing");
    producer.push(&record(9, 9, 1000)).unwrap();
    say("pushed");
}

#[test]
fn partners_wake_each_other_every_time() {
    // Goal: no wake-up is lost: a sleep that nobody ends would last 100 ms. Method: 300 round trips between two sleepers, in the ways
    // that sleep; the median is far below that.
    for wait in [Wait::Block, Wait::Adaptive] {
        let (_directory, there) = file_ring(4096);
        let (_directory, back) = file_ring(4096);
        let (to, from) = (there.path().unwrap().display(), back.path().unwrap().display());
        let shown = format!("{wait:?}");
        let mut actor = Actor::start("waiting::echo", &[("path", &to), ("back", &from), ("wait", &shown)]);
        actor.expect("ready");
        let back = RingOptions::new().wait(wait).open(back.path().unwrap()).unwrap();
        let mut consumer = back.consumer("c").unwrap();
        let mut producer = there.producer().unwrap();
        let mut trips: Vec<_> = (0..300u64)
            .map(|n| {
                let start = Instant::now();
                producer.push(&n.to_le_bytes()).unwrap();
                assert_eq!(&*consumer.soon(), &n.to_le_bytes());
                start.elapsed()
            })
            .collect();
        actor.finish();
        trips.sort_unstable();
        assert!(trips[150] < Duration::from_millis(40), "{wait:?}: median round trip {:?}", trips[150]);
    }
}

pub(crate) fn echo() {
    let open = |key: &str| RingOptions::new().wait(Script::wait()).open(Script::text(key)).unwrap();
    let (there, back) = (open("path"), open("back"));
    let (mut consumer, mut producer) = (there.consumer("c").unwrap(), back.producer().unwrap());
    say("ready");
    for _ in 0..300 {
        producer.push(&consumer.soon()).unwrap();
    }
}

#[test]
fn sleepers_wake_together() {
    // Goal: one commit wakes everybody who waits for it, and producers and consumers that sleep on the same ring don't mix up.
    // Method: six processes sleep on one ring; each record must reach all of them before the next is pushed.
    let (_directory, ring) = file_ring(64 << 10);
    let path = ring.path().unwrap().display();
    let mut actors: Vec<_> = (0..6)
        .map(|n| Actor::start("waiting::sleeper", &[("path", &path), ("name", &format!("c{n}"))]))
        .collect();
    for actor in &mut actors {
        actor.expect("ready");
    }
    let mut producer = ring.producer().unwrap();
    let start = Instant::now();
    for n in 0..100u64 {
        producer.push(&n.to_le_bytes()).unwrap();
        for actor in &mut actors {
            assert_eq!(actor.expect_number("got"), n);
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "as slow as if nobody was woken: {:?}",
        start.elapsed()
    );
    actors.into_iter().for_each(Actor::finish);
}

pub(crate) fn sleeper() {
    let ring = RingOptions::new().wait(Wait::Block).open(Script::path()).unwrap();
    let mut consumer = ring.consumer(&Script::text("name")).unwrap();
    say("ready");
    for _ in 0..100 {
        let frame = consumer.poll().unwrap();
        say(&format!("got {}", u64::from_le_bytes(frame[..].try_into().unwrap())));
    }
}

#[test]
fn timeouts_are_kept() {
    // Goal: a wait with a timeout ends after it, never before, and not much later; zero means at once.
    // Method: all ways to wait, readers of an empty ring and producers of a full one.
    for wait in WAITS {
        for anonymous in [false, true] {
            let directory = directory();
            let options = RingOptions::new().capacity(4096).wait(wait);
            let ring =
                if anonymous { options.anonymous() } else { options.create(directory.path().join("ring")) };
            let ring = ring.unwrap();
            let mut producer = ring.producer().unwrap();
            let (mut consumer, mut observer) = (ring.consumer("c").unwrap(), ring.observer().unwrap());
            for timeout in [0, 1, 60].map(Duration::from_millis) {
                lasts(timeout, || assert!(consumer.poll_timeout(timeout).unwrap().is_none()));
                lasts(timeout, || {
                    assert!(observer.next_timeout(&mut Vec::new(), timeout).unwrap().is_none());
                });
            }
            while producer.try_push(&[1; 500]).is_ok() {}
            for timeout in [0, 1, 60].map(Duration::from_millis) {
                lasts(timeout, || {
                    let refused = producer.claim_timeout(500, timeout).unwrap_err();
                    assert!(matches!(refused, ClaimError::Full { needed_bytes: 544, free_bytes: 0..544 }));
                });
                lasts(timeout, || {
                    let refused = producer.push_timeout(&[1; 500], timeout).unwrap_err();
                    assert!(matches!(refused, ClaimError::Full { .. }));
                });
            }
            // A time that no clock can hold is no time-out at all.
            assert_eq!(consumer.poll_timeout(Duration::MAX).unwrap().unwrap().len(), 500);
            assert!(observer.next_timeout(&mut Vec::new(), Duration::MAX).unwrap().is_some());
            consumer.drain(100, |_| {}).unwrap();
            consumer.release();
            producer.push_timeout(&[2; 500], Duration::MAX).unwrap();
        }
    }
}

fn lasts(timeout: Duration, mut wait: impl FnMut()) {
    let start = Instant::now();
    wait();
    let took = start.elapsed();
    assert!(took >= timeout && took < timeout + LATE, "{timeout:?} took {took:?}");
}

#[test]
fn who_sleeps_uses_no_processor() {
    // Goal: waiting is free: less than 20 ms of processor time in a second. Method: processes that wait for a second and ask the kernel;
    // or, where others take the processor away, do so at the second or third time.
    for wait in [Wait::Block, Wait::Adaptive] {
        let mut used = vec![];
        while used.len() < 3 && used.last().is_none_or(|(_, used_us)| *used_us >= 20_000) {
            used.push(most_used_by_sleepers(wait));
        }
        assert!(
            used.last().is_some_and(|(_, used_us)| *used_us < 20_000),
            "{wait:?}: {used:?} us in a second"
        );
    }
}

fn most_used_by_sleepers(wait: Wait) -> (&'static str, u64) {
    let (_directory, ring) = file_ring(4096);
    // In everybody's way for the whole time.
    let _consumer = ring.consumer("idle").unwrap();
    let mut producer = ring.producer().unwrap();
    let mut actors = vec![];
    for what in ["anonymous", "empty", "observer"] {
        actors.push((what, start_idle(what, &ring, wait)));
    }
    for (_, actor) in &mut actors {
        actor.expect("ready");
    }
    while producer.try_push(&[1; 500]).is_ok() {}
    actors.push(("full", start_idle("full", &ring, wait)));
    actors.last_mut().unwrap().1.expect("ready");
    for (_, actor) in &mut actors {
        actor.tell("go");
    }
    let used = actors.into_iter().map(|(what, mut actor)| {
        let used_us = actor.expect_number("used");
        actor.finish();
        (what, used_us)
    });
    used.max_by_key(|(_, used_us)| *used_us).unwrap()
}

fn start_idle(what: &str, ring: &Ring, wait: Wait) -> Actor {
    let (path, wait) = (ring.path().unwrap().display(), format!("{wait:?}"));
    Actor::start("waiting::idle", &[("path", &path), ("wait", &wait), ("what", &what)])
}

pub(crate) fn idle() {
    let second = Duration::from_secs(1);
    let options = RingOptions::new().capacity(4096).wait(Script::wait());
    let ring = options.open(Script::path()).unwrap();
    let ready = || {
        say("ready");
        listen();
        processor_time_us()
    };
    let before = match Script::text("what").as_str() {
        "anonymous" => {
            let ring = options.anonymous().unwrap();
            let (_producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
            let before = ready();
            assert!(consumer.poll_timeout(second).unwrap().is_none());
            before
        }
        "empty" => {
            let directory = directory();
            let ring = options.create(directory.path().join("ring")).unwrap();
            let mut consumer = ring.consumer("c").unwrap();
            let before = ready();
            assert!(consumer.poll_timeout(second).unwrap().is_none());
            before
        }
        "observer" => {
            let directory = directory();
            let mut observer = options.create(directory.path().join("ring")).unwrap().observer().unwrap();
            let before = ready();
            assert!(observer.next_timeout(&mut Vec::new(), second).unwrap().is_none());
            before
        }
        _ => {
            let mut producer = ring.producer().unwrap();
            let before = ready();
            assert!(matches!(producer.claim_timeout(500, second), Err(ClaimError::Full { .. })));
            before
        }
    };
    say(&format!("used {}", processor_time_us() - before));
}

fn processor_time_us() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    (usage.user_time() + usage.system_time()).num_microseconds()
}

fn start(role: &'static str, ring: &Ring, wait: Wait) -> Actor {
    let (path, wait) = (ring.path().unwrap().display(), format!("{wait:?}"));
    Actor::start(role, &[("path", &path), ("wait", &wait)])
}

/// Lets it get to where it waits.
fn settle(actor: &Actor, wait: Wait) {
    if matches!(wait, Wait::Block | Wait::Adaptive) {
        actor.wait_until_asleep();
    }
}

fn file_ring(capacity: u64) -> (tempfile::TempDir, Ring) {
    let directory = directory();
    let ring = RingOptions::new().capacity(capacity).create(directory.path().join("ring")).unwrap();
    (directory, ring)
}

#[test]
fn a_stopped_producer_is_waited_for() {
    // Goal: a process that is stopped in the middle of a claim is alive: nothing is taken from it, and what it then commits arrives.
    // Method: SIGSTOP behind its claim; the consumer waits, others push on; SIGCONT.
    let (_directory, ring) = file_ring(4096);
    let path = ring.path().unwrap().display();
    let mut consumer = ring.consumer("c").unwrap();
    let mut actor = Actor::start("waiting::claimer", &[("path", &path)]);
    actor.expect("claimed");
    actor.stop();
    let mut other = ring.producer().unwrap();
    other.push(&record(1, 1, 100)).unwrap();
    assert!(consumer.poll_timeout(Duration::from_millis(300)).unwrap().is_none());
    while other.try_push(&record(1, 2, 500)).is_ok() {}
    let refused = other.push_timeout(&[0; 500], Duration::from_millis(100));
    assert!(matches!(refused, Err(ClaimError::Full { .. })), "its claim is not given away");
    let stats = ring.stats().unwrap();
    assert!(stats.producers[0].alive && stats.producers[0].pid == actor.pid());
    let claim = stats.producers[0].claim.expect("it is open");
    let stalled = consumer.stalled().expect("somebody alive is in the way");
    assert_eq!((stalled.producer, stalled.pid, stalled.position), (0, actor.pid(), claim.position));
    assert!(stalled.waited >= Duration::from_millis(200), "{stalled:?}");
    let mut observer = ring.observer().unwrap();
    observer.seek(Start::At(claim.position)).unwrap();
    assert_eq!(observer.stalled().map(|stalled| stalled.pid), Some(actor.pid()));
    actor.go_on();
    actor.tell("commit");
    actor.expect("committed");
    check_bytes(&consumer.soon(), 0, 7);
    check_bytes(&consumer.soon(), 1, 1);
    assert_eq!((consumer.lost_records(), ring.stats().unwrap().lost_records), (0, 0));
    assert_eq!(consumer.stalled(), None);
    actor.finish();
}

pub(crate) fn claimer() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut claim = producer.claim(300).unwrap();
    claim.copy_from_slice(&record(0, 7, 300));
    say("claimed");
    listen();
    claim.commit();
    say("committed");
}

#[test]
fn a_claim_of_a_dead_producer_is_no_obstacle_whoever_looks() {
    // Goal: a death in the middle of a claim holds up nobody, whichever call a reader uses, and although nobody else is there.
    // Method: a process is killed behind its claim and a record lies behind it; each kind of call must reach that record.
    type Look = fn(&Ring) -> bool;
    let looks: [(&str, Look); 5] = [
        ("poll_timeout", |ring| ring.consumer("c").unwrap().poll_timeout(PATIENCE).unwrap().is_some()),
        ("try_poll", |ring| {
            let mut consumer = ring.consumer("c").unwrap();
            within(|| consumer.try_poll().unwrap().is_some())
        }),
        ("drain", |ring| {
            let mut consumer = ring.consumer("c").unwrap();
            within(|| consumer.drain(10, |_| {}).unwrap() > 0)
        }),
        ("next_timeout", |ring| {
            let mut observer = ring.observer().unwrap();
            observer.seek(Start::Oldest).unwrap();
            observer.next_timeout(&mut Vec::new(), PATIENCE).unwrap().is_some()
        }),
        ("try_next", |ring| {
            let mut observer = ring.observer().unwrap();
            observer.seek(Start::Oldest).unwrap();
            within(|| observer.try_next(&mut Vec::new()).unwrap().is_some())
        }),
    ];
    let stuck: Vec<_> = looks.into_iter().filter(|(_, look)| !past_a_dead_claim(*look)).collect();
    let stuck: Vec<_> = stuck.into_iter().map(|(name, _)| name).collect();
    assert!(stuck.is_empty(), "held up by a dead producer's claim for ever: {stuck:?}");
}

fn past_a_dead_claim(look: fn(&Ring) -> bool) -> bool {
    let (_directory, ring) = file_ring(4096);
    let path = ring.path().unwrap().display();
    let mut actor = Actor::start("waiting::claimer", &[("path", &path)]);
    actor.expect("claimed");
    let mut producer = ring.producer().unwrap();
    producer.push(&record(1, 1, 100)).unwrap();
    actor.kill();
    look(&ring)
}

/// Whether it comes true in a time that is long for a machine.
fn within(mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    false
}
