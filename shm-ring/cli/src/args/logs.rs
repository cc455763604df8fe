//! Args of the commands that are for logs alone.
//!
//! Describes; performs nothing.

use crate::size::{parse_age, parse_duration, parse_size};
use clap::Subcommand;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Record {
    /// The ring.
    pub(crate) ring: PathBuf,
    /// The log's directory; made when it is missing.
    pub(crate) log: PathBuf,
    /// The name under which the ring is read, and for which its producers wait.
    #[arg(long, value_name = "NAME", default_value = "recorder")]
    pub(crate) name: String,
    /// Bytes of records in a segment, a multiple of 64 KiB. The ring's capacity at least.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) segment: Option<u64>,
    /// When records reach the medium: when the system pleases (none: they survive every death of a process), at the latest after so long
    /// (100ms), or before their space in the ring is given back (each).
    #[arg(long, value_name = "WHEN", value_parser = parse_sync, default_value = "none")]
    pub(crate) sync: SyncWhen,
    /// Remove the oldest segment as soon as so much is left without it.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) keep: Option<u64>,
    /// Remove segments whose newest record is older than that, as in 7d.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub(crate) keep_for: Option<Duration>,
    /// End when what is in the ring now is in the log.
    #[arg(long)]
    pub(crate) drain: bool,
}

/// When records reach the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncWhen {
    /// When the system pleases.
    None,
    /// Before they are released in the ring.
    Each,
    /// At the latest after so long.
    Interval(Duration),
}

fn parse_sync(text: &str) -> Result<SyncWhen, String> {
    match text {
        "none" => Ok(SyncWhen::None),
        "each" => Ok(SyncWhen::Each),
        _ => match parse_duration(text) {
            Ok(interval) if !interval.is_zero() => Ok(SyncWhen::Interval(interval)),
            _ => Err("expected none, each, or an interval like 100ms".to_owned()),
        },
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The log's directory.
    pub(crate) log: PathBuf,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Gc {
    /// The log's directory.
    pub(crate) log: PathBuf,
    /// Remove the oldest segments for as long as so much is left without them.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, required_unless_present = "keep_for")]
    pub(crate) keep: Option<u64>,
    /// Keep no segment whose newest record is older than that, as in 7d.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub(crate) keep_for: Option<Duration>,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Cursor {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: CursorAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CursorAction {
    /// Show all cursors, and how far each is behind.
    ///
    /// JSON keys, an object a line: name, position, lag_bytes, gone_bytes (of what it has not read, removed already), saved_ns.
    List {
        /// The log's directory.
        log: PathBuf,
        /// An object a line.
        #[arg(long)]
        json: bool,
    },
    /// Put a cursor, new or not, to a place.
    Set {
        /// The log's directory.
        log: PathBuf,
        /// Its name.
        name: String,
        /// oldest, end, a position, or a time: RFC 3339, or so long ago, as in 5m.
        place: String,
    },
    /// Remove a cursor.
    Rm {
        /// The log's directory.
        log: PathBuf,
        /// Its name.
        name: String,
    },
}
