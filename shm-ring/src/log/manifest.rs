//! Manifest: the file in which a log's changes are, each on the medium before anything is done that rests on it.
//!
//! ```text
//!   add: record behind the last one, sync                 CURRENT -> MANIFEST-00000003
//!     fails: the file is left alone; the next one           written anew: MANIFEST-00000004, sync,
//!     begins a new one                                      CURRENT.tmp, sync, rename, sync names, the old one removed
//! ```
//!
//! What a death or a power cut leaves: the old CURRENT with the old manifest, which nobody writes any more, or the new one with the new; a
//! manifest that CURRENT does not name, or a CURRENT.tmp, is residue. A record that was being written is there, or torn: everything that it
//! says holds without it being said.
//!
//! (I1) a record is in `state` when it is on the medium; (I2) after any write or sync that failed, nothing more goes into that file; (I3) a
//! file is removed only when another one is on the medium under CURRENT; (I4) who goes on with a manifest brings it to the medium first: it may
//! have been read from memory only.
//! Knows no segments, only what is said of them.

use super::error::{Trouble, no_room, trouble};
use super::names::{self, CURRENT, Name};
use crate::layout::manifest::{Reading, Record, State};
use crate::map::medium::{Medium, MediumFile};
use std::io;
use std::sync::Arc;

/// No manifest is longer, and none that says so is read.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;
/// A manifest that is so long, and four times what it has to be, is written anew.
const REWRITE_BYTES: u64 = 1 << 20;
/// Looks at CURRENT, while manifests change.
const LOOKS_MAX: usize = 100;

/// The manifest of a log that is appended to.
#[derive(Debug)]
pub(crate) struct Manifest<M: Medium> {
    medium: Arc<M>,
    number: u64,
    /// `None`: a new one has to be written before anything is added.
    file: Option<M::File>,
    /// Behind the last record.
    at: u64,
    /// Where the next one is written anew, if it has grown past it.
    rewrite_at: u64,
    state: State,
}

/// What was found in a directory.
#[derive(Debug)]
pub(crate) struct Found {
    /// The number of the manifest that counts.
    pub(crate) number: u64,
    /// What it says, and how far it holds.
    pub(crate) reading: Reading,
    /// Bytes that it has.
    pub(crate) file_bytes: u64,
}

/// What the manifest that counts says, now. Changes nothing. [`Trouble::NotFound`]: nothing was ever appended here.
pub(crate) fn read<M: Medium>(medium: &M) -> Result<Found, Trouble> {
    let mut last = Trouble::NotFound;
    // More than once only when manifests change between our two looks.
    for _ in 0..LOOKS_MAX {
        match look(medium) {
            Err(why @ Trouble::Io { .. }) if is_missing(&why) => last = why,
            other => return other,
        }
    }
    let name = match &last {
        Trouble::Io { name, .. } => name.clone(),
        _ => CURRENT.into(),
    };
    if name == CURRENT && !has_segments(medium)? {
        return Err(Trouble::NotFound);
    }
    let (expected, found) = ("a file: `shm-ring repair` makes it anew".into(), "none".into());
    Err(Trouble::Corrupt { name, what: "file", expected, found })
}

/// Brings bytes to the medium that somebody wrote who may have been killed before the sync, or whose sync has failed: then the system takes
/// them for clean, and brings them only when they are written again. As they are the same bytes, no crash makes others of them.
fn bring_again<F: MediumFile>(file: &F, length: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?];
    let n = file.read_at(&mut bytes, 0)?;
    file.write_at(&bytes[..n], 0)?;
    file.sync()
}

fn is_missing(why: &Trouble) -> bool {
    matches!(why, Trouble::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Whether there are segments.
fn has_segments<M: Medium>(medium: &M) -> Result<bool, Trouble> {
    let names = match medium.names() {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(trouble("list", ""))?,
    };
    Ok(names.iter().any(|name| matches!(Name::of(name), Name::Segment(_))))
}

fn look<M: Medium>(medium: &M) -> Result<Found, Trouble> {
    let mut bytes = [0; 64];
    let file = medium.open(CURRENT, false).map_err(trouble("open", CURRENT))?;
    // It is never written in place.
    let length = file.opened_bytes().map_err(trouble("examine", CURRENT))?;
    let length = usize::try_from(length).map_or(bytes.len(), |length| length.min(bytes.len()));
    let n = file.read_at(&mut bytes[..length], 0).map_err(trouble("read", CURRENT))?;
    let text = String::from_utf8_lossy(&bytes[..n]);
    let Some(Name::Manifest(number)) = text.strip_suffix('\n').map(Name::of) else {
        let expected = "the name of a manifest: `shm-ring repair` writes it anew".into();
        return Err(Trouble::Corrupt {
            name: CURRENT.into(),
            what: "text",
            expected,
            found: format!("{text:?}"),
        });
    };
    let name = names::manifest(number);
    let file = medium.open(&name, false).map_err(trouble("open", &name))?;
    let file_bytes = file.opened_bytes().map_err(trouble("examine", &name))?;
    let length = usize::try_from(file_bytes.min(MANIFEST_BYTES_MAX)).unwrap_or(0);
    let mut bytes = vec![0; length];
    let n = file.read_at(&mut bytes, 0).map_err(trouble("read", &name))?;
    match State::read(number, &bytes[..n]) {
        Some(reading) => Ok(Found { number, reading, file_bytes }),
        None => {
            let expected = "a snapshot that holds: `shm-ring repair` writes it anew".into();
            Err(Trouble::Corrupt { name, what: "first record", expected, found: "none".into() })
        }
    }
}

impl<M: Medium> Manifest<M> {
    /// The first manifest of a new log.
    pub(crate) fn create(medium: Arc<M>, state: State) -> Result<Self, Trouble> {
        let mut this = Self { medium, number: 0, file: None, at: 0, rewrite_at: 0, state };
        this.rewrite(None)?;
        Ok(this)
    }

    /// Another one than was there, behind that number: for a repair, which has put aside what was there.
    pub(crate) fn anew(medium: Arc<M>, number: u64, state: State) -> Result<Self, Trouble> {
        let mut this = Self { medium, number, file: None, at: 0, rewrite_at: 0, state };
        this.rewrite(None)?;
        Ok(this)
    }

    /// Goes on with what was found: in a new file, if the old one ends in what does not hold.
    pub(crate) fn go_on(medium: Arc<M>, found: Found) -> Result<Self, Trouble> {
        let Found { number, reading, file_bytes } = found;
        let at = reading.valid_bytes as u64;
        let mut this =
            Self { medium, number, file: None, at, rewrite_at: REWRITE_BYTES, state: reading.state };
        // CURRENT may have been renamed, and whoever did it killed before the name was on the medium.
        this.medium.sync_names().map_err(trouble("sync the names of", ""))?;
        if at == file_bytes && at < REWRITE_BYTES {
            let name = names::manifest(number);
            let file = this.medium.open(&name, true).map_err(trouble("open", &name))?;
            bring_again(&file, at).map_err(trouble("write again", &name))?;
            this.file = Some(file);
        }
        Ok(this)
    }

    /// What it says.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Which it is.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Adds a record, and returns when it is on the medium.
    pub(crate) fn add(&mut self, record: &Record) -> Result<(), Trouble> {
        let mut next = self.state.clone();
        next.apply(record).map_err(|what| Trouble::Corrupt {
            name: names::manifest(self.number),
            what,
            expected: "a record that follows".into(),
            found: format!("{record:?}"),
        })?;
        let name = names::manifest(self.number);
        // (I2): taken out, and put back when all went well.
        let Some(file) = self.file.take().filter(|_| self.at < self.rewrite_at) else {
            return self.rewrite(Some(next));
        };
        let bytes = record.encode(self.number, self.at);
        let needed_bytes = bytes.len() as u64;
        let failed = |why| no_room("write", &name, needed_bytes, self.medium.free_bytes())(why);
        file.write_at(&bytes, self.at).and_then(|()| file.sync()).map_err(failed)?;
        self.at += needed_bytes;
        self.file = Some(file);
        self.state = next;
        Ok(())
    }

    /// Begins a new file with everything that is, or is to be.
    pub(crate) fn rewrite(&mut self, next: Option<State>) -> Result<(), Trouble> {
        let state = next.unwrap_or_else(|| self.state.clone());
        let number = self.number + 1;
        let (name, old, temporary) =
            (names::manifest(number), names::manifest(self.number), names::temporary(CURRENT));
        let bytes = Record::Snapshot(state.clone()).encode(number, 0);
        let needed_bytes = bytes.len() as u64;
        // What an attempt left that failed, or a death: CURRENT names another one.
        let _ = self.medium.remove(&name);
        let _ = self.medium.remove(&temporary);
        // Whatever fails, that number is not tried again: CURRENT may name it on the medium.
        self.number = number;
        self.file = None;
        let medium = &*self.medium;
        let write = || {
            let file = medium.create(&name, 0)?;
            file.write_at(&bytes, 0)?;
            file.sync()?;
            let current = medium.create(&temporary, 0)?;
            current.write_at(format!("{name}\n").as_bytes(), 0)?;
            current.sync()?;
            // The manifest's name is on the medium before CURRENT says it.
            medium.sync_names()?;
            medium.rename(&temporary, CURRENT)?;
            medium.sync_names()?;
            Ok(file)
        };
        let file = write().map_err(|why| no_room("write", &name, needed_bytes, medium.free_bytes())(why))?;
        // Best effort: residue is removed by the next who opens the log.
        let _ = medium.remove(&old);
        self.file = Some(file);
        self.at = needed_bytes;
        self.rewrite_at = REWRITE_BYTES.max(4 * needed_bytes);
        self.state = state;
        Ok(())
    }
}
