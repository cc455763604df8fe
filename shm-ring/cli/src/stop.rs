//! Stop: SIGINT, SIGTERM and SIGHUP end a command between two steps, also while it waits.
//!
//! ```text
//!   signal --> watcher thread --> asked = true, a byte into the wake pipe --> main loop ends, flushes, releases
//!                   |
//!                   +-- main has been in one and the same blocking call for 200 ms: leave from here
//! ```
//! A call that blocks is a write to a pipe that nobody empties, or a claim in a full ring. In neither is anything half done: what was
//! not written is not released, and a claim that waits is not open. The kernel frees our slot's lock, and that is all that leaving does.
//!
//! (I1) a second signal is never needed; (I2) SIGHUP stays ignored for those who were told to ignore it (`nohup`).

use crate::failure::Failure;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a blocking call may go on after a signal.
const PATIENCE: Duration = Duration::from_millis(200);

/// Marks the calls that may block, for a watcher to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocking {
    /// Odd: inside such a call. Counts both ends, so that two calls are told apart.
    calls: Arc<AtomicU64>,
}

impl Blocking {
    /// From here to the drop of the result, the thread may block.
    pub(crate) fn enter(&self) -> BlockingCall<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        BlockingCall { calls: &self.calls }
    }

    /// Returns when one and the same call has lasted for [`PATIENCE`]; never, if that does not happen.
    pub(crate) fn wait_until_stuck(&self) {
        let mut seen = (0, Instant::now());
        loop {
            let calls = self.calls.load(Ordering::Relaxed);
            if calls != seen.0 {
                seen = (calls, Instant::now());
            } else if calls % 2 == 1 && seen.1.elapsed() >= PATIENCE {
                return;
            }
            std::thread::sleep(PATIENCE / 10);
        }
    }
}

/// A call that may block.
#[derive(Debug)]
pub(crate) struct BlockingCall<'a> {
    calls: &'a AtomicU64,
}

impl Drop for BlockingCall<'_> {
    fn drop(&mut self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether a signal asked the command to end.
#[derive(Debug)]
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
    blocking: Blocking,
    wake: UnixStream,
}

impl Stop {
    /// Begins to watch. `leave` ends the process when the main thread can't, because a call blocks.
    pub(crate) fn watch(leave: impl Fn() + Send + 'static) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::io("watch for signals", &error);
        let (wake, mut waker) = UnixStream::pair().map_err(failed)?;
        let mut wanted = vec![SIGINT, SIGTERM];
        if !is_ignored(SIGHUP) {
            wanted.push(SIGHUP);
        }
        let mut signals = Signals::new(wanted).map_err(failed)?;
        let asked = Arc::new(AtomicBool::new(false));
        let blocking = Blocking::default();
        let (asked_there, blocking_there) = (Arc::clone(&asked), blocking.clone());
        let watcher = move || {
            if signals.forever().next().is_some() {
                // Release, pairs with the Acquire of `is_asked`: whoever is woken by the byte below finds it set.
                asked_there.store(true, Ordering::Release);
                // Should it fail: the main thread looks at `asked` by itself, too.
                let _ = waker.write_all(&[0]);
                blocking_there.wait_until_stuck();
                leave();
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(watcher).map_err(failed)?;
        Ok(Self { asked, blocking, wake })
    }

    /// Whether it is time to end.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Readable from the first signal on.
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// For marking calls that may block.
    pub(crate) fn blocking(&self) -> &Blocking {
        &self.blocking
    }

    /// Waits until a read from `file` returns at once; `false` when it is time to end.
    pub(crate) fn wait_readable(&self, file: &File) -> Result<bool, Failure> {
        loop {
            let mut fds = [
                PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
                PollFd::new(file.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => return Ok(!self.is_asked()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(Failure::io("wait for input", &error.into())),
            }
        }
    }
}

/// Whether this process was started with the signal ignored, as `nohup` does.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}
