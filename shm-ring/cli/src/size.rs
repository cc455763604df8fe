//! Size: sizes, durations, levels and modes, as people write them.
//!
//! | written            | means |
//! |--------------------|-------|
//! | `64K` `8MiB` `1G`  | multiples of 1024; `KB` `MB` `GB` are multiples of 1000; a bare number is bytes |
//! | `100ms` `2s` `5m`  | also `us`, `h`, and for ages `d`, `w`; a bare number is refused, because nobody remembers of what |
//! | `err` `warning` `6`| syslog's levels, 0 emergency to 7 debug |
//! | `0660` `600`       | octal permission bits |
//! | `5000` `100k` `1M` | so many per second; `k` and `M` are multiples of 1000 |
//! | `0,2` `0-3`        | numbers of CPUs |
//!
//! Parses and formats; knows no ring.

use jiff::Timestamp;
use std::time::Duration;

const LEVELS: [&[&str]; 8] = [
    &["emerg", "emergency", "panic"],
    &["alert"],
    &["crit", "critical"],
    &["err", "error"],
    &["warning", "warn"],
    &["notice"],
    &["info"],
    &["debug"],
];

/// Numbers of CPUs, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CpuList(pub(crate) Vec<usize>);

/// Bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(format!("unknown unit {unit:?}: expected something like 8MiB, 64K or 4096")),
    };
    let number: u64 = number.parse().map_err(|_| "expected something like 8MiB, 64K or 4096".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "more than 2^64 bytes".to_owned())
}

/// A span of time.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let expected = || "expected something like 2s, 100ms or 5m".to_owned();
    let number: u64 = number.parse().map_err(|_| expected())?;
    let of_seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs).ok_or_else(expected);
    match unit {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => of_seconds(1),
        "m" | "min" => of_seconds(60),
        "h" => of_seconds(3600),
        _ => Err(expected()),
    }
}

/// A span of time that may be days or weeks.
pub(crate) fn parse_age(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let seconds: u64 = match unit {
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return parse_duration(text).map_err(|_| "expected something like 7d, 12h or 90s".to_owned()),
    };
    let age = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    age.map(Duration::from_secs).ok_or_else(|| "expected something like 7d, 12h or 90s".to_owned())
}

/// A level of syslog's.
pub(crate) fn parse_level(text: &str) -> Result<u8, String> {
    let name = text.to_ascii_lowercase();
    let found =
        (0u8..).zip(LEVELS).find(|(n, names)| names.contains(&name.as_str()) || n.to_string() == name);
    found
        .map(|(n, _)| n)
        .ok_or_else(|| "expected emerg, alert, crit, err, warning, notice, info, debug, or 0 to 7".to_owned())
}

/// Permission bits.
pub(crate) fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(bits) if bits <= 0o7777 => Ok(bits),
        _ => Err("expected octal permission bits like 0600".to_owned()),
    }
}

/// So many per second.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "" => Some(1),
        "k" | "K" => Some(1_000),
        "M" => Some(1_000_000),
        _ => None,
    };
    let rate = factor.zip(number.parse::<u64>().ok()).and_then(|(factor, number)| number.checked_mul(factor));
    match rate {
        Some(rate @ 1..=1_000_000_000) => Ok(rate),
        Some(0) => Err("nothing would be sent: expected 1 to 1000M records per second".to_owned()),
        _ => Err("expected 1 to 1000M records per second, as in 5000, 100k or 1M".to_owned()),
    }
}

/// Seconds, with fractions.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected 0.01 to 3600".to_owned()),
    }
}

/// Numbers of CPUs.
pub(crate) fn parse_cpus(text: &str) -> Result<CpuList, String> {
    let expected = || "expected numbers of CPUs, each once, as in 0,2 or 0-3".to_owned();
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<u16>().map(usize::from).map_err(|_| expected());
        let (first, last) = (number(first)?, number(last)?);
        if last < first || (first..=last).any(|cpu| cpus.contains(&cpu)) {
            return Err(expected());
        }
        cpus.extend(first..=last);
    }
    Ok(CpuList(cpus))
}

/// Bytes in the largest unit that divides them.
pub(crate) fn show_size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fitting = units.iter().find(|(shift, _)| bytes >> shift != 0 && bytes.trailing_zeros() >= *shift);
    match fitting {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

/// How long, as precisely as people want to know it.
pub(crate) fn show_duration(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// A moment, ns since the Unix epoch, to the second.
pub(crate) fn show_time(since_epoch_ns: u64) -> String {
    let second = i64::try_from(since_epoch_ns / 1_000_000_000).ok();
    let time = second.and_then(|second| Timestamp::from_second(second).ok());
    time.map_or("?".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// So many of them, in words.
pub(crate) fn show_count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The digits in front, and what follows them.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: sizes mean what their units say, and nonsense is refused. Method: one of each.
    #[test]
    fn sizes_mean_what_they_say() {
        let good =
            [("0", 0), ("4096", 4096), ("64K", 65_536), ("8MiB", 8 << 20), ("1GiB", 1 << 30), ("2 kb", 2000)];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "8Mi", "-1", "1.5M", "99999999999999999999", "18446744073709551615K"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    // Goal: the same for durations. Method: one of each.
    #[test]
    fn durations_mean_what_they_say() {
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        for text in ["", "2", "s", "2y", "-1s", "18446744073709551615h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_age("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!((parse_age("2w"), parse_age("90s")), (parse_age("14d"), Ok(Duration::from_secs(90))));
        for text in ["", "7", "d", "-1d", "18446744073709551615d"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }

    // Goal: levels and modes. Method: names, numbers, and what is neither.
    #[test]
    fn levels_and_modes_mean_what_they_say() {
        assert_eq!((parse_level("ERR"), parse_level("7"), parse_level("warn")), (Ok(3), Ok(7), Ok(4)));
        assert!(parse_level("8").is_err() && parse_level("loud").is_err() && parse_level("").is_err());
        assert_eq!((parse_mode("0660"), parse_mode("600")), (Ok(0o660), Ok(0o600)));
        assert!(parse_mode("9").is_err() && parse_mode("10000").is_err() && parse_mode("").is_err());
    }

    // Goal: rates, seconds and lists of CPUs mean what they say. Method: good ones, and what is none.
    #[test]
    fn what_a_benchmark_is_told_means_what_it_says() {
        assert_eq!(
            [parse_rate("5000"), parse_rate("100k"), parse_rate("1M")],
            [Ok(5_000), Ok(100_000), Ok(1_000_000)]
        );
        for text in ["0", "", "k", "1.5k", "2000M", "1G", "99999999999999999999"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "", "inf", "NaN", "1e9", "2s"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
        assert_eq!(parse_cpus("4,0-2"), Ok(CpuList(vec![4, 0, 1, 2])));
        for text in ["", ",", "1,1", "2-1", "0-", "a", "70000", "0-2,1"] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }

    // Goal: a time is shown in the unit that people would use. Method: both sides of each border.
    #[test]
    fn times_are_shown_as_people_say_them() {
        let shown = [200, 9_940, 10_000, 119_999, 120_000, 7_200_000, 172_800_000]
            .map(|ms| show_duration(Duration::from_millis(ms)));
        assert_eq!(shown, ["0.2 s", "9.9 s", "10 s", "119 s", "2 min", "2 h", "2 days"]);
    }

    // Goal: a size is shown exactly. Method: powers of two and one that is none.
    #[test]
    fn sizes_are_shown_exactly() {
        assert_eq!(
            [show_size(8 << 20), show_size(3 << 10), show_size(1025), show_size(0)],
            ["8 MiB", "3 KiB", "1025 bytes", "0 bytes"]
        );
    }
}
