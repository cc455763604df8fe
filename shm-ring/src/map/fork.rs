//! Fork: on which side of a fork a handle was made, and what must not cross one.
//!
//! ```text
//!   ordinary memory        wiped page            a handle made before    a handle made now
//!   LAST = 1               1                     1 == page: mine
//!      | fork
//!   LAST = 1 (copied)      0 (wiped)             1 != page: Forked       LAST = page = 2
//! ```
//!
//! (I1) a process's number is larger than every ancestor's; (I2) the check is one load and needs no pid; (I3) a child closes the lock
//! descriptors that it inherited before `fork` returns, or it would hold its parent's slots for the dead parent; (I4) the process
//! lock is held over every fork, so that a child finds it free and no descriptor that holds a lock unregistered: one is opened and
//! registered under the process lock, or registered under it when no fork has been since a moment before it was opened, and locked then.
//! A raw `clone` that bypasses `pthread_atfork` breaks (I3): such a child keeps its parent's slots until it exits or execs.

use crossbeam_utils::Backoff;
use memmap2::MmapMut;
use rustix::mm::{Advice, madvise};
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};

static PAGE: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();
static LAST: AtomicU64 = AtomicU64::new(0);
/// Forks of this process and its ancestors that are over.
static N_FORKS: AtomicU64 = AtomicU64::new(0);

/// The side of a fork that something belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    page: &'static AtomicU64,
    number: u64,
}

impl Side {
    /// This process's side.
    pub(crate) fn current() -> io::Result<Self> {
        let page = PAGE.get_or_init(wiped_page).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "MADV_WIPEONFORK (Linux 4.14) or pthread_atfork failed",
            )
        })?;
        // ORDER none (Relaxed): a number is compared, nothing is read behind it.
        if page.load(Ordering::Relaxed) == 0 {
            let next = LAST.load(Ordering::Relaxed) + 1;
            LAST.fetch_max(next, Ordering::Relaxed);
            // Another thread may have been first: then its number is this process's.
            let _ = page.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        Ok(Self { page, number: page.load(Ordering::Relaxed) })
    }

    /// Whether this process is still the one that asked for [`Side::current`].
    #[inline(always)]
    pub(crate) fn is_here(&self) -> bool {
        // ORDER none (Relaxed): only a fork changes it, and it copies the thread that looks.
        self.page.load(Ordering::Relaxed) == self.number
    }
}

/// A moment of this process, of which it is known later whether there was a fork behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    side: Side,
    n_forks: u64,
}

impl Moment {
    /// This one.
    pub(crate) fn now() -> io::Result<Self> {
        // First: forks are counted by its handlers.
        let side = Side::current()?;
        // ORDER none (Relaxed): a child that has what is opened behind this load is counted behind it, too: the kernel's lock of the
        // descriptors, given back by who opens and taken by who copies them, is between the two.
        Ok(Self { side, n_forks: N_FORKS.load(Ordering::Relaxed) })
    }

    /// Whether no child has a copy of a descriptor that this process has opened since, and none can have one before `held` is released.
    fn is_unforked(&self, _held: &ProcessLock) -> bool {
        // ORDER none (Relaxed): counted under the process lock (F1, F2).
        self.side.is_here() && N_FORKS.load(Ordering::Relaxed) == self.n_forks
    }
}

#[cfg(feature = "guard")]
impl Side {
    /// Stands for this side where only a number fits; never 0.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

/// Whether this process is on the side with that number. Async-signal-safe.
#[cfg(feature = "guard")]
pub(crate) fn is_here(number: u64) -> bool {
    // ORDER none (Relaxed): as in `Side::is_here`.
    PAGE.get().copied().flatten().is_some_and(|page| page.load(Ordering::Relaxed) == number)
}

fn wiped_page() -> Option<&'static AtomicU64> {
    let page = MmapMut::map_anon(4096).ok()?;
    // SAFETY:
    // - the range is the mapping that was just made, which is private and anonymous;
    // - nothing refers to its bytes yet, and what a child finds wiped is a word that is meant to be.
    unsafe { madvise(page.as_ptr().cast_mut().cast(), page.len(), Advice::LinuxWipeOnFork) }.ok()?;
    // SAFETY:
    // - the three handlers are `extern "C"`, live for ever and only touch statics of this module;
    // - async-signal-safe: atomics, `sched_yield` and `close`.
    let code =
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_parent), Some(after_fork_child)) };
    if code != 0 {
        return None;
    }
    let page: &'static mut MmapMut = Box::leak(Box::new(page));
    let word = page.as_mut_ptr().cast::<AtomicU64>();
    // SAFETY:
    // - in bounds, aligned: the start of a page;
    // - alive: the mapping was leaked;
    // - no plain access: nobody else has the address.
    Some(unsafe { &*word })
}

/// One lock for the whole process: attaching, probing and forking exclude each other.
///
/// Probes share a lock description, and locks of one description never conflict, so two threads must not probe at once.
static PROCESS: AtomicBool = AtomicBool::new(false);

/// The process lock, held by this thread, which may take it again: a handle whose making fails is dropped under it.
#[derive(Debug)]
pub(crate) struct ProcessLock {
    _not_send: PhantomData<*const ()>,
}

impl ProcessLock {
    /// Waits for it, yielding. Held for microseconds, at most for one join.
    pub(crate) fn take() -> Self {
        acquire();
        Self { _not_send: PhantomData }
    }
}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        release();
    }
}

thread_local! {
    /// How often this thread holds the process lock.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

fn acquire() {
    let depth = DEPTH.get();
    DEPTH.set(depth + 1);
    if depth > 0 {
        return;
    }
    let backoff = Backoff::new();
    // ORDER F1 (Acquire, pairs with F2): what the last holder did to probes and registry is visible.
    while PROCESS.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
        backoff.snooze();
    }
}

fn release() {
    let depth = DEPTH.get() - 1;
    DEPTH.set(depth);
    if depth > 0 {
        return;
    }
    // ORDER F2 (Release, pairs with F1): see there.
    PROCESS.store(false, Ordering::Release);
}

extern "C" fn before_fork() {
    acquire();
}

extern "C" fn after_fork_parent() {
    // Behind the fork: who saw the number before has opened nothing that the child has.
    N_FORKS.fetch_add(1, Ordering::Relaxed);
    release();
}

extern "C" fn after_fork_child() {
    N_FORKS.fetch_add(1, Ordering::Relaxed);
    // All nodes are free now, whatever the fork has interrupted.
    FREE_NODES.store(ptr::null_mut(), Ordering::Relaxed);
    let mut node = REGISTRY.load(Ordering::Relaxed);
    // SAFETY:
    // - nodes are leaked boxes that are never freed, so a pointer in the list is good for ever;
    // - only this thread exists in the child.
    while let Some(entry) = unsafe { node.as_ref() } {
        let fd = entry.fd.swap(FREE, Ordering::Relaxed);
        if fd >= 0 {
            // SAFETY: the descriptor was registered by its owner, whose `Drop` sees `FREE` here and closes nothing.
            unsafe { libc::close(fd) };
        }
        entry.put_back();
        node = entry.next;
    }
    release();
}

/// A lock descriptor that a forked child closes.
#[derive(Debug)]
pub(crate) struct Registered {
    node: &'static Node,
    /// On the side that made it, closed by way of the node; on the other side nobody asks for it (handles check first), and its number may
    /// be another file's.
    file: ManuallyDrop<File>,
    side: Side,
}

#[derive(Debug)]
struct Node {
    fd: AtomicI32,
    next: *mut Node,
    /// While the node is free: the next one that is.
    next_free: AtomicPtr<Node>,
}

// SAFETY: `next` is written once, before the node is published, and points to another leaked node.
unsafe impl Sync for Node {}
// SAFETY: the same; nodes belong to no thread.
unsafe impl Send for Node {}

const FREE: i32 = -1;
static REGISTRY: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());
/// Changed under the process lock only; thousands of registered descriptors are not looked through for each that comes.
static FREE_NODES: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());

impl Node {
    /// A free one; the caller has the process lock.
    fn take() -> Option<&'static Self> {
        // SAFETY: nodes are leaked boxes that are never freed.
        let node = unsafe { FREE_NODES.load(Ordering::Relaxed).as_ref() }?;
        FREE_NODES.store(node.next_free.load(Ordering::Relaxed), Ordering::Relaxed);
        Some(node)
    }

    /// Nobody's any more; the caller has the process lock, or is a child that nobody shares with.
    fn put_back(&'static self) {
        self.next_free.store(FREE_NODES.load(Ordering::Relaxed), Ordering::Relaxed);
        FREE_NODES.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
    }
}

impl Registered {
    /// Hands the descriptor over; the process lock must have been held since before it was opened.
    pub(crate) fn new(file: File, side: Side, _held: &ProcessLock) -> Self {
        let raw = file.as_raw_fd();
        let file = ManuallyDrop::new(file);
        if let Some(node) = Node::take() {
            if node.fd.compare_exchange(FREE, raw, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Self { node, file, side };
            }
            // Only in the child of a fork that a signal handler has put in where a node is taken or put back: it found that node free, too, which
            // may be in the list twice now, and the list a circle. Whatever else is in it is used no more.
            FREE_NODES.store(ptr::null_mut(), Ordering::Relaxed);
        }
        let next = REGISTRY.load(Ordering::Relaxed);
        let next_free = AtomicPtr::new(ptr::null_mut());
        let node: &'static Node = Box::leak(Box::new(Node { fd: AtomicI32::new(raw), next, next_free }));
        // The process lock keeps other writers out, and `fork`, the only other reader.
        REGISTRY.store(ptr::from_ref(node).cast_mut(), Ordering::Relaxed);
        Self { node, file, side }
    }

    /// Hands a descriptor over that was opened behind that moment, nothing having been locked through it; gives it back if a child may have a
    /// copy, which it would not close.
    pub(crate) fn adopt(file: File, opened_behind: Moment, held: &ProcessLock) -> Result<Self, File> {
        if opened_behind.is_unforked(held) {
            Ok(Self::new(file, opened_behind.side, held))
        } else {
            Err(file)
        }
    }

    /// Whether this process is the one that opened it.
    pub(crate) fn is_here(&self) -> bool {
        self.side.is_here()
    }

    /// The file, on that side.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl AsFd for Registered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if !self.side.is_here() {
            return;
        }
        let _held = ProcessLock::take();
        let fd = self.node.fd.swap(FREE, Ordering::Relaxed);
        if fd >= 0 {
            // SAFETY: the registry gave the number back exactly once, so this is its only close.
            unsafe { libc::close(fd) };
        }
        self.node.put_back();
    }
}
