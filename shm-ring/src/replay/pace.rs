//! Pace: when a record is due.
//!
//! (I1) a deadline is absolute: what one record is late by is not added to the next.

use std::time::Duration;

/// How fast a replay goes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Pace {
    /// As fast as records can be read.
    Max,
    /// So many times as fast as they were recorded; 1.0: as recorded.
    Speed(f64),
    /// One at each [`Control::step`](super::replayer::Control::step).
    Step,
}

/// What a replay does that can't keep its pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lag {
    /// Hands out what is late at once, until it is in time again.
    CatchUp,
    /// Behind more than that, all that is still to come is as late as that.
    Shift(Duration),
}

/// How a replay waits until a record is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// Sleeps until shortly before, then watches the clock: errors of microseconds, for a processor's time.
    Spin,
    /// Sleeps: errors of tens of microseconds.
    Sleep,
}
