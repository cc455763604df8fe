//! Exec: runs a command; every line of its stdout and stderr becomes one record.
//!
//! ```text
//!   child stdout --\                 /--> sink --> ring
//!                   >-- poll, read -<
//!   child stderr --/                 \--> our stdout and stderr (--tee)
//! ```
//! One thread reads both pipes, so records have the order in which the bytes arrived. It ends when both pipes are at their end and the
//! child is reaped; or, when others inherited the pipes, once the child is gone and nothing came for [`IDLE_MS`].
//!
//! (I1) neither a closed stdout nor a broken ring stops or kills the child; (I2) a full ring holds the child back, unless told to drop;
//! (I3) the child's exit code is ours.

use crate::args::Exec;
use crate::child::{Running, code_of};
use crate::failure::{Code, Failure};
use crate::input::Lines;
use crate::output::{self, Messages, write_patiently};
use crate::sink::{self, Head, Look, OnFull, Sink};
use crate::size::show_count;
use crate::stop::Blocking;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_ring::Stream;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

/// How long the pipes must be silent after the child's end, when somebody else holds them open.
const IDLE_MS: u16 = 500;

/// Runs the command, and the command's command.
pub(crate) fn run(args: &Exec, messages: Messages) -> Result<ExitCode, Failure> {
    let ring = sink::open_or_create(&args.target, messages)?;
    let on_full = if args.drop { OnFull::Drop } else { OnFull::Wait };
    let blocking = Blocking::default();
    let sink = Sink::new(&ring, &args.target, Look::Log, on_full, blocking.clone(), messages)?;
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::new(Code::Usage, "no command"));
    };
    let (stdout_ours, stdout_childs) = pipe()?;
    let (stderr_ours, stderr_childs) = pipe()?;
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::from(stdout_childs)).stderr(Stdio::from(stderr_childs));
    let path = args.target.ring.clone();
    let leave = move |status| {
        output::complain(&format!(
            "{path:?}: interrupted while waiting, the command's last lines may be missing"
        ));
        std::process::exit(code_of(status).into());
    };
    let child = match Running::start(&mut command, blocking.clone(), leave) {
        Ok(child) => child,
        Err(error) => {
            output::complain(&format!("run {program:?}: {error}"));
            return Ok(if error.kind() == ErrorKind::NotFound { 127 } else { 126 }.into());
        }
    };
    // Our copies of the child's ends would keep the pipes open for ever.
    drop(command);
    let tag =
        args.target.tag.clone().unwrap_or_else(|| {
            Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned()
        });
    let pipe = |stream, source, tee: fn() -> Result<File, Failure>| -> Result<Pipe, Failure> {
        let head = sink.head(child.pid(), stream, &tag);
        let lines = Lines::new(sink.message_max(&head));
        Ok(Pipe { source: Some(source), lines, head, tee: if args.tee { Some(tee()?) } else { None } })
    };
    let pipes = [
        pipe(Stream::Stdout, stdout_ours, output::stdout)?,
        pipe(Stream::Stderr, stderr_ours, output::stderr)?,
    ];
    Collector { child, pipes, sink, blocking, broken: None }.run(&args.target.ring, messages)
}

/// One of the child's streams.
#[derive(Debug)]
struct Pipe {
    /// `None`: at its end.
    source: Option<File>,
    lines: Lines,
    head: Head,
    /// `None`: not wanted, or nobody reads it.
    tee: Option<File>,
}

/// The child and where its lines go.
#[derive(Debug)]
struct Collector {
    child: Running,
    pipes: [Pipe; 2],
    sink: Sink,
    blocking: Blocking,
    /// Why records go nowhere.
    broken: Option<Failure>,
}

impl Collector {
    fn run(mut self, path: &Path, messages: Messages) -> Result<ExitCode, Failure> {
        let status = self.collect()?;
        for pipe in &mut self.pipes {
            if let (Some(line), None) = (pipe.lines.rest(), &self.broken) {
                self.broken = self.sink.add(&pipe.head, line.bytes, line.partial).err();
            }
        }
        self.flush();
        let counts = self.sink.counts();
        messages.detail(&format!("{path:?}: {} records, {} bytes of payload", counts.records, counts.bytes));
        if counts.dropped > 0 {
            let dropped = show_count(counts.dropped, "record was dropped", "records were dropped");
            output::complain(&format!("{path:?} was full: {dropped}"));
        }
        if self.broken.is_some() && status.success() {
            // The reason was told when it happened.
            return Ok(Code::Runtime.into());
        }
        Ok(code_of(status).into())
    }

    /// Reads until the end, which is the child's exit status.
    fn collect(&mut self) -> Result<ExitStatus, Failure> {
        loop {
            let failed = |error| Failure::io("wait for the command", &error);
            let ended = self.child.ended().map_err(failed)?;
            let is_open = self.pipes.iter().any(|pipe| pipe.source.is_some());
            match ended {
                Some(status) if !is_open || self.child.is_asked() => return Ok(status),
                _ => {}
            }
            let timeout = if ended.is_some() { PollTimeout::from(IDLE_MS) } else { PollTimeout::NONE };
            let ready = self.wait(timeout).map_err(failed)?;
            if let (Some(status), false) = (ended, ready.any()) {
                return Ok(status);
            }
            if ready.child {
                self.child.was_woken();
            }
            for (pipe, _) in self.pipes.iter_mut().zip(ready.pipes).filter(|(_, is_ready)| *is_ready) {
                pipe.read(&mut self.sink, &self.blocking, &mut self.broken);
            }
        }
    }

    fn wait(&self, timeout: PollTimeout) -> io::Result<Ready> {
        let mut fds = vec![PollFd::new(self.child.wake_fd(), PollFlags::POLLIN)];
        let sources = self.pipes.iter().filter_map(|pipe| pipe.source.as_ref());
        fds.extend(sources.map(|source| PollFd::new(source.as_fd(), PollFlags::POLLIN)));
        loop {
            match poll(&mut fds, timeout) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Also at the end of a pipe: then a read says so.
        let mut ready = fds.iter().map(|fd| fd.any().unwrap_or(true));
        let child = ready.next().unwrap_or(false);
        let pipes = [0, 1].map(|i: usize| self.pipes[i].source.is_some() && ready.next().unwrap_or(false));
        Ok(Ready { child, pipes })
    }

    fn flush(&mut self) {
        if self.broken.is_none() {
            self.broken = self.sink.flush().err();
            tell(self.broken.as_ref());
        }
    }
}

/// What there is to read.
#[derive(Clone, Copy, Debug)]
struct Ready {
    child: bool,
    pipes: [bool; 2],
}

impl Ready {
    fn any(self) -> bool {
        self.child || self.pipes[0] || self.pipes[1]
    }
}

impl Pipe {
    /// Reads once: into the ring, then to whom it was meant for.
    fn read(&mut self, sink: &mut Sink, blocking: &Blocking, broken: &mut Option<Failure>) {
        let Some(source) = &mut self.source else { return };
        let n = self.lines.read(source).unwrap_or(0);
        if n == 0 {
            self.source = None;
            return;
        }
        let mut copy = Vec::new();
        if self.tee.is_some() {
            copy.extend_from_slice(self.lines.last_read(n));
        }
        let mut result = Ok(());
        while let Some(line) = self.lines.next() {
            if broken.is_none() && result.is_ok() {
                result = sink.add(&self.head, line.bytes, line.partial);
            }
        }
        if broken.is_none() {
            *broken = result.and_then(|()| sink.flush()).err();
            tell(broken.as_ref());
        }
        if let Some(tee) = &mut self.tee {
            let _call = blocking.enter();
            if let Err(error) = write_patiently(tee, &copy) {
                if error.kind() != ErrorKind::BrokenPipe {
                    output::complain(&format!("copy the command's output: {error}"));
                }
                self.tee = None;
            }
        }
    }
}

fn tell(broken: Option<&Failure>) {
    if let Some(failure) = broken {
        output::complain(&format!("{}; the command goes on without records", failure.message));
    }
}

/// Our end to read from, and the child's.
fn pipe() -> Result<(File, OwnedFd), Failure> {
    let (ours, childs) = io::pipe().map_err(|error| Failure::io("make a pipe", &error))?;
    Ok((File::from(OwnedFd::from(ours)), OwnedFd::from(childs)))
}
