//! Stat: what the tables say, to people and programs.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Done, Rig, numbers, signal, wait_until};
use nix::sys::signal::Signal;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

fn keys(object: &serde_json::Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

// Goal: the keys that programs rely on, one object on one line. Method: a ring with a producer and a consumer.
#[test]
fn json_has_the_promised_keys() {
    let rig = Rig::with_ring("64K");
    rig.push(b"x\n");
    rig.ok(["tail", "app.ring", "--consumer", "c", "--durable", "--oldest"]);
    assert_eq!(rig.ok(["stat", "app.ring", "--json"]).lines().count(), 1);
    let stat = rig.stat();
    let mut expected = vec![
        "path",
        "uuid",
        "capacity_bytes",
        "mode",
        "permissions",
        "layout_version",
        "metadata",
        "created_ns",
        "epoch",
        "tail",
        "oldest",
        "lost_records",
        "lost_bytes",
        "rebooted",
        "repairing",
        "producers",
        "consumers",
    ];
    expected.sort_unstable();
    assert_eq!(keys(&stat), expected);
    let mut expected =
        vec!["slot", "pid", "alive", "records", "bytes", "refused", "waited", "dropped", "lost"];
    expected.sort_unstable();
    assert_eq!(keys(&stat["producers"][0]), expected);
    let mut expected = vec![
        "slot",
        "name",
        "pid",
        "alive",
        "position",
        "lag_bytes",
        "durable",
        "missed_bytes",
        "holds_space",
        "group",
        "members",
        "member_of",
    ];
    expected.sort_unstable();
    assert_eq!(keys(&stat["consumers"][0]), expected);
    assert_eq!((&stat["path"], &stat["mode"]), (&"app.ring".into(), &"shared".into()));
    assert_eq!((&stat["permissions"], &stat["capacity_bytes"]), (&"0600".into(), &65_536.into()));
    assert_eq!(stat["uuid"].as_str().unwrap().len(), 36);
    let consumer = &stat["consumers"][0];
    assert_eq!((&consumer["name"], &consumer["durable"]), (&"c".into(), &true.into()));
    assert_eq!((&consumer["alive"], &consumer["holds_space"]), (&false.into(), &true.into()));
    assert_eq!((&consumer["position"], &consumer["lag_bytes"]), (&stat["tail"], &0.into()));
}

// Goal: it is seen who lives, who left and who died, and the totals are right whoever it was. Method: a push that runs, that ends, that
// is killed, and another in the same slot.
#[test]
fn the_living_and_the_dead_are_told_apart() {
    let rig = Rig::with_ring("64K");
    let mut push = rig.start_with_stdin(["push", "app.ring"]);
    push.stdin.as_mut().unwrap().write_all(numbers(1..=3).as_bytes()).unwrap();
    wait_until("three records", || rig.records().len() == 3);
    let producer = rig.stat()["producers"][0].clone();
    assert_eq!((&producer["alive"], &producer["pid"]), (&true.into(), &push.id().into()));
    assert_eq!((&producer["records"], &producer["slot"]), (&3.into(), &0.into()));

    signal(&push, Signal::SIGKILL);
    let pid = push.id();
    assert_eq!(Done::of(push).code, 137);
    let producer = rig.stat()["producers"][0].clone();
    assert_eq!(
        (&producer["alive"], &producer["pid"], &producer["records"]),
        (&false.into(), &pid.into(), &3.into())
    );

    rig.push(b"one more\n");
    let stat = rig.stat();
    assert_eq!(stat["producers"].as_array().unwrap().len(), 1, "the slot was used again");
    let producer = &stat["producers"][0];
    assert_eq!(
        (&producer["alive"], &producer["pid"], &producer["records"]),
        (&false.into(), &0.into(), &4.into())
    );
}

// Goal: stat takes nothing and changes nothing. Method: the file's bytes before and after, its mode read-only.
#[test]
fn stat_leaves_the_ring_as_it_is() {
    let rig = Rig::with_ring("64K");
    rig.push(b"x\n");
    std::fs::set_permissions(rig.ring(), std::fs::Permissions::from_mode(0o444)).unwrap();
    let before = common::content(&rig.ring());
    rig.ok(["stat", "app.ring"]);
    assert_eq!(rig.stat()["permissions"], "0444");
    assert_eq!(rig.messages(), "x\n");
    assert!(common::content(&rig.ring()) == before);
}

// Goal: watching works on other people's rings, writing does not, and says whose it is. Method: give the file away, where we may.
#[test]
fn rings_of_others_can_be_watched_only() {
    let rig = Rig::with_ring("64K");
    rig.push(b"theirs\n");
    if std::os::unix::fs::chown(rig.ring(), Some(65_534), None).is_err() {
        // Only root can.
        return;
    }
    assert_eq!(rig.stat()["producers"][0]["records"], 1);
    assert_eq!(rig.messages(), "theirs\n");
    for args in [&["push", "app.ring"][..], &["exec", "app.ring", "--", "true"]] {
        let done = rig.run(args);
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.err.contains("65534"), "{done:?}");
    }
}

// Goal: people see the same. Method: words and numbers of the table.
#[test]
fn the_table_shows_what_json_does() {
    let rig = Rig::new();
    rig.ok(["create", "app.ring", "--capacity", "64K", "--single-producer", "--mode", "0640"]);
    rig.push(b"four\n");
    rig.ok(["tail", "app.ring", "--consumer", "reader", "--oldest"]);
    let table = rig.ok(["stat", "app.ring"]);
    let stat = rig.stat();
    for word in
        ["64 KiB", "exclusive", "0640", "PRODUCER", "CONSUMER", "reader", stat["uuid"].as_str().unwrap()]
    {
        assert!(table.contains(word), "{word} in:\n{table}");
    }
    assert!(table.contains(&stat["tail"].to_string()), "{table}");
    assert_eq!(stat["mode"], "exclusive");
}
