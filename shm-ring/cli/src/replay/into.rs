//! Into: replayed records into a ring that is there.
//!
//! (I1) each is committed before the next is looked for.

use crate::failure::{Code, Failure};
use crate::stop::Blocking;
use shm_ring::replay::{Event, Replayed, RingWriter};
use shm_ring::{Error, RingOptions, Wait};
use std::path::{Path, PathBuf};

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Into {
    path: PathBuf,
    writer: RingWriter,
}

impl Into {
    /// A ring that is there.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let ring = match RingOptions::new().wait(Wait::Block).open(path) {
            Err(error @ Error::NotFound { .. }) => {
                let what = format!("{error}; make it with `shm-ring create`");
                return Err(Failure::new(Code::NotFound, what));
            }
            ring => ring?,
        };
        Ok(Self { path: path.into(), writer: RingWriter::new(&ring) })
    }

    /// Puts a record in; waits while the ring is full, which `blocking` is told.
    pub(crate) fn push(&mut self, event: &Event<Replayed<'_>>, blocking: &Blocking) -> Result<(), Failure> {
        let call = blocking.enter();
        let pushed = self.writer.push(event);
        drop(call);
        pushed.map(|_| ()).map_err(|error| Failure::write(&self.path, error))
    }
}
