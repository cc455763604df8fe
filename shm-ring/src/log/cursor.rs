//! Cursor: where somebody left off, under a name, on the medium.
//!
//! ```text
//!   save: cursor-NAME.PID-N.tmp --sync--> rename to cursor-NAME --> sync names
//! ```
//!
//! What a death leaves: the old cursor or the new one, and perhaps a `.tmp`, which the next appender removes.
//!
//! (I1) a cursor that was saved is on the medium before the call returns; (I2) who saves one that somebody else saves at the same moment
//! replaces it, or is replaced: never half of each; (I3) a cursor of another log is never taken for one of this.
//! Knows names and positions; whether a position is in the log is asked elsewhere.

use super::error::{Trouble, no_room, trouble};
use super::names::{self, Name};
use crate::layout::cursor::{CURSOR_BYTES, LogCursor, cursor_file, cursor_name};
use crate::map::medium::{Medium, MediumFile};
use crate::sync::{AtomicU64, Ordering};
use std::io;

/// How often an appender may remove what it takes for residue.
const N_TRIES: usize = 16;

/// Puts a cursor under its name on the medium.
pub(crate) fn save<M: Medium>(medium: &M, name: &str, cursor: &LogCursor) -> Result<(), Trouble> {
    static SAVES: AtomicU64 = AtomicU64::new(0);
    let file = file_of(name)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for _ in 0..N_TRIES {
        // ORDER none (Relaxed): only the number matters.
        let n = SAVES.fetch_add(1, Ordering::Relaxed);
        let temporary = names::temporary(&format!("{file}.{}-{n}", std::process::id()));
        match write(medium, &temporary, &file, cursor) {
            Ok(()) => return Ok(()),
            // An appender that was just opened took it for a death's residue; or a dead namesake left it.
            Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
                last = why;
            }
            Err(why) => {
                // Best effort: residue is removed by the next who opens the log.
                let _ = medium.remove(&temporary);
                return Err(no_room("write", &file, CURSOR_BYTES as u64, medium.free_bytes())(why));
            }
        }
    }
    Err(trouble("write", &file)(last))
}

fn write<M: Medium>(medium: &M, temporary: &str, file: &str, cursor: &LogCursor) -> io::Result<()> {
    let made = medium.create(temporary, 0)?;
    made.write_at(&cursor.encode(), 0)?;
    made.sync()?;
    medium.rename(temporary, file)?;
    medium.sync_names()
}

/// The cursor of that name.
pub(crate) fn load<M: Medium>(medium: &M, log_uuid: &[u8; 16], name: &str) -> Result<LogCursor, Trouble> {
    let name = file_of(name)?;
    let file = medium.open(&name, false).map_err(trouble("open", &name))?;
    // One more than there are, to see a longer file.
    let mut bytes = [0; CURSOR_BYTES + 1];
    let n = file.read_at(&mut bytes, 0).map_err(trouble("read", &name))?;
    let refused = |what, found: &str| Trouble::Corrupt {
        name: name.clone(),
        what,
        expected: "a cursor of this log: set it anew, or remove it".into(),
        found: found.into(),
    };
    let cursor = LogCursor::decode(&bytes[..n]).map_err(|what| refused(what, "something else"))?;
    if cursor.log_uuid != *log_uuid {
        return Err(refused("its log", "another one"));
    }
    Ok(cursor)
}

/// The names of all cursors, in their order.
pub(crate) fn list<M: Medium>(medium: &M) -> Result<Vec<String>, Trouble> {
    let names = medium.names().map_err(trouble("list", ""))?;
    let cursors = names.iter().filter(|name| Name::of(name) == Name::Cursor);
    let mut found: Vec<_> = cursors.filter_map(|name| cursor_name(name)).map(str::to_owned).collect();
    found.sort_unstable();
    Ok(found)
}

/// Removes the cursor of that name.
pub(crate) fn remove<M: Medium>(medium: &M, name: &str) -> Result<(), Trouble> {
    let file = file_of(name)?;
    medium.remove(&file).and_then(|()| medium.sync_names()).map_err(trouble("remove", &file))
}

/// Whether it can be a cursor's name.
pub(crate) fn is_name(name: &str) -> bool {
    cursor_file(name).is_some()
}

fn file_of(name: &str) -> Result<String, Trouble> {
    cursor_file(name).ok_or_else(|| Trouble::Corrupt {
        name: String::new(),
        what: "the name of a cursor",
        expected: "1 to 64 of letters, digits, '.', '_' and '-', and no '.tmp' at its end".into(),
        found: format!("{name:?}"),
    })
}
