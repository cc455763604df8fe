//! shm-ring: creates, fills, follows and inspects rings; records them into logs; inspects and finishes mapped files.
//!
//! ```text
//!   args --> create | push | exec | record | tail | merge | replay | compact | stat | doctor | ... | bench --> exit code
//!                       \      \      |       \
//!                        input --> sink --> ring --> source --> show --> stdout
//!                                     |        log -----^
//!                                     +---------^
//! ```
//!
//! | file    | what |
//! |---------|------|
//! | args    | the command line, and with it the help |
//! | create, push, exec, tail, stat, repair | a command each |
//! | record  | a ring into a log |
//! | logs    | logs: what `tail`, `cat`, `stat`, `doctor` and `repair` do with them, and `verify`, `gc`, `cursor` |
//! | replay  | many sources in one order: `merge`, `replay`, `compact` |
//! | doctor  | what is wrong with a ring, who is in whose way, and what to do |
//! | mapped  | append files and ranged files: what `stat` and `doctor` say of them, and `cat`, `seal`, `import` |
//! | bench   | rings between processes, measured next to the machine itself |
//! | child   | `exec`'s command: its end, and the signals that it is to get |
//! | input   | blocks of bytes into lines or length-prefixed records |
//! | sink    | records into the ring, many in one claim |
//! | source  | records out of the ring, and when they are released |
//! | losses  | what a reader did not get, each told once |
//! | show    | a record as text, JSON or bytes |
//! | stop    | Ctrl-C, also while something blocks |
//! | progress | how far something is that takes long, on a terminal |
//! | output, size, failure | stdout and messages; sizes, durations and levels; exit codes |
//!
//! (I1) stdout is data, stderr is messages; (I2) what fails says so in one line and in the exit code; (I3) a closed pipe and Ctrl-C end
//! a command quietly, with nothing half-written; (I4) the only unsafe code is in `bench/desk.rs`, memory without a ring.
#![deny(unsafe_code)]

mod args;
mod bench;
mod child;
mod create;
mod doctor;
mod exec;
mod failure;
mod input;
mod logs;
mod losses;
mod mapped;
mod output;
mod progress;
mod push;
mod record;
mod repair;
mod replay;
mod show;
mod sink;
mod size;
mod source;
mod stat;
mod stop;
mod tail;

use args::{Args, Command};
use clap::{CommandFactory, Parser};
use failure::Failure;
use output::Messages;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Not a command: nobody is to see it in the help or in completions.
    if std::env::args_os().nth(1).is_some_and(|first| first == bench::ROLE) {
        return bench::play_role();
    }
    let args = Args::parse();
    let messages = Messages::new(args.quiet, args.verbose);
    run(&args, messages).unwrap_or_else(|failure| {
        output::complain(&failure.message);
        failure.code.into()
    })
}

fn run(args: &Args, messages: Messages) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Create(create) => create::run(create, messages)?,
        Command::Push(push) => push::run(push, messages)?,
        Command::Exec(exec) => return exec::run(exec, messages),
        Command::Tail(tail) => tail::run(tail, args.color, messages)?,
        Command::Stat(stat) => stat::run(stat)?,
        Command::Doctor(doctor) => return doctor::run(doctor, messages),
        Command::Repair(repair) => return repair::run(repair),
        Command::Record(record) => record::run(record, messages)?,
        Command::Verify(verify) => return logs::verify(verify, messages),
        Command::Gc(gc) => logs::gc(gc)?,
        Command::Cursor(cursor) => logs::cursor(cursor)?,
        Command::Cat(cat) if logs::is_log(&cat.file) => logs::cat(cat, args.color, messages)?,
        Command::Cat(cat) => mapped::cat(cat, messages)?,
        Command::Merge(merge) => replay::merge(merge, args.color, messages)?,
        Command::Replay(args_of) => replay::replay(args_of, args.color, messages)?,
        Command::Compact(compact) => replay::compact(compact, messages)?,
        Command::Seal(seal) => mapped::seal(seal, messages)?,
        Command::Import(import) => mapped::import(import, messages)?,
        Command::Bench(bench) => bench::run(bench, args.color, messages)?,
        Command::Completions { shell } => completions(*shell)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "shm-ring", &mut script);
    output::print(&script)
}
