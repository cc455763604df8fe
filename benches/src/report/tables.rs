//! Tables: the results as Markdown that is readable without being rendered.

use std::fmt::Write;

use super::targets::targets;
use super::{Digits, Results, Spread, idle, is_crowded, or_dash, rate, trips, wakes};
use crate::cells::{Cell, STREAM_SIZES, Waits, Workload};
use crate::floor::Placement;
use crate::workload::Repetition;

/// The whole report; `about` is what stands on top.
pub fn markdown(results: &Results<'_>, about: &[(&'static str, String)]) -> String {
    let mut text = String::from("# Benches between processes\n\n");
    for (key, value) in about {
        line(&mut text, format_args!("- {key}: {value}"));
    }
    line(&mut text, format_args!("- placement: {}", placements(results)));
    line(&mut text, format_args!("- L1, ns: {}", floor(results)));
    text.push_str("- figures are medians over the repetitions, [min..max]\n");
    errors(&mut text, results);
    ping_pong(&mut text, results);
    stream(&mut text, results);
    edge_backoff(&mut text, results);
    wake_up(&mut text, results);
    idle_cpu(&mut text, results);
    verdicts(&mut text, results);
    text
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("a string takes everything");
}

/// Lines up the columns; the first row is the head.
fn table(text: &mut String, rows: &[Vec<String>]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for (number, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
        line(text, format_args!("|{}", cells.collect::<String>()));
        if number == 0 {
            let rules = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2)));
            line(text, format_args!("|{}", rules.collect::<String>()));
        }
    }
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn placements(results: &Results<'_>) -> String {
    let label = results.placement().map_or("unknown", Placement::label);
    let (n_all, n_used) =
        (results.done().count(), results.done().filter(|each| results.counts(each)).count());
    let placed = |placement| results.done().filter(|each| each.brackets.placement() == placement).count();
    let counts = [Placement::Smt, Placement::Near, Placement::Far, Placement::Mixed];
    let counts = counts.map(|placement| format!("{} {}", placed(placement), placement.label()));
    let n_crowded = results.done().filter(|each| is_crowded(each)).count();
    format!("{label}; {n_used} of {n_all} repetitions count ({}; {n_crowded} crowded)", counts.join(", "))
}

/// L1 over all repetitions that count.
fn floor(results: &Results<'_>) -> String {
    let figure = |of: fn(&Repetition) -> f64| {
        Spread::of(results.done().filter(|each| results.counts(each)).map(of).collect())
    };
    let mean = figure(|repetition| repetition.brackets.mean_ns());
    let p50 = figure(|repetition| repetition.brackets.p50_ns());
    format!("mean {} without the timer, p50 {} with it", or_dash(mean), or_dash(p50))
}

fn errors(text: &mut String, results: &Results<'_>) {
    let errors = results.errors();
    if !errors.is_empty() {
        text.push_str("\n## Errors\n\n");
    }
    for (name, error) in errors {
        line(text, format_args!("- ERROR {name}: {error}"));
    }
}

fn ping_pong(text: &mut String, results: &Results<'_>) {
    let mut rows = vec![head(&["contestant", "p50 ns", "p99 ns", "mean ns", "p50 / L1", "mean / L1", "n"])];
    for cell in results.of(Workload::PingPong(Waits::Spin)) {
        let figure = |of: fn(&Repetition) -> Option<f64>| results.spread(cell, of);
        let p50 = figure(|repetition| Some(trips(repetition)?.p50_ns));
        rows.push(vec![
            cell.contestant.to_owned(),
            or_dash(p50),
            or_dash(figure(|repetition| Some(trips(repetition)?.p99_ns))),
            or_dash(figure(|repetition| Some(trips(repetition)?.mean_ns))),
            or_dash(results.p50_ratio(cell)),
            or_dash(results.mean_ratio(cell)),
            p50.map_or(0, |spread| spread.n).to_string(),
        ]);
    }
    if rows.len() > 1 {
        text.push_str("\n## Ping-pong, 64 B, spinning: a record there and a record back\n\n");
        table(text, &rows);
    }
}

fn stream(text: &mut String, results: &Results<'_>) {
    let mut names: Vec<&str> = Vec::new();
    for cell in results.of(Workload::Stream) {
        if !names.contains(&cell.contestant) {
            names.push(cell.contestant);
        }
    }
    if names.is_empty() {
        return;
    }
    text.push_str("\n## Stream, one to one, spinning: M records/s (GiB/s of payload), part of the best\n\n");
    let mut rows = vec![head(&["contestant"])];
    rows[0].extend(STREAM_SIZES.map(|size| format!("{size} B")));
    for name in names {
        let mut row = vec![name.to_owned()];
        row.extend(STREAM_SIZES.map(|size| {
            let cell = results.find(Workload::Stream, size, name);
            or_dash(cell.and_then(|cell| stream_figure(results, cell)))
        }));
        rows.push(row);
    }
    table(text, &rows);
    let best = STREAM_SIZES.map(|size| {
        let best = results.best_rate(size).map(|(_, name)| name);
        format!("{size} B {}", best.unwrap_or("-"))
    });
    line(text, format_args!("\nThe best (1.0): {}. nN: only N repetitions count.", best.join(", ")));
    missed(text, results);
}

fn stream_figure(results: &Results<'_>, cell: &Cell) -> Option<String> {
    let rate = results.rate(cell)?;
    let gib = rate.median * cell.record_bytes as f64 / f64::from(1 << 30);
    let ratio = results.rate_ratio(cell).map(|ratio| format!("{:.2}", ratio.median));
    let fewer = if rate.n < cell.repetitions.len() { format!(" n{}", rate.n) } else { String::new() };
    Some(format!("{} ({}) {}{fewer}", rate.scaled(1e-6), Digits(gib), or_dash(ratio)))
}

/// What lossy readers did not see: the rates above are of what they saw.
fn missed(text: &mut String, results: &Results<'_>) {
    for cell in results.of(Workload::Stream) {
        let part = results.spread(cell, |repetition| rate(repetition).map(|rate| rate.lost_part()));
        if let Some(part) = part.filter(|part| part.max > 0.0) {
            line(text, format_args!("{} missed {} % of what was sent.", cell.name(), part.scaled(100.0)));
        }
    }
}

fn edge_backoff(text: &mut String, results: &Results<'_>) {
    let mut rows = vec![head(&["cell", "on", "off", "on / off"])];
    for off in results.cells {
        let Some(name) = off.contestant.strip_suffix("_nobackoff") else { continue };
        let Some(on) = results.find(off.workload, off.record_bytes, name) else { continue };
        let figures = |cell: &Cell| match cell {
            Cell { workload: Workload::Stream, .. } => results.rate(cell).map(|rate| rate.scaled(1e-6)),
            _ => results.spread(cell, |repetition| Some(trips(repetition)?.mean_ns)),
        };
        let name = on.name();
        let (on, off) = (figures(on), figures(off));
        let ratio = on.zip(off).map(|(on, off)| Digits(on.median / off.median));
        rows.push(vec![name, or_dash(on), or_dash(off), or_dash(ratio)]);
    }
    if rows.len() > 1 {
        text.push_str(
            "\n## Edge back-off: ping-pong mean ns (less is better), stream M records/s (more is better)\n\n",
        );
        table(text, &rows);
    }
}

fn wake_up(text: &mut String, results: &Results<'_>) {
    let names = ["contestant", "p50 us", "p99 us", "L4 p50 us", "L4 p99 us", "p50 / L4", "slept", "n"];
    let mut rows = vec![head(&names)];
    for cell in results.of(Workload::WakeUp) {
        let micros = |of: fn(&Repetition) -> Option<f64>| results.spread(cell, of).map(|ns| ns.scaled(1e-3));
        let p50 = micros(|repetition| Some(wakes(repetition)?.p50_ns));
        let slept = results.spread(cell, |repetition| Some(wakes(repetition)?.slept_part));
        rows.push(vec![
            cell.contestant.to_owned(),
            or_dash(p50),
            or_dash(micros(|repetition| Some(wakes(repetition)?.p99_ns))),
            or_dash(micros(|repetition| Some(wakes(repetition)?.bare_p50_ns))),
            or_dash(micros(|repetition| Some(wakes(repetition)?.bare_p99_ns))),
            or_dash(results.wake_ratio(cell)),
            or_dash(slept.map(|slept| format!("{:.0} %", slept.median * 100.0))),
            p50.map_or(0, |spread| spread.n).to_string(),
        ]);
    }
    if rows.len() > 1 {
        text.push_str("\n## Wake-up of a consumer that sleeps, one record about every 2 ms\n\n");
        table(text, &rows);
    }
}

fn idle_cpu(text: &mut String, results: &Results<'_>) {
    let mut rows = vec![head(&["contestant", "waited s", "CPU ms", "n"])];
    for cell in results.of(Workload::IdleCpu) {
        let cpu = results.spread(cell, |repetition| Some(idle(repetition)?.cpu_s * 1e3));
        rows.push(vec![
            cell.contestant.to_owned(),
            or_dash(results.spread(cell, |repetition| Some(idle(repetition)?.wall_s))),
            or_dash(cpu),
            cpu.map_or(0, |spread| spread.n).to_string(),
        ]);
    }
    if rows.len() > 1 {
        text.push_str("\n## CPU time of a consumer to which nothing is sent\n\n");
        table(text, &rows);
    }
}

fn verdicts(text: &mut String, results: &Results<'_>) {
    let mut rows = vec![head(&["", "what", "target", "measured", "cell"])];
    for target in targets(results) {
        rows.push(vec![
            target.verdict().label().to_owned(),
            target.what.to_owned(),
            target.limit.text(),
            or_dash(target.measured),
            target.cell,
        ]);
    }
    text.push_str("\n## Targets\n\n");
    table(text, &rows);
}
