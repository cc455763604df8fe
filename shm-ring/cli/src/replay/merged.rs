//! Merged: a merge as something that `tail` reads.
//!
//! (I1) a failure of one source is told, and the others go on; (I2) nothing at or behind `--to` is handed out.

use super::account::{self, Account};
use crate::failure::Failure;
use crate::show::Info;
use crate::source::Found;
use shm_ring::replay::{Body, Event, Merge, PoolSource, Replayed, Source};
use std::time::{Duration, Instant};

/// How often it is looked whether something has come.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often what is missing is told while more comes.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// See the file's header.
#[derive(Debug)]
pub(crate) struct MergedSource {
    merge: Merge<PoolSource>,
    account: Account,
    to_ns: u64,
    is_over: bool,
    scratch: Vec<u8>,
    told: Instant,
}

impl MergedSource {
    /// Of what was opened, from a time on and up to another.
    pub(crate) fn new(
        mut merge: Merge<PoolSource>,
        mut account: Account,
        from_ns: Option<u64>,
        to_ns: u64,
    ) -> Self {
        if let Some(from_ns) = from_ns {
            // Those that can't say why when they are read.
            if let Err(error) = merge.seek(from_ns) {
                account.fail_in(&error);
            }
        }
        Self { merge, account, to_ns, is_over: false, scratch: Vec::new(), told: Instant::now() }
    }

    /// The next record, if it is there.
    pub(crate) fn try_next(&mut self, payload: &mut Vec<u8>) -> Option<Found> {
        while !self.is_over {
            match self.merge.next() {
                Ok(Some(event)) if event.stamp.timestamp_ns >= self.to_ns => self.is_over = true,
                Ok(Some(event)) => match event.record.payload(&mut self.scratch) {
                    Ok(bytes) => {
                        payload.clear();
                        payload.extend_from_slice(bytes);
                        return Some(found(&event));
                    }
                    Err(error) => {
                        let number = event.source;
                        let name = self.merge.sources()[number].name();
                        self.account.fail_at(number, name, &error);
                    }
                },
                Ok(None) => {
                    self.is_over = self.merge.is_over();
                    return None;
                }
                Err(error) => self.account.fail_in(&error),
            }
        }
        None
    }

    /// The next record; waits for it at most so long.
    pub(crate) fn next_timeout(&mut self, payload: &mut Vec<u8>, timeout: Duration) -> Option<Found> {
        let until = Instant::now() + timeout;
        loop {
            let found = self.try_next(payload);
            if found.is_some() || self.is_over {
                return found;
            }
            let left = until.checked_duration_since(Instant::now())?;
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }

    /// Whether nothing more will come.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// A source's name.
    pub(crate) fn name(&self, number: usize) -> &str {
        self.merge.sources()[number].name()
    }

    /// Tells what is missing, once in a while.
    pub(crate) fn tell(&mut self) {
        if self.told.elapsed() >= TELL_EVERY {
            self.tell_now();
        }
    }

    fn tell_now(&mut self) {
        self.account.tell_missing(account::stats(self.merge.sources()));
        self.told = Instant::now();
    }

    /// It is over: whether every source was read to its end.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.tell_now();
        self.account.finish()
    }

    /// Whether anything is missing, as far as it was told.
    pub(crate) fn is_lossy(&self) -> bool {
        self.account.is_lossy()
    }
}

/// What a record says of itself.
pub(crate) fn found(event: &Event<Replayed<'_>>) -> Found {
    let is_row = !matches!(event.record.body, Body::Bytes(_));
    Found { info: Info::of_event(event), redelivered: None, origin: Some(event.source), is_row }
}
