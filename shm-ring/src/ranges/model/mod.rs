//! Ranges, as the model checkers run them: the tables' own files over heap memory, and a medium that loses what was not synced.
//! See `docs/models.md`.
//!
//! (I1) no file of the protocol is repeated here: what a model runs is what users run.

#[path = "../allocator.rs"]
pub(crate) mod allocator;
#[path = "../bits.rs"]
pub(crate) mod bits;
#[path = "../unit.rs"]
pub(crate) mod unit;

#[cfg(test)]
mod dying;
#[cfg(test)]
mod heap;
#[cfg(test)]
mod sharing;
