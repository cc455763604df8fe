//! Replay, all kinds of sources together: moments, last values, what is shared with other processes, and tables under a cap.
//!
//! (I1) what is expected comes from the times that were written, without a merge.

use crate::harness::{Actor, Script, directory, listen, say};
use crate::log_read::small;
use crate::records::mix;
use shm_ring::MapBudget;
use shm_ring::replay::{
    AsOf, Batches, Body, MapPool, Merge, Next, Order, PoolOptions, PoolSource, RowLayout, Source, TimeUnit,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Rows of a time and something.
const LAYOUT: RowLayout = RowLayout { row_bytes: 64, timestamp_at: 0, unit: TimeUnit::Nanos };

fn rows(path: &Path, times: &[u64]) {
    let row = |ns: &u64| [*ns, 0, 0, 0, 0, 0, 0, 0].map(u64::to_le_bytes).concat();
    fs::write(path, times.iter().flat_map(row).collect::<Vec<u8>>()).unwrap();
}

#[cfg(feature = "arrow")]
fn table(path: &Path, times: &[u64], batch_rows: usize) {
    use shm_ring::replay::{ColumnType, TableWriter};
    let mut columns = vec![("t", ColumnType::TimestampNanos), ("symbol", ColumnType::Text)];
    columns.extend(["a", "b", "c", "d", "e"].map(|name| (name, ColumnType::U64)));
    let mut writer = TableWriter::create(path, &columns).unwrap().batch_rows(batch_rows);
    for (n, ns) in (0u64..).zip(times) {
        let number = || n.into();
        let symbol = ["ABC", "DEFGHI"][(n % 2) as usize].into();
        let time = ns.cast_signed().into();
        writer.push(&[time, symbol, number(), number(), number(), number(), number()]).unwrap();
    }
    writer.finish().unwrap();
}

/// A source that can be opened, and its times.
struct Made {
    path: PathBuf,
    times: Vec<u64>,
    is_rows: bool,
}

impl Made {
    fn open(&self, pool: &MapPool) -> PoolSource {
        if self.is_rows {
            pool.open_rows(&self.path, LAYOUT).unwrap()
        } else {
            pool.open(&self.path).unwrap()
        }
    }
}

/// A log, a segment with the first of its records, rows, and a table, all of these times, which grow.
fn kinds(directory: &Path, times: &[u64]) -> Vec<Made> {
    let at = |name: &str| directory.join(name);
    let mut appender = small().create(at("log")).unwrap();
    for ns in times {
        let _ = appender.append_at(*ns, &[7; 20]).unwrap();
    }
    drop(appender);
    fs::copy(at("log/00000000000000000001.seg"), at("one.seg")).unwrap();
    let mut segment = PoolOptions::new().build().unwrap().open(at("one.seg")).unwrap();
    let mut n_in_segment = 0;
    while let Next::Record(_) = segment.step().unwrap() {
        n_in_segment += 1;
    }
    assert!(n_in_segment < times.len(), "there are several segments");
    rows(&at("rows"), times);
    let made =
        |name, times: &[u64], is_rows| Made { path: directory.join(name), times: times.to_vec(), is_rows };
    let mut all = vec![
        made("log", times, false),
        made("one.seg", &times[..n_in_segment], false),
        made("rows", times, true),
    ];
    #[cfg(feature = "arrow")]
    {
        table(&at("table.arrow"), times, 700);
        all.push(made("table.arrow", times, false));
    }
    all.rotate_left(1);
    all
}

fn pools(order: Order) -> [MapPool; 2] {
    let unmapped = PoolOptions::new().budget(MapBudget::new().maps(0));
    [PoolOptions::new(), unmapped].map(|options| options.order(order).build().unwrap())
}

#[test]
fn a_moment_has_all_records_of_its_time() {
    // Goal: all records of an instant come together, over all kinds of sources and with the ties inside of each, in the order of sources and
    // of their records. Method: files with ties of all lengths, beside a plain grouping of what was written.
    let directory = directory();
    let times: Vec<u64> =
        (0..4000).map(|n| 1_000_000 + (n - mix(n / 9) % 9 * (n % 9) / 9) / 7 * 50).collect();
    let mut times = times;
    times.sort_unstable();
    let kinds = kinds(directory.path(), &times);
    let mut expected: BTreeMap<u64, Vec<(usize, usize)>> = BTreeMap::new();
    for (source, made) in kinds.iter().enumerate() {
        for (n, ns) in made.times.iter().enumerate() {
            expected.entry(*ns).or_default().push((source, n));
        }
    }
    assert!(
        expected.values().any(|moment| moment.len() > 5 * kinds.len()),
        "there are ties inside of a source"
    );
    for pool in pools(Order::Reorder { n_records: 10 }) {
        let mut merge = Merge::new();
        for made in &kinds {
            merge.add(made.open(&pool));
        }
        let mut batches = Batches::new(merge);
        let (mut found, mut n_of) = (BTreeMap::new(), vec![0; kinds.len()]);
        let mut last_ns = 0;
        while let Some(mut moment) = batches.next().unwrap() {
            assert!(moment.timestamp_ns() > last_ns && !moment.goes_on());
            last_ns = moment.timestamp_ns();
            let mut records = vec![];
            while let Some(event) = moment.next().unwrap() {
                assert_eq!(event.stamp.timestamp_ns, last_ns);
                records.push((event.source, n_of[event.source]));
                n_of[event.source] += 1;
            }
            found.insert(last_ns, records);
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn last_values_are_found_however_far_in_front() {
    // Goal: after a seek, each source has its last record at or before that time, also where it is far in front of it, and little is read for
    // that. Method: all kinds, with ties and a long silence, mapped and parked, in each order; times all over, forward and back, beside a scan.
    let directory = directory();
    const SILENCE_NS: u64 = 1_000_000_000;
    let times: Vec<u64> =
        (0..6000u64).map(|n| 100 + n / 3 * 10 + if n >= 4000 { SILENCE_NS } else { 0 }).collect();
    let kinds = kinds(directory.path(), &times);
    let ends = [0, 50, 99, 100, 101, 109, SILENCE_NS / 2, SILENCE_NS, 2 * SILENCE_NS, u64::MAX];
    for order in [Order::Error, Order::Reorder { n_records: 20 }] {
        for pool in pools(order) {
            let mut merge = Merge::new();
            for made in &kinds {
                merge.add(made.open(&pool));
            }
            let mut as_of = AsOf::new(merge);
            let anywhere = (0..60).map(|n| mix(n) % 25_000 + if n % 2 == 0 { SILENCE_NS } else { 0 });
            for until in ends.into_iter().chain(anywhere) {
                assert!(as_of.seek(until).unwrap());
                for (source, made) in kinds.iter().enumerate() {
                    let n = made.times.partition_point(|ns| *ns <= until);
                    let found = as_of.last(source).map(|last| last.stamp);
                    assert_eq!(
                        found.map(|stamp| stamp.timestamp_ns),
                        n.checked_sub(1).map(|at| made.times[at]),
                        "{:?} at {until}",
                        made.path
                    );
                    if made.is_rows || made.path.extension().is_some_and(|extension| extension == "arrow") {
                        let expected = n.checked_sub(1).map(|at| at as u64);
                        assert_eq!(found.map(|stamp| stamp.sequence), expected, "the last one of ties");
                    }
                }
            }
            // One look behind the silence, from new sources.
            for made in &kinds {
                let mut source = made.open(&pool);
                source.seek_before(SILENCE_NS - 1).unwrap();
                let mut n = 0;
                while let Next::Record(stamp) = source.step().unwrap() {
                    if stamp.timestamp_ns >= SILENCE_NS {
                        break;
                    }
                    n += 1;
                }
                assert!((1..2000).contains(&n), "{n} records of {:?} are read", made.path);
            }
        }
    }
}

#[test]
fn last_values_are_found_where_times_are_out_of_order() {
    // Goal: a log's index leads to the last record at or before a time whatever order its times have. Method: times that go up and down by
    // less than the re-order window, over many segments, beside a scan.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = small().create(&path).unwrap();
    let times: Vec<u64> = (0..8000).map(|n| 1000 + n * 10 - mix(n) % 300).collect();
    for ns in &times {
        let _ = appender.append_at(*ns, &[7; 20]).unwrap();
    }
    drop(appender);
    for pool in pools(Order::Reorder { n_records: 64 }) {
        let mut merge = Merge::new();
        merge.add(pool.open(&path).unwrap());
        let mut as_of = AsOf::new(merge);
        for n in 0..100 {
            let until = 600 + mix(n) % 82_000;
            as_of.seek(until).unwrap();
            let expected = times.iter().copied().filter(|ns| *ns <= until).max();
            assert_eq!(as_of.last(0).map(|last| last.stamp.timestamp_ns), expected, "at {until}");
        }
    }
}

/// Bytes of files below a directory that count for that process: of a page that two have, each has half.
fn proportional(pid: u32, directory: &Path) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut is_below, mut kib) = (false, 0);
    for line in text.lines() {
        if let Some(pss) = line.strip_prefix("Pss:").filter(|_| is_below) {
            kib += pss.split_whitespace().next().unwrap().parse::<u64>().unwrap();
        } else if line.split_whitespace().nth(4).is_some_and(|inode| inode.parse::<u64>().is_ok()) {
            is_below = line.contains(directory.to_str().unwrap());
        }
    }
    kib << 10
}

#[test]
fn processes_that_replay_the_same_files_share_their_memory() {
    // Goal: a second process that replays the same files costs no memory for them. Method: two processes that have replayed nine tenths of
    // files of all kinds, and hold their maps; the sum of their proportional sets of these files against that of one alone.
    let directory = directory();
    let times: Vec<u64> = (0..60_000).collect();
    let kinds = kinds(directory.path(), &times);
    let mut first = Actor::start("replay_kinds::replays", &[("path", &directory.path().display())]);
    let n_records = first.expect_number("replayed");
    let n_in_segment = kinds.iter().map(|made| made.times.len()).min().unwrap();
    assert_eq!(n_records as usize, (kinds.len() - 1) * times.len() + n_in_segment);
    let alone = proportional(first.pid(), directory.path());
    let mut second = Actor::start("replay_kinds::replays", &[("path", &directory.path().display())]);
    assert_eq!(second.expect_number("replayed"), n_records);
    let both = [first.pid(), second.pid()].map(|pid| proportional(pid, directory.path()));
    assert!(alone > 60_000 * 64, "{alone} bytes are mapped");
    assert!(both[0] + both[1] <= alone * 12 / 10, "{both:?} together, {alone} alone");
    for mut actor in [first, second] {
        actor.tell("end");
        actor.finish();
    }
}

pub(crate) fn replays() {
    let path = Script::path();
    let pool = PoolOptions::new().build().unwrap();
    let mut merge = Merge::new();
    for found in MapPool::find(&path).unwrap() {
        merge.add(pool.open(found).unwrap());
    }
    merge.add(pool.open_rows(path.join("rows"), LAYOUT).unwrap());
    let mut n = 0;
    while merge.next().unwrap().is_some() {
        n += 1;
    }
    // Who has ended has given its map back: most of it once more.
    merge.seek(0).unwrap();
    for _ in 0..n / 10 * 9 {
        assert!(merge.next().unwrap().is_some());
    }
    say(&format!("replayed {n}"));
    listen();
}

#[cfg(feature = "arrow")]
#[test]
fn a_slow_table_gives_its_map_to_a_fast_one() {
    // Goal: a table that is read slowly gives up its map, and what it has staged and held back is what it was. Method: two tables and one map,
    // of batches small and large, with a window in which rows are put in order; every value of both.
    let directory = directory();
    let times: Vec<u64> = (0..60_000u64).map(|n| 1000 + n - mix(n) % 20).collect();
    for batch_rows in [500, 60_000] {
        let path = directory.path().join(format!("{batch_rows}.arrow"));
        table(&path, &times, batch_rows);
        let order = Order::Reorder { n_records: 100 };
        let options = PoolOptions::new().order(order).memory_bytes(2 << 20).budget(MapBudget::new().maps(1));
        let pool = options.build().unwrap();
        let mut expected = PoolOptions::new().order(order).build().unwrap().open(&path).unwrap();
        let (mut scratch, mut expected_scratch) = (vec![], vec![]);
        let mut all = vec![];
        while let Next::Record(stamp) = expected.step().unwrap() {
            all.push((stamp, expected.record().payload(&mut expected_scratch).unwrap().to_vec()));
        }
        let [mut slow, mut fast] = [0, 1].map(|_| pool.open(&path).unwrap());
        let mut check = |source: &mut PoolSource, n: usize| {
            assert_eq!(source.step().unwrap(), Next::Record(all[n].0));
            assert_eq!(source.record().payload(&mut scratch).unwrap(), all[n].1, "row {n}");
        };
        let mut n_slow = 0;
        for n in 0..times.len() {
            check(&mut fast, n);
            if n.is_multiple_of(20) {
                check(&mut slow, n_slow);
                n_slow += 1;
            }
        }
        let stats = pool.stats();
        assert_eq!((stats.n_evictions, stats.n_mapped), (1, 0), "{stats:?}");
        assert!(stats.n_hits > 0 && stats.n_faults > 0, "{stats:?}");
        for n in n_slow..times.len() {
            check(&mut slow, n);
        }
        assert_eq!([slow.step().unwrap(), fast.step().unwrap()], [Next::End; 2]);
    }
}

#[cfg(feature = "arrow")]
#[test]
fn a_cap_holds_for_tables() {
    // Goal: as for rows: under a cap the process grows by no more than it, and the page cache has no more of the tables than that; every row
    // comes. Method: a process of its own reads 24 tables on a disk, of small batches and of one, mapped and parked, and looks at both.
    crate::harness::alone("replay_kinds::capped", &[]);
}

#[cfg(not(feature = "arrow"))]
pub(crate) fn capped() {}

#[cfg(feature = "arrow")]
pub(crate) fn capped() {
    use crate::replay_pool::{cached, resident};
    use shm_ring::replay::Body;
    const CAP: u64 = 12 << 20;
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let times: Vec<u64> = (0..40_000).collect();
    let paths: Vec<_> = (0..24).map(|n| directory.path().join(format!("{n}.arrow"))).collect();
    let forget = |path: &PathBuf| {
        let file = fs::File::open(path).unwrap();
        file.sync_all().unwrap();
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        nix::fcntl::posix_fadvise(&file, 0, 0, advice).unwrap();
    };
    for (n, path) in paths.iter().enumerate() {
        match n {
            0 | 1 => table(path, &times, [400, 40_000][n]),
            _ => drop(fs::copy(&paths[n % 2], path).unwrap()),
        }
        forget(path);
    }
    paths.iter().for_each(forget);
    let all_cached = || paths.iter().map(|path| cached(path)).sum::<u64>();
    if all_cached() > 0 {
        println!("SKIPPED a_cap_holds_for_tables: this file system keeps what it has cached");
        return;
    }
    let all_bytes: u64 = paths.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(all_bytes > 4 * CAP, "{all_bytes}");
    for maps in [1000, 0] {
        let before = resident();
        let options = PoolOptions::new().order(Order::Error).memory_bytes(CAP);
        let pool = options.budget(MapBudget::new().maps(maps)).build().unwrap();
        let mut sources: Vec<_> = paths.iter().map(|path| pool.open(path).unwrap()).collect();
        assert_eq!(pool.stats().n_mapped, u64::from(maps.min(24)));
        let (mut most_resident, mut most_cached) = (0, 0);
        for n in 0..times.len() as u64 {
            for source in &mut sources {
                assert!(matches!(source.step(), Ok(Next::Record(stamp)) if stamp.sequence == n));
                let Body::Row(row) = source.record().body else { panic!("a table has rows") };
                assert_eq!([2, 4, 6].map(|column: usize| row.get::<u64>(column).unwrap()), [n; 3]);
                assert!(row.text(1).unwrap().len() >= 3);
            }
            if n.is_multiple_of(1000) {
                most_resident = most_resident.max(resident().saturating_sub(before));
                most_cached = most_cached.max(all_cached());
            }
        }
        let stats = pool.stats();
        assert!(most_resident <= CAP, "{most_resident} resident, {stats:?}");
        assert!(most_cached <= CAP, "{most_cached} cached, {stats:?}");
        if maps > 0 {
            assert!(stats.dropped_bytes > all_bytes / 10 * 8, "{stats:?}, {all_bytes}");
            assert!(
                (all_bytes / 10 * 8..all_bytes / 10 * 13).contains(&stats.ahead_bytes),
                "{stats:?}, {all_bytes}"
            );
            assert!(most_cached > CAP / 16, "{most_cached} cached: nothing was read ahead");
        }
        for source in &mut sources {
            assert!(matches!(source.step(), Ok(Next::End)));
        }
        assert!(all_cached() < CAP / 4, "what was read is let go of at the end: {}", all_cached());
        eprintln!("maps {maps}: {most_resident} resident, {most_cached} cached of {CAP}, {stats:?}");
    }
}

#[test]
#[cfg(feature = "arrow")]
fn a_table_that_has_ended_gives_its_map_back() {
    // Goal: a table that is done keeps no map from others, what it had held back is whole, and behind a seek it is as before.
    // Method: a table of three batches, with a window, read to its end twice.
    let directory = directory();
    let path = directory.path().join("t.arrow");
    let times: Vec<u64> = (0..5_000).map(|n| 1_000 + n * 10 - mix(n) % 40).collect();
    table(&path, &times, 2_000);
    let budget = MapBudget::new().maps(1).descriptors(1);
    let options = PoolOptions::new().budget(budget.clone()).order(Order::Reorder { n_records: 64 });
    let pool = options.build().unwrap();
    let mut merge = Merge::new();
    merge.add(pool.open(&path).unwrap());
    assert_eq!(budget.in_use().maps, 1);
    for _ in 0..2 {
        merge.seek(0).unwrap();
        let mut found = vec![];
        let mut scratch = vec![];
        while let Some(event) = merge.next().unwrap() {
            assert!(event.record.payload(&mut scratch).unwrap().starts_with(b"{\"symbol\":"));
            found.push(event.stamp.timestamp_ns);
        }
        let mut expected = times.clone();
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!((pool.stats().n_mapped, budget.in_use().maps), (0, 0));
    }
}

#[test]
fn a_name_is_bytes() {
    // Goal: files whose names are no text are found and read like others, mapped, parked and under a cap. Method: one of each kind under such a
    // name, in a directory with such a name.
    let directory = directory();
    let made = kinds(directory.path(), &(1..3_000).collect::<Vec<_>>());
    let odd = directory.path().join(OsStr::from_bytes(b"odd \xfe"));
    fs::create_dir(&odd).unwrap();
    let capped = PoolOptions::new().order(Order::Error).memory_bytes(4 << 20).build().unwrap();
    let [mapped, parked] = pools(Order::Error);
    for (at, mut one) in made.into_iter().enumerate() {
        let extension = one.path.extension().map_or(vec![], |it| [b".", it.as_bytes()].concat());
        let name = [format!("{at} ").as_bytes(), b"\xff\x80", &extension].concat();
        let path = odd.join(OsStr::from_bytes(&name));
        fs::rename(std::mem::replace(&mut one.path, path.clone()), &path).unwrap();
        assert!(one.is_rows || MapPool::find(directory.path()).unwrap().contains(&path), "{path:?}");
        for pool in [&mapped, &parked, &capped] {
            let mut source = one.open(pool);
            for ns in &one.times {
                assert!(matches!(source.step().unwrap(), Next::Record(stamp) if stamp.timestamp_ns == *ns));
            }
            assert_eq!(source.step().unwrap(), Next::End, "{path:?}");
        }
    }
}

#[test]
fn what_is_no_record_is_an_empty_one() {
    // Goal: who asks a source of a pool for a record that was none gets no bytes, and no panic. Method: of each kind, mapped and parked, in front
    // of the first step, behind the last one, and behind a seek.
    let directory = directory();
    let made = kinds(directory.path(), &(1..3_000).collect::<Vec<_>>());
    for pool in pools(Order::Error) {
        for one in &made {
            let mut source = one.open(&pool);
            let is_empty = |source: &PoolSource| matches!(source.record().body, Body::Bytes([]));
            assert!(is_empty(&source));
            while let Next::Record(_) = source.step().unwrap() {
                assert!(!is_empty(&source));
            }
            assert!(is_empty(&source) && source.step().unwrap() == Next::End && is_empty(&source));
            source.seek(300).unwrap();
            assert!(is_empty(&source));
            source.step().unwrap();
            source.seek_before(300).unwrap();
            assert!(is_empty(&source));
        }
    }
}
