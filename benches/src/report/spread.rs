//! Spread: medians with what lies around them, and ratios of what was measured at different times.
//!
//! A ratio is that of two medians; its min and max are of single repetitions, each held against the nearest one of the
//! reference, since a machine changes from minute to minute. (The ratio may lie outside of these two.)

use std::fmt::{self, Display};

/// Values with the number of their repetition, ascending.
pub(crate) type Series = Vec<(usize, f64)>;

/// A median and what lies around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) n: usize,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max, n) = (*values.first()?, *values.last()?, values.len());
        let median = f64::midpoint(values[(n - 1) / 2], values[n / 2]);
        Some(Self { median, min, max, n })
    }

    pub(crate) fn of_series(series: &Series) -> Option<Self> {
        Self::of(series.iter().map(|&(_, value)| value).collect())
    }

    /// `of` as a part of `to`; `None` where one of them is empty.
    pub(crate) fn of_ratio(of: &Series, to: &Series) -> Option<Self> {
        let median = Self::of_series(of)?.median / Self::of_series(to)?.median;
        let nearest = |number: usize| to.iter().min_by_key(|(other, _)| number.abs_diff(*other));
        let single = of.iter().filter_map(|&(number, value)| Some(value / nearest(number)?.1));
        Self::of(single.collect()).map(|ratios| Self { median, ..ratios })
    }

    pub(crate) fn scaled(self, by: f64) -> Self {
        Self { median: self.median * by, min: self.min * by, max: self.max * by, n: self.n }
    }

    /// The same with the largest in the middle: for what must never be exceeded.
    pub(crate) fn worst(self) -> Self {
        Self { median: self.max, ..self }
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.n {
            1 => write!(f, "{}", Digits(self.median)),
            _ => write!(f, "{} [{}..{}]", Digits(self.median), Digits(self.min), Digits(self.max)),
        }
    }
}

/// A number with three digits that matter.
pub(crate) struct Digits(pub(crate) f64);

impl Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = match self.0.abs() {
            0.0 => 0,
            x if x >= 99.95 => 0,
            x if x >= 9.995 => 1,
            x if x >= 0.9995 => 2,
            x if x >= 0.09995 => 3,
            _ => 4,
        };
        write!(f, "{:.decimals$}", self.0)
    }
}

/// What stands in a table where nothing was measured.
pub(crate) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Bytes, as people say them.
pub(crate) fn size(bytes: usize) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes >> 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Medians of even and odd counts, and no spread of nothing.
    #[test]
    fn spreads_have_the_median_in_the_middle() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0, n: 3 }));
        assert_eq!(Spread::of(vec![4.0, 1.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of(vec![]), None);
    }

    /// The ratio is that of the medians; its ends are of neighbours in time, also where the reference lacks a repetition.
    #[test]
    fn ratios_are_of_medians_and_their_ends_of_neighbours() {
        let of = vec![(0, 10.0), (1, 20.0), (3, 90.0)];
        let to = vec![(0, 10.0), (3, 30.0)];
        assert_eq!(Spread::of_ratio(&of, &to), Some(Spread { median: 1.0, min: 1.0, max: 3.0, n: 3 }));
        assert_eq!(Spread::of_ratio(&of, &vec![]), None);
        assert_eq!(Spread::of_ratio(&vec![], &to), None);
    }

    /// Three digits that matter, whatever the size.
    #[test]
    fn numbers_have_three_digits() {
        let text = [1234.5, 99.96, 12.34, 1.234, 0.1234, 0.01234, 0.0].map(|x| Digits(x).to_string());
        assert_eq!(text, ["1234", "100", "12.3", "1.23", "0.123", "0.0123", "0"]);
    }
}
