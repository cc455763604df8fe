//! Notes: what is good to know of a ring, and in nobody's way now.
//!
//! | kind        | what |
//! |-------------|------|
//! | loss        | records that were dropped, claims that were lost with their producers, bytes that a name missed |
//! | permissions | others can write the file, so it is opened for watching only |
//! | owner       | it is somebody else's file, with the same effect |
//! | slots       | nine tenths of the slots are taken |

use super::blocking::called;
use super::finding::{Finding, Numbers, Severity};
use super::look::Look;
use crate::size::show_count;

/// Everything worth a note.
pub(crate) fn find(look: &Look) -> Vec<Finding> {
    let mut findings = access(look);
    findings.extend(slots(look));
    findings.extend(losses(look));
    findings
}

fn note(kind: &'static str, message: String, advice: impl Into<String>, numbers: Numbers) -> Finding {
    Finding { kind, severity: Severity::Note, message, advice: advice.into(), numbers }
}

fn access(look: &Look) -> Vec<Finding> {
    const POSSIBLE: &str = "what is possible: `tail` without --consumer and --group, `stat`, `doctor`";
    let own_uid = nix::unistd::geteuid().as_raw();
    let mut findings = Vec::new();
    if look.owner_uid != own_uid {
        findings.push(note(
            "owner",
            format!(
                "the ring belongs to uid {}, not to this user (uid {own_uid}); {POSSIBLE}",
                look.owner_uid
            ),
            "push, read reliably and repair as its owner",
            Numbers::default(),
        ));
    }
    if look.now.mode & 0o022 != 0 {
        let path = look.shown_path();
        findings.push(note(
            "permissions",
            format!(
                "others can write the ring (mode {:04o}), so it is not trusted; {POSSIBLE}",
                look.now.mode
            ),
            format!("`chmod go-w {path}` makes it usable again"),
            Numbers::default(),
        ));
    }
    findings
}

fn slots(look: &Look) -> Vec<Finding> {
    let stats = &look.now;
    let alive = stats.producers.iter().filter(|producer| producer.alive).count() as u64;
    // A name that is away and was overwritten anyway gives its slot to a new one.
    let names =
        stats.consumers.iter().filter(|c| c.alive || c.holds_space || c.lag_bytes < stats.capacity_bytes);
    let tables = [
        ("producer", "producers", alive, stats.producers_max),
        ("consumer", "consumers", names.count() as u64, stats.consumers_max),
    ];
    let is_scarce = |taken: u64, slots: u16| slots > 1 && taken * 10 >= u64::from(slots) * 9;
    tables
        .into_iter()
        .filter(|(_, _, taken, slots)| is_scarce(*taken, *slots))
        .map(|(one, flag, taken, slots)| {
            note(
                "slots",
                format!("{taken} of {slots} {one} slots are taken"),
                format!("before they run out, make a new ring with more: `shm-ring create --{flag} N`"),
                Numbers { taken: Some(taken), slots: Some(slots.into()), ..Numbers::default() },
            )
        })
        .collect()
}

fn losses(look: &Look) -> Vec<Finding> {
    let stats = &look.now;
    let where_it_is = format!("`shm-ring tail {} --oldest --losses` shows where", look.shown_path());
    let mut findings = Vec::new();
    for producer in &stats.producers {
        let slot = Some(producer.slot);
        if producer.dropped > 0 {
            findings.push(note(
                "loss",
                format!(
                    "producer {} has dropped {} so far, because the ring was full",
                    producer.slot,
                    show_count(producer.dropped, "record", "records")
                ),
                format!("a larger ring, or faster readers; {where_it_is}"),
                Numbers { slot, records: Some(producer.dropped), ..Numbers::default() },
            ));
        }
        if producer.lost > 0 {
            findings.push(note(
                "loss",
                format!(
                    "producer {} has lost {} so far, because its process died in the middle",
                    producer.slot,
                    show_count(producer.lost, "claim", "claims")
                ),
                format!("find out why it died; {where_it_is}"),
                Numbers { slot, claims: Some(producer.lost), ..Numbers::default() },
            ));
        }
    }
    for consumer in stats.consumers.iter().filter(|consumer| consumer.missed_bytes > 0) {
        findings.push(note(
            "loss",
            format!(
                "{} has missed {} so far, which were overwritten while it was away",
                called(consumer),
                show_count(consumer.missed_bytes, "byte", "bytes")
            ),
            "it misses nothing if it is durable, and then the ring can fill up",
            Numbers {
                slot: Some(consumer.slot),
                name: Some(consumer.name.clone()),
                bytes: Some(consumer.missed_bytes),
                ..Numbers::default()
            },
        ));
    }
    findings
}
