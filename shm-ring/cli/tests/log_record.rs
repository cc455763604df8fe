//! Recording: every record of a ring is in the log once, whoever is killed.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use common::{Done, Rig, objects, signal, wait_until, watch_over};
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PRODUCERS: usize = 8;

/// For the full size: `SHM_RING_LARGE=1 cargo test --release -p shm-ring-cli --test log_record`.
fn is_large() -> bool {
    std::env::var_os("SHM_RING_LARGE").is_some_and(|large| large == "1")
}

/// Makes the name for which producers wait, before there is anything to record.
fn begin(rig: &Rig) {
    rig.ok(["record", "app.ring", "logs", "--drain", "--segment", segment()]);
}

fn segment() -> &'static str {
    if is_large() { "64MiB" } else { "1MiB" }
}

fn record(rig: &Rig) -> Child {
    rig.start(["record", "app.ring", "logs", "--segment", segment()])
}

/// A `push` of numbered lines from a file.
fn push(rig: &Rig, producer: usize, n: u64) -> Child {
    let path = rig.path(&format!("input-{producer}"));
    let mut input = std::io::BufWriter::new(File::create(&path).unwrap());
    for i in 0..n {
        writeln!(input, "{producer} {i}").unwrap();
    }
    input.into_inner().unwrap();
    let mut command = rig.tool(["push", "app.ring", "--tag", &format!("p{producer}")]);
    command.stdin(File::open(path).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// All messages of the log are 0, 1, 2, ... of each producer, `n` of each, or fewer where one died.
fn check(rig: &Rig, n: impl Fn(usize, u64) -> bool) -> u64 {
    let out = rig.path("out");
    let mut cat = rig.tool(["cat", "logs", "-o", "raw"]);
    assert!(cat.stdout(File::create(&out).unwrap()).status().unwrap().success());
    let mut next = [0u64; PRODUCERS];
    for line in BufReader::new(File::open(out).unwrap()).lines() {
        let line = line.unwrap();
        let (producer, number) = line.split_once(' ').unwrap();
        let producer: usize = producer.parse().unwrap();
        assert_eq!(number.parse(), Ok(next[producer]), "of producer {producer}");
        next[producer] += 1;
    }
    for (producer, found) in next.into_iter().enumerate() {
        assert!(n(producer, found), "{found} records of producer {producer}");
    }
    next.iter().sum()
}

fn verified(rig: &Rig) -> serde_json::Value {
    let report: serde_json::Value = serde_json::from_str(&rig.ok(["verify", "logs", "--json"])).unwrap();
    assert_eq!(report["clean"], true, "{report}");
    report
}

// Goal: eight producers' records are in the log each once and in their order, though the recorder is killed all the time. Method: SIGKILL
// every 100 ms (every second at full size), restarts, and a last run that drains the ring.
#[test]
fn a_recorder_that_is_killed_again_and_again_records_everything_once() {
    let (n, every) =
        if is_large() { (1_000_000, Duration::from_secs(1)) } else { (20_000, Duration::from_millis(100)) };
    let rig = Rig::with_ring(if is_large() { "16MiB" } else { "1MiB" });
    let _watchdog = watch_over(&rig, Duration::from_secs(if is_large() { 600 } else { 60 }));
    begin(&rig);
    let mut recorder = record(&rig);
    let start = Instant::now();
    let mut pushes: Vec<Child> = (0..PRODUCERS).map(|producer| push(&rig, producer, n)).collect();
    let mut n_kills = 0;
    let mut killed_at = Instant::now();
    while pushes.iter_mut().any(|push| push.try_wait().unwrap().is_none()) || n_kills < 3 {
        std::thread::sleep(Duration::from_millis(1));
        if killed_at.elapsed() >= every {
            assert_eq!(recorder.try_wait().unwrap(), None, "the recorder ended by itself");
            recorder.kill().unwrap();
            recorder.wait().unwrap();
            recorder = record(&rig);
            (n_kills, killed_at) = (n_kills + 1, Instant::now());
        }
    }
    let took = start.elapsed();
    for push in pushes {
        assert_eq!(Done::of(push).code, 0);
    }
    signal(&recorder, Signal::SIGTERM);
    let done = Done::of(recorder);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "", ""));
    rig.ok(["record", "app.ring", "logs", "--drain"]);
    let total = check(&rig, |_, found| found == n);
    let report = verified(&rig);
    assert_eq!((report["records"].as_u64(), report["gaps"].as_u64()), (Some(total), Some(0)));
    println!("{total} records, {n_kills} kills, {took:.1?}");
}

// Goal: deaths of producers and of the recorder at random moments cost nothing but what was never committed, and that is told. Method:
// rounds in which two producers and the recorder are killed at random; each producer's records have to be a beginning of what it was fed.
#[test]
fn deaths_of_anybody_at_random_leave_a_sound_log() {
    let rounds =
        std::env::var("SHM_RING_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8u64);
    let seed = std::process::id().into();
    println!("seed {seed}, {rounds} rounds");
    let mut random = Random(seed);
    let rig = Rig::with_ring("256KiB");
    let _watchdog = watch_over(&rig, Duration::from_secs(60 + rounds));
    begin(&rig);
    let mut n_before = 0;
    for round in 0..rounds {
        let mut recorder = record(&rig);
        let mut pushes: Vec<Child> = (0..3).map(|producer| push(&rig, producer, 5_000)).collect();
        std::thread::sleep(Duration::from_millis(random.below(60)));
        pushes[0].kill().unwrap();
        std::thread::sleep(Duration::from_millis(random.below(30)));
        recorder.kill().unwrap();
        std::thread::sleep(Duration::from_millis(random.below(10)));
        pushes[1].kill().unwrap();
        recorder.wait().unwrap();
        let recorder = record(&rig);
        for push in pushes {
            drop(Done::of(push));
        }
        signal(&recorder, Signal::SIGINT);
        assert_eq!(Done::of(recorder).code, 0, "round {round}");
        rig.ok(["record", "app.ring", "logs", "--drain"]);
        // Each round is read alone, from where the one before ended.
        let lines = rig.ok(["tail", "logs", "--cursor", "check", "--oldest", "-o", "raw"]);
        let mut next = [0; 3];
        for line in lines.lines() {
            let (producer, number) = line.split_once(' ').unwrap();
            let producer: usize = producer.parse().unwrap();
            assert_eq!(number.parse(), Ok(next[producer]), "round {round}, producer {producer}");
            next[producer] += 1;
        }
        assert_eq!(next[2], 5_000, "round {round}: nobody killed that one");
        let report = verified(&rig);
        let n_records = report["records"].as_u64().unwrap();
        assert_eq!(n_records - n_before, next.iter().sum::<u64>(), "round {round}");
        n_before = n_records;
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

// Goal: what the ring lost is told in the log once, where it was lost. Method: records dropped for want of space, the recorder run twice.
#[test]
fn what_the_ring_dropped_is_told_once() {
    let rig = Rig::with_ring("64KiB");
    begin(&rig);
    let lines: String = (0..2_000).map(|n| format!("{n:040}\n")).collect();
    let done = rig.run_with(["push", "app.ring", "--when-full", "drop"], lines.as_bytes());
    assert_eq!(done.code, 0, "{done:?}");
    rig.ok(["record", "app.ring", "logs", "--drain"]);
    rig.push(b"behind\n");
    rig.ok(["record", "app.ring", "logs", "--drain"]);
    rig.ok(["record", "app.ring", "logs", "--drain"]);
    let items = objects(&rig.ok(["cat", "logs", "-o", "json", "--losses"]));
    let gaps: Vec<_> = items.iter().filter(|item| item["event"] == "loss").collect();
    let records = items.len() - gaps.len();
    let dropped: u64 = gaps.iter().map(|gap| gap["records"].as_u64().unwrap()).sum();
    assert!(gaps.iter().all(|gap| gap["cause"] == "dropped" && gap["producer"] == 0), "{gaps:?}");
    assert_eq!(records as u64 + dropped, 2_001);
    assert!(dropped > 0);
    assert_eq!(items.last().unwrap()["message"], "behind");
    let failed = rig.run(["cat", "logs", "-o", "raw", "--fail-on-loss"]);
    assert_eq!(failed.code, 6, "{failed:?}");
    assert!(failed.err.contains("producer 0 dropped"), "{failed:?}");
}

// Goal: a ring made anew goes into the same log, and what the old one held is told as gone, once. Method: two rings of one name.
#[test]
fn a_ring_made_anew_is_told_once() {
    let rig = Rig::with_ring("64KiB");
    begin(&rig);
    rig.push(b"one\ntwo\n");
    rig.ok(["record", "app.ring", "logs", "--drain"]);
    rig.push(b"lost with the old ring\n");
    std::fs::remove_file(rig.ring()).unwrap();
    rig.ok(["create", "app.ring", "--capacity", "64KiB"]);
    rig.ok(["record", "app.ring", "logs", "--drain"]);
    rig.push(b"three\n");
    rig.ok(["record", "app.ring", "logs", "--drain"]);
    let items = objects(&rig.ok(["cat", "logs", "-o", "json", "--losses"]));
    let shown: Vec<_> =
        items.iter().map(|item| item["message"].as_str().or(item["cause"].as_str()).unwrap()).collect();
    assert_eq!(shown, ["one", "two", "restarted", "three"]);
}

// Goal: everything that a record says of itself is kept. Method: the same records shown from the ring and from the log.
#[test]
fn a_record_says_the_same_in_the_log() {
    let rig = Rig::with_ring("64KiB");
    begin(&rig);
    let done = rig.run_with(["push", "app.ring", "--tag", "web", "--level", "err"], b"hello\n\xff\n");
    assert_eq!(done.code, 0);
    rig.run_with(["push", "app.ring", "--raw"], b"raw\n");
    let without_position = |mut objects: Vec<serde_json::Value>| {
        objects.iter_mut().for_each(|object| drop(object.as_object_mut().unwrap().remove("position")));
        objects
    };
    let of_ring = without_position(rig.objects());
    rig.ok(["record", "app.ring", "logs", "--drain"]);
    let of_log = without_position(objects(&rig.ok(["cat", "logs", "-o", "json"])));
    assert_eq!((of_ring.len(), &of_ring), (3, &of_log));
}

// Goal: a ring without metadata is recorded, too, with the time of recording. Method: one record, and the clock around it.
#[test]
fn records_without_time_get_that_of_the_recording() {
    let rig = Rig::new();
    rig.ok(["create", "app.ring", "--no-metadata", "--capacity", "64KiB"]);
    begin(&rig);
    assert_eq!(rig.run_with(["push", "app.ring"], b"hello\n").code, 0);
    rig.ok(["record", "app.ring", "logs", "--drain"]);
    let [object] = &objects(&rig.ok(["cat", "logs", "-o", "json"]))[..] else { panic!("one record") };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age_ns = u64::try_from(now.as_nanos()).unwrap() - object["timestamp_ns"].as_u64().unwrap();
    assert!(age_ns < 60_000_000_000, "{object}");
    assert_eq!((&object["sequence"], &object["message"]), (&0.into(), &"hello".into()));
}

// Goal: nobody else's log is written, nobody else's name is used, and what can't be recorded is refused before anything is lost. Method: a
// second recorder on the same log, one on the same ring, and a ring whose records are too long.
#[test]
fn what_cannot_be_recorded_is_refused_at_the_start() {
    let rig = Rig::with_ring("1MiB");
    begin(&rig);
    rig.push(b"hello\n");
    let recorder = record(&rig);
    wait_until("it records", || rig.run(["cat", "logs", "-o", "raw"]).out == "hello\n");
    let second = rig.run(["record", "app.ring", "logs", "--name", "other"]);
    assert_eq!((second.code, second.out.as_str()), (1, ""), "{second:?}");
    assert!(second.err.contains("in use by a live process"), "{second:?}");
    let third = rig.run(["record", "app.ring", "logs2"]);
    assert!(third.code == 1 && third.err.contains("in use by a live process"), "{third:?}");
    signal(&recorder, Signal::SIGINT);
    assert_eq!(Done::of(recorder).code, 0);
    let small = rig.run(["record", "app.ring", "logs3", "--segment", "64KiB"]);
    assert_eq!(small.code, 2, "{small:?}");
    assert!(small.err.contains("segment size") && small.err.contains("1048576"), "{small:?}");
    let missing = rig.run(["record", "no.ring", "logs4"]);
    assert_eq!((missing.code, rig.path("logs4").exists()), (3, false), "{missing:?}");
    for sync in ["0ms", "always", "5"] {
        assert_eq!(rig.run(["record", "app.ring", "logs", "--sync", sync]).code, 2);
    }
}

// Goal: each way of syncing records the same. Method: each, with a reader of the watermark.
#[test]
fn every_way_of_syncing_records_everything() {
    for sync in ["none", "each", "20ms"] {
        let rig = Rig::with_ring("256KiB");
        rig.ok(["record", "app.ring", "logs", "--drain", "--sync", sync]);
        rig.push(b"one\ntwo\n");
        let recorder = rig.start(["record", "app.ring", "logs", "--sync", sync]);
        wait_until("it has both", || rig.ok(["cat", "logs", "-o", "raw"]) == "one\ntwo\n");
        if sync != "none" {
            wait_until("both are durable", || {
                let stat: serde_json::Value =
                    serde_json::from_str(&rig.ok(["stat", "logs", "--json"])).unwrap();
                stat["durable_position"] == stat["end_position"]
            });
        }
        signal(&recorder, Signal::SIGTERM);
        assert_eq!(Done::of(recorder).code, 0, "{sync}");
    }
}

// Goal: a follower sees records while they are recorded, over many segments. Method: tail -f beside a recorder of small segments.
#[test]
fn a_follower_goes_on_over_segments() {
    let rig = Rig::with_ring("64KiB");
    rig.ok(["record", "app.ring", "logs", "--drain", "--segment", "64KiB"]);
    let recorder = rig.start(["record", "app.ring", "logs", "--segment", "64KiB"]);
    let n = 10_000u32;
    let tail = rig.start(["tail", "logs", "-f", "--oldest", "-o", "raw", "--count", "10000"]);
    let lines = common::numbers(1..=n);
    rig.push(lines.as_bytes());
    let done = Done::of(tail);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out == lines, "{} of {} bytes", done.out.len(), lines.len());
    signal(&recorder, Signal::SIGINT);
    assert_eq!(Done::of(recorder).code, 0);
    let stat: serde_json::Value = serde_json::from_str(&rig.ok(["stat", "logs", "--json"])).unwrap();
    assert!(stat["segments"].as_array().unwrap().len() > 3, "{stat}");
}

// Goal: retention keeps so much, and an old cursor is told what it missed. Method: small segments, and a cursor from before.
#[test]
fn retention_keeps_what_it_was_told_to() {
    let rig = Rig::with_ring("64KiB");
    let keep = ["--segment", "64KiB", "--keep", "256KiB"];
    let run = |more: &[&str]| {
        let args: Vec<&str> =
            ["record", "app.ring", "logs", "--drain"].iter().chain(&keep).chain(more).copied().collect();
        rig.ok(args)
    };
    run(&[]);
    rig.push(b"first\n");
    run(&[]);
    assert_eq!(rig.ok(["tail", "logs", "--cursor", "old", "--oldest", "-o", "raw"]), "first\n");
    let recorder = rig.start(["record", "app.ring", "logs", "--segment", "64KiB", "--keep", "256KiB"]);
    for _ in 0..4 {
        rig.push(common::numbers(1..=5_000).as_bytes());
    }
    let segments = || {
        let stat: serde_json::Value = serde_json::from_str(&rig.ok(["stat", "logs", "--json"])).unwrap();
        stat["segments"].as_array().unwrap().len()
    };
    wait_until("old segments are gone", || segments() <= 7);
    signal(&recorder, Signal::SIGINT);
    assert_eq!(Done::of(recorder).code, 0);
    let tail = rig.run(["tail", "logs", "--cursor", "old", "-o", "json", "--losses"]);
    assert_eq!(tail.code, 0, "{tail:?}");
    let items = objects(&tail.out);
    assert_eq!(items[0]["cause"], "retired", "{}", items[0]);
    assert!(items[0]["bytes"].as_u64().unwrap() > 256 << 10);
}
