//! Log, append: what an appender promises to the process that has it, and to others.

use crate::harness::{Actor, Script, directory, fork, is_root_for, listen, say};
use crate::log_raw::records;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use shm_ring::{
    Appender, DryRun, Durability, Error, FileKind, Log, LogError, LogItem, LogOptions, LogReader,
};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

pub(crate) const SMALL: u64 = 64 << 10;

fn options() -> LogOptions {
    LogOptions::new().segment_bytes(SMALL)
}

fn payloads(path: &Path) -> Vec<Vec<u8>> {
    records(path).into_iter().map(|(_, payload)| payload).collect()
}

#[test]
fn two_appenders_are_never_at_work() {
    // Goal: the second hears `Busy`, in this process and in another, and changes nothing; it gets the log when the first is gone.
    // Method: both, against an appender that lives, was dropped, and was killed.
    let directory = directory();
    let path = directory.path().join("log");
    let mut log = options().create(&path).unwrap();
    let receipt = log.append(b"first").unwrap();
    assert_eq!(receipt.position(), 0);
    let busy =
        |outcome: Result<Appender, Error>| assert!(matches!(outcome, Err(Error::Busy { .. })), "{outcome:?}");
    busy(options().open(&path));
    busy(options().open_or_create(&path));
    let mut actor = Actor::start("log_append::opens", &[("path", &path.display())]);
    assert_eq!(actor.hear(), "busy");
    drop(log);
    actor.tell("again");
    assert_eq!(actor.hear(), "open");
    busy(options().open(&path));
    assert!(matches!(Log::gc(&path, Some(0), None, DryRun::No), Err(Error::Busy { .. })));
    actor.kill();
    let mut log = options().open(&path).unwrap();
    assert!(!log.recovery().was_cut_short && log.recovery().n_records == 2);
    log.append(b"third").unwrap().wait().unwrap();
    assert_eq!(payloads(&path), [&b"first"[..], b"second", b"third"]);
}

pub(crate) fn opens() {
    let path = Script::path();
    assert!(matches!(options().open(&path), Err(Error::Busy { .. })));
    say("busy");
    listen();
    let mut log = options().open(&path).unwrap();
    log.append(b"second").unwrap().wait().unwrap();
    say("open");
    listen();
}

#[test]
fn what_is_no_log_is_refused() {
    // Goal: nothing is made a log that is something else, and nothing is called a log that is none. Method: what a path can be.
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let not_found = |outcome: Result<Appender, Error>| {
        assert!(matches!(outcome, Err(Error::NotFound { kind: FileKind::Log, .. })), "{outcome:?}");
    };
    not_found(options().open(path("none")));
    fs::create_dir(path("empty")).unwrap();
    not_found(options().open(path("empty")));
    drop(options().open_or_create(path("empty")).unwrap());
    assert!(matches!(options().create(path("empty")), Err(Error::AlreadyExists { .. })));
    fs::create_dir(path("other")).unwrap();
    fs::write(path("other").join("notes"), b"mine").unwrap();
    assert!(matches!(options().open_or_create(path("other")), Err(Error::AlreadyExists { .. })));
    assert_eq!(fs::read_dir(path("other")).unwrap().count(), 1);
    fs::write(path("file"), b"mine").unwrap();
    assert!(options().create(path("file")).is_err() && options().open(path("file")).is_err());
    for bad in [0, 1, SMALL + 4096, 1 << 50] {
        let outcome = LogOptions::new().segment_bytes(bad).create(path("bad"));
        assert!(matches!(outcome, Err(Error::Invalid { .. })), "{outcome:?}");
    }
    assert!(!path("bad").exists());
    let open_to_all = fs::Permissions::from_mode(0o777);
    fs::set_permissions(path("empty"), open_to_all).unwrap();
    assert!(matches!(options().open(path("empty")), Err(Error::WrongMode { kind: FileKind::Log, .. })));
}

#[test]
fn records_of_every_length_are_taken_up_to_a_quarter_of_a_segment() {
    // Goal: the longest record fits, a longer one is refused and changes nothing. Method: the edges, many times over rolls.
    let directory = directory();
    let path = directory.path().join("log");
    let mut log = options().create(&path).unwrap();
    let max = log.record_bytes_max();
    assert_eq!(max, SMALL / 4);
    let mut expected = vec![];
    for n in 0..40_u8 {
        for length in [max as usize, 0, 1, 15, 16, 17] {
            let _ = log.append_tagged(u64::from(n), 3, 4, &vec![n; length]).unwrap();
            expected.push(vec![n; length]);
        }
        let end = log.end();
        let refused = log.append(&vec![n; max as usize + 1]);
        assert!(
            matches!(refused, Err(LogError::TooLong { len_bytes, max_bytes }) if len_bytes == max + 1 && max_bytes == max)
        );
        assert_eq!(log.end(), end);
    }
    log.close().unwrap();
    assert!(payloads(&path) == expected);
}

#[test]
fn threads_that_wait_share_a_sync() {
    // Goal: `wait` returns when the record is on the medium, and threads that wait together need few syncs. Method: 8 threads of 50 records; how
    // often the log was synced.
    let directory = directory();
    let path = directory.path().join("log");
    let log = Mutex::new(
        options().segment_bytes(1 << 20).durability(Durability::EachRecord).create(&path).unwrap(),
    );
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..50_u8 {
                    let receipt = log.lock().unwrap().append(&[thread, n]).unwrap();
                    receipt.wait().unwrap();
                    assert!(receipt.is_durable() && receipt.wait_timeout(Duration::ZERO) == Ok(true));
                    assert!(log.lock().unwrap().durable() > receipt.position());
                }
            });
        }
    });
    let log = log.into_inner().unwrap();
    let n_syncs = log.stats().n_syncs;
    println!("{n_syncs} syncs for 400 records");
    assert!(n_syncs <= 400);
    drop(log);
    let found = payloads(&path);
    assert_eq!(found.len(), 400);
    for thread in 0..8 {
        let own: Vec<u8> =
            found.iter().filter(|payload| payload[0] == thread).map(|payload| payload[1]).collect();
        assert!(own.is_sorted() && own.len() == 50);
    }
}

#[test]
fn an_interval_raises_the_watermark_by_itself() {
    // Goal: what was appended is on the medium after the interval, without a call; full segments are with every durability. Method: wait for it.
    let directory = directory();
    let every = Durability::Interval(Duration::from_millis(5));
    let mut log = options().durability(every).create(directory.path().join("a")).unwrap();
    let receipt = log.append(b"soon").unwrap();
    crate::harness::eventually("the watermark rises", || receipt.is_durable());
    assert_eq!(log.durable(), log.end());
    let mut log = options().create(directory.path().join("b")).unwrap();
    for _ in 0..30 {
        let _ = log.append(&[0; 5000]).unwrap();
    }
    crate::harness::eventually("full segments are synced", || log.durable() > SMALL);
    assert!(log.durable() < log.end());
    log.sync().unwrap();
    assert_eq!(log.durable(), log.end());
}

#[test]
fn retention_keeps_what_was_asked_for() {
    // Goal: at least so many bytes stay, not many more, and files are used again; `gc` does the same to a log at rest. Method: many segments,
    // with a limit and without.
    let directory = directory();
    let path = directory.path().join("log");
    let mut log = options().keep_bytes(200_000).create(&path).unwrap();
    let mut n_records = 400_u64;
    for n in 0..n_records {
        let _ = log.append_at(n, &[n as u8; 3000]).unwrap();
    }
    crate::harness::eventually("old segments go", || {
        log.stats().n_retired > 10 && log.stats().n_unsettled == 0
    });
    crate::harness::eventually("a file is used again", || {
        let _ = log.append_at(n_records, &[n_records as u8; 3000]).unwrap();
        n_records += 1;
        log.stats().n_recycled > 0
    });
    crate::harness::eventually("no more of them go", || records(&path).len() < 150);
    let end = log.end();
    drop(log);
    let kept = records(&path);
    assert!(end - kept[0].0 >= 200_000 && kept.last().unwrap().1 == [(n_records - 1) as u8; 3000]);
    assert!(matches!(Log::gc(&path, None, None, DryRun::No), Err(Error::Invalid { .. })));
    let collected = Log::gc(&path, Some(70_000), None, DryRun::No).unwrap();
    let left = records(&path);
    assert!(collected.n_segments > 0 && end - left[0].0 >= 70_000 && kept.ends_with(&left));
    assert_eq!(Log::gc(&path, Some(70_000), None, DryRun::No).unwrap().n_segments, 0);
    // By their own times all records are from 1970.
    assert!(Log::gc(&path, None, Some(Duration::from_secs(1)), DryRun::No).unwrap().n_segments > 0);
    let names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("spare")), "{names:?}");
}

#[test]
fn another_segment_size_takes_effect_under_a_reader() {
    // Goal: an empty log that is opened with larger segments takes longer records, and a reader that waits in it gets them; likewise with
    // smaller ones behind. Method: a reader from the start on; each size twice; verify.
    let directory = directory();
    let path = directory.path().join("log");
    options().create(&path).unwrap().close().unwrap();
    let mut reader = LogReader::open(&path).unwrap();
    assert!(reader.next().unwrap().is_none());
    for segment_bytes in [16 * SMALL, 4 * SMALL, SMALL, 16 * SMALL] {
        let options = LogOptions::new().segment_bytes(segment_bytes);
        drop(options.open(&path).unwrap());
        assert!(reader.next().unwrap().is_none());
        let mut log = options.open(&path).unwrap();
        assert_eq!(log.record_bytes_max(), segment_bytes / 4);
        let length = usize::try_from(segment_bytes / 4).unwrap();
        for _ in 0..2 {
            let _receipt = log.append(&vec![7; length]).unwrap();
            match reader.next().unwrap() {
                Some(LogItem::Record(record)) => assert_eq!(record.len(), length),
                other => panic!("{other:?}"),
            }
        }
        log.close().unwrap();
        assert!(Log::verify(&path, |_| {}).unwrap().is_clean());
    }
}

#[test]
fn an_interval_without_end_keeps_nobody_from_working() {
    // Goal: full segments are settled and retired with an interval that can't be counted to. Method: the longest there is.
    let directory = directory();
    let path = directory.path().join("log");
    let options = options().durability(Durability::Interval(Duration::MAX)).keep_bytes(1);
    let mut log = options.create(&path).unwrap();
    let start = std::time::Instant::now();
    while log.stats().n_retired < 3 {
        let _receipt = log.append(&[1; 10_000]).unwrap();
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", log.stats());
    }
}

#[test]
fn a_log_without_its_lock_says_so_and_foreign_files_stay() {
    // Goal: a log whose LOCK is gone is no log that is not there, and repair makes it anew; files of others are left alone; what gc makes can be
    // read by who reads the rest. Method: removed, put there, and looked at.
    let directory = directory();
    let path = directory.path().join("log");
    let mut log = options().mode(0o640).create(&path).unwrap();
    for _ in 0..20 {
        let _receipt = log.append(&[1; 10_000]).unwrap();
    }
    log.close().unwrap();
    fs::write(path.join("thesis.tmp"), b"mine").unwrap();
    fs::remove_file(path.join("LOCK")).unwrap();
    for outcome in [options().open(&path), options().open_or_create(&path)] {
        let why = outcome.unwrap_err();
        assert!(matches!(why, Error::Corrupt { .. }) && why.to_string().contains("repair"), "{why}");
    }
    Log::repair(&path, DryRun::No).unwrap();
    assert_eq!(options().mode(0o640).open(&path).unwrap().recovery().lost_bytes, 0);
    assert!(Log::gc(&path, Some(1), None, DryRun::No).unwrap().n_segments > 0);
    for entry in fs::read_dir(&path).unwrap().map(Result::unwrap) {
        let (name, mode) = (entry.file_name(), entry.metadata().unwrap().permissions().mode() & 0o777);
        assert!(mode == 0o640 || name == "thesis.tmp", "{name:?} {mode:o}");
    }
    assert_eq!(fs::read(path.join("thesis.tmp")).unwrap(), b"mine");
}

#[test]
fn a_child_has_no_appender() {
    // Goal: after a fork only the parent appends; the child hears `Forked`, and its end disturbs nobody. Method: a role forks.
    let directory = directory();
    crate::harness::alone("log_append::forks", &[("path", &directory.path().join("log").display())]);
}

pub(crate) fn forks() {
    let path = Script::path();
    let mut log = options().durability(Durability::EachRecord).create(&path).unwrap();
    let receipt = log.append(b"parent").unwrap();
    let mut log = Some(log);
    let child = fork(|| {
        let mut own = log.take().unwrap();
        assert!(matches!(own.append(b"child"), Err(LogError::Forked)));
        assert!(matches!(own.sync(), Err(LogError::Forked)));
        assert_eq!(receipt.wait(), Err(LogError::Forked));
        assert!(matches!(options().open(&path), Err(Error::Busy { .. })));
        drop(own);
    });
    child.finish();
    let mut log = log.unwrap();
    receipt.wait().unwrap();
    log.append(b"again").unwrap().wait().unwrap();
    log.close().unwrap();
    assert_eq!(payloads(&path), [&b"parent"[..], b"again"]);
}

#[test]
fn a_full_disk_is_an_error_at_each_segment_and_loses_nothing() {
    // Goal: no room for a segment is `NoSpace`, whoever asks for it; what was appended stays, what has room is taken, and it goes on when there
    // is room again. Method: a small file system in memory, filled before each roll, emptied after.
    let name = "a_full_disk_is_an_error_at_each_segment_and_loses_nothing";
    if !is_root_for(name) {
        return;
    }
    let directory = directory();
    let mut actor = Actor::start("log_append::is_full", &[("path", &directory.path().display())]);
    let line = actor.hear();
    if let Some(reason) = line.strip_prefix("can't mount") {
        println!("SKIPPED {name}: {reason}");
        return;
    }
    assert_eq!(line, "done");
    actor.finish();
}

pub(crate) fn is_full() {
    let directory = Script::path();
    let none = None::<&str>;
    let mounted = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
        .and_then(|()| mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::empty(), Some("size=4m")));
    if let Err(error) = mounted {
        say(&format!("can't mount: {error}"));
        return;
    }
    let (path, rest) = (directory.join("log"), directory.join("rest"));
    let fill = || {
        let mut file = fs::File::create(&rest).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    };
    fill();
    let refused = options().create(&path);
    assert!(matches!(refused, Err(Error::NoSpace { .. } | Error::Io { .. })), "{refused:?}");
    fs::remove_file(&rest).unwrap();
    let mut log = options().open_or_create(&path).unwrap();
    let mut expected: Vec<Vec<u8>> = vec![];
    for round in 0..8_u64 {
        fill();
        let mut n_refused = 0;
        while n_refused < 3 {
            let payload = vec![expected.len() as u8; 3000];
            match log.append(&payload) {
                Ok(_) => expected.push(payload),
                Err(LogError::NoSpace { needed_bytes, .. }) => {
                    assert!(needed_bytes > 0);
                    n_refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
            assert!(expected.len() < 1000, "the disk is full");
        }
        assert!(payloads(&path) == expected);
        fs::remove_file(&rest).unwrap();
        let payload = vec![0xee; 16_000];
        let _ = log.append(&payload).unwrap();
        expected.push(payload);
        if round % 3 == 2 {
            drop(log);
            fill();
            let opened = options().open(&path);
            assert!(matches!(opened, Ok(_) | Err(Error::NoSpace { .. })), "{opened:?}");
            drop(opened);
            fs::remove_file(&rest).unwrap();
            log = options().open(&path).unwrap();
        }
    }
    assert!(payloads(&path) == expected);
    say("done");
}
