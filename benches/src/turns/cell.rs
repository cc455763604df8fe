//! Cell: one contestant of one section, and how one repetition of it is timed.

use std::fmt;
use std::time::Instant;

use crate::report::QUEUED_PART_MAX;
use crate::workload::queued_ns;

/// How often a disturbed repetition is done again.
const ATTEMPTS: usize = 4;

/// One repetition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Of one operation, without the time in the processor's queue.
    pub(crate) ns: f64,
    /// Of all time, the part that it stood in that queue because somebody else had the processor.
    pub(crate) queued_part: f64,
}

impl Sample {
    pub(crate) fn is_crowded(&self) -> bool {
        self.queued_part > QUEUED_PART_MAX
    }
}

/// Times `n` operations of this thread.
pub(crate) fn timed<T>(n: usize, work: impl FnOnce() -> T) -> (Sample, T) {
    let (queued, began) = (queued_ns(), Instant::now());
    let done = work();
    let ns = began.elapsed().as_nanos() as f64;
    let queued = ((queued_ns() - queued) as f64).min(ns);
    (Sample { ns: (ns - queued) / n as f64, queued_part: queued / ns }, done)
}

/// Times what many threads do, which stand in each other's way anyway.
pub(crate) fn timed_threads<T>(work: impl FnOnce() -> T) -> (Sample, T) {
    let began = Instant::now();
    let done = work();
    (Sample { ns: began.elapsed().as_nanos() as f64, queued_part: 0.0 }, done)
}

/// One contestant.
pub(crate) struct Cell<'a> {
    /// As in `growth/100/ours`.
    pub(crate) name: String,
    repetition: Box<dyn FnMut() -> Result<Sample, String> + 'a>,
}

impl<'a> Cell<'a> {
    pub(crate) fn new(name: String, repetition: impl FnMut() -> Result<Sample, String> + 'a) -> Self {
        Self { name, repetition: Box::new(repetition) }
    }

    /// A repetition, the least disturbed of a few.
    pub(crate) fn sample(&mut self) -> Result<Sample, String> {
        let mut best: Option<Sample> = None;
        for _ in 0..ATTEMPTS {
            let sample = (self.repetition)()?;
            if best.is_none_or(|best| sample.queued_part < best.queued_part) {
                best = Some(sample);
            }
            if !sample.is_crowded() {
                break;
            }
        }
        Ok(best.expect("there was an attempt"))
    }
}

impl fmt::Debug for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("name", &self.name).finish_non_exhaustive()
    }
}
