//! Helper: what would keep an appender waiting, done before it is needed or after.
//!
//! ```text
//!   pages   pages in front of the appender
//!   ahead   the next segment: spare or new file, synced, named, in the manifest
//!   behind  full segments to the medium, SEALED records; by interval, the active one; retention
//! ```
//!
//! Three threads, so that a sync of a full segment keeps nobody from preparing the next, and the sync of the next nobody from making pages: an
//! appender that has used up its pages faults, and a fault may wait for the file system. The tests call [`Shared::turn`] instead.
//!
//! Pages are made present a window ahead of the appender, never the whole segment: a page that is written to long before it is used is
//! written to the medium twice. With `EachRecord` a segment's bytes are written as zeros when it is prepared, so that a sync of a few pages has
//! no extents to note.
//!
//! (I1) a segment is complete on the medium, then its name, then its record, and only then can an appender take it; (I2) when the record could
//! not be written, the segment waits for the next try: the record may be on the medium all the same.
//! Never touches what the appender is about to write, but for making its pages present.

use super::error::{LogError, Trouble, trouble};
use super::names::{self, Name};
use super::segment::{Ground, Segment};
use super::shared::{Bell, Durability, Shared, held};
use crate::layout::manifest::Record;
use crate::layout::segment::SegmentHeader;
use crate::map::clock;
use crate::map::medium::{Medium, MediumMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pages are present so far ahead of the appender: more than it writes, at a memory's speed, until the helper has its processor.
const WINDOW_BYTES: u64 = 16 << 20;
/// How much of that is used up when the helper is rung for.
pub(super) const STEP_BYTES: u64 = 1 << 20;
/// What failed is tried again after that.
const PAUSE: Duration = Duration::from_millis(100);

impl<M: Medium> Shared<M> {
    /// All the work that there is, once.
    #[cfg(test)]
    pub(crate) fn turn(&self) -> Result<(), LogError> {
        let ahead = self.turn_ahead();
        let behind = self.turn_behind(true);
        ahead.and(behind)
    }

    /// What is needed soon.
    #[cfg(test)]
    pub(super) fn turn_ahead(&self) -> Result<(), LogError> {
        let prepared = if self.hands().prepared.is_empty() { self.prepare() } else { Ok(()) };
        self.populate()?;
        prepared.map_err(|why| why.as_append())
    }

    /// What was left behind; the active segment's sync, where it is due.
    pub(super) fn turn_behind(&self, is_due: bool) -> Result<(), LogError> {
        self.settle()?;
        if is_due && matches!(self.settings.durability, Durability::Interval(_)) {
            let end = self.hands().active.end();
            self.bring(end, None)?;
        }
        self.retire().map_err(|why| why.as_append())
    }

    /// Makes the next segment, unless there is one.
    pub(super) fn prepare(&self) -> Result<(), Trouble> {
        let mut preparing = held(&self.preparing);
        if !self.hands().prepared.is_empty() {
            return Ok(());
        }
        let segment = match preparing.take() {
            Some(segment) => segment,
            None => {
                let number = self.manifest().state().next_number();
                let (segment, is_recycled) = make(&*self.medium, &self.settings, &self.log_uuid, number)?;
                self.hands().n_recycled += u64::from(is_recycled);
                Arc::new(segment)
            }
        };
        *preparing = Some(segment.clone());
        announce(&*self.medium, &segment, None, |record| self.manifest().add(record))?;
        *preparing = None;
        self.hands().prepared.push_back(segment);
        Ok(())
    }

    /// Makes the pages present that the appender comes to next.
    fn populate(&self) -> Result<(), LogError> {
        let mut windows = held(&self.windows);
        let (active, next) = {
            let hands = self.hands();
            (hands.active.clone(), hands.prepared.front().cloned())
        };
        let used = active.end().saturating_sub(active.base());
        let wanted = used + WINDOW_BYTES;
        let rest = wanted.saturating_sub(active.data_bytes());
        let [window, beyond] = &mut *windows;
        if window.0 != active.number() && beyond.0 == active.number() {
            *window = *beyond;
        }
        fill(window, &active, used, wanted)?;
        match next {
            Some(next) if rest > 0 => fill(beyond, &next, 0, rest),
            _ => Ok(()),
        }
    }
}

/// Makes pages of a segment present from where the window ends, or `used`, up to `wanted` bytes of data; with the pages in front of them.
fn fill<F: crate::map::medium::MediumFile>(
    window: &mut (u64, u64),
    segment: &Segment<F>,
    used: u64,
    wanted: u64,
) -> Result<(), LogError> {
    let extent = &segment.header().extent;
    let is_new = window.0 != segment.number();
    if is_new {
        *window = (segment.number(), used);
    }
    let from = window.1.max(used);
    let to = wanted.min(extent.data_bytes);
    let start = if is_new && used == 0 { 0 } else { extent.data_offset + from };
    let end = (extent.data_offset + to).next_multiple_of(extent.page_bytes).min(extent.file_bytes);
    let start = start / extent.page_bytes * extent.page_bytes;
    if to > from && end > start {
        segment.map().populate(start..end).map_err(|why| trouble("populate", "")(why).as_append())?;
        window.1 = to;
    }
    Ok(())
}

/// A new empty segment, of a spare where there is one that nobody reads; complete on the medium, not announced.
pub(super) fn make<M: Medium>(
    medium: &M,
    settings: &super::shared::Settings,
    log_uuid: &[u8; 16],
    number: u64,
) -> Result<(Segment<M::File>, bool), Trouble> {
    let (uuid, _) = clock::uuid().map_err(trouble("read", "/dev/urandom"))?;
    let created_ns = clock::realtime_ns();
    let header = SegmentHeader { uuid, created_ns, log_uuid: *log_uuid, number, extent: settings.extent };
    let names = medium.names().map_err(trouble("list", ""))?;
    for spare in names.iter().filter(|name| matches!(Name::of(name), Name::Spare(_))) {
        match Segment::make_of_spare(medium, spare, header, settings.boot) {
            Ok(Some(segment)) => return Ok((segment, true)),
            // Somebody reads it, or it is of another size, or it can't be opened: its readers keep it.
            Ok(None) | Err(_) => drop(medium.remove(spare)),
        }
    }
    let ground = match settings.durability {
        Durability::EachRecord => Ground::Written,
        _ => Ground::Allocated,
    };
    Segment::make(medium, header, settings.boot, ground).map(|segment| (segment, false))
}

/// Brings its name to the medium, and then the record of it.
pub(super) fn announce<M: Medium>(
    medium: &M,
    segment: &Segment<M::File>,
    base: Option<u64>,
    add: impl FnOnce(&Record) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let (header, name) = (segment.header(), names::segment(segment.number()));
    medium.sync_names().map_err(trouble("sync the name of", &name))?;
    let data_bytes = header.extent.data_bytes;
    add(&Record::Prepared { number: header.number, uuid: header.uuid, data_bytes, base })
}

/// The threads; they end when the appender says that it is over.
#[derive(Debug)]
pub(super) struct Helpers(Vec<std::thread::JoinHandle<()>>);

impl Helpers {
    /// Starts them.
    pub(super) fn start<M: Medium>(shared: &Arc<Shared<M>>) -> Result<Self, Trouble> {
        let mut this = Self(vec![]);
        let started = this.start_all(shared);
        if started.is_err() {
            this.stop(shared);
        }
        started.map(|()| this)
    }

    fn start_all<M: Medium>(&mut self, shared: &Arc<Shared<M>>) -> Result<(), Trouble> {
        self.start_one("log-pages", shared, &shared.pages, run_pages)?;
        self.start_one("log-ahead", shared, &shared.ahead, run_ahead)?;
        self.start_one("log-behind", shared, &shared.behind, run_behind)
    }

    fn start_one<M: Medium>(
        &mut self,
        name: &str,
        shared: &Arc<Shared<M>>,
        bell: &Bell,
        run: fn(&Shared<M>),
    ) -> Result<(), Trouble> {
        let its = shared.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || run(&its));
        let thread = thread.map_err(trouble("start a thread for", ""))?;
        bell.belongs_to(thread.thread());
        self.0.push(thread);
        Ok(())
    }

    /// Ends them, and waits until they have.
    pub(super) fn stop<M: Medium>(&mut self, shared: &Shared<M>) {
        shared.hands().is_over = true;
        for bell in [&shared.pages, &shared.ahead, &shared.behind] {
            bell.ring();
        }
        for thread in self.0.drain(..) {
            // A helper that panicked has said so; the appender can do without.
            let _ = thread.join();
        }
    }

    /// Leaves them alone, on the other side of a fork, where they are not.
    pub(super) fn forget(&mut self) {
        self.0.drain(..).for_each(std::mem::forget);
    }
}

fn run_pages<M: Medium>(shared: &Shared<M>) {
    while !shared.hands().is_over {
        match shared.populate() {
            Ok(()) => std::thread::park(),
            // Who appends makes them itself, one by one.
            Err(_) => std::thread::park_timeout(PAUSE),
        }
    }
}

fn run_ahead<M: Medium>(shared: &Shared<M>) {
    while !shared.hands().is_over {
        let is_short = shared.hands().prepared.is_empty();
        match if is_short { shared.prepare() } else { Ok(()) } {
            Ok(()) => {
                // Its first pages, if it is that late.
                shared.pages.ring();
                std::thread::park();
            }
            // Who appends tries itself when it comes to that, and says so.
            Err(_) => std::thread::park_timeout(PAUSE),
        }
    }
}

fn run_behind<M: Medium>(shared: &Shared<M>) {
    let every = match shared.settings.durability {
        Durability::Interval(every) => Some(every),
        _ => None,
    };
    // An interval that ends behind the end of time is never due.
    let mut due = every.and_then(|every| Instant::now().checked_add(every));
    while !shared.hands().is_over {
        let now = Instant::now();
        let is_due = due.is_some_and(|due| now >= due);
        let outcome = shared.turn_behind(is_due);
        if is_due {
            due = every.and_then(|every| now.checked_add(every));
        }
        let until_due = due.map(|due| due.saturating_duration_since(Instant::now()));
        // Retention by age has nobody else to wake for it.
        let until_old = shared.settings.keep_for.map(|keep| (keep / 8).clamp(PAUSE, Duration::from_secs(60)));
        let until_again = outcome.is_err().then_some(PAUSE);
        match [until_due, until_old, until_again].into_iter().flatten().min() {
            Some(left) => std::thread::park_timeout(left),
            None => std::thread::park(),
        }
    }
}
