//! Durable: how what was published gets to the medium, once for all who wait for it.
//!
//! ```text
//!   bring(position): durable >= position?  -> done
//!                    a sync has failed?    -> SyncFailed, for good
//!                    somebody syncs?       -> wait, look again
//!                    else lead: sealed segments (sync, SEALED record), then the active one up to its `end`; raise; wake all
//! ```
//!
//! Who leads works in its own thread; whoever comes while it does, and is not covered by it, leads the next, for whose crowd it waits a
//! moment: without that, those who were let go and those who were not would take turns, each half of them. So N records of many threads need as
//! many syncs as there are rounds, not records.
//!
//! (I1) at most one sync is in flight; (I2) the watermark rises behind a sync of all below it, and enters a segment only behind the SEALED
//! record of the one before, so that recovery can always tell where a durable frame stands; (I3) a sync that failed is final: the system may
//! have dropped the pages and would say so to nobody else, so the segment is marked suspect and the appender takes no more; (I4) a write to the
//! manifest that failed is not: the next one goes into a new file, with everything that the old one said; (I5) who leads does so under the
//! appender's lock byte: an appender that goes waits for the one who leads, and lets nobody lead behind it.
//! Does not decide when: receipts, helpers and `Appender::sync` do.

use super::error::{LogError, errno_of};
use super::segment::Segment;
use super::shared::{Hands, Shared};
use crate::layout::manifest::Record;
use crate::layout::segment::Sealed;
use crate::map::medium::{Medium, MediumFile, MediumMap};
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A leader waits no longer for others.
const PATIENCE_MAX: Duration = Duration::from_millis(1);

impl<M: Medium> Shared<M> {
    /// Waits until everything below `position`, which is published, is on the medium, at most until then; false: it was not.
    pub(crate) fn bring(&self, position: u64, until: Option<Instant>) -> Result<bool, LogError> {
        // Without a lock, for who was covered by somebody else's sync.
        if self.durable() >= position { Ok(true) } else { self.bring_and(position, false, until) }
    }

    /// Brings full segments to the medium, and says so in the manifest.
    pub(crate) fn settle(&self) -> Result<(), LogError> {
        self.bring_and(0, true, None).map(drop)
    }

    fn bring_and(&self, position: u64, settles: bool, until: Option<Instant>) -> Result<bool, LogError> {
        let mut hands = self.hands();
        loop {
            if self.durable() >= position && (!settles || hands.sealed.is_empty()) {
                return Ok(true);
            }
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if hands.is_gone {
                return Err(LogError::Gone);
            }
            if !hands.is_syncing {
                break;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            hands.n_waiting += 1;
            let round = hands.round;
            if hands.n_waiting + 1 >= hands.n_crowd {
                self.gathered.notify_one();
            }
            hands = match left {
                None => self.settled.wait(hands).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.settled.wait_timeout(hands, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            hands.n_waiting -= usize::from(hands.round == round);
        }
        hands.is_syncing = true;
        let hands = self.gather(hands);
        let sealed: Vec<_> = hands.sealed.iter().cloned().collect();
        let active = hands.active.clone();
        drop(hands);
        let leading = Leading { shared: self, start: Instant::now() };
        let outcome = self.lead(&sealed, &active, position);
        drop(leading);
        outcome?;
        if self.durable() >= position {
            return Ok(true);
        }
        // Published, and yet above `end`: what says so was lost under the map.
        let is_hit = active.map().was_hit();
        Err(if is_hit {
            LogError::Truncated
        } else {
            LogError::System { operation: "sync", errno: libc::EIO }
        })
    }

    /// Lets nobody lead any more, and waits for who does: from then on nothing is written on behalf of this appender. Before it lets go of its
    /// lock byte: a receipt may outlive it, and the manifest is then another's.
    pub(super) fn leave(&self) {
        let mut hands = self.hands();
        hands.is_gone = true;
        while hands.is_syncing {
            hands = self.settled.wait(hands).unwrap_or_else(PoisonError::into_inner);
        }
        drop(hands);
        self.settled.notify_all();
    }

    /// Waits for those whom the last sync let go, as long as that one took at most: so long the next would take without them. Who is alone waits
    /// for nobody, and a crowd that does not come back is waited for once.
    fn gather<'a>(&self, mut hands: MutexGuard<'a, Hands<M>>) -> MutexGuard<'a, Hands<M>> {
        let until = Instant::now() + hands.last_sync.min(PATIENCE_MAX);
        while hands.n_waiting + 1 < hands.n_crowd {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            hands = self.gathered.wait_timeout(hands, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        hands
    }

    fn lead(
        &self,
        sealed: &[(Arc<Segment<M::File>>, Sealed)],
        active: &Segment<M::File>,
        position: u64,
    ) -> Result<(), LogError> {
        for (segment, sealed) in sealed {
            self.synced(segment, segment.file().sync())?;
            let record = Record::Sealed { number: segment.number(), sealed: *sealed, lost_bytes: 0 };
            self.manifest().add(&record).map_err(|why| why.as_append())?;
            let mut hands = self.hands();
            hands.sealed.pop_front();
            self.raise(segment, sealed.end);
        }
        if self.durable() >= position {
            return Ok(());
        }
        // Before the sync: what is published while it runs may not be covered. A roll in between has sealed it at its last `end`.
        let end = active.end();
        // Frames only: the live page, which every publication changes, would be one more write for each sync, and recovery needs nothing of it.
        self.synced(active, sync_range(active, self.durable(), end))?;
        let _hands = self.hands();
        self.raise(active, end);
        Ok(())
    }

    fn raise(&self, segment: &Segment<M::File>, end: u64) {
        segment.note_durable(end);
        self.note_durable(end);
    }

    fn synced(&self, segment: &Segment<M::File>, outcome: io::Result<()>) -> Result<(), LogError> {
        let mut hands = self.hands();
        hands.n_syncs += 1;
        let Err(why) = outcome else { return Ok(()) };
        segment.mark_suspect();
        self.note_failure(errno_of(&why));
        Err(LogError::SyncFailed { errno: errno_of(&why) })
    }
}

/// A thread that leads; when it ends, in a panic too, the next one may.
struct Leading<'a, M: Medium> {
    shared: &'a Shared<M>,
    start: Instant,
}

impl<M: Medium> Drop for Leading<'_, M> {
    fn drop(&mut self) {
        let mut hands = self.shared.hands();
        hands.last_sync = self.start.elapsed();
        (hands.n_crowd, hands.n_waiting) = (hands.n_waiting + 1, 0);
        hands.round = hands.round.wrapping_add(1);
        hands.is_syncing = false;
        drop(hands);
        self.shared.settled.notify_all();
    }
}

/// Brings the frames between two positions to the medium.
pub(super) fn sync_range<F: MediumFile>(segment: &Segment<F>, from: u64, to: u64) -> io::Result<()> {
    let (base, extent) = (segment.base(), &segment.header().extent);
    let from = segment.offset_of(base, from.clamp(base, to.max(base)));
    let to = segment.offset_of(base, to.max(base)).next_multiple_of(extent.page_bytes).min(extent.file_bytes);
    segment.map().sync(from / extent.page_bytes * extent.page_bytes..to)
}
