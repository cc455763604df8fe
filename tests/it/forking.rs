//! Forking: parents and children exchange records through a ring without a name.
//!
//! Each test is a process of its own, for the test binary has threads; `alone` starts it again as one of the roles below.

use crate::harness::{Forked, Next, PATIENCE, alone, directory, eventually, fork};
use crate::records::{check, check_bytes, length, record};
use shm_ring::{ClaimError, Consumer, Error, PollError, Producer, Ring, RingOptions, Start, Wait};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const RECORDS: u64 = 500;
const LONGEST: usize = 4 << 10;

#[test]
fn a_child_reads_what_its_parent_writes() {
    // Goal: a pipeline downwards: the child gets every record, then the end. Method: a forked consumer, more than a lap.
    alone("forking::downwards", &[]);
}

pub(crate) fn downwards() {
    let ring = anonymous();
    let child = fork(|| read_all(&mut ring.consumer("child").unwrap(), RECORDS));
    eventually("the child attaches", || !ring.stats().unwrap().consumers.is_empty());
    write_all(&mut ring.producer().unwrap(), RECORDS);
    child.finish();
}

#[test]
fn a_parent_reads_what_its_child_writes() {
    // Goal: a pipeline upwards, and the child may end before everything was read. Method: a forked producer.
    alone("forking::upwards", &[]);
}

pub(crate) fn upwards() {
    let ring = anonymous();
    let mut consumer = ring.consumer("parent").unwrap();
    let child = fork(|| write_all(&mut ring.producer().unwrap(), RECORDS));
    read_all(&mut consumer, RECORDS);
    child.finish();
    let few = fork(|| write_all(&mut ring.producer().unwrap(), 3));
    few.finish();
    // A later producer ended the end; nobody is there any more, but its records are.
    for n in 0..3 {
        check(&consumer.soon(), 0, n, LONGEST);
    }
    assert_eq!(consumer.poll().unwrap_err(), PollError::Closed);
}

#[test]
fn a_parent_feeds_many_children() {
    // Goal: a fan-out: every child gets every record. Method: five forked consumers and a grandchild.
    alone("forking::fan_out", &[]);
}

pub(crate) fn fan_out() {
    let ring = anonymous();
    let mut children: Vec<_> = (0..5)
        .map(|n| fork(|| read_all(&mut ring.consumer(&format!("child {n}")).unwrap(), RECORDS)))
        .collect();
    children.push(fork(|| {
        fork(|| read_all(&mut ring.consumer("grandchild").unwrap(), RECORDS)).finish();
    }));
    eventually("all attach", || ring.stats().unwrap().consumers.len() == 6);
    write_all(&mut ring.producer().unwrap(), RECORDS);
    children.into_iter().for_each(Forked::finish);
}

#[test]
fn a_handle_on_the_wrong_side_of_a_fork_is_an_error() {
    // Goal: a producer, consumer or observer of the parent's is `Forked` in the child, whatever is called, and nothing happens to the
    // parent's; dropped there it touches neither memory nor locks. Method: use and drop all of them in a child; go on in the parent.
    alone("forking::wrong_side_of_a_memfd", &[]);
    alone("forking::wrong_side_of_a_file", &[]);
}

pub(crate) fn wrong_side_of_a_memfd() {
    wrong_side(&anonymous());
}

pub(crate) fn wrong_side_of_a_file() {
    let directory = directory();
    let ring = RingOptions::new().capacity(64 << 10).create(directory.path().join("ring")).unwrap();
    wrong_side(&ring);
    // The whole ring stays behind; a child opens the file again.
    fork(|| {
        assert!(matches!(ring.producer(), Err(Error::Forked)));
        assert!(matches!(ring.consumer("x"), Err(Error::Forked)));
        assert!(matches!(ring.observer(), Err(Error::Forked)));
        assert!(matches!(ring.stats(), Err(Error::Forked)));
        assert_eq!((ring.capacity_bytes(), ring.has_metadata()), (64 << 10, true));
        Ring::open(ring.path().unwrap()).unwrap().producer().unwrap().push(b"from the child").unwrap();
    })
    .finish();
    assert!(ring.stats().unwrap().tail > 0);
}

fn wrong_side(ring: &Ring) {
    let mut producer = Some(ring.producer().unwrap());
    let mut consumer = Some(ring.consumer("c").unwrap());
    let mut observer = ring.is_file().then(|| ring.observer().unwrap());
    for n in 0..4 {
        producer.as_mut().unwrap().push(&record(0, n, 10)).unwrap();
    }
    check_bytes(&consumer.as_mut().unwrap().soon(), 0, 0);
    fork(|| {
        let writer = producer.as_mut().unwrap();
        assert_eq!(writer.try_claim(1).unwrap_err(), ClaimError::Forked);
        assert_eq!(writer.claim(1).unwrap_err(), ClaimError::Forked);
        assert_eq!(writer.push(b"x").unwrap_err(), ClaimError::Forked);
        assert_eq!(writer.push_at(1, b"x").unwrap_err(), ClaimError::Forked);
        assert_eq!(writer.push_timeout(b"x", PATIENCE).unwrap_err(), ClaimError::Forked);
        assert_eq!(writer.try_batch(1, 1).unwrap_err(), ClaimError::Forked);
        assert!(writer.send(&1u8).is_err());
        assert_eq!(writer.slot(), 0);
        let reader = consumer.as_mut().unwrap();
        assert_eq!(reader.try_poll().unwrap_err(), PollError::Forked);
        assert_eq!(reader.poll().unwrap_err(), PollError::Forked);
        assert_eq!(reader.poll_timeout(PATIENCE).unwrap_err(), PollError::Forked);
        assert_eq!(reader.drain(9, |_| panic!("a record")).unwrap_err(), PollError::Forked);
        assert_eq!(reader.seek(Start::Oldest).unwrap_err(), PollError::Forked);
        reader.release();
        if let Some(observer) = &mut observer {
            assert_eq!(observer.try_next(&mut Vec::new()).unwrap_err(), PollError::Forked);
            assert_eq!(observer.next(&mut Vec::new()).unwrap_err(), PollError::Forked);
        }
        drop((producer.take(), consumer.take(), observer.take()));
    })
    .finish();
    let stats = ring.stats().unwrap();
    assert!(stats.producers[0].alive && stats.consumers[0].alive, "{stats:?}");
    assert!(matches!(ring.consumer("c"), Err(Error::Busy { .. })));
    assert_eq!(ring.producer().unwrap().slot(), 1);
    let (mut producer, mut consumer) = (producer.unwrap(), consumer.unwrap());
    producer.push(&record(0, 4, 10)).unwrap();
    for n in 1..5 {
        check_bytes(&consumer.soon(), 0, n);
    }
}

/// Which kind of ring it is.
trait IsFile {
    fn is_file(&self) -> bool;
}

impl IsFile for Ring {
    fn is_file(&self) -> bool {
        self.path().is_some()
    }
}

#[test]
fn questions_on_the_wrong_side_of_a_fork_end_no_process() {
    // Goal: no safe call on a handle of the parent's reads memory that the child does not have. Method: every call that answers
    // without an error, each in a child of its own, with a ring in a file, which children do not inherit.
    alone("forking::questions", &[]);
}

pub(crate) fn questions() {
    let directory = directory();
    let ring = RingOptions::new().capacity(64 << 10).create(directory.path().join("ring")).unwrap();
    let mut producer = ring.producer().unwrap();
    let consumer = ring.consumer("c").unwrap();
    let mut observer = ring.observer().unwrap();
    producer.push(b"x").unwrap();
    type Question<'a> = Box<dyn FnMut() -> String + 'a>;
    let asked: [(&str, Question<'_>); 10] = [
        ("Consumer::position", Box::new(|| consumer.position().to_string())),
        ("Consumer::lag_bytes", Box::new(|| consumer.lag_bytes().to_string())),
        ("Consumer::missed_bytes", Box::new(|| consumer.missed_bytes().to_string())),
        ("Consumer::lost_records", Box::new(|| consumer.lost_records().to_string())),
        ("Consumer as Debug", Box::new(|| format!("{consumer:?}"))),
        ("Producer as Debug", Box::new(|| format!("{producer:?}"))),
        ("Observer::position", Box::new(|| observer.position().to_string())),
        ("Observer::tail", Box::new(|| observer.tail().to_string())),
        ("Observer::stats", Box::new(|| format!("{:?}", observer.stats()))),
        ("Ring as Debug", Box::new(|| format!("{ring:?}"))),
    ];
    let mut ended = vec![];
    for (name, mut question) in asked {
        if !fork(|| drop(question())).ends_well() {
            ended.push(name);
        }
    }
    if !fork(|| assert_eq!(observer.seek(Start::Oldest), Err(PollError::Forked))).ends_well() {
        ended.push("Observer::seek");
    }
    assert!(ended.is_empty(), "these end a child: {ended:?}");
}

#[test]
fn the_end_of_the_last_producer_is_told() {
    // Goal: when every producer is gone, cleanly or killed, and all was read, readers get `Closed`, and not before.
    // Method: a child with records and an end of either kind, for each way to wait and for each kind of reader.
    alone("forking::ends", &[]);
}

pub(crate) fn ends() {
    for wait in crate::harness::WAITS {
        for (killed, observer_first) in [(false, false), (true, false), (false, true), (true, true)] {
            let ring = RingOptions::new().capacity(64 << 10).wait(wait).anonymous().unwrap();
            let (mut consumer, mut observer) = (ring.consumer("c").unwrap(), ring.observer().unwrap());
            assert!(consumer.try_poll().unwrap().is_none(), "nobody has come yet: that is no end");
            assert!(observer.try_next(&mut Vec::new()).unwrap().is_none());
            let mut child = fork(|| {
                let mut producer = ring.producer().unwrap();
                for n in 0..50 {
                    producer.push(&record(0, n, length(0, n, 500))).unwrap();
                }
                if killed {
                    std::thread::sleep(2 * PATIENCE);
                }
            });
            if killed {
                eventually("it is at work", || ring.stats().unwrap().tail > 0);
                eventually("it has pushed all", || ring.stats().unwrap().producers[0].records == 50);
                child.kill();
            } else {
                child.finish();
            }
            for n in 0..50 {
                check(&consumer.soon(), 0, n, 500);
                check(&observer.soon().1, 0, n, 500);
            }
            let start = Instant::now();
            if observer_first {
                // Before anybody has buried the dead, which an observer can't.
                let end = observer.next_timeout(&mut Vec::new(), PATIENCE);
                assert_eq!(end.unwrap_err(), PollError::Closed);
            }
            assert_eq!(consumer.poll().unwrap_err(), PollError::Closed);
            assert_eq!(consumer.try_poll().unwrap_err(), PollError::Closed);
            assert_eq!(consumer.drain(1, |_| ()).unwrap_err(), PollError::Closed);
            let mut payload = Vec::new();
            assert_eq!(observer.next(&mut payload).unwrap_err(), PollError::Closed);
            assert!(start.elapsed() < Duration::from_secs(5), "{wait:?}: {:?}", start.elapsed());
        }
    }
}

#[test]
fn the_end_wakes_who_sleeps() {
    // Goal: a reader that is asleep when the last producer ends is told soon. Method: readers sleep; then the producer ends.
    alone("forking::sleepers", &[]);
}

pub(crate) fn sleepers() {
    for killed in [false, true] {
        let ring = RingOptions::new().capacity(4096).wait(Wait::Block).anonymous().unwrap();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let mut producer = fork(|| {
            let _producer = ring.producer().unwrap();
            writer.write_all(b".").unwrap();
            // As long as the reader needs to fall asleep.
            std::thread::sleep(if killed { PATIENCE } else { Duration::from_millis(200) });
        });
        reader.read_exact(&mut [0]).unwrap();
        let consumer = fork(|| {
            let mut consumer = ring.consumer("c").unwrap();
            assert_eq!(consumer.poll().unwrap_err(), PollError::Closed);
        });
        eventually("it reads", || !ring.stats().unwrap().consumers.is_empty());
        if killed {
            std::thread::sleep(Duration::from_millis(200));
            producer.kill();
        } else {
            producer.finish();
        }
        let start = Instant::now();
        consumer.finish();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

#[test]
fn a_child_that_holds_nothing_keeps_nobody_alive() {
    // Goal: a child that inherited descriptors and memory does not hold the slots of its dead parent.
    // Method: a process attaches, forks a sleeper and is killed; everything that it had must be free at once.
    alone("forking::orphans", &[]);
}

pub(crate) fn orphans() {
    let directory = directory();
    let path = directory.path().join("ring");
    let file = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    for ring in [file, anonymous()] {
        let mut consumer = ring.consumer("mine").unwrap();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let mut parent = fork(|| {
            // A file is opened anew; what has no name is inherited.
            let own = ring.path().map(|path| Ring::open(path).unwrap());
            let own = own.as_ref().unwrap_or(&ring);
            let mut producer = own.producer().unwrap();
            let _theirs = own.consumer("theirs").unwrap();
            producer.push(&record(0, 0, 100)).unwrap();
            let _open = producer.claim(100).unwrap();
            let _sleeper = fork_that_outlives(|| {
                writer.write_all(&std::process::id().to_le_bytes()).unwrap();
                std::thread::sleep(PATIENCE);
            });
            std::thread::sleep(PATIENCE);
        });
        let mut pid = [0; 4];
        reader.read_exact(&mut pid).unwrap();
        let sleeper = u32::from_le_bytes(pid);
        parent.kill();
        let is_there = || std::path::Path::new(&format!("/proc/{sleeper}")).exists();
        assert!(is_there(), "the sleeper died, so this shows nothing");
        let stats = ring.stats().unwrap();
        assert!(stats.producers.iter().all(|producer| !producer.alive), "{:?}", stats.producers);
        drop(ring.consumer("theirs").unwrap());
        check_bytes(&consumer.soon(), 0, 0);
        if ring.path().is_none() {
            assert_eq!(consumer.poll().unwrap_err(), PollError::Closed);
            assert_eq!(consumer.lost_records(), 1);
        }
        assert!(is_there());
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(sleeper as i32), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
    }
}

/// A forked child that lives on when its parent dies.
fn fork_that_outlives(work: impl FnOnce()) -> Forked {
    fork(|| {
        nix::sys::prctl::set_pdeathsig(None).unwrap();
        work();
    })
}

fn anonymous() -> Ring {
    let ring = RingOptions::new().capacity(64 << 10).anonymous().unwrap();
    assert!(ring.path().is_none() && ring.was_created());
    ring
}

fn write_all(producer: &mut Producer, records: u64) {
    for n in 0..records {
        producer.push(&record(0, n, length(0, n, LONGEST))).unwrap();
    }
}

fn read_all(consumer: &mut Consumer, records: u64) {
    for n in 0..records {
        check(&consumer.soon(), 0, n, LONGEST);
    }
    assert_eq!(consumer.poll().unwrap_err(), PollError::Closed);
}
