//! Stats: what the tables of a ring say, for people and tools.
//!
//! (I1) loads only, lock bytes are asked and not taken: works on a read-only mapping and disturbs nobody; (I2) counters are written by their
//! owners alone and survive them, so totals are right after a crash too.

use super::names::shown_name;
use super::{Core, era, join, pid_of, reap};
use crate::error::Error;
use crate::frame::claim::holds;
use crate::frame::table::Table;
use crate::layout::frame::{IDLE, Position};
use crate::layout::header::{LAYOUT_VERSION, uuid_text};
use crate::layout::slots::{DURABLE, GROUP, MEMBER, ProducerSlot, REPAIR_BYTE, consumer_byte, producer_byte};
use crate::map::file::{io_error, mode_of};
use crate::sync::Ordering;
use std::path::PathBuf;

/// One look at a ring's tables.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Where the ring is; `None` for an anonymous one.
    pub path: Option<PathBuf>,
    /// The ring's name for ever.
    pub uuid: [u8; 16],
    /// Version of the file's layout.
    pub layout_version: u32,
    /// When the ring was made, ns since the Unix epoch.
    pub created_ns: u64,
    /// Reboots that the ring survived.
    pub epoch: u64,
    /// Bytes of data, frame headers included.
    pub capacity_bytes: u64,
    /// Permission bits of the file.
    pub mode: u32,
    /// Whether it is for one producer at a time.
    pub single_producer: bool,
    /// Whether records carry timestamp, sequence, level and kind.
    pub metadata: bool,
    /// The next position to claim: bytes ever written.
    pub tail: u64,
    /// The oldest position that can still be read.
    pub oldest: u64,
    /// Claims that were lost with their producers.
    pub lost_records: u64,
    /// Their sizes, headers included.
    pub lost_bytes: u64,
    /// How many producers can be attached at once.
    pub producers_max: u16,
    /// How many consumer names the ring knows at once, groups and their members among them.
    pub consumers_max: u16,
    /// Whether the machine was booted since anybody had the ring open: whoever opens it next begins a new epoch, and what is in it now is
    /// not to be trusted.
    pub rebooted: bool,
    /// Who attaches or repairs at this moment, as seen in its own pid namespace; 0: somebody unknown; `None`: nobody.
    pub repairing: Option<u32>,
    /// Producer slots that were ever used.
    pub producers: Vec<ProducerStats>,
    /// Consumer names that the ring knows.
    pub consumers: Vec<ConsumerStats>,
}

/// One producer slot.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProducerStats {
    /// Its number.
    pub slot: u16,
    /// Its owner as seen in the owner's pid namespace; 0: none.
    pub pid: u32,
    /// Whether its lock is held.
    pub alive: bool,
    /// Whether its owner has not left; without being alive it is dead, and what it left is not repaired yet.
    pub attached: bool,
    /// Records of all its owners.
    pub records: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Claims that gave up because the ring was full.
    pub refused: u64,
    /// Claims that waited because the ring was full.
    pub waited: u64,
    /// Records that were dropped because the ring was full, as [`Producer::offer`](crate::Producer::offer) does.
    pub dropped: u64,
    /// Claims that were lost because their owner died in the middle of one.
    pub lost: u64,
    /// What its owner has not committed, or what it may be about to claim.
    pub claim: Option<OpenClaim>,
}

/// Space that a producer has, or is about to have, and has not committed. Readers wait in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenClaim {
    /// Where.
    pub position: Position,
    /// Its size, headers included.
    pub bytes: u64,
}

/// One consumer name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Its slot's number.
    pub slot: u16,
    /// Its name.
    pub name: String,
    /// Its owner as seen in the owner's pid namespace; 0: none.
    pub pid: u32,
    /// Whether its lock is held.
    pub alive: bool,
    /// Whether it holds its space while nobody owns it.
    pub durable: bool,
    /// Whether producers wait for it now.
    pub holds_space: bool,
    /// What it published last.
    pub position: u64,
    /// How far that is behind the tail.
    pub lag_bytes: u64,
    /// Bytes that the name could not read.
    pub missed_bytes: u64,
    /// A group's: how many members it has, alive or not reaped yet; `None` for a consumer and for a member.
    pub members: Option<usize>,
    /// A member's: the slot of its group. Its position is the record that it works on, if it holds space.
    pub member_of: Option<u16>,
}

impl Stats {
    /// The uuid as people write it.
    pub fn uuid_string(&self) -> String {
        uuid_text(&self.uuid)
    }
}

pub(crate) fn read(core: &Core) -> Result<Stats, Error> {
    let shown = core.shown();
    let failed = io_error("examine the locks of", &shown);
    let table = core.table();
    let header = &core.header;
    let shape = header.geometry.shape;
    let words = &table.live.era.0;
    let probe = core.locks.probe().map_err(&failed)?;
    let mut producers = Vec::new();
    // ORDER none (Relaxed), for everything below: numbers for display, each right by itself.
    for (slot, words) in (0u16..).zip(table.producers()) {
        producers.push(ProducerStats {
            slot,
            pid: pid_of(words.pid.load(Ordering::Relaxed)),
            alive: probe.is_held(producer_byte(slot)).map_err(&failed)?,
            attached: words.attached.load(Ordering::Relaxed) != 0,
            records: words.records.load(Ordering::Relaxed),
            bytes: words.bytes.load(Ordering::Relaxed),
            refused: words.refused.load(Ordering::Relaxed),
            waited: words.waited.load(Ordering::Relaxed),
            dropped: words.dropped.load(Ordering::Relaxed),
            lost: words.lost.load(Ordering::Relaxed),
            claim: open_claim(&table, words, slot),
        });
    }
    let tail = table.tail();
    let mut consumers: Vec<ConsumerStats> = Vec::new();
    let mut groups = Vec::new();
    for (slot, words) in (0u16..).zip(table.consumers()) {
        let name = shown_name(words);
        if name.is_empty() {
            continue;
        }
        let flags = words.flags.load(Ordering::Relaxed);
        let held = words.position.load(Ordering::Relaxed);
        let position = if held == IDLE { words.resume.load(Ordering::Relaxed) } else { held };
        // A name that never began to read has no position.
        let position = if position == IDLE { tail } else { position };
        consumers.push(ConsumerStats {
            slot,
            name,
            pid: pid_of(words.pid.load(Ordering::Relaxed)),
            alive: probe.is_held(consumer_byte(shape.producers_max, slot)).map_err(&failed)?,
            durable: flags & DURABLE != 0,
            holds_space: held != IDLE,
            position,
            lag_bytes: tail.saturating_sub(position),
            missed_bytes: words.missed_bytes.load(Ordering::Relaxed),
            members: None,
            member_of: (flags & MEMBER != 0)
                .then(|| u16::try_from(words.group.load(Ordering::Relaxed)).unwrap_or(u16::MAX)),
        });
        if flags & GROUP != 0 {
            groups.push(consumers.len() - 1);
        }
    }
    for group in groups {
        let slot = consumers[group].slot;
        let members = || consumers.iter().filter(|member| member.member_of == Some(slot));
        let (n, alive) = (members().count(), members().any(|member| member.alive));
        (consumers[group].members, consumers[group].alive) = (Some(n), alive);
    }
    Ok(Stats {
        path: core.path.clone(),
        uuid: header.uuid,
        layout_version: LAYOUT_VERSION,
        created_ns: header.created_ns,
        epoch: words.epoch.load(Ordering::Relaxed),
        capacity_bytes: shape.capacity_bytes,
        mode: mode_of(&core.file),
        single_producer: shape.single_producer,
        metadata: shape.metadata,
        tail,
        oldest: join::oldest(&table),
        lost_records: words.lost_records.load(Ordering::Relaxed),
        lost_bytes: words.lost_bytes.load(Ordering::Relaxed),
        producers_max: if shape.single_producer { 1 } else { shape.producers_max },
        consumers_max: shape.consumers_max,
        rebooted: !era::is_current(&table) && !reap::any_alive(&table, &probe).map_err(&failed)?,
        repairing: probe
            .is_held(REPAIR_BYTE)
            .map_err(&failed)?
            .then(|| pid_of(words.repair_pid.load(Ordering::Relaxed))),
        producers,
        consumers,
    })
}

fn open_claim(table: &Table, words: &ProducerSlot, slot: u16) -> Option<OpenClaim> {
    // ORDER I2 (Acquire, pairs with I1): what it finished before is seen as finished.
    let intent = words.intent.load(Ordering::Acquire);
    let bytes = words.intent_len.load(Ordering::Relaxed);
    (intent < table.tail() && holds(table, intent, slot.into()))
        .then_some(OpenClaim { position: intent, bytes })
}
