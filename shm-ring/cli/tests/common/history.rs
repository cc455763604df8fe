//! History: logs and rows with times of our choice, and the order in which they are to come.

use super::Rig;
use serde_json::Value;
use shm_ring::{Durability, LogOptions};
use std::path::PathBuf;

/// 2026-01-01T00:00:00Z.
pub(crate) const START_NS: u64 = 1_767_225_600_000_000_000;

/// A record of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Was {
    pub(crate) source: String,
    pub(crate) timestamp_ns: u64,
    pub(crate) message: String,
}

/// A log of that name with a record for each time, `name 0`, `name 1` and so on.
pub(crate) fn log(rig: &Rig, name: &str, times_ns: &[u64]) -> Vec<Was> {
    log_from(rig, name, times_ns, 0)
}

/// The same, or more of it, beginning with that number.
pub(crate) fn log_from(rig: &Rig, name: &str, times_ns: &[u64], first: usize) -> Vec<Was> {
    let options = LogOptions::new().segment_bytes(64 << 10).durability(Durability::Process);
    let mut log = options.open_or_create(rig.path(name)).unwrap();
    let mut all = Vec::new();
    for (n, timestamp_ns) in times_ns.iter().enumerate() {
        let message = format!("{name} {}", first + n);
        let _ = log.append_at(*timestamp_ns, message.as_bytes()).unwrap();
        all.push(Was { source: name.to_owned(), timestamp_ns: *timestamp_ns, message });
    }
    log.close().unwrap();
    all
}

/// `n` times from the start on that ascend, in steps of 0 to `step_ns_max`, the same for the same seed.
pub(crate) fn times(seed: u64, n: usize, step_ns_max: u64) -> Vec<u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut at = START_NS;
    let mut times = Vec::new();
    for _ in 0..n {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        at += state % (step_ns_max + 1);
        times.push(at);
    }
    times
}

/// What a merge of these sources, in this order, is to hand out: a stable sort.
pub(crate) fn sorted(sources: &[Vec<Was>]) -> Vec<Was> {
    let mut all = sources.concat();
    all.sort_by_key(|was| was.timestamp_ns);
    all
}

/// What was shown with `-o json`.
pub(crate) fn shown(out: &str) -> Vec<Was> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let was = |object: Value| Was {
        source: text(&object["source"]),
        timestamp_ns: object["timestamp_ns"].as_u64().unwrap(),
        message: text(&object["message"]),
    };
    super::objects(out).into_iter().map(was).collect()
}

/// The messages, a line each.
pub(crate) fn messages(all: &[Was]) -> String {
    all.iter().map(|was| format!("{}\n", was.message)).collect()
}

/// A file of rows of 32 bytes, with the time in µs at byte 8 and the row's number at 0.
pub(crate) fn rows(rig: &Rig, name: &str, times_ns: &[u64]) -> PathBuf {
    let mut bytes = Vec::new();
    for (n, timestamp_ns) in (0u64..).zip(times_ns) {
        bytes.extend_from_slice(&n.to_le_bytes());
        bytes.extend_from_slice(&(timestamp_ns / 1000).to_le_bytes());
        bytes.extend_from_slice(&[0xee; 16]);
    }
    let path = rig.path(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
