//! Tail: shows records, the last ones, all, or as they come.
//!
//! ```text
//!   record there? --yes--> filter, show into a buffer --> 64 KiB, or a sixteenth of the ring? --> flush, release
//!        |no
//!        +--> flush, release --> end of what was there? Ctrl-C? idle? closed pipe? --no--> wait 100 ms at most
//! ```
//!
//! A member of a group writes every record before it takes the next one.
//!
//! (I1) stdout has everything before anything waits; (I2) a consumer's record is released after it was written, and not at all if it
//! could not be; (I3) what was lost is told once, in place or on stderr, and remembered for `--fail-on-loss`.

use crate::args::{Color, Format, Tail};
use crate::failure::{Code, Failure};
use crate::logs;
use crate::losses::{self, Losses};
use crate::output::{self, Messages, write_patiently};
use crate::show::{Seen, Show};
use crate::size::parse_duration;
use crate::source::{Begin, Found, Source, Trouble};
use crate::stop::Stop;
use jiff::Timestamp;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What is written at once.
const FLUSH_BYTES: usize = 64 * 1024;
/// How often signals, idle time and a closed pipe are looked for.
const STEP: Duration = Duration::from_millis(100);
/// How long an open claim may keep us from records behind it, when those are the last to show.
const CLAIM_PATIENCE: Duration = Duration::from_secs(1);
const LAST: usize = 10;
/// No record is left out for its time.
pub(crate) const ALL_TIMES: Range<u64> = 0..u64::MAX;

/// Runs the command.
pub(crate) fn run(args: &Tail, color: Color, messages: Messages) -> Result<(), Failure> {
    let begin = begin_of(args)?;
    show(args, begin, ALL_TIMES, color, messages)
}

/// Shows what is wanted of a ring or a log.
pub(crate) fn show(
    args: &Tail,
    begin: Begin,
    times: Range<u64>,
    color: Color,
    messages: Messages,
) -> Result<(), Failure> {
    let follow = args.follow || args.shown.idle.is_some();
    let source = match (&args.consumer, &args.group) {
        _ if logs::is_log(&args.ring) => log_source(args, begin)?,
        _ if args.cursor.is_some() => {
            let what = "no log: a ring's readers have names, use --consumer NAME";
            return Err(Failure::new(Code::Usage, format!("{:?}: {what}", args.ring)));
        }
        (Some(name), _) => Source::consume(&args.ring, name, args.durable, begin, follow)?,
        (None, Some(name)) => Source::share(&args.ring, name, args.durable, begin)?,
        (None, None) => Source::watch(&args.ring, begin)?,
    };
    show_source(args, source, times, color, messages)
}

/// Shows what is wanted of a source that is open already.
pub(crate) fn show_source(
    args: &Tail,
    source: Source,
    times: Range<u64>,
    color: Color,
    messages: Messages,
) -> Result<(), Failure> {
    let follow = args.follow || args.shown.idle.is_some();
    // Whoever does not empty our pipe keeps what was not released in the ring.
    let stop = Stop::watch(|| std::process::exit(0))?;
    let losses = Losses::new(source.missed_bytes());
    let mut tailer = Tailer {
        follow,
        show: Show::new(args.shown.output, output::is_colored(color)),
        stdout: output::stdout()?,
        out: Vec::with_capacity(2 * FLUSH_BYTES),
        shown: 0,
        released: source.position(),
        nothing_since: None,
        times,
        args,
        source,
        stop,
        losses,
        messages,
    };
    let end = tailer.run()?;
    tailer.source.finish()?;
    if (tailer.losses.any || tailer.source.is_lossy()) && args.fail_on_loss {
        return Err(Failure::new(Code::Loss, format!("{:?}: records were lost", args.ring)));
    }
    match (end, args.shown.count) {
        (End::Idle, Some(count)) => {
            let what = format!("{:?}: {} of {count} records came", args.ring, tailer.shown);
            Err(Failure::new(Code::Timeout, what))
        }
        _ => Ok(()),
    }
}

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// What was asked for is done, or somebody asked to end.
    Done,
    /// Nobody reads our stdout.
    Closed,
    /// Nothing came for `--idle`.
    Idle,
}

#[derive(Debug)]
struct Tailer<'a> {
    args: &'a Tail,
    source: Source,
    follow: bool,
    show: Show,
    stop: Stop,
    stdout: File,
    /// What was shown and not yet written.
    out: Vec<u8>,
    shown: u64,
    losses: Losses,
    messages: Messages,
    /// Everything below it was written.
    released: u64,
    /// When we first found nothing after the last record.
    nothing_since: Option<Instant>,
    /// Only records of these are shown.
    times: Range<u64>,
}

impl Tailer<'_> {
    fn run(&mut self) -> Result<End, Failure> {
        let end = self.read();
        if matches!(end, Ok(End::Closed)) {
            // What could not be written stays in the ring.
            return end;
        }
        // What was shown before an error counts, too.
        let flushed = self.flush()?;
        end.map(|end| flushed.unwrap_or(end))
    }

    fn read(&mut self) -> Result<End, Failure> {
        let mut payload = Vec::new();
        while !self.stop.is_asked() && self.args.shown.count.is_none_or(|count| self.shown < count) {
            let mut found = self.source.try_next(&mut payload);
            if matches!(found, Ok(None)) {
                if let Some(end) = self.flush()?.or_else(|| self.end_of_waiting()) {
                    return Ok(end);
                }
                found = self.source.next_timeout(&mut payload, self.step());
            }
            match found {
                Ok(None) => {}
                Ok(Some(found)) => {
                    let is_later = !self.follow && found.info.position >= self.source.end();
                    // What a group's member has taken, nobody else will show.
                    if is_later && !self.source.is_shared() {
                        break;
                    }
                    self.take(found, &payload);
                    if let Some(end) = self.flush_if_due()?.or(is_later.then_some(End::Done)) {
                        return Ok(end);
                    }
                }
                Err(Trouble::Lapped(error)) => self.losses.lapped(error),
                Err(Trouble::Failed(failure)) => return Err(failure),
            }
        }
        Ok(End::Done)
    }

    fn take(&mut self, found: Found, payload: &[u8]) {
        if self.tells_in_place() {
            self.tell_losses(found.info.position);
        }
        let seen = Seen::new(found.info, payload).with_redelivered(found.redelivered);
        let seen = seen.with_origin(self.source.name_of(found.origin), found.is_row);
        let is_of_times = self.times == ALL_TIMES
            || found.info.timestamp_ns.is_none_or(|timestamp_ns| self.times.contains(&timestamp_ns));
        if is_of_times && self.args.shown.grep.as_ref().is_none_or(|grep| grep.is_match(seen.message)) {
            self.show.show(&seen, &mut self.out);
            self.shown += 1;
        }
        self.nothing_since = None;
    }

    fn tells_in_place(&self) -> bool {
        self.args.losses && self.args.shown.output != Format::Raw
    }

    /// Says what is missing in front of `position`, if it was not said before.
    fn tell_losses(&mut self, position: u64) {
        self.losses.logged(self.source.take_gaps());
        let missing = self.losses.take(self.source.lost());
        if self.tells_in_place() {
            self.show.losses(&missing, position, &mut self.out);
        } else {
            let path = &self.args.ring;
            losses::lines(&missing).iter().for_each(|line| self.messages.note(&format!("{path:?}: {line}")));
        }
    }

    fn flush_if_due(&mut self) -> Result<Option<End>, Failure> {
        let held_bytes = self.source.position() - self.released;
        let is_due = self.source.is_shared()
            || self.out.len() >= FLUSH_BYTES
            || held_bytes >= self.source.release_every_bytes();
        if is_due { self.flush() } else { Ok(None) }
    }

    /// Writes what was shown, then releases it; or says that nobody reads it.
    fn flush(&mut self) -> Result<Option<End>, Failure> {
        self.tell_losses(self.source.position());
        if !self.out.is_empty() {
            let call = self.stop.blocking().enter();
            let written = write_patiently(&mut self.stdout, &self.out);
            drop(call);
            match written {
                Ok(()) => self.out.clear(),
                Err(error) => {
                    self.source.abandon();
                    let is_closed = error.kind() == ErrorKind::BrokenPipe;
                    return if is_closed {
                        Ok(Some(End::Closed))
                    } else {
                        Err(Failure::io("write to stdout", &error))
                    };
                }
            }
        }
        self.source.release()?;
        self.released = self.source.position();
        Ok(None)
    }

    /// Nothing is there now: whether that is the end.
    fn end_of_waiting(&mut self) -> Option<End> {
        let nothing_for = self.nothing_since.get_or_insert_with(Instant::now).elapsed();
        if !self.follow {
            let is_over = self.source.position() >= self.source.end() || nothing_for >= CLAIM_PATIENCE;
            return is_over.then_some(End::Done);
        }
        if output::is_closed(&self.stdout) {
            return Some(End::Closed);
        }
        self.args.shown.idle.filter(|idle| nothing_for >= *idle).map(|_| End::Idle)
    }

    fn step(&self) -> Duration {
        let nothing_for = self.nothing_since.map_or(Duration::ZERO, |since| since.elapsed());
        self.args.shown.idle.map_or(STEP, |idle| STEP.min(idle.saturating_sub(nothing_for)))
    }
}

fn log_source(args: &Tail, begin: Begin) -> Result<Source, Failure> {
    if args.consumer.is_some() || args.group.is_some() {
        let what = "a log has cursors, not consumers: use --cursor NAME";
        return Err(Failure::new(Code::Usage, format!("{:?}: {what}", args.ring)));
    }
    Source::log(&args.ring, args.cursor.as_deref(), begin)
}

fn begin_of(args: &Tail) -> Result<Begin, Failure> {
    if args.oldest {
        return Ok(Begin::Oldest);
    }
    match &args.since {
        Some(since) => Ok(Begin::Since(time_of("--since", since)?)),
        None => Ok(Begin::Last(args.last.unwrap_or(LAST), args.shown.grep.clone())),
    }
}

/// A moment, ns since the Unix epoch.
pub(crate) fn time_of(option: &str, since: &str) -> Result<u64, Failure> {
    if let Some(ns) = since_epoch(since) {
        return Ok(ns);
    }
    let time = match parse_duration(since.strip_suffix("ago").map_or(since, str::trim_end)) {
        Ok(ago) => SystemTime::now().checked_sub(ago),
        Err(_) => since.parse::<Timestamp>().ok().map(SystemTime::from),
    };
    let expected = "expected a time like 2026-11-21T09:15:02Z, seconds since 1970, or how long ago, like 5m";
    let time = time.ok_or_else(|| Failure::new(Code::Usage, format!("{option} {since:?}: {expected}")))?;
    // What lies before 1970 is older than any record.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Seconds with up to nine digits behind the point, in ns.
fn since_epoch(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || fraction.len() > 9 || !is_number(seconds) || !is_number(fraction) {
        return None;
    }
    let ns = format!("{fraction:0<9}").parse::<u64>().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a time means what it says, to the nanosecond. Method: one of each kind, and what is none.
    #[test]
    fn times_mean_what_they_say() {
        let time = |text| time_of("--from", text).map_err(|failure| failure.code);
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(1_000_000_000));
        assert_eq!(
            [time("0"), time("1.5"), time("2.000000001")],
            [Ok(0), Ok(1_500_000_000), Ok(2_000_000_001)]
        );
        assert!(time("5m").unwrap() <= time("4m ago").unwrap());
        for text in
            ["", ".", ".5", "1.0000000001", "-1", "1e9", "ago", "yesterday", "99999999999999999999", "5 ago"]
        {
            assert_eq!(time(text), Err(Code::Usage), "{text}");
        }
    }
}
