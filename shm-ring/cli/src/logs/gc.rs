//! Gc: a log's oldest segments removed, by bytes or by age.
//!
//! (I1) the JSON keys are a promise: more may come, none goes.

use crate::args::Gc;
use crate::failure::Failure;
use crate::output;
use crate::size::{show_count, show_size};
use serde::Serialize;
use shm_ring::{DryRun, Log};

#[derive(Serialize)]
struct GcJson<'a> {
    path: &'a str,
    dry_run: bool,
    segments: u64,
    bytes: u64,
    oldest_position: u64,
}

/// Runs the command.
pub(crate) fn run(args: &Gc) -> Result<(), Failure> {
    let path = args.log.to_string_lossy();
    let dry_run = if args.dry_run { DryRun::Yes } else { DryRun::No };
    let report = Log::gc(&args.log, args.keep, args.keep_for, dry_run)?;
    let text = if args.json {
        crate::doctor::json(&GcJson {
            path: &path,
            dry_run: args.dry_run,
            segments: report.n_segments,
            bytes: report.n_bytes,
            oldest_position: report.first_position,
        })
    } else {
        let verb = if args.dry_run { "would remove" } else { "removed" };
        let segments = show_count(report.n_segments, "segment", "segments");
        format!(
            "{path}: {verb} {segments}, {}; begins at {}\n",
            show_size(report.n_bytes),
            report.first_position
        )
    };
    output::print(text.as_bytes())
}
