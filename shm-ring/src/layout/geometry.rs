//! Geometry: how large a ring's parts are and where they lie, in checked arithmetic.
//!
//! (I1) `data_offset` and `capacity` are multiples of the page size of the machine that made the file; (I2) the capacity is a
//! power of two; (I3) a [`Geometry`] exists only when every sum fits and every part is inside the file.
//! Computes; reads and writes nothing.

use super::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, METADATA_BYTES, span_of_record};
use super::slots::{CONSUMER_SLOT_BYTES, LIVE_BYTES, PRODUCER_SLOT_BYTES};

/// The smallest capacity, one small page.
pub(crate) const CAPACITY_MIN: u64 = 4096;
/// The largest: a quarter of it, with headers, must fit the 32-bit length of a frame.
pub(crate) const CAPACITY_MAX: u64 = 1 << 33;
/// A frame has 12 bits for its producer's slot.
pub(crate) const SLOTS_MAX: u16 = 4096;

/// What a user chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of data; a power of two.
    pub(crate) capacity_bytes: u64,
    /// Producer slots.
    pub(crate) producers_max: u16,
    /// Consumer slots.
    pub(crate) consumers_max: u16,
    /// Whether each record carries metadata.
    pub(crate) metadata: bool,
    /// Whether slot 0 is the only producer and claims without a compare-exchange.
    pub(crate) single_producer: bool,
}

/// Where everything lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// What the user chose.
    pub(crate) shape: Shape,
    /// Page size that all parts are aligned to.
    pub(crate) page_bytes: u64,
    /// The page of atomics.
    pub(crate) live_offset: u64,
    /// The producers' table.
    pub(crate) producers_offset: u64,
    /// The consumers' table.
    pub(crate) consumers_offset: u64,
    /// The data.
    pub(crate) data_offset: u64,
    /// The whole file.
    pub(crate) file_bytes: u64,
}

/// Why a shape is refused: which field, what it must be, what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// The option's name.
    pub(crate) option: &'static str,
    /// What it must be.
    pub(crate) expected: String,
    /// What it is.
    pub(crate) found: u64,
}

impl Geometry {
    /// Lays a ring of this shape out in pages of `page_bytes`.
    pub(crate) fn new(shape: Shape, page_bytes: u64) -> Result<Self, Unfit> {
        let unfit = |option, expected: String, found| Err(Unfit { option, expected, found });
        if !page_bytes.is_power_of_two() || !(4096..=1 << 21).contains(&page_bytes) {
            return unfit("page size", "a power of two from 4096 to 2097152".into(), page_bytes);
        }
        let capacity = shape.capacity_bytes;
        if !capacity.is_power_of_two()
            || !(CAPACITY_MIN..=CAPACITY_MAX).contains(&capacity)
            || capacity < page_bytes
        {
            return unfit(
                "capacity",
                format!("a power of two from {} to {CAPACITY_MAX} bytes", CAPACITY_MIN.max(page_bytes)),
                capacity,
            );
        }
        for (option, found) in
            [("producers_max", shape.producers_max), ("consumers_max", shape.consumers_max)]
        {
            if found == 0 || found > SLOTS_MAX {
                return unfit(option, format!("1 to {SLOTS_MAX}"), found.into());
            }
        }
        let live_offset = page_bytes;
        let producers_offset = live_offset + page_round(LIVE_BYTES, page_bytes);
        let consumers_offset =
            producers_offset + page_round(u64::from(shape.producers_max) * PRODUCER_SLOT_BYTES, page_bytes);
        let data_offset =
            consumers_offset + page_round(u64::from(shape.consumers_max) * CONSUMER_SLOT_BYTES, page_bytes);
        let file_bytes = data_offset + capacity;
        Ok(Self {
            shape,
            page_bytes,
            live_offset,
            producers_offset,
            consumers_offset,
            data_offset,
            file_bytes,
        })
    }

    /// Bytes that each frame has for metadata.
    pub(crate) fn metadata_bytes(&self) -> u64 {
        if self.shape.metadata { METADATA_BYTES } else { 0 }
    }

    /// log2 of the capacity.
    pub(crate) fn capacity_bits(&self) -> u32 {
        self.shape.capacity_bytes.trailing_zeros()
    }

    /// The longest record, a quarter of the capacity.
    pub(crate) fn payload_max_bytes(&self) -> u64 {
        self.shape.capacity_bytes / 4
    }

    /// The frame of the longest record.
    pub(crate) fn record_max_bytes(&self) -> u64 {
        span_of_record(self.payload_max_bytes(), self.metadata_bytes())
    }

    /// The longest claim, which is also the longest frame.
    pub(crate) fn span_max_bytes(&self) -> u64 {
        self.payload_max_bytes() + FRAME_HEADER_BYTES + METADATA_BYTES
    }
}

/// The smallest capacity that a user's wish fits into.
pub(crate) fn capacity_for(wish_bytes: u64, page_bytes: u64) -> Option<u64> {
    wish_bytes.max(CAPACITY_MIN).max(page_bytes).checked_next_power_of_two()
}

fn page_round(bytes: u64, page_bytes: u64) -> u64 {
    bytes.div_ceil(page_bytes) * page_bytes
}

const _: () = assert!(CAPACITY_MAX / 4 + FRAME_HEADER_BYTES + METADATA_BYTES + FRAME_ALIGN < 1 << 32);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Goal: parts never overlap, are page-aligned and fill the file. Method: random shapes.
        #[test]
        fn parts_are_aligned_and_disjoint(capacity in any::<u64>(), bits in 0u32..40, producers in any::<u16>(), consumers in any::<u16>(), page in 12u32..17, exact in any::<bool>()) {
            let capacity_bytes = if exact { 1 << bits } else { capacity };
            let shape = Shape { capacity_bytes, producers_max: producers, consumers_max: consumers, metadata: exact, single_producer: !exact };
            let Ok(g) = Geometry::new(shape, 1 << page) else { return Ok(()) };
            let edges = [0, g.live_offset, g.producers_offset, g.consumers_offset, g.data_offset, g.file_bytes];
            prop_assert!(edges.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(edges.iter().all(|e| e % g.page_bytes == 0));
            prop_assert!(g.consumers_offset - g.producers_offset >= u64::from(producers) * PRODUCER_SLOT_BYTES);
            prop_assert!(g.data_offset - g.consumers_offset >= u64::from(consumers) * CONSUMER_SLOT_BYTES);
            prop_assert_eq!(g.file_bytes - g.data_offset, capacity_bytes);
            prop_assert!(g.span_max_bytes() <= capacity_bytes / 2);
        }

        #[test]
        fn a_capacity_holds_what_was_wished(wish in 0u64..=CAPACITY_MAX) {
            let capacity = capacity_for(wish, 4096).unwrap();
            prop_assert!(capacity >= wish && capacity.is_power_of_two() && (capacity / 2 < wish || capacity == CAPACITY_MIN));
        }
    }

    // Goal: each unfit option is named. Method: one bad option at a time.
    #[test]
    fn an_unfit_option_is_named() {
        let good = Shape {
            capacity_bytes: 1 << 16,
            producers_max: 4,
            consumers_max: 4,
            metadata: true,
            single_producer: false,
        };
        assert!(Geometry::new(good, 4096).is_ok());
        let named = |shape, page| Geometry::new(shape, page).unwrap_err().option;
        assert_eq!(named(Shape { capacity_bytes: 3 << 16, ..good }, 4096), "capacity");
        assert_eq!(named(Shape { capacity_bytes: 1 << 40, ..good }, 4096), "capacity");
        assert_eq!(named(Shape { capacity_bytes: 4096, ..good }, 16384), "capacity");
        assert_eq!(named(Shape { producers_max: 0, ..good }, 4096), "producers_max");
        assert_eq!(named(Shape { consumers_max: 5000, ..good }, 4096), "consumers_max");
        assert_eq!(named(good, 100), "page size");
    }
}
