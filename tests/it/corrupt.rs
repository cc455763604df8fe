//! Corrupt: bytes that no sound producer writes are told, once and for all, and never followed.

use crate::harness::{Next, directory};
use crate::records::mix;
use shm_ring::{ClaimError, Observer, PollError, Ring, RingOptions, Start};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DATA: u64 = 2;
const PAD: u64 = 3;
const INNER: u64 = 6;
/// The end of all positions.
const END: u64 = 1 << 63;
/// What hostile bytes may cost at most, on a machine that does other things as well.
const SOON: Duration = Duration::from_secs(30);

/// Where a part of the ring's file begins, from its header.
fn offset(file: &File, at: u64) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, at).unwrap();
    u64::from_le_bytes(word)
}

/// Writes a frame's header where the document says, over whatever is there.
pub(crate) fn forge(path: &Path, position: u64, state: u64, len_bytes: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (nonce, capacity, data) = (offset(&file, 32), offset(&file, 48), offset(&file, 112));
    let word = len_bytes | state << 32 | ((position / capacity) & 0xffff) << 48;
    let words = [word.to_le_bytes(), (position ^ nonce).to_le_bytes()].concat();
    file.write_all_at(&words, data + position % capacity).unwrap();
}

/// Writes words of a ring's file: where, counted from the word of the header that says where a part begins, and what.
fn write(path: &Path, words: &[(u64, u64, u64)]) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    for (part, at, word) in words {
        file.write_all_at(&word.to_le_bytes(), offset(&file, *part) + at).unwrap();
    }
}

/// Words of the header that say where parts begin.
const LIVE: u64 = 72;
const PRODUCERS: u64 = 80;
const CONSUMERS: u64 = 96;

#[test]
fn a_frame_that_is_too_long_ends_its_readers() {
    // Goal: a length beyond any claim is `Corrupt` with its position, for good, and no byte of it is handed out.
    // Method: forge headers under a right seal behind good records; every call of both readers; what came before is read.
    let directory = directory();
    for (n, (state, len)) in
        [(DATA, 1025), (INNER, 4096), (DATA, u64::from(u32::MAX)), (PAD, 1 << 20)].into_iter().enumerate()
    {
        let path = directory.path().join(n.to_string());
        let ring = RingOptions::new().capacity(4096).create(&path).unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
        let mut observer = ring.observer().unwrap();
        producer.push(b"good").unwrap();
        let position = producer.push(b"will be forged").unwrap();
        forge(&path, position, state, len);
        assert_eq!(&*consumer.soon(), b"good");
        assert_eq!(observer.soon().1, b"good");
        for _ in 0..2 {
            let error = consumer.try_poll().unwrap_err();
            let PollError::Corrupt { position: at, .. } = error else { panic!("{error:?}") };
            assert_eq!(at, position);
            assert_eq!(consumer.poll().unwrap_err(), error);
            assert_eq!(consumer.drain(9, |_| panic!("a record")).unwrap_err(), error);
            assert_eq!(consumer.seek(Start::Oldest).unwrap_err(), error);
            let error = observer.try_next(&mut Vec::new()).unwrap_err();
            assert!(matches!(error, PollError::Corrupt { position: at, .. } if at == position), "{error:?}");
            assert_eq!(observer.next(&mut Vec::new()).unwrap_err(), error);
        }
    }
}

#[test]
fn bytes_without_a_seal_are_no_frame() {
    // Goal: nothing that lies in the data passes for a frame: not an older lap's, not a payload that looks like a header, not a frame
    // of another position. Method: payloads full of headers, made for other positions and another ring; walk and scan.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(4096).create(&path).unwrap();
    let file = File::open(&path).unwrap();
    let nonce = offset(&file, 32);
    let (mut producer, mut observer) = (ring.producer().unwrap(), ring.observer().unwrap());
    let mut expected = vec![];
    for n in 0..400u64 {
        let start = observer.tail();
        let mut payload = vec![];
        for at in (start + 32..start + 32 + 512).step_by(16) {
            // As it would stand a lap earlier, one unit beside, or here, in another ring.
            let (position, nonce) =
                [(at.wrapping_sub(4096), nonce), (at ^ 16, nonce), (at, !nonce)][(n % 3) as usize];
            payload.extend((100 | DATA << 32 | ((position / 4096) & 0xffff) << 48).to_le_bytes());
            payload.extend((position ^ nonce).to_le_bytes());
        }
        producer.push(&payload).unwrap();
        expected.push((start, payload));
        let mut consumer = ring.consumer("c").unwrap();
        consumer.seek(Start::Oldest).unwrap();
        let from = expected.iter().position(|(at, _)| *at == consumer.position()).unwrap();
        for (at, payload) in &expected[from..] {
            let frame = consumer.soon();
            assert_eq!((frame.position(), &frame[..]), (*at, &payload[..]));
        }
        assert!(consumer.try_poll().unwrap().is_none());
        let (info, seen) = observer.soon();
        assert_eq!((info.position, &seen), (start, &expected.last().unwrap().1));
    }
}

#[test]
fn observers_survive_anything() {
    // Goal: an observer of a file full of nonsense returns: records, losses or an error, but no panic, no endless loop, no crash.
    // Method: rings with noise over their tables and data, everywhere or in one place, observed from every kind of start.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(4096).producers_max(4).consumers_max(4).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    ring.consumer("c").unwrap();
    for n in 0..60u8 {
        producer.push(&vec![n; usize::from(n) * 3]).unwrap();
    }
    drop(producer);
    drop(ring);
    let sound = fs::read(&path).unwrap();
    for seed in 0..400 {
        fs::write(&path, noisy(&sound, seed)).unwrap();
        let mut observer = Ring::open_observer(&path).unwrap();
        let stats = observer.stats().unwrap();
        assert_eq!(stats.capacity_bytes, 4096);
        let starts = [Start::Now, Start::Oldest, Start::At(stats.tail & !15), Start::At(0), Start::Since(5)];
        for start in starts {
            // Refused or not: what counts is that it returns.
            let _ = observer.seek(start);
            look_around(&mut observer);
        }
    }
}

fn look_around(observer: &mut Observer) {
    let mut payload = Vec::new();
    for _ in 0..500 {
        match observer.try_next(&mut payload) {
            Ok(Some(info)) => assert!(info.len_bytes == payload.len() && payload.len() <= 1024),
            Ok(None) => break,
            Err(PollError::Lapped { .. }) => {}
            Err(PollError::Corrupt { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A ring with noise behind its header.
fn noisy(sound: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    let mut random = mix(seed);
    let mut next = || {
        random = mix(random);
        random
    };
    match seed % 4 {
        0 => bytes[4096..].chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&next().to_le_bytes())),
        // Whole words in the tables: the tail, grants, marks, intents, positions.
        1 => {
            for _ in 0..10 {
                let at = 4096 + (next() % 1536 * 8) as usize;
                let word = [next(), u64::MAX, 1 << 63, 0, next() % 8192][(next() % 5) as usize];
                bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        // The live page's words, which everything follows from.
        2 => {
            for at in [0, 128, 136, 144, 384] {
                let word = [next(), u64::MAX, 1 << 63, 15, next() % 8192][(next() % 5) as usize];
                bytes[4096 + at..4096 + at + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        _ => {
            for _ in 0..20 {
                let at = 4096 + (next() as usize) % (bytes.len() - 4096);
                bytes[at] ^= 1 << (next() % 8);
            }
        }
    }
    bytes
}

#[test]
fn a_forged_tail_ends_its_producers() {
    // Goal: a tail that no producer can have left is `Corrupt`, for good: no overflow, no claim at a place that is none, none below what
    // was claimed already. Method: edges, odd places and steps back, before a producer attaches and while it is there, in both modes.
    let directory = directory();
    for single in [false, true] {
        for (n, tail) in [u64::MAX, u64::MAX - 15, END + 16, END | 4096, 15, 4097, 16].into_iter().enumerate()
        {
            let path = directory.path().join(format!("{single} {n}"));
            let options = RingOptions::new().capacity(4096);
            let options = if single { options.single_producer() } else { options };
            let ring = options.create(&path).unwrap();
            let mut producer = ring.producer().unwrap();
            (0..40).for_each(|_| assert!(producer.push(&[7; 100]).is_ok()));
            write(&path, &[(LIVE, 0, tail)]);
            // One back is seen at once where only one producer moves it, and by the others where they race for it.
            if tail != 16 || single {
                let error = corrupted(|| producer.try_push(&[7; 1000]));
                assert_eq!(producer.push(b"x").unwrap_err(), error);
                assert_eq!(producer.try_claim(0).unwrap_err(), error);
                assert_eq!(producer.try_batch(2, 8).unwrap_err(), error);
                write(&path, &[(LIVE, 0, 8192)]);
                assert_eq!(producer.push_timeout(b"x", Duration::ZERO).unwrap_err(), error);
            }
            drop(producer);
            write(&path, &[(LIVE, 0, tail)]);
            if tail != 16 {
                let mut producer = ring.producer().unwrap();
                assert_eq!(producer.push(b"x").unwrap_err(), ClaimError::Corrupt { tail });
            }
        }
    }
}

/// What a producer says once it sees the tail: it has room up to its limit without looking, if it is alone.
fn corrupted(mut push: impl FnMut() -> Result<u64, ClaimError>) -> ClaimError {
    for _ in 0..16 {
        match push() {
            Ok(position) => assert!(position % 16 == 0 && position < END, "{position:#x}"),
            Err(error @ ClaimError::Corrupt { .. }) => return error,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the tail went unnoticed")
}

#[test]
fn no_reader_begins_where_no_frame_can_be() {
    // Goal: a forged place between two boundaries, or beyond the end of all positions, is `Corrupt` for a consumer, and an observer does not
    // go there. Method: forge tail and resume, each with a right seal there; attach, seek, look.
    let directory = directory();
    for (n, place) in [u64::MAX - 15, END + 16, 4097, 8].into_iter().enumerate() {
        let path = directory.path().join(n.to_string());
        let ring = RingOptions::new().capacity(4096).create(&path).unwrap();
        ring.producer().unwrap().push(b"good").unwrap();
        let mut before = ring.consumer("before").unwrap();
        drop(ring.consumer("known").unwrap());
        forge(&path, place & !7, DATA, 4);
        // The second slot is the known name's.
        write(&path, &[(LIVE, 0, place), (CONSUMERS, 128 + 8, place)]);
        before.seek(Start::Now).unwrap();
        for consumer in [&mut before, &mut ring.consumer("known").unwrap()] {
            let error = consumer.try_poll().unwrap_err();
            assert_eq!(error, consumer.poll().unwrap_err());
            assert!(matches!(error, PollError::Corrupt { position, .. } if position == place), "{error:?}");
            assert_eq!(consumer.seek(Start::Oldest).unwrap_err(), error);
        }
        for mut observer in [ring.observer().unwrap(), Ring::open_observer(&path).unwrap()] {
            let refused = observer.seek(Start::At(place)).unwrap_err();
            assert!(matches!(refused, PollError::NoSuchPosition { .. }), "{refused:?}");
            assert!(observer.position() % 16 == 0 && observer.position() <= END);
            look_around(&mut observer);
        }
    }
}

#[test]
fn frames_beyond_the_tail_end_their_readers() {
    // Goal: nobody walks along forged frames to where nobody claimed. Method: a lap of pads behind the tail, and one that goes on for
    // ever, because it is written while it is read.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(1 << 20).create(&path).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let mut observer = ring.observer().unwrap();
    let tail = producer.push(b"good").unwrap() + 48;
    for position in (tail..tail + 4096).step_by(16) {
        forge(&path, position, PAD, 0);
    }
    assert_eq!((&*consumer.soon(), &*observer.soon().1), (&b"good"[..], &b"good"[..]));
    let error = consumer.try_poll().unwrap_err();
    assert!(matches!(error, PollError::Corrupt { position, .. } if position < tail + 2048), "{error:?}");
    assert_eq!(consumer.poll().unwrap_err(), error);
    let error = observer.try_next(&mut Vec::new()).unwrap_err();
    assert!(matches!(error, PollError::Corrupt { position, .. } if position == tail), "{error:?}");

    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A pad on every boundary of this lap and the next, and the tail always far away.
            for lap in (0..).map(|lap| lap << 20) {
                write(&path, &[(LIVE, 0, lap + (8 << 20)), (LIVE, 128, lap + (8 << 20))]);
                for position in (lap..lap + (1 << 20)).step_by(64 << 10) {
                    forge(&path, position, PAD, (64 << 10) - 16);
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        // Also when this thread panics, or nobody would ever hear of it.
        let _over = SetOnDrop(&over);
        let start = Instant::now();
        for n in 0..200 {
            let mut consumer = ring.consumer("another").unwrap();
            drop(consumer.try_poll());
            let _ = (consumer.seek(Start::Oldest), consumer.drain(9, |_| ()));
            let mut observer = ring.observer().unwrap();
            let _ = (observer.seek(Start::Oldest), observer.try_next(&mut Vec::new()));
            assert!(start.elapsed() < SOON, "{n} rounds took {:?}", start.elapsed());
        }
    });
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_table_of_forged_deaths_is_reaped_soon() {
    // Goal: the work of opening a ring does not grow with the square of its slots, whatever they say, and however often a live producer
    // has to be looked at. Method: 4096 slots that all seem to have died at one place where nothing stands, alone and beside a live one.
    let directory = directory();
    for alive in [false, true] {
        let path = directory.path().join(alive.to_string());
        let ring = RingOptions::new().capacity(4096).producers_max(4096).create(&path).unwrap();
        let mut producer = alive.then(|| ring.producer().unwrap());
        let _ = producer.as_mut().map(|producer| producer.push(b"over").unwrap());
        let mut words = vec![(LIVE, 0, 1024), (LIVE, 144, 4096)];
        for slot in 0..4096 {
            words.extend([(PRODUCERS, slot * 128, 512), (PRODUCERS, slot * 128 + 72, 1)]);
        }
        write(&path, &words);
        let start = Instant::now();
        let again = Ring::open(&path).unwrap();
        let opened = start.elapsed();
        assert!(again.producer().is_err());
        assert!(
            start.elapsed() < SOON,
            "alive: {alive}; opened after {opened:?}, refused after {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn a_punched_hole_ends_its_readers() {
    // Goal: bytes that somebody takes out of the file are no frames; readers say so once and for all rather than wait for ever, and what
    // is before them is read. Method: FALLOC_FL_PUNCH_HOLE over a page in the middle of committed records; both readers, and a group.
    use nix::fcntl::{FallocateFlags, fallocate};
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    let mut member = ring.group("g").unwrap();
    let mut observer = ring.observer().unwrap();
    let mut producer = ring.producer().unwrap();
    for n in 0..100u8 {
        producer.push(&[n; 100]).unwrap();
    }
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let at = i64::try_from(offset(&file, 112) + 4096).unwrap();
    fallocate(&file, FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE, at, 4096)
        .unwrap();
    let mut payload = Vec::new();
    for n in 0..28u8 {
        assert_eq!(consumer.soon()[..], [n; 100]);
        assert_eq!(member.poll().unwrap()[..], [n; 100]);
        assert_eq!(observer.soon().1, [n; 100]);
    }
    // The record that the hole begins in has its header, and zeros.
    drop(consumer.soon());
    drop(member.poll().unwrap());
    drop(observer.soon());
    for _ in 0..2 {
        let told = consumer.poll_timeout(SOON).map(|frame| frame.is_some());
        assert!(matches!(told, Err(PollError::Corrupt { .. })), "{told:?}");
        let told = member.poll_timeout(SOON).map(|delivery| delivery.is_some());
        assert!(matches!(told, Err(PollError::Corrupt { .. })), "{told:?}");
        let told = observer.next_timeout(&mut payload, SOON);
        assert!(matches!(told, Err(PollError::Corrupt { .. })), "{told:?}");
    }
}
