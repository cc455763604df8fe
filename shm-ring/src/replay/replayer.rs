//! Replayer: a merge, each record when it is due.

use super::merge::{Event, Merge, MergeError};
use super::pace::{Lag, Pace, Waiting};
use super::source::{Source, Stamp};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A merge, paced.
#[derive(Debug)]
pub struct Replayer<S> {
    merge: Merge<S>,
    state: Arc<Mutex<State>>,
    over: bool,
    anchor: Option<(Instant, u64)>,
    kept: Option<(usize, Stamp)>,
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
        let state = State {
            paused: false,
            stopped: false,
            steps: 0,
            seek: None,
            pace: Pace::Max,
            progress: Progress::default(),
        };
        Self {
            merge,
            state: Arc::new(Mutex::new(state)),
            over: false,
            anchor: None,
            kept: None,
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
        self.next_timeout(Duration::from_secs(1 << 30))
    }

    /// The next record, if it is due within that time.
    ///
    /// # Errors
    ///
    /// As [`Merge::next`].
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Event<S::Record<'_>>>, MergeError> {
        if let Some(from_ns) = self.from_ns.take() {
            self.merge.seek(from_ns)?;
        }
        let until = Instant::now() + timeout;
        loop {
            let mut state = self.state.lock().expect("nobody panics with it");
            if state.stopped || self.over {
                self.over = true;
                return Ok(None);
            }
            if let Some(to) = state.seek.take() {
                drop(state);
                (self.anchor, self.kept) = (None, None);
                self.merge.seek(to)?;
                continue;
            }
            let is_step = state.steps > 0;
            let is_held = (state.paused || state.pace == Pace::Step) && !is_step;
            let pace = state.pace;
            if is_held {
                self.anchor = None;
            } else {
                if self.kept.is_none() {
                    self.kept = self.merge.next()?.map(|event| (event.source, event.stamp));
                }
                match self.kept {
                    Some((_, stamp)) if self.to_ns.is_some_and(|to_ns| stamp.timestamp_ns >= to_ns) => {
                        self.over = true;
                        return Ok(None);
                    }
                    Some((source, stamp)) => {
                        let due = match pace {
                            Pace::Speed(speed) if !is_step => {
                                let (at, ns) =
                                    *self.anchor.get_or_insert((Instant::now(), stamp.timestamp_ns));
                                at + Duration::from_nanos(stamp.timestamp_ns.saturating_sub(ns))
                                    .div_f64(speed)
                            }
                            _ => Instant::now(),
                        };
                        if due <= Instant::now() {
                            state.steps = state.steps.saturating_sub(1);
                            state.progress.n_records += 1;
                            state.progress.timestamp_ns = stamp.timestamp_ns;
                            drop(state);
                            self.kept = None;
                            let record = self.merge.sources()[source].record();
                            return Ok(Some(Event { source, stamp, record }));
                        }
                    }
                    None if self.merge.is_over() => {
                        self.over = true;
                        return Ok(None);
                    }
                    None => {}
                }
            }
            drop(state);
            if Instant::now() >= until {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
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
        self.control().progress()
    }
}

#[derive(Debug)]
struct State {
    paused: bool,
    stopped: bool,
    steps: u64,
    seek: Option<u64>,
    pace: Pace,
    progress: Progress,
}

impl Control {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().expect("nobody panics with it"));
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.0.lock().expect("nobody panics with it").progress
    }

    /// Which it has.
    pub fn pace(&self) -> Pace {
        self.0.lock().expect("nobody panics with it").pace
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
