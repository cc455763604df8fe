//! Guard: a page that somebody cut off a mapped file is an error here, and no end by SIGBUS. Feature `guard`.
//!
//! ```text
//!   access to a page that the file lost --> SIGBUS --> in a registered range? -- no --> the handler that was there before us
//!                                                        | yes
//!                                    mark the range --> zeros where the page was --> return: the access is repeated
//! ```
//!
//! One handler for the process, installed at the first mapping. Whoever installs one later and wants this one to work calls it for what
//! is not its own; a thread that blocks SIGBUS is killed by the kernel without being asked. A page in the middle of a range makes two maps
//! more: where the process has as many as it may (`vm.max_map_count`), the handler finds no room, and SIGBUS ends it.
//!
//! (I1) the handler takes no lock, allocates nothing, and makes system calls only; (I2) entries of the table are never freed, and their
//! words are read under a version, so that a handler on another thread never puts halves of two ranges together; (I3) a range is
//! registered before its first access and given up before it is unmapped, so that what is replaced is a page of its own; (I4) an entry
//! counts on the side of a fork where it was made: a child does not have the range, and something else may stand there, unless the range
//! is one that children inherit, and then their copy of the table has their copy of the entry; (I5) broken
//! memory is no truncation: only missing pages are replaced.
//! Knows no ring; decides nothing about what follows from a mark.

use super::fork::{self, ProcessLock, Side};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use std::ffi::{c_int, c_void};
use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

/// A range whose missing pages become zeros, until this is dropped.
#[derive(Debug)]
pub(crate) struct Guarded {
    node: &'static Node,
}

/// An entry of the table.
#[derive(Debug)]
struct Node {
    /// Odd while the three words below change.
    version: AtomicU64,
    start: AtomicUsize,
    /// 0: the entry is free.
    end: AtomicUsize,
    /// The side of a fork that has the range, or [`EVERYWHERE`].
    side: AtomicU64,
    /// A page of it was missing.
    hit: AtomicBool,
    next: *const Node,
}

// SAFETY: `next` is written once, before the node is published, and points to another leaked node.
unsafe impl Sync for Node {}
// SAFETY: the same; nodes belong to no thread.
unsafe impl Send for Node {}

/// The number of no side: children have the range, too.
const EVERYWHERE: u64 = 0;

static TABLE: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());
static INSTALLED: AtomicBool = AtomicBool::new(false);
/// What was installed before; null: the default action.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);

impl Guarded {
    /// Registers a range that this process has mapped and that its children will not have.
    pub(crate) fn new(range: Range<usize>, side: Side) -> io::Result<Self> {
        Self::with(range, side.number())
    }

    /// Registers a range that this process has mapped and that its children inherit, each with an entry of its own.
    pub(crate) fn everywhere(range: Range<usize>) -> io::Result<Self> {
        // Not for its number: the table's lock is held over forks from here on.
        Side::current()?;
        Self::with(range, EVERYWHERE)
    }

    fn with(range: Range<usize>, side: u64) -> io::Result<Self> {
        let held = ProcessLock::take();
        install(&held)?;
        let node = free_node().unwrap_or_else(|| new_node(&held));
        node.hit.store(false, Ordering::Relaxed);
        node.set(range, side, &held);
        Ok(Self { node })
    }

    /// Set when a page of the range was missing; good for as long as the range is registered.
    pub(crate) fn hit(&self) -> &'static AtomicBool {
        &self.node.hit
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let held = ProcessLock::take();
        self.node.set(0..0, EVERYWHERE, &held);
    }
}

impl Node {
    fn set(&self, range: Range<usize>, side: u64, _held: &ProcessLock) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        // ORDER B1 (Release fence, pairs with B2's second look): who sees a word below sees the odd version.
        fence(Ordering::Release);
        self.start.store(range.start, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
        self.side.store(side, Ordering::Relaxed);
        // ORDER B1 (Release, pairs with B2): the words before the even version.
        self.version.store(version + 2, Ordering::Release);
    }

    /// Whether the entry is in force and has the address. One that changes has not: nobody accesses a range that comes or goes.
    fn has(&self, address: usize) -> bool {
        // ORDER B2 (Acquire, pairs with B1): the words of this version or a newer one.
        let version = self.version.load(Ordering::Acquire);
        let (start, end) = (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        let side = self.side.load(Ordering::Relaxed);
        // ORDER B2 (Acquire fence, pairs with B1): a newer word shows the newer version below.
        fence(Ordering::Acquire);
        version % 2 == 0
            && self.version.load(Ordering::Relaxed) == version
            && (start..end).contains(&address)
            && (side == EVERYWHERE || fork::is_here(side))
    }
}

/// All entries, as far as they are published.
fn nodes() -> impl Iterator<Item = &'static Node> {
    // ORDER B4 (Acquire, pairs with B3): the entry's `next`.
    let mut node = TABLE.load(Ordering::Acquire).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: nodes are leaked boxes that are never freed, and nobody has a mutable reference to one.
        let entry: Option<&'static Node> = unsafe { node.as_ref() };
        node = entry.map_or(ptr::null(), |entry| entry.next);
        entry
    })
}

fn free_node() -> Option<&'static Node> {
    // Entries change under the process lock, which the caller holds.
    nodes().find(|node| node.end.load(Ordering::Relaxed) == 0)
}

fn new_node(_held: &ProcessLock) -> &'static Node {
    let node: &'static Node = Box::leak(Box::new(Node {
        version: AtomicU64::new(0),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        side: AtomicU64::new(0),
        hit: AtomicBool::new(false),
        next: TABLE.load(Ordering::Relaxed),
    }));
    // ORDER B3 (Release, pairs with B4): `next` before the entry can be found.
    TABLE.store(ptr::from_ref(node).cast_mut(), Ordering::Release);
    node
}

/// Installs the handler, once in the life of a process; forked children inherit it, and the mark that it is there.
fn install(_held: &ProcessLock) -> io::Result<()> {
    if INSTALLED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let page_bytes = usize::try_from(super::file::page_bytes()).map_err(io::Error::other)?;
    PAGE_BYTES.store(page_bytes, Ordering::Relaxed);
    // Asked for first, so that a signal between the two calls finds where to go on.
    remember(exchange(None)?);
    let mut ours = no_action();
    ours.sa_sigaction =
        (on_sigbus as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void)) as *const () as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // Once more: another library may have been quicker.
    remember(exchange(Some(&ours))?);
    INSTALLED.store(true, Ordering::Relaxed);
    Ok(())
}

fn remember(action: libc::sigaction) {
    // Leaked, at most twice in a process: a handler may be looking at it at any time.
    let action: &'static mut libc::sigaction = Box::leak(Box::new(action));
    // ORDER B5 (Release, pairs with B6): the words of the action before its address.
    PREVIOUS.store(action, Ordering::Release);
}

/// What SIGBUS does at the moment; does `action` from now on, if there is one.
fn exchange(action: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut found = no_action();
    let action = action.map_or(ptr::null(), ptr::from_ref);
    // SAFETY:
    // - both pointers are null or good for the call;
    // - a new action is the default one, or a handler that is async-signal-safe (I1) and lives for ever.
    let code = unsafe { libc::sigaction(libc::SIGBUS, action, &mut found) };
    if code == 0 { Ok(found) } else { Err(io::Error::last_os_error()) }
}

/// The default action, without flags, blocking nothing.
fn no_action() -> libc::sigaction {
    // SAFETY: numbers and an optional function: zeros are one, an empty mask, and SIG_DFL.
    unsafe { std::mem::zeroed() }
}

extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: installed with SA_SIGINFO, so the kernel, or a handler that passes on what it got, hands over a good pointer.
    let what = unsafe { &*info };
    let code = what.si_code;
    if code == libc::BUS_ADRERR {
        // SAFETY: this code comes with an address.
        let address = unsafe { what.si_addr() }.addr();
        if let Some(node) = nodes().find(|node| node.has(address)) {
            // ORDER B7 (Release, pairs with B8): the mark before the zeros; `mmap` orders it for those who find them in the page.
            node.hit.store(true, Ordering::Release);
            if put_zeros(address) {
                return;
            }
        }
    }
    // SAFETY: the three arguments are as they came.
    unsafe { pass_on(signal, code, info, context) }
}

fn put_zeros(address: usize) -> bool {
    let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
    let page = ptr::without_provenance_mut(address & !(page_bytes - 1));
    // SAFETY:
    // - the page is in a range that is registered, so it is its owner's (I3), and the access that brought us here keeps it so;
    // - the file has lost what was there: no byte that anybody could still reach is taken away;
    // - references into the range are to atomics, or to payload whose bytes change to zeros: the file did that, with or without us.
    let mapped = unsafe {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        mmap_anonymous(page, page_bytes, protection, MapFlags::PRIVATE | MapFlags::FIXED)
    };
    mapped.is_ok()
}

/// Does what would have been done without us.
///
/// # Safety
/// - the arguments are those of a handler that was installed with SA_SIGINFO, and it is running.
unsafe fn pass_on(signal: c_int, code: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // Comes from an access that will be repeated; the others are sent by somebody, and are over when the handler is.
    let is_fault =
        matches!(code, libc::BUS_ADRALN | libc::BUS_ADRERR | libc::BUS_OBJERR | libc::BUS_MCEERR_AR);
    // ORDER B6 (Acquire, pairs with B5): the action's words.
    let previous = PREVIOUS.load(Ordering::Acquire);
    // SAFETY: null, or leaked and never written again.
    let action = unsafe { previous.as_ref() };
    match action.map_or(libc::SIG_DFL, |action| action.sa_sigaction) {
        // Nobody can ignore an access that fails: the kernel kills for it.
        libc::SIG_IGN if !is_fault => {}
        libc::SIG_DFL | libc::SIG_IGN => die(signal, is_fault),
        handler => {
            let Some(action) = action else { return };
            if action.sa_flags & libc::SA_RESETHAND != 0 {
                // ORDER none (Relaxed): what is null has no words.
                let _ = PREVIOUS.compare_exchange(
                    previous,
                    ptr::null_mut(),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
            let before = block(action, signal);
            if action.sa_flags & libc::SA_SIGINFO != 0 {
                type WithInfo = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
                // SAFETY: its owner installed it with SA_SIGINFO, so this is its type.
                let handler = unsafe { std::mem::transmute::<usize, WithInfo>(handler) };
                handler(signal, info, context);
            } else {
                // SAFETY: its owner installed it without SA_SIGINFO, so this is its type.
                let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
                handler(signal);
            }
            // SAFETY: the mask is the one that was there.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
        }
    }
}

/// Blocks what the kernel would block while that handler runs; the mask before.
fn block(action: &libc::sigaction, signal: c_int) -> libc::sigset_t {
    let mut mask = action.sa_mask;
    if action.sa_flags & libc::SA_NODEFER == 0 {
        // SAFETY: a good mask and a good number.
        unsafe { libc::sigaddset(&mut mask, signal) };
    }
    let mut before = no_action().sa_mask;
    // SAFETY: both are masks; async-signal-safe.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &mask, &mut before) };
    before
}

/// The default action: the access that is repeated ends the process, or the signal that was sent is sent again.
fn die(signal: c_int, is_fault: bool) {
    // Can't fail for a signal that has a handler.
    let _ = exchange(Some(&no_action()));
    if !is_fault {
        // SAFETY: no preconditions; SA_NODEFER leaves it unblocked.
        unsafe { libc::raise(signal) };
    }
}
