//! Replayer: a merge, each record when it is due.
//!
//! ```text
//!   orders --> held back?  wait for orders
//!     |           no
//!     |        merge: a record -> keep it -> due?  yes: hand it out      (Pace::Max, and no orders: straight through)
//!     +--------- none yet: pause -+        no: wait -+
//! ```
//!
//! (I1) nothing is handed out before it is due; (I2) a record that is kept is the merge's last one, so that its source still has it; (I3) every
//! wait ends with other orders; (I4) who is waiting for nothing but the next record pays for a look at one word.
//! Computes no deadline and makes no system call itself.

use super::control::{Control, Orders, Progress};
use super::merge::{Event, Merge, MergeError};
use super::pace::{Course, Lag, Pace, Waiting};
use super::source::{Source, Stamp};
use crate::map::clock;
use crate::sync::{self, Ordering};
use std::time::Duration;

/// Between two looks for a record that is not there yet.
const PAUSE_MIN_NS: u64 = 50_000;
const PAUSE_MAX_NS: u64 = 2_000_000;
/// No sleep is longer.
const SLEEP_MAX_NS: u64 = 1_000_000_000;
/// How long before a deadline a sleep that is to be followed by watching the clock ends: at first, and bounds.
const MARGIN_NS: u64 = 150_000;
const MARGINS_NS: std::ops::RangeInclusive<u64> = 80_000..=1_000_000;
/// So many turns wait for the record that says how late it was then.
const N_TURNS_MAX: usize = 64;

/// A merge, paced: [`next`](Self::next) hands out each record when it is due.
///
/// The first record is due at once, and so is the first one of [`from_ns`](Self::from_ns); from there on, time passes as it did when they were
/// recorded, so many times as fast as the [`Pace`] says. Deadlines are absolute: who is late for one is not late for the next. Another thread
/// [steers](Self::control).
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("log");
/// # let mut log = shm_ring::LogOptions::new().segment_bytes(64 << 10).create(&path)?;
/// # log.append_at(1_000_000, b"one")?;
/// # log.append_at(3_000_000, b"two")?;
/// use shm_ring::replay::{Merge, Pace, PoolOptions, Replayer};
///
/// let pool = PoolOptions::new().build()?;
/// let mut merge = Merge::new();
/// merge.add(pool.open(&path)?);
///
/// // Two milliseconds were between them, and one is now.
/// let mut replayer = Replayer::new(merge).pace(Pace::Speed(2.0));
/// while let Some(event) = replayer.next()? {
///     println!("{} ns, {:?} late", event.stamp.timestamp_ns, replayer.control().progress().late);
/// #   break;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Replayer<S> {
    merge: Merge<S>,
    control: Control,
    orders: Orders,
    /// The orders that were taken; others have another number.
    seen: u32,
    /// Nothing stands between the merge and the user: the first record behind the last seek has gone, and the others follow.
    is_free: bool,
    lag: Lag,
    waiting: Waiting,
    from_ns: Option<u64>,
    /// The last time that is handed out.
    last_ns: u64,
    /// Not even that is.
    is_empty: bool,
    phase: Phase,
    /// The record that is not due yet, or not asked for.
    kept: Option<Kept>,
    /// At a speed, once there is a record.
    course: Option<Course>,
    /// Since the course was set: other speeds, and when.
    turns: Vec<Turn>,
    /// Since when no time passes.
    paused_ns: Option<u64>,
    /// Of the records that were handed out since a seek, the newest; 0 without one.
    latest_ns: u64,
    has_latest: bool,
    /// The earliest time that was met or asked for; all ones: none.
    first_ns: u64,
    late_max_ns: u64,
    margin_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The beginning was not sought yet.
    New,
    Going,
    /// No source has anything more, or it would be too new.
    Over,
    Stopped,
}

/// From then on, by the monotonic clock, another speed.
#[derive(Clone, Copy, Debug)]
struct Turn {
    now_ns: u64,
    times: f64,
}

/// A record that the merge handed out last.
#[derive(Clone, Copy, Debug)]
struct Kept {
    source: usize,
    stamp: Stamp,
}

impl<S: Source> Replayer<S> {
    /// As fast as records can be read, all of them.
    pub fn new(merge: Merge<S>) -> Self {
        let control = Control::new();
        let (orders, seen) = control.take();
        Self {
            merge,
            control,
            orders,
            seen,
            is_free: false,
            lag: Lag::CatchUp,
            waiting: Waiting::Spin,
            from_ns: None,
            last_ns: u64::MAX,
            is_empty: false,
            phase: Phase::New,
            kept: None,
            course: None,
            turns: vec![],
            paused_ns: None,
            latest_ns: 0,
            has_latest: false,
            first_ns: u64::MAX,
            late_max_ns: 0,
            margin_ns: MARGIN_NS,
        }
    }

    /// How fast.
    ///
    /// # Panics
    ///
    /// When the speed is not finite and greater than 0: [`Pace::speed`] asks.
    #[must_use]
    pub fn pace(self, pace: Pace) -> Self {
        self.control.set_pace(pace);
        self
    }

    /// What to do when it can't keep pace.
    #[must_use]
    pub fn lag(mut self, lag: Lag) -> Self {
        self.lag = lag;
        self
    }

    /// How to wait.
    #[must_use]
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// Only records of that time or later.
    #[must_use]
    pub fn from_ns(mut self, timestamp_ns: u64) -> Self {
        self.from_ns = Some(timestamp_ns);
        self.tell_first(timestamp_ns);
        self
    }

    /// Only records before that time: the first one of that time or later ends the replay, as do sources that have
    /// [none yet](super::source::Next::NotYet), and have promised to have none before it.
    #[must_use]
    pub fn to_ns(mut self, timestamp_ns: u64) -> Self {
        (self.last_ns, self.is_empty) = (timestamp_ns.saturating_sub(1), timestamp_ns == 0);
        // ORDER none (Relaxed): for display.
        self.control.told().end_ns.store(timestamp_ns, Ordering::Relaxed);
        self
    }

    /// The next record, when it is due; waits for it as long as it takes, and for a source that others still write as long as it says that
    /// there may come more. `None`: all is over, or [stopped](Control::stop); a [seek](Control::seek) goes on after the former.
    ///
    /// # Errors
    ///
    /// As [`Merge::next`].
    #[expect(clippy::should_implement_trait, reason = "an event borrows the replayer")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Event<S::Record<'_>>>, MergeError> {
        if self.is_free && !self.control.has_changed(self.seen) {
            let found = self.merge.next()?.map(|event| Kept { source: event.source, stamp: event.stamp });
            match found {
                Some(found) if found.stamp.timestamp_ns <= self.last_ns => {
                    if found.stamp.timestamp_ns < self.first_ns {
                        self.tell_first(found.stamp.timestamp_ns);
                    }
                    return Ok(Some(self.hand_out(found)));
                }
                Some(_) => self.end(),
                None => {}
            }
        }
        self.next_until(u64::MAX)
    }

    /// The next record, when it is due; waits for it at most so long. `None`: it was not due or not there in time, and comes next; or all
    /// [is over](Self::is_over).
    ///
    /// # Errors
    ///
    /// As [`Merge::next`].
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Event<S::Record<'_>>>, MergeError> {
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.next_until(clock::monotonic_ns().saturating_add(timeout_ns))
    }

    /// Whether nothing more comes, unless somebody seeks: all sources have ended, or reached [the end](Self::to_ns), or it was stopped.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over | Phase::Stopped)
    }

    /// To steer it with, from any thread.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.control.progress()
    }

    /// What it replays.
    pub fn merge(&self) -> &Merge<S> {
        &self.merge
    }

    /// Ends replaying. A record that was waiting to be due does not come any more.
    pub fn into_merge(self) -> Merge<S> {
        self.merge
    }

    fn next_until(&mut self, until_ns: u64) -> Result<Option<Event<S::Record<'_>>>, MergeError> {
        let kept = self.wait(until_ns)?;
        Ok(kept.map(|kept| self.hand_out(kept)))
    }

    /// A record that is due and asked for; `None`: there is none in time, or none at all.
    fn wait(&mut self, until_ns: u64) -> Result<Option<Kept>, MergeError> {
        let mut pause_ns = PAUSE_MIN_NS;
        loop {
            if self.phase == Phase::New || self.control.has_changed(self.seen) {
                self.obey()?;
            }
            if self.is_over() {
                return Ok(None);
            }
            let is_held = self.is_held();
            let mut due_ns = None;
            let wake_ns = if is_held && self.orders.n_steps == 0 {
                u64::MAX
            } else if let Some(kept) = self.fetch()? {
                let now_ns = clock::monotonic_ns();
                let at_ns = if is_held { now_ns } else { self.due_ns(kept.stamp, now_ns) };
                if at_ns <= now_ns && (!is_held || self.control.take_step()) {
                    self.depart(kept.stamp, now_ns - at_ns, is_held);
                    return Ok(Some(kept));
                }
                *due_ns.insert(at_ns)
            } else if self.is_over() {
                return Ok(None);
            } else {
                let wake_ns = clock::monotonic_ns() + pause_ns;
                pause_ns = (pause_ns * 2).min(PAUSE_MAX_NS);
                wake_ns
            };
            let now_ns = clock::monotonic_ns();
            if now_ns >= until_ns {
                return Ok(None);
            }
            match due_ns.filter(|due| *due <= until_ns && self.waiting == Waiting::Spin) {
                Some(due_ns) => self.watch(now_ns, due_ns),
                None => self.sleep(now_ns, wake_ns.min(until_ns)),
            }
        }
    }

    /// Sleeps until then, or until there are other orders; perhaps not as long.
    fn sleep(&self, now_ns: u64, until_ns: u64) {
        self.control.sleep_until(until_ns.min(now_ns + SLEEP_MAX_NS), self.seen);
    }

    /// The same, to be awake at that time; perhaps not as long.
    fn watch(&mut self, now_ns: u64, until_ns: u64) {
        let alarm_ns = until_ns - self.margin_ns.min(until_ns);
        if now_ns < alarm_ns {
            self.sleep(now_ns, alarm_ns);
            let now_ns = clock::monotonic_ns();
            if now_ns < alarm_ns || self.control.has_changed(self.seen) {
                return;
            }
            self.learn(now_ns - alarm_ns);
        }
        while clock::monotonic_ns() < until_ns && !self.control.has_changed(self.seen) {
            sync::spin_hint();
        }
    }

    /// Sleeps that end late begin earlier from now on; a wider margin than is needed costs a processor, and is narrowed slowly.
    fn learn(&mut self, late_ns: u64) {
        let wanted_ns = late_ns + late_ns / 2;
        let margin_ns = if wanted_ns > self.margin_ns {
            wanted_ns
        } else {
            self.margin_ns - (self.margin_ns - wanted_ns) / 64
        };
        self.margin_ns = margin_ns.clamp(*MARGINS_NS.start(), *MARGINS_NS.end());
    }

    /// The record that is kept, or the merge's next; `None`: there is none yet, or all is over.
    fn fetch(&mut self) -> Result<Option<Kept>, MergeError> {
        if self.is_empty {
            self.end();
        } else if self.kept.is_none() {
            let found = self.merge.next()?.map(|event| Kept { source: event.source, stamp: event.stamp });
            match found {
                Some(found) if found.stamp.timestamp_ns <= self.last_ns => self.kept = Some(found),
                None if !self.merge.is_over() && !self.merge.is_past(self.last_ns) => {}
                _ => self.end(),
            }
        }
        Ok(self.kept)
    }

    /// When a record is due, by the monotonic clock.
    fn due_ns(&mut self, stamp: Stamp, now_ns: u64) -> u64 {
        let Pace::Speed(times) = self.orders.pace else { return now_ns };
        // What comes too late in its source is as old as what it comes behind.
        let timestamp_ns = stamp.timestamp_ns.max(self.latest_ns);
        if self.course.is_none() {
            let since_ns = if self.has_latest { self.latest_ns } else { timestamp_ns };
            self.course = Course::new(now_ns, since_ns, times);
        }
        self.turn(Some(timestamp_ns));
        self.course.map_or(now_ns, |course| course.due_ns(timestamp_ns))
    }

    /// A record goes.
    fn depart(&mut self, stamp: Stamp, late_ns: u64, is_held: bool) {
        self.kept = None;
        (self.latest_ns, self.has_latest) = (self.latest_ns.max(stamp.timestamp_ns), true);
        if stamp.timestamp_ns < self.first_ns {
            self.tell_first(stamp.timestamp_ns);
        }
        if is_held {
            self.orders.n_steps -= 1;
            if let (Pace::Speed(times), Some(paused_ns)) = (self.orders.pace, self.paused_ns) {
                // It goes on from here.
                self.course = Course::new(paused_ns, stamp.timestamp_ns, times);
                self.turns.clear();
            }
        } else if let Some(course) = &mut self.course {
            self.late_max_ns = self.late_max_ns.max(late_ns);
            // ORDER none (Relaxed), for both: for display.
            self.control.told().late_ns.store(late_ns, Ordering::Relaxed);
            self.control.told().late_max_ns.store(self.late_max_ns, Ordering::Relaxed);
            if let Lag::Shift(most) = self.lag {
                let most_ns = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
                course.delay(late_ns.saturating_sub(most_ns));
            }
        }
        self.is_free = self.orders.pace == Pace::Max && self.phase == Phase::Going && !self.is_held();
    }

    /// The record that the merge handed out last.
    #[inline(always)]
    fn hand_out(&mut self, kept: Kept) -> Event<S::Record<'_>> {
        let Kept { source, stamp } = kept;
        let told = self.control.told();
        sync::add_alone(&told.n_records, 1);
        // ORDER none (Relaxed): for display, and written by this thread alone.
        told.timestamp_ns.store(stamp.timestamp_ns, Ordering::Relaxed);
        Event { source, stamp, record: self.merge.sources()[source].record() }
    }

    /// Whether records come only when they are asked for.
    fn is_held(&self) -> bool {
        self.paused_ns.is_some() || self.orders.pace == Pace::Step
    }

    /// Does what was ordered.
    fn obey(&mut self) -> Result<(), MergeError> {
        let before = self.orders.pace;
        (self.orders, self.seen) = self.control.take();
        self.leave_free();
        if self.orders.is_stopped {
            self.end();
            self.phase = Phase::Stopped;
            return Ok(());
        }
        let now_ns = clock::monotonic_ns();
        self.change_pace(before, self.paused_ns.unwrap_or(now_ns));
        match (self.paused_ns, self.orders.is_paused) {
            (None, true) => self.paused_ns = Some(now_ns),
            (Some(paused_ns), false) => {
                let passed_ns = now_ns - paused_ns.min(now_ns);
                if let Some(course) = &mut self.course {
                    course.delay(passed_ns);
                }
                // A course that is turned and then delayed is one that is delayed and turned so much later.
                for turn in &mut self.turns {
                    turn.now_ns = turn.now_ns.saturating_add(passed_ns);
                }
                self.paused_ns = None;
            }
            _ => {}
        }
        if self.is_held() || !matches!(self.orders.pace, Pace::Speed(_)) {
            // ORDER none (Relaxed): for display.
            self.control.told().late_ns.store(0, Ordering::Relaxed);
        }
        match (self.orders.seek_ns, self.from_ns) {
            (Some(to_ns), from_ns) => self.go_to(to_ns.max(from_ns.unwrap_or(0)), now_ns)?,
            (None, Some(from_ns)) if self.phase == Phase::New => self.go_to(from_ns, now_ns)?,
            _ => {}
        }
        if self.phase == Phase::New {
            self.phase = Phase::Going;
        }
        Ok(())
    }

    /// From now on there is more to do for each record; what was not done for each is done once.
    fn leave_free(&mut self) {
        if std::mem::take(&mut self.is_free) {
            self.latest_ns = self.latest_ns.max(self.merge.latest_ns());
        }
    }

    fn change_pace(&mut self, before: Pace, now_ns: u64) {
        if before == self.orders.pace {
            return;
        }
        self.course = match (self.course, self.orders.pace) {
            (Some(course), Pace::Speed(times)) => {
                self.turns.push(Turn { now_ns, times });
                Some(course)
            }
            // As if the last one had been played just now.
            (None, Pace::Speed(times)) if self.has_latest => Course::new(now_ns, self.latest_ns, times),
            _ => None,
        };
        if self.course.is_none() {
            self.turns.clear();
        } else if self.turns.len() > N_TURNS_MAX {
            self.turn(None);
        }
    }

    /// What was ordered is done to the course when the next record is known: if it was late already, it stays as late as it was.
    fn turn(&mut self, next_ns: Option<u64>) {
        for Turn { now_ns, times } in self.turns.drain(..) {
            self.course = self.course.and_then(|course| course.turned(now_ns, next_ns, times));
        }
    }

    fn go_to(&mut self, to_ns: u64, now_ns: u64) -> Result<(), MergeError> {
        (self.kept, self.course) = (None, None);
        self.turns.clear();
        (self.latest_ns, self.has_latest) = (0, false);
        self.phase = Phase::Going;
        // ORDER none (Relaxed): for display.
        self.control.told().is_over.store(0, Ordering::Relaxed);
        if let (Pace::Speed(times), true) = (self.orders.pace, to_ns > self.first_ns) {
            self.course = Course::new(self.paused_ns.unwrap_or(now_ns), to_ns, times);
        }
        self.merge.seek(to_ns)
    }

    fn end(&mut self) {
        (self.phase, self.is_free, self.kept) = (Phase::Over, false, None);
        // ORDER none (Relaxed): for display.
        self.control.told().is_over.store(1, Ordering::Relaxed);
    }

    #[cold]
    fn tell_first(&mut self, timestamp_ns: u64) {
        self.first_ns = timestamp_ns;
        // ORDER none (Relaxed): for display.
        self.control.told().first_ns.store(timestamp_ns, Ordering::Relaxed);
    }
}
