//! Terminal: keys one by one and without echo, and the terminal as it was whenever somebody else has it.
//!
//! ```text
//!   take --> keys --Ctrl-Z--> as it was, stopped --fg--> keys --> dropped, panic, signal --> as it was
//!                                            \--bg--> not ours: neither read nor changed, until fg
//! ```
//!
//! (I1) only the process group in front changes it; (I2) what is changed is put back before this process stops or ends, however that
//! comes, but by SIGKILL; (I3) signals of keys and the look of output stay as they are: only lines and echo are off.

use crate::failure::Failure;
use crate::output;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use signal_hook::consts::{SIGCONT, SIGQUIT, SIGTSTP};
use signal_hook::low_level::emulate_default_handler;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The terminal on stdin.
#[derive(Debug)]
pub(crate) struct Terminal {
    stdin: File,
    /// How it was, and whether it is otherwise now.
    before: Mutex<(Termios, bool)>,
    signals: Vec<(i32, Arc<AtomicBool>)>,
    /// Readable when one of them has come.
    woken: UnixStream,
}

impl Terminal {
    /// Takes the terminal on stdin, if there is one.
    pub(crate) fn take() -> Result<Option<Arc<Self>>, Failure> {
        let stdin = output::stdin()?;
        // Not a terminal.
        let Ok(before) = tcgetattr(&stdin) else { return Ok(None) };
        let failed = |error: std::io::Error| Failure::io("watch for signals", &error);
        let (woken, waker) = UnixStream::pair().map_err(failed)?;
        woken.set_nonblocking(true).map_err(failed)?;
        let mut signals = Vec::new();
        for signal in [SIGTSTP, SIGCONT, SIGQUIT] {
            let has_come = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, Arc::clone(&has_come)).map_err(failed)?;
            let waker = waker.try_clone().map_err(failed)?;
            signal_hook::low_level::pipe::register(signal, waker).map_err(failed)?;
            signals.push((signal, has_come));
        }
        let this = Arc::new(Self { stdin, before: Mutex::new((before, false)), signals, woken });
        this.begin();
        Ok(Some(this))
    }

    /// Puts it back as it was.
    pub(crate) fn restore(&self) {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        if before.1 && self.is_ours() {
            // Nobody is left to be told.
            let _ = tcsetattr(&self.stdin, SetArg::TCSADRAIN, &before.0);
        }
        before.1 = false;
    }

    /// Keys one by one, while it is ours.
    fn begin(&self) {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_ours() {
            return;
        }
        let mut keys = before.0.clone();
        keys.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        keys.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        keys.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        before.1 = tcsetattr(&self.stdin, SetArg::TCSADRAIN, &keys).is_ok();
    }

    /// Whether this process is in front of it.
    pub(crate) fn is_ours(&self) -> bool {
        // Where it is nobody's, nobody is in front.
        tcgetpgrp(&self.stdin).map_or(true, |front| front == getpgrp())
    }

    /// Readable when there is a key, or a signal to be [handled](Self::handle_signals).
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.stdin.as_fd(), self.woken.as_fd()]
    }

    /// Keys that were pressed; `None`: there will be none any more. To be called when there are some.
    pub(crate) fn read(&self, keys: &mut [u8]) -> Option<usize> {
        if !self.is_ours() {
            return Some(0);
        }
        match (&self.stdin).read(keys) {
            Ok(0) => None,
            Ok(n) => Some(n),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Some(0),
            Err(_) => None,
        }
    }

    /// Does what signals ask for: stops this process, with `hold` in front of it and `go_on` behind it, or ends it.
    pub(crate) fn handle_signals(&self, hold: impl Fn(), go_on: impl Fn()) {
        while matches!((&self.woken).read(&mut [0; 64]), Ok(1..)) {}
        for (signal, has_come) in &self.signals {
            // ORDER none (Relaxed): the byte that was read, if any, is only what woke us.
            if !has_come.swap(false, Ordering::Relaxed) {
                continue;
            }
            match *signal {
                SIGCONT => self.begin(),
                SIGTSTP => {
                    hold();
                    self.restore();
                    let _ = emulate_default_handler(SIGTSTP);
                    self.begin();
                    go_on();
                }
                signal => {
                    self.restore();
                    let _ = emulate_default_handler(signal);
                }
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Puts a terminal back when it is dropped: the one who handed it out may be held by others still.
#[derive(Debug)]
pub(crate) struct Restoring(pub(crate) Option<Arc<Terminal>>);

impl Drop for Restoring {
    fn drop(&mut self) {
        if let Some(terminal) = &self.0 {
            terminal.restore();
        }
    }
}
