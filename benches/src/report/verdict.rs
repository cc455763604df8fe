//! Verdict: what was to be reached, and whether it was; missed ones first.

use serde_json::{Value, json as object};

use super::spread::{Digits, Spread};
use super::tables::{Page, head};

pub(crate) const NOT_IN_THIS_RUN: &str = "not in this run";
pub(crate) const NOTHING_COUNTS: &str = "no repetition counts";
pub(crate) const NEEDS_RIVALS: &str = "needs --features rivals";

/// One promise and how it turned out.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) cell: String,
    /// What it is held against.
    pub(crate) against: String,
    pub(crate) limit: Limit,
    /// Else why not.
    pub(crate) measured: Result<Spread, &'static str>,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    AtMost(f64),
    /// And what would be better still.
    AtLeast(f64, Option<f64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Missed,
    Met,
    NotMeasured,
}

impl Target {
    /// The ratio of the medians decides.
    pub(crate) fn verdict(&self) -> Verdict {
        let Ok(Spread { median, .. }) = self.measured else { return Verdict::NotMeasured };
        let met = match self.limit {
            Limit::AtMost(limit) => median <= limit,
            Limit::AtLeast(limit, _) => median >= limit,
        };
        if met { Verdict::Met } else { Verdict::Missed }
    }
}

impl Limit {
    pub(crate) fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("<= {}", Digits(limit)),
            Self::AtLeast(limit, None) => format!(">= {}", Digits(limit)),
            Self::AtLeast(limit, Some(better)) => format!(">= {}, better {}", Digits(limit), Digits(better)),
        }
    }
}

impl Verdict {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Missed => "MISSED",
            Self::Met => "met",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A table of those that are shown; the heading counts all.
pub(crate) fn section(page: &mut Page, targets: &[Target], is_shown: impl Fn(&Target) -> bool) {
    let n_that = |verdict| targets.iter().filter(|target| target.verdict() == verdict).count();
    let (n_missed, n_met) = (n_that(Verdict::Missed), n_that(Verdict::Met));
    let mut rows = vec![head(&["", "what", "target", "measured", "cell", "to"])];
    rows.extend(targets.iter().filter(|target| is_shown(target)).map(|target| {
        vec![
            target.verdict().label().to_owned(),
            target.what.clone(),
            target.limit.text(),
            target
                .measured
                .map_or_else(|why| format!("not measured: {why}"), |measured| measured.to_string()),
            target.cell.clone(),
            target.against.clone(),
        ]
    }));
    let heading =
        format!("Targets: {n_missed} missed, {n_met} met, {} not measured", n_that(Verdict::NotMeasured));
    page.section(&heading, "", &rows);
}

/// One, machine-readable.
pub(crate) fn json(target: &Target) -> Value {
    let measured = target.measured.as_ref();
    object!({
        "what": target.what,
        "cell": target.cell,
        "to": target.against,
        "target": target.limit.text(),
        "verdict": target.verdict().label(),
        "measured": measured.ok().map(|spread| spread.median),
        "min": measured.ok().map(|spread| spread.min),
        "max": measured.ok().map(|spread| spread.max),
        "n": measured.ok().map(|spread| spread.n),
        "why_not": measured.err(),
    })
}
