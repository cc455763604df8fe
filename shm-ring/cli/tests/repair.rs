//! Repair: what the dead left is repaired and told; the living keep what they have.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::helper::Helper;
use common::{Rig, content};
use serde_json::Value;
use std::os::unix::fs::FileExt;

/// Not a test by itself: the processes that the others start.
#[test]
#[ignore = "the processes that the other tests start"]
fn helper() {
    common::helper::play();
}

fn repair_json(rig: &Rig, code: i32) -> Value {
    let done = rig.run(["repair", "app.ring", "--json"]);
    assert_eq!((done.code, done.err.as_str(), done.out.lines().count()), (code, "", 1), "{done:?}");
    serde_json::from_str(&done.out).unwrap()
}

// Goal: a ring that is well has nothing to repair, and keeps everything. Method: the records before and after; the promised keys.
#[test]
fn nothing_is_repaired_where_nothing_is_wrong() {
    let rig = Rig::with_ring("64K");
    rig.push(b"kept\n");
    assert_eq!(rig.ok(["repair", "app.ring"]), "app.ring: nothing to repair\n");
    let object = repair_json(&rig, 0);
    let mut keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut expected =
        vec!["path", "repaired", "producers", "claims", "bytes", "consumers", "members", "groups"];
    expected.extend(["epoch", "verdict", "repairable", "blocked", "findings"]);
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!((&object["repaired"], &object["verdict"]), (&false.into(), &"healthy".into()));
    assert_eq!(rig.messages(), "kept\n");
}

// Goal: what two dead producers left is given up, counted, and readers go on. Method: one dead in a claim, one between two.
#[test]
fn dead_producers_are_repaired() {
    for json in [false, true] {
        let rig = Rig::with_ring("64K");
        let helpers = ["open claim", "producer"].map(|role| Helper::start(role, &rig.ring()));
        helpers.into_iter().for_each(Helper::kill);
        if json {
            let object = repair_json(&rig, 0);
            let counts = ["producers", "claims", "bytes"].map(|key| object[key].as_u64().unwrap());
            assert_eq!((counts, &object["repaired"]), ([2, 1, 144], &true.into()));
        } else {
            let text = rig.ok(["repair", "app.ring"]);
            let expected = "app.ring: repaired\n- freed 2 slots of dead producers\n- gave up 1 unfinished claim of theirs, 144 bytes; \
                            readers are told\n";
            assert_eq!(text, expected);
        }
        assert_eq!(rig.messages(), "before\n");
        assert_eq!(rig.ok(["repair", "app.ring"]), "app.ring: nothing to repair\n");
    }
}

// Goal: the living keep what they have, and what they leave unrepaired is told, with code 10. Method: a stopped claim beside a dead one.
#[test]
fn nothing_is_taken_from_the_living() {
    let rig = Rig::with_ring("64K");
    let alive = Helper::start("open claim", &rig.ring());
    Helper::start("open claim", &rig.ring()).kill();
    alive.stop();
    let done = rig.run(["repair", "app.ring"]);
    assert_eq!(done.code, 10, "{done:?}");
    for word in ["freed 1 slot of dead producers", "left as it is:", &format!("`kill -CONT {}`", alive.pid())]
    {
        assert!(done.out.contains(word), "{word}: {done:?}");
    }
    assert_eq!(rig.stat()["producers"][0]["alive"], true);
    alive.signal(nix::sys::signal::Signal::SIGCONT);
    alive.finish();
    assert_eq!(rig.records().len(), 3);
    rig.ok(["doctor", "app.ring"]);
}

// Goal: a ring of before the last boot gets its new epoch. Method: another boot id in the file.
#[test]
fn a_new_epoch_is_begun_and_told() {
    let rig = Rig::with_ring("64K");
    rig.push(b"old\n");
    let file = std::fs::OpenOptions::new().write(true).open(rig.ring()).unwrap();
    file.write_all_at(&[0x5a; 16], 4096 + 392).unwrap();
    assert!(rig.ok(["repair", "app.ring"]).contains("began epoch 1"));
    assert_eq!(rig.messages(), "");
    assert_eq!(rig.stat()["rebooted"], false);
    assert_eq!(repair_json(&rig, 0)["epoch"], Value::Null);
}

// Goal: repair refuses what push refuses, with its codes, and leaves it alone. Method: missing, a text, a ring that others can write.
#[test]
fn repair_refuses_what_push_refuses() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::with_ring("64K");
    Helper::start("producer", &rig.ring()).kill();
    std::fs::set_permissions(rig.ring(), std::fs::Permissions::from_mode(0o666)).unwrap();
    std::fs::write(rig.path("text"), "some text").unwrap();
    let before = content(&rig.ring());
    for (ring, code, word) in [("no.ring", 3, "no.ring"), ("text", 4, "not a ring"), ("app.ring", 1, "0666")]
    {
        let done = rig.run(["repair", ring]);
        assert_eq!((done.code, done.out.as_str()), (code, ""), "{done:?}");
        assert!(done.err.contains(word), "{done:?}");
    }
    assert!(content(&rig.ring()) == before);
    assert_eq!(rig.run(["doctor", "app.ring"]).code, 9);
}
