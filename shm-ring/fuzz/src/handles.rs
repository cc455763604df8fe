//! Handles: calls on everything that a ring hands out, chosen by a script, and the checks of what comes back.
//!
//! (I1) no call waits for longer than [`SHORT`], and there are at most [`CALLS_MAX`]; (I2) blocking calls are made on poisoned readers
//! only, which have to return.

use crate::scratch::Scratch;
use crate::{image::Image, script::Script};
use shm_ring::{
    ClaimError, Consumer, ConsumerOptions, Delivery, Error, Member, Observer, PollError, Producer, Ring,
    Start,
};
use std::time::Duration;

/// How long a call may wait for something.
const SHORT: Duration = Duration::from_micros(20);
/// Calls for one input.
const CALLS_MAX: usize = 96;
/// So many fruitless looks make a reader ask whether somebody is dead.
const PRESSING: usize = 66;
const NAMES: [&str; 4] = ["c", "d", "e", "\u{fffd}"];

/// What is open on one ring.
#[derive(Debug)]
pub struct Handles<'a> {
    ring: Option<&'a Ring>,
    capacity: u64,
    producers: [Option<Producer>; 2],
    consumers: [Option<Reader>; 2],
    members: [Option<Worker>; 2],
    observer: Option<Observer>,
    observer_poison: Option<PollError>,
    payload: Vec<u8>,
}

#[derive(Debug)]
struct Worker {
    member: Member,
    poison: Option<PollError>,
}

#[derive(Debug)]
struct Reader {
    consumer: Consumer,
    poison: Option<PollError>,
}

impl<'a> Handles<'a> {
    /// None yet, on a ring that takes them.
    pub fn of_ring(ring: &'a Ring) -> Self {
        Self { ring: Some(ring), ..Self::none(ring.capacity_bytes()) }
    }

    /// An observer alone.
    pub fn of_observer(observer: Observer) -> Self {
        let capacity = observer.stats().map_or(u64::MAX, |stats| stats.capacity_bytes);
        Self { observer: Some(observer), ..Self::none(capacity) }
    }

    fn none(capacity: u64) -> Self {
        Self {
            ring: None,
            capacity,
            producers: [None, None],
            consumers: [None, None],
            members: [None, None],
            observer: None,
            observer_poison: None,
            payload: Vec::new(),
        }
    }

    /// Attaches everything, so that a short script gets somewhere.
    pub fn attach_all(&mut self) {
        let Some(ring) = self.ring else { return };
        self.producers[0] = attached(ring.producer());
        self.consumers[0] = attached(ring.consumer("c")).map(Reader::new);
        self.members[0] = attached(ring.group("g")).map(Worker::new);
        self.observer = attached(ring.observer());
    }

    /// Calls until the script is over. With a file, some of its words change in between.
    pub fn run(&mut self, script: &mut Script<'_>, file: Option<(&Scratch, &Image)>) {
        for _ in 0..CALLS_MAX {
            if script.is_over() {
                break;
            }
            match (script.byte() % 16, file) {
                (0 | 1, Some((scratch, image))) => scratch.write(&image.forge(script)),
                (0..=2, _) => self.attach(script),
                (3..=6, _) => self.produce(script),
                (7..=9, _) => self.consume(script),
                (10 | 11, _) => self.work(script),
                _ => self.observe(script),
            }
        }
    }

    fn attach(&mut self, script: &mut Script<'_>) {
        let Some(ring) = self.ring else { return };
        let which = script.below(2);
        match script.byte() % 10 {
            0 => self.producers[which] = None,
            1 => self.consumers[which] = None,
            8 => self.members[which] = None,
            9 => {
                self.members[which] = None;
                let mut options = ConsumerOptions::new().start(self.start(script));
                if script.byte() % 2 == 0 {
                    options = options.durable();
                }
                let name = ["g", "c"][script.below(2)];
                self.members[which] = attached(ring.group_with(name, options)).map(Worker::new);
            }
            2 | 3 => {
                self.producers[which] = None;
                self.producers[which] = attached(ring.producer());
            }
            4 | 5 => {
                self.consumers[which] = None;
                let mut options = ConsumerOptions::new().start(self.start(script));
                if script.byte() % 2 == 0 {
                    options = options.durable();
                }
                self.consumers[which] =
                    attached(ring.consumer_with(NAMES[script.below(NAMES.len())], options)).map(Reader::new);
            }
            6 => (self.observer, self.observer_poison) = (attached(ring.observer()), None),
            _ => drop(attached(ring.stats()).map(|stats| format!("{stats:?}"))),
        }
    }

    fn start(&self, script: &mut Script<'_>) -> Start {
        let consumer = self.consumers[0].as_ref().map_or(0, |reader| reader.consumer.position());
        let observer =
            self.observer.as_ref().map_or([0; 2], |observer| [observer.position(), observer.tail()]);
        match script.byte() % 4 {
            0 => Start::Oldest,
            1 => Start::Now,
            2 => Start::At(script.word(&[consumer, observer[0], observer[1]])),
            _ => Start::Since(script.word(&[])),
        }
    }

    fn produce(&mut self, script: &mut Script<'_>) {
        let capacity = self.capacity;
        let Some(producer) = &mut self.producers[script.below(2)] else { return };
        let longest = (capacity / 4) as usize;
        let len = match script.byte() % 4 {
            0 => longest - script.below(32),
            _ => script.below(256),
        };
        let payload = vec![0x5a; len];
        match script.byte() % 8 {
            0 => placed(producer.try_push(&payload)),
            1 => {
                if let Ok(Some(position)) = producer.offer(&payload) {
                    sound_position(position);
                }
            }
            2 => placed(producer.push_timeout(&payload, SHORT)),
            3 => placed(producer.try_claim(len).map(|claim| claim.commit())),
            4 => {
                let used = script.below(256).min(len);
                placed(producer.try_claim(len).map(|claim| claim.commit_len(used)));
            }
            5 => placed(producer.claim_timeout(len, SHORT).map(|mut claim| {
                claim.fill(1);
                claim.position()
            })),
            6 => placed(producer.try_claim(len).map(|claim| {
                let position = claim.position();
                std::mem::forget(claim);
                position
            })),
            _ => {
                let n = 1 + script.below(4);
                placed(producer.try_batch(n, len.min(longest / 2)).map(|mut batch| {
                    for _ in 0..n {
                        let _ = batch.push(&payload[..len.min(longest / 2) / n]);
                    }
                    batch.commit()
                }));
            }
        }
    }

    fn consume(&mut self, script: &mut Script<'_>) {
        let (which, capacity) = (script.below(2), self.capacity);
        let start = self.start(script);
        let Some(reader) = &mut self.consumers[which] else { return };
        match script.byte() % 8 {
            0..=2 => {
                for _ in 0..[1, 8, PRESSING][script.below(3)] {
                    reader.poll(capacity, |consumer| consumer.try_poll());
                }
            }
            3 => reader.poll(capacity, |consumer| consumer.poll_timeout(SHORT)),
            4 => reader.drain(capacity, script.below(256)),
            5 | 6 => reader.seek(start),
            _ => {
                let consumer = &mut reader.consumer;
                consumer.release();
                let numbers = (consumer.lag_bytes(), consumer.missed_bytes(), consumer.lost_records());
                drop(format!("{numbers:?} {:?} {:?}", consumer.lost(), consumer.stalled()));
            }
        }
    }

    fn work(&mut self, script: &mut Script<'_>) {
        let (which, capacity) = (script.below(2), self.capacity);
        let Some(worker) = &mut self.members[which] else { return };
        match script.byte() % 8 {
            0..=4 => {
                for _ in 0..[1, 8, PRESSING][script.below(3)] {
                    worker.poll(capacity, |member| member.try_poll(), false);
                }
            }
            5 => worker.poll(capacity, |member| member.poll_timeout(SHORT), false),
            6 => worker.poll(capacity, |member| member.try_poll(), true),
            _ => {
                let member = &worker.member;
                let numbers = (member.position(), member.lag_bytes(), member.lost(), member.stalled());
                drop(format!("{numbers:?}"));
            }
        }
    }

    fn observe(&mut self, script: &mut Script<'_>) {
        let start = self.start(script);
        let Some(observer) = &mut self.observer else { return };
        match script.byte() % 8 {
            0..=3 => {
                for _ in 0..[1, 8, PRESSING, 256][script.below(4)] {
                    let seen = observer.try_next(&mut self.payload);
                    self.observer_poison = observed(seen, &self.payload, self.capacity, self.observer_poison);
                }
            }
            4 => {
                let seen = observer.next_timeout(&mut self.payload, SHORT);
                self.observer_poison = observed(seen, &self.payload, self.capacity, self.observer_poison);
            }
            5 | 6 => match observer.seek(start) {
                Ok(()) | Err(PollError::NoSuchPosition { .. } | PollError::NoMetadata) => {}
                Err(error) => panic!("seek({start:?}) of an observer: {error}"),
            },
            _ => drop(attached(observer.stats()).map(|stats| format!("{stats:?} {}", stats.uuid_string()))),
        }
    }
}

impl Worker {
    fn new(member: Member) -> Self {
        Self { member, poison: None }
    }

    fn poll(
        &mut self,
        capacity: u64,
        how: impl for<'b> FnOnce(&'b mut Member) -> Result<Option<Delivery<'b>>, PollError>,
        leaks: bool,
    ) {
        match how(&mut self.member) {
            Ok(delivery) => {
                assert!(self.poison.is_none(), "{:?}, and then {delivery:?}", self.poison);
                let Some(delivery) = delivery else { return };
                sound_position(delivery.position());
                assert!(delivery.len() as u64 <= capacity / 4, "{} bytes of {capacity}", delivery.len());
                assert_eq!(delivery.info().len_bytes, delivery.len());
                std::hint::black_box(delivery.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
                if leaks {
                    std::mem::forget(delivery);
                }
            }
            // A forged generation reads as revoked, as long as it stands there.
            Err(PollError::Revoked) => {}
            Err(error @ PollError::Corrupt { .. }) => {
                assert!(self.poison.is_none_or(|first| first == error), "{:?}, then {error:?}", self.poison);
                self.poison = Some(error);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

impl Reader {
    fn new(consumer: Consumer) -> Self {
        Self { consumer, poison: None }
    }

    fn poll(
        &mut self,
        capacity: u64,
        how: impl for<'b> FnOnce(&'b mut Consumer) -> Result<Option<shm_ring::Frame<'b>>, PollError>,
    ) {
        let failed = match how(&mut self.consumer) {
            Ok(frame) => {
                assert!(self.poison.is_none(), "{:?}, and then {frame:?}", self.poison);
                let _ = frame.map(|frame| handed_out(&frame, capacity));
                None
            }
            Err(error) => Some(error),
        };
        failed.into_iter().for_each(|error| self.failed(error));
    }

    fn drain(&mut self, capacity: u64, max: usize) {
        match self.consumer.drain(max, |frame| handed_out(&frame, capacity)) {
            Ok(n) => {
                assert!(n <= max && (self.poison.is_none() || max == 0), "{n} of {max}, {:?}", self.poison)
            }
            Err(error) => self.failed(error),
        }
    }

    fn seek(&mut self, start: Start) {
        match self.consumer.seek(start) {
            Ok(()) => assert!(self.poison.is_none(), "{:?}, and then a seek", self.poison),
            Err(PollError::NoSuchPosition { .. } | PollError::NoMetadata) => assert!(self.poison.is_none()),
            Err(error) => self.failed(error),
        }
    }

    /// A forged generation reads as revoked, as long as it stands there; corrupt is for ever.
    fn failed(&mut self, error: PollError) {
        match error {
            PollError::Revoked => return,
            PollError::Corrupt { .. } => assert!(
                self.poison.is_none_or(|first| first == error),
                "{:?}, and then {error:?}",
                self.poison
            ),
            error => panic!("{error:?}"),
        }
        self.poison = Some(error);
        // Would wait for ever if it looked at anything but the poison.
        match self.consumer.poll() {
            Err(again) => {
                assert!(again == error || again == PollError::Revoked, "{error:?}, and then {again:?}")
            }
            Ok(frame) => panic!("{error:?}, and then {frame:?}"),
        };
    }
}

/// A record in place: where it can be, and no longer than a record can be.
fn handed_out(frame: &shm_ring::Frame<'_>, capacity: u64) {
    sound_position(frame.position());
    assert!(frame.len() as u64 <= capacity / 4, "{} bytes of a capacity of {capacity}", frame.len());
    let info = frame.info();
    assert_eq!((info.position, info.len_bytes), (frame.position(), frame.len()));
    // Every byte is mapped.
    std::hint::black_box(frame.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
}

/// The poison after what an observer brought.
fn observed(
    seen: Result<Option<shm_ring::RecordInfo>, PollError>,
    payload: &[u8],
    capacity: u64,
    poison: Option<PollError>,
) -> Option<PollError> {
    if poison.is_some() {
        assert_eq!(seen.err(), poison, "after poison");
        return poison;
    }
    match seen {
        Ok(Some(info)) => {
            sound_position(info.position);
            assert_eq!(info.len_bytes, payload.len());
            assert!(
                payload.len() as u64 <= capacity / 4,
                "{} bytes of a capacity of {capacity}",
                payload.len()
            );
            None
        }
        Ok(None) => {
            assert!(payload.is_empty());
            None
        }
        Err(PollError::Lapped { resumed_at, .. }) => {
            assert!(resumed_at % 16 == 0 && resumed_at <= 1 << 63, "resumed at {resumed_at}");
            None
        }
        Err(error @ PollError::Corrupt { .. }) => Some(error),
        Err(error) => panic!("an observer: {error:?}"),
    }
}

fn placed(result: Result<u64, ClaimError>) {
    if let Ok(position) = result {
        sound_position(position);
    }
}

fn sound_position(position: u64) {
    assert!(position % 16 == 0 && position < 1 << 63, "position {position:#x}");
}

/// Attaching may be refused, in words.
fn attached<T>(result: Result<T, Error>) -> Option<T> {
    result.map_err(|error| error.to_string()).ok()
}
