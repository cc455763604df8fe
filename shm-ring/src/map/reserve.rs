//! Reserve: a few descriptors and a map that are kept for when the system has no more.
//!
//! (I1) what is done under the reserve's name is done once more at most; (I2) the reserve is filled again as soon as there is room.
//! Knows no budget: it is for limits of the system that somebody else in the process has used up.

use memmap2::MmapMut;
use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

/// What opening a file and mapping it takes at most at a time.
const N_DESCRIPTORS: usize = 3;

/// Descriptors and a map that nobody uses.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    descriptors: Vec<File>,
    map: Option<MmapMut>,
}

impl Reserve {
    /// Does it, and once more out of the reserve where the system has no descriptor or no map left.
    pub(crate) fn with<T, E>(
        &self,
        is_short: impl Fn(&E) -> bool,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        match attempt() {
            Err(error) if is_short(&error) => {}
            other => return other,
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Kept::default();
        let done = attempt();
        kept.fill();
        done
    }

    /// Puts aside what is missing; before it is wanted.
    pub(crate) fn fill(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).fill();
    }
}

impl Kept {
    fn fill(&mut self) {
        while self.descriptors.len() < N_DESCRIPTORS {
            let Ok(file) = File::open("/dev/null") else { break };
            self.descriptors.push(file);
        }
        // Read only later, so that it is no part of a neighbour.
        self.map = self.map.take().or_else(|| MmapMut::map_anon(1).ok());
    }
}

/// Whether the system has no descriptor or no map left, or would have to lock more memory for a map than it may.
pub(crate) fn is_short(error: &io::Error) -> bool {
    is_short_errno(error.raw_os_error().unwrap_or(0))
}

/// The same of a number.
pub(crate) fn is_short_errno(errno: i32) -> bool {
    matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN)
}
