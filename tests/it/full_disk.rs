//! Full disk: a file system without room is an error at creation, and never a signal.

use crate::disks::{alone_on_a_disk, fill_up, on_each_disk, room};
use crate::harness::Next;
use crate::records::{check, length, record};
use shm_ring::{Error, Ring, RingOptions};
use std::fs;
use std::path::Path;

#[test]
fn a_ring_that_does_not_fit_is_refused_and_leaves_nothing() {
    // Goal: no space is `NoSpace` with the sizes, no name and no block stays behind, nobody gets SIGBUS; what fits works on a full disk.
    // Method: a process on a small disk of its own, in memory and ext4, creates what is larger, then a small ring, fills the rest, and laps
    // the ring.
    on_each_disk("a_ring_that_does_not_fit_is_refused_and_leaves_nothing", "full_disk::alone");
}

pub(crate) fn alone() {
    alone_on_a_disk(refused_and_used);
}

fn refused_and_used(directory: &Path) {
    let all = room(directory);
    for needed in [all, 4 << 30] {
        let path = directory.join("large");
        let error = RingOptions::new().capacity(needed).create(&path).unwrap_err();
        let Error::NoSpace { needed_bytes, free_bytes, .. } = &error else { panic!("{error:?}") };
        assert!(*needed_bytes > needed && *free_bytes <= all, "{error}");
        assert_eq!(error.path(), Some(path.as_path()));
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0, "something was left");
        let error = RingOptions::new().capacity(needed).open_or_create(&path).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    }
    // All of the room is there again.
    fs::write(directory.join("most"), vec![0; all as usize * 9 / 10]).unwrap();
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
