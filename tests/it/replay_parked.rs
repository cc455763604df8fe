//! Replay without maps: what befalls a source between two blocks, or between a block and a map, is neither lost nor taken for something else.

use crate::harness::{alone, directory, eventually, fork};
use crate::log_read::append;
use crate::replay_pool::cached;
use nix::sys::resource::{Resource, setrlimit};
use shm_ring::replay::{
    Body, MapPool, Next, Order, PoolOptions, PoolSource, RowLayout, Source, SourceError, TimeUnit,
};
use shm_ring::{AppendOptions, DryRun, Log, LogOptions, MapBudget, Recorder, RingOptions};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time, sequence and bytes of the next record; `None`: there is none.
fn next(source: &mut PoolSource) -> Result<Option<(u64, u64, Vec<u8>)>, SourceError> {
    let Next::Record(stamp) = source.step()? else { return Ok(None) };
    let Body::Bytes(bytes) = source.record().body else { panic!("it has bytes") };
    Ok(Some((stamp.timestamp_ns, stamp.sequence, bytes.to_vec())))
}

fn with_maps(n: u16) -> PoolOptions {
    PoolOptions::new().budget(MapBudget::new().maps(n))
}

/// Rows of 16 bytes: something, and a time.
const LAYOUT: RowLayout = RowLayout { row_bytes: 16, timestamp_at: 8, unit: TimeUnit::Nanos };

/// So many rows, number n at time n.
fn rows(n: u64) -> Vec<u8> {
    (0..n).flat_map(|n| [!n, n].map(u64::to_le_bytes).concat()).collect()
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn what_is_held_back_of_a_block_survives_a_gap_in_the_segment() {
    // Goal: a record that is held back has its own bytes, whatever comes behind it. Method: a log that was restored from a copy and recorded
    // on has a gap in the midst of a segment; records too long to be copied when they are staged; windows of several lengths; beside a map.
    let directory = directory();
    let [path, log, old] = ["ring", "log", "old"].map(|name| directory.path().join(name));
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut n = 0u64;
    let mut record = |many: u64| {
        let appender = LogOptions::new().segment_bytes(1 << 20).open_or_create(&log).unwrap();
        let mut recorder = Recorder::open(&ring, "recorder", appender).unwrap();
        for _ in 0..many {
            producer.push(&n.to_le_bytes().repeat(100)).unwrap();
            n += 1;
            recorder.drain().unwrap();
        }
    };
    record(200);
    copy_directory(&log, &old);
    record(200);
    fs::remove_dir_all(&log).unwrap();
    copy_directory(&old, &log);
    record(50);
    let all = |pool: MapPool| {
        let mut source = pool.open(&log).unwrap();
        let mut found = vec![];
        while let Some((_, _, bytes)) = next(&mut source).unwrap() {
            let first = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert_eq!(bytes, first.to_le_bytes().repeat(100), "record {}", found.len());
            found.push(first);
        }
        (found, source.stats().n_gaps)
    };
    for n_records in [0, 16, 64, 200] {
        let order = Order::Reorder { n_records };
        let mapped = all(PoolOptions::new().order(order).build().unwrap());
        let parked = all(with_maps(0).order(order).build().unwrap());
        assert!(mapped.0.len() > 250 && mapped.1 == 1);
        assert_eq!(mapped, parked);
    }
}

#[test]
fn rows_of_a_sealed_file_are_the_same_once_there_is_a_map() {
    // Goal: a source that is mapped in the midst of a file goes on with its next row, whatever is in front of the first one. Method: a sealed
    // file, whose map was another source's before.
    let directory = directory();
    let path = directory.path().join("rows");
    let n = 50_000;
    let file = AppendOptions::new().create(&path).unwrap();
    file.push(&rows(n)).unwrap();
    file.seal().unwrap();
    let pool = with_maps(1).build().unwrap();
    let first = pool.open_rows(&path, LAYOUT).unwrap();
    let mut source = pool.open_rows(&path, LAYOUT).unwrap();
    assert_eq!(next(&mut source).unwrap(), Some((0, 0, rows(1))));
    drop(first);
    for at in 1..n {
        let expected = [!at, at].map(u64::to_le_bytes).concat();
        assert_eq!(next(&mut source).unwrap(), Some((at, at, expected)), "row {at}");
    }
    assert!(next(&mut source).unwrap().is_none() && pool.stats().n_hits > 1000);
}

#[test]
fn rows_that_were_cut_before_there_is_a_map_are_an_error() {
    // Goal: a file that has become shorter is told of, whether it is read or mapped next, and nobody waits for ever. Method: cut it while
    // another source has the only map; then give that back.
    let directory = directory();
    let [path, other] = ["rows", "other"].map(|name| directory.path().join(name));
    for path in [&path, &other] {
        fs::write(path, rows(50_000)).unwrap();
    }
    let pool = with_maps(1).build().unwrap();
    let first = pool.open_rows(&other, LAYOUT).unwrap();
    let mut source = pool.open_rows(&path, LAYOUT).unwrap();
    next(&mut source).unwrap();
    drop(first);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1600).unwrap();
    let error = loop {
        match next(&mut source) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it has ended"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("truncated") && error.contains("1600"), "{error}");
}

#[test]
fn a_forked_child_hears_of_it_in_front_of_every_record_of_a_log() {
    // Goal: a child, which has none of the maps, is told so at its first step, also where records are staged, and at a seek. Method: fork in
    // the midst of a segment of records that are too long to be copied; the parent goes on.
    alone("replay_parked::forked", &[]);
}

pub(crate) fn forked() {
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = LogOptions::new().segment_bytes(1 << 20).create(&path).unwrap();
    for n in 0..500 {
        let _ = appender.append_at(n, &[7; 1000]).unwrap();
    }
    let mut source = PoolOptions::new().order(Order::Error).build().unwrap().open(&path).unwrap();
    source.step().unwrap();
    fork(|| {
        let asked = std::panic::AssertUnwindSafe(|| _ = source.record());
        let why = std::panic::catch_unwind(asked).unwrap_err();
        assert!(why.downcast_ref::<&str>().unwrap().contains("in a forked child, which has not stepped"));
        source.prefetch();
        for _ in 0..3 {
            assert!(next(&mut source).unwrap_err().to_string().contains("fork"));
        }
        assert!(source.seek(7).unwrap_err().to_string().contains("fork"));
        assert!(source.seek_before(7).unwrap_err().to_string().contains("fork"));
    })
    .finish();
    for _ in 1..500 {
        assert_eq!(next(&mut source).unwrap().unwrap().2, [7; 1000]);
    }
}

/// The segments of a log, in order.
fn segments(path: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = names.filter(|path| path.extension().is_some_and(|it| it == "seg")).collect();
    found.sort();
    found
}

#[test]
fn a_lone_segment_that_is_gone_or_another_one_is_an_error() {
    // Goal: a segment is read to its end or to an error, and never goes over into another file. Method: remove or replace it between two
    // blocks.
    let directory = directory();
    let [log, lone] = ["log", "one.seg"].map(|name| directory.path().join(name));
    let mut appender = LogOptions::new().segment_bytes(1 << 20).create(&log).unwrap();
    append(&mut appender, 0..8000);
    drop(appender);
    let segments = segments(&log);
    for other in [None, Some(&segments[2])] {
        fs::copy(&segments[0], &lone).unwrap();
        let mut source = with_maps(0).build().unwrap().open(&lone).unwrap();
        next(&mut source).unwrap();
        fs::remove_file(&lone).unwrap();
        other.map(|other| fs::copy(other, &lone).unwrap());
        let mut n = 1;
        let error = loop {
            match next(&mut source) {
                Ok(Some((at, ..))) => assert_eq!(at, n),
                Ok(None) => panic!("it has ended"),
                Err(error) => break error.to_string(),
            }
            n += 1;
        };
        assert!(error.contains("missing, or another one") && n < 1000, "{n} records, then {error}");
    }
}

#[test]
fn what_has_ended_or_failed_gives_its_map_to_others() {
    // Goal: a source that is done keeps no map from those that are not, and what it had held back is whole; behind a seek it is as before.
    // Method: one map; a short source of each kind ends or fails, and stays open, before a long one is read.
    let directory = directory();
    let [short, wrong, log, long] = ["short", "wrong", "log", "long"].map(|name| directory.path().join(name));
    fs::write(&short, rows(10)).unwrap();
    fs::write(&wrong, [rows(10), vec![0xff; 16]].concat()).unwrap();
    let mut appender = LogOptions::new().segment_bytes(1 << 20).create(&log).unwrap();
    append(&mut appender, 0..1500);
    fs::write(&long, rows(500_000)).unwrap();
    for at in 0..3 {
        let budget = MapBudget::new().maps(1);
        let pool = PoolOptions::new().budget(budget.clone()).build().unwrap();
        let mut first = match at {
            0 => pool.open_rows(&short, LAYOUT).unwrap(),
            1 => pool.open_rows(&wrong, LAYOUT).unwrap(),
            _ => pool.open(&log).unwrap(),
        };
        let mut second = pool.open_rows(&long, LAYOUT).unwrap();
        let all =
            |source: &mut PoolSource| std::iter::from_fn(|| next(source).ok().flatten()).collect::<Vec<_>>();
        let found = all(&mut first);
        assert_eq!(found.len(), [10, 10, 1500][at]);
        assert_eq!((pool.stats().n_mapped, budget.in_use().maps), (0, 0));
        assert_eq!(all(&mut second).len(), 500_000);
        let stats = pool.stats();
        assert!(stats.n_hits > 20 * stats.n_faults && stats.n_evictions == 0, "{stats:?}");
        first.seek(0).unwrap();
        assert_eq!(all(&mut first), found);
    }
}

#[test]
fn a_log_that_became_shorter_is_an_error() {
    // Goal: who follows a log that is restored from an older copy is told that what was read is not there any more. Method: put the copy in
    // its place while another source has the only map, with and without giving that back.
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("rows"), rows(10)).unwrap();
    for is_mapped_then in [false, true] {
        let names = ["log", "old", "new"].map(|name| at(&format!("{name} {is_mapped_then}")));
        let [log, old, new] = &names;
        let mut appender = LogOptions::new().segment_bytes(1 << 20).create(log).unwrap();
        append(&mut appender, 0..10);
        copy_directory(log, old);
        append(&mut appender, 10..200);
        drop(appender);
        let pool = with_maps(1).follow(Duration::ZERO).build().unwrap();
        let first = pool.open_rows(at("rows"), LAYOUT).unwrap();
        let mut source = pool.open(log).unwrap();
        for n in 0..200 {
            assert_eq!(next(&mut source).unwrap().unwrap().0, n);
        }
        assert!(next(&mut source).unwrap().is_none());
        fs::rename(log, new).unwrap();
        fs::rename(old, log).unwrap();
        let kept = if is_mapped_then {
            drop(first);
            None
        } else {
            Some(first)
        };
        for _ in 0..3 {
            let error = next(&mut source).unwrap_err().to_string();
            assert!(error.contains("not in it any more"), "{error}");
        }
        drop(kept);
    }
}

#[test]
fn without_any_descriptor_left_a_known_hole_is_still_a_gap() {
    // Goal: a hole that the manifest knows is a gap also where the manifest can only be read by the reserve. Method: a log that was repaired;
    // take all descriptors that there are; read it mapped and not.
    alone("replay_parked::hole", &[]);
}

pub(crate) fn hole() {
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = LogOptions::new().segment_bytes(1 << 20).create(&path).unwrap();
    append(&mut appender, 0..5000);
    drop(appender);
    let file = fs::OpenOptions::new().read(true).write(true).open(&segments(&path)[0]).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 400_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 400_000).unwrap();
    drop(file);
    Log::repair(&path, DryRun::No).unwrap();
    let all = |mut source: PoolSource| {
        let mut n = 0;
        while next(&mut source).unwrap().is_some() {
            n += 1;
        }
        (n, source.stats().n_gaps)
    };
    let open = |options: PoolOptions| options.build().unwrap().open(&path).unwrap();
    // Each place counts once, however often it is read.
    for options in [PoolOptions::new(), with_maps(0)] {
        let mut source = open(options);
        for since_ns in [0, 4_000, 0, 0] {
            source.seek(since_ns).unwrap();
            while next(&mut source).unwrap().is_some() {}
        }
        assert_eq!(source.stats().n_gaps, 1);
    }
    let expected = all(open(PoolOptions::new()));
    assert!(expected.0 > 4900 && expected.1 == 1, "{expected:?}");
    let sources = [PoolOptions::new(), with_maps(0)].map(open);
    setrlimit(Resource::RLIMIT_NOFILE, 100, 100).unwrap();
    let mut kept = vec![];
    while let Ok(file) = fs::File::open("/dev/null") {
        kept.push(file);
    }
    let found = sources.map(all);
    drop(kept);
    assert_eq!(found, [expected; 2]);
}

#[test]
#[cfg(feature = "guard")]
fn no_zeros_of_a_cut_are_handed_out_as_rows() {
    // Goal: rows of a file that is cut while it is mapped come up to the cut, or to what had been staged, and then the error that says so.
    // Method: cut it behind the first row, whichever order is wanted.
    let directory = directory();
    let path = directory.path().join("rows");
    let layout = RowLayout { row_bytes: 1024, ..LAYOUT };
    for order in [Order::Pass, Order::Error, Order::Reorder { n_records: 4 }] {
        let row = |n: u64| {
            let mut row = vec![1; 1024];
            row[8..16].copy_from_slice(&n.to_le_bytes());
            row
        };
        fs::write(&path, (1..200u64).flat_map(row).collect::<Vec<u8>>()).unwrap();
        let mut source = PoolOptions::new().order(order).build().unwrap().open_rows(&path, layout).unwrap();
        next(&mut source).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(40 << 10).unwrap();
        let error = loop {
            match next(&mut source) {
                Ok(Some((.., bytes))) => assert_eq!(bytes[0], 1),
                Ok(None) => panic!("it has ended"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("truncated") && error.contains("40960"), "{error}");
    }
}

#[test]
fn a_window_makes_room_for_sources_that_come_later() {
    // Goal: what was read ahead for one source is let go of when others need the memory. Method: a file on a disk, of which a window is read; many
    // small ones; a few rows more of the first, and a look at what is cached of it.
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let (large, small) = (directory.path().join("large"), directory.path().join("small"));
    fs::write(&large, rows(400_000)).unwrap();
    fs::write(&small, rows(10)).unwrap();
    let file = fs::File::open(&large).unwrap();
    file.sync_all().unwrap();
    nix::fcntl::posix_fadvise(&file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    if cached(&large) > 0 {
        println!("SKIPPED a_window_makes_room: this file system keeps what it has cached");
        return;
    }
    for options in [with_maps(1), with_maps(0)] {
        let pool = options.order(Order::Error).memory_bytes(8 << 20).build().unwrap();
        let mut source = pool.open_rows(&large, LAYOUT).unwrap();
        let mut read = |n: usize| (0..n).for_each(|_| assert!(next(&mut source).unwrap().is_some()));
        read(100);
        eventually("read ahead", || pool.stats().n_mapped == 0 || cached(&large) > (1 << 20));
        let others: Vec<_> = (0..140).map(|_| pool.open_rows(&small, LAYOUT).unwrap()).collect();
        read(100);
        assert!(cached(&large) < (700 << 10), "{} cached", cached(&large));
        drop(others);
    }
}

#[test]
fn what_may_not_be_locked_in_memory_is_not_mapped() {
    // Goal: in a process that locks what it maps, and may not lock as much, rows are copied, and a log says what to do. Method: such a process,
    // and files that are larger than what it may lock.
    alone("replay_parked::locked", &[]);
}

pub(crate) fn locked() {
    use nix::sys::mman::{MlockAllFlags, mlockall};
    use nix::unistd::{Uid, geteuid, setresuid};
    use std::os::unix::fs::PermissionsExt;
    let directory = directory();
    let (path, log) = (directory.path().join("rows"), directory.path().join("log"));
    fs::write(&path, rows(2_000_000)).unwrap();
    let mut appender = LogOptions::new().segment_bytes(32 << 20).create(&log).unwrap();
    append(&mut appender, 0..10);
    drop(appender);
    let pool = PoolOptions::new().build().unwrap();
    let mut sources = vec![];
    setrlimit(Resource::RLIMIT_MEMLOCK, 8 << 20, 8 << 20).unwrap();
    if geteuid().is_root() {
        // Who may lock as much as he likes is no trial.
        for path in [directory.path(), &log] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for entry in fs::read_dir(&log).unwrap() {
            fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o644)).unwrap();
        }
        let nobody = Uid::from_raw(65_534);
        setresuid(nobody, nobody, nobody).unwrap();
    }
    mlockall(MlockAllFlags::MCL_FUTURE).unwrap();
    sources.push(pool.open_rows(&path, LAYOUT).unwrap());
    assert_eq!(pool.stats().n_mapped, 0);
    for n in 0..10_000 {
        assert_eq!(next(&mut sources[0]).unwrap().unwrap().0, n);
    }
    let told = match pool.open(&log) {
        Ok(mut source) => next(&mut source).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(told.contains("ulimit -l"), "{told}");
}

#[test]
fn behind_a_seek_that_has_failed_nothing_comes() {
    // Goal: a source whose seek has failed hands nothing out until one succeeds, so that nothing is missing without a word. Method: rows, and a
    // log's segment, that are not there when a seek looks for them, and are again.
    let directory = directory();
    let (path, away) = (directory.path().join("it"), directory.path().join("away"));
    let log = directory.path().join("log");
    append(&mut LogOptions::new().segment_bytes(64 << 10).create(&log).unwrap(), 0..2_000);
    for is_rows in [true, false] {
        let pool = with_maps(0).order(Order::Error).build().unwrap();
        let mut source = if is_rows {
            fs::write(&path, rows(1_000)).unwrap();
            pool.open_rows(&path, LAYOUT).unwrap()
        } else {
            fs::rename(&segments(&log)[0], &path).unwrap();
            pool.open(&path).unwrap()
        };
        for _ in 0..5 {
            next(&mut source).unwrap().unwrap();
        }
        fs::rename(&path, &away).unwrap();
        assert!(source.seek(3).is_err());
        for _ in 0..3 {
            assert!(next(&mut source).is_err_and(|error| error.to_string().contains("seek")));
        }
        assert!(source.seek_before(3).is_err() && next(&mut source).is_err());
        fs::rename(&away, &path).unwrap();
        source.seek(3).unwrap();
        assert_eq!(next(&mut source).unwrap().unwrap().0, 3);
        fs::remove_file(&path).unwrap();
    }
}
