//! Process: what this machine knows of a pid that stands in a ring's table.
//!
//! A table has pids as their owners' namespaces number them. One that is visible here is believed to be the owner unless its maps can be
//! read and don't have the ring's file: then it is somebody else with the same number.
//!
//! (I1) reads `/proc` and nothing else; (I2) what can't be seen is said to be unseen, never guessed.

use std::fs;

/// A pid, and what is seen of it.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// 0: unknown.
    pub(crate) pid: u32,
    seen: Option<Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    name: String,
    state: char,
}

impl Process {
    /// Looks for the process that has the file of that inode mapped.
    pub(crate) fn find(pid: u32, inode: u64) -> Self {
        Self { pid, seen: Seen::find(pid, inode).filter(|_| pid != 0) }
    }

    /// Whether it can't go on by itself.
    pub(crate) fn is_stopped(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| matches!(seen.state, 'T' | 't'))
    }

    /// Whether it is seen here, so that signals can be sent to it by this number.
    pub(crate) fn is_seen(&self) -> bool {
        self.seen.is_some()
    }

    /// Its name, if it is seen.
    pub(crate) fn name(&self) -> Option<String> {
        self.seen.as_ref().map(|seen| seen.name.clone())
    }

    /// What it does, if it is seen.
    pub(crate) fn state(&self) -> Option<&'static str> {
        Some(match self.seen.as_ref()?.state {
            'R' => "running",
            'S' => "sleeping",
            'D' => "waiting for a disk",
            'T' => "stopped",
            't' => "stopped by a debugger",
            'Z' => "zombie",
            'X' | 'x' => "dead",
            'I' => "idle",
            _ => "in an unknown state",
        })
    }

    /// Who it is: `pid 812 "nginx"`.
    pub(crate) fn who(&self) -> String {
        match (&self.seen, self.pid) {
            (_, 0) => "pid unknown".to_owned(),
            (Some(seen), pid) => format!("pid {pid} {:?}", seen.name),
            (None, pid) => format!("pid {pid}, as its own namespace numbers it"),
        }
    }

    /// Who it is and what it does: `pid 812 "nginx", stopped`.
    pub(crate) fn who_and_state(&self) -> String {
        self.state().map_or_else(|| self.who(), |state| format!("{}, {state}", self.who()))
    }

    /// How to let it go on.
    pub(crate) fn how_to_continue(&self) -> String {
        match (&self.seen, self.pid) {
            (Some(seen), pid) if seen.state == 'T' => format!("`kill -CONT {pid}` lets it go on"),
            (Some(seen), _) if seen.state == 't' => "let its debugger continue it".to_owned(),
            (Some(_), pid) => format!("see what pid {pid} does, or wait for it"),
            (None, _) => "look for it where it runs, in another container or namespace".to_owned(),
        }
    }

    /// The command that ends it.
    pub(crate) fn how_to_kill(&self) -> String {
        match self.pid {
            pid if self.is_seen() => format!("`kill -9 {pid}`"),
            _ => "killing it there".to_owned(),
        }
    }
}

impl Seen {
    fn find(pid: u32, inode: u64) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may have anything in it, other parentheses too.
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let state = char::from(*stat.get(end + 2)?);
        let name =
            String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/comm")).ok()?).trim_end().to_owned();
        let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
        (maps.is_empty() || has_mapped(&String::from_utf8_lossy(&maps), inode))
            .then_some(Self { name, state })
    }
}

/// Whether `maps` has a file of that inode; not which file system, whose number in there can be another than in stat(2).
fn has_mapped(maps: &str, inode: u64) -> bool {
    maps.lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(4))
        .any(|found| found.parse() == Ok(inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    // Goal: a process is told from another that has its number somewhere else. Method: ourselves, with a file that we have mapped and one
    // that we have not.
    #[test]
    fn a_process_is_known_by_what_it_has_mapped() {
        let exe = fs::metadata(std::env::current_exe().unwrap()).unwrap().ino();
        let own = std::process::id();
        let found = Process::find(own, exe);
        assert!(found.is_seen() && !found.is_stopped());
        assert!(found.who().starts_with(&format!("pid {own} \"")), "{}", found.who());
        let other = Process::find(own, u64::MAX);
        assert_eq!(other.who_and_state(), format!("pid {own}, as its own namespace numbers it"));
        assert_eq!((other.state(), other.name()), (None, None));
        assert_eq!(Process::find(0, exe).who(), "pid unknown");
    }
}
