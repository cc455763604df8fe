//! Resuming: a named consumer goes on where it stopped, and is told what it missed.

use crate::harness::{Actor, Next, PATIENCE, Script, WAITS, directory, eventually, listen, say};
use crate::records::{check, check_bytes, length, mix, record, span};
use shm_ring::{ClaimError, Consumer, ConsumerOptions, Error, Producer, Ring, RingOptions, Start, Wait};
use std::fmt::Display;
use std::time::{Duration, Instant};

const LONGEST: usize = 1000;

#[test]
fn a_consumer_that_left_goes_on_where_it_stopped() {
    // Goal: after a clean drop the next record is the next one, in whatever process. Method: drop and come back, here and elsewhere.
    let (_directory, ring) = file_ring(64 << 10);
    let mut producer = ring.producer().unwrap();
    for n in 0..60 {
        producer.push(&record(0, n, length(0, n, 500))).unwrap();
    }
    let path = ring.path().unwrap().display();
    for first in (0..60).step_by(6) {
        let mut consumer = ring.consumer("c").unwrap();
        for n in first..first + 3 {
            check(&consumer.soon(), 0, n, 500);
        }
        drop(consumer);
        let mut elsewhere = Actor::start("resuming::three", &[("path", &path), ("first", &(first + 3))]);
        elsewhere.expect("read");
        elsewhere.finish();
    }
    assert_eq!(ring.consumer("c").unwrap().missed_bytes(), 0);
}

pub(crate) fn three() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    for n in Script::number("first")..Script::number("first") + 3 {
        check(&consumer.soon(), 0, n, 500);
    }
    assert_eq!(consumer.missed_bytes(), 0);
    say("read");
}

#[test]
fn a_killed_consumer_goes_on_at_or_before_where_it_was() {
    // Goal: kill -9 of a consumer loses nothing: its successor repeats some records perhaps, and skips none.
    // Method: a producer that never stops, 25 kills at random moments; what was handled is told before each next record.
    let (_directory, ring) = file_ring(16 << 10);
    let path = ring.path().unwrap().display();
    let mut producer = Actor::start("resuming::producer", &[("path", &path)]);
    producer.expect("ready");
    let mut handled = 0;
    for kill in 0..25 {
        // Durable, or what was pushed between two lives would be overwritten, which is another promise.
        let mut consumer = Actor::start("resuming::reader", &[("path", &path)]);
        let first = consumer.expect_number("first");
        assert!(first <= handled, "kill {kill}: went on at {first}, handled were {handled}");
        assert!(handled - first < 16 << 10, "kill {kill}: {} were repeated", handled - first);
        std::thread::sleep(Duration::from_micros(mix(kill) % 20_000));
        consumer.kill();
        for line in consumer.last_words() {
            handled = line.strip_prefix("handled ").unwrap().parse().unwrap();
        }
    }
    assert!(handled > 1000, "{handled} records in 25 lives show little");
    assert_eq!(ring.stats().unwrap().consumers[0].missed_bytes, 0);
}

pub(crate) fn producer() {
    let ring = Ring::open(Script::path()).unwrap();
    let consumer = ring.consumer_with("c", ConsumerOptions::new().durable()).unwrap();
    drop(consumer);
    let mut producer = ring.producer().unwrap();
    say("ready");
    for n in 0.. {
        producer.push(&record(0, n, length(0, n, LONGEST))).unwrap();
    }
}

pub(crate) fn reader() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut consumer = ring.consumer_with("c", ConsumerOptions::new().durable()).unwrap();
    let mut frame = consumer.soon();
    let first = frame.sequence().unwrap();
    say(&format!("first {first}"));
    for n in first.. {
        assert_eq!(frame.sequence(), Some(n));
        check(&frame, 0, n, LONGEST);
        // Said while it is in hand: nothing that was not handled is ever released.
        say(&format!("handled {}", n + 1));
        drop(frame);
        frame = consumer.soon();
    }
}

#[test]
fn a_name_belongs_to_one_process_at_a_time() {
    // Goal: a second process with the same name is refused with the first one's pid, as long as that lives.
    // Method: another process has the name; ask for it, kill that process, ask again.
    let (_directory, ring) = file_ring(4096);
    let path = ring.path().unwrap().display();
    ring.producer().unwrap().push(&record(0, 0, length(0, 0, LONGEST))).unwrap();
    let mut actor = Actor::start("resuming::reader", &[("path", &path)]);
    actor.expect("first");
    match ring.consumer("c") {
        Err(Error::Busy { what, pid }) => {
            assert_eq!(pid, actor.pid());
            assert!(what.contains("\"c\""), "{what}");
        }
        other => panic!("{other:?}"),
    }
    assert!(ring.stats().unwrap().consumers[0].alive);
    actor.kill();
    assert!(!ring.stats().unwrap().consumers[0].alive);
    ring.consumer("c").unwrap();
}

#[test]
fn what_a_lapped_name_missed_is_counted_to_the_byte() {
    // Goal: a name that was away and overwritten resumes at the oldest record and knows how much lies between.
    // Method: leave, after a clean drop and by being forgotten as a killed process would leave it; lap; come back: position and
    // `missed_bytes` must add up, over several absences.
    let (_directory, ring) = file_ring(4096);
    let mut producer = ring.producer().unwrap();
    let mut sequence = 0;
    let mut push = |n: u64| {
        for _ in 0..n {
            producer.push_timeout(&record(0, sequence, length(0, sequence, 300)), PATIENCE).unwrap();
            sequence += 1;
        }
    };
    let mut consumer = ring.consumer("c").unwrap();
    let mut missed = 0;
    for laps in [0, 1, 3, 10, 0, 1] {
        push(2);
        check_next(&mut consumer);
        let left_at = consumer.position();
        drop(consumer);
        push(laps * 60);
        consumer = ring.consumer("c").unwrap();
        assert!(consumer.position() >= left_at);
        missed += consumer.position() - left_at;
        assert_eq!(consumer.missed_bytes(), missed);
        assert_eq!(ring.stats().unwrap().consumers[0].missed_bytes, missed);
        assert!(laps < 3 || missed > laps * 4096, "{missed} bytes in {laps} laps");
        while consumer.lag_bytes() > 0 {
            check_next(&mut consumer);
        }
    }
}

fn check_next(consumer: &mut Consumer) {
    let frame = consumer.soon();
    check(&frame, 0, frame.sequence().unwrap(), 300);
}

#[test]
fn what_a_killed_and_lapped_name_missed_is_counted() {
    // Goal: the same after kill -9: counted from the last position that it had told, at or before where it was.
    // Method: kill a consumer; the producer must not wait for it; come back.
    let (_directory, ring) = file_ring(16 << 10);
    let path = ring.path().unwrap().display();
    let mut actor = Actor::start("resuming::lossy_reader", &[("path", &path)]);
    actor.expect("ready");
    let mut producer = ring.producer().unwrap();
    for n in 0..100 {
        producer.push(&record(0, n, length(0, n, LONGEST))).unwrap();
    }
    while actor.expect_number("handled") < 100 {}
    actor.kill();
    let told = ring.stats().unwrap().consumers[0].position;
    for n in 100..300 {
        producer.push_timeout(&record(0, n, length(0, n, LONGEST)), PATIENCE).unwrap();
    }
    let mut consumer = ring.consumer("c").unwrap();
    assert_eq!(consumer.missed_bytes(), consumer.position() - told);
    assert!(consumer.missed_bytes() > 16 << 10);
    let frame = consumer.soon();
    check(&frame, 0, frame.sequence().unwrap(), LONGEST);
}

pub(crate) fn lossy_reader() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    say("ready");
    for n in 0.. {
        check(&consumer.soon(), 0, n, LONGEST);
        say(&format!("handled {}", n + 1));
    }
}

#[test]
fn a_durable_name_holds_its_space_while_away() {
    // Goal: nothing is overwritten that a durable name has not read, whether it left or was killed; nothing is missed.
    // Method: leave in both ways; producers must be refused; come back and read everything.
    for killed in [false, true] {
        let (_directory, ring) = file_ring(4096);
        let path = ring.path().unwrap().display();
        let mut producer = ring.producer().unwrap();
        if killed {
            let mut actor = Actor::start("resuming::durable", &[("path", &path)]);
            actor.expect("ready");
            actor.kill();
        } else {
            ring.consumer_with("c", ConsumerOptions::new().durable()).unwrap();
        }
        let mut n = 0;
        let refused = loop {
            match producer.try_push(&record(0, n, 200)) {
                Ok(_) => n += 1,
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, ClaimError::Full { .. }));
        assert_eq!(n, 4096 / span(200));
        assert!(producer.push_timeout(&[0; 200], Duration::from_millis(50)).is_err());
        let stats = &ring.stats().unwrap().consumers[0];
        assert!(stats.durable && stats.holds_space && !stats.alive, "{stats:?}");
        let mut consumer = ring.consumer_with("c", ConsumerOptions::new().durable()).unwrap();
        assert_eq!((consumer.missed_bytes(), consumer.position()), (0, 0));
        for n in 0..n {
            check_bytes(&consumer.soon(), 0, n);
        }
        consumer.release();
        producer.try_push(&[0; 200]).unwrap();
        // Whoever comes back without the option gives the hold up when it leaves.
        drop(consumer);
        drop(ring.consumer("c").unwrap());
        for _ in 0..100 {
            producer.try_push(&[0; 200]).unwrap();
        }
    }
}

pub(crate) fn durable() {
    let ring = Ring::open(Script::path()).unwrap();
    let _consumer = ring.consumer_with("c", ConsumerOptions::new().durable()).unwrap();
    say("ready");
    listen();
}

#[test]
fn by_hand_nothing_is_given_back_before_it_is_released() {
    // Goal: what was read and not released is in the ring, however many looks found nothing, and comes again: after a clean end, after
    // kill -9. Method: read everything of a full ring, look on, end in both ways; then release, and see that exactly the rest comes.
    let (_directory, ring) = file_ring(16 << 10);
    let path = ring.path().unwrap().display();
    let by_hand = ConsumerOptions::new().durable().release_by_hand();
    drop(ring.consumer_with("c", by_hand).unwrap());
    let mut producer = ring.producer().unwrap();
    let mut pushed = 0;
    while producer.try_push(&record(0, pushed, length(0, pushed, 500))).is_ok() {
        pushed += 1;
    }
    let is_full = |producer: &mut Producer| {
        matches!(producer.try_push(&record(0, pushed, length(0, pushed, 500))), Err(ClaimError::Full { .. }))
    };
    for killed in [false, true] {
        let mut reader = Actor::start("resuming::by_hand", &[("path", &path), ("release", &0)]);
        reader.expect(&format!("read {pushed} records"));
        assert!(is_full(&mut producer), "nothing was released");
        if killed {
            reader.kill();
        } else {
            reader.tell("end");
            reader.finish();
        }
        assert!(is_full(&mut producer), "killed: {killed}");
    }
    let mut reader = Actor::start("resuming::by_hand", &[("path", &path), ("release", &7)]);
    reader.expect(&format!("read {pushed} records"));
    producer.push(&record(0, pushed, length(0, pushed, 500))).unwrap();
    reader.kill();
    let mut rest = ring.consumer_with("c", by_hand).unwrap();
    for n in 7..=pushed {
        check(&rest.soon(), 0, n, 500);
    }
    assert!(rest.try_poll().unwrap().is_none());
    assert_eq!(rest.missed_bytes(), 0);
}

#[test]
fn by_hand_what_was_skipped_is_nobodys() {
    // Goal: a reader by hand that has nothing in hand holds nothing it has passed over. Method: more than a ring of aborted claims, and
    // of records that are too old, while it waits.
    let (_directory, ring) = file_ring(16 << 10);
    let soon = ring.stats().unwrap().capacity_bytes;
    let mut producer = ring.producer().unwrap();
    let by_hand = ConsumerOptions::new().release_by_hand();
    let mut consumer = ring.consumer_with("c", by_hand.start(Start::Since(1000))).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            assert_eq!(consumer.soon().timestamp_ns(), Some(1000), "the first that is new enough");
            assert_eq!(&*consumer.soon(), b"last");
        });
        for _ in 0..3 * soon / 500 {
            producer.push_at(10, &[0; 500]).unwrap();
        }
        producer.push_at(1000, b"first").unwrap();
        drop(producer.claim(100).unwrap());
        producer.push_at(1000, b"last").unwrap();
        reader.join().unwrap();
        let mut consumer = ring.consumer_with("d", by_hand.start(Start::Now)).unwrap();
        let waiting = scope.spawn(move || drop(consumer.soon()));
        for _ in 0..3 * soon / 500 {
            drop(producer.claim(500).unwrap());
        }
        producer.push(b"end").unwrap();
        waiting.join().unwrap();
    });
}

pub(crate) fn by_hand() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut consumer = ring.consumer_with("c", ConsumerOptions::new().durable().release_by_hand()).unwrap();
    let (mut n, release) = (0, Script::number("release"));
    while consumer.drain(1, |frame| check(&frame, 0, n, 500)).unwrap() == 1 {
        n += 1;
        if n == release {
            consumer.release();
        }
    }
    for _ in 0..1000 {
        assert!(consumer.try_poll().unwrap().is_none());
    }
    assert!(consumer.poll_timeout(Duration::from_millis(20)).unwrap().is_none());
    say(&format!("read {n} records"));
    listen();
}

#[test]
fn a_killed_consumer_holds_nobody_up() {
    // Goal: a producer that waits for a consumer that is killed goes on at once, whichever way it waits and whichever call it uses.
    // Method: a full ring, a waiting producer, kill -9 of the consumer; the producer goes on within a second, or, where others take
    // the processor away, does so at the second or third time.
    for call in ["push", "try_push"] {
        for wait in WAITS {
            let took: Vec<_> = (0..3).map(|_| time_to_go_on(call, wait)).collect();
            let least = took.iter().min().unwrap();
            assert!(*least < Duration::from_secs(1), "{call}, {wait:?}: {took:?}");
        }
    }
}

fn time_to_go_on(call: &str, wait: Wait) -> Duration {
    let (_directory, ring) = file_ring(4096);
    let (path, shown) = (ring.path().unwrap().display(), format!("{wait:?}"));
    let mut consumer = Actor::start("resuming::holder", &[("path", &path)]);
    consumer.expect("ready");
    let params: [(&str, &dyn Display); 3] = [("path", &path), ("wait", &shown), ("call", &call)];
    let mut producer = Actor::start("resuming::pusher", &params);
    producer.expect("full");
    consumer.kill();
    let start = Instant::now();
    producer.expect("pushed");
    let took = start.elapsed();
    producer.finish();
    assert!(!ring.stats().unwrap().consumers[0].holds_space);
    took
}

pub(crate) fn holder() {
    let ring = Ring::open(Script::path()).unwrap();
    let _consumer = ring.consumer("holder").unwrap();
    say("ready");
    listen();
}

pub(crate) fn pusher() {
    let ring = RingOptions::new().wait(Script::wait()).open(Script::path()).unwrap();
    let mut producer = ring.producer().unwrap();
    while producer.try_push(&[0; 100]).is_ok() {}
    say("full");
    if Script::text("call") == "push" {
        producer.push(&[1; 1000]).unwrap();
    } else {
        eventually("there is room", || producer.try_push(&[1; 1000]).is_ok());
    }
    say("pushed");
}

#[test]
fn names_that_are_away_make_room_for_new_ones() {
    // Goal: a name is remembered as long as that can mean something: until what it has not read is overwritten.
    // Method: a ring with two names; a third is refused while both can resume, and taken when one was lapped.
    let ring = RingOptions::new().capacity(4096).consumers_max(2).anonymous().unwrap();
    let mut producer = ring.producer().unwrap();
    producer.push(b"first").unwrap();
    for name in ["a", "b"] {
        assert_eq!(&*ring.consumer(name).unwrap().soon(), b"first");
    }
    assert!(matches!(ring.consumer("c"), Err(Error::NoSlot { table: "consumer", slots: 2 })));
    for _ in 0..100 {
        producer.push(&[0; 100]).unwrap();
    }
    let mut third = ring.consumer("c").unwrap();
    assert_eq!(third.missed_bytes(), 0, "what the old name missed is not the new one's");
    assert_eq!(third.soon().len(), 100);
    let names: Vec<_> = ring.stats().unwrap().consumers.into_iter().map(|c| c.name).collect();
    assert!(names.contains(&"c".into()) && names.len() == 2, "{names:?}");
}

#[test]
fn a_new_name_starts_where_it_wants_and_a_known_one_where_it_stopped() {
    // Goal: the start option is for names that never began; others go on. Method: all starts, with a new and with a known name.
    let ring = RingOptions::new().capacity(64 << 10).anonymous().unwrap();
    let mut producer = ring.producer().unwrap();
    let positions: Vec<_> = (0..10).map(|n| producer.push_at(1000 + n, &[n as u8]).unwrap()).collect();
    let starts = [
        ("oldest", Start::Oldest, Some(0)),
        ("now", Start::Now, None),
        ("at", Start::At(positions[4]), Some(4)),
        ("since", Start::Since(1007), Some(7)),
        ("later", Start::Since(2000), None),
    ];
    for (name, start, first) in starts {
        let mut consumer = ring.consumer_with(name, ConsumerOptions::new().start(start)).unwrap();
        assert_eq!(consumer.try_poll().unwrap().map(|frame| frame[0]), first, "{name}");
        drop(consumer);
        let again = ConsumerOptions::new().start(Start::Now);
        let mut consumer = ring.consumer_with(name, again).unwrap();
        let next = first.map(|first| first + 1);
        assert_eq!(consumer.try_poll().unwrap().map(|frame| frame[0]), next, "{name}");
    }
    for at in [8, positions[9] + 1600] {
        let refused = ring.consumer_with("x", ConsumerOptions::new().start(Start::At(at)));
        assert!(matches!(refused, Err(Error::Invalid { option: "start", .. })), "{refused:?}");
    }
    for name in ["", "a\0b", &"x".repeat(65)] {
        let refused = ring.consumer(name);
        assert!(matches!(refused, Err(Error::Invalid { option: "consumer name", .. })), "{refused:?}");
    }
    assert_eq!(ring.consumer(&"x".repeat(64)).unwrap().name().len(), 64);
}

fn file_ring(capacity: u64) -> (tempfile::TempDir, Ring) {
    let directory = directory();
    let ring = RingOptions::new().capacity(capacity).create(directory.path().join("ring")).unwrap();
    (directory, ring)
}
