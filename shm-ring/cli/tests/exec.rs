//! Exec: a command's lines are in the ring, and the command notices nothing.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Done, PATIENCE, Rig, numbers, read_exactly, signal, wait_until};
use nix::sys::signal::Signal;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn sh(script: &str) -> [&str; 6] {
    ["exec", "app.ring", "--", "sh", "-c", script]
}

// Goal: a record says which command said it, where, and under which tag; the output goes nowhere else. Method: a line to each stream,
// with the command's own pid in it.
#[test]
fn lines_of_both_streams_carry_pid_stream_and_tag() {
    let rig = Rig::with_ring("64K");
    let script = "echo out $$; echo err $$ >&2; printf half";
    let done = rig.run(["exec", "app.ring", "--tag", "web", "--", "sh", "-c", script]);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "", ""));
    let objects = rig.objects();
    let by_stream = |stream| objects.iter().filter(move |object| object["stream"] == stream);
    let out: Vec<_> = by_stream("stdout").collect();
    let err: Vec<_> = by_stream("stderr").collect();
    assert_eq!((out.len(), err.len(), objects.len()), (2, 1, 3));
    assert_eq!(out[0]["message"], format!("out {}", out[0]["pid"]));
    assert_eq!(err[0]["message"], format!("err {}", err[0]["pid"]));
    assert_eq!(out[1]["message"], "half");
    for object in &objects {
        assert_eq!(
            (&object["tag"], &object["pid"], &object["kind"]),
            (&"web".into(), &out[0]["pid"], &1.into())
        );
        assert!(object["level"].is_null());
    }
    let partial: Vec<bool> = rig.records().into_iter().map(|record| record.partial).collect();
    assert_eq!(partial.iter().filter(|partial| **partial).count(), 1);
}

// Goal: without a tag, records have the command's name. Method: a path.
#[test]
fn the_commands_name_is_the_tag_by_default() {
    let rig = Rig::with_ring("64K");
    rig.ok(["exec", "app.ring", "--level", "notice", "--", "/bin/sh", "-c", "echo x"]);
    let object = &rig.objects()[0];
    assert_eq!((&object["tag"], &object["level"]), (&"sh".into(), &5.into()));
}

// Goal: exec ends as its command does. Method: success, codes, a signal, a command that is not there, a file that is none.
#[test]
fn the_commands_code_is_passed_on() {
    let rig = Rig::with_ring("64K");
    std::fs::write(rig.path("not-executable"), "").unwrap();
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
    {
        assert_eq!(rig.run(sh(script)).code, code, "{script}");
    }
    let missing = rig.run(["exec", "app.ring", "--", "./no-such-command"]);
    assert_eq!(missing.code, 127);
    assert!(missing.err.contains("no-such-command"), "{missing:?}");
    assert_eq!(rig.run(["exec", "app.ring", "--", "./not-executable"]).code, 126);
    assert_eq!(rig.run(["exec", "app.ring"]).code, 2);
}

// Goal: with `--tee` the output goes on to where it would have gone, byte for byte. Method: no newline at the end, bytes of all kinds.
#[test]
fn tee_passes_both_streams_on() {
    let rig = Rig::with_ring("64K");
    let script = "printf 'a\\r\\n\\n\\001b'; printf 'e' >&2; exit 3";
    let done = rig.run(["exec", "--tee", "app.ring", "--", "sh", "-c", script]);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (3, "a\r\n\n\u{1}b", "e"));
    let mut messages: Vec<_> = rig.records().into_iter().map(|record| record.message).collect();
    messages.sort();
    assert_eq!(messages, [&b""[..], b"\x01b", b"a\r", b"e"]);
}

// Goal: nobody reading our stdout is no reason to end the command or to lose its lines. Method: a pipe without a reader.
#[test]
fn a_closed_stdout_neither_kills_nor_loses() {
    let rig = Rig::with_ring("64K");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let script = "for i in 1 2 3; do echo $i || exit 1; sleep 0.05; done; exit 9";
    let child =
        rig.tool(["exec", "--tee", "app.ring", "--", "sh", "-c", script]).stdout(writer).spawn().unwrap();
    assert_eq!(Done::of(child).code, 9);
    assert_eq!(rig.messages(), "1\n2\n3\n");
}

// Goal: the command reads our stdin. Method: cat.
#[test]
fn stdin_is_the_commands() {
    let rig = Rig::with_ring("64K");
    assert_eq!(rig.run_with(["exec", "app.ring", "--", "cat"], b"through\n").code, 0);
    assert_eq!(rig.messages(), "through\n");
}

// Goal: several commands share a ring, and none loses a line or its order. Method: four, 2,000 lines each.
#[test]
fn several_commands_share_a_ring() {
    let rig = Rig::with_ring("4MiB");
    std::thread::scope(|scope| {
        for tag in ["a", "b", "c", "d"] {
            let rig = &rig;
            scope.spawn(move || {
                rig.ok(["exec", "app.ring", "--tag", tag, "--", "seq", "1", "2000"]);
            });
        }
    });
    let objects = rig.objects();
    for tag in ["a", "b", "c", "d"] {
        let of_tag = objects.iter().filter(|object| object["tag"] == tag);
        let lines: String =
            of_tag.map(|object| format!("{}\n", object["message"].as_str().unwrap())).collect();
        assert_eq!(lines, numbers(1..=2000), "{tag}");
    }
}

// Goal: a line is in the ring when it was said, not when the command ends. Method: a command that says something and stays.
#[test]
fn lines_appear_while_the_command_runs() {
    let rig = Rig::with_ring("64K");
    let mut exec = rig.start_with_stdin(sh("echo ready; read line; echo got $line"));
    wait_until("the line is in the ring", || rig.messages() == "ready\n");
    exec.stdin.take().unwrap().write_all(b"it\n").unwrap();
    assert_eq!(Done::of(exec).code, 0);
    assert_eq!(rig.messages(), "ready\ngot it\n");
}

// Goal: signals reach the command, whose last words still count. Method: a trap, SIGTERM to the tool.
#[test]
fn signals_are_passed_on() {
    let rig = Rig::with_ring("64K");
    for (name, which, code) in [("TERM", Signal::SIGTERM, 7), ("USR1", Signal::SIGUSR1, 8)] {
        let script = format!(
            "trap 'echo got {name}; exit {code}' {name}; echo ready {name}; while :; do sleep 0.02; done"
        );
        let exec = rig.start(sh(&script));
        wait_until("the command is ready", || rig.messages().ends_with(&format!("ready {name}\n")));
        signal(&exec, which);
        assert_eq!(Done::of(exec).code, code);
        assert!(rig.messages().ends_with(&format!("got {name}\n")));
    }
}

// Goal: a process that the command leaves behind does not keep exec for ever, and what it says soon after still counts. Method: one
// that talks for a moment, then sleeps with the pipe in its hands.
#[test]
fn what_the_command_leaves_behind_does_not_keep_us() {
    let rig = Rig::with_ring("64K");
    let start = Instant::now();
    let done = rig.run(sh("(sleep 0.1; echo late; sleep 100) & echo early; exit 4"));
    assert_eq!(done.code, 4);
    assert!(start.elapsed() >= Duration::from_millis(500), "it may have said more");
    assert!(start.elapsed() < PATIENCE, "it keeps us");
    assert_eq!(rig.messages(), "early\nlate\n");
}

// Goal: one that never stops talking does not keep us from ending when we are told to. Method: SIGTERM after the command's end.
#[test]
fn a_signal_after_the_commands_end_is_for_us() {
    let rig = Rig::with_ring("64K");
    let exec = rig.start(sh("(while echo more; do sleep 0.05; done) & echo pid $!; exit 4"));
    wait_until("there is more", || rig.messages().contains("more\n"));
    let again = Instant::now();
    let mut exec = exec;
    while exec.try_wait().unwrap().is_none() {
        assert!(again.elapsed() < PATIENCE);
        signal(&exec, Signal::SIGTERM);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(Done::of(exec).code, 4);
}

// Goal: a full ring holds the command back, and nothing is lost. Method: a name that holds a small ring and reads later.
#[test]
fn a_full_ring_holds_the_command_back() {
    let rig = Rig::with_ring("64K");
    rig.hold();
    let exec = rig.start(["exec", "app.ring", "--", "seq", "1", "20000"]);
    wait_until("exec waits", || rig.stat()["producers"][0]["waited"].as_u64() > Some(0));
    let out = rig.ok(["tail", "app.ring", "--consumer", "holder", "-o", "raw", "-f", "--count", "20000"]);
    assert_eq!(out, numbers(1..=20_000));
    assert_eq!(Done::of(exec).code, 0);
}

// Goal: with `--drop` the command is never held back, and the report is the truth. Method: count what is there; what is not was dropped.
#[test]
fn drop_drops_and_counts() {
    let rig = Rig::with_ring("64K");
    rig.hold();
    let done = rig.run(["exec", "--drop", "app.ring", "--", "seq", "1", "20000"]);
    assert_eq!(done.code, 0);
    let there = rig.records().len();
    assert!(there > 500 && there < 20_000);
    assert!(done.err.contains(&format!("{} records were dropped", 20_000 - there)), "{done:?}");
    assert_eq!(rig.stat()["producers"][0]["dropped"], 20_000 - there);
}

// Goal: exec does not read ahead of a slow terminal, and gives everything in the end. Method: a stdout that nobody reads for a while.
#[test]
fn tee_waits_for_a_slow_reader() {
    let rig = Rig::with_ring("4MiB");
    let mut exec = rig
        .tool(["exec", "--tee", "app.ring", "--", "seq", "1", "50000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let expected = numbers(1..=50_000);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(read_exactly(exec.stdout.as_mut().unwrap(), expected.len()), expected);
    assert_eq!(Done::of(exec).code, 0);
    assert_eq!(rig.messages(), expected);
}
