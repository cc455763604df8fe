//! Shared: what an appender, its helpers and its receipts have in common, in one process.
//!
//! ```text
//!   Appender --- stage, publish, roll          hands: which segments there are    short moments, no system call
//!   helpers  --- prepare, populate, sync       manifest: what is said of them     while its file is written
//!   receipts --- wait for the watermark        preparing: who makes the next one  while it is made
//! ```
//!
//! (I1) locks are taken in the order preparing, manifest, hands, and nobody does I/O with `hands`; (I2) `hands.sealed` are the segments
//! between the manifest's last SEALED record and the active one, oldest first; (I3) `failed` is stored once and never taken back.
//! Decides nothing; see `helper.rs` and `durable.rs`.

use super::error::LogError;
use super::manifest::Manifest;
use super::segment::Segment;
use crate::layout::segment::{Sealed, SegmentExtent};
use crate::map::fork::Side;
use crate::map::medium::Medium;
use crate::sync::{AtomicU64, Ordering};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// How sure a record is of outliving what, when `append` or its receipt's `wait` has returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The process: records are there when it is killed. After a power cut, what the system wrote by itself is; whole segments are synced
    /// when they are full.
    #[default]
    Process,
    /// The machine, but for the last of it: a helper syncs whenever so long has passed.
    Interval(Duration),
    /// The machine: a receipt's [`wait`](crate::LogReceipt::wait) returns when the record is on the medium. Threads that wait at the same time
    /// share a sync.
    EachRecord,
}

/// How a log is appended to, this time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Of new segments.
    pub(crate) extent: SegmentExtent,
    /// When what is published is synced.
    pub(crate) durability: Durability,
    /// Keep at least so much.
    pub(crate) keep_bytes: Option<u64>,
    /// Keep at least what is not older than that.
    pub(crate) keep_for: Option<Duration>,
    /// This boot.
    pub(crate) boot: [u64; 2],
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Shared<M: Medium> {
    pub(super) medium: Arc<M>,
    pub(super) settings: Settings,
    pub(super) log_uuid: [u8; 16],
    pub(super) side: Side,
    pub(super) manifest: Mutex<Manifest<M>>,
    pub(super) hands: Mutex<Hands<M>>,
    /// A segment of which all but the record in the manifest is done.
    pub(super) preparing: Mutex<Option<Arc<Segment<M::File>>>>,
    /// Up to where pages are there, in the active segment and in the next: its number, and bytes of its data.
    pub(super) windows: Mutex<[(u64, u64); 2]>,
    /// Told when the watermark rises, or never will.
    pub(super) settled: Condvar,
    /// Told when as many wait as did for the last sync.
    pub(super) gathered: Condvar,
    durable: AtomicU64,
    /// 0, or 1 and what the system said when a sync failed.
    failed: AtomicU64,
    /// Wakes who makes pages present.
    pub(super) pages: Bell,
    /// Wakes who prepares.
    pub(super) ahead: Bell,
    /// Wakes who syncs.
    pub(super) behind: Bell,
}

/// Which segments there are.
#[derive(Debug)]
pub(crate) struct Hands<M: Medium> {
    /// The one that is appended to.
    pub(super) active: Arc<Segment<M::File>>,
    /// The next ones.
    pub(super) prepared: VecDeque<Arc<Segment<M::File>>>,
    /// Full, and not yet on the medium as far as the manifest knows.
    pub(super) sealed: VecDeque<(Arc<Segment<M::File>>, Sealed)>,
    /// Somebody is at it.
    pub(super) is_syncing: bool,
    /// The appender has gone, or is about to let go of its lock byte: nobody syncs any more.
    pub(super) is_gone: bool,
    /// Threads that wait for it, or for the next one.
    pub(super) n_waiting: usize,
    /// How many there were when the last one ended, its leader included; they will be back.
    pub(super) n_crowd: usize,
    /// How long the last one took.
    pub(super) last_sync: Duration,
    /// Syncs that have ended: who was let go by one waits no more, though it may not have run since.
    pub(super) round: u64,
    /// The appender is about to go.
    pub(super) is_over: bool,
    /// Segments that were retired, and files that were used again.
    pub(super) n_retired: u64,
    pub(super) n_recycled: u64,
    /// Syncs of segments.
    pub(super) n_syncs: u64,
}

/// Wakes a thread, if there is one. A ring before it sleeps is not lost.
#[derive(Debug, Default)]
pub(crate) struct Bell(OnceLock<Thread>);

impl Bell {
    /// The thread that hears it.
    pub(super) fn belongs_to(&self, thread: &Thread) {
        // Set once, by the only one who starts threads.
        let _ = self.0.set(thread.clone());
    }

    /// Wakes it.
    pub(super) fn ring(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

impl<M: Medium> Shared<M> {
    /// What an appender that goes on in `active` shares.
    pub(super) fn new(
        medium: Arc<M>,
        settings: Settings,
        manifest: Manifest<M>,
        active: Arc<Segment<M::File>>,
        prepared: VecDeque<Arc<Segment<M::File>>>,
        durable: u64,
    ) -> io::Result<Self> {
        let hands = Hands {
            active,
            prepared,
            sealed: VecDeque::new(),
            is_syncing: false,
            is_gone: false,
            n_waiting: 0,
            n_crowd: 0,
            last_sync: Duration::ZERO,
            round: 0,
            is_over: false,
            n_retired: 0,
            n_recycled: 0,
            n_syncs: 0,
        };
        Ok(Self {
            medium,
            settings,
            log_uuid: manifest.state().log_uuid,
            side: Side::current()?,
            manifest: Mutex::new(manifest),
            hands: Mutex::new(hands),
            preparing: Mutex::new(None),
            windows: Mutex::new([(0, 0); 2]),
            settled: Condvar::new(),
            gathered: Condvar::new(),
            durable: AtomicU64::new(durable),
            failed: AtomicU64::new(0),
            pages: Bell::default(),
            ahead: Bell::default(),
            behind: Bell::default(),
        })
    }

    /// The segments, for a moment.
    pub(super) fn hands(&self) -> MutexGuard<'_, Hands<M>> {
        held(&self.hands)
    }

    /// The manifest.
    pub(super) fn manifest(&self) -> MutexGuard<'_, Manifest<M>> {
        held(&self.manifest)
    }

    /// The position below which everything is on the medium.
    #[inline]
    pub(crate) fn durable(&self) -> u64 {
        // ORDER none (Relaxed): a claim about the medium, not about memory.
        self.durable.load(Ordering::Relaxed)
    }

    /// Raises it; under `hands`.
    pub(super) fn note_durable(&self, end: u64) {
        // ORDER none (Relaxed): one storer at a time, under `hands`.
        self.durable.store(self.durable().max(end), Ordering::Relaxed);
    }

    /// Why nothing is appended any more, if a sync has failed.
    #[inline(always)]
    pub(crate) fn failure(&self) -> Option<LogError> {
        // ORDER none (Relaxed): a number that nothing is read behind.
        let failed = self.failed.load(Ordering::Relaxed);
        if failed == 0 {
            return None;
        }
        Some(LogError::SyncFailed { errno: i32::try_from(failed - 1).unwrap_or(libc::EIO) })
    }

    /// Says for good that nothing can be appended any more.
    pub(super) fn fail(&self, errno: i32) {
        let _hands = self.hands();
        self.note_failure(errno);
    }

    /// Says for good that a sync has failed; under `hands`.
    pub(super) fn note_failure(&self, errno: i32) {
        if self.failure().is_none() {
            let failed = u64::try_from(errno).unwrap_or(0) + 1;
            // ORDER none (Relaxed): a number that nothing is read behind.
            self.failed.store(failed, Ordering::Relaxed);
        }
    }
}

/// A lock, whatever became of who had it: what it guards is whole between two statements.
pub(super) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
