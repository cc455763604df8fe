//! Permissions: who may create, open and watch a ring, on what file systems, and what a refusal leaves behind: nothing.
//!
//! | who                    | `open`        | `open_shared` | `open_observer` |
//! |------------------------|---------------|---------------|-----------------|
//! | owner, mode 0600       | yes           | yes           | yes             |
//! | owner, others may write| `WrongMode`   | yes           | yes             |
//! | another, may write     | `WrongOwner`  | yes           | yes             |
//! | another, may read      | `NotWritable` | `NotWritable` | yes             |
//! | another                | `Io`          | `Io`          | `Io`            |

use crate::disks::mounts_of_its_own;
use crate::harness::{Actor, Next, Script, directory, is_root_for, run, say};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{Gid, Uid, chown, setgroups, setresgid, setresuid};
use shm_ring::{Error, Ring, RingOptions};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

/// A user and two groups that own nothing here.
const STRANGER: u32 = 54_321;
const GROUP: u32 = 54_322;
const OTHERS: u32 = 54_323;

#[test]
fn a_squatted_name_is_not_used() {
    // Goal: whatever stands under a name that a ring is to get is neither followed nor replaced; a link's target is neither made nor changed.
    // Method: links to nothing, to a file, to a ring, to a directory; each call that creates or opens.
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("text"), b"Dear diary,\n").unwrap();
    fs::create_dir(path("folder")).unwrap();
    let ring = small().create(path("ring")).unwrap();
    ring.producer().unwrap().push(b"x").unwrap();
    let before = fs::read(path("ring")).unwrap();
    for target in ["nowhere", "text", "ring", "folder", "folder/nowhere", "link to ring"] {
        let link = path(&format!("link to {target}"));
        symlink(path(target), &link).unwrap();
        let error = small().create(&link).map(drop).unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{target}: {error:?}");
        // SAFETY:
        // - nothing is opened, and if it were, nobody else writes it;
        // - nobody truncates it.
        let shared = unsafe { Ring::open_shared(&link) }.map(drop);
        let opened = [
            small().open(&link).map(drop),
            small().open_or_create(&link).map(drop),
            Ring::open_observer(&link).map(drop),
            shared,
        ];
        for error in opened.map(Result::unwrap_err) {
            let is_link =
                matches!(&error, Error::NotRegular { found, .. } if found.starts_with("symbolic link"));
            assert!(is_link, "{target}: {error:?}");
            assert_eq!(error.path(), Some(link.as_path()));
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
    assert!(!path("nowhere").exists() && !path("folder/nowhere").exists());
    assert_eq!(fs::read(path("text")).unwrap(), b"Dear diary,\n");
    assert_eq!(fs::read(path("ring")).unwrap(), before);
    // A directory on the way is whoever's who could have made it: there links are followed, as everywhere.
    let inside = path("link to folder").join("ring");
    small().create(&inside).unwrap();
    Ring::open(path("folder/ring")).unwrap();
}

#[test]
fn a_stranger_gets_what_the_mode_says() {
    // Goal: the table above, for another user, with and without the file's group.
    // Method: a process that has dropped its privileges asks for everything, of rings with every kind of mode.
    if !is_root_for("a_stranger_gets_what_the_mode_says") {
        return;
    }
    let directory = directory();
    open_to_all(directory.path(), 0o755);
    let cases = [
        (0o600, GROUP, "Io Io Io"),
        (0o640, OTHERS, "Io Io Io"),
        (0o640, GROUP, "NotWritable NotWritable ok"),
        (0o644, OTHERS, "NotWritable NotWritable ok"),
        (0o660, OTHERS, "Io Io Io"),
        (0o660, GROUP, "WrongOwner ok ok"),
        (0o664, OTHERS, "NotWritable NotWritable ok"),
        (0o666, OTHERS, "WrongOwner ok ok"),
    ];
    for (mode, group, expected) in cases {
        let path = directory.path().join(format!("{mode:o} {group}"));
        let ring = small().mode(mode).create(&path).unwrap();
        chown(&path, None, Some(Gid::from_raw(GROUP))).unwrap();
        ring.producer().unwrap().push(b"seen").unwrap();
        assert_eq!(asks("permissions::opener", &path, group), expected, "mode {mode:04o}, group {group}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
    }
}

#[test]
fn a_group_shares_a_ring() {
    // Goal: the way that `open_shared` describes works for members, in both directions.
    // Method: a ring in a directory with a set-group-ID bit; another user of the group pushes and reads.
    if !is_root_for("a_group_shares_a_ring") {
        return;
    }
    let directory = directory();
    chown(directory.path(), None, Some(Gid::from_raw(GROUP))).unwrap();
    open_to_all(directory.path(), 0o2775);
    let path = directory.path().join("ring");
    small().mode(0o660).create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().gid(), GROUP);
    let error = Ring::open(&path).map(drop).unwrap_err();
    assert!(matches!(error, Error::WrongMode { found_mode: 0o660, .. }), "{error:?}");
    // SAFETY:
    // - the other process is this binary, which writes with this library;
    // - nobody truncates it.
    let ring = unsafe { Ring::open_shared(&path) }.unwrap();
    let mut consumer = ring.consumer("us").unwrap();
    ring.producer().unwrap().push(b"to the stranger").unwrap();
    assert_eq!(asks("permissions::member", &path, GROUP), "heard to the stranger");
    assert_eq!(&*consumer.soon(), b"to the stranger");
    assert_eq!(&*consumer.soon(), b"from the stranger");
    // The member's ring, made by its own: of the same group, and for its owner's `open` as much a shared one.
    let theirs = directory.path().join("theirs");
    let found = fs::metadata(&theirs).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (STRANGER, GROUP, 0o660));
}

#[test]
fn a_ring_of_another_in_a_sticky_directory_is_left_alone() {
    // Goal: in a directory where everybody may create, nobody is made to use what another put there, whoever has more rights.
    // Method: root and a stranger want the same names in a sticky directory, each after the other.
    if !is_root_for("a_ring_of_another_in_a_sticky_directory_is_left_alone") {
        return;
    }
    let directory = directory();
    open_to_all(directory.path(), 0o1777);
    let path = directory.path().join("first");
    small().create(&path).unwrap();
    let before = fs::read(&path).unwrap();
    assert_eq!(asks("permissions::creator", &path, OTHERS), "AlreadyExists Io");
    assert_eq!(fs::read(&path).unwrap(), before);
    // Now the stranger is first: root may write the file, and does not.
    let path = directory.path().join("second");
    assert_eq!(asks("permissions::creator", &path, OTHERS), "ok ok");
    let before = fs::read(&path).unwrap();
    let error = small().create(&path).map(drop).unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    let error = small().open_or_create(&path).map(drop).unwrap_err();
    assert!(matches!(error, Error::WrongOwner { expected_uid: 0, found_uid: STRANGER, .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::metadata(&path).unwrap().uid(), STRANGER);
}

#[test]
fn a_directory_of_others_is_refused_and_stays_empty() {
    // Goal: where this user may not create, the error says so, naming the path, and nothing appears.
    // Method: a stranger in root's directory.
    if !is_root_for("a_directory_of_others_is_refused_and_stays_empty") {
        return;
    }
    let directory = directory();
    open_to_all(directory.path(), 0o755);
    assert_eq!(asks("permissions::creator", &directory.path().join("ring"), OTHERS), "Io Io");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// What a process says that plays `role` as [`STRANGER`] in one group.
fn asks(role: &'static str, path: &Path, group: u32) -> String {
    let mut actor = Actor::start(role, &[("path", &path.display()), ("group", &group)]);
    let said = actor.hear();
    actor.finish();
    said
}

fn become_a_stranger() -> PathBuf {
    let (path, group) = (Script::path(), Gid::from_raw(Script::number("group") as u32));
    setgroups(&[group]).unwrap();
    setresgid(group, group, group).unwrap();
    let user = Uid::from_raw(STRANGER);
    setresuid(user, user, user).unwrap();
    path
}

pub(crate) fn opener() {
    let path = become_a_stranger();
    // SAFETY:
    // - root is this test, which writes with this library;
    // - nobody truncates it.
    let shared = unsafe { Ring::open_shared(&path) }.map(|ring| works(&ring));
    let watched = Ring::open_observer(&path).map(|mut observer| {
        observer.seek(shm_ring::Start::Oldest).unwrap();
        assert_eq!(observer.soon().1, b"seen");
        assert_eq!(observer.stats().unwrap().tail, observer.tail());
    });
    let said = [outcome(&path, Ring::open(&path)), outcome(&path, shared), outcome(&path, watched)];
    say(&said.join(" "));
}

pub(crate) fn member() {
    let path = become_a_stranger();
    // SAFETY:
    // - root is this test, which writes with this library;
    // - nobody truncates it.
    let ring = unsafe { Ring::open_shared(&path) }.unwrap();
    let heard = String::from_utf8(ring.consumer("them").unwrap().soon().to_vec()).unwrap();
    ring.producer().unwrap().push(b"from the stranger").unwrap();
    small().mode(0o660).create(path.with_file_name("theirs")).unwrap();
    say(&format!("heard {heard}"));
}

pub(crate) fn creator() {
    let path = become_a_stranger();
    let said = [outcome(&path, small().create(&path)), outcome(&path, small().open_or_create(&path))];
    say(&said.join(" "));
}

fn works(ring: &Ring) {
    let mut consumer = ring.consumer("stranger").unwrap();
    assert_eq!(&*consumer.soon(), b"seen");
    ring.producer().unwrap().push(b"back").unwrap();
    assert_eq!(&*consumer.soon(), b"back");
}

/// The error's name, after a look at what it says.
fn outcome<T>(path: &Path, result: Result<T, Error>) -> String {
    let Err(error) = result else { return "ok".into() };
    let message = error.to_string();
    assert_eq!(error.path(), Some(path), "{message}");
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    let explains = match &error {
        Error::Io { source, .. } => {
            source.kind() == std::io::ErrorKind::PermissionDenied && message.contains("Permission denied")
        }
        Error::NotWritable { .. } => message.contains("denied") && message.contains("observer"),
        Error::WrongOwner { expected_uid: STRANGER, found_uid: 0, .. } => {
            message.contains("uid 0") && message.contains("54321") && message.contains("open_shared")
        }
        Error::AlreadyExists { .. } => message.contains("another name"),
        _ => false,
    };
    assert!(explains, "{message}");
    let name = format!("{error:?}");
    name.split([' ', '{']).next().unwrap().into()
}

fn small() -> RingOptions {
    RingOptions::new().capacity(16 << 10)
}

fn open_to_all(directory: &Path, mode: u32) {
    fs::set_permissions(directory, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_read_only_file_system_is_for_observers() {
    // Goal: nothing can be created there and the error says why; `open` says that it can be read; an observer reads, also what is written
    // at the same time where it can be. Method: a process has the same directory under a second name, read-only, for itself alone.
    if !is_root_for("a_read_only_file_system_is_for_observers") {
        return;
    }
    let directory = directory();
    let mut actor = Actor::start("permissions::read_only", &[("path", &directory.path().display())]);
    let line = actor.hear();
    if let Some(reason) = line.strip_prefix("can't mount") {
        println!("SKIPPED: no mount namespace here: {reason}");
        return;
    }
    assert_eq!(line, "done");
    actor.finish();
}

pub(crate) fn read_only() {
    let (writable, fixed) = (Script::path().join("writable"), Script::path().join("fixed"));
    fs::create_dir(&writable).unwrap();
    fs::create_dir(&fixed).unwrap();
    if let Err(error) = mount_again(&writable, &fixed) {
        say(&format!("can't mount: {error}"));
        return;
    }
    let ring = small().create(writable.join("ring")).unwrap();
    ring.producer().unwrap().push(b"first").unwrap();
    for error in [
        small().create(fixed.join("new")).map(drop).unwrap_err(),
        small().open_or_create(fixed.join("new")).map(drop).unwrap_err(),
    ] {
        let Error::Io { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(error.path(), Some(fixed.join("new").as_path()));
        assert!(error.to_string().contains("Read-only file system"), "{error}");
    }
    assert_eq!(fs::read_dir(&fixed).unwrap().count(), 1, "something was left");
    for error in [
        Ring::open(fixed.join("ring")).map(drop).unwrap_err(),
        small().open_or_create(fixed.join("ring")).map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
        assert_eq!(error.path(), Some(fixed.join("ring").as_path()));
        let message = error.to_string();
        assert!(message.contains("Read-only") && message.contains("observer"), "{message}");
    }
    let mut observer = Ring::open_observer(fixed.join("ring")).unwrap();
    observer.seek(shm_ring::Start::Oldest).unwrap();
    assert_eq!(observer.soon().1, b"first");
    ring.producer().unwrap().push(b"second").unwrap();
    assert_eq!(observer.soon().1, b"second");
    assert_eq!(observer.stats().unwrap().producers[0].records, 2);
    say("done");
}

fn mount_again(from: &Path, to: &Path) -> Result<(), String> {
    let (no, text) = (None::<&str>, |error: nix::Error| error.to_string());
    mounts_of_its_own()?;
    mount(Some(from), to, no, MsFlags::MS_BIND, no).map_err(text)?;
    mount(no, to, no, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, no).map_err(text)
}

#[test]
fn a_memory_limit_ends_the_creator_and_leaves_nothing() {
    // Goal: a ring that is larger than its creator's memory cgroup leaves no name behind, though the kernel kills the creator.
    // Method: a process in a cgroup of 8 MiB creates 64 MiB on tmpfs.
    let test = "a_memory_limit_ends_the_creator_and_leaves_nothing";
    if !is_root_for(test) {
        return;
    }
    let group = match MemoryGroup::new(8 << 20) {
        Ok(group) => group,
        Err(reason) => {
            println!("SKIPPED {test}: {reason}");
            return;
        }
    };
    let directory = directory();
    if statfs(directory.path()).unwrap().filesystem_type() != TMPFS_MAGIC {
        println!("SKIPPED {test}: {directory:?} is not on tmpfs, and the kernel can write its pages out");
        return;
    }
    let shown = directory.path().display();
    let output = run("permissions::glutton", &[("path", &shown), ("group", &group.path.display())]);
    let said = String::from_utf8_lossy(&output.stdout);
    // Killed, or an error; never a ring that ends its user at some later access.
    match output.status.signal() {
        Some(signal) => assert_eq!((signal, said.contains("@in")), (libc::SIGKILL, true), "{output:?}"),
        None => assert!(output.status.success() && said.contains("@refused"), "{output:?}"),
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "something was left");
}

pub(crate) fn glutton() {
    fs::write(Path::new(&Script::text("group")).join("cgroup.procs"), "0").unwrap();
    say("in");
    let error =
        RingOptions::new().capacity(64 << 20).create(Script::path().join("ring")).map(drop).unwrap_err();
    say(&format!("refused: {error}"));
}

/// A memory cgroup below this process's own, of either version.
struct MemoryGroup {
    path: PathBuf,
}

impl MemoryGroup {
    fn new(limit_bytes: u64) -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let of = |name: &str| {
            let line = own
                .lines()
                .find(|line| line.split(':').nth(1).is_some_and(|of| of.split(',').any(|n| n == name)));
            line.and_then(|line| line.splitn(3, ':').nth(2))
                .map(|path| path.trim_start_matches('/').to_owned())
        };
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let (parent, limits) = if v1.join("memory.limit_in_bytes").exists() {
            let own = of("memory").ok_or("no memory cgroup of this process")?;
            (v1.join(own), [("memory.limit_in_bytes", limit_bytes), ("memory.swappiness", 0)])
        } else {
            let own = of("").ok_or("no cgroup of this process")?;
            (Path::new("/sys/fs/cgroup").join(own), [("memory.max", limit_bytes), ("memory.swap.max", 0)])
        };
        let path = parent.join(format!("shm-ring-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("no cgroup can be made in {parent:?}: {error}"))?;
        let this = Self { path };
        for (name, value) in limits {
            let file = this.path.join(name);
            // Not where there is no swap to be limited.
            let is_needed = value != 0 || file.exists();
            if is_needed {
                fs::write(&file, value.to_string()).map_err(|error| format!("{file:?}: {error}"))?;
            }
        }
        Ok(this)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}
