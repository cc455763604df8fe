//! Trace: the system calls of this program in a part that it plays when it runs itself under `strace`, which sees a word on stdout before
//! and after what counts.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::failed;

/// Why there is no figure.
pub(crate) const NO_STRACE: &str = "strace is not installed, or may not trace";

/// The system calls of this program with these arguments, one in a line, each behind its thread, by way of that file; `None`: nobody can trace.
pub(crate) fn trace<A: AsRef<OsStr>>(
    file: &Path,
    args: impl IntoIterator<Item = A>,
) -> Result<Option<String>, String> {
    let this = std::env::current_exe().map_err(failed("find this program"))?;
    let traced = Command::new("strace")
        .args(["-f", "-o"])
        .arg(file)
        .arg(this)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match traced {
        Ok(status) if status.success() => {
            std::fs::read_to_string(file).map(Some).map_err(failed("read the trace"))
        }
        _ => Ok(None),
    }
}

/// Says so before and after, for who traces.
pub(crate) fn between<E: Display>(what: &str, work: impl FnOnce() -> Result<(), E>) -> Result<(), String> {
    let mut out = io::stdout();
    let mut say = |word: &str| {
        writeln!(out, "@{word} {what}").and_then(|()| out.flush()).map_err(failed("write to stdout"))
    };
    say("begin")?;
    work().map_err(failed(what))?;
    say("end")
}

/// Lines between the two words, with the thread that said them.
pub(crate) fn said_between<'a>(trace: &'a str, what: &str) -> Option<(&'a str, Vec<&'a str>)> {
    let at = |word: &str| {
        let said = format!("@{word} {what}");
        trace.lines().position(|line| line.contains(&said))
    };
    let (begin, end) = (at("begin")?, at("end")?);
    let lines: Vec<&str> = trace.lines().collect();
    Some((lines[begin].split(' ').next()?, lines.get(begin + 1..end)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lies between the words counts, and without the words there is nothing.
    #[test]
    fn lines_between_the_words_are_found() {
        let trace =
            "1 brk(0)\n1 write(1, \"@begin x\\n\", 9) = 9\n2 futex()\n1 write(1, \"@end x\\n\", 7) = 7\n";
        assert_eq!(said_between(trace, "x"), Some(("1", vec!["2 futex()"])));
        assert_eq!(said_between(trace, "y"), None);
    }
}
