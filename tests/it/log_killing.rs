//! Log, killing: appenders die by SIGKILL at any moment, and what they had appended is there, whole and once, for the next one.
//!
//! ```text
//!   nursery (a role): starts an appender, kills it at random, starts the next ...
//!      appender: looks at every record that is there, then appends the next ones; small segments, so that it rolls, retires and recycles
//!      oracle: a word, written with system calls, which a kill can't take back: records that were appended
//! ```
//!
//! Records are numbered through all lives.

use crate::harness::{Actor, Script, directory, fork, say};
use crate::log_append::SMALL;
use crate::log_raw::records;
use crate::records::{length, mix, record};
use shm_ring::{DryRun, Durability, Error, Log, LogGapReason, LogItem, LogOptions, LogReader};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

const LONGEST: usize = 3000;

fn framed(n: u64) -> Vec<u8> {
    [&n.to_le_bytes()[..], &record(7, n, length(7, n, LONGEST))].concat()
}

/// Fails unless these are whole records in a row; the number behind the last.
fn check(path: &Path, told: u64) -> u64 {
    let found = records(path);
    let number = |payload: &[u8]| u64::from_le_bytes(payload[..8].try_into().unwrap());
    let first = found.first().map_or(0, |(_, payload)| number(payload));
    for (n, (position, payload)) in (first..).zip(&found) {
        assert!(*payload == framed(n), "record {n} at {position} is not what was appended");
    }
    let next = first + found.len() as u64;
    assert!(next == told || next == told + 1, "{next} records, {told} were appended");
    next
}

#[test]
fn appenders_may_be_killed_at_any_moment() {
    // Goal: every append that returned is there, whole and once, after its appender was killed; at most one more; the next goes on.
    // Method: 60 kills at random moments, SHM_RING_KILL_ROUNDS of them if that is set; see above.
    let kills = n_kills();
    let directory = directory();
    let (path, oracle) = (directory.path().join("log"), directory.path().join("oracle"));
    std::fs::write(&oracle, [0; 8]).unwrap();
    let params: [(&str, &dyn std::fmt::Display); 3] =
        [("path", &path.display()), ("oracle", &oracle.display()), ("kills", &kills)];
    run("log_killing::nursery", &params, kills, &oracle);
    let told = u64::from_le_bytes(std::fs::read(&oracle).unwrap().try_into().unwrap());
    let log = LogOptions::new().segment_bytes(SMALL).open(&path).unwrap();
    let next = check(&path, told);
    println!("{kills} kills, {next} records, {} segments looked through", log.recovery().n_segments);
    assert!(next > u64::from(kills));
}

#[test]
fn followers_and_collectors_may_be_killed_at_any_moment() {
    // Goal: a follower's cursor is one that it saved, the last that it was told of or a later one, and a log that was being collected is
    // whole from wherever it begins. Method: followers and collectors that die at random moments, one after the other; as many kills of each
    // as above.
    let kills = n_kills();
    let directory = directory();
    let (path, oracle) = (directory.path().join("log"), directory.path().join("oracle"));
    std::fs::write(&oracle, [0; 8]).unwrap();
    let params: [(&str, &dyn std::fmt::Display); 3] =
        [("path", &path.display()), ("oracle", &oracle.display()), ("kills", &(2 * kills))];
    run("log_killing::other_nursery", &params, 2 * kills, &oracle);
    let report = Log::verify(&path, |_| {}).unwrap();
    println!("{kills} kills each, {} records are left in {} segments", report.n_records, report.n_segments);
    assert!(report.is_clean() && report.n_records > 0, "{report:?}");
    let numbers = records(&path);
    check(&path, u64::from_le_bytes(numbers.last().unwrap().1[..8].try_into().unwrap()) + 1);
}

fn n_kills() -> u32 {
    std::env::var("SHM_RING_KILL_ROUNDS").map_or(60, |rounds| rounds.parse().unwrap())
}

/// Runs a nursery to its end, and fails if a life of it did not end by being killed.
fn run(role: &'static str, params: &[(&str, &dyn std::fmt::Display)], kills: u32, oracle: &Path) {
    let mut nursery = Actor::start(role, params);
    let start = std::time::Instant::now();
    let patience = crate::harness::PATIENCE + Duration::from_millis(200) * kills;
    while nursery.hear_within(Duration::from_millis(100)).is_none() {
        assert!(start.elapsed() < patience, "no end");
    }
    nursery.finish();
    let failed = std::fs::read_to_string(oracle.with_extension("failed"));
    assert!(failed.is_err(), "{failed:?}; its message is above");
}

pub(crate) fn other_nursery() {
    let (path, oracle) = (Script::path(), Script::text("oracle"));
    fill(&path);
    for life in 0..Script::number("kills") {
        // From "not yet open" to all that there is to do, and then some waiting.
        let mut other = fork(|| {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                if life % 2 == 0 {
                    follow(&path, oracle.as_ref())
                } else {
                    collect(&path)
                }
                std::thread::sleep(Duration::from_secs(60));
            }));
            std::fs::write(format!("{oracle}.failed"), format!("life {life}: {outcome:?}")).unwrap();
        });
        std::thread::sleep(Duration::from_micros(mix(life) % (1 << (mix(!life) % 15))));
        other.kill();
        if life % 20 == 19 {
            fill(&path);
        }
    }
    say("over");
}

/// Some more records, and an end in order.
fn fill(path: &Path) {
    let mut log = LogOptions::new().segment_bytes(SMALL).open_or_create(path).unwrap();
    let next =
        records(path).last().map_or(0, |(_, last)| u64::from_le_bytes(last[..8].try_into().unwrap()) + 1);
    for n in next..next + 300 {
        let _ = log.append_at(n, &framed(n)).unwrap();
    }
    log.close().unwrap();
}

/// Goes on where a cursor says, looks at every record, and saves the cursor now and then.
fn follow(path: &Path, oracle: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(oracle).unwrap();
    let mut word = [0; 8];
    file.read_exact_at(&mut word, 0).unwrap();
    let told = u64::from_le_bytes(word);
    let mut reader = LogReader::open(path).unwrap();
    match reader.seek_cursor("follower") {
        Ok(position) => assert!(position >= told, "{position} was saved before {told} was"),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            assert_eq!(told, 0, "the cursor is gone");
        }
        Err(why) => panic!("{why}"),
    }
    let mut next = None;
    loop {
        match reader.next().unwrap() {
            None => break,
            Some(LogItem::Gap(gap)) => {
                assert_eq!(gap.reason, LogGapReason::Retired, "{gap:?}");
                next = None;
            }
            Some(LogItem::Record(found)) => {
                let n = u64::from_le_bytes(found[..8].try_into().unwrap());
                assert!(next.is_none_or(|next| next == n) && *found == framed(n)[..]);
                next = Some(n + 1);
            }
        }
        if next.is_some_and(|next| next % 7 == 0) {
            reader.save_cursor("follower").unwrap();
            file.write_all_at(&reader.position().to_le_bytes(), 0).unwrap();
        }
    }
}

fn collect(path: &Path) {
    for keep_bytes in [400_000, 300_000, 200_000] {
        Log::gc(path, Some(keep_bytes), None, DryRun::No).unwrap();
    }
}

pub(crate) fn nursery() {
    let (path, oracle) = (Script::path(), Script::text("oracle"));
    for life in 0..Script::number("kills") {
        let mut appender = fork(|| {
            let outcome = catch_unwind(AssertUnwindSafe(|| append(&path, oracle.as_ref(), life)));
            // Whoever fails is not killed for it: it says so where the test looks.
            std::fs::write(format!("{oracle}.failed"), format!("life {life}: {outcome:?}")).unwrap();
        });
        // From "not yet open" to some thousand appends.
        std::thread::sleep(Duration::from_micros(mix(life) % (1 << (mix(!life) % 17))));
        appender.kill();
    }
    say("over");
}

fn append(path: &Path, oracle: &Path, life: u64) {
    let durability = match life % 4 {
        0 => Durability::EachRecord,
        1 => Durability::Interval(Duration::from_millis(1)),
        _ => Durability::Process,
    };
    let options = LogOptions::new().segment_bytes(SMALL).durability(durability);
    let options = if life % 3 == 2 { options.keep_bytes(1 << 20) } else { options };
    let file: File = OpenOptions::new().read(true).write(true).open(oracle).unwrap();
    let mut word = [0; 8];
    file.read_exact_at(&mut word, 0).unwrap();
    let tell = |n: u64| file.write_all_at(&n.to_le_bytes(), 0).unwrap();
    // As it was left, and before helpers let go of segments under the look.
    let mut n = if path.exists() { check(path, u64::from_le_bytes(word)) } else { 0 };
    let mut log = options.open_or_create(path).unwrap();
    assert!(log.recovery().lost_bytes == 0 && !log.recovery().was_cut_short, "{:?}", log.recovery());
    tell(n);
    loop {
        let receipt = log.append_at(n, &framed(n)).unwrap();
        if n % 16 == 0 {
            receipt.wait().unwrap();
        }
        n += 1;
        tell(n);
    }
}
