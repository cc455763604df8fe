//! Ranged killing: many processes in one file at once, and writers that die by SIGKILL at any moment.
//!
//! ```text
//!   nursery (a role): rounds of: forks lives, kills one at random, forks another ...; kills all; opens the file alone and looks
//!      life: opens; then for ever: allocates, tells, fills, tells, commits, tells; frees, drops, leaks, flushes
//!   oracle: a file per life, an entry before and after each step, with a system call, so that a kill can't take it back
//! ```

#![allow(clippy::single_range_in_vec_init, reason = "runs are compared with lists of runs")]

use crate::harness::{Actor, Forked, Script, directory, fork, listen, say};
use crate::records::{check_bytes, fill, mix, record};
use shm_ring::{Alignment, AllocateError, RangedFile, RangedOptions, Receipt};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SIZE: u64 = 256 << 10;
const UNIT: u64 = 64;
const LIVES: u64 = 4;
const KILLS_PER_ROUND: u64 = 10;
const KILLS_PER_NURSERY: u64 = 200;
const WORTHLESS: u8 = 0xee;

#[test]
fn writers_may_be_killed_at_any_moment() {
    // Goal: what was reported written is there, byte by byte, and stays through everything that follows; what was handed out and not
    // written comes back, all of it; nothing is handed out twice. Method: four writers at a time, kills at random moments, an oracle; after
    // each round the file is opened alone, everything free is overwritten, and all that is written is looked at again.
    let kills: u64 =
        std::env::var("SHM_RING_KILL_ROUNDS").map_or(100, |kills| kills.parse().expect("a number of kills"));
    let (mut ranges, mut kept) = (0, 0);
    for first in (0..kills).step_by(KILLS_PER_NURSERY as usize) {
        let directory = directory();
        let path = directory.path().display();
        let kills = KILLS_PER_NURSERY.min(kills - first);
        let mut nursery = Actor::start(
            "ranged_killing::nursery",
            &[("path", &path), ("kills", &kills), ("seed", &(first + 1))],
        );
        ranges += nursery.expect_number("ranges");
        kept += nursery.expect_number("kept");
        nursery.finish();
    }
    println!("{kills} kills, {ranges} ranges, {kept} kept to the end");
}

/// How far a range has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Taken,
    Committing,
    Committed,
    Freeing,
    Freed,
}

const STAGES: [Stage; 5] = [Stage::Taken, Stage::Committing, Stage::Committed, Stage::Freeing, Stage::Freed];

/// What a process was handed out.
#[derive(Clone, Copy, Debug)]
struct Claim {
    life: u64,
    n: u64,
    start: u64,
    len: u64,
    stage: Stage,
}

impl Claim {
    fn units(&self) -> Range<u64> {
        self.start / UNIT..(self.start + self.len).div_ceil(UNIT)
    }
}

/// What lives tell.
struct Oracle {
    file: File,
    life: u64,
}

impl Oracle {
    fn path(directory: &Path, life: u64) -> PathBuf {
        directory.join(format!("life {life}"))
    }

    fn new(directory: &Path, life: u64) -> Self {
        let path = Self::path(directory, life);
        Self { file: OpenOptions::new().append(true).create_new(true).open(path).unwrap(), life }
    }

    fn tell(&mut self, stage: Stage, n: u64, range: Range<u64>) {
        let words = [stage as u64, n, range.start, range.end - range.start];
        self.file.write_all(&words.map(u64::to_le_bytes).concat()).unwrap();
    }

    /// Everything that a life was handed out, with its last stage.
    fn read(directory: &Path, life: u64) -> Vec<Claim> {
        let mut claims = BTreeMap::new();
        for entry in std::fs::read(Self::path(directory, life)).unwrap_or_default().chunks(32) {
            let word = |index: usize| u64::from_le_bytes(entry[index * 8..][..8].try_into().unwrap());
            let (stage, n, start, len) = (STAGES[word(0) as usize], word(1), word(2), word(3));
            claims.insert(n, Claim { life, n, start, len, stage });
        }
        claims.into_values().collect()
    }
}

pub(crate) fn nursery() {
    let (directory, seed) = (Script::path(), Script::number("seed"));
    let path = directory.join("file");
    drop(RangedOptions::new().create(&path, SIZE).unwrap());
    let mut next_life = 0;
    let mut kept: Vec<Claim> = vec![];
    let mut total = 0;
    let mut left = Script::number("kills");
    while left > 0 {
        let first = next_life;
        let mut bear = || {
            next_life += 1;
            let life = next_life - 1;
            fork(|| live(&path, &directory, life, seed))
        };
        let mut alive: Vec<Forked> = (0..LIVES).map(|_| bear()).collect();
        for _ in 0..KILLS_PER_ROUND.min(left) {
            let random = mix(seed << 32 | left);
            std::thread::sleep(Duration::from_micros(random % 4000));
            let victim = (random >> 32) as usize % alive.len();
            alive[victim].kill();
            alive[victim] = bear();
            left -= 1;
        }
        drop(alive);
        let mut claims = kept.clone();
        for life in first..next_life {
            claims.extend(Oracle::read(&directory, life));
            let _ = std::fs::remove_file(Oracle::path(&directory, life));
        }
        total += claims.len() - kept.len();
        kept = examine(&path, &claims, mix(left ^ seed));
    }
    assert!(total as u64 > next_life, "{total} ranges in {next_life} lives show little");
    say(&format!("ranges {total}"));
    say(&format!("kept {}", kept.len()));
}

/// Opens the file alone and compares it with what its writers said; frees most of it. What is left.
fn examine(path: &Path, claims: &[Claim], random: u64) -> Vec<Claim> {
    let mut file = RangedFile::open(path).unwrap();
    let mut units = vec![false; (SIZE / UNIT) as usize];
    for run in file.written().unwrap() {
        units[(run.start / UNIT) as usize..run.end.div_ceil(UNIT) as usize].fill(true);
    }
    let mut owner = vec![None; units.len()];
    for claim in claims.iter().filter(|claim| claim.stage == Stage::Committed) {
        for unit in claim.units() {
            let before = owner[unit as usize].replace(claim);
            assert!(before.is_none(), "unit {unit} was handed out twice: {before:?} {claim:?}");
            assert!(units[unit as usize], "unit {unit} of {claim:?} is lost");
        }
    }
    compare(&file, claims, &units);
    // Nobody has the rest: all of it can be handed out, once.
    let mut drained = vec![];
    while let Ok(mut range) = file.allocate_up_to(79 * UNIT) {
        for unit in range.start() / UNIT..range.end().div_ceil(UNIT) {
            assert!(!units[unit as usize], "unit {unit} is written, and handed out");
        }
        range.as_mut_slice().fill(WORTHLESS);
        drained.push(range);
    }
    let missing: u64 = file.missing().unwrap().map(|run| run.end - run.start).sum();
    assert_eq!(drained.iter().map(|range| range.len()).sum::<u64>(), missing, "something leaked");
    compare(&file, claims, &units);
    drop(drained);
    assert_eq!(file.remaining(), missing);
    // Some stay for good; what lay open when its writer died is freed with the others.
    let is_kept =
        |claim: &&Claim| claim.stage == Stage::Committed && mix(random ^ claim.start).is_multiple_of(4);
    let mut kept: Vec<Claim> = claims.iter().filter(is_kept).copied().collect();
    kept.sort_by_key(|claim| claim.start);
    kept.truncate(40);
    for receipt in file.adopt().unwrap() {
        free_between(&file, receipt, &kept);
    }
    let expected: Vec<_> = kept.iter().flat_map(Claim::units).collect();
    let found: Vec<_> =
        file.written().unwrap().flat_map(|run| run.start / UNIT..run.end.div_ceil(UNIT)).collect();
    assert_eq!(found, expected);
    kept
}

/// Whether each written unit holds what somebody wrote there who may have done so last.
fn compare(file: &RangedFile, claims: &[Claim], units: &[bool]) {
    let mut bytes = vec![0; UNIT as usize];
    let mut matched = vec![false; units.len()];
    for claim in claims.iter().filter(|claim| !matches!(claim.stage, Stage::Taken | Stage::Freed)) {
        let whole = record(claim.life, claim.n, claim.len as usize);
        for unit in claim.units().filter(|unit| units[*unit as usize]) {
            file.read_at(unit * UNIT, &mut bytes).unwrap();
            let at = (unit * UNIT - claim.start) as usize;
            let part = &whole[at..whole.len().min(at + UNIT as usize)];
            let is_its = bytes.starts_with(part);
            assert!(is_its || claim.stage != Stage::Committed, "unit {unit} of {claim:?} was overwritten");
            matched[unit as usize] |= is_its;
        }
    }
    let stranger = units.iter().zip(&matched).position(|(written, matched)| *written && !matched);
    assert_eq!(stranger, None, "a written unit holds what nobody wrote");
}

/// Frees what of a receipt is not kept.
fn free_between(file: &RangedFile, mut receipt: Receipt, kept: &[Claim]) {
    for claim in kept {
        let [start, end] = [claim.units().start * UNIT, claim.units().end * UNIT];
        if end <= receipt.start() || start >= receipt.end() {
            continue;
        }
        if start > receipt.start() {
            let at = start - receipt.start();
            let (low, high) = receipt.split_at(at).unwrap();
            file.free(low).unwrap();
            receipt = high;
        }
        if end >= receipt.end() {
            return;
        }
        let at = end - receipt.start();
        receipt = receipt.split_at(at).unwrap().1;
    }
    file.free(receipt).unwrap();
}

/// A writer's life, which ends by SIGKILL only.
fn live(path: &Path, directory: &Path, life: u64, seed: u64) {
    let file = RangedFile::open(path).unwrap();
    let mut oracle = Oracle::new(directory, life);
    let mut receipts: Vec<(u64, Receipt)> = vec![];
    for n in 0.. {
        let random = mix(seed << 48 ^ oracle.life << 24 ^ n);
        let len = random % 3000 + 1;
        let which = (random >> 32) as usize;
        let taken = if random >> 60 == 0 { file.allocate_up_to(len * 4) } else { file.allocate(len) };
        let mut range = match taken {
            Ok(range) => range,
            Err(AllocateError::Full { .. }) if receipts.is_empty() => continue,
            Err(AllocateError::Full { .. }) => {
                let (n, receipt) = receipts.swap_remove(which % receipts.len());
                check_bytes(receipt.bytes(), life, n);
                oracle.tell(Stage::Freeing, n, receipt.as_range());
                let bytes = receipt.as_range();
                file.free(receipt).unwrap();
                oracle.tell(Stage::Freed, n, bytes);
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        oracle.tell(Stage::Taken, n, range.as_range());
        match which % 16 {
            0 => drop(range),
            1 => {
                range.as_mut_slice().fill(WORTHLESS);
                std::mem::forget(range);
            }
            way => {
                fill(range.as_mut_slice(), life, n);
                oracle.tell(Stage::Committing, n, range.as_range());
                let receipt = file.commit(range).unwrap();
                oracle.tell(Stage::Committed, n, receipt.as_range());
                if way < 6 {
                    file.flush(&receipt).unwrap();
                }
                if way == 2 {
                    file.sync_all().unwrap();
                }
                receipts.push((n, receipt));
            }
        }
    }
}

#[test]
fn many_processes_fill_a_file_and_nothing_overlaps() {
    // Goal: six processes that allocate, write and free at once get each unit once, and find their own bytes whenever they look. Method:
    // each stamps its bytes and looks at them; at the end every byte of the file is somebody's, and his.
    for alignment in [Alignment::Byte, Alignment::Line, Alignment::Page] {
        let directory = directory();
        let path = directory.path().join("file");
        // The bytes of a unit are bytes of one process, and so are those of a word of units.
        let size = if alignment == Alignment::Page { 4 << 20 } else { 300_000 };
        let file = RangedOptions::new().alignment(alignment).create(&path, size).unwrap();
        let shown = path.display();
        let mut actors: Vec<_> = (0..6u64)
            .map(|id| Actor::start("ranged_killing::filler", &[("path", &shown), ("id", &id)]))
            .collect();
        actors.iter_mut().for_each(|actor| {
            actor.expect("ready");
        });
        actors.iter_mut().for_each(|actor| actor.tell("go"));
        let mut all = BTreeMap::new();
        for (id, actor) in (0..).zip(&mut actors) {
            loop {
                let line = actor.hear();
                if line == "full" {
                    break;
                }
                let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
                let [n, start, len] = numbers[..] else { panic!("{line}") };
                assert!(all.insert(start, (start + len, id, n)).is_none(), "{start} belongs to two");
            }
        }
        let mut before = 0;
        for (start, (end, id, n)) in &all {
            assert!(*start >= before, "{start} lies in another one's range");
            before = end.next_multiple_of(alignment.bytes());
            let mut bytes = vec![0; (end - start) as usize];
            file.read_at(*start, &mut bytes).unwrap();
            check_bytes(&bytes, *id, *n);
        }
        let used: u64 = all
            .iter()
            .map(|(start, (end, ..))| end.next_multiple_of(alignment.bytes()).min(size) - start)
            .sum();
        assert_eq!(used, size, "something is nobody's");
        assert_eq!((file.remaining(), file.missing().unwrap().count()), (0, 0));
        assert_eq!(file.written().unwrap().collect::<Vec<_>>(), [0..size]);
        actors.into_iter().for_each(Actor::finish);
    }
}

pub(crate) fn filler() {
    let (file, id) = (RangedFile::open(Script::path()).unwrap(), Script::number("id"));
    say("ready");
    listen();
    let mut receipts: Vec<(u64, Receipt)> = vec![];
    for n in 0.. {
        let random = mix(id << 40 | n);
        let len = random % (5 * file.alignment().bytes().max(200)) + 1;
        let range = match file.allocate(len) {
            // Freeing goes on for a while, so that it happens beside the others'.
            Err(AllocateError::Full { .. }) if n < 3000 && n % 2 == 0 && !receipts.is_empty() => {
                let (n, receipt) = receipts.swap_remove((random >> 32) as usize % receipts.len());
                check_bytes(receipt.bytes(), id, n);
                file.free(receipt).unwrap();
                continue;
            }
            Err(AllocateError::Full { .. }) if n < 3000 => continue,
            // What is left, to the last byte. Somebody else may be putting back what he had only tried to take.
            Err(AllocateError::Full { .. }) => match file.allocate_up_to(len) {
                Err(AllocateError::Full { .. }) if file.missing().unwrap().count() == 0 => break,
                Err(AllocateError::Full { .. }) => continue,
                other => other.unwrap(),
            },
            other => other.unwrap(),
        };
        let data = record(id, n, range.len() as usize);
        receipts.push((n, file.write(range, &data).unwrap()));
    }
    for (n, receipt) in &receipts {
        check_bytes(receipt.bytes(), id, *n);
        say(&format!("{n} {} {}", receipt.start(), receipt.len()));
    }
    say("full");
}

#[test]
fn a_download_that_was_killed_is_resumed_by_the_next_run() {
    // Goal: R16: several processes fetch the parts of a file; one is killed in the middle of a part; the others leave its part, the next
    // run fetches that, and that alone; the result is the source. Method: just that, with the resume map before and after.
    let directory = directory();
    let (source, path) = (directory.path().join("source"), directory.path().join("copy"));
    let bytes = record(7, 7, 1_000_000);
    std::fs::write(&source, &bytes).unwrap();
    drop(RangedOptions::new().create(&path, bytes.len() as u64).unwrap());
    let (shown, from) = (path.display(), source.display());
    let start = |stops_after: u64| {
        let params: &[(&str, &dyn std::fmt::Display)] =
            &[("path", &shown), ("source", &from), ("after", &stops_after)];
        Actor::start("ranged_killing::fetcher", params)
    };
    let mut first = start(3);
    first.expect("ready");
    let range = first.expect("stopped");
    let mut others = [start(u64::MAX), start(u64::MAX)];
    others.iter_mut().for_each(|other| {
        other.expect("ready");
    });
    let lost = range.split_once("..").map(|(start, end)| start.parse().unwrap()..end.parse().unwrap());
    let lost: Range<u64> = lost.unwrap();
    first.kill();
    for actor in &mut others {
        actor.expect("nothing left");
    }
    // Alive, they keep it out; whoever looks sees what is missing.
    let watcher = RangedFile::open(&path).unwrap();
    assert_eq!(watcher.missing().unwrap().collect::<Vec<_>>(), [lost.start..lost.end]);
    drop(watcher);
    for mut actor in others {
        actor.tell("bye");
        actor.finish();
    }
    let mut next = start(u64::MAX);
    next.expect("ready");
    assert_eq!(next.expect("nothing left"), "1");
    next.tell("bye");
    next.finish();
    let file = RangedFile::open(&path).unwrap();
    assert_eq!(file.missing().unwrap().count(), 0);
    let mut copy = vec![0; bytes.len()];
    file.read_at(0, &mut copy).unwrap();
    assert!(copy == bytes);
    file.seal().unwrap();
}

pub(crate) fn fetcher() {
    use std::os::unix::fs::FileExt;
    let file = RangedFile::open(Script::path()).unwrap();
    let source = File::open(Script::text("source")).unwrap();
    say("ready");
    let mut fetched = 0;
    while let Ok(mut range) = file.allocate_up_to(4096) {
        let half = range.as_mut_slice().len() / 2;
        let start = range.start();
        source.read_exact_at(&mut range.as_mut_slice()[..half], start).unwrap();
        if fetched == Script::number("after") {
            say(&format!("stopped {}..{}", range.start(), range.end()));
            listen();
        }
        source.read_exact_at(&mut range.as_mut_slice()[half..], start + half as u64).unwrap();
        drop(file.commit(range).unwrap());
        fetched += 1;
    }
    say(&format!("nothing left {fetched}"));
    listen();
}
