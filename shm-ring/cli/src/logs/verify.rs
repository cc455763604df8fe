//! Verify: everything that a log has, against its checksums.
//!
//! (I1) damage is code 4, and nothing else is; (I2) the JSON keys are a promise: more may come, none goes.

use crate::args::Verify;
use crate::failure::{Code, Failure};
use crate::output::{self, Messages};
use crate::progress::Progress;
use crate::size::show_count;
use serde::Serialize;
use shm_ring::{Log, LogReport};
use std::process::ExitCode;

#[derive(Serialize)]
struct VerifyJson<'a> {
    path: &'a str,
    clean: bool,
    segments: u64,
    records: u64,
    gaps: u64,
    bytes: u64,
    first_position: u64,
    end_position: u64,
    holes: u64,
    hole_bytes: u64,
    torn_bytes: u64,
    lost_bytes: u64,
    n_damaged: u64,
    damaged: Vec<DamageJson>,
}

#[derive(Serialize)]
struct DamageJson {
    segment: u64,
    position: u64,
    bytes: u64,
    what: &'static str,
}

/// Runs the command.
pub(crate) fn run(args: &Verify, messages: Messages) -> Result<ExitCode, Failure> {
    let path = args.log.to_string_lossy();
    let progress = Progress::of_time(format!("{:?}", args.log), messages);
    let report = Log::verify(&args.log, |at| {
        let segments = format!("segment {} of {}", at.n_segments + 1, at.n_segments_in_all);
        progress.say(format!(
            "{:?}: {segments}, {}",
            args.log,
            show_count(at.n_records, "record", "records")
        ));
    })?;
    drop(progress);
    let text = if args.json { json(&path, &report) } else { text(&path, &report) };
    output::print(text.as_bytes())?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { Code::Corrupt.into() })
}

fn json(path: &str, report: &LogReport) -> String {
    let damage = report.damaged.iter().map(|damage| DamageJson {
        segment: damage.segment,
        position: damage.position,
        bytes: damage.n_bytes,
        what: damage.what,
    });
    crate::doctor::json(&VerifyJson {
        path,
        clean: report.is_clean(),
        segments: report.n_segments,
        records: report.n_records,
        gaps: report.n_gaps,
        bytes: report.payload_bytes,
        first_position: report.first_position,
        end_position: report.end_position,
        holes: report.n_holes,
        hole_bytes: report.hole_bytes,
        torn_bytes: report.torn_tail_bytes,
        lost_bytes: report.lost_bytes,
        n_damaged: report.n_damaged,
        damaged: damage.collect(),
    })
}

fn text(path: &str, report: &LogReport) -> String {
    let mut text = format!(
        "{path}: {}: {} in {}, {}, positions {} to {}\n",
        if report.is_clean() { "ok" } else { "damaged" },
        show_count(report.n_records, "record", "records"),
        show_count(report.n_segments, "segment", "segments"),
        show_count(report.n_gaps, "gap", "gaps"),
        report.first_position,
        report.end_position,
    );
    let told = [
        (report.torn_tail_bytes, "at the end never reached the medium; the next appender leaves them behind"),
        (report.lost_bytes, "between segments never reached the medium"),
        (report.hole_bytes, "were damaged, and are marked as gaps"),
    ];
    for (n_bytes, what) in told.into_iter().filter(|(n_bytes, _)| *n_bytes > 0) {
        text.push_str(&format!("- {} {what}\n", show_count(n_bytes, "byte", "bytes")));
    }
    for damage in &report.damaged {
        let place = match damage.segment {
            0 => "manifest".to_owned(),
            segment => format!("segment {segment}, position {}", damage.position),
        };
        let bytes = if damage.n_bytes > 0 { format!(" ({} bytes)", damage.n_bytes) } else { String::new() };
        text.push_str(&format!("- {place}: {}{bytes}\n", damage.what));
    }
    let unnamed = report.n_damaged - report.damaged.len() as u64;
    if unnamed > 0 {
        text.push_str(&format!("- and {unnamed} more\n"));
    }
    if !report.is_clean() {
        text.push_str("`shm-ring repair` marks what is damaged as gaps, and keeps a copy of it\n");
    }
    text
}
