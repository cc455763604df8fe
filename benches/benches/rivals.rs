//! Rivals: the library, hand-written minimal rings and the machine's floor, between two processes, in one run.
//!
//! ```text
//! cargo bench -p benches --bench rivals                                  # everything: about six minutes
//! cargo bench -p benches --bench rivals -- --quick                       # shorter windows: a first impression
//! cargo bench -p benches --bench rivals -- --only stream/64/ --reps 9    # cells whose name contains this
//! ```
//!
//! Leave the machine alone meanwhile. A cell that loses, repeats or garbles a record is an ERROR, and so is the exit code, unless the
//! cell is a rival's: some of them can't run everywhere.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use benches::cells::{self, Cell};
use benches::clock::Clock;
use benches::command::{fail, number, print, write};
use benches::machine::{first_line, load, processor};
use benches::process::{allowed_cpus, pair};
use benches::report::{QUEUED_PART_MAX, Results, json, markdown};
use benches::workload::Plan;

const USAGE: &str = "\
usage: rivals [options]
  --quick          one third of the time, two repetitions
  --test           a few milliseconds per cell, one repetition: does everything work? The figures mean nothing
  --reps N         repetitions (5)
  --only TEXT      only cells whose name contains TEXT, as in stream/64/, ours_shared or /raw_
  --cpus A,B       the producer's and the consumer's processor (the first two allowed)
  --json FILE      every repetition, machine-readable
  --markdown FILE  the report as on stdout
  --list           the cells' names, nothing is run
  --bench          ignored: cargo passes it";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Full,
    Quick,
    Test,
}

#[derive(Debug)]
struct Args {
    mode: Mode,
    n_repetitions: Option<usize>,
    only: String,
    cpus: Option<[usize; 2]>,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
    list: bool,
}

impl Args {
    /// `None`: help was asked for.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mode, only) = (Mode::Full, String::new());
        let mut parsed =
            Self { mode, n_repetitions: None, only, cpus: None, json: None, markdown: None, list: false };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--bench" => {}
                "--quick" => parsed.mode = Mode::Quick,
                "--test" => parsed.mode = Mode::Test,
                "--list" => parsed.list = true,
                "--reps" => parsed.n_repetitions = Some(number(&value()?)?),
                "--only" => parsed.only = value()?,
                "--cpus" => parsed.cpus = Some(two_numbers(&value()?)?),
                "--json" => parsed.json = Some(value()?.into()),
                "--markdown" => parsed.markdown = Some(value()?.into()),
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("{arg} is no option")),
            }
        }
        Ok(Some(parsed))
    }

    fn n_repetitions(&self) -> usize {
        let default = match self.mode {
            Mode::Full => 5,
            Mode::Quick => 2,
            Mode::Test => 1,
        };
        self.n_repetitions.unwrap_or(default)
    }

    fn plan(&self) -> Result<Plan, String> {
        let cpus = two_cpus(self.cpus, &allowed_cpus())?;
        let ms = Duration::from_millis;
        let (warm_up, window, crowded_window, n_paced, n_wakes, idle) = match self.mode {
            Mode::Full => (ms(40), ms(120), ms(400), 5_000, 300, ms(5_000)),
            Mode::Quick => (ms(13), ms(40), ms(120), 1_500, 100, ms(1_000)),
            Mode::Test => (ms(1), ms(3), ms(10), 50, 5, ms(20)),
        };
        let (clock, timeout) = (Clock::calibrate(), ms(20_000));
        Ok(Plan { cpus, clock, warm_up, window, crowded_window, n_paced, n_wakes, idle, timeout })
    }

    /// Where figures mean nothing, a machine that has other things to do is no reason to show none.
    fn queued_part_max(&self) -> f64 {
        if self.mode == Mode::Test { 1.0 } else { QUEUED_PART_MAX }
    }
}

/// The processors to measure on: those asked for, else the first two allowed.
fn two_cpus(asked: Option<[usize; 2]>, allowed: &[usize]) -> Result<[usize; 2], String> {
    match (asked, allowed) {
        (Some([a, b]), _) if a == b => Err(format!("--cpus {a},{b}: two different processors are needed")),
        (Some(cpus), _) => match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(cpu) => {
                Err(format!("--cpus: processor {cpu} is not one that this process may use: {allowed:?}"))
            }
            None => Ok(cpus),
        },
        (None, &[producer, consumer, ..]) => Ok([producer, consumer]),
        (None, _) => Err(format!(
            "two processors are needed, for two processes that never sleep; this process may use {allowed:?}. Allow it more \
             (taskset, cpuset, the container's limit)"
        )),
    }
}

/// Fails before the first cell does if no process can be forked, pinned and waited for here.
fn try_to_fork(cpus: [usize; 2]) -> Result<(), String> {
    #[derive(Clone, Copy, Default)]
    struct Nothing;
    // SAFETY: nothing in it.
    unsafe impl benches::process::Plain for Nothing {}
    let tried = pair(cpus, Duration::from_secs(10), || Nothing, || Nothing);
    tried.map(|_| ()).map_err(|error| {
        format!(
            "no two processes could be started and waited for: {error}. Needed are fork, pidfd_open and sched_setaffinity; a \
             container's seccomp profile or a limit of processes (ulimit -u) may forbid them"
        )
    })
}

fn two_numbers(text: &str) -> Result<[usize; 2], String> {
    let (a, b) =
        text.split_once(',').ok_or_else(|| format!("{text}: two numbers with a comma are expected"))?;
    Ok([number(a)?, number(b)?])
}

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => return print(&format!("{USAGE}\n")),
        Err(error) => return fail(&format!("{error}\n{USAGE}"), 2),
    };
    let mut cells = cells::all();
    cells.retain(|cell| cell.name().contains(&args.only));
    if args.list {
        return print(&cells.iter().map(|cell| cell.name() + "\n").collect::<String>());
    }
    if cells.is_empty() {
        return fail(&format!("no cell's name contains {}; --list shows them", args.only), 2);
    }
    match measure(&args, &mut cells) {
        Ok(code) => code,
        Err(error) => fail(&error, 1),
    }
}

fn measure(args: &Args, cells: &mut [Cell]) -> Result<ExitCode, String> {
    let plan = args.plan()?;
    try_to_fork(plan.cpus)?;
    let (n_repetitions, n_cells, began) = (args.n_repetitions(), cells.len(), Instant::now());
    let load_before = load();
    let mut n_begun = 0;
    cells::run(cells, n_repetitions, &plan, |repetition, cell| {
        let number = n_begun % n_cells + 1;
        n_begun += 1;
        eprintln!("repetition {} of {n_repetitions}, {number} of {n_cells}: {}", repetition + 1, cell.name());
    });
    let results = Results::new(cells, args.queued_part_max());
    let about = [
        ("processor", processor()),
        ("kernel", first_line("/proc/sys/kernel/osrelease")),
        ("producer, consumer on", format!("{}, {} of {:?}", plan.cpus[0], plan.cpus[1], allowed_cpus())),
        ("load before, after", format!("{load_before}, {}", load())),
        (
            "repetitions",
            format!("{n_repetitions}, {:?}; took {:.0} s", args.mode, began.elapsed().as_secs_f64()),
        ),
        ("warm-up, window", format!("{:?}, {:?}", plan.warm_up, plan.window)),
    ];
    let text = markdown(&results, &about);
    print(&text);
    write(args.markdown.as_ref(), || text)?;
    write(args.json.as_ref(), || json(&results, &about))?;
    Ok(if results.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
