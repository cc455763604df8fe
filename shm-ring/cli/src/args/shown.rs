//! Args of the commands that show records one behind the other, up to an end.
//!
//! Describes; performs nothing.

use super::Format;
use crate::size::parse_duration;
use regex::bytes::Regex;
use std::time::Duration;

/// Which records are shown, how, and how many.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Shown {
    /// End after N records.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// End when nothing came for so long. Implies -f; with --count, the code is then 7.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) idle: Option<Duration>,
    /// short: time, tag, pid, stream and message on a line, control characters escaped. json: an object a line. raw: the message's
    /// bytes and a newline. `merge` shows the source's name, too: in short, as a column behind the time; in json, as the first key.
    #[arg(short, long, value_enum, default_value_t = Format::Short)]
    pub(crate) output: Format,
    /// Only records whose message matches.
    #[arg(short, long, value_name = "REGEX", value_parser = Regex::new)]
    pub(crate) grep: Option<Regex>,
}
