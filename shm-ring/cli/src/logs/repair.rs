//! Repair: what is damaged in a log is marked as gone, and kept beside it.
//!
//! (I1) with `--dry-run` nothing is changed; (I2) the JSON keys are a promise: more may come, none goes.

use crate::args::Repair;
use crate::failure::Failure;
use crate::output;
use serde::Serialize;
use shm_ring::{DryRun, Log, Mended, Mending};
use std::process::ExitCode;

#[derive(Serialize)]
struct RepairJson<'a> {
    path: &'a str,
    dry_run: bool,
    repaired: bool,
    mended: Vec<MendedJson<'a>>,
}

#[derive(Serialize)]
struct MendedJson<'a> {
    segment: u64,
    position: u64,
    bytes: u64,
    what: &'a str,
    how: &'static str,
    aside: Option<&'a str>,
}

/// Runs the command.
pub(crate) fn run(args: &Repair) -> Result<ExitCode, Failure> {
    let path = args.ring.to_string_lossy();
    let report = Log::repair(&args.ring, if args.dry_run { DryRun::Yes } else { DryRun::No })?;
    let text = if args.json {
        let mended = report.mended.iter().map(|mended| MendedJson {
            segment: mended.segment,
            position: mended.position,
            bytes: mended.n_bytes,
            what: mended.what,
            how: kind_of(mended.how),
            aside: mended.aside.as_deref(),
        });
        crate::doctor::json(&RepairJson {
            path: &path,
            dry_run: args.dry_run,
            repaired: !args.dry_run && !report.mended.is_empty(),
            mended: mended.collect(),
        })
    } else {
        text(&path, args.dry_run, &report.mended)
    };
    output::print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn kind_of(how: Mending) -> &'static str {
    match how {
        Mending::Marked => "marked",
        Mending::Remade => "remade",
        Mending::ManifestRemade => "manifest_remade",
        Mending::Dropped => "dropped",
        _ => "other",
    }
}

fn text(path: &str, dry_run: bool, mended: &[Mended]) -> String {
    let verdict = match (mended.is_empty(), dry_run) {
        (true, _) => "nothing to repair",
        (false, true) => "would be repaired",
        (false, false) => "repaired",
    };
    let mut text = format!("{path}: {verdict}\n");
    for mended in mended {
        let place = match mended.segment {
            0 => "manifest".to_owned(),
            segment => format!("segment {segment}, position {}", mended.position),
        };
        let how = match mended.how {
            Mending::Marked => format!("{} bytes are marked as gone", mended.n_bytes),
            Mending::Remade => "made anew, with the same records".to_owned(),
            Mending::ManifestRemade => "made anew from the segments".to_owned(),
            Mending::Dropped => "no longer listed, nothing was in it".to_owned(),
            _ => "repaired".to_owned(),
        };
        let aside =
            mended.aside.as_ref().map_or(String::new(), |aside| format!("; what was there is in {aside}"));
        text.push_str(&format!("- {place}: {}: {how}{aside}\n", mended.what));
    }
    text
}
