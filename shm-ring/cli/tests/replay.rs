//! Replay: many sources as one stream, in time, into a ring, and steered from a terminal, which is left as it was.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::history::{START_NS, Was, log, messages, shown, sorted, times};
use common::{Done, PATIENCE, Rig, content, objects, signal, wait_until};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SECOND_NS: u64 = 1_000_000_000;

/// Two logs with many times in common.
fn two(rig: &Rig) -> Vec<Was> {
    sorted(&[log(rig, "a", &times(1, 400, 2)), log(rig, "b", &times(2, 600, 1))])
}

// Goal: everything is replayed in the order of a merge, at any speed and from and to any time, in every format. Method: two logs against a
// stable sort.
#[test]
fn a_replay_hands_out_what_a_merge_does() {
    let rig = Rig::new();
    let all = two(&rig);
    assert!(shown(&rig.ok(["replay", "a", "b", "--speed", "max", "-o", "json"])) == all);
    assert!(rig.ok(["replay", "a", "b", "--speed", "1x", "-o", "raw"]) == messages(&all));
    assert!(rig.ok(["replay", "a", "b", "--sleep", "--lag", "1ms", "-o", "raw"]) == messages(&all));
    assert_eq!(rig.ok(["replay", "a", "b"]), rig.ok(["merge", "a", "b"]));
    let at = all[500].timestamp_ns;
    let time = format!("{}.{:09}", at / SECOND_NS, at % SECOND_NS);
    let (before, behind): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|was| was.timestamp_ns < at);
    assert!(rig.ok(["replay", "a", "b", "-o", "raw", "--to", &time]) == messages(&before));
    assert!(rig.ok(["replay", "a", "b", "-o", "raw", "--from", &time]) == messages(&behind));
    let of_a: Vec<_> = all.iter().filter(|was| was.source == "a").cloned().collect();
    assert!(rig.ok(["replay", "a", "b", "-o", "raw", "-g", "^a"]) == messages(&of_a));
    let done = rig.run(["replay", "missing", "a", "-o", "raw", "--speed", "max"]);
    assert!((done.code, &done.out) == (3, &messages(&of_a)), "{done:?}");
    for wrong in [
        &["replay"][..],
        &["replay", "a", "--speed", "0x"],
        &["replay", "a", "--speed", "step"],
        &["replay", "a", "--spin", "--sleep"],
        &["replay", "a", "b", "--ring", "app.ring"],
        &["replay", "a", "--lag", "never"],
    ] {
        assert_eq!(rig.run(wrong).code, 2, "{wrong:?}");
    }
}

// Goal: records come when they are due, and are on stdout then. Method: twenty records in two seconds, ten times as fast, each with the time at which its line is read.
#[test]
fn records_come_when_they_are_due() {
    let rig = Rig::new();
    let steps: Vec<u64> = (0..20).map(|n| START_NS + n * SECOND_NS / 10).collect();
    log(&rig, "a", &steps);
    for how in ["--spin", "--sleep"] {
        let mut child = rig.start(["replay", "a", "--speed", "10x", "-o", "raw", how]);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut first = None;
        for (n, line) in (0u32..).zip(lines) {
            assert_eq!(line.unwrap(), format!("a {n}"));
            let first = first.get_or_insert_with(Instant::now);
            let (due, at) = (Duration::from_millis(10) * n, first.elapsed());
            // Not before; the first line may have been read late.
            assert!(at + Duration::from_millis(8) >= due && at < due + PATIENCE, "{n}: {at:?}");
        }
        assert!(first.unwrap().elapsed() >= Duration::from_millis(180));
        assert_eq!(Done::of(child).code, 0);
    }
}

// Goal: --into puts every record into the ring, in order, with level and kind, so that readers see what they would see live; a ring that is not
// there is not made. Method: records of a ring with levels and tags, recorded, replayed into a second ring, and shown from both.
#[test]
fn a_replay_into_a_ring_looks_live() {
    let rig = Rig::with_ring("256KiB");
    for (level, tag) in [("err", "web"), ("debug", "db")] {
        let lines = common::numbers(1..=300);
        assert_eq!(
            rig.run_with(["push", "app.ring", "--level", level, "--tag", tag], lines.as_bytes()).code,
            0
        );
    }
    rig.ok(["record", "app.ring", "logs", "--drain", "--segment", "256KiB"]);
    let done = rig.run(["replay", "logs", "--into", "second.ring"]);
    assert!(done.code == 3 && done.err.contains("shm-ring create"), "{done:?}");
    assert!(!rig.path("second.ring").exists());
    rig.ok(["create", "second.ring", "--capacity", "256KiB"]);
    assert_eq!(rig.ok(["replay", "logs", "--into", "second.ring", "--speed", "max"]), "");
    let (first, second) =
        (rig.objects(), objects(&rig.ok(["tail", "second.ring", "--oldest", "-o", "json"])));
    assert_eq!(second.len(), 600);
    for key in ["kind", "level", "pid", "stream", "tag", "message"] {
        assert!(
            first.iter().map(|object| &object[key]).eq(second.iter().map(|object| &object[key])),
            "{key}"
        );
    }
    // Both, and a small ring that is emptied meanwhile.
    rig.ok(["create", "small.ring", "--capacity", "64KiB"]);
    rig.ok(["tail", "small.ring", "--consumer", "c", "--durable", "--count", "0", "--oldest"]);
    let reader = rig.start(["tail", "small.ring", "-f", "--consumer", "c", "--count", "600", "-o", "raw"]);
    let shown = rig.ok(["replay", "logs", "--into", "small.ring", "--speed", "max", "-o", "raw"]);
    assert_eq!((Done::of(reader).out, shown.lines().count()), (shown, 600));
}

// Goal: a signal ends a replay in order, also while it waits for a record or for room in a ring. Method: a record that is due in an hour;
// a full ring that nobody reads.
#[test]
fn a_signal_ends_a_replay_in_order() {
    let rig = Rig::new();
    log(&rig, "a", &[START_NS, START_NS + 3600 * SECOND_NS]);
    for how in [Signal::SIGINT, Signal::SIGTERM] {
        let mut child = rig.start(["replay", "a", "-o", "raw"]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "a 0");
        signal(&child, how);
        let done = Done::of(child);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{how}");
        assert!(lines.next().is_none());
    }
    log(&rig, "b", &times(1, 20_000, 1));
    rig.ok(["create", "app.ring", "--capacity", "64KiB"]);
    rig.hold();
    let child = rig.start(["replay", "b", "--into", "app.ring", "--speed", "max"]);
    wait_until("it is full", || {
        let n = rig.messages().len();
        std::thread::sleep(Duration::from_millis(100));
        n > 1_000 && rig.messages().len() == n
    });
    signal(&child, Signal::SIGTERM);
    let done = Done::of(child);
    assert_eq!(done.code, 5, "{done:?}");
}

/// A replay on a terminal of its own.
struct Played {
    child: Child,
    master: File,
    slave: OwnedFd,
    /// What it has written to stderr.
    seen: Arc<Mutex<Vec<u8>>>,
    before: Termios,
    out: std::path::PathBuf,
}

impl Played {
    fn start(rig: &Rig, args: &[&str]) -> Self {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let out = rig.path("out");
        let mut command = rig.tool(["replay"].iter().chain(args));
        command
            .stdin(slave.try_clone().unwrap())
            .stdout(File::create(&out).unwrap())
            .stderr(slave.try_clone().unwrap());
        let before = tcgetattr(&slave).unwrap();
        let child = command.spawn().unwrap();
        let (mut reader, seen) = (File::from(master.try_clone().unwrap()), Arc::<Mutex<Vec<u8>>>::default());
        let all = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut piece) {
                all.lock().unwrap().extend_from_slice(&piece[..n]);
            }
        });
        let this = Self { child, master: master.into(), slave, seen, before, out };
        wait_until("it takes keys", || !this.is_as_it_was());
        this
    }

    fn press(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    /// Messages so far.
    fn lines(&self) -> Vec<String> {
        String::from_utf8(content(&self.out)).unwrap().lines().map(str::to_owned).collect()
    }

    /// How many messages there are when there have been no more for a while.
    fn still(&self) -> usize {
        let mut n = (self.lines().len(), Instant::now());
        let start = Instant::now();
        while n.1.elapsed() < Duration::from_millis(300) {
            assert!(start.elapsed() < PATIENCE, "it does not hold");
            std::thread::sleep(Duration::from_millis(10));
            let now = self.lines().len();
            if now != n.0 {
                n = (now, Instant::now());
            }
        }
        n.0
    }

    fn wait_for(&self, text: &str) {
        let is_seen = || String::from_utf8_lossy(&self.seen.lock().unwrap()).contains(text);
        wait_until(&format!("{text:?} is seen"), is_seen);
    }

    fn is_as_it_was(&self) -> bool {
        let now = tcgetattr(&self.slave).unwrap();
        let is_same = now == self.before;
        let wanted = LocalFlags::ICANON | LocalFlags::ECHO;
        assert!(
            is_same || !now.local_flags.intersects(wanted) && now.local_flags.contains(LocalFlags::ISIG),
            "{now:?}"
        );
        assert_eq!((now.output_flags, now.input_flags), (self.before.output_flags, self.before.input_flags));
        is_same
    }

    /// Waits for the end; its code.
    fn end(mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(self.is_as_it_was(), "the terminal is not as it was");
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ten records a second, for 1,000 s.
fn ticks(rig: &Rig) {
    let ticks: Vec<u64> = (0..10_000).map(|n| START_NS + n * SECOND_NS / 10).collect();
    log(rig, "ticks", &ticks);
}

fn number(line: &str) -> u64 {
    line.strip_prefix("ticks ").unwrap().parse().unwrap()
}

// Goal: keys pause, go on, step, seek, change the speed and end a replay, what it is at is seen, and the terminal is left as it was. Method: a
// replay of a quarter of an hour on a pseudo terminal, and each key.
#[test]
fn keys_steer_a_replay() {
    let rig = Rig::new();
    ticks(&rig);
    let mut played = Played::start(&rig, &["ticks", "-o", "raw"]);
    wait_until("it plays", || played.lines().len() >= 2);
    played.press(b" ");
    played.wait_for("1x, paused");
    let held = played.still();
    assert!(held < 1_000);
    // Ahead by 10 s twice and by 1 min, back by 10 s; the seeks add up.
    let last = number(&played.lines()[held - 1]);
    played.press(b"\x1b[C\x1b[C\x1b[1;2C\x1b[D");
    played.press(b".");
    wait_until("a step", || played.lines().len() == held + 1);
    assert_eq!(number(&played.lines()[held]), last + 700);
    played.press(b"n\x1b");
    wait_until("a step", || played.lines().len() == held + 2);
    assert_eq!(number(&played.lines()[held + 1]), last + 701);
    // In two pieces: back again.
    std::thread::sleep(Duration::from_millis(20));
    played.press(b"[1;2D.");
    wait_until("a step", || played.lines().len() == held + 3);
    assert_eq!(number(&played.lines()[held + 2]), last + 101);
    assert_eq!(played.still(), held + 3);
    played.press(b"++++");
    played.wait_for("16x, paused");
    played.press(b" ");
    let began = (played.lines().len(), Instant::now());
    wait_until("it plays on", || played.lines().len() >= began.0 + 160);
    assert!(began.1.elapsed() >= Duration::from_millis(900), "faster than 16x");
    let lines = played.lines();
    assert!(lines[held + 2..].windows(2).all(|pair| number(&pair[0]) + 1 == number(&pair[1])));
    played.press(b"-");
    played.wait_for(" 8x");
    played.press(b"q");
    assert_eq!(played.end(), 0);
}

// Goal: --speed step shows a record for each key and no other; space lets it go on. Method: three steps, then space.
#[test]
fn a_replay_in_steps_shows_a_record_for_each_key() {
    let rig = Rig::new();
    ticks(&rig);
    let mut played = Played::start(&rig, &["ticks", "-o", "raw", "--speed", "step"]);
    assert_eq!(played.still(), 0);
    for n in 1..=3 {
        played.press(b".");
        wait_until("a step", || played.lines().len() == n);
    }
    assert_eq!(played.still(), 3);
    played.press(b" ");
    wait_until("it goes on", || played.lines().len() >= 5);
    played.press(b"q");
    assert_eq!(played.end(), 0);
}

// Goal: however a replay ends or is stopped, the terminal is as it was, and it has the keys again when it goes on. Method: each signal; a stop
// and its end; the other side of the terminal hung up.
#[test]
fn the_terminal_is_left_as_it_was() {
    let rig = Rig::new();
    ticks(&rig);
    let state = |played: &Played| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", played.child.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    for (how, code) in
        [(Signal::SIGINT, 0), (Signal::SIGTERM, 0), (Signal::SIGHUP, 0), (Signal::SIGQUIT, 131)]
    {
        let played = Played::start(&rig, &["ticks", "-o", "raw"]);
        signal(&played.child, how);
        assert_eq!(played.end(), code, "{how}");
    }
    let mut played = Played::start(&rig, &["ticks", "-o", "raw"]);
    signal(&played.child, Signal::SIGTSTP);
    wait_until("it stops", || state(&played) == 'T');
    assert!(played.is_as_it_was());
    let held = played.lines().len();
    signal(&played.child, Signal::SIGCONT);
    wait_until("it takes keys", || !played.is_as_it_was());
    wait_until("it plays on", || played.lines().len() > held);
    // A shell may have changed it meanwhile.
    signal(&played.child, Signal::SIGSTOP);
    wait_until("it stops", || state(&played) == 'T');
    tcsetattr(&played.slave, SetArg::TCSANOW, &played.before).unwrap();
    signal(&played.child, Signal::SIGCONT);
    wait_until("it takes keys", || !played.is_as_it_was());
    played.press(b"q");
    assert_eq!(played.end(), 0);
}

// Goal: without keys, nothing is done to a terminal: with stdout a pipe, whose reader may want the keys. Method: a pager that is none.
#[test]
fn a_pagers_keys_are_left_to_it() {
    let rig = Rig::new();
    log(&rig, "a", &[START_NS, START_NS + 3600 * SECOND_NS]);
    let OpenptyResult { master: _master, slave } = openpty(None, None).unwrap();
    let before = tcgetattr(&slave).unwrap();
    let mut command = rig.tool(["replay", "a", "-o", "raw"]);
    let mut child = command
        .stdin(slave.try_clone().unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "a 0");
    assert!(tcgetattr(&slave).unwrap() == before);
    signal(&child, Signal::SIGTERM);
    assert_eq!(Done::of(child).code, 0);
}
