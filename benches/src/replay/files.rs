//! Files: thousands of them, with times that go through all.
//!
//! Record i of file f has the time `i * n_files + (f * 7919) % n_files`: all files are read side by side, in an order that is none of theirs.

use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use shm_ring::replay::{MapPool, PoolSource, RowLayout, TimeUnit};
use shm_ring::{Durability, LogOptions};

use super::{Plan, failed};

/// Bytes of a payload, and of a row.
pub(super) const PAYLOAD_BYTES: usize = 64;
const FRAME_BYTES: usize = 96;

/// What the files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Segment,
    Rows,
    Log,
    #[cfg(feature = "arrow")]
    Table,
}

impl Kind {
    pub(super) const ALL: &[Self] = &[
        Self::Segment,
        Self::Rows,
        Self::Log,
        #[cfg(feature = "arrow")]
        Self::Table,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Segment => "segments",
            Self::Rows => "rows",
            Self::Log => "logs",
            #[cfg(feature = "arrow")]
            Self::Table => "tables",
        }
    }

    /// The files of the plan, made when they are wanted first.
    pub(super) fn paths(self, plan: &Plan) -> Result<Vec<PathBuf>, String> {
        let directory = plan.directory.join(self.name());
        if !directory.exists() {
            fs::create_dir_all(&directory).map_err(failed("make a directory"))?;
            match self {
                Self::Segment => make_segments(plan, &directory)?,
                Self::Rows => make_rows(plan, &directory)?,
                Self::Log => make_logs(plan, &directory)?,
                #[cfg(feature = "arrow")]
                Self::Table => make_tables(plan, &directory)?,
            }
        }
        let names = fs::read_dir(directory).map_err(failed("list"))?;
        let mut paths: Vec<_> = names.flatten().map(|entry| entry.path()).collect();
        if self != Self::Log {
            paths.retain(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with('0') && path.is_file()
            });
        }
        paths.sort();
        paths.truncate(plan.n_files);
        if paths.len() < plan.n_files {
            return Err(format!("{} of {} files", paths.len(), plan.n_files));
        }
        Ok(paths)
    }

    pub(super) fn open(self, pool: &MapPool, path: &Path) -> Result<PoolSource, String> {
        let layout = RowLayout {
            row_bytes: u32::try_from(PAYLOAD_BYTES).map_err(failed("lay out"))?,
            timestamp_at: 0,
            unit: TimeUnit::Nanos,
        };
        match self {
            Self::Rows => pool.open_rows(path, layout),
            _ => pool.open(path),
        }
        .map_err(failed("open a source"))
    }
}

/// The time of a record.
pub(super) fn time(plan: &Plan, file: usize, at: usize) -> u64 {
    (at * plan.n_files + file * 7919 % plan.n_files) as u64
}

/// One log, each segment of which is a file of the plan.
fn make_segments(plan: &Plan, directory: &Path) -> Result<(), String> {
    let segment_bytes = ((plan.n_file_records * FRAME_BYTES) as u64).next_multiple_of(64 << 10);
    let options = LogOptions::new().segment_bytes(segment_bytes).durability(Durability::Process);
    fs::remove_dir(directory).map_err(failed("make a directory"))?;
    let mut appender = options.create(directory).map_err(failed("create a log"))?;
    // As many as fit, so that a segment is a file.
    let n_records = usize::try_from(segment_bytes).map_err(failed("count"))? / FRAME_BYTES;
    let mut payload = [0; PAYLOAD_BYTES];
    for file in 0..plan.n_files {
        for at in 0..n_records {
            payload[..8].copy_from_slice(&(at as u64).to_le_bytes());
            let _ = appender.append_at(time(plan, file, at), &payload).map_err(failed("append"))?;
        }
    }
    // One more record seals the last one.
    let _ = appender.append_at(0, &payload).map_err(failed("append"))?;
    appender.sync().map_err(failed("sync"))
}

fn make_rows(plan: &Plan, directory: &Path) -> Result<(), String> {
    for file in 0..plan.n_files {
        let mut bytes = vec![0; plan.n_file_records * PAYLOAD_BYTES];
        for (at, row) in bytes.chunks_exact_mut(PAYLOAD_BYTES).enumerate() {
            row[..8].copy_from_slice(&time(plan, file, at).to_le_bytes());
        }
        let mut made = fs::File::create(directory.join(format!("{file:06}"))).map_err(failed("create"))?;
        made.write_all(&bytes).map_err(failed("write"))?;
    }
    Ok(())
}

/// A time, and as many numbers as fill a row: one batch.
#[cfg(feature = "arrow")]
fn make_tables(plan: &Plan, directory: &Path) -> Result<(), String> {
    use shm_ring::replay::{ColumnType, TableWriter};
    let mut columns = vec![("t", ColumnType::TimestampNanos)];
    columns.extend(["a", "b", "c", "d", "e", "f", "g"].map(|name| (name, ColumnType::U64)));
    let at = |file| directory.join(format!("{file:06}.arrow"));
    let mut writer = TableWriter::create(at(0), &columns).map_err(failed("create a table"))?;
    for at in 0..plan.n_file_records {
        let (time, n) = (time(plan, 0, at).cast_signed(), at as u64);
        let row = [time.into(), n.into(), n.into(), n.into(), n.into(), n.into(), n.into(), n.into()];
        writer.push(&row).map_err(failed("write a row"))?;
    }
    writer.finish().map_err(failed("finish a table"))?;
    // The others are the same but for their times, which lie together.
    let mut bytes = fs::read(at(0)).map_err(failed("read a table"))?;
    let times =
        |file| (0..plan.n_file_records).flat_map(move |at| time(plan, file, at).to_le_bytes()).collect();
    let first: Vec<u8> = times(0);
    let found = bytes.windows(first.len()).position(|window| window == first);
    let place = found.ok_or("the column of times is not in the table")?;
    for file in 1..plan.n_files {
        let times: Vec<u8> = times(file);
        bytes[place..place + times.len()].copy_from_slice(&times);
        fs::write(at(file), &bytes).map_err(failed("write a table"))?;
    }
    Ok(())
}

/// As many copies of one log.
fn make_logs(plan: &Plan, directory: &Path) -> Result<(), String> {
    let one = directory.join("000000");
    let segment_bytes = ((plan.n_file_records.min(600) * FRAME_BYTES) as u64).next_multiple_of(64 << 10);
    let mut appender =
        LogOptions::new().segment_bytes(segment_bytes).create(&one).map_err(failed("create a log"))?;
    for at in 0..plan.n_file_records.min(600) {
        let _ = appender.append_at(time(plan, 0, at), &[7; PAYLOAD_BYTES]).map_err(failed("append"))?;
    }
    drop(appender);
    let names: Vec<_> = fs::read_dir(&one).map_err(failed("list"))?.flatten().collect();
    for file in 1..plan.n_files {
        let copy = directory.join(format!("{file:06}"));
        fs::create_dir(&copy).map_err(failed("make a directory"))?;
        for name in &names {
            fs::copy(name.path(), copy.join(name.file_name())).map_err(failed("copy"))?;
        }
    }
    Ok(())
}

/// Takes files out of the page cache, as far as they are on the disk.
pub(super) fn forget_cached(paths: &[PathBuf]) -> Result<(), String> {
    for path in paths {
        let file = fs::File::open(path).map_err(failed("open"))?;
        file.sync_all().map_err(failed("sync"))?;
        let advised = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        advised.map_err(|error| format!("advise on {}: {error}", file.as_raw_fd()))?;
    }
    Ok(())
}
