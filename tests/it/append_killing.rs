//! Append, killing: writers die by SIGKILL at any moment, and what they had pushed is there, whole, for the next one and for followers.
//!
//! ```text
//!   nursery (a role): forks a writer, kills it at random, forks the next ...
//!      writer: looks at every record that is there, then pushes the next ones, clears now and then
//!      oracle: a file of two words, written with system calls, which a kill can't take back:
//!              records that were pushed | whether a clear is on its way
//!   follower (the test): copies random parts all the time, in one era each, and pins
//! ```
//!
//! Records are numbered through all lives; a record is its number, its length, and bytes that follow from both.

use crate::harness::{Actor, PATIENCE, Script, directory, fork, say};
use crate::records::{length, mix, record};
use shm_ring::{AppendFile, AppendOptions, FollowError, SyncPolicy};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const LONGEST: usize = 3000;

fn framed(n: u64) -> Vec<u8> {
    let payload = record(7, n, length(7, n, LONGEST));
    [&n.to_le_bytes()[..], &(payload.len() as u64).to_le_bytes(), &payload].concat()
}

/// Fails unless these are whole records in a row; the first and the one behind the last.
fn check(mut data: &[u8]) -> Option<(u64, u64)> {
    let number = |data: &[u8]| u64::from_le_bytes(data[..8].try_into().unwrap());
    let first = data.first().map(|_| number(data))?;
    let mut n = first;
    while !data.is_empty() {
        let expected = framed(n);
        assert!(
            data.len() >= expected.len(),
            "record {n} is torn: {} of {} bytes",
            data.len(),
            expected.len()
        );
        assert!(data[..expected.len()] == expected, "record {n} is not what was pushed");
        data = &data[expected.len()..];
        n += 1;
    }
    Some((first, n))
}

#[test]
fn writers_may_be_killed_at_any_moment() {
    // Goal: every push that returned is there, whole, after its writer was killed; at most one more; followers never see a torn byte; the
    // next writer goes on. Method: 300 kills at random moments, SHM_RING_KILL_ROUNDS of them if that is set; see above.
    let kills = std::env::var("SHM_RING_KILL_ROUNDS").map_or(300, |rounds| rounds.parse().unwrap());
    let directory = directory();
    let (path, oracle) = (directory.path().join("a"), directory.path().join("oracle"));
    drop(AppendOptions::new().capacity(1).create(&path).unwrap());
    std::fs::write(&oracle, [0; 16]).unwrap();
    let params: [(&str, &dyn std::fmt::Display); 3] =
        [("path", &path.display()), ("oracle", &oracle.display()), ("kills", &kills)];
    let mut nursery = Actor::start("append_killing::nursery", &params);
    let mut follower = AppendFile::follow(&path).unwrap();
    let (start, patience) = (Instant::now(), PATIENCE + Duration::from_millis(50) * kills);
    let (mut turn, mut pins, mut reads) = (0, 0, 0);
    while nursery.hear_within(Duration::ZERO).is_none() {
        assert!(start.elapsed() < patience, "{turn} turns, no end");
        turn += 1;
        if turn % 16 == 0 {
            check(follower.pin().unwrap().data());
            pins += 1;
            // Leaves the writers a chance to clear.
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        let mut bytes = vec![0; follower.len() as usize];
        match follower.read_at(0, &mut bytes) {
            Ok(()) => drop(check(&bytes)),
            Err(FollowError::Cleared { .. } | FollowError::OutOfBounds { .. }) => continue,
            Err(error) => panic!("{error}"),
        }
        reads += 1;
    }
    nursery.finish();
    let pushed = verify(&AppendFile::open(&path).unwrap(), &File::open(&oracle).unwrap());
    println!("{kills} kills, {pushed} records, {reads} reads, {pins} pins");
    assert!(
        pushed > u64::from(kills) && reads > 2 && pins > 2,
        "{pushed} records, {reads} reads, {pins} pins show little"
    );
}

pub(crate) fn nursery() {
    let (path, oracle) = (Script::path(), Script::text("oracle"));
    for life in 0..Script::number("kills") {
        let mut writer = fork(|| write(&path, oracle.as_ref(), life));
        // From "not yet open" to some thousand pushes.
        std::thread::sleep(Duration::from_micros(mix(life) % (1 << (mix(!life) % 16))));
        writer.kill();
    }
    say("over");
}

/// Every record that was said to be pushed is there, and at most one more; how many were.
fn verify(file: &AppendFile, oracle: &File) -> u64 {
    let word = |at: u64| {
        let mut bytes = [0; 8];
        oracle.read_exact_at(&mut bytes, at).unwrap();
        u64::from_le_bytes(bytes)
    };
    let (told, is_clearing) = (word(0), word(8) == 1);
    match check(file.data()) {
        None => assert!(told == 0 || is_clearing, "{told} records, and none of them is there"),
        Some((_, next)) => assert!(next == told || next == told + 1, "{next} records, {told} were pushed"),
    }
    check(file.data()).map_or(told, |(_, next)| next)
}

fn write(path: &Path, oracle: &Path, life: u64) {
    // The growth and sync of a small file are where much can happen.
    let policy = if life % 8 == 7 { SyncPolicy::EachPush } else { SyncPolicy::Never };
    let mut file = AppendOptions::new().sync(policy).open(path).unwrap();
    let oracle = OpenOptions::new().read(true).write(true).open(oracle).unwrap();
    let tell = |at: u64, value: u64| oracle.write_all_at(&value.to_le_bytes(), at).unwrap();
    let mut n = verify(&file, &oracle);
    tell(0, n);
    loop {
        file.push(&framed(n)).unwrap();
        n += 1;
        tell(0, n);
        tell(8, 0);
        if mix(n).is_multiple_of(50) {
            tell(8, 1);
            // Refused while the follower pins.
            let _ = if mix(!n).is_multiple_of(2) { file.clear() } else { file.resize(0) };
        }
    }
}
