//! Audit: what has to hold when a world has ended, and nobody is there any more.
//!
//! | checked | by |
//! |---|---|
//! | everything that was committed was delivered, nothing else was | reading the rest under both names; the lives' books |
//! | nobody is alive, no lock byte is held | stats; F_OFD_GETLK over the whole file |
//! | LOST is rare, and counted | producers killed, the ring's count, the consumers' |
//! | all slots and names are free | taking each of them once more |
//! | the group had everything, and has nothing in hand | reading its rest as a member; its row and its members' in the stats |
//! | what was dropped is counted and told | the oracle's count, the ring's, and a consumer that sees some more dropped |
//! | nothing is left behind | the directory has the ring, and nothing else |
//!
//! (I1) called by the driver after its last child's end.

use crate::cast::Place;
use crate::hands::{self, GROUP, join};
use crate::kinds::Role;
use crate::ledger::{Look, attach, balance};
use crate::world::{BOUND, Stand, Violation};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use shm_ring::{Producer, Ring};
use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

/// Compares everything; the first thing that is not as it should be.
pub(crate) fn audit(stand: &mut Stand<'_>, directory: &Path) -> Result<(), Violation> {
    no_byte_is_held(stand)?;
    let ring = stand.ring()?;
    let stats = ring.stats().map_err(|e| e.to_string())?;
    require(stats.producers.iter().all(|p| !p.alive), "a producer that is gone is alive in the stats")?;
    require(stats.consumers.iter().all(|c| !c.alive), "a consumer that is gone is alive in the stats")?;
    read_the_rest(stand, &ring)?;
    the_group_is_done(stand, &ring)?;
    let (records, in_flight) = balance(stand.oracle)?;
    let lost = ring.stats().map_err(|e| e.to_string())?.lost_records;
    let (complete, kills) = (stand.oracle.reader(Role::C0).load(), stand.producer_kills);
    require(lost <= kills, &format!("{lost} claims were lost by {kills} deaths of producers"))?;
    require(
        complete.lost <= lost + stand.uncounted_max,
        &format!(
            "a consumer passed {} LOST, {lost} were counted, {} may not be",
            complete.lost, stand.uncounted_max
        ),
    )?;
    let shown = ring.consumer(Role::C0.name()).map_err(|e| e.to_string())?.lost_records();
    require(
        shown >= lost,
        &format!("the ring lost {lost} claims, and its complete consumer passed {shown}"),
    )?;
    drops_are_counted(stand, &ring)?;
    all_is_free(stand, &ring)?;
    drop(ring);
    if !stand.world.shape.anonymous {
        drop(stand.ring()?);
        let left: Vec<_> = std::fs::read_dir(directory).unwrap().flatten().map(|e| e.file_name()).collect();
        require(left == ["ring"], &format!("left in the directory: {left:?}"))?;
        no_byte_is_held(stand)?;
        std::fs::remove_file(directory.join("ring")).map_err(|e| e.to_string())?;
    }
    for role in Role::CONSUMERS {
        let reader = stand.oracle.reader(role);
        let load = |word: &std::sync::atomic::AtomicU64| word.load(std::sync::atomic::Ordering::SeqCst);
        stand.totals.delivered += load(&reader.delivered);
        stand.totals.redelivered += load(&reader.redelivered);
        stand.totals.gaps += u64::from(reader.load().gaps);
    }
    let hands = &stand.oracle.hands;
    let load = |word: &std::sync::atomic::AtomicU64| word.load(std::sync::atomic::Ordering::SeqCst);
    stand.totals.shared += load(&hands.delivered);
    stand.totals.adopted += load(&hands.adopted);
    stand.totals.repeated += load(&hands.repeated);
    stand.totals.records += records;
    stand.totals.in_flight += in_flight;
    stand.totals.lost += lost;
    stand.totals.lives += stand.oracle.n_lives() as u64;
    Ok(())
}

fn require(holds: bool, or: &str) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(or.to_owned()) }
}

fn read_the_rest(stand: &Stand<'_>, ring: &Ring) -> Result<(), Violation> {
    for role in Role::CONSUMERS {
        let (mut consumer, mut ledger) = attach(stand.oracle, ring, role).map_err(|e| e.to_string())?;
        let start = Instant::now();
        // A hole that the dead left is mended by whoever looks often enough.
        while ledger.look(&mut consumer, Duration::from_millis(2)) == Look::Record || consumer.lag_bytes() > 0
        {
            require(start.elapsed() < BOUND, &format!("{role:?} is held up at {}", consumer.position()))?;
        }
    }
    Ok(())
}

fn the_group_is_done(stand: &Stand<'_>, ring: &Ring) -> Result<(), Violation> {
    let durable = stand.stage.durable;
    stand.oracle.hands.renew(Role::G0);
    stand.oracle.hands.renew(Role::G1);
    let joined = join(stand.oracle, ring, Role::G0, durable);
    let (mut member, mut hand) = joined.map_err(|e| format!("the group can't be joined: {e}"))?;
    let start = Instant::now();
    let mut fruitless = 0;
    // What the dead had is adopted as soon as somebody looks.
    while fruitless < 3 {
        let came = hand.look(&mut member, Duration::from_millis(2), 0) == Look::Record;
        fruitless = if came || member.lag_bytes() > 0 { 0 } else { fruitless + 1 };
        require(start.elapsed() < BOUND, &format!("the group is held up at {}", member.position()))?;
    }
    hand.leave();
    drop(member);
    let stats = ring.stats().map_err(|e| e.to_string())?;
    let group = stats.consumers.iter().find(|row| row.name == GROUP && row.members.is_some());
    let group = group.ok_or("the group has no row in the stats")?;
    require(
        group.members == Some(0) && !group.alive && group.holds_space == durable,
        &format!("everybody has left, durable: {durable}: {group:?}"),
    )?;
    let held =
        stats.consumers.iter().find(|row| row.member_of.is_some() && (row.holds_space || row.pid != 0));
    require(held.is_none(), &format!("a member that is gone has something: {held:?}"))?;
    hands::balance(stand.oracle, group.missed_bytes, durable)
}

/// What was dropped, in all; then some more are dropped, and a consumer is told of just those.
fn drops_are_counted(stand: &mut Stand<'_>, ring: &Ring) -> Result<(), Violation> {
    let failed = |e: &dyn std::fmt::Display| e.to_string();
    let rows = ring.stats().map_err(|e| failed(&e))?.producers;
    for row in &rows {
        let noted = stand.oracle.dropped(row.slot).load(std::sync::atomic::Ordering::SeqCst);
        stand.totals.dropped += noted;
        require(
            (noted..=noted + stand.producer_kills).contains(&row.dropped),
            &format!("slot {}: {} dropped, {noted} noted", row.slot, row.dropped),
        )?;
    }
    // The group's space must not be in the way.
    let mut members = vec![ring.group(GROUP).map_err(|e| failed(&e))?];
    let mut consumer = ring.consumer(Role::C0.name()).map_err(|e| failed(&e))?;
    let mut read = |members: &mut Vec<shm_ring::Member>| -> Result<Vec<(u16, u64)>, Violation> {
        for member in members {
            while member.try_poll().map_err(|e| failed(&e))?.is_some() {}
        }
        while consumer.try_poll().map_err(|e| failed(&e))?.is_some() {}
        Ok(consumer.lost().iter().map(|loss| (loss.producer, loss.dropped_records)).collect())
    };
    let of = |lost: &[(u16, u64)], slot| lost.iter().find(|(of, _)| *of == slot).map_or(0, |(_, n)| *n);
    for row in &rows {
        let mut producer = ring.producer().map_err(|e| failed(&e))?;
        producer.try_push(b"before").map_err(|e| failed(&e))?;
        let before = of(&read(&mut members)?, producer.slot());
        let mut dropped = 0;
        while dropped < 5 {
            dropped += u64::from(producer.offer(&[7; 500]).map_err(|e| failed(&e))?.is_none());
        }
        read(&mut members)?;
        producer.try_push(b"after").map_err(|e| failed(&e))?;
        let after = of(&read(&mut members)?, producer.slot());
        require(
            after == before + dropped,
            &format!("slot {}: {dropped} dropped, {before} to {after}", row.slot),
        )?;
    }
    Ok(())
}

fn all_is_free(stand: &Stand<'_>, ring: &Ring) -> Result<(), Violation> {
    let n = u16::try_from(stand.world.shape.producers().len()).unwrap();
    let producers: Result<Vec<Producer>, _> = (0..n).map(|_| ring.producer()).collect();
    let mut producers = producers.map_err(|e| format!("a producer slot is not free: {e}"))?;
    require(producers.iter().map(Producer::slot).eq(0..n), "producer slots are not given in order")?;
    let rows = ring.stats().map_err(|e| e.to_string())?.consumers;
    // Groups' members need slots of their own: one after the other.
    for row in rows.iter().filter(|row| row.members.is_some()) {
        drop(ring.group(&row.name).map_err(|e| format!("the name of {row:?} is not free: {e}"))?);
    }
    let single = |row: &&shm_ring::ConsumerStats| row.members.is_none() && row.member_of.is_none();
    let names = rows.iter().filter(single).filter(|row| row.name != Role::C0.name());
    let consumers: Result<Vec<_>, String> = names
        .map(|row| ring.consumer(&row.name).map_err(|e| format!("the name of {row:?} is not free: {e}")))
        .collect();
    drop(consumers?);
    let mut last = ring.consumer(Role::C0.name()).map_err(|e| e.to_string())?;
    for producer in &mut producers {
        producer.try_push(b"last").map_err(|e| format!("an empty ring: {e}"))?;
        let frame = last.poll_timeout(BOUND).map_err(|e| e.to_string())?;
        require(frame.is_some_and(|frame| *frame == *b"last"), "the last record is not the last")?;
    }
    Ok(())
}

fn no_byte_is_held(stand: &Stand<'_>) -> Result<(), Violation> {
    let Place::File(path) = &stand.stage.place else { return Ok(()) };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| e.to_string())?;
    let mut whole = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut whole)).map_err(|e| e.to_string())?;
    require(i32::from(whole.l_type) == libc::F_UNLCK, &format!("byte {} is held by nobody", whole.l_start))
}
