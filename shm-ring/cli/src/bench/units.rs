//! Units: times, rates and shares, in as many digits as people read.

/// A time, in the unit that people would use.
pub(super) fn show_ns(ns: f64) -> String {
    match ns {
        // What would be rounded to 1000 of a unit is 1 of the next.
        ns if ns < 999.5 => format!("{ns:.0} ns"),
        ns if ns < 999_500.0 => format!("{} µs", digits(ns / 1e3)),
        ns if ns < 999_500_000.0 => format!("{} ms", digits(ns / 1e6)),
        ns => format!("{} s", digits(ns / 1e9)),
    }
}

/// A figure for an axis: `1 µs` and not `1.00 µs`.
pub(super) fn short(figure: &str) -> String {
    match figure.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => figure.to_owned(),
    }
}

/// So many in a second.
pub(super) fn show_rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 999.5 => format!("{} /s", digits(rate)),
        rate if rate < 999_500.0 => format!("{} k/s", digits(rate / 1e3)),
        rate => format!("{} M/s", digits(rate / 1e6)),
    }
}

/// Bytes in a second.
pub(super) fn show_bytes_rate(per_second: f64) -> String {
    let units = [(1 << 30, "GiB/s"), (1 << 20, "MiB/s"), (1 << 10, "KiB/s")];
    match units.iter().find(|(unit, _)| per_second >= f64::from(*unit)) {
        Some((unit, name)) => format!("{} {name}", digits(per_second / f64::from(*unit))),
        None => format!("{per_second:.0} B/s"),
    }
}

/// A count with a gap every three digits.
pub(super) fn show_number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A part of a hundred.
pub(super) fn show_percent(part: f64) -> String {
    match part * 100.0 {
        percent if percent == 0.0 || percent >= 10.0 => format!("{percent:.0} %"),
        percent if percent >= 0.01 => format!("{} %", digits(percent)),
        _ => "< 0.01 %".to_owned(),
    }
}

/// A ratio to the floor.
pub(super) fn show_ratio(ratio: f64) -> String {
    match ratio {
        ratio if ratio < 999.5 => digits(ratio),
        ratio if ratio < 999_500.0 => format!("{} k", digits(ratio / 1e3)),
        ratio => format!("{} M", digits(ratio / 1e6)),
    }
}

/// Three digits that count, no more than two behind the point.
fn digits(number: f64) -> String {
    match number {
        number if number < 9.995 => format!("{number:.2}"),
        number if number < 99.95 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: figures are short and in the right unit. Method: both sides of each border.
    #[test]
    fn figures_are_short() {
        let times = [0.0, 481.2, 999.6, 12_345.0, 999_499.0, 999_600.0, 100_400_000.0, 2e9].map(show_ns);
        assert_eq!(times, ["0 ns", "481 ns", "1.00 µs", "12.3 µs", "999 µs", "1.00 ms", "100 ms", "2.00 s"]);
        assert_eq!(["1.00 µs", "1.50 µs", "100 µs"].map(short), ["1 µs", "1.5 µs", "100 µs"]);
        assert_eq!([5.0, 5_000.0, 58.21e6].map(show_rate), ["5.00 /s", "5.00 k/s", "58.2 M/s"]);
        let rates = [12.0, 2048.0, 3.5 * f64::from(1 << 30)].map(show_bytes_rate);
        assert_eq!(rates, ["12 B/s", "2.00 KiB/s", "3.50 GiB/s"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(show_number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.36, 1.541, 12_043.0, 2e6].map(show_ratio), ["0.36", "1.54", "12.0 k", "2.00 M"]);
        let parts = [0.0, 0.5, 0.012_34, 0.000_1, 0.000_01].map(show_percent);
        assert_eq!(parts, ["0 %", "50 %", "1.23 %", "0.01 %", "< 0.01 %"]);
    }
}
