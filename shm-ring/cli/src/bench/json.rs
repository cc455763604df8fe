//! JSON: the result as one object.
//!
//! (I1) the keys are a promise: more may come, none goes; (I2) units are in the names.

use super::figures::{Figures, Kind, Process};
use super::job::Interval;
use super::machine::Machine;
use super::plan::INTERVAL_NS;
use crate::args::{Mode, Waiting, Workload};
use hdrhistogram::Histogram;
use serde::Serialize;

#[derive(Serialize)]
struct BenchJson<'a> {
    version: &'static str,
    workload: Workload,
    size_bytes: usize,
    producers: u16,
    consumers: u16,
    mode: Mode,
    wait: Waiting,
    rate_per_second: Option<u64>,
    seconds: f64,
    warm_up_seconds: f64,
    batch: u16,
    capacity_bytes: u64,
    metadata: bool,
    machine: MachineJson<'a>,
    floor: FloorJson,
    records: u64,
    unsent: u64,
    records_per_second: f64,
    bytes_per_second: f64,
    latency: KindJson,
    latency_to_floor: Option<f64>,
    throughput_to_floor: Option<f64>,
    interval_ns: u64,
    intervals: &'a [Interval],
    producer_processes: Vec<ProcessJson>,
    consumer_processes: Vec<ProcessJson>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct MachineJson<'a> {
    #[serde(flatten)]
    machine: &'a Machine,
    pinned: bool,
}

#[derive(Serialize)]
struct FloorJson {
    line_before_ns: f64,
    line_after_ns: f64,
    line_ns: f64,
    line_p50_ns: f64,
    copy_before_bytes_per_second: f64,
    copy_after_bytes_per_second: f64,
    copy_bytes_per_second: f64,
    moved: bool,
}

#[derive(Serialize)]
struct KindJson {
    kind: &'static str,
    #[serde(flatten)]
    latency: LatencyJson,
}

#[derive(Serialize)]
struct LatencyJson {
    count: u64,
    mean_ns: f64,
    min_ns: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p99_9_ns: u64,
    p99_99_ns: u64,
    max_ns: u64,
}

#[derive(Serialize)]
struct ProcessJson {
    pid: u32,
    cpu: Option<usize>,
    records: u64,
    records_per_second: Option<f64>,
    cpu_ns: u64,
    queued_ns: u64,
    latency: Option<LatencyJson>,
}

/// All of it, in a line.
pub(super) fn show(figures: &Figures) -> String {
    let (plan, floor) = (&figures.plan, &figures.floor);
    let object = BenchJson {
        version: env!("CARGO_PKG_VERSION"),
        workload: plan.workload,
        size_bytes: plan.size_bytes,
        producers: plan.producers,
        consumers: plan.consumers,
        mode: plan.mode,
        wait: plan.wait,
        rate_per_second: plan.rate,
        seconds: plan.window_ns as f64 / 1e9,
        warm_up_seconds: plan.warm_up_ns as f64 / 1e9,
        batch: plan.batch,
        capacity_bytes: plan.capacity_bytes,
        metadata: plan.metadata,
        machine: MachineJson { machine: &figures.machine, pinned: figures.is_pinned },
        floor: FloorJson {
            line_before_ns: floor.before.line_mean_ns,
            line_after_ns: floor.after.line_mean_ns,
            line_ns: floor.line_ns(),
            line_p50_ns: floor.line_p50_ns(),
            copy_before_bytes_per_second: floor.before.copy_rate,
            copy_after_bytes_per_second: floor.after.copy_rate,
            copy_bytes_per_second: floor.copy_rate(),
            moved: figures.has_moved(),
        },
        records: figures.records,
        unsent: figures.unsent,
        records_per_second: figures.records_per_second,
        bytes_per_second: figures.bytes_per_second(),
        latency: KindJson { kind: name_of(figures.kind), latency: latency(&figures.latency) },
        latency_to_floor: figures.latency_to_floor(),
        throughput_to_floor: figures.throughput_to_floor(),
        interval_ns: INTERVAL_NS,
        intervals: &figures.intervals,
        producer_processes: figures.producers.iter().map(process).collect(),
        consumer_processes: figures.consumers.iter().map(process).collect(),
        notes: &figures.notes,
    };
    let mut line = serde_json::to_string(&object).expect("numbers and strings, and the keys are strings");
    line.push('\n');
    line
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::RoundTrip => "round_trip",
        Kind::OneWay => "one_way",
        Kind::Queue => "queue",
    }
}

fn latency(latency: &Histogram<u64>) -> LatencyJson {
    let at = |quantile| latency.value_at_quantile(quantile);
    LatencyJson {
        count: latency.len(),
        mean_ns: latency.mean(),
        min_ns: latency.min(),
        p50_ns: at(0.5),
        p90_ns: at(0.9),
        p99_ns: at(0.99),
        p99_9_ns: at(0.999),
        p99_99_ns: at(0.9999),
        max_ns: latency.max(),
    }
}

fn process(process: &Process) -> ProcessJson {
    ProcessJson {
        pid: process.pid,
        cpu: process.cpu,
        records: process.records,
        records_per_second: process.records_per_second,
        cpu_ns: process.cpu_ns,
        queued_ns: process.queued_ns,
        latency: process.latency.as_ref().map(latency),
    }
}
