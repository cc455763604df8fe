//! Refusals: what is wrong is one line on stderr and its own exit code, and the file is left alone.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Done, Rig, content};
use std::process::Stdio;

/// Every command that opens a ring.
fn commands(ring: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["push", ring],
        vec!["exec", ring, "--", "true"],
        vec!["tail", ring],
        vec!["tail", "-f", ring],
        vec!["tail", ring, "--consumer", "c"],
        vec!["stat", ring],
        vec!["stat", ring, "--json"],
        vec!["doctor", ring],
        vec!["repair", ring],
        vec!["repair", ring, "--json"],
    ]
}

fn assert_refused(done: &Done, code: i32, words: &[&str]) {
    assert_eq!(done.code, code, "{done:?}");
    assert_eq!(done.out, "", "{done:?}");
    assert_eq!(done.err.lines().count(), 1, "{done:?}");
    assert!(done.err.starts_with("shm-ring: "), "{done:?}");
    for word in words {
        assert!(done.err.contains(word), "{word}: {done:?}");
    }
}

// Goal: a ring that is not there is code 3, named, and is not made by reading. Method: every command that reads.
#[test]
fn a_missing_ring_is_code_3() {
    let rig = Rig::new();
    for args in [
        &["tail", "no.ring"][..],
        &["tail", "-f", "no.ring"],
        &["tail", "no.ring", "--consumer", "c"],
        &["stat", "no.ring"],
        &["doctor", "no.ring"],
        &["repair", "no.ring"],
    ] {
        assert_refused(&rig.run(args), 3, &["no.ring", "does not exist"]);
    }
    assert!(!rig.path("no.ring").exists());
}

// Goal: what is no ring is code 4 for every command, and is left as it was. Method: a text file, an empty one, a device, a directory,
// a link.
#[test]
fn what_is_no_ring_is_code_4() {
    let rig = Rig::with_ring("64K");
    std::fs::write(rig.path("text"), "some lines\nof text\n").unwrap();
    std::fs::write(rig.path("empty"), "").unwrap();
    std::fs::create_dir(rig.path("directory")).unwrap();
    std::os::unix::fs::symlink(rig.ring(), rig.path("link")).unwrap();
    for name in ["text", "empty", "directory", "link", "/dev/null"] {
        for args in commands(name) {
            assert_refused(&rig.run(args), 4, &[name]);
        }
    }
    assert_eq!(content(&rig.path("text")), b"some lines\nof text\n");
    assert_eq!(content(&rig.path("empty")), b"");
}

// Goal: a damaged ring is code 4 for every command, and is left as it was. Method: a copy cut short, one with a byte too many, one with
// a changed version, and noise over the header, byte by byte.
#[test]
fn a_damaged_ring_is_code_4_and_unchanged() {
    let rig = Rig::with_ring("64K");
    rig.push(b"x\n");
    let good = content(&rig.ring());
    let mut damaged = vec![good[..good.len() / 2].to_vec(), good[..10].to_vec(), [&good[..], b"x"].concat()];
    for at in 0..16 {
        let mut bytes = good.clone();
        bytes[at] ^= 0x5a;
        damaged.push(bytes);
    }
    let mut noise = good.clone();
    for (i, byte) in noise[..4096].iter_mut().enumerate() {
        *byte = u8::try_from((i * 167 + 13) % 251).unwrap();
    }
    damaged.push(noise);
    for bytes in damaged {
        std::fs::write(rig.path("damaged"), &bytes).unwrap();
        for args in commands("damaged") {
            assert_refused(&rig.run(args), 4, &["damaged"]);
        }
        assert!(content(&rig.path("damaged")) == bytes);
    }
}

// Goal: create never touches what is there. Method: create twice, over a ring and over a text.
#[test]
fn create_refuses_what_exists() {
    let rig = Rig::with_ring("64K");
    rig.push(b"kept\n");
    assert_refused(&rig.run(["create", "app.ring"]), 1, &["app.ring", "exists"]);
    assert_eq!(rig.messages(), "kept\n");
    std::fs::write(rig.path("text"), "kept").unwrap();
    assert_eq!(rig.run(["create", "text"]).code, 1);
    assert_eq!(content(&rig.path("text")), b"kept");
    assert_refused(&rig.run(["create", "no/such/directory.ring"]), 1, &["directory.ring"]);
}

// Goal: create says what it made, and makes what was asked for. Method: every flag, then stat.
#[test]
fn create_makes_what_was_asked_for() {
    let rig = Rig::new();
    let args =
        ["create", "app.ring", "--capacity", "100K", "--single-producer", "--no-metadata", "--mode", "640"];
    let out = rig.ok(args);
    let stat = rig.stat();
    assert_eq!(out, format!("created app.ring 128 KiB v1 uuid {}\n", stat["uuid"].as_str().unwrap()));
    assert_eq!((&stat["mode"], &stat["metadata"]), (&"exclusive".into(), &false.into()));
    assert_eq!((&stat["permissions"], &stat["capacity_bytes"]), (&"0640".into(), &131_072.into()));
    rig.ok(["create", "small.ring", "--producers", "1", "--consumers", "1"]);
    rig.ok(["tail", "small.ring", "--consumer", "a", "--durable"]);
    let full = rig.run(["tail", "small.ring", "--consumer", "b"]);
    assert_eq!(full.code, 1, "{full:?}");
}

// Goal: arguments that can't be are code 2 and make nothing. Method: one of each kind.
#[test]
fn wrong_usage_is_code_2() {
    let rig = Rig::with_ring("64K");
    let wrong: [&[&str]; 18] = [
        &[],
        &["no-such-command"],
        &["create"],
        &["create", "new.ring", "--capacity", "8 bananas"],
        &["create", "new.ring", "--mode", "9"],
        &["create", "new.ring", "--producers", "0"],
        &["create", "new.ring", "--consumers", "5000"],
        &["push", "app.ring", "--level", "loud"],
        &["push", "app.ring", "--raw", "--tag", "t"],
        &["tail", "app.ring", "-g", "("],
        &["tail", "app.ring", "--oldest", "-n", "1"],
        &["tail", "app.ring", "--idle", "2"],
        &["tail", "app.ring", "--durable"],
        &["tail", "app.ring", "--consumer", "a", "--group", "b"],
        &["push", "app.ring", "--when-full", "explode"],
        &["push", "app.ring", "--when-full", "drop", "--no-wait"],
        &["doctor", "app.ring", "--for", "2"],
        &["tail", "app.ring", "--since", "yesterday"],
    ];
    for args in wrong {
        let done = rig.run(args);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{args:?}: {done:?}");
        assert!(!done.err.is_empty());
    }
    assert!(!rig.path("new.ring").exists());
}

// Goal: the ring can come from the environment. Method: push and exec without a ring among their arguments.
#[test]
fn the_ring_can_come_from_the_environment() {
    let rig = Rig::with_ring("64K");
    let run = |args: &[&str]| {
        Done::of(rig.tool(args).env("SHM_RING", "app.ring").stdout(Stdio::piped()).spawn().unwrap())
    };
    assert_eq!(run(&["exec", "--", "echo", "x"]).code, 0);
    assert_eq!(run(&["tail", "-o", "raw"]).out, "x\n");
}

// Goal: shells can be taught, and the version be asked. Method: every shell has a script that knows the commands.
#[test]
fn completions_know_the_commands() {
    let rig = Rig::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = rig.ok(["completions", shell]);
        assert!(
            ["push", "exec", "tail", "stat", "doctor", "repair", "bench"]
                .iter()
                .all(|command| script.contains(command)),
            "{shell}"
        );
    }
    assert!(rig.ok(["--version"]).starts_with("shm-ring "));
    assert!(rig.ok(["tail", "--help"]).contains("message_base64"));
}
