//! Verify: a walk through everything that a log has, which never stops at the first damage.
//!
//! ```text
//!   manifest --> the segments that it lists, and those that are there --> header, live page, seal
//!                  frame by frame; behind what does not check, the next frame that does, by stamp and checksum --> index, seal
//! ```
//!
//! | what is found | is damage |
//! |---------------|-----------|
//! | a frame that does not check, below what is known to be on the medium | yes, unless a hole of the manifest has it |
//! | the same behind that, after a power cut | no: a torn tail, which the next appender leaves behind |
//! | a live page, seal, count or index that is not what the frames say | yes |
//! | a segment that the manifest lists and that is not there, or is there and it does not list | yes |
//! | a segment that recovery has set aside, before it was cut short | no: the next one goes on there |
//! | the seal of another boot that the manifest does not have: its frames, as those of a segment that is not sealed | no: the same |
//! | a manifest with records that hold behind one that does not | yes |
//! | a manifest that ends in the middle of a record | no: a torn tail |
//!
//! (I1) everything is read as a reader reads it, and nothing written; (I2) an appender may go on meanwhile: what it publishes behind what was
//! seen is not looked at, what is retired meanwhile is left out; (I3) the report has all counts, and the first [`DAMAGES_MAX`] damages.
//! Mends nothing: `repair.rs`.

use super::chart::Chart;
use super::error::{Trouble, trouble};
use super::item::LogReadError;
use super::names;
use super::segment::index_crc;
use super::view::{Framed, Look, SegmentView, Standing, Unseen};
use super::walk::Walk;
use crate::layout::frame::Position;
use crate::layout::manifest::State;
use crate::layout::segment::{INDEX_STEP_BYTES, IndexEntry, LogState, Sealed};
use crate::map::medium::{Medium, MediumFile};
use std::sync::Arc;

/// No report names more; all are counted.
pub(crate) const DAMAGES_MAX: usize = 10_000;

/// What [`Log::verify`](crate::Log::verify) has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogReport {
    /// Segments that have been appended to.
    pub n_segments: u64,
    /// Records that check.
    pub n_records: u64,
    /// Their payloads.
    pub payload_bytes: u64,
    /// Notices of records that were missing when they were to be appended.
    pub n_gaps: u64,
    /// Where the oldest segment begins.
    pub first_position: Position,
    /// Where the newest one ends.
    pub end_position: Position,
    /// Everything that is not what was written, in its order; at most 10,000 of them.
    pub damaged: Vec<LogDamage>,
    /// How many there are.
    pub n_damaged: u64,
    /// Damage that [`Log::repair`](crate::Log::repair) has marked as a gap.
    pub n_holes: u64,
    /// Bytes of frames in it.
    pub hole_bytes: u64,
    /// Bytes of frames that a power cut took from the newest segment; the next appender leaves them behind.
    pub torn_tail_bytes: u64,
    /// Bytes of positions between segments, which power cuts took.
    pub lost_bytes: u64,
    /// Bytes behind the last record of the manifest that holds.
    pub torn_manifest_bytes: u64,
}

/// One thing that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogDamage {
    /// The number of the segment, which its file's name begins with; 0: of the manifest.
    pub segment: u64,
    /// Where in the log.
    pub position: Position,
    /// Bytes of frames that can't be read; 0 where all can.
    pub n_bytes: u64,
    /// What is wrong.
    pub what: &'static str,
}

/// How far [`Log::verify`](crate::Log::verify) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The segment that is looked at next.
    pub segment: u64,
    /// How many have been looked at.
    pub n_segments: u64,
    /// Of so many.
    pub n_segments_in_all: u64,
    /// Records that were found.
    pub n_records: u64,
}

impl LogReport {
    /// Whether nothing is damaged, but for what has been marked as a gap.
    pub fn is_clean(&self) -> bool {
        self.n_damaged == 0
    }

    fn damage(&mut self, segment: u64, position: u64, n_bytes: u64, what: &'static str) {
        self.n_damaged += 1;
        if self.damaged.len() < DAMAGES_MAX {
            self.damaged.push(LogDamage { segment, position, n_bytes, what });
        }
    }
}

/// What all frames of a segment are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// DATA frames.
    pub(crate) n_records: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) n_gaps: u64,
    /// The least timestamp of a DATA frame; all ones without one.
    pub(crate) first_ns: u64,
    /// The greatest; 0 without one.
    pub(crate) last_ns: u64,
    /// The index as these frames make it.
    pub(crate) index: Vec<IndexEntry>,
    /// Bytes that are no frames and that the manifest knows as holes, from and to.
    pub(crate) known: Vec<(u64, u64)>,
    /// Others.
    pub(crate) bad: Vec<(u64, u64, &'static str)>,
    /// Behind the last frame, or behind the last bytes that should be one.
    pub(crate) end: u64,
    /// From there on nothing ever reached the medium.
    pub(crate) torn_bytes: u64,
}

impl Tally {
    /// Walks over all frames from `base` to `end`; what does not check from `firm` on is torn.
    pub(crate) fn of<M: Medium>(segment: &SegmentView<M>, look: &Look, holes: &[(u64, u64)]) -> Self {
        let firm = look.standing.firm();
        let mut this = Self { first_ns: u64::MAX, end: look.end, ..Self::default() };
        let mut at = look.base;
        while at < look.end {
            match segment.frame(look.base, at, look.end) {
                Ok(framed) => {
                    this.add(&framed, look.base);
                    at = framed.next();
                }
                Err(_) if at >= firm => {
                    (this.end, this.torn_bytes) = (at, look.end - at);
                    break;
                }
                Err(what) => {
                    if let Some((_, to)) = holes.iter().find(|(from, to)| (*from..*to).contains(&at)) {
                        let to = (*to).min(look.end);
                        this.known.push((at, to));
                        at = to;
                        continue;
                    }
                    let next = segment.next_sound(look.base, at, look.end);
                    let to = next.map_or(look.end, |framed| framed.position);
                    let hole = holes.iter().map(|(from, _)| *from).find(|from| *from > at);
                    let to = hole.map_or(to, |hole| hole.min(to));
                    this.bad.push((at, to, what));
                    at = to;
                }
            }
        }
        this
    }

    fn add(&mut self, framed: &Framed, base: u64) {
        let step = (framed.position - base) / INDEX_STEP_BYTES;
        let last_step = self.index.last().map(|entry| (entry.position - base) / INDEX_STEP_BYTES);
        if last_step != Some(step) {
            self.index.push(IndexEntry { last_ns: self.last_ns, position: framed.position });
        }
        match framed.head.state {
            LogState::Data => {
                self.n_records += 1;
                self.payload_bytes += u64::from(framed.head.len_bytes);
                self.first_ns = self.first_ns.min(framed.timestamp_ns);
                self.last_ns = self.last_ns.max(framed.timestamp_ns);
            }
            LogState::Gap => self.n_gaps += 1,
            LogState::Mark => {}
        }
    }

    /// The checksum of that index.
    pub(crate) fn index_crc(&self) -> u32 {
        index_crc(self.index.iter().copied())
    }

    /// What is not as the frames say, of a segment of which all frames check.
    pub(crate) fn contradicts<M: Medium>(
        &self,
        segment: &SegmentView<M>,
        look: &Look,
    ) -> Option<&'static str> {
        if look.standing.may_be_torn() {
            // After a power cut the index is what of it had reached the medium; who opens the log writes it anew.
            return None;
        }
        let n_index = segment.n_index(look);
        let is_other = (0..n_index).zip(&self.index).any(|(at, entry)| segment.index(at) != *entry);
        // An active one's index may be an entry behind its frames, or in front of those that were seen.
        let is_short = matches!(look.standing, Standing::Sealed(_)) && n_index != self.index.len() as u64;
        if is_other || is_short {
            return Some("its index");
        }
        let Standing::Sealed(Sealed { n_records, first_ns, last_ns, .. }) = look.standing else {
            return None;
        };
        let is_counted = (n_records, first_ns, last_ns) == (self.n_records, self.first_ns, self.last_ns);
        (!is_counted).then_some("its counts")
    }
}

/// Looks at everything.
pub(crate) fn verify<M: Medium>(
    medium: &Arc<M>,
    boot_id: [u64; 2],
    mut progress: impl FnMut(VerifyProgress),
) -> Result<LogReport, Trouble> {
    let chart = Chart::read(&**medium)?;
    let walk = &Walk::new(Arc::clone(medium), chart.state().log_uuid, boot_id);
    let mut report = LogReport::default();
    let torn_bytes = chart.0.file_bytes.saturating_sub(chart.0.reading.valid_bytes as u64);
    report.torn_manifest_bytes = torn_bytes;
    if torn_bytes > 0 && goes_on(&*walk.medium, chart.0.number)? {
        report.damage(0, 0, 0, "the manifest: a record that does not hold is in front of one that does");
    }
    let there = walk.numbers_behind(0).map_err(of_walk)?;
    let listed = chart.state().entries.iter().map(|entry| entry.number);
    let mut numbers: Vec<_> = there.iter().copied().chain(listed).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut end = None;
    for (n, number) in numbers.iter().enumerate() {
        progress(VerifyProgress {
            segment: *number,
            n_segments: n as u64,
            n_segments_in_all: numbers.len() as u64,
            n_records: report.n_records,
        });
        if let Some(look) = one(walk, &chart, *number, end, &mut report)? {
            if report.n_segments == 0 {
                report.first_position = look.base;
            }
            report.lost_bytes += end.map_or(0, |end| look.base.saturating_sub(end));
            report.end_position = look.end;
            report.n_segments += 1;
            // One that is not sealed may have grown since.
            end = matches!(look.standing, Standing::Sealed(_)).then_some(look.end);
        }
    }
    Ok(report)
}

/// Looks at one segment; says where it is, if that is known and it has been appended to.
fn one<M: Medium>(
    walk: &Walk<M>,
    chart: &Chart,
    number: u64,
    expected: Option<u64>,
    report: &mut LogReport,
) -> Result<Option<Look>, Trouble> {
    let newer = match chart.entry(number) {
        Some(_) => None,
        None => Some(Chart::read(&*walk.medium)?),
    };
    let chart = newer.as_ref().unwrap_or(chart);
    if is_retired(chart, number) {
        // Retired; a death, or a reader, kept its name.
        return Ok(None);
    }
    let entry = chart.entry(number);
    let sealed = entry.and_then(|entry| entry.sealed);
    let at = sealed.map_or(expected.unwrap_or(0), |sealed| sealed.base);
    let length = sealed.map_or(0, |sealed| sealed.end - sealed.base);
    let mut opened = SegmentView::open(&*walk.medium, number);
    for _ in 0..2 {
        if !matches!(opened, Err(Unseen::Gone | Unseen::Taken)) {
            break;
        }
        let now = Chart::read(&*walk.medium)?;
        let is_aside =
            || now.is_set_aside(&*walk.medium, number).map_err(trouble("open what was set aside of", ""));
        if now.entry(number).is_none() || is_aside()? {
            // Retired meanwhile, or used again.
            return Ok(None);
        }
        // It may have been in the making until now.
        opened = SegmentView::open(&*walk.medium, number);
    }
    let opened = match opened {
        Ok(segment) => Ok(segment),
        Err(Unseen::Gone | Unseen::Taken) => Err("its file is missing"),
        Err(Unseen::Bad(what)) => Err(what),
        Err(Unseen::System { operation, source }) => {
            return Err(Trouble::Io { operation, name: names::segment(number), source });
        }
    };
    let segment = match opened {
        Ok(segment) => segment,
        Err(what) => {
            let hole = chart.whole_hole(number);
            match hole {
                Some((from, to)) => {
                    report.n_holes += 1;
                    report.hole_bytes += to - from;
                }
                None => report.damage(number, at, length, what),
            }
            return Ok(sealed.map(|sealed| hole_look(&sealed)));
        }
    };
    let look = match segment.look(walk.boot_id) {
        Ok(look) if matches!(look.standing, Standing::Claimed { .. }) => {
            // It may have been recovered since the manifest was read.
            let is_sealed = chart.vouches_for(segment.header())
                || Chart::read(&*walk.medium)?.vouches_for(segment.header());
            if is_sealed { look.vouched() } else { look }
        }
        Ok(look) => look,
        Err(_) if !segment.is_of_boot(walk.boot_id) && chart.leaves_open(segment.header()) => {
            // Recovery asks the frames.
            return Ok(None);
        }
        Err(what) => {
            report.damage(number, at, 0, what);
            match sealed.and_then(|sealed| segment.as_sealed(sealed).ok()) {
                Some(look) => look,
                None => return Ok(None),
            }
        }
    };
    if segment.cut_bytes() > 0 {
        report.damage(number, look.end, 0, "its file is shorter than it says");
    }
    if look.standing == Standing::Prepared {
        if let Some(sealed) = sealed {
            report.damage(number, at, length, "it is empty, and the manifest knows it full");
            return Ok(Some(hole_look(&sealed)));
        }
        return Ok(None);
    }
    if unlisted(&segment, &look, chart, expected).is_some() {
        // The manifest may have been read before the segment was made, or may know it retired by now.
        let now = Chart::read(&*walk.medium)?;
        if is_retired(&now, number) {
            return Ok(None);
        }
        if let Some(what) = unlisted(&segment, &look, &now, expected) {
            report.damage(number, look.base, 0, what);
        }
    }
    let holes = entry.map_or(&[][..], |entry| &entry.holes);
    let tally = Tally::of(&segment, &look, holes);
    for (from, to, what) in &tally.bad {
        report.damage(number, *from, to - from, what);
    }
    report.n_holes += tally.known.len() as u64;
    report.hole_bytes += tally.known.iter().map(|(from, to)| to - from).sum::<u64>();
    if tally.bad.is_empty() && holes.is_empty() {
        if let Some(what) = tally.contradicts(&segment, &look) {
            report.damage(number, look.base, 0, what);
        }
    }
    report.n_records += tally.n_records;
    report.payload_bytes += tally.payload_bytes;
    report.n_gaps += tally.n_gaps;
    report.torn_tail_bytes += tally.torn_bytes;
    Ok(Some(look))
}

fn is_retired(chart: &Chart, number: u64) -> bool {
    chart.state().entries.first().is_some_and(|first| number < first.number)
}

/// What the manifest does not know, or knows otherwise, of a segment with frames.
fn unlisted<M: Medium>(
    segment: &SegmentView<M>,
    look: &Look,
    chart: &Chart,
    expected: Option<u64>,
) -> Option<&'static str> {
    let Some(entry) = chart.entry(segment.header().number) else {
        return Some("the manifest does not list it");
    };
    if entry.uuid != segment.header().uuid || chart.state().log_uuid != segment.header().log_uuid {
        return Some("it is not the one that the manifest lists");
    }
    if expected.is_some_and(|end| look.base < end) {
        return Some("it begins in front of where the one before it ends");
    }
    match (entry.sealed, look.standing) {
        (Some(listed), Standing::Sealed(sealed)) if listed != sealed => {
            Some("its seal is not what the manifest says")
        }
        (Some(_), Standing::Active { .. } | Standing::Claimed { .. }) => {
            Some("it is not sealed, and the manifest says that it is")
        }
        _ => None,
    }
}

/// Whether the manifest has records that hold behind one that does not.
pub(crate) fn goes_on<M: Medium>(medium: &M, number: u64) -> Result<bool, Trouble> {
    let name = names::manifest(number);
    let file = match medium.open(&name, false) {
        // Replaced meanwhile.
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(trouble("open", &name))?,
    };
    let length = file.len_bytes().map_err(trouble("examine", &name))?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let n = file.read_at(&mut bytes, 0).map_err(trouble("read", &name))?;
    let Some(reading) = State::read(number, &bytes[..n]) else { return Ok(false) };
    Ok(State::goes_on(number, &bytes[..n], reading.valid_bytes))
}

fn hole_look(sealed: &Sealed) -> Look {
    Look { standing: Standing::Sealed(*sealed), base: sealed.base, end: sealed.end }
}

fn of_walk(error: LogReadError) -> Trouble {
    let source = match error {
        LogReadError::System { errno, .. } => std::io::Error::from_raw_os_error(errno),
        other => std::io::Error::other(other.to_string()),
    };
    Trouble::Io { operation: "read", name: String::new(), source }
}
