//! Wait: how readers and producers wait for each other, and who wakes them.
//!
//! A wait word is a counter with a waiting bit (bit 0):
//!
//! ```text
//!   sleeper: word |= 1 ---- heavy fence ---- look again ---- sleep while word == what I set
//!   waker:   commit ------- light fence ---- bit set? then word += 1 (clears it, counts) ---- wake all
//! ```
//! Sleepers never clear the bit: with a plain bit, two sleepers and one waker can lose a wake-up. While nobody sleeps, a commit costs a
//! load of a line that nobody writes: no fence, no system call.
//!
//! (I1) everything that can end a wait wakes; (I2) every sleep has a bound, a net for a peer that died between commit and wake; (I3) a
//! spin that is shorter than a wake-up puts two partners to sleep in turn, so the spin is longer than that, as measured by the sleepers.

use crate::layout::slots::Waits;
use crate::map::{clock, futex};
use crate::sync::{self, AtomicU32, Ordering, Point, kill_point};
use std::time::{Duration, Instant};

/// How a handle waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Looks without pause; yields the processor now and then. Lowest latency, one core.
    Spin,
    /// Looks, and yields the processor between looks.
    Yield,
    /// Sleeps at once. No processor time while nothing happens, a wake-up (30 to 60 us) when it does.
    Block,
    /// Spins for longer than a wake-up takes, then sleeps.
    #[default]
    Adaptive,
}

/// No sleep is longer.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// No sleep is longer when the kernel lacks membarrier: the waker may not see us.
const SLEEP_UNFENCED: Duration = Duration::from_millis(1);
/// A bit that others set again so often is forged; a sleeper that is missed has its bound.
const WAKES_MAX: u32 = 1 << 16;
/// How long the adaptive wait looks for a claim's end, or its owner's, before it sleeps.
const CLAIM_SPIN: Duration = Duration::from_millis(1);
/// Looks before the clock is asked or the processor is given away.
const LOOKS_A_ROUND: u32 = 64;
/// Bounds of the adaptive spin.
const SPIN_NS: std::ops::RangeInclusive<u64> = 50_000..=200_000;

/// One wait, from the first fruitless look on.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    waits: &'a Waits,
    word: &'a AtomicU32,
    strategy: Wait,
    deadline: Option<Instant>,
    /// When the first round of looks was over: a clock costs as much as some looks, and most waits are shorter.
    start: Option<Instant>,
    looks: u32,
    slept: bool,
}

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again.
    Look,
    /// Look again, and see whether those that it waits for are alive.
    Probe,
    /// The deadline has passed.
    Expired,
}

/// Who is in the way of a handle that waits, and may be dead: a death wakes nobody, so it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldUp {
    /// Nobody: there is nothing to wait for yet.
    No,
    /// A claim that is not committed: its owner is at it, or dead.
    Claim,
    /// Whoever holds the space that a producer wants.
    Space,
    /// A record that another member of the group works on, which may take its time.
    Work,
}

impl HeldUp {
    /// How long to sleep before looking for the dead again, after waiting so long: what a death adds to a wait is a small part of it.
    fn bound(self, waited: Duration) -> Duration {
        match self {
            Self::No => SLEEP_MAX,
            Self::Claim => (waited / 64).clamp(Duration::from_micros(50), SLEEP_MAX / 20),
            Self::Space => (waited / 8).clamp(Duration::from_micros(200), SLEEP_MAX / 5),
            Self::Work => (waited / 8).clamp(Duration::from_micros(500), SLEEP_MAX / 2),
        }
    }
}

/// Which of the two words a handle sleeps on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// A record.
    Data,
    /// Room for one.
    Space,
}

impl<'a> Waiting<'a> {
    /// Begins to wait.
    pub(crate) fn new(waits: &'a Waits, what: For, strategy: Wait, deadline: Option<Instant>) -> Self {
        let word = match what {
            For::Data => &waits.data,
            For::Space => &waits.space,
        };
        Self { waits, word, strategy, deadline, start: None, looks: 0, slept: false }
    }

    /// One step of waiting; `look` is the second look.
    pub(crate) fn step(&mut self, held_up: impl FnOnce() -> HeldUp, mut look: impl FnMut() -> bool) -> Next {
        self.looks = self.looks.wrapping_add(1);
        if self.looks % LOOKS_A_ROUND != 0 && self.strategy != Wait::Block {
            match self.strategy {
                Wait::Yield => sync::yield_now(),
                _ => sync::spin_hint(),
            }
            return Next::Look;
        }
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Next::Expired;
        }
        let waited = now - *self.start.get_or_insert(now);
        let sleeps = match self.strategy {
            Wait::Spin | Wait::Yield => false,
            Wait::Block => true,
            Wait::Adaptive => self.slept || waited > self.spin_budget(),
        };
        // Read once: it may look at the producers' line.
        let held_up = if sleeps { held_up() } else { HeldUp::No };
        if held_up == HeldUp::Claim && self.strategy == Wait::Adaptive && !self.slept && waited < CLAIM_SPIN {
            // Whoever claimed is done in a moment, or dead, and then the kernel is.
            sync::yield_now();
            return Next::Probe;
        }
        if !sleeps {
            // On more processes than processors, a spinning waiter would keep the one it waits for from running.
            if waited > Duration::from_micros(5) {
                sync::yield_now();
            }
            // The fourth round is some microseconds away; later ones are rare enough to afford a probe.
            return if self.looks % (LOOKS_A_ROUND * 64) == 0 { Next::Probe } else { Next::Look };
        }
        let mut bound = held_up.bound(waited);
        if let Some(deadline) = self.deadline {
            bound = bound.min(deadline - now);
        }
        self.sleep(bound, &mut look);
        self.slept = true;
        if self.strategy == Wait::Adaptive {
            // Nothing to spin for until something has come.
            self.looks = LOOKS_A_ROUND - 1;
        }
        Next::Probe
    }

    fn sleep(&self, bound: Duration, look: &mut impl FnMut() -> bool) {
        // ORDER W1 (AcqRel, and the heavy fence behind it, pairs with W2): the bit is set before the second look.
        let value = self.word.fetch_or(1, Ordering::AcqRel) | 1;
        kill_point(Point::SleepBit);
        let bound = if sync::heavy() { bound } else { bound.min(SLEEP_UNFENCED) };
        kill_point(Point::SleepFence);
        if look() {
            return;
        }
        kill_point(Point::SleepLooked);
        futex::sleep(self.word, value, bound);
        kill_point(Point::SleepOver);
        self.learn();
    }

    /// If this was a wake and not a time-out, remembers how long it took.
    fn learn(&self) {
        // ORDER none (Relaxed): a hint, clamped wherever it is used.
        let woken_at = self.waits.woken_at_ns.load(Ordering::Relaxed);
        let took = clock::monotonic_ns().saturating_sub(woken_at);
        if took <= *SPIN_NS.end() {
            futex::learn_wake_up(took);
        }
    }

    fn spin_budget(&self) -> Duration {
        Duration::from_nanos((futex::wake_up_ns() * 3 / 2).clamp(*SPIN_NS.start(), *SPIN_NS.end()))
    }
}

/// Wakes those who wait for data or space, if there are any. To be called after the store that ends their wait and a light fence.
#[inline(always)]
pub(crate) fn wake_sleepers(waits: &Waits) {
    // ORDER W2 (Relaxed, behind a light fence, pairs with W1): either this sees the bit, or the sleeper's second look sees our store.
    let waiting = waits.data.load(Ordering::Relaxed) | waits.space.load(Ordering::Relaxed);
    if waiting & 1 != 0 {
        wake_everybody(waits);
    }
}

/// Wakes whoever sleeps on either word.
#[cold]
#[inline(never)]
pub(crate) fn wake_everybody(waits: &Waits) {
    for word in [&waits.data, &waits.space] {
        let mut value = word.load(Ordering::Relaxed);
        for _ in 0..WAKES_MAX {
            if value & 1 == 0 {
                break;
            }
            // Clears the bit and counts: a sleeper that set it before finds another value and does not sleep.
            // ORDER W2 (AcqRel, pairs with W1): what this process stored is visible to whoever sees the new count.
            match word.compare_exchange_weak(
                value,
                value.wrapping_add(1),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    kill_point(Point::WakeCounted);
                    waits.woken_at_ns.store(clock::monotonic_ns(), Ordering::Relaxed);
                    futex::wake_all(word);
                    kill_point(Point::WakeDone);
                    break;
                }
                Err(newer) => value = newer,
            }
        }
    }
}

/// The edge of the ring: how long a reader that has caught up leaves the line alone before it looks again.
///
/// A look at the line that the producer is writing takes it away from the producer: the same code then moves a fifth of the records.
/// A fixed delay restores the rate and costs latency, so the delay adapts. A burst is what is found between two fruitless looks. When it
/// held two records or more, or once in `patience` bursts as a trial, the reader pauses before the next look. If that found fewer than
/// two, pausing does not pay and the trials get rarer; fewer than a dozen: longer pauses; more than 48: shorter ones.
#[derive(Debug)]
pub(crate) struct Edge {
    on: bool,
    pauses: u32,
    burst: u32,
    patience: u32,
    until_trial: u32,
}

const PAUSES: std::ops::RangeInclusive<u32> = 4..=48;
const PATIENCE: std::ops::RangeInclusive<u32> = 16..=4096;

impl Edge {
    /// Begins without pauses.
    pub(crate) fn new() -> Self {
        Self { on: true, pauses: 0, burst: 0, patience: *PATIENCE.start(), until_trial: *PATIENCE.start() }
    }

    /// Switches it, for measurements.
    pub(crate) fn set(&mut self, on: bool) {
        *self = Self { on, ..Self::new() };
    }

    /// A record was found.
    #[inline(always)]
    pub(crate) fn found(&mut self) {
        self.burst = self.burst.saturating_add(1);
    }

    /// A look was fruitless: pauses as long as it pays.
    #[inline]
    pub(crate) fn fruitless(&mut self) {
        if self.burst == 0 || !self.on {
            return;
        }
        self.adapt();
        for _ in 0..self.pauses {
            sync::spin_hint();
        }
    }

    fn adapt(&mut self) {
        let burst = std::mem::take(&mut self.burst);
        if self.pauses == 0 {
            self.until_trial = self.until_trial.saturating_sub(1);
            if burst >= 2 || self.until_trial == 0 {
                self.pauses = *PAUSES.start();
                self.until_trial = self.patience;
            }
        } else if burst < 2 {
            self.pauses = 0;
            self.patience = (self.patience * 2).min(*PATIENCE.end());
            self.until_trial = self.patience;
        } else {
            self.patience = *PATIENCE.start();
            if burst < 12 {
                self.pauses = (self.pauses + 4).min(*PAUSES.end());
            } else if burst > 48 {
                self.pauses = (self.pauses - 4).max(*PAUSES.start());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: one record at a time never pays for pauses. Method: a million bursts of one; pauses only at ever rarer trials.
    #[test]
    fn ping_pong_hardly_ever_pauses() {
        let mut edge = Edge::new();
        let mut paused = 0;
        for _ in 0..1_000_000 {
            edge.found();
            edge.adapt();
            paused += u32::from(edge.pauses > 0);
        }
        assert!(paused < 300, "{paused}");
    }

    // Goal: a stream settles at a dozen records or more a look. Method: a producer that makes a record per two pauses.
    #[test]
    fn a_stream_settles_at_a_dozen_a_look() {
        let mut edge = Edge::new();
        let mut burst = 2;
        for _ in 0..1000 {
            edge.burst = burst;
            edge.adapt();
            burst = 1 + edge.pauses / 2;
        }
        assert!((12..=48).contains(&burst), "{burst}");
    }
}
