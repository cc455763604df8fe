//! Replayer: a merge, each record when it is due.

use super::merge::{Event, Merge, MergeError};
use super::pace::{Lag, Pace, Waiting};
use super::source::Source;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A merge, paced.
#[derive(Debug)]
pub struct Replayer<S> {
    merge: Merge<S>,
    state: Arc<Mutex<State>>,
    over: bool,
    anchor: Option<(Instant, u64)>,
    progress: Progress,
    lag: Lag,
    waiting: Waiting,
    from_ns: Option<u64>,
    to_ns: Option<u64>,
}

/// Steers a [`Replayer`] from another thread.
#[derive(Clone, Debug)]
pub struct Control(Arc<Mutex<State>>);

/// How far a replay has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Records that were handed out.
    pub n_records: u64,
    /// The time of the last one, ns since the Unix epoch.
    pub timestamp_ns: u64,
    /// How late the last one was.
    pub late: Duration,
    /// The latest one so far.
    pub late_max: Duration,
}

impl<S: Source> Replayer<S> {
    /// As fast as records can be read, all of them.
    pub fn new(merge: Merge<S>) -> Self {
        let state = State { paused: false, stopped: false, steps: 0, seek: None, pace: Pace::Max };
        Self {
            merge,
            state: Arc::new(Mutex::new(state)),
            over: false,
            anchor: None,
            progress: Progress::default(),
            lag: Lag::CatchUp,
            waiting: Waiting::Spin,
            from_ns: None,
            to_ns: None,
        }
    }

    /// How fast.
    #[must_use]
    pub fn pace(self, pace: Pace) -> Self {
        self.control().set_pace(pace);
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
        self
    }

    /// Only records before that time.
    #[must_use]
    pub fn to_ns(mut self, timestamp_ns: u64) -> Self {
        self.to_ns = Some(timestamp_ns);
        self
    }

    /// The next record, when it is due; `None`: there is none yet, or it is over.
    ///
    /// # Errors
    ///
    /// As [`Merge::next`].
    #[expect(clippy::should_implement_trait, reason = "an event borrows the replayer")]
    pub fn next(&mut self) -> Result<Option<Event<S::Record<'_>>>, MergeError> {
        if let Some(from_ns) = self.from_ns.take() {
            self.merge.seek(from_ns)?;
        }
        loop {
            let mut state = self.state.lock().expect("nobody panics with it");
            if state.stopped || self.over {
                self.over = true;
                return Ok(None);
            }
            if let Some(to) = state.seek.take() {
                drop(state);
                self.anchor = None;
                self.merge.seek(to)?;
                continue;
            }
            if state.steps > 0 {
                state.steps -= 1;
                break;
            }
            if !state.paused && state.pace != Pace::Step {
                break;
            }
            drop(state);
            self.anchor = None;
            std::thread::sleep(Duration::from_millis(1));
        }
        let Some(event) = self.merge.next()? else { return Ok(None) };
        if self.to_ns.is_some_and(|to_ns| event.stamp.timestamp_ns >= to_ns) {
            self.over = true;
            return Ok(None);
        }
        loop {
            let state = self.state.lock().expect("nobody panics with it");
            let Pace::Speed(speed) = state.pace else { break };
            if state.stopped || state.seek.is_some() {
                break;
            }
            drop(state);
            let (at, ns) = *self.anchor.get_or_insert((Instant::now(), event.stamp.timestamp_ns));
            let due = at + Duration::from_nanos(event.stamp.timestamp_ns.saturating_sub(ns)).div_f64(speed);
            let Some(left) = due.checked_duration_since(Instant::now()) else { break };
            std::thread::sleep(left.min(Duration::from_millis(5)));
        }
        self.progress.n_records += 1;
        self.progress.timestamp_ns = event.stamp.timestamp_ns;
        Ok(Some(event))
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.over || self.merge.is_over()
    }

    /// What is replayed.
    pub fn merge(&self) -> &Merge<S> {
        &self.merge
    }

    /// To steer it with, from another thread.
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.state))
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }
}

#[derive(Debug)]
struct State {
    paused: bool,
    stopped: bool,
    steps: u64,
    seek: Option<u64>,
    pace: Pace,
}

impl Control {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().expect("nobody panics with it"));
    }

    /// Holds it.
    pub fn pause(&self) {
        self.change(|state| state.paused = true);
    }
    /// Lets it go on.
    pub fn resume(&self) {
        self.change(|state| state.paused = false);
    }
    /// One record, of [`Pace::Step`] or while it is held.
    pub fn step(&self) {
        self.change(|state| state.steps += 1);
    }
    /// Another pace from now on.
    pub fn set_pace(&self, pace: Pace) {
        self.change(|state| state.pace = pace);
    }
    /// To the first record of that time or later.
    pub fn seek(&self, timestamp_ns: u64) {
        self.change(|state| state.seek = Some(timestamp_ns));
    }
    /// Ends it.
    pub fn stop(&self) {
        self.change(|state| state.stopped = true);
    }
}
