//! Live: rings as sources, from an archive into the ring that goes on, and replayed records that look like live ones.

use crate::harness::{Actor, Script, directory, listen, say};
use shm_ring::replay::{
    LogWriter, MapPool, Merge, Next, Order, Pace, PoolOptions, PoolSource, Replayer, RingWriter, Source,
    WriteError,
};
use shm_ring::{
    ClaimError, ConsumerOptions, LogItem, LogOptions, LogReader, LogStart, Recorder, Ring, RingOptions,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

const PATIENCE: Duration = Duration::from_secs(20);
const N_PRODUCERS: u64 = 3;

fn pool() -> MapPool {
    PoolOptions::new().order(Order::Pass).build().unwrap()
}

fn following() -> MapPool {
    PoolOptions::new().order(Order::Pass).follow(Duration::from_millis(5)).build().unwrap()
}

fn ring(path: &Path, capacity_bytes: u64) -> Ring {
    RingOptions::new().capacity(capacity_bytes).create(path).unwrap()
}

pub(crate) fn recorder(ring: &Ring, log: &Path, options: &LogOptions) -> Recorder {
    Recorder::open(ring, "recorder", options.open_or_create(log).unwrap()).unwrap()
}

pub(crate) fn small() -> LogOptions {
    LogOptions::new().segment_bytes(64 << 10)
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Whose it is and which, and as many bytes more as its number says.
pub(crate) fn payload(who: u64, number: u64) -> Vec<u8> {
    let mut payload = [who.to_le_bytes(), number.to_le_bytes()].concat();
    payload.resize(16 + (number * 7 % 90) as usize, who as u8);
    payload
}

/// The other way round.
fn read(payload: &[u8]) -> (u64, u64) {
    let word = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
    let (who, number) = (word(0), word(8));
    assert_eq!(payload, self::payload(who, number));
    (who, number)
}

/// What a record says and is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    timestamp_ns: u64,
    producer: u16,
    level: u8,
    kind: u8,
    payload: Vec<u8>,
}

fn bytes(record: &shm_ring::replay::Replayed<'_>) -> Vec<u8> {
    record.payload(&mut Vec::new()).unwrap().to_vec()
}

/// The next record of a source that is there.
fn step(source: &mut PoolSource) -> Option<Record> {
    let Next::Record(stamp) = source.step().unwrap() else { return None };
    let record = source.record();
    let (tags, payload) = (record.tags, bytes(&record));
    Some(Record {
        timestamp_ns: stamp.timestamp_ns,
        producer: tags.producer,
        level: tags.level,
        kind: tags.kind,
        payload,
    })
}

/// The numbers of the next records that are there, of one producer, whose places grow.
pub(crate) fn numbers(source: &mut PoolSource) -> Vec<u64> {
    let (mut numbers, mut last, mut scratch) = (vec![], None, vec![]);
    while let Next::Record(stamp) = source.step().unwrap() {
        assert!(last < Some(stamp.sequence), "{last:?}, and then {}", stamp.sequence);
        last = Some(stamp.sequence);
        numbers.push(read(source.record().payload(&mut scratch).unwrap()).1);
    }
    numbers
}

/// The next `n`, some time.
pub(crate) fn some_time(source: &mut PoolSource, n: usize) -> Vec<(u64, u64)> {
    let began = Instant::now();
    let mut found = vec![];
    while found.len() < n {
        match step(source) {
            Some(record) => found.push(read(&record.payload)),
            None => std::thread::sleep(Duration::from_micros(200)),
        }
        assert!(began.elapsed() < PATIENCE, "{} of {n} came; {:?}", found.len(), source.stats());
    }
    found
}

/// Each of so many of each producer once, and in order.
fn check(found: &[(u64, u64)], n_each: u64) {
    let mut next = BTreeMap::new();
    for (at, (who, number)) in found.iter().enumerate() {
        let expected = next.entry(*who).or_insert(0);
        assert_eq!(*number, *expected, "of producer {who}, as record {at}");
        *expected += 1;
    }
    assert!(next.values().all(|n| *n == n_each), "{next:?}");
}

/// Gaps, and the records and bytes that are missing in them.
pub(crate) fn missed(source: &PoolSource) -> [u64; 3] {
    let stats = source.stats();
    [stats.n_gaps, stats.n_missing_records, stats.n_missing_bytes]
}

#[test]
fn a_ring_ends_where_it_did_when_it_was_opened() {
    // Goal: a ring that is not followed is what it was: everything that was there, with time, level, kind and producer, and nothing later.
    // Method: two producers with tags; more records after the opening; back to the beginning, and into the middle.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = ring(&path, 64 << 10);
    let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
    let mut push = |n: u64| {
        let producer = &mut producers[n as usize % 2];
        let mut claim = producer.claim(16).unwrap();
        claim.copy_from_slice(&payload(0, n)[..16]);
        claim.set_timestamp_ns(1_000 + n / 3);
        claim.set_level(n as u8);
        claim.set_kind(2 * n as u8);
        claim.commit();
        Record {
            timestamp_ns: 1_000 + n / 3,
            producer: (n % 2) as u16,
            level: n as u8,
            kind: 2 * n as u8,
            payload: payload(0, n)[..16].to_vec(),
        }
    };
    let wanted: Vec<_> = (0..100).map(&mut push).collect();
    let mut source = pool().open(&path).unwrap();
    let later: Vec<_> = (100..120).map(&mut push).collect();
    let all: Vec<_> = std::iter::from_fn(|| step(&mut source)).collect();
    assert_eq!(all, wanted);
    assert_eq!(source.step().unwrap(), Next::End);
    source.seek(1_020).unwrap();
    assert_eq!(step(&mut source), Some(wanted[60].clone()));
    assert_eq!((missed(&source), source.name()), ([0; 3], path.to_str().unwrap()));
    // Followed, it goes on, and says how far it is when nothing is there.
    let mut source = following().open(&path).unwrap();
    let all: Vec<_> = std::iter::from_fn(|| step(&mut source)).collect();
    assert_eq!(all, [wanted, later].concat());
    let before = now_ns();
    let Next::NotYet { not_before_ns } = source.step().unwrap() else { panic!("it has ended") };
    assert!((before - 5_000_000..=now_ns()).contains(&not_before_ns));
    let last = push(120);
    assert_eq!(step(&mut source), Some(last));
}

#[test]
fn what_a_ring_has_overwritten_is_counted() {
    // Goal: what comes and what is missing is everything. Method: a source is read a little, lapped, and read on.
    let directory = directory();
    let path = directory.path().join("ring");
    let mut producer = ring(&path, 4096).producer().unwrap();
    (0..20).for_each(|n| _ = producer.push(&payload(0, n)).unwrap());
    let mut source = following().open(&path).unwrap();
    let mut found = numbers(&mut source);
    (20..1_000).for_each(|n| _ = producer.push(&payload(0, n)).unwrap());
    found.extend(numbers(&mut source));
    assert!(found.is_sorted() && found.last() == Some(&999), "{found:?}");
    let stats = source.stats();
    assert_eq!(found.len() as u64 + stats.n_missing_records, 1_000, "{stats:?}");
    assert!(stats.n_gaps > 0 && stats.n_missing_bytes > 0);
}

#[test]
fn a_claim_in_front_of_the_end_is_waited_for() {
    // Goal: what was claimed when a ring was opened belongs to it; whoever never commits does not hold up a replay for ever.
    // Method: an open claim, with a record behind it: committed while the source waits; then one that is not.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = ring(&path, 4096);
    let (mut slow, mut fast) = (ring.producer().unwrap(), ring.producer().unwrap());
    for is_committed in [true, false] {
        let mut claim = slow.claim(16).unwrap();
        claim.copy_from_slice(&payload(0, 0)[..16]);
        fast.push(b"behind it").unwrap();
        let mut source = pool().open(&path).unwrap();
        let before: Vec<_> = std::iter::from_fn(|| step(&mut source)).collect();
        assert_eq!(source.step().unwrap(), Next::NotYet { not_before_ns: 0 });
        if is_committed {
            claim.commit();
            let behind: Vec<_> = std::iter::from_fn(|| step(&mut source)).collect();
            assert_eq!((before.len(), behind.len()), (0, 2));
        } else {
            let began = Instant::now();
            while source.step().unwrap() != Next::End {
                std::thread::sleep(Duration::from_millis(5));
                assert!(began.elapsed() < PATIENCE);
            }
        }
    }
}

#[test]
fn without_metadata_a_record_is_of_when_it_is_read() {
    // Goal: a ring whose records have no time is a source, too. Method: the time of reading, twice.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(4096).metadata(false).create(&path).unwrap();
    ring.producer().unwrap().push(b"timeless").unwrap();
    let mut source = pool().open(&path).unwrap();
    for _ in 0..2 {
        let before = now_ns();
        let record = step(&mut source).unwrap();
        assert!((before..=now_ns()).contains(&record.timestamp_ns) && record.payload == b"timeless");
        source.seek(0).unwrap();
    }
    source.seek(u64::MAX).unwrap();
    assert_eq!(source.step().unwrap(), Next::End);
}

#[test]
fn an_archive_goes_over_into_its_ring() {
    // Goal: out of a log into the ring that is recorded in it, each record comes once and in order, while it is recorded and appended to, and
    // whether the reader is quick or so slow that the ring overwrites what it is about to read.
    // Method: 100 times: a recorder and three producers in processes of their own, a ring of two or of 16 pages, a reader that begins somewhere
    // on the way, and is quick, or stops in the middle.
    const N_EACH: u64 = 600;
    let directory = directory();
    let mut recorder = Actor::start("replay_live::recorder", &[]);
    let mut producers: Vec<_> = (0..N_PRODUCERS)
        .map(|who| Actor::start("replay_live::producer", &[("who", &who), ("n", &N_EACH)]))
        .collect();
    let mut n_archived = 0;
    for run in 0..100u64 {
        let (path, log) =
            (directory.path().join(format!("{run}.ring")), directory.path().join(format!("{run}.log")));
        let ring = ring(&path, if run % 2 == 0 { 8 << 10 } else { 64 << 10 });
        recorder.tell(&format!("{} {}", path.display(), log.display()));
        recorder.expect("recording");
        producers.iter_mut().for_each(|producer| producer.tell(path.to_str().unwrap()));
        std::thread::sleep(Duration::from_micros(run % 10 * 300));
        let mut source = pool().open_with_ring(&log, &path).unwrap();
        let mut found = vec![];
        if run % 4 < 2 {
            found.extend(some_time(&mut source, (run * 17 % 1_000) as usize));
            std::thread::sleep(Duration::from_millis(run % 5));
        }
        n_archived += u64::from(!found.is_empty());
        let rest = (N_PRODUCERS * N_EACH) as usize - found.len();
        found.extend(some_time(&mut source, rest));
        check(&found, N_EACH);
        assert_eq!(missed(&source), [0; 3], "run {run}");
        assert!(matches!(source.step().unwrap(), Next::NotYet { .. }), "run {run}: one too many");
        // A record that nobody records yet has come out of the ring.
        recorder.tell("stop");
        recorder.expect("stopped");
        ring.producer().unwrap().push(&payload(9, 0)).unwrap();
        assert_eq!(some_time(&mut source, 1), [(9, 0)], "run {run}");
        producers.iter_mut().for_each(|producer| _ = producer.expect("pushed"));
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_dir_all(&log).unwrap();
    }
    assert!(n_archived > 0);
    for mut actor in producers.into_iter().chain([recorder]) {
        actor.tell("end");
        actor.finish();
    }
}

/// Records one ring after the other, each until it is told to stop.
pub(crate) fn recorder_of_rings() {
    loop {
        let line = listen();
        let Some((ring, log)) = line.trim().split_once(' ') else { return };
        let ring = Ring::open(ring).unwrap();
        let mut recorder = recorder(&ring, Path::new(log), &small());
        say("recording");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(listen().trim(), "stop");
                is_over.store(true, Ordering::Relaxed);
            });
            // Small batches, so that there are many places to go over at.
            while !is_over.load(Ordering::Relaxed) {
                recorder.step(Duration::from_micros(500)).unwrap();
            }
        });
        recorder.drain().unwrap();
        drop(recorder);
        say("stopped");
    }
}

/// Pushes its records into one ring after the other, some of them in batches.
pub(crate) fn producer_of_rings() {
    let (who, n) = (Script::number("who"), Script::number("n"));
    // Its slot is its own until the next ring.
    let mut held = None;
    loop {
        let line = listen();
        if line.trim() == "end" {
            return;
        }
        let ring = Ring::open(line.trim()).unwrap();
        let mut producer = ring.producer().unwrap();
        let mut number = 0;
        while number < n {
            if number % 50 == 0 {
                let mut batch = producer.batch(5, 600).unwrap();
                (number..number + 5).for_each(|number| batch.push(&payload(who, number)).unwrap());
                batch.commit();
                number += 5;
            } else {
                producer.push(&payload(who, number)).unwrap();
                number += 1;
            }
            if number % 100 == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        held.replace(producer);
        say("pushed");
    }
}

/// A ring of which the first records are in a log, and so many more are not.
pub(crate) fn half_recorded(
    directory: &Path,
    options: &LogOptions,
    n_recorded: u64,
    n_more: u64,
) -> (Ring, Recorder) {
    let ring = ring(&directory.join("ring"), 16 << 10);
    let mut recorder = recorder(&ring, &directory.join("log"), options);
    let mut producer = ring.producer().unwrap();
    for number in 0..n_recorded {
        producer.push(&payload(0, number)).unwrap();
        if number % 40 == 39 || number + 1 == n_recorded {
            recorder.drain().unwrap();
        }
    }
    (n_recorded..n_recorded + n_more).for_each(|number| _ = producer.push(&payload(0, number)).unwrap());
    (ring, recorder)
}

pub(crate) fn over(directory: &Path) -> PoolSource {
    pool().open_with_ring(directory.join("log"), directory.join("ring")).unwrap()
}

#[test]
fn a_recorder_that_is_gone_is_not_needed() {
    // Goal: what was not recorded is in the ring, also when nobody records, or nobody has yet.
    // Method: a recorder that ends behind 500 of 600; one that has recorded nothing; then the next one, who goes on.
    for (n_recorded, n_more) in [(500, 100), (0, 80), (100, 0)] {
        let directory = directory();
        let (ring, recorder) = half_recorded(directory.path(), &small(), n_recorded, n_more);
        drop(recorder);
        let mut source = over(directory.path());
        let mut producer = ring.producer().unwrap();
        let n = n_recorded + n_more;
        assert_eq!(numbers(&mut source), (0..n).collect::<Vec<_>>());
        producer.push(&payload(0, n)).unwrap();
        assert_eq!(numbers(&mut source), [n]);
        let mut recorder = self::recorder(&ring, &directory.path().join("log"), &small());
        recorder.drain().unwrap();
        assert_eq!(numbers(&mut source), [] as [u64; 0]);
        producer.push(&payload(0, n + 1)).unwrap();
        recorder.drain().unwrap();
        assert_eq!(numbers(&mut source), [n + 1]);
        assert_eq!(missed(&source), [0; 3]);
    }
}

#[test]
fn who_was_lapped_goes_back_to_the_log() {
    // Goal: a reader in the ring that is too slow loses nothing that was recorded, and gets nothing twice, however it stood to the batches.
    // Method: it stops at every place of a few batches, is lapped several times over, and reads on; again and again.
    for stop in (0..60).chain([200, 333]) {
        let directory = directory();
        let (ring, mut recorder) = half_recorded(directory.path(), &small(), 100, 30);
        let mut source = over(directory.path());
        let mut producer = ring.producer().unwrap();
        let mut found: Vec<_> = some_time(&mut source, 130).into_iter().map(|(_, number)| number).collect();
        let mut n = 130;
        for round in 0..3 {
            for at in 0..600 {
                producer.push(&payload(0, n)).unwrap();
                n += 1;
                if at % (7 + round) == 0 {
                    recorder.drain().unwrap();
                }
                if at == stop {
                    found.extend(numbers(&mut source));
                }
            }
            found.extend(numbers(&mut source));
        }
        assert!(found.iter().copied().eq(0..n), "stopped behind {stop}: {} of {n}", found.len());
        assert_eq!(missed(&source), [0; 3]);
    }
}

#[test]
fn what_a_recorder_missed_hides_nothing_behind_it() {
    // Goal: a reader that had of the ring what its recorder did not, and is lapped later, gets all that was recorded behind that, once; without
    // metadata, where records can't be told from each other, what it does not get is told.
    // Method: the recorder's name gives up its place while the ring goes round; then it records again, and the reader stops, once its last
    // record is recorded, once one that was missed is, and at several places of a batch.
    for (n_read, has_metadata) in [(400, true), (407, true), (150, true), (400, false), (407, false)] {
        let directory = directory();
        let (ring_path, log) = (directory.path().join("ring"), directory.path().join("log"));
        let ring = RingOptions::new().capacity(16 << 10).metadata(has_metadata).create(&ring_path).unwrap();
        let mut recorder = recorder(&ring, &log, &small());
        let mut producer = ring.producer().unwrap();
        let mut push = |numbers: std::ops::Range<u64>| {
            numbers.for_each(|number| _ = producer.push(&payload(0, number)).unwrap());
        };
        push(0..50);
        recorder.drain().unwrap();
        let mut source = over(directory.path());
        let mut found = numbers(&mut source);
        drop(recorder);
        drop(ring.consumer_with("recorder", ConsumerOptions::new()).unwrap());
        for from in (50..400).step_by(10) {
            push(from..from + 10);
            if from < n_read {
                found.extend(numbers(&mut source));
            }
        }
        recorder = self::recorder(&ring, &log, &small());
        recorder.drain().unwrap();
        push(400..n_read.max(400));
        if n_read > 400 {
            found.extend(numbers(&mut source));
        }
        assert!(found.iter().copied().eq(0..n_read), "{} of {n_read}", found.len());
        let first = n_read.max(400);
        let last = 1999;
        for number in first..=last {
            push(number..number + 1);
            if number % 10 == 9 {
                recorder.drain().unwrap();
            }
        }
        let began = Instant::now();
        while found.last() != Some(&last) {
            found.extend(numbers(&mut source));
            assert!(began.elapsed() < PATIENCE, "{:?} {:?}", found.last(), source.stats());
        }
        let jumps: Vec<_> = found.windows(2).filter(|two| two[1] != two[0] + 1).collect();
        let stats = source.stats();
        assert!(found.is_sorted() && jumps.len() <= 1, "{n_read}: {jumps:?}");
        if n_read >= 400 && has_metadata {
            assert!(jumps.is_empty() && missed(&source) == [0; 3], "{n_read}: {jumps:?}, {stats:?}");
        } else {
            assert!(jumps.is_empty() || stats.n_gaps > 0, "{n_read}: {jumps:?}, {stats:?}");
            // What was recorded again was there again, from before 400 on.
            assert!(!has_metadata || jumps[0][1] < 400, "{n_read}: {jumps:?}, {stats:?}");
        }
    }
}

#[test]
fn what_retention_has_taken_is_counted() {
    // Goal: a log whose beginning is gone goes over, too; a reader that was lapped by ring and retention is told how many it lost, exactly.
    // Method: a log of four segments at most, twice as much recorded; a reader that stops in the ring until its place in the log is gone.
    let directory = directory();
    let options = small().keep_bytes(256 << 10);
    let (ring, mut recorder) = half_recorded(directory.path(), &options, 8_000, 20);
    let mut source = over(directory.path());
    let mut found = numbers(&mut source);
    let first = found[0];
    assert!(first > 0 && found.iter().copied().eq(first..8_020), "from {first}");
    let before = source.stats();
    let mut producer = ring.producer().unwrap();
    for number in 8_020..20_000 {
        producer.push(&payload(0, number)).unwrap();
        if number % 40 == 0 {
            recorder.drain().unwrap();
        }
    }
    recorder.drain().unwrap();
    found = numbers(&mut source);
    let first = found[0];
    assert!(first > 8_020 && found.iter().copied().eq(first..20_000), "from {first}, {}", found.len());
    let after = source.stats();
    assert_eq!(after.n_missing_records - before.n_missing_records, first - 8_020);
    assert_eq!(after.n_gaps - before.n_gaps, 1);
}

#[test]
fn what_nobody_has_recorded_is_a_counted_loss() {
    // Goal: what is neither in the log nor in the ring any more is told, soon, and the rest comes.
    // Method: the recorder's name gives up its place, and the ring goes round, in front of the opening and behind it.
    let directory = directory();
    let (ring, recorder) = half_recorded(directory.path(), &small(), 100, 10);
    let mut ahead = over(directory.path());
    assert_eq!(numbers(&mut ahead).len(), 110);
    drop(recorder);
    drop(ring.consumer_with("recorder", ConsumerOptions::new()).unwrap());
    let mut producer = ring.producer().unwrap();
    (110..1_000).for_each(|number| _ = producer.push(&payload(0, number)).unwrap());
    let mut behind = over(directory.path());
    for (source, n_before) in [(&mut ahead, 0), (&mut behind, 100)] {
        let began = Instant::now();
        let mut found = vec![];
        while found.last() != Some(&999) {
            found.extend(numbers(source));
            assert!(began.elapsed() < PATIENCE);
        }
        assert!(found[..n_before].iter().copied().eq(0..n_before as u64));
        let from = found[n_before];
        assert!(from > 110 && found[n_before..].iter().copied().eq(from..1_000), "from {from}");
        let stats = source.stats();
        assert!(stats.n_gaps == 1 && stats.n_missing_bytes > 10_000, "{stats:?}");
    }
}

#[test]
fn a_seek_finds_its_place_in_log_and_ring() {
    // Goal: a time is found wherever its record is, and all that follow come, once.
    // Method: times of records in the log, of some that are only in the ring, of none; forward and back.
    let directory = directory();
    let ring = ring(&directory.path().join("ring"), 16 << 10);
    let mut recorder = recorder(&ring, &directory.path().join("log"), &small());
    let mut producer = ring.producer().unwrap();
    let mut push = |number: u64| {
        producer.push_at(1_000 + number, &payload(0, number)).unwrap();
    };
    (0..300).for_each(|number| {
        push(number);
        recorder.drain().unwrap();
    });
    (300..350).for_each(&mut push);
    let mut source = over(directory.path());
    for from in [10, 340, 0, 299, 300, 301, 349, 150, 350] {
        source.seek(1_000 + from).unwrap();
        assert!(numbers(&mut source).into_iter().eq(from..350), "from {from}");
    }
    assert_eq!(missed(&source), [0; 3]);
    // And when it was lapped behind a seek.
    source.seek(1_345).unwrap();
    assert_eq!(numbers(&mut source), [345, 346, 347, 348, 349]);
    for number in 350..900 {
        push(number);
        recorder.drain().unwrap();
    }
    assert!(numbers(&mut source).into_iter().eq(350..900));
}

#[test]
fn another_ring_is_refused_by_name() {
    // Goal: a log goes over into the ring that it has recorded and into no other. Method: a stranger; a copy of an older state; a new ring.
    let directory = directory();
    let (_ring, mut recorder) = half_recorded(directory.path(), &small(), 10, 0);
    let (log, path) = (directory.path().join("log"), directory.path().join("ring"));
    let copy = directory.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    let stranger = directory.path().join("stranger");
    drop(ring(&stranger, 16 << 10));
    let refused = pool().open_with_ring(&log, &stranger).unwrap_err().to_string();
    for uuid in [&path, &stranger].map(|path| Ring::open(path).unwrap().stats().unwrap().uuid_string()) {
        assert!(refused.contains(&uuid), "{refused}");
    }
    Ring::open(&path).unwrap().producer().unwrap().push(&payload(0, 10)).unwrap();
    recorder.drain().unwrap();
    let refused = pool().open_with_ring(&log, &copy).unwrap_err().to_string();
    assert!(refused.contains("copy of an older state"), "{refused}");
    assert!(pool().open_with_ring(&log, directory.path().join("none")).is_err());
    assert!(pool().open_with_ring(&log, &path).is_ok());
}

#[test]
fn no_consumer_can_tell_replay_from_live() {
    // Goal: a log that was recorded live, put into another ring, is record by record what the first ring had: bytes, time, level, kind, the order
    // of all, whose each is; and each producer's sequence has no gap.
    // Method: three processes push while one records and one reads along; the log is replayed as fast as it goes into a ring that is smaller.
    const N_EACH: u64 = 3_000;
    let directory = directory();
    let (path, log) = (directory.path().join("ring"), directory.path().join("log"));
    let first = ring(&path, 64 << 10);
    let mut reader = first.consumer("reader").unwrap();
    let mut recorder = Actor::start("replay_live::recorder", &[]);
    recorder.tell(&format!("{} {}", path.display(), log.display()));
    recorder.expect("recording");
    let mut producers: Vec<_> = (0..N_PRODUCERS)
        .map(|who| Actor::start("replay_live::producer", &[("who", &who), ("n", &N_EACH)]))
        .collect();
    producers.iter_mut().for_each(|producer| producer.tell(path.to_str().unwrap()));
    let n = (N_PRODUCERS * N_EACH) as usize;
    let live = consumed(&mut reader, n);
    recorder.tell("stop");
    recorder.expect("stopped");
    for mut actor in producers {
        actor.expect("pushed");
        actor.tell("end");
        actor.finish();
    }
    recorder.tell("end");
    recorder.finish();

    let second = ring(&directory.path().join("second"), 16 << 10);
    let mut reader = second.consumer("reader").unwrap();
    let reading = std::thread::spawn(move || (consumed(&mut reader, n), reader.lost()));
    let mut merge = Merge::new();
    merge.add(pool().open(&log).unwrap());
    let (mut replayer, mut writer) = (Replayer::new(merge).pace(Pace::Max), RingWriter::new(&second));
    while let Some(event) = replayer.next().unwrap() {
        writer.push(&event).unwrap();
    }
    let (replayed, lost) = reading.join().unwrap();
    assert_eq!((lost, writer.n_slots()), (vec![], N_PRODUCERS as usize));
    let mut slots = BTreeMap::new();
    let mut sequences = BTreeMap::new();
    for ((live, _), (replayed, sequence)) in live.iter().zip(&replayed) {
        let slot = *slots.entry(live.producer).or_insert(replayed.producer);
        assert_eq!(*replayed, Record { producer: slot, ..live.clone() });
        let next = sequences.entry(slot).or_insert(0);
        assert_eq!(sequence, next);
        *next += 1;
    }
    assert_eq!(slots.values().collect::<BTreeSet<_>>().len(), N_PRODUCERS as usize);
}

/// So many records of a consumer, with their sequences.
fn consumed(consumer: &mut shm_ring::Consumer, n: usize) -> Vec<(Record, u64)> {
    let next = |_| {
        let frame = consumer.poll_timeout(PATIENCE).unwrap().unwrap();
        let info = frame.info();
        let record = Record {
            timestamp_ns: info.timestamp_ns.unwrap(),
            producer: info.producer,
            level: info.level,
            kind: info.kind,
            payload: frame.to_vec(),
        };
        (record, info.sequence.unwrap())
    };
    (0..n).map(next).collect()
}

/// A log of one source, whose records have tags of their own.
fn tagged(path: &Path, who: u64, times: impl Iterator<Item = u64>) {
    let mut log = small().create(path).unwrap();
    for (number, time) in (0..).zip(times) {
        let _ = log.append_tagged(time, number as u8, who as u8, &payload(who, number)).unwrap();
    }
    log.close().unwrap();
}

fn merged(directory: &Path, n_sources: u64) -> Merge<PoolSource> {
    let mut merge = Merge::new();
    for who in 0..n_sources {
        let path = directory.join(format!("source-{who}"));
        tagged(&path, who, (0..100).map(|n| 1_000 + 10 * n + who));
        merge.add(pool().open(&path).unwrap());
    }
    merge
}

#[test]
fn slots_are_shared_when_there_are_no_more() {
    // Goal: a ring with few producers takes any number of sources, each in order, and nobody is told of a loss.
    // Method: five sources; rings with two slots, with one of two taken, and with one alone; or as many slots as are allowed.
    for (is_single, n_taken, n_allowed, n_slots) in
        [(false, 0, 9, 2), (false, 1, 9, 1), (true, 0, 9, 1), (false, 0, 1, 1)]
    {
        let directory = directory();
        let options = RingOptions::new().producers_max(2);
        let ring = if is_single { options.single_producer() } else { options }.anonymous().unwrap();
        let taken: Vec<_> = (0..n_taken).map(|_| ring.producer().unwrap()).collect();
        let mut reader = ring.consumer("reader").unwrap();
        let mut merge = merged(directory.path(), 5);
        let mut writer = RingWriter::new(&ring).slots_max(n_allowed);
        while let Some(event) = merge.next().unwrap() {
            writer.push(&event).unwrap();
        }
        assert_eq!(writer.n_slots(), n_slots);
        let all = consumed(&mut reader, 500);
        check(&all.iter().map(|(record, _)| read(&record.payload)).collect::<Vec<_>>(), 100);
        let slots: BTreeSet<_> = all.iter().map(|(record, _)| record.producer).collect();
        assert_eq!((slots.len(), reader.lost()), (n_slots, vec![]));
        assert!(all.iter().all(|(record, _)| record.kind == read(&record.payload).0 as u8));
        drop(taken);
        drop(writer);
        // Gone, its slots are free.
        assert!(ring.producer().is_ok());
        let busy = ring.producer().unwrap();
        let _other = ring.producer();
        let mut merge = merged_again(directory.path());
        let event = merge.next().unwrap().unwrap();
        assert!(matches!(RingWriter::new(&ring).push(&event), Err(WriteError::Ring(_))));
        drop(busy);
    }
}

fn merged_again(directory: &Path) -> Merge<PoolSource> {
    let mut merge = Merge::new();
    merge.add(pool().open(directory.join("source-0")).unwrap());
    merge
}

#[test]
fn a_full_ring_is_waited_for() {
    // Goal: a replay into a ring waits for its reliable consumers, as long as it is told, and what did not fit is not in it.
    // Method: a small ring whose consumer does not read at first; a record that is too long for it.
    let directory = directory();
    let ring = RingOptions::new().capacity(4096).anonymous().unwrap();
    let mut reader = ring.consumer("reader").unwrap();
    let mut merge = merged(directory.path(), 1);
    let mut writer = RingWriter::new(&ring);
    let mut n = 0;
    let error = loop {
        let event = merge.next().unwrap().unwrap();
        match writer.push_timeout(&event, Duration::from_millis(5)) {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, WriteError::Claim(ClaimError::Full { .. })), "{error}");
    assert!((20..100).contains(&n), "{n}");
    let there = consumed(&mut reader, n);
    assert!(there.iter().all(|(record, sequence)| read(&record.payload).1 == *sequence));
    assert!(reader.try_poll().unwrap().is_none());
    // The one that did not fit was not counted as one either.
    let event = merge.next().unwrap().unwrap();
    writer.push(&event).unwrap();
    assert_eq!(consumed(&mut reader, 1)[0].1, n as u64);
    assert_eq!(reader.lost(), []);

    let path = directory.path().join("long");
    let mut log = small().create(&path).unwrap();
    let _ = log.append(&[7; 2000]).unwrap();
    let mut merge = Merge::new();
    merge.add(pool().open(&path).unwrap());
    let event = merge.next().unwrap().unwrap();
    assert!(matches!(writer.push(&event), Err(WriteError::Claim(ClaimError::TooLong { .. }))));
}

#[test]
fn sources_become_one_log() {
    // Goal: a log that was merged out of others has their records in order, with time, level, kind and producer, and sequences without a gap.
    // Method: two rings with two producers each, and two logs, merged into one log, and that compared with the merge.
    let directory = directory();
    let merge = || {
        let mut merge = merged_from_rings(directory.path());
        merge.add(pool().open(directory.path().join("log-0")).unwrap());
        merge.add(pool().open(directory.path().join("log-1")).unwrap());
        merge
    };
    for who in 0..2 {
        tagged(&directory.path().join(format!("log-{who}")), who, (0..50).map(|n| 1_000 + 10 * n + who));
        let ring = ring(&directory.path().join(format!("ring-{who}")), 64 << 10);
        let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
        (0..50).for_each(|n| {
            _ = producers[n % 2].push_at(1_003 + 7 * n as u64, &payload(who, n as u64)).unwrap()
        });
    }
    let day = directory.path().join("day");
    let mut writer = LogWriter::new(small().create(&day).unwrap());
    let (mut wanted, mut merging) = (vec![], merge());
    while let Some(event) = merging.next().unwrap() {
        let tags = event.record.tags;
        wanted.push((event.stamp.timestamp_ns, tags.producer, tags.level, tags.kind, bytes(&event.record)));
        let position = writer.push(&event).unwrap();
        assert!(position < writer.log().end());
    }
    writer.into_log().close().unwrap();
    assert_eq!(wanted.len(), 200);
    let mut reader = LogReader::open(&day).unwrap();
    reader.seek(LogStart::Oldest).unwrap();
    let (mut found, mut sequences) = (vec![], BTreeMap::new());
    while let Some(LogItem::Record(record)) = reader.next().unwrap() {
        let info = record.info();
        let next = sequences.entry(info.producer).or_insert(0);
        assert_eq!(info.sequence, *next);
        *next += 1;
        found.push((info.timestamp_ns, info.producer, info.level, info.kind, record.to_vec()));
    }
    assert_eq!(found, wanted);
    assert!(found.is_sorted_by_key(|record| record.0) && sequences.len() == 2);
}

fn merged_from_rings(directory: &Path) -> Merge<PoolSource> {
    let mut merge = Merge::new();
    for who in 0..2 {
        merge.add(pool().open(directory.join(format!("ring-{who}"))).unwrap());
    }
    merge
}
