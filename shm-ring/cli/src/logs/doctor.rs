//! Doctor: what the numbers of a log mean, and what to do.
//!
//! | kind        | severity   | what |
//! |-------------|------------|------|
//! | suspect     | repairable | the newest segment's end may not be what was written: a failed sync, or a restart of the machine |
//! | holes       | note       | bytes that are marked as damaged |
//! | aside       | note       | files that a repair or a recovery has set aside |
//! | not_durable | note       | a power cut would take bytes |
//! | appender    | note       | somebody has it open for appending |
//! | cursor_gone | note       | what a cursor has not read is removed already |
//! | cursor      | note       | how far a cursor is behind |
//! | cursor_bad  | note       | a cursor's file is damaged, or of another log |
//!
//! Records are not read: that is what `verify` is for.
//!
//! (I1) nothing is taken and nothing is changed.

use super::stat::data_bytes;
use crate::doctor::{Diagnosis, Finding, FindingNumbers, Severity, Unfit, quoted};
use crate::size::{show_count, show_size};
use shm_ring::{CursorStats, Error, Log, LogStats};
use std::path::Path;

/// Looks at a log: what was found, and a summary for people.
pub(crate) fn examine(path: &Path) -> Result<(Diagnosis, String), Unfit> {
    let stats = Log::inspect(path).map_err(unfit)?;
    let shown = quoted(&path.to_string_lossy());
    let mut findings = vec![];
    findings.extend(suspect(&stats));
    findings.extend(holes(&stats));
    findings.extend(aside(path));
    findings.extend(not_durable(&stats));
    if stats.has_appender {
        let numbers = FindingNumbers {
            pid: Some(stats.appender_pid).filter(|pid| *pid != 0),
            ..FindingNumbers::default()
        };
        let who = numbers.pid.map_or(String::new(), |pid| format!(": pid {pid}"));
        findings.push(Finding {
            kind: "appender",
            severity: Severity::Note,
            message: format!("somebody appends{who}"),
            advice: "`repair` and `gc` wait for its end; readers need not".to_owned(),
            numbers,
        });
    }
    findings.extend(stats.cursors.iter().map(|cursor| cursor_line(&stats, cursor, &shown)));
    Ok((Diagnosis::new(findings), summary(&stats)))
}

fn unfit(error: Error) -> Unfit {
    let (kind, advice) = match error {
        Error::NotFound { .. } => ("missing", "`shm-ring record` makes one"),
        Error::Corrupt { .. } | Error::Truncated { .. } => {
            ("corrupt", "`shm-ring repair` makes its manifest anew from the segments, and deletes nothing")
        }
        Error::VersionMismatch { .. } => ("version", "use the version of this program that made it"),
        _ => ("unreadable", "ask whoever it belongs to"),
    };
    Unfit::new(kind, error.into(), advice)
}

fn note(kind: &'static str, message: String, advice: impl Into<String>, bytes: Option<u64>) -> Finding {
    let numbers = FindingNumbers { bytes, ..FindingNumbers::default() };
    Finding { kind, severity: Severity::Note, message, advice: advice.into(), numbers }
}

fn suspect(stats: &LogStats) -> Option<Finding> {
    let segment = stats.segments.iter().find(|segment| segment.is_suspect)?;
    let doubtful = segment.end.saturating_sub(stats.durable.max(segment.base));
    let finding = note(
        "suspect",
        format!(
            "segment {} is suspect: a sync of it has failed, or the machine was restarted; {} of it may not be what was written",
            segment.number,
            show_count(doubtful, "byte", "bytes")
        ),
        "whoever opens the log for appending next keeps what still checks, and goes on behind it",
        Some(doubtful),
    );
    Some(Finding { severity: Severity::Repairable, ..finding })
}

fn holes(stats: &LogStats) -> Option<Finding> {
    let bytes: u64 = stats.segments.iter().map(|segment| segment.hole_bytes).sum();
    let message = format!("{} of damage are marked as gaps", show_count(bytes, "byte", "bytes"));
    (bytes > 0).then(|| {
        note("holes", message, "what was there is in the files that begin with `aside-`", Some(bytes))
    })
}

fn aside(path: &Path) -> Option<Finding> {
    let files = std::fs::read_dir(path).ok()?.flatten();
    let mut n = 0;
    let mut bytes = 0;
    for file in files.filter(|file| file.file_name().to_string_lossy().starts_with("aside-")) {
        n += 1;
        bytes += file.metadata().map_or(0, |found| found.len());
    }
    let message = format!("{} set aside, {}", show_count(n, "file was", "files were"), show_size(bytes));
    let advice = "nothing reads them: keep them as long as somebody may want to look at what was damaged";
    (n > 0).then(|| note("aside", message, advice, Some(bytes)))
}

fn not_durable(stats: &LogStats) -> Option<Finding> {
    let bytes = stats.end_position.saturating_sub(stats.durable);
    let message = format!(
        "{} of {} are not known to be on the medium: a power cut may take them",
        bytes,
        data_bytes(stats)
    );
    let advice = if stats.has_appender {
        "its appender syncs by its own policy: `record --sync 100ms`"
    } else {
        "the next appender can sync them"
    };
    (bytes > 0).then(|| note("not_durable", message, advice, Some(bytes)))
}

fn cursor_line(stats: &LogStats, cursor: &CursorStats, shown: &str) -> Finding {
    let name = &cursor.name;
    let remove = format!("`shm-ring cursor rm {shown} {}` removes it", quoted(name));
    let finding = match cursor.position {
        None => note(
            "cursor_bad",
            format!("the file of cursor {name:?} is damaged, or of another log"),
            remove,
            None,
        ),
        Some(position) if position < stats.first_position => {
            let gone = stats.first_position - position;
            let bytes = show_count(gone, "byte", "bytes");
            note(
                "cursor_gone",
                format!("{bytes} that cursor {name:?} has not read are removed"),
                remove,
                Some(gone),
            )
        }
        Some(position) => {
            let behind = stats.end_position.saturating_sub(position);
            let bytes = show_count(behind, "byte", "bytes");
            note("cursor", format!("cursor {name:?} is {bytes} behind"), remove, Some(behind))
        }
    };
    let numbers = FindingNumbers { name: Some(name.clone()), position: cursor.position, ..finding.numbers };
    Finding { numbers, ..finding }
}

fn summary(stats: &LogStats) -> String {
    format!(
        "{} in {}, positions {} to {}; {}\n",
        show_size(data_bytes(stats)),
        show_count(stats.segments.len() as u64, "segment", "segments"),
        stats.first_position,
        stats.end_position,
        if stats.has_appender { "appended to" } else { "nobody appends" },
    )
}
