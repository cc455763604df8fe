//! Page: the result as one HTML file: parameters and machine, headlines, plots, tables, method.
//!
//! (I1) nothing is fetched and nothing is run: style and pictures are inside; (I2) what comes from the machine is escaped.

use super::figures::{Figures, Kind, PERCENTILES, Process};
use super::plot;
use super::text::{headlines, name_of, waiting, what, workload};
use super::units::{short, show_bytes_rate, show_ns, show_number, show_percent, show_rate};
use crate::args::Mode;
use crate::size::show_size;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// All of it.
pub(super) fn show(figures: &Figures) -> String {
    let title = escaped(&what(figures));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>shm-ring bench: {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <p class=\"soft\">shm-ring bench</p>\n<h1>{title}</h1>\n"
    );
    setup(&mut out, figures);
    cards(&mut out, figures);
    for note in &figures.notes {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", escaped(note));
    }
    let name = capitalised(name_of(figures.kind));
    let _ = writeln!(out, "<h2>{name} by percentile</h2>\n<figure>{}</figure>", plot::percentiles(figures));
    percentile_table(&mut out, figures);
    let per = if figures.n_receivers() > 1 { ", each consumer" } else { "" };
    let thing = if figures.kind == Kind::RoundTrip { "Round trips" } else { "Records" };
    let ms = plot::column_ms(figures);
    let _ = writeln!(
        out,
        "<h2>{thing} per second{per}, in intervals of {ms} ms</h2>\n<figure>{}</figure>",
        plot::throughput(figures)
    );
    let _ = writeln!(
        out,
        "<h2>The slowest record, in intervals of {ms} ms</h2>\n<figure>{}</figure>",
        plot::slowest(figures)
    );
    processes(&mut out, figures);
    method(&mut out, figures);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn setup(out: &mut String, figures: &Figures) {
    let (plan, machine) = (&figures.plan, &figures.machine);
    let of_all = |processes: &[Process]| {
        let cpus: Vec<_> =
            processes.iter().filter_map(|process| process.cpu).map(|cpu| cpu.to_string()).collect();
        if cpus.is_empty() { "any".to_owned() } else { cpus.join(", ") }
    };
    let rate = plan.rate.map_or("as fast as it goes".to_owned(), |rate| {
        format!("{}{}", short(&show_rate(rate as f64)), if plan.producers > 1 { " each" } else { "" })
    });
    let mode = if plan.mode == Mode::Exclusive { "exclusive" } else { "shared" };
    let seconds = |ns: u64| format!("{} s", ns as f64 / 1e9);
    let rows = [
        ("Workload", workload(figures).to_owned()),
        ("Record", show_size(plan.size_bytes as u64)),
        ("Producers", plan.producers.to_string()),
        ("Consumers", plan.consumers.to_string()),
        ("Claims", mode.to_owned()),
        ("Waiting", waiting(figures).to_owned()),
        ("Rate", rate),
        ("Records to a claim", plan.batch.to_string()),
        ("Capacity", show_size(plan.capacity_bytes)),
        ("Metadata", if plan.metadata { "on" } else { "off" }.to_owned()),
        ("Measured", seconds(plan.window_ns)),
        ("Warm-up", seconds(plan.warm_up_ns)),
        ("Producers' CPUs", of_all(&figures.producers)),
        ("Consumers' CPUs", of_all(&figures.consumers)),
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    out.push_str("<dl class=\"setup\">\n");
    let place = format!("{}, {} CPUs, Linux {}", machine.processor, machine.cpus, machine.kernel);
    let _ = writeln!(out, "<div class=\"wide\"><dt>Machine</dt><dd>{}</dd></div>", escaped(&place));
    for (name, value) in rows {
        let _ = writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escaped(&value));
    }
    out.push_str("</dl>\n");
}

fn cards(out: &mut String, figures: &Figures) {
    out.push_str("<div class=\"cards\">\n");
    let p999_ns = figures.latency.value_at_quantile(0.999) as f64;
    let mut card = |name: &str, value: &str, below: &str, class: &str| {
        let _ = writeln!(
            out,
            "<div class=\"card\"><div class=\"name\">{name}</div><div class=\"figure\">{value}</div>\
             <div class=\"{class}\">{below}</div></div>"
        );
    };
    for headline in headlines(figures) {
        let name = capitalised(&headline.name);
        match headline.floor {
            Some((floor, ratio)) => {
                card(&name, &headline.value, &format!("{ratio} × floor ({floor})"), "ratio");
            }
            None => card(&name, &headline.value, &headline.remark, "soft"),
        }
    }
    let max = format!("max {}", show_ns(figures.latency.max() as f64));
    card(&format!("{}, p99.9", capitalised(name_of(figures.kind))), &show_ns(p999_ns), &max, "soft");
    out.push_str("</div>\n");
}

fn percentile_table(out: &mut String, figures: &Figures) {
    let latency = &figures.latency;
    let mut cells = vec![("min", latency.min() as f64)];
    cells.extend(PERCENTILES.map(|(name, quantile)| (name, latency.value_at_quantile(quantile) as f64)));
    cells.extend([("max", latency.max() as f64), ("mean", latency.mean())]);
    out.push_str("<div class=\"scroll\"><table>\n<tr><th scope=\"col\">measured</th>");
    for (name, _) in &cells {
        let _ = write!(out, "<th scope=\"col\">{name}</th>");
    }
    let _ = write!(out, "</tr>\n<tr><td>{}</td>", show_number(latency.len()));
    for (_, ns) in &cells {
        let _ = write!(out, "<td>{}</td>", show_ns(*ns));
    }
    out.push_str("</tr>\n</table></div>\n");
}

fn processes(out: &mut String, figures: &Figures) {
    out.push_str("<h2>Processes</h2>\n<div class=\"scroll\"><table>\n<tr>");
    for title in
        ["", "pid", "CPU", "CPU time", "CPU taken", "records", "per second", "p50", "p99", "p99.9", "max"]
    {
        let _ = write!(out, "<th scope=\"col\">{title}</th>");
    }
    out.push_str("</tr>\n");
    let producers = figures.producers.iter().enumerate().map(|one| ("producer", one));
    let consumers = figures.consumers.iter().enumerate().map(|one| ("consumer", one));
    for (side, (index, process)) in producers.chain(consumers) {
        let cpu = process.cpu.map_or("any".to_owned(), |cpu| cpu.to_string());
        let _ = write!(
            out,
            "<tr><td>{side} {index}</td><td>{}</td><td>{cpu}</td><td>{}</td><td>{}</td><td>{}</td>",
            process.pid,
            show_percent(figures.part(process.cpu_ns)),
            show_percent(figures.part(process.queued_ns)),
            show_number(process.records)
        );
        let mut cells = vec![process.records_per_second.map(show_rate)];
        let latency = process.latency.as_ref();
        let at = |quantile| latency.map(|latency| show_ns(latency.value_at_quantile(quantile) as f64));
        cells.extend([0.5, 0.99, 0.999, 1.0].map(at));
        for cell in cells {
            let _ = write!(out, "<td>{}</td>", cell.as_deref().unwrap_or("–"));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}

fn method(out: &mut String, figures: &Figures) {
    let floor = &figures.floor;
    let latency = match figures.kind {
        Kind::RoundTrip if figures.plan.rate.is_some() => {
            "A round trip takes from the moment at which its record was meant to be sent until the answer has been read in full."
        }
        Kind::RoundTrip => {
            "A round trip takes from the end of the one before it until the answer has been read in full: one at a time."
        }
        Kind::OneWay => {
            "Latency counts from the moment at which a record was meant to be sent, whether its producer was able to send it then or not, \
             until it has been read in full; so a stop anywhere shows in all the records that it delayed."
        }
        Kind::Queue => {
            "Records were sent as fast as they go, so most of their time was spent in the ring behind others; every 32nd tells its time."
        }
    };
    let _ = writeln!(
        out,
        "<div class=\"foot\"><p>Each process wrote or read every record in full and checked it: its place in its producer's sequence, and a \
         checksum over all bytes. {latency} CPU time is what a process used; CPU taken is how long it could have run while others had its \
         CPU.</p>\n<p>The floor is what the machine does between the same two CPUs without a ring: the round \
         trip of a bare cache line ({} before, {} after; half of it for one way) and bytes copied through shared memory in chunks of 64 KiB \
         ({} before, {} after).</p>\n<p>The same again: <code>{}</code></p></div>",
        show_ns(floor.before.line_mean_ns),
        show_ns(floor.after.line_mean_ns),
        show_bytes_rate(floor.before.copy_rate),
        show_bytes_rate(floor.after.copy_rate),
        escaped(&command(figures))
    );
}

/// What to type for the same.
fn command(figures: &Figures) -> String {
    let plan = &figures.plan;
    let mode = if plan.mode == Mode::Exclusive { "exclusive" } else { "shared" };
    let mut command = format!(
        "shm-ring bench --workload {} --size {} --producers {} --consumers {} --mode {mode} --wait {} --seconds {} --batch {} --capacity {}",
        workload(figures),
        plan.size_bytes,
        plan.producers,
        plan.consumers,
        waiting(figures),
        plan.window_ns as f64 / 1e9,
        plan.batch,
        plan.capacity_bytes
    );
    if let Some(rate) = plan.rate {
        let _ = write!(command, " --rate {rate}");
    }
    if plan.metadata {
        command.push_str(" --metadata");
    }
    let cpus: Vec<_> = figures.producers.iter().chain(&figures.consumers).filter_map(|p| p.cpu).collect();
    if !cpus.is_empty() {
        let cpus: Vec<_> = cpus.iter().map(usize::to_string).collect();
        let _ = write!(command, " --cpus {}", cpus.join(","));
    }
    command
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
