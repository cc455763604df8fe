//! Tree: which of many keys is the least, kept up as they change: a loser tree that gallops.
//!
//! ```text
//!   losers, bottom up:  | 0 | 1 | 2 | 3 |  4  |  5  |  6  |        8 leaves; leaf n plays at n / 2; the parent of node n is
//!                         0 1 2 3 4 5 6 7   <- leaves              half + n / 2, and behind the root that is out of the array
//!                                       winner: apart
//! ```
//!
//! Leaves are sources, padded to a power of two with keys that are over: L = ceil(log2 k) matches lead from each to the top.
//!
//! | what | comparisons |
//! |------|-------------|
//! | the winner's next key plays its way up | L |
//! | while galloping, it is still less than the challenger, the least of the losers on its way up | 1 |
//! | it no longer is | 1 + L |
//! | galloping is tried: the challenger is found (L - 1) and is greater | L |
//! | galloping is tried in vain | 2 L |
//! | a key comes in between | at most 2 L |
//! | everything is built anew | less than 2 k |
//!
//! (I1) each leaf's key is in the tree once; (I2) a node has the loser of the winners of its two halves; (I3) (L + 1) for each replaced key
//! are never less than the comparisons that were made for them: galloping is tried only where what was left of these, the credit, pays for
//! a try in vain.

use std::fmt;

/// A time and a source, in the order in which records are handed out.
///
/// ```text
///   | timestamp 64 | is over 1 | source 31 | is there no record yet 32 |
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct Key(u128);

impl Key {
    /// So many sources have numbers.
    pub(crate) const N_SOURCES_MAX: usize = 1 << 31;
    const OVER: u64 = 1 << 63;
    const SOURCE: u64 = (1 << 31) - 1;

    /// Of a record.
    #[inline(always)]
    pub(crate) fn record(timestamp_ns: u64, source: usize) -> Self {
        Self::new(timestamp_ns, (source as u64) << 32)
    }

    /// Of a source that has none yet, and will have none before that.
    pub(crate) fn not_before(timestamp_ns: u64, source: usize) -> Self {
        Self::new(timestamp_ns, (source as u64) << 32 | 1)
    }

    /// Of a source that has ended: behind all others.
    pub(crate) fn over(source: usize) -> Self {
        Self::new(u64::MAX, Self::OVER | (source as u64) << 32)
    }

    #[inline(always)]
    fn new(timestamp_ns: u64, low: u64) -> Self {
        Self(u128::from(timestamp_ns) << 64 | u128::from(low))
    }

    #[inline(always)]
    pub(crate) fn timestamp_ns(self) -> u64 {
        (self.0 >> 64) as u64
    }

    #[inline(always)]
    pub(crate) fn source(self) -> usize {
        (self.low() >> 32 & Self::SOURCE) as usize
    }

    #[inline(always)]
    pub(crate) fn is_record(self) -> bool {
        self.low() & (Self::OVER | 1) == 0
    }

    pub(crate) fn is_over(self) -> bool {
        self.low() & Self::OVER != 0
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    fn low(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_over() { "over" } else { ["not before", "at"][usize::from(self.is_record())] };
        write!(f, "{} {state} {}", self.source(), self.timestamp_ns())
    }
}

/// The least of the sources' keys.
#[derive(Debug)]
pub(crate) struct Tree {
    losers: Vec<Key>,
    winner: Key,
    /// Of as many leaves as there is room for.
    half: usize,
    /// From a leaf to the top: ceil(log2 k).
    n_levels: u64,
    n_leaves: usize,
    /// Keys of the leaves behind these, which are not in the tree yet.
    waiting: Vec<Key>,
    gallop: Gallop,
    /// What has been counted, but for what `gallop` has still to add.
    n_comparisons: u64,
}

/// How one source that keeps winning is followed.
#[derive(Debug)]
struct Gallop {
    is_on: bool,
    /// While it is on: the least of the losers on the winner's way up.
    challenger: Key,
    /// Keys that were less than the challenger, since the last count.
    n_short: u64,
    /// Keys that played all their way up, since the last count.
    n_long: u64,
    /// How often the winner has won again.
    n_again: u32,
    /// So often it has to before galloping is tried: more after each try in vain, less after a good one.
    n_again_min: u32,
    /// Comparisons that were allowed and not needed.
    credit: u64,
    n_gallops: u64,
}

impl Gallop {
    /// What is left over for later, in tries in vain.
    const TRIES_MAX: u64 = 64;
    const N_AGAIN_MAX: u32 = 8;
}

impl Tree {
    pub(crate) fn new() -> Self {
        let gallop = Gallop {
            is_on: false,
            challenger: Key::over(0),
            n_short: 0,
            n_long: 0,
            n_again: 0,
            n_again_min: 1,
            credit: 0,
            n_gallops: 0,
        };
        let (losers, waiting) = (vec![], vec![]);
        let winner = Key::over(0);
        Self { losers, winner, half: 0, n_levels: 0, n_leaves: 0, waiting, gallop, n_comparisons: 0 }
    }

    /// The least key.
    #[inline(always)]
    pub(crate) fn winner(&self) -> Key {
        self.winner
    }

    /// The losers at the top, one of which probably wins next: the one of the final first, then those of the semi-finals.
    #[inline(always)]
    pub(crate) fn finalists(&self) -> Option<[usize; 3]> {
        let [.., one, other, last] = self.losers[..] else { return None };
        Some([last, one, other].map(Key::source))
    }

    /// The winner's source has another key, and one like those before: whether that is the winner, too. If not, it is to be
    /// [replaced](Self::replace).
    #[inline(always)]
    pub(crate) fn goes_on(&mut self, key: Key) -> bool {
        let goes_on = self.gallop.is_on && key < self.gallop.challenger;
        if goes_on {
            self.gallop.n_short += 1;
            self.winner = key;
        }
        goes_on
    }

    /// The winner's source has another key, with which it does not [go on](Self::goes_on); the new winner is returned.
    #[inline(never)]
    pub(crate) fn replace(&mut self, key: Key) -> Key {
        if self.gallop.is_on {
            self.stop_galloping();
            self.n_comparisons += 1 + self.n_levels;
        } else if self.gallop.n_again < self.gallop.n_again_min {
            self.gallop.n_long += 1;
        } else if self.gallops(key) {
            return key;
        }
        let winner = climb(&mut self.losers, self.half, key);
        self.gallop.n_again = if winner.source() == key.source() { self.gallop.n_again + 1 } else { 0 };
        self.winner = winner;
        winner
    }

    /// The next source's key; it takes part from [`place`](Self::place) on.
    pub(crate) fn push(&mut self, key: Key) {
        self.waiting.push(key);
    }

    /// All keys that were pushed take part.
    pub(crate) fn place(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.stop_galloping();
        let n_leaves = self.n_leaves + self.waiting.len();
        let n_levels = n_leaves.next_power_of_two().ilog2() as usize;
        if self.waiting.len() * 2 * n_levels >= n_leaves {
            return self.build(n_leaves);
        }
        for key in std::mem::take(&mut self.waiting) {
            self.insert(key);
        }
    }

    /// No source takes part any more.
    pub(crate) fn clear(&mut self) {
        self.stop_galloping();
        self.losers.clear();
        self.waiting.clear();
        self.winner = Key::over(0);
        (self.half, self.n_levels, self.n_leaves) = (0, 0, 0);
    }

    pub(crate) fn n_comparisons(&self) -> u64 {
        self.n_comparisons + self.gallop.n_short + self.gallop.n_long * self.n_levels
    }

    /// Runs in which one source was followed.
    pub(crate) fn n_gallops(&self) -> u64 {
        self.gallop.n_gallops
    }

    /// Tries to gallop; if not, the key still has to play, which is counted here.
    #[inline(never)]
    fn gallops(&mut self, key: Key) -> bool {
        self.count();
        self.gallop.credit = self.gallop.credit.min(Gallop::TRIES_MAX * self.n_levels);
        if self.n_levels < 2 || self.gallop.credit + 1 < self.n_levels {
            self.gallop.n_long += 1;
            return false;
        }
        let challenger = self.challenger(key.source());
        self.n_comparisons += self.n_levels;
        if key < challenger {
            self.winner = key;
            self.gallop.credit += 1;
            self.gallop.n_gallops += 1;
            self.gallop.n_again_min = self.gallop.n_again_min.saturating_sub(1);
            (self.gallop.is_on, self.gallop.challenger) = (true, challenger);
            return true;
        }
        self.n_comparisons += self.n_levels;
        self.gallop.credit = self.gallop.credit + 1 - self.n_levels;
        self.gallop.n_again_min = (self.gallop.n_again_min + 1).min(Gallop::N_AGAIN_MAX);
        false
    }

    /// The least of the losers on the way up from that leaf.
    fn challenger(&self, source: usize) -> Key {
        let mut at = source / 2;
        let mut least = self.losers[at];
        while let Some(node) = self.losers.get(self.half + at / 2) {
            least = least.min(*node);
            at = self.half + at / 2;
        }
        least
    }

    #[inline(always)]
    fn stop_galloping(&mut self) {
        self.count();
        self.gallop.is_on = false;
        self.gallop.n_again = 0;
    }

    /// Brings the counts up to date; before the number of levels changes.
    #[inline(always)]
    fn count(&mut self) {
        let (n_short, n_long) = (self.gallop.n_short, self.gallop.n_long);
        self.n_comparisons += n_short + n_long * self.n_levels;
        self.gallop.credit += n_short * self.n_levels + n_long;
        (self.gallop.n_short, self.gallop.n_long) = (0, 0);
    }

    /// All leaves anew, those in the tree and those that wait.
    fn build(&mut self, n_leaves: usize) {
        let n_padded = n_leaves.next_power_of_two();
        let mut winners: Vec<Key> = (0..n_padded).map(Key::over).collect();
        if self.n_leaves > 0 {
            for key in self.losers.drain(..).chain([self.winner]) {
                winners[key.source()] = key;
            }
        }
        for key in self.waiting.drain(..) {
            winners[key.source()] = key;
        }
        (self.half, self.n_levels, self.n_leaves) = (n_padded / 2, u64::from(n_padded.ilog2()), n_leaves);
        self.n_comparisons += n_padded as u64 - 1;
        while winners.len() > 1 {
            for at in 0..winners.len() / 2 {
                let [left, right] = [winners[2 * at], winners[2 * at + 1]];
                self.losers.push(left.max(right));
                winners[at] = left.min(right);
            }
            winners.truncate(winners.len() / 2);
        }
        self.winner = winners[0];
    }

    /// One leaf more. From the top down, because there it is known who has won so far: `winner` is that of the half that the leaf is in.
    fn insert(&mut self, key: Key) {
        let leaf = self.n_leaves;
        if leaf == self.losers.len() + 1 {
            self.double();
        }
        self.n_leaves += 1;
        self.n_comparisons += 2 * self.n_levels;
        let mut winner = self.winner;
        self.winner = winner.min(key);
        for level in (0..self.n_levels).rev() {
            let below = 2 * self.half - ((2 * self.half) >> level);
            let at = below + (leaf >> (level + 1));
            let loser = self.losers[at];
            if winner.source() >> level != leaf >> level {
                // The winner came from the other half, so the loser from this one.
                self.losers[at] = winner.max(key).min(loser);
                winner = loser;
            }
        }
    }

    /// Twice as many leaves; nobody is compared: what is new is over.
    fn double(&mut self) {
        self.count();
        let n = self.losers.len() + 1;
        let mut losers = Vec::with_capacity(2 * n);
        let mut old = std::mem::take(&mut self.losers).into_iter();
        let mut width = 2;
        while width <= n {
            losers.extend(old.by_ref().take(n / width));
            losers.extend((0..n / width).map(|at| Key::over(n + at * width + width / 2)));
            width *= 2;
        }
        losers.push(Key::over(n));
        (self.losers, self.half) = (losers, n);
        self.n_levels += 1;
    }
}

/// Plays a key against each loser on its way up; the winner is returned.
///
/// Who wins can't be foretold, so nothing may branch on it. The compiler makes conditional moves of `min`, and where there is no loop it leaves
/// them: hence all levels that there may be, one after the other, each of which ends it where the array ends.
#[inline(always)]
fn climb(losers: &mut [Key], half: usize, key: Key) -> Key {
    let (mut winner, mut at) = (key, key.source() / 2);
    macro_rules! level {
        () => {
            let Some(node) = losers.get_mut(at) else { return winner };
            let least = Key(node.0.min(winner.0));
            *node = Key(node.0 ^ winner.0 ^ least.0);
            winner = least;
            at = half + at / 2;
        };
    }
    macro_rules! eight {
        () => {
            level!();
            level!();
            level!();
            level!();
            level!();
            level!();
            level!();
            level!();
        };
    }
    eight!();
    eight!();
    eight!();
    eight!();
    debug_assert!(at >= losers.len(), "there are no more than 2^31 leaves");
    winner
}
