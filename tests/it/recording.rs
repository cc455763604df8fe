//! Recording: a ring's records are in the log once, whatever was lost, left open, gone back or full meanwhile.

use crate::corrupt::forge;
use crate::disks::{fill_up, mounted, mounts_of_its_own, play};
use crate::harness::{Actor, Script, directory, eventually, is_root_for, listen, say};
use crate::records::record;
use nix::mount::{MsFlags, mount};
use proptest::collection::vec;
use proptest::prelude::*;
use shm_ring::{
    Appender, ConsumerOptions, Durability, Error, LogError, LogGap, LogGapReason, LogItem, LogOptions,
    LogReader, LogStart, PollError, RecordError, Recorder, Ring, RingOptions, Start,
};
use std::fs;
use std::path::Path;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;

fn options() -> LogOptions {
    LogOptions::new().segment_bytes(64 << 10)
}

fn appender(path: &Path) -> Appender {
    options().open_or_create(path).unwrap()
}

fn recorder(ring: &Ring, log: &Path) -> Recorder {
    Recorder::open(ring, "recorder", appender(log)).unwrap()
}

/// What a log has: payloads, and gaps between them.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Record(Vec<u8>),
    Gap(LogGapReason, Option<u16>, Option<u64>),
}

fn all(log: &Path) -> Vec<Found> {
    let mut reader = LogReader::open(log).unwrap();
    reader.seek(LogStart::Oldest).unwrap();
    let mut found = vec![];
    while let Some(item) = reader.next().unwrap() {
        found.push(match item {
            LogItem::Record(record) => Found::Record(record.to_vec()),
            LogItem::Gap(LogGap { reason, producer, n_records, .. }) => {
                Found::Gap(reason, producer, n_records)
            }
        });
    }
    found
}

fn payloads(log: &Path) -> Vec<Vec<u8>> {
    let payload = |found| match found {
        Found::Record(payload) => payload,
        gap => panic!("{gap:?}"),
    };
    all(log).into_iter().map(payload).collect()
}

fn texts(log: &Path) -> Vec<String> {
    let text = |found| match found {
        Found::Record(payload) => String::from_utf8(payload).unwrap(),
        Found::Gap(reason, producer, n_records) => format!("{reason:?} {producer:?} {n_records:?}"),
    };
    all(log).into_iter().map(text).collect()
}

/// A copy of a log, as it is now.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Action {
    Push(u16, usize),
    Batch(u16),
    Step,
    Drain,
    Reopen,
    Pass,
}

fn steps() -> impl Strategy<Value = Vec<Action>> {
    let step = prop_oneof![
        8 => (0u16..200, 0usize..600).prop_map(|(n, length)| Action::Push(n, length)),
        2 => (0u16..200).prop_map(Action::Batch),
        4 => Just(Action::Step),
        2 => Just(Action::Drain),
        1 => Just(Action::Reopen),
        1 => Just(Action::Pass),
    ];
    vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_log_has_what_the_ring_had_each_once(steps in steps(), metadata in any::<bool>()) {
        // Goal: records arrive once, in order, with their bytes and their metadata, over segments and any number of recorders.
        // Method: random pushes and steps, recorders that end at any time, against a list of what was pushed.
        let directory = directory();
        let (path, log) = (directory.path().join("ring"), directory.path().join("log"));
        let ring = RingOptions::new().capacity(64 << 10).metadata(metadata).create(&path).unwrap();
        let mut producer = ring.producer().unwrap();
        let mut model: Vec<Vec<u8>> = vec![];
        let mut recording = Some(recorder(&ring, &log));
        for step in steps {
            match step {
                Action::Push(n, length) => {
                    for _ in 0..n {
                        let payload = record(0, model.len() as u64, length);
                        if producer.try_push(&payload).is_err() {
                            break;
                        }
                        model.push(payload);
                    }
                }
                Action::Batch(n) => {
                    let mut payloads: Vec<_> = (0..u64::from(n)).map(|n| record(1, model.len() as u64 + n, 20)).collect();
                    let Ok(mut batch) = producer.try_batch(payloads.len(), payloads.len() * 20) else { continue };
                    payloads.retain(|payload| batch.push(payload).is_ok());
                    batch.commit();
                    model.extend(payloads);
                }
                Action::Step => {
                    recording.as_mut().unwrap().step(NOW).unwrap();
                }
                Action::Drain => {
                    recording.as_mut().unwrap().drain().unwrap();
                }
                Action::Reopen => {
                    drop(recording.take());
                    recording = Some(recorder(&ring, &log));
                }
                Action::Pass => {
                    // A recorder that goes, and leaves the log open for the next one.
                    let log = recording.take().unwrap().into_log();
                    recording = Some(Recorder::open(&ring, "recorder", log).unwrap());
                }
            }
        }
        recording.as_mut().unwrap().drain().unwrap();
        drop(recording);
        prop_assert_eq!(payloads(&log), model);
    }
}

#[test]
fn metadata_is_carried_over() {
    // Goal: time, sequence, level, kind and the producer's slot are the ring's. Method: two producers with levels and kinds of their own.
    let directory = directory();
    let (path, log) = (directory.path().join("ring"), directory.path().join("log"));
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
    let mut expected = vec![];
    let mut observer = ring.observer().unwrap();
    for n in 0..20u8 {
        let mut claim = producers[usize::from(n % 2)].claim(1).unwrap();
        claim[0] = n;
        claim.set_level(n);
        claim.set_kind(100 + n);
        claim.commit();
        let info = observer.try_next(&mut vec![]).unwrap().unwrap();
        expected.push((
            info.timestamp_ns.unwrap(),
            info.sequence.unwrap(),
            info.producer,
            info.level,
            info.kind,
        ));
    }
    recorder(&ring, &log).drain().unwrap();
    let mut reader = LogReader::open(&log).unwrap();
    reader.seek(LogStart::Oldest).unwrap();
    for expected in expected {
        let Some(LogItem::Record(record)) = reader.next().unwrap() else { panic!("a record") };
        let info = record.info();
        assert_eq!((info.timestamp_ns, info.sequence, info.producer, info.level, info.kind), expected);
    }
    assert!(reader.next().unwrap().is_none());
}

#[test]
fn what_was_dropped_or_left_open_by_the_dead_is_told_once_and_in_place() {
    // Goal: each loss of the ring is one gap in front of the record that follows it, however often recorders come and go.
    // Method: a ring too full for some offers, then a producer that dies in a claim; a new recorder after each step.
    let directory = directory();
    let (path, log) = (directory.path().join("ring"), directory.path().join("log"));
    let ring = RingOptions::new().capacity(4096).create(&path).unwrap();
    drop(recorder(&ring, &log));
    let mut producer = ring.producer().unwrap();
    let mut expected = vec![];
    let mut n = 0;
    while producer.offer(format!("{n:0100}").as_bytes()).unwrap().is_some() {
        expected.push(format!("{n:0100}"));
        n += 1;
    }
    assert!(producer.offer(&[b'x'; 100]).unwrap().is_none());
    recorder(&ring, &log).drain().unwrap();
    producer.push(b"behind the drop").unwrap();
    // One for each offer that found room for a notice only.
    expected.extend([1, 1].map(|n| format!("Dropped Some({}) Some({n})", producer.slot())));
    expected.push("behind the drop".into());
    recorder(&ring, &log).step(NOW).unwrap();
    let mut actor = Actor::start("recording::dies", &[("path", &path.display())]);
    let slot = actor.expect_number("claimed");
    actor.kill();
    producer.push(b"behind the dead").unwrap();
    expected.push(format!("Lost Some({slot}) None"));
    expected.push("behind the dead".into());
    for _ in 0..3 {
        recorder(&ring, &log).drain().unwrap();
    }
    assert_eq!(texts(&log), expected);
}

pub(crate) fn dies() {
    let mut producer = Ring::open(Script::path()).unwrap().producer().unwrap();
    let slot = producer.slot();
    let _claim = producer.claim(100).unwrap();
    say(&format!("claimed {slot}"));
    listen();
}

#[test]
fn a_log_that_lost_its_end_is_filled_up_from_the_ring() {
    // Goal: the log is believed, not the ring's name: what the log does not have is recorded again if the ring still has it, and is a gap
    // if not. Method: an older copy of the log in its place, then a lap of the ring, and an older copy again.
    let directory = directory();
    let [path, log, old] = ["ring", "log", "old"].map(|name| directory.path().join(name));
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut pushed = vec![];
    let mut push = |n: u64, producer: &mut shm_ring::Producer| {
        for _ in 0..n {
            let payload = record(0, pushed.len() as u64, 100);
            producer.push(&payload).unwrap();
            pushed.push(payload);
        }
        pushed.clone()
    };
    drop(recorder(&ring, &log));
    push(50, &mut producer);
    recorder(&ring, &log).drain().unwrap();
    copy(&log, &old);
    push(50, &mut producer);
    recorder(&ring, &log).drain().unwrap();
    fs::remove_dir_all(&log).unwrap();
    copy(&old, &log);
    assert_eq!(payloads(&log).len(), 50);
    recorder(&ring, &log).drain().unwrap();
    assert_eq!(payloads(&log), push(0, &mut producer), "what the ring still had");
    let mut recording = recorder(&ring, &log);
    for _ in 0..40 {
        push(50, &mut producer);
        recording.drain().unwrap();
    }
    drop(recording);
    fs::remove_dir_all(&log).unwrap();
    copy(&old, &log);
    recorder(&ring, &log).drain().unwrap();
    let (found, pushed) = (all(&log), push(0, &mut producer));
    let gap = found.iter().position(|found| matches!(found, Found::Gap(..))).unwrap();
    assert_eq!((gap, &found[gap]), (50, &Found::Gap(LogGapReason::Lapped, None, None)));
    let behind: Vec<_> = found[gap + 1..].iter().collect();
    let newest: Vec<_> =
        pushed[pushed.len() - behind.len()..].iter().map(|payload| Found::Record(payload.clone())).collect();
    assert!(!behind.is_empty() && behind.iter().zip(&newest).all(|(found, pushed)| **found == *pushed));
}

#[test]
fn what_was_lost_is_told_once_even_if_nothing_can_be_read_behind_it() {
    // Goal: recorders that come, tell a gap and fail leave one gap. Method: an older copy of a log, a lap of the ring, and behind what was
    // lost a frame that is none; three recorders.
    let directory = directory();
    let [path, log, old] = ["ring", "log", "old"].map(|name| directory.path().join(name));
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    producer.push(b"first").unwrap();
    recorder(&ring, &log).drain().unwrap();
    copy(&log, &old);
    let mut recording = recorder(&ring, &log);
    for n in 0..200 {
        producer.push(&record(0, n, 1000)).unwrap();
        recording.drain().unwrap();
    }
    drop(recording);
    fs::remove_dir_all(&log).unwrap();
    copy(&old, &log);
    let oldest = ring.consumer_with("other", ConsumerOptions::new().start(Start::Oldest)).unwrap().position();
    forge(&path, oldest, 2, 1 << 30);
    for _ in 0..3 {
        let failed = recorder(&ring, &log).step(NOW);
        assert!(matches!(failed, Err(RecordError::Ring(PollError::Corrupt { .. }))), "{failed:?}");
    }
    assert_eq!(texts(&log), ["first", "Lapped None None"]);
}

#[test]
fn a_ring_older_than_its_log_is_refused() {
    // Goal: what would be passed over in silence is an error. Method: a ring put back to an older copy.
    let directory = directory();
    let [path, log, old] = ["ring", "log", "old"].map(|name| directory.path().join(name));
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    drop(recorder(&ring, &log));
    fs::copy(&path, &old).unwrap();
    ring.producer().unwrap().push(b"hello").unwrap();
    recorder(&ring, &log).drain().unwrap();
    let error = Recorder::open(&Ring::open(&old).unwrap(), "recorder", appender(&log)).unwrap_err();
    assert!(matches!(error, Error::Invalid { option: "ring", .. }), "{error}");
    assert_eq!(texts(&log), ["hello"]);
}

#[test]
fn somebody_who_reads_under_the_recorders_name_takes_nothing_from_the_log() {
    // Goal: the log's mark counts, not the name's position. Method: a consumer under the same name reads between two recorders.
    let directory = directory();
    let (path, log) = (directory.path().join("ring"), directory.path().join("log"));
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    producer.push(b"one").unwrap();
    recorder(&ring, &log).drain().unwrap();
    producer.push(b"two").unwrap();
    let mut thief = ring.consumer_with("recorder", ConsumerOptions::new().start(Start::Oldest)).unwrap();
    assert_eq!(&*thief.poll().unwrap(), b"two");
    drop(thief);
    recorder(&ring, &log).drain().unwrap();
    assert_eq!(texts(&log), ["one", "two"]);
}

#[test]
fn recording_ends_with_an_anonymous_ring() {
    // Goal: the end of the last producer is the end, and everything is recorded. Method: `run`, which is never told to end.
    let directory = directory();
    let log = directory.path().join("log");
    let ring = RingOptions::new().capacity(64 << 10).anonymous().unwrap();
    let mut producer = ring.producer().unwrap();
    let mut recording = recorder(&ring, &log);
    let pushing = std::thread::spawn(move || {
        (0..1000u32).for_each(|n| assert!(producer.push(&n.to_le_bytes()).is_ok()))
    });
    recording.run(|| false).unwrap();
    pushing.join().unwrap();
    assert_eq!(recording.stats().records, 1000);
    assert_eq!(recording.step(NOW), Err(RecordError::Ring(PollError::Closed)));
    drop(recording);
    assert_eq!(payloads(&log).len(), 1000);
}

#[test]
fn nothing_is_released_before_it_is_durable_where_that_is_asked_for() {
    // Goal: with EachRecord the ring gives space back only for what is on the medium. Method: the watermark after each step.
    let directory = directory();
    let (path, log) = (directory.path().join("ring"), directory.path().join("log"));
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    let appender = options().durability(Durability::EachRecord).create(&log).unwrap();
    let mut recording = Recorder::open(&ring, "recorder", appender).unwrap();
    for n in 0..20u64 {
        producer.push(&record(0, n, 1000)).unwrap();
        assert_eq!(recording.step(NOW), Ok(1));
        assert_eq!(recording.log().durable(), recording.log().end());
        assert_eq!(recording.lag_bytes(), 0);
    }
}

#[test]
fn a_slow_producer_rolls_as_often_as_it_likes() {
    // Goal: a recorder goes on over any number of segments, however little each batch has. Method: one record per batch, twenty segments.
    let directory = directory();
    let (path, log) = (directory.path().join("ring"), directory.path().join("log"));
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut recording = recorder(&ring, &log);
    let begin = recording.log().end();
    let mut pushed = vec![];
    while recording.log().end() < begin + 20 * (64 << 10) {
        let payload = record(0, pushed.len() as u64, 1000);
        producer.push(&payload).unwrap();
        assert_eq!(recording.step(NOW), Ok(1));
        pushed.push(payload);
    }
    drop(recording);
    assert_eq!(payloads(&log), pushed);
}

#[test]
fn a_log_with_smaller_segments_goes_on_in_larger_ones() {
    // Goal: a record that is too long for the segment that is there goes into one that is made for it, once. Method: a log of small segments,
    // empty and not, opened with large ones; records in front of the long one and behind it; recorders that are opened again.
    for (is_empty, length, durability) in [
        (false, 20 << 10, Durability::EachRecord),
        (false, 20 << 10, Durability::Process),
        (true, 100 << 10, Durability::Process),
    ] {
        let directory = directory();
        let (path, log) = (directory.path().join("ring"), directory.path().join("log"));
        options().create(&log).unwrap().close().unwrap();
        let ring = RingOptions::new().capacity(1 << 20).create(&path).unwrap();
        let open = || {
            let options = LogOptions::new().segment_bytes(1 << 20).durability(durability);
            Recorder::open(&ring, "recorder", options.open(&log).unwrap()).unwrap()
        };
        drop(open());
        let mut producer = ring.producer().unwrap();
        let mut pushed = vec![];
        let mut push = |length| {
            let payload = record(0, pushed.len() as u64, length);
            producer.push(&payload).unwrap();
            pushed.push(payload);
        };
        if !is_empty {
            (0..3).for_each(|_| push(100));
        }
        push(length);
        push(100);
        for _ in 0..3 {
            let mut recording = open();
            recording.drain().unwrap();
            assert_eq!(recording.lag_bytes(), 0);
        }
        assert_eq!(payloads(&log), pushed);
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    // Goal: a log that can't grow is an error at that step, the records stay in the ring, and recording goes on when there is room.
    // Method: a process mounts a small file system for itself alone, fills it, records until it is refused, and empties it.
    if !is_root_for("a_full_disk_loses_nothing") {
        return;
    }
    let directory = directory();
    play("recording", "recording::alone", &[("path", &directory.path().display())]);
}

#[test]
fn a_full_disk_at_the_end_of_a_segment_loses_nothing() {
    // Goal: the same where the last segment has no room for as much as a mark, and the ring passes over something that is no record.
    // Method: a record of exactly the length that is left, then a claim that is given up.
    if !is_root_for("a_full_disk_at_the_end_of_a_segment_loses_nothing") {
        return;
    }
    let directory = directory();
    play("recording", "recording::alone_at_the_end", &[("path", &directory.path().display())]);
}

/// A role's: a file system of 4 MiB below its path.
fn on_a_small_disk(work: impl FnOnce(&Path)) {
    let small = Script::path().join("small");
    fs::create_dir(&small).unwrap();
    let size = Some("size=4m");
    let mount = || {
        mounts_of_its_own()?;
        mount(Some("tmpfs"), &small, Some("tmpfs"), MsFlags::empty(), size).map_err(|error| error.to_string())
    };
    mounted(mount, |()| work(&small));
}

pub(crate) fn alone() {
    on_a_small_disk(fill_and_empty);
}

pub(crate) fn alone_at_the_end() {
    on_a_small_disk(fill_to_the_last_byte);
}

/// Bytes of a segment on the small disk.
const SEGMENT_BYTES: u64 = 256 << 10;
/// What a MARK takes of it, and what a record takes besides its payload.
const MARK_BYTES: u64 = 80;
const HEAD_BYTES: u64 = 32;

fn fill_to_the_last_byte(small: &Path) {
    let ring = RingOptions::new().capacity(256 << 10).create(Script::path().join("ring")).unwrap();
    let (log, rest) = (small.join("log"), small.join("rest"));
    let mut recording =
        Recorder::open(&ring, "recorder", options().segment_bytes(SEGMENT_BYTES).create(&log).unwrap())
            .unwrap();
    let mut producer = ring.producer().unwrap();
    let mut pushed = vec![];
    for _ in 0..3 {
        eventually("the next segment is there", || recording.log().stats().n_prepared == 1);
        fill_up(&rest);
        let mut push = |length| {
            let payload = record(0, pushed.len() as u64, length);
            producer.push(&payload).unwrap();
            pushed.push(payload);
        };
        // To the end of the last segment that there is.
        let mut base = None;
        loop {
            let before = recording.log().end();
            push(1000);
            assert_eq!(recording.step(NOW), Ok(1));
            if recording.log().stats().n_prepared == 0 {
                let base = *base.get_or_insert(before);
                let room = base + SEGMENT_BYTES - recording.log().end();
                if room < 32 << 10 {
                    push(usize::try_from(room - MARK_BYTES - HEAD_BYTES).unwrap());
                    assert_eq!(recording.step(NOW), Ok(1));
                    assert_eq!(recording.log().end(), base + SEGMENT_BYTES, "it is full");
                    break;
                }
            }
        }
        for _ in 0..3 {
            drop(producer.claim(100).unwrap());
            let refused = recording.step(NOW);
            assert!(matches!(refused, Err(RecordError::Log(LogError::NoSpace { .. }))), "{refused:?}");
        }
        let payload = record(0, pushed.len() as u64, 1000);
        producer.push(&payload).unwrap();
        pushed.push(payload);
        let refused = recording.step(NOW);
        assert!(matches!(refused, Err(RecordError::Log(LogError::NoSpace { .. }))), "{refused:?}");
        fs::remove_file(&rest).unwrap();
        assert_eq!(recording.drain(), Ok(1));
        assert_eq!(recording.lag_bytes(), 0);
    }
    drop(recording);
    assert_eq!(payloads(&log), pushed);
}

fn fill_and_empty(small: &Path) {
    let ring = RingOptions::new().capacity(256 << 10).create(Script::path().join("ring")).unwrap();
    let (log, rest) = (small.join("log"), small.join("rest"));
    let open = || options().segment_bytes(SEGMENT_BYTES).open_or_create(&log).unwrap();
    let mut recording = Recorder::open(&ring, "recorder", open()).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut pushed = vec![];
    for round in 0..3 {
        fill_up(&rest);
        let mut n_refused = 0;
        while n_refused < 3 {
            let payload = record(0, pushed.len() as u64, 1000);
            if producer.try_push(&payload).is_ok() {
                pushed.push(payload);
            }
            match recording.step(NOW) {
                Ok(_) => {}
                Err(RecordError::Log(LogError::NoSpace { needed_bytes, free_bytes })) => {
                    assert!(needed_bytes > free_bytes, "{needed_bytes}, {free_bytes}");
                    n_refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        if round == 1 {
            // Another process would find the same.
            drop(recording);
            recording = Recorder::open(&ring, "recorder", open()).unwrap();
        }
        fs::remove_file(&rest).unwrap();
        recording.drain().unwrap();
        assert_eq!(recording.lag_bytes(), 0);
    }
    drop(recording);
    assert_eq!(payloads(&log), pushed);
}

#[test]
fn what_the_manifest_does_not_take_now_it_takes_later() {
    // Goal: with EachRecord a manifest that can't be written is an error at that step; nothing is released before it is written, and nothing
    // is recorded twice. Method: a process that may write no byte to files, but into its maps; then it may again.
    let directory = directory();
    let mut actor = Actor::start("recording::may_not_write", &[("path", &directory.path().display())]);
    actor.expect("done");
    actor.finish();
}

pub(crate) fn may_not_write() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no handler, so nothing that could be called at a bad moment.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    let (path, log) = (Script::path().join("ring"), Script::path().join("log"));
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let limit = |bytes| setrlimit(Resource::RLIMIT_FSIZE, bytes, hard).unwrap();
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let appender = options().durability(Durability::EachRecord).create(&log).unwrap();
    let mut recording = Recorder::open(&ring, "recorder", appender).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut pushed = vec![];
    for _ in 0..3 {
        eventually("the next segment is there", || recording.log().stats().n_prepared == 1);
        limit(16);
        let refused = loop {
            let payload = record(0, pushed.len() as u64, 10_000);
            producer.push(&payload).unwrap();
            pushed.push(payload);
            if let Err(refused) = recording.step(NOW) {
                break refused;
            }
        };
        assert!(matches!(refused, RecordError::Log(LogError::System { .. })), "{refused:?}");
        let position = ring.stats().unwrap().consumers[0].position;
        assert!(matches!(recording.step(NOW), Err(RecordError::Log(LogError::System { .. }))));
        assert_eq!(ring.stats().unwrap().consumers[0].position, position, "it is not released");
        limit(hard);
        recording.drain().unwrap();
        assert_eq!(recording.log().durable(), recording.log().end());
        assert_eq!(recording.lag_bytes(), 0);
    }
    drop(recording);
    assert_eq!(payloads(&log), pushed);
    say("done");
}
