//! Replay, live: rings that are followed, a log that is gone on with in its ring, and records out of order.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::history::{START_NS, log};
use common::{Done, Rig, numbers, read_exactly, signal};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};

// Goal: `merge -f` follows rings, in order of time across them. Method: two rings, written in turn while it follows.
#[test]
fn rings_are_followed_in_one_order() {
    let rig = Rig::new();
    for name in ["x.ring", "y.ring"] {
        rig.ok(["create", name, "--capacity", "64KiB"]);
    }
    let push = |n: u32| {
        let name = if n.is_multiple_of(3) { "x.ring" } else { "y.ring" };
        assert_eq!(rig.run_with(["push", name], format!("{n}\n").as_bytes()).code, 0);
    };
    push(1);
    let mut child = rig.start(["merge", "x.ring", "y.ring", "-f", "--lateness", "50ms", "-o", "raw"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "1");
    for n in 2..30 {
        push(n);
    }
    for n in 2..30 {
        assert_eq!(lines.next().unwrap().unwrap(), n.to_string());
    }
    signal(&child, Signal::SIGTERM);
    assert_eq!(Done::of(child).code, 0);
}

// Goal: --ring goes on in the ring where the log ends, without a gap or a repeat. Method: a ring of which half is recorded; more comes
// afterwards.
#[test]
fn a_log_is_gone_on_with_in_its_ring() {
    let rig = Rig::with_ring("64KiB");
    rig.push(numbers(1..=100).as_bytes());
    rig.ok(["record", "app.ring", "logs", "--drain", "--segment", "64KiB"]);
    rig.push(numbers(101..=200).as_bytes());
    let mut child = rig.start(["replay", "logs", "--ring", "app.ring", "--speed", "max", "-o", "raw"]);
    let mut out = child.stdout.take().unwrap();
    assert_eq!(read_exactly(&mut out, numbers(1..=200).len()), numbers(1..=200));
    rig.push(numbers(201..=300).as_bytes());
    assert_eq!(read_exactly(&mut out, numbers(201..=300).len()), numbers(201..=300));
    signal(&child, Signal::SIGTERM);
    assert_eq!(Done::of(child).code, 0);
}

// Goal: records out of order are put right, passed on, or an error, as --order says, and none is lost but by an error. Method: a log in
// which one comes three records late.
#[test]
fn disorder_is_dealt_with_as_was_asked_for() {
    let rig = Rig::new();
    log(&rig, "a", &[10, 20, 30, 40, 15, 50].map(|n| START_NS + n));
    let shown = |order: &str| rig.run(["merge", "a", "-o", "raw", "--order", order]);
    let right = "a 0\na 4\na 1\na 2\na 3\na 5\n";
    assert_eq!(shown("reorder:8").out, right);
    assert_eq!(rig.ok(["merge", "a", "-o", "raw"]), right);
    assert_eq!((shown("pass").code, shown("pass").out.as_str()), (0, "a 0\na 1\na 2\na 3\na 4\na 5\n"));
    // Too late for the window, it comes where it is met: one is held back.
    assert_eq!(
        (shown("reorder:1").code, shown("reorder:1").out.as_str()),
        (0, "a 0\na 1\na 2\na 4\na 3\na 5\n")
    );
    let done = shown("error");
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.err.contains('a') && done.err.contains("re-order"), "{done:?}");
}
