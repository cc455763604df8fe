//! Replaying: every record of all files in the order of times, one word of each looked at, on one thread. Opening counts.
//!
//! | contestant | what |
//! |------------|------|
//! | `ordered`, `ours` | `Merge<PoolSource>`, records in the order that they should have |
//! | `reorder` | the same with the re-order window that a pool has by itself |
//! | `parked` | `ordered` without a map |
//! | `cat` | the same files through the program of that name |

use std::path::PathBuf;
use std::process::{Command, Stdio};

use shm_ring::MapBudget;
use shm_ring::replay::{Body, Merge, Order, PoolOptions};

use super::files::{Kind, forget_cached};
use super::{Plan, Planned, Results, Section, failed};
use crate::report::verdict::Target;
use crate::turns::{Cell, Sample, timed};

pub(super) fn cells(plan: &Plan) -> Vec<Planned<'_>> {
    let cell = |name: &str, kind, options: PoolOptions, is_cold: bool| {
        Cell::new(name.to_owned(), move || ours(plan, kind, &options, is_cold))
    };
    let ordered = || PoolOptions::new().order(Order::Error);
    #[cfg_attr(not(feature = "rivals"), expect(unused_mut, reason = "a rival is added"))]
    let mut warm = vec![
        cell("warm/segments/ordered", Kind::Segment, ordered(), false),
        cell("warm/segments/reorder", Kind::Segment, PoolOptions::new(), false),
        cell("warm/rows/ordered", Kind::Rows, ordered(), false),
        cell("warm/rows/reorder", Kind::Rows, PoolOptions::new(), false),
        cell("warm/segments/parked", Kind::Segment, ordered().budget(MapBudget::new().maps(0)), false),
    ];
    #[cfg(feature = "rivals")]
    warm.push(Cell::new("warm/dbn".to_owned(), move || super::decoder::replay(plan)));
    let mut cold = vec![];
    for kind in [Kind::Segment, Kind::Rows] {
        cold.push(cell(&format!("cold/{}/ours", kind.name()), kind, ordered(), true));
        cold.push(Cell::new(format!("cold/{}/cat", kind.name()), move || cat(plan, kind)));
    }
    let section = |title, caption, floor| Section {
        title,
        caption,
        unit: ("ns per record", 1.0),
        floor,
        cells: vec![],
    };
    vec![
        (section("Replaying from memory", "Opening counts; one thread.", "ordered"), warm),
        (
            section(
                "Replaying from the disk",
                "Behind posix_fadvise(DONTNEED) of all files; opening counts.",
                "cat",
            ),
            cold,
        ),
    ]
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    let cold = |kind: Kind| {
        let name = |contestant| format!("cold/{}/{contestant}", kind.name());
        results.slower(
            &format!("{} from the disk: times as long as cat", kind.name()),
            &name("ours"),
            &name("cat"),
            1.25,
        )
    };
    let warm = |kind: Kind| {
        let what = format!("{} from memory, ns a record: 10 million a second", kind.name());
        results.time(&what, &format!("warm/{}/ordered", kind.name()), 100.0)
    };
    let rival = |kind: Kind| {
        let what = format!("{} from memory: times as fast as dbn's merge decoder", kind.name());
        results.faster(&what, &format!("warm/{}/ordered", kind.name()), "warm/dbn", 2.0)
    };
    vec![
        rival(Kind::Segment),
        rival(Kind::Rows),
        warm(Kind::Segment),
        warm(Kind::Rows),
        cold(Kind::Segment),
        cold(Kind::Rows),
    ]
}

fn ours(plan: &Plan, kind: Kind, options: &PoolOptions, is_cold: bool) -> Result<Sample, String> {
    let paths = kind.paths(plan)?;
    if is_cold {
        forget_cached(&paths)?;
    }
    let n = plan.n_files * plan.n_file_records;
    let (sample, done) = timed(n, || {
        let pool = options.clone().build().map_err(failed("build a pool"))?;
        let mut merge = Merge::new();
        pool.expect(&paths);
        for path in &paths {
            merge.add(kind.open(&pool, path)?);
        }
        let (mut n_records, mut sum, mut last) = (0, 0_u64, 0);
        while let Some(event) = merge.next().map_err(failed("replay"))? {
            let Body::Bytes(bytes) = event.record.body else { return Err("no bytes".to_owned()) };
            sum = sum.wrapping_add(bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)));
            if event.stamp.timestamp_ns < last {
                return Err("out of order".to_owned());
            }
            last = event.stamp.timestamp_ns;
            n_records += 1;
        }
        std::hint::black_box(sum);
        Ok((n_records, merge))
    });
    let (n_records, _) = done?;
    if n_records < n { Err(format!("{n_records} of {n} records")) } else { Ok(sample) }
}

fn cat(plan: &Plan, kind: Kind) -> Result<Sample, String> {
    let paths: Vec<PathBuf> = kind.paths(plan)?;
    forget_cached(&paths)?;
    let (sample, done) = timed(plan.n_files * plan.n_file_records, || {
        Command::new("cat").args(&paths).stdout(Stdio::null()).status().map_err(failed("run cat"))
    });
    done?;
    Ok(sample)
}
