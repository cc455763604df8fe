//! Pipe and Unix stream socket: the kernel's streams of bytes.
//!
//! One `write` per record, `read`s of up to 256 KiB; records have one size, so there is no length prefix, slightly in their
//! favour. A pipe holds 1 MiB, a socket's buffers are asked to hold 4 MiB (the kernel may give less). Several writers may
//! share a pipe: up to 4 KiB (`PIPE_BUF`) a `write` is not torn. A side that spins asks a descriptor that never blocks.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::sockopt;
use rustix::pipe::fcntl_setpipe_size;

use super::parts::{End, Pause, Waiting};
use crate::workload::{Contestant, Receiver, Records, Sender};

const PIPE_BYTES: usize = 1 << 20;
/// What can be written without being torn.
pub(super) const PIPE_BUF: usize = 4096;
/// Asked for; `net.core.wmem_max` is the limit of what is given.
pub(super) const SOCKET_BYTES: usize = 4 << 20;
/// At once, at most.
const READ_BYTES: usize = 256 << 10;

/// Two ends for bytes, of records of one size.
#[derive(Debug)]
pub(super) struct Stream {
    reader: End<File>,
    /// Shared, not taken: several may write.
    writer: File,
    record_bytes: usize,
    waiting: Waiting,
}

impl Stream {
    /// A pipe.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(super) fn pipe(record_bytes: usize, waiting: Waiting) -> Result<Self, String> {
        let (reader, writer) = std::io::pipe().map_err(|error| format!("pipe: {error}"))?;
        fcntl_setpipe_size(&writer, PIPE_BYTES)
            .map_err(|error| format!("pipe: F_SETPIPE_SZ {PIPE_BYTES}: {error}; see fs.pipe-max-size"))?;
        Self::new(reader.into(), writer.into(), record_bytes, waiting)
    }

    /// A pair of Unix stream sockets.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(super) fn socket(record_bytes: usize, waiting: Waiting) -> Result<Self, String> {
        let (reader, writer) = UnixStream::pair().map_err(|error| format!("socketpair: {error}"))?;
        widen(&writer, &reader)?;
        Self::new(reader.into(), writer.into(), record_bytes, waiting)
    }

    fn new(reader: OwnedFd, writer: OwnedFd, record_bytes: usize, waiting: Waiting) -> Result<Self, String> {
        if waiting != Waiting::Block {
            never_block(&reader)?;
            never_block(&writer)?;
        }
        Ok(Self { reader: End::new(reader.into()), writer: writer.into(), record_bytes, waiting })
    }
}

/// Asks for buffers of [`SOCKET_BYTES`].
///
/// # Errors
///
/// What the kernel says.
pub(super) fn widen(writer: impl AsFd, reader: impl AsFd) -> Result<(), String> {
    let sent = sockopt::set_socket_send_buffer_size(writer, SOCKET_BYTES);
    let received = sockopt::set_socket_recv_buffer_size(reader, SOCKET_BYTES);
    sent.and(received).map_err(|error| format!("SO_SNDBUF, SO_RCVBUF {SOCKET_BYTES}: {error}"))
}

/// Sets `O_NONBLOCK`.
///
/// # Errors
///
/// What the kernel says.
pub(super) fn never_block(fd: impl AsFd) -> Result<(), String> {
    let flags = fcntl_getfl(&fd).map_err(|error| format!("F_GETFL: {error}"))?;
    fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map_err(|error| format!("F_SETFL: {error}"))
}

impl Contestant for Stream {
    fn sender(&self) -> impl Sender {
        ByteSender { writer: &self.writer, pause: Pause::new(self.waiting) }
    }

    fn receiver(&self) -> impl Receiver {
        ByteReceiver {
            reader: self.reader.take(),
            buffer: vec![0; READ_BYTES],
            n_held: 0,
            record_bytes: self.record_bytes,
        }
    }
}

struct ByteSender<'a> {
    writer: &'a File,
    pause: Pause,
}

impl Sender for ByteSender<'_> {
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        for _ in 0..n_records {
            let mut left = records.next_record();
            while !left.is_empty() {
                match self.writer.write(left) {
                    Ok(n_written) => left = &left[n_written..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.pause.again(),
                    Err(error) => panic!("write: {error}"),
                }
            }
        }
    }
}

struct ByteReceiver {
    reader: File,
    buffer: Vec<u8>,
    /// The begin of a record whose end has not come yet.
    n_held: usize,
    record_bytes: usize,
}

impl Receiver for ByteReceiver {
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        match self.reader.read(&mut self.buffer[self.n_held..]) {
            Ok(0) => panic!("read: the writer is gone"),
            Ok(n_read) => {
                let n_there = self.n_held + n_read;
                let records = self.buffer[..n_there].chunks_exact(self.record_bytes);
                self.n_held = records.remainder().len();
                records.for_each(&mut each);
                self.buffer.copy_within(n_there - self.n_held..n_there, 0);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("read: {error}"),
        }
    }
}
