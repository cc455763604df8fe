//! Sections: one table per workload.

use super::spread::{Digits, Spread, or_dash, size};
use super::tables::{Page, head, rate_and_bytes};
use super::{View, idle, memory, rate, trips, wakes};
use crate::cells::{Cell, FAN_SIZES, N_CROWD, N_FAN, Neighbour, STREAM_SIZES, WAIT_CROWDED, Waits, Workload};
use crate::ours::batch_of;
use crate::workload::Repetition;
use crate::workload::slow::WORK_NS;

/// All of them.
pub(super) fn sections(page: &mut Page, view: &View<'_>) {
    ping_pong(page, view);
    paced(page, view);
    streams(page, view);
    fans(page, view);
    crowd(page, view);
    slow(page, view);
    beside(page, view);
    metadata(page, view);
    edge_backoff(page, view);
    wake_up(page, view);
    idle_cpu(page, view);
    memories(page, view);
}

/// Of cells without any repetition that counts: shown where they are missed, left out in the other placements.
fn is_shown(view: &View<'_>, cell: &Cell) -> bool {
    view.is_first() || !view.series(cell, |_| Some(0.0)).is_empty()
}

fn shown<'a>(view: &View<'a>, workload: Workload) -> Vec<&'a Cell> {
    view.of(workload).filter(|cell| is_shown(view, cell)).collect()
}

fn n(view: &View<'_>, cell: &Cell) -> String {
    view.series(cell, |_| Some(0.0)).len().to_string()
}

const ALL_WAITS: [(Waits, &str); 3] =
    [(Waits::Spin, "spin"), (Waits::Adaptive, "adaptive"), (Waits::Block, "block")];

fn ping_pong(page: &mut Page, view: &View<'_>) {
    let names = [
        "contestant",
        "waits",
        "mean / L1",
        "p50 / L1",
        "p99.9 / p50",
        "mean ns",
        "p50 ns",
        "p99 ns",
        "p99.9 ns",
        "n",
    ];
    let mut rows = vec![head(&names)];
    for (waits, waiting) in ALL_WAITS {
        for cell in shown(view, Workload::PingPong(waits)) {
            let ns = |of: fn(&Repetition) -> Option<f64>| or_dash(view.spread(cell, of));
            rows.push(vec![
                cell.contestant.to_owned(),
                waiting.to_owned(),
                or_dash(view.mean_ratio(cell)),
                or_dash(view.p50_ratio(cell)),
                or_dash(view.tail_ratio(cell)),
                ns(|repetition| Some(trips(repetition)?.mean_ns)),
                ns(|repetition| Some(trips(repetition)?.p50_ns)),
                ns(|repetition| Some(trips(repetition)?.p99_ns)),
                ns(|repetition| Some(trips(repetition)?.p999_ns)),
                n(view, cell),
            ]);
        }
    }
    page.section(
        "Ping-pong, 64 B: a record there and a record back",
        "The mean is of blocks of trips without a timer inside, percentiles are of trips timed one by one.",
        &rows,
    );
}

fn paced(page: &mut Page, view: &View<'_>) {
    let names = ["contestant", "waits", "p50 us", "p99 us", "p99.9 us", "max us", "p50 / L1", "n"];
    let mut rows = vec![head(&names)];
    for (waits, waiting) in ALL_WAITS {
        for cell in shown(view, Workload::Paced(waits)) {
            let us =
                |of: fn(&Repetition) -> Option<f64>| or_dash(view.spread(cell, of).map(|ns| ns.scaled(1e-3)));
            rows.push(vec![
                cell.contestant.to_owned(),
                waiting.to_owned(),
                us(|repetition| Some(trips(repetition)?.p50_ns)),
                us(|repetition| Some(trips(repetition)?.p99_ns)),
                us(|repetition| Some(trips(repetition)?.p999_ns)),
                us(|repetition| Some(trips(repetition)?.max_ns)),
                or_dash(view.p50_ratio(cell)),
                n(view, cell),
            ]);
        }
    }
    page.section(
        "Ping-pong, 64 B, a trip each 100 us",
        "Latency from the time at which a trip was to begin, so a trip that is late because of the one before it counts as late. \
         The side that asks spins until it is time; both wait for records as said.",
        &rows,
    );
}

fn streams(page: &mut Page, view: &View<'_>) {
    by_size(
        page,
        view,
        Workload::Stream,
        &STREAM_SIZES,
        "Stream, 1 to 1, spinning: M records/s (GiB/s of payload), ratio to the best hand-written ring",
        "",
        |record_bytes| view.best_minimal(record_bytes),
    );
}

fn fans(page: &mut Page, view: &View<'_>) {
    for (workload, heading, caption) in [
        (
            Workload::FanOut,
            format!("1 to {N_FAN}: M records/s (GiB/s) at the slower consumer, ratio to the fastest"),
            format!(
                "Each consumer gets every record. Producer on one processor, {N_FAN} consumers on the other; ours waits {WAIT_CROWDED:?}."
            ),
        ),
        (
            Workload::FanIn,
            format!("{N_FAN} to 1: M records/s (GiB/s), ratio to the fastest"),
            format!(
                "{N_FAN} producers on one processor, the consumer on the other; ours waits {WAIT_CROWDED:?}. Count and XOR were compared per producer."
            ),
        ),
    ] {
        by_size(page, view, workload, &FAN_SIZES, &heading, &caption, |record_bytes| {
            view.fastest(view.of(workload).filter(|cell| cell.record_bytes == record_bytes))
        });
    }
}

/// A row per contestant, a column per size, each figure with its ratio to that column's reference.
fn by_size<'a>(
    page: &mut Page,
    view: &View<'a>,
    workload: Workload,
    sizes: &[usize],
    heading: &str,
    caption: &str,
    reference: impl Fn(usize) -> Option<&'a Cell>,
) {
    let cells = shown(view, workload);
    let mut names: Vec<&str> = Vec::new();
    for cell in &cells {
        if !names.contains(&cell.contestant) {
            names.push(cell.contestant);
        }
    }
    let mut rows = vec![head(&["contestant"])];
    rows[0].extend(sizes.iter().map(|&bytes| size(bytes)));
    for name in names {
        let mut row = vec![name.to_owned()];
        row.extend(sizes.iter().map(|&record_bytes| {
            let cell = view.results.find(workload, record_bytes, name);
            or_dash(cell.and_then(|cell| {
                let ratio = reference(record_bytes).and_then(|reference| view.rate_ratio(cell, reference));
                let ratio = or_dash(ratio.map(|ratio| format!("{:.2}", ratio.median)));
                let n_counted = view.rates(cell).len();
                let fewer =
                    if n_counted < cell.repetitions.len() { format!(" n{n_counted}") } else { String::new() };
                Some(format!("{} {ratio}{fewer}", rate_and_bytes(view, cell)?))
            }))
        }));
        rows.push(row);
    }
    page.section(heading, caption, &rows);
    if rows.len() > 1 {
        let best = sizes.iter().map(|&record_bytes| {
            format!("{} {}", size(record_bytes), or_dash(reference(record_bytes).map(|cell| cell.contestant)))
        });
        let best: Vec<_> = best.collect();
        page.line(format_args!("\n1.00 is: {}. nN: only N repetitions count.", best.join(", ")));
    }
    // What lossy readers did not see: the rates above are of what they saw.
    for cell in cells {
        let part = view.spread(cell, |repetition| rate(repetition).map(|rate| rate.lost_part()));
        if let Some(part) = part.filter(|part| part.max > 0.0) {
            page.line(format_args!("{} missed {} % of what was sent.", cell.name(), part.scaled(100.0)));
        }
    }
}

fn millions(view: &View<'_>, cell: &Cell) -> String {
    or_dash(Spread::of_series(&view.rates(cell)).map(|rate| rate.scaled(1e-6)))
}

fn crowd(page: &mut Page, view: &View<'_>) {
    let names = ["contestant", "M records/s", "to the same with two producers", "longest stall ms", "n"];
    let mut rows = vec![head(&names)];
    for cell in shown(view, Workload::Crowd) {
        let two = view.results.find(Workload::FanIn, cell.record_bytes, cell.contestant);
        let stall = view.spread(cell, |repetition| rate(repetition)?.stall_s);
        rows.push(vec![
            cell.contestant.to_owned(),
            millions(view, cell),
            or_dash(two.and_then(|two| view.rate_ratio(cell, two))),
            or_dash(stall.map(|stall| stall.scaled(1e3))),
            n(view, cell),
        ]);
    }
    page.section(
        &format!("{N_CROWD} to 1 on two processors, 64 B"),
        &format!(
            "Half of the producers on each processor, the consumer on one of them; ours waits {WAIT_CROWDED:?}. Stall: the longest time \
             within the window without a record at the consumer."
        ),
        &rows,
    );
}

fn slow(page: &mut Page, view: &View<'_>) {
    let mut rows =
        vec![head(&["contestant", "consumer", "M records/s", "to what it could", "stopped ms", "n"])];
    for cell in shown(view, Workload::Works) {
        let could = Spread::of_series(&view.rates(cell)).map(|rate| rate.scaled(WORK_NS as f64 * 1e-9));
        let row = [cell.contestant.to_owned(), "works 1 us a record".to_owned(), millions(view, cell)];
        rows.push([&row[..], &[or_dash(could), "0".to_owned(), n(view, cell)]].concat());
    }
    for cell in shown(view, Workload::Stops) {
        let eager = view.results.find(Workload::Stream, cell.record_bytes, cell.contestant);
        let could = eager.and_then(|eager| view.rate_ratio(cell, eager));
        let stopped = view.spread(cell, |repetition| Some(rate(repetition)?.stopped_s * 1e3));
        let row =
            [cell.contestant.to_owned(), "stops for half of the window".to_owned(), millions(view, cell)];
        rows.push([&row[..], &[or_dash(could), or_dash(stopped), n(view, cell)]].concat());
    }
    page.section(
        "Slow consumer, 64 B: the producer is held back, nothing is lost",
        "Rates are of the time in which the consumer was awake. What it could: a record per us, or the rate of the same stream with an \
         eager consumer.",
        &rows,
    );
}

fn beside(page: &mut Page, view: &View<'_>) {
    let names = [
        "contestant",
        "M records/s beside an observer",
        "beside a stranger",
        "ratio",
        "observer saw, M",
        "n",
    ];
    let mut rows = vec![head(&names)];
    for cell in shown(view, Workload::Beside(Neighbour::Observer)) {
        let stranger =
            view.results.find(Workload::Beside(Neighbour::Stranger), cell.record_bytes, cell.contestant);
        rows.push(vec![
            cell.contestant.to_owned(),
            millions(view, cell),
            or_dash(stranger.map(|stranger| millions(view, stranger))),
            or_dash(stranger.and_then(|stranger| view.rate_ratio(cell, stranger))),
            or_dash(view.spread(cell, |repetition| Some(rate(repetition)?.n_beside as f64 * 1e-6))),
            n(view, cell),
        ]);
    }
    page.section(
        "A consumer with somebody beside it, 64 B",
        &format!(
            "Both on one processor: the consumer, and an observer that reads along in the same ring, or a stranger that \
             reads private memory. The ratio is what the observer does to the ring. Ours waits {WAIT_CROWDED:?}."
        ),
        &rows,
    );
}

fn metadata(page: &mut Page, view: &View<'_>) {
    let names =
        ["cell", "ns per record", "without", "a clock read, ns", "clock reads", "less these / without", "n"];
    let mut rows = vec![head(&names)];
    for with in shown(view, Workload::Stream) {
        let Some(name) = with.contestant.strip_suffix("_meta") else { continue };
        let Some(without) = view.results.find(with.workload, with.record_bytes, name) else { continue };
        let n_reads = if name.ends_with("_batch") { 1.0 / batch_of(with.record_bytes) as f64 } else { 1.0 };
        rows.push(vec![
            with.name(),
            or_dash(view.spread(with, super::ns_per_record)),
            or_dash(view.spread(without, super::ns_per_record)),
            or_dash(view.spread(with, |repetition| Some(repetition.clock_read_ns))),
            Digits(n_reads).to_string(),
            or_dash(view.metadata_ratio(with, without, n_reads)),
            n(view, with),
        ]);
    }
    page.section(
        "Metadata on: what a time stamp and a sequence cost each record",
        "A read of the wall clock was measured beside each repetition; a batch takes one for all of its records.",
        &rows,
    );
}

fn edge_backoff(page: &mut Page, view: &View<'_>) {
    let mut rows = vec![head(&["cell", "on", "off", "on / off"])];
    let spinning = [Workload::PingPong(Waits::Spin), Workload::Stream];
    for off in spinning.into_iter().flat_map(|workload| shown(view, workload)) {
        let Some(name) = off.contestant.strip_suffix("_nobackoff") else { continue };
        let Some(on) = view.results.find(off.workload, off.record_bytes, name) else { continue };
        let series = |cell: &Cell| match cell.workload {
            Workload::Stream => {
                view.series(cell, |repetition| rate(repetition).map(|rate| rate.per_second() * 1e-6))
            }
            _ => view.series(cell, |repetition| Some(trips(repetition)?.mean_ns)),
        };
        let (name, on, off) = (on.name(), series(on), series(off));
        rows.push(vec![
            name,
            or_dash(Spread::of_series(&on)),
            or_dash(Spread::of_series(&off)),
            or_dash(Spread::of_ratio(&on, &off)),
        ]);
    }
    page.section(
        "The consumer's back-off at the edge of the ring, on and off",
        "Ping-pong: mean ns, less is better. Stream: M records/s, more is better.",
        &rows,
    );
}

fn wake_up(page: &mut Page, view: &View<'_>) {
    let names = ["contestant", "p50 us", "p99 us", "L4 p50 us", "L4 p99 us", "p50 / L4", "slept", "n"];
    let mut rows = vec![head(&names)];
    for cell in shown(view, Workload::WakeUp) {
        let us =
            |of: fn(&Repetition) -> Option<f64>| or_dash(view.spread(cell, of).map(|ns| ns.scaled(1e-3)));
        let slept = view.spread(cell, |repetition| Some(wakes(repetition)?.slept_part));
        rows.push(vec![
            cell.contestant.to_owned(),
            us(|repetition| Some(wakes(repetition)?.p50_ns)),
            us(|repetition| Some(wakes(repetition)?.p99_ns)),
            us(|repetition| Some(wakes(repetition)?.bare_p50_ns)),
            us(|repetition| Some(wakes(repetition)?.bare_p99_ns)),
            or_dash(view.wake_ratio(cell)),
            or_dash(slept.map(|slept| format!("{:.0} %", slept.median * 100.0))),
            n(view, cell),
        ]);
    }
    page.section("Wake-up of a consumer that sleeps, one record about every 2 ms", "", &rows);
}

fn idle_cpu(page: &mut Page, view: &View<'_>) {
    let mut rows = vec![head(&["contestant", "waited s", "CPU ms", "n"])];
    for cell in shown(view, Workload::IdleCpu) {
        rows.push(vec![
            cell.contestant.to_owned(),
            or_dash(view.spread(cell, |repetition| Some(idle(repetition)?.wall_s))),
            or_dash(view.spread(cell, |repetition| Some(idle(repetition)?.cpu_s * 1e3))),
            n(view, cell),
        ]);
    }
    page.section("CPU time of a consumer to which nothing is sent", "", &rows);
}

fn memories(page: &mut Page, view: &View<'_>) {
    let mut rows = vec![head(&[
        "contestant",
        "ring MiB",
        "Pss MiB",
        "before the ring",
        "Rss MiB",
        "Pss it adds / (ring + 1 MiB)",
        "n",
    ])];
    for cell in shown(view, Workload::Memory) {
        let mib = |bytes: fn(&crate::workload::memory::Memory) -> u64| {
            or_dash(
                view.spread(cell, |repetition| Some(bytes(memory(repetition)?) as f64 / f64::from(1 << 20))),
            )
        };
        rows.push(vec![
            cell.contestant.to_owned(),
            mib(|memory| memory.ring_bytes),
            mib(|memory| memory.pss_bytes),
            mib(|memory| memory.pss_without_bytes),
            mib(|memory| memory.rss_bytes),
            or_dash(view.memory_ratio(cell)),
            n(view, cell),
        ]);
    }
    page.section(
        "Memory of a process that has both ends of a ring and has used all of it",
        "Pss counts each page once. Rss counts it as often as it is mapped, and a ring's data is mapped twice in a row.",
        &rows,
    );
}
