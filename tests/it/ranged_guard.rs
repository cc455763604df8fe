//! Ranged, guard: with the feature `guard`, a file that is cut while it is mapped is an error, and no end by SIGBUS.

use crate::harness::{Actor, Script, directory, listen, say};
use shm_ring::{AllocateError, Error, RangeError, RangedFile, RangedOptions};
use std::fs::OpenOptions;

const SIZE: u64 = 100_000;
const PAGE: u64 = 4096;

#[test]
fn who_uses_a_truncated_file_is_told() {
    // Goal: every call that met the cut, or comes after one that did, is `Truncated`; no range comes of tables that are gone; in-place
    // slices show zeros. Method: cut at every kind of place: nothing left, in the live page, the tables, the data, the last page.
    let directory = directory();
    let length = |path| std::fs::metadata(path).unwrap().len();
    let whole = {
        let path = directory.path().join("length");
        drop(RangedOptions::new().create(&path, SIZE).unwrap());
        length(path)
    };
    let cuts = [
        0,
        100,
        PAGE,
        2 * PAGE,
        3 * PAGE + 8,
        6 * PAGE,
        6 * PAGE + 100,
        10 * PAGE,
        whole - 5000,
        whole - 100,
    ];
    for (n, cut) in cuts.into_iter().enumerate() {
        let path = directory.path().join(n.to_string());
        drop(RangedOptions::new().create(&path, SIZE).unwrap());
        let params: &[(&str, &dyn std::fmt::Display)] =
            &[("path", &path.display()), ("cut", &cut), ("whole", &whole)];
        let mut victim = Actor::start("ranged_guard::victim", params);
        victim.expect("ready");
        OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        victim.tell("cut");
        assert_eq!(victim.hear(), "told", "cut to {cut} of {whole}");
        victim.finish();
    }
}

pub(crate) fn victim() {
    let file = RangedFile::open(Script::path()).unwrap();
    let receipt = file.write(file.allocate(30_000).unwrap(), &[1; 30_000]).unwrap();
    let (low, mut high) = file.allocate(50_048).unwrap().split_at(64).unwrap();
    say("ready");
    listen();
    let (cut, whole) = (Script::number("cut"), Script::number("whole"));
    let is_truncated =
        |error: &Error| matches!(error, Error::Truncated { kind: shm_ring::FileKind::Ranged, .. });
    // What is on pages that are there can be taken; nothing comes of a table that is not.
    match file.allocate(64) {
        Ok(range) => assert!(cut >= 2 * PAGE && range.start() >= 80_064, "{range:?}"),
        Err(error) => assert!(error == AllocateError::Truncated && cut < 6 * PAGE, "{error}"),
    }
    high.as_mut_slice().fill(2);
    let is_seen = cut <= whole - PAGE;
    let outcome = file.write(low, &[3; 64]);
    assert_eq!(outcome.is_err(), is_seen, "{outcome:?}");
    if let Err(refused) = outcome {
        assert_eq!(refused.error, RangeError::Truncated);
    }
    assert_eq!(file.commit(high).map_err(|refused| refused.error).is_err(), is_seen);
    assert!(receipt.bytes().iter().all(|byte| *byte <= 1));
    if is_seen {
        assert_eq!(file.read(&receipt, &mut vec![0; 30_000]), Err(RangeError::Truncated));
        assert_eq!(file.read_at(0, &mut [0; 64]), Err(RangeError::Truncated));
        assert_eq!(file.allocate(64).unwrap_err(), AllocateError::Truncated);
        assert!(matches!(file.written().map(drop), Err(RangeError::Truncated)));
        assert_eq!(file.remaining(), 0);
    }
    // These ask for the length of the file, too.
    for outcome in [file.flush(&receipt), file.sync_all(), file.stats().map(drop)] {
        assert!(is_truncated(&outcome.unwrap_err()));
    }
    match file.free(receipt) {
        Ok(()) => assert!(!is_seen),
        Err(refused) => assert!(is_seen && is_truncated(&refused.error)),
    }
    assert!(is_truncated(&file.seal().unwrap_err().error));
    say("told");
}
