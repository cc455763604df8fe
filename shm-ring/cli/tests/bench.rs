//! Bench: figures that agree with each other and with what was asked for, and nothing left behind, whatever happens.
//!
//! Runs are short and the machine may be busy: what is held is what is true however slow it is. Nothing here is about speed.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::helper::stop;
use common::{Done, Rig, signal, wait_until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// A run, once its processes are at work.
struct AtWork {
    child: Child,
    /// Their pids, producers first.
    pids: Vec<i32>,
    /// Keeps the pipe open.
    messages: BufReader<std::process::ChildStderr>,
}

impl AtWork {
    fn start(rig: &Rig, args: &[&str]) -> Self {
        let mut tool = rig.tool([&["bench", "-v"][..], args].concat());
        let mut child = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut messages = BufReader::new(child.stderr.take().unwrap());
        let (mut pids, mut line) = (Vec::new(), String::new());
        while line != "shm-ring: measuring\n" {
            line.clear();
            assert_ne!(messages.read_line(&mut line).unwrap(), 0, "{:?}", child.wait());
            let pid = line.split_once("pid ").and_then(|(_, rest)| rest.split_once(','));
            pids.extend(pid.map(|(pid, _)| pid.parse::<i32>().unwrap()));
        }
        // The floor is over, and the warm-up has begun, or is about to.
        assert!(left_behind(child.id()).is_empty(), "its files have names while it runs");
        Self { child, pids, messages }
    }

    fn kill(&self, number: usize, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.pids[number]), signal).unwrap();
    }

    /// Waits for its end: all its processes are gone, and its files.
    fn end(mut self) -> Done {
        let pid = self.child.id();
        let mut done = Done::of(self.child);
        std::io::Read::read_to_string(&mut self.messages, &mut done.err).unwrap();
        // After a SIGKILL of the tool, they end a moment later.
        wait_until("all processes are gone", || self.pids.iter().all(|pid| is_gone(*pid)));
        assert!(left_behind(pid).is_empty(), "{:?}", left_behind(pid));
        done
    }
}

fn is_gone(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// What a run of that pid has in the places for its files.
fn left_behind(pid: u32) -> Vec<PathBuf> {
    let name = format!("shm-ring-bench-{pid}");
    [Path::new("/dev/shm"), &std::env::temp_dir()]
        .map(|parent| parent.join(&name))
        .into_iter()
        .filter(|p| p.exists())
        .collect()
}

fn bench(rig: &Rig, args: &[&str]) -> Value {
    let child = rig.start([&["bench", "--json"][..], args].concat());
    let pid = child.id();
    let done = Done::of(child);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{args:?}: {done:?}");
    assert!(left_behind(pid).is_empty(), "{:?}", left_behind(pid));
    assert_eq!(done.out.lines().count(), 1, "one object in one line");
    serde_json::from_str(&done.out).unwrap()
}

fn number(object: &Value, keys: &[&str]) -> f64 {
    let found = keys.iter().fold(object, |object, key| &object[key]);
    found.as_f64().unwrap_or_else(|| panic!("{keys:?}: {found}"))
}

/// What holds for every run.
fn assert_consistent(result: &Value) {
    let latency = |key: &str| number(result, &["latency", key]);
    let steps = ["min_ns", "p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "p99_99_ns", "max_ns"].map(latency);
    assert!(steps.windows(2).all(|two| two[0] <= two[1]), "{steps:?}");
    assert!((steps[0]..=steps[6]).contains(&latency("mean_ns")), "{result}");
    for key in ["line_before_ns", "line_after_ns", "line_p50_ns", "copy_bytes_per_second"] {
        assert!(number(result, &["floor", key]) > 0.0, "{key}: {result}");
    }
    let (records, size) = (number(result, &["records"]), number(result, &["size_bytes"]));
    let (rate, bytes) = (number(result, &["records_per_second"]), number(result, &["bytes_per_second"]));
    assert!(records > 0.0 && rate > 0.0 && (bytes / rate / size - 1.0).abs() < 1e-9, "{result}");
    let processes = |side: &str| result[format!("{side}_processes")].as_array().unwrap();
    for side in ["producer", "consumer"] {
        assert_eq!(processes(side).len() as f64, number(result, &[&format!("{side}s")]), "{result}");
    }
    for consumer in processes("consumer") {
        assert_eq!(consumer["records"].as_f64(), Some(records), "every consumer gets everything: {result}");
    }
    let receivers = if result["workload"] == "pingpong" { 1 } else { processes("consumer").len() };
    let in_intervals: f64 =
        result["intervals"].as_array().unwrap().iter().map(|i| number(i, &["records"])).sum();
    assert_eq!(in_intervals, records * receivers as f64, "{result}");
    let slowest = result["intervals"].as_array().unwrap().iter().map(|i| number(i, &["latency_max_ns"]));
    let slowest = slowest.fold(0.0, f64::max);
    assert!(
        (slowest / steps[6] - 1.0).abs() < 0.01,
        "the slowest of all is the slowest of an interval: {result}"
    );
}

// Goal: every workload measures as many records as rate and time say, and its figures agree. Method: paced runs of 0.2 s; a machine that is
// too busy says how many it did not send.
#[test]
fn paced_runs_measure_what_was_asked_for() {
    let rig = Rig::new();
    for (args, producers, receivers) in [
        (&["--workload", "pingpong"][..], 1.0, 1.0),
        (&["--workload", "stream"], 1.0, 1.0),
        (&["--workload", "fanout", "--consumers", "3"], 1.0, 3.0),
        (&["--workload", "fanin", "--producers", "3"], 3.0, 1.0),
    ] {
        let result = bench(&rig, &[args, &["--rate", "2k", "--seconds", "0.2"]].concat());
        assert_consistent(&result);
        let records = number(&result, &["records"]);
        assert_eq!(records + number(&result, &["unsent"]), 400.0 * producers, "{result}");
        assert_eq!(number(&result, &["latency", "count"]), records * receivers, "{result}");
        let kind = if args[1] == "pingpong" { "round_trip" } else { "one_way" };
        assert_eq!(result["latency"]["kind"], kind);
        assert!(number(&result, &["latency_to_floor"]) > 0.0);
        assert_eq!(result["throughput_to_floor"], Value::Null);
        // None is received before it is due.
        assert!(number(&result, &["records_per_second"]) < 2_001.0 * producers, "{result}");
    }
}

// Goal: every workload runs at full speed, and its figures agree. Method: runs of 0.2 s, with every way to wait.
#[test]
fn runs_at_full_speed_measure_samples() {
    let rig = Rig::new();
    for (workload, wait) in [
        ("pingpong", "block"),
        ("stream", "spin"),
        ("fanout", "yield"),
        ("fanin", "adaptive"),
        ("fanin", "block"),
    ] {
        let result = bench(&rig, &["--workload", workload, "--wait", wait, "--seconds", "0.2"]);
        assert_consistent(&result);
        let (records, count) = (number(&result, &["records"]), number(&result, &["latency", "count"]));
        match workload {
            "pingpong" => assert_eq!(count, records),
            _ => assert!(count < records, "{result}"),
        }
        let ratio = if workload == "pingpong" { "latency_to_floor" } else { "throughput_to_floor" };
        assert!(number(&result, &[ratio]) > 0.0, "{result}");
    }
}

// Goal: all shapes of records and rings work. Method: the shortest record, one that is no multiple of anything, the longest; batches, also
// paced; metadata; a ring that holds next to nothing; one producer that claims as if there were more.
#[test]
fn all_shapes_are_measured() {
    let rig = Rig::new();
    for args in [
        &["--size", "16", "--workload", "stream", "--capacity", "4KiB"][..],
        &["--size", "17", "--workload", "fanin", "--metadata", "--wait", "block"],
        &["--size", "1MiB", "--workload", "stream"],
        &["--size", "1000", "--workload", "pingpong", "--metadata", "--mode", "shared"],
        &["--size", "100", "--workload", "fanout", "--batch", "32"],
        &["--size", "64", "--workload", "fanin", "--batch", "8", "--rate", "20k"],
        &["--size", "64", "--workload", "stream", "--batch", "100", "--metadata", "--mode", "shared"],
    ] {
        assert_consistent(&bench(&rig, &[args, &["--seconds", "0.2"]].concat()));
    }
}

// Goal: a stop anywhere shows in the latency of all records that it delayed, also of those that their producer could not send meanwhile.
// Method: 100 ms of SIGSTOP for the consumer of a paced run of 2 s, once with room for all records and once with room for a few; 5 % of
// the records are delayed, by up to 100 ms in even steps, so that the slowest tenth of a percent is close to the whole of it.
#[test]
fn a_stopped_consumer_shows_in_the_percentiles() {
    for capacity in ["4MiB", "4KiB"] {
        let rig = Rig::new();
        let args =
            ["--json", "--workload", "stream", "--rate", "2k", "--seconds", "2", "--capacity", capacity];
        let run = AtWork::start(&rig, &args);
        // Past the warm-up of half a second, and far from the end.
        std::thread::sleep(Duration::from_millis(1_200));
        run.kill(1, Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(100));
        run.kill(1, Signal::SIGCONT);
        let done = run.end();
        assert_eq!(done.code, 0, "{done:?}");
        let result: Value = serde_json::from_str(&done.out).unwrap();
        assert_consistent(&result);
        assert_eq!(number(&result, &["latency", "count"]), number(&result, &["records"]));
        assert_eq!(number(&result, &["records"]) + number(&result, &["unsent"]), 4_000.0);
        for key in ["p99_9_ns", "max_ns"] {
            let ms = number(&result, &["latency", key]) / 1e6;
            assert!((90.0..2_000.0).contains(&ms), "{capacity}, {key}: {ms} ms");
        }
    }
}

// Goal: what the files say is what the result says. Method: one run with everything; lines of the histogram rise to the count and end with
// the maximum, the page has the figures, and nothing in it is fetched or run.
#[test]
fn files_have_the_same_figures() {
    let rig = Rig::new();
    std::fs::write(rig.path("out.html"), vec![b'x'; 1 << 20]).unwrap();
    let args = [
        "--workload",
        "fanout",
        "--rate",
        "5k",
        "--seconds",
        "0.3",
        "--hgrm",
        "out.hgrm",
        "--html",
        "out.html",
    ];
    let result = bench(&rig, &args);
    let hgrm = std::fs::read_to_string(rig.path("out.hgrm")).unwrap();
    assert!(hgrm.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"), "{hgrm}");
    let lines = hgrm.lines().skip(2).filter(|line| !line.starts_with('#'));
    let lines: Vec<Vec<f64>> =
        lines.map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect()).collect();
    assert!(lines.windows(2).all(|two| (0..3).all(|i| two[0][i] <= two[1][i])), "{hgrm}");
    let last = lines.last().unwrap();
    assert_eq!((last.len(), last[1]), (3, 1.0));
    assert_eq!(last[2], number(&result, &["latency", "count"]));
    assert!((last[0] * 1e3 / number(&result, &["latency", "max_ns"]) - 1.0).abs() < 0.002);
    assert!(
        lines[..lines.len() - 1].iter().all(|line| (line[3] * (1.0 - line[1]) - 1.0).abs() < 0.01),
        "{hgrm}"
    );
    assert_eq!(hgrm.lines().filter(|line| line.starts_with("#[") && line.ends_with(']')).count(), 3);

    let html = std::fs::read_to_string(rig.path("out.html")).unwrap();
    assert!(
        html.starts_with("<!doctype html>") && html.ends_with("</html>\n"),
        "written over what was there"
    );
    for forbidden in ["http", "<script", "src=", "url(", "@import", "<link"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    let count = result["latency"]["count"].as_u64().unwrap();
    assert!(html.contains(&format!("<td>{},{:03}</td>", count / 1_000, count % 1_000)), "{count}");
    for expected in ["fanout: 1 producer to 2 consumers", "consumer 1", "--workload fanout", "× floor ("] {
        assert!(html.contains(expected), "{expected}");
    }
    assert_eq!(html.matches("<svg ").count(), 3);
    assert_eq!((html.matches("</title><desc ").count(), html.matches("role=\"img\"").count()), (3, 3));
    for note in result["notes"].as_array().unwrap() {
        assert!(html.contains(note.as_str().unwrap()), "{note}");
    }
}

// Goal: people get a table and a histogram that fit their terminal, and colour only where they want it. Method: a run of each kind.
#[test]
fn text_fits_a_terminal() {
    let rig = Rig::new();
    for args in [&["--rate", "5k"][..], &["--workload", "stream"], &["--workload", "fanin", "--rate", "5k"]] {
        let text = rig.ok([&["bench", "--seconds", "0.2"][..], args].concat());
        assert!(text.lines().skip(3).all(|line| line.chars().count() <= 80), "{text}");
        for word in ["p50", "p99.99", "max", "floor", "ratio", "█", "measured, mean"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains('\x1b'), "{text}");
    }
    assert!(rig.ok(["bench", "--seconds", "0.1", "--color", "always"]).contains('\x1b'));
}

// Goal: what can't be is refused with code 2 and what to do instead, and nothing is run or made. Method: one of each kind.
#[test]
fn what_cant_be_is_refused_before_anything_runs() {
    let rig = Rig::new();
    let wrong: [(&[&str], &str); 21] = [
        (&["--workload", "pingpong", "--producers", "3"], "pingpong has one producer, found --producers 3"),
        (&["--workload", "pingpong", "--consumers", "2"], "pingpong has one consumer"),
        (&["--workload", "stream", "--consumers", "2"], "fanout is for more consumers"),
        (&["--workload", "fanout", "--producers", "2"], "fanout has one producer"),
        (&["--workload", "fanin", "--consumers", "2"], "fanin has one consumer"),
        (&["--workload", "fanin", "--mode", "exclusive"], "--mode exclusive is for one producer, found 2"),
        (&["--workload", "fanin", "--producers", "5000"], "expected 1 to 4096, found 5000"),
        (&["--producers", "0"], "expected one or more"),
        (&["--size", "15"], "expected 16 bytes or more"),
        (&["--size", "2MiB"], "use --capacity 8388608 or more"),
        (&["--capacity", "1TiB"], "capacity"),
        (&["--workload", "stream", "--batch", "0"], "expected 1 or more records"),
        (&["--workload", "stream", "--batch", "20000"], "more than a quarter of a ring of 4 MiB"),
        (&["--batch", "2"], "a round trip is one record"),
        (&["--rate", "0"], "nothing would be sent"),
        (&["--rate", "1000M", "--seconds", "3600"], "more than 2^34 records"),
        (&["--seconds", "0"], "expected 0.01 to 3600"),
        (&["--cpus", "1023"], "CPU 1023 can't be used here"),
        (&["--cpus", "0,0"], "each once"),
        (&["--workload", "chain"], "possible values"),
        (&["--html"], "value is required"),
    ];
    for (args, words) in wrong {
        let child = rig.start([&["bench", "--hgrm", "out.hgrm"][..], args].concat());
        let pid = child.id();
        let done = Done::of(child);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{args:?}: {done:?}");
        assert!(done.err.contains(words), "{args:?}: {words}: {done:?}");
        assert!(left_behind(pid).is_empty() && !rig.path("out.hgrm").exists(), "{args:?}");
    }
}

// Goal: a file that can't be written is said before anything runs. Method: a directory that is not there, and one in place of the file.
#[test]
fn files_that_cant_be_written_are_said_first() {
    let rig = Rig::new();
    for path in ["no/such/out.html", "."] {
        let done = rig.run(["bench", "--seconds", "60", "--html", path]);
        assert_eq!((done.code, done.out.as_str()), (1, ""), "{done:?}");
        assert!(done.err.contains(path) && done.err.contains("for writing"), "{done:?}");
    }
}

// Goal: Ctrl-C ends it at once, with no figures and nothing left: no process, no ring, no file. Method: SIGINT and SIGTERM in the middle.
#[test]
fn signals_end_it_with_nothing_left() {
    let rig = Rig::new();
    for end in [Signal::SIGINT, Signal::SIGTERM] {
        let args =
            ["--workload", "fanin", "--seconds", "60", "--hgrm", "out.hgrm", "--html", "out.html", "--json"];
        let run = AtWork::start(&rig, &args);
        signal(&run.child, end);
        let done = run.end();
        assert_eq!((done.code, done.out.as_str()), (1, ""), "{done:?}");
        assert_eq!(done.err, "shm-ring: interrupted: no figures\n");
        assert!(!rig.path("out.hgrm").exists() && !rig.path("out.html").exists());
    }
}

// Goal: the same while everything is being started. Method: SIGINT after 0 to 28 ms; before it is watched for, it ends the tool at once.
#[test]
fn a_signal_during_the_start_leaves_nothing() {
    let rig = Rig::new();
    for ms in (0..30).step_by(4) {
        let child = rig.start(["bench", "--workload", "fanin", "--seconds", "60", "--html", "out.html"]);
        let pid = child.id();
        std::thread::sleep(Duration::from_millis(ms));
        signal(&child, Signal::SIGINT);
        let done = Done::of(child);
        assert!([1, 128 + 2].contains(&done.code) && done.out.is_empty(), "{done:?}");
        assert!(left_behind(pid).is_empty() && !rig.path("out.html").exists(), "after {ms} ms");
    }
}

// Goal: no death is a hang. Method: SIGKILL to a producer, to a consumer, to a stopped consumer; then to the tool itself, whose processes
// end with it.
#[test]
fn a_killed_process_is_said() {
    let rig = Rig::new();
    let args = ["--workload", "fanin", "--seconds", "60", "--rate", "1k"];
    for (number, name) in [(1, "producer 1"), (2, "consumer 0")] {
        for is_stopped in [false, true] {
            let run = AtWork::start(&rig, &args);
            if is_stopped {
                run.kill(number, Signal::SIGSTOP);
                std::thread::sleep(Duration::from_millis(50));
            }
            run.kill(number, Signal::SIGKILL);
            let expected = format!("shm-ring: {name} (pid {}) was killed by SIGKILL", run.pids[number]);
            let done = run.end();
            assert_eq!((done.code, done.out.as_str()), (1, ""), "{done:?}");
            assert!(done.err.starts_with(&expected) && done.err.lines().count() == 1, "{done:?}");
        }
    }
    let run = AtWork::start(&rig, &args);
    stop(&run.child);
    signal(&run.child, Signal::SIGKILL);
    assert_eq!(run.end().code, 128 + 9);
}

// Goal: whoever reads the JSON finds each of its keys in the help. Method: all keys of a run, at any depth.
#[test]
fn help_names_every_key() {
    fn collect(value: &Value, keys: &mut Vec<String>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            keys.push(key.clone());
            collect(value, keys);
        }
        value.as_array().into_iter().flatten().for_each(|value| collect(value, keys));
    }
    let rig = Rig::new();
    let (help, mut keys) = (rig.ok(["help", "bench"]), Vec::new());
    collect(&bench(&rig, &["--seconds", "0.1"]), &mut keys);
    let words: Vec<_> = help.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let missing: Vec<_> = keys.iter().filter(|key| !words.contains(&key.as_str())).collect();
    assert!(keys.len() > 50 && missing.is_empty(), "{missing:?}");
}

// Goal: the processes' own way into the tool is nobody's business. Method: help and completions have the command and not the role; whoever
// tries it is told.
#[test]
fn the_role_is_hidden() {
    let rig = Rig::new();
    for args in [&["completions", "bash"][..], &["completions", "zsh"], &["help"]] {
        let text = rig.ok(args);
        assert!(text.contains("bench") && !text.contains("bench-role"), "{args:?}");
    }
    let help = rig.ok(["help", "bench"]);
    for words in ["Examples:", "JSON keys:", "p99_99_ns", "meant to be sent"] {
        assert!(help.contains(words), "{words}");
    }
    let done = rig.run(["bench-role"]);
    assert!(done.code == 1 && done.out.contains("is for `shm-ring bench` to start"), "{done:?}");
}
