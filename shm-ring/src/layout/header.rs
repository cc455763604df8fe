//! Header: page 0 of a ring file, written once before anybody can see the file, and never again.
//!
//! ```text
//! byte  0         8      12     16      32      40           48         56         64     68
//!       +---------+------+------+-------+-------+------------+----------+----------+------+-------+
//!       | SHMRING\0 version crc | uuid  | nonce | created_ns | capacity | file_len | page | flags |
//!       +---------+------+------+-------+-------+------------+----------+----------+------+-------+
//! byte  72      80           88          92      96           104          108     112
//!       +-------+------------+-----------+-------+------------+------------+-------+------+- - -+
//!       | live  | producers  | producers | stride| consumers  | consumers  | stride| data | 0s  |
//!       | offset| offset     | max u32   | u32   | offset     | max u32    | u32   | off. |to256|
//!       +-------+------------+-----------+-------+------------+------------+-------+------+- - -+
//! ```
//!
//! (I1) a header that decodes is one that [`Header::encode`] can have made: every offset follows from the shape; (I2) the checksum
//! (crc32c over 256 bytes, its own four as zero) is checked before anything behind it is believed, the magic and version before it.
//! Works on bytes; reads and writes no file.

use super::geometry::{Geometry, Shape};
use super::slots::{CONSUMER_SLOT_BYTES, PRODUCER_SLOT_BYTES};

/// The first eight bytes of every ring.
pub(crate) const MAGIC: [u8; 8] = *b"SHMRING\0";
/// Grows when a reader of the old layout would misread the new one.
pub(crate) const LAYOUT_VERSION: u32 = 1;
/// Bytes that the checksum covers.
pub(crate) const HEADER_BYTES: usize = 256;

const FLAG_METADATA: u32 = 1;
const FLAG_SINGLE_PRODUCER: u32 = 2;

/// A uuid as people write it.
pub(crate) fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[0..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]].join("-")
}

/// Everything that page 0 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Names this ring for ever.
    pub(crate) uuid: [u8; 16],
    /// Secret of the seals; odd.
    pub(crate) nonce: u64,
    /// When the ring was made, ns since the Unix epoch.
    pub(crate) created_ns: u64,
    /// Where everything lies.
    pub(crate) geometry: Geometry,
}

/// Why bytes are not a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The first bytes are somebody else's.
    Magic { found: [u8; 8] },
    /// Another layout.
    Version { found: u32 },
    /// A field is not what it must be.
    Field { what: &'static str, expected: String, found: String },
}

impl Header {
    /// The first [`HEADER_BYTES`] of the file.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let g = &self.geometry;
        let mut out = Writer::new();
        out.put(&MAGIC);
        out.put(&LAYOUT_VERSION.to_le_bytes());
        out.put(&[0; 4]);
        out.put(&self.uuid);
        for word in [self.nonce, self.created_ns, g.shape.capacity_bytes, g.file_bytes] {
            out.put(&word.to_le_bytes());
        }
        out.put(&u32::try_from(g.page_bytes).expect("pages have at most 2 MiB").to_le_bytes());
        let flags = if g.shape.metadata { FLAG_METADATA } else { 0 }
            | if g.shape.single_producer { FLAG_SINGLE_PRODUCER } else { 0 };
        out.put(&flags.to_le_bytes());
        out.put(&g.live_offset.to_le_bytes());
        for (offset, slots, stride) in [
            (g.producers_offset, g.shape.producers_max, PRODUCER_SLOT_BYTES),
            (g.consumers_offset, g.shape.consumers_max, CONSUMER_SLOT_BYTES),
        ] {
            out.put(&offset.to_le_bytes());
            out.put(&u32::from(slots).to_le_bytes());
            out.put(&u32::try_from(stride).expect("strides are small").to_le_bytes());
        }
        out.put(&g.data_offset.to_le_bytes());
        out.finish()
    }

    /// Reads a header, believing nothing.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        let magic: [u8; 8] = input.take();
        if magic != MAGIC {
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
        let uuid = input.take();
        let (nonce, created_ns, capacity_bytes, file_bytes) =
            (input.u64(), input.u64(), input.u64(), input.u64());
        let (page_bytes, flags, live_offset) = (input.u32(), input.u32(), input.u64());
        let (producers_offset, producers_max, producer_stride) = (input.u64(), input.u32(), input.u32());
        let (consumers_offset, consumers_max, consumer_stride) = (input.u64(), input.u32(), input.u32());
        let data_offset = input.u64();
        if nonce % 2 == 0 {
            return Err(field("nonce", "an odd number".into(), nonce.to_string()));
        }
        if flags & !(FLAG_METADATA | FLAG_SINGLE_PRODUCER) != 0 {
            return Err(field("flags", "bits 0 and 1 only".into(), format!("{flags:#x}")));
        }
        let slots =
            |what, n: u32| u16::try_from(n).map_err(|_| field(what, "at most 4096".into(), n.to_string()));
        let shape = Shape {
            capacity_bytes,
            producers_max: slots("producer slots", producers_max)?,
            consumers_max: slots("consumer slots", consumers_max)?,
            metadata: flags & FLAG_METADATA != 0,
            single_producer: flags & FLAG_SINGLE_PRODUCER != 0,
        };
        let geometry = Geometry::new(shape, page_bytes.into())
            .map_err(|u| field(u.option, u.expected, u.found.to_string()))?;
        for (what, expected, found) in [
            ("live page offset", geometry.live_offset, live_offset),
            ("producer table offset", geometry.producers_offset, producers_offset),
            ("producer slot size", PRODUCER_SLOT_BYTES, producer_stride.into()),
            ("consumer table offset", geometry.consumers_offset, consumers_offset),
            ("consumer slot size", CONSUMER_SLOT_BYTES, consumer_stride.into()),
            ("data offset", geometry.data_offset, data_offset),
            ("file length in header", geometry.file_bytes, file_bytes),
        ] {
            if expected != found {
                return Err(field(what, expected.to_string(), found.to_string()));
            }
        }
        Ok(Self { uuid, nonce, created_ns, geometry })
    }
}

/// A field that is not what it must be.
pub(super) fn field(what: &'static str, expected: String, found: String) -> Malformed {
    Malformed::Field { what, expected, found }
}

/// The checksum of a header: its own four bytes count as zero.
pub(super) fn checksum(bytes: &[u8; HEADER_BYTES]) -> u32 {
    let before = crc32c::crc32c(&bytes[..12]);
    let hole = crc32c::crc32c_append(before, &[0; 4]);
    crc32c::crc32c_append(hole, &bytes[16..])
}

/// Puts fields behind each other.
pub(super) struct Writer {
    bytes: [u8; HEADER_BYTES],
    at: usize,
}

impl Writer {
    /// Nothing but zeros so far.
    pub(super) fn new() -> Self {
        Self { bytes: [0; HEADER_BYTES], at: 0 }
    }

    /// The bytes, with the checksum in its place.
    pub(super) fn finish(mut self) -> [u8; HEADER_BYTES] {
        let crc = checksum(&self.bytes);
        self.bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        self.bytes
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

/// Takes fields from behind each other.
pub(super) struct Reader<'a> {
    bytes: &'a [u8; HEADER_BYTES],
    at: usize,
}

impl<'a> Reader<'a> {
    /// From the first field on.
    pub(super) fn new(bytes: &'a [u8; HEADER_BYTES]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn take<const N: usize>(&mut self) -> [u8; N] {
        let out = self.bytes[self.at..self.at + N].try_into().expect("the slice has N bytes");
        self.at += N;
        out
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Header {
        let shape = Shape {
            capacity_bytes: 1 << 16,
            producers_max: 8,
            consumers_max: 9,
            metadata: true,
            single_producer: true,
        };
        Header {
            uuid: *b"0123456789abcdef",
            nonce: 0x1234_5679,
            created_ns: 42,
            geometry: Geometry::new(shape, 4096).unwrap(),
        }
    }

    // Goal: what is written is read. Method: one header, there and back.
    #[test]
    fn a_header_survives_its_bytes() {
        assert_eq!(Header::decode(&sample().encode()), Ok(sample()));
    }

    // Goal: no flipped bit goes unnoticed. Method: every single bit of the header.
    #[test]
    fn every_flipped_bit_is_noticed() {
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = sample().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    proptest! {
        // Goal: forged fields under a right checksum are still checked. Method: random bytes, checksum made right.
        #[test]
        fn forged_fields_never_pass_as_another_geometry(at in 16usize..120, value in any::<u8>()) {
            let mut bytes = sample().encode();
            bytes[at] = value;
            let crc = checksum(&bytes);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), HEADER_BYTES)) {
            prop_assert!(Header::decode(&bytes.try_into().unwrap()).is_err());
        }
    }
}
