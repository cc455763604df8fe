//! Remains: what a crash may leave of files and names, kept as what was seen since each was last synced.
//!
//! ```text
//!   page:    on the medium | seen | seen | seen = as it is now     --> any of them, or sectors of two of them
//!   length:  on the medium | seen | seen = as it is now            --> any of them, or a page's end between two of them
//!   names:   on the medium + [create a, rename a b, remove c, ..]  --> any of the changes, each with those that it rests on
//! ```
//!
//! (I1) pages, lengths and names are independent of one another: each has its own place on the medium; (I2) what a sync has brought to
//! the medium stays there until it is written again; (I3) pages that a failed sync was about count as written (by the kernel) and are not
//! (on the medium): a later sync does not bring them, unless they are changed again; (I4) a rename is whole or not at all.
//! Keeps and settles; draws nothing: that is images.rs.

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const SECTOR_BYTES: usize = 512;
pub(super) const N_SECTORS: usize = PAGE_BYTES / SECTOR_BYTES;

/// The bytes of a page at one moment.
pub(super) type Page = Arc<[u8; PAGE_BYTES]>;
/// Which file, whatever its names are.
pub(super) type Number = usize;
/// Who has which name.
pub(super) type Names = BTreeMap<String, Number>;

/// Everything that is, or may be, on the medium.
#[derive(Clone, Debug, Default)]
pub(super) struct Remains {
    /// Counts calls and steps.
    pub(super) now: u64,
    pub(super) files: Vec<Remainder>,
    /// As everybody alive sees them.
    pub(super) names: Names,
    /// As they are on the medium.
    pub(super) synced: Names,
    /// What has changed since then.
    pub(super) changes: Vec<(u64, Change)>,
}

/// A file's.
#[derive(Clone, Debug)]
pub(super) struct Remainder {
    /// When, and how long: first what is on the medium, last what it is now.
    pub(super) lengths: Vec<(u64, u64)>,
    pub(super) pages: Vec<History>,
}

/// A page's.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// When, and what: first what is on the medium, last what it is now.
    pub(super) moments: Vec<(u64, Page)>,
    /// A sync of it has failed, and it has not been changed since.
    pub(super) is_lost: bool,
    /// It lies behind the end that is on the medium: what its place held before may show.
    pub(super) is_new: bool,
}

/// A change of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Create(String, Number),
    /// The file that had the second name loses it.
    Rename(String, String, Number),
    Remove(String, Number),
}

impl Remains {
    /// A sync of names.
    pub(super) fn settle_names(&mut self) {
        self.changes.clear();
        self.synced = self.names.clone();
        // What nobody can open again, and no crash can bring back, needs no history.
        for (number, file) in self.files.iter_mut().enumerate() {
            if !self.synced.values().any(|other| *other == number) {
                file.pages.iter_mut().for_each(|page| drop(page.moments.drain(..page.moments.len() - 1)));
            }
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        match &change {
            Change::Create(name, number) => {
                self.names.insert(name.clone(), *number);
            }
            Change::Rename(from, to, number) => {
                self.names.remove(from);
                self.names.insert(to.clone(), *number);
            }
            Change::Remove(name, _) => {
                self.names.remove(name);
            }
        }
        self.changes.push((self.now, change));
    }

    /// Whose name it is now.
    pub(super) fn name_of(&self, number: Number) -> Option<&str> {
        self.names.iter().find(|(_, other)| **other == number).map(|(name, _)| name.as_str())
    }
}

impl Remainder {
    /// Of a new file, of which nothing is on the medium yet.
    pub(super) fn new(now: u64, length: u64) -> Self {
        let mut file = Self { lengths: vec![(now, 0)], pages: vec![] };
        file.lengthen(now, length);
        // Its place is allocated, and reads as zeros.
        file.pages.iter_mut().for_each(|page| page.is_new = false);
        file
    }

    /// Of a file that is on the medium.
    pub(super) fn settled(length: u64, pages: Vec<Page>) -> Self {
        let pages =
            pages.into_iter().map(|page| History { moments: vec![(0, page)], is_lost: false, is_new: false });
        Self { lengths: vec![(0, length)], pages: pages.collect() }
    }

    pub(super) fn length(&self) -> u64 {
        self.lengths.last().expect("never empty").1
    }

    pub(super) fn lengthen(&mut self, now: u64, length: u64) {
        if length > self.length() {
            self.lengths.push((now, length));
        }
        let n_pages = usize::try_from(length.div_ceil(PAGE_BYTES as u64)).expect("small files");
        while self.pages.len() < n_pages {
            let zeros = (0, Arc::new([0; PAGE_BYTES]));
            self.pages.push(History { moments: vec![zeros], is_lost: false, is_new: true });
        }
    }

    /// A sync of some of its pages, and of its length.
    pub(super) fn settle(&mut self, pages: std::ops::Range<usize>) {
        self.lengths.drain(..self.lengths.len() - 1);
        let n_pages = self.pages.len();
        for page in &mut self.pages[pages.start.min(n_pages)..pages.end.min(n_pages)] {
            if !page.is_lost {
                page.moments.drain(..page.moments.len() - 1);
                page.is_new = false;
            }
        }
    }

    /// A sync of some of its pages that failed.
    pub(super) fn lose(&mut self, pages: std::ops::Range<usize>) {
        let n_pages = self.pages.len();
        for page in &mut self.pages[pages.start.min(n_pages)..pages.end.min(n_pages)] {
            page.is_lost |= page.moments.len() > 1;
        }
    }
}

impl History {
    pub(super) fn latest(&self) -> &Page {
        &self.moments.last().expect("never empty").1
    }

    /// What is seen now, if it is new.
    pub(super) fn see(&mut self, now: u64, bytes: &[u8]) {
        if self.latest()[..] != *bytes {
            self.moments.push((now, Arc::new(bytes.try_into().expect("a page"))));
            self.is_lost = false;
        }
    }
}

impl Change {
    /// Whether this change can't be on the medium without that earlier one.
    pub(super) fn rests_on(&self, earlier: &Self) -> bool {
        let names = |change: &Self| match change {
            Self::Create(name, _) | Self::Remove(name, _) => [name.clone(), name.clone()],
            Self::Rename(from, to, _) => [from.clone(), to.clone()],
        };
        names(self).iter().any(|name| names(earlier).contains(name)) || self.number() == earlier.number()
    }

    fn number(&self) -> Number {
        match self {
            Self::Create(_, number) | Self::Rename(_, _, number) | Self::Remove(_, number) => *number,
        }
    }
}
