//! Harness: other processes, which are this binary run again, and children that are forked.
//!
//! ```text
//!   test                                      the binary again: child::entry, alone
//!   ----                                      -------------------------------------
//!   Actor::start("order::producer", params)   Script::read(): the parameters, from the environment
//!   actor.hear(), actor.expect("ready")  <--  say("ready 3")         lines on stdout that begin with '@'
//!   actor.tell("go")                     -->  listen()               lines on stdin
//!   actor.kill() | stop() | finish()
//! ```
//!
//! (I1) no wait is longer than [`PATIENCE`], and what is late fails with the name of who is; (I2) no actor outlives its test, nor a
//! forked child the process that forked it.

use nix::libc;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, alarm};
use shm_ring::{Consumer, Frame, Observer, RecordInfo, Wait};
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The last resort against a child that hangs and that nobody kills.
const LIFE_SECONDS: u32 = 80;
pub(crate) const PREFIX: &str = "SHM_RING_TEST_";

/// A process that plays a role.
#[derive(Debug)]
pub(crate) struct Actor {
    role: &'static str,
    process: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Actor {
    /// Runs this binary again, as `role` of `child::ROLES`.
    pub(crate) fn start(role: &'static str, params: &[(&str, &dyn Display)]) -> Self {
        let mut process = command(role, params).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(said) = line.strip_prefix('@') {
                    let _ = sender.send(said.to_owned());
                }
            }
        });
        Self { role, stdin: process.stdin.take(), process, lines }
    }

    /// What it says next.
    pub(crate) fn hear(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("{} has said nothing for {PATIENCE:?}", self.role),
            Err(RecvTimeoutError::Disconnected) => self.ended(),
        }
    }

    /// What it says within `time`, if it says anything.
    pub(crate) fn hear_within(&mut self, time: Duration) -> Option<String> {
        match self.lines.recv_timeout(time) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => self.ended(),
        }
    }

    /// What it had said when it was killed.
    pub(crate) fn last_words(&mut self) -> impl Iterator<Item = String> {
        self.lines.iter()
    }

    fn ended(&mut self) -> ! {
        panic!("{} ended too early: {:?}; its message is above", self.role, self.process.wait());
    }

    /// The rest of its next line, which begins with `word`.
    pub(crate) fn expect(&mut self, word: &str) -> String {
        let line = self.hear();
        let rest = line.strip_prefix(word);
        rest.unwrap_or_else(|| panic!("{} said {line:?}, expected {word:?}", self.role)).trim().to_owned()
    }

    /// The number behind `word` in its next line.
    pub(crate) fn expect_number(&mut self, word: &str) -> u64 {
        let rest = self.expect(word);
        rest.parse().unwrap_or_else(|_| panic!("{} said {word} {rest:?}, expected a number", self.role))
    }

    /// Sends it a line.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGSTOP, and waits until it takes effect, or the process has ended.
    pub(crate) fn stop(&self) {
        kill(self.nix_pid(), Signal::SIGSTOP).unwrap();
        let is_still = |state: &char| matches!(state, 'T' | 'Z' | 'X');
        eventually(&format!("{} stops", self.role), || states(self.pid()).iter().all(is_still));
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) {
        kill(self.nix_pid(), Signal::SIGCONT).unwrap();
    }

    /// Waits until all its threads sleep in the kernel.
    pub(crate) fn wait_until_asleep(&self) {
        eventually(&format!("{} sleeps", self.role), || states(self.pid()).iter().all(|state| *state == 'S'));
    }

    /// Closes its stdin and waits for its successful end.
    pub(crate) fn finish(mut self) {
        drop(self.stdin.take());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "{} does not end", self.role);
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(status.success(), "{} failed: {status}; its message is above", self.role);
    }

    fn nix_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.pid()).unwrap())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(role: &str, params: &[(&str, &dyn Display)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child::entry", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(format!("{PREFIX}ROLE"), role);
    for (key, value) in params {
        command.env(format!("{PREFIX}{key}"), value.to_string());
    }
    command
}

/// Plays a role that may end badly, at the latest by its alarm; how it ended, and all that it wrote.
pub(crate) fn run(role: &str, params: &[(&str, &dyn Display)]) -> Output {
    command(role, params).output().unwrap()
}

/// Plays a role that needs a process of its own, and waits for its success.
pub(crate) fn alone(role: &'static str, params: &[(&str, &dyn Display)]) {
    Actor::start(role, params).finish();
}

/// The states of a process's threads, as `ps` shows them; none when it is gone.
fn states(pid: u32) -> Vec<char> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return vec![] };
    let state = |path: PathBuf| {
        let text = std::fs::read_to_string(path.join("stat")).ok()?;
        text.rsplit_once(") ")?.1.chars().next()
    };
    tasks.flatten().filter_map(|task| state(task.path())).collect()
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// A role's parameters.
#[derive(Debug)]
pub(crate) struct Script;

impl Script {
    /// The name of the role that this process is to play, if it is to play one.
    pub(crate) fn role() -> Option<String> {
        let role = std::env::var(format!("{PREFIX}ROLE")).ok()?;
        set_pdeathsig(Signal::SIGKILL).unwrap();
        alarm::set(LIFE_SECONDS);
        Some(role)
    }

    pub(crate) fn text(key: &str) -> String {
        std::env::var(format!("{PREFIX}{key}")).unwrap_or_else(|_| panic!("the role needs {key}"))
    }

    pub(crate) fn path() -> PathBuf {
        Self::text("path").into()
    }

    pub(crate) fn number(key: &str) -> u64 {
        Self::text(key).parse().unwrap()
    }

    pub(crate) fn wait() -> Wait {
        let name = Self::text("wait");
        WAITS.into_iter().find(|wait| format!("{wait:?}") == name).unwrap()
    }
}

/// Every way to wait.
pub(crate) const WAITS: [Wait; 4] = [Wait::Spin, Wait::Yield, Wait::Block, Wait::Adaptive];

/// Tells the test something; one write, so that lines of forked children don't mix.
pub(crate) fn say(line: &str) {
    nix::unistd::write(std::io::stdout(), format!("\n@{line}\n").as_bytes()).unwrap();
}

/// Waits for the test's next line; ends the process when the test is gone.
pub(crate) fn listen() -> String {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap() == 0 {
        // No panic: the test has ended already, and said why.
        std::process::exit(1);
    }
    line.trim().to_owned()
}

/// A forked child.
#[derive(Debug)]
pub(crate) struct Forked {
    pid: Pid,
    waited: bool,
}

/// Forks; the child does the work, without a destructor or an exit handler of its parent's, and ends. For roles only: the test binary
/// itself has threads whose locks a child would find locked.
pub(crate) fn fork(work: impl FnOnce()) -> Forked {
    // SAFETY:
    // - roles run on the one thread of this process that does anything, so no lock is held by a thread that the child lacks;
    // - the child leaves this function by `_exit` only.
    match unsafe { nix::unistd::fork() }.unwrap() {
        ForkResult::Parent { child } => Forked { pid: child, waited: false },
        ForkResult::Child => {
            let done = catch_unwind(AssertUnwindSafe(|| {
                set_pdeathsig(Signal::SIGKILL).unwrap();
                alarm::set(LIFE_SECONDS);
                work();
            }));
            leave(if done.is_ok() { 0 } else { 101 })
        }
    }
}

/// Ends the process at once.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: no preconditions; destructors and exit handlers belong to the parent.
    unsafe { libc::_exit(code) }
}

impl Forked {
    /// Waits for its successful end.
    pub(crate) fn finish(self) {
        assert!(self.ends_well(), "a forked child failed; its message is above");
    }

    /// Waits for its end; whether that was a success, and neither a panic nor a signal.
    pub(crate) fn ends_well(mut self) -> bool {
        let mut status = WaitStatus::StillAlive;
        eventually("a forked child ends", || {
            status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG)).unwrap();
            status != WaitStatus::StillAlive
        });
        self.waited = true;
        status == WaitStatus::Exited(self.pid, 0)
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        if !self.waited {
            kill(self.pid, Signal::SIGKILL).unwrap();
            waitpid(self.pid, None).unwrap();
            self.waited = true;
        }
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory that goes away by itself, in memory where there is such a place: a file system on a disk makes whoever touches a page
/// wait for the disk, at any time and for seconds.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Whether privileged tests can run; says so when they can't.
pub(crate) fn is_root_for(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("SKIPPED {test}: needs root");
    }
    root
}

/// The next record of a reader, which must come.
pub(crate) trait Next {
    type Record<'a>
    where
        Self: 'a;
    /// Waits for it, with patience.
    fn soon(&mut self) -> Self::Record<'_>;
}

impl Next for Consumer {
    type Record<'a> = Frame<'a>;
    fn soon(&mut self) -> Frame<'_> {
        self.poll_timeout(PATIENCE).unwrap().expect("a record, within the watchdog's time")
    }
}

impl Next for Observer {
    type Record<'a> = (RecordInfo, Vec<u8>);
    fn soon(&mut self) -> (RecordInfo, Vec<u8>) {
        let mut payload = Vec::new();
        let info = self.next_timeout(&mut payload, PATIENCE).unwrap();
        (info.expect("a record, within the watchdog's time"), payload)
    }
}
