//! ipmpsc 0.5.1: several to one through a mapped ring, a mutex and a condition variable of pthreads in it.
//!
//! Bytes as `serde_bytes`, read in place by a `zero_copy_context`; `try_recv` where a side spins, `recv` where it blocks.
//! Senders always block. A record and its two lengths are a message of 12 bytes more.

use ipmpsc::SharedRingBuffer;
use serde_bytes::Bytes;

use super::parts::{Nameless, Waiting};
use crate::workload::{Contestant, Receiver, Records, Sender};

/// Several to one.
pub(super) struct Ring {
    buffer: SharedRingBuffer,
    _file: Nameless,
    waiting: Waiting,
}

impl Ring {
    /// # Errors
    ///
    /// What ipmpsc says.
    pub(super) fn new(ring_bytes: usize, waiting: Waiting) -> Result<Self, String> {
        let file = Nameless::new()?;
        let ring_bytes = ring_bytes.try_into().expect("rings are small");
        let buffer = SharedRingBuffer::create(&file.path(), ring_bytes);
        Ok(Self { buffer: buffer.map_err(|error| format!("ipmpsc: {error}"))?, _file: file, waiting })
    }
}

impl Contestant for Ring {
    fn sender(&self) -> impl Sender {
        RingSender(ipmpsc::Sender::new(self.buffer.clone()))
    }

    fn receiver(&self) -> impl Receiver {
        let receiver = ipmpsc::Receiver::new(self.buffer.clone());
        RingReceiver { receiver, blocks: self.waiting == Waiting::Block }
    }
}

struct RingSender(ipmpsc::Sender);

impl Sender for RingSender {
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        for _ in 0..n_records {
            self.0.send(&Bytes::new(records.next_record())).expect("ipmpsc: send");
        }
    }
}

struct RingReceiver {
    receiver: ipmpsc::Receiver,
    blocks: bool,
}

impl Receiver for RingReceiver {
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        let mut context = self.receiver.zero_copy_context();
        let record: Option<&Bytes> = if self.blocks {
            Some(context.recv().expect("ipmpsc: recv"))
        } else {
            context.try_recv().expect("ipmpsc: try_recv")
        };
        if let Some(record) = record {
            each(record);
        }
    }
}
