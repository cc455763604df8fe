//! Slots: the words that processes share besides the frames, each with the one who writes it.
//!
//! ```text
//! Live (page 1)           ProducerSlot, 128 bytes         ConsumerSlot, 128 bytes
//!    0 tail                  0 intent      8 intent_len      0 position     8 resume
//!  128 granted, base        16 generation 24 sequence       16 generation  24 missed_bytes
//!      high-water marks     32 records    40 bytes          32 lost        40 flags
//!  256 wait words           48 refused    56 waited         48 pid
//!  384 epoch, boot, repair  64 pid        72 attached       64 name, 64 bytes, zero-padded
//! ```
//!
//! | word | written by |
//! |------|------------|
//! | tail, granted, wait words | every producer (and sleepers, for their bit) |
//! | a slot | the process that holds the slot's lock byte: its owner, or its reaper |
//! | epoch, boot id, high-water marks, names | the holder of byte 0 |
//!
//! (I1) a word that one side writes often has a 128-byte line of its own, because processors fetch lines in pairs; (I2) every word
//! is an atomic and never reached otherwise; (I3) all-zero bytes are a fresh table, except that intents and positions start IDLE.
//! Declares; performs no loads and no stores.

use crate::sync::{AtomicU32, AtomicU64};

/// A value on a pair of cache lines of its own. Its size is part of the format, so it is not `CachePadded`.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// Page 1: what all processes share.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Live {
    /// Next position to claim.
    pub(crate) tail: Line<AtomicU64>,
    /// What is written once per grant or per attach.
    pub(crate) grants: Line<Grants>,
    /// What a commit and a release look at.
    pub(crate) waits: Line<Waits>,
    /// What is written once per boot.
    pub(crate) era: Line<Era>,
}

/// The second line of [`Live`].
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Grants {
    /// The highest limit that any producer may have used: below it minus the capacity nothing is safe.
    pub(crate) granted: AtomicU64,
    /// Nothing of this epoch stands below it.
    pub(crate) base: AtomicU64,
    /// Producer slots from here on were never used.
    pub(crate) producers_high: AtomicU32,
    /// Consumer slots from here on were never used.
    pub(crate) consumers_high: AtomicU32,
}

/// The third line of [`Live`]: futex words, each a counter with a waiting bit.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Waits {
    /// Readers sleep here.
    pub(crate) data: AtomicU32,
    /// Producers that wait for space sleep here.
    pub(crate) space: AtomicU32,
    /// CLOCK_MONOTONIC ns of the last wake, from which sleepers learn how long a wake-up takes; a hint.
    pub(crate) woken_at_ns: AtomicU64,
}

/// The fourth line of [`Live`].
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Era {
    /// Counts the reboots that this ring survived; part of every seal.
    pub(crate) epoch: AtomicU64,
    /// The boot in which the ring was last made fit for use.
    pub(crate) boot_id: [AtomicU64; 2],
    /// Who holds byte 0; display only.
    pub(crate) repair_pid: AtomicU64,
    /// Claims that were lost with their producer.
    pub(crate) lost_records: AtomicU64,
    /// Bytes of those claims, headers included.
    pub(crate) lost_bytes: AtomicU64,
    /// How often a producer attached.
    pub(crate) producers_ever: AtomicU64,
    /// How often one detached or was reaped; a hint that none may be left, which saves looking at every slot.
    pub(crate) producers_left: AtomicU64,
}

/// A producer's place.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct ProducerSlot {
    /// Where the owner is about to claim or holds a claim; IDLE otherwise.
    pub(crate) intent: AtomicU64,
    /// Bytes of that claim, header included.
    pub(crate) intent_len: AtomicU64,
    /// Grows whenever the slot is taken or reaped.
    pub(crate) generation: AtomicU64,
    /// The next record's sequence; goes on over owners.
    pub(crate) sequence: AtomicU64,
    /// Committed records of all owners.
    pub(crate) records: AtomicU64,
    /// Their payload bytes.
    pub(crate) bytes: AtomicU64,
    /// Claims that found no space and gave up.
    pub(crate) refused: AtomicU64,
    /// Claims that had to wait for space.
    pub(crate) waited: AtomicU64,
    /// The owner's pid; display only.
    pub(crate) pid: AtomicU64,
    /// 1 from attaching to detaching or reaping.
    pub(crate) attached: AtomicU64,
    /// Records that owners dropped instead of waiting for space.
    pub(crate) dropped: AtomicU64,
    /// How many of those readers were told of, by GAP frames.
    pub(crate) told: AtomicU64,
    /// Claims that were lost with an owner.
    pub(crate) lost: AtomicU64,
    pub(crate) reserved: [AtomicU64; 3],
}

/// A consumer's place, and the cursor of its name while nobody owns it.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct ConsumerSlot {
    /// The oldest byte that the owner may still read; IDLE: it holds nothing.
    pub(crate) position: AtomicU64,
    /// Where the name goes on when nobody owns the slot.
    pub(crate) resume: AtomicU64,
    /// Grows whenever the slot is taken or reaped.
    pub(crate) generation: AtomicU64,
    /// Bytes that this name could not read, because they were overwritten while it was away.
    pub(crate) missed_bytes: AtomicU64,
    /// LOST frames that it skipped.
    pub(crate) lost_records: AtomicU64,
    /// DURABLE, GROUP, MEMBER.
    pub(crate) flags: AtomicU64,
    /// The owner's pid; display only.
    pub(crate) pid: AtomicU64,
    /// A member's: its group's slot. A group's: 1 while a dead member's record waits for another.
    pub(crate) group: AtomicU64,
    /// UTF-8, zero-padded; first word zero: the slot has no name. The first word is stored last.
    pub(crate) name: [AtomicU64; 8],
}

/// Flag of [`ConsumerSlot::flags`]: the name holds its space while nobody owns it.
pub(crate) const DURABLE: u64 = 1;
/// Flag of [`ConsumerSlot::flags`]: the position is shared by the members of a group; nobody owns the slot.
pub(crate) const GROUP: u64 = 2;
/// Flag of [`ConsumerSlot::flags`]: a member of a group, whose name it has; its position is the record that it works on.
pub(crate) const MEMBER: u64 = 4;
/// Longest name of a consumer.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// Bytes of [`Live`] in the file.
pub(crate) const LIVE_BYTES: u64 = 512;
/// Bytes of a [`ProducerSlot`] in the file.
pub(crate) const PRODUCER_SLOT_BYTES: u64 = 128;
/// Bytes of a [`ConsumerSlot`] in the file.
pub(crate) const CONSUMER_SLOT_BYTES: u64 = 128;

#[cfg(not(any(loom, shuttle)))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Live>() as u64 == LIVE_BYTES);
    assert!(offset_of!(Live, tail) == 0);
    assert!(offset_of!(Live, grants) == 128);
    assert!(offset_of!(Live, waits) == 256);
    assert!(offset_of!(Live, era) == 384);
    assert!(offset_of!(Grants, base) == 8);
    assert!(offset_of!(Grants, producers_high) == 16);
    assert!(offset_of!(Grants, consumers_high) == 20);
    assert!(offset_of!(Waits, space) == 4);
    assert!(offset_of!(Waits, woken_at_ns) == 8);
    assert!(offset_of!(Era, boot_id) == 8);
    assert!(offset_of!(Era, repair_pid) == 24);
    assert!(offset_of!(Era, lost_records) == 32);
    assert!(offset_of!(Era, lost_bytes) == 40);
    assert!(offset_of!(Era, producers_ever) == 48);
    assert!(offset_of!(Era, producers_left) == 56);

    assert!(size_of::<ProducerSlot>() as u64 == PRODUCER_SLOT_BYTES);
    assert!(offset_of!(ProducerSlot, intent) == 0);
    assert!(offset_of!(ProducerSlot, intent_len) == 8);
    assert!(offset_of!(ProducerSlot, generation) == 16);
    assert!(offset_of!(ProducerSlot, sequence) == 24);
    assert!(offset_of!(ProducerSlot, records) == 32);
    assert!(offset_of!(ProducerSlot, bytes) == 40);
    assert!(offset_of!(ProducerSlot, refused) == 48);
    assert!(offset_of!(ProducerSlot, waited) == 56);
    assert!(offset_of!(ProducerSlot, pid) == 64);
    assert!(offset_of!(ProducerSlot, attached) == 72);
    assert!(offset_of!(ProducerSlot, dropped) == 80);
    assert!(offset_of!(ProducerSlot, told) == 88);
    assert!(offset_of!(ProducerSlot, lost) == 96);

    assert!(size_of::<ConsumerSlot>() as u64 == CONSUMER_SLOT_BYTES);
    assert!(offset_of!(ConsumerSlot, position) == 0);
    assert!(offset_of!(ConsumerSlot, resume) == 8);
    assert!(offset_of!(ConsumerSlot, generation) == 16);
    assert!(offset_of!(ConsumerSlot, missed_bytes) == 24);
    assert!(offset_of!(ConsumerSlot, lost_records) == 32);
    assert!(offset_of!(ConsumerSlot, flags) == 40);
    assert!(offset_of!(ConsumerSlot, pid) == 48);
    assert!(offset_of!(ConsumerSlot, group) == 56);
    assert!(offset_of!(ConsumerSlot, name) == 64);
};

/// A name as the words of a [`ConsumerSlot`]; `None` when it is empty, too long or has a zero byte.
pub(crate) fn encode_name(name: &str) -> Option<[u64; 8]> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > NAME_BYTES_MAX || bytes.contains(&0) {
        return None;
    }
    let mut padded = [0u8; NAME_BYTES_MAX];
    padded[..bytes.len()].copy_from_slice(bytes);
    let mut words = [0u64; 8];
    for (word, chunk) in words.iter_mut().zip(padded.chunks_exact(8)) {
        *word = u64::from_le_bytes(chunk.try_into().expect("chunks of eight bytes"));
    }
    Some(words)
}

/// The name in these words, whatever they hold.
pub(crate) fn decode_name(words: [u64; 8]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The lock byte of repair and attachment.
pub(crate) const REPAIR_BYTE: u64 = 0;

/// The lock byte of a producer slot.
pub(crate) fn producer_byte(slot: u16) -> u64 {
    1 + u64::from(slot)
}

/// The lock byte of a consumer slot.
pub(crate) fn consumer_byte(producers_max: u16, slot: u16) -> u64 {
    1 + u64::from(producers_max) + u64::from(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: names survive their words, unfit ones are refused. Method: lengths at the edges.
    #[test]
    fn names_survive_their_words() {
        for name in ["a", "collector", "größe", &"x".repeat(64)] {
            assert_eq!(decode_name(encode_name(name).unwrap()), name);
        }
        for name in ["", "a\0b", &"x".repeat(65)] {
            assert_eq!(encode_name(name), None);
        }
    }

    // Goal: no two slots share a lock byte. Method: all bytes of a small table.
    #[test]
    fn every_slot_has_a_lock_byte_of_its_own() {
        let mut bytes = vec![REPAIR_BYTE];
        bytes.extend((0..7).map(producer_byte));
        bytes.extend((0..5).map(|slot| consumer_byte(7, slot)));
        bytes.sort_unstable();
        bytes.dedup();
        assert_eq!(bytes.len(), 13);
    }
}
