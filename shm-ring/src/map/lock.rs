//! Lock: one byte per slot, locked by its owner, is the only proof of life.
//!
//! ```text
//!   byte 0          repair and attachment            locked through the probe's description
//!   byte 1 + i      producer slot i                  locked through a description of its owner alone
//!   then            consumer slots
//!
//!   mapped files:   byte 0 set-up and repair, byte 1 writers (exclusive or shared), byte 2 holders of slices in place (shared)
//! ```
//!
//! Open-file-description locks: the kernel drops them after the process's mappings are gone, whatever killed it; they work across
//! pid namespaces; whoever *acquires* a slot's byte has therefore proved a death and is the only one who has.
//!
//! (I1) an owner's description is opened for it, never shared, closed with the handle, and never mapped, but for (I4); (I2) the probe's
//! description is used under the process lock, because locks of one description never conflict; (I3) a forked child closes both kinds
//! before `fork` returns: a description that it kept would hold what a dead parent had locked; it opens its own before it probes.
//!
//! (I4) who shares a byte because it reads the file may read and map it through the same descriptor ([`share_through`]). A map keeps the
//! description that was mapped, or one of the file below (overlayfs), so nothing may rest on which:
//! - the byte is shared as long as there is the map: the descriptor stays open, and who has both drops the map first;
//! - and no longer: it is unlocked in so many words, not by the last close, which a map, or a command that is just starting, may put off;
//! - a forked child has no part of it: it closes the descriptor as any other (I3), and does not get the map, which is made and kept from
//!   children (`MADV_DONTFORK`) under the process lock, that is, between two forks;
//! - a death ends it: maps go before descriptors do, and with the last of both the lock.

use super::fork::{Moment, ProcessLock, Registered, Side};
use crate::layout::slots::REPAIR_BYTE;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Mutex;
use std::time::Duration;

/// Between two looks at byte 0 of somebody who waits for it.
const PAUSE_MIN: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// A slot's byte, alone or shared, held until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct SlotLock {
    descriptor: Registered,
    byte: u64,
}

impl SlotLock {
    /// The file, through the description that has the lock.
    pub(crate) fn file(&self) -> &File {
        self.descriptor.file()
    }

    /// Wants a shared byte alone; false: somebody else shares it, and nothing changed.
    pub(crate) fn try_alone(&self) -> io::Result<bool> {
        Ok(set(&self.descriptor, self.byte, libc::F_WRLCK)?)
    }

    /// Shares the byte again that it held alone.
    pub(crate) fn share_again(&self) -> io::Result<()> {
        // Can't be refused: nobody else holds a byte that is held alone.
        set(&self.descriptor, self.byte, libc::F_RDLCK)?;
        Ok(())
    }
}

impl Drop for SlotLock {
    fn drop(&mut self) {
        if self.descriptor.is_here() {
            // Not by closing alone: a command that another thread is just starting has a copy of the descriptor until its exec. In a forked
            // child this would free the parent's slot, so it does not happen there. Fails for a closed descriptor, which holds nothing.
            let _ = set(&self.descriptor, self.byte, libc::F_UNLCK);
        }
    }
}

/// The lock bytes of one file, as this process sees them.
#[derive(Debug)]
pub(crate) struct Locks {
    /// Opened anew for every lock; nothing is ever locked through it.
    file: File,
    probe: Mutex<(Registered, Side)>,
    writable: bool,
}

/// What may be done to the lock bytes while the process lock is held.
#[derive(Debug)]
pub(crate) struct Probe<'a> {
    locks: &'a Locks,
    held: ProcessLock,
}

/// Byte 0 is held: nobody else attaches or repairs.
#[derive(Debug)]
pub(crate) struct Repair<'a> {
    probe: Probe<'a>,
}

impl Locks {
    /// The locks of `file`; its description is not used, only opened anew.
    pub(crate) fn new(file: &File, writable: bool) -> io::Result<Self> {
        let file = file.try_clone()?;
        let probe = open_registered(&file, writable, &ProcessLock::take())?;
        Ok(Self { file, probe: Mutex::new(probe), writable })
    }

    /// The file that they are of.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Gets ready to look at lock bytes.
    pub(crate) fn probe(&self) -> io::Result<Probe<'_>> {
        let held = ProcessLock::take();
        let mut probe = self.probe.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !probe.1.is_here() {
            *probe = open_registered(&self.file, self.writable, &held)?;
        }
        drop(probe);
        Ok(Probe { locks: self, held })
    }

    /// Shares a byte with others who share it, through a description of its own; `None`: somebody has it alone. Needs no write permission.
    pub(crate) fn share(&self, byte: u64) -> io::Result<Option<SlotLock>> {
        let (descriptor, _) = open_registered(&self.file, self.writable, &ProcessLock::take())?;
        Ok(if set(&descriptor, byte, libc::F_RDLCK)? { Some(SlotLock { descriptor, byte }) } else { None })
    }

    /// Takes byte 0, if nobody has it.
    pub(crate) fn try_repair(&self) -> io::Result<Option<Repair<'_>>> {
        let probe = self.probe()?;
        Ok(if probe.acquire(REPAIR_BYTE)? { Some(Repair { probe }) } else { None })
    }

    /// Takes byte 0, waiting for its holder at most `patience`.
    pub(crate) fn repair(&self, patience: Duration) -> io::Result<Option<Repair<'_>>> {
        let start = std::time::Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(repair) = self.try_repair()? {
                return Ok(Some(repair));
            }
            if start.elapsed() >= patience {
                return Ok(None);
            }
            // A hundred processes that look all the time would keep the holder from running.
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Probe<'_> {
    /// Whether somebody holds the byte. Changes nothing, works on a read-only description.
    pub(crate) fn is_held(&self, byte: u64) -> io::Result<bool> {
        let mut request = range(byte, libc::F_WRLCK);
        self.with(|file| fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut request)))?;
        Ok(i32::from(request.l_type) != libc::F_UNLCK)
    }

    /// Locks the byte for the probe itself; true is the proof that nobody else lives there.
    pub(crate) fn acquire(&self, byte: u64) -> io::Result<bool> {
        self.with(|file| set(file, byte, libc::F_WRLCK))
    }

    /// Gives such a byte back.
    pub(crate) fn release(&self, byte: u64) {
        // Unlocking one's own byte can't fail but for a closed descriptor, which unlocked it already.
        let _ = self.with(|file| set(file, byte, libc::F_UNLCK));
    }

    fn with<T>(&self, f: impl FnOnce(&Registered) -> nix::Result<T>) -> io::Result<T> {
        let probe = self.locks.probe.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        f(&probe.0).map_err(io::Error::from)
    }
}

impl<'a> Repair<'a> {
    /// The probe under which byte 0 is held.
    pub(crate) fn probe(&self) -> &Probe<'a> {
        &self.probe
    }

    /// Takes a slot's byte for a new owner, through a description of its own; `None`: it has one.
    pub(crate) fn take_slot(&self, byte: u64) -> io::Result<Option<SlotLock>> {
        let (descriptor, _) = open_registered(&self.probe.locks.file, true, &self.probe.held)?;
        Ok(if set(&descriptor, byte, libc::F_WRLCK)? { Some(SlotLock { descriptor, byte }) } else { None })
    }
}

impl Drop for Repair<'_> {
    fn drop(&mut self) {
        self.probe.release(REPAIR_BYTE);
    }
}

/// A new description of the same file, also of an unlinked or nameless one, that a forked child will close.
fn open_registered(file: &File, writable: bool, held: &ProcessLock) -> io::Result<(Registered, Side)> {
    let side = Side::current()?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let opened = OpenOptions::new().read(true).write(writable).open(path)?;
    Ok((Registered::new(opened, side, held), side))
}

/// Shares a byte of a file that may only be read, through the description that it was opened with behind that moment, if no child can have
/// that; else, and where the moment is not known, through one that is opened anew. `None`: somebody has it alone.
pub(crate) fn share_through(
    file: File,
    opened_behind: Option<Moment>,
    byte: u64,
) -> io::Result<Option<SlotLock>> {
    let held = ProcessLock::take();
    let adopted = match opened_behind {
        Some(moment) => Registered::adopt(file, moment, &held),
        None => Err(file),
    };
    let descriptor = match adopted {
        Ok(descriptor) => descriptor,
        Err(file) => open_registered(&file, false, &held)?.0,
    };
    drop(held);
    Ok(if set(&descriptor, byte, libc::F_RDLCK)? { Some(SlotLock { descriptor, byte }) } else { None })
}

fn set(file: impl AsFd, byte: u64, kind: i32) -> nix::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&range(byte, kind))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error),
    }
}

fn range(byte: u64, kind: i32) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).expect("lock kinds are small"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("SEEK_SET is 0"),
        l_start: i64::try_from(byte).expect("a file has fewer than 2^13 lock bytes"),
        l_len: 1,
        // The kernel wants 0 for locks of a description.
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::mapped::{PIN_BYTE, WRITER_BYTE};

    // Goal: a shared byte has many holders, or one alone, and never both. Method: two views of one file, as two processes have them.
    #[test]
    fn a_byte_is_shared_or_held_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, other) =
            (Locks::new(file.as_file(), true).unwrap(), Locks::new(file.as_file(), true).unwrap());
        let read_only = File::open(file.path()).unwrap();
        let reader = Locks::new(&read_only, false).unwrap();
        for byte in [WRITER_BYTE, PIN_BYTE] {
            let first = one.share(byte).unwrap().expect("nobody has it");
            let second = reader.share(byte).unwrap().expect("it is shared");
            assert!(!other.probe().unwrap().acquire(byte).unwrap(), "two share it");
            assert!(!first.try_alone().unwrap(), "somebody else shares it");
            drop(second);
            assert!(first.try_alone().unwrap());
            assert!(reader.share(byte).unwrap().is_none(), "it is held alone");
            first.share_again().unwrap();
            drop(reader.share(byte).unwrap().expect("it is shared again"));
            drop(first);
            let probe = other.probe().unwrap();
            assert!(probe.acquire(byte).unwrap(), "nobody shares it any more");
            assert!(one.share(byte).unwrap().is_none(), "the probe has it alone");
            probe.release(byte);
        }
    }
}
