//! Sink: records into a ring, many in one claim.
//!
//! ```text
//!   add, add, add --> staged: head message head message ...  --> one claim: copy, commit
//! ```
//! One claim for many records costs one compare-exchange and one clock read for all of them. What is staged is committed by
//! [`flush`](Sink::flush), which callers do before every read that may wait.
//!
//! (I1) records appear in the order in which they were added; (I2) a group never needs more than a sixteenth of the ring, so that a full
//! ring is filled up again in small steps; (I3) where the ring is full, records are claimed one by one, so that counts are of records; (I4) what is dropped is told to readers.

use crate::args::Target;
use crate::failure::Failure;
use crate::output::Messages;
use crate::size::show_size;
use crate::stop::Blocking;
use shm_ring::{
    Batch, ClaimError, LEVEL_NONE, LOG_KIND, LogRecord, Producer, Ring, RingOptions, Stream, Wait,
};
use std::path::PathBuf;

/// More in one claim brings nothing, and keeps readers waiting.
const GROUP_BYTES_MAX: usize = 64 * 1024;
/// What a record takes in the ring besides its payload, at most.
const RECORD_EXTRA_BYTES: usize = 64;

/// What happens to records for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFull {
    /// They wait.
    Wait,
    /// They end the command.
    Refuse,
    /// They are dropped and counted, and readers are told.
    Drop,
}

/// How records look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// As log records, if the ring can mark them as such.
    Log,
    /// As they are.
    Raw,
}

/// What stands in front of a message.
#[derive(Debug)]
pub(crate) struct Head {
    whole: Vec<u8>,
    partial: Vec<u8>,
}

/// How many records went where.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Into the ring.
    pub(crate) records: u64,
    /// Their payloads.
    pub(crate) bytes: u64,
    /// Nowhere.
    pub(crate) dropped: u64,
}

/// A producer with what is to be pushed next.
#[derive(Debug)]
pub(crate) struct Sink {
    path: PathBuf,
    producer: Producer,
    kind: u8,
    level: u8,
    on_full: OnFull,
    blocking: Blocking,
    staged: Vec<u8>,
    /// Where each staged record ends.
    ends: Vec<usize>,
    group_bytes_max: usize,
    counts: Counts,
}

/// Opens the ring for pushing, or makes it and says so.
pub(crate) fn open_or_create(target: &Target, messages: Messages) -> Result<Ring, Failure> {
    let ring = RingOptions::new().wait(Wait::Block).capacity(target.capacity).open_or_create(&target.ring)?;
    if ring.was_created() {
        let (path, size) = (&target.ring, show_size(ring.capacity_bytes()));
        messages.note(&format!("{path:?} did not exist, created it with {size}"));
    }
    Ok(ring)
}

impl Sink {
    /// Takes a producer slot of `ring`. `blocking` is told when it waits for room.
    pub(crate) fn new(
        ring: &Ring,
        target: &Target,
        look: Look,
        on_full: OnFull,
        blocking: Blocking,
        messages: Messages,
    ) -> Result<Self, Failure> {
        let producer = ring.producer()?;
        if look == Look::Log && !ring.has_metadata() {
            messages.note(&format!(
                "{:?} has no metadata: records get neither time, pid, stream, level nor tag",
                target.ring
            ));
        }
        let is_log = look == Look::Log && ring.has_metadata();
        // What a log record says is said in the ring's own metadata too.
        let level = target.level.unwrap_or(if is_log { LEVEL_NONE } else { 0 });
        Ok(Self {
            path: target.ring.clone(),
            kind: if is_log { LOG_KIND } else { 0 },
            level,
            on_full,
            blocking,
            staged: Vec::new(),
            ends: Vec::new(),
            group_bytes_max: (producer.payload_max_bytes() / 4).min(GROUP_BYTES_MAX),
            counts: Counts::default(),
            producer,
        })
    }

    /// What stands in front of messages of that origin; nothing, unless records are log records.
    pub(crate) fn head(&self, pid: u32, stream: Stream, tag: &str) -> Head {
        if self.kind != LOG_KIND {
            return Head { whole: Vec::new(), partial: Vec::new() };
        }
        let encode = |partial| {
            let record = LogRecord { pid, tid: pid, stream, level: self.level, partial, tag, message: b"" };
            let mut bytes = vec![0; record.encoded_len()];
            record.encode(&mut bytes);
            bytes
        };
        Head { whole: encode(false), partial: encode(true) }
    }

    /// The longest message behind `head`.
    pub(crate) fn message_max(&self, head: &Head) -> usize {
        self.producer.payload_max_bytes() - head.whole.len()
    }

    /// Stages a record; pushes what was staged before, when that is a group.
    pub(crate) fn add(&mut self, head: &Head, message: &[u8], partial: bool) -> Result<(), Failure> {
        let head = if partial { &head.partial } else { &head.whole };
        let extra = (self.ends.len() + 1) * RECORD_EXTRA_BYTES;
        if self.staged.len() + head.len() + message.len() + extra > self.group_bytes_max {
            self.flush()?;
        }
        self.staged.extend_from_slice(head);
        self.staged.extend_from_slice(message);
        self.ends.push(self.staged.len());
        Ok(())
    }

    /// Pushes what is staged.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        if self.ends.is_empty() {
            return Ok(());
        }
        let result = match (self.on_full, self.ends.len()) {
            (OnFull::Wait, 1) => self.push_one(),
            (OnFull::Wait, _) => self.push_group(),
            (OnFull::Drop, 2..) => {
                self.try_group().and_then(|done| if done { Ok(()) } else { self.try_each() })
            }
            _ => self.try_each(),
        };
        self.staged.clear();
        self.ends.clear();
        result.map_err(|error| Failure::claim(&self.path, error))
    }

    /// What was done so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    fn push_one(&mut self) -> Result<(), ClaimError> {
        let call = self.blocking.enter();
        let mut claim = self.producer.claim(self.staged.len())?;
        drop(call);
        claim.set_kind(self.kind);
        claim.set_level(self.level);
        claim.copy_from_slice(&self.staged);
        claim.commit();
        self.count_staged();
        Ok(())
    }

    fn push_group(&mut self) -> Result<(), ClaimError> {
        let call = self.blocking.enter();
        let batch = self.producer.batch(self.ends.len(), self.staged.len())?;
        drop(call);
        fill(batch, (self.kind, self.level), &self.staged, &self.ends);
        self.count_staged();
        Ok(())
    }

    /// All in one claim, if there is room for it.
    fn try_group(&mut self) -> Result<bool, ClaimError> {
        match self.producer.try_batch(self.ends.len(), self.staged.len()) {
            Ok(batch) => fill(batch, (self.kind, self.level), &self.staged, &self.ends),
            Err(ClaimError::Full { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.count_staged();
        Ok(true)
    }

    fn count_staged(&mut self) {
        self.counts.records += self.ends.len() as u64;
        self.counts.bytes += self.staged.len() as u64;
    }

    fn try_each(&mut self) -> Result<(), ClaimError> {
        let mut start = 0;
        for end in &self.ends {
            let record = &self.staged[start..*end];
            start = *end;
            match self.producer.try_claim(record.len()) {
                Ok(mut claim) => {
                    claim.set_kind(self.kind);
                    claim.set_level(self.level);
                    claim.copy_from_slice(record);
                    claim.commit();
                    self.counts.records += 1;
                    self.counts.bytes += record.len() as u64;
                    continue;
                }
                Err(ClaimError::Full { .. }) if self.on_full == OnFull::Drop => {}
                Err(error) => return Err(error),
            }
            self.producer.count_dropped(1);
            self.counts.dropped += 1;
        }
        Ok(())
    }
}

fn fill(mut batch: Batch<'_>, (kind, level): (u8, u8), staged: &[u8], ends: &[usize]) {
    batch.set_kind(kind);
    batch.set_level(level);
    let mut start = 0;
    for end in ends {
        batch.push(&staged[start..*end]).expect("the batch was claimed for these records");
        start = *end;
    }
    batch.commit();
}
