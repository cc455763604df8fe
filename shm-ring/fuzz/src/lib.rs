//! Fuzz: hostile bytes in a ring file, and what the library promises about them.
//!
//! ```text
//!   fuzzer's bytes -> Script -> Image: a sound ring with forged words -> one file, used again -> Ring, Observer
//!                        |                                                                          |
//!                        +-----------------------------> what to call --------------------> Handles: calls and checks
//! ```
//!
//! (I1) an error or right data: no panic, no endless call, no allocation beyond the file's size; (I2) what is handed out lies at a position
//! that can be, and is at most a quarter of the capacity; (I3) a poisoned reader gives the same error for ever.

pub mod handles;
pub mod image;
pub mod memory;
pub mod scratch;
pub mod script;
