//! ringfire 0.5.2: fixed-size slots in a mapped file, one producer, every record to every registered reader.
//!
//! `LosslessBackpressure`: the producer waits for the slowest registered reader. `push` and `try_recv`, or `push_batch`, whose
//! records have to lie side by side, so they are copied there first, and `recv_batch`. Readers that block use `FutexWait`.
//! Records come out by value. (Its queue for several producers drops what is not read in time, so it is no contestant.)

use ringfire::{
    ConsumerStartMode, FlowControl, FutexWait, RingConsumer, RingConsumerBuilder, RingProducer,
    RingProducerBuilder,
};

use super::parts::{Batch, End, Nameless, Waiting};
use crate::workload::{Contestant, Receiver, Records, Sender};

/// One to one, or one to several.
pub(super) struct Ring<const N: usize> {
    producer: End<RingProducer<[u8; N]>>,
    file: Nameless,
    batch: Batch,
    waiting: Waiting,
}

impl<const N: usize> Ring<N> {
    /// # Errors
    ///
    /// What ringfire says.
    pub(super) fn new(
        ring_bytes: usize,
        n_receivers: usize,
        batch: Batch,
        waiting: Waiting,
    ) -> Result<Self, String> {
        let file = Nameless::new()?;
        let producer = RingProducerBuilder::new((ring_bytes / N) as u64)
            .flow_control(FlowControl::LosslessBackpressure)
            .max_readers(n_receivers)
            // A name to be locked and unlinked: this file has none.
            .exclusive_lock(false)
            .cleanup_mode(ringfire::CleanupMode::Persistent)
            .build(file.path())
            .map_err(|error| format!("ringfire: {error}"))?;
        Ok(Self { producer: End::new(producer), file, batch, waiting })
    }
}

impl<const N: usize> Contestant for Ring<N> {
    fn sender(&self) -> impl Sender {
        RingSender {
            producer: self.producer.take(),
            n_batch: self.batch.n_send,
            staged: Vec::with_capacity(self.batch.n_send),
        }
    }

    fn receiver(&self) -> impl Receiver {
        let consumer = RingConsumerBuilder::new()
            .start_mode(ConsumerStartMode::Oldest)
            .attach(self.file.path())
            .expect("ringfire: attach");
        assert!(consumer.registration().is_some(), "ringfire: a reader nobody waits for");
        RingReceiver {
            consumer,
            taken: vec![[0; N]; self.batch.n_receive],
            futex: (self.waiting == Waiting::Block).then(FutexWait::default),
        }
    }
}

struct RingSender<const N: usize> {
    producer: RingProducer<[u8; N]>,
    n_batch: usize,
    staged: Vec<[u8; N]>,
}

impl<const N: usize> Sender for RingSender<N> {
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        let mut left = n_records;
        while left > 0 {
            let n = left.min(self.n_batch);
            if n == 1 {
                self.producer.push(records.next_record().try_into().expect("all records have one size"));
            } else {
                self.staged.clear();
                self.staged.extend(
                    (0..n).map(|_| {
                        <[u8; N]>::try_from(records.next_record()).expect("all records have one size")
                    }),
                );
                self.producer.push_batch(&self.staged);
            }
            left -= n;
        }
    }
}

struct RingReceiver<const N: usize> {
    consumer: RingConsumer<[u8; N]>,
    taken: Vec<[u8; N]>,
    futex: Option<FutexWait>,
}

impl<const N: usize> Receiver for RingReceiver<N> {
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        if let Some(futex) = &mut self.futex {
            each(&self.consumer.recv_blocking(futex));
        } else if self.taken.len() > 1 {
            let n_taken = self.consumer.recv_batch(&mut self.taken);
            self.taken[..n_taken].iter().for_each(|record| each(record));
        } else if let Some(record) = self.consumer.try_recv() {
            each(&record);
        }
    }
}
