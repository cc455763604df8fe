//! Compact: many sources into one log, which is complete or not there.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::history::{START_NS, log, messages, rows, shown, sorted, times};
use common::{Done, Rig, objects, signal, wait_until};
use nix::sys::signal::Signal;
use std::path::Path;
use std::time::Duration;

/// Everything in the rig's directory but the sources.
fn made(rig: &Rig) -> Vec<String> {
    let names = std::fs::read_dir(rig.path("."))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("dst")).collect()
}

fn record_count(rig: &Rig, log: &str) -> u64 {
    let report: serde_json::Value = serde_json::from_str(&rig.ok(["verify", log, "--json"])).unwrap();
    report["records"].as_u64().unwrap()
}

// Goal: what was compacted reads as what was merged: times, messages, level and kind, all or what is of a time. Method: logs with many times in common and a ring with
// levels, through segments; `cat` of the result against `merge` of the sources.
#[test]
fn a_compacted_log_reads_as_its_sources_merged() {
    let rig = Rig::with_ring("64KiB");
    let all = sorted(&[log(&rig, "a", &times(1, 2_000, 2)), log(&rig, "b", &times(2, 3_000, 1))]);
    assert_eq!(rig.run_with(["push", "app.ring", "--level", "err", "--tag", "web"], b"one\ntwo\n").code, 0);
    let out = rig.ok(["compact", "a", "b", "app.ring", "dst", "--segment", "64KiB"]);
    assert_eq!(out, "compacted 5002 records of 3 sources into dst\n");
    assert_eq!((made(&rig), record_count(&rig, "dst")), (vec!["dst".to_owned()], 5_002));
    let cat = objects(&rig.ok(["cat", "dst", "-o", "json"]));
    let merged = objects(&rig.ok(["merge", "a", "b", "app.ring", "-o", "json"]));
    for key in ["timestamp_ns", "kind", "level", "pid", "stream", "tag", "message"] {
        assert!(cat.iter().map(|object| &object[key]).eq(merged.iter().map(|object| &object[key])), "{key}");
    }
    assert!(
        shown(&rig.ok(["merge", "dst", "-o", "json", "--count", "5000"]))
            .iter()
            .map(|was| &was.message)
            .eq(all.iter().map(|was| &was.message))
    );
    assert_eq!(rig.ok(["cat", "dst", "-o", "raw", "-g", "^one|^two"]), "one\ntwo\n");

    let middle = all[2_500].timestamp_ns;
    let middle = format!("{}.{:09}", middle / 1_000_000_000, middle % 1_000_000_000);
    let cut: Vec<_> = all.iter().filter(|was| was.timestamp_ns < all[2_500].timestamp_ns).cloned().collect();
    rig.ok(["compact", "a", "b", "dst2/", "--to", &middle]);
    assert!(rig.ok(["cat", "dst2", "-o", "raw"]) == messages(&cut));
    rig.ok(["compact", "a", "b", "dst3", "--from", &middle]);
    assert!(rig.ok(["cat", "dst3", "-o", "raw"]) == messages(&all[cut.len()..]));
    let of_rows: Vec<u64> = times(3, 100, 9).iter().map(|ns| START_NS + (ns - START_NS) * 1_000).collect();
    rows(&rig, "rows", &of_rows);
    rig.ok(["compact", "rows", "dst4", "--rows", "32@8:us"]);
    let cat = objects(&rig.ok(["cat", "dst4", "-o", "json"]));
    assert!(cat.iter().map(|object| object["timestamp_ns"].as_u64().unwrap()).eq(of_rows));
}

// Goal: nothing is overwritten: neither what has the name, whatever it is, nor what a killed run left. Method: a log, a file, an empty directory,
// a link to nowhere, and leftovers.
#[test]
fn what_is_there_is_refused_and_stays() {
    let rig = Rig::new();
    log(&rig, "a", &times(1, 10, 9));
    log(&rig, "dst-log", &times(2, 10, 9));
    std::fs::write(rig.path("dst-file"), b"mine").unwrap();
    std::fs::create_dir(rig.path("dst-empty")).unwrap();
    std::os::unix::fs::symlink("nowhere", rig.path("dst-link")).unwrap();
    std::fs::create_dir(rig.path("dst-left.unfinished")).unwrap();
    let before = rig.ok(["cat", "dst-log", "-o", "json"]);
    for name in ["dst-log", "dst-file", "dst-empty", "dst-link", "dst-left", "dst-log/"] {
        let done = rig.run(["compact", "a", name]);
        assert_eq!((done.code, done.out.as_str()), (1, ""), "{done:?}");
        assert!(done.err.contains("exists"), "{done:?}");
    }
    assert_eq!(rig.ok(["cat", "dst-log", "-o", "json"]), before);
    assert_eq!(std::fs::read(rig.path("dst-file")).unwrap(), b"mine");
    assert_eq!(made(&rig).len(), 5);
    assert_eq!(rig.run(["compact", "a"]).code, 2);
}

// Goal: a source that fails ends it, and leaves nothing. Method: one that is missing, and one whose records are longer than the log takes.
#[test]
fn a_failure_leaves_nothing() {
    let rig = Rig::with_ring("1MiB");
    log(&rig, "a", &times(1, 10, 9));
    assert_eq!(rig.run(["compact", "a", "missing", "dst"]).code, 3);
    rig.push(&[[b'x'; 40_000].as_slice(), b"\n"].concat());
    let done = rig.run(["compact", "a", "app.ring", "dst", "--segment", "64KiB"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert_eq!(rig.run(["compact", "a", "dst", "--segment", "1"]).code, 2);
    assert_eq!(made(&rig), [""; 0]);
    assert_eq!(rig.run(["compact", "a", "no/where/dst"]).code, 1);
    rig.ok(["compact", "a", "app.ring", "dst", "--segment", "256KiB"]);
}

// Goal: under its name the log is whole or not there: killed at any moment, or asked to end, which leaves nothing else either. Method: SIGKILL and SIGTERM after more and more
// time, until a run is over before.
#[test]
fn a_killed_compact_leaves_nothing_under_the_name() {
    let rig = Rig::new();
    for name in ["a", "b"] {
        log(&rig, name, &times(1, 20_000, 9));
    }
    let mut n_cut = 0;
    for round in 0.. {
        for (how, wanted) in [(Signal::SIGKILL, 137), (Signal::SIGTERM, 1)] {
            let child = rig.start(["compact", "a", "b", "dst", "--segment", "64KiB"]);
            let began = rig.path("dst.unfinished");
            wait_until("it begins", || began.exists() || rig.path("dst").exists());
            std::thread::sleep(Duration::from_millis(7 * round));
            signal(&child, how);
            let done = Done::of(child);
            if rig.path("dst").exists() {
                assert_eq!(record_count(&rig, "dst"), 40_000, "{done:?}");
                assert!(!began.exists());
                assert!(n_cut > 0, "none was cut");
                return;
            }
            n_cut += 1;
            assert_eq!(done.code, wanted, "{done:?}");
            let is_left = how == Signal::SIGKILL;
            assert_eq!(made(&rig), if is_left { vec!["dst.unfinished"] } else { vec![] }, "{done:?}");
            if is_left {
                let refused = rig.run(["compact", "a", "b", "dst"]);
                assert!(refused.code == 1 && refused.err.contains("dst.unfinished"), "{refused:?}");
                remove(&began);
            }
        }
    }
}

fn remove(path: &Path) {
    std::fs::remove_dir_all(path).unwrap();
}
