//! Play: many sources as one stream, each record when it is due.
//!
//! ```text
//!   main:      next, which waits --> --grep --> ring, stdout --> next
//!   attendant: signals, keys --> control        what main has shown --> stdout        how it stands --> stderr
//! ```
//!
//! (I1) stdout has everything within a few ms, also while the replay waits or is held; (I2) a signal, a key or a closed pipe ends it
//! between two records; (I3) the terminal is left as it was.

use super::account::{self, Account};
use super::into::Into;
use super::keys::{Place, Steering};
use super::merged;
use super::sources;
use super::terminal::{Restoring, Terminal};
use super::writer::{Writer, Written};
use crate::args::{Color, Format, Replay};
use crate::failure::{Code, Failure};
use crate::output::{self, Messages};
use crate::progress::Progress;
use crate::show::{Seen, Show};
use crate::size::{show_count, show_duration};
use crate::stop::Stop;
use crate::tail::time_of;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_ring::replay::{Pace, PoolSource, Replayer, Source, Waiting};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long something that was shown may wait to be written.
const FLUSH_EVERY_MS: u16 = 5;
/// How often it is said how it stands.
const NEWS_EVERY: Duration = Duration::from_millis(100);
/// How often it is looked whether something has come.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A record that is later than that is written with those behind it.
const IN_TIME: Duration = Duration::from_millis(1);

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
    let writer = format.map(|_| Writer::new(stop.blocking().clone())).transpose()?;
    let place = Place::new(args.speed);
    // Data on a terminal is progress enough, and would be torn by it.
    let has_progress = format.is_none() || !std::io::stdout().is_terminal();
    let progress = has_progress.then(|| Progress::of_time("replaying".to_owned(), messages));
    let steering = Steering::new(replayer.control(), args.speed);
    let (over, is_over) = UnixStream::pair().map_err(|error| Failure::io("make a socket", &error))?;
    let attendant = Attendant {
        stop: &stop,
        terminal,
        writer: writer.as_ref(),
        place: &place,
        progress: progress.as_ref(),
        is_over,
    };
    let player = Player {
        args,
        names,
        show: Show::new(format.unwrap_or(Format::Short), output::is_colored(color)),
        replayer,
        into,
        writer: writer.as_ref(),
        stop: &stop,
        place: &place,
        account,
    };
    let began = Instant::now();
    let played = std::thread::scope(|scope| {
        scope.spawn(move || attendant.attend(steering));
        let played = player.play();
        drop(over);
        played
    });
    drop(progress);
    let account = played?;
    let records = show_count(place.n_records.load(Ordering::Relaxed), "record", "records");
    messages.detail(&format!("replayed {records} in {}", show_duration(began.elapsed())));
    account.finish()?;
    if account.is_lossy() && args.fail_on_loss {
        return Err(Failure::new(Code::Loss, "records are missing in a source"));
    }
    Ok(())
}

/// What ends the process when the main thread can't, because a call blocks.
fn leave(args: &Replay, terminal: Option<std::sync::Arc<Terminal>>) -> impl Fn() + Send + 'static {
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

/// Hands out records when they are due.
#[derive(Debug)]
struct Player<'a> {
    args: &'a Replay,
    names: Vec<String>,
    show: Show,
    replayer: Replayer<PoolSource>,
    into: Option<Into>,
    writer: Option<&'a Writer>,
    stop: &'a Stop,
    place: &'a Place,
    account: Account,
}

impl Player<'_> {
    /// Until it is over, and everything is written.
    fn play(mut self) -> Result<Account, Failure> {
        let played = self.records();
        let flushed = self.writer.map_or(Ok(Written::Fine), Writer::flush);
        self.account.tell_missing(account::stats(self.replayer.merge().sources()));
        played.and(flushed.map(|_| self.account))
    }

    fn records(&mut self) -> Result<(), Failure> {
        let mut scratch = Vec::new();
        let mut n_records = 0;
        while !self.stop.is_asked() {
            let event = match self.replayer.next() {
                Ok(Some(event)) => event,
                Ok(None) => {
                    if self.replayer.is_over() || self.is_closed_while_waiting()? {
                        break;
                    }
                    continue;
                }
                Err(error) => {
                    self.account.fail_in(&error);
                    continue;
                }
            };
            n_records += 1;
            self.place.n_records.store(n_records, Ordering::Relaxed);
            self.place.timestamp_ns.store(event.stamp.timestamp_ns, Ordering::Relaxed);
            let found = merged::found(&event);
            let payload = event.record.payload(&mut scratch);
            let seen = Seen::new(found.info, payload);
            if self.args.grep.as_ref().is_some_and(|grep| !grep.is_match(seen.message)) {
                continue;
            }
            if let Some(into) = &mut self.into {
                into.push(event.record.tags, payload, self.stop.blocking())?;
            }
            if let Some(writer) = self.writer {
                let seen = seen.with_origin(Some(&self.names[event.source]), found.is_row);
                let written = writer.show(|out| self.show.show(&seen, out))?;
                if written == Written::Closed || self.write_if_in_time(writer)? == Written::Closed {
                    break;
                }
            }
        }
        Ok(())
    }

    /// What is late goes with what comes behind it, which is late as well.
    fn write_if_in_time(&self, writer: &Writer) -> Result<Written, Failure> {
        let late = self.replayer.progress().late;
        self.place.late_ns.store(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if self.place.is_paced.load(Ordering::Relaxed) && late < IN_TIME {
            writer.flush()
        } else {
            Ok(Written::Fine)
        }
    }

    /// Nothing is there yet: waits a little.
    fn is_closed_while_waiting(&self) -> Result<bool, Failure> {
        if let Some(writer) = self.writer {
            if writer.flush()? == Written::Closed || writer.is_closed() {
                return Ok(true);
            }
        }
        std::thread::sleep(LOOK_EVERY);
        Ok(false)
    }
}

/// Looks after everything else while the player waits.
#[derive(Debug)]
struct Attendant<'a> {
    stop: &'a Stop,
    terminal: Option<&'a Terminal>,
    writer: Option<&'a Writer>,
    place: &'a Place,
    progress: Option<&'a Progress>,
    /// At its end when the player is.
    is_over: UnixStream,
}

impl Attendant<'_> {
    fn attend(&self, mut steering: Steering) {
        let mut news = Instant::now();
        let mut terminal = self.terminal;
        let timeout = if self.writer.is_some() { FLUSH_EVERY_MS } else { 100 };
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
            let polled = poll(&mut fds, PollTimeout::from(timeout));
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
                    Some(n) => steering.typed(&keys[..n], self.place),
                    // It was hung up.
                    None => terminal = None,
                }
            }
            if let Some(writer) = self.writer {
                // The player hears of it, too.
                let _ = writer.flush();
            }
            if let Some(progress) = self.progress.filter(|_| news.elapsed() >= NEWS_EVERY) {
                progress.say(steering.status(self.place));
                news = Instant::now();
            }
        }
    }
}
