//! Input: blocks of bytes, as read(2) returns them, into lines or length-prefixed records.
//!
//! ```text
//!   0        start         scanned        end           capacity
//!   +----------+--------------+------------+---------------+
//!   | done     | no newline   | to look at | room for a    |
//!   |          | up to here   |            | read          |
//!   +----------+--------------+------------+---------------+
//! ```
//!
//! (I1) every byte but the newlines comes out exactly once, in order; (I2) what is complete comes out before anything more is read;
//! (I3) memory is bounded by the longest piece and one block.

use memchr::memchr;
use std::io::{self, ErrorKind, Read};

/// Room for a read, at least: what a pipe holds.
const BLOCK_BYTES: usize = 64 * 1024;
/// How far a cut moves to spare a character.
const CHARACTER_BYTES_MAX: usize = 4;

/// A line, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Without its newline.
    pub(crate) bytes: &'a [u8],
    /// Whether its end is missing.
    pub(crate) partial: bool,
}

/// What was read and not yet handed out.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Reads once; how many bytes came.
    fn read(&mut self, source: &mut impl Read) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.bytes.len() - self.end < BLOCK_BYTES && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() - self.end < BLOCK_BYTES {
            self.bytes.resize((self.bytes.len() * 2).max(4 * BLOCK_BYTES), 0);
        }
        loop {
            match source.read(&mut self.bytes[self.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(n) => {
                    self.end += n;
                    return Ok(n);
                }
            }
        }
    }

    fn pending(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn take(&mut self, n: usize) -> &[u8] {
        let from = self.start;
        self.start += n;
        &self.bytes[from..from + n]
    }
}

/// Lines, cut where they are longer than `piece_max`.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: Buffer,
    /// Pending bytes that have no newline.
    scanned: usize,
    piece_max: usize,
}

impl Lines {
    /// Pieces have `piece_max` bytes at most.
    pub(crate) fn new(piece_max: usize) -> Self {
        Self { buffer: Buffer::default(), scanned: 0, piece_max: piece_max.max(1) }
    }

    /// Reads once; how many bytes came, 0 at the end. To be called when [`next`](Self::next) has nothing more.
    pub(crate) fn read(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.buffer.read(source)
    }

    /// The bytes that the last [`read`](Self::read) of so many brought.
    pub(crate) fn last_read(&self, n: usize) -> &[u8] {
        &self.buffer.bytes[self.buffer.end - n..self.buffer.end]
    }

    /// The next complete line, or piece of one that is too long.
    pub(crate) fn next(&mut self) -> Option<Line<'_>> {
        let pending = self.buffer.pending();
        let newline = memchr(b'\n', &pending[self.scanned..]).map(|at| self.scanned + at);
        let known = newline.unwrap_or(pending.len());
        if known > self.piece_max {
            let n = cut(pending, self.piece_max);
            self.scanned = known - n;
            return Some(Line { bytes: self.buffer.take(n), partial: true });
        }
        let Some(n) = newline else {
            self.scanned = known;
            return None;
        };
        self.scanned = 0;
        let with_end = self.buffer.take(n + 1);
        Some(Line { bytes: &with_end[..n], partial: false })
    }

    /// What is left at the end of the input: a line without its end.
    pub(crate) fn rest(&mut self) -> Option<Line<'_>> {
        let n = self.buffer.pending().len();
        self.scanned = 0;
        (n > 0).then(|| Line { bytes: self.buffer.take(n), partial: true })
    }
}

/// Where to cut `bytes`, which are longer than `max`: there, or a little before, so that a character stays whole.
fn cut(bytes: &[u8], max: usize) -> usize {
    let lowest = max.saturating_sub(CHARACTER_BYTES_MAX - 1).max(1);
    let is_inside = |at: &usize| bytes[*at] & 0xc0 == 0x80;
    (lowest..=max).rev().find(|at| !is_inside(at)).unwrap_or(max)
}

/// Records behind their length, u32 little-endian.
#[derive(Debug)]
pub(crate) struct Framed {
    buffer: Buffer,
    record_max: usize,
}

/// A length that no record of this ring can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// It.
    pub(crate) len_bytes: usize,
}

impl Framed {
    /// Records have `record_max` bytes at most.
    pub(crate) fn new(record_max: usize) -> Self {
        Self { buffer: Buffer::default(), record_max }
    }

    /// Reads once; how many bytes came, 0 at the end. To be called when [`next`](Self::next) has nothing more.
    pub(crate) fn read(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.buffer.read(source)
    }

    /// The next complete record.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let Some((length, rest)) = self.buffer.pending().split_first_chunk::<4>() else { return Ok(None) };
        let len_bytes = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if len_bytes > self.record_max {
            return Err(TooLong { len_bytes });
        }
        if rest.len() < len_bytes {
            return Ok(None);
        }
        Ok(Some(&self.buffer.take(4 + len_bytes)[4..]))
    }

    /// Bytes of a record that the end of the input cut off.
    pub(crate) fn rest_bytes(&self) -> usize {
        self.buffer.pending().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out `bytes` in blocks of `block`.
    fn lines_of(bytes: &[u8], block: usize, piece_max: usize) -> Vec<(Vec<u8>, bool)> {
        let mut lines = Lines::new(piece_max);
        let mut out = Vec::new();
        for mut part in bytes.chunks(block) {
            while lines.read(&mut part).unwrap() > 0 {
                while let Some(line) = lines.next() {
                    out.push((line.bytes.to_vec(), line.partial));
                }
            }
        }
        if let Some(line) = lines.rest() {
            out.push((line.bytes.to_vec(), line.partial));
        }
        out
    }

    // Goal: how the input arrives changes nothing, and nothing is lost or doubled. Method: every block size, short and long pieces.
    #[test]
    fn lines_do_not_depend_on_blocks() {
        let text = b"one\n\ntwo\r\nthree is longer\n\x00\xff\nlast";
        for piece_max in [1, 2, 3, 5, 100] {
            let whole = lines_of(text, text.len(), piece_max);
            let mut back = Vec::new();
            for (bytes, partial) in &whole {
                assert!(bytes.len() <= piece_max);
                back.extend_from_slice(bytes);
                back.extend_from_slice(if *partial { b"" } else { b"\n" });
            }
            assert_eq!(back, text);
            for block in 1..text.len() {
                assert_eq!(
                    lines_of(text, block, piece_max),
                    whole,
                    "blocks of {block}, pieces of {piece_max}"
                );
            }
        }
    }

    // Goal: a line that just fits is whole; characters are not cut. Method: the limit, one more, and two-byte characters.
    #[test]
    fn cuts_are_where_they_must_be() {
        assert_eq!(lines_of(b"abcd\n", 9, 4), [(b"abcd".to_vec(), false)]);
        assert_eq!(lines_of(b"abcd", 9, 4), [(b"abcd".to_vec(), true)]);
        assert_eq!(lines_of(b"abcde\n", 9, 4), [(b"abcd".to_vec(), true), (b"e".to_vec(), false)]);
        let pieces = lines_of("ääää\n".as_bytes(), 9, 3);
        assert!(pieces.iter().all(|(bytes, _)| bytes == "ä".as_bytes()) && pieces.len() == 4);
        assert_eq!(lines_of(&[0x80; 9], 9, 4).len(), 3);
    }

    // Goal: framed records come out as they went in, whatever the blocks; a length that can't be is refused. Method: every block size.
    #[test]
    fn framed_records_survive() {
        let records: [&[u8]; 4] = [b"", b"a", b"with\nnewline", &[0; 70]];
        let mut bytes = Vec::new();
        for record in records {
            bytes.extend_from_slice(&u32::try_from(record.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(record);
        }
        for block in 1..bytes.len() {
            let mut framed = Framed::new(70);
            let mut out: Vec<Vec<u8>> = Vec::new();
            for mut part in bytes.chunks(block) {
                while framed.read(&mut part).unwrap() > 0 {
                    while let Some(record) = framed.next().unwrap() {
                        out.push(record.to_vec());
                    }
                }
            }
            assert_eq!((out, framed.rest_bytes()), (records.map(<[u8]>::to_vec).to_vec(), 0));
        }
        let mut framed = Framed::new(70);
        framed.read(&mut &[71u8, 0, 0, 0][..]).unwrap();
        assert_eq!(framed.next(), Err(TooLong { len_bytes: 71 }));
    }
}
