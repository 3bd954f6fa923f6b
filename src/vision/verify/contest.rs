//! Which warp explains a pair: what whole frames and keypoints suggest is refined on coarse planes, and what promises most there
//! is settled on fine ones.

use super::affine::Affine;
use super::candidate::{Candidate, Contender, SETTLED};
use super::{Features, frame, pairing};

/// Agreement from which no warp that promises less is settled, and the mirrored image is not tried.
const MOSTLY: f64 = 0.5;
/// Share of what a whole frame shows on coarse planes that correlates, from which it is settled before keypoints are looked for.
const LIKELY: f64 = 0.8;
/// What a warp has to promise, as a share of what the most promising one does. In three folders of copies, 750 pairs with two to
/// four warps each, the one that explained most promised two thirds or more, but for pairs that nothing explains.
const WORTH_SETTLING: f64 = 0.5;
/// Maps that differ by no more at the corners settle at the same place, pixels of A.
const NEAR: f64 = 3.0;

/// The warp that explains most, by whole frames first, and by keypoints where these leave much unexplained.
pub(super) fn best(a: &Features, b: &Features) -> Option<Candidate> {
    let mut contest = Contest {
        a,
        b,
        best: None,
        most: 0.0,
        waiting: Vec::new(),
    };
    let mut tried: Vec<Affine> = Vec::with_capacity(2);
    for (_, map) in frame::hypotheses(&a.views, &b.views, 2) {
        // Frames with a thin border give two maps that settle at one place.
        if tried.iter().any(|other| is_near(other, &map, a)) {
            continue;
        }
        tried.push(map);
        if let Some(found) = Candidate::as_it_is(a, b, map) {
            return Some(found);
        }
        contest.enter(map, 0);
        if contest.is_over(SETTLED) {
            return contest.best;
        }
    }
    for mirrored in [false, true] {
        let pairs = pairing::pair(a, b, mirrored);
        if let Some(found) = pairing::hypothesis(&pairs, mirrored) {
            contest.enter(found.map, found.inliers);
        }
        contest.settle();
        if contest.is_over(MOSTLY) {
            break;
        }
    }
    contest.best
}

/// The best warp so far, and those that wait for a better one.
struct Contest<'a> {
    a: &'a Features,
    b: &'a Features,
    best: Option<Candidate>,
    /// The most that any of them promised.
    most: f64,
    waiting: Vec<Contender>,
}

impl Contest<'_> {
    /// Takes up a map; `inliers` is 0 for that of a whole frame, which is settled at once where it is likely.
    fn enter(&mut self, map: Affine, inliers: usize) {
        let (a, b) = (self.a, self.b);
        // It would settle where another has.
        if let Some(best) = self.best.as_mut().filter(|best| is_near(&best.map, &map, a)) {
            best.inliers = best.inliers.max(inliers);
            return;
        }
        if let Some(other) = self.waiting.iter_mut().find(|other| is_near(&other.map, &map, a)) {
            other.inliers = other.inliers.max(inliers);
            return;
        }
        let Some(new) = Contender::new(a, b, map, inliers) else {
            return;
        };
        self.most = self.most.max(new.promise.worth);
        if inliers == 0 && new.promise.share >= LIKELY {
            self.try_out(&new);
        } else {
            self.waiting.push(new);
        }
    }

    /// Settles those that wait and promise enough, the most promising first, until one explains most.
    fn settle(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by(|x, y| y.promise.worth.total_cmp(&x.promise.worth));
        for contender in waiting {
            if contender.promise.worth < WORTH_SETTLING * self.most {
                break;
            }
            self.try_out(&contender);
            if self.is_over(MOSTLY) {
                break;
            }
        }
    }

    fn try_out(&mut self, contender: &Contender) {
        let new = Candidate::settle(self.a, self.b, contender);
        self.best = match (self.best.take(), new) {
            (Some(old), Some(new)) => Some(if new.worth() > old.worth() { new } else { old }),
            (old, new) => old.or(new),
        };
    }

    fn is_over(&self, share: f64) -> bool {
        self.best.as_ref().is_some_and(|best| best.explains(share))
    }
}

/// Whether two maps carry the corners of A to about the same places.
fn is_near(one: &Affine, other: &Affine, a: &Features) -> bool {
    one.apart(other, a.corners()) <= NEAR * other.scale()
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    #[test]
    fn a_warp_that_is_off_is_not_worth_settling() {
        let level = |x: u32, y: u32, side: u32| {
            ((x / side).wrapping_mul(2_654_435_761) ^ (y / side).wrapping_mul(40_503) ^ side).wrapping_mul(97)
                >> 8
                & 127
        };
        let picture = RgbImage::from_fn(300, 240, |x, y| {
            Rgb([(level(x, y, 11) + level(y, x, 29)) as u8; 3])
        });
        let features = Features::extract(&picture);
        let promise = |map: [f64; 6]| {
            let contender = Contender::new(&features, &features, Affine(map), 0).expect("a plausible map");
            contender.promise
        };
        let right = promise([1.0, 0.0, 1.0, 0.0, 1.0, -1.0]);
        assert!(right.share >= LIKELY, "{right:?}");
        for map in [
            [1.0, 0.0, 60.0, 0.0, 1.0, 0.0],
            [-1.0, 0.0, 300.0, 0.0, 1.0, 0.0],
            [1.4, 0.0, -50.0, 0.0, 1.4, -40.0],
        ] {
            let off = promise(map);
            assert!(
                off.worth < WORTH_SETTLING * right.worth,
                "{map:?}: {off:?}, {right:?}"
            );
        }
        assert!(Contender::new(&features, &features, Affine([0.01, 0.0, 0.0, 0.0, 0.01, 0.0]), 0).is_none());
    }
}
