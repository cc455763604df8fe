//! Era: making a ring fit for use before anybody reads or writes it.
//!
//! | found                                         | done, under byte 0 |
//! |-----------------------------------------------|--------------------|
//! | the same boot id, or one side knows none      | dead slots reaped; everything committed is there |
//! | another boot id, and a slot's byte is held    | no reboot: a container with a boot id of its own; the same |
//! | another boot id, and nobody is alive          | pages may have reached the disk in any order: new epoch (no old seal matches), slots and grants cleared, boot id last |
//!
//! (I1) idempotent: a process that dies here leaves the old boot id, and the next one starts over; (I2) the epoch, and with it the key of
//! all seals, is read after byte 0 was taken, never before.

use super::{Core, reap, share};
use crate::error::Error;
use crate::frame::table::Table;
use crate::layout::frame::{FRAME_ALIGN, IDLE, POSITION_END};
use crate::layout::slots::{DURABLE, Live, MEMBER};
use crate::map::clock;
use crate::map::file::io_error;
use crate::sync::{Ordering, add_alone};

/// Repairs what a reboot or the death of everybody left.
pub(crate) fn make_fit(core: &Core) -> Result<(), Error> {
    let shown = core.shown();
    let failed = io_error("examine the locks of", &shown);
    let boot = clock::boot_id();
    let repair = core.repair()?;
    let table = core.table();
    if is_of(&table.live, boot) || reap::any_alive(&table, repair.probe()).map_err(&failed)? {
        reap::sweep_under(&table, repair.probe()).map_err(&failed)?;
        return Ok(());
    }
    begin(&table);
    // The new epoch is on the medium before anything is sealed with it: after a power cut it is not used a second time.
    core.file.sync_data().map_err(io_error("sync", &shown))?;
    store_boot(&table, boot);
    Ok(())
}

/// The words of a new ring, at `start`; before publication.
pub(crate) fn initialise(table: &Table, start: u64) {
    // ORDER none (Relaxed), for all of it: nobody else can see the ring before it is linked or inherited.
    table.live.tail.0.store(start, Ordering::Relaxed);
    clear(table, start);
    store_boot(table, clock::boot_id());
}

/// Whether the ring was made fit in this boot, as far as that is known.
pub(crate) fn is_current(table: &Table) -> bool {
    is_of(&table.live, clock::boot_id())
}

fn is_of(live: &Live, boot: [u64; 2]) -> bool {
    // ORDER T2' (Acquire, pairs with the Release in `store_boot`): who sees this boot sees the repaired tables.
    let stored = [0, 1].map(|half: usize| live.era.0.boot_id[half].load(Ordering::Acquire));
    // Zeros: /proc could not be read, then or now. That is no sign of a reboot.
    stored == boot || stored == [0, 0] || boot == [0, 0]
}

fn begin(table: &Table) {
    let era = &table.live.era.0;
    // ORDER none (Relaxed): nobody is attached since the boot, and byte 0 is held; the boot id carries it all.
    add_alone(&era.epoch, 1);
    let tail = table.tail().min(POSITION_END) & !(FRAME_ALIGN - 1);
    table.live.tail.0.store(tail, Ordering::Relaxed);
    for slot in table.all_consumers() {
        let position = slot.position.load(Ordering::Relaxed);
        if position != IDLE {
            // What the name had not read is gone; joining counts it, from where it stopped.
            slot.resume.store(position.min(tail), Ordering::Relaxed);
        }
    }
    clear(table, tail);
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
        if slot.flags.load(Ordering::Relaxed) & MEMBER != 0 {
            share::free(slot);
            continue;
        }
        let durable = slot.flags.load(Ordering::Relaxed) & DURABLE != 0;
        if durable {
            // Its name holds what comes from now on, and is told what it lost.
            let resume = slot.resume.load(Ordering::Relaxed).min(start);
            add_alone(&slot.missed_bytes, start - resume);
            slot.resume.store(start, Ordering::Relaxed);
        }
        slot.position.store(if durable { start } else { IDLE }, Ordering::Relaxed);
        slot.pid.store(0, Ordering::Relaxed);
    }
}

fn store_boot(table: &Table, boot: [u64; 2]) {
    for (word, id) in table.live.era.0.boot_id.iter().zip(boot) {
        // ORDER T1' (Release, pairs with `is_of`): the repaired tables before the boot id.
        word.store(id, Ordering::Release);
    }
}
