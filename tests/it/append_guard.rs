//! Append, guard: with the feature `guard`, a file that is cut while it is mapped is an error for writer and follower, and no end by SIGBUS.

use crate::append::DATA_OFFSET;
use crate::harness::{Actor, Script, directory, listen, say};
use shm_ring::{AppendError, AppendFile, AppendOptions, Error, FollowError};
use std::fs::OpenOptions;

const LEN: usize = 100_000;

/// Cuts a file at every kind of place while a process has it open.
fn each_cut(role: &'static str) {
    for cut in [0, 100, 4096, DATA_OFFSET, DATA_OFFSET + 50_000, DATA_OFFSET + LEN as u64] {
        let directory = directory();
        let path = directory.path().join("a");
        AppendOptions::new().capacity(1 << 20).create(&path).unwrap().push(&[1; LEN]).unwrap();
        let mut victim = Actor::start(role, &[("path", &path.display()), ("cut", &cut)]);
        victim.expect("ready");
        OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        victim.tell("cut");
        assert_eq!(victim.hear(), "told", "cut to {cut}");
        victim.finish();
    }
}

#[test]
fn a_writer_of_a_truncated_file_is_told() {
    // Goal: a push that met the cut is `Truncated`, and so is everything after it; nothing kills the process. Method: cut anywhere, push.
    each_cut("append_guard::writer");
}

pub(crate) fn writer() {
    let mut file = AppendFile::open(Script::path()).unwrap();
    say("ready");
    listen();
    assert!(!file.is_valid());
    assert_eq!(file.push(&[2; 5000]), Err(AppendError::Truncated));
    assert_eq!(file.push(&[2]), Err(AppendError::Truncated));
    assert_eq!(file.sync(), Err(AppendError::Truncated));
    assert_eq!(file.clear(), Err(AppendError::Truncated));
    assert_eq!(file.data().len(), LEN);
    assert!(file.data().iter().all(|byte| *byte <= 1));
    let expected = matches!(file.seal(), Err(Error::Truncated { .. }));
    assert!(expected);
    say("told");
}

#[test]
fn a_follower_of_a_truncated_file_is_told() {
    // Goal: a read of bytes that are gone is `Truncated`, and nothing kills the process; pins show zeros. Method: cut anywhere, read.
    each_cut("append_guard::follower");
}

pub(crate) fn follower() {
    let mut follower = AppendFile::follow(Script::path()).unwrap();
    let pinned = follower.pin().unwrap();
    say("ready");
    listen();
    let cut = Script::number("cut");
    let told = follower.read_at(0, &mut vec![0; LEN]);
    // All pages of the bytes are there: only what was free is gone.
    let is_whole = cut >= DATA_OFFSET + LEN as u64;
    match told {
        Ok(()) => assert!(is_whole),
        Err(FollowError::Truncated { .. }) => assert!(!is_whole),
        // The live page is gone with it.
        Err(FollowError::OutOfBounds { .. }) => assert!(cut <= 4096),
        Err(error) => panic!("{error}"),
    }
    assert!(pinned.data().iter().all(|byte| *byte <= 1));
    if !is_whole {
        assert!(matches!(follower.read_at(0, &mut [0]), Err(FollowError::Truncated { .. })));
        assert!(matches!(follower.pin(), Err(Error::Truncated { .. })));
    }
    say("told");
}
