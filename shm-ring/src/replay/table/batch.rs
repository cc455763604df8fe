//! Batch: rows that lie together.
//!
//! (I1) a batch keeps its bytes alive, and its table; (I2) what is handed out of it is in place, or a copy that was counted.

use super::buffers::Buffers;
use super::column::{ColumnData, ColumnError, ColumnValue, Validity, Which};
use super::message::BatchHead;
use super::open::Table;
use super::row::Row;
use super::schema::TableColumn;
use crate::error::Error;
use crate::snapshot::ReadAt;
use std::ops::Range;

/// Rows of a [`Table`] that lie together, column by column. Clones share the bytes.
#[derive(Clone, Debug)]
pub struct TableBatch {
    table: Table,
    n_rows: usize,
    columns: Vec<ColumnData>,
    copied_bytes: u64,
}

impl TableBatch {
    /// Some rows of a batch, all of them without further cost if it is mapped and not compressed.
    pub(super) fn load(table: &Table, head: &BatchHead, rows: Range<usize>) -> Result<Self, Error> {
        let lent = table.reader().lend()?;
        let of = Buffers::new(&*lent, head, table.path(), table.is_mapped())?;
        Self::read(table, head, rows, &*lent, of).map_err(|(error, _)| error)
    }

    /// The same, unless more bytes than that would have to be copied.
    pub(super) fn load_at_most(
        table: &Table,
        head: &BatchHead,
        rows: Range<usize>,
        most_bytes: u64,
    ) -> Result<Option<Self>, Error> {
        let lent = table.reader().lend()?;
        let of = Buffers::new(&*lent, head, table.path(), table.is_mapped())?;
        match Self::read(table, head, rows, &*lent, of.at_most(most_bytes)) {
            Ok(batch) => Ok(Some(batch)),
            Err((_, true)) => Ok(None),
            Err((error, false)) => Err(error),
        }
    }

    /// Or why not, and whether that is for the number of bytes.
    fn read(
        table: &Table,
        head: &BatchHead,
        rows: Range<usize>,
        bytes: &dyn ReadAt,
        mut of: Buffers<'_>,
    ) -> Result<Self, (Error, bool)> {
        Self::read_columns(table, head, rows, bytes, &mut of).map_err(|error| (error, of.is_over))
    }

    fn read_columns(
        table: &Table,
        head: &BatchHead,
        rows: Range<usize>,
        bytes: &dyn ReadAt,
        of: &mut Buffers<'_>,
    ) -> Result<Self, Error> {
        let path = table.path();
        if head.dictionary.is_some() {
            let (expected, found) = ("a batch of rows".into(), "one of a dictionary".into());
            return Err(Error::Corrupt { path: path.into(), what: "metadata of a batch", expected, found });
        }
        let mut columns = Vec::with_capacity(table.columns().len());
        let spans = head.spans(table.columns().iter().map(TableColumn::layout), path);
        for (column, span) in table.columns().iter().zip(spans) {
            columns.push(ColumnData::read(of, &span?, column.layout(), rows.clone())?);
        }
        if table.columns().iter().any(TableColumn::is_dictionary) {
            table.dictionaries(bytes)?;
        }
        let copied_bytes = of.copied_bytes;
        Ok(Self { table: table.clone(), n_rows: rows.len(), columns, copied_bytes })
    }

    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Bytes that are no slices of the map, because the file is not mapped, they lie misaligned in it, or were compressed.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// The table's columns.
    pub fn columns(&self) -> &[TableColumn] {
        self.table.columns()
    }

    /// The values of a column in place: `batch.column::<f64>("price")?`.
    ///
    /// # Errors
    ///
    /// There is no such column, it has another type or a dictionary, or rows without a value.
    #[inline]
    pub fn column<T: ColumnValue>(&self, which: impl Which) -> Result<&[T], ColumnError> {
        let at = which.at(self.columns())?;
        let (values, validity) = self.nullable_column(at)?;
        if validity.n_nulls() > 0 {
            let column = self.columns()[at].name().into();
            return Err(ColumnError::HasNulls { column, n_nulls: validity.n_nulls() });
        }
        Ok(values)
    }

    /// The values of a column in place, and which of them mean something.
    ///
    /// # Errors
    ///
    /// There is no such column, or it has another type or a dictionary.
    pub fn nullable_column<T: ColumnValue>(
        &self,
        which: impl Which,
    ) -> Result<(&[T], Validity<'_>), ColumnError> {
        let at = which.at(self.columns())?;
        let (column, data) = (&self.columns()[at], &self.columns[at]);
        if !T::fits(column.column_type()) || column.is_dictionary() {
            return Err(wrong_type(column, T::NAME));
        }
        let bytes = data.fixed();
        // An empty slice may lie anywhere.
        let values = if bytes.is_empty() {
            &[]
        } else {
            bytemuck::try_cast_slice(bytes).expect("aligned when it was read")
        };
        Ok((values, data.validity()))
    }

    /// Which rows of a column have a value.
    ///
    /// # Errors
    ///
    /// There is no such column.
    pub fn validity(&self, which: impl Which) -> Result<Validity<'_>, ColumnError> {
        Ok(self.columns[which.at(self.columns())?].validity())
    }

    /// A row, from 0.
    ///
    /// # Panics
    ///
    /// There is no such row.
    #[inline]
    pub fn row(&self, row: usize) -> Row<'_> {
        assert!(row < self.n_rows, "row {row} of a batch with {} rows", self.n_rows);
        Row { batch: self, row }
    }

    /// All of them.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        (0..self.n_rows).map(|row| Row { batch: self, row })
    }

    /// Whether its bytes are had as those of that table are.
    pub(super) fn is_of(&self, table: &Table) -> bool {
        self.table.is_same(table)
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn data(&self, at: usize) -> &ColumnData {
        &self.columns[at]
    }
}

#[cold]
pub(super) fn wrong_type(column: &TableColumn, expected: &'static str) -> ColumnError {
    let of = if column.is_dictionary() { "a dictionary of " } else { "" };
    let found = format!("{of}{}", column.column_type());
    ColumnError::WrongType { column: column.name().into(), expected, found }
}
