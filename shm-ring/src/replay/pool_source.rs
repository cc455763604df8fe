//! Pool source: one source of a pool, of whatever kind.
//!
//! (I1) a step that finds something staged does nothing else.

use super::feed::{Feed, Filled, Missed};
use super::hand_over::HandOver;
use super::pool::LogFeed;
use super::ring_feed::RingFeed;
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
    Ring(RingFeed),
    HandOver(Box<HandOver>),
}

/// What a source has not got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceStats {
    /// Places where something is missing.
    pub n_gaps: u64,
    /// Records that are missing, where that is known.
    pub n_missing_records: u64,
    /// Bytes that are missing, where that is known.
    pub n_missing_bytes: u64,
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

impl<'a> Replayed<'a> {
    /// What was recorded, as bytes; `scratch` is where they are made, if it was something else.
    pub fn payload<'b>(&self, _scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        match self.body {
            Body::Bytes(bytes) => bytes,
        }
    }
}

impl PoolSource {
    pub(crate) fn ring(name: String, stage: Stage, feed: RingFeed) -> Self {
        Self { stage, feed: Kind::Ring(feed), name }
    }

    pub(crate) fn hand_over(name: String, stage: Stage, feed: HandOver) -> Self {
        Self { stage, feed: Kind::HandOver(Box::new(feed)), name }
    }

    /// What was missing so far.
    pub fn stats(&self) -> SourceStats {
        let Missed { n_gaps, n_records, n_bytes } = match &self.feed {
            Kind::Log(feed) => feed.missed(),
            Kind::Ring(feed) => feed.missed(),
            Kind::HandOver(feed) => feed.missed(),
        };
        SourceStats { n_gaps, n_missing_records: n_records, n_missing_bytes: n_bytes }
    }

    pub(crate) fn log(name: String, stage: Stage, feed: LogFeed) -> Self {
        Self { stage, feed: Kind::Log(feed), name }
    }

    fn refill(&mut self) -> Result<Next, SourceError> {
        self.stage.begin();
        let filled = match &mut self.feed {
            Kind::Log(feed) => feed.fill(&mut self.stage)?,
            Kind::Ring(feed) => feed.fill(&mut self.stage)?,
            Kind::HandOver(feed) => feed.fill(&mut self.stage)?,
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
                Kind::Ring(_) | Kind::HandOver(_) => &[],
            },
        };
        Replayed { tags: staged.tags, body: Body::Bytes(bytes) }
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.stage.forget();
        match &mut self.feed {
            Kind::Log(feed) => feed.seek(since_ns),
            Kind::Ring(feed) => feed.seek(since_ns),
            Kind::HandOver(feed) => feed.seek(since_ns),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }
}
