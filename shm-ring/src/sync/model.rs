//! Model: the atomics and fences of loom or shuttle in place of the processor's, and death between any two of them.
//!
//! ```text
//!   protocol -> AtomicU64::store -> may the thread go on? --yes--> loom or shuttle
//!                                        +-- no: unwinds with `Died`, caught by `mortal`, at the top of the modelled process
//! ```
//! A death in front of a load leaves the same memory as one in front of the next store, so under loom, where every place of death is a
//! run of its own, only stores, read-modify-writes and fences count; under shuttle, where places are drawn, loads do too.
//!
//! (I1) a dead thread touches nothing any more: what its destructors would store is dropped, as a killed process runs none.
//! (I2) whatever a model checker offers is named here and nowhere else in `frame/` and `ring/`.
//! Knows nothing of rings.

use nix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

#[cfg(loom)]
use loom as checker;
#[cfg(shuttle)]
use shuttle as checker;

use checker::sync::atomic as foreign;
pub(crate) use checker::sync::atomic::Ordering;
pub(crate) use checker::sync::{Condvar, Mutex};
pub(crate) use checker::thread::{spawn, yield_now};

/// A word of the checker, without deaths: what the kernel keeps.
pub(crate) type KernelWord = foreign::AtomicU64;

/// What a thread unwinds with when its process is killed.
struct Died;

/// As many steps as it likes.
const IMMORTAL: u64 = u64::MAX;
/// No step more: the process is gone.
const GONE: u64 = u64::MAX - 1;

checker::thread_local! {
    static STEPS_LEFT: Cell<u64> = Cell::new(IMMORTAL);
}

/// Who is killed, for the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A producer or a consumer.
    Worker,
    /// Whoever reaps one.
    Reaper,
}

/// Runs a process that is killed in front of its step number `steps`, counted from 0; `None`: it was.
pub(crate) fn mortal<T>(who: Who, steps: Option<u64>, process: impl FnOnce() -> T) -> Option<T> {
    STEPS_LEFT.with(|left| left.set(steps.unwrap_or(IMMORTAL)));
    let end = catch_unwind(AssertUnwindSafe(process));
    STEPS_LEFT.with(|left| left.set(IMMORTAL));
    match end {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Died>() => {
            DEATHS[who as usize].fetch_add(1, Ordering::Relaxed);
            None
        }
        Err(payload) => resume_unwind(payload),
    }
}

/// Whether the thread is unwinding because its process was killed.
pub(crate) fn is_gone() -> bool {
    STEPS_LEFT.with(Cell::get) == GONE
}

/// A step between two calls of the library: a place to be killed at with everything done.
pub(crate) fn rest() {
    step();
}

fn step() {
    let left = STEPS_LEFT.with(Cell::get);
    match left {
        IMMORTAL => {}
        GONE => unreachable!("a dead process reached shared memory"),
        0 => {
            STEPS_LEFT.with(|left| left.set(GONE));
            resume_unwind(Box::new(Died));
        }
        _ => STEPS_LEFT.with(|cell| cell.set(left - 1)),
    }
}

fn step_of_load() {
    if cfg!(shuttle) {
        step();
    }
}

/// As `std::sync::atomic::fence`.
pub(crate) fn fence(ordering: Ordering) {
    step();
    foreign::fence(ordering);
}

/// A look of a waiting loop: somebody else has to move first.
pub(crate) fn spin_hint() {
    checker::hint::spin_loop();
}

/// Bytes that are no atomic, in which nothing stands: loom finds two accesses that nothing orders.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    #[cfg(loom)]
    cell: loom::cell::UnsafeCell<()>,
}

// SAFETY: there is no byte in it, and loom's own bookkeeping is behind a lock.
unsafe impl Sync for Plain {}

impl Plain {
    /// As if they were written.
    pub(crate) fn write(&self) {
        #[cfg(loom)]
        self.cell.with_mut(|_| ());
    }

    /// As if they were read.
    pub(crate) fn read(&self) {
        #[cfg(loom)]
        self.cell.with(|_| ());
    }
}

macro_rules! atomic {
    ($name:ident, $word:ty $(, $field:ident: $type:ty = $init:expr)*) => {
        /// A word that processes share.
        pub(crate) struct $name {
            word: foreign::$name,
            $(pub(crate) $field: $type,)*
        }

        impl $name {
            pub(crate) fn new(value: $word) -> Self {
                Self { word: foreign::$name::new(value), $($field: $init,)* }
            }

            pub(crate) fn load(&self, ordering: Ordering) -> $word {
                step_of_load();
                self.word.load(ordering)
            }

            pub(crate) fn store(&self, value: $word, ordering: Ordering) {
                step();
                self.word.store(value, ordering);
            }

            pub(crate) fn swap(&self, value: $word, ordering: Ordering) -> $word {
                step();
                self.word.swap(value, ordering)
            }

            pub(crate) fn fetch_add(&self, value: $word, ordering: Ordering) -> $word {
                step();
                self.word.fetch_add(value, ordering)
            }

            pub(crate) fn fetch_sub(&self, value: $word, ordering: Ordering) -> $word {
                step();
                self.word.fetch_sub(value, ordering)
            }

            pub(crate) fn fetch_max(&self, value: $word, ordering: Ordering) -> $word {
                step();
                self.word.fetch_max(value, ordering)
            }

            pub(crate) fn fetch_or(&self, value: $word, ordering: Ordering) -> $word {
                step();
                self.word.fetch_or(value, ordering)
            }

            pub(crate) fn fetch_and(&self, value: $word, ordering: Ordering) -> $word {
                step();
                self.word.fetch_and(value, ordering)
            }

            pub(crate) fn compare_exchange(
                &self,
                old: $word,
                new: $word,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$word, $word> {
                step();
                self.word.compare_exchange(old, new, success, failure)
            }

            pub(crate) fn compare_exchange_weak(
                &self,
                old: $word,
                new: $word,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$word, $word> {
                step();
                self.word.compare_exchange_weak(old, new, success, failure)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Looking at the value would be a step of the model.
                f.write_str(stringify!($name))
            }
        }
    };
}

atomic!(AtomicU64, u64);
// The kernel's queue of those who sleep on the word: see `map/model/futex.rs`.
atomic!(AtomicU32, u32, queue: Mutex<()> = Mutex::new(()), woken: Condvar = Condvar::new());

/// How far a model goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// loom: how often a thread may be interrupted where it does not wait.
    preemptions: usize,
    /// shuttle: random schedules, half of them with few but ill-placed switches.
    schedules: usize,
}

impl Bounds {
    /// For loom: so many interruptions, or so many when everything is to be checked.
    pub(crate) fn preemptions(quick: usize, full: usize) -> Self {
        Self { preemptions: if is_full() { full } else { quick }, schedules: 0 }
    }

    /// For shuttle: so many schedules, or twenty times as many.
    pub(crate) fn schedules(quick: usize) -> Self {
        Self { preemptions: 0, schedules: if is_full() { quick * 20 } else { quick } }
    }
}

/// Whether everything is to be checked: `SHM_RING_MODELS=full`.
pub(crate) fn is_full() -> bool {
    std::env::var("SHM_RING_MODELS").is_ok_and(|value| value == "full")
}

/// What running a model brought.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Explored {
    /// Executions, each a schedule of its own.
    pub(crate) executions: u64,
    /// Processes that were killed in them: workers and reapers.
    pub(crate) deaths: [u64; 2],
    /// The largest bound of preemptions, under loom.
    pub(crate) preemptions: usize,
    /// Explorations that did not come to their end.
    pub(crate) cut: u64,
    /// How long it kept a processor busy: the same on a machine that has more to do.
    pub(crate) busy: Duration,
}

impl Explored {
    /// Adds another run's.
    pub(crate) fn add(&mut self, other: Self) {
        self.executions += other.executions;
        self.deaths = [0, 1].map(|who| self.deaths[who] + other.deaths[who]);
        self.preemptions = self.preemptions.max(other.preemptions);
        self.cut += other.cut;
        self.busy += other.busy;
    }

    /// One line about it.
    #[expect(clippy::print_stdout, reason = "what a model covered is its result")]
    pub(crate) fn tell(&self, what: &str) {
        let Self { executions, deaths: [workers, reapers], preemptions, cut, busy } = self;
        let bound = if cfg!(loom) { format!(", up to {preemptions} preemptions") } else { String::new() };
        let killed = format!("{workers} workers and {reapers} reapers killed");
        let cut = if *cut > 0 { format!(", {cut} EXPLORATIONS CUT OFF") } else { String::new() };
        println!("{what}{bound}: {executions} executions, {killed}, {:.1} s{cut}", busy.as_secs_f64());
    }
}

static EXECUTIONS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
static DEATHS: [std::sync::atomic::AtomicU64; 2] = [const { std::sync::atomic::AtomicU64::new(0) }; 2];

/// Runs every schedule, or as many as the bounds say. One model at a time: the counts are shared.
pub(crate) fn explore(bounds: Bounds, scenario: impl Fn() + Send + Sync + 'static) -> Explored {
    let counts = || [&EXECUTIONS, &DEATHS[0], &DEATHS[1]].map(|count| count.load(Ordering::Relaxed));
    let before = counts();
    let (start, busy) = (Instant::now(), busy());
    run(bounds, move || {
        EXECUTIONS.fetch_add(1, Ordering::Relaxed);
        scenario();
    });
    let after = counts();
    let [executions, workers, reapers] = [0, 1, 2].map(|i| after[i] - before[i]);
    let preemptions = bounds.preemptions;
    let cut = u64::from(cfg!(loom) && start.elapsed() >= LONGEST);
    Explored { executions, deaths: [workers, reapers], preemptions, cut, busy: self::busy() - busy }
}

/// Processor time of this process so far.
fn busy() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("every Linux has it").into()
}

/// loom: no exploration goes on for longer; what was not looked at then is said.
const LONGEST: Duration = Duration::from_secs(300);

#[cfg(loom)]
fn run(bounds: Bounds, scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(bounds.preemptions));
    model.max_branches = 20_000;
    model.max_duration = Some(LONGEST);
    // How often it looks at the clock.
    model.checkpoint_interval = 1000;
    model.check(scenario);
}

#[cfg(shuttle)]
fn run(bounds: Bounds, scenario: impl Fn() + Send + Sync + 'static) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    /// Any will do; `SHUTTLE_RANDOM_SEED` sets another.
    const SEED: u64 = 1;
    let mut config = shuttle::Config::new();
    config.silence_warnings = true;
    let scenario = std::sync::Arc::new(scenario);
    let half = bounds.schedules / 2;
    let again = std::sync::Arc::clone(&scenario);
    shuttle::Runner::new(RandomScheduler::new_from_seed(SEED, half), config.clone()).run(move || again());
    shuttle::Runner::new(PctScheduler::new_from_seed(SEED, 4, half), config).run(move || scenario());
}

/// A number below `end`, drawn anew in every schedule.
#[cfg(shuttle)]
pub(crate) fn draw(end: u64) -> u64 {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_range(0..end)
}
