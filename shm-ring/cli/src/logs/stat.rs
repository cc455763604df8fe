//! Stat: the numbers of a log, as tables for people or one JSON object.
//!
//! (I1) the JSON keys are a promise: more may come, none goes; what is not known of a segment is null.

use super::cursor::{Place, places};
use crate::failure::Failure;
use crate::size::{show_count, show_size, show_time};
use crate::stat::aligned;
use serde::Serialize;
use shm_ring::{Log, LogSegment, LogStats};
use std::path::Path;

#[derive(Serialize)]
struct LogJson<'a> {
    path: &'a str,
    kind: &'static str,
    uuid: &'a str,
    created_ns: u64,
    oldest_position: u64,
    end_position: u64,
    durable_position: u64,
    data_bytes: u64,
    records: u64,
    prepared: u64,
    appending: bool,
    appender_pid: Option<u32>,
    suspect: bool,
    segments: Vec<SegmentJson>,
    cursors: Vec<Place>,
}

#[derive(Serialize)]
struct SegmentJson {
    number: u64,
    state: &'static str,
    base: u64,
    end: u64,
    data_bytes: u64,
    records: Option<u64>,
    first_ns: Option<u64>,
    last_ns: Option<u64>,
    suspect: bool,
    hole_bytes: u64,
}

/// Everything, without a newline at the end.
pub(crate) fn text(path: &Path, json: bool) -> Result<String, Failure> {
    let stats = Log::inspect(path)?;
    let path = path.to_string_lossy();
    Ok(if json { object(&path, &stats) } else { lines(&path, &stats) })
}

fn object(path: &str, stats: &LogStats) -> String {
    let segment = |segment: &LogSegment| SegmentJson {
        number: segment.number,
        state: state(segment),
        base: segment.base,
        end: segment.end,
        data_bytes: segment.data_bytes,
        records: segment.n_records,
        first_ns: segment.first_ns,
        last_ns: segment.last_ns,
        suspect: segment.is_suspect,
        hole_bytes: segment.hole_bytes,
    };
    let object = LogJson {
        path,
        kind: "log",
        uuid: &stats.uuid,
        created_ns: stats.created_ns,
        oldest_position: stats.first_position,
        end_position: stats.end_position,
        durable_position: stats.durable,
        data_bytes: data_bytes(stats),
        records: stats.n_records,
        prepared: stats.n_prepared,
        appending: stats.has_appender,
        appender_pid: Some(stats.appender_pid).filter(|pid| stats.has_appender && *pid != 0),
        suspect: stats.segments.iter().any(|segment| segment.is_suspect),
        segments: stats.segments.iter().map(segment).collect(),
        cursors: places(stats),
    };
    serde_json::to_string(&object).expect("numbers and strings, and the keys are strings")
}

fn lines(path: &str, stats: &LogStats) -> String {
    let appender = match (stats.has_appender, stats.appender_pid) {
        (false, _) => "nobody appends".to_owned(),
        (true, 0) => "appended to".to_owned(),
        (true, pid) => format!("appended to by pid {pid}"),
    };
    let mut out = format!(
        "{path}  log  uuid {}\n{appender}, created {}\npositions {} to {}, {} of data in {}, durable up to {}; {} in sealed segments\n\n",
        stats.uuid,
        show_time(stats.created_ns),
        stats.first_position,
        stats.end_position,
        show_size(data_bytes(stats)),
        show_count(stats.segments.len() as u64, "segment", "segments"),
        stats.durable,
        show_count(stats.n_records, "record", "records"),
    );
    let titles = ["SEGMENT", "STATE", "BASE", "END", "RECORDS", "FIRST", "LAST"].map(String::from);
    let time = |ns: Option<u64>| ns.map_or("-".to_owned(), show_time);
    let rows = stats.segments.iter().map(|segment| {
        [
            segment.number.to_string(),
            state(segment).to_owned(),
            segment.base.to_string(),
            segment.end.to_string(),
            segment.n_records.map_or("-".to_owned(), |n| n.to_string()),
            time(segment.first_ns),
            time(segment.last_ns),
        ]
    });
    out.push_str(&aligned(&std::iter::once(titles).chain(rows).collect::<Vec<_>>()));
    if !stats.cursors.is_empty() {
        out.push('\n');
        out.push_str(&super::cursor::table(&places(stats)));
    }
    out.truncate(out.trim_end().len());
    out
}

/// Bytes of frames.
pub(super) fn data_bytes(stats: &LogStats) -> u64 {
    stats.segments.iter().map(|segment| segment.end - segment.base).sum()
}

fn state(segment: &LogSegment) -> &'static str {
    match (segment.is_sealed, segment.is_suspect) {
        (true, _) => "sealed",
        (false, true) => "suspect",
        (false, false) => "active",
    }
}
