//! Control: steers a replay from other threads, and tells them how far it is.
//!
//! ```text
//!   Control: orders changed, under their lock -> changes + 1 -> wake
//!   Replayer: changes == what it saw?  yes: goes on, or sleeps on it  |  no: takes the orders, under their lock
//! ```
//!
//! (I1) `changes` moves under the lock, behind the orders: who has seen it finds them; (I2) a replay that only runs looks at one word, which
//! nobody writes then; (I3) how far it is is written by the replay alone, each number right by itself.
//! Waits for nothing.

use super::pace::Pace;
use crate::map::futex;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Steers a [`Replayer`](super::replayer::Replayer), from any thread; clones steer the same one.
///
/// What it says takes effect within a millisecond while the replay waits for a record to be due, and with the next record otherwise.
///
/// # Examples
///
/// ```
/// # use shm_ring::replay::{MapPool, Merge, Pace, PoolSource, Replayer};
/// # fn f(merge: Merge<PoolSource>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let mut replayer = Replayer::new(merge).pace(Pace::Speed(1.0));
/// let control = replayer.control();
/// std::thread::spawn(move || {
///     control.set_pace(Pace::Speed(10.0));
///     control.pause();
///     println!("at {} ns", control.progress().timestamp_ns);
///     control.resume();
/// });
/// while let Some(event) = replayer.next()? {
///     println!("{} ns", event.stamp.timestamp_ns);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
}

/// How far a replay has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Records that were handed out.
    pub n_records: u64,
    /// The time of the last one, ns since the Unix epoch.
    pub timestamp_ns: u64,
    /// How late the last one was; 0 unless the replay has a speed and is not held.
    pub late: Duration,
    /// The latest one so far.
    pub late_max: Duration,
    /// Where it begins: as was asked for, or the earliest record that was met; ns since the Unix epoch.
    pub first_ns: Option<u64>,
    /// In front of what it ends, as was asked for; ns since the Unix epoch.
    pub end_ns: Option<u64>,
    /// What it is doing.
    pub state: ReplayState,
}

/// What a replay is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayState {
    /// It hands out records, or waits for the next one to be due, to be there, or to be asked for.
    #[default]
    Running,
    /// It is held.
    Paused,
    /// There is nothing more; a seek goes on.
    Over,
    /// For good.
    Stopped,
}

/// What a replay is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orders {
    pub(crate) pace: Pace,
    pub(crate) is_paused: bool,
    pub(crate) is_stopped: bool,
    /// Steps that were not taken yet.
    pub(crate) n_steps: u64,
    /// A place to go to, once.
    pub(crate) seek_ns: Option<u64>,
}

#[derive(Debug)]
struct Shared {
    /// How often there were other orders.
    changes: AtomicU32,
    orders: Mutex<Orders>,
    told: Told,
}

/// What the replay tells: its own line.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Told {
    pub(crate) n_records: AtomicU64,
    pub(crate) timestamp_ns: AtomicU64,
    pub(crate) late_ns: AtomicU64,
    pub(crate) late_max_ns: AtomicU64,
    /// [`Told::UNKNOWN_NS`]: nobody knows.
    pub(crate) first_ns: AtomicU64,
    /// The same: where the sources end.
    pub(crate) end_ns: AtomicU64,
    pub(crate) is_over: AtomicU32,
}

impl Told {
    /// No time: it is the last there is, which nothing is in front of or behind.
    const UNKNOWN_NS: u64 = u64::MAX;

    fn new() -> Self {
        Self {
            n_records: AtomicU64::new(0),
            timestamp_ns: AtomicU64::new(0),
            late_ns: AtomicU64::new(0),
            late_max_ns: AtomicU64::new(0),
            first_ns: AtomicU64::new(Self::UNKNOWN_NS),
            end_ns: AtomicU64::new(Self::UNKNOWN_NS),
            is_over: AtomicU32::new(0),
        }
    }
}

impl Control {
    pub(crate) fn new() -> Self {
        let orders =
            Orders { pace: Pace::Max, is_paused: false, is_stopped: false, n_steps: 0, seek_ns: None };
        Self {
            shared: Arc::new(Shared {
                changes: AtomicU32::new(0),
                orders: Mutex::new(orders),
                told: Told::new(),
            }),
        }
    }

    /// Holds it: no record is handed out, and no time passes for it.
    pub fn pause(&self) {
        self.change(|orders| orders.is_paused = true);
    }

    /// Lets it go on, where it was held.
    pub fn resume(&self) {
        self.change(|orders| {
            orders.is_paused = false;
            if orders.pace != Pace::Step {
                orders.n_steps = 0;
            }
        });
    }

    /// One record, of [`Pace::Step`] or while it is held; nothing otherwise.
    pub fn step(&self) {
        self.change(|orders| {
            if orders.is_paused || orders.pace == Pace::Step {
                orders.n_steps += 1;
            }
        });
    }

    /// Another pace from now on. The moment that is being played stays: what is due next comes sooner or later, and nothing is passed over.
    ///
    /// # Panics
    ///
    /// When the speed is not finite and greater than 0: [`Pace::speed`] asks.
    pub fn set_pace(&self, pace: Pace) {
        assert!(pace.is_valid(), "{pace:?}: a speed is finite and greater than 0");
        self.change(|orders| {
            orders.pace = pace;
            if !orders.is_paused {
                orders.n_steps = 0;
            }
        });
    }

    /// The pace that it has, or will have with the next record.
    pub fn pace(&self) -> Pace {
        self.orders().pace
    }

    /// To the first record of that time or later, forward or back, but not to what is in front of the
    /// [beginning](super::replayer::Replayer::from_ns). What is waiting is not handed out any more. At a speed, that moment is played now; a place
    /// in front of all that was met is the first record.
    pub fn seek(&self, timestamp_ns: u64) {
        self.change(|orders| orders.seek_ns = Some(timestamp_ns));
    }

    /// Ends it: [`next`](super::replayer::Replayer::next) returns `None`, wherever it waits, and nothing more comes.
    pub fn stop(&self) {
        self.change(|orders| orders.is_stopped = true);
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let told = &self.shared.told;
        // ORDER none (Relaxed): numbers for display, each right by itself.
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let known = |word: &AtomicU64| Some(read(word)).filter(|ns| *ns != Told::UNKNOWN_NS);
        let (orders, is_over) = {
            let orders = self.orders();
            (*orders, told.is_over.load(Ordering::Relaxed) != 0)
        };
        Progress {
            n_records: read(&told.n_records),
            timestamp_ns: read(&told.timestamp_ns),
            late: Duration::from_nanos(read(&told.late_ns)),
            late_max: Duration::from_nanos(read(&told.late_max_ns)),
            first_ns: known(&told.first_ns),
            end_ns: known(&told.end_ns),
            state: match orders {
                Orders { is_stopped: true, .. } => ReplayState::Stopped,
                Orders { seek_ns: None, .. } if is_over => ReplayState::Over,
                Orders { is_paused: true, .. } => ReplayState::Paused,
                _ => ReplayState::Running,
            },
        }
    }

    /// Whether there are other orders than when it was `seen`.
    #[inline(always)]
    pub(crate) fn has_changed(&self, seen: u32) -> bool {
        // ORDER none (Relaxed): a hint; the lock around the orders carries them.
        self.shared.changes.load(Ordering::Relaxed) != seen
    }

    /// What is to be done, once, and what to compare with from now on.
    pub(crate) fn take(&self) -> (Orders, u32) {
        let mut orders = self.orders();
        let taken = *orders;
        if orders.seek_ns.take().is_some() && !taken.is_stopped {
            // Before anybody can see that the order is gone: what was over is not any more.
            // ORDER none (Relaxed): for display, and the lock carries it.
            self.shared.told.is_over.store(0, Ordering::Relaxed);
        }
        // ORDER none (Relaxed): changed under the lock.
        (taken, self.shared.changes.load(Ordering::Relaxed))
    }

    /// Takes a step that was asked for, if there is one.
    pub(crate) fn take_step(&self) -> bool {
        let mut orders = self.orders();
        let has_one = orders.n_steps > 0;
        orders.n_steps -= u64::from(has_one);
        has_one
    }

    /// Sleeps until the monotonic clock shows that time, or there are other orders than when it was `seen`.
    pub(crate) fn sleep_until(&self, until_ns: u64, seen: u32) {
        futex::sleep_until(&self.shared.changes, seen, until_ns);
    }

    /// Where the replay tells how far it is.
    #[inline(always)]
    pub(crate) fn told(&self) -> &Told {
        &self.shared.told
    }

    fn change(&self, change: impl FnOnce(&mut Orders)) {
        {
            let mut orders = self.orders();
            change(&mut orders);
            // ORDER none (Relaxed): the lock carries the orders; who sleeps compares in the kernel.
            self.shared.changes.fetch_add(1, Ordering::Relaxed);
        }
        futex::wake_here(&self.shared.changes);
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        // Whoever has it does nothing that can fail in the middle.
        self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a replay that was over is so no more from when a seek is ordered, until it is over again. Method: the steps in which an order is taken.
    #[test]
    fn who_seeks_never_sees_the_old_end() {
        let control = Control::new();
        let end = || control.told().is_over.store(1, Ordering::Relaxed);
        let state = || control.progress().state;
        end();
        assert_eq!(state(), ReplayState::Over);
        control.seek(5);
        assert_eq!(state(), ReplayState::Running);
        assert_eq!(control.take().0.seek_ns, Some(5));
        assert_eq!(state(), ReplayState::Running);
        end();
        assert_eq!((control.take().0.seek_ns, state()), (None, ReplayState::Over));
    }

    // Goal: a time of 0 is a time. Method: nothing known, and 0.
    #[test]
    fn the_beginning_of_all_time_is_told() {
        let control = Control::new();
        assert_eq!((control.progress().first_ns, control.progress().end_ns), (None, None));
        control.told().first_ns.store(0, Ordering::Relaxed);
        control.told().end_ns.store(0, Ordering::Relaxed);
        assert_eq!((control.progress().first_ns, control.progress().end_ns), (Some(0), Some(0)));
    }
}
