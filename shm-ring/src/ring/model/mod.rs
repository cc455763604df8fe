//! Ring, as the model checkers run it: the protocol's own files, and small worlds around them. See `docs/models.md`.
//!
//! ```text
//!   loom    every schedule up to a bound of preemptions, every stale value; a run of its own for every place of death
//!   shuttle random schedules and deaths; more producers, more records
//!             \                /
//!              world.rs, actors.rs: processes as threads, records that say who wrote them, what must hold at the end
//!                |
//!   frame/*, ring/{cursor, join, loss, reap, share, wait}.rs: the files themselves
//!                |
//!   map/model, sync/model.rs: heap memory, a kernel of one step a call, the checker's atomics
//! ```
//!
//! (I1) no file of the protocol is repeated here: what a model runs is what users run; (I2) a scenario is one function for both checkers.

#[path = "../cursor.rs"]
mod cursor;
#[path = "../join.rs"]
mod join;
#[path = "../loss.rs"]
mod loss;
#[path = "../reap.rs"]
mod reap;
#[path = "../share.rs"]
mod share;
#[path = "../wait.rs"]
pub(crate) mod wait;

#[cfg(test)]
mod actors;
#[cfg(test)]
mod alone;
#[cfg(test)]
mod claims;
#[cfg(test)]
mod grouping;
#[cfg(test)]
mod joining;
#[cfg(test)]
mod laps;
#[cfg(test)]
mod lossy;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod sleeping;
#[cfg(test)]
mod world;
