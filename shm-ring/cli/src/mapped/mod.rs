//! Mapped: append files and ranged files, open or sealed, which `stat`, `doctor` and `cat` know by how they begin.
//!
//! | file   | what |
//! |--------|------|
//! | look   | a file of either kind, and its numbers |
//! | stat   | the numbers, for people and programs |
//! | doctor | what they mean, and what to do |
//! | cat    | the bytes |
//! | seal, import | a command each |
//!
//! (I1) `stat`, `doctor` and `cat` change nothing, take nothing, and work on files of others.

mod cat;
mod doctor;
mod import;
mod look;
mod seal;
mod stat;

pub(crate) use cat::run as cat;
pub(crate) use doctor::examine;
pub(crate) use import::run as import;
pub(crate) use look::Look;
pub(crate) use seal::run as seal;
pub(crate) use stat::text as stat;
