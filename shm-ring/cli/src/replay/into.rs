//! Into: records into a ring, one by one, as if they were made now.
//!
//! (I1) each is committed before the next is looked for; (I2) level and kind are kept, time and sequence are the ring's.

use crate::failure::{Code, Failure};
use crate::stop::Blocking;
use shm_ring::replay::Tags;
use shm_ring::{ClaimError, Error, Producer, RingOptions, Wait};
use std::path::{Path, PathBuf};

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Into {
    path: PathBuf,
    producer: Producer,
}

impl Into {
    /// Takes a producer slot of a ring that is there.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let ring = match RingOptions::new().wait(Wait::Block).open(path) {
            Err(error @ Error::NotFound { .. }) => {
                let what = format!("{error}; make it with `shm-ring create`");
                return Err(Failure::new(Code::NotFound, what));
            }
            ring => ring?,
        };
        Ok(Self { path: path.into(), producer: ring.producer()? })
    }

    /// Puts a record in; waits while the ring is full, which `blocking` is told.
    pub(crate) fn push(&mut self, tags: Tags, payload: &[u8], blocking: &Blocking) -> Result<(), Failure> {
        let failed = |error: ClaimError| Failure::claim(&self.path, error);
        let call = blocking.enter();
        let mut claim = self.producer.claim(payload.len()).map_err(failed)?;
        drop(call);
        claim.set_kind(tags.kind);
        claim.set_level(tags.level);
        claim.copy_from_slice(payload);
        claim.commit();
        Ok(())
    }
}
