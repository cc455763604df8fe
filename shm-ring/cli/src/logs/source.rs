//! Source: records out of a log, and how far its cursor has come.
//!
//! ```text
//!   next --> record: copied      gap, damage: kept, to be told in front of the record behind it
//!   release --> once a second --> the cursor is saved; and at the end
//! ```
//!
//! (I1) a cursor is never saved ahead of what was written; killed, it goes back by what a second brought; (I2) damage is passed over, told,
//! and remembered.

use crate::failure::{Code, Failure};
use crate::show::Seen;
use crate::source::{Begin, Found};
use regex::bytes::Regex;
use shm_ring::{
    Error, Log, LogGap, LogGapReason, LogItem, LogReadError, LogReader, LogStart, LogStats, LoggedInfo,
};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a cursor is saved while records come.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// See the file's header.
#[derive(Debug)]
pub(crate) struct LogSource {
    path: PathBuf,
    reader: LogReader,
    gaps: Vec<LogGap>,
    /// How many times something did not check.
    n_damaged: u64,
    /// Where the log ended when this began.
    end: u64,
    cursor: Option<Saved>,
}

/// A cursor, and what it says on the medium.
#[derive(Debug)]
struct Saved {
    name: String,
    position: u64,
    /// Everything below it was written.
    released: u64,
    when: Instant,
}

/// What a step through a log met.
enum Met {
    Record(LoggedInfo),
    Gap(LogGap),
    Nothing,
}

impl LogSource {
    /// Where the cursor of that name stopped, if there is one; else where it is to begin.
    pub(crate) fn open(path: &Path, cursor: Option<&str>, begin: Begin) -> Result<Self, Failure> {
        let stats = Log::inspect(path)?;
        let reader = LogReader::open(path)?;
        let end = stats.end_position;
        let mut this = Self { path: path.into(), reader, gaps: Vec::new(), n_damaged: 0, end, cursor: None };
        let known = cursor.map_or(Ok(None), |name| this.go_on(name))?;
        if known.is_none() {
            let start = this.start_of(&stats, begin)?;
            this.seek(start)?;
            // What was met on the way to the start is not missing.
            this.n_damaged = 0;
        }
        let released = known.unwrap_or_else(|| this.reader.position());
        let position = known.unwrap_or(u64::MAX);
        this.cursor =
            cursor.map(|name| Saved { name: name.to_owned(), position, released, when: Instant::now() });
        Ok(this)
    }

    /// Goes to where the cursor stopped, if there is one.
    fn go_on(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        match self.reader.seek_cursor(name) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// Where the log ended when this began.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The next item's position.
    pub(crate) fn position(&self) -> u64 {
        self.reader.position()
    }

    /// The next record; waits for it at most so long.
    pub(crate) fn next(
        &mut self,
        payload: &mut Vec<u8>,
        timeout: Duration,
    ) -> Result<Option<Found>, Failure> {
        loop {
            match self.step(payload, timeout)? {
                Met::Record(info) => return Ok(Some(Found::alone(info))),
                Met::Gap(gap) => self.gaps.push(gap),
                Met::Nothing => return Ok(None),
            }
        }
    }

    /// What was missing in front of the position and not taken yet.
    pub(crate) fn take_gaps(&mut self) -> Vec<LogGap> {
        std::mem::take(&mut self.gaps)
    }

    /// Everything so far was written.
    pub(crate) fn release(&mut self) -> Result<(), Failure> {
        let position = self.reader.position();
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        cursor.released = position;
        if cursor.when.elapsed() < SAVE_EVERY { Ok(()) } else { self.save() }
    }

    /// Saves what was written; says whether something was damaged.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.save()?;
        if self.n_damaged > 0 {
            let what = "damaged: what does not check was passed over; `shm-ring verify` lists it";
            return Err(Failure::new(Code::Corrupt, format!("{:?}: {what}", self.path)));
        }
        Ok(())
    }

    /// Saves what was written.
    pub(crate) fn save(&mut self) -> Result<(), Failure> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        if cursor.position != cursor.released {
            Log::set_cursor(&self.path, &cursor.name, cursor.released)?;
            cursor.position = cursor.released;
        }
        cursor.when = Instant::now();
        Ok(())
    }

    fn step(&mut self, payload: &mut Vec<u8>, timeout: Duration) -> Result<Met, Failure> {
        let item = if timeout.is_zero() { self.reader.next() } else { self.reader.next_timeout(timeout) };
        match item {
            Ok(Some(LogItem::Record(record))) => {
                payload.clear();
                payload.extend_from_slice(&record);
                Ok(Met::Record(record.info()))
            }
            Ok(Some(LogItem::Gap(gap))) => {
                if gap.reason == LogGapReason::Damaged {
                    self.n_damaged += 1;
                }
                Ok(Met::Gap(gap))
            }
            Ok(None) => Ok(Met::Nothing),
            Err(LogReadError::Damaged { .. }) => {
                let gap = self.reader.skip_damage().map_err(|error| self.failed(error))?;
                self.n_damaged += 1;
                Ok(Met::Gap(gap))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn seek(&mut self, start: LogStart) -> Result<(), Failure> {
        self.reader.seek(start).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: LogReadError) -> Failure {
        Failure::log_read(&self.path, error)
    }

    fn start_of(&mut self, stats: &LogStats, begin: Begin) -> Result<LogStart, Failure> {
        match begin {
            Begin::Oldest => Ok(LogStart::Oldest),
            Begin::Since(timestamp_ns) => Ok(LogStart::Since(timestamp_ns)),
            Begin::Last(0, _) => Ok(LogStart::At(stats.end_position)),
            Begin::Last(wanted, grep) => self.last(stats, wanted, grep.as_ref()),
        }
    }

    /// Where the last so many that match begin: from the newest segment back, as many as it takes.
    fn last(&mut self, stats: &LogStats, wanted: usize, grep: Option<&Regex>) -> Result<LogStart, Failure> {
        let mut last: VecDeque<u64> = VecDeque::new();
        let mut payload = Vec::new();
        let mut end = stats.end_position;
        for segment in stats.segments.iter().rev().filter(|segment| segment.base < segment.end) {
            self.seek(LogStart::At(segment.base))?;
            let missing = wanted - last.len();
            let mut here = VecDeque::new();
            while self.reader.position() < end {
                match self.step(&mut payload, Duration::ZERO)? {
                    Met::Record(info) if info.position >= end => break,
                    Met::Record(info) => {
                        if grep.is_none_or(|grep| grep.is_match(Seen::new(info, &payload).message)) {
                            here.push_back(info.position);
                            if here.len() > missing {
                                here.pop_front();
                            }
                        }
                    }
                    Met::Gap(_) => {}
                    Met::Nothing => break,
                }
            }
            here.append(&mut last);
            last = here;
            end = segment.base;
            if last.len() >= wanted {
                break;
            }
        }
        Ok(LogStart::At(last.front().copied().unwrap_or(stats.end_position)))
    }
}
