//! Marks: how far a source was recorded, found at the end of a log.
//!
//! ```text
//!   newest segment: from its last MiB on --> from its beginning --> the segment before it --> ...
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
    /// Whether any other one has been recorded; as far as was looked.
    pub(crate) has_others: bool,
}

/// The newest MARK of that source.
pub(crate) fn last<M: Medium>(medium: &M, source_uuid: &[u8; 16]) -> io::Result<Marks> {
    let boot_id = clock::boot_id();
    let mut marks = Marks::default();
    for number in view::numbers(medium)?.into_iter().rev() {
        let segment = match SegmentView::open(medium, number) {
            Ok(segment) => segment,
            // What can't be read is not believed, and told by whoever reads records.
            Err(Unseen::Gone | Unseen::Bad(_)) => continue,
            Err(Unseen::System { source, .. }) => return Err(source),
        };
        let Ok(look) = segment.look(boot_id) else { continue };
        if look.standing == Standing::Prepared {
            continue;
        }
        let near = look.end.saturating_sub(TAIL_BYTES).max(look.base);
        let near = segment.start_by_index(&look, |entry| entry.position <= near);
        for from in [near, look.base] {
            marks.own = marks.own.or(last_in(&segment, &look, from, source_uuid, &mut marks.has_others));
            if marks.own.is_some() {
                return Ok(marks);
            }
            if from == look.base {
                break;
            }
        }
    }
    Ok(marks)
}

fn last_in<M: Medium>(
    segment: &SegmentView<M>,
    look: &Look,
    from: u64,
    source_uuid: &[u8; 16],
    has_others: &mut bool,
) -> Option<MarkNote> {
    let mut last = None;
    let mut at = from;
    while at < look.end {
        let framed = match segment.frame(look.base, at, look.end) {
            Ok(framed) => framed,
            Err(_) => match segment.next_sound(look.base, at, look.end) {
                Some(framed) => framed,
                None => break,
            },
        };
        at = framed.next();
        if framed.head.state == LogState::Mark {
            match MarkNote::decode(segment.payload(look.base, &framed)) {
                Some(mark) if mark.source_uuid == *source_uuid => last = Some(mark),
                Some(_) => *has_others = true,
                None => {}
            }
        }
    }
    last
}
