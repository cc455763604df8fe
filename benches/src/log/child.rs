//! Child: what this program does when it runs itself: what is traced, and what is killed.

use std::path::{Path, PathBuf};
use std::process::Command;

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
