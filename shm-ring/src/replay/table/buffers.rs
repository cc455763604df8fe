//! Buffers: bytes of a batch's buffers: in place, copied, or unpacked.
//!
//! ```text
//!   mapped          slice of the map; misaligned: a copy
//!   by system calls the bytes of the rows that are wanted, no more
//!   compressed      | length before, i64 | packed bytes |  -> all of it; a length of -1: | as it is |
//! ```
//!
//! (I1) what is handed out begins at an address that its values may lie at; (I2) unpacking allocates no more than packed bytes can come to; (I3)
//! copies of a batch's buffers are no longer than its body, or 255 times that if it is packed, and a caller may want less; (I4) no memory is
//! an error.

use super::message::{BatchHead, Codec};
use super::reader::read_error;
use crate::error::Error;
use crate::snapshot::{ReadAt, ReadError};
use bytes::Bytes;
use std::io;
use std::ops::Range;
use std::path::Path;

/// LZ4 packs 255 bytes into one at best.
const LZ4_RATIO_MAX: u64 = 255;

/// Reads the buffers of one batch.
pub(super) struct Buffers<'a> {
    bytes: &'a dyn ReadAt,
    head: &'a BatchHead,
    path: &'a Path,
    /// Whether a slice of `bytes` is the file's own pages.
    is_mapped: bool,
    /// Bytes that are not the file's own pages.
    pub(super) copied_bytes: u64,
    /// How many there may be of them.
    most_bytes: u64,
    /// Whether there would have been more.
    pub(super) is_over: bool,
}

/// Memory as aligned as any value has to be.
struct Aligned {
    words: Vec<u128>,
    len: usize,
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }
}

impl Aligned {
    fn zeroed(len: usize) -> Result<Self, ReadError> {
        let mut words = vec![];
        let n = len.div_ceil(size_of::<u128>());
        words.try_reserve_exact(n).map_err(|_| ReadError::Io { offset: 0, errno: libc::ENOMEM })?;
        words.resize(n, 0);
        Ok(Self { words, len })
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}

impl<'a> Buffers<'a> {
    /// Of a batch that can be read. Where buffers are copied, they must not be the same bytes many times over: such a file could ask for any
    /// amount of memory.
    pub(super) fn new(
        bytes: &'a dyn ReadAt,
        head: &'a BatchHead,
        path: &'a Path,
        is_mapped: bool,
    ) -> Result<Self, Error> {
        refuse(head.codec, path)?;
        let (all, body) = (head.buffers_bytes(), head.body.end - head.body.start);
        // Twice: what was packed may have to be moved.
        let most_bytes = if head.codec.is_some() { body.saturating_mul(2 * LZ4_RATIO_MAX) } else { body };
        let this = Self { bytes, head, path, is_mapped, copied_bytes: 0, most_bytes, is_over: false };
        if !this.is_in_place() && all > body {
            let (expected, found) = (format!("at most the {body} of the body"), all.to_string());
            return Err(Error::Corrupt { path: path.into(), what: "bytes of all buffers", expected, found });
        }
        Ok(this)
    }

    /// As many copied bytes at most; more are an error, and `is_over`.
    pub(super) fn at_most(self, most_bytes: u64) -> Self {
        Self { most_bytes: self.most_bytes.min(most_bytes), ..self }
    }

    /// Counts bytes that are going to be copied.
    fn charge(&mut self, len_bytes: usize) -> Result<(), Error> {
        let sum = self.copied_bytes.saturating_add(len_bytes as u64);
        if sum > self.most_bytes {
            self.is_over = true;
            let (expected, found) = (format!("at most {} to be copied", self.most_bytes), sum.to_string());
            return Err(Error::Corrupt {
                path: self.path.into(),
                what: "bytes of all buffers",
                expected,
                found,
            });
        }
        self.copied_bytes = sum;
        Ok(())
    }

    /// Whether all of a buffer costs no more than a part of it.
    pub(super) fn is_in_place(&self) -> bool {
        self.is_mapped && self.head.codec.is_none()
    }

    /// All of a buffer.
    pub(super) fn all(&mut self, at: usize, align: usize) -> Result<Bytes, Error> {
        let place = self.head.buffer(at, self.path)?;
        if self.head.codec.is_some() { self.unpack(place, align) } else { self.fetch(place, align) }
    }

    /// How long a buffer is; a packed one has to be unpacked to know.
    pub(super) fn part(&mut self, at: usize, part: Range<u64>, align: usize) -> Result<Bytes, Error> {
        let outside = |len| Error::Corrupt {
            path: self.path.into(),
            what: "length of a buffer",
            expected: format!("at least {}", part.end),
            found: format!("{len}"),
        };
        if self.head.codec.is_some() {
            let all = self.all(at, align)?;
            let range = || Some(usize::try_from(part.start).ok()?..usize::try_from(part.end).ok()?);
            return match range().filter(|range| range.start <= range.end && range.end <= all.len()) {
                Some(range) => self.aligned(all.slice(range), align),
                None => Err(outside(all.len() as u64)),
            };
        }
        let place = self.head.buffer(at, self.path)?;
        let len = place.end - place.start;
        if part.start > part.end || part.end > len {
            return Err(outside(len));
        }
        self.fetch(place.start + part.start..place.start + part.end, align)
    }

    /// Bytes of the file, where values of that alignment may lie.
    fn fetch(&mut self, place: Range<u64>, align: usize) -> Result<Bytes, Error> {
        let error = |error| read_error(self.path, error);
        let too_long = |_| error(ReadError::Io { offset: place.start, errno: libc::ENOMEM });
        let len = usize::try_from(place.end - place.start).map_err(too_long)?;
        if self.is_mapped {
            let bytes = self.bytes.read_at(place.start, len).map_err(error)?;
            return self.aligned(bytes, align);
        }
        self.charge(len)?;
        let mut copy = Aligned::zeroed(len).map_err(error)?;
        self.bytes.read_exact_at(place.start, copy.bytes()).map_err(error)?;
        Ok(Bytes::from_owner(copy))
    }

    fn aligned(&mut self, bytes: Bytes, align: usize) -> Result<Bytes, Error> {
        if bytes.as_ptr().addr() % align.max(1) == 0 || bytes.is_empty() {
            return Ok(bytes);
        }
        self.charge(bytes.len())?;
        let mut copy = Aligned::zeroed(bytes.len()).map_err(|error| read_error(self.path, error))?;
        copy.bytes().copy_from_slice(&bytes);
        Ok(Bytes::from_owner(copy))
    }

    /// A buffer as it was before it was packed.
    fn unpack(&mut self, place: Range<u64>, align: usize) -> Result<Bytes, Error> {
        let corrupt = |expected: String, found: String| Error::Corrupt {
            path: self.path.into(),
            what: "compressed buffer",
            expected,
            found,
        };
        if place.is_empty() {
            return Ok(Bytes::new());
        }
        let packed_bytes = place.end - place.start;
        let Some(packed_bytes) = packed_bytes.checked_sub(8) else {
            return Err(corrupt("at least 8 bytes".into(), packed_bytes.to_string()));
        };
        let error = |error| read_error(self.path, error);
        let mut length = [0; 8];
        self.bytes.read_exact_at(place.start, &mut length).map_err(error)?;
        let length = i64::from_le_bytes(length);
        let packed = place.start + 8..place.end;
        if length == -1 {
            return self.fetch(packed, align);
        }
        let most = packed_bytes.saturating_mul(LZ4_RATIO_MAX);
        let length = u64::try_from(length).ok().filter(|len| *len <= most);
        let length = length.and_then(|len| usize::try_from(len).ok());
        let Some(length) = length else {
            return Err(corrupt(format!("at most {most} bytes"), "more than that, or less than none".into()));
        };
        let len = usize::try_from(packed_bytes).map_err(|_| corrupt("a buffer".into(), "too much".into()))?;
        let packed = self.bytes.read_at(packed.start, len).map_err(error)?;
        self.charge(length)?;
        let unpacked = match self.head.codec {
            Some(Codec::Lz4) => lz4(&packed, length),
            Some(Codec::Zstd) | None => unreachable!("refused before a buffer is read"),
        };
        let unpacked = unpacked.map_err(|why| match why.kind() {
            io::ErrorKind::OutOfMemory => error(ReadError::Io { offset: place.start, errno: libc::ENOMEM }),
            _ => corrupt("a frame of LZ4".into(), why.to_string()),
        })?;
        self.aligned(unpacked.into(), align)
    }
}

/// What this build can't unpack.
fn refuse(codec: Option<Codec>, path: &Path) -> Result<(), Error> {
    let what = match codec {
        None => return Ok(()),
        Some(Codec::Lz4) if cfg!(feature = "arrow-lz4") => return Ok(()),
        Some(Codec::Lz4) => "a body that is compressed with LZ4",
        Some(Codec::Zstd) => "a body that is compressed with ZSTD",
    };
    let way = "write the table with `compression=\"uncompressed\"` (pyarrow, polars), which is also what can be read in place";
    let or = if codec == Some(Codec::Lz4) { "build with feature `arrow-lz4`, or " } else { "" };
    Err(Error::Unsupported { what, reason: format!("{path:?}: {or}{way}", path = path.as_os_str()) })
}

#[cfg(feature = "arrow-lz4")]
fn lz4(packed: &[u8], len_bytes: usize) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut frame = lz4_flex::frame::FrameDecoder::new(packed);
    let mut bytes = vec![];
    // One that says more than it has does not get the memory for it.
    for len in [len_bytes.min(packed.len().saturating_mul(16)), len_bytes] {
        let more = len - bytes.len();
        bytes.try_reserve_exact(more)?;
        if frame.by_ref().take(more as u64).read_to_end(&mut bytes)? < more {
            return Err(io::Error::other(format!("{} of {len_bytes} bytes", bytes.len())));
        }
    }
    match frame.read(&mut [0])? {
        0 => Ok(bytes),
        _ => Err(io::Error::other(format!("more than {len_bytes} bytes"))),
    }
}

#[cfg(not(feature = "arrow-lz4"))]
fn lz4(_: &[u8], _: usize) -> io::Result<Vec<u8>> {
    unreachable!("refused before a buffer is read")
}
