//! Ahead: what of a mapped table is read in front of its cursor, and let go of behind it.
//!
//! ```text
//!   small batches   | batch | batch | batch | ...     a window over the file, as for any source
//!   a large one     | column      | column      |     a window over its rows, which is a part of each buffer
//!                     \-- dropped, pinned, cursor, asked: at the same rows of each
//! ```
//!
//! (I1) a batch is small if it is no more than a quarter of the window (without a cap, of the largest), or packed, and then read as a whole;
//! (I2) no page is let go of in which a row lies that is still to be handed out, where rows have a fixed size; what is let go of too early is
//! read again.
//! Touches no byte.

use super::message::BatchHead;
use super::reader::View;
use crate::map::advice::Advised;
use crate::map::file::page_bytes;
use crate::replay::seat::Seat;
use crate::replay::shared::{WINDOW_BYTES_MAX, add};
use crate::replay::stage::Stage;
use crate::replay::window::FOLIO_BYTES_MAX;
use std::ops::Range;

/// How far the columns of one batch are there.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    is_begun: bool,
    /// The batch, by where its body is.
    body: Range<u64>,
    /// Rows of it up to there were asked for, and let go of.
    asked: usize,
    /// Rows of a large batch have been asked for.
    goes_on: bool,
    dropped: usize,
    /// In the file, all up to there was let go of.
    behind: u64,
}

/// Where a feed is.
pub(super) struct Cursor<'a> {
    pub(super) head: &'a BatchHead,
    /// The row in its batch.
    pub(super) row: usize,
    /// The first one of that batch that may still be handed out.
    pub(super) pinned: usize,
    /// Where the first batch is that has such rows.
    pub(super) front: u64,
}

impl Ahead {
    /// Nothing is there: the table is mapped anew, or read from another place.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The cursor is there now.
    pub(super) fn moved(&mut self, seat: &mut Seat, view: &View<'_>, cursor: &Cursor<'_>) {
        let Seat { shared, window, .. } = seat;
        let Cursor { head, row, pinned, front } = *cursor;
        if !std::mem::replace(&mut self.is_begun, true) {
            window.begin(shared, view, front);
            self.behind = front;
        }
        if self.body != head.body {
            (self.body, self.asked, self.dropped) = (head.body.clone(), row, row);
            if head.codec.is_some() {
                ask(seat, view, std::iter::once(head.body.clone()));
                return;
            }
        }
        window.fit(shared);
        let (n_bytes, is_capped) = (window.bytes(shared), shared.memory_bytes.is_some());
        // Which batches are large does not change while one is read.
        let large_bytes = if is_capped { n_bytes } else { WINDOW_BYTES_MAX } / 4;
        if head.codec.is_some() || self.body.end - self.body.start <= large_bytes {
            let at = if row == head.n_rows { self.body.end } else { self.body.start };
            // Its first row lies all over the batch.
            while !is_capped
                && head.codec.is_none()
                && window.bytes(shared) / 4 * 3 < self.body.end - self.body.start
            {
                window.grow(shared);
            }
            window.moved(shared, view, (at, view.home.len_bytes()), || front.min(at));
            return;
        }
        if is_capped && self.behind < front {
            window.drop_to(shared, view, front);
            self.behind = front;
        }
        let step = step_rows(head, n_bytes);
        if self.asked < head.n_rows && row.saturating_add(2 * step) > self.asked {
            if std::mem::replace(&mut self.goes_on, true) {
                window.grow(shared);
            }
            let step = step_rows(head, window.bytes(shared));
            let rows = self.asked.max(row)..row.saturating_add(3 * step).min(head.n_rows);
            self.asked = rows.end;
            ask(seat, view, head.places(&rows));
        }
        if is_capped && pinned.min(row) >= self.dropped + step {
            self.drop_rows(seat, view, head, pinned.min(row));
        }
    }

    /// All of a packed batch has been read.
    pub(super) fn unpacked(&self, seat: &mut Seat, view: &View<'_>, head: &BatchHead) {
        if seat.shared.memory_bytes.is_some() {
            seat.window.drop_to(&seat.shared, view, head.body.end);
        }
    }

    /// Lets go of rows of a large batch.
    #[cold]
    fn drop_rows(&mut self, seat: &mut Seat, view: &View<'_>, head: &BatchHead, to: usize) {
        let page = page_bytes();
        let from = std::mem::replace(&mut self.dropped, to);
        let part = |place: Range<u64>| {
            let length = place.end - place.start;
            let before = u128::from(length) * from as u128 / to.max(1) as u128;
            let at = place.start + u64::try_from(before).unwrap_or(length);
            // A folio that reached beyond the last end is inside now.
            place.start.max(at.saturating_sub(FOLIO_BYTES_MAX))..place.end / page * page
        };
        let all = 0..to;
        let parts = || head.places(&all).map(part).filter(|part| part.start < part.end);
        parts().for_each(|part| view.snapshot.map().let_go(part));
        view.forget_parts(parts());
        let n_bytes: u64 = head.places(&(from..to)).map(|place| place.end - place.start).sum();
        add(&seat.shared.counts.n_advice, 2 * parts().count() as u64);
        seat.window.note_dropped(&seat.shared, n_bytes);
    }

    /// Lets go of all that may be there: the table is read no further for now.
    pub(super) fn drop_all(&mut self, seat: &mut Seat, view: &View<'_>) {
        let len_bytes = view.home.len_bytes();
        if self.is_begun {
            seat.window.drop_all(&seat.shared, view, len_bytes);
        } else if seat.shared.memory_bytes.is_some() {
            // Headers, and what a search has looked at.
            view.snapshot.map().let_go(0..len_bytes);
            view.forget_parts(std::iter::once(0..len_bytes));
            add(&seat.shared.counts.n_advice, 2);
        }
    }
}

fn ask(seat: &Seat, view: &View<'_>, parts: impl Iterator<Item = Range<u64>>) {
    let counts = &seat.shared.counts;
    for part in parts {
        add(&counts.n_advice, view.snapshot.map().read_ahead(part.clone()));
        add(&counts.ahead_bytes, part.end - part.start);
    }
}

/// A quarter of a window, without the pages that each part reaches into on both sides.
fn step_rows(head: &BatchHead, window_bytes: u64) -> usize {
    let edges_bytes = head.places(&(0..head.n_rows)).count() as u64 * 2 * page_bytes();
    let step_bytes = window_bytes.saturating_sub(edges_bytes) / 4;
    usize::try_from(step_bytes / head.row_bytes())
        .unwrap_or(usize::MAX / 8)
        .clamp(Stage::ROOM, usize::MAX / 8)
}
