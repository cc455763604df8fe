//! shmem-ipc 0.3.0: one to one, a sealed memfd, a count of records that both sides change, eventfds for sides that sleep.
//!
//! Spinning uses the low-level calls, which signal nobody; blocking the ones that do. Singly is a batch of one. A record
//! is words, since the crate asks for types that zerocopy knows; its closures get raw pointers, since the crate trusts
//! nobody.

use std::fs::File;

use shmem_ipc::sharedring;

use super::parts::{Batch, End, Waiting};
use crate::workload::{Contestant, Receiver, Records, Sender};

/// One to one, records of `W` words.
pub(super) struct Sharedring<const W: usize> {
    sender: End<sharedring::Sender<[u64; W]>>,
    n_records: usize,
    memfd: File,
    empty_signal: File,
    full_signal: File,
    batch: Batch,
    blocks: bool,
}

fn shown(error: impl std::fmt::Display) -> String {
    format!("shmem-ipc: {error}")
}

impl<const W: usize> Sharedring<W> {
    const RECORD_BYTES: usize = W * 8;

    /// # Errors
    ///
    /// What shmem-ipc says.
    pub(super) fn new(ring_bytes: usize, batch: Batch, waiting: Waiting) -> Result<Self, String> {
        let n_records = ring_bytes / Self::RECORD_BYTES;
        let sender = sharedring::Sender::new(n_records).map_err(shown)?;
        Ok(Self {
            n_records,
            memfd: sender.memfd().as_file().try_clone().map_err(shown)?,
            empty_signal: sender.empty_signal().try_clone().map_err(shown)?,
            full_signal: sender.full_signal().try_clone().map_err(shown)?,
            sender: End::new(sender),
            batch,
            blocks: waiting == Waiting::Block,
        })
    }
}

impl<const W: usize> Contestant for Sharedring<W> {
    fn sender(&self) -> impl Sender {
        RingSender { ring: self.sender.take(), n_batch: self.batch.n_send, blocks: self.blocks }
    }

    fn receiver(&self) -> impl Receiver {
        let clone = |file: &File| file.try_clone().expect("another descriptor");
        let signals = [clone(&self.empty_signal), clone(&self.full_signal)];
        let [empty_signal, full_signal] = signals;
        let ring = sharedring::Receiver::open(self.n_records, clone(&self.memfd), empty_signal, full_signal);
        let ring: sharedring::Receiver<[u64; W]> = ring.expect("shmem-ipc: open");
        RingReceiver { ring, n_batch: self.batch.n_receive, blocks: self.blocks }
    }
}

struct RingSender<const W: usize> {
    ring: sharedring::Sender<[u64; W]>,
    n_batch: usize,
    blocks: bool,
}

impl<const W: usize> Sender for RingSender<W> {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        let mut left = n_records;
        while left > 0 {
            let mut n_written = 0;
            let write = |place: *mut [u64; W], room: usize| {
                n_written = left.min(self.n_batch).min(room);
                for index in 0..n_written {
                    let record = records.next_record();
                    assert_eq!(record.len(), size_of::<[u64; W]>(), "all records have one size");
                    let to = place.wrapping_add(index).cast::<u8>();
                    // SAFETY:
                    // - in bounds: of the room that the ring gave, and of the record, as just seen;
                    // - no overlap: the ring's map against private memory.
                    unsafe { to.copy_from_nonoverlapping(record.as_ptr(), record.len()) };
                }
                n_written
            };
            if self.blocks {
                self.ring.send_raw(write).expect("shmem-ipc: send_raw");
            } else {
                self.ring.sender_mut().send(write).expect("shmem-ipc: send");
            }
            left -= n_written;
            if n_written == 0 && self.blocks {
                self.ring.block_until_writable().expect("shmem-ipc: block_until_writable");
            }
        }
    }
}

struct RingReceiver<const W: usize> {
    ring: sharedring::Receiver<[u64; W]>,
    n_batch: usize,
    blocks: bool,
}

impl<const W: usize> Receiver for RingReceiver<W> {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        let n_batch = self.n_batch;
        let read = |place: *const [u64; W], n_there: usize| {
            let n_read = n_there.min(n_batch);
            for index in 0..n_read {
                let from = place.wrapping_add(index).cast::<u8>();
                // SAFETY:
                // - in bounds: of what the ring says is there;
                // - not written to: the sender has no room there before this closure returns; trusts the peer.
                each(unsafe { std::slice::from_raw_parts(from, size_of::<[u64; W]>()) });
            }
            n_read
        };
        if self.blocks {
            self.ring.block_until_readable().expect("shmem-ipc: block_until_readable");
            self.ring.receive_raw(read).expect("shmem-ipc: receive_raw");
        } else {
            self.ring.receiver_mut().recv(read).expect("shmem-ipc: recv");
        }
    }
}
