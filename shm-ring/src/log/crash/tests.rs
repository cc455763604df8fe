//! Tests: worlds in numbers, and worlds with a bug in them.

use super::medium::Lie;
use super::world::{Outcome, Plan, run};

/// Images of an ordinary test run.
const N_IMAGES: usize = 700;
/// So many images find each planted bug, or it is not found.
const N_IMAGES_TO_FIND: usize = 3000;

fn number_of(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Worlds until there were so many images, or a violation.
fn worlds(n_images: usize, seed: u64, lie: Lie, faults_one_in: u64) -> Outcome {
    // Of few images, many worlds say more than many points of one.
    let (n_points, n_images_each) = if n_images > N_IMAGES { (40, 12) } else { (10, 5) };
    let mut outcome = Outcome::default();
    for seed in seed.. {
        let has_faults = seed % faults_one_in == 0;
        outcome.add(run(Plan { seed, lie, has_faults, n_points, n_images: n_images_each }));
        if outcome.n_images >= n_images || !outcome.violations.is_empty() {
            break;
        }
    }
    outcome
}

#[test]
fn every_crash_leaves_what_was_promised() {
    // Goal: no power cut and no kill takes what was acknowledged, or leaves what was never appended; recovery may be cut short as well.
    // Method: random logs of all durabilities, a third of them with calls that fail; SHM_RING_CRASH_IMAGES for more than a sample.
    let n_images = number_of("SHM_RING_CRASH_IMAGES", N_IMAGES);
    let seed = number_of("SHM_RING_CRASH_SEED", 1) as u64;
    let outcome = worlds(n_images, seed, Lie::Honest, 3);
    println!(
        "crash: seeds {seed}..{}, {} records, {} failed calls; {} points of {}; {} images, {} of them of recoveries; {} violations",
        seed + outcome.n_worlds as u64,
        outcome.n_records,
        outcome.n_failed_calls,
        outcome.n_points,
        outcome.n_points_seen,
        outcome.n_images,
        outcome.n_nested,
        outcome.violations.len()
    );
    assert!(outcome.violations.is_empty(), "{}", outcome.violations.join("\n\n"));
    assert!(outcome.n_images >= n_images);
}

/// In how many images the bug was found.
fn found_in(lie: Lie) -> usize {
    let outcome = worlds(N_IMAGES_TO_FIND, 1, lie, u64::MAX);
    assert!(!outcome.violations.is_empty(), "{lie:?}: not found in {} images", outcome.n_images);
    println!(
        "crash: {lie:?}: found in {} images: {}",
        outcome.n_images,
        outcome.violations[0].lines().take(2).collect::<String>()
    );
    outcome.n_images
}

#[test]
fn a_missing_directory_sync_is_found() {
    // Goal: the simulator sees names that were never brought to the medium. Method: a medium whose directory sync does nothing.
    found_in(Lie::Names);
}

#[test]
fn a_header_before_its_data_is_found() {
    // Goal: the simulator sees a manifest or a watermark that vouches for bytes that are not there. Method: segments' syncs do nothing.
    found_in(Lie::Segments);
}

#[test]
fn a_current_before_its_bytes_is_found() {
    // Goal: the simulator sees a rename of a file that is not on the medium. Method: CURRENT's syncs do nothing.
    found_in(Lie::Current);
}

#[test]
fn a_manifest_that_is_never_synced_is_found() {
    // Goal: the simulator sees what rests on records that are not there. Method: manifests' syncs do nothing.
    found_in(Lie::Manifests);
}
