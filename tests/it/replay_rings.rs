//! Rings in a pool: what is missing in them and their logs is told once, and what they take counts.

use crate::harness::{Actor, Script, alone, directory, say};
use crate::replay_pool::cached;
use nix::sys::resource::{Resource, setrlimit};
use shm_ring::replay::{Next, Order, PoolOptions, PoolSource, Source};
use shm_ring::{Error, LogOptions, Recorder, Ring, RingOptions};
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> PoolOptions {
    PoolOptions::new().order(Order::Pass).follow(Duration::ZERO)
}

fn over(directory: &Path, options: PoolOptions) -> PoolSource {
    options.build().unwrap().open_with_ring(directory.join("log"), directory.join("ring")).unwrap()
}

/// The numbers of the next records that are there.
fn numbers(source: &mut PoolSource) -> Vec<u64> {
    let mut found = vec![];
    while let Next::Record(_) = source.step().unwrap() {
        let mut scratch = vec![];
        let record = source.record();
        let payload = record.payload(&mut scratch).unwrap();
        found.push(u64::from_le_bytes(payload[..8].try_into().unwrap()));
    }
    found
}

fn missed(source: &PoolSource) -> [u64; 3] {
    let stats = source.stats();
    [stats.n_gaps, stats.n_missing_records, stats.n_missing_bytes]
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(100, 7);
    payload
}

/// Dies with a record that it has not finished.
pub(crate) fn dies() {
    let ring = Ring::open(Script::text("path")).unwrap();
    let mut producer = ring.producer().unwrap();
    std::mem::forget(producer.claim(100).unwrap());
    say("claimed");
    std::process::exit(0);
}

/// A ring with records from `first` on, of which some were dropped, and one was lost; how many came in.
fn lossy(ring: &Ring, path: &Path, first: u64, mut drain: impl FnMut()) -> Vec<u64> {
    let mut actor = Actor::start("replay_rings::dies", &[("path", &path.display())]);
    actor.expect("claimed");
    actor.finish();
    let mut producer = ring.producer().unwrap();
    let mut came = vec![];
    while producer.offer(&payload(first + came.len() as u64)).unwrap().is_some() {
        came.push(first + came.len() as u64);
    }
    for _ in 0..2 {
        assert!(producer.offer(&payload(0)).unwrap().is_none());
    }
    drain();
    for _ in 0..3 {
        let number = first + came.len() as u64;
        producer.push_at(number, &payload(number)).unwrap();
        came.push(number);
    }
    came
}

#[test]
fn a_loss_in_a_ring_is_counted_once() {
    // Goal: whoever goes back in a ring hears of what is missing there once. Method: a producer that dropped three records, one that died, and a
    // reader that reads it all, seeks back, and reads it all again.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
    let mut consumer = ring.consumer("slow").unwrap();
    let came = lossy(&ring, &path, 0, || {
        for _ in 0..10 {
            drop(consumer.try_poll().unwrap());
        }
        consumer.release();
    });
    let mut source = options().build().unwrap().open(&path).unwrap();
    let mut expected = None;
    for _ in 0..3 {
        let found = numbers(&mut source);
        assert!(came.ends_with(&found) && found.len() > 50, "{found:?}");
        let now = missed(&source);
        assert!(now[0] >= 1 && now[1] == 3, "{now:?}");
        assert_eq!(*expected.get_or_insert(now), now);
        source.seek(0).unwrap();
    }
}

#[test]
fn a_loss_in_a_log_and_its_ring_is_counted_once() {
    // Goal: the same for a log and its ring: what was missing in the ring is no other loss when it is read in the log. Method: one reader that is
    // in the ring when records are lost and dropped, and one that comes when they are recorded; each seeks back, again and again.
    let directory = directory();
    let path = directory.path().join("ring");
    let ring = RingOptions::new().capacity(16 << 10).create(&path).unwrap();
    let log = LogOptions::new().segment_bytes(64 << 10).create(directory.path().join("log")).unwrap();
    let mut recorder = Recorder::open(&ring, "recorder", log).unwrap();
    let mut early = over(directory.path(), options());
    let mut n_early = 0;
    let came = lossy(&ring, &path, 0, || {
        n_early = numbers(&mut early).len();
        recorder.drain().unwrap();
    });
    n_early += numbers(&mut early).len();
    assert_eq!(n_early, came.len());
    recorder.drain().unwrap();
    let mut late = over(directory.path(), options());
    assert_eq!(numbers(&mut late), came);
    assert_eq!(missed(&early)[..2], missed(&late)[..2]);
    for (source, name) in [(&mut early, "early"), (&mut late, "late")] {
        let expected = missed(source);
        assert!(expected[0] >= 2 && expected[1] == 3, "{name}: {expected:?}");
        for since in [0, 0, 60, 0] {
            source.seek(since).unwrap();
            assert!(came.ends_with(&numbers(source)));
            assert_eq!(missed(source)[..2], expected[..2], "{name}");
        }
    }
    // And what is new is counted.
    let before = missed(&late);
    let first = came.len() as u64;
    let more = lossy(&ring, &path, first, || _ = recorder.drain().unwrap());
    recorder.drain().unwrap();
    for source in [&mut early, &mut late] {
        source.seek(0).unwrap();
        let began = Instant::now();
        let mut found = vec![];
        while found.last() != more.last() {
            found.extend(numbers(source));
            assert!(began.elapsed() < PATIENCE);
        }
        assert_eq!(missed(source)[..2], [2 * before[0], 2 * before[1]]);
    }
}

/// All descriptors that there are.
fn take_all() -> Vec<File> {
    setrlimit(Resource::RLIMIT_NOFILE, 100, 100).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
fn without_any_descriptor_left_a_log_and_its_ring_are_read_on() {
    // Goal: who has used up all descriptors loses nothing of a log and its ring: what the reserve is enough for goes on, and what it is not is
    // an error that can be asked again. Method: over segments and back from the ring into the log, with a reserve, and with none.
    alone("replay_rings::exhausted", &[]);
}

pub(crate) fn exhausted() {
    for has_reserve in [true, false] {
        let directory = directory();
        let ring = RingOptions::new().capacity(8 << 10).create(directory.path().join("ring")).unwrap();
        let log = LogOptions::new().segment_bytes(64 << 10).create(directory.path().join("log")).unwrap();
        let mut recorder = Recorder::open(&ring, "recorder", log).unwrap();
        let mut producer = ring.producer().unwrap();
        let mut record = |numbers: std::ops::Range<u64>| {
            for number in numbers {
                producer.push_at(number, &payload(number)).unwrap();
                if number % 20 == 0 {
                    recorder.drain().unwrap();
                }
            }
            recorder.drain().unwrap();
        };
        record(0..2_000);
        let pool = if has_reserve {
            options().build().unwrap()
        } else {
            // It finds nothing to put aside.
            let _kept = take_all();
            options().build().unwrap()
        };
        let mut source =
            pool.open_with_ring(directory.path().join("log"), directory.path().join("ring")).unwrap();
        let mut n_refused = 0u64;
        let mut first = 0;
        for next in [2_000, 4_000] {
            if first > 0 {
                record(first..next);
            }
            // A reserve that was used is filled again.
            let mut kept = if has_reserve || first > 0 { take_all() } else { vec![] };
            let mut found = vec![];
            let began = Instant::now();
            while found.last() != Some(&(next - 1)) {
                match source.step() {
                    Ok(Next::Record(_)) => {
                        let mut scratch = vec![];
                        let record = source.record();
                        let payload = record.payload(&mut scratch).unwrap();
                        found.push(u64::from_le_bytes(payload[..8].try_into().unwrap()));
                    }
                    Ok(_) => std::thread::sleep(Duration::from_millis(1)),
                    Err(error) => {
                        assert!(error.to_string().contains("Too many open files"), "{error}");
                        n_refused += 1;
                        kept.clear();
                    }
                }
                assert!(began.elapsed() < PATIENCE);
            }
            assert!(found.iter().copied().eq(first..next), "{has_reserve}: {} from {first}", found.len());
            first = next;
        }
        // Who leaves a segment for another one has its descriptor for that: there need not be a refusal.
        assert!(n_refused <= u64::from(!has_reserve), "{n_refused} refusals, {has_reserve}");
        assert_eq!(missed(&source), [0; 3], "{has_reserve}");
    }
}

#[test]
fn rings_take_memory_of_their_pool() {
    // Goal: a ring, or a log with its ring, is a source of its pool like any other: counted, and refused when there is no memory for it.
    // Method: as many as a small cap allows, and as many of one again when some are gone.
    let directory = directory();
    let ring = RingOptions::new().capacity(8 << 10).create(directory.path().join("ring")).unwrap();
    let log = LogOptions::new().segment_bytes(64 << 10).create(directory.path().join("log")).unwrap();
    let mut recorder = Recorder::open(&ring, "recorder", log).unwrap();
    (0..9).for_each(|n| _ = ring.producer().unwrap().push(&payload(n)).unwrap());
    recorder.drain().unwrap();
    let pool = options().memory_bytes(1 << 20).build().unwrap();
    let (ring, log) = (directory.path().join("ring"), directory.path().join("log"));
    let open: [&dyn Fn() -> Result<PoolSource, Error>; 2] =
        [&|| pool.open(&ring), &|| pool.open_with_ring(&log, &ring)];
    let mut counts = vec![];
    for open in open {
        let mut sources = vec![];
        let refused = loop {
            match open() {
                Ok(source) => sources.push(source),
                Err(error) => break error.to_string(),
            }
            assert!(sources.len() < 50, "as many as there are descriptors");
        };
        assert!(refused.contains("memory_bytes"), "{refused}");
        for source in &mut sources {
            assert_eq!(numbers(source).len(), 9);
        }
        let stats = pool.stats();
        assert_eq!((stats.n_sources, stats.n_mapped), (sources.len() as u64, 0));
        counts.push(sources.len());
    }
    // One of a log has a window besides what it copies.
    assert!(counts[0] >= 10 && counts[1] > counts[0] / 3 && counts[1] < counts[0], "{counts:?}");
    assert_eq!(pool.stats().n_sources, 0);
}

#[test]
fn a_cap_holds_for_a_log_with_its_ring() {
    // Goal: what is read of a log in front of its ring is let go of, too. Method: a log of 24 MiB on a disk, a cap of 4 MiB, a look at what is
    // cached all the time.
    const CAP: u64 = 4 << 20;
    const N: u64 = 24_000;
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let (ring_path, log_path) = (directory.path().join("ring"), directory.path().join("log"));
    let ring = RingOptions::new().capacity(1 << 20).create(&ring_path).unwrap();
    let log = LogOptions::new().segment_bytes(2 << 20).create(&log_path).unwrap();
    let mut recorder = Recorder::open(&ring, "recorder", log).unwrap();
    let mut producer = ring.producer().unwrap();
    for n in 0..N {
        let mut payload = payload(n);
        payload.resize(1000, 7);
        producer.push_at(n, &payload).unwrap();
        if n % 100 == 0 {
            recorder.drain().unwrap();
        }
    }
    recorder.drain().unwrap();
    drop(recorder);
    let segments: Vec<_> = fs::read_dir(&log_path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    for path in &segments {
        let file = File::open(path).unwrap();
        file.sync_all().unwrap();
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        nix::fcntl::posix_fadvise(&file, 0, 0, advice).unwrap();
    }
    let all_cached = || segments.iter().map(|path| cached(path)).sum::<u64>();
    if all_cached() > CAP / 4 {
        println!("SKIPPED a_cap_holds_for_a_log_with_its_ring: this file system keeps what it has cached");
        return;
    }
    let mut source = over(directory.path(), options().memory_bytes(CAP));
    for n in 0..N {
        assert!(matches!(source.step().unwrap(), Next::Record(stamp) if stamp.timestamp_ns == n));
        if n % 500 == 0 {
            assert!(all_cached() <= CAP, "{} cached at {n}", all_cached());
        }
    }
    assert!(all_cached() < CAP / 2, "{} cached in the end", all_cached());
}
