//! Memory: `--mem` is kept.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::history::START_NS;
use common::{Done, Rig};
use std::fs::File;
use std::io::{Read, Write};
use std::process::Child;

const ROW_BYTES: usize = 4096;
const MIB: usize = 1 << 20;

/// So many files of rows of 4 KiB, each so long; times go through all of them.
fn files(rig: &Rig, directory: &str, n_files: usize, bytes: usize) {
    std::fs::create_dir(rig.path(directory)).unwrap();
    for file in 0..n_files {
        let mut content = vec![b'.'; bytes];
        for (at, row) in content.chunks_exact_mut(ROW_BYTES).enumerate() {
            let time = START_NS + (at * n_files + file) as u64;
            row[..8].copy_from_slice(&time.to_le_bytes());
        }
        let mut made = File::create(rig.path(directory).join(format!("{file:03}"))).unwrap();
        made.write_all(&content).unwrap();
        // What is not on the medium can't be let go of, and is mapped in folios of up to 2 MiB.
        made.sync_all().unwrap();
    }
}

/// The most that a process has had resident so far, in bytes.
fn resident_max(child: &Child) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10)
}

/// What a replay has resident at most: as long as it has more to write than we have read, it is there to be looked at.
fn resident_of(rig: &Rig, directory: &str, more: &[&str]) -> usize {
    let args = ["replay", directory, "--rows", "4096@0", "--speed", "max", "-o", "raw"];
    let mut child = rig.start(args.iter().chain(more));
    let mut out = child.stdout.take().unwrap();
    let (mut piece, mut resident) = (vec![0; 1 << 16], 0);
    while out.read(&mut piece).unwrap() > 0 {
        resident = resident.max(resident_max(&child).unwrap_or(0));
    }
    let done = Done::of(child);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    resident
}

// Goal: with --mem, a replay has not more resident than that, and what the tool itself needs; so it replays what is larger than memory.
// Method: 64 MiB through 8 MiB, beside a replay of one record, and beside one without a cap, which shows that there is something to be kept.
#[test]
fn a_replay_keeps_to_its_memory() {
    let rig = Rig::new();
    files(&rig, "one", 1, ROW_BYTES);
    files(&rig, "many", 16, 4 * MIB);
    let base = resident_of(&rig, "one", &[]);
    let free = resident_of(&rig, "many", &[]);
    let capped = resident_of(&rig, "many", &["--mem", "8M"]);
    assert!(capped <= base + 8 * MIB, "{} KiB, {} KiB of these its own", capped >> 10, base >> 10);
    assert!(free > base + 24 * MIB, "without a cap {} KiB, {} KiB of these its own", free >> 10, base >> 10);
}

// Goal: who wants less than can be done with is told so, before anything is replayed. Method: a page for 16 sources.
#[test]
fn too_little_memory_is_said_at_once() {
    let rig = Rig::new();
    files(&rig, "many", 16, ROW_BYTES);
    let done = rig.run(["replay", "many", "--rows", "4096@0", "-o", "raw", "--mem", "4K"]);
    assert!(done.code != 0 && done.out.is_empty() && done.err.contains("mem"), "{done:?}");
}
