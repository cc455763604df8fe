//! Quiet: what a commit costs while nobody sleeps.

use crate::harness::{PREFIX, Script, directory, say};
use shm_ring::{Ring, RingOptions};
use std::process::{Command, Stdio};

const RECORDS: u64 = 100_000;

#[test]
fn a_commit_makes_no_system_call_while_nobody_sleeps() {
    // Goal: pushing is loads and stores. Method: strace a process that pushes many laps of a ring with no reader, and look at what it
    // calls between its first word and its last.
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let directory = directory();
    let (ring, trace) = (directory.path().join("ring"), directory.path().join("trace"));
    RingOptions::new().capacity(64 << 10).create(&ring).unwrap();
    let status = Command::new("strace")
        .arg("-f")
        .arg("-o")
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["child::entry", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(format!("{PREFIX}ROLE"), "quiet::pusher")
        .env(format!("{PREFIX}path"), &ring)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let trace = std::fs::read_to_string(trace).unwrap();
    let between: Vec<_> = trace
        .lines()
        .skip_while(|l| !l.contains("@begin"))
        .skip(1)
        .take_while(|l| !l.contains("@end"))
        .collect();
    assert!(trace.contains("@begin") && trace.contains("@end"), "{trace}");
    assert!(between.is_empty(), "{RECORDS} commits made these calls: {between:#?}");
    let stats = Ring::open_observer(&ring).unwrap().stats().unwrap();
    assert_eq!(stats.producers[0].records, RECORDS);
}

pub(crate) fn pusher() {
    let mut producer = Ring::open(Script::path()).unwrap().producer().unwrap();
    say("begin");
    for n in 0..RECORDS {
        producer.push(&n.to_le_bytes()).unwrap();
    }
    say("end");
}
