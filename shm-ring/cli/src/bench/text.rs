//! Text: the result for a terminal of 80 columns.

use super::figures::{Figures, Kind, PERCENTILES};
use super::units::{short, show_bytes_rate, show_ns, show_number, show_percent, show_rate, show_ratio};
use crate::args::{Mode, Waiting, Workload};
use crate::size::{show_count, show_size};
use hdrhistogram::Histogram;
use std::fmt::Write;

/// Rows of the histogram, all of a width on a logarithmic scale up to p99.9; a last one has the rest.
const ROWS: usize = 14;
const BAR_CHARS: usize = 50;
const BAR_COLOR: &str = "\x1b[36m";
const NOTE_COLOR: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// All of it.
pub(super) fn show(figures: &Figures, is_colored: bool) -> String {
    let paint = |color: &str, text: &str| {
        if is_colored && !text.is_empty() { format!("{color}{text}{RESET}") } else { text.to_owned() }
    };
    let mut out = String::new();
    let (what, how) = (what(figures), how(figures));
    let machine = &figures.machine;
    let cpus = show_count(machine.cpus as u64, "CPU", "CPUs");
    let _ = writeln!(out, "{what}\n{how}\n{}, {cpus}, Linux {}\n", machine.processor, machine.kernel);
    let _ = writeln!(out, "{:<22} {:>12} {:>12} {:>7}", "", "measured", "floor", "ratio");
    for row in headlines(figures) {
        let (floor, ratio) = row.floor.unwrap_or_default();
        let line = format!("{:<22} {:>12} {floor:>12} {ratio:>7}  {}", row.name, row.value, row.of);
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let latency = &figures.latency;
    let _ = writeln!(
        out,
        "\n{}: {} measured, mean {}",
        name_of(figures.kind),
        show_number(latency.len()),
        show_ns(latency.mean())
    );
    let (mut titles, mut values) = (String::new(), String::new());
    for (name, value) in percentiles(latency) {
        let _ = write!(titles, "{name:>12}");
        let _ = write!(values, "{value:>12}");
    }
    let _ = writeln!(out, "{titles}\n{values}\n");
    for row in rows(latency) {
        let part = row.records as f64 / latency.len() as f64;
        let (from, share) = (show_ns(row.from_ns as f64), show_percent(part));
        let bar = paint(BAR_COLOR, &bar(part / row.part_max));
        let end =
            if row.is_last { format!("  up to {}", show_ns(latency.max() as f64)) } else { String::new() };
        let line = format!("{from:>10} {share:>8}  {bar}{end}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for note in &figures.notes {
        let _ = writeln!(out, "\n{}", paint(NOTE_COLOR, &wrapped(&format!("note: {note}"))));
    }
    out
}

/// What was measured, in a line.
pub(super) fn what(figures: &Figures) -> String {
    let plan = &figures.plan;
    let mode = match plan.mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared",
    };
    let batch = if plan.batch > 1 { format!(", {} to a claim", plan.batch) } else { String::new() };
    let pace = match plan.rate {
        Some(rate) => format!(", paced at {}", short(&show_rate(rate as f64))),
        None => String::new(),
    };
    format!(
        "{}: {} to {}, records of {}, {mode}{batch}{pace}",
        workload(figures),
        show_count(plan.producers.into(), "producer", "producers"),
        show_count(plan.consumers.into(), "consumer", "consumers"),
        show_size(plan.size_bytes as u64),
    )
}

/// The workload's name.
pub(super) fn workload(figures: &Figures) -> &'static str {
    match figures.plan.workload {
        Workload::Pingpong => "pingpong",
        Workload::Stream => "stream",
        Workload::Fanout => "fanout",
        Workload::Fanin => "fanin",
    }
}

/// The way of waiting.
pub(super) fn waiting(figures: &Figures) -> &'static str {
    match figures.plan.wait {
        Waiting::Spin => "spin",
        Waiting::Yield => "yield",
        Waiting::Adaptive => "adaptive",
        Waiting::Block => "block",
    }
}

fn how(figures: &Figures) -> String {
    let plan = &figures.plan;
    let cpus: Vec<_> = figures.producers.iter().chain(&figures.consumers).filter_map(|p| p.cpu).collect();
    let cpus: Vec<_> = cpus.iter().map(usize::to_string).collect();
    let place =
        if figures.is_pinned { format!("on CPUs {}", cpus.join(",")) } else { "on any CPU".to_owned() };
    format!(
        "ring of {}, {} metadata, {} wait; {} s after {} s of warm-up, {place}",
        show_size(plan.capacity_bytes),
        if plan.metadata { "with" } else { "without" },
        waiting(figures),
        plan.window_ns as f64 / 1e9,
        plan.warm_up_ns as f64 / 1e9,
    )
}

/// What the latency is called.
pub(super) fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::RoundTrip => "round trip",
        Kind::OneWay => "one-way latency",
        Kind::Queue => "time in the queue",
    }
}

/// A figure that people look for first.
#[derive(Debug)]
pub(super) struct Headline {
    pub(super) name: String,
    pub(super) value: String,
    /// The floor, and the ratio to it.
    pub(super) floor: Option<(String, String)>,
    /// What the floor is.
    pub(super) of: &'static str,
    /// What there is to say without a floor.
    pub(super) remark: String,
}

/// Those figures.
pub(super) fn headlines(figures: &Figures) -> Vec<Headline> {
    let floor = |ratio: Option<f64>, floor: String| ratio.map(|ratio| (floor, show_ratio(ratio)));
    let latency_floor = show_ns(figures.latency_floor_ns().unwrap_or(0.0));
    let latency = Headline {
        name: format!("{}, p50", name_of(figures.kind)),
        value: show_ns(figures.latency.value_at_quantile(0.5) as f64),
        floor: floor(figures.latency_to_floor(), latency_floor),
        of: match figures.kind {
            Kind::RoundTrip => "a bare line, both ways",
            Kind::OneWay => "a bare line, one way",
            Kind::Queue => "",
        },
        remark: "at full speed".to_owned(),
    };
    let name = match figures.kind {
        Kind::RoundTrip => "round trips",
        _ if figures.consumers.len() > 1 => "records per consumer",
        _ => "records",
    };
    let value = show_rate(figures.records_per_second);
    let remark = format!("of {} each", show_size(figures.plan.size_bytes as u64));
    let records = Headline { name: name.to_owned(), value, floor: None, of: "", remark };
    let copy = show_bytes_rate(figures.floor.copy_rate());
    let bytes = Headline {
        name: "bytes".to_owned(),
        value: show_bytes_rate(figures.bytes_per_second()),
        floor: floor(figures.throughput_to_floor(), copy),
        of: if figures.kind == Kind::Queue { "a bare copy of 64 KiB" } else { "" },
        remark: "of payload".to_owned(),
    };
    if figures.kind == Kind::Queue { vec![records, bytes, latency] } else { vec![latency, records, bytes] }
}

/// The percentiles and the maximum.
pub(super) fn percentiles(latency: &Histogram<u64>) -> Vec<(&'static str, String)> {
    let quantiles = PERCENTILES.map(|(name, quantile)| (name, latency.value_at_quantile(quantile)));
    let all = quantiles.into_iter().chain([("max", latency.max())]);
    all.map(|(name, ns)| (name, show_ns(ns as f64))).collect()
}

/// A line of the histogram.
#[derive(Debug)]
struct Row {
    from_ns: u64,
    records: u64,
    /// The part of all that the longest row has.
    part_max: f64,
    is_last: bool,
}

fn rows(latency: &Histogram<u64>) -> Vec<Row> {
    let (low_ns, high_ns) = (latency.min().max(1) as f64, latency.value_at_quantile(0.999) as f64 + 1.0);
    let step = (high_ns / low_ns).powf(1.0 / ROWS as f64).max(1.01);
    let mut rows: Vec<Row> = (0..=ROWS)
        .map(|n| {
            let from_ns = edge(low_ns * step.powi(i32::try_from(n).unwrap_or(0)));
            Row { from_ns, records: 0, part_max: 1.0, is_last: n == ROWS }
        })
        .collect();
    for step in latency.iter_recorded() {
        let at = rows.iter().rposition(|row| row.from_ns <= step.value_iterated_to()).unwrap_or(0);
        rows[at].records += step.count_at_value();
    }
    let most = rows.iter().map(|row| row.records).max().unwrap_or(1).max(1);
    rows.iter_mut().for_each(|row| row.part_max = most as f64 / latency.len() as f64);
    while rows.len() > 1 && rows.last().is_some_and(|row| row.records == 0) {
        rows.pop();
    }
    rows
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an hour at most, and positive")]
fn edge(ns: f64) -> u64 {
    ns as u64
}

/// A bar of eighths of a character; nothing only for nothing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a line")]
fn bar(part: f64) -> String {
    let eighths = (part * (8 * BAR_CHARS) as f64).ceil() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(" ▏▎▍▌▋▊▉".chars().nth(eighths % 8).filter(|part| *part != ' '));
    bar
}

/// Lines of 80 columns at most.
fn wrapped(text: &str) -> String {
    let (mut out, mut width) = (String::new(), 0);
    for word in text.split(' ') {
        let len = word.chars().count();
        if width + len + 1 > 80 {
            out.push_str("\n      ");
            width = 6;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += len;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: every record is in one row, bars have their length, nothing is wider than a terminal. Method: a few values far apart.
    #[test]
    fn a_histogram_shows_every_record() {
        let mut latency = crate::bench::record::empty();
        for (value, n) in [(0, 1), (300, 500), (310, 400), (1_000, 50), (90_000_000, 1)] {
            latency.saturating_record_n(value, n);
        }
        let rows = rows(&latency);
        assert_eq!(rows.iter().map(|row| row.records).sum::<u64>(), 952);
        assert!(rows.windows(2).all(|two| two[0].from_ns <= two[1].from_ns));
        assert_eq!([bar(0.0), bar(1e-9), bar(0.5), bar(1.0)].map(|bar| bar.chars().count()), [0, 1, 25, 50]);
        assert!(wrapped(&"some words ".repeat(40)).lines().all(|line| line.chars().count() <= 80));
    }
}
