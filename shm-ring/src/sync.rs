//! Sync: the one door to atomics and fences for everything that reaches shared memory.
//!
//! The protocol (`frame/`, `ring/`) names its atomics through this file only, so that a model checker can put its own in their
//! place and run the very same code: see `docs/models.md` and `sync/model.rs`.
//!
//! (I1) no file of `frame/` or `ring/` imports an atomic from elsewhere; (I2) the asymmetric pair below is used as a pair.
//! Decides nothing; has no state besides the registration of this process.

pub(crate) mod killpoint;
#[cfg(any(loom, shuttle))]
pub(crate) mod model;

pub(crate) use killpoint::{Point, kill_point};

#[cfg(any(loom, shuttle))]
pub(crate) use model::{AtomicU32, AtomicU64, Ordering, fence, spin_hint, yield_now};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// The cheap half of an asymmetric fence: orders a store before a later load, provided that the other side issues [`heavy`].
///
/// `registered` is what [`register`] returned when this handle was made; without it a real fence is needed.
#[inline(always)]
pub(crate) fn light(registered: bool) {
    if registered && !cfg!(any(loom, shuttle)) {
        // ORDER W2 (compiler only, pairs with W1): the processor is held to the order by the other side's `membarrier`.
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    } else {
        // ORDER W2 (SeqCst, pairs with W1): the store before this and the load of the wait word after it.
        fence(Ordering::SeqCst);
    }
}

/// The dear half: after it, every registered process has either made its earlier stores visible or sees ours.
///
/// Returns false when the kernel can't: then a peer's commit may go unnoticed until the sleep's bound.
pub(crate) fn heavy() -> bool {
    // ORDER W1 (SeqCst, pairs with W2): the waiting bit before this and the second look after it.
    fence(Ordering::SeqCst);
    if cfg!(any(loom, shuttle)) {
        return true;
    }
    rustix::thread::membarrier(rustix::thread::MembarrierCommand::GlobalExpedited).is_ok()
}

/// Asks the kernel to include this process in every peer's [`heavy`]; false when it can't.
pub(crate) fn register() -> bool {
    rustix::thread::membarrier(rustix::thread::MembarrierCommand::RegisterGlobalExpedited).is_ok()
}

/// Adds to a word that nobody else writes at this time: without a locked instruction, wrapping around.
#[inline(always)]
pub(crate) fn add_alone(word: &AtomicU64, by: u64) {
    // ORDER none (Relaxed): one writer; whoever reads it without a lock only shows it.
    word.store(word.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// Tells the processor that this is a waiting loop.
#[cfg(not(any(loom, shuttle)))]
#[inline(always)]
pub(crate) fn spin_hint() {
    std::hint::spin_loop();
}

/// Gives the processor to somebody else for a moment.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn yield_now() {
    std::thread::yield_now();
}
