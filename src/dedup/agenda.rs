//! Which candidate pairs are verified, and in which order: no more than the groups need.
//!
//! A family of twelve copies has sixty-six pairs, and eleven of them say all there is to say. So images lead in turns: one
//! that is likelier than its neighbours to be the picture all others were made from is verified against them, and what
//! proves to be its copy is not compared with its siblings. Then those pairs are left that no leader speaks for. At the end
//! families speak together: where several copies of one picture are unlikely candidates of the same image, their leader is
//! tried. The order depends on pairs, promises and ranks alone, never on threads.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::MatchClass;

/// Rounds of leaders before all that is left is verified at once.
const ROUNDS: usize = 16;

/// A candidate pair, `a < b`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Promising {
    /// One image.
    pub a: u32,
    /// The other.
    pub b: u32,
    /// Probability that they are copies, by their descriptors.
    pub promise: f32,
}

/// Promise from which a pair is verified whatever else its images have.
const LIKELY: f32 = 0.3;
/// Of the less likely pairs of an image so many are verified, the likeliest.
const UNLIKELY_KEPT: usize = 3;

/// Members of a family that have to be candidates of an image, for the family's leader to be tried.
const WITNESSES: usize = 2;

/// Share of the least promise that the best pair of two images has to keep.
const OF_THE_BEST: f32 = 0.2;

/// The pairs that promise at least `least`, and those that are the best of both their images and promise a fifth of it: two
/// pages of one manual resemble each other so much that a page and its copy do not stand out.
#[must_use]
pub fn worth_it(mut pairs: Vec<Promising>, images: usize, least: f32) -> Vec<Promising> {
    let mut best = vec![0.0_f32; images];
    for pair in &pairs {
        for image in [pair.a, pair.b] {
            let best = &mut best[image as usize];
            *best = best.max(pair.promise);
        }
    }
    pairs.retain(|pair| {
        let is_best = || {
            [pair.a, pair.b]
                .iter()
                .all(|image| pair.promise >= best[*image as usize])
        };
        pair.promise >= least || (pair.promise >= OF_THE_BEST * least && is_best())
    });
    pairs
}

/// The pairs that are worth verifying, and the others. Worth it are those that are likely, and of the others the best few of
/// either image: where the first few are no copies, the tenth is none either. Of a pair that comes more than once the highest
/// promise counts.
fn split(mut pairs: Vec<Promising>) -> (Vec<Promising>, Vec<Promising>) {
    pairs.sort_by(|p, q| q.promise.total_cmp(&p.promise).then((p.a, p.b).cmp(&(q.a, q.b))));
    let mut seen = BTreeSet::new();
    pairs.retain(|pair| seen.insert((pair.a, pair.b)));
    let mut taken: BTreeMap<u32, usize> = BTreeMap::new();
    pairs.into_iter().partition(|pair| {
        let mut is_among_first = false;
        for image in [pair.a, pair.b] {
            let rank = taken.entry(image).or_default();
            is_among_first |= *rank < UNLIKELY_KEPT;
            *rank += 1;
        }
        is_among_first || pair.promise >= LIKELY
    })
}

/// The pairs that are still to be verified.
pub struct Agenda {
    /// Candidates of every image that it was not handed out with.
    waiting: BTreeMap<u32, BTreeSet<u32>>,
    /// Images by rank: the first leads.
    rank: Vec<u32>,
    state: Vec<State>,
    /// Leaders that an image is a copy of, with the class.
    led_by: BTreeMap<u32, BTreeMap<u32, MatchClass>>,
    handed_out: BTreeSet<(u32, u32)>,
    /// Candidates that nobody is likely enough by itself to be verified with.
    unlikely: Vec<(u32, u32)>,
    planned: usize,
    rounds: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Leads,
    Follows,
}

impl Agenda {
    /// An agenda of candidate `pairs` among `images` images. Leaders are those whom their neighbours promise to resemble most;
    /// of those that are nearly as good as the best of their family the first by `order`, which compares positions: around
    /// it the group will be formed, and whoever else led would be a leader for nothing.
    #[must_use]
    pub fn new(images: usize, pairs: Vec<Promising>, order: impl Fn(u32, u32) -> std::cmp::Ordering) -> Self {
        let (pairs, unlikely) = split(pairs);
        let mut waiting: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        // Whole numbers add up to the same in any order.
        let mut weight = vec![0u64; images];
        for pair in &pairs {
            waiting.entry(pair.a).or_default().insert(pair.b);
            waiting.entry(pair.b).or_default().insert(pair.a);
            let promise = (f64::from(pair.promise.clamp(0.0, 1.0)) * 1000.0).round() as u64;
            weight[pair.a as usize] += promise;
            weight[pair.b as usize] += promise;
        }
        let mut most = weight.clone();
        for pair in pairs.iter().filter(|pair| pair.promise >= LIKELY) {
            for (one, other) in [(pair.a, pair.b), (pair.b, pair.a)] {
                most[one as usize] = most[one as usize].max(weight[other as usize]);
            }
        }
        // Whoever is nearly as good as the best of its family is as good: `order` chooses.
        let place = |image: usize| {
            let (weight, most) = (weight[image], most[image]);
            if weight * 10 >= most * 9 { most } else { weight }
        };
        let place: Vec<u64> = (0..images).map(place).collect();
        let mut by_rank: Vec<u32> = (0u32..).take(images).collect();
        by_rank.sort_by(|&x, &y| {
            place[y as usize]
                .cmp(&place[x as usize])
                .then_with(|| order(x, y))
                .then(x.cmp(&y))
        });
        let mut rank = vec![0; images];
        for (place, image) in (0u32..).zip(by_rank) {
            rank[image as usize] = place;
        }
        Self {
            waiting,
            rank,
            state: vec![State::Free; images],
            led_by: BTreeMap::new(),
            handed_out: BTreeSet::new(),
            unlikely: unlikely.iter().map(|pair| (pair.a, pair.b)).collect(),
            planned: pairs.len(),
            rounds: 0,
        }
    }

    /// How many pairs there are to verify at most, before families speak.
    #[must_use]
    pub fn planned(&self) -> usize {
        self.planned
    }

    /// The pairs to verify next, in order; none when all is done. Tell [`Agenda::found`] what came out before asking again.
    pub fn next_round(&mut self) -> Vec<(u32, u32)> {
        self.rounds += 1;
        if self.rounds <= ROUNDS {
            let pairs = self.led();
            if !pairs.is_empty() {
                return pairs;
            }
            self.rounds = ROUNDS;
        }
        let rest = self.rest();
        if rest.is_empty() { self.by_families() } else { rest }
    }

    /// Takes the copies among the pairs of the last round: the pair, and its class.
    pub fn found(&mut self, copies: impl IntoIterator<Item = ((u32, u32), MatchClass)>) {
        for ((a, b), class) in copies {
            for (leader, other) in [(a, b), (b, a)] {
                if self.state[leader as usize] == State::Leads {
                    self.led_by.entry(other).or_default().insert(leader, class);
                    if self.state[other as usize] == State::Free {
                        self.state[other as usize] = State::Follows;
                    }
                }
            }
        }
    }

    /// New leaders, each with its neighbours that neither lead nor follow.
    fn led(&mut self) -> Vec<(u32, u32)> {
        let is_free = |image: &u32| self.state[*image as usize] == State::Free;
        let rank = |image: u32| self.rank[image as usize];
        let leaders: Vec<u32> = self
            .waiting
            .iter()
            .filter(|(image, _)| is_free(image))
            .filter(|(image, others)| {
                let mut free = others.iter().filter(|other| is_free(other)).peekable();
                free.peek().is_some() && free.all(|&other| rank(**image) < rank(other))
            })
            .map(|(image, _)| *image)
            .collect();
        let mut pairs = BTreeSet::new();
        for leader in leaders {
            let free: Vec<u32> = self.waiting[&leader]
                .iter()
                .copied()
                .filter(|other| self.state[*other as usize] == State::Free)
                .collect();
            for other in free {
                self.hand_out(leader, other);
                pairs.insert((leader.min(other), leader.max(other)));
            }
            self.state[leader as usize] = State::Leads;
        }
        pairs.into_iter().collect()
    }

    /// What no leader speaks for: a whole copy is represented by its leader, and images that follow one leader are known to
    /// belong together.
    fn rest(&mut self) -> Vec<(u32, u32)> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut pairs = BTreeSet::new();
        for (&a, others) in &waiting {
            for &b in others.range(a + 1..) {
                let (x, y) = (self.representative(a), self.representative(b));
                let pair = (x.min(y), x.max(y));
                if x != y && !self.handed_out.contains(&pair) && !self.follow_one(x, y) {
                    pairs.insert(pair);
                }
            }
        }
        self.handed_out.extend(&pairs);
        pairs.into_iter().collect()
    }

    /// Leaders of families of which several members are candidates of an image that follows nobody: who follows a leader has its
    /// family.
    fn by_families(&mut self) -> Vec<(u32, u32)> {
        let mut witnesses: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        for &(a, b) in &self.unlikely {
            for (image, member) in [(a, b), (b, a)] {
                if self.led_by.contains_key(&image) {
                    continue;
                }
                for leader in self.leaders(member) {
                    if leader != image {
                        *witnesses.entry((image, leader)).or_default() += 1;
                    }
                }
            }
        }
        let pairs: BTreeSet<(u32, u32)> = witnesses
            .into_iter()
            .filter(|(_, count)| *count >= WITNESSES)
            .map(|((a, b), _)| (a.min(b), a.max(b)))
            .filter(|pair| !self.handed_out.contains(pair))
            .collect();
        self.handed_out.extend(&pairs);
        pairs.into_iter().collect()
    }

    /// The images that lead a family an image belongs to, itself among them.
    fn leaders(&self, image: u32) -> impl Iterator<Item = u32> {
        let leads = self.state[image as usize] == State::Leads;
        let others = self.led_by.get(&image).into_iter().flat_map(BTreeMap::keys);
        leads.then_some(image).into_iter().chain(others.copied())
    }

    /// The leader that shows the same frame, or the image itself.
    fn representative(&self, image: u32) -> u32 {
        let whole = |(leader, class): (&u32, &MatchClass)| (*class > MatchClass::Edited).then_some(*leader);
        let leaders = self.led_by.get(&image);
        let best = leaders.and_then(|l| l.iter().filter_map(whole).min_by_key(|l| self.rank[*l as usize]));
        best.unwrap_or(image)
    }

    fn follow_one(&self, a: u32, b: u32) -> bool {
        let leaders = |image: u32| self.led_by.get(&image).into_iter().flat_map(BTreeMap::keys);
        leaders(a).any(|leader| leaders(b).any(|other| other == leader))
    }

    fn hand_out(&mut self, a: u32, b: u32) {
        self.handed_out.insert((a.min(b), a.max(b)));
        for (one, other) in [(a, b), (b, a)] {
            if let Some(others) = self.waiting.get_mut(&one) {
                others.remove(&other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works an agenda off: families are sets of equal numbers, and copies within one are whole frames or parts.
    fn verified(families: &[u32], pairs: &[(u32, u32)], class: MatchClass) -> Vec<(u32, u32)> {
        let pairs: Vec<Promising> = pairs
            .iter()
            .map(|&(a, b)| Promising { a, b, promise: 0.5 })
            .collect();
        let mut agenda = Agenda::new(families.len(), pairs, |x, y| x.cmp(&y));
        let mut done = Vec::new();
        for _ in 0..100 {
            let round = agenda.next_round();
            if round.is_empty() {
                return done;
            }
            let copies = round
                .iter()
                .filter(|(a, b)| families[*a as usize] == families[*b as usize]);
            agenda.found(copies.map(|pair| (*pair, class)));
            done.extend(round);
        }
        panic!("the agenda does not end");
    }

    fn all_pairs(count: u32) -> Vec<(u32, u32)> {
        (0..count)
            .flat_map(|a| (a + 1..count).map(move |b| (a, b)))
            .collect()
    }

    #[test]
    fn a_family_is_verified_around_one_image() {
        for class in [MatchClass::Edited, MatchClass::NearIdentical] {
            let done = verified(&[7; 12], &all_pairs(12), class);
            assert_eq!(done, (1..12).map(|b| (0, b)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn strangers_are_all_compared() {
        let mut done = verified(&[0, 1, 2, 3, 4], &all_pairs(5), MatchClass::Edited);
        done.sort_unstable();
        assert_eq!(done, all_pairs(5));
    }

    #[test]
    fn whole_copies_are_represented_and_parts_speak_for_themselves() {
        // 0 and 1 are one family, 2 and 3 another; the candidates cross.
        let families = [0, 0, 1, 1];
        let pairs = [(0, 1), (2, 3), (1, 3)];
        let whole = verified(&families, &pairs, MatchClass::NearIdentical);
        assert!(whole.len() == 3, "{whole:?}");
        let leaders = Agenda::new(4, Vec::new(), |x, y| x.cmp(&y)).next_round();
        assert!(leaders.is_empty(), "nothing to verify");
        let parts = verified(&families, &pairs, MatchClass::Edited);
        assert!(parts.contains(&(1, 3)), "{parts:?}");
    }

    #[test]
    fn of_unlikely_pairs_the_best_few_of_either_image_are_kept() {
        let promise = |a, b, promise| Promising { a, b, promise };
        let mut pairs: Vec<Promising> = (1..10).map(|b| promise(0, b, 0.05)).collect();
        // Image 9 has two likely copies and a crowd: 0 is not among its first three.
        pairs.extend([promise(9, 10, 0.9), promise(9, 11, 0.9), promise(9, 12, 0.2)]);
        let kept: Vec<(u32, u32)> = split(pairs).0.iter().map(|p| (p.a, p.b)).collect();
        assert!(kept.starts_with(&[(9, 10), (9, 11), (9, 12)]));
        assert!(kept.contains(&(0, 1)) && !kept.contains(&(0, 9)), "{kept:?}");
        assert_eq!(kept.len(), 3 + 8, "each of the others has no better pair");
    }

    #[test]
    fn the_best_of_both_images_is_worth_it_whatever_it_promises() {
        let promise = |a, b, promise| Promising { a, b, promise };
        let pairs = vec![
            promise(0, 1, 0.5),
            promise(1, 2, 0.004),
            promise(3, 4, 0.003),
            promise(4, 5, 0.002),
            promise(6, 7, 0.0),
        ];
        let kept = worth_it(pairs, 8, 0.01);
        let kept: Vec<_> = kept.iter().map(|pair| (pair.a, pair.b)).collect();
        assert_eq!(
            kept,
            [(0, 1), (3, 4)],
            "1 has a better pair, and so has 4; 6 and 7 cannot be verified"
        );
    }

    #[test]
    fn worth_it_are_the_likely_and_the_best_of_both_that_are_not_hopeless() {
        let pairs = [
            (0, 1, 0.02),
            (0, 2, 0.009),
            (3, 4, 0.004),
            (3, 5, 0.003),
            (6, 7, 0.001),
        ];
        let pairs = pairs.map(|(a, b, promise)| Promising { a, b, promise });
        let kept = worth_it(pairs.to_vec(), 8, 0.01);
        let kept: Vec<_> = kept.iter().map(|pair| (pair.a, pair.b)).collect();
        assert_eq!(kept, [(0, 1), (3, 4)]);
    }

    #[test]
    fn who_follows_a_leader_is_not_tried_against_another_family() {
        let promise = |a, b, promise| Promising { a, b, promise };
        // 0 leads 1 and 2, 3 leads 4. Both members of the one resemble 4, and 5, which belongs to nobody, a little; each of them
        // resembles three others more.
        let copies = [(0, 1), (0, 2), (3, 4)];
        let mut pairs: Vec<_> = copies.iter().map(|&(a, b)| promise(a, b, 0.9)).collect();
        let strangers = |image: u32| (0..3).map(move |i| (image, 3 * image + 10 + i));
        pairs.extend(
            [1, 2, 4, 5]
                .into_iter()
                .flat_map(strangers)
                .map(|(a, b)| promise(a, b, 0.2)),
        );
        pairs.extend([6, 7, 8].map(|b| promise(3, b, 0.9)));
        let faint = |a| [promise(a, 4, 0.01), promise(a, 5, 0.01)];
        pairs.extend([1, 2].into_iter().flat_map(faint));
        let mut agenda = Agenda::new(28, pairs, |x, y| x.cmp(&y));
        let mut done = BTreeSet::new();
        loop {
            let round = agenda.next_round();
            if round.is_empty() {
                break;
            }
            let found = round.iter().filter(|pair| copies.contains(pair));
            agenda.found(found.map(|pair| (*pair, MatchClass::Edited)));
            done.extend(round);
        }
        assert!(done.contains(&(0, 5)), "two of the family know it");
        assert!(!done.contains(&(0, 4)), "it has a family");
    }

    #[test]
    fn the_image_most_alike_to_the_others_leads() {
        let promise = |a, b, promise| Promising { a, b, promise };
        let pairs = [
            promise(0, 1, 0.2),
            promise(1, 2, 0.9),
            promise(0, 2, 0.9),
            promise(2, 3, 0.9),
        ];
        let mut agenda = Agenda::new(4, pairs.to_vec(), |x, y| x.cmp(&y));
        assert_eq!(agenda.next_round(), [(0, 2), (1, 2), (2, 3)]);
    }

    #[test]
    fn of_those_nearly_as_good_as_the_best_the_first_in_order_leads() {
        // 3 is a little ahead of 0 and 2; 1, which `order` would put first of all, is far behind; 4 promises little to anybody.
        let promise = |a, b, promise| Promising { a, b, promise };
        let pairs = [
            promise(0, 2, 0.96),
            promise(0, 3, 0.99),
            promise(2, 3, 0.99),
            promise(0, 1, 0.4),
            promise(1, 2, 0.4),
            promise(1, 3, 0.45),
            promise(1, 4, 0.05),
        ];
        let first = |x: u32| [1, 0, 2, 3, 4].iter().position(|&image| image == x);
        let mut agenda = Agenda::new(5, pairs.to_vec(), |x, y| first(x).cmp(&first(y)));
        assert_eq!(agenda.next_round(), [(0, 1), (0, 2), (0, 3)]);
    }

    #[test]
    fn several_copies_of_one_picture_speak_together() {
        let promise = |a, b, promise| Promising { a, b, promise };
        // 0 leads 1, 2 and 3. Image 4 resembles three strangers more than any of them.
        let siblings = all_pairs(4).into_iter();
        let mut pairs: Vec<Promising> = siblings.map(|(a, b)| promise(a, b, 0.9)).collect();
        pairs.extend([promise(1, 4, 0.1), promise(2, 4, 0.1)]);
        pairs.extend((5..8).map(|b| promise(4, b, 0.2)));
        pairs.extend((5..8).flat_map(|a| (8..11).map(move |b| promise(a, b, 0.25))));
        let mut agenda = Agenda::new(11, pairs, |x, y| x.cmp(&y));
        let mut done = Vec::new();
        loop {
            let round = agenda.next_round();
            if round.is_empty() {
                break;
            }
            assert!(done.len() < 100, "the agenda does not end");
            let copies = round.iter().filter(|(a, b)| *a == 0 && *b < 5);
            agenda.found(copies.map(|pair| (*pair, MatchClass::Edited)));
            done.extend(round);
        }
        assert_eq!(
            done.last(),
            Some(&(0, 4)),
            "the family's leader is tried at the end: {done:?}"
        );
        assert_eq!(
            done.iter().filter(|(_, b)| *b == 4).count(),
            1,
            "and no other member is: {done:?}"
        );
    }
}
