//! Look: a mapped file of either kind, and its numbers.
//!
//! (I1) what is neither kind is nobody's business here: the caller goes on as if nobody had looked.

use crate::failure::Failure;
use crate::output::Messages;
use crate::progress::Progress;
use crate::size::show_size;
use shm_ring::{AppendFile, AppendStats, Error, FileKind, FileSnapshot, RangedFile, RangedStats};
use std::path::Path;

/// What a mapped file says of itself.
#[derive(Debug)]
pub(crate) enum Numbers {
    /// Bytes that grow at the end.
    Append(AppendStats),
    /// Ranges of a fixed size.
    Ranged(RangedStats),
}

/// The same, of a file whose name is known.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    pub(crate) path: &'a Path,
    pub(crate) numbers: Numbers,
}

impl<'a> Look<'a> {
    /// If it is one.
    pub(crate) fn new(path: &'a Path) -> Result<Option<Self>, Error> {
        let numbers = match FileKind::of(path) {
            Ok(FileKind::Append) => Numbers::Append(AppendFile::inspect(path)?),
            Ok(FileKind::Ranged) => Numbers::Ranged(RangedFile::inspect(path)?),
            _ => return Ok(None),
        };
        Ok(Some(Self { path, numbers }))
    }

    /// What both kinds have.
    pub(crate) fn both(&self) -> Both {
        match &self.numbers {
            Numbers::Append(stats) => Both {
                kind: "append",
                uuid: stats.uuid_string(),
                layout_version: stats.layout_version,
                mode: stats.mode,
                created_ns: stats.created_ns,
                file_bytes: stats.file_bytes,
                data_bytes: stats.len_bytes,
                capacity_bytes: stats.capacity_bytes,
                usage_ratio: stats.usage_ratio(),
                durable_bytes: stats.durable_bytes,
                doubtful_bytes: stats.doubtful.end - stats.doubtful.start,
                has_writer: stats.has_writer,
                writer_pid: stats.writer_pid,
                is_sealed: stats.is_sealed,
                data_crc: stats.data_crc,
                seal_begun: stats.seal_begun,
                is_being_opened: stats.is_being_opened,
            },
            Numbers::Ranged(stats) => Both {
                kind: "ranged",
                uuid: stats.uuid_string(),
                layout_version: stats.layout_version,
                mode: stats.mode,
                created_ns: stats.created_ns,
                file_bytes: stats.file_bytes,
                data_bytes: stats.size_bytes,
                capacity_bytes: stats.size_bytes,
                usage_ratio: stats.written_ratio(),
                durable_bytes: stats.durable_bytes,
                doubtful_bytes: stats.doubtful_bytes,
                has_writer: stats.has_writers,
                writer_pid: stats.writer_pid,
                is_sealed: stats.is_sealed,
                data_crc: stats.data_crc,
                seal_begun: stats.seal_begun,
                is_being_opened: stats.is_being_opened,
            },
        }
    }
}

/// What both kinds have.
#[derive(Debug)]
pub(crate) struct Both {
    pub(crate) kind: &'static str,
    pub(crate) uuid: String,
    pub(crate) layout_version: u32,
    pub(crate) mode: u32,
    pub(crate) created_ns: u64,
    pub(crate) file_bytes: u64,
    pub(crate) data_bytes: u64,
    pub(crate) capacity_bytes: u64,
    pub(crate) usage_ratio: f64,
    pub(crate) durable_bytes: u64,
    pub(crate) doubtful_bytes: u64,
    pub(crate) has_writer: bool,
    pub(crate) writer_pid: u32,
    pub(crate) is_sealed: bool,
    pub(crate) data_crc: Option<u32>,
    pub(crate) seal_begun: bool,
    pub(crate) is_being_opened: bool,
}

/// The bytes of a sealed file, when their checksum has been compared. By copies, not by a map: then a file of others is as good as any, and
/// one that is cut meanwhile is an error and not a signal.
pub(crate) fn sealed(path: &Path, n_bytes: u64, messages: Messages) -> Result<FileSnapshot, Error> {
    let _progress = Progress::of_time(format!("{path:?}: comparing {}", show_size(n_bytes)), messages);
    FileSnapshot::open(path)
}

/// What to say of a file that is none of ours.
pub(crate) fn refusal(path: &Path, instead: &'static str) -> Failure {
    // It says by itself what was found.
    let failure = FileSnapshot::open(path).map_or_else(Failure::from, |_| {
        Failure::new(crate::failure::Code::Runtime, format!("{path:?} was replaced meanwhile: try again"))
    });
    let hint = match FileKind::of(path) {
        Ok(FileKind::Ring) => instead,
        Ok(FileKind::Legacy) => "; `shm-ring import` makes an append file of it",
        _ => "",
    };
    Failure { message: format!("{}{hint}", failure.message), ..failure }
}
