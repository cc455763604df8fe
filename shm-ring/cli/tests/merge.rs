//! Merge: many sources as one stream, and what becomes of those that fail.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::history::{START_NS, Was, log, log_from, messages, rows, shown, sorted, times};
use common::{Rig, objects, read_exactly, signal};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::time::{SystemTime, UNIX_EPOCH};

/// Three logs that have many times in common.
fn three(rig: &Rig) -> [Vec<Was>; 3] {
    [("a", 500), ("b", 800), ("c", 300)].map(|(name, n)| {
        let seed = u64::from(name.as_bytes()[0]);
        log(
            rig,
            name,
            &times(seed, n, 2).iter().map(|ns| START_NS + (ns - START_NS) * 1_000_000).collect::<Vec<_>>(),
        )
    })
}

// Goal: logs are shown in the order that a stable sort has, ties in the order in which the sources are given; the same from a directory, and
// in every format. Method: three logs with ties within and between them, both ways round.
#[test]
fn logs_are_merged_as_a_stable_sort_has_them() {
    let rig = Rig::new();
    let [a, b, c] = three(&rig);
    let all = sorted(&[a.clone(), b.clone(), c.clone()]);
    assert!(shown(&rig.ok(["merge", "a", "b", "c", "-o", "json"])) == all);
    assert!(rig.ok(["merge", "a", "b", "c", "-o", "raw"]) == messages(&all));
    let other_way = sorted(&[c, b, a]);
    assert!(other_way != all && shown(&rig.ok(["merge", "c", "b", "a", "-o", "json"])) == other_way);
    let found = shown(&rig.ok(["merge", ".", "-o", "json"]));
    assert!(found.iter().map(|was| &was.message).eq(all.iter().map(|was| &was.message)));
    assert!(found.iter().all(|was| was.source.ends_with(['a', 'b', 'c'])));
    let short = rig.ok(["merge", "a", "b", "c"]);
    assert!(short.lines().zip(&all).all(|(line, was)| {
        let rest = line.strip_prefix("2026-01-01T00:00:0").unwrap();
        let (_, rest) = rest.split_once("Z ").unwrap();
        rest == format!("{} #0: {}", was.source, was.message)
    }));
    assert_eq!(short.lines().count(), all.len());
}

// Goal: rings are merged among themselves and with logs, whoever wrote them; log records show what they say of themselves. Method: two rings,
// written in turn, one of them recorded into a log as well.
#[test]
fn rings_and_logs_are_merged() {
    let rig = Rig::new();
    for name in ["x.ring", "y.ring"] {
        rig.ok(["create", name, "--capacity", "64KiB"]);
    }
    for n in 0..20 {
        let (name, tag) = if n % 3 == 0 { ("x.ring", "web") } else { ("y.ring", "db") };
        assert_eq!(rig.run_with(["push", name, "--tag", tag], format!("{n}\n").as_bytes()).code, 0);
    }
    rig.ok(["record", "x.ring", "logs", "--drain", "--segment", "64KiB"]);
    let in_order: String = (0..20).map(|n| format!("{n}\n")).collect();
    for first in ["x.ring", "logs"] {
        assert_eq!(rig.ok(["merge", first, "y.ring", "-o", "raw"]), in_order, "{first}");
        let shown = objects(&rig.ok(["merge", first, "y.ring", "-o", "json"]));
        assert_eq!(
            (&shown[3]["source"], &shown[3]["tag"], &shown[3]["stream"]),
            (&first.into(), &"web".into(), &"stdin".into())
        );
        assert_eq!((&shown[4]["source"], &shown[4]["tag"]), (&"y.ring".into(), &"db".into()));
    }
    // Each twice, and as wide as the wider name.
    let short = rig.ok(["merge", "x.ring", "logs"]);
    let lines: Vec<_> = short.lines().map(|line| line.split_once("Z ").unwrap().1).collect();
    assert_eq!(lines.len(), 14);
    assert!(lines[2].starts_with("x.ring web[") && lines[3].starts_with("logs   web["), "{lines:?}");
}

// Goal: --from is the first and --to the first that is left out; --count and -g count and choose as tail's do. Method: bounds on and between
// records, in every way to write a time.
#[test]
fn times_and_filters_bound_what_is_shown() {
    let rig = Rig::new();
    let all = sorted(&three(&rig));
    let rfc = |seconds: u64| format!("2026-01-01T00:00:0{seconds}.1Z");
    let of = |from: u64, to: u64| -> Vec<Was> {
        all.iter().filter(|was| (from..to).contains(&was.timestamp_ns)).cloned().collect()
    };
    let at = START_NS + 100_000_000;
    let merge = |more: &[&str]| {
        let args = ["merge", "a", "b", "c", "-o", "json"].iter().chain(more).copied();
        shown(&rig.ok(args.collect::<Vec<_>>()))
    };
    assert!(all.iter().any(|was| was.timestamp_ns == at), "a bound that is a record's time");
    assert!(merge(&["--from", &rfc(0)]) == of(at, u64::MAX));
    assert!(merge(&["--to", &rfc(0)]) == of(0, at));
    assert!(
        merge(&["--from", &format!("{}.1", START_NS / 1_000_000_000), "--to", "2026-01-01T00:00:00.2Z"])
            == of(at, at + 100_000_000)
    );
    assert!(merge(&["--from", "2026-01-01T00:00:09Z"]).is_empty() && merge(&["--from", "5m ago"]).is_empty());
    assert!(merge(&["--to", "5m"]) == all);
    assert!(merge(&["--count", "7"]) == all[..7]);
    assert!(
        merge(&["-g", "^b .*7$"])
            == all
                .iter()
                .filter(|was| was.message.starts_with('b') && was.message.ends_with('7'))
                .cloned()
                .collect::<Vec<_>>()
    );
    for wrong in [
        &["merge"][..],
        &["merge", "a", "--from", "yesterday"],
        &["merge", "a", "--order", "sort"],
        &["merge", "a", "--rows", "8@1"],
    ] {
        assert_eq!(rig.run(wrong).code, 2, "{wrong:?}");
    }
}

// Goal: a source that fails is named, and the others are shown in full; the code is that of the first failure. Method: among good ones one
// that is missing, one that is something else, an empty directory, and one that is damaged in the middle.
#[test]
fn a_bad_source_does_not_stop_the_others() {
    let rig = Rig::new();
    let [a, b, c] = three(&rig);
    std::fs::write(rig.path("noise"), [0x55; 9000]).unwrap();
    std::fs::create_dir(rig.path("empty")).unwrap();
    let good = messages(&sorted(&[a.clone(), c.clone()]));
    for (bad, code) in [("missing", 3), ("noise", 4), ("empty", 3)] {
        let done = rig.run(["merge", "a", bad, "c", "-o", "raw"]);
        assert!(done.out == good, "{bad}");
        assert_eq!(done.code, code, "{done:?}");
        assert!(done.err.lines().next().unwrap().contains(bad), "{}", done.err);
        assert!(done.err.ends_with("1 source could not be read, or not to the end\n"), "{}", done.err);
    }
    let both = rig.run(["merge", "noise", "a", "missing", "-o", "raw"]);
    assert!(
        both.code == 4 && both.out == messages(&a) && both.err.contains("2 sources could not"),
        "{both:?}"
    );
    damage(&rig, "b");
    let done = rig.run(["merge", "a", "b", "c", "-o", "raw"]);
    assert_eq!(done.code, 4, "{}", done.err);
    assert!(done.err.contains("b\"") || done.err.contains("b:"), "{}", done.err);
    let of = |name: char, out: &str| {
        out.lines().filter(|line| line.starts_with(name)).map(|line| format!("{line}\n")).collect::<String>()
    };
    assert!(of('a', &done.out) == messages(&a) && of('c', &done.out) == messages(&c));
    assert!(messages(&b).starts_with(&of('b', &done.out)) && of('b', &done.out) != messages(&b));
}

/// Changes some bytes in the middle of a log's records.
fn damage(rig: &Rig, name: &str) {
    use std::os::unix::fs::FileExt;
    let files = std::fs::read_dir(rig.path(name)).unwrap().map(|file| file.unwrap().path());
    let path = files.filter(|path| path.extension().is_some_and(|kind| kind == "seg")).min().unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let at = file.metadata().unwrap().len() - (48 << 10);
    file.write_all_at(&[0x55; 64], at).unwrap();
}

// Goal: what is missing in a log is told, in sums, with its name, and --fail-on-loss ends with code 6. Method: a log whose ring dropped
// records, beside a whole one.
#[test]
fn what_is_missing_is_told_by_name() {
    let rig = Rig::with_ring("64KiB");
    rig.ok(["record", "app.ring", "logs", "--drain", "--segment", "64KiB"]);
    let too_much = common::numbers(1..=5_000);
    assert_eq!(rig.run_with(["push", "app.ring", "--when-full", "drop"], too_much.as_bytes()).code, 0);
    rig.ok(["record", "app.ring", "logs", "--drain"]);
    rig.push(b"later\n");
    rig.ok(["record", "app.ring", "logs", "--drain"]);
    let whole = log(&rig, "whole", &times(1, 10, 5));
    let done = rig.run(["merge", "logs", "whole", "-o", "raw"]);
    assert!(done.code == 0 && done.err.contains("logs") && done.err.contains("missing"), "{}", done.err);
    assert!(!done.err.contains("whole") && done.out.starts_with(&messages(&whole)));
    let done = rig.run(["merge", "logs", "whole", "-o", "raw", "--fail-on-loss", "-q"]);
    assert_eq!((done.code, done.err.lines().count()), (6, 1), "{}", done.err);
    assert_eq!(rig.run(["merge", "whole", "-o", "raw", "--fail-on-loss"]).code, 0);
}

fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

// Goal: -f shows what comes, in order of time, though one source is quiet; a signal ends it in order, and --idle does. Method: two logs, of
// which one gets records now and then, after what was there.
#[test]
fn following_goes_on_with_what_comes() {
    let rig = Rig::new();
    let mut all = sorted(&[log(&rig, "a", &times(1, 50, 9)), log(&rig, "b", &times(2, 50, 9))]);
    let mut child = rig.start(["merge", "a", "b", "-f", "--lateness", "20ms", "-o", "raw"]);
    let mut out = child.stdout.take().unwrap();
    assert!(read_exactly(&mut out, messages(&all).len()) == messages(&all));
    let mut lines = BufReader::new(out).lines();
    for round in 0..5 {
        let more = log_from(&rig, "b", &[now_ns(), now_ns()], 50 + 2 * round);
        for was in more {
            assert_eq!(lines.next().unwrap().unwrap(), was.message);
            all.push(was);
        }
    }
    signal(&child, Signal::SIGTERM);
    let done = common::Done::of(child);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert!(lines.next().is_none());
    let idle = rig.run(["merge", "b", "a", "--idle", "200ms", "-o", "raw"]);
    assert_eq!(idle.code, 0, "{}", idle.err);
    assert_eq!(idle.out.lines().count(), all.len());
}

// Goal: plain rows are merged by their time, alone, from a directory and beside logs. Method: two files of rows in µs, and a log.
#[test]
fn rows_are_merged_by_their_time() {
    let rig = Rig::new();
    std::fs::create_dir(rig.path("data")).unwrap();
    let of_us =
        |seed| times(seed, 100, 3).iter().map(|ns| START_NS + (ns - START_NS) * 1000).collect::<Vec<_>>();
    let (one, two) = (of_us(1), of_us(2));
    rows(&rig, "data/one", &one);
    rows(&rig, "data/two", &two);
    let a = log(&rig, "a", &of_us(3));
    let out = rig.ok(["merge", "data", "a", "--rows", "32@8:us", "-o", "json"]);
    let mut expected: Vec<(u64, &str)> =
        one.iter().map(|ns| (*ns, "data/one")).chain(two.iter().map(|ns| (*ns, "data/two"))).collect();
    expected.extend(a.iter().map(|was| (was.timestamp_ns, "a")));
    expected.sort_by_key(|(ns, _)| *ns);
    let shown = objects(&out);
    assert!(
        shown
            .iter()
            .map(|object| (object["timestamp_ns"].as_u64().unwrap(), object["source"].as_str().unwrap()))
            .eq(expected)
    );
    let rows_of_one: Vec<u64> = shown
        .iter()
        .filter(|object| object["source"] == "data/one")
        .map(|object| object["position"].as_u64().unwrap())
        .collect();
    assert!(rows_of_one.into_iter().eq(0..100));
}

// Goal: who reads no more ends it, at once and quietly. Method: a reader that goes away while nothing comes.
#[test]
fn a_closed_pipe_ends_a_follower() {
    let rig = Rig::new();
    log(&rig, "a", &times(1, 3, 9));
    let mut child = rig.start(["merge", "a", "-f"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    drop(lines);
    let done = common::Done::of(child);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
}
