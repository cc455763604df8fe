//! Memory: what a ring that is mapped and fully used costs a process.
//!
//! One process makes the ring and has both ends of it; it sends and reads the capacity twice over, so that every page was
//! touched. Then the kernel is asked: Pss counts each page once, however often and by how many it is mapped (a share of it
//! each), Rss counts it each time. The other process only takes part in the floor and never maps the ring, so nothing is shared
//! away.

use super::records::{Check, Pool, Take};
use super::{Contestant, Desk, Figures, Plan, Receiver, Repetition, Sender, Side};

/// Bytes, as `/proc/self/smaps_rollup` tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Proportional set size of the whole process.
    pub pss_bytes: u64,
    /// Resident set size of the same.
    pub rss_bytes: u64,
    /// Pss before there was a ring.
    pub pss_without_bytes: u64,
    /// What the ring was asked to hold.
    pub ring_bytes: u64,
}

impl Memory {
    /// Pss that came with the ring; the rest is the program's own.
    pub fn added_bytes(&self) -> u64 {
        self.pss_bytes.saturating_sub(self.pss_without_bytes)
    }
}

/// Memory of a process that uses all of a ring of `ring_bytes`, which `make` makes there.
///
/// # Errors
///
/// What went wrong in a child.
pub fn memory<C: Contestant>(
    make: impl Fn() -> Result<C, String> + Sync,
    ring_bytes: usize,
    record_bytes: usize,
    plan: &Plan,
) -> Result<Repetition, String> {
    let desk = Desk::new();
    let user = || {
        let before = desk.line.ping(&plan.clock);
        let (mut pool, mut check) = (Pool::new(record_bytes), Check::new(record_bytes, false));
        let (pss_without_bytes, _) = smaps_rollup();
        let ring = make().unwrap_or_else(|error| panic!("{error}"));
        let (mut sender, mut receiver) = (ring.sender(), ring.receiver());
        // A frame is longer than its record, so twice the capacity is more than two laps.
        let n_at_once = ring_bytes / 8 / record_bytes;
        // And one more, so that the XOR is that of a record and not of whole turns of the pool.
        for n in [n_at_once; 16].into_iter().chain([1]) {
            sender.send(&mut pool, n);
            sender.flush();
            while check.sums.n_records < pool.sums().n_records {
                receiver.receive(|record| {
                    check.take(record);
                });
            }
        }
        let (pss_bytes, rss_bytes) = smaps_rollup();
        assert_eq!(check.sums, pool.sums(), "count or XOR of what was sent and of what arrived");
        let after = desk.line.ping(&plan.clock);
        let figures = Memory { pss_bytes, rss_bytes, pss_without_bytes, ring_bytes: ring_bytes as u64 };
        Side::with_brackets(before, after).with_figures(Figures::Memory(figures), check.sums)
    };
    let other = || {
        desk.line.echo();
        desk.line.echo();
        Side::default()
    };
    plan.run(vec![plan.producer(user), plan.consumer(other)], false)
}

/// Pss and Rss of this process, in bytes.
fn smaps_rollup() -> (u64, u64) {
    let path = "/proc/self/smaps_rollup";
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let bytes = |key| line_of(&text, key).unwrap_or_else(|| panic!("{path}: no line {key} N kB in:\n{text}"));
    (bytes("Pss:"), bytes("Rss:"))
}

fn line_of(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that are meant, not those that begin alike.
    #[test]
    fn pss_is_not_taken_for_another_line() {
        let text = "5581f0000-7ffd000 ---p 00000000 00:00 0    [rollup]\nRss:     1234 kB\nPss_Dirty:  7 kB\nPss:      12 kB\n";
        assert_eq!((line_of(text, "Pss:"), line_of(text, "Rss:")), (Some(12 << 10), Some(1234 << 10)));
        assert_eq!(line_of(text, "Swap:"), None);
    }
}
