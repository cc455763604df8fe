//! Walk: all records of a log, read as `docs/format.md` says and by nothing of the log's own code but the layouts.
//!
//! The second opinion: what production's reader says is held against it.
//!
//! (I1) every byte of a frame is compared with its checksum; (I2) anything that can't be is an error: behind a recovery nothing may be.
//! Forgives nothing; looks for nothing.

use super::medium::Simulated;
use crate::layout::header::HEADER_BYTES;
use crate::layout::manifest::{Entry, State};
use crate::layout::mapped::SEALED;
use crate::layout::segment::{
    ACTIVE, Covered, Key, LOG_PAYLOAD_OFFSET, LogHead, LogState, PREPARED, SegmentHeader, SegmentLive,
};
use crate::map::medium::{Medium, MediumFile, MediumMap};
use crate::sync::Ordering;
use std::mem::offset_of;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) position: u64,
    /// Where the next one can be at the earliest.
    pub(super) behind: u64,
    pub(super) timestamp_ns: u64,
    pub(super) payload: Vec<u8>,
}

/// The manifest that CURRENT names.
pub(super) fn manifest(medium: &Simulated) -> Result<State, String> {
    let current = String::from_utf8(contents(medium, "CURRENT")?).map_err(|_| "CURRENT is no text")?;
    let name = current.trim_end();
    let number = name.strip_prefix("MANIFEST-").and_then(|number| number.parse().ok());
    let number = number.ok_or_else(|| format!("CURRENT says {current:?}"))?;
    let reading = State::read(number, &contents(medium, name)?);
    Ok(reading.ok_or_else(|| format!("{name} does not begin with a snapshot"))?.state)
}

/// All records, in their order.
pub(super) fn records(medium: &Simulated) -> Result<Vec<Found>, String> {
    let mut found: Vec<Found> = vec![];
    let mut at = 0;
    for entry in &manifest(medium)?.entries {
        at = segment(medium, entry, at, &mut found)
            .map_err(|wrong| format!("segment {}: {wrong}", entry.number))?;
    }
    Ok(found)
}

/// The records of a segment that begins at or behind `at`; where it ends.
fn segment(medium: &Simulated, entry: &Entry, at: u64, found: &mut Vec<Found>) -> Result<u64, String> {
    let file = medium.open(&format!("{:020}.seg", entry.number), false).map_err(|error| error.to_string())?;
    let mut head = [0; HEADER_BYTES];
    file.read_at(&mut head, 0).map_err(|error| error.to_string())?;
    let header = SegmentHeader::decode(&head).map_err(|_| "its header".to_owned())?;
    if header.uuid != entry.uuid
        || header.number != entry.number
        || header.extent.data_bytes != entry.data_bytes
    {
        return Err(format!("{header:?} is not what the manifest says: {entry:?}"));
    }
    let map = file.map(header.extent.file_bytes, false).map_err(|error| error.to_string())?;
    let word =
        |offset: usize| map.words(header.extent.live_offset + offset as u64, 1)[0].load(Ordering::Relaxed);
    let end = word(offset_of!(SegmentLive, end.0));
    let base = word(offset_of!(SegmentLive, place.0.base));
    let (base, end) = match (entry.sealed, word(offset_of!(SegmentLive, place.0.state))) {
        (Some(sealed), _) => (sealed.base, sealed.end),
        (None, PREPARED) => return Ok(at),
        (None, ACTIVE) => (base, end),
        (None, SEALED) => (base, word(offset_of!(SegmentLive, place.0.sealed_end))),
        (None, other) => return Err(format!("its state is {other:#x}")),
    };
    if base < at || end < base || end - base > entry.data_bytes {
        return Err(format!("{base}..{end} behind {at}"));
    }
    let key = Key::of(&header.uuid);
    let mut position = base;
    while position < end {
        let offset = header.extent.data_offset + (position - base);
        if end - position < LOG_PAYLOAD_OFFSET {
            return Err(format!("no room for a frame at {position} of ..{end}"));
        }
        let words: [u64; 4] = std::array::from_fn(|n| map.words(offset, 4)[n].load(Ordering::Relaxed));
        let [w0, w1, timestamp_ns, tags] = words;
        let head = LogHead::decode(w0, position).filter(|head| head.span_bytes() <= end - position);
        let head = head.ok_or_else(|| format!("no frame at {position} of {base}..{end}: {words:x?}"))?;
        // SAFETY: nobody writes: one thread.
        let payload = unsafe { map.bytes(offset + LOG_PAYLOAD_OFFSET, head.len_bytes as usize) };
        if !key.is_sealed(w1, &Covered { position, w0, timestamp_ns, tags }, payload) {
            return Err(format!("the checksum of the frame at {position} of {base}..{end}"));
        }
        let behind = position + head.span_bytes();
        if head.state == LogState::Data {
            found.push(Found { position, behind, timestamp_ns, payload: payload.to_vec() });
        }
        position = behind;
    }
    Ok(end)
}

fn contents(medium: &Simulated, name: &str) -> Result<Vec<u8>, String> {
    let file = medium.open(name, false).map_err(|error| format!("{name}: {error}"))?;
    let length = file.len_bytes().map_err(|error| format!("{name}: {error}"))?;
    let mut bytes = vec![0; usize::try_from(length).expect("small files")];
    file.read_at(&mut bytes, 0).map_err(|error| format!("{name}: {error}"))?;
    Ok(bytes)
}
