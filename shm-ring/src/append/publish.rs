//! Publish: how the length of an append file moves, and how a reader that is not waited for stays right.
//!
//! ```text
//!   writer, push                writer, clear or shrink to t          reader that copies
//!   ------------                ----------------------------          ------------------
//!   bytes behind len            target = t                     (T1)   g = generation                 (G2)
//!   len = end          (L1)     generation = odd               (G1)   len = g is odd ? target : len  (T2, L2)
//!                               len = t                        (L1)   bytes below len
//!                               generation = even              (G1)   fence
//!                               fence                          (F1)   generation still of g's era?   (F2)
//!                               from now on: bytes behind t
//! ```
//!
//! An era is what lies between two losses of bytes: generations 2k - 1 and 2k are era k. A writer that dies between the two leaves an odd
//! generation, and what it was about to do is done: readers go by the target, and the next writer finishes it.
//!
//! | who copied bytes below | of the era | and they were overwritten since | finds |
//! |---|---|---|---|
//! | the length before the loss | k     | by a push behind F1   | a generation beyond 2k at F2, because it saw a byte from behind F1 |
//! | the target                 | k + 1 | never: pushes write behind it | the same era |
//!
//! (I1) bytes below the length that a reader goes by are never written while its era lasts; (I2) the generation is raised on both sides of
//! the length's fall: in front alone, a reader could take the new era with the old length; behind alone, a writer that dies in between
//! would leave readers in the old era to its successor's bytes.
//! Touches no data; takes no lock.

use crate::layout::mapped::Live;
use crate::sync::{Ordering, fence};

/// What a reader may go by, until [`is_still`] says that it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// How often bytes were given up before.
    pub(crate) era: u64,
    /// Bytes that are whole and published.
    pub(crate) len_bytes: u64,
}

/// What the length word and an unfinished loss say together.
pub(crate) fn look(live: &Live) -> Look {
    // ORDER G2 (Acquire, pairs with G1): odd: the target; even: the length that this generation began with.
    let generation = live.era.0.generation.load(Ordering::Acquire);
    let len_bytes = if generation % 2 == 1 {
        // ORDER T2 (Acquire, pairs with T1): the bytes below it.
        live.era.0.target.load(Ordering::Acquire)
    } else {
        // ORDER L2 (Acquire, pairs with L1): the bytes below it; and the generation that it fell in.
        live.len.0.load(Ordering::Acquire)
    };
    Look { era: era_of(generation), len_bytes }
}

/// Whether everything that was copied since the look is what was published in its era.
pub(crate) fn is_still(live: &Live, look: Look) -> bool {
    // ORDER F2 (Acquire fence, pairs with F1): who copied a byte from behind the fence sees the generation in front of it.
    fence(Ordering::Acquire);
    // ORDER none (Relaxed): behind the fence.
    era_of(live.era.0.generation.load(Ordering::Relaxed)) == look.era
}

fn era_of(generation: u64) -> u64 {
    generation / 2 + generation % 2
}

/// Publishes the bytes below `end_bytes`. Of the writer only.
#[inline(always)]
pub(crate) fn publish(live: &Live, end_bytes: u64) {
    // ORDER L1 (Release, pairs with L2): the bytes below.
    live.len.0.store(end_bytes, Ordering::Release);
}

/// Gives up the bytes behind `target_bytes`, which is below the length. Of the writer only, while nobody reads in place.
pub(crate) fn give_up(live: &Live, target_bytes: u64) {
    let era = &live.era.0;
    // ORDER none (Relaxed): only the writer writes it.
    let generation = era.generation.load(Ordering::Relaxed);
    // ORDER T1 (Release, pairs with T2): the bytes below.
    era.target.store(target_bytes, Ordering::Release);
    // ORDER G1 (Release, pairs with G2): the target.
    era.generation.store(generation | 1, Ordering::Release);
    finish(live, target_bytes);
}

/// Finishes a loss that a writer died in, if there is one; the target is what the caller has seen and checked, for the word is not looked at
/// again. Of the writer only.
pub(crate) fn finish(live: &Live, target_bytes: u64) {
    let era = &live.era.0;
    // ORDER none (Relaxed): only the writer writes it.
    let generation = era.generation.load(Ordering::Relaxed);
    if generation % 2 == 0 {
        return;
    }
    // ORDER L1 (Release, pairs with L2): the odd generation; the bytes below.
    live.len.0.store(target_bytes, Ordering::Release);
    // ORDER G1 (Release, pairs with G2): the length.
    era.generation.store(generation.wrapping_add(1), Ordering::Release);
    // ORDER F1 (Release fence, pairs with F2): the generations before every byte that is written from now on.
    fence(Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::mapped::{Era, SealWords};
    use crate::layout::slots::Line;
    use crate::sync::AtomicU64;

    fn page() -> Live {
        let zero = || AtomicU64::new(0);
        Live {
            len: Line(zero()),
            era: Line(Era {
                durable: zero(),
                generation: zero(),
                target: zero(),
                boot_id: [zero(), zero()],
                writer_pid: zero(),
            }),
            seal: Line(SealWords { state: zero(), sealed_len: zero(), data_crc: zero(), seal_crc: zero() }),
            more: Line(std::array::from_fn(|_| zero())),
        }
    }

    // Goal: a reader goes by what was published, and knows when bytes of its era are given up. Method: pushes and losses around a look.
    #[test]
    fn a_look_holds_until_bytes_are_given_up() {
        let live = page();
        publish(&live, 100);
        let before = look(&live);
        assert_eq!(before, Look { era: 0, len_bytes: 100 });
        publish(&live, 200);
        assert!(is_still(&live, before), "pushes take nothing away");
        give_up(&live, 50);
        assert!(!is_still(&live, before));
        assert_eq!(look(&live), Look { era: 1, len_bytes: 50 });
        give_up(&live, 0);
        assert_eq!(look(&live), Look { era: 2, len_bytes: 0 });
    }

    // Goal: whatever others put into the words, a loss ends as the writer has checked it, and leaves no loss begun. Method: a generation
    // that was made odd under a living writer; a target that changes behind the look.
    #[test]
    fn a_loss_goes_by_what_its_writer_has_seen() {
        let live = page();
        publish(&live, 100);
        live.era.0.generation.store(7, Ordering::Relaxed);
        give_up(&live, 40);
        assert_eq!(look(&live), Look { era: 4, len_bytes: 40 });
        live.era.0.generation.store(9, Ordering::Relaxed);
        let seen = look(&live).len_bytes;
        live.era.0.target.store(u64::MAX, Ordering::Relaxed);
        finish(&live, seen);
        assert_eq!(look(&live), Look { era: 5, len_bytes: 40 });
    }

    // Goal: a writer that dies anywhere in a loss leaves a file that every reader takes for the one before it or the one after it, and the
    // next writer makes it the one after it. Method: the words as they stand between any two stores.
    #[test]
    fn a_loss_may_end_with_its_writer_at_any_store() {
        let (old, new) = (Look { era: 0, len_bytes: 100 }, Look { era: 1, len_bytes: 40 });
        for stores in 0..=4 {
            let live = page();
            publish(&live, 100);
            let steps: [&dyn Fn(); 4] = [
                &|| live.era.0.target.store(40, Ordering::Relaxed),
                &|| live.era.0.generation.store(1, Ordering::Relaxed),
                &|| live.len.0.store(40, Ordering::Relaxed),
                &|| live.era.0.generation.store(2, Ordering::Relaxed),
            ];
            steps[..stores].iter().for_each(|store| store());
            let now = if stores < 2 { old } else { new };
            assert_eq!(look(&live), now, "after {stores} stores");
            assert_eq!(is_still(&live, old), stores < 2, "after {stores} stores");
            finish(&live, look(&live).len_bytes);
            assert_eq!(look(&live), now, "after {stores} stores and the next writer");
            assert_eq!(live.era.0.generation.load(Ordering::Relaxed) % 2, 0);
            // What was seen in the middle stays true: nothing below it was touched.
            assert!(is_still(&live, now));
            publish(&live, 500);
            assert_eq!(look(&live), Look { len_bytes: 500, ..now });
        }
    }
}
