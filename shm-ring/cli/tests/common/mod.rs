//! Common: the tool as a process, with a directory of its own per test.

#![allow(dead_code)]

pub(crate) mod helper;
pub(crate) mod history;

use shm_ring::{LogRecord, Ring, Start, Stream};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// Longer than anything here takes, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory, and the ring in it.
pub(crate) struct Rig {
    directory: tempfile::TempDir,
}

impl Rig {
    /// An empty directory.
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// One with a ring of that capacity.
    pub(crate) fn with_ring(capacity: &str) -> Self {
        let rig = Self::new();
        rig.ok(["create", "app.ring", "--capacity", capacity]);
        rig
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn ring(&self) -> PathBuf {
        self.path("app.ring")
    }

    /// The tool, to be started in the directory.
    pub(crate) fn tool<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shm-ring"));
        command.args(args).current_dir(self.directory.path()).env_remove("SHM_RING").stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Done {
        Done::of(self.start(args))
    }

    /// Runs it to its end, which must be good; its stdout.
    pub(crate) fn ok<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> String {
        let done = self.run(args);
        assert_eq!(done.code, 0, "{done:?}");
        done.out
    }

    /// Runs it to its end with that on stdin.
    pub(crate) fn run_with<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I, input: &[u8]) -> Done {
        let mut child = self.start_with_stdin(args);
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A tool that ends early does not read everything.
        let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let done = Done::of(child);
        writing.join().unwrap();
        done
    }

    /// Starts it with pipes.
    pub(crate) fn start<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Child {
        self.tool(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts it with pipes, also on stdin.
    pub(crate) fn start_with_stdin<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Child {
        let mut command = self.tool(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Pushes lines into the ring, which must work.
    pub(crate) fn push(&self, input: &[u8]) {
        let done = self.run_with(["push", "app.ring"], input);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
    }

    /// All messages in the ring, as `tail -o raw` shows them.
    pub(crate) fn messages(&self) -> String {
        self.ok(["tail", "app.ring", "--oldest", "-o", "raw"])
    }

    /// All objects that `tail -o json` shows.
    pub(crate) fn objects(&self) -> Vec<serde_json::Value> {
        objects(&self.ok(["tail", "app.ring", "--oldest", "-o", "json"]))
    }

    pub(crate) fn stat(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok(["stat", "app.ring", "--json"])).unwrap()
    }

    /// All records, as the library sees them.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut observer = Ring::open_observer(self.ring()).unwrap();
        observer.seek(Start::Oldest).unwrap();
        let mut records = Vec::new();
        let mut payload = Vec::new();
        while let Some(info) = observer.try_next(&mut payload).unwrap() {
            let log = LogRecord::decode(&payload).filter(|_| info.kind == shm_ring::LOG_KIND);
            records.push(Record {
                kind: info.kind,
                level: info.level,
                stream: log.map(|log| log.stream),
                partial: log.is_some_and(|log| log.partial),
                message: log.map_or(payload.as_slice(), |log| log.message).to_vec(),
            });
        }
        records
    }

    /// A name that holds its place in the ring, and reads nothing.
    pub(crate) fn hold(&self) {
        self.ok(["tail", "app.ring", "--consumer", "holder", "--durable", "--count", "0", "--oldest"]);
    }

    /// Gives the ring's space back.
    pub(crate) fn unhold(&self) {
        self.ok(["tail", "app.ring", "--consumer", "holder", "-o", "raw"]);
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: u8,
    pub(crate) level: u8,
    pub(crate) stream: Option<Stream>,
    pub(crate) partial: bool,
    pub(crate) message: Vec<u8>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// 128 + N: by signal N.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn new(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status;
        Self {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap()),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Waits for its end; one that hangs is killed, so that its test fails.
    pub(crate) fn of(child: Child) -> Self {
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        let (ended, has_ended) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if has_ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // Not reaped yet, so the pid is still its own.
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(ended);
        watchdog.join().unwrap();
        Self::new(output)
    }
}

pub(crate) fn objects(lines: &str) -> Vec<serde_json::Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `1\n2\n...`.
pub(crate) fn numbers(range: std::ops::RangeInclusive<u32>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

/// Fails the test's process when it takes much longer than `expected`, and says how the ring stands: some waits have no end of their own.
pub(crate) fn watch_over(rig: &Rig, expected: Duration) -> std::sync::mpsc::Sender<()> {
    let (over, is_over) = std::sync::mpsc::channel();
    let doctor = [rig.tool(["stat", "app.ring"]), rig.tool(["doctor", "app.ring"])];
    std::thread::spawn(move || {
        if is_over.recv_timeout(expected + PATIENCE) == Err(RecvTimeoutError::Timeout) {
            for mut look in doctor {
                let _ = look.stderr(Stdio::inherit()).stdout(Stdio::inherit()).status();
            }
            eprintln!("still at work after {:?}", expected + PATIENCE);
            std::process::exit(101);
        }
    });
    over
}

/// Sends a signal.
pub(crate) fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// Waits until it holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads so many bytes.
pub(crate) fn read_exactly(source: &mut impl Read, n: usize) -> String {
    let mut bytes = vec![0; n];
    source.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Everything in a file.
pub(crate) fn content(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
