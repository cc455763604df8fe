//! Lock of the models: the kernel's write locks on the bytes of one file, as far as `ring/reap.rs` asks for them.
//!
//! All bytes are bits of one word, because the kernel gives the bytes of a killed process back in one go.
//!
//! (I1) a byte has at most one holder; (I2) getting a byte carries everything that its last holder did: the kernel's lock on the
//! file's list does the same; (I3) a process that is killed gives nothing back by itself: [`Locks::end`] does it for the kernel.

use crate::layout::slots::REPAIR_BYTE;
use crate::sync::Ordering;
use crate::sync::model::{KernelWord, is_gone};
use std::cell::Cell;
use std::io;
use std::sync::Arc;

/// The lock bytes of one file, as one modelled process sees them.
#[derive(Debug)]
pub(crate) struct Locks {
    held_by_anybody: Arc<KernelWord>,
    held_here: Cell<u64>,
}

/// What may be done to the bytes.
#[derive(Debug)]
pub(crate) struct Probe<'a> {
    locks: &'a Locks,
}

/// Byte 0 is held: nobody else attaches or repairs.
#[derive(Debug)]
pub(crate) struct Repair<'a> {
    probe: Probe<'a>,
}

impl Locks {
    /// A process of its own, which holds nothing.
    pub(crate) fn new(file: &Arc<KernelWord>) -> Self {
        Self { held_by_anybody: Arc::clone(file), held_here: Cell::new(0) }
    }

    /// Takes a slot's byte for its owner.
    pub(crate) fn own(&self, byte: u64) {
        assert!(self.take(byte), "byte {byte} has an owner");
    }

    /// The process has ended: the kernel gives back whatever it held.
    pub(crate) fn end(&self) {
        // ORDER kernel (Release, pairs with the Acquire in `take`): everything that the process did.
        self.held_by_anybody.fetch_and(!self.held_here.replace(0), Ordering::Release);
    }

    /// Gets ready to look at lock bytes.
    #[expect(clippy::unnecessary_wraps, reason = "as `map/lock.rs` has it")]
    pub(crate) fn probe(&self) -> io::Result<Probe<'_>> {
        Ok(Probe { locks: self })
    }

    /// Takes byte 0, if nobody has it.
    pub(crate) fn try_repair(&self) -> io::Result<Option<Repair<'_>>> {
        let probe = self.probe()?;
        Ok(if probe.acquire(REPAIR_BYTE)? { Some(Repair { probe }) } else { None })
    }

    fn take(&self, byte: u64) -> bool {
        let bit = 1 << byte;
        // ORDER kernel (Acquire, pairs with the Release in `give` and `end`): everything that the last holder did.
        let free = self.held_by_anybody.fetch_or(bit, Ordering::Acquire) & bit == 0;
        if free {
            self.held_here.set(self.held_here.get() | bit);
        }
        free
    }

    fn give(&self, byte: u64) {
        let bit = 1 << byte;
        if is_gone() {
            return;
        }
        self.held_here.set(self.held_here.get() & !bit);
        // ORDER kernel (Release, pairs with the Acquire in `take`): everything that the holder did.
        self.held_by_anybody.fetch_and(!bit, Ordering::Release);
    }
}

impl Probe<'_> {
    /// Whether somebody holds the byte.
    #[expect(clippy::unnecessary_wraps, reason = "as `map/lock.rs` has it")]
    pub(crate) fn is_held(&self, byte: u64) -> io::Result<bool> {
        // ORDER kernel (Acquire, pairs with the Release in `give` and `end`): everything that the last holder did.
        Ok(self.locks.held_by_anybody.load(Ordering::Acquire) & 1 << byte != 0)
    }

    /// Locks the byte for the probe itself; true is the proof that nobody else lives there.
    #[expect(clippy::unnecessary_wraps, reason = "as `map/lock.rs` has it")]
    pub(crate) fn acquire(&self, byte: u64) -> io::Result<bool> {
        Ok(self.locks.take(byte))
    }

    /// Gives such a byte back.
    pub(crate) fn release(&self, byte: u64) {
        self.locks.give(byte);
    }
}

impl<'a> Repair<'a> {
    /// The probe under which byte 0 is held.
    pub(crate) fn probe(&self) -> &Probe<'a> {
        &self.probe
    }
}

impl Drop for Repair<'_> {
    fn drop(&mut self) {
        self.probe.release(REPAIR_BYTE);
    }
}
