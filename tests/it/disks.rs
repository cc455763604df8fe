//! Disks: small file systems that a process mounts for itself alone, in memory or as ext4 in a file, and what fills them.
//!
//! ```text
//!   test                                   the process that plays the role
//!   ----                                   -------------------------------
//!   on_each_disk("full_disk::alone")  -->  alone_on_a_disk(work): mounts at its path, works, says "done"
//!     skipped if it can't mount            its mounts, and the loop devices below them, go with it
//! ```

use crate::harness::{Actor, Script, directory, is_root_for, listen, say};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

const MEMORY_BYTES: &str = "size=2m";
/// As little as ext4 with a journal is content with, and some.
const IMAGE_BYTES: u64 = 16 << 20;

/// Plays a role on a small disk of each kind; the role is [`alone_on_a_disk`].
pub(crate) fn on_each_disk(test: &str, role: &'static str) {
    if !is_root_for(test) {
        return;
    }
    for kind in ["tmpfs", "ext4"] {
        let directory = directory();
        let disk = directory.path().join("disk");
        fs::create_dir(&disk).unwrap();
        play(test, role, &[("path", &disk.display()), ("kind", &kind)]);
        assert_eq!(fs::read_dir(&disk).unwrap().count(), 0, "the mount was not the process's own");
    }
}

/// Plays a role of [`mounted`].
pub(crate) fn play(test: &str, role: &'static str, params: &[(&str, &dyn Display)]) {
    let mut actor = Actor::start(role, params);
    let line = actor.hear();
    if let Some(reason) = line.strip_prefix("can't mount") {
        let kind = params.last().unwrap().1;
        println!("SKIPPED {test}, {kind}{reason}");
        return;
    }
    assert_eq!(line, "done");
    actor.tell("bye");
    actor.finish();
}

/// A role: works on an empty disk of its own.
pub(crate) fn alone_on_a_disk(work: impl FnOnce(&Path)) {
    let path = Script::path();
    mounted(|| mount_disk(&path, &Script::text("kind")), |()| work(&path));
}

/// A role: works with what it has mounted, where nobody else sees it.
pub(crate) fn mounted<T>(mount: impl FnOnce() -> Result<T, String>, work: impl FnOnce(T)) {
    match mounts_of_its_own().and_then(|()| mount()) {
        Ok(mounted) => work(mounted),
        Err(error) => {
            say(&format!("can't mount: {}", error.trim().replace('\n', "; ")));
            return;
        }
    }
    say("done");
    listen();
}

/// What this process mounts from now on, nobody else sees.
pub(crate) fn mounts_of_its_own() -> Result<(), String> {
    let text = |error: nix::Error| error.to_string();
    unshare(CloneFlags::CLONE_NEWNS).map_err(text)?;
    let no = None::<&str>;
    mount(no, "/", no, MsFlags::MS_REC | MsFlags::MS_PRIVATE, no).map_err(text)
}

fn mount_disk(at: &Path, kind: &str) -> Result<(), String> {
    if kind == "tmpfs" {
        return mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(MEMORY_BYTES))
            .map_err(|error| error.to_string());
    }
    let image = at.with_extension("image");
    make_image(&image)?;
    mount_image(&image, at)?;
    fs::remove_dir(at.join("lost+found")).map_err(|error| error.to_string())
}

/// A file with an empty ext4 in it.
pub(crate) fn make_image(image: &Path) -> Result<(), String> {
    File::create(image).and_then(|file| file.set_len(IMAGE_BYTES)).map_err(|error| error.to_string())?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image))
}

/// The loop device goes with the mount, and the mount with this process.
pub(crate) fn mount_image(image: &Path, at: &Path) -> Result<(), String> {
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at))
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Bytes that are free.
pub(crate) fn room(on: &Path) -> u64 {
    let found = statvfs(on).unwrap();
    found.blocks_available() * found.fragment_size()
}

/// Writes until not one byte more is taken.
pub(crate) fn fill_up(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    while file.write_all(&[1]).is_ok() {}
}
