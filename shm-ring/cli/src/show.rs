//! Show: a record as a line of text, a JSON object, or its bytes.
//!
//! | format | a log record                                                    | any other |
//! |--------|-----------------------------------------------------------------|-----------|
//! | short  | `2026-11-21T09:15:02.123456Z tag[pid] stream: message`          | `2026-11-21T09:15:02.123456Z #producer: payload` |
//! | json   | every key                                                       | `pid`, `tid`, `stream`, `tag` are null |
//! | raw    | the message and a newline                                       | the payload and a newline |
//!
//! Of many sources, each record has its source's name: in `short` behind the time, in `json` as the first key, `source`, and no `sequence`,
//! which sources know differently. A row of a table is a JSON object already: it stands under the key `row`.
//!
//! In `short`, control characters and what is not UTF-8 are escaped (`\r`, `\x1b`), so that a record is a line and can't command the
//! terminal; a record of a ring without metadata has `-` for its time, and behind it `(redelivered)` says that a member of the group died
//! who may have written it already. What is missing is a line that begins with `--`, or an object with an `event`.
//!
//! (I1) formatting appends to a buffer that is reused, and writes nowhere.

use crate::args::Format;
use crate::losses::{self, Missing};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;
use shm_ring::replay::{Event, Replayed};
use shm_ring::{LEVEL_NONE, LOG_KIND, LogRecord, LoggedInfo, RecordInfo, Stream};
use std::io::Write;

/// What a record of a ring or of a log says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Info {
    /// Where it is.
    pub(crate) position: u64,
    /// ns since the Unix epoch; `None`: a ring without metadata.
    pub(crate) timestamp_ns: Option<u64>,
    sequence: Option<u64>,
    producer: u16,
    level: u8,
    kind: u8,
}

impl Info {
    /// Of a record of one of many sources.
    pub(crate) fn of_event(event: &Event<Replayed<'_>>) -> Self {
        let (stamp, tags) = (event.stamp, event.record.tags);
        Self {
            position: stamp.sequence,
            timestamp_ns: Some(stamp.timestamp_ns),
            sequence: None,
            producer: tags.producer,
            level: tags.level,
            kind: tags.kind,
        }
    }
}

impl From<RecordInfo> for Info {
    fn from(info: RecordInfo) -> Self {
        Self {
            position: info.position,
            timestamp_ns: info.timestamp_ns,
            sequence: info.sequence,
            producer: info.producer,
            level: info.level,
            kind: info.kind,
        }
    }
}

impl From<LoggedInfo> for Info {
    fn from(info: LoggedInfo) -> Self {
        Self {
            position: info.position,
            timestamp_ns: Some(info.timestamp_ns),
            sequence: Some(info.sequence),
            producer: info.producer,
            level: info.level,
            kind: info.kind,
        }
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    info: Info,
    log: Option<LogRecord<'a>>,
    redelivered: Option<bool>,
    source: Option<&'a str>,
    is_row: bool,
    /// A log record's message, any other record's payload.
    pub(crate) message: &'a [u8],
}

impl<'a> Seen<'a> {
    /// Takes the log head off, if there is one.
    pub(crate) fn new(info: impl Into<Info>, payload: &'a [u8]) -> Self {
        let info = info.into();
        let log = if info.kind == LOG_KIND { LogRecord::decode(payload) } else { None };
        Self {
            info,
            log,
            redelivered: None,
            source: None,
            is_row: false,
            message: log.map_or(payload, |log| log.message),
        }
    }

    /// In a group: whether another member may have written it already.
    pub(crate) fn with_redelivered(self, redelivered: Option<bool>) -> Self {
        Self { redelivered, ..self }
    }

    /// Of many sources: which one; and whether it is a table, whose rows are JSON objects.
    pub(crate) fn with_origin(self, source: Option<&'a str>, is_row: bool) -> Self {
        Self { source, is_row, ..self }
    }

    fn level(&self) -> Option<u8> {
        // Without metadata, nobody has set one.
        self.info.timestamp_ns?;
        let level = self.log.map_or(self.info.level, |log| log.level);
        (level != LEVEL_NONE).then_some(level)
    }
}

/// Writes records in one format.
#[derive(Debug)]
pub(crate) struct Show {
    format: Format,
    colored: bool,
    /// A second and how it is written: most records share theirs with the one before.
    second: (u64, String),
    source_width: usize,
}

/// A column is not made wider than that for the names of sources.
const SOURCE_WIDTH_MAX: usize = 32;

impl Show {
    /// In that format; `short` with colour or without.
    pub(crate) fn new(format: Format, colored: bool) -> Self {
        Self { format, colored, second: (u64::MAX, String::new()), source_width: 0 }
    }

    /// Appends the record to `out`.
    pub(crate) fn show(&mut self, seen: &Seen<'_>, out: &mut Vec<u8>) {
        match self.format {
            Format::Short => self.short(seen, out),
            Format::Json => json(seen, out),
            Format::Raw => out.extend_from_slice(seen.message),
        }
        out.push(b'\n');
    }

    /// Appends what is missing in front of `position`; nothing in the format that has no place for it.
    pub(crate) fn losses(&self, missing: &[Missing], position: u64, out: &mut Vec<u8>) {
        match self.format {
            Format::Short => losses::lines(missing).iter().for_each(|line| {
                writeln!(out, "-- {line}").expect("a Vec takes all bytes");
            }),
            Format::Json => losses::json(missing, position, out),
            Format::Raw => {}
        }
    }

    fn short(&mut self, seen: &Seen<'_>, out: &mut Vec<u8>) {
        let color = if self.colored { color_of(seen) } else { None };
        if let Some(color) = color {
            out.extend_from_slice(color.as_bytes());
        }
        self.time(seen.info.timestamp_ns, out);
        if let Some(source) = seen.source {
            out.push(b' ');
            self.source(source, out);
        }
        if seen.redelivered == Some(true) {
            out.extend_from_slice(b" (redelivered)");
        }
        let written = match &seen.log {
            // A table has no producers.
            None if seen.is_row => write!(out, ": "),
            None => write!(out, " #{}: ", seen.info.producer),
            Some(log) => {
                out.push(b' ');
                escape(log.tag.as_bytes(), out);
                match stream_name(log.stream) {
                    Some(stream) => write!(out, "[{}] {stream}: ", log.pid),
                    None => write!(out, "[{}]: ", log.pid),
                }
            }
        };
        written.expect("a Vec takes all bytes");
        escape(seen.message, out);
        if color.is_some() {
            out.extend_from_slice(b"\x1b[0m");
        }
    }

    /// In a column, as wide as the widest name so far.
    fn source(&mut self, source: &str, out: &mut Vec<u8>) {
        let before = out.len();
        escape(source.as_bytes(), out);
        let n = out.len() - before;
        self.source_width = self.source_width.max(n.min(SOURCE_WIDTH_MAX));
        out.resize(out.len() + self.source_width.saturating_sub(n), b' ');
    }

    fn time(&mut self, timestamp_ns: Option<u64>, out: &mut Vec<u8>) {
        let Some(timestamp_ns) = timestamp_ns else { return out.push(b'-') };
        let second = timestamp_ns / 1_000_000_000;
        if self.second.0 != second {
            let time = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
            let text = time.map_or(second.to_string(), |time| time.strftime("%Y-%m-%dT%H:%M:%S").to_string());
            self.second = (second, text);
        }
        let micros = timestamp_ns / 1000 % 1_000_000;
        write!(out, "{}.{micros:06}Z", self.second.1).expect("a Vec takes all bytes");
    }
}

/// The keys, in this order.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    position: u64,
    timestamp_ns: Option<u64>,
    producer: u16,
    /// Of many sources, which may count as they like, none.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<Option<u64>>,
    kind: Option<u8>,
    level: Option<u8>,
    pid: Option<u32>,
    tid: Option<u32>,
    stream: Option<&'static str>,
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redelivered: Option<bool>,
}

fn json(seen: &Seen<'_>, out: &mut Vec<u8>) {
    let (info, log) = (&seen.info, seen.log.as_ref());
    let message = std::str::from_utf8(seen.message).ok().filter(|_| !seen.is_row);
    let is_text = message.is_some() || seen.is_row;
    let object = Json {
        source: seen.source,
        position: info.position,
        timestamp_ns: info.timestamp_ns,
        producer: info.producer,
        sequence: seen.source.is_none().then_some(info.sequence),
        kind: info.timestamp_ns.map(|_| info.kind),
        level: seen.level(),
        pid: log.map(|log| log.pid),
        tid: log.map(|log| log.tid),
        stream: log.and_then(|log| stream_name(log.stream)),
        tag: log.map(|log| log.tag).filter(|tag| !tag.is_empty()),
        message,
        message_base64: if is_text { None } else { Some(STANDARD.encode(seen.message)) },
        redelivered: seen.redelivered,
    };
    serde_json::to_writer(&mut *out, &object).expect("a Vec takes all bytes, and the keys are strings");
    if seen.is_row {
        // Before the closing brace.
        out.truncate(out.len() - 1);
        out.extend_from_slice(b",\"row\":");
        out.extend_from_slice(seen.message);
        out.push(b'}');
    }
}

fn stream_name(stream: Stream) -> Option<&'static str> {
    match stream {
        Stream::Stdin => Some("stdin"),
        Stream::Stdout => Some("stdout"),
        Stream::Stderr => Some("stderr"),
        _ => None,
    }
}

/// By level; without one, by stream.
fn color_of(seen: &Seen<'_>) -> Option<&'static str> {
    let log = seen.log.as_ref()?;
    match (log.level, log.stream) {
        (0..=3, _) => Some("\x1b[1;31m"),
        (4, _) => Some("\x1b[33m"),
        (7, _) => Some("\x1b[2m"),
        (LEVEL_NONE, Stream::Stderr) => Some("\x1b[31m"),
        _ => None,
    }
}

/// Appends `bytes` as printable text.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    if bytes.iter().all(is_plain) {
        return out.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\t' => out.push(b'\t'),
                _ if character.is_control() => out.extend(character.escape_default().map(|c| c as u8)),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("a Vec takes all bytes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: no record can command a terminal or become two lines; text stays text. Method: one of each kind of byte.
    #[test]
    fn what_is_shown_is_one_printable_line() {
        let mut out = Vec::new();
        escape("tab\there, \u{9b}ü\x1b[31m\r\n\\".as_bytes(), &mut out);
        escape(b"\xff", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "tab\there, \\u{9b}ü\\u{1b}[31m\\r\\n\\\\xff");
    }

    // Goal: seconds change, and times are right. Method: two records around a change of seconds.
    #[test]
    fn times_are_shown_in_microseconds() {
        let mut show = Show::new(Format::Short, false);
        let mut out = Vec::new();
        show.time(Some(1_795_252_502_999_999_999), &mut out);
        show.time(Some(1_795_252_503_000_001_000), &mut out);
        show.time(None, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "2026-11-21T09:15:02.999999Z2026-11-21T09:15:03.000001Z-");
    }
}
