//! Trial of the walk: over what power cuts and failed syncs leave, with boots that are made up.
//!
//! (I1) what is expected is what was appended; the walk's own words are compared with it, never with themselves.

use super::appender::Core;
use super::chart::Chart;
use super::item::{LogGap, LogGapReason, LogReadError};
use super::names;
use super::seek::LogStart;
use super::segment::{Ground, Segment, Staged};
use super::shared::Settings;
use super::trial::faulty::{Fault, Faulty, Script};
use super::trial::{BOOT, OTHER_BOOT, SMALL, append, create, open, record, settings};
use super::verify::verify;
use super::view::numbers;
use super::walk::{Step, Walk};
use crate::layout::segment::{
    GAP_NOTE_BYTES, GapNote, GapReason, LogHead, LogState, MarkNote, SegmentExtent, SegmentHeader,
};
use crate::map::disk::{Disk, DiskFile};
use crate::map::medium::{Medium, MediumFile};
use std::sync::Arc;

/// Of `trial::create`.
const LOG_UUID: [u8; 16] = [7; 16];
/// Where frames begin in a segment of `trial::settings`.
const DATA_OFFSET: u64 = 3 * 4096;

fn disk() -> (tempfile::TempDir, Arc<Disk>) {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::new(directory.path(), 0o600));
    (directory, disk)
}

fn walk(disk: &Arc<Disk>, boot: [u64; 2]) -> Walk<Disk> {
    let mut walk = Walk::new(Arc::clone(disk), LOG_UUID, boot);
    walk.seek(LogStart::Oldest).unwrap();
    walk
}

/// Everything from here on: positions of records, and gaps.
fn rest(walk: &mut Walk<Disk>) -> (Vec<u64>, Vec<LogGap>) {
    let (mut records, mut gaps) = (vec![], vec![]);
    while let Some(step) = walk.step().unwrap() {
        match step {
            Step::Record(framed) => records.push(framed.position),
            Step::Gap(gap) => gaps.push(gap),
            Step::Mark(_) => {}
        }
    }
    (records, gaps)
}

fn overwrite(disk: &Disk, number: u64, offset: u64, bytes: &[u8]) {
    disk.open(&names::segment(number), true).unwrap().write_at(bytes, offset).unwrap();
}

// Goal: what a power cut took is a gap of as many bytes as positions are left out. Method: a log of one boot, opened in another, read before,
// while and after.
#[test]
fn a_power_cut_is_a_gap() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    let mut expected: Vec<u64> = (0..20).map(|n| append(&mut core, n, &[1; 500]).unwrap()).collect();
    let end = core.end();
    drop(core);
    let mut early = walk(&disk, OTHER_BOOT);
    assert_eq!(rest(&mut early), (expected.clone(), vec![]));
    let (mut core, _) = open(&disk, settings(OTHER_BOOT)).unwrap();
    let base = core.end();
    assert!(base > end);
    expected.push(append(&mut core, 20, b"behind").unwrap());
    let gap = LogGap::of_bytes(end, Some(base - end), LogGapReason::PowerCut);
    assert_eq!(rest(&mut early), (vec![base], vec![gap]));
    assert_eq!(rest(&mut walk(&disk, OTHER_BOOT)), (expected, vec![gap]));
    // Who left off in what is gone hears of it, too.
    let mut late = walk(&disk, OTHER_BOOT);
    late.seek_left(base - 160).unwrap();
    assert_eq!(
        rest(&mut late),
        (vec![base], vec![LogGap::of_bytes(base - 160, Some(160), LogGapReason::PowerCut)])
    );
    assert_eq!(verify(&disk, OTHER_BOOT, |_| {}).unwrap().lost_bytes, base - end);
}

// Goal: what never reached the medium is where the log ends, and no damage; the same bytes in the boot that wrote them are damage. Method: the
// last frames zeroed, seen from both boots; then recovered.
#[test]
fn a_torn_tail_is_the_end_in_another_boot_and_damage_in_this_one() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    let positions: Vec<u64> = (0..20).map(|n| append(&mut core, n, &[1; 500]).unwrap()).collect();
    let end = core.end();
    drop(core);
    overwrite(&disk, 1, DATA_OFFSET + positions[15] + 100, &[0; 64]);
    let mut other = walk(&disk, OTHER_BOOT);
    assert_eq!(rest(&mut other), (positions[..15].to_vec(), vec![]));
    let report = verify(&disk, OTHER_BOOT, |_| {}).unwrap();
    assert!(report.is_clean());
    assert_eq!(report.torn_tail_bytes, end - positions[15]);
    let mut same = walk(&disk, BOOT);
    for position in &positions[..15] {
        assert!(matches!(same.step(), Ok(Some(Step::Record(framed))) if framed.position == *position));
    }
    let damage = LogReadError::Damaged { segment: 1, position: positions[15], what: "a frame's checksum" };
    assert_eq!(same.step(), Err(damage));
    assert_eq!(same.step(), Err(damage), "it is told until it is skipped");
    let gap = same.skip_damage().unwrap();
    assert_eq!((gap.position, gap.n_bytes), (positions[15], Some(positions[16] - positions[15])));
    assert_eq!(rest(&mut same).0, positions[16..]);
    assert!(!verify(&disk, BOOT, |_| {}).unwrap().is_clean());
    // Recovered, it goes on behind the gap.
    let (mut core, _) = open(&disk, settings(OTHER_BOOT)).unwrap();
    let behind = append(&mut core, 20, b"behind").unwrap();
    let gap = LogGap::of_bytes(positions[15], Some(behind - positions[15]), LogGapReason::PowerCut);
    assert_eq!(rest(&mut other), (vec![behind], vec![gap]));
}

// Goal: below the watermark damage is damage in every boot. Method: a log that was closed, a bit in its middle, another boot.
#[test]
fn damage_below_the_watermark_is_no_torn_tail() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    let positions: Vec<u64> = (0..20).map(|n| append(&mut core, n, &[1; 500]).unwrap()).collect();
    core.close().unwrap();
    drop(core);
    overwrite(&disk, 1, DATA_OFFSET + positions[7] + 100, &[0]);
    let mut walk = walk(&disk, OTHER_BOOT);
    (0..7).for_each(|_| assert!(matches!(walk.step(), Ok(Some(Step::Record(_))))));
    assert!(matches!(walk.step(), Err(LogReadError::Damaged { position, .. }) if position == positions[7]));
}

// Goal: notices of missing records are gaps, those of a newer version, too; marks are passed. Method: one of each between records.
#[test]
fn notices_are_gaps_and_marks_are_passed() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    let first = append(&mut core, 0, b"first").unwrap();
    let note =
        GapNote { reason: GapReason::Dropped, n_records: Some(3), n_bytes: None, first_sequence: None };
    let mark = MarkNote { source_uuid: [1; 16], epoch: 1, position: 64, n_records: 1 };
    let mut staged = |state, payload: &[u8]| {
        let head = LogHead { len_bytes: u32::try_from(payload.len()).unwrap(), state, slot: 5 };
        core.append(&Staged { head, timestamp_ns: 0, tags: 0, payload }).unwrap()
    };
    let at = staged(LogState::Gap, &note.encode());
    staged(LogState::Mark, &mark.encode());
    let newer = staged(LogState::Gap, &[9; GAP_NOTE_BYTES]);
    let last = staged(LogState::Data, b"last");
    let (records, gaps) = rest(&mut walk(&disk, BOOT));
    assert_eq!(records, [first, last]);
    assert_eq!((gaps[0].position, gaps[0].reason, gaps[0].producer), (at, LogGapReason::Dropped, Some(5)));
    assert_eq!((gaps[0].n_records, gaps[0].n_bytes, gaps.len()), (Some(3), None, 2));
    assert_eq!(gaps[1], LogGap::of_bytes(newer, None, LogGapReason::Unknown));
}

/// Records until the second segment has some; the third one is prepared.
fn into_the_second_segment(core: &mut Core<Disk>) -> Vec<u64> {
    let mut positions = vec![];
    while core.end() < 80 << 10 {
        positions.push(append(core, 1, &[1; 5000]).unwrap());
        core.turn().unwrap();
    }
    positions
}

/// Another segment of that number, prepared.
fn second_segment_anew(disk: &Disk) -> Segment<DiskFile> {
    let header = SegmentHeader {
        uuid: [9; 16],
        created_ns: 0,
        log_uuid: LOG_UUID,
        number: 2,
        extent: SegmentExtent::new(SMALL, 4096).unwrap(),
    };
    Segment::make(disk, header, BOOT, Ground::Allocated).unwrap()
}

/// A record at its base.
fn append_to_anew(segment: &Segment<DiskFile>, base: u64) {
    segment.activate(base, BOOT);
    segment.put(base, base, &record(1, b"again"));
    segment.publish(base + 48);
}

// Goal: a reader in a segment that is set aside leaves it, and goes on in the one that takes its number. Method: what recovery does after a
// sync that failed, by hand: the prepared segment goes, the active one gets another name.
#[test]
fn a_reader_leaves_a_segment_that_was_set_aside() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    let positions = into_the_second_segment(&mut core);
    let mut reader = walk(&disk, BOOT);
    assert_eq!(rest(&mut reader), (positions.clone(), vec![]));
    let end = core.end();
    drop(core);
    disk.remove(&names::segment(3)).unwrap();
    disk.rename(&names::segment(2), "aside-2").unwrap();
    for _ in 0..200 {
        assert_eq!(reader.step(), Ok(None));
    }
    assert_eq!((reader.position, reader.behind), (end, 1));
    let new = second_segment_anew(&disk);
    assert_eq!(reader.step(), Ok(None), "nobody has appended to it");
    append_to_anew(&new, end + 4096);
    let gap = LogGap::of_bytes(end, Some(4096), LogGapReason::PowerCut);
    assert_eq!(rest(&mut reader), (vec![end + 4096], vec![gap]));
}

// Goal: a reader notices that the segment it is in is not the one of that number any more. Method: the same, all of it before the reader looks
// again: another one has the number, with records in it; the reader is at the end of the old one, or in its middle.
#[test]
fn a_reader_leaves_a_segment_whose_number_another_one_has() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    let positions = into_the_second_segment(&mut core);
    let end = core.end();
    drop(core);
    let mut readers = [walk(&disk, BOOT), walk(&disk, BOOT)];
    assert_eq!(rest(&mut readers[0]).0, positions);
    readers[1].seek(LogStart::At(positions[positions.len() - 1])).unwrap();
    disk.remove(&names::segment(3)).unwrap();
    disk.rename(&names::segment(2), "aside-2").unwrap();
    let new = second_segment_anew(&disk);
    append_to_anew(&new, end + 4096);
    let gap = LogGap::of_bytes(end, Some(4096), LogGapReason::PowerCut);
    for (reader, last) in readers.iter_mut().zip([None, positions.last()]) {
        let (mut records, mut gaps) = (vec![], vec![]);
        // It looks at the name now and then.
        for _ in 0..200 {
            let (some, others) = rest(reader);
            records.extend(some);
            gaps.extend(others);
        }
        let expected: Vec<_> = last.into_iter().copied().chain([end + 4096]).collect();
        assert_eq!((records, gaps), (expected, vec![gap]));
    }
}

// Goal: what a power cut took in the middle of a log ends it until it is recovered, wherever a reader begins; what a reader has seen by then
// stays, and what it has not is a gap. Method: two segments, the first one torn; then recovered.
#[test]
fn nobody_reads_behind_a_torn_segment() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    let positions: Vec<u64> = (0..70).map(|n| append(&mut core, n, &[1; 1000]).unwrap()).collect();
    let end = core.end();
    drop(core);
    // All of it is there: nothing is missing, though nobody vouches for the first segment.
    assert_eq!(rest(&mut walk(&disk, OTHER_BOOT)), (positions.clone(), vec![]));
    let mut late = walk(&disk, OTHER_BOOT);
    late.seek(LogStart::Since(66)).unwrap();
    assert_eq!(rest(&mut late), (positions[66..].to_vec(), vec![]));
    overwrite(&disk, 1, DATA_OFFSET + positions[5], &[0; 1000]);
    let mut early = walk(&disk, OTHER_BOOT);
    assert_eq!(rest(&mut early), (positions[..5].to_vec(), vec![]));
    for start in [LogStart::Now, LogStart::Since(66), LogStart::At(positions[8])] {
        let mut reader = walk(&disk, OTHER_BOOT);
        reader.seek(start).unwrap();
        assert_eq!((rest(&mut reader), reader.position), ((vec![], vec![]), positions[5]), "{start:?}");
    }
    let behind = LogReadError::NoSuchPosition { position: positions[69], end: 1 };
    let refused = walk(&disk, OTHER_BOOT).seek(LogStart::At(positions[69])).unwrap_err();
    assert_eq!(std::mem::discriminant(&refused), std::mem::discriminant(&behind));
    let mut left = walk(&disk, OTHER_BOOT);
    left.seek_left(end).unwrap();
    assert_eq!(rest(&mut left), (vec![], vec![]));
    let (mut core, _) = open(&disk, settings(OTHER_BOOT)).unwrap();
    let base = append(&mut core, 70, b"behind").unwrap();
    assert!(base >= end);
    let gap = LogGap::of_bytes(positions[5], Some(base - positions[5]), LogGapReason::PowerCut);
    assert_eq!(rest(&mut early), (vec![base], vec![gap]));
    assert_eq!(rest(&mut left).0, [base]);
}

// Goal: what retention took is told as that, whatever has its name by now. Method: a reader in segment 1; retention; under the name of segment
// 2 a file with another number in it, as somebody finds it who opens it too late.
#[test]
fn what_retention_took_is_no_damage() {
    let (directory, disk) = disk();
    let mut core = create(&disk, Settings { keep_bytes: Some(SMALL), ..settings(BOOT) }).unwrap();
    let mut positions = vec![append(&mut core, 1, &[1; 5000]).unwrap()];
    let mut reader = walk(&disk, BOOT);
    assert_eq!(rest(&mut reader).0, positions);
    while core.end() < 5 * SMALL {
        positions.push(append(&mut core, 1, &[1; 5000]).unwrap());
        core.turn().unwrap();
    }
    let oldest = numbers(&*disk).unwrap()[0];
    assert!(oldest > 2);
    let path = |number| directory.path().join(names::segment(number));
    std::fs::copy(path(oldest), path(2)).unwrap();
    let (records, gaps) = rest(&mut reader);
    let reasons: Vec<_> = gaps.iter().map(|gap| gap.reason).collect();
    assert_eq!(reasons, [LogGapReason::Retired]);
    let behind = gaps[0].position + gaps[0].n_bytes.unwrap();
    positions.retain(|position| *position < gaps[0].position || *position >= behind);
    assert_eq!(records, positions[1..]);
}

/// Everything, and how it ends: nothing more, or an error. What the system lacks is asked for again.
fn all<M: Medium>(walk: &mut Walk<M>, script: &Script) -> (Vec<u64>, Vec<LogGap>, Option<LogReadError>) {
    let (mut records, mut gaps) = (vec![], vec![]);
    loop {
        match walk.step() {
            Ok(Some(Step::Record(framed))) => records.push(framed.position),
            Ok(Some(Step::Gap(gap))) => gaps.push(gap),
            Ok(Some(Step::Mark(_))) => {}
            Ok(None) if !script.is_used_up() => {}
            Ok(None) => return (records, gaps, None),
            Err(LogReadError::System { errno: libc::EMFILE, .. }) => {}
            Err(error) => return (records, gaps, Some(error)),
        }
    }
}

// Goal: a lack of descriptors is told as that, and no absence: asked again, everything is as it would have been. Method: a segment that was set
// aside, one under whose name there is another one, one that is missing, and none of these; each look at a file fails, and some behind it.
#[test]
fn a_lack_of_descriptors_is_no_absence() {
    for case in ["set aside", "another number", "missing", "whole"] {
        let (directory, disk) = disk();
        let mut core = create(&disk, settings(BOOT)).unwrap();
        // The second segment is prepared, and no third one.
        append(&mut core, 1, &[1; 5000]).unwrap();
        core.turn().unwrap();
        while core.end() < 80 << 10 {
            append(&mut core, 1, &[1; 5000]).unwrap();
        }
        drop(core);
        let entries = Chart::read(&*disk).unwrap().state().entries.clone();
        let last = entries.last().unwrap();
        let path = |number| directory.path().join(names::segment(number));
        match case {
            "set aside" => {
                std::fs::copy(path(last.number), path(last.number + 1)).unwrap();
                disk.rename(&names::segment(last.number), &names::aside(last.number, &last.uuid)).unwrap();
            }
            "another number" => drop(std::fs::copy(path(1), path(2)).unwrap()),
            "missing" => {
                std::fs::copy(path(2), path(3)).unwrap();
                disk.remove(&names::segment(2)).unwrap();
            }
            _ => {}
        }
        let quiet = Script::new(Fault::Open, libc::EMFILE);
        let expected = all(&mut walk(&disk, BOOT), &quiet);
        assert_eq!(
            expected.2.is_some(),
            ["another number", "missing"].contains(&case),
            "{case}: {expected:?}"
        );
        let script = Script::new(Fault::Open, libc::EMFILE);
        script.fail_after(0, 1);
        let (medium, chart) = (Faulty::new(directory.path(), &script), Chart::read(&*disk).unwrap());
        assert!(chart.is_set_aside(&*medium, 2).is_err());
        assert_eq!(chart.is_set_aside(&*medium, 2).unwrap(), case == "set aside");
        for (fails, left) in [1, 2, 5].into_iter().flat_map(|fails| (0..80).map(move |left| (fails, left))) {
            let script = Script::new(Fault::Open, libc::EMFILE);
            script.fail_after(left, fails);
            let mut walk = Walk::new(Faulty::new(directory.path(), &script), LOG_UUID, BOOT);
            while walk.seek(LogStart::Oldest).is_err() {}
            assert_eq!(all(&mut walk, &script), expected, "{case}: {fails} behind {left}");
        }
    }
}

// Goal: a segment of another log under this one's name is no part of it. Method: a file of a second log takes the place of the first one's.
#[test]
fn a_segment_of_another_log_is_damage() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    append(&mut core, 1, b"record").unwrap();
    let mut walk = Walk::new(Arc::clone(&disk), [8; 16], BOOT);
    assert!(matches!(walk.step(), Err(LogReadError::Damaged { what: "it is of another log", .. })));
}
