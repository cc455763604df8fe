//! Look: two looks at a ring, a moment apart, and what can be found out on the side.
//!
//! (I1) looks only, through an observer; (I2) whatever is iterated here stood in both looks under the same owner, so that nobody who is
//! just coming or going is taken for dead, nor one at work for stalled; (I3) the walk over the records is bounded in time.

use super::process::{Process, Processes};
use shm_ring::{ConsumerStats, Error, Observer, OpenClaim, PollError, ProducerStats, Ring, Start, Stats};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long the records may be walked over.
const WALK_TIME: Duration = Duration::from_millis(300);

/// A ring, seen twice.
#[derive(Debug)]
pub(crate) struct Look {
    path: PathBuf,
    /// The newer look.
    pub(crate) now: Stats,
    /// How long the two are apart; 0: there is one only.
    pub(crate) between: Duration,
    /// Whose file it is.
    pub(crate) owner_uid: u32,
    before: Stats,
    inode: u64,
    processes: Processes,
    observer: Observer,
}

/// How old a claim is, by the times of the records around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Age {
    /// It was there before a record behind it.
    pub(crate) at_least: Duration,
    /// It was not before the newest record in front of it.
    pub(crate) at_most: Option<Duration>,
}

impl Look {
    /// The first look.
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        let observer = Ring::open_observer(path)?;
        let now = observer.stats()?;
        let (inode, owner_uid) = std::fs::metadata(path).map_or((0, 0), |file| (file.ino(), file.uid()));
        let mut look = Self {
            path: path.to_path_buf(),
            before: now.clone(),
            now,
            between: Duration::ZERO,
            owner_uid,
            inode,
            processes: Processes::default(),
            observer,
        };
        look.find_processes();
        Ok(look)
    }

    /// The second one, after a while.
    pub(crate) fn again(&mut self, after: Duration) -> Result<(), Error> {
        let start = Instant::now();
        std::thread::sleep(after);
        self.now = self.observer.stats()?;
        self.between = start.elapsed();
        self.find_processes();
        Ok(())
    }

    fn find_processes(&mut self) {
        let (now, repairing) = (&self.now, self.now.repairing);
        let alive = now.producers.iter().filter(|p| p.alive).map(|p| p.pid);
        let alive = alive.chain(now.consumers.iter().filter(|c| c.alive).map(|c| c.pid)).chain(repairing);
        self.processes = Processes::find(&alive.filter(|pid| *pid != 0).collect::<Vec<_>>(), self.inode);
    }

    /// The path, for a command line.
    pub(crate) fn shown_path(&self) -> String {
        quoted(&self.path.to_string_lossy())
    }

    /// Producers, before and now.
    pub(crate) fn producers(&self) -> impl Iterator<Item = (&ProducerStats, &ProducerStats)> {
        self.now.producers.iter().filter_map(|now| {
            let is_same = |then: &&ProducerStats| then.slot == now.slot && then.pid == now.pid;
            Some((self.before.producers.iter().find(is_same)?, now))
        })
    }

    /// Consumers, groups and members, before and now.
    pub(crate) fn consumers(&self) -> impl Iterator<Item = (&ConsumerStats, &ConsumerStats)> {
        self.now.consumers.iter().filter_map(|now| {
            let owner = |c: &ConsumerStats| (c.slot, c.pid, c.alive);
            let is_same = |then: &&ConsumerStats| owner(then) == owner(now) && then.name == now.name;
            Some((self.before.consumers.iter().find(is_same)?, now))
        })
    }

    /// Who has byte 0 for as long as we looked.
    pub(crate) fn repairing(&self) -> Option<u32> {
        self.now.repairing.filter(|_| self.now.repairing == self.before.repairing)
    }

    /// Whether producers found the ring full in the meantime.
    pub(crate) fn has_refused(&self) -> bool {
        let fruitless = |p: &ProducerStats| p.refused.wrapping_add(p.waited).wrapping_add(p.dropped);
        self.producers().any(|(before, now)| fruitless(before) != fruitless(now))
    }

    /// What is seen of a pid.
    pub(crate) fn process(&self, pid: u32) -> Process {
        self.processes.of(pid)
    }

    /// How many bytes lie between there and the newest one.
    pub(crate) fn lag_bytes(&self, position: u64) -> u64 {
        self.now.tail.saturating_sub(position)
    }

    /// The same in per cent of the capacity.
    pub(crate) fn percent(&self, position: u64) -> u64 {
        let percent = u128::from(self.lag_bytes(position)) * 100 / u128::from(self.now.capacity_bytes);
        u64::try_from(percent).unwrap_or(u64::MAX).min(100)
    }

    /// How long that claim has been open.
    pub(crate) fn age(&mut self, claim: OpenClaim) -> Age {
        let behind = self.observer.seek(Start::At(claim.position + claim.bytes)).ok();
        let behind = behind.and_then(|()| self.observer.try_next(&mut Vec::new()).ok().flatten());
        let behind = behind.and_then(|info| ago(info.timestamp_ns?));
        let at_most = self.newest_before(claim.position).and_then(ago);
        let at_least = behind.unwrap_or_default().max(self.between);
        // Times are the producers' own; what they contradict is not said.
        Age { at_least, at_most: at_most.filter(|most| *most >= at_least) }
    }

    /// Walks over the records: what is wrong with them, if anything is.
    pub(crate) fn check_records(&mut self) -> Result<(), PollError> {
        let tail = self.now.tail;
        self.walk(tail).map(|_| ())
    }

    fn newest_before(&mut self, position: u64) -> Option<u64> {
        self.walk(position).ok().flatten()
    }

    /// The time of the last record in front of `end`, if there was time to get there.
    fn walk(&mut self, end: u64) -> Result<Option<u64>, PollError> {
        let start = Instant::now();
        let (mut newest, mut payload) = (None, Vec::new());
        self.observer.seek(Start::Oldest)?;
        while start.elapsed() < WALK_TIME {
            match self.observer.try_next(&mut payload) {
                Ok(Some(info)) if info.position < end => newest = info.timestamp_ns,
                Ok(_) => return Ok(newest),
                Err(PollError::Lapped { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// How long ago that time was.
fn ago(timestamp_ns: u64) -> Option<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_nanos(timestamp_ns)).ok()
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
