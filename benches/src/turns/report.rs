//! Report: the results as Markdown that is readable without being rendered, and as JSON.

use serde_json::{Value, json as object};

use super::{Measured, Results, Section};
use crate::report::spread::{Spread, or_dash};
use crate::report::tables::{Page, head};
use crate::report::verdict;

/// The whole report; `about` is what stands on top.
pub fn markdown(results: &Results, about: &[(&'static str, String)]) -> String {
    let mut page = Page::new(results.title);
    for (key, value) in about {
        page.line(format_args!("- {key}: {value}"));
    }
    page.line(format_args!(
        "- figures are medians over the repetitions [min..max]; ratios are of medians [min..max of single repetitions, each to the \
         nearest of the reference]"
    ));
    page.line(format_args!(
        "- crowded: repetitions, out of n, in which somebody else had the processor for more than 5 % of the time; that time does not count"
    ));
    let errors = results.errors();
    if !errors.is_empty() {
        page.heading(format_args!("Errors"));
    }
    for (name, error) in errors {
        page.line(format_args!("- ERROR {name}: {error}"));
    }
    verdict::section(&mut page, &results.targets, |_| true);
    for section in &results.sections {
        table(&mut page, results, section);
    }
    let mut rows = vec![head(&["count", "what", "figure"])];
    rows.extend(results.facts.iter().map(|fact| {
        let figure = fact.figure.map_or_else(str::to_owned, |figure| figure.to_string());
        vec![fact.name.to_owned(), fact.what.to_owned(), figure]
    }));
    page.section("Counts", "", &rows);
    page.into_text()
}

fn table(page: &mut Page, results: &Results, section: &Section) {
    let (unit, ns) = section.unit;
    let mut rows = vec![head(&["cell", unit, &format!("to {}", section.floor), "n", "crowded"])];
    rows.extend(section.cells.iter().map(|cell| {
        let series = cell.series();
        let floor = cell.name.rsplit_once('/').map(|(shape, _)| format!("{shape}/{}", section.floor));
        let ratio = floor.and_then(|floor| results.ratio(&cell.name, &floor).ok());
        vec![
            cell.name.clone(),
            or_dash(Spread::of_series(&series).map(|spread| spread.scaled(1.0 / ns))),
            or_dash(ratio),
            series.len().to_string(),
            cell.n_crowded().to_string(),
        ]
    }));
    page.section(section.title, section.caption, &rows);
}

/// Every repetition; `about` is what the tables say on top.
pub fn json(results: &Results, about: &[(&'static str, String)]) -> String {
    let about: serde_json::Map<_, _> =
        about.iter().map(|(key, value)| ((*key).to_owned(), object!(value))).collect();
    let cells = results.sections.iter().flat_map(|section| &section.cells);
    let all = object!({
        "about": about,
        "targets": results.targets.iter().map(verdict::json).collect::<Vec<_>>(),
        "cells": cells.map(cell).collect::<Vec<_>>(),
        "counts": results.facts.iter().map(|fact| object!({
            "name": fact.name,
            "what": fact.what,
            "figure": fact.figure.ok().map(|spread| spread.median),
            "min": fact.figure.ok().map(|spread| spread.min),
            "max": fact.figure.ok().map(|spread| spread.max),
            "why_not": fact.figure.err(),
        })).collect::<Vec<_>>(),
    });
    format!("{all:#}\n")
}

fn cell(cell: &Measured) -> Value {
    let repetitions = cell.samples.iter().map(|sample| match sample {
        Ok(sample) => {
            object!({ "ns": sample.ns, "queued_part": sample.queued_part, "crowded": sample.is_crowded() })
        }
        Err(error) => object!({ "error": error }),
    });
    object!({ "name": cell.name, "repetitions": repetitions.collect::<Vec<_>>() })
}
