//! Retention: the oldest segments go, when enough is left or when they are old enough.
//!
//! ```text
//!   manifest: RETIRED, synced --> the file becomes a spare, or loses its name
//! ```
//!
//! What a death between the two leaves: a segment below the first that the manifest has, which the next who opens the log removes. Readers
//! keep what they have mapped, and find out by its name that the next one is gone.
//!
//! (I1) only sealed segments that are on the medium go, the oldest first; (I2) nothing is truncated; (I3) what is asked for is kept at least.
//! Decides by what the manifest says of the segments, and reads none.

use super::error::Trouble;
use super::names::{self, Name};
use super::shared::Shared;
use crate::layout::manifest::{Record, State};
use crate::map::clock;
use crate::map::medium::Medium;
use std::time::Duration;

/// Files that are kept to be used again.
const SPARES_MAX: usize = 1;

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Segments.
    pub n_segments: u64,
    /// Bytes of frames in them.
    pub n_bytes: u64,
}

/// How many of the oldest segments may go, so that at least so much, and all that is not older than that, is left.
pub(super) fn n_to_retire(
    state: &State,
    active_bytes: u64,
    keep_bytes: Option<u64>,
    keep_for: Option<Duration>,
    now_ns: u64,
) -> usize {
    let sealed: Vec<_> = state.entries.iter().map_while(|entry| entry.sealed).collect();
    let mut kept: u64 = active_bytes + sealed.iter().map(|sealed| sealed.end - sealed.base).sum::<u64>();
    let age_ns = keep_for.map(|keep| u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX));
    let oldest_ns = age_ns.map(|age_ns| now_ns.saturating_sub(age_ns));
    let mut n = 0;
    for sealed in &sealed {
        let bytes = sealed.end - sealed.base;
        let is_more = keep_bytes.is_some_and(|keep| kept - bytes >= keep);
        let is_old = oldest_ns.is_some_and(|oldest| sealed.last_ns < oldest);
        if !is_more && !is_old {
            break;
        }
        kept -= bytes;
        n += 1;
    }
    n
}

impl<M: Medium> Shared<M> {
    /// Lets go of what need not be kept.
    pub(super) fn retire(&self) -> Result<(), Trouble> {
        let (keep_bytes, keep_for) = (self.settings.keep_bytes, self.settings.keep_for);
        if keep_bytes.is_none() && keep_for.is_none() {
            return Ok(());
        }
        self.retire_to(keep_bytes, keep_for).map(drop)
    }

    /// The same with other limits.
    pub(super) fn retire_to(
        &self,
        keep_bytes: Option<u64>,
        keep_for: Option<Duration>,
    ) -> Result<Collected, Trouble> {
        let active_bytes = {
            let active = &self.hands().active;
            active.end().saturating_sub(active.base())
        };
        let mut gone = Collected::default();
        loop {
            let number = {
                let mut manifest = self.manifest();
                let state = manifest.state();
                if n_to_retire(state, active_bytes, keep_bytes, keep_for, clock::realtime_ns()) == 0 {
                    return Ok(gone);
                }
                let Some((number, sealed)) = state.entries.first().map(|entry| (entry.number, entry.sealed))
                else {
                    return Ok(gone);
                };
                manifest.add(&Record::Retired { number })?;
                gone.n_segments += 1;
                gone.n_bytes += sealed.map_or(0, |sealed| sealed.end - sealed.base);
                number
            };
            self.hands().n_retired += 1;
            let name = names::segment(number);
            let spares = self.medium.names().map_or(SPARES_MAX, |names| {
                names.iter().filter(|name| matches!(Name::of(name), Name::Spare(_))).count()
            });
            let is_kept = spares < SPARES_MAX && self.medium.rename(&name, &names::spare(number)).is_ok();
            if !is_kept {
                // Best effort: the next who opens the log removes what the manifest does not have.
                let _ = self.medium.remove(&name);
            }
        }
    }

    /// Gives back the files that were kept to be used again.
    pub(super) fn remove_spares(&self) {
        let names = self.medium.names().unwrap_or_default();
        for name in names.iter().filter(|name| matches!(Name::of(name), Name::Spare(_))) {
            // Best effort: a spare is in nobody's way.
            let _ = self.medium.remove(name);
        }
    }
}
