//! Column: the values of one column in one batch, each checked when it is looked at.
//!
//! (I1) rows are numbered within the batch; (I2) an offset, a view or a text is believed only as far as it was checked for this row; (I3) a
//! slice of values is handed out for the type that they have, and nothing else.

use super::buffers::Buffers;
use super::message::Span;
use super::schema::{ColumnType, Layout, TableColumn};
use crate::error::Error;
use bytes::Bytes;
use std::ops::Range;

/// Why a value, or a column of them, can't be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ColumnError {
    /// The table has none of that name, or number.
    #[error("there is no column {column}: expected one of {expected}")]
    NoSuchColumn {
        /// What was asked for.
        column: String,
        /// What there is.
        expected: String,
    },
    /// Its values are of another type.
    #[error("column {column:?} is {found}, expected {expected}: ask for the type that it has")]
    WrongType {
        /// Its name.
        column: String,
        /// What was asked for.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Some of its rows have no value, and what stands in their places means nothing.
    #[error("column {column:?} has {n_nulls} nulls, expected none: take `nullable_column`, which says which")]
    HasNulls {
        /// Its name.
        column: String,
        /// How many.
        n_nulls: usize,
    },
    /// The row has no value there.
    #[error("column {column:?} is null in row {row} of its batch, expected a value: ask `is_null` first")]
    Null {
        /// Its name.
        column: String,
        /// Counted in the batch.
        row: usize,
    },
    /// The file is corrupt.
    #[error("column {column:?}, row {row} of its batch: {what}: the table is corrupt")]
    Corrupt {
        /// Its name.
        column: String,
        /// Counted in the batch.
        row: usize,
        /// What is wrong.
        what: &'static str,
    },
}

mod sealed {
    pub trait Sealed {}
}

/// What a slice of a column can have: integers of 8 to 64 bits, `f32`, `f64`.
///
/// Times are integers: timestamps, durations and `date64` are `i64`, `date32` is `i32`.
pub trait ColumnValue: bytemuck::AnyBitPattern + sealed::Sealed {
    /// What it is called.
    const NAME: &'static str;

    /// Whether a column of that type has such values.
    fn fits(column_type: ColumnType) -> bool;
}

macro_rules! values {
    ($($value:ty, $name:literal, $($variant:ident)|+;)*) => {$(
        impl sealed::Sealed for $value {}
        impl ColumnValue for $value {
            const NAME: &'static str = $name;
            fn fits(column_type: ColumnType) -> bool {
                matches!(column_type, $(ColumnType::$variant)|+)
            }
        }
    )*};
}

values! {
    i8, "i8", I8;
    i16, "i16", I16;
    i32, "i32", I32 | DateDays | TimeSeconds | TimeMillis;
    i64, "i64", I64 | TimestampSeconds | TimestampMillis | TimestampMicros | TimestampNanos | DateMillis | TimeMicros | TimeNanos
        | DurationSeconds | DurationMillis | DurationMicros | DurationNanos;
    u8, "u8", U8;
    u16, "u16", U16;
    u32, "u32", U32;
    u64, "u64", U64;
    f32, "f32", F32;
    f64, "f64", F64;
}

/// How a column is asked for: by its name, or by its number, from 0.
pub trait Which: sealed::Sealed {
    /// Its number in a table of these columns.
    ///
    /// # Errors
    ///
    /// There is none.
    fn at(&self, columns: &[TableColumn]) -> Result<usize, ColumnError>;
}

impl sealed::Sealed for usize {}
impl Which for usize {
    #[inline]
    fn at(&self, columns: &[TableColumn]) -> Result<usize, ColumnError> {
        if *self < columns.len() { Ok(*self) } else { Err(no_such(self.to_string(), columns)) }
    }
}

impl sealed::Sealed for &str {}
impl Which for &str {
    #[inline]
    fn at(&self, columns: &[TableColumn]) -> Result<usize, ColumnError> {
        columns
            .iter()
            .position(|column| column.name() == *self)
            .ok_or_else(|| no_such(format!("{self:?}"), columns))
    }
}

#[cold]
fn no_such(column: String, columns: &[TableColumn]) -> ColumnError {
    let mut names: Vec<_> = columns.iter().take(20).map(|column| format!("{:?}", column.name())).collect();
    if columns.len() > names.len() {
        names.push(format!("{} more", columns.len() - names.len()));
    }
    ColumnError::NoSuchColumn { column, expected: names.join(", ") }
}

/// Which rows of a column have a value.
#[derive(Clone, Copy, Debug)]
pub struct Validity<'a> {
    data: &'a ColumnData,
}

impl Validity<'_> {
    /// How many have none.
    pub fn n_nulls(&self) -> usize {
        self.data.n_nulls
    }

    /// Whether a row, counted in its batch, has one; `false` beyond the last row.
    pub fn is_valid(&self, row: usize) -> bool {
        row < self.data.n_rows && !self.data.is_null(row)
    }
}

/// One bit a row.
#[derive(Clone, Debug)]
struct Bits {
    bytes: Bytes,
    /// In front of the first row's.
    skipped: usize,
}

impl Bits {
    /// Those of some rows.
    fn read(buffers: &mut Buffers<'_>, at: usize, rows: &Range<usize>) -> Result<Self, Error> {
        let part = rows.start as u64 / 8..(rows.end as u64).div_ceil(8);
        Ok(Self { bytes: buffers.part(at, part, 1)?, skipped: rows.start % 8 })
    }

    #[inline]
    fn is_set(&self, row: usize) -> bool {
        let bit = self.skipped + row;
        self.bytes.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }
}

#[derive(Clone, Debug)]
enum Values {
    None,
    Bits(Bits),
    Fixed {
        bytes: Bytes,
        width: usize,
    },
    /// `bytes` begin at the offset `skipped`.
    Offsets {
        offsets: Bytes,
        width: usize,
        bytes: Bytes,
        skipped: u64,
    },
    /// The same for each of the buffers.
    Views {
        views: Bytes,
        buffers: Vec<(Bytes, u64)>,
    },
}

/// Rows of one column.
#[derive(Clone, Debug)]
pub(super) struct ColumnData {
    n_rows: usize,
    n_nulls: usize,
    /// None: all rows have a value, or none has.
    validity: Option<Bits>,
    values: Values,
}

impl ColumnData {
    /// Those rows of a column that is there in the batch.
    pub(super) fn read(
        buffers: &mut Buffers<'_>,
        span: &Span,
        layout: Layout,
        rows: Range<usize>,
    ) -> Result<Self, Error> {
        let (n_rows, first) = (rows.len(), span.buffers.start);
        if layout == Layout::None || n_rows == 0 {
            return Ok(Self { n_rows, n_nulls: n_rows, validity: None, values: Values::None });
        }
        let validity = if span.n_nulls > 0 { Some(Bits::read(buffers, first, &rows)?) } else { None };
        let part = |width: usize, rows: Range<usize>| -> Range<u64> {
            // Beyond what any buffer has, if it is too much.
            let at = |row: usize| (row as u64).saturating_mul(width as u64);
            at(rows.start)..at(rows.end)
        };
        let values = match layout {
            Layout::None => unreachable!("returned above"),
            Layout::Bits => Values::Bits(Bits::read(buffers, first + 1, &rows)?),
            Layout::Fixed { width } => {
                let align = if width.is_power_of_two() { width.min(align_of::<u128>()) } else { 1 };
                Values::Fixed { bytes: buffers.part(first + 1, part(width, rows), align)?, width }
            }
            Layout::Offsets { width } => {
                let offsets = buffers.part(first + 1, part(width, rows.start..rows.end + 1), 1)?;
                if buffers.is_in_place() {
                    Values::Offsets { offsets, width, bytes: buffers.all(first + 2, 1)?, skipped: 0 }
                } else {
                    let (skipped, end) = (offset(&offsets, width, 0), offset(&offsets, width, n_rows));
                    let part = skipped.unwrap_or(u64::MAX)..end.unwrap_or(u64::MAX);
                    let skipped = part.start;
                    Values::Offsets { offsets, width, bytes: buffers.part(first + 2, part, 1)?, skipped }
                }
            }
            Layout::Views => {
                let views = buffers.part(first + 1, part(16, rows), 1)?;
                let mut data = vec![];
                for at in first + 2..span.buffers.end {
                    if buffers.is_in_place() {
                        data.push((buffers.all(at, 1)?, 0));
                    } else {
                        let part = viewed(&views, at - first - 2, |row| {
                            validity.as_ref().is_none_or(|v| v.is_set(row))
                        });
                        data.push((buffers.part(at, part.clone(), 1)?, part.start));
                    }
                }
                Values::Views { views, buffers: data }
            }
        };
        Ok(Self { n_rows, n_nulls: span.n_nulls, validity, values })
    }

    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub(super) fn validity(&self) -> Validity<'_> {
        Validity { data: self }
    }

    #[inline]
    pub(super) fn is_null(&self, row: usize) -> bool {
        match (&self.validity, &self.values) {
            (Some(validity), _) => !validity.is_set(row),
            (None, Values::None) => true,
            (None, _) => false,
        }
    }

    /// The bytes of all values, for [`Layout::Fixed`].
    #[inline]
    pub(super) fn fixed(&self) -> &[u8] {
        match &self.values {
            Values::Fixed { bytes, .. } => bytes,
            _ => &[],
        }
    }

    /// For [`Layout::Bits`].
    pub(super) fn bit(&self, row: usize) -> bool {
        matches!(&self.values, Values::Bits(bits) if bits.is_set(row))
    }

    /// The bytes of a row that is not null.
    #[inline]
    pub(super) fn bytes(&self, row: usize) -> Result<&[u8], &'static str> {
        const OUTSIDE: &str = "its bytes are outside of its buffer";
        let found = match &self.values {
            Values::Fixed { bytes, width } => bytes.get(row * width..(row + 1) * width),
            Values::Offsets { offsets, width, bytes, skipped } => {
                let place = |row| usize::try_from(offset(offsets, *width, row)?.checked_sub(*skipped)?).ok();
                place(row).zip(place(row + 1)).and_then(|(start, end)| bytes.get(start..end))
            }
            Values::Views { views, buffers } => view(views, buffers, row),
            Values::None | Values::Bits(_) => None,
        };
        found.ok_or(OUTSIDE)
    }
}

/// Where a row's bytes begin, and those of the row before end.
#[inline]
fn offset(offsets: &[u8], width: usize, row: usize) -> Option<u64> {
    let bytes = offsets.get(row * width..(row + 1) * width)?;
    match width {
        4 => u64::try_from(i32::from_le_bytes(bytes.try_into().ok()?)).ok(),
        _ => u64::try_from(i64::from_le_bytes(bytes.try_into().ok()?)).ok(),
    }
}

/// A view's length, buffer and offset there, if it is too long to be in place.
fn far(view: &[u8; 16]) -> Option<(u64, usize, u64)> {
    let word = |at: usize| i32::from_le_bytes(*view[at..].first_chunk().expect("a view has four words"));
    let len = u64::try_from(word(0)).ok().filter(|len| *len > 12)?;
    Some((len, usize::try_from(word(8)).ok()?, u64::try_from(word(12)).ok()?))
}

fn view<'a>(views: &'a [u8], buffers: &'a [(Bytes, u64)], row: usize) -> Option<&'a [u8]> {
    let view: &[u8; 16] = views.get(row * 16..)?.first_chunk()?;
    let len = usize::try_from(i32::from_le_bytes(*view.first_chunk()?)).ok()?;
    if len <= 12 {
        return view.get(4..4 + len);
    }
    let (_, buffer, offset) = far(view)?;
    let (bytes, skipped) = buffers.get(buffer)?;
    let start = usize::try_from(offset.checked_sub(*skipped)?).ok()?;
    bytes.get(start..start.checked_add(len)?)
}

/// From where to where the views of some rows reach in one of the buffers.
fn viewed(views: &[u8], buffer: usize, is_valid: impl Fn(usize) -> bool) -> Range<u64> {
    let (mut start, mut end) = (u64::MAX, 0);
    for (row, view) in views.chunks_exact(16).enumerate() {
        let Some((len, _, offset)) = far(view.try_into().expect("sixteen")).filter(|f| f.1 == buffer) else {
            continue;
        };
        if is_valid(row) {
            (start, end) = (start.min(offset), end.max(offset + len));
        }
    }
    if start > end { 0..0 } else { start..end }
}
