//! Scratch: the one file of this process, used again for every input; creating a ring each time would be most of the work.
//!
//! (I1) it is not mapped while its length changes; (I2) nobody but this user can write it, or `Ring::open` would refuse it.

use crate::image::{Image, SHAPES};
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A file in memory, and the sound rings that were made already.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    file: File,
    sound: RefCell<Vec<Option<Image>>>,
}

impl Scratch {
    /// This process's, for the next input: what the last one's file allowed is over, since the target makes a file of any length first.
    pub fn of_process() -> &'static Self {
        struct Shared(Scratch);
        // SAFETY: libFuzzer calls its target from one thread, and only that one gets here.
        unsafe impl Sync for Shared {}
        // SAFETY: the same.
        unsafe impl Send for Shared {}
        static SCRATCH: OnceLock<Shared> = OnceLock::new();
        crate::memory::unlimited();
        &SCRATCH.get_or_init(|| Shared(Self::new())).0
    }

    fn new() -> Self {
        let directory =
            std::env::var_os("SHM_RING_FUZZ_DIR").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
        let path = directory.join(format!("fuzz-{}.ring", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .unwrap_or_else(|error| panic!("{path:?}: {error}; SHM_RING_FUZZ_DIR names another directory"));
        Self { path, file, sound: RefCell::new(vec![None; SHAPES.into()]) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A sound ring of that shape, to be forged.
    pub fn sound(&self, shape: u8) -> Image {
        let mut sound = self.sound.borrow_mut();
        let made = sound[usize::from(shape % SHAPES)]
            .get_or_insert_with(|| Image::sound(shape % SHAPES, &self.path.with_extension("made")));
        made.clone()
    }

    /// Gives the file these bytes, and holds allocations to its size.
    pub fn fill(&self, bytes: &[u8]) {
        self.file.set_len(bytes.len() as u64).expect("the directory has room");
        self.file.write_all_at(bytes, 0).expect("the directory has room");
        crate::memory::limit_to(bytes.len());
    }

    /// Replaces words of the file, which may be mapped.
    pub fn write(&self, words: &[(u64, u64)]) {
        for (at, word) in words {
            self.file.write_all_at(&word.to_le_bytes(), *at).expect("the page is there");
        }
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }
}
