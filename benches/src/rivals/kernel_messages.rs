//! POSIX message queue and Unix seqpacket socket: the kernel's messages.
//!
//! One call per record and side; several senders may share either. A queue is as deep as the kernel allows, up to the ring's
//! size: unprivileged 10 messages of 8 KiB (`fs.mqueue.msg_max`, `fs.mqueue.msgsize_max`), and 800 KB of a user's queues
//! together (`RLIMIT_MSGQUEUE`). Its name is gone before anybody uses it.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use super::kernel_bytes::{SOCKET_BYTES, widen};
use super::parts::{Pause, Waiting};
use crate::workload::{Contestant, Receiver, Records, Sender};

/// A message queue without a name.
#[derive(Debug)]
pub(super) struct Queue {
    queue: MqdT,
    record_bytes: usize,
    waiting: Waiting,
}

impl Queue {
    /// As deep as `ring_bytes` and the kernel allow.
    ///
    /// # Errors
    ///
    /// A kernel that allows not even one record.
    pub(super) fn new(ring_bytes: usize, record_bytes: usize, waiting: Waiting) -> Result<Self, String> {
        let mut depth = ring_bytes / record_bytes;
        let queue = loop {
            match open(depth, record_bytes, waiting) {
                Ok(queue) => break queue,
                Err(_) if depth > 1 => depth /= 2,
                Err(error) => {
                    return Err(format!(
                        "mq_open: one message of {record_bytes} B: {error}; see fs.mqueue.msgsize_max, RLIMIT_MSGQUEUE"
                    ));
                }
            }
        };
        Ok(Self { queue, record_bytes, waiting })
    }
}

fn open(depth: usize, record_bytes: usize, waiting: Waiting) -> Result<MqdT, Errno> {
    static N_OPENED: AtomicU32 = AtomicU32::new(0);
    // ORDER none (Relaxed): only a number that nobody else has.
    let number = N_OPENED.fetch_add(1, Ordering::Relaxed);
    let name = CString::new(format!("/bench-{}-{number}", std::process::id())).expect("no zero inside");
    let mut flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDWR | MQ_OFlag::O_CLOEXEC;
    if waiting != Waiting::Block {
        flags |= MQ_OFlag::O_NONBLOCK;
    }
    let size = |n: usize| n.try_into().expect("sizes are small");
    let attributes = MqAttr::new(0, size(depth), size(record_bytes), 0);
    let queue = mq_open(name.as_c_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&attributes))?;
    mq_unlink(name.as_c_str())?;
    Ok(queue)
}

impl Contestant for Queue {
    fn sender(&self) -> impl Sender {
        QueueSender { queue: &self.queue, pause: Pause::new(self.waiting) }
    }

    fn receiver(&self) -> impl Receiver {
        let buffer = vec![0; self.record_bytes];
        QueueReceiver { queue: &self.queue, buffer }
    }
}

struct QueueSender<'a> {
    queue: &'a MqdT,
    pause: Pause,
}

impl Sender for QueueSender<'_> {
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        for _ in 0..n_records {
            let record = records.next_record();
            loop {
                match mq_send(self.queue, record, 0) {
                    Ok(()) => break,
                    Err(Errno::EAGAIN) => self.pause.again(),
                    Err(error) => panic!("mq_send: {error}"),
                }
            }
        }
    }
}

struct QueueReceiver<'a> {
    queue: &'a MqdT,
    buffer: Vec<u8>,
}

impl Receiver for QueueReceiver<'_> {
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        match mq_receive(self.queue, &mut self.buffer, &mut 0) {
            Ok(n_read) => each(&self.buffer[..n_read]),
            Err(Errno::EAGAIN) => {}
            Err(error) => panic!("mq_receive: {error}"),
        }
    }
}

/// A pair of Unix seqpacket sockets.
#[derive(Debug)]
pub(super) struct Seqpacket {
    reader: OwnedFd,
    writer: OwnedFd,
    record_bytes: usize,
    waiting: Waiting,
}

impl Seqpacket {
    /// # Errors
    ///
    /// What the kernel says.
    pub(super) fn new(record_bytes: usize, waiting: Waiting) -> Result<Self, String> {
        let (family, kind, flags) = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (reader, writer) =
            socketpair(family, kind, flags, None).map_err(|error| format!("socketpair: {error}"))?;
        widen(&writer, &reader)?;
        assert!(record_bytes < SOCKET_BYTES, "a record fits into the buffer");
        Ok(Self { reader, writer, record_bytes, waiting })
    }
}

impl Contestant for Seqpacket {
    fn sender(&self) -> impl Sender {
        PacketSender {
            socket: &self.writer,
            blocks: self.waiting == Waiting::Block,
            pause: Pause::new(self.waiting),
        }
    }

    fn receiver(&self) -> impl Receiver {
        let (buffer, blocks) = (vec![0; self.record_bytes], self.waiting == Waiting::Block);
        PacketReceiver { socket: &self.reader, buffer, blocks }
    }
}

struct PacketSender<'a> {
    socket: &'a OwnedFd,
    blocks: bool,
    pause: Pause,
}

impl Sender for PacketSender<'_> {
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        let flags = if self.blocks { SendFlags::empty() } else { SendFlags::DONTWAIT };
        for _ in 0..n_records {
            let record = records.next_record();
            loop {
                match send(self.socket, record, flags) {
                    Ok(n_sent) => break assert_eq!(n_sent, record.len(), "packets are whole"),
                    Err(rustix::io::Errno::AGAIN) => self.pause.again(),
                    Err(error) => panic!("send: {error}"),
                }
            }
        }
    }
}

struct PacketReceiver<'a> {
    socket: &'a OwnedFd,
    buffer: Vec<u8>,
    blocks: bool,
}

impl Receiver for PacketReceiver<'_> {
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        let flags = if self.blocks { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
        match recv(self.socket, &mut self.buffer[..], flags) {
            Ok((n_read, _)) => each(&self.buffer[..n_read]),
            Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => panic!("recv: {error}"),
        }
    }
}
