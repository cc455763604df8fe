//! Pool source: one source of a pool, of whatever kind.
//!
//! (I1) a step that finds something staged does nothing else.

use super::feed::{Feed, Filled};
use super::pool::{Loaded, LogFeed};
use super::source::{Next, Source, SourceError};
use super::stage::{Place, Stage, Tags};

/// One source of a [`MapPool`](super::pool::MapPool).
#[derive(Debug)]
pub struct PoolSource {
    stage: Stage,
    feed: Kind,
    name: String,
}

#[derive(Debug)]
enum Kind {
    Log(LogFeed),
    Loaded(Loaded),
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
}

/// What a source has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceStats {
    /// Places where something is missing.
    pub n_gaps: u64,
    /// Records that are missing, where that is known.
    pub n_missing_records: u64,
    /// Bytes that are missing, where that is known.
    pub n_missing_bytes: u64,
    /// Records that were older than one in front of them.
    pub n_disordered: u64,
}

impl<'a> Replayed<'a> {
    /// Its bytes; of a row, one JSON object.
    ///
    /// # Errors
    ///
    /// None yet.
    pub fn payload<'b>(&self, _scratch: &'b mut Vec<u8>) -> Result<&'b [u8], SourceError>
    where
        'a: 'b,
    {
        match self.body {
            Body::Bytes(bytes) => Ok(bytes),
        }
    }
}

impl PoolSource {
    pub(crate) fn log(name: String, stage: Stage, feed: LogFeed) -> Self {
        Self { stage, feed: Kind::Log(feed), name }
    }

    pub(crate) fn loaded(name: String, stage: Stage, feed: Loaded) -> Self {
        Self { stage, feed: Kind::Loaded(feed), name }
    }

    /// What it has come to.
    pub fn stats(&self) -> SourceStats {
        let n_gaps = if let Kind::Log(feed) = &self.feed { feed.n_gaps } else { 0 };
        SourceStats { n_gaps, n_disordered: self.stage.n_disordered(), ..SourceStats::default() }
    }

    fn refill(&mut self) -> Result<Next, SourceError> {
        self.stage.begin();
        let filled = match &mut self.feed {
            Kind::Log(feed) => feed.fill(&mut self.stage)?,
            Kind::Loaded(feed) => feed.fill(&mut self.stage)?,
        };
        self.stage.finish(filled == Filled::End)?;
        match (self.stage.step(), filled) {
            (Some(stamp), _) => Ok(Next::Record(stamp)),
            (None, Filled::NotYet { not_before_ns }) => Ok(Next::NotYet { not_before_ns }),
            (None, _) => Ok(Next::End),
        }
    }
}

impl Source for PoolSource {
    type Record<'a> = Replayed<'a>;

    #[inline(always)]
    fn step(&mut self) -> Result<Next, SourceError> {
        match self.stage.step() {
            Some(stamp) => Ok(Next::Record(stamp)),
            None => self.refill(),
        }
    }

    #[inline(always)]
    fn record(&self) -> Replayed<'_> {
        let staged = self.stage.current();
        let bytes = match staged.place {
            Place::Copied(at) => self.stage.copy(at, staged.len_bytes),
            Place::There(place) => match &self.feed {
                Kind::Log(feed) => feed.bytes(staged, place),
                Kind::Loaded(feed) => feed.bytes(staged, place),
            },
        };
        Replayed { tags: staged.tags, body: Body::Bytes(bytes) }
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.stage.forget();
        match &mut self.feed {
            Kind::Log(feed) => feed.seek(since_ns),
            Kind::Loaded(feed) => feed.seek(since_ns),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }
}
