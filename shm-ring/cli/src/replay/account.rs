//! Account: what could not be read, and what is missing, of many sources.
//!
//! (I1) each failure is told once, on stderr, with its source's name; (I2) the exit code is that of the first one.

use crate::failure::{Code, Failure};
use crate::output::{self, Messages};
use crate::size::show_count;
use shm_ring::replay::{MergeError, PoolSource, Source, SourceError, SourceStats};
use std::collections::HashSet;

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Account {
    messages: Messages,
    first: Option<Code>,
    n_failed: u64,
    /// Sources of which a record could not be read.
    unreadable: HashSet<usize>,
    /// What was told of each source.
    told: Vec<SourceStats>,
    /// Whether anything is missing.
    is_lossy: bool,
}

impl Account {
    /// Nothing so far.
    pub(crate) fn new(messages: Messages) -> Self {
        Self {
            messages,
            first: None,
            n_failed: 0,
            unreadable: HashSet::new(),
            told: Vec::new(),
            is_lossy: false,
        }
    }

    /// A source can't be opened.
    pub(crate) fn fail(&mut self, failure: &Failure) {
        output::complain(&failure.message);
        self.first.get_or_insert(failure.code);
        self.n_failed += 1;
    }

    /// A source can't be read on.
    pub(crate) fn fail_in(&mut self, error: &MergeError) {
        self.fail(&Failure::of_source(error));
    }

    /// A record of a source can't be read; told once of each source.
    pub(crate) fn fail_at(&mut self, number: usize, name: &str, error: &SourceError) {
        if self.unreadable.insert(number) {
            self.fail(&Failure::of_source_named(name, error));
        }
    }

    /// Tells what is missing in each source and was not told before.
    pub(crate) fn tell_missing<'a>(&mut self, sources: impl IntoIterator<Item = (&'a str, SourceStats)>) {
        for (number, (name, now)) in sources.into_iter().enumerate() {
            if self.told.len() == number {
                self.told.push(SourceStats::default());
            }
            if self.told[number] == now {
                continue;
            }
            let before = std::mem::replace(&mut self.told[number], now);
            for line in news(&before, &now) {
                self.messages.note(&format!("{name:?}: {line}"));
            }
            self.is_lossy |= now.n_gaps > 0;
        }
    }

    /// Whether anything is missing, as far as it was told.
    pub(crate) fn is_lossy(&self) -> bool {
        self.is_lossy
    }

    /// It is over: whether every source was read.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        let Some(code) = self.first else { return Ok(()) };
        let sources = show_count(self.n_failed, "source", "sources");
        Err(Failure::new(code, format!("{sources} could not be read, or not to the end")))
    }
}

/// Their names, and what they have come to.
pub(crate) fn stats(sources: &[PoolSource]) -> impl Iterator<Item = (&str, SourceStats)> {
    sources.iter().map(|source| (source.name(), source.stats()))
}

fn news(before: &SourceStats, now: &SourceStats) -> Vec<String> {
    let mut lines = Vec::new();
    let more = |now: u64, before: u64| now.saturating_sub(before);
    let gaps = more(now.n_gaps, before.n_gaps);
    if gaps > 0 {
        let mut line = format!("something is missing at {}", show_count(gaps, "place", "places"));
        let records = more(now.n_missing_records, before.n_missing_records);
        if records > 0 {
            line.push_str(&format!(", {}", show_count(records, "record", "records")));
        }
        let bytes = more(now.n_missing_bytes, before.n_missing_bytes);
        if bytes > 0 {
            line.push_str(&format!(", {}", show_count(bytes, "byte", "bytes")));
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what is missing is told once, and remembered. Method: an account that is asked twice, and once more when more is missing.
    #[test]
    fn what_is_missing_is_told_once() {
        let mut account = Account::new(Messages::new(true, false));
        let mut now = SourceStats::default();
        account.tell_missing([("a", now)]);
        assert!(!account.is_lossy());
        (now.n_gaps, now.n_missing_records) = (2, 7);
        assert_eq!(news(&SourceStats::default(), &now), ["something is missing at 2 places, 7 records"]);
        account.tell_missing([("a", now)]);
        assert!(account.is_lossy() && account.told == [now]);
        let before = now;
        (now.n_gaps, now.n_missing_bytes) = (3, 1);
        assert_eq!(news(&before, &now), ["something is missing at 1 place, 1 byte"]);
        assert!(news(&now, &now).is_empty() && account.finish().is_ok());
    }

    // Goal: the code is that of the first failure, and the sum is told. Method: two failures.
    #[test]
    fn the_first_failure_is_the_code() {
        let mut account = Account::new(Messages::new(false, false));
        account.fail(&Failure::new(Code::NotFound, "a"));
        account.fail(&Failure::new(Code::Corrupt, "b"));
        let failure = account.finish().unwrap_err();
        assert_eq!((failure.code, failure.message.starts_with("2 sources ")), (Code::NotFound, true));
    }
}
