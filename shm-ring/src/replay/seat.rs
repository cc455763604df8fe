//! Seat: whether a source has its bytes mapped, or comes for each block of them.
//!
//! ```text
//!   mapped --refill: slower than those who wait, or as slow as none--> parked   (an eviction)
//!   parked --refill: there is a permit, and it is not too slow-------> mapped
//!   either --its source has ended or failed--> over: has nothing, and waits for nothing, until it is read again
//!   aside: a ring, or a log with its ring: as over, all the time
//! ```
//!
//! (I1) a source that is mapped holds a permit of the budget; (I2) nobody takes a permit from another: a source looks at its own rate and at
//! that of those who wait, at its own refills.
//! Maps nothing: its owner does.

use super::shared::{Shared, add};
use super::window::Window;
use crate::map::budget::{MapUsage, Permit};
use std::sync::Arc;

/// A source's place in its pool.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) shared: Arc<Shared>,
    permit: Option<Permit>,
    pub(crate) window: Window,
    /// What part of all bytes that are read are read here, in 2^-32: as far as is known.
    rate: Option<u64>,
    /// Memory that it takes beyond what every source does.
    extra_bytes: u64,
    /// It waits for nothing.
    is_over: bool,
}

/// Bytes of a block that is copied, where no cap says less.
const BLOCK_BYTES: u64 = 64 << 10;
const BLOCK_BYTES_MIN: u64 = 4 << 10;

impl Seat {
    /// A place in the pool, if there is memory for one more.
    pub(crate) fn new(shared: &Arc<Shared>) -> Result<Self, crate::error::Error> {
        shared.admit()?;
        Ok(Self {
            shared: Arc::clone(shared),
            permit: None,
            window: Window::default(),
            rate: None,
            extra_bytes: 0,
            is_over: false,
        })
    }

    /// The same, for a source that waits for no map: what it has mapped is not the pool's to give.
    pub(crate) fn aside(shared: &Arc<Shared>) -> Result<Self, crate::error::Error> {
        let mut this = Self::new(shared)?;
        this.wait_for_none();
        Ok(this)
    }

    /// Takes more memory than others do, if there is any.
    pub(crate) fn charge(&mut self, extra_bytes: u64) -> Result<(), crate::error::Error> {
        self.shared.charge(extra_bytes)?;
        self.extra_bytes += extra_bytes;
        Ok(())
    }

    /// Whether it has leave to be mapped.
    #[inline(always)]
    pub(crate) fn is_mapped(&self) -> bool {
        self.permit.is_some()
    }

    /// Asks for leave to be mapped; true: it has it now.
    pub(crate) fn sit(&mut self, usage: MapUsage) -> bool {
        if self.permit.is_none() {
            self.permit = self.shared.permit(usage);
            if self.permit.is_some() {
                self.go_on();
                add(&self.shared.counts.n_mapped, 1);
            }
        }
        self.is_mapped()
    }

    /// Gives that leave back.
    pub(crate) fn stand(&mut self) {
        if self.permit.take().is_some() {
            self.shared.leave();
        }
    }

    /// Whether it gives its map up to one that waits for one and reads more, at a refill.
    #[inline]
    pub(crate) fn yields(&self) -> bool {
        self.is_mapped()
            && self.shared.n_parked() > 0
            && self.rate.is_some_and(|rate| rate < self.shared.parked_rate() / 2)
    }

    /// Gives it up so.
    pub(crate) fn evict(&mut self) {
        add(&self.shared.counts.n_evictions, 1);
        self.stand();
    }

    /// Its source has ended or failed: gives back all that others wait for.
    pub(crate) fn end(&mut self) {
        self.stand();
        self.window.end(&self.shared);
        self.wait_for_none();
    }

    fn wait_for_none(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            add(&self.shared.counts.n_over, 1);
        }
    }

    /// The source reads again.
    fn go_on(&mut self) {
        if std::mem::replace(&mut self.is_over, false) {
            self.shared.resume();
        }
    }

    /// Whether it may ask for a map: not while it reads less than half of what others do who wait.
    pub(crate) fn may_ask(&self) -> bool {
        self.rate.is_none_or(|rate| rate >= self.shared.parked_rate() / 2)
    }

    /// So many bytes were read in a refill, that found them mapped or not.
    #[inline]
    pub(crate) fn note(&mut self, n_bytes: u64, was_mapped: bool) {
        self.go_on();
        let counts = &self.shared.counts;
        add(&counts.read_bytes, n_bytes);
        add(if was_mapped { &counts.n_hits } else { &counts.n_faults }, 1);
        if let Some(rate) = self.window.note(&self.shared, n_bytes) {
            self.rate = Some(rate);
            if !self.is_mapped() {
                self.shared.note_parked(rate);
            }
        }
    }

    /// So many bytes were read by one that waits for no map.
    pub(crate) fn note_aside(&mut self, n_bytes: u64) {
        add(&self.shared.counts.read_bytes, n_bytes);
        // Its window goes by the rate; nothing else does.
        self.window.note(&self.shared, n_bytes);
    }

    /// How much is copied at once.
    pub(crate) fn block_bytes(&mut self) -> u64 {
        match self.shared.memory_bytes {
            // As much is in the page cache while it is copied.
            Some(_) => {
                self.window.fit(&self.shared);
                (self.window.bytes(&self.shared) / 2).max(BLOCK_BYTES_MIN)
            }
            None => BLOCK_BYTES,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stand();
        self.go_on();
        self.window.end(&self.shared);
        self.shared.discharge(self.extra_bytes);
        self.shared.dismiss();
    }
}
