//! disruptor 4.4.0: one to one between two threads of one process; `BusySpin`, read by an `EventPoller`.
//!
//! Events are made once, at the start, and written in place by `publish` or `batch_publish`, which spin while the ring is
//! full. A poller that takes one event at a time is the single interface's other half.

use disruptor::{
    BusySpin, EventPoller, Producer, SingleConsumerBarrier, SingleProducer, SingleProducerBarrier,
    build_single_producer,
};

use super::parts::{Batch, End};
use crate::workload::{Contestant, Receiver, Records, Sender};

struct Event<const N: usize>([u8; N]);

type Publisher<const N: usize> = SingleProducer<Event<N>, SingleConsumerBarrier>;
type Poller<const N: usize> = EventPoller<Event<N>, SingleProducerBarrier>;

/// One to one, between threads.
pub(super) struct Threads<const N: usize> {
    publisher: End<Publisher<N>>,
    poller: End<Poller<N>>,
    batch: Batch,
}

impl<const N: usize> Threads<N> {
    /// # Errors
    ///
    /// None.
    pub(super) fn new(ring_bytes: usize, batch: Batch) -> Result<Self, String> {
        let builder = build_single_producer(ring_bytes / N, || Event([0; N]), BusySpin);
        let (poller, builder) = builder.new_event_poller();
        Ok(Self { publisher: End::new(builder.build()), poller: End::new(poller), batch })
    }
}

impl<const N: usize> Contestant for Threads<N> {
    const IN_PROCESS: bool = true;

    fn sender(&self) -> impl Sender {
        EventSender { publisher: self.publisher.take(), n_batch: self.batch.n_send }
    }

    fn receiver(&self) -> impl Receiver {
        EventReceiver { poller: self.poller.take(), n_batch: self.batch.n_receive as u64 }
    }
}

struct EventSender<const N: usize> {
    publisher: Publisher<N>,
    n_batch: usize,
}

impl<const N: usize> Sender for EventSender<N> {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        if self.n_batch == 1 {
            for _ in 0..n_records {
                self.publisher.publish(|event| event.0.copy_from_slice(records.next_record()));
            }
            return;
        }
        let mut left = n_records;
        while left > 0 {
            let n = left.min(self.n_batch);
            self.publisher.batch_publish(n, |events| {
                for event in events {
                    event.0.copy_from_slice(records.next_record());
                }
            });
            left -= n;
        }
    }
}

struct EventReceiver<const N: usize> {
    poller: Poller<N>,
    n_batch: u64,
}

impl<const N: usize> Receiver for EventReceiver<N> {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        if let Ok(mut events) = self.poller.take(self.n_batch) {
            (&mut events).for_each(|event| each(&event.0));
        }
    }
}
