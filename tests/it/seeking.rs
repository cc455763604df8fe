//! Seeking: readers begin and go on where they want.

use crate::harness::Next;
use crate::records::{check_bytes, record, span};
use shm_ring::{Consumer, Observer, PollError, Position, Ring, RingOptions, Start};

/// When the n-th record was made.
fn time_of(n: u64) -> u64 {
    1_000_000 + 10 * n
}

/// Records with pads, aborts and a batch between them, at known times; where they are.
fn filled(options: &RingOptions) -> (Ring, Vec<Position>) {
    let ring = options.anonymous().unwrap();
    let mut producer = ring.producer().unwrap();
    let mut positions = vec![];
    for n in 0..20 {
        if n % 3 == 0 {
            drop(producer.claim(50).unwrap());
        }
        positions.push(producer.push_at(time_of(n), &record(0, n, 40)).unwrap());
    }
    (ring, positions)
}

fn options() -> RingOptions {
    RingOptions::new().capacity(64 << 10)
}

/// What both kinds of reader can.
trait Reader {
    fn go(&mut self, start: Start) -> Result<(), PollError>;
    fn at(&self) -> Position;
    /// The sequence of the next record, if there is one.
    fn next_number(&mut self) -> Option<u64>;
}

impl Reader for Consumer {
    fn go(&mut self, start: Start) -> Result<(), PollError> {
        self.seek(start)
    }

    fn at(&self) -> Position {
        self.position()
    }

    fn next_number(&mut self) -> Option<u64> {
        let frame = self.try_poll().unwrap()?;
        let n = frame.sequence().unwrap();
        check_bytes(&frame, 0, n);
        Some(n)
    }
}

impl Reader for Observer {
    fn go(&mut self, start: Start) -> Result<(), PollError> {
        self.seek(start)
    }

    fn at(&self) -> Position {
        self.position()
    }

    fn next_number(&mut self) -> Option<u64> {
        let mut payload = vec![];
        let n = self.try_next(&mut payload).unwrap()?.sequence.unwrap();
        check_bytes(&payload, 0, n);
        Some(n)
    }
}

fn readers(ring: &Ring) -> [Box<dyn Reader>; 2] {
    [Box::new(ring.consumer("c").unwrap()), Box::new(ring.observer().unwrap())]
}

#[test]
fn a_reader_goes_where_it_is_told() {
    // Goal: each start leads to the record that it names, there and back, any number of times. Method: both kinds of reader.
    let (ring, positions) = filled(&options());
    let _more = ring.producer().unwrap();
    for mut reader in readers(&ring) {
        for _ in 0..3 {
            reader.go(Start::Now).unwrap();
            assert_eq!(reader.next_number(), None);
            reader.go(Start::Oldest).unwrap();
            assert_eq!(reader.next_number(), Some(0));
            for (n, position) in positions.iter().enumerate().rev() {
                reader.go(Start::At(*position)).unwrap();
                assert_eq!(reader.at(), *position);
                assert_eq!(reader.next_number(), Some(n as u64));
            }
            for n in 0..20 {
                reader.go(Start::Since(time_of(n) - 3)).unwrap();
                assert_eq!(reader.next_number(), Some(n));
                reader.go(Start::Since(time_of(n))).unwrap();
                assert_eq!(reader.next_number(), Some(n));
            }
            reader.go(Start::Since(0)).unwrap();
            assert_eq!(reader.next_number(), Some(0));
            reader.go(Start::Since(time_of(20))).unwrap();
            assert_eq!(reader.next_number(), None);
            let tail = ring.stats().unwrap().tail;
            reader.go(Start::At(tail)).unwrap();
            assert_eq!((reader.at(), reader.next_number()), (tail, None));
        }
    }
}

#[test]
fn a_reader_that_is_refused_stays_where_it_is() {
    // Goal: a place that is none is an error with the tail, and the reader's place is what it was.
    // Method: uneven positions, positions inside records and batches, beyond the tail, a time in a ring without any.
    let (ring, positions) = filled(&options());
    let mut producer = ring.producer().unwrap();
    let mut batch = producer.batch(3, 300).unwrap();
    for n in 20..23 {
        batch.push(&record(0, n, 100)).unwrap();
    }
    batch.commit();
    let tail = ring.stats().unwrap().tail;
    for mut reader in readers(&ring) {
        reader.go(Start::At(positions[5])).unwrap();
        for position in
            [1, positions[5] + 8, positions[5] + 16, tail + 16, tail + (1 << 20), u64::MAX, 1 << 63]
        {
            let refused = reader.go(Start::At(position));
            assert_eq!(refused, Err(PollError::NoSuchPosition { position, tail }));
            assert_eq!(reader.at(), positions[5]);
        }
        assert_eq!(reader.next_number(), Some(5));
    }
    let (ring, _) = filled(&options().metadata(false));
    let _more = ring.producer().unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    drop(consumer.soon());
    let at = consumer.position();
    assert_eq!(consumer.seek(Start::Since(5)), Err(PollError::NoMetadata));
    assert_eq!(ring.observer().unwrap().seek(Start::Since(5)), Err(PollError::NoMetadata));
    assert_eq!(consumer.position(), at);
    assert_eq!(consumer.soon().timestamp_ns(), None);
}

#[test]
fn a_reader_that_goes_back_too_far_gets_the_oldest() {
    // Goal: what was overwritten can't be had; the reader gets the oldest there is, and a consumer knows how much it missed.
    // Method: lap a ring without consumers; go back to places that are gone, and to all that may still be there.
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let mut producer = ring.producer().unwrap();
    let positions: Vec<_> = (0..500).map(|n| producer.push(&record(0, n, 40)).unwrap()).collect();
    let oldest = ring.stats().unwrap().oldest;
    assert!(positions.contains(&oldest));
    for position in positions.iter().filter(|position| **position < oldest) {
        let mut consumer = ring.consumer("c").unwrap();
        let missed = consumer.missed_bytes();
        consumer.seek(Start::At(*position)).unwrap();
        assert_eq!(consumer.position(), oldest);
        assert_eq!(consumer.missed_bytes() - missed, oldest - position);
        assert_eq!(consumer.soon().position(), oldest);
        consumer.seek(Start::Now).unwrap();
    }
    // An observer may find more than a consumer can hold, or is told what it lost; never nothing at all.
    for position in (0..=*positions.last().unwrap()).step_by(16) {
        let mut observer = ring.observer().unwrap();
        if observer.seek(Start::At(position)).is_err() {
            assert!(!positions.contains(&position));
            continue;
        }
        let mut payload = vec![];
        match observer.try_next(&mut payload) {
            Ok(Some(info)) => {
                assert_eq!(info.position, position);
                check_bytes(&payload, 0, info.sequence.unwrap());
            }
            Err(PollError::Lapped { lost_bytes, resumed_at }) => {
                assert_eq!(position + lost_bytes, resumed_at);
                let (info, payload) = observer.soon();
                assert_eq!(info.position, resumed_at);
                check_bytes(&payload, 0, info.sequence.unwrap());
            }
            other => panic!("{other:?} at {position}, where an observer would stay for ever"),
        }
    }
}

#[test]
fn history_stays_for_those_who_come_later() {
    // Goal: without a consumer, at least three quarters of the capacity can still be read, by a consumer that comes then.
    // Method: lap; attach; count the bytes up to the tail.
    for exclusive in [false, true] {
        let options = RingOptions::new().capacity(16 << 10);
        let ring = if exclusive { options.single_producer() } else { options }.anonymous().unwrap();
        let mut producer = ring.producer().unwrap();
        for n in 0..3000 {
            producer.push(&record(0, n, (n % 200) as usize)).unwrap();
            if n % 100 != 50 {
                continue;
            }
            let mut consumer = ring.consumer("c").unwrap();
            consumer.seek(Start::Oldest).unwrap();
            let mut bytes = 0;
            let mut last = None;
            consumer
                .drain(usize::MAX, |frame| {
                    check_bytes(&frame, 0, frame.sequence().unwrap());
                    bytes += span(frame.len());
                    last = frame.sequence();
                })
                .unwrap();
            assert_eq!(last, Some(n));
            assert!(bytes >= 12 << 10 || n < 150, "{bytes} bytes of history after {n} records");
        }
    }
}

#[test]
fn a_start_by_time_skips_everything_older() {
    // Goal: `Since` leads to no record that is older, also when a claim stands open before those that are.
    // Method: a claim of long ago, records of then behind it; a reader that starts later; then the claim is committed.
    let ring = options().anonymous().unwrap();
    let (mut slow, mut fast) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut claim = slow.claim(8).unwrap();
    claim.set_timestamp_ns(100);
    for time in [110, 120, 130] {
        fast.push_at(time, &[0; 8]).unwrap();
    }
    let mut consumer = ring.consumer("c").unwrap();
    consumer.seek(Start::Since(125)).unwrap();
    claim.commit();
    let first = consumer.soon().timestamp_ns();
    assert_eq!(first, Some(130));
}
