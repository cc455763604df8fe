//! ipc-channel 0.23.1: Servo's channels over Unix seqpacket sockets.
//!
//! `bytes_channel`, so nothing is serialized; `try_recv` where a side spins, `recv` where it blocks. Every record that is
//! received is a vector of its own. Several may send.

use ipc_channel::TryRecvError;
use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, bytes_channel};

use super::parts::{End, Waiting};
use crate::workload::{Contestant, Receiver, Records, Sender};

/// Several to one.
#[derive(Debug)]
pub(super) struct Channel {
    sender: End<IpcBytesSender>,
    receiver: End<IpcBytesReceiver>,
    waiting: Waiting,
}

impl Channel {
    /// # Errors
    ///
    /// What ipc-channel says.
    pub(super) fn new(waiting: Waiting) -> Result<Self, String> {
        let (sender, receiver) = bytes_channel().map_err(|error| format!("ipc-channel: {error}"))?;
        Ok(Self { sender: End::new(sender), receiver: End::new(receiver), waiting })
    }
}

impl Contestant for Channel {
    fn sender(&self) -> impl Sender {
        ChannelSender(self.sender.take())
    }

    fn receiver(&self) -> impl Receiver {
        let receiver = self.receiver.take();
        ChannelReceiver { receiver, blocks: self.waiting == Waiting::Block }
    }
}

struct ChannelSender(IpcBytesSender);

impl Sender for ChannelSender {
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        for _ in 0..n_records {
            self.0.send(records.next_record()).expect("ipc-channel: send");
        }
    }
}

struct ChannelReceiver {
    receiver: IpcBytesReceiver,
    blocks: bool,
}

impl Receiver for ChannelReceiver {
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        let record = if self.blocks {
            self.receiver.recv().map_err(TryRecvError::IpcError)
        } else {
            self.receiver.try_recv()
        };
        match record {
            Ok(record) => each(&record),
            Err(TryRecvError::Empty) => {}
            Err(error) => panic!("ipc-channel: {error}"),
        }
    }
}
