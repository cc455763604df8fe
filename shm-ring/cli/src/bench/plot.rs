//! Plot: pictures of the result, as SVG that the page's style colours.
//!
//! | plot        | across | up |
//! |-------------|--------|----|
//! | percentiles | 1/(1-p), by powers: each step to the right is ten times rarer | latency, by powers |
//! | throughput  | seconds of the measured time | records per second, from 0 |
//! | slowest     | the same | the slowest record of each interval, by powers |
//!
//! (I1) every plot has a title and a description for those who can't see it; (I2) axes have names and units.

use super::axis::{Axis, round_down, round_up};
use super::figures::{Figures, Kind};
use super::plan::INTERVAL_NS;
use super::text::name_of;
use super::units::{short, show_ns, show_rate};
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 866.0;
const TOP: f64 = 20.0;
/// More columns can't be told apart.
const COLUMNS_MAX: usize = 400;
/// Steps of the percentile curve for each halving.
const STEPS: u32 = 20;

/// Latency by percentile.
pub(super) fn percentiles(figures: &Figures) -> String {
    let latency = &figures.latency;
    let floor_ns = figures.latency_floor_ns();
    let rarest = (latency.len() as f64).max(100.0);
    let lowest = floor_ns.unwrap_or(f64::MAX).min(latency.min().max(1) as f64);
    let (low, high) = (round_down(lowest), round_up(latency.max().max(1) as f64 * 1.05).max(lowest * 2.0));
    let frame = Frame::new(330.0);
    let (x, y) = (Axis::log([1.0, rarest], [LEFT, RIGHT]), frame.log([low, high]));
    let mut out = frame.begin(
        "percentiles",
        "Latency by percentile",
        &format!(
            "A curve from {} at the median to {} at the maximum.",
            show_ns(latency.value_at_quantile(0.5) as f64),
            show_ns(latency.max() as f64)
        ),
    );
    frame.rows(&mut out, &y, show_ns);
    let names = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"];
    for (name, rarity) in names.iter().zip((0..).map(|power| 10_f64.powi(power))) {
        if rarity <= rarest {
            frame.column(&mut out, x.at(rarity), name);
        }
    }
    frame.column(&mut out, x.at(2.0), "50 %");
    frame.names(&mut out, "percentile: each step to the right is ten times rarer", name_of(figures.kind));
    if let Some(floor_ns) = floor_ns {
        level(&mut out, "floor", y.at(floor_ns), &format!("floor: {}", show_ns(floor_ns)));
    }
    let mut path = String::new();
    let mut last = 0.0_f64;
    for step in latency.iter_quantiles(STEPS) {
        let rarity = (1.0 / (1.0 - step.quantile_iterated_to()).max(1e-12)).clamp(1.0, rarest);
        let place = y.at(step.value_iterated_to() as f64);
        let verb = if path.is_empty() { 'M' } else { 'L' };
        // A record that is one of many of its kind stays at that height until the next kind begins.
        let _ = write!(path, "{verb}{:.1} {place:.1}", x.at(rarity.max(last)));
        last = rarity;
    }
    let _ = write!(out, "<path class=\"curve\" d=\"{path}\"/>");
    for quantile in [0.5, 0.9, 0.99, 0.999, 0.9999] {
        let rarity = 1.0 / (1.0 - quantile);
        if rarity <= rarest {
            let ns = latency.value_at_quantile(quantile) as f64;
            // Its label would stand in that of the maximum.
            let label = if x.at(rarity) < RIGHT - 130.0 { show_ns(ns) } else { String::new() };
            mark(&mut out, x.at(rarity), y.at(ns), &label, false);
        }
    }
    let max_ns = latency.max() as f64;
    mark(&mut out, x.at(rarest), y.at(max_ns), &format!("max {}", show_ns(max_ns)), true);
    out.push_str("</svg>");
    out
}

/// Records per second over time.
pub(super) fn throughput(figures: &Figures) -> String {
    let columns = columns(figures);
    let most = columns.iter().map(|column| column.rate).fold(0.0, f64::max);
    let thing = if figures.kind == Kind::RoundTrip { "round trips per second" } else { "records per second" };
    let frame = Frame::new(220.0);
    let y = Axis::linear([0.0, nice_top(most)], frame.heights());
    let mut out = frame.begin(
        "throughput",
        "Throughput over time",
        &format!("At most {} in one interval.", show_rate(most)),
    );
    frame.rows(&mut out, &y, |rate| if rate == 0.0 { "0".to_owned() } else { show_rate(rate) });
    let x = frame.seconds(&mut out, &columns);
    frame.names(&mut out, "seconds from the beginning of the measured time", thing);
    let line = stairs(&columns, &x, |column| Some(y.at(column.rate)));
    let (end, bottom) = (columns.last().map_or(0.0, |column| column.to), frame.bottom);
    let _ = write!(
        out,
        "<path class=\"area\" d=\"{line}L{:.1} {bottom}L{LEFT} {bottom}Z\"/><path class=\"curve\" d=\"{line}\"/></svg>",
        x.at(end)
    );
    out
}

/// The slowest record of each interval.
pub(super) fn slowest(figures: &Figures) -> String {
    let columns = columns(figures);
    let slowest = columns.iter().map(|column| column.slowest_ns).filter(|ns| *ns > 0.0);
    let (low, high) = slowest.fold((f64::MAX, 1.0_f64), |(low, high), ns| (low.min(ns), high.max(ns)));
    let p50_ns = figures.latency.value_at_quantile(0.5).max(1) as f64;
    let frame = Frame::new(220.0);
    let y = frame.log([round_down(low.min(p50_ns)), round_up(high * 1.05).max(p50_ns * 2.0)]);
    let mut out = frame.begin(
        "slowest",
        "The slowest record over time",
        &format!("Of all intervals, the worst one had a record of {}.", show_ns(high)),
    );
    frame.rows(&mut out, &y, show_ns);
    let x = frame.seconds(&mut out, &columns);
    frame.names(&mut out, "seconds from the beginning of the measured time", name_of(figures.kind));
    level(&mut out, "middle", y.at(p50_ns), &format!("p50 of all: {}", show_ns(p50_ns)));
    let line = stairs(&columns, &x, |column| (column.slowest_ns > 0.0).then(|| y.at(column.slowest_ns)));
    let _ = write!(out, "<path class=\"curve slow\" d=\"{line}\"/></svg>");
    out
}

/// A line across at one height, with its name above the right end.
fn level(out: &mut String, class: &str, at: f64, name: &str) {
    let _ = write!(
        out,
        "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
         <text class=\"{class}\" x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
        at - 6.0
    );
}

/// How long a column of the plots over time is, in ms.
pub(super) fn column_ms(figures: &Figures) -> u64 {
    merged(figures) as u64 * INTERVAL_NS / 1_000_000
}

/// Some intervals, as one.
#[derive(Debug)]
struct Column {
    from: f64,
    to: f64,
    rate: f64,
    slowest_ns: f64,
}

/// Intervals to a column.
fn merged(figures: &Figures) -> usize {
    figures.intervals.len().div_ceil(COLUMNS_MAX).max(1)
}

fn columns(figures: &Figures) -> Vec<Column> {
    let (merged, interval_s) = (merged(figures), INTERVAL_NS as f64 / 1e9);
    let window_s = figures.plan.window_ns as f64 / 1e9;
    let (mut from, mut most) = (0.0, 0.0_f64);
    let mut columns: Vec<Column> = Vec::new();
    for some in figures.intervals.chunks(merged) {
        let full = some.len() as f64 * interval_s;
        // The measured time may end inside an interval; what came after it is what was late.
        let to = if from < window_s { (from + full).min(window_s) } else { from + full };
        let records: u64 = some.iter().map(|interval| interval.records).sum();
        let rate = records as f64 / (to - from) / figures.n_receivers() as f64;
        let slowest = some.iter().map(|interval| interval.latency_max_ns).max().unwrap_or(0);
        // What comes after the end is a few records that were on their way, unless there was a backlog.
        let is_told = from < window_s - 1e-6 || rate > most / 10.0;
        if is_told && to - from > interval_s / 2.0 || columns.is_empty() {
            most = most.max(rate);
            columns.push(Column { from, to, rate, slowest_ns: slowest as f64 });
        } else if let Some(last) = columns.last_mut() {
            last.slowest_ns = last.slowest_ns.max(slowest as f64);
        }
        from = to;
    }
    columns
}

/// A line with a step for each column; `None` makes a gap.
fn stairs(columns: &[Column], x: &Axis, height: impl Fn(&Column) -> Option<f64>) -> String {
    let (mut path, mut is_open) = (String::new(), false);
    for column in columns {
        let Some(y) = height(column) else {
            is_open = false;
            continue;
        };
        let verb = if is_open { 'L' } else { 'M' };
        let _ = write!(path, "{verb}{:.1} {y:.1}H{:.1}", x.at(column.from), x.at(column.to));
        is_open = true;
    }
    path
}

/// A little above the highest value, at a line.
fn nice_top(most: f64) -> f64 {
    let step = round_up((most * 1.08 / 6.0).max(1e-3));
    (most * 1.08 / step).ceil() * step
}

/// A point of a curve with what it is.
fn mark(out: &mut String, x: f64, y: f64, label: &str, is_last: bool) {
    let anchor = if is_last { "end" } else { "middle" };
    let _ = write!(
        out,
        "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>\
         <text class=\"value\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{label}</text>",
        y - 10.0
    );
}

/// What all plots have in common.
#[derive(Debug)]
struct Frame {
    bottom: f64,
}

impl Frame {
    fn new(height: f64) -> Self {
        Self { bottom: TOP + height }
    }

    fn heights(&self) -> [f64; 2] {
        [self.bottom, TOP]
    }

    fn log(&self, range: [f64; 2]) -> Axis {
        Axis::log(range, self.heights())
    }

    fn begin(&self, id: &str, title: &str, description: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\
             <title id=\"{id}-title\">{title}</title><desc id=\"{id}-desc\">{description}</desc>",
            self.bottom + 52.0
        )
    }

    /// Lines across, and their values.
    fn rows(&self, out: &mut String, y: &Axis, label: impl Fn(f64) -> String) {
        let _ = write!(out, "<path class=\"base\" d=\"M{LEFT} {TOP}V{}H{RIGHT}\"/>", self.bottom);
        for value in y.ticks() {
            let at = y.at(value);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                short(&label(value))
            );
        }
    }

    /// A line up, and its value.
    fn column(&self, out: &mut String, x: f64, label: &str) {
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            self.bottom,
            self.bottom + 20.0
        );
    }

    /// The time, across.
    fn seconds(&self, out: &mut String, columns: &[Column]) -> Axis {
        let end = columns.last().map_or(1.0, |column| column.to);
        let x = Axis::linear([0.0, end], [LEFT, RIGHT]);
        for value in x.ticks() {
            // Without the noise of binary fractions.
            let text = format!("{:.3}", value);
            self.column(out, x.at(value), text.trim_end_matches('0').trim_end_matches('.'));
        }
        x
    }

    /// What the axes are.
    fn names(&self, out: &mut String, across: &str, up: &str) {
        let (middle, low) = ((LEFT + RIGHT) / 2.0, self.bottom + 44.0);
        let half = (TOP + self.bottom) / 2.0;
        let _ = write!(
            out,
            "<text class=\"name\" x=\"{middle}\" y=\"{low}\" text-anchor=\"middle\">{across}</text>\
             <text class=\"name\" transform=\"translate(13 {half}) rotate(-90)\" text-anchor=\"middle\">{up}</text>"
        );
    }
}
