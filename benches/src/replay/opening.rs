//! Opening: all files of a pool, headers checked, beside the system calls alone.
//!
//! | contestant | does for each file |
//! |------------|--------------------|
//! | `bare` | open, fstat, mmap, touches the first byte, close; of a log: its newest segment |
//! | `ours` | `MapPool::open`, `MapPool::open_rows`; tables with the feature `arrow` |

use std::hint::black_box;

use memmap2::Mmap;
use shm_ring::MapBudget;
use shm_ring::replay::PoolOptions;

use super::files::Kind;
use super::{Plan, Planned, Results, Section, failed};
use crate::report::verdict::Target;
use crate::turns::{Cell, Sample, timed};

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    Kind::ALL.iter().map(|kind| (section(*kind), kind_cells(plan, *kind))).collect()
}

fn section(kind: Kind) -> Section {
    Section {
        title: match kind {
            Kind::Segment => "Opening sealed segments",
            Kind::Rows => "Opening files of rows",
            Kind::Log => "Opening logs",
            #[cfg(feature = "arrow")]
            Kind::Table => "Opening tables",
        },
        caption: "`bare`: open, fstat, mmap, a touch, close; of a log: of one segment.",
        unit: ("us per file", 1000.0),
        floor: "bare",
        cells: vec![],
    }
}

fn kind_cells(plan: &Plan, kind: Kind) -> Vec<Cell<'_>> {
    let name = |contestant| format!("open/{}/{contestant}", kind.name());
    vec![Cell::new(name("bare"), move || bare(plan, kind)), Cell::new(name("ours"), move || ours(plan, kind))]
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let of = |kind: Kind| {
        let name = |contestant| format!("open/{}/{contestant}", kind.name());
        results.slower(
            &format!("opening {}: times as long as the bare system calls", kind.name()),
            &name("ours"),
            &name("bare"),
            1.5,
        )
    };
    Kind::ALL.iter().filter(|kind| **kind != Kind::Log).map(|kind| of(*kind)).collect()
}

fn bare(plan: &Plan, kind: Kind) -> Result<Sample, String> {
    let mut paths = kind.paths(plan)?;
    if kind == Kind::Log {
        for path in &mut paths {
            path.push("00000000000000000001.seg");
        }
    }
    let (sample, maps) = timed(paths.len(), || {
        let mut maps = Vec::with_capacity(paths.len());
        for path in &paths {
            let file = std::fs::File::open(path).map_err(failed("open"))?;
            // SAFETY: files of this process alone, which nobody writes or cuts any more.
            let map = unsafe { Mmap::map(&file) }.map_err(failed("map"))?;
            black_box(map[0]);
            maps.push(map);
        }
        Ok::<_, String>(maps)
    });
    drop(maps?);
    Ok(sample)
}

fn ours(plan: &Plan, kind: Kind) -> Result<Sample, String> {
    let paths = kind.paths(plan)?;
    let pool = PoolOptions::new().budget(MapBudget::new()).build().map_err(failed("build a pool"))?;
    let (sample, sources) = timed(paths.len(), || {
        let mut sources = Vec::with_capacity(paths.len());
        for path in &paths {
            sources.push(kind.open(&pool, path)?);
        }
        Ok::<_, String>(sources)
    });
    drop(sources?);
    Ok(sample)
}
