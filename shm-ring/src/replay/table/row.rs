//! Row: one row, in place.
//!
//! (I1) a row holds no bytes, and reads a value when it is asked for it.

use super::batch::{TableBatch, wrong_type};
use super::column::{ColumnData, ColumnError, ColumnValue, Which};
use super::json;
use super::schema::{ColumnType, Keyed, TableColumn};
use std::fmt;

/// One row of a table, where it lies.
///
/// Columns are named, or numbered from 0. What a column has in a dictionary is looked up there.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub(super) batch: &'a TableBatch,
    pub(super) row: usize,
}

/// A value that is there.
#[derive(Clone, Copy)]
pub(super) struct Cell<'a> {
    pub(super) column: &'a TableColumn,
    data: &'a ColumnData,
    /// In `data`.
    at: usize,
    /// In the batch, for messages.
    row: usize,
}

impl<'a> Row<'a> {
    /// Its number in its batch.
    pub fn row_in_batch(&self) -> usize {
        self.row
    }

    /// The table's columns.
    pub fn columns(&self) -> &'a [TableColumn] {
        self.batch.columns()
    }

    /// The value of a column of numbers or times: `row.get::<f64>("price")?`.
    ///
    /// # Errors
    ///
    /// There is no such column, it has another type, or the row has no value there.
    #[inline]
    pub fn get<T: ColumnValue>(&self, which: impl Which) -> Result<T, ColumnError> {
        let cell = self.cell(which)?;
        if !T::fits(cell.column.column_type()) {
            return Err(wrong_type(cell.column, T::NAME));
        }
        Ok(bytemuck::pod_read_unaligned(cell.bytes()?))
    }

    /// The value of a column of yes and no.
    ///
    /// # Errors
    ///
    /// As of [`Row::get`].
    pub fn bool(&self, which: impl Which) -> Result<bool, ColumnError> {
        let cell = self.cell(which)?;
        if cell.column.column_type() != ColumnType::Bool {
            return Err(wrong_type(cell.column, "bool"));
        }
        Ok(cell.bit())
    }

    /// The value of a column of text.
    ///
    /// # Errors
    ///
    /// As of [`Row::get`]; and it is no UTF-8.
    pub fn text(&self, which: impl Which) -> Result<&'a str, ColumnError> {
        let cell = self.cell(which)?;
        if cell.column.column_type() != ColumnType::Text {
            return Err(wrong_type(cell.column, "text"));
        }
        cell.text()
    }

    /// The bytes of a column of text or binaries.
    ///
    /// # Errors
    ///
    /// As of [`Row::get`].
    pub fn bytes(&self, which: impl Which) -> Result<&'a [u8], ColumnError> {
        let cell = self.cell(which)?;
        if !matches!(cell.column.column_type(), ColumnType::Text | ColumnType::Binary) {
            return Err(wrong_type(cell.column, "text or binary"));
        }
        cell.bytes()
    }

    /// Whether it has no value there.
    ///
    /// # Errors
    ///
    /// There is no such column, or the table is corrupt.
    pub fn is_null(&self, which: impl Which) -> Result<bool, ColumnError> {
        Ok(self.find(which.at(self.columns())?)?.is_none())
    }

    /// Appends one JSON object: the columns but that of the time, in order.
    ///
    /// Integers and decimals are exact, decimals in quotes; numbers are the shortest that read back as the same, `null` where they are none or
    /// infinite; times are the integers that they are; binaries are hexadecimal digits in quotes.
    ///
    /// # Errors
    ///
    /// The table is corrupt; what was appended is taken away again.
    pub fn write_json(&self, to: &mut Vec<u8>) -> Result<(), ColumnError> {
        let len = to.len();
        json::write(self, to).inspect_err(|_| to.truncate(len))
    }

    fn cell(&self, which: impl Which) -> Result<Cell<'a>, ColumnError> {
        let at = which.at(self.columns())?;
        self.find(at)?
            .ok_or_else(|| ColumnError::Null { column: self.columns()[at].name().into(), row: self.row })
    }

    /// The value in a column, if there is one.
    #[inline]
    pub(super) fn find(&self, at: usize) -> Result<Option<Cell<'a>>, ColumnError> {
        let (column, data, row) = (&self.batch.columns()[at], self.batch.data(at), self.row);
        if data.is_null(row) {
            return Ok(None);
        }
        let cell = Cell { column, data, at: row, row };
        match column.keyed() {
            None => Ok(Some(cell)),
            Some(keyed) => cell.look_up(keyed, self.batch),
        }
    }

    /// The number of the column that says when the row was.
    pub(super) fn time_at(&self) -> Option<usize> {
        self.batch.table().time_column_at()
    }
}

impl<'a> Cell<'a> {
    /// The value that a number names.
    fn look_up(self, keyed: Keyed, batch: &'a TableBatch) -> Result<Option<Self>, ColumnError> {
        let mut number = [0; 8];
        number[..keyed.width].copy_from_slice(self.bytes()?);
        let shift = 64 - 8 * keyed.width;
        let number = if keyed.is_signed {
            u64::try_from((i64::from_le_bytes(number) << shift) >> shift).ok()
        } else {
            Some(u64::from_le_bytes(number))
        };
        let dictionaries = batch.table().known_dictionaries().expect("read with the batch");
        let found = number.and_then(|number| dictionaries.value(keyed.id, number));
        let (data, at) = found.ok_or_else(|| self.corrupt("its dictionary has no value of that number"))?;
        Ok((!data.is_null(at)).then_some(Self { data, at, ..self }))
    }

    #[inline]
    pub(super) fn bytes(&self) -> Result<&'a [u8], ColumnError> {
        self.data.bytes(self.at).map_err(|what| self.corrupt(what))
    }

    pub(super) fn text(&self) -> Result<&'a str, ColumnError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.corrupt("its text is no UTF-8"))
    }

    pub(super) fn bit(&self) -> bool {
        self.data.bit(self.at)
    }

    #[cold]
    fn corrupt(&self, what: &'static str) -> ColumnError {
        ColumnError::Corrupt { column: self.column.name().into(), row: self.row, what }
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = vec![];
        match self.write_json(&mut text) {
            Ok(()) => f.write_str(&String::from_utf8_lossy(&text)),
            Err(error) => write!(f, "Row({error})"),
        }
    }
}
