//! Mapped: page 0 and page 1 of a mapped file, a file of plain bytes that grow at the end (append) or are handed out in ranges (ranged).
//!
//! ```text
//!  page 0    page 1    table_offset                data_offset             end of the file: whole pages
//! +---------+---------+---------------------------+------------------------+
//! | header  | live    | ranged: four bit tables,  | data; byte 0 of what   |
//! |         |         | one bit per unit each     | the user sees          |
//! +---------+---------+---------------------------+------------------------+
//!
//! byte  0       8      12     16     32           40     44     48     56      64           72     80     88
//!       +-------+------+------+------+------------+------+------+------+-------+------------+------+------+-----+
//!       | magic | ver. | crc  | uuid | created_ns | page | unit | live | table | table      | data | size | 0s  |
//!       |       | u32  | u32  |      |            | u32  | u32  | off. | off.  | bytes, sum | off. |      |to256|
//!       +-------+------+------+------+------------+------+------+------+-------+------------+------+------+-----+
//! ```
//!
//! | kind   | magic       | unit         | tables        | size           | length of the file |
//! |--------|-------------|--------------|---------------|----------------|--------------------|
//! | append | `SHMAPND\0` | 0            | none          | 0              | grows, never shrinks; in the live page: how much of it counts |
//! | ranged | `SHMRANG\0` | 1, 64 or 4096| free, written, and marks of what is durable, which take two; each in whole pages | of the data, exact | fixed |
//!
//! (I1) a header that decodes is one that [`Header::encode`] can have made; (I2) the checksum is that of a ring's header, and is checked
//! before anything behind it is believed; (I3) the live page consists of atomics, each line written by one side; (I4) all-zero bytes are
//! a fresh live page, and a seal counts when its state says so and its checksum holds.
//! Works on bytes and numbers; reads and writes no file.

use super::header::{HEADER_BYTES, Malformed, Reader, Writer, checksum, field};
use super::slots::Line;
use crate::sync::AtomicU64;

/// The first eight bytes of an append file.
pub(crate) const MAGIC_APPEND: [u8; 8] = *b"SHMAPND\0";
/// The first eight bytes of a ranged file.
pub(crate) const MAGIC_RANGED: [u8; 8] = *b"SHMRANG\0";
/// The first four bytes of an append file as older programs wrote them.
pub(crate) const MAGIC_LEGACY: [u8; 4] = 0xdead_beef_u32.to_le_bytes();
/// Grows when a reader of the old layout would misread the new one.
pub(crate) const LAYOUT_VERSION: u32 = 1;

/// The lock byte of "a writer lives": one exclusive holder (append), or any number of shared ones (ranged). Byte 0 is set-up and repair.
pub(crate) const WRITER_BYTE: u64 = 1;
/// The lock byte that each holder of slices in place shares, and that who would take their bytes away needs alone.
pub(crate) const PIN_BYTE: u64 = 2;

const PAGE_BYTES_MIN: u64 = 4096;
const PAGE_BYTES_MAX: u64 = 2 << 20;
/// Files end below this: offsets are signed in system calls.
const FILE_BYTES_END: u64 = 1 << 63;
/// Bit tables of a ranged file: free, written, and two for the marks of what is durable.
pub(crate) const N_TABLES: u64 = 4;

/// What the data is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes that grow at the end.
    Append,
    /// Ranges of a fixed size.
    Ranged {
        /// Bytes that one bit of a table stands for: 1, 64 or 4096.
        unit_bytes: u32,
        /// Bytes of data, as asked for; the last unit may reach beyond.
        size_bytes: u64,
    },
}

/// Everything that page 0 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Names this file for ever.
    pub(crate) uuid: [u8; 16],
    /// When the file was made, ns since the Unix epoch.
    pub(crate) created_ns: u64,
    /// What the data is for.
    pub(crate) kind: Kind,
    /// Where everything lies.
    pub(crate) extent: Extent,
}

/// Where the parts of a mapped file lie; offsets and lengths are whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The page size that the file was made for.
    pub(crate) page_bytes: u64,
    /// Page 1.
    pub(crate) live_offset: u64,
    /// The first table.
    pub(crate) table_offset: u64,
    /// One table; 0 without tables.
    pub(crate) table_bytes: u64,
    /// Byte 0 of what the user sees.
    pub(crate) data_offset: u64,
    /// Ranged: the length of the file. Append: the least that it can be.
    pub(crate) file_bytes: u64,
}

impl Extent {
    /// Where the parts lie for this kind; an error names the field that can't be, with what is expected and what is found.
    pub(crate) fn new(kind: Kind, page_bytes: u64) -> Result<Self, (&'static str, &'static str, u64)> {
        if !page_bytes.is_power_of_two() || !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes) {
            return Err(("page size", "a power of two, 4096 to 2^21", page_bytes));
        }
        let (live_offset, table_offset) = (page_bytes, 2 * page_bytes);
        let (table_bytes, data_bytes) = match kind {
            Kind::Append => (0, 0),
            Kind::Ranged { unit_bytes, .. } if !matches!(unit_bytes, 1 | 64 | 4096) => {
                return Err(("unit", "1, 64 or 4096", unit_bytes.into()));
            }
            Kind::Ranged { size_bytes: 0, .. } => return Err(("size", "at least 1 byte", 0)),
            Kind::Ranged { unit_bytes, size_bytes } => {
                let n_words = size_bytes.div_ceil(unit_bytes.into()).div_ceil(64);
                let too_large = ("size", "a file of less than 2^63 bytes", size_bytes);
                let bytes = n_words.checked_mul(8).ok_or(too_large)?;
                let table_bytes = bytes.checked_next_multiple_of(page_bytes).ok_or(too_large)?;
                (table_bytes, size_bytes.checked_next_multiple_of(page_bytes).ok_or(too_large)?)
            }
        };
        let size_bytes = if let Kind::Ranged { size_bytes, .. } = kind { size_bytes } else { 0 };
        let data_offset = table_bytes.checked_mul(N_TABLES).and_then(|sum| sum.checked_add(table_offset));
        let file_bytes = data_offset
            .and_then(|data_offset| data_offset.checked_add(data_bytes))
            .filter(|bytes| *bytes < FILE_BYTES_END);
        let (Some(data_offset), Some(file_bytes)) = (data_offset, file_bytes) else {
            return Err(("size", "a file of less than 2^63 bytes", size_bytes));
        };
        Ok(Self { page_bytes, live_offset, table_offset, table_bytes, data_offset, file_bytes })
    }
}

impl Header {
    /// The first [`HEADER_BYTES`] of the file.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let extent = &self.extent;
        let (magic, unit_bytes, size_bytes) = match self.kind {
            Kind::Append => (MAGIC_APPEND, 0, 0),
            Kind::Ranged { unit_bytes, size_bytes } => (MAGIC_RANGED, unit_bytes, size_bytes),
        };
        let mut out = Writer::new();
        out.put(&magic);
        out.put(&LAYOUT_VERSION.to_le_bytes());
        out.put(&[0; 4]);
        out.put(&self.uuid);
        out.put(&self.created_ns.to_le_bytes());
        out.put(&u32::try_from(extent.page_bytes).expect("pages have at most 2 MiB").to_le_bytes());
        out.put(&unit_bytes.to_le_bytes());
        let tables = N_TABLES * extent.table_bytes;
        for word in [extent.live_offset, extent.table_offset, tables, extent.data_offset, size_bytes] {
            out.put(&word.to_le_bytes());
        }
        out.finish()
    }

    /// Reads a header, believing nothing.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        let magic: [u8; 8] = input.take();
        if magic != MAGIC_APPEND && magic != MAGIC_RANGED {
            return Err(Malformed::Magic { found: magic });
        }
        let version = input.u32();
        if version != LAYOUT_VERSION {
            return Err(Malformed::Version { found: version });
        }
        let (stored, computed) = (input.u32(), checksum(bytes));
        if stored != computed {
            return Err(field("header checksum", format!("{computed:#010x}"), format!("{stored:#010x}")));
        }
        let (uuid, created_ns) = (input.take(), input.u64());
        let (page_bytes, unit_bytes) = (input.u32(), input.u32());
        let (live_offset, table_offset, tables) = (input.u64(), input.u64(), input.u64());
        let (data_offset, size_bytes) = (input.u64(), input.u64());
        let kind = if magic == MAGIC_APPEND { Kind::Append } else { Kind::Ranged { unit_bytes, size_bytes } };
        let extent = Extent::new(kind, page_bytes.into())
            .map_err(|(what, expected, found)| field(what, expected.into(), found.to_string()))?;
        let header = Self { uuid, created_ns, kind, extent };
        for (what, expected, found) in [
            ("live page offset", extent.live_offset, live_offset),
            ("table offset", extent.table_offset, table_offset),
            ("length of the tables", N_TABLES * extent.table_bytes, tables),
            ("data offset", extent.data_offset, data_offset),
        ] {
            if expected != found {
                return Err(field(what, expected.to_string(), found.to_string()));
            }
        }
        // What is left: the fields of the other kind, and the bytes behind the fields.
        if header.encode() != *bytes {
            return Err(field("unused fields", "zeros".into(), "something else".into()));
        }
        Ok(header)
    }
}

/// Page 1: what all processes share.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Live {
    /// Append: bytes that are whole and published. Ranged: bytes below were handed out at least once.
    pub(crate) len: Line<AtomicU64>,
    /// What is written seldom.
    pub(crate) era: Line<Era>,
    /// Written once, when the file is finished.
    pub(crate) seal: Line<SealWords>,
    /// Ranged: [`FREE_UNITS`], [`SYNC_FAILED`]. Append: nothing.
    pub(crate) more: Line<[AtomicU64; 16]>,
}

/// The second line of [`Live`].
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Era {
    /// Append: bytes that are known to be on the medium. Ranged: 0, its tables say it.
    pub(crate) durable: AtomicU64,
    /// Append: grows by two whenever bytes below `len` are given up; odd in the middle of that. Ranged: grows whenever bytes that were
    /// written are freed.
    pub(crate) generation: AtomicU64,
    /// Append: what `len` is about to become; good while `generation` is odd.
    pub(crate) target: AtomicU64,
    /// The boot in which the file was last made fit for use.
    pub(crate) boot_id: [AtomicU64; 2],
    /// The last who opened it for writing; display only.
    pub(crate) writer_pid: AtomicU64,
}

/// The third line of [`Live`].
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SealWords {
    /// [`OPEN`] or [`SEALED`]; stored last.
    pub(crate) state: AtomicU64,
    /// Bytes of data that the seal covers.
    pub(crate) sealed_len: AtomicU64,
    /// Their crc32c.
    pub(crate) data_crc: AtomicU64,
    /// crc32c of the uuid and the two words above.
    pub(crate) seal_crc: AtomicU64,
}

/// Of the fourth line: how many units of a ranged file are free again, or a few more.
pub(crate) const FREE_UNITS: usize = 0;
/// Of the fourth line: 1 after a sync of a ranged file has failed, until the next boot.
pub(crate) const SYNC_FAILED: usize = 1;

/// State of a file that may be written.
pub(crate) const OPEN: u64 = 0;
/// State of a file that is finished; no flipped bit makes one of the two from the other.
pub(crate) const SEALED: u64 = u64::from_le_bytes(*b"SEALED\0\0");

/// Bytes of [`Live`] in the file.
pub(crate) const LIVE_BYTES: usize = 512;
/// Where the seal begins in the live page.
pub(crate) const SEAL_OFFSET: usize = 256;

#[cfg(not(any(loom, shuttle)))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Live>() == LIVE_BYTES);
    assert!(offset_of!(Live, len) == 0);
    assert!(offset_of!(Live, era) == 128);
    assert!(offset_of!(Live, seal) == SEAL_OFFSET);
    assert!(offset_of!(Live, more) == 384);
    assert!(offset_of!(Era, durable) == 0);
    assert!(offset_of!(Era, generation) == 8);
    assert!(offset_of!(Era, target) == 16);
    assert!(offset_of!(Era, boot_id) == 24);
    assert!(offset_of!(Era, writer_pid) == 40);
    assert!(offset_of!(SealWords, state) == 0);
    assert!(offset_of!(SealWords, sealed_len) == 8);
    assert!(offset_of!(SealWords, data_crc) == 16);
    assert!(offset_of!(SealWords, seal_crc) == 24);
};

/// What a finished file says of its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Bytes of data.
    pub(crate) len_bytes: u64,
    /// Their crc32c.
    pub(crate) data_crc: u32,
}

impl Seal {
    /// The words behind the state.
    pub(crate) fn encode(&self, uuid: &[u8; 16]) -> [u64; 3] {
        [self.len_bytes, self.data_crc.into(), self.crc(uuid).into()]
    }

    /// Reads state and words, in their order in the page, as they were loaded; `None`: the file is open. Whether the file is that long, and
    /// the data has that checksum, is for the caller to see.
    pub(crate) fn decode(words: [u64; 4], uuid: &[u8; 16]) -> Result<Option<Self>, Malformed> {
        let [state, len_bytes, data_crc, seal_crc] = words;
        match state {
            OPEN => return Ok(None),
            SEALED => {}
            _ => return Err(field("state of the seal", format!("0 or {SEALED:#x}"), format!("{state:#x}"))),
        }
        let too_large = |_| field("checksum in the seal", "32 bits".into(), format!("{data_crc:#x}"));
        let seal = Self { len_bytes, data_crc: data_crc.try_into().map_err(too_large)? };
        let computed = seal.crc(uuid);
        if u64::from(computed) != seal_crc {
            return Err(field(
                "checksum of the seal",
                format!("{computed:#010x}"),
                format!("{seal_crc:#010x}"),
            ));
        }
        Ok(Some(seal))
    }

    /// The same from the bytes of the live page.
    pub(crate) fn from_page(page: &[u8; LIVE_BYTES], uuid: &[u8; 16]) -> Result<Option<Self>, Malformed> {
        let word = |index: usize| {
            let at = SEAL_OFFSET + 8 * index;
            u64::from_le_bytes(page[at..at + 8].try_into().expect("the slice has 8 bytes"))
        };
        Self::decode([0, 1, 2, 3].map(word), uuid)
    }

    fn crc(&self, uuid: &[u8; 16]) -> u32 {
        let named = crc32c::crc32c(uuid);
        let sized = crc32c::crc32c_append(named, &self.len_bytes.to_le_bytes());
        crc32c::crc32c_append(sized, &u64::from(self.data_crc).to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: [u8; 16] = *b"0123456789abcdef";

    fn header(kind: Kind) -> Header {
        Header { uuid: UUID, created_ns: 42, kind, extent: Extent::new(kind, 4096).unwrap() }
    }

    fn samples() -> [Header; 4] {
        let ranged = |unit_bytes, size_bytes| header(Kind::Ranged { unit_bytes, size_bytes });
        [header(Kind::Append), ranged(1, 1), ranged(64, 1 << 20), ranged(4096, (5 << 30) + 1)]
    }

    // Goal: what is written is read. Method: headers of both kinds, there and back.
    #[test]
    fn a_mapped_header_survives_its_bytes() {
        for sample in samples() {
            assert_eq!(Header::decode(&sample.encode()), Ok(sample));
        }
    }

    // Goal: no flipped bit of a header goes unnoticed. Method: every single bit of both kinds.
    #[test]
    fn every_flipped_bit_of_a_mapped_header_is_noticed() {
        for sample in [samples()[0], samples()[2]] {
            for bit in 0..HEADER_BYTES * 8 {
                let mut bytes = sample.encode();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(Header::decode(&bytes).is_err(), "bit {bit}");
            }
        }
    }

    // Goal: parts never overlap, and every unit has its bit. Method: sizes at the edges of words, units and pages.
    #[test]
    fn the_parts_of_a_ranged_file_lie_behind_each_other() {
        for unit_bytes in [1, 64, 4096] {
            for size_bytes in [1, 63, 64, 65, 4095, 4096, 4097, 32767, 32768, 32769, 1 << 21, (1 << 33) + 5] {
                let extent = Extent::new(Kind::Ranged { unit_bytes, size_bytes }, 4096).unwrap();
                assert_eq!((extent.live_offset, extent.table_offset), (4096, 8192));
                assert!(extent.table_bytes * 8 >= size_bytes.div_ceil(unit_bytes.into()));
                assert_eq!(extent.data_offset, 8192 + N_TABLES * extent.table_bytes);
                assert_eq!(extent.file_bytes, extent.data_offset + size_bytes.next_multiple_of(4096));
                assert!([extent.table_bytes, extent.data_offset].iter().all(|part| part % 4096 == 0));
            }
        }
        for (unit_bytes, size_bytes, what) in [(64, 0, "size"), (2, 1, "unit"), (0, 1, "unit")] {
            assert_eq!(Extent::new(Kind::Ranged { unit_bytes, size_bytes }, 4096).unwrap_err().0, what);
        }
        for size_bytes in [u64::MAX, u64::MAX - 4096, (1 << 63) - 8192, 1 << 62] {
            let extent = Extent::new(Kind::Ranged { unit_bytes: 1, size_bytes }, 4096);
            assert!(extent.is_err() == (size_bytes > 1 << 62), "{size_bytes}: {extent:?}");
        }
        assert_eq!(Extent::new(Kind::Append, 5000).unwrap_err().0, "page size");
    }

    // Goal: a seal is believed when all of it holds. Method: every bit of its words and of the name flipped.
    #[test]
    fn every_flipped_bit_of_a_seal_is_noticed() {
        let seal = Seal { len_bytes: 12345, data_crc: 0xdead_beef };
        let [len, data, crc] = seal.encode(&UUID);
        let words = [SEALED, len, data, crc];
        assert_eq!(Seal::decode(words, &UUID), Ok(Some(seal)));
        assert_eq!(Seal::decode([OPEN, len, data, crc], &UUID), Ok(None));
        for bit in 0..256 {
            let mut flipped = words;
            flipped[bit / 64] ^= 1 << (bit % 64);
            assert!(Seal::decode(flipped, &UUID).is_err(), "bit {bit}");
        }
        assert!(Seal::decode(words, b"0123456789abcdeF").is_err());
        let mut page = [0; LIVE_BYTES];
        assert_eq!(Seal::from_page(&page, &UUID), Ok(None));
        for (at, word) in page[SEAL_OFFSET..].chunks_exact_mut(8).zip(words) {
            at.copy_from_slice(&word.to_le_bytes());
        }
        assert_eq!(Seal::from_page(&page, &UUID), Ok(Some(seal)));
    }

    proptest! {
        // Goal: forged fields under a right checksum are still checked. Method: random bytes, checksum made right.
        #[test]
        fn forged_fields_never_pass_as_another_mapped_file(
            which in 0usize..4, at in (0usize..8).prop_union(16usize..256), value in any::<u8>(),
        ) {
            let mut bytes = samples()[which].encode();
            bytes[at] = value;
            let crc = checksum(&bytes);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        // Goal: no kind and size that can be made is misread. Method: random ones, there and back.
        #[test]
        fn every_mapped_header_that_can_be_made_is_read(
            unit in 0usize..4, size_bytes in 1u64..1 << 62, shift in 0u32..62, page in 12u32..22,
        ) {
            let size_bytes = (size_bytes >> shift).max(1);
            let kind = match unit {
                3 => Kind::Append,
                _ => Kind::Ranged { unit_bytes: [1, 64, 4096][unit], size_bytes },
            };
            if let Ok(extent) = Extent::new(kind, 1 << page) {
                let header = Header { uuid: UUID, created_ns: size_bytes, kind, extent };
                prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
            }
        }

        #[test]
        fn random_bytes_are_no_mapped_file(bytes in proptest::collection::vec(any::<u8>(), HEADER_BYTES)) {
            prop_assert!(Header::decode(&bytes.try_into().unwrap()).is_err());
        }
    }
}
