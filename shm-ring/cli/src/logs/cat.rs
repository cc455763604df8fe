//! Cat: all records of a log that are there when it begins, or those of a time, as `tail` shows them.

use crate::args::{Cat, Color, Format, Shown, Tail};
use crate::failure::{Code, Failure};
use crate::output::Messages;
use crate::source::Begin;
use crate::tail::{self, ALL_TIMES, time_of};

/// Runs the command.
pub(crate) fn run(args: &Cat, color: Color, messages: Messages) -> Result<(), Failure> {
    if args.partial {
        let what = "a log: --partial is for ranged files";
        return Err(Failure::new(Code::Usage, format!("{:?}: {what}", args.file)));
    }
    let from = args.from.as_deref().map(|from| time_of("--from", from)).transpose()?;
    let to = args.to.as_deref().map(|to| time_of("--to", to)).transpose()?;
    let times = from.unwrap_or(ALL_TIMES.start)..to.unwrap_or(ALL_TIMES.end);
    let begin = from.map_or(Begin::Oldest, Begin::Since);
    let tail = Tail {
        ring: args.file.clone(),
        follow: false,
        last: None,
        oldest: from.is_none(),
        since: args.from.clone(),
        shown: Shown {
            count: None,
            idle: None,
            output: args.output.unwrap_or(Format::Short),
            grep: args.grep.clone(),
        },
        consumer: None,
        group: None,
        cursor: None,
        durable: false,
        losses: args.losses,
        fail_on_loss: args.fail_on_loss,
    };
    tail::show(&tail, begin, times, color, messages)
}
