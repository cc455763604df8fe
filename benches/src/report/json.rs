//! JSON: every repetition with both of its brackets, those that the tables drop included.

use serde_json::{Value, json as object};

use super::Results;
use super::targets::targets;
use crate::cells::Cell;
use crate::floor::Placement;
use crate::workload::trips::Trips;
use crate::workload::{Figures, Repetition};

/// All results; `about` is what the tables say on top.
pub fn json(results: &Results<'_>, about: &[(&'static str, String)]) -> String {
    let about: serde_json::Map<_, _> =
        about.iter().map(|(key, value)| ((*key).to_owned(), object!(value))).collect();
    let targets = targets(results).into_iter().map(|target| {
        object!({
            "what": target.what,
            "cell": target.cell,
            "target": target.limit.text(),
            "measured": target.measured.map(|spread| spread.median),
            "verdict": target.verdict().label(),
        })
    });
    let all = object!({
        "about": about,
        "placement": results.placement().map(Placement::label),
        "targets": targets.collect::<Vec<_>>(),
        "cells": results.cells.iter().map(|each| cell(results, each)).collect::<Vec<_>>(),
    });
    format!("{all:#}\n")
}

fn cell(results: &Results<'_>, cell: &Cell) -> Value {
    let repetitions = cell.repetitions.iter().map(|result| match result {
        Ok(done) => repetition(done, results.counts(done)),
        Err(error) => object!({ "error": error }),
    });
    object!({
        "name": cell.name(),
        "workload": cell.workload.label(),
        "record_bytes": cell.record_bytes,
        "contestant": cell.contestant,
        "repetitions": repetitions.collect::<Vec<_>>(),
    })
}

fn repetition(repetition: &Repetition, counts: bool) -> Value {
    let brackets = &repetition.brackets;
    object!({
        "l1_before": trips(&brackets.before),
        "l1_after": trips(&brackets.after),
        "placement": brackets.placement().label(),
        "queued_part": repetition.queued_part,
        "counts": counts,
        "figures": figures(&repetition.figures),
    })
}

fn figures(figures: &Figures) -> Value {
    match figures {
        Figures::Trips(measured) => trips(measured),
        Figures::Rate(rate) => object!({
            "records_per_s": rate.per_second(),
            "n_records": rate.n_records,
            "n_lost": rate.n_lost,
            "seconds": rate.seconds,
        }),
        Figures::Wakes(wakes) => object!({
            "p50_ns": wakes.p50_ns,
            "p99_ns": wakes.p99_ns,
            "l4_p50_ns": wakes.bare_p50_ns,
            "l4_p99_ns": wakes.bare_p99_ns,
            "slept_part": wakes.slept_part,
        }),
        Figures::Idle(idle) => object!({ "cpu_s": idle.cpu_s, "wall_s": idle.wall_s }),
    }
}

fn trips(trips: &Trips) -> Value {
    object!({ "p50_ns": trips.p50_ns, "p99_ns": trips.p99_ns, "mean_ns": trips.mean_ns, "n_trips": trips.n_trips })
}
