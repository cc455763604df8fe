//! Log, damage: every cut and every flipped bit gives what is left, or an error that says what is wrong; a repair leaves the rest readable,
//! and what was there where it was.

use crate::harness::directory;
use crate::log_read::{Met, SEGMENT_BYTES, append, number, payload, small};
use shm_ring::{DryRun, Error, Log, LogGapReason, LogItem, LogReadError, LogReader, Mending};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

fn segment(path: &Path, number: u64) -> PathBuf {
    path.join(format!("{number:020}.seg"))
}

/// Everything in the directory.
fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

fn restore(path: &Path, contents: &BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(path).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (name, bytes) in contents {
        fs::write(path.join(name), bytes).unwrap();
    }
    for entry in fs::read_dir(path).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn flip(file: &Path, bit: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8).unwrap();
}

/// What a reader gets that goes on behind damage; fails when it does not end.
fn read_on(path: &Path) -> Result<Vec<Met>, Error> {
    let mut reader = LogReader::open(path)?;
    let mut met = vec![];
    for _ in 0..100_000 {
        match reader.next() {
            Ok(Some(LogItem::Record(record))) => met.push(Met::Record(number(&record))),
            Ok(Some(LogItem::Gap(gap))) => met.push(Met::Gap(gap.reason, gap.n_bytes)),
            Ok(None) => return Ok(met),
            Err(error @ LogReadError::Damaged { .. }) => {
                assert!(error.to_string().contains("shm-ring repair"), "{error}");
                let gap = reader.skip_damage().unwrap();
                assert_eq!(gap.reason, LogGapReason::Damaged);
                met.push(Met::Gap(gap.reason, gap.n_bytes));
                if gap.n_bytes.is_none() {
                    // Nothing that can be read is behind it.
                    return Ok(met);
                }
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("no end: {:?}", &met[met.len() - 3..]);
}

/// Fails unless these are records of 0..n in order, and any that are missing in front of another one are told.
fn is_told(met: &[Met]) -> u64 {
    let (mut next, mut is_gap) = (0, false);
    for item in met {
        match item {
            Met::Record(n) => {
                assert!(*n == next || is_gap && *n > next, "record {n} instead of {next}: {met:?}");
                (next, is_gap) = (*n + 1, false);
            }
            Met::Gap(..) => is_gap = true,
        }
    }
    next
}

fn has_gap(met: &[Met]) -> bool {
    met.iter().any(|met| matches!(met, Met::Gap(..)))
}

/// Whether it is all of `n` records and nothing else.
fn is_whole(met: &[Met], n: u64) -> bool {
    is_told(met) == n && met.len() as u64 == n && !has_gap(met)
}

/// A log of two sealed segments and an active one, closed; how many records it has.
fn three_segments(path: &Path) -> u64 {
    let mut appender = small().create(path).unwrap();
    let mut n = 0;
    while appender.end() < 2 * SEGMENT_BYTES + 9000 {
        append(&mut appender, n..n + 1);
        n += 1;
    }
    appender.close().unwrap();
    n
}

/// A log of one segment with a little more than 4 KiB of frames.
fn one_segment(path: &Path) -> u64 {
    let mut appender = small().create(path).unwrap();
    let mut n = 0;
    while appender.end() < 5000 {
        append(&mut appender, n..n + 1);
        n += 1;
    }
    appender.close().unwrap();
    n
}

/// Where the frames of a segment begin, with pages of 4096 bytes.
const DATA_OFFSET: u64 = 3 * 4096;

#[test]
fn every_cut_gives_a_prefix_or_a_clear_error() {
    // Goal: a segment that is cut anywhere gives the records in front of the cut, an error that names what to do, and a report. Method: one
    // small segment, cut at every byte of its frames and of its first pages' ends, read and verified.
    let directory = directory();
    let path = directory.path().join("log");
    let n = one_segment(&path);
    let whole = contents(&path);
    let file = segment(&path, 1);
    let bytes = &whole["00000000000000000001.seg"];
    let end = Log::inspect(&path).unwrap().end_position;
    let cuts = (DATA_OFFSET - 40..DATA_OFFSET + end + 40)
        .chain((0..DATA_OFFSET).step_by(61))
        .chain([bytes.len() as u64 - 1]);
    for cut in cuts {
        fs::write(&file, &bytes[..cut as usize]).unwrap();
        let met = read_on(&path).unwrap();
        let seen = is_told(&met);
        let is_all = cut >= DATA_OFFSET + end;
        assert_eq!(seen == n, is_all, "cut at {cut}: {seen} of {n}");
        assert_eq!(met.len() as u64 > seen, !is_all, "cut at {cut}: {met:?}");
        let report = Log::verify(&path, |_| {}).unwrap();
        assert!(!report.is_clean(), "cut at {cut}");
        assert_eq!(report.n_records, seen, "cut at {cut}");
    }
}

#[test]
fn no_flipped_bit_gives_a_wrong_record() {
    // Goal: no flipped bit of a segment makes a record that was not appended, or leaves one out between two others without a word; nothing
    // panics; what is lost without a word to the reader is known to verify, or is the end. Method: all bits of header, live page and index that
    // say anything, one of each byte of the frames, and beyond their end.
    let directory = directory();
    let path = directory.path().join("log");
    let n = one_segment(&path);
    let file = segment(&path, 1);
    let end = Log::inspect(&path).unwrap().end_position;
    let front = (0..256)
        .chain(4096..4096 + 512)
        .chain(8192..8192 + 32)
        .flat_map(|byte| (0..8).map(move |bit| byte * 8 + bit));
    let frames = (DATA_OFFSET..DATA_OFFSET + end + 64).map(|byte| byte * 8 + byte % 8);
    let mut n_pads = 0;
    for bit in front.chain(frames) {
        flip(&file, bit);
        let met = read_on(&path).unwrap();
        let seen = is_told(&met);
        let report = Log::verify(&path, |_| {}).unwrap();
        let is_in_frames = (DATA_OFFSET..DATA_OFFSET + end).contains(&(bit / 8));
        // What fills a frame up to 16 bytes says nothing.
        let is_pad = is_in_frames && is_whole(&met, n);
        n_pads += u64::from(is_pad);
        if is_in_frames && !is_pad {
            assert!(has_gap(&met), "bit {bit}: not told");
            assert!(!report.is_clean(), "bit {bit}: {report:?}");
        }
        if has_gap(&met) {
            assert!(!report.is_clean(), "bit {bit}: told to the reader, not by verify: {report:?}");
        }
        assert!(seen <= n && report.n_records <= n);
        flip(&file, bit);
    }
    assert!(n_pads < 16 * n, "{n_pads} bytes of {n} records went unnoticed");
    assert_eq!(read_on(&path).unwrap().len() as u64, n);
    assert!(Log::verify(&path, |_| {}).unwrap().is_clean());
}

#[test]
#[ignore = "a minute or two: every bit of a segment, and every cut"]
fn no_flipped_bit_of_a_whole_segment_gives_a_wrong_record() {
    // Goal: as above. Method: every bit of the file of a sealed segment.
    let directory = directory();
    let path = directory.path().join("log");
    let n = three_segments(&path);
    let file = segment(&path, 2);
    for bit in 0..fs::metadata(&file).unwrap().len() * 8 {
        flip(&file, bit);
        let met = read_on(&path).unwrap();
        assert_eq!(is_told(&met), n, "bit {bit}");
        assert!(!has_gap(&met) || !Log::verify(&path, |_| {}).unwrap().is_clean(), "bit {bit}");
        flip(&file, bit);
    }
}

#[test]
fn sealed_segments_are_right_or_damaged() {
    // Goal: a flipped bit of a sealed segment is always noticed by verify, where it says anything, and costs the reader at most what it hit,
    // which it is told of. Method: bits of the live page, the header, the index, and some of the frames of the middle segment of three.
    let directory = directory();
    let path = directory.path().join("log");
    let n = three_segments(&path);
    let file = segment(&path, 2);
    let sealed_words = 4096 + 256..4096 + 256 + 72;
    let index = 8192..8192 + 16;
    let mut n_pads = 0;
    let bytes =
        (0..256).chain(sealed_words).chain(index).chain((DATA_OFFSET..DATA_OFFSET + 60_000).step_by(977));
    for byte in bytes {
        let bit = byte * 8 + byte % 8;
        flip(&file, bit);
        let met = read_on(&path).unwrap();
        assert_eq!(is_told(&met), n, "bit {bit}");
        let report = Log::verify(&path, |_| {}).unwrap();
        // What fills a frame up to 16 bytes says nothing.
        let is_pad = byte >= DATA_OFFSET && is_whole(&met, n);
        n_pads += u64::from(is_pad);
        assert_eq!(report.is_clean(), is_pad, "bit {bit}: {report:?}");
        assert!(report.damaged.iter().all(|damage| damage.segment == 2), "bit {bit}: {report:?}");
        // By time, too: what is looked for is in the segment, or behind it.
        let mut reader = LogReader::open(&path).unwrap();
        reader.seek(shm_ring::LogStart::Since(n - 1)).unwrap();
        match reader.next() {
            Ok(Some(LogItem::Record(record))) => assert_eq!(number(&record), n - 1),
            Err(LogReadError::Damaged { segment: 2, .. }) => {}
            other => panic!("bit {bit}: {other:?}"),
        }
        flip(&file, bit);
    }
    assert!(n_pads < 10);
    assert!(Log::verify(&path, |_| {}).unwrap().is_clean());
}

#[test]
fn every_flip_and_cut_of_a_manifest_is_survived() {
    // Goal: a damaged manifest, or CURRENT, is an error that names the repair, or costs nothing; after a repair everything is read, and can be
    // appended to. Method: every byte of both flipped and cut.
    let directory = directory();
    let path = directory.path().join("log");
    let n = three_segments(&path);
    let whole = contents(&path);
    let names: Vec<_> =
        whole.keys().filter(|name| name.starts_with("MANIFEST") || *name == "CURRENT").cloned().collect();
    assert_eq!(names.len(), 2);
    let mut n_refused = 0;
    for name in &names {
        let bytes = &whole[name];
        let flips = (0..bytes.len()).map(|at| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        });
        let cuts = (0..bytes.len()).map(|at| bytes[..at].to_vec());
        for (case, damaged) in flips.chain(cuts).enumerate() {
            fs::write(path.join(name), &damaged).unwrap();
            match read_on(&path) {
                Ok(met) => assert_eq!((is_told(&met), met.len() as u64), (n, n), "{name} {case}"),
                Err(error) => {
                    n_refused += 1;
                    assert!(error.to_string().contains("shm-ring repair"), "{error}");
                }
            }
            if case % 7 != 0 {
                continue;
            }
            Log::repair(&path, DryRun::No).unwrap();
            let report = Log::verify(&path, |_| {}).unwrap();
            assert!(report.is_clean(), "{name} {case}: {report:?}");
            let met = read_on(&path).unwrap();
            assert_eq!((is_told(&met), met.len() as u64), (n, n), "{name} {case}");
            append(
                &mut small().open(&path).unwrap_or_else(|error| panic!("{name} {case}: {error}")),
                n..n + 1,
            );
            assert_eq!(is_told(&read_on(&path).unwrap()), n + 1, "{name} {case}");
            restore(&path, &whole);
        }
        restore(&path, &whole);
    }
    assert!(n_refused > 0);
}

/// Damages the log, and says which bytes of frames can't be read any more.
type Damage = fn(&Path);

#[test]
fn a_repair_leaves_the_rest_readable_and_what_was_there() {
    // Goal: after a repair readers pass with a gap told, verify is clean, an appender goes on; a dry run changes nothing; no segment's bytes
    // are gone. Method: each kind of damage, alone.
    let kinds: [(&str, Damage, bool); 10] = [
        ("a bit of a payload", |path| flip(&segment(path, 2), (DATA_OFFSET + 2000) * 8), true),
        ("a length", |path| flip(&segment(path, 2), DATA_OFFSET * 8 + 4), true),
        (
            "4 KiB of zeros",
            |path| {
                let file = fs::OpenOptions::new().write(true).open(segment(path, 1)).unwrap();
                file.write_all_at(&[0; 4096], DATA_OFFSET + 8192).unwrap();
            },
            true,
        ),
        ("the newest frames", |path| flip(&segment(path, 3), (DATA_OFFSET + 40) * 8), true),
        ("a header", |path| flip(&segment(path, 2), 30 * 8), false),
        ("a live page", |path| flip(&segment(path, 1), (4096 + 256 + 24) * 8 + 5), false),
        ("an index", |path| flip(&segment(path, 1), 8192 * 8), false),
        (
            "a segment's end",
            |path| {
                fs::OpenOptions::new()
                    .write(true)
                    .open(segment(path, 2))
                    .unwrap()
                    .set_len(DATA_OFFSET + 30_000)
                    .unwrap();
            },
            true,
        ),
        ("a missing segment", |path| fs::remove_file(segment(path, 2)).unwrap(), true),
        ("an empty segment", |path| fs::write(segment(path, 1), b"").unwrap(), true),
    ];
    for (what, damage, loses) in kinds {
        let directory = directory();
        let path = directory.path().join("log");
        let n = three_segments(&path);
        damage(&path);
        let damaged = contents(&path);
        let before = Log::verify(&path, |_| {}).unwrap();
        assert!(!before.is_clean(), "{what}");
        let plan = Log::repair(&path, DryRun::Yes).unwrap();
        assert!(!plan.mended.is_empty(), "{what}");
        assert!(contents(&path) == damaged, "{what}: a dry run changed something");
        let done = Log::repair(&path, DryRun::No).unwrap();
        assert_eq!(done, plan, "{what}");
        let after = Log::verify(&path, |_| {}).unwrap();
        assert!(after.is_clean(), "{what}: {after:?}");
        assert_eq!(after.n_holes > 0, loses, "{what}: {after:?}");
        assert!(after.n_records >= before.n_records && (loses || after.n_records == n), "{what}: {after:?}");
        let mut reader = LogReader::open(&path).unwrap();
        let met = crate::log_read::rest(&mut reader).unwrap_or_else(|error| panic!("{what}: {error}"));
        let last = is_told(&met);
        let gaps: Vec<_> = met.iter().filter(|met| matches!(met, Met::Gap(..))).collect();
        assert_eq!(!gaps.is_empty(), loses, "{what}: {gaps:?}");
        assert!(
            gaps.iter().all(|gap| matches!(gap, Met::Gap(LogGapReason::Damaged, Some(_)))),
            "{what}: {gaps:?}"
        );
        assert!(last == n || what == "the newest frames", "{what}: {last} of {n}");
        // What was there is there: unchanged, or put aside.
        let mended = contents(&path);
        for (name, bytes) in damaged.iter().filter(|(name, _)| name.ends_with(".seg")) {
            let is_kept = mended.get(name) == Some(bytes)
                || mended.iter().any(|(aside, kept)| aside.starts_with("aside-") && kept == bytes);
            assert!(is_kept, "{what}: {name}");
        }
        assert!(Log::repair(&path, DryRun::No).unwrap().mended.is_empty(), "{what}: not enough at once");
        let mut appender = small().open(&path).unwrap_or_else(|error| panic!("{what}: {error}"));
        let receipt = appender.append(&payload(n)).unwrap();
        let found = crate::log_read::rest(&mut reader).unwrap();
        assert_eq!(found.last(), Some(&Met::Record(n)), "{what}: {receipt:?}");
        drop(appender);
        let end = Log::verify(&path, |_| {}).unwrap();
        assert!(end.is_clean(), "{what}: {end:?}");
    }
}

#[test]
fn a_lost_manifest_is_made_from_the_segments() {
    // Goal: without CURRENT, or without a manifest, nothing is read, and the error names the repair; that makes it from the segments. Method:
    // both removed, one by one and together.
    for names in [&["CURRENT"][..], &["MANIFEST"], &["CURRENT", "MANIFEST"]] {
        let directory = directory();
        let path = directory.path().join("log");
        let n = three_segments(&path);
        for name in contents(&path).keys().filter(|name| names.iter().any(|lost| name.starts_with(lost))) {
            fs::remove_file(path.join(name)).unwrap();
        }
        let error = LogReader::open(&path).map(drop).unwrap_err();
        assert!(error.to_string().contains("shm-ring repair"), "{error}");
        let done = Log::repair(&path, DryRun::No).unwrap();
        assert!(done.mended.iter().any(|mended| mended.how == Mending::ManifestRemade), "{done:?}");
        assert!(Log::verify(&path, |_| {}).unwrap().is_clean());
        assert_eq!(is_told(&read_on(&path).unwrap()), n);
        append(&mut small().open(&path).unwrap(), n..n + 200);
        assert_eq!(is_told(&read_on(&path).unwrap()), n + 200);
    }
}

#[test]
fn a_lost_manifest_of_what_retention_left_is_made_anew() {
    // Goal: positions and records are as before where the oldest segments are gone. Method: most retired, CURRENT removed.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = small().keep_bytes(1).create(&path).unwrap();
    let mut positions = append(&mut appender, 0..1000);
    // The oldest ones go when there is something to do anyway.
    crate::harness::eventually("few segments are left", || {
        let n = positions.len() as u64;
        positions.extend(append(&mut appender, n..n + 10));
        Log::inspect(&path).unwrap().first_position > 5 * SEGMENT_BYTES
    });
    let n = positions.len() as u64;
    appender.close().unwrap();
    // Without retention from here on.
    let appender = small().open(&path).unwrap();
    let first = Log::inspect(&path).unwrap().first_position;
    appender.close().unwrap();
    fs::remove_file(path.join("CURRENT")).unwrap();
    Log::repair(&path, DryRun::No).unwrap();
    assert!(Log::verify(&path, |_| {}).unwrap().is_clean());
    let mut appender = small().open(&path).unwrap();
    let more = append(&mut appender, n..n + 300);
    assert!(more[0] > positions[n as usize - 1]);
    let mut reader = LogReader::open(&path).unwrap();
    assert_eq!(reader.position(), first);
    let kept = positions.iter().filter(|position| **position >= first).count() as u64;
    let met = crate::log_read::rest(&mut reader).unwrap();
    let expected: Vec<_> = (n - kept..n + 300).map(Met::Record).collect();
    assert!(met == expected, "{:?} .. {:?}", met.first(), met.last());
}

#[test]
fn nobody_repairs_under_an_appender() {
    // Goal: while an appender lives a repair is refused, also a dry one, and nothing is changed. Method: both, beside one.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = small().create(&path).unwrap();
    append(&mut appender, 0..10);
    for dry_run in [DryRun::Yes, DryRun::No] {
        assert!(matches!(Log::repair(&path, dry_run), Err(Error::Busy { .. })));
    }
    append(&mut appender, 10..20);
    drop(appender);
    assert!(Log::repair(&path, DryRun::No).unwrap().mended.is_empty());
    assert_eq!(is_told(&read_on(&path).unwrap()), 20);
}

#[test]
fn verify_goes_on_while_records_come() {
    // Goal: an appender at work, rolls and retention are no damage. Method: verify again and again beside one.
    let directory = directory();
    let path = directory.path().join("log");
    let mut appender = small().keep_bytes(4 * SEGMENT_BYTES).create(&path).unwrap();
    let worker = std::thread::spawn({
        let path = path.clone();
        move || {
            for _ in 0..200 {
                let mut n_called = 0;
                let report = Log::verify(&path, |_| n_called += 1).unwrap();
                assert!(report.is_clean(), "{report:?}");
                assert!(n_called >= report.n_segments);
            }
        }
    });
    let mut n = 0;
    while !worker.is_finished() {
        append(&mut appender, n..n + 50);
        n += 50;
    }
    worker.join().unwrap();
}
