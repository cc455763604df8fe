//! Log, reading: every record once and whole, in order, from wherever it is asked for; what is missing is told.
//!
//! Record number n of a log has the payload [`payload`]`(n)`, so that a torn, mixed or invented byte is found.

use crate::harness::{Actor, PATIENCE, Script, alone, directory, eventually, fork, listen, say};
use crate::records::mix;
use proptest::prelude::*;
use shm_ring::{Appender, Error, Log, LogGapReason, LogItem, LogOptions, LogReadError, LogReader, LogStart};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) const SEGMENT_BYTES: u64 = 64 << 10;

pub(crate) fn small() -> LogOptions {
    LogOptions::new().segment_bytes(SEGMENT_BYTES)
}

/// What record `n` holds: 8 to 1007 bytes that begin with n.
pub(crate) fn payload(n: u64) -> Vec<u8> {
    let len = 8 + (mix(n) % 1000) as usize;
    let words = (0..=len as u64 / 8).map(|at| if at == 0 { n } else { mix(n << 8 | at) });
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(len);
    bytes
}

/// The number of a record; fails unless it is what [`payload`] says.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert!(bytes == payload(n), "record {n} is not what was appended");
    n
}

/// Appends records `range`; says where each is.
pub(crate) fn append(appender: &mut Appender, range: std::ops::Range<u64>) -> Vec<u64> {
    range.map(|n| appender.append_at(n, &payload(n)).unwrap().position()).collect()
}

/// What a reader met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    Record(u64),
    Gap(LogGapReason, Option<u64>),
}

/// Everything from here on.
pub(crate) fn rest(reader: &mut LogReader) -> Result<Vec<Met>, LogReadError> {
    let mut met = vec![];
    while let Some(item) = reader.next()? {
        met.push(match item {
            LogItem::Record(record) => Met::Record(number(&record)),
            LogItem::Gap(gap) => Met::Gap(gap.reason, gap.n_bytes),
        });
    }
    Ok(met)
}

fn records(range: std::ops::Range<u64>) -> Vec<Met> {
    range.map(Met::Record).collect()
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Append { n: u64, time: u64 },
    Reopen,
    Oldest,
    Now,
    At(usize, u64),
    Since(u64),
    Read(usize),
    Save,
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..60, 0u64..50).prop_map(|(n, time)| Step::Append { n, time }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Oldest),
        1 => Just(Step::Now),
        2 => (any::<usize>(), 0u64..1100).prop_map(|(at, off)| Step::At(at, off)),
        2 => (0u64..60).prop_map(Step::Since),
        3 => (1usize..80).prop_map(Step::Read),
        1 => Just(Step::Save),
        1 => Just(Step::Resume),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    // Goal: a log read from any place is the vector of what was appended from that place on, whatever order its timestamps have. Method:
    // random appends of records with random times, starts of all kinds, cursors and reopenings, over rolls, beside a vector.
    #[test]
    fn a_reader_gives_what_was_appended_like_a_vector(steps in prop::collection::vec(step(), 1..60)) {
        let directory = directory();
        let path = directory.path().join("log");
        let mut appender = Some(small().create(&path).unwrap());
        let mut reader = LogReader::open(&path).unwrap();
        // Position and time of each record; where the reader is among them; where it was saved.
        let (mut model, mut at, mut saved) = (Vec::<(u64, u64)>::new(), 0, None);
        for step in steps {
            match step {
                Step::Append { n, time } => {
                    let appender = appender.as_mut().unwrap();
                    for _ in 0..n {
                        let n = model.len() as u64;
                        // Up and down by a few, and up in the long run, or not at all.
                        let time = (n / 20 + mix(n) % 10).min(time + 5);
                        let receipt = appender.append_at(time, &payload(n)).unwrap();
                        model.push((receipt.position(), time));
                    }
                }
                Step::Reopen => {
                    drop(appender.take());
                    appender = Some(small().open(&path).unwrap());
                }
                Step::Oldest => {
                    reader.seek(LogStart::Oldest).unwrap();
                    at = 0;
                }
                Step::Now => {
                    reader.seek(LogStart::Now).unwrap();
                    at = model.len();
                }
                Step::At(which, off) if !model.is_empty() => {
                    let position = model[which % model.len()].0 + off;
                    let end = appender.as_ref().unwrap().end();
                    let found = reader.seek(LogStart::At(position));
                    if position > end {
                        prop_assert_eq!(found, Err(LogReadError::NoSuchPosition { position, end }));
                    } else {
                        prop_assert_eq!(found, Ok(()));
                        at = model.partition_point(|record| record.0 < position);
                    }
                }
                Step::Since(time) => {
                    reader.seek(LogStart::Since(time)).unwrap();
                    at = model.iter().position(|record| record.1 >= time).unwrap_or(model.len());
                }
                Step::Read(n) => {
                    for _ in 0..n {
                        match reader.next().unwrap() {
                            Some(LogItem::Record(record)) => {
                                prop_assert_eq!(number(&record), at as u64);
                                prop_assert_eq!((record.position(), record.timestamp_ns()), model[at]);
                                at += 1;
                            }
                            None => prop_assert_eq!(at, model.len()),
                            other => panic!("{other:?}"),
                        }
                    }
                }
                Step::Save => {
                    reader.save_cursor("mine").unwrap();
                    saved = Some(at);
                }
                Step::Resume => match saved {
                    Some(saved) => {
                        reader.seek_cursor("mine").unwrap();
                        at = saved;
                    }
                    None => prop_assert!(reader.seek_cursor("mine").is_err()),
                },
                Step::At(..) => {}
            }
        }
        prop_assert_eq!(rest(&mut reader).unwrap(), records(at as u64..model.len() as u64));
        let report = Log::verify(&path, |_| {}).unwrap();
        prop_assert!(report.is_clean(), "{:?}", report);
        prop_assert_eq!(report.n_records, model.len() as u64);
    }
}

#[test]
fn records_longer_than_an_index_step_are_found() {
    // Goal: seeks by position and time are right where a record spans several steps of the index. Method: records of 0 to 250 KiB in
    // segments of 1 MiB; every one looked for.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = LogOptions::new().segment_bytes(1 << 20).create(&path).unwrap();
    let long = vec![7; 250 << 10];
    let positions: Vec<u64> = (0..60)
        .map(|n| appender.append_at(n * 10, &long[..(mix(n) % (250 << 10)) as usize]).unwrap().position())
        .collect();
    let mut reader = LogReader::open(&path).unwrap();
    for (n, position) in positions.iter().enumerate() {
        for start in [
            LogStart::At(*position),
            LogStart::Since(n as u64 * 10),
            LogStart::Since(n as u64 * 10 - 9 * u64::from(n > 0)),
        ] {
            reader.seek(start).unwrap();
            let Some(LogItem::Record(record)) = reader.next().unwrap() else { panic!("record {n}") };
            assert_eq!(record.position(), *position);
        }
    }
    assert!(Log::verify(&path, |_| {}).unwrap().is_clean());
}

#[test]
fn a_reader_keeps_what_it_has_mapped_and_is_told_what_was_retired() {
    // Goal: retention takes no record from under a reader; at the segment's end it is told how many bytes are gone. Method: a reader in the
    // first segment while 20 more come and go, a slice in hand; the bytes that it is told of are those between.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = small().keep_bytes(3 * SEGMENT_BYTES).create(&path).unwrap();
    let mut positions = append(&mut appender, 0..10);
    let mut reader = LogReader::open(&path).unwrap();
    let Some(LogItem::Record(record)) = reader.next().unwrap() else { panic!("the first record") };
    let slice = record.payload();
    positions.extend(append(&mut appender, 10..2500));
    eventually("the oldest segments are retired", || {
        Log::inspect(&path).unwrap().first_position > 10 * SEGMENT_BYTES
    });
    assert_eq!(number(slice), 0);
    let mut n = 1;
    let gap = loop {
        match reader.next().unwrap().expect("a gap") {
            LogItem::Record(record) => {
                assert_eq!(number(&record), n);
                n += 1;
            }
            LogItem::Gap(gap) => break gap,
        }
    };
    assert_eq!(gap.reason, LogGapReason::Retired);
    assert_eq!(gap.position, positions[n as usize]);
    let Some(LogItem::Record(record)) = reader.next().unwrap() else { panic!("a record behind the gap") };
    let next = number(&record);
    assert_eq!(gap.n_bytes, Some(positions[next as usize] - gap.position));
    assert_eq!(rest(&mut reader).unwrap(), records(next + 1..2500));
    // Who asks for what is gone is told the same.
    reader.seek(LogStart::At(positions[3])).unwrap();
    let met = rest(&mut reader).unwrap();
    assert!(matches!(met[0], Met::Gap(LogGapReason::Retired, Some(_))), "{:?}", met[0]);
    // Who asks for the oldest is not.
    reader.seek(LogStart::Oldest).unwrap();
    assert!(matches!(rest(&mut reader).unwrap()[0], Met::Record(n) if n > 10));
}

#[test]
fn cursors_are_kept_listed_and_removed() {
    // Goal: cursors have names of their own, are checked, and never reach another file. Method: saved, set, listed, damaged, of another log.
    let directory = directory();
    let (path, other) = (directory.path().join("log"), directory.path().join("other"));
    let mut appender = small().create(&path).unwrap();
    let positions = append(&mut appender, 0..100);
    drop(small().create(&other).unwrap());
    let mut reader = LogReader::open(&path).unwrap();
    reader.seek(LogStart::At(positions[50])).unwrap();
    reader.save_cursor("b.2").unwrap();
    Log::set_cursor(&path, "a", positions[7]).unwrap();
    let list = |path: &Path| -> Vec<_> {
        Log::cursors(path).unwrap().into_iter().map(|cursor| (cursor.name, cursor.position)).collect()
    };
    assert_eq!(list(&path), [("a".into(), Some(positions[7])), ("b.2".into(), Some(positions[50]))]);
    assert_eq!(reader.seek_cursor("a").unwrap(), positions[7]);
    assert_eq!(rest(&mut reader).unwrap(), records(7..100));
    for name in ["", "x/y", "../a", "a b", "a.tmp", &"x".repeat(65)] {
        assert!(matches!(reader.save_cursor(name), Err(Error::Invalid { .. })), "{name:?}");
        assert!(matches!(Log::set_cursor(&path, name, 0), Err(Error::Invalid { .. })), "{name:?}");
    }
    for position in [positions[1] + 8, appender.end() + 16, u64::MAX] {
        assert!(matches!(Log::set_cursor(&path, "c", position), Err(Error::Invalid { .. })), "{position}");
    }
    // Of another log, and damaged.
    fs::copy(path.join("cursor-a"), other.join("cursor-a")).unwrap();
    assert!(matches!(LogReader::open(&other).unwrap().seek_cursor("a"), Err(Error::Corrupt { .. })));
    fs::write(path.join("cursor-b.2"), b"nonsense").unwrap();
    assert!(matches!(reader.seek_cursor("b.2"), Err(Error::Corrupt { .. })));
    assert_eq!(list(&path)[1], ("b.2".into(), None));
    Log::remove_cursor(&path, "b.2").unwrap();
    assert!(Log::remove_cursor(&path, "b.2").is_err());
    assert_eq!(list(&path).len(), 1);
    assert_eq!(
        fs::read_dir(&path)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("tmp"))
            .count(),
        0
    );
}

#[test]
fn a_log_that_may_only_be_read_is_read() {
    // Goal: reading and inspecting need no write permission; files that others can write are refused. Method: modes taken away; group write.
    let directory = directory();
    let path = directory.path().join("log");
    append(&mut small().create(&path).unwrap(), 0..300);
    let files = || fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    files().for_each(|file| chmod(&file, 0o400));
    chmod(&path, 0o500);
    let mut reader = LogReader::open(&path).unwrap();
    assert_eq!(rest(&mut reader).unwrap(), records(0..300));
    assert!(!Log::inspect(&path).unwrap().has_appender);
    assert!(Log::verify(&path, |_| {}).unwrap().is_clean());
    chmod(&path, 0o700);
    // All of them, the manifest's, a segment.
    for wanted in ["", "CURRENT", ".seg"] {
        files().for_each(|file| chmod(&file, 0o600));
        files().filter(|file| file.to_str().unwrap().ends_with(wanted)).for_each(|file| chmod(&file, 0o620));
        let refused = LogReader::open(&path).map(drop).unwrap_err();
        assert!(matches!(refused, Error::WrongMode { found_mode: 0o620, .. }), "{wanted}: {refused:?}");
    }
}

#[test]
fn what_is_no_log_is_refused() {
    // Goal: clear errors. Method: nothing, a file, an empty directory, a directory of something else.
    let directory = directory();
    let path = directory.path();
    assert!(matches!(LogReader::open(path.join("none")), Err(Error::NotFound { .. })));
    assert!(matches!(LogReader::open(path), Err(Error::NotFound { .. })));
    fs::write(path.join("notes"), "x").unwrap();
    assert!(matches!(Log::inspect(path), Err(Error::NotFound { .. })));
    assert!(LogReader::open(path.join("notes")).is_err());
}

#[test]
fn inspect_says_how_a_log_stands() {
    // Goal: numbers are those of the log. Method: a log with an appender, and without.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = small().create(&path).unwrap();
    let positions = append(&mut appender, 0..500);
    Log::set_cursor(&path, "c", positions[9]).unwrap();
    let stats = Log::inspect(&path).unwrap();
    assert!(stats.has_appender);
    assert_eq!(stats.appender_pid, std::process::id());
    assert_eq!((stats.first_position, stats.end_position), (0, appender.end()));
    assert_eq!(stats.segments.len() as u64, appender.end().div_ceil(SEGMENT_BYTES));
    assert!(stats.segments.iter().rev().skip(1).all(|segment| segment.is_sealed));
    assert_eq!(stats.cursors[0].position, Some(positions[9]));
    drop(appender);
    let stats = Log::inspect(&path).unwrap();
    assert!(!stats.has_appender);
    assert!(stats.durable <= stats.end_position);
}

#[test]
fn followers_miss_nothing_over_rolls_kills_and_recovery() {
    // Goal: who follows gets every published record once, in order, through rolls and through appenders that are killed and followed by
    // others. Method: two followers in other processes; appenders in others, killed at random, ten times; the last one says how many there are.
    let directory = directory();
    let path = directory.path().join("log");
    drop(small().create(&path).unwrap());
    let shown = path.display();
    let mut followers = [0, 1].map(|_| Actor::start("log_read::follower", &[("path", &shown)]));
    followers.iter_mut().for_each(|follower| drop(follower.expect("ready")));
    for n in 0..10u64 {
        let mut appender = Actor::start("log_read::appender", &[("path", &shown)]);
        appender.expect("ready");
        std::thread::sleep(Duration::from_micros(mix(n) % 30_000));
        appender.kill();
    }
    let mut reader = LogReader::open(&path).unwrap();
    let all = rest(&mut reader).unwrap();
    assert_eq!(all, records(0..all.len() as u64));
    assert!(all.len() > 1000, "{} records are too few to have rolled", all.len());
    for mut follower in followers {
        follower.tell(&format!("{}", all.len()));
        assert_eq!(follower.expect_number("all"), all.len() as u64);
        follower.finish();
    }
}

pub(crate) fn appender() {
    let path = Script::path();
    let mut reader = LogReader::open(&path).unwrap();
    let first = rest(&mut reader).unwrap().len() as u64;
    let mut appender = small().open(&path).unwrap();
    let now = rest(&mut reader).unwrap();
    assert!(now.is_empty(), "recovery published {now:?}");
    say("ready");
    for n in first.. {
        let _ = appender.append(&payload(n)).unwrap();
    }
}

pub(crate) fn follower() {
    let mut reader = LogReader::open(Script::path()).unwrap();
    say("ready");
    let wanted = std::thread::spawn(listen);
    let (mut n, start) = (0, Instant::now());
    loop {
        match reader.next_timeout(Duration::from_millis(5)).unwrap() {
            Some(LogItem::Record(record)) => {
                assert_eq!(number(&record), n);
                n += 1;
            }
            Some(LogItem::Gap(gap)) => panic!("{gap:?}"),
            None if wanted.is_finished() => break,
            None => assert!(start.elapsed() < PATIENCE),
        }
    }
    assert_eq!(wanted.join().unwrap(), n.to_string());
    say(&format!("all {n}"));
}

#[test]
fn a_killed_follower_goes_on_at_its_cursor() {
    // Goal: who saves its cursor behind its work misses nothing through kills, and repeats at most what came behind the last save. Method: a
    // follower in another process is killed ten times while records come.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = small().create(&path).unwrap();
    let (mut seen, mut appended) = (0u64, 0);
    for n in 0..10u64 {
        let mut follower = Actor::start("log_read::saver", &[("path", &path.display())]);
        let first = follower.expect_number("from");
        assert!(first <= seen, "records {seen}..{first} were missed");
        append(&mut appender, appended..appended + 200);
        appended += 200;
        std::thread::sleep(Duration::from_micros(mix(n) % 20_000));
        follower.kill();
        for line in follower.last_words() {
            let n = line.strip_prefix("did ").unwrap().parse::<u64>().unwrap();
            assert!(n <= seen, "records {seen}..{n} were missed");
            seen = seen.max(n + 1);
        }
    }
    assert!(seen > 0);
}

pub(crate) fn saver() {
    let mut reader = LogReader::open(Script::path()).unwrap();
    // Without a cursor: the first life.
    let _ = reader.seek_cursor("saver");
    let mut is_first = true;
    loop {
        if let Some(item) = reader.next_timeout(Duration::from_millis(50)).unwrap() {
            let LogItem::Record(record) = item else { panic!("{item:?}") };
            let n = number(&record);
            if is_first {
                say(&format!("from {n}"));
            }
            say(&format!("did {n}"));
            reader.save_cursor("saver").unwrap();
        } else if is_first {
            let at = Log::inspect(reader.path()).unwrap().end_position;
            assert_eq!(at, reader.position());
            say(&format!("from {}", 0));
        }
        is_first = false;
    }
}

#[test]
fn followers_go_on_behind_what_retention_took() {
    // Goal: a follower that is too slow is told what is gone, and gets the rest; a fast one loses nothing. Method: an appender with a small
    // log, a follower that sleeps in between; numbers of records and gaps add up.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = small().keep_bytes(2 * SEGMENT_BYTES).create(&path).unwrap();
    let mut reader = LogReader::open(&path).unwrap();
    let (mut positions, mut next, mut n_gaps) = (vec![], 0, 0);
    for turn in 0..40u64 {
        positions.extend(append(&mut appender, turn * 100..turn * 100 + 100));
        if turn % 8 == 7 {
            loop {
                match reader.next().unwrap() {
                    Some(LogItem::Record(record)) => {
                        assert_eq!(number(&record), next);
                        next += 1;
                    }
                    Some(LogItem::Gap(gap)) => {
                        assert_eq!(
                            (gap.reason, gap.position),
                            (LogGapReason::Retired, positions[next as usize])
                        );
                        let behind = gap.position + gap.n_bytes.unwrap();
                        next = positions.partition_point(|position| *position < behind) as u64;
                        n_gaps += 1;
                    }
                    None => break,
                }
            }
            assert_eq!(next, positions.len() as u64);
        }
    }
    assert!(n_gaps > 0);
    assert_eq!(reader.stats().n_gaps, n_gaps);
}

#[test]
fn retention_is_never_taken_for_damage() {
    // Goal: a reader that loses every race against retention, and against files that are used again, is told of gaps and of nothing else.
    // Method: an appender that rolls as fast as it can and keeps almost nothing, readers beside it, for a while.
    let directory = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| directory());
    let path = directory.path().join("log");
    let mut appender = small().keep_bytes(SEGMENT_BYTES).create(&path).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let read = || {
            let mut reader = LogReader::open(&path).unwrap();
            let (mut n_records, mut next) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                match reader.next_timeout(Duration::from_millis(1)).unwrap() {
                    Some(LogItem::Record(record)) => {
                        assert!(record.timestamp_ns() >= next);
                        (n_records, next) = (n_records + 1, record.timestamp_ns() + 1);
                    }
                    Some(LogItem::Gap(gap)) => assert_eq!(gap.reason, LogGapReason::Retired),
                    None => {}
                }
            }
            assert!(n_records > 0);
        };
        (0..3).for_each(|_| drop(scope.spawn(read)));
        let (start, payload) = (Instant::now(), [1; 4000]);
        for n in 0.. {
            let _ = appender.append_at(n, &payload).unwrap();
            if start.elapsed() > Duration::from_secs(3) {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(appender.stats().n_recycled > 0);
}

#[test]
fn a_forked_child_reads_with_a_reader_of_its_own() {
    // Goal: a reader does not cross a fork; the parent's goes on. Method: a process forks with a reader in hand.
    let directory = directory();
    let path = directory.path().join("log");
    append(&mut small().create(&path).unwrap(), 0..300);
    alone("log_read::forks", &[("path", &path.display())]);
}

pub(crate) fn forks() {
    let mut reader = LogReader::open(Script::path()).unwrap();
    assert!(matches!(reader.next(), Ok(Some(LogItem::Record(_)))));
    let child = fork(|| {
        assert_eq!(reader.next().map(drop), Err(LogReadError::Forked));
        assert_eq!(reader.seek(LogStart::Oldest), Err(LogReadError::Forked));
        assert!(matches!(reader.save_cursor("child"), Err(Error::Forked)));
        let mut own = LogReader::open(Script::path()).unwrap();
        assert_eq!(rest(&mut own).unwrap(), records(0..300));
    });
    child.finish();
    assert_eq!(rest(&mut reader).unwrap(), records(1..300));
}

#[cfg(feature = "guard")]
#[test]
fn a_segment_that_is_cut_while_it_is_read_is_an_error() {
    // Goal: with the feature `guard` a cut is an error, not the end of the process. Method: the mapped segment is cut in its first frames.
    let directory = directory();
    let path = directory.path().join("log");
    append(&mut small().create(&path).unwrap(), 0..100);
    let mut reader = LogReader::open(&path).unwrap();
    assert!(matches!(reader.next(), Ok(Some(LogItem::Record(_)))));
    let file = fs::OpenOptions::new().write(true).open(path.join("00000000000000000001.seg")).unwrap();
    file.set_len(4 * 4096).unwrap();
    let error = loop {
        match reader.next() {
            Ok(Some(LogItem::Record(record))) => drop(number(&record)),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, LogReadError::Truncated { segment: 1 });
}
