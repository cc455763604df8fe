//! Trial: a log on a real directory, through its inner half: boots are made up, helpers do their work when they are told.
//!
//! (I1) what is read here is read as a reader does: manifest, names, `end`, checksums; nothing of the appender's memory.

mod damage;
mod faults;
pub(super) mod faulty;
mod model;

use super::appender::Core;
use super::error::{LogError, Trouble};
use super::manifest::{self, Manifest};
use super::names;
use super::recover::{Recovery, recover};
use super::segment::{Segment, Staged};
use super::shared::{Durability, Settings};
use crate::layout::manifest::State;
use crate::layout::segment::{LogHead, LogState, PREPARED, SegmentExtent};
use crate::map::disk::Disk;
use crate::map::medium::Medium;
use std::sync::Arc;

pub(crate) const BOOT: [u64; 2] = [1, 1];
pub(crate) const OTHER_BOOT: [u64; 2] = [2, 2];
pub(crate) const SMALL: u64 = 64 << 10;

pub(crate) fn settings(boot: [u64; 2]) -> Settings {
    Settings {
        extent: SegmentExtent::new(SMALL, 4096).unwrap(),
        durability: Durability::Process,
        keep_bytes: None,
        keep_for: None,
        boot,
    }
}

/// A new log on that medium.
pub(crate) fn create<M: Medium>(medium: &Arc<M>, settings: Settings) -> Result<Core<M>, Trouble> {
    Manifest::create(medium.clone(), State::new([7; 16], 42))?;
    open(medium, settings).map(|(core, _)| core)
}

/// The log on that medium, for appending.
pub(crate) fn open<M: Medium>(medium: &Arc<M>, settings: Settings) -> Result<(Core<M>, Recovery), Trouble> {
    let found = manifest::read(&**medium)?;
    recover(medium.clone(), settings, found)
}

pub(crate) fn record<'a>(timestamp_ns: u64, payload: &'a [u8]) -> Staged<'a> {
    let len_bytes = u32::try_from(payload.len()).unwrap();
    Staged { head: LogHead { len_bytes, state: LogState::Data, slot: 0 }, timestamp_ns, tags: 0, payload }
}

pub(crate) fn append<M: Medium>(
    core: &mut Core<M>,
    timestamp_ns: u64,
    payload: &[u8],
) -> Result<u64, LogError> {
    core.append(&record(timestamp_ns, payload))
}

/// A record as it was read.
pub(crate) type Seen = (u64, u64, Vec<u8>);

/// All records, as a reader finds them; fails on anything that is not as the manifest and the live pages say.
pub(crate) fn read<M: Medium>(medium: &Arc<M>) -> Result<Vec<Seen>, Trouble> {
    let found = manifest::read(&**medium)?;
    let state = found.reading.state;
    let mut seen = vec![];
    for entry in &state.entries {
        let segment = Segment::open(&**medium, entry.number, &state.log_uuid, false)?;
        assert_eq!(segment.header().uuid, entry.uuid);
        let (base, end) = match (entry.sealed, segment.state()) {
            (Some(sealed), _) => (sealed.base, sealed.end),
            (None, PREPARED) => break,
            (None, _) => (segment.base(), segment.end()),
        };
        let mut at = base;
        let (mut last_ns, mut n_index) = (0, 0);
        while at < end {
            if let Some(hole) = entry.holes.iter().find(|hole| hole.0 == at) {
                at = hole.1;
                continue;
            }
            let frame =
                segment.frame(base, at, end).unwrap_or_else(|| panic!("no frame at {at} below {end}"));
            if n_index < segment.n_index() && segment.index_entry(n_index).position == at {
                assert_eq!(segment.index_entry(n_index).last_ns, last_ns);
                n_index += 1;
            }
            if frame.head.state == LogState::Data {
                last_ns = last_ns.max(frame.timestamp_ns);
                seen.push((at, frame.timestamp_ns, frame.payload.to_vec()));
            }
            at += frame.head.span_bytes();
        }
        assert_eq!(n_index, segment.n_index(), "entries that no frame has");
    }
    Ok(seen)
}

/// In memory, where there is such a file system: thousands of syncs take long on a disk, and show no more.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn disk() -> (tempfile::TempDir, Arc<Disk>) {
    let directory = directory();
    let disk = Arc::new(Disk::new(directory.path(), 0o600));
    (directory, disk)
}

// Goal: what is appended is read, over rolls and reopenings. Method: records of many lengths, each reopened log goes on where it was.
#[test]
fn records_are_there_over_rolls_and_reopenings() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    let mut expected = vec![];
    for n in 0..2000_u64 {
        let payload = vec![n as u8; (n * 37 % 700) as usize];
        let at = append(&mut core, n, &payload).unwrap();
        expected.push((at, n, payload));
        if n % 7 == 0 {
            core.turn().unwrap();
        }
        if n % 301 == 300 {
            drop(core);
            let (again, found) = open(&disk, settings(BOOT)).unwrap();
            assert!(!found.was_cut_short && found.lost_bytes == 0);
            core = again;
        }
    }
    assert_eq!(read(&disk).unwrap(), expected);
    let state = manifest::read(&*disk).unwrap().reading.state;
    assert!(state.entries.len() > 10 && state.entries[0].sealed.unwrap().n_records > 10);
    assert!(names::segment(1).ends_with("1.seg"));
}

// Goal: a restart of the machine loses nothing that the medium kept, and takes no position twice. Method: another boot's id, nothing lost in
// truth; then again after an end in order.
#[test]
fn another_boot_goes_on_above_everything_and_after_an_end_in_order_where_it_was() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    let mut expected = vec![];
    for n in 0..100_u64 {
        expected.push((append(&mut core, n, &[1; 1000]).unwrap(), n, vec![1; 1000]));
    }
    let ceiling = core.end();
    core.turn().unwrap();
    drop(core);
    let (mut core, found) = open(&disk, settings(OTHER_BOOT)).unwrap();
    assert!(found.was_cut_short && found.lost_bytes == 0, "{found:?}");
    assert!(core.end() > ceiling);
    expected.push((append(&mut core, 100, b"behind").unwrap(), 100, b"behind".to_vec()));
    assert_eq!(read(&disk).unwrap(), expected);
    core.close().unwrap();
    let end = core.end();
    drop(core);
    let (mut core, found) = open(&disk, settings(BOOT)).unwrap();
    assert!(!found.was_cut_short && found.lost_bytes == 0, "{found:?}");
    assert_eq!(core.end(), end);
    expected.push((append(&mut core, 101, b"again").unwrap(), 101, b"again".to_vec()));
    assert_eq!(read(&disk).unwrap(), expected);
}

/// The same with segments of that size.
fn sized(data_bytes: u64) -> Settings {
    Settings { extent: SegmentExtent::new(data_bytes, 4096).unwrap(), ..settings(BOOT) }
}

// Goal: a log that is opened with another segment size takes the records that it says, whether its segments are empty or not, and refuses
// longer ones; a roll into a smaller segment is no end. Method: larger and smaller, with and without records.
#[test]
fn another_segment_size_takes_effect() {
    for has_records in [false, true] {
        let (_directory, disk) = disk();
        let mut core = create(&disk, sized(SMALL)).unwrap();
        let mut seen = vec![];
        let mut add = |core: &mut Core<Disk>, bytes: u64| {
            let payload = vec![seen.len() as u8; bytes as usize];
            append(core, 1, &payload).map(|at| seen.push((at, 1, payload)))
        };
        core.turn().unwrap();
        for data_bytes in [16 * SMALL, SMALL, 4 * SMALL, SMALL] {
            if has_records {
                add(&mut core, 100).unwrap();
            }
            drop(core);
            core = open(&disk, sized(data_bytes)).unwrap().0;
            if !has_records {
                assert_eq!(core.record_bytes_max(), data_bytes / 4);
                core.turn().unwrap();
                continue;
            }
            // As long as fits, until segments of the old size are used up.
            while core.record_bytes_max() != data_bytes / 4 {
                add(&mut core, data_bytes / 4).unwrap();
            }
            let max_bytes = data_bytes / 4;
            let too_long = LogError::TooLong { len_bytes: max_bytes + 1, max_bytes };
            assert_eq!(add(&mut core, max_bytes + 1), Err(too_long));
            add(&mut core, max_bytes).unwrap();
            core.turn().unwrap();
        }
        add(&mut core, 100).unwrap();
        drop(core);
        assert_eq!(read(&disk).unwrap(), seen);
    }
}

// Goal: a record that fits the segment that is there, and not the next, is refused at the roll; nothing panics. Method: larger segments, then
// smaller ones.
#[test]
fn a_record_longer_than_the_next_segment_takes_is_refused() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, sized(16 * SMALL)).unwrap();
    append(&mut core, 1, b"first").unwrap();
    drop(core);
    let (mut core, _) = open(&disk, sized(SMALL)).unwrap();
    let long = vec![1; 3 * SMALL as usize];
    let refused = (0..20).find_map(|_| append(&mut core, 1, &long).err());
    let len_bytes = 3 * SMALL;
    assert_eq!(refused, Some(LogError::TooLong { len_bytes, max_bytes: SMALL / 4 }));
    append(&mut core, 1, b"short").unwrap();
}

// Goal: what is staged and forgotten is seen by nobody, neither now nor after a restart, and what is counted is what is published. Method: a
// batch with entries of the index is forgotten; others are appended, sealed, and recovered in another boot.
#[test]
fn a_batch_that_is_forgotten_was_never_there() {
    let (_directory, disk) = disk();
    let mut core = create(&disk, sized(4 * SMALL)).unwrap();
    let mut seen = vec![];
    for round in 0..8_u8 {
        for n in 0..10 {
            core.stage(&record(99 + n, &[99; 2000])).unwrap();
        }
        core.forget_staged();
        assert_eq!(core.room_bytes(), 4 * SMALL - core.end());
        let payload = vec![round; 9000];
        seen.push((append(&mut core, 5, &payload).unwrap(), 5, payload));
        assert_eq!(read(&disk).unwrap(), seen);
    }
    core.stage(&record(99, &[99; 2000])).unwrap();
    core.forget_staged();
    core.roll().unwrap();
    core.turn().unwrap();
    let sealed = manifest::read(&*disk).unwrap().reading.state.entries[0].sealed.unwrap();
    assert_eq!((sealed.n_records, sealed.first_ns, sealed.last_ns), (8, 5, 5));
    core.stage(&record(99, &[99; 2000])).unwrap();
    core.forget_staged();
    drop(core);
    drop(open(&disk, settings(OTHER_BOOT)).unwrap());
    assert_eq!(read(&disk).unwrap(), seen);
}
