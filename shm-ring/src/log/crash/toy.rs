//! Toy: a protocol that fits a page, to try the simulator with: right once, and wrong in every way that it is there to find.
//!
//! ```text
//!   NOTES: | count u64 | ...page... | note 0 | ...page... | note 1 | ...          a note: number, and the number's bitwise not
//!   made as NOTES.tmp, sync, rename, directory sync; a note: store, sync, count, sync
//! ```

use super::images::Images;
use super::medium::{Call, Faults, Lie, Simulated};
use super::points::Points;
use super::random::Random;
use super::remains::{PAGE_BYTES, Remains};
use crate::map::medium::{Medium, MediumFile, MediumMap};
use crate::sync::Ordering;

const PAGE: u64 = PAGE_BYTES as u64;
const N_NOTES: u64 = 4;

/// How the toy is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// The count is stored before the note is on the medium.
    CountFirst,
    /// The file gets its name before its bytes are on the medium.
    NameFirst,
    /// A note is more than a sector, and nothing says whether it is whole.
    Unchecked,
}

/// Writes notes; what is promised is how many.
fn write(medium: &Simulated, flaw: Flaw, promise: impl Fn(u64)) -> std::io::Result<()> {
    let file = medium.create("NOTES.tmp", (N_NOTES + 1) * PAGE)?;
    if flaw != Flaw::NameFirst {
        file.sync()?;
    }
    medium.rename("NOTES.tmp", "NOTES")?;
    medium.sync_names()?;
    file.sync()?;
    promise(0);
    let map = file.map((N_NOTES + 1) * PAGE, true)?;
    for note in 0..N_NOTES {
        let words = map.words((note + 1) * PAGE, 512);
        let n_words = if flaw == Flaw::Unchecked { 512 } else { 2 };
        for (n, word) in words[..n_words].iter().enumerate() {
            word.store(if n % 2 == 0 { note } else { !note }, Ordering::Relaxed);
        }
        map.step();
        let is_checked = flaw != Flaw::Unchecked;
        if flaw != Flaw::CountFirst && is_checked {
            map.sync((note + 1) * PAGE..(note + 2) * PAGE)?;
        }
        map.words(0, 1)[0].store(note + 1, Ordering::Relaxed);
        map.step();
        map.sync(0..(note + 2) * PAGE)?;
        promise(note + 1);
    }
    Ok(())
}

/// How many notes there are; an error says what is wrong.
fn read(image: Remains) -> Result<Option<u64>, String> {
    let medium = Simulated::new(image, None, Lie::Honest);
    let Ok(file) = medium.open("NOTES", false) else { return Ok(None) };
    let map = file.map((N_NOTES + 1) * PAGE, false).map_err(|error| format!("short: {error}"))?;
    let count = map.words(0, 1)[0].load(Ordering::Relaxed);
    for note in 0..count {
        let words = map.words((note + 1) * PAGE, 2);
        let words = words.iter().map(|word| word.load(Ordering::Relaxed)).collect::<Vec<_>>();
        if words != [note, !note] {
            return Err(format!("note {note} is {words:?}"));
        }
    }
    Ok(Some(count))
}

/// The first image that breaks a promise, and how many were looked at.
fn first_violation(flaw: Flaw, lie: Lie) -> (Option<String>, usize) {
    let points = Points::new(None, 1, 1, 1);
    let medium = Simulated::new(Remains::default(), Some(points.witness()), lie);
    write(&medium, flaw, |n_notes| *points.promises() = Some(n_notes)).unwrap();
    medium.sync_names().unwrap();
    let (mut random, mut n_images) = (Random::new(2), 0);
    for point in points.take() {
        for (image, report) in Images::new(&point.remains).take(200, &mut random) {
            n_images += 1;
            let wrong = match read(image) {
                Ok(found) if found >= point.promises => continue,
                Ok(found) => format!("{found:?} notes, promised {:?}", point.promises),
                Err(wrong) => wrong,
            };
            return (Some(format!("{wrong} before {:?}: {report}", point.call)), n_images);
        }
    }
    (None, n_images)
}

#[test]
fn a_right_protocol_survives_every_crash() {
    // Goal: no false alarm. Method: the toy as it should be, all images of all points.
    let (violation, n_images) = first_violation(Flaw::None, Lie::Honest);
    assert_eq!(violation, None);
    assert!(n_images > 50, "{n_images}");
}

#[test]
fn a_wrong_protocol_is_found() {
    // Goal: each kind of mistake is found in few images. Method: each flaw and each lie on its own.
    for flaw in [Flaw::CountFirst, Flaw::NameFirst, Flaw::Unchecked] {
        let (violation, n_images) = first_violation(flaw, Lie::Honest);
        assert!(violation.is_some() && n_images < 200, "{flaw:?}: {violation:?} after {n_images}");
    }
    let (violation, n_images) = first_violation(Flaw::None, Lie::Names);
    assert!(violation.is_some() && n_images < 200, "{violation:?} after {n_images}");
}

fn with_file(bytes: u64) -> (Simulated, <Simulated as Medium>::File) {
    let medium = Simulated::new(Remains::default(), None, Lie::Honest);
    let file = medium.create("a", bytes).unwrap();
    file.sync().unwrap();
    medium.sync_names().unwrap();
    (medium, file)
}

fn contents(image: Remains, name: &str) -> Option<Vec<u8>> {
    let medium = Simulated::new(image, None, Lie::Honest);
    let file = medium.open(name, false).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len_bytes().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    Some(bytes)
}

#[test]
fn few_combinations_are_all_there() {
    // Goal: what is enumerated is everything, once. Method: two pages and a rename by hand: 3 x 2 x 2.
    let (medium, file) = with_file(2 * PAGE);
    file.write_at(&[1], 0).unwrap();
    file.write_at(&[2], 0).unwrap();
    file.write_at(&[3], PAGE).unwrap();
    medium.rename("a", "b").unwrap();
    let remains = medium.remains();
    let mut found = Images::new(&remains)
        .take(12, &mut Random::new(1))
        .into_iter()
        .map(|(image, _)| {
            let is_old = contents(image.clone(), "a").is_some();
            let bytes = contents(image, if is_old { "a" } else { "b" }).unwrap();
            (is_old, bytes[0], bytes[PAGE_BYTES])
        })
        .collect::<Vec<_>>();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 12, "{found:?}");
}

#[test]
fn changes_of_names_come_with_what_they_rest_on() {
    // Goal: no directory that no order of writes can leave. Method: a file is made aside, takes another's name; random images.
    let (medium, file) = with_file(8);
    file.write_at(&[1; 8], 0).unwrap();
    file.sync().unwrap();
    let other = medium.create("a.tmp", 8).unwrap();
    other.write_at(&[2; 8], 0).unwrap();
    other.sync().unwrap();
    medium.rename("a.tmp", "a").unwrap();
    medium.create("c", 0).unwrap();
    let remains = medium.remains();
    for (image, report) in Images::new(&remains).take(100, &mut Random::new(1)) {
        let a = contents(image.clone(), "a").expect("never without");
        assert!(a == [1; 8] || a == [2; 8], "{a:?} in {report}");
        assert!(a == [1; 8] || !image.names.contains_key("a.tmp"), "{report}");
    }
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    // Goal: the simulator forgets dirty pages as a kernel does. Method: a failed sync, a good one, a new store, a good one.
    let (medium, file) = with_file(PAGE);
    let map = file.map(PAGE, true).unwrap();
    map.words(0, 1)[0].store(7, Ordering::Relaxed);
    medium.set_faults(Some(Faults { random: Random::new(1), one_in: 1, n_left: 1 }));
    assert_eq!(map.sync(0..PAGE).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(medium.n_failed(), 1);
    map.sync(0..PAGE).unwrap();
    file.sync().unwrap();
    assert_eq!(Images::new(&medium.remains()).n_combinations(10), 2);
    map.words(0, 2)[1].store(1, Ordering::Relaxed);
    map.sync(0..PAGE).unwrap();
    assert_eq!(Images::new(&medium.remains()).n_combinations(10), 1);
}

#[test]
fn a_length_and_its_bytes_come_apart() {
    // Goal: a longer file may be there without its bytes, and bytes without the length are not. Method: one write that grows a file.
    let (medium, file) = with_file(0);
    file.write_at(&[5; 100], 0).unwrap();
    let remains = medium.remains();
    let found = Images::new(&remains).take(4, &mut Random::new(1));
    let found = found.into_iter().map(|(image, _)| contents(image, "a").unwrap()).collect::<Vec<_>>();
    assert_eq!(found.iter().filter(|bytes| bytes.is_empty()).count(), 2);
    assert!(found.contains(&vec![0; 100]) && found.contains(&vec![5; 100]));
}

#[test]
fn points_are_seen_before_what_they_are_about() {
    // Goal: a crash in a sync leaves what one before it may leave. Method: the point of a sync still has the old page.
    let points = Points::new((), 1, 1, 1);
    let medium = Simulated::new(Remains::default(), Some(points.witness()), Lie::Honest);
    let file = medium.create("a", 8).unwrap();
    file.write_at(&[1], 0).unwrap();
    file.sync().unwrap();
    medium.sync_names().unwrap();
    let calls =
        points.take().iter().map(|point| (point.call, point.remains.changes.len())).collect::<Vec<_>>();
    assert_eq!(calls, [(Call::Create, 0), (Call::Write, 1), (Call::Sync, 1), (Call::SyncNames, 1)]);
    assert_eq!(points.n_seen(), 4);
    assert_eq!(medium.trace().len(), 4);
}
