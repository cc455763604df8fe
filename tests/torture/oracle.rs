//! Oracle: a second shared mapping that knows what was appended and what was handled, and through which the driver talks to the cast.
//!
//! ```text
//!   life of a producer:  begun = n + k -> append k records -> committed = n + k
//!   consumer's state:    two copies and a number that says which one holds: all of it changes at once, whatever kills between the stores
//!   journal:             a word per 16 bytes of a lap: what stood there, so that all consumers, and each again after its death, agree
//! ```
//!
//! (I1) made before the forks, so that every process has it at the same address; (I2) every word is an atomic; (I3) nothing in it
//! depends on the ring.
//! Judges nothing: `ledger.rs` does.

use crate::hands::Hands;
use crate::kinds::{Deed, Role, Task, point};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::time::{ClockId, clock_gettime};
use rustix::thread::futex;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Lives of one world.
pub(crate) const LIVES_MAX: usize = 1 << 18;
/// A lap of the largest ring, in frames' steps.
pub(crate) const JOURNAL_WORDS: usize = (64 << 10) / 16;
const SAID_BYTES: usize = 4096;

/// Bit of [`Oracle::gates`]: producers pause between two appends.
pub(crate) const PRODUCERS_PAUSE: u32 = 1;
/// Consumers read what there is, then pause; at once if producers don't.
pub(crate) const CONSUMERS_PAUSE: u32 = 2;
/// Members of the group pause at once, with records in front of them.
pub(crate) const MEMBERS_PAUSE: u32 = 4;

/// See the file's header.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Oracle {
    /// A futex: changes whenever the driver wants something.
    bell: AtomicU32,
    gates: AtomicU32,
    lives_used: AtomicU32,
    /// 1: being written, 2: whole.
    said_state: AtomicU32,
    said: [AtomicU8; SAID_BYTES],
    pub(crate) watch: Watch,
    members: [Member; 6],
    readers: [Reader; 2],
    journal: [AtomicU64; JOURNAL_WORDS],
    /// What the group's members have and had.
    pub(crate) hands: Hands,
    /// Records that were dropped, by the producers' slots.
    dropped: [AtomicU64; 2],
    /// Producers that were killed.
    pub(crate) producer_deaths: AtomicU64,
    lives: [Life; LIVES_MAX],
}

/// What the driver wants to see delivered.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Watch {
    active: AtomicU32,
    first_new_life: AtomicU32,
    /// Life and number from which on a record was begun after the watch.
    from: [(AtomicU32, AtomicU32); 2],
    delivered_at_ns: [AtomicU64; 3],
}

/// One member of the cast.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Member {
    /// Grows with each order.
    ordered: AtomicU64,
    /// The last order that was finished.
    done: AtomicU64,
    task: AtomicU64,
    point: AtomicU64,
    nth: AtomicU64,
    stops: AtomicU64,
    /// When it came to the armed point; 0: not yet.
    pub(crate) hit_at_ns: AtomicU64,
    /// The gates at which it pauses, plus 1; 0: it does not.
    pauses: AtomicU32,
    /// 1: attached.
    pub(crate) attached: AtomicU32,
    /// A producer's life.
    pub(crate) life: AtomicU32,
}

/// A producer's life: at most some hundreds of records.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) begun: AtomicU32,
    pub(crate) committed: AtomicU32,
    /// For each consumer: generation of its gaps (16 bits), next number (16 bits).
    pub(crate) next: [AtomicU32; 2],
    /// The group has had the record of that number: a bit for each.
    pub(crate) shared: [AtomicU64; 4],
    /// Where the durable consumer had the record of that number, in frames' steps.
    pub(crate) stood_at: [AtomicU32; 256],
    /// When it began: its slot, what had been dropped in that slot, and how many producers had died.
    pub(crate) slot: AtomicU32,
    pub(crate) dropped: AtomicU64,
    pub(crate) deaths: AtomicU64,
}

/// What a consumer has handled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    /// Position of the last record, plus 1; 0: none.
    pub(crate) handled: u64,
    pub(crate) life: u32,
    pub(crate) n: u32,
    /// LOST frames that it surely passed.
    pub(crate) lost: u64,
    /// What its name was told that it missed.
    pub(crate) missed: u64,
    /// How often it missed something.
    pub(crate) gaps: u32,
}

/// A consumer's state, two copies.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Reader {
    version: AtomicU64,
    copies: [[AtomicU64; 6]; 2],
    pub(crate) delivered: AtomicU64,
    pub(crate) redelivered: AtomicU64,
}

/// CLOCK_MONOTONIC, the same for all processes.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

impl Oracle {
    /// Maps one, zeroed; it stays for the rest of this process.
    pub(crate) fn new() -> &'static Self {
        let length = NonZeroUsize::new(size_of::<Self>()).unwrap();
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping, at an address that the kernel chooses, disturbs nothing.
        let address =
            unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) };
        // SAFETY:
        // - in bounds, aligned: a mapping of this size begins on a page;
        // - initialised: the kernel's zeros are valid atomics;
        // - alive: it is never unmapped; no plain access: every field is an atomic (I2).
        unsafe { address.unwrap().cast::<Self>().as_ref() }
    }

    /// For the next world; nobody else has it.
    pub(crate) fn clear(&self) {
        let lives = self.n_lives();
        let zero = |words: &[AtomicU64]| words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        zero(&self.journal);
        for life in &self.lives[..lives] {
            life.begun.store(0, Ordering::Relaxed);
            life.committed.store(0, Ordering::Relaxed);
            life.next.iter().for_each(|next| next.store(0, Ordering::Relaxed));
            zero(&life.shared);
        }
        for reader in &self.readers {
            zero(&reader.copies[0]);
            zero(&reader.copies[1]);
            reader.version.store(0, Ordering::Relaxed);
            reader.delivered.store(0, Ordering::Relaxed);
            reader.redelivered.store(0, Ordering::Relaxed);
        }
        zero(&self.dropped);
        self.producer_deaths.store(0, Ordering::Relaxed);
        self.hands.clear();
        Role::ALL.iter().for_each(|role| self.member(*role).clear());
        self.watch.end();
        self.gates.store(0, Ordering::Relaxed);
        self.lives_used.store(0, Ordering::Relaxed);
    }

    pub(crate) fn member(&self, role: Role) -> &Member {
        &self.members[role.index()]
    }

    pub(crate) fn reader(&self, role: Role) -> &Reader {
        &self.readers[role.reader()]
    }

    pub(crate) fn life(&self, life: u32) -> Option<&Life> {
        if (life as usize) < self.n_lives() { self.lives.get(life as usize) } else { None }
    }

    pub(crate) fn n_lives(&self) -> usize {
        (self.lives_used.load(Ordering::SeqCst) as usize).min(LIVES_MAX)
    }

    /// A life that nobody had before, in that slot.
    pub(crate) fn new_life(&self, slot: u16) -> u32 {
        let number = self.lives_used.fetch_add(1, Ordering::SeqCst);
        assert!((number as usize) < LIVES_MAX, "a world has at most {LIVES_MAX} lives; let it end earlier");
        let life = &self.lives[number as usize];
        life.slot.store(slot.into(), Ordering::SeqCst);
        life.deaths.store(self.producer_deaths.load(Ordering::SeqCst), Ordering::SeqCst);
        life.dropped.store(self.dropped(slot).load(Ordering::SeqCst), Ordering::SeqCst);
        number
    }

    /// Records that were dropped in that slot, as far as those who did it could say so.
    pub(crate) fn dropped(&self, slot: u16) -> &AtomicU64 {
        &self.dropped[usize::from(slot)]
    }

    /// What was noted at `position`, or `fingerprint` when that place is from an earlier lap; both without their lap.
    pub(crate) fn note(&self, position: u64, capacity_bytes: u64, fingerprint: u64) -> (u64, u64) {
        let word = &self.journal[(position % capacity_bytes / 16) as usize];
        let mine = (position / capacity_bytes + 1) << 48 | fingerprint >> 16;
        let old = word.load(Ordering::SeqCst);
        if old >> 48 != mine >> 48 {
            // Whoever is second finds the first one's note, which should be the same.
            let _ = word.compare_exchange(old, mine, Ordering::SeqCst, Ordering::SeqCst);
        }
        (word.load(Ordering::SeqCst), mine)
    }

    pub(crate) fn gates(&self) -> u32 {
        self.gates.load(Ordering::SeqCst)
    }

    pub(crate) fn set_gates(&self, gates: u32) {
        self.gates.store(gates, Ordering::SeqCst);
        self.ring_the_bell();
    }

    pub(crate) fn ring_the_bell(&self) {
        self.bell.fetch_add(1, Ordering::SeqCst);
        futex::wake(&self.bell, futex::Flags::empty(), i32::MAX.unsigned_abs()).unwrap();
    }

    /// What [`Oracle::wait_for_bell`] compares with; to be taken before the last look.
    pub(crate) fn bell(&self) -> u32 {
        self.bell.load(Ordering::SeqCst)
    }

    pub(crate) fn wait_for_bell(&self, heard: u32) {
        let time = futex::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        // Rung meanwhile, a signal, or the time is over: the caller looks again.
        let _ = futex::wait(&self.bell, futex::Flags::empty(), heard, Some(&time));
    }

    /// Says what is wrong; the first one who does is heard.
    pub(crate) fn say(&self, text: &str) {
        if self.said_state.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            for (to, from) in self.said[..SAID_BYTES - 1].iter().zip(text.bytes()) {
                to.store(from, Ordering::Relaxed);
            }
            self.said_state.store(2, Ordering::SeqCst);
        }
    }

    pub(crate) fn said(&self) -> Option<String> {
        if self.said_state.load(Ordering::SeqCst) != 2 {
            return None;
        }
        let bytes = self.said.iter().map(|byte| byte.load(Ordering::Relaxed)).take_while(|byte| *byte != 0);
        Some(String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned())
    }
}

impl Watch {
    /// From now on the next record of each producer counts.
    pub(crate) fn begin(&self, oracle: &Oracle) {
        self.end();
        self.first_new_life.store(oracle.lives_used.load(Ordering::SeqCst), Ordering::SeqCst);
        for (role, (life, n)) in Role::PRODUCERS.iter().zip(&self.from) {
            let lived = oracle.member(*role).life.load(Ordering::SeqCst);
            life.store(lived, Ordering::SeqCst);
            n.store(oracle.life(lived).map_or(0, |life| life.begun.load(Ordering::SeqCst)), Ordering::SeqCst);
        }
        self.delivered_at_ns.iter().for_each(|at| at.store(0, Ordering::SeqCst));
        self.active.store(1, Ordering::SeqCst);
    }

    pub(crate) fn end(&self) {
        self.active.store(0, Ordering::SeqCst);
    }

    /// A consumer, or the group (number 2), has a record in its hands for the first time.
    pub(crate) fn see(&self, reader: usize, life: u32, n: u32) {
        if self.active.load(Ordering::SeqCst) == 0 || self.delivered_at_ns[reader].load(Ordering::SeqCst) != 0
        {
            return;
        }
        let is_of = |(l, from): &(AtomicU32, AtomicU32)| {
            l.load(Ordering::SeqCst) == life && n >= from.load(Ordering::SeqCst)
        };
        if life >= self.first_new_life.load(Ordering::SeqCst) || self.from.iter().any(is_of) {
            self.delivered_at_ns[reader].store(now_ns(), Ordering::SeqCst);
        }
    }

    /// When it was delivered to that consumer.
    pub(crate) fn seen_at_ns(&self, reader: usize) -> Option<u64> {
        Some(self.delivered_at_ns[reader].load(Ordering::SeqCst)).filter(|at| *at != 0)
    }
}

impl Member {
    fn clear(&self) {
        let (ordered, done) = (&self.ordered, &self.done);
        [ordered, done, &self.hit_at_ns].iter().for_each(|word| word.store(0, Ordering::Relaxed));
        [&self.pauses, &self.attached, &self.life].iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// For the process that is about to be forked: nothing is ordered.
    pub(crate) fn renew(&self) {
        self.done.store(self.ordered.load(Ordering::SeqCst), Ordering::SeqCst);
        self.pauses.store(0, Ordering::SeqCst);
        self.attached.store(0, Ordering::SeqCst);
    }

    /// It is killed at the point that it came by, or will be at once.
    pub(crate) fn was_hit_to_die(&self) -> bool {
        self.was_hit() && self.stops.load(Ordering::SeqCst) == 0
    }

    /// Tells it to do something; ring the bell afterwards.
    pub(crate) fn order(&self, deed: Deed) {
        let words =
            [(&self.task, deed.task.encode()), (&self.point, deed.point as u64), (&self.nth, deed.nth)];
        words.iter().for_each(|(word, value)| word.store(*value, Ordering::SeqCst));
        self.stops.store(deed.stops.into(), Ordering::SeqCst);
        self.hit_at_ns.store(0, Ordering::SeqCst);
        self.ordered.fetch_add(1, Ordering::SeqCst);
    }

    /// What it is to do, if it was not done yet.
    pub(crate) fn ordered(&self, role: Role) -> Option<Deed> {
        if self.is_done() {
            return None;
        }
        Some(Deed {
            role,
            task: Task::decode(self.task.load(Ordering::SeqCst)),
            point: point(self.point.load(Ordering::SeqCst)).unwrap(),
            nth: self.nth.load(Ordering::SeqCst),
            stops: self.stops.load(Ordering::SeqCst) != 0,
        })
    }

    pub(crate) fn is_done(&self) -> bool {
        self.ordered.load(Ordering::SeqCst) == self.done.load(Ordering::SeqCst)
    }

    pub(crate) fn finish(&self) {
        self.done.store(self.ordered.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    pub(crate) fn was_hit(&self) -> bool {
        self.hit_at_ns.load(Ordering::SeqCst) != 0
    }

    /// It pauses at these gates, or at none.
    pub(crate) fn set_pause(&self, gates: Option<u32>) {
        self.pauses.store(gates.map_or(0, |gates| gates + 1), Ordering::SeqCst);
    }

    pub(crate) fn pauses_at(&self, gates: u32) -> bool {
        self.pauses.load(Ordering::SeqCst) == gates + 1
    }
}

impl Reader {
    pub(crate) fn load(&self) -> State {
        let copy = &self.copies[(self.version.load(Ordering::SeqCst) & 1) as usize];
        let word = |at: usize| copy[at].load(Ordering::SeqCst);
        let half = |at: usize| word(at) as u32;
        State { handled: word(0), life: half(1), n: half(2), lost: word(3), missed: word(4), gaps: half(5) }
    }

    /// All of it at once; only the consumer itself does it.
    pub(crate) fn store(&self, state: State) {
        let next = self.version.load(Ordering::SeqCst) + 1;
        let words =
            [state.handled, state.life.into(), state.n.into(), state.lost, state.missed, state.gaps.into()];
        for (word, value) in self.copies[(next & 1) as usize].iter().zip(words) {
            word.store(value, Ordering::SeqCst);
        }
        self.version.store(next, Ordering::SeqCst);
    }
}

/// A nap of the cast.
pub(crate) fn nap(micros: u64) {
    std::thread::sleep(Duration::from_micros(micros));
}
