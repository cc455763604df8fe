//! Logs: what each command says of them, in words, in JSON and in its exit code.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Rig, numbers, objects};
use serde_json::Value;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A ring and a log of small segments with lines 1 to `n`.
fn logged(n: u32) -> Rig {
    let rig = Rig::with_ring("64KiB");
    rig.ok(["record", "app.ring", "logs", "--drain", "--segment", "64KiB"]);
    let all = numbers(1..=n);
    let lines: Vec<_> = all.split_inclusive('\n').collect();
    for some in lines.chunks(200) {
        rig.push(some.concat().as_bytes());
        rig.ok(["record", "app.ring", "logs", "--drain"]);
    }
    rig
}

fn json(rig: &Rig, args: &[&str]) -> (i32, Value) {
    let done = rig.run(args);
    (done.code, serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}")))
}

/// The oldest segment's file.
fn oldest(rig: &Rig) -> PathBuf {
    let files = std::fs::read_dir(rig.path("logs")).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|kind| kind == "seg")).min().unwrap()
}

/// Changes a byte in the middle of the oldest segment's records.
fn damage(rig: &Rig) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(oldest(rig)).unwrap();
    let at = file.metadata().unwrap().len() - (32 << 10);
    let mut bytes = [0; 64];
    file.read_exact_at(&mut bytes, at).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    file.write_all_at(&bytes, at).unwrap();
}

// Goal: `cat` shows everything or what is of a time, `tail` the last ones, from any number of segments, in each format. Method: a log of
// many segments, and parts of it.
#[test]
fn records_are_shown_from_any_place() {
    let rig = logged(3_000);
    let all = numbers(1..=3_000);
    assert!(rig.ok(["cat", "logs", "-o", "raw"]) == all);
    assert_eq!(rig.ok(["tail", "logs", "-o", "raw"]), numbers(2_991..=3_000));
    assert_eq!(rig.ok(["tail", "logs", "-o", "raw", "-n", "2500"]), numbers(501..=3_000));
    assert!(rig.ok(["tail", "logs", "-o", "raw", "-n", "5000"]) == all);
    assert_eq!(rig.ok(["tail", "logs", "-o", "raw", "-n", "0"]), "");
    assert_eq!(
        rig.ok(["tail", "logs", "-o", "raw", "-n", "3", "-g", "^7$|^8$|^900$|^901$"]),
        "8\n900\n901\n"
    );
    assert_eq!(rig.ok(["cat", "logs", "-o", "raw", "-g", "^29..$"]), numbers(2_900..=2_999));
    assert_eq!(rig.ok(["tail", "logs", "-o", "raw", "--oldest", "--count", "3"]), "1\n2\n3\n");
    let first = &objects(&rig.ok(["cat", "logs", "-o", "json"]))[0];
    assert_eq!((&first["message"], &first["producer"]), (&"1".into(), &0.into()));
    assert_eq!(rig.ok(["cat", "logs", "-o", "raw", "--from", "1970-01-01T00:00:00Z", "--to", "2m"]), "");
    assert!(rig.ok(["cat", "logs", "-o", "raw", "--from", "10m"]) == all);
    assert_eq!(rig.ok(["cat", "logs", "-o", "raw", "--from", "2100-01-01T00:00:00Z"]), "");
    assert!(rig.ok(["cat", "logs"]).lines().all(|line| line.ends_with(|c: char| c.is_ascii_digit())));
    for wrong in [
        &["cat", "logs", "--partial"][..],
        &["cat", "logs", "--from", "yesterday"],
        &["tail", "logs", "--consumer", "a"],
        &["tail", "app.ring", "--cursor", "a"],
        &["repair", "app.ring", "--dry-run"],
        &["gc", "logs"],
    ] {
        assert_eq!(rig.run(wrong).code, 2, "{wrong:?}");
    }
}

// Goal: a cursor goes on where it stopped, and can be listed, set and removed. Method: three readings under a name, and each action.
#[test]
fn a_cursor_goes_on_where_it_stopped() {
    let rig = logged(300);
    let tail = |more: &[&str]| {
        let args = ["tail", "logs", "-o", "raw", "--cursor", "mine"].iter().chain(more).copied();
        rig.ok(args.collect::<Vec<_>>())
    };
    assert_eq!(tail(&["--oldest", "--count", "100"]), numbers(1..=100));
    assert_eq!(tail(&["--count", "50"]), numbers(101..=150));
    let (code, listed) = json(&rig, &["cursor", "list", "logs", "--json"]);
    assert_eq!((code, &listed["name"], &listed["gone_bytes"]), (0, &"mine".into(), &0.into()));
    assert!(listed["lag_bytes"].as_u64().unwrap() > 0);
    assert_eq!(tail(&[]), numbers(151..=300));
    assert_eq!(tail(&[]), "");
    rig.ok(["cursor", "set", "logs", "mine", &listed["position"].to_string()]);
    assert_eq!(tail(&["--count", "1"]), "151\n");
    rig.ok(["cursor", "set", "logs", "mine", "oldest"]);
    assert_eq!(tail(&["--count", "1"]), "1\n");
    rig.ok(["cursor", "set", "logs", "mine", "end"]);
    assert_eq!(tail(&[]), "");
    rig.ok(["cursor", "set", "logs", "mine", "1h"]);
    assert_eq!(tail(&["--count", "1"]), "1\n");
    assert_eq!(rig.run(["cursor", "set", "logs", "mine", "999999984"]).code, 2);
    assert_eq!(rig.run(["cursor", "set", "logs", "no/name", "oldest"]).code, 2);
    assert!(rig.ok(["cursor", "list", "logs"]).contains("mine"));
    rig.ok(["cursor", "rm", "logs", "mine"]);
    assert_eq!(rig.ok(["cursor", "list", "logs"]).lines().count(), 1);
    assert_eq!(rig.run(["cursor", "rm", "logs", "mine"]).code, 3);
}

// Goal: damage is found, told in place, marked by repair and not lost; each with its code. Method: some bytes changed in the oldest segment.
#[test]
fn damage_is_found_told_and_marked() {
    let rig = logged(3_000);
    let (code, clean) = json(&rig, &["verify", "logs", "--json"]);
    assert_eq!((code, &clean["clean"], &clean["records"]), (0, &true.into(), &3_000.into()));
    assert!(rig.ok(["verify", "logs"]).contains(": ok: 3000 records in "));
    damage(&rig);
    let (code, report) = json(&rig, &["verify", "logs", "--json"]);
    assert_eq!((code, &report["clean"]), (4, &false.into()), "{report}");
    assert!(report["damaged"][0]["segment"].as_u64().unwrap() >= 1, "{report}");
    let told = rig.run(["verify", "logs"]);
    assert!(
        told.code == 4 && told.out.contains(": damaged: ") && told.out.contains("shm-ring repair"),
        "{told:?}"
    );
    let before = rig.run(["cat", "logs", "-o", "json", "--losses"]);
    assert_eq!(before.code, 4, "{}", before.err);
    let gaps =
        |out: &str| objects(out).into_iter().filter(|object| object["event"] == "loss").collect::<Vec<_>>();
    let gap = gaps(&before.out);
    assert!(
        gap.len() == 1 && gap[0]["cause"] == "damaged" && gap[0]["bytes"].as_u64().unwrap() > 0,
        "{gap:?}"
    );

    let (code, planned) = json(&rig, &["repair", "logs", "--dry-run", "--json"]);
    assert_eq!(
        (code, &planned["repaired"], &planned["mended"][0]["how"]),
        (0, &false.into(), &"marked".into())
    );
    assert_eq!(rig.run(["verify", "logs"]).code, 4, "a dry run changes nothing");
    let (code, done) = json(&rig, &["repair", "logs", "--json"]);
    assert_eq!((code, &done["repaired"], &done["mended"]), (0, &true.into(), &planned["mended"]));
    let aside = done["mended"][0]["aside"].as_str().unwrap();
    assert!(rig.path("logs").join(aside).exists());
    let (code, marked) = json(&rig, &["verify", "logs", "--json"]);
    assert_eq!((code, &marked["clean"], &marked["holes"]), (0, &true.into(), &1.into()), "{marked}");
    assert!(rig.ok(["repair", "logs"]).contains("nothing to repair"));
    let doctor = rig.ok(["doctor", "logs"]);
    assert!(doctor.contains("marked as gaps") && doctor.contains("set aside"), "{doctor}");
    // The others are all there, and the log goes on.
    rig.push(b"more\n");
    rig.ok(["record", "app.ring", "logs", "--drain"]);
    let after = rig.run(["cat", "logs", "-o", "raw"]);
    let n = after.out.lines().count();
    assert!((2_900..3_001).contains(&n) && after.out.ends_with("3000\nmore\n"), "{n}");
}

// Goal: `gc` removes what it was told to, and says so before it does. Method: a dry run, a run, and a run by age that removes nothing.
#[test]
fn gc_keeps_what_it_was_told_to() {
    let rig = logged(9_000);
    let segments = || json(&rig, &["stat", "logs", "--json"]).1["segments"].as_array().unwrap().len() as u64;
    let before = segments();
    assert!(before > 5, "{before}");
    let (code, planned) = json(&rig, &["gc", "logs", "--keep", "256KiB", "--dry-run", "--json"]);
    assert_eq!((code, segments()), (0, before));
    let (code, done) = json(&rig, &["gc", "logs", "--keep", "256KiB", "--json"]);
    assert_eq!((code, &done["segments"], &done["dry_run"]), (0, &planned["segments"], &false.into()));
    assert_eq!(segments(), before - done["segments"].as_u64().unwrap());
    assert!(done["segments"].as_u64().unwrap() > 0, "{done}");
    assert!(rig.ok(["gc", "logs", "--keep-for", "1d"]).contains("removed 0 segments"));
    let stat = json(&rig, &["stat", "logs", "--json"]).1;
    assert_eq!(stat["oldest_position"], done["oldest_position"]);
    assert!(stat["data_bytes"].as_u64().unwrap() >= 256 << 10);
    assert!(rig.ok(["cat", "logs", "-o", "raw"]).ends_with("\n8999\n9000\n"));
    assert_eq!(rig.run(["verify", "logs"]).code, 0);
    rig.ok(["record", "app.ring", "logs", "--drain"]);
}

// Goal: `stat` and `doctor` say how a log stands, in words and in JSON, and who is at it. Method: a log with a cursor, alone and beside a
// recorder.
#[test]
fn how_a_log_stands_is_told() {
    let rig = logged(3_000);
    rig.ok(["tail", "logs", "--cursor", "mine", "--oldest", "--count", "1"]);
    let (code, stat) = json(&rig, &["stat", "logs", "--json"]);
    assert_eq!((code, &stat["kind"], &stat["appending"]), (0, &"log".into(), &false.into()));
    let segments = stat["segments"].as_array().unwrap();
    assert_eq!(segments.last().unwrap()["state"], "active");
    assert!(segments[..segments.len() - 1].iter().all(|segment| segment["state"] == "sealed"));
    assert_eq!(stat["cursors"][0]["name"], "mine");
    let text = rig.ok(["stat", "logs"]);
    assert!(text.contains("nobody appends") && text.contains("sealed") && text.contains("mine"), "{text}");
    let (code, doctor) = json(&rig, &["doctor", "logs", "--json"]);
    assert_eq!((code, &doctor["verdict"]), (0, &"healthy".into()), "{doctor}");
    let kinds = |doctor: &Value| {
        let findings = doctor["findings"].as_array().unwrap();
        findings.iter().map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(kinds(&doctor).contains(&"cursor".to_owned()), "{doctor}");

    let recorder = rig.start(["record", "app.ring", "logs"]);
    common::wait_until("it records", || json(&rig, &["stat", "logs", "--json"]).1["appending"] == true);
    let (code, doctor) = json(&rig, &["doctor", "logs", "--json"]);
    assert!(code == 0 && kinds(&doctor).contains(&"appender".to_owned()), "{doctor}");
    let pid = json(&rig, &["stat", "logs", "--json"]).1["appender_pid"].as_u64();
    assert_eq!(pid, Some(recorder.id().into()));
    for busy in [&["gc", "logs", "--keep", "0"][..], &["repair", "logs"]] {
        let done = rig.run(busy);
        assert!(done.code == 1 && done.err.contains("in use by a live process"), "{done:?}");
    }
    common::signal(&recorder, nix::sys::signal::Signal::SIGTERM);
    assert_eq!(common::Done::of(recorder).code, 0);
}

// Goal: what is no log is refused by each command, with the right code. Method: nothing, an empty directory, a damaged manifest.
#[test]
fn what_is_no_log_is_refused() {
    let rig = logged(10);
    std::fs::create_dir(rig.path("empty")).unwrap();
    for path in ["missing", "empty"] {
        for args in [&["verify", path][..], &["gc", path, "--keep", "1"], &["cursor", "list", path]] {
            let done = rig.run(args);
            assert_eq!((done.code, done.out.as_str()), (3, ""), "{args:?}: {done:?}");
        }
        // These take other things, too: a directory is none of them.
        let code = if path == "empty" { 4 } else { 3 };
        for args in
            [&["tail", path][..], &["stat", path], &["doctor", path], &["repair", path], &["cat", path]]
        {
            let done = rig.run(args);
            assert_eq!((done.code, done.out.as_str()), (code, ""), "{args:?}: {done:?}");
        }
    }
    std::fs::write(rig.path("logs/CURRENT"), "nonsense\n").unwrap();
    for args in [&["verify", "logs"][..], &["cat", "logs"], &["stat", "logs"], &["doctor", "logs"]] {
        let done = rig.run(args);
        assert!(done.code == 4 && done.err.contains("repair"), "{args:?}: {done:?}");
    }
    let (code, done) = json(&rig, &["repair", "logs", "--json"]);
    assert_eq!((code, &done["mended"][0]["how"]), (0, &"manifest_remade".into()), "{done}");
    assert_eq!(rig.ok(["cat", "logs", "-o", "raw"]), numbers(1..=10));
}
