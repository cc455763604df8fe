//! Creating: many processes race for one path, and get one ring.

use crate::harness::{Actor, Next, Script, directory, listen, say};
use shm_ring::{Error, Ring, RingOptions};
use std::collections::HashSet;

const RACERS: u64 = 100;
const ROUNDS: u64 = 5;

#[test]
fn one_of_a_hundred_racers_creates_and_all_get_the_same_ring() {
    // Goal: `open_or_create` is safe to call in every process: one creates, the others open what it made, complete.
    // Method: 100 processes race to several paths; each attaches at once and leaves a record; creators and uuids are counted.
    let directory = directory();
    let lines = race("creating::opener", &directory);
    for round in 0..ROUNDS {
        let of_round: Vec<_> = lines.iter().filter(|(n, _, _)| *n == round).collect();
        assert_eq!(of_round.len() as u64, RACERS);
        assert_eq!(of_round.iter().filter(|(_, outcome, _)| outcome == "created").count(), 1);
        let uuids: HashSet<_> = of_round.iter().map(|(_, _, uuid)| uuid).collect();
        let ring = Ring::open(directory.path().join(round.to_string())).unwrap();
        assert_eq!(uuids, HashSet::from([&ring.stats().unwrap().uuid_string()]));
        assert!(!ring.was_created());
        let mut consumer = ring.consumer("c").unwrap();
        let left: HashSet<u64> =
            (0..RACERS).map(|_| u64::from_le_bytes(consumer.soon()[..].try_into().unwrap())).collect();
        assert_eq!(left, (0..RACERS).collect());
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count() as u64, ROUNDS, "something was left");
}

#[test]
fn one_of_a_hundred_racers_creates_and_the_others_are_told() {
    // Goal: `create` makes the file or fails, and says which; nobody's file is replaced.
    // Method: the same race with `create`: one succeeds, 99 get `AlreadyExists`, the winner's uuid stays.
    let directory = directory();
    let lines = race("creating::creator", &directory);
    for round in 0..ROUNDS {
        let of_round = || lines.iter().filter(|(n, _, _)| *n == round);
        let created: Vec<_> = of_round().filter(|(_, outcome, _)| outcome == "created").collect();
        assert_eq!(created.len(), 1);
        assert_eq!(
            of_round().filter(|(_, outcome, _)| outcome == "AlreadyExists").count() as u64,
            RACERS - 1
        );
        let ring = Ring::open(directory.path().join(round.to_string())).unwrap();
        assert_eq!(created[0].2, ring.stats().unwrap().uuid_string());
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count() as u64, ROUNDS, "something was left");
}

/// What every racer says of every round: the round, the outcome, the uuid.
fn race(role: &'static str, directory: &tempfile::TempDir) -> Vec<(u64, String, String)> {
    let path = directory.path().display();
    let mut racers: Vec<_> =
        (0..RACERS).map(|n| Actor::start(role, &[("path", &path), ("id", &n)])).collect();
    for racer in &mut racers {
        racer.expect("ready");
    }
    for racer in &mut racers {
        racer.tell("go");
    }
    let mut lines = vec![];
    for racer in &mut racers {
        for round in 0..ROUNDS {
            let line = racer.hear();
            let (outcome, uuid) = line.split_once(' ').unwrap();
            lines.push((round, outcome.to_owned(), uuid.to_owned()));
        }
    }
    racers.into_iter().for_each(Actor::finish);
    lines
}

fn options() -> RingOptions {
    RingOptions::new().capacity(16 << 10).producers_max(128)
}

pub(crate) fn opener() {
    let (path, id) = (Script::path(), Script::number("id"));
    say("ready");
    listen();
    for round in 0..ROUNDS {
        let ring = options().open_or_create(path.join(round.to_string())).unwrap();
        let mut producer = ring.producer().unwrap();
        producer.push(&id.to_le_bytes()).unwrap();
        let outcome = if ring.was_created() { "created" } else { "opened" };
        say(&format!("{outcome} {}", ring.stats().unwrap().uuid_string()));
    }
}

pub(crate) fn creator() {
    let path = Script::path();
    say("ready");
    listen();
    for round in 0..ROUNDS {
        match options().create(path.join(round.to_string())) {
            Ok(ring) => say(&format!("created {}", ring.stats().unwrap().uuid_string())),
            Err(Error::AlreadyExists { .. }) => say("AlreadyExists -"),
            Err(error) => say(&format!("{error:?} -")),
        }
    }
}

#[test]
fn threads_race_as_processes_do() {
    // Goal: one of many threads creates too, though all share the process's locks and descriptors, and each opens what it made.
    // Method: the same race between 100 threads, with `open_or_create`, which attach and leave a record.
    let directory = directory();
    for round in 0..ROUNDS {
        let path = directory.path().join(round.to_string());
        let start = std::sync::Barrier::new(RACERS as usize);
        let created = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for id in 0..RACERS {
                let (path, start, created) = (&path, &start, &created);
                scope.spawn(move || {
                    start.wait();
                    let ring = options().open_or_create(path).unwrap();
                    created.fetch_add(ring.was_created().into(), std::sync::atomic::Ordering::Relaxed);
                    ring.producer().unwrap().push(&id.to_le_bytes()).unwrap();
                });
            }
        });
        assert_eq!(created.into_inner(), 1);
        let mut consumer = Ring::open(&path).unwrap().consumer("c").unwrap();
        let left: HashSet<u64> =
            (0..RACERS).map(|_| u64::from_le_bytes(consumer.soon()[..].try_into().unwrap())).collect();
        assert_eq!(left, (0..RACERS).collect());
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count() as u64, ROUNDS, "something was left");
}

#[test]
fn nobody_ever_opens_half_a_ring() {
    // Goal: a name stands for a complete ring or for nothing. Method: a process opens in a loop what another one creates and removes.
    let directory = directory();
    let path = directory.path().join("ring");
    let shown = path.display();
    let mut opener = Actor::start("creating::impatient", &[("path", &shown)]);
    opener.expect("ready");
    let mut rounds = 0u64;
    loop {
        let ring = options().create(&path).unwrap();
        assert!(ring.was_created());
        rounds += 1;
        if let Some(line) = opener.hear_within(std::time::Duration::ZERO) {
            assert_eq!(line, "enough");
            break;
        }
        assert!(rounds < 1_000_000, "it never opened enough");
        std::fs::remove_file(&path).unwrap();
    }
    opener.finish();
}

pub(crate) fn impatient() {
    let path = Script::path();
    say("ready");
    let (mut opened, mut missed) = (0, 0);
    while opened < 200 || missed < 200 {
        match Ring::open(&path) {
            Ok(ring) => {
                assert_eq!(ring.capacity_bytes(), 16 << 10);
                opened += 1;
            }
            Err(Error::NotFound { .. }) => missed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    say("enough");
}

#[test]
fn an_unlinked_ring_works_on_and_its_name_is_free() {
    // Goal: removing the file disturbs nobody who has it; a new ring of that name is another one.
    // Method: remove, create again, use both, also with handles that are taken after the removal.
    let directory = directory();
    let path = directory.path().join("ring");
    let old = options().create(&path).unwrap();
    let mut old_consumer = old.consumer("c").unwrap();
    std::fs::remove_file(&path).unwrap();
    let new = options().create(&path).unwrap();
    assert_ne!(old.stats().unwrap().uuid, new.stats().unwrap().uuid);
    let mut new_consumer = Ring::open(&path).unwrap().consumer("c").unwrap();
    old.producer().unwrap().push(b"old").unwrap();
    new.producer().unwrap().push(b"new").unwrap();
    assert_eq!(&*old_consumer.soon(), b"old");
    assert_eq!(&*new_consumer.soon(), b"new");
}

#[test]
fn options_are_what_the_ring_says_in_every_process() {
    // Goal: what the creator chose is in the file, and whoever opens it can't choose again. Method: unlike options on both sides.
    let directory = directory();
    let path = directory.path().join("ring");
    let options = RingOptions::new().capacity(5000).producers_max(3).consumers_max(2).metadata(false);
    options.mode(0o640).create(&path).unwrap();
    let ring = RingOptions::new().capacity(1 << 20).single_producer().open_or_create(&path).unwrap();
    assert_eq!((ring.capacity_bytes(), ring.payload_max_bytes(), ring.has_metadata()), (8192, 2048, false));
    assert_eq!((ring.was_created(), ring.path()), (false, Some(path.as_path())));
    let stats = ring.stats().unwrap();
    assert_eq!((stats.mode, stats.single_producer, stats.layout_version, stats.epoch), (0o640, false, 1, 0));
    let producers: Vec<_> = (0..3).map(|_| ring.producer().unwrap()).collect();
    assert!(matches!(ring.producer(), Err(Error::NoSlot { table: "producer", slots: 3 })));
    let consumers: Vec<_> = ["a", "b"].map(|name| ring.consumer(name).unwrap()).into();
    assert!(matches!(ring.consumer("c"), Err(Error::NoSlot { table: "consumer", slots: 2 })));
    drop((producers, consumers));
}
