//! Sharing: processes that allocate, write, free, read and sync in the tables of one file at once.
//!
//! Promise: what is handed out is one process's alone until it frees it; what is written is read whole, or not at all; a mark of what is
//! durable never stands on the medium beside bytes that somebody may still write.

use super::allocator::Refusal;
use super::bits::Run;
use super::heap::Heap;
use crate::sync::AtomicU64;
use crate::sync::model::{Bounds, explore, spawn, yield_now};
use std::sync::Arc;

/// A process: it allocates so many units, once for each number, and keeps what it got, written, or gives the first one back.
#[derive(Clone, Copy, Debug)]
struct Plan {
    units: &'static [(u64, u64)],
    gives_back: bool,
}

/// What a process was handed out and has kept.
fn live(heap: &Heap, plan: Plan, stamp: u64) -> Vec<Run> {
    let hint = AtomicU64::new(0);
    let mut kept = vec![];
    for (n, (least, most)) in plan.units.iter().enumerate() {
        let run = match heap.allocate(*least, *most, &hint) {
            Ok(run) => run,
            Err(Refusal::Full) => continue,
            Err(refusal) => panic!("{refusal:?}"),
        };
        assert!(run.n >= *least && run.n <= *most);
        heap.write(run, stamp);
        if n == 0 && plan.gives_back {
            heap.table().give_back(run, &hint);
        } else {
            heap.table().commit(run);
            assert_eq!(heap.read(run), vec![stamp; usize::try_from(run.n).unwrap()]);
            kept.push(run);
        }
    }
    kept
}

/// Processes with these plans, in a file of which so many units were handed out and these are free again; what they have kept.
fn share(n_units: u64, used: u64, free: &[Run], plans: &[Plan]) -> Vec<Run> {
    let heap = Heap::new(n_units);
    let hint = AtomicU64::new(0);
    let mut written = used;
    if used > 0 {
        let all = heap.allocate(used, used, &hint).expect("it is empty");
        heap.write(all, 1);
        heap.table().commit(all);
    }
    for run in free {
        heap.table().release(*run, &*heap, &hint).expect("a medium that works");
        written -= run.n;
    }
    let threads: Vec<_> = (10..)
        .zip(plans.to_vec())
        .map(|(stamp, plan)| {
            let heap = Arc::clone(&heap);
            spawn(move || (stamp, live(&heap, plan, stamp)))
        })
        .collect();
    let mut kept = vec![];
    for thread in threads {
        let (stamp, runs) = thread.join().expect("it ends");
        for run in &runs {
            assert_eq!(heap.read(*run), vec![stamp; usize::try_from(run.n).unwrap()], "{run:?}");
        }
        kept.extend(runs);
    }
    written += kept.iter().map(|run| run.n).sum::<u64>();
    // Nobody's are the others, each once, and no bit is lost.
    assert_eq!(heap.drain().len() as u64, n_units - written);
    assert_eq!(heap.make_fit(false), n_units - written, "the drained ones come back");
    kept
}

/// Somebody frees units 0 and 1 and takes them again, while another one copies them.
fn read_beside_a_new_owner() {
    const BOTH: Run = Run { first: 0, n: 2 };
    let heap = Heap::new(2);
    let hint = AtomicU64::new(0);
    assert_eq!(heap.allocate(2, 2, &hint), Ok(BOTH));
    heap.stamp(BOTH, 1);
    heap.table().commit(BOTH);
    let writer = Arc::clone(&heap);
    let writing = spawn(move || {
        let hint = AtomicU64::new(0);
        writer.table().release(BOTH, &*writer, &hint).expect("a medium that works");
        assert_eq!(writer.allocate(2, 2, &hint), Ok(BOTH));
        writer.stamp(BOTH, 2);
        writer.table().commit(BOTH);
    });
    let reader = Arc::clone(&heap);
    let reading = spawn(move || {
        for _ in 0..2 {
            let Some(generation) = reader.table().begin_reading(BOTH) else {
                yield_now();
                continue;
            };
            let stamps = reader.stamps(BOTH);
            if reader.table().end_reading(generation) {
                assert_eq!(stamps[0], stamps[1], "of two owners");
            }
        }
    });
    writing.join().expect("it ends");
    reading.join().expect("it ends");
}

/// Somebody writes a whole word of units and some more, while another one looks for what is written.
fn find_beside_a_writer() {
    let heap = Heap::new(68);
    let writer = Arc::clone(&heap);
    let writing = spawn(move || {
        let hint = AtomicU64::new(0);
        let run = writer.allocate(67, 67, &hint).expect("it is empty");
        writer.write(run, 7);
        writer.table().commit(run);
    });
    let finder = Arc::clone(&heap);
    let finding = spawn(move || {
        if let Some(run) = finder.table().written.next_run(0, 68, true) {
            assert_eq!(finder.read(run), vec![7; usize::try_from(run.n).unwrap()]);
        }
    });
    writing.join().expect("it ends");
    finding.join().expect("it ends");
}

/// Somebody frees a unit and takes it again, while another one brings the whole file to the medium and the kernel writes pages back.
fn sync_beside_a_new_owner(is_durable: bool) {
    const FIRST: Run = Run { first: 0, n: 1 };
    let heap = Heap::new(2);
    let hint = AtomicU64::new(0);
    for unit in 0..2 {
        let run = heap.allocate(1, 1, &hint).expect("it is empty");
        heap.stamp(run, 1);
        heap.table().commit(run);
        if is_durable && unit == 0 {
            heap.table().flush(run, &*heap).expect("a medium that works");
        }
    }
    let syncer = Arc::clone(&heap);
    let syncing = spawn(move || syncer.table().sync_all(&*syncer).expect("a medium that works"));
    let writer = Arc::clone(&heap);
    let writing = spawn(move || {
        let hint = AtomicU64::new(0);
        writer.table().release(FIRST, &*writer, &hint).expect("a medium that works");
        assert_eq!(writer.allocate(1, 1, &hint), Ok(FIRST));
        assert_eq!(writer.stored().marks[0] & 1, 0, "handed out, and durable");
        writer.stamp(FIRST, 2);
        yield_now();
        assert_eq!(writer.stored().marks[0] & 1, 0, "being written, and durable");
        writer.table().commit(FIRST);
    });
    let kernel = Arc::clone(&heap);
    let writing_back = spawn(move || kernel.write_back_marks(0));
    syncing.join().expect("it ends");
    writing.join().expect("it ends");
    writing_back.join().expect("it ends");
    let stored = heap.stored();
    assert_eq!(stored.marks[0] & 2, 2, "it was written before the sync, and nobody has touched it");
    assert_eq!(stored.data[1], 1);
    if stored.marks[0] & 1 != 0 {
        assert_eq!(stored.data[0], 2, "marked as durable, and not what was written");
    }
}

#[cfg(loom)]
mod orders {
    use super::*;

    const ONE: Plan = Plan { units: &[(1, 1), (1, 1)], gives_back: false };

    // Goal: nobody gets what another one got of the part that was never handed out. Method: two processes, room for three of four units.
    #[test]
    fn new_units_are_handed_out_once() {
        explore(Bounds::preemptions(3, 5), || {
            assert_eq!(share(3, 0, &[], &[ONE, ONE]).len(), 3);
        })
        .tell("ranges: bump");
        const CLAMPED: Plan = Plan { units: &[(1, 2), (2, 2)], gives_back: true };
        explore(Bounds::preemptions(2, 3), || {
            share(4, 0, &[], &[CLAMPED, ONE]);
        })
        .tell("ranges: bump, clamped");
    }

    // Goal: nobody gets what another one got of a run that is free again, or touches it before its last owner is through with it; and who
    // loses the race puts back what it took. Method: two processes and a run across a border of words, of which each wants the most or a
    // part, and one gives some back.
    #[test]
    fn freed_units_are_handed_out_once() {
        const FREE: &[Run] = &[Run { first: 62, n: 4 }];
        const MOST: Plan = Plan { units: &[(3, 3)], gives_back: false };
        const PART: Plan = Plan { units: &[(2, 2)], gives_back: false };
        const TWICE: Plan = Plan { units: &[(1, 3), (1, 1)], gives_back: true };
        explore(Bounds::preemptions(3, 4), || {
            assert_eq!(share(70, 70, FREE, &[MOST, MOST]).len(), 1);
        })
        .tell("ranges: a freed run, wanted twice");
        explore(Bounds::preemptions(2, 4), || {
            share(70, 70, FREE, &[MOST, PART]);
        })
        .tell("ranges: a freed run, wanted in part");
        explore(Bounds::preemptions(2, 3), || {
            share(70, 70, FREE, &[MOST, TWICE]);
        })
        .tell("ranges: a freed run, given back");
        const WORD: &[Run] = &[Run { first: 0, n: 64 }];
        const ALL: Plan = Plan { units: &[(64, 64)], gives_back: false };
        const ALL_BACK: Plan = Plan { gives_back: true, ..ALL };
        explore(Bounds::preemptions(2, 3), || {
            share(64, 64, WORD, &[ALL, ALL_BACK]);
        })
        .tell("ranges: a freed word");
    }

    // Goal: units that are free again and those behind them that never were handed out make one run, and still go out once.
    // Method: two processes that want more than either part has.
    #[test]
    fn the_end_is_folded_once() {
        const BOTH: Plan = Plan { units: &[(2, 2), (1, 1)], gives_back: false };
        explore(Bounds::preemptions(2, 3), || {
            share(3, 2, &[Run { first: 1, n: 1 }], &[BOTH, ONE]);
        })
        .tell("ranges: folded");
    }

    // Goal: what is found to be written is there. Method: somebody who looks for it, beside its writer.
    #[test]
    fn what_is_found_written_is_there() {
        explore(Bounds::preemptions(3, 4), find_beside_a_writer).tell("ranges: finding");
    }

    // Goal: who reads by place and not by receipt never takes bytes of two owners for one's. Method: a reader beside a new owner.
    #[test]
    fn readers_never_mix_owners() {
        explore(Bounds::preemptions(3, 4), read_beside_a_new_owner).tell("ranges: reading");
    }

    // Goal: a sync of the whole file marks nothing that was freed meanwhile, and all that was not. Method: one beside a new owner and a
    // kernel that writes marks back when it likes; the unit durable before, or not.
    #[test]
    fn a_mark_never_outlives_its_owner() {
        for is_durable in [false, true] {
            explore(Bounds::preemptions(2, 3), move || sync_beside_a_new_owner(is_durable))
                .tell("ranges: syncing");
        }
    }
}

#[cfg(shuttle)]
mod depth {
    use super::*;

    // Goal: as the models under loom. Method: three processes, more units, all ways of getting one.
    #[test]
    fn three_processes_never_share_a_unit() {
        const A: Plan = Plan { units: &[(3, 9), (1, 1), (4, 4), (2, 2)], gives_back: true };
        const B: Plan = Plan { units: &[(2, 2), (5, 70), (1, 3)], gives_back: false };
        const C: Plan = Plan { units: &[(6, 6), (1, 1), (1, 1), (2, 64)], gives_back: true };
        let free = &[Run { first: 3, n: 1 }, Run { first: 60, n: 12 }, Run { first: 125, n: 4 }];
        explore(Bounds::schedules(15_000), || {
            share(135, 129, free, &[A, B, C]);
        })
        .tell("ranges: three processes");
        explore(Bounds::schedules(15_000), read_beside_a_new_owner).tell("ranges: reading");
        explore(Bounds::schedules(15_000), || sync_beside_a_new_owner(true)).tell("ranges: syncing");
    }
}
