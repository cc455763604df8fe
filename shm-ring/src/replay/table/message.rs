//! Message: what the metadata of a batch says, checked.
//!
//! ```text
//!   [ffffffff] | length | metadata ... | body: buffers
//!   ^ offset                           ^ offset + metadata_bytes
//! ```
//!
//! (I1) the metadata is verified as a whole by the library of the format before a field of it is read, and copied before
//! that, so that it is the same then; (I2) a buffer that is handed out
//! lies inside its body, and the body inside the file.

use super::open::{Block, first_line};
use super::reader::{copy, read_error};
use super::schema::Layout;
use crate::error::Error;
use crate::snapshot::ReadAt;
use arrow_ipc::{BodyCompressionMethod, CompressionType, MessageHeader, RecordBatch};
use std::ops::Range;
use std::path::Path;

/// In front of the length, since version 0.15 of the format's library.
const CONTINUED: [u8; 4] = [0xff; 4];

/// What a batch of rows, or of a dictionary's values, consists of.
#[derive(Debug)]
pub(super) struct BatchHead {
    pub(super) n_rows: usize,
    /// Rows and nulls of each column.
    nodes: Vec<(i64, i64)>,
    /// Where the buffers of all columns are, in the body.
    buffers: Vec<(i64, i64)>,
    /// How many buffers with bytes the columns of views have, one after the other.
    variadic: Vec<i64>,
    /// Where the body is in the file.
    pub(super) body: Range<u64>,
    pub(super) codec: Option<Codec>,
    /// Which dictionary this belongs to, and whether it is added to what is there.
    pub(super) dictionary: Option<(i64, Delta)>,
}

/// What a batch of a dictionary's values is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delta {
    /// The dictionary.
    First,
    /// More of it.
    More,
}

/// How each buffer was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Lz4,
    Zstd,
}

/// Where a column is in a batch.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) n_nulls: usize,
    /// The numbers of its buffers.
    pub(super) buffers: Range<usize>,
}

impl BatchHead {
    pub(super) fn read(bytes: &dyn ReadAt, block: Block, path: &Path) -> Result<Self, Error> {
        let corrupt = |expected: &str, found: String| Error::Corrupt {
            path: path.into(),
            what: "metadata of a batch",
            expected: expected.into(),
            found,
        };
        let Block { offset, metadata_bytes, body_bytes } = block;
        let place = || -> Option<(u64, usize, Range<u64>)> {
            let (at, len) = (u64::try_from(offset).ok()?, usize::try_from(metadata_bytes).ok()?);
            let body = at.checked_add(len as u64)?;
            let end = body.checked_add(u64::try_from(body_bytes).ok()?)?;
            (end <= bytes.len()).then_some((at, len, body..end))
        };
        let (at, len, body) = place().ok_or_else(|| {
            let found = format!("{metadata_bytes} and {body_bytes} bytes from offset {offset} on");
            corrupt(&format!("inside of {} bytes", bytes.len()), found)
        })?;
        let message = copy(bytes, at, len).map_err(|error| read_error(path, error))?;
        // Older files have the length alone.
        let skipped = if message.starts_with(&CONTINUED) { 8 } else { 4 };
        let Some(message) = message.get(skipped..) else {
            return Err(corrupt("at least 8 bytes", format!("{len}")));
        };
        let message = arrow_ipc::root_as_message(message)
            .map_err(|error| corrupt("a message of the format", first_line(&error)))?;
        let (data, dictionary) = match message.header_type() {
            MessageHeader::RecordBatch => (message.header_as_record_batch(), None),
            MessageHeader::DictionaryBatch => {
                let batch = message.header_as_dictionary_batch();
                let delta = |is_delta| if is_delta { Delta::More } else { Delta::First };
                (batch.and_then(|b| b.data()), batch.map(|b| (b.id(), delta(b.isDelta()))))
            }
            other => {
                return Err(corrupt("a batch", format!("a {}", other.variant_name().unwrap_or("message"))));
            }
        };
        let data = data.ok_or_else(|| corrupt("a batch", "none".into()))?;
        let n_rows = usize::try_from(data.length());
        let n_rows = n_rows.map_err(|_| corrupt("a number of rows", data.length().to_string()))?;
        let codec = codec(&data).map_err(|found| corrupt("LZ4 or ZSTD", found))?;
        Ok(Self {
            n_rows,
            nodes: data.nodes().map_or(vec![], |n| n.iter().map(|n| (n.length(), n.null_count())).collect()),
            buffers: data.buffers().map_or(vec![], |b| b.iter().map(|b| (b.offset(), b.length())).collect()),
            variadic: data.variadicBufferCounts().map_or(vec![], |counts| counts.iter().collect()),
            body,
            codec,
            dictionary,
        })
    }

    /// Where the columns are whose buffers lie so.
    pub(super) fn spans<'a>(
        &'a self,
        layouts: impl Iterator<Item = Layout> + 'a,
        path: &'a Path,
    ) -> impl Iterator<Item = Result<Span, Error>> + 'a {
        let (mut n_buffers, mut n_views) = (0, 0);
        layouts.enumerate().map(move |(at, layout)| {
            let corrupt = |what, expected, found| Error::Corrupt { path: path.into(), what, expected, found };
            let Some(&(length, n_nulls)) = self.nodes.get(at) else {
                let expected = format!("more than {at}");
                return Err(corrupt("columns of a batch", expected, self.nodes.len().to_string()));
            };
            let n_nulls = usize::try_from(n_nulls).ok().filter(|n| *n <= self.n_rows);
            let (Some(n_nulls), true) = (n_nulls, usize::try_from(length) == Ok(self.n_rows)) else {
                let found = format!("{length} rows, {} of them null", self.nodes[at].1);
                return Err(corrupt("rows of a column", self.n_rows.to_string(), found));
            };
            let mut n = layout.n_buffers();
            if layout == Layout::Views {
                let more = self.variadic.get(n_views).and_then(|more| usize::try_from(*more).ok());
                n_views += 1;
                n = more.and_then(|more| n.checked_add(more)).unwrap_or(usize::MAX);
            }
            let first = n_buffers;
            match n.checked_add(first).filter(|end| *end <= self.buffers.len()) {
                Some(end) => n_buffers = end,
                None => {
                    let found = format!("{} for all columns", self.buffers.len());
                    return Err(corrupt("buffers of a batch", format!("{n} from {first} on"), found));
                }
            }
            Ok(Span { n_nulls, buffers: first..n_buffers })
        })
    }

    /// What a row has on average.
    pub(super) fn row_bytes(&self) -> u64 {
        ((self.body.end - self.body.start) / self.n_rows.max(1) as u64).max(1)
    }

    /// How long all buffers are together.
    pub(super) fn buffers_bytes(&self) -> u64 {
        let length = |(_, length): &(i64, i64)| u64::try_from(*length).unwrap_or(0);
        self.buffers.iter().map(length).fold(0, u64::saturating_add)
    }

    /// Where some rows are in the file, a part of each buffer: exactly, where a row has a fixed size, and else as if all had the same.
    pub(super) fn places(&self, rows: &Range<usize>) -> impl Iterator<Item = Range<u64>> {
        let part = |len: u64, row: usize| {
            let bytes = u128::from(len) * row as u128 / self.n_rows.max(1) as u128;
            u64::try_from(bytes).unwrap_or(len).min(len)
        };
        let (start, end) = (rows.start, rows.end);
        self.buffers.iter().filter_map(move |&(offset, length)| {
            let (offset, length) = (u64::try_from(offset).ok()?, u64::try_from(length).ok()?);
            let from = self.body.start.checked_add(offset)?;
            let (from, to) = (from.checked_add(part(length, start))?, from.checked_add(part(length, end))?);
            (from < to && to <= self.body.end).then_some(from..to)
        })
    }

    /// Where a buffer is in the file.
    pub(super) fn buffer(&self, at: usize, path: &Path) -> Result<Range<u64>, Error> {
        let (offset, length) = self.buffers[at];
        let place = || {
            let start = self.body.start.checked_add(u64::try_from(offset).ok()?)?;
            let end = start.checked_add(u64::try_from(length).ok()?)?;
            (end <= self.body.end).then_some(start..end)
        };
        place().ok_or_else(|| Error::Corrupt {
            path: path.into(),
            what: "place of a buffer",
            expected: format!("inside of {} bytes", self.body.end - self.body.start),
            found: format!("{length} bytes from offset {offset} on"),
        })
    }
}

fn codec(data: &RecordBatch<'_>) -> Result<Option<Codec>, String> {
    let Some(compression) = data.compression() else { return Ok(None) };
    if compression.method() != BodyCompressionMethod::BUFFER {
        return Err(format!("method {}", compression.method().0));
    }
    match compression.codec() {
        CompressionType::LZ4_FRAME => Ok(Some(Codec::Lz4)),
        CompressionType::ZSTD => Ok(Some(Codec::Zstd)),
        CompressionType(other) => Err(format!("codec {other}")),
    }
}
