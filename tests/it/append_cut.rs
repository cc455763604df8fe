//! Append, cut: what is there after the power was cut, byte for byte as the medium has it.
//!
//! ```text
//!   image (ext4, of a process alone) --mounted at--> disk: files are made, pushed to, synced
//!     | copied while it is in use: what reached the medium, and nothing of what is in memory only
//!   image2                           --mounted at--> after: opened, as if the machine had been restarted
//! ```

use crate::append::DATA_OFFSET;
use crate::disks::{make_image, mount_image, mounted, play};
use crate::harness::{Script, directory, is_root_for};
use nix::fcntl::OFlag;
use shm_ring::{AppendFile, AppendOptions, SyncPolicy};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const PAGE: u64 = 4096;
/// In the live page: bytes that are durable, and the boot id.
const DURABLE: u64 = PAGE + 128;
const BOOT: u64 = PAGE + 152;

/// Runs a case in a process with an image of its own.
fn case(test: &str, name: &str) {
    if !is_root_for(test) {
        return;
    }
    let directory = directory();
    play(test, "append_cut::alone", &[("path", &directory.path().display()), ("case", &name)]);
}

/// A disk of which the power can be cut.
struct Disk {
    here: PathBuf,
}

impl Disk {
    fn path(&self, name: &str) -> PathBuf {
        self.here.join("disk").join(name)
    }

    /// Cuts the power; where the file is then, with another boot's id.
    fn cut(&self, names: &[&str]) -> Vec<PathBuf> {
        fs::copy(self.here.join("image"), self.here.join("image2")).unwrap();
        mount_at(&self.here, "image2", "after").unwrap();
        let paths: Vec<_> = names.iter().map(|name| self.here.join("after").join(name)).collect();
        for path in &paths {
            write(path, BOOT, b"no boot has this");
        }
        paths
    }
}

fn write(path: &Path, at: u64, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

/// Brings these bytes of a file to the medium, as the system does by itself, at any time and in any order.
fn write_back(path: &Path, offset: u64, length: usize) {
    let mut bytes = vec![0; length];
    let file = File::options().read(true).write(true).custom_flags(OFlag::O_DSYNC.bits()).open(path).unwrap();
    file.read_exact_at(&mut bytes, offset).unwrap();
    file.write_all_at(&bytes, offset).unwrap();
}

fn mount_at(here: &Path, image: &str, at: &str) -> Result<(), String> {
    fs::create_dir(here.join(at)).map_err(|error| error.to_string())?;
    mount_image(&here.join(image), &here.join(at))
}

fn new_disk(here: PathBuf) -> Result<Disk, String> {
    make_image(&here.join("image"))?;
    mount_at(&here, "image", "disk")?;
    Ok(Disk { here })
}

pub(crate) fn alone() {
    mounted(
        || new_disk(Script::path()),
        |disk| match Script::text("case").as_str() {
            "synced" => synced(&disk),
            _ => given_up(&disk),
        },
    );
}

#[test]
fn what_was_synced_is_there_after_a_power_cut() {
    // Goal: after `sync`, a push of `EachPush` or `seal` has returned, the file is there under its name, is recognised, and has the bytes,
    // however it was created. Method: an image that is copied while it is in use.
    case("what_was_synced_is_there_after_a_power_cut", "synced");
}

fn synced(disk: &Disk) {
    let names = ["never, sync", "never, each", "never, seal", "each"];
    let never = AppendOptions::new();
    let each = never.clone().sync(SyncPolicy::EachPush);
    let first = never.create(disk.path(names[0])).unwrap();
    first.push(b"synced").unwrap();
    first.sync().unwrap();
    drop(never.create(disk.path(names[1])).unwrap());
    let second = each.open(disk.path(names[1])).unwrap();
    second.push(b"synced").unwrap();
    let third = never.create(disk.path(names[2])).unwrap();
    third.push(b"synced").unwrap();
    third.seal().unwrap();
    let fourth = each.create(disk.path(names[3])).unwrap();
    fourth.push(b"synced").unwrap();
    for path in disk.cut(&names) {
        let follower = AppendFile::follow(&path).unwrap();
        assert_eq!(follower.pin().unwrap().data(), b"synced", "{path:?}");
        assert_eq!(follower.is_sealed(), path.ends_with(names[2]));
        if !follower.is_sealed() {
            let file = AppendFile::open(&path).unwrap();
            assert!(file.doubtful().is_empty() && file.durable_len() == 6, "{path:?}");
        }
    }
}

#[test]
fn bytes_that_are_written_anew_are_never_durable_by_an_old_word() {
    // Goal: the next writer of a file whose last one died while it gave bytes up lowers the durable length on the medium before it writes
    // there. Method: the word as the dead writer left it, in memory only; new bytes that the system has written by itself; a power cut.
    case("bytes_that_are_written_anew_are_never_durable_by_an_old_word", "given up");
}

fn given_up(disk: &Disk) {
    let path = disk.path("a");
    let file = AppendOptions::new().sync(SyncPolicy::EachPush).create(&path).unwrap();
    file.push(&[b'A'; 40960]).unwrap();
    drop(file);
    write(&path, DURABLE, &[0; 8]);
    let mut file = AppendFile::open(&path).unwrap();
    file.clear().unwrap();
    file.push(&[b'B'; 20000]).unwrap();
    write_back(&path, DATA_OFFSET, 20000);
    let after = &disk.cut(&["a"])[0];
    let file = AppendFile::open(after).unwrap();
    let (len, durable) = (file.len(), usize::try_from(file.durable_len()).unwrap());
    assert!(durable == 0 || !file.data()[..durable].contains(&b'B'), "{durable} of {len} bytes are durable");
}
