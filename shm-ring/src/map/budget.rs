//! Budget: how many maps, descriptors and mapped bytes a process allows itself, taken and given back as permits.
//!
//! ```text
//!   bit  63        48 47           32 31                0
//!       +------------+---------------+-------------------+
//!       | maps       | descriptors   | pages of 4 KiB    |   one word, changed by compare-exchange
//!       +------------+---------------+-------------------+
//! ```
//!
//! (I1) the word is the sum of the permits that are alive, so no field of it ever borrows from its neighbour; (I2) a request takes all
//! of its fields in one step, or nothing at all; (I3) no field of the sum exceeds a limit that the request was compared with.
//!
//! Never a refusal while there is room: refused is who has loaded a sum to which the request could not be added, so at that moment in the
//! word's history there was no room. Losing a compare-exchange is no refusal, the request looks again at what won; and somebody whose
//! permit came back *before* the request (by any means of knowing "before": a join, a lock, a message) has ordered its subtraction before
//! the load. A counter that is decremented first and restored when it was too much can't promise that: requests that fail make others
//! fail. Who loses a race has lost it to a request that was granted or given back, so somebody always moves on.
//! Opens and maps nothing; what a permit is spent on is its holder's business.

use crate::sync::{AtomicU64, Ordering};
use std::sync::Arc;

/// The unit in which bytes are counted, whatever the machine's page size is.
const PAGE_BYTES: u64 = 4096;
const PAGE_BITS: u32 = 32;
const COUNT_BITS: u32 = 16;

/// Numbers of maps and descriptors, and bytes that are mapped: what is wanted, what is in use, what is allowed.
///
/// ```
/// use shm_ring::MapUsage;
///
/// let both = MapUsage { descriptors: 1, ..MapUsage::map(10_000) };
/// assert_eq!((both.maps, both.descriptors, both.bytes), (1, 1, 10_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MapUsage {
    /// Mappings, of which Linux gives a process 65 530 unless `vm.max_map_count` says otherwise.
    pub maps: u16,
    /// Open files.
    pub descriptors: u16,
    /// Bytes of address space behind those maps, counted in pages of 4 KiB.
    pub bytes: u64,
}

impl MapUsage {
    /// The most that a budget can allow, and what one allows that was given no limit: 65 535 maps, as many descriptors, 16 TiB.
    pub const MAX: Self =
        Self { maps: u16::MAX, descriptors: u16::MAX, bytes: ((1 << PAGE_BITS) - 1) * PAGE_BYTES };

    /// One map of so many bytes.
    pub const fn map(bytes: u64) -> Self {
        Self { maps: 1, descriptors: 0, bytes }
    }

    /// One open file.
    pub const fn descriptor() -> Self {
        Self { maps: 0, descriptors: 1, bytes: 0 }
    }
}

/// A number of maps, descriptors and bytes that are not to be exceeded, shared by its clones.
///
/// A request is granted exactly when there is room for all of it; a [`Permit`] gives back what it has when it is dropped. Asking makes no
/// system call and takes no lock. The budget counts what it is asked for, in this process; it does not look at what the process has open.
///
/// ```
/// use shm_ring::{MapBudget, MapUsage};
///
/// let budget = MapBudget::new().maps(2).bytes(1 << 20);
/// let first = budget.try_acquire(MapUsage::map(4096)).expect("there is room");
/// let second = budget.try_acquire(MapUsage::map(4096)).expect("for exactly two");
/// assert!(budget.try_acquire(MapUsage::map(4096)).is_none());
/// drop(first);
/// assert!(budget.try_acquire(MapUsage::map(2 << 20)).is_none(), "too many bytes");
/// assert_eq!(budget.in_use(), MapUsage::map(4096));
/// # drop(second);
/// ```
#[derive(Clone, Debug)]
pub struct MapBudget {
    limits: MapUsage,
    used: Arc<AtomicU64>,
}

impl Default for MapBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl MapBudget {
    /// A budget without limits but [`MapUsage::MAX`].
    pub fn new() -> Self {
        Self { limits: MapUsage::MAX, used: Arc::new(AtomicU64::new(0)) }
    }

    /// At most so many maps.
    ///
    /// Limits belong to this value and the count to all clones, so a clone with lower limits is a part of the budget:
    ///
    /// ```
    /// use shm_ring::{MapBudget, MapUsage};
    ///
    /// let budget = MapBudget::new().maps(10);
    /// let lesser = budget.clone().maps(5);
    /// let permits: Vec<_> = (0..10).map_while(|_| lesser.try_acquire(MapUsage::map(1))).collect();
    /// assert_eq!(permits.len(), 5);
    /// assert!(budget.try_acquire(MapUsage::map(1)).is_some());
    /// ```
    #[must_use]
    pub fn maps(mut self, n: u16) -> Self {
        self.limits.maps = n;
        self
    }

    /// At most so many descriptors.
    #[must_use]
    pub fn descriptors(mut self, n: u16) -> Self {
        self.limits.descriptors = n;
        self
    }

    /// At most so many bytes, in whole pages of 4 KiB: what is left over of `n` allows nothing. More than 16 TiB are 16 TiB.
    #[must_use]
    pub fn bytes(mut self, n: u64) -> Self {
        self.limits.bytes = (n / PAGE_BYTES * PAGE_BYTES).min(MapUsage::MAX.bytes);
        self
    }

    /// Takes all of `wanted`, bytes rounded up to pages of 4 KiB, if there is room for all of it now.
    pub fn try_acquire(&self, wanted: MapUsage) -> Option<Permit> {
        let mut found = self.used.load(Ordering::Relaxed);
        loop {
            let sum = self.plus(unpack(found), wanted)?;
            // ORDER Q1 (Acquire, pairs with Q2): what the holders of permits that were given back did with them is over before this one is
            // used. Nothing is published by taking, so no Release; and takers keep a give-back's release sequence going.
            match self.used.compare_exchange_weak(found, pack(sum), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Permit { used: Arc::clone(&self.used), taken: pack(wanted) }),
                Err(newer) => found = newer,
            }
        }
    }

    /// What all permits have together; their bytes in whole pages.
    pub fn in_use(&self) -> MapUsage {
        unpack(self.used.load(Ordering::Relaxed))
    }

    /// What they may have.
    pub fn limits(&self) -> MapUsage {
        self.limits
    }

    /// The sum, unless it would exceed a limit.
    fn plus(&self, found: MapUsage, wanted: MapUsage) -> Option<MapUsage> {
        let bytes = wanted.bytes.checked_next_multiple_of(PAGE_BYTES)?;
        let sum = MapUsage {
            maps: found.maps.checked_add(wanted.maps)?,
            descriptors: found.descriptors.checked_add(wanted.descriptors)?,
            bytes: found.bytes.checked_add(bytes)?,
        };
        let MapUsage { maps, descriptors, bytes } = self.limits;
        let fits = sum.maps <= maps && sum.descriptors <= descriptors && sum.bytes <= bytes;
        fits.then_some(sum)
    }
}

/// A part of a [`MapBudget`], which has it back when this is dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct Permit {
    used: Arc<AtomicU64>,
    taken: u64,
}

impl Permit {
    /// What it stands for; bytes in whole pages.
    pub fn usage(&self) -> MapUsage {
        unpack(self.taken)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // ORDER Q2 (Release, pairs with Q1): what the permit was spent on is closed before somebody else may have it. One subtraction for
        // all fields, none of which holds less than what this permit added (I1).
        self.used.fetch_sub(self.taken, Ordering::Release);
    }
}

/// Bytes are rounded up. What is packed is at most [`MapUsage::MAX`]: no limit is higher, and nothing is packed that was not compared.
fn pack(usage: MapUsage) -> u64 {
    let pages = usage.bytes.div_ceil(PAGE_BYTES);
    assert!(pages >> PAGE_BITS == 0, "{pages} pages were granted");
    (u64::from(usage.maps) << COUNT_BITS | u64::from(usage.descriptors)) << PAGE_BITS | pages
}

fn unpack(word: u64) -> MapUsage {
    let count = |shift| u16::try_from(word >> shift & u64::from(u16::MAX)).expect("masked to 16 bits");
    MapUsage {
        maps: count(PAGE_BITS + COUNT_BITS),
        descriptors: count(PAGE_BITS),
        bytes: (word & ((1 << PAGE_BITS) - 1)) * PAGE_BYTES,
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usage() -> impl Strategy<Value = MapUsage> {
        // Small numbers, which fit, and those at the ends of the fields.
        let count = || prop_oneof![4 => 0u16..6, 1 => any::<u16>()];
        let bytes = prop_oneof![4 => 0u64..40_000, 1 => any::<u64>(), 1 => (1u64 << 43)..(1 << 45)];
        (count(), count(), bytes).prop_map(|(maps, descriptors, bytes)| MapUsage { maps, descriptors, bytes })
    }

    /// What is wanted of each field, in numbers that can't overflow.
    fn fields(usage: MapUsage) -> [u128; 3] {
        [usage.maps.into(), usage.descriptors.into(), u128::from(usage.bytes).div_ceil(4096)]
    }

    proptest! {
        // Goal: granted is exactly what fits, all of it or nothing, and what is given back fits again. Method: requests and drops in any
        // order, beside three plain sums.
        #[test]
        fn a_budget_counts_as_three_plain_sums(
            limits in usage(),
            steps in proptest::collection::vec((usage(), any::<proptest::sample::Index>(), 0..3), 0..80),
        ) {
            let budget =
                MapBudget::new().maps(limits.maps).descriptors(limits.descriptors).bytes(limits.bytes);
            let allowed =
                [limits.maps.into(), limits.descriptors.into(), u128::from(limits.bytes / 4096).min((1 << 32) - 1)];
            prop_assert_eq!(fields(budget.limits()), allowed);
            let mut held: Vec<(Permit, [u128; 3])> = vec![];
            for (wanted, which, kind) in steps {
                if kind == 0 && !held.is_empty() {
                    drop(held.swap_remove(which.index(held.len())));
                } else {
                    let before = [0, 1, 2].map(|field| held.iter().map(|(_, has)| has[field]).sum::<u128>());
                    let wants = fields(wanted);
                    let fits = (0..3).all(|field| before[field] + wants[field] <= allowed[field]);
                    let permit = budget.try_acquire(wanted);
                    prop_assert_eq!(permit.is_some(), fits, "{:?} of {:?}, {:?} in use", wanted, allowed, before);
                    held.extend(permit.map(|permit| (permit, wants)));
                }
                let sum = [0, 1, 2].map(|field| held.iter().map(|(_, has)| has[field]).sum::<u128>());
                prop_assert_eq!(fields(budget.in_use()), sum);
                for (permit, has) in &held {
                    prop_assert_eq!(fields(permit.usage()), *has);
                }
            }
            drop(held);
            prop_assert_eq!(budget.in_use(), MapUsage::default());
        }
    }
}
