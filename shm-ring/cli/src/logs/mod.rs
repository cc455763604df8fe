//! Logs: directories of segments, which `tail`, `cat`, `stat`, `doctor` and `repair` know because they are directories.
//!
//! | file   | what |
//! |--------|------|
//! | source | records out of a log, for `tail` and `cat`, and its cursor |
//! | cat    | all records, or those of a time |
//! | stat   | the numbers, for people and programs |
//! | doctor | what they mean, and what to do |
//! | verify, repair, gc, cursor | a command each |
//!
//! (I1) all but `repair`, `gc` and cursors change nothing, take nothing, and work on logs of others.

mod cat;
mod cursor;
mod doctor;
mod gc;
mod repair;
mod source;
mod stat;
mod verify;

pub(crate) use cat::run as cat;
pub(crate) use cursor::run as cursor;
pub(crate) use doctor::examine;
pub(crate) use gc::run as gc;
pub(crate) use repair::run as repair;
pub(crate) use source::LogSource;
pub(crate) use stat::text as stat;
pub(crate) use verify::run as verify;

use std::path::Path;

/// Whether what is at that path, or would be, is for the commands of logs.
pub(crate) fn is_log(path: &Path) -> bool {
    path.is_dir()
}
