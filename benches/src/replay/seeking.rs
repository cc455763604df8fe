//! Seeking: a merge goes to another time, and has the first record from there: what of it is the merge's own. The times are in memory, where
//! a binary search finds them.

use std::cell::OnceCell;

use shm_ring::replay::{Merge, Next, Source, SourceError, Stamp};

use super::shapes::Shape;
use super::{Plan, Planned, Section, failed};
use crate::turns::{Cell, timed};

const K: usize = 3_000;
const N_SEEKS: usize = 32;

/// Goes everywhere, in these times.
type Seeks = fn(&[Vec<u64>]) -> Result<(), String>;

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    let all: [(&str, Seeks); 2] = [("ours", seek), ("search", search)];
    let cells = all.into_iter().map(|(contestant, seek)| {
        let times = OnceCell::new();
        Cell::new(format!("seek/{K}/{contestant}"), move || {
            let times = times.get_or_init(|| Shape::Random.times(K, plan.n_records[0], &[])).as_ref();
            let (sample, sought) = timed(N_SEEKS, || seek(times.map_err(String::clone)?));
            sought.map(|()| sample)
        })
    });
    let section = Section {
        title: "Seek over 3,000 sources",
        caption: "To the first record of a time, in memory. `search`: a binary search in each source, and no merge.",
        unit: ("us per seek", 1_000.0),
        floor: "search",
        cells: vec![],
    };
    vec![(section, cells.collect())]
}

/// Times all over the span of the first source's, always the same.
fn places(times: &[Vec<u64>]) -> impl Iterator<Item = u64> {
    let [first, last] = [times[0][0], times[0][times[0].len() - 1]];
    (0..N_SEEKS as u64).map(move |at| first + (last - first) / N_SEEKS as u64 * (at * 7 % N_SEEKS as u64))
}

fn seek(times: &[Vec<u64>]) -> Result<(), String> {
    let mut merge = Merge::new();
    for times in times {
        merge.add(Times { times, at: 0 });
    }
    for since_ns in places(times) {
        merge.seek(since_ns).map_err(failed("seek"))?;
        let first = merge.next().map_err(failed("merge"))?.map(|event| event.stamp.timestamp_ns);
        if first.is_none_or(|first_ns| first_ns < since_ns) {
            return Err(format!("from {since_ns} ns on, {first:?} came first"));
        }
    }
    Ok(())
}

fn search(times: &[Vec<u64>]) -> Result<(), String> {
    for since_ns in places(times) {
        for times in times {
            std::hint::black_box(times.partition_point(|ns| *ns < since_ns));
        }
    }
    Ok(())
}

struct Times<'a> {
    times: &'a [u64],
    at: usize,
}

impl Source for Times<'_> {
    type Record<'a>
        = ()
    where
        Self: 'a;

    #[inline]
    fn step(&mut self) -> Result<Next, SourceError> {
        let next = self.times.get(self.at);
        self.at += 1;
        Ok(next.map_or(Next::End, |&timestamp_ns| Next::Record(Stamp { timestamp_ns, sequence: 0 })))
    }

    fn record(&self) {}

    fn seek(&mut self, since_ns: u64) -> Result<(), SourceError> {
        self.at = self.times.partition_point(|ns| *ns < since_ns);
        Ok(())
    }

    fn name(&self) -> &'static str {
        "times"
    }
}
