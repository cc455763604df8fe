//! Shapes: the times of many sources, each in order, in four patterns. Always the same.
//!
//! | shape | how the sources follow each other |
//! |-------|-----------------------------------|
//! | `grid` | a record each 100 ms in each source, 100 phases of 30 ms: many have the same time |
//! | `random` | the next record is anybody's |
//! | `bursts` | 32 records of one source, then of another |
//! | `ticks` | quotes of markets: to the ms, a few sources have most of them, three in four have the time of the one in front in their source |
//!
//! `ticks` are real ones if there are any: CSV, of which the first column is ms since midnight, in order, and the sixth the exchange. Each
//! exchange's minute in each file is a stream.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::failed;

/// How the sources follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Grid,
    Random,
    Bursts,
    Ticks,
}

const BASE_NS: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;
const BURST: usize = 32;

impl Shape {
    pub(super) const ALL: [Self; 4] = [Self::Grid, Self::Random, Self::Bursts, Self::Ticks];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Random => "random",
            Self::Bursts => "bursts",
            Self::Ticks => "ticks",
        }
    }

    /// The times of `k` sources, about `n` in all.
    pub(super) fn times(self, k: usize, n: usize, ticks: &[PathBuf]) -> Result<Vec<Vec<u64>>, String> {
        match self {
            Self::Grid => Ok(grid(k, n)),
            Self::Random => Ok(runs(k, n, |random| (below(random, k), 1, 1 + random % 1000, 0))),
            Self::Bursts => Ok(runs(k, n, |random| (below(random, k), BURST, 1 + random % 1000, 10))),
            Self::Ticks if ticks.is_empty() => Ok(runs(k, n, tick(k))),
            Self::Ticks => real(k, n, ticks),
        }
    }
}

fn grid(k: usize, n: usize) -> Vec<Vec<u64>> {
    let row = |source: usize, at: usize| BASE_NS + (source % 100 * 30 + at * 100) as u64 * MS;
    (0..k).map(|source| (0..n / k).map(|at| row(source, at)).collect()).collect()
}

/// One run after the other: whose, how many records, how long after the one in front, and how far apart, in ns.
fn runs(k: usize, n: usize, mut next: impl FnMut(u64) -> (usize, usize, u64, u64)) -> Vec<Vec<u64>> {
    let mut sources = vec![vec![]; k];
    let (mut state, mut now_ns, mut n_left) = (0x9e37_79b9_7f4a_7c15_u64, BASE_NS, n);
    while n_left > 0 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let (source, len, after_ns, apart_ns) = next(state.wrapping_mul(0x2545_f491_4f6c_dd1d));
        now_ns += after_ns;
        for _ in 0..len.min(n_left) {
            sources[source].push(now_ns);
            now_ns += apart_ns;
        }
        n_left -= len.min(n_left);
    }
    sources
}

/// Runs of equal times, each as long as it happens that three in four go on.
fn tick(k: usize) -> impl FnMut(u64) -> (usize, usize, u64, u64) {
    move |random| {
        let part = (random >> 40) as f64 / (1_u64 << 24) as f64;
        let source = ((part.powi(3) * k as f64) as usize).min(k - 1);
        let mut len = 1;
        while random >> (2 * len) & 3 != 0 && len < 18 {
            len += 1;
        }
        // A few sources have records in the same ms.
        (source, len, u64::from(random >> 36 & 7 == 0) * MS, 0)
    }
}

fn below(random: u64, k: usize) -> usize {
    usize::try_from((random >> 32) * k as u64 >> 32).expect("less than k")
}

fn real(k: usize, n: usize, paths: &[PathBuf]) -> Result<Vec<Vec<u64>>, String> {
    let mut sources = vec![vec![]; k];
    let (mut streams, mut n_left) = (HashMap::new(), n);
    for (file, path) in paths.iter().enumerate() {
        for (number, line) in text(path)?.lines().enumerate().take(n_left) {
            let mut columns = line.split(',');
            let ms = columns.next().and_then(|ms| ms.parse::<u64>().ok());
            let ms = ms.ok_or_else(|| format!("{}:{}: no ms in front", path.display(), number + 1))?;
            let exchange = columns.nth(4).unwrap_or_default().to_owned();
            let new = streams.len() % k;
            let stream = *streams.entry((file, exchange, ms / 60_000)).or_insert(new);
            sources[stream].push(BASE_NS + ms * MS);
            n_left -= 1;
        }
    }
    sources.iter_mut().for_each(|times| times.sort());
    Ok(sources)
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(failed("read ticks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every shape has as many records as were asked for, in order in each source, and ticks as many ties as real ones.
    #[test]
    fn shapes_are_what_they_are_called() {
        for shape in Shape::ALL {
            let sources = shape.times(300, 300_000, &[]).unwrap();
            assert_eq!(sources.iter().map(Vec::len).sum::<usize>(), 300_000, "{shape:?}");
            assert!(sources.iter().all(|times| times.is_sorted()), "{shape:?}");
            let pairs = sources.iter().flat_map(|times| times.windows(2));
            let n_ties = pairs.filter(|pair| pair[0] == pair[1]).count();
            let is_right = match shape {
                Shape::Ticks => (210_000..240_000).contains(&n_ties),
                _ => n_ties == 0,
            };
            assert!(is_right, "{shape:?}: {n_ties}");
        }
    }
}
