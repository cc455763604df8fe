//! Image: the bytes of a sound ring, and forged words in it. Knows the layout from `docs/format.md`, not from the library.
//!
//! (I1) an [`Image`] starts as a ring that the library made; (I2) forged frames carry the right seal and lap, or the library would not
//! look at them.

use crate::script::Script;
use shm_ring::{ConsumerOptions, RingOptions, Start};
use std::path::Path;

/// Bytes of a producer's or a consumer's slot.
const SLOT_BYTES: u64 = 128;
/// Words of the live page that mean something.
const LIVE_WORDS: [u64; 14] = [0, 128, 136, 144, 256, 264, 384, 392, 400, 408, 416, 424, 432, 440];
/// States that a frame's header may say, and two that it may not.
const STATES: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 9];

/// A ring's file.
#[derive(Clone, Debug)]
pub struct Image {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Bytes of data.
    pub capacity: u64,
    live: u64,
    producers: u64,
    n_producers: u64,
    consumers: u64,
    n_consumers: u64,
    data: u64,
    nonce: u64,
}

/// What the bits of a shape byte choose; there are this many.
pub const SHAPES: u8 = 64;

impl Image {
    /// A sound ring of this shape, in use until a moment ago, made at `path`.
    pub fn sound(shape: u8, path: &Path) -> Self {
        let bit = |n: u8| shape >> n & 1 == 1;
        let mut options = RingOptions::new()
            .capacity(if bit(0) { 16384 } else { 4096 })
            .producers_max(if bit(1) { 4 } else { 1 })
            .consumers_max(if bit(2) { 4 } else { 1 })
            .metadata(bit(3));
        if bit(4) {
            options = options.single_producer();
        }
        if bit(5) {
            // The far end, where positions are about to run out.
            options = options.start_position((1 << 63) - 32768);
        }
        let _ = std::fs::remove_file(path);
        let ring = options.create(path).expect("a sound ring can be made");
        let mut producer = ring.producer().expect("the first producer finds a slot");
        let durable = ConsumerOptions::new().durable();
        let mut consumer = ring.consumer_with("c", durable).expect("the first consumer finds a slot");
        for n in 0..40u8 {
            producer.push(&vec![n; usize::from(n) * 3]).expect("the consumer makes room");
            consumer.drain(1, |_| ()).expect("the ring is sound");
        }
        consumer.release();
        producer.claim(100).expect("there is room").commit_len(20);
        let mut batch = producer.batch(3, 60).expect("there is room");
        for n in 0..3 {
            batch.push(&[n; 20]).expect("the batch has room");
        }
        batch.commit();
        drop(producer.claim(50).expect("there is room"));
        drop(consumer);
        if bit(2) {
            let lossy = ConsumerOptions::new().start(Start::Now);
            drop(ring.consumer_with("d", lossy).expect("the second consumer finds a slot"));
        }
        drop((producer, ring));
        Self::read(std::fs::read(path).expect("the file is there"))
    }

    fn read(bytes: Vec<u8>) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        Self {
            capacity: word(48),
            live: word(72),
            producers: word(80),
            n_producers: word(88) & 0xffff_ffff,
            consumers: word(96),
            n_consumers: word(104) & 0xffff_ffff,
            data: word(112),
            nonce: word(32),
            bytes,
        }
    }

    /// The word at `at`, a multiple of 8 inside the file.
    pub fn word(&self, at: u64) -> u64 {
        let at = at as usize;
        u64::from_le_bytes(std::array::from_fn(|n| self.bytes[at + n]))
    }

    /// Replaces it.
    pub fn set(&mut self, (at, word): (u64, u64)) {
        let at = at as usize;
        self.bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    /// Where the tail stands in the file.
    pub fn tail_at(&self) -> u64 {
        self.live
    }

    /// Makes the checksum right.
    pub fn seal_header(&mut self) {
        self.bytes[12..16].fill(0);
        let crc = crc32c::crc32c(&self.bytes[..256]);
        self.bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    }

    /// Words that a forger would start from.
    pub fn near(&self) -> [u64; 5] {
        let tail = self.word(self.live);
        let positions = [self.consumers, self.producers].map(|slot| self.word(slot));
        [tail, tail.wrapping_sub(self.capacity), self.word(self.live + 128), positions[0], positions[1]]
    }

    /// One forgery, as words and where they go, for the file or a mapping of it.
    pub fn forge(&self, script: &mut Script<'_>) -> Vec<(u64, u64)> {
        let near = self.near();
        match script.byte() % 10 {
            0 | 1 => vec![(self.live + LIVE_WORDS[script.below(LIVE_WORDS.len())], script.word(&near))],
            2 => {
                let slot = self.producers + script.below(self.n_producers as usize) as u64 * SLOT_BYTES;
                vec![(slot + script.below(10) as u64 * 8, script.word(&near))]
            }
            3 => {
                let slot = self.consumers + script.below(self.n_consumers as usize) as u64 * SLOT_BYTES;
                vec![(slot + script.below(16) as u64 * 8, script.word(&near))]
            }
            4 | 5 => self.frame(script.word(&near), STATES[script.below(8)], self.len(script), script.byte()),
            // A dead producer: attached, with an intent, and perhaps an open claim there.
            6 => {
                let index = script.below(self.n_producers as usize) as u64;
                let slot = self.producers + index * SLOT_BYTES;
                let (intent, len) = (script.word(&near), self.len(script));
                let mut words = vec![(slot, intent), (slot + 8, len), (slot + 72, 1)];
                words.push((self.live, script.word(&near)));
                if script.byte() % 2 == 0 {
                    words.extend(self.frame(intent, 1, len, index as u8));
                }
                words
            }
            // A chain of frames from somewhere, up to a lap long.
            7 => {
                let (from, state, span) =
                    (script.word(&near), STATES[script.below(8)], 16 * (1 + script.below(64)));
                let n = (script.below(256) + 1).min(self.capacity as usize / span);
                let at = |k: usize| from.wrapping_add((k * span) as u64);
                let len = span as u64 - 16;
                (0..n).flat_map(|k| self.frame(at(k), state, len, 0)).collect()
            }
            8 => vec![(self.data + u64::from(script.short()) * 8 % self.capacity, script.word(&near))],
            _ => vec![(u64::from(script.short()) * 8 % self.bytes.len() as u64, script.raw())],
        }
    }

    /// The same for page 0.
    pub fn forge_header(&mut self, script: &mut Script<'_>) {
        self.bytes[script.below(120)] = script.byte();
    }

    /// A frame's header where it belongs.
    pub fn frame(&self, position: u64, state: u64, len: u64, slot: u8) -> Vec<(u64, u64)> {
        let lap = (position / self.capacity) & 0xffff;
        let head = (len & 0xffff_ffff) | state << 32 | u64::from(slot) << 36 | lap << 48;
        let key = self.nonce ^ self.word(self.live + 384);
        let at = self.data + ((position % self.capacity) & !7);
        // The last 16 bytes of an unaligned position would lie behind the file.
        let second = if at + 16 > self.bytes.len() as u64 { self.data } else { at + 8 };
        vec![(at, head), (second, position ^ key)]
    }

    fn len(&self, script: &mut Script<'_>) -> u64 {
        match script.byte() % 6 {
            0 => 0,
            1 => u64::from(script.byte()),
            2 => u64::from(script.byte()) * 16,
            3 => self.capacity / 4 + u64::from(script.byte() % 64),
            4 => (self.capacity / 4).saturating_sub(u64::from(script.byte())),
            _ => script.raw() & 0xffff_ffff,
        }
    }
}
