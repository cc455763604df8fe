//! Open: what is checked before a file counts as a table.
//!
//! ```text
//!   length and magic at the end --> footer: verified as a whole --> columns, where the batches are
//!        no --> how it begins: what it is instead
//! ```
//!
//! (I1) opening reads the footer, and the first page only of what is no table; (I2) nothing that the footer says is believed
//! beyond its own bytes: where a batch is, is checked when it is read; (I3) it is read from a copy: what was verified is what is read.

use super::batch::TableBatch;
use super::dictionary::{self, Dictionaries};
use super::message::BatchHead;
use super::reader::{Reader, copy, read_error};
use super::schema::{self, TableColumn};
use super::time::{self, TimeColumn};
use crate::error::{Error, FileKind};
use crate::layout::table::{self, MAGIC};
use crate::map::budget::MapBudget;
use crate::map::file::not_wanted;
use crate::replay::rows::TimeUnit;
use crate::snapshot::ReadAt;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// In front, with what aligns the rest.
const HEAD_BYTES: usize = 8;
/// The footer's length, and the magic.
const TAIL_BYTES: usize = 4 + MAGIC.len();

/// Columns of one file, in place: an Arrow IPC file, as `pyarrow.feather.write_feather` or polars' `write_ipc` makes it. Clones share it.
///
/// Opening looks at the columns' names and types and where the batches are. A batch is looked at when it is asked for, and a value when it
/// is: nothing but this description is copied, and no column that nobody asks for is read. Whatever bytes the file has, what comes of it is what they say, or an
/// error; but nobody may write the file while it is open, as for any [`Snapshot`](crate::Snapshot#trust). A file that others could write,
/// or on a network file system, is read by system calls, which copy.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("prices.arrow");
/// use shm_ring::replay::{ColumnType, Table, TableWriter};
///
/// let columns = [("timestamp", ColumnType::TimestampNanos), ("price", ColumnType::F64), ("symbol", ColumnType::Text)];
/// let mut writer = TableWriter::create(&path, &columns)?;
/// writer.push(&[1_700_000_000_000_000_000i64.into(), 101.25.into(), "ABC".into()])?;
/// writer.push(&[1_700_000_000_000_000_001i64.into(), 101.5.into(), "ABC".into()])?;
/// writer.finish()?;
///
/// let table = Table::open(&path)?;
/// let batch = table.batch(0)?;
/// let prices: &[f64] = batch.column("price")?; // in the map
/// assert_eq!(prices, [101.25, 101.5]);
/// assert_eq!(batch.row(1).text("symbol")?, "ABC");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Table {
    shared: Arc<Shared>,
    held: Arc<Held>,
    time: Option<TimeColumn>,
}

/// What the footer says.
struct Shared {
    path: PathBuf,
    columns: Vec<TableColumn>,
    batches: Vec<Block>,
    dictionary_blocks: Vec<Block>,
}

/// What may be a map, or have parts of one.
struct Held {
    reader: Reader,
    /// Read when they are first needed.
    dictionaries: OnceLock<Dictionaries>,
}

impl Held {
    fn new(reader: Reader) -> Arc<Self> {
        Arc::new(Self { reader, dictionaries: OnceLock::new() })
    }
}

/// Where a message and its body are, as the footer says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) offset: i64,
    pub(super) metadata_bytes: i32,
    pub(super) body_bytes: i64,
}

impl Block {
    /// Its first byte, and the one behind it: any numbers, as the footer has them.
    pub(super) fn place(&self) -> (i128, i128) {
        let start = i128::from(self.offset);
        (start, start + i128::from(self.metadata_bytes) + i128::from(self.body_bytes))
    }
}

impl Table {
    /// Opens a table.
    ///
    /// # Errors
    ///
    /// It can't be opened; is no such table ([`Error::OtherKind`], which says what to do with Parquet files and streams); is
    /// [corrupt](Error::Corrupt); or has columns that are [not read](Error::Unsupported), such as lists.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_within(path, &MapBudget::new())
    }

    /// The same, mapped as far as the budget allows it, and else read by system calls.
    ///
    /// # Errors
    ///
    /// As of [`Table::open`]; and [`Error::OverBudget`].
    pub fn open_within(path: impl AsRef<Path>, budget: &MapBudget) -> Result<Self, Error> {
        let path = path.as_ref();
        let reader = Reader::within(path, budget).map_err(of_table)?;
        let footer = Footer::read(&*reader.lend()?, path)?;
        Ok(Self::new(path, footer, reader))
    }

    /// Of a file whose bytes are at hand, and will be read so.
    pub(super) fn of(path: &Path, bytes: &dyn ReadAt, reader: Reader) -> Result<Self, Error> {
        Ok(Self::new(path, Footer::read(bytes, path)?, reader))
    }

    fn new(path: &Path, footer: Footer, reader: Reader) -> Self {
        let Footer { columns, batches, dictionary_blocks } = footer;
        let time = TimeColumn::guess(&columns);
        let shared = Shared { path: path.into(), columns, batches, dictionary_blocks };
        Self { shared: Arc::new(shared), held: Held::new(reader), time }
    }

    /// The same table, of which other bytes are read.
    pub(super) fn with_reader(&self, reader: Reader) -> Self {
        Self { shared: Arc::clone(&self.shared), held: Held::new(reader), time: self.time }
    }

    /// Another column says when a row was; without this, it is the first column of timestamps, or one of 64-bit integers that is called
    /// `timestamp`, `ts`, `ts_event`, `time`, `timestamp_ns` or `datetime`, or the first column of dates. The unit is for integers, which
    /// have none; in a table that nobody told, they are nanoseconds.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: there is none of that name, or it can't be one.
    pub fn time_column(mut self, name: &str, unit: TimeUnit) -> Result<Self, Error> {
        let columns = &self.shared.columns;
        let at = columns.iter().position(|column| column.name() == name);
        let time = at.and_then(|at| TimeColumn::new(columns, at, unit));
        self.time = Some(time.ok_or_else(|| time::no_time(columns, Some(name)))?);
        Ok(self)
    }

    /// Its columns, in order.
    pub fn columns(&self) -> &[TableColumn] {
        &self.shared.columns
    }

    /// The number of the column that says when a row was.
    pub fn time_column_at(&self) -> Option<usize> {
        self.time.map(|time| time.at)
    }

    /// In how many pieces its rows lie.
    pub fn n_batches(&self) -> usize {
        self.shared.batches.len()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Whether its bytes are mapped, and not copied.
    pub fn is_mapped(&self) -> bool {
        self.held.reader.is_mapped()
    }

    /// The rows of a piece, from 0.
    ///
    /// # Errors
    ///
    /// There is no such one ([`Error::Invalid`]); it is [corrupt](Error::Corrupt); or it is compressed in a way that is
    /// [not read](Error::Unsupported).
    pub fn batch(&self, at: usize) -> Result<TableBatch, Error> {
        let head = self.head(at)?;
        let n_rows = head.n_rows;
        TableBatch::load(self, &head, 0..n_rows)
    }

    /// How many rows all of its pieces have, for which the head of each is looked at.
    ///
    /// # Errors
    ///
    /// As of [`Table::batch`].
    pub fn n_rows(&self) -> Result<u64, Error> {
        let mut n_rows = 0u64;
        for at in 0..self.n_batches() {
            n_rows = n_rows.saturating_add(self.head(at)?.n_rows as u64);
        }
        Ok(n_rows)
    }

    /// Whether all that was read so far was the file's, and no zeros of a cut: with the feature `guard`; without it, it always was.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`].
    pub fn check(&self) -> Result<(), Error> {
        if let Reader::Mapped(snapshot) = &self.held.reader {
            let all = snapshot.read_exact_at(snapshot.len(), &mut []);
            all.map_err(|error| read_error(self.path(), error))?;
        }
        Ok(())
    }

    /// What the metadata of a batch says.
    pub(super) fn head(&self, at: usize) -> Result<BatchHead, Error> {
        let Some(block) = self.shared.batches.get(at) else {
            let (expected, found) = (format!("less than {}", self.n_batches()), at.to_string());
            return Err(Error::Invalid { option: "number of a batch", expected, found });
        };
        BatchHead::read(&*self.reader().lend()?, *block, self.path())
    }

    pub(super) fn reader(&self) -> &Reader {
        &self.held.reader
    }

    /// Whether both have the same bytes, and not others of the same file.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.held, &other.held)
    }

    pub(super) fn time(&self) -> Option<TimeColumn> {
        self.time
    }

    /// The values that columns name by number.
    pub(super) fn dictionaries(&self, bytes: &dyn ReadAt) -> Result<&Dictionaries, Error> {
        if let Some(dictionaries) = self.held.dictionaries.get() {
            return Ok(dictionaries);
        }
        let read = dictionary::read(self, &self.shared.dictionary_blocks, bytes)?;
        Ok(self.held.dictionaries.get_or_init(|| read))
    }

    /// Those that were read for a batch that is there.
    pub(super) fn known_dictionaries(&self) -> Option<&Dictionaries> {
        self.held.dictionaries.get()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("path", &self.shared.path)
            .field("n_columns", &self.shared.columns.len())
            .field("n_batches", &self.shared.batches.len())
            .finish_non_exhaustive()
    }
}

/// The errors of opening a plain file, of what this one should have been.
fn of_table(error: Error) -> Error {
    match error {
        Error::NotFound { path, .. } => Error::NotFound { kind: FileKind::Table, path },
        error => error,
    }
}

/// What a table says of itself.
struct Footer {
    columns: Vec<TableColumn>,
    batches: Vec<Block>,
    dictionary_blocks: Vec<Block>,
}

impl Footer {
    fn read(bytes: &dyn ReadAt, path: &Path) -> Result<Self, Error> {
        let read = |offset, len| bytes.read_at(offset, len).map_err(|error| read_error(path, error));
        let len_bytes = bytes.len();
        let tail_at = len_bytes.checked_sub(TAIL_BYTES as u64).filter(|at| *at >= HEAD_BYTES as u64);
        let tail = tail_at.map(|at| read(at, TAIL_BYTES)).transpose()?.filter(|tail| tail[4..] == MAGIC);
        let (Some(tail_at), Some(tail)) = (tail_at, tail) else {
            return Err(Self::refusal(
                &read(0, HEAD_BYTES.min(usize::try_from(len_bytes).unwrap_or(HEAD_BYTES)))?,
                len_bytes,
                path,
            ));
        };
        let corrupt = |what, expected: String, found: String| Error::Corrupt {
            path: path.into(),
            what,
            expected,
            found,
        };
        let footer_bytes = i32::from_le_bytes(*tail.first_chunk().expect("the tail has ten bytes"));
        let start = u64::try_from(footer_bytes).ok().and_then(|len| tail_at.checked_sub(len));
        let (Ok(len), Some(start)) =
            (usize::try_from(footer_bytes), start.filter(|at| *at >= HEAD_BYTES as u64))
        else {
            let expected = format!("0 to {}", tail_at - HEAD_BYTES as u64);
            return Err(corrupt("length of the footer", expected, footer_bytes.to_string()));
        };
        let bytes = copy(bytes, start, len).map_err(|error| read_error(path, error))?;
        let footer = arrow_ipc::root_as_footer(&bytes)
            .map_err(|error| corrupt("footer", "a footer of the format".into(), first_line(&error)))?;
        let Some(schema) = footer.schema() else {
            return Err(corrupt("footer", "columns".into(), "none".into()));
        };
        let columns = schema::columns(&schema, footer.version(), path)?;
        let blocks = |found: &arrow_ipc::Block| Block {
            offset: found.offset(),
            metadata_bytes: found.metaDataLength(),
            body_bytes: found.bodyLength(),
        };
        let batches = footer.recordBatches().map_or(vec![], |found| found.iter().map(blocks).collect());
        let dictionary_blocks =
            footer.dictionaries().map_or(vec![], |found| found.iter().map(blocks).collect());
        Ok(Self { columns, batches, dictionary_blocks })
    }
}

impl Footer {
    /// Why a file is none that does not end as a table.
    fn refusal(begins: &[u8], len_bytes: u64, path: &Path) -> Error {
        let kind = FileKind::Table;
        if begins.starts_with(&MAGIC) {
            let expected_bytes = (HEAD_BYTES + TAIL_BYTES) as u64;
            if len_bytes < expected_bytes {
                return Error::Truncated { kind, path: path.into(), expected_bytes, found_bytes: len_bytes };
            }
            let expected = "\"ARROW1\", which its writer puts there when it is finished".into();
            let found = "something else".into();
            return Error::Corrupt { path: path.into(), what: "end of the table", expected, found };
        }
        match table::what_else(begins, len_bytes) {
            Some(found) => Error::OtherKind { path: path.into(), expected: kind, found: found.into() },
            None => not_wanted(path.into(), kind, begins),
        }
    }
}

/// What the library of the format says, without the trace that it puts below.
pub(super) fn first_line(error: &impl fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().trim_end().to_owned()
}
