//! Receipt: what an append returns, and what can wait until the record is as safe as was asked for.
//!
//! ```text
//!   thread 1: append -> receipt --.                     .--> wait: leads the sync
//!   thread 2: append -> receipt ---+-- appender's lock --+--> wait: covered by it, or leads the next
//! ```
//!
//! (I1) a receipt of `Durability::Process` has nothing to wait for, and costs an append nothing; the others keep alive what they wait by;
//! (I2) nobody who waits holds what an append needs.
//! Syncs by `durable.rs`.

use super::error::LogError;
use super::shared::Shared;
use crate::map::disk::Disk;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where a record was appended; waits until it is on the medium.
///
/// Can be sent to other threads, and waited for there: threads that share an [`Appender`](crate::Appender) behind a lock let go of the lock
/// before they wait, and then one sync is enough for many of them.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("log");
/// use shm_ring::{Durability, LogOptions};
/// use std::sync::Mutex;
///
/// let options = LogOptions::new().segment_bytes(1 << 20).durability(Durability::EachRecord);
/// let log = Mutex::new(options.create(&path)?);
/// std::thread::scope(|scope| {
///     for name in ["a", "b"] {
///         let log = &log;
///         scope.spawn(move || {
///             let receipt = log.lock().unwrap().append(name.as_bytes()).unwrap();
///             receipt.wait().unwrap(); // the lock is free again
///             assert!(receipt.is_durable());
///         });
///     }
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a record is only as safe as its `wait` says"]
pub struct LogReceipt {
    position: u64,
    end: u64,
    shared: Option<Arc<Shared<Disk>>>,
}

impl LogReceipt {
    #[inline(always)]
    pub(super) fn new(position: u64, end: u64, shared: Option<Arc<Shared<Disk>>>) -> Self {
        Self { position, end, shared }
    }

    /// The record's position in the log, for ever.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Waits until the record is as safe as the log's [`Durability`](crate::Durability) says: at once with `Process`, otherwise until it is on
    /// the medium. With `Interval` too it syncs now, rather than wait for the next time.
    ///
    /// # Errors
    ///
    /// [`LogError::SyncFailed`]: nobody knows whether the record is on the medium, and nobody ever will by this appender;
    /// [`LogError::Gone`], the same of an appender that was dropped; [`LogError::Forked`]; [`LogError::System`] and [`LogError::NoSpace`] when the manifest could not be written: wait again.
    pub fn wait(&self) -> Result<(), LogError> {
        self.wait_until(None).map(drop)
    }

    /// The same, at most so long; false: it is not there yet. A sync that this thread itself leads is not cut short.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, LogError> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// Whether the record is known to be on the medium. Always false with `Process`, which knows nothing of it.
    pub fn is_durable(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.durable() >= self.end)
    }

    fn wait_until(&self, until: Option<Instant>) -> Result<bool, LogError> {
        let Some(shared) = &self.shared else { return Ok(true) };
        if !shared.side.is_here() {
            return Err(LogError::Forked);
        }
        shared.bring(self.end, until)
    }
}
