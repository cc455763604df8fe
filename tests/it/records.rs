//! Records: payloads that are functions of who wrote them and when, so that a torn, mixed or invented byte is found.
//!
//! ```text
//!   (producer, sequence) --+-- length: log-uniform, 0 and the maximum included
//!                          +-- words:  seed + i * ODD, so that no two records share a word at the same place
//!                          +-- way:    how it gets into the ring, the same for eight in a row
//! ```

use shm_ring::{ClaimError, Producer};
use std::time::{Duration, Instant};

/// A frame's header and its metadata.
pub(crate) const HEAD_BYTES: u64 = 32;
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Records in a row that get into the ring in the same way.
const GROUP: u64 = 8;

/// A number that looks random (splitmix64).
pub(crate) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(ODD);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

fn seed(producer: u64, sequence: u64) -> u64 {
    mix(producer << 48 ^ sequence)
}

/// How long that record is.
pub(crate) fn length(producer: u64, sequence: u64, max: usize) -> usize {
    let random = mix(seed(producer, sequence));
    let bits = random % u64::from(max.ilog2() + 3);
    match bits.checked_sub(1) {
        None => 0,
        Some(bits) if 1 << bits > max => max,
        Some(bits) => ((random >> 32) % (1 << bits)) as usize + 1,
    }
}

/// Writes that record's bytes, as many as fit.
pub(crate) fn fill(out: &mut [u8], producer: u64, sequence: u64) {
    let mut word = seed(producer, sequence) ^ out.len() as u64;
    for chunk in out.chunks_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        word = word.wrapping_add(ODD);
    }
}

/// That record.
pub(crate) fn record(producer: u64, sequence: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    fill(&mut out, producer, sequence);
    out
}

/// Fails unless `found` is that record, every byte.
pub(crate) fn check(found: &[u8], producer: u64, sequence: u64, max: usize) {
    let expected = length(producer, sequence, max);
    assert_eq!(found.len(), expected, "length of record {sequence} of producer {producer}");
    check_bytes(found, producer, sequence);
}

/// The same for a record whose length is known otherwise.
pub(crate) fn check_bytes(found: &[u8], producer: u64, sequence: u64) {
    let mut word = seed(producer, sequence) ^ found.len() as u64;
    for (at, chunk) in found.chunks(8).enumerate() {
        let expected = word.to_le_bytes();
        assert_eq!(
            chunk,
            &expected[..chunk.len()],
            "byte {} of the {} of record {sequence} of producer {producer} is torn or invented",
            at * 8,
            found.len()
        );
        word = word.wrapping_add(ODD);
    }
}

/// Bytes from a record's frame to the next one, in a ring with metadata.
pub(crate) fn span(len: usize) -> u64 {
    HEAD_BYTES + (len as u64).next_multiple_of(16)
}

/// How a record gets into the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Push,
    /// Claimed, filled in place, with a level and a kind.
    InPlace,
    /// Claimed longer than needed.
    Shorter,
    /// After a claim that was given up.
    AfterAbort,
    /// After a claim that was leaked.
    AfterLeak,
    /// All eight in one claim, with too much of it.
    Batch,
    /// With a timestamp of its own.
    At,
    /// By trying until there is room.
    Try,
}

const WAYS: [Way; 8] =
    [Way::Push, Way::InPlace, Way::Shorter, Way::AfterAbort, Way::AfterLeak, Way::Batch, Way::At, Way::Try];

/// The way of that record.
pub(crate) fn way(producer: u64, sequence: u64) -> Way {
    WAYS[(mix(seed(producer, sequence / GROUP)) % WAYS.len() as u64) as usize]
}

/// The longest of a producer's records in mixed ways: so that eight of them fit a batch.
pub(crate) fn mixed_max(producer: u64, sequence: u64, max: usize) -> usize {
    if way(producer, sequence) == Way::Batch { max / 16 } else { max }
}

/// The timestamp of a record that has one of its own.
pub(crate) fn own_timestamp(sequence: u64) -> u64 {
    1_600_000_000_000_000_000 + sequence
}

/// Level and kind of a record that has them.
pub(crate) fn tags(sequence: u64) -> (u8, u8) {
    (sequence as u8, !(sequence >> 3) as u8)
}

/// Appends `n` records, a multiple of eight, in all ways; `between` is called between them.
pub(crate) fn append_mixed(producer: &mut Producer, n: u64, between: fn(u64)) {
    let id = u64::from(producer.slot());
    let max = producer.payload_max_bytes();
    let mut sequence = 0;
    while sequence < n {
        if way(id, sequence) == Way::Batch {
            append_batch(producer, id, sequence, max);
            sequence += GROUP;
        } else {
            append_one(producer, id, sequence, max);
            sequence += 1;
        }
        between(sequence);
    }
}

fn append_batch(producer: &mut Producer, id: u64, first: u64, max: usize) {
    let records: Vec<Vec<u8>> =
        (first..first + GROUP).map(|n| record(id, n, length(id, n, max / 16))).collect();
    let bytes: usize = records.iter().map(Vec::len).sum();
    // Room for more than comes, so that there is an end to pad.
    let mut batch = producer.batch(GROUP as usize, bytes + 64).unwrap();
    for record in &records {
        batch.push(record).unwrap();
    }
    batch.commit();
}

fn append_one(producer: &mut Producer, id: u64, sequence: u64, max: usize) {
    let len = length(id, sequence, max);
    let bytes = record(id, sequence, len);
    match way(id, sequence) {
        Way::Push | Way::Batch => {
            producer.push(&bytes).unwrap();
        }
        Way::InPlace => {
            let mut claim = producer.claim(len).unwrap();
            fill(&mut claim, id, sequence);
            let (level, kind) = tags(sequence);
            claim.set_level(level);
            claim.set_kind(kind);
            claim.commit();
        }
        Way::Shorter => {
            let longer = (len + (sequence % 100) as usize).min(max);
            let mut claim = producer.claim(longer).unwrap();
            fill(&mut claim[..len], id, sequence);
            claim.commit_len(len);
        }
        Way::AfterAbort => {
            let mut given_up = producer.claim(length(id, !sequence, max)).unwrap();
            given_up.fill(0xab);
            drop(given_up);
            producer.push(&bytes).unwrap();
        }
        Way::AfterLeak => {
            let mut leaked = producer.claim(length(id, !sequence, max / 4)).unwrap();
            leaked.fill(0xcd);
            std::mem::forget(leaked);
            producer.push(&bytes).unwrap();
        }
        Way::At => {
            producer.push_at(own_timestamp(sequence), &bytes).unwrap();
        }
        Way::Try => try_until_there_is_room(producer, &bytes),
    }
}

fn try_until_there_is_room(producer: &mut Producer, bytes: &[u8]) {
    let start = Instant::now();
    loop {
        match producer.try_push(bytes) {
            Ok(_) => return,
            Err(ClaimError::Full { .. }) => std::thread::sleep(Duration::from_micros(50)),
            Err(error) => panic!("{error}"),
        }
        assert!(start.elapsed() < super::harness::PATIENCE, "no room for {} bytes", bytes.len());
    }
}

/// A checksum, the format's: crc32c, bit by bit.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
