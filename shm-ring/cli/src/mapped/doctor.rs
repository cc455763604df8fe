//! Doctor: what the numbers of a mapped file mean, and what to do.
//!
//! | kind            | severity   | what |
//! |-----------------|------------|------|
//! | repair_lock     | blocked    | somebody has begun to open it, and does not go on |
//! | sync_failed     | blocked    | the medium refused bytes: nothing can be flushed any more |
//! | unwritten       | repairable | the dead had bytes of a ranged file handed out, and did not write them |
//! | reboot          | repairable | bytes that never reached the medium before the machine was restarted |
//! | seal_begun      | repairable | somebody died while sealing it |
//! | loss_begun      | repairable | a writer died while it gave bytes up |
//! | handed_out      | note       | the same as `unwritten`, of which some may be of the living |
//! | unfinished      | note       | bytes of a ranged file are missing |
//! | not_durable     | note       | a power cut would take bytes |
//! | writer          | note       | somebody has it open for writing |
//! | pinned          | note       | somebody reads an append file in place, so nothing can be given up |
//! | owner, permissions | note    | who may not write it, or who may |
//!
//! A sealed file's bytes are read, and compared with their checksum.
//!
//! (I1) nothing is taken and nothing is changed; (I2) what may be merely in progress is looked at twice.

use super::look::{Both, Look, Numbers, sealed};
use super::stat::state;
use crate::doctor::{Diagnosis, Finding, FindingNumbers, Processes, Severity, Unfit, quoted};
use crate::output::Messages;
use crate::size::{show_count, show_size};
use shm_ring::{AppendStats, Error, RangedFile, RangedStats};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Looks at a mapped file, twice if something seems to be wrong: what was found, and a summary for people. `None`: it is none.
pub(crate) fn examine(
    path: &Path,
    patience: Duration,
    messages: Messages,
) -> Result<Option<(Diagnosis, String)>, Unfit> {
    let Some(mut look) = Look::new(path).map_err(unfit)? else { return Ok(None) };
    let mut findings = find(&look, look.both().is_being_opened);
    if findings.iter().any(|finding| finding.severity < Severity::Note) {
        let was_being_opened = look.both().is_being_opened;
        std::thread::sleep(patience);
        let Some(again) = Look::new(path).map_err(unfit)? else { return Ok(None) };
        look = again;
        findings = find(&look, was_being_opened && look.both().is_being_opened);
    }
    let both = look.both();
    if both.is_sealed {
        sealed(path, both.data_bytes, messages).map_err(unfit)?;
    }
    let summary = summary(&look, &both);
    Ok(Some((Diagnosis::new(findings), summary)))
}

fn unfit(error: Error) -> Unfit {
    let copy = "take it from a copy that was made earlier; what is left of its bytes is in the file as it is";
    let (kind, advice) = match error {
        Error::NotFound { .. } => ("missing", "it was there a moment ago"),
        Error::Truncated { .. } => ("truncated", copy),
        Error::Corrupt { .. } => ("corrupt", copy),
        Error::VersionMismatch { .. } => ("version", "use the version of this program that made it"),
        _ => ("unreadable", "ask whoever it belongs to"),
    };
    Unfit::new(kind, error.into(), advice)
}

fn finding(
    kind: &'static str,
    severity: Severity,
    message: String,
    advice: impl Into<String>,
    bytes: Option<u64>,
) -> Finding {
    let numbers = FindingNumbers { bytes, ..FindingNumbers::default() };
    Finding { kind, severity, message, advice: advice.into(), numbers }
}

fn find(look: &Look<'_>, is_stuck: bool) -> Vec<Finding> {
    let (both, shown) = (look.both(), quoted(&look.path.to_string_lossy()));
    let mut findings = Vec::new();
    if is_stuck {
        findings.push(finding(
            "repair_lock",
            Severity::Blocked,
            "somebody has begun to open the file for writing, and does not go on".to_owned(),
            "nobody else can open it for writing until that process goes on or is gone; `lslocks` may know it",
            None,
        ));
    }
    if both.seal_begun && !both.has_writer {
        findings.push(finding(
            "seal_begun",
            Severity::Repairable,
            "somebody died while sealing the file; it is open, and all of it is there".to_owned(),
            format!("`shm-ring seal {shown}` begins anew"),
            None,
        ));
    }
    match &look.numbers {
        Numbers::Append(stats) => append(stats, &shown, &mut findings),
        Numbers::Ranged(stats) => ranged(look.path, stats, &shown, &mut findings),
    }
    if both.has_writer {
        findings.push(writer(look.path, &both));
    }
    findings.extend(access(look.path, &both, &shown));
    findings
}

fn append(stats: &AppendStats, shown: &str, findings: &mut Vec<Finding>) {
    let doubtful = stats.doubtful.end - stats.doubtful.start;
    if doubtful > 0 {
        findings.push(finding(
            "reboot",
            Severity::Repairable,
            format!(
                "{} from byte {} on, were written before the machine was restarted and never synced: they may be others, or zeros",
                show_count(doubtful, "byte", "bytes"),
                stats.doubtful.start
            ),
            format!(
                "whoever opens it for writing is told, and keeps or drops them; `shm-ring seal {shown}` asks which"
            ),
            Some(doubtful),
        ));
    }
    if stats.loss_begun && !stats.has_writer {
        findings.push(finding(
            "loss_begun",
            Severity::Repairable,
            format!(
                "its writer died while it gave bytes up; for all who read it, {} are left",
                show_count(stats.len_bytes, "byte", "bytes")
            ),
            "nothing is to be done: the next writer finishes it",
            Some(stats.len_bytes),
        ));
    }
    let volatile = stats.len_bytes - stats.durable_bytes;
    if doubtful == 0 && volatile > 0 && !stats.is_sealed {
        let advice = if stats.has_writer {
            "its writer syncs it when it calls `sync`, or by its policy".to_owned()
        } else {
            format!("the next writer can `sync` it; `shm-ring seal {shown}` does, for good")
        };
        findings.push(not_durable(volatile, stats.len_bytes, advice));
    }
    if stats.is_pinned {
        findings.push(finding(
            "pinned",
            Severity::Note,
            "somebody reads the file in place; until it is done, its writer can neither clear nor shrink it"
                .to_owned(),
            "pushes go on meanwhile",
            None,
        ));
    }
}

fn ranged(path: &Path, stats: &RangedStats, shown: &str, findings: &mut Vec<Finding>) {
    let unit = stats.alignment.bytes();
    let taken = stats.taken_bytes;
    if stats.sync_failed {
        findings.push(finding(
            "sync_failed",
            Severity::Blocked,
            format!(
                "a sync of the file has failed: of {} that are written, {} are known to be on the medium, and it gets no more there",
                show_count(stats.written_bytes, "byte", "bytes"),
                stats.durable_bytes
            ),
            "see what is wrong with the medium, and copy the file to another one while what is in memory is there",
            Some(stats.written_bytes - stats.durable_bytes.min(stats.written_bytes)),
        ));
    }
    if taken > 0 && !stats.has_writers {
        findings.push(finding(
            "unwritten",
            Severity::Repairable,
            format!(
                "dead writers left {} bytes ({}) that were handed out and not written",
                taken,
                show_count(taken.div_ceil(unit), "unit", "units"),
            ),
            "whoever opens the file next, alone, gets them back",
            Some(taken),
        ));
    } else if taken > 0 {
        findings.push(finding(
            "handed_out",
            Severity::Note,
            format!("{taken} bytes are handed out and not written yet: by the living, or by the dead"),
            "those of the dead come back when somebody has the file alone: by opening it, or with `reclaim`",
            Some(taken),
        ));
    }
    if stats.rebooted && stats.doubtful_bytes > 0 {
        findings.push(finding(
            "reboot",
            Severity::Repairable,
            format!(
                "{} were written before the machine was restarted and never flushed: they count as missing",
                show_count(stats.doubtful_bytes, "byte", "bytes")
            ),
            "whoever opens the file next gets them back, to be written again",
            Some(stats.doubtful_bytes),
        ));
    }
    if stats.missing_bytes > 0 {
        let observer = RangedFile::observe(path).ok();
        let n_runs = observer.and_then(|file| file.missing().ok().map(Iterator::count)).unwrap_or(0);
        findings.push(finding(
            "unfinished",
            Severity::Note,
            format!(
                "{} of {} bytes are missing, in {}",
                stats.missing_bytes,
                stats.size_bytes,
                show_count(n_runs as u64, "place", "places")
            ),
            "it can be sealed when all of them are written",
            Some(stats.missing_bytes),
        ));
    }
    let volatile = stats.written_bytes.saturating_sub(stats.durable_bytes);
    if volatile > 0 && !stats.sync_failed && !stats.is_sealed {
        let advice =
            format!("its writers can `flush` them; `shm-ring seal {shown}` does, when all are written");
        findings.push(not_durable(volatile, stats.written_bytes, advice));
    }
}

fn not_durable(volatile: u64, of_bytes: u64, advice: String) -> Finding {
    let message = format!(
        "{volatile} of {} are not known to be on the medium: they survive their writer, not the machine",
        show_count(of_bytes, "written byte", "written bytes")
    );
    finding("not_durable", Severity::Note, message, advice, Some(volatile))
}

fn writer(path: &Path, both: &Both) -> Finding {
    let inode = std::fs::metadata(path).map_or(0, |found| found.ino());
    let process = Processes::find(&[both.writer_pid], inode).of(both.writer_pid);
    let who = process.who_and_state();
    let (kind, message) = match both.kind {
        "append" => ("writer", format!("{who}, has it open for writing, and nobody else can")),
        _ => ("writer", format!("it is open for writing; who opened it last is {who}")),
    };
    let advice =
        if process.is_stopped() { process.how_to_continue() } else { "it can be read meanwhile".into() };
    Finding { kind, severity: Severity::Note, message, advice, numbers: FindingNumbers::of(&process) }
}

fn access(path: &Path, both: &Both, shown: &str) -> Vec<Finding> {
    const POSSIBLE: &str = "what is possible: to follow it, to look at it, to copy it";
    let own_uid = nix::unistd::geteuid().as_raw();
    let owner_uid = std::fs::metadata(path).map_or(own_uid, |found| found.uid());
    let mut findings = Vec::new();
    if owner_uid != own_uid {
        findings.push(finding(
            "owner",
            Severity::Note,
            format!("the file belongs to uid {owner_uid}, not to this user (uid {own_uid}); {POSSIBLE}"),
            "write it as its owner",
            None,
        ));
    }
    if both.mode & 0o022 != 0 {
        findings.push(finding(
            "permissions",
            Severity::Note,
            format!("others can write the file (mode {:04o}), so it is not trusted; {POSSIBLE}", both.mode),
            format!("`chmod go-w {shown}` makes it usable again"),
            None,
        ));
    }
    findings
}

/// Two lines about a file that is well.
fn summary(look: &Look<'_>, both: &Both) -> String {
    let what = match &look.numbers {
        Numbers::Append(_) => format!(
            "append file, {} of data, {} of capacity",
            show_size(both.data_bytes),
            show_size(both.capacity_bytes)
        ),
        Numbers::Ranged(stats) => format!(
            "ranged file, {} of data in units of {}, {} written",
            show_size(both.data_bytes),
            stats.alignment.bytes(),
            show_size(stats.written_bytes)
        ),
    };
    let more = if both.is_sealed {
        "every byte is as it was sealed"
    } else {
        "nothing to repair, nobody in the way"
    };
    format!("{what}; {}\n{more}\n", state(both))
}
