//! Tree trial: a tree against all keys in a row, and its comparisons against what they may be.
//!
//! (I1) the least of all keys is looked for anew after each change.

use super::tree::{Key, Tree};
use proptest::prelude::*;

/// What happens to a tree.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// The winner's time becomes later by so much.
    Later(u64),
    /// It becomes earlier.
    Earlier(u64),
    NotBefore(u64),
    Over,
    /// So many sources are added.
    Add(usize),
    Clear,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        12 => (0_u64..4).prop_map(Change::Later),
        12 => (0_u64..200).prop_map(Change::Later),
        1 => (0_u64..50).prop_map(Change::Earlier),
        1 => (0_u64..50).prop_map(Change::NotBefore),
        1 => Just(Change::Over),
        2 => (1_usize..4).prop_map(Change::Add),
        1 => (1_usize..40).prop_map(Change::Add),
    ]
}

fn replace(tree: &mut Tree, key: Key) {
    if !tree.goes_on(key) {
        assert_eq!(tree.replace(key), tree.winner());
    }
}

/// A tree and all of its keys, and what it may have compared.
struct Both {
    tree: Tree,
    keys: Vec<Key>,
    n_allowed: u64,
}

impl Both {
    fn new() -> Self {
        Self { tree: Tree::new(), keys: vec![], n_allowed: 0 }
    }

    fn n_levels(&self) -> u64 {
        u64::from(self.keys.len().next_power_of_two().ilog2())
    }

    fn add(&mut self, times: impl IntoIterator<Item = u64>) {
        for timestamp_ns in times {
            self.keys.push(Key::record(timestamp_ns, self.keys.len()));
            self.tree.push(*self.keys.last().unwrap());
            self.n_allowed += 2 * self.n_levels();
        }
        self.tree.place();
        self.n_allowed += 2;
    }

    fn replace(&mut self, key: Key) {
        self.keys[key.source()] = key;
        replace(&mut self.tree, key);
        self.n_allowed += self.n_levels() + 1;
    }

    fn change(&mut self, change: Change) {
        let (winner, latest) = (self.tree.winner(), self.keys.iter().map(|key| key.timestamp_ns()).max());
        let (timestamp_ns, source) = (winner.timestamp_ns(), winner.source());
        match change {
            Change::Add(n) => self.add((0..n as u64).map(|at| latest.unwrap_or(0).min(1 << 40) + at)),
            Change::Clear => {
                self.tree.clear();
                self.keys.clear();
            }
            _ if self.keys.is_empty() || winner.is_over() => {}
            Change::Later(by) => self.replace(Key::record(timestamp_ns.saturating_add(by), source)),
            Change::Earlier(by) => self.replace(Key::record(timestamp_ns.saturating_sub(by), source)),
            Change::NotBefore(by) => self.replace(Key::not_before(timestamp_ns.saturating_add(by), source)),
            Change::Over => self.replace(Key::over(source)),
        }
    }

    fn check(&self) {
        if let Some(least) = self.keys.iter().min() {
            assert_eq!(self.tree.winner(), *least);
        }
        let n = self.tree.n_comparisons();
        assert!(n <= self.n_allowed, "{n} comparisons of {}", self.n_allowed);
    }
}

proptest! {
    #[test]
    fn the_winner_is_the_least(changes in prop::collection::vec(change(), 1..400), start in 0_usize..20) {
        // Goal: whatever happens to the keys, the least is known, and ceil(log2 k) + 1 comparisons a change are enough.
        // Method: random changes; the least by looking at all keys, the comparisons against those that are allowed up to then.
        let mut both = Both::new();
        both.add(0..start as u64);
        for change in changes {
            both.change(change);
            both.check();
        }
    }

    #[test]
    fn a_cleared_tree_is_as_a_new_one(
        before in prop::collection::vec(change(), 1..60),
        after in prop::collection::vec(change(), 1..60),
    ) {
        // Goal: a seek leaves nothing behind of what was in the tree.
        // Method: random changes, none left, other changes.
        let mut both = Both::new();
        for change in before.into_iter().chain([Change::Clear]).chain(after) {
            both.change(change);
            both.check();
        }
    }
}

#[test]
fn comparisons_stay_within_what_is_allowed_in_bad_patterns() {
    // Goal: no order of records costs more than ceil(log2 k) + 1 comparisons a record, at any time, for any number of sources.
    // Method: each source wins n times and then comes behind all others, for each n, so that galloping is always tried in vain; runs in which
    // it was good before, so that all credit is spent; the count after each single record.
    for k in (1..=70_u64).chain([127, 128, 129, 255, 256, 257, 300, 1000, 1024, 1025, 3000]) {
        for run in 1..12 {
            let mut both = Both::new();
            both.add(0..k);
            let (mut n_left, mut latest) = (run, k);
            for event in 0..4000 {
                let source = both.tree.winner().source();
                let is_good = event % 2000 < 500;
                n_left = if n_left == 0 { if is_good { 40 } else { run } } else { n_left - 1 };
                latest += 1;
                let stays = both.tree.winner().timestamp_ns();
                both.replace(Key::record(if n_left > 0 { stays } else { latest }, source));
                let n = both.tree.n_comparisons();
                assert!(
                    n <= both.n_allowed,
                    "{k} sources, runs of {run}: {n} comparisons of {}",
                    both.n_allowed
                );
            }
            assert_eq!(Some(&both.tree.winner()), both.keys.iter().min(), "{k} sources, runs of {run}");
        }
    }
}

#[test]
fn one_source_is_followed_for_one_comparison_a_record() {
    // Goal: a source that keeps winning costs one comparison a record, however many others there are.
    // Method: 1000 sources take turns for a while, then one wins 10,000 times; comparisons before and after.
    let mut both = Both::new();
    both.add(0..1000);
    for _ in 0..100 {
        let winner = both.tree.winner();
        both.replace(Key::record(winner.timestamp_ns() + 2_000_000, winner.source()));
    }
    let (winner, before) = (both.tree.winner(), both.tree.n_comparisons());
    for _ in 0..10_000 {
        both.replace(winner);
    }
    let n = both.tree.n_comparisons() - before;
    assert!((10_000..10_040).contains(&n), "{n}");
    both.check();
}

#[test]
fn keys_one_ns_apart_are_told_apart() {
    // Goal: times are compared as integers up to the last one that there is, sources by number, and what is over comes last.
    // Method: neighbours at both ends and where 64-bit floating point has 256 ns between two numbers.
    for ns in [0, 1_700_000_000_000_000_000, u64::MAX - 1] {
        assert!(Key::record(ns, 2999) < Key::record(ns + 1, 0));
        assert!(Key::record(ns, 0) < Key::record(ns, 1));
        assert!(Key::not_before(ns, 0) < Key::record(ns, 1) && Key::record(ns, 0) < Key::not_before(ns, 1));
        assert_eq!((Key::record(ns, 7).timestamp_ns(), Key::record(ns, 7).source()), (ns, 7));
    }
    assert!(Key::record(u64::MAX, 7) < Key::over(0) && Key::not_before(u64::MAX, 7) < Key::over(0));
}
