//! Recover: from what is in a directory to an appender, whatever the last one died of.
//!
//! ```text
//!   manifest ---> sealed segments: not read              the first that is not sealed, and those behind it:
//!
//!   this boot's, not suspect:   sealed -> synced, SEALED | active -> goes on at `end` | prepared -> the next one
//!   another boot's, or suspect: frames from the base on, as far as they hold: [base, p); of this boot's, none behind `end`
//!        log was closed at p:         goes on there
//!        p is where the next begins:  SEALED at p, scan on in the next
//!        otherwise:                   SEALED at p, the rest is set aside, a new segment begins above everything that could have been seen
//! ```
//!
//! | what was cut short | what is found | what is done |
//! |--------------------|---------------|--------------|
//! | a batch            | frames behind `end` | taken away, synced: a later power cut must not bring them back |
//! | a roll             | SEALED, then PREPARED | the prepared one becomes active |
//! | preparing          | NAME.tmp, or a segment that the manifest does not have | removed |
//! | retiring           | a segment below the first, a spare | removed |
//! | setting aside      | the last entry's file is called `aside-` | the entry goes |
//! | any of these here  | the same again | the same again: each step is on the medium before the next begins |
//!
//! A frame between the watermark and `end`, of this boot, that does not hold is damage, and so is one below the watermark with frames behind it
//! that hold: these are refused, `repair` notes them as holes. Everything else that does not hold behind the watermark is what a power cut
//! leaves, and is dropped without a look at what follows: a frame may be on the medium and one before it not.
//!
//! (I1) nothing is truncated, and no frame below an `end` is overwritten; (I2) a position that anybody may have seen is never given to another
//! frame: a new segment begins above the last byte of every segment that could have been appended to; (I3) the time depends on what is not
//! sealed, not on the log.
//! Needs lock byte 1 of the log while it is at it; its callers hold it.

use super::appender::Core;
use super::error::{Trouble, trouble};
use super::helper;
use super::manifest::{Found, Manifest};
use super::names::{self, Name};
use super::segment::Segment;
use super::shared::{Settings, Shared};
use super::tally::Tally;
use crate::layout::frame::FRAME_ALIGN;
use crate::layout::manifest::{Entry, Record};
use crate::layout::mapped::SEALED;
use crate::layout::segment::{ACTIVE, PREPARED, Sealed};
use crate::map::medium::{Medium, MediumFile};
use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;

/// Bytes that are read and written again at once.
const PIECE_BYTES: u64 = 1 << 20;

/// What opening a log found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Segments that were looked through.
    pub n_segments: u64,
    /// Records in them.
    pub n_records: u64,
    /// Bytes of frames in them.
    pub scanned_bytes: u64,
    /// Bytes that were appended and did not survive, as far as is known.
    pub lost_bytes: u64,
    /// Segments that did not follow from what was left, and were set aside.
    pub n_set_aside: u64,
    /// Whether the machine was restarted, or a sync failed, before the last appender had ended in order.
    pub was_cut_short: bool,
}

/// A look through a segment's frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan {
    /// What was counted.
    pub(crate) tally: Tally,
    /// Behind the last frame that holds.
    pub(crate) end: u64,
}

/// Looks through the frames from `base` on, below `limit`: by their heads up to `trusted`, by their checksums from there on. `index` gets each
/// entry of the index.
pub(crate) fn scan<F: MediumFile>(
    segment: &Segment<F>,
    entry: &Entry,
    base: u64,
    trusted: u64,
    limit: u64,
    mut index: impl FnMut(u64, crate::layout::segment::IndexEntry),
) -> Scan {
    let (mut tally, mut at) = (Tally::new(base), base);
    // Each turn goes on by a frame or a hole, both at least 16 bytes.
    loop {
        if let Some(hole) = entry.holes.iter().find(|hole| hole.0 <= at && at < hole.1) {
            at = hole.1;
            continue;
        }
        let found = if at < trusted {
            let head = segment.head_at(base, at, limit.min(trusted));
            head.map(|head| (head, segment.timestamp_at(base, at)))
        } else {
            segment.frame(base, at, limit).map(|frame| (frame.head, frame.timestamp_ns))
        };
        let Some((head, timestamp_ns)) = found else { break };
        if at >= tally.index_at {
            let (n, entry) = tally.index(at);
            index(n, entry);
        }
        tally.count(head.state, timestamp_ns);
        at += head.span_bytes();
    }
    if at < trusted {
        // What the watermark says can't be right, or is damaged: then every frame is looked at whole.
        return scan(segment, entry, base, base, limit, index);
    }
    Scan { tally, end: at }
}

/// A segment to go on in, what was counted in it, and where.
type Active<F> = (Arc<Segment<F>>, Tally, u64);

/// What recovery has found so far.
struct Recovering<M: Medium> {
    medium: Arc<M>,
    settings: Settings,
    manifest: Manifest<M>,
    report: Recovery,
    /// Where the next segment begins.
    base: u64,
    /// No byte of any segment so far has a higher position.
    ceiling: u64,
    active: Option<Active<M::File>>,
    prepared: VecDeque<Arc<Segment<M::File>>>,
}

/// Makes an appender of what was found.
pub(crate) fn recover<M: Medium>(
    medium: Arc<M>,
    settings: Settings,
    found: Found,
) -> Result<(Core<M>, Recovery), Trouble> {
    let manifest = Manifest::go_on(medium.clone(), found)?;
    let base = manifest.state().entries.iter().map_while(|entry| entry.sealed).last().map_or(0, |s| s.end);
    let mut this = Recovering {
        medium,
        settings,
        manifest,
        report: Recovery::default(),
        base,
        ceiling: base,
        active: None,
        prepared: VecDeque::new(),
    };
    this.tidy()?;
    let unsealed: Vec<Entry> =
        this.manifest.state().entries.iter().filter(|entry| entry.sealed.is_none()).cloned().collect();
    let mut is_cut = false;
    for (n, entry) in unsealed.iter().enumerate() {
        if is_cut {
            break;
        }
        is_cut = this.take(entry, unsealed.get(n + 1))?;
    }
    if is_cut {
        let kept = this.active.as_ref().map(|(segment, ..)| segment.number());
        this.set_rest_aside(kept)?;
    }
    this.finish()
}

impl<M: Medium> Recovering<M> {
    /// Removes what deaths left, and compares the names with the manifest.
    fn tidy(&mut self) -> Result<(), Trouble> {
        let names = self.medium.names().map_err(trouble("list", ""))?;
        let known: HashSet<&str> = names.iter().map(String::as_str).collect();
        let state = self.manifest.state();
        let first = state.entries.first().map_or(u64::MAX, |entry| entry.number);
        let aside = state.entries.last().filter(|last| {
            last.sealed.is_none()
                && !known.contains(&*names::segment(last.number))
                && known.contains(&*names::aside(last.number, &last.uuid))
        });
        if let Some(number) = aside.map(|last| last.number) {
            self.manifest.add(&Record::Dropped { number })?;
        }
        let state = self.manifest.state();
        for entry in &state.entries {
            let name = names::segment(entry.number);
            if !known.contains(&*name) {
                let (expected, found) =
                    ("a segment of the manifest: `shm-ring repair` goes on without it".into(), "none".into());
                return Err(Trouble::Corrupt { name, what: "file", expected, found });
            }
        }
        for name in &names {
            let is_residue = match Name::of(name) {
                // A spare may be, on the medium, a second name of the segment that was made of it.
                Name::Temporary | Name::Spare(_) => true,
                Name::Manifest(number) => number != self.manifest.number(),
                Name::Segment(number) if state.place_of(number).is_some() => false,
                Name::Segment(number) if number < first => true,
                Name::Segment(number) => {
                    // Nobody appends to a segment before the manifest has it.
                    let segment = Segment::open(&*self.medium, number, &state.log_uuid, false)?;
                    if segment.state() != PREPARED {
                        let expected = "a record of it: `shm-ring repair` makes the manifest anew".into();
                        let (name, found) =
                            (names::manifest(self.manifest.number()), format!("none, and {name}"));
                        return Err(Trouble::Corrupt { name, what: "segments", expected, found });
                    }
                    true
                }
                _ => false,
            };
            if is_residue {
                match self.medium.remove(name) {
                    // The old manifest, if a new one was begun since the look at the names.
                    Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                    other => other.map_err(trouble("remove", name))?,
                }
            }
        }
        Ok(())
    }

    /// Takes the next segment that the manifest does not call sealed; true: what is behind it does not follow from it.
    fn take(&mut self, entry: &Entry, next: Option<&Entry>) -> Result<bool, Trouble> {
        let log_uuid = self.manifest.state().log_uuid;
        let segment = Segment::open(&*self.medium, entry.number, &log_uuid, true)?;
        if segment.header().uuid != entry.uuid || segment.data_bytes() != entry.data_bytes {
            return Err(corrupt(
                &segment,
                "uuid",
                "the manifest's: another file has its name",
                "another".into(),
            ));
        }
        let state = segment.state();
        // From a live page that holds nothing, nothing is taken.
        let base = entry.base.unwrap_or(self.base);
        self.ceiling = self.ceiling.max(base + entry.data_bytes);
        if segment.is_of_boot(self.settings.boot) && !segment.is_suspect() {
            self.take_whole(entry, segment, base, state)
        } else {
            self.take_prefix(entry, next, segment, base, state)
        }
    }

    /// A segment in which memory is what was written.
    fn take_whole(
        &mut self,
        entry: &Entry,
        segment: Segment<M::File>,
        base: u64,
        state: u64,
    ) -> Result<bool, Trouble> {
        if state == PREPARED {
            let segment = Arc::new(segment);
            if self.active.is_none() && entry.base.is_some() && self.prepared.is_empty() {
                self.base = base;
            }
            self.prepared.push_back(segment);
            return Ok(false);
        }
        let found = (segment.base(), self.active.is_none() && self.prepared.is_empty());
        if found != (base, true) {
            return Err(corrupt(
                &segment,
                "position of the first frame",
                &format!("{base}"),
                format!("{}", found.0),
            ));
        }
        let seal = segment.seal_of();
        let end = match (state, &seal) {
            (ACTIVE, _) => segment.end(),
            (SEALED, Some(sealed)) => sealed.end,
            _ => return Err(corrupt(&segment, "state", "that of a segment", format!("{state:#x}"))),
        };
        if end % 16 != 0 || !(base..=base + segment.data_bytes()).contains(&end) {
            return Err(corrupt(&segment, "end", "a position inside the segment", end.to_string()));
        }
        let looked = self.look(&segment, entry, base, segment.durable(), end);
        if looked.end != end {
            let expected = "frames that hold up to the end: `shm-ring repair` goes on behind what is damaged";
            return Err(corrupt(&segment, "frames", expected, format!("damage at position {}", looked.end)));
        }
        if state == SEALED {
            self.settle(&segment, &looked.tally.sealed(end), 0)?;
            return Ok(false);
        }
        segment.publish_index(looked.tally.n_index);
        self.take_away_unpublished(&segment, base, end)?;
        self.active = Some((Arc::new(segment), looked.tally, end));
        Ok(false)
    }

    /// A segment of which any page may be missing.
    fn take_prefix(
        &mut self,
        entry: &Entry,
        next: Option<&Entry>,
        segment: Segment<M::File>,
        base: u64,
        state: u64,
    ) -> Result<bool, Trouble> {
        let limit = base + segment.data_bytes();
        let is_inside = |position: u64| position % 16 == 0 && (base..=limit).contains(&position);
        let is_placed = state != PREPARED && segment.base() == base;
        let seal = segment.seal_of().filter(|sealed| sealed.base == base);
        let told = Some(seal.map_or(segment.end(), |sealed| sealed.end));
        let told = told.filter(|end| is_placed && is_inside(*end));
        // In a suspect segment of this boot pages may have gone back to what they were, but nobody has published what is behind `end`.
        let limit = told.filter(|_| segment.is_of_boot(self.settings.boot)).unwrap_or(limit);
        let durable =
            Some(segment.durable()).filter(|durable| is_placed && is_inside(*durable)).unwrap_or(base);
        let looked = self.look(&segment, entry, base, durable, limit);
        let p = looked.end;
        if p < durable && self.is_followed(&segment, base, p, limit) {
            let expected =
                "frames that hold up to the watermark: `shm-ring repair` goes on behind what is damaged";
            return Err(corrupt(&segment, "frames", expected, format!("damage at position {p}")));
        }
        if segment.is_suspect() {
            write_again(&segment, base, p)?;
        }
        if self.manifest.state().closed == Some(p) && next.is_none_or(|next| self.is_untouched(next)) {
            // Whoever ended in order had everything synced, and staged nothing behind it.
            if segment.is_suspect() {
                segment.file().sync().map_err(trouble("sync", &names::segment(segment.number())))?;
            }
            segment.activate_again(base, p, looked.tally.n_index, self.settings.boot);
            self.active = Some((Arc::new(segment), looked.tally, p));
            return Ok(true);
        }
        self.report.was_cut_short = true;
        let claimed = told.unwrap_or(p).max(durable);
        let sealed = looked.tally.sealed(p);
        let goes_on = claimed <= p && next.is_some_and(|next| self.begins_at(next, p));
        let lost_bytes = claimed.saturating_sub(p);
        if !goes_on {
            self.raise_floor(base)?;
            // Before this one is sealed: who comes after a death could not tell any more that what is behind it does not follow.
            self.set_rest_aside(Some(entry.number))?;
        }
        if !is_placed {
            // The watermark is of other frames, and who reads this segment while its words change would believe it.
            segment.note_durable(base);
        }
        segment.seal(&sealed);
        self.settle(&segment, &sealed, lost_bytes)?;
        self.report.lost_bytes += lost_bytes;
        Ok(!goes_on)
    }

    fn look(
        &mut self,
        segment: &Segment<M::File>,
        entry: &Entry,
        base: u64,
        trusted: u64,
        limit: u64,
    ) -> Scan {
        let looked = scan(segment, entry, base, trusted.clamp(base, limit), limit, |n, entry| {
            segment.put_index(n, entry)
        });
        self.report.n_segments += 1;
        self.report.n_records += looked.tally.n_records;
        self.report.scanned_bytes += looked.end - base;
        looked
    }

    /// Brings a segment to the medium, and notes it as sealed.
    fn settle(
        &mut self,
        segment: &Segment<M::File>,
        sealed: &Sealed,
        lost_bytes: u64,
    ) -> Result<(), Trouble> {
        let number = segment.number();
        segment.file().sync().map_err(|why| {
            segment.mark_suspect();
            trouble("sync", &names::segment(number))(why)
        })?;
        self.manifest.add(&Record::Sealed { number, sealed: *sealed, lost_bytes })?;
        segment.note_durable(sealed.end);
        self.base = sealed.end;
        Ok(())
    }

    /// Takes what a batch left behind `end` that was cut short.
    fn take_away_unpublished(&self, segment: &Segment<M::File>, base: u64, end: u64) -> Result<(), Trouble> {
        if segment.take_away(base, end, u64::MAX) == 0 {
            return Ok(());
        }
        segment.file().sync().map_err(trouble("sync", &names::segment(segment.number())))
    }

    /// Whether a frame that holds stands anywhere behind `from`.
    fn is_followed(&self, segment: &Segment<M::File>, base: u64, from: u64, limit: u64) -> bool {
        (from..limit).step_by(16).skip(1).any(|at| segment.frame(base, at, limit).is_some())
    }

    fn open_next(&self, next: &Entry) -> Option<Segment<M::File>> {
        let segment =
            Segment::open(&*self.medium, next.number, &self.manifest.state().log_uuid, false).ok()?;
        (segment.header().uuid == next.uuid).then_some(segment)
    }

    fn is_untouched(&self, next: &Entry) -> bool {
        self.open_next(next).is_some_and(|segment| segment.state() == PREPARED)
    }

    /// Whether frames of the next segment follow from position `p`.
    fn begins_at(&self, next: &Entry, p: u64) -> bool {
        let base = next.base.unwrap_or(p);
        let found = self.open_next(next);
        base == p && found.is_some_and(|segment| segment.frame(base, p, u64::MAX).is_some())
    }

    /// Says, before anything else is done about a loss, above what the next segment begins: segments that are sealed or dropped meanwhile, and
    /// a power cut after that, must not make it be forgotten. `base` is where the first segment begins that is not sealed.
    fn raise_floor(&mut self, base: u64) -> Result<(), Trouble> {
        let unsealed = self.manifest.state().entries.iter().filter(|entry| entry.sealed.is_none());
        // Any of them may have been appended to, whatever the medium says of it.
        let position = unsealed.fold(base, |at, entry| at.max(entry.base.unwrap_or(at)) + entry.data_bytes);
        let position = position.max(self.ceiling).next_multiple_of(FRAME_ALIGN);
        if position > self.manifest.state().floor {
            self.manifest.add(&Record::Floor { position })?;
        }
        Ok(())
    }

    /// What is behind a loss, and not `kept`: prepared segments go, others are set aside. The last one first, so that a death leaves a row.
    fn set_rest_aside(&mut self, kept: Option<u64>) -> Result<(), Trouble> {
        let entries = self.manifest.state().entries.iter();
        let rest: Vec<Entry> =
            entries.filter(|e| e.sealed.is_none() && Some(e.number) != kept).cloned().collect();
        for entry in rest.iter().rev() {
            let (number, name) = (entry.number, names::segment(entry.number));
            let record = Record::Dropped { number };
            if self.is_untouched(entry) {
                self.drop_last(number)?;
            } else {
                let aside = names::aside(number, &entry.uuid);
                self.medium.rename(&name, &aside).map_err(trouble("set aside", &name))?;
                self.medium.sync_names().map_err(trouble("sync the name of", &aside))?;
                self.manifest.add(&record)?;
                self.report.n_set_aside += 1;
            }
        }
        Ok(())
    }

    /// The newest segment, to which nobody has appended, goes.
    fn drop_last(&mut self, number: u64) -> Result<(), Trouble> {
        let name = names::segment(number);
        self.manifest.add(&Record::Dropped { number })?;
        self.medium.remove(&name).map_err(trouble("remove", &name))
    }

    /// Empty segments of another size than is asked for now are not appended to, so that a longer record finds a segment that takes it; nor
    /// prepared ones that would begin below the floor.
    fn let_go_of_unfit(&mut self) -> Result<(), Trouble> {
        let data_bytes = self.settings.extent.data_bytes;
        let empty = self
            .active
            .take_if(|(segment, tally, end)| *end == tally.base && segment.data_bytes() != data_bytes);
        if let Some((segment, tally, end)) = empty {
            // Sealed, not dropped: a reader may be waiting in it.
            let sealed = tally.sealed(end);
            segment.seal(&sealed);
            self.settle(&segment, &sealed, 0)?;
        }
        let is_low = self.active.is_none() && self.base < self.manifest.state().floor;
        if is_low || self.prepared.iter().any(|segment| segment.data_bytes() != data_bytes) {
            while let Some(segment) = self.prepared.pop_back() {
                self.drop_last(segment.number())?;
            }
        }
        Ok(())
    }

    /// An appender in the active segment, or in a new one.
    fn finish(mut self) -> Result<(Core<M>, Recovery), Trouble> {
        if self.manifest.state().closed.is_some() {
            self.manifest.add(&Record::Opened)?;
        }
        self.let_go_of_unfit()?;
        let (segment, tally, end) = match self.active.take() {
            Some(active) => active,
            None => {
                let segment = match self.prepared.pop_front() {
                    Some(segment) => segment,
                    None => self.prepare(self.base.max(self.manifest.state().floor))?,
                };
                let base = self.base;
                segment.activate(base, self.settings.boot);
                (segment, Tally::new(base), base)
            }
        };
        segment.note_writer();
        let durable = segment.durable().clamp(tally.base, end);
        segment.note_durable(durable);
        let shared = Shared::new(self.medium, self.settings, self.manifest, segment, self.prepared, durable);
        let shared = shared.map_err(trouble("watch for forks in", ""))?;
        Ok((Core::new(Arc::new(shared), tally, end), self.report))
    }

    fn prepare(&mut self, base: u64) -> Result<Arc<Segment<M::File>>, Trouble> {
        let (number, log_uuid) = (self.manifest.state().next_number(), self.manifest.state().log_uuid);
        let (segment, _) = helper::make(&*self.medium, &self.settings, &log_uuid, number)?;
        let follows = self.manifest.state().entries.last().and_then(|last| last.sealed).map(|last| last.end);
        let noted = (follows != Some(base)).then_some(base);
        helper::announce(&*self.medium, &segment, noted, |record| self.manifest.add(record))?;
        self.base = base;
        Ok(Arc::new(segment))
    }
}

/// Writes the frames of a segment again of which a sync has failed: the system takes their pages for clean, and would not bring them.
fn write_again<F: MediumFile>(segment: &Segment<F>, base: u64, end: u64) -> Result<(), Trouble> {
    let name = names::segment(segment.number());
    let (mut at, end) = (0, segment.offset_of(base, end));
    while at < end {
        let length = PIECE_BYTES.min(end - at);
        let mut bytes = vec![0; usize::try_from(length).expect("1 MiB fits")];
        segment.file().read_at(&mut bytes, at).map_err(trouble("read", &name))?;
        segment.file().write_at(&bytes, at).map_err(trouble("write again", &name))?;
        at += length;
    }
    Ok(())
}

fn corrupt<F: MediumFile>(
    segment: &Segment<F>,
    what: &'static str,
    expected: &str,
    found: String,
) -> Trouble {
    Trouble::Corrupt { name: names::segment(segment.number()), what, expected: expected.to_owned(), found }
}
