//! Descriptors: a program that is started has none of the library's.

use crate::harness::{Script, alone, directory};
use crate::snapshot::{file, pattern};
use shm_ring::{
    AppendFile, AppendOptions, FileSnapshot, MapBudget, RangedFile, RangedOptions, Ring, RingOptions,
    Snapshot,
};
use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn an_executed_program_has_no_descriptor_of_the_library() {
    // Goal: every descriptor is close-on-exec from the moment it exists: a program that is started keeps no file open, no lock held and no
    // slot taken. Method: a process that has everything open that the library can open starts `ls`, before and after; and it asks the
    // kernel for the flag of each of its own.
    let directory = directory();
    alone("descriptors::everything", &[("path", &directory.path().display())]);
}

/// One of each thing that keeps a descriptor, or that opens one and closes it.
fn open_everything(directory: &Path) -> Vec<Box<dyn Any>> {
    let ring = RingOptions::new().capacity(4096).create(directory.join("ring")).unwrap();
    let opened = Ring::open(directory.join("ring")).unwrap();
    let anonymous = RingOptions::new().capacity(4096).anonymous().unwrap();
    let plain = file(directory, &pattern(10_000));
    let append = AppendOptions::new().create(directory.join("append")).unwrap();
    append.push(b"bytes").unwrap();
    let (follower, sealed) = (AppendFile::follow(append.path()).unwrap(), directory.join("sealed"));
    let ranged = RangedOptions::new().create(directory.join("ranged"), 10_000).unwrap();
    let finished = AppendOptions::new().create(&sealed).unwrap();
    finished.push(b"bytes").unwrap();
    finished.seal().unwrap();
    let mut open: Vec<Box<dyn Any>> = vec![
        Box::new(ring.producer().unwrap()),
        Box::new(opened.consumer("c").unwrap()),
        Box::new(opened.group("g").unwrap()),
        Box::new(Ring::open_observer(directory.join("ring")).unwrap()),
        Box::new(anonymous.producer().unwrap()),
        Box::new(anonymous.consumer("c").unwrap()),
        Box::new(Snapshot::open_plain(&plain).unwrap()),
        Box::new(FileSnapshot::open_plain(&plain).unwrap()),
        Box::new((follower.pin().unwrap(), follower)),
        Box::new(append),
        Box::new((
            ranged.allocate(100).unwrap(),
            ranged.clone(),
            RangedFile::open(directory.join("ranged")).unwrap(),
        )),
        Box::new(ranged),
        Box::new(Snapshot::open(&sealed).unwrap()),
        Box::new(FileSnapshot::open(&sealed).unwrap()),
        Box::new(Snapshot::open_plain_within(&plain, &MapBudget::new().maps(0)).unwrap()),
    ];
    open.extend([ring, opened, anonymous].map(|ring| Box::new(ring) as Box<dyn Any>));
    open
}

pub(crate) fn everything() {
    let directory = Script::path();
    let before = descriptors_of_a_program();
    let mine = descriptors();
    let open = open_everything(&directory);
    let ours: Vec<_> = descriptors().into_iter().filter(|(fd, _)| !mine.contains_key(fd)).collect();
    let is_ring = |to: &Path| to == directory.join("ring");
    let is_memory = |to: &Path| to.to_str().is_some_and(|to| to.starts_with("/memfd:shm-ring"));
    let is_plain = |to: &Path| to == directory.join("plain");
    let is_ranged = |to: &Path| to == directory.join("ranged");
    let is_append = |to: &Path| to == directory.join("append");
    // Or nothing would be tested.
    for (what, n) in [
        ("ring", ours.iter().filter(|(_, to)| is_ring(to)).count()),
        ("anonymous ring", ours.iter().filter(|(_, to)| is_memory(to)).count()),
        ("append file", ours.iter().filter(|(_, to)| is_append(to)).count()),
        ("ranged file", ours.iter().filter(|(_, to)| is_ranged(to)).count()),
        ("plain file", ours.iter().filter(|(_, to)| is_plain(to)).count()),
    ] {
        assert!(n >= 2, "{n} descriptors of the {what}: {ours:?}");
    }
    for (fd, to) in &ours {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let flags = i32::from_str_radix(flags, 8).unwrap();
        assert!(flags & nix::libc::O_CLOEXEC != 0, "{fd} is not close-on-exec: {to:?}");
    }
    assert_eq!(descriptors_of_a_program(), before, "a program that was started has more than before");
    drop(open);
    let left: Vec<_> = descriptors().into_iter().filter(|(fd, _)| !mine.contains_key(fd)).collect();
    assert_eq!(left, [], "left open when everything was dropped");
}

/// Number and target of this process's descriptors, without the one by which the folder is read.
fn descriptors() -> BTreeMap<i32, PathBuf> {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let target = |fd: std::fs::DirEntry| {
        Some((fd.file_name().to_str()?.parse().ok()?, std::fs::read_link(fd.path()).ok()?))
    };
    links.filter_map(target).filter(|(_, to)| !to.starts_with("/proc")).collect()
}

/// What a program has open that this process starts; without the pipes of this very call, and the folder that is listed.
fn descriptors_of_a_program() -> Vec<String> {
    let output = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let targets = text.lines().filter_map(|line| line.split(" -> ").nth(1));
    targets.filter(|to| !to.starts_with("pipe:") && !to.starts_with("/proc/")).map(str::to_owned).collect()
}
