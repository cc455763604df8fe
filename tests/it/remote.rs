//! Remote: a file system that somebody else has a share in is refused before anything is mapped, read or written there.
//!
//! ```text
//!   role: Ring::create, open, open_observer --> kernel --> /dev/fuse --> a thread that answers: one file, `ring`, and free names
//! ```
//! Numbers and structures of the answers: linux/fuse.h, version 7.31.

use crate::disks::mounts_of_its_own;
use crate::harness::{Actor, Script, directory, is_root_for, say};
use nix::mount::{MsFlags, mount};
use shm_ring::{Error, Ring, RingOptions};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

const HEADER_BYTES: usize = 40;
const RING: u64 = 2;
const NEW: u64 = 3;

#[test]
fn a_file_system_that_others_serve_is_refused() {
    // Goal: on FUSE, which stands for all that is not this machine's memory, nothing can be created, opened or watched; the error names path
    // and file system; nothing is left there, and what is there is neither read nor written. Method: a role serves one itself and asks.
    if !is_root_for("a_file_system_that_others_serve_is_refused") {
        return;
    }
    let directory = directory();
    let mut actor = Actor::start("remote::asker", &[("path", &directory.path().display())]);
    let line = actor.hear();
    if let Some(reason) = line.strip_prefix("can't mount") {
        println!("SKIPPED: no FUSE here: {reason}");
        return;
    }
    assert_eq!(line, "done");
    actor.finish();
}

pub(crate) fn asker() {
    let directory = Script::path();
    let seen = match serve(&directory) {
        Ok(seen) => seen,
        Err(error) => return say(&format!("can't mount: {error}")),
    };
    let (ring, new) = (directory.join("ring"), directory.join("new"));
    let create = |path: &Path| RingOptions::new().capacity(4096).create(path).map(drop);
    let refusals = [
        (&new, create(&new)),
        (&new, RingOptions::new().open_or_create(&new).map(drop)),
        (&ring, Ring::open(&ring).map(drop)),
        (&ring, RingOptions::new().open_or_create(&ring).map(drop)),
        (&ring, Ring::open_observer(&ring).map(drop)),
    ];
    for (path, result) in refusals {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::NetworkFileSystem { found: "FUSE", .. }), "{error:?}");
        assert_eq!(error.path(), Some(path.as_path()));
        let message = error.to_string();
        assert!(message.contains("/dev/shm") && message.contains(path.to_str().unwrap()), "{message}");
    }
    assert!(matches!(create(&ring), Err(Error::AlreadyExists { .. })));
    let seen = seen.lock().unwrap();
    assert!(seen.n_created > 0, "nobody tried");
    assert_eq!(seen.names, BTreeSet::new(), "something was left");
    assert_eq!(seen.n_touched, 0, "a file was read or written");
    say("done");
}

/// What the file system was asked for.
#[derive(Debug, Default)]
struct Seen {
    names: BTreeSet<Vec<u8>>,
    n_created: usize,
    n_touched: usize,
}

fn serve(directory: &Path) -> Result<Arc<Mutex<Seen>>, String> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(|e| e.to_string())?;
    mounts_of_its_own()?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    mount(Some("served"), directory, Some("fuse"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|e| e.to_string())?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = Arc::clone(&seen);
    std::thread::spawn(move || answer_all(device, &shared));
    Ok(seen)
}

fn answer_all(mut device: File, seen: &Mutex<Seen>) {
    let mut request = vec![0; 1 << 20];
    while let Ok(n) = device.read(&mut request) {
        let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        let (opcode, body) = (word(4), &request[HEADER_BYTES..n]);
        let node = u64::from_le_bytes(request[16..24].try_into().unwrap());
        let Some(reply) = answer(opcode, node, body, &mut seen.lock().unwrap()) else { continue };
        let (error, payload) = reply.map_or_else(|errno| (-errno, vec![]), |payload| (0, payload));
        let length = 16 + payload.len() as u32;
        let header = [&length.to_le_bytes()[..], &error.to_le_bytes(), &request[8..16]].concat();
        let _ = device.write_all(&[header, payload].concat());
    }
}

/// The answer to one request; `None`: it wants none.
fn answer(opcode: u32, node: u64, body: &[u8], seen: &mut Seen) -> Option<Result<Vec<u8>, i32>> {
    use nix::libc::{ENOENT, ENOSYS};
    let name = |from: usize| body[from..].split(|byte| *byte == 0).next().unwrap().to_vec();
    let entry = |node: u64| [&node.to_le_bytes()[..], &[0; 32], &attributes(node)].concat();
    let opened = vec![0; 16];
    Some(match opcode {
        // LOOKUP
        1 if name(0) == b"ring" => Ok(entry(RING)),
        1 if seen.names.contains(&name(0)) => Ok(entry(NEW)),
        1 => Err(ENOENT),
        // FORGET, BATCH_FORGET, INTERRUPT
        2 | 42 | 36 => return None,
        // GETATTR
        3 => Ok([vec![0; 16], attributes(node)].concat()),
        // SETATTR, READ, WRITE, FALLOCATE
        4 | 15 | 16 | 43 => {
            seen.n_touched += 1;
            Err(ENOSYS)
        }
        // UNLINK
        10 => {
            seen.names.remove(&name(0));
            Ok(vec![])
        }
        // OPEN, OPENDIR
        14 | 27 => Ok(opened),
        // STATFS
        17 => Ok(vec![0; 80]),
        // RELEASE, FLUSH, RELEASEDIR
        18 | 25 | 29 => Ok(vec![]),
        // INIT: version, and no features
        26 => Ok([&7u32.to_le_bytes()[..], &31u32.to_le_bytes(), &[0; 12], &4096u32.to_le_bytes(), &[0; 40]]
            .concat()),
        // CREATE
        35 => {
            seen.n_created += 1;
            seen.names.insert(name(16));
            Ok([entry(NEW), opened].concat())
        }
        _ => Err(ENOSYS),
    })
}

fn attributes(node: u64) -> Vec<u8> {
    let mode: u32 = if node == 1 { 0o040_755 } else { 0o100_600 };
    // Number, size, blocks, three times; their nanoseconds; mode, links, owner, group, device, block size, flags.
    let wide = [node, 90_112, 176, 0, 0, 0].map(u64::to_le_bytes);
    let narrow = [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].map(u32::to_le_bytes);
    [wide.concat(), narrow.concat()].concat()
}
