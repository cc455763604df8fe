//! Liveness: who lives is seen alive, by everybody, and nobody's slot is taken for another's.

use crate::harness::{Actor, Next, Script, alone, directory, fork, listen, say};
use shm_ring::{ClaimError, Consumer, Error, PollError, Producer, Ring, RingOptions, Stats};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

#[test]
fn producers_of_clones_are_all_alive_to_everybody() {
    // Goal: handles of one process never take each other for dead, though they share a file, and other processes see them alive.
    // Method: ten producers from clones of one ring, each probed by this process, by another one and by an observer; then drop one by
    // one: exactly that slot is free.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let mut producers: Vec<_> = (0..10).map(|_| Some(ring.clone().producer().unwrap())).collect();
    let mut other = Actor::start("liveness::prober", &[("path", &path.display())]);
    let mut observer = Ring::open_observer(&path).unwrap();
    let mut alive = [true; 10];
    for dropped in [None, Some(3), Some(9), Some(0), Some(5)] {
        if let Some(slot) = dropped {
            drop(producers[slot].take());
            alive[slot] = false;
        }
        assert_eq!(alive_producers(&ring.stats().unwrap()), alive);
        assert_eq!(alive_producers(&observer.stats().unwrap()), alive);
        other.tell("look");
        assert_eq!(other.expect("alive"), format!("{alive:?}"));
        // Looking took nothing away.
        for producer in producers.iter_mut().flatten() {
            producer.push(&producer.slot().to_le_bytes()).unwrap();
            assert_eq!(observer.soon().0.producer, producer.slot());
        }
    }
    // The free slots are given out again, the lowest first; the others stay where they are.
    let again: Vec<_> = (0..5).map(|_| ring.producer().unwrap()).collect();
    assert_eq!(again.iter().map(Producer::slot).collect::<Vec<_>>(), [0, 3, 5, 9, 10]);
    assert_eq!(alive_producers(&ring.stats().unwrap()), [true; 11]);
    other.finish();
}

pub(crate) fn prober() {
    let ring = Ring::open(Script::path()).unwrap();
    loop {
        listen();
        // Attaching and opening sweep dead slots; none of these is dead.
        let _consumer = ring.consumer("prober").unwrap();
        let stats = Ring::open(Script::path()).unwrap().stats().unwrap();
        say(&format!("alive {:?}", alive_producers(&stats)));
        if stats.producers.iter().filter(|p| p.alive).count() == 6 {
            break;
        }
    }
}

#[test]
fn who_is_idle_holds_nothing() {
    // Goal: a producer that claims nothing holds nobody back, whatever bytes stand where its last record was.
    // Method: its header is overwritten, a lap later, by the last five bytes of a payload, which make an open claim of its own of it, with the
    // seal of its record behind; then another producer goes on for some laps.
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let (mut idle, mut busy) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer("reader").unwrap();
    assert_eq!((idle.push(&[1; 16]), idle.slot()), (Ok(0), 0));
    let mut push = |len: usize| {
        let pushed = busy.try_push(&vec![1; len]);
        while consumer.try_poll().unwrap().is_some() {}
        pushed
    };
    // Headers and metadata are 32 bytes, frames multiples of 16: the last one of the lap ends five bytes behind its end.
    let mut at = 48;
    while at < 4096 - 200 {
        assert_eq!(push(32), Ok(at));
        at += 64;
    }
    let over = 4096 + 5 - (at as usize + 32);
    assert_eq!(push(over), Ok(at));
    for n in 0..1_000 {
        assert!(push(64).is_ok(), "record {n}: {:?}", push(64));
    }
    drop(idle);
}

fn alive_producers(stats: &Stats) -> Vec<bool> {
    stats.producers.iter().map(|producer| producer.alive && producer.pid != 0).collect()
}

#[test]
fn threads_with_clones_work_side_by_side() {
    // Goal: clones of one ring can attach, work, ask and detach in many threads at once.
    // Method: eight threads do so a hundred times; the records of all arrive, no slot is left taken.
    let ring = RingOptions::new().capacity(1 << 20).anonymous().unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    // Or the ring would be closed for a moment, whenever nobody is attached.
    let one_more = ring.producer().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let ring = ring.clone();
            scope.spawn(move || {
                for n in 0..100u64 {
                    let mut producer = ring.producer().unwrap();
                    let slot = usize::from(producer.slot());
                    producer.push(&(thread << 32 | n).to_le_bytes()).unwrap();
                    assert!(ring.stats().unwrap().producers[slot].alive);
                    let other = ring.consumer(&format!("thread {thread}")).unwrap();
                    assert!(matches!(ring.consumer(other.name()), Err(Error::Busy { .. })));
                }
            });
        }
        let mut next = [0u64; 8];
        for _ in 0..800 {
            let frame = consumer.soon();
            let found = u64::from_le_bytes(frame[..].try_into().unwrap());
            let expected = &mut next[(found >> 32) as usize];
            assert_eq!(found & 0xffff_ffff, *expected);
            *expected += 1;
        }
    });
    drop(one_more);
    assert!(ring.stats().unwrap().producers.iter().all(|producer| !producer.alive));
}

#[test]
fn a_dropped_handle_is_free_at_once_while_commands_are_started() {
    // Goal: what was dropped is free, also when another thread is starting a command, whose process has all descriptors for a moment.
    // Method: a thread starts commands; attach and drop the same name and slot meanwhile: never busy.
    alone("liveness::spawner", &[]);
}

pub(crate) fn spawner() {
    let ring = RingOptions::new().capacity(4096).single_producer().anonymous().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                // Whatever it says: only that it is started matters.
                let _ = std::process::Command::new("/bin/true").status();
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let mut busy = None;
        let mut n = 0;
        while !is_over.load(Ordering::Relaxed) {
            n += 1;
            busy = busy.or(ring.consumer("c").err()).or(ring.producer().err());
        }
        assert!(busy.is_none(), "{busy:?} in one of {n} times");
    });
}

#[test]
fn a_slot_that_was_given_to_another_is_revoked() {
    // Goal: a process that closes descriptors which are not its own loses its slots, and is told so.
    // Method: another process closes its lock descriptors; take its name and its slot; what it then calls is refused.
    let (_directory, mut owner) = given_to_another();
    owner.actor.kill();
    owner.is_untouched();
}

#[test]
fn a_revoked_handle_leaves_without_a_trace() {
    // Goal: what it does at its end harms nobody who has its slots now. Method: the same; then it drops its handles.
    let (_directory, mut owner) = given_to_another();
    owner.actor.tell("leave");
    owner.actor.expect("left");
    owner.is_untouched();
}

/// Who has the slots now, and who had them.
struct NewOwner {
    ring: Ring,
    producer: Producer,
    consumer: Consumer,
    actor: Actor,
}

fn given_to_another() -> (TempDir, NewOwner) {
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let mut actor = Actor::start("liveness::careless", &[("path", &path.display())]);
    actor.expect("closed");
    let (producer, consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    assert_eq!((producer.slot(), consumer.slot()), (0, 0));
    actor.tell("use them");
    actor.expect("revoked");
    (directory, NewOwner { ring, producer, consumer, actor })
}

impl NewOwner {
    fn is_untouched(&mut self) {
        self.producer.push(b"of the new owner").unwrap();
        let stats = self.ring.stats().unwrap();
        assert_eq!((stats.producers[0].pid, stats.producers[0].alive), (std::process::id(), true));
        let shown = &stats.consumers[0];
        assert_eq!((shown.pid, shown.alive, shown.holds_space), (std::process::id(), true, true));
        assert_eq!(&*self.consumer.soon(), b"of the new owner");
    }
}

pub(crate) fn careless() {
    let path = Script::path();
    let ring = Ring::open(&path).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten() {
        let fd: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        if std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("lock:")) {
            // That it is not ours is the point.
            let _ = nix::unistd::close(fd);
        }
    }
    say("closed");
    listen();
    assert_eq!(producer.push(b"x"), Err(ClaimError::Revoked));
    assert_eq!(producer.try_claim(1).unwrap_err(), ClaimError::Revoked);
    assert_eq!(consumer.try_poll().unwrap_err(), PollError::Revoked);
    assert_eq!(consumer.poll().unwrap_err(), PollError::Revoked);
    say("revoked");
    listen();
    drop((producer, consumer));
    say("left");
}

#[test]
fn one_process_may_open_a_ring_twice() {
    // Goal: two openings of one file in one process are like two processes: neither takes the other for dead, nor takes what it has.
    // Method: attach through both, drop one opening altogether.
    let directory = directory();
    let path = directory.path().join("ring");
    let first = RingOptions::new().capacity(4096).create(&path).unwrap();
    let second = Ring::open(&path).unwrap();
    let (mut one, mut two) = (first.producer().unwrap(), second.producer().unwrap());
    let mut consumer = first.consumer("c").unwrap();
    assert!(matches!(second.consumer("c"), Err(Error::Busy { pid, .. }) if pid == std::process::id()));
    assert_eq!((one.slot(), two.slot()), (0, 1));
    drop(second);
    two.push(b"two").unwrap();
    one.push(b"one").unwrap();
    assert_eq!(&*consumer.soon(), b"two");
    drop(two);
    assert_eq!(alive_producers(&first.stats().unwrap()), [true, false]);
    drop(Ring::open(&path).unwrap());
    assert_eq!(alive_producers(&first.stats().unwrap()), [true, false]);
    assert_eq!(&*consumer.soon(), b"one");
}

#[test]
fn handles_outlive_their_ring() {
    // Goal: a handle keeps what it needs. Method: drop the ring first, then work, then drop the handles in every order.
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let mut observer = ring.observer().unwrap();
    drop(ring);
    producer.push(b"after").unwrap();
    assert_eq!(&*consumer.soon(), b"after");
    drop((producer, consumer));
    assert_eq!(observer.soon().1, b"after");
}

#[test]
fn a_death_in_another_pid_namespace_is_seen() {
    // Goal: liveness is no matter of pids: a producer that is pid 1 somewhere else is waited for while it lives, named, and reaped when it
    // is dead; and a consumer in there does the same for those outside. Method: a child in a new pid namespace, both ways.
    if !crate::harness::is_root_for("a_death_in_another_pid_namespace_is_seen") {
        return;
    }
    for inside in ["producer", "consumer"] {
        let directory = directory();
        let path = directory.path().join("ring");
        let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
        let params: [(&str, &dyn std::fmt::Display); 2] = [("path", &path.display()), ("inside", &inside)];
        let mut stranger = Actor::start("liveness::stranger", &params);
        if inside == "producer" {
            stranger.expect("claimed");
            let mut consumer = ring.consumer("c").unwrap();
            ring.producer().unwrap().push(b"behind").unwrap();
            assert!(consumer.poll_timeout(Duration::from_millis(50)).unwrap().is_none());
            let stalled = consumer.stalled().expect("its claim is in the way");
            assert_eq!((stalled.producer, stalled.pid), (0, 1));
            stranger.tell("kill");
            assert_eq!(&*consumer.soon(), b"behind");
            assert_eq!((consumer.lost()[0].producer, consumer.lost()[0].lost_claims), (0, 1));
        } else {
            let mut dying = Actor::start("waiting::claimer", &[("path", &path.display())]);
            dying.hear();
            ring.producer().unwrap().push(b"behind").unwrap();
            stranger.expect("here");
            assert!(stranger.hear_within(Duration::from_millis(50)).is_none());
            dying.kill();
            stranger.expect("behind");
            stranger.tell("kill");
        }
        stranger.finish();
    }
}

pub(crate) fn stranger() {
    let (path, is_producer) = (Script::path(), Script::text("inside") == "producer");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID).unwrap();
    let mut child = fork(|| {
        assert_eq!(std::process::id(), 1);
        let ring = Ring::open(&path).unwrap();
        if is_producer {
            let mut producer = ring.producer().unwrap();
            std::mem::forget(producer.claim(64).unwrap());
            say("claimed");
            std::thread::sleep(2 * crate::harness::PATIENCE);
        }
        let mut consumer = ring.consumer("c").unwrap();
        say("here");
        loop {
            let frame = consumer.soon();
            if &*frame == b"behind" {
                say("behind");
                std::thread::sleep(2 * crate::harness::PATIENCE);
            }
        }
    });
    listen();
    child.kill();
}
