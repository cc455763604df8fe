//! Subject: the production code that is tried, its helper's work done when it is told to.
//!
//! (I1) nothing here makes up for what production does not do.
//! Adds nothing.

use super::medium::Simulated;
use super::random::Random;
use super::walk::Found;
use crate::layout::cursor::LogCursor;
use crate::layout::manifest::State;
use crate::layout::segment::{LogHead, LogState, SegmentExtent};
use crate::log::appender::Core;
use crate::log::cursor;
use crate::log::error::{LogError, Trouble};
use crate::log::item::LogGapReason;
use crate::log::manifest::{self, Manifest};
use crate::log::recover::recover;
use crate::log::repair;
use crate::log::seek::LogStart;
use crate::log::segment::Staged;
use crate::log::shared::{self, Durability};
use crate::log::verify;
use crate::log::walk::{Step, Walk};
use std::io;
use std::sync::Arc;
use std::time::Duration;

const LOG_UUID: [u8; 16] = [9; 16];

/// How a log is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) durability: Durability,
    pub(super) keep_bytes: Option<u64>,
}

/// Why something did not work.
#[derive(Debug)]
pub(super) enum Failure {
    NoSpace,
    Append(#[expect(dead_code, reason = "for a report")] LogError),
    Open(Trouble),
}

/// A log with its appender.
#[derive(Debug)]
pub(super) struct Subject {
    core: Core<Simulated>,
    durability: Durability,
}

impl Settings {
    pub(super) fn draw(random: &mut Random) -> Self {
        let durability = match random.below(3) {
            0 => Durability::Process,
            1 => Durability::Interval(Duration::from_secs(1)),
            _ => Durability::EachRecord,
        };
        let keep_bytes = random.one_in(3).then(|| random.next() % (200 << 10));
        Self { durability, keep_bytes }
    }

    fn in_boot(&self, boot: u64) -> shared::Settings {
        let extent = SegmentExtent::new(64 << 10, 4096).expect("the smallest");
        let (durability, keep_bytes) = (self.durability, self.keep_bytes);
        shared::Settings { extent, durability, keep_bytes, keep_for: None, boot: [boot, boot] }
    }
}

impl Subject {
    /// A new log in an empty directory.
    pub(super) fn create(medium: &Simulated, settings: &Settings, boot: u64) -> Result<Self, Failure> {
        let medium = Arc::new(medium.clone());
        // As `LogOptions::create` does, but for the locks.
        Manifest::create(medium.clone(), State::new(LOG_UUID, 1))?;
        let found = manifest::read(&*medium)?;
        Self::go_on(medium, settings, boot, found)
    }

    pub(super) fn open(medium: &Simulated, settings: &Settings, boot: u64) -> Result<Self, Failure> {
        let medium = Arc::new(medium.clone());
        let found = manifest::read(&*medium)?;
        Self::go_on(medium, settings, boot, found)
    }

    pub(super) fn open_or_create(
        medium: &Simulated,
        settings: &Settings,
        boot: u64,
    ) -> Result<Self, Failure> {
        match Self::open(medium, settings, boot) {
            Err(Failure::Open(Trouble::NotFound)) => Self::create(medium, settings, boot),
            other => other,
        }
    }

    fn go_on(
        medium: Arc<Simulated>,
        settings: &Settings,
        boot: u64,
        found: manifest::Found,
    ) -> Result<Self, Failure> {
        let (core, _) = recover(medium, settings.in_boot(boot), found)?;
        Ok(Self { core, durability: settings.durability })
    }

    /// Appends records, published at once; where they are. Those that don't fit into the segment together begin the next.
    pub(super) fn append(&mut self, records: &[(Vec<u8>, u64)]) -> Result<Vec<(u64, u64)>, Failure> {
        let heads = records.iter().map(|(payload, _)| {
            let len_bytes = u32::try_from(payload.len()).expect("short");
            LogHead { len_bytes, state: LogState::Data, slot: 0 }
        });
        let heads: Vec<_> = heads.collect();
        if heads.iter().map(|head| head.span_bytes()).sum::<u64>() > self.core.room_bytes() {
            self.core.roll()?;
        }
        let mut places = vec![];
        for (head, (payload, timestamp_ns)) in heads.into_iter().zip(records) {
            let position =
                self.core.stage(&Staged { head, timestamp_ns: *timestamp_ns, tags: 0, payload })?;
            places.push((position, position + head.span_bytes()));
        }
        self.core.publish();
        Ok(places)
    }

    /// As a receipt of the last record does.
    pub(super) fn wait(&mut self) -> Result<(), Failure> {
        if self.durability == Durability::Process {
            return Ok(());
        }
        Ok(self.core.shared.bring(self.core.end(), None).map(drop)?)
    }

    pub(super) fn turn(&mut self) -> Result<(), Failure> {
        Ok(self.core.turn()?)
    }

    pub(super) fn sync(&mut self) -> Result<(), Failure> {
        Ok(self.core.sync()?)
    }

    pub(super) fn roll(&mut self) -> Result<(), Failure> {
        Ok(self.core.roll()?)
    }

    pub(super) fn end(&self) -> u64 {
        self.core.end()
    }

    pub(super) fn durable(&self) -> u64 {
        self.core.shared.durable()
    }

    /// Lets go of what need not be kept, and ends in order, as a collection of garbage does; everything up to what is returned is durable.
    pub(super) fn collect(mut self) -> Result<u64, Failure> {
        self.core.collect()?;
        Ok(self.core.end())
    }

    /// Ends in order, as far as it can.
    pub(super) fn close(mut self) {
        let _ = self.core.close();
    }
}

/// What the log's own reader finds.
pub(super) fn read_all(medium: &Simulated, boot: u64) -> Result<Vec<Found>, String> {
    let mut found = vec![];
    read_on(&mut walk(medium, boot), &mut found).map(|()| found)
}

/// Whether every start finds what a walk from the oldest record on has found, from there on.
pub(super) fn seek_all(
    medium: &Simulated,
    boot: u64,
    found: &[Found],
    random: &mut Random,
) -> Result<(), String> {
    let mut starts = vec![(LogStart::Now, found.len())];
    if !found.is_empty() {
        let n = random.below(found.len());
        starts.push((LogStart::At(found[n].position), n));
        let n = random.below(found.len());
        let since = found[n].timestamp_ns;
        let first = found.iter().position(|found| found.timestamp_ns >= since).unwrap_or(n);
        starts.push((LogStart::Since(since), first));
    }
    for (start, n) in starts {
        let mut walk = walk(medium, boot);
        walk.seek(start).map_err(|why| format!("{start:?}: {why}"))?;
        let mut rest = vec![];
        read_on(&mut walk, &mut rest)?;
        if rest != found[n..] {
            let place = |found: &[Found]| found.first().map(|found| found.position);
            let (expected, found) = (place(&found[n..]), place(&rest));
            return Err(format!("{start:?} begins at {found:?}, and not at {expected:?}"));
        }
    }
    Ok(())
}

fn walk(medium: &Simulated, boot: u64) -> Walk<Simulated> {
    Walk::new(Arc::new(medium.clone()), LOG_UUID, [boot, boot])
}

fn read_on(walk: &mut Walk<Simulated>, found: &mut Vec<Found>) -> Result<(), String> {
    while let Some(step) = walk.step().map_err(|why| format!("reading on at {}: {why}", walk.position))? {
        match step {
            Step::Record(framed) => found.push(Found {
                position: framed.position,
                behind: framed.next(),
                timestamp_ns: framed.timestamp_ns,
                payload: walk.payload(&framed).to_vec(),
            }),
            Step::Gap(gap) if matches!(gap.reason, LogGapReason::PowerCut | LogGapReason::Retired) => {}
            other => return Err(format!("{other:?} where there is none")),
        }
    }
    Ok(())
}

/// What is damaged, as `verify` sees it.
pub(super) fn verify(medium: &Simulated, boot: u64) -> Result<(), String> {
    let report = verify::verify(&Arc::new(medium.clone()), [boot, boot], |_| {})
        .map_err(|why| format!("verify: {why:?}"))?;
    if report.is_clean() { Ok(()) } else { Err(format!("verify: {:?}", report.damaged)) }
}

/// Mends what is damaged; whether anything was.
pub(super) fn repair(medium: &Simulated, boot: u64) -> Result<bool, String> {
    let report = repair::repair(&Arc::new(medium.clone()), [boot, boot], false);
    Ok(!report.map_err(|why| format!("repair: {why:?}"))?.mended.is_empty())
}

/// Puts a cursor on the medium.
pub(super) fn save_cursor(medium: &Simulated, position: u64) -> Result<(), Failure> {
    Ok(cursor::save(medium, "reader", &LogCursor { log_uuid: LOG_UUID, position, saved_ns: 1 })?)
}

/// The cursor that is there.
pub(super) fn load_cursor(medium: &Simulated) -> Result<Option<u64>, String> {
    match cursor::load(medium, &LOG_UUID, "reader") {
        Ok(cursor) => Ok(Some(cursor.position)),
        Err(Trouble::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(format!("the cursor: {why:?}")),
    }
}

impl From<LogError> for Failure {
    fn from(why: LogError) -> Self {
        match why {
            LogError::NoSpace { .. } => Self::NoSpace,
            why => Self::Append(why),
        }
    }
}

impl From<Trouble> for Failure {
    fn from(why: Trouble) -> Self {
        match why {
            Trouble::NoSpace { .. } => Self::NoSpace,
            why => Self::Open(why),
        }
    }
}
