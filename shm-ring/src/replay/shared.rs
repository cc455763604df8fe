//! Shared: what all sources of a pool have in common: the budget, the memory, the counts.
//!
//! ```text
//!   memory cap = overhead + n sources x (fixed + least window) + what is granted beyond
//!                                                                ^ windows grow out of it, and give back into it
//! ```
//!
//! (I1) the windows of all sources together are never more than the cap leaves, but for what was granted before sources came: that is given
//! back by each that has more than the least, at its next refill; (I2) counts are only added up, nothing is decided by them but
//! rates.
//! Opens and maps nothing.

use super::helper::Helper;
use super::stage::Order;
use crate::error::Error;
use crate::map::budget::{MapBudget, MapUsage, Permit};
use crate::map::clock;
use crate::map::file::page_bytes;
use crate::map::fork::{ProcessLock, Side};
use crate::map::reserve::{Reserve, is_short};
use crate::sync::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Pages of the least window.
const WINDOW_PAGES_MIN: u64 = 8;
/// No window is larger.
pub(crate) const WINDOW_BYTES_MAX: u64 = 2 << 20;
/// How large a window is at first, where there is no cap.
pub(crate) const WINDOW_BYTES_FIRST: u64 = 64 << 10;
/// What a source takes besides its window.
const SOURCE_BYTES: u64 = 12 << 10;
/// What is kept of each record that is held back, besides its bytes.
const HEAD_BYTES: u64 = 32;
/// What the process takes besides its sources, at most; an eighth of the cap, if that is less.
const OVERHEAD_BYTES_MAX: u64 = 24 << 20;

/// What a pool and its sources have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) budget: MapBudget,
    pub(crate) order: Order,
    /// Sources that may grow promise to be no later than that.
    pub(crate) lateness: Option<Duration>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) boot_id: [u64; 2],
    /// For when the system has no descriptor or no map left.
    pub(crate) reserve: Reserve,
    pub(crate) counts: Counts,
    /// Bytes of windows beyond the least.
    granted_bytes: AtomicU64,
    /// What some sources take beyond what every one does.
    extra_bytes: AtomicU64,
    /// What parked sources read lately, of 2^32 that are read by all: a moving average.
    parked_rate: AtomicU64,
    /// Devices that were seen to be of this machine.
    local: Mutex<Vec<u64>>,
    helper: OnceLock<Option<Helper>>,
}

/// See [`PoolStats`](super::pool::PoolStats).
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) n_sources: AtomicU64,
    pub(crate) n_mapped: AtomicU64,
    /// Sources that wait for no map: that have ended or failed, and those of rings.
    pub(crate) n_over: AtomicU64,
    pub(crate) n_hits: AtomicU64,
    pub(crate) n_faults: AtomicU64,
    pub(crate) n_evictions: AtomicU64,
    pub(crate) n_advice: AtomicU64,
    pub(crate) ahead_bytes: AtomicU64,
    pub(crate) dropped_bytes: AtomicU64,
    /// Bytes that were staged by all sources.
    pub(crate) read_bytes: AtomicU64,
}

pub(crate) fn add(count: &AtomicU64, n: u64) {
    // ORDER none (Relaxed): a count.
    count.fetch_add(n, Ordering::Relaxed);
}

pub(crate) fn load(count: &AtomicU64) -> u64 {
    // ORDER none (Relaxed): a count.
    count.load(Ordering::Relaxed)
}

fn subtract(count: &AtomicU64, n: u64) {
    // ORDER none (Relaxed): a count.
    count.fetch_sub(n, Ordering::Relaxed);
}

impl Shared {
    pub(crate) fn new(
        budget: MapBudget,
        order: Order,
        lateness: Option<Duration>,
        memory_bytes: Option<u64>,
    ) -> Self {
        Self {
            budget,
            order,
            lateness,
            memory_bytes,
            boot_id: clock::boot_id(),
            reserve: Reserve::default(),
            counts: Counts::default(),
            granted_bytes: AtomicU64::new(0),
            extra_bytes: AtomicU64::new(0),
            parked_rate: AtomicU64::new(0),
            local: Mutex::default(),
            helper: OnceLock::new(),
        }
    }

    /// The least that a window has.
    pub(crate) fn window_bytes_min() -> u64 {
        WINDOW_PAGES_MIN * page_bytes()
    }

    /// What a source takes besides its window and what it holds back.
    fn source_bytes(&self) -> u64 {
        SOURCE_BYTES.saturating_add(HEAD_BYTES.saturating_mul(self.order.n_held() as u64))
    }

    /// What so many take so.
    fn sources_bytes(&self, n_sources: u64) -> u64 {
        n_sources.saturating_mul(self.source_bytes()).saturating_add(load(&self.extra_bytes))
    }

    /// What all windows may have together, if there is a cap and it leaves something.
    pub(super) fn windows_bytes(&self, n_sources: u64) -> Option<u64> {
        let cap = self.memory_bytes?;
        let overhead = (OVERHEAD_BYTES_MAX.min(cap / 8)).saturating_add(self.sources_bytes(n_sources));
        // An eighth is left for pages that reading reaches into on both sides.
        Some(cap.saturating_sub(overhead) / 8 * 7)
    }

    /// Who begins to read files, for a pool without a cap.
    pub(crate) fn helper(&self) -> Option<&Helper> {
        if self.memory_bytes.is_some() {
            return None;
        }
        if let Some(started) = self.helper.get() {
            return started.as_ref();
        }
        // Forks are kept out by who knows of them.
        let side = Side::current().ok()?;
        // No fork meanwhile: a child would wait for ever for who is starting it, and is not there.
        let _held = ProcessLock::take();
        self.helper.get_or_init(|| Helper::start(side)).as_ref()
    }

    /// Opens something, if need be out of the reserve.
    pub(crate) fn open<T>(&self, attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let is_short_now = |error: &Error| matches!(error, Error::Io { source, .. } if is_short(source));
        self.reserve.with(is_short_now, attempt)
    }

    /// One more source.
    pub(crate) fn admit(&self) -> Result<(), Error> {
        self.check(load(&self.counts.n_sources) + 1)?;
        add(&self.counts.n_sources, 1);
        Ok(())
    }

    /// A source takes more than others do.
    pub(crate) fn charge(&self, extra_bytes: u64) -> Result<(), Error> {
        add(&self.extra_bytes, extra_bytes);
        self.check(load(&self.counts.n_sources)).inspect_err(|_| self.discharge(extra_bytes))
    }

    /// It no longer does.
    pub(crate) fn discharge(&self, extra_bytes: u64) {
        subtract(&self.extra_bytes, extra_bytes);
    }

    /// Whether there is memory for so many.
    pub(crate) fn check(&self, n_sources: u64) -> Result<(), Error> {
        let least = n_sources * Self::window_bytes_min();
        if self.windows_bytes(n_sources).is_some_and(|bytes| bytes < least) {
            let cap = self.memory_bytes.unwrap_or(0);
            // So that seven eighths of what is left behind the overhead are enough.
            let behind = (least / 7 * 8 + 8).saturating_add(self.sources_bytes(n_sources)).min(u64::MAX / 16);
            let needed = (behind + OVERHEAD_BYTES_MAX).min(behind / 7 * 8 + 8);
            return Err(Error::Invalid {
                option: "memory_bytes",
                expected: format!(
                    "at least {needed} for {n_sources} sources, or fewer sources: `shm-ring compact` makes one log of many"
                ),
                found: cap.to_string(),
            });
        }
        Ok(())
    }

    /// The source is gone.
    pub(crate) fn dismiss(&self) {
        subtract(&self.counts.n_sources, 1);
    }

    /// A source has no map any more.
    pub(crate) fn leave(&self) {
        subtract(&self.counts.n_mapped, 1);
    }

    /// A window of as many bytes as are wanted, or as there are: what it had before is `had_bytes`, 0 at first. Without a cap, as wanted.
    pub(crate) fn grant(&self, had_bytes: u64, wanted_bytes: u64) -> u64 {
        let least = Self::window_bytes_min();
        let wanted = wanted_bytes.clamp(least, WINDOW_BYTES_MAX);
        let n_sources = load(&self.counts.n_sources).max(1);
        let Some(windows) = self.windows_bytes(n_sources) else { return wanted };
        let had_more = had_bytes.saturating_sub(least);
        let free = windows.saturating_sub(n_sources * least);
        // Back first, so that what is had counts as free. Two that ask at once may both be refused what one could have.
        let granted = self.granted_bytes.fetch_sub(had_more, Ordering::Relaxed) - had_more;
        let more = (wanted - least).min(free.saturating_sub(granted));
        let before = self.granted_bytes.fetch_add(more, Ordering::Relaxed);
        if before + more > free {
            let less = more.min(before + more - free);
            subtract(&self.granted_bytes, less);
            return least + (more - less);
        }
        least + more
    }

    /// What is left of a window that was granted before there were as many sources.
    pub(crate) fn fit(&self, had_bytes: u64) -> u64 {
        let n_sources = load(&self.counts.n_sources).max(1);
        let Some(windows) = self.windows_bytes(n_sources) else { return had_bytes };
        let free = windows.saturating_sub(n_sources * Self::window_bytes_min());
        if load(&self.granted_bytes) <= free { had_bytes } else { self.grant(had_bytes, had_bytes) }
    }

    /// The first window of a source: all the same.
    pub(crate) fn first_window(&self) -> u64 {
        let n_sources = load(&self.counts.n_sources).max(1);
        let equal = self.windows_bytes(n_sources).map_or(WINDOW_BYTES_FIRST, |bytes| bytes / n_sources);
        self.grant(0, equal)
    }

    /// What a source has that reads such a part, in 2^-32, of all that is read.
    pub(crate) fn window_by_rate(&self, had_bytes: u64, rate: u64) -> u64 {
        let n_sources = load(&self.counts.n_sources).max(1);
        let Some(windows) = self.windows_bytes(n_sources) else { return had_bytes };
        let least = Self::window_bytes_min();
        let free = windows.saturating_sub(n_sources * least);
        let part = (u128::from(free) * u128::from(rate)) >> 32;
        self.grant(had_bytes, least + u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// A window is given back.
    pub(crate) fn ungrant(&self, had_bytes: u64) {
        if self.memory_bytes.is_some() {
            subtract(&self.granted_bytes, had_bytes.saturating_sub(Self::window_bytes_min()));
        }
    }

    /// Leave to have so many bytes mapped.
    pub(crate) fn permit(&self, usage: MapUsage) -> Option<Permit> {
        self.budget.try_acquire(usage)
    }

    /// A source that was over is read again.
    pub(crate) fn resume(&self) {
        subtract(&self.counts.n_over, 1);
    }

    /// How many sources are read without a map.
    pub(crate) fn n_parked(&self) -> u64 {
        let have_or_end = load(&self.counts.n_mapped) + load(&self.counts.n_over);
        load(&self.counts.n_sources).saturating_sub(have_or_end)
    }

    /// A parked source reads at that rate.
    pub(crate) fn note_parked(&self, rate: u64) {
        // ORDER none (Relaxed): an average, of which a note that is lost takes nothing.
        let before = self.parked_rate.load(Ordering::Relaxed);
        self.parked_rate.store(before - before / 16 + rate / 16, Ordering::Relaxed);
    }

    /// What parked sources read on average, in 2^-32 of all.
    pub(crate) fn parked_rate(&self) -> u64 {
        load(&self.parked_rate)
    }

    /// Asks once for each device.
    pub(crate) fn is_local(&self, device: u64, ask: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let mut local = self.local.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !local.contains(&device) {
            ask()?;
            local.push(device);
        }
        Ok(())
    }
}
