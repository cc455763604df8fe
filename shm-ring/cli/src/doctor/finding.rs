//! Finding: one thing to know about a ring, with what to do about it.
//!
//! | severity   | means                                                                  | exit code |
//! |------------|------------------------------------------------------------------------|-----------|
//! | blocked    | somebody is in the way, and nothing is taken from it                   | 10 |
//! | repairable | the dead left something: whoever is held up, attaches or repairs mends it | 9 |
//! | note       | good to know                                                           | 0 |
//! | fatal      | there is no ring to look at                                            | 1, 3, 4 |
//!
//! (I1) kinds and keys are a promise: more may come, none goes; (I2) every finding has a sentence and an advice.

use super::process::Process;
use serde::Serialize;

/// How bad it is, worst first but for what ends everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// There is no ring to look at.
    Fatal,
    /// Somebody is in the way who lives, or is to be respected.
    Blocked,
    /// The dead left something.
    Repairable,
    /// Good to know.
    Note,
}

/// One thing, and what to do about it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// For programs.
    pub(crate) kind: &'static str,
    /// How bad it is.
    pub(crate) severity: Severity,
    /// A sentence without its full stop.
    pub(crate) message: String,
    /// Another one.
    pub(crate) advice: String,
    /// The same in numbers.
    #[serde(flatten)]
    pub(crate) numbers: Numbers,
}

/// What applies.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Numbers {
    /// In the producers' or the consumers' table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<u16>,
    /// A consumer's or a group's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// As its own namespace numbers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    /// As it is numbered here, for signals, if it is seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid_here: Option<u32>,
    /// That process's name, if it is seen here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<String>,
    /// What that process does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<&'static str>,
    /// Where in the ring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<u64>,
    /// Of a claim, that are held, or that were lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// Held, of the capacity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) percent: Option<u64>,
    /// Open for at least so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age_min_ms: Option<u64>,
    /// Open for at most so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age_max_ms: Option<u64>,
    /// Names that wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<Vec<String>>,
    /// Dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) records: Option<u64>,
    /// Lost with their producers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) claims: Option<u64>,
    /// The ring's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u64>,
    /// Slots in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) taken: Option<u64>,
    /// Slots that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slots: Option<u64>,
}

impl Numbers {
    /// Those of a process.
    pub(crate) fn of(process: &Process) -> Self {
        Self {
            pid: (process.pid != 0).then_some(process.pid),
            pid_here: process.pid_here(),
            process: process.name(),
            state: process.state(),
            ..Self::default()
        }
    }
}

impl Finding {
    /// One line for people.
    pub(crate) fn line(&self) -> String {
        format!("- {}. {}.\n", self.message, capital(&self.advice))
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
