//! Tables: the results as Markdown that is readable without being rendered.
//!
//! ```text
//!   where and when, what was dropped -> errors -> targets: missed, met -> a section per workload   (the placement that occurred most)
//!   -> the same of every other placement -> evidence: records, checksum and floor of each cell
//! ```

use std::fmt::{Arguments, Write};

use super::sections::sections;
use super::spread::{Digits, Spread, or_dash};
use super::targets::targets;
use super::verdict::section;
use super::{Belongs, Results, View};
use crate::cells::Cell;
use crate::floor::Placement;

/// The whole report; `about` is what stands on top.
pub fn markdown(results: &Results<'_>, about: &[(&'static str, String)]) -> String {
    let mut page = Page::new("Benches between processes");
    for (key, value) in about {
        page.line(format_args!("- {key}: {value}"));
    }
    for (number, view) in results.views().enumerate() {
        let shown = if number == 0 { "these tables" } else { "below" };
        page.line(format_args!("- placement {}: {}, {shown}", view.label(), floor(&view)));
    }
    page.line(format_args!(
        "- dropped repetitions: {} mixed (the floor changed meanwhile, or fits no placement), {} crowded (another program had \
         the processor)",
        results.n_that(Belongs::Mixed),
        results.n_that(Belongs::Crowded)
    ));
    page.text.push_str(
        "- figures are medians over the repetitions [min..max]; ratios are of medians [min..max of single repetitions, each to \
         the nearest of the reference]\n- n: repetitions that count\n",
    );
    errors(&mut page, results);
    for view in results.views() {
        if view.is_first() {
            verdicts(&mut page, &view);
            sections(&mut page, &view);
        } else {
            page.heading(format_args!("The same in placement {}: {}", view.label(), floor(&view)));
            page.depth += 1;
            verdicts(&mut page, &view);
            sections(&mut page, &view);
            page.depth -= 1;
        }
    }
    evidence(&mut page, results);
    page.text
}

/// Markdown that grows.
pub(crate) struct Page {
    text: String,
    /// Of headings: `##` is 2.
    depth: usize,
}

impl Page {
    pub(crate) fn new(title: &str) -> Self {
        Self { text: format!("# {title}\n\n"), depth: 2 }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn line(&mut self, content: Arguments<'_>) {
        writeln!(self.text, "{content}").expect("a string takes everything");
    }

    pub(crate) fn heading(&mut self, content: Arguments<'_>) {
        let marks = "#".repeat(self.depth);
        self.line(format_args!("\n{marks} {content}\n"));
    }

    /// Lines up the columns; the first row is the head.
    pub(crate) fn table(&mut self, rows: &[Vec<String>]) {
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        for (number, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
            self.line(format_args!("|{}", cells.collect::<String>()));
            if number == 0 {
                let rules = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2)));
                self.line(format_args!("|{}", rules.collect::<String>()));
            }
        }
    }

    /// A section, if there is anything in it.
    pub(crate) fn section(&mut self, heading: &str, caption: &str, rows: &[Vec<String>]) {
        if rows.len() > 1 {
            self.heading(format_args!("{heading}"));
            if !caption.is_empty() {
                self.line(format_args!("{caption}\n"));
            }
            self.table(rows);
        }
    }
}

pub(crate) fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

impl View<'_> {
    pub(super) fn label(&self) -> &'static str {
        match self.place().placement {
            Placement::Mixed => "unknown",
            placement => placement.label(),
        }
    }
}

/// L1 over all repetitions of a placement.
fn floor(view: &View<'_>) -> String {
    let brackets = || {
        let all = view.results.done();
        all.filter(|(cell, repetition)| view.results.belongs(cell, repetition) == Belongs::To(view.place))
            .map(|(_, repetition)| repetition.brackets)
    };
    let mean = Spread::of(brackets().map(|brackets| brackets.mean_ns()).collect());
    let p50 = Spread::of(brackets().map(|brackets| brackets.p50_ns()).collect());
    let n = mean.map_or(0, |mean| mean.n);
    format!(
        "{n} repetitions, L1 mean {} ns without the timer, p50 {} ns with it",
        or_dash(mean),
        or_dash(p50)
    )
}

fn errors(page: &mut Page, results: &Results<'_>) {
    let errors = results.errors();
    if !errors.is_empty() {
        page.heading(format_args!("Errors"));
    }
    for (name, error) in errors {
        page.line(format_args!("- ERROR {name}: {error}"));
    }
}

fn verdicts(page: &mut Page, view: &View<'_>) {
    // In a placement that occurred now and then, what was not measured says nothing.
    section(page, &targets(view), |target| view.is_first() || target.measured.is_ok());
}

/// What makes the figures above worth anything: of all repetitions, the dropped ones included.
fn evidence(page: &mut Page, results: &Results<'_>) {
    let mut rows = vec![head(&[
        "cell",
        "repetitions",
        "records checked",
        "XOR of the first repetition's",
        "L1 before, ns",
        "L1 after, ns",
    ])];
    for cell in results.cells {
        let done: Vec<_> = cell.repetitions.iter().flatten().collect();
        let Some(first) = done.first() else { continue };
        let n_records: u64 = done.iter().map(|repetition| repetition.sums.n_records).sum();
        let before = Spread::of(done.iter().map(|repetition| repetition.brackets.before.mean_ns).collect());
        let after = Spread::of(done.iter().map(|repetition| repetition.brackets.after.mean_ns).collect());
        rows.push(vec![
            cell.name(),
            format!("{} of {}", done.len(), cell.repetitions.len()),
            n_records.to_string(),
            format!("{:016x}", first.sums.xor),
            or_dash(before),
            or_dash(after),
        ]);
    }
    page.section(
        "Evidence",
        "All repetitions, those that were dropped included. Each record was held against what must have been sent, and count and \
         XOR of all words against the producers'; a repetition in which they differ is an ERROR above. A consumer that may miss \
         records is checked record by record.",
        &rows,
    );
}

/// A rate with what it is in memory.
pub(super) fn rate_and_bytes(view: &View<'_>, cell: &Cell) -> Option<String> {
    let rate = Spread::of_series(&view.rates(cell))?;
    let gib = rate.median * cell.record_bytes as f64 / f64::from(1 << 30);
    Some(format!("{} ({})", rate.scaled(1e-6), Digits(gib)))
}
