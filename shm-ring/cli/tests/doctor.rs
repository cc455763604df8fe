//! Doctor: what is wrong is named, with who it is and what to do; what is well is not talked about.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::helper::{Helper, stop};
use common::{Done, Rig, content, numbers, signal, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::os::unix::fs::{FileExt, PermissionsExt};

/// Not a test by itself: the processes that the others start.
#[test]
#[ignore = "the processes that the other tests start"]
fn helper() {
    common::helper::play();
}

/// The tool's opinion, for people and for programs, which must agree.
fn doctor(rig: &Rig, code: i32) -> (String, Value) {
    let mut before = content(&rig.ring());
    // A reader that has everything may still be on its way to sleep, which it notes.
    wait_until("nobody else changes the ring", || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let last = std::mem::replace(&mut before, content(&rig.ring()));
        last == before
    });
    let (people, programs) = (rig.run(["doctor", "app.ring"]), rig.run(["doctor", "app.ring", "--json"]));
    assert_eq!((people.code, programs.code), (code, code), "{people:?}\n{programs:?}");
    assert_eq!((people.err.as_str(), programs.err.as_str()), ("", ""));
    assert!(content(&rig.ring()) == before, "it changed the ring");
    assert_eq!(programs.out.lines().count(), 1);
    let object: Value = serde_json::from_str(&programs.out).unwrap();
    let verdict = match code {
        0 => "healthy",
        9 => "repairable",
        _ => "blocked",
    };
    assert_eq!(object["verdict"], verdict);
    assert_eq!(object["path"], "app.ring");
    assert!(people.out.starts_with(&format!("app.ring: {verdict}")), "{}", people.out);
    for finding in object["findings"].as_array().unwrap() {
        for key in ["kind", "severity", "message", "advice"] {
            assert!(!finding[key].as_str().unwrap().is_empty(), "{key}: {finding}");
        }
        // The first words: ages grow between the two runs.
        let message: String = finding["message"].as_str().unwrap().chars().take(30).collect();
        assert!(people.out.contains(&message), "{finding}\n{}", people.out);
    }
    (people.out, object)
}

/// The only finding of that kind.
fn finding<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let all: Vec<_> = object["findings"].as_array().unwrap().iter().filter(|f| f["kind"] == kind).collect();
    assert_eq!(all.len(), 1, "{kind} in {object}");
    all[0]
}

fn assert_contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} in:\n{text}");
    }
}

// Goal: a ring that is well is healthy, in three lines, and exit code 0. Method: new; with records; with somebody attached on both sides.
#[test]
fn a_ring_that_is_well_is_healthy() {
    let rig = Rig::with_ring("64K");
    let (text, object) = doctor(&rig, 0);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert_eq!(
        (&object["repairable"], &object["blocked"], &object["findings"]),
        (&false.into(), &false.into(), &Value::Array(vec![]))
    );
    rig.push(numbers(1..=3).as_bytes());
    let push = rig.start_with_stdin(["push", "app.ring"]);
    let tail = rig.start(["tail", "app.ring", "-f", "--consumer", "c"]);
    wait_until("both are attached", || {
        let stat = rig.stat();
        stat["producers"][0]["alive"] == true && stat["consumers"][0]["holds_space"] == true
    });
    let (text, _) = doctor(&rig, 0);
    assert_contains(
        &text,
        &["64 KiB", "3 records", "1 producer and 1 reliable reader attached", "nothing lost"],
    );
    signal(&tail, Signal::SIGTERM);
    drop((push, Done::of(tail)));
}

// Goal: who is stopped inside a claim is named, with the way out, and both ways out work. Method: a process that is stopped in one, with
// a record behind it and a reader in front; continued; killed.
#[test]
fn a_stopped_producer_is_named() {
    for ending in [Signal::SIGCONT, Signal::SIGKILL] {
        let rig = Rig::with_ring("64K");
        let helper = Helper::start("open claim", &rig.ring());
        rig.push(b"behind\n");
        helper.stop();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let (_, object) = doctor(&rig, 10);
        let claim = finding(&object, "open_claim");
        let age = |key: &str| claim[key].as_u64().unwrap();
        assert!(age("age_min_ms") >= 300 && age("age_max_ms") >= age("age_min_ms"), "{claim}");
        let tail = rig.start(["tail", "app.ring", "-f", "--oldest", "-o", "raw", "--consumer", "c"]);
        wait_until("the reader waits", || rig.stat()["consumers"][0]["position"] == 48);
        let (text, object) = doctor(&rig, 10);
        let pid = helper.pid();
        let claim = finding(&object, "open_claim");
        assert_eq!(
            (&claim["slot"], &claim["pid"], &claim["state"]),
            (&0.into(), &pid.into(), &"stopped".into())
        );
        // 16 of the header, 16 of the metadata, 100 of payload, in steps of 16; behind a record of 6 bytes.
        assert_eq!(
            (&claim["position"], &claim["bytes"], &claim["percent"]),
            (&48.into(), &144.into(), &0.into())
        );
        assert_eq!((&claim["pid_here"], &claim["process"].is_string()), (&pid.into(), &true));
        assert_eq!(claim["waiting"][0], "consumer \"c\"");
        let (go_on, give_up) = (format!("`kill -CONT {pid}`"), format!("`kill -9 {pid}`"));
        assert_contains(&text, &["readers wait", "producer 0", "144 bytes", "stopped", &go_on, &give_up]);
        assert_eq!(rig.stat()["lost_records"], 0, "nothing is taken from it");
        helper.signal(ending);
        if ending == Signal::SIGCONT {
            helper.finish();
        } else {
            helper.kill();
        }
        wait_until("the reader has everything", || rig.stat()["consumers"][0]["lag_bytes"] == 0);
        doctor(&rig, 0);
        signal(&tail, Signal::SIGTERM);
        let lines = if ending == Signal::SIGCONT { 3 } else { 2 };
        assert_eq!(Done::of(tail).out.lines().count(), lines);
    }
}

// Goal: a claim that is merely in progress is nothing to talk about, however often one looks. Method: a push that never rests.
#[test]
fn a_claim_in_progress_is_not_stalled() {
    let rig = Rig::with_ring("1MiB");
    let mut push = rig.start_with_stdin(["push", "app.ring"]);
    let mut stdin = push.stdin.take().unwrap();
    let writing = std::thread::spawn(move || {
        use std::io::Write;
        while stdin.write_all(&[b"line\n".repeat(1000)].concat()).is_ok() {}
    });
    for _ in 0..5 {
        let done = rig.run(["doctor", "app.ring"]);
        assert_eq!(done.code, 0, "{done:?}");
    }
    push.kill().unwrap();
    push.wait().unwrap();
    writing.join().unwrap();
}

// Goal: what a dead producer left is repairable, named, and repaired. Method: killed inside a claim, and between two.
#[test]
fn a_dead_producer_is_repairable() {
    for role in ["open claim", "producer"] {
        let rig = Rig::with_ring("64K");
        let helper = Helper::start(role, &rig.ring());
        let pid = helper.pid();
        helper.kill();
        let (text, object) = doctor(&rig, 9);
        let dead = finding(&object, "dead_producer");
        assert_eq!((&dead["slot"], &dead["pid"]), (&0.into(), &pid.into()));
        let in_a_claim = role == "open claim";
        assert_eq!(dead["bytes"].as_u64(), in_a_claim.then_some(144));
        assert_contains(
            &text,
            &["the dead left 1 thing to repair", "`shm-ring repair app.ring`", &pid.to_string()],
        );
        rig.ok(["repair", "app.ring"]);
        let (text, object) = doctor(&rig, 0);
        assert_eq!(text.contains("has lost 1 claim"), in_a_claim, "{text}");
        assert_eq!(object["findings"].as_array().unwrap().len(), usize::from(in_a_claim));
    }
}

// Goal: who reads nothing of a full ring is named, and what it does. Method: a stopped tail, a full ring.
#[test]
fn a_stopped_consumer_that_holds_a_full_ring_is_named() {
    let rig = Rig::with_ring("64K");
    let tail = rig.start(["tail", "app.ring", "-f", "--consumer", "collector"]);
    wait_until("it is attached", || rig.stat()["consumers"][0]["holds_space"] == true);
    stop(&tail);
    let (text, object) = doctor(&rig, 0);
    assert_eq!(finding(&object, "stopped_reader")["state"], "stopped");
    assert_contains(&text, &["0 % behind", "producers will wait for it"]);
    assert_eq!(rig.run_with(["push", "app.ring", "--no-wait"], numbers(1..=10_000).as_bytes()).code, 5);
    let (text, object) = doctor(&rig, 10);
    let full = finding(&object, "full");
    let pid = tail.id();
    assert_eq!(
        (&full["name"], &full["pid"], &full["state"]),
        (&"collector".into(), &pid.into(), &"stopped".into())
    );
    assert!(full["percent"].as_u64() >= Some(98), "{full}");
    let who =
        format!("full: consumer \"collector\" (pid {pid} \"shm-ring\") is {} % behind", full["percent"]);
    assert_contains(&text, &["producers wait", &who, "and stopped", &format!("`kill -CONT {pid}`")]);
    signal(&tail, Signal::SIGCONT);
    let reading = std::thread::spawn(move || Done::of(tail));
    wait_until("it has read everything", || rig.stat()["consumers"][0]["lag_bytes"] == 0);
    doctor(&rig, 0);
    rig.run(["push", "app.ring", "--raw"]);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(reading.join().unwrap().code, 0);
}

// Goal: a durable name that nobody has is told of, before and when it holds the ring full, and the advice works. Method: fill a ring by
// half, then whole; do as it says.
#[test]
fn an_absent_durable_name_is_named() {
    let rig = Rig::with_ring("64K");
    rig.hold();
    rig.push(numbers(1..=700).as_bytes());
    let (text, object) = doctor(&rig, 0);
    assert_eq!(finding(&object, "absent_name")["severity"], "note");
    assert_contains(&text, &["will wait"]);
    assert_eq!(rig.run_with(["push", "app.ring", "--no-wait"], numbers(1..=10_000).as_bytes()).code, 5);
    let (text, object) = doctor(&rig, 10);
    let absent = finding(&object, "absent_name");
    assert_eq!((&absent["name"], &absent["severity"]), (&"holder".into(), &"blocked".into()));
    let advice = "`shm-ring tail app.ring --consumer holder --oldest`";
    assert_contains(&text, &["full: consumer \"holder\" is durable, nobody reads under it", advice]);
    assert_eq!(rig.run(["repair", "app.ring"]).code, 10, "nothing is taken from it");
    rig.ok(["tail", "app.ring", "--consumer", "holder", "--oldest"]);
    doctor(&rig, 0);
    assert_eq!(rig.stat()["consumers"][0]["durable"], false);
}

// Goal: a dead consumer is repairable, whether its name stays or not; the hold of one that stays counts for itself. Method: kill both
// kinds, with a full ring.
#[test]
fn a_dead_consumer_is_repairable() {
    for (durable, code) in [(&[][..], 9), (&["--durable"], 10)] {
        let rig = Rig::with_ring("64K");
        let mut tail = rig.start([&["tail", "app.ring", "-f", "--consumer", "c"], durable].concat());
        wait_until("it is attached", || rig.stat()["consumers"][0]["holds_space"] == true);
        wait_until("it is durable", || rig.stat()["consumers"][0]["durable"] == !durable.is_empty());
        stop(&tail);
        assert_eq!(rig.run_with(["push", "app.ring", "--no-wait"], numbers(1..=10_000).as_bytes()).code, 5);
        tail.kill().unwrap();
        tail.wait().unwrap();
        let (text, object) = doctor(&rig, code);
        let dead = finding(&object, "dead_consumer");
        assert_eq!((&dead["name"], &dead["pid"]), (&"c".into(), &tail.id().into()));
        assert_eq!(object["repairable"], true);
        assert_contains(&text, &["died", "1 thing to repair"]);
        let done = rig.run(["repair", "app.ring"]);
        assert_eq!(done.code, if code == 9 { 0 } else { 10 }, "{done:?}");
        assert_contains(&done.out, &["freed the slot of dead consumer \"c\" (pid "]);
        doctor(&rig, if code == 9 { 0 } else { 10 });
    }
}

// Goal: a group's dead member is named, and so is what becomes of its record. Method: the only member, killed at work, of a group that
// lets go and of a durable one; a second one lives.
#[test]
fn a_dead_member_is_repairable() {
    let rig = Rig::with_ring("64K");
    rig.push(numbers(1..=2).as_bytes());
    let helper = Helper::start("member at work", &rig.ring());
    doctor(&rig, 0);
    helper.kill();
    let (text, object) = doctor(&rig, 9);
    assert_eq!(finding(&object, "dead_member")["name"], "workers");
    assert_eq!(finding(&object, "group_without_members")["percent"], 0);
    assert_contains(&text, &["member of group \"workers\"", "2 things", "no living member"]);
    rig.ok(["repair", "app.ring"]);
    doctor(&rig, 0);
    assert_eq!(rig.ok(["tail", "app.ring", "--group", "workers", "-o", "raw"]), "1\n2\n");

    let rig = Rig::with_ring("64K");
    rig.push(numbers(1..=2).as_bytes());
    Helper::start("durable member at work", &rig.ring()).kill();
    doctor(&rig, 9);
    rig.ok(["repair", "app.ring"]);
    let (text, object) = doctor(&rig, 0);
    assert_eq!(finding(&object, "orphan")["position"], 0);
    assert_contains(&text, &["waits for a living one", "--group workers"]);
    rig.ok(["tail", "app.ring", "--group", "workers"]);
    doctor(&rig, 0);
}

// Goal: a ring of before the last boot is said to be one, and nothing that its tables say is believed. Method: another boot id in the
// file, at the place that the format gives, and a dead producer.
#[test]
fn a_ring_of_before_the_last_boot_is_told() {
    let rig = Rig::with_ring("64K");
    Helper::start("open claim", &rig.ring()).kill();
    forge_a_boot(&rig);
    let (text, object) = doctor(&rig, 9);
    assert_eq!(object["findings"].as_array().unwrap().len(), 1, "{text}");
    assert_eq!(finding(&object, "reboot")["epoch"], 0);
    assert_contains(&text, &["booted", "begins epoch 1"]);
    assert_eq!(rig.stat()["rebooted"], true);
    rig.push(b"new\n");
    doctor(&rig, 0);
}

fn forge_a_boot(rig: &Rig) {
    let file = std::fs::OpenOptions::new().write(true).open(rig.ring()).unwrap();
    file.write_all_at(&[0x5a; 16], 4096 + 392).unwrap();
}

// Goal: who holds the repair lock for long is named. Method: hold it, under a pid that is visible here and under one that is not.
#[test]
fn a_repair_lock_that_is_held_is_told() {
    let rig = Rig::with_ring("64K");
    let lock = hold_byte_0(&rig, 1);
    assert!(!doctor(&rig, 10).0.contains("kill -"), "pid 1 has not mapped it");
    drop(lock);
    doctor(&rig, 0);
    let _lock = hold_byte_0(&rig, 0x7fff_fff0);
    let (text, object) = doctor(&rig, 10);
    assert_eq!(finding(&object, "repair_lock")["pid"], 0x7fff_fff0);
    assert!(finding(&object, "repair_lock")["pid_here"].is_null());
    assert!(!text.contains("kill -"), "a number that may be anybody's: {text}");
    assert_contains(&text, &["nobody can attach", "pid 2147483632, as its own namespace numbers it"]);
    let done = rig.run(["repair", "app.ring"]);
    assert_eq!(done.code, 10, "{done:?}");
    assert_contains(&done.out, &["nothing was repaired", "repair lock"]);
}

fn hold_byte_0(rig: &Rig, pid: u64) -> std::fs::File {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(rig.ring()).unwrap();
    file.write_all_at(&pid.to_le_bytes(), 4096 + 408).unwrap();
    let whence = i16::try_from(libc::SEEK_SET).unwrap();
    let kind = i16::try_from(libc::F_WRLCK).unwrap();
    let lock = libc::flock { l_type: kind, l_whence: whence, l_start: 0, l_len: 1, l_pid: 0 };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    file
}

// Goal: what others can write is told, with what is possible, and is no illness. Method: mode 0666; another owner, where we may.
#[test]
fn rings_that_are_not_opened_are_explained() {
    let rig = Rig::with_ring("64K");
    std::fs::set_permissions(rig.ring(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let (text, object) = doctor(&rig, 0);
    finding(&object, "permissions");
    assert_contains(&text, &["0666", "chmod go-w app.ring"]);
    if std::os::unix::fs::chown(rig.ring(), Some(65_534), None).is_ok() {
        let (text, object) = doctor(&rig, 0);
        finding(&object, "owner");
        assert_contains(&text, &["uid 65534"]);
    }
}

// Goal: losses and scarce slots are noted with their numbers. Method: a push that drops; a ring with two names, both taken.
#[test]
fn losses_and_scarce_slots_are_noted() {
    let rig = Rig::new();
    rig.ok(["create", "app.ring", "--capacity", "64K", "--consumers", "2"]);
    rig.hold();
    rig.ok(["tail", "app.ring", "--consumer", "b"]);
    let done = rig.run_with(["push", "app.ring", "--when-full", "drop"], numbers(1..=10_000).as_bytes());
    assert_eq!(done.code, 0, "{done:?}");
    rig.unhold();
    let (text, object) = doctor(&rig, 0);
    let dropped = finding(&object, "loss")["records"].as_u64().unwrap();
    assert!(dropped > 1_000, "{dropped}");
    assert_eq!(
        (&finding(&object, "slots")["taken"], &finding(&object, "slots")["slots"]),
        (&2.into(), &2.into())
    );
    assert_contains(&text, &[&format!("has dropped {dropped} records"), "2 of 2 consumer slots"]);
}

// Goal: what is no ring has the library's word and its own code, and programs get an object all the same. Method: missing, a text, a
// ring cut short, another version, a frame that can't be.
#[test]
fn what_is_no_ring_is_told() {
    let rig = Rig::with_ring("64K");
    rig.push(b"x\n");
    let good = content(&rig.ring());
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // The first frame's state; the data begins behind the header, the live page and two tables of 64 slots.
    let state = 4096 * 6 + 4;
    let cases = [
        ("missing", None, 3, "missing"),
        ("text", Some(b"some text".to_vec()), 4, "not_a_ring"),
        ("short", Some(good[..good.len() / 2].to_vec()), 4, "truncated"),
        ("version", Some(changed(8, 9)), 4, "version"),
        ("header", Some(changed(48, 9)), 4, "corrupt"),
        ("frame", Some(changed(state - 4, 0xff)), 4, "corrupt"),
    ];
    for (name, bytes, code, kind) in cases {
        if let Some(mut bytes) = bytes {
            if name == "frame" {
                bytes[state - 3..state].fill(0xff);
            }
            std::fs::write(rig.path(name), bytes).unwrap();
            std::fs::set_permissions(rig.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let done = rig.run(["doctor", name]);
        assert_eq!((done.code, done.out.as_str()), (code, ""), "{name}: {done:?}");
        assert_eq!(done.err.lines().count(), 1, "{done:?}");
        assert_contains(&done.err, &["shm-ring: ", name]);
        let done = rig.run(["doctor", name, "--json"]);
        assert_eq!(done.code, code);
        let object: Value = serde_json::from_str(&done.out).unwrap();
        assert_eq!(object["verdict"], if code == 3 { "missing" } else { "unusable" });
        assert_eq!(
            (&object["findings"][0]["kind"], &object["findings"][0]["severity"]),
            (&kind.into(), &"fatal".into())
        );
    }
}
