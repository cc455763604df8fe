//! Seal: finishes a mapped file, so that nobody writes it any more and everybody can check its bytes.
//!
//! (I1) bytes that a restart of the machine has put in doubt get no checksum that says that they are right, unless the user says so.

use super::look::{Look, Numbers, refusal};
use crate::args::{Doubtful, Seal};
use crate::failure::{Code, Failure};
use crate::output::{self, Messages};
use crate::progress::Progress;
use shm_ring::{AppendError, AppendFile, Error, RangedFile};
use std::path::Path;

/// Runs the command.
pub(crate) fn run(args: &Seal, messages: Messages) -> Result<(), Failure> {
    let path = &*args.file;
    let Some(look) = Look::new(path)? else { return Err(refusal(path, "; a ring is never finished")) };
    let progress = Progress::of_time(format!("{path:?}: sealing"), messages);
    match look.numbers {
        Numbers::Append(_) => append(path, args.doubtful)?,
        Numbers::Ranged(_) => {
            RangedFile::open(path)?.seal().map_err(|refused| unfinished(path, refused.error))?
        }
    }
    drop(progress);
    let Some(sealed) = Look::new(path)? else { return Err(refusal(path, "")) };
    let both = sealed.both();
    let crc = both.data_crc.map_or_else(|| "?".to_owned(), |crc| format!("{crc:#010x}"));
    let line =
        format!("sealed {} {} bytes crc32c {crc} uuid {}\n", path.display(), both.data_bytes, both.uuid);
    output::print(line.as_bytes())
}

fn append(path: &Path, doubtful: Option<Doubtful>) -> Result<(), Failure> {
    let mut file = AppendFile::open(path)?;
    let in_doubt = file.doubtful();
    if !in_doubt.is_empty() {
        match doubtful {
            None => {
                return Err(Failure::new(
                    Code::Runtime,
                    format!(
                        "{path:?}: bytes {}..{} were written before the machine was restarted and never synced, so they may be others; \
                         look at them, then say --doubtful keep or --doubtful drop",
                        in_doubt.start, in_doubt.end
                    ),
                ));
            }
            Some(Doubtful::Keep) => {}
            Some(Doubtful::Drop) => file
                .resize(in_doubt.start)
                .map_err(|error: AppendError| Failure::new(Code::Runtime, format!("{path:?}: {error}")))?,
        }
    }
    file.seal().map_err(Failure::from)
}

fn unfinished(path: &Path, error: Error) -> Failure {
    if let Error::Unfinished { missing_bytes, .. } = error {
        let message = format!("{path:?} can't be sealed: {missing_bytes} bytes of it are not written yet");
        return Failure::new(Code::Runtime, message);
    }
    error.into()
}
