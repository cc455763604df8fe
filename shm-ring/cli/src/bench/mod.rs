//! Bench: rings between processes on this machine, next to what the machine itself can do.
//!
//! ```text
//!   args --> plan --> crew (a process each: role --> work) --> floor, workload, floor --> figures --> text | JSON, hgrm, HTML
//! ```
//!
//! | file     | what |
//! |----------|------|
//! | plan     | what is measured, checked |
//! | machine  | processors, and who runs where |
//! | crew     | starts the processes, talks to them, ends them |
//! | job      | what is said |
//! | role     | a process's life |
//! | work     | what it does while the time is taken |
//! | payload  | what records hold, and what must come out |
//! | record   | latencies and counts |
//! | clock    | the time that all processes share |
//! | desk, floor | memory without a ring, and what the machine does with it |
//! | figures  | the result: everything compared, added up, and related to the floor |
//! | text, json, hgrm | the result for terminals, programs and plotters |
//! | page, plot, axis | the result as a page, and the plots in it |
//! | units    | figures in as many digits as people read |
//!
//! (I1) what can't be is refused before anything is started; (I2) there are no figures unless every record arrived as it was sent.

mod axis;
mod clock;
mod crew;
mod desk;
mod figures;
mod floor;
mod hgrm;
mod job;
mod json;
mod machine;
mod page;
mod payload;
mod plan;
mod plot;
mod record;
mod role;
mod text;
mod units;
mod work;

use crate::args::{Bench, Color};
use crate::failure::Failure;
use crate::output::{self, Messages};
use crate::stop::Stop;
use clock::now_ns;
use crew::Crew;
use figures::Figures;
use floor::Reading;
use job::{Order, Reply, Report};
use machine::{Machine, Placement};
use plan::Plan;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use role::{ROLE, play_role};

/// What a busy machine may add to anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// From the order to the start of the warm-up: everybody has heard it by then.
const START_NS: u64 = 20_000_000;

/// Runs the command.
pub(crate) fn run(args: &Bench, color: Color, messages: Messages) -> Result<(), Failure> {
    let plan = Plan::new(args)?;
    let n_processes = usize::from(plan.producers) + usize::from(plan.consumers);
    let placement = Placement::new(args.cpus.as_ref(), n_processes)?;
    let stop = Stop::watch(|| std::process::exit(1))?;
    let hgrm = args.hgrm.as_deref().map(Target::open).transpose()?;
    let html = args.html.as_deref().map(Target::open).transpose()?;
    let figures = measure(plan, &placement, &stop, messages)?;
    if let Some(target) = hgrm {
        target.fill(&hgrm::show(&figures))?;
    }
    if let Some(target) = html {
        target.fill(&page::show(&figures))?;
    }
    let shown =
        if args.json { json::show(&figures) } else { text::show(&figures, output::is_colored(color)) };
    let _call = stop.blocking().enter();
    output::print(shown.as_bytes())
}

/// The floor, the workload, and the floor again.
fn measure(plan: Plan, placement: &Placement, stop: &Stop, messages: Messages) -> Result<Figures, Failure> {
    let mut crew = Crew::start(&plan, placement, stop, messages)?;
    let all: Vec<_> = (0..crew.members().len()).collect();
    // Producers come first: the first of them, and the first consumer.
    let pair = [0, usize::from(plan.producers)];
    let before = reading(crew.order(&pair, Order::Floor, PATIENCE)?);
    messages.detail("measuring");
    let patience = PATIENCE + Duration::from_nanos(plan.warm_up_ns + plan.window_ns);
    let replies = crew.order(&all, Order::Run { start_ns: now_ns() + START_NS }, patience)?;
    let after = reading(crew.order(&pair, Order::Floor, PATIENCE)?);
    let reports: Vec<Report> = replies
        .into_iter()
        .filter_map(|reply| if let Reply::Done(report) = reply { Some(*report) } else { None })
        .collect();
    let who = crew.members().iter().map(|member| (member.pid(), member.cpu)).collect();
    crew.end();
    Figures::new(plan, Machine::here(), placement, [before, after], who, reports)
}

/// The one that the producer brought.
fn reading(replies: Vec<Reply>) -> Reading {
    let reading =
        replies.into_iter().find_map(|reply| if let Reply::Floor(found) = reply { found } else { None });
    reading.unwrap_or_default()
}

/// A file that is known to be writable before anything is measured, and written only when there is something to write.
#[derive(Debug)]
struct Target {
    path: PathBuf,
    file: File,
    /// It was not there before, so it is not to be left empty.
    is_new: bool,
    is_filled: bool,
}

impl Target {
    fn open(path: &Path) -> Result<Self, Failure> {
        let is_new = !path.exists();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| Failure::io(&format!("open {path:?} for writing"), &error))?;
        Ok(Self { path: path.to_owned(), file, is_new, is_filled: false })
    }

    fn fill(mut self, text: &str) -> Result<(), Failure> {
        // What can't be cut, such as a pipe or a terminal, has nothing to be cut.
        let _ = self.file.set_len(0);
        self.is_filled = true;
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|error| Failure::io(&format!("write {:?}", self.path), &error))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.is_new && !self.is_filled {
            // It was made by us, and is empty.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
