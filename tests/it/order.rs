//! Order: what n producers push, m consumers receive, every record once, and in one order.

use crate::harness::{Actor, Next, PATIENCE, Script, directory, eventually, fork, listen, say};
use crate::records::{
    Way, append_mixed, check, fill, length, mix, mixed_max, own_timestamp, record, span, tags, way,
};
use shm_ring::{ClaimError, Consumer, Frame, PollError, Ring, RingOptions};
use std::fmt::Display;
use std::path::Path;

const POSITION_END: u64 = 1 << 63;

#[test]
fn consumers_get_every_record_of_shared_producers_in_one_order() {
    // Goal: every record once, each producer's in its order, all consumers' orders the same, all sizes, all ways to append.
    // Method: 4 producers and 3 consumers, processes all, over hundreds of laps; consumers compare every byte and hash their order.
    let options = RingOptions::new().capacity(64 << 10);
    let plan = Plan { options, producers: 4, consumers: 3, records: 3000 };
    assert!(plan.play() > 100 * (64 << 10));
}

#[test]
fn consumers_get_every_record_of_an_exclusive_producer() {
    // Goal: the same for the mode without a compare-exchange. Method: the same with one producer.
    let options = RingOptions::new().capacity(64 << 10).single_producer();
    let plan = Plan { options, producers: 1, consumers: 2, records: 8000 };
    assert!(plan.play() > 50 * (64 << 10));
}

#[test]
fn records_without_metadata_keep_their_order() {
    // Goal: the same without metadata, where a record's header is 16 bytes. Method: as above.
    let options = RingOptions::new().capacity(32 << 10).metadata(false);
    Plan { options, producers: 2, consumers: 2, records: 2000 }.play();
}

#[test]
fn laps_beyond_two_to_the_sixteenth_are_kept_apart() {
    // Goal: the lap in a frame's header has 16 bits; nothing depends on more. Method: the smallest ring, from 50 laps before the turn.
    let turn = 4096 << 16;
    let options = RingOptions::new().capacity(4096).start_position(turn - 50 * 4096);
    let plan = Plan { options, producers: 2, consumers: 2, records: 2000 };
    assert!(plan.play() > turn + 50 * 4096);
}

#[test]
fn positions_just_below_the_last_are_positions_like_others() {
    // Goal: no arithmetic overflows before the end of all positions. Method: start 128 MiB below 2^63, and stay below it.
    let start = POSITION_END - (128 << 20);
    let options = RingOptions::new().capacity(64 << 10).start_position(start);
    let tail = Plan { options, producers: 3, consumers: 2, records: 1500 }.play();
    assert!(tail > start && tail < POSITION_END);
}

#[test]
fn forked_children_are_as_good_as_processes_that_open_a_file() {
    // Goal: the same through an anonymous ring and fork. Method: a process forks all producers and consumers; these read to the end.
    family(4, 3, 2000);
}

#[test]
fn a_forked_exclusive_producer_is_as_good() {
    // Goal, method: the same with the exclusive mode.
    family(1, 2, 4000);
}

#[test]
fn a_ring_survives_every_lap_of_sixteen_bits() {
    // Goal: no frame of lap n passes for one of lap n + 2^16. Method: go there, 70,000 laps, with records that say where they are.
    let ring = RingOptions::new().capacity(4096).metadata(false).anonymous().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let mut sequence = 0u64;
    while consumer.position() < 70_000 * 4096 {
        for n in sequence..sequence + 3 {
            let mut claim = producer.try_claim(1024 - (n % 100) as usize).unwrap();
            claim[..8].copy_from_slice(&n.to_le_bytes());
            claim.commit();
        }
        for n in sequence..sequence + 3 {
            let frame = consumer.try_poll().unwrap().unwrap();
            assert_eq!((frame.len(), &frame[..8]), (1024 - (n % 100) as usize, &n.to_le_bytes()[..]));
        }
        assert!(consumer.try_poll().unwrap().is_none());
        sequence += 3;
    }
}

#[test]
fn claims_end_with_exhausted_at_the_last_position() {
    // Goal: no frame ends beyond 2^63; what was written before is read; no claim ever succeeds afterwards.
    // Method: in both modes, with and without a consumer, start below the end and push until it refuses.
    for (exclusive, consumed) in [(false, false), (false, true), (true, false), (true, true)] {
        let options = RingOptions::new().capacity(4096).start_position(POSITION_END - 10_000);
        let options = if exclusive { options.single_producer() } else { options };
        let ring = options.anonymous().unwrap();
        let mut producer = ring.producer().unwrap();
        let mut consumer = consumed.then(|| ring.consumer("c").unwrap());
        let mut sequence = 0;
        let refused = loop {
            let bytes = record(0, sequence, length(0, sequence, 1024));
            match producer.try_push(&bytes) {
                Ok(position) => {
                    let end = position + span(bytes.len());
                    assert!(
                        end <= POSITION_END,
                        "a frame ends at {end:#x}, exclusive {exclusive}, consumed {consumed}"
                    );
                }
                Err(refused) => break refused,
            }
            if let Some(consumer) = &mut consumer {
                let frame = consumer.soon();
                check(&frame, 0, sequence, 1024);
            }
            sequence += 1;
        };
        assert_eq!(refused, ClaimError::Exhausted);
        assert_eq!(producer.try_push(&[0; 1024]), Err(ClaimError::Exhausted));
        assert_eq!(producer.push(&[0; 1024]), Err(ClaimError::Exhausted));
        assert!(ring.stats().unwrap().tail <= POSITION_END);
        drop(producer);
        assert_eq!(ring.producer().unwrap().push(&[0; 1024]), Err(ClaimError::Exhausted));
    }
}

/// Processes around one ring.
struct Plan {
    options: RingOptions,
    producers: u64,
    consumers: u64,
    /// Of each producer; a multiple of eight.
    records: u64,
}

impl Plan {
    /// Plays it; the tail at the end.
    fn play(self) -> u64 {
        let directory = directory();
        let path = directory.path().join("ring");
        let ring = self.options.create(&path).unwrap();
        let shown = path.display();
        let common: [(&str, &dyn Display); 3] =
            [("path", &shown), ("records", &self.records), ("producers", &self.producers)];
        let with = |name: &dyn Fn() -> String| {
            let name = name();
            let mut params = common.to_vec();
            params.push(("name", &name));
            Actor::start(if name.starts_with('c') { "order::consumer" } else { "order::producer" }, &params)
        };
        let mut consumers: Vec<_> = (0..self.consumers).map(|n| with(&|| format!("c{n}"))).collect();
        for consumer in &mut consumers {
            consumer.expect("ready");
        }
        let mut producers: Vec<_> = (0..self.producers).map(|n| with(&|| format!("p{n}"))).collect();
        let mut slots: Vec<_> = producers.iter_mut().map(|p| p.expect_number("ready")).collect();
        slots.sort_unstable();
        assert!(slots.iter().copied().eq(0..self.producers), "slots {slots:?}");
        for producer in &mut producers {
            producer.tell("go");
        }
        let orders: Vec<_> = consumers.iter_mut().map(|c| c.expect("order")).collect();
        assert!(orders.iter().all(|order| *order == orders[0]), "consumers differ: {orders:?}");
        for producer in producers {
            producer.finish();
        }
        // Whatever is left now was not one of the records.
        for mut consumer in consumers {
            consumer.tell("end");
            consumer.expect("nothing more");
            consumer.finish();
        }
        let stats = ring.stats().unwrap();
        assert_eq!(stats.producers.iter().map(|p| p.records).sum::<u64>(), self.producers * self.records);
        assert_eq!((stats.lost_records, stats.tail), (0, Ring::open(&path).unwrap().stats().unwrap().tail));
        assert!(stats.consumers.iter().all(|c| c.missed_bytes == 0));
        stats.tail
    }
}

pub(crate) fn producer() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut producer = ring.producer().unwrap();
    say(&format!("ready {}", producer.slot()));
    listen();
    append_mixed(&mut producer, Script::number("records"), |_| ());
}

pub(crate) fn consumer() {
    let ring = Ring::open(Script::path()).unwrap();
    let mut consumer = ring.consumer(&Script::text("name")).unwrap();
    say("ready");
    let mut order = Order::new(Script::number("producers"), Script::number("records"), &ring);
    while !order.is_complete() {
        order.take_some(&mut consumer).unwrap();
    }
    say(&format!("order {:016x}", order.hash));
    listen();
    assert!(consumer.try_poll().unwrap().is_none());
    assert_eq!(consumer.lag_bytes(), 0);
    say("nothing more");
}

/// What one consumer saw.
struct Order {
    /// The next sequence of each slot.
    next: Vec<u64>,
    records: u64,
    max: usize,
    last_position: Option<u64>,
    hash: u64,
}

impl Order {
    fn new(producers: u64, records: u64, ring: &Ring) -> Self {
        let next = vec![0; producers as usize];
        Self { next, records, max: ring.payload_max_bytes(), last_position: None, hash: 0 }
    }

    fn is_complete(&self) -> bool {
        self.next.iter().all(|next| *next == self.records)
    }

    /// One record that is waited for, or several that are there.
    fn take_some(&mut self, consumer: &mut Consumer) -> Result<(), PollError> {
        if mix(self.hash).is_multiple_of(3) {
            consumer.drain(5, |frame| self.take(&frame))?;
            return Ok(());
        }
        let frame = consumer.poll_timeout(PATIENCE)?.expect("a record, within the watchdog's time");
        self.take(&frame);
        Ok(())
    }

    fn take(&mut self, frame: &Frame<'_>) {
        let slot = u64::from(frame.producer());
        let sequence = self.next[slot as usize];
        assert!(frame.sequence().is_none_or(|found| found == sequence), "{frame:?}, expected {sequence}");
        assert!(self.last_position.is_none_or(|last| frame.position() > last), "{frame:?} out of order");
        check(frame, slot, sequence, mixed_max(slot, sequence, self.max));
        match (way(slot, sequence), frame.timestamp_ns()) {
            (Way::InPlace, Some(_)) => assert_eq!((frame.level(), frame.kind()), tags(sequence)),
            (Way::At, Some(time)) => assert_eq!(time, own_timestamp(sequence)),
            (_, time) => {
                assert_eq!((frame.level(), frame.kind()), (0, 0));
                assert!(time.is_none_or(|time| time > own_timestamp(0) + (1 << 32)));
            }
        }
        self.next[slot as usize] += 1;
        self.last_position = Some(frame.position());
        self.hash = mix(self.hash ^ frame.position() ^ slot << 56);
    }
}

/// Plays a family of forked processes: all consumers must have heard the same.
fn family(producers: u64, consumers: u64, records: u64) {
    let params: [(&str, &dyn Display); 3] =
        [("producers", &producers), ("consumers", &consumers), ("records", &records)];
    let mut parent = Actor::start("order::parent", &params);
    let orders: Vec<_> = (0..consumers).map(|_| parent.expect("order")).collect();
    assert!(orders.iter().all(|order| *order == orders[0]), "consumers differ: {orders:?}");
    parent.finish();
}

pub(crate) fn parent() {
    let (producers, records) = (Script::number("producers"), Script::number("records"));
    let consumers = Script::number("consumers");
    let options = RingOptions::new().capacity(64 << 10);
    let ring = if producers == 1 { options.single_producer() } else { options }.anonymous().unwrap();
    let all_attached = || {
        let stats = ring.stats().unwrap();
        stats.producers.len() as u64 == producers && stats.consumers.len() as u64 == consumers
    };
    let mut children = vec![];
    for n in 0..consumers {
        children.push(fork(|| {
            let mut consumer = ring.consumer(&format!("c{n}")).unwrap();
            let mut order = Order::new(producers, records, &ring);
            let end = loop {
                match order.take_some(&mut consumer) {
                    Ok(()) => {}
                    Err(end) => break end,
                }
            };
            assert_eq!(end, PollError::Closed);
            assert!(order.is_complete(), "closed after {:?} records of {records}", order.next);
            say(&format!("order {:016x}", order.hash));
        }));
    }
    for _ in 0..producers {
        children.push(fork(|| {
            let mut producer = ring.producer().unwrap();
            // Slots that were used once stay listed, so this can't be missed.
            eventually("all are attached", all_attached);
            append_mixed(&mut producer, records, |_| ());
        }));
    }
    children.into_iter().for_each(crate::harness::Forked::finish);
}

#[test]
fn records_are_where_push_says() {
    // Goal: the position that a producer is told is the one that readers see, over laps, and bytes in place are kept.
    // Method: one process, every size from 0 to the maximum of the smallest ring.
    let directory = directory();
    let ring = create(&directory.path().join("ring"));
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let mut observer = ring.observer().unwrap();
    for len in 0..=producer.payload_max_bytes() {
        let n = len as u64;
        let position = if len % 2 == 0 {
            producer.push(&record(0, n, len)).unwrap()
        } else {
            let mut claim = producer.claim(len).unwrap();
            fill(&mut claim, 0, n);
            let at = claim.position();
            assert_eq!(claim.commit(), at);
            at
        };
        let (info, payload) = observer.soon();
        let frame = consumer.soon();
        assert_eq!((&frame[..], frame.info()), (&payload[..], info));
        assert_eq!((info.position, info.sequence, info.len_bytes), (position, Some(n), len));
        crate::records::check_bytes(&frame, 0, n);
    }
}

fn create(path: &Path) -> Ring {
    RingOptions::new().capacity(4096).create(path).unwrap()
}
