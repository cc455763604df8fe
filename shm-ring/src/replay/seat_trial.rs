//! Trial of seats: what they take of what all sources share comes back, and is never more than there is.

use super::seat::Seat;
use super::shared::{Shared, WINDOW_BYTES_MAX, load};
use super::stage::Order;
use crate::map::budget::{MapBudget, MapUsage};
use crate::sync::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};

const CAP: u64 = 16 << 20;

/// Room for one window of the largest size, and for half of another.
const SMALL_CAP: u64 = 4 << 20;

fn shared(memory_bytes: Option<u64>) -> Arc<Shared> {
    Arc::new(Shared::new(MapBudget::new(), Order::Error, None, memory_bytes))
}

#[test]
fn windows_are_never_more_than_the_cap_leaves() {
    // Goal: (I1) of `shared`, however many ask at once; none is larger than is useful. Method: threads that ask for all there is at one
    // time, and give it back.
    let shared = shared(Some(SMALL_CAP));
    let seats: Vec<_> = (0..4).map(|_| Seat::new(&shared).unwrap()).collect();
    let (barrier, granted) = (Barrier::new(4), Mutex::new(0));
    let most = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in &seats {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    barrier.wait();
                    let bytes = shared.grant(0, u64::MAX);
                    // No panic among those who wait for each other.
                    *granted.lock().unwrap() += bytes;
                    barrier.wait();
                    most.fetch_max(*granted.lock().unwrap(), Ordering::Relaxed);
                    barrier.wait();
                    *granted.lock().unwrap() -= bytes;
                    shared.ungrant(bytes);
                }
            });
        }
    });
    // An eighth is for the rest of the process, and one for the edges of what is read.
    let (most, all) = (load(&most), SMALL_CAP / 8 * 7 / 8 * 7);
    assert!((4 * Shared::window_bytes_min()..=all).contains(&most), "{most} of {all}");
    // All of it is there again.
    assert_eq!(shared.grant(0, u64::MAX), WINDOW_BYTES_MAX);
    let uncapped = self::shared(None);
    assert_eq!(
        [1, u64::MAX].map(|wanted| uncapped.grant(0, wanted)),
        [Shared::window_bytes_min(), WINDOW_BYTES_MAX]
    );
}

#[test]
fn what_a_seat_took_comes_back() {
    // Goal: a source that is gone takes nothing, whatever it had when it went; what was refused takes nothing either. Method: seats with a
    // map, with a window, at their end, with more memory than others.
    let shared = shared(Some(CAP));
    for _ in 0..3 {
        let mut seat = Seat::new(&shared).unwrap();
        assert!(seat.sit(MapUsage::map(4096)));
        assert!(seat.window.bytes(&shared) > Shared::window_bytes_min());
        #[cfg(feature = "arrow")]
        {
            seat.charge(CAP / 2).unwrap();
            assert!(seat.charge(CAP).is_err());
        }
        let counts = &shared.counts;
        assert_eq!([load(&counts.n_sources), load(&counts.n_mapped)], [1, 1]);
        seat.end();
        seat.end();
        assert_eq!([load(&counts.n_mapped), load(&counts.n_over), shared.n_parked()], [0, 1, 0]);
        drop(seat);
        assert_eq!([load(&counts.n_sources), load(&counts.n_over)], [0, 0]);
        let parked = Seat::new(&shared).unwrap();
        assert_eq!((shared.n_parked(), parked.is_mapped()), (1, false));
    }
    let shared = self::shared(Some(SMALL_CAP));
    for ends in [true, false, true] {
        let mut seat = Seat::new(&shared).unwrap();
        seat.window.bytes(&shared);
        let rest = shared.grant(0, u64::MAX);
        assert!(rest < WINDOW_BYTES_MAX);
        shared.ungrant(rest);
        if ends {
            seat.end();
        } else {
            drop(seat);
        }
        assert_eq!(shared.grant(0, u64::MAX), WINDOW_BYTES_MAX, "{ends}");
        shared.ungrant(WINDOW_BYTES_MAX);
    }
}

#[test]
fn a_map_is_given_up_to_those_who_wait_only() {
    // Goal: who reads little keeps its map unless another waits for one that reads more. Method: a slow seat with a map and a fast one
    // without, until the fast one has ended, or is gone.
    for ends in [false, true] {
        let shared = shared(Some(CAP));
        let [mut slow, mut fast] = [(); 2].map(|()| Seat::new(&shared).unwrap());
        assert!(slow.sit(MapUsage::map(4096)) && !slow.yields());
        fast.note(CAP, false);
        slow.note(1, true);
        assert!(shared.parked_rate() > 0 && slow.yields() && !fast.yields());
        if ends {
            fast.end();
        } else {
            drop(fast);
        }
        assert!(!slow.yields());
    }
}
