//! Snapshot, sealed: a file that says of itself that it is finished is read when all of it is as it says, and refused otherwise.
//!
//! The files here are written by hand, as the format document says, byte by byte: what makes them otherwise is tested with what makes them.
//!
//! ```text
//!   header (256 of page 0) | live page: ... seal at 256 ... | ranged: four tables | data, and room behind it
//! ```

use crate::harness::directory;
use crate::records::crc32c;
use crate::snapshot::{check_all, pattern};
use crate::snapshot_opening::is_mapped;
use shm_ring::{
    Alignment, AppendFile, AppendOptions, Error, FileKind, FileSnapshot, MapBudget, MapUsage, RangedFile,
    RangedOptions, ReadAt, RingOptions, Snapshot,
};
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

const UUID: [u8; 16] = *b"some file's name";
const SEALED: u64 = u64::from_le_bytes(*b"SEALED\0\0");
/// Where the words of the seal stand in the live page.
const SEAL: usize = 256;

/// The bytes of a mapped file and where its parts are.
#[derive(Clone, Debug)]
struct Image {
    bytes: Vec<u8>,
    page: usize,
    data: usize,
}

impl Image {
    /// A file that grows at the end, with more room than data.
    fn append(data: &[u8], page: usize) -> Self {
        let mut image = Self::new(b"SHMAPND\0", page, 0, 0, 0, data.len());
        let room = image.bytes.len() + page;
        // What is behind the data means nothing.
        image.bytes.resize(room, 0xbb);
        image.fill(data)
    }

    /// A file of ranges.
    fn ranged(data: &[u8], page: usize, unit: usize) -> Self {
        let tables = 4 * (data.len().div_ceil(unit).div_ceil(64) * 8).next_multiple_of(page);
        Self::new(b"SHMRANG\0", page, unit, tables, data.len(), data.len()).fill(data)
    }

    fn new(magic: &[u8; 8], page: usize, unit: usize, tables: usize, size: usize, len: usize) -> Self {
        let data = 2 * page + tables;
        let mut bytes = vec![0; data + len.next_multiple_of(page)];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(magic);
        put(&1u32.to_le_bytes());
        put(&[0; 4]);
        put(&UUID);
        put(&1_700_000_000_000_000_000u64.to_le_bytes());
        put(&(page as u32).to_le_bytes());
        put(&(unit as u32).to_le_bytes());
        for word in [page, 2 * page, tables, data, size] {
            put(&(word as u64).to_le_bytes());
        }
        Self { bytes, page, data }.with_header_crc()
    }

    fn with_header_crc(mut self) -> Self {
        self.bytes[12..16].fill(0);
        let crc = crc32c(&self.bytes[..256]);
        self.bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        self
    }

    fn fill(mut self, data: &[u8]) -> Self {
        self.bytes[self.data..][..data.len()].copy_from_slice(data);
        self.sealed(SEALED, data.len() as u64, crc32c(data).into())
    }

    /// With these words and the checksum that they have.
    fn sealed(mut self, state: u64, len: u64, data_crc: u64) -> Self {
        let covered = [&UUID[..], &len.to_le_bytes(), &data_crc.to_le_bytes()].concat();
        for (n, word) in [state, len, data_crc, crc32c(&covered).into()].into_iter().enumerate() {
            self.bytes[self.page + SEAL + 8 * n..][..8].copy_from_slice(&word.to_le_bytes());
        }
        self
    }

    fn write(&self, directory: &Path) -> PathBuf {
        let path = directory.join("sealed");
        fs::write(&path, &self.bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }
}

/// A file of each kind.
fn images(data: &[u8]) -> Vec<(&'static str, Image)> {
    let mut images =
        vec![("append", Image::append(data, 4096)), ("append, large pages", Image::append(data, 65_536))];
    if !data.is_empty() {
        images.extend([1, 64, 4096].map(|unit| ("ranged", Image::ranged(data, 4096, unit))));
    }
    images
}

/// What opening says, by every way to do it.
fn open_all(path: &Path) -> [Result<Box<dyn ReadAt>, Error>; 4] {
    [
        Snapshot::open(path).map(|opened| Box::new(opened) as _),
        FileSnapshot::open(path).map(|opened| Box::new(opened) as _),
        Snapshot::open_within(path, &MapBudget::new()),
        Snapshot::open_within(path, &MapBudget::new().maps(0)),
    ]
}

/// Every way to open it fails with such an error, which names the file, says what was found, and leaves it as it was.
fn refused(path: &Path, what: &str, is_expected: impl Fn(&Error) -> bool) {
    let before = fs::read(path).unwrap();
    for opened in open_all(path) {
        let error = opened.map(drop).expect_err(what);
        assert!(is_expected(&error), "{what}: {error:?}");
        assert_eq!(error.path(), Some(path));
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    assert!(fs::read(path).unwrap() == before, "{what}: the file was changed");
}

fn corrupt(part: &str) -> impl Fn(&Error) -> bool {
    move |error| matches!(error, Error::Corrupt { what, .. } if what.contains(part))
}

#[test]
fn a_sealed_file_is_read_as_any_snapshot() {
    // Goal: the data of a sealed file, and nothing else of it, is what is read, from a map and by copies, with and without a budget.
    // Method: files of both kinds by hand, in several sizes and page sizes; every case of any backend.
    for len in [0, 1, 100, 4095, 4096, 4097, 300_000] {
        let (directory, data) = (directory(), pattern(len));
        for (kind, image) in images(&data) {
            let path = image.write(directory.path());
            for (n, opened) in open_all(&path).into_iter().enumerate() {
                let opened = opened.unwrap_or_else(|error| panic!("{kind} of {len} bytes: {error}"));
                assert_eq!(is_mapped(&*opened), n % 2 == 0 || (n == 3 && len == 0), "{kind} of {len} bytes");
                check_all(kind, &*opened, &data);
            }
            assert_eq!(Snapshot::open(&path).unwrap().as_slice(), data);
            assert_eq!(Snapshot::open(&path).unwrap().as_slice().as_ptr().addr() % 4096, 0);
        }
    }
}

#[test]
fn a_finished_append_file_is_a_snapshot() {
    // Goal: what was appended, and nothing else of its file, is what a snapshot of it has, from the moment that it is sealed, also for who
    // has the file open in another way. Method: files with nothing, little and much in them, before and after.
    for len in [0, 1, 4096, 700_000] {
        let (directory, data) = (directory(), pattern(len));
        let path = directory.path().join("append");
        let append = AppendOptions::new().create(&path).unwrap();
        for piece in data.chunks(1000) {
            append.push(piece).unwrap();
        }
        let mut follower = AppendFile::follow(&path).unwrap();
        refused(&path, "open", |error| matches!(error, Error::NotSealed { .. }));
        append.seal().unwrap();
        for opened in open_all(&path) {
            check_all("append", &*opened.unwrap(), &data);
        }
        let mut followed = vec![0; len];
        follower.read_at(0, &mut followed).unwrap();
        assert_eq!(followed, data);
        assert!(matches!(AppendFile::open(&path), Err(Error::Sealed { .. })));
        assert_eq!(Snapshot::open(&path).unwrap().as_slice(), data);
    }
}

#[test]
fn a_finished_ranged_file_is_a_snapshot() {
    // Goal: all bytes of a ranged file, each where its range was, and nothing else of its file, from the moment that it is sealed.
    // Method: files written in parts from both ends, with every alignment, before and after.
    for (alignment, len) in [
        (Alignment::Byte, 1),
        (Alignment::Byte, 12_345),
        (Alignment::Line, 100_000),
        (Alignment::Page, 100_001),
    ] {
        let (directory, data) = (directory(), pattern(len));
        let path = directory.path().join("ranged");
        let ranged = RangedOptions::new().alignment(alignment).create(&path, len as u64).unwrap();
        let mut ranges: Vec<_> =
            std::iter::from_fn(|| ranged.allocate(ranged.remaining().min(8192)).ok()).collect();
        while let Some(range) =
            if ranges.len().is_multiple_of(2) { ranges.pop() } else { Some(ranges.remove(0)) }
        {
            let part = range.start() as usize..range.end() as usize;
            drop(ranged.write(range, &data[part]).unwrap());
        }
        refused(&path, "open", |error| matches!(error, Error::NotSealed { .. }));
        ranged.seal().unwrap();
        for opened in open_all(&path) {
            check_all("ranged", &*opened.unwrap(), &data);
        }
        assert!(matches!(RangedFile::open(&path), Err(Error::Sealed { .. })));
        assert_eq!(Snapshot::open(&path).unwrap().as_slice(), data);
    }
}

#[test]
fn an_open_file_is_not_sealed() {
    // Goal: a file whose bytes may still change is refused for that, whatever the other words of its seal are.
    // Method: state 0 with words as after a sealer that died before its last store, and with none.
    let (directory, data) = (directory(), pattern(5000));
    for (kind, image) in images(&data) {
        for (len, crc) in [(5000, u64::from(crc32c(&data))), (0, 0), (u64::MAX, 1)] {
            let path = image.clone().sealed(0, len, crc).write(directory.path());
            refused(&path, kind, |error| matches!(error, Error::NotSealed { .. }));
        }
        let mut image = image;
        image.bytes[image.page..image.page + 4096].fill(0);
        refused(&image.write(directory.path()), kind, |error| matches!(error, Error::NotSealed { .. }));
    }
}

#[test]
fn a_wrong_seal_is_told_from_wrong_data() {
    // Goal: one clear error each: a state that is none, a seal whose checksum is wrong, one that is another file's, one that promises more
    // than there is, one that does not cover all, data that is not what was sealed. Method: each of them by hand.
    let (directory, data) = (directory(), pattern(5000));
    let crc = u64::from(crc32c(&data));
    for (kind, image) in images(&data) {
        let write = |image: &Image| image.write(directory.path());
        let seal = |n: usize| image.page + SEAL + 8 * n;
        let sealed = |state, len, crc| write(&image.clone().sealed(state, len, crc));
        refused(&sealed(1, 5000, crc), kind, corrupt("state of the seal"));
        refused(&sealed(u64::MAX, 5000, crc), kind, corrupt("state of the seal"));
        let mut wrong = image.clone();
        wrong.bytes[seal(3)] ^= 1;
        refused(&write(&wrong), kind, corrupt("checksum of the seal"));
        let mut foreign = image.clone();
        foreign.bytes[16] ^= 1;
        refused(&write(&foreign.with_header_crc()), kind, corrupt("checksum of the seal"));
        refused(&sealed(SEALED, 5000, crc ^ 1), kind, corrupt("checksum of the data"));
        refused(&sealed(SEALED, 5000, crc | 1 << 32), kind, corrupt("checksum"));
        let mut changed = image.clone();
        changed.bytes[changed.data + 4999] ^= 0x80;
        refused(&write(&changed), kind, corrupt("checksum of the data"));
        for len in [4999, 5001, 1 << 40, u64::MAX - 8192, u64::MAX] {
            let path = sealed(SEALED, len, crc);
            let found_bytes = fs::metadata(&path).unwrap().len();
            match kind {
                "ranged" => refused(&path, kind, corrupt("length in the seal")),
                _ if len <= 5001 => refused(&path, kind, corrupt("checksum of the data")),
                _ => refused(&path, kind, |error| {
                    let Error::Truncated {
                        kind: FileKind::Mapped, expected_bytes, found_bytes: found, ..
                    } = error
                    else {
                        return false;
                    };
                    *found == found_bytes && *expected_bytes == len.saturating_add(image.data as u64)
                }),
            }
        }
        check_all(kind, &Snapshot::open(write(&image)).unwrap(), &data);
    }
}

#[test]
fn every_flipped_bit_of_a_sealed_file_is_noticed() {
    // Goal: no bit of the header, of the seal or of the data can be another without an error. Method: each of them, one at a time.
    let (directory, data) = (directory(), pattern(200));
    for image in [Image::append(&data, 4096), Image::ranged(&data, 4096, 64)] {
        let path = image.write(directory.path());
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let bytes =
            (0..256).chain(image.page + SEAL..image.page + SEAL + 32).chain(image.data..image.data + 200);
        for byte in bytes {
            for bit in 0..8 {
                let flipped = image.bytes[byte] ^ 1 << bit;
                file.write_all_at(&[flipped], byte as u64).unwrap();
                for opened in [Snapshot::open(&path).map(drop), FileSnapshot::open(&path).map(drop)] {
                    let error = opened.expect_err("a flipped bit");
                    let is_clear = matches!(
                        error,
                        Error::Corrupt { .. } | Error::OtherKind { .. } | Error::VersionMismatch { .. }
                    );
                    assert!(is_clear, "bit {bit} of byte {byte}: {error:?}");
                }
            }
            file.write_all_at(&[image.bytes[byte]], byte as u64).unwrap();
        }
        check_all("mended", &Snapshot::open(&path).unwrap(), &data);
    }
}

#[test]
fn every_truncation_of_a_sealed_file_is_an_error_or_has_all_its_data() {
    // Goal: a file that was cut anywhere is told from a whole one, and never read in part. Method: every length, from the whole one down.
    let (directory, data) = (directory(), pattern(300));
    for (image, is_exact) in [(Image::append(&data, 4096), false), (Image::ranged(&data, 4096, 64), true)] {
        let path = image.write(directory.path());
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let whole = image.bytes.len();
        for len in (0..=whole).rev() {
            file.set_len(len as u64).unwrap();
            let opened = [
                Snapshot::open(&path).map(|opened| opened.as_slice() == data),
                FileSnapshot::open(&path).map(|opened| opened.read_at(0, 300).unwrap() == data),
            ];
            for opened in opened {
                match opened {
                    Ok(is_whole) => {
                        assert!(
                            is_whole && len >= image.data + data.len() && (len == whole || !is_exact),
                            "{len}"
                        );
                    }
                    Err(Error::Truncated { expected_bytes, found_bytes, .. }) => {
                        assert!(found_bytes == len as u64 && found_bytes < expected_bytes, "{len}");
                        assert!(len < image.data + data.len() || is_exact, "{len} of {whole}");
                    }
                    Err(Error::OtherKind { .. }) => assert!(len < 8, "{len}"),
                    Err(error) => panic!("{len}: {error:?}"),
                }
            }
        }
    }
}

#[test]
fn what_is_no_mapped_file_cannot_be_sealed() {
    // Goal: other files are refused by what they are, and left as they are. Method: a ring, a text, nothing, noise; another version.
    let directory = directory();
    let ring = directory.path().join("ring");
    drop(RingOptions::new().capacity(4096).create(&ring).unwrap());
    refused(&ring, "ring", |error| matches!(error, Error::OtherKind { expected: FileKind::Mapped, .. }));
    for bytes in [&b"some text that is no file of ours, and longer than a magic"[..], b"", &pattern(10_000)] {
        let path = directory.path().join("other");
        fs::write(&path, bytes).unwrap();
        refused(&path, "other", |error| matches!(error, Error::OtherKind { expected: FileKind::Mapped, .. }));
    }
    let mut image = Image::append(b"bytes", 4096);
    image.bytes[8] = 2;
    let path = image.with_header_crc().write(directory.path());
    refused(&path, "version", |error| matches!(error, Error::VersionMismatch { expected: 1, found: 2, .. }));
}

#[test]
fn a_sealed_file_that_others_can_write_is_copied() {
    // Goal: a seal says that the writers are done, not that nobody can write: such a file is not mapped, as a plain one is not.
    // Method: the same file with another mode.
    let (directory, data) = (directory(), pattern(5000));
    let path = Image::append(&data, 4096).write(directory.path());
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let error = Snapshot::open(&path).unwrap_err();
    assert!(matches!(error, Error::WrongMode { kind: FileKind::Mapped, found_mode: 0o666, .. }), "{error:?}");
    let within = Snapshot::open_within(&path, &MapBudget::new()).unwrap();
    assert!(!is_mapped(&*within));
    check_all("within", &*within, &data);
    check_all("copied", &FileSnapshot::open(&path).unwrap(), &data);
}

#[test]
fn a_refused_file_costs_no_permit() {
    // Goal: a permit that was taken for a file that turns out to be wrong is given back. Method: wrong data, which is noticed last.
    let (directory, data) = (directory(), pattern(5000));
    let mut image = Image::append(&data, 4096);
    image.bytes[image.data] ^= 1;
    let path = image.write(directory.path());
    for budget in [MapBudget::new().maps(1), MapBudget::new().maps(0).descriptors(1)] {
        for _ in 0..3 {
            assert!(matches!(Snapshot::open_within(&path, &budget), Err(Error::Corrupt { .. })));
            assert_eq!(budget.in_use(), MapUsage::default());
        }
    }
}
