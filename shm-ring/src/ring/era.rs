//! Era: making a ring fit for use before anybody reads or writes it.
//!
//! | found            | done, under byte 0 |
//! |------------------|--------------------|
//! | another boot id  | pages may have reached the disk in any order: new epoch (no old seal matches), slots and grants cleared, boot id last |
//! | the same boot id | dead slots reaped; everything committed is there |
//!
//! (I1) idempotent: a process that dies here leaves the old boot id, and the next one starts over.

use super::{Core, reap};
use crate::error::Error;
use crate::frame::table::Table;
use crate::layout::frame::{FRAME_ALIGN, IDLE, POSITION_END};
use crate::map::clock;
use crate::map::file::io_error;
use crate::sync::{Ordering, add_alone};

/// Repairs what a reboot or the death of everybody left.
pub(crate) fn make_fit(core: &Core) -> Result<(), Error> {
    let shown = core.shown();
    let failed = io_error("examine the locks of", &shown);
    let table = core.table();
    let boot = clock::boot_id();
    if boot == [0, 0] || is_of(&table, boot) {
        reap::sweep(&table, &core.locks).map_err(&failed)?;
        return Ok(());
    }
    let repair = core.repair()?;
    if is_of(&table, boot) {
        reap::sweep_under(&table, repair.probe()).map_err(&failed)?;
    } else {
        begin(&table, boot);
    }
    Ok(())
}

/// The words of a new ring, at `start`; before publication.
pub(crate) fn initialise(table: &Table, start: u64) {
    // ORDER none (Relaxed), for all of it: nobody else can see the ring before it is linked or inherited.
    table.live.tail.0.store(start, Ordering::Relaxed);
    clear(table, start);
    store_boot(table, clock::boot_id());
}

fn is_of(table: &Table, boot: [u64; 2]) -> bool {
    // ORDER T2' (Acquire, pairs with the Release in `store_boot`): who sees this boot sees the repaired tables.
    table.live.era.0.boot_id.iter().zip(boot).all(|(word, id)| word.load(Ordering::Acquire) == id)
}

fn begin(table: &Table, boot: [u64; 2]) {
    let era = &table.live.era.0;
    // ORDER none (Relaxed): nobody is attached since the boot, and byte 0 is held; the boot id below carries it all.
    add_alone(&era.epoch, 1);
    let tail = (table.tail() & !(FRAME_ALIGN - 1)).min(POSITION_END);
    table.live.tail.0.store(tail, Ordering::Relaxed);
    for slot in table.all_consumers() {
        let position = slot.position.load(Ordering::Relaxed);
        if position != IDLE {
            slot.resume.store(position, Ordering::Relaxed);
        }
        // What the name had not read is gone; joining counts it, from where it stopped.
        slot.resume.store(slot.resume.load(Ordering::Relaxed).min(tail), Ordering::Relaxed);
    }
    clear(table, tail);
    store_boot(table, boot);
}

fn clear(table: &Table, start: u64) {
    let grants = &table.live.grants.0;
    grants.granted.store(start, Ordering::Relaxed);
    grants.base.store(start, Ordering::Relaxed);
    for slot in table.all_producers() {
        slot.intent.store(IDLE, Ordering::Relaxed);
        slot.attached.store(0, Ordering::Relaxed);
        slot.pid.store(0, Ordering::Relaxed);
    }
    for slot in table.all_consumers() {
        slot.position.store(IDLE, Ordering::Relaxed);
        slot.pid.store(0, Ordering::Relaxed);
    }
}

fn store_boot(table: &Table, boot: [u64; 2]) {
    for (word, id) in table.live.era.0.boot_id.iter().zip(boot) {
        // ORDER T1' (Release, pairs with `is_of`): the repaired tables before the boot id.
        word.store(id, Ordering::Release);
    }
}
