//! Repair: makes a damaged log one that is read, with a gap where something is gone for good.
//!
//! ```text
//!   look at everything (as verify does) --> Plan --> asides: copies of what is damaged, synced
//!                                            |   --> segments made anew under a temporary name, synced, renamed
//!                                        dry run --> the manifest made anew, with all holes: the switch
//! ```
//!
//! | damage | what is done | what is kept |
//! |--------|--------------|--------------|
//! | bytes that are no frames | a hole in the manifest | the segment as it is; `aside-NUMBER-POSITION` has the bytes |
//! | header, live page, index, length | the segment made anew: these from the manifest and the frames | `aside-NUMBER-*.seg` has the old file |
//! | a segment that is gone, or beyond that | a hole as long as the segment was | what there is of it |
//! | the manifest | made anew from the segments | `aside-MANIFEST-*` has the old file |
//!
//! What a death leaves: asides, which nobody reads, and a temporary file; the manifest is the old one, and a repair begins again.
//!
//! (I1) no segment and no manifest that is damaged is written, cut or removed: what takes its name is a new file, and the old bytes are on the
//! medium under another name before; (I2) nothing is done while an appender lives, and none begins meanwhile; (I3) a dry run changes nothing
//! and says the same;
//! (I4) what is made anew begins above every position that the old segments could have had, those set aside as well, and every cursor: none
//! is used twice.
//! Invents no records: what does not check is gone.

use super::chart::Chart;
use super::cursor;
use super::error::{Trouble, trouble};
use super::manifest::Manifest;
use super::names::{self, Name};
use super::remake::{Aside, Remake};
use super::verify::Tally;
use super::view::{self, Look, SegmentView, Standing, Unseen};
use crate::layout::frame::{FRAME_ALIGN, Position};
use crate::layout::manifest::{Entry, State};
use crate::layout::segment::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, Sealed, SegmentExtent, SegmentHeader};
use crate::map::medium::{Medium, MediumFile};
use std::io;
use std::sync::Arc;

/// What [`Log::repair`](crate::Log::repair) has done, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// Each thing that was damaged, and what was done.
    pub mended: Vec<Mended>,
}

/// One thing that was damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mended {
    /// The number of the segment; 0: the manifest.
    pub segment: u64,
    /// Where in the log.
    pub position: Position,
    /// Bytes of frames that are gone: readers are told of a gap.
    pub n_bytes: u64,
    /// What was wrong.
    pub what: &'static str,
    /// What was done.
    pub how: Mending,
    /// The file of the log's directory that has what was there before.
    pub aside: Option<String>,
}

/// What was done about damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mending {
    /// The manifest says that these bytes are gone.
    Marked,
    /// The segment was made anew, with the same frames.
    Remade,
    /// The manifest was made anew, from what the segments say.
    ManifestRemade,
    /// The manifest does not list it any more: nothing was in it.
    Dropped,
}

/// What is to be done.
struct Plan {
    state: State,
    mended: Vec<Mended>,
    asides: Vec<Aside>,
    remakes: Vec<Remake>,
    /// Entries of segments of which nothing can be read, and why.
    gone: Vec<(usize, &'static str)>,
    /// Segments that the manifest will call sealed, and did not.
    unsynced: Vec<u64>,
    /// Numbers that have files.
    there: Vec<u64>,
    /// No byte of any segment so far has a higher position.
    ceiling: u64,
    /// So many of the last entries have never been appended to.
    n_prepared: usize,
    /// Whether a segment is gone whose positions nobody else knows.
    has_lost_places: bool,
}

/// Looks at everything, and mends it unless it is a dry run. The caller holds the log's locks.
pub(crate) fn repair<M: Medium>(
    medium: &Arc<M>,
    boot_id: [u64; 2],
    is_dry: bool,
) -> Result<RepairReport, Trouble> {
    let names = medium.names().map_err(trouble("list", ""))?;
    let number_max = names.iter().filter_map(|name| match Name::of(name) {
        Name::Manifest(number) => Some(number),
        _ => None,
    });
    let number_max = number_max.max().unwrap_or(0);
    let mut plan = plan(medium, boot_id, &names)?;
    let report = RepairReport { mended: std::mem::take(&mut plan.mended) };
    if is_dry || report.mended.is_empty() {
        return Ok(report);
    }
    for aside in &plan.asides {
        aside.copy(&**medium)?;
    }
    medium.sync_names().map_err(trouble("sync", ""))?;
    for remake in &plan.remakes {
        remake.make(&**medium)?;
    }
    medium.sync_names().map_err(trouble("sync", ""))?;
    for number in &plan.unsynced {
        let name = names::segment(*number);
        medium.open(&name, false).and_then(|file| file.sync()).map_err(trouble("sync", &name))?;
    }
    Manifest::anew(Arc::clone(medium), number_max, plan.state)?;
    Ok(report)
}

fn plan<M: Medium>(medium: &Arc<M>, boot_id: [u64; 2], names: &[String]) -> Result<Plan, Trouble> {
    let mut plan = Plan {
        state: State::new([0; 16], 0),
        mended: vec![],
        asides: vec![],
        remakes: vec![],
        gone: vec![],
        unsynced: vec![],
        there: view::numbers(&**medium).map_err(trouble("list", ""))?,
        ceiling: 0,
        n_prepared: 0,
        has_lost_places: false,
    };
    let there = plan.there.clone();
    let mut is_trusted = true;
    let mut set_aside = None;
    let old = match Chart::read(&**medium) {
        Ok(chart) => {
            let last = chart.state().entries.last().map(|last| last.number);
            if let Some(last) = last.filter(|last| !there.contains(last)) {
                let is_aside = chart.is_set_aside(&**medium, last);
                set_aside = is_aside.map_err(trouble("open what was set aside of", ""))?.then_some(last);
            }
            let torn_bytes = chart.0.file_bytes - chart.0.reading.valid_bytes as u64;
            if torn_bytes > 0 && super::verify::goes_on(&**medium, chart.0.number)? {
                is_trusted = false;
                plan.manifest_is_bad(
                    &**medium,
                    &names::manifest(chart.0.number),
                    "a record that does not hold",
                )?;
            }
            Some(chart.0.reading.state)
        }
        Err(Trouble::Corrupt { what, .. }) => {
            is_trusted = false;
            for name in
                names.iter().filter(|name| matches!(Name::of(name), Name::Manifest(_) | Name::Current))
            {
                plan.manifest_is_bad(&**medium, name, what)?;
            }
            if plan.mended.is_empty() {
                plan.mend(0, 0, 0, "the manifest is missing", Mending::ManifestRemade, None);
            }
            // What the newest one says that holds is better than nothing, if it is about the segments that there are.
            newest(&**medium, names).map(|mut newest| {
                newest.entries.retain(|entry| {
                    let found = SegmentView::open(&**medium, entry.number);
                    found.is_ok_and(|found| found.header().uuid == entry.uuid)
                });
                newest
            })
        }
        Err(other) => return Err(other),
    };
    let headers = |number: &u64| SegmentView::open(&**medium, *number).ok().map(|view| *view.header());
    let log = match &old {
        Some(old) => (old.log_uuid, old.created_ns),
        None => {
            let first = there.iter().find_map(headers).ok_or(Trouble::NotFound)?;
            (first.log_uuid, first.created_ns)
        }
    };
    plan.state = State::new(log.0, log.1);
    if let Some(old) = &old {
        (plan.state.floor, plan.ceiling) = (old.floor, old.floor);
        plan.state.closed = old.closed.filter(|_| is_trusted);
    }
    let mut entries = old.as_ref().map_or(&[][..], |old| &old.entries);
    if set_aside.is_some() {
        // Recovery was cut short there, and the next one says that it is no more.
        entries = entries.split_last().map_or(&[], |(_, rest)| rest);
    }
    // A manifest that is not trusted may not know what was retired.
    let first = match entries.first() {
        Some(first) if is_trusted => first.number,
        _ => there.first().copied().unwrap_or(1),
    };
    let listed_last = entries.last().map_or(0, |last| last.number);
    let last = there.last().copied().unwrap_or(0).max(listed_last);
    for number in first..=last {
        let entry = entries.iter().find(|entry| entry.number == number);
        plan.look_at(&**medium, boot_id, number, entry, last)?;
    }
    if !is_trusted {
        plan.look_aside(&**medium, names)?;
    }
    if !is_trusted || plan.has_lost_places {
        // A prepared one would begin where the last one ends. Who opens the log removes it, and makes another.
        let n = plan.state.entries.len() - plan.n_prepared;
        plan.state.entries.truncate(n);
        plan.state.floor = plan.ceiling.next_multiple_of(FRAME_ALIGN);
    }
    plan.close_gaps();
    Ok(plan)
}

/// What the newest manifest says that can be read, whether CURRENT names it or not.
fn newest<M: Medium>(medium: &M, names: &[String]) -> Option<State> {
    let mut numbers: Vec<_> = names
        .iter()
        .filter_map(|name| match Name::of(name) {
            Name::Manifest(number) => Some(number),
            _ => None,
        })
        .collect();
    numbers.sort_unstable();
    numbers.into_iter().rev().find_map(|number| {
        let file = medium.open(&names::manifest(number), false).ok()?;
        let mut bytes = vec![0; usize::try_from(file.len_bytes().ok()?).ok()?];
        let n = file.read_at(&mut bytes, 0).ok()?;
        State::read(number, &bytes[..n]).map(|reading| reading.state)
    })
}

impl Plan {
    fn mend(
        &mut self,
        segment: u64,
        position: u64,
        n_bytes: u64,
        what: &'static str,
        how: Mending,
        aside: Option<String>,
    ) {
        self.mended.push(Mended { segment, position, n_bytes, what, how, aside });
    }

    fn manifest_is_bad<M: Medium>(
        &mut self,
        medium: &M,
        file: &str,
        what: &'static str,
    ) -> Result<(), Trouble> {
        let length = medium.open(file, false).and_then(|file| file.len_bytes());
        let to = match length {
            Ok(to) => to,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(why) => return Err(trouble("examine", file)(why)),
        };
        let name = format!("aside-{file}");
        self.mend(0, 0, 0, what, Mending::ManifestRemade, Some(name.clone()));
        self.asides.push(Aside { of: file.into(), from: 0, to, name });
        Ok(())
    }

    /// Positions that are known from elsewhere: of segments that were set aside, and of cursors.
    fn look_aside<M: Medium>(&mut self, medium: &M, names: &[String]) -> Result<(), Trouble> {
        let mut asides: Vec<_> = names.iter().filter(|name| Name::of(name) == Name::Aside).collect();
        asides.sort_unstable();
        for name in asides.into_iter().filter(|name| name.ends_with(".seg")) {
            if let Ok((segment, look)) = SegmentView::open_aside(medium, name) {
                let is_sure = segment.next_sound(look.base, look.base, u64::MAX).is_some();
                self.raise(is_sure, look.base, segment.header().extent.data_bytes);
            }
        }
        for name in cursor::list(medium)? {
            if let Ok(cursor) = cursor::load(medium, &self.state.log_uuid, &name) {
                self.ceiling = self.ceiling.max(cursor.position);
            }
        }
        Ok(())
    }

    /// Somebody may have seen positions of a segment that begins there, or nearby if that is not sure.
    fn raise(&mut self, is_sure: bool, base: u64, data_bytes: u64) {
        let base = if is_sure { base } else { base.min(self.ceiling) };
        self.ceiling = self.ceiling.max(base + data_bytes);
    }

    /// Where the segments so far end, if that is known.
    fn end(&self) -> Option<u64> {
        self.state.entries.last()?.sealed.map(|sealed| sealed.end)
    }

    fn look_at<M: Medium>(
        &mut self,
        medium: &M,
        boot_id: [u64; 2],
        number: u64,
        entry: Option<&Entry>,
        last: u64,
    ) -> Result<(), Trouble> {
        let (segment, header_is_bad) = match SegmentView::open(medium, number) {
            Ok(segment) => (Some(segment), None),
            Err(Unseen::Gone | Unseen::Taken) => (None, Some("its file is missing")),
            Err(Unseen::Bad(what)) => {
                let known = entry.and_then(|entry| {
                    let state = State { entries: vec![entry.clone()], ..self.state.clone() };
                    header_of(&state, number, 0)
                });
                let again = known.map(|known| SegmentView::open_as(medium, number, Some(known)));
                (again.and_then(Result::ok), Some(what))
            }
            Err(Unseen::System { operation, source }) => {
                return Err(Trouble::Io { operation, name: names::segment(number), source });
            }
        };
        let Some(segment) = segment else {
            let there_bytes = medium.open(&names::segment(number), false).and_then(|file| file.len_bytes());
            self.is_gone(number, entry, header_is_bad.unwrap_or("its file"), last, there_bytes.unwrap_or(0));
            return Ok(());
        };
        let mut known = Entry {
            number,
            uuid: segment.header().uuid,
            data_bytes: segment.header().extent.data_bytes,
            base: entry.and_then(|entry| entry.base),
            sealed: entry.and_then(|entry| entry.sealed),
            lost_bytes: entry.map_or(0, |entry| entry.lost_bytes),
            holes: entry.map_or(vec![], |entry| entry.holes.clone()),
        };
        let mut what = header_is_bad;
        let mut keeps_live = true;
        let look = match segment.look(boot_id) {
            Ok(look) if look.standing == Standing::Prepared => match known.sealed {
                Some(_) => Err("its live page is empty"),
                None => Ok(look),
            },
            other => other,
        };
        let is_of_boot = segment.is_of_boot(boot_id);
        if let (Err(_), false, Some(entry), None) = (&look, is_of_boot, entry, known.sealed) {
            // Recovery asks the frames, and not the live page.
            self.state.entries.push(entry.clone());
            self.n_prepared = 0;
            return Ok(());
        }
        let look = look.or_else(|why| {
            (what, keeps_live) = (what.or(Some(why)), false);
            let sealed = known.sealed.and_then(|sealed| segment.as_sealed(sealed).ok());
            sealed.or_else(|| self.look_by_frames(&segment, known.base, number < last)).ok_or(why)
        });
        let Ok(look) = look else {
            let there_bytes = segment.header().extent.data_bytes;
            self.is_gone(number, entry, what.unwrap_or("its live page"), last, there_bytes);
            return Ok(());
        };
        // Without a manifest, or where it has it sealed, a seal is believed.
        let look = match entry {
            Some(entry) if entry.sealed.is_none() => look,
            _ => look.vouched(),
        };
        if entry.is_none() {
            self.mend(number, look.base, 0, "the manifest does not list it", Mending::ManifestRemade, None);
        }
        if look.standing != Standing::Prepared && self.end() != Some(look.base) {
            known.base = Some(look.base);
        }
        let tally = Tally::of(&segment, &look, &known.holes);
        if look.standing == Standing::Prepared {
            // After a power cut it may have frames all the same.
            let is_empty = |base| segment.next_sound(base, base, u64::MAX).is_none();
            let is_prepared = is_of_boot || known.base.or(self.end()).is_some_and(is_empty);
            self.n_prepared = if is_prepared { self.n_prepared + 1 } else { 0 };
        } else {
            let is_sure = matches!(look.standing, Standing::Sealed(_)) || !tally.index.is_empty();
            self.raise(is_sure, look.base, known.data_bytes);
            self.n_prepared = 0;
        }
        for (from, to, what) in tally.bad.iter().copied() {
            let name = format!("aside-{number:020}-{from:020}");
            let data_offset = segment.header().extent.data_offset;
            let file_bytes = segment.header().extent.file_bytes - segment.cut_bytes();
            let at = |position: u64| (data_offset + (position - look.base)).min(file_bytes);
            self.asides.push(Aside {
                of: names::segment(number),
                from: at(from),
                to: at(to),
                name: name.clone(),
            });
            self.mend(number, from, to - from, what, Mending::Marked, Some(name));
            known.holes.push((from, to));
        }
        known.holes.sort_unstable();
        if known.holes.is_empty() {
            what = what.or(tally.contradicts(&segment, &look));
        }
        if segment.cut_bytes() > 0 {
            what = what.or(Some("its file is shorter than it says"));
        }
        let mut look = look;
        if let Standing::Sealed(sealed) = &mut look.standing {
            if what.is_some() {
                let has_changed = sealed.index_crc != tally.index_crc();
                if has_changed || !keeps_live {
                    (sealed.n_index, sealed.index_crc) = (tally.index.len() as u64, tally.index_crc());
                    (sealed.n_records, sealed.first_ns, sealed.last_ns) =
                        (tally.n_records, tally.first_ns, tally.last_ns);
                    keeps_live = false;
                }
            }
            if entry.is_some_and(|entry| entry.sealed.is_some_and(|listed| listed != *sealed))
                && what.is_none()
            {
                let why = "its seal is not what the manifest says";
                self.mend(number, look.base, 0, why, Mending::ManifestRemade, None);
            }
            // A manifest seals one behind the other; what is sealed behind one that is not is the next appender's.
            let is_next = self.state.entries.iter().all(|entry| entry.sealed.is_some());
            if known.sealed.is_none() && is_next {
                self.unsynced.push(number);
            }
            known.sealed = Some(*sealed).filter(|_| is_next);
        }
        self.state.entries.push(known);
        if let Some(what) = what {
            let name = names::aside(number, &segment.header().uuid);
            let to = segment.header().extent.file_bytes - segment.cut_bytes();
            self.asides.push(Aside { of: names::segment(number), from: 0, to, name: name.clone() });
            self.mend(number, look.base, 0, what, Mending::Remade, Some(name));
            let (header, index) = (*segment.header(), tally.index);
            self.remakes.push(Remake { header, look, index, keeps_live, there_bytes: to });
        }
        Ok(())
    }

    /// Where the frames of a segment lie whose live page is gone, and which the manifest does not know sealed: from the end of the one before.
    fn look_by_frames<M: Medium>(
        &self,
        segment: &SegmentView<M>,
        base: Option<u64>,
        has_next: bool,
    ) -> Option<Look> {
        let follows = if self.state.entries.is_empty() { Some(0) } else { self.end() };
        let base = base.or(follows)?;
        let limit = base + segment.header().extent.data_bytes;
        let (mut at, mut end) = (base, base);
        while let Some(framed) = segment.next_sound(base, at, limit) {
            (at, end) = (framed.next(), framed.next());
        }
        let sealed =
            Sealed { base, end, n_index: 0, n_records: 0, first_ns: u64::MAX, last_ns: 0, index_crc: 0 };
        let standing = if has_next { Standing::Sealed(sealed) } else { Standing::Active { firm: base } };
        (end > base).then_some(Look { standing, base, end })
    }

    /// A segment of which nothing can be read, and whose file has so many bytes.
    fn is_gone(
        &mut self,
        number: u64,
        entry: Option<&Entry>,
        what: &'static str,
        last: u64,
        there_bytes: u64,
    ) {
        let end = self.end().unwrap_or(0);
        match entry.and_then(|entry| entry.sealed) {
            Some(sealed) => self.ceiling = self.ceiling.max(sealed.end),
            None => {
                let data_bytes = entry.map_or(there_bytes.min(SEGMENT_BYTES_MAX), |entry| entry.data_bytes);
                let base = entry.and_then(|entry| entry.base);
                self.raise(base.is_some(), base.unwrap_or(u64::MAX), data_bytes);
                self.has_lost_places = true;
            }
        }
        if number == last && entry.is_none_or(|entry| entry.sealed.is_none()) {
            self.mend(number, end, 0, what, Mending::Dropped, None);
            return;
        }
        let uuid = self.stand_in(number);
        let unknown = Entry {
            number,
            uuid,
            data_bytes: SEGMENT_BYTES_MIN,
            base: None,
            sealed: None,
            lost_bytes: 0,
            holes: vec![],
        };
        let mut entry = Entry { uuid, ..entry.cloned().unwrap_or(unknown) };
        self.n_prepared = 0;
        // Its place is known when those behind it are: `close_gaps`.
        entry.holes.clear();
        self.gone.push((self.state.entries.len(), what));
        self.state.entries.push(entry);
    }

    /// The uuid of a file that stands for one that is gone.
    fn stand_in(&self, number: u64) -> [u8; 16] {
        let mut uuid = self.state.log_uuid;
        uuid.iter_mut().zip(number.to_le_bytes()).for_each(|(byte, other)| *byte ^= other ^ 0x5a);
        uuid
    }

    /// Gives segments of which nothing can be read their place, and files that stand for them.
    fn close_gaps(&mut self) {
        for (at, what) in std::mem::take(&mut self.gone) {
            let before = self.state.entries[..at].iter().rev().find_map(|entry| entry.sealed);
            let behind = self.state.entries[at + 1..].iter().find_map(|entry| entry.sealed.map(|s| s.base));
            let entry = &mut self.state.entries[at];
            let known = entry.sealed.map(|sealed| (sealed.base, sealed.end));
            let base = before.map_or(0, |sealed| sealed.end);
            let (base, end) = known.unwrap_or((base, behind.unwrap_or(base).max(base)));
            let (n_bytes, number) = (end - base, entry.number);
            entry.data_bytes =
                entry.data_bytes.max(n_bytes.next_multiple_of(SEGMENT_BYTES_MIN)).min(SEGMENT_BYTES_MAX);
            // What is more than a segment holds was lost in front of it.
            let base = base.max(end.saturating_sub(entry.data_bytes));
            let (first_ns, index_crc) = (u64::MAX, 0);
            let sealed = Sealed { base, end, n_index: 0, n_records: 0, first_ns, last_ns: 0, index_crc };
            entry.sealed = Some(sealed);
            entry.holes = if base < end { vec![(base, end)] } else { vec![] };
            let Some(header) = header_of(&self.state, number, at) else { continue };
            let look = Look { standing: Standing::Sealed(sealed), base, end };
            self.remakes.push(Remake { header, look, index: vec![], keeps_live: false, there_bytes: 0 });
            let aside = self.there.contains(&number).then(|| names::aside(number, &header.uuid));
            if let Some(name) = &aside {
                self.asides.push(Aside {
                    of: names::segment(number),
                    from: 0,
                    to: u64::MAX,
                    name: name.clone(),
                });
            }
            self.mend(number, base, n_bytes, what, Mending::Marked, aside);
        }
    }
}

/// Page 0 of the segment of that entry, as it must have been.
fn header_of(state: &State, number: u64, at: usize) -> Option<SegmentHeader> {
    let entry = &state.entries[at];
    let extent = SegmentExtent::new(entry.data_bytes, crate::map::file::page_bytes()).ok()?;
    let (log_uuid, created_ns) = (state.log_uuid, state.created_ns);
    Some(SegmentHeader { uuid: entry.uuid, created_ns, log_uuid, number, extent })
}
