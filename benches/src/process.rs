//! Processes: shared anonymous memory, and a crew of forked, pinned processes with a time-out.
//!
//! ```text
//!   parent ── fork ──> producer, pinned to its processor ──┐
//!     │                                                    ├── shared memory, mapped before the forks
//!     ├────── fork ──> consumer, pinned to its processor ──┘        (and as many more as there are roles)
//!     │
//!     └ sleeps in poll(2) on their pidfds until all are gone, one failed, or the time is up;
//!       whatever is still alive then is killed
//! ```
//!
//! What works within one process only gets one child, with a pinned thread for each of two roles ([`threads`]).
//!
//! A child leaves what it measured in a mailbox and ends with `_exit`, so nothing of the parent (buffers, destructors)
//! runs twice. A panic in a child is its error message. `fork` refuses
//! if there is more than one thread, since locks that another thread holds would stay locked in the child.

use std::any::Any;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

/// One value on cache lines of its own; 128 bytes, because prefetchers fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Padded<T>(pub T);

/// Zeroed memory that forked processes share.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY:
// - no plain access through a shared reference that its caller did not argue: `word` is atomic, `write` and `bytes` are unsafe and
//   demand that nobody interferes, be it a process or a thread;
// - no thread is special: memory is unmapped by whichever drops the region.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `len_bytes` (not 0) of zeroes, shared with every process forked later.
    pub fn new(len_bytes: usize) -> Self {
        let len = NonZeroUsize::new(len_bytes).expect("a region holds something");
        // SAFETY:
        // - no address is asked for, so no existing mapping is replaced;
        // - the mapping has no other owner: `Drop` unmaps it, once in every process that has it.
        let base = unsafe {
            mmap_anonymous(None, len, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED)
        };
        let base = base.expect("anonymous shared memory is available").cast();
        Self { base, len: len_bytes }
    }

    /// The address of byte `offset`.
    #[inline]
    fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset < self.len, "offset {offset} is outside of {} bytes", self.len);
        self.base.as_ptr().wrapping_add(offset)
    }

    /// The 8 bytes at `offset` as an atomic word.
    ///
    /// # Safety
    ///
    /// - `offset + 8` is within the region and `offset` is a multiple of 8;
    /// - while the word is used, no process touches these bytes other than through such a word.
    #[inline]
    pub unsafe fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY:
        // - in bounds, aligned, atomic only: the caller's contract; the base is page-aligned;
        // - alive: the reference borrows `self`.
        unsafe { &*self.at(offset).cast::<AtomicU64>() }
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Safety
    ///
    /// `offset + bytes.len()` is within the region, and nobody else reads or writes that range meanwhile.
    #[inline]
    pub unsafe fn write(&self, offset: usize, bytes: &[u8]) {
        // SAFETY:
        // - in bounds, exclusive: the caller's contract;
        // - no overlap: `bytes` is a shared reference, and the caller owns the range alone.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(offset), bytes.len()) }
    }

    /// The `len` bytes at `offset`.
    ///
    /// # Safety
    ///
    /// `offset + len` is within the region, and nobody writes to that range while the slice lives.
    #[inline]
    pub unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        // SAFETY:
        // - in bounds, not written to: the caller's contract;
        // - initialised: the kernel zeroed the map;
        // - alive: the slice borrows `self`.
        unsafe { std::slice::from_raw_parts(self.at(offset), len) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the range is the one mapped in `new`, and every reference into it borrowed `self`.
        let unmapped = unsafe { munmap(self.base.cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "munmap: {unmapped:?}");
    }
}

/// Types that may lie in zeroed memory that several processes map.
///
/// # Safety
///
/// - all bytes zero is a valid value;
/// - changed through atomics only, and holds no pointer, no descriptor and no destructor.
pub unsafe trait Zeroed: Sync {}

// SAFETY: zero is valid, an atomic, nothing else.
unsafe impl Zeroed for AtomicU64 {}
// SAFETY: zero is valid, an atomic, nothing else.
unsafe impl Zeroed for AtomicUsize {}
// SAFETY: adds padding to a type for which all of this holds.
unsafe impl<T: Zeroed> Zeroed for Padded<T> {}

/// A `T` of zeroes that forked processes share.
#[derive(Debug)]
pub struct Shared<T> {
    region: Region,
    kind: PhantomData<T>,
}

impl<T: Zeroed> Shared<T> {
    /// Maps one `T`.
    pub fn new() -> Self {
        assert!(align_of::<T>() <= 4096, "a map starts at a page");
        Self { region: Region::new(size_of::<T>()), kind: PhantomData }
    }
}

impl<T: Zeroed> Default for Shared<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Zeroed> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY:
        // - in bounds, aligned: `new` mapped `size_of::<T>()` bytes, at a page, and checked the alignment;
        // - a valid value, no plain write: `Zeroed`;
        // - alive: the reference borrows `self`.
        unsafe { self.region.base.cast().as_ref() }
    }
}

/// Results that a child may hand to its parent as bytes.
///
/// # Safety
///
/// Holds numbers only: no pointer, reference, descriptor or destructor, which would mean nothing in another process.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: numbers, twice.
unsafe impl<T: Plain> Plain for [T; 2] {}

const MESSAGE_BYTES: usize = 512;

/// What a child leaves behind: the value if it exits with 0, the message if it exits with 1.
#[repr(C)]
struct Letter<T> {
    value: T,
    message_len: usize,
    message: [u8; MESSAGE_BYTES],
}

/// A letter on its way, in shared memory.
struct Mailbox<T> {
    region: Region,
    kind: PhantomData<T>,
}

impl<T: Plain + Default> Mailbox<T> {
    fn new() -> Self {
        Self { region: Region::new(size_of::<Letter<T>>()), kind: PhantomData }
    }

    /// Called once, by the child, as the last thing it does.
    fn put(&self, value: T, message: &str) {
        let mut letter =
            Letter { value, message_len: message.len().min(MESSAGE_BYTES), message: [0; MESSAGE_BYTES] };
        letter.message[..letter.message_len].copy_from_slice(&message.as_bytes()[..letter.message_len]);
        // SAFETY:
        // - in bounds, aligned: the region has the letter's size and starts at a page;
        // - exclusive: one child has this mailbox, and the parent reads after that child is gone.
        unsafe { self.region.base.cast().write(letter) }
    }

    /// Called by the parent after the child exited with 0 or 1, which it does after `put`.
    fn take(self) -> Letter<T> {
        // SAFETY:
        // - in bounds, aligned: as in `put`;
        // - initialised: the child's exit code says that it came past `put`;
        // - exclusive: the child is gone, and waiting for it ordered its stores before this load.
        unsafe { self.region.base.cast().read() }
    }
}

/// A child that is killed and reaped when nobody waits for it any more.
struct Child<T> {
    role: &'static str,
    pid: Pid,
    pidfd: OwnedFd,
    mailbox: Option<Mailbox<T>>,
    reaped: bool,
}

impl<T: Plain + Default> Child<T> {
    fn start(role: &'static str, body: impl FnOnce(&Mailbox<T>) -> T) -> Result<Self, String> {
        let mailbox = Mailbox::new();
        let n_threads = std::fs::read_dir("/proc/self/task")
            .map_err(|error| format!("/proc/self/task: {error}"))?
            .count();
        assert_eq!(n_threads, 1, "only a process of one thread may fork and go on as usual");
        // SAFETY: this process has one thread, as just seen, so the child may do whatever the parent could.
        match unsafe { fork() }.map_err(|error| format!("fork: {error}"))? {
            ForkResult::Child => live(&mailbox, body),
            ForkResult::Parent { child } => {
                let known = rustix::process::Pid::from_raw(child.as_raw()).expect("a child has a process id");
                let pidfd =
                    pidfd_open(known, PidfdFlags::empty()).map_err(|error| format!("pidfd_open: {error}"))?;
                Ok(Self { role, pid: child, pidfd, mailbox: Some(mailbox), reaped: false })
            }
        }
    }

    /// Reaps a child that has ended, and opens its letter.
    fn finish(&mut self) -> Result<T, String> {
        let status = waitpid(self.pid, None).map_err(|error| format!("waitpid: {error}"))?;
        self.reaped = true;
        let mailbox = self.mailbox.take().expect("a child ends once");
        match status {
            WaitStatus::Exited(_, 0) => Ok(mailbox.take().value),
            WaitStatus::Exited(_, 1) => {
                let letter = mailbox.take();
                Err(format!(
                    "{}: {}",
                    self.role,
                    String::from_utf8_lossy(&letter.message[..letter.message_len])
                ))
            }
            other => Err(format!("{}: ended with {other:?}", self.role)),
        }
    }
}

impl<T> Drop for Child<T> {
    fn drop(&mut self) {
        if !self.reaped {
            // Not reaped, so the id can't belong to anybody else yet; both can only fail if it is already gone.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// The life of a child.
fn live<T: Plain + Default>(mailbox: &Mailbox<T>, body: impl FnOnce(&Mailbox<T>) -> T) -> ! {
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        prctl::set_pdeathsig(Signal::SIGKILL).expect("SIGKILL is a signal");
        body(mailbox)
    }));
    leave(mailbox, outcome)
}

/// One of a process's threads has something to say at most.
static LAST_WORDS: Mutex<()> = Mutex::new(());

/// The end of a child, from any of its threads.
fn leave<T: Plain + Default>(mailbox: &Mailbox<T>, outcome: Result<T, Box<dyn Any + Send>>) -> ! {
    let _only_me = LAST_WORDS.lock();
    let code = match outcome {
        Ok(value) => {
            mailbox.put(value, "");
            0
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            mailbox.put(T::default(), text.unwrap_or("panicked without a message"));
            1
        }
    };
    // SAFETY: ends this process at once; nothing of the parent's is to be flushed or dropped here.
    unsafe { libc::_exit(code) }
}

fn pin(cpu: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// The processors this process may run on.
pub fn allowed_cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("a process may ask for its own affinity");
    (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect()
}

/// What somebody has to do, and where.
pub struct Role<'a, T> {
    name: &'static str,
    cpu: usize,
    body: Box<dyn FnOnce() -> T + Send + 'a>,
}

impl<'a, T> Role<'a, T> {
    /// `name` stands in front of its errors.
    pub fn new(name: &'static str, cpu: usize, body: impl FnOnce() -> T + Send + 'a) -> Self {
        Self { name, cpu, body: Box::new(body) }
    }

    fn play(self) -> T {
        pin(self.cpu).unwrap_or_else(|error| panic!("processor {}: {error}", self.cpu));
        (self.body)()
    }
}

impl<T> std::fmt::Debug for Role<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Role").field("name", &self.name).field("cpu", &self.cpu).finish_non_exhaustive()
    }
}

/// Runs every role in a process of its own, and returns what they measured, in the order of the roles.
///
/// # Errors
///
/// What a child panicked with, a child that was killed, and a crew that was not done after `timeout`.
pub fn crew<T: Plain + Default>(roles: Vec<Role<'_, T>>, timeout: Duration) -> Result<Vec<T>, String> {
    let deadline = Instant::now() + timeout;
    let mut children = Vec::with_capacity(roles.len());
    for role in roles {
        children.push(Child::start(role.name, |_| role.play())?);
    }
    gather(children, deadline, timeout)
}

/// Runs both roles in one process, in threads of their own.
///
/// # Errors
///
/// As [`crew`].
pub fn threads<T: Plain + Default>(roles: [Role<'_, T>; 2], timeout: Duration) -> Result<Vec<T>, String> {
    let deadline = Instant::now() + timeout;
    let child = Child::start("threads", |mailbox| {
        thread::scope(|scope| {
            let threads = roles.map(|role| {
                scope.spawn(|| {
                    let outcome = panic::catch_unwind(AssertUnwindSafe(|| role.play()));
                    // The other one may spin until it hears something: this one ends for both.
                    outcome.unwrap_or_else(|panic| leave(mailbox, Err(panic)))
                })
            });
            threads.map(|thread| thread.join().expect("panics were caught"))
        })
    })?;
    let [both] = gather(vec![child], deadline, timeout)?[..] else { unreachable!("one child") };
    Ok(both.to_vec())
}

/// Runs `producer` on `cpus[0]` and `consumer` on `cpus[1]`, in processes of their own.
///
/// # Errors
///
/// As [`crew`].
pub fn pair<T: Plain + Default>(
    cpus: [usize; 2],
    timeout: Duration,
    producer: impl FnOnce() -> T + Send,
    consumer: impl FnOnce() -> T + Send,
) -> Result<[T; 2], String> {
    let roles = vec![Role::new("producer", cpus[0], producer), Role::new("consumer", cpus[1], consumer)];
    crew(roles, timeout).map(|results| results.try_into().ok().expect("one of each"))
}

/// Waits for all, or for the first that fails.
fn gather<T: Plain + Default>(
    mut children: Vec<Child<T>>,
    deadline: Instant,
    timeout: Duration,
) -> Result<Vec<T>, String> {
    let mut results = vec![None; children.len()];
    while results.iter().any(Option::is_none) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("not done after {timeout:?}"));
        }
        for index in ended(&children, left)? {
            results[index] = Some(children[index].finish()?);
        }
    }
    Ok(results.into_iter().map(|result| result.expect("the loop ends when all are there")).collect())
}

/// Sleeps until a child ends or the time is up, and says which have ended.
fn ended<T>(children: &[Child<T>], timeout: Duration) -> Result<Vec<usize>, String> {
    let waiting: Vec<usize> = (0..children.len()).filter(|&index| !children[index].reaped).collect();
    let mut fds: Vec<PollFd<'_>> =
        waiting.iter().map(|&index| PollFd::new(&children[index].pidfd, PollFlags::IN)).collect();
    let timeout = Timespec::try_from(timeout).expect("a time-out of seconds");
    poll(&mut fds, Some(&timeout)).map_err(|error| format!("poll: {error}"))?;
    let ready = waiting.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
    Ok(ready.map(|(&index, _)| index).collect())
}
