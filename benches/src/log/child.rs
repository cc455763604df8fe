//! Child: what this program does when it runs itself: what is traced, and what is killed.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{calls, collect, failed, recovery};

/// In front of all of these.
pub const ARGUMENT: &str = "--child";
pub(super) const KILLED: &str = "killed";
pub(super) const PUSH: &str = "push";
pub(super) const APPEND: &str = "append";
pub(super) const TRACED: &str = "traced";

/// Does what the arguments behind [`ARGUMENT`] say.
pub fn play(mut args: impl Iterator<Item = String>) -> Result<(), String> {
    let role = args.next().unwrap_or_default();
    let path = PathBuf::from(args.next().unwrap_or_default());
    let numbers: Vec<usize> = args.filter_map(|number| number.parse().ok()).collect();
    match (&*role, &numbers[..]) {
        (KILLED, &[n_segments, segment_bytes, tail_bytes]) => {
            recovery::live(&path, [n_segments, segment_bytes, tail_bytes])
        }
        (PUSH, &[seat, n]) => collect::push(&path, seat, n),
        (APPEND, &[seat, n]) => collect::append_all(&path, seat, n),
        (TRACED, &[n]) => calls::traced(&path, n),
        _ => Err(format!("{role} is no part to play")),
    }
}

/// Has this program play a part, and be killed in it.
pub(super) fn run(role: &str, path: &Path, numbers: &[String]) -> Result<(), String> {
    let this = std::env::current_exe().map_err(failed("find this program"))?;
    let output = Command::new(this).args([ARGUMENT, role]).arg(path).args(numbers).output();
    let output = output.map_err(failed("run this program"))?;
    match std::os::unix::process::ExitStatusExt::signal(&output.status) {
        Some(nix::libc::SIGKILL) => Ok(()),
        _ => Err(format!("{role}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}

/// The system calls of this program in a part, one in a line, each behind its thread; `None`: nobody can trace.
pub(super) fn trace(role: &str, path: &Path, numbers: &[String]) -> Result<Option<String>, String> {
    let file = path.with_extension("trace");
    let this = std::env::current_exe().map_err(failed("find this program"))?;
    let traced = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&file)
        .arg(this)
        .args([ARGUMENT, role])
        .arg(path)
        .args(numbers)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match traced {
        Ok(status) if status.success() => {
            std::fs::read_to_string(&file).map(Some).map_err(failed("read the trace"))
        }
        _ => Ok(None),
    }
}

/// Says so before and after, for who traces.
pub(super) fn between<E: Display>(what: &str, work: impl FnOnce() -> Result<(), E>) -> Result<(), String> {
    let mut out = io::stdout();
    let mut say = |word: &str| {
        writeln!(out, "@{word} {what}").and_then(|()| out.flush()).map_err(failed("write to stdout"))
    };
    say("begin")?;
    work().map_err(failed(what))?;
    say("end")
}

/// Lines between the two words, with the thread that said them.
pub(super) fn said_between<'a>(trace: &'a str, what: &str) -> Option<(&'a str, Vec<&'a str>)> {
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
