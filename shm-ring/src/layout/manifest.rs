//! Manifest: what a log's segments are, as records of what changed.
//!
//! ```text
//!  byte 0       4            8          16
//!       +-------+------------+----------+------------------------+
//!       | len   | crc32c u32 | kind u64 | words, as the kind has | next record ...
//!       | u32   |            |          | them                   |
//!       +-------+------------+----------+------------------------+
//!               ^ of the manifest's number, the record's offset, len, and the len bytes behind
//! ```
//!
//! | kind | words | what changes |
//! |------|-------|--------------|
//! | 1 SNAPSHOT | version, log uuid (2), created, closed end, floor, n, then n entries | everything; the first record, and no other |
//! | 2 PREPARED | number, uuid (2), data bytes, base | a new last segment, empty; its base, where that does not follow from the one before |
//! | 3 SEALED | number, base, end, n_index, n_records, first, last, index crc, lost bytes | all of the segment is on the medium, and nobody writes it any more |
//! | 4 RETIRED | number | the first segment is gone |
//! | 5 DROPPED | number | the last segment is gone, or set aside |
//! | 6 HOLE | number, from, to | these bytes are damaged |
//! | 7 CLOSED | end | everything up to there is on the medium, and nobody appends |
//! | 8 OPENED | | somebody appends |
//! | 9 FLOOR | position | no new segment begins below it: somebody may have seen positions up to there |
//!
//! (I1) all words are 8 bytes, little-endian, and records multiples of 8; (I2) the number and the offset under the checksum let no record pass
//! for one of another manifest or another place; (I3) what is read is the longest prefix of records that hold and follow from those before:
//! the numbers of segments are consecutive, they leave in front and come behind.
//! Works on bytes and numbers; reads and writes no file.

use super::segment::{SEGMENT_BYTES_MAX, Sealed, is_log_boundary};

/// Grows when a reader of the old layout would misread the new one.
pub(crate) const MANIFEST_VERSION: u64 = 1;

const HEAD_BYTES: usize = 8;
/// A word that is not known.
const UNKNOWN: u64 = u64::MAX;
const ENTRY_WORDS_MIN: usize = 14;

/// A segment, as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Which segment.
    pub(crate) number: u64,
    /// Names this use of the file.
    pub(crate) uuid: [u8; 16],
    /// Room for frames.
    pub(crate) data_bytes: u64,
    /// The position of its first frame, where that is not the end of the segment before.
    pub(crate) base: Option<u64>,
    /// What a sealed one is; all of it is on the medium.
    pub(crate) sealed: Option<Sealed>,
    /// Bytes that were appended behind its end, at least, and did not survive; 0: none are known to be lost.
    pub(crate) lost_bytes: u64,
    /// Positions of bytes that are damaged, from and to, ascending.
    pub(crate) holes: Vec<(u64, u64)>,
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Names the log.
    pub(crate) log_uuid: [u8; 16],
    /// When it was made, ns since the Unix epoch.
    pub(crate) created_ns: u64,
    /// Where an appender ended in order, with everything on the medium; `None`: one is at work, or was cut short.
    pub(crate) closed: Option<u64>,
    /// No new segment begins below this position.
    pub(crate) floor: u64,
    /// The segments, oldest first.
    pub(crate) entries: Vec<Entry>,
}

/// A record of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Everything.
    Snapshot(State),
    /// A new last segment.
    Prepared {
        /// Which.
        number: u64,
        /// Its name.
        uuid: [u8; 16],
        /// Room for frames.
        data_bytes: u64,
        /// Its first position, where it does not follow.
        base: Option<u64>,
    },
    /// All of it is on the medium.
    Sealed {
        /// Which.
        number: u64,
        /// What it is.
        sealed: Sealed,
        /// What is known to be lost behind it.
        lost_bytes: u64,
    },
    /// The first one is gone.
    Retired {
        /// Which.
        number: u64,
    },
    /// The last one is gone.
    Dropped {
        /// Which.
        number: u64,
    },
    /// Damaged bytes.
    Hole {
        /// Of which segment.
        number: u64,
        /// The first position.
        from: u64,
        /// The position behind.
        to: u64,
    },
    /// Nobody appends.
    Closed {
        /// Everything up to here is on the medium.
        end: u64,
    },
    /// Somebody does.
    Opened,
    /// No new segment begins below.
    Floor {
        /// What.
        position: u64,
    },
}

/// What was read of a manifest's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// What it says.
    pub(crate) state: State,
    /// Bytes of records that hold; what is behind is torn, or damaged.
    pub(crate) valid_bytes: usize,
}

impl Record {
    /// The record's bytes, at `offset` of the manifest with that number.
    pub(crate) fn encode(&self, number: u64, offset: u64) -> Vec<u8> {
        let mut words = Words(vec![]);
        match self {
            Self::Snapshot(state) => words.put_snapshot(state),
            Self::Prepared { number, uuid, data_bytes, base } => {
                words.put(&[2, *number]);
                words.put_uuid(uuid);
                words.put(&[*data_bytes, base.unwrap_or(UNKNOWN)]);
            }
            Self::Sealed { number, sealed, lost_bytes } => {
                words.put(&[3, *number]);
                words.put_sealed(sealed);
                words.put(&[*lost_bytes]);
            }
            Self::Retired { number } => words.put(&[4, *number]),
            Self::Dropped { number } => words.put(&[5, *number]),
            Self::Hole { number, from, to } => words.put(&[6, *number, *from, *to]),
            Self::Closed { end } => words.put(&[7, *end]),
            Self::Opened => words.put(&[8]),
            Self::Floor { position } => words.put(&[9, *position]),
        }
        let body = words.0;
        let len = u32::try_from(body.len()).expect("a manifest has far fewer than 2^32 bytes");
        let mut out = Vec::with_capacity(HEAD_BYTES + body.len());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&checksum(number, offset, &body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut words = Input(body);
        let record = match words.word()? {
            1 => Self::Snapshot(words.snapshot()?),
            2 => Self::Prepared {
                number: words.word()?,
                uuid: words.uuid()?,
                data_bytes: words.word()?,
                base: words.known()?,
            },
            3 => Self::Sealed { number: words.word()?, sealed: words.sealed()?, lost_bytes: words.word()? },
            4 => Self::Retired { number: words.word()? },
            5 => Self::Dropped { number: words.word()? },
            6 => Self::Hole { number: words.word()?, from: words.word()?, to: words.word()? },
            7 => Self::Closed { end: words.word()? },
            8 => Self::Opened,
            9 => Self::Floor { position: words.word()? },
            _ => return None,
        };
        words.0.is_empty().then_some(record)
    }
}

impl State {
    /// A log without segments.
    pub(crate) fn new(log_uuid: [u8; 16], created_ns: u64) -> Self {
        Self { log_uuid, created_ns, closed: None, floor: 0, entries: vec![] }
    }

    /// What the bytes of the manifest with that number say; `None`: they don't begin with a snapshot that holds.
    pub(crate) fn read(number: u64, bytes: &[u8]) -> Option<Reading> {
        let (record, mut at) = next(number, bytes, 0)?;
        let Record::Snapshot(mut state) = record else { return None };
        while let Some((record, behind)) = next(number, bytes, at) {
            if state.apply(&record).is_err() {
                break;
            }
            at = behind;
        }
        Some(Reading { state, valid_bytes: at })
    }

    /// Whether a record holds anywhere behind `at`, where none does: then it is not the end that is torn.
    pub(crate) fn goes_on(number: u64, bytes: &[u8], at: usize) -> bool {
        (at + 8..bytes.len()).step_by(8).any(|at| next(number, bytes, at).is_some())
    }

    /// Makes the record's change, if it follows from what is; otherwise changes nothing and says why not.
    pub(crate) fn apply(&mut self, record: &Record) -> Result<(), &'static str> {
        match record {
            Record::Snapshot(_) => return Err("a snapshot is a manifest's first record"),
            Record::Prepared { number, uuid, data_bytes, base } => {
                let is_other = self.entries.last().is_some_and(|last| last.number + 1 != *number);
                if is_other || !(1..u64::MAX).contains(number) {
                    return Err("a new segment has the next number");
                }
                if *data_bytes > SEGMENT_BYTES_MAX || base.is_some_and(|base| !is_log_boundary(base)) {
                    return Err(
                        "a segment is no larger than they are made, and begins where a frame can stand",
                    );
                }
                self.entries.push(Entry {
                    number: *number,
                    uuid: *uuid,
                    data_bytes: *data_bytes,
                    base: *base,
                    sealed: None,
                    lost_bytes: 0,
                    holes: vec![],
                });
            }
            Record::Sealed { number, sealed, lost_bytes } => {
                let next = self.entries.iter_mut().find(|entry| entry.sealed.is_none());
                let entry = next.filter(|entry| entry.number == *number);
                let entry = entry.ok_or("segments are sealed one behind the other")?;
                if !is_seal(sealed, entry.data_bytes) {
                    return Err("a sealed segment has its end inside itself");
                }
                (entry.sealed, entry.lost_bytes) = (Some(*sealed), *lost_bytes);
            }
            Record::Retired { number } => {
                let is_first = self
                    .entries
                    .first()
                    .is_some_and(|first| first.number == *number && first.sealed.is_some());
                if !is_first {
                    return Err("the oldest segment, a sealed one, is retired");
                }
                let end = self.entries.remove(0).sealed.map(|sealed| sealed.end);
                if let Some(next) = self.entries.first_mut() {
                    // Nobody can tell any more from the one before.
                    next.base = next.base.or(end);
                }
            }
            Record::Dropped { number } => {
                let is_last =
                    self.entries.last().is_some_and(|last| last.number == *number && last.sealed.is_none());
                if !is_last {
                    return Err("the newest segment, one that is not sealed, is dropped");
                }
                self.entries.pop();
            }
            Record::Hole { number, from, to } => {
                let entry = self.entries.iter_mut().find(|entry| entry.number == *number);
                let entry = entry.ok_or("a hole is in a segment that is there")?;
                let is_behind = entry.holes.iter().all(|hole| hole.1 <= *from || *to <= hole.0);
                if from >= to || !is_behind {
                    return Err("holes have bytes and don't overlap");
                }
                entry.holes.push((*from, *to));
                entry.holes.sort_unstable();
            }
            Record::Closed { end } => self.closed = Some(*end),
            Record::Opened => self.closed = None,
            Record::Floor { position } => {
                if !is_log_boundary(*position) {
                    return Err("a floor is where a frame can stand");
                }
                self.floor = self.floor.max(*position);
            }
        }
        Ok(())
    }

    /// The number that the next new segment gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.entries.last().map_or(1, |last| last.number + 1)
    }

    /// Where that segment stands among the entries, if it is there.
    pub(crate) fn place_of(&self, number: u64) -> Option<usize> {
        let first = self.entries.first()?.number;
        let place = usize::try_from(number.checked_sub(first)?).ok()?;
        (place < self.entries.len()).then_some(place)
    }
}

fn is_seal(sealed: &Sealed, data_bytes: u64) -> bool {
    let length = sealed.end.checked_sub(sealed.base);
    length.is_some_and(|length| length <= data_bytes) && is_log_boundary(sealed.base) && sealed.end % 16 == 0
}

fn checksum(number: u64, offset: u64, body: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&number.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &(body.len() as u64).to_le_bytes());
    crc32c::crc32c_append(crc, body)
}

/// The record at `at`, if one holds there, and where the next one begins.
fn next(number: u64, bytes: &[u8], at: usize) -> Option<(Record, usize)> {
    let (head, rest) = bytes.get(at..)?.split_first_chunk::<HEAD_BYTES>()?;
    let [a, b, c, d, crc @ ..] = *head;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
    if length % 8 != 0 {
        return None;
    }
    let body = rest.get(..length)?;
    if u32::from_le_bytes(crc) != checksum(number, at as u64, body) {
        return None;
    }
    Some((Record::decode(body)?, at + HEAD_BYTES + length))
}

/// Puts words behind each other.
struct Words(Vec<u8>);

impl Words {
    fn put(&mut self, words: &[u64]) {
        words.iter().for_each(|word| self.0.extend_from_slice(&word.to_le_bytes()));
    }

    fn put_uuid(&mut self, uuid: &[u8; 16]) {
        self.0.extend_from_slice(uuid);
    }

    fn put_sealed(&mut self, sealed: &Sealed) {
        self.put(&[
            sealed.base,
            sealed.end,
            sealed.n_index,
            sealed.n_records,
            sealed.first_ns,
            sealed.last_ns,
        ]);
        self.put(&[sealed.index_crc.into()]);
    }

    fn put_snapshot(&mut self, state: &State) {
        self.put(&[1, MANIFEST_VERSION]);
        self.put_uuid(&state.log_uuid);
        self.put(&[state.created_ns, state.closed.unwrap_or(UNKNOWN), state.floor]);
        self.put(&[state.entries.len() as u64]);
        for entry in &state.entries {
            self.put(&[entry.number]);
            self.put_uuid(&entry.uuid);
            self.put(&[entry.data_bytes, entry.base.unwrap_or(UNKNOWN), u64::from(entry.sealed.is_some())]);
            let none =
                Sealed { base: 0, end: 0, n_index: 0, n_records: 0, first_ns: 0, last_ns: 0, index_crc: 0 };
            self.put_sealed(&entry.sealed.unwrap_or(none));
            self.put(&[entry.lost_bytes, entry.holes.len() as u64]);
            entry.holes.iter().for_each(|(from, to)| self.put(&[*from, *to]));
        }
    }
}

/// Takes words from behind each other.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn known(&mut self) -> Option<Option<u64>> {
        self.word().map(|word| (word != UNKNOWN).then_some(word))
    }

    fn uuid(&mut self) -> Option<[u8; 16]> {
        self.take()
    }

    /// How many things of so many words follow; there are no more than fit.
    fn count(&mut self, words_each: usize) -> Option<usize> {
        let n = usize::try_from(self.word()?).ok()?;
        (n <= self.0.len() / (8 * words_each)).then_some(n)
    }

    fn sealed(&mut self) -> Option<Sealed> {
        Some(Sealed {
            base: self.word()?,
            end: self.word()?,
            n_index: self.word()?,
            n_records: self.word()?,
            first_ns: self.word()?,
            last_ns: self.word()?,
            index_crc: u32::try_from(self.word()?).ok()?,
        })
    }

    fn snapshot(&mut self) -> Option<State> {
        if self.word()? != MANIFEST_VERSION {
            return None;
        }
        let mut state = State {
            log_uuid: self.uuid()?,
            created_ns: self.word()?,
            closed: self.known()?,
            floor: self.word()?,
            entries: Vec::new(),
        };
        if !is_log_boundary(state.floor) {
            return None;
        }
        for _ in 0..self.count(ENTRY_WORDS_MIN)? {
            let (number, uuid, data_bytes, base) = (self.word()?, self.uuid()?, self.word()?, self.known()?);
            let (is_sealed, sealed) = (self.word()? == 1, self.sealed()?);
            let lost_bytes = self.word()?;
            state.apply(&Record::Prepared { number, uuid, data_bytes, base }).ok()?;
            if is_sealed {
                state.apply(&Record::Sealed { number, sealed, lost_bytes }).ok()?;
            }
            for _ in 0..self.count(2)? {
                let (from, to) = (self.word()?, self.word()?);
                state.apply(&Record::Hole { number, from, to }).ok()?;
            }
        }
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] = *b"0123456789abcdef";

    fn sealed(base: u64, end: u64) -> Sealed {
        Sealed { base, end, n_index: 1, n_records: 2, first_ns: 3, last_ns: 4, index_crc: 5 }
    }

    /// The bytes of manifest 3 with a record of every kind, what is said behind each record, and where it ends.
    fn sample() -> (Vec<u8>, Vec<(usize, State)>) {
        let prepared = |number, base| Record::Prepared { number, uuid: UUID, data_bytes: 65536, base };
        let seal =
            |number, base, end, lost_bytes| Record::Sealed { number, sealed: sealed(base, end), lost_bytes };
        let records = [
            Record::Opened,
            prepared(1, Some(0)),
            prepared(2, None),
            seal(1, 0, 64, 0),
            prepared(3, None),
            seal(2, 64, 4096, 80),
            prepared(4, Some(1 << 20)),
            Record::Hole { number: 2, from: 64, to: 96 },
            Record::Floor { position: 1 << 21 },
            Record::Dropped { number: 4 },
            Record::Retired { number: 1 },
            Record::Closed { end: 4096 },
        ];
        let mut state = State::new(*b"fedcba9876543210", 42);
        let mut bytes = Record::Snapshot(state.clone()).encode(3, 0);
        let mut states = vec![(bytes.len(), state.clone())];
        for record in records {
            bytes.extend(record.encode(3, bytes.len() as u64));
            state.apply(&record).unwrap();
            states.push((bytes.len(), state.clone()));
        }
        (bytes, states)
    }

    // Goal: what is written is read. Method: every kind of record, and a snapshot of what came of them.
    #[test]
    fn a_manifest_survives_its_bytes() {
        let (bytes, states) = sample();
        let last = &states.last().unwrap().1;
        assert_eq!(State::read(3, &bytes), Some(Reading { state: last.clone(), valid_bytes: bytes.len() }));
        let again = Record::Snapshot(last.clone()).encode(4, 0);
        assert_eq!(State::read(4, &again).unwrap().state, *last);
        assert_eq!(State::read(5, &again), None, "the records of one manifest are none of another");
    }

    // Goal: a torn manifest is one of those that it was. Method: cut at every byte.
    #[test]
    fn every_cut_leaves_a_prefix() {
        let (bytes, states) = sample();
        for cut in 0..bytes.len() {
            let expected = states.iter().rev().find(|(end, _)| *end <= cut);
            let found = State::read(3, &bytes[..cut]).map(|reading| (reading.valid_bytes, reading.state));
            assert_eq!(found.as_ref(), expected, "cut at {cut}");
        }
    }

    // Goal: no flipped bit makes another manifest. Method: every bit; what is left is a prefix that ends in front of it.
    #[test]
    fn every_flipped_bit_leaves_a_prefix() {
        let (bytes, states) = sample();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let expected = states.iter().rev().find(|(end, _)| *end <= bit / 8);
            let found = State::read(3, &flipped).map(|reading| (reading.valid_bytes, reading.state));
            assert_eq!(found.as_ref(), expected, "bit {bit}");
        }
    }

    // Goal: no number is so high that the next one overflows. Method: the highest, as the first segment.
    #[test]
    fn numbers_end_before_they_overflow() {
        let mut state = State::new(UUID, 1);
        let prepared = |number| Record::Prepared { number, uuid: UUID, data_bytes: 65536, base: Some(0) };
        assert!(state.apply(&prepared(u64::MAX)).is_err());
        state.apply(&prepared(u64::MAX - 1)).unwrap();
        assert_eq!(state.next_number(), u64::MAX);
        assert!(state.apply(&prepared(u64::MAX)).is_err());
    }

    // Goal: what does not follow is refused and changes nothing. Method: each rule broken once.
    #[test]
    fn what_does_not_follow_is_refused() {
        let (_, states) = sample();
        let state = &states.last().unwrap().1;
        for record in [
            Record::Snapshot(state.clone()),
            Record::Prepared { number: 5, uuid: UUID, data_bytes: 65536, base: None },
            Record::Prepared { number: 4, uuid: UUID, data_bytes: u64::MAX, base: None },
            Record::Prepared { number: 4, uuid: UUID, data_bytes: 65536, base: Some(u64::MAX - 15) },
            Record::Prepared { number: 4, uuid: UUID, data_bytes: 65536, base: Some(8) },
            Record::Sealed { number: 2, sealed: sealed(64, 4096), lost_bytes: 0 },
            Record::Sealed { number: 3, sealed: sealed(64, 48), lost_bytes: 0 },
            Record::Sealed { number: 3, sealed: sealed(0, 65552), lost_bytes: 0 },
            Record::Sealed { number: 3, sealed: sealed(8, 48), lost_bytes: 0 },
            Record::Retired { number: 3 },
            Record::Dropped { number: 2 },
            Record::Floor { position: 8 },
            Record::Hole { number: 9, from: 0, to: 16 },
            Record::Hole { number: 2, from: 80, to: 112 },
            Record::Hole { number: 3, from: 16, to: 16 },
        ] {
            let mut changed = state.clone();
            assert!(changed.apply(&record).is_err(), "{record:?}");
            assert_eq!(changed, *state);
        }
        assert_eq!(
            (state.next_number(), state.place_of(3), state.place_of(4), state.place_of(1)),
            (4, Some(1), None, None)
        );
    }
}
