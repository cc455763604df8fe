//! Damage: every byte of a segment cut off, every bit of it and of a manifest flipped.

use super::{BOOT, OTHER_BOOT, Seen, append, create, disk, open, read, settings};
use crate::log::error::Trouble;
use crate::log::{manifest, names};
use crate::map::disk::Disk;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

fn log() -> (tempfile::TempDir, Arc<Disk>, Vec<Seen>) {
    let (directory, disk) = disk();
    let mut core = create(&disk, settings(BOOT)).unwrap();
    let mut seen = vec![];
    for n in 0..12_u64 {
        let payload = vec![n as u8; 100 + 10 * n as usize];
        seen.push((append(&mut core, n, &payload).unwrap(), n, payload));
    }
    core.turn().unwrap();
    drop(core);
    (directory, disk, seen)
}

/// Copies a directory's files back, as they were.
struct Image(Vec<(String, Vec<u8>)>);

impl Image {
    fn of(disk: &Disk) -> Self {
        use crate::map::medium::Medium;
        let read = |name: String| (name.clone(), std::fs::read(disk.path().join(name)).unwrap());
        Self(disk.names().unwrap().into_iter().map(read).collect())
    }

    /// Everything but what is named as it was, without what is not.
    fn restore(&self, disk: &Disk) {
        use crate::map::medium::Medium;
        for name in disk.names().unwrap() {
            if !self.0.iter().any(|(known, _)| *known == name) {
                std::fs::remove_file(disk.path().join(name)).unwrap();
            }
        }
        for (name, bytes) in &self.0 {
            std::fs::write(disk.path().join(name), bytes).unwrap();
        }
    }
}

/// Opens the log, and reads it; what is read is a prefix, and so is what was there when it could not be opened.
fn open_and_read(disk: &Arc<Disk>, boot: [u64; 2], seen: &[Seen], what: &str) -> Option<usize> {
    let opened = open(disk, settings(boot));
    let Ok((mut core, _)) = opened else {
        let text = format!("{:?}", opened.err());
        assert!(
            text.contains("Corrupt")
                || text.contains("Truncated")
                || text.contains("Version")
                || text.contains("Io"),
            "{what}: {text}"
        );
        return None;
    };
    let found = read(disk).unwrap();
    assert!(seen.starts_with(&found), "{what}: {} records are no prefix", found.len());
    // It can be gone on with.
    let at = append(&mut core, 99, b"more").unwrap();
    let again = read(disk).unwrap();
    assert_eq!((again.len(), again.last()), (found.len() + 1, Some(&(at, 99, b"more".to_vec()))), "{what}");
    Some(found.len())
}

// Goal: a segment with any bit flipped opens to a prefix of what was appended, or to a clear error: never a panic, never a wrong record.
// Method: every bit of header, live page, index and of the frames that are there, some behind them; in this boot and in another.
#[test]
fn every_flipped_bit_of_a_segment_leaves_a_prefix_or_an_error() {
    let (_directory, disk, seen) = log();
    let image = Image::of(&disk);
    let name = names::segment(1);
    let whole = image.0.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    // Zeros of the pages say nothing: all of what is used, and every 97th byte of the rest.
    let used = |at: usize| {
        at < 256
            || (4096..4096 + 512).contains(&at)
            || (8192..8300).contains(&at)
            || (12288..12288 + 3000).contains(&at)
    };
    let places: Vec<usize> = (0..whole.len()).filter(|at| used(*at) || at % 997 == 0).collect();
    let (mut n_whole, mut n_errors, mut n_prefixes) = (0, 0, 0);
    for at in places {
        for bit in 0..8 {
            for boot in [BOOT, OTHER_BOOT] {
                let file = std::fs::OpenOptions::new().write(true).open(disk.path().join(&name)).unwrap();
                file.write_all_at(&[whole[at] ^ 1 << bit], at as u64).unwrap();
                match open_and_read(&disk, boot, &seen, &format!("byte {at}, bit {bit}, {boot:?}")) {
                    Some(n) if n == seen.len() => n_whole += 1,
                    Some(_) => n_prefixes += 1,
                    None => n_errors += 1,
                }
                image.restore(&disk);
            }
        }
    }
    println!("{n_whole} whole, {n_prefixes} prefixes, {n_errors} errors");
    assert!(n_whole > 1000 && n_prefixes > 1000 && n_errors > 1000);
}

// Goal: a segment that was cut is refused, at every length. Method: cut at each byte of what matters, and each page.
#[test]
fn every_cut_of_a_segment_is_an_error() {
    let (_directory, disk, seen) = log();
    let path = disk.path().join(names::segment(1));
    let whole = std::fs::read(&path).unwrap();
    let image = Image::of(&disk);
    for cut in (0..whole.len()).filter(|at| at % 61 == 0 || *at < 300 || at % 4096 < 2) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(open_and_read(&disk, BOOT, &seen, &format!("cut at {cut}")), None);
        assert_eq!(std::fs::read(&path).unwrap(), whole[..cut], "a file that is refused stays as it is");
    }
    image.restore(&disk);
    assert_eq!(open_and_read(&disk, BOOT, &seen, "whole"), Some(seen.len()));
}

// Goal: a manifest with any bit flipped, or cut at any byte, opens to a prefix of the log or to a clear error. Method: each of them.
#[test]
fn every_flipped_bit_and_every_cut_of_a_manifest_leaves_a_prefix_or_an_error() {
    let (_directory, disk, seen) = log();
    let image = Image::of(&disk);
    let name = names::manifest(manifest::read(&*disk).unwrap().number);
    let whole = image.0.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    let path = disk.path().join(&name);
    let (mut n_whole, mut n_errors) = (0, 0);
    let flipped = (0..whole.len() * 8).map(|bit| {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    let cut = (0..whole.len()).map(|cut| whole[..cut].to_vec());
    for (n, bytes) in flipped.chain(cut).enumerate() {
        std::fs::write(&path, bytes).unwrap();
        match open_and_read(&disk, BOOT, &seen, &format!("manifest {n}")) {
            Some(_) => n_whole += 1,
            None => n_errors += 1,
        }
        image.restore(&disk);
    }
    println!("{n_whole} whole, {n_errors} errors");
    assert!(n_whole > 100 && n_errors > 100);
    for bytes in [&b""[..], b"MANIFEST-00000001", b"MANIFEST-00000009\n", b"\xff\xff\n", b"LOCK\n"] {
        std::fs::write(disk.path().join(names::CURRENT), bytes).unwrap();
        assert!(matches!(manifest::read(&*disk), Err(Trouble::Corrupt { .. })));
    }
    std::fs::remove_file(disk.path().join(names::CURRENT)).unwrap();
    assert!(matches!(manifest::read(&*disk), Err(Trouble::Corrupt { .. })));
}
