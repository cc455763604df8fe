//! rtrb 0.4.1: one to one between two threads of one process.
//!
//! Records are written and read in place, in chunks: `push` and `pop` take and give them by value, which passes large
//! ones through the stack. Singly is a chunk of one.

use rtrb::{Consumer, Producer, RingBuffer};

use super::parts::{Batch, End, fill};
use crate::workload::{Contestant, Receiver, Records, Sender};

/// One to one, between threads.
#[derive(Debug)]
pub(super) struct Threads<const N: usize> {
    producer: End<Producer<[u8; N]>>,
    consumer: End<Consumer<[u8; N]>>,
    batch: Batch,
}

impl<const N: usize> Threads<N> {
    /// # Errors
    ///
    /// None.
    pub(super) fn new(ring_bytes: usize, batch: Batch) -> Result<Self, String> {
        let (producer, consumer) = RingBuffer::new(ring_bytes / N);
        Ok(Self { producer: End::new(producer), consumer: End::new(consumer), batch })
    }
}

impl<const N: usize> Contestant for Threads<N> {
    const IN_PROCESS: bool = true;

    fn sender(&self) -> impl Sender {
        ChunkSender { producer: self.producer.take(), n_batch: self.batch.n_send }
    }

    fn receiver(&self) -> impl Receiver {
        ChunkReceiver { consumer: self.consumer.take(), n_batch: self.batch.n_receive }
    }
}

struct ChunkSender<const N: usize> {
    producer: Producer<[u8; N]>,
    n_batch: usize,
}

impl<const N: usize> Sender for ChunkSender<N> {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        let mut left = n_records;
        while left > 0 {
            let n = left.min(self.n_batch);
            let Ok(mut chunk) = self.producer.write_chunk_uninit(n) else { continue };
            let (first, second) = chunk.as_mut_slices();
            for place in first.iter_mut().chain(second) {
                fill(place, records.next_record());
            }
            // SAFETY: all `n` places were filled.
            unsafe { chunk.commit_all() };
            left -= n;
        }
    }
}

struct ChunkReceiver<const N: usize> {
    consumer: Consumer<[u8; N]>,
    n_batch: usize,
}

impl<const N: usize> Receiver for ChunkReceiver<N> {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        // What is known to be there costs no look at the other side's cache line.
        let mut n_there = self.consumer.cached_slots();
        if n_there == 0 {
            n_there = self.consumer.slots();
        }
        let Ok(chunk) = self.consumer.read_chunk(n_there.min(self.n_batch)) else { return };
        let (first, second) = chunk.as_slices();
        first.iter().chain(second).for_each(|record| each(record));
        chunk.commit_all();
    }
}
