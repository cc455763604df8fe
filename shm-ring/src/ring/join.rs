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

use crate::error::PollError;
use crate::frame::scan::first_frame;
use crate::frame::table::Table;
use crate::layout::frame::{FRAME_ALIGN, POSITION_END, State, is_boundary};
use crate::layout::geometry::SLOTS_MAX;
use crate::layout::slots::ConsumerSlot;
use crate::sync::{Ordering, Point, fence, kill_point};

/// Rounds of a join that look for a frame; whoever is still behind the grants then goes to the tail.
const ROUNDS: u16 = 64;

/// Joins at `wanted`, a frame boundary, or as soon behind it as is safe. `passes` is told the bytes that are passed over, before the
/// position behind them is stored: a death in between tells them twice, where the other order would never tell them.
pub(crate) fn join(table: &Table, slot: &ConsumerSlot, wanted: u64, mut passes: impl FnMut(u64)) -> u64 {
    // ORDER none (Relaxed): only the holder of the slot's byte writes it.
    let held = slot.position.load(Ordering::Relaxed);
    let mut position = wanted;
    // Each further round means that a producer used a limit from before it saw this consumer, which it can do once; grants that go on
    // growing are forged, and nothing is safe from them.
    let mut round = 0;
    loop {
        // ORDER P1 (Release, pairs with P2): reads below it, of an earlier position, are over.
        slot.position.store(position, Ordering::Release);
        kill_point(Point::JoinStored);
        // ORDER G2 (SeqCst, pairs with G1): the position before this, `granted` after it.
        fence(Ordering::SeqCst);
        let floor = Floor::of(table);
        // From a position on that was held all the time nothing was overwritten, whatever was granted and taken back by a second scan.
        if position >= floor.safe || position >= held || round == ROUNDS + SLOTS_MAX {
            return position;
        }
        kill_point(Point::JoinMoves);
        let next = if round < ROUNDS { floor.first_frame(table).min(held) } else { floor.tail };
        passes(next.saturating_sub(position));
        position = next;
        round += 1;
    }
}

/// The oldest frame that a consumer could join at now.
pub(crate) fn oldest(table: &Table) -> u64 {
    Floor::of(table).first_frame(table)
}

/// From where on nothing can be overwritten by limits that were granted.
struct Floor {
    safe: u64,
    /// Whether `safe` is where this epoch began, and so a frame boundary.
    is_base: bool,
    tail: u64,
}

impl Floor {
    fn of(table: &Table) -> Self {
        let granted = table.granted();
        let tail = table.tail().min(POSITION_END);
        // ORDER none (Relaxed): written before anybody attached.
        let base = table.live.grants.0.base.load(Ordering::Relaxed);
        let safe = granted.saturating_sub(table.frames.capacity_bytes());
        // No sound grant exceeds the tail by more than the capacity; a forged one must not send us beyond it.
        Self { safe: safe.max(base).min(tail), is_base: base >= safe, tail }
    }

    fn first_frame(&self, table: &Table) -> u64 {
        if self.is_base { self.safe } else { first_frame(&table.frames, self.safe, self.tail) }
    }
}

/// Where to join for a start at `position`: there, or, if that was overwritten, at the oldest. What lies at or above `held` is there, even if
/// others could not join at it any more.
pub(crate) fn start_at(table: &Table, position: u64, held: u64) -> Result<u64, PollError> {
    let tail = table.tail();
    if position % FRAME_ALIGN == 0 && position <= tail {
        let mut from = oldest(table).min(held);
        for _ in 0..ROUNDS {
            if can_start_at(table, position, from) {
                return Ok(position);
            }
            // It, or what the walk to it began with, may have been overwritten while it was looked at: what did that was granted before.
            let now = oldest(table).min(held);
            if position < now {
                return Ok(now);
            }
            if now == from {
                break;
            }
            from = now;
        }
    }
    Err(PollError::NoSuchPosition { position, tail })
}

/// Whether a walk can start at `position`: a frame, the tail, or a claim that is about to get its header. `from` is a boundary that can be
/// walked from, should it be inside a batch.
fn can_start_at(table: &Table, position: u64, from: u64) -> bool {
    let tail = table.tail();
    // Intents before the header: a claim that is committed between the two looks is seen by the second.
    // ORDER I2 (Acquire, pairs with I1): an intent below the tail is a boundary.
    let intended = table.producers().iter().any(|slot| slot.intent.load(Ordering::Acquire) == position);
    is_boundary(position)
        && (position == tail
            || position < tail
                && match table.frames.sealed(position) {
                    Some(head) if head.state == State::Inner => is_reached(table, position, from),
                    Some(_) => true,
                    None => intended,
                })
}

/// Whether a walk over finished frames comes to `position`: inside a batch that is open, or was given up, none does.
fn is_reached(table: &Table, position: u64, from: u64) -> bool {
    let mut at = from;
    // At most one lap: there are no more frames to walk over.
    for _ in 0..table.frames.capacity_bytes() / FRAME_ALIGN {
        if at >= position {
            break;
        }
        match table.frames.checked(at) {
            Ok(Some(sealed)) if sealed.head.state != State::Claimed => at += sealed.span_bytes,
            _ => return false,
        }
    }
    at == position
}
