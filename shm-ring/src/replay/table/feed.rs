//! Feed: the rows of a table into a stage.
//!
//! ```text
//!   mapped        | batch: all of its rows, in place          | next batch ...
//!   compressed    | batch: unpacked into memory               |
//!   parked        | block of rows | block | ...               |     as many rows as a block's bytes are, or one, copied
//! ```
//!
//! (I1) the place of a row is its number in the table, and so is its sequence; (I2) what is staged, and what is held back, can be read: where
//! the map is given up, such rows are copied; (I3) rows in front of one that can't be read are staged before the error is told; (I4) a table
//! is mapped exactly as long as its seat has leave for it; (I5) nothing is staged of what a cut has taken; (I6) where rows are copied from the
//! file, `LOADED_BYTES_MAX` of them lie in memory, but for those that are held back, and one row more.

use super::ahead::{Ahead, Cursor};
use super::batch::TableBatch;
use super::buffers::Buffers;
use super::column::ColumnData;
use super::message::BatchHead;
use super::open::Table;
use super::reader::{Home, Reader, View};
use super::row::Row;
use super::schema::{Layout, TableColumn};
use super::time::{TimeColumn, no_time};
use crate::error::Error;
use crate::map::advice::{self, Advised};
use crate::map::budget::MapUsage;
use crate::map::file::{io_error, page_bytes};
use crate::map::readonly::ReadOnly;
use crate::map::reserve::is_short;
use crate::replay::feed::{Feed, Filled};
use crate::replay::pool::Looked;
use crate::replay::rows::TimeUnit;
use crate::replay::seat::Seat;
use crate::replay::shared::{Shared, add};
use crate::replay::source::{SourceError, Stamp};
use crate::replay::stage::{Order, Place, Stage, Tags};
use crate::snapshot::Snapshot;
use crate::snapshot::open::{Checked, plain_of};
use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// What is remembered of a column, and of a batch.
const COLUMN_BYTES: u64 = 256;
const BATCH_BYTES: u64 = 32;
/// What is copied at once of a file that is neither mapped nor compressed, unless a row alone is more.
const LOADED_BYTES_MAX: u64 = 4 << 20;
/// What one row of such a file may have.
const ROW_BYTES_MAX: u64 = 64 << 20;

/// Rows of a table, for a stage.
#[derive(Debug)]
pub(crate) struct TableFeed {
    table: Table,
    home: Arc<Home>,
    may_be_mapped: bool,
    seat: Seat,
    ahead: Ahead,
    time: TimeColumn,
    /// Rows before are passed over.
    since_ns: u64,
    /// The number of the first row of each batch, as far as it is known, and of the one behind the last of these.
    firsts: Vec<u64>,
    /// What is read next: a batch, and a row in it.
    next: (usize, usize),
    /// The batch that was looked at last.
    head: Option<(usize, BatchHead)>,
    /// What rows that are staged, or will be next, lie in.
    loaded: VecDeque<Loaded>,
}

/// Rows that are there.
#[derive(Debug)]
struct Loaded {
    /// The number of the first one in the table.
    first: u64,
    rows: TableBatch,
    /// The next one to be staged.
    at: usize,
    /// Where the batch is in the file.
    body_at: u64,
}

impl TableFeed {
    /// From the first row on.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: the table has no column of times, or not that one; as of [`Table::open`].
    pub(crate) fn open(
        path: &Path,
        looked: Looked,
        time: Option<(&str, TimeUnit)>,
        pool: &Arc<Shared>,
    ) -> Result<Self, Error> {
        let home = Arc::new(Home::new(path, &looked.found, pool));
        let is_table = looked.is_table();
        let checked = plain_of(looked.file, looked.found.len());
        let mut may_be_mapped = is_table
            && checked.may_be_mapped_by(path, &looked.found, |ask| pool.is_local(home.device(), ask));
        let mut seat = Seat::new(pool)?;
        let table = match attach(&mut seat, &mut may_be_mapped, &checked, path)? {
            Some(snapshot) => {
                let table = Table::of(path, &snapshot.clone(), Reader::Mapped(snapshot))?;
                if let (Some(_), Reader::Mapped(snapshot)) = (pool.memory_bytes, table.reader()) {
                    snapshot.map().let_go(0..checked.len);
                    advice::forget_cached_of(&checked.file, 0..checked.len);
                }
                table
            }
            None => {
                let opened = home.lend(checked);
                Table::of(path, opened.bytes(), Reader::Parked(Arc::clone(&home)))?
            }
        };
        let table = match time {
            Some((name, unit)) => table.time_column(name, unit)?,
            None => table,
        };
        let time = table.time().ok_or_else(|| no_time(table.columns(), None))?;
        if pool.memory_bytes.is_some() {
            seat.charge(extra_bytes(&table))?;
        }
        Ok(Self {
            table,
            home,
            may_be_mapped,
            seat,
            ahead: Ahead::default(),
            time,
            since_ns: 0,
            firsts: vec![0],
            next: (0, 0),
            head: None,
            loaded: VecDeque::new(),
        })
    }

    /// Looks where it is, before a refill: may it have a map, must it give one up?
    fn settle(&mut self, stage: &Stage) -> Result<(), Error> {
        if self.seat.yields() {
            self.leave_map(stage)?;
            self.seat.evict();
            return Ok(());
        }
        if self.seat.is_mapped()
            || !self.may_be_mapped
            || self.next.0 >= self.table.n_batches()
            || self.loaded.back().is_some_and(|loaded| loaded.at < loaded.rows.n_rows())
            || !self.seat.may_ask()
            || !self.seat.sit(usage(self.home.len_bytes()))
        {
            return Ok(());
        }
        let checked = self.home.open().inspect_err(|_| self.seat.stand())?;
        let path = self.table.path().to_path_buf();
        if let Some(snapshot) = attach(&mut self.seat, &mut self.may_be_mapped, &checked, &path)? {
            self.table = self.table.with_reader(Reader::Mapped(snapshot));
            self.ahead.reset();
        }
        Ok(())
    }

    /// Lets go of the map; what may still be handed out is copied.
    fn leave_map(&mut self, stage: &Stage) -> Result<(), Error> {
        let parked = self.table.with_reader(Reader::Parked(Arc::clone(&self.home)));
        let mapped = std::mem::replace(&mut self.table, parked);
        let cursor = self.loaded.back().map(|loaded| loaded.first + loaded.at as u64);
        let copies = match cursor.map(|to| self.copies(least(stage).min(to), to)) {
            Some(Err(error)) => {
                self.table = mapped;
                return Err(error);
            }
            copies => copies.transpose()?.unwrap_or_default(),
        };
        if let Reader::Mapped(snapshot) = mapped.reader() {
            self.ahead.drop_all(&mut self.seat, &View { home: &self.home, snapshot });
        }
        self.loaded = copies;
        if let Some(cursor) = cursor {
            self.next = self.place_of(cursor)?;
        }
        Ok(())
    }

    /// Rows that were staged, from numbers that are known.
    fn copies(&mut self, from: u64, to: u64) -> Result<VecDeque<Loaded>, Error> {
        let (mut from, mut copies) = (from, VecDeque::new());
        while from < to {
            let (at, start) = self.place_of(from)?;
            let head = self.head(at)?;
            let n = usize::try_from(to - from).unwrap_or(usize::MAX);
            let (end, body_at) = (start.saturating_add(n).min(head.n_rows), head.body.start);
            let head = self.head.as_ref().map(|(_, head)| head).expect("looked at above");
            let rows = TableBatch::load(&self.table, head, start..end)?;
            let n_rows = rows.n_rows();
            copies.push_back(Loaded { first: from, rows, at: n_rows, body_at });
            from += n_rows as u64;
        }
        Ok(copies)
    }

    /// The batch of a row whose number is less than that of one that is known, and its place there.
    fn place_of(&self, row: u64) -> Result<(usize, usize), Error> {
        let at = self.firsts.partition_point(|first| *first <= row) - 1;
        Ok((at, usize::try_from(row - self.firsts[at]).map_err(|_| self.too_many())?))
    }

    fn drop_all(&mut self) {
        if let Reader::Mapped(snapshot) = self.table.reader() {
            self.ahead.drop_all(&mut self.seat, &View { home: &self.home, snapshot });
        }
    }

    /// Stages rows of what was loaded last.
    fn fill_from_loaded(&mut self, stage: &mut Stage, n_staged: &mut usize) -> Result<(), SourceError> {
        let Self { loaded, time, since_ns, table, .. } = self;
        let Some(Loaded { first, rows, at, .. }) = loaded.back_mut() else { return Ok(()) };
        let (times, width) = (rows.data(time.at), time.width);
        let values = times.fixed();
        while *at < rows.n_rows() && stage.room() > 0 {
            let (mut found, mut n, mut failure) = ([(0, 0); Stage::ROOM], 0, None);
            let mut row = *at;
            while row < rows.n_rows() && n < stage.room() {
                let sequence = *first + row as u64;
                let bytes = &values[row * width..(row + 1) * width];
                match if times.is_null(row) { Err(None) } else { time.ns(bytes).map_err(Some) } {
                    Ok(timestamp_ns) if timestamp_ns >= *since_ns => {
                        found[n] = (timestamp_ns, sequence);
                        n += 1;
                    }
                    Ok(_) => {}
                    Err(value) => {
                        failure = Some((sequence, value));
                        break;
                    }
                }
                row += 1;
            }
            // Before any of it is believed.
            table.check()?;
            *at = row;
            for (timestamp_ns, sequence) in &found[..n] {
                let stamp = Stamp { timestamp_ns: *timestamp_ns, sequence: *sequence };
                stage.push(stamp, *sequence, 0, Tags::default());
            }
            *n_staged += n;
            if let Some((sequence, value)) = failure {
                return Err(time.missing(table.columns(), sequence, value));
            }
        }
        Ok(())
    }

    /// The window goes along with the cursor.
    fn move_window(&mut self, stage: &Stage) {
        let Self { table, home, seat, ahead, head, loaded, .. } = self;
        let (Reader::Mapped(snapshot), Some((_, head))) = (table.reader(), head) else { return };
        let (Some(front), Some(back)) = (loaded.front(), loaded.back()) else { return };
        // Rows that were copied before there was a map.
        if back.body_at != head.body.start || !back.rows.is_of(table) {
            return;
        }
        let pinned = match least(stage).checked_sub(back.first) {
            Some(at) => usize::try_from(at).unwrap_or(usize::MAX),
            None => 0,
        };
        let cursor = Cursor { head, row: back.at, pinned, front: front.body_at };
        ahead.moved(seat, &View { home, snapshot }, &cursor);
    }

    /// Goes on to the next rows; `false`: there are none.
    fn load(&mut self, stage: &Stage) -> Result<bool, Error> {
        self.let_go(stage);
        while self.next.0 < self.table.n_batches() {
            let (at, start) = self.next;
            let first = self.first_of(at)?;
            let n_rows = self.head(at)?.n_rows;
            if start >= n_rows {
                self.next = (at + 1, 0);
                continue;
            }
            let is_whole = self.is_whole(at)?;
            let end = self.window_end(at, start)?;
            let head = self.head.as_ref().map(|(_, head)| head).expect("looked at above");
            if let (Reader::Mapped(snapshot), Some(_)) = (self.table.reader(), head.codec) {
                // All of it is about to be read.
                let front = self.loaded.front().map_or(head.body.start, |front| front.body_at);
                let cursor = Cursor { head, row: 0, pinned: 0, front };
                self.ahead.moved(&mut self.seat, &View { home: &self.home, snapshot }, &cursor);
            }
            let body_at = head.body.start;
            // What is in place costs the same as a whole.
            let (rows, first, next, row) = if is_whole {
                (TableBatch::load(&self.table, head, 0..n_rows)?, first, n_rows, start)
            } else {
                let rows = self.load_window(head, start..end)?;
                let next = start + rows.n_rows();
                (rows, first + start as u64, next, 0)
            };
            self.next = (at, next);
            if let (Reader::Mapped(snapshot), Some(_)) = (self.table.reader(), head.codec) {
                self.ahead.unpacked(&mut self.seat, &View { home: &self.home, snapshot }, head);
            }
            if !self.table.is_mapped() && self.seat.shared.memory_bytes.is_some() {
                // As the file was closed again.
                add(&self.seat.shared.counts.n_advice, 2);
                add(&self.seat.shared.counts.dropped_bytes, rows.copied_bytes());
            }
            self.loaded.push_back(Loaded { first, rows, at: row, body_at });
            return Ok(true);
        }
        Ok(false)
    }

    /// As many of these rows as may lie in memory at once, one at least.
    fn load_window(&self, head: &BatchHead, mut rows: Range<usize>) -> Result<TableBatch, Error> {
        loop {
            let most = if rows.len() == 1 { ROW_BYTES_MAX } else { LOADED_BYTES_MAX };
            if let Some(loaded) = TableBatch::load_at_most(&self.table, head, rows.clone(), most)? {
                return Ok(loaded);
            }
            if rows.len() == 1 {
                return Err(self.too_large());
            }
            // What they have differs by so much.
            rows.end = rows.start + rows.len() / 2;
        }
    }

    #[cold]
    fn too_large(&self) -> Error {
        let path = self.table.path().as_os_str();
        let way = "let the table be mapped: a file of this user that others can't write, not on a network, within the budget of maps";
        let what = "a row of more than 64 MiB in a table that is copied";
        Error::Unsupported { what, reason: format!("{path:?}: {way}") }
    }

    /// Whether as much is in memory, of rows that were copied from the file, as shall be.
    fn is_full(&self) -> bool {
        let copied = |loaded: &Loaded| loaded.rows.copied_bytes();
        !self.table.is_mapped() && self.loaded.iter().map(copied).sum::<u64>() >= LOADED_BYTES_MAX
    }

    /// Drops what no row is staged of any more.
    fn let_go(&mut self, stage: &Stage) {
        let least = least(stage);
        while let Some(front) = self.loaded.front() {
            let is_read = front.at == front.rows.n_rows();
            if !is_read || front.first + front.rows.n_rows() as u64 > least {
                break;
            }
            self.loaded.pop_front();
        }
    }

    /// A row that is staged.
    #[inline]
    pub(crate) fn row(&self, place: u64) -> Row<'_> {
        let loaded =
            self.loaded.iter().rev().find(|loaded| loaded.first <= place).expect("a staged row is kept");
        loaded.rows.row(usize::try_from(place - loaded.first).expect("a row of a batch"))
    }

    /// When a row was. `seen` is the column of times of the batch that was looked at last, where it costs no more than one of its values.
    fn time_of(&mut self, row: u64, seen: &mut Option<(usize, ColumnData)>) -> Result<u64, SourceError> {
        let at = self.firsts.partition_point(|first| *first <= row) - 1;
        let in_batch = usize::try_from(row - self.firsts[at]).map_err(|_| self.too_many())?;
        let of = |times: &ColumnData, time: &TimeColumn, row: usize| {
            if times.is_null(row) {
                Err(None)
            } else {
                time.ns(times.bytes(row).map_err(|_| None)?).map_err(Some)
            }
        };
        let ns = match seen {
            Some((known, times)) if *known == at => of(times, &self.time, in_batch),
            _ => {
                self.head(at)?;
                let (_, head) = self.head.as_ref().expect("looked at just now");
                let table = &self.table;
                let lent = table.reader().lend()?;
                let mut buffers = Buffers::new(&*lent, head, table.path(), table.is_mapped())?;
                let layouts = table.columns().iter().map(TableColumn::layout);
                let span =
                    head.spans(layouts, table.path()).nth(self.time.at).expect("the column is there")?;
                let layout = Layout::Fixed { width: self.time.width };
                if buffers.is_in_place() || head.codec.is_some() {
                    let times = ColumnData::read(&mut buffers, &span, layout, 0..head.n_rows)?;
                    let ns = of(&times, &self.time, in_batch);
                    *seen = Some((at, times));
                    ns
                } else {
                    of(&ColumnData::read(&mut buffers, &span, layout, in_batch..in_batch + 1)?, &self.time, 0)
                }
            }
        };
        ns.map_err(|value| self.time.missing(self.table.columns(), row, value))
    }

    /// The number of a batch's first row.
    fn first_of(&mut self, at: usize) -> Result<u64, Error> {
        while self.firsts.len() <= at {
            let known = self.firsts.len() - 1;
            let n_rows = self.head(known)?.n_rows as u64;
            let first = self.firsts[known].checked_add(n_rows).filter(|sum| *sum < 1 << 63);
            self.firsts.push(first.ok_or_else(|| self.too_many())?);
        }
        Ok(self.firsts[at])
    }

    fn too_many(&self) -> Error {
        let (expected, found) = ("less than 2^63".into(), "more".into());
        Error::Corrupt { path: self.table.path().into(), what: "number of rows", expected, found }
    }

    fn head(&mut self, at: usize) -> Result<&BatchHead, Error> {
        if self.head.as_ref().is_none_or(|(known, _)| *known != at) {
            self.head = Some((at, self.table.head(at)?));
        }
        Ok(self.head.as_ref().map(|(_, head)| head).expect("set above"))
    }

    /// Whether all rows of a batch are there at once.
    fn is_whole(&mut self, at: usize) -> Result<bool, Error> {
        Ok(self.table.is_mapped() || self.head(at)?.codec.is_some())
    }

    /// Up to where rows from there on are loaded.
    fn window_end(&mut self, at: usize, start: usize) -> Result<usize, Error> {
        let (is_whole, block_bytes) = (self.is_whole(at)?, self.seat.block_bytes());
        let head = self.head(at)?;
        if is_whole {
            return Ok(head.n_rows);
        }
        let (least, most) = (Stage::ROOM as u64, LOADED_BYTES_MAX / head.row_bytes());
        let n = (block_bytes / head.row_bytes()).max(least.min(most)).max(1);
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        Ok(start.saturating_add(n).min(head.n_rows))
    }
}

/// The least number of a row that may still be handed out.
fn least(stage: &Stage) -> u64 {
    let there = |place| if let Place::There(at) = place { Some(at) } else { None };
    stage.waiting().filter_map(|staged| there(staged.place())).min().unwrap_or(u64::MAX)
}

/// Maps a file, if it may be and there is leave, and the system has a map.
fn attach(
    seat: &mut Seat,
    may_be_mapped: &mut bool,
    checked: &Checked,
    path: &Path,
) -> Result<Option<Snapshot>, Error> {
    if !*may_be_mapped || !seat.sit(usage(checked.len)) {
        return Ok(None);
    }
    match Snapshot::of(checked) {
        Ok(snapshot) => {
            if seat.shared.memory_bytes.is_some() {
                snapshot.map().read_nothing_ahead();
            }
            Ok(Some(snapshot))
        }
        Err(error) => {
            seat.stand();
            // The system's own budget is used up, or the file system maps nothing.
            if is_short(&error) || error.raw_os_error() == Some(libc::ENODEV) {
                *may_be_mapped = is_short(&error);
                return Ok(None);
            }
            Err(io_error("map", path)(error))
        }
    }
}

/// What a map of so many bytes takes.
fn usage(len_bytes: u64) -> MapUsage {
    MapUsage { descriptors: ReadOnly::DESCRIPTORS, ..MapUsage::map(len_bytes) }
}

/// What a table takes besides what every source does: what its footer says, and of each buffer the pages on both sides of the window.
fn extra_bytes(table: &Table) -> u64 {
    let n_buffers: usize = table.columns().iter().map(|column| column.layout().n_buffers()).sum();
    n_buffers as u64 * 2 * page_bytes()
        + table.columns().len() as u64 * COLUMN_BYTES
        + table.n_batches() as u64 * BATCH_BYTES
}

impl Feed for TableFeed {
    /// Stages the next rows.
    fn fill(&mut self, stage: &mut Stage) -> Result<Filled, SourceError> {
        if self.loaded.len() > 1 {
            self.let_go(stage);
        }
        self.settle(stage)?;
        let was_mapped = self.seat.is_mapped();
        let (mut n_staged, mut n_bytes) = (0, 0);
        while stage.room() > 0 {
            if was_mapped {
                // In front of the first touch.
                self.move_window(stage);
            }
            let before = n_staged;
            let filled = self.fill_from_loaded(stage, &mut n_staged);
            if let Some((_, head)) = &self.head {
                n_bytes += (n_staged - before) as u64 * head.row_bytes();
            }
            match filled {
                Ok(()) if stage.room() == 0 => break,
                Ok(()) => {}
                // The row is still the next one.
                Err(_) if n_staged > 0 => break,
                Err(error) => return Err(error),
            }
            // These are handed out before more of them take memory.
            if n_staged > 0 && self.is_full() {
                break;
            }
            match self.load(stage) {
                Ok(true) => {}
                Ok(false) => {
                    if n_staged == 0 {
                        self.drop_all();
                    }
                    break;
                }
                Err(_) if n_staged > 0 => break,
                Err(error) => {
                    self.table.check()?;
                    return Err(error.into());
                }
            }
        }
        self.seat.note(n_bytes, was_mapped);
        Ok(if n_staged > 0 { Filled::Some } else { Filled::End })
    }

    fn end(&mut self, stage: &mut Stage) {
        // Where what is held back can't be copied, the map stays.
        if !self.table.is_mapped() || self.leave_map(stage).is_ok() {
            self.seat.end();
        }
    }

    /// The first row of that time or later is the next one. Rows are taken to be in order, but for as many as are put in order; where they
    /// are passed on as they are, all of them are looked at.
    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.go_to(since_ns, 0)?;
        self.since_ns = since_ns;
        Ok(())
    }

    fn seek_before(&mut self, until_ns: u64) -> Result<(), SourceError> {
        match until_ns.checked_add(1) {
            Some(behind_ns) => self.go_to(behind_ns, 1),
            None => self.go_to(u64::MAX, 1),
        }
    }
}

impl TableFeed {
    /// So many rows in front of the first one of that time or later.
    fn go_to(&mut self, since_ns: u64, n_before: u64) -> Result<(), SourceError> {
        self.drop_all();
        self.ahead.reset();
        self.loaded.clear();
        (self.since_ns, self.next) = (0, (0, 0));
        let order = self.seat.shared.order;
        if order == Order::Pass {
            return Ok(());
        }
        let displaced = order.n_held() as u64;
        let n_rows = self.first_of(self.table.n_batches())?;
        let (mut low, mut high, mut seen) = (0, n_rows, None);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time_of(middle, &mut seen)? < since_ns {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        drop(seen);
        // What the search has looked at.
        self.drop_all();
        // A row that is displaced by so many may hide one that is displaced as far the other way.
        self.next =
            self.place_of(low.saturating_sub(displaced.saturating_mul(2).saturating_add(n_before)))?;
        Ok(())
    }
}
