//! Benchmarks between processes, with the machine's floor beside every figure.
//!
//! | file | what it is |
//! |------|------------|
//! | `clock` | time stamps |
//! | `machine` | processor, kernel, load, file systems |
//! | `command` | what the programs do with their arguments and results |
//! | `process` | shared memory, forked and pinned processes, a time-out |
//! | `floor` | what hardware and kernel allow: L1, L2, L4 |
//! | `minimal` | hand-written minimal rings |
//! | `ours` | the library, as a contestant |
//! | `rivals` | what a user could take instead, with the features `rivals` and `aeron`: `benches/README.md` |
//! | `workload` | ping-pong, stream, wake-up, CPU time while blocked; what is sent and how it is checked |
//! | `cells` | which contestant runs which workload at which size |
//! | `report` | medians, ratios, tables, targets, JSON |
//! | `turns` | contestants of one process that take turns, timed; their report |
//! | `log` | the log, beside what the machine allows |
//! | `mapped` | append files, ranged files and snapshots, in one process |
//! | `replay` | thousands of sources in one order: in memory, in files, in time |
//!
//! `cargo bench -p benches --bench rivals` runs all of it that is between processes, and `--bench mapped` what is not;
//! `-- --help` lists the options.

pub mod cells;
pub mod clock;
pub mod command;
pub mod floor;
pub mod log;
pub mod machine;
pub mod mapped;
pub mod minimal;
pub mod ours;
pub mod process;
pub mod replay;
pub mod report;
#[cfg(feature = "rivals")]
mod rivals;
pub mod turns;
pub mod workload;
