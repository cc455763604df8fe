//! Stats: what the tables of a ranged file say, for who only looks.
//!
//! (I1) loads only: the mapping may be read-only; (I2) numbers of a file that others are writing are each of some moment, and not of the
//! same; (I3) a last unit that is cut off counts as the bytes that it has.

use super::bits::{Bits, Run};
use super::options::Alignment;
use super::reading::Reading;
use crate::error::Error;
use crate::layout::header::uuid_text;
use crate::layout::mapped::{Header, LAYOUT_VERSION, WRITER_BYTE};
use crate::layout::slots::REPAIR_BYTE;
use crate::map::file::{self, io_error};
use crate::map::lock::Locks;
use crate::map::seal;
use crate::sync::{AtomicU64, Ordering};
use std::path::Path;

/// What the tables of a [`RangedFile`](crate::RangedFile) say.
///
/// After a restart of the machine, and before anybody has opened the file again, the numbers are those that whoever opens it will find.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RangedStats {
    /// Names the file for ever.
    pub uuid: [u8; 16],
    /// Version of the file's layout.
    pub layout_version: u32,
    /// When the file was made, ns since the Unix epoch.
    pub created_ns: u64,
    /// Permission bits of the file.
    pub mode: u32,
    /// Where its ranges begin.
    pub alignment: Alignment,
    /// Bytes of data.
    pub size_bytes: u64,
    /// The whole file.
    pub file_bytes: u64,
    /// Bytes below were handed out at least once.
    pub next_position: u64,
    /// Bytes that are written, in whole units; as the next five.
    pub written_bytes: u64,
    /// Bytes that are not.
    pub missing_bytes: u64,
    /// Bytes that are handed out and not written: of living owners, or of dead ones, whose bytes are free again when somebody has the file
    /// alone.
    pub taken_bytes: u64,
    /// Bytes that nobody has: never handed out, or free again.
    pub free_bytes: u64,
    /// Bytes of those that are free again.
    pub freed_bytes: u64,
    /// Bytes that are on the medium, but for such as are just being flushed, or whose flush has failed.
    pub durable_bytes: u64,
    /// Bytes that were written before the machine was restarted, and not flushed: whoever opens the file next gives them up.
    pub doubtful_bytes: u64,
    /// Whether the machine was restarted since anybody opened the file.
    pub rebooted: bool,
    /// Whether it is finished, and can't be written any more.
    pub is_sealed: bool,
    /// The crc32c of all bytes, as the seal has it. Whether they still have it is seen when the file is opened as a
    /// [`Snapshot`](crate::Snapshot).
    pub data_crc: Option<u32>,
    /// Whether somebody began to seal it and did not finish: it is open, and can be sealed again.
    pub seal_begun: bool,
    /// Whether somebody has it open for writing.
    pub has_writers: bool,
    /// The last who opened it for writing; 0: unknown.
    pub writer_pid: u32,
    /// Whether somebody is just opening it for writing, or deals with what the dead left.
    pub is_being_opened: bool,
    /// Whether a sync of it has failed in this boot.
    pub sync_failed: bool,
}

impl RangedStats {
    /// The uuid as people write it.
    pub fn uuid_string(&self) -> String {
        uuid_text(&self.uuid)
    }

    /// Which part of the data is written, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
    pub fn written_ratio(&self) -> f64 {
        self.written_bytes as f64 / self.size_bytes as f64
    }
}

/// What words and lock bytes say.
pub(super) fn read(
    reading: &Reading<'_>,
    locks: &Locks,
    header: &Header,
    path: &Path,
) -> Result<RangedStats, Error> {
    let failed = io_error("examine the locks of", path);
    let probe = locks.probe().map_err(&failed)?;
    let has_writers = probe.is_held(WRITER_BYTE).map_err(&failed)?;
    let is_being_opened = probe.is_held(REPAIR_BYTE).map_err(&failed)?;
    drop(probe);
    let (map, table, size_bytes) = (reading.map, &reading.table, reading.size_bytes);
    let (n_units, unit_bytes, rebooted) = (table.n_units, table.unit.bytes(), reading.after_reboot);
    let sealed = seal::load(map.live(), &header.uuid).map_err(|malformed| file::corrupt(path, malformed))?;
    let used = table.used().map_err(|_| {
        // ORDER none (Relaxed): shown.
        let found = table.next.load(Ordering::Relaxed).to_string();
        let expected = format!("a multiple of {unit_bytes} up to {}", n_units * unit_bytes);
        let what = "position of what was never handed out";
        Error::Corrupt { path: path.to_path_buf(), what, expected, found }
    })?;
    let last = Run { first: n_units - 1, n: 1 };
    let bytes = |units: u64, has_last: bool| {
        let cut_off = if has_last { n_units * unit_bytes - size_bytes } else { 0 };
        (units * unit_bytes).saturating_sub(cut_off)
    };
    let of_bits = |bits: Bits<'_>| bytes(bits.count(n_units), bits.all(last));
    let marks = reading.marks();
    let used = if rebooted { used.max(behind_last(&marks).min(n_units)) } else { used };
    let (durable_bytes, ever_written) = (of_bits(Bits::new(&marks)), of_bits(table.written));
    let written_bytes = if rebooted { durable_bytes } else { ever_written };
    // What is free of what was handed out; after a reboot, everything that is not written will be.
    let handed_out = bytes(used, used == n_units);
    let freed_bytes = if rebooted {
        handed_out.saturating_sub(written_bytes)
    } else {
        bytes(table.free.count(used), used == n_units && table.free.all(last))
    };
    // ORDER none (Relaxed), for both: shown.
    let writer_pid = u32::try_from(map.live().era.0.writer_pid.load(Ordering::Relaxed)).unwrap_or(0);
    let sync_failed = table.failed.load(Ordering::Relaxed) != 0 && !rebooted;
    // Others write meanwhile, so that differences may be of different moments.
    let taken_bytes = handed_out.saturating_sub(written_bytes).saturating_sub(freed_bytes);
    Ok(RangedStats {
        uuid: header.uuid,
        layout_version: LAYOUT_VERSION,
        created_ns: header.created_ns,
        mode: file::mode_of(locks.file()),
        alignment: Alignment::of(unit_bytes),
        size_bytes,
        file_bytes: header.extent.file_bytes,
        next_position: handed_out,
        written_bytes,
        missing_bytes: size_bytes.saturating_sub(written_bytes),
        taken_bytes,
        free_bytes: (size_bytes - handed_out).saturating_add(freed_bytes),
        freed_bytes,
        durable_bytes,
        doubtful_bytes: if rebooted { ever_written.saturating_sub(durable_bytes) } else { 0 },
        rebooted,
        is_sealed: sealed.is_some(),
        data_crc: sealed.map(|seal| seal.data_crc),
        seal_begun: seal::is_begun(map.live()),
        has_writers,
        writer_pid,
        is_being_opened,
        sync_failed,
    })
}

/// The unit behind the last one whose bit is set.
fn behind_last(words: &[AtomicU64]) -> u64 {
    // ORDER none (Relaxed): of this thread alone.
    let word = |index: &usize| words[*index].load(Ordering::Relaxed);
    let last = (0..words.len()).rev().find(|index| word(index) != 0);
    last.map_or(0, |index| index as u64 * 64 + 64 - u64::from(word(&index).leading_zeros()))
}
