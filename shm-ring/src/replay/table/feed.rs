//! Feed: the rows of a table into a stage.
//!
//! ```text
//!   mapped        | batch: all of its rows, in place          | next batch ...
//!   compressed    | batch: unpacked into memory               |
//!   by pread      | window of rows | window | ...             |     as many rows as the window's bytes are, or one
//!                   ^ kept as long as a row of it is staged; in front of the cursor, a window's part of each buffer is read ahead
//! ```
//!
//! (I1) the place of a row is its number in the table, and so is its sequence; (I2) what is staged, and what is held back, can be read; (I3)
//! rows in front of one that can't be read are staged before the error is told; (I4) nothing is staged of what a cut has taken; (I5) where rows
//! are copied from the file, `LOADED_BYTES_MAX` of them lie in memory, but for those that are held back, and one row more.

use super::batch::TableBatch;
use super::buffers::Buffers;
use super::column::ColumnData;
use super::message::BatchHead;
use super::open::Table;
use super::row::Row;
use super::schema::{Layout, TableColumn};
use super::time::{TimeColumn, no_time};
use crate::error::Error;
use crate::replay::feed::{Feed, Filled};
use crate::replay::source::{SourceError, Stamp};
use crate::replay::stage::{Order, Place, Stage, Tags};
use std::collections::VecDeque;
use std::ops::Range;

/// What is copied at once of a file that is neither mapped nor compressed, unless a row alone is more.
const LOADED_BYTES_MAX: u64 = 4 << 20;
/// What one row of such a file may have.
const ROW_BYTES_MAX: u64 = 64 << 20;

/// Rows of a table, for a stage.
#[derive(Debug)]
pub(crate) struct TableFeed {
    table: Table,
    time: TimeColumn,
    order: Order,
    /// Rows before are passed over.
    since_ns: u64,
    window_bytes: u64,
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
    /// Up to here, rows were asked for ahead; all, where that is not wanted.
    asked: usize,
}

impl TableFeed {
    /// From the first row on; so much is read at once where the table is not mapped, but no less than a stage takes.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: the table has no column of times.
    pub(crate) fn new(table: Table, order: Order, window_bytes: u64) -> Result<Self, Error> {
        let time = table.time().ok_or_else(|| no_time(table.columns(), None))?;
        Ok(Self {
            table,
            time,
            order,
            since_ns: 0,
            window_bytes,
            firsts: vec![0],
            next: (0, 0),
            head: None,
            loaded: VecDeque::new(),
        })
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
                return Err(no_such_time(table, time, sequence, value));
            }
        }
        Ok(())
    }

    /// Has the rows in front of the cursor read, a window of bytes at a time: of each column its part, since these lie far from each other.
    fn read_ahead(&mut self) {
        let (Some(loaded), Some((_, head))) = (self.loaded.back_mut(), &self.head) else { return };
        let n = usize::try_from(self.window_bytes / row_bytes(head)).unwrap_or(usize::MAX).max(Stage::ROOM);
        let end = loaded.rows.n_rows();
        if loaded.asked == end || loaded.asked > loaded.at.saturating_add(n / 2) {
            return;
        }
        let to = loaded.asked.max(loaded.at).saturating_add(n).min(end);
        head.places(&(loaded.asked.max(loaded.at)..to))
            .for_each(|place| self.table.reader().read_ahead(&place));
        loaded.asked = to;
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
            // What is in place costs the same as a whole.
            let (rows, first, at) = if is_whole {
                let rows = TableBatch::load(&self.table, head, 0..n_rows)?;
                self.next = (at, n_rows);
                (rows, first, start)
            } else {
                let rows = self.load_window(head, start..end)?;
                self.next = (at, start + rows.n_rows());
                (rows, first + start as u64, 0)
            };
            let is_long = self.table.is_mapped()
                && head.codec.is_none()
                && row_bytes(head) * rows.n_rows() as u64 > self.window_bytes;
            let asked = if is_long { at } else { rows.n_rows() };
            self.loaded.push_back(Loaded { first, rows, at, asked });
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
        let there = |place| if let Place::There(at) = place { Some(at) } else { None };
        let least = stage.waiting().filter_map(|staged| there(staged.place())).min().unwrap_or(u64::MAX);
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
        ns.map_err(|value| no_such_time(&self.table, &self.time, row, value))
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
        let (is_whole, window_bytes) = (self.is_whole(at)?, self.window_bytes);
        let head = self.head(at)?;
        if is_whole {
            return Ok(head.n_rows);
        }
        let (least, most) = (Stage::ROOM as u64, LOADED_BYTES_MAX / row_bytes(head));
        let n = (window_bytes / row_bytes(head)).max(least.min(most)).max(1);
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        Ok(start.saturating_add(n).min(head.n_rows))
    }
}

/// What a row has on average.
fn row_bytes(head: &BatchHead) -> u64 {
    ((head.body.end - head.body.start) / head.n_rows.max(1) as u64).max(1)
}

impl Feed for TableFeed {
    /// Stages the next rows.
    fn fill(&mut self, stage: &mut Stage) -> Result<Filled, SourceError> {
        let mut n_staged = 0;
        while stage.room() > 0 {
            self.read_ahead();
            match self.fill_from_loaded(stage, &mut n_staged) {
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
                Ok(false) => break,
                Err(_) if n_staged > 0 => break,
                Err(error) => {
                    self.table.check()?;
                    return Err(error.into());
                }
            }
        }
        Ok(if n_staged > 0 { Filled::Some } else { Filled::End })
    }

    /// The first row of that time or later is the next one. Rows are taken to be in order, but for as many as are put in order; where they
    /// are passed on as they are, all of them are looked at.
    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.loaded.clear();
        self.since_ns = since_ns;
        self.next = (0, 0);
        let displaced = match self.order {
            Order::Pass => return Ok(()),
            Order::Error => 0,
            Order::Reorder { n_records } => n_records as u64,
        };
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
        // A row that is displaced by so many may hide one that is displaced as far the other way.
        let start = low.saturating_sub(displaced.saturating_mul(2));
        let at = self.firsts.partition_point(|first| *first <= start) - 1;
        self.next = (at, usize::try_from(start - self.firsts[at]).map_err(|_| self.too_many())?);
        Ok(())
    }
}

#[cold]
fn no_such_time(table: &Table, time: &TimeColumn, row: u64, value: Option<i128>) -> SourceError {
    let column = table.columns()[time.at].name().into();
    let found = value.map_or("null".into(), |value| value.to_string());
    SourceError::NoTime { row, column, found }
}
