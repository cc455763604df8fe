//! Model: random steps, and a plain list beside them.

use super::{BOOT, OTHER_BOOT, Seen, append, create, disk, open, read, record, settings};
use crate::log::shared::Durability;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Batch(Vec<usize>),
    Roll,
    Turn,
    Sync,
    Close,
    Kill,
    /// Killed with so many frames staged.
    KillInBatch(usize),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = || prop_oneof![0usize..200, 0usize..16_385];
    let step = prop_oneof![
        8 => length().prop_map(Step::Append),
        3 => proptest::collection::vec(0usize..3000, 1..6).prop_map(Step::Batch),
        1 => Just(Step::Roll),
        2 => Just(Step::Turn),
        1 => Just(Step::Sync),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => (1usize..9).prop_map(Step::KillInBatch),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    // Goal: whatever is done to a log, what was published is there, once, in order, at its position, and positions ascend. Method: random
    // steps, ends in order, kills, kills in a batch and restarts of which the medium kept everything; a list beside them.
    #[test]
    fn a_log_is_a_list(steps in steps(), kind in 0usize..3, keeps in any::<bool>()) {
        let (_directory, disk) = disk();
        let durability = [Durability::Process, Durability::EachRecord, Durability::Interval(std::time::Duration::from_secs(9))][kind];
        let settings_of = |boot| super::Settings { durability, keep_bytes: keeps.then_some(100_000), ..settings(boot) };
        let (mut boot, mut core) = (BOOT, create(&disk, settings_of(BOOT)).unwrap());
        let (mut model, mut n): (Vec<Seen>, u64) = (vec![], 0);
        for step in steps {
            let mut next = |length: usize| {
                n += 1;
                (n, vec![n as u8; length])
            };
            match step {
                Step::Append(length) => {
                    let (time, payload) = next(length);
                    model.push((append(&mut core, time, &payload).unwrap(), time, payload));
                }
                Step::Batch(lengths) => {
                    for length in lengths {
                        let (time, payload) = next(length);
                        model.push((core.stage(&record(time, &payload)).unwrap(), time, payload));
                    }
                    core.publish();
                }
                Step::Roll => core.roll().unwrap(),
                Step::Turn => core.turn().unwrap(),
                Step::Sync => {
                    core.sync().unwrap();
                    prop_assert_eq!(core.shared.durable(), core.end());
                }
                Step::Close | Step::Kill | Step::KillInBatch(_) | Step::Restart => {
                    let is_closed = matches!(step, Step::Close);
                    if is_closed {
                        core.close().unwrap();
                    }
                    if let Step::KillInBatch(frames) = step {
                        let (time, payload) = next(50);
                        for _ in 0..frames {
                            if core.room_bytes() > 200 {
                                core.stage(&record(time, &payload)).unwrap();
                            }
                        }
                    }
                    let end = core.end();
                    drop(core);
                    if matches!(step, Step::Restart) {
                        boot = if boot == BOOT { OTHER_BOOT } else { BOOT };
                    }
                    let (again, found) = open(&disk, settings_of(boot)).unwrap();
                    prop_assert_eq!(found.lost_bytes, 0);
                    let is_above = if matches!(step, Step::Restart) { again.end() >= end } else { again.end() == end };
                    prop_assert!(is_above);
                    core = again;
                }
            }
            prop_assert!(core.shared.durable() <= core.end());
        }
        let seen = read(&disk).unwrap();
        let is_ascending = seen.is_sorted_by_key(|(at, ..)| *at);
        prop_assert!(is_ascending);
        let is_list = if keeps { model.ends_with(&seen) } else { model == seen };
        prop_assert!(is_list);
    }
}
