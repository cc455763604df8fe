//! Helper: a process that does what the tool itself never does, such as keeping a claim open. It is the test binary run again.
//!
//! A test file that uses it has an ignored test `helper`, which calls [`play`].

use super::wait_until;
use nix::sys::signal::{Signal, kill};
use shm_ring::{AppendFile, ConsumerOptions, RangedFile, Ring, Start};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const ROLE: &str = "SHM_RING_TEST_ROLE";
const PATH: &str = "SHM_RING_TEST_PATH";

/// One that waits for our word.
pub(crate) struct Helper {
    child: Child,
}

impl Helper {
    /// Starts it; returns when it is where its role wants it.
    pub(crate) fn start(role: &str, ring: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["helper", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).env(PATH, ring).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "@ready"), "{role} ended too early");
        Self { child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGSTOP, and waits until it takes effect.
    pub(crate) fn stop(&self) {
        stop(&self.child);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(pid_of(&self.child), signal).unwrap();
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets it finish what it does, and waits for its successful end.
    pub(crate) fn finish(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// SIGSTOP to any child, and waits until it takes effect.
pub(crate) fn stop(child: &Child) {
    kill(pid_of(child), Signal::SIGSTOP).unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    wait_until("it stops", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
}

fn pid_of(child: &Child) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(child.id().try_into().unwrap())
}

/// Plays the role that the environment says, if it says one.
pub(crate) fn play() {
    let Some(role) = std::env::var_os(ROLE) else { return };
    let (role, path) = (role.to_str().unwrap(), std::env::var_os(PATH).unwrap());
    match role {
        "append writer" => {
            let file = AppendFile::open(path).unwrap();
            file.push(b", and more").unwrap();
            return wait_for_our_word();
        }
        "range owner" => {
            let file = RangedFile::open(path).unwrap();
            let _range = file.allocate(100).unwrap();
            return wait_for_our_word();
        }
        _ => {}
    }
    let ring = Ring::open(path).unwrap();
    let oldest = ConsumerOptions::new().start(Start::Oldest);
    match role {
        "open claim" => {
            let mut producer = ring.producer().unwrap();
            producer.push(b"before").unwrap();
            let mut claim = producer.claim(100).unwrap();
            wait_for_our_word();
            claim.copy_from_slice(&[b'x'; 100]);
            claim.commit();
        }
        "producer" => {
            let _producer = ring.producer().unwrap();
            wait_for_our_word();
        }
        "member at work" => {
            let mut member = ring.group_with("workers", oldest).unwrap();
            let _delivery = member.poll().unwrap();
            wait_for_our_word();
        }
        "durable member at work" => {
            let mut member = ring.group_with("workers", oldest.durable()).unwrap();
            let _delivery = member.poll().unwrap();
            wait_for_our_word();
        }
        role => panic!("no such role: {role}"),
    }
}

fn wait_for_our_word() {
    std::io::stdout().write_all(b"\n@ready\n").unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}
