//! Stats: what the tables of a ranged file say, for who only looks.
//!
//! (I1) loads only: the mapping may be read-only; (I2) numbers of a file that others are writing are each of some moment, and not of the same.

use super::opening::{Opening, table};
use super::options::Alignment;
use crate::error::{Error, FileKind};
use crate::layout::mapped::{Header, Kind, WRITER_BYTE};
use crate::map::file::{self, MappedFile, Trust, io_error};
use crate::map::growable::Growable;
use crate::map::lock::Locks;
use crate::map::mirror::Access;
use crate::map::seal;
use crate::sync::Ordering;
use std::path::Path;

/// What the tables of a [`RangedFile`](crate::RangedFile) say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RangedStats {
    /// Names the file for ever.
    pub uuid: [u8; 16],
    /// When the file was made, ns since the Unix epoch.
    pub created_ns: u64,
    /// Where its ranges begin.
    pub alignment: Alignment,
    /// Bytes of data.
    pub size_bytes: u64,
    /// The whole file.
    pub file_bytes: u64,
    /// Bytes below were handed out at least once.
    pub next_position: u64,
    /// Bytes that are written, in whole units; as the next two.
    pub written_bytes: u64,
    /// Bytes of those that are on the medium, but for such as are just being flushed, or whose flush has failed.
    pub durable_bytes: u64,
    /// Bytes that were handed out and are free again.
    pub freed_bytes: u64,
    /// Whether it is finished, and can't be written any more.
    pub is_sealed: bool,
    /// Whether somebody has it open for writing.
    pub has_writers: bool,
    /// The last who opened it for writing; 0: unknown.
    pub writer_pid: u32,
    /// Whether a sync of it has failed in this boot.
    pub sync_failed: bool,
}

/// Of a file that is open here.
pub(super) fn of_opening(opening: &Opening) -> Result<RangedStats, Error> {
    read(opening.map(), opening.header(), opening.path(), true)
}

/// Of a file that somebody may have open.
pub(super) fn of_path(path: &Path) -> Result<RangedStats, Error> {
    let found = file::open(path, &MappedFile(FileKind::Ranged), false, Trust::Owner)?;
    let locks = Locks::new(&found.file, false).map_err(io_error("open the locks of", path))?;
    let held = locks.probe().and_then(|probe| probe.is_held(WRITER_BYTE));
    let has_writers = held.map_err(io_error("examine the locks of", path))?;
    let map = Growable::new(&found.file, found.header.extent, found.file_bytes, 0, Access::ReadOnly)
        .map_err(io_error("map", path))?;
    read(&map, &found.header, path, has_writers)
}

fn read(map: &Growable, header: &Header, path: &Path, has_writers: bool) -> Result<RangedStats, Error> {
    let Kind::Ranged { unit_bytes, size_bytes } = header.kind else {
        unreachable!("the file was recognised as a ranged one")
    };
    let sealed = seal::load(map.live(), &header.uuid).map_err(|malformed| file::corrupt(path, malformed))?;
    let unit_bytes = u64::from(unit_bytes);
    let n_units = size_bytes.div_ceil(unit_bytes);
    let table = table(map, map.live(), unit_bytes, n_units);
    let used = table.used().map_err(|_| {
        // ORDER none (Relaxed): shown.
        let found = table.next.load(Ordering::Relaxed).to_string();
        let expected = format!("a multiple of {unit_bytes} up to {}", n_units * unit_bytes);
        let what = "position of what was never handed out";
        Error::Corrupt { path: path.to_path_buf(), what, expected, found }
    })?;
    let durable: u64 = (0..table.durable.words().len())
        .map(|index| u64::from(table.durable.marks(index).count_ones()))
        .sum();
    let bytes = |units: u64| (units * unit_bytes).min(size_bytes);
    // ORDER none (Relaxed), for both: shown.
    let writer_pid = map.live().era.0.writer_pid.load(Ordering::Relaxed);
    let stats = RangedStats {
        uuid: header.uuid,
        created_ns: header.created_ns,
        alignment: Alignment::of(unit_bytes),
        size_bytes,
        file_bytes: header.extent.file_bytes,
        next_position: bytes(used),
        written_bytes: bytes(table.written.count(n_units)),
        durable_bytes: bytes(durable),
        freed_bytes: bytes(table.free.count(used)),
        is_sealed: sealed.is_some(),
        has_writers,
        writer_pid: u32::try_from(writer_pid).unwrap_or(0),
        sync_failed: table.failed.load(Ordering::Relaxed) != 0,
    };
    if map.was_hit() {
        return Err(Error::Truncated {
            kind: FileKind::Ranged,
            path: path.to_path_buf(),
            expected_bytes: header.extent.file_bytes,
            found_bytes: std::fs::metadata(path).map_or(0, |found| found.len()),
        });
    }
    Ok(stats)
}
