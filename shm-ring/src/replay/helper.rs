//! Helper: a thread that begins to read files, for a pool without a memory cap.
//!
//! ```text
//!   sources --what is wanted soon: a file, a part of it--> queue --> thread: open, posix_fadvise(WILLNEED), close
//! ```
//!
//! To begin a read takes as long as the device takes the order, and to open a file that is not in memory takes a whole read: neither keeps the
//! merge. What a source wants of a file goes by the file's name, so that nothing of a source is shared with the thread.
//!
//! (I1) a hint: whatever goes wrong, whoever reads the file reads it, or fails, itself; (I2) a FIFO or a device of that name is not waited
//! for; (I3) it ends with its pool, which does not wait for that, and has one descriptor at a time, for a moment, and no signal; (I4) a forked
//! child, which has no such thread, never touches the queue.
//! Not for a pool with a cap: what is read too late, behind where it was dropped, would stay in the page cache.

use crate::error::FileKind;
use crate::map::advice;
use crate::map::file::open_found;
use crate::map::fork::Side;
use nix::sys::signal::{SigSet, SigmaskHow};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Between two looks into the queue, and how many in vain before it waits: who wishes something wakes nobody while there is more to come.
const PAUSE: Duration = Duration::from_micros(300);
const N_LOOKS: u32 = 30;

/// The thread, as its pool has it.
#[derive(Debug)]
pub(crate) struct Helper {
    /// None only while it is dropped.
    wishes: Option<Sender<Wish>>,
    side: Side,
    /// Gone when the pool is: what is still in the queue is wanted no more.
    _alive: Arc<()>,
}

/// A part of a file that is wanted soon.
#[derive(Debug)]
struct Wish {
    path: PathBuf,
    part: Range<u64>,
}

impl Helper {
    /// Starts it, where the system allows that, on this side of a fork.
    pub(crate) fn start(side: Side) -> Option<Self> {
        let (wishes, queue) = mpsc::channel();
        let alive = Arc::new(());
        let pool = Arc::downgrade(&alive);
        let thread = std::thread::Builder::new().name("shm-ring-ahead".into());
        // It has the mask of who starts it. Signals are for the threads of the program, which may wait for them, or have them blocked.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).ok()?;
        let started = thread.spawn(move || run(&queue, &pool));
        // Can't fail: the mask is one that was.
        let _ = mask.thread_set_mask();
        started.ok()?;
        Some(Self { wishes: Some(wishes), side, _alive: alive })
    }

    /// That part of the file is wanted soon; false: it can't be asked for here.
    pub(crate) fn wish(&self, path: PathBuf, part: Range<u64>) -> bool {
        self.side.is_here()
            && self.wishes.as_ref().is_some_and(|wishes| wishes.send(Wish { path, part }).is_ok())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if !self.side.is_here() {
            // The thread may have been at work in the queue when its process forked.
            std::mem::forget(self.wishes.take());
        }
    }
}

fn run(queue: &Receiver<Wish>, pool: &Weak<()>) {
    while let Some(Wish { path, part }) = next(queue) {
        if pool.strong_count() == 0 {
            break;
        }
        if let Ok((file, _)) = open_found(&path, FileKind::Plain, false) {
            advice::read_ahead_of(&file, part);
        }
    }
}

fn next(queue: &Receiver<Wish>) -> Option<Wish> {
    for _ in 0..N_LOOKS {
        match queue.try_recv() {
            Err(TryRecvError::Empty) => std::thread::sleep(PAUSE),
            other => return other.ok(),
        }
    }
    queue.recv().ok()
}
