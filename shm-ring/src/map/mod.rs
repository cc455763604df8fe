//! Map: where the bytes live. Every system call and every raw pointer of the library is in this folder.
//!
//! | file     | what it owns |
//! |----------|--------------|
//! | advice   | reading ahead, and letting go of pages |
//! | budget   | how much of the rest a process allows itself |
//! | disk     | a directory of files, as a log has it |
//! | file     | creating, checking and opening files |
//! | holes    | parts of a file that have no place on the medium |
//! | medium   | the door through which a log reaches files; the crash tests put another floor behind it |
//! | memfd    | the same for anonymous rings |
//! | mirror   | the address range with the data mapped twice |
//! | kind     | what a file is, by how it begins |
//! | prefetch | what a processor is about to read |
//! | readonly | a part of a file that is only read |
//! | network  | file systems that other machines may have a share in |
//! | reserve  | a descriptor and a map for when there are none left |
//! | region   | typed views into it: live page, slots, frames |
//! | growable | the address range of a mapped file, which grows in place |
//! | seal     | the words that say that a mapped file is finished |
//! | limits   | what the system gives this process |
//! | lock     | one byte per slot: who is alive |
//! | futex    | sleeping and waking across processes |
//! | fork     | which side of a fork a handle belongs to |
//! | clock    | time |
//! | guard    | what SIGBUS does, with the feature `guard` |
//!
//! (I1) no other folder names a raw pointer that it did not get from here; (I2) nothing here knows what a frame means.

#[cfg(not(any(loom, shuttle)))]
pub(crate) mod advice;
pub(crate) mod budget;
pub(crate) mod clock;
#[cfg(not(any(loom, shuttle)))]
#[allow(dead_code, reason = "readers lock a segment's file")]
pub(crate) mod disk;
pub(crate) mod file;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod growable;
#[cfg(feature = "guard")]
pub(crate) mod guard;
pub(crate) mod holes;
mod kind;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod limits;
pub(crate) mod lock;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod medium;
pub(crate) mod memfd;
pub(crate) mod mirror;
pub(crate) mod network;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod prefetch;
pub(crate) mod readonly;
pub(crate) mod region;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod reserve;
pub(crate) mod seal;
