//! Append, durable: what reaches the medium, when, and what is said of it after a restart of the machine.

use crate::append::DATA_OFFSET;
use crate::harness::{PREFIX, Script, directory, say};
use shm_ring::{AppendError, AppendFile, AppendOptions, Error, SyncPolicy};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PAGE: u64 = 4096;
/// In the live page: bytes that are durable, and the boot id.
const DURABLE: u64 = PAGE + 128;
const BOOT: u64 = PAGE + 152;

fn word(path: &Path, at: u64) -> u64 {
    let mut bytes = [0; 8];
    File::open(path).unwrap().read_exact_at(&mut bytes, at).unwrap();
    u64::from_le_bytes(bytes)
}

/// As if the machine had been restarted.
fn restart(path: &Path) {
    File::options().write(true).open(path).unwrap().write_all_at(b"no boot has this", BOOT).unwrap();
}

#[test]
fn a_push_makes_the_system_calls_that_its_policy_asks_for() {
    // Goal (A15): `Never` makes none, into pages that are there, also after a clear; `EachPush` syncs the data, then the live page, before it
    // returns; `Interval` syncs when the time is over. Method: strace a process that pushes, and look at what it calls meanwhile.
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED a_push_makes_the_system_calls_that_its_policy_asks_for: strace is not installed");
        return;
    }
    assert_eq!(calls("never"), Vec::<String>::new());
    let each = calls("each");
    assert_eq!(each.len(), 2 * 10, "{each:#?}");
    for pair in each.chunks(2) {
        let address = |line: &str| line.split(['(', ',']).nth(1).map(String::from).unwrap();
        assert!(pair.iter().all(|line| line.contains("msync(") && line.contains("MS_SYNC")), "{pair:?}");
        assert!(
            address(&pair[0]) > address(&pair[1]),
            "data first, then the live page, which is in front of it: {pair:?}"
        );
    }
    let interval = calls("interval");
    assert_eq!(interval.iter().filter(|line| line.contains("msync(")).count(), 2, "{interval:#?}");
}

/// What a process calls while it pushes under that policy.
fn calls(policy: &str) -> Vec<String> {
    calls_of("append_durable::pusher", policy)
}

/// What a process calls between the two words that it says.
fn calls_of(role: &str, policy: &str) -> Vec<String> {
    let trace = traced(role, &[], policy);
    assert!(trace.contains("@begin") && trace.contains("@end"), "{trace}");
    let inside = trace.lines().skip_while(|line| !line.contains("@begin")).skip(1);
    inside.take_while(|line| !line.contains("@end")).map(String::from).collect()
}

/// What a process calls in that role, under `strace` with these options.
fn traced(role: &str, options: &[&str], policy: &str) -> String {
    let directory = directory();
    let (path, trace) = (directory.path().join("a"), directory.path().join("trace"));
    let status = Command::new("strace")
        .arg("-f")
        .arg("-o")
        .arg(&trace)
        .args(options)
        .arg(std::env::current_exe().unwrap())
        .args(["child::entry", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(format!("{PREFIX}ROLE"), role)
        .env(format!("{PREFIX}path"), &path)
        .env(format!("{PREFIX}policy"), policy)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    fs::read_to_string(trace).unwrap()
}

#[test]
fn what_an_opened_file_calls_durable_is_brought_to_the_medium_first() {
    // Goal: the durable word of a copy, or of a writer that was killed before its sync, is true when the next handle repeats it: all of the
    // bytes below it, the header and the name are synced when the file is opened. Method: strace a process that opens a copy.
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED what_an_opened_file_calls_durable_is_brought_to_the_medium_first: no strace");
        return;
    }
    let never = calls_of("append_durable::reopener", "never");
    let whole = format!(", {}, MS_SYNC)", DATA_OFFSET + 5000);
    let data = never.iter().position(|line| line.contains("msync(") && line.contains(&whole));
    let name = never.iter().rposition(|line| line.contains("fsync("));
    assert!(data.is_some() && data < name, "{never:#?}");
    let each = calls_of("append_durable::reopener", "each");
    assert_eq!(each.iter().filter(|line| line.contains("fsync(")).count(), 2, "file and name: {each:#?}");
}

pub(crate) fn reopener() {
    let (path, copy) = (Script::path(), Script::path().with_extension("copy"));
    let file = AppendOptions::new().create(&path).unwrap();
    file.push(&[1; 5000]).unwrap();
    file.sync().unwrap();
    drop(file);
    fs::copy(&path, &copy).unwrap();
    let policy = if Script::text("policy") == "each" { SyncPolicy::EachPush } else { SyncPolicy::Never };
    say("begin");
    let file = AppendOptions::new().sync(policy).open(&copy).unwrap();
    assert_eq!(file.durable_len(), 5000);
    say("end");
}

#[test]
fn after_a_failed_sync_no_handle_claims_what_may_be_missing() {
    // Goal: a sync that fails, whichever of its system calls it is, makes nothing durable, in this handle or the next; the next one, in the
    // same boot, hears of the doubt, and syncs all of it again. Method: strace lets one call of a process fail.
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED after_a_failed_sync_no_handle_claims_what_may_be_missing: strace is not installed");
        return;
    }
    for call in ["fsync:error=EIO:when=1", "fsync:error=EIO:when=2", "msync:error=EIO:when=2"] {
        let trace = traced("append_durable::failing", &["-e", &format!("inject={call}")], "never");
        assert!(trace.contains("(INJECTED)"), "{call}: {trace}");
    }
}

pub(crate) fn failing() {
    let path = Script::path();
    let file = AppendOptions::new().create(&path).unwrap();
    file.push(&[1; 100]).unwrap();
    assert!(matches!(file.sync(), Err(AppendError::SyncFailed { .. })));
    assert_eq!((file.durable_len(), word(&path, DURABLE)), (0, 0));
    drop(file);
    let file = AppendFile::open(&path).unwrap();
    assert_eq!((file.durable_len(), file.doubtful()), (0, 0..100));
    file.sync().unwrap();
    assert_eq!((file.durable_len(), file.doubtful()), (100, 0..0));
}

#[test]
fn a_seal_is_on_the_medium_after_what_it_says() {
    // Goal: length and checksums are on the medium before the state is, so that a seal which can't be stored leaves an open file. Method:
    // strace lets the system call in between fail.
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED a_seal_is_on_the_medium_after_what_it_says: strace is not installed");
        return;
    }
    // The header, the live page of the sync, the data; then the words.
    let trace = traced("append_durable::sealing", &["-e", "inject=msync:error=EIO:when=4"], "never");
    assert!(trace.contains("(INJECTED)"), "{trace}");
}

pub(crate) fn sealing() {
    let path = Script::path();
    let file = AppendOptions::new().create(&path).unwrap();
    file.push(&[1; 100]).unwrap();
    assert!(matches!(file.seal(), Err(Error::Io { operation: "seal", .. })));
    let file = AppendFile::open(&path).unwrap();
    file.push(&[2]).unwrap();
    file.seal().unwrap();
    assert!(AppendFile::follow(&path).unwrap().is_sealed());
}

#[test]
fn a_process_may_change_its_directory() {
    // Goal: the name that a sync brings to the medium is the one that was given when the file was made. Method: a relative path, another
    // directory.
    let directory = directory();
    crate::harness::alone("append_durable::moves", &[("path", &directory.path().display())]);
}

pub(crate) fn moves() {
    let here = Script::path();
    std::env::set_current_dir(&here).unwrap();
    fs::create_dir("inside").unwrap();
    let file = AppendOptions::new().create("inside/a").unwrap();
    std::env::set_current_dir("/").unwrap();
    file.push(b"hello").unwrap();
    file.sync().unwrap();
    assert_eq!((file.durable_len(), file.path()), (5, Path::new("inside/a")));
}

#[test]
fn a_file_that_lost_its_length_in_a_restart_keeps_what_was_synced() {
    // Goal: when the medium has the length word and not the length of the file, what was synced is there, and what the file still has of the
    // rest is in doubt; a file that lost synced bytes, or lost them in this boot, is truncated. Method: cut files.
    let directory = directory();
    let path = directory.path().join("a");
    let file = AppendOptions::new().capacity(PAGE).create(&path).unwrap();
    file.push(&[1; 6000]).unwrap();
    file.sync().unwrap();
    file.push(&[2; 100_000]).unwrap();
    drop(file);
    let (data_offset, cut) =
        (2 * PAGE, |bytes| File::options().write(true).open(&path).unwrap().set_len(bytes));
    cut(data_offset + 10_000).unwrap();
    assert!(matches!(AppendFile::open(&path), Err(Error::Truncated { .. })), "in the same boot");
    restart(&path);
    assert!(matches!(AppendFile::follow(&path), Err(Error::Truncated { .. })), "until a writer was there");
    let mut file = AppendFile::open(&path).unwrap();
    assert_eq!((file.len(), file.durable_len(), file.doubtful()), (10_000, 6000, 6000..10_000));
    assert!(file.data()[..6000].iter().all(|byte| *byte == 1));
    assert_eq!(AppendFile::follow(&path).unwrap().len(), 10_000);
    file.resize(20_000).unwrap();
    assert!(file.data()[10_000..].iter().all(|byte| *byte == 0));
    drop(file);
    cut(data_offset + 5999).unwrap();
    assert!(matches!(AppendFile::open(&path), Err(Error::Truncated { .. })), "synced bytes are missing");
}

#[test]
fn doubt_stands_until_the_caller_ends_it() {
    // Goal: what the policy syncs by itself ends no doubt, and counts nothing behind it as durable: the caller has to look. Method: a push of
    // each policy and a drop in a file of another boot, opened again.
    let directory = directory();
    let path = directory.path().join("a");
    let file = AppendOptions::new().create(&path).unwrap();
    file.push(&[1; 10]).unwrap();
    file.sync().unwrap();
    file.push(&[2; 10]).unwrap();
    drop(file);
    restart(&path);
    let mut len = 20;
    for policy in
        [SyncPolicy::EachPush, SyncPolicy::Interval(Duration::ZERO), SyncPolicy::Interval(Duration::MAX)]
    {
        let file = AppendOptions::new().sync(policy).open(&path).unwrap();
        assert_eq!(file.doubtful(), 10..len);
        file.push(&[3]).unwrap();
        assert_eq!((file.doubtful(), file.durable_len()), (10..len, 10));
        len += 1;
        drop(file);
        assert_eq!(word(&path, DURABLE), 10);
    }
    let file = AppendFile::open(&path).unwrap();
    assert_eq!(file.doubtful(), 10..len);
    file.sync().unwrap();
    assert_eq!((file.doubtful(), file.durable_len()), (0..0, len));
}

pub(crate) fn pusher() {
    let policy = match Script::text("policy").as_str() {
        "never" => SyncPolicy::Never,
        "each" => SyncPolicy::EachPush,
        _ => SyncPolicy::Interval(Duration::from_millis(300)),
    };
    let mut file = AppendOptions::new().capacity(4 << 20).sync(policy).create(Script::path()).unwrap();
    if policy == SyncPolicy::Never {
        file.push(&[1; 1 << 20]).unwrap();
        file.clear().unwrap();
    }
    say("begin");
    let push = |n: usize, len: usize| (0..n).all(|_| file.push(&[1; 300][..len]).is_ok());
    let is_done = match policy {
        SyncPolicy::Never => push(10_000, 300),
        SyncPolicy::EachPush => push(10, 100),
        _ => {
            let start = std::time::Instant::now();
            let is_done = push(10, 100);
            while start.elapsed() < Duration::from_millis(310) {}
            is_done && push(1, 100)
        }
    };
    assert!(is_done);
    say("end");
}

#[test]
fn the_durable_length_is_what_was_synced() {
    // Goal: `durable_len` counts what was synced and is still there, and no more, in the file too. Method: pushes, syncs and losses under
    // each policy, the word in the file.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().create(&path).unwrap();
    let is = |file: &AppendFile, durable| {
        assert_eq!((file.durable_len(), word(&path, DURABLE)), (durable, durable))
    };
    file.push(&[1; 100]).unwrap();
    is(&file, 0);
    file.sync().unwrap();
    is(&file, 100);
    file.push(&[2; 100]).unwrap();
    file.resize(150).unwrap();
    is(&file, 100);
    file.resize(50).unwrap();
    is(&file, 50);
    file.push(&[3; 100]).unwrap();
    is(&file, 50);
    drop(file);
    let mut file = AppendOptions::new().sync(SyncPolicy::EachPush).open(&path).unwrap();
    is(&file, 50);
    file.push(&[4; 10]).unwrap();
    is(&file, 160);
    file.resize(5000).unwrap();
    is(&file, 5000);
    file.clear().unwrap();
    is(&file, 0);
    file.push(&[5; 10]).unwrap();
    is(&file, 10);
    // Refused: nothing is less durable for it.
    let pinned = AppendFile::follow(&path).unwrap().pin().unwrap();
    file.clear().unwrap_err();
    is(&file, 10);
    drop((pinned, file));
    let file =
        AppendOptions::new().sync(SyncPolicy::Interval(Duration::from_secs(3600))).open(&path).unwrap();
    file.push(&[6; 10]).unwrap();
    is(&file, 10);
    drop(file);
    assert_eq!(word(&path, DURABLE), 20, "closing syncs what the interval has not");
    let file = AppendOptions::new().sync(SyncPolicy::Interval(Duration::ZERO)).open(&path).unwrap();
    file.push(&[6; 10]).unwrap();
    is(&file, 30);
}

#[test]
fn what_a_restart_puts_in_doubt_is_told() {
    // Goal (A15): after a restart of the machine, bytes that were never synced are named, until the caller syncs or drops them; within a boot
    // nothing is in doubt. Method: another boot's id in the file.
    let directory = directory();
    let path = directory.path().join("a");
    let file = AppendOptions::new().create(&path).unwrap();
    file.push(&[1; 100]).unwrap();
    file.sync().unwrap();
    file.push(&[2; 23]).unwrap();
    assert!(file.doubtful().is_empty());
    drop(file);
    assert!(AppendFile::open(&path).unwrap().doubtful().is_empty());
    restart(&path);
    // As often as it is opened.
    for _ in 0..2 {
        let file = AppendFile::open(&path).unwrap();
        assert_eq!((file.doubtful(), file.len(), file.durable_len()), (100..123, 123, 100));
    }
    let mut file = AppendFile::open(&path).unwrap();
    file.resize(110).unwrap();
    assert_eq!(file.doubtful(), 100..110);
    file.resize(file.durable_len()).unwrap();
    assert!(file.doubtful().is_empty());
    file.push(&[3; 10]).unwrap();
    drop(file);
    assert!(AppendFile::open(&path).unwrap().doubtful().is_empty());
    restart(&path);
    let file = AppendFile::open(&path).unwrap();
    assert_eq!(file.doubtful(), 100..110);
    file.sync().unwrap();
    assert_eq!((file.doubtful().is_empty(), file.durable_len()), (true, 110));
    drop(file);
    restart(&path);
    let file = AppendFile::open(&path).unwrap();
    assert!(file.doubtful().is_empty(), "all of it is on the medium");
}
