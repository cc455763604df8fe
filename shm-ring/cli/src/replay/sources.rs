//! Sources: opens what the command line names.
//!
//! | path | opened as |
//! |------|-----------|
//! | a log's directory | the log |
//! | any other directory | what is in it, by name; with `--rows` all files |
//! | a file | by what it is: ring, segment, table |
//! | a file that is not called as one of these, with `--rows` | rows |

use super::account::Account;
use crate::args::Opening;
use crate::failure::{Code, Failure};
use crate::logs;
use shm_ring::replay::{MapPool, Merge, PoolOptions, PoolSource};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Opens all that can be; what can't be is told to the account.
pub(crate) fn open(
    paths: &[PathBuf],
    opening: &Opening,
    follow: Option<Duration>,
    account: &mut Account,
) -> Result<Merge<PoolSource>, Failure> {
    let pool = pool(opening, follow)?;
    let mut merge = Merge::new();
    let found: Vec<_> = paths.iter().map(|path| (path, expand(path, opening))).collect();
    pool.expect(found.iter().flat_map(|(_, found)| found.iter().flatten()));
    for (path, found) in found {
        match found {
            Ok(found) if found.is_empty() => account.fail(&nothing_in(path)),
            Ok(found) => {
                for path in &found {
                    match open_one(&pool, path, opening) {
                        Ok(source) => drop(merge.add(source)),
                        Err(failure) => account.fail(&failure),
                    }
                }
            }
            Err(failure) => account.fail(&failure),
        }
    }
    Ok(merge)
}

/// Opens a log that is gone on with in its ring.
pub(crate) fn open_with_ring(
    paths: &[PathBuf],
    ring: &Path,
    opening: &Opening,
) -> Result<Merge<PoolSource>, Failure> {
    let [log] = paths else {
        return Err(Failure::new(
            Code::Usage,
            "--ring is for one log, the one that this ring is recorded into",
        ));
    };
    if !logs::is_log(log) {
        return Err(Failure::new(Code::Usage, format!("{log:?}: no log: --ring goes on at the end of one")));
    }
    let mut merge = Merge::new();
    merge.add(pool(opening, None)?.open_with_ring(log, ring)?);
    Ok(merge)
}

fn pool(opening: &Opening, follow: Option<Duration>) -> Result<MapPool, Failure> {
    let mut options = PoolOptions::new().order(opening.order);
    if let Some(bytes) = opening.mem {
        options = options.memory_bytes(bytes);
    }
    if let Some(lateness) = follow {
        options = options.follow(lateness);
    }
    Ok(options.build()?)
}

fn open_one(pool: &MapPool, path: &Path, opening: &Opening) -> Result<PoolSource, Failure> {
    let opened = match opening.rows {
        Some(layout) if !path.is_dir() && !says_what_it_is(path) => pool.open_rows(path, layout),
        _ => pool.open(path),
    };
    opened.map_err(|error| {
        let is_named = error.path().is_some();
        let failure = Failure::from(error);
        if is_named { failure } else { Failure::new(failure.code, format!("{path:?}: {}", failure.message)) }
    })
}

/// Names as `MapPool::find` looks for them.
fn says_what_it_is(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("ring" | "seg" | "arrow" | "feather"))
}

/// What a path stands for.
fn expand(path: &Path, opening: &Opening) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() || logs::is_log(path) {
        return Ok(vec![path.into()]);
    }
    if opening.rows.is_none() {
        return Ok(MapPool::find(path)?);
    }
    let failed = |error: std::io::Error| Failure::new(Code::Runtime, format!("list {path:?}: {error}"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn nothing_in(path: &Path) -> Failure {
    Failure::new(Code::NotFound, format!("{path:?}: a directory without a ring, a log, a segment or a table"))
}
