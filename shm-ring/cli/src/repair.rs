//! Repair: opens a ring (a log: `logs/repair.rs`) for writing, which repairs it, and says what became of what the dead left.
//!
//! ```text
//!   look --> open, repair --> look again --> the difference is what was done; the doctor says what is left
//! ```
//! Others may repair at the same time; what is told is what was repaired between the two looks, whoever did it.
//!
//! (I1) takes nothing from the living; (I2) refuses what `push` refuses.

use crate::args::Repair;
use crate::doctor::{self, Diagnosis, PATIENCE, called};
use crate::failure::{Code, Failure};
use crate::logs;
use crate::output;
use crate::size::show_count;
use serde::Serialize;
use shm_ring::{ConsumerStats, Error, Ring, Stats};
use std::process::ExitCode;

/// What was repaired.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Done {
    /// Slots of dead producers.
    producers: u64,
    /// Their unfinished claims.
    claims: u64,
    /// Those claims' sizes.
    bytes: u64,
    /// Slots of dead consumers.
    consumers: u64,
    /// Slots of dead members of groups.
    members: u64,
    /// Groups without members that held space.
    groups: u64,
    /// The new epoch.
    epoch: Option<u64>,
    /// Who held what, in words.
    #[serde(skip)]
    released: Vec<String>,
}

#[derive(Serialize)]
struct RepairJson<'a> {
    path: &'a str,
    repaired: bool,
    #[serde(flatten)]
    done: &'a Done,
    #[serde(flatten)]
    left: &'a Diagnosis,
}

/// Runs the command.
pub(crate) fn run(args: &Repair) -> Result<ExitCode, Failure> {
    if logs::is_log(&args.ring) {
        return logs::repair(args);
    }
    if args.dry_run {
        let what = "a ring: whoever attaches repairs it anyway; --dry-run is for logs, and `doctor` says what there is";
        return Err(Failure::new(Code::Usage, format!("{:?}: {what}", args.ring)));
    }
    let before = Ring::open_observer(&args.ring)?.stats()?;
    let done = match repair(args) {
        Ok(after) => Done::between(&before, &after),
        // Somebody has the repair lock: the doctor says who.
        Err(Error::Busy { .. }) => Done::default(),
        Err(error) => return Err(error.into()),
    };
    let (left, _) = doctor::examine(&args.ring, PATIENCE).map_err(|unfit| unfit.failure)?;
    let path = args.ring.to_string_lossy();
    let repaired = done != Done::default();
    let text = if args.json {
        doctor::json(&RepairJson { path: &path, repaired, done: &done, left: &left })
    } else {
        text(&path, &done, &left)
    };
    output::print(text.as_bytes())?;
    Ok(left.code())
}

fn repair(args: &Repair) -> Result<Stats, Error> {
    let ring = Ring::open(&args.ring)?;
    // Opening has done it; but for what came since.
    ring.repair()?;
    ring.stats()
}

impl Done {
    fn between(before: &Stats, after: &Stats) -> Self {
        if after.epoch != before.epoch {
            return Self { epoch: Some(after.epoch), ..Self::default() };
        }
        let is_reaped = |slot: u16, pid: u32| {
            !after.producers.iter().any(|now| now.slot == slot && now.pid == pid && now.attached)
        };
        let producers =
            before.producers.iter().filter(|p| p.attached && !p.alive && is_reaped(p.slot, p.pid));
        let is_here = |then: &ConsumerStats| {
            after.consumers.iter().any(|now| now.slot == then.slot && now.pid == then.pid)
        };
        let gone = || before.consumers.iter().filter(|then| then.pid != 0 && !then.alive && !is_here(then));
        let holds =
            |then: &ConsumerStats| after.consumers.iter().any(|now| now.slot == then.slot && now.holds_space);
        let empty =
            |then: &&ConsumerStats| then.members.is_some() && !then.alive && then.holds_space && !holds(then);
        Self {
            producers: producers.count() as u64,
            claims: after.lost_records.saturating_sub(before.lost_records),
            bytes: after.lost_bytes.saturating_sub(before.lost_bytes),
            consumers: gone().filter(|then| then.member_of.is_none()).count() as u64,
            members: gone().filter(|then| then.member_of.is_some()).count() as u64,
            groups: before.consumers.iter().filter(empty).count() as u64,
            epoch: None,
            released: gone()
                .map(dead_line)
                .chain(before.consumers.iter().filter(empty).map(group_line))
                .collect(),
        }
    }

    /// A line per thing that was done.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(epoch) = self.epoch {
            lines.push(format!(
                "began epoch {epoch}: the machine was booted since, records of before are given up"
            ));
        }
        if self.producers > 0 {
            lines.push(format!("freed {} of dead producers", show_count(self.producers, "slot", "slots")));
        }
        if self.claims > 0 {
            let claims = show_count(self.claims, "unfinished claim", "unfinished claims");
            lines.push(format!("gave up {claims} of theirs, {} bytes; readers are told", self.bytes));
        }
        lines.extend(self.released.iter().cloned());
        lines
    }
}

/// What became of a dead consumer's slot, or a dead member's.
fn dead_line(then: &ConsumerStats) -> String {
    let slot = format!("freed the slot of dead {} (pid {})", called(then), then.pid);
    match (then.holds_space, then.member_of, then.durable) {
        (false, ..) => slot,
        (true, Some(_), _) => format!("{slot}; the record that it had in hand is delivered again"),
        (true, None, true) => format!("{slot}; its name is durable and keeps {} bytes", then.lag_bytes),
        (true, None, false) => format!("{slot}, which held {} bytes", then.lag_bytes),
    }
}

fn group_line(then: &ConsumerStats) -> String {
    format!("let go of the {} bytes that {} held without members", then.lag_bytes, called(then))
}

fn text(path: &str, done: &Done, left: &Diagnosis) -> String {
    let lines = done.lines();
    let mut text = match (lines.is_empty(), left.is_healthy()) {
        (true, true) => format!("{path}: nothing to repair\n"),
        (true, false) => format!("{path}: nothing was repaired\n"),
        (false, _) => format!("{path}: repaired\n"),
    };
    lines.iter().for_each(|line| text.push_str(&format!("- {line}\n")));
    if !left.is_healthy() {
        text.push_str("left as it is:\n");
        text.push_str(&left.what_is_left());
    }
    text
}
