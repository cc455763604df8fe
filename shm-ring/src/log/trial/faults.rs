//! Faults: every operation on files fails once, at every place; and what a sync that failed means.

use super::faulty::{Fault, Faulty, Script};
use super::{BOOT, OTHER_BOOT, Seen, append, create, directory, disk, open, read, settings};
use crate::layout::mapped::PIN_BYTE;
use crate::log::appender::Core;
use crate::log::error::LogError;
use crate::log::manifest;
use crate::log::names::{self, Name};
use crate::log::segment::Segment;
use crate::log::shared::Durability;
use crate::map::disk::Disk;
use crate::map::lock::Locks;
use crate::map::medium::{Medium, MediumFile};

/// Appends until `n` records are there, each tried again when it is refused; false: the appender takes no more.
fn work<M: Medium>(core: &mut Core<M>, seen: &mut Vec<Seen>, n: u64, refusals: &mut u64) -> bool {
    while (seen.len() as u64) < n {
        let number = seen.len() as u64;
        let payload = vec![number as u8; 5000];
        match append(core, number, &payload) {
            Ok(at) => seen.push((at, number, payload)),
            Err(LogError::SyncFailed { .. }) => return false,
            Err(LogError::NoSpace { .. } | LogError::System { .. }) => *refusals += 1,
            Err(other) => panic!("{other}"),
        }
        if number % 5 == 4 {
            match core.turn() {
                Err(LogError::SyncFailed { .. }) => return false,
                Err(_) => *refusals += 1,
                Ok(()) => {}
            }
        }
        assert!(*refusals < 10, "a fault that is over refuses no more");
    }
    true
}

// Goal: no operation that fails loses a record, or makes one up; what was refused is taken when it is tried again; the next appender goes on.
// Method: for each kind of operation and each n, the n-th fails (and the one behind it), in a log of several segments that are retired and
// used again; then the log is opened and read.
#[test]
fn every_operation_may_fail_once() {
    for (fault, errno) in [
        (Fault::Create, libc::ENOSPC),
        (Fault::Write, libc::ENOSPC),
        (Fault::Write, libc::EIO),
        (Fault::Rename, libc::EIO),
        (Fault::SyncNames, libc::EIO),
        (Fault::Sync, libc::EIO),
    ] {
        let mut n_places = 0;
        for place in 0..100 {
            let directory = directory();
            let script = Script::new(fault, errno);
            let disk = Faulty::new(directory.path(), &script);
            let settings = super::Settings { keep_bytes: Some(150_000), ..settings(BOOT) };
            let (mut seen, mut refusals) = (vec![], 0);
            let mut core = create(&disk, settings).unwrap();
            script.fail_after(place, 2);
            let goes_on = work(&mut core, &mut seen, 60, &mut refusals);
            let was_met = script.is_used_up();
            script.fail_after(u64::MAX, 0);
            drop(core);
            let (mut core, found) =
                open(&disk, settings).unwrap_or_else(|why| panic!("{fault:?} {place}: {why:?}"));
            assert_eq!(found.lost_bytes, 0, "{fault:?} {place}");
            assert!(goes_on || fault == Fault::Sync, "{fault:?} {place}");
            assert!(work(&mut core, &mut seen, 80, &mut refusals), "{fault:?} {place}");
            let found = read(&disk).unwrap();
            assert!(
                found.len() > 20 && seen.ends_with(&found),
                "{fault:?} {place}: {} of {}",
                found.len(),
                seen.len()
            );
            if !was_met {
                break;
            }
            n_places += 1;
        }
        println!("{fault:?}: {n_places} places");
        assert!((2..100).contains(&n_places), "{fault:?}: {n_places} places");
    }
}

// Goal: a sync that failed is said once for good, to everybody, and is not forgotten by the next one that works; what is appended by the next
// appender stands behind it. Method: the sync of a record, of an interval, and of a full segment.
#[test]
fn a_sync_that_failed_is_final() {
    for durability in [Durability::EachRecord, Durability::Interval(std::time::Duration::from_secs(1))] {
        let directory = directory();
        let script = Script::new(Fault::Sync, libc::EIO);
        let disk = Faulty::new(directory.path(), &script);
        let settings = super::Settings { durability, ..settings(BOOT) };
        let mut core = create(&disk, settings).unwrap();
        let first = append(&mut core, 1, b"first").unwrap();
        core.sync().unwrap();
        let durable = core.end();
        assert_eq!(core.shared.durable(), durable);
        let second = append(&mut core, 2, b"second").unwrap();
        script.fail_after(0, 1);
        let failed = LogError::SyncFailed { errno: libc::EIO };
        assert_eq!(core.sync(), Err(failed));
        for _ in 0..2 {
            assert_eq!(core.sync(), Err(failed), "the system would not say it again");
            assert_eq!(core.shared.bring(core.end(), None), Err(failed));
            assert_eq!(append(&mut core, 3, b"third"), Err(failed));
            assert_eq!(core.close(), Err(failed));
        }
        assert_eq!(core.shared.bring(durable, None), Ok(true), "what was there before still is");
        assert_eq!(core.shared.durable(), durable);
        drop(core);
        let (mut core, found) = open(&disk, settings).unwrap();
        assert!(found.was_cut_short && found.lost_bytes == 0, "{found:?}");
        let third = append(&mut core, 3, b"third").unwrap();
        core.sync().unwrap();
        let positions: Vec<u64> = read(&disk).unwrap().iter().map(|(at, ..)| *at).collect();
        assert_eq!(positions, [first, second, third]);
        let entries = manifest::read(&*disk).unwrap().reading.state.entries;
        assert!(entries[0].sealed.is_some() && third >= entries[1].base.unwrap());
    }
}

// Goal: whoever waits for a record whose appender went without bringing it hears so, and touches nothing of what is the next appender's.
// Method: SEALED can't be written, the appender goes; the next one is at work when the old receipt's wait is tried.
#[test]
fn a_receipt_that_outlives_its_appender_writes_nothing() {
    let directory = directory();
    let script = Script::new(Fault::Write, libc::ENOSPC);
    let disk = Faulty::new(directory.path(), &script);
    let settings = super::Settings { durability: Durability::EachRecord, ..settings(BOOT) };
    let mut core = create(&disk, settings).unwrap();
    core.turn().unwrap();
    let first = append(&mut core, 1, &[1; 5000]).unwrap();
    core.sync().unwrap();
    script.fail_after(0, u64::MAX);
    while core.shared.hands().sealed.is_empty() {
        append(&mut core, 2, &[2; 5000]).unwrap();
    }
    append(&mut core, 2, &[2; 5000]).unwrap();
    let (shared, end) = (core.shared.clone(), core.end());
    assert!(matches!(shared.bring(end, None), Err(LogError::NoSpace { .. })));
    assert!(core.close().is_err());
    drop(core);
    script.fail_after(u64::MAX, 0);
    let (mut next, _) = open(&disk, settings).unwrap();
    let last = append(&mut next, 3, b"third").unwrap();
    next.sync().unwrap();
    let before = (disk.names().unwrap().len(), manifest::read(&*disk).unwrap().number);
    assert_eq!(shared.bring(end, None), Err(LogError::Gone));
    assert_eq!(shared.settle(), Err(LogError::Gone));
    assert_eq!(shared.bring(first + 16, None), Ok(true), "what was there before still is");
    assert_eq!((disk.names().unwrap().len(), manifest::read(&*disk).unwrap().number), before);
    next.close().unwrap();
    drop(next);
    drop(open(&disk, settings).unwrap());
    assert_eq!(read(&disk).unwrap().last().map(|seen| seen.0), Some(last));
}

// Goal: a leader that panics keeps nobody waiting. Method: one panics in its sync; another leads then.
#[test]
fn a_leader_that_panics_keeps_nobody_waiting() {
    let directory = directory();
    let script = Script::new(Fault::Sync, Script::PANIC);
    let disk = Faulty::new(directory.path(), &script);
    let settings = super::Settings { durability: Durability::EachRecord, ..settings(BOOT) };
    let mut core = create(&disk, settings).unwrap();
    append(&mut core, 1, b"first").unwrap();
    script.fail_after(0, 1);
    let (shared, end) = (core.shared.clone(), core.end());
    assert!(std::thread::spawn(move || shared.bring(end, None)).join().is_err());
    assert_eq!(core.shared.bring(end, None), Ok(true));
}

// Goal: where the boot has no id that can be read, what was waited for is there after a power cut. Method: a live page as it was made, which is
// what the medium has of it, and all frames.
#[test]
fn a_boot_without_an_id_is_another_one() {
    let (_directory, disk) = disk();
    let settings = super::Settings { durability: Durability::EachRecord, ..settings([0; 2]) };
    let mut core = create(&disk, settings).unwrap();
    let mut positions = vec![];
    for n in 0..10 {
        positions.push(append(&mut core, n, &[n as u8; 100]).unwrap());
        core.sync().unwrap();
    }
    drop(core);
    disk.open(&names::segment(1), true).unwrap().write_at(&[0; 4096], 4096).unwrap();
    let (core, found) = open(&disk, settings).unwrap();
    assert!(found.was_cut_short, "{found:?}");
    drop(core);
    assert_eq!(read(&disk).unwrap().iter().map(|(at, ..)| *at).collect::<Vec<_>>(), positions);
}

// Goal: a sync that failed publishes nothing that was only staged. Method: a batch that is cut short behind a failed sync, in the same boot;
// then what was published is read, and nothing else.
#[test]
fn a_failed_sync_publishes_no_batch() {
    let directory = directory();
    let script = Script::new(Fault::Sync, libc::EIO);
    let disk = Faulty::new(directory.path(), &script);
    let settings = super::Settings { durability: Durability::EachRecord, ..settings(BOOT) };
    let mut core = create(&disk, settings).unwrap();
    let first = append(&mut core, 1, b"first").unwrap();
    core.stage(&super::record(2, &[2; 100])).unwrap();
    core.stage(&super::record(3, &[3; 100])).unwrap();
    script.fail_after(0, 1);
    assert!(core.shared.bring(core.end(), None).is_err());
    drop(core);
    let (core, found) = open(&disk, settings).unwrap();
    assert!(found.was_cut_short && found.lost_bytes == 0 && found.n_records == 1, "{found:?}");
    drop(core);
    assert_eq!(read(&disk).unwrap().iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [first]);
}

// Goal: a recovery that is cut short anywhere is gone on with: the log opens, and no position is given twice. Method: a suspect segment that
// lost its last pages, with a prepared one behind it or one with records; for each kind of operation and each n, recovery ends at the n-th.
#[test]
fn a_recovery_that_is_cut_short_gives_no_position_twice() {
    for (fault, is_rolled) in [Fault::Write, Fault::Sync, Fault::Rename, Fault::SyncNames, Fault::Create]
        .into_iter()
        .flat_map(|fault| [(fault, false), (fault, true)])
    {
        for place in 0..100 {
            let directory = directory();
            let script = Script::new(fault, libc::EIO);
            let disk = Faulty::new(directory.path(), &script);
            let mut core = create(&disk, settings(BOOT)).unwrap();
            core.turn().unwrap();
            let mut seen = vec![];
            for n in 0..if is_rolled { 20 } else { 10 } {
                seen.push((append(&mut core, n, &[5; 4000]).unwrap(), n, vec![5; 4000]));
            }
            let (end, log_uuid) = (core.end(), core.shared.log_uuid);
            drop(core);
            let segment = Segment::open(&*disk, 1, &log_uuid, true).unwrap();
            segment.mark_suspect();
            let lost = segment.offset_of(0, 30_000);
            segment.file().write_at(&[0; 64 << 10][..(64 << 10) - 30_000], lost).unwrap();
            drop(segment);
            script.fail_after(place, u64::MAX);
            let is_cut = open(&disk, settings(BOOT)).is_err();
            script.fail_after(u64::MAX, 0);
            let (mut core, _) = open(&disk, settings(BOOT))
                .unwrap_or_else(|why| panic!("{fault:?} {place} {is_rolled}: {why:?}"));
            assert!(core.end() >= end, "{fault:?} {place} {is_rolled}: {} behind {end}", core.end());
            let at = append(&mut core, 9, b"more").unwrap();
            let found = read(&disk).unwrap();
            assert_eq!(found.len(), 8, "{fault:?} {place} {is_rolled}");
            assert_eq!((&found[..7], found[7].0), (&seen[..7], at));
            if !is_cut {
                break;
            }
            assert!(place < 99);
        }
    }
}

// Goal: a manifest with a torn tail is gone on with in a new one, and the log is whole. Method: cut and overwritten at every byte behind the
// first record.
#[test]
fn a_torn_manifest_is_gone_on_with_in_a_new_one() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    let (mut seen, mut refusals) = (vec![], 0);
    assert!(work(&mut core, &mut seen, 5, &mut refusals));
    drop(core);
    let before = manifest::read(&*disk).unwrap();
    let name = names::manifest(before.number);
    let path = disk.path().join(&name);
    let whole = std::fs::read(&path).unwrap();
    for torn in [&b"torn"[..], &[0; 100], &whole[..50]] {
        let number = manifest::read(&*disk).unwrap().number;
        let path = disk.path().join(names::manifest(number));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(torn);
        std::fs::write(&path, bytes).unwrap();
        let (mut core, _) = open(&disk, settings(BOOT)).unwrap();
        seen.push((append(&mut core, 7, torn).unwrap(), 7, torn.to_vec()));
        core.roll().unwrap();
        core.turn().unwrap();
        drop(core);
        let after = manifest::read(&*disk).unwrap();
        assert_eq!(after.number, number + 1);
        assert_eq!(after.reading.valid_bytes as u64, after.file_bytes);
        let manifests = disk.names().unwrap();
        assert_eq!(manifests.iter().filter(|name| matches!(Name::of(name), Name::Manifest(_))).count(), 1);
    }
    assert_eq!(read(&disk).unwrap(), seen);
}

// Goal: a segment of a file that was used before has none of its frames. Method: retire and use again, in one appender; then open it as after
// a restart, which looks for frames through the whole of it.
#[test]
fn a_recycled_segment_is_empty() {
    let (_directory, disk) = disk();
    let settings_of = |boot| super::Settings { keep_bytes: Some(1), ..settings(boot) };
    let mut core = create(&disk, settings_of(BOOT)).unwrap();
    for n in 0..200 {
        append(&mut core, n, &[n as u8; 3000]).unwrap();
        core.turn().unwrap();
    }
    assert!(core.shared.hands().n_recycled > 5);
    core.roll().unwrap();
    core.turn().unwrap();
    let position = append(&mut core, 0, b"only").unwrap();
    // The file is full of frames behind it.
    let number = manifest::read(&*disk).unwrap().reading.state.next_number() - 1;
    let bytes = std::fs::read(disk.path().join(names::segment(number))).unwrap();
    assert!(bytes[30_000..].iter().any(|byte| *byte != 0));
    drop(core);
    let (core, found) = open(&disk, settings_of(OTHER_BOOT)).unwrap();
    assert_eq!(found.n_records, 1, "{found:?}");
    drop(core);
    assert_eq!(read(&disk).unwrap().last(), Some(&(position, 0, b"only".to_vec())));
}

// Goal: a file that somebody reads is not used again, and keeps its frames. Method: a reader's lock on the oldest segment's file, retired.
#[test]
fn a_file_that_is_read_is_not_used_again() {
    let (_directory, disk) = disk();
    let settings = super::Settings { keep_bytes: Some(0), ..settings(BOOT) };
    let mut core = create(&disk, settings).unwrap();
    append(&mut core, 1, b"mine").unwrap();
    let log_uuid = manifest::read(&*disk).unwrap().reading.state.log_uuid;
    let segment = Segment::open(&*disk, 1, &log_uuid, false).unwrap();
    let pin = Locks::new(segment.file().file(), false).unwrap().share(PIN_BYTE).unwrap().unwrap();
    let fill = |core: &mut Core<Disk>| {
        core.roll().unwrap();
        core.turn().unwrap();
        core.turn().unwrap();
        append(core, 2, b"next").unwrap();
        core.roll().unwrap();
        core.turn().unwrap();
    };
    fill(&mut core);
    let counts = |core: &Core<Disk>| {
        let hands = core.shared.hands();
        (hands.n_retired, hands.n_recycled)
    };
    assert_eq!(counts(&core), (2, 0));
    assert_eq!(segment.frame(0, 0, 48).map(|frame| frame.payload.to_vec()), Some(b"mine".to_vec()));
    drop(pin);
    append(&mut core, 3, b"third").unwrap();
    fill(&mut core);
    assert!(counts(&core).1 > 0);
}

// Goal: what a batch left that was cut short never comes back, not even after a restart behind it. Method: frames that were staged and not
// published, then shorter and equal ones in their place.
#[test]
fn a_batch_that_was_cut_short_never_comes_back() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    let first = append(&mut core, 1, b"first").unwrap();
    for n in 0..10 {
        core.stage(&super::record(n, &[9; 100])).unwrap();
    }
    drop(core);
    let (mut core, found) = open(&disk, settings(BOOT)).unwrap();
    assert_eq!(found.n_records, 1);
    let second = append(&mut core, 2, &[2; 100]).unwrap();
    drop(core);
    let (core, found) = open(&disk, settings(OTHER_BOOT)).unwrap();
    assert_eq!((found.n_records, found.lost_bytes), (2, 0), "{found:?}");
    drop(core);
    let seen = read(&disk).unwrap();
    assert_eq!(seen.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [first, second]);
}

// Goal: what a death leaves between the steps of a roll, of preparing and of retiring is put right. Method: each of them by hand.
#[test]
fn what_deaths_leave_is_put_right() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    append(&mut core, 1, b"first").unwrap();
    core.turn().unwrap();
    drop(core);
    let names_of = |disk: &Disk| {
        let mut names = disk.names().unwrap();
        names.sort();
        names
    };
    let before = names_of(&disk);
    let path = |name: &str| disk.path().join(name);
    let copy = |from: u64, to: &str| std::fs::copy(path(&names::segment(from)), path(to)).unwrap();
    copy(2, &names::temporary(&names::segment(3)));
    std::fs::write(path("MANIFEST-00000009"), b"none").unwrap();
    std::fs::write(path("notes"), b"mine").unwrap();
    let (core, _) = open(&disk, settings(BOOT)).unwrap();
    drop(core);
    std::fs::remove_file(path("notes")).unwrap();
    assert_eq!(names_of(&disk), before);
    // A segment that the manifest does not have, with records.
    copy(1, &names::segment(3));
    assert!(open(&disk, settings(BOOT)).is_err());
    std::fs::remove_file(path(&names::segment(3))).unwrap();
    std::fs::remove_file(path(&names::segment(1))).unwrap();
    assert!(open(&disk, settings(BOOT)).is_err(), "one that it has is gone");
}
