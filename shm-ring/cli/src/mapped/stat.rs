//! Stat: the numbers of a mapped file, as lines for people or one JSON object.
//!
//! (I1) the JSON keys are a promise: more may come, none goes; what does not apply to a kind is null.

use super::look::{Both, Look, Numbers};
use crate::size::{show_size, show_time};
use serde::Serialize;
use shm_ring::RangedStats;

/// Everything, without a newline at the end.
pub(crate) fn text(look: &Look<'_>, json: bool) -> String {
    let path = look.path.to_string_lossy();
    if json { object(look, &path) } else { lines(look, &path) }
}

#[derive(Serialize)]
struct MappedJson<'a> {
    path: &'a str,
    kind: &'static str,
    uuid: &'a str,
    layout_version: u32,
    permissions: String,
    created_ns: u64,
    file_bytes: u64,
    data_bytes: u64,
    capacity_bytes: u64,
    usage_ratio: f64,
    durable_bytes: u64,
    doubtful_bytes: u64,
    writer: bool,
    writer_pid: Option<u32>,
    sealed: bool,
    data_crc: Option<u32>,
    pinned: Option<bool>,
    alignment: Option<u64>,
    next_position: Option<u64>,
    handed_out_bytes: Option<u64>,
    written_bytes: Option<u64>,
    missing_bytes: Option<u64>,
    free_bytes: Option<u64>,
    sync_failed: Option<bool>,
}

fn object(look: &Look<'_>, path: &str) -> String {
    let both = look.both();
    let (append, ranged) = match &look.numbers {
        Numbers::Append(stats) => (Some(stats), None),
        Numbers::Ranged(stats) => (None, Some(stats)),
    };
    let of_ranged = |number: fn(&RangedStats) -> u64| ranged.map(number);
    let object = MappedJson {
        path,
        kind: both.kind,
        uuid: &both.uuid,
        layout_version: both.layout_version,
        permissions: format!("{:04o}", both.mode),
        created_ns: both.created_ns,
        file_bytes: both.file_bytes,
        data_bytes: both.data_bytes,
        capacity_bytes: both.capacity_bytes,
        usage_ratio: both.usage_ratio,
        durable_bytes: both.durable_bytes,
        doubtful_bytes: both.doubtful_bytes,
        writer: both.has_writer,
        writer_pid: Some(both.writer_pid).filter(|pid| both.has_writer && *pid != 0),
        sealed: both.is_sealed,
        data_crc: both.data_crc,
        pinned: append.map(|stats| stats.is_pinned),
        alignment: of_ranged(|stats| stats.alignment.bytes()),
        next_position: of_ranged(|stats| stats.next_position),
        handed_out_bytes: of_ranged(|stats| stats.taken_bytes),
        written_bytes: of_ranged(|stats| stats.written_bytes),
        missing_bytes: of_ranged(|stats| stats.missing_bytes),
        free_bytes: of_ranged(|stats| stats.free_bytes),
        sync_failed: ranged.map(|stats| stats.sync_failed),
    };
    serde_json::to_string(&object).expect("numbers and strings, and the keys are strings")
}

fn lines(look: &Look<'_>, path: &str) -> String {
    let both = look.both();
    let mut lines = vec![
        format!("{path}  {} file v{}  uuid {}", both.kind, both.layout_version, both.uuid),
        format!("{}, permissions {:04o}, created {}", state(&both), both.mode, show_time(both.created_ns),),
    ];
    let percent = both.usage_ratio * 100.0;
    let (data, durable) = (both.data_bytes, both.durable_bytes);
    match &look.numbers {
        Numbers::Append(_) => lines.push(format!(
            "{data} bytes of data, {percent:.1} % of the capacity of {}; {durable} durable",
            show_size(both.capacity_bytes),
        )),
        Numbers::Ranged(stats) => {
            lines.push(format!(
                "{data} bytes of data in units of {}, {percent:.1} % written",
                stats.alignment.bytes()
            ));
            lines.push(format!(
                "written {}, of which durable {durable}; missing {}: handed out {}, free {}",
                stats.written_bytes, stats.missing_bytes, stats.taken_bytes, stats.free_bytes
            ));
        }
    }
    if both.doubtful_bytes > 0 {
        lines.push(format!(
            "{} bytes were written before the machine was restarted, and not synced",
            both.doubtful_bytes
        ));
    }
    if !both.is_sealed {
        lines.push(match (both.has_writer, both.writer_pid) {
            (false, _) => "nobody has it open for writing".to_owned(),
            (true, 0) => "open for writing".to_owned(),
            (true, pid) => format!("open for writing, last by pid {pid}"),
        });
    }
    if matches!(&look.numbers, Numbers::Append(stats) if stats.is_pinned) {
        lines.push("read in place".to_owned());
    }
    lines.join("\n")
}

/// Whether it is finished.
pub(super) fn state(both: &Both) -> String {
    match both.data_crc {
        Some(crc) => format!("sealed, crc32c {crc:#010x}"),
        None => "open".to_owned(),
    }
}
