//! Images: of what a crash may leave, what it does leave.
//!
//! ```text
//!   remains --> places that are open (a change of names, a length, a page), each with its choices
//!           --> few: every combination        many: random ones, most of them extremes
//!           --> an image: remains in which everything is settled
//! ```
//!
//! (I1) no image twice for the same remains; (I2) a page is what it was at one moment, or sectors of two moments, or each sector of a moment
//! of its own; (I3) a change of names comes with those that it rests on.
//! Judges nothing.

use super::random::Random;
use super::remains::{N_SECTORS, Names, Number, PAGE_BYTES, Page, Remainder, Remains, SECTOR_BYTES};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Something that a crash may leave one way or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Change(usize),
    Length(Number),
    Page(Number, usize),
}

/// What it is left as.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Pick {
    /// The n-th: of a change, whether it was made; of a length or a page, of what was seen.
    One(usize),
    /// Of a length: so many bytes, between two that were seen.
    Between(u64),
    /// Of a page: a moment for each sector.
    Torn([usize; N_SECTORS]),
    /// Of a page that is new to its file: what somebody else had left in its place.
    Stale(u64),
}

/// The images of one crash.
#[derive(Debug)]
pub(super) struct Images<'a> {
    remains: &'a Remains,
    /// Each open place, with the number of choices.
    places: Vec<(Place, usize)>,
    drawn: HashSet<u64>,
}

impl<'a> Images<'a> {
    pub(super) fn new(remains: &'a Remains) -> Self {
        let mut places: Vec<_> = (0..remains.changes.len()).map(|n| (Place::Change(n), 2)).collect();
        let mut numbers: Vec<_> = remains.names.values().chain(remains.synced.values()).copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let file = &remains.files[number];
            places.push((Place::Length(number), file.lengths.len()));
            let pages = file.pages.iter().enumerate();
            places.extend(pages.map(|(n, page)| (Place::Page(number, n), page.moments.len())));
        }
        places.retain(|(_, n_choices)| *n_choices > 1);
        Self { remains, places, drawn: HashSet::new() }
    }

    /// How many combinations there are, sectors aside; at most `most`.
    pub(super) fn n_combinations(&self, most: usize) -> usize {
        self.places
            .iter()
            .try_fold(1_usize, |n, (_, choices)| n.checked_mul(*choices))
            .map_or(most, |n| n.min(most))
    }

    /// At most so many: every combination when there are no more, random ones otherwise. Each with what it is, for a report.
    pub(super) fn take(&mut self, n_most: usize, random: &mut Random) -> Vec<(Remains, String)> {
        let mut images = vec![];
        if self.n_combinations(n_most + 1) <= n_most {
            let mut digits = vec![0; self.places.len()];
            loop {
                images.extend(self.image(digits.iter().map(|n| Pick::One(*n)).collect()));
                let Some(next) = (0..digits.len()).find(|n| digits[*n] + 1 < self.places[*n].1) else {
                    break;
                };
                digits[next] += 1;
                digits[..next].fill(0);
            }
        }
        // Some more are torn; of few places the same come again and again.
        for _ in 0..2 * n_most {
            if images.len() >= n_most {
                break;
            }
            let picks = self.draw(random);
            images.extend(self.image(picks));
        }
        images
    }

    fn draw(&self, random: &mut Random) -> Vec<Pick> {
        let latest = |n_choices: usize| Pick::One(n_choices - 1);
        let n_places = self.places.len();
        if n_places == 0 {
            return vec![];
        }
        let one = random.below(n_places);
        let moment = random.next() % (self.remains.now + 1);
        let is_new_one_in = 2 + random.below(6);
        let numbers: Vec<bool> = self.remains.files.iter().map(|_| random.one_in(2)).collect();
        let (style, are_names_new, is_torn) = (random.below(11), random.one_in(2), random.one_in(3));
        let mut picks = Vec::with_capacity(n_places);
        for (n, (place, n_choices)) in self.places.iter().copied().enumerate() {
            let pick = match (style, place) {
                // Everything as it was, with one exception.
                (0, _) => {
                    if n == one {
                        latest(n_choices)
                    } else {
                        Pick::One(0)
                    }
                }
                (1, _) => {
                    if n == one {
                        Pick::One(0)
                    } else {
                        latest(n_choices)
                    }
                }
                // All names or none, all bytes or none.
                (2, Place::Change(_)) => Pick::One(usize::from(are_names_new)),
                (2, _) => {
                    if are_names_new {
                        Pick::One(0)
                    } else {
                        latest(n_choices)
                    }
                }
                // As it was at one moment.
                (3, _) => self.at(place, n_choices, moment),
                // The same, with one exception.
                (4, _) if n == one => self.any(place, n_choices, random),
                (4, _) => self.at(place, n_choices, moment),
                // Files as a whole.
                (5, Place::Length(number) | Place::Page(number, _)) => {
                    if numbers[number] {
                        latest(n_choices)
                    } else {
                        Pick::One(0)
                    }
                }
                // Names up to a moment, bytes as they come.
                (6, Place::Change(_)) => self.at(place, n_choices, moment),
                // Almost all of one kind.
                (7, _) => {
                    if random.one_in(is_new_one_in) {
                        latest(n_choices)
                    } else {
                        Pick::One(0)
                    }
                }
                (8, _) => {
                    if random.one_in(is_new_one_in) {
                        Pick::One(0)
                    } else {
                        latest(n_choices)
                    }
                }
                // The page with the newest news, and the rest as at one moment.
                (9, Place::Page(..)) if n == one => latest(n_choices),
                (9, _) => self.any(place, n_choices, random),
                _ => self.any(place, n_choices, random),
            };
            let tears = is_torn && random.one_in(4);
            picks.push(if tears { self.torn(place, n_choices, pick, random) } else { pick });
        }
        picks
    }

    /// As it was at that moment.
    fn at(&self, place: Place, n_choices: usize, moment: u64) -> Pick {
        let n_until =
            |moments: &mut dyn Iterator<Item = u64>| moments.take_while(|time| *time <= moment).count();
        Pick::One(match place {
            Place::Change(n) => usize::from(self.remains.changes[n].0 <= moment),
            Place::Length(number) => {
                n_until(&mut self.remains.files[number].lengths.iter().map(|(time, _)| *time))
                    .clamp(1, n_choices)
                    - 1
            }
            Place::Page(number, n) => {
                let moments = &self.remains.files[number].pages[n].moments;
                n_until(&mut moments.iter().map(|(time, _)| *time)).clamp(1, n_choices) - 1
            }
        })
    }

    /// As it was at any moment, the first and the last more often than others.
    fn any(&self, place: Place, n_choices: usize, random: &mut Random) -> Pick {
        Pick::One(match (place, random.below(4)) {
            (Place::Change(_), _) => random.below(2),
            (_, 0) => 0,
            (_, 1) => n_choices - 1,
            _ => random.below(n_choices),
        })
    }

    fn torn(&self, place: Place, n_choices: usize, pick: Pick, random: &mut Random) -> Pick {
        match place {
            Place::Change(_) => pick,
            Place::Length(number) => {
                let lengths = &self.remains.files[number].lengths;
                let (least, most) = (lengths[0].1, lengths[n_choices - 1].1);
                let end = least + random.next() % (most - least + 1);
                Pick::Between((end / PAGE_BYTES as u64 * PAGE_BYTES as u64).max(least))
            }
            Place::Page(number, n) if self.remains.files[number].pages[n].is_new && random.one_in(3) => {
                Pick::Stale(random.next())
            }
            Place::Page(..) if random.one_in(2) => {
                Pick::Torn(std::array::from_fn(|_| random.below(n_choices)))
            }
            Place::Page(..) => {
                let (one, other) = (random.below(n_choices), random.below(n_choices));
                Pick::Torn(std::array::from_fn(|_| if random.one_in(2) { one } else { other }))
            }
        }
    }

    /// What these picks leave; `None`: it was there already.
    fn image(&mut self, mut picks: Vec<Pick>) -> Option<(Remains, String)> {
        self.close(&mut picks);
        let mut hasher = DefaultHasher::new();
        picks.hash(&mut hasher);
        if !self.drawn.insert(hasher.finish()) {
            return None;
        }
        let remains = self.remains;
        let mut names = remains.synced.clone();
        let mut lengths = BTreeMap::new();
        let mut pages = BTreeMap::new();
        for ((place, _), pick) in self.places.iter().zip(&picks) {
            match (*place, pick) {
                (Place::Change(n), Pick::One(1)) => {
                    let mut one = Remains { names, ..Remains::default() };
                    one.change(remains.changes[n].1.clone());
                    names = one.names;
                }
                (Place::Change(_), _) => {}
                (Place::Length(number), Pick::One(n)) => {
                    lengths.insert(number, remains.files[number].lengths[*n].1);
                }
                (Place::Length(number), Pick::Between(length)) => {
                    lengths.insert(number, *length);
                }
                (Place::Page(number, n), pick) => drop(pages.insert((number, n), self.page(number, n, pick))),
                (place, pick) => unreachable!("{place:?} is never {pick:?}"),
            }
        }
        let mut image = Remains::default();
        for (name, number) in names {
            let file = &remains.files[number];
            let length = lengths.get(&number).copied().unwrap_or(file.lengths[0].1);
            let n_pages = usize::try_from(length.div_ceil(PAGE_BYTES as u64)).expect("small files");
            let page =
                |n| pages.get(&(number, n)).cloned().unwrap_or_else(|| file.pages[n].moments[0].1.clone());
            let mut kept: Vec<Page> = (0..n_pages).map(page).collect();
            let inside = usize::try_from(length % PAGE_BYTES as u64).expect("in a page");
            // Behind the end there is nothing, whatever the page's place holds.
            match kept.last_mut() {
                Some(last) if inside > 0 => Arc::make_mut(last)[inside..].fill(0),
                _ => {}
            }
            image.names.insert(name, image.files.len());
            image.files.push(Remainder::settled(length, kept));
        }
        image.synced = Names::clone(&image.names);
        let report =
            self.places.iter().zip(&picks).map(|((place, n), pick)| format!("{place:?}/{n}={pick:?}"));
        Some((image, report.collect::<Vec<_>>().join(" ")))
    }

    fn page(&self, number: Number, n: usize, pick: &Pick) -> Page {
        let moments = &self.remains.files[number].pages[n].moments;
        match pick {
            Pick::One(moment) => moments[*moment].1.clone(),
            Pick::Torn(sectors) => {
                let mut page = [0; PAGE_BYTES];
                for (at, moment) in sectors.iter().enumerate() {
                    let sector = at * SECTOR_BYTES..(at + 1) * SECTOR_BYTES;
                    page[sector.clone()].copy_from_slice(&moments[*moment].1[sector]);
                }
                Arc::new(page)
            }
            Pick::Stale(seed) => {
                let bytes = Random::new(*seed).bytes(PAGE_BYTES);
                Arc::new(bytes.try_into().expect("a page"))
            }
            Pick::Between(_) => unreachable!("a length"),
        }
    }

    /// Leaves out what rests on something that was left out.
    fn close(&self, picks: &mut [Pick]) {
        let changes = &self.remains.changes;
        for later in 0..changes.len() {
            let rests = |earlier: usize| {
                picks[earlier] == Pick::One(0) && changes[later].1.rests_on(&changes[earlier].1)
            };
            if (0..later).any(rests) {
                picks[later] = Pick::One(0);
            }
        }
    }
}
