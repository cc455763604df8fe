//! Seeking files: all of them to one time, here and there, from the page cache.

use std::cell::RefCell;
use std::rc::Rc;

use shm_ring::replay::{Merge, Order, PoolOptions, PoolSource};

use super::files::{Kind, time};
use super::{Plan, Planned, Section, failed};
use crate::turns::{Cell, Sample, timed};

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    let section = Section {
        title: "Seek over all files",
        caption: "`seek`: all sources; `first`: and the first record behind it, which asks each source for one.",
        unit: ("ms per seek", 1e6),
        floor: "seek",
        cells: vec![],
    };
    let mut cells = vec![];
    for kind in Kind::ALL.iter().copied() {
        for is_first in [false, true] {
            let what = if is_first { "first" } else { "seek" };
            let merge: Rc<RefCell<Option<Merge<PoolSource>>>> = Rc::default();
            let mut turn = 0;
            cells.push(Cell::new(format!("seek/{}/{what}", kind.name()), move || {
                turn += 1;
                seek(plan, kind, &mut merge.borrow_mut(), is_first, turn)
            }));
        }
    }
    vec![(section, cells)]
}

fn seek(
    plan: &Plan,
    kind: Kind,
    merge: &mut Option<Merge<PoolSource>>,
    is_first: bool,
    turn: usize,
) -> Result<Sample, String> {
    if merge.is_none() {
        let pool = PoolOptions::new().order(Order::Error).build().map_err(failed("build a pool"))?;
        let mut made = Merge::new();
        for path in kind.paths(plan)? {
            made.add(kind.open(&pool, &path)?);
        }
        *merge = Some(made);
    }
    let merge = merge.as_mut().expect("just made");
    let n_records = if kind == Kind::Log { plan.n_file_records.min(600) } else { plan.n_file_records };
    let (sample, done) = timed(1, || {
        merge.seek(time(plan, 0, turn * 389 % n_records)).map_err(failed("seek"))?;
        if is_first {
            merge.next().map_err(failed("replay"))?;
        }
        Ok::<_, String>(())
    });
    done.map(|()| sample)
}
