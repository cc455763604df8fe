//! Orders: what a replay was told while it stood still, or in front of its first record, is done as it was meant, and no more.
//!
//! As in `replay_pace`, what must not be late is compared with times that a busy machine does not lose.

use crate::replay_pace::{MS, SECOND, Times, next, replayer, within};
use shm_ring::replay::{Lag, Order, Pace, PoolOptions, ReplayState, RowLayout, Source, TimeUnit};
use std::time::{Duration, Instant};

/// Long enough to be seen, and what is half of it.
const LONG: Duration = Duration::from_millis(600);
const HALF: Duration = Duration::from_millis(300);
/// What comes at once comes in that, on a busy machine, too.
const AT_ONCE: Duration = Duration::from_millis(450);
const SHORT: Duration = Duration::from_millis(20);

#[test]
fn steps_that_nobody_took_are_forgotten() {
    // Goal: a step is one record of a replay that is held, and none of one that was held, or will be. Method: steps in front of a pause, of
    // `Pace::Step`, and of the end of each; those of `Pace::Step` outlive a pause.
    let mut replayer = replayer(Times::new(0..100));
    let control = replayer.control();
    control.step();
    control.pause();
    assert_eq!(within(&mut replayer, SHORT), None);
    control.step();
    control.resume();
    control.pause();
    assert_eq!(within(&mut replayer, SHORT), None);
    control.resume();
    control.set_pace(Pace::Step);
    assert_eq!(within(&mut replayer, SHORT), None);
    control.step();
    control.set_pace(Pace::Max);
    control.set_pace(Pace::Step);
    assert_eq!(within(&mut replayer, SHORT), None);
    control.step();
    control.pause();
    control.resume();
    assert_eq!(within(&mut replayer, SHORT), Some(0));
    assert_eq!(within(&mut replayer, SHORT), None);
    control.pause();
    control.step();
    control.set_pace(Pace::Max);
    assert_eq!((within(&mut replayer, SHORT), within(&mut replayer, SHORT)), (Some(1), None));
}

#[test]
fn who_is_held_takes_no_processor() {
    // Goal: a replay that stands sleeps, behind a step, too. Method: its thread's processor time over a wait.
    use nix::time::{ClockId, clock_gettime};
    let used = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    for pace in [Pace::Max, Pace::Speed(1.0), Pace::Step] {
        let mut replayer = replayer(Times::new(0..100)).pace(pace);
        let control = replayer.control();
        control.pause();
        control.step();
        assert_eq!(within(&mut replayer, LONG), Some(0));
        let before = used();
        assert_eq!(within(&mut replayer, LONG), None);
        let used = used() - before;
        assert!(used < LONG / 4, "{pace:?}: {used:?}");
    }
}

#[test]
fn what_is_ordered_in_a_pause_counts_from_its_beginning() {
    // Goal: no time passes while it is held, whatever it is told then: another speed, another place. Method: a pause that is longer than what
    // is left to wait for; orders at its end, and in front of it.
    let time = |at: u64| at * LONG.as_millis() as u64 * MS;
    for orders in [false, true] {
        let mut replayer = replayer(Times::new([0, time(10), time(20)])).pace(Pace::Speed(1.0));
        let control = replayer.control();
        let start = next(&mut replayer).1;
        if orders {
            control.set_pace(Pace::Speed(10.0));
        }
        control.pause();
        assert_eq!(within(&mut replayer, LONG), None);
        if !orders {
            control.set_pace(Pace::Speed(10.0));
        }
        control.resume();
        let (_, at) = next(&mut replayer);
        // The pause, and a tenth of the time between the records.
        let expected = 2 * LONG;
        assert!((expected - SHORT..expected + AT_ONCE).contains(&(at - start)), "{orders}: {:?}", at - start);
    }
    let mut replayer = replayer(Times::new([0, time(10), time(20)])).pace(Pace::Speed(1.0));
    let control = replayer.control();
    next(&mut replayer);
    control.pause();
    assert_eq!(within(&mut replayer, LONG), None);
    control.seek(time(10));
    assert_eq!(within(&mut replayer, SHORT), None);
    control.resume();
    let start = Instant::now();
    let (record, at) = next(&mut replayer);
    assert!(record == 1 && at - start < AT_ONCE, "{record}, {:?}", at - start);
}

#[test]
fn a_seek_forgets_what_was_played() {
    // Goal: behind a seek, time passes as it does from there on; what is in front of all is the first record, at once; and it is over no more.
    // Method: back to the beginning, from the end, at a speed.
    let mut replayer = replayer(Times::new([10 * SECOND, 10 * SECOND + 600 * MS])).pace(Pace::Speed(1.0));
    let control = replayer.control();
    for n in 0..2 {
        let start = Instant::now();
        assert_eq!(next(&mut replayer).0, 0);
        let first = Instant::now();
        assert!(first - start < AT_ONCE, "{n}: {:?}", first - start);
        assert_eq!(control.progress().state, ReplayState::Running);
        assert_eq!(next(&mut replayer).0, 1);
        assert!(first.elapsed() > HALF, "{n}: {:?}", first.elapsed());
        assert_eq!(within(&mut replayer, SHORT), None);
        assert_eq!(control.progress().state, ReplayState::Over);
        control.seek(0);
    }
}

#[test]
fn who_shifts_stays_as_late_as_is_allowed() {
    // Goal: who is later than so much is as late as that from then on, and not in time. Method: a user who takes long for one record.
    let times = (0..4).map(|n| n * 10 * MS);
    let mut replayer = replayer(Times::new(times)).pace(Pace::Speed(1.0)).lag(Lag::Shift(HALF));
    next(&mut replayer);
    std::thread::sleep(LONG);
    next(&mut replayer);
    next(&mut replayer);
    let late = replayer.progress().late;
    assert!(late > HALF - SHORT, "{late:?}");
}

#[test]
fn where_it_begins_is_the_earliest_time_that_was_met() {
    // Goal: progress knows where the replay begins, or says that it does not. Method: before the first record; records that go back.
    let directory = crate::harness::directory();
    let path = directory.path().join("rows");
    let times = [20u64, 10, 30, 5, 7];
    std::fs::write(&path, times.map(u64::to_le_bytes).concat()).unwrap();
    let layout = RowLayout { row_bytes: 8, timestamp_at: 0, unit: TimeUnit::Nanos };
    let pool = PoolOptions::new().order(Order::Pass).build().unwrap();
    let mut merge = shm_ring::replay::Merge::new();
    merge.add(pool.open_rows(&path, layout).unwrap());
    let mut replayer = shm_ring::replay::Replayer::new(merge).pace(Pace::Step);
    let control = replayer.control();
    assert_eq!((control.progress().first_ns, control.progress().end_ns), (None, None));
    for first in [20, 10, 10, 5, 5] {
        control.step();
        assert!(replayer.next_timeout(LONG).unwrap().is_some());
        assert_eq!(control.progress().first_ns, Some(first));
    }
    assert_eq!(replayer.merge().sources()[0].name(), path.to_str().unwrap());
}
