//! Replay, the pool: every record of thousands of files, mapped or not, in the memory and with the descriptors that are allowed.

use crate::harness::{alone, directory, eventually};
use crate::log_read::{append, number, payload, small};
use crate::records::mix;
use nix::sys::resource::{Resource, setrlimit};
use shm_ring::replay::{
    Body, MapPool, Next, Order, PoolOptions, PoolSource, RowLayout, Source, SourceError, TimeUnit,
};
use shm_ring::{Appender, Error, LogOptions, LogReader, MapBudget};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What was met, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Met {
    Record { ns: u64, sequence: u64, bytes: Vec<u8> },
    NotYet,
    Failed(String),
}

fn body(source: &PoolSource) -> Vec<u8> {
    match source.record().body {
        Body::Bytes(bytes) => bytes.to_vec(),
        _ => source.record().payload(&mut vec![]).unwrap().to_vec(),
    }
}

/// The next thing, `None` at the end.
fn step(source: &mut PoolSource) -> Option<Met> {
    match source.step() {
        Ok(Next::Record(stamp)) => {
            let (ns, sequence) = (stamp.timestamp_ns, stamp.sequence);
            Some(Met::Record { ns, sequence, bytes: body(source) })
        }
        Ok(Next::NotYet { .. }) => Some(Met::NotYet),
        Ok(Next::End) => None,
        Err(error) => Some(Met::Failed(error.to_string())),
    }
}

/// All that there is, up to the end or the first failure.
fn rest(source: &mut PoolSource) -> Vec<Met> {
    let mut met = vec![];
    while let Some(one) = step(source) {
        let is_over = matches!(one, Met::Failed(_) | Met::NotYet);
        met.push(one);
        if is_over {
            break;
        }
    }
    met
}

/// The numbers of records, which must be what [`payload`] says.
fn numbers(met: &[Met]) -> Vec<u64> {
    met.iter()
        .map(|one| match one {
            Met::Record { bytes, .. } => number(bytes),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn unmapped() -> PoolOptions {
    PoolOptions::new().budget(MapBudget::new().maps(0))
}

/// A log of so many records, number n at time n, closed.
fn log(path: &Path, n: u64) -> Appender {
    let mut appender = small().create(path).unwrap();
    append(&mut appender, 0..n);
    appender
}

/// The segments of a log, in order.
fn segments(path: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = names
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.ends_with(".seg") && name.starts_with('0')
        })
        .collect();
    found.sort();
    found
}

/// Rows of 24 bytes: a number, a time in microseconds, something.
const LAYOUT: RowLayout = RowLayout { row_bytes: 24, timestamp_at: 8, unit: TimeUnit::Micros };

fn rows(path: &Path, n: u64) {
    let row = |n: u64| [n, n * 3, mix(n)].map(u64::to_le_bytes).concat();
    fs::write(path, (0..n).flat_map(row).collect::<Vec<u8>>()).unwrap();
}

/// How many kinds there are: a log, one of its sealed segments by itself, rows, and a table.
const N_KINDS: usize = if cfg!(feature = "arrow") { 4 } else { 3 };

/// One of each.
struct Kinds {
    log: PathBuf,
    segment: PathBuf,
    rows: PathBuf,
    #[cfg(feature = "arrow")]
    table: PathBuf,
}

/// A table with the same times as [`rows`], in batches of so many rows.
#[cfg(feature = "arrow")]
fn table(path: &Path, n: u64, batch_rows: usize) {
    use shm_ring::replay::{ColumnType, TableWriter};
    let columns = [("t", ColumnType::TimestampMicros), ("n", ColumnType::U64), ("name", ColumnType::Text)];
    let mut writer = TableWriter::create(path, &columns).unwrap().batch_rows(batch_rows);
    for n in 0..n {
        writer
            .push(&[(n * 3).cast_signed().into(), n.into(), format!("{}", mix(n)).as_str().into()])
            .unwrap();
    }
    writer.finish().unwrap();
}

fn kinds(directory: &Path, n: u64) -> Kinds {
    let at = |name: &str| directory.join(name);
    drop(log(&at("log"), n));
    fs::copy(&segments(&at("log"))[0], at("one.seg")).unwrap();
    rows(&at("rows.bin"), n);
    #[cfg(feature = "arrow")]
    table(&at("table.arrow"), n, 61);
    Kinds {
        log: at("log"),
        segment: at("one.seg"),
        rows: at("rows.bin"),
        #[cfg(feature = "arrow")]
        table: at("table.arrow"),
    }
}

impl Kinds {
    fn open(&self, pool: &MapPool) -> [PoolSource; N_KINDS] {
        std::array::from_fn(|kind| self.open_one(pool, kind))
    }

    fn open_one(&self, pool: &MapPool, kind: usize) -> PoolSource {
        match kind {
            0 => pool.open(&self.log).unwrap(),
            1 => pool.open(&self.segment).unwrap(),
            2 => pool.open_rows(&self.rows, LAYOUT).unwrap(),
            #[cfg(feature = "arrow")]
            3 => pool.open(&self.table).unwrap(),
            _ => unreachable!("there is no such kind"),
        }
    }
}

#[test]
fn a_parked_source_gives_what_a_mapped_one_gives() {
    // Goal: a map is faster, and nothing else. Method: logs over many segments, a segment, rows, a table, each with and without a map, in every order
    // policy; some with an order that has to be put right.
    let directory = directory();
    let kinds = kinds(directory.path(), 1000);
    assert!(segments(&kinds.log).len() > 5);
    for order in [Order::Error, Order::Reorder { n_records: 100 }, Order::Pass] {
        let mapped = PoolOptions::new().order(order).build().unwrap();
        let parked = unmapped().order(order).build().unwrap();
        let (mut with, mut without) = (kinds.open(&mapped), kinds.open(&parked));
        assert_eq!((mapped.stats().n_mapped, parked.stats().n_mapped), (N_KINDS as u64, 0));
        let all = std::array::from_fn::<_, N_KINDS, _>(|at| {
            let met = rest(&mut with[at]);
            assert_eq!(met, rest(&mut without[at]));
            met
        });
        let [log, segment, rows] = [0, 1, 2].map(|at: usize| all[at].clone());
        for (n, row) in (0..).zip(all.get(3).into_iter().flatten()) {
            let bytes = format!(r#"{{"n":{n},"name":"{}"}}"#, mix(n)).into_bytes();
            assert_eq!(*row, Met::Record { ns: n * 3000, sequence: n, bytes });
        }
        assert!(all.iter().skip(3).all(|table| table.len() == 1000));
        assert_eq!(numbers(&log), (0..1000).collect::<Vec<_>>());
        assert_eq!(numbers(&segment), (0..segment.len() as u64).collect::<Vec<_>>());
        assert!((60..1000).contains(&segment.len()));
        assert_eq!(rows.len(), 1000);
        for (n, row) in (0..).zip(rows) {
            let bytes = [n, n * 3, mix(n)].map(u64::to_le_bytes).concat();
            assert_eq!(row, Met::Record { ns: n * 3000, sequence: n, bytes });
        }
        let (hits, faults) = (mapped.stats(), parked.stats());
        assert!(hits.n_hits > 50 && hits.n_faults == 0, "{hits:?}");
        assert!(faults.n_faults > 50 && faults.n_hits == 0, "{faults:?}");
        assert_eq!(with[0].stats().n_records, 1000);
        drop((with, without));
        assert_eq!((mapped.stats().n_sources, mapped.stats().n_mapped), (0, 0));
    }
}

#[test]
fn what_is_held_back_survives_the_loss_of_its_map() {
    // Goal: records that are put in order are whole although their segment was left, or their block written over, meanwhile. Method: times
    // that go up and down by less than the window, over segments and blocks, mapped and not.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = small().create(&path).unwrap();
    let n = 2000;
    for at in 0..n {
        let _ = appender.append_at(1000 + at - mix(at) % 50, &payload(at)).unwrap();
    }
    drop(appender);
    let order = Order::Reorder { n_records: 200 };
    let mapped = PoolOptions::new().order(order).build().unwrap();
    let parked = unmapped().order(order).build().unwrap();
    let met = rest(&mut mapped.open(&path).unwrap());
    assert_eq!(met, rest(&mut parked.open(&path).unwrap()));
    let times: Vec<_> = met
        .iter()
        .map(|one| match one {
            Met::Record { ns, .. } => *ns,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(times.is_sorted());
    let mut found = numbers(&met);
    found.sort_unstable();
    assert_eq!(found, (0..n).collect::<Vec<_>>());
}

#[test]
fn thousands_of_sources_are_replayed_with_few_maps_and_descriptors() {
    // Goal: 3,000 sources of each kind replay in full with 256 descriptors and 200 maps, as with as many as one likes; a map that wants a
    // descriptor is not made without leave for one. Method: a process of its own with that limit, whose descriptors are nearly used up
    // besides; all sources in turn, beside the same files mapped.
    alone("replay_pool::cramped", &[]);
}

pub(crate) fn cramped() {
    // What notices cuts wants a descriptor for each map of rows.
    let directory = directory();
    let kinds = kinds(directory.path(), 140);
    setrlimit(Resource::RLIMIT_NOFILE, 256, 256).unwrap();
    let kept: Vec<_> = (0..150).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    let expected = kinds.open(&PoolOptions::new().build().unwrap()).map(|mut source| rest(&mut source));
    for (kind, expected) in expected.iter().enumerate() {
        let pool = PoolOptions::new().budget(MapBudget::new().maps(200).descriptors(70)).build().unwrap();
        let mut sources: Vec<_> = (0..3000).map(|_| kinds.open_one(&pool, kind)).collect();
        // A mapped segment takes a descriptor, and other files do with the guard.
        let n_mapped = if kind >= 2 && !cfg!(feature = "guard") { 200 } else { 70 };
        assert_eq!((pool.stats().n_sources, pool.stats().n_mapped), (3000, n_mapped));
        for one in expected.iter().map(Some).chain([None]) {
            for source in &mut sources {
                assert_eq!(step(source).as_ref(), one);
            }
        }
    }
    drop(kept);
}

#[test]
fn a_mapped_segment_is_locked_through_a_descriptor_that_stays() {
    // Goal: an appender does not use a segment again that somebody has mapped, on any file system: the lock byte's descriptor is there as long
    // as the map, since overlayfs keeps no description for a map. Method: how many descriptors there are of the log's files, beside what the
    // budget counts, where no helper has one.
    let directory = directory();
    drop(log(&directory.path().join("log"), 300));
    let path = directory.path().join("log");
    let open = || {
        let names = fs::read_dir("/proc/self/fd").unwrap().map(|entry| fs::read_link(entry.unwrap().path()));
        names.flatten().filter(|name| name.starts_with(&path)).count()
    };
    let budget = MapBudget::new();
    let pool = PoolOptions::new().budget(budget.clone()).memory_bytes(64 << 20).build().unwrap();
    let mut source = pool.open(&path).unwrap();
    while source.step().unwrap() != Next::End {
        assert!(budget.in_use().descriptors as usize == open() && open() <= 1);
    }
    source.seek(0).unwrap();
    assert_eq!((open(), budget.in_use().descriptors, budget.in_use().maps), (1, 1, 1));
    drop(source);
    assert_eq!((open(), budget.in_use().descriptors), (0, 0));
    let mut reader = LogReader::open(&path).unwrap();
    reader.next().unwrap();
    assert_eq!(open(), 1);
    let mut parked = unmapped().build().unwrap().open(&path).unwrap();
    parked.step().unwrap();
    assert_eq!(open(), 1);
}

#[test]
fn without_any_descriptor_left_sources_go_on_by_the_reserve() {
    // Goal: who has used up the limit of descriptors beside the pool does not end its sources. Method: take all that there are, then read.
    alone("replay_pool::exhausted", &[]);
}

pub(crate) fn exhausted() {
    let directory = directory();
    let kinds = kinds(directory.path(), 500);
    let expected = kinds.open(&PoolOptions::new().build().unwrap()).map(|mut source| rest(&mut source));
    let pool = unmapped().build().unwrap();
    let mut sources = kinds.open(&pool);
    setrlimit(Resource::RLIMIT_NOFILE, 100, 100).unwrap();
    let mut kept = vec![];
    while let Ok(file) = fs::File::open("/dev/null") {
        kept.push(file);
    }
    let one_more = pool.open(&kinds.log);
    #[cfg(feature = "arrow")]
    drop(pool.open(&kinds.table).unwrap());
    let met: Vec<_> = sources.iter_mut().map(rest).collect();
    drop(kept);
    assert_eq!(met, expected);
    assert_eq!(rest(&mut one_more.unwrap()), expected[0]);
}

#[test]
fn a_slow_source_gives_its_map_to_a_fast_one() {
    // Goal: maps go where most is read. Method: two sources and one map, which the slow one has; read the other.
    let directory = directory();
    let path = directory.path().join("rows");
    rows(&path, 8_000_000);
    let pool = PoolOptions::new().budget(MapBudget::new().maps(1)).build().unwrap();
    let [mut slow, mut fast] = [0, 1].map(|_| pool.open_rows(&path, LAYOUT).unwrap());
    let mut turn = 0u64;
    while fast.step().unwrap() != Next::End {
        turn += 1;
        if turn.is_multiple_of(50) {
            slow.step().unwrap();
        }
    }
    let stats = pool.stats();
    // What has ended has given its map back.
    assert_eq!((stats.n_evictions, stats.n_mapped), (1, 0), "{stats:?}");
    assert!(stats.n_hits > stats.n_faults / 2, "{stats:?}");
}

#[test]
fn a_log_that_grows_is_followed() {
    // Goal: a live log says when nothing is there, with a promise, and goes on; without `follow` it ends. Method: append between steps, over
    // segments, mapped and parked.
    let directory = directory();
    for (name, options) in [("mapped", PoolOptions::new()), ("parked", unmapped())] {
        let path = directory.path().join(name);
        let mut appender = small().create(&path).unwrap();
        let lateness = Duration::from_secs(5);
        let pool = options.order(Order::Error).follow(lateness).build().unwrap();
        let mut source = pool.open(&path).unwrap();
        let mut n = 0;
        for more in [0, 1, 0, 40, 500, 0, 3] {
            append(&mut appender, n..n + more);
            let met = rest(&mut source);
            assert_eq!(met.last(), Some(&Met::NotYet));
            assert_eq!(numbers(&met[..met.len() - 1]), (n..n + more).collect::<Vec<_>>());
            n += more;
        }
        let Ok(Next::NotYet { not_before_ns }) = source.step() else { panic!("nothing is there") };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let ago = now - not_before_ns;
        assert!((5_000_000_000..6_000_000_000).contains(&ago), "{ago}");
        let mut ended = unmapped().build().unwrap().open(&path).unwrap();
        assert_eq!(numbers(&rest(&mut ended)), (0..n).collect::<Vec<_>>());
    }
}

#[test]
fn what_retention_removes_below_a_parked_source_is_a_counted_gap() {
    // Goal: a segment that goes away while nobody has it mapped is told of, and nothing else is lost. Method: read a little, retire, read on;
    // beside a mapped source, whose segment stays.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = log(&path, 2000);
    let (mapped, parked) = (PoolOptions::new().build().unwrap(), unmapped().build().unwrap());
    let mut sources = [mapped.open(&path).unwrap(), parked.open(&path).unwrap()];
    for source in &mut sources {
        assert!(matches!(step(source), Some(Met::Record { ns: 0, .. })));
    }
    drop(appender);
    appender = LogOptions::new().segment_bytes(64 << 10).keep_bytes(200 << 10).open(&path).unwrap();
    append(&mut appender, 2000..2400);
    // What is removed while they read would be another gap.
    eventually("retention", || {
        let n = segments(&path).len();
        std::thread::sleep(Duration::from_millis(50));
        n <= 6 && segments(&path).len() == n
    });
    let [first, second] = sources.each_mut().map(|source| {
        let found = numbers(&rest(source));
        assert!(found.is_sorted() && *found.last().unwrap() == 2399);
        (found.len(), source.stats())
    });
    assert_eq!((first.1.n_gaps, second.1.n_gaps), (1, 1));
    assert!(second.1.n_missing_bytes > first.1.n_missing_bytes / 2 && first.1.n_missing_bytes > 0);
}

#[test]
fn seeking_finds_the_first_record_of_a_time() {
    // Goal: behind a seek comes the first record of that time or later, wherever it is. Method: every kind, mapped and parked, to times all
    // over, in front of all and behind all, from wherever the source was.
    let directory = directory();
    let kinds = kinds(directory.path(), 900);
    for options in [PoolOptions::new(), unmapped()] {
        let pool = options.build().unwrap();
        let mut sources = kinds.open(&pool);
        let in_segment = numbers(&rest(&mut sources[1])).len() as u64;
        let ends = [900, in_segment, 900, 900];
        for turn in 0..200 {
            for ((at, source), end) in sources.iter_mut().enumerate().zip(ends) {
                let wanted = if turn == 0 { 0 } else { mix(turn) % (end + 20) };
                // A row's time is its number times 3,000.
                let unit = if at >= 2 { 3000 } else { 1 };
                let before = if at >= 2 { mix(turn) % 3000 } else { 0 };
                source.seek((wanted * unit).saturating_sub(before)).unwrap();
                for next in wanted..(wanted + mix(turn + 1) % 70).min(end) {
                    let Some(Met::Record { ns, .. }) = step(source) else { panic!("{next} of {end}") };
                    assert_eq!(ns, next * unit);
                }
                if wanted >= end {
                    assert_eq!(step(source), None);
                }
            }
        }
    }
}

#[test]
fn damage_ends_a_source_and_says_where_it_is() {
    // Goal: a byte that changed is an error with segment and position behind what was in front of it, mapped or parked; a row without a time
    // names itself. Method: flip a byte in each kind.
    let directory = directory();
    let kinds = kinds(directory.path(), 300);
    for path in [&segments(&kinds.log)[1], &kinds.segment] {
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 40_000).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 40_000).unwrap();
    }
    let file = fs::OpenOptions::new().write(true).open(&kinds.rows).unwrap();
    file.write_all_at(&(-5i64).to_le_bytes(), 100 * 24 + 8).unwrap();
    let pools = [PoolOptions::new(), unmapped()].map(|options| options.order(Order::Error).build().unwrap());
    let met = pools.each_ref().map(|pool| kinds.open(pool).map(|mut source| rest(&mut source)));
    assert_eq!(met[0], met[1]);
    let said = |at: usize| match met[0][at].last() {
        Some(Met::Failed(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    assert!(said(0).contains("segment 2 of the log is damaged at position"), "{}", said(0));
    assert!(said(1).contains("segment 1 of the log is damaged at position"), "{}", said(1));
    assert!(said(2).contains("row 100 has the time -5"), "{}", said(2));
    assert_eq!(met[0][2].len(), 101);
    let mut source = pools[0].open(&kinds.segment).unwrap();
    while source.step().is_ok() {}
    source.seek(0).unwrap();
    assert!(matches!(source.step(), Ok(Next::Record(_))), "what is in front of the damage is there again");
    for value in [i64::MAX, i64::MAX / 499, i64::MIN, -1] {
        file.write_all_at(&value.to_le_bytes(), 8).unwrap();
        let mut source = pools[1].open_rows(&kinds.rows, LAYOUT).unwrap();
        let found = source.step();
        assert!(
            matches!(found, Err(SourceError::NoTime { row: 0, found: ref v, .. }) if *v == value.to_string()),
            "{found:?}"
        );
    }
}

#[test]
fn what_is_no_source_is_refused_by_name() {
    // Goal: what can't be opened says so when it is opened. Method: each of the reasons.
    let directory = directory();
    let kinds = kinds(directory.path(), 300);
    let at = |name: &str| directory.path().join(name);
    let pool = PoolOptions::new().build().unwrap();
    let refused = |path: &Path| pool.open(path).map(drop).unwrap_err();
    assert!(matches!(refused(&at("nothing")), Error::NotFound { .. }));
    assert!(matches!(refused(&at("nothing.seg")), Error::NotFound { .. }));
    fs::create_dir(at("empty")).unwrap();
    assert!(matches!(refused(&at("empty")), Error::NotFound { .. }));
    assert!(matches!(refused(&kinds.rows), Error::OtherKind { .. }));
    fs::copy(segments(&kinds.log).last().unwrap(), at("open.seg")).unwrap();
    assert!(matches!(refused(&at("open.seg")), Error::NotSealed { .. }), "{}", refused(&at("open.seg")));
    // Told by what is in it, whatever it is called.
    fs::copy(&kinds.segment, at("renamed")).unwrap();
    drop(pool.open(at("renamed")).unwrap());
    for (offset, what) in [(20, "header"), (4096 + 256 + 8, "seal")] {
        fs::copy(&kinds.segment, at("bad.seg")).unwrap();
        let file = fs::OpenOptions::new().read(true).write(true).open(at("bad.seg")).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
        let error = refused(&at("bad.seg"));
        assert!(matches!(&error, Error::Corrupt { what: found, .. } if found.contains(what)), "{error}");
    }
    for path in [&kinds.segment, &segments(&kinds.log)[0], &kinds.log.join("CURRENT")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        let error = refused(if *path == kinds.segment { path } else { &kinds.log });
        assert!(matches!(error, Error::WrongMode { .. }), "{error}");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let layout = |row_bytes, timestamp_at| RowLayout { row_bytes, timestamp_at, unit: TimeUnit::Nanos };
    for bad in [layout(0, 0), layout(7, 0), layout(24, 17), layout(u32::MAX, u32::MAX), layout(23, 0)] {
        let error = pool.open_rows(&kinds.rows, bad).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    // Others may write it: read, but not mapped.
    fs::set_permissions(&kinds.rows, fs::Permissions::from_mode(0o666)).unwrap();
    let mut source = pool.open_rows(&kinds.rows, LAYOUT).unwrap();
    assert_eq!(rest(&mut source).len(), 300);
    assert!(pool.stats().n_faults > 0 && pool.stats().n_mapped == 0);
}

#[test]
fn a_file_that_is_cut_or_replaced_is_an_error_of_a_parked_source() {
    // Goal: what is read a block at a time is the file that was opened, and all of it. Method: cut it; put another one in its place.
    let directory = directory();
    let path = directory.path().join("rows");
    let pool = unmapped().build().unwrap();
    rows(&path, 10_000);
    let mut source = pool.open_rows(&path, LAYOUT).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100_000).unwrap();
    let met = rest(&mut source);
    assert!(matches!(met.last(), Some(Met::Failed(text)) if text.contains("truncated")), "{:?}", met.last());
    rows(&path, 10_000);
    let mut source = pool.open_rows(&path, LAYOUT).unwrap();
    fs::rename(&path, directory.path().join("old")).unwrap();
    rows(&path, 10_000);
    let met = rest(&mut source);
    assert!(
        matches!(met.last(), Some(Met::Failed(text)) if text.contains("another one")),
        "{:?}",
        met.last()
    );
}

#[test]
fn everything_below_a_directory_is_found() {
    // Goal: `find` says what there is to open, by name. Method: one of each, and some that are none.
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("sub/deep")).unwrap();
    drop(log(&at("sub/log"), 1));
    fs::copy(&segments(&at("sub/log"))[0], at("sub/deep/one.seg")).unwrap();
    for name in ["a.arrow", "b.feather", "c.ring", "no.txt", "sub/deep/x.csv", "sub/spare-1.seg"] {
        fs::write(at(name), "").unwrap();
    }
    std::os::unix::fs::symlink(at("sub"), at("link")).unwrap();
    let expected = ["a.arrow", "b.feather", "c.ring", "sub/deep/one.seg", "sub/log"].map(at);
    assert_eq!(MapPool::find(directory.path()).unwrap(), expected);
    assert_eq!(MapPool::find(at("sub/log")).unwrap(), [at("sub/log")]);
    let error = MapPool::find(at("nothing")).unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
}

#[test]
fn a_cap_that_is_too_small_says_how_much_is_needed() {
    // Goal: no replay in less memory than the least windows take. Method: a cap for two sources and not for twenty.
    let directory = directory();
    let kinds = kinds(directory.path(), 10);
    let options = |bytes| unmapped().order(Order::Error).memory_bytes(bytes);
    let Err(Error::Invalid { expected, .. }) = options(1000).build() else {
        panic!("1,000 bytes are too few")
    };
    assert!(expected.contains("shm-ring compact"), "{expected}");
    let pool = options(128 << 10).build().unwrap();
    let mut sources = vec![];
    let error = loop {
        match pool.open(&kinds.log) {
            Ok(source) => sources.push(source),
            Err(error) => break error,
        }
    };
    assert!((1..20).contains(&sources.len()), "{error}");
    let Error::Invalid { expected, .. } = error else { panic!("{error}") };
    let needed: u64 = expected.split(' ').nth(2).unwrap().parse().unwrap();
    let enough = options(needed).build().unwrap();
    let more: Vec<_> = (0..=sources.len()).map(|_| enough.open(&kinds.log).unwrap()).collect();
    drop(more);
}

/// What the page cache has of a file, in bytes.
pub(crate) fn cached(path: &Path) -> u64 {
    let file = fs::File::open(path).unwrap();
    let len = file.metadata().unwrap().len() as usize;
    let length = std::num::NonZeroUsize::new(len).unwrap();
    let (protection, flags) = (nix::sys::mman::ProtFlags::PROT_READ, nix::sys::mman::MapFlags::MAP_SHARED);
    // SAFETY: a new mapping at an address of the kernel's choice, of a file of this test.
    let map = unsafe { nix::sys::mman::mmap(None, length, protection, flags, &file, 0) }.unwrap();
    let mut pages = vec![0u8; len.div_ceil(4096)];
    // SAFETY: the range was just mapped, and there is a byte for each of its pages.
    let code = unsafe { nix::libc::mincore(map.as_ptr(), len, pages.as_mut_ptr()) };
    assert_eq!(code, 0);
    // SAFETY: the range was mapped above, and nothing refers to it.
    unsafe { nix::sys::mman::munmap(map, len) }.unwrap();
    pages.iter().filter(|page| **page & 1 == 1).count() as u64 * 4096
}

/// Bytes of files that this process has resident.
pub(crate) fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let kib = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    (kib("RssFile:") + kib("RssAnon:") + kib("RssShmem:")) << 10
}

#[test]
fn a_cap_holds_for_what_is_resident_and_for_what_is_cached() {
    // Goal: under a cap, the process grows by no more than it, and the page cache has no more of the sources than that; every record comes.
    // Method: a process of its own reads 64 files of 4 MiB on a disk, mapped and parked, and looks at both all the time.
    alone("replay_pool::capped", &[]);
}

pub(crate) fn capped() {
    const CAP: u64 = 16 << 20;
    const N_ROWS: u64 = (4 << 20) / 64;
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let layout = RowLayout { row_bytes: 64, timestamp_at: 8, unit: TimeUnit::Nanos };
    let paths: Vec<_> = (0..64).map(|n| directory.path().join(format!("{n}"))).collect();
    for path in &paths {
        let row = |n: u64| [n, n, 0, 0, 0, 0, 0, 0].map(u64::to_le_bytes).concat();
        fs::write(path, (0..N_ROWS).flat_map(row).collect::<Vec<u8>>()).unwrap();
        let file = fs::File::open(path).unwrap();
        file.sync_all().unwrap();
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        nix::fcntl::posix_fadvise(&file, 0, 0, advice).unwrap();
    }
    let all_cached = || paths.iter().map(|path| cached(path)).sum::<u64>();
    if all_cached() > 0 {
        println!("SKIPPED a_cap_holds: this file system keeps what it has cached");
        return;
    }
    for maps in [1000, 0] {
        let before = resident();
        let options = PoolOptions::new().order(Order::Error).memory_bytes(CAP);
        let pool = options.budget(MapBudget::new().maps(maps)).build().unwrap();
        let mut sources: Vec<_> = paths.iter().map(|path| pool.open_rows(path, layout).unwrap()).collect();
        let (mut most_resident, mut most_cached) = (0, 0);
        for n in 0..N_ROWS {
            for source in &mut sources {
                assert!(matches!(source.step(), Ok(Next::Record(stamp)) if stamp.sequence == n));
                assert!(matches!(source.record().body, Body::Bytes(bytes) if bytes[..8] == n.to_le_bytes()));
            }
            if n.is_multiple_of(1000) {
                most_resident = most_resident.max(resident() - before);
                most_cached = most_cached.max(all_cached());
            }
        }
        let stats = pool.stats();
        assert!(most_resident <= CAP, "{most_resident} resident, {stats:?}");
        assert!(most_cached <= CAP, "{most_cached} cached, {stats:?}");
        if maps > 0 {
            assert!(stats.dropped_bytes > (200 << 20) && stats.ahead_bytes > (250 << 20), "{stats:?}");
            assert!(most_cached > CAP / 8, "{most_cached} cached: nothing was read ahead");
        }
        for source in &mut sources {
            assert!(matches!(source.step(), Ok(Next::End)));
        }
        assert!(all_cached() < CAP / 4, "what was read is let go of at the end: {}", all_cached());
    }
}
