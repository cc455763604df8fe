//! Append: the promises of `AppendFile`, one by one, in one process.
//!
//! | also in | what |
//! |---------|------|
//! | append_refusing | what is no sound append file; legacy files |
//! | append_following | readers in other processes |
//! | append_killing | writers that die |
//! | append_full | full disks, file sizes beyond 2^32 |
//! | append_durable | what is on the medium |

use crate::harness::{alone, directory, fork};
use crate::records::{length, mix, record};
use proptest::prelude::*;
use shm_ring::{AppendError, AppendFile, AppendOptions, Error, FollowError};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const PAGE: u64 = 4096;
/// Header and live page in front of the data.
pub(crate) const DATA_OFFSET: u64 = 2 * PAGE;

pub(crate) fn file_bytes(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn the_file_begins_with_its_magic_and_the_data_with_the_third_page() {
    // Goal (A01): whoever looks at the file knows what it is, and finds the bytes. Method: read the file past the library.
    let directory = directory();
    let path = directory.path().join("a");
    AppendOptions::new().create(&path).unwrap().push(b"data").unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes[..12], *b"SHMAPND\0\x01\0\0\0");
    assert_eq!(bytes[DATA_OFFSET as usize..][..5], *b"data\0");
    assert_eq!(bytes[PAGE as usize..][..8], 4u64.to_le_bytes());
}

#[test]
fn a_missing_file_is_made_and_one_that_is_there_is_opened() {
    // Goal (A02): a path is enough. Method: every call on a free path and on a taken one.
    let directory = directory();
    let path = directory.path().join("a");
    assert!(matches!(AppendFile::open(&path), Err(Error::NotFound { .. })));
    drop(AppendOptions::new().open_or_create(&path).unwrap());
    assert!(path.exists());
    assert!(matches!(AppendOptions::new().create(&path), Err(Error::AlreadyExists { .. })));
    AppendFile::open(&path).unwrap().push(b"kept").unwrap();
    assert_eq!(AppendOptions::new().open_or_create(&path).unwrap().data(), b"kept");
    let file = AppendOptions::new().mode(0o640).create(directory.path().join("b")).unwrap();
    assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_new_file_has_half_a_mebibyte_and_an_old_one_stays_as_large_as_it_is() {
    // Goal (A03): the default capacity is 512 KiB, and opening neither grows nor shrinks a file. Method: sizes of the files.
    let directory = directory();
    let (small, large) = (directory.path().join("small"), directory.path().join("large"));
    let file = AppendOptions::new().create(&small).unwrap();
    assert_eq!((file.capacity_bytes(), file_bytes(&small)), (524_288, DATA_OFFSET + 524_288));
    drop(AppendOptions::new().capacity(1 << 20).create(&large).unwrap());
    for _ in 0..2 {
        let file = AppendFile::open(&large).unwrap();
        assert_eq!((file.capacity_bytes(), file_bytes(&large)), (1 << 20, DATA_OFFSET + (1 << 20)));
    }
}

#[test]
fn reopening_keeps_the_data() {
    // Goal (A04): bytes outlive the handle, and pushes go on behind them. Method: a file that is opened for every push.
    let directory = directory();
    let path = directory.path().join("a");
    drop(AppendOptions::new().capacity(1).create(&path).unwrap());
    let mut model = Vec::new();
    for n in 0..50 {
        let file = AppendFile::open(&path).unwrap();
        assert_eq!(file.data(), model);
        let more = record(0, n, length(0, n, 3000));
        assert_eq!(file.push(&more).unwrap(), model.len() as u64);
        model.extend(more);
    }
    assert_eq!(AppendFile::open(&path).unwrap().data(), model);
}

#[test]
fn pushed_bytes_are_read_back_exactly() {
    // Goal (A05, A06, A07): every byte arrives in its place, at the offset that was returned; length and emptiness say what is there.
    // Method: pushes of all small lengths, and of large ones, against a vector.
    let directory = directory();
    let file = AppendOptions::new().capacity(1).create(directory.path().join("a")).unwrap();
    assert!(file.is_empty() && file.data().is_empty());
    let mut model = Vec::new();
    for n in 0..700u64 {
        let len = if n < 600 { n as usize } else { length(0, n, 1 << 17) };
        let more = record(0, n, len);
        assert_eq!(file.push(&more).unwrap(), model.len() as u64);
        model.extend(more);
        assert_eq!((file.len(), file.is_empty()), (model.len() as u64, model.is_empty()));
    }
    assert!(file.data() == model, "some byte is not what was pushed");
}

#[test]
fn resizing_cuts_or_appends_zeros() {
    // Goal (A08): a smaller length forgets the rest, a larger one appends zeros, never what stood there before, also not after the file
    // was opened again. Method: down and up over old bytes, within the capacity and beyond it.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().capacity(1).create(&path).unwrap();
    file.push(b"hello_world").unwrap();
    file.resize(5).unwrap();
    assert_eq!(file.data(), b"hello");
    file.resize(11).unwrap();
    assert_eq!(file.data(), b"hello\0\0\0\0\0\0");
    file.push(&[7; 10_000]).unwrap();
    file.resize(3).unwrap();
    drop(file);
    let mut file = AppendFile::open(&path).unwrap();
    file.resize(30_000).unwrap();
    assert_eq!(file.data()[..3], *b"hel");
    assert!(file.data()[3..].iter().all(|byte| *byte == 0));
    assert_eq!(file.push(b"!").unwrap(), 30_000);
    let len = file.len();
    file.resize(len).unwrap();
    assert_eq!((file.len(), file.data().last()), (30_001, Some(&b'!')));
}

#[test]
fn clearing_keeps_the_capacity() {
    // Goal (A09): after `clear` the file is empty and as long as before, and takes bytes again. Method: lengths around it.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().create(&path).unwrap();
    file.push(&[1; 600_000]).unwrap();
    let (capacity, whole) = (file.capacity_bytes(), file_bytes(&path));
    file.clear().unwrap();
    assert_eq!((file.len(), file.capacity_bytes(), file_bytes(&path)), (0, capacity, whole));
    assert_eq!(file.push(b"again").unwrap(), 0);
    assert_eq!(file.data(), b"again");
}

#[test]
#[expect(clippy::float_cmp, reason = "these quotients are exact")]
fn the_usage_ratio_is_length_by_capacity() {
    // Goal (A10): how full the file is, from 0 to 1. Method: at both ends and between.
    let directory = directory();
    let file = AppendOptions::new().capacity(8 * PAGE).create(directory.path().join("a")).unwrap();
    assert_eq!(file.usage_ratio(), 0.0);
    file.push(&[1; 2 * PAGE as usize]).unwrap();
    assert_eq!(file.usage_ratio(), 0.25);
    file.push(&[1; 6 * PAGE as usize]).unwrap();
    assert_eq!((file.usage_ratio(), file.capacity_bytes()), (1.0, 8 * PAGE));
    file.push(&[1]).unwrap();
    assert!(file.usage_ratio() > 0.0 && file.usage_ratio() < 1.0);
    // Without a page of data.
    let path = directory.path().join("b");
    drop(AppendOptions::new().create(&path).unwrap());
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(DATA_OFFSET).unwrap();
    let file = AppendFile::open(&path).unwrap();
    assert_eq!((file.usage_ratio(), file.capacity_bytes()), (0.0, 0));
}

#[test]
fn a_damaged_magic_is_seen() {
    // Goal (A11): `is_valid` says whether the first word is intact and the file whole. Method: another descriptor damages and mends it.
    use std::os::unix::fs::FileExt;
    let directory = directory();
    let path = directory.path().join("a");
    let file = AppendOptions::new().create(&path).unwrap();
    file.push(b"data").unwrap();
    assert!(file.is_valid());
    let other = fs::OpenOptions::new().write(true).open(&path).unwrap();
    other.write_all_at(b"x", 3).unwrap();
    assert!(!file.is_valid());
    other.write_all_at(b"A", 3).unwrap();
    assert!(file.is_valid());
    other.set_len(DATA_OFFSET + PAGE).unwrap();
    assert!(!file.is_valid());
}

#[test]
fn the_capacity_grows_by_whole_pages_and_never_shrinks() {
    // Goal (A12, A13): a push that crosses the edge makes room, in whole pages, and nothing takes it away. Method: pushes up to an edge
    // and over it; clear, resize, reopen.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().capacity(PAGE).create(&path).unwrap();
    let mut before = file.capacity_bytes();
    for _ in 0..30 {
        let left = before - file.len();
        file.push(&vec![1; left as usize]).unwrap();
        assert_eq!((file.capacity_bytes(), file.len()), (before, before));
        file.push(&[2]).unwrap();
        let now = file.capacity_bytes();
        assert!(now > before && now <= 16 * before && now.is_multiple_of(PAGE));
        assert_eq!(file_bytes(&path), DATA_OFFSET + now);
        before = now;
        if before > 4 << 20 {
            break;
        }
    }
    file.resize(1).unwrap();
    file.clear().unwrap();
    assert_eq!(file.capacity_bytes(), before);
    drop(file);
    let mut file = AppendFile::open(&path).unwrap();
    assert_eq!(file.capacity_bytes(), before);
    file.resize(3 * before + 1).unwrap();
    let now = file.capacity_bytes();
    assert!(now > 3 * before && now.is_multiple_of(PAGE) && now <= 3 * before + (64 << 20), "{now}");
}

#[test]
fn sizes_are_rounded_up_to_pages() {
    // Goal (A14): (n + p - 1) / p pages for n bytes, and one for none. Method: the edges.
    let directory = directory();
    for (n, pages) in [(0, 1), (1, 1), (PAGE - 1, 1), (PAGE, 1), (PAGE + 1, 2), (10 * PAGE, 10)] {
        let path = directory.path().join(format!("{n}"));
        let file = AppendOptions::new().capacity(n).create(&path).unwrap();
        assert_eq!((file.capacity_bytes(), file_bytes(&path)), (pages * PAGE, DATA_OFFSET + pages * PAGE));
    }
}

#[test]
fn everything_is_given_back_on_drop() {
    // Goal (A16): no mapping, descriptor or lock outlives its handle. Method: a process looks at itself.
    let directory = directory();
    alone("append::drops_everything", &[("path", &directory.path().join("a").display())]);
}

pub(crate) fn drops_everything() {
    let path = crate::harness::Script::path();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let is_mapped = || fs::read_to_string("/proc/self/maps").unwrap().contains(&path.display().to_string());
    let before = descriptors();
    let file = AppendOptions::new().create(&path).unwrap();
    file.push(&[1; 1 << 20]).unwrap();
    let follower = AppendFile::follow(&path).unwrap();
    let pinned = follower.pin().unwrap();
    assert!(is_mapped() && descriptors() > before);
    for entry in fs::read_dir("/proc/self/fdinfo").unwrap().flatten() {
        let number = entry.file_name().into_string().unwrap();
        let target = fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        if target == path {
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
            assert_ne!(u32::from_str_radix(flags, 8).unwrap() & 0o2_000_000, 0, "not close-on-exec: {info}");
        }
    }
    drop(follower);
    assert_eq!(pinned.data().len(), 1 << 20);
    drop(pinned);
    drop(file);
    assert!(!is_mapped());
    assert_eq!(descriptors(), before);
    drop(AppendFile::open(&path).unwrap());
}

#[test]
fn errors_say_what_is_wrong_and_leave_nothing() {
    // Goal (A17): no constructor panics or leaves a trace. Method: a directory, a missing one, a file in the way of one, absurd options.
    let directory = directory();
    let here = directory.path();
    assert!(matches!(AppendFile::open(here), Err(Error::NotRegular { found: "directory", .. })));
    assert!(matches!(AppendFile::follow(here), Err(Error::NotRegular { found: "directory", .. })));
    assert!(matches!(AppendOptions::new().create(here.join("no/such")), Err(Error::Io { .. })));
    assert!(matches!(AppendOptions::new().open(here.join("no/such")), Err(Error::NotFound { .. })));
    for capacity in [u64::MAX, 1 << 62] {
        let error = AppendOptions::new().capacity(capacity).create(here.join("a")).unwrap_err();
        assert!(matches!(error, Error::Invalid { option: "capacity", .. }), "{error:?}");
    }
    let error = AppendOptions::new().reserve(u64::MAX).create(here.join("a")).unwrap_err();
    assert!(matches!(error, Error::Invalid { option: "reserve", .. }), "{error:?}");
    assert!(error.to_string().contains("reserve"), "{error}");
    assert_eq!(fs::read_dir(here).unwrap().count(), 0);
}

#[test]
fn growth_never_maps_again_and_slices_stay_valid() {
    // Goal (A18): growing moves nothing: slices of before stay good, and the mapping is the one of the beginning. Method: slices kept from
    // every size up to 130 MiB, their bytes and addresses compared at the end; the lines of the process's map.
    let directory = directory();
    let path = directory.path().join("a");
    drop(AppendOptions::new().capacity(PAGE).create(&path).unwrap());
    // Opened once more: what is mapped before it has a name is shown without one.
    let file = AppendFile::open(&path).unwrap();
    let lines = || {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines()
            .filter(|line| line.contains(path.to_str().unwrap()))
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let before = lines();
    assert_eq!(before.len(), 1, "{before:?}");
    let (mut slices, mut n) = (vec![], 0);
    while file.len() < 130 << 20 {
        file.push(&record(1, n, 1 << 20)).unwrap();
        slices.push(file.data());
        n += 1;
    }
    assert_eq!(lines(), before);
    let all = file.data();
    for (n, slice) in slices.iter().enumerate() {
        assert_eq!(slice.as_ptr(), all.as_ptr());
        assert_eq!(slice.len(), (n + 1) << 20);
        assert!(slice[n << 20..] == record(1, n as u64, 1 << 20), "slice {n}");
    }
}

#[test]
fn two_files_that_are_swapped_at_four_fifths_lose_nothing() {
    // Goal (A20): preallocate, watch the ratio, swap two files at 0.8, and neither ever grows. Method: the seed's neighbour does this.
    let directory = directory();
    let options = AppendOptions::new().capacity(64 << 10);
    let mut files = ["master", "slave"].map(|name| options.create(directory.path().join(name)).unwrap());
    let (mut collected, mut model) = (vec![], vec![]);
    for n in 0..20_000 {
        let line = record(2, n, length(2, n, 200));
        files[0].push(&line).unwrap();
        model.extend(line);
        if files[0].usage_ratio() > 0.8 {
            files.swap(0, 1);
            collected.extend_from_slice(files[1].data());
            files[1].clear().unwrap();
        }
    }
    collected.extend_from_slice(files[0].data());
    assert!(collected == model, "{} bytes of {}", collected.len(), model.len());
    assert!(model.len() > 4 * (64 << 10));
    assert!(files.iter().all(|file| file.capacity_bytes() == 64 << 10));
}

#[test]
fn a_reserve_that_is_used_up_is_an_error_that_names_it() {
    // Goal (A21): the limit of one handle is the address space that it reserved; an error says so, changes nothing, and a larger reserve
    // helps. Method: a reserve of 4 pages, filled; an address space that has no room.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().capacity(PAGE).reserve(4 * PAGE).create(&path).unwrap();
    file.push(&[1; 3 * PAGE as usize]).unwrap();
    let full = AppendError::ReserveFull { needed_bytes: 4 * PAGE + 1, reserve_bytes: 4 * PAGE };
    assert_eq!(file.push(&[2; PAGE as usize + 1]), Err(full));
    assert_eq!(file.resize(4 * PAGE + 1), Err(full));
    assert!(full.to_string().contains("`reserve`"), "{full}");
    file.push(&[2; PAGE as usize]).unwrap();
    assert_eq!(file.push(&[3]), Err(full));
    assert_eq!(file.resize(u64::MAX).unwrap_err().to_string().matches("reserve").count(), 2);
    assert_eq!((file.len(), file_bytes(&path)), (4 * PAGE, DATA_OFFSET + 4 * PAGE));
    drop(file);
    AppendOptions::new().reserve(5 * PAGE).open(&path).unwrap().push(&[3]).unwrap();
    // Less than there is: what is there is mapped all the same.
    assert_eq!(AppendOptions::new().reserve(0).open(&path).unwrap().len(), 4 * PAGE + 1);
    alone("append::has_few_addresses", &[("path", &path.display())]);
}

pub(crate) fn has_few_addresses() {
    use nix::sys::resource::{Resource, setrlimit};
    let path = crate::harness::Script::path();
    setrlimit(Resource::RLIMIT_AS, 8 << 30, 8 << 30).unwrap();
    for refused in [AppendFile::open(&path).map(drop), AppendFile::follow(&path).map(drop)] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Invalid { option: "reserve", .. }), "{error:?}");
    }
    let options = AppendOptions::new().reserve(1 << 30);
    options.open(&path).unwrap().push(&[4]).unwrap();
    assert_eq!(options.follow(&path).unwrap().len(), 4 * PAGE + 2);
}

#[test]
fn the_seeds_seven_steps() {
    // Goal: the test of the original. Method: empty, push, read back, resize down, clear, 100,000 bytes at once, the ratio.
    let directory = directory();
    let path = directory.path().join("a");
    let mut file = AppendOptions::new().open_or_create(&path).unwrap();
    assert!(file.is_empty() && file.is_valid());
    file.push(b"hello").unwrap();
    file.push(b"_world").unwrap();
    assert_eq!((file.len(), file.data()), (11, &b"hello_world"[..]));
    file.resize(5).unwrap();
    assert_eq!(file.data(), b"hello");
    file.clear().unwrap();
    assert!(file.is_empty());
    let large: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    file.push(&large).unwrap();
    assert_eq!(file.data(), large);
    assert!(file.usage_ratio() > 0.0 && file.usage_ratio() <= 1.0);
}

#[test]
fn lines_of_a_busy_moment_are_all_there() {
    // Goal: the original's second test: the total, and the first and last hundred lines, byte by byte. Method: 200,000 lines of 65 bytes
    // or so, and then all of them.
    let directory = directory();
    let file = AppendOptions::new().create(directory.path().join("a")).unwrap();
    let line = |n: u64| format!("[{n:>8}] {:016x}{:016x} the quick brown fox\n", mix(n), mix(!n));
    let mut total = 0;
    for n in 0..200_000 {
        assert_eq!(file.push(line(n).as_bytes()).unwrap(), total);
        total += line(n).len() as u64;
    }
    assert_eq!(file.len(), total);
    let text = std::str::from_utf8(file.data()).unwrap();
    let mut found = 0;
    for (n, is) in text.split_inclusive('\n').enumerate() {
        assert_eq!(is, line(n as u64));
        found += 1;
    }
    assert_eq!(found, 200_000);
}

#[test]
fn two_writers_never_meet() {
    // Goal: while a writer lives, a second one is `Busy`, in the same process too, and learns its pid; reading stays possible. Method: a
    // second open beside the first, before and after its end.
    let directory = directory();
    let path = directory.path().join("a");
    let file = AppendOptions::new().create(&path).unwrap();
    for second in [AppendFile::open(&path), AppendOptions::new().open_or_create(&path)] {
        let error = second.unwrap_err();
        assert!(
            matches!(&error, Error::Busy { pid, what } if *pid == std::process::id() && what.contains("/a")),
            "{error:?}"
        );
    }
    file.push(b"undisturbed").unwrap();
    assert_eq!(AppendFile::follow(&path).unwrap().len(), 11);
    drop(file);
    drop(AppendFile::open(&path).unwrap());
}

#[test]
fn a_handle_from_before_a_fork_is_an_error_in_the_child() {
    // Goal: a child has none of its parent's bytes, locks or rights, and takes nothing from it; it opens the file itself when the parent is
    // done. Method: use and drop all handles in a child; go on in the parent.
    let directory = directory();
    alone("append::forks", &[("path", &directory.path().join("a").display())]);
}

pub(crate) fn forks() {
    let path = crate::harness::Script::path();
    let file = AppendOptions::new().create(&path).unwrap();
    file.push(b"parent").unwrap();
    let follower = AppendFile::follow(&path).unwrap();
    let pinned = follower.pin().unwrap();
    // The child takes them out of its own copy.
    let mut handles = Some((file, follower, pinned));
    fork(|| {
        let (mut file, mut follower, pinned) = handles.take().unwrap();
        assert_eq!(file.push(b"child"), Err(AppendError::Forked));
        assert_eq!(file.push(b""), Err(AppendError::Forked));
        assert_eq!(file.resize(1), Err(AppendError::Forked));
        assert_eq!(file.sync(), Err(AppendError::Forked));
        assert_eq!((file.len(), file.data(), file.is_valid()), (0, &b""[..], false));
        assert_eq!(follower.read_at(0, &mut [0]), Err(FollowError::Forked));
        assert!(matches!(follower.pin(), Err(Error::Forked)));
        assert!(matches!(follower.has_writer(), Err(Error::Forked)));
        assert_eq!((follower.len(), pinned.data()), (0, &b""[..]));
        assert!(matches!(AppendFile::open(&path), Err(Error::Busy { .. })));
        let own = AppendFile::follow(&path).unwrap();
        assert_eq!(own.pin().unwrap().data(), b"parent");
        assert!(matches!(file.seal(), Err(Error::Forked)));
        drop((pinned, follower));
    })
    .finish();
    let (mut file, mut follower, pinned) = handles.unwrap();
    file.push(b" goes on").unwrap();
    let mut bytes = [0; 14];
    follower.read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"parent goes on");
    assert_eq!((file.clear(), pinned.data()), (Err(AppendError::Pinned), &b"parent"[..]));
    drop(pinned);
    file.clear().unwrap();
    drop(file);
    fork(|| assert_eq!(AppendFile::open(&path).unwrap().push(b"child"), Ok(0))).finish();
    assert_eq!(AppendFile::open(&path).unwrap().data(), b"child");
}

/// What is done to a file and to a vector.
#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Resize(u64),
    Clear,
    Reopen,
    Sync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..300).prop_map(Step::Push),
        2 => (0usize..40_000).prop_map(Step::Push),
        2 => (0u64..100_000).prop_map(Step::Resize),
        1 => Just(Step::Clear),
        2 => Just(Step::Reopen),
        1 => Just(Step::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_steps_leave_what_a_vector_would_hold(steps in proptest::collection::vec(step(), 1..60), capacity in 0u64..20_000) {
        // Goal: an append file is a vector that others can see. Method: random steps on both, compared after each, by a follower too.
        let directory = directory();
        let path = directory.path().join("a");
        let mut file = AppendOptions::new().capacity(capacity).create(&path).unwrap();
        let mut follower = AppendFile::follow(&path).unwrap();
        let mut model: Vec<u8> = vec![];
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(len) => {
                    let more = record(3, n as u64, len);
                    prop_assert_eq!(file.push(&more).unwrap(), model.len() as u64);
                    model.extend(more);
                }
                Step::Resize(len) => {
                    file.resize(len).unwrap();
                    model.resize(len as usize, 0);
                }
                Step::Clear => {
                    file.clear().unwrap();
                    model.clear();
                }
                Step::Reopen => {
                    drop(file);
                    file = AppendFile::open(&path).unwrap();
                }
                Step::Sync => {
                    file.sync().unwrap();
                    prop_assert_eq!(file.durable_len(), file.len());
                }
            }
            prop_assert!(file.data() == model);
            prop_assert!(file.len() <= file.capacity_bytes() && file.capacity_bytes().is_multiple_of(PAGE));
            let mut seen = vec![1; model.len()];
            let told = follower.read_at(0, &mut seen);
            prop_assert!(seen == model || told.is_err());
            if let Err(told) = told {
                prop_assert!(matches!(told, FollowError::Cleared { .. }), "{told:?}");
                follower.read_at(0, &mut seen).unwrap();
                prop_assert!(seen == model);
            }
        }
    }
}
