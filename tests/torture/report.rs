//! Report: what was counted, and how it is printed.
//!
//! (I1) a point with fewer kills than were asked for is a failure, like any violation.

use crate::kinds::{Deed, Role};
use crate::plan::World;
use shm_ring::killpoints::Point;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

/// Events that are shown when something went wrong.
const LAST: usize = 10;

/// A kill or a stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    world: usize,
    role: Role,
    stops: bool,
    deed: Option<Deed>,
}

impl Event {
    pub(crate) fn by_choice(world: &World, deed: Deed) -> Self {
        Self { world: world.number, role: deed.role, stops: deed.stops, deed: Some(deed) }
    }

    pub(crate) fn at_random(world: &World, role: Role, stops: bool) -> Self {
        Self { world: world.number, role, stops, deed: None }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.stops { "stopped" } else { "killed" };
        write!(f, "world {}: {:?} {verb}", self.world, self.role)?;
        match self.deed {
            Some(Deed { task, point, nth, .. }) => write!(f, " at {point:?}, time {nth}, while {task:?}"),
            None => write!(f, " at random"),
        }
    }
}

/// What a time was measured from and with whom.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recovery {
    /// From a kill, among the survivors alone.
    Alone,
    /// From a kill, with the next one in place of the dead; or from the opening of the gates.
    Replaced,
    /// From SIGCONT.
    Continued,
}

/// All that was counted.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Kills and stops by choice.
    points: HashMap<Point, (u64, u64)>,
    pub(crate) random_kills: u64,
    random_stops: u64,
    /// Of those at random: everybody at the end of a world.
    pub(crate) extinct: u64,
    pub(crate) retries: u64,
    pub(crate) lives: u64,
    pub(crate) records: u64,
    pub(crate) in_flight: u64,
    pub(crate) delivered: u64,
    pub(crate) redelivered: u64,
    pub(crate) gaps: u64,
    pub(crate) lost: u64,
    pub(crate) shared: u64,
    pub(crate) adopted: u64,
    pub(crate) repeated: u64,
    pub(crate) dropped: u64,
    /// From the end of a kill or a stop to the next record.
    recoveries_ns: [Vec<u64>; 3],
    /// The longest of them, and what came before it.
    slowest: (u64, Vec<Event>),
    last: VecDeque<Event>,
}

impl Totals {
    pub(crate) fn happened(&mut self, event: Event) {
        match event.deed {
            Some(deed) => {
                let (kills, stops) = self.points.entry(deed.point).or_default();
                *(if event.stops { stops } else { kills }) += 1;
            }
            None if event.stops => self.random_stops += 1,
            None => self.random_kills += 1,
        }
        self.last.push_back(event);
        if self.last.len() > LAST {
            self.last.pop_front();
        }
    }

    /// Somebody went on after so long.
    pub(crate) fn took(&mut self, recovery: Recovery, ns: u64) {
        self.recoveries_ns[recovery as usize].push(ns);
        if ns > self.slowest.0 {
            self.slowest = (ns, self.last.iter().rev().take(4).copied().collect());
        }
    }

    pub(crate) fn kills_by_choice(&self) -> u64 {
        self.points.values().map(|(kills, _)| kills).sum()
    }

    /// The oldest first.
    pub(crate) fn last_events(&self) -> impl Iterator<Item = &Event> {
        self.last.iter()
    }

    /// Points that were not killed at often enough.
    pub(crate) fn rare(&self, min: u64) -> Vec<Point> {
        let kills = |point: &Point| self.points.get(point).map_or(0, |(kills, _)| *kills);
        Point::ALL.iter().copied().filter(|point| kills(point) < min).collect()
    }

    pub(crate) fn print(&mut self, seed: u64, digest: u64, took: Duration) {
        println!("{:<18} {:>7} {:>7}", "point", "kills", "stops");
        for point in Point::ALL {
            let (kills, stops) = self.points.get(point).copied().unwrap_or_default();
            println!("{:<18} {kills:>7} {stops:>7}", format!("{point:?}"));
        }
        let stops: u64 = self.points.values().map(|(_, stops)| stops).sum();
        println!(
            "kills: {} by choice, {} at random ({} of them everybody at once), {} in all",
            self.kills_by_choice(),
            self.random_kills,
            self.extinct,
            self.kills_by_choice() + self.random_kills
        );
        println!("stops: {stops} by choice, {} at random; retries: {}", self.random_stops, self.retries);
        println!(
            "records: {} committed in {} lives, {} more were in flight at a death and arrived",
            self.records, self.lives, self.in_flight
        );
        println!(
            "delivered: {} to two consumers, and {} again after a death; {} times one was lapped while away",
            self.delivered, self.redelivered, self.gaps
        );
        println!(
            "to the group's members: {}, and {} again from the dead, {} after everybody was gone",
            self.shared, self.adopted, self.repeated
        );
        println!("lost claims: {}; dropped for want of room, and told: {}", self.lost, self.dropped);
        let titles = [
            "kill to next record, survivors alone",
            "kill or gate to next record, replaced",
            "SIGCONT to next record",
        ];
        for (what, of) in titles.into_iter().zip(&mut self.recoveries_ns) {
            of.sort_unstable();
            let at = |part: usize| {
                of.get((of.len() * part / 1000).min(of.len().wrapping_sub(1))).unwrap_or(&0) / 1000
            };
            println!(
                "{what}: p50 {} us, p99 {} us, max {} us ({} times)",
                at(500),
                at(990),
                at(1000),
                of.len()
            );
        }
        let (slowest_ns, events) = &self.slowest;
        println!("the slowest, {} us, came after:", slowest_ns / 1000);
        events.iter().for_each(|event| println!("  {event}"));
        println!("seed {seed}, digest {digest:016x}, {:.1} s", took.as_secs_f64());
    }
}
