//! Merge: one order out of many sources, against a plain sort.
//!
//! (I1) what is expected comes from all records at once, without a merge.

use proptest::prelude::*;
use shm_ring::LogOptions;
use shm_ring::replay::{
    AsOf, Batches, Keep, MapPool, Merge, MergeError, Next, Order, PoolOptions, Replayer, RowLayout, Source,
    SourceError, Stamp, TimeUnit,
};
use std::cell::Cell;
use std::rc::Rc;

const BASE_NS: u64 = 1_700_000_000_000_000_000;

/// What a source does next.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    At(u64),
    /// Nothing yet, and nothing before that.
    NotYet(u64),
    Fails,
}

/// Steps in memory. Its record is the number of the step.
#[derive(Debug, Default)]
struct Script {
    name: String,
    steps: Vec<Step>,
    at: usize,
    fails_to_seek: bool,
    n_steps: Rc<Cell<u64>>,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), ..Self::default() }
    }

    fn of(times: impl IntoIterator<Item = u64>) -> Self {
        Self::new(times.into_iter().map(Step::At))
    }

    fn called(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    fn go(&mut self, at: Option<usize>) -> Result<(), SourceError> {
        if self.fails_to_seek {
            return Err(SourceError::Other("it stays where it is".into()));
        }
        self.at = at.unwrap_or(self.steps.len());
        Ok(())
    }
}

impl Source for Script {
    type Record<'a> = usize;

    fn step(&mut self) -> Result<Next, SourceError> {
        self.n_steps.set(self.n_steps.get() + 1);
        self.at += 1;
        match self.steps.get(self.at - 1) {
            Some(Step::At(timestamp_ns)) => {
                Ok(Next::Record(Stamp { timestamp_ns: *timestamp_ns, sequence: self.at as u64 - 1 }))
            }
            Some(Step::NotYet(not_before_ns)) => Ok(Next::NotYet { not_before_ns: *not_before_ns }),
            Some(Step::Fails) => Err(SourceError::Other("it broke".into())),
            None => Ok(Next::End),
        }
    }

    fn record(&self) -> usize {
        self.at - 1
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        let is_there = |step: &Step| matches!(step, Step::At(ns) if *ns >= since_ns);
        self.go(self.steps.iter().position(is_there))
    }

    fn seek_before(&mut self, until_ns: u64) -> Result<(), SourceError> {
        let is_there = |step: &Step| matches!(step, Step::At(ns) if *ns <= until_ns);
        self.go(Some(self.steps.iter().rposition(is_there).unwrap_or(0)))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Keep for Script {
    type Kept = Vec<u8>;

    fn keep(&self, kept: &mut Vec<u8>) -> Result<(), SourceError> {
        kept.clear();
        kept.extend_from_slice(&self.record().to_le_bytes());
        Ok(())
    }
}

fn merge(sources: impl IntoIterator<Item = Script>) -> Merge<Script> {
    let mut merge = Merge::new();
    for (number, source) in sources.into_iter().enumerate() {
        assert_eq!(merge.add(source), number);
    }
    merge
}

/// Time, source and number of all that there is.
fn all<S>(merge: &mut Merge<S>) -> Vec<(u64, usize, u64)>
where
    S: Source,
{
    let mut all = vec![];
    while let Some(event) = merge.next().unwrap() {
        all.push((event.stamp.timestamp_ns, event.source, event.stamp.sequence));
    }
    all
}

/// The same by a stable sort.
fn sorted(sources: &[Vec<u64>]) -> Vec<(u64, usize, u64)> {
    let of = |(source, times): (usize, &Vec<u64>)| -> Vec<_> {
        (0..).zip(times).map(|(at, &ns)| (ns, source, at)).collect()
    };
    let mut all: Vec<_> = sources.iter().enumerate().flat_map(of).collect();
    all.sort_by_key(|(ns, _, _)| *ns);
    all
}

/// Pseudo-random numbers, always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % end
    }
}

/// Times of `k` sources: on a grid, anybody's next, bursts of 32, ticks of which three in four have the time of the one in front.
fn shapes(k: usize, n: usize) -> [(&'static str, Vec<Vec<u64>>); 4] {
    let grid =
        |source: usize| (0..n / k).map(move |at| BASE_NS + (source as u64 % 100 * 30 + at as u64 * 100));
    let runs = |next: fn(&mut Random) -> (u64, u64, u64)| {
        let (mut random, mut now_ns, mut sources) = (Random(7), BASE_NS, vec![vec![]; k]);
        for _ in 0..n {
            let source = random.below(k as u64) as usize;
            let (len, after_ns, apart_ns) = next(&mut random);
            now_ns += after_ns;
            for _ in 0..len {
                sources[source].push(now_ns);
                now_ns += apart_ns;
            }
        }
        sources
    };
    let tick = |random: &mut Random| {
        let mut len = 1;
        while random.below(4) > 0 {
            len += 1;
        }
        (len, random.below(2), 0)
    };
    [
        ("grid", (0..k).map(|source| grid(source).collect()).collect()),
        ("random", runs(|random| (1, random.below(3), 0))),
        ("bursts", runs(|random| (32, random.below(3), 1))),
        ("ticks", runs(tick)),
    ]
}

fn n_levels(k: usize) -> u64 {
    u64::from(k.next_power_of_two().ilog2())
}

#[test]
fn a_merge_is_a_stable_sort() {
    // Goal: thousands of sources come in one order, by time, number of the source and place in it, for ceil(log2 k) + 1 comparisons a record.
    // Method: 3,000 sources and fewer, in four shapes of ties and runs, against a stable sort of all records.
    for k in [1, 2, 3, 5, 300, 3000] {
        for (shape, sources) in shapes(k, 6 * k) {
            let mut merge = merge(sources.iter().map(|times| Script::of(times.iter().copied())));
            let n = sources.iter().map(Vec::len).sum::<usize>() as u64;
            assert!(all(&mut merge) == sorted(&sources), "{k} sources, {shape}");
            let stats = merge.stats();
            assert_eq!(
                (stats.n_records, stats.n_late, merge.is_over()),
                (n, 0, true),
                "{k} sources, {shape}"
            );
            // Each source's end is a key, too.
            let allowed = (n + k as u64) * (n_levels(k) + 1) + 2 * k as u64;
            assert!(stats.n_comparisons <= allowed, "{k} sources, {shape}: {stats:?}");
        }
    }
}

#[test]
fn logs_that_are_out_of_order_are_merged_as_if_they_were_not() {
    // Goal: a record that no more records are in front of than the re-order window holds comes where its time says, with its bytes.
    // Method: logs of which every few records are up to eight places late, through a pool, against a stable sort; windows of 8 and more.
    let directory = tempfile::tempdir().unwrap();
    let mut sources = shapes(40, 800)[3].1.clone();
    let mut random = Random(3);
    for (number, times) in sources.iter_mut().enumerate() {
        let in_order = times.clone();
        for at in (9..times.len()).step_by(3) {
            times[at] = in_order[at - random.below(9) as usize];
        }
        write_log(&directory.path().join(number.to_string()), times);
    }
    for n_records in [8, 100] {
        let pool = pool(Order::Reorder { n_records });
        let mut merge = Merge::new();
        for number in 0..sources.len() {
            merge.add(pool.open(directory.path().join(number.to_string())).unwrap());
        }
        let mut found = vec![];
        while let Some(event) = merge.next().unwrap() {
            found.push((event.stamp.timestamp_ns, event.source, number(event.record)));
        }
        assert!(found == sorted(&sources), "window of {n_records}");
        assert_eq!(merge.stats().n_late, 0);
    }
}

#[test]
fn disorder_ends_a_source_or_passes_as_was_asked_for() {
    // Goal: a record that is older than one in front of it ends its source behind all that is in front of it, and by name, and the others go
    // on; or it is put right, or passes, counted; one that is too late for the window ends nothing, and comes where it is met, counted.
    // Method: one log with a record two places late beside a good one; `Error`; windows of none, one and two; `Pass`.
    let directory = tempfile::tempdir().unwrap();
    let [bad, good] = ["bad", "good"].map(|name| directory.path().join(name));
    write_log(&bad, &[10, 30, 40, 20, 50]);
    write_log(&good, &[15, 35, 60]);
    let merged = |order| {
        let pool = pool(order);
        let mut merge = Merge::new();
        merge.add(pool.open(&bad).unwrap());
        merge.add(pool.open(&good).unwrap());
        let (mut times, mut errors) = (vec![], vec![]);
        while !merge.is_over() {
            match merge.next() {
                Ok(next) => times.extend(next.map(|event| event.stamp.timestamp_ns)),
                Err(error) => errors.push(error),
            }
        }
        (times, errors, merge.stats().n_late)
    };
    let (times, errors, n_late) = merged(Order::Error);
    assert_eq!((times, n_late), (vec![10, 15, 30, 35, 40, 60], 0));
    let [MergeError { source_number: 0, name, error }] = &errors[..] else { panic!("{errors:?}") };
    assert!(name.ends_with("bad"), "{name}");
    let is_right = matches!(**error, SourceError::Disorder { timestamp_ns: 20, previous_ns: 40, .. });
    assert!(is_right, "{error:?}");
    let (times, errors, n_late) = merged(Order::Reorder { n_records: 2 });
    assert_eq!((times, errors.len(), n_late), (vec![10, 15, 20, 30, 35, 40, 50, 60], 0, 0));
    let (times, errors, n_late) = merged(Order::Reorder { n_records: 1 });
    assert_eq!((times, errors.len(), n_late), (vec![10, 15, 30, 20, 35, 40, 50, 60], 0, 1));
    for order in [Order::Pass, Order::Reorder { n_records: 0 }] {
        let (times, errors, n_late) = merged(order);
        assert_eq!((times, errors.len(), n_late), (vec![10, 15, 30, 35, 40, 20, 50, 60], 0, 1), "{order:?}");
    }
    let mut source = pool(Order::Reorder { n_records: 1 }).open(&bad).unwrap();
    while source.step().unwrap() != Next::End {}
    assert_eq!((source.stats().n_disordered, source.stats().n_records), (1, 5));
}

fn pool(order: Order) -> MapPool {
    PoolOptions::new().order(order).build().unwrap()
}

/// The records are their numbers.
fn write_log(path: &std::path::Path, times: &[u64]) {
    let mut log = LogOptions::new().create(path).unwrap();
    for (number, &timestamp_ns) in (0_u64..).zip(times) {
        drop(log.append_at(timestamp_ns, &number.to_le_bytes()).unwrap());
    }
}

fn number(record: shm_ring::replay::Replayed<'_>) -> u64 {
    let shm_ring::replay::Body::Bytes(bytes) = record.body else { panic!("{record:?}") };
    u64::from_le_bytes(bytes.try_into().unwrap())
}

#[test]
fn neighbours_one_ns_apart_stay_apart() {
    // Goal: times are integers all the way, today's as well as the last ones that there are.
    // Method: many sources with times 1 ns apart around 1.7e18 and up to the greatest number, each time in one source only.
    for first in [0, BASE_NS, u64::MAX - 999] {
        let k = 7;
        let source = |source: u64| {
            Script::of((0..1000).filter(move |at| at % k == k - 1 - source).map(move |at| first + at))
        };
        let times: Vec<_> = all(&mut merge((0..k).map(source))).iter().map(|(ns, _, _)| *ns).collect();
        assert_eq!(times, (0..1000).map(|at| first + at).collect::<Vec<_>>());
    }
    let mut last = merge([Script::of([u64::MAX; 3]), Script::of([]), Script::of([u64::MAX])]);
    assert_eq!(all(&mut last), [(u64::MAX, 0, 0), (u64::MAX, 0, 1), (u64::MAX, 0, 2), (u64::MAX, 2, 0)]);
}

#[test]
fn a_record_is_there_until_the_next_is_asked_for() {
    // Goal: a source is stepped when its record has been handed out and another one is asked for, not before: so its record may lie in a map.
    // Method: count steps; the merge has a head of each source, and nothing behind these.
    let n_steps = Rc::new(Cell::new(0));
    let script = || Script { n_steps: Rc::clone(&n_steps), ..Script::of([1, 2, 3]) };
    let mut merge = merge([script(), script()]);
    assert_eq!(n_steps.get(), 0);
    for n in 2..8 {
        let event = merge.next().unwrap().unwrap();
        assert_eq!((event.record as u64, n_steps.get()), (event.stamp.sequence, n));
        let (source, stamp) = (event.source, event.stamp);
        assert!(merge.peek().unwrap().is_none_or(|next| next > (source, stamp) || next.1 > stamp));
    }
}

#[test]
fn several_sources_added_at_once_repeat_nothing() {
    // Goal: however many sources are added behind a record, and whatever they have, no record comes twice.
    // Method: none to four sources behind each record, every other one empty, with and without a look ahead in between; against a sort.
    for (n_added, looks) in (0..5).flat_map(|n| [(n, false), (n, true)]) {
        let mut sources = vec![(0..20).map(|at| 10 * at).collect::<Vec<u64>>()];
        let mut merge = merge([Script::of(sources[0].clone())]);
        let mut found = vec![];
        for _ in 0..5 {
            let event = merge.next().unwrap().unwrap();
            found.push((event.stamp.timestamp_ns, event.source, event.stamp.sequence));
            for at in 0..n_added {
                let times = if at % 2 == 0 { vec![] } else { vec![found[found.len() - 1].0 + 3, 500] };
                assert_eq!(merge.add(Script::of(times.clone())), sources.len());
                sources.push(times);
                if looks && at == 2 {
                    assert!(merge.peek().unwrap().is_some());
                }
            }
        }
        found.extend(all(&mut merge));
        assert_eq!(found, sorted(&sources), "{n_added}, {looks}");
        assert_eq!(merge.stats().n_records, found.len() as u64);
    }
}

#[test]
fn nothing_older_comes_behind_a_seek() {
    // Goal: a source that was sent to a time hands out nothing older, whatever becomes of disorder; from the start, all of it; and its
    // counts are of what was handed out. Method: a log and a file of rows whose records are out of order around each time; a replay.
    let directory = tempfile::tempdir().unwrap();
    let [log, rows] = ["log", "rows"].map(|name| directory.path().join(name));
    let times = [10, 20, 30, 50, 45, 60, 55];
    write_log(&log, &times);
    std::fs::write(&rows, times.iter().flat_map(|ns| ns.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    let layout = RowLayout { row_bytes: 8, timestamp_at: 0, unit: TimeUnit::Nanos };
    for order in [Order::Reorder { n_records: 16 }, Order::Reorder { n_records: 1 }, Order::Pass] {
        let pool = pool(order);
        for mut source in [pool.open(&log).unwrap(), pool.open_rows(&rows, layout).unwrap()] {
            for since in [48, 0, 46, 56, 11, 61, 0] {
                source.seek(since).unwrap();
                let before = source.stats();
                let mut found = vec![];
                while let Next::Record(stamp) = source.step().unwrap() {
                    found.push(stamp.timestamp_ns);
                }
                let n_records = source.stats().n_records - before.n_records;
                assert_eq!(n_records, found.len() as u64, "{order:?} since {since}");
                assert!(found.iter().all(|ns| *ns >= since), "{order:?} since {since}: {found:?}");
                found.sort_unstable();
                let mut expected: Vec<_> = times.into_iter().filter(|ns| *ns >= since).collect();
                expected.sort_unstable();
                // A search by halves may end behind one that is out of order.
                let n_hidden = expected.len() - found.len();
                assert!(expected.ends_with(&found[n_hidden.min(found.len())..]) && n_hidden <= 1);
                assert!(since > 0 || found == expected);
            }
        }
        let mut merge = Merge::new();
        merge.add(pool.open(&log).unwrap());
        let mut replayer = Replayer::new(merge).from_ns(48);
        let mut found = vec![];
        while let Some(event) = replayer.next().unwrap() {
            found.push(event.stamp.timestamp_ns);
        }
        assert!(found.len() == 3 && found.iter().all(|ns| *ns >= 48), "{order:?}: {found:?}");
    }
    // One that is passed over leaves the bytes of the others alone.
    let mut source = pool(Order::Pass).open(&log).unwrap();
    source.seek(50).unwrap();
    assert!(matches!(source.step().unwrap(), Next::Record(stamp) if stamp.timestamp_ns == 50));
    assert_eq!(number(source.record()), 3);
    assert!(matches!(source.step().unwrap(), Next::Record(stamp) if stamp.timestamp_ns == 60));
    assert_eq!(number(source.record()), 5);
}

#[test]
fn sources_can_be_added_at_any_time() {
    // Goal: a source that is added takes part from the next record on; older records of it come at once, and are late; adding is cheap.
    // Method: after each record another source, up to 1,000: all come in the order of what was known; comparisons.
    let mut merge = merge([Script::of(0..1000)]);
    let (mut n_late, mut latest) = (0, 0);
    for n in 1..=1000_u64 {
        let timestamp_ns = merge.next().unwrap().unwrap().stamp.timestamp_ns;
        n_late += u64::from(timestamp_ns < latest);
        latest = latest.max(timestamp_ns);
        // One in front of what was handed out, and one behind.
        merge.add(Script::of([latest.saturating_sub(1), latest + 3]));
        assert!(!merge.is_over() && merge.sources().len() as u64 == n + 1);
    }
    assert_eq!(merge.stats().n_late, n_late);
    let rest: Vec<_> = all(&mut merge).iter().map(|(ns, source, _)| (*ns, *source)).collect();
    // The source that was added last has the one record that is late.
    assert!(rest[1..].is_sorted(), "{rest:?}");
    let stats = merge.stats();
    assert_eq!(stats.n_records, 3000);
    assert!(stats.n_comparisons < 4000 * 11 + 1000 * 22, "{stats:?}");
}

#[test]
fn a_source_that_fails_is_named_and_the_others_go_on() {
    // Goal: one bad file among many is told of once, by its name, and loses nobody else's records; or ends it all, if that was asked for.
    // Method: sources that fail at once, later, and two at a time.
    let sources = || {
        let bad = [Step::At(2), Step::Fails, Step::At(9)];
        merge([
            Script::of([1, 4]),
            Script::new(bad).called("second"),
            Script::new([Step::Fails]).called("third"),
            Script::of([2, 3, 5]),
        ])
    };
    let run = |mut merge: Merge<Script>| {
        let mut told = vec![];
        while !merge.is_over() {
            match merge.next() {
                Ok(Some(event)) => told.push(event.stamp.timestamp_ns.to_string()),
                Ok(None) => {}
                Err(error) => told.push(error.to_string()),
            }
        }
        assert!(merge.next().unwrap().is_none());
        (told, merge.stats().n_failed)
    };
    let told = ["third: it broke", "1", "2", "second: it broke", "2", "3", "4", "5"].map(str::to_owned);
    assert_eq!(run(sources()), (told.to_vec(), 2));
    assert_eq!(run(sources().stop_on_error()), (told[..1].to_vec(), 1));
}

#[test]
fn a_source_that_cannot_seek_does_not_keep_the_others() {
    // Goal: a seek brings all sources to where they should be but those that fail, each of which is told of.
    // Method: two that refuse to seek, one of them behind its end, among four.
    let stubborn = |times: &[u64]| Script { fails_to_seek: true, ..Script::of(times.iter().copied()) };
    let mut merge = merge([
        Script::of([1, 5]),
        stubborn(&[1, 6]).called("b"),
        stubborn(&[]).called("c"),
        Script::of([2, 7]),
    ]);
    assert_eq!(all(&mut merge).len(), 6);
    assert!(merge.is_over());
    assert_eq!(merge.seek(3).unwrap_err().to_string(), "b: it stays where it is");
    assert!(!merge.is_over());
    assert_eq!(merge.next().unwrap_err().to_string(), "c: it stays where it is");
    assert_eq!(all(&mut merge), [(5, 0, 1), (7, 3, 1)]);
    merge.seek(0).unwrap();
    assert_eq!(all(&mut merge).len(), 4);
}

#[test]
fn seek_goes_anywhere_at_any_time() {
    // Goal: after a seek, the merge is as one of the records from that time on, wherever it was before; comparisons are those of a start.
    // Method: times forth and back, from the middle and from the end, against a stable sort; 3,000 sources.
    let sources = shapes(3000, 9000)[1].1.clone();
    let mut merge = merge(sources.iter().map(|times| Script::of(times.iter().copied())));
    let expected = sorted(&sources);
    let span = expected.last().unwrap().0 - BASE_NS;
    for part in [3, 0, 2, 2, 4, 1, 5] {
        let since = BASE_NS + span * part / 4;
        let before = merge.stats();
        merge.seek(since).unwrap();
        let from = expected.partition_point(|(ns, _, _)| *ns < since);
        for (n, expected) in expected[from..].iter().take(2000).enumerate() {
            let event = merge.next().unwrap().unwrap();
            assert_eq!(
                (event.stamp.timestamp_ns, event.source, event.stamp.sequence),
                *expected,
                "{part}: {n}"
            );
        }
        let (n, after) = (expected.len() - from, merge.stats());
        let compared = after.n_comparisons - before.n_comparisons;
        assert!(compared <= 13 * n.min(2000) as u64 + 6000, "{part}: {compared}");
        assert_eq!(after.n_late, 0);
    }
    assert!(merge.next().unwrap().is_none() && merge.is_over());
}

#[test]
fn a_promise_holds_up_what_is_later_and_nothing_else() {
    // Goal: while a source has nothing yet, what is older than it promised comes, and what is later waits; a promise that moves lets more through.
    // Method: a live source between two with records, step by step.
    let live =
        [Step::NotYet(0), Step::NotYet(3), Step::NotYet(3), Step::NotYet(20), Step::At(11), Step::At(12)];
    let mut merge = merge([Script::of([1, 3, 9, 15]), Script::new(live), Script::of([3, 4])]);
    let mut next = || merge.next().unwrap().map(|event| (event.stamp.timestamp_ns, event.source));
    // It knows nothing: the first record waits, until it knows more.
    assert_eq!(next(), Some((1, 0)), "asked at the start and then again");
    assert_eq!(next(), Some((3, 0)), "of one time, the smaller number is first, whatever comes");
    assert_eq!(next(), None, "its own record of that time would be in front");
    assert_eq!([next(), next(), next(), next()], [Some((3, 2)), Some((4, 2)), Some((9, 0)), Some((15, 0))]);
    // It comes after all that was promised not to; it is late, and its next one, too.
    assert_eq!([next(), next(), next()], [Some((11, 1)), Some((12, 1)), None]);
    assert_eq!((merge.stats().n_late, merge.is_over()), (2, true));
}

/// Steps of a live source that keeps its promises: times and, in between, promises that are not later than what comes.
fn keeping_promises() -> impl Strategy<Value = Vec<Step>> {
    let step = (0_u64..5, prop::option::of(0_u64..8));
    prop::collection::vec(step, 0..30).prop_map(|steps| {
        let (mut now_ns, mut all) = (0, vec![]);
        for (after, not_yet) in steps {
            now_ns += after;
            if let Some(early) = not_yet {
                all.push(Step::NotYet(now_ns.saturating_sub(early)));
            }
            all.push(Step::At(now_ns));
        }
        all
    })
}

fn times(steps: &[Step]) -> impl Iterator<Item = u64> + '_ {
    steps.iter().filter_map(|step| if let Step::At(ns) = step { Some(*ns) } else { None })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn nothing_comes_before_what_was_promised(sources in prop::collection::vec(keeping_promises(), 1..12)) {
        // Goal: when live sources keep their promises, everything comes in order, and each call that finds nothing asks somebody.
        // Method: random schedules of records and promises, against a stable sort; a bound of calls.
        let expected: Vec<Vec<u64>> = sources.iter().map(|steps| times(steps).collect()).collect();
        let mut merge = merge(sources.iter().cloned().map(Script::new));
        let (mut found, mut n_nothing) = (vec![], 0);
        while !merge.is_over() {
            match merge.next().unwrap() {
                Some(event) => found.push((event.stamp.timestamp_ns, event.source)),
                None => n_nothing += 1,
            }
        }
        let sorted: Vec<_> = sorted(&expected).iter().map(|(ns, source, _)| (*ns, *source)).collect();
        prop_assert_eq!(found, sorted);
        prop_assert_eq!(merge.stats().n_late, 0);
        let n_promises = sources.iter().flatten().filter(|step| matches!(step, Step::NotYet(_))).count();
        prop_assert!(n_nothing <= n_promises + 1, "{} calls for {} promises", n_nothing, n_promises);
    }

    #[test]
    fn moments_are_all_of_an_instant(
        sources in prop::collection::vec(keeping_promises(), 1..8),
        taken in prop::collection::vec(0_usize..6, 1..8),
    ) {
        // Goal: a moment has all records of one time, over all sources, ties inside a source included; what is not taken of it is skipped, and
        // no two moments in a row have one time unless the second says that it goes on.
        // Method: random sources; all taken, or so many of each moment, against the groups of a stable sort.
        let expected: Vec<Vec<u64>> = sources.iter().map(|steps| times(steps).collect()).collect();
        let sorted = sorted(&expected);
        let mut batches = Batches::new(merge(expected.iter().map(|times| Script::of(times.iter().copied()))));
        let (mut n, mut number) = (0, 0);
        for group in sorted.chunk_by(|a, b| a.0 == b.0) {
            let mut moment = batches.next().unwrap().unwrap();
            prop_assert_eq!((moment.timestamp_ns(), moment.goes_on()), (group[0].0, false));
            let n_taken = taken[number % taken.len()];
            for expected in group.iter().take(n_taken) {
                let event = moment.next().unwrap().unwrap();
                prop_assert_eq!((event.stamp.timestamp_ns, event.source, event.stamp.sequence), *expected);
            }
            if n_taken > group.len() {
                prop_assert!(moment.next().unwrap().is_none());
            }
            (n, number) = (n + group.len(), number + 1);
        }
        prop_assert_eq!(n, sorted.len());
        prop_assert!(batches.next().unwrap().is_none() && batches.merge().is_over());

        let mut batches = Batches::new(merge(sources.into_iter().map(Script::new)));
        let (mut found, mut last) = (vec![], None);
        while !batches.merge().is_over() {
            let Some(mut moment) = batches.next().unwrap() else { continue };
            prop_assert_eq!(moment.goes_on(), last == Some(moment.timestamp_ns()));
            last = Some(moment.timestamp_ns());
            while let Some(event) = moment.next().unwrap() {
                prop_assert_eq!(Some(event.stamp.timestamp_ns), last);
                found.push((event.stamp.timestamp_ns, event.source));
            }
        }
        let sorted: Vec<_> = sorted.iter().map(|(ns, source, _)| (*ns, *source)).collect();
        prop_assert_eq!(found, sorted);
    }

    #[test]
    fn last_values_are_right_at_any_time(
        sources in prop::collection::vec(prop::collection::vec(0_u64..100, 0..20), 1..8),
        asked in prop::collection::vec((0_u64..110, any::<bool>()), 1..20),
    ) {
        // Goal: at any time that is asked for, in any order, the last record at or before it is known of each source, however far in front it is.
        // Method: random times forth and back, read or sought; the last record by looking at all.
        let sources: Vec<Vec<u64>> = sources.into_iter().map(|mut times| { times.sort(); times }).collect();
        let mut as_of = AsOf::new(merge(sources.iter().map(|times| Script::of(times.iter().copied()))));
        for (now_ns, seeks) in asked {
            let is_all = if seeks { as_of.seek(now_ns) } else { as_of.advance_to(now_ns) };
            prop_assert!(is_all.unwrap());
            prop_assert_eq!(as_of.now_ns(), now_ns);
            for (source, times) in sources.iter().enumerate() {
                let n = times.partition_point(|ns| *ns <= now_ns);
                let found = as_of.last(source).map(|last| (last.stamp.timestamp_ns, last.kept.clone()));
                let expected = n.checked_sub(1).map(|at| (times[at], at.to_le_bytes().to_vec()));
                prop_assert_eq!(found, expected, "source {} at {}", source, now_ns);
            }
        }
    }
}

#[test]
fn last_values_wait_for_who_has_nothing_yet() {
    // Goal: last values are called complete only when no source can have another one of that time.
    // Method: a source that promises too little at first; one that fails keeps what it had.
    let live = Script::new([Step::At(1), Step::NotYet(3), Step::At(4), Step::NotYet(9), Step::At(9)]);
    let mut as_of = AsOf::new(merge([live, Script::new([Step::At(2), Step::Fails]).called("b")]));
    assert!(as_of.advance_to(5).is_err());
    assert!(as_of.advance_to(5).unwrap());
    let at =
        |as_of: &AsOf<Script>| [0, 1].map(|source| as_of.last(source).map(|last| last.stamp.timestamp_ns));
    assert_eq!(at(&as_of), [Some(4), Some(2)]);
    assert!(as_of.seek(3).unwrap());
    assert_eq!(at(&as_of), [Some(1), Some(2)]);
    assert!(as_of.last(2).is_none());
}

#[test]
fn last_values_are_complete_once_all_have_promised_to_be_past_them() {
    // Goal: whoever has nothing, and promises to have nothing of the time that was asked for, is not waited for.
    // Method: a source that has one record and then promises only: at, just in front of and behind what it promises.
    let live = || Script::new([Step::At(10)].into_iter().chain((0..100).map(|_| Step::NotYet(1_000))));
    let mut as_of = AsOf::new(merge([live(), Script::of([5, 2_000])]));
    assert!(as_of.advance_to(999).unwrap());
    let at = [0, 1].map(|source| as_of.last(source).map(|last| last.stamp.timestamp_ns));
    assert_eq!(at, [Some(10), Some(5)]);
    assert!(!as_of.advance_to(1_000).unwrap(), "a record of that very time may come");
    assert!(!as_of.seek(2_000).unwrap());
    assert!(as_of.seek(999).unwrap());
}

#[test]
fn last_values_of_a_merge_that_has_stopped_are_not_complete() {
    // Goal: what was not read because another source failed is not called read. Method: a failure in front of another one's records; ask on.
    let bad = Script::new([Step::At(10), Step::Fails]);
    let mut as_of = AsOf::new(merge([bad, Script::of([10, 20])]).stop_on_error());
    assert!(as_of.advance_to(500).is_err());
    assert!(!as_of.advance_to(500).unwrap(), "{:?}", as_of.last(1));
}

#[test]
fn a_failure_within_a_moment_loses_nobody_elses_records() {
    // Goal: whoever lets go of a moment because a source has failed has the rest of it as another one, which says that it goes on; whoever
    // keeps it, and lets go of it later, skips the rest as ever. Method: a source that fails in front of two others of that time.
    let batches = || {
        let bad = Script::new([Step::At(10), Step::Fails]);
        Batches::new(merge([bad, Script::of([10, 20]), Script::of([10])]))
    };
    let (mut of_all, mut found, mut n_failed) = (batches(), vec![], 0);
    while !of_all.merge().is_over() {
        let mut take = || -> Result<(), MergeError> {
            while let Some(mut moment) = of_all.next()? {
                while let Some(event) = moment.next()? {
                    found.push((event.stamp.timestamp_ns, event.source));
                }
            }
            Ok(())
        };
        n_failed += u32::from(take().is_err());
    }
    assert_eq!((found, n_failed), (vec![(10, 0), (10, 1), (10, 2), (20, 1)], 1));

    let mut let_go = batches();
    let mut moment = let_go.next().unwrap().unwrap();
    assert_eq!(moment.next().unwrap().unwrap().source, 0);
    assert!(moment.next().is_err());
    let moment = let_go.next().unwrap().unwrap();
    assert_eq!((moment.timestamp_ns(), moment.goes_on()), (10, true));

    let mut kept = batches();
    let mut moment = kept.next().unwrap().unwrap();
    assert_eq!(moment.next().unwrap().unwrap().source, 0);
    assert!(moment.next().is_err());
    assert_eq!(moment.next().unwrap().unwrap().source, 1);
    assert_eq!(kept.next().unwrap().unwrap().timestamp_ns(), 20);
}

#[test]
fn a_source_that_disorder_ends_counts_what_it_has_handed_out() {
    // Goal: statistics of a source say how many records it had, however it ended. Method: logs with a record that is too late.
    let directory = tempfile::tempdir().unwrap();
    for (n, (order, times)) in [
        (Order::Error, &[10, 5, 20][..]),
        (Order::Reorder { n_records: 1 }, &[10, 30, 40, 20, 50]),
        (Order::Pass, &[10, 30, 40, 20, 50]),
    ]
    .into_iter()
    .enumerate()
    {
        let path = directory.path().join(n.to_string());
        write_log(&path, times);
        let mut source = pool(order).open(&path).unwrap();
        let mut n_records = 0;
        while matches!(source.step(), Ok(Next::Record(_))) {
            n_records += 1;
        }
        assert_eq!(source.stats().n_records, n_records, "{order:?}");
    }
}

/// Where a source of the model is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Now {
    Unasked,
    At(u64),
    NotBefore(u64),
    Over,
    Failed,
}

/// A merge without a tree: whoever is next is looked for among all.
#[derive(Default)]
struct Model {
    scripts: Vec<Vec<Step>>,
    /// The next step, and what the last one was.
    at: Vec<(usize, Now)>,
    handed_out: Option<usize>,
}

impl Model {
    fn step(&mut self, source: usize) -> Result<(), usize> {
        let (n, now) = &mut self.at[source];
        *now = match self.scripts[source].get(*n) {
            None => Now::Over,
            Some(Step::Fails) => Now::Failed,
            Some(Step::NotYet(ns)) => Now::NotBefore(*ns),
            Some(Step::At(ns)) => Now::At(*ns),
        };
        *n += 1;
        if *now == Now::Failed { Err(source) } else { Ok(()) }
    }

    /// The next source and its time, or the source that failed.
    fn peek(&mut self) -> Result<Option<(usize, u64)>, usize> {
        if let Some(source) = self.handed_out.take() {
            self.step(source)?;
        }
        for source in 0..self.at.len() {
            if self.at[source].1 == Now::Unasked {
                self.step(source)?;
            }
        }
        let mut asked = 0_u64;
        loop {
            let least = (0..).zip(&self.at).filter_map(|(source, (_, now))| match now {
                Now::At(ns) | Now::NotBefore(ns) => Some((*ns, source)),
                _ => None,
            });
            let Some((ns, source)) = least.min() else { return Ok(None) };
            if matches!(self.at[source].1, Now::At(_)) {
                return Ok(Some((source, ns)));
            }
            if asked & 1 << source != 0 {
                return Ok(None);
            }
            asked |= 1 << source;
            self.step(source)?;
        }
    }

    fn seek(&mut self, since_ns: u64) {
        self.handed_out = None;
        for (script, at) in self.scripts.iter().zip(&mut self.at).filter(|(_, at)| at.1 != Now::Failed) {
            let is_there = |step: &Step| matches!(step, Step::At(ns) if *ns >= since_ns);
            *at = (script.iter().position(is_there).unwrap_or(script.len()), Now::Unasked);
        }
    }
}

#[test]
fn any_schedule_is_as_a_plain_search_says() {
    // Goal: whatever sources do (ties, disorder, promises that are broken or move back, failures, ends) and whatever is done with them
    // (several added at any moment, looks, seeks), what comes next is whoever has the least time and number.
    // Method: 20,000 random schedules beside a model that looks at all sources each time.
    let mut random = Random(1);
    for round in 0..20_000 {
        let (mut merge, mut model) = (Merge::new(), Model::default());
        let (spread, n_sources_max) = (1 + random.below(30), 1 + random.below(12) as usize);
        for call in 0..50 {
            match random.below(12) {
                0..=2 if model.scripts.len() < n_sources_max => {
                    for _ in 0..=random.below(3) {
                        let step = |random: &mut Random| match random.below(20) {
                            0 => Step::Fails,
                            1..=4 => Step::NotYet(random.below(spread)),
                            _ => Step::At(random.below(spread)),
                        };
                        let steps: Vec<_> = (0..random.below(12)).map(|_| step(&mut random)).collect();
                        merge.add(Script::new(steps.iter().cloned()));
                        model.scripts.push(steps);
                        model.at.push((0, Now::Unasked));
                    }
                }
                3 if random.below(4) == 0 => {
                    let since_ns = random.below(spread);
                    merge.seek(since_ns).unwrap();
                    model.seek(since_ns);
                }
                what => {
                    let expected = model.peek();
                    let found = if what == 4 {
                        merge.peek().map(|found| found.map(|(source, stamp)| (source, stamp.timestamp_ns)))
                    } else {
                        model.handed_out = expected.ok().flatten().map(|(source, _)| source);
                        merge.next().map(|found| {
                            found.map(|event| {
                                assert_eq!(
                                    event.record + 1,
                                    model.at[event.source].0,
                                    "round {round}, call {call}"
                                );
                                (event.source, event.stamp.timestamp_ns)
                            })
                        })
                    };
                    let found = found.map_err(|error| error.source_number);
                    assert_eq!(found, expected, "round {round}, call {call}");
                }
            }
        }
    }
}
