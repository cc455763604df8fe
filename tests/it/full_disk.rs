//! Full disk: a file system without room is an error at creation, and never a signal.

use crate::harness::{Actor, Next, Script, directory, is_root_for, listen, say};
use crate::records::{check, length, record};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use shm_ring::{Error, Ring, RingOptions};
use std::fs;
use std::io::Write;
use std::path::Path;

const MIB: u64 = 1 << 20;

#[test]
fn a_ring_that_does_not_fit_is_refused_and_leaves_nothing() {
    // Goal: no space is `NoSpace` with the sizes, no name and no block stays behind, nobody gets SIGBUS; what fits works on a full disk.
    // Method: a process mounts 1 MiB for itself alone, creates 2 MiB there, then a small ring, fills the rest, and laps the ring.
    if !is_root_for("a_ring_that_does_not_fit_is_refused_and_leaves_nothing") {
        return;
    }
    let directory = directory();
    let path = directory.path().display();
    let mut actor = Actor::start("full_disk::alone", &[("path", &path)]);
    let line = actor.hear();
    if let Some(reason) = line.strip_prefix("can't mount") {
        println!("SKIPPED: no mount namespace here: {reason}");
        return;
    }
    assert_eq!(line, "done");
    actor.tell("bye");
    actor.finish();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the mount was not the process's own");
}

pub(crate) fn alone() {
    let directory = Script::path();
    if let Err(error) = mount_small(&directory) {
        say(&format!("can't mount: {error}"));
        return;
    }
    for needed in [2 * MIB, 4 << 30] {
        let path = directory.join("large");
        let error = RingOptions::new().capacity(needed).create(&path).unwrap_err();
        let Error::NoSpace { needed_bytes, free_bytes, .. } = &error else { panic!("{error:?}") };
        assert!(*needed_bytes > needed && *free_bytes <= MIB, "{error}");
        assert_eq!(error.path(), Some(path.as_path()));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "something was left");
        let error = RingOptions::new().capacity(needed).open_or_create(&path).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    }
    // All of the room is there again.
    fs::write(directory.join("most"), vec![0; MIB as usize * 9 / 10]).unwrap();
    fs::remove_file(directory.join("most")).unwrap();
    let path = directory.join("small");
    let ring = RingOptions::new().capacity(64 << 10).create(&path).unwrap();
    fill_up(&directory.join("rest"));
    work(&ring);
    // Others open it on the full file system, and watch.
    let again = Ring::open(&path).unwrap();
    work(&again);
    let error = RingOptions::new().capacity(4096).create(directory.join("another")).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    drop(again);
    drop(ring);
    say("done");
    listen();
}

pub(crate) fn mount_small(directory: &Path) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let no = None::<&str>;
    mount(no, "/", no, MsFlags::MS_REC | MsFlags::MS_PRIVATE, no)?;
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some("size=1m"))
}

pub(crate) fn fill_up(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    while file.write_all(&[1]).is_ok() {}
}

fn work(ring: &Ring) {
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer("c").unwrap());
    let mut observer = ring.observer().unwrap();
    let first = consumer.lag_bytes();
    assert_eq!(first, 0);
    let start = ring.stats().unwrap().producers[0].records;
    for n in start..start + 300 {
        producer.push(&record(0, n, length(0, n, 16 << 10))).unwrap();
        check(&consumer.soon(), 0, n, 16 << 10);
        let (info, payload) = observer.soon();
        check(&payload, 0, info.sequence.unwrap(), 16 << 10);
    }
}
