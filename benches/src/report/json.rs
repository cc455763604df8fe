//! JSON: every repetition with records, checksum and both of its brackets, those that the tables drop included.

use serde_json::{Value, json as object};

use super::targets::targets;
use super::verdict;
use super::{Belongs, Results, View};
use crate::cells::Cell;
use crate::workload::trips::Trips;
use crate::workload::{Figures, Repetition};

/// All results; `about` is what the tables say on top.
pub fn json(results: &Results<'_>, about: &[(&'static str, String)]) -> String {
    let about: serde_json::Map<_, _> =
        about.iter().map(|(key, value)| ((*key).to_owned(), object!(value))).collect();
    let all = object!({
        "about": about,
        "placements": results.views().map(|view| placement(&view)).collect::<Vec<_>>(),
        "dropped": {
            "mixed": results.n_that(Belongs::Mixed),
            "crowded": results.n_that(Belongs::Crowded),
        },
        "cells": results.cells.iter().map(|each| cell(results, each)).collect::<Vec<_>>(),
    });
    format!("{all:#}\n")
}

fn placement(view: &View<'_>) -> Value {
    object!({
        "placement": view.label(),
        "l1_ns": view.place().l1_ns,
        "repetitions": view.results.n_that(Belongs::To(view.place)),
        "targets": targets(view).iter().map(verdict::json).collect::<Vec<_>>(),
    })
}

fn cell(results: &Results<'_>, cell: &Cell) -> Value {
    let repetitions = cell.repetitions.iter().map(|result| match result {
        Ok(done) => repetition(done, results, results.belongs(cell, done)),
        Err(error) => object!({ "error": error }),
    });
    object!({
        "name": cell.name(),
        "workload": cell.workload.label(),
        "record_bytes": cell.record_bytes,
        "contestant": cell.contestant,
        "in_process": cell.in_process,
        "repetitions": repetitions.collect::<Vec<_>>(),
    })
}

fn repetition(repetition: &Repetition, results: &Results<'_>, belongs: Belongs) -> Value {
    let brackets = &repetition.brackets;
    let counts_in = match belongs {
        Belongs::To(place) => results.places[place].placement.label(),
        Belongs::Mixed => "none: mixed",
        Belongs::Crowded => "none: crowded",
    };
    object!({
        "records": repetition.sums.n_records,
        "checksum": format!("{:016x}", repetition.sums.xor),
        "l1_before": trips(&brackets.before),
        "l1_after": trips(&brackets.after),
        "placement": brackets.placement().label(),
        "counts_in": counts_in,
        "queued_part": repetition.queued_part,
        "clock_read_ns": repetition.clock_read_ns,
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
            "stopped_s": rate.stopped_s,
            "longest_stall_s": rate.stall_s,
            "n_beside": rate.n_beside,
        }),
        Figures::Wakes(wakes) => object!({
            "p50_ns": wakes.p50_ns,
            "p99_ns": wakes.p99_ns,
            "l4_p50_ns": wakes.bare_p50_ns,
            "l4_p99_ns": wakes.bare_p99_ns,
            "slept_part": wakes.slept_part,
        }),
        Figures::Idle(idle) => object!({ "cpu_s": idle.cpu_s, "wall_s": idle.wall_s }),
        Figures::Memory(memory) => object!({
            "ring_bytes": memory.ring_bytes,
            "pss_bytes": memory.pss_bytes,
            "pss_without_bytes": memory.pss_without_bytes,
            "rss_bytes": memory.rss_bytes,
        }),
    }
}

fn trips(trips: &Trips) -> Value {
    object!({
        "p50_ns": trips.p50_ns,
        "p99_ns": trips.p99_ns,
        "p999_ns": trips.p999_ns,
        "max_ns": trips.max_ns,
        "mean_ns": trips.mean_ns,
        "n_trips": trips.n_trips,
    })
}
