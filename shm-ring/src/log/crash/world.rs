//! World: a log in random use, on a medium that may crash at any call, and the judgement of what the crashes leave.
//!
//! ```text
//!   use: create | append | sync | helper's turn | roll | cursor | close or kill, open again | collect | repair --> points
//!   point --> images --> judge: open in another boot --> found = promised? --> append, sync, open again: the same and the new ones
//!                                  `--> points of its own --> images --> judge, to a depth
//! ```
//!
//! (I1) a world is its seed; (I2) a panic of the log is a violation, as is an error where the promise is that it opens.
//! Knows the log through subject.rs only.

use super::images::Images;
use super::medium::{Call, Faults, Lie, Simulated};
use super::points::{Point, Points};
use super::promises::{Cut, Promises};
use super::random::Random;
use super::remains::Remains;
use super::subject::{
    Failure, Settings, Subject, load_cursor, read_all, repair, save_cursor, seek_all, verify,
};
use super::walk::{self, Found};
use crate::map::medium::Medium;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Crashes of recoveries of crashes of recoveries are looked at so far down.
const DEPTH_MAX: usize = 2;

/// What is to be tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) lie: Lie,
    /// Whether calls fail.
    pub(super) has_faults: bool,
    /// At most so many points of the use, and so many images of each.
    pub(super) n_points: usize,
    pub(super) n_images: usize,
}

/// What was tried.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) n_worlds: usize,
    pub(super) n_points_seen: usize,
    pub(super) n_points: usize,
    pub(super) n_images: usize,
    /// Of these, of crashes during or behind a recovery.
    pub(super) n_nested: usize,
    pub(super) n_records: usize,
    pub(super) n_failed_calls: usize,
    pub(super) violations: Vec<String>,
}

impl Outcome {
    pub(super) fn add(&mut self, other: Self) {
        self.n_worlds += other.n_worlds;
        self.n_points_seen += other.n_points_seen;
        self.n_points += other.n_points;
        self.n_images += other.n_images;
        self.n_nested += other.n_nested;
        self.n_records += other.n_records;
        self.n_failed_calls += other.n_failed_calls;
        self.violations.extend(other.violations);
    }
}

/// Uses a log, and judges what crashes leave of it. Ends at the first violation.
pub(super) fn run(plan: Plan) -> Outcome {
    let mut random = Random::new(plan.seed);
    let settings = Settings::draw(&mut random);
    let promises = Promises { boot: 1, keep_bytes: settings.keep_bytes, ..Promises::default() };
    let points = Points::new(promises, random.next(), 1, 12);
    let medium = Simulated::new(Remains::default(), Some(points.witness()), Lie::Honest);
    let mut outcome = Outcome { n_worlds: 1, ..Outcome::default() };
    let story = || format!("seed {} {settings:?} {:?}", plan.seed, plan.lie);
    let (has_faults, lie) = (plan.has_faults, plan.lie);
    let users = Random::new(random.next());
    let used = catch_unwind(AssertUnwindSafe(|| {
        let mut user = User { medium: medium.clone(), points: points.clone(), random: users, settings };
        user.use_log(has_faults, lie)
    }));
    let wrong = match used {
        Ok(Ok(())) => None,
        Ok(Err(wrong)) => Some(wrong),
        Err(panic) => Some(format!("panicked: {}", words_of(&*panic))),
    };
    if let Some(wrong) = wrong {
        let trace = medium.trace().join("\n    ");
        outcome.violations.push(format!("{}\n  in use: {wrong}\n    {trace}", story()));
    }
    outcome.n_failed_calls = medium.n_failed();
    outcome.n_points_seen = points.n_seen();
    outcome.n_records = points.promises().appended.len();
    let mut chosen = points.take();
    while chosen.len() > plan.n_points {
        // Steps are many and much alike: they go first.
        let at = random.below(chosen.len());
        if chosen[at].call == Call::Step || random.one_in(4) {
            chosen.swap_remove(at);
        }
    }
    outcome.n_points = chosen.len();
    for point in &chosen {
        if !outcome.violations.is_empty() {
            break;
        }
        let before = medium.trace();
        let judge = Judge { settings, depth: 0 };
        if let Err(wrong) = judge.point(point, plan.n_images, &mut random, &mut outcome) {
            let until = before.iter().take_while(|line| {
                line.split(' ')
                    .next()
                    .and_then(|n| n.parse().ok())
                    .is_none_or(|n: u64| n <= point.remains.now)
            });
            let trace = until.cloned().collect::<Vec<_>>().join("\n    ");
            outcome.violations.push(format!("{}\n  {wrong}\n    {trace}", story()));
        }
    }
    outcome
}

/// Who uses the log.
struct User {
    medium: Simulated,
    points: Arc<Points<Promises>>,
    random: Random,
    settings: Settings,
}

impl User {
    fn use_log(&mut self, has_faults: bool, lie: Lie) -> Result<(), String> {
        // CURRENT is written once, and hardly ever again.
        self.medium.set_lie(if lie == Lie::Current { lie } else { Lie::Honest });
        let mut subject =
            Subject::create(&self.medium, &self.settings, 1).map_err(|why| format!("create: {why:?}"))?;
        self.points.promises().is_created = true;
        self.medium.set_lie(lie);
        if has_faults {
            let faults = Faults { random: Random::new(self.random.next()), one_in: 40, n_left: 3 };
            self.medium.set_faults(Some(faults));
        }
        for _ in 0..20 + self.random.below(60) {
            match self.act(subject)? {
                Some(same) => subject = same,
                None => return Ok(()),
            }
        }
        self.medium.set_faults(None);
        // What a crash at the very end leaves is seen by one more call.
        if self.random.one_in(2) {
            subject.close();
        } else {
            drop(subject);
        }
        drop(walk::records(&self.medium));
        let _ = Medium::sync_names(&self.medium);
        Ok(())
    }

    /// Does something; `None`: the log can't be used any more, as is its right.
    fn act(&mut self, mut subject: Subject) -> Result<Option<Subject>, String> {
        let done = match self.random.below(22) {
            0..=11 => self.append(&mut subject),
            12 | 13 => subject.turn(),
            14 | 15 => subject.sync(),
            16 => subject.roll(),
            17 => self.save_cursor(&subject),
            18 => return self.power_cut(subject).map(Some),
            19 => return self.collect(subject),
            20 if self.random.one_in(3) => return self.lose_manifest(subject),
            _ => return self.open_again(subject),
        };
        self.points.promises().reach(subject.durable());
        match done {
            Ok(()) | Err(Failure::NoSpace) => Ok(Some(subject)),
            // Final for this appender.
            Err(_) if self.medium.n_failed() > 0 => self.open_again(subject),
            Err(why) => Err(format!("{why:?} where nothing has failed")),
        }
    }

    fn append(&mut self, subject: &mut Subject) -> Result<(), Failure> {
        append(subject, &self.points, &mut self.random)?;
        if self.random.one_in(3) { subject.wait() } else { Ok(()) }
    }

    fn save_cursor(&mut self, subject: &Subject) -> Result<(), Failure> {
        let places = self.points.promises().appended.clone();
        let position = match self.random.below(places.len() + 1) {
            n if n < places.len() => places[n].place.map_or(0, |(position, _)| position),
            _ => subject.end(),
        };
        self.points.promises().cursors.push(position);
        save_cursor(&self.medium, position)?;
        let mut promises = self.points.promises();
        (promises.cursors, promises.is_cursor_saved) = (vec![position], true);
        Ok(())
    }

    /// The machine goes down, and comes up with what is left.
    fn power_cut(&mut self, subject: Subject) -> Result<Subject, String> {
        drop(subject);
        let faults = self.medium.set_faults(None);
        let remains = self.medium.remains();
        let (image, report) = Images::new(&remains).take(1, &mut self.random).swap_remove(0);
        self.medium.restart(image, report);
        let boot = {
            let mut promises = self.points.promises();
            (promises.boot, promises.is_cut) = (promises.boot + 1, true);
            promises.boot
        };
        let subject =
            Subject::open(&self.medium, &self.settings, boot).map_err(|why| format!("restart: {why:?}"))?;
        let found = look(&self.medium, &mut self.points.promises())?;
        let mut promises = self.points.promises();
        promises.check(&found, Cut::Power).map_err(|wrong| format!("restarted: {wrong}"))?;
        promises.keep_for_good(&found)?;
        drop(promises);
        self.medium.set_faults(faults);
        Ok(subject)
    }

    fn open_again(&mut self, subject: Subject) -> Result<Option<Subject>, String> {
        if self.random.one_in(2) {
            subject.close();
        } else {
            drop(subject);
        }
        self.open_anew()
    }

    /// Somebody lets go of the oldest while nobody appends.
    fn collect(&mut self, subject: Subject) -> Result<Option<Subject>, String> {
        drop(subject);
        let keep_bytes = self.random.next() % (150 << 10);
        self.points.promises().retire_to(keep_bytes);
        let settings = Settings { keep_bytes: Some(keep_bytes), ..self.settings };
        let boot = self.points.promises().boot;
        match Subject::open(&self.medium, &settings, boot).and_then(Subject::collect) {
            Ok(end) => self.points.promises().reach(end),
            Err(Failure::NoSpace) => {}
            Err(_) if self.medium.n_failed() > 0 => {}
            Err(why) => return Err(format!("collect: {why:?}")),
        }
        self.open_anew()
    }

    /// Somebody removes CURRENT of a log that has ended in order, and it is repaired.
    fn lose_manifest(&mut self, subject: Subject) -> Result<Option<Subject>, String> {
        drop(subject);
        let faults = self.medium.set_faults(None);
        let boot = self.points.promises().boot;
        let settings = Settings { keep_bytes: None, ..self.settings };
        let ended = Subject::open(&self.medium, &settings, boot).and_then(Subject::collect);
        self.points.promises().reach(ended.map_err(|why| format!("end: {why:?}"))?);
        let failed = |why| format!("lose CURRENT: {why}");
        // What was retired is not to come back.
        Medium::sync_names(&self.medium).map_err(failed)?;
        self.points.promises().is_broken = true;
        Medium::remove(&self.medium, "CURRENT").map_err(failed)?;
        if !repair(&self.medium, boot)? {
            return Err("there was nothing to repair".into());
        }
        let opened = self.open_anew();
        self.points.promises().is_broken = false;
        self.medium.set_faults(faults);
        opened
    }

    fn open_anew(&mut self) -> Result<Option<Subject>, String> {
        let boot = self.points.promises().boot;
        for _ in 0..5 {
            match Subject::open(&self.medium, &self.settings, boot) {
                Ok(subject) => {
                    let found = look(&self.medium, &mut self.points.promises())?;
                    let mut promises = self.points.promises();
                    promises.check(&found, Cut::Kill).map_err(|wrong| format!("opened again: {wrong}"))?;
                    promises.keep(&found)?;
                    drop(promises);
                    return Ok(Some(subject));
                }
                Err(_) if self.medium.n_failed() > 0 => {}
                Err(why) => return Err(format!("open again: {why:?}")),
            }
        }
        self.medium.set_faults(None);
        match Subject::open(&self.medium, &self.settings, boot) {
            Ok(_) => Ok(None),
            Err(why) => Err(format!("open again, with all calls working: {why:?}")),
        }
    }
}

/// Who says whether promises are kept.
#[derive(Clone, Copy)]
struct Judge {
    settings: Settings,
    depth: usize,
}

impl Judge {
    fn point(
        self,
        point: &Point<Promises>,
        n_images: usize,
        random: &mut Random,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let kind = if self.depth == 0 { "of the use" } else { "of a recovery" };
        let mut left = vec![];
        if self.depth == 0 {
            // Files as they are, synced or not: the process is gone, the kernel is not.
            left.push((point.remains.clone(), Cut::Kill, "everything".to_owned()));
        }
        let images = Images::new(&point.remains).take(n_images, random);
        left.extend(images.into_iter().map(|(image, report)| (image, Cut::Power, report)));
        for (image, cut, report) in left {
            outcome.n_images += 1;
            outcome.n_nested += usize::from(self.depth > 0);
            let names: Vec<_> = image.names.keys().cloned().collect();
            let judged =
                catch_unwind(AssertUnwindSafe(|| self.rest((image, cut), &point.promises, random, outcome)));
            let wrong = match judged {
                Ok(Ok(())) => continue,
                Ok(Err(wrong)) => wrong,
                Err(panic) => format!("panicked: {}", words_of(&*panic)),
            };
            let files: Vec<_> = point.remains.names.iter().collect();
            return Err(format!(
                "{wrong}\n  {cut:?} {kind} before {:?} at {}, left: {report}\n  files {files:?}, left {names:?}",
                point.call, point.remains.now
            ));
        }
        Ok(())
    }

    /// Judges what is left, and then what crashes leave of that, while and after it is recovered.
    fn rest(
        self,
        (left, cut): (Remains, Cut),
        promises: &Promises,
        random: &mut Random,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let nests = self.depth < DEPTH_MAX && random.one_in(12);
        let calls_one_in = if nests { 2 } else { usize::MAX };
        let boot = promises.boot + u64::from(cut == Cut::Power);
        let points = Points::new(Promises { boot, ..promises.clone() }, random.next(), calls_one_in, 20);
        let medium = Simulated::new(left, nests.then(|| points.witness()), Lie::Honest);
        let judged = self.reopen(&medium, cut, &points, random);
        let with_trace = |wrong| format!("{wrong}\n  then, in boot {boot}: {}", medium.trace().join("; "));
        judged.map_err(with_trace)?;
        let mut chosen = points.take();
        while chosen.len() > 5 {
            chosen.swap_remove(random.below(chosen.len()));
        }
        let judge = Self { depth: self.depth + 1, ..self };
        outcome.n_points += chosen.len();
        for point in &chosen {
            judge.point(point, 3, random, outcome).map_err(with_trace)?;
        }
        Ok(())
    }

    /// Opens it, looks, appends, and looks again.
    fn reopen(
        self,
        medium: &Simulated,
        cut: Cut,
        points: &Points<Promises>,
        random: &mut Random,
    ) -> Result<(), String> {
        let (boot, is_created, is_broken) = {
            let promises = points.promises();
            (promises.boot, promises.is_created, promises.is_broken)
        };
        if is_broken {
            repair(medium, boot)?;
        }
        if is_created {
            let not_recovered = |wrong| format!("not recovered: {wrong}");
            let found = read_all(medium, boot).map_err(not_recovered)?;
            points.promises().check_unrecovered(&found).map_err(not_recovered)?;
            seek_all(medium, boot, &found, random).map_err(not_recovered)?;
            verify(medium, boot).map_err(not_recovered)?;
        }
        let opened = if is_created {
            Subject::open(medium, &self.settings, boot)
        } else {
            Subject::open_or_create(medium, &self.settings, boot)
        };
        let mut subject = opened.map_err(|why| format!("open: {why:?}"))?;
        points.promises().is_broken = false;
        let found = look(medium, &mut points.promises())?;
        points.promises().check(&found, cut)?;
        match cut {
            Cut::Power => points.promises().keep_for_good(&found)?,
            Cut::Kill => points.promises().keep(&found)?,
        }
        let least = points.promises().cursors.iter().copied().max().unwrap_or(0);
        if subject.end() < least {
            return Err(format!("goes on at {}, and a cursor was saved at {least}", subject.end()));
        }
        for _ in 0..1 + random.below(3) {
            append(&mut subject, points, random).map_err(|why| format!("append: {why:?}"))?;
            if random.one_in(3) {
                subject.turn().map_err(|why| format!("turn: {why:?}"))?;
            }
        }
        if random.one_in(2) {
            subject.sync().map_err(|why| format!("sync: {why:?}"))?;
            let mut promises = points.promises();
            promises.reach(subject.durable());
            if promises.n_durable < promises.appended.len() {
                return Err("what was synced is not below the watermark".into());
            }
        }
        if random.one_in(2) {
            subject.close();
        } else {
            drop(subject);
        }
        let subject =
            Subject::open(medium, &self.settings, boot).map_err(|why| format!("open twice: {why:?}"))?;
        let found = look(medium, &mut points.promises())?;
        points.promises().check(&found, Cut::Kill).map_err(|wrong| format!("opened twice: {wrong}"))?;
        points.promises().keep(&found)?;
        points.promises().reach(subject.durable());
        Ok(())
    }
}

/// What is there, by both readers; the cursor, and the verdict of `verify`.
fn look(medium: &Simulated, promises: &mut Promises) -> Result<Vec<Found>, String> {
    let found = walk::records(medium)?;
    let read = read_all(medium, promises.boot)?;
    if read != found {
        let places = |found: &[Found]| found.iter().map(|found| found.position).collect::<Vec<_>>();
        return Err(format!("the reader finds {:?}, there are {:?}", places(&read), places(&found)));
    }
    verify(medium, promises.boot)?;
    promises.check_cursor(load_cursor(medium)?)?;
    Ok(found)
}

/// Appends a record, or a few at once.
fn append(subject: &mut Subject, points: &Points<Promises>, random: &mut Random) -> Result<(), Failure> {
    let n_records = if random.one_in(4) { 2 + random.below(3) } else { 1 };
    let records: Vec<_> = (0..n_records).map(|_| draw_record(random)).collect();
    records.iter().for_each(|(payload, time)| points.promises().begin(payload.clone(), *time));
    let appended = subject.append(&records);
    let mut promises = points.promises();
    match appended {
        Ok(places) => promises.end(&places),
        Err(why) => {
            promises.give_up();
            return Err(why);
        }
    }
    Ok(())
}

/// A payload, and a time that no other record has.
fn draw_record(random: &mut Random) -> (Vec<u8>, u64) {
    let length = match random.below(10) {
        0 => 0,
        1..=4 => random.below(200),
        5..=7 => random.below(5000),
        _ => random.below(16 << 10),
    };
    (random.bytes(length), random.next() >> 1)
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something")
}
