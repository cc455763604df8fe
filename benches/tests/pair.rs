//! Pair: what the benches rely on when they fork, and workloads from end to end. One thread, hence no test harness.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::clock::Clock;
use benches::ours::{Batch, Drain, Ours, Poll, Push, Setup};
use benches::process::{Plain, Role, Shared, allowed_cpus, crew, pair, threads};
use benches::workload::slow::{beside, read_along, stops, works};
use benches::workload::stream::{Rate, crowd, fan_in, fan_out, stream};
use benches::workload::trips::paced;
use benches::workload::{Contestant, Figures, Plan, Receiver, Repetition, Sender};
use shm_ring::Wait;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Number(u64);

// SAFETY: a number.
unsafe impl Plain for Number {}

const LONG: Duration = Duration::from_secs(20);

fn sleep_for_ever() -> Number {
    loop {
        std::thread::sleep(LONG);
    }
}

/// A pair shares memory, and the value of each side arrives.
fn a_pair_shares_memory_and_returns_values(cpus: [usize; 2]) {
    let word = Shared::<AtomicU64>::new();
    let store = || {
        // ORDER (Release, pairs with the Acquire below): nothing else is carried.
        word.store(7, Ordering::Release);
        Number(1)
    };
    let wait = || {
        // ORDER (Acquire, pairs with the Release above).
        while word.load(Ordering::Acquire) != 7 {
            std::thread::yield_now();
        }
        Number(2)
    };
    assert_eq!(pair(cpus, LONG, store, wait), Ok([Number(1), Number(2)]));
}

/// Values of a crew come in the order of the roles, whoever is done first.
fn a_crew_returns_values_in_the_order_of_its_roles(cpus: [usize; 2]) {
    let role = |number: u64| {
        Role::new("role", cpus[0], move || {
            std::thread::sleep(Duration::from_millis(20 - 5 * number));
            Number(number)
        })
    };
    assert_eq!(crew((0..4).map(role).collect(), LONG), Ok((0..4).map(Number).collect()));
}

/// Threads share their process, and the first that panics ends it.
fn threads_return_values_or_the_first_panic(cpus: [usize; 2]) {
    let number = std::sync::Mutex::new(3);
    let add = |summand: u64| {
        let number = &number;
        move || {
            *number.lock().expect("nobody panics") += summand;
            Number(u64::from(std::process::id()))
        }
    };
    let roles = [Role::new("a", cpus[0], add(4)), Role::new("b", cpus[1], add(5))];
    let ids = threads(roles, LONG).expect("both end");
    assert!(ids[0] == ids[1] && ids[0] != Number(u64::from(std::process::id())), "one process, not this one");
    let roles = [Role::new("a", cpus[0], || panic!("no")), Role::new("b", cpus[1], sleep_for_ever)];
    assert_eq!(threads(roles, LONG), Err("threads: no".to_owned()));
}

/// A child's panic is the error of the pair, and the other side is not waited for.
fn a_panic_is_the_error_of_the_pair(cpus: [usize; 2]) {
    let result = pair(cpus, LONG, || panic!("record {} is bad", 3), sleep_for_ever);
    assert_eq!(result, Err("producer: record 3 is bad".to_owned()));
}

/// A pair that hangs is killed when its time is up.
fn a_pair_that_hangs_is_killed(cpus: [usize; 2]) {
    let result = pair(cpus, Duration::from_millis(50), || Number(1), sleep_for_ever);
    assert_eq!(result, Err("not done after 50ms".to_owned()));
}

const RING_BYTES: usize = 1 << 16;
const RECORD_BYTES: usize = 64;

fn plan(cpus: [usize; 2]) -> Plan {
    let ms = Duration::from_millis;
    let (warm_up, window, crowded_window, idle) = (ms(1), ms(5), ms(20), ms(1));
    let clock = Clock::calibrate();
    Plan { cpus, clock, warm_up, window, crowded_window, n_paced: 2_000, n_wakes: 1, idle, timeout: LONG }
}

fn ours<S, R>(setup: Setup) -> Ours<S, R> {
    Ours::new(setup.waiting(Wait::Adaptive), RING_BYTES, RECORD_BYTES).expect("a ring")
}

fn rate_of(name: &str, done: Result<Repetition, String>) -> Rate {
    let done = done.unwrap_or_else(|error| panic!("{name}: {error}"));
    let Figures::Rate(rate) = done.figures else { panic!("{name}: {:?}", done.figures) };
    assert!(rate.n_records > 0 && done.sums.n_records >= rate.n_records, "{name}: {done:?}");
    assert_eq!(rate.n_lost, 0, "{name}");
    rate
}

/// Every shape of a stream comes to its end, with all records of all producers at all consumers.
fn streams_of_every_shape_are_complete(plan: &Plan) {
    let (exclusive, shared) = (Setup::EXCLUSIVE, Setup::SHARED);
    rate_of("one to one", stream(&ours::<Push, Poll>(exclusive), RECORD_BYTES, plan));
    rate_of("one to two", fan_out(&ours::<Push, Poll>(exclusive), 2, RECORD_BYTES, plan));
    rate_of("one to two, batch", fan_out(&ours::<Batch, Drain>(exclusive), 2, RECORD_BYTES, plan));
    rate_of("two to one", fan_in(&ours::<Batch, Drain>(shared), 2, RECORD_BYTES, plan));
    let crowd = rate_of("eight to one", crowd(&ours::<Push, Poll>(shared), 8, RECORD_BYTES, plan));
    assert!(crowd.stall_s.is_some_and(|stall_s| stall_s > 0.0 && stall_s <= crowd.seconds), "{crowd:?}");
}

/// A consumer that works gets a record per us at most; one that stops was asleep; an observer beside one sees records.
fn slow_consumers_lose_nothing(plan: &Plan) {
    let ring = ours::<Push, Poll>(Setup::EXCLUSIVE);
    let rate = rate_of("works", works(&ring, RECORD_BYTES, plan));
    assert!(rate.per_second() <= 1e6, "{rate:?}");
    let ring = ours::<Push, Poll>(Setup::EXCLUSIVE);
    let rate = rate_of("stops", stops(&ring, RECORD_BYTES, plan));
    assert!(rate.stopped_s >= plan.window.as_secs_f64() / 2.0 && rate.stopped_s < rate.seconds, "{rate:?}");
    let ring = ours::<Push, Poll>(Setup::EXCLUSIVE);
    let along = |go_on: &dyn Fn() -> bool| read_along(ring.observe(), RECORD_BYTES, go_on);
    let rate = rate_of("beside", beside(&ring, RECORD_BYTES, &along, plan));
    assert!(rate.n_beside > 0, "{rate:?}");
}

/// Another contestant whose receiver does something to what it gets.
struct Spoiled {
    ring: Ours<Push, Poll>,
    spoil: Spoil,
}

/// Hears the record's number, from 1; `false`: it is lost.
type Spoil = fn(u64, &mut Vec<u8>) -> bool;

impl Contestant for Spoiled {
    fn sender(&self) -> impl Sender {
        self.ring.sender()
    }

    fn receiver(&self) -> impl Receiver {
        SpoiledReceiver { receiver: self.ring.receiver(), n: 0, spoil: self.spoil }
    }
}

struct SpoiledReceiver<R> {
    receiver: R,
    n: u64,
    spoil: Spoil,
}

impl<R: Receiver> Receiver for SpoiledReceiver<R> {
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        self.receiver.receive(|record| {
            let mut record = record.to_vec();
            self.n += 1;
            if (self.spoil)(self.n, &mut record) {
                each(&record);
            }
        });
    }
}

/// A record that is lost, or is not what was sent, is the cell's error, whichever it is.
fn a_record_that_is_lost_or_changed_is_an_error(plan: &Plan) {
    let spoiled = |spoil: Spoil| {
        let ring = Spoiled { ring: ours(Setup::EXCLUSIVE), spoil };
        stream(&ring, RECORD_BYTES, plan).map(|done| done.sums).expect_err("it was spoiled")
    };
    assert_eq!(spoiled(|n, _| n != 5), "consumer: record 5 where 4 was expected");
    let changed = spoiled(|n, record| {
        record[63] ^= u8::from(n == 5);
        true
    });
    assert!(changed.starts_with("consumer: producer 0: "), "{changed}");
}

/// A server that stops once for 100 ms is seen in p99.9 of paced trips.
fn a_stop_of_100_ms_is_in_the_tail_of_paced_trips(plan: &Plan) {
    let ring = |spoil: Spoil| Spoiled { ring: ours(Setup::EXCLUSIVE), spoil };
    // By time: how many trips the warm-up makes is the machine's affair. The measured ones take ten times as long.
    let there = ring(|_, _| {
        thread_local!(static STOP_AT: Cell<Option<Instant>> = const { Cell::new(None) });
        let now = Instant::now();
        let stop_at = STOP_AT.get().unwrap_or(now + Duration::from_millis(20));
        STOP_AT.set(Some(stop_at));
        if now >= stop_at {
            STOP_AT.set(Some(now + LONG));
            std::thread::sleep(Duration::from_millis(100));
        }
        true
    });
    let done = paced(&there, &ring(|_, _| true), RECORD_BYTES, plan).expect("paced trips");
    let Figures::Trips(trips) = done.figures else { panic!("{:?}", done.figures) };
    assert!(trips.p999_ns > 90e6, "{trips:?}");
}

fn main() {
    let all = allowed_cpus();
    let cpus = [all[0], all[all.len() - 1]];
    let began = Instant::now();
    a_pair_shares_memory_and_returns_values(cpus);
    a_crew_returns_values_in_the_order_of_its_roles(cpus);
    threads_return_values_or_the_first_panic(cpus);
    a_panic_is_the_error_of_the_pair(cpus);
    a_pair_that_hangs_is_killed(cpus);
    assert!(began.elapsed() < LONG, "somebody was waited for");
    if cpus[0] == cpus[1] {
        eprintln!("one processor: the workloads, which spin, are left out");
        return;
    }
    let plan = plan(cpus);
    streams_of_every_shape_are_complete(&plan);
    slow_consumers_lose_nothing(&plan);
    a_record_that_is_lost_or_changed_is_an_error(&plan);
    a_stop_of_100_ms_is_in_the_tail_of_paced_trips(&plan);
}
