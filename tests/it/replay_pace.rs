//! Pacing: a replay hands out each record when it is due, not before, and does what it is told meanwhile.
//!
//! Times of a test are chosen so that a machine that is busy makes it slow and not wrong: what must not be early is compared exactly, what
//! must not be late in orders of magnitude.

use shm_ring::replay::{
    Control, Lag, Merge, Next, Pace, ReplayState, Replayer, Source, SourceError, Stamp, Waiting,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// More than a busy machine is late by, as a rule.
const SOON: Duration = Duration::from_secs(2);

/// Records of those times, each of which is its number.
#[derive(Debug)]
pub(crate) struct Times {
    times: Vec<u64>,
    at: usize,
    /// So many are there yet; more may come as long as somebody else has this, too.
    there: Arc<AtomicUsize>,
    /// What it promises while it has nothing.
    not_before_ns: u64,
    /// The record that can't be read.
    bad: Option<usize>,
}

impl Times {
    pub(crate) fn new(times: impl IntoIterator<Item = u64>) -> Self {
        let times: Vec<u64> = times.into_iter().collect();
        let there = Arc::new(AtomicUsize::new(times.len()));
        Self { times, at: 0, there, not_before_ns: 0, bad: None }
    }
}

impl Source for Times {
    type Record<'a> = usize;

    fn step(&mut self) -> Result<Next, SourceError> {
        if self.bad == Some(self.at) {
            return Err(SourceError::Other("it is bad".into()));
        }
        if self.at < self.there.load(Ordering::Relaxed) {
            self.at += 1;
            return Ok(Next::Record(Stamp {
                timestamp_ns: self.times[self.at - 1],
                sequence: self.at as u64,
            }));
        }
        let is_followed = Arc::strong_count(&self.there) > 1;
        let not_before_ns = self.not_before_ns;
        Ok(if is_followed { Next::NotYet { not_before_ns } } else { Next::End })
    }

    fn record(&self) -> usize {
        self.at - 1
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.at = self.times.partition_point(|time| *time < since_ns);
        Ok(())
    }

    fn name(&self) -> &str {
        "times"
    }
}

pub(crate) fn replayer(times: Times) -> Replayer<Times> {
    let mut merge = Merge::new();
    merge.add(times);
    Replayer::new(merge)
}

/// The number of the next record; `None`: not in time, or over.
pub(crate) fn within(replayer: &mut Replayer<Times>, time: Duration) -> Option<usize> {
    replayer.next_timeout(time).unwrap().map(|event| event.record)
}

/// The number of the next record, and when it came.
pub(crate) fn next(replayer: &mut Replayer<Times>) -> (usize, Instant) {
    let number = replayer.next().unwrap().unwrap().record;
    (number, Instant::now())
}

fn rest(replayer: &mut Replayer<Times>) -> Vec<usize> {
    std::iter::from_fn(|| replayer.next().unwrap().map(|event| event.record)).collect()
}

fn median(mut of: Vec<Duration>) -> Duration {
    of.sort();
    of[of.len() / 2]
}

#[test]
fn no_record_comes_before_it_is_due() {
    // Goal: each record comes when it is due, as time passed when it was recorded, however it is waited for.
    // Method: 200 records at two speeds, against a clock that was read before the replay began: never early, and not late as a rule.
    for (waiting, speed) in
        [(Waiting::Spin, 1.0), (Waiting::Spin, 10.0), (Waiting::Sleep, 1.0), (Waiting::Sleep, 10.0)]
    {
        let gap_ns = if speed > 1.0 { 7 * MS } else { 700_000 };
        let times = Times::new((0..200).map(|n| 5 * SECOND + n * gap_ns));
        let mut replayer = replayer(times).pace(Pace::Speed(speed)).waiting(waiting);
        let began = Instant::now();
        let mut errors = vec![];
        for n in 0..200u32 {
            let (number, at) = next(&mut replayer);
            let due = Duration::from_nanos(gap_ns) * n / (speed as u32);
            assert_eq!(number, n as usize);
            assert!(
                at - began >= due,
                "{waiting:?} at {speed}: {n} was due after {due:?}, came after {:?}",
                at - began
            );
            errors.push((at - began) - due);
        }
        assert!(replayer.next().unwrap().is_none() && replayer.is_over());
        let median = median(errors);
        assert!(median < SOON / 20, "{waiting:?} at {speed}: {median:?} late");
    }
}

#[test]
fn being_late_does_not_add_up() {
    // Goal: deadlines are absolute, so that a replay of any length ends when it should.
    // Method: 3,000 records in 3 s; the least error of the last hundred is that of the first hundred, but for less than a tenth of what the errors of 3,000 sleeps add up to.
    let mut replayer = replayer(Times::new((0..3_000).map(|n| n * MS))).pace(Pace::Speed(1.0));
    let began = Instant::now();
    let errors: Vec<_> =
        (0..3_000).map(|n| next(&mut replayer).1 - began - Duration::from_millis(n)).collect();
    let least = |part: &[Duration]| *part.iter().min().unwrap();
    let (first, last) = (least(&errors[..100]), least(&errors[2_900..]));
    assert!(last.abs_diff(first) < Duration::from_millis(15), "{first:?} at first, {last:?} in the end");
}

#[test]
fn as_fast_as_possible_waits_for_nothing() {
    // Goal: without a pace, nobody looks at times. Method: three records, an hour apart.
    let mut replayer = replayer(Times::new([0, 3_600 * SECOND, 7_200 * SECOND]));
    assert_eq!(rest(&mut replayer), [0, 1, 2]);
    let progress = replayer.progress();
    assert_eq!((progress.n_records, progress.timestamp_ns), (3, 7_200 * SECOND));
    assert_eq!((progress.late_max, progress.state), (Duration::ZERO, ReplayState::Over));
}

#[test]
fn no_time_passes_while_it_is_held() {
    // Goal: a pause delays everything behind it by its length; what is asked for comes one by one.
    // Method: records 20 ms apart; a pause of 100 ms in front of the second; then a step in a pause, from which it goes on.
    let mut replayer = replayer(Times::new((0..5).map(|n| n * 20 * MS))).pace(Pace::Speed(1.0));
    let control = replayer.control();
    let began = Instant::now();
    assert_eq!(next(&mut replayer).0, 0);
    control.pause();
    assert_eq!(within(&mut replayer, Duration::from_millis(100)), None);
    assert!(!replayer.is_over());
    assert_eq!(control.progress().state, ReplayState::Paused);
    control.resume();
    let (number, at) = next(&mut replayer);
    assert_eq!(number, 1);
    assert!(at - began >= Duration::from_millis(119), "{:?}", at - began);
    control.pause();
    control.step();
    control.step();
    assert_eq!((next(&mut replayer).0, next(&mut replayer).0), (2, 3));
    assert_eq!(within(&mut replayer, Duration::from_millis(1)), None);
    let resumed = Instant::now();
    control.resume();
    let (number, at) = next(&mut replayer);
    assert_eq!(number, 4);
    assert!(at - resumed >= Duration::from_millis(19), "{:?}", at - resumed);
    assert_eq!(control.progress().n_records, 5);
}

#[test]
fn steps_come_one_by_one() {
    // Goal: `Pace::Step` hands out what was asked for and nothing else; a step that nobody waits for is none.
    // Method: steps before, two at once, none; then without a pace to the end.
    let replayer = replayer(Times::new([1, 2, 3, 4, 5]));
    let control = replayer.control();
    control.step();
    let mut replayer = replayer.pace(Pace::Step);
    assert_eq!(within(&mut replayer, Duration::from_millis(1)), None);
    control.step();
    control.step();
    assert_eq!((next(&mut replayer).0, next(&mut replayer).0), (0, 1));
    assert_eq!(within(&mut replayer, Duration::from_millis(1)), None);
    control.step();
    control.set_pace(Pace::Max);
    assert_eq!(rest(&mut replayer), [2, 3, 4]);
}

#[test]
fn another_pace_makes_no_jump() {
    // Goal: a new speed counts from the moment that is being played.
    // Method: the second record is 100 s away; after 50 ms of that, at 1,000 times the speed, it takes 99.95 ms more, to the clock.
    let mut replayer = replayer(Times::new([0, 100 * SECOND, 100 * SECOND + 10 * MS])).pace(Pace::Speed(1.0));
    let control = replayer.control();
    let began = Instant::now();
    assert_eq!(next(&mut replayer).0, 0);
    assert_eq!(within(&mut replayer, Duration::from_millis(50)), None);
    let played = began.elapsed();
    control.set_pace(Pace::Speed(1_000.0));
    let turned = Instant::now();
    let (number, at) = next(&mut replayer);
    assert_eq!(number, 1);
    let least = (Duration::from_secs(100) - played - turned.elapsed().min(SOON)) / 1_000;
    assert!(at - turned + Duration::from_millis(1) >= least, "{:?} < {least:?}", at - turned);
    assert!(at - turned < least + SOON, "{:?}", at - turned);
    // Back: what is left of ten milliseconds is not made of the time before.
    control.set_pace(Pace::Speed(0.5));
    let turned = Instant::now();
    let (_, at) = next(&mut replayer);
    assert!(at - turned < Duration::from_millis(20) + SOON);
    assert_eq!(control.pace(), Pace::Speed(0.5));
}

#[test]
fn who_is_late_is_not_later_at_another_speed() {
    // Goal: at a new speed, a replay that is behind is as late as it was, by the clock, whether its next record is known, is not read yet or
    // not even written when the order comes. Method: a record each 10 ms, 1,000 times as fast; away for 20 ms, as much as 20 s of the record;
    // then as recorded, or half as fast: whatever was late comes at once, and the others no sooner than at that speed from the beginning.
    for is_written in [true, false] {
        let times = Times::new((0..10_000).map(|n| n * 10 * MS));
        let there = times.there.clone();
        there.store(if is_written { 10_000 } else { 1 }, Ordering::Relaxed);
        let mut replayer = replayer(times).pace(Pace::Speed(1_000.0));
        let control = replayer.control();
        let began = Instant::now();
        assert_eq!(next(&mut replayer).0, 0);
        std::thread::sleep(Duration::from_millis(20));
        control.set_pace(Pace::Speed(1.0));
        let mut apart = Duration::from_millis(10);
        if !is_written {
            // Obeyed one by one, while nothing is there; a pause is none of the time that passes.
            assert_eq!(within(&mut replayer, Duration::from_millis(5)), None);
            control.pause();
            assert_eq!(within(&mut replayer, Duration::from_millis(5)), None);
            control.set_pace(Pace::Speed(0.5));
            assert_eq!(within(&mut replayer, Duration::from_millis(5)), None);
            control.resume();
            assert_eq!(within(&mut replayer, Duration::from_millis(5)), None);
            apart *= 2;
            there.store(10_000, Ordering::Relaxed);
        }
        for n in 1..15 {
            let (number, at) = next(&mut replayer);
            assert_eq!(number, n as usize);
            assert!(at - began >= apart * (n - 1), "{n} after {:?}, is_written {is_written}", at - began);
        }
        assert!(began.elapsed() < SOON && replayer.progress().late_max < SOON, "{:?}", replayer.progress());
    }
}

#[test]
fn an_end_that_all_have_promised_to_be_past_ends_a_replay() {
    // Goal: nobody waits for a record that would not be handed out. Method: followed sources that have nothing, and promise nothing before a
    // time; the end is that time, or in front of it, or behind; at any pace.
    for pace in [Pace::Max, Pace::Speed(1.0)] {
        for (to_ns, is_over) in [(99, true), (100, true), (101, false)] {
            let times = Times { not_before_ns: 100, ..Times::new([10]) };
            let followed = times.there.clone();
            let mut replayer = replayer(times).pace(pace).to_ns(to_ns);
            assert_eq!(next(&mut replayer).0, 0);
            assert_eq!(within(&mut replayer, Duration::from_millis(5)), None);
            assert_eq!(replayer.is_over(), is_over, "{to_ns} at {pace:?}");
            drop(followed);
        }
    }
}

#[test]
fn without_a_pace_and_back_goes_on_where_it_is() {
    // Goal: a speed that follows none begins at the last record. Method: a hundred hours at once, then a gap of 30 ms.
    let hour = 3_600 * SECOND;
    let times = (0..100).map(|n| n * hour).chain([99 * hour + 30 * MS]);
    let mut replayer = replayer(Times::new(times));
    let control = replayer.control();
    for n in 0..100 {
        assert_eq!(next(&mut replayer).0, n);
    }
    control.set_pace(Pace::Speed(1.0));
    let turned = Instant::now();
    let (number, at) = next(&mut replayer);
    assert_eq!(number, 100);
    assert!(at - turned >= Duration::from_millis(30) && at - turned < SOON, "{:?}", at - turned);
}

#[test]
fn a_late_record_is_the_first_and_not_the_latest() {
    // Goal: without a pace, too, the beginning is the earliest record that was met, and a speed that follows begins at the latest. Method: a
    // record that is late by hours, and one behind it that is 30 ms later than all.
    let hour = 3_600 * SECOND;
    let mut replayer = replayer(Times::new([50 * hour, 100 * hour, 20 * hour, 100 * hour + 30 * MS]));
    let control = replayer.control();
    for first in [50, 50, 20] {
        next(&mut replayer);
        assert_eq!(control.progress().first_ns, Some(first * hour));
    }
    control.set_pace(Pace::Speed(1.0));
    assert_eq!(within(&mut replayer, SOON), Some(3));
}

#[test]
fn a_seek_goes_both_ways() {
    // Goal: a seek finds the first record of that time or later, forward and back, drops what was waiting, and revives what is over.
    // Method: seeks between and onto records, behind the end, in front of the beginning; what was asked for counts as the beginning.
    let mut replayer = replayer(Times::new((0..10).map(|n| 100 + n * 10))).from_ns(120);
    let control = replayer.control();
    assert_eq!(next(&mut replayer).0, 2);
    control.seek(165);
    assert_eq!(next(&mut replayer).0, 7);
    control.seek(130);
    assert_eq!(next(&mut replayer).0, 3);
    control.seek(500);
    assert_eq!((rest(&mut replayer), replayer.is_over()), (vec![], true));
    assert_eq!(control.progress().state, ReplayState::Over);
    control.seek(0);
    assert_eq!(control.progress().state, ReplayState::Running);
    assert_eq!(rest(&mut replayer), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(control.progress().first_ns, Some(120));
}

#[test]
fn a_seek_plays_the_moment_that_was_sought() {
    // Goal: at a speed, what comes behind the moment that was sought comes as much later; what is sought in front of all is the first record.
    // Method: a record that waits for an hour is dropped for one 40 ms behind the moment; then back in front of the first.
    let hour = 3_600 * SECOND;
    let mut replayer = replayer(Times::new([10, 2 * hour, 2 * hour + 40 * MS])).pace(Pace::Speed(1.0));
    let control = replayer.control();
    assert_eq!(next(&mut replayer).0, 0);
    assert_eq!(within(&mut replayer, Duration::from_millis(5)), None);
    control.seek(2 * hour + 1);
    let sought = Instant::now();
    let (number, at) = next(&mut replayer);
    assert_eq!(number, 2);
    assert!(at - sought >= Duration::from_nanos(40 * MS - 1) && at - sought < SOON, "{:?}", at - sought);
    control.seek(3);
    assert_eq!(within(&mut replayer, SOON), Some(0));
    // A place that is sought while it is held is waited for behind the pause.
    control.pause();
    control.seek(2 * hour - 20 * MS);
    assert_eq!(within(&mut replayer, Duration::from_millis(50)), None);
    let resumed = Instant::now();
    control.resume();
    assert_eq!(next(&mut replayer).0, 1);
    assert!(resumed.elapsed() >= Duration::from_millis(20));
}

#[test]
fn bounds_are_kept() {
    // Goal: the beginning is in, the end is out, and nothing is read behind it.
    // Method: every pair of bounds over ten records, paced and not.
    let times = || Times::new((0..10).map(|n| 100 + n));
    for (from, to) in (99..112).flat_map(|from| (99..112).map(move |to| (from, to))) {
        let wanted: Vec<_> = (0..10).filter(|n| (from..to).contains(&(100 + *n as u64))).collect();
        let mut plain = replayer(times()).from_ns(from).to_ns(to);
        assert_eq!(rest(&mut plain), wanted, "{from}..{to}");
        assert!(plain.is_over());
        let mut paced = replayer(times()).pace(Pace::Speed(1.0)).from_ns(from).to_ns(to);
        assert_eq!(rest(&mut paced), wanted, "{from}..{to}");
        assert_eq!(plain.progress().end_ns, Some(to));
    }
    assert_eq!(rest(&mut replayer(Times::new([0, 1])).to_ns(0)), [] as [usize; 0]);
}

#[test]
fn who_is_late_catches_up_or_shifts() {
    // Goal: what is late comes at once, and the rest when it was due; or, behind so much, everything is as late as that from then on.
    // Method: records 40 ms apart; the user is away for 420 ms.
    for (lag, is_shifted) in [(Lag::CatchUp, false), (Lag::Shift(Duration::from_millis(20)), true)] {
        let times = Times::new((0..14).map(|n| n * 40 * MS));
        let mut replayer = replayer(times).pace(Pace::Speed(1.0)).lag(lag);
        let began = Instant::now();
        assert_eq!(next(&mut replayer).0, 0);
        std::thread::sleep(Duration::from_millis(420));
        let back = began.elapsed();
        assert_eq!(next(&mut replayer).0, 1);
        let late = replayer.progress().late;
        assert!(late + Duration::from_millis(41) >= back && late <= began.elapsed(), "{late:?} of {back:?}");
        // The second is 40 ms behind the first, which was due at once, or 20 ms ago, or a long time ago.
        let (_, at) = next(&mut replayer);
        assert_eq!(
            at - began >= back + Duration::from_millis(20),
            is_shifted,
            "{:?} of {back:?}",
            at - began
        );
        for _ in 3..14 {
            next(&mut replayer);
        }
        let ended = began.elapsed();
        let due = Duration::from_millis(520);
        let shifted = if is_shifted { back - Duration::from_millis(60) } else { Duration::ZERO };
        assert!(ended >= due + shifted && ended < due + shifted + SOON, "{lag:?}: {ended:?}");
        assert!(replayer.progress().late_max >= late);
    }
}

#[test]
fn late_in_its_source_is_not_late_in_the_replay() {
    // Goal: a record that comes behind newer ones shifts nothing. Method: one that is an hour too old, in a replay that shifts at once.
    let hour = 3_600 * SECOND;
    let times = Times::new([hour, hour + MS, 5, hour + 2 * MS]);
    let mut replayer = replayer(times).pace(Pace::Speed(1.0)).lag(Lag::Shift(Duration::ZERO));
    let began = Instant::now();
    assert_eq!(rest(&mut replayer), [0, 1, 2, 3]);
    assert!(began.elapsed() < SOON);
    assert!(replayer.progress().late_max < SOON);
}

#[test]
fn nothing_is_late_without_a_speed() {
    // Goal: how late the last record was is told while the replay has a speed, and is 0 as soon as it has none, or stands.
    // Method: a record that is fetched late, then another pace, or a pause, and back.
    for is_paused in [false, true] {
        for pace in [Pace::Max, Pace::Step] {
            let mut replayer = replayer(Times::new((0..10).map(|n| n * MS))).pace(Pace::Speed(1.0));
            let control = replayer.control();
            next(&mut replayer);
            std::thread::sleep(Duration::from_millis(20));
            next(&mut replayer);
            assert!(replayer.progress().late > Duration::from_millis(10));
            if is_paused {
                control.pause();
            } else {
                control.set_pace(pace);
            }
            control.step();
            next(&mut replayer);
            assert_eq!(replayer.progress().late, Duration::ZERO, "{pace:?}, {is_paused}");
            assert!(replayer.progress().late_max > Duration::from_millis(10));
        }
    }
}

#[test]
fn orders_take_effect_while_it_waits() {
    // Goal: whoever waits for a record in an hour hears what it is told within a millisecond.
    // Method: twenty times: another thread tells it to seek, and to stop, while it waits; the median, in the order of magnitude.
    for waiting in [Waiting::Spin, Waiting::Sleep] {
        let mut took = vec![];
        for _ in 0..20 {
            let mut replayer =
                replayer(Times::new([0, 3_600 * SECOND])).pace(Pace::Speed(1.0)).waiting(waiting);
            let control = replayer.control();
            let (begun, is_begun) = std::sync::mpsc::channel();
            let waiter = std::thread::spawn(move || {
                assert_eq!(next(&mut replayer).0, 0);
                begun.send(()).unwrap();
                // Sought and found again, then stopped.
                let (number, sought) = next(&mut replayer);
                assert_eq!(number, 0);
                begun.send(()).unwrap();
                assert!(replayer.next().unwrap().is_none());
                (sought, Instant::now(), replayer.is_over())
            });
            // Most of the time it waits by then; if not, it hears of it all the sooner.
            let wait_for_it = || {
                is_begun.recv().unwrap();
                std::thread::sleep(Duration::from_millis(3));
            };
            wait_for_it();
            let told = Instant::now();
            control.seek(0);
            wait_for_it();
            let stopped = Instant::now();
            control.stop();
            let (sought, ended, is_over) = waiter.join().unwrap();
            assert!(is_over && control.progress().state == ReplayState::Stopped);
            took.extend([sought.saturating_duration_since(told), ended.saturating_duration_since(stopped)]);
        }
        let median = median(took);
        assert!(median < SOON / 100, "{waiting:?}: {median:?}");
    }
}

#[test]
fn a_source_that_is_not_there_yet_is_waited_for() {
    // Goal: `next` waits for what others still write, at any pace; `None` in time is told from the end; a stop ends the wait.
    // Method: a source that grows by one record at a time, then ends, then one that is stopped.
    for pace in [Pace::Max, Pace::Speed(1.0)] {
        let times = Times::new([1, 2, 3]);
        let there = times.there.clone();
        there.store(1, Ordering::Relaxed);
        let mut replayer = replayer(times).pace(pace);
        assert_eq!(next(&mut replayer).0, 0);
        assert_eq!(within(&mut replayer, Duration::from_millis(3)), None);
        assert!(!replayer.is_over());
        let writer = std::thread::spawn(move || {
            for n in 2..=3 {
                std::thread::sleep(Duration::from_millis(10));
                there.store(n, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(10));
        });
        assert_eq!(rest(&mut replayer), [1, 2]);
        assert!(replayer.is_over());
        writer.join().unwrap();

        let times = Times::new([1]);
        let there = times.there.clone();
        let mut replayer = self::replayer(times).pace(pace);
        let control = replayer.control();
        assert_eq!(next(&mut replayer).0, 0);
        let stopper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(10));
            control.stop();
        });
        assert!(replayer.next().unwrap().is_none());
        control_is_final(&replayer.control(), &mut replayer);
        stopper.join().unwrap();
        drop(there);
    }
}

/// Nothing revives what was stopped.
fn control_is_final(control: &Control, replayer: &mut Replayer<Times>) {
    control.seek(0);
    control.resume();
    assert_eq!(within(replayer, Duration::from_millis(1)), None);
    assert_eq!(control.progress().state, ReplayState::Stopped);
}

#[test]
fn a_source_that_fails_stops_no_other() {
    // Goal: an error is told where it happens, and the next call goes on. Method: one of two sources fails at its second record.
    for pace in [Pace::Max, Pace::Speed(1.0)] {
        let mut merge = Merge::new();
        merge.add(Times { bad: Some(1), ..Times::new([1, 3]) });
        merge.add(Times::new([2, 4]));
        let mut replayer = Replayer::new(merge).pace(pace);
        assert_eq!(next(&mut replayer).0, 0);
        let error = replayer.next().unwrap_err();
        assert_eq!((error.source_number, error.to_string()), (0, "times: it is bad".into()));
        assert_eq!(rest(&mut replayer), [0, 1]);
        assert_eq!(replayer.merge().stats().n_failed, 1);
    }
}

#[test]
fn no_speed_is_nonsense() {
    // Goal: what is no speed is refused where it is given. Method: all kinds of nonsense, at all three doors.
    for times in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = Pace::speed(times).unwrap_err().to_string();
        assert!(error.contains("finite") && error.contains(&times.to_string()), "{error}");
        let given = std::panic::catch_unwind(|| replayer(Times::new([1])).pace(Pace::Speed(times)));
        assert!(given.is_err(), "{times}");
        let mut replayer = replayer(Times::new([1]));
        let control = replayer.control();
        assert!(std::panic::catch_unwind(|| control.set_pace(Pace::Speed(times))).is_err());
        // Nothing has changed, and the replay is not harmed.
        assert_eq!((replayer.control().pace(), rest(&mut replayer)), (Pace::Max, vec![0]));
    }
}

#[test]
fn any_thread_can_steer() {
    // Goal: a control can be cloned, sent and shared, and so can a replayer be sent. Method: the compiler.
    fn is_shared<T: Clone + Send + Sync + 'static>() {}
    fn is_sent<T: Send + 'static>() {}
    is_shared::<Control>();
    is_sent::<Replayer<Times>>();
}
