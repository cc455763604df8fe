//! Append, following: other processes see every byte that was pushed, whole, in place or copied, while the file grows and is cut.
//!
//! Words of the file are `era << 40 | index`: whoever sees a byte of another era, or from another place, knows it. The writer tells nobody
//! anything; followers find out by themselves.

use crate::append::{DATA_OFFSET, file_bytes};
use crate::harness::{Actor, PATIENCE, Script, directory, eventually, listen, say};
use crate::records::mix;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_UNLCK, F_WRLCK, SEEK_SET, flock};
use shm_ring::{AppendError, AppendFile, AppendOptions, Error, FollowError, Follower};
use std::fs::File;
use std::time::{Duration, Instant};

/// Clears of the file that two processes follow.
const ERAS: u64 = 300;

/// The words of era `era` from index `from` on.
fn words(era: u64, from: u64, n: u64) -> Vec<u8> {
    (from..from + n).flat_map(|index| (era << 40 | index).to_le_bytes()).collect()
}

/// Fails unless these are words of one era, from index `from` on; says which.
fn era_of(bytes: &[u8], from: u64) -> u64 {
    let word = |at: usize| u64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().unwrap());
    let era = word(0) >> 40;
    for at in 0..bytes.len() / 8 {
        let expected = era << 40 | (from + at as u64);
        assert_eq!(word(at), expected, "word {} of {from}..{}", at, from + bytes.len() as u64 / 8);
    }
    era
}

#[test]
fn followers_see_whole_bytes_through_growth_and_clear() {
    // Goal (A19): processes that follow see each push whole or not at all, from the smallest file to 20 MiB and through 300 clears, and
    // hear of every clear before they see a byte from behind it. Method: two followers in processes of their own read at random places of
    // what there is, as fast as they can, while this one pushes and clears.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().capacity(1).create(&path).unwrap();
    file.push(&words(0, 0, 1)).unwrap();
    let shown = path.display();
    let mut followers =
        [0, 1].map(|n| Actor::start("append_following::reader", &[("path", &shown), ("seed", &n)]));
    followers.iter_mut().for_each(|follower| drop(follower.expect("ready")));
    let (mut era, mut have_enough, start) = (0, [false; 2], Instant::now());
    while era < ERAS || have_enough != [true; 2] {
        assert!(start.elapsed() < PATIENCE, "{era} eras, enough for followers: {have_enough:?}");
        era += 1;
        file.clear().unwrap();
        let (mut index, pushes) = (0, mix(era) % 40);
        for n in 0..=pushes {
            let more = 1 + mix(era << 20 | n) % 600;
            file.push(&words(era, index, more)).unwrap();
            index += more;
        }
        for (follower, has_enough) in followers.iter_mut().zip(&mut have_enough) {
            *has_enough = *has_enough || follower.hear_within(Duration::ZERO).is_some();
        }
    }
    let mut index = file.len() / 8;
    while file.len() < 20 << 20 {
        file.push(&words(era, index, 5000)).unwrap();
        index += 5000;
    }
    for mut follower in followers {
        follower.tell("end");
        assert_eq!(follower.expect_number("last era"), era);
        follower.finish();
    }
}

pub(crate) fn reader() {
    let path = Script::path();
    let mut follower = AppendFile::follow(&path).unwrap();
    say("ready");
    let end = std::thread::spawn(listen);
    let (mut reads, mut era, mut turn) = (0, 0, Script::number("seed") << 32);
    while !end.is_finished() {
        turn += 1;
        let len = follower.len() / 8;
        if len == 0 {
            continue;
        }
        let from = mix(turn) % len;
        let n = 1 + mix(!turn) % (len - from).min(20_000);
        let mut bytes = vec![0; n as usize * 8];
        match follower.read_at(from * 8, &mut bytes) {
            Ok(()) => {
                let found = era_of(&bytes, from);
                assert!(found >= era, "era {found} after era {era}");
                (era, reads) = (found, reads + 1);
                if reads == 500 {
                    say("enough");
                }
            }
            // The second one was cut between the look at the length and the read, and is told at the next call.
            Err(FollowError::Cleared { .. } | FollowError::OutOfBounds { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    // All of it, in place, when nothing changes any more.
    let pinned = loop {
        let pinned = follower.pin().unwrap();
        if pinned.data().len() >= 20 << 20 {
            break pinned;
        }
    };
    let last = era_of(pinned.data(), 0);
    let mut all = vec![0; pinned.data().len()];
    while follower.read_at(0, &mut all).is_err() {}
    assert!(all == pinned.data());
    say(&format!("last era {last}"));
    assert_eq!(end.join().unwrap(), "end");
}

#[test]
fn a_tail_loses_nothing() {
    // Goal: who waits for more and reads it gets every byte once. Method: a process tails, by `wait` and `read_at`; pushes with pauses.
    let directory = directory();
    let path = directory.path().join("a");
    let file = AppendOptions::new().capacity(1).create(&path).unwrap();
    let mut tail = Actor::start("append_following::tail", &[("path", &path.display()), ("until", &3_000)]);
    let mut index = 0;
    while index < 3_000 {
        let n = (1 + mix(index) % 100).min(3_000 - index);
        file.push(&words(1, index, n)).unwrap();
        index += n;
        if mix(!index).is_multiple_of(4) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(tail.expect_number("words"), 3_000);
    tail.finish();
}

pub(crate) fn tail() {
    let mut follower = AppendFile::follow(Script::path()).unwrap();
    let mut seen = 0;
    while seen < Script::number("until") * 8 {
        let len = follower.wait(seen, PATIENCE).unwrap();
        assert!(len > seen, "nothing came");
        let mut news = vec![0; (len - seen) as usize];
        follower.read_at(seen, &mut news).unwrap();
        assert_eq!(era_of(&news, seen / 8), 1);
        seen = len;
    }
    say(&format!("words {}", seen / 8));
}

#[test]
fn waiting_ends_when_it_should() {
    // Goal: `wait` returns at once for what is there, after its time for what is not, and with `Cleared` for what is there no more. Method:
    // each of them.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().create(&path).unwrap();
    file.push(b"hello").unwrap();
    let mut follower = AppendFile::follow(&path).unwrap();
    assert_eq!(follower.wait(4, PATIENCE), Ok(5));
    let start = Instant::now();
    assert_eq!(follower.wait(5, Duration::from_millis(30)), Ok(5));
    assert!(start.elapsed() >= Duration::from_millis(30));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| follower.wait(5, PATIENCE));
        std::thread::sleep(Duration::from_millis(20));
        file.resize(3).unwrap();
        assert_eq!(waiting.join().unwrap(), Err(FollowError::Cleared { len_bytes: 3 }));
    });
    assert_eq!(follower.wait(2, PATIENCE), Ok(3));
    assert_eq!((follower.is_empty(), follower.path()), (false, path.as_path()));
}

#[test]
fn bytes_that_were_given_up_are_told_once() {
    // Goal: after a loss a follower hears `Cleared` once, with the length, whatever it asks for, and then reads what is there; a loss and as
    // many new bytes are no less a loss. Method: clear and push the same length between two reads, shrink, and both twice.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().create(&path).unwrap();
    file.push(b"old bytes").unwrap();
    let mut follower = AppendFile::follow(&path).unwrap();
    let mut out = [0; 9];
    follower.read_at(0, &mut out).unwrap();
    let give_up: [fn(&mut AppendFile); 3] = [
        |file| file.clear().unwrap(),
        |file| file.resize(2).unwrap(),
        |file| {
            file.resize(8).unwrap();
            file.clear().unwrap();
        },
    ];
    for lose in give_up {
        lose(&mut file);
        let left = file.len() as usize;
        file.push(&b"new bytes"[left..]).unwrap();
        assert_eq!(follower.read_at(0, &mut out), Err(FollowError::Cleared { len_bytes: 9 }));
        follower.read_at(0, &mut out).unwrap();
        assert_eq!(out[left..], b"new bytes"[left..]);
    }
    // A clear of nothing is no loss, and a read beyond the end says what there is.
    file.clear().unwrap();
    assert!(follower.read_at(0, &mut out).is_err());
    file.clear().unwrap();
    assert_eq!(follower.read_at(0, &mut out), Err(FollowError::OutOfBounds { end_bytes: 9, len_bytes: 0 }));
    follower.read_at(0, &mut []).unwrap();
    assert_eq!(
        follower.read_at(u64::MAX, &mut out),
        Err(FollowError::OutOfBounds { end_bytes: u64::MAX, len_bytes: 0 })
    );
}

#[test]
fn a_pin_of_another_process_holds_until_it_ends() {
    // Goal: bytes that another process reads in place stay, until it lets go, or is killed. Method: a process pins; clear; let it drop or
    // kill it; clear.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().create(&path).unwrap();
    for is_killed in [false, true] {
        file.push(&words(1, 0, 1000)).unwrap();
        let mut holder = Actor::start("append_following::holder", &[("path", &path.display())]);
        holder.expect("pinned");
        assert_eq!(file.clear(), Err(AppendError::Pinned));
        assert_eq!((file.len(), file.resize(7999)), (8000, Err(AppendError::Pinned)));
        file.push(&words(1, 1000, 1000)).unwrap();
        if is_killed {
            holder.kill();
        } else {
            holder.tell("drop");
            holder.expect("dropped");
        }
        file.clear().unwrap();
        file.push(&words(2, 0, 5000)).unwrap();
        file.clear().unwrap();
    }
}

pub(crate) fn holder() {
    let follower = AppendFile::follow(Script::path()).unwrap();
    let pinned = follower.pin().unwrap();
    say("pinned");
    listen();
    assert_eq!((pinned.data().len(), era_of(pinned.data(), 0)), (8000, 1));
    drop(pinned);
    say("dropped");
    listen();
}

#[test]
fn pins_and_losses_exclude_each_other() {
    // Goal: no pin shows a byte that was given up, whichever comes first. Method: a process pins and looks at all of it, again and again;
    // this one clears and writes anew as often as it gets to.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().capacity(1).create(&path).unwrap();
    let mut pinner = Actor::start("append_following::pinner", &[("path", &path.display())]);
    pinner.expect("ready");
    let (mut clears, mut refused, mut is_enough, start) = (0u64, 0u64, false, Instant::now());
    while clears < 200 || refused < 20 || !is_enough {
        assert!(start.elapsed() < PATIENCE, "{clears} clears, {refused} refused");
        match file.clear() {
            Ok(()) => clears += 1,
            Err(AppendError::Pinned) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        if file.is_empty() {
            file.push(&words(clears, 0, 1 + mix(clears) % 800)).unwrap();
        }
        is_enough = is_enough || pinner.hear_within(Duration::ZERO).is_some();
    }
    pinner.tell("end");
    pinner.finish();
}

pub(crate) fn pinner() {
    let follower = AppendFile::follow(Script::path()).unwrap();
    say("ready");
    let end = std::thread::spawn(listen);
    let (mut pins, mut era) = (0, 0);
    while !end.is_finished() {
        let pinned = follower.pin().unwrap();
        if pinned.data().is_empty() {
            continue;
        }
        for _ in 0..2 {
            let found = era_of(pinned.data(), 0);
            assert!(found >= era, "era {found} after era {era}");
            era = found;
        }
        pins += 1;
        drop(pinned);
        if pins == 50 {
            say("pinned often enough");
        }
        // Leaves the writer a chance.
        if pins % 4 == 0 {
            std::thread::sleep(Duration::from_micros(mix(pins) % 200));
        }
    }
}

#[test]
fn a_file_that_outgrows_its_follower_is_an_error_that_names_the_reserve() {
    // Goal: a follower with too few addresses reads what it can, and says what it needs. Method: a reserve of 4 pages.
    let directory = directory();
    let path = directory.path().join("a");
    let file = AppendOptions::new().capacity(1).create(&path).unwrap();
    let mut follower = AppendOptions::new().reserve(16 << 10).follow(&path).unwrap();
    file.push(&[1; 16 << 10]).unwrap();
    follower.read_at(0, &mut vec![0; 16 << 10]).unwrap();
    drop(follower.pin().unwrap());
    file.push(&[2]).unwrap();
    let error = follower.read_at(16 << 10, &mut [0]).unwrap_err();
    assert_eq!(error, FollowError::ReserveFull { needed_bytes: (16 << 10) + 1, reserve_bytes: 16 << 10 });
    assert!(error.to_string().contains("`reserve`"), "{error}");
    assert!(matches!(follower.pin(), Err(Error::Invalid { option: "reserve", .. })));
    follower.read_at(1, &mut vec![0; (16 << 10) - 1]).unwrap();
    let mut follower = AppendFile::follow(&path).unwrap();
    follower.read_at(16 << 10, &mut [0]).unwrap();
}

#[test]
fn a_follower_knows_whether_somebody_writes() {
    // Goal: the end of a stream can be told from a pause: no writer lives any more. Method: another process writes and is killed.
    let directory = directory();
    let path = directory.path().join("a");
    drop(AppendOptions::new().create(&path).unwrap());
    let follower = AppendFile::follow(&path).unwrap();
    assert!(!follower.has_writer().unwrap());
    let mut writer = Actor::start("append_following::writer", &[("path", &path.display())]);
    writer.expect("open");
    assert!(follower.has_writer().unwrap());
    let error = AppendFile::open(&path).unwrap_err();
    assert!(matches!(&error, Error::Busy { pid, .. } if *pid == writer.pid()), "{error:?}");
    writer.kill();
    eventually("the writer's lock is free", || !follower.has_writer().unwrap());
    assert_eq!(follower.len(), 5);
    assert_eq!(AppendFile::open(&path).unwrap().data(), b"hello");
}

pub(crate) fn writer() {
    let file = AppendFile::open(Script::path()).unwrap();
    file.push(b"hello").unwrap();
    say("open");
    listen();
}

#[test]
fn followers_of_one_process_are_independent() {
    // Goal: any number of followers, on threads too, each hears of each loss. Method: one that reads, one that does not.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().create(&path).unwrap();
    file.push(b"one").unwrap();
    let followers: Vec<Follower> = (0..3).map(|_| AppendFile::follow(&path).unwrap()).collect();
    file.clear().unwrap();
    file.push(b"two").unwrap();
    std::thread::scope(|scope| {
        for mut follower in followers {
            scope.spawn(move || {
                let mut out = [0; 3];
                assert_eq!(follower.read_at(0, &mut out), Err(FollowError::Cleared { len_bytes: 3 }));
                follower.read_at(0, &mut out).unwrap();
                assert_eq!(&out, b"two");
            });
        }
    });
    assert_eq!(file_bytes(&path), DATA_OFFSET + (512 << 10));
}

#[test]
fn whoever_opens_while_the_file_grows_sees_all_of_it() {
    // Goal: the length of the file is looked at when nobody can change it any more: the next writer has the whole capacity, and appends
    // zeros and nothing that was given up. Method: a writer that opens is held at lock byte 0, while the one before it grows, clears, ends.
    let directory = directory();
    let path = directory.path().join("a");
    let before = AppendOptions::new().capacity(4096).create(&path).unwrap();
    let (held, mut lock) = (File::options().read(true).write(true).open(&path).unwrap(), byte_0());
    fcntl(&held, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    let next = std::thread::spawn({
        let path = path.clone();
        move || AppendFile::open(path).unwrap()
    });
    std::thread::sleep(Duration::from_millis(300));
    let mut before = before;
    before.push(&[0xaa; 1 << 20]).unwrap();
    before.clear().unwrap();
    drop(before);
    lock.l_type = i16::try_from(F_UNLCK).unwrap();
    fcntl(&held, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    let mut file = next.join().unwrap();
    assert_eq!(file.capacity_bytes() + DATA_OFFSET, file_bytes(&path));
    file.resize(1 << 20).unwrap();
    assert!(file.data().iter().all(|byte| *byte == 0), "what was given up is back");
}

/// Lock byte 0, as a request.
fn byte_0() -> flock {
    let int = |value: i32| i16::try_from(value).unwrap();
    flock { l_type: int(F_WRLCK), l_whence: int(SEEK_SET), l_start: 0, l_len: 1, l_pid: 0 }
}

#[test]
fn a_growing_file_is_never_called_truncated() {
    // Goal: who follows a file meets its writer at any moment, and hears of no truncation when there is none. Method: follow, again and
    // again, while a thread grows one file after the other.
    let directory = directory();
    let path = directory.path().join("a");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let mut n = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = std::fs::remove_file(&path);
                let file = AppendOptions::new().capacity(4096).create(&path).unwrap();
                while file.len() < 4 << 20 {
                    let room = file.capacity_bytes() - file.len();
                    file.push(&vec![1; room as usize + 1]).unwrap();
                }
            }
        });
        let start = Instant::now();
        let mut failed = None;
        while start.elapsed() < Duration::from_secs(2) && failed.is_none() {
            match AppendFile::follow(&path) {
                Ok(_) => n += 1,
                Err(Error::NotFound { .. }) => {}
                Err(error) => failed = Some(error),
            }
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(failed.is_none(), "after {n}: {}", failed.unwrap());
    });
    assert!(n > 10, "{n}");
}

#[test]
fn no_read_is_out_of_bounds_in_an_era_that_has_the_bytes() {
    // Goal: a length of the next era is not taken for one of this: what was published is there, or the follower hears that it was given up.
    // Method: a thread gives up half of the bytes and pushes them again, while a follower reads all of them.
    let directory = directory();
    let path = directory.path().join("a");
    let mut writer = AppendOptions::new().create(&path).unwrap();
    writer.push(&[1; 100]).unwrap();
    let mut follower = AppendFile::follow(&path).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (mut reads, mut wrong, mut has_all) = (0, 0, false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                writer.resize(50).unwrap();
                writer.push(&[1; 50]).unwrap();
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            match follower.read_at(0, &mut [0; 100]) {
                Ok(()) => (reads, has_all) = (reads + 1, true),
                Err(FollowError::Cleared { .. }) => has_all = false,
                Err(FollowError::OutOfBounds { .. }) => wrong += u32::from(has_all),
                Err(error) => panic!("{error}"),
            }
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(reads > 100 && wrong == 0, "{wrong} of {reads}");
}
