//! Record error: why a step did not work.
//!
//! Describes; performs nothing.

use crate::error::PollError;
use crate::log::error::LogError;

/// Why records did not get from a ring into a log. What was not recorded is still in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The ring has no more to give; at the end of an anonymous ring that is [`PollError::Closed`].
    #[error(transparent)]
    Ring(#[from] PollError),
    /// The log does not take it. After [`LogError::NoSpace`] and [`LogError::System`] the next step tries again; anything else is final for
    /// this recorder.
    #[error(transparent)]
    Log(#[from] LogError),
}
