//! Window: how far in front of a cursor is read, and what is let go of behind it.
//!
//! ```text
//!   file  | let go          | held back, or about to be let go | cursor ... asked for | not there
//!                           ^ dropped                          ^                      ^ asked
//!          \---- a quarter of the window at a time ------------/ \---- three quarters ----/
//! ```
//!
//! Without a cap a window is small at first, and twice as large each time that it is asked for more: of thousands of files the first pages are there
//! soon, and the rest is read while these are merged.
//!
//! (I1) what is asked for and not let go of is at most the window, but for records that are longer; (I2) no page is let go of that a record
//! lies in which is still to be handed out; (I3) without a cap nothing is let go of.
//! Touches no byte.

use super::shared::{Shared, WINDOW_BYTES_FIRST, WINDOW_BYTES_MAX, add, load};
use crate::map::advice::Advised;
use crate::map::file::page_bytes;
use std::ops::Range;
use std::path::PathBuf;

/// No folio of a page cache is larger, and each begins at a multiple of its size.
pub(crate) const FOLIO_BYTES_MAX: u64 = 2 << 20;

/// The window of one source.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Asked for up to here, in the file.
    asked: u64,
    /// Let go of up to here.
    dropped: u64,
    /// What is in front of where it began, headers, has not been let go of.
    is_fresh: bool,
    /// Something has been asked for since it began.
    goes_on: bool,
    /// How large it is; 0: not known yet.
    bytes: u64,
    /// What was read since the rate was computed, and what all had read then.
    read_bytes: u64,
    since: u64,
    /// Let go of behind `dropped`, here and there.
    apart_bytes: u64,
}

/// A file that a window is of.
pub(crate) trait Windowed {
    /// What takes advice.
    type Map: Advised;
    /// The map, if there is one.
    fn map(&self) -> Option<&Self::Map>;
    /// The file, and where in it the map begins.
    fn place(&self) -> (PathBuf, u64);
    /// Takes these bytes out of the page cache.
    fn forget_cached(&self, range: Range<u64>);
}

impl Window {
    /// Another file, or another place: from there on nothing is asked for yet.
    pub(crate) fn begin(&mut self, shared: &Shared, file: &impl Windowed, from: u64) {
        (self.asked, self.dropped, self.is_fresh) = (from, from / page_bytes() * page_bytes(), true);
        (self.apart_bytes, self.goes_on) = (0, false);
        if let (Some(_), Some(map)) = (shared.memory_bytes, file.map()) {
            map.read_nothing_ahead();
            // Headers, an index, and what the system has mapped around them.
            map.let_go(0..self.dropped);
        }
    }

    /// How large it is.
    pub(crate) fn bytes(&mut self, shared: &Shared) -> u64 {
        if self.bytes == 0 {
            self.bytes = shared.first_window();
            self.since = load(&shared.counts.read_bytes);
        }
        self.bytes
    }

    /// So much was read; what part of all that is read, in 2^-32, if that is known anew.
    pub(crate) fn note(&mut self, shared: &Shared, n_bytes: u64) -> Option<u64> {
        self.read_bytes += n_bytes;
        let now = load(&shared.counts.read_bytes);
        let epoch = shared.memory_bytes.map_or(1 << 26, |cap| cap / 2);
        let passed = now.saturating_sub(self.since);
        if passed < epoch {
            return None;
        }
        let rate = (u128::from(self.read_bytes) << 32) / u128::from(passed.max(1));
        let rate = u64::try_from(rate).unwrap_or(u64::MAX).min(1 << 32);
        (self.read_bytes, self.since) = (0, now);
        if shared.memory_bytes.is_some() && self.bytes > 0 {
            self.bytes = shared.window_by_rate(self.bytes, rate);
        }
        Some(rate)
    }

    /// The cursor is there now, the file has something to read up to `end`, and records in front of `pinned` are not wanted any more.
    #[inline]
    pub(crate) fn moved(
        &mut self,
        shared: &Shared,
        file: &impl Windowed,
        (cursor, end): (u64, u64),
        pinned: impl FnOnce() -> u64,
    ) {
        if self.fit(shared) {
            self.take_back(shared, file, cursor);
        }
        let step = self.bytes(shared) / 4;
        if self.asked < end && cursor + 2 * step > self.asked {
            self.ask(shared, file, cursor, end);
        }
        if shared.memory_bytes.is_some() && cursor >= self.dropped + step {
            let to = pinned().min(cursor);
            if to >= self.dropped + step {
                self.drop_to(shared, file, to);
            }
        }
    }

    /// Gives back what it has too much of since more sources came; whether it has.
    pub(crate) fn fit(&mut self, shared: &Shared) -> bool {
        if shared.memory_bytes.is_none() || self.bytes == 0 {
            return false;
        }
        let had_bytes = self.bytes;
        self.bytes = shared.fit(had_bytes);
        self.bytes < had_bytes
    }

    /// Lets go of what was asked for too far ahead.
    #[cold]
    fn take_back(&mut self, shared: &Shared, file: &impl Windowed, cursor: u64) {
        let Some(map) = file.map() else { return };
        let to = (cursor + 3 * (self.bytes / 4)).next_multiple_of(page_bytes());
        if to < self.asked {
            map.let_go(to..self.asked);
            file.forget_cached(to..self.asked);
            add(&shared.counts.n_advice, 2);
            self.asked = to;
        }
    }

    #[cold]
    fn ask(&mut self, shared: &Shared, file: &impl Windowed, cursor: u64, end: u64) {
        let Some(map) = file.map() else { return };
        let page = page_bytes();
        let from = self.asked.max(cursor / page * page);
        let goes_on = std::mem::replace(&mut self.goes_on, true);
        if goes_on {
            self.grow(shared);
        }
        let to = (cursor + self.bytes / 4 * 3).next_multiple_of(page).min(end);
        if from < to {
            // What a log has just got that is followed is in memory: to wake somebody for each record would cost more than it can give.
            let is_news = goes_on && shared.lateness.is_some() && to - from < WINDOW_BYTES_FIRST / 4;
            let is_wished = !is_news
                && shared.helper().is_some_and(|helper| {
                    let (path, start) = file.place();
                    helper.wish(path, start + from..start + to)
                });
            add(&shared.counts.n_advice, if is_wished { 1 } else { map.read_ahead(from..to) });
            add(&shared.counts.ahead_bytes, to - from);
            self.asked = to;
        }
    }

    /// Without a cap, what goes on is asked for twice as far each time: what is read first is soon there, and what is read long comes in large
    /// pieces, even where records are so long, or come so many at once, that the cursor is beyond what was asked for.
    pub(crate) fn grow(&mut self, shared: &Shared) {
        if shared.memory_bytes.is_none() {
            self.bytes = (2 * self.bytes).min(WINDOW_BYTES_MAX);
        }
    }

    /// Lets go of whole pages up to there.
    #[cold]
    pub(crate) fn drop_to(&mut self, shared: &Shared, file: &impl Windowed, to: u64) {
        let to = to / page_bytes() * page_bytes();
        if to <= self.dropped {
            return;
        }
        // A folio that reached beyond the last end is inside now.
        let from = if self.is_fresh { 0 } else { self.dropped.saturating_sub(FOLIO_BYTES_MAX) };
        if let Some(map) = file.map() {
            map.let_go(from..to);
        }
        file.forget_cached(from..to);
        add(&shared.counts.n_advice, 2);
        let apart_bytes = std::mem::take(&mut self.apart_bytes);
        add(&shared.counts.dropped_bytes, (to - self.dropped).saturating_sub(apart_bytes));
        (self.dropped, self.is_fresh) = (to, false);
    }

    /// So much behind what was let go of has been, too, here and there.
    #[cfg(feature = "arrow")]
    pub(crate) fn note_dropped(&mut self, shared: &Shared, n_bytes: u64) {
        self.apart_bytes += n_bytes;
        add(&shared.counts.dropped_bytes, n_bytes);
    }

    /// Lets go of everything that may be there, up to where was asked for: the file is read no further for now.
    pub(crate) fn drop_all(&mut self, shared: &Shared, file: &impl Windowed, end: u64) {
        if shared.memory_bytes.is_some() {
            self.drop_to(shared, file, self.asked.max(end).next_multiple_of(page_bytes()));
        }
    }

    /// Gives the memory back.
    pub(crate) fn end(&mut self, shared: &Shared) {
        if self.bytes > 0 {
            shared.ungrant(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::budget::MapBudget;
    use crate::map::disk::DiskMap;
    use crate::replay::stage::Order;

    /// A file without a map.
    struct Nothing;

    impl Windowed for Nothing {
        type Map = DiskMap;

        fn map(&self) -> Option<&DiskMap> {
            None
        }

        fn place(&self) -> (PathBuf, u64) {
            (PathBuf::new(), 0)
        }

        fn forget_cached(&self, _: Range<u64>) {}
    }

    // Goal: sources that come while others are read get their windows out of those of the others, and the cap holds once each was refilled.
    // Method: three that take all there is, then 60 more, some at a time; then most of them go.
    #[test]
    fn windows_make_room_for_who_comes_later() {
        let shared = Shared::new(MapBudget::new(), Order::Error, None, Some(8 << 20));
        let (least, mut windows) = (Shared::window_bytes_min(), Vec::<Window>::new());
        for n_more in [3, 1, 10, 49] {
            for _ in 0..n_more {
                shared.admit().unwrap();
                windows.push(Window::default());
            }
            for _ in 0..2 {
                windows.iter_mut().for_each(|window| window.moved(&shared, &Nothing, (0, 1 << 30), || 0));
            }
            let sum: u64 = windows.iter().map(|window| window.bytes).sum();
            let most = shared.windows_bytes(windows.len() as u64).unwrap();
            assert!(sum <= most, "{} windows of {sum} bytes, {most} are left", windows.len());
            assert!(windows.iter().all(|window| window.bytes >= least));
            assert!(sum > most / 2, "{} windows of {sum} bytes, {most} are left", windows.len());
        }
        for mut window in windows.drain(1..) {
            window.end(&shared);
            shared.dismiss();
        }
        let had_bytes = windows[0].bytes;
        assert!(!windows[0].fit(&shared) && windows[0].bytes == had_bytes);
    }
}
