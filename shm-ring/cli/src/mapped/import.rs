//! Import: an append file of a legacy one, on the medium when the command is over.

use crate::args::Import;
use crate::failure::{Code, Failure};
use crate::output::{self, Messages};
use crate::progress::Progress;
use shm_ring::AppendFile;

/// Runs the command.
pub(crate) fn run(args: &Import, messages: Messages) -> Result<(), Failure> {
    let (legacy, path) = (&args.legacy, &args.file);
    let progress = Progress::of_time(format!("{legacy:?}: importing"), messages);
    let file = AppendFile::import(legacy, path)?;
    file.sync().map_err(|error| Failure::new(Code::Runtime, format!("{path:?}: {error}")))?;
    drop(progress);
    let line = format!("imported {} {} bytes from {}\n", path.display(), file.len(), legacy.display());
    output::print(line.as_bytes())
}
