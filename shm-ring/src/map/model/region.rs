//! Region of the models: the parts of a ring on the heap, behind the same views as the mapping's.
//!
//! (I1) words are handed out as atomics only, payload included, so that whoever reads a byte without having been handed it reads what a
//! stale line would show; (I2) a position is folded as the mirror folds it.

use crate::layout::frame::IDLE;
use crate::layout::geometry::Geometry;
use crate::layout::slots::{ConsumerSlot, Era, Grants, Line, Live, ProducerSlot, Waits};
use crate::sync::{AtomicU32, AtomicU64};
use std::ops::Deref;
use std::sync::Arc;

/// As the mapping's.
pub(crate) const LINE_BYTES: u64 = 64;

/// A ring in which everybody is attached whose slot exists, and no consumer has joined.
#[derive(Debug)]
pub(crate) struct Region {
    live: Live,
    producers: Vec<ProducerSlot>,
    consumers: Vec<ConsumerSlot>,
    words: Vec<AtomicU64>,
}

impl Region {
    /// All producers of the shape are attached.
    pub(crate) fn new(geometry: &Geometry) -> Arc<Self> {
        let shape = geometry.shape;
        let zero = || AtomicU64::new(0);
        let producer = || ProducerSlot {
            intent: AtomicU64::new(IDLE),
            intent_len: zero(),
            generation: zero(),
            sequence: zero(),
            records: zero(),
            bytes: zero(),
            refused: zero(),
            waited: zero(),
            pid: AtomicU64::new(1),
            attached: AtomicU64::new(1),
            dropped: zero(),
            told: zero(),
            lost: zero(),
            reserved: std::array::from_fn(|_| zero()),
        };
        let consumer = || ConsumerSlot {
            position: AtomicU64::new(IDLE),
            resume: zero(),
            generation: zero(),
            missed_bytes: zero(),
            lost_records: zero(),
            flags: zero(),
            pid: zero(),
            group: zero(),
            name: std::array::from_fn(|_| zero()),
        };
        let live = Live {
            tail: Line(zero()),
            grants: Line(Grants {
                granted: zero(),
                base: zero(),
                producers_high: AtomicU32::new(shape.producers_max.into()),
                consumers_high: AtomicU32::new(0),
            }),
            waits: Line(Waits { data: AtomicU32::new(0), space: AtomicU32::new(0), woken_at_ns: zero() }),
            era: Line(Era {
                epoch: zero(),
                boot_id: [zero(), zero()],
                repair_pid: zero(),
                lost_records: zero(),
                lost_bytes: zero(),
                producers_ever: AtomicU64::new(shape.producers_max.into()),
                producers_left: zero(),
            }),
        };
        Arc::new(Self {
            live,
            producers: (0..shape.producers_max).map(|_| producer()).collect(),
            consumers: (0..shape.consumers_max).map(|_| consumer()).collect(),
            words: (0..shape.capacity_bytes / 8).map(|_| zero()).collect(),
        })
    }

    /// The page of atomics.
    pub(crate) fn live(self: &Arc<Self>) -> View<Live> {
        View { region: Arc::clone(self), index: 0, item: |region, _| &region.live }
    }

    /// A producer's slot.
    pub(crate) fn producer(self: &Arc<Self>, slot: u16) -> View<ProducerSlot> {
        View { region: Arc::clone(self), index: slot.into(), item: |region, index| &region.producers[index] }
    }

    /// A consumer's slot.
    pub(crate) fn consumer(self: &Arc<Self>, slot: u16) -> View<ConsumerSlot> {
        View { region: Arc::clone(self), index: slot.into(), item: |region, index| &region.consumers[index] }
    }

    /// All producer slots.
    pub(crate) fn producers(self: &Arc<Self>) -> View<[ProducerSlot]> {
        View { region: Arc::clone(self), index: 0, item: |region, _| &region.producers }
    }

    /// All consumer slots.
    pub(crate) fn consumers(self: &Arc<Self>) -> View<[ConsumerSlot]> {
        View { region: Arc::clone(self), index: 0, item: |region, _| &region.consumers }
    }

    /// The data.
    pub(crate) fn data(self: &Arc<Self>) -> Data {
        Data { region: Arc::clone(self) }
    }
}

/// Something in a region, which it keeps.
#[derive(Debug)]
pub(crate) struct View<T: ?Sized + 'static> {
    region: Arc<Region>,
    index: usize,
    item: for<'a> fn(&'a Region, usize) -> &'a T,
}

impl<T: ?Sized> Deref for View<T> {
    type Target = T;

    fn deref(&self) -> &T {
        (self.item)(&self.region, self.index)
    }
}

/// The data of a ring: frames, found by position.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    region: Arc<Region>,
}

impl Data {
    /// Never: it is the heap.
    pub(crate) fn was_hit(&self) -> bool {
        false
    }

    /// Never: it is the heap.
    pub(crate) fn is_truncated(&self) -> bool {
        self.was_hit()
    }

    /// Nothing: there are no cache lines.
    pub(crate) fn prefetch_for_write(&self, _position: u64) {}

    /// Nothing either.
    pub(crate) fn prefetch_for_read(&self, _from: u64, _to: u64) {}

    /// The word `index` words after `position`, which is a multiple of 8.
    pub(crate) fn word(&self, position: u64, index: usize) -> &AtomicU64 {
        let words = &self.region.words;
        let first = usize::try_from(position >> 3).expect("64-bit only");
        &words[(first + index) % words.len()]
    }
}
