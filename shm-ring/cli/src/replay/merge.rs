//! Merge: many sources as one stream, through the loop that `tail` has.

use super::account::Account;
use super::merged::MergedSource;
use super::sources;
use crate::args::{Color, Merge, Tail};
use crate::failure::Failure;
use crate::output::Messages;
use crate::source::Source;
use crate::tail::{self, ALL_TIMES, time_of};

/// Runs the command.
pub(crate) fn run(args: &Merge, color: Color, messages: Messages) -> Result<(), Failure> {
    let from = args.from.as_deref().map(|from| time_of("--from", from)).transpose()?;
    let to = args.to.as_deref().map(|to| time_of("--to", to)).transpose()?;
    let follow = args.follow || args.shown.idle.is_some();
    let mut account = Account::new(messages);
    let merge = sources::open(&args.sources, &args.opening, follow.then_some(args.lateness), &mut account)?;
    let source = MergedSource::new(merge, account, from, to.unwrap_or(ALL_TIMES.end));
    let tail = Tail {
        ring: args.sources[0].clone(),
        follow,
        last: None,
        oldest: true,
        since: None,
        shown: args.shown.clone(),
        consumer: None,
        group: None,
        cursor: None,
        durable: false,
        losses: false,
        fail_on_loss: args.fail_on_loss,
    };
    tail::show_source(&tail, Source::merged(source), ALL_TIMES, color, messages)
}
