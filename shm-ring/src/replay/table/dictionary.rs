//! Dictionary: values that columns name by number.
//!
//! (I1) a dictionary is in memory, or in the map, as a whole, in the order in which the footer names its parts; (I2) a number that it does
//! not have is an error where it is met.

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
}

impl Dictionaries {
    /// Where the value of that number is.
    #[inline]
    pub(super) fn value(&self, id: i64, number: u64) -> Option<(&ColumnData, usize)> {
        let dictionary = self.of.iter().find(|dictionary| dictionary.id == id)?;
        let mut at = usize::try_from(number).ok()?;
        for part in &dictionary.parts {
            if at < part.n_rows() {
                return Some((part, at));
            }
            at -= part.n_rows();
        }
        None
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
            None => read.of.push(Dictionary { id: keyed.id, layout: column.values(), parts: vec![] }),
        }
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
        dictionary.parts.push(ColumnData::read(&mut of, &span, dictionary.layout, 0..head.n_rows)?);
    }
    Ok(read)
}
