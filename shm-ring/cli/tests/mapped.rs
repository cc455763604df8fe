//! Mapped: what `stat`, `doctor`, `cat`, `seal` and `import` make of append files and ranged files.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::helper::Helper;
use common::{Done, Rig, content, wait_until};
use nix::pty::openpty;
use serde_json::Value;
use shm_ring::{Alignment, AppendFile, AppendOptions, Range, RangedFile, RangedOptions};
use std::fs::{File, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PAGE: u64 = 4096;
/// Where the words of the live page lie, by the document.
const GENERATION: u64 = PAGE + 136;
const TARGET: u64 = PAGE + 144;
const BOOT: u64 = PAGE + 152;
const SEAL: u64 = PAGE + 256;
const SYNC_FAILED: u64 = PAGE + 392;

/// Not a test by itself: the processes that the others start.
#[test]
#[ignore = "the processes that the other tests start"]
fn helper() {
    common::helper::play();
}

fn put(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

fn put_word(path: &Path, at: u64, word: u64) {
    put(path, at, &word.to_le_bytes());
}

/// As if the machine had been restarted.
fn restart(path: &Path) {
    put(path, BOOT, b"no boot has this");
}

/// Bytes of all values, which no text is.
fn noise(n: usize) -> Vec<u8> {
    (0..n).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect()
}

fn append(rig: &Rig, name: &str, bytes: &[u8]) -> AppendFile {
    let file = AppendOptions::new().create(rig.path(name)).unwrap();
    file.push(bytes).unwrap();
    file
}

fn ranged(rig: &Rig, name: &str, size: u64) -> RangedFile {
    RangedOptions::new().create(rig.path(name), size).unwrap()
}

fn write(file: &RangedFile, range: Range, byte: u8) {
    let bytes = vec![byte; usize::try_from(range.len()).unwrap()];
    drop(file.write(range, &bytes).unwrap());
}

/// Like [`Rig::run`], with whatever bytes on stdout.
fn bytes_of(rig: &Rig, args: &[&str]) -> (i32, Vec<u8>, String) {
    let output = rig.tool(args).stderr(Stdio::piped()).stdout(Stdio::piped()).output().unwrap();
    (output.status.code().unwrap(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

fn stat(rig: &Rig, name: &str) -> Value {
    let line = rig.ok(["stat", name, "--json"]);
    assert_eq!(line.lines().count(), 1);
    serde_json::from_str(&line).unwrap()
}

/// The tool's opinion, for people and for programs, which must agree, and change nothing.
fn doctor(rig: &Rig, name: &str, code: i32) -> (String, Value) {
    let before = content(&rig.path(name));
    let (people, programs) = (rig.run(["doctor", name]), rig.run(["doctor", name, "--json"]));
    assert_eq!((people.code, programs.code), (code, code), "{people:?}\n{programs:?}");
    assert!(content(&rig.path(name)) == before, "it changed the file");
    let object: Value = serde_json::from_str(&programs.out).unwrap();
    let verdict = match code {
        0 => "healthy",
        4 => "unusable",
        9 => "repairable",
        _ => "blocked",
    };
    assert_eq!((&object["verdict"], &object["path"]), (&verdict.into(), &name.into()));
    if code == 4 {
        return (people.err, object);
    }
    assert_eq!((people.err.as_str(), programs.err.as_str()), ("", ""));
    assert!(people.out.starts_with(&format!("{name}: {verdict}")), "{}", people.out);
    for finding in object["findings"].as_array().unwrap() {
        let message = finding["message"].as_str().unwrap();
        assert!(people.out.contains(message), "{finding}\n{}", people.out);
        assert!(!finding["advice"].as_str().unwrap().is_empty(), "{finding}");
    }
    (people.out, object)
}

fn kinds(object: &Value) -> Vec<&str> {
    object["findings"].as_array().unwrap().iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

fn assert_contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} in:\n{text}");
    }
}

// Goal: the keys that programs rely on, and the numbers of the library; for people the same. Method: an append file, in use, closed, sealed.
#[test]
fn stat_shows_an_append_file() {
    let rig = Rig::new();
    let file = append(&rig, "a", &noise(1000));
    file.sync().unwrap();
    file.push(&[1; 500]).unwrap();
    let object = stat(&rig, "a");
    let mut expected = vec![
        "path",
        "kind",
        "uuid",
        "layout_version",
        "permissions",
        "created_ns",
        "file_bytes",
        "data_bytes",
        "capacity_bytes",
        "usage_ratio",
        "durable_bytes",
        "doubtful_bytes",
        "writer",
        "writer_pid",
        "sealed",
        "data_crc",
        "pinned",
        "alignment",
        "next_position",
        "handed_out_bytes",
        "written_bytes",
        "missing_bytes",
        "free_bytes",
        "sync_failed",
    ];
    expected.sort_unstable();
    let keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, expected);
    let is = |key: &str, value: Value| assert_eq!(object[key], value, "{key}");
    is("path", "a".into());
    is("kind", "append".into());
    is("permissions", "0600".into());
    is("data_bytes", 1500.into());
    is("durable_bytes", 1000.into());
    is("capacity_bytes", (512 << 10).into());
    is("usage_ratio", (1500.0 / f64::from(512 << 10)).into());
    is("writer", true.into());
    is("writer_pid", std::process::id().into());
    is("sealed", false.into());
    is("pinned", false.into());
    for key in ["data_crc", "alignment", "written_bytes", "sync_failed"] {
        is(key, Value::Null);
    }
    let uuid = object["uuid"].as_str().unwrap();
    let text = rig.ok(["stat", "a"]);
    let pid = format!("open for writing, last by pid {}", std::process::id());
    let words = [
        "append file v1",
        uuid,
        "open, permissions 0600",
        "1500 bytes of data, 0.3 % of the capacity of 512 KiB",
    ];
    assert_contains(&text, &words);
    assert_contains(&text, &["1000 durable", &pid]);
    drop(file);
    assert_contains(&rig.ok(["stat", "a"]), &["nobody has it open for writing"]);
    assert_eq!((&stat(&rig, "a")["writer"], &stat(&rig, "a")["writer_pid"]), (&false.into(), &Value::Null));
    rig.ok(["seal", "a"]);
    let object = stat(&rig, "a");
    let crc = format!("sealed, crc32c {:#010x}", object["data_crc"].as_u64().unwrap());
    assert_eq!(object["sealed"], true);
    let text = rig.ok(["stat", "a"]);
    assert_contains(&text, &[&crc]);
    assert!(!text.contains("writing"), "{text}");
}

// Goal: the same for a ranged file: what is handed out, written, missing and free. Method: some of each; a user who may only read.
#[test]
fn stat_shows_a_ranged_file() {
    let rig = Rig::new();
    let file = RangedOptions::new().alignment(Alignment::Page).create(rig.path("r"), 10 * PAGE).unwrap();
    write(&file, file.allocate(3 * PAGE).unwrap(), 1);
    file.sync_all().unwrap();
    write(&file, file.allocate(PAGE).unwrap(), 2);
    let held = file.allocate(2 * PAGE).unwrap();
    std::fs::set_permissions(rig.path("r"), Permissions::from_mode(0o444)).unwrap();
    let object = stat(&rig, "r");
    let is = |key: &str, value: Value| assert_eq!(object[key], value, "{key}");
    is("kind", "ranged".into());
    is("data_bytes", (10 * PAGE).into());
    is("capacity_bytes", (10 * PAGE).into());
    is("alignment", PAGE.into());
    is("next_position", (6 * PAGE).into());
    is("handed_out_bytes", (2 * PAGE).into());
    is("written_bytes", (4 * PAGE).into());
    is("missing_bytes", (6 * PAGE).into());
    is("free_bytes", (4 * PAGE).into());
    is("durable_bytes", (3 * PAGE).into());
    is("usage_ratio", 0.4.into());
    is("sync_failed", false.into());
    is("pinned", Value::Null);
    let text = rig.ok(["stat", "r"]);
    let words =
        ["ranged file v1", "open, permissions 0444", "40960 bytes of data in units of 4096, 40.0 % written"];
    assert_contains(&text, &words);
    assert_contains(
        &text,
        &["written 16384, of which durable 12288; missing 24576: handed out 8192, free 16384"],
    );
    drop(held);
}

// Goal: files that are well are healthy, and what is worth knowing of them is told. Method: new ones, used ones, sealed ones.
#[test]
fn doctor_finds_well_what_is_well() {
    let rig = Rig::new();
    drop(append(&rig, "empty", b""));
    let (text, object) = doctor(&rig, "empty", 0);
    assert_eq!((text.lines().count(), kinds(&object)), (3, vec![]));
    assert_contains(&text, &["append file, 0 bytes of data, 512 KiB of capacity; open", "nothing to repair"]);
    drop(append(&rig, "a", &noise(1000)));
    let (text, object) = doctor(&rig, "a", 0);
    assert_eq!((kinds(&object), &object["findings"][0]["bytes"]), (vec!["not_durable"], &1000.into()));
    assert_contains(
        &text,
        &["1000 of 1000 written bytes are not known to be on the medium", "`shm-ring seal a`"],
    );
    rig.ok(["seal", "a"]);
    let (text, object) = doctor(&rig, "a", 0);
    assert_eq!(kinds(&object), Vec::<&str>::new());
    assert_contains(&text, &["sealed, crc32c 0x", "every byte is as it was sealed"]);

    let file = ranged(&rig, "r", 1000);
    write(&file, file.allocate(640).unwrap(), 1);
    file.sync_all().unwrap();
    drop(file);
    let (text, object) = doctor(&rig, "r", 0);
    assert_eq!((kinds(&object), &object["findings"][0]["bytes"]), (vec!["unfinished"], &360.into()));
    assert_contains(
        &text,
        &[
            "1000 bytes of data in units of 64, 640 bytes written",
            "360 of 1000 bytes are missing, in 1 place",
        ],
    );
    let file = RangedFile::open(rig.path("r")).unwrap();
    write(&file, file.allocate(360).unwrap(), 2);
    drop(file);
    rig.ok(["seal", "r"]);
    assert_contains(&doctor(&rig, "r", 0).0, &["every byte is as it was sealed"]);
}

// Goal: who has a file open is named, and what its death leaves is told from that: nothing of an append file, units of a ranged one, until
// somebody has it alone. Method: processes that write, are stopped, and are killed.
#[test]
fn doctor_names_the_living_and_what_the_dead_left() {
    let rig = Rig::new();
    drop(append(&rig, "a", b"before"));
    let writer = Helper::start("append writer", &rig.path("a"));
    let (text, object) = doctor(&rig, "a", 0);
    assert_eq!(kinds(&object), ["not_durable", "writer"]);
    let living = object["findings"][1].clone();
    assert_eq!((&living["pid"], &living["pid_here"]), (&writer.pid().into(), &writer.pid().into()));
    assert_contains(&text, &[&format!("pid {}", writer.pid()), "has it open for writing"]);
    writer.stop();
    let (text, _) = doctor(&rig, "a", 0);
    assert_contains(&text, &["stopped", &format!("`kill -CONT {}`", writer.pid())]);
    writer.kill();
    assert_eq!(kinds(&doctor(&rig, "a", 0).1), ["not_durable"]);
    assert_eq!(rig.ok(["cat", "a"]), "before, and more");

    drop(ranged(&rig, "r", 1000));
    let owner = Helper::start("range owner", &rig.path("r"));
    let (_, object) = doctor(&rig, "r", 0);
    assert_eq!(
        (kinds(&object), &object["findings"][0]["bytes"]),
        (vec!["handed_out", "unfinished", "writer"], &128.into())
    );
    owner.kill();
    let (text, object) = doctor(&rig, "r", 9);
    assert_eq!(
        (kinds(&object), &object["findings"][0]["bytes"]),
        (vec!["unwritten", "unfinished"], &128.into())
    );
    assert_contains(
        &text,
        &["the dead left 1 thing to repair", "128 bytes (2 units) that were handed out and not written"],
    );
    drop(RangedFile::open(rig.path("r")).unwrap());
    assert_eq!(kinds(&doctor(&rig, "r", 0).1), ["unfinished"]);
}

// Goal: a seal or bytes that are not what they were is code 4; a seal or a loss that was not finished is 9, and what is done about it helps.
// Method: words and bytes changed behind everybody's back, as a death or a disk would.
#[test]
fn doctor_tells_damage_from_what_was_not_finished() {
    let rig = Rig::new();
    drop(append(&rig, "a", &noise(1000)));
    put_word(&rig.path("a"), SEAL + 8, 1000);
    let (text, object) = doctor(&rig, "a", 9);
    assert_eq!(kinds(&object), ["seal_begun", "not_durable"]);
    assert_contains(&text, &["died while sealing", "`shm-ring seal a` begins anew"]);
    put_word(&rig.path("a"), TARGET, 700);
    put_word(&rig.path("a"), GENERATION, 1);
    let (text, object) = doctor(&rig, "a", 9);
    assert_eq!(kinds(&object), ["seal_begun", "loss_begun", "not_durable"]);
    assert_contains(&text, &["died while it gave bytes up; for all who read it, 700 bytes are left"]);
    rig.ok(["seal", "a"]);
    assert_eq!(kinds(&doctor(&rig, "a", 0).1), Vec::<&str>::new());
    let good = content(&rig.path("a"));
    let data = 2 * PAGE;
    for (at, what) in [
        (SEAL, "state of the seal"),
        (SEAL + 9, "checksum of the seal"),
        (SEAL + 16, "checksum of the seal"),
        (data, "checksum of the data"),
        (data + 699, "checksum of the data"),
        (20, "header checksum"),
    ] {
        std::fs::write(rig.path("a"), &good).unwrap();
        put(&rig.path("a"), at, &[good[usize::try_from(at).unwrap()] ^ 1]);
        let (text, object) = doctor(&rig, "a", 4);
        assert_eq!(kinds(&object), ["corrupt"], "{what}");
        assert_contains(&text, &[what]);
        // Not a byte of it is shown.
        let (code, out, err) = bytes_of(&rig, &["cat", "a"]);
        assert_eq!((code, out.len()), (4, 0), "{err}");
    }
    std::fs::write(rig.path("a"), &good[..usize::try_from(data + 699).unwrap()]).unwrap();
    assert_eq!(kinds(&doctor(&rig, "a", 4).1), ["truncated"]);
    assert_eq!(bytes_of(&rig, &["cat", "a"]).0, 4);
    // What a seal does not cover may be anything.
    std::fs::write(rig.path("a"), &good).unwrap();
    put(&rig.path("a"), data + 700, b"x");
    doctor(&rig, "a", 0);
}

// Goal: a restart of the machine, a sync that failed, others who may write: each is told. Method: the words that say so; the mode.
#[test]
fn doctor_tells_what_is_not_to_be_trusted() {
    let rig = Rig::new();
    let file = append(&rig, "a", &[1; 100]);
    file.sync().unwrap();
    file.push(&[2; 23]).unwrap();
    drop(file);
    restart(&rig.path("a"));
    let (text, object) = doctor(&rig, "a", 9);
    assert_eq!((kinds(&object), &object["findings"][0]["bytes"]), (vec!["reboot"], &23.into()));
    assert_contains(&text, &["23 bytes from byte 100 on", "restarted"]);
    assert_contains(&rig.ok(["stat", "a"]), &["23 bytes were written before the machine was restarted"]);
    let shown = rig.run(["cat", "a"]);
    assert_eq!((shown.code, shown.out.len(), shown.err.lines().count()), (0, 123, 1), "{shown:?}");
    assert_contains(&shown.err, &["bytes 100..123", "may be others"]);

    let file = ranged(&rig, "r", 128);
    write(&file, file.allocate(64).unwrap(), 1);
    file.sync_all().unwrap();
    write(&file, file.allocate(64).unwrap(), 2);
    drop(file);
    put_word(&rig.path("r"), SYNC_FAILED, 1);
    let (text, object) = doctor(&rig, "r", 10);
    assert_eq!((kinds(&object), &object["findings"][0]["bytes"]), (vec!["sync_failed"], &64.into()));
    assert_contains(&text, &["blocked: nothing can be flushed", "copy the file to another one"]);
    restart(&rig.path("r"));
    let (_, object) = doctor(&rig, "r", 9);
    assert_eq!((kinds(&object), &object["findings"][0]["bytes"]), (vec!["reboot", "unfinished"], &64.into()));
    std::fs::set_permissions(rig.path("a"), Permissions::from_mode(0o622)).unwrap();
    let (text, object) = doctor(&rig, "a", 9);
    assert_eq!(kinds(&object), ["reboot", "permissions"]);
    assert_contains(&text, &["`chmod go-w a`"]);
}

// Goal: who has begun to open a file and does not go on is in everybody's way, and so is told; who is merely quick is not. Method: lock byte 0,
// held by the test.
#[test]
fn doctor_tells_who_does_not_go_on() {
    let rig = Rig::new();
    drop(append(&rig, "a", b""));
    let file = OpenOptions::new().read(true).write(true).open(rig.path("a")).unwrap();
    let lock = |kind: i32| {
        let range = nix::libc::flock {
            l_type: i16::try_from(kind).unwrap(),
            l_whence: 0,
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        };
        nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_OFD_SETLK(&range)).unwrap();
    };
    lock(nix::libc::F_WRLCK);
    let (text, object) = doctor(&rig, "a", 10);
    assert_eq!(kinds(&object), ["repair_lock"]);
    assert_contains(&text, &["does not go on"]);
    lock(nix::libc::F_UNLCK);
    doctor(&rig, "a", 0);
}

// Goal: the bytes come out as they are, all that are published and no more. Method: no bytes, some, more than is copied at once; of a
// writer that is at work; into a pipe that is closed early.
#[test]
fn cat_writes_the_bytes_of_an_append_file() {
    let rig = Rig::new();
    for n in [0, 1, 5000, (256 << 10) - 1, 256 << 10, 1_000_003] {
        let name = n.to_string();
        let file = append(&rig, &name, &noise(n));
        let (code, out, err) = bytes_of(&rig, &["cat", &name]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out == noise(n), "{n}");
        file.seal().unwrap();
        assert!(bytes_of(&rig, &["cat", &name]).1 == noise(n), "{n}, sealed");
    }
    std::fs::set_permissions(rig.path("5000"), Permissions::from_mode(0o666)).unwrap();
    assert!(bytes_of(&rig, &["cat", "5000"]).1 == noise(5000), "whoever may write it");
    let mut child = rig.start(["cat", "1000003"]);
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(first[..], noise(10));
    let done = Done::of(child);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
}

// Goal: a ranged file is shown whole, or not, unless the user wants zeros for what is not there; then every byte is at its place. Method: a
// file with holes of all kinds; the rest written; sealed.
#[test]
fn cat_writes_a_ranged_file_whole_or_with_zeros() {
    let rig = Rig::new();
    let size = 700_000;
    let file = ranged(&rig, "r", size);
    let mut expected = vec![0; usize::try_from(size).unwrap()];
    let mut held = vec![];
    while let Ok(range) = file.allocate_up_to(64 * 1001) {
        if held.len() % 2 == 0 {
            held.push(Some(range));
            continue;
        }
        held.push(None);
        let [start, end] = [range.start(), range.end()].map(|at| usize::try_from(at).unwrap());
        expected[start..end].copy_from_slice(&noise(end)[start..]);
        drop(file.write(range, &expected[start..end]).unwrap());
    }
    let missing: u64 = held.iter().flatten().map(Range::len).sum();
    let (code, out, err) = bytes_of(&rig, &["cat", "r"]);
    assert_eq!((code, out.len(), err.lines().count()), (1, 0, 1), "{err}");
    assert_contains(&err, &[&format!("{missing} of 700000 bytes are not written yet"), "--partial"]);
    let (code, out, err) = bytes_of(&rig, &["cat", "r", "--partial"]);
    assert_eq!((code, err.lines().count()), (0, 1), "{err}");
    assert!(out == expected);
    assert_contains(&err, &[&format!("{missing} of 700000 bytes are not written yet, and zeros here")]);
    assert_eq!(bytes_of(&rig, &["cat", "r", "--partial", "-q"]).2, "");
    for range in held.into_iter().flatten() {
        let [start, end] = [range.start(), range.end()].map(|at| usize::try_from(at).unwrap());
        expected[start..end].fill(9);
        write(&file, range, 9);
    }
    let (code, out, err) = bytes_of(&rig, &["cat", "r"]);
    assert!(code == 0 && err.is_empty() && out == expected, "{err}");
    file.seal().unwrap();
    assert!(bytes_of(&rig, &["cat", "r"]).1 == expected);
}

// Goal: a file is finished once, by who is alone, when all of it is there, and with no byte that a restart has put in doubt unless somebody
// has said so. Method: all refusals, then the seal.
#[test]
fn seal_finishes_what_can_be_finished() {
    let rig = Rig::new();
    let file = append(&rig, "a", &noise(1000));
    let busy = rig.run(["seal", "a"]);
    assert_eq!((busy.code, busy.out.as_str()), (1, ""), "{busy:?}");
    assert_contains(&busy.err, &["in use by a live process"]);
    file.sync().unwrap();
    file.push(b"doubtful").unwrap();
    drop(file);
    restart(&rig.path("a"));
    std::fs::copy(rig.path("a"), rig.path("b")).unwrap();
    let asked = rig.run(["seal", "a"]);
    assert_eq!(asked.code, 1, "{asked:?}");
    assert_contains(&asked.err, &["bytes 1000..1008", "--doubtful keep or --doubtful drop"]);
    assert_eq!(stat(&rig, "a")["sealed"], false);
    let line = rig.ok(["seal", "a", "--doubtful", "keep"]);
    let object = stat(&rig, "a");
    let crc = format!("{:#010x}", object["data_crc"].as_u64().unwrap());
    assert_eq!(line, format!("sealed a 1008 bytes crc32c {crc} uuid {}\n", object["uuid"].as_str().unwrap()));
    assert!(rig.ok(["seal", "b", "--doubtful", "drop"]).starts_with("sealed b 1000 bytes"));
    assert!(bytes_of(&rig, &["cat", "b"]).1 == noise(1000));
    let twice = rig.run(["seal", "a"]);
    assert_eq!(twice.code, 1);
    assert_contains(&twice.err, &["is sealed"]);

    let file = ranged(&rig, "r", 1000);
    write(&file, file.allocate(640).unwrap(), 1);
    assert_contains(&rig.run(["seal", "r"]).err, &["in use"]);
    drop(file);
    let unfinished = rig.run(["seal", "r"]);
    assert_eq!(unfinished.code, 1);
    assert_contains(&unfinished.err, &["360 bytes of it are not written yet"]);
    let file = RangedFile::open(rig.path("r")).unwrap();
    write(&file, file.allocate(360).unwrap(), 1);
    drop(file);
    assert!(rig.ok(["seal", "r"]).starts_with("sealed r 1000 bytes crc32c 0x"));
    assert_eq!(rig.ok(["cat", "r"]), "\u{1}".repeat(1000));
}

// Goal: a legacy file becomes an append file, and stays as it was; nothing is overwritten. Method: one, twice; what is none.
#[test]
fn import_makes_an_append_file_of_a_legacy_one() {
    let rig = Rig::new();
    let old = [&b"\xef\xbe\xad\xde\x40\x42\x0f\0"[..], &noise(1_000_000), b"never used"].concat();
    std::fs::write(rig.path("old"), &old).unwrap();
    assert_eq!(rig.ok(["import", "old", "new"]), "imported new 1000000 bytes from old\n");
    assert!(bytes_of(&rig, &["cat", "new"]).1 == noise(1_000_000));
    assert_eq!(stat(&rig, "new")["durable_bytes"], 1_000_000);
    let again = rig.run(["import", "old", "new"]);
    assert_eq!(again.code, 1);
    assert_contains(&again.err, &["exists already"]);
    std::fs::write(rig.path("short"), &old[..1000]).unwrap();
    std::fs::write(rig.path("text"), "some text").unwrap();
    for (name, code, word) in
        [("short", 4, "truncated"), ("text", 4, "no legacy append file"), ("no", 3, "does not exist")]
    {
        let refused = rig.run(["import", name, "other"]);
        assert_eq!((refused.code, refused.out.as_str()), (code, ""), "{refused:?}");
        assert_contains(&refused.err, &[word]);
        assert!(!rig.path("other").exists());
    }
    assert!(content(&rig.path("old")) == old);
}

// Goal: files of other kinds are refused by name, with what would work, and stay as they are; nothing is made. Method: each command with each.
#[test]
fn other_files_are_refused_and_stay_as_they_are() {
    let rig = Rig::with_ring("64K");
    std::fs::write(rig.path("text"), "some text").unwrap();
    std::fs::write(rig.path("empty"), "").unwrap();
    std::fs::write(rig.path("legacy"), b"\xef\xbe\xad\xde\0\0\0\0").unwrap();
    std::fs::create_dir(rig.path("directory")).unwrap();
    for command in ["cat", "seal"] {
        for (name, code, word) in [
            ("app.ring", 4, "found a ring"),
            ("text", 4, "some tex"),
            ("empty", 4, "an empty file"),
            ("legacy", 4, "shm-ring import"),
            ("directory", 4, "directory"),
            ("missing", 3, "does not exist"),
        ] {
            let before = std::fs::read(rig.path(name)).ok();
            let refused = rig.run([command, name]);
            assert_eq!((refused.code, refused.out.as_str()), (code, ""), "{command} {name}: {refused:?}");
            assert_eq!(refused.err.lines().count(), 1);
            assert_contains(&refused.err, &[word, name]);
            assert!(std::fs::read(rig.path(name)).ok() == before);
        }
    }
    for command in ["stat", "doctor"] {
        assert_contains(&rig.run([command, "legacy"]).err, &["is not a ring"]);
    }
    // And a file of these kinds is no ring.
    drop(append(&rig, "a", b""));
    for command in ["push", "tail", "repair"] {
        let refused = rig.run([command, "a"]);
        assert_eq!(refused.code, 4, "{refused:?}");
        assert_contains(&refused.err, &["is not a ring"]);
    }
}

/// A `cat` that nobody reads for longer than it takes until progress is shown.
fn slow_cat(rig: &Rig, args: &[&str], stderr: Stdio, meanwhile: impl FnOnce()) -> Vec<u8> {
    let mut child = rig.tool(args).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    meanwhile();
    let mut out = vec![];
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    assert!(child.wait().unwrap().success());
    out
}

// Goal: progress is for terminals: on one it is seen while something takes long, and gone at the end; without one, and with -q, there is not
// a byte of it. Method: a `cat` that waits for its reader for a second, stderr a file, a terminal, a terminal with -q.
#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let rig = Rig::new();
    drop(append(&rig, "a", &noise(1 << 20)));
    let a_second = || std::thread::sleep(Duration::from_secs(1));
    let errors = File::create(rig.path("errors")).unwrap();
    assert!(slow_cat(&rig, &["cat", "a"], errors.into(), a_second) == noise(1 << 20));
    assert_eq!(content(&rig.path("errors")), b"");
    for (args, is_shown) in [(&["cat", "a"][..], true), (&["cat", "a", "-q"], false)] {
        let terminal = openpty(None, None).unwrap();
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut master, all) = (File::from(terminal.master), Arc::clone(&seen));
        // Ends with an error when nobody has the other side any more.
        let reading = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = master.read(&mut piece) {
                all.lock().unwrap().extend_from_slice(&piece[..n]);
            }
        });
        let text = || String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
        let meanwhile = || {
            if is_shown {
                wait_until("progress is seen", || text().contains("of 1.00 MiB"));
            } else {
                a_second();
            }
        };
        assert!(slow_cat(&rig, args, terminal.slave.into(), meanwhile) == noise(1 << 20));
        reading.join().unwrap();
        assert_eq!(!text().is_empty(), is_shown, "{:?}", text());
        // The line is cleared, not left.
        assert!(!is_shown || text().ends_with("\r\u{1b}[2K"), "{:?}", text());
    }
}
