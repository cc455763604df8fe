//! Failure: what ended a command, as one line and an exit code.
//!
//! | code | means | code | means |
//! |------|-------|------|-------|
//! | 0 | ok                       | 4 | not a ring (or another file of ours), corrupt, damaged (`verify`), or another version |
//! | 1 | it did not work          | 5 | full, and not to wait; of a log, the disk |
//! | 2 | usage                    | 6 | records were lost (`tail`, `cat --fail-on-loss`; `bench`: or damaged) |
//! | 3 | the ring, log or file does not exist  | 7 | timeout |
//! | 9 | the dead left something to repair (`doctor`, `repair`) | 10 | somebody is in the way from whom nothing is taken (`doctor`, `repair`) |
//!
//! 8 is not used yet.
//!
//! (I1) every message about a ring names its path.

use shm_ring::replay::{MergeError, SourceError, WriteError};
use shm_ring::{ClaimError, Error, LogError, LogReadError, PollError};
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Why a command ended.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For the shell.
    pub(crate) code: Code,
    /// For people; without the program's name.
    pub(crate) message: String,
}

/// An exit code other than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// It did not work.
    Runtime = 1,
    /// The arguments can't be.
    Usage = 2,
    /// There is no such ring.
    NotFound = 3,
    /// The file is no ring, a damaged one, or one of another version.
    Corrupt = 4,
    /// The ring is full.
    Full = 5,
    /// Records were lost, or are not what was sent.
    Loss = 6,
    /// It took too long.
    Timeout = 7,
    /// The dead left something that is not repaired yet.
    Repairable = 9,
    /// Somebody alive, or a durable name, is in the way.
    Blocked = 10,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

impl Code {
    /// What the shell sees.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }
}

impl Failure {
    /// A failure with its message.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The system refused something that is not about the ring.
    pub(crate) fn io(operation: &str, error: &io::Error) -> Self {
        Self::new(Code::Runtime, format!("{operation}: {error}"))
    }

    /// No room, or no right to it any more.
    pub(crate) fn claim(path: &Path, error: ClaimError) -> Self {
        let code = match error {
            ClaimError::Full { .. } => Code::Full,
            ClaimError::Truncated | ClaimError::Corrupt { .. } => Code::Corrupt,
            _ => Code::Runtime,
        };
        Self::new(code, format!("{path:?}: {error}"))
    }

    /// A replayed record that could not be put into a ring or a log.
    pub(crate) fn write(path: &Path, error: WriteError) -> Self {
        match error {
            WriteError::Claim(error) => Self::claim(path, error),
            WriteError::Ring(error) => error.into(),
            WriteError::Log(error) => Self::log(path, error),
            error => Self::new(Code::Runtime, format!("{path:?}: {error}")),
        }
    }

    /// A log takes no more.
    pub(crate) fn log(path: &Path, error: LogError) -> Self {
        let code = match error {
            LogError::NoSpace { .. } => Code::Full,
            LogError::Truncated => Code::Corrupt,
            _ => Code::Runtime,
        };
        Self::new(code, format!("{path:?}: {error}"))
    }

    /// A log can't be read on.
    pub(crate) fn log_read(path: &Path, error: LogReadError) -> Self {
        let code = match error {
            LogReadError::Damaged { .. } | LogReadError::Truncated { .. } => Code::Corrupt,
            LogReadError::NoSuchPosition { .. } => Code::Usage,
            _ => Code::Runtime,
        };
        Self::new(code, format!("{path:?}: {error}"))
    }

    /// One of many sources can't be read on.
    pub(crate) fn of_source(error: &MergeError) -> Self {
        Self::of_source_named(&error.name, &error.error)
    }

    /// The same, of what it has handed out.
    pub(crate) fn of_source_named(name: &str, error: &SourceError) -> Self {
        let path = Path::new(name);
        match error {
            SourceError::Log(error) => Self::log_read(path, *error),
            SourceError::Ring(error) => Self::poll(path, *error),
            SourceError::Open(error) => Self::new(code_of(error), error.to_string()),
            error => Self::new(Code::Runtime, format!("{path:?}: {error}")),
        }
    }

    /// Nothing more to read.
    pub(crate) fn poll(path: &Path, error: PollError) -> Self {
        let code = match error {
            PollError::Corrupt { .. } | PollError::Truncated => Code::Corrupt,
            _ => Code::Runtime,
        };
        Self::new(code, format!("{path:?}: {error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(code_of(&error), error.to_string())
    }
}

fn code_of(error: &Error) -> Code {
    match error {
        Error::NotFound { .. } => Code::NotFound,
        Error::NotRegular { .. }
        | Error::NotARing { .. }
        | Error::OtherKind { .. }
        | Error::Truncated { .. }
        | Error::Corrupt { .. }
        | Error::VersionMismatch { .. } => Code::Corrupt,
        Error::Invalid { .. } => Code::Usage,
        _ => Code::Runtime,
    }
}
