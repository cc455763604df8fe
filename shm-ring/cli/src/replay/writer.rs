//! Writer: stdout that never lags behind, though nobody knows when the next record is due.
//!
//! ```text
//!   record in time --> written at once
//!   record late, or as fast as it goes --> kept --> 64 KiB, or a look a few ms later --> written
//! ```
//!
//! (I1) what is shown is written within a few ms, whatever the replay waits for; (I2) records are whole and in order.

use crate::failure::Failure;
use crate::output::{self, write_patiently};
use crate::stop::Blocking;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is written at once.
const FLUSH_BYTES: usize = 64 * 1024;

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Writer {
    out: Mutex<Out>,
    blocking: Blocking,
}

#[derive(Debug)]
struct Out {
    stdout: File,
    /// What was shown and not yet written.
    bytes: Vec<u8>,
    /// Nothing can be written any more.
    error: Option<io::Error>,
}

/// Whether somebody reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It goes on.
    Fine,
    /// Nobody reads our stdout.
    Closed,
}

impl Writer {
    /// To stdout; `blocking` is told when a write may wait.
    pub(crate) fn new(blocking: Blocking) -> Result<Self, Failure> {
        let out = Out { stdout: output::stdout()?, bytes: Vec::with_capacity(2 * FLUSH_BYTES), error: None };
        Ok(Self { out: Mutex::new(out), blocking })
    }

    /// Keeps what `show` appends, and writes it when it is much.
    pub(crate) fn show(&self, show: impl FnOnce(&mut Vec<u8>)) -> Result<Written, Failure> {
        let mut out = self.lock();
        show(&mut out.bytes);
        if out.bytes.len() >= FLUSH_BYTES {
            self.write(&mut out);
        }
        outcome(&out)
    }

    /// Writes what is kept.
    pub(crate) fn flush(&self) -> Result<Written, Failure> {
        let mut out = self.lock();
        self.write(&mut out);
        outcome(&out)
    }

    /// Whether whoever read our pipe is gone.
    pub(crate) fn is_closed(&self) -> bool {
        output::is_closed(&self.lock().stdout)
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        // Who panicked with it has shown half a record at most, and ends the program.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, out: &mut Out) {
        if out.bytes.is_empty() || out.error.is_some() {
            return;
        }
        let call = self.blocking.enter();
        out.error = write_patiently(&mut out.stdout, &out.bytes).err();
        drop(call);
        out.bytes.clear();
    }
}

fn outcome(out: &Out) -> Result<Written, Failure> {
    match &out.error {
        None => Ok(Written::Fine),
        Some(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Written::Closed),
        Some(error) => Err(Failure::io("write to stdout", error)),
    }
}
