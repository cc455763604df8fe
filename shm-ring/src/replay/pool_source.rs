//! Pool source: one source of a pool, of whatever kind.
//!
//! (I1) a step that finds something staged does nothing else.

use super::feed::{Feed, Filled};
use super::pool::LogFeed;
use super::source::{Next, Source, SourceError};
use super::stage::{Place, Stage, Tags};
#[cfg(feature = "arrow")]
use super::table::{Row, feed::TableFeed};

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
    #[cfg(feature = "arrow")]
    Table(TableFeed),
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
    pub(crate) fn log(name: String, stage: Stage, feed: LogFeed) -> Self {
        Self { stage, feed: Kind::Log(feed), name }
    }

    #[cfg(feature = "arrow")]
    pub(crate) fn table(name: String, stage: Stage, feed: TableFeed) -> Self {
        Self { stage, feed: Kind::Table(feed), name }
    }

    fn refill(&mut self) -> Result<Next, SourceError> {
        self.stage.begin();
        let filled = match &mut self.feed {
            Kind::Log(feed) => feed.fill(&mut self.stage)?,
            #[cfg(feature = "arrow")]
            Kind::Table(feed) => feed.fill(&mut self.stage)?,
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
                #[cfg(feature = "arrow")]
                Kind::Table(feed) => {
                    return Replayed { tags: staged.tags, body: Body::Row(feed.row(place)) };
                }
            },
        };
        Replayed { tags: staged.tags, body: Body::Bytes(bytes) }
    }

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.stage.forget();
        match &mut self.feed {
            Kind::Log(feed) => feed.seek(since_ns),
            #[cfg(feature = "arrow")]
            Kind::Table(feed) => feed.seek(since_ns),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }
}
