//! Dead: what processes that are gone have left, and who will repair it.
//!
//! | kind                  | left by                                        |
//! |-----------------------|------------------------------------------------|
//! | reboot                | the whole machine, before its last boot        |
//! | dead_producer         | a producer, with an unfinished claim or without |
//! | dead_consumer         | a consumer that did not leave                  |
//! | dead_member           | a member of a group                            |
//! | group_without_members | the last member of a group                     |
//!
//! (I1) somebody is dead when its slot is taken and its lock is not, in both looks.

use super::blocking::called;
use super::finding::{Finding, Numbers, Severity};
use super::look::Look;
use crate::size::show_count;
use shm_ring::{ConsumerStats, ProducerStats};

/// Everything that the dead left.
pub(crate) fn find(look: &Look) -> Vec<Finding> {
    let is_dead = |p: &ProducerStats| p.attached && !p.alive;
    let mut producers: Vec<_> =
        look.producers().filter(|(before, now)| is_dead(before) && is_dead(now)).collect();
    // Who left a claim first: readers wait for it.
    producers.sort_by_key(|(_, now)| now.claim.map_or(u64::MAX, |claim| claim.position));
    let mut findings: Vec<_> = producers.into_iter().map(|(_, now)| dead_producer(look, now)).collect();
    let is_left = |c: &ConsumerStats| c.pid != 0 && !c.alive;
    findings
        .extend(look.consumers().filter(|(_, now)| is_left(now)).map(|(_, now)| dead_consumer(look, now)));
    findings.extend(look.consumers().filter_map(|(_, now)| empty_group(look, now)));
    findings
}

/// The machine was booted since: nothing else counts.
pub(crate) fn reboot(look: &Look) -> Finding {
    Finding {
        kind: "reboot",
        severity: Severity::Repairable,
        message:
            "the machine was booted since the ring was last used, and what is in it is not to be trusted"
                .to_owned(),
        advice: format!(
            "whoever opens it next for writing, or `shm-ring repair {}`, begins epoch {}; records of before are given up",
            look.shown_path(),
            look.now.epoch + 1
        ),
        numbers: Numbers { epoch: Some(look.now.epoch), ..Numbers::default() },
    }
}

fn dead_producer(look: &Look, now: &ProducerStats) -> Finding {
    let who = format!("producer {} ({})", now.slot, pid(now.pid));
    let message = match now.claim {
        Some(claim) => format!(
            "{who} died with an unfinished claim of {} bytes at position {}; readers wait in front of it until it is given up",
            claim.bytes, claim.position
        ),
        None => format!("{who} died between two records; its slot is not free yet"),
    };
    Finding {
        kind: "dead_producer",
        severity: Severity::Repairable,
        message,
        advice: repair(look),
        numbers: Numbers {
            slot: Some(now.slot),
            pid: Some(now.pid),
            position: now.claim.map(|claim| claim.position),
            bytes: now.claim.map(|claim| claim.bytes),
            ..Numbers::default()
        },
    }
}

fn dead_consumer(look: &Look, now: &ConsumerStats) -> Finding {
    let held = (look.lag_bytes(now.position), look.percent(now.position));
    let kept = match (now.holds_space, now.member_of, now.durable) {
        (false, ..) => "; its slot is not free yet".to_owned(),
        (true, Some(_), _) => {
            format!(" with the record at position {} in hand; another member gets it", now.position)
        }
        (true, None, false) => format!(" and still holds {} bytes, {} % of the ring", held.0, held.1),
        (true, None, true) => {
            format!(
                "; as its name is durable, it keeps the {} bytes that it holds, {} % of the ring",
                held.0, held.1
            )
        }
    };
    Finding {
        kind: if now.member_of.is_some() { "dead_member" } else { "dead_consumer" },
        severity: Severity::Repairable,
        message: format!("{} ({}) died{kept}", called(now), pid(now.pid)),
        advice: repair(look),
        numbers: Numbers {
            slot: Some(now.slot),
            name: Some(now.name.clone()),
            pid: Some(now.pid),
            position: now.holds_space.then_some(now.position),
            bytes: now.holds_space.then_some(held.0),
            percent: now.holds_space.then_some(held.1),
            ..Numbers::default()
        },
    }
}

fn empty_group(look: &Look, now: &ConsumerStats) -> Option<Finding> {
    if now.members.is_none() || now.alive || now.durable || !now.holds_space {
        return None;
    }
    let held = (look.lag_bytes(now.position), look.percent(now.position));
    Some(Finding {
        kind: "group_without_members",
        severity: Severity::Repairable,
        message: format!(
            "group {:?} has no living member and still holds {}, {} % of the ring",
            now.name,
            show_count(held.0, "byte", "bytes"),
            held.1
        ),
        advice: repair(look),
        numbers: Numbers {
            slot: Some(now.slot),
            name: Some(now.name.clone()),
            position: Some(now.position),
            bytes: Some(held.0),
            percent: Some(held.1),
            ..Numbers::default()
        },
    })
}

fn pid(pid: u32) -> String {
    if pid == 0 { "pid unknown".to_owned() } else { format!("pid {pid}") }
}

fn repair(look: &Look) -> String {
    let path = look.shown_path();
    format!("whoever attaches next or is held up by it repairs it, and so does `shm-ring repair {path}`")
}
