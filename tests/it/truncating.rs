//! Truncating: with the feature `guard`, a file that is cut while it is mapped ends in an error, and other signals stay what they were.
//!
//! ```text
//!   test                              another process: `victim`, as `kind`
//!   ----                              ------------------------------------
//!   a ring, full of records     -->   opens it, works; "ready"
//!   set_len(cut)                      load or store meets a page that is gone
//!                               <--   the error that it got; ends with success
//! ```

use crate::harness::{Actor, PATIENCE, Script, alone, directory, fork, leave, listen, run, say};
use crate::records::{check_bytes, record};
use nix::libc;
use shm_ring::{ClaimError, ConsumerOptions, Error, PollError, Ring, RingOptions, Start, Wait};
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

const CAPACITY: u64 = 64 << 10;
/// With header and metadata 1024 bytes: records end where the ring ends.
const LEN: usize = 992;
const RECORDS: u64 = CAPACITY / 1024;

/// Where a file of `whole` bytes is cut: everything, all but the header, at and inside pages of the data, inside the last page.
fn cuts(whole: u64) -> [u64; 6] {
    let middle = whole - CAPACITY / 2;
    [0, 4096, 12_288, middle, middle + 100, whole - 100]
}

/// A ring full of records, its tables used by somebody before.
fn make(path: &Path, options: RingOptions) -> u64 {
    let ring = options.capacity(CAPACITY).create(path).unwrap();
    let mut producer = ring.producer().unwrap();
    for n in 0..RECORDS {
        producer.push(&record(0, n, LEN)).unwrap();
    }
    std::fs::metadata(path).unwrap().len()
}

fn cut(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Cuts a ring at every kind of place while another process is at work in it as `kind`, which must say `expected` and end well.
fn each_cut(kind: &'static str, is_asleep: bool, expected: &str) {
    let directory = directory();
    let whole = make(&directory.path().join("length"), RingOptions::new());
    // What producers write into the last page reaches everybody, whatever the length says: only waiting asks for it.
    let is_moving = matches!(kind, "push" | "push alone" | "claim" | "batch" | "stream");
    for (n, len) in cuts(whole).into_iter().enumerate().take(if is_moving { 5 } else { 6 }) {
        let path = directory.path().join(format!("{n}"));
        let options = RingOptions::new();
        make(&path, if kind == "push alone" { options.single_producer() } else { options });
        let (shown, data) = (path.display(), whole - CAPACITY);
        // The record that the cut goes through, or the first one.
        let at = len.saturating_sub(data) / 1024 * 1024;
        let mut victim =
            Actor::start("truncating::victim", &[("path", &shown), ("kind", &kind), ("at", &at)]);
        victim.expect("ready");
        if is_asleep {
            victim.wait_until_asleep();
        }
        cut(&path, len);
        victim.tell("cut");
        assert_eq!(victim.hear(), expected, "{kind}, cut to {len} of {whole} bytes");
        victim.finish();
    }
}

#[test]
fn a_consumer_that_looks_is_told() {
    // Goal: `try_poll` in a loop ends with `Truncated`, wherever the file was cut. Method: a reader at the end of the ring.
    each_cut("look", false, "Truncated");
}

#[test]
fn a_consumer_that_sleeps_is_told() {
    // Goal: a blocked `poll` ends with `Truncated`, though nobody wakes it. Method: cut the file when all threads sleep.
    each_cut("sleep", true, "Truncated");
}

#[test]
fn a_consumer_and_a_producer_at_work_are_told() {
    // Goal: both ends of a stream get `Truncated` at whatever instruction the cut comes. Method: a thread pushes, a thread reads.
    each_cut("stream", false, "Truncated Truncated");
}

#[test]
fn a_producer_that_pushes_is_told() {
    // Goal: `push` ends with `Truncated`, the records that it returned for before that are in pages that the file had.
    // Method: push without a reader, in rings for many and for one; claim and commit; batches.
    for kind in ["push", "push alone", "claim", "batch"] {
        each_cut(kind, false, "Truncated");
    }
}

#[test]
fn a_push_that_met_the_cut_is_not_said_to_be_done() {
    // Goal: `Ok` means that the record is in pages that the file has.
    // Method: cut the very page that the next record goes to, below the limit that the producer has already: nothing else makes it notice.
    let directory = directory();
    alone("truncating::at_the_edge", &[("path", &directory.path().display())]);
}

pub(crate) fn at_the_edge() {
    let path = Script::path().join("ring");
    let ring = RingOptions::new().capacity(CAPACITY).create(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    for _ in 0..28 {
        producer.push(&[7; LEN]).unwrap();
    }
    cut(&path, std::fs::metadata(&path).unwrap().len() - CAPACITY + 28 * 1024);
    assert_eq!(producer.push(&[7; LEN]), Err(ClaimError::Truncated));
}

#[test]
fn a_producer_that_waits_is_told() {
    // Goal: a `push` that waits for room ends with `Truncated`. Method: a full ring behind a durable name, cut while the producer sleeps.
    each_cut("wait", true, "Truncated");
}

#[test]
fn an_observer_is_told_and_gets_no_zeros() {
    // Goal: no byte that the cut made zero is handed out as a record, not even from the page or the record inside which it was cut.
    // Method: an observer reads the whole ring over and over and compares every byte; one that waits for news.
    each_cut("observe", false, "Truncated");
    each_cut("watch", false, "Truncated");
}

#[test]
fn an_observer_that_comes_back_gets_no_zeros() {
    // Goal: the same without a race. Method: the cut is made between two calls.
    each_cut("return", false, "Truncated");
}

#[test]
fn four_threads_are_told_at_once() {
    // Goal: threads that meet the same missing pages at the same time all get the error. Method: four consumers of one mapping.
    each_cut("four", false, "Truncated Truncated Truncated Truncated");
}

pub(crate) fn victim() {
    let (path, kind) = (Script::path(), Script::text("kind"));
    let wait = if matches!(kind.as_str(), "sleep" | "wait") { Wait::Block } else { Wait::Adaptive };
    let ring = RingOptions::new().wait(wait).open(&path).unwrap();
    let said = match kind.as_str() {
        "look" | "sleep" | "stream" | "four" => reads(&ring, &kind),
        "observe" | "watch" | "return" => format!("{:?}", observes(&ring, &kind)),
        _ => format!("{:?}", writes(&ring, &kind)),
    };
    refuses_everything(&ring);
    assert!(matches!(Ring::open(&path), Err(Error::Truncated { .. } | Error::NotARing { .. })));
    say(&said);
    if kind != "return" {
        assert_eq!(listen(), "cut");
    }
}

fn reads(ring: &Ring, kind: &str) -> String {
    let read = |name: &str, looks: bool| {
        let mut consumer = ring.consumer(name).unwrap();
        consumer.seek(Start::Now).unwrap();
        move || {
            let error = loop {
                let error = if looks { consumer.try_poll().map(drop) } else { consumer.poll().map(drop) };
                if let Err(error) = error {
                    break error;
                }
            };
            // Once and for all.
            assert_eq!(consumer.try_poll().map(drop), Err(error));
            assert_eq!(consumer.poll_timeout(PATIENCE).map(drop), Err(error));
            assert_eq!(consumer.seek(Start::Oldest), Err(error));
            error
        }
    };
    let errors = std::thread::scope(|scope| match kind {
        "look" | "sleep" => {
            let mut read = read("c", kind == "look");
            say("ready");
            vec![format!("{:?}", read())]
        }
        "stream" => {
            let mut producer = ring.producer().unwrap();
            let reader = scope.spawn(read("c", false));
            let push = move || loop {
                if let Err(error) = producer.push(&[7; LEN]) {
                    break error;
                }
            };
            let writer = scope.spawn(push);
            std::thread::sleep(std::time::Duration::from_millis(5));
            say("ready");
            vec![format!("{:?}", writer.join().unwrap()), format!("{:?}", reader.join().unwrap())]
        }
        _ => {
            let readers = ["a", "b", "c", "d"].map(|name| read(name, name < "c"));
            let readers = readers.map(|reader| scope.spawn(reader));
            say("ready");
            readers.map(|reader| format!("{:?}", reader.join().unwrap())).into()
        }
    });
    errors.join(" ")
}

fn writes(ring: &Ring, kind: &str) -> ClaimError {
    let mut producer = ring.producer().unwrap();
    if kind == "wait" {
        let name = ring.consumer_with("held", ConsumerOptions::new().start(Start::Now).durable()).unwrap();
        drop(name);
        while producer.try_push(&[7; LEN]).is_ok() {}
    }
    say("ready");
    let error = loop {
        let pushed = match kind {
            "claim" => producer.claim(LEN).map(|mut claim| {
                claim.fill(7);
                claim.commit();
            }),
            "batch" => producer.batch(3, 3 * LEN).map(|mut batch| {
                while batch.push(&[7; LEN]).is_ok() {}
                batch.commit();
            }),
            _ => producer.push(&[7; LEN]).map(drop),
        };
        if let Err(error) = pushed {
            break error;
        }
    };
    assert_eq!(producer.try_push(b"once and for all"), Err(error));
    assert_eq!(producer.push_timeout(b"once and for all", PATIENCE), Err(error));
    error
}

fn observes(ring: &Ring, kind: &str) -> PollError {
    let mut observer = ring.observer().unwrap();
    let mut payload = Vec::new();
    if kind == "return" {
        observer.seek(Start::At(Script::number("at"))).unwrap();
    }
    say("ready");
    if kind == "return" {
        assert_eq!(listen(), "cut");
    }
    let error = loop {
        let got = match kind {
            "watch" => observer.next_timeout(&mut payload, PATIENCE),
            _ => observer.try_next(&mut payload),
        };
        match got {
            Ok(Some(info)) => check_bytes(&payload, 0, info.sequence.unwrap()),
            Ok(None) => {
                assert_ne!(kind, "watch", "nothing came, and no error");
                if let Err(error) = observer.seek(Start::Oldest) {
                    break error;
                }
            }
            Err(error) => break error,
        }
    };
    assert!(payload.is_empty() || kind != "return", "bytes were left with the error");
    assert_eq!(observer.try_next(&mut payload), Err(error));
    assert!(matches!(observer.stats(), Err(Error::Truncated { .. })));
    error
}

/// Whatever is taken from a ring whose mapping was hit, is refused, naming file and lengths.
fn refuses_everything(ring: &Ring) {
    let errors = [
        ring.producer().map(drop).unwrap_err(),
        ring.consumer("late").map(drop).unwrap_err(),
        ring.observer().map(drop).unwrap_err(),
        ring.stats().map(drop).unwrap_err(),
    ];
    for error in errors {
        let Error::Truncated { expected_bytes, found_bytes, .. } = &error else { panic!("{error:?}") };
        assert!(found_bytes < expected_bytes, "{error}");
        assert_eq!(error.path(), ring.path());
    }
}

#[test]
fn faults_of_others_are_theirs() {
    // Goal: SIGBUS means what it meant before: what is no ring's page ends the process by SIGBUS, also where a ring was, and in a child.
    // Method: processes that cut a mapping of their own: beside a ring, in a dropped ring's place, in a forked child in its parent's
    // ring's place; with SIGBUS ignored; a SIGBUS that is sent; a handler that is good for one call.
    for kind in ["beside", "instead", "ignored", "sent", "once"] {
        let directory = directory();
        let params: [(&str, &dyn Display); 2] = [("path", &directory.path().display()), ("kind", &kind)];
        let output = run("truncating::bystander", &params);
        assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{kind}: {output:?}");
    }
    let directory = directory();
    alone("truncating::parent", &[("path", &directory.path().display())]);
}

#[test]
fn handlers_of_the_application_are_called() {
    // Goal: a handler from before us is called for faults that are not ours, in its own way, and one that comes after us and passes on what
    // is not its own leaves ours working. Method: each kind repairs a fault of its own while a ring is cut.
    for kind in ["before", "before, plain", "after"] {
        let directory = directory();
        alone("truncating::handler", &[("path", &directory.path().display()), ("kind", &kind)]);
    }
}

#[test]
fn a_stack_overflow_is_still_reported() {
    // Goal: the standard library's report of an overflow is what it was. Method: overflow in a process that has a ring.
    let directory = directory();
    let output = run("truncating::overflow", &[("path", &directory.path().display())]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("stack overflow"), "{said}");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
}

pub(crate) fn bystander() {
    let directory = Script::path();
    match Script::text("kind").as_str() {
        "ignored" => drop(install(libc::SIG_IGN, 0)),
        // Not the standard library's handler, which leaves a signal that was sent without effect.
        "sent" => drop(install(libc::SIG_DFL, 0)),
        "once" => {
            let plain = on_sigbus_plain as extern "C" fn(i32);
            install(plain as *const () as usize, libc::SA_RESETHAND);
        }
        _ => {}
    }
    let (ring, at) = ring_at(&directory);
    match Script::text("kind").as_str() {
        "beside" => touch(map_and_cut(&directory, ptr::null_mut())),
        "once" => {
            for _ in 0..2 {
                assert_eq!(
                    CALLS.load(Ordering::Relaxed),
                    usize::from(!OWN.load(Ordering::Relaxed).is_null())
                );
                OWN.store(map_and_cut(&directory, ptr::null_mut()), Ordering::Relaxed);
                touch(OWN.load(Ordering::Relaxed));
            }
        }
        "instead" => {
            drop(ring);
            touch(map_and_cut(&directory, at));
        }
        "ignored" => {
            // Sent by somebody, it is ignored; an access that fails can't be.
            nix::sys::signal::raise(nix::sys::signal::SIGBUS).unwrap();
            touch(map_and_cut(&directory, ptr::null_mut()));
        }
        _ => nix::sys::signal::raise(nix::sys::signal::SIGBUS).unwrap(),
    }
}

pub(crate) fn parent() {
    let directory = Script::path();
    let (ring, at) = ring_at(&directory);
    let at = at as usize;
    let child = fork(|| {
        touch(map_and_cut(&directory, ptr::without_provenance_mut(at)));
        leave(0);
    });
    assert!(!child.ends_well(), "a page that is no ring's was replaced");
    // The parent's ring is as it was.
    ring.producer().unwrap().push(b"x").unwrap();
    cut(ring.path().unwrap(), 4096);
    refuses_everything(&ring);
}

pub(crate) fn overflow() {
    let (_ring, _) = ring_at(&Script::path());
    #[expect(unconditional_recursion, reason = "that is the point")]
    fn deeper(bytes: &[u8; 1024]) -> u8 {
        let mut more = [bytes[0]; 1024];
        more[1] = deeper(std::hint::black_box(&more));
        more[1]
    }
    std::hint::black_box(deeper(&[1; 1024]));
}

/// Pages that the application's handler repairs; how often it did; what it calls for the others.
static OWN: AtomicPtr<libc::c_void> = AtomicPtr::new(ptr::null_mut());
static CALLS: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn handler() {
    let (directory, kind) = (Script::path(), Script::text("kind"));
    let with_info = on_sigbus as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
    let plain = on_sigbus_plain as extern "C" fn(i32);
    match kind.as_str() {
        "before" => drop(install(with_info as *const () as usize, libc::SA_SIGINFO | libc::SA_ONSTACK)),
        "before, plain" => drop(install(plain as *const () as usize, 0)),
        _ => {}
    }
    let (ring, _) = ring_at(&directory);
    if kind == "after" {
        let ours = install(with_info as *const () as usize, libc::SA_SIGINFO | libc::SA_ONSTACK);
        NEXT.store(ours.sa_sigaction, Ordering::Relaxed);
    }
    for round in 1..=3 {
        let own = map_and_cut(&directory, ptr::null_mut());
        OWN.store(own, Ordering::Relaxed);
        touch(own);
        assert_eq!(CALLS.load(Ordering::Relaxed), round);
    }
    OWN.store(ptr::null_mut(), Ordering::Relaxed);
    let mut consumer = ring.consumer("c").unwrap();
    cut(ring.path().unwrap(), 4096);
    assert_eq!(consumer.poll().map(drop), Err(PollError::Truncated));
    assert_eq!(CALLS.load(Ordering::Relaxed), 3);
    refuses_everything(&ring);
}

extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: installed with SA_SIGINFO.
    let info_here = unsafe { &*info };
    // SAFETY: SIGBUS of an access has an address.
    if unsafe { info_here.si_addr() } == OWN.load(Ordering::Relaxed) {
        return repair();
    }
    let next = NEXT.load(Ordering::Relaxed);
    assert_ne!(next, 0);
    // SAFETY: the handler that was installed with SA_SIGINFO before this one.
    let next = unsafe {
        std::mem::transmute::<usize, extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void)>(next)
    };
    next(signal, info, context);
}

extern "C" fn on_sigbus_plain(_signal: i32) {
    repair();
}

fn repair() {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the page is this role's own mapping.
    let mapped = unsafe { libc::mmap(OWN.load(Ordering::Relaxed), 4096, libc::PROT_READ, flags, -1, 0) };
    assert_ne!(mapped, libc::MAP_FAILED);
}

fn install(handler: usize, flags: i32) -> libc::sigaction {
    // SAFETY: zeros are the default action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let mut before = action;
    (action.sa_sigaction, action.sa_flags) = (handler, flags);
    // SAFETY: both are good; the handlers of this role touch atomics and call mmap.
    assert_eq!(unsafe { libc::sigaction(libc::SIGBUS, &action, &mut before) }, 0);
    before
}

/// A ring of its own, and a page inside its range.
fn ring_at(directory: &Path) -> (Ring, *mut libc::c_void) {
    let ring = RingOptions::new().capacity(CAPACITY).create(directory.join("ring")).unwrap();
    ring.producer().unwrap().push(&[7; 5000]).unwrap();
    let mut consumer = ring.consumer("c").unwrap();
    let page = consumer.poll().unwrap().as_ptr().map_addr(|at| (at + 4999) & !4095);
    drop(consumer);
    (ring, page.cast_mut().cast())
}

/// A page of a file that has none any more: anywhere, or exactly there.
fn map_and_cut(directory: &Path, at: *mut libc::c_void) -> *mut libc::c_void {
    let path = directory.join("own");
    std::fs::write(&path, [1; 4096]).unwrap();
    let file = File::open(&path).unwrap();
    let flags = if at.is_null() { libc::MAP_SHARED } else { libc::MAP_SHARED | libc::MAP_FIXED };
    // SAFETY: a new mapping, or one in the place of a ring that this process does not have any more.
    let page = unsafe { libc::mmap(at, 4096, libc::PROT_READ, flags, file.as_raw_fd(), 0) };
    assert_ne!(page, libc::MAP_FAILED);
    cut(&path, 0);
    page
}

fn touch(page: *mut libc::c_void) {
    // SAFETY: mapped by `map_and_cut`; whether the page is there is what is tested.
    unsafe { page.cast::<u8>().read_volatile() };
}
