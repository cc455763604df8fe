//! Process: what this machine knows of a pid that stands in a ring's table.
//!
//! A table has pids as their owners' namespaces number them, so a process of that number here may be anybody. It is believed to be the
//! owner when its own namespace numbers it so, it has the ring's file mapped, and it is the only one like that; it may have another number
//! here.
//!
//! (I1) reads `/proc` and nothing else; (I2) who is not proved to be the owner is said to be unseen: nobody is to be killed for another.

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
    /// Its number here.
    pid: u32,
    name: String,
    state: char,
}

/// The processes that have a ring mapped, by their numbers in the ring's tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes {
    seen: Vec<(u32, Seen)>,
}

impl Processes {
    /// Looks for the owners of `pids` among those that have the file of that inode mapped.
    pub(crate) fn find(pids: &[u32], inode: u64) -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let here = names.filter_map(|name| name.parse().ok());
        Self { seen: here.filter_map(|pid| Seen::of(pid, pids, inode)).collect() }
    }

    /// What is known of one.
    pub(crate) fn of(&self, pid: u32) -> Process {
        let mut all = self.seen.iter().filter(|(own, _)| *own == pid).map(|(_, seen)| seen);
        // Two containers may each have one: then it is not known which is meant.
        let seen = all.next().filter(|_| all.next().is_none());
        Process { pid, seen: seen.cloned() }
    }
}

impl Process {
    /// Whether it can't go on by itself.
    pub(crate) fn is_stopped(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| matches!(seen.state, 'T' | 't'))
    }

    /// The number by which signals can be sent to it, if it is seen.
    pub(crate) fn pid_here(&self) -> Option<u32> {
        self.seen.as_ref().map(|seen| seen.pid)
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
            (Some(seen), pid) if seen.pid == pid => format!("pid {pid} {:?}", seen.name),
            (Some(seen), pid) => format!("pid {} {:?}, {pid} in its own namespace", seen.pid, seen.name),
            (None, pid) => format!("pid {pid}, as its own namespace numbers it"),
        }
    }

    /// Who it is and what it does: `pid 812 "nginx", stopped`.
    pub(crate) fn who_and_state(&self) -> String {
        self.state().map_or_else(|| self.who(), |state| format!("{}, {state}", self.who()))
    }

    /// How to let it go on.
    pub(crate) fn how_to_continue(&self) -> String {
        match &self.seen {
            Some(seen) if seen.state == 'T' => format!("`kill -CONT {}` lets it go on", seen.pid),
            Some(seen) if seen.state == 't' => "let its debugger continue it".to_owned(),
            Some(seen) => format!("see what pid {} does, or wait for it", seen.pid),
            None => "look for it where it runs, as another user or in another container".to_owned(),
        }
    }

    /// The command that ends it.
    pub(crate) fn how_to_kill(&self) -> String {
        self.pid_here().map_or_else(|| "killing it there".to_owned(), |pid| format!("`kill -9 {pid}`"))
    }
}

impl Seen {
    /// The process of that number here, with its own number, if it is an owner.
    fn of(here: u32, pids: &[u32], inode: u64) -> Option<(u32, Self)> {
        let status = read(here, "status")?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        // From ours to its own; an old kernel does not say.
        let own = numbers.split_ascii_whitespace().last().map_or(Some(here), |own| own.parse().ok())?;
        if !pids.contains(&own) || !has_mapped(&read(here, "maps")?, inode) {
            return None;
        }
        let stat = read(here, "stat")?;
        // The name, in parentheses, may have anything in it, other parentheses too.
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        Some((own, Self { pid: here, name: read(here, "comm")?.trim_end().to_owned(), state }))
    }
}

fn read(pid: u32, what: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/{what}")).ok()?).into_owned())
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
        let found = Processes::find(&[own], exe).of(own);
        assert_eq!((found.pid_here(), found.is_stopped()), (Some(own), false));
        assert!(found.who().starts_with(&format!("pid {own} \"")), "{}", found.who());
        let other = Processes::find(&[own], u64::MAX).of(own);
        assert_eq!(other.who_and_state(), format!("pid {own}, as its own namespace numbers it"));
        assert_eq!((other.state(), other.name(), other.pid_here()), (None, None, None));
        assert_eq!(other.how_to_kill(), "killing it there");
        let mut two = Processes::find(&[own], exe);
        two.seen.extend(two.seen.clone());
        assert_eq!(two.of(own).pid_here(), None, "either of them");
        assert_eq!(Processes::default().of(0).who(), "pid unknown");
    }
}
