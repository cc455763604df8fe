//! Append, golden: files of layout version 1, made once, which every later version must read, byte by byte as the format document says.
//!
//! `golden/append_v1.bin` and the same, sealed, `golden/append_sealed_v1.bin`, were made by the role `append_golden::make` below:
//! `SHM_RING_TEST_ROLE=append_golden::make SHM_RING_TEST_path=append_v1.bin cargo test -p tests child::entry -- --ignored`
//!
//! The decoder here knows the document only, not the library.

use crate::harness::{Script, directory};
use crate::records::crc32c;
use shm_ring::{AppendFile, AppendOptions, Error};
use std::fs;
use std::path::{Path, PathBuf};

const OPEN: &[u8] = include_bytes!("golden/append_v1.bin");
const SEALED: &[u8] = include_bytes!("golden/append_sealed_v1.bin");
const PAGE: usize = 4096;
const DATA: &[u8] = b"hello, and more that was never synced";
const SYNCED: u64 = 5;
/// No machine's.
const BOOT: [u8; 16] = *b"no boot has this";

pub(crate) fn make() {
    let path = Script::path();
    let mut file = AppendOptions::new().capacity(1).create(&path).unwrap();
    file.push(b"hello, what is given up").unwrap();
    file.sync().unwrap();
    file.resize(SYNCED).unwrap();
    file.push(&DATA[SYNCED as usize..]).unwrap();
    drop(file);
    let foreign = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[PAGE + 152..PAGE + 168].copy_from_slice(&BOOT);
        bytes[PAGE + 168..PAGE + 176].copy_from_slice(&u64::to_le_bytes(4711));
        fs::write(path, bytes).unwrap();
    };
    foreign(&path);
    let sealed = path.with_file_name("append_sealed_v1.bin");
    fs::copy(&path, &sealed).unwrap();
    AppendFile::open(&sealed).unwrap().seal().unwrap();
    foreign(&sealed);
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn every_byte_of_an_append_file_is_where_the_document_says() {
    // Goal: the format does not change without its version. Method: decode the golden files by hand, by the document's tables.
    for (golden, is_sealed) in [(OPEN, false), (SEALED, true)] {
        let header = &golden[..256];
        assert_eq!(&header[..8], b"SHMAPND\0");
        assert_eq!(u32_at(header, 8), 1);
        let zeroed = [&header[..12], &[0; 4], &header[16..]].concat();
        assert_eq!(u32_at(header, 12), crc32c(&zeroed));
        assert_eq!((header[22] >> 4, header[24] >> 6), (4, 2), "a random uuid");
        assert!(u64_at(header, 32) > 1_700_000_000_000_000_000, "created");
        assert_eq!([40, 44].map(|at| u32_at(header, at)), [4096, 0], "page, unit");
        assert_eq!([48, 56, 64, 72, 80].map(|at| u64_at(header, at)), [4096, 8192, 0, 8192, 0]);
        assert!(golden[88..PAGE].iter().all(|byte| *byte == 0), "reserved, and the rest of the page");
        assert_eq!(golden.len(), 3 * PAGE);

        let live = &golden[PAGE..2 * PAGE];
        assert_eq!(u64_at(live, 0), DATA.len() as u64);
        let durable = if is_sealed { DATA.len() as u64 } else { SYNCED };
        assert_eq!(
            [128, 136, 144].map(|at| u64_at(live, at)),
            [durable, 2, SYNCED],
            "durable, generation, target"
        );
        assert_eq!((&live[152..168], u64_at(live, 168)), (&BOOT[..], 4711));
        let seal = [256, 264, 272, 280].map(|at| u64_at(live, at));
        let data_crc = u64::from(crc32c(DATA));
        let covered = [&header[16..32], &seal[1].to_le_bytes(), &seal[2].to_le_bytes()].concat();
        let expected =
            [u64::from_le_bytes(*b"SEALED\0\0"), DATA.len() as u64, data_crc, crc32c(&covered).into()];
        assert_eq!(seal, if is_sealed { expected } else { [0; 4] });
        let mut rest = live.to_vec();
        for used in [0..8, 128..176, 256..288] {
            rest[used].fill(0);
        }
        assert!(rest.iter().all(|byte| *byte == 0), "reserved, and the rest of the page");
        assert_eq!(&golden[2 * PAGE..][..DATA.len()], DATA);
    }
}

/// A copy of a golden file.
fn copy(directory: &Path, bytes: &[u8]) -> PathBuf {
    let path = directory.join("a");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// The files were made for pages of 4 KiB; machines with larger ones refuse them.
fn for_this_page_size<T>(opened: Result<T, Error>) -> Option<T> {
    match opened {
        Err(Error::Unsupported { reason, .. }) => {
            println!("SKIPPED: {reason}");
            None
        }
        other => Some(other.unwrap()),
    }
}

#[test]
fn an_append_file_of_version_one_goes_on() {
    // Goal: a file of an earlier version's process, of another boot, has its bytes, says which of them are in doubt, and takes more. Method:
    // follow a copy, which changes nothing; open it and push.
    let directory = directory();
    let path = copy(directory.path(), OPEN);
    let Some(mut follower) = for_this_page_size(AppendFile::follow(&path)) else { return };
    let mut seen = vec![0; DATA.len()];
    follower.read_at(0, &mut seen).unwrap();
    assert_eq!(seen, DATA);
    assert_eq!(fs::read(&path).unwrap(), OPEN);
    let file = AppendFile::open(&path).unwrap();
    assert_eq!((file.data(), file.doubtful(), file.durable_len()), (DATA, SYNCED..DATA.len() as u64, SYNCED));
    assert_eq!(file.push(b"!").unwrap(), DATA.len() as u64);
    assert_eq!(follower.len(), DATA.len() as u64 + 1);
}

#[test]
fn a_sealed_append_file_of_version_one_is_read() {
    // Goal: a seal of an earlier version holds, and keeps its bytes. Method: follow and pin a copy; try to write it.
    let directory = directory();
    let path = copy(directory.path(), SEALED);
    let Some(follower) = for_this_page_size(AppendFile::follow(&path)) else { return };
    assert!(follower.is_sealed());
    assert_eq!(follower.pin().unwrap().data(), DATA);
    assert!(matches!(AppendFile::open(&path), Err(Error::Sealed { .. })));
    assert_eq!(fs::read(&path).unwrap(), SEALED);
}
