//! Killing: producers die by SIGKILL at any moment, and nobody else's record is lost, torn or held up.
//!
//! ```text
//!   nursery (a role): forks producers, kills one at random, forks another ...
//!      producer "life" n: append k records, in any way; then tell the oracle: n has committed so many
//!   oracle: a file, a word per life, written after each commit, with a system call, so that a kill can't take it back
//!   consumer (the test): each life's records in order without a gap; in the end as many as the oracle says, or what was on its way
//! ```

use crate::harness::{Actor, Forked, Next, PATIENCE, Script, alone, directory, eventually, fork, leave, say};
use crate::records::{check_bytes, fill, length, mix, record};
use shm_ring::{ClaimError, Consumer, Error, Frame, Producer, Ring, RingOptions};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SLOTS: u16 = 6;
/// Payload in front of the bytes that are a function of life and number: these two.
const IDENTITY_BYTES: usize = 16;
const LONGEST: usize = 2000;
const BATCH: u64 = 3;

#[test]
fn shared_producers_may_be_killed_at_any_moment() {
    // Goal: what was reported committed arrives, once and in order; a claim in progress is lost as a whole; the others go on; slots
    // are free afterwards. Method: four producers at a time, 200 kills at random moments, a consumer that checks every byte.
    let (killed, lost) = kill_many(RingOptions::new().capacity(64 << 10).producers_max(SLOTS), 4, 200);
    assert!(lost <= killed, "{lost} claims were lost by {killed} deaths");
}

#[test]
fn exclusive_producers_may_be_killed_and_replaced() {
    // Goal: the same for the exclusive mode: the next one goes on where the dead one stopped. Method: one at a time, 60 kills.
    kill_many(RingOptions::new().capacity(64 << 10).single_producer(), 1, 60);
}

#[test]
fn deaths_in_the_smallest_ring_hold_nobody_up() {
    // Goal: the same where producers wait for each other's room all the time and each claim is a good part of a lap.
    // Method: a ring of 16 KiB without metadata, three producers, 60 kills.
    let options = RingOptions::new().capacity(16 << 10).producers_max(SLOTS).metadata(false);
    kill_many(options, 3, 60);
}

/// Plays it; how many were killed, and how many claims were lost with them.
fn kill_many(options: RingOptions, at_a_time: u64, kills: u64) -> (u64, u64) {
    let directory = directory();
    let (path, oracle) = (directory.path().join("ring"), directory.path().join("oracle"));
    let ring = options.create(&path).unwrap();
    File::create(&oracle).unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    let (shown, told) = (path.display(), oracle.display());
    let mut nursery = Actor::start(
        "killing::nursery",
        &[("path", &shown), ("oracle", &told), ("lives", &at_a_time), ("kills", &kills)],
    );
    let mut seen = Seen::default();
    let mut is_over = false;
    let start = Instant::now();
    loop {
        if let Some(frame) = consumer.poll_timeout(Duration::from_millis(20)).unwrap() {
            seen.take(&frame);
            continue;
        }
        // Nothing more comes when all are dead and all was walked over.
        if is_over && consumer.lag_bytes() == 0 {
            break;
        }
        is_over = is_over || nursery.hear_within(Duration::ZERO).is_some();
        assert!(start.elapsed() < 2 * PATIENCE, "held up at {}", consumer.position());
    }
    nursery.finish();
    let killed = seen.compare(&oracle, at_a_time + kills);
    let stats = ring.stats().unwrap();
    assert_eq!(stats.lost_records, consumer.lost_records());
    assert!(stats.producers.iter().all(|producer| !producer.alive));
    let slots = if stats.single_producer { 1 } else { SLOTS };
    let again: Vec<_> = (0..slots).map(|_| ring.producer().unwrap()).collect();
    assert_eq!(again.iter().map(Producer::slot).collect::<Vec<_>>(), (0..slots).collect::<Vec<_>>());
    (killed, stats.lost_records)
}

/// What the consumer saw: the next number of each life.
#[derive(Default)]
struct Seen {
    next: HashMap<u64, u64>,
}

impl Seen {
    fn take(&mut self, frame: &Frame<'_>) {
        let word = |at: usize| u64::from_le_bytes(frame[at..at + 8].try_into().unwrap());
        let (life, n) = (word(0), word(8));
        let next = self.next.entry(life).or_default();
        assert_eq!(n, *next, "of life {life}: {frame:?}");
        *next += 1;
        assert_eq!(frame.len(), IDENTITY_BYTES + length(life, n, LONGEST));
        check_bytes(&frame[IDENTITY_BYTES..], life, n);
    }

    /// Against what the producers themselves said; how many there were.
    fn compare(&self, oracle: &Path, lives: u64) -> u64 {
        let bytes = std::fs::read(oracle).unwrap();
        let mut total = 0;
        for (life, told) in bytes.chunks(8).enumerate() {
            let told = u64::from_le_bytes(told.try_into().unwrap());
            let seen = self.next.get(&(life as u64)).copied().unwrap_or(0);
            // Committed, and killed before it could say so: at most one claim.
            assert!((told..=told + BATCH).contains(&seen), "life {life} told {told}, {seen} arrived");
            total += told;
        }
        assert!(self.next.keys().all(|life| *life < lives), "a life that never was");
        assert!(total > 10 * lives, "{total} records in {lives} lives show little");
        lives
    }
}

pub(crate) fn nursery() {
    let (path, oracle) = (Script::path(), PathBuf::from(Script::text("oracle")));
    let lives = Script::number("lives");
    let told = |life: u64| {
        let mut word = [0; 8];
        let _ = File::open(&oracle).unwrap().read_at(&mut word, life * 8).unwrap();
        u64::from_le_bytes(word)
    };
    let bear = |life: u64| (life, fork(|| live(&path, &oracle, life)));
    let mut alive: Vec<(u64, Forked)> = (0..lives).map(bear).collect();
    for kill in 0..Script::number("kills") {
        std::thread::sleep(Duration::from_micros(mix(kill) % 6000));
        let victim = (mix(kill + 1000) % lives) as usize;
        alive[victim].1.kill();
        alive[victim] = bear(lives + kill);
    }
    // Whoever is left goes on.
    for (life, _) in &alive {
        let before = told(*life);
        eventually("the survivors go on", || told(*life) >= before + 10);
    }
    for (_, producer) in &mut alive {
        producer.kill();
    }
    say("over");
}

/// A producer's life, which ends by SIGKILL only.
fn live(path: &Path, oracle: &Path, life: u64) {
    let ring = Ring::open(path).unwrap();
    let oracle = OpenOptions::new().write(true).open(oracle).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut n = 0;
    loop {
        n += append(&mut producer, life, n);
        oracle.write_all_at(&n.to_le_bytes(), life * 8).unwrap();
    }
}

/// Appends one record or a batch; how many.
fn append(producer: &mut Producer, life: u64, n: u64) -> u64 {
    let whole = |n: u64| {
        let mut bytes = [life.to_le_bytes(), n.to_le_bytes()].concat();
        bytes.extend(record(life, n, length(life, n, LONGEST)));
        bytes
    };
    let bytes = whole(n);
    match mix(life << 32 | n) % 6 {
        0 => {
            let mut claim = producer.claim(bytes.len() + 100).unwrap();
            claim[..IDENTITY_BYTES].copy_from_slice(&bytes[..IDENTITY_BYTES]);
            fill(&mut claim[IDENTITY_BYTES..bytes.len()], life, n);
            claim.commit_len(bytes.len());
        }
        1 => {
            drop(producer.claim(100).unwrap());
            producer.push(&bytes).unwrap();
        }
        2 => {
            std::mem::forget(producer.claim(300).unwrap());
            producer.push(&bytes).unwrap();
        }
        // The longest three fit into the smallest ring's longest claim by their number only; so short ones.
        3 if bytes.len() < 900 && whole(n + 1).len() < 900 && whole(n + 2).len() < 900 => {
            let all = [bytes, whole(n + 1), whole(n + 2)];
            let mut batch = producer.batch(3, all.iter().map(Vec::len).sum()).unwrap();
            for bytes in &all {
                batch.push(bytes).unwrap();
            }
            batch.commit();
            return BATCH;
        }
        _ => {
            producer.push(&bytes).unwrap();
        }
    }
    1
}

#[test]
fn a_dead_exclusive_producer_is_replaceable_and_its_records_are_there() {
    // Goal: a second exclusive producer is refused while the first lives, with its pid, and takes over when it is dead: what was
    // committed is there, the claim in progress is lost and counted, sequences go on. Method: another process, kill -9 behind a claim.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(16 << 10).single_producer().create(&path).unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    let mut actor = Actor::start("killing::exclusive", &[("path", &path.display())]);
    actor.expect("claimed");
    let error = ring.producer().unwrap_err();
    assert!(matches!(&error, Error::Busy { pid, .. } if *pid == actor.pid()), "{error:?}");
    assert!(error.to_string().contains(&actor.pid().to_string()), "{error}");
    actor.kill();
    let mut producer = ring.producer().unwrap();
    producer.push(b"next").unwrap();
    for n in 0..50 {
        check_bytes(&consumer.soon(), 0, n);
    }
    let frame = consumer.soon();
    assert_eq!(&frame[..], b"next");
    assert!(frame.sequence().unwrap() >= 50, "a sequence was given twice");
    drop(frame);
    assert_eq!((consumer.lost_records(), ring.stats().unwrap().lost_records), (1, 1));
}

pub(crate) fn exclusive() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut producer = ring.producer().unwrap();
    for n in 0..50 {
        producer.push(&record(0, n, 100)).unwrap();
    }
    let mut claim = producer.claim(1000).unwrap();
    claim.fill(0xee);
    say("claimed");
    crate::harness::listen();
}

#[test]
fn after_everybody_was_killed_the_ring_is_as_they_left_it() {
    // Goal: without a reboot in between, the first who opens finds every committed record, whoever died in the middle of what.
    // Method: a family of producers and a consumer, killed all at once with claims and batches open; then open the file.
    alone("killing::extinction", &[]);
}

pub(crate) fn extinction() {
    let directory = directory();
    let path = directory.path().join("ring");
    RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let mut family: Vec<_> = (0..4u64)
        .map(|n| {
            fork(|| {
                let ring = Ring::open(&path).unwrap();
                let mut producer = ring.producer().unwrap();
                for m in 0..20 {
                    producer.push(&record(n, m, length(n, m, 500))).unwrap();
                }
                let mut batch = producer.batch(3, 300).unwrap();
                batch.push(&[0xdd; 100]).unwrap();
                batch.push(&[0xdd; 100]).unwrap();
                writer.write_all(b".").unwrap();
                std::thread::sleep(2 * PATIENCE);
            })
        })
        .collect();
    family.push(fork(|| {
        let ring = Ring::open(&path).unwrap();
        let mut consumer = ring.consumer("c").unwrap();
        let _held = consumer.soon();
        writer.write_all(b".").unwrap();
        std::thread::sleep(2 * PATIENCE);
    }));
    let mut here = [0; 5];
    reader.read_exact(&mut here).unwrap();
    family.iter_mut().for_each(Forked::kill);
    let ring = Ring::open(&path).unwrap();
    let stats = ring.stats().unwrap();
    assert_eq!(stats.epoch, 0);
    assert!(stats.producers.iter().all(|p| !p.alive) && !stats.consumers[0].alive);
    let mut consumer = ring.consumer("c").unwrap();
    let mut next: HashMap<u16, u64> = HashMap::new();
    for _ in 0..80 {
        let frame = consumer.soon();
        let slot = frame.producer();
        let n = next.entry(slot).or_default();
        assert_eq!(frame.sequence(), Some(*n));
        *n += 1;
        // Which of the family had the slot is not known: one of them wrote it.
        let m = frame.sequence().unwrap();
        let fits = |n: &u64| frame[..] == record(*n, m, length(*n, m, 500));
        assert!((0..4).any(|n| fits(&n)), "{frame:?}");
    }
    assert!(consumer.try_poll().unwrap().is_none());
    assert_eq!(ring.stats().unwrap().lost_records, 4);
    assert_eq!(consumer.lag_bytes(), 0);
}

#[test]
fn what_a_producer_could_not_finish_is_no_record() {
    // Goal: a batch whose producer ended in the middle is lost as a whole, and so is a record that was being shortened.
    // Method: children that leave at each point of a claim; the records around are there.
    alone("killing::unfinished", &[]);
}

pub(crate) fn unfinished() {
    let ring = RingOptions::new().capacity(64 << 10).anonymous().unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    let mut before = ring.producer().unwrap();
    type Half = fn(&mut Producer);
    let halves: [Half; 4] = [
        |producer| std::mem::forget(producer.claim(500).unwrap()),
        |producer| {
            let mut claim = producer.claim(500).unwrap();
            claim.fill(1);
            std::mem::forget(claim);
        },
        |producer| {
            let mut batch = producer.batch(5, 500).unwrap();
            for _ in 0..4 {
                batch.push(&[2; 100]).unwrap();
            }
            std::mem::forget(batch);
        },
        |producer| {
            // The end of the first claim is its abort; the second one stays open.
            std::mem::forget(producer.claim(100).unwrap());
            std::mem::forget(producer.claim(200).unwrap());
        },
    ];
    for (n, half) in (0u64..).zip(halves) {
        before.push(&record(0, 2 * n, 50)).unwrap();
        fork(|| {
            let mut producer = ring.producer().unwrap();
            half(&mut producer);
            leave(0);
        })
        .finish();
        before.push(&record(0, 2 * n + 1, 50)).unwrap();
        check_next(&mut consumer, 2 * n);
        check_next(&mut consumer, 2 * n + 1);
        assert_eq!(consumer.lost_records(), n + 1);
    }
    assert!(matches!(before.try_claim(1 << 20), Err(ClaimError::TooLong { .. })));
}

fn check_next(consumer: &mut Consumer, n: u64) {
    let frame = consumer.soon();
    assert_eq!(frame.producer(), 0, "{frame:?}");
    check_bytes(&frame, 0, n);
}
