//! Create: a new ring, and what it is like, on stdout.

use crate::args::Create;
use crate::failure::Failure;
use crate::output::{self, Messages};
use crate::size::show_size;
use shm_ring::RingOptions;

/// Runs the command.
pub(crate) fn run(args: &Create, messages: Messages) -> Result<(), Failure> {
    let mut options = RingOptions::new()
        .capacity(args.capacity)
        .producers_max(args.producers)
        .consumers_max(args.consumers)
        .metadata(!args.no_metadata)
        .mode(args.mode);
    if args.single_producer {
        options = options.single_producer();
    }
    let stats = options.create(&args.ring)?.stats()?;
    if args.mode & 0o022 != 0 {
        messages.note(&format!(
            "others can write {:?}: only `stat` and `tail` without --consumer will open it",
            args.ring
        ));
    }
    let line = format!(
        "created {} {} v{} uuid {}\n",
        args.ring.display(),
        show_size(stats.capacity_bytes),
        stats.layout_version,
        stats.uuid_string()
    );
    output::print(line.as_bytes())
}
