//! Snapshot, cut: what becomes of a reader whose file is truncated under it.
//!
//! ```text
//!   test                              another process: `victim`, as `kind`
//!   ----                              ------------------------------------
//!   a plain file                -->   opens it, reads it over and over, compares every byte; "ready"
//!   set_len(cut)                      a read meets bytes that are gone
//!                               <--   the error that it got, and that it never saw another byte; ends with success
//! ```

#[cfg(feature = "guard")]
use crate::harness::fork;
#[cfg(not(feature = "guard"))]
use crate::harness::run;
use crate::harness::{Actor, Script, directory, listen, say};
use crate::records::mix;
use crate::snapshot::{file, pattern};
use shm_ring::{FileSnapshot, ReadAt, ReadError, Snapshot};
use std::fs::OpenOptions;
use std::path::Path;

const LEN: usize = 64 * 4096 + 1000;
const TRUNCATED: ReadError = ReadError::Truncated { snapshot_bytes: LEN as u64 };

/// Where the file is cut: everything, at and inside pages, before and inside the last page, the last byte.
const CUTS: [usize; 8] = [0, 4096, 8192 + 17, LEN / 2, LEN - 4096, 64 * 4096, 64 * 4096 + 1, LEN - 1];

fn cut(path: &Path, len: usize) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len as u64).unwrap();
}

#[test]
fn a_copied_file_that_is_cut_is_truncated_where_it_is_cut() {
    // Goal: bytes that are gone are an error and no zeros, bytes that are left are read, and a file that has grown again is not asked.
    // Method: cut at every kind of place, read around it.
    for len in CUTS {
        let (directory, bytes) = (directory(), pattern(LEN));
        let path = file(directory.path(), &bytes);
        let snapshot = FileSnapshot::open_plain(&path).unwrap();
        cut(&path, len);
        let mut buf = vec![0xee; LEN];
        assert_eq!(snapshot.read_exact_at(0, &mut buf), Err(TRUNCATED));
        snapshot.read_exact_at(0, &mut buf[..len]).unwrap();
        assert_eq!(buf[..len], bytes[..len]);
        for (offset, n) in [(len, 1), (len.saturating_sub(10), 11), (LEN - 1, 1), (0, len + 1)] {
            assert_eq!(snapshot.read_exact_at(offset as u64, &mut buf[..n]), Err(TRUNCATED), "{offset} {n}");
            assert_eq!(snapshot.read_at(offset as u64, n), Err(TRUNCATED), "{offset} {n}");
        }
        assert_eq!(snapshot.len(), LEN as u64);
        assert!(matches!(snapshot.read_at(LEN as u64, 1), Err(ReadError::OutOfBounds { .. })));
    }
}

#[test]
fn a_copied_file_that_is_cut_while_it_is_read_never_shows_other_bytes() {
    // Goal: the same with a race. Method: a process at work.
    each_cut("pread");
}

#[cfg(feature = "guard")]
#[test]
fn a_mapped_file_that_is_cut_while_it_is_read_never_shows_other_bytes() {
    // Goal: a read that succeeds has the file's bytes, and no zeros of the cut, wherever it was made and whatever the reader does at that
    // moment. Method: a process that copies, one that shares, one that looks at the slice and asks afterwards, one whose parent has mapped
    // the file.
    for kind in ["copy", "share", "slice", "child"] {
        each_cut(kind);
    }
}

#[cfg(feature = "guard")]
#[test]
fn a_mapped_file_that_was_cut_is_truncated() {
    // Goal: the same without a race: what is read after the cut says so, though none of the missing pages was ever touched, nor the last
    // page; what was handed out shows zeros. Method: cut, then read each of: the first bytes, those around the cut, the last.
    for len in CUTS {
        for how in 0..4 {
            let (directory, bytes) = (directory(), pattern(LEN));
            let path = file(directory.path(), &bytes);
            let snapshot = Snapshot::open_plain(&path).unwrap();
            let shared = snapshot.read_at(0, LEN).unwrap();
            cut(&path, len);
            let mut buf = vec![0; LEN];
            let ends = |from: &Snapshot| {
                assert_eq!(from.read_exact_at(LEN as u64 - 1, &mut [0]), Err(TRUNCATED));
                assert_eq!(from.read_at(LEN as u64 - 1, 1), Err(TRUNCATED));
                assert_eq!(from.check(), Err(TRUNCATED));
            };
            match how {
                0 => assert_eq!(snapshot.read_exact_at(0, &mut buf), Err(TRUNCATED)),
                1 => assert_eq!(snapshot.read_exact_at(len as u64, &mut buf[..1]), Err(TRUNCATED)),
                2 => ends(&snapshot.clone()),
                _ => assert_eq!(snapshot.check(), Err(TRUNCATED)),
            }
            ends(&snapshot);
            // What is left of a page that the cut goes through is there, and nothing else that is wrong.
            for part in [&shared[..], snapshot.as_slice()] {
                assert!(
                    part[..len] == bytes[..len] && part[len..].iter().all(|byte| *byte == 0),
                    "{len} {how}"
                );
            }
            assert_eq!(snapshot.len(), LEN as u64);
            assert!(matches!(snapshot.read_at(LEN as u64, 1), Err(ReadError::OutOfBounds { .. })));
        }
    }
}

#[cfg(feature = "guard")]
#[test]
fn one_file_that_is_cut_is_not_another() {
    // Goal: who has many files loses one. Method: two, mapped side by side, and the same file opened again after the cut.
    let (directory, bytes) = (directory(), pattern(LEN));
    let path = file(directory.path(), &bytes);
    std::fs::copy(&path, directory.path().join("other")).unwrap();
    let (one, other) =
        (Snapshot::open_plain(&path).unwrap(), Snapshot::open_plain(directory.path().join("other")).unwrap());
    cut(&path, 10_000);
    let again = Snapshot::open_plain(&path).unwrap();
    assert_eq!(one.check(), Err(TRUNCATED));
    assert_eq!((other.check(), again.check()), (Ok(()), Ok(())));
    assert_eq!((other.as_slice(), again.as_slice()), (&bytes[..], &bytes[..10_000]));
    drop(one);
    assert_eq!((other.check(), again.check()), (Ok(()), Ok(())));
}

/// Cuts a file at every kind of place while another process reads it as `kind`.
fn each_cut(kind: &'static str) {
    for len in CUTS {
        let directory = directory();
        let path = file(directory.path(), &pattern(LEN));
        let mut victim = Actor::start("snapshot_cut::victim", &[("path", &path.display()), ("kind", &kind)]);
        victim.expect("ready");
        cut(&path, len);
        assert_eq!(victim.hear(), format!("{TRUNCATED:?}"), "{kind}, cut to {len} of {LEN} bytes");
        victim.tell("cut");
        victim.finish();
    }
}

pub(crate) fn victim() {
    let (path, kind) = (Script::path(), Script::text("kind"));
    let bytes = pattern(LEN);
    match kind.as_str() {
        "pread" => look(&FileSnapshot::open_plain(&path).unwrap(), &bytes),
        #[cfg(feature = "guard")]
        "slice" => look_at_the_slice(&Snapshot::open_plain(&path).unwrap(), &bytes),
        #[cfg(feature = "guard")]
        "child" => {
            let snapshot = Snapshot::open_plain(&path).unwrap();
            // The parent looks at none of it before; one child has mapped something itself, and one has not.
            let own = || Snapshot::open_plain(path.with_file_name("own")).unwrap();
            std::fs::write(path.with_file_name("own"), &bytes).unwrap();
            let child = fork(|| {
                let own = own();
                look(&snapshot, &bytes);
                assert_eq!((own.check(), own.as_slice()), (Ok(()), &bytes[..]));
            });
            child.finish();
            fork(|| assert_eq!(snapshot.check(), Err(TRUNCATED))).finish();
            assert_eq!(snapshot.read_at(LEN as u64 - 1, 1), Err(TRUNCATED));
        }
        "share" => look(&Shared(Snapshot::open_plain(&path).unwrap()), &bytes),
        _ => look(&Snapshot::open_plain(&path).unwrap(), &bytes),
    }
    assert_eq!(listen(), "cut");
}

/// Reads through `read_at`.
#[derive(Debug)]
struct Shared(Snapshot);

impl ReadAt for Shared {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        buf.copy_from_slice(&self.0.read_at(offset, buf.len())?);
        // What was handed out is looked at afterwards, so it has to be asked for afterwards, too.
        self.0.read_at(offset, buf.len()).map(drop)
    }
}

/// Reads here and there, and from time to time the end, until that is gone.
fn look(from: &dyn ReadAt, bytes: &[u8]) {
    let mut buf = vec![0; LEN];
    for n in 0u64.. {
        let len = 1 + mix(n) as usize % 10_000;
        let offset = if n % 16 == 0 { LEN - len } else { mix(!n) as usize % (LEN - len) };
        match from.read_exact_at(offset as u64, &mut buf[..len]) {
            Ok(()) => assert!(buf[..len] == bytes[offset..offset + len], "other bytes, {len} from {offset}"),
            Err(error) => {
                assert_eq!(error, TRUNCATED);
                // Whatever it was that said so first: the end is gone, for good.
                for _ in 0..3 {
                    assert_eq!(from.read_exact_at(LEN as u64 - 1, &mut buf[..1]), Err(TRUNCATED));
                }
                return say(&format!("{error:?}"));
            }
        }
        if n == 100 {
            say("ready");
        }
    }
}

#[cfg(feature = "guard")]
fn look_at_the_slice(from: &Snapshot, bytes: &[u8]) {
    for n in 0u64.. {
        let len = 1 + mix(n) as usize % 10_000;
        let offset = mix(!n) as usize % (LEN - len);
        let is_same = from.as_slice()[offset..offset + len] == bytes[offset..offset + len];
        match from.check() {
            Ok(()) => assert!(is_same, "other bytes, {len} from {offset}, and no word of it"),
            Err(error) => return say(&format!("{error:?}")),
        }
        if n == 100 {
            say("ready");
        }
    }
}

#[cfg(not(feature = "guard"))]
#[test]
fn a_mapped_file_that_is_cut_ends_the_process_without_the_feature() {
    // Goal: what the documentation says: without the feature `guard` a page that is gone is SIGBUS, and no wrong bytes.
    // Method: a process that opens, cuts and reads.
    use std::os::unix::process::ExitStatusExt;
    let directory = directory();
    let path = file(directory.path(), &pattern(LEN));
    let output = run("snapshot_cut::unguarded", &[("path", &path.display())]);
    assert_eq!(output.status.signal(), Some(nix::libc::SIGBUS), "{output:?}");
}

#[cfg(not(feature = "guard"))]
pub(crate) fn unguarded() {
    let path = Script::path();
    let snapshot = Snapshot::open_plain(&path).unwrap();
    cut(&path, 4096);
    snapshot.read_exact_at(0, &mut [0; 4096]).unwrap();
    let read = snapshot.read_exact_at(4096, &mut [0]);
    panic!("it lives on: {read:?}");
}
