//! Log, raw: the records of a log's files, read by the format alone, without the library and without checksums.
//!
//! Segments in the order of their names, each from its base to its end; a segment that is prepared has none.

use std::fs;
use std::path::Path;

const LIVE: usize = 4096;

/// Position and payload of every record.
pub(crate) fn records(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut found = vec![];
    let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let is_segment =
        |name: &str| name.len() == 24 && name.as_bytes()[0].is_ascii_digit() && name.ends_with(".seg");
    for name in names.iter().filter_map(|name| name.to_str()).filter(|name| is_segment(name)) {
        // A helper may be retiring it, or a spare that is used again.
        let Ok(bytes) = fs::read(path.join(name)) else { continue };
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let (mut end, state, base) = (word(LIVE), word(LIVE + 256), word(LIVE + 264));
        match &state.to_le_bytes() {
            b"ACTIVE\0\0" => {}
            b"SEALED\0\0" => end = word(LIVE + 280),
            _ => continue,
        }
        let data_offset = usize::try_from(word(80)).unwrap();
        let mut at = base;
        while at < end {
            let offset = data_offset + usize::try_from(at - base).unwrap();
            let head = word(offset);
            assert_eq!(
                (head >> 48, head >> 32 & 0xf),
                ((at / 16) & 0xffff, 2),
                "no record at {at} in {name}"
            );
            let length = usize::try_from(head & 0xffff_ffff).unwrap();
            found.push((at, bytes[offset + 32..offset + 32 + length].to_vec()));
            at += 32 + (length as u64).next_multiple_of(16);
        }
    }
    found
}
