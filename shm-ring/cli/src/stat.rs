//! Stat: a ring's tables, as a table for people or one JSON object; and what a log or a mapped file says of itself
//! (`logs/stat.rs`, `mapped/stat.rs`).
//!
//! (I1) nothing is taken and nothing is changed; (I2) the JSON keys are a promise: more may come, none goes.

use crate::args::Stat;
use crate::failure::Failure;
use crate::logs;
use crate::mapped;
use crate::output;
use crate::size::{show_count, show_size, show_time};
use serde::Serialize;
use shm_ring::{ConsumerStats, ProducerStats, Ring, Stats};

/// Runs the command.
pub(crate) fn run(args: &Stat) -> Result<(), Failure> {
    let mut text = if logs::is_log(&args.ring) {
        logs::stat(&args.ring, args.json)?
    } else if let Some(look) = mapped::Look::new(&args.ring)? {
        mapped::stat(&look, args.json)
    } else {
        let stats = Ring::open_observer(&args.ring)?.stats()?;
        let path = args.ring.to_string_lossy();
        if args.json { json(&path, &stats) } else { table(&path, &stats) }
    };
    text.push('\n');
    output::print(text.as_bytes())
}

#[derive(Serialize)]
struct RingJson<'a> {
    path: &'a str,
    uuid: String,
    capacity_bytes: u64,
    mode: &'static str,
    permissions: String,
    layout_version: u32,
    metadata: bool,
    created_ns: u64,
    epoch: u64,
    tail: u64,
    oldest: u64,
    lost_records: u64,
    lost_bytes: u64,
    rebooted: bool,
    repairing: Option<u32>,
    producers: Vec<ProducerJson>,
    consumers: Vec<ConsumerJson<'a>>,
}

#[derive(Serialize)]
struct ProducerJson {
    slot: u16,
    pid: u32,
    alive: bool,
    records: u64,
    bytes: u64,
    refused: u64,
    waited: u64,
    dropped: u64,
    lost: u64,
}

#[derive(Serialize)]
struct ConsumerJson<'a> {
    slot: u16,
    name: &'a str,
    pid: u32,
    alive: bool,
    position: u64,
    lag_bytes: u64,
    durable: bool,
    missed_bytes: u64,
    holds_space: bool,
    group: bool,
    members: Option<usize>,
    member_of: Option<u16>,
}

fn json(path: &str, stats: &Stats) -> String {
    let object = RingJson {
        path,
        uuid: stats.uuid_string(),
        capacity_bytes: stats.capacity_bytes,
        mode: mode_name(stats),
        permissions: format!("{:04o}", stats.mode),
        layout_version: stats.layout_version,
        metadata: stats.metadata,
        created_ns: stats.created_ns,
        epoch: stats.epoch,
        tail: stats.tail,
        oldest: stats.oldest,
        lost_records: stats.lost_records,
        lost_bytes: stats.lost_bytes,
        rebooted: stats.rebooted,
        repairing: stats.repairing,
        producers: stats.producers.iter().map(producer_json).collect(),
        consumers: stats.consumers.iter().map(consumer_json).collect(),
    };
    serde_json::to_string(&object).expect("numbers and strings, and the keys are strings")
}

fn producer_json(producer: &ProducerStats) -> ProducerJson {
    ProducerJson {
        slot: producer.slot,
        pid: producer.pid,
        alive: producer.alive,
        records: producer.records,
        bytes: producer.bytes,
        refused: producer.refused,
        waited: producer.waited,
        dropped: producer.dropped,
        lost: producer.lost,
    }
}

fn consumer_json(consumer: &ConsumerStats) -> ConsumerJson<'_> {
    ConsumerJson {
        slot: consumer.slot,
        name: &consumer.name,
        pid: consumer.pid,
        alive: consumer.alive,
        position: consumer.position,
        lag_bytes: consumer.lag_bytes,
        durable: consumer.durable,
        missed_bytes: consumer.missed_bytes,
        holds_space: consumer.holds_space,
        group: consumer.members.is_some(),
        members: consumer.members,
        member_of: consumer.member_of,
    }
}

fn table(path: &str, stats: &Stats) -> String {
    let created = show_time(stats.created_ns);
    let mut out = format!(
        "{path}  v{}  uuid {}\n{}, {}, permissions {:04o}, {} metadata, created {created}\ntail {}, oldest {}, {} records lost with \
         their producers\n",
        stats.layout_version,
        stats.uuid_string(),
        show_size(stats.capacity_bytes),
        mode_name(stats),
        stats.mode,
        if stats.metadata { "with" } else { "without" },
        stats.tail,
        stats.oldest,
        stats.lost_records,
    );
    if stats.rebooted {
        out.push_str("not used since the last boot: the next to open it for writing begins a new epoch\n");
    }
    if let Some(repairing) = stats.repairing {
        out.push_str(&format!("pid {} attaches or repairs\n", pid(repairing)));
    }
    out.push('\n');
    let titles = ["PRODUCER", "PID", "ALIVE", "RECORDS", "BYTES", "REFUSED", "WAITED", "DROPPED", "LOST"];
    let mut rows = vec![titles.map(String::from)];
    rows.extend(stats.producers.iter().map(|p| {
        let counts =
            [p.records, p.bytes, p.refused, p.waited, p.dropped, p.lost].map(|count| count.to_string());
        let [records, bytes, refused, waited, dropped, lost] = counts;
        [p.slot.to_string(), pid(p.pid), yes(p.alive), records, bytes, refused, waited, dropped, lost]
    }));
    out.push_str(&aligned(&rows));
    out.push('\n');
    let titles = ["CONSUMER", "PID", "ALIVE", "POSITION", "LAG", "MISSED", "HOLDS", "GROUP", "NAME"];
    let mut rows = vec![titles.map(String::from)];
    rows.extend(stats.consumers.iter().map(|c| {
        let counts = [c.position, c.lag_bytes, c.missed_bytes].map(|count| count.to_string());
        let [position, lag, missed] = counts;
        let name = c.name.escape_debug().to_string();
        [
            c.slot.to_string(),
            pid(c.pid),
            yes(c.alive),
            position,
            lag,
            missed,
            yes(c.holds_space),
            group(c),
            name,
        ]
    }));
    out.push_str(&aligned(&rows));
    out.truncate(out.trim_end().len());
    out
}

/// A group's size, or whose member it is.
fn group(consumer: &ConsumerStats) -> String {
    match (consumer.members, consumer.member_of) {
        (Some(members), _) => show_count(members as u64, "member", "members"),
        (None, Some(group)) => format!("of {group}"),
        (None, None) => "-".to_owned(),
    }
}

fn mode_name(stats: &Stats) -> &'static str {
    if stats.single_producer { "exclusive" } else { "shared" }
}

fn pid(pid: u32) -> String {
    if pid == 0 { "-".to_owned() } else { pid.to_string() }
}

fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// Columns as wide as their widest cell, to the right but for the last of each row that is a name.
pub(crate) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0));
    let is_name = rows.first().and_then(|row| row.last()).is_some_and(|title| title == "NAME");
    let mut out = String::new();
    for row in rows {
        for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
            let gap = if i == 0 { "" } else { "  " };
            if is_name && i + 1 == N {
                out.push_str(&format!("{gap}{cell}"));
            } else {
                out.push_str(&format!("{gap}{cell:>width$}"));
            }
        }
        out.push('\n');
    }
    out
}
