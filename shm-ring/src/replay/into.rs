//! Into: replayed records, put into a ring or a log.
//!
//! ```text
//!   source 0, producer 3 -> slot 5      each has a slot of its own while there are some; who comes later shares one:
//!   source 1, producer 3 -> slot 6      its records stay in order, and sequences without a gap
//! ```
//!
//! (I1) time, level and kind are kept; a sequence is counted anew, so that no reader is told of a loss that was none; (I2) records come in the
//! order in which they are pushed; (I3) who has a slot keeps it.
//! Waits for nobody but the ring's readers.

use super::merge::Event;
use super::pool_source::Replayed;
use super::source::SourceError;
use super::stage::Tags;
use crate::error::{ClaimError, Error};
use crate::layout::frame::{Position, encode_tags};
use crate::log::appender::Appender;
use crate::log::error::LogError;
use crate::ring::Ring;
use crate::ring::claim::Claim;
use crate::ring::producer::Producer;
use std::collections::HashMap;
use std::time::Duration;

/// Why a record could not be put into a ring or a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// There is no room for it, or never will be.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// No producer slot of the ring could be taken.
    #[error(transparent)]
    Ring(#[from] Error),
    /// The log does not take it.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What is to be written can't be read: a row of a table that is damaged.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Puts replayed records into a ring, whose consumers can't tell them from live ones: each has the time at which it was recorded, its level
/// and its kind, and the records of one producer of one source come from one producer.
///
/// It takes one producer slot of the ring for each, as long as there are free ones, and [at most so many](Self::slots_max); whoever is met
/// later shares a slot. It counts sequences anew: a reader hears of no loss but its own. A ring without metadata keeps the bytes only.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("log");
/// # let mut log = shm_ring::LogOptions::new().segment_bytes(64 << 10).create(&path)?;
/// # log.append_tagged(1_000_000, 3, 7, b"hello")?;
/// # log.close()?;
/// use shm_ring::RingOptions;
/// use shm_ring::replay::{Merge, PoolOptions, Replayer, RingWriter};
///
/// let ring = RingOptions::new().anonymous()?;
/// let mut consumer = ring.consumer("reader")?;
///
/// let mut merge = Merge::new();
/// merge.add(PoolOptions::new().build()?.open(&path)?);
/// let (mut replayer, mut writer) = (Replayer::new(merge), RingWriter::new(&ring));
/// while let Some(event) = replayer.next()? {
///     writer.push(&event)?;
/// }
///
/// let frame = consumer.poll()?;
/// assert_eq!((&*frame, frame.timestamp_ns(), frame.kind()), (&b"hello"[..], Some(1_000_000), 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RingWriter {
    ring: Ring,
    slots_max: usize,
    producers: Vec<Producer>,
    /// Who has which of them: by source and producer.
    of: HashMap<(usize, u16), usize>,
    /// The last one: records of one often follow each other.
    last: Option<((usize, u16), usize)>,
    scratch: Vec<u8>,
}

impl RingWriter {
    /// Into that ring; takes no slot yet.
    pub fn new(ring: &Ring) -> Self {
        Self {
            ring: ring.clone(),
            slots_max: usize::MAX,
            producers: vec![],
            of: HashMap::new(),
            last: None,
            scratch: vec![],
        }
    }

    /// Takes at most so many producer slots, but at least one; without that, all that are free.
    #[must_use]
    pub fn slots_max(mut self, n_slots: usize) -> Self {
        self.slots_max = n_slots.max(1);
        self
    }

    /// Appends a record, waiting for room as long as it takes: as long as the ring's slowest consumer does. Where it went.
    ///
    /// # Errors
    ///
    /// [`WriteError::Claim`] for a record that is longer than a quarter of the ring, and the rest of [`ClaimError`] but
    /// [`ClaimError::Full`]; [`WriteError::Ring`] when not even one slot can be taken; [`WriteError::Source`].
    pub fn push(&mut self, event: &Event<Replayed<'_>>) -> Result<Position, WriteError> {
        self.push_by(event, Producer::claim)
    }

    /// The same, waiting for room at most so long.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), and [`ClaimError::Full`] when the time is over: then the record is not in the ring.
    pub fn push_timeout(
        &mut self,
        event: &Event<Replayed<'_>>,
        timeout: Duration,
    ) -> Result<Position, WriteError> {
        self.push_by(event, |producer, len| producer.claim_timeout(len, timeout))
    }

    /// How many producer slots it has taken.
    pub fn n_slots(&self) -> usize {
        self.producers.len()
    }

    fn push_by(
        &mut self,
        event: &Event<Replayed<'_>>,
        claim: impl for<'a> FnOnce(&'a mut Producer, usize) -> Result<Claim<'a>, ClaimError>,
    ) -> Result<Position, WriteError> {
        let Event { source, stamp, record } = event;
        let at = self.producer_of((*source, record.tags.producer))?;
        let payload = record.payload(&mut self.scratch)?;
        let mut claim = claim(&mut self.producers[at], payload.len())?;
        claim.copy_from_slice(payload);
        claim.set_timestamp_ns(stamp.timestamp_ns);
        claim.set_level(record.tags.level);
        claim.set_kind(record.tags.kind);
        Ok(claim.commit())
    }

    #[inline]
    fn producer_of(&mut self, who: (usize, u16)) -> Result<usize, Error> {
        if let Some((_, at)) = self.last.filter(|(last, _)| *last == who) {
            return Ok(at);
        }
        let at = match self.of.get(&who) {
            Some(at) => *at,
            None => self.take(who)?,
        };
        self.last = Some((who, at));
        Ok(at)
    }

    /// A slot for somebody new.
    #[cold]
    fn take(&mut self, who: (usize, u16)) -> Result<usize, Error> {
        if self.producers.len() < self.slots_max {
            match self.ring.producer() {
                Ok(producer) => self.producers.push(producer),
                // One for whom there is no slot shares those that there are, from then on.
                Err(Error::NoSlot { .. } | Error::Busy { .. }) if !self.producers.is_empty() => {
                    self.slots_max = self.producers.len();
                }
                Err(error) => return Err(error),
            }
        }
        // The one that was just taken, and then all in turn.
        let n_slots = self.producers.len();
        let at = if n_slots > self.of.len() { n_slots - 1 } else { self.of.len() % n_slots };
        self.of.insert(who, at);
        Ok(at)
    }
}

/// Puts replayed records into a log: merged once, they are one source from then on.
///
/// Each keeps its time, level, kind and producer. Sequences are counted anew, for each producer number: two sources that have the same one are
/// one producer in the log.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let (day, hour) = (directory.path().join("day"), directory.path().join("hour"));
/// # let mut log = shm_ring::LogOptions::new().segment_bytes(64 << 10).create(&hour)?;
/// # log.append(b"hello")?;
/// # log.close()?;
/// use shm_ring::LogOptions;
/// use shm_ring::replay::{LogWriter, Merge, PoolOptions};
///
/// let mut merge = Merge::new();
/// merge.add(PoolOptions::new().build()?.open(&hour)?);
/// let mut writer = LogWriter::new(LogOptions::new().create(&day)?);
/// while let Some(event) = merge.next()? {
///     writer.push(&event)?;
/// }
/// writer.into_log().close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LogWriter {
    log: Appender,
    /// The next one of each producer.
    sequences: HashMap<u16, u64>,
    scratch: Vec<u8>,
}

impl LogWriter {
    /// Behind what the log has.
    pub fn new(log: Appender) -> Self {
        Self { log, sequences: HashMap::new(), scratch: vec![] }
    }

    /// Appends a record. Where it is.
    ///
    /// # Errors
    ///
    /// [`WriteError::Log`], as [`Appender::append`]; [`WriteError::Source`].
    pub fn push(&mut self, event: &Event<Replayed<'_>>) -> Result<Position, WriteError> {
        let Event { stamp, record, .. } = event;
        let sequence = self.sequences.entry(record.tags.producer).or_default();
        let payload = record.payload(&mut self.scratch)?;
        let Tags { producer, level, kind } = record.tags;
        let tags = encode_tags(*sequence, level, kind);
        let position = self.log.append_of(producer, stamp.timestamp_ns, tags, payload)?;
        *sequence += 1;
        Ok(position)
    }

    /// The log that it writes.
    pub fn log(&self) -> &Appender {
        &self.log
    }

    /// Ends writing; [`Appender::close`] brings everything to the medium.
    pub fn into_log(self) -> Appender {
        self.log
    }
}
