//! Join: a consumer takes its first position in a ring that is in motion.
//!
//! ```text
//!   consumer                              producer that recomputes its limit
//!   --------                              ----------------------------------
//!   position = p                          granted = max(granted, limit)
//!   fence SeqCst              (G2)(G1)    fence SeqCst
//!   granted > p + capacity? move up       scan the consumers once more
//! ```
//! One of the two always sees the other. Producers may hold limits from before this consumer existed: whatever lies below `granted` minus
//! the capacity may be overwritten at any moment, so the consumer moves up to the first frame at or above it, and looks again.
//!
//! (I1) from the position that is returned on, nothing is overwritten before it is released; (I2) it is a frame boundary.
//! Moves nothing but the consumer's own position.

use crate::frame::scan::first_frame;
use crate::frame::table::Table;
use crate::layout::slots::ConsumerSlot;
use crate::sync::{Ordering, fence};

/// Joins at `wanted`, a frame boundary, or as soon behind it as is safe.
pub(crate) fn join(table: &Table, slot: &ConsumerSlot, wanted: u64) -> u64 {
    let mut position = wanted;
    // Each further round means that a producer used a limit from before it saw this consumer, which it can do once.
    loop {
        // ORDER P1 (Release, pairs with P2): reads below it, of an earlier position, are over.
        slot.position.store(position, Ordering::Release);
        // ORDER G2 (SeqCst, pairs with G1): the position before this, `granted` after it.
        fence(Ordering::SeqCst);
        let (safe, tail) = safe_from(table);
        if position >= safe {
            return position;
        }
        position = first_frame(&table.frames, safe, tail);
    }
}

/// The oldest frame that a consumer could join at now.
pub(crate) fn oldest(table: &Table) -> u64 {
    // ORDER none (Relaxed): written before anybody attached.
    let base = table.live.grants.0.base.load(Ordering::Relaxed);
    let (safe, tail) = safe_from(table);
    if base >= safe { base.min(tail) } else { first_frame(&table.frames, safe, tail) }
}

/// From where on nothing can be overwritten by limits that were granted, and the tail that it was compared with.
fn safe_from(table: &Table) -> (u64, u64) {
    let granted = table.granted();
    let tail = table.tail();
    // No sound grant exceeds the tail by more than the capacity; a forged one must not send us beyond it.
    (granted.saturating_sub(table.frames.capacity_bytes()).min(tail), tail)
}

/// Whether a walk can start at `position`: a frame, the tail, or a claim that is about to get its header.
pub(crate) fn can_start_at(table: &Table, position: u64) -> bool {
    let tail = table.tail();
    position == tail
        || (position < tail
            && (table.frames.sealed(position).is_some()
                // ORDER I2 (Acquire, pairs with I1): an intent below the tail is a boundary.
                || table.producers().iter().any(|slot| slot.intent.load(Ordering::Acquire) == position)))
}
