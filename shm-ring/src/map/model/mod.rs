//! Map, as the model checkers see it: the same names as in `map/`, over heap memory and a modelled kernel.
//!
//! | file     | stands for |
//! |----------|------------|
//! | region   | the mapping: slots and words on the heap |
//! | lock     | the kernel's byte locks: one word, all of a process's bytes are given back at once when it dies |
//! | futex    | the kernel's queues: the word is compared under the queue's lock, and no sleep has a bound |
//! | clock    | nothing: no decision of the model may depend on time |
//!
//! `map/budget.rs` is the file itself: it has one word and asks nothing of the kernel.
//!
//! (I1) whatever the kernel does for a process is one step; (I2) nothing here knows what a frame means.

#[path = "../budget.rs"]
pub(crate) mod budget;
#[cfg(test)]
mod budgeting;
pub(crate) mod clock;
pub(crate) mod futex;
pub(crate) mod lock;
pub(crate) mod region;
