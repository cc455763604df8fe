//! Losses: what a reader did not get, each loss told once: in place, or on stderr.
//!
//! | cause   | what happened                                        | known are |
//! |---------|------------------------------------------------------|-----------|
//! | dropped | a producer found the ring full and dropped records   | producer, records |
//! | died    | a producer died in the middle of claims              | producer, claims |
//! | lapped  | a watcher was too slow, and records were overwritten | bytes at once; each producer's records with its next one |
//! | away    | nobody read under a name, and records were overwritten | bytes |
//! | restarted | a log's ring lost what it held, with the machine or with its file | nothing |
//! | retired | segments of a log were removed before they were read | bytes |
//! | power_cut | the end of a log was never on the medium             | bytes |
//! | damaged | bytes of a log are not what was written              | bytes |
//!
//! In a log, each of the first four stands where it happened, told by the recorder.
//!
//! (I1) what was told once is not told again; (I2) `any` is true as soon as anything is missing.

use crate::size::show_count;
use serde::Serialize;
use shm_ring::{LogGap, LogGapReason, Loss, PollError};

/// Something that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Dropped by a producer.
    Dropped { producer: u16, records: u64 },
    /// Lost with a producer's process.
    Died { producer: u16, claims: u64 },
    /// Overwritten before it was read.
    Lapped { bytes: u64 },
    /// Whose that was.
    LappedOf { producer: u16, records: u64 },
    /// Overwritten while a name was away.
    Away { bytes: u64 },
    /// As a log tells it.
    Logged(LogGap),
}

/// The keys, in this order.
#[derive(Serialize)]
struct MissingJson {
    event: &'static str,
    cause: &'static str,
    position: u64,
    producer: Option<u16>,
    records: Option<u64>,
    claims: Option<u64>,
    bytes: Option<u64>,
}

/// What is missing so far.
#[derive(Debug)]
pub(crate) struct Losses {
    told: Vec<Loss>,
    untold: Vec<Missing>,
    /// Whether anything is missing at all.
    pub(crate) any: bool,
}

impl Losses {
    /// None but what a name missed before it came back.
    pub(crate) fn new(missed_bytes: u64) -> Self {
        let any = missed_bytes > 0;
        let untold = if any { vec![Missing::Away { bytes: missed_bytes }] } else { Vec::new() };
        Self { told: Vec::new(), untold, any }
    }

    /// A log says that something is missing here.
    pub(crate) fn logged(&mut self, gaps: Vec<LogGap>) {
        self.any |= !gaps.is_empty();
        self.untold.extend(gaps.into_iter().map(Missing::Logged));
    }

    /// The source was lapped.
    pub(crate) fn lapped(&mut self, error: PollError) {
        if let PollError::Lapped { lost_bytes, .. } = error {
            self.any = true;
            self.untold.push(Missing::Lapped { bytes: lost_bytes });
        }
    }

    /// What was not told yet, `lost` being all that the source knows of.
    pub(crate) fn take(&mut self, lost: Vec<Loss>) -> Vec<Missing> {
        if lost != self.told {
            for now in &lost {
                let before = self.told.iter().find(|before| before.producer == now.producer);
                self.untold.extend(news(before.copied().unwrap_or_default(), *now));
            }
            self.any = true;
            self.told = lost;
        }
        std::mem::take(&mut self.untold)
    }
}

fn news(before: Loss, now: Loss) -> impl Iterator<Item = Missing> {
    let producer = now.producer;
    let records = |now: u64, before: u64| now.saturating_sub(before);
    let lapped = records(now.lapped_records, before.lapped_records);
    let claims = records(now.lost_claims, before.lost_claims);
    let dropped = records(now.dropped_records, before.dropped_records);
    [
        (lapped, Missing::LappedOf { producer, records: lapped }),
        (claims, Missing::Died { producer, claims }),
        (dropped, Missing::Dropped { producer, records: dropped }),
    ]
    .into_iter()
    .filter_map(|(n, missing)| (n > 0).then_some(missing))
}

impl Missing {
    /// An object for programs.
    fn json(self, position: u64) -> MissingJson {
        let (cause, producer, records, claims, bytes) = match self {
            Self::Dropped { producer, records } => ("dropped", Some(producer), Some(records), None, None),
            Self::Died { producer, claims } => ("died", Some(producer), None, Some(claims), None),
            Self::Lapped { bytes } => ("lapped", None, None, None, Some(bytes)),
            Self::LappedOf { producer, records } => ("lapped", Some(producer), Some(records), None, None),
            Self::Away { bytes } => ("away", None, None, None, Some(bytes)),
            Self::Logged(gap) => {
                let claims = (gap.reason == LogGapReason::Lost).then_some(1);
                (cause_of(gap.reason), gap.producer, gap.n_records, claims, gap.n_bytes)
            }
        };
        MissingJson { event: "loss", cause, position, producer, records, claims, bytes }
    }
}

/// A line of JSON for each; reading goes on at `position`.
pub(crate) fn json(missing: &[Missing], position: u64, out: &mut Vec<u8>) {
    for each in missing {
        serde_json::to_writer(&mut *out, &each.json(position)).expect("a Vec takes all bytes");
        out.push(b'\n');
    }
}

/// Lines for people. Whose the overwritten records were stands on the line that says that some were.
pub(crate) fn lines(missing: &[Missing]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut after_lapped = false;
    for each in missing {
        let line = match *each {
            Missing::Dropped { producer, records } => {
                format!("producer {producer} dropped {}", show_count(records, "record", "records"))
            }
            Missing::Died { producer, claims: 1 } => format!("producer {producer} died in a claim"),
            Missing::Died { producer, claims } => format!("producer {producer} died in {claims} claims"),
            Missing::Lapped { bytes } => format!("lapped: {bytes} bytes overwritten"),
            Missing::LappedOf { producer, records } => {
                let whose = format!("producer {producer}: {}", show_count(records, "record", "records"));
                if let (true, Some(last)) = (after_lapped, lines.last_mut()) {
                    last.push_str(&format!("; {whose}"));
                    continue;
                }
                format!("lapped: {whose}")
            }
            Missing::Away { bytes } => {
                format!("away: {bytes} bytes overwritten while nobody read under this name")
            }
            Missing::Logged(gap) => logged_line(&gap),
        };
        after_lapped = line.starts_with("lapped");
        lines.push(line);
    }
    lines
}

fn cause_of(reason: LogGapReason) -> &'static str {
    match reason {
        LogGapReason::Dropped => "dropped",
        LogGapReason::Lost => "died",
        LogGapReason::Lapped => "away",
        LogGapReason::Restarted => "restarted",
        LogGapReason::Retired => "retired",
        LogGapReason::PowerCut => "power_cut",
        LogGapReason::Damaged => "damaged",
        _ => "unknown",
    }
}

fn logged_line(gap: &LogGap) -> String {
    let bytes = gap.n_bytes.map_or("bytes".to_owned(), |n| show_count(n, "byte", "bytes"));
    let producer = gap.producer.map_or("a producer".to_owned(), |producer| format!("producer {producer}"));
    match gap.reason {
        LogGapReason::Dropped => match gap.n_records {
            Some(n) => format!("{producer} dropped {}", show_count(n, "record", "records")),
            None => format!("{producer} dropped records"),
        },
        LogGapReason::Lost => format!("{producer} died in a claim of {bytes}"),
        LogGapReason::Lapped => format!("away: {bytes} of the ring overwritten while nobody recorded it"),
        LogGapReason::Restarted => {
            "restarted: the ring was made anew, or the machine restarted; what it held then is gone"
                .to_owned()
        }
        LogGapReason::Retired => format!("retired: {bytes} of the log removed before they were read"),
        LogGapReason::PowerCut => format!("power cut: {bytes} of the log were never on the medium"),
        LogGapReason::Damaged => format!("damaged: {bytes} of the log can't be read"),
        _ => format!("{bytes} are missing, nobody here knows why"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: each loss is told once, with its number, and lapped records stand with their bytes. Method: a growing account.
    #[test]
    fn each_loss_is_told_once() {
        let mut losses = Losses::new(7);
        assert_eq!(
            lines(&losses.take(vec![])),
            ["away: 7 bytes overwritten while nobody read under this name"]
        );
        assert!(losses.take(vec![]).is_empty());
        losses.lapped(PollError::Lapped { lost_bytes: 4096, resumed_at: 8192 });
        let mut loss = Loss::default();
        (loss.producer, loss.lapped_records, loss.dropped_records) = (2, 31, 1);
        let told = lines(&losses.take(vec![loss]));
        assert_eq!(
            told,
            ["lapped: 4096 bytes overwritten; producer 2: 31 records", "producer 2 dropped 1 record"]
        );
        assert!(losses.take(vec![loss]).is_empty());
        (loss.lost_claims, loss.lapped_records) = (1, 32);
        assert_eq!(
            lines(&losses.take(vec![loss])),
            ["lapped: producer 2: 1 record", "producer 2 died in a claim"]
        );
        let mut out = Vec::new();
        json(&[Missing::Died { producer: 2, claims: 3 }], 64, &mut out);
        let object = r#"{"event":"loss","cause":"died","position":64,"producer":2,"records":null,"claims":3,"bytes":null}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{object}\n"));
    }
}
