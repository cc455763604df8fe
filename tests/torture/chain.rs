//! Chain: a death, the reaper's death, that one's reaper's death: what is left after each, and so where the next one comes by.
//!
//! ```text
//!   Repair, Proved, [Lost | Looked, HoleWord, HoleSealed], Counted, Idle, Generation, Marked, [Resume, Position], Done
//!     a sweep passes them in this order, producers before consumers; a producer that attaches passes Repair and Lost to Marked
//! ```
//!
//! Of a group, with records in front of it (`band`):
//!
//! ```text
//!   a member dies [taken | in hand | released | intent], [the other one, too] -> reapers die at GroupOrphan, GroupResume -> the point
//! ```
//!
//! (I1) at most one producer is dead before the last reaper comes, so that the order in which a sweep finds the dead is known; (I2) nobody
//! else can reap meanwhile: the gates are closed.
//! Guarantees more than it needs: what may be left, and need not, is not counted on.

use crate::kinds::{Deed, Kind, Role, Task};
use crate::plan::{Random, Shape};
use shm_ring::killpoints::Point;

/// What a dead producer's claim looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    None,
    Marked,
    Unmarked,
}

/// What is to be reaped.
#[derive(Clone, Debug)]
struct Left {
    /// A dead producer, and its claim.
    producer: Option<Claim>,
    /// Dead consumers, and whether they still have a position; dead members, who have nothing in hand.
    consumers: Vec<(Role, bool)>,
    alive: Vec<Role>,
}

/// One who dies, then reapers who die, too; one of them at `point`, which may be a stop.
pub(crate) fn chain(random: &mut Random, shape: Shape, point: Point, stops: bool) -> Vec<Deed> {
    // Every draw that leads nowhere is repeated: the seed still decides.
    for _ in 0..10_000 {
        let (first, mut left) = first(random, shape);
        let mut deeds = vec![first];
        while deeds.len() < 4 {
            let wanted = if random.once_in(3) || deeds.len() == 3 { point } else { any_point(random) };
            let Some(deed) = reaper(random, shape, &left, wanted) else { break };
            let is_last = deed.role.is_producer() || wanted == point;
            let deed = Deed { stops: stops && wanted == point, ..deed };
            deeds.push(deed);
            if wanted == point && (stops || deed.role.is_producer() || random.once_in(2)) {
                return deeds;
            }
            left.after(deed);
            if wanted == point {
                // One more, who has to clean up after that one, too.
                let wanted = any_point(random);
                deeds.extend(reaper(random, shape, &left, wanted));
                return deeds;
            }
            if is_last {
                break;
            }
        }
    }
    unreachable!("no chain leads to {point:?} in {shape:?}")
}

/// Members who die, and somebody who comes by `point` because of it.
pub(crate) fn band(random: &mut Random, shape: Shape, point: Point, stops: bool) -> Vec<Deed> {
    let deed = |role, task, point| Deed { role, task, point, nth: 1, stops: false };
    let [first, second] = if random.once_in(2) { Role::MEMBERS } else { [Role::G1, Role::G0] };
    let everybody_goes = matches!(point, Point::GroupJoined | Point::GroupResume | Point::GroupDisbanded);
    let frees = matches!(point, Point::GroupFreed | Point::GroupNameless | Point::GroupUnmarked);
    // Only a member takes over what a dead one had; and the second one is there.
    let is_adopted =
        point == Point::GroupAdopted || (point == Point::GroupOrphan || frees) && random.once_in(3);
    let needs_orphan = is_adopted || point == Point::GroupOrphan;
    let in_hand = |random: &mut Random| match random.below(6) {
        // What is taken need not be a record, and only a record is adopted.
        _ if point == Point::GroupAdopted => Point::PayloadHalf,
        _ if needs_orphan => random.one_of(&[Point::GroupTaken, Point::GroupTaken, Point::PayloadHalf]),
        0 => Point::GroupIntent,
        1 => Point::GroupReleased,
        2 => Point::PayloadHalf,
        _ => Point::GroupTaken,
    };
    let mut deeds = vec![deed(first, Task::Read, in_hand(random))];
    let leaves = point != Point::GroupJoined && random.once_in(3);
    if everybody_goes && !leaves {
        deeds.push(deed(second, Task::Read, in_hand(random)));
    }
    let orphans =
        deeds.iter().filter(|deed| matches!(deed.point, Point::GroupTaken | Point::PayloadHalf)).count();
    let mut others: Vec<Role> = shape.cast().iter().copied().filter(|role| !role.is_member()).collect();
    let reap = |random: &mut Random, others: &mut Vec<Role>, point| {
        let role = others.swap_remove(random.below(others.len()));
        let mut tasks = vec![Task::Visit];
        if !shape.anonymous {
            tasks.push(Task::Open);
        }
        if role.is_producer() {
            tasks.push(Task::Wait);
        }
        deed(role, if point == Point::GroupJoined { Task::Visit } else { random.one_of(&tasks) }, point)
    };
    // Reapers who die on the way. What they leave does not keep the next one from coming by: once the group's place to go on is stored, all
    // the dead are buried; and who attaches has byte 0 from the beginning.
    let mut is_buried = false;
    for _ in 0..random.below(3).min(others.len() - 1) {
        let mut points = vec![];
        if orphans > 0 && !is_buried {
            points.extend([Point::GroupOrphan, Point::GroupOrphan]);
        }
        if matches!(point, Point::GroupResume | Point::GroupDisbanded) && !leaves {
            points.push(Point::GroupResume);
        }
        if points.is_empty() {
            break;
        }
        let point = random.one_of(&points);
        is_buried |= point == Point::GroupResume;
        deeds.push(reap(random, &mut others, point));
    }
    let last = match point {
        _ if is_adopted => deed(second, Task::Wait, point),
        _ if everybody_goes && leaves => deed(second, Task::Leave, point),
        // A group with a member keeps what its dead one had: what is freed is the visitor's own slot, or the dead one's without a record.
        _ if frees => deed(others[random.below(others.len())], Task::Visit, point),
        _ => reap(random, &mut others, point),
    };
    deeds.push(Deed { stops, ..last });
    deeds
}

const POINTS: [Point; 13] = [
    Point::ReapRepair,
    Point::ReapProved,
    Point::ReapLooked,
    Point::ReapLost,
    Point::ReapHoleWord,
    Point::ReapHoleSealed,
    Point::ReapCounted,
    Point::ReapIdle,
    Point::ReapGeneration,
    Point::ReapMarked,
    Point::ReapResume,
    Point::ReapPosition,
    Point::ReapDone,
];

fn any_point(random: &mut Random) -> Point {
    random.one_of(&POINTS)
}

/// Somebody who dies and leaves something.
fn first(random: &mut Random, shape: Shape) -> (Deed, Left) {
    let mut alive = shape.cast().to_vec();
    let (role, task, point, claim) = if random.once_in(3) {
        let points = [Point::SleepBit, Point::SleepFence, Point::SleepLooked];
        (random.one_of(&[Role::C1, Role::C1, Role::C0]), Task::Wait, random.one_of(&points), None)
    } else {
        let (kind, point, claim) = match random.below(3) {
            0 => {
                let points = [
                    (Kind::Push, Point::ClaimTail),
                    (Kind::Batch, Point::ClaimTail),
                    (Kind::Push, Point::PayloadDone),
                    (Kind::Push, Point::PublishWord),
                    (Kind::InPlace, Point::MarkWord),
                    (Kind::InPlace, Point::ClaimTail),
                ];
                let (kind, point) = random.one_of(&points);
                (kind, point, Claim::Unmarked)
            }
            1 => {
                let points = [
                    (Kind::InPlace, Point::MarkSealed),
                    (Kind::InPlace, Point::PayloadHalf),
                    (Kind::Shorter, Point::InsideWord),
                    (Kind::Batch, Point::InsideSealed),
                    (Kind::AfterAbort, Point::Abort),
                ];
                let (kind, point) = random.one_of(&points);
                (kind, point, Claim::Marked)
            }
            _ => {
                let points = [
                    (Kind::Push, Point::ClaimIntent),
                    (Kind::Push, Point::PublishSealed),
                    (Kind::InPlace, Point::CommitStored),
                    (Kind::Batch, Point::CommitCounted),
                ];
                let (kind, point) = random.one_of(&points);
                (kind, point, Claim::None)
            }
        };
        (random.one_of(shape.producers()), Task::Append(Some(kind)), point, Some(claim))
    };
    alive.retain(|other| *other != role);
    let consumers = if role.is_producer() { vec![] } else { vec![(role, true)] };
    (Deed { role, task, point, nth: 1, stops: false }, Left { producer: claim, consumers, alive })
}

/// Somebody who is made to come by that point, if what is left makes anybody.
fn reaper(random: &mut Random, shape: Shape, left: &Left, point: Point) -> Option<Deed> {
    let role = random.one_of(if left.alive.is_empty() { return None } else { &left.alive });
    let tasks = [Task::Open, Task::Wait, Task::TakeSlot, Task::TakeName];
    let possible: Vec<Task> =
        tasks.into_iter().filter(|task| left.leads_to(shape, role, *task, point)).collect();
    if possible.is_empty() {
        return None;
    }
    Some(Deed { role, task: random.one_of(&possible), point, nth: 1, stops: false })
}

impl Left {
    fn leads_to(&self, shape: Shape, role: Role, task: Task, point: Point) -> bool {
        let claim = self.producer.unwrap_or(Claim::None);
        let holds = |who: Option<Role>| {
            self.consumers.iter().any(|(role, position)| *position && who.is_none_or(|who| *role == who))
        };
        let of_producer = match point {
            Point::ReapLost => claim == Claim::Marked,
            Point::ReapLooked | Point::ReapHoleWord | Point::ReapHoleSealed => claim == Claim::Unmarked,
            Point::ReapCounted => claim != Claim::None,
            Point::ReapIdle | Point::ReapGeneration | Point::ReapMarked => self.producer.is_some(),
            _ => false,
        };
        let sweeps = match point {
            Point::ReapRepair | Point::ReapProved | Point::ReapDone => {
                self.producer.is_some() || !self.consumers.is_empty()
            }
            Point::ReapResume => holds(None),
            Point::ReapPosition => holds(Some(Role::C1)),
            _ => of_producer,
        };
        match task {
            // It sweeps whatever there is.
            Task::Open => !shape.anonymous && sweeps,
            // A claim is in its way; or, for a producer, everything that the dead hold.
            Task::Wait if role.is_producer() => sweeps,
            Task::Wait => claim != Claim::None && sweeps,
            // The only slot that is free is the dead one's.
            Task::TakeSlot => self.producer.is_some() && (point == Point::ReapRepair || of_producer),
            Task::TakeName => {
                let is_dead = self.consumers.iter().any(|(role, _)| *role == Role::C1);
                let passes =
                    matches!(point, Point::ReapResume | Point::ReapPosition) && holds(Some(Role::C1));
                is_dead && (point == Point::ReapRepair || passes)
            }
            _ => false,
        }
    }

    /// After that reaper's death.
    fn after(&mut self, deed: Deed) {
        let sweeps = matches!(deed.task, Task::Open | Task::Wait);
        match deed.point {
            Point::ReapLost
            | Point::ReapHoleSealed
            | Point::ReapCounted
            | Point::ReapIdle
            | Point::ReapGeneration => {
                self.producer = self.producer.map(|_| Claim::None);
            }
            Point::ReapMarked => self.producer = None,
            Point::ReapResume if sweeps => self.producer = None,
            Point::ReapPosition => {
                if sweeps {
                    self.producer = None;
                    self.consumers.retain(|(role, _)| *role == Role::C1);
                }
                self.consumers.iter_mut().for_each(|(role, position)| *position &= *role != Role::C1);
            }
            Point::ReapDone => {
                self.producer = None;
                self.consumers.clear();
            }
            _ => {}
        }
        self.alive.retain(|role| *role != deed.role);
        if !deed.role.is_producer() {
            self.consumers.push((deed.role, !deed.role.is_member()));
        }
    }
}
