//! Cursor: a position of a log under a name, in a file of its own.
//!
//! ```text
//!  byte 0          8            12            16          32            40            48
//!       +----------+------------+-------------+-----------+-------------+-------------+
//!       | SHMLOGC\0| version u32| crc32c u32  | log uuid  | position u64| saved_ns u64|
//!       +----------+------------+-------------+-----------+-------------+-------------+
//! ```
//!
//! (I1) bytes that decode are ones that [`LogCursor::encode`] can have made; (I2) a name that is one makes a file name of a log's directory
//! that is no other file's.
//! Works on bytes; reads and writes no file.

use super::segment::is_log_boundary;

/// The first eight bytes of a cursor's file.
pub(crate) const MAGIC_CURSOR: [u8; 8] = *b"SHMLOGC\0";
/// Grows when a reader of the old layout would misread the new one.
pub(crate) const CURSOR_VERSION: u32 = 1;
/// Bytes of a cursor's file.
pub(crate) const CURSOR_BYTES: usize = 48;
/// What a cursor's file name begins with.
pub(crate) const CURSOR_PREFIX: &str = "cursor-";
/// Characters of the longest name.
pub(crate) const CURSOR_NAME_MAX: usize = 64;

/// What a cursor's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogCursor {
    /// The log that it is of.
    pub(crate) log_uuid: [u8; 16],
    /// Where reading goes on.
    pub(crate) position: u64,
    /// When it was saved, ns since the Unix epoch.
    pub(crate) saved_ns: u64,
}

impl LogCursor {
    /// All of the file.
    pub(crate) fn encode(&self) -> [u8; CURSOR_BYTES] {
        let mut out = [0; CURSOR_BYTES];
        out[..8].copy_from_slice(&MAGIC_CURSOR);
        out[8..12].copy_from_slice(&CURSOR_VERSION.to_le_bytes());
        out[16..32].copy_from_slice(&self.log_uuid);
        out[32..40].copy_from_slice(&self.position.to_le_bytes());
        out[40..].copy_from_slice(&self.saved_ns.to_le_bytes());
        let crc = checksum(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// What such bytes say; an error names what can't be.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; CURSOR_BYTES] = bytes.try_into().map_err(|_| "its length")?;
        if bytes[..8] != MAGIC_CURSOR {
            return Err("its first bytes");
        }
        if word(bytes, 8) & 0xffff_ffff != u64::from(CURSOR_VERSION) {
            return Err("its version");
        }
        if word(bytes, 8) >> 32 != u64::from(checksum(bytes)) {
            return Err("its checksum");
        }
        let log_uuid = *bytes[16..].first_chunk().expect("the file is longer");
        let (position, saved_ns) = (word(bytes, 32), word(bytes, 40));
        if !is_log_boundary(position) {
            return Err("its position");
        }
        Ok(Self { log_uuid, position, saved_ns })
    }
}

/// The file of the cursor of that name; `None`: it can't be one, which has 1 to 64 of letters, digits, `.`, `_` and `-`.
pub(crate) fn cursor_file(name: &str) -> Option<String> {
    let is_name = (1..=CURSOR_NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !name.ends_with(".tmp");
    is_name.then(|| format!("{CURSOR_PREFIX}{name}"))
}

/// The name of the cursor in that file, if it is one's.
pub(crate) fn cursor_name(file: &str) -> Option<&str> {
    let name = file.strip_prefix(CURSOR_PREFIX)?;
    cursor_file(name).map(|_| name)
}

fn checksum(bytes: &[u8; CURSOR_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

fn word(bytes: &[u8; CURSOR_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("callers know the layout"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: LogCursor = LogCursor { log_uuid: *b"0123456789abcdef", position: 4096, saved_ns: 7 };

    // Goal: what is saved is found, and no flipped bit and no cut goes unnoticed. Method: there and back; every bit; every length.
    #[test]
    fn a_cursor_survives_and_every_flipped_bit_is_noticed() {
        let bytes = SAMPLE.encode();
        assert_eq!(LogCursor::decode(&bytes), Ok(SAMPLE));
        for bit in 0..CURSOR_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(LogCursor::decode(&flipped).is_err(), "bit {bit}");
        }
        assert!((0..CURSOR_BYTES).all(|n| LogCursor::decode(&bytes[..n]).is_err()));
        assert_eq!(LogCursor::decode(&LogCursor { position: 8, ..SAMPLE }.encode()), Err("its position"));
    }

    // Goal: no name reaches another file. Method: good names and bad ones.
    #[test]
    fn names_stay_in_their_directory() {
        for name in ["a", "collector-2.old", "..", &"x".repeat(64)] {
            assert_eq!(cursor_name(&cursor_file(name).unwrap()), Some(name));
        }
        for name in ["", "a/b", "a b", "ä", "a.tmp", &"x".repeat(65), "../LOCK", "a\0"] {
            assert_eq!(cursor_file(name), None, "{name:?}");
        }
        assert_eq!(cursor_name("LOCK"), None);
    }
}
