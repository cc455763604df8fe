//! Trial of repair: over logs of which parts are gone, with boots that are made up.
//!
//! (I1) what must not come again was seen before: ends, and cursors that somebody saved.

use super::cursor;
use super::manifest;
use super::names;
use super::repair::repair;
use super::trial::{BOOT, OTHER_BOOT, append, create, disk, open, settings};
use super::verify::verify;
use crate::layout::cursor::LogCursor;
use crate::map::disk::Disk;
use crate::map::medium::{Medium, MediumFile};
use std::sync::Arc;

/// Of `trial::create`.
const LOG_UUID: [u8; 16] = [7; 16];
/// Where frames begin in a segment of `trial::settings`.
const DATA_OFFSET: u64 = 3 * 4096;

/// A log that a power cut has shortened by a lot in segment 1, of which a part of segment 2 was left, and that was opened again: everything
/// that was seen lies below the first of what is returned, the second is where it went on; nothing that is left has a position near them.
fn shortened(disk: &Arc<Disk>) -> (u64, u64) {
    let mut core = create(disk, settings(BOOT)).unwrap();
    for n in 0..70 {
        append(&mut core, n, &[1; 1000]).unwrap();
        if n == 60 {
            core.turn().unwrap();
        }
    }
    let end = core.end();
    assert!(end > 64 << 10, "there are two segments");
    drop(core);
    let file = disk.open(&names::segment(1), true).unwrap();
    file.write_at(&[0; 1000], DATA_OFFSET + 5 * 1040).unwrap();
    let (core, found) = open(disk, settings(OTHER_BOOT)).unwrap();
    assert_eq!(found.n_set_aside, 1);
    let base = core.end();
    assert!(base >= end);
    drop(core);
    // Nobody has appended to it; its number is free again.
    disk.remove(&names::segment(2)).unwrap();
    (end, base)
}

fn lose_manifest(disk: &Disk) {
    let number = manifest::read(disk).unwrap().number;
    disk.remove(names::CURRENT).unwrap();
    disk.remove(&names::manifest(number)).unwrap();
}

/// Repairs the log, opens it, and says where it goes on.
fn end_when_repaired(disk: &Arc<Disk>) -> u64 {
    let report = repair(disk, OTHER_BOOT, false).unwrap();
    assert!(!report.mended.is_empty());
    let (mut core, _) = open(disk, settings(OTHER_BOOT)).unwrap();
    let end = core.end();
    append(&mut core, 100, b"behind").unwrap();
    assert!(verify(disk, OTHER_BOOT, |_| {}).unwrap().is_clean());
    assert!(repair(disk, OTHER_BOOT, true).unwrap().mended.is_empty());
    end
}

// Goal: a manifest that is made anew gives no position to another frame. Method: a power cut has taken most of what was there; only what was
// set aside knows how far that went.
#[test]
fn positions_of_what_was_set_aside_are_not_used_again() {
    let (_directory, disk) = disk();
    let (seen, _) = shortened(&disk);
    lose_manifest(&disk);
    assert!(end_when_repaired(&disk) >= seen);
}

// Goal: the same, of positions that only a cursor knows. Method: what was set aside is gone, too.
#[test]
fn positions_of_cursors_are_not_used_again() {
    let (_directory, disk) = disk();
    let (_, seen) = shortened(&disk);
    cursor::save(&*disk, "reader", &LogCursor { log_uuid: LOG_UUID, position: seen, saved_ns: 1 }).unwrap();
    for name in disk.names().unwrap().iter().filter(|name| name.starts_with("aside-")) {
        disk.remove(name).unwrap();
    }
    lose_manifest(&disk);
    assert!(end_when_repaired(&disk) >= seen);
}

// Goal: the same, of a segment that somebody has removed. Method: the newest one's file is gone, the manifest is there; with and without a
// prepared one behind it.
#[test]
fn positions_of_a_segment_that_is_gone_are_not_used_again() {
    for is_prepared in [false, true] {
        let (_directory, disk) = disk();
        let mut core = create(&disk, settings(BOOT)).unwrap();
        for n in 0..70 {
            append(&mut core, n, &[1; 1000]).unwrap();
            if n == 60 || is_prepared {
                core.turn().unwrap();
            }
        }
        let seen = core.end();
        drop(core);
        assert_eq!(disk.open(&names::segment(3), false).is_ok(), is_prepared);
        disk.remove(&names::segment(2)).unwrap();
        assert!(end_when_repaired(&disk) >= seen);
    }
}

// Goal: what a repair of something else must not forget stays. Method: damage in a log with a floor, whose last segments are gone.
#[test]
fn a_floor_stays() {
    let (_directory, disk) = disk();
    let (_, seen) = shortened(&disk);
    let file = disk.open(&names::segment(1), true).unwrap();
    file.write_at(&[9], DATA_OFFSET + 100).unwrap();
    assert!(end_when_repaired(&disk) >= seen);
    assert!(manifest::read(&*disk).unwrap().reading.state.floor >= seen);
}

// Goal: a seal that nobody vouches for is no damage, and nothing is mended. Method: a torn segment that the next one follows, in another boot.
#[test]
fn what_recovery_puts_right_is_not_mended() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    for n in 0..70 {
        append(&mut core, n, &[1; 1000]).unwrap();
    }
    drop(core);
    let file = disk.open(&names::segment(1), true).unwrap();
    file.write_at(&[0; 1000], DATA_OFFSET + 5 * 1040).unwrap();
    assert!(verify(&disk, OTHER_BOOT, |_| {}).unwrap().is_clean());
    assert!(repair(&disk, OTHER_BOOT, true).unwrap().mended.is_empty());
    assert!(!verify(&disk, BOOT, |_| {}).unwrap().is_clean());
}
