//! Blocking: who stands in whose way, and lives, or is to be respected.
//!
//! | kind         | who                                              | whom it keeps |
//! |--------------|--------------------------------------------------|---------------|
//! | open_claim   | a living producer that has not committed         | every reader, and producers once the ring is full |
//! | full         | a living consumer, group or member that is behind | producers |
//! | absent_name  | a durable name that nobody has                   | producers |
//! | orphan       | a dead member's record that no living one takes  | producers |
//! | repair_lock  | a process that attaches or repairs, for long     | everybody who wants to attach |
//!
//! (I1) what moved between the looks is not in the way; (I2) who waits for somebody's open claim is not in the way, its owner is.

use super::finding::{Finding, Numbers, Severity};
use super::look::{Look, quoted};
use crate::size::show_duration;
use shm_ring::{ConsumerStats, OpenClaim, ProducerStats};

/// From here on, the ring is called full.
const FULL_PERCENT: u64 = 90;
/// From here on, if producers found it full: a record may need a quarter.
const REFUSED_PERCENT: u64 = 70;
/// From here on, a name that nobody has is told of.
const ABSENT_PERCENT: u64 = 50;

/// Everything that is or will be in the way, and what may be mistaken for it.
pub(crate) fn find(look: &mut Look) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(pid) = look.repairing() {
        findings.push(repair_lock(look, pid));
    }
    let mut open: Vec<(ProducerStats, OpenClaim)> = look
        .producers()
        .filter(|(before, now)| before.alive && now.alive && before.claim == now.claim)
        .filter_map(|(_, now)| Some((now.clone(), now.claim?)))
        .collect();
    open.sort_by_key(|(_, claim)| claim.position);
    for (n, (producer, claim)) in open.iter().enumerate() {
        findings.push(open_claim(look, producer, *claim, n == 0));
    }
    // Who waits in front of a claim, a dead producer's too, waits for that.
    let claims: Vec<u64> = look.now.producers.iter().filter_map(|p| Some(p.claim?.position)).collect();
    let mut held: Vec<_> = look.consumers().filter(|(_, now)| now.holds_space).collect();
    held.sort_by_key(|(_, now)| now.position);
    findings.extend(held.into_iter().filter_map(|(before, now)| holder(look, before, now, &claims)));
    findings
}

/// What a name is called: `consumer "c"`, `group "g"`, `member of group "g"`.
pub(crate) fn called(consumer: &ConsumerStats) -> String {
    match (consumer.members, consumer.member_of) {
        (Some(_), _) => format!("group {:?}", consumer.name),
        (_, Some(_)) => format!("member of group {:?}", consumer.name),
        _ => format!("consumer {:?}", consumer.name),
    }
}

fn repair_lock(look: &Look, pid: u32) -> Finding {
    let process = look.process(pid);
    let (how, kill) = (process.how_to_continue(), process.how_to_kill());
    Finding {
        kind: "repair_lock",
        severity: Severity::Blocked,
        message: format!(
            "a process ({}) has the repair lock for at least {}: nobody else can attach or repair",
            process.who_and_state(),
            show_duration(look.between)
        ),
        advice: format!("{how}; {kill} frees the lock, and the next to come goes on with the repair"),
        numbers: Numbers { age_min_ms: Some(millis(look.between)), ..Numbers::of(&process) },
    }
}

fn open_claim(look: &mut Look, producer: &ProducerStats, claim: OpenClaim, is_first: bool) -> Finding {
    let process = look.process(producer.pid);
    let age = look.age(claim);
    let percent = look.percent(claim.position);
    let waiting: Vec<String> = look
        .consumers()
        .filter(|(_, now)| now.holds_space && now.alive && now.member_of.is_none())
        .filter(|(_, now)| now.position == claim.position)
        .map(|(_, now)| called(now))
        .collect();
    let mut message = format!(
        "producer {} ({}) has had an unfinished claim for {}: {} bytes at position {}",
        producer.slot,
        process.who_and_state(),
        age_text(age.at_least, age.at_most),
        claim.bytes,
        claim.position
    );
    match (is_first, waiting.is_empty()) {
        (false, _) => {}
        (true, true) => message.push_str("; no reader gets past it"),
        (true, false) => {
            let wait = if waiting.len() == 1 { "waits" } else { "wait" };
            message.push_str(&format!("; no reader gets past it, {} {wait}", waiting.join(", ")));
        }
    }
    if percent >= FULL_PERCENT {
        message.push_str(&format!("; the ring is {percent} % full behind it, so producers wait too"));
    }
    let (how, kill) = (process.how_to_continue(), process.how_to_kill());
    Finding {
        kind: "open_claim",
        severity: Severity::Blocked,
        message,
        advice: format!("{how}; {kill} gives the claim up, and everything else goes on"),
        numbers: Numbers {
            slot: Some(producer.slot),
            position: Some(claim.position),
            bytes: Some(claim.bytes),
            percent: Some(percent),
            age_min_ms: Some(millis(age.at_least)),
            age_max_ms: age.at_most.map(millis),
            waiting: Some(waiting),
            ..Numbers::of(&process)
        },
    }
}

/// Somebody who holds space: whether that is too much.
fn holder(look: &Look, before: &ConsumerStats, now: &ConsumerStats, claims: &[u64]) -> Option<Finding> {
    let percent = look.percent(now.position);
    let is_full = percent >= FULL_PERCENT || percent >= REFUSED_PERCENT && look.has_refused();
    let has_moved = before.position != now.position;
    let owner = look.process(now.pid);
    let waits = claims.contains(&now.position) && now.member_of.is_none();
    match (now.alive, now.durable) {
        (true, _) if waits && !owner.is_stopped() => None,
        (true, _) if is_full && has_moved => Some(slow(look, before, now)),
        (true, _) if is_full => Some(full(look, now)),
        (true, _) if owner.is_stopped() => Some(stopped(look, now)),
        // Nobody's and durable: only a name can be both.
        (false, true) if percent >= ABSENT_PERCENT => Some(absent(look, now, is_full)),
        (false, _) if now.member_of.is_some() && now.pid == 0 => orphan(look, now, is_full),
        // A dead one's hold is repaired, a short one harms nobody.
        _ => None,
    }
}

fn full(look: &Look, now: &ConsumerStats) -> Finding {
    let owner = look.process(now.pid);
    let (who, why, advice) = if now.members.is_some() {
        let members: Vec<_> = look.consumers().filter(|(_, m)| m.member_of == Some(now.slot)).collect();
        let each: Vec<_> = members.iter().map(|(_, m)| look.process(m.pid).who_and_state()).collect();
        let why = format!("its members take nothing ({})", each.join("; "));
        (called(now), why, "let its members go on, or let more processes join it".to_owned())
    } else {
        let why = match owner.state() {
            Some(_) if owner.is_stopped() => owner.state().unwrap_or_default().to_owned(),
            Some(state) => format!("has released nothing for {} ({state})", show_duration(look.between)),
            None => format!("has released nothing for {}", show_duration(look.between)),
        };
        let (how, kill) = (owner.how_to_continue(), owner.how_to_kill());
        let then = match (now.durable, now.member_of) {
            (_, Some(_)) => format!("{kill} gives its record to another member"),
            (true, _) => format!("{kill} does not free the space, for the name is durable"),
            (false, _) => format!("{kill} frees the space, and its name goes on where it can"),
        };
        (format!("{} ({})", called(now), owner.who()), why, format!("{how}; {then}"))
    };
    Finding {
        kind: "full",
        severity: Severity::Blocked,
        message: format!("full: {who} is {}, and {why}", behind(look, now)),
        advice,
        numbers: numbers(look, now),
    }
}

fn slow(look: &Look, before: &ConsumerStats, now: &ConsumerStats) -> Finding {
    let read = now.position.saturating_sub(before.position);
    let time = show_duration(look.between);
    Finding {
        kind: "slow_reader",
        severity: Severity::Note,
        message: format!(
            "producers wait for {}: {}, but reading: {read} bytes in {time}",
            called(now),
            behind(look, now)
        ),
        advice: "make it faster, the ring larger, or push less".to_owned(),
        numbers: numbers(look, now),
    }
}

fn stopped(look: &Look, now: &ConsumerStats) -> Finding {
    let owner = look.process(now.pid);
    Finding {
        kind: "stopped_reader",
        severity: Severity::Note,
        message: format!(
            "{} ({}) is {}; when the ring is full, producers will wait for it",
            called(now),
            owner.who_and_state(),
            behind(look, now)
        ),
        advice: owner.how_to_continue(),
        numbers: numbers(look, now),
    }
}

fn absent(look: &Look, now: &ConsumerStats, is_full: bool) -> Finding {
    let (path, name) = (look.shown_path(), &now.name);
    let how = if now.members.is_some() { "--group" } else { "--consumer" };
    let read = format!("`shm-ring tail {path} {how} {} --oldest`", quoted(name));
    let (word, then) = if is_full {
        ("full: ", "producers wait")
    } else {
        ("", "when the ring is full, producers will wait")
    };
    let advice = if now.members.is_some() {
        format!("join it and read: {read}")
    } else {
        format!("read under it: {read}; as that is without --durable, the name then lets go of its space")
    };
    Finding {
        kind: "absent_name",
        severity: if is_full { Severity::Blocked } else { Severity::Note },
        message: format!(
            "{word}{} is durable, nobody reads under it, and it is {}: {then}",
            called(now),
            behind(look, now)
        ),
        advice,
        numbers: numbers(look, now),
    }
}

fn orphan(look: &Look, now: &ConsumerStats, is_full: bool) -> Option<Finding> {
    let group = look.now.consumers.iter().find(|group| Some(group.slot) == now.member_of)?;
    if !group.alive && !group.durable {
        // Goes away with its group.
        return None;
    }
    Some(Finding {
        kind: "orphan",
        severity: if is_full { Severity::Blocked } else { Severity::Note },
        message: format!(
            "a record that a dead member of group {:?} had waits for a living one, {}",
            now.name,
            behind(look, now)
        ),
        advice: format!(
            "whichever member looks next takes it; `shm-ring tail {} --group {}` is one",
            look.shown_path(),
            quoted(&now.name)
        ),
        numbers: numbers(look, now),
    })
}

fn numbers(look: &Look, now: &ConsumerStats) -> Numbers {
    Numbers {
        slot: Some(now.slot),
        name: Some(now.name.clone()),
        position: Some(now.position),
        bytes: Some(look.lag_bytes(now.position)),
        percent: Some(look.percent(now.position)),
        ..Numbers::of(&look.process(now.pid))
    }
}

/// `98 % behind (64232 of 65536 bytes)`.
fn behind(look: &Look, now: &ConsumerStats) -> String {
    let (percent, lag) = (look.percent(now.position), look.lag_bytes(now.position));
    format!("{percent} % behind ({lag} of {} bytes)", look.now.capacity_bytes)
}

fn age_text(at_least: std::time::Duration, at_most: Option<std::time::Duration>) -> String {
    let least = show_duration(at_least);
    match at_most.map(show_duration) {
        Some(most) if most == least => least,
        Some(most) => format!("{least} to {most}"),
        None => format!("at least {least}"),
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
