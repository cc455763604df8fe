//! Writer: tables, for who has no other program that makes them.
//!
//! ```text
//!   push --> cells, column by column --a batch is full--> a file without a name --finish: footer, synced--> its name
//! ```
//!
//! (I1) nobody sees half a table: the file has its name when it is complete and on the medium, and none once a batch could not be written, of
//! which the file may have a part; (I2) what exists is left alone; (I3) bodies
//! are not compressed, and each buffer begins at a multiple of 64 bytes, so that columns are read in place.

use super::schema::ColumnType;
use crate::error::{Error, FileKind};
use crate::map::file::{Unpublished, directory_of};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, types};
use arrow_array::{
    BinaryArray, BooleanArray, PrimitiveArray, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow_ipc::MetadataVersion;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit as Unit};
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where buffers begin, in bytes.
const ALIGNMENT: usize = 64;
/// Rows of a batch, unless another number was chosen: as many as pyarrow's.
const BATCH_ROWS: usize = 65_536;
/// What a batch of text may come to, whose offsets have 31 bits.
const TEXT_BYTES_MAX: usize = i32::MAX as usize;

/// A value to be written, or [`CellValue::Null`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum CellValue<'a> {
    /// None.
    Null,
    /// For [`ColumnType::Bool`].
    Bool(bool),
    /// For all integers and timestamps that have it.
    Signed(i64),
    /// For all integers and timestamps that have it.
    Unsigned(u64),
    /// For [`ColumnType::F32`] and [`ColumnType::F64`].
    F32(f32),
    /// For [`ColumnType::F64`].
    F64(f64),
    /// For [`ColumnType::Text`].
    Text(&'a str),
    /// For [`ColumnType::Binary`].
    Binary(&'a [u8]),
}

macro_rules! from {
    ($($value:ty => $variant:ident),*) => {$(
        impl From<$value> for CellValue<'_> {
            fn from(value: $value) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from!(bool => Bool, i8 => Signed, i16 => Signed, i32 => Signed, i64 => Signed);
from!(u8 => Unsigned, u16 => Unsigned, u32 => Unsigned, u64 => Unsigned, f32 => F32, f64 => F64);

impl<'a> From<&'a str> for CellValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for CellValue<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Binary(bytes)
    }
}

/// Values of one column that wait for their batch to be full.
enum Cells {
    Bool(Vec<Option<bool>>),
    I8(Vec<Option<i8>>),
    I16(Vec<Option<i16>>),
    I32(Vec<Option<i32>>),
    I64(Vec<Option<i64>>),
    U8(Vec<Option<u8>>),
    U16(Vec<Option<u16>>),
    U32(Vec<Option<u32>>),
    U64(Vec<Option<u64>>),
    F32(Vec<Option<f32>>),
    F64(Vec<Option<f64>>),
    /// And how many bytes they come to.
    Text(Vec<Option<String>>, usize),
    Binary(Vec<Option<Vec<u8>>>, usize),
}

struct Column {
    name: String,
    column_type: ColumnType,
    cells: Cells,
}

/// Writes a [`Table`](super::Table), a row at a time.
///
/// The file has its name, and is on the medium, when [`finish`](Self::finish) returns; a writer that is dropped before leaves nothing
/// behind. Only this user can read it: `chmod` it for others, who must not be able to write it.
///
/// An example is at [`Table`](super::Table).
pub struct TableWriter {
    path: PathBuf,
    columns: Vec<Column>,
    n_rows: usize,
    batch_rows: usize,
    /// Why a batch could not be written: where the next one would be is not known any more.
    failure: Option<ArrowError>,
    schema: Arc<Schema>,
    writer: FileWriter<BufWriter<File>>,
    /// After the writer, which writes into it.
    unpublished: Unpublished,
}

impl TableWriter {
    /// A table of these columns, by name and type: integers, numbers, timestamps, `Bool`, `Text`, `Binary`. Each can have nulls.
    ///
    /// # Errors
    ///
    /// Something has that name ([`Error::AlreadyExists`]); it can't be made there, or is on a network file system; or a type is not written.
    pub fn create(path: impl AsRef<Path>, columns: &[(&str, ColumnType)]) -> Result<Self, Error> {
        let path = path.as_ref();
        let mut fields = vec![];
        let mut empty = vec![];
        for (name, column_type) in columns {
            let Some((data_type, cells)) = written(*column_type) else {
                let expected = "an integer, a number, a timestamp, bool, text or binary".into();
                let found = format!("{column_type} for column {name:?}");
                return Err(Error::Invalid { option: "type of a column to be written", expected, found });
            };
            fields.push(Field::new(*name, data_type, true));
            empty.push(Column { name: (*name).into(), column_type: *column_type, cells });
        }
        let unpublished = Unpublished::new(path, FileKind::Table, 0, 0o600)?;
        let schema = Arc::new(Schema::new(fields));
        let options =
            IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5).map_err(failed(path))?;
        let file = unpublished.file().try_clone().map_err(|error| failed(path)(error.into()))?;
        let writer =
            FileWriter::try_new_with_options(BufWriter::with_capacity(1 << 18, file), &schema, options);
        let writer = writer.map_err(failed(path))?;
        Ok(Self {
            path: path.into(),
            columns: empty,
            n_rows: 0,
            batch_rows: BATCH_ROWS,
            failure: None,
            schema,
            writer,
            unpublished,
        })
    }

    /// So many rows lie together from now on, at least one; 65,536 unless another number is chosen. What is not mapped or compressed takes
    /// memory for a batch when it is read.
    #[must_use]
    pub fn batch_rows(mut self, n_rows: usize) -> Self {
        self.batch_rows = n_rows.max(1);
        self
    }

    /// One more row, a value for each column.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: a value does not go into its column, or there are not as many; the table is as before. [`Error::Io`]: a full batch
    /// could not be written; the same from then on, of every call.
    pub fn push(&mut self, row: &[CellValue<'_>]) -> Result<(), Error> {
        self.check()?;
        if row.len() != self.columns.len() {
            let (expected, found) = (format!("{} values", self.columns.len()), row.len().to_string());
            return Err(Error::Invalid { option: "row", expected, found });
        }
        for (at, value) in row.iter().enumerate() {
            if let Err(error) = self.columns[at].push(*value) {
                self.columns[..at].iter_mut().for_each(Column::pop);
                return Err(error);
            }
        }
        self.n_rows += 1;
        if self.n_rows >= self.batch_rows || self.columns.iter().any(Column::is_large) {
            self.write_batch()?;
        }
        Ok(())
    }

    /// Rows that are there as columns, as many values of each.
    ///
    /// # Errors
    ///
    /// As of [`TableWriter::push`]; the rows in front of the one that did not fit are in the table.
    pub fn push_columns(&mut self, columns: &[&[CellValue<'_>]]) -> Result<(), Error> {
        self.check()?;
        let n_rows = columns.first().map_or(0, |column| column.len());
        if let Some(other) = columns.iter().find(|column| column.len() != n_rows) {
            let (expected, found) = (format!("{n_rows} values of each"), other.len().to_string());
            return Err(Error::Invalid { option: "columns", expected, found });
        }
        let mut cells = vec![CellValue::Null; columns.len()];
        for row in 0..n_rows {
            cells.iter_mut().zip(columns).for_each(|(cell, column)| *cell = column[row]);
            self.push(&cells)?;
        }
        Ok(())
    }

    /// Writes the rest, syncs it and gives the file its name.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], also that of an earlier push; [`Error::AlreadyExists`]: somebody was first. There is no table then.
    pub fn finish(mut self) -> Result<(), Error> {
        self.check()?;
        if self.n_rows > 0 {
            self.write_batch()?;
        }
        self.writer.finish().map_err(failed(&self.path))?;
        let failed = |error: io::Error| failed(&self.path)(error.into());
        self.unpublished.file().sync_all().map_err(failed)?;
        self.unpublished.publish()?;
        // The name is on the medium when its directory is.
        File::open(directory_of(&self.path)).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    fn write_batch(&mut self) -> Result<(), Error> {
        let arrays = self.columns.iter_mut().map(Column::take).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.n_rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options);
        self.n_rows = 0;
        self.failure = batch.and_then(|batch| self.writer.write(&batch)).err();
        self.check()
    }

    /// Whether all that was pushed is written or waits.
    fn check(&self) -> Result<(), Error> {
        self.failure.as_ref().map_or(Ok(()), |error| Err(failed(&self.path)(again(error))))
    }
}

impl fmt::Debug for TableWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableWriter")
            .field("path", &self.path)
            .field("n_columns", &self.columns.len())
            .field("n_rows_of_batch", &self.n_rows)
            .finish_non_exhaustive()
    }
}

/// How a column of that type is written, if it can be.
fn written(column_type: ColumnType) -> Option<(DataType, Cells)> {
    use ColumnType as C;
    let timestamp = |unit| (DataType::Timestamp(unit, None), Cells::I64(vec![]));
    Some(match column_type {
        C::Bool => (DataType::Boolean, Cells::Bool(vec![])),
        C::I8 => (DataType::Int8, Cells::I8(vec![])),
        C::I16 => (DataType::Int16, Cells::I16(vec![])),
        C::I32 => (DataType::Int32, Cells::I32(vec![])),
        C::I64 => (DataType::Int64, Cells::I64(vec![])),
        C::U8 => (DataType::UInt8, Cells::U8(vec![])),
        C::U16 => (DataType::UInt16, Cells::U16(vec![])),
        C::U32 => (DataType::UInt32, Cells::U32(vec![])),
        C::U64 => (DataType::UInt64, Cells::U64(vec![])),
        C::F32 => (DataType::Float32, Cells::F32(vec![])),
        C::F64 => (DataType::Float64, Cells::F64(vec![])),
        C::TimestampSeconds => timestamp(Unit::Second),
        C::TimestampMillis => timestamp(Unit::Millisecond),
        C::TimestampMicros => timestamp(Unit::Microsecond),
        C::TimestampNanos => timestamp(Unit::Nanosecond),
        C::Text => (DataType::Utf8, Cells::Text(vec![], 0)),
        C::Binary => (DataType::Binary, Cells::Binary(vec![], 0)),
        _ => return None,
    })
}

/// Does the same to the vector of whatever type.
macro_rules! each {
    ($cells:expr, $vec:ident => $what:expr) => {
        match $cells {
            Cells::Bool($vec) => $what,
            Cells::I8($vec) => $what,
            Cells::I16($vec) => $what,
            Cells::I32($vec) => $what,
            Cells::I64($vec) => $what,
            Cells::U8($vec) => $what,
            Cells::U16($vec) => $what,
            Cells::U32($vec) => $what,
            Cells::U64($vec) => $what,
            Cells::F32($vec) => $what,
            Cells::F64($vec) => $what,
            Cells::Text($vec, _) => $what,
            Cells::Binary($vec, _) => $what,
        }
    };
}

impl Column {
    fn push(&mut self, value: CellValue<'_>) -> Result<(), Error> {
        use CellValue as V;
        let refused = || Error::Invalid {
            option: "value",
            expected: format!("one that column {:?} of {} takes", self.name, self.column_type),
            found: format!("{value:?}"),
        };
        match (&mut self.cells, value) {
            (cells, V::Null) => each!(cells, v => v.push(None)),
            (Cells::Bool(v), V::Bool(value)) => v.push(Some(value)),
            (Cells::I8(v), value) => v.push(Some(integer(value).ok_or_else(refused)?)),
            (Cells::I16(v), value) => v.push(Some(integer(value).ok_or_else(refused)?)),
            (Cells::I32(v), value) => v.push(Some(integer(value).ok_or_else(refused)?)),
            (Cells::I64(v), value) => v.push(Some(integer(value).ok_or_else(refused)?)),
            (Cells::U8(v), value) => v.push(Some(integer(value).ok_or_else(refused)?)),
            (Cells::U16(v), value) => v.push(Some(integer(value).ok_or_else(refused)?)),
            (Cells::U32(v), value) => v.push(Some(integer(value).ok_or_else(refused)?)),
            (Cells::U64(v), value) => v.push(Some(integer(value).ok_or_else(refused)?)),
            (Cells::F32(v), V::F32(value)) => v.push(Some(value)),
            (Cells::F64(v), V::F64(value)) => v.push(Some(value)),
            (Cells::F64(v), V::F32(value)) => v.push(Some(value.into())),
            (Cells::Text(v, len), V::Text(value)) => {
                *len = more(*len, value.len()).ok_or_else(refused)?;
                v.push(Some(value.into()));
            }
            (Cells::Binary(v, len), V::Binary(value)) => {
                *len = more(*len, value.len()).ok_or_else(refused)?;
                v.push(Some(value.into()));
            }
            _ => return Err(refused()),
        }
        Ok(())
    }

    /// Takes back what was pushed last.
    fn pop(&mut self) {
        match &mut self.cells {
            Cells::Text(v, len) => *len -= v.pop().flatten().map_or(0, |text| text.len()),
            Cells::Binary(v, len) => *len -= v.pop().flatten().map_or(0, |bytes| bytes.len()),
            cells => each!(cells, v => drop(v.pop())),
        }
    }

    /// Whether half of what a batch can have is there.
    fn is_large(&self) -> bool {
        matches!(self.cells, Cells::Text(_, len) | Cells::Binary(_, len) if len > TEXT_BYTES_MAX / 2)
    }

    /// What was pushed, for a batch.
    fn take(&mut self) -> ArrayRef {
        use ColumnType as C;
        match &mut self.cells {
            Cells::I64(v) => {
                let values = std::mem::take(v);
                match self.column_type {
                    C::TimestampSeconds => Arc::new(TimestampSecondArray::from(values)),
                    C::TimestampMillis => Arc::new(TimestampMillisecondArray::from(values)),
                    C::TimestampMicros => Arc::new(TimestampMicrosecondArray::from(values)),
                    C::TimestampNanos => Arc::new(TimestampNanosecondArray::from(values)),
                    _ => Arc::new(PrimitiveArray::<types::Int64Type>::from(values)),
                }
            }
            Cells::Bool(v) => Arc::new(BooleanArray::from(std::mem::take(v))),
            Cells::I8(v) => Arc::new(PrimitiveArray::<types::Int8Type>::from(std::mem::take(v))),
            Cells::I16(v) => Arc::new(PrimitiveArray::<types::Int16Type>::from(std::mem::take(v))),
            Cells::I32(v) => Arc::new(PrimitiveArray::<types::Int32Type>::from(std::mem::take(v))),
            Cells::U8(v) => Arc::new(PrimitiveArray::<types::UInt8Type>::from(std::mem::take(v))),
            Cells::U16(v) => Arc::new(PrimitiveArray::<types::UInt16Type>::from(std::mem::take(v))),
            Cells::U32(v) => Arc::new(PrimitiveArray::<types::UInt32Type>::from(std::mem::take(v))),
            Cells::U64(v) => Arc::new(PrimitiveArray::<types::UInt64Type>::from(std::mem::take(v))),
            Cells::F32(v) => Arc::new(PrimitiveArray::<types::Float32Type>::from(std::mem::take(v))),
            Cells::F64(v) => Arc::new(PrimitiveArray::<types::Float64Type>::from(std::mem::take(v))),
            Cells::Text(v, len) => {
                *len = 0;
                Arc::new(StringArray::from(std::mem::take(v)))
            }
            Cells::Binary(v, len) => {
                *len = 0;
                Arc::new(BinaryArray::from_iter(std::mem::take(v)))
            }
        }
    }
}

fn integer<T: TryFrom<i64> + TryFrom<u64>>(value: CellValue<'_>) -> Option<T> {
    match value {
        CellValue::Signed(value) => T::try_from(value).ok(),
        CellValue::Unsigned(value) => T::try_from(value).ok(),
        _ => None,
    }
}

/// What a batch's text comes to then, if it can have that much.
fn more(len: usize, more: usize) -> Option<usize> {
    len.checked_add(more).filter(|sum| *sum <= TEXT_BYTES_MAX)
}

/// The same error once more.
fn again(error: &ArrowError) -> ArrowError {
    match error {
        ArrowError::IoError(text, source) => {
            let kind = source.kind();
            let again = source
                .raw_os_error()
                .map_or_else(|| io::Error::new(kind, source.to_string()), io::Error::from_raw_os_error);
            ArrowError::IoError(text.clone(), again)
        }
        other => ArrowError::ExternalError(other.to_string().into()),
    }
}

fn failed(path: &Path) -> impl Fn(ArrowError) -> Error {
    let path = path.to_path_buf();
    move |error| {
        let source = match error {
            ArrowError::IoError(_, source) => source,
            other => io::Error::other(other.to_string()),
        };
        Error::Io { operation: "write", path: path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a batch's texts have no more bytes than their offsets can say, and what was taken back is none of them.
    // Method: the last byte that there is, and one more; values of each kind with bytes, pushed and taken back; a batch that is full.
    #[test]
    fn bytes_of_a_batch_are_counted() {
        assert_eq!(more(TEXT_BYTES_MAX - 1, 1), Some(TEXT_BYTES_MAX));
        assert_eq!([more(TEXT_BYTES_MAX, 1), more(1, usize::MAX)], [None; 2]);
        for column_type in [ColumnType::Text, ColumnType::Binary] {
            let (_, cells) = written(column_type).unwrap();
            let mut column = Column { name: "c".into(), column_type, cells };
            let len = |column: &Column| match column.cells {
                Cells::Text(_, len) | Cells::Binary(_, len) => len,
                _ => unreachable!("two kinds have bytes"),
            };
            let value =
                if column_type == ColumnType::Text { "four".into() } else { b"four".as_slice().into() };
            for (value, expected) in [(value, 4), (CellValue::Null, 4), (value, 8)] {
                column.push(value).unwrap();
                assert_eq!(len(&column), expected);
            }
            for expected in [4, 4, 0] {
                column.pop();
                assert_eq!(len(&column), expected);
            }
            column.push(value).unwrap();
            assert_eq!((column.take().len(), len(&column)), (1, 0));
            if let Cells::Text(_, len) | Cells::Binary(_, len) = &mut column.cells {
                *len = TEXT_BYTES_MAX / 2;
                assert!(!column.is_large());
                assert!(column.push(value).is_ok() && column.is_large());
            }
        }
    }
}
