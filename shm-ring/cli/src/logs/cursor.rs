//! Cursor: a log's names with a place, listed, set and removed.
//!
//! (I1) the JSON keys are a promise: more may come, none goes.

use crate::args::{Cursor, CursorAction};
use crate::failure::{Code, Failure};
use crate::output;
use crate::size::show_time;
use crate::tail::time_of;
use serde::Serialize;
use shm_ring::{Error, Log, LogReader, LogStart, LogStats};
use std::io::ErrorKind;
use std::path::Path;

/// How a cursor stands.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Place {
    pub(crate) name: String,
    /// `None`: its file is damaged, or of another log.
    pub(crate) position: Option<u64>,
    /// Between it and the end.
    pub(crate) lag_bytes: Option<u64>,
    /// Of that, removed already.
    pub(crate) gone_bytes: Option<u64>,
    pub(crate) saved_ns: Option<u64>,
}

/// Runs the command.
pub(crate) fn run(args: &Cursor) -> Result<(), Failure> {
    match &args.action {
        CursorAction::List { log, json } => {
            let places = places(&Log::inspect(log)?);
            let text: String =
                if *json { places.iter().map(crate::doctor::json).collect() } else { table(&places) };
            output::print(text.as_bytes())
        }
        CursorAction::Set { log, name, place } => {
            let position = position_of(log, place)?;
            Ok(Log::set_cursor(log, name, position)?)
        }
        CursorAction::Rm { log, name } => match Log::remove_cursor(log, name) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Err(Failure::new(Code::NotFound, format!("{log:?} has no cursor {name:?}")))
            }
            removed => Ok(removed?),
        },
    }
}

/// All of a log's.
pub(crate) fn places(stats: &LogStats) -> Vec<Place> {
    let place = |cursor: &shm_ring::CursorStats| {
        let position = cursor.position;
        Place {
            name: cursor.name.clone(),
            position,
            lag_bytes: position.map(|position| stats.end_position.saturating_sub(position)),
            gone_bytes: position.map(|position| stats.first_position.saturating_sub(position)),
            saved_ns: cursor.saved_ns,
        }
    };
    stats.cursors.iter().map(place).collect()
}

/// For people.
pub(super) fn table(places: &[Place]) -> String {
    let titles = ["CURSOR", "LAG", "GONE", "SAVED", "NAME"].map(String::from);
    let rows = places.iter().map(|place| {
        let numbers = [place.position, place.lag_bytes, place.gone_bytes];
        let [position, lag, gone] = numbers.map(|n| n.map_or("-".to_owned(), |n| n.to_string()));
        [position, lag, gone, place.saved_ns.map_or("-".to_owned(), show_time), place.name.clone()]
    });
    crate::stat::aligned(&std::iter::once(titles).chain(rows).collect::<Vec<_>>())
}

fn position_of(log: &Path, place: &str) -> Result<u64, Failure> {
    let start = match place {
        "oldest" => LogStart::Oldest,
        "end" => LogStart::Now,
        _ => match place.parse() {
            Ok(position) => LogStart::At(position),
            Err(_) => LogStart::Since(time_of("the place", place)?),
        },
    };
    let mut reader = LogReader::open(log)?;
    reader.seek(start).map_err(|error| Failure::log_read(log, error))?;
    Ok(reader.position())
}
