//! Parts: what several rivals need: a way to wait, files that don't stay, an end to be taken, a record's place.

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::workload::stream::Looks;

/// Sizes of batches: sent at once, read at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    /// Records that are published together.
    pub(super) n_send: usize,
    /// Records, at most, that are given back together.
    pub(super) n_receive: usize,
}

impl Batch {
    /// The single interface: one by one.
    pub(super) const ONE: Self = Self { n_send: 1, n_receive: 1 };
}

/// How a rival waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Looks again at once: each side has a processor of its own.
    Spin,
    /// Looks 64 times, then gives the processor away: several sides share one.
    Yield,
    /// As the rival does it when it is asked to sleep.
    Block,
}

/// A sender that finds no space. (A receiver that finds nothing returns, and the harness waits.)
#[derive(Debug)]
pub(super) struct Pause(Option<Looks>);

impl Pause {
    pub(super) fn new(waiting: Waiting) -> Self {
        Self((waiting != Waiting::Spin).then(Looks::default))
    }

    /// No space yet. A side that spins looks again at once, as the minimal rings do.
    #[inline(always)]
    pub(super) fn again(&mut self) {
        if let Some(looks) = &mut self.0 {
            looks.fruitless();
        }
    }
}

/// Memory as in /dev/shm, of a file that has no name there, so that nothing is left behind however a process ends.
#[derive(Debug)]
pub(super) struct Nameless(File);

impl Nameless {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(super) fn new() -> Result<Self, String> {
        let fd = memfd_create(c"bench", MemfdFlags::CLOEXEC).map_err(|error| format!("memfd: {error}"))?;
        Ok(Self(fd.into()))
    }

    /// For rivals that take a file.
    pub(super) fn file(&self) -> &File {
        &self.0
    }

    /// For rivals that take a path: this process's, which a forked one has as well.
    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_fd().as_raw_fd())
    }
}

/// Where POSIX shared memory has its names.
const SHARED_MEMORY: &str = "/dev/shm";
/// How all names of [`Scratch`] begin; the process's id follows.
const SCRATCH: &str = "shm-ring-bench-";

/// A name for rivals that insist on files with names: everything in /dev/shm and in the directory for temporary files that
/// begins with it goes when this does. What a killed run left goes when the next one begins.
#[derive(Debug)]
pub(super) struct Scratch {
    name: String,
}

impl Scratch {
    /// A name that nobody else has.
    pub(super) fn new() -> Self {
        static N_MADE: AtomicU32 = AtomicU32::new(0);
        // ORDER none (Relaxed): only a number that nobody else has.
        let number = N_MADE.fetch_add(1, Ordering::Relaxed);
        remove_all(|name| pid_of(name).is_some_and(|pid| !Path::new("/proc").join(pid).exists()));
        Self { name: format!("{SCRATCH}{}-{number}-", std::process::id()) }
    }

    /// What all names begin with.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A path in /dev/shm.
    #[cfg(feature = "aeron")]
    pub(super) fn shared_memory(&self) -> PathBuf {
        Path::new(SHARED_MEMORY).join(&self.name)
    }

    /// A path in the directory for temporary files.
    pub(super) fn temporary(&self) -> PathBuf {
        std::env::temp_dir().join(&self.name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove_all(|name| name.starts_with(&self.name));
    }
}

/// The process that a name of a [`Scratch`] belongs to.
fn pid_of(name: &str) -> Option<&str> {
    name.strip_prefix(SCRATCH)?.split('-').next()
}

/// Removes files and directories. What can't be removed is somebody else's, or gone.
fn remove_all(is_meant: impl Fn(&str) -> bool) {
    for directory in [PathBuf::from(SHARED_MEMORY), std::env::temp_dir()] {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(&is_meant) {
                let _ = std::fs::remove_file(entry.path());
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// An end that was made before the fork, for the one side that takes it.
#[derive(Debug)]
pub(super) struct End<T>(Mutex<Option<T>>);

impl<T> End<T> {
    pub(super) fn new(end: T) -> Self {
        Self(Mutex::new(Some(end)))
    }

    /// Taken once in each process.
    pub(super) fn take(&self) -> T {
        self.0.lock().expect("nobody panics inside").take().expect("each end has one side")
    }
}

/// Copies a record to its place, once: by value it might pass through the stack.
#[inline(always)]
pub(super) fn fill<const N: usize>(place: &mut MaybeUninit<[u8; N]>, record: &[u8]) {
    assert_eq!(record.len(), N, "all records have one size");
    // SAFETY:
    // - in bounds: `N` bytes are read and `N` written, as just seen;
    // - no overlap: `place` is borrowed exclusively, `record` is another borrow.
    unsafe { place.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(record.as_ptr(), N) }
}
