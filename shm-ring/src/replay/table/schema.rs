//! Schema: which columns a table has, and what the bytes of their buffers mean.
//!
//! | layout | buffers behind the validity |
//! |--------|-----------------------------|
//! | None | none, not even the validity |
//! | Bits | one bit a row |
//! | Fixed | so many bytes a row |
//! | Offsets | ends of each row's bytes, of 4 or 8 bytes; the bytes |
//! | Views | 16 bytes a row: up to 12 bytes in place, or where they are; any number of buffers with bytes |
//!
//! (I1) a column that is taken up here can be read; what can't be is refused by name.
//! Reads the metadata only.

use crate::error::Error;
use arrow_ipc::{DateUnit, Endianness, Field, MetadataVersion, Precision, Type};
use std::fmt;
use std::path::Path;

/// More than any table has; what names more is hostile.
const COLUMNS_MAX: usize = 1 << 15;
/// Of all names together.
const NAMES_BYTES_MAX: usize = 16 << 20;

/// What the values of a column are. Times are integers, without a time zone: instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ColumnType {
    /// Nothing but nulls.
    Null,
    /// Yes or no.
    Bool,
    /// An integer of 8 bits.
    I8,
    /// An integer of 16 bits.
    I16,
    /// An integer of 32 bits.
    I32,
    /// An integer of 64 bits.
    I64,
    /// An integer of 8 bits, not negative.
    U8,
    /// An integer of 16 bits, not negative.
    U16,
    /// An integer of 32 bits, not negative.
    U32,
    /// An integer of 64 bits, not negative.
    U64,
    /// A number of 16 bits.
    F16,
    /// A number of 32 bits.
    F32,
    /// A number of 64 bits.
    F64,
    /// An integer that counts units of 10 to the power of `-scale`.
    Decimal {
        /// Digits behind the point; negative: zeros in front of it.
        scale: i32,
    },
    /// Seconds since the Unix epoch, in 64 bits.
    TimestampSeconds,
    /// Milliseconds since the Unix epoch, in 64 bits.
    TimestampMillis,
    /// Microseconds since the Unix epoch, in 64 bits.
    TimestampMicros,
    /// Nanoseconds since the Unix epoch, in 64 bits.
    TimestampNanos,
    /// Days since the Unix epoch, in 32 bits.
    DateDays,
    /// Milliseconds since the Unix epoch, in 64 bits, whole days.
    DateMillis,
    /// Seconds since midnight, in 32 bits.
    TimeSeconds,
    /// Milliseconds since midnight, in 32 bits.
    TimeMillis,
    /// Microseconds since midnight, in 64 bits.
    TimeMicros,
    /// Nanoseconds since midnight, in 64 bits.
    TimeNanos,
    /// Seconds between two instants, in 64 bits.
    DurationSeconds,
    /// Milliseconds between two instants, in 64 bits.
    DurationMillis,
    /// Microseconds between two instants, in 64 bits.
    DurationMicros,
    /// Nanoseconds between two instants, in 64 bits.
    DurationNanos,
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Decimal { scale } => return write!(f, "decimal with scale {scale}"),
            Self::TimestampSeconds => "timestamp[s] (i64)",
            Self::TimestampMillis => "timestamp[ms] (i64)",
            Self::TimestampMicros => "timestamp[us] (i64)",
            Self::TimestampNanos => "timestamp[ns] (i64)",
            Self::DateDays => "date32 (i32)",
            Self::DateMillis => "date64 (i64)",
            Self::TimeSeconds => "time32[s] (i32)",
            Self::TimeMillis => "time32[ms] (i32)",
            Self::TimeMicros => "time64[us] (i64)",
            Self::TimeNanos => "time64[ns] (i64)",
            Self::DurationSeconds => "duration[s] (i64)",
            Self::DurationMillis => "duration[ms] (i64)",
            Self::DurationMicros => "duration[us] (i64)",
            Self::DurationNanos => "duration[ns] (i64)",
            Self::Text => "text",
            Self::Binary => "binary",
        })
    }
}

/// How values lie in their buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    None,
    Bits,
    Fixed { width: usize },
    Offsets { width: usize },
    Views,
}

impl Layout {
    /// Buffers with the validity, without those that a batch counts itself.
    pub(super) fn n_buffers(self) -> usize {
        match self {
            Self::None => 0,
            Self::Bits | Self::Fixed { .. } | Self::Views => 2,
            Self::Offsets { .. } => 3,
        }
    }
}

/// A column whose values are numbers of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keyed {
    /// Which dictionary.
    pub(super) id: i64,
    /// Bytes of a number.
    pub(super) width: usize,
    pub(super) is_signed: bool,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct TableColumn {
    name: String,
    column_type: ColumnType,
    is_nullable: bool,
    values: Layout,
    keyed: Option<Keyed>,
}

impl TableColumn {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its values are, those of its dictionary if it has one.
    pub fn column_type(&self) -> ColumnType {
        self.column_type
    }

    /// Whether rows may be without a value.
    pub fn is_nullable(&self) -> bool {
        self.is_nullable
    }

    /// Whether its values are in a dictionary, so that no slice of them is in the file.
    pub fn is_dictionary(&self) -> bool {
        self.keyed.is_some()
    }

    /// How its own buffers lie: the numbers', for one with a dictionary.
    pub(super) fn layout(&self) -> Layout {
        self.keyed.map_or(self.values, |keyed| Layout::Fixed { width: keyed.width })
    }

    /// How the values lie, in its own buffers or in the dictionary's.
    pub(super) fn values(&self) -> Layout {
        self.values
    }

    pub(super) fn keyed(&self) -> Option<Keyed> {
        self.keyed
    }
}

/// The columns that a schema names.
pub(super) fn columns(
    schema: &arrow_ipc::Schema<'_>,
    version: MetadataVersion,
    path: &Path,
) -> Result<Vec<TableColumn>, Error> {
    let corrupt = |what, expected: &str, found: String| {
        Err(Error::Corrupt { path: path.into(), what, expected: expected.into(), found })
    };
    if !(MetadataVersion::V4..=MetadataVersion::V5).contains(&version) {
        return corrupt("version of the format", "4 or 5", format!("{}", i32::from(version.0) + 1));
    }
    if schema.endianness() != Endianness::Little {
        let found = "big-endian numbers; write it on a little-endian machine".into();
        return corrupt("endianness", "little-endian numbers", found);
    }
    let Some(fields) = schema.fields() else { return Ok(vec![]) };
    if fields.len() > COLUMNS_MAX {
        return corrupt("number of columns", &format!("at most {COLUMNS_MAX}"), fields.len().to_string());
    }
    let mut names_bytes = 0;
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let name = field.name().unwrap_or_default();
        names_bytes += name.len();
        if names_bytes > NAMES_BYTES_MAX {
            return corrupt(
                "names of the columns",
                &format!("at most {NAMES_BYTES_MAX} bytes"),
                "more".into(),
            );
        }
        columns.push(column(&field, name, path)?);
    }
    Ok(columns)
}

fn column(field: &Field<'_>, name: &str, path: &Path) -> Result<TableColumn, Error> {
    let unread = |found: String| Error::Unsupported {
        what: "a column of this type",
        reason: format!(
            "{path:?}, column {name:?}: {found} are not read; write the table without it, or as simple columns",
            path = path.as_os_str()
        ),
    };
    let (column_type, values) = values_of(field).map_err(unread)?;
    let keyed = match field.dictionary() {
        None => None,
        Some(encoding) => {
            // 32 bits with a sign, if nothing is said.
            let (bits, is_signed) =
                encoding.indexType().map_or((32, true), |int| (int.bitWidth(), int.is_signed()));
            let width = width(bits, &[8, 16, 32, 64])
                .ok_or_else(|| unread(format!("dictionaries with numbers of {bits} bits")))?;
            Some(Keyed { id: encoding.id(), width, is_signed })
        }
    };
    Ok(TableColumn { name: name.into(), column_type, is_nullable: field.nullable(), values, keyed })
}

/// What a field's values are, or what it has that is not read.
fn values_of(field: &Field<'_>) -> Result<(ColumnType, Layout), String> {
    use ColumnType as C;
    let kind = field.type_type();
    let nothing = || "types without their description".to_owned();
    let fixed = |column_type, width| Ok((column_type, Layout::Fixed { width }));
    match kind {
        Type::Null => Ok((C::Null, Layout::None)),
        Type::Bool => Ok((C::Bool, Layout::Bits)),
        Type::Utf8 => Ok((C::Text, Layout::Offsets { width: 4 })),
        Type::LargeUtf8 => Ok((C::Text, Layout::Offsets { width: 8 })),
        Type::Utf8View => Ok((C::Text, Layout::Views)),
        Type::Binary => Ok((C::Binary, Layout::Offsets { width: 4 })),
        Type::LargeBinary => Ok((C::Binary, Layout::Offsets { width: 8 })),
        Type::BinaryView => Ok((C::Binary, Layout::Views)),
        Type::FixedSizeBinary => {
            let n = field.type_as_fixed_size_binary().ok_or_else(nothing)?.byteWidth();
            fixed(C::Binary, usize::try_from(n).map_err(|_| format!("binaries of {n} bytes"))?)
        }
        Type::Int => {
            let int = field.type_as_int().ok_or_else(nothing)?;
            let column_type = match (int.bitWidth(), int.is_signed()) {
                (8, true) => C::I8,
                (16, true) => C::I16,
                (32, true) => C::I32,
                (64, true) => C::I64,
                (8, false) => C::U8,
                (16, false) => C::U16,
                (32, false) => C::U32,
                (64, false) => C::U64,
                (bits, _) => return Err(format!("integers of {bits} bits")),
            };
            fixed(column_type, width(int.bitWidth(), &[8, 16, 32, 64]).ok_or_else(nothing)?)
        }
        Type::FloatingPoint => match field.type_as_floating_point().ok_or_else(nothing)?.precision() {
            Precision::HALF => fixed(C::F16, 2),
            Precision::SINGLE => fixed(C::F32, 4),
            Precision::DOUBLE => fixed(C::F64, 8),
            Precision(other) => Err(format!("numbers of precision {other}")),
        },
        Type::Decimal => {
            let decimal = field.type_as_decimal().ok_or_else(nothing)?;
            let (bits, scale) = (decimal.bitWidth(), decimal.scale());
            // A hostile scale would be as many zeros in each value's text.
            let width = width(bits, &[32, 64, 128]).filter(|_| (-128..=127).contains(&scale));
            let width = width.ok_or_else(|| format!("decimals of {bits} bits with scale {scale}"))?;
            fixed(C::Decimal { scale }, width)
        }
        Type::Date => match field.type_as_date().ok_or_else(nothing)?.unit() {
            DateUnit::DAY => fixed(C::DateDays, 4),
            DateUnit::MILLISECOND => fixed(C::DateMillis, 8),
            DateUnit(other) => Err(format!("dates of unit {other}")),
        },
        Type::Time => {
            let time = field.type_as_time().ok_or_else(nothing)?;
            match (time.unit().0, time.bitWidth()) {
                (0, 32) => fixed(C::TimeSeconds, 4),
                (1, 32) => fixed(C::TimeMillis, 4),
                (2, 64) => fixed(C::TimeMicros, 8),
                (3, 64) => fixed(C::TimeNanos, 8),
                (unit, bits) => Err(format!("times of unit {unit} in {bits} bits")),
            }
        }
        Type::Timestamp => match field.type_as_timestamp().ok_or_else(nothing)?.unit().0 {
            0 => fixed(C::TimestampSeconds, 8),
            1 => fixed(C::TimestampMillis, 8),
            2 => fixed(C::TimestampMicros, 8),
            3 => fixed(C::TimestampNanos, 8),
            other => Err(format!("timestamps of unit {other}")),
        },
        Type::Duration => match field.type_as_duration().ok_or_else(nothing)?.unit().0 {
            0 => fixed(C::DurationSeconds, 8),
            1 => fixed(C::DurationMillis, 8),
            2 => fixed(C::DurationMicros, 8),
            3 => fixed(C::DurationNanos, 8),
            other => Err(format!("durations of unit {other}")),
        },
        Type(other) => Err(match kind.variant_name() {
            Some(name) => format!("values of the type {}", name.trim_end_matches('_')),
            None => format!("values of the unknown type {other}"),
        }),
    }
}

/// So many bits in bytes, if that is one of the widths that there are.
fn width(bits: i32, known: &[i32]) -> Option<usize> {
    known.contains(&bits).then(|| usize::try_from(bits / 8).expect("a known width is positive"))
}
