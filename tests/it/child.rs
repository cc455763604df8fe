//! Child: where this binary, run again, finds the role that it is to play.

#[cfg(feature = "killpoints")]
use crate::dying;
use crate::harness::Script;
#[cfg(feature = "arrow")]
use crate::replay_table;
#[cfg(feature = "arrow-lz4")]
use crate::replay_table_hostile;
use crate::{
    append, append_cut, append_durable, append_following, append_full, append_golden, append_killing,
    creating, descriptors, forking, full_disk, golden, inspecting, joining, killing, limits, liveness,
    log_append, log_golden, log_killing, log_pinning, log_read, lossy, order, permissions, quiet, ranged,
    ranged_files, ranged_golden, ranged_killing, recording, remote, replay_ahead, replay_expect,
    replay_kinds, replay_live, replay_parked, replay_pool, replay_rings, resuming, sharing, snapshot,
    snapshot_cut, snapshot_opening, waiting,
};
#[cfg(feature = "guard")]
use crate::{append_guard, ranged_guard, truncating};

/// Every role, by the name that tests call it.
const ROLES: &[(&str, fn())] = &[
    ("append::drops_everything", append::drops_everything),
    ("append::forks", append::forks),
    ("append::has_few_addresses", append::has_few_addresses),
    ("append_cut::alone", append_cut::alone),
    ("append_durable::failing", append_durable::failing),
    ("append_durable::reopener", append_durable::reopener),
    ("append_durable::sealing", append_durable::sealing),
    ("append_durable::moves", append_durable::moves),
    ("append_durable::pusher", append_durable::pusher),
    ("append_following::reader", append_following::reader),
    ("append_following::tail", append_following::tail),
    ("append_following::holder", append_following::holder),
    ("append_following::pinner", append_following::pinner),
    ("append_following::writer", append_following::writer),
    ("append_full::alone", append_full::alone),
    ("append_full::far_reader", append_full::far_reader),
    ("append_full::limited", append_full::limited),
    #[cfg(feature = "guard")]
    ("append_guard::writer", append_guard::writer),
    #[cfg(feature = "guard")]
    ("append_guard::follower", append_guard::follower),
    ("append_golden::make", append_golden::make),
    ("append_killing::nursery", append_killing::nursery),
    ("creating::opener", creating::opener),
    ("creating::creator", creating::creator),
    ("creating::impatient", creating::impatient),
    #[cfg(feature = "killpoints")]
    ("dying::joins_a_group", dying::joins_a_group),
    #[cfg(feature = "killpoints")]
    ("dying::takes_a_name", dying::takes_a_name),
    #[cfg(feature = "killpoints")]
    ("dying::works", dying::works),
    #[cfg(feature = "killpoints")]
    ("dying::holds", dying::holds),
    #[cfg(feature = "killpoints")]
    ("dying::seeks", dying::seeks),
    #[cfg(feature = "killpoints")]
    ("dying::drops", dying::drops),
    #[cfg(feature = "killpoints")]
    ("dying::drops_a_poisoned_member", dying::drops_a_poisoned_member),
    #[cfg(feature = "killpoints")]
    ("dying::stops", dying::stops),
    #[cfg(feature = "killpoints")]
    ("dying::waits", dying::waits),
    #[cfg(feature = "killpoints")]
    ("dying::starves", dying::starves),
    #[cfg(feature = "killpoints")]
    ("dying::stops_while_it_leaves", dying::stops_while_it_leaves),
    ("descriptors::everything", descriptors::everything),
    ("forking::downwards", forking::downwards),
    ("forking::upwards", forking::upwards),
    ("forking::fan_out", forking::fan_out),
    ("forking::wrong_side_of_a_memfd", forking::wrong_side_of_a_memfd),
    ("forking::wrong_side_of_a_file", forking::wrong_side_of_a_file),
    ("forking::questions", forking::questions),
    ("forking::ends", forking::ends),
    ("forking::sleepers", forking::sleepers),
    ("forking::orphans", forking::orphans),
    ("full_disk::alone", full_disk::alone),
    ("golden::make", golden::make),
    ("log_golden::make", log_golden::make),
    ("inspecting::forks", inspecting::forks),
    ("joining::producer", joining::producer),
    ("killing::nursery", killing::nursery),
    ("killing::exclusive", killing::exclusive),
    ("killing::extinction", killing::extinction),
    ("killing::unfinished", killing::unfinished),
    ("limits::no_descriptors", limits::no_descriptors),
    ("liveness::prober", liveness::prober),
    ("liveness::spawner", liveness::spawner),
    ("liveness::careless", liveness::careless),
    ("liveness::stranger", liveness::stranger),
    ("log_pinning::forks_among", log_pinning::forks_among),
    ("log_pinning::forks_beside", log_pinning::forks_beside),
    ("log_pinning::holds", log_pinning::holds),
    ("log_read::appender", log_read::appender),
    ("log_read::follower", log_read::follower),
    ("log_read::forks", log_read::forks),
    ("log_read::saver", log_read::saver),
    ("log_append::forks", log_append::forks),
    ("log_append::is_full", log_append::is_full),
    ("log_append::opens", log_append::opens),
    ("log_killing::nursery", log_killing::nursery),
    ("log_killing::other_nursery", log_killing::other_nursery),
    ("lossy::pushing", lossy::pushing),
    ("lossy::mixing", lossy::mixing),
    ("lossy::observer", lossy::observer),
    ("order::producer", order::producer),
    ("order::consumer", order::consumer),
    ("order::parent", order::parent),
    ("permissions::opener", permissions::opener),
    ("permissions::member", permissions::member),
    ("permissions::creator", permissions::creator),
    ("permissions::read_only", permissions::read_only),
    ("permissions::glutton", permissions::glutton),
    ("quiet::pusher", quiet::pusher),
    ("ranged::forks", ranged::forks),
    ("ranged::traced", ranged::traced),
    ("ranged_files::alone", ranged_files::alone),
    ("ranged_files::holder", ranged_files::holder),
    ("ranged_files::taker", ranged_files::taker),
    ("ranged_golden::make", ranged_golden::make),
    #[cfg(feature = "guard")]
    ("ranged_guard::victim", ranged_guard::victim),
    ("ranged_killing::fetcher", ranged_killing::fetcher),
    ("ranged_killing::filler", ranged_killing::filler),
    ("ranged_killing::nursery", ranged_killing::nursery),
    ("recording::alone", recording::alone),
    ("recording::alone_at_the_end", recording::alone_at_the_end),
    ("recording::dies", recording::dies),
    ("recording::may_not_write", recording::may_not_write),
    ("remote::asker", remote::asker),
    ("replay_live::producer", replay_live::producer_of_rings),
    ("replay_live::recorder", replay_live::recorder_of_rings),
    ("resuming::three", resuming::three),
    ("resuming::producer", resuming::producer),
    ("resuming::reader", resuming::reader),
    ("resuming::lossy_reader", resuming::lossy_reader),
    ("resuming::durable", resuming::durable),
    ("resuming::by_hand", resuming::by_hand),
    ("resuming::holder", resuming::holder),
    ("resuming::pusher", resuming::pusher),
    ("sharing::member", sharing::member),
    ("sharing::pipeline", sharing::pipeline),
    #[cfg(feature = "guard")]
    ("truncating::victim", truncating::victim),
    #[cfg(feature = "guard")]
    ("truncating::bystander", truncating::bystander),
    #[cfg(feature = "guard")]
    ("truncating::parent", truncating::parent),
    #[cfg(feature = "guard")]
    ("truncating::overflow", truncating::overflow),
    #[cfg(feature = "guard")]
    ("truncating::at_the_edge", truncating::at_the_edge),
    #[cfg(feature = "guard")]
    ("truncating::handler", truncating::handler),
    ("waiting::consumer", waiting::consumer),
    ("waiting::producer", waiting::producer),
    ("snapshot::reader", snapshot::reader),
    ("snapshot::keeper", snapshot::keeper),
    ("snapshot::parent", snapshot::parent),
    ("snapshot_cut::victim", snapshot_cut::victim),
    #[cfg(not(feature = "guard"))]
    ("snapshot_cut::unguarded", snapshot_cut::unguarded),
    ("snapshot_opening::stranger", snapshot_opening::stranger),
    ("snapshot_opening::cramped", snapshot_opening::cramped),
    ("snapshot_opening::no_descriptors", snapshot_opening::no_descriptors),
    ("replay_expect::expecting", replay_expect::expecting),
    ("replay_expect::forked", replay_expect::forked),
    ("replay_ahead::capped", replay_ahead::capped),
    ("replay_ahead::forks_beside", replay_ahead::forks_beside),
    ("replay_ahead::quiet", replay_ahead::quiet),
    ("replay_kinds::capped", replay_kinds::capped),
    ("replay_kinds::replays", replay_kinds::replays),
    ("replay_parked::forked", replay_parked::forked),
    ("replay_parked::hole", replay_parked::hole),
    ("replay_parked::locked", replay_parked::locked),
    ("replay_pool::capped", replay_pool::capped),
    ("replay_rings::dies", replay_rings::dies),
    ("replay_rings::exhausted", replay_rings::exhausted),
    ("replay_pool::cramped", replay_pool::cramped),
    ("replay_pool::exhausted", replay_pool::exhausted),
    #[cfg(feature = "arrow")]
    ("replay_table::cramped", replay_table::cramped),
    #[cfg(feature = "arrow")]
    ("replay_table::moves", replay_table::moves),
    #[cfg(feature = "arrow")]
    ("replay_table::short_of_room", replay_table::short_of_room),
    #[cfg(feature = "arrow-lz4")]
    ("replay_table_hostile::unpacks", replay_table_hostile::unpacks),
    ("waiting::echo", waiting::echo),
    ("waiting::sleeper", waiting::sleeper),
    ("waiting::idle", waiting::idle),
    ("waiting::claimer", waiting::claimer),
];

#[test]
#[ignore = "plays a role in other tests; does nothing by itself"]
fn entry() {
    // Goal: other processes run the library as its users' processes do.
    // Method: tests run this binary again with the role's name in the environment; see `harness`.
    let Some(role) = Script::role() else { return };
    let (_, play) = ROLES.iter().find(|(name, _)| *name == role).unwrap_or_else(|| panic!("no role {role}"));
    play();
}
