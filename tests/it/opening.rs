//! Opening: what is no sound ring of this user is refused, with the reason, and left as it was.

use crate::harness::{directory, is_root_for};
use crate::records::crc32c;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, chown, mkfifo};
use shm_ring::{Error, Ring, RingOptions};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Bytes of the header that the checksum covers.
const HEADER_BYTES: usize = 256;

#[test]
fn foreign_files_are_refused_and_stay_as_they_are() {
    // Goal: no file of another program is opened, changed or replaced. Method: texts, an empty file, noise, in several lengths.
    let directory = directory();
    let texts: [(&str, &[u8]); 6] = [
        ("text", b"Dear diary,\n"),
        ("long text", &[b'x'; 100_000]),
        ("zeros", &[0; 65536]),
        ("almost", b"SHMRING\n and more than eight bytes"),
        ("half the magic", b"SHMR"),
        ("empty", b""),
    ];
    for (name, content) in texts {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        refused(&path, |error| {
            let Error::NotARing { found, .. } = error else { return false };
            if content.is_empty() { found.contains("empty") } else { !found.is_empty() }
        });
    }
}

#[test]
fn shortened_and_lengthened_rings_are_refused() {
    // Goal: a file that is not as long as its header says is told from a corrupt one, with both lengths.
    // Method: cut a ring at every kind of place; add a byte.
    let directory = directory();
    let (path, bytes) = sample(directory.path());
    let whole = bytes.len() as u64;
    for cut in [8, 12, 100, 255] {
        fs::write(&path, &bytes[..cut]).unwrap();
        refused(
            &path,
            |error| matches!(error, Error::Truncated { expected_bytes: 256, found_bytes, .. } if *found_bytes == cut as u64),
        );
    }
    for cut in [256, 4096, 20_000, bytes.len() - 1] {
        fs::write(&path, &bytes[..cut]).unwrap();
        refused(&path, |error| {
            matches!(error, Error::Truncated { expected_bytes, found_bytes, .. }
                if (*expected_bytes, *found_bytes) == (whole, cut as u64))
        });
    }
    fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
    refused(&path, |error| {
        matches!(error, Error::Corrupt { what: "length of the file", expected, found, .. }
            if expected.contains(&whole.to_string()) && found.contains(&(whole + 1).to_string()))
    });
    fs::write(&path, &bytes).unwrap();
    Ring::open(&path).unwrap();
}

#[test]
fn every_damaged_header_byte_is_noticed() {
    // Goal: no header is believed that is not as it was written. Method: damage each of its bytes, one at a time, in three ways.
    let directory = directory();
    let (path, bytes) = sample(directory.path());
    for at in 0..HEADER_BYTES {
        for damaged in [bytes[at] ^ 1, bytes[at] ^ 0x80, !bytes[at]] {
            let mut bytes = bytes.clone();
            bytes[at] = damaged;
            fs::write(&path, &bytes).unwrap();
            refused(&path, |error| match at {
                0..8 => matches!(error, Error::NotARing { .. }),
                8..12 => {
                    let version = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
                    matches!(error, Error::VersionMismatch { expected: 1, found, .. } if *found == version)
                }
                _ => matches!(error, Error::Corrupt { what: "header checksum", .. }),
            });
        }
    }
    // Behind the header there is nothing that could be wrong: page 0 ends with bytes that mean nothing.
    let mut bytes = bytes.clone();
    bytes[HEADER_BYTES] = 1;
    fs::write(&path, &bytes).unwrap();
    Ring::open(&path).unwrap();
}

#[test]
fn forged_fields_are_refused_although_the_checksum_is_right() {
    // Goal: sizes and offsets are checked against each other, in arithmetic that can't overflow, before anything is mapped.
    // Method: extreme values in every field, each under a checksum that fits.
    let directory = directory();
    let (path, sound) = sample(directory.path());
    let (wide, narrow) = ([48, 56, 72, 80, 96, 112], [64, 68, 88, 92, 104, 108]);
    let values = [0, 1, 3, 4095, 4096, 1 << 16, 1 << 31, u64::from(u32::MAX), 1 << 33, 1 << 62, u64::MAX];
    let all = wide.map(|at| (at, 8)).into_iter().chain(narrow.map(|at| (at, 4)));
    for (at, size) in all {
        for value in values {
            let value = if size == 4 { u64::from(value as u32) } else { value };
            let mut bytes = sound.clone();
            bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
            let is_as_it_was = bytes == sound;
            seal_header(&mut bytes);
            fs::write(&path, &bytes).unwrap();
            // Other flags, and other numbers of slots that fit the same page, make another sound ring.
            let is_another = match at {
                68 => value < 4,
                88 | 104 => (1..=32).contains(&value),
                _ => false,
            };
            if is_as_it_was || is_another {
                Ring::open(&path).unwrap();
            } else {
                refused(&path, |error| {
                    matches!(
                        error,
                        Error::Corrupt { .. } | Error::Truncated { .. } | Error::Unsupported { .. }
                    )
                });
            }
        }
    }
    // An even nonce could make a seal that is all zeros.
    let mut bytes = sound;
    bytes[32] &= 0xfe;
    seal_header(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    refused(&path, |error| matches!(error, Error::Corrupt { what: "nonce", .. }));
}

#[test]
fn a_newer_version_is_refused_whatever_else_it_has() {
    // Goal: an old program names both versions and touches nothing, though it understands nothing else of the file.
    // Method: version 2, with a right and with a wrong checksum, with noise behind it.
    let directory = directory();
    let (path, mut bytes) = sample(directory.path());
    bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
    for _ in 0..2 {
        fs::write(&path, &bytes).unwrap();
        refused(&path, |error| matches!(error, Error::VersionMismatch { expected: 1, found: 2, .. }));
        seal_header(&mut bytes);
    }
    bytes[16..].fill(0x5a);
    fs::write(&path, &bytes).unwrap();
    refused(&path, |error| matches!(error, Error::VersionMismatch { expected: 1, found: 2, .. }));
}

#[test]
fn what_is_no_regular_file_is_refused() {
    // Goal: no directory, device, FIFO or socket is opened as a ring, no link is followed, and nothing blocks.
    // Method: one of each; the links point to a sound ring and to nothing.
    let directory = directory();
    let (ring, _) = sample(directory.path());
    let path = |name: &str| directory.path().join(name);
    mkfifo(&path("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    symlink(&ring, path("link")).unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    let _listener = UnixListener::bind(path("socket")).unwrap();
    let kinds = [
        (directory.path().to_owned(), "directory"),
        (PathBuf::from("/dev/null"), "character device"),
        (path("fifo"), "FIFO"),
        (path("link"), "symbolic link"),
        (path("dangling"), "symbolic link"),
        (path("socket"), "socket"),
    ];
    for (path, kind) in kinds {
        for error in [
            Ring::open(&path).unwrap_err(),
            Ring::open_observer(&path).unwrap_err(),
            RingOptions::new().open_or_create(&path).unwrap_err(),
        ] {
            assert!(matches!(error, Error::NotRegular { found, .. } if found.contains(kind)), "{error:?}");
            explains(&error, &path);
        }
        let error = RingOptions::new().create(&path).unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    }
    assert!(!path("nowhere").exists(), "a dangling link was followed");
}

#[test]
fn what_is_missing_is_not_found() {
    // Goal: a missing file is an error of its own, and nothing is created by opening. Method: no file, no directory, a file in its place.
    let directory = directory();
    for path in [directory.path().join("ring"), directory.path().join("no/ring")] {
        for error in [Ring::open(&path).unwrap_err(), Ring::open_observer(&path).unwrap_err()] {
            assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
            explains(&error, &path);
        }
    }
    let (ring, _) = sample(directory.path());
    for path in [directory.path().join("no/ring"), ring.join("below a file")] {
        let error = RingOptions::new().create(&path).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        explains(&error, &path);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn rings_that_others_can_write_are_for_observers() {
    // Goal: a file that somebody else may write is refused by the safe calls, naming its mode; observers and `open_shared` take it.
    // Method: every mode with a write bit for group or others; modes without are fine, and are what the creator asked for.
    let directory = directory();
    let (path, _) = sample(directory.path());
    for mode in [0o620, 0o602, 0o666, 0o660, 0o777] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        for error in [Ring::open(&path).unwrap_err(), RingOptions::new().open_or_create(&path).unwrap_err()] {
            assert!(matches!(error, Error::WrongMode { found_mode, .. } if found_mode == mode), "{error:?}");
            explains(&error, &path);
            assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
        }
        assert_eq!(Ring::open_observer(&path).unwrap().stats().unwrap().mode, mode);
        // SAFETY:
        // - nobody but this test has the file;
        // - nobody truncates it.
        let shared = unsafe { Ring::open_shared(&path) }.unwrap();
        assert_eq!(shared.stats().unwrap().mode, mode);
    }
    for mode in [0o600, 0o640, 0o644, 0o755] {
        let path = directory.path().join(format!("{mode:o}"));
        let ring = RingOptions::new().capacity(4096).mode(mode).create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        assert_eq!(ring.stats().unwrap().mode, mode);
        Ring::open(&path).unwrap();
    }
}

#[test]
fn rings_of_others_are_for_observers() {
    // Goal: a file of another user is refused by the safe calls, naming both uids. Method: give a ring away, which only root can.
    if !is_root_for("rings_of_others_are_for_observers") {
        return;
    }
    let directory = directory();
    let (path, _) = sample(directory.path());
    chown(&path, Some(Uid::from_raw(65534)), None).unwrap();
    let error = refused_by_owner(&path);
    let Error::WrongOwner { expected_uid: 0, found_uid: 65534, .. } = error else { panic!("{error:?}") };
    Ring::open_observer(&path).unwrap();
}

fn refused_by_owner(path: &Path) -> Error {
    let before = state(path);
    let error = Ring::open(path).unwrap_err();
    explains(&error, path);
    assert_eq!(state(path), before);
    error
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    // Goal: an option that can't be is refused, naming it, what it may be and what it was; no file appears.
    // Method: each option at and beyond its edges, for files and anonymous rings.
    let directory = directory();
    let path = directory.path().join("ring");
    let new = RingOptions::new;
    let cases = [
        (new().capacity((1 << 33) + 1), "capacity"),
        (new().capacity(u64::MAX), "capacity"),
        (new().capacity(1 << 63), "capacity"),
        (new().producers_max(0), "producers_max"),
        (new().producers_max(4097), "producers_max"),
        (new().consumers_max(0), "consumers_max"),
        (new().consumers_max(u16::MAX), "consumers_max"),
    ];
    for (options, name) in cases {
        for error in [options.create(&path).unwrap_err(), options.anonymous().unwrap_err()] {
            let Error::Invalid { option, expected, found } = &error else { panic!("{error:?}") };
            assert_eq!(*option, name);
            let message = error.to_string();
            assert!(message.contains(expected) && message.contains(found), "{message}");
        }
        assert!(!path.exists());
    }
    for (asked, got) in [(0, 4096), (1, 4096), (4097, 8192), (100_000, 131_072)] {
        assert_eq!(new().capacity(asked).anonymous().unwrap().capacity_bytes(), got);
    }
    let most = new().capacity(4096).producers_max(4096).consumers_max(4096).anonymous().unwrap();
    most.producer().unwrap().push(b"with the largest tables").unwrap();
}

/// A small ring with a record in it; its path and bytes. Nobody has it open.
fn sample(directory: &Path) -> (PathBuf, Vec<u8>) {
    let path = directory.join("sample");
    let ring = RingOptions::new().capacity(4096).producers_max(2).consumers_max(2).create(&path).unwrap();
    ring.producer().unwrap().push(b"a record").unwrap();
    drop(ring);
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

/// Makes the checksum right.
fn seal_header(bytes: &mut [u8]) {
    bytes[12..16].fill(0);
    let crc = crc32c(&bytes[..HEADER_BYTES]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// Everything about a file that a refusal must leave alone.
fn state(path: &Path) -> (Vec<u8>, u64, u32, i64, i64, u64) {
    let found = fs::metadata(path).unwrap();
    let bytes = fs::read(path).unwrap();
    (bytes, found.len(), found.mode(), found.mtime(), found.mtime_nsec(), found.ino())
}

/// Every way to open it must refuse it in the same way, and leave it as it is.
fn refused(path: &Path, is_expected: impl Fn(&Error) -> bool) {
    let before = state(path);
    for error in [
        Ring::open(path).unwrap_err(),
        Ring::open_observer(path).unwrap_err(),
        RingOptions::new().open_or_create(path).unwrap_err(),
    ] {
        assert!(is_expected(&error), "{error:?}");
        explains(&error, path);
    }
    assert!(matches!(RingOptions::new().create(path), Err(Error::AlreadyExists { .. })));
    assert_eq!(state(path), before, "{path:?} was changed");
}

/// An error must name the file.
fn explains(error: &Error, path: &Path) {
    assert_eq!(error.path(), Some(path));
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}
