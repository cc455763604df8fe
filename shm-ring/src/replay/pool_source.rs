//! Pool source: one source of a pool, of whatever kind.
//!
//! (I1) a step that finds something staged does nothing else but to look on which side of a fork it is.

use super::feed::{Feed, Filled};
use super::log_feed::LogFeed;
use super::row_feed::RowFeed;
use super::shared::Shared;
use super::source::{Next, Source, SourceError};
use super::stage::{Place, Stage, Staged, Tags};
#[cfg(feature = "arrow")]
use super::table::{Row, feed::TableFeed};
use crate::log::item::LogReadError;
use crate::map::fork::Side;
use crate::map::prefetch;
use std::path::Path;

/// One source of a [`MapPool`](super::pool::MapPool).
///
/// Two cache lines, in which is what a step needs: a merge of thousands goes from one to another.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct PoolSource {
    stage: Stage,
    rest: Box<Rest>,
    /// Of a source whose maps a forked child does not have.
    side: Option<Side>,
}

const _: () = assert!(size_of::<PoolSource>() == 128);

/// What only a refill needs, and records that are too long to be copied.
#[derive(Debug)]
struct Rest {
    feed: Kind,
    name: Box<str>,
    n_refills: u64,
    n_staged: u64,
    /// Of the feed, to be told behind what is staged.
    failure: Option<Box<SourceError>>,
    /// A seek has failed: nobody knows what is next.
    is_astray: bool,
}

/// Where its records come from.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "what a record is read through is where the source is")]
pub(crate) enum Kind {
    Log(LogFeed),
    Rows(RowFeed),
    #[cfg(feature = "arrow")]
    Table(TableFeed),
    /// One that copies.
    Other(Box<dyn Feed>),
}

impl Kind {
    fn feed(&self) -> &dyn Feed {
        match self {
            Self::Log(feed) => feed,
            Self::Rows(feed) => feed,
            #[cfg(feature = "arrow")]
            Self::Table(feed) => feed,
            Self::Other(feed) => &**feed,
        }
    }

    fn feed_mut(&mut self) -> &mut dyn Feed {
        match self {
            Self::Log(feed) => feed,
            Self::Rows(feed) => feed,
            #[cfg(feature = "arrow")]
            Self::Table(feed) => feed,
            Self::Other(feed) => &mut **feed,
        }
    }
}

/// What a source of a pool has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceStats {
    /// Records that were read, and handed out or about to be.
    pub n_records: u64,
    /// Refills of the source's stage.
    pub n_refills: u64,
    /// Places where a log or a ring said, or it was found, that something is missing. Each counts once, however often it is read behind
    /// seeks, unless these were hundreds, to places far apart; this also goes for the two that follow.
    pub n_gaps: u64,
    /// Records that are missing there, as far as that is known.
    pub n_missing_records: u64,
    /// Bytes that are missing there, as far as that is known.
    pub n_missing_bytes: u64,
    /// Records that were older than one in front of them.
    pub n_disordered: u64,
}

/// A record of a pool's source.
#[derive(Clone, Copy, Debug)]
pub struct Replayed<'a> {
    /// What it says of itself besides its time.
    pub tags: Tags,
    /// What was recorded.
    pub body: Body<'a>,
}

/// What was recorded.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Body<'a> {
    /// Bytes, of a ring, a log or a file of rows.
    Bytes(&'a [u8]),
    /// A row, of a table.
    #[cfg(feature = "arrow")]
    Row(Row<'a>),
}

impl<'a> Replayed<'a> {
    /// What was recorded, as bytes: in place, or one JSON object of a row's columns but its time, which is put into `scratch`.
    ///
    /// # Errors
    ///
    /// A row's value can't be read, because its table is corrupt.
    pub fn payload<'s>(&self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], SourceError>
    where
        'a: 's,
    {
        match self.body {
            Body::Bytes(bytes) => {
                let _ = scratch;
                Ok(bytes)
            }
            #[cfg(feature = "arrow")]
            Body::Row(row) => {
                scratch.clear();
                row.write_json(scratch)?;
                Ok(scratch)
            }
        }
    }
}

impl PoolSource {
    pub(crate) fn new(path: &Path, feed: Kind, shared: &Shared) -> Self {
        let name = path.to_string_lossy().into();
        let side = if let Kind::Log(feed) = &feed { Some(feed.side()) } else { None };
        let rest = Rest { feed, name, n_refills: 0, n_staged: 0, failure: None, is_astray: false };
        Self { stage: Stage::new(shared.order), rest: Box::new(rest), side }
    }

    /// Whether what was staged in place is there: not in a forked child.
    #[inline(always)]
    fn is_here(&self) -> bool {
        self.side.is_none_or(|side| side.is_here())
    }

    /// What it has done.
    pub fn stats(&self) -> SourceStats {
        let missed = self.rest.feed.feed().missed();
        SourceStats {
            n_records: self.rest.n_staged,
            n_refills: self.rest.n_refills,
            n_gaps: missed.n_gaps,
            n_missing_records: missed.n_records,
            n_missing_bytes: missed.n_bytes,
            n_disordered: self.stage.n_disordered(),
        }
    }

    /// Where a staged record is.
    #[inline(always)]
    fn bytes(&self, staged: &Staged) -> &[u8] {
        match staged.place() {
            Place::Copied(at) => self.stage.copy(at, staged.len_bytes),
            Place::There(place) => {
                assert!(
                    self.is_here(),
                    "a log's record was asked for in a forked child, which has not stepped"
                );
                let base = match &self.rest.feed {
                    Kind::Log(feed) => feed.base(),
                    Kind::Rows(feed) => feed.base(),
                    // A row has none.
                    #[cfg(feature = "arrow")]
                    Kind::Table(_) => return &[],
                    Kind::Other(feed) => feed.base(),
                };
                let at = usize::try_from(place).unwrap_or(usize::MAX);
                &base[at..at + staged.len_bytes as usize]
            }
        }
    }

    #[inline(never)]
    fn refill(&mut self) -> Result<Next, SourceError> {
        loop {
            self.stage.begin()?;
            if self.rest.is_astray {
                return Err(SourceError::Other("its last seek has failed: seek again".into()));
            }
            if let Some(error) = self.rest.failure.take() {
                return Err(*error);
            }
            let filled = self.rest.feed.feed_mut().fill(&mut self.stage);
            // What is in front of a failure is handed out first.
            let filled = filled.unwrap_or_else(|error| {
                self.rest.failure = Some(Box::new(error));
                Filled::End
            });
            if filled == Filled::End {
                self.rest.feed.feed_mut().end(&mut self.stage);
            }
            self.rest.n_refills += 1;
            self.rest.n_staged += self.stage.n_staged() as u64;
            self.stage.finish(filled);
            if let Some(stamp) = self.stage.step() {
                return Ok(Next::Record(stamp));
            }
            match filled {
                Filled::Some => {}
                Filled::NotYet { not_before_ns } => return Ok(Next::NotYet { not_before_ns }),
                Filled::End if self.rest.failure.is_none() => return self.stage.begin().map(|()| Next::End),
                Filled::End => {}
            }
        }
    }
}

impl Source for PoolSource {
    type Record<'a> = Replayed<'a>;

    #[inline(always)]
    fn step(&mut self) -> Result<Next, SourceError> {
        if !self.is_here() {
            return Err(LogReadError::Forked.into());
        }
        match self.stage.step() {
            Some(stamp) => Ok(Next::Record(stamp)),
            None => self.refill(),
        }
    }

    #[inline(always)]
    fn prefetch(&self) {
        if self.is_here() {
            prefetch::bytes(self.bytes(self.stage.current()));
        }
        self.stage.prefetch();
    }

    /// Behind a step that was no record, or a seek, one without bytes.
    ///
    /// # Panics
    ///
    /// In a forked child that has not stepped, where a log's record is in a map that a child does not have.
    #[inline(always)]
    fn record(&self) -> Replayed<'_> {
        let staged = self.stage.current();
        #[cfg(feature = "arrow")]
        if let (Kind::Table(feed), Place::There(place)) = (&self.rest.feed, staged.place()) {
            return Replayed { tags: staged.tags, body: Body::Row(feed.row(place)) };
        }
        Replayed { tags: staged.tags, body: Body::Bytes(self.bytes(staged)) }
    }

    /// Behind one that has failed, each step is an error, until one succeeds.
    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.stage.forget(since_ns);
        (self.rest.failure, self.rest.is_astray) = (None, true);
        self.rest.feed.feed_mut().seek(since_ns)?;
        self.rest.is_astray = false;
        Ok(())
    }

    /// Of a log or a segment, the entry of the index from which on the record is; of rows and tables, the record itself, and with a
    /// [re-order window](super::stage::Order::Reorder) twice as many in front of it; of others, and of what has no index, the start.
    fn seek_before(&mut self, until_ns: u64) -> Result<(), SourceError> {
        self.stage.forget(0);
        (self.rest.failure, self.rest.is_astray) = (None, true);
        self.rest.feed.feed_mut().seek_before(until_ns)?;
        self.rest.is_astray = false;
        Ok(())
    }

    fn name(&self) -> &str {
        &self.rest.name
    }
}
