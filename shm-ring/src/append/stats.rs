//! Stats: what an append file says of itself, for who only looks.
//!
//! (I1) loads only, lock bytes are asked and not taken: works on files that may not be written, and disturbs nobody; (I2) of a file that
//! is being written, each number is of some moment, and not all are of the same.

use super::durable::is_of_this_boot;
use super::options::{check_len, map};
use super::publish;
use crate::error::{Error, FileKind};
use crate::layout::header::uuid_text;
use crate::layout::mapped::{Header, LAYOUT_VERSION, PIN_BYTE, WRITER_BYTE};
use crate::layout::slots::REPAIR_BYTE;
use crate::map::file::{self, MappedFile, Trust, io_error};
use crate::map::growable::Growable;
use crate::map::lock::Locks;
use crate::map::mirror::Access;
use crate::map::seal;
use crate::sync::Ordering;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// What an [`AppendFile`](crate::AppendFile) says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppendStats {
    /// Names the file for ever.
    pub uuid: [u8; 16],
    /// Version of the file's layout.
    pub layout_version: u32,
    /// When the file was made, ns since the Unix epoch.
    pub created_ns: u64,
    /// Permission bits of the file.
    pub mode: u32,
    /// The whole file.
    pub file_bytes: u64,
    /// Bytes of data that it has room for without growing.
    pub capacity_bytes: u64,
    /// Bytes that are whole and published.
    pub len_bytes: u64,
    /// Bytes of those, from the first one on, that are known to be on the medium.
    pub durable_bytes: u64,
    /// Bytes that may be others than were written, because the machine was restarted before they were synced. Empty if it was not.
    pub doubtful: Range<u64>,
    /// Whether it is finished, and can't be written any more.
    pub is_sealed: bool,
    /// The crc32c of all bytes, as the seal has it. Whether they still have it is seen when the file is opened as a
    /// [`Snapshot`](crate::Snapshot).
    pub data_crc: Option<u32>,
    /// Whether somebody began to seal it and did not finish: it is open, and can be sealed again.
    pub seal_begun: bool,
    /// Whether bytes are just being given up, or a writer died in the middle of that: readers go by what it had in mind, and the next
    /// writer finishes it.
    pub loss_begun: bool,
    /// Whether somebody has it open for writing.
    pub has_writer: bool,
    /// The last who opened it for writing; 0: unknown.
    pub writer_pid: u32,
    /// Whether somebody reads in place, so that nothing can be given up.
    pub is_pinned: bool,
    /// Whether somebody is just opening it for writing.
    pub is_being_opened: bool,
}

impl AppendStats {
    /// The uuid as people write it.
    pub fn uuid_string(&self) -> String {
        uuid_text(&self.uuid)
    }

    /// Which part of the capacity is used, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
    pub fn usage_ratio(&self) -> f64 {
        // A file that was cut down to its header has none.
        self.len_bytes as f64 / self.capacity_bytes.max(1) as f64
    }
}

/// Of the file at `path`.
pub(super) fn of_path(path: &Path) -> Result<AppendStats, Error> {
    let found = file::open(path, &MappedFile(FileKind::Append), false, Trust::Anybody)?;
    let (header, file_bytes) = (&found.header, found.file_bytes);
    let map = map(&found.file, &header.extent, file_bytes, file_bytes, Access::ReadOnly, path)?;
    check_len(&map, header, &found.file, path)?;
    let stats = read(&map, &found.file, header, path)?;
    if map.was_hit() {
        let (kind, path, found_bytes) = (FileKind::Append, path.to_path_buf(), stats.file_bytes);
        return Err(Error::Truncated { kind, path, expected_bytes: file_bytes, found_bytes });
    }
    Ok(stats)
}

fn read(map: &Growable, file: &File, header: &Header, path: &Path) -> Result<AppendStats, Error> {
    let failed = io_error("examine the locks of", path);
    let locks = Locks::new(file, false).map_err(&failed)?;
    let probe = locks.probe().map_err(&failed)?;
    let held = |byte| probe.is_held(byte).map_err(&failed);
    let (has_writer, is_pinned, is_being_opened) = (held(WRITER_BYTE)?, held(PIN_BYTE)?, held(REPAIR_BYTE)?);
    let live = map.live();
    let seal = seal::load(live, &header.uuid).map_err(|malformed| file::corrupt(path, malformed))?;
    let len_bytes = publish::look(live).len_bytes;
    // Behind the length: who publishes more has made the file longer before.
    let file_bytes = file.metadata().map_err(io_error("examine", path))?.len();
    let corrupt = |sealed_bytes: u64| Error::Corrupt {
        path: path.to_path_buf(),
        what: "length in the seal",
        expected: len_bytes.to_string(),
        found: sealed_bytes.to_string(),
    };
    if let Some(seal) = seal.filter(|seal| seal.len_bytes != len_bytes) {
        return Err(corrupt(seal.len_bytes));
    }
    let era = &live.era.0;
    // ORDER none (Relaxed), for all three: shown.
    let durable_bytes = era.durable.load(Ordering::Relaxed).min(len_bytes);
    let writer_pid = u32::try_from(era.writer_pid.load(Ordering::Relaxed)).unwrap_or(0);
    let loss_begun = era.generation.load(Ordering::Relaxed) % 2 == 1;
    let is_doubtful = !is_of_this_boot(live) && durable_bytes < len_bytes;
    Ok(AppendStats {
        uuid: header.uuid,
        layout_version: LAYOUT_VERSION,
        created_ns: header.created_ns,
        mode: file::mode_of(file),
        file_bytes,
        capacity_bytes: file_bytes.saturating_sub(header.extent.data_offset),
        len_bytes,
        durable_bytes,
        doubtful: if is_doubtful { durable_bytes..len_bytes } else { 0..0 },
        is_sealed: seal.is_some(),
        data_crc: seal.map(|seal| seal.data_crc),
        seal_begun: seal::is_begun(live),
        loss_begun,
        has_writer,
        writer_pid,
        is_pinned,
        is_being_opened,
    })
}
