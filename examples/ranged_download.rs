//! A download by several processes into one file, each its own parts, without a lock; one is killed in the middle, and the next run goes on
//! where everything stood.
//!
//! `cargo run -p examples --example ranged_download [SOURCE COPY]`. Run with a source and a copy, it can be killed and run again as often as
//! you like. What is downloaded is a local file; the processes are this program again.
#![allow(clippy::print_stdout)]

use shm_ring::{Alignment, AllocateError, Error as RingError, RangedFile, RangedOptions, Snapshot};
use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const FETCHERS: usize = 3;
/// What a fetcher takes at a time.
const PART_BYTES: u64 = 256 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match &args[..] {
        [role, source, copy] if role == "fetch" => fetch(Path::new(source), Path::new(copy), false),
        [role, source, copy] if role == "hang" => fetch(Path::new(source), Path::new(copy), true),
        [source, copy] => download(Path::new(source), Path::new(copy), &["fetch"; FETCHERS]).map(drop),
        _ => show(),
    }
}

/// Two runs over a file of random bytes: in the first one a fetcher is killed in the middle of a part.
fn show() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let (source, copy) = (directory.path().join("source"), directory.path().join("copy"));
    let mut bytes = vec![0; (20 << 20) + 12_345];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    std::fs::write(&source, &bytes)?;

    println!("-- first run: one of {FETCHERS} fetchers will not live to its end");
    assert!(!download(&source, &copy, &["hang", "fetch", "fetch"])?);
    println!("-- second run");
    assert!(download(&source, &copy, &["fetch"; FETCHERS])?);

    let (original, copied) = (crc32c::crc32c(&bytes), crc32c::crc32c(Snapshot::open(&copy)?.as_slice()));
    println!("checksum of the source {original:#010x}, of the copy {copied:#010x}");
    assert_eq!(original, copied);
    Ok(())
}

/// One run, of so many fetchers; whether everything is there.
fn download(source: &Path, copy: &Path, roles: &[&str]) -> Result<bool, Box<dyn Error>> {
    let size = std::fs::metadata(source)?.len();
    // Whoever has it alone gets back what the dead of the last run had and did not write. What is written stays written.
    let file = match RangedOptions::new().alignment(Alignment::Page).open_or_create(copy, size) {
        Err(RingError::Sealed { .. }) => {
            println!("{}: complete", copy.display());
            return Ok(true);
        }
        other => other?,
    };
    println!("{} of {size} bytes are to be fetched", file.remaining());
    let start = |role: &str| -> std::io::Result<Child> {
        let mut fetcher = Command::new(std::env::current_exe()?);
        fetcher.arg(role).arg(source).arg(copy).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    };
    let mut fetchers = vec![];
    for role in roles {
        let mut fetcher = start(role)?;
        let mut lines = BufReader::new(fetcher.stdout.take().expect("it is piped")).lines();
        if *role == "hang" {
            println!("fetcher {}: {}", fetcher.id(), lines.next().ok_or("it ended")??);
        }
        fetchers.push((*role, fetcher, lines));
    }
    for (role, mut fetcher, lines) in fetchers {
        if role == "hang" {
            // As the kernel does when memory runs out. The others are at work.
            fetcher.kill()?;
        }
        for line in lines {
            println!("fetcher {}: {}", fetcher.id(), line?);
        }
        println!("fetcher {} ended: {}", fetcher.id(), fetcher.wait()?);
    }
    let missing: Vec<_> = file.missing()?.collect();
    if !missing.is_empty() {
        println!("missing: {missing:?}; what the dead had in hand comes back when the file is opened again");
        return Ok(false);
    }
    file.seal()?;
    println!("everything is there: sealed, with a checksum, as a file that does not change");
    Ok(true)
}

/// A process: takes parts, fetches them, and commits them, until nothing is left. Nobody else ever has the same part.
fn fetch(source: &Path, copy: &Path, hang: bool) -> Result<(), Box<dyn Error>> {
    let (source, file) = (File::open(source)?, RangedFile::open(copy)?);
    let (mut parts, mut bytes) = (0, 0);
    loop {
        let mut part = match file.allocate_up_to(PART_BYTES) {
            Err(AllocateError::Full { .. }) => break,
            other => other?,
        };
        if hang && parts == 5 {
            let (at, slice) = (part.start(), part.as_mut_slice());
            let half = slice.len() / 2;
            source.read_exact_at(&mut slice[..half], at)?;
            println!("in the middle of {:?}", part.as_range());
            // Until it is killed; or until nobody is left to do that.
            let _ = std::io::stdin().read(&mut [0])?;
            return Ok(());
        }
        // In place: from the source into the page cache of the copy.
        let at = part.start();
        source.read_exact_at(part.as_mut_slice(), at)?;
        bytes += part.len();
        let receipt = file.commit(part)?;
        // On the medium, so that not even a power cut takes it away.
        file.flush(&receipt)?;
        parts += 1;
    }
    println!("{parts} parts, {bytes} bytes");
    Ok(())
}
