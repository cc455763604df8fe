//! Row feed: a file of rows of one length, each with its time at one place, into a stage.
//!
//! ```text
//!   plain or sealed file | row 0 | row 1 | ...            row: | ... | time, 8 bytes | ... |
//!                        ^ 0, or behind the header                    ^ timestamp_at
//! ```
//!
//! A file is mapped by the rules of [`Snapshot`](crate::Snapshot): not one that others can write, and none of a network; those are copied.
//!
//! (I1) the number of rows is what it was at opening; (I2) a time that is none is an error that names the row; (I3) a file that is read anew
//! is the same file, or an error.
//! Compares no checksum: plain files have none, and that of a sealed one is of all its bytes.

use super::feed::{Feed, Filled, keep_copies, pinned, stage_record};
use super::rows::RowLayout;
use super::seat::Seat;
use super::shared::{Shared, add};
use super::source::{SourceError, Stamp};
use super::stage::{Stage, Tags};
use super::window::Windowed;
use crate::error::{Error, FileKind};
use crate::map::advice::{self, Advised};
use crate::map::budget::MapUsage;
use crate::map::disk::Identity;
use crate::map::file::{self, io_error, read_at_most};
use crate::map::readonly::ReadOnly;
use crate::map::reserve::is_short;
use crate::snapshot::mmap::Mapped;
use crate::snapshot::open::{self, Checked};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a file.
#[derive(Debug)]
pub(crate) struct RowFeed {
    rows: Rows,
    layout: RowLayout,
    seat: Seat,
    /// The next row.
    row: u64,
    n_rows: u64,
    /// The first row of the block.
    block_row: u64,
    block: Vec<u8>,
    is_begun: bool,
}

/// The file.
#[derive(Debug)]
struct Rows {
    path: PathBuf,
    identity: Identity,
    kind: FileKind,
    /// Where the first row is.
    start: u64,
    len_bytes: u64,
    may_be_mapped: bool,
    map: Option<Mapped>,
}

impl RowFeed {
    /// Opens a plain file, or a sealed one.
    pub(crate) fn open(path: &Path, layout: RowLayout, shared: &Arc<Shared>) -> Result<Self, Error> {
        layout.check()?;
        let checked = shared.open(|| open::plain_or_sealed(path))?;
        let found = checked.file.metadata().map_err(io_error("examine", path))?;
        let identity = Identity::of(&found);
        let row_bytes = u64::from(layout.row_bytes);
        if checked.len % row_bytes != 0 {
            return Err(Error::Invalid {
                option: "row_bytes",
                expected: format!("a divisor of the {} bytes of {}", checked.len, path.display()),
                found: row_bytes.to_string(),
            });
        }
        let may_be_mapped =
            checked.may_be_mapped_by(path, &found, |ask| shared.is_local(identity.device, ask));
        let rows = Rows {
            path: file::absolute(path),
            identity,
            kind: checked.kind,
            start: checked.start,
            len_bytes: checked.len,
            may_be_mapped,
            map: None,
        };
        if shared.memory_bytes.is_some() {
            // The look at how it begins has marked pages: who reads these has more read ahead than any window.
            advice::forget_cached_of(&checked.file, 0..checked.start.saturating_add(checked.len));
        }
        let n_rows = checked.len / row_bytes;
        let seat = Seat::new(shared)?;
        let mut this =
            Self { rows, layout, seat, row: 0, n_rows, block_row: 0, block: vec![], is_begun: false };
        this.sit(&checked)?;
        Ok(this)
    }

    /// Maps the file, if it may be and there is leave.
    fn sit(&mut self, checked: &Checked) -> Result<(), Error> {
        let rows = &mut self.rows;
        if !rows.may_be_mapped || !self.seat.sit(rows.usage()) {
            return Ok(());
        }
        match Mapped::of(checked) {
            Ok(map) => {
                if self.seat.shared.memory_bytes.is_some() {
                    map.map().read_nothing_ahead();
                }
                rows.map = Some(map);
            }
            // The system's own budget is used up, or the file system maps nothing.
            Err(error) if is_short(&error) || error.raw_os_error() == Some(libc::ENODEV) => {
                rows.may_be_mapped &= is_short(&error);
                self.seat.stand();
            }
            Err(error) => {
                self.seat.stand();
                return Err(io_error("map", &rows.path)(error));
            }
        }
        self.is_begun = false;
        Ok(())
    }

    /// Opens the file again that was opened first.
    fn reopen(&self) -> Result<Checked, Error> {
        let rows = &self.rows;
        let mut checked = self.seat.shared.open(|| open::plain(&rows.path))?;
        let found = checked.file.metadata().map_err(io_error("examine", &rows.path))?;
        if Identity::of(&found) != rows.identity {
            return Err(Error::Corrupt {
                path: rows.path.clone(),
                what: "file",
                expected: "the one that was opened first".into(),
                found: "another one of that name".into(),
            });
        }
        if found.len() < rows.start.saturating_add(rows.len_bytes) {
            return Err(self.truncated(found.len()));
        }
        // The rows of a sealed file begin behind its header.
        (checked.start, checked.len) = (rows.start, rows.len_bytes);
        Ok(checked)
    }

    fn settle(&mut self, stage: &mut Stage) -> Result<(), SourceError> {
        if self.seat.yields() {
            self.seat.evict();
            self.leave_map(stage);
        } else if self.rows.may_be_mapped
            && !self.seat.is_mapped()
            && self.is_block_read()
            && self.row < self.n_rows
            && self.seat.may_ask()
            && self.seat.sit(self.rows.usage())
        {
            keep_copies(stage, self.base());
            let checked = self.reopen().inspect_err(|_| self.seat.stand())?;
            self.sit(&checked)?;
            if self.rows.map.is_some() {
                self.block = vec![];
            }
        }
        Ok(())
    }

    /// Lets go of the map, or of the block; what is held back is copied.
    fn leave_map(&mut self, stage: &mut Stage) {
        keep_copies(stage, self.base());
        let offset = self.offset();
        self.seat.window.drop_all(&self.seat.shared, &self.rows, offset);
        self.rows.map = None;
    }

    fn is_block_read(&self) -> bool {
        self.row >= self.block_row + self.block.len() as u64 / u64::from(self.layout.row_bytes)
            || self.row < self.block_row
    }

    /// The next rows, copied.
    fn copy_block(&mut self, stage: &mut Stage) -> Result<(), SourceError> {
        let row_bytes = u64::from(self.layout.row_bytes);
        let n_rows = (self.seat.block_bytes() / row_bytes).max(1).min(self.n_rows - self.row);
        keep_copies(stage, self.base());
        let checked = self.reopen()?;
        let length = usize::try_from(n_rows * row_bytes).map_err(|_| too_long(&self.rows.path))?;
        self.block.resize(length, 0);
        self.block_row = self.row;
        let offset = self.rows.start + self.row * row_bytes;
        let is_capped = self.seat.shared.memory_bytes.is_some();
        if is_capped {
            advice::read_nothing_ahead_of(&checked.file);
        }
        let n = read_at_most(&checked.file, &mut self.block, offset)
            .map_err(io_error("read", &self.rows.path))?;
        if n < length {
            return Err(self.truncated(offset + n as u64).into());
        }
        if is_capped {
            advice::forget_cached_of(&checked.file, 0..offset + n as u64);
            add(&self.seat.shared.counts.n_advice, 2);
            add(&self.seat.shared.counts.dropped_bytes, n as u64);
        }
        Ok(())
    }

    fn truncated(&self, found_bytes: u64) -> Error {
        let expected_bytes = self.rows.start + self.rows.len_bytes;
        Error::Truncated { kind: self.rows.kind, path: self.rows.path.clone(), expected_bytes, found_bytes }
    }

    /// The file has lost pages that are mapped.
    #[cold]
    fn cut(&self) -> SourceError {
        let found =
            std::fs::metadata(&self.rows.path).ok().filter(|found| Identity::of(found) == self.rows.identity);
        self.truncated(found.map_or(0, |found| found.len())).into()
    }

    /// Where the next row is in the map.
    fn offset(&self) -> u64 {
        self.row * u64::from(self.layout.row_bytes)
    }

    /// The rows from the next one on that are at hand.
    #[inline(always)]
    fn at_hand(&self) -> (&[u8], usize) {
        let row_bytes = self.layout.row_bytes as usize;
        let first = if self.rows.map.is_some() { 0 } else { self.block_row };
        let at = usize::try_from(self.row.saturating_sub(first)).unwrap_or(usize::MAX);
        (self.base(), at.saturating_mul(row_bytes))
    }

    /// The time of a row, of whichever place; for a search.
    fn time_at(&self, row: u64, file: Option<&File>) -> Result<u64, SourceError> {
        let row_bytes = u64::from(self.layout.row_bytes);
        let at = row * row_bytes + u64::from(self.layout.timestamp_at);
        let mut word = [0; 8];
        match file {
            None => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let found = self.base().get(at..).and_then(|rest| rest.first_chunk());
                word = *found.ok_or_else(|| self.truncated(0))?;
            }
            Some(file) => {
                let at = self.rows.start + at;
                let n = read_at_most(file, &mut word, at).map_err(io_error("read", &self.rows.path))?;
                if n < word.len() {
                    return Err(self.truncated(at + n as u64).into());
                }
            }
        }
        self.layout.time(word, row)
    }

    /// The first row of that time or later, where rows are in order.
    fn search(&self, since_ns: u64, file: Option<&File>) -> Result<u64, SourceError> {
        let (mut low, mut high) = (0, self.n_rows);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time_at(middle, file)? < since_ns { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }
}

impl Feed for RowFeed {
    fn fill(&mut self, stage: &mut Stage) -> Result<Filled, SourceError> {
        self.settle(stage)?;
        if self.row >= self.n_rows {
            return Ok(Filled::End);
        }
        let was_mapped = self.rows.map.is_some();
        if !was_mapped && self.is_block_read() {
            self.copy_block(stage)?;
        }
        if was_mapped {
            // In front of the first touch.
            let offset = self.offset();
            let shared = &self.seat.shared;
            if !std::mem::replace(&mut self.is_begun, true) {
                self.seat.window.begin(shared, &self.rows, offset);
            }
            let pinned = || pinned(stage).unwrap_or(offset);
            self.seat.window.moved(shared, &self.rows, (offset, self.rows.len_bytes), pinned);
        }
        let (layout, room, mut row) = (self.layout, stage.room(), self.row);
        let (base, start) = self.at_hand();
        // In front of the first look, so that no zeros are taken for rows; and behind it.
        let is_cut = |end| self.rows.map.as_ref().is_some_and(|map| map.map().is_cut(end));
        if is_cut(start.saturating_add(room.saturating_mul(layout.row_bytes as usize))) {
            return Err(self.cut());
        }
        let (mut at, mut failure) = (start, None);
        for _ in 0..room {
            let Some(bytes) = base.get(at..at + layout.row_bytes as usize) else { break };
            let word = bytes[layout.timestamp_at as usize..].first_chunk().expect("checked at opening");
            let timestamp_ns = match layout.time(*word, row) {
                Ok(timestamp_ns) => timestamp_ns,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            };
            let stamp = Stamp { timestamp_ns, sequence: row };
            stage_record(stage, base, at, layout.row_bytes, stamp, Tags::default());
            (at, row) = (at + layout.row_bytes as usize, row + 1);
        }
        if is_cut(at) {
            return Err(self.cut());
        }
        if row == self.row && failure.is_none() {
            return Err(self.truncated(self.rows.start + at as u64).into());
        }
        // What is staged is not staged again by who goes on behind a failure.
        self.row = row;
        if let Some(error) = failure {
            return Err(error);
        }
        self.seat.note((at - start) as u64, was_mapped);
        Ok(Filled::Some)
    }

    fn end(&mut self, stage: &mut Stage) {
        self.leave_map(stage);
        (self.block, self.block_row) = (vec![], self.row);
        self.seat.end();
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.go_to(since_ns, 0)
    }

    fn seek_before(&mut self, until_ns: u64) -> Result<(), SourceError> {
        let displaced = self.seat.shared.order.n_held() as u64;
        // A row that is displaced by so many may hide one that is displaced as far the other way.
        self.go_to(until_ns.saturating_add(1), displaced.saturating_mul(2).saturating_add(1))
    }

    #[inline(always)]
    fn base(&self) -> &[u8] {
        match &self.rows.map {
            Some(map) => map.bytes(),
            None => &self.block,
        }
    }
}

impl RowFeed {
    /// So many rows in front of the first one of that time or later.
    fn go_to(&mut self, since_ns: u64, n_before: u64) -> Result<(), SourceError> {
        let found = match &self.rows.map {
            Some(map) => {
                let found = self.search(since_ns, None);
                if map.map().is_cut(usize::try_from(self.rows.len_bytes).unwrap_or(usize::MAX)) {
                    return Err(self.cut());
                }
                found?
            }
            None => {
                let checked = self.reopen()?;
                self.search(since_ns, Some(&checked.file))?
            }
        };
        let offset = self.offset();
        self.seat.window.drop_all(&self.seat.shared, &self.rows, offset);
        let found = found.saturating_sub(n_before);
        (self.row, self.is_begun) = (found, false);
        (self.block, self.block_row) = (vec![], found);
        Ok(())
    }
}

impl Rows {
    /// What a map of them takes.
    fn usage(&self) -> MapUsage {
        MapUsage { descriptors: ReadOnly::DESCRIPTORS, ..MapUsage::map(self.len_bytes) }
    }
}

impl Windowed for Rows {
    type Map = ReadOnly;

    fn map(&self) -> Option<&ReadOnly> {
        self.map.as_ref().map(Mapped::map)
    }

    fn place(&self) -> (PathBuf, u64) {
        (self.path.clone(), self.start)
    }

    fn forget_cached(&self, range: Range<u64>) {
        let from = if range.start == 0 { 0 } else { self.start + range.start };
        advice::forget_cached(&self.path, self.identity, from..self.start + range.end);
    }
}

fn too_long(path: &Path) -> SourceError {
    io_error("read", path)(io::Error::from(io::ErrorKind::OutOfMemory)).into()
}
