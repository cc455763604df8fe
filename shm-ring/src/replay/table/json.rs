//! Json: a row as text.
//!
//! | column | text |
//! |--------|------|
//! | integers, times | digits |
//! | numbers | the shortest digits that read back as the same number; `null`: infinite, or not a number |
//! | decimals | exact digits, in quotes |
//! | text | in quotes, escaped as little as can be |
//! | binaries | hexadecimal digits, in quotes |
//!
//! (I1) what is written is one JSON object without line breaks, whatever the values are.

use super::column::ColumnError;
use super::row::{Cell, Row};
use super::schema::ColumnType;
use std::fmt::{Display, Write as _};
use std::io::Write as _;

/// The columns of a row but that of the time.
pub(super) fn write(row: &Row<'_>, to: &mut Vec<u8>) -> Result<(), ColumnError> {
    to.push(b'{');
    let mut is_first = true;
    for (at, column) in row.columns().iter().enumerate() {
        if row.time_at() == Some(at) {
            continue;
        }
        if !is_first {
            to.push(b',');
        }
        is_first = false;
        quoted(column.name(), to);
        to.push(b':');
        match row.find(at)? {
            Some(cell) => value(&cell, to)?,
            None => to.extend_from_slice(b"null"),
        }
    }
    to.push(b'}');
    Ok(())
}

fn value(cell: &Cell<'_>, to: &mut Vec<u8>) -> Result<(), ColumnError> {
    use ColumnType as C;
    match cell.column.column_type() {
        C::Null => to.extend_from_slice(b"null"),
        C::Bool => to.extend_from_slice(if cell.bit() { b"true" } else { b"false" }),
        C::Text => quoted(cell.text()?, to),
        C::Binary => hexadecimal(cell.bytes()?, to),
        C::Decimal { scale } => decimal(integer(cell.bytes()?), scale, to),
        C::U64 => plain(u64::from_le_bytes(word(cell.bytes()?)), to),
        C::U8 | C::U16 | C::U32 => plain(u64::from_le_bytes(padded(cell.bytes()?)), to),
        C::F16 => float(half(u16::from_le_bytes(word(cell.bytes()?))), to),
        C::F32 => float(f32::from_le_bytes(word(cell.bytes()?)), to),
        C::F64 => float(f64::from_le_bytes(word(cell.bytes()?)), to),
        _ => plain(integer(cell.bytes()?), to),
    }
    Ok(())
}

/// As many bytes as the type of the column has.
fn word<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the layout of a type has its width")
}

fn padded(bytes: &[u8]) -> [u8; 8] {
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    padded
}

/// An integer with a sign, of 1 to 16 bytes.
fn integer(bytes: &[u8]) -> i128 {
    match bytes.len() {
        16 => i128::from_le_bytes(word(bytes)),
        n => {
            let shift = 64 - 8 * n;
            ((i64::from_le_bytes(padded(bytes)) << shift) >> shift).into()
        }
    }
}

fn plain(value: impl Display, to: &mut Vec<u8>) {
    write!(to, "{value}").expect("a vector takes all");
}

/// `Debug` has an exponent where `Display` would have hundreds of zeros.
fn float(value: impl Into<f64> + std::fmt::Debug + Copy, to: &mut Vec<u8>) {
    if value.into().is_finite() {
        write!(to, "{value:?}").expect("a vector takes all");
    } else {
        to.extend_from_slice(b"null");
    }
}

/// The number that those 16 bits are: a sign, 5 bits of exponent, 10 of fraction.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

fn decimal(value: i128, scale: i32, to: &mut Vec<u8>) {
    to.push(b'"');
    if value < 0 {
        to.push(b'-');
    }
    let mut digits = value.unsigned_abs().to_string();
    match usize::try_from(scale) {
        Ok(0) => {}
        Ok(behind) => {
            while digits.len() <= behind {
                digits.insert(0, '0');
            }
            digits.insert(digits.len() - behind, '.');
        }
        Err(_) if value == 0 => {}
        Err(_) => (0..scale.unsigned_abs()).for_each(|_| digits.push('0')),
    }
    to.extend_from_slice(digits.as_bytes());
    to.push(b'"');
}

fn hexadecimal(bytes: &[u8], to: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    to.push(b'"');
    for byte in bytes {
        to.push(DIGITS[usize::from(byte >> 4)]);
        to.push(DIGITS[usize::from(byte & 15)]);
    }
    to.push(b'"');
}

fn quoted(text: &str, to: &mut Vec<u8>) {
    to.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        to.extend_from_slice(&rest.as_bytes()[..at]);
        let mut escaped = String::new();
        match rest.as_bytes()[at] {
            b'\n' => escaped.push_str("\\n"),
            b'\r' => escaped.push_str("\\r"),
            b'\t' => escaped.push_str("\\t"),
            byte @ (b'"' | b'\\') => escaped.extend(['\\', char::from(byte)]),
            byte => write!(escaped, "\\u{byte:04x}").expect("a string takes all"),
        }
        to.extend_from_slice(escaped.as_bytes());
        rest = &rest[at + 1..];
    }
    to.extend_from_slice(rest.as_bytes());
    to.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut to = vec![];
        write(&mut to);
        String::from_utf8(to).unwrap()
    }

    // Goal: no text leaves its quotes or its line. Method: every kind of character that JSON has a rule for.
    #[test]
    fn texts_are_escaped() {
        assert_eq!(
            of(|to| quoted("a\"b\\c\nd\te\r\u{1}\u{1f} ä🦀", to)),
            r#""a\"b\\c\nd\te\r\u0001\u001f ä🦀""#
        );
        assert_eq!(of(|to| quoted("", to)), "\"\"");
    }

    // Goal: decimals are exact. Method: scales in front of, inside and behind the digits.
    #[test]
    fn decimals_are_exact() {
        let text = |value, scale| of(|to| decimal(value, scale, to));
        assert_eq!(
            [text(12345, 2), text(-5, 3), text(0, 2), text(7, 0)],
            ["\"123.45\"", "\"-0.005\"", "\"0.00\"", "\"7\""]
        );
        assert_eq!([text(12, -3), text(0, -3)], ["\"12000\"", "\"0\""]);
        assert_eq!(text(i128::MIN, 38), "\"-1.70141183460469231731687303715884105728\"");
    }

    // Goal: numbers of 16 bits are what they are. Method: one of each kind, and all finite ones, which grow with their bits.
    #[test]
    fn halves_are_exact() {
        assert_eq!(
            [half(0x3c00), half(0xc000), half(0x7bff), half(0x0001)],
            [1.0, -2.0, 65504.0, 2f32.powi(-24)]
        );
        assert!(half(0x7c00).is_infinite() && half(0x7e00).is_nan());
        assert!((0..0x7bff).all(|bits| half(bits) < half(bits + 1)));
    }
}
