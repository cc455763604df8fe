//! Append, refusing: what is no sound append file is refused, with the reason, and left byte for byte as it was; and legacy files.

use crate::append::{DATA_OFFSET, file_bytes};
use crate::harness::{directory, is_root_for};
use crate::records::record;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, chown, mkfifo};
use shm_ring::{AppendError, AppendFile, AppendOptions, Error, FileKind, FollowError, RingOptions};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const PAGE: usize = 4096;
const LEN: usize = 1000;

/// The smallest file, with some bytes in it.
fn sample(directory: &Path) -> (PathBuf, Vec<u8>) {
    let path = directory.join("sample");
    AppendOptions::new().capacity(1).create(&path).unwrap().push(&record(0, 0, LEN)).unwrap();
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

/// Opens it in every way, each of which must be refused so and change nothing.
fn refused(path: &Path, is_right: impl Fn(&Error) -> bool) {
    let (before, stat) = (fs::read(path).unwrap(), fs::metadata(path).unwrap());
    let tries = [
        AppendFile::open(path).map(drop),
        AppendFile::follow(path).map(drop),
        AppendOptions::new().open_or_create(path).map(drop),
    ];
    for tried in tries {
        let error = tried.unwrap_err();
        assert!(is_right(&error), "{error:?}");
        assert_eq!(error.path(), Some(path), "{error}");
    }
    let after = fs::metadata(path).unwrap();
    assert!(fs::read(path).unwrap() == before, "something was changed");
    assert_eq!((after.len(), after.mtime_nsec(), after.ino()), (stat.len(), stat.mtime_nsec(), stat.ino()));
}

#[test]
fn foreign_files_are_refused_and_stay_as_they_are() {
    // Goal (A04): a wrong magic is never erased, as the original did. Method: texts, noise, rings, legacy files, in several lengths.
    let directory = directory();
    let texts: [(&str, &[u8]); 7] = [
        ("text", b"Dear diary,\n"),
        ("long text", &[b'x'; 100_000]),
        ("zeros", &[0; 65536]),
        ("almost", b"SHMAPNE\0 and more than eight bytes"),
        ("half the magic", b"SHMA"),
        ("legacy", b"\xef\xbe\xad\xde\x05\0\0\0hello"),
        ("empty", b""),
    ];
    for (name, content) in texts {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        refused(&path, |error| {
            let Error::OtherKind { found, expected: FileKind::Append, .. } = error else { return false };
            if content.is_empty() { found.contains("empty") } else { !found.is_empty() }
        });
    }
    let path = directory.path().join("ring");
    drop(RingOptions::new().capacity(4096).create(&path).unwrap());
    refused(&path, |error| error.to_string().contains("is no append file: found a ring"));
    // The other way round.
    let (path, _) = sample(directory.path());
    assert!(matches!(shm_ring::Ring::open(path), Err(Error::NotARing { .. })));
}

#[test]
fn every_truncation_opens_to_an_error_or_to_what_was_there() {
    // Goal: a file that was cut anywhere is refused with both lengths, or everything in it is there and it goes on. Method: every length.
    let directory = directory();
    let (path, bytes) = sample(directory.path());
    let needed = DATA_OFFSET as usize + LEN;
    for cut in (0..bytes.len()).rev() {
        fs::write(&path, &bytes[..cut]).unwrap();
        if cut < needed {
            refused(&path, |error| match error {
                Error::OtherKind { .. } => cut < 8,
                Error::Truncated { expected_bytes, found_bytes, kind: FileKind::Append, .. } => {
                    let expected = if cut < 256 {
                        256
                    } else {
                        needed.min(if cut < 2 * PAGE { 2 * PAGE } else { needed })
                    };
                    (*expected_bytes, *found_bytes) == (expected as u64, cut as u64)
                }
                _ => false,
            });
            continue;
        }
        let mut follower = AppendFile::follow(&path).unwrap();
        let file = AppendFile::open(&path).unwrap();
        assert_eq!(file.data(), record(0, 0, LEN));
        // Whole pages again.
        assert_eq!(file_bytes(&path), bytes.len() as u64);
        file.push(&[1; 5000]).unwrap();
        let mut seen = vec![0; LEN + 5000];
        follower.read_at(0, &mut seen).unwrap();
        assert!(seen[..LEN] == record(0, 0, LEN) && seen[LEN..] == [1; 5000]);
    }
}

#[test]
fn every_flipped_bit_of_the_header_is_refused_or_harmless() {
    // Goal: no header is believed that is not as it was written. Method: each bit of page 0; behind the header it means nothing.
    let directory = directory();
    let (path, bytes) = sample(directory.path());
    for bit in 0..(256 + 64) * 8 {
        let (at, mut bytes) = (bit / 8, bytes.clone());
        bytes[at] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        match at {
            0..8 => refused(&path, |error| matches!(error, Error::OtherKind { .. })),
            8..12 => refused(&path, |error| matches!(error, Error::VersionMismatch { expected: 1, .. })),
            12..256 => {
                refused(&path, |error| matches!(error, Error::Corrupt { what: "header checksum", .. }))
            }
            _ => assert_eq!(AppendFile::open(&path).unwrap().data(), record(0, 0, LEN)),
        }
    }
}

#[test]
fn every_flipped_bit_of_the_live_page_is_survived() {
    // Goal: whatever the words say, nothing panics, nothing outside the file is touched, and a word that can't be is refused unchanged.
    // Method: each bit of the live page; use what opens.
    let directory = directory();
    let (path, bytes) = sample(directory.path());
    let mut opened = 0;
    for bit in 0..512 * 8 {
        let mut bytes = bytes.clone();
        bytes[PAGE + bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let mut follower = match AppendFile::follow(&path) {
            Ok(follower) => follower,
            Err(Error::Truncated { .. } | Error::Corrupt { .. }) => {
                refused(&path, |error| matches!(error, Error::Truncated { .. } | Error::Corrupt { .. }));
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        opened += 1;
        let len = follower.len();
        assert!(len <= 4096, "{len}");
        follower.read_at(0, &mut vec![0; len as usize]).unwrap();
        assert_eq!(follower.pin().unwrap().data().len() as u64, len);
        let file = AppendFile::open(&path).unwrap();
        assert_eq!(file.len(), len, "bit {bit}");
        file.push(b"goes on").unwrap();
        assert!(file.data().ends_with(b"goes on"));
    }
    assert!(opened > 3000, "{opened}");
}

#[test]
fn special_files_and_those_of_others_are_refused() {
    // Goal (A17): links, pipes, and files that others can write are not opened for writing, nor pinned; they can be copied from. Method:
    // one of each.
    let directory = directory();
    let here = directory.path();
    let (path, _) = sample(here);
    symlink(&path, here.join("link")).unwrap();
    mkfifo(&here.join("fifo"), Mode::S_IRWXU).unwrap();
    for name in ["link", "fifo"] {
        for tried in
            [AppendFile::open(here.join(name)).map(drop), AppendFile::follow(here.join(name)).map(drop)]
        {
            assert!(matches!(tried, Err(Error::NotRegular { .. })), "{tried:?}");
        }
    }
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        for tried in [AppendFile::open(&path).map(drop), AppendFile::follow(&path).unwrap().pin().map(drop)] {
            assert!(
                matches!(&tried, Err(Error::WrongMode { found_mode, .. }) if *found_mode == mode),
                "{tried:?}"
            );
        }
        let mut bytes = [0; LEN];
        AppendFile::follow(&path).unwrap().read_at(0, &mut bytes).unwrap();
        assert!(bytes[..] == record(0, 0, LEN));
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    if is_root_for("special_files_and_those_of_others_are_refused") {
        chown(&path, Some(Uid::from_raw(65534)), None).unwrap();
        for tried in [AppendFile::open(&path).map(drop), AppendFile::follow(&path).unwrap().pin().map(drop)] {
            assert!(matches!(tried, Err(Error::WrongOwner { found_uid: 65534, .. })), "{tried:?}");
        }
    }
}

#[test]
fn a_length_word_that_lies_harms_nobody() {
    // Goal: a follower of a file that says more than it has gets an error, and neither a signal nor bytes. Method: forge the word while it
    // follows, to every kind of value.
    let directory = directory();
    let (path, mut bytes) = sample(directory.path());
    let mut follower = AppendFile::follow(&path).unwrap();
    for lie in [4097, 1 << 20, (64 << 30) + 1, 1 << 62, u64::MAX, u64::MAX - DATA_OFFSET] {
        bytes[PAGE..PAGE + 8].copy_from_slice(&u64::to_le_bytes(lie));
        fs::write(&path, &bytes).unwrap();
        let mut out = [7];
        for offset in [4096, lie - 1] {
            assert_eq!(follower.read_at(offset, &mut out), Err(FollowError::Truncated { len_bytes: lie }));
        }
        assert!(matches!(
            follower.read_at(lie, &mut out),
            Err(FollowError::OutOfBounds { .. } | FollowError::Truncated { .. })
        ));
        assert!(matches!(follower.pin(), Err(Error::Truncated { .. })));
        follower.read_at(0, &mut out).unwrap();
        assert_eq!(out[0], bytes[DATA_OFFSET as usize]);
        assert!(matches!(AppendFile::open(&path), Err(Error::Truncated { .. } | Error::Corrupt { .. })));
    }
}

#[test]
fn a_legacy_file_is_imported_whole() {
    // Goal: the bytes of a file with the old header arrive, and the old file stays as it is. Method: several sizes, spare bytes behind.
    let directory = directory();
    for len in [0usize, 1, 7, 4096, 524_280, 1 << 20, (1 << 20) + 1, 3_000_000] {
        let (old, new) =
            (directory.path().join(format!("old{len}")), directory.path().join(format!("new{len}")));
        let data = record(5, len as u64, len);
        let header = [0xdead_beef_u32.to_le_bytes(), (len as u32).to_le_bytes()].concat();
        fs::write(&old, [&header[..], &data, &[9; 1234]].concat()).unwrap();
        let before = fs::read(&old).unwrap();
        let mut file = AppendFile::import(&old, &new).unwrap();
        assert!(file.data() == data && fs::read(&old).unwrap() == before);
        assert!(file.capacity_bytes() >= 512 << 10);
        file.push(b"goes on").unwrap();
        file.resize(0).unwrap();
        drop(file);
        assert!(matches!(AppendFile::import(&old, &new), Err(Error::AlreadyExists { .. })));
    }
}

#[test]
fn a_legacy_file_that_can_not_be_right_is_refused() {
    // Goal: a size that the file does not have, another magic, or half a header is an error, and leaves nothing. Method: one of each.
    let directory = directory();
    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    let refused = |content: &[u8], is_right: fn(&Error) -> bool| {
        fs::write(&old, content).unwrap();
        let error = AppendFile::import(&old, &new).unwrap_err();
        assert!(is_right(&error), "{error:?}");
        assert_eq!(error.path(), Some(old.as_path()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(fs::read(&old).unwrap(), content);
    };
    let truncated = |error: &Error| matches!(error, Error::Truncated { kind: FileKind::Legacy, .. });
    let other = |error: &Error| matches!(error, Error::OtherKind { expected: FileKind::Legacy, .. });
    refused(b"\xef\xbe\xad\xde\x06\0\0\0hello", truncated);
    refused(b"\xef\xbe\xad\xde\xff\xff\xff\xffhello", truncated);
    refused(b"\xef\xbe\xad\xde\x06\0\0", truncated);
    refused(b"\xef\xbe\xad\xde", truncated);
    refused(b"\xef\xbe\xad", other);
    refused(b"\xde\xad\xbe\xef\0\0\0\0", other);
    refused(b"", other);
    assert!(matches!(AppendFile::import(directory.path(), &new), Err(Error::NotRegular { .. })));
    assert!(matches!(AppendFile::import(directory.path().join("none"), &new), Err(Error::NotFound { .. })));
    // What does not fit leaves nothing either.
    fs::write(&old, [&b"\xef\xbe\xad\xde\x10\x27\0\0"[..], &[1; 10_000]].concat()).unwrap();
    AppendOptions::new().capacity(1).reserve(1).import(&old, &new).unwrap();
}

#[test]
fn a_sealed_file_is_read_and_never_written() {
    // Goal: a seal is final: no writer gets the file, its bytes stay; followers hear of it, and what was allocated ahead is given back.
    // Method: seal a file that has room, follow it, try to write it; damage the seal.
    let directory = directory();
    let path = directory.path().join("a");
    let file = AppendOptions::new().capacity(1 << 20).create(&path).unwrap();
    file.push(&record(0, 0, LEN)).unwrap();
    let mut follower = AppendFile::follow(&path).unwrap();
    assert!(!follower.is_sealed() && follower.has_writer().unwrap());
    let (before, blocks) = (file_bytes(&path), fs::metadata(&path).unwrap().blocks());
    file.seal().unwrap();
    assert!(follower.is_sealed() && !follower.has_writer().unwrap());
    assert_eq!(follower.wait(LEN as u64, std::time::Duration::from_secs(60)), Ok(LEN as u64));
    let mut seen = vec![0; LEN];
    follower.read_at(0, &mut seen).unwrap();
    assert!(seen == record(0, 0, LEN));
    assert_eq!(file_bytes(&path), before);
    assert!(fs::metadata(&path).unwrap().blocks() < blocks / 10);
    let (content, stat) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
    for tried in [AppendFile::open(&path), AppendOptions::new().open_or_create(&path)] {
        assert!(matches!(tried, Err(Error::Sealed { .. })), "{tried:?}");
    }
    assert_eq!(AppendFile::follow(&path).unwrap().pin().unwrap().data(), record(0, 0, LEN));
    assert!(
        fs::read(&path).unwrap() == content && fs::metadata(&path).unwrap().mtime_nsec() == stat.mtime_nsec()
    );
    // Without its state it would be open, but no single flip of a bit makes it so.
    for bit in 0..256 {
        let mut damaged = content.clone();
        damaged[PAGE + 256 + bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &damaged).unwrap();
        refused(&path, |error| matches!(error, Error::Corrupt { what, .. } if what.contains("seal")));
    }
}

#[test]
fn bytes_that_a_follower_pins_can_not_be_given_up() {
    // Goal: `clear` and `resize` to less are refused while anybody pins, with nothing changed, and work again afterwards; pushes and growth go
    // on. Method: two pins of two followers, dropped one after the other.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().create(&path).unwrap();
    file.push(b"hello").unwrap();
    let first = AppendFile::follow(&path).unwrap().pin().unwrap();
    file.push(b", world").unwrap();
    let second = AppendFile::follow(&path).unwrap().pin().unwrap();
    for pinned in [second, first] {
        assert_eq!(file.clear(), Err(AppendError::Pinned));
        assert_eq!(file.resize(1), Err(AppendError::Pinned));
        file.resize(file.len() + 10_000).unwrap();
        file.push(&[1; 1 << 20]).unwrap();
        assert!(pinned.data() == b"hello" || pinned.data() == b"hello, world");
    }
    file.resize(5).unwrap();
    assert_eq!(file.data(), b"hello");
}
