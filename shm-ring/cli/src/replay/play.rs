//! Play: many sources as one stream, each record when it is due.
//!
//! ```text
//!   main:      due now? --yes--> --grep --> ring, buffer --> 64 KiB? --> stdout
//!                 |no: the buffer to stdout, then wait
//!   attendant: signals, keys --> control        how it stands --> stderr
//! ```
//!
//! (I1) stdout has everything before anything waits; (I2) a signal, a key or a closed pipe ends it between two records; (I3) the terminal
//! is left as it was.

use super::account::{self, Account};
use super::into::Into;
use super::keys::Steering;
use super::merged;
use super::sources;
use super::terminal::{Restoring, Terminal};
use crate::args::{Color, Format, Replay};
use crate::failure::{Code, Failure};
use crate::output::{self, Messages, write_patiently};
use crate::progress::Progress;
use crate::show::{Seen, Show};
use crate::size::{show_count, show_duration};
use crate::stop::Stop;
use crate::tail::time_of;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_ring::replay::{Pace, PoolSource, Replayer, Source, Waiting};
use std::fs::File;
use std::io::{ErrorKind, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is written at once.
const FLUSH_BYTES: usize = 64 * 1024;
/// How often signals and a closed pipe are looked for.
const STEP: Duration = Duration::from_millis(100);
/// How often it is said how it stands.
const NEWS_EVERY_MS: u16 = 100;

/// Runs the command.
pub(crate) fn run(args: &Replay, color: Color, messages: Messages) -> Result<(), Failure> {
    let from_ns = args.from.as_deref().map(|from| time_of("--from", from)).transpose()?;
    let to_ns = args.to.as_deref().map(|to| time_of("--to", to)).transpose()?;
    let into = args.into.as_deref().map(Into::open).transpose()?;
    let format = args.output.or(into.is_none().then_some(Format::Short));
    let mut account = Account::new(messages);
    let merge = match &args.ring {
        Some(ring) => sources::open_with_ring(&args.sources, ring, &args.opening)?,
        None => sources::open(&args.sources, &args.opening, None, &mut account)?,
    };
    let names: Vec<String> = merge.sources().iter().map(|source| source.name().to_owned()).collect();
    let terminal =
        if format.is_some() && is_pipe(Path::new("/dev/stdout")) { None } else { Terminal::take()? };
    // Also when something panics.
    let restoring = Restoring(terminal);
    let terminal = restoring.0.as_deref();
    if args.speed == Pace::Step && terminal.is_none() {
        let what = "--speed step: needs a terminal for its keys on stdin, and no pipe on stdout";
        return Err(Failure::new(Code::Usage, what));
    }
    let stop = Stop::watch(leave(args, restoring.0.clone()))?;
    let waiting = if args.sleep { Waiting::Sleep } else { Waiting::Spin };
    let mut replayer = Replayer::new(merge).pace(args.speed).lag(args.lag).waiting(waiting);
    if let Some(from_ns) = from_ns {
        replayer = replayer.from_ns(from_ns);
    }
    if let Some(to_ns) = to_ns {
        replayer = replayer.to_ns(to_ns);
    }
    let control = replayer.control();
    // Data on a terminal is progress enough, and would be torn by it.
    let has_progress = format.is_none() || !std::io::stdout().is_terminal();
    let progress = has_progress.then(|| Progress::of_time("replaying".to_owned(), messages));
    let (over, is_over) = UnixStream::pair().map_err(|error| Failure::io("make a socket", &error))?;
    let attendant = Attendant { stop: &stop, terminal, progress: progress.as_ref(), is_over };
    let shown = format.map(|format| Shown::new(format, color)).transpose()?;
    let player = Player { args, names, replayer, into, shown, stop: &stop, account };
    let began = Instant::now();
    let steering = Steering::new(control.clone(), args.speed);
    let played = std::thread::scope(|scope| {
        scope.spawn(move || attendant.attend(steering));
        let played = player.play();
        drop(over);
        played
    });
    drop(progress);
    let records = show_count(control.progress().n_records, "record", "records");
    messages.detail(&format!("replayed {records} in {}", show_duration(began.elapsed())));
    let account = played?;
    account.finish()?;
    if account.is_lossy() && args.fail_on_loss {
        return Err(Failure::new(Code::Loss, "records are missing in a source"));
    }
    Ok(())
}

/// What ends the process when the main thread can't, because a call blocks.
fn leave(args: &Replay, terminal: Option<Arc<Terminal>>) -> impl Fn() + Send + 'static {
    let into = args.into.clone();
    move || {
        if let Some(terminal) = &terminal {
            terminal.restore();
        }
        let code = match &into {
            None => 0,
            Some(path) => {
                output::complain(&format!("{path:?} is full, or nobody reads stdout: interrupted"));
                Code::Full.number()
            }
        };
        std::process::exit(code.into());
    }
}

/// Somebody at the other end of a pipe, a pager, may read keys itself.
fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    On,
    /// It is over, or nobody reads our stdout.
    NoFurther,
}

/// Hands out records when they are due.
#[derive(Debug)]
struct Player<'a> {
    args: &'a Replay,
    names: Vec<String>,
    replayer: Replayer<PoolSource>,
    into: Option<Into>,
    shown: Option<Shown>,
    stop: &'a Stop,
    account: Account,
}

impl Player<'_> {
    /// Until it is over, and everything is written.
    fn play(mut self) -> Result<Account, Failure> {
        let (mut scratch, mut timeout) = (Vec::new(), Duration::ZERO);
        let mut played = Ok(Goes::On);
        while !self.stop.is_asked() && matches!(played, Ok(Goes::On)) {
            played = self.step(&mut timeout, &mut scratch);
        }
        // What was shown before an error counts, too.
        let flushed = self.flush();
        self.account.tell_missing(account::stats(self.replayer.merge().sources()));
        played.and(flushed).map(|_| self.account)
    }

    /// A record; or, if there is none within that time, everything to stdout.
    fn step(&mut self, timeout: &mut Duration, scratch: &mut Vec<u8>) -> Result<Goes, Failure> {
        // Who shows nothing has nothing to write before it waits.
        let found = match self.shown {
            Some(_) => self.replayer.next_timeout(*timeout),
            None => self.replayer.next(),
        };
        let event = match found {
            Ok(Some(event)) => event,
            Ok(None) => {
                *timeout = STEP;
                return if self.replayer.is_over() { Ok(Goes::NoFurther) } else { self.flush() };
            }
            Err(error) => {
                self.account.fail_in(&error);
                return Ok(Goes::On);
            }
        };
        *timeout = Duration::ZERO;
        let found = merged::found(&event);
        let payload = match event.record.payload(scratch) {
            Ok(payload) => payload,
            Err(error) => {
                self.account.fail_at(event.source, &self.names[event.source], &error);
                return Ok(Goes::On);
            }
        };
        let seen = Seen::new(found.info, payload);
        if self.args.grep.as_ref().is_some_and(|grep| !grep.is_match(seen.message)) {
            return Ok(Goes::On);
        }
        if let Some(into) = &mut self.into {
            into.push(&event, self.stop.blocking())?;
        }
        let Some(shown) = &mut self.shown else { return Ok(Goes::On) };
        let seen = seen.with_origin(Some(&self.names[event.source]), found.is_row);
        shown.show.show(&seen, &mut shown.out);
        if shown.out.len() < FLUSH_BYTES { Ok(Goes::On) } else { self.flush() }
    }

    /// Writes what was shown.
    fn flush(&mut self) -> Result<Goes, Failure> {
        let Some(shown) = &mut self.shown else { return Ok(Goes::On) };
        let call = self.stop.blocking().enter();
        let written = write_patiently(&mut shown.stdout, &shown.out);
        drop(call);
        shown.out.clear();
        match written {
            Ok(()) if output::is_closed(&shown.stdout) => Ok(Goes::NoFurther),
            Ok(()) => Ok(Goes::On),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Goes::NoFurther),
            Err(error) => Err(Failure::io("write to stdout", &error)),
        }
    }
}

/// What is shown.
#[derive(Debug)]
struct Shown {
    show: Show,
    stdout: File,
    /// What was not yet written.
    out: Vec<u8>,
}

impl Shown {
    fn new(format: Format, color: Color) -> Result<Self, Failure> {
        let (show, stdout) = (Show::new(format, output::is_colored(color)), output::stdout()?);
        Ok(Self { show, stdout, out: Vec::with_capacity(2 * FLUSH_BYTES) })
    }
}

/// Looks after everything else while the player waits.
#[derive(Debug)]
struct Attendant<'a> {
    stop: &'a Stop,
    terminal: Option<&'a Terminal>,
    progress: Option<&'a Progress>,
    /// At its end when the player is.
    is_over: UnixStream,
}

impl Attendant<'_> {
    fn attend(&self, mut steering: Steering) {
        let mut terminal = self.terminal;
        loop {
            let mut fds = vec![
                PollFd::new(self.is_over.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stop.wake_fd(), PollFlags::POLLIN),
            ];
            if let Some(terminal) = terminal {
                let [keys, signals] = terminal.fds();
                fds.push(PollFd::new(signals, PollFlags::POLLIN));
                if terminal.is_ours() {
                    fds.push(PollFd::new(keys, PollFlags::POLLIN));
                }
            }
            let polled = poll(&mut fds, PollTimeout::from(NEWS_EVERY_MS));
            let is_there = |n: usize| {
                let events = fds.get(n).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
                matches!(polled, Ok(1..)) && !events.is_empty()
            };
            if is_there(0) || !matches!(polled, Ok(_) | Err(Errno::EINTR)) {
                return;
            }
            if is_there(1) {
                return steering.stop();
            }
            if let Some(ours) = terminal.filter(|_| is_there(2)) {
                ours.handle_signals(|| steering.hold(), || steering.go_on());
            }
            if let Some(ours) = terminal.filter(|_| is_there(3)) {
                let mut keys = [0; 64];
                match ours.read(&mut keys) {
                    Some(n) => steering.typed(&keys[..n]),
                    // It was hung up.
                    None => terminal = None,
                }
            }
            if let Some(progress) = self.progress {
                progress.say(steering.status());
            }
        }
    }
}
