//! Into: replayed records, put into a ring or a log.

use super::merge::Event;
use super::pool_source::Replayed;
use crate::error::{ClaimError, Error};
use crate::layout::frame::Position;
use crate::log::appender::Appender;
use crate::log::error::LogError;
use crate::ring::Ring;
use crate::ring::producer::Producer;

/// Why a record could not be put into a ring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingWriteError {
    /// There is no room for it, or never will be.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// No producer slot could be taken.
    #[error(transparent)]
    Ring(#[from] Error),
}

/// Puts replayed records into a ring.
#[derive(Debug)]
pub struct RingWriter {
    ring: Ring,
    producer: Option<Producer>,
    scratch: Vec<u8>,
}

impl RingWriter {
    /// Into that ring; takes no slot yet.
    pub fn new(ring: &Ring) -> Self {
        Self { ring: ring.clone(), producer: None, scratch: vec![] }
    }

    /// Appends a record.
    ///
    /// # Errors
    ///
    /// [`RingWriteError`].
    pub fn push(&mut self, event: &Event<Replayed<'_>>) -> Result<Position, RingWriteError> {
        let producer = match &mut self.producer {
            Some(producer) => producer,
            None => self.producer.insert(self.ring.producer()?),
        };
        let payload = event.record.payload(&mut self.scratch).expect("none fails");
        let mut claim = producer.claim(payload.len())?;
        claim.copy_from_slice(payload);
        claim.set_level(event.record.tags.level);
        claim.set_kind(event.record.tags.kind);
        Ok(claim.commit())
    }
}

/// Puts replayed records into a log.
#[derive(Debug)]
pub struct LogWriter {
    log: Appender,
    scratch: Vec<u8>,
}

impl LogWriter {
    /// Into that log.
    pub fn new(log: Appender) -> Self {
        Self { log, scratch: vec![] }
    }

    /// Appends a record.
    ///
    /// # Errors
    ///
    /// [`LogError`].
    pub fn push(&mut self, event: &Event<Replayed<'_>>) -> Result<Position, LogError> {
        let (tags, payload) =
            (event.record.tags, event.record.payload(&mut self.scratch).expect("none fails"));
        let _ = self.log.append_tagged(event.stamp.timestamp_ns, tags.level, tags.kind, payload)?;
        Ok(self.log.end())
    }

    /// The log.
    pub fn into_log(self) -> Appender {
        self.log
    }
}
