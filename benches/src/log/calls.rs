//! Calls: the system calls of appends, and the syncs of sixteen threads' appends, by strace.
//!
//! This program runs itself again under `strace`, which sees a word on stdout before and after each loop.

use std::path::Path;
use std::sync::Mutex;

use shm_ring::LogOptions;

use super::child::{ARGUMENT, TRACED};
use super::durable::{N_THREADS, append_by_all, create};
use super::{Fact, Plan, Results, TIME_NS, failed, removed, resident, settle};
use crate::mapped::record;
use crate::report::verdict::{Limit, Target};
use crate::turns::trace::{NO_STRACE, between, said_between, trace};

const N: usize = 100_000;
const SYNCS: [&str; 4] = ["fdatasync(", "fsync(", "msync(", "sync_file_range("];
/// (name, what it is, between which words)
const APPENDS: (&str, &str) = (
    "calls/append",
    "system calls of the appending thread for each of 100,000 appends of 100 B into a resident segment",
);
const EACH: (&str, &str) = ("syncs/append_by_16", "syncs for each durable append of 16 threads");

/// What is traced; `n` records by each of the threads.
pub(super) fn traced(path: &Path, n: usize) -> Result<(), String> {
    let segment_bytes = (N * 160).next_multiple_of(64 << 10) as u64;
    let mut log =
        LogOptions::new().segment_bytes(segment_bytes).create(path).map_err(failed("create a log"))?;
    settle(&log)?;
    resident::make_present(path)?;
    let record = record(100);
    between("appends", || (0..N).try_for_each(|_| log.append_at(TIME_NS, record).map(drop)))?;
    drop(log);
    let mut log = create(&path.with_extension("durable"))?;
    let log = Mutex::new(&mut log);
    between("durable", || append_by_all(&log, record, n))
}

pub(super) fn facts(plan: &Plan) -> Result<Vec<Fact>, String> {
    let path = plan.directory.join("calls");
    let n = plan.n_synced.to_string();
    let args = [ARGUMENT.as_ref(), TRACED.as_ref(), path.as_os_str(), n.as_ref()];
    let trace = trace(&path.with_extension("trace"), args)?.unwrap_or_default();
    let appends = said_between(&trace, "appends").map(|(thread, lines)| {
        let own = lines.iter().filter(|line| line.split(' ').next() == Some(thread)).count();
        own as f64 / N as f64
    });
    let syncs = said_between(&trace, "durable").map(|(_, lines)| {
        let n = lines.iter().filter(|line| SYNCS.iter().any(|sync| line.contains(sync))).count();
        n as f64 / (N_THREADS * plan.n_synced) as f64
    });
    for path in [&path, &path.with_extension("durable")] {
        removed(path)?;
    }
    let fact = |(name, what), figure: Option<f64>| Fact::exact(name, what, figure.ok_or(NO_STRACE));
    Ok(vec![fact(APPENDS, appends), fact(EACH, syncs)])
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    // The helpers are rung for once in a MiB, and that is all.
    let n_rings = 144.0 / f64::from(1 << 20);
    vec![
        results.count(APPENDS.0, "-", Limit::AtMost(2.0 * n_rings)),
        results.count(EACH.0, "-", Limit::AtMost(0.125)),
    ]
}
