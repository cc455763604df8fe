//! Crew: the processes, from their start to their end, and the directory that they meet in.
//!
//! ```text
//!   directory: desk, 0.ring (1.ring) --> start all --> all Ready --> directory removed --> orders, replies --> all ended
//! ```
//! The files have no name any more when the work begins, so that nothing can be left behind, not even by a SIGKILL.
//!
//! (I1) while one process is waited for, the end of any is noticed; (I2) whatever happens, all are killed and reaped, and the directory is
//! gone, when the [`Crew`] is; (I3) they are in process groups of their own: a terminal's Ctrl-C reaches the command, which ends them.

use super::desk::Desk;
use super::job::{Job, Order, Reply, Side};
use super::machine::Placement;
use super::plan::Plan;
use super::role::ROLE;
use crate::failure::{Code, Failure};
use crate::output::Messages;
use crate::stop::Stop;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde::Serialize;
use std::fs::DirBuilder;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// What a reply is read in.
const READ_BYTES: usize = 64 << 10;

/// All of them, producers first.
#[derive(Debug)]
pub(super) struct Crew<'a> {
    members: Vec<Member>,
    directory: Option<Directory>,
    stop: &'a Stop,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) side: Side,
    pub(super) index: u16,
    pub(super) cpu: Option<usize>,
    child: Child,
    orders: Option<ChildStdin>,
    replies: ChildStdout,
    /// What was read and is no whole reply yet.
    read: Vec<u8>,
}

impl Member {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn name(&self) -> String {
        format!("{} {} (pid {})", self.side, self.index, self.pid())
    }
}

impl<'a> Crew<'a> {
    /// Makes the rings and starts everybody; returns when all have attached.
    pub(super) fn start(
        plan: &Plan,
        placement: &Placement,
        stop: &'a Stop,
        messages: Messages,
    ) -> Result<Self, Failure> {
        let directory = Directory::new()?;
        let at = |name: &str| directory.path.join(name);
        for number in 0..plan.n_rings() {
            plan.create_ring(&at(&format!("{number}.ring")))?;
        }
        Desk::create(&at("desk"))
            .map_err(|error| Failure::io(&format!("create {:?}", at("desk")), &error))?;
        let path = directory.path.clone();
        let mut crew = Self { members: Vec::new(), directory: Some(directory), stop };
        let producers = (0..plan.producers).map(|index| (Side::Producer, index));
        let consumers = (0..plan.consumers).map(|index| (Side::Consumer, index));
        for (number, (side, index)) in producers.chain(consumers).enumerate() {
            let job = Job {
                plan: plan.clone(),
                side,
                index,
                parent: std::process::id(),
                directory: path.clone(),
                cpus: placement.cpus_of(number),
                floor_cpu: placement.floor_cpu_of(number, side == Side::Producer),
                has_own_cpu: placement.is_pinned,
            };
            crew.members.push(Member::start(&job, placement.cpu_of(number))?);
            crew.tell(number, &job);
        }
        for member in &crew.members {
            let place = member.cpu.map_or("any CPU".to_owned(), |cpu| format!("CPU {cpu}"));
            messages.detail(&format!("{} {}: pid {}, {place}", member.side, member.index, member.pid()));
        }
        let all: Vec<_> = (0..crew.members.len()).collect();
        crew.hear(&all, Duration::from_secs(60))?;
        drop(crew.directory.take());
        Ok(crew)
    }

    /// Who they are.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Gives the same order to some, and waits for all their replies.
    pub(super) fn order(
        &mut self,
        whom: &[usize],
        order: Order,
        patience: Duration,
    ) -> Result<Vec<Reply>, Failure> {
        whom.iter().for_each(|number| self.tell(*number, &order));
        self.hear(whom, patience)
    }

    /// Lets them end, and waits until they have.
    pub(super) fn end(mut self) {
        self.members.iter_mut().for_each(|member| drop(member.orders.take()));
        let ended = Instant::now() + Duration::from_secs(5);
        for member in &mut self.members {
            while matches!(member.child.try_wait(), Ok(None)) && Instant::now() < ended {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn tell(&mut self, number: usize, what: &impl Serialize) {
        let mut line = serde_json::to_vec(what).expect("numbers, strings, and keys that are strings");
        line.push(b'\n');
        if let Some(orders) = &mut self.members[number].orders {
            // One that is gone is noticed where its reply is waited for.
            let _ = orders.write_all(&line);
        }
    }

    /// A reply of each of them, in their order.
    fn hear(&mut self, whom: &[usize], patience: Duration) -> Result<Vec<Reply>, Failure> {
        let deadline = Instant::now() + patience;
        let mut replies: Vec<Option<Reply>> = whom.iter().map(|_| None).collect();
        while let Some(waiting) = replies.iter().position(Option::is_none) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = format!(
                    "{} gave no answer for {} s: no figures; is it stopped?",
                    self.members[whom[waiting]].name(),
                    patience.as_secs()
                );
                return Err(Failure::new(Code::Timeout, message));
            }
            for number in self.ready(left)? {
                let reply = self.members[number].read()?;
                if let (Some(reply), Some(at)) = (reply, whom.iter().position(|who| *who == number)) {
                    replies[at] = Some(reply);
                }
            }
        }
        Ok(replies.into_iter().flatten().collect())
    }

    /// Who has something to say, or has ended.
    fn ready(&self, patience: Duration) -> Result<Vec<usize>, Failure> {
        let mut fds = vec![PollFd::new(self.stop.wake_fd(), PollFlags::POLLIN)];
        fds.extend(self.members.iter().map(|m| PollFd::new(m.replies.as_fd(), PollFlags::POLLIN)));
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Failure::io("wait for the processes", &error.into())),
        }
        if self.stop.is_asked() {
            return Err(Failure::new(Code::Runtime, "interrupted: no figures"));
        }
        Ok((0..self.members.len()).filter(|number| fds[number + 1].any().unwrap_or(true)).collect())
    }
}

impl Member {
    fn start(job: &Job, cpu: Option<usize>) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io(&format!("start {} {}", job.side, job.index), &error);
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args([ROLE, &job.side.to_string(), &job.index.to_string()]).process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let (orders, replies) = (child.stdin.take(), child.stdout.take());
        let replies = replies.expect("a pipe was asked for");
        Ok(Self { side: job.side, index: job.index, cpu, child, orders, replies, read: Vec::new() })
    }

    /// Reads what is there; the reply, if it is complete.
    fn read(&mut self) -> Result<Option<Reply>, Failure> {
        let begin = self.read.len();
        self.read.resize(begin + READ_BYTES, 0);
        let n = self.replies.read(&mut self.read[begin..]);
        self.read.truncate(begin + *n.as_ref().unwrap_or(&0));
        match n {
            Ok(0) => return Err(self.gone()),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(Failure::io(&format!("listen to {}", self.name()), &error));
            }
            _ => {}
        }
        let Some(end) = self.read[begin..].iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.read.drain(..=begin + end).collect();
        match serde_json::from_slice(&line) {
            Ok(Reply::Failed(why)) => {
                Err(Failure::new(Code::Runtime, format!("{}: {why}: no figures", self.name())))
            }
            Ok(reply) => Ok(Some(reply)),
            Err(error) => Err(Failure::new(Code::Runtime, format!("understand {}: {error}", self.name()))),
        }
    }

    /// Why it ended without a reply.
    fn gone(&mut self) -> Failure {
        let how = match self.child.wait() {
            Ok(status) => match (status.signal().map(Signal::try_from), status.code()) {
                (Some(Ok(signal)), _) => format!("was killed by {signal}"),
                (_, code) => format!("ended with code {}", code.unwrap_or(-1)),
            },
            Err(error) => format!("is gone ({error})"),
        };
        Failure::new(Code::Runtime, format!("{} {how} before it was done: no figures", self.name()))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Both can only fail if it is gone and reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of our own in memory, removed with everything in it.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
}

impl Directory {
    /// In `/dev/shm`, or where temporary files go.
    fn new() -> Result<Self, Failure> {
        let name = format!("shm-ring-bench-{}", std::process::id());
        let make = |parent: PathBuf| -> io::Result<Self> {
            let path = parent.join(&name);
            DirBuilder::new().mode(0o700).create(&path)?;
            Ok(Self { path })
        };
        let made = make("/dev/shm".into()).or_else(|_| make(std::env::temp_dir()));
        made.map_err(|error| Failure::io("make a directory in /dev/shm or TMPDIR", &error))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nobody is left to be told, and what can't be removed is small.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
