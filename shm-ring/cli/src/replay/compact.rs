//! Compact: many sources into one log, ordered by time.
//!
//! ```text
//!   DST.unfinished: append, append, ... --> close: on the medium --> read again, checked, counted --> renamed to DST, on the medium
//!        |failed, a signal: removed         |killed: it stays, and is refused next time
//! ```
//!
//! (I1) under its name the log is complete, or not there; (I2) nothing that was there is overwritten or removed.

use super::account::{self, Account};
use super::sources;
use crate::args::Compact;
use crate::failure::{Code, Failure};
use crate::output::{self, Messages};
use crate::progress::Progress;
use crate::size::show_count;
use crate::stop::Stop;
use crate::tail::{ALL_TIMES, time_of};
use shm_ring::replay::{LogWriter, Merge, PoolSource};
use shm_ring::{Appender, Log, LogOptions};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// After so many records, signals are looked for, and progress is told.
const LOOK_EVERY: u64 = 4096;

/// Runs the command.
pub(crate) fn run(args: &Compact, messages: Messages) -> Result<(), Failure> {
    let from = args.from.as_deref().map(|from| time_of("--from", from)).transpose()?;
    let to = args.to.as_deref().map(|to| time_of("--to", to)).transpose()?;
    let times = from.unwrap_or(ALL_TIMES.start)..to.unwrap_or(ALL_TIMES.end);
    let unfinished = unfinished_of(&args.log);
    refuse_what_is_there(&args.log, &unfinished)?;
    let stop = Stop::watch(|| std::process::exit(Code::Runtime.number().into()))?;
    let mut account = Account::new(messages);
    let mut merge = sources::open(&args.sources, &args.opening, None, &mut account)?.stop_on_error();
    account.finish()?;
    let mut options = LogOptions::new();
    if let Some(bytes) = args.segment {
        options = options.segment_bytes(bytes);
    }
    let log = options.create(&unfinished)?;
    let removing = Removing(Some(&unfinished));
    let progress = Progress::of_time(format!("{:?}", args.log), messages);
    let n_records = fill(&mut merge, log, times, &args.log, &stop, &progress)?;
    account.tell_missing(account::stats(merge.sources()));
    check(&unfinished, n_records, &progress)?;
    rename(&unfinished, &args.log)?;
    removing.keep();
    drop(progress);
    let (records, sources) = (
        show_count(n_records, "record", "records"),
        show_count(merge.sources().len() as u64, "source", "sources"),
    );
    output::print(format!("compacted {records} of {sources} into {}\n", args.log.display()).as_bytes())
}

/// All records of those times; how many they were. They are on the medium.
fn fill(
    merge: &mut Merge<PoolSource>,
    log: Appender,
    times: Range<u64>,
    path: &Path,
    stop: &Stop,
    progress: &Progress,
) -> Result<u64, Failure> {
    let mut writer = LogWriter::new(log);
    let mut n_records = 0;
    merge.seek(times.start).map_err(|error| Failure::of_source(&error))?;
    while let Some(event) = merge.next().map_err(|error| Failure::of_source(&error))? {
        if event.stamp.timestamp_ns >= times.end {
            break;
        }
        writer.push(&event).map_err(|error| Failure::write(path, error))?;
        n_records += 1;
        if n_records % LOOK_EVERY == 0 {
            if stop.is_asked() {
                return Err(Failure::new(
                    Code::Runtime,
                    format!("{path:?}: interrupted, and nothing was made"),
                ));
            }
            progress.say(format!("{path:?}: {}", show_count(n_records, "record", "records")));
        }
    }
    writer.into_log().close().map_err(|error| Failure::log(path, error))?;
    Ok(n_records)
}

/// Reads it all again.
fn check(log: &Path, n_records: u64, progress: &Progress) -> Result<(), Failure> {
    let report = Log::verify(log, |at| {
        let records = show_count(at.n_records, "record", "records");
        progress.say(format!("{log:?}: {records} read again"));
    })?;
    if report.n_records == n_records && report.is_clean() {
        return Ok(());
    }
    let what = format!("{} of {n_records} records were read again, and nothing was made", report.n_records);
    Err(Failure::new(Code::Corrupt, format!("{log:?}: {what}")))
}

fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed =
        |what: &str, error: std::io::Error| Failure::new(Code::Runtime, format!("{what} {to:?}: {error}"));
    // A directory replaces nothing but an empty directory.
    std::fs::rename(from, to).map_err(|error| failed("rename to", error))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(|error| failed("sync the name", error))
}

fn unfinished_of(log: &Path) -> PathBuf {
    // Without a slash at the end, which would make it a name inside.
    let mut name = log.components().as_path().as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

fn refuse_what_is_there(log: &Path, unfinished: &Path) -> Result<(), Failure> {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let what = match () {
        () if is_there(log) => format!("{log:?} exists, and nothing is overwritten"),
        () if is_there(unfinished) => {
            format!("{unfinished:?} exists: somebody is making {log:?}, or was killed; then remove it")
        }
        () => return Ok(()),
    };
    Err(Failure::new(Code::Runtime, what))
}

/// Removes what is not finished.
struct Removing<'a>(Option<&'a Path>);

impl Removing<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Removing<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            // What can't be removed is seen under its name.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}
