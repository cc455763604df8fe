//! Table: everything that a ring's processes share, as the protocol sees it.
//!
//! (I1) counts that another process can write are clamped to what is mapped before they are used.
//! Holds views; decides nothing.

use super::view::Frames;
use crate::layout::slots::{ConsumerSlot, Live, ProducerSlot};
use crate::map::region::View;
use crate::sync::Ordering;

/// Live page, slots and frames of one ring.
#[derive(Debug)]
pub(crate) struct Table {
    /// Page 1.
    pub(crate) live: View<Live>,
    /// All producer slots.
    producers: View<[ProducerSlot]>,
    /// All consumer slots.
    consumers: View<[ConsumerSlot]>,
    /// The data.
    pub(crate) frames: Frames,
}

impl Table {
    /// Puts the views of one region together.
    pub(crate) fn new(
        live: View<Live>,
        producers: View<[ProducerSlot]>,
        consumers: View<[ConsumerSlot]>,
        frames: Frames,
    ) -> Self {
        Self { live, producers, consumers, frames }
    }

    /// The producer slots that were ever used.
    #[inline]
    pub(crate) fn producers(&self) -> &[ProducerSlot] {
        // ORDER H2 (Acquire, pairs with H1): the slots below the mark are initialised.
        let high = self.live.grants.0.producers_high.load(Ordering::Acquire);
        &self.producers[..self.producers.len().min(high as usize)]
    }

    /// The consumer slots that were ever used.
    #[inline]
    pub(crate) fn consumers(&self) -> &[ConsumerSlot] {
        // ORDER H2 (Acquire, pairs with H1): the slots below the mark are initialised.
        let high = self.live.grants.0.consumers_high.load(Ordering::Acquire);
        &self.consumers[..self.consumers.len().min(high as usize)]
    }

    /// All producer slots, used or not.
    pub(crate) fn all_producers(&self) -> &[ProducerSlot] {
        &self.producers
    }

    /// All consumer slots, used or not.
    pub(crate) fn all_consumers(&self) -> &[ConsumerSlot] {
        &self.consumers
    }

    /// How often a producer attached.
    pub(crate) fn producers_ever(&self) -> u64 {
        // ORDER A2 (Acquire, pairs with A1): who sees that one came sees its slot.
        self.live.era.0.producers_ever.load(Ordering::Acquire)
    }

    /// Whether a producer ever came: its slot is then among [`Table::producers`], or it has left already.
    pub(crate) fn had_producers(&self) -> bool {
        // ORDER A2 (Acquire, pairs with A1): who sees that one left sees its slot.
        self.producers_ever() != 0 || self.live.era.0.producers_left.load(Ordering::Acquire) != 0
    }

    /// Whether, by the count that producers keep, all that came may have left; cheap, and wrong now and then.
    pub(crate) fn may_be_left(&self) -> bool {
        // ORDER A2 (Acquire, pairs with A1): who sees the last one leave sees it gone.
        self.live.era.0.producers_left.load(Ordering::Acquire) >= self.producers_ever()
    }

    /// The slots of producers that have not left, alive or not.
    pub(crate) fn attached(&self) -> impl Iterator<Item = u16> + '_ {
        // ORDER A2 (Acquire, pairs with A1): the last commits of those who are gone are visible to a later look.
        let attached = |(_, slot): &(u16, &ProducerSlot)| slot.attached.load(Ordering::Acquire) != 0;
        (0u16..).zip(self.producers()).filter(attached).map(|(index, _)| index)
    }

    /// The next position to claim.
    #[inline(always)]
    pub(crate) fn tail(&self) -> u64 {
        // ORDER T2 (Acquire, pairs with T1): intents of the claims below it are visible.
        self.live.tail.0.load(Ordering::Acquire)
    }

    /// The highest limit that anybody may be using.
    #[inline]
    pub(crate) fn granted(&self) -> u64 {
        // ORDER T2 (Acquire, pairs with T1's read-modify-write of `granted`): a grant is seen with what led to it.
        self.live.grants.0.granted.load(Ordering::Acquire)
    }
}
