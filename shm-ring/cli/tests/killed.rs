//! Killed: writers that die by SIGKILL all the time, under a reader that is to miss nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use common::{Rig, objects};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::process::{Child, ChildStdin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For a longer look: `SHM_RING_KILL_SECONDS=60 cargo test -p shm-ring-cli --test killed`.
fn how_long() -> Duration {
    let seconds = std::env::var("SHM_RING_KILL_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// Starts `push` under a tag.
fn push(rig: &Rig, tag: &str) -> (Child, ChildStdin) {
    let mut child = rig.start_with_stdin(["push", "app.ring", "--tag", tag]);
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

/// Writes numbered lines until nobody reads them, or it is time; how many were written.
fn feed(mut stdin: ChildStdin, is_over: &AtomicBool) -> u64 {
    let mut n = 0;
    while !is_over.load(Ordering::Relaxed) {
        let lines: String = (n + 1..=n + 20).map(|n| format!("{n}\n")).collect();
        if stdin.write_all(lines.as_bytes()).is_err() {
            break;
        }
        n += 20;
        std::thread::sleep(Duration::from_micros(500));
    }
    n
}

// Goal: `kill -9` of some writers, again and again, takes nothing from the others, leaves no hole in what the dead had pushed, and
// keeps the reader going. Method: four pushes and a reliable tail into a file; two of the pushes are killed and replaced in a loop.
#[test]
fn writers_that_are_killed_take_nothing_from_the_others() {
    let rig = Rig::with_ring("256KiB");
    let _watchdog = common::watch_over(&rig, how_long());
    let out = File::create(rig.path("out")).unwrap();
    let args = ["tail", "app.ring", "-f", "--oldest", "--consumer", "all", "-o", "json", "--idle", "3s"];
    let mut tail = rig.tool(args).stdout(out).spawn().unwrap();
    common::wait_until("the reader holds space", || rig.stat()["consumers"][0]["holds_space"] == true);
    let (is_over, kills) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    let fed: HashMap<String, u64> = std::thread::scope(|scope| {
        let (rig, is_over, kills) = (&rig, &is_over, &kills);
        let survivors = ["a", "b"].map(|tag| {
            scope.spawn(move || {
                let (mut child, stdin) = push(rig, tag);
                let n = feed(stdin, is_over);
                assert!(child.wait().unwrap().success(), "{tag} was not killed");
                vec![(tag.to_owned(), n)]
            })
        });
        let victims = ["x", "y"].map(|name| {
            scope.spawn(move || {
                let mut lives = vec![];
                while !is_over.load(Ordering::Relaxed) {
                    let tag = format!("{name}{}", lives.len());
                    let (mut child, stdin) = push(rig, &tag);
                    let feeding = scope.spawn(move || feed(stdin, is_over));
                    std::thread::sleep(Duration::from_millis(5 + lives.len() as u64 * 7 % 40));
                    child.kill().unwrap();
                    child.wait().unwrap();
                    kills.fetch_add(1, Ordering::Relaxed);
                    lives.push((tag, feeding.join().unwrap()));
                }
                lives
            })
        });
        std::thread::sleep(how_long());
        is_over.store(true, Ordering::Relaxed);
        survivors.into_iter().chain(victims).flat_map(|thread| thread.join().unwrap()).collect()
    });
    // It ends by itself when nothing comes any more.
    assert!(tail.wait().unwrap().success());
    let mut seen: HashMap<String, u64> = HashMap::new();
    for object in objects(&String::from_utf8(common::content(&rig.path("out"))).unwrap()) {
        let tag = object["tag"].as_str().unwrap().to_owned();
        let next = seen.entry(tag.clone()).or_default();
        *next += 1;
        assert_eq!(object["message"].as_str().unwrap(), next.to_string(), "of {tag}");
    }
    for tag in ["a", "b"] {
        assert_eq!(seen.get(tag), fed.get(tag), "of {tag}, which was not killed");
    }
    for (tag, n) in &seen {
        assert!(n <= &fed[tag], "{n} lines of {tag}, {} were fed", fed[tag]);
    }
    let (kills, stat) = (kills.load(Ordering::Relaxed), rig.stat());
    println!(
        "{kills} kills in {:?}, {} lines, {} claims lost",
        start.elapsed(),
        seen.values().sum::<u64>(),
        stat["lost_records"]
    );
    assert!(kills > 20 && stat["lost_records"].as_u64().unwrap() <= kills, "{kills} kills, {stat}");
    assert_eq!(stat["consumers"][0]["lag_bytes"], 0);
}
