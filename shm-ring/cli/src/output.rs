//! Output: stdout and stderr, neither of which may end the program by surprise.
//!
//! (I1) a closed stdout is an end, not an error; (I2) a closed stderr is nothing at all; (I3) a terminal that somebody else made
//! non-blocking is waited for.

use crate::args::Color;
use crate::failure::Failure;
use anstream::{AutoStream, ColorChoice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;

/// What is said on stderr besides failures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Messages {
    quiet: bool,
    verbose: bool,
}

impl Messages {
    /// By `-q` and `-v`.
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        Self { quiet, verbose }
    }

    /// Whether nothing is to be said but errors.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Something that a user should know.
    pub(crate) fn note(self, message: &str) {
        if !self.quiet {
            complain(message);
        }
    }

    /// Something that a user may want to know.
    pub(crate) fn detail(self, message: &str) {
        if self.verbose {
            complain(message);
        }
    }
}

/// One line on stderr, whatever the flags.
pub(crate) fn complain(message: &str) {
    let line = format!("shm-ring: {message}\n");
    // Nobody is left to be told.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Our stdout, unbuffered.
pub(crate) fn stdout() -> Result<File, Failure> {
    duplicate(&io::stdout(), "stdout")
}

/// Our stderr, unbuffered.
pub(crate) fn stderr() -> Result<File, Failure> {
    duplicate(&io::stderr(), "stderr")
}

/// Our stdin, unbuffered.
pub(crate) fn stdin() -> Result<File, Failure> {
    duplicate(&io::stdin(), "stdin")
}

/// Writes to stdout; that nobody reads it is fine.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    match write_patiently(&mut stdout()?, bytes) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::io("write to stdout", &error)),
        _ => Ok(()),
    }
}

/// Writes everything, also to what was made non-blocking.
pub(crate) fn write_patiently(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether stdout gets colour.
pub(crate) fn is_colored(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => AutoStream::choice(&io::stdout()) != ColorChoice::Never,
    }
}

/// Whether whoever read our pipe is gone.
pub(crate) fn is_closed(file: &File) -> bool {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::empty())];
    let found = poll(&mut fds, PollTimeout::ZERO);
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
    found.is_ok() && fds[0].revents().is_some_and(|events| events.intersects(gone))
}

fn duplicate(stream: &impl AsFd, name: &str) -> Result<File, Failure> {
    let fd = stream.as_fd().try_clone_to_owned();
    fd.map(File::from).map_err(|error| Failure::io(&format!("duplicate {name}"), &error))
}
