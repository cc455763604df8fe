//! Run: frames one behind the other in bytes that are at hand, mapped or copied.
//!
//! ```text
//!   bytes | DATA | DATA | MARK | DATA | ? ...
//!          `---- handed out ---------' ^ here it stops: the walk says what that is
//! ```
//!
//! (I1) what is handed out has been compared with its checksum, as [`SegmentView::frame`](super::view::SegmentView::frame) does; (I2) what
//! is not a record that checks is left where it is, but for MARKs, which nobody wants here; (I3) no system call, no allocation.
//! Decides nothing about what it stops at.

use super::view::Framed;
use crate::layout::segment::{Covered, Key, LOG_PAYLOAD_OFFSET, LogHead, LogState};
use crate::map::prefetch;

/// Where frames are, and how far they have been read.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    key: Key,
    /// Of the first byte.
    base: u64,
    bytes: &'a [u8],
    /// The next frame, from the first byte.
    at: usize,
}

/// A record, and where its payload begins, from the first byte of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) framed: Framed,
    pub(crate) payload_at: usize,
}

/// Why a run does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// All has been read.
    End,
    /// A frame that is no record, and checks.
    Notice,
    /// A frame that does not check, or is not all there.
    Unsound,
}

impl<'a> Run<'a> {
    /// The frames of `bytes`, which begin at the position `base`, from `position` on.
    #[inline]
    pub(crate) fn new(key: Key, base: u64, bytes: &'a [u8], position: u64) -> Self {
        let at = usize::try_from(position.saturating_sub(base)).map_or(bytes.len(), |at| at.min(bytes.len()));
        Self { key, base, bytes, at }
    }

    /// All bytes of the run.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where the next frame is.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    /// The next record.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Found, Stop> {
        loop {
            let (framed, payload) = self.frame()?;
            let payload_at = self.at + PAYLOAD;
            if framed.head.state == LogState::Gap {
                return Err(Stop::Notice);
            }
            // In bounds: the payload is, and a pad that is not is no frame's end but the end of the bytes.
            self.at = (payload_at + payload.len()).next_multiple_of(16).min(self.bytes.len());
            if framed.head.state == LogState::Data {
                return Ok(Found { framed, payload_at });
            }
        }
    }

    /// The time of the next frame, and whether it is a record, without a look at its payload; goes on behind it. `None`: no frame begins
    /// there, or the bytes end.
    #[inline(always)]
    pub(super) fn skim(&mut self) -> Option<(LogState, u64)> {
        let [w0, w1, timestamp_ns, _] = self.words()?;
        let position = self.position();
        let head = LogHead::decode(w0, position)?;
        // Where the next frame is, this one says; that it is not far, mostly.
        prefetch::bytes(self.bytes.get(self.at + AHEAD_BYTES..).unwrap_or_default());
        if !self.key.is_stamped(position, w1) {
            return None;
        }
        let span = usize::try_from(head.span_bytes()).ok()?;
        if span > self.bytes.len() - self.at {
            return None;
        }
        self.at += span;
        Some((head.state, timestamp_ns))
    }

    #[inline(always)]
    fn frame(&self) -> Result<(Framed, &'a [u8]), Stop> {
        if self.at == self.bytes.len() {
            return Err(Stop::End);
        }
        let [w0, w1, timestamp_ns, tags] = self.words().ok_or(Stop::Unsound)?;
        let position = self.position();
        let head = LogHead::decode(w0, position).ok_or(Stop::Unsound)?;
        let behind = &self.bytes[self.at + PAYLOAD..];
        let room = (self.bytes.len() - self.at) as u64;
        if head.span_bytes() > room {
            return Err(Stop::Unsound);
        }
        let payload = behind.get(..head.len_bytes as usize).ok_or(Stop::Unsound)?;
        let covered = Covered { position, w0, timestamp_ns, tags };
        if !self.key.is_sealed(w1, &covered, payload) {
            return Err(Stop::Unsound);
        }
        Ok((Framed { position, head, timestamp_ns, tags }, payload))
    }

    /// The four words of the frame there.
    #[inline(always)]
    fn words(&self) -> Option<[u64; 4]> {
        let head: &[u8; PAYLOAD] = self.bytes[self.at..].first_chunk()?;
        let word = |at: usize| {
            let bytes: [u8; 8] = head[at * 8..at * 8 + 8].try_into().expect("8 bytes of 32");
            u64::from_ne_bytes(bytes)
        };
        Some([word(0), word(1), word(2), word(3)])
    }
}

/// How far in front of a frame that is skimmed the processor is to look.
const AHEAD_BYTES: usize = 1024;
const PAYLOAD: usize = 32;
const _: () = assert!(PAYLOAD as u64 == LOG_PAYLOAD_OFFSET);
