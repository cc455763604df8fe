//! Losing: a writer that pushes and gives bytes up, killed at any step, its heir, and a reader that copies and is not waited for.
//!
//! Promise: what a reader calls good is what was published in the era of its look, byte by byte, and does not change while the era lasts.
//!
//! ```text
//!   era 0: words 0, 1 | keep 1, era 1: words 1, 2 | keep 2, era 2: word 2
//!   the heir: finishes what was begun, then a word behind the length, as its own
//! ```

use super::publish::{finish, give_up, is_still, look, publish};
use crate::layout::mapped::{Era, Live, SealWords};
use crate::layout::slots::Line;
use crate::sync::model::{Bounds, Who, explore, mortal, spawn, yield_now};
use crate::sync::{AtomicU64, Ordering};
use std::sync::Arc;

/// Who wrote a word: the writer in this era, or the heir.
const HEIR: u64 = 100;
/// The writer's words of each era, by their place.
const BY_WRITER: [&[u64]; 3] = [&[0, 0], &[0, 1, 1], &[0, 1, 2]];

struct World {
    live: Live,
    words: [AtomicU64; 4],
}

impl World {
    fn new() -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        let live = Live {
            len: Line(zero()),
            era: Line(Era {
                durable: zero(),
                generation: zero(),
                target: zero(),
                boot_id: [zero(), zero()],
                writer_pid: zero(),
            }),
            seal: Line(SealWords { state: zero(), sealed_len: zero(), data_crc: zero(), seal_crc: zero() }),
            more: Line(std::array::from_fn(|_| zero())),
        };
        Arc::new(Self { live, words: std::array::from_fn(|_| AtomicU64::new(u64::MAX)) })
    }

    fn push(&self, at: usize, whose: u64) {
        // ORDER none (Relaxed): bytes; only the protocol's orderings carry them.
        self.words[at].store(whose, Ordering::Relaxed);
        publish(&self.live, at as u64 + 1);
    }

    fn write(&self) {
        self.push(0, 0);
        self.push(1, 0);
        give_up(&self.live, 1);
        self.push(1, 1);
        self.push(2, 1);
        give_up(&self.live, 2);
        self.push(2, 2);
    }

    /// The next writer.
    fn inherit(&self) {
        finish(&self.live, look(&self.live).len_bytes);
        let at = usize::try_from(look(&self.live).len_bytes).expect("it is small");
        self.push(at, HEIR);
    }

    /// Copies all that there is, so many times.
    fn read(&self, looks: usize) {
        let mut seen = [[None; 4]; 3];
        for _ in 0..looks {
            let look = look(&self.live);
            let length = usize::try_from(look.len_bytes).expect("it is small");
            // ORDER none (Relaxed): as a copy out of the mapping.
            let copied: Vec<u64> =
                self.words[..length].iter().map(|word| word.load(Ordering::Relaxed)).collect();
            if is_still(&self.live, look) {
                let era = usize::try_from(look.era).expect("it is small");
                for (at, whose) in copied.iter().enumerate() {
                    let is_good = *whose == HEIR || BY_WRITER[era].get(at) == Some(whose);
                    let before = *seen[era][at].get_or_insert(*whose);
                    assert!(is_good && before == *whose, "{copied:?} of {look:?}, and before {seen:?}");
                }
            }
            yield_now();
        }
    }
}

/// A writer that is killed in front of that step, if it is; then an heir, beside a reader.
fn run(steps: Option<u64>, looks: usize) {
    let world = World::new();
    let (writing, reading) = (Arc::clone(&world), Arc::clone(&world));
    let reader = spawn(move || reading.read(looks));
    // The kernel gives the lock byte of the dead to the heir, with everything that they did.
    let writer = spawn(move || {
        if mortal(Who::Worker, steps, || writing.write()).is_none() {
            writing.inherit();
        }
    });
    writer.join().expect("it ends");
    reader.join().expect("it ends");
    world.read(1);
}

#[cfg(loom)]
mod orders {
    use super::*;
    use crate::sync::model::Explored;

    // Goal, method: the file's header; every place of death.
    #[test]
    fn what_a_follower_takes_for_good_is() {
        let mut all = Explored::default();
        for steps in 0.. {
            let explored = explore(Bounds::preemptions(2, 3), move || run(Some(steps), 2));
            all.add(explored);
            if explored.deaths[0] == 0 {
                all.tell(&format!("losing: a writer killed at {steps} places"));
                break;
            }
        }
    }
}

#[cfg(shuttle)]
mod depth {
    use super::*;
    use crate::sync::model::draw;

    // As under loom, with more looks.
    #[test]
    fn what_a_follower_takes_for_good_is() {
        let bounds = Bounds::schedules(15_000);
        explore(bounds, || run((draw(2) > 0).then(|| draw(40)), 12)).tell("losing, a writer and its heir");
    }
}
