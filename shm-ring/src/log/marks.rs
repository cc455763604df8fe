//! Marks: how far a source was recorded, found at the end of a log.
//!
//! ```text
//!   newest segment: from its last MiB on --> from its last 8 MiB on --> ... --> from its beginning --> the segment before it --> ...
//! ```
//! Whoever records a source ends every batch with a MARK of it, so that the last one is near the end of the last segment that has any.
//!
//! (I1) the newest MARK of the source is found if there is one in what can be read; (I2) what is looked through does not depend on the size of
//! a log to which the source was recorded last.
//! Reads only.

use super::view::{self, Look, SegmentView, Standing, Unseen};
use crate::layout::segment::{LogState, MarkNote};
use crate::map::clock;
use crate::map::medium::Medium;
use std::io;

/// More than a batch of any recorder: where a search begins.
const TAIL_BYTES: u64 = 1 << 20;

/// What is known of sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Of the one that was asked for.
    pub(crate) own: Option<MarkNote>,
    /// Of any other one that has been recorded; as far as was looked.
    pub(crate) other: Option<MarkNote>,
}

/// A MARK, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// What it says.
    pub(crate) note: MarkNote,
    /// Behind it, in the log.
    pub(crate) next: u64,
}

/// The newest MARK of that source.
pub(crate) fn last<M: Medium>(medium: &M, source_uuid: &[u8; 16]) -> io::Result<Marks> {
    let mut other = None;
    let own = last_that(medium, u64::MAX, |note| {
        let is_own = note.source_uuid == *source_uuid;
        if !is_own {
            other = Some(*note);
        }
        is_own
    })?;
    Ok(Marks { own: own.map(|mark| mark.note), other })
}

/// The newest MARK that is wanted, of those that end at or in front of `below` in the log.
pub(crate) fn last_that<M: Medium>(
    medium: &M,
    below: u64,
    mut is_wanted: impl FnMut(&MarkNote) -> bool,
) -> io::Result<Option<Mark>> {
    let boot_id = clock::boot_id();
    for number in view::numbers(medium)?.into_iter().rev() {
        let segment = match SegmentView::open(medium, number) {
            Ok(segment) => segment,
            // What can't be read is not believed, and told by whoever reads records.
            Err(Unseen::Gone | Unseen::Taken | Unseen::Bad(_)) => continue,
            Err(Unseen::System { source, .. }) => return Err(source),
        };
        let Ok(look) = segment.look(boot_id) else { continue };
        if look.standing == Standing::Prepared || look.base >= below {
            continue;
        }
        let end = look.end.min(below);
        let mut tail_bytes = TAIL_BYTES;
        loop {
            let near = end.saturating_sub(tail_bytes).max(look.base);
            let from = segment.start_by_index(&look, |entry| entry.position <= near);
            let last = last_in(&segment, &look, from, end, &mut is_wanted);
            if last.is_some() {
                return Ok(last);
            }
            if near == look.base {
                break;
            }
            tail_bytes = tail_bytes.saturating_mul(8);
        }
    }
    Ok(None)
}

fn last_in<M: Medium>(
    segment: &SegmentView<M>,
    look: &Look,
    from: u64,
    end: u64,
    is_wanted: &mut impl FnMut(&MarkNote) -> bool,
) -> Option<Mark> {
    let mut last = None;
    let mut at = from;
    while at < end {
        let framed = match segment.frame(look.base, at, look.end) {
            Ok(framed) => framed,
            Err(_) => match segment.next_sound(look.base, at, look.end) {
                Some(framed) => framed,
                None => break,
            },
        };
        at = framed.next();
        if framed.head.state == LogState::Mark && at <= end {
            let note = MarkNote::decode(segment.payload(look.base, &framed));
            if let Some(note) = note.filter(|note| is_wanted(note)) {
                last = Some(Mark { note, next: at });
            }
        }
    }
    last
}
