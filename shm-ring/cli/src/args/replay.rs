//! Args of the commands that put many sources in one order.
//!
//! Describes; performs nothing.

use super::{Format, Shown};
use crate::size::{parse_duration, parse_size};
use clap::ValueHint;
use regex::bytes::Regex;
use shm_ring::replay::{Lag, Order, Pace, RowLayout, TimeUnit};
use std::path::PathBuf;
use std::time::Duration;

/// How sources are opened.
#[derive(Debug, clap::Args)]
pub(crate) struct Opening {
    /// Files but *.ring, *.seg, *.arrow and *.feather are rows of so many bytes, without anything else, with the time as an integer of 64 bits
    /// at that offset, in s, ms, us or ns [default: ns], as in 32@0:us. Of a directory, all files in it.
    #[arg(long, value_name = "BYTES@OFFSET[:UNIT]", value_parser = parse_rows)]
    pub(crate) rows: Option<RowLayout>,
    /// What becomes of records that are older than one in front of them in their source. error: the source ends. pass: they stay where they
    /// are. reorder:N: they are put where they belong, if no more than N records are between; else they come where they are met, late.
    #[arg(long, value_name = "WHAT", value_parser = parse_order, default_value = "reorder:16")]
    pub(crate) order: Order,
    /// Memory at most, in this process and in the page cache, for all sources together, as in 512M.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) mem: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Merge {
    /// Rings, logs, segments of logs, tables (Arrow IPC files); and directories, in which *.ring, logs, *.seg, *.arrow and *.feather are found.
    #[arg(required = true, value_name = "SRC", value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) opening: Opening,
    /// Go on with what comes.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// With -f: so long after its time a record may come and still be put in order; a source without a newer one holds the others back for
    /// so long.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "100ms")]
    pub(crate) lateness: Duration,
    /// Begin with the first record since then: RFC 3339, seconds since 1970, or so long ago, as in 5m.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// End in front of the first record of then or later.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) shown: Shown,
    /// When records are missing in a source, end with code 6.
    #[arg(long)]
    pub(crate) fail_on_loss: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// Rings, logs, segments of logs, tables (Arrow IPC files); and directories, in which *.ring, logs, *.seg, *.arrow and *.feather are found.
    #[arg(required = true, value_name = "SRC", value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) opening: Opening,
    /// So many times as fast as it was recorded, as in 10x or 0.5x; max: as fast as it can be read; step: a record for each key.
    #[arg(long, value_name = "SPEED", value_parser = parse_speed, default_value = "1x")]
    pub(crate) speed: Pace,
    /// Begin with the first record since then: RFC 3339, seconds since 1970, or so long ago, as in 5m.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// End in front of the first record of then or later.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Put each record into this ring when it is due; the ring must be there. Waits while it is full.
    #[arg(long, value_name = "RING", value_hint = ValueHint::FilePath)]
    pub(crate) into: Option<PathBuf>,
    /// Show each record when it is due, as `merge` does [default: short, unless there is --into].
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Format>,
    /// Only records whose message matches.
    #[arg(short, long, value_name = "REGEX", value_parser = Regex::new)]
    pub(crate) grep: Option<Regex>,
    /// Watch the clock shortly before a record is due: in time to microseconds, at the price of a processor [default].
    #[arg(long, conflicts_with = "sleep")]
    pub(crate) spin: bool,
    /// Sleep until a record is due: in time to tens of microseconds.
    #[arg(long)]
    pub(crate) sleep: bool,
    /// What to do when it can't keep up. catch-up: all that is late at once. A duration: when it is later than that, all that is still to come
    /// is as late.
    #[arg(long, value_name = "WHAT", value_parser = parse_lag, default_value = "catch-up")]
    pub(crate) lag: Lag,
    /// Of one log: at its end, go on with the ring that it is recorded from, each record once.
    #[arg(long, value_name = "RING", value_hint = ValueHint::FilePath, conflicts_with_all = ["rows", "to"])]
    pub(crate) ring: Option<PathBuf>,
    /// When records are missing in a source, end with code 6.
    #[arg(long)]
    pub(crate) fail_on_loss: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Compact {
    /// Rings, logs, segments of logs, tables (Arrow IPC files); and directories, in which *.ring, logs, *.seg, *.arrow and *.feather are found.
    #[arg(required = true, value_name = "SRC", value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<PathBuf>,
    /// The log to make; nothing of that name may exist.
    #[arg(required = true, value_name = "DST", value_hint = ValueHint::AnyPath)]
    pub(crate) log: PathBuf,
    #[command(flatten)]
    pub(crate) opening: Opening,
    /// Begin with the first record since then: RFC 3339, seconds since 1970, or so long ago, as in 5m.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Leave out records from then on.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Bytes of records in a segment, a multiple of 64 KiB. A record can have a quarter of it.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) segment: Option<u64>,
}

fn parse_rows(text: &str) -> Result<RowLayout, String> {
    let (row_bytes, rest) = text.split_once('@').ok_or("expected BYTES@OFFSET[:UNIT], as in 32@0:us")?;
    let (timestamp_at, unit) = rest.split_once(':').unwrap_or((rest, "ns"));
    let unit = match unit {
        "s" => TimeUnit::Seconds,
        "ms" => TimeUnit::Millis,
        "us" => TimeUnit::Micros,
        "ns" => TimeUnit::Nanos,
        _ => return Err("the unit is one of s, ms, us, ns".to_owned()),
    };
    let number =
        |text: &str| text.parse::<u32>().map_err(|_| "expected numbers of bytes, as in 32@0:us".to_owned());
    let (row_bytes, timestamp_at) = (number(row_bytes)?, number(timestamp_at)?);
    if timestamp_at.checked_add(8).is_none_or(|end| end > row_bytes) {
        return Err(format!(
            "a time of 8 bytes at {timestamp_at} is not inside of a row of {row_bytes} bytes"
        ));
    }
    Ok(RowLayout { row_bytes, timestamp_at, unit })
}

fn parse_order(text: &str) -> Result<Order, String> {
    match text {
        "error" => Ok(Order::Error),
        "pass" => Ok(Order::Pass),
        _ => {
            let n_records = text.strip_prefix("reorder:").and_then(|n| n.parse().ok());
            let order =
                n_records.filter(|n| (1..=1 << 20).contains(n)).map(|n_records| Order::Reorder { n_records });
            order.ok_or_else(|| "expected error, pass, or reorder:N, N from 1 to 1048576".to_owned())
        }
    }
}

fn parse_speed(text: &str) -> Result<Pace, String> {
    match text {
        "max" => Ok(Pace::Max),
        "step" => Ok(Pace::Step),
        _ => match text.strip_suffix('x').unwrap_or(text).parse::<f64>() {
            Ok(speed) if (1e-3..=1e9).contains(&speed) => Ok(Pace::Speed(speed)),
            _ => Err("expected max, step, or a factor like 10x or 0.5x, 0.001x to 1000000000x".to_owned()),
        },
    }
}

fn parse_lag(text: &str) -> Result<Lag, String> {
    match text {
        "catch-up" => Ok(Lag::CatchUp),
        _ => parse_duration(text)
            .map(Lag::Shift)
            .map_err(|_| "expected catch-up, or a duration like 10ms".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what is asked for is what is done, and nonsense is refused. Method: good ones of each kind, and what is none.
    #[test]
    fn what_a_replay_is_told_means_what_it_says() {
        assert_eq!([parse_speed("max"), parse_speed("step")], [Ok(Pace::Max), Ok(Pace::Step)]);
        assert_eq!([parse_speed("10x"), parse_speed("0.5")], [Ok(Pace::Speed(10.0)), Ok(Pace::Speed(0.5))]);
        for text in ["", "x", "0x", "-1x", "NaNx", "inf", "1e10x", "10xx", "fast"] {
            assert!(parse_speed(text).is_err(), "{text}");
        }
        assert_eq!([parse_order("error"), parse_order("pass")], [Ok(Order::Error), Ok(Order::Pass)]);
        assert_eq!(parse_order("reorder:7"), Ok(Order::Reorder { n_records: 7 }));
        for text in ["", "reorder", "reorder:", "reorder:0", "reorder:-1", "reorder:1048577", "sort"] {
            assert!(parse_order(text).is_err(), "{text}");
        }
        assert_eq!(parse_lag("catch-up"), Ok(Lag::CatchUp));
        assert_eq!(parse_lag("5ms"), Ok(Lag::Shift(Duration::from_millis(5))));
        assert!(parse_lag("5").is_err() && parse_lag("").is_err());
    }

    // Goal: the same for rows: a time is inside of its row. Method: borders, units, what is none.
    #[test]
    fn rows_have_their_time_inside() {
        let layout =
            |text| parse_rows(text).map(|layout| (layout.row_bytes, layout.timestamp_at, layout.unit));
        assert_eq!(layout("32@0"), Ok((32, 0, TimeUnit::Nanos)));
        assert_eq!(layout("32@24:us"), Ok((32, 24, TimeUnit::Micros)));
        assert_eq!(layout("8@0:s"), Ok((8, 0, TimeUnit::Seconds)));
        assert_eq!(layout("9@1:ms"), Ok((9, 1, TimeUnit::Millis)));
        for text in ["", "32", "32@", "@0", "32@25", "8@1", "0@0", "32@0:", "32@0:h", "-8@0", "32@4294967295"]
        {
            assert!(layout(text).is_err(), "{text}");
        }
    }
}
