//! Crash: the log on a medium that may lose everything that is not synced. See `docs/crashes.md`.
//!
//! ```text
//!   random use of a log --> production code --> medium.rs --> points.rs: remains, promises
//!        promises kept? <-- recovery, reader <-- images.rs <-----'  (and the same once more for crashes of recovery)
//! ```
//!
//! | file    | what it is |
//! |---------|------------|
//! | medium  | files in memory, which know what a crash may leave of them; faults; planted bugs |
//! | remains | that |
//! | images  | of that, what a crash does leave |
//! | points  | at which calls and stores |
//! | random  | numbers from a seed |
//! | world   | a log in random use, and the judgement of what crashes leave |
//! | subject | the production code that is used |
//! | promises | what it has said, and whether it was kept |
//! | walk    | a second reader, which forgives nothing |
//! | tests   | worlds in numbers, and worlds with a bug in them |
//! | toy     | a small protocol, to test the simulator itself |
//!
//! Tests only. Does not know what else can go wrong than a crash or a failed call.

mod images;
mod medium;
mod points;
mod promises;
mod random;
mod remains;
mod subject;
mod tests;
mod toy;
mod walk;
mod world;
