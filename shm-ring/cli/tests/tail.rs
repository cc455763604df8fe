//! Tail: what is shown, when it ends, and what is released.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Done, PATIENCE, Rig, numbers, read_exactly, signal, wait_until};
use nix::sys::signal::Signal;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

// Goal: the last ten, as tail does; as many as wanted; all. Method: 25 records.
#[test]
fn the_last_records_are_shown() {
    let rig = Rig::with_ring("64K");
    assert_eq!(rig.messages(), "");
    assert_eq!(rig.ok(["tail", "app.ring", "-o", "raw"]), "");
    rig.push(numbers(1..=25).as_bytes());
    let tail = |args: &[&str]| rig.ok([&["tail", "app.ring", "-o", "raw"], args].concat());
    assert_eq!(tail(&[]), numbers(16..=25));
    assert_eq!(tail(&["-n", "3"]), numbers(23..=25));
    assert_eq!(tail(&["-n", "0"]), "");
    assert_eq!(tail(&["-n", "1000"]), numbers(1..=25));
    assert_eq!(tail(&["--oldest"]), numbers(1..=25));
    assert_eq!(tail(&["--oldest", "--count", "4"]), numbers(1..=4));
    assert_eq!(tail(&["-n", "3", "--count", "0"]), "");
}

// Goal: a filter is a filter, of bytes, and counts before -n and --count do. Method: numbers with a 7, a byte that is not UTF-8.
#[test]
fn a_filter_shows_what_matches() {
    let rig = Rig::with_ring("64K");
    rig.push(numbers(1..=99).as_bytes());
    rig.push(b"\xffbinary\n");
    let tail = |args: &[&str]| rig.ok([&["tail", "app.ring", "-o", "raw"], args].concat());
    assert_eq!(tail(&["--oldest", "-g", "^7"]), "7\n70\n71\n72\n73\n74\n75\n76\n77\n78\n79\n");
    assert_eq!(tail(&["-n", "2", "-g", "7$"]), "87\n97\n");
    assert_eq!(tail(&["--oldest", "-g", "7$", "--count", "2"]), "7\n17\n");
    assert_eq!(tail(&["-g", "no such thing"]), "");
    let found = rig.tool(["tail", "app.ring", "-o", "raw", "-g", r"(?-u)\xff"]).output().unwrap();
    assert_eq!(found.stdout, b"\xffbinary\n");
}

// Goal: exactly the promised keys, in their order; null where there is nothing. Method: a log record, a raw one, one that is not UTF-8.
#[test]
fn json_has_the_promised_keys() {
    let rig = Rig::with_ring("64K");
    assert_eq!(rig.run_with(["push", "app.ring", "--tag", "t", "--level", "info"], b"say \"hi\"\n").code, 0);
    assert_eq!(rig.run_with(["push", "app.ring", "--raw"], b"bare\n").code, 0);
    assert_eq!(rig.run_with(["push", "app.ring"], b"\xff\xfe\n").code, 0);
    let lines = rig.ok(["tail", "app.ring", "-o", "json"]);
    let order = |line: &str| {
        let keys = [
            "position",
            "timestamp_ns",
            "producer",
            "sequence",
            "kind",
            "level",
            "pid",
            "tid",
            "stream",
            "tag",
            "message",
        ];
        let at: Vec<usize> = keys.iter().map(|key| line.find(&format!("\"{key}")).unwrap()).collect();
        assert!(at.is_sorted(), "{line}");
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object.as_object().unwrap().len(), keys.len(), "{line}");
        object
    };
    let objects: Vec<_> = lines.lines().map(order).collect();
    let log = &objects[0];
    assert_eq!(
        (&log["message"], &log["tag"], &log["stream"]),
        (&"say \"hi\"".into(), &"t".into(), &"stdin".into())
    );
    assert_eq!(
        (&log["kind"], &log["level"], &log["producer"], &log["sequence"]),
        (&1.into(), &6.into(), &0.into(), &0.into())
    );
    assert!(log["pid"].as_u64() > Some(0) && log["pid"] == log["tid"]);
    assert!(log["timestamp_ns"].as_u64().unwrap() > 1_600_000_000_000_000_000);
    let raw = &objects[1];
    assert_eq!((&raw["message"], &raw["kind"], &raw["sequence"]), (&"bare".into(), &0.into(), &1.into()));
    assert!(["pid", "tid", "stream", "tag"].iter().all(|key| raw[key].is_null()), "{raw}");
    assert_eq!(objects[2]["message_base64"], "//4=");
    assert!(objects[2].get("message").is_none());
}

// Goal: a line for people: time, tag, pid, stream, message; nothing in it commands the terminal; colour only on demand. Method: a line
// of each kind.
#[test]
fn short_is_one_printable_line() {
    let rig = Rig::with_ring("64K");
    assert_eq!(rig.run_with(["push", "app.ring", "--tag", "web"], b"caf\xc3\xa9\x1b[31m\r\xff\n").code, 0);
    assert_eq!(rig.run_with(["push", "app.ring", "--raw"], b"bare\n").code, 0);
    let shown = rig.ok(["tail", "app.ring"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 2);
    let (time, rest) = lines[0].split_once(' ').unwrap();
    assert!(time.len() == 27 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    let pid = &rig.objects()[0]["pid"];
    assert_eq!(rest, format!("web[{pid}] stdin: caf\u{e9}\\u{{1b}}[31m\\r\\xff"));
    assert!(lines[1].ends_with("Z #0: bare"), "{}", lines[1]);

    rig.ok(["exec", "app.ring", "--", "sh", "-c", "echo bad >&2"]);
    assert!(!rig.ok(["tail", "app.ring", "-n", "1"]).contains('\x1b'));
    let colored = rig.ok(["tail", "app.ring", "-n", "1", "--color", "always"]);
    assert!(colored.starts_with("\x1b[31m") && colored.ends_with("\x1b[0m\n"), "{colored:?}");
}

// Goal: without -f, tail ends after what was there when it began, however much comes meanwhile, and a name keeps the rest for later.
// Method: a pipe that is not read while more is pushed.
#[test]
fn what_comes_meanwhile_is_for_the_next_time() {
    let rig = Rig::with_ring("4MiB");
    rig.push(numbers(1..=40_000).as_bytes());
    for reader in [&["--oldest"][..], &["--oldest", "--consumer", "c"]] {
        let before = rig.messages();
        let mut tail = rig.start([&["tail", "app.ring", "-o", "raw"], reader].concat());
        let begin = read_exactly(tail.stdout.as_mut().unwrap(), 2);
        rig.push(b"later\n");
        let done = Done::of(tail);
        assert_eq!((done.code, done.err.as_str()), (0, ""));
        assert!(begin + &done.out == before);
    }
    assert_eq!(rig.ok(["tail", "app.ring", "-o", "raw", "--consumer", "c"]), "later\n");
}

// Goal: with -f, what comes is shown at once. Method: read each line before the next is pushed.
#[test]
fn following_shows_what_comes() {
    let rig = Rig::with_ring("64K");
    rig.push(b"old\n");
    for args in [&["-f"][..], &["-f", "--consumer", "c"]] {
        let mut tail = rig.start([&["tail", "app.ring", "-o", "raw", "-n", "1"], args].concat());
        let mut out = tail.stdout.take().unwrap();
        let shown = read_exactly(&mut out, 4);
        assert_eq!(shown, "old\n");
        for _ in 0..3 {
            rig.push(b"new\n");
            assert_eq!(read_exactly(&mut out, 4), "new\n");
        }
        rig.push(b"old\n");
        assert_eq!(read_exactly(&mut out, 4), "old\n");
        signal(&tail, Signal::SIGTERM);
        assert_eq!(Done::of(tail).code, 0);
    }
}

// Goal: --idle ends when nothing came for so long, and not before. Method: records every 100 ms for longer than the idle time.
#[test]
fn idle_ends_when_nothing_came_for_so_long() {
    let rig = Rig::with_ring("64K");
    let start = Instant::now();
    let tail = rig.start(["tail", "app.ring", "-o", "raw", "--idle", "600ms"]);
    for i in 1..=8 {
        std::thread::sleep(Duration::from_millis(100));
        rig.push(format!("{i}\n").as_bytes());
    }
    let pushed = start.elapsed();
    let tail = Done::of(tail);
    assert_eq!((tail.code, tail.out.as_str(), tail.err.as_str()), (0, numbers(1..=8).as_str(), ""));
    assert!(start.elapsed() - pushed >= Duration::from_millis(400), "{:?}", start.elapsed() - pushed);
    assert!(start.elapsed() - pushed < PATIENCE);
}

// Goal: --count that is not reached in the time of --idle is a timeout. Method: two of three records.
#[test]
fn a_count_that_is_not_reached_is_code_7() {
    let rig = Rig::with_ring("64K");
    rig.push(numbers(1..=2).as_bytes());
    let args = ["tail", "app.ring", "--oldest", "-o", "raw", "--count", "3", "--idle", "100ms"];
    let done = rig.run(args);
    assert_eq!((done.code, done.out.as_str()), (7, "1\n2\n"));
    assert!(done.err.contains("2 of 3"), "{done:?}");
    rig.push(b"3\n");
    assert_eq!(rig.run(args).code, 0);
}

// Goal: Ctrl-C ends tail quietly, with everything that came on stdout and released. Method: both kinds of readers, both signals.
#[test]
fn an_interrupted_tail_ends_quietly() {
    let rig = Rig::with_ring("64K");
    rig.push(numbers(1..=3).as_bytes());
    for which in [Signal::SIGINT, Signal::SIGTERM] {
        for args in [&["--oldest"][..], &["--oldest", "--consumer", which.as_str()]] {
            let mut tail = rig.start([&["tail", "app.ring", "-f", "-o", "raw"], args].concat());
            let shown = read_exactly(tail.stdout.as_mut().unwrap(), 6);
            assert_eq!(shown, numbers(1..=3));
            signal(&tail, which);
            let done = Done::of(tail);
            assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "", ""));
        }
    }
    for consumer in rig.stat()["consumers"].as_array().unwrap() {
        assert_eq!((&consumer["lag_bytes"], &consumer["alive"]), (&0.into(), &false.into()));
    }
}

// Goal: Ctrl-C also ends a tail whose output nobody takes, and what was not taken is not released. Method: a pipe that is not read.
#[test]
fn an_interrupted_tail_that_is_stuck_ends_too() {
    let rig = Rig::with_ring("4MiB");
    rig.push(numbers(1..=60_000).as_bytes());
    let args = ["tail", "app.ring", "-f", "--oldest", "-o", "raw", "--consumer", "c", "--durable"];
    let (mut reader, writer) = std::io::pipe().unwrap();
    let tail = rig.tool(args).stdout(writer).spawn().unwrap();
    assert_eq!(read_exactly(&mut reader, 2), "1\n");
    std::thread::sleep(Duration::from_millis(300));
    signal(&tail, Signal::SIGINT);
    assert_eq!(Done::of(tail).code, 0);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut reader, &mut rest).unwrap();
    let again = rig.ok(["tail", "app.ring", "-o", "raw", "--consumer", "c"]);
    let first: u32 = again.lines().next().unwrap().parse().unwrap();
    assert_eq!(again, numbers(first..=60_000));
    let seen = format!("1\n{rest}");
    assert!(seen.contains(&format!("\n{}\n", first - 1)) || first == 1, "{first} comes after what was seen");
}

// Goal: a closed pipe ends tail quietly, whether it writes or waits. Method: head; a reader that goes away.
#[test]
fn a_closed_pipe_ends_it_quietly() {
    let rig = Rig::with_ring("4MiB");
    rig.push(numbers(1..=60_000).as_bytes());
    for args in [&["--oldest"][..], &["--oldest", "-f"], &["-f"], &["-n", "1", "-f", "--consumer", "c"]] {
        let mut tail = rig.start([&["tail", "app.ring", "-o", "raw"], args].concat());
        read_exactly(tail.stdout.as_mut().unwrap(), 1);
        drop(tail.stdout.take());
        let done = Done::of(tail);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{args:?}");
    }
    for args in [&["stat", "app.ring"][..], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = Done::of(rig.tool(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap());
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{args:?}");
    }
}

// Goal: a reliable reader gives back nothing that it could not write. Method: a pipe without a reader, then the same name again.
#[test]
fn what_could_not_be_written_is_not_released() {
    let rig = Rig::with_ring("64K");
    rig.push(numbers(1..=100).as_bytes());
    let args = ["tail", "app.ring", "--oldest", "-o", "raw", "--consumer", "c", "--durable"];
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let done = Done::of(rig.tool(args).stdout(writer).spawn().unwrap());
    assert_eq!(done.code, 0);
    assert_eq!(rig.stat()["consumers"][0]["position"], 0);
    assert_eq!(rig.ok(args), numbers(1..=100));
    assert_eq!(rig.stat()["consumers"][0]["lag_bytes"], 0);
    assert_eq!(rig.ok(args), "");
}

// Goal: a name goes on where it stopped, whatever the flags say about new names; --count releases no more than was shown. Method: a
// name in three runs.
#[test]
fn a_name_goes_on_where_it_stopped() {
    let rig = Rig::with_ring("64K");
    rig.push(numbers(1..=20).as_bytes());
    let tail = |args: &[&str]| rig.ok([&["tail", "app.ring", "-o", "raw", "--consumer", "c"], args].concat());
    assert_eq!(tail(&["-n", "12", "--count", "5"]), numbers(9..=13));
    assert_eq!(tail(&["--oldest", "--count", "3"]), numbers(14..=16));
    assert_eq!(tail(&[]), numbers(17..=20));
    assert_eq!(tail(&[]), "");
    let busy = rig.start(["tail", "app.ring", "-f", "--consumer", "c"]);
    wait_until("the name is in use", || rig.stat()["consumers"][0]["alive"] == true);
    let second = rig.run(["tail", "app.ring", "--consumer", "c"]);
    assert_eq!(second.code, 1);
    assert!(second.err.contains(&busy.id().to_string()), "{second:?}");
    signal(&busy, Signal::SIGINT);
    assert_eq!(Done::of(busy).code, 0);
}

// Goal: a slow watcher is told what it missed, once a lap, and can fail for it; nobody waits for it. Method: a pipe that is not read
// while the ring goes round.
#[test]
fn a_watcher_that_is_too_slow_is_told_what_it_missed() {
    let rig = Rig::with_ring("64K");
    rig.push(numbers(1..=500).as_bytes());
    for (flag, code) in [(&["--fail-on-loss"][..], 6), (&[], 0), (&["--losses"], 0)] {
        let args = ["tail", "app.ring", "--oldest", "-o", "json", "--idle", "1s"];
        let mut tail = rig.start([&args, flag].concat());
        let mut out = tail.stdout.take().unwrap();
        read_exactly(&mut out, 1);
        // 64 KiB are in the pipe, so it stands still soon.
        for _ in 0..10 {
            rig.push(numbers(1..=2_000).as_bytes());
        }
        let reading = std::thread::spawn(move || {
            let mut rest = String::new();
            std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
            rest
        });
        let done = Done::of(tail);
        assert_eq!(done.code, code, "{}", done.err);
        let out = format!("{{{}", reading.join().unwrap());
        let objects = common::objects(&out);
        assert_eq!(objects[objects.len() - 1]["message"], "2000", "it went on behind the gap");
        if flag != ["--losses"] {
            assert!(done.err.contains("overwritten"), "{}", done.err);
            continue;
        }
        // In its place: behind the last record before it, in front of the next one; told with bytes and with records.
        assert_eq!(done.err, "");
        let losses: Vec<usize> = (0..objects.len()).filter(|i| objects[*i]["event"] == "loss").collect();
        assert!(losses.iter().all(|i| objects[*i]["cause"] == "lapped"));
        assert!(losses.iter().any(|i| objects[*i]["bytes"].as_u64() > Some(0)));
        let first = losses[0];
        let position = |i: usize| objects[i]["position"].as_u64().unwrap();
        assert!(position(first - 1) < position(first), "{}", objects[first]);
        let behind = (first..objects.len()).find(|i| !losses.contains(i)).unwrap();
        assert_eq!(position(first), position(behind));
        let records: u64 = losses.iter().filter_map(|i| objects[*i]["records"].as_u64()).sum();
        let seen = |i: usize| objects[i]["sequence"].as_u64().unwrap();
        let jumps = (1..objects.len()).filter(|i| !losses.contains(i));
        let missing: u64 = jumps
            .map(|i| seen(i) - (0..i).rev().find(|j| !losses.contains(j)).map_or(seen(i) - 1, seen) - 1)
            .sum();
        assert_eq!(records, missing);
    }
}

// Goal: a name that was away too long is told what it missed, and can fail for it. Method: not durable, and a ring that goes round.
#[test]
fn a_name_that_was_away_is_told_what_it_missed() {
    let rig = Rig::with_ring("64K");
    rig.push(b"first\n");
    let args = ["tail", "app.ring", "--consumer", "c", "-o", "raw", "--fail-on-loss"];
    assert_eq!(rig.ok(args), "first\n");
    for _ in 0..3 {
        rig.push(numbers(1..=2_000).as_bytes());
    }
    let done = rig.run(args);
    assert_eq!(done.code, 6);
    assert!(done.err.contains("while nobody read under this name"), "{done:?}");
    assert!(done.out.ends_with(&numbers(1_990..=2_000)));
    rig.push(b"last\n");
    assert_eq!(rig.ok(args), "last\n", "told once");
}

/// Not a test by itself: the process that [`records_of_dead_producers_are_reported`] starts.
#[test]
fn a_producer_that_dies_in_a_claim() {
    let Some(path) = std::env::var_os("DIE_IN_A_CLAIM_OF") else { return };
    let ring = shm_ring::Ring::open(path).unwrap();
    let mut producer = ring.producer().unwrap();
    producer.push(b"before").unwrap();
    let mut claim = producer.claim(100).unwrap();
    claim[0] = 1;
    std::process::abort();
}

// Goal: a claim that nobody will ever commit keeps no reader, is reported, and can fail. Method: a process that dies in one, for both
// kinds of readers.
#[test]
fn records_of_dead_producers_are_reported() {
    for reader in [&[][..], &["--consumer", "c"]] {
        let rig = Rig::with_ring("64K");
        let mut dying = std::process::Command::new(std::env::current_exe().unwrap());
        let dying =
            dying.args(["--exact", "a_producer_that_dies_in_a_claim"]).env("DIE_IN_A_CLAIM_OF", rig.ring());
        assert!(!dying.output().unwrap().status.success());
        let mut push = rig.start_with_stdin(["push", "app.ring"]);
        push.stdin.take().unwrap().write_all(b"after\n").unwrap();
        assert_eq!(Done::of(push).code, 0);
        let done =
            rig.run([&["tail", "app.ring", "--oldest", "-o", "raw", "--fail-on-loss"], reader].concat());
        assert_eq!((done.code, done.out.as_str()), (6, "before\nafter\n"), "{done:?}");
        assert!(done.err.contains("producer 0 died in a claim"), "{done:?}");
    }
}

// Goal: --since shows what came since then. Method: two records with a pause between them, durations and a time.
#[test]
fn since_shows_what_came_since() {
    let rig = Rig::with_ring("64K");
    rig.push(b"old\n");
    std::thread::sleep(Duration::from_millis(1500));
    rig.push(b"new\n");
    let tail = |since: &str| rig.ok(["tail", "app.ring", "-o", "raw", "--since", since]);
    assert_eq!(tail("1h"), "old\nnew\n");
    assert_eq!(tail("2020-01-01T00:00:00Z"), "old\nnew\n");
    assert_eq!(tail("2999-01-01T00:00:00+02:00"), "");
    let times: Vec<u64> =
        rig.objects().iter().map(|object| object["timestamp_ns"].as_u64().unwrap()).collect();
    let between = jiff::Timestamp::from_nanosecond(i128::from(times[0] + 1)).unwrap();
    assert_eq!(tail(&between.to_string()), "new\n");
}

// Goal: what was dropped is told once, where it is missing, with whose and how many, and counts as a loss. Method: a push that drops, in
// every format and for every kind of reader, then a record behind the gap.
#[test]
fn dropped_records_are_told_in_place() {
    let rig = Rig::with_ring("64K");
    rig.hold();
    let done = rig.run_with(["push", "app.ring", "--when-full", "drop"], numbers(1..=3_000).as_bytes());
    let there = rig.records().len();
    let dropped = 3_000 - there;
    assert_eq!(done.code, 0);
    assert!(done.err.contains(&format!("was full: {dropped} records were dropped")), "{done:?}");
    assert_eq!(rig.stat()["producers"][0]["dropped"], dropped);
    rig.unhold();
    rig.push(b"behind\n");

    let line = format!("producer 0 dropped {dropped} records");
    let args = ["tail", "app.ring", "--oldest", "--losses", "--fail-on-loss"];
    let done = rig.run(args);
    assert_eq!(done.code, 6, "{}", done.err);
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(lines.iter().filter(|at| at.starts_with("--")).count(), 1);
    assert_eq!(lines[lines.len() - 2], format!("-- {line}"));
    assert!(lines[lines.len() - 1].ends_with(": behind"));
    assert!(!done.err.contains("dropped"), "it is told twice: {}", done.err);

    let done = rig.run([&args[..], &["-o", "json"]].concat());
    let objects = common::objects(&done.out);
    let loss = &objects[objects.len() - 2];
    let keys = ["event", "cause", "position", "producer", "records", "claims", "bytes"];
    assert_eq!(loss.as_object().unwrap().len(), keys.len());
    let [event, cause, position, producer, records, claims, bytes] = keys.map(|key| loss[key].clone());
    assert_eq!((event, cause, producer), ("loss".into(), "dropped".into(), 0.into()));
    assert_eq!((records, claims, bytes), (dropped.into(), serde_json::Value::Null, serde_json::Value::Null));
    assert_eq!(position, objects[objects.len() - 1]["position"]);

    for plain in [&["-o", "raw", "--losses"][..], &["-o", "raw"], &["-o", "json"], &["--group", "g"]] {
        let done = rig.run([&["tail", "app.ring", "--oldest", "--fail-on-loss"], plain].concat());
        assert_eq!(done.code, 6, "{plain:?}");
        assert!(done.err.contains(&line) && !done.out.contains("dropped"), "{plain:?}: {}", done.err);
    }
}

// Goal: members of a group share the records, each to one, and all of them. Method: two members at once, and a third later.
#[test]
fn members_of_a_group_share_the_records() {
    let rig = Rig::with_ring("64K");
    rig.push(numbers(1..=500).as_bytes());
    let args = ["tail", "app.ring", "--oldest", "--group", "workers", "-o", "raw", "--idle", "500ms"];
    let members = [rig.start(args), rig.start(args)];
    wait_until("both are members", || rig.stat()["consumers"].as_array().unwrap().len() == 3);
    let consumers = rig.stat()["consumers"].clone();
    let group = consumers.as_array().unwrap().iter().find(|c| c["group"] == true).unwrap();
    assert_eq!(group["members"], 2);
    let is_member = |c: &&serde_json::Value| c["member_of"] == group["slot"] && c["members"].is_null();
    assert_eq!(consumers.as_array().unwrap().iter().filter(is_member).count(), 2);
    assert!(rig.ok(["stat", "app.ring"]).contains("2 members  workers"));
    rig.push(numbers(501..=1_000).as_bytes());
    let done = members.map(Done::of);
    let mut all: Vec<u32> = Vec::new();
    for member in &done {
        assert_eq!((member.code, member.err.as_str()), (0, ""));
        let own: Vec<u32> = member.out.lines().map(|line| line.parse().unwrap()).collect();
        assert!(own.is_sorted());
        all.extend(own);
    }
    all.sort_unstable();
    assert!(all == (1..=1_000).collect::<Vec<_>>(), "{} records", all.len());
    rig.push(b"later\n");
    assert_eq!(rig.ok(["tail", "app.ring", "--group", "workers", "-o", "raw"]), "later\n");
}

// Goal: what a member could not write goes to another, which says so; nothing else comes twice. Method: a pipe without a reader; a
// member that is killed while it waits for its pipe.
#[test]
fn what_a_member_could_not_write_goes_to_another() {
    let rig = Rig::with_ring("64K");
    rig.push(numbers(1..=3).as_bytes());
    let args = ["tail", "app.ring", "--oldest", "--group", "workers", "--durable"];
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let done = Done::of(rig.tool(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    let objects = common::objects(&rig.ok([&args[..], &["-o", "json"]].concat()));
    let seen: Vec<_> =
        objects.iter().map(|o| (o["message"].as_str().unwrap(), o["redelivered"] == true)).collect();
    assert_eq!(seen, [("1", true), ("2", false), ("3", false)]);

    rig.push(&b"x".repeat(9_000));
    for _ in 0..5 {
        rig.push(&b"y".repeat(9_000));
    }
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut stuck = rig.tool([&args[..], &["-f"]].concat()).stdout(writer).spawn().unwrap();
    read_exactly(&mut reader, 1);
    for _ in 0..5 {
        rig.push(&b"z".repeat(9_000));
    }
    std::thread::sleep(Duration::from_millis(300));
    stuck.kill().unwrap();
    stuck.wait().unwrap();
    let again = rig.ok([&args[..], &["-o", "short"]].concat());
    let marked = again.lines().filter(|line| line.contains("Z (redelivered) [")).count();
    assert!(marked <= 1 && again.lines().skip(1).all(|line| !line.contains("redelivered")), "{marked}");
    drop(reader);
    assert_eq!(rig.ok(args), "");
}
