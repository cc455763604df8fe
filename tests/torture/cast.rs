//! Cast: the processes that play on the ring, and do what the driver orders.
//!
//! ```text
//!   producer:  [gate] -> [order] -> a life of some hundred records -> the next life ...
//!   consumer:  [gate] -> [order] -> look, check, handle ...
//!   member:    like a consumer; see `band.rs`
//!   order:     arm(point, nth, signal), then come by it:  dies there | is stopped there, goes on, and plays on
//! ```
//!
//! (I1) an error that the ring should not return is a panic, which the driver hears of; (I2) nobody outlives the driver.
//! Decides nothing: the plan does.

use crate::band::Sharing;
use crate::hands::{self, GROUP};
use crate::kinds::{Deed, Kind, Role, Task};
use crate::ledger::{Ledger, Look, attach};
use crate::oracle::{CONSUMERS_PAUSE, Oracle, PRODUCERS_PAUSE, nap, now_ns};
use crate::payload::{BATCH, fill, fits_batch, kind, length};
use shm_ring::killpoints::{Point, Signal, arm, disarm, reach};
use shm_ring::{ClaimError, Consumer, ConsumerOptions, Error, Producer, Ring, RingOptions, Start, Wait};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Records of a life.
const LIFE_RECORDS: u32 = 200;
/// An append that takes longer begins anew, after a look at gates and orders.
const APPEND: Duration = Duration::from_millis(20);
/// A look of a consumer that has nothing else to do.
pub(crate) const LOOK: Duration = Duration::from_millis(1);
/// The name that is always behind.
pub(crate) const OLD_NAME: &str = "lapped";
/// An order that takes longer has failed; the driver gives up a little later.
const PATIENCE: Duration = Duration::from_secs(8);

/// Where the ring is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    File(PathBuf),
    Anonymous(Ring),
}

/// What every member needs.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) oracle: &'static Oracle,
    pub(crate) place: Place,
    /// How members wait, by their number.
    pub(crate) waits: [Wait; 6],
    /// Whether the group keeps its space without members.
    pub(crate) durable: bool,
}

impl Stage {
    /// The ring, as that member sees it.
    pub(crate) fn open(&self, role: Role) -> Result<Ring, Error> {
        match &self.place {
            Place::File(path) => RingOptions::new().wait(self.waits[role.index()]).open(path),
            Place::Anonymous(ring) => Ok(ring.clone()),
        }
    }
}

/// Plays the role until the order to finish.
pub(crate) fn play(stage: &Stage, role: Role) {
    let ring = stage.open(role).unwrap();
    let base = Base { stage, ring: &ring, role, oracle: stage.oracle };
    match () {
        () if role.is_producer() => Writing::new(base).run(),
        () if role.is_member() => Sharing::new(base).run(),
        () => Reading::new(base).run(),
    }
}

/// What all kinds have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) ring: &'a Ring,
    pub(crate) role: Role,
    pub(crate) oracle: &'static Oracle,
}

impl Base<'_> {
    pub(crate) fn member(&self) -> &'static crate::oracle::Member {
        self.oracle.member(self.role)
    }

    /// Until it has come by; the driver hears of one that does not.
    pub(crate) fn until_hit(&self, mut go_on: impl FnMut()) {
        let start = Instant::now();
        while !self.member().was_hit() && start.elapsed() < PATIENCE {
            go_on();
        }
    }

    /// Until the others are more than a lap ahead.
    fn stay_away(&self) {
        let tail = || self.ring.stats().unwrap().tail;
        let (start, left_at) = (Instant::now(), tail());
        while tail() < left_at + 2 * self.ring.capacity_bytes() && start.elapsed() < PATIENCE {
            nap(500);
        }
    }

    pub(crate) fn arm(&self, deed: Deed) {
        let signal = if deed.stops { Signal::Stop } else { Signal::Kill };
        arm(deed.point, deed.nth, signal, &self.member().hit_at_ns);
    }

    /// Tasks that don't touch what the member has; false: not one of those.
    pub(crate) fn does(&self, deed: Deed) -> bool {
        let free = ConsumerOptions::new().start(Start::Now);
        match deed.task {
            Task::Open => self.until_hit(|| drop(self.stage.open(self.role).unwrap())),
            Task::TakeSlot => self.until_hit(|| drop(self.ring.producer().unwrap())),
            Task::TakeName => self.until_hit(|| drop(self.ring.consumer(Role::C1.name()).unwrap())),
            Task::OldName => self.until_hit(|| {
                // Away for more than a lap only after a while.
                match self.ring.consumer(OLD_NAME) {
                    Ok(_) | Err(Error::NoSlot { .. }) => nap(3000),
                    Err(error) => panic!("{error}"),
                }
            }),
            Task::NewName => self.until_hit(|| {
                let name = format!("new {}", now_ns());
                match self.ring.consumer_with(&name, free) {
                    // None is free until the others are lapped.
                    Ok(_) | Err(Error::NoSlot { .. }) => nap(1000),
                    Err(error) => panic!("{error}"),
                }
            }),
            Task::NewGroup => self.until_hit(|| {
                let name = format!("team {}", now_ns());
                match self.ring.group_with(&name, free) {
                    Ok(_) | Err(Error::NoSlot { .. }) => nap(1000),
                    Err(error) => panic!("{error}"),
                }
            }),
            Task::Visit => {
                self.until_hit(|| match self.ring.group_with(GROUP, hands::options(self.stage.durable)) {
                    Ok(_) | Err(Error::NoSlot { .. }) => nap(100),
                    Err(error) => panic!("{error}"),
                })
            }
            _ => return false,
        }
        true
    }
}

#[derive(Debug)]
struct Writing<'a> {
    base: Base<'a>,
    producer: Option<Producer>,
    life: u32,
    n: u32,
    /// The next record was offered, and there was no room for it.
    was_dropped: bool,
}

impl<'a> Writing<'a> {
    fn new(base: Base<'a>) -> Self {
        Self {
            producer: Some(base.ring.producer().unwrap()),
            base,
            life: 0,
            n: LIFE_RECORDS,
            was_dropped: false,
        }
    }

    fn run(mut self) {
        let (oracle, member) = (self.base.oracle, self.base.member());
        member.attached.store(1, Ordering::SeqCst);
        let mut beat = 0u64;
        loop {
            let heard = oracle.bell();
            if let Some(deed) = member.ordered(self.base.role) {
                member.set_pause(None);
                if deed.task == Task::Finish {
                    return;
                }
                self.perform(deed);
                member.finish();
                continue;
            }
            let gates = oracle.gates();
            if gates & PRODUCERS_PAUSE != 0 {
                member.set_pause(Some(gates));
                oracle.wait_for_bell(heard);
                member.set_pause(None);
                continue;
            }
            self.append(None, Some(APPEND));
            beat += 1;
            if beat.is_multiple_of(32) {
                nap(100);
            }
        }
    }

    fn perform(&mut self, deed: Deed) {
        let base = self.base;
        if deed.task != Task::Return && deed.task != Task::Leave {
            base.arm(deed);
        }
        match deed.task {
            Task::Append(kind) => base.until_hit(|| self.append(kind, None)),
            Task::AppendSlowly => base.until_hit(|| {
                self.append(Some(Kind::Push), None);
                nap(300);
            }),
            // The consumers pause: the ring fills up.
            Task::Wait => base.until_hit(|| self.append(Some(Kind::Push), Some(LOOK))),
            Task::Return | Task::Leave => {
                if deed.task == Task::Leave {
                    base.arm(deed);
                }
                drop(self.producer.take());
                if deed.task == Task::Return {
                    base.arm(deed);
                }
                self.producer = Some(base.ring.producer().unwrap());
                // It may be another slot.
                self.n = LIFE_RECORDS;
            }
            _ => assert!(base.does(deed), "no task of a producer: {deed:?}"),
        }
        disarm();
    }

    /// Appends one record or a batch, and tells the oracle before and after. With a time, it may give up.
    fn append(&mut self, wanted: Option<Kind>, time: Option<Duration>) {
        if self.n + BATCH > LIFE_RECORDS {
            let slot = self.producer.as_ref().unwrap().slot();
            (self.life, self.n) = (self.base.oracle.new_life(slot), 0);
            self.base.member().life.store(self.life, Ordering::SeqCst);
        }
        let (life, n) = (self.life, self.n);
        // What was dropped comes in a way that waits, unless somebody wants it otherwise.
        let otherwise = if self.was_dropped { Kind::Push } else { kind(life, n) };
        let kind = wanted.unwrap_or(otherwise);
        let kind = if kind == Kind::Batch && !fits_batch(life, n) { Kind::Push } else { kind };
        let count = if kind == Kind::Batch { BATCH } else { 1 };
        let words = self.base.oracle.life(life).unwrap();
        words.begun.store(n + count, Ordering::SeqCst);
        let producer = self.producer.as_mut().unwrap();
        match put(producer, kind, life, n, time) {
            Ok(true) => {
                words.committed.store(n + count, Ordering::SeqCst);
                self.n += count;
                self.was_dropped = false;
            }
            Ok(false) => {
                self.base.oracle.dropped(producer.slot()).fetch_add(1, Ordering::SeqCst);
                words.begun.store(n, Ordering::SeqCst);
                self.was_dropped = true;
            }
            // Nothing is on its way any more.
            Err(ClaimError::Full { .. }) if time.is_some() => {
                words.begun.store(n, Ordering::SeqCst);
                nap(50);
            }
            Err(error) => panic!("life {life}, record {n}: {error}"),
        }
    }
}

/// Appends one record, or a batch; false: it was dropped.
fn put(
    producer: &mut Producer,
    kind: Kind,
    life: u32,
    n: u32,
    time: Option<Duration>,
) -> Result<bool, ClaimError> {
    let half = || reach(Point::PayloadHalf);
    let len = length(life, n);
    let whole = |n: u32| {
        let mut bytes = vec![0; length(life, n)];
        fill(&mut bytes, life, n, || ());
        bytes
    };
    match kind {
        Kind::Push | Kind::AfterAbort | Kind::AfterLeak => {
            if kind != Kind::Push {
                let mut given_up = producer.claim_timeout(len / 2, time.unwrap_or(PATIENCE))?;
                given_up.fill(0xab);
                if kind == Kind::AfterLeak { std::mem::forget(given_up) } else { drop(given_up) }
            }
            match time {
                Some(time) => producer.push_timeout(&whole(n), time)?,
                None => producer.push(&whole(n))?,
            };
        }
        Kind::InPlace | Kind::Shorter => {
            let longer = if kind == Kind::Shorter { len + 32 + (n % 100) as usize } else { len };
            let mut claim = match time {
                Some(time) => producer.claim_timeout(longer, time)?,
                None => producer.claim(longer)?,
            };
            fill(&mut claim, life, n, half);
            claim.commit_len(len);
        }
        Kind::Batch => {
            let records = [whole(n), whole(n + 1), whole(n + 2)];
            let bytes = records.iter().map(Vec::len).sum::<usize>() + 64;
            let mut batch = match time {
                // There is no waiting one with a time.
                Some(_) => producer.try_batch(BATCH as usize, bytes)?,
                None => producer.batch(BATCH as usize, bytes)?,
            };
            for record in &records {
                batch.push(record).unwrap();
            }
            batch.commit();
        }
        Kind::Try => {
            let bytes = whole(n);
            let start = Instant::now();
            loop {
                match producer.try_push(&bytes) {
                    Err(ClaimError::Full { .. }) if time.is_none_or(|time| start.elapsed() < time) => nap(50),
                    other => return other.map(|_| true),
                }
            }
        }
        Kind::Offer => return Ok(producer.offer(&whole(n))?.is_some()),
    }
    Ok(true)
}

#[derive(Debug)]
struct Reading<'a> {
    base: Base<'a>,
    consumer: Option<Consumer>,
    ledger: Ledger,
}

impl<'a> Reading<'a> {
    fn new(base: Base<'a>) -> Self {
        let (consumer, ledger) = attach(base.oracle, base.ring, base.role).unwrap();
        Self { base, consumer: Some(consumer), ledger }
    }

    fn run(mut self) {
        let (oracle, member) = (self.base.oracle, self.base.member());
        member.attached.store(1, Ordering::SeqCst);
        let (mut beat, mut pauses) = (0u64, false);
        loop {
            let heard = oracle.bell();
            if let Some(deed) = member.ordered(self.base.role) {
                member.set_pause(None);
                if deed.task == Task::Finish {
                    return;
                }
                self.perform(deed);
                member.finish();
                continue;
            }
            let gates = oracle.gates();
            // Who pauses goes on pausing, whatever comes into the ring: else it would reap what another one is to reap.
            pauses = gates & CONSUMERS_PAUSE != 0
                && (pauses || gates & PRODUCERS_PAUSE == 0 || self.has_read_all());
            member.set_pause(pauses.then_some(gates));
            if pauses {
                oracle.wait_for_bell(heard);
                continue;
            }
            beat += 1;
            let look = self.look(if beat % 5 == 0 { Duration::ZERO } else { LOOK });
            if look == Look::Closed {
                nap(100);
            }
            match beat % 64 {
                7 => self.consumer.as_mut().unwrap().release(),
                // Something to be delivered again, should it die soon.
                60 => nap(200),
                _ => {}
            }
            // Slow at times, so that the ring is full at times.
            if self.base.role == Role::C1 && now_ns() >> 21 & 15 == 0 {
                nap(100);
            }
        }
    }

    fn look(&mut self, wait: Duration) -> Look {
        self.ledger.look(self.consumer.as_mut().unwrap(), wait)
    }

    /// One look when it seems so: a claim that was given up may be in the way.
    fn has_read_all(&mut self) -> bool {
        let is_at_the_end = self.consumer.as_ref().unwrap().lag_bytes() == 0;
        is_at_the_end && self.look(Duration::ZERO) != Look::Record
    }

    fn perform(&mut self, deed: Deed) {
        let base = self.base;
        if deed.task != Task::Return && deed.task != Task::Leave {
            base.arm(deed);
        }
        match deed.task {
            Task::Read | Task::Wait => base.until_hit(|| {
                self.look(LOOK);
            }),
            Task::Return | Task::Leave => {
                if deed.task == Task::Leave {
                    base.arm(deed);
                }
                drop(self.consumer.take());
                if deed.task == Task::Return {
                    if deed.point == Point::JoinMoves || deed.nth > 1 {
                        base.stay_away();
                    }
                    base.arm(deed);
                }
                let (consumer, ledger) = attach(base.oracle, base.ring, base.role).unwrap();
                (self.consumer, self.ledger) = (Some(consumer), ledger);
            }
            _ => assert!(base.does(deed), "no task of a consumer: {deed:?}"),
        }
        disarm();
    }
}
