//! Axis: from values to places in a plot, and the values that are worth a line and a label.

/// What a label needs.
const LABEL_PLACE: f64 = 27.0;
/// Parts of a power of ten that are round, from many to few.
const LOG_TICKS: [&[f64]; 4] = [
    &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0],
    &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
    &[1.0, 2.0, 5.0],
    &[1.0],
];

/// One axis of a plot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    /// Where the two ends are.
    from: f64,
    to: f64,
}

impl Axis {
    /// From a value at one place to another at another, evenly.
    pub(super) fn linear([low, high]: [f64; 2], [from, to]: [f64; 2]) -> Self {
        Self { low, high, is_log: false, from, to }
    }

    /// The same by powers; both values are above 0.
    pub(super) fn log([low, high]: [f64; 2], places: [f64; 2]) -> Self {
        Self { is_log: true, ..Self::linear([low, high], places) }
    }

    /// Where a value is; what is outside is at the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let part = match self.is_log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.from + part * (self.to - self.from)
    }

    /// Values for lines and labels.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if !self.is_log {
            let step = step_for(self.high - self.low);
            return (0..)
                .map(|n| self.low + f64::from(n) * step)
                .take_while(|v| *v <= self.high * 1.0001)
                .collect();
        }
        // The densest that can be read.
        let n_max = ((self.to - self.from).abs() / LABEL_PLACE).max(3.0);
        let mut all = LOG_TICKS.iter().map(|parts| self.log_ticks(parts));
        all.find(|ticks| ticks.len() as f64 <= n_max).unwrap_or_else(|| self.log_ticks(&[1.0]))
    }

    fn log_ticks(&self, parts: &[f64]) -> Vec<f64> {
        let powers = (-3..=13).map(|power| 10_f64.powi(power));
        let all = powers.flat_map(|power| parts.iter().map(move |part| part * power));
        all.filter(|value| (self.low * 0.9999..=self.high * 1.0001).contains(value)).collect()
    }
}

/// The next value of 1, 2 or 5 times a power of ten.
pub(super) fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let parts = [1.0, 2.0, 5.0, 10.0];
    let part = parts.iter().find(|part| *part * power >= value * 0.9999);
    part.unwrap_or(&10.0) * power
}

/// The last value of 1, 2 or 5 times a power of ten.
pub(super) fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let parts = [5.0, 2.0, 1.0];
    let part = parts.iter().find(|part| *part * power <= value * 1.0001);
    part.unwrap_or(&1.0) * power
}

/// A step for five lines or so.
fn step_for(span: f64) -> f64 {
    round_up(span / 6.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: ticks are round numbers inside the axis, neither few nor many, and both ends are where they belong. Method: spans of all sizes.
    #[test]
    fn ticks_are_round_and_few() {
        for (low, high) in [(100.0, 1e9), (200.0, 5_000.0), (200.0, 1_000.0), (200.0, 500.0), (1.0, 2.0)] {
            let axis = Axis::log([low, high], [300.0, 0.0]);
            let ticks = axis.ticks();
            assert!((3..=16).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
            assert!((axis.at(low) - 300.0).abs() < 1e-9 && axis.at(high).abs() < 1e-9);
        }
        for high in [0.2, 1.0, 7.0, 58e6] {
            let ticks = Axis::linear([0.0, high], [0.0, 1.0]).ticks();
            assert!((3..=8).contains(&ticks.len()), "{high}: {ticks:?}");
        }
        assert_eq!([round_up(1.0), round_up(3.1), round_up(58e6), round_down(310.0)], [1.0, 5.0, 1e8, 200.0]);
    }
}
