//! Bytes that grow at the end of a file: pushed by one process, read in place while it grows, followed by another process, finished with a
//! checksum.
//!
//! `cargo run -p examples --example append_file [FILE]`. The other process is this program again.
#![allow(clippy::print_stdout)]

use shm_ring::{AppendError, AppendFile, AppendOptions, FollowError, ReadAt, Snapshot, SyncPolicy};
use std::error::Error;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the follower ends at.
const LINES: u32 = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match &args[..] {
        [role, path] if role == "follow" => follow(Path::new(path)),
        [path] => write(Path::new(path)),
        _ => {
            let directory = tempfile::tempdir()?;
            write(&directory.path().join("app.bytes"))
        }
    }
}

fn write(path: &Path) -> Result<(), Box<dyn Error>> {
    // Made with 512 KiB of room, all of it allocated: a full disk is an error here, and never a signal later.
    let mut file = AppendOptions::new().create(path)?;
    assert!(file.is_empty() && file.is_valid());

    file.push(b"hello")?;
    let hello = file.data();
    file.push(b"_world")?;
    println!("pushed: {:?}, while {:?} is still where it was", text(file.data()), text(hello));

    file.resize(5)?;
    println!("cut to 5 bytes: {:?}", text(file.data()));

    file.clear()?;
    println!("cleared: {} bytes, room for {}", file.len(), file.capacity_bytes());

    // More than there is room for: the file grows where it is mapped, and nobody maps it again.
    let large = vec![b'x'; 100_000];
    while file.capacity_bytes() == 512 << 10 {
        file.push(&large)?;
    }
    println!("pushed {} bytes: {:.1} % of {}", file.len(), file.usage_ratio() * 100.0, file.capacity_bytes());
    drop(file);

    // Everything is there. One writer at a time; this one syncs by itself, a hundred times a second at most.
    let options = AppendOptions::new().sync(SyncPolicy::Interval(Duration::from_millis(10)));
    let mut file = options.open(path)?;
    println!(
        "opened again: {} bytes; a second writer: {}",
        file.len(),
        AppendFile::open(path).expect_err("it is busy")
    );
    file.clear()?;

    let this = std::env::current_exe()?;
    let mut follower = Command::new(this);
    follower.arg("follow").arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut follower = follower.spawn()?;
    let mut told = BufReader::new(follower.stdout.take().expect("it is piped")).lines();
    let _ready = told.next().ok_or("the follower ended")??;
    for n in 0..LINES {
        file.push(format!("line {n}\n").as_bytes())?;
    }
    // Bytes that it reads in place can't be given up meanwhile.
    println!("{}", told.next().ok_or("the follower ended")??);
    match file.clear() {
        Err(AppendError::Pinned) => println!("a reader has it pinned: nothing was cleared"),
        other => return Err(format!("cleared under its reader: {other:?}").into()),
    }
    // Its stdin ends here, and so does it.
    assert!(follower.wait()?.success());

    file.seal()?;
    println!("sealed; opened for writing: {}", AppendFile::open(path).expect_err("it is finished"));

    // Header, length and checksum are right, or this is an error. From here on it is bytes that do not change.
    let snapshot = Snapshot::open(path)?;
    let lines = snapshot.as_slice().split(|byte| *byte == b'\n').count() - 1;
    let stats = AppendFile::inspect(path)?;
    println!(
        "a snapshot of {} bytes, {lines} lines, crc32c {:#010x}",
        snapshot.len(),
        stats.data_crc.unwrap_or(0)
    );
    assert_eq!(lines, LINES as usize);
    Ok(())
}

/// Another process: it writes nothing into the file, and the writer does not know of it.
fn follow(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut follower = AppendFile::follow(path)?;
    println!("ready");
    let (mut seen, mut lines, mut turns) = (0, 0, 0);
    while lines < LINES as usize {
        let len = follower.wait(seen, Duration::from_secs(60))?;
        let mut news = vec![0; usize::try_from(len - seen)?];
        match follower.read_at(seen, &mut news) {
            Ok(()) => {}
            // What was there before is no more: begin with what is.
            Err(FollowError::Cleared { .. }) => {
                (seen, lines) = (0, 0);
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        // Whole pushes, always.
        assert!(news.ends_with(b"\n") || news.is_empty());
        lines += news.iter().filter(|byte| **byte == b'\n').count();
        (seen, turns) = (len, turns + 1);
    }
    let pinned = follower.pin()?;
    let last = pinned.data().rsplit(|byte| *byte == b'\n').nth(1).unwrap_or_default();
    println!(
        "process {} followed {lines} lines, in {turns} turns; in place, the last one is {:?}",
        std::process::id(),
        text(last)
    );
    // Until the writer has tried.
    let _ = std::io::stdin().read(&mut [0])?;
    Ok(())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("?")
}
