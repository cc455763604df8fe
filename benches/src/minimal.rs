//! Minimal: what a good programmer writes by hand when only speed counts, as the measure of what a ring can reach.
//!
//! One producer, one consumer, spinning, anonymous shared memory; no recovery, no waiting, no metadata, no observers.
//!
//! | ring | how a record is published | how space comes back |
//! |------|---------------------------|----------------------|
//! | raw_slot | a sequence word in its fixed-size slot | `head`, lazily |
//! | raw_tail | `tail`, one store per record; the record has an 8-byte header with its length | `head`, lazily |
//! | raw_tail_batch | `tail`, one store per 32 records | as above |
//! | raw_tail_lag*N* | as raw_tail; a consumer that finds nothing pauses *N* times before it looks again | as above |
//! | raw_inband | its own header: the length, stored last | as above |
//!
//! ```text
//!   raw_slot     | seq u64 | payload |  seq u64 | payload | ...               slots of one size
//!   raw_tail,    | len u64 | payload, padded to 8 |  len u64 | ...            a power of two of bytes; SKIP: go on at 0
//!   raw_inband
//! ```
//!
//! Lazily: the consumer publishes `head` when it finds nothing, or after an eighth of the ring; the producer reads it only
//! when the one it knows says full. Each side keeps its own position, and a copy of the other's, in private memory.
//!
//! | label | store (Release) | load (Acquire) | carries |
//! |-------|-----------------|----------------|---------|
//! | S | `seq` of a slot | the same, by the consumer | the slot's payload |
//! | T | `tail` | the same, by the consumer | headers and payloads below it |
//! | I | a header, in band | the same, by the consumer | its payload, and the zero in the next header |
//! | H | `head` | the same, by the producer | the consumer is done with everything below it |

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::process::{Padded, Region, Shared, Zeroed};
use crate::workload::{Contestant, Receiver, Records, Sender};

/// Both positions, each on lines of its own.
#[derive(Debug)]
#[repr(C)]
struct Ends {
    head: Padded<AtomicUsize>,
    tail: Padded<AtomicUsize>,
}

// SAFETY: two atomics; zero is valid.
unsafe impl Zeroed for Ends {}

/// The producer's knowledge of what is free.
struct Credit<'a> {
    ends: &'a Ends,
    capacity: usize,
    head_seen: usize,
}

impl Credit<'_> {
    /// Waits until `[.., end)` fits.
    #[inline(always)]
    fn wait(&mut self, end: usize) {
        while end - self.head_seen > self.capacity {
            // ORDER H (Acquire): nothing is overwritten before the consumer is done with it.
            self.head_seen = self.ends.head.0.load(Ordering::Acquire);
        }
    }
}

/// The consumer's side of the same.
struct Debt<'a> {
    ends: &'a Ends,
    capacity: usize,
    head_published: usize,
}

impl Debt<'_> {
    /// Everything below `head` was read.
    #[inline(always)]
    fn read_up_to(&mut self, head: usize) {
        if head - self.head_published >= self.capacity / 8 {
            self.publish(head);
        }
    }

    /// The same, without delay.
    #[inline(always)]
    fn publish(&mut self, head: usize) {
        if head != self.head_published {
            // ORDER H (Release): the reads of everything below.
            self.ends.head.0.store(head, Ordering::Release);
            self.head_published = head;
        }
    }
}

/// raw_slot.
#[derive(Debug)]
pub struct SlotRing {
    ends: Shared<Ends>,
    data: Region,
    record_bytes: usize,
    n_slots: usize,
}

const WORD_BYTES: usize = 8;

impl SlotRing {
    /// As many slots of `record_bytes` as fit into `capacity_bytes`.
    pub fn new(capacity_bytes: usize, record_bytes: usize) -> Self {
        assert!(record_bytes.is_multiple_of(WORD_BYTES), "sequence words are aligned");
        let n_slots = capacity_bytes / (WORD_BYTES + record_bytes);
        assert!(n_slots >= 8, "an eighth of the ring is a slot at least");
        Self { ends: Shared::new(), data: Region::new(capacity_bytes), record_bytes, n_slots }
    }

    /// The slot after the one at `offset`.
    #[inline(always)]
    fn after(&self, offset: usize) -> usize {
        let slot_bytes = WORD_BYTES + self.record_bytes;
        if offset + slot_bytes == self.n_slots * slot_bytes { 0 } else { offset + slot_bytes }
    }
}

impl Contestant for SlotRing {
    fn sender(&self) -> impl Sender {
        let credit = Credit { ends: &self.ends, capacity: self.n_slots, head_seen: 0 };
        SlotSender { ring: self, credit, sequence: 0, offset: 0 }
    }

    fn receiver(&self) -> impl Receiver {
        let debt = Debt { ends: &self.ends, capacity: self.n_slots, head_published: 0 };
        SlotReceiver { ring: self, debt, sequence: 0, offset: 0 }
    }
}

struct SlotSender<'a> {
    ring: &'a SlotRing,
    credit: Credit<'a>,
    sequence: usize,
    offset: usize,
}

impl Sender for SlotSender<'_> {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        for _ in 0..n_records {
            let record = records.next_record();
            assert_eq!(record.len(), self.ring.record_bytes, "all records have the slots' size");
            self.credit.wait(self.sequence + 1);
            // SAFETY:
            // - in bounds: a slot, and the record fills its payload;
            // - exclusive: the consumer gave it back (H) and looks at it after S.
            unsafe { self.ring.data.write(self.offset + WORD_BYTES, record) };
            self.sequence += 1;
            // SAFETY: a slot's first word: in bounds, aligned, never touched otherwise.
            let word = unsafe { self.ring.data.word(self.offset) };
            // ORDER S (Release): the payload.
            word.store(self.sequence as u64, Ordering::Release);
            self.offset = self.ring.after(self.offset);
        }
    }
}

struct SlotReceiver<'a> {
    ring: &'a SlotRing,
    debt: Debt<'a>,
    sequence: usize,
    offset: usize,
}

impl Receiver for SlotReceiver<'_> {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        // SAFETY: a slot's first word: in bounds, aligned, never touched otherwise.
        let word = unsafe { self.ring.data.word(self.offset) };
        // ORDER S (Acquire): no byte of the payload is read before.
        if word.load(Ordering::Acquire) != self.sequence as u64 + 1 {
            self.debt.publish(self.sequence);
            return;
        }
        // SAFETY:
        // - in bounds: the slot's payload;
        // - not written to: the producer waits for H, published after the slice is gone.
        each(unsafe { self.ring.data.bytes(self.offset + WORD_BYTES, self.ring.record_bytes) });
        self.sequence += 1;
        self.offset = self.ring.after(self.offset);
        self.debt.read_up_to(self.sequence);
    }
}

/// Bytes in a ring: what raw_tail and raw_inband have in common.
///
/// (I1) Positions are multiples of 8. (I2) Both sides agree where headers are, and reach these 8 bytes as an atomic word.
#[derive(Debug)]
struct Bytes {
    ends: Shared<Ends>,
    data: Region,
    capacity: usize,
}

/// A header that says: the rest up to the ring's end is not used.
const SKIP: u64 = u64::MAX;

impl Bytes {
    fn new(capacity_bytes: usize) -> Self {
        assert!(capacity_bytes.is_power_of_two(), "positions are folded with a mask");
        Self { ends: Shared::new(), data: Region::new(capacity_bytes), capacity: capacity_bytes }
    }

    #[inline(always)]
    fn offset(&self, position: usize) -> usize {
        position & (self.capacity - 1)
    }

    /// From the position to the ring's end.
    #[inline(always)]
    fn to_end(&self, position: usize) -> usize {
        self.capacity - self.offset(position)
    }

    fn credit(&self) -> Credit<'_> {
        Credit { ends: &self.ends, capacity: self.capacity, head_seen: 0 }
    }

    fn debt(&self) -> Debt<'_> {
        Debt { ends: &self.ends, capacity: self.capacity, head_published: 0 }
    }

    #[inline(always)]
    fn header(&self, position: usize) -> &AtomicU64 {
        // SAFETY: in bounds and aligned, as a multiple of 8 below the capacity (I1); atomic only (I2).
        unsafe { self.data.word(self.offset(position)) }
    }

    /// Copies a payload to behind the header at `position`.
    ///
    /// # Safety
    ///
    /// The frame ends before the ring does, the credit for it is there (H), and it is not published yet (T or I).
    #[inline(always)]
    unsafe fn write(&self, position: usize, record: &[u8]) {
        // SAFETY: in bounds, exclusive: the caller's contract.
        unsafe { self.data.write(self.offset(position) + WORD_BYTES, record) }
    }

    /// The payload behind the header at `position`, which says `header`.
    ///
    /// # Safety
    ///
    /// The frame is published (T or I), and not given back (H) while the slice lives.
    #[inline(always)]
    unsafe fn read(&self, position: usize, header: u64) -> &[u8] {
        let len = usize::try_from(header).expect("a length");
        assert!(WORD_BYTES + len <= self.to_end(position), "a length of {len} at {position}");
        // SAFETY: in bounds: just asserted; not written to: the caller's contract.
        unsafe { self.data.bytes(self.offset(position) + WORD_BYTES, len) }
    }
}

/// Header and payload, padded.
#[inline(always)]
fn frame_bytes(record_bytes: usize) -> usize {
    WORD_BYTES + record_bytes.next_multiple_of(WORD_BYTES)
}

/// raw_tail, raw_tail_batch and raw_tail_lag*N*.
#[derive(Debug)]
pub struct TailRing {
    bytes: Bytes,
    n_batch: usize,
    n_pauses: usize,
}

impl TailRing {
    /// Publishes every record.
    pub fn new(capacity_bytes: usize) -> Self {
        Self { bytes: Bytes::new(capacity_bytes), n_batch: 1, n_pauses: 0 }
    }

    /// Publishes every `n_batch` records, which must fit into half of the ring.
    pub fn batch(capacity_bytes: usize, n_batch: usize) -> Self {
        Self { n_batch, ..Self::new(capacity_bytes) }
    }

    /// The consumer pauses `n_pauses` times before it looks again.
    pub fn lag(capacity_bytes: usize, n_pauses: usize) -> Self {
        Self { n_pauses, ..Self::new(capacity_bytes) }
    }
}

impl Contestant for TailRing {
    fn sender(&self) -> impl Sender {
        let credit = self.bytes.credit();
        TailSender { bytes: &self.bytes, credit, n_batch: self.n_batch, tail: 0, n_held: 0 }
    }

    fn receiver(&self) -> impl Receiver {
        let debt = self.bytes.debt();
        TailReceiver { bytes: &self.bytes, debt, n_pauses: self.n_pauses, head: 0, tail_seen: 0 }
    }
}

struct TailSender<'a> {
    bytes: &'a Bytes,
    credit: Credit<'a>,
    n_batch: usize,
    tail: usize,
    /// Records that are written but not published.
    n_held: usize,
}

impl Sender for TailSender<'_> {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        for _ in 0..n_records {
            let record = records.next_record();
            let frame = frame_bytes(record.len());
            let to_end = self.bytes.to_end(self.tail);
            let skip = if frame > to_end { to_end } else { 0 };
            self.credit.wait(self.tail + skip + frame);
            if skip > 0 {
                // ORDER none (Relaxed): published by T.
                self.bytes.header(self.tail).store(SKIP, Ordering::Relaxed);
                self.tail += skip;
            }
            // ORDER none (Relaxed): published by T.
            self.bytes.header(self.tail).store(record.len() as u64, Ordering::Relaxed);
            // SAFETY: it fits (skip), there is credit (wait), and T comes last.
            unsafe { self.bytes.write(self.tail, record) };
            self.tail += frame;
            self.n_held += 1;
            if self.n_held >= self.n_batch {
                self.flush();
            }
        }
    }

    #[inline(always)]
    fn flush(&mut self) {
        self.n_held = 0;
        // ORDER T (Release): headers and payloads.
        self.bytes.ends.tail.0.store(self.tail, Ordering::Release);
    }
}

struct TailReceiver<'a> {
    bytes: &'a Bytes,
    debt: Debt<'a>,
    n_pauses: usize,
    head: usize,
    tail_seen: usize,
}

impl Receiver for TailReceiver<'_> {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        if self.head == self.tail_seen {
            // ORDER T (Acquire): no header and no payload is read before.
            self.tail_seen = self.bytes.ends.tail.0.load(Ordering::Acquire);
            if self.head == self.tail_seen {
                self.debt.publish(self.head);
                (0..self.n_pauses).for_each(|_| std::hint::spin_loop());
                return;
            }
        }
        // ORDER none (Relaxed): covered by T.
        let mut header = self.bytes.header(self.head).load(Ordering::Relaxed);
        if header == SKIP {
            self.head += self.bytes.to_end(self.head);
            header = self.bytes.header(self.head).load(Ordering::Relaxed);
        }
        // SAFETY: below the tail that T showed, and above the head until this slice is gone.
        let record = unsafe { self.bytes.read(self.head, header) };
        each(record);
        self.head += frame_bytes(record.len());
        self.debt.read_up_to(self.head);
    }
}

/// raw_inband.
#[derive(Debug)]
pub struct InbandRing {
    bytes: Bytes,
}

impl InbandRing {
    /// An empty ring: the first header is 0.
    pub fn new(capacity_bytes: usize) -> Self {
        Self { bytes: Bytes::new(capacity_bytes) }
    }
}

impl Contestant for InbandRing {
    fn sender(&self) -> impl Sender {
        InbandSender { bytes: &self.bytes, credit: self.bytes.credit(), tail: 0 }
    }

    fn receiver(&self) -> impl Receiver {
        InbandReceiver { bytes: &self.bytes, debt: self.bytes.debt(), head: 0 }
    }
}

struct InbandSender<'a> {
    bytes: &'a Bytes,
    credit: Credit<'a>,
    tail: usize,
}

impl InbandSender<'_> {
    /// Publishes the header at `tail`, whose frame has `frame` bytes, and zeroes the one after it.
    #[inline(always)]
    fn commit(&mut self, header: u64, frame: usize) {
        // ORDER none (Relaxed): I carries it, so that a consumer that goes on to it finds 0 or what is stored there next.
        self.bytes.header(self.tail + frame).store(0, Ordering::Relaxed);
        // ORDER I (Release): the payload, and the zero above.
        self.bytes.header(self.tail).store(header, Ordering::Release);
        self.tail += frame;
    }
}

impl Sender for InbandSender<'_> {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        for _ in 0..n_records {
            let record = records.next_record();
            assert!(!record.is_empty(), "a length of 0 says that nothing is there");
            let frame = frame_bytes(record.len());
            let to_end = self.bytes.to_end(self.tail);
            let skip = if frame > to_end { to_end } else { 0 };
            // The header after the frame is written to as well.
            self.credit.wait(self.tail + skip + frame + WORD_BYTES);
            if skip > 0 {
                self.commit(SKIP, skip);
            }
            // SAFETY: it fits (skip), there is credit (wait), and I comes last.
            unsafe { self.bytes.write(self.tail, record) };
            self.commit(record.len() as u64, frame);
        }
    }
}

struct InbandReceiver<'a> {
    bytes: &'a Bytes,
    debt: Debt<'a>,
    head: usize,
}

impl Receiver for InbandReceiver<'_> {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        // ORDER I (Acquire): no byte of the payload is read before, nor the next header.
        match self.bytes.header(self.head).load(Ordering::Acquire) {
            0 => self.debt.publish(self.head),
            SKIP => self.head += self.bytes.to_end(self.head),
            header => {
                // SAFETY: I showed it, and it is above the head until this slice is gone.
                let record = unsafe { self.bytes.read(self.head, header) };
                each(record);
                self.head += frame_bytes(record.len());
                self.debt.read_up_to(self.head);
            }
        }
    }
}
