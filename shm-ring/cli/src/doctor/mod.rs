//! Doctor: what state a ring is in, who holds what, who is in whose way, and what to do.
//!
//! ```text
//!   first look --> anything wrong? --no--> healthy, and the notes
//!                       |yes
//!                       +--> a moment --> second look --> what is the same in both is so
//! ```
//!
//! | file | finds |
//! |------|-------|
//! | blocking | the living, and durable names, that are in the way |
//! | dead     | what the dead left |
//! | notes    | losses, permissions, scarce slots |
//! | look     | two looks at the tables, and the records' times |
//! | process  | what `/proc` knows of a pid |
//! | finding  | a sentence, an advice, numbers |
//!
//! Logs and mapped files have findings of their own: `logs/doctor.rs`, `mapped/doctor.rs`.
//!
//! (I1) nothing is taken and nothing is changed; (I2) blocked wins over repairable, that over healthy.

mod blocking;
mod dead;
mod finding;
mod look;
mod notes;
mod process;

use crate::args::Doctor;
use crate::failure::{Code, Failure};
use crate::logs;
use crate::mapped;
use crate::output::{self, Messages};
use crate::size::{show_count, show_size};
pub(crate) use blocking::called;
pub(crate) use finding::{Finding, Numbers as FindingNumbers, Severity};
use look::Look;
pub(crate) use look::quoted;
pub(crate) use process::Processes;
use serde::Serialize;
use shm_ring::{Error, Stats};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long something stands still before it is said to.
pub(crate) const PATIENCE: Duration = Duration::from_millis(200);

/// What was found, the most important first.
#[derive(Debug, Serialize)]
pub(crate) struct Diagnosis {
    verdict: &'static str,
    repairable: bool,
    blocked: bool,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct DoctorJson<'a> {
    path: &'a str,
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
}

/// Runs the command.
pub(crate) fn run(args: &Doctor, messages: Messages) -> Result<ExitCode, Failure> {
    let path = args.ring.to_string_lossy();
    let found = if logs::is_log(&args.ring) {
        logs::examine(&args.ring)
    } else {
        mapped::examine(&args.ring, args.patience, messages).and_then(|found| match found {
            Some(found) => Ok(found),
            None => examine(&args.ring, args.patience).map(|(diagnosis, stats)| (diagnosis, summary(&stats))),
        })
    };
    let (diagnosis, summary) = match found {
        Ok(found) => found,
        Err(unfit) => {
            if args.json {
                let diagnosis = unfit.diagnosis();
                output::print(json(&DoctorJson { path: &path, diagnosis: &diagnosis }).as_bytes())?;
            }
            return Err(unfit.failure);
        }
    };
    let text = if args.json {
        json(&DoctorJson { path: &path, diagnosis: &diagnosis })
    } else {
        diagnosis.text(&path, &summary)
    };
    output::print(text.as_bytes())?;
    Ok(diagnosis.code())
}

/// An object on a line.
pub(crate) fn json(object: &impl Serialize) -> String {
    let mut line = serde_json::to_string(object).expect("numbers and strings, and the keys are strings");
    line.push('\n');
    line
}

/// Why there is nothing to examine.
#[derive(Debug)]
pub(crate) struct Unfit {
    kind: &'static str,
    /// The same for people.
    pub(crate) failure: Failure,
    advice: &'static str,
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        let anew = "if it was a ring, move it away and create it anew";
        let (kind, advice) = match error {
            Error::NotFound { .. } => {
                ("missing", "create it: `shm-ring create`; `push` and `exec` do so by themselves")
            }
            Error::NotRegular { .. } | Error::NotARing { .. } => {
                ("not_a_ring", "look for the ring elsewhere")
            }
            Error::Truncated { .. } => {
                ("truncated", "move it away and create it anew; producers that have it open have to end")
            }
            Error::Corrupt { .. } => ("corrupt", anew),
            Error::VersionMismatch { .. } => ("version", "use the version of this program that made it"),
            _ => ("unreadable", "ask whoever it belongs to"),
        };
        Self { kind, failure: error.into(), advice }
    }
}

impl Unfit {
    /// For programs; why, for people and the shell; what to do.
    pub(crate) fn new(kind: &'static str, failure: Failure, advice: &'static str) -> Self {
        Self { kind, failure, advice }
    }

    fn diagnosis(&self) -> Diagnosis {
        let verdict = match self.failure.code {
            Code::NotFound => "missing",
            Code::Corrupt => "unusable",
            _ => "unreadable",
        };
        let finding = Finding {
            kind: self.kind,
            severity: Severity::Fatal,
            message: self.failure.message.clone(),
            advice: self.advice.to_owned(),
            numbers: FindingNumbers::default(),
        };
        Diagnosis { verdict, repairable: false, blocked: false, findings: vec![finding] }
    }
}

/// Looks at a ring, twice if something seems to be wrong.
pub(crate) fn examine(path: &Path, patience: Duration) -> Result<(Diagnosis, Stats), Unfit> {
    let mut look = Look::new(path)?;
    let mut diagnosis = Diagnosis::of(&mut look);
    if !diagnosis.is_healthy() {
        look.again(patience)?;
        diagnosis = Diagnosis::of(&mut look);
    }
    if !look.now.rebooted {
        look.check_records().map_err(|error| Unfit {
            kind: "corrupt",
            failure: Failure::poll(path, error),
            advice: "move it away and create it anew; what wrote into it was not this library",
        })?;
    }
    Ok((diagnosis, look.now))
}

impl Diagnosis {
    fn of(look: &mut Look) -> Self {
        let mut findings = Vec::new();
        if look.now.rebooted {
            // What else the tables say was said before the boot.
            findings.push(dead::reboot(look));
        } else {
            findings.extend(blocking::find(look));
            findings.extend(dead::find(look));
        }
        findings.extend(notes::find(look));
        Self::new(findings)
    }

    /// What the findings come to.
    pub(crate) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.severity);
        let has = |severity| findings.iter().any(|finding: &Finding| finding.severity == severity);
        let (blocked, repairable) = (has(Severity::Blocked), has(Severity::Repairable));
        let verdict = match (blocked, repairable) {
            (true, _) => "blocked",
            (false, true) => "repairable",
            (false, false) => "healthy",
        };
        Self { verdict, repairable, blocked, findings }
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_healthy(&self) -> bool {
        !self.blocked && !self.repairable
    }

    /// What the shell is told.
    pub(crate) fn code(&self) -> ExitCode {
        match (self.blocked, self.repairable) {
            (true, _) => Code::Blocked.into(),
            (false, true) => Code::Repairable.into(),
            (false, false) => ExitCode::SUCCESS,
        }
    }

    /// The findings of people's interest after a repair, a line each.
    pub(crate) fn what_is_left(&self) -> String {
        let left = self.findings.iter().filter(|finding| finding.severity < Severity::Note);
        left.map(Finding::line).collect()
    }

    /// For people; the summary is for what is well.
    fn text(&self, path: &str, summary: &str) -> String {
        let n = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count() as u64;
        let repairs = show_count(n(Severity::Repairable), "thing", "things");
        let mut text = format!("{path}: {}", self.verdict);
        match (self.blocked, self.repairable) {
            (true, false) => text.push_str(&format!(": {}", self.who_waits())),
            (true, true) => {
                text.push_str(&format!(": {}; and the dead left {repairs} to repair", self.who_waits()))
            }
            (false, true) => text.push_str(&format!(": the dead left {repairs} to repair")),
            (false, false) => {}
        }
        text.push('\n');
        if self.is_healthy() {
            text.push_str(summary);
        }
        self.findings.iter().for_each(|finding| text.push_str(&finding.line()));
        text
    }

    fn who_waits(&self) -> &'static str {
        match self.findings.first().map_or("", |finding| finding.kind) {
            "repair_lock" => "nobody can attach",
            "open_claim" => "readers wait",
            "sync_failed" => "nothing can be flushed",
            _ => "producers wait",
        }
    }
}

/// Two lines about a ring that is well.
fn summary(stats: &Stats) -> String {
    let records: u64 = stats.producers.iter().map(|producer| producer.records).sum();
    let producers = stats.producers.iter().filter(|producer| producer.alive).count() as u64;
    let readers = stats.consumers.iter().filter(|c| c.alive && c.members.is_none()).count() as u64;
    let held = stats.consumers.iter().filter(|consumer| consumer.holds_space);
    let held = held.map(|consumer| consumer.lag_bytes).max().unwrap_or(0);
    let lost = stats.lost_records + stats.producers.iter().map(|producer| producer.dropped).sum::<u64>();
    format!(
        "{}, {} % held by readers; {} so far; epoch {}\n{} and {} attached; nothing to repair, nobody in the way{}\n",
        show_size(stats.capacity_bytes),
        u128::from(held) * 100 / u128::from(stats.capacity_bytes),
        show_count(records, "record", "records"),
        stats.epoch,
        show_count(producers, "producer", "producers"),
        show_count(readers, "reliable reader", "reliable readers"),
        if lost == 0 { ", nothing lost" } else { "" },
    )
}
