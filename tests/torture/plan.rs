//! Plan: who dies where, in which order: a function of the seed and of nothing else.
//!
//! ```text
//!   seed -> worlds -> episodes:  Choice   one member comes by its point, all others play on
//!                                Chain    all pause; one dies, its reaper dies at X, that one's reaper at Y, ...
//!                                Beside   a dead producer, a living one and a reaper, at one and the same place
//!                                Random   members die or are stopped after a random time, wherever they are
//! ```
//!
//! (I1) every point has its scenario, or this does not compile; (I2) in a chain a reaper is only sent to a point that what is left
//! makes it come by; (I3) the digest covers what was chosen: role, task, point, number, signal.
//! Runs nothing.

use crate::chain::{band, chain};
use crate::kinds::{Deed, Kind, Role, Task};
use crate::payload::mix;
use shm_ring::killpoints::Point;

/// A small generator of random numbers (splitmix64 of a counter).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        (mix(self.0) % n as u64) as usize
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// True once in `n`.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// One ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) capacity_bytes: u64,
    pub(crate) metadata: bool,
    pub(crate) single_producer: bool,
    pub(crate) anonymous: bool,
    /// The seed's choice.
    pub(crate) durable_group: bool,
}

/// What there is, to choose with `--world`.
pub(crate) const SHAPES: [Shape; 8] = [
    shape(16, true, false, false),
    shape(64, false, false, false),
    shape(16, true, false, true),
    shape(16, false, true, false),
    shape(64, true, true, true),
    shape(64, true, true, false),
    shape(16, false, false, true),
    shape(16, false, false, false),
];

const fn shape(kib: u64, metadata: bool, single_producer: bool, anonymous: bool) -> Shape {
    Shape { capacity_bytes: kib << 10, metadata, single_producer, anonymous, durable_group: false }
}

impl Shape {
    /// The members that play on such a ring.
    pub(crate) fn cast(self) -> &'static [Role] {
        if self.single_producer { &[Role::P0, Role::C0, Role::C1, Role::G0, Role::G1] } else { &Role::ALL }
    }

    pub(crate) fn producers(self) -> &'static [Role] {
        if self.single_producer { &Role::PRODUCERS[..1] } else { &Role::PRODUCERS }
    }
}

/// What happens before the next look at whether everybody goes on.
#[derive(Clone, Debug)]
pub(crate) enum Episode {
    /// With these gates closed. `alone`: the survivors have to go on before the dead one is replaced.
    Choice { deed: Deed, gates: u32, alone: bool },
    /// With these gates closed.
    Chain { deeds: Vec<Deed>, gates: u32 },
    /// With all gates closed: a producer that lost the race for a place is dead, and the one that won it is stopped before it says so. A
    /// reaper has looked; now the owner commits and dies, or is still stopped when the reaper goes on.
    Beside { deeds: [Deed; 3], owner_dies: bool },
    /// After so many microseconds; stopped for so many, or killed.
    Random { victims: Vec<Role>, after_us: u64, stop_us: u64 },
}

impl Episode {
    pub(crate) fn kills(&self) -> usize {
        let by_choice = self.deeds().iter().filter(|deed| !deed.stops).count();
        by_choice
            + match self {
                Self::Beside { owner_dies, .. } => usize::from(*owner_dies),
                Self::Random { victims, stop_us: 0, .. } => victims.len(),
                _ => 0,
            }
    }

    pub(crate) fn deeds(&self) -> &[Deed] {
        match self {
            Self::Choice { deed, .. } => std::slice::from_ref(deed),
            Self::Chain { deeds, .. } => deeds,
            Self::Beside { deeds, .. } => deeds,
            Self::Random { .. } => &[],
        }
    }
}

/// One ring and what is done to those who play on it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) number: usize,
    pub(crate) shape: Shape,
    pub(crate) seed: u64,
    pub(crate) episodes: Vec<Episode>,
    /// Everybody is killed at once in the end, instead of leaving.
    pub(crate) extinct: bool,
}

/// Kills of one world: its lives fit the oracle many times over.
const KILLS_A_WORLD: usize = 2500;

/// All worlds: `kills` in all, at least `min_per_point` at each point. `only`: all in this shape.
pub(crate) fn plan(seed: u64, kills: usize, min_per_point: usize, only: Option<usize>) -> Vec<World> {
    let mut random = Random::new(seed);
    let n_worlds =
        kills.div_ceil(KILLS_A_WORLD).max(if only.is_some() { 1 } else { SHAPES.len().min(kills) });
    let mut worlds: Vec<World> = (0..n_worlds)
        .map(|number| World {
            number,
            shape: Shape {
                durable_group: (mix(seed) >> 7).wrapping_add(number as u64).is_multiple_of(2),
                ..SHAPES[only.unwrap_or(number % SHAPES.len())]
            },
            seed: mix(seed ^ (number as u64) << 32),
            episodes: Vec::new(),
            extinct: random.once_in(2),
        })
        .collect();
    let mut planned = 0;
    for point in Point::ALL {
        let able: Vec<usize> = (0..n_worlds).filter(|n| is_possible(*point, worlds[*n].shape)).collect();
        let first = random.below(able.len().max(1));
        for n in 0..if able.is_empty() { 0 } else { min_per_point } {
            let world = &mut worlds[able[(first + n) % able.len()]];
            let episode = at_point(&mut random, world.shape, *point, false);
            planned += episode.kills();
            world.episodes.push(episode);
        }
    }
    for world in worlds.iter_mut().filter(|world| !world.shape.single_producer) {
        for _ in 0..min_per_point.min(6) {
            let episode = beside(&mut random, world.shape);
            planned += episode.kills();
            world.episodes.push(episode);
        }
    }
    let share = kills.saturating_sub(planned);
    for world in &mut worlds {
        let mut done = 0;
        while done < share.div_ceil(n_worlds) && planned < kills {
            let episode = any(&mut random, world.shape);
            (done, planned) = (done + episode.kills(), planned + episode.kills());
            world.episodes.push(episode);
        }
        // Fisher and Yates.
        for n in (1..world.episodes.len()).rev() {
            world.episodes.swap(n, random.below(n + 1));
        }
    }
    worlds
}

/// Stands for all that was chosen.
pub(crate) fn digest(worlds: &[World]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |number: u64| {
        for byte in number.to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (world, episode) in worlds.iter().flat_map(|world| world.episodes.iter().map(move |e| (world, e))) {
        take(world.number as u64 | u64::from(world.extinct) << 32);
        for deed in episode.deeds() {
            [deed.role as u64, deed.task.encode(), deed.point as u64, deed.nth, deed.stops.into()]
                .into_iter()
                .for_each(&mut take);
        }
        if let Episode::Beside { owner_dies, .. } = episode {
            take((*owner_dies).into());
        }
        if let Episode::Random { victims, after_us, stop_us } = episode {
            victims.iter().for_each(|role| take(*role as u64));
            take(*after_us);
            take(*stop_us);
        }
    }
    hash
}

fn is_possible(point: Point, shape: Shape) -> bool {
    match point {
        Point::ClaimSequence => shape.metadata,
        // A durable one is never taken apart.
        Point::GroupResume | Point::GroupDisbanded => !shape.durable_group,
        _ => true,
    }
}

/// An episode of any kind: half of them at a random time, some of them stops.
fn any(random: &mut Random, shape: Shape) -> Episode {
    if random.once_in(2) {
        let first = random.one_of(shape.cast());
        let second = random.one_of(shape.cast());
        let both = random.once_in(6) && first != second;
        let victims = if both { vec![first, second] } else { vec![first] };
        let stop_us = if random.once_in(6) { 300 + random.below(4000) as u64 } else { 0 };
        return Episode::Random { victims, after_us: random.below(1500) as u64, stop_us };
    }
    if !shape.single_producer && random.once_in(20) {
        return beside(random, shape);
    }
    loop {
        let point = random.one_of(Point::ALL);
        if is_possible(point, shape) {
            let stops = random.once_in(8);
            return at_point(random, shape, point, stops);
        }
    }
}

/// See [`Episode::Beside`].
fn beside(random: &mut Random, shape: Shape) -> Episode {
    let deed = |role, task, point, stops| Deed { role, task, point, nth: 1, stops };
    let task = if shape.anonymous || random.once_in(2) { Task::Wait } else { Task::Open };
    let push = Task::Append(Some(Kind::Push));
    let [loser, owner] = if random.once_in(2) { [Role::P0, Role::P1] } else { [Role::P1, Role::P0] };
    Episode::Beside {
        deeds: [
            deed(loser, push, Point::ClaimIntent, false),
            deed(owner, push, Point::ClaimTail, true),
            deed(random.one_of(&Role::CONSUMERS), task, Point::ReapLooked, true),
        ],
        owner_dies: random.once_in(2),
    }
}

/// How a victim is made to come by a point.
#[derive(Clone, Copy, Debug)]
enum Scenario {
    /// A producer that appends: in one of these kinds, up to so many times before the one that counts.
    Append(&'static [Kind], usize),
    /// A producer whose commits find somebody asleep.
    Wake,
    /// A consumer without records, or a producer without room.
    Sleep,
    Read,
    /// A producer, or a consumer, that attaches.
    ProducerReturns,
    ConsumerReturns,
    EitherReturns,
    OldName,
    NewName,
    ProducerLeaves,
    ConsumerLeaves,
    /// Somebody dies; the victim reaps.
    Reap,
    /// A member that takes records.
    Share,
    /// A member that attaches.
    MemberReturns,
    NewGroup,
    /// Members die; the victim reaps, adopts, or goes on.
    Band,
}

/// Every point's scenario; a new point does not compile without one.
fn scenario(point: Point) -> Scenario {
    use Kind::{AfterAbort, AfterLeak, Batch, InPlace, Offer, Push, Shorter, Try};
    match point {
        Point::ClaimLength
        | Point::ClaimIntent
        | Point::ClaimTail
        | Point::ClaimSequence
        | Point::CommitCounted => Scenario::Append(&Kind::ALL, 8),
        // The limit is computed anew about once a lap.
        Point::LimitIntent | Point::LimitGranted | Point::LimitChecked => {
            Scenario::Append(&[Push, InPlace, Batch, Try, Offer], 2)
        }
        Point::MarkWord | Point::MarkSealed | Point::CommitStored => {
            Scenario::Append(&[InPlace, Shorter, Batch, AfterAbort, AfterLeak], 6)
        }
        Point::PayloadHalf => Scenario::Append(&[InPlace, Shorter], 6),
        Point::PayloadDone | Point::PublishWord | Point::PublishSealed => {
            Scenario::Append(&[Push, Try, Offer], 8)
        }
        Point::InsideWord | Point::InsideSealed => Scenario::Append(&[Batch, Shorter], 6),
        Point::Abort => Scenario::Append(&[AfterAbort, AfterLeak], 4),
        Point::WakeCounted | Point::WakeDone => Scenario::Wake,
        Point::SleepBit | Point::SleepFence | Point::SleepLooked | Point::SleepOver => Scenario::Sleep,
        Point::ReleaseKept | Point::ReleasePublished => Scenario::Read,
        Point::JoinStored => Scenario::ConsumerReturns,
        Point::JoinMoves => Scenario::OldName,
        Point::AttachLocked => Scenario::EitherReturns,
        Point::AttachReaped | Point::AttachMarked | Point::AttachHigh => Scenario::ProducerReturns,
        Point::NameHalf | Point::NameStored | Point::NameHigh => Scenario::NewName,
        Point::LeaveIdle | Point::LeaveMarked | Point::LeaveUnlocked => Scenario::ProducerLeaves,
        Point::LeaveResume | Point::LeavePosition => Scenario::ConsumerLeaves,
        Point::ReapRepair
        | Point::ReapProved
        | Point::ReapLooked
        | Point::ReapLost
        | Point::ReapHoleWord
        | Point::ReapHoleSealed
        | Point::ReapCounted
        | Point::ReapIdle
        | Point::ReapGeneration
        | Point::ReapMarked
        | Point::ReapResume
        | Point::ReapPosition
        | Point::ReapDone => Scenario::Reap,
        Point::GapTold => Scenario::Append(&[Offer], 3),
        Point::GroupIntent | Point::GroupTaken | Point::GroupReleased => Scenario::Share,
        Point::GroupMember => Scenario::MemberReturns,
        Point::GroupJoined => Scenario::NewGroup,
        Point::GroupAdopted
        | Point::GroupOrphan
        | Point::GroupFreed
        | Point::GroupNameless
        | Point::GroupUnmarked
        | Point::GroupResume
        | Point::GroupDisbanded => Scenario::Band,
    }
}

fn at_point(random: &mut Random, shape: Shape, point: Point, stops: bool) -> Episode {
    use crate::oracle::{CONSUMERS_PAUSE, MEMBERS_PAUSE, PRODUCERS_PAUSE};
    let producer = random.one_of(shape.producers());
    let consumer = random.one_of(&Role::CONSUMERS);
    let member = random.one_of(&Role::MEMBERS);
    let anybody = random.one_of(shape.cast());
    let deed = |role, task, nth| Deed { role, task, point, nth, stops };
    let (deed, gates) = match scenario(point) {
        Scenario::Append(kinds, nth_max) => {
            let kind = if kinds.len() == Kind::ALL.len() { None } else { Some(random.one_of(kinds)) };
            (deed(producer, Task::Append(kind), 1 + random.below(nth_max) as u64), 0)
        }
        Scenario::Wake => (deed(producer, Task::AppendSlowly, 1 + random.below(2) as u64), PRODUCERS_PAUSE),
        Scenario::Sleep => {
            let nth = 1 + random.below(3) as u64;
            match random.once_in(2) {
                true => (deed(random.one_of(&Role::READERS), Task::Wait, nth), PRODUCERS_PAUSE),
                false => (deed(producer, Task::Wait, nth), PRODUCERS_PAUSE | CONSUMERS_PAUSE),
            }
        }
        Scenario::Read => (deed(consumer, Task::Read, 1 + random.below(8) as u64), 0),
        Scenario::ProducerReturns => (deed(producer, Task::Return, 1), 0),
        // The second time: lapped while it was away.
        Scenario::ConsumerReturns if random.once_in(2) => (deed(Role::C1, Task::Return, 2), 0),
        Scenario::ConsumerReturns => (deed(consumer, Task::Return, 1), 0),
        Scenario::OldName if random.once_in(2) => (deed(Role::C1, Task::Return, 1), 0),
        Scenario::EitherReturns => (deed(anybody, Task::Return, 1), 0),
        // Nobody is lapped while the durable consumer is away, or the only producer.
        Scenario::OldName => (deed(random.one_of(&[Role::C1, Role::G0, Role::G1]), Task::OldName, 1), 0),
        Scenario::NewName => (deed(anybody, Task::NewName, 1), 0),
        Scenario::ProducerLeaves => (deed(producer, Task::Leave, 1), 0),
        Scenario::ConsumerLeaves => (deed(consumer, Task::Leave, 1), 0),
        Scenario::Share => (deed(member, Task::Read, 1 + random.below(8) as u64), 0),
        Scenario::MemberReturns if random.once_in(2) => (deed(anybody, Task::NewGroup, 1), 0),
        Scenario::MemberReturns => (deed(member, Task::Return, 1), 0),
        Scenario::NewGroup if shape.durable_group || random.once_in(2) => {
            (deed(anybody, Task::NewGroup, 1), 0)
        }
        Scenario::Band
            if matches!(point, Point::GroupFreed | Point::GroupNameless | Point::GroupUnmarked)
                && random.once_in(2) =>
        {
            (deed(member, Task::Leave, 1), 0)
        }
        Scenario::Band | Scenario::NewGroup => {
            let gates = MEMBERS_PAUSE | PRODUCERS_PAUSE | CONSUMERS_PAUSE;
            return Episode::Chain { deeds: band(random, shape, point, stops), gates };
        }
        Scenario::Reap => {
            let gates = PRODUCERS_PAUSE | CONSUMERS_PAUSE;
            return Episode::Chain { deeds: chain(random, shape, point, stops), gates };
        }
    };
    // Without the only producer nothing comes, and without the durable consumer there is no room.
    let others = deed.role != Role::C0 && !(shape.single_producer && deed.role.is_producer());
    Episode::Choice { deed, gates, alone: gates == 0 && others && random.once_in(2) }
}
