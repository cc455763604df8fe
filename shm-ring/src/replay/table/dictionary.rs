//! Dictionary: values that columns name by number.
//!
//! (I1) a dictionary is in memory, or in the map, as a whole, in the order in which the footer names its parts; (I2) a number that it does
//! not have is an error where it is met; (I3) no byte of the file belongs to two parts: what is copied of all is no more than the file has.

use super::buffers::Buffers;
use super::column::ColumnData;
use super::message::{BatchHead, Delta};
use super::open::{Block, Table};
use super::schema::Layout;
use crate::error::Error;
use crate::snapshot::ReadAt;

/// All of a table.
#[derive(Debug, Default)]
pub(super) struct Dictionaries {
    of: Vec<Dictionary>,
}

#[derive(Debug)]
struct Dictionary {
    id: i64,
    layout: Layout,
    parts: Vec<ColumnData>,
    /// The number behind the last value of each part.
    ends: Vec<u64>,
}

impl Dictionaries {
    /// Where the value of that number is.
    #[inline]
    pub(super) fn value(&self, id: i64, number: u64) -> Option<(&ColumnData, usize)> {
        let dictionary = self.of.iter().find(|dictionary| dictionary.id == id)?;
        let at = dictionary.ends.partition_point(|end| *end <= number);
        let part = dictionary.parts.get(at)?;
        let start = dictionary.ends[at] - part.n_rows() as u64;
        Some((part, usize::try_from(number - start).ok()?))
    }
}

/// All values that the columns name by number.
pub(super) fn read(table: &Table, blocks: &[Block], bytes: &dyn ReadAt) -> Result<Dictionaries, Error> {
    let path = table.path();
    let corrupt = |expected: String, found: String| Error::Corrupt {
        path: path.into(),
        what: "dictionaries",
        expected,
        found,
    };
    let mut read = Dictionaries::default();
    for column in table.columns() {
        let Some(keyed) = column.keyed() else { continue };
        match read.of.iter().find(|dictionary| dictionary.id == keyed.id) {
            Some(known) if known.layout != column.values() => {
                let expected = format!("one type of dictionary {}", keyed.id);
                return Err(corrupt(expected, "two".into()));
            }
            Some(_) => {}
            None => read.of.push(Dictionary {
                id: keyed.id,
                layout: column.values(),
                parts: vec![],
                ends: vec![],
            }),
        }
    }
    let mut places: Vec<_> = blocks.iter().map(Block::place).collect();
    places.sort_unstable();
    if let Some(two) = places.windows(2).find(|two| two[1].0 < two[0].1) {
        return Err(corrupt("one behind the other".into(), format!("two from offset {} on", two[1].0)));
    }
    for block in blocks {
        let head = BatchHead::read(bytes, *block, path)?;
        let Some((id, delta)) = head.dictionary else {
            return Err(corrupt("dictionaries only".into(), "a batch of rows".into()));
        };
        // Of a column that is not there.
        let Some(dictionary) = read.of.iter_mut().find(|dictionary| dictionary.id == id) else { continue };
        if delta == Delta::First && !dictionary.parts.is_empty() {
            return Err(corrupt(
                format!("one dictionary {id}, and what is added to it"),
                "another one".into(),
            ));
        }
        let mut of = Buffers::new(bytes, &head, path, table.is_mapped())?;
        let span =
            head.spans(std::iter::once(dictionary.layout), path).next().expect("one layout, one span")?;
        let end = dictionary.ends.last().unwrap_or(&0).checked_add(head.n_rows as u64);
        let end = end.ok_or_else(|| corrupt("less than 2^64 values".into(), "more".into()))?;
        dictionary.parts.push(ColumnData::read(&mut of, &span, dictionary.layout, 0..head.n_rows)?);
        dictionary.ends.push(end);
    }
    Ok(read)
}
