//! Layout: what the bytes of a file mean. `docs/format.md` says the same in prose and with rulers.
//!
//! A ring (a mapped file of plain bytes: see [`mapped`]):
//!
//! ```text
//!  page 0      page 1      ..                ..                 data_offset
//! +-----------+-----------+-----------------+------------------+---------------------------+
//! | header    | live      | producer slots  | consumer slots   | data: capacity bytes      |
//! +-----------+-----------+-----------------+------------------+---------------------------+
//!  once, before  atomics    128 bytes each    128 bytes each     frames, 16-byte aligned
//!  publication
//! ```
//!
//! (I1) only this folder knows an offset; (I2) sizes are computed in checked arithmetic, in [`geometry`], and nowhere else.
//! Pure: no I/O, no loads, no stores.

#[cfg(not(any(loom, shuttle)))]
pub(crate) mod checksum;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod cursor;
pub(crate) mod frame;
pub(crate) mod geometry;
pub(crate) mod header;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod manifest;
pub(crate) mod mapped;
#[cfg(not(any(loom, shuttle)))]
#[allow(dead_code, reason = "notices are for the recorder and for readers")]
pub(crate) mod note;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod segment;
pub(crate) mod slots;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod table;

#[cfg(not(all(target_os = "linux", target_endian = "little", target_pointer_width = "64")))]
compile_error!(
    "shm-ring's files are little-endian and its locks and futexes are Linux's: a 64-bit little-endian Linux is needed"
);
