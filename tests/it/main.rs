//! The library's promises, one module each; other processes are this binary run again.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod allocations;
mod append;
mod append_cut;
mod append_durable;
mod append_following;
mod append_full;
mod append_golden;
#[cfg(feature = "guard")]
mod append_guard;
mod append_killing;
mod append_refusing;
mod budget;
mod child;
mod corrupt;
mod counting;
mod creating;
mod descriptors;
mod disks;
mod dropping;
#[cfg(feature = "killpoints")]
mod dying;
mod forking;
mod full_disk;
mod golden;
mod harness;
mod inspecting;
mod joining;
mod killing;
mod limits;
mod liveness;
mod log_append;
mod log_golden;
mod log_killing;
mod log_pinning;
mod log_raw;
mod log_read;
mod log_verify;
mod lossy;
mod opening;
mod order;
mod permissions;
mod quiet;
mod ranged;
mod ranged_files;
mod ranged_golden;
#[cfg(feature = "guard")]
mod ranged_guard;
mod ranged_killing;
mod ranged_model;
mod recording;
mod records;
mod remote;
mod replay_ahead;
mod replay_expect;
mod replay_feeds;
mod replay_kinds;
mod replay_live;
mod replay_merge;
mod replay_orders;
mod replay_pace;
mod replay_parked;
mod replay_pool;
mod replay_ring_edges;
mod replay_rings;
#[cfg(feature = "arrow")]
mod replay_table;
#[cfg(feature = "arrow")]
mod replay_table_hostile;
#[cfg(feature = "arrow")]
mod replay_table_lies;
#[cfg(feature = "arrow")]
mod replay_table_made;
#[cfg(feature = "arrow")]
mod replay_table_python;
#[cfg(feature = "arrow")]
mod replay_table_values;
mod resuming;
mod seeking;
mod sharing;
mod snapshot;
mod snapshot_cut;
mod snapshot_opening;
mod snapshot_sealed;
#[cfg(feature = "guard")]
mod truncating;
mod values;
mod waiting;

mod tidy;
