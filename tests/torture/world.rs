//! World: one ring, its cast, and the driver that kills, stops, replaces and watches them.
//!
//! ```text
//!   fork the cast -> episode: order | wait | signal -> the end of the victim is seen -> the survivors go on? -> replace it -> ...
//!     -> everybody leaves, or is killed -> the books are compared, every slot and name is taken once more
//! ```
//!
//! (I1) the driver attaches to nothing before the last fork, so that no child has a lock of its; (I2) it has one thread; (I3) it signals
//! only processes that it forked and has not yet waited for.
//! Chooses nothing: the plan does.

use crate::cast::{OLD_NAME, Place, Stage, play};
use crate::kinds::{Deed, Role, Task};
use crate::oracle::{CONSUMERS_PAUSE, MEMBERS_PAUSE, Oracle, PRODUCERS_PAUSE, nap, now_ns};
use crate::plan::{Episode, Random, Shape, World};
use crate::report::{Event, Recovery, Totals};
use nix::libc;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use shm_ring::killpoints::Point;
use shm_ring::{ConsumerOptions, Ring, RingOptions, Start, Wait};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Nobody waits longer for the next record, and nobody for a victim to come by.
pub(crate) const BOUND: Duration = Duration::from_secs(10);
/// Few, so that names that were lapped give theirs away.
const CONSUMER_SLOTS: u16 = 16;
/// With a durable group all of them could be taken, with nobody left to make room: names and groups without end need more.
const MANY_SLOTS: u16 = 1024;

/// Why a run has failed.
pub(crate) type Violation = String;

/// The driver's side of a world.
#[derive(Debug)]
pub(crate) struct Stand<'a> {
    pub(crate) world: &'a World,
    pub(crate) oracle: &'static Oracle,
    pub(crate) stage: Stage,
    pub(crate) totals: &'a mut Totals,
    cast: [Option<Pid>; 6],
    /// Those who were signalled, and whose end or stop is still to be seen.
    signalled: Vec<Role>,
    /// Producers that were killed: an upper bound for lost claims.
    pub(crate) producer_kills: u64,
    /// Claims that may be lost without being counted, because their reapers died before that.
    pub(crate) uncounted_max: u64,
    /// How long everybody plays before the next episode.
    pauses: Random,
}

impl<'a> Stand<'a> {
    /// Makes the ring and lets everybody in.
    pub(crate) fn new(
        world: &'a World,
        oracle: &'static Oracle,
        directory: &Path,
        totals: &'a mut Totals,
    ) -> Result<Self, Violation> {
        oracle.clear();
        let Shape { capacity_bytes, metadata, single_producer, anonymous, durable_group } = world.shape;
        // As many producer slots as producers: whoever comes next gets the dead one's.
        let slots = u16::try_from(world.shape.producers().len()).unwrap();
        let mut random = Random::new(world.seed);
        let waits = [(); 6].map(|()| random.one_of(&[Wait::Block, Wait::Block, Wait::Adaptive]));
        let names = if durable_group { MANY_SLOTS } else { CONSUMER_SLOTS };
        let options = RingOptions::new().capacity(capacity_bytes).metadata(metadata);
        let options = options.producers_max(slots).consumers_max(names).wait(waits[0]);
        let options = if single_producer { options.single_producer() } else { options };
        let place = if anonymous {
            Place::Anonymous(options.anonymous().map_err(|e| e.to_string())?)
        } else {
            let path = directory.join("ring");
            options.create(&path).map_err(|e| e.to_string())?;
            Place::File(path)
        };
        let stage = Stage { oracle, place, waits, durable: durable_group };
        let cast = [None; 6];
        let mut this = Self {
            world,
            oracle,
            stage,
            totals,
            cast,
            signalled: vec![],
            producer_kills: 0,
            uncounted_max: 0,
            pauses: random,
        };
        // The readers first, one after the other: they begin at the beginning, the consumers in slots 0 and 1.
        for role in Role::READERS {
            this.enter(role)?;
            this.until("a consumer attaches", |this| {
                this.oracle.member(role).attached.load(Ordering::SeqCst) == 1
            })?;
        }
        // The name that is lapped before anybody comes back to it.
        this.alone(|stage| {
            let now = ConsumerOptions::new().start(Start::Now);
            drop(stage.open(Role::C0).unwrap().consumer_with(OLD_NAME, now).unwrap());
        })?;
        for role in world.shape.producers() {
            this.enter(*role)?;
        }
        Ok(this)
    }

    /// A child that does something and ends.
    fn alone(&self, work: impl FnOnce(&Stage)) -> Result<(), Violation> {
        let pid = self.fork(work)?;
        match waitpid(pid, None).map_err(|e| e.to_string())? {
            WaitStatus::Exited(_, 0) => Ok(()),
            status => Err(format!("{status:?}: {}", self.oracle.said().unwrap_or_default())),
        }
    }

    fn fork(&self, work: impl FnOnce(&Stage)) -> Result<Pid, Violation> {
        let parent = nix::unistd::getpid();
        // SAFETY:
        // - the driver has one thread, so no lock is held by a thread that the child lacks;
        // - the child leaves this function by `_exit` only.
        match unsafe { fork() }.map_err(|e| format!("fork: {e}"))? {
            ForkResult::Parent { child } => Ok(child),
            ForkResult::Child => {
                let oracle = self.oracle;
                std::panic::set_hook(Box::new(move |info| {
                    oracle.say(&format!("process {}: {info}", std::process::id()));
                }));
                let done = catch_unwind(AssertUnwindSafe(|| {
                    set_pdeathsig(Signal::SIGKILL).unwrap();
                    if getppid() == parent {
                        work(&self.stage);
                    }
                }));
                // SAFETY: no preconditions; destructors and exit handlers belong to the parent.
                unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) }
            }
        }
    }

    fn enter(&mut self, role: Role) -> Result<(), Violation> {
        if role.is_member() {
            self.oracle.hands.renew(role);
        }
        self.oracle.member(role).renew();
        self.cast[role.index()] = Some(self.fork(|stage| play(stage, role))?);
        Ok(())
    }

    /// Plays an episode, and sees everybody go on.
    pub(crate) fn play(&mut self, episode: &Episode) -> Result<(), Violation> {
        nap(self.pauses.below(1000) as u64);
        // Else names without end could take the slots that these two need.
        self.until("the group's members are attached", |this| {
            Role::MEMBERS.iter().all(|role| this.oracle.member(*role).attached.load(Ordering::SeqCst) == 1)
        })?;
        match episode {
            Episode::Choice { deed, gates, alone } => self.choice(*deed, *gates, *alone),
            Episode::Chain { deeds, gates } => self.chain(deeds, *gates),
            Episode::Beside { deeds, owner_dies } => self.beside(*deeds, *owner_dies),
            Episode::Random { victims, after_us, stop_us } => self.random(victims, *after_us, *stop_us),
        }
    }

    fn choice(&mut self, deed: Deed, gates: u32, alone: bool) -> Result<(), Violation> {
        self.close(gates)?;
        let hit_at_ns = self.carry_out(deed)?;
        if gates == 0 && alone && !deed.stops {
            self.see_all_go_on(hit_at_ns, true)?;
        }
        self.replace()?;
        if gates == 0 {
            return if alone && !deed.stops { Ok(()) } else { self.see_all_go_on(hit_at_ns, false) };
        }
        self.reopen()
    }

    fn chain(&mut self, deeds: &[Deed], gates: u32) -> Result<(), Violation> {
        self.close(gates)?;
        for deed in deeds {
            self.carry_out(*deed)?;
        }
        self.replace()?;
        self.reopen()
    }

    fn beside(&mut self, [loser, owner, reaper]: [Deed; 3], owner_dies: bool) -> Result<(), Violation> {
        self.close(PRODUCERS_PAUSE | CONSUMERS_PAUSE)?;
        self.stop_at(Deed { stops: true, ..loser })?;
        self.stop_at(owner)?;
        self.totals.happened(Event::by_choice(self.world, loser));
        self.kill_now(loser.role)?;
        self.totals.happened(Event::by_choice(self.world, owner));
        self.stop_at(reaper)?;
        self.totals.happened(Event::by_choice(self.world, reaper));
        if owner_dies {
            self.go_on(owner)?;
            self.totals.happened(Event::at_random(self.world, owner.role, false));
            self.kill_now(owner.role)?;
            self.go_on(reaper)?;
        } else {
            self.go_on(reaper)?;
            self.go_on(owner)?;
        }
        self.replace()?;
        self.reopen()
    }

    /// Orders it to come by its point, where it is stopped.
    fn stop_at(&mut self, deed: Deed) -> Result<(), Violation> {
        let member = self.oracle.member(deed.role);
        member.order(deed);
        self.oracle.ring_the_bell();
        self.wait_for(deed.role, true, &format!("{deed:?}"))
    }

    /// Lets one that was stopped go on, until it is done with what it was at.
    fn go_on(&mut self, deed: Deed) -> Result<(), Violation> {
        kill(self.pid(deed.role)?, Signal::SIGCONT).map_err(|e| e.to_string())?;
        self.until(&format!("{deed:?} goes on"), |this| this.oracle.member(deed.role).is_done())
    }

    fn random(&mut self, victims: &[Role], after_us: u64, stop_us: u64) -> Result<(), Violation> {
        nap(after_us);
        let signalled_ns = now_ns();
        for role in victims {
            let pid = self.pid(*role)?;
            let signal = if stop_us > 0 { Signal::SIGSTOP } else { Signal::SIGKILL };
            if stop_us == 0 {
                self.oracle.hands.doom(*role);
            }
            kill(pid, signal).map_err(|e| e.to_string())?;
            self.signalled.push(*role);
            self.totals.happened(Event::at_random(self.world, *role, stop_us > 0));
        }
        for role in victims {
            if stop_us > 0 {
                self.wait_for(*role, true, "a random stop")?;
            } else {
                self.wait_for(*role, false, "a random kill")?;
                self.has_died(*role, None);
            }
        }
        self.signalled.clear();
        if stop_us > 0 {
            nap(stop_us);
            let continued_ns = now_ns();
            for role in victims {
                kill(self.pid(*role)?, Signal::SIGCONT).map_err(|e| e.to_string())?;
            }
            return self.see_all_go_on_after_stop(continued_ns);
        }
        self.replace()?;
        self.see_all_go_on(signalled_ns, false)
    }

    /// Lets the victim come by its point; when that was.
    fn carry_out(&mut self, deed: Deed) -> Result<u64, Violation> {
        let member = self.oracle.member(deed.role);
        for attempt in 0..2 {
            member.order(deed);
            self.oracle.ring_the_bell();
            let what = format!("{deed:?}");
            let came = self.wait_for(deed.role, deed.stops, &what);
            if came.is_ok() && member.was_hit() {
                let hit_at_ns = member.hit_at_ns.load(Ordering::SeqCst);
                self.totals.happened(Event::by_choice(self.world, deed));
                if deed.stops {
                    // Nothing is taken from it meanwhile: it goes on with its slot and its claim, or says why not.
                    nap(500 + hit_at_ns % 2000);
                    self.go_on(deed)?;
                } else {
                    self.has_died(deed.role, Some(deed.point));
                }
                return Ok(hit_at_ns);
            }
            if attempt == 1 || self.oracle.said().is_some() {
                let why = self.oracle.said().unwrap_or_default();
                return Err(format!("the victim did not come by: {deed:?}, {:?}; {why}", came.err()));
            }
            self.totals.retries += 1;
            self.kill_now(deed.role)?;
            self.replace()?;
        }
        unreachable!("the second attempt returns")
    }

    fn has_died(&mut self, role: Role, point: Option<Point>) {
        self.cast[role.index()] = None;
        self.producer_kills += u64::from(role.is_producer());
        self.oracle.producer_deaths.store(self.producer_kills, Ordering::SeqCst);
        let is_before_the_count =
            point.is_none_or(|point| matches!(point, Point::ReapLost | Point::ReapHoleSealed));
        self.uncounted_max += u64::from(is_before_the_count);
    }

    fn kill_now(&mut self, role: Role) -> Result<(), Violation> {
        self.oracle.hands.doom(role);
        kill(self.pid(role)?, Signal::SIGKILL).map_err(|e| e.to_string())?;
        self.wait_for(role, false, "a kill")?;
        self.has_died(role, None);
        Ok(())
    }

    fn pid(&self, role: Role) -> Result<Pid, Violation> {
        self.cast[role.index()].ok_or_else(|| format!("{role:?} is not there"))
    }

    /// Waits until the member was killed, or stopped.
    fn wait_for(&mut self, role: Role, stops: bool, what: &str) -> Result<(), Violation> {
        let pid = self.pid(role)?;
        let start = Instant::now();
        loop {
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
            match waitpid(pid, Some(flags)).map_err(|e| e.to_string())? {
                WaitStatus::StillAlive => {}
                WaitStatus::Signaled(_, Signal::SIGKILL, _) if !stops => return Ok(()),
                WaitStatus::Stopped(_, Signal::SIGSTOP) if stops => return Ok(()),
                status => {
                    self.cast[role.index()] = None;
                    return Err(format!("{role:?}: {status:?}; {}", self.oracle.said().unwrap_or_default()));
                }
            }
            if start.elapsed() > BOUND {
                return Err(format!("{role:?} is still there after {BOUND:?}: {what}"));
            }
            self.see_nobody_end(Some(role))?;
            nap(20);
        }
    }

    /// Nobody ends unless it is killed.
    fn see_nobody_end(&mut self, but: Option<Role>) -> Result<(), Violation> {
        for role in Role::ALL {
            let is_awaited = Some(role) == but || self.signalled.contains(&role);
            let Some(pid) = self.cast[role.index()].filter(|_| !is_awaited) else { continue };
            let status = waitpid(pid, Some(WaitPidFlag::WNOHANG)).map_err(|e| e.to_string())?;
            if status != WaitStatus::StillAlive {
                self.cast[role.index()] = None;
                return Err(format!("{role:?}: {status:?}; {}", self.oracle.said().unwrap_or_default()));
            }
        }
        match self.oracle.said() {
            Some(said) => Err(said),
            None => Ok(()),
        }
    }

    /// Waits until something is so.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) -> Result<(), Violation> {
        let start = Instant::now();
        while !is_so(self) {
            self.see_nobody_end(None)?;
            if start.elapsed() > BOUND {
                return Err(format!("not within {BOUND:?}: {what}"));
            }
            nap(20);
        }
        Ok(())
    }

    /// Forks whoever is missing.
    fn replace(&mut self) -> Result<(), Violation> {
        for role in self.world.shape.cast() {
            if self.cast[role.index()].is_none() {
                self.enter(*role)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, gates: u32) -> Result<(), Violation> {
        // Members who pause in front of records first; then producers: those who wait for room need consumers.
        let mut closings = vec![];
        for part in [MEMBERS_PAUSE, PRODUCERS_PAUSE, CONSUMERS_PAUSE] {
            if gates & part == 0 {
                continue;
            }
            closings.push(self.oracle.gates() | part);
            self.oracle.set_gates(self.oracle.gates() | part);
            let roles = match part {
                PRODUCERS_PAUSE => self.world.shape.producers(),
                CONSUMERS_PAUSE => &Role::READERS[..],
                _ => &Role::MEMBERS[..],
            };
            self.until("everybody pauses", |this| {
                // Whoever paused at the first gate alone pauses at both a little later.
                let pauses = |role: &Role| closings.iter().any(|g| this.oracle.member(*role).pauses_at(*g));
                roles.iter().all(pauses)
            })?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), Violation> {
        let opened_ns = now_ns();
        self.oracle.set_gates(0);
        self.see_all_go_on(opened_ns, false)
    }

    /// A record that is begun from now on reaches the consumers that live, and the group, within the bound. `alone`: nobody came in place of the dead.
    fn see_all_go_on(&mut self, since_ns: u64, alone: bool) -> Result<(), Violation> {
        let took_ns = self.next_delivery(since_ns)?;
        self.totals.took(if alone { Recovery::Alone } else { Recovery::Replaced }, took_ns);
        Ok(())
    }

    fn see_all_go_on_after_stop(&mut self, since_ns: u64) -> Result<(), Violation> {
        let took_ns = self.next_delivery(since_ns)?;
        self.totals.took(Recovery::Continued, took_ns);
        Ok(())
    }

    fn next_delivery(&mut self, since_ns: u64) -> Result<u64, Violation> {
        let is_there = |role: &Role| self.cast[role.index()].is_some();
        let consumers = Role::CONSUMERS.iter().filter(|role| is_there(role)).map(|role| role.reader());
        let mut readers: Vec<usize> = consumers.collect();
        if Role::MEMBERS.iter().any(is_there) {
            // Whichever of them it is.
            readers.push(2);
        }
        self.oracle.watch.begin(self.oracle);
        let seen = |this: &Self| {
            readers.iter().map(|r| this.oracle.watch.seen_at_ns(*r)).collect::<Option<Vec<_>>>()
        };
        self.until("a record that was begun after the death, or after going on, is delivered", |this| {
            seen(this).is_some()
        })?;
        self.oracle.watch.end();
        let first = seen(self).unwrap_or_default().into_iter().min().unwrap_or(since_ns);
        Ok(first.saturating_sub(since_ns))
    }

    /// Everybody leaves, or is killed at once, with claims and frames open.
    pub(crate) fn end(&mut self) -> Result<(), Violation> {
        if self.world.extinct {
            self.signalled = self.world.shape.cast().to_vec();
            for role in self.world.shape.cast() {
                self.oracle.hands.doom(*role);
                kill(self.pid(*role)?, Signal::SIGKILL).map_err(|e| e.to_string())?;
            }
            for role in self.world.shape.cast() {
                self.wait_for(*role, false, "the end")?;
                self.has_died(*role, None);
                self.totals.happened(Event::at_random(self.world, *role, false));
                self.totals.extinct += 1;
            }
            return Ok(());
        }
        self.close(PRODUCERS_PAUSE | CONSUMERS_PAUSE)?;
        for role in self.world.shape.cast() {
            let finish = Deed { role: *role, task: Task::Finish, point: Point::ALL[0], nth: 1, stops: false };
            self.oracle.member(*role).order(finish);
            self.oracle.ring_the_bell();
            let pid = self.pid(*role)?;
            let start = Instant::now();
            loop {
                match waitpid(pid, Some(WaitPidFlag::WNOHANG)).map_err(|e| e.to_string())? {
                    WaitStatus::StillAlive if start.elapsed() < BOUND => nap(50),
                    WaitStatus::Exited(_, 0) => break,
                    status => return Err(format!("{role:?} did not leave: {status:?}")),
                }
            }
            self.cast[role.index()] = None;
        }
        Ok(())
    }

    /// The ring, for the driver: when nobody else is there.
    pub(crate) fn ring(&self) -> Result<Ring, Violation> {
        assert!(self.cast.iter().all(Option::is_none));
        self.stage.open(Role::C0).map_err(|e| e.to_string())
    }
}

impl Drop for Stand<'_> {
    fn drop(&mut self) {
        for pid in self.cast.iter().flatten() {
            // Each is this process's own child, and not yet waited for.
            let _ = kill(*pid, Signal::SIGKILL);
            let _ = waitpid(*pid, None);
        }
    }
}
