//! Time: from a column's integers to ns since the Unix epoch.
//!
//! | column | unit |
//! |--------|------|
//! | timestamp | its own |
//! | date | days, ms |
//! | integer | ns, unless another was chosen |
//!
//! (I1) integers only, each step checked: what has no place in a u64 of ns is an error that names the row and the value.
//! Time zones mean nothing here: a timestamp with one counts from the epoch like one without.

use super::schema::{ColumnType, TableColumn};
use crate::error::Error;
use crate::replay::rows::TimeUnit;
use crate::replay::source::SourceError;

/// The column that says when a row was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeColumn {
    /// Its number.
    pub(super) at: usize,
    /// Bytes of a value.
    pub(super) width: usize,
    is_signed: bool,
    /// What one is worth.
    unit_ns: u64,
}

/// Names of integer columns that are taken for times, the first of them first.
const NAMES: [&str; 6] = ["timestamp", "ts", "ts_event", "time", "timestamp_ns", "datetime"];

impl TimeColumn {
    /// A row whose time is null, or has no place in ns.
    #[cold]
    pub(super) fn missing(&self, columns: &[TableColumn], row: u64, value: Option<i128>) -> SourceError {
        let column = columns[self.at].name().into();
        let found = value.map_or("null".into(), |value| value.to_string());
        SourceError::NoTime { row, column, found }
    }

    /// The one that is meant when nobody says: the first timestamp; or an integer of one of the usual names; or the first date.
    pub(super) fn guess(columns: &[TableColumn]) -> Option<Self> {
        let first = |is: fn(ColumnType) -> bool| {
            columns.iter().position(|c| is(c.column_type()) && !c.is_dictionary())
        };
        let named = || {
            let integer = |c: &TableColumn| matches!(c.column_type(), ColumnType::I64 | ColumnType::U64);
            let is = |name: &str, c: &TableColumn| {
                integer(c) && !c.is_dictionary() && c.name().eq_ignore_ascii_case(name)
            };
            NAMES.iter().find_map(|name| columns.iter().position(|c| is(name, c)))
        };
        let at = first(is_timestamp).or_else(named).or_else(|| first(is_date))?;
        Self::new(columns, at, TimeUnit::default())
    }

    /// That one, if it can be; the unit is for integers, which have none.
    pub(super) fn new(columns: &[TableColumn], at: usize, unit: TimeUnit) -> Option<Self> {
        use ColumnType as C;
        let column = columns.get(at).filter(|column| !column.is_dictionary())?;
        let (width, is_signed, unit_ns) = match column.column_type() {
            C::TimestampSeconds => (8, true, TimeUnit::Seconds.ns()),
            C::TimestampMillis | C::DateMillis => (8, true, TimeUnit::Millis.ns()),
            C::TimestampMicros => (8, true, TimeUnit::Micros.ns()),
            C::TimestampNanos => (8, true, TimeUnit::Nanos.ns()),
            C::DateDays => (4, true, 86_400 * TimeUnit::Seconds.ns()),
            C::I64 => (8, true, unit.ns()),
            C::U64 => (8, false, unit.ns()),
            C::I32 => (4, true, unit.ns()),
            C::U32 => (4, false, unit.ns()),
            _ => return None,
        };
        Some(Self { at, width, is_signed, unit_ns })
    }

    /// The value of that many bytes: its time, or else the value itself, which is none.
    #[inline]
    pub(super) fn ns(&self, bytes: &[u8]) -> Result<u64, i128> {
        let value = match (bytes.len(), self.is_signed) {
            (8, false) => return self.scaled(u64::from_le_bytes(bytes.try_into().expect("eight"))),
            (8, true) => i64::from_le_bytes(bytes.try_into().expect("eight")),
            (4, false) => u32::from_le_bytes(bytes.try_into().expect("four")).into(),
            _ => i32::from_le_bytes(bytes.try_into().expect("a time has four or eight bytes")).into(),
        };
        self.scaled(u64::try_from(value).map_err(|_| i128::from(value))?)
    }

    #[inline]
    fn scaled(&self, value: u64) -> Result<u64, i128> {
        value.checked_mul(self.unit_ns).ok_or(i128::from(value))
    }
}

fn is_timestamp(column_type: ColumnType) -> bool {
    use ColumnType as C;
    matches!(column_type, C::TimestampSeconds | C::TimestampMillis | C::TimestampMicros | C::TimestampNanos)
}

fn is_date(column_type: ColumnType) -> bool {
    matches!(column_type, ColumnType::DateDays | ColumnType::DateMillis)
}

/// There is none, or the one that was chosen can't be.
pub(super) fn no_time(columns: &[TableColumn], chosen: Option<&str>) -> Error {
    let mut found: Vec<String> =
        columns.iter().take(20).map(|c| format!("{} {}", c.name(), c.column_type())).collect();
    if columns.len() > found.len() {
        found.push("...".into());
    }
    let expected = match chosen {
        Some(name) => format!("a column {name:?} of timestamps, dates or integers of 32 or 64 bits"),
        None => format!(
            "a column of timestamps or dates, or one of integers that is called {}; or choose one by its name",
            NAMES.join(", ")
        ),
    };
    Error::Invalid { option: "column of times", expected, found: found.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Goal: a time is exact, or refused with its value. Method: any value in each unit, beside arithmetic that can't overflow.
        #[test]
        fn times_are_those_of_wider_arithmetic(value: i64, unsigned: u64) {
            for unit in [TimeUnit::Seconds, TimeUnit::Millis, TimeUnit::Micros, TimeUnit::Nanos] {
                let column = |is_signed| TimeColumn { at: 0, width: 8, is_signed, unit_ns: unit.ns() };
                let expected = |value: i128| u64::try_from(value * i128::from(unit.ns())).map_err(|_| value);
                prop_assert_eq!(column(true).ns(&value.to_le_bytes()), expected(value.into()));
                prop_assert_eq!(column(false).ns(&unsigned.to_le_bytes()), expected(unsigned.into()));
            }
        }
    }

    // Goal: the ends of what u64 ns can say are hit exactly. Method: the last day, the last ns, and one more.
    #[test]
    fn the_last_times_are_times() {
        let days = TimeColumn { at: 0, width: 4, is_signed: true, unit_ns: 86_400_000_000_000 };
        assert_eq!(days.ns(&213_503i32.to_le_bytes()), Ok(213_503 * 86_400_000_000_000));
        assert_eq!(days.ns(&213_504i32.to_le_bytes()), Err(213_504));
        assert_eq!(days.ns(&(-1i32).to_le_bytes()), Err(-1));
        let ns = TimeColumn { at: 0, width: 8, is_signed: false, unit_ns: 1 };
        assert_eq!(ns.ns(&u64::MAX.to_le_bytes()), Ok(u64::MAX));
    }
}
