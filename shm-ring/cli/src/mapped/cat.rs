//! Cat: the bytes of a mapped file, as they are.
//!
//! | file             | what is written |
//! |------------------|-----------------|
//! | append, open     | what is published when it begins |
//! | ranged, open     | all of it, if all of it is written; with `--partial` zeros where nothing is, so that each byte is at its place |
//! | sealed           | all of it, after its checksum was compared |
//!
//! (I1) a byte that is not what was published or written is never shown: what is given up or freed meanwhile ends the command; (I2) the
//! checksum is compared before the first byte is shown.

use super::look::{Look, Numbers, refusal, sealed};
use crate::args::Cat;
use crate::failure::{Code, Failure};
use crate::output::{self, Messages, write_patiently};
use crate::progress::Progress;
use crate::size::show_count;
use shm_ring::{AppendFile, FollowError, RangeError, RangedFile, RangedStats, ReadAt, ReadError};
use std::fs::File;
use std::io::{ErrorKind, IsTerminal};
use std::ops::Range;
use std::path::Path;

/// What is copied at once.
const PIECE_BYTES: usize = 256 << 10;
/// So many zeros at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Runs the command.
pub(crate) fn run(args: &Cat, messages: Messages) -> Result<(), Failure> {
    let path = &*args.file;
    if args.from.is_some() || args.to.is_some() || args.output.is_some() || args.grep.is_some() || args.losses
    {
        let what = "no log: only records have times and formats";
        return Err(Failure::new(Code::Usage, format!("{path:?}: {what}")));
    }
    let Some(look) = Look::new(path)? else {
        return Err(refusal(path, "; `shm-ring tail --oldest` shows a ring's records"));
    };
    let both = look.both();
    if both.is_sealed {
        let snapshot = sealed(path, both.data_bytes, messages)?;
        return Out::new(path, snapshot.len(), messages)?.copy(0..snapshot.len(), |at, piece| {
            snapshot.read_exact_at(at, piece).map_err(|error| {
                let is_lost = matches!(error, ReadError::Truncated { .. });
                Failure::new(
                    if is_lost { Code::Corrupt } else { Code::Runtime },
                    format!("{path:?}: {error}"),
                )
            })
        });
    }
    match &look.numbers {
        Numbers::Append(stats) => {
            if !stats.doubtful.is_empty() {
                messages.note(&format!(
                    "{path:?}: bytes {}..{} were written before the machine was restarted and never synced: they may be others",
                    stats.doubtful.start, stats.doubtful.end
                ));
            }
            append(path, messages)
        }
        Numbers::Ranged(stats) => ranged(path, stats, args.partial, messages),
    }
}

fn append(path: &Path, messages: Messages) -> Result<(), Failure> {
    let mut follower = AppendFile::follow(path)?;
    let len = follower.len();
    Out::new(path, len, messages)?.copy(0..len, |at, piece| {
        follower.read_at(at, piece).map_err(|error| {
            let is_lost = matches!(error, FollowError::Truncated { .. });
            Failure::new(if is_lost { Code::Corrupt } else { Code::Runtime }, format!("{path:?}: {error}"))
        })
    })
}

fn ranged(path: &Path, stats: &RangedStats, partial: bool, messages: Messages) -> Result<(), Failure> {
    let size = stats.size_bytes;
    let failed = |error: RangeError| {
        let is_lost = matches!(error, RangeError::Truncated);
        Failure::new(if is_lost { Code::Corrupt } else { Code::Runtime }, format!("{path:?}: {error}"))
    };
    let observer = RangedFile::observe(path)?;
    let written: Vec<Range<u64>> = observer.written().map_err(failed)?.collect();
    let missing = size - written.iter().map(|run| run.end - run.start).sum::<u64>();
    if missing > 0 && !partial {
        return Err(Failure::new(
            Code::Runtime,
            format!(
                "{path:?}: {missing} of {} are not written yet: with --partial, zeros are shown for them",
                show_count(size, "byte", "bytes")
            ),
        ));
    }
    let mut out = Out::new(path, size, messages)?;
    let mut at = 0;
    for run in written {
        out.zeros(run.start - at)?;
        at = run.end;
        out.copy(run, |at, piece| observer.read_at(at, piece).map_err(failed))?;
    }
    out.zeros(size - at)?;
    if missing > 0 {
        messages.note(&format!(
            "{path:?}: {missing} of {} are not written yet, and zeros here",
            show_count(size, "byte", "bytes")
        ));
    }
    Ok(())
}

/// Our stdout, and how far it is.
struct Out {
    stdout: File,
    progress: Option<Progress>,
    piece: Vec<u8>,
    /// Nobody reads it any more, which is no failure.
    is_closed: bool,
}

impl Out {
    fn new(path: &Path, n_bytes: u64, messages: Messages) -> Result<Self, Failure> {
        // On one terminal, the bytes are progress enough.
        let progress = (!std::io::stdout().is_terminal())
            .then(|| Progress::of_bytes(format!("{path:?}"), n_bytes, messages));
        Ok(Self { stdout: output::stdout()?, progress, piece: vec![0; PIECE_BYTES], is_closed: false })
    }

    fn copy(
        &mut self,
        bytes: Range<u64>,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut piece = std::mem::take(&mut self.piece);
        let mut at = bytes.start;
        while at < bytes.end && !self.is_closed {
            let length = least(piece.len(), bytes.end - at);
            read(at, &mut piece[..length])?;
            self.write(&piece[..length])?;
            at += length as u64;
        }
        self.piece = piece;
        Ok(())
    }

    fn zeros(&mut self, mut n_bytes: u64) -> Result<(), Failure> {
        while n_bytes > 0 && !self.is_closed {
            let length = least(ZEROS.len(), n_bytes);
            self.write(&ZEROS[..length])?;
            n_bytes -= length as u64;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match write_patiently(&mut self.stdout, bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.is_closed = true,
            Err(error) => return Err(Failure::io("write to stdout", &error)),
        }
        if let Some(progress) = &self.progress {
            progress.advance(bytes.len() as u64);
        }
        Ok(())
    }
}

fn least(room: usize, left: u64) -> usize {
    usize::try_from(left).map_or(room, |left| left.min(room))
}
