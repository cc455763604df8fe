//! Recorder: takes records out of a ring, puts them into a log, and only then gives their space back.
//!
//! ```text
//!   ring:   ... | released | in the log, not yet released | staged | to come
//!                          ^ where its reader stands      ^ last MARK in the log
//! ```
//!
//! | found at the start                         | done |
//! |--------------------------------------------|------|
//! | a MARK of this ring and epoch, ahead of the reader  | what lies between is passed over: it is in the log |
//! | the same, behind the reader (the log lost its end)  | back to it, if that is still there; what is not becomes a GAP |
//! | a MARK of an older epoch, or of another ring only    | a GAP: what the ring held then is gone |
//! | none at all                                | from where the name stands, a new one from the oldest record |
//!
//! (I1) every batch ends with a MARK and is published as one, in one segment; (I2) what is behind the MARK in the ring is not released, nor,
//! with `EachRecord`, what is in front of it before that is on the medium;
//! (I3) a notice that the ring gives stands in the log in front of the record that follows it in the ring, and once, because the MARK behind
//! it covers it; (I4) between two batches nothing is staged,
//! whatever became of the first.
//! Knows no files and no signals.

use super::error::RecordError;
use crate::error::{Error, PollError};
use crate::layout::frame::encode_tags;
use crate::layout::segment::{
    GAP_NOTE_BYTES, GapNote, GapReason, LogHead, LogState, MARK_NOTE_BYTES, MARK_SPAN_BYTES, MarkNote,
    span_of_log_record,
};
use crate::log::appender::Appender;
use crate::log::error::LogError;
use crate::log::marks;
use crate::log::segment::Staged;
use crate::log::shared::Durability;
use crate::map::clock;
use crate::map::disk::Disk;
use crate::map::file::io_error;
use crate::ring::Ring;
use crate::ring::consumer::Consumer;
use crate::ring::loss::{Cause, Notice};
use crate::ring::names::{ConsumerOptions, Start};
use std::collections::VecDeque;
use std::time::Duration;

/// A batch is published when it has so many bytes, or when nothing more is there.
const BATCH_BYTES: u64 = 256 << 10;
/// How often [`Recorder::run`] asks whether it is to end.
const STEP: Duration = Duration::from_millis(100);
/// So many segments may have been made for shorter records, by an appender with other options.
const ROLLS_MAX: u32 = 8;
/// How long [`Recorder::drain`] waits for what is claimed and not committed before it looks who has it.
const DRAIN_STEP: Duration = Duration::from_millis(1);
/// A place that is about to become a record can be refused for an instant.
const SEEK_ATTEMPTS: u32 = 100;
const SEEK_PAUSE: Duration = Duration::from_millis(1);

/// Drains a ring into a log, so that each record is in it once, whoever is killed when.
///
/// It reads under a name that holds its place in the ring while nobody records: producers wait for its return. A batch of records is
/// published in the log as one, with a mark of how far that is in the ring, and then released in the ring; a recorder that is opened again
/// goes on at the mark. Time, sequence, level, kind and producer are kept; a record of a ring without metadata gets the time at which it is
/// recorded, and sequence 0. What the ring reports as lost becomes a gap in the log, and so does what it held when the machine was
/// restarted, or when it was made anew.
///
/// A second ring can be recorded into the same log, one after the other; its first batch begins with such a gap, because it can't be told from
/// the first ring made anew.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use shm_ring::{LogItem, LogOptions, LogReader, LogStart, Recorder, RingOptions};
///
/// let ring = RingOptions::new().create(directory.path().join("app.ring"))?;
/// ring.producer()?.push(b"hello")?;
///
/// let logs = directory.path().join("logs");
/// let mut recorder = Recorder::open(&ring, "recorder", LogOptions::new().open_or_create(&logs)?)?;
/// assert_eq!(recorder.drain()?, 1);
///
/// let mut reader = LogReader::open(&logs)?;
/// reader.seek(LogStart::Oldest)?;
/// let Some(LogItem::Record(record)) = reader.next()? else { unreachable!() };
/// assert_eq!(&*record, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Recorder {
    consumer: Consumer,
    log: Appender,
    /// What the log says of this ring.
    mark: MarkNote,
    /// What is to be told in front of the next record.
    untold: VecDeque<Notice>,
    /// What the ring can't tell, because it happened while nobody recorded: in front of everything, and where in the ring it ends.
    news: Option<(GapNote, u64)>,
    batch_bytes: u64,
    /// Rolls since something was staged.
    n_rolls: u32,
    /// The last batch is published, and neither known to be as safe as is asked for nor released.
    is_unsettled: bool,
    stats: RecorderStats,
    failed: Option<RecordError>,
}

/// What a recorder has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecorderStats {
    /// Records that it put into the log.
    pub records: u64,
    /// Their payloads.
    pub bytes: u64,
    /// Gaps that it put into the log.
    pub gaps: u64,
    /// How often it published.
    pub batches: u64,
}

/// A batch in the making.
#[derive(Debug)]
struct Staging {
    records: u64,
    bytes: u64,
    gaps: u64,
    /// In the log.
    span_bytes: u64,
    /// Everything below it in the ring is staged, told or in the log.
    done: u64,
    /// There is no room for what comes next.
    is_full: bool,
}

impl Recorder {
    /// Attaches to the ring under that name, and goes on where the log ends.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when somebody reads under the name; [`Error::Invalid`] when the ring takes longer records than the log, or is behind
    /// what the log has of it, as a ring that was restored from a copy is; what [`Ring::consumer_with`] fails with.
    pub fn open(ring: &Ring, name: &str, mut log: Appender) -> Result<Self, Error> {
        let options = ConsumerOptions::new().start(Start::Oldest).durable().release_by_hand();
        let mut consumer = ring.consumer_with(name, options)?;
        consumer.hold_notices();
        let origin = consumer.origin();
        let record_bytes_max = log.core().next_record_bytes_max();
        if origin.payload_max_bytes > record_bytes_max {
            return Err(Error::Invalid {
                option: "segment size",
                expected: format!(
                    "at least the ring's capacity, {} bytes, so that its longest record fits",
                    origin.capacity_bytes
                ),
                found: format!("one for records of {record_bytes_max} bytes at most"),
            });
        }
        let medium = Disk::new(log.path(), 0o600);
        let marks = marks::last(&medium, &origin.uuid).map_err(io_error("read the marks of", log.path()))?;
        let fresh = MarkNote {
            source_uuid: origin.uuid,
            epoch: origin.epoch,
            position: consumer.position(),
            n_records: marks.own.map_or(0, |mark| mark.n_records),
        };
        let mut this = Self {
            batch_bytes: BATCH_BYTES.min(origin.capacity_bytes / 4),
            consumer,
            log,
            mark: fresh,
            untold: VecDeque::new(),
            news: None,
            n_rolls: 0,
            is_unsettled: false,
            stats: RecorderStats::default(),
            failed: None,
        };
        match marks.own {
            Some(mark) if mark.epoch == origin.epoch => {
                if mark.position > origin.tail {
                    return Err(Error::Invalid {
                        option: "ring",
                        expected: format!(
                            "a ring that has come at least to {}, which the log has recorded",
                            mark.position
                        ),
                        found: format!("one at {}: a copy of an older state?", origin.tail),
                    });
                }
                this.go_on_at(mark);
            }
            None if marks.other.is_none() => {}
            _ => this.news = Some((gap(GapReason::Restarted, None), fresh.position)),
        }
        Ok(this)
    }

    /// Records what is there, at most a batch; waits so long for something if nothing is. How many records that were.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; what is not in the log then is still in the ring.
    pub fn step(&mut self, timeout: Duration) -> Result<u64, RecordError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let before = self.stats.batches;
        let n_records = self.batch()?;
        if self.stats.batches != before {
            return Ok(n_records);
        }
        if let Some(frame) = self.consumer.poll_timeout(timeout)? {
            // A frame that is forgotten was not read: the batch takes it.
            std::mem::forget(frame);
        }
        self.batch()
    }

    /// Records what is there now, up to the first claim that a living producer has open. How many records that were.
    ///
    /// # Errors
    ///
    /// As [`Recorder::step`].
    pub fn drain(&mut self) -> Result<u64, RecordError> {
        let end = self.consumer.origin().tail;
        let mut n_records = 0;
        loop {
            let before = self.stats.batches;
            match self.step(DRAIN_STEP) {
                Err(RecordError::Ring(PollError::Closed)) => return Ok(n_records),
                step => n_records += step?,
            }
            let is_held_up = || self.stats.batches == before && self.consumer.stalled().is_some();
            if self.mark.position >= end || is_held_up() {
                return Ok(n_records);
            }
        }
    }

    /// Records until `is_over`, which is asked ten times a second or more, or until the end of an anonymous ring.
    ///
    /// # Errors
    ///
    /// As [`Recorder::step`].
    pub fn run(&mut self, mut is_over: impl FnMut() -> bool) -> Result<(), RecordError> {
        while !is_over() {
            match self.step(STEP) {
                Err(RecordError::Ring(PollError::Closed)) => return Ok(()),
                step => step?,
            };
        }
        Ok(())
    }

    /// What it has done since it was opened.
    pub fn stats(&self) -> RecorderStats {
        self.stats
    }

    /// Bytes that were claimed in the ring and are not in the log, headers included.
    pub fn lag_bytes(&self) -> u64 {
        self.consumer.lag_bytes()
    }

    /// The log that it writes.
    pub fn log(&self) -> &Appender {
        &self.log
    }

    /// Ends recording; the name keeps its place in the ring.
    pub fn into_log(self) -> Appender {
        self.log
    }

    /// The log has everything up to the mark.
    fn go_on_at(&mut self, mark: MarkNote) {
        self.mark = mark;
        if self.consumer.position() <= mark.position {
            // The batches pass over what lies between.
            return;
        }
        // The log lost its end, or somebody took records under this name.
        for _ in 0..SEEK_ATTEMPTS {
            match self.consumer.seek(Start::At(mark.position)) {
                Err(PollError::NoSuchPosition { .. }) => std::thread::sleep(SEEK_PAUSE),
                // Whatever else it is: the next step says so.
                _ => break,
            }
        }
        let oldest = self.consumer.position();
        let missed = oldest.saturating_sub(mark.position);
        if missed > 0 {
            self.news = Some((gap(GapReason::Lapped, Some(missed)), oldest));
        }
    }

    /// Stages what is there, up to a batch, and publishes it. How many records that were.
    fn batch(&mut self) -> Result<u64, RecordError> {
        self.settle()?;
        let mut staging = Staging::at(self.mark.position);
        let found = self.stage_all(&mut staging);
        if let Err(RecordError::Log(error)) = found {
            return Err(self.fail(error));
        }
        // What is skipped at the end of the ring, and is no record, is done, too.
        if staging.done > self.mark.position || staging.gaps > 0 {
            if staging.span_bytes == 0 && self.log.core().room_bytes() < MARK_SPAN_BYTES {
                // Nothing is staged: there is time for that in the next segment.
                staging.is_full = true;
            } else {
                self.publish(&staging)?;
            }
        }
        self.settle()?;
        if staging.is_full {
            self.roll()?;
        }
        found.map(|()| staging.records)
    }

    /// Goes on in the next segment. Nothing is staged: should it fail, the next step tries again.
    fn roll(&mut self) -> Result<(), RecordError> {
        let log = self.log.core();
        if self.n_rolls == ROLLS_MAX {
            let (len_bytes, max_bytes) = (log.next_record_bytes_max() + 1, log.record_bytes_max());
            return Err(self.fail(LogError::TooLong { len_bytes, max_bytes }));
        }
        if log.is_empty() {
            // Made for shorter records; no segment that is empty is left.
            self.publish(&Staging::at(self.mark.position))?;
            self.settle()?;
        }
        self.log.core().roll()?;
        self.n_rolls += 1;
        Ok(())
    }

    /// Gives back what is in the log, as soon as it is as safe there as was asked for. Should it fail, the next step tries again.
    fn settle(&mut self) -> Result<(), RecordError> {
        if self.is_unsettled {
            let log = self.log.core();
            let synced = if log.durability() == Durability::EachRecord { log.sync() } else { Ok(()) };
            match synced {
                Ok(()) => self.is_unsettled = false,
                // Of the manifest, which is written again.
                Err(error @ (LogError::NoSpace { .. } | LogError::System { .. })) => return Err(error.into()),
                Err(error) => return Err(self.fail(error)),
            }
        }
        self.consumer.release_to(self.mark.position);
        Ok(())
    }

    fn stage_all(&mut self, staging: &mut Staging) -> Result<(), RecordError> {
        if let Some((news, end)) = self.news {
            if !self.stage_gap(staging, 0, &news)? {
                return Ok(());
            }
            // Told once, even if nothing can be read behind it.
            (self.news, staging.done) = (None, end);
        }
        // Of the clock once, and only for a ring whose records have no time.
        let mut now_ns = 0;
        while staging.span_bytes < self.batch_bytes {
            let Some(frame) = self.consumer.try_poll()? else {
                self.stage_notices(staging)?;
                if !staging.is_full {
                    staging.done = staging.done.max(self.consumer.position());
                }
                return Ok(());
            };
            let position = frame.position();
            if frame.consumer.has_notices() || !self.untold.is_empty() {
                // A frame that is forgotten was not read.
                std::mem::forget(frame);
                self.stage_notices(staging)?;
                if staging.is_full {
                    return Ok(());
                }
                staging.done = staging.done.max(position);
                continue;
            }
            let behind = position + frame.found.span_bytes;
            if position < self.mark.position {
                // In the log since before.
                continue;
            }
            let info = frame.info();
            let span_bytes = span_of_log_record(info.len_bytes as u64);
            let log = self.log.core();
            // A segment that was made for shorter records takes no long one, however much room it has.
            let is_short = info.len_bytes as u64 > log.record_bytes_max();
            if is_short || log.room_bytes() < span_bytes + MARK_SPAN_BYTES {
                std::mem::forget(frame);
                staging.is_full = true;
                staging.done = position;
                return Ok(());
            }
            let timestamp_ns = info.timestamp_ns.unwrap_or_else(|| {
                if now_ns == 0 {
                    now_ns = clock::realtime_ns();
                }
                now_ns
            });
            self.log.core().stage(&Staged {
                head: head(LogState::Data, info.producer, info.len_bytes),
                timestamp_ns,
                tags: encode_tags(info.sequence.unwrap_or(0), info.level, info.kind),
                payload: &frame,
            })?;
            staging.records += 1;
            staging.bytes += info.len_bytes as u64;
            staging.span_bytes += span_bytes;
            staging.done = behind;
        }
        Ok(())
    }

    /// What the ring has told up to its reader's position.
    fn stage_notices(&mut self, staging: &mut Staging) -> Result<(), RecordError> {
        while let Some(notice) = self.untold.pop_front().or_else(|| self.consumer.take_notice()) {
            if notice.position < self.mark.position {
                // In the log since before.
                continue;
            }
            let note = match notice.cause {
                Cause::Dropped { records, first_sequence } => GapNote {
                    reason: GapReason::Dropped,
                    n_records: Some(records),
                    n_bytes: None,
                    first_sequence: Some(first_sequence),
                },
                Cause::Died { bytes } => gap(GapReason::Lost, Some(bytes)),
            };
            if !self.stage_gap(staging, notice.producer, &note)? {
                staging.done = notice.position;
                self.untold.push_front(notice);
                return Ok(());
            }
        }
        Ok(())
    }

    /// `false`: there is no room for it.
    fn stage_gap(&mut self, staging: &mut Staging, producer: u16, note: &GapNote) -> Result<bool, LogError> {
        let span_bytes = span_of_log_record(GAP_NOTE_BYTES as u64);
        if self.log.core().room_bytes() < span_bytes + MARK_SPAN_BYTES {
            staging.is_full = true;
            return Ok(false);
        }
        self.log.core().stage(&Staged {
            head: head(LogState::Gap, producer, GAP_NOTE_BYTES),
            timestamp_ns: clock::realtime_ns(),
            tags: 0,
            payload: &note.encode(),
        })?;
        staging.gaps += 1;
        staging.span_bytes += span_bytes;
        Ok(true)
    }

    /// Ends the batch, and makes it one. There is room for its MARK.
    fn publish(&mut self, staging: &Staging) -> Result<(), RecordError> {
        let mark = MarkNote {
            position: staging.done,
            n_records: self.mark.n_records + staging.records,
            ..self.mark
        };
        let staged = self.log.core().stage(&Staged {
            head: head(LogState::Mark, 0, MARK_NOTE_BYTES),
            timestamp_ns: clock::realtime_ns(),
            tags: 0,
            payload: &mark.encode(),
        });
        staged.map_err(|error| self.fail(error))?;
        self.log.core().publish();
        (self.mark, self.is_unsettled) = (mark, true);
        if staging.span_bytes > 0 {
            self.n_rolls = 0;
        }
        self.stats.records += staging.records;
        self.stats.bytes += staging.bytes;
        self.stats.gaps += staging.gaps;
        self.stats.batches += 1;
        Ok(())
    }

    /// Nothing goes on from here; what is staged has no MARK behind it, and is not to be published by whoever has the log next.
    fn fail(&mut self, error: LogError) -> RecordError {
        self.log.core().forget_staged();
        let error = RecordError::Log(error);
        self.failed = Some(error);
        error
    }
}

impl Staging {
    fn at(done: u64) -> Self {
        Self { records: 0, bytes: 0, gaps: 0, span_bytes: 0, done, is_full: false }
    }
}

fn head(state: LogState, slot: u16, len_bytes: usize) -> LogHead {
    LogHead {
        len_bytes: u32::try_from(len_bytes).expect("a ring's records have less than 2^32 bytes"),
        state,
        slot,
    }
}

fn gap(reason: GapReason, n_bytes: Option<u64>) -> GapNote {
    GapNote { reason, n_records: None, n_bytes, first_sequence: None }
}
