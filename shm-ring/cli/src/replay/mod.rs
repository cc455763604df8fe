//! Replay: many sources in one order: shown, replayed, or put into one log.
//!
//! ```text
//!   SRC... --> sources --> merge ----> merged --> tail's loop --> show --> stdout
//!                |           |
//!                |           +-------> play: each when it is due --> show --> stdout
//!                |           |           ^            +--> into --> ring
//!                |           |          keys
//!                |           +-------> compact --> log
//!                +--> account: what failed, what is missing
//! ```
//!
//! | file | what |
//! |------|------|
//! | sources | opens what the command line names |
//! | account | what could not be read and what is missing: told, and remembered for the exit code |
//! | merged | a merge as something that `tail` reads |
//! | merge, play, compact | a command each |
//! | keys, terminal | steering on a terminal, which is always left as it was |
//! | into | records into a ring |
//!
//! (I1) one source's failure is its own: the others go on, and the exit code remembers it.

mod account;
mod compact;
mod into;
mod keys;
mod merge;
mod merged;
mod play;
mod sources;
mod terminal;

pub(crate) use compact::run as compact;
pub(crate) use merge::run as merge;
pub(crate) use merged::MergedSource;
pub(crate) use play::run as replay;
