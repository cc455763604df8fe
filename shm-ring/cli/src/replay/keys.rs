//! Keys: what somebody at a terminal tells a replay.
//!
//! | key | does |
//! |-----|------|
//! | space | pauses, goes on |
//! | right, left | 10 s of recorded time ahead, back; with shift 1 min |
//! | `+` `=`, `-` | twice, half the speed; above 1024x comes max |
//! | `.` `n` | one record, and holds |
//! | `q` | ends it |
//!
//! (I1) a key that came in pieces is a key; (I2) seeks add up, also while none of them has come to a record yet.

use crate::size::{show_count, show_duration, show_time};
use shm_ring::replay::{Control, Pace};
use std::time::Duration;

const STEP: i64 = 10;
const STEP_SHIFTED: i64 = 60;
const SPEED_MAX: f64 = 1024.0;
const SPEED_MIN: f64 = 1.0 / 64.0;
/// Less is nobody's business.
const LATE: Duration = Duration::from_millis(100);

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Pause,
    Seek(i64),
    Faster,
    Slower,
    Step,
    Quit,
}

/// Steers a replay.
#[derive(Debug)]
pub(crate) struct Steering {
    control: Control,
    pace: Pace,
    is_paused: bool,
    /// Where the last seek went, and how many records there had been.
    sought: Option<(u64, u64)>,
    /// Of a key that is not complete.
    pending: Vec<u8>,
}

impl Steering {
    /// Of a replay that begins at that pace.
    pub(crate) fn new(control: Control, pace: Pace) -> Self {
        Self { control, pace, is_paused: false, sought: None, pending: Vec::new() }
    }

    /// What was typed.
    pub(crate) fn typed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((key, n)) = next_key(&self.pending[at..]) {
            at += n;
            if let Some(key) = key {
                self.press(key);
            }
        }
        self.pending.drain(..at);
    }

    /// Ends it.
    pub(crate) fn stop(&self) {
        self.control.stop();
    }

    /// Holds it while this process is stopped.
    pub(crate) fn hold(&self) {
        self.control.pause();
    }

    /// Lets it go on behind [`hold`](Self::hold), as it was.
    pub(crate) fn go_on(&self) {
        if !self.is_paused {
            self.control.resume();
        }
    }

    /// A line that says how it stands.
    pub(crate) fn status(&self) -> String {
        let at = self.control.progress();
        let time =
            if at.n_records == 0 { "before the first record".to_owned() } else { show_time(at.timestamp_ns) };
        let late = match self.pace {
            Pace::Speed(_) if at.late >= LATE => format!(", {} late", show_duration(at.late)),
            _ => String::new(),
        };
        let n_records = at.n_records;
        let state = if self.is_paused { ", paused" } else { "" };
        format!(
            "{time}, {}, {}{state}{late}",
            show_count(n_records, "record", "records"),
            show_pace(self.pace)
        )
    }

    fn press(&mut self, key: Key) {
        match key {
            // A replay in steps goes on at its own speed.
            Key::Pause if self.pace == Pace::Step => self.go_at(Pace::Speed(1.0)),
            Key::Pause => {
                self.is_paused = !self.is_paused;
                if self.is_paused { self.control.pause() } else { self.control.resume() }
            }
            Key::Seek(seconds) => self.seek(seconds),
            Key::Faster => self.go_at(faster(self.pace)),
            Key::Slower => self.go_at(slower(self.pace)),
            Key::Step => {
                if !self.is_paused && self.pace != Pace::Step {
                    self.is_paused = true;
                    self.control.pause();
                }
                self.control.step();
            }
            Key::Quit => self.control.stop(),
        }
    }

    fn go_at(&mut self, pace: Pace) {
        self.pace = pace;
        self.control.set_pace(pace);
    }

    fn seek(&mut self, seconds: i64) {
        let at = self.control.progress();
        let from_ns = match self.sought {
            // That one has not come to a record.
            Some((to_ns, then)) if then == at.n_records => to_ns,
            _ if at.n_records == 0 => return,
            _ => at.timestamp_ns,
        };
        let to_ns = from_ns.saturating_add_signed(seconds.saturating_mul(1_000_000_000));
        self.sought = Some((to_ns, at.n_records));
        self.control.seek(to_ns);
    }
}

/// The next key and its bytes; no key: bytes that mean nothing here. `None`: not complete.
fn next_key(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let key = match bytes {
        [] | [0x1b] | [0x1b, b'[' | b'O'] => return None,
        [0x1b, b'[', rest @ ..] => {
            // Up to the letter that ends it.
            let end = rest.iter().position(|byte| matches!(byte, 0x40..=0x7e))?;
            let key = match &rest[..=end] {
                b"C" => Some(Key::Seek(STEP)),
                b"D" => Some(Key::Seek(-STEP)),
                b"1;2C" => Some(Key::Seek(STEP_SHIFTED)),
                b"1;2D" => Some(Key::Seek(-STEP_SHIFTED)),
                _ => None,
            };
            return Some((key, end + 3));
        }
        [0x1b, b'O', letter, ..] => {
            let key = match letter {
                b'C' => Some(Key::Seek(STEP)),
                b'D' => Some(Key::Seek(-STEP)),
                _ => None,
            };
            return Some((key, 3));
        }
        [b' ', ..] => Some(Key::Pause),
        [b'+' | b'=', ..] => Some(Key::Faster),
        [b'-' | b'_', ..] => Some(Key::Slower),
        [b'.' | b'n', ..] => Some(Key::Step),
        [b'q' | b'Q', ..] => Some(Key::Quit),
        _ => None,
    };
    Some((key, 1))
}

fn faster(pace: Pace) -> Pace {
    match pace {
        Pace::Speed(speed) if speed * 2.0 <= SPEED_MAX => Pace::Speed(speed * 2.0),
        Pace::Step => Pace::Speed(1.0),
        _ => Pace::Max,
    }
}

fn slower(pace: Pace) -> Pace {
    match pace {
        Pace::Speed(speed) => Pace::Speed((speed / 2.0).max(SPEED_MIN.min(speed))),
        Pace::Max => Pace::Speed(SPEED_MAX),
        pace => pace,
    }
}

fn show_pace(pace: Pace) -> String {
    match pace {
        Pace::Speed(speed) => format!("{speed}x"),
        Pace::Step => "step by step".to_owned(),
        _ => "max".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> (Vec<Key>, usize) {
        let (mut keys, mut at) = (vec![], 0);
        while let Some((key, n)) = next_key(&bytes[at..]) {
            keys.extend(key);
            at += n;
        }
        (keys, at)
    }

    // Goal: every key is known, in both ways in which terminals say arrows, and what is none changes nothing. Method: all of them in a row,
    // with others between, cut at every place.
    #[test]
    fn keys_are_known_also_in_pieces() {
        let typed = b" \x1b[C\x1b[Dx\x1b[1;2C\x1b[1;2D\x1bOC\x1bOD\x1b[A\x1b[3~\x1b[200~+=-_.nqQ\r\n\xff";
        let expected = [
            Key::Pause,
            Key::Seek(10),
            Key::Seek(-10),
            Key::Seek(60),
            Key::Seek(-60),
            Key::Seek(10),
            Key::Seek(-10),
            Key::Faster,
            Key::Faster,
            Key::Slower,
            Key::Slower,
            Key::Step,
            Key::Step,
            Key::Quit,
            Key::Quit,
        ];
        assert_eq!(keys(typed), (expected.to_vec(), typed.len()));
        for cut in 0..typed.len() {
            let (mut first, n) = keys(&typed[..cut]);
            first.extend(keys(&typed[n..]).0);
            assert_eq!(first, expected, "cut at {cut}");
        }
    }

    // Goal: speeds double and halve, within bounds, and max is above all of them. Method: up to the end and back.
    #[test]
    fn speeds_double_and_halve() {
        assert_eq!(
            [faster(Pace::Speed(10.0)), slower(Pace::Speed(10.0))],
            [Pace::Speed(20.0), Pace::Speed(5.0)]
        );
        assert_eq!([faster(Pace::Speed(600.0)), faster(Pace::Max)], [Pace::Max, Pace::Max]);
        assert_eq!(
            [slower(Pace::Max), slower(Pace::Speed(SPEED_MIN))],
            [Pace::Speed(SPEED_MAX), Pace::Speed(SPEED_MIN)]
        );
        assert_eq!([slower(Pace::Speed(0.001)), slower(Pace::Step)], [Pace::Speed(0.001), Pace::Step]);
        assert_eq!([show_pace(Pace::Speed(10.0)), show_pace(Pace::Speed(0.5))], ["10x", "0.5x"]);
    }
}
