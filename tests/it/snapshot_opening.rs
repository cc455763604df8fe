//! Snapshot, opening: what files are taken, mapped or not, and within what budget.
//!
//! | file                                | `Snapshot`           | `FileSnapshot` | within a budget |
//! |-------------------------------------|----------------------|----------------|-----------------|
//! | this user's or root's, 0644 or less | yes                  | yes            | mapped          |
//! | others may write it                 | `WrongMode`          | yes            | copied          |
//! | another's                           | `WrongOwner`         | yes            | copied          |
//! | a ring, append file, ranged file    | `NotPlain`           | yes            | copied          |
//! | may not be read                     | `Io`                 | `Io`           | `Io`            |
//! | no regular file                     | `NotRegular`         | `NotRegular`   | `NotRegular`    |

use crate::harness::{Actor, Script, alone, directory, is_root_for, say};
use crate::snapshot::{check_all, file, pattern};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chown, mkfifo, setgroups, setresgid, setresuid};
use shm_ring::{
    AppendOptions, Error, FileKind, FileSnapshot, MapBudget, MapUsage, RangedOptions, ReadAt, RingOptions,
    Snapshot,
};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// A user that owns nothing here.
const STRANGER: u32 = 54_321;

/// What opening says, by every way to do it.
pub(crate) fn open_plain_all(path: &Path) -> [Result<Box<dyn ReadAt>, Error>; 3] {
    [
        Snapshot::open_plain(path).map(|opened| Box::new(opened) as _),
        FileSnapshot::open_plain(path).map(|opened| Box::new(opened) as _),
        Snapshot::open_plain_within(path, &MapBudget::new()),
    ]
}

/// Whether it is the map that reads.
pub(crate) fn is_mapped(from: &dyn ReadAt) -> bool {
    format!("{from:?}").starts_with("Snapshot")
}

#[test]
fn what_is_no_regular_file_is_no_snapshot() {
    // Goal: no directory, device, FIFO or socket is read, no link is followed, nothing blocks, and the error says what it is.
    // Method: one of each; links to a file and to nothing.
    let directory = directory();
    let plain = file(directory.path(), b"bytes");
    let path = |name: &str| directory.path().join(name);
    mkfifo(&path("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    symlink(&plain, path("link")).unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    let _listener = UnixListener::bind(path("socket")).unwrap();
    let kinds = [
        (directory.path().to_owned(), "directory"),
        (PathBuf::from("/dev/null"), "character device"),
        (PathBuf::from("/dev/zero"), "character device"),
        (path("fifo"), "FIFO"),
        (path("link"), "symbolic link"),
        (path("dangling"), "symbolic link"),
        (path("socket"), "socket"),
    ];
    for (path, kind) in kinds {
        let sealed = [Snapshot::open(&path).map(drop), FileSnapshot::open(&path).map(drop)];
        for opened in open_plain_all(&path).map(|opened| opened.map(drop)).into_iter().chain(sealed) {
            let error = opened.unwrap_err();
            assert!(matches!(error, Error::NotRegular { found, .. } if found.contains(kind)), "{error:?}");
            assert_eq!(error.path(), Some(&*path));
            assert!(error.to_string().contains(kind) && error.to_string().contains(path.to_str().unwrap()));
        }
    }
    assert!(!path("nowhere").exists(), "a dangling link was followed");
}

#[test]
fn what_is_missing_is_no_snapshot() {
    // Goal: a missing file is an error of its own, which names it, and nothing is created. Method: no file, no directory, a file in its place.
    let directory = directory();
    let plain = file(directory.path(), b"bytes");
    for (path, is_missing) in [
        (directory.path().join("no"), true),
        (directory.path().join("no/file"), true),
        (plain.join("below"), false),
    ] {
        let sealed = [Snapshot::open(&path).map(drop), FileSnapshot::open(&path).map(drop)];
        for opened in open_plain_all(&path).map(|opened| opened.map(drop)).into_iter().chain(sealed) {
            let error = opened.unwrap_err();
            assert_eq!(matches!(error, Error::NotFound { .. }), is_missing, "{error:?}");
            assert_eq!(matches!(error, Error::Io { .. }), !is_missing, "{error:?}");
            assert_eq!(error.path(), Some(&*path));
            assert!(!error.to_string().contains("ring"), "{error}");
        }
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn an_empty_file_is_a_snapshot_of_no_bytes() {
    // Goal: nothing is an answer and no error, and needs no map. Method: every backend; a budget that allows no map.
    let directory = directory();
    for opened in open_plain_all(&file(directory.path(), b"")) {
        check_all("empty", &*opened.unwrap(), b"");
    }
    let budget = MapBudget::new().maps(0).bytes(0);
    let nothing = Snapshot::open_plain_within(file(directory.path(), b""), &budget).unwrap();
    assert!(is_mapped(&*nothing) && nothing.is_empty(), "what needs no map needs no room for one");
    assert_eq!(budget.in_use(), MapUsage::default());
}

#[test]
fn what_others_can_write_is_copied_and_not_mapped() {
    // Goal: no slice of a file that somebody else may change is handed out: mapping says `WrongMode`, reading by copy works, and within a
    // budget it is what is used. Method: all modes that this user can read.
    let (directory, bytes) = (directory(), pattern(10_000));
    let path = file(directory.path(), &bytes);
    for mode in [0o400, 0o600, 0o444, 0o644, 0o755, 0o620, 0o602, 0o664, 0o666, 0o777, 0o1666] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let is_ours = mode & 0o022 == 0;
        let [mapped, copied, within] = open_plain_all(&path);
        match mapped {
            Ok(mapped) => {
                assert!(is_ours, "{mode:o}");
                check_all("mapped", &*mapped, &bytes);
            }
            Err(error) => {
                assert!(!is_ours, "{mode:o}");
                assert!(
                    matches!(error, Error::WrongMode { found_mode, .. } if found_mode == mode),
                    "{error:?}"
                );
                let message = error.to_string();
                assert!(message.contains("chmod") && message.contains("FileSnapshot"), "{message}");
                assert!(!message.contains("ring") && !message.contains("observer"), "{message}");
            }
        }
        assert!(!is_mapped(&*copied.unwrap()));
        let within = within.unwrap();
        assert_eq!(is_mapped(&*within), is_ours, "{mode:o}");
        check_all("within", &*within, &bytes);
    }
}

#[test]
fn files_of_others_are_copied_and_roots_are_mapped() {
    // Goal: another's file is refused by the map, because its owner can change it, and root's is not, because root can change them all;
    // what may not be read is an error that says so. Method: a process of another user looks at four files.
    if !is_root_for("files_of_others_are_copied_and_roots_are_mapped") {
        return;
    }
    let directory = directory();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    for (name, owner, mode) in [
        ("root's", 0, 0o644),
        ("own", STRANGER, 0o600),
        ("another's", STRANGER + 1, 0o644),
        ("secret", 0, 0o600),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, pattern(10_000)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(Uid::from_raw(owner)), None).unwrap();
    }
    let mut actor = Actor::start("snapshot_opening::stranger", &[("path", &directory.path().display())]);
    assert_eq!(actor.hear(), "root's: mapped copied mapped");
    assert_eq!(actor.hear(), "own: mapped copied mapped");
    assert_eq!(actor.hear(), "another's: WrongOwner copied copied");
    assert_eq!(actor.hear(), "secret: Io Io Io");
    actor.finish();
}

pub(crate) fn stranger() {
    let group = Gid::from_raw(STRANGER);
    setgroups(&[group]).unwrap();
    setresgid(group, group, group).unwrap();
    let user = Uid::from_raw(STRANGER);
    setresuid(user, user, user).unwrap();
    for name in ["root's", "own", "another's", "secret"] {
        let path = Script::path().join(name);
        let said = open_plain_all(&path).map(|opened| match opened {
            Ok(opened) => {
                check_all(name, &*opened, &pattern(10_000));
                if is_mapped(&*opened) { "mapped" } else { "copied" }
            }
            Err(Error::WrongOwner { expected_uid: STRANGER, found_uid, .. }) => {
                assert_eq!(found_uid, STRANGER + 1);
                "WrongOwner"
            }
            Err(Error::Io { operation: "open", source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
                "Io"
            }
            Err(error) => panic!("{error:?}"),
        });
        say(&format!("{name}: {}", said.join(" ")));
    }
}

#[test]
fn what_the_address_space_cannot_hold_is_copied() {
    // Goal: a system that has no map left is an error that says so, and within a budget no error at all: it is read by system calls, and
    // the permit for the map is given back. Method: a file larger than the address space, with bytes at its ends.
    use std::os::unix::fs::FileExt;
    const LEN: u64 = 1 << 47;
    let directory = directory();
    let path = directory.path().join("huge");
    let file = File::create(&path).unwrap();
    if file.set_len(LEN).is_err() {
        println!("SKIPPED: the file system has no files that large");
        return;
    }
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"end", LEN - 3).unwrap();
    let error = Snapshot::open_plain(&path).unwrap_err();
    let Error::Io { operation: "map", source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::OutOfMemory);
    let budget = MapBudget::new().descriptors(2);
    // 128 TiB are more than a budget has; 16 TiB are not.
    for len in [LEN, 1 << 43] {
        file.set_len(len).unwrap();
        file.write_all_at(b"end", len - 3).unwrap();
        let from = Snapshot::open_plain_within(&path, &budget).unwrap();
        let (mut begin, mut end) = ([0; 5], [0; 3]);
        from.read_exact_at(0, &mut begin).unwrap();
        from.read_exact_at(len - 3, &mut end).unwrap();
        assert_eq!((&begin, &end, from.len()), (b"begin", b"end", len));
        if len == LEN {
            assert!(!is_mapped(&*from));
            assert_eq!(budget.in_use(), MapUsage::descriptor());
        }
    }
    alone("snapshot_opening::cramped", &[("path", &path.display())]);
    assert_eq!(budget.in_use(), MapUsage::default());
}

/// A process with little address space, where the budget allows what the system does not.
pub(crate) fn cramped() {
    let path = Script::path();
    let (_, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
    setrlimit(Resource::RLIMIT_AS, 1 << 40, hard).unwrap();
    let budget = MapBudget::new();
    let from = Snapshot::open_plain_within(&path, &budget).unwrap();
    assert!(!is_mapped(&*from));
    assert_eq!(budget.in_use(), MapUsage::descriptor(), "the permit for the map was not given back");
    let mut end = [0; 3];
    from.read_exact_at(from.len() - 3, &mut end).unwrap();
    assert_eq!(&end, b"end");
}

#[test]
fn without_descriptors_opening_is_an_error() {
    // Goal: a process without a descriptor left is told so, and takes nothing of its budget. Method: a process that lowers its limit.
    let directory = directory();
    alone("snapshot_opening::no_descriptors", &[("path", &file(directory.path(), b"bytes").display())]);
}

pub(crate) fn no_descriptors() {
    let path = Script::path();
    let kept = Snapshot::open_plain(&path).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    let budget = MapBudget::new();
    let opened =
        [Snapshot::open_plain(&path).map(drop), Snapshot::open_plain_within(&path, &budget).map(drop)];
    for error in opened.map(Result::unwrap_err) {
        assert!(matches!(error, Error::Io { operation: "open", .. }), "{error:?}");
    }
    assert_eq!((kept.as_slice(), budget.in_use()), (&b"bytes"[..], MapUsage::default()));
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert!(is_mapped(&*Snapshot::open_plain_within(&path, &budget).unwrap()));
}

#[test]
fn a_budget_decides_what_is_mapped() {
    // Goal: exactly as many files are mapped as there are permits, the others are read by system calls, and all read the same bytes; what
    // is dropped makes room, and what still has the bytes of a map keeps its permit.
    // Method: budgets of maps and of bytes; the order in which handles and their `Bytes` are dropped.
    let (directory, bytes) = (directory(), pattern(10_000));
    let path = file(directory.path(), &bytes);
    let kept = u16::from(cfg!(feature = "guard"));
    for budget in [MapBudget::new().maps(2), MapBudget::new().bytes(7 * 4096)] {
        let mut opened: Vec<_> =
            (0..5).map(|_| Snapshot::open_plain_within(&path, &budget).unwrap()).collect();
        let mapped: Vec<_> = opened.iter().map(|from| is_mapped(&**from)).collect();
        assert_eq!(mapped, [true, true, false, false, false]);
        assert_eq!(budget.in_use(), MapUsage { maps: 2, descriptors: 3 + 2 * kept, bytes: 2 * 3 * 4096 });
        opened.iter().for_each(|from| check_all("within", &**from, &bytes));
        let part = opened[0].read_at(5000, 100).unwrap();
        drop(opened.remove(0));
        assert_eq!(budget.in_use().maps, 2, "its bytes are still mapped");
        assert!(!is_mapped(&*Snapshot::open_plain_within(&path, &budget).unwrap()));
        assert_eq!(&part[..], &bytes[5000..5100]);
        drop(part);
        assert_eq!(budget.in_use(), MapUsage { maps: 1, descriptors: 3 + kept, bytes: 3 * 4096 });
        assert!(is_mapped(&*Snapshot::open_plain_within(&path, &budget).unwrap()));
        drop(opened);
        assert_eq!(budget.in_use(), MapUsage::default());
    }
    // One that is too large is copied, and smaller ones are mapped still.
    let budget = MapBudget::new().bytes(2 * 4096);
    let large = Snapshot::open_plain_within(&path, &budget).unwrap();
    fs::write(directory.path().join("small"), pattern(100)).unwrap();
    let small = Snapshot::open_plain_within(directory.path().join("small"), &budget).unwrap();
    assert_eq!((is_mapped(&*large), is_mapped(&*small)), (false, true));
}

#[test]
fn a_budget_without_anything_left_is_an_error() {
    // Goal: neither a map nor a descriptor left is `OverBudget`, which says what to do and takes nothing; a drop makes room.
    // Method: a budget of one descriptor, and of none.
    let directory = directory();
    let path = file(directory.path(), b"bytes");
    let budget = MapBudget::new().maps(0).descriptors(1);
    let first = Snapshot::open_plain_within(&path, &budget).unwrap();
    for _ in 0..3 {
        let error = Snapshot::open_plain_within(&path, &budget).unwrap_err();
        assert!(matches!(error, Error::OverBudget { descriptors: 1, .. }), "{error:?}");
        assert_eq!(error.path(), Some(&*path));
        let message = error.to_string();
        assert!(message.contains("drop what is open, or allow more"), "{message}");
        assert_eq!(budget.in_use(), MapUsage::descriptor());
    }
    drop(first);
    check_all("again", &*Snapshot::open_plain_within(&path, &budget).unwrap(), b"bytes");
    assert!(Snapshot::open_plain_within(&path, &budget.clone().descriptors(0)).is_err());
    assert!(Snapshot::open_plain_within(directory.path(), &budget).is_err());
    assert_eq!(budget.in_use(), MapUsage::default());
}

#[test]
fn what_this_library_writes_is_never_mapped_as_a_plain_file() {
    // Goal: no slice changes under safe code: a ring, an append file and a ranged file, which their handles write, are refused by who
    // would map them as plain files, whoever has them open, sealed or not; within a budget they are copied, and so by `FileSnapshot`.
    // Method: one of each, in use, whose bytes are changed while it is open; a cut one, and one with a foreign beginning, which is plain.
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    let ring = RingOptions::new().create(at("ring")).unwrap();
    let append = AppendOptions::new().create(at("append")).unwrap();
    let ranged = RangedOptions::new().create(at("ranged"), 4096).unwrap();
    let mut range = ranged.allocate(64).unwrap();
    let sealed = AppendOptions::new().create(at("sealed")).unwrap();
    sealed.push(b"bytes").unwrap();
    sealed.seal().unwrap();
    let kinds = [FileKind::Ring, FileKind::Append, FileKind::Ranged, FileKind::Append];
    for (name, kind) in ["ring", "append", "ranged", "sealed"].into_iter().zip(kinds) {
        let error = Snapshot::open_plain(at(name)).unwrap_err();
        assert!(matches!(&error, Error::NotPlain { found, .. } if *found == kind), "{name}: {error}");
        assert!(error.to_string().contains("FileSnapshot"), "{error}");
        let budget = MapBudget::new();
        let opened = Snapshot::open_plain_within(at(name), &budget).unwrap();
        assert_eq!((budget.in_use().maps, budget.in_use().descriptors), (0, 1), "{name}: it was mapped");
        assert_eq!(opened.len(), fs::metadata(at(name)).unwrap().len());
        FileSnapshot::open_plain(at(name)).unwrap();
    }
    let copied = FileSnapshot::open_plain(at("ranged")).unwrap();
    range.as_mut_slice().fill(9);
    let mut bytes = [0; 64];
    copied.read_exact_at(copied.len() - 4096, &mut bytes).unwrap();
    assert_eq!(bytes, [9; 64]);
    assert!(Snapshot::open(at("sealed")).is_ok());
    drop((ring, append));
    for (name, bytes) in [("short", &b"SHMRANG"[..]), ("other", b"SHMRANGX and so on")] {
        fs::write(at(name), bytes).unwrap();
        assert_eq!(Snapshot::open_plain(at(name)).unwrap().as_slice(), bytes);
    }
}

#[test]
fn what_the_system_maps_not_at_all_is_copied() {
    // Goal: within a budget a file is read though its file system has no maps. Method: a file of sysfs, which has none; and the map alone,
    // which is an error.
    let path = Path::new("/sys/kernel/mm/transparent_hugepage/enabled");
    if !path.exists() {
        println!("SKIPPED: no sysfs here");
        return;
    }
    let error = Snapshot::open_plain(path).unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.raw_os_error() == Some(nix::libc::ENODEV)),
        "{error}"
    );
    let budget = MapBudget::new();
    let opened = Snapshot::open_plain_within(path, &budget).unwrap();
    assert_eq!(
        (budget.in_use().maps, budget.in_use().descriptors),
        (0, 1),
        "what was not mapped is given back"
    );
    let mut begins = [0; 6];
    opened.read_exact_at(0, &mut begins).unwrap();
    assert!(fs::read(path).unwrap().starts_with(&begins));
}
