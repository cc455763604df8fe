//! Torture: processes are killed and stopped at every named point of the protocol and at random, by the thousand, and nobody else
//! notices: nothing committed is lost, doubled, torn or out of order, and nobody waits.
//!
//! ```text
//!   main    arguments, the run, exit code       plan, chain  who dies where: a function of the seed
//!   world   forks, orders, signals, watches     cast         producers and consumers, as they play
//!   band    the members of a group, as they play
//!   oracle  the second mapping: what is true    ledger       what a consumer must be given
//!   hands   what members must be given          losses       what readers must be told
//!   audit   what holds in the end               report       counts and latencies
//! ```
//!
//! `docs/torture.md` of the library has the commands and how to repeat a failure.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod audit;
mod band;
mod cast;
mod chain;
mod hands;
mod kinds;
mod ledger;
mod losses;
mod oracle;
mod payload;
mod plan;
mod report;
mod world;

use oracle::Oracle;
use plan::{Episode, SHAPES, World, digest, plan};
use report::Totals;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use world::Stand;

const USAGE: &str = "torture [--kills N] [--seed S] [--min-per-point M] [--seconds T] [--world W] [--plan]
  --kills N          kills in all, by choice and at random (2000)
  --seed S           victims, points and their order; the same again for the same S (1)
  --min-per-point M  kills at each point, fewer are a failure (20 from 2000 kills on, else 0)
  --seconds T        begin no episode after that time
  --world W          one shape of ring, 0 to 7, instead of all
  --plan             print the plan and its digest, kill nobody";

#[derive(Debug)]
struct Arguments {
    kills: usize,
    seed: u64,
    min_per_point: Option<usize>,
    seconds: Option<u64>,
    world: Option<usize>,
    plan: bool,
}

impl Arguments {
    fn read() -> Result<Self, String> {
        let mut this =
            Self { kills: 2000, seed: 1, min_per_point: None, seconds: None, world: None, plan: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || {
                let text = words.next().ok_or(format!("{word} needs a number"))?;
                text.parse::<u64>().map_err(|_| format!("{word} {text}: not a number"))
            };
            match word.as_str() {
                "--kills" => this.kills = number()? as usize,
                "--seed" => this.seed = number()?,
                "--min-per-point" => this.min_per_point = Some(number()? as usize),
                "--seconds" => this.seconds = Some(number()?),
                "--world" => this.world = Some(number()? as usize),
                "--plan" => this.plan = true,
                // What cargo hands to every test.
                "--nocapture" | "--quiet" => {}
                _ => return Err(format!("{word}?\n{USAGE}")),
            }
        }
        match this.world {
            Some(world) if world >= SHAPES.len() => {
                Err(format!("there are worlds 0 to {}", SHAPES.len() - 1))
            }
            _ => Ok(this),
        }
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let min = arguments.min_per_point.unwrap_or(if arguments.kills >= 2000 { 20 } else { 0 });
    let worlds = plan(arguments.seed, arguments.kills, min, arguments.world);
    let digest = digest(&worlds);
    if arguments.plan {
        print_plan(&worlds);
        println!("seed {}, digest {digest:016x}", arguments.seed);
        return ExitCode::SUCCESS;
    }
    let start = Instant::now();
    let mut totals = Totals::default();
    let end = arguments.seconds.map(|seconds| start + Duration::from_secs(seconds));
    let failure = run(&worlds, end, &mut totals).err();
    totals.print(arguments.seed, digest, start.elapsed());
    if let Some(failure) = failure {
        eprintln!("\nVIOLATION: {failure}\nthe last events:");
        totals.last_events().for_each(|event| eprintln!("  {event}"));
        eprintln!("once more: --seed {} --kills {}", arguments.seed, arguments.kills);
        return ExitCode::FAILURE;
    }
    let rare = totals.rare(min as u64);
    if end.is_none_or(|end| Instant::now() < end) && arguments.world.is_none() && !rare.is_empty() {
        eprintln!("\nfewer than {min} kills at {rare:?}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn print_plan(worlds: &[World]) {
    for world in worlds {
        println!("world {}: {:?}{}", world.number, world.shape, if world.extinct { ", all die" } else { "" });
        for episode in &world.episodes {
            match episode {
                Episode::Random { victims, after_us, stop_us: 0 } => {
                    println!("  kill {victims:?} after {after_us} us")
                }
                Episode::Random { victims, after_us, stop_us } => {
                    println!("  stop {victims:?} after {after_us} us for {stop_us} us");
                }
                by_choice => println!("  {:?}", by_choice.deeds()),
            }
        }
    }
}

fn run(worlds: &[World], end: Option<Instant>, totals: &mut Totals) -> Result<(), String> {
    let _ = nix::sys::prctl::set_timerslack(1);
    let oracle = Oracle::new();
    let is_over = || end.is_some_and(|end| Instant::now() >= end);
    for world in worlds {
        if is_over() {
            println!("out of time before world {}", world.number);
            break;
        }
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let directory = directory.map_err(|e| format!("a directory for the ring: {e}"))?;
        let began = Instant::now();
        let played = play(world, oracle, &directory, totals, is_over);
        if let Err(failure) = played {
            let kept = directory.keep();
            return Err(format!(
                "{failure}\nin world {}, {:?}, kept in {}",
                world.number,
                world.shape,
                kept.display()
            ));
        }
        println!("world {} took {:.1} s: {:?}", world.number, began.elapsed().as_secs_f64(), world.shape);
    }
    Ok(())
}

fn play(
    world: &World,
    oracle: &'static Oracle,
    directory: &tempfile::TempDir,
    totals: &mut Totals,
    is_over: impl Fn() -> bool,
) -> Result<(), String> {
    let mut stand = Stand::new(world, oracle, directory.path(), totals)?;
    for episode in world.episodes.iter().take_while(|_| !is_over()) {
        stand.play(episode)?;
    }
    stand.end()?;
    audit::audit(&mut stand, directory.path())
}
