//! Role: the life of one of the processes, from its job to its end.
//!
//! It is the tool, started again by itself with [`ROLE`] as its first argument; side and number follow, for those who look at a list of
//! processes. It says nothing on stderr, and ends when its parent does, whatever it is doing.
//!
//! (I1) it has attached when it says `Ready`; (I2) whatever fails is said as `Failed`, and its code is then 1.

use super::clock::{cpu_ns, queued_ns};
use super::desk::Desk;
use super::floor;
use super::job::{Job, Order, Reply, Report, Side};
use super::machine;
use super::work;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shm_ring::{Consumer, Producer, Ring, RingOptions};
use std::fmt::Display;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

/// The first argument of such a process.
pub(crate) const ROLE: &str = "bench-role";

/// Lives it.
pub(crate) fn play_role() -> ExitCode {
    match live() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Nobody listens: then nobody is left to be told.
            let _ = say(&Reply::Failed(message));
            ExitCode::FAILURE
        }
    }
}

fn live() -> Result<(), String> {
    let Some(job) = hear::<Job>()? else {
        return Err(format!("{ROLE} is for `shm-ring bench` to start: it takes its job from stdin"));
    };
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(describe("ask for the parent's death"))?;
    if std::os::unix::process::parent_id() != job.parent {
        return Ok(());
    }
    machine::pin(&job.cpus).map_err(describe("choose a CPU"))?;
    let mut desk = Desk::open(&job.directory.join("desk")).map_err(describe("map the desk"))?;
    let mut ends = Ends::attach(&job)?;
    say(&Reply::Ready)?;
    while let Some(order) = hear::<Order>()? {
        say(&match order {
            Order::Floor => measure_floor(&job, &mut desk)?,
            Order::Run { start_ns } => Reply::Done(Box::new(ends.work(&job, start_ns)?)),
        })?;
    }
    Ok(())
}

/// On one CPU, also where the workload may go anywhere.
fn measure_floor(job: &Job, desk: &mut Desk) -> Result<Reply, String> {
    machine::pin(&[job.floor_cpu]).map_err(describe("choose a CPU"))?;
    let reading = match job.side {
        Side::Producer => Some(floor::measure(desk)),
        Side::Consumer => {
            floor::answer(desk);
            None
        }
    };
    machine::pin(&job.cpus).map_err(describe("choose a CPU"))?;
    Ok(Reply::Floor(reading))
}

/// What it holds of the rings.
#[derive(Debug)]
enum Ends {
    Produces(Producer),
    Consumes(Consumer),
    /// Of a ping-pong.
    Asks(Producer, Consumer),
    Answers(Consumer, Producer),
}

impl Ends {
    fn attach(job: &Job) -> Result<Self, String> {
        let open = |number: u8| -> Result<Ring, String> {
            let path = job.directory.join(format!("{number}.ring"));
            RingOptions::new().wait(job.plan.ring_wait()).open(path).map_err(|error| error.to_string())
        };
        let failed = describe("attach");
        let producer = |ring: &Ring| ring.producer().map_err(describe("attach"));
        let consumer = |ring: &Ring| ring.consumer(&format!("bench {}", job.index)).map_err(&failed);
        Ok(match (job.side, job.plan.n_rings()) {
            (Side::Producer, 1) => Self::Produces(producer(&open(0)?)?),
            (Side::Consumer, 1) => Self::Consumes(consumer(&open(0)?)?),
            (Side::Producer, _) => Self::Asks(producer(&open(0)?)?, consumer(&open(1)?)?),
            (Side::Consumer, _) => Self::Answers(consumer(&open(0)?)?, producer(&open(1)?)?),
        })
    }

    fn work(&mut self, job: &Job, start_ns: u64) -> Result<Report, String> {
        let (cpu_before_ns, queued_before_ns) = (cpu_ns(), queued_ns());
        let report = match self {
            Self::Produces(producer) => work::produce(job, producer, start_ns),
            Self::Consumes(consumer) => work::consume(job, consumer, start_ns),
            Self::Asks(producer, consumer) => work::ask(job, producer, consumer, start_ns),
            Self::Answers(consumer, producer) => work::answer(job, consumer, producer),
        }?;
        let (cpu_ns, queued_ns) = (cpu_ns() - cpu_before_ns, queued_ns() - queued_before_ns);
        Ok(Report { cpu_ns, queued_ns, ..report })
    }
}

/// Tells the command.
fn say(reply: &impl Serialize) -> Result<(), String> {
    let mut line = serde_json::to_vec(reply).map_err(describe("say what was done"))?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(describe("write to the command"))
}

/// What the command says; `None` when it is over.
fn hear<T: DeserializeOwned>() -> Result<Option<T>, String> {
    let mut line = String::new();
    let n = io::stdin().lock().read_line(&mut line).map_err(describe("listen to the command"))?;
    if n == 0 {
        Ok(None)
    } else {
        serde_json::from_str(&line).map(Some).map_err(describe("understand the command"))
    }
}

fn describe<E: Display>(operation: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{operation}: {error}")
}
