//! shaq 4.2.0: fixed-size records in a mapped file, futex for readers that sleep.
//!
//! | contestant | queue | writes | reads |
//! |------------|-------|--------|-------|
//! | [`Spsc`] | one to one | in place: `write_batch` | in place: `reserve_read_batch` |
//! | [`Mpmc`] | several to one, one ring, published in the order of reservation | `try_reserve_write_batch` | as above |
//! | [`Broadcast`] | a lane per producer, each record to every consumer | as above | as above |
//!
//! Singly is a batch of one. A reader that blocks looks 2,048 times inside shaq, then sleeps; writers never do.

use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::time::Duration;

use shaq::broadcast::{self, BroadcastConfig, ProducerId};
use shaq::{mpmc, spsc};

use super::parts::{Batch, End, Nameless, Pause, Waiting, fill};
use crate::workload::{Contestant, Receiver, Records, Sender};

/// Longer than any repetition.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Everything both sides need to attach.
#[derive(Debug)]
struct Queue {
    file: Nameless,
    batch: Batch,
    waiting: Waiting,
}

impl Queue {
    fn new(batch: Batch, waiting: Waiting) -> Result<Self, String> {
        Ok(Self { file: Nameless::new()?, batch, waiting })
    }

    fn n_read(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.batch.n_receive).expect("a batch holds a record")
    }
}

fn shown(error: impl std::fmt::Debug) -> String {
    format!("shaq: {error:?}")
}

/// One to one.
pub(super) struct Spsc<const N: usize> {
    queue: Queue,
    producer: End<spsc::Producer<[u8; N]>>,
}

impl<const N: usize> Spsc<N> {
    /// # Errors
    ///
    /// What shaq says.
    pub(super) fn new(ring_bytes: usize, batch: Batch, waiting: Waiting) -> Result<Self, String> {
        let queue = Queue::new(batch, waiting)?;
        let file_bytes = spsc::minimum_file_size::<[u8; N]>(ring_bytes / N);
        // SAFETY: a new file, initialised here only; the one producer; bytes are valid anywhere.
        let producer = unsafe { spsc::Producer::create(queue.file.file(), file_bytes) };
        Ok(Self { queue, producer: End::new(producer.map_err(shown)?) })
    }
}

impl<const N: usize> Contestant for Spsc<N> {
    fn sender(&self) -> impl Sender {
        let Queue { batch, waiting, .. } = self.queue;
        SpscSender { producer: self.producer.take(), n_batch: batch.n_send, pause: Pause::new(waiting) }
    }

    fn receiver(&self) -> impl Receiver {
        // SAFETY: the one consumer; both sides use this type; bytes are valid anywhere.
        let consumer = unsafe { spsc::Consumer::<[u8; N]>::join(self.queue.file.file()) };
        let (consumer, blocks) = (consumer.expect("shaq: join"), self.queue.waiting == Waiting::Block);
        SpscReceiver { consumer, n_read: self.queue.n_read(), blocks }
    }
}

struct SpscSender<const N: usize> {
    producer: spsc::Producer<[u8; N]>,
    n_batch: usize,
    pause: Pause,
}

impl<const N: usize> Sender for SpscSender<N> {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        let mut left = n_records;
        while left > 0 {
            let mut batch = self.producer.write_batch();
            let mut n_written = 0;
            while n_written < left.min(self.n_batch) {
                // SAFETY: filled right below; `next_record` takes from a pool and doesn't panic.
                let Some(place) = (unsafe { batch.try_as_mut() }) else { break };
                fill(place, records.next_record());
                n_written += 1;
            }
            drop(batch);
            left -= n_written;
            if n_written == 0 {
                self.pause.again();
            }
        }
    }
}

struct SpscReceiver<const N: usize> {
    consumer: spsc::Consumer<[u8; N]>,
    n_read: NonZeroUsize,
    blocks: bool,
}

impl<const N: usize> Receiver for SpscReceiver<N> {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        let batch = if self.blocks {
            self.consumer.reserve_read_batch_timeout(self.n_read, FOR_EVER).ok()
        } else {
            self.consumer.try_reserve_read_batch(self.n_read)
        };
        if let Some(batch) = batch {
            batch.iter().for_each(|record| each(record));
        }
    }
}

/// Several to one through one ring.
#[derive(Debug)]
pub(super) struct Mpmc<const N: usize>(Queue);

impl<const N: usize> Mpmc<N> {
    /// # Errors
    ///
    /// What shaq says.
    pub(super) fn new(ring_bytes: usize, batch: Batch, waiting: Waiting) -> Result<Self, String> {
        let queue = Queue::new(batch, waiting)?;
        let file_bytes = mpmc::minimum_file_size::<[u8; N]>(ring_bytes / N);
        // SAFETY: a new file, initialised here only; bytes are valid anywhere.
        let created = unsafe { mpmc::Producer::<[u8; N]>::create(queue.file.file(), file_bytes) };
        created.map_err(shown)?;
        Ok(Self(queue))
    }
}

impl<const N: usize> Contestant for Mpmc<N> {
    fn sender(&self) -> impl Sender {
        // SAFETY: all sides use this type; bytes are valid anywhere.
        let producer = unsafe { mpmc::Producer::<[u8; N]>::join(self.0.file.file()) }.expect("shaq: join");
        MpmcSender { producer, n_batch: self.0.batch.n_send, pause: Pause::new(self.0.waiting) }
    }

    fn receiver(&self) -> impl Receiver {
        // SAFETY: all sides use this type; bytes are valid anywhere.
        let consumer = unsafe { mpmc::Consumer::<[u8; N]>::join(self.0.file.file()) }.expect("shaq: join");
        MpmcReceiver { consumer, n_read: self.0.n_read() }
    }
}

struct MpmcSender<const N: usize> {
    producer: mpmc::Producer<[u8; N]>,
    n_batch: usize,
    pause: Pause,
}

impl<const N: usize> Sender for MpmcSender<N> {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        let mut left = n_records;
        while left > 0 {
            let n = NonZeroUsize::new(left.min(self.n_batch)).expect("something is left");
            // SAFETY: filled right below; `next_record` takes from a pool and doesn't panic.
            let Some(mut batch) = (unsafe { self.producer.try_reserve_write_batch(n) }) else {
                self.pause.again();
                continue;
            };
            for index in 0..n.get() {
                // SAFETY: below the batch's length.
                let place: &mut MaybeUninit<[u8; N]> = unsafe { batch.as_mut(index) };
                fill(place, records.next_record());
            }
            drop(batch);
            left -= n.get();
        }
    }
}

struct MpmcReceiver<const N: usize> {
    consumer: mpmc::Consumer<[u8; N]>,
    n_read: NonZeroUsize,
}

impl<const N: usize> Receiver for MpmcReceiver<N> {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        if let Some(batch) = self.consumer.try_reserve_read_batch(self.n_read) {
            batch.iter().for_each(|record| each(record));
        }
    }
}

/// A lane per producer, everything to everybody.
#[derive(Debug)]
pub(super) struct Broadcast<const N: usize>(Queue);

impl<const N: usize> Broadcast<N> {
    /// Lanes of `ring_bytes / n_senders`.
    ///
    /// # Errors
    ///
    /// What shaq says.
    pub(super) fn new(
        ring_bytes: usize,
        [n_senders, n_receivers]: [usize; 2],
        batch: Batch,
        waiting: Waiting,
    ) -> Result<Self, String> {
        let queue = Queue::new(batch, waiting)?;
        let config = BroadcastConfig {
            capacity: ring_bytes / n_senders / N,
            producer_slots: n_senders,
            consumer_slots: n_receivers,
        };
        // SAFETY: a new file, initialised here only; bytes are valid anywhere.
        let created = unsafe { broadcast::Broadcast::<[u8; N]>::create(queue.file.file(), config) };
        created.map_err(shown)?;
        Ok(Self(queue))
    }

    fn join(&self) -> broadcast::Broadcast<[u8; N]> {
        // SAFETY: a live queue, never resized; all sides use this type; bytes are valid anywhere.
        unsafe { broadcast::Broadcast::<[u8; N]>::join(self.0.file.file()) }.expect("shaq: join")
    }
}

impl<const N: usize> Contestant for Broadcast<N> {
    fn sender(&self) -> impl Sender {
        let id = ProducerId::new(std::process::id().into());
        let producer = self.join().producer(id).expect("shaq: a lane");
        BroadcastSender { producer, n_batch: self.0.batch.n_send, pause: Pause::new(self.0.waiting) }
    }

    fn receiver(&self) -> impl Receiver {
        let consumer = self.join().consumer().expect("shaq: a consumer's slot");
        BroadcastReceiver { consumer, n_read: self.0.n_read() }
    }
}

struct BroadcastSender<const N: usize> {
    producer: broadcast::Producer<[u8; N]>,
    n_batch: usize,
    pause: Pause,
}

impl<const N: usize> Sender for BroadcastSender<N> {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        let mut left = n_records;
        while left > 0 {
            let n = NonZeroUsize::new(left.min(self.n_batch)).expect("something is left");
            // SAFETY: filled right below; `next_record` takes from a pool and doesn't panic.
            let Some(mut batch) = (unsafe { self.producer.try_reserve_write_batch(n) }) else {
                self.pause.again();
                continue;
            };
            for index in 0..n.get() {
                // SAFETY: below the batch's length.
                let place: &mut MaybeUninit<[u8; N]> = unsafe { batch.as_mut(index) };
                fill(place, records.next_record());
            }
            drop(batch);
            left -= n.get();
        }
    }
}

struct BroadcastReceiver<const N: usize> {
    consumer: broadcast::Consumer<[u8; N]>,
    n_read: NonZeroUsize,
}

impl<const N: usize> Receiver for BroadcastReceiver<N> {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        if let Some(batch) = self.consumer.try_reserve_read_batch(self.n_read) {
            let (first, second) = batch.as_slices();
            first.iter().chain(second).for_each(|record| each(record));
        }
    }
}
