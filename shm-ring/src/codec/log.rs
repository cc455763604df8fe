//! Log: the head of a log record, in front of its message.
//!
//! ```text
//! byte 0         4         8        9        10       11        12              12 + tag
//!      +---------+---------+--------+--------+--------+---------+---------------+- - - - -+
//!      | pid u32 | tid u32 | stream | level  | flags  | tag len | tag (UTF-8)   | message |
//!      +---------+---------+--------+--------+--------+---------+---------------+- - - - -+
//! ```
//! stream: 0 none, 1 stdin, 2 stdout, 3 stderr. level: as syslog, 0 emergency to 7 debug; 255 none. flags: bit 0, the line had no end.
//!
//! (I1) decoding takes any bytes; (I2) a tag is cut at 255 bytes, at a character's edge.

/// The frame kind of records that begin with this head.
pub const LOG_KIND: u8 = 1;
/// The level of a record that has none.
pub const LEVEL_NONE: u8 = 255;
const HEAD_BYTES: usize = 12;
const PARTIAL: u8 = 1;

/// Where a line came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stream {
    /// Not from a stream.
    #[default]
    None,
    /// A tool's standard input.
    Stdin,
    /// A command's standard output.
    Stdout,
    /// A command's standard error.
    Stderr,
}

/// One log record, as it lies in a payload of kind [`LOG_KIND`].
///
/// # Examples
///
/// ```
/// use shm_ring::{LogRecord, Stream};
/// let record = LogRecord { pid: 7, tid: 7, stream: Stream::Stderr, level: 3, partial: false, tag: "db", message: b"disk full" };
/// let mut payload = vec![0; record.encoded_len()];
/// record.encode(&mut payload);
/// assert_eq!(LogRecord::decode(&payload), Some(record));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// The process that said it.
    pub pid: u32,
    /// The thread; the pid where it is not known.
    pub tid: u32,
    /// Where it came from.
    pub stream: Stream,
    /// As syslog: 0 emergency, 3 error, 4 warning, 6 info, 7 debug; [`LEVEL_NONE`].
    pub level: u8,
    /// Whether the line was cut: it had no end, or was too long.
    pub partial: bool,
    /// A short name for the source; at most 255 bytes are kept.
    pub tag: &'a str,
    /// What was said.
    pub message: &'a [u8],
}

impl<'a> LogRecord<'a> {
    /// Bytes that [`encode`](Self::encode) writes.
    pub fn encoded_len(&self) -> usize {
        HEAD_BYTES + kept(self.tag).len() + self.message.len()
    }

    /// Writes the record over the whole of `payload`.
    ///
    /// # Panics
    ///
    /// When `payload` does not have [`encoded_len`](Self::encoded_len) bytes.
    pub fn encode(&self, payload: &mut [u8]) {
        assert_eq!(payload.len(), self.encoded_len(), "a log record needs a payload of its encoded_len");
        let tag = kept(self.tag);
        let (head, rest) = payload.split_at_mut(HEAD_BYTES);
        head[0..4].copy_from_slice(&self.pid.to_le_bytes());
        head[4..8].copy_from_slice(&self.tid.to_le_bytes());
        head[8] = match self.stream {
            Stream::None => 0,
            Stream::Stdin => 1,
            Stream::Stdout => 2,
            Stream::Stderr => 3,
        };
        head[9] = self.level;
        head[10] = if self.partial { PARTIAL } else { 0 };
        head[11] = u8::try_from(tag.len()).expect("kept at most 255 bytes");
        let (in_tag, in_message) = rest.split_at_mut(tag.len());
        in_tag.copy_from_slice(tag.as_bytes());
        in_message.copy_from_slice(self.message);
    }

    /// The record in `payload`; `None` when that is too short or its tag is not UTF-8. Streams of later versions read as none.
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let (head, rest) = payload.split_at_checked(HEAD_BYTES)?;
        let (tag, message) = rest.split_at_checked(head[11].into())?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let stream = match head[8] {
            1 => Stream::Stdin,
            2 => Stream::Stdout,
            3 => Stream::Stderr,
            _ => Stream::None,
        };
        Some(Self {
            pid: word(0),
            tid: word(4),
            stream,
            level: head[9],
            partial: head[10] & PARTIAL != 0,
            tag: std::str::from_utf8(tag).ok()?,
            message,
        })
    }
}

fn kept(tag: &str) -> &str {
    let mut end = tag.len().min(255);
    while !tag.is_char_boundary(end) {
        end -= 1;
    }
    &tag[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Goal: records survive; any bytes decode to something or nothing. Method: random records, random bytes.
        #[test]
        fn log_records_survive(pid in any::<u32>(), tid in any::<u32>(), level in any::<u8>(), partial in any::<bool>(), tag in "[a-zß-ü]{0,200}", message in proptest::collection::vec(any::<u8>(), 0..300)) {
            let record = LogRecord { pid, tid, stream: Stream::Stdout, level, partial, tag: &tag, message: &message };
            let mut payload = vec![0; record.encoded_len()];
            record.encode(&mut payload);
            let back = LogRecord::decode(&payload).unwrap();
            prop_assert!(tag.starts_with(back.tag) && tag.len() - back.tag.len() < tag.len().max(256) - 250);
            prop_assert_eq!(LogRecord { tag: &tag, ..back }, record);
        }

        #[test]
        fn any_bytes_are_taken(payload in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = LogRecord::decode(&payload);
        }
    }
}
