//! Pool source: one source of a pool, of whatever kind.
//!
//! (I1) a step that finds something staged does nothing else.

use super::feed::{Feed, Filled};
use super::pool::LogFeed;
use super::source::{Next, Source, SourceError};
use super::stage::{Place, Stage, Tags};

/// One source of a [`MapPool`](super::pool::MapPool).
#[derive(Debug)]
pub struct PoolSource {
    stage: Stage,
    feed: Kind,
    name: String,
    /// Of the feed, to be told behind what is staged.
    failure: Option<Box<SourceError>>,
}

#[derive(Debug)]
enum Kind {
    Log(LogFeed),
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

impl PoolSource {
    pub(crate) fn log(name: String, stage: Stage, feed: LogFeed) -> Self {
        Self { stage, feed: Kind::Log(feed), name, failure: None }
    }

    fn refill(&mut self) -> Result<Next, SourceError> {
        loop {
            self.stage.begin()?;
            if let Some(error) = self.failure.take() {
                return Err(*error);
            }
            let filled = match &mut self.feed {
                Kind::Log(feed) => feed.fill(&mut self.stage),
            };
            // What is in front of a failure is handed out first.
            let filled = filled.unwrap_or_else(|error| {
                self.failure = Some(Box::new(error));
                Filled::End
            });
            self.stage.finish(filled);
            if let Some(stamp) = self.stage.step() {
                return Ok(Next::Record(stamp));
            }
            match filled {
                Filled::Some => {}
                Filled::NotYet { not_before_ns } => return Ok(Next::NotYet { not_before_ns }),
                Filled::End if self.failure.is_none() => return self.stage.begin().map(|()| Next::End),
                Filled::End => {}
            }
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
        let bytes = match staged.place() {
            Place::Copied(at) => self.stage.copy(at, staged.len_bytes),
            Place::There(place) => match &self.feed {
                Kind::Log(feed) => feed.bytes(staged, place),
            },
        };
        Replayed { tags: staged.tags, body: Body::Bytes(bytes) }
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.stage.forget();
        self.failure = None;
        match &mut self.feed {
            Kind::Log(feed) => feed.seek(since_ns),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }
}
