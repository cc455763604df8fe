//! Limits: what the system gives this process.
//!
//! Reads only.

use super::budget::MapBudget;
use nix::sys::resource::{Resource, getrlimit};

/// What Linux allows unless it is told otherwise.
const MAPS_MAX: u64 = 65_530;
const DESCRIPTORS_MAX: u64 = 1024;

/// A budget of half of the maps and descriptors that this process may have.
pub(crate) fn half() -> MapBudget {
    let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    let maps = maps.and_then(|text| text.trim().parse().ok()).unwrap_or(MAPS_MAX);
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(DESCRIPTORS_MAX, |(soft, _)| soft);
    let half = |n: u64| u16::try_from(n / 2).unwrap_or(u16::MAX);
    MapBudget::new().maps(half(maps)).descriptors(half(descriptors))
}
