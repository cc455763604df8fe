//! Budget: permits for maps, descriptors and bytes, under contention.

use shm_ring::{MapBudget, MapUsage};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

const THREADS: usize = 8;
const ROUNDS: u64 = 100_000;
const ONE: MapUsage = MapUsage { maps: 1, descriptors: 1, bytes: 4096 };

#[test]
fn n_permits_are_exactly_n() {
    // Goal: n requests are granted and the next is not, for each of the three fields by itself, and one that is dropped can be had again.
    // Method: budgets that limit one field each; ask until refused, give one back, ask again.
    for n in [0u16, 1, 2, 1000] {
        let bytes = u64::from(n) * 4096;
        for budget in
            [MapBudget::new().maps(n), MapBudget::new().descriptors(n), MapBudget::new().bytes(bytes + 4095)]
        {
            let mut permits: Vec<_> = std::iter::from_fn(|| budget.try_acquire(ONE)).collect();
            assert_eq!(permits.len(), usize::from(n));
            assert_eq!(budget.in_use(), MapUsage { maps: n, descriptors: n, bytes });
            for _ in 0..3 {
                let Some(permit) = permits.pop() else { break };
                assert_eq!(permit.usage(), ONE);
                drop(permit);
                permits.extend(budget.try_acquire(ONE));
                assert_eq!(permits.len(), usize::from(n), "what was given back can be had again");
                assert!(budget.try_acquire(ONE).is_none());
            }
            drop(permits);
            assert_eq!(budget.in_use(), MapUsage::default());
        }
    }
}

#[test]
fn n_permits_are_exactly_n_under_contention() {
    // Goal: threads that take and give back at once never have more than n together, and reach n.
    // Method: more threads than permits; whoever has one counts itself among the holders.
    const PERMITS: u16 = 3;
    let budget = MapBudget::new().maps(PERMITS);
    let (holders, highest, granted) = (AtomicI64::new(0), AtomicI64::new(0), AtomicU64::new(0));
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for round in 0..ROUNDS {
                    let Some(permit) = budget.try_acquire(ONE) else { continue };
                    let now = holders.fetch_add(1, Ordering::Relaxed) + 1;
                    assert!(now <= PERMITS.into(), "{now} have one of {PERMITS}");
                    highest.fetch_max(now, Ordering::Relaxed);
                    granted.fetch_add(1, Ordering::Relaxed);
                    if round % 16 == 0 {
                        std::thread::yield_now();
                    }
                    holders.fetch_sub(1, Ordering::Relaxed);
                    drop(permit);
                }
            });
        }
    });
    assert_eq!(budget.in_use(), MapUsage::default());
    assert_eq!(highest.into_inner(), PERMITS.into(), "{granted:?} grants never met");
}

#[test]
fn nobody_is_refused_while_one_is_free() {
    // Goal: a request for which there is room is granted, whatever others are being refused at that moment, and for whichever field.
    // Method: as many permits as there are polite threads, each of which has one at most; greedy ones ask for more than can ever be free
    // of one field, and little of the others. (A counter that is lowered first and restored afterwards fails here.)
    let polite = u16::try_from(THREADS / 2).unwrap();
    let budget = MapBudget::new().maps(polite).descriptors(polite).bytes(u64::from(polite) * 4096);
    let (start, done) = (Barrier::new(THREADS), AtomicBool::new(false));
    let refused = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..polite)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    for round in 0..ROUNDS {
                        let permit = budget.try_acquire(ONE);
                        assert!(
                            permit.is_some(),
                            "refused in round {round}, with {:?} in use",
                            budget.in_use()
                        );
                    }
                })
            })
            .collect();
        for greedy in 0..THREADS - usize::from(polite) {
            let (budget, start, done, refused) = (&budget, &start, &done, &refused);
            let wanted = match greedy % 3 {
                0 => MapUsage { maps: polite + 1, ..ONE },
                1 => MapUsage { descriptors: polite + 1, ..ONE },
                _ => MapUsage { bytes: u64::from(polite) * 4096 + 1, ..ONE },
            };
            scope.spawn(move || {
                start.wait();
                while !done.load(Ordering::Relaxed) {
                    assert!(budget.try_acquire(wanted).is_none());
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let ends: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ends.iter().all(Result::is_ok), "a polite request was refused; its message is above");
    });
    assert!(refused.into_inner() > 0, "the greedy were never asked");
    assert_eq!(budget.in_use(), MapUsage::default());
}

#[test]
fn all_or_nothing_is_taken() {
    // Goal: a request that fails by one field takes nothing of the others; no size makes the sum wrap around.
    // Method: requests beyond one limit each, and at the ends of what a number can hold, on a budget that is in use and one without limits.
    let budget = MapBudget::new().maps(10).descriptors(10).bytes(10 * 4096);
    let _some = budget.try_acquire(ONE).unwrap();
    for wanted in [
        MapUsage { maps: 10, ..ONE },
        MapUsage { descriptors: 10, ..ONE },
        MapUsage { bytes: 9 * 4096 + 1, ..ONE },
        MapUsage { maps: u16::MAX, ..ONE },
        MapUsage { descriptors: u16::MAX, ..ONE },
        MapUsage { bytes: u64::MAX, ..ONE },
        MapUsage { bytes: 1 << 44, ..ONE },
    ] {
        assert!(budget.try_acquire(wanted).is_none(), "{wanted:?}");
        assert_eq!(budget.in_use(), ONE, "{wanted:?}");
    }
    let budget = MapBudget::default();
    let _all = budget
        .try_acquire(MapUsage::MAX)
        .expect("a budget without limits has room for the most there can be");
    assert_eq!(budget.in_use(), MapUsage::MAX);
    for wanted in [MapUsage::map(0), MapUsage::descriptor(), MapUsage { bytes: 1, ..MapUsage::default() }] {
        assert!(budget.try_acquire(wanted).is_none(), "{wanted:?}");
    }
    assert!(budget.try_acquire(MapUsage::default()).is_some(), "there is always room for nothing");
}
