//! Child: the command of `exec`, how it ends, and the signals that it is to get.
//!
//! ```text
//!   SIGTERM ... --> signal thread --> the child runs: kill(2)       the child is gone: asked = true
//!   SIGCHLD -----------'  '--> a byte into the wake pipe, which the main loop polls
//! ```
//! A terminal sends Ctrl-C to the child, too: what the kernel sent is not passed on, or the child would get it twice.
//!
//! (I1) signals are watched before the child exists, so that none goes missing; (I2) no signal is sent to a pid that was reaped: both
//! happen under one lock; (I3) what this process was told to ignore stays ignored, here and in the child.

use crate::stop::{Blocking, is_ignored};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PASSED_ON: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];

/// A command that was started.
#[derive(Debug)]
pub(crate) struct Running {
    shared: Arc<Shared>,
    pid: u32,
    wake: UnixStream,
}

#[derive(Debug)]
struct Shared {
    child: Mutex<Child>,
    /// A signal came when there was no child any more: the command is to end.
    asked: AtomicBool,
    blocking: Blocking,
}

impl Running {
    /// Starts `command`. `leave` ends this process when a signal asks for it after the command's end and the main thread can't, because
    /// a call that it marked in `blocking` does not return.
    pub(crate) fn start(
        command: &mut Command,
        blocking: Blocking,
        leave: impl Fn(ExitStatus) + Send + 'static,
    ) -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let wanted = PASSED_ON.iter().filter(|signal| !is_ignored(**signal)).chain([&SIGCHLD]);
        let signals = SignalsInfo::<WithOrigin>::new(wanted)?;
        let child = command.spawn()?;
        let pid = child.id();
        let shared = Shared { child: Mutex::new(child), asked: AtomicBool::new(false), blocking };
        let shared = Arc::new(shared);
        let there = Arc::clone(&shared);
        let passing = move || pass_on(signals, &there, waker, leave);
        std::thread::Builder::new().name("signals".into()).spawn(passing)?;
        Ok(Self { shared, pid, wake })
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable when something happened to it.
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Empties the wake pipe.
    pub(crate) fn was_woken(&mut self) {
        // Empty or not: what happened is asked elsewhere.
        while self.wake.read(&mut [0; 64]).is_ok_and(|n| n > 0) {}
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> io::Result<Option<ExitStatus>> {
        lock(&self.shared).try_wait()
    }

    /// Whether a signal asked to end after the command did.
    pub(crate) fn is_asked(&self) -> bool {
        self.shared.asked.load(Ordering::Acquire)
    }
}

/// The exit code that a shell would show.
pub(crate) fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn pass_on(
    mut signals: SignalsInfo<WithOrigin>,
    shared: &Shared,
    mut waker: UnixStream,
    leave: impl Fn(ExitStatus),
) {
    for origin in signals.forever() {
        let left = if origin.signal == SIGCHLD { None } else { send(shared, &origin) };
        // Full: then there is something in it, which is all that matters.
        let _ = waker.write(&[0]);
        if let Some(status) = left {
            shared.blocking.wait_until_stuck();
            leave(status);
        }
    }
}

/// Sends the child what we got; or how it ended, when it has.
fn send(shared: &Shared, origin: &Origin) -> Option<ExitStatus> {
    let mut child = lock(shared);
    if let Ok(Some(status)) = child.try_wait() {
        // Release, pairs with the Acquire of `is_asked`: whoever is woken finds it set.
        shared.asked.store(true, Ordering::Release);
        return Some(status);
    }
    if origin.cause != Cause::Kernel {
        let pid = i32::try_from(child.id()).map(Pid::from_raw);
        if let (Ok(pid), Ok(signal)) = (pid, Signal::try_from(origin.signal)) {
            // It may have ended, or belong to another user by now (set-uid): nothing that could be done about it here.
            let _ = kill(pid, signal);
        }
    }
    None
}

fn lock(shared: &Shared) -> MutexGuard<'_, Child> {
    shared.child.lock().unwrap_or_else(PoisonError::into_inner)
}
