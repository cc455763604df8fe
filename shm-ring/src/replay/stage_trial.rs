//! Stage trial: a stage against a model that looks at all records in front of each.
//!
//! (I1) the model knows nothing of refills: it is the same however many records are staged at once.

use super::feed::Filled;
use super::source::{SourceError, Stamp};
use super::stage::{Order, Place, Stage, Staged, Tags};
use proptest::prelude::*;

/// A record on its way in, and what is done before it.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    timestamp_ns: u64,
    /// Whether the feed has nothing just in front of it.
    is_after_nothing: bool,
    /// Whether a refill ends in front of it.
    is_after_refill: bool,
    is_copied: bool,
    lets_go: bool,
}

/// Times that mostly rise, by 2 ns from one to the next, and lie up to `back` behind.
fn arrivals(back: u64) -> impl Strategy<Value = Vec<Arrival>> {
    let one = (0..=back, 0..20_u8, any::<[bool; 3]>());
    prop::collection::vec(one, 1..200).prop_map(|all| {
        let numbered = (0_u64..).zip(all);
        let arrivals = numbered.map(|(at, (back, rare, [is_after_refill, is_copied, lets_go]))| Arrival {
            timestamp_ns: (2 * at + 100).saturating_sub(back),
            is_after_nothing: rare == 0,
            is_after_refill: is_after_refill && rare < 5,
            is_copied,
            lets_go: lets_go && rare < 3,
        });
        arrivals.collect()
    })
}

/// What a record has in it, by its sequence: nothing to a few hundred bytes.
fn payload(sequence: u64) -> Vec<u8> {
    let len = if sequence % 7 == 0 { 300 * (sequence % 3) } else { sequence % 5 };
    (0..len).map(|at| (sequence + at).to_le_bytes()[0]).collect()
}

type Outcome = (Vec<(u64, u64)>, Option<(u64, u64, u64)>);

/// Times and sequences as they are handed out, and the record that ended the source, its time, and the latest in front of it.
fn staged(order: Order, arrivals: &[Arrival]) -> (Outcome, u64) {
    let mut stage = Stage::new(order);
    let mut out = vec![];
    let payloads: Vec<Vec<u8>> = (0..arrivals.len() as u64).map(payload).collect();
    let bytes = |staged: &Staged, place: u64| -> &[u8] {
        assert_eq!(place, staged.stamp.sequence);
        &payloads[usize::try_from(place).unwrap()]
    };
    let mut drain = |stage: &mut Stage| {
        while let Some(stamp) = stage.step() {
            let current = stage.current();
            let found = match current.place() {
                Place::There(place) => bytes(current, place),
                Place::Copied(at) => stage.copy(at, current.len_bytes),
            };
            assert_eq!(found, payload(stamp.sequence), "record {}", stamp.sequence);
            out.push((stamp.timestamp_ns, stamp.sequence));
        }
    };
    let mut failed = stage.begin();
    for (sequence, arrival) in (0..).zip(arrivals) {
        if arrival.is_after_nothing || arrival.is_after_refill || stage.room() == 0 {
            let filled =
                if arrival.is_after_nothing { Filled::NotYet { not_before_ns: 0 } } else { Filled::Some };
            stage.finish(filled);
            if arrival.lets_go {
                stage.keep_copies(bytes);
            }
            drain(&mut stage);
            failed = stage.begin();
            if failed.is_err() {
                break;
            }
        }
        let (stamp, payload) = (Stamp { timestamp_ns: arrival.timestamp_ns, sequence }, payload(sequence));
        if arrival.is_copied {
            stage.push_copy(stamp, &payload, Tags::default());
        } else {
            stage.push(stamp, sequence, u32::try_from(payload.len()).unwrap(), Tags::default());
        }
    }
    stage.finish(Filled::End);
    drain(&mut stage);
    let failed = failed.and_then(|()| stage.begin());
    let failed = failed.err().map(|error| match error {
        SourceError::Disorder { sequence, timestamp_ns, previous_ns } => {
            (sequence, timestamp_ns, previous_ns)
        }
        other => panic!("{other}"),
    });
    ((out, failed), stage.n_disordered())
}

/// The same, by looking at everything for each record.
fn modelled(order: Order, arrivals: &[Arrival]) -> Outcome {
    let n_records = if let Order::Reorder { n_records } = order { n_records } else { 0 };
    let (mut seen, mut out, mut waiting) = (vec![], vec![], vec![]);
    for (sequence, arrival) in (0..).zip(arrivals) {
        let record @ (timestamp_ns, _) = (arrival.timestamp_ns, sequence);
        if arrival.is_after_nothing {
            waiting.sort();
            out.append(&mut waiting);
        }
        let is_later = |other: &&(u64, u64)| other.0 > timestamp_ns;
        if order == Order::Error && seen.iter().any(|other| is_later(&other)) {
            waiting.sort();
            out.append(&mut waiting);
            let latest: &(u64, u64) = seen.iter().max().unwrap();
            return (out, Some((sequence, timestamp_ns, latest.0)));
        }
        seen.push(record);
        let is_late = out.iter().any(|other: &(u64, u64)| is_later(&other));
        if is_late {
            out.push(record)
        } else {
            waiting.push(record)
        }
        seen.sort();
        waiting.sort();
        while waiting
            .first()
            .is_some_and(|first| seen.iter().filter(|other| *other > first).count() >= n_records)
        {
            out.push(waiting.remove(0));
        }
    }
    waiting.sort();
    out.append(&mut waiting);
    (out, None)
}

proptest! {
    #[test]
    fn a_window_puts_right_what_it_holds(n_records in 0_usize..12, arrivals in arrivals(16)) {
        // Goal: a record that no more than n_records later ones are in front of is put where it belongs, one with more comes where it is met, and
        // so does one when what it belongs in front of was handed out for want of more; nothing is lost; equal times keep their order;
        // bytes stay what they were, copied or not, however often the feed lets go of them.
        // Method: records up to 8 places late, refills and pauses anywhere, against the model.
        let order = Order::Reorder { n_records };
        let (found, _) = staged(order, &arrivals);
        prop_assert_eq!(found.0.len(), arrivals.len());
        prop_assert_eq!(found, modelled(order, &arrivals));
    }

    #[test]
    fn disorder_ends_what_has_to_be_in_order(arrivals in arrivals(3)) {
        // Goal: with `Order::Error` a record that is older than one in front of it ends the source behind all that was in front of it.
        // Method: a few records that are one place late, against the model.
        prop_assert_eq!(staged(Order::Error, &arrivals).0, modelled(Order::Error, &arrivals));
    }

    #[test]
    fn what_fits_the_window_is_sorted(arrivals in arrivals(16)) {
        // Goal: a source whose records are no more than 8 places late comes out sorted, as by a stable sort.
        // Method: no pauses; windows of 8 and more.
        let arrivals: Vec<_> =
            arrivals.into_iter().map(|arrival| Arrival { is_after_nothing: false, ..arrival }).collect();
        let mut sorted: Vec<_> = arrivals.iter().map(|arrival| arrival.timestamp_ns).zip(0..).collect();
        sorted.sort();
        for n_records in [8, 9, 1000] {
            let ((out, failed), n_disordered) = staged(Order::Reorder { n_records }, &arrivals);
            prop_assert_eq!((out, failed), (sorted.clone(), None));
            let older = |at: usize| arrivals[..at].iter().any(|other| other.timestamp_ns > arrivals[at].timestamp_ns);
            prop_assert_eq!(n_disordered, (0..arrivals.len()).filter(|at| older(*at)).count() as u64);
        }
    }

    #[test]
    fn what_is_passed_stays_where_it_is(arrivals in arrivals(40)) {
        // Goal: with `Order::Pass` records are handed out as they come, and counted.
        // Method: random times against themselves.
        let ((out, failed), _) = staged(Order::Pass, &arrivals);
        let as_they_come: Vec<_> = arrivals.iter().map(|arrival| arrival.timestamp_ns).zip(0..).collect();
        prop_assert_eq!((out, failed), (as_they_come, None));
    }
}

#[test]
fn memory_of_copies_is_bounded() {
    // Goal: records that are held back don't let the memory of copies grow with the length of the source, and a few large ones not for ever.
    // Method: 100,000 records of 100 B, 64 of them held back; then a few of 1 MiB, then small ones again.
    let mut stage = Stage::new(Order::Reorder { n_records: 64 });
    let mut sequence = 0;
    let mut refill = |stage: &mut Stage, payload: &[u8]| {
        stage.begin().unwrap();
        while stage.room() > 0 {
            stage.push_copy(Stamp { timestamp_ns: sequence, sequence }, payload, Tags::default());
            sequence += 1;
        }
        stage.finish(Filled::Some);
        while stage.step().is_some() {}
    };
    for _ in 0..100_000 / Stage::ROOM {
        refill(&mut stage, &[7; 100]);
        assert!(stage.copies_bytes() < 128 << 10, "{}", stage.copies_bytes());
    }
    for _ in 0..4 {
        refill(&mut stage, &vec![7; 1 << 20]);
    }
    assert!(stage.copies_bytes() >= 64 << 20);
    for _ in 0..100 {
        refill(&mut stage, &[7; 100]);
    }
    assert!(stage.copies_bytes() < 256 << 10, "{}", stage.copies_bytes());
}

#[test]
fn nothing_is_left_of_another_place() {
    // Goal: after a seek, what was staged, held back or refused before has no say.
    // Method: sources that go on from another place, earlier; one has ended by disorder.
    let mut stage = Stage::new(Order::Error);
    for (at, timestamp_ns) in [50, 60, 70, 10].into_iter().enumerate() {
        stage.push_copy(Stamp { timestamp_ns, sequence: at as u64 }, b"x", Tags::default());
    }
    assert_eq!(stage.room(), 0);
    stage.forget(0);
    stage.begin().unwrap();
    stage.push_copy(Stamp { timestamp_ns: 5, sequence: 0 }, b"y", Tags::default());
    stage.finish(Filled::End);
    assert_eq!(stage.step().map(|stamp| stamp.timestamp_ns), Some(5));
    assert_eq!(stage.step(), None);
    stage.begin().unwrap();
    let mut stage = Stage::new(Order::Reorder { n_records: 2 });
    for (at, timestamp_ns) in [50, 60, 70, 55].into_iter().enumerate() {
        stage.push_copy(Stamp { timestamp_ns, sequence: at as u64 }, b"x", Tags::default());
    }
    stage.forget(0);
    stage.begin().unwrap();
    stage.push_copy(Stamp { timestamp_ns: 5, sequence: 0 }, b"y", Tags::default());
    assert_eq!(stage.waiting().count(), 1);
    stage.finish(Filled::End);
    assert_eq!(stage.step().map(|stamp| stamp.timestamp_ns), Some(5));
    assert_eq!(stage.step(), None);
}

#[test]
fn what_is_older_than_what_was_sought_is_passed_over() {
    // Goal: behind a seek nothing older is handed out, nor counted as disorder or as staged, nor ends a source; the others keep their bytes.
    // Method: records around the time that was sought, copied and in place, in each order; then from the start.
    for order in [Order::Error, Order::Pass, Order::Reorder { n_records: 0 }, Order::Reorder { n_records: 4 }]
    {
        let mut stage = Stage::new(order);
        for since_ns in [48, 0] {
            stage.forget(since_ns);
            stage.begin().unwrap();
            for (sequence, timestamp_ns) in [(0, 40), (1, 47), (2, 48), (3, 48), (4, 50)] {
                let stamp = Stamp { timestamp_ns, sequence };
                stage.push_copy(stamp, &payload(sequence), Tags::default());
                stage.push(Stamp { timestamp_ns: since_ns.max(1) - 1, sequence }, 0, 1, Tags::default());
                if since_ns == 0 {
                    break;
                }
            }
            assert_eq!((stage.n_disordered() > 0, stage.n_staged() > 0), (since_ns == 0, true), "{order:?}");
            stage.finish(Filled::End);
            while let Some(stamp) = stage.step() {
                let current = stage.current();
                assert!(stamp.timestamp_ns >= since_ns);
                let Place::Copied(at) = current.place() else { continue };
                assert_eq!(stage.copy(at, current.len_bytes), payload(stamp.sequence), "{order:?}");
            }
        }
    }
}
