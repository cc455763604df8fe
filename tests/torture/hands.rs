//! Hands: what the members of the group have in hand and have had, and whether they should.
//!
//! ```text
//!   word of a position:   lap 24 | generation 16 | session 20 | member 1 | state 2         one per 16 bytes of a lap
//!   state:                0 -> BEGUN, while it is worked on -> ENDED -> the library is told that it is done
//! ```
//!
//! | handed out                  | must |
//! |-----------------------------|------|
//! | any record                  | have all its bytes right, then and when it is done, and stand where the consumers saw it |
//! | for the first time          | come behind what the same member got before it |
//! | again, as a dead one's      | be in no living hands |
//! | again, as if it were new    | come after an instant at which no member was there, and never from a durable group |
//! | where another one stood     | find that one done, or its group lapped |
//!
//! A session is one attachment of one member. A generation ends whenever a member attaches and may be the first.
//!
//! (I1) a word changes by compare-exchange, or by the one who has the record; (I2) a session that is killed is marked before it is dead.
//! Knows that a record came, not that it should: the end of the world compares with what the durable consumer had.

use crate::kinds::Role;
use crate::ledger::Look;
use crate::oracle::{JOURNAL_WORDS, Oracle, nap};
use crate::payload::{check, fingerprint, length};
use shm_ring::killpoints::{Point, reach};
use shm_ring::{ConsumerOptions, Delivery, Error, Member, PollError, Ring};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The group's name.
pub(crate) const GROUP: &str = "workers";
const BEGUN: u64 = 1;
const ENDED: u64 = 2;
const GAPS_MAX: usize = 4096;
/// A name that nobody needs is given away after a lap, which others have to make.
const ROOM_FOR_A_NAME: Duration = Duration::from_secs(8);

/// The words that all share.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Hands {
    words: [AtomicU64; JOURNAL_WORDS],
    sessions: AtomicU32,
    generation: AtomicU32,
    living: [Living; 2],
    /// What the group was told that it missed, and around where: the ends of `n_gaps` stretches.
    missed_bytes: AtomicU64,
    /// Where the group was at the last look at that.
    seen_at: AtomicU64,
    /// Who attaches and has not looked yet.
    joining: [AtomicU32; 2],
    n_gaps: AtomicU32,
    gaps: [(AtomicU64, AtomicU64); GAPS_MAX],
    pub(crate) delivered: AtomicU64,
    /// Again, from the dead.
    pub(crate) adopted: AtomicU64,
    /// Again, after everybody had left or died.
    pub(crate) repeated: AtomicU64,
}

/// Who is attached.
#[repr(C)]
#[derive(Debug)]
struct Living {
    /// 0: nobody.
    session: AtomicU32,
    /// It is about to be killed, or was.
    doomed: AtomicU32,
}

/// A position's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    lap: u64,
    generation: u32,
    session: u32,
    member: usize,
    state: u64,
}

impl Note {
    fn decode(word: u64) -> Self {
        Self {
            lap: word >> 39,
            generation: (word >> 23 & 0xffff) as u32,
            session: (word >> 3 & 0xf_ffff) as u32,
            member: (word >> 2 & 1) as usize,
            state: word & 3,
        }
    }

    fn encode(self) -> u64 {
        self.lap << 39
            | u64::from(self.generation) << 23
            | u64::from(self.session) << 3
            | (self.member as u64) << 2
            | self.state
    }
}

fn number(role: Role) -> usize {
    usize::from(role == Role::G1)
}

impl Hands {
    pub(crate) fn clear(&self) {
        for word in self.words.iter().chain([&self.delivered, &self.adopted, &self.repeated]) {
            word.store(0, Ordering::Relaxed);
        }
        self.missed_bytes.store(0, Ordering::Relaxed);
        self.seen_at.store(0, Ordering::Relaxed);
        let [one, two] = &self.joining;
        for word in [&self.sessions, &self.generation, &self.n_gaps, one, two] {
            word.store(0, Ordering::Relaxed);
        }
        Role::MEMBERS.iter().for_each(|role| self.renew(*role));
    }

    /// Before the signal.
    pub(crate) fn doom(&self, role: Role) {
        if role.is_member() {
            self.living[number(role)].doomed.store(1, Ordering::SeqCst);
        }
    }

    /// Before the fork.
    pub(crate) fn renew(&self, role: Role) {
        let living = &self.living[number(role)];
        // In this order: who sees that it is not doomed sees that the old session is over.
        living.session.store(0, Ordering::SeqCst);
        living.doomed.store(0, Ordering::SeqCst);
    }

    fn is_alive(&self, oracle: &Oracle, member: usize, session: u32) -> bool {
        let living = &self.living[member];
        let doomed = living.doomed.load(Ordering::SeqCst) != 0
            || oracle.member(Role::MEMBERS[member]).was_hit_to_die();
        !doomed && session != 0 && living.session.load(Ordering::SeqCst) == session
    }

    fn other_is_alive(&self, oracle: &Oracle, role: Role) -> bool {
        let other = 1 - number(role);
        self.is_alive(oracle, other, self.living[other].session.load(Ordering::SeqCst))
    }

    /// What the group was told since the last look, and where it is: around there records may be missing.
    fn note_gap(&self, ring: &Ring, member: &Member, is_first: bool) -> Result<(), Error> {
        let stats = ring.stats()?;
        let group = stats.consumers.iter().find(|row| row.name == GROUP && row.members.is_some());
        let missed_bytes = group.map_or(0, |group| group.missed_bytes);
        let noted = self.missed_bytes.fetch_max(missed_bytes, Ordering::SeqCst);
        let end = member.position();
        let seen_at = self.seen_at.swap(end, Ordering::SeqCst);
        if missed_bytes > noted {
            let at = self.n_gaps.fetch_add(1, Ordering::SeqCst) as usize;
            let (from, to) = self.gaps.get(at).expect("too many gaps for one world");
            // Others may have moved the group on meanwhile, by less than a lap; or far, if who joined before was killed before this.
            let back = if is_first { missed_bytes - noted } else { end - seen_at.min(end) };
            from.store(end.saturating_sub(back + ring.capacity_bytes()), Ordering::SeqCst);
            to.store(end, Ordering::SeqCst);
        }
        Ok(())
    }

    fn is_in_gap(&self, position: u64) -> bool {
        let n = self.n_gaps.load(Ordering::SeqCst) as usize;
        self.gaps[..n]
            .iter()
            .any(|(from, to)| (from.load(Ordering::SeqCst)..to.load(Ordering::SeqCst)).contains(&position))
    }

    /// Records that somebody who died had in hand, and nobody got again.
    pub(crate) fn left_in_hands(&self) -> usize {
        self.words.iter().filter(|word| word.load(Ordering::SeqCst) & 3 == BEGUN).count()
    }
}

/// One member's session.
#[derive(Debug)]
pub(crate) struct Hand {
    oracle: &'static Oracle,
    role: Role,
    session: u32,
    capacity_bytes: u64,
    durable: bool,
    /// Where its last record was that came as a new one.
    last: Option<u64>,
}

/// How the group is joined.
pub(crate) fn options(durable: bool) -> ConsumerOptions {
    if durable { ConsumerOptions::new().durable() } else { ConsumerOptions::new() }
}

/// Attaches as that member.
pub(crate) fn join(
    oracle: &'static Oracle,
    ring: &Ring,
    role: Role,
    durable: bool,
) -> Result<(Member, Hand), Error> {
    let hands = &oracle.hands;
    let was_there = hands.other_is_alive(oracle, role);
    let others = hands.joining.iter().map(|joining| joining.load(Ordering::SeqCst)).sum::<u32>();
    hands.joining[number(role)].store(1, Ordering::SeqCst);
    let start = Instant::now();
    let member = loop {
        match ring.group_with(GROUP, options(durable)) {
            Err(Error::NoSlot { .. }) if start.elapsed() < ROOM_FOR_A_NAME => nap(500),
            other => break other?,
        }
    };
    if !was_there || !hands.other_is_alive(oracle, role) {
        let generation = hands.generation.fetch_add(1, Ordering::SeqCst);
        assert!(generation < 0xffff, "too many generations for one world");
    }
    let session = hands.sessions.fetch_add(1, Ordering::SeqCst) + 1;
    assert!(session < 1 << 20, "too many sessions for one world");
    hands.living[number(role)].session.store(session, Ordering::SeqCst);
    hands.note_gap(ring, &member, others == 0)?;
    hands.joining[number(role)].store(0, Ordering::SeqCst);
    let hand = Hand { oracle, role, session, capacity_bytes: ring.capacity_bytes(), durable, last: None };
    Ok((member, hand))
}

impl Hand {
    /// Waits a moment for the next record and works on it for so long.
    pub(crate) fn look(&mut self, member: &mut Member, wait: Duration, work_us: u64) -> Look {
        let position = match if wait.is_zero() { member.try_poll() } else { member.poll_timeout(wait) } {
            Ok(Some(delivery)) => {
                self.begin(&delivery);
                // Here somebody works on it.
                reach(Point::PayloadHalf);
                if work_us > 0 {
                    nap(work_us);
                    check(&delivery).unwrap_or_else(|wrong| panic!("while it was in hand: {wrong}"));
                }
                self.end(delivery.position());
                delivery.position()
            }
            Ok(None) => return Look::Nothing,
            Err(PollError::Closed) => return Look::Closed,
            Err(error) => panic!("{error}"),
        };
        assert!(
            member.position() > position,
            "{position} was handed out, the group is at {}",
            member.position()
        );
        Look::Record
    }

    /// The session is over; before the library is told.
    pub(crate) fn leave(&self) {
        self.oracle.hands.living[number(self.role)].session.store(0, Ordering::SeqCst);
    }

    fn word(&self, position: u64) -> &'static AtomicU64 {
        &self.oracle.hands.words[(position % self.capacity_bytes / 16) as usize]
    }

    fn begin(&mut self, delivery: &Delivery<'_>) {
        let (position, again) = (delivery.position(), delivery.is_redelivered());
        let (life, n) = check(delivery).unwrap_or_else(|wrong| panic!("{wrong}, at {position}"));
        let what = || format!("record {n} of life {life} at {position}, again: {again}");
        let (noted, mine) = self.oracle.note(position, self.capacity_bytes, fingerprint(position, life, n));
        assert!(noted == mine, "{}: another record was delivered there before", what());
        let Some(words) = self.oracle.life(life) else { panic!("{}: a life that never was", what()) };
        let begun = words.begun.load(Ordering::SeqCst);
        assert!(n < begun, "{}: its producer has begun {begun} only", what());
        if !again {
            assert!(self.last.is_none_or(|last| last < position), "{}: behind {:?}", what(), self.last);
            self.last = Some(position);
        }
        let hands = &self.oracle.hands;
        let note = Note {
            lap: position / self.capacity_bytes + 1,
            generation: hands.generation.load(Ordering::SeqCst),
            session: self.session,
            member: number(self.role),
            state: BEGUN,
        };
        let word = self.word(position).load(Ordering::SeqCst);
        let old = Note::decode(word);
        if let Err(wrong) = self.judge(old, note, again) {
            panic!("{}: {wrong}; {old:?} before, {note:?} now", what());
        }
        // Before the word: a death in between makes it come again as if for the first time.
        words.shared[n as usize / 64].fetch_or(1 << (n % 64), Ordering::SeqCst);
        let noted =
            self.word(position).compare_exchange(word, note.encode(), Ordering::SeqCst, Ordering::SeqCst);
        assert!(noted.is_ok(), "{}: another member has it at the same time", what());
        let counter = match (old.lap == note.lap, again) {
            (false, _) => &hands.delivered,
            (true, true) => &hands.adopted,
            (true, false) => &hands.repeated,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.oracle.watch.see(2, life, n);
    }

    fn judge(&self, old: Note, new: Note, again: bool) -> Result<(), &'static str> {
        let is_held = old.state == BEGUN && self.oracle.hands.is_alive(self.oracle, old.member, old.session);
        match () {
            () if is_held && old.lap == new.lap => Err("a living member has it in hand"),
            () if is_held => Err("a living member has in hand what stood here"),
            () if old.lap > new.lap => Err("its place was used again before"),
            () if old.lap < new.lap && old.state == BEGUN && self.durable => {
                Err("a dead member had in hand what stood here, and nobody got it")
            }
            () if old.lap < new.lap || again => Ok(()),
            () if self.durable => Err("it was delivered before, and came as a new one"),
            () if old.generation == new.generation => {
                Err("it was delivered before, and since then some member was always there")
            }
            () => Ok(()),
        }
    }

    fn end(&self, position: u64) {
        let word = self.word(position);
        let note = Note::decode(word.load(Ordering::SeqCst));
        assert!(
            note.session == self.session
                && note.state == BEGUN
                && note.lap == position / self.capacity_bytes + 1,
            "{position} was in the hands of session {}, and another has it: {note:?}",
            self.session
        );
        word.store(Note { state: ENDED, ..note }.encode(), Ordering::SeqCst);
    }
}

/// Compares what the group had with what the durable consumer had, when both have read everything. The group was told that it missed so
/// much.
pub(crate) fn balance(oracle: &Oracle, missed_bytes: u64, durable: bool) -> Result<(), String> {
    let (mut missing_bytes, mut first) = (0, None);
    for life in 0..oracle.n_lives() as u32 {
        let words = oracle.life(life).expect("below the count");
        let complete = words.next[0].load(Ordering::SeqCst) & 0xffff;
        for n in 0..256 {
            let had = words.shared[n as usize / 64].load(Ordering::SeqCst) >> (n % 64) & 1 == 1;
            if had && n >= complete {
                return Err(format!("the group had record {n} of life {life}, which had {complete}"));
            }
            if !had && n < complete {
                let position = u64::from(words.stood_at[n as usize].load(Ordering::SeqCst)) * 16;
                if !oracle.hands.is_in_gap(position) {
                    return Err(format!(
                        "the group never had record {n} of life {life} at {position}, and was told of no gap around there"
                    ));
                }
                missing_bytes += (16 + length(life, n) as u64).next_multiple_of(16);
                first.get_or_insert((life, n));
            }
        }
    }
    let in_hands = oracle.hands.left_in_hands();
    match first {
        Some((life, n)) if durable || missing_bytes > missed_bytes => Err(format!(
            "the group never had {missing_bytes} bytes of records, {n} of life {life} the first of them; it was told of {missed_bytes}"
        )),
        None if durable && missed_bytes > 0 => {
            Err(format!("a durable group was told that it missed {missed_bytes} bytes"))
        }
        _ if durable && in_hands > 0 => {
            Err(format!("{in_hands} records that dead members had in hand never came again"))
        }
        _ => Ok(()),
    }
}
